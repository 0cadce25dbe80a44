include { place } from '../subworkflows/parameters.nf'
include { assignmentSymmetry ; linked ; option ; passFolder } from '../subworkflows/scripts.nf'

// With a limit of its own, and the training images where they reach it: another limit of assignment must not train anew.
process SCREEN {
    tag "${place(meta)}"
    label 'cpu_small'
    containerOptions { images.mounts }
    publishDir "${params.outdir}", mode: 'copy', saveAs: { path ->
        path == 'screening.json' ? "${passFolder(meta)}/${path}" : null
    }

    input:
    tuple val(meta), path(particles, stageAs: 'given.star'), path(references, stageAs: 'references')
    path stack
    val images
    val version

    output:
    tuple val(meta), path('screened.star'), path('screening.json'), emit: screened

    script:
    """
    # version ${version}
    ${linked(images)}
    screen.py ${particles} --references ${references} --stack ${stack} --images images \\
        ${option('mask-diameter', params.mask_diameter)} \\
        --symmetry ${assignmentSymmetry(params.engine, params.symmetry)} \\
        --output screened.star --record screening.json
    """

    stub:
    """
    touch screened.star screening.json
    """
}
