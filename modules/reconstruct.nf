include { option } from '../subworkflows/scripts.nf'

process RECONSTRUCT {
    tag "pass ${meta.pass} ${meta.cluster}"
    label 'cpu_small'

    input:
    tuple val(meta), path(parts, stageAs: 'parts/*'), path(references, stageAs: 'references')
    val version

    output:
    tuple val(meta), path("maps/${meta.cluster}*"), emit: maps

    script:
    // The consensus makes the mask that all clusters share.
    def mask = meta.cluster == 'consensus' ? null : 'references/mask.mrc'
    """
    # version ${version}
    mkdir maps
    reconstruct.py parts/* ${option('mask', mask)} ${option('mask-diameter', params.mask_diameter)} \\
        ${option('mass-kda', params.mass_kda)} --engine ${params.engine} --output maps/${meta.cluster}
    """
}
