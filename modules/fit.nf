include { place } from '../subworkflows/parameters.nf'
include { assignmentSymmetry ; option } from '../subworkflows/scripts.nf'

process FIT {
    tag "${place(meta, task.ext)}"
    label 'cpu_assign'

    input:
    tuple val(meta), path(particles), path(last_references, stageAs: 'last_references'),
        path(last_latent, stageAs: 'last_latent')
    path stack
    path focus, stageAs: 'focus_mask.mrc'
    val settings

    output:
    tuple val(meta), path('linear'), emit: model

    script:
    def warm = meta.round > 1 && settings.warm_start
    """
    # version ${settings.version}
    fit.py ${particles} --stack ${stack} --last-references ${last_references} \\
        ${option('last-latent', warm ? last_latent : null)} \\
        --components ${settings.components} --most-points ${meta.most_points} --limit ${settings.assign_limit} \\
        ${option('mask-diameter', settings.mask_diameter)} ${option('focus-mask', focus ?: null)} \\
        --symmetry ${assignmentSymmetry(settings)} \\
        --seed ${settings.seed} --threads ${task.cpus} --output linear
    """

    stub:
    """
    mkdir linear
    echo '{"motion": true}' > linear/linear.json
    """
}
