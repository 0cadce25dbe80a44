// drgnalign: particles -> consensus -> rounds of train, embed, cluster, refine, merge -> report

include { checkParameters ; helpText ; schedule ; whole } from './subworkflows/parameters.nf'
include { imagesNeeded } from './subworkflows/containers.nf'
include { knownImages } from './subworkflows/images.nf'
include { isAnew ; lastWords ; noteTheRun ; noteVersions ; passLine ; publish ; startedClock ; supersedes ; withEarlier } from './subworkflows/watch.nf'
include { allParameters ; readJson ; versionOf } from './subworkflows/scripts.nf'
include { CHECK_IMAGE } from './modules/check_image.nf'
include { LIST_STACKS } from './modules/list_stacks.nf'
include { CHECK_INPUTS } from './modules/check_inputs.nf'
include { CHECK_SETTINGS } from './modules/check_settings.nf'
include { COARSEN } from './modules/coarsen.nf'
include { ESTIMATE_DISK } from './modules/estimate_disk.nf'
include { DOWNSAMPLE } from './modules/downsample.nf'
include { CHECK_TRAINING } from './modules/check_training.nf'
include { SCREEN } from './modules/screen.nf'
include { checkPrograms ; gpusSeen } from './subworkflows/programs.nf'
include { checkRoom ; returnResultsFolder ; setEarlierAside ; takeResultsFolder } from './subworkflows/results.nf'
include { byPass ; joined ; stateOf } from './subworkflows/cargo.nf'
include { LABEL } from './subworkflows/label.nf'
include { MAP } from './subworkflows/map.nf'
include { emptied } from './subworkflows/emptied.nf'
include { REPORT } from './modules/report.nf'
include { EXPORT } from './modules/export.nf'

// [particle file, its passthrough files, folder that image names are relative to, name of the one stack where --images
// is a file]
def inputFiles() {
    def particles = ownFile('input')
    def images = params.images ? given('images', params.images) : particles.parent
    if (!images.exists()) {
        error("${images}: no such file or folder\n  What to do: correct --images.")
    }
    def folder = images.isDirectory() ? images : images.parent
    return [particles, passthroughFiles(), folder, images.isDirectory() ? null : images.name]
}

// The file that a parameter names, as tasks are given it; [] where it names none
def ownFile(name) {
    return params[name] ? existing(name, params[name]) : []
}

// The files of a list, in a file of parameters one, else with commas between; commas may be in their names too.
def passthroughFiles() {
    def words = params.passthrough instanceof List ? params.passthrough : (params.passthrough ?: '').toString().tokenize(',')
    def files = words.inject([[], null]) { found, word ->
        def name = found[1] == null ? word.toString().trim() : "${found[1]},${word}"
        given('passthrough', name).isFile() ? [found[0] + [name], null] : [found[0], name]
    }
    return (files[0] + (files[1] == null ? [] : [files[1]])).collect { name -> existing('passthrough', name) }
}

def existing(name, value) {
    def path = given(name, value)
    if (!path.isFile()) {
        error("${path}: ${path.isDirectory() ? 'is a folder, a file is needed' : 'no such file'}\n  What to do: correct --${name}.")
    }
    return path
}

// The path that a parameter gives. Nextflow links a task's files by scripts in which the shell still sees these.
def given(name, value) {
    def path = file(value.toString(), glob: false).toAbsolutePath()
    if (path.toString() =~ /[$\p{Cntrl}]|\{[^{}]*(,|\.\.)[^{}]*\}/) {
        error("${path}: Nextflow cannot pass on a path with \$, lists in {} or tabs\n  What to do: correct --${name}: rename it, or give a symbolic link to it.")
    }
    return path
}

// The state before the next pass, whose meta is null where there is none
def nextState(passes, last) {
    def next = last.stop == 'true' ? null : passes[last.meta.pass]
    return [next?.pass, [meta: next] + last.subMap('particles', 'references', 'latent')]
}

