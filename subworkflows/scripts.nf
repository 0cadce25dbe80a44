// What the script blocks of the modules share.

// "--name value", or nothing where there is no value
def option(name, value) {
    return value == null ? '' : "--${name} ${quoted(value)}"
}

// --name FILE of each of some files, which may be one or none
def optionOfEach(name, files) {
    return [files].flatten().collect { path -> option(name, path) }.join(' ')
}

// --passthrough FILE, --ctf FILE …: of files each by the option of its own
def optionsOf(names, files) {
    return [names, [files].flatten()].transpose().collect { name, path -> option(name, path) }.join(' ')
}

// One word of the shell, whatever is in it. (Nextflow escapes a path that stands in a script itself, and none that a
// function was given.)
def quoted(value) {
    return "'${value.toString().replace("'", "'\\''")}'"
}

// Makes the link `images` to the folder that image names are relative to. It is no input, whose contents would count:
// what does is in its name (subworkflows/images.nf).
def linked(images) {
    return "ln -s ${quoted(images.link)} images"
}

// The options that let a container see the images
def mountsOf(images) {
    return file("${images.link}.mounts", glob: false).text
}

// Where training leaves what a later attempt goes on from: beside the tasks' folders. (Nextflow's default parser counts what
// a script itself names for a task's hash, and of a folder the time of its last change too.)
def checkpointFolder() {
    return "${workflow.workDir}/checkpoints"
}

// What a task has left, and a full disk or a hand made unreadable, is said by name.
def readJson(path) {
    try {
        return new groovy.json.JsonSlurper().parse(path.toFile())
    }
    catch (groovy.json.JsonException _problem) {
        error("${path}: is no JSON any more\n  What to do: remove ${taskFolder(path)}, and go on with -resume, which makes it again.")
    }
}

// A record that an earlier start left; null where there is none, or one that is broken
def readable(record) {
    try {
        def known = record.exists() ? new groovy.json.JsonSlurper().parse(record.toFile()) : null
        return known instanceof Map ? known : null
    }
    catch (groovy.json.JsonException _broken) {
        return null
    }
}

// The task's folder that a file is in, of which nothing must be missing for Nextflow to make it again
def taskFolder(path) {
    return workflow.workDir.resolve(workflow.workDir.relativize(path).subpath(0, 2))
}

def writeJson(path, value) {
    writeText(path, groovy.json.JsonOutput.prettyPrint(groovy.json.JsonOutput.toJson(value)) + '\n')
}

def writeText(path, text) {
    takePlace(path) { made -> made.text = text }
}

// Makes a file or folder beside the target and puts it there at once: whoever looks, or ends the run meanwhile, finds the
// last or the new one, whole.
def takePlace(target, make) {
    def made = target.resolveSibling(".${target.name}.new")
    def last = target.resolveSibling(".${target.name}.last")
    try {
        target.parent.toFile().mkdirs()
        [made, last].each { rest -> remove(rest) }
        make.call(made)
        // a folder cannot take another one's place
        if (target.isDirectory()) {
            java.nio.file.Files.move(target, last)
        }
        java.nio.file.Files.move(made, target, java.nio.file.StandardCopyOption.ATOMIC_MOVE)
        remove(last)
    }
    catch (IOException problem) {
        remove(made)
        error("${target}: cannot be written (${reasonOf(problem)})\n  What to do: make room, or see to its permissions, and go on with -resume.")
    }
}

// 'No space left on device', 'AccessDenied'
def reasonOf(problem) {
    return problem instanceof java.nio.file.FileSystemException ? problem.reason ?: problem.class.simpleName - 'Exception' : problem.message
}

// A link alone, and nothing that it leads to
def remove(path) {
    def is_folder = path.isDirectory() && !java.nio.file.Files.isSymbolicLink(path)
    return is_folder ? path.deleteDir() : java.nio.file.Files.deleteIfExists(path)
}

// What training takes where it holds all images, as `needed_memory` of the library; no less than a label's
def trainingMemory(least, stack) {
    return [least, nextflow.util.MemoryUnit.of(2 * stack.size()) + 4.GB].max()
}

// The options that choose and set up an engine
def engineOptions(settings) {
    def words = [
        option('engine', settings.engine),
        option('mass-kda', settings.mass_kda),
        settings.joint_reference ? '--joint-reference' : '',
        option('frealign-dir', settings.frealign_dir ? file(settings.frealign_dir, glob: false).toAbsolutePath() : null),
        option('frealign-args', settings.frealign_args),
        option('symmetry', settings.symmetry),
        settings.engine == 'native' ? '' : '--logs logs',
    ]
    return words.findAll { word -> word }.join(' ')
}

// Frealign has its own settings of T and I: particles at its poses are assigned by maps without the symmetry
def assignmentSymmetry(settings) {
    return settings.engine == 'native' || !(settings.symmetry ==~ /(?i)[TI].*/) ? settings.symmetry : 'C1'
}
