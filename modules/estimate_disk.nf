include { clustersProposed ; whole } from '../subworkflows/parameters.nf'
include { option } from '../subworkflows/scripts.nf'

// Apart from CHECK_SETTINGS: what is free is looked at in every run.
process ESTIMATE_DISK {
    label 'cpu_small'

    input:
    path particles
    // passes over the consensus
    val consensus
    val version

    output:
    path 'disk.json', emit: needs

    script:
    def clusters = params.k == 'auto' ? clustersProposed(params.k_start, params.k) : whole(params.k)
    """
    # version ${version}
    estimate_disk.py ${particles} --consensus ${consensus} --rounds ${whole(params.rounds)} --clusters ${clusters} \\
        ${params.references.tokenize(',').contains('reconstruct') ? '--reconstructs' : ''} \\
        --train-box ${whole(params.train_box)} ${option('chunk-size', whole(params.chunk_size))} \\
        ${option('assign-limit', params.assign == 'likelihood' ? params.assign_limit : null)} \\
        --engine ${params.engine} ${params.keep ? '--keep' : ''} ${option('mask-diameter', params.mask_diameter)} \\
        --output disk.json
    """

    stub:
    """
    echo '{"work": 0, "results": 0}' > disk.json
    """
}
