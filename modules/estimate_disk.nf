include { clusterings } from '../subworkflows/parameters.nf'
include { option } from '../subworkflows/scripts.nf'

// Apart from CHECK_SETTINGS: what is free is looked at in every run.
process ESTIMATE_DISK {
    label 'cpu_small'

    input:
    path particles
    // passes over the consensus, and those of them that reconstruct what they refine against
    tuple val(consensus), val(anew)
    val settings

    output:
    path 'disk.json', emit: needs

    script:
    def linear = settings.latent != 'cryodrgn'
    def clusters = clusterings(settings).collect { one -> one.k == 'auto' ? one.proposed : one.k }.max() ?: 1
    """
    # version ${settings.version}
    estimate_disk.py ${particles} --consensus ${consensus} --anew ${anew} --rounds ${settings.rounds} --clusters ${clusters} \\
        ${settings.references.tokenize(',').contains('reconstruct') ? '--reconstructs' : ''} \\
        --train-box ${settings.train_box} ${option('chunk-size', settings.chunk_size)} \\
        ${option('assign-limit', linear || clusterings(settings).any { one -> one.assign == 'likelihood' } ? settings.assign_limit : null)} \\
        --components ${linear ? settings.components : 0} --path-points ${linear ? settings.path_points : 0} \\
        --engine ${settings.engine} ${settings.keep ? '--keep' : ''} ${option('mask-diameter', settings.mask_diameter)} \\
        --output disk.json
    """

    stub:
    """
    echo '{"work": 0, "stacks": 0, "results": 0}' > disk.json
    """
}
