include { quoted } from '../subworkflows/scripts.nf'

process NOTE_DECISIONS {
    label 'cpu_small'

    input:
    path facts, stageAs: 'found.json'
    // given: of each file the parameter and what people call it; there may be none
    tuple val(given), path(files, stageAs: 'given?/*')
    val settings

    output:
    tuple val(task.process), val([:]), path('decisions.json'), topic: 'published'
    path 'decisions.json', emit: decisions

    script:
    def named = [given, [files].flatten()].transpose().collect { names, path -> "--file ${names[0]} ${quoted(names[1])} ${quoted(path)}" }
    """
    # version ${settings.version}
    note_decisions.py ${named.join(' ')} --inputs ${facts} --output decisions.json
    """

    stub:
    """
    echo '{"decisions": []}' > decisions.json
    """
}
