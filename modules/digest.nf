// What the steps' results depend on besides data and parameters: a digest of the code behind each, which its settings have.
// Done in stub runs too: what is done again after a change is part of the flow.
process DIGEST {
    label 'cpu_small'
    // what Python compiles changes the folders' times, and nothing else
    cache 'lenient'

    input:
    path scripts, stageAs: 'checkout/bin'
    path library, stageAs: 'checkout/src/drgnalign'
    path environment
    // what is installed in the images, in any order that stays the same; [] where tasks run without
    val installed
    // a digest of all that code: -resume would not look into folders
    val code

    output:
    tuple path('digests.json'), val(installed), emit: digests

    script:
    """
    # code ${code}
    digest.py checkout --environment ${environment} --output digests.json
    """
}