workflow {
    main:
    if (params.help) {
        println(helpText())
        System.exit(0)
    }
    checkParameters(params)
    def (particles, passthrough, folder, image_stack) = inputFiles()
    def (mask, focus) = [ownFile('mask'), ownFile('focus_mask')]
    def passes = schedule()
    checkPrograms()
    def results = given('outdir', params.outdir)
    takeResultsFolder(results, whole(params.rounds))
    workflow.onComplete {
        returnResultsFolder(results)
    }
    def clock = startedClock(passes)

    CHECK_IMAGE(channel.fromList(imagesNeeded()), file("${projectDir}/src/drgnalign"), versionOf('check_image'))
    LIST_STACKS(
        CHECK_IMAGE.out.passed.toList().map { _passed -> [particles, passthrough, image_stack] },
        versionOf('list_stacks'),
    )
    images = LIST_STACKS.out.names.map { names ->
        def known = knownImages(folder, names.readLines())
        clock.held = setEarlierAside(results, known.stamp, passes)
        known
    }
    CHECK_INPUTS(
        images.map { known -> [particles, passthrough, known, image_stack] },
        versionOf('check_inputs'),
    )
    checked = CHECK_INPUTS.out.checked.map { star, _facts -> star }
    CHECK_SETTINGS(CHECK_INPUTS.out.checked, mask, focus, versionOf('check_settings'))
    ESTIMATE_DISK(checked, passes.count { pass -> pass.round == 0 }, versionOf('estimate_disk'))
    roomy = ESTIMATE_DISK.out.needs.map { file -> checkRoom(readJson(file), results) }
    stars = checked.combine(CHECK_SETTINGS.out.passed).combine(roomy).map { star, _passed, _roomy -> star }
    DOWNSAMPLE(stars.combine(images), versionOf('downsample'))
    training_stack = DOWNSAMPLE.out.stack.first()
    CHECK_TRAINING(
        stars.combine(DOWNSAMPLE.out.stack).filter { _star, _stack -> whole(params.rounds) > 0 },
        passes.sum { pass -> pass.epochs ?: 0 },
        gpusSeen(),
        versionOf('check_training'),
    )
    checked_stack = training_stack.combine(CHECK_TRAINING.out.passed).map { stack, _passed -> stack }.first()
    COARSEN(
        stars.combine(DOWNSAMPLE.out.stack)
            .filter { _star, _stack -> params.assign == 'likelihood' && whole(params.rounds) > 0 }
            .combine(images),
        versionOf('coarsen'),
    )
    // the training stack, where no other was needed
    assign_stack = COARSEN.out.stack.mix(DOWNSAMPLE.out.stack).toList()
        .map { stacks -> stacks.find { stack -> stack.name == 'assign.mrcs' } ?: stacks[0] }

    // The state before a pass: [pass, [meta, particles, references, latent]], see cargo.nf. A pass's MERGE feeds the next one.
    start = stars.combine(DOWNSAMPLE.out.start).map { star, references, latent ->
        [1, [meta: passes[0], particles: star, references: references, latent: latent]]
    }
    states = start
        .mix(channel.topic('state').map { merged -> nextState(passes, stateOf(merged)) })
        .until { _pass, state -> state.meta == null }
    kinds = states.branch { _pass, state ->
        screened: state.meta.screen
        consensus: state.meta.round == 0
        rounds: true
    }

    // What is clustered, refined and added up in each kind of pass: [pass, [meta, labelled, references, latent, clusters, decoded]]
    SCREEN(
        kinds.screened.map { _pass, state -> [state.meta.subMap('pass', 'round'), state.particles, state.references] },
        training_stack,
        images,
        versionOf('screen'),
    )
    screened = joined([kinds.screened, byPass(SCREEN.out.screened, ['labelled', 'clusters'])])
        .map { pass, cargo -> [pass, cargo + [decoded: []]] }
    LABEL(kinds.rounds, checked_stack, assign_stack, focus)
    consensus = kinds.consensus.map { pass, state -> [pass, state + [labelled: state.particles, clusters: [], decoded: []]] }
    lasts = states.map { pass, state -> [pass, [last: state.particles]] }
    MAP(consensus.mix(screened, LABEL.out.labelled), lasts, images, assign_stack, mask, focus)

    // The sums of a pass are the bulk of what it writes; nobody needs them once its maps are merged.
    MAP.out.parts
        .combine(MAP.out.state.map { pass, _state -> [pass] }, by: 0)
        .filter { _pass, _part -> !params.keep }
        .subscribe { _pass, part -> emptied(part) }

    // Tables, pictures and final/ after every pass, and a line on the screen
    noteTheRun(passes)
    MAP.out.folder.subscribe { meta, _folder, said -> println(passLine(clock, meta, said)) }
    REPORT(
        withEarlier(MAP.out.folder).combine(CHECK_INPUTS.out.checked.map { _star, facts -> facts }),
        versionOf('report'),
        allParameters(),
    )
    EXPORT(
        MAP.out.state.map { _pass, state -> [state.meta.subMap('pass', 'round'), state.particles, state.references] },
        versionOf('export'),
    )
    anew = MAP.out.folder.map { meta, _folder, said -> [meta.pass, isAnew(said)] }
    REPORT.out.files.map { meta, files -> [meta.pass, files] }.join(anew).subscribe { pass, files, is_new ->
        if (supersedes(clock, pass, is_new)) {
            publish(files)
            clock.findings = files.find { path -> path.name == 'findings.txt' }.text
        }
    }
    EXPORT.out.folder.map { meta, folder_made -> [meta.pass, folder_made] }.join(anew).subscribe { pass, made, is_new ->
        if (supersedes(clock, pass, is_new)) {
            publish([made])
        }
    }
    workflow.onComplete {
        println(lastWords(clock))
    }

    // what the screen of the run says besides
    channel.topic('said').map { path -> path.text.trim() }.filter { text -> text }.view()
    channel.topic('versions')
        .map { path -> "nextflow: ${workflow.nextflow.version.toString()}\n${path.text}" }
        .toList()
        .subscribe { texts -> noteVersions(texts) }
}
