include { whole } from '../subworkflows/parameters.nf'
include { linked ; option } from '../subworkflows/scripts.nf'

process DOWNSAMPLE {
    label 'cpu_small'
    containerOptions { images.mounts }

    input:
    tuple path(particles), val(images)
    val version

    output:
    path 'down_sampled.mrcs', emit: stack
    // the state before the first pass: a noise spectrum, and nothing learnt yet
    tuple path('references'), path('latent'), emit: start

    script:
    """
    # version ${version}
    ${linked(images)}
    mkdir references latent
    downsample.py ${particles} --images images --box ${whole(params.train_box)} \\
        ${option('mask-diameter', params.mask_diameter)} --stack down_sampled.mrcs --noise references/noise.csv
    """

    stub:
    """
    touch down_sampled.mrcs
    mkdir references latent
    """
}
