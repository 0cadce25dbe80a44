include { place } from '../subworkflows/parameters.nf'
include { assignmentSymmetry ; option ; optionOfEach } from '../subworkflows/scripts.nf'

process ASSIGN {
    tag "${place(meta, task.ext)}"
    label 'cpu_assign'

    input:
    tuple val(meta), path(proposed, stageAs: 'proposed.star'), path(last_particles, stageAs: 'last.star'),
        path(last_references, stageAs: 'last_references'), path(latent), path(proposal, stageAs: 'proposal.json'),
        path(initial_maps, stageAs: 'initial_map?/*')
    path stack
    path focus, stageAs: 'focus_mask.mrc'
    val settings

    output:
    tuple val(meta), path('labelled.star'), path('clusters.json'), emit: labelled
    // first, and so before what REASSIGN puts in its place
    tuple val(task.process), val(meta), path('posteriors.csv.gz'), topic: 'published'
    path 'said.txt', topic: 'said'

    script:
    def maps = optionOfEach('initial-map', initial_maps)
    """
    # version ${settings.version}
    echo -n "Round ${meta.round}: " > said.txt
    assign.py ${proposed} --last-particles ${last_particles} --last-references ${last_references} \\
        --stack ${stack} --latent ${latent} --clusters ${proposal} ${maps} \\
        --k ${meta.k} --limit ${settings.assign_limit} --against ${settings.assign_against} \\
        --assignment ${settings.assignment} --junk ${settings.junk} ${option('mask-diameter', settings.mask_diameter)} \\
        --symmetry ${assignmentSymmetry(settings)} ${option('focus-mask', focus ?: null)} \\
        --threads ${task.cpus} --output labelled.star --posteriors posteriors.csv.gz --record clusters.json >> said.txt
    """

    stub:
    """
    touch labelled.star clusters.json said.txt
    echo assigned > posteriors.csv.gz
    """
}
