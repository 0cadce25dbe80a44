include { codeVersion } from '../subworkflows/scripts.nf'

process REPORT {
    label 'cpu_small'
    publishDir "${params.outdir}", mode: 'copy', saveAs: { path -> path - 'report/' }

    input:
    path passes, stageAs: 'passes/*'

    output:
    path 'report/*'

    script:
    """
    # code ${codeVersion('report.py')}
    report.py passes --output report
    """
}
