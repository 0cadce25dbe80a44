include { place } from '../subworkflows/parameters.nf'
include { option ; passFolder } from '../subworkflows/scripts.nf'

process DECODE {
    tag "${place(meta)}"
    label 'gpu'
    publishDir "${params.outdir}", mode: 'copy', saveAs: { path -> "${passFolder(meta)}/${path}" }

    input:
    tuple val(meta), path(labelled), path(references, stageAs: 'references'), path(latent), path(clusters)
    path stack
    val version

    output:
    tuple val(meta), path('decoded'), emit: decoded

    script:
    """
    # version ${version}
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
