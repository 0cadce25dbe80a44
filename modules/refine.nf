include { place ; shortName } from '../subworkflows/parameters.nf'
include { engineOptions ; linked ; option ; logPath } from '../subworkflows/scripts.nf'

process REFINE {
    tag "${place(meta)} ${shortName(chunk.baseName)}"
    label params.device == 'cuda' && params.engine == 'native' ? 'gpu_refine' : 'cpu_refine'
    containerOptions { "${task.label.contains('gpu_refine') ? '--nv ' : ''}${images.mounts}" }
    publishDir "${params.outdir}", mode: 'copy', saveAs: { path ->
        path.startsWith('logs/') ? logPath(meta, task.process, path) : null
    }

    input:
    // shown: the masks of the map that the part is for, see subworkflows/map.nf
    tuple val(meta), path(chunk, stageAs: 'chunk/*'), path(pilot), path(reference, stageAs: 'reference/*'),
        path(references, stageAs: 'references'), path(mask, stageAs: 'mask.mrc'), val(shown), val(images)
    val version

    output:
    tuple val(meta), path("${chunk.baseName}.star"), emit: refined
    tuple val(meta), path("${chunk.baseName}.part"), emit: part, optional: true
    path 'logs/*', optional: true

    script:
    // Where labels may still change, particles are added up once they have.
    def part = meta.assign == 'likelihood' ? null : "${chunk.baseName}.part"
    def weighted = reference.any { path -> path.name.contains('_reference_half') } ? '--weighted' : ''
    """
    # version ${version}
    ${linked(images)}
    refine.py ${chunk} --half1 reference/*_half1.mrc --half2 reference/*_half2.mrc --limit ${meta.limit} ${weighted} \\
        --pilot ${pilot} --mask ${mask ?: 'references/mask.mrc'} --noise references/noise.csv --images images \\
        ${option('mask-diameter', params.mask_diameter)} \\
        ${engineOptions(params.engine, params.mass_kda, params.joint_reference, params.frealign_dir, params.frealign_args, params.symmetry)} \\
        ${option('device', params.device)} \\
        ${option('part', part)} --output ${chunk.baseName}.star
    """

    stub:
    """
    touch ${chunk.baseName}.star ${meta.assign == 'likelihood' ? '' : "${chunk.baseName}.part"}
    """
}
