// From poses to clusters: train, embed, cluster, and decode maps to look at.

include { TRAIN } from '../modules/train.nf'
include { EMBED } from '../modules/embed.nf'
include { CLUSTER } from '../modules/cluster.nf'
include { DECODE } from '../modules/decode.nf'

workflow LABEL {
    take:
    states // [meta, particles.star, references, latent]
    stack // down-sampled images

    main:
    by_pass = states.map { meta, particles, references, latent -> [meta.pass, particles, references, latent] }
    TRAIN(states.map { meta, particles, _references, latent -> [meta, particles, latent] }, stack)
    EMBED(
        TRAIN.out.training.map { meta, training -> [meta.pass, meta, training] }
            .join(by_pass)
            .map { _pass, meta, training, _particles, _references, last_latent -> [meta, training, last_latent] }
    )
    // [pass, meta, latent, particles.star, references]
    embedded = EMBED.out.latent.map { meta, latent -> [meta.pass, meta, latent] }
        .join(by_pass.map { pass, particles, references, _latent -> [pass, particles, references] })
    CLUSTER(embedded.map { _pass, meta, latent, particles, references -> [meta, particles, references, latent] })
    labelled = CLUSTER.out.labelled.map { meta, star, clusters -> [meta.pass, star, clusters] }
        .join(embedded)
        .map { _pass, star, clusters, meta, latent, _particles, references ->
            [meta, star, references, latent, clusters]
        }
    DECODE(labelled, stack)

    emit:
    // [meta, labelled.star, references, latent, clusters.json, decoded]
    labelled = labelled.map { row -> [row[0].pass] + row }
        .join(DECODE.out.decoded.map { meta, decoded -> [meta.pass, decoded] })
        .map { row -> row.tail() }
}
