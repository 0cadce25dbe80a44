include { place } from '../subworkflows/parameters.nf'
include { optionOfEach } from '../subworkflows/scripts.nf'

// A round's maps against maps and models that the user knows.
process COMPARE {
    tag "${place(meta, task.ext)}"
    label 'cpu_compare'

    input:
    tuple val(meta), path(references, stageAs: 'references')
    path known, stageAs: 'known?/*'
    // whether published figures are wanted (thesis), and what files in folders are known by
    val others
    val settings

    output:
    tuple val(meta), path('comparison'), emit: comparison
    tuple val(task.process), val(meta), path('comparison'), topic: 'published'
    path 'said.txt', topic: 'said'

    script:
    """
    # version ${settings.version}
    compare.py references ${optionOfEach('known', known)} ${others.thesis ? '--thesis' : ''} --round ${meta.round} \\
        --said said.txt --output comparison
    """

    stub:
    """
    mkdir comparison
    touch comparison/comparison.json
    touch said.txt
    """
}
