// drgnalign: particles -> consensus -> rounds of train and fit, embed, cluster, refine, merge -> report

include { checkParameters ; clusteredAlike ; helpText ; schedule ; typed } from './subworkflows/parameters.nf'
include { imagesNeeded } from './subworkflows/containers.nf'
include { knownImages ; refuseChanged ; stampsOf } from './subworkflows/images.nf'
include { lastWords ; noteTheRun ; noteVersions ; passLine ; startedClock ; supersedes ; withEarlier } from './subworkflows/watch.nf'
include { placeOf ; publish } from './subworkflows/publishing.nf'
include { readJson } from './subworkflows/scripts.nf'
include { codeDigest ; digest ; orRefused ; passesMadeBy ; settingsOf } from './subworkflows/settings.nf'
include { filesBeside ; inputFiles ; knownFiles ; listedFiles ; namedFiles ; ownFile ; pathOf ; startedFrom ; trainingFiles } from './subworkflows/inputs.nf'
include { CHECK_IMAGE } from './modules/check_image.nf'
include { DIGEST } from './modules/digest.nf'
include { LIST_STACKS } from './modules/list_stacks.nf'
include { CHECK_INPUTS } from './modules/check_inputs.nf'
include { CHECK_SETTINGS } from './modules/check_settings.nf'
include { COARSEN } from './modules/coarsen.nf'
include { NOTE_DECISIONS } from './modules/note_decisions.nf'
include { ESTIMATE_DISK } from './modules/estimate_disk.nf'
include { DOWNSAMPLE } from './modules/downsample.nf'
include { TAKE_TRAINING } from './modules/take_training.nf'
include { CHECK_TRAINING } from './modules/check_training.nf'
include { SCREEN } from './modules/screen.nf'
include { checkPrograms ; gpusSeen } from './subworkflows/programs.nf'
include { checkRoom ; refuseGone ; refuseOwnResults ; returnResultsFolder ; setEarlierAside ; takeResultsFolder } from './subworkflows/results.nf'
include { byPass ; joined ; stateOf } from './subworkflows/cargo.nf'
include { LABEL } from './subworkflows/label.nf'
include { MAP } from './subworkflows/map.nf'
include { emptied } from './subworkflows/emptied.nf'
include { MOTION } from './modules/motion.nf'
include { COMPARE } from './modules/compare.nf'
include { REPORT } from './modules/report.nf'
include { EXPORT } from './modules/export.nf'

// The state before the next pass, whose meta is null where there is none; may_stop: also once nothing changes any more
def nextState(passes, may_stop, last) {
    def following = passes[last.meta.pass]
    def rests = may_stop && last.steady == 'true' && clusteredAlike(following ?: [:], passes[last.meta.pass - 1])
    def next = rests ? null : following
    return [next?.pass, [meta: next] + last.subMap('particles', 'references', 'latent')]
}

// Does the linear model of a latent space see a motion?
def moves(latent) {
    def record = latent.resolve('linear/linear.json')
    return record.exists() && readJson(record).motion
}

// What a step of a channel gives. An error two files deep, or in what `subscribe` calls, would come out as one of Java's
// own (docs/workarounds.md).
def plainly(step) {
    try {
        return step.call()
    }
    catch (java.lang.reflect.InvocationTargetException problem) {
        error(causeOf(problem).message)
    }
}

def causeOf(problem) {
    return problem.cause ? causeOf(problem.cause) : problem
}

