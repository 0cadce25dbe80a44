include { whole } from '../subworkflows/parameters.nf'
include { linked ; option } from '../subworkflows/scripts.nf'

process CHECK_INPUTS {
    label 'cpu_small'
    containerOptions { images.mounts }
    publishDir "${params.outdir}/pipeline_info", mode: 'copy', pattern: 'inputs.json'

    input:
    // images: see subworkflows/images.nf; stack: name of the one stack of a file that does not name its images, else null
    tuple path(particles, stageAs: 'input/*'), path(passthrough, stageAs: 'passthrough?/*'), val(images), val(stack)
    val version

    output:
    tuple path('particles.star'), path('inputs.json'), emit: checked
    path 'versions.yml', topic: 'versions'
    path 'said.txt', topic: 'said'

    script:
    def others = [passthrough].flatten().collect { file -> option('passthrough', file) }.join(' ')
    """
    # version ${version}
    ${linked(images)}
    check_inputs.py ${particles} ${option('images', stack ? "images/${stack}" : 'images')} ${others} \\
        ${option('pixel-size', params.pixel_size)} \\
        ${option('voltage', params.voltage)} \\
        ${option('cs', params.cs)} \\
        ${option('amplitude-contrast', params.amplitude_contrast)} \\
        --invert ${params.invert} --normalise ${params.normalise} ${option('mask-diameter', params.mask_diameter)} \\
        --half-sets ${params.half_sets} --perturb-rotation ${params.perturb_rotation} \\
        --perturb-shift ${params.perturb_shift} \\
        --seed ${whole(params.seed)} \\
        --train-box ${whole(params.train_box)} \\
        --output particles.star --report inputs.json --said said.txt
    versions.py > versions.yml
    """

    stub:
    """
    touch particles.star versions.yml said.txt
    echo '{}' > inputs.json
    """
}
