include { place } from '../subworkflows/parameters.nf'
include { assignmentSymmetry ; option } from '../subworkflows/scripts.nf'

process MASK {
    tag "${place(meta)}"
    label 'cpu_small'

    input:
    tuple val(meta), path(labelled), path(last_references, stageAs: 'last_references')
    path stack
    val version

    output:
    tuple val(meta), path('mask.mrc'), emit: mask

    script:
    """
    # version ${version}
    mask.py ${labelled} --stack ${stack} --last-references ${last_references} \\
        ${option('mask-diameter', params.mask_diameter)} \\
        --symmetry ${assignmentSymmetry(params.engine, params.symmetry)} --output mask.mrc
    """

    stub:
    """
    touch mask.mrc
    """
}
