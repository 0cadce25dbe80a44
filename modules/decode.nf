include { place } from '../subworkflows/parameters.nf'
include { option } from '../subworkflows/scripts.nf'

process DECODE {
    tag "${place(meta, task.ext)}"
    label 'gpu'

    input:
    tuple val(meta), path(labelled), path(references, stageAs: 'references'), path(latent), path(clusters)
    path stack
    val settings

    output:
    tuple val(meta), path('decoded'), emit: decoded
    tuple val(task.process), val(meta), path('decoded'), topic: 'published'

    script:
    """
    # version ${settings.version}
    decode.py ${labelled} --latent ${latent} --clusters ${clusters} --stack ${stack} \\
        ${option('consensus', meta.references == 'decoder' ? references : null)} \\
        --threads ${task.cpus} --output decoded
    """

    stub:
    """
    mkdir decoded
    touch decoded/decoder_cluster_0{1,2}_half{1,2}.mrc
    """
}
