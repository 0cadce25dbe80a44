// Before the first training, and while the consensus is made
process CHECK_TRAINING {
    label 'gpu'

    input:
    tuple path(particles), path(stack)
    // epochs of all rounds together
    val epochs
    // GPUs that are seen where the run was started: another answer is to be had where they are others
    val gpus
    val settings

    output:
    val true, emit: passed
    tuple val(task.process), val([:]), path('training.json'), topic: 'published'
    path 'said.txt', topic: 'said'

    script:
    """
    # version ${settings.version}, GPUs ${gpus}
    check_training.py ${particles} --stack ${stack} \\
        --zdim ${settings.zdim} --layers ${settings.layers} --nodes ${settings.nodes} \\
        --batch-size ${settings.batch_size} --epochs ${epochs} ${settings.require_gpu ? '--require-gpu' : ''} \\
        --threads ${task.cpus} --report training.json --said said.txt
    """

    stub:
    """
    touch training.json said.txt
    """
}
