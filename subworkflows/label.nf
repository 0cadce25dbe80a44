// From poses to clusters: train, embed, cluster, let the images choose, and decode maps to look at.

include { TRAIN } from '../modules/train.nf'
include { EMBED } from '../modules/embed.nf'
include { CLUSTER } from '../modules/cluster.nf'
include { ASSIGN } from '../modules/assign.nf'
include { DECODE } from '../modules/decode.nf'
include { versionOf } from './scripts.nf'

workflow LABEL {
    take:
    states // [meta, particles.star, references, latent]
    training_stack // down-sampled images
    assign_stack // images for assignment
    focus // mask of the part that assignment judges by, or []

    main:
    // Each step is given only the part of meta that it depends on: another resolution limit must not train anew.
    TRAIN(
        states.map { meta, particles, _references, latent -> [meta.subMap('pass', 'round', 'epochs'), particles, latent] },
        training_stack,
        versionOf('train'),
    )
    EMBED(
        TRAIN.out.training.map { meta, training -> [meta.pass, training] }
            .join(states.map { meta, _particles, _references, latent -> [meta.pass, meta, latent] })
            .map { _pass, training, meta, last_latent -> [meta.subMap('pass', 'round'), training, last_latent] },
        versionOf('embed'),
    )
    // [pass, meta, particles.star, references, latent]
    embedded = states.map { meta, particles, references, _latent -> [meta.pass, meta, particles, references] }
        .join(EMBED.out.latent.map { meta, latent -> [meta.pass, latent] })
    CLUSTER(
        embedded.map { _pass, meta, particles, references, latent ->
            [meta.subMap('pass', 'round', 'clustering', 'assign'), particles, references, latent]
        },
        versionOf('cluster'),
    )
    proposed = CLUSTER.out.labelled.branch { meta, _star, _clusters ->
        open: meta.assign == 'likelihood'
        decided: true
    }
    ASSIGN(
        proposed.open.map { meta, star, clusters -> [meta.pass, meta, star, clusters] }
            .join(embedded.map { pass, _meta, particles, references, latent -> [pass, particles, references, latent] })
            .map { _pass, meta, star, clusters, particles, references, latent ->
                [meta.subMap('pass', 'round'), star, particles, references, latent, clusters]
            },
        assign_stack,
        focus,
        versionOf('assign'),
    )
    // [pass, meta, labelled.star, references, latent, clusters.json]
    clustered = embedded
        .join(proposed.decided.mix(ASSIGN.out.labelled).map { meta, star, clusters -> [meta.pass, star, clusters] })
        .map { pass, meta, _particles, references, latent, star, clusters ->
            [pass, meta, star, references, latent, clusters]
        }
    DECODE(
        clustered.map { _pass, meta, star, references, latent, clusters ->
            [meta.subMap('pass', 'round', 'references'), star, references, latent, clusters]
        },
        training_stack,
        versionOf('decode'),
    )

    labelled = clustered.join(DECODE.out.decoded.map { meta, decoded -> [meta.pass, decoded] })
        .map { row -> row.tail() }

    emit:
    labelled // [meta, labelled.star, references, latent, clusters.json, decoded]
}
