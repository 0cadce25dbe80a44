// Where in --outdir the files of tasks go, and how they get there: whole, or not at all.

include { takePlace } from './scripts.nf'

// Place of what a step gives to the topic 'published': round_01/metrics.json, consensus/pass_01/logs/refine/NAME.log.
// meta: [:] where the step is not of a pass
def placeOf(process, meta, path) {
    def step = process.tokenize(':')[-1].toLowerCase()
    def within = [logs: "logs/${step}/", images: 'images/'][path.parent.name] ?: (step == 'motion' ? 'motion/' : '')
    return "${meta ? passFolder(meta) : 'pipeline_info'}/${within}${path.name}"
}

// Name of a pass's folder in the results
def passFolder(meta) {
    return meta.round ? String.format('round_%02d', meta.round) : String.format('consensus/pass_%02d', meta.pass)
}

// Puts a file or folder at its place, unless it is there: what an earlier start left half or not at all is made good, and
// a large one is not copied at each -resume.
def publish(path, target) {
    if (!isThere(path, target)) {
        takePlace(target) { made -> copyWithTimes(path, made) }
    }
}

// Same names, sizes and times of change, to the second, which is all that some disks keep
def isThere(path, target) {
    if (path.isDirectory()) {
        def names = namesOf(path)
        return target.isDirectory() && names == namesOf(target) && names.every { name -> isThere(path.resolve(name), target.resolve(name)) }
    }
    return target.isFile() && path.size() == target.size() && path.lastModified().intdiv(1000) == target.lastModified().intdiv(1000)
}

def copyWithTimes(path, target) {
    if (path.isDirectory()) {
        java.nio.file.Files.createDirectory(target)
        namesOf(path).each { name -> copyWithTimes(path.resolve(name), target.resolve(name)) }
    }
    else {
        java.nio.file.Files.copy(path, target, java.nio.file.StandardCopyOption.COPY_ATTRIBUTES)
    }
}

def namesOf(folder) {
    return folder.toFile().list().sort()
}
