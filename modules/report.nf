include { place } from '../subworkflows/parameters.nf'
include { option } from '../subworkflows/scripts.nf'

process REPORT {
    tag "${place(meta, task.ext)}"
    label 'cpu_small'
    // what comes out is published by the run itself, in the order of the passes
    fair true

    input:
    // folders of this pass and all before it, those of their points along motions, this one's comparison, what the input
    // was found to be, and what people decided
    tuple val(meta), path(passes, stageAs: 'passes/*'), path(points, stageAs: 'motion/*'),
        path(comparison, stageAs: 'comparison'), path(inputs, stageAs: 'inputs.json'), path(decisions, stageAs: 'decisions.json')
    // also a digest of all parameters, which it shows, and where the run is on record
    val settings

    output:
    tuple val(meta), path('report/*'), emit: files

    script:
    """
    # version ${settings.version}, parameters ${settings.parameters}
    mkdir -p motion
    report.py passes --motion motion --inputs inputs.json --decisions decisions.json \\
        ${option('comparison', comparison ?: null)} ${option('info', settings.info)} --output report
    """

    stub:
    """
    mkdir report
    echo 'stub' > report/findings.txt
    touch report/report.html
    """
}
