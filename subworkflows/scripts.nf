// What the script blocks of the modules share.

// "--name value", or nothing where there is no value
def option(name, value) {
    return value == null ? '' : "--${name} ${value}"
}

// Name of a pass's folder in the results
def passFolder(meta) {
    return meta.round ? String.format('round_%02d', meta.round) : String.format('consensus/pass_%02d', meta.pass)
}

// A digest of a bin/ script and of every module of the library that it imports, directly or not. Written into the
// task's script, it makes -resume run a step again after its code changed.
def codeVersion(script) {
    def files = importedFiles("${projectDir}/bin/${script}", [] as Set)
    return files.sort().collect { path -> file(path).text.md5() }.join('').md5()
}

def importedFiles(path, known) {
    if (path in known || !file(path).exists()) {
        return known
    }
    def imported = (file(path).text =~ /(?m)^\s*from drgnalign\.?([\w.]*) import/).collect { match -> match[1] }
    return imported.inject(known + path) { found, name -> importedFiles(modulePath(name), found) }
}

// src/drgnalign/a/b.py of 'a.b'; a package's file where it is a package
def modulePath(name) {
    def base = "${projectDir}/src/drgnalign/${name.replace('.', '/')}"
    return file("${base}.py").exists() ? "${base}.py" : "${base}/__init__.py"
}