workflow {
    main:
    if (params.help) {
        println(helpText())
        return
    }
    checkParameters(params)
    // Read here alone: what depends on a parameter is given it.
    def given = startedFrom(typed(params))
    def (particles, folder, image_stack) = inputFiles(given)
    def (options, beside) = filesBeside(given)
    def (mask, focus) = [ownFile('mask', given.mask), ownFile('focus_mask', given.focus_mask)]
    def initial_maps = listedFiles('initial_maps', given.initial_maps)
    def known_maps = knownFiles('compare', given.compare)
    def training = trainingFiles(given.weights)
    def labels = ownFile('labels', given.labels)
    // what people chose beside the particles; a network that --start_from brings along is nobody's choice
    def decided = namedFiles(
        ind: ownFile('ind', given.ind), labels: labels, mask: mask, focus_mask: focus, initial_maps: initial_maps,
        weights: params.weights ? training.take(1) : [], start_from: given.start_from ? particles : [],
    )
    def passes = schedule(given)
    checkPrograms(given.device)
    // as they are found, and as people know them
    def (results, outdir) = [pathOf('outdir', given.outdir), params.outdir]
    refuseOwnResults(results, [particles] + beside + decided.last() + known_maps.paths)
    takeResultsFolder(results, given.rounds)
    workflow.onComplete {
        returnResultsFolder(results)
    }
    def clock = startedClock(passes, given.stop)

    def code = codeDigest()
    def (scripts, library) = [file("${projectDir}/bin"), file("${projectDir}/src/drgnalign")]
    CHECK_IMAGE(channel.fromList(imagesNeeded(given.container_dir, given.engine, given.latent != 'linear' || given.device == 'cuda')), library, code)
    DIGEST(scripts, library, file("${projectDir}/requirements.lock"), CHECK_IMAGE.out.installed.toSortedList(), code)
    // of each step by its name; the report shows all parameters
    def shown = [parameters: digest(given.sort()), info: results.resolve('pipeline_info').toString()]
    settings = DIGEST.out.digests.map { digests, installed -> settingsOf(given, readJson(digests), installed) }
        .map { steps -> orRefused(steps + [report: steps.report + shown]) }
    LIST_STACKS(channel.value([particles, options, beside, image_stack]), settings.map { step -> step.list_stacks })
    images = LIST_STACKS.out.names.combine(settings)
        .map { names, steps ->
            clock.stacks = stampsOf(folder, names.readLines())
            def known = plainly { knownImages(folder, clock.stacks) }
            def made_by = [parameters: given, steps: passesMadeBy(steps, given, beside, initial_maps + training), images: known.stamp]
            clock.held = plainly { setEarlierAside(results, made_by, passes) }
            known
        }
        .first()
    CHECK_INPUTS(
        images.map { known -> [particles, options, beside, known, image_stack] },
        labels,
        settings.map { step -> step.check_inputs },
    )
    checked = CHECK_INPUTS.out.checked.map { star, _facts -> star }
    CHECK_SETTINGS(CHECK_INPUTS.out.checked, mask, focus, initial_maps, known_maps.paths, settings.map { step -> step.check_settings + [known: known_maps.stamps] })
    NOTE_DECISIONS(CHECK_INPUTS.out.checked.map { _star, facts -> facts }, channel.value(decided), settings.map { step -> step.note_decisions })
    def of_consensus = passes.findAll { pass -> pass.round == 0 }
    def anew = of_consensus.count { pass -> pass.references == 'reconstruct' }
    ESTIMATE_DISK(checked, [of_consensus.size(), anew], settings.map { step -> step.estimate_disk })
    roomy = ESTIMATE_DISK.out.needs.map { file -> checkRoom(readJson(file), results, 1 - clock.held / passes.size()) }
    TAKE_TRAINING(CHECK_INPUTS.out.checked.filter { _star, _facts -> training }, training, settings.map { step -> step.take_training })
    fitting = training ? TAKE_TRAINING.out.training.map { _taken -> true } : channel.of(true)
    stars = checked.combine(CHECK_SETTINGS.out.passed).combine(roomy).combine(fitting).map { star, _passed, _roomy, _fits -> star }
    DOWNSAMPLE(stars.combine(images), settings.map { step -> step.downsample })
    training_stack = DOWNSAMPLE.out.stack.first()
    def epochs = passes.sum { pass -> pass.epochs ?: 0 }
    CHECK_TRAINING(
        stars.combine(DOWNSAMPLE.out.stack).filter { _star, _stack -> epochs > 0 && given.latent != 'linear' },
        epochs,
        gpusSeen(),
        settings.map { step -> step.check_training },
    )
    checked_stack = given.latent == 'linear' || epochs == 0
        ? training_stack
        : training_stack.combine(CHECK_TRAINING.out.passed).map { stack, _passed -> stack }.first()
    COARSEN(
        stars.combine(DOWNSAMPLE.out.stack)
            .filter { _star, _stack -> passes.any { pass -> pass.assign == 'likelihood' || pass.latent in ['linear', 'both'] } }
            .combine(images),
        settings.map { step -> step.coarsen },
    )
    // the training stack, where no other was needed
    assign_stack = COARSEN.out.stack.mix(DOWNSAMPLE.out.stack).toList()
        .map { stacks -> stacks.find { stack -> stack.name == 'assign.mrcs' } ?: stacks[0] }

    // The state before a pass: [pass, [meta, particles, references, latent]], see cargo.nf. A pass's MERGE feeds the next one.
    start = stars.combine(DOWNSAMPLE.out.start).map { star, references, latent ->
        [1, [meta: passes[0], particles: star, references: references, latent: latent]]
    }
    states = start
        .mix(channel.topic('state').map { merged -> nextState(passes, given.stop == 'auto', stateOf(merged)) })
        .until { _pass, state -> state.meta == null }
    kinds = states.branch { _pass, state ->
        screened: state.meta.screen
        consensus: state.meta.round == 0
        rounds: true
    }

    // What is clustered, refined and added up in each kind of pass: [pass, [meta, labelled, references, latent, clusters, decoded]]
    SCREEN(
        kinds.screened.map { _pass, state -> [state.meta.subMap('pass', 'round', 'screen'), state.particles, state.references] },
        training_stack,
        images,
        settings.map { step -> step.screen },
    )
    screened = joined([kinds.screened, byPass(SCREEN.out.screened, ['labelled', 'clusters'])])
        .map { pass, cargo -> [pass, cargo + [decoded: []]] }
    LABEL(kinds.rounds, checked_stack, assign_stack, focus, initial_maps, TAKE_TRAINING.out.training, settings)
    consensus = kinds.consensus.map { pass, state -> [pass, state + [labelled: state.particles, clusters: [], decoded: []]] }
    lasts = states.map { pass, state -> [pass, [last: state.particles]] }
    MAP(consensus.mix(screened, LABEL.out.labelled), lasts, images, assign_stack, mask, focus, settings)

    // The sums of a pass are the bulk of what it writes; nobody needs them once its maps are merged.
    MAP.out.parts
        .combine(MAP.out.state.map { pass, _state -> [pass] }, by: 0)
        .filter { _pass, _part -> !given.keep }
        .subscribe { _pass, part -> emptied(part) }

    // What each step leaves for people as it ends; tables, pictures and final/ after every pass, and a line on the screen
    channel.topic('published').map { row ->
        row.drop(2).flatten().each { path -> plainly { publish(path, results.resolve(placeOf(row[0], row[1], path))) } }
    }
    noteTheRun(results, params.start_from ? params + given.subMap('input', 'images', 'weights') : params, passes)
    MAP.out.folder.map { meta, _folder, said ->
        plainly {
            refuseChanged(folder, clock.stacks)
            refuseGone(results)
        }
        println(passLine(clock, meta, said))
    }
    left = MAP.out.state.branch { _pass, state ->
        moving: state.meta.round && moves(state.latent)
        still: true
    }
    MOTION(
        left.moving
            .combine(channel.of(1..given.path_points))
            .combine(images)
            .map { _pass, state, point, known ->
                [state.meta.subMap('pass', 'round'), point, state.particles, state.references, known]
            },
        settings.map { step -> step.motion },
    )
    // [pass, [motion]]: folders of its points; [] where nothing moves
    motions = byPass(MOTION.out.point.groupTuple(size: given.path_points.toInteger()), ['motion'])
        .mix(left.still.map { pass, _state -> [pass, [motion: []]] })
    maps = MAP.out.state.branch { _pass, state ->
        compared: given.compare && state.meta.round
        alone: true
    }
    COMPARE(
        maps.compared.map { _pass, state -> [state.meta.subMap('pass', 'round'), state.references] },
        known_maps.paths,
        known_maps.subMap('thesis', 'stamps'),
        settings.map { step -> step.compare },
    )
    // [pass, [comparison]]: its folder; [] where there is none
    comparisons = byPass(COMPARE.out.comparison, ['comparison'])
        .mix(maps.alone.map { pass, _state -> [pass, [comparison: []]] })
    folders = MAP.out.folder.map { meta, folder_made, _said -> [meta.pass, [meta: meta, folder: folder_made]] }
    REPORT(
        withEarlier(joined([folders, motions, comparisons]))
            .combine(CHECK_INPUTS.out.checked.map { _star, facts -> facts })
            .combine(NOTE_DECISIONS.out.decisions),
        settings.map { step -> step.report },
    )
    EXPORT(
        joined([MAP.out.state, motions]).map { _pass, state ->
            [state.meta.subMap('pass', 'round'), state.particles, state.references, state.motion]
        },
        settings.map { step -> step.export },
    )
    REPORT.out.files.map { meta, files ->
        if (supersedes(clock, meta.pass)) {
            files.each { path -> plainly { publish(path, results.resolve(path.name)) } }
            clock.findings = files.find { path -> path.name == 'findings.txt' }.text
        }
    }
    EXPORT.out.folder.map { meta, made ->
        if (supersedes(clock, meta.pass)) {
            plainly { publish(made, results.resolve(made.name)) }
        }
    }
    workflow.onComplete {
        println(lastWords(clock, results, outdir))
    }

    // what the screen of the run says besides
    channel.topic('said').map { path -> path.text.trim() }.filter { text -> text }.view()
    channel.topic('versions')
        .map { path -> "nextflow: ${workflow.nextflow.version.toString()}\n${path.text}" }
        .toList()
        .map { texts -> plainly { noteVersions(results, texts) } }
}
