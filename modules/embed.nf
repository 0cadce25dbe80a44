include { place } from '../subworkflows/parameters.nf'
include { published } from '../subworkflows/publishing.nf'
include { option } from '../subworkflows/scripts.nf'

process EMBED {
    tag "${place(meta, task.ext)}"
    label 'cpu_small'
    publishDir "${task.ext.outdir}", mode: 'copy', saveAs: { path -> published(task.process, meta, path) }

    input:
    tuple val(meta), path(training), path(last_latent, stageAs: 'last_latent')
    val settings

    output:
    tuple val(meta), path('latent'), emit: latent

    script:
    """
    # version ${settings.version}
    embed.py ${training} ${option('last-latent', meta.round > 1 ? last_latent : null)} \\
        --seed ${settings.seed} --output latent
    """

    stub:
    """
    mkdir latent
    """
}
