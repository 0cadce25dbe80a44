process REPORT {
    label 'cpu_small'
    publishDir "${params.outdir}", mode: 'copy', saveAs: { path -> path - 'report/' }

    input:
    path passes, stageAs: 'passes/*'
    val version

    output:
    path 'report/*'

    script:
    """
    # version ${version}
    report.py passes --output report
    """
}
