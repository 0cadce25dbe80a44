// drgnalign: particles -> consensus -> rounds of train, embed, cluster, refine, merge -> report

include { checkParameters ; helpText ; schedule } from './subworkflows/parameters.nf'
include { imagesNeeded } from './subworkflows/images.nf'
include { versionOf } from './subworkflows/scripts.nf'
include { CHECK_IMAGE } from './modules/check_image.nf'
include { CHECK_INPUTS } from './modules/check_inputs.nf'
include { CHECK_SETTINGS } from './modules/check_settings.nf'
include { COARSEN } from './modules/coarsen.nf'
include { DOWNSAMPLE } from './modules/downsample.nf'
include { SCREEN } from './modules/screen.nf'
include { LABEL } from './subworkflows/label.nf'
include { REFINE_CLUSTERS } from './subworkflows/refine_clusters.nf'
include { REPORT } from './modules/report.nf'
include { EXPORT } from './modules/export.nf'

// [particle file, folder that image names are relative to, name of the one stack where --images is a file]
def inputFiles() {
    def particles = file(params.input)
    def images = params.images ? file(params.images) : particles.parent
    def missing = [particles, images].find { path -> !path.exists() }
    if (missing) {
        error("${missing}: no such file or folder\n  What to do: correct --input or --images.")
    }
    return images.isDirectory() ? [particles, images, null] : [particles, images.parent, images.name]
}

// The file that a parameter names, as tasks are given it; [] where it names none
def ownFile(name) {
    def path = params[name] ? file(params[name], glob: false) : []
    if (path && !path.isFile()) {
        error("${path}: no such file\n  What to do: correct --${name}.")
    }
    return path
}

def checkOutputFolder() {
    def folder = file(params.outdir)
    def made = folder.exists() ? folder.isDirectory() : folder.toFile().mkdirs()
    if (!made || !folder.toFile().canWrite()) {
        error("${folder}: cannot be written\n  What to do: give another --outdir, or make room for it.")
    }
}

workflow {
    main:
    if (params.help) {
        println(helpText())
        System.exit(0)
    }
    checkParameters(params)
    checkOutputFolder()
    def (particles, images, image_stack) = inputFiles()
    def (mask, focus) = [ownFile('mask'), ownFile('focus_mask')]
    def passes = schedule()

    CHECK_IMAGE(channel.fromList(imagesNeeded()), file("${projectDir}/src/drgnalign"), versionOf('check_image'))
    given = CHECK_IMAGE.out.passed.toList().map { _passed -> [particles, images, image_stack] }
    CHECK_INPUTS(given, versionOf('check_inputs'))
    checked = CHECK_INPUTS.out.checked.map { star, _facts -> star }
    CHECK_SETTINGS(checked, mask, focus, versionOf('check_settings'))
    stars = checked.combine(CHECK_SETTINGS.out.passed).map { star, _passed -> star }
    DOWNSAMPLE(stars.map { star -> [star, images] }, versionOf('downsample'))
    training_stack = DOWNSAMPLE.out.stack.first()
    COARSEN(
        stars.combine(DOWNSAMPLE.out.stack)
            .filter { _star, _stack -> params.assign == 'likelihood' && params.rounds > 0 }
            .map { star, stack -> [star, stack, images] },
        versionOf('coarsen'),
    )
    // the training stack, where no other was needed
    assign_stack = COARSEN.out.stack.mix(DOWNSAMPLE.out.stack).toList()
        .map { stacks -> stacks.find { stack -> stack.name == 'assign.mrcs' } ?: stacks[0] }

    // The state of a pass: [meta, particles.star, references, latent]. A pass's MERGE feeds the next one.
    start = stars.combine(DOWNSAMPLE.out.start).map { star, references, latent -> [passes[0], star, references, latent] }
    states = start
        .mix(channel.topic('state').map { meta, star, references, latent, stop ->
            [stop == 'true' ? null : passes[meta.pass + 1], star, references, latent]
        })
        .until { meta, _star, _references, _latent -> meta == null }
    kinds = states.branch { meta, _star, _references, _latent ->
        screened: meta.screen
        consensus: meta.round == 0
        rounds: true
    }

    // What is clustered, refined and added up in each kind of pass: [meta, labelled.star, references, latent, record, decoded]
    SCREEN(
        kinds.screened.map { meta, star, references, _latent -> [meta.subMap('pass', 'round'), star, references] },
        training_stack,
        images,
        versionOf('screen'),
    )
    screened = kinds.screened.map { meta, _star, references, latent -> [meta.pass, meta, references, latent] }
        .join(SCREEN.out.screened.map { meta, star, record -> [meta.pass, star, record] })
        .map { _pass, meta, references, latent, star, record -> [meta, star, references, latent, record, []] }
    LABEL(kinds.rounds, training_stack, assign_stack, focus)
    consensus = kinds.consensus.map { meta, star, references, latent -> [meta, star, references, latent, [], []] }
    lasts = states.map { meta, star, _references, _latent -> [meta.pass, star] }
    REFINE_CLUSTERS(consensus.mix(screened, LABEL.out.labelled), lasts, channel.value(images), assign_stack, mask, focus)

    REPORT(REFINE_CLUSTERS.out.folder.collect(), versionOf('report'))
    EXPORT(
        REFINE_CLUSTERS.out.state.toList()
            .filter { rows -> rows.size() > 0 }
            .map { rows -> rows.max { row -> row[0].pass }[1, 2] },
        versionOf('export'),
    )

    // what the screen of the run says besides
    channel.topic('said').map { path -> path.text.trim() }.filter { text -> text }.view()
    channel.topic('versions')
        .map { path -> "nextflow: ${workflow.nextflow.version.toString()}\n${path.text}" }
        .collectFile(name: 'software_versions.yml', storeDir: "${params.outdir}/pipeline_info")
    channel.of(groovy.json.JsonOutput.prettyPrint(groovy.json.JsonOutput.toJson(params)))
        .collectFile(name: 'parameters.json', storeDir: "${params.outdir}/pipeline_info", newLine: true)
}
