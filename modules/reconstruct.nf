include { place ; shortName } from '../subworkflows/parameters.nf'
include { engineOptions ; option } from '../subworkflows/scripts.nf'

process RECONSTRUCT {
    tag "${place(meta, task.ext)} ${shortName(meta.cluster)}"
    label 'cpu_small'

    input:
    tuple val(meta), path(parts, stageAs: 'parts/*'), path(references, stageAs: 'references'),
        path(mask, stageAs: 'mask.mrc'), path(focus, stageAs: 'focus_mask.mrc')
    val settings

    output:
    tuple val(meta), path("maps/${meta.cluster}*"), emit: maps
    tuple val(task.process), val(meta), path('logs/*'), topic: 'published', optional: true

    script:
    def prior = meta.cluster != 'consensus' && settings.engine == 'native'
        ? "--consensus references/consensus --reference-prior ${settings.reference_prior} ${option('focus-mask', focus ?: null)}"
        : ''
    """
    # version ${settings.version}
    mkdir maps
    reconstruct.py parts/* ${option('mask', mask ?: null)} ${prior} ${option('mask-diameter', settings.mask_diameter)} \\
        ${engineOptions(settings)} \\
        ${settings.local_resolution ? '--local-resolution' : ''} --output maps/${meta.cluster}
    """

    stub:
    """
    mkdir maps
    touch maps/${meta.cluster}_half{1,2}.mrc
    """
}
