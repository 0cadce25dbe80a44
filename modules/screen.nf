include { place } from '../subworkflows/parameters.nf'
include { assignmentSymmetry ; linked ; mountsOf ; option } from '../subworkflows/scripts.nf'

// With a limit of its own, and the training images where they reach it: another limit of assignment must not train anew.
process SCREEN {
    tag "${place(meta, task.ext)}"
    label 'cpu_small'
    containerOptions { mountsOf(images) }

    input:
    tuple val(meta), path(particles, stageAs: 'given.star'), path(references, stageAs: 'references')
    path stack
    val images
    val settings

    output:
    tuple val(meta), path('screened.star'), path('screening.json'), emit: screened
    tuple val(task.process), val(meta), path('screening.json'), topic: 'published'

    script:
    """
    # version ${settings.version}
    ${linked(images)}
    screen.py ${particles} --references ${references} --stack ${stack} --images images \\
        ${meta.screen == 'junk' ? '--keep-poses' : ''} ${option('mask-diameter', settings.mask_diameter)} \\
        --symmetry ${assignmentSymmetry(settings)} \\
        --output screened.star --record screening.json
    """

    stub:
    """
    touch screened.star screening.json
    """
}
