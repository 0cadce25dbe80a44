include { place } from '../subworkflows/parameters.nf'
include { assignmentSymmetry ; option } from '../subworkflows/scripts.nf'

process MASK {
    tag "${place(meta, task.ext)}"
    label 'cpu_small'

    input:
    tuple val(meta), path(labelled), path(last_references, stageAs: 'last_references')
    path stack
    val settings

    output:
    tuple val(meta), path('mask.mrc'), emit: mask

    script:
    """
    # version ${settings.version}
    mask.py ${labelled} --stack ${stack} --last-references ${last_references} \\
        ${option('mask-diameter', settings.mask_diameter)} \\
        --symmetry ${assignmentSymmetry(settings)} --output mask.mrc
    """

    stub:
    """
    touch mask.mrc
    """
}
