// One pass over the clusters: split, refine every chunk, assign once more, reconstruct every cluster, merge.

include { MASK } from '../modules/mask.nf'
include { SPLIT ; SPLIT as RESPLIT } from '../modules/split.nf'
include { INSERT ; INSERT as REINSERT } from '../modules/insert.nf'
include { REFINE } from '../modules/refine.nf'
include { RECONSTRUCT ; RECONSTRUCT as REFERENCE } from '../modules/reconstruct.nf'
include { REASSIGN } from '../modules/reassign.nf'
include { MERGE } from '../modules/merge.nf'
include { byPass ; joined ; stateOf ; withPass } from './cargo.nf'

// [pass, [meta, chunk, pilot]] of the chunks of a plan
def chunksOf(meta, plan, files) {
    def rows = plan.splitCsv(header: true)
    def refined = refinedRows(plan).size()
    def in_cluster = rows.countBy { row -> row.cluster }
    def by_name = [files].flatten().collectEntries { path -> [path.name, path] }
    return rows.collect { row ->
        def cluster = [cluster: row.cluster, limit: row.limit, reference: row.reference]
        def sizes = [chunks: in_cluster[row.cluster], pass_refined: refined, pass_clusters: in_cluster.size()]
        def of_chunk = meta + cluster + sizes + [reassigned: reassigns(meta)]
        [meta.pass, [meta: of_chunk, chunk: by_name[row.chunk], pilot: by_name[row.pilot]]]
    }
}

def refinedRows(plan) {
    return plan.splitCsv(header: true).findAll { row -> row.limit != 'none' }
}

// [pass, [meta, parts]] of each cluster, of [meta, part] of its chunks
def byCluster(summed) {
    return summed.map { meta, part -> [groupKey(meta, meta.chunks), part] }.groupTuple()
        .map { key, parts -> [key.target.pass, [meta: key.target, parts: parts]] }
}

