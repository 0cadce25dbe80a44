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

// A digest of all parameters, for what shows them
def allParameters() {
    return groovy.json.JsonOutput.toJson(params).md5()
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
def engineOptions(engine, mass_kda, joint_reference, frealign_dir, frealign_args, symmetry) {
    def words = [
        option('engine', engine),
        option('mass-kda', mass_kda),
        joint_reference ? '--joint-reference' : '',
        option('frealign-dir', frealign_dir ? file(frealign_dir, glob: false).toAbsolutePath() : null),
        option('frealign-args', frealign_args),
        option('symmetry', symmetry),
        engine == 'native' ? '' : '--logs logs',
    ]
    return words.findAll { word -> word }.join(' ')
}

// Frealign has its own settings of T and I: particles at its poses are assigned by maps without the symmetry
def assignmentSymmetry(engine, symmetry) {
    return engine == 'native' || !(symmetry ==~ /(?i)[TI].*/) ? symmetry : 'C1'
}

// Name of a pass's folder in the results
def passFolder(meta) {
    return meta.round ? String.format('round_%02d', meta.round) : String.format('consensus/pass_%02d', meta.pass)
}

// Where a task's log is published: round_01/logs/refine/NAME.log
def logPath(meta, process, path) {
    return "${passFolder(meta)}/logs/${process.tokenize(':')[-1].toLowerCase()}/${file(path).name}"
}

// A digest of what a step depends on besides its data: its script in bin/, every module of the library that this
// imports, directly or not, with their compiled parts, and the parameters that its process names. Every step takes it as an input, so that -resume
// runs the step again after one of them changed. (Nextflow's strict parser leaves what a script refers to, other than
// inputs, out of a task's hash: its issues 6695 and 7156, mended in 26.04.)
def versionOf(step) {
    return versionOfAll([step])
}

def versionOfAll(steps) {
    def files = steps.inject([] as Set) { known, step -> importedFiles("${projectDir}/bin/${step}.py", known) }.sort()
    def modules = steps.collect { step -> file("${projectDir}/modules/${step}.nf").text }.join('\n')
    def named = (modules =~ /params\.(\w+)/).collect { match -> match[1] }.toSet()
    def values = (named - 'outdir').sort().collect { name -> "${name}=${params[name]}" }
    def programs = 'frealign_dir' in named && params.frealign_dir ? programDigests(params.frealign_dir) : []
    return (files.collect { path -> file(path).text } + values + programs).join('\n').md5()
}

// A digest of the steps whose results passes are, and of the particle file with what belongs to it
def passesMadeBy() {
    def steps = ['check_inputs', 'downsample', 'coarsen', 'screen', 'train', 'embed', 'cluster', 'assign', 'decode', 'mask']
    steps += ['split', 'insert', 'refine', 'reassign', 'reconstruct', 'merge']
    def files = [params.input, params.mask, params.focus_mask].findAll { name -> name }.collect { name ->
        def path = file(name.toString(), glob: false)
        "${path} ${path.size()} ${path.lastModified()}"
    }
    return ([versionOfAll(steps)] + files + [params.images, params.passthrough]).join('\n').md5()
}

// Of the user's programs, so that other ones under the same names do not pass for what ran before
def programDigests(folder) {
    return (file(folder, glob: false).listFiles() ?: []).findAll { path -> path.isFile() }.sort { path -> path.name }
        .collect { path -> "${path.name}=${path.bytes.md5()}" }
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
