include { place } from '../subworkflows/parameters.nf'
include { option } from '../subworkflows/scripts.nf'

process EMBED {
    tag "${place(meta, task.ext)}"
    label 'cpu_small'

    input:
    tuple val(meta), path(training, stageAs: 'training'), path(linear, stageAs: 'linear'), path(last_latent, stageAs: 'last_latent')
    val settings

    output:
    tuple val(meta), path('latent'), emit: latent
    tuple val(task.process), val(meta), path('latent'), topic: 'published'

    script:
    """
    # version ${settings.version}
    embed.py ${option('training', training ?: null)} ${option('linear', linear ?: null)} \\
        ${option('last-latent', meta.round > 1 ? last_latent : null)} \\
        --seed ${settings.seed} --output latent
    """

    stub:
    """
    mkdir latent
    if [ -e linear ]; then cp -rL linear latent/; fi
    """
}
