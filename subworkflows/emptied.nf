// Files that a run has used up: they give back their room, and -resume still finds them.

// A file, or the files in a folder, with nothing in it any more: name, size and time of change, by which Nextflow knows
// it, stay. All of it happens at once or not at all.
def emptied(path) {
    def time = java.nio.file.Files.getLastModifiedTime(path)
    if (path.isDirectory()) {
        path.toFile().list().each { name -> emptied(path.resolve(name)) }
    }
    else {
        def hollow = path.resolveSibling(".${path.name}.emptied")
        new RandomAccessFile(hollow.toFile(), 'rw').withCloseable { file -> file.setLength(path.size()) }
        java.nio.file.Files.setLastModifiedTime(hollow, time)
        java.nio.file.Files.move(hollow, path, java.nio.file.StandardCopyOption.ATOMIC_MOVE)
    }
    java.nio.file.Files.setLastModifiedTime(path, time)
}
