include { passFolder } from '../subworkflows/scripts.nf'

process CLUSTER {
    tag "round ${meta.round}"
    label 'cpu_small'
    publishDir "${params.outdir}", mode: 'copy', saveAs: { path -> "${passFolder(meta)}/${path}" }, pattern: 'clusters.json'

    input:
    tuple val(meta), path(particles), path(last_references, stageAs: 'last_references'), path(latent)
    val version

    output:
    tuple val(meta), path('labelled.star'), path('clusters.json'), emit: labelled

    script:
    """
    # version ${version}
    cluster.py ${particles} --latent ${latent} --last-references ${last_references} \\
        --method ${meta.clustering} --space ${params.cluster_on} --k ${params.k} --seed ${params.seed} \\
        --output labelled.star --record clusters.json
    """
}
