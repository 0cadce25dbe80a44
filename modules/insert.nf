include { option } from '../subworkflows/scripts.nf'

process INSERT {
    tag "pass ${meta.pass} ${chunk.baseName}"
    label 'cpu_refine'

    input:
    tuple val(meta), path(chunk), path(references, stageAs: 'references'), path(images, stageAs: 'images')
    val version

    output:
    tuple val(meta), path("${chunk.baseName}.npz"), emit: part

    script:
    """
    # version ${version}
    insert.py ${chunk} --images images --noise references/noise.csv \\
        ${option('mask-diameter', params.mask_diameter)} --engine ${params.engine} --part ${chunk.baseName}.npz
    """
}
