include { place } from '../subworkflows/parameters.nf'
include { checkpointFolder ; option ; trainingMemory } from '../subworkflows/scripts.nf'

process TRAIN {
    tag "${place(meta, task.ext)}"
    label 'gpu'
    // As conf/retry.config says; where a site's maximum does not suffice, images are read batch by batch.
    memory {
        (task.previousTrace?.memory ?: trainingMemory(task.ext.memory, stack)) * (task.ext.cause == 'memory' ? 2 : 1)
    }

    input:
    tuple val(meta), path(particles), path(last_latent, stageAs: 'last_latent')
    path stack
    val settings

    output:
    tuple val(meta), path('training'), emit: training
    // name of its folder of checkpoints
    path 'kept.txt', emit: kept

    script:
    def warm = meta.round > 1 && settings.warm_start
    """
    # version ${settings.version}
    train.py ${particles} --stack ${stack} ${option('last-latent', warm ? last_latent : null)} \\
        --zdim ${settings.zdim} --layers ${settings.layers} --nodes ${settings.nodes} --epochs ${meta.epochs} \\
        --batch-size ${settings.batch_size} --learning-rate ${settings.learning_rate} ${option('beta', settings.beta)} \\
        ${option('checkpoints', checkpointFolder())} --checkpoints-note kept.txt \\
        --checkpoint-epochs ${settings.checkpoint_epochs} \\
        --seed ${settings.seed + meta.round} --threads ${task.cpus} --output training
    """

    stub:
    """
    mkdir training
    echo none > kept.txt
    """
}
