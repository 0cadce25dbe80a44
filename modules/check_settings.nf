include { clusterings } from '../subworkflows/parameters.nf'
include { engineOptions ; option ; optionOfEach } from '../subworkflows/scripts.nf'

// Apart from CHECK_INPUTS, so that another limit or one round more does not make all that came of the particles anew.
process CHECK_SETTINGS {
    label 'cpu_small'

    input:
    tuple path(particles), path(facts, stageAs: 'found.json')
    path mask, stageAs: 'mask/*'
    path focus, stageAs: 'focus_mask/*'
    path initial_maps, stageAs: 'initial_map?/*'
    path known, stageAs: 'known?/*'
    val settings

    output:
    val true, emit: passed
    // what CHECK_INPUTS found, with what is warned of here, if anything is
    tuple val(task.process), val([:]), path('inputs.json'), topic: 'published', optional: true
    path 'said.txt', topic: 'said'

    script:
    def limits = [settings.consensus_limits, settings.resolution_limits].join(',')
    def rounds = clusterings(settings)
    def chosen = rounds.findAll { one -> one.assign == 'likelihood' }
    def parted = rounds.findAll { one -> one.assign == 'none' && one.clustering in ['kmeans', 'gmm'] }
    def clusters = (chosen + parted).collect { one -> one.k }.findAll { k -> k != 'auto' }.max()
    def proposed = (chosen.collect { one -> one.proposed } + parted.collect { one -> one.k }).max()
    // of labels that are given
    def wanted = rounds && rounds[0].assign == 'likelihood' && rounds[0].k != 'auto' ? rounds[0].k : null
    def maps = optionOfEach('initial-map', initial_maps)
    """
    # version ${settings.version}
    check_settings.py ${particles} --limits ${limits} \\
        ${option('clusters', clusters)} ${option('proposed', proposed)} ${option('wanted', wanted)} ${option('assign-limit', chosen ? settings.assign_limit : null)} \\
        ${option('mask-diameter', settings.mask_diameter)} ${option('perturb-shift', settings.perturb_shift)} \\
        ${option('mask', mask ?: null)} ${option('focus-mask', focus ?: null)} ${maps} ${optionOfEach('known', known)} \\
        ${engineOptions(settings)} \\
        ${option('device', settings.device)} \\
        --inputs ${facts} --report inputs.json --said said.txt
    """

    stub:
    """
    touch said.txt
    """
}
