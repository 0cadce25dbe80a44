// The folder of the results: of one run, which is the only one that uses it.

include { readable ; writeJson } from './scripts.nf'

// Refuse a folder that cannot be written, that a run is using, or that holds what another one found; else take it.
def takeResultsFolder(folder, rounds) {
    def writable = folder.exists() ? folder.isDirectory() : folder.toFile().mkdirs()
    if (!writable || !folder.toFile().canWrite()) {
        error("${folder}: cannot be written\n  What to do: give another --outdir, or make room for it.")
    }
    def info = folder.resolve('pipeline_info')
    info.toFile().mkdirs()
    refuseInUse(folder, info.resolve('run.lock'))
    refuseOthers(folder, info.resolve('session.json'), rounds)
    lock(info.resolve('run.lock'))
    def record = [session: workflow.sessionId.toString(), name: workflow.runName, folder: workflow.launchDir.toString()]
    writeJson(info.resolve('session.json'), record)
}

// Whoever comes at the same moment finds no lock, or the whole of it.
def lock(path) {
    def process = ProcessHandle.current()
    def mine = path.resolveSibling(".run.lock.${process.pid()}")
    mine.text = [process.pid(), hostName(), startOf(process), workflow.runName].join('\n') + '\n'
    def taken = !wasFirst(mine, path)
    mine.delete()
    if (taken) {
        error("${path.parent.parent}: another run has just begun to use it\n  What to do: give another --outdir, or wait until that run has ended.")
    }
}

// Gives a file a second name, unless there is such a file
def wasFirst(file, name) {
    try {
        java.nio.file.Files.createLink(name, file)
        return true
    }
    catch (java.nio.file.FileAlreadyExistsException _there) {
        return false
    }
    catch (Exception _no_links) {
        return wasFirstToCopy(file, name)
    }
}

// On a file system without links: of two that come at once one may read half of the other's
def wasFirstToCopy(file, name) {
    try {
        java.nio.file.Files.copy(file, name)
        return true
    }
    catch (java.nio.file.FileAlreadyExistsException _there) {
        return false
    }
}

// Names of what a run makes, and moves aside where it goes on with other settings
def isOfPasses(name) {
    return name ==~ /consensus|round_\d+|final|summary\.csv|findings\.txt|report\.(html|json)|.*\.png/
}

// Refuse files that the run itself would move away or replace.
def refuseOwnResults(folder, files) {
    def place = folder.exists() ? folder.toRealPath() : null
    def own = files.find { path ->
        def real = path.toRealPath()
        place && real.startsWith(place) && isOfPasses(place.relativize(real).getName(0).toString())
    }
    if (own) {
        error("${own}: is among the results that this run would replace\n  What to do: copy it elsewhere, or give another --outdir.")
    }
}

// What earlier settings, code or images gave moves to earlier/NAME of that run, before a pass of this one is published:
// passes of two settings never lie side by side. What these did not change comes back from Nextflow's cache at once.
// Returned is the last pass of these settings that the folder holds the results of, 0 where there are none.
def setEarlierAside(folder, known, passes) {
    def record = folder.resolve('pipeline_info/made_by.json')
    def last = madeBy(record)
    def made = new groovy.json.JsonSlurper().parseText(groovy.json.JsonOutput.toJson([run: workflow.runName] + known + [passes: passes]))
    def both = last ? Math.min(last.passes.size(), passes.size()) : 0
    def alike = last && [last.steps, last.images, last.passes.take(both)] == [made.steps, made.images, made.passes.take(both)]
    def same = alike || !record.exists()
    def old = same ? [] : namesIn(folder).findAll { name -> isOfPasses(name) }
    if (old) {
        def run = last?.run ?: "before_${workflow.runName}"
        def aside = folder.resolve("earlier/${run}")
        aside.toFile().mkdirs()
        if (folder.resolve('pipeline_info/decisions.json').exists()) {
            java.nio.file.Files.move(folder.resolve('pipeline_info/decisions.json'), aside.resolve('decisions.json'), java.nio.file.StandardCopyOption.ATOMIC_MOVE)
        }
        old.each { name -> java.nio.file.Files.move(folder.resolve(name), aside.resolve(name), java.nio.file.StandardCopyOption.ATOMIC_MOVE) }
        println(last ? "${whatChanged(last, made)}: the results of the last run (${run}) are now in ${aside}. What the change does not reach comes back at once; with the old settings and -resume all of them do."
            : "${record} does not say any more what results were made with: they are now in ${aside}. What is of this run comes back at once.")
    }
    writeJson(record, made)
    def reported = readable(folder.resolve('report.json'))?.get('pass')
    // of more rounds than there are to be now, it is of none of these
    def there = reported instanceof Integer && reported <= passes.size() && folder.resolve('final').exists()
    return there ? reported : 0
}

