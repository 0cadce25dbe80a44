include { place } from '../subworkflows/parameters.nf'

process REPORT {
    tag "${place(meta)}"
    label 'cpu_small'
    // what comes out is published by the run itself, in the order of the passes
    fair true

    input:
    // folders of this pass and all before it
    tuple val(meta), path(passes, stageAs: 'passes/*')
    val version

    output:
    path 'report/*', emit: files

    script:
    """
    # version ${version}
    report.py passes --output report
    """
}
