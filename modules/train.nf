include { place ; whole } from '../subworkflows/parameters.nf'
include { checkpointFolder ; option ; trainingMemory } from '../subworkflows/scripts.nf'

process TRAIN {
    tag "${place(meta)}"
    label 'gpu'
    // As conf/base.config says; where a site's maximum does not suffice, images are read batch by batch.
    memory {
        (task.previousTrace?.memory ?: trainingMemory(task.ext.memory, stack)) * (task.ext.cause == 'ran out of memory' ? 2 : 1)
    }

    input:
    tuple val(meta), path(particles), path(last_latent, stageAs: 'last_latent')
    path stack
    val version

    output:
    tuple val(meta), path('training'), emit: training

    script:
    def warm = meta.round > 1 && params.warm_start
    """
    # version ${version}
    train.py ${particles} --stack ${stack} ${option('last-latent', warm ? last_latent : null)} \\
        --zdim ${whole(params.zdim)} --layers ${whole(params.layers)} --nodes ${whole(params.nodes)} --epochs ${meta.epochs} \\
        --batch-size ${whole(params.batch_size)} --learning-rate ${params.learning_rate} ${option('beta', params.beta)} \\
        ${option('checkpoints', checkpointFolder())} --checkpoint-epochs ${whole(params.checkpoint_epochs)} \\
        --seed ${whole(params.seed) + meta.round} --threads ${task.cpus} --output training
    """

    stub:
    """
    mkdir training
    """
}
