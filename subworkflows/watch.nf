// What can be seen of a run while it goes on: files as passes end, a line for each on the screen, and words at the end.

include { defaults } from './parameters.nf'
include { writeJson ; writeText } from './scripts.nf'

// [meta, folders of the passes from the first to this one, those of their points along motions, this one's comparison] of
// [pass, cargo] with meta, folder, motion and comparison, which come in any order
def withEarlier(finished) {
    def seen = [:]
    return finished.flatMap { pass, cargo ->
        def before = firstsOf(seen).size()
        seen[pass] = cargo
        def firsts = firstsOf(seen)
        (before..<firsts.size()).collect { i ->
            def own = firsts[0..i]
            def points = own.collectMany { one -> one.motion }.toSorted { path -> path.name }
            [own[-1].meta.subMap('pass', 'round'), own.collect { one -> one.folder }, points, own[-1].comparison]
        }
    }
}

// What is known of the passes before the first of which nothing is
def firstsOf(seen) {
    return (1..seen.size() + 1).takeWhile { pass -> seen.containsKey(pass) }.collect { pass -> seen[pass] }
}

// pipeline_info/run.json, for the report: the command, the parameters and their defaults, how many passes and rounds. REPORT
// looks it up there, as it does the traces: what changes with every -resume must not make it write all reports again.
def noteTheRun(results, parameters, passes) {
    def info = results.resolve('pipeline_info')
    def known = [
        command: workflow.commandLine.replaceAll(/\s-resume(\s+[0-9a-f-]{36})?(?=\s|$)/, ''),
        parameters: parameters,
        defaults: defaults(),
        passes: passes.size(),
        rounds: passes[-1].round,
    ]
    writeJson(info.resolve('run.json'), known)
    writeJson(info.resolve('parameters.json'), parameters)
}

// pipeline_info/software_versions.yml
def noteVersions(results, texts) {
    writeText(results.resolve('pipeline_info/software_versions.yml'), texts.toUnique().join(''))
}

// What is known of the run: its passes, whether it may end before the last, when the last pass ended, the minutes of each
// kind of pass so far, what was found, the last pass of the same settings that --outdir held before, and by their names what
// the stacks are known by.
def startedClock(passes, stop) {
    return [passes: passes, may_stop: stop == 'auto', last: System.currentTimeMillis(), taken: [:], begun: false, findings: '', held: 0, stacks: [:]]
}

// Was a pass made in this run? Else it comes from Nextflow's cache (-resume), and took no time.
def isAnew(said) {
    return said.lastModified() >= workflow.start.toInstant().toEpochMilli()
}

// Is what a pass leaves to be published? Not in place of a later one's of the same settings: a pass that comes from the cache,
// or had to be made once more, says what that one started from.
def supersedes(clock, pass) {
    return pass >= clock.held
}

// The kind of a pass, by what takes time in it
def kindOf(pass) {
    return [pass.round > 0, pass.limit == 'none', pass.screen ?: false, pass.epochs]
}

// 'Pass 5 of 9, round 1 of 4: …; about 20 min left'
def passLine(clock, meta, said) {
    def now = System.currentTimeMillis()
    def is_new = isAnew(said)
    // of the first pass after a start with -resume, part may have come from the cache
    if (is_new && (clock.begun || !workflow.resume)) {
        clock.taken[kindOf(clock.passes[meta.pass - 1])] = (now - clock.last) / 60000
    }
    clock.begun = clock.begun || is_new
    clock.last = now
    def (first, rest) = said.text.trim().split('\n', 2).toList() + ['']
    def pass = "Pass ${meta.pass} of ${clock.passes.size()}"
    def round = meta.round ? ", round ${meta.round} of ${clock.passes[-1].round}" : ', consensus'
    def left = is_new ? timeLeft(clock, meta) : 'from the cache of an earlier start'
    return "${pass}${round}: ${[first, left].findAll { words -> words }.join('; ')}${rest ? '\n' + rest : ''}"
}

// Of the passes that are left, those of a kind that there was take as long again. A later round trains for fewer epochs
// than the first, from which no more than an upper bound is known. Empty after the last pass.
def timeLeft(clock, meta) {
    def left = clock.passes.drop(meta.pass)
    def longest = clock.taken.findAll { kind, _minutes -> kind[0] }.values().max()
    def minutes = left.collect { pass -> clock.taken[kindOf(pass)] ?: (pass.round ? longest : 0) }
    if (!left) {
        return ''
    }
    if (minutes.any { value -> value == null }) {
        return 'how long the rest takes is known once a whole round has run'
    }
    def bound = clock.may_stop || left.any { pass -> !clock.taken[kindOf(pass)] } ? 'at most' : 'about'
    return "${bound} ${inWords(minutes.sum())} left"
}

// '40 s', '12 min', '3 h 20 min', '2 days 4 h' of minutes
def inWords(minutes) {
    def whole = Math.round(minutes)
    if (minutes < 1.5) {
        return "${Math.max(10 * Math.round(6 * minutes), 10)} s"
    }
    if (whole < 100) {
        return "${whole} min"
    }
    return whole < 48 * 60 ? "${whole.intdiv(60)} h ${whole % 60} min" : "${whole.intdiv(1440)} days ${(whole % 1440).intdiv(60)} h"
}

// What was found and where it is; of a run that failed, what went wrong, which Nextflow has said amid much else.
def lastWords(clock, results, outdir) {
    if (workflow.success) {
        // of a run that came to rest before the last pass that there is, what that one found stands
        def said = results.resolve('findings.txt')
        def found = clock.findings ?: (said.exists() ? said.text : '')
        return "\n${found.replace('Files to open first\n', "Files to open first, in ${outdir}\n")}"
    }
    def there = clock.findings || results.resolve('findings.txt').exists() ? "What the passes that have ended gave is in ${outdir}: report.html, findings.txt, summary.csv, final/" : null
    def wrong = ownMessage(workflow.errorReport ?: workflow.errorMessage ?: '')
    def stopped = !wrong || wrong.startsWith('SIG')
    def on = stopped ? 'Stopped. The same command with -resume goes on where the run was.'
        : 'Once that is mended, -resume goes on where the run was.'
    return ['', stopped ? null : wrong, there, on].findAll { words -> words != null }.join('\n')
}

// The last message of the project's own in what a task printed; the whole where there is none
def ownMessage(text) {
    def found = (text =~ /(?m)ERROR: .*(\n[ ]+What to do: .*)?/).collect { match -> match[0] }
    return found ? found[-1].replaceAll(/\n +/, '\n  ') : withAdvice(text.readLines())
}

// The first line, or all up to the advice
def withAdvice(lines) {
    return lines.take(Math.max(lines.findIndexOf { line -> line.startsWith('  What to do: ') }, 0) + 1).join('\n')
}
