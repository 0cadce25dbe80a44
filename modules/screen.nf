include { assignmentSymmetry ; option ; passFolder } from '../subworkflows/scripts.nf'

// With a limit of its own, and the training images where they reach it: another limit of assignment must not train anew.
process SCREEN {
    tag "pass ${meta.pass}"
    label 'cpu_small'
    publishDir "${params.outdir}", mode: 'copy', saveAs: { path ->
        path == 'screening.json' ? "${passFolder(meta)}/${path}" : null
    }

    input:
    tuple val(meta), path(particles, stageAs: 'given.star'), path(references, stageAs: 'references')
    path stack
    path images, stageAs: 'images'
    val version

    output:
    tuple val(meta), path('screened.star'), path('screening.json'), emit: screened

    script:
    """
    # version ${version}
    screen.py ${particles} --references ${references} --stack ${stack} --images images \\
        ${option('mask-diameter', params.mask_diameter)} \\
        --symmetry ${assignmentSymmetry(params.engine, params.symmetry)} \\
        --output screened.star --record screening.json
    """
}
