include { place } from '../subworkflows/parameters.nf'
include { option } from '../subworkflows/scripts.nf'

process REPORT {
    tag "${place(meta)}"
    label 'cpu_small'
    // what comes out is published by the run itself, in the order of the passes
    fair true

    input:
    // folders of this pass and all before it, and what the input was found to be
    tuple val(meta), path(passes, stageAs: 'passes/*'), path(inputs, stageAs: 'inputs.json')
    val version
    // it shows all parameters
    val parameters

    output:
    tuple val(meta), path('report/*'), emit: files

    script:
    """
    # version ${version}, parameters ${parameters}
    report.py passes --inputs inputs.json \\
        ${option('info', file(params.outdir, glob: false).toAbsolutePath().resolve('pipeline_info'))} --output report
    """

    stub:
    """
    mkdir report
    echo 'stub' > report/findings.txt
    touch report/report.html
    """
}
