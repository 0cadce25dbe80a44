include { place } from '../subworkflows/parameters.nf'
include { engineOptions ; linked ; option } from '../subworkflows/scripts.nf'

// Half maps at a point along a motion, of a pass's particles at their new poses.
process MOTION {
    tag "${place(meta, task.ext)} ${point}/${settings.path_points}"
    label params.device == 'cuda' && params.engine == 'native' ? 'gpu_refine' : 'cpu_refine'
    containerOptions { "${task.label.contains('gpu_refine') ? '--nv ' : ''}${images.mounts}" }

    input:
    tuple val(meta), val(point), path(particles), path(references, stageAs: 'references'), val(images)
    val settings

    output:
    tuple val(task.process), val(meta), path('motion/*'), topic: 'published'
    tuple val(task.process), val(meta), path('logs/*'), topic: 'published', optional: true

    script:
    """
    # version ${settings.version}
    ${linked(images)}
    motion.py ${particles} --point ${point} --points ${settings.path_points} --images images \\
        --mask references/mask.mrc --noise references/noise.csv \\
        ${option('mask-diameter', settings.mask_diameter)} \\
        ${engineOptions(settings)} \\
        ${option('device', settings.device)} \\
        --output motion/${String.format('point_%02d', point)}
    """

    stub:
    """
    mkdir motion
    touch motion/${String.format('point_%02d', point)}.mrc
    """
}
