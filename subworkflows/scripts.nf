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

// A digest of a step's script in bin/ and of every module of the library that this imports, directly or not, with their
// compiled parts. Every step takes it as an input, so that -resume runs the step again after one of them changed.
def versionOf(step) {
    return importedFiles("${projectDir}/bin/${step}.py", [] as Set).sort().collect { path -> file(path).text }.join('\n').md5()
}

def importedFiles(path, known) {
    if (path in known || !file(path).exists()) {
        return known
    }
    // a module's compiled part stands beside it
    def compiled = ["${path}".replaceFirst(/\.py$/, '.c')].findAll { source -> file(source).exists() }
    def imported = (file(path).text =~ /(?m)^\s*from drgnalign\.?([\w.]*) import/).collect { match -> match[1] }
    return imported.inject(known + path + compiled) { found, name -> importedFiles(modulePath(name), found) }
}

// src/drgnalign/a/b.py of 'a.b'; a package's file where it is a package
def modulePath(name) {
    def base = "${projectDir}/src/drgnalign/${name.replace('.', '/')}"
    return file("${base}.py").exists() ? "${base}.py" : "${base}/__init__.py"
}
