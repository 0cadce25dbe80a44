// The images that tasks run in, and what of them can be seen without starting one.

// [name, path, stamp] of every image that this run needs; none where tasks run without. network: with cryoDRGN and PyTorch
def imagesNeeded(container_dir, engine, network) {
    if (!(workflow.containerEngine in ['apptainer', 'singularity'])) {
        return []
    }
    if (!container_dir) {
        error("--container_dir: not given\n  What to do: give the folder of the images that `make images` built.")
    }
    def names = ['drgnalign'] + (network ? ['cryodrgn'] : []) + (engine == 'native' ? [] : ['frealign'])
    return names.collect { name -> imageOf(name, file("${container_dir}/${name}.sif", glob: false)) }
}

def imageOf(name, path) {
    if (!path.exists()) {
        error("${path}: no such image\n  What to do: build it with `make images`, or correct --container_dir.")
    }
    return [name, path.toString(), "${path.size()} ${path.lastModified()}"]
}
