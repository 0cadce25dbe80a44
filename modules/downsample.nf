include { linked ; mountsOf ; option } from '../subworkflows/scripts.nf'

process DOWNSAMPLE {
    label 'cpu_small'
    containerOptions { mountsOf(images) }

    input:
    tuple path(particles), val(images)
    val settings

    output:
    path 'down_sampled.mrcs', emit: stack
    // the state before the first pass: a noise spectrum, and nothing learnt yet
    tuple path('references'), path('latent'), emit: start

    script:
    """
    # version ${settings.version}
    ${linked(images)}
    mkdir references latent
    downsample.py ${particles} --images images --box ${settings.train_box} \\
        ${option('mask-diameter', settings.mask_diameter)} --stack down_sampled.mrcs --noise references/noise.csv
    """

    stub:
    """
    touch down_sampled.mrcs
    mkdir references latent
    """
}
