// What each step depends on besides its data: parameters, and a digest of its code.

// step -> the parameters that it reads, and no others: -resume compares what a step is given.
def readParameters() {
    def engine = ['engine', 'mass_kda', 'joint_reference', 'frealign_dir', 'frealign_args', 'symmetry']
    def network = ['zdim', 'layers', 'nodes', 'batch_size']
    def file = ['pixel_size', 'voltage', 'cs', 'amplitude_contrast']
    def choice = ['assign_limit', 'assign_against', 'assignment', 'junk', 'mask_diameter', 'engine', 'symmetry']
    def clusters = ['k', 'k_start', 'assign', 'clustering', 'cluster_on', 'fixed_clusters', 'assign_limit', 'rounds', 'mask_diameter']
    return [
        list_stacks: file,
        check_inputs: file + ['invert', 'normalise', 'mask_diameter', 'half_sets', 'perturb_rotation', 'perturb_shift', 'seed', 'train_box'],
        check_settings: engine + clusters + ['consensus_limits', 'resolution_limits', 'perturb_shift', 'device'],
        estimate_disk: clusters + ['latent', 'components', 'path_points', 'references', 'train_box', 'chunk_size', 'engine', 'keep'],
        note_decisions: [],
        downsample: ['train_box', 'mask_diameter'],
        check_training: network + ['require_gpu'],
        coarsen: ['assign_limit'],
        screen: ['mask_diameter', 'engine', 'symmetry'],
        take_training: ['zdim', 'layers', 'nodes', 'learning_rate'],
        train: network + ['warm_start', 'learning_rate', 'beta', 'checkpoint_epochs', 'seed'],
        fit: ['components', 'assign_limit', 'mask_diameter', 'engine', 'symmetry', 'warm_start', 'seed'],
        embed: ['seed'],
        cluster: ['seed', 'hdbscan_k'],
        assign: choice,
        decode: [],
        combine: [],
        mask: ['mask_diameter', 'engine', 'symmetry'],
        split: ['chunk_size', 'engine', 'mask_diameter'],
        insert: engine + ['device', 'mask_diameter'],
        refine: engine + ['device', 'mask_diameter'],
        reassign: choice,
        reconstruct: engine + ['mask_diameter', 'reference_prior', 'local_resolution'],
        merge: ['mask_diameter', 'symmetry'],
        motion: engine + ['device', 'mask_diameter', 'path_points'],
        compare: [],
        export: [],
        report: [],
    ]
}

// step -> its settings: the parameters that it reads; as `version` a digest of the code behind it, and of what is installed in
// the images
def settingsOf(given, digests, installed) {
    def own = readParameters().collectEntries { step, names ->
        def programs = 'frealign_dir' in names && given.frealign_dir ? [programs: programDigests(given.frealign_dir)] : [:]
        [step, given.subMap(names) + programs + [version: ([digests[step]] + installed).join(' ')]]
    }
    // A part is emptied once its pass has ended (emptied.nf). So whatever makes a reconstruction run again has to make its
    // parts again.
    return own + ['insert', 'refine'].collectEntries { step -> [step, own[step] + [reconstruct: own.reconstruct]] }
}

// The settings of steps; one that has none is told, where Nextflow would wait for them for ever.
def orRefused(settings) {
    return settings.withDefault { step -> error("The step '${step}' has no row in subworkflows/settings.nf: give it one.") }
}

// A digest of the steps whose results passes are, of masks, maps and a training as tasks know them, and of what is in the
// particle file and in what belongs to it; beside, others: files
def passesMadeBy(settings, given, beside, others) {
    def shown = ['list_stacks', 'check_settings', 'note_decisions', 'estimate_disk', 'check_training', 'compare', 'export', 'report']
    def known = pathsOf([given.mask, given.focus_mask] + others).collect { path -> "${path} ${path.size()} ${path.lastModified()}" }
    def contents = pathsOf([given.input, given.labels] + beside).collect { path -> "${path.name} ${contentDigest(path)}" }
    return digest([settings.findAll { step, _own -> !(step in shown) }, known, contents])
}

def pathsOf(names) {
    return names.findAll { name -> name }.collect { name -> file(name.toString(), glob: false) }
}

// As Nextflow knows the inputs of a step that says `cache 'deep'`
def contentDigest(path) {
    return nextflow.util.CacheHelper.hasher(path, nextflow.util.CacheHelper.HashMode.DEEP).hash().toString()
}

// A digest of all code that tasks run
def codeDigest() {
    def files = [projectDir.resolve('requirements.lock').toFile()]
    ['bin', 'src/drgnalign'].each { folder ->
        projectDir.resolve(folder).toFile().eachFileRecurse(groovy.io.FileType.FILES) { path -> files << path }
    }
    def sources = files.findAll { path -> !(path.name ==~ /.*\.(pyc|so)/) }.sort { path -> path.path }
    return digest(sources.collect { path -> [path.path, path.bytes.md5()] })
}

// A digest of values that JSON has
def digest(values) {
    return groovy.json.JsonOutput.toJson(values).md5()
}

// Of the user's programs, so that other ones under the same names do not pass for what ran before
def programDigests(folder) {
    def all = (file(folder, glob: false).toFile().list() ?: []).sort().collect { name -> file(folder, glob: false).resolve(name) }
    return digest(all.findAll { path -> path.isFile() }.collect { path -> [path.name, path.bytes.md5()] })
}
