include { engineOptions ; option ; logPath } from '../subworkflows/scripts.nf'

process RECONSTRUCT {
    tag "pass ${meta.pass} ${meta.cluster}"
    label 'cpu_small'
    publishDir "${params.outdir}", mode: 'copy', saveAs: { path ->
        path.startsWith('logs/') ? logPath(meta, task.process, path) : null
    }

    input:
    tuple val(meta), path(parts, stageAs: 'parts/*'), path(references, stageAs: 'references')
    val version

    output:
    tuple val(meta), path("maps/${meta.cluster}*"), emit: maps
    path 'logs/*', optional: true

    script:
    // The consensus makes the mask that all clusters share.
    def mask = meta.cluster == 'consensus' ? null : 'references/mask.mrc'
    def prior = mask && params.engine == 'native'
        ? "--consensus references/consensus --reference-prior ${params.reference_prior}" : ''
    """
    # version ${version}
    mkdir maps
    reconstruct.py parts/* ${option('mask', mask)} ${prior} ${option('mask-diameter', params.mask_diameter)} \\
        ${engineOptions(params.engine, params.mass_kda, params.joint_reference, params.frealign_dir, params.frealign_args, params.symmetry)} \\
        ${params.local_resolution ? '--local-resolution' : ''} --output maps/${meta.cluster}
    """
}
