include { whole } from '../subworkflows/parameters.nf'

// Before the first training, and while the consensus is made
process CHECK_TRAINING {
    label 'gpu'
    publishDir "${params.outdir}/pipeline_info", mode: 'copy', pattern: 'training.json'

    input:
    tuple path(particles), path(stack)
    // epochs of all rounds together
    val epochs
    // GPUs that are seen where the run was started: another answer is to be had where they are others
    val gpus
    val version

    output:
    val true, emit: passed
    path 'training.json'
    path 'said.txt', topic: 'said'

    script:
    """
    # version ${version}, GPUs ${gpus}
    check_training.py ${particles} --stack ${stack} \\
        --zdim ${whole(params.zdim)} --layers ${whole(params.layers)} --nodes ${whole(params.nodes)} \\
        --batch-size ${whole(params.batch_size)} --epochs ${epochs} ${params.require_gpu ? '--require-gpu' : ''} \\
        --threads ${task.cpus} --report training.json --said said.txt
    """

    stub:
    """
    touch training.json said.txt
    """
}
