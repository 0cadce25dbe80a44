include { clustersProposed } from '../subworkflows/parameters.nf'
include { engineOptions ; option } from '../subworkflows/scripts.nf'

// Apart from CHECK_INPUTS, so that another limit or one round more does not make all that came of the particles anew.
process CHECK_SETTINGS {
    label 'cpu_small'

    input:
    path particles
    path mask, stageAs: 'mask/*'
    path focus, stageAs: 'focus_mask/*'
    val version

    output:
    val true, emit: passed

    script:
    def limits = [params.consensus_limits, params.resolution_limits].join(',')
    def partitions = params.clustering.tokenize(',').any { method -> method in ['kmeans', 'gmm'] }
    def clusters = params.assign == 'likelihood' ? clustersProposed(params.k_start, params.k) : partitions ? params.k : null
    // A path in the script itself is escaped where its name has blanks, one that a function was given is not.
    """
    # version ${version}
    check_settings.py ${particles} --limits ${limits} \\
        ${option('clusters', clusters)} ${option('assign-limit', params.assign == 'likelihood' ? params.assign_limit : null)} \\
        ${option('mask-diameter', params.mask_diameter)} \\
        ${mask ? "--mask ${mask}" : ''} ${focus ? "--focus-mask ${focus}" : ''} \\
        ${engineOptions(params.engine, params.mass_kda, params.joint_reference, params.frealign_dir, params.frealign_args, params.symmetry)} \\
        ${option('device', params.device)}
    """
}
