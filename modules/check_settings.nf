include { clustersProposed ; whole } from '../subworkflows/parameters.nf'
include { engineOptions ; option } from '../subworkflows/scripts.nf'

// Apart from CHECK_INPUTS, so that another limit or one round more does not make all that came of the particles anew.
process CHECK_SETTINGS {
    label 'cpu_small'
    publishDir "${params.outdir}/pipeline_info", mode: 'copy', pattern: 'inputs.json'

    input:
    tuple path(particles), path(facts, stageAs: 'found.json')
    path mask, stageAs: 'mask/*'
    path focus, stageAs: 'focus_mask/*'
    val version

    output:
    val true, emit: passed
    // what CHECK_INPUTS found, with what is warned of here, if anything is
    path 'inputs.json', optional: true
    path 'said.txt', topic: 'said'

    script:
    def limits = [params.consensus_limits, params.resolution_limits].join(',')
    def partitions = params.clustering.tokenize(',').any { method -> method in ['kmeans', 'gmm'] }
    def asked = whole(params.rounds) > 0 && (params.assign == 'likelihood' || partitions)
    def clusters = asked && params.k != 'auto' ? whole(params.k) : null
    def proposed = asked ? (params.assign == 'likelihood' ? clustersProposed(params.k_start, params.k) : whole(params.k)) : null
    """
    # version ${version}
    check_settings.py ${particles} --limits ${limits} \\
        ${option('clusters', clusters)} ${option('proposed', proposed)} ${option('assign-limit', params.assign == 'likelihood' ? params.assign_limit : null)} \\
        ${option('mask-diameter', params.mask_diameter)} ${option('perturb-shift', params.perturb_shift)} \\
        ${option('mask', mask ?: null)} ${option('focus-mask', focus ?: null)} \\
        ${engineOptions(params.engine, params.mass_kda, params.joint_reference, params.frealign_dir, params.frealign_args, params.symmetry)} \\
        ${option('device', params.device)} \\
        --inputs ${facts} --report inputs.json --said said.txt
    """

    stub:
    """
    touch said.txt
    """
}
