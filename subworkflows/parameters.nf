// The parameters: what nextflow_schema.json says of them, printed and enforced before anything runs.

// (Nextflow refuses a file with includes of its own where more than one file includes it, as most do this one.)
def readSchema() {
    return new groovy.json.JsonSlurper().parse(file("${projectDir}/nextflow_schema.json").toFile())
}

// name -> default of every parameter that has one
def defaults() {
    return describedParameters(readSchema()).findAll { _name, rule -> rule['default'] != null }
        .collectEntries { name, rule -> [name, rule['default']] }
}

// name -> description of every parameter
def describedParameters(schema) {
    return schema['$defs'].values().collectMany { group -> group.properties.entrySet() as List }
        .collectEntries { entry -> [entry.key, entry.value] }
}

def helpText() {
    def groups = readSchema()['$defs'].values().collect { group ->
        def lines = group.properties.collect { name, rule ->
            def values = rule['enum'] ? rule['enum'].join('|') : rule.type
            def preset = rule['default'] == null ? '' : " [${rule['default']}]"
            "  --${name.padRight(20)} ${values}${preset}\n        ${rule.description}"
        }
        "${group.title}\n${lines.join('\n')}"
    }
    return """Usage: nextflow run main.nf --input particles.star --outdir results [options]

Options of Nextflow itself have one hyphen:
  -profile standard      this machine, with the environment of `make setup` (without -profile)
  -profile slurm         the same environment, each step a job of Slurm
  -profile hpc           Slurm, and images of Apptainer: --container_dir, --queue and others, see docs/hpc.md
  -profile apptainer     this machine, in images of Apptainer
  -profile empiar10076   what the set EMPIAR-10076 needs, empiar10180 likewise; after another one: hpc,empiar10076
  -profile test, demo    settings for the simulated sets of the tests and of `make demo`
  -resume                go on where a run was that has been stopped, or is to have more --rounds
  -params-file FILE      parameters from a .yml or .json file
  -work-dir DIR          where tasks work: a disk with room [work]

Examples
  Clusters of a set with consensus poses, on this machine:
    nextflow run main.nf --input particles.star --outdir results --k 6 --rounds 5 --mask_diameter 300
  The same poses refined first, coarse to fine; as many clusters as the images tell apart:
    nextflow run main.nf --input particles.star --outdir results --consensus_limits 20,16,12 --k auto
  States of a set within minutes, without training and without a GPU:
    nextflow run main.nf --input particles.star --outdir results --k auto --latent linear --rounds 2
  Another number of clusters after a look at a round, from its poses and its network:
    nextflow run main.nf --start_from results/round_03 --k 8 --rounds 2 --outdir results_k8
  On a cluster, going on where the last attempt was:
    nextflow run main.nf -profile hpc -resume --input particles.star --outdir results \\
        --container_dir /shared/images --queue cpu --gpu_queue gpu

${groups.join('\n\n')}
"""
}

// Stops the run with every problem found, one a line.
def checkParameters(given) {
    def rules = describedParameters(readSchema())
    def unknown = (given.keySet() - rules.keySet()).collect { name ->
        "--${name}: unknown parameter${neighbour(name, rules.keySet())}"
    }
    def missing = ['input', 'start_from', 'poses'].every { name -> given[name] == null } ? ['--input: required but not given'] : []
    def empty = defaults().keySet().findAll { name -> given[name] == null }.collect { name -> "--${name}: is given no value" }
    def wrong = given.findAll { name, value -> value != null && rules[name] }.collectMany { name, value ->
        valueProblems(value, rules[name]).collect { problem -> "--${name} ${value}: ${problem}" }
    }
    // only what each parameter is by itself has been checked so far
    def contradictory = wrong || empty ? [] : [
        clusterings(given).any { one -> one.assign == 'none' && one.k == 'auto' } ? '--k auto: needs --assign likelihood' : null,
        given.labels && given.rounds != null && numberOf(given.rounds) == 0 ? '--labels: are the first round\'s, and --rounds is 0' : null,
        given.initial_maps && given.labels ? '--initial_maps: --labels say already what the first round starts from' : null,
        given.initial_maps && clusterings(given)[0]?.assign != 'likelihood' ? '--initial_maps: need a round with --assign likelihood, the first' : null,
        given.compare && given.rounds != null && numberOf(given.rounds) == 0 ? '--compare: needs the maps of a round, and --rounds is 0; of the consensus alone `drgnalign compare` does it' : null,
        given.input && given.start_from ? '--start_from: has particles of its own, and --input is given' : null,
        given.poses && (given.input || given.start_from) ? "--poses: are in place of --${given.input ? 'input' : 'start_from'}, which is given too" : null,
        given.poses && !given.ctf ? '--poses: need --ctf, of the same particles' : null,
        given.poses && !given.images ? '--poses: need their stack, which they do not name, as --images' : null,
        given.poses && given.passthrough ? '--passthrough: is of cryoSPARC, and --poses are of cryoDRGN' : null,
        !given.poses && (given.ctf || given.ind) ? "--${given.ctf ? 'ctf' : 'ind'}: goes with cryoDRGN's --poses" : null,
        given.weights && given.latent == 'linear' ? '--weights: are of a network, and --latent is linear' : null,
        given.weights && given.rounds != null && numberOf(given.rounds) == 0 ? '--weights: are the first round\'s, and --rounds is 0' : null,
        given.focus_mask && clusterings(given) && clusterings(given).every { one -> one.assign == 'none' } ? '--focus_mask: needs --assign likelihood' : null,
        clusterings(given).any { one -> one.assign == 'likelihood' && one.k != 'auto' && one.proposed < one.k } ? "--k_start ${given.k_start}: fewer than --k ${given.k}" : null,
    ].findAll { problem -> problem != null }
    def problems = unknown + missing + empty + wrong + contradictory
    if (problems) {
        error("Parameters refused:\n  ${problems.join('\n  ')}\n  What to do: correct them; --help lists all parameters.")
    }
}

