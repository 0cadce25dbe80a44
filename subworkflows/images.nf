// The particles' images: read where they lie, and known by the stacks that the particle file names.

include { quoted ; writeText } from './scripts.nf'

// What tasks are given of the images: a digest of the stacks' names, sizes and times of change, so that -resume runs again
// what uses them after one of them changed, and after nothing else; and the link that stands for the folder that names are
// relative to, which may be another one by then. Beside it are the options that let a container see them.
// stamps: see stampsOf
def knownImages(folder, stamps) {
    def root = folder.toRealPath()
    def stacks = stamps.keySet().collect { name -> stackFile(root, name) }
    def stamp = stamps.values().sort().join('\n').md5()
    def link = workflow.workDir.resolve("images/${stamp}")
    relink(link, root)
    def seen = foldersSeen(root, stacks) + [link.parent.toString()]
    writeText(link.resolveSibling("${stamp}.mounts"), seen.collect { path -> mountOf(path) }.join(' '))
    return [stamp: stamp, link: link.toString()]
}

// Makes a link lead somewhere, at once: tasks may be looking at it.
def relink(link, target) {
    // runs with one work folder may be doing so at the same time
    def made = link.resolveSibling(".${link.name}.${ProcessHandle.current().pid()}")
    link.parent.toFile().mkdirs()
    java.nio.file.Files.deleteIfExists(made)
    java.nio.file.Files.createSymbolicLink(made, target)
    java.nio.file.Files.move(made, link, java.nio.file.StandardCopyOption.ATOMIC_MOVE)
}

// name -> what a stack is known by
def stampsOf(folder, names) {
    def root = folder.toRealPath()
    return names.collectEntries { name -> [name, "${name} ${stampOf(stackFile(root, name))}".toString()] }
}

// Stops a run under which stacks are written: what was made of them before and after does not belong together.
def refuseChanged(folder, stamps) {
    def changed = stampsOf(folder, stamps.keySet()).findAll { name, stamp -> stamp != stamps[name] }.keySet()
    if (changed) {
        def others = changed.size() > 1 ? ", and ${changed.size() - 1} others" : ''
        error("${stackFile(folder.toRealPath(), changed[0])}: has changed since this run began${others}: what was made of it is not to be believed\n  What to do: once it stays as it is, go on with -resume: results so far are set aside, and what uses it is made anew.")
    }
}

// As `find_stack` of the library: as named if that is absolute, else in the folder, else there without its own folders
def stackFile(root, name) {
    def path = root.resolve(name)
    def beside = root.resolve(path.fileName)
    return path.exists() || name.startsWith('/') || !beside.exists() ? path : beside
}

def stampOf(stack) {
    // to the second, which is all that some disks keep of the time of a file that was moved to them
    return stack.exists() ? "${stack.size()} ${stack.lastModified().intdiv(1000)}" : 'missing'
}

// The folder, and those that links in it lead to; none that is in another of them
def foldersSeen(root, stacks) {
    def folders = stacks.collectMany { stack -> linkedFolders(stack) }.toUnique().findAll { path -> path.exists() }
    def all = ([root] + folders).toUnique().findAll { path -> path.parent != null }
    return all.findAll { path -> !all.any { other -> other != path && path.startsWith(other) } }
        .collect { path -> path.toString() }
        .sort()
}

// Folders on the way of a chain of links to a file
def linkedFolders(path) {
    if (!path.parent.exists()) {
        return []
    }
    def real = path.parent.toRealPath()
    def further = java.nio.file.Files.isSymbolicLink(path) ? linkedFolders(real.resolve(java.nio.file.Files.readSymbolicLink(path)).normalize()) : []
    return [path.parent, real] + further
}

// One word of the shell, in which each field is quoted as in a csv file: paths may have commas.
def mountOf(path) {
    def fields = ["type=bind", "source=${path}", "destination=${path}"]
    return "--mount ${quoted(fields.collect { field -> "\"${field.toString().replace('"', '""')}\"" }.join(','))}"
}
