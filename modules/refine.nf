include { option } from '../subworkflows/scripts.nf'

process REFINE {
    tag "pass ${meta.pass} ${chunk.baseName}"
    label 'cpu_refine'

    input:
    tuple val(meta), path(chunk, stageAs: 'chunk/*'), path(half1), path(half2),
        path(references, stageAs: 'references'), path(images, stageAs: 'images')
    val version

    output:
    tuple val(meta), path("${chunk.baseName}.star"), emit: refined
    tuple val(meta), path("${chunk.baseName}.npz"), emit: part

    script:
    """
    # version ${version}
    refine.py ${chunk} --half1 ${half1} --half2 ${half2} --limit ${meta.limit} \\
        --mask references/mask.mrc --noise references/noise.csv --images images \\
        ${option('mask-diameter', params.mask_diameter)} \\
        ${params.joint_reference ? '--joint-reference' : ''} --engine ${params.engine} \\
        --part ${chunk.baseName}.npz --output ${chunk.baseName}.star
    """
}
