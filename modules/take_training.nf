include { option } from '../subworkflows/scripts.nf'

process TAKE_TRAINING {
    label 'cpu_small'

    input:
    tuple path(particles), path(facts, stageAs: 'found.json')
    // [weights, z, config] and what lies beside: see trainingFiles (subworkflows/inputs.nf)
    path files, stageAs: 'given/*'
    val settings

    output:
    path 'training', emit: training
    path 'said.txt', topic: 'said'

    script:
    def (weights, z, config) = files
    """
    # version ${settings.version}
    take_training.py ${particles} --weights ${weights} --z ${z} --config ${config} --inputs ${facts} \\
        --zdim ${settings.zdim} --layers ${settings.layers} --nodes ${settings.nodes} \\
        --learning-rate ${settings.learning_rate} --output training --said said.txt
    """

    stub:
    """
    mkdir training
    touch said.txt
    """
}
