// Programs that this machine has to have, looked for before anything is begun.

def checkPrograms(device) {
    def on_slurm = workflow.profile.tokenize(',').any { name -> name in ['slurm', 'hpc'] }
    if (on_slurm && !onPath('sbatch')) {
        error("sbatch: no such program on this machine, so that -profile ${workflow.profile} cannot submit jobs\n  What to do: start the run where Slurm's commands are, or without this profile.")
    }
    // and where there is a scheduler of another kind, a profile of the site's own may submit to it
    def here = !on_slurm && !['sbatch', 'qsub', 'bsub'].any { name -> onPath(name) }
    if (device == 'cuda' && here && !workflow.stubRun && !devices(~/nvidia\d+|dxg|kfd/)) {
        error("--device cuda: this machine has no GPU\n  What to do: run on one that has, or give --device cpu.")
    }
    // on a cluster, it is the nodes that need it
    if (workflow.containerEngine && !on_slurm && !onPath(workflow.containerEngine)) {
        error("${workflow.containerEngine}: no such program on this machine, so that -profile ${workflow.profile} cannot run in images\n  What to do: install it, load its module, or leave out this profile.")
    }
}

def onPath(name) {
    return System.getenv('PATH').tokenize(':').any { folder -> new File(folder, name).canExecute() }
}

def devices(pattern) {
    return (new File('/dev').list() ?: []).findAll { name -> name ==~ pattern }.sort()
}

// GPUs of this machine that tasks may see
def gpusSeen() {
    return [devices(~/nvidia\d+/).join(' '), System.getenv('CUDA_VISIBLE_DEVICES')].findAll { words -> words != null }.join(' of ')
}
