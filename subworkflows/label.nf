// From poses to clusters: train and fit, embed, cluster, let the images choose, and make maps to look at.

include { TRAIN } from '../modules/train.nf'
include { FIT } from '../modules/fit.nf'
include { EMBED } from '../modules/embed.nf'
include { CLUSTER } from '../modules/cluster.nf'
include { ASSIGN } from '../modules/assign.nf'
include { DECODE } from '../modules/decode.nf'
include { COMBINE } from '../modules/combine.nf'
include { byPass ; joined } from './cargo.nf'
include { checkpointFolder } from './scripts.nf'

workflow LABEL {
    take:
    states // [pass, [meta, particles, references, latent]], see cargo.nf
    training_stack // down-sampled images
    assign_stack // images for assignment
    focus // mask of the part that assignment judges by, or []
    initial_maps // the user's own, that the first round starts from, or []
    taken // folder of the training that is the first round's, where --weights is given
    settings // of each step by its name, see settings.nf

    main:
    // Each step is given only the part of meta that it depends on: another resolution limit must not train anew.
    trained = states.branch { _pass, cargo ->
        no: cargo.meta.latent == 'linear'
        before: cargo.meta.epochs == 0
        yes: true
    }
    TRAIN(
        trained.yes.map { _pass, cargo -> [cargo.meta.subMap('pass', 'round', 'epochs'), cargo.particles, cargo.latent] },
        training_stack,
        settings.map { step -> step.train },
    )
    // only now that the run has the result: what died with Nextflow may have trained on, and -resume goes on from there
    TRAIN.out.kept.subscribe { note -> file("${checkpointFolder()}/${note.text.trim()}").deleteDir() }
    fitted = states.branch { _pass, cargo ->
        yes: cargo.meta.latent != 'cryodrgn'
        no: true
    }
    FIT(
        fitted.yes.map { _pass, cargo ->
            // of how many points it is that the plateau begins does not depend on how many are wanted
            def meta = cargo.meta.subMap('pass', 'round') + [most_points: [12, cargo.meta.proposed].max()]
            [meta, cargo.particles, cargo.references, cargo.latent]
        },
        assign_stack,
        focus,
        settings.map { step -> step.fit },
    )
    // [pass, [training]], [pass, [linear]]; [] where there is none
    trainings = byPass(TRAIN.out.training, ['training']).mix(
        trained.before.combine(taken).map { pass, _cargo, training -> [pass, [training: training]] },
        trained.no.map { pass, _cargo -> [pass, [training: []]] },
    )
    models = byPass(FIT.out.model, ['linear']).mix(fitted.no.map { pass, _cargo -> [pass, [linear: []]] })
    EMBED(
        joined([states, trainings, models])
            .map { _pass, cargo -> [cargo.meta.subMap('pass', 'round'), cargo.training, cargo.linear, cargo.latent] },
        settings.map { step -> step.embed },
    )
    embedded = joined([states, byPass(EMBED.out.latent, ['latent'])])
    CLUSTER(
        embedded.map { _pass, cargo ->
            def meta = cargo.meta.subMap('pass', 'round', 'clustering', 'cluster_on', 'k', 'proposed', 'assign')
            [meta, cargo.particles, cargo.references, cargo.latent]
        },
        settings.map { step -> step.cluster },
    )
    proposed = joined([embedded, byPass(CLUSTER.out.labelled, ['labelled', 'clusters'])])
        .branch { _pass, cargo ->
            open: cargo.meta.assign == 'likelihood'
            decided: true
        }
    ASSIGN(
        proposed.open.map { _pass, cargo ->
            def meta = cargo.meta.subMap('pass', 'round', 'k')
            [meta, cargo.labelled, cargo.particles, cargo.references, cargo.latent, cargo.clusters, cargo.meta.round == 1 ? initial_maps : []]
        },
        assign_stack,
        focus,
        settings.map { step -> step.assign },
    )
    chosen = joined([proposed.open, byPass(ASSIGN.out.labelled, ['labelled', 'clusters'])])
    clustered = proposed.decided.mix(chosen)
    mapped = clustered.branch { _pass, cargo ->
        network: cargo.meta.latent != 'linear'
        linear: true
    }
    DECODE(
        mapped.network.map { _pass, cargo ->
            def meta = cargo.meta.subMap('pass', 'round', 'references')
            [meta, cargo.labelled, cargo.references, cargo.latent, cargo.clusters]
        },
        training_stack,
        settings.map { step -> step.decode },
    )
    COMBINE(
        mapped.linear.map { _pass, cargo ->
            [cargo.meta.subMap('pass', 'round', 'references'), cargo.references, cargo.latent, cargo.clusters]
        },
        settings.map { step -> step.combine },
    )

    labelled = joined([clustered, byPass(DECODE.out.decoded.mix(COMBINE.out.decoded), ['decoded'])])

    emit:
    labelled // [pass, [meta, labelled, references, latent, clusters, decoded]]
}