def valueProblems(value, rule) {
    if (!isOfType(value, rule.type)) {
        return ["is not of type ${rule.type}"]
    }
    def number = rule.type in ['integer', 'number'] ? numberOf(value) : null
    return [
        rule['enum'] && !(value in rule['enum']) ? "must be one of ${rule['enum'].join(', ')}" : null,
        rule.pattern && !(value.toString() ==~ rule.pattern) ? "is not understood (${rule.description})" : null,
        rule.minimum != null && number < rule.minimum ? "must be at least ${rule.minimum}" : null,
        rule.maximum != null && number > rule.maximum ? "must be at most ${rule.maximum}" : null,
        rule.type == 'integer' && number.abs() > Integer.MAX_VALUE ? "must be at most ${Integer.MAX_VALUE}" : null,
        rule.exclusiveMinimum != null && number <= rule.exclusiveMinimum ? "must be more than ${rule.exclusiveMinimum}" : null,
    ].findAll { problem -> problem != null }
}

// The command line turns "6" into a number, so a string parameter may hold one; it leaves "1e-3" a text, as files of
// parameters do with what stands in quotation marks, so a number may be a text that reads as one.
def isOfType(value, type) {
    if (type in ['integer', 'number']) {
        def number = numberOf(value)
        return number != null && (type == 'number' || number == number.setScale(0, BigDecimal.ROUND_FLOOR))
    }
    if (type == 'boolean') {
        return value instanceof Boolean
    }
    return !(value instanceof Boolean)
}

