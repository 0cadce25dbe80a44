// The files and folders that parameters name.

include { defaults ; typed ; withoutDots } from './parameters.nf'
include { readable } from './scripts.nf'

// The parameters, with the particle file as `input` whatever it is given as. A run that goes on from a published pass has its
// particles, the images of the run that published it, and the network that was trained there.
def startedFrom(given) {
    if (!given.start_from) {
        return given + [input: given.poses ?: given.input]
    }
    def folder = pathOf('start_from', given.start_from)
    if (['particles.star', 'metrics.json'].any { name -> !folder.resolve(name).isFile() }) {
        error("${folder}: is no pass of a run's results\n  What to do: give --start_from results/round_NN, or results/consensus/pass_NN.")
    }
    def outdir = pathOf('outdir', given.outdir)
    if (outdir.exists() && folder.toRealPath().startsWith(outdir.toRealPath())) {
        error("${folder}: is among the results that this run would replace\n  What to do: give another --outdir.")
    }
    if (realPlace(outdir).startsWith(folder.toRealPath())) {
        error("${outdir}: is in the folder that --start_from names, which is another run's\n  What to do: give another --outdir.")
    }
    def before = runBehind(folder)
    def latent = folder.resolve('latent')
    def trained = given.latent != 'linear' && given.rounds > 0 && latent.resolve('weights.pkl').isFile() ? latent.toString() : null
    def now = given + [input: folder.resolve('particles.star').toString(), weights: given.weights ?: trained]
    sayWhatDiffers(before, now)
    sayWhatIsCoarser(folder, now)
    return now + [images: given.images ?: imagesOf(folder, before)]
}

// [parameters, folder where it was started] of the run whose results a pass is among; [:] where its records are not there
def runBehind(pass) {
    def above = (1..4).inject([pass]) { found, _level -> found[-1]?.parent ? found + [found[-1].parent] : found }
    def info = above.tail().collect { one -> one.resolve('pipeline_info') }.find { one -> one.isDirectory() }
    def (run, session) = ['run.json', 'session.json'].collect { name -> info ? readable(info.resolve(name)) : null }
    return run?.parameters && session?.folder ? [parameters: run.parameters, folder: session.folder] : [:]
}

// What a particle is, and is seen with, is seldom meant to be another thing from one run to the next.
def sayWhatDiffers(before, now) {
    def names = before ? ['symmetry', 'mask_diameter', 'mask', 'focus_mask', 'mass_kda', 'engine', 'junk'] : []
    def known = typed((defaults() + (before ? before.parameters : [:])).subMap(names))
    def different = names.findAll { name -> nameOf(known[name]) != nameOf(now[name]) }
    if (different) {
        def told = different.collect { name -> "--${name} ${before.parameters[name] ?: 'not given'}, and this one ${now[name] ?: 'does not'}" }
        println("The run that --start_from is of had ${told.join('; ')}")
    }
}

// A folder that need not be there yet, links in its way followed
def realPlace(path) {
    return path.exists() || !path.parent ? path.toRealPath() : realPlace(path.parent).resolve(path.fileName)
}

// Poses that are refined again up to a coarser limit lose what they had.
def sayWhatIsCoarser(pass, now) {
    def refined = (readable(pass.resolve('metrics.json'))?.clusters ?: [])*.alignment_limit_angstrom.findAll { limit -> limit != null }
    def limits = [consensus_limits: now.consensus_limits, resolution_limits: now.rounds ? now.resolution_limits : 'none']
        .collectEntries { name, list -> [name, list.toString().tokenize(',')[0]] }
    limits.findAll { _name, limit -> refined && limit.isNumber() && limit.toBigDecimal() > refined.max() }.each { name, limit ->
        def advice = name == 'consensus_limits' ? 'none leaves them as they are' : 'give the limits from there on'
        println("WARNING: ${pass}: its poses were refined up to ${refined.max()} Å, and --${name} ${now[name]} refines them anew from ${limit} Å on: ${advice}")
    }
}

// Of a file its name: relative paths were of another folder
def nameOf(value) {
    return value instanceof CharSequence && value.contains('/') ? value.toString().tokenize('/')[-1] : value
}

// Where the images lie of the run that a pass is of
def imagesOf(pass, before) {
    def named = before ? before.parameters.images ?: before.parameters.input : null
    if (!named) {
        error("${pass}: nothing beside it says where the images of its run are\n  What to do: give --images, the folder that image names are relative to.")
    }
    def path = withoutDots(file(before.folder, glob: false).resolve(named.toString()))
    def folder = path.isDirectory() ? path : path.parent
    if (!folder.isDirectory()) {
        error("${folder}: the folder of the run's images is gone\n  What to do: give --images, the folder that image names are relative to.")
    }
    return folder.toString()
}

// [particle file, folder that image names are relative to, name of the one stack where --images is a file]
def inputFiles(given) {
    def particles = ownFile(given.poses ? 'poses' : 'input', given.input)
    def images = given.images ? pathOf('images', given.images) : particles.parent
    if (!images.exists()) {
        error("${images}: no such file or folder\n  What to do: correct --images.")
    }
    def folder = images.isDirectory() ? images : images.parent
    if (given.poses && images.isDirectory()) {
        error("${images}: is a folder\n  What to do: give the stack of --poses as --images: cryoDRGN's files do not name it.")
    }
    return [particles, folder, images.isDirectory() ? null : images.name]
}

// What belongs to the particle file: [the option that each is given by], [files]
def filesBeside(given) {
    def others = ['ctf', 'ind'].findAll { name -> given[name] }.collect { name -> [name, ownFile(name, given[name])] }
    def all = listedFiles('passthrough', given.passthrough).collect { path -> ['passthrough', path] } + others
    return [all*.first(), all*.last()]
}

