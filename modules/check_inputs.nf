include { linked ; mountsOf ; option ; optionsOf } from '../subworkflows/scripts.nf'

process CHECK_INPUTS {
    label 'cpu_small'
    // by what is in the particle file, wherever it lies
    cache 'deep'
    containerOptions { mountsOf(images) }

    input:
    // options, beside: what belongs to the particle file, each by its option; images: see subworkflows/images.nf; stack: name
    // of the one stack of a file that does not name its images, else null
    tuple path(particles, stageAs: 'input/*'), val(options), path(beside, stageAs: 'beside?/*'), val(images), val(stack)
    path labels, stageAs: 'labels/*'
    val settings

    output:
    // first, and so before what CHECK_SETTINGS, which adds to it, puts in its place
    tuple val(task.process), val([:]), path('inputs.json'), topic: 'published'
    tuple path('particles.star'), path('inputs.json'), emit: checked
    path 'versions.yml', topic: 'versions'
    path 'said.txt', topic: 'said'

    script:
    def others = optionsOf(options, beside)
    """
    # version ${settings.version}
    ${linked(images)}
    check_inputs.py ${particles} ${option('images', stack ? "images/${stack}" : 'images')} ${others} \\
        ${option('pixel-size', settings.pixel_size)} \\
        ${option('voltage', settings.voltage)} \\
        ${option('cs', settings.cs)} \\
        ${option('amplitude-contrast', settings.amplitude_contrast)} \\
        --invert ${settings.invert} --normalise ${settings.normalise} ${option('mask-diameter', settings.mask_diameter)} \\
        --half-sets ${settings.half_sets} --perturb-rotation ${settings.perturb_rotation} \\
        --perturb-shift ${settings.perturb_shift} \\
        --seed ${settings.seed} \\
        --train-box ${settings.train_box} ${option('labels', labels ?: null)} \\
        --output particles.star --report inputs.json --said said.txt
    versions.py > versions.yml
    """

    stub:
    """
    touch particles.star versions.yml said.txt
    echo '{}' > inputs.json
    """
}
