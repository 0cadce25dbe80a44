include { place ; whole } from '../subworkflows/parameters.nf'
include { option ; passFolder } from '../subworkflows/scripts.nf'

process EMBED {
    tag "${place(meta)}"
    label 'cpu_small'
    publishDir "${params.outdir}", mode: 'copy', saveAs: { path -> "${passFolder(meta)}/${path}" }

    input:
    tuple val(meta), path(training), path(last_latent, stageAs: 'last_latent')
    val version

    output:
    tuple val(meta), path('latent'), emit: latent

    script:
    """
    # version ${version}
    embed.py ${training} ${option('last-latent', meta.round > 1 ? last_latent : null)} \\
        --seed ${whole(params.seed)} --output latent
    """

    stub:
    """
    mkdir latent
    """
}