workflow MAP {
    take:
    passes // [pass, [meta, labelled, references, latent, clusters, decoded]], see cargo.nf
    lasts // [pass, [last]]: particles.star as the last pass left it
    images // see images.nf
    stack // images for assignment
    mask // the user's own, or []
    focus // mask of the part that assignment judges by, or []
    settings // of each step by its name, see settings.nf

    main:
    MASK(
        passes.filter { _pass, cargo -> cargo.meta.round > 0 && !mask }
            .map { _pass, cargo -> [cargo.meta.subMap('pass', 'round'), cargo.labelled, cargo.references] },
        stack,
        settings.map { step -> step.mask },
    )
    // [pass, [mask]], of all its maps; [] where the consensus makes its own
    masks = passes.filter { _pass, cargo -> cargo.meta.round == 0 || mask }
        .map { pass, _cargo -> [pass, [mask: mask]] }
        .mix(byPass(MASK.out.mask, ['mask']))
    masked = joined([passes, masks])
    SPLIT(
        // particles are refined as they move, where clusters of their maps are made later
        passes.map { _pass, cargo -> [cargo.meta, reassigns(cargo.meta), cargo.labelled, cargo.references] },
        settings.map { step -> step.split },
    )
    plans = byPass(SPLIT.out.plan, ['plan', 'files'])
    // [pass, [meta, chunk, pilot, and what there is of the pass]]
    chunks = withPass(SPLIT.out.plan.flatMap { meta, plan, files -> chunksOf(meta, plan, files) }, masked)

    // Reconstructions at the present poses: the result where nothing is refined, else the first references. Where labels
    // are chosen again, what is not refined is added up once they have been.
    INSERT(
        chunks
            .filter { _pass, cargo ->
                cargo.meta.reference == 'reconstruct' && !(cargo.meta.limit == 'none' && cargo.meta.reassigned)
            }
            .combine(images)
            .map { _pass, cargo, known -> toInsert(cargo, focus, known) },
        settings.map { step -> step.insert },
    )
    inserted = withPass(byCluster(INSERT.out.part), masked)
        .branch { _pass, cargo ->
            result: cargo.meta.limit == 'none'
            reference: true
        }
    REFERENCE(
        inserted.reference.map { _pass, cargo -> toReconstruct(cargo, focus) },
        settings.map { step -> step.reconstruct },
    )

    refinable = chunks.filter { _pass, cargo -> cargo.meta.limit != 'none' }
        .branch { _pass, cargo ->
            anew: cargo.meta.reference == 'reconstruct'
            given: true
        }
    // with half maps and what the engine keeps beside them
    anew = refinable.anew.map { _pass, cargo -> [cargo.meta, cargo] }
        .combine(REFERENCE.out.maps, by: 0)
        .map { meta, cargo, maps -> cargo + [maps: referenceFiles(maps, meta.cluster)] }
    given = refinable.given.map { _pass, cargo ->
        def folder = cargo.meta.reference.startsWith('decoder_') ? cargo.decoded : cargo.references
        cargo + [maps: referenceFiles(folder.toFile().list().collect { name -> folder.resolve(name) }, cargo.meta.reference)]
    }
    REFINE(
        anew.mix(given)
            .combine(images)
            .map { cargo, known -> toRefine(cargo, focus, known) },
        settings.map { step -> step.refine },
    )

    // [pass, [refined]]: its refined chunks
    stars = REFINE.out.refined
        .map { meta, star -> [groupKey(meta.pass, meta.pass_refined), star] }
        .groupTuple()
        .map { key, files -> [key.target, [refined: files]] }
        .mix(
            plans.filter { _pass, cargo -> !refinedRows(cargo.plan) }
                .map { pass, _cargo -> [pass, [refined: []]] }
        )

    // Where the images choose, they do so again at the refined poses, and clusters are made of what they choose.
    choosing = passes.filter { _pass, cargo -> reassigns(cargo.meta) }
    REASSIGN(
        joined([choosing, stars]).map { _pass, cargo ->
            [cargo.meta, cargo.labelled, cargo.references, cargo.clusters, cargo.refined]
        },
        stack,
        focus,
        settings.map { step -> step.reassign },
    )
    RESPLIT(
        joined([choosing, byPass(REASSIGN.out.moved, ['moved'])])
            .map { _pass, cargo -> [cargo.meta, false, cargo.moved, cargo.references] },
        settings.map { step -> step.split },
    )
    REINSERT(
        withPass(RESPLIT.out.plan.flatMap { meta, plan, files -> chunksOf(meta, plan, files) }, masked)
            .combine(images)
            .map { _pass, cargo, known -> toInsert(cargo, focus, known) },
        settings.map { step -> step.insert },
    )
    summed = REFINE.out.part.mix(REINSERT.out.part)
    RECONSTRUCT(
        inserted.result.mix(withPass(byCluster(summed), masked)).map { _pass, cargo -> toReconstruct(cargo, focus) },
        settings.map { step -> step.reconstruct },
    )

    // [pass, [labelled, clusters, plan]], by which maps were made
    as_split = joined([passes.filter { _pass, cargo -> !reassigns(cargo.meta) }, plans])
    chosen = joined([
        byPass(REASSIGN.out.labelled, ['labelled', 'clusters']),
        byPass(RESPLIT.out.plan, ['plan', 'files']),
    ])
    planned = as_split.mix(chosen).map { pass, cargo -> [pass, cargo.subMap('labelled', 'clusters', 'plan')] }
    // [pass, [maps]]; none where no cluster is large enough for one
    maps = RECONSTRUCT.out.maps
        .map { meta, files -> [groupKey(meta.pass, meta.pass_clusters), files] }
        .groupTuple()
        .map { key, files -> [key.target, [maps: files.flatten()]] }
        .mix(
            planned.filter { _pass, cargo -> !cargo.plan.splitCsv(header: true) }
                .map { pass, _cargo -> [pass, [maps: []]] }
        )
    MERGE(
        joined([masked, planned, lasts, maps, stars]).map { _pass, cargo -> toMerge(cargo) },
        settings.map { step -> step.merge },
    )

    state = MERGE.out.state.map { row -> [row[0].pass, stateOf(row)] }
    folder = MERGE.out.folder
    parts = INSERT.out.part.mix(summed).map { meta, part -> [meta.pass, part] }

    emit:
    state // [pass, [meta, particles, references, latent, stop]]
    folder // [meta, what people look at, what the screen says]
    parts // [pass, part of a reconstruction]
}

// What INSERT takes
def toInsert(cargo, focus, images) {
    return [cargo.meta, cargo.chunk, cargo.references, [cargo.mask, lookedAt(cargo.meta, focus)], images]
}

// What REFINE takes
def toRefine(cargo, focus, images) {
    def masks = [cargo.mask, lookedAt(cargo.meta, focus)]
    return [cargo.meta, cargo.chunk, cargo.pilot, cargo.maps, cargo.references] + masks + [images]
}

// What RECONSTRUCT takes
def toReconstruct(cargo, focus) {
    return [cargo.meta, cargo.parts, cargo.references, cargo.mask, lookedAt(cargo.meta, focus)]
}

// What MERGE takes
def toMerge(cargo) {
    def last = [cargo.labelled, cargo.last, cargo.references, cargo.latent, cargo.decoded]
    return [cargo.meta] + last + [cargo.clusters, cargo.plan, cargo.mask, cargo.maps, cargo.refined]
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
