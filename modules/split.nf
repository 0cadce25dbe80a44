include { place ; whole } from '../subworkflows/parameters.nf'
include { option } from '../subworkflows/scripts.nf'

process SPLIT {
    tag "${place(meta)}"
    label 'cpu_small'

    input:
    tuple val(meta), path(labelled), path(last_references, stageAs: 'last_references')
    val version

    output:
    tuple val(meta), path('plan/plan.csv'), path('plan/*.star', arity: '0..*'), emit: plan

    script:
    """
    # version ${version}
    split.py ${labelled} --last-references ${last_references} ${meta.round ? '' : '--consensus'} \\
        --limit ${meta.limit} --references ${meta.references} ${option('chunk-size', whole(params.chunk_size))} \\
        --engine ${params.engine} ${option('mask-diameter', params.mask_diameter)} --output plan
    """
}
