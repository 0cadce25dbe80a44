include { place } from '../subworkflows/parameters.nf'
include { engineOptions ; linked ; mountsOf ; option } from '../subworkflows/scripts.nf'

def nameOf(point) {
    return String.format('point_%02d', point)
}

// Its files' names are those of other passes too
def folderOf(meta, point) {
    return "pass_${meta.pass}_${nameOf(point)}"
}

// Half maps at a point along a motion, of a pass's particles at their new poses.
process MOTION {
    tag "${place(meta, task.ext)} ${point}/${settings.path_points}"
    label params.device == 'cuda' && params.engine == 'native' ? 'gpu_refine' : 'cpu_refine'
    containerOptions { "${task.label.contains('gpu_refine') ? '--nv ' : ''}${mountsOf(images)}" }

    input:
    tuple val(meta), val(point), path(particles), path(references, stageAs: 'references'), val(images)
    val settings

    output:
    tuple val(meta), path("${folderOf(meta, point)}"), emit: point
    tuple val(task.process), val(meta), path("${folderOf(meta, point)}/*"), topic: 'published'
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
        --output ${folderOf(meta, point)}/${nameOf(point)}
    """

    stub:
    """
    mkdir ${folderOf(meta, point)}
    touch ${folderOf(meta, point)}/${nameOf(point)}.mrc
    """
}
