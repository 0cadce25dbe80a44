// One task an image, before anything else: a library of another version would do other things, or fail late.
process CHECK_IMAGE {
    tag "${name}"
    // No label: labels choose an image, and resources.
    container { image }
    memory 1.GB
    time 10.m
    publishDir "${params.outdir}/pipeline_info/images", mode: 'copy', pattern: '*.yml'

    input:
    // stamp: size and time of the image, so that -resume looks at a new one again
    tuple val(name), val(image), val(stamp)
    path checkout, stageAs: 'checkout'
    val version

    output:
    val true, emit: passed
    path "${name}.yml"

    script:
    """
    # version ${version}, image ${stamp}
    check_image.py ${image} --name ${name} --checkout checkout
    versions.py > ${name}.yml
    """

    stub:
    """
    touch ${name}.yml
    """
}
