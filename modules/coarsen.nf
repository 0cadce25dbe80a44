// Apart from DOWNSAMPLE, so that another limit of assignment does not train anew.
process COARSEN {
    label 'cpu_small'

    input:
    tuple path(particles), path(stack), path(images, stageAs: 'images')
    val version

    output:
    path 'assign.mrcs', emit: stack, optional: true

    script:
    """
    # version ${version}
    coarsen.py ${particles} --images images --stack ${stack} --limit ${params.assign_limit} --output assign.mrcs
    """
}
