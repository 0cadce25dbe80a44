include { codeVersion } from '../subworkflows/scripts.nf'

process EXPORT {
    label 'cpu_small'
    publishDir "${params.outdir}", mode: 'copy'

    input:
    tuple path(particles), path(references)

    output:
    path 'final'

    script:
    """
    # code ${codeVersion('export.py')}
    export.py ${particles} --references ${references} --output final
    """
}
