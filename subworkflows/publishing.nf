// Which of a task's files go into --outdir, and where: round_01/metrics.json, consensus/pass_01/logs/refine/NAME.log. (What
// REPORT and EXPORT make, main.nf puts there itself, in the order of the passes.)

// Path in --outdir of a file of a step; null where it does not go there. meta: [:] where the step is not of a pass
def published(process, meta, path) {
    def step = process.tokenize(':')[-1].toLowerCase()
    def folder = meta ? passFolder(meta) : 'pipeline_info'
    if (path.startsWith('logs/')) {
        return "${folder}/logs/${step}/${path.tokenize('/')[-1]}"
    }
    if (step == 'check_image') {
        return "${folder}/images/${path}"
    }
    def of_step = [
        check_inputs: ['inputs.json'],
        check_settings: ['inputs.json'],
        check_training: ['training.json'],
        screen: ['screening.json'],
        embed: ['latent'],
        decode: ['decoded'],
        merge: ['particles.star', 'metrics.json', 'fsc.csv', 'clusters', 'clusters.json'],
    ]
    return path in of_step[step] ? "${folder}/${path}" : null
}

// Name of a pass's folder in the results
def passFolder(meta) {
    return meta.round ? String.format('round_%02d', meta.round) : String.format('consensus/pass_%02d', meta.pass)
}
