// What goes through the channels of a run, and how it is put together.
//
// meta says which pass it is and how it is done. `schedule` (parameters.nf) makes that of every pass:
//   pass        its number, from 1
//   round       its round, from 1; 0 in the consensus
//   limit       Å up to which poses are refined, 'auto', or 'none'
//   references  what they are refined against: reconstruct, previous, decoder or consensus
//   halves      'independent', or 'not independent' once both half sets have met
//   screen      'junk' where that is looked for before poses are refined, 'junk and poses' where lost poses are, too
// and in rounds
//   clustering  kmeans, gmm, hdbscan, dbscan; 'fixed' where labels stay
//   cluster_on  z, umap2 or umap3
//   k           how many clusters, or 'auto'
//   proposed    how many the images choose among
//   assign      'likelihood' where the images choose, else 'none'
//   latent      'cryodrgn', 'linear' or 'both': who makes the latent space; of both, the network's is embedded
//   epochs      of training; 0 where one that was done before is taken (--weights)
// A step is given only the keys that it depends on: -resume compares what it was given.
//
// The meta of a chunk and of its cluster (`chunksOf`, map.nf) has besides
//   cluster        cluster_01 …, or 'consensus'
//   limit          of this cluster: a number, or 'none'
//   reference      what it is refined against: 'reconstruct', or whose maps
//   chunks         how many chunks make the cluster
//   pass_refined   how many chunks of the pass are refined
//   pass_clusters  how many clusters the pass has
//   reassigned     whether labels are chosen again at the refined poses
//
// cargo is what there is of a pass, or of a chunk of it, by name; channels have it as [pass, cargo], pass being its number:
//   meta        see above
//   particles   particles.star as the last pass left it
//   references  folder of what the last pass leaves to refine against: maps, mask, noise, …
//   latent      folder of the latent space: the last pass's, from EMBED on this one's
//   labelled    .star of the particles with the clusters of this pass
//   clusters    clusters.json, how they were found; in passes of the consensus that look for junk screening.json; else []
//   decoded     folder of maps at points of latent space, or []

// [pass, cargo] of what a step gives as [meta, …], by these names
def byPass(made, names) {
    return made.map { row -> [row[0].pass, named(row.tail(), names)] }
}

// A map of values in order
def named(values, names) {
    return [names, values].transpose().collectEntries()
}

// [pass, cargo] of the passes that all these channels have, with what they have of them; what comes later wins.
def joined(channels) {
    return channels.inject { one, other -> one.join(other).map { pass, cargo, more -> [pass, cargo + more] } }
}

// Of each of many things in a pass, such as its chunks, [pass, cargo] with what belongs to the pass as a whole
def withPass(many, passes) {
    return many.combine(passes, by: 0).map { pass, own, common -> [pass, common + own] }
}

// What MERGE leaves to the next pass
def stateOf(merged) {
    return named(merged, ['meta', 'particles', 'references', 'latent', 'steady'])
}
