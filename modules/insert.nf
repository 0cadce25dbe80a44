include { place ; shortName } from '../subworkflows/parameters.nf'
include { engineOptions ; linked ; mountsOf ; option } from '../subworkflows/scripts.nf'

process INSERT {
    tag "${place(meta, task.ext)} ${shortName(chunk.baseName)}"
    label params.device == 'cuda' && params.engine == 'native' ? 'gpu_refine' : 'cpu_refine'
    containerOptions { "${task.label.contains('gpu_refine') ? '--nv ' : ''}${mountsOf(images)}" }

    input:
    // shown: the masks of the map that the part is for, see subworkflows/map.nf
    tuple val(meta), path(chunk), path(references, stageAs: 'references'), val(shown), val(images)
    val settings

    output:
    tuple val(meta), path("${chunk.baseName}.part"), emit: part
    tuple val(task.process), val(meta), path('logs/*'), topic: 'published', optional: true

    script:
    """
    # version ${settings.version}
    ${linked(images)}
    insert.py ${chunk} --images images --noise references/noise.csv \\
        ${option('mask-diameter', settings.mask_diameter)} \\
        ${engineOptions(settings)} \\
        ${option('device', settings.device)} \\
        --part ${chunk.baseName}.part
    """

    stub:
    """
    touch ${chunk.baseName}.part
    """
}
