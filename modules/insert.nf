include { place ; shortName } from '../subworkflows/parameters.nf'
include { engineOptions ; linked ; option ; logPath } from '../subworkflows/scripts.nf'

process INSERT {
    tag "${place(meta)} ${shortName(chunk.baseName)}"
    label params.device == 'cuda' && params.engine == 'native' ? 'gpu_refine' : 'cpu_refine'
    containerOptions { "${task.label.contains('gpu_refine') ? '--nv ' : ''}${images.mounts}" }
    publishDir "${params.outdir}", mode: 'copy', saveAs: { path ->
        path.startsWith('logs/') ? logPath(meta, task.process, path) : null
    }

    input:
    // shown: the masks of the map that the part is for, see subworkflows/map.nf
    tuple val(meta), path(chunk), path(references, stageAs: 'references'), val(shown), val(images)
    val version

    output:
    tuple val(meta), path("${chunk.baseName}.part"), emit: part
    path 'logs/*', optional: true

    script:
    """
    # version ${version}
    ${linked(images)}
    insert.py ${chunk} --images images --noise references/noise.csv \\
        ${option('mask-diameter', params.mask_diameter)} \\
        ${engineOptions(params.engine, params.mass_kda, params.joint_reference, params.frealign_dir, params.frealign_args, params.symmetry)} \\
        ${option('device', params.device)} \\
        --part ${chunk.baseName}.part
    """

    stub:
    """
    touch ${chunk.baseName}.part
    """
}
