// One pass over the clusters: split, refine every chunk, assign once more, reconstruct every cluster, merge.

include { MASK } from '../modules/mask.nf'
include { SPLIT ; SPLIT as RESPLIT } from '../modules/split.nf'
include { INSERT ; INSERT as REINSERT } from '../modules/insert.nf'
include { REFINE } from '../modules/refine.nf'
include { RECONSTRUCT ; RECONSTRUCT as REFERENCE } from '../modules/reconstruct.nf'
include { REASSIGN } from '../modules/reassign.nf'
include { MERGE } from '../modules/merge.nf'
include { versionOf } from './scripts.nf'

// Chunks of a plan: [cluster meta, [chunk.star, pilot.star]]; meta says how many chunks make the cluster, how many of
// the pass are refined, how many clusters it has, and whether labels are chosen again.
def chunksOf(meta, plan, files) {
    def rows = plan.splitCsv(header: true)
    def refined = refinedRows(plan).size()
    def in_cluster = rows.countBy { row -> row.cluster }
    def by_name = [files].flatten().collectEntries { path -> [path.name, path] }
    return rows.collect { row ->
        def cluster = [cluster: row.cluster, limit: row.limit, reference: row.reference]
        def sizes = [chunks: in_cluster[row.cluster], pass_refined: refined, pass_clusters: in_cluster.size()]
        [meta + cluster + sizes + [reassigned: reassigns(meta)], [by_name[row.chunk], by_name[row.pilot]]]
    }
}

def refinedRows(plan) {
    return plan.splitCsv(header: true).findAll { row -> row.limit != 'none' }
}

// [meta, item] of all chunks of a cluster -> [meta, [items]]
def byCluster(channel) {
    return channel.map { meta, part -> [groupKey(meta, meta.chunks), part] }.groupTuple()
        .map { key, parts -> [key.target, parts] }
}

