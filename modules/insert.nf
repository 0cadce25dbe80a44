include { codeVersion ; option } from '../subworkflows/scripts.nf'

process INSERT {
    tag "pass ${meta.pass} ${chunk.baseName}"
    label 'cpu_refine'

    input:
    tuple val(meta), path(chunk), path(references, stageAs: 'references'), path(images, stageAs: 'images')

    output:
    tuple val(meta), path("${chunk.baseName}.npz"), emit: part

    script:
    """
    # code ${codeVersion('insert.py')}
    insert.py ${chunk} --images images --noise references/noise.csv \\
        ${option('mask-diameter', params.mask_diameter)} --engine ${params.engine} --part ${chunk.baseName}.npz
    """
}
