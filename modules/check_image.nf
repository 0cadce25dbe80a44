// One task an image, before anything else: a library of another version would do other things, or fail late.
process CHECK_IMAGE {
    tag "${name}"
    // No label: labels choose an image, and resources.
    container { image }
    memory 1.GB
    time 10.m

    input:
    // stamp: size and time of the image, so that -resume looks at a new one again
    tuple val(name), val(image), val(stamp)
    path checkout, stageAs: 'checkout'
    // a digest of it: -resume would not look into folders
    val code

    output:
    // a digest of what is in the image besides the library
    env('INSTALLED'), emit: installed
    tuple val(task.process), val([:]), path("images/${name}.yml"), topic: 'published'

    script:
    """
    # code ${code}, image ${stamp}
    INSTALLED=\$(check_image.py ${image} --name ${name} --checkout checkout)
    mkdir images
    versions.py > images/${name}.yml
    """

    stub:
    """
    mkdir images
    touch images/${name}.yml
    INSTALLED=stub
    """
}