// Files by their parameters, some of them none: [[parameter, name as people know it] of each file], [files]. Those of one name
// are told apart by their folders.
def namedFiles(by_parameter) {
    def all = by_parameter.collectMany { name, files -> [files].flatten().collect { path -> [name, path] } }
    return [all.collect { name, path -> [name, "${path.parent.name}/${path.name}".toString()] }, all*.last()]
}

// The file that a parameter names, as tasks are given it; [] where it names none
def ownFile(name, value) {
    return value ? existing(name, value) : []
}

// [weights, z, config] of a training of cryoDRGN's, and what else of it there is; [] where none is given. A folder stands
// for its last epoch. Only these are a step's inputs: whatever is added to the folder counts for nothing.
def trainingFiles(value) {
    if (!value) {
        return []
    }
    def path = pathOf('weights', value)
    if (!path.exists()) {
        error("${path}: no such file or folder\n  What to do: correct --weights.")
    }
    def folder = path.isDirectory() ? path : path.parent
    def weights = path.isDirectory() ? lastWeights(folder) : path
    if (!isWeights(weights.name)) {
        error("${path}: is not named weights.N.pkl\n  What to do: give --weights a folder of `cryodrgn train_vae`, or the weights of one of its epochs.")
    }
    if (folder.resolve('config.pkl').isFile() && !folder.resolve('config.yaml').isFile()) {
        error("${folder}: is of a cryoDRGN that had no config.yaml yet\n  What to do: train with cryoDRGN 3 or later, or give the clusters found in it with --labels.")
    }
    def needed = [weights, folder.resolve(weights.name.replaceFirst('weights', 'z')), folder.resolve('config.yaml')]
    def lacking = needed.find { one -> !one.isFile() }
    if (lacking) {
        error("${lacking}: is needed with ${weights.name}, and not there\n  What to do: give --weights a folder of `cryodrgn train_vae`, or the weights of one of its epochs.")
    }
    return needed + ['training.json', 'images.sha256', 'ind.pkl', 'train.log', 'run.log'].collect { name -> folder.resolve(name) }.findAll { one -> one.isFile() }
}

def isWeights(name) {
    return name ==~ /weights(\.\d+)?\.pkl/
}

// Those of the last epoch that has latent variables too; a round's own have no number.
def lastWeights(folder) {
    def names = (folder.toFile().list() ?: []).findAll { name -> isWeights(name) && folder.resolve(name.replaceFirst('weights', 'z')).isFile() }
    if (!names) {
        error("${folder}: holds no weights.N.pkl with their z.N.pkl\n  What to do: give --weights a folder of `cryodrgn train_vae`, or the weights of one of its epochs.")
    }
    return folder.resolve(names.max { name -> name.find(/\d+/)?.toInteger() ?: 0 })
}

// The files of a list, in a file of parameters one, else with commas between; commas may be in their names too.
def listedFiles(name, value) {
    return listed(value) { one -> pathOf(name, one).isFile() }.collect { one -> existing(name, one) }
}

// What maps are compared with: `paths` of files and folders, whether published figures are (`thesis`), for which a word stands,
// and what files in folders are known by: Nextflow looks at the folder itself
def knownFiles(name, value) {
    def all = listed(value) { one -> one == 'thesis' || pathOf(name, one).exists() }.findAll { one -> one }
    def (words, given) = all.split { one -> one == 'thesis' }
    if (value && !all) {
        error("--${name} ${value}: names no file\n  What to do: give maps and atomic models, or leave it out.")
    }
    def paths = given.collect { one -> pathOf(name, one) }
    paths.findAll { path -> !path.exists() }.each { path -> error("${path}: no such file or folder\n  What to do: correct --${name}.") }
    def different = paths.toUnique { one, other -> one.toRealPath() <=> other.toRealPath() }
    def inside = different.findAll { path -> path.isDirectory() }
        .collectMany { folder -> folder.toFile().list().collect { file_name -> folder.resolve(file_name) } }
    def stamps = inside.findAll { one -> one.exists() }.collect { one -> "${one.name} ${one.size()} ${one.lastModified()}".toString() }
    return [paths: different, thesis: words.size() > 0, stamps: stamps.sort()]
}

// The words of a list, in a file of parameters one, else with commas between; with commas in them where they are usable so.
def listed(value, usable) {
    def words = value instanceof List ? value : (value ?: '').toString().tokenize(',')
    def found = words.inject([[], null]) { before, word ->
        def one = before[1] == null ? word.toString().trim() : "${before[1]},${word}"
        usable.call(one) ? [before[0] + [one], null] : [before[0], one]
    }
    return found[0] + (found[1] == null ? [] : [found[1]])
}

def existing(name, value) {
    def path = pathOf(name, value)
    if (!path.isFile()) {
        error("${path}: ${path.isDirectory() ? 'is a folder, a file is needed' : 'no such file'}\n  What to do: correct --${name}.")
    }
    return path
}

// The path that a parameter gives. Nextflow links a task's files by scripts in which the shell still sees these.
def pathOf(name, value) {
    def path = file(value.toString(), glob: false).toAbsolutePath()
    if (path.toString() =~ /[$\p{Cntrl}]|\{[^{}]*(,|\.\.)[^{}]*\}/) {
        error("${path}: Nextflow cannot pass on a path with \$, lists in {} or tabs\n  What to do: correct --${name}: rename it, or give a symbolic link to it.")
    }
    return path
}
