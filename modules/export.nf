include { place } from '../subworkflows/parameters.nf'

process EXPORT {
    tag "${place(meta, task.ext)}"
    label 'cpu_small'
    // what comes out is published by the run itself, in the order of the passes
    fair true

    input:
    tuple val(meta), path(particles), path(references, stageAs: 'references')
    val settings

    output:
    tuple val(meta), path('final'), emit: folder

    script:
    """
    # version ${settings.version}
    export.py ${particles} --references ${references} --output final
    """

    stub:
    """
    mkdir final
    """
}