// Stops a run whose results are being removed under it, or that another one has taken: what is left of them would look like
// all.
def refuseGone(folder) {
    def record = folder.resolve('pipeline_info/session.json')
    def other = readable(record)?.session
    if (other && other != workflow.sessionId.toString()) {
        error("${folder}: another run has taken it while this one went on\n  What to do: give another --outdir, and go on with -resume: what was done comes back from the cache.")
    }
    if (!record.exists()) {
        error("${folder}: has been removed, or its pipeline_info, while the run went on\n  What to do: remove what is left of it, and go on with -resume: what was there comes back from the cache.")
    }
}

// What made_by.json says; null where it is not there, or not as it was written
def madeBy(record) {
    def known = readable(record)
    return known?.passes instanceof List && known.parameters instanceof Map ? known : null
}

// '--k is 4, and was 3', or what else there is that results depend on
def whatChanged(last, made) {
    // where files lie, jobs run, and a run ends, is nothing that results depend on
    def where = ['outdir', 'input', 'poses', 'ctf', 'ind', 'images', 'passthrough', 'container_dir', 'scratch', 'queue', 'gpu_queue', 'gpu_options', 'account', 'options']
    def how = ['stop', 'keep', 'require_gpu', 'max_cpus', 'max_memory', 'max_time', 'max_jobs']
    def shown = (last.parameters.keySet() + made.parameters.keySet()) - where - how
    def names = shown.findAll { name -> last.parameters[name] != made.parameters[name] }
    def changes = names.sort().collect { name -> "--${name} is ${made.parameters[name]}, and was ${last.parameters[name]}" }
    def others = last.images == made.images ? 'The particle file, a mask, a training or the code of the program has changed' : 'Stacks have changed'
    return changes ? changes.join('; ') : others
}

// To be called when the run has ended, however it did
def returnResultsFolder(folder) {
    def lock = folder.resolve('pipeline_info/run.lock')
    def words = linesOf(lock)
    if (words && words[3] == workflow.runName) {
        lock.delete()
    }
}

def refuseInUse(folder, lock) {
    def words = linesOf(lock)
    if (words == null) {
        return
    }
    def (pid, host, start, name) = words + ['', '', '', '']
    if (!pid.isLong() || !name) {
        error("${folder}: may be in use: ${lock} is broken\n  What to do: if no run uses it, remove ${lock}.")
    }
    if (host != hostName()) {
        error("${folder}: is in use by the run ${name}, process ${pid} on ${host}\n  What to do: give another --outdir, or wait; if that run has died, remove ${lock}.")
    }
    if (ProcessHandle.of(pid as Long).map { process -> startOf(process) == start }.orElse(false)) {
        error("${folder}: is in use by the run ${name}, process ${pid} on this machine (${host})\n  What to do: give another --outdir, or wait until that run has ended.")
    }
    removeStale(folder, lock, [pid, host, start, name])
}

// null where there is no such file, or not any more
def linesOf(path) {
    try {
        return path.readLines()
    }
    catch (java.nio.file.NoSuchFileException _gone) {
        return null
    }
}

// Of a run that has died. Another one that saw it too may have its own in that place by now.
def removeStale(folder, lock, known) {
    def mine = lock.resolveSibling(".run.lock.stale.${ProcessHandle.current().pid()}")
    try {
        java.nio.file.Files.move(lock, mine, java.nio.file.StandardCopyOption.ATOMIC_MOVE)
    }
    catch (java.nio.file.NoSuchFileException _gone) {
        return
    }
    def others = mine.readLines().take(4) != known.collect { word -> word.toString() }
    if (others) {
        wasFirst(mine, lock)
    }
    mine.delete()
    if (others) {
        error("${folder}: another run has just begun to use it\n  What to do: give another --outdir, or wait until that run has ended.")
    }
}

