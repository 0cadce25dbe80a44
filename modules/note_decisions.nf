include { optionsOf } from '../subworkflows/scripts.nf'

process NOTE_DECISIONS {
    label 'cpu_small'

    input:
    path facts, stageAs: 'found.json'
    // names, files: what people gave, each with its parameter
    tuple val(names), path(files, stageAs: 'given?/*')
    val settings

    output:
    tuple val(task.process), val([:]), path('decisions.json'), topic: 'published'

    script:
    """
    # version ${settings.version}
    note_decisions.py ${optionsOf(names, files)} --inputs ${facts} --output decisions.json
    """

    stub:
    """
    echo '{"decisions": []}' > decisions.json
    """
}
