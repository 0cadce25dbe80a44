include { place } from '../subworkflows/parameters.nf'
include { option } from '../subworkflows/scripts.nf'

process CLUSTER {
    tag "${place(meta, task.ext)}"
    label 'cpu_small'

    input:
    tuple val(meta), path(particles), path(last_references, stageAs: 'last_references'), path(latent)
    val settings

    output:
    tuple val(meta), path('labelled.star'), path('clusters.json'), emit: labelled

    script:
    // for likelihood assignment, more clusters than there may be, and other ones to see whether it ends the same
    def proposes = meta.assign == 'likelihood'
    def k = meta.clustering == 'fixed' ? null : proposes ? meta.proposed : meta.k
    """
    # version ${settings.version}
    cluster.py ${particles} --latent ${latent} --last-references ${last_references} \\
        --method ${meta.clustering} --space ${meta.cluster_on} ${option('k', k)} --seed ${settings.seed} \\
        ${proposes ? '--starts' : ''} ${option('hdbscan-k', settings.hdbscan_k)} \\
        --output labelled.star --record clusters.json
    """

    stub:
    """
    touch labelled.star clusters.json
    """
}
