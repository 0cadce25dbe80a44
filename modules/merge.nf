include { place } from '../subworkflows/parameters.nf'
include { option } from '../subworkflows/scripts.nf'

process MERGE {
    tag "${place(meta, task.ext)}"
    label 'cpu_small'

    input:
    tuple val(meta), path(labelled), path(last_particles, stageAs: 'last.star'),
        path(last_references, stageAs: 'last_references'), path(latent), path(decoded, stageAs: 'decoded'), path(record),
        path(plan),
        path(mask, stageAs: 'mask.mrc'), path(maps, stageAs: 'maps/*'), path(refined, stageAs: 'refined/*')
    val settings

    output:
    // latent goes on as it came: it belongs to the state
    tuple val(meta), path('particles.star'), path('references'), path(latent, includeInputs: true), env('STEADY'),
        emit: state, topic: 'state'
    // what people look at
    // not by a pattern, which would leave out what is named as an input
    tuple val(task.process), val(meta), path('particles.star'), path('metrics.json'), path('fsc.csv'), path('clusters'),
        topic: 'published'
    tuple val(task.process), val(meta), path('clusters.json', includeInputs: true), topic: 'published', optional: true
    // the same for REPORT, one folder a pass, with latent space and decoded maps; and what the screen says of the pass
    tuple val(meta), path("pass_${meta.pass}"), path('said.txt'), emit: folder

    script:
    """
    # version ${settings.version}
    mkdir -p refined maps clusters pass_${meta.pass}
    shopt -s nullglob
    STEADY=\$(merge.py ${labelled} --refined refined --maps maps --plan ${plan} --last-references ${last_references} \\
        --last-particles ${last_particles} ${option('mask', mask ?: null)} \\
        ${option(meta.screen ? 'screening' : 'clustering', record ?: null)} \\
        --pass-number ${meta.pass} --round ${meta.round} --halves '${meta.halves}' \\
        --references-kind ${meta.references} ${option('mask-diameter', settings.mask_diameter)} ${option('symmetry', settings.symmetry)} \\
        --particles particles.star --references references --metrics metrics.json --said said.txt)
    ln references/fsc.csv .
    ln references/${meta.round ? 'cluster' : 'consensus'}*.mrc references/mask.mrc clusters/
    rm -f clusters/*_reference_half?.mrc clusters/consensus_mask.mrc
    cp particles.star metrics.json fsc.csv pass_${meta.pass}/
    mkdir pass_${meta.pass}/clusters pass_${meta.pass}/latent
    ln clusters/* pass_${meta.pass}/clusters/
    for file in embedding.csv embedding.json pc1_z.txt training.json; do
        if [ -e ${latent}/\$file ]; then cp ${latent}/\$file pass_${meta.pass}/latent/; fi
    done
    if [ -d decoded ]; then mkdir pass_${meta.pass}/decoded; cp decoded/pc1_*.mrc pass_${meta.pass}/decoded/; fi
    """

    stub:
    """
    mkdir -p references clusters pass_${meta.pass} maps
    # the last pass's may be linked there
    rm -f particles.star
    touch particles.star metrics.json fsc.csv
    find -L references maps ${last_references} -name '*_half?.mrc' -exec cp -n {} references \\;
    echo 'stub' > said.txt
    STEADY=false
    """
}
