// One pass over the clusters: split, refine every chunk, reconstruct every cluster, merge.

include { SPLIT } from '../modules/split.nf'
include { INSERT } from '../modules/insert.nf'
include { REFINE } from '../modules/refine.nf'
include { RECONSTRUCT ; RECONSTRUCT as RECONSTRUCT_REFERENCE } from '../modules/reconstruct.nf'
include { MERGE } from '../modules/merge.nf'
include { versionOf } from './scripts.nf'

// Chunks of a plan: [cluster meta, [chunk.star, pilot.star]]; meta says how many chunks make the cluster, and the pass.
def chunksOf(meta, plan, files) {
    def rows = plan.splitCsv(header: true)
    def in_cluster = rows.countBy { row -> row.cluster }
    def by_name = [files].flatten().collectEntries { path -> [path.name, path] }
    return rows.collect { row ->
        def cluster = [cluster: row.cluster, limit: row.limit, reference: row.reference]
        def sizes = [chunks: in_cluster[row.cluster], pass_chunks: rows.size(), pass_clusters: in_cluster.size()]
        [meta + cluster + sizes, [by_name[row.chunk], by_name[row.pilot]]]
    }
}

// [meta, item] of all chunks of a cluster -> [meta, [items]]
def byCluster(channel) {
    return channel.map { meta, part -> [groupKey(meta, meta.chunks), part] }.groupTuple()
        .map { key, parts -> [key.target, parts] }
}

workflow REFINE_CLUSTERS {
    take:
    passes // [meta, labelled.star, references, latent, clusters.json or [], decoded or []]
    images // folder

    main:
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

    // Reconstructions at the present poses: the result of a pass without refinement, else the first references.
    INSERT(
        chunks.filter { _pass, meta, _chunk, _references, _decoded -> meta.reference == 'reconstruct' }
            .map { _pass, meta, chunk, references, _decoded -> [meta, chunk[0], references] }
            .combine(images),
        versionOf('insert'),
    )
    inserted = byCluster(INSERT.out.part).map { meta, parts -> [meta.pass, meta, parts] }
        .combine(folders, by: 0)
        .map { _pass, meta, parts, references, _decoded -> [meta, parts, references] }
        .branch { meta, _parts, _references ->
            result: meta.limit == 'none'
            reference: true
        }
    RECONSTRUCT_REFERENCE(inserted.reference, versionOf('reconstruct'))

    // [meta, [chunk.star, pilot.star], half maps and what the engine keeps beside them, references]
    refinable = chunks.filter { _pass, meta, _chunk, _references, _decoded -> meta.limit != 'none' }
        .branch { _pass, meta, _chunk, _references, _decoded ->
            anew: meta.reference == 'reconstruct'
            given: true
        }
    anew = refinable.anew.map { _pass, meta, chunk, references, _decoded -> [meta, chunk, references] }
        .combine(RECONSTRUCT_REFERENCE.out.maps, by: 0)
        .map { meta, chunk, references, maps -> [meta, chunk, referenceFiles(maps, meta.cluster), references] }
    given = refinable.given.map { _pass, meta, chunk, references, decoded ->
        def folder = meta.reference.startsWith('decoder_') ? decoded : references
        [meta, chunk, referenceFiles(folder.listFiles(), meta.reference), references]
    }
    REFINE(
        anew.mix(given)
            .map { meta, chunk, maps, references -> [meta, chunk[0], chunk[1], maps, references] }
            .combine(images),
        versionOf('refine'),
    )

    refined = byCluster(REFINE.out.part).map { meta, parts -> [meta.pass, meta, parts] }
        .combine(folders, by: 0)
        .map { _pass, meta, parts, references, _decoded -> [meta, parts, references] }
    RECONSTRUCT(inserted.result.mix(refined), versionOf('reconstruct'))

    // Everything of a pass, gathered: [pass, [maps]] and [pass, [refined chunks]]
    maps = RECONSTRUCT.out.maps
        .map { meta, files -> [groupKey(meta.pass, meta.pass_clusters), files] }
        .groupTuple()
        .map { key, files -> [key.target, files.flatten()] }
    unrefined = INSERT.out.part.filter { meta, _part -> meta.limit == 'none' }.map { meta, _part -> [meta, []] }
    stars = REFINE.out.refined.mix(unrefined)
        .map { meta, star -> [groupKey(meta.pass, meta.pass_chunks), star] }
        .groupTuple()
        .map { key, files -> [key.target, files.flatten()] }
    MERGE(
        passes.map { meta, labelled, references, latent, clusters, _decoded ->
            [meta.pass, meta, labelled, references, latent, clusters]
        }
            .join(SPLIT.out.plan.map { meta, plan, _files -> [meta.pass, plan] })
            .join(maps)
            .join(stars)
            .map { row -> row.tail() },
        versionOf('merge'),
    )

    state = MERGE.out.state
    folder = MERGE.out.folder

    emit:
    state // [meta, particles.star, references, latent, stop]
    folder // what people look at
}

def referenceFiles(files, name) {
    def ready = files.findAll { path -> path.name.startsWith("${name}_reference_half") }
    def beginnings = ["${name}_half1.mrc", "${name}_half2.mrc", "${name}_statistics"]
    def found = ready ?: files.findAll { path -> beginnings.any { beginning -> path.name.startsWith(beginning) } }
    return found.sort { path -> path.name }
}