def refuseOthers(folder, record, rounds) {
    def other = readable(record) ?: [:]
    // Without that record -resume is believed where it is known what the results were made with: setEarlierAside compares it.
    def same = other ? other.session == workflow.sessionId.toString() : workflow.resume && madeBy(folder.resolve('pipeline_info/made_by.json'))
    if (workflow.resume && other && !same) {
        def way = hasCache(other) ? "go on with it, in ${other.folder}, by -resume ${other.session}; or give another --outdir"
            : "give another --outdir: what Nextflow knew of that run (.nextflow/history and .nextflow/cache in ${other.folder}) is gone"
        error("${folder}: belongs to the run ${other.name}, which is not the last that was started in ${workflow.launchDir}\n  What to do: ${way}.")
    }
    def passes = namesIn(folder).findAll { name -> name ==~ /round_\d+/ }
    if (!passes && !['consensus', 'final'].any { name -> folder.resolve(name).exists() }) {
        return
    }
    if (!same && workflow.resume) {
        error("${folder}: holds results, and no record of whose they are (pipeline_info)\n  What to do: move it away, and start again with -resume: what this run has done comes back from the cache.")
    }
    if (!same) {
        def how = other && hasCache(other) ? ", or go on with that run, in ${other.folder}, with -resume ${other.session}: what it has done comes back from the cache" : ''
        error("${folder}: holds the results of another run${other ? " (${other.name})" : ''}\n  What to do: give another --outdir, or move this one away${how}.")
    }
    def beyond = passes.findAll { name -> (name - 'round_' as Integer) > rounds }
    if (beyond) {
        error("${folder}: holds ${beyond.join(', ')}, more than the ${rounds} rounds of this run\n  What to do: give another --outdir, more --rounds, or remove them.")
    }
}

// Refuse what the disks have no room for. left: the share of the passes that are still to be made. Of a run that is resumed
// nobody has counted what is there of the next one: it is warned.
def checkRoom(needs, results, left) {
    def work = left * (needs.work - needs.stacks) + (workflow.resume ? 0 : needs.stacks)
    def places = [[workflow.workDir, work, '-work-dir'], [results, left * needs.results, '--outdir']]
    def disks = places.groupBy { path, _bytes, _option -> java.nio.file.Files.getFileStore(path) }
    def full = disks.findAll { disk, on_it -> on_it.sum { row -> row[1] } > disk.usableSpace }
    if (full) {
        def told = full.collect { disk, on_it ->
            "${on_it.collect { row -> row[0] }.join(' and ')}: about ${inGB(on_it.sum { row -> row[1] })} will be written, and ${inGB(disk.usableSpace)} are free"
        }.join('\n')
        if (workflow.resume) {
            println("WARNING: ${told}\n  What to do: make room before it is full; if it gets full, -resume goes on once there is room.")
            return true
        }
        def options = full.values().collectMany { on_it -> on_it.collect { row -> row[2] } }.join(' or ')
        error("${told}\n  What to do: make room, give another ${options}, or ask for less (--rounds, --k, --train_box).")
    }
    return true
}

// '17 GB' of bytes, '0.3 GB' of few
def inGB(bytes) {
    return bytes < 1e10 ? String.format(Locale.ROOT, '%.1f GB', bytes / 1e9) : "${Math.round(bytes / 1e9)} GB"
}

// Is what Nextflow knows of a run's tasks still there, and will it find it?
def hasCache(run) {
    def info = file("${run.folder}/.nextflow", glob: false)
    def listed = info.resolve('history').exists() && info.resolve('history').text.contains(run.session.toString())
    return System.getenv('NXF_CACHE_DIR') || (listed && info.resolve("cache/${run.session}").exists())
}

def namesIn(folder) {
    return (folder.toFile().list() ?: []).sort()
}

def hostName() {
    return 'uname -n'.execute().text.trim()
}

// A process id alone may be another process's by now.
def startOf(process) {
    return process.info().startInstant().map { instant -> instant.toString() }.orElse('')
}
