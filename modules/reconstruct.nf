include { place ; shortName } from '../subworkflows/parameters.nf'
include { engineOptions ; option ; logPath } from '../subworkflows/scripts.nf'

process RECONSTRUCT {
    tag "${place(meta)} ${shortName(meta.cluster)}"
    label 'cpu_small'
    publishDir "${params.outdir}", mode: 'copy', saveAs: { path ->
        path.startsWith('logs/') ? logPath(meta, task.process, path) : null
    }

    input:
    tuple val(meta), path(parts, stageAs: 'parts/*'), path(references, stageAs: 'references'),
        path(mask, stageAs: 'mask.mrc'), path(focus, stageAs: 'focus_mask.mrc')
    val version

    output:
    tuple val(meta), path("maps/${meta.cluster}*"), emit: maps
    path 'logs/*', optional: true

    script:
    def prior = meta.cluster != 'consensus' && params.engine == 'native'
        ? "--consensus references/consensus --reference-prior ${params.reference_prior} ${option('focus-mask', focus ?: null)}"
        : ''
    """
    # version ${version}
    mkdir maps
    reconstruct.py parts/* ${option('mask', mask ?: null)} ${prior} ${option('mask-diameter', params.mask_diameter)} \\
        ${engineOptions(params.engine, params.mass_kda, params.joint_reference, params.frealign_dir, params.frealign_args, params.symmetry)} \\
        ${params.local_resolution ? '--local-resolution' : ''} --output maps/${meta.cluster}
    """

    stub:
    """
    mkdir maps
    touch maps/${meta.cluster}_half{1,2}.mrc
    """
}
