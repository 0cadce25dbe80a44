// The folder of the results: of one run, which is the only one that uses it.

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
    def lines = [ProcessHandle.current().pid(), hostName(), startOf(ProcessHandle.current()), workflow.runName]
    java.nio.file.Files.write(info.resolve('run.lock'), lines.collect { line -> line.toString() }, java.nio.file.StandardOpenOption.CREATE_NEW)
    def record = [session: workflow.sessionId.toString(), name: workflow.runName, folder: workflow.launchDir.toString()]
    info.resolve('session.json').text = groovy.json.JsonOutput.prettyPrint(groovy.json.JsonOutput.toJson(record)) + '\n'
}

// To be called when the run has ended, however it did
def returnResultsFolder(folder) {
    def lock = folder.resolve('pipeline_info/run.lock')
    if (lock.exists() && lock.readLines()[3] == workflow.runName) {
        lock.delete()
    }
}

def refuseInUse(folder, lock) {
    if (!lock.exists()) {
        return
    }
    def (pid, host, start, name) = lock.readLines()
    if (host != hostName()) {
        error("${folder}: is in use by the run ${name}, process ${pid} on ${host}\n  What to do: give another --outdir, or wait; if that run has died, remove ${lock}.")
    }
    if (ProcessHandle.of(pid as Long).map { process -> startOf(process) == start }.orElse(false)) {
        error("${folder}: is in use by the run ${name}, process ${pid} on this machine (${host})\n  What to do: give another --outdir, or wait until that run has ended.")
    }
    lock.delete()
}

def refuseOthers(folder, record, rounds) {
    def other = record.exists() ? new groovy.json.JsonSlurper().parse(record.toFile()) : [:]
    def same = other.session == workflow.sessionId.toString()
    if (workflow.resume && other && !same) {
        error("${folder}: belongs to the run ${other.name}, which is not the last that was started in ${workflow.launchDir}\n  What to do: go on with it, in ${other.folder}, by -resume ${other.session}; or give another --outdir.")
    }
    def passes = folder.listFiles().findAll { path -> path.name ==~ /round_\d+/ }
    if (!passes && !['consensus', 'final'].any { name -> folder.resolve(name).exists() }) {
        return
    }
    if (!same) {
        def how = other ? ", or go on with that run, in ${other.folder}, with -resume ${other.session}" : ''
        error("${folder}: holds the results of another run${other ? " (${other.name})" : ''}\n  What to do: give another --outdir, or remove this one${how}.")
    }
    def beyond = passes.findAll { path -> (path.name - 'round_' as Integer) > rounds }
    if (beyond) {
        error("${folder}: holds ${beyond.collect { path -> path.name }.sort().join(', ')}, more than the ${rounds} rounds of this run\n  What to do: give another --outdir, more --rounds, or remove them.")
    }
}

// Refuse what the disks have no room for. A run that is resumed has part of it already; how much, nobody has counted.
def checkRoom(needs, results) {
    def places = [[workflow.workDir, needs.work, '-work-dir'], [results, needs.results, '--outdir']]
    def disks = places.groupBy { path, _bytes, _option -> java.nio.file.Files.getFileStore(path) }
    def full = disks.findAll { disk, on_it -> !workflow.resume && on_it.sum { row -> row[1] } > disk.usableSpace }
    if (full) {
        def told = full.collect { disk, on_it ->
            "${on_it.collect { row -> row[0] }.join(' and ')}: about ${inGB(on_it.sum { row -> row[1] })} will be written, and ${inGB(disk.usableSpace)} are free"
        }
        def options = full.values().collectMany { on_it -> on_it.collect { row -> row[2] } }.join(' or ')
        error("${told.join('\n')}\n  What to do: make room, give another ${options}, or ask for less (--rounds, --k, --train_box).")
    }
    return true
}

// '17 GB' of bytes, '0.3 GB' of few
def inGB(bytes) {
    return bytes < 1e10 ? String.format(Locale.ROOT, '%.1f GB', bytes / 1e9) : "${Math.round(bytes / 1e9)} GB"
}

def hostName() {
    return java.net.InetAddress.localHost.hostName
}

// A process id alone may be another process's by now.
def startOf(process) {
    return process.info().startInstant().map { instant -> instant.toString() }.orElse('')
}