workflow MAP {
    take:
    passes // [meta, labelled.star, references, latent, clusters.json, screening.json or [], decoded or []]
    lasts // [pass, particles.star as the last pass left it]
    images // see images.nf
    stack // images for assignment
    mask // the user's own, or []
    focus // mask of the part that assignment judges by, or []

    main:
    // [pass, mask of all its maps]; [] where the consensus makes its own
    MASK(
        passes.filter { meta, _labelled, _references, _latent, _clusters, _decoded -> meta.round > 0 && !mask }
            .map { meta, labelled, references, _latent, _clusters, _decoded ->
                [meta.subMap('pass', 'round'), labelled, references]
            },
        stack,
        versionOf('mask'),
    )
    masks = passes.filter { meta, _labelled, _references, _latent, _clusters, _decoded -> meta.round == 0 || mask }
        .map { meta, _labelled, _references, _latent, _clusters, _decoded -> [meta.pass, mask] }
        .mix(MASK.out.mask.map { meta, made -> [meta.pass, made] })
    folders = passes.map { meta, _labelled, references, _latent, _clusters, decoded ->
        [meta.pass, references, decoded]
    }
    SPLIT(
        passes.map { meta, labelled, references, _latent, _clusters, _decoded -> [meta, labelled, references] },
        versionOf('split'),
    )
    // [pass, meta, [chunk.star, pilot.star], references, decoded]
    chunks = SPLIT.out.plan
        .flatMap { meta, plan, files -> chunksOf(meta, plan, files) }
        .map { meta, chunk -> [meta.pass, meta, chunk] }
        .combine(folders, by: 0)

    // Reconstructions at the present poses: the result where nothing is refined, else the first references. Where labels
    // are chosen again, what is not refined is added up once they have been.
    INSERT(
        chunks
            .filter { _pass, meta, _chunk, _references, _decoded ->
                meta.reference == 'reconstruct' && !(meta.limit == 'none' && meta.reassigned)
            }
            .map { pass, meta, chunk, references, _decoded -> [pass, meta, chunk[0], references] }
            .combine(masks, by: 0)
            .map { _pass, meta, chunk, references, own -> [meta, chunk, references, [own, lookedAt(meta, focus)]] }
            .combine(images),
        versionOfPart('insert'),
    )
    inserted = byCluster(INSERT.out.part).map { meta, parts -> [meta.pass, meta, parts] }
        .combine(folders, by: 0)
        .combine(masks, by: 0)
        .map { _pass, meta, parts, references, _decoded, own -> [meta, parts, references, own, lookedAt(meta, focus)] }
        .branch { meta, _parts, _references, _own, _focus ->
            result: meta.limit == 'none'
            reference: true
        }
    REFERENCE(inserted.reference, versionOf('reconstruct'))

    // [meta, [chunk.star, pilot.star], half maps and what the engine keeps beside them, references]
    refinable = chunks.filter { _pass, meta, _chunk, _references, _decoded -> meta.limit != 'none' }
        .branch { _pass, meta, _chunk, _references, _decoded ->
            anew: meta.reference == 'reconstruct'
            given: true
        }
    anew = refinable.anew.map { _pass, meta, chunk, references, _decoded -> [meta, chunk, references] }
        .combine(REFERENCE.out.maps, by: 0)
        .map { meta, chunk, references, maps -> [meta, chunk, referenceFiles(maps, meta.cluster), references] }
    given = refinable.given.map { _pass, meta, chunk, references, decoded ->
        def folder = meta.reference.startsWith('decoder_') ? decoded : references
        [meta, chunk, referenceFiles(folder.listFiles(), meta.reference), references]
    }
    REFINE(
        anew.mix(given)
            .map { meta, chunk, maps, references -> [meta.pass, meta, chunk[0], chunk[1], maps, references] }
            .combine(masks, by: 0)
            .map { _pass, meta, chunk, pilot, maps, references, own ->
                [meta, chunk, pilot, maps, references, own, lookedAt(meta, focus)]
            }
            .combine(images),
        versionOfPart('refine'),
    )

    // [pass, [refined chunks]]
    stars = REFINE.out.refined
        .map { meta, star -> [groupKey(meta.pass, meta.pass_refined), star] }
        .groupTuple()
        .map { key, files -> [key.target, files] }
        .mix(
            SPLIT.out.plan.filter { _meta, plan, _files -> !refinedRows(plan) }
                .map { meta, _plan, _files -> [meta.pass, []] }
        )

    // Where the images choose, they do so again at the refined poses, and clusters are made of what they choose.
    choosing = passes.filter { meta, _labelled, _references, _latent, _clusters, _decoded -> reassigns(meta) }
        .map { meta, labelled, references, _latent, clusters, _decoded ->
            [meta.pass, meta, labelled, references, clusters]
        }
    REASSIGN(choosing.join(stars).map { row -> row.tail() }, stack, focus, versionOf('reassign'))
    RESPLIT(
        REASSIGN.out.moved.map { meta, moved -> [meta.pass, meta, moved] }
            .join(folders)
            .map { _pass, meta, moved, references, _decoded -> [meta, moved, references] },
        versionOf('split'),
    )
    REINSERT(
        RESPLIT.out.plan
            .flatMap { meta, plan, files -> chunksOf(meta, plan, files) }
            .map { meta, chunk -> [meta.pass, meta, chunk[0]] }
            .combine(folders, by: 0)
            .combine(masks, by: 0)
            .map { _pass, meta, chunk, references, _decoded, own -> [meta, chunk, references, [own, lookedAt(meta, focus)]] }
            .combine(images),
        versionOfPart('insert'),
    )
    summed = REFINE.out.part.mix(REINSERT.out.part)
    refined = byCluster(summed).map { meta, parts -> [meta.pass, meta, parts] }
        .combine(folders, by: 0)
        .combine(masks, by: 0)
        .map { _pass, meta, parts, references, _decoded, own -> [meta, parts, references, own, lookedAt(meta, focus)] }
    RECONSTRUCT(inserted.result.mix(refined), versionOf('reconstruct'))

    // [pass, labelled.star, clusters.json or [], plan]
    as_split = passes.filter { meta, _labelled, _references, _latent, _clusters, _decoded -> !reassigns(meta) }
        .map { meta, labelled, _references, _latent, clusters, _decoded -> [meta.pass, labelled, clusters] }
        .join(SPLIT.out.plan.map { meta, plan, _files -> [meta.pass, plan] })
    chosen = REASSIGN.out.labelled.map { meta, labelled, clusters -> [meta.pass, labelled, clusters] }
        .join(RESPLIT.out.plan.map { meta, plan, _files -> [meta.pass, plan] })
    planned = as_split.mix(chosen)
    // [pass, [maps]]; none where no cluster is large enough for one
    maps = RECONSTRUCT.out.maps
        .map { meta, files -> [groupKey(meta.pass, meta.pass_clusters), files] }
        .groupTuple()
        .map { key, files -> [key.target, files.flatten()] }
        .mix(
            planned.filter { _pass, _labelled, _clusters, plan -> !plan.splitCsv(header: true) }
                .map { pass, _labelled, _clusters, _plan -> [pass, []] }
        )
    MERGE(
        passes.map { meta, _labelled, references, latent, _clusters, decoded ->
            [meta.pass, meta, references, latent, decoded]
        }
            .join(planned)
            .join(lasts)
            .join(masks)
            .join(maps)
            .join(stars)
            .map { _pass, meta, references, latent, decoded, labelled, clusters, plan, last, own, files, refined_chunks ->
                [meta, labelled, last, references, latent, decoded, clusters, plan, own, files, refined_chunks]
            },
        versionOf('merge'),
    )

    state = MERGE.out.state
    folder = MERGE.out.folder
    parts = INSERT.out.part.mix(summed).map { meta, part -> [meta.pass, part] }

    emit:
    state // [meta, particles.star, references, latent, stop]
    folder // [meta, what people look at, what the screen says]
    parts // [pass, part of a reconstruction]
}

// A part is emptied once its pass has ended (emptied.nf). So whatever makes a reconstruction run again has to make its
// parts again: they depend on its code, settings and masks too.
def versionOfPart(step) {
    return "${versionOf(step)} ${versionOf('reconstruct')}"
}

// Is a pass's assignment repeated at its refined poses?
def reassigns(meta) {
    return meta.assign == 'likelihood' && meta.limit != 'none'
}

// The consensus does not depend on where clusters are told apart.
def lookedAt(meta, focus) {
    return meta.round ? focus : []
}

def referenceFiles(files, name) {
    def ready = files.findAll { path -> path.name.startsWith("${name}_reference_half") }
    def beginnings = ["${name}_half1.mrc", "${name}_half2.mrc", "${name}_statistics"]
    def found = ready ?: files.findAll { path -> beginnings.any { beginning -> path.name.startsWith(beginning) } }
    return found.sort { path -> path.name }
}
