include { place ; shortName } from '../subworkflows/parameters.nf'
include { engineOptions ; linked ; mountsOf ; option } from '../subworkflows/scripts.nf'

process REFINE {
    tag "${place(meta, task.ext)} ${shortName(chunk.baseName)}"
    label params.device == 'cuda' && params.engine == 'native' ? 'gpu_refine' : 'cpu_refine'
    containerOptions { "${task.label.contains('gpu_refine') ? '--nv ' : ''}${mountsOf(images)}" }

    input:
    // shown: the masks of the map that the part is for, see subworkflows/map.nf
    tuple val(meta), path(chunk, stageAs: 'chunk/*'), path(pilot), path(reference, stageAs: 'reference/*'),
        path(references, stageAs: 'references'), path(mask, stageAs: 'mask.mrc'), val(shown), val(images)
    val settings

    output:
    tuple val(meta), path("${chunk.baseName}.star"), emit: refined
    tuple val(meta), path("${chunk.baseName}.part"), emit: part, optional: true
    tuple val(task.process), val(meta), path('logs/*'), topic: 'published', optional: true

    script:
    // Where labels may still change, particles are added up once they have.
    def part = meta.assign == 'likelihood' ? null : "${chunk.baseName}.part"
    def weighted = reference.any { path -> path.name.contains('_reference_half') } ? '--weighted' : ''
    """
    # version ${settings.version}
    ${linked(images)}
    refine.py ${chunk} --half1 reference/*_half1.mrc --half2 reference/*_half2.mrc --limit ${meta.limit} ${weighted} \\
        --pilot ${pilot} --mask ${mask ?: 'references/mask.mrc'} --noise references/noise.csv --images images \\
        ${option('mask-diameter', settings.mask_diameter)} \\
        ${engineOptions(settings)} \\
        ${option('device', settings.device)} \\
        ${option('part', part)} --output ${chunk.baseName}.star
    """

    stub:
    """
    touch ${chunk.baseName}.star ${meta.assign == 'likelihood' ? '' : "${chunk.baseName}.part"}
    """
}