// null where a value does not read as a number that is finite and of a size that programs take
def numberOf(value) {
    def text = value.toString().trim()
    def reads = !(value instanceof Boolean) && text ==~ /[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?/
    return reads ? new BigDecimal(text) : null
}

// A whole number: 1e3, 8.0 and text in a file of parameters say one too
def whole(value) {
    return value == null ? null : numberOf(value).toBigIntegerExact()
}

// A number in one spelling: 300, 300.0 and 3e2 are one setting
def plain(value) {
    return value == null ? null : new BigDecimal(numberOf(value).stripTrailingZeros().toPlainString())
}

// A file or folder in one spelling: ./a, b/../a and a are one; what lies elsewhere than on a disk stays as it is
def absolute(value) {
    return !value || value.toString().contains('://') ? value : withoutDots(workflow.launchDir.resolve(value.toString())).toString()
}

// As the system reads it: .. after a link is the folder above the one that the link leads to.
def withoutDots(path) {
    def last = path.toList().findLastIndexOf { part -> part.toString() == '..' }
    def above = last < 0 ? null : path.root.resolve(path.subpath(0, last + 1))
    if (!above || !above.exists()) {
        return path.normalize()
    }
    def real = above.toRealPath()
    return (last + 1 < path.nameCount ? real.resolve(path.subpath(last + 1, path.nameCount)) : real).normalize()
}

// The parameters with numbers as such, as the scripts read them, and files and folders by their whole path
def typed(given) {
    def rules = describedParameters(readSchema())
    return given.collectEntries { name, value ->
        def is_path = rules[name].format in ['file-path', 'directory-path', 'path']
        [name, rules[name].type == 'integer' ? whole(value) : rules[name].type == 'number' ? plain(value) : is_path ? absolute(value) : value]
    }
}

// '; did you mean --rounds?' where a name is but a slip away: one letter in three at most, or letters in another order
def neighbour(name, names) {
    def nearest = names.min { candidate -> editDistance(name, candidate) }
    def swapped = name.toList().sort() == nearest.toList().sort()
    return swapped || editDistance(name, nearest) * 3 <= name.size() ? "; did you mean --${nearest}?" : ''
}

// Levenshtein's distance, one row of the table after the other
def editDistance(first, second) {
    def start = (0..second.size()).toList()
    def last = first.toList().indexed().inject(start) { row, letter ->
        (1..second.size()).inject([letter.key + 1]) { next, j ->
            def change = row[j - 1] + (second[j - 1] == letter.value ? 0 : 1)
            next + [[row[j] + 1, next[j - 1] + 1, change].min()]
        }
    }
    return last[-1]
}

// [6, 6, 5] of '6,6,5': the value of a list parameter in a round counted from 1; the last one goes on.
def valueInRound(list, round) {
    def values = list.toString().tokenize(',')
    return values[Math.min(round, values.size()) - 1]
}

// How clusters are found in the rounds that are; those after the last that is told apart are as that one.
def clusterings(settings) {
    def lists = settings.subMap('clustering', 'k', 'k_start', 'cluster_on', 'assign').values().findAll { list -> list != null }
    def longest = lists.collect { list -> list.toString().tokenize(',').size() }.max()
    def number = [settings.fixed_clusters ? 1 : longest, whole(settings.rounds)].min()
    return (1..<(number + 1)).collect { round -> clusteringIn(settings, round) }
}

// Are clusters of two passes found in one way?
def clusteredAlike(one, other) {
    return ['clustering', 'cluster_on', 'k', 'proposed', 'assign'].every { key -> one[key] == other[key] }
}

// k: a number or 'auto'; proposed: how many clusters the latent space proposes for the images to choose among
def clusteringIn(settings, round) {
    def k = valueInRound(settings.k, round)
    def number = k == 'auto' ? k : whole(k)
    return [
        clustering: valueInRound(settings.clustering, round),
        k: number,
        proposed: settings.k_start == null ? 2 * (number == 'auto' ? 6 : number) : whole(valueInRound(settings.k_start, round)),
        cluster_on: valueInRound(settings.cluster_on, round),
        assign: valueInRound(settings.assign, round),
    ]
}

// Where in the run a task is, for its name, which a terminal of 80 columns cuts after 30: '5/9 r1/4' in the first of four
// rounds, '2/9' in the consensus. How many there are is not in meta, whose values -resume compares: more rounds must not run
// all again.
def place(meta, ext) {
    return "${meta.pass}/${ext.passes}" + (meta.round ? " r${meta.round}/${ext.rounds}" : '')
}

// 'c2.12' of cluster_02_chunk_0012, 'p2.12' of point_02_chunk_0012, 'all' of the consensus
def shortName(name) {
    def (cluster, chunk) = name.tokenize('_').findAll { word -> word.isInteger() || word == 'consensus' }
        .collect { word -> word == 'consensus' ? 'all' : word.toInteger() } + [null]
    return (cluster == 'all' ? 'all' : "${name.startsWith('point') ? 'p' : 'c'}${cluster}") + (chunk ? ".${chunk}" : '')
}

// What each pass of the loop does: pass 1 reconstructs the consensus from the given poses, then come its
// refinements, junk being looked for before and after them and the consensus made without it, then come the rounds.
def schedule(given) {
    def limits = given.consensus_limits == 'none' ? [] : given.consensus_limits.toString().tokenize(',')
    def given_poses = [round: 0, limit: 'none', references: 'consensus']
    def refined = limits.collect { limit -> given_poses + [limit: limit] }
    // Junk whose poses are refined follows its noise, and looks like particles: it is looked for before that, too.
    def (before, after) = given.junk == 'exclude'
        ? [[references: 'reconstruct', screen: 'junk'], [given_poses + [screen: 'junk and poses']]]
        : [[:], []]
    def consensus = [given_poses] + refined.take(1).collect { pass -> pass + before } + refined.drop(1) + after
    def rounds = (1..<(given.rounds + 1)).collect { round ->
        def fixed = given.fixed_clusters && round > 1
        def labelled = given.labels && round == 1
        [
            round: round,
            limit: valueInRound(given.resolution_limits, round),
            references: valueInRound(given.references, round),
            latent: given.latent,
            epochs: given.weights && round == 1 ? 0 : round == 1 || !given.warm_start ? given.epochs_first : given.epochs_round,
        ] + clusteringIn(given, round) + (fixed || labelled ? [clustering: 'fixed'] : [:]) + (fixed ? [assign: 'none'] : [:])
    }
    def passes = consensus + rounds
    // Once a pass has aligned both half sets to one map, no later one is independent.
    def joined = passes.findIndexOf { pass ->
        pass.limit != 'none' && (given.joint_reference || pass.references == 'decoder')
    }
    // Frealign with one reference deals its own halves, from the first reconstruction on.
    def first = given.joint_reference && given.engine != 'native' ? 0 : joined
    return passes.indexed().collect { index, pass ->
        [pass: index + 1, halves: first >= 0 && index >= first ? 'not independent' : 'independent'] + pass
    }
}
