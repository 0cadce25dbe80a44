process EXPORT {
    label 'cpu_small'
    publishDir "${params.outdir}", mode: 'copy'

    input:
    tuple path(particles), path(references)
    val version

    output:
    path 'final'

    script:
    """
    # version ${version}
    export.py ${particles} --references ${references} --output final
    """
}
