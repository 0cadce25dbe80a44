include { codeVersion } from '../subworkflows/scripts.nf'

process SPLIT {
    tag "pass ${meta.pass}"
    label 'cpu_small'

    input:
    tuple val(meta), path(labelled), path(last_references, stageAs: 'last_references')

    output:
    tuple val(meta), path('plan/plan.csv'), path('plan/*.star', arity: '1..*'), emit: plan

    script:
    """
    # code ${codeVersion('split.py')}
    split.py ${labelled} --last-references ${last_references} ${meta.round ? '' : '--consensus'} \\
        --limit ${meta.limit} --references ${meta.references} --chunk-size ${params.chunk_size} --output plan
    """
}
