include { option } from '../subworkflows/scripts.nf'

// Alone, so that the stacks' sizes and times can be looked at anew in every run.
process LIST_STACKS {
    label 'cpu_small'

    input:
    // stack: name of the one stack of a file that does not name its images, else null
    tuple path(particles, stageAs: 'input/*'), path(passthrough, stageAs: 'passthrough?/*'), val(stack)
    val version

    output:
    path 'stacks.txt', emit: names

    script:
    def others = [passthrough].flatten().collect { file -> option('passthrough', file) }.join(' ')
    """
    # version ${version}
    list_stacks.py ${particles} ${option('stack', stack)} ${others} \\
        ${option('pixel-size', params.pixel_size)} \\
        ${option('voltage', params.voltage)} \\
        ${option('cs', params.cs)} \\
        ${option('amplitude-contrast', params.amplitude_contrast)} \\
        --output stacks.txt
    """

    stub:
    """
    touch stacks.txt
    """
}
