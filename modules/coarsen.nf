include { linked ; mountsOf } from '../subworkflows/scripts.nf'

// Apart from DOWNSAMPLE, so that another limit of assignment does not train anew.
process COARSEN {
    label 'cpu_small'
    containerOptions { mountsOf(images) }

    input:
    tuple path(particles), path(stack), val(images)
    val settings

    output:
    path 'assign.mrcs', emit: stack, optional: true

    script:
    """
    # version ${settings.version}
    ${linked(images)}
    coarsen.py ${particles} --images images --stack ${stack} --limit ${settings.assign_limit} --output assign.mrcs
    """

    stub:
    """
    touch assign.mrcs
    """
}
