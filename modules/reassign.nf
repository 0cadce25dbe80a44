include { place } from '../subworkflows/parameters.nf'
include { assignmentSymmetry ; option } from '../subworkflows/scripts.nf'

process REASSIGN {
    tag "${place(meta, task.ext)}"
    label 'cpu_small'

    input:
    tuple val(meta), path(labelled, stageAs: 'given.star'), path(last_references, stageAs: 'last_references'),
        path(clusters, stageAs: 'given.json'), path(refined, stageAs: 'refined/*')
    path stack
    path focus, stageAs: 'focus_mask.mrc'
    val settings

    output:
    tuple val(meta), path('labelled.star'), path('clusters.json'), emit: labelled
    tuple val(meta), path('moved.star'), emit: moved
    tuple val(task.process), val(meta), path('posteriors.csv.gz'), topic: 'published'

    script:
    """
    # version ${settings.version}
    mkdir -p refined
    reassign.py ${labelled} --refined refined --last-references ${last_references} --stack ${stack} \\
        --clusters ${clusters} --limit ${settings.assign_limit} --against ${settings.assign_against} \\
        --assignment ${settings.assignment} --junk ${settings.junk} ${option('mask-diameter', settings.mask_diameter)} \\
        --symmetry ${assignmentSymmetry(settings)} ${option('focus-mask', focus ?: null)} \\
        --output labelled.star --moved moved.star --posteriors posteriors.csv.gz --record clusters.json
    """

    stub:
    """
    touch labelled.star clusters.json moved.star
    echo reassigned > posteriors.csv.gz
    """
}
