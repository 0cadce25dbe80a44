include { place } from '../subworkflows/parameters.nf'
include { option } from '../subworkflows/scripts.nf'

// What DECODE does for cryoDRGN, of a linear model: without a GPU.
process COMBINE {
    tag "${place(meta, task.ext)}"
    label 'cpu_small'

    input:
    tuple val(meta), path(references, stageAs: 'references'), path(latent), path(clusters)
    val settings

    output:
    tuple val(meta), path('decoded'), emit: decoded
    tuple val(task.process), val(meta), path('decoded'), topic: 'published'

    script:
    """
    # version ${settings.version}
    combine.py --latent ${latent} --clusters ${clusters} \\
        ${option('consensus', meta.references == 'decoder' ? references : null)} \\
        --output decoded
    """

    stub:
    """
    mkdir decoded
    touch decoded/decoder_cluster_0{1,2}_half{1,2}.mrc
    """
}
