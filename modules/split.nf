include { place } from '../subworkflows/parameters.nf'
include { option } from '../subworkflows/scripts.nf'

process SPLIT {
    tag "${place(meta, task.ext)}"
    label 'cpu_small'

    input:
    // moves: where there is a motion, its places take the place of the clusters
    tuple val(meta), val(moves), path(labelled), path(last_references, stageAs: 'last_references')
    val settings

    output:
    tuple val(meta), path('plan/plan.csv'), path('plan/*.star', arity: '0..*'), emit: plan

    script:
    """
    # version ${settings.version}
    split.py ${labelled} --last-references ${last_references} ${meta.round ? '' : '--consensus'} \\
        --limit ${meta.limit} --references ${meta.references} ${option('chunk-size', settings.chunk_size)} \\
        ${moves ? '--along' : ''} \\
        --engine ${settings.engine} ${option('mask-diameter', settings.mask_diameter)} --output plan
    """

    stub:
    // two chunks of each cluster
    def rows = (meta.round ? ['cluster_01', 'cluster_02'] : ['consensus']).collectMany { cluster ->
        def maps = [previous: cluster, decoder: "decoder_${cluster}"][meta.references] ?: meta.references
        def reference = meta.limit == 'none' ? 'reconstruct' : maps
        (1..2).collect { number -> "${cluster},${meta.limit},${reference},${cluster}_chunk_000${number}.star,${cluster}_pilot.star" }
    }
    """
    mkdir plan
    cd plan
    printf '%s\\n' cluster,limit,reference,chunk,pilot ${rows.join(' ')} > plan.csv
    tail -n +2 plan.csv | cut -d, -f4,5 | tr , '\\n' | xargs touch
    """
}
