// What the script blocks of the modules share.

// "--name value", or nothing where there is no value
def option(name, value) {
    return value == null ? '' : "--${name} ${quoted(value)}"
}

// One word of the shell, whatever is in it. (Nextflow escapes a path that stands in a script itself, and none that a
// function was given.)
def quoted(value) {
    return "'${value.toString().replace("'", "'\\''")}'"
}

// Makes the link `images` to the folder that image names are relative to. It is no input, whose contents would count:
// what does is in images.stamp (subworkflows/images.nf).
def linked(images) {
    return "ln -s ${quoted(images.folder)} images"
}

// Where training leaves what a later attempt goes on from: beside the tasks' folders. (Nextflow's default parser counts what
// a script itself names for a task's hash, and of a folder the time of its last change too.)
def checkpointFolder() {
    return "${workflow.workDir}/checkpoints"
}

def readJson(path) {
    return new groovy.json.JsonSlurper().parse(path.toFile())
}

def writeJson(path, value) {
    path.text = groovy.json.JsonOutput.prettyPrint(groovy.json.JsonOutput.toJson(value)) + '\n'
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
