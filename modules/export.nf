include { place } from '../subworkflows/parameters.nf'

process EXPORT {
    tag "${place(meta, task.ext)}"
    label 'cpu_small'
    // what comes out is published by the run itself, in the order of the passes
    fair true

    input:
    // also folders of the points along a motion
    tuple val(meta), path(particles), path(references, stageAs: 'references'), path(points, stageAs: 'motion/*')
    val settings

    output:
    tuple val(meta), path('final'), emit: folder

    script:
    """
    # version ${settings.version}
    mkdir -p motion
    export.py ${particles} --references ${references} --motion motion --output final
    """

    stub:
    """
    mkdir final
    """
}
