include { option ; optionsOf } from '../subworkflows/scripts.nf'

// Alone, so that the stacks' sizes and times can be looked at anew in every run.
process LIST_STACKS {
    label 'cpu_small'
    // by what is in the particle file, wherever it lies
    cache 'deep'

    input:
    // options, beside: what belongs to the particle file, each by its option; stack: name of the one stack of a file that does
    // not name its images, else null
    tuple path(particles, stageAs: 'input/*'), val(options), path(beside, stageAs: 'beside?/*'), val(stack)
    val settings

    output:
    path 'stacks.txt', emit: names

    script:
    def others = optionsOf(options, beside)
    """
    # version ${settings.version}
    list_stacks.py ${particles} ${option('stack', stack)} ${others} \\
        ${option('pixel-size', settings.pixel_size)} \\
        ${option('voltage', settings.voltage)} \\
        ${option('cs', settings.cs)} \\
        ${option('amplitude-contrast', settings.amplitude_contrast)} \\
        --output stacks.txt
    """

    stub:
    """
    touch stacks.txt
    """
}
