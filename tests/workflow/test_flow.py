"""The whole loop without its work: what follows on what, by the processes' stubs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from runs import REPOSITORY, Run, further, run_workflow

from conftest import append, copy_code

MODULES = {path.stem: path.read_text() for path in sorted((REPOSITORY / "modules").glob("*.nf"))}
FUNCTIONS = "\n".join(path.read_text() for path in (REPOSITORY / "subworkflows").glob("*.nf"))


class Stubs(NamedTuple):
    """Two rounds by another mask for assignment, with the given one and resumed with another rate of learning; one
    round without a network."""

    first: Run
    other_focus: Run
    other_rate: Run
    linear: Run


# One pass, which leaves nobody out.
CONSENSUS = {"rounds": 0, "junk": "keep", "consensus_limits": "none"}


class ChangedCode(NamedTuple):
    """The consensus, again with changed code, then with changed kernels."""

    first: Run
    code: Run
    kernels: Run


def stub(folder: Path, results: str, *options: object, code: Path = REPOSITORY, **parameters: object) -> Run:
    particles = folder / "particles.star"
    if not particles.exists():
        particles.touch()
    run = run_workflow(folder, particles, parameters, results=results, options=("-stub", *options), code=code)
    assert run.status == 0, run.log
    return run


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Stubs:
    folder = tmp_path_factory.mktemp("stubs")
    focus = folder / "focus.mrc"
    focus.touch()
    known = folder / "known, all"
    known.mkdir()
    loop = {"latent": "both", "references": "reconstruct,decoder", "focus_mask": focus, "compare": f"thesis,{known}"}
    loop |= {"k": "2,3", "k_start": "4,7", "cluster_on": "umap2,z", "assign": "likelihood,likelihood,none"}
    first = stub(folder, "first", **loop)
    focus.write_text("another")
    other_focus = stub(folder, "other_focus", "-resume", **loop)
    other_rate = stub(folder, "other_rate", "-resume", **loop, learning_rate=0.01)
    return Stubs(first, other_focus, other_rate, stub(folder, "linear", **loop | {"latent": "linear"}, rounds=1))


@pytest.fixture(scope="module")
def consensus(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that has ended."""
    return stub(tmp_path_factory.mktemp("consensus"), "results", **CONSENSUS)


@pytest.fixture
def results(consensus: Run) -> Iterator[Path]:
    """Of `consensus`, to be spoilt: the next test has them as they were."""
    kept = shutil.copytree(consensus.results, consensus.results.with_name("kept"))
    yield consensus.results
    shutil.rmtree(consensus.results)
    kept.rename(consensus.results)


def resumed_in(results: Path) -> Run:
    return stub(results.parent, results.name, "-resume", **CONSENSUS)


@pytest.fixture(scope="module")
def changed_code(tmp_path_factory: pytest.TempPathFactory) -> ChangedCode:
    folder = tmp_path_factory.mktemp("changed")
    code = folder / "code"
    copy_code(code)

    def run(results: str) -> Run:
        return stub(folder, results, "-resume", code=code, rounds=0, junk="keep")

    first = run("first")
    append(code / "src" / "drgnalign" / "run" / "merge.py", "# changed\n")
    changed = run("code")
    append(code / "src" / "drgnalign" / "engine" / "kernels.c", "/* changed */\n")
    return ChangedCode(first, changed, run("kernels"))


def steps_of(names: set[str]) -> set[str]:
    return {name.split(" (")[0].split(":")[-1] for name in names}


def test_every_process_has_its_place_in_the_loop(stubs: Stubs) -> None:
    declared = {re.search(r"^process (\w+)", text, re.MULTILINE)[1] for text in MODULES.values()}  # type: ignore[index]
    done = steps_of(set(stubs.first.tasks.index))
    # images are looked at, and a training is taken, where there are any
    assert done == declared - {"CHECK_IMAGE", "TAKE_TRAINING", "COMBINE"} | {"RESPLIT", "REINSERT", "REFERENCE"}
    without_network = steps_of(set(stubs.linear.tasks.index))
    assert without_network == done - {"CHECK_TRAINING", "TRAIN", "DECODE"} | {"COMBINE"}
    assert "WARN: " not in stubs.first.log


def test_each_round_is_clustered_in_its_own_way(stubs: Stubs) -> None:
    made = json.loads((stubs.first.results / "pipeline_info" / "made_by.json").read_text())["passes"]
    ways = [[one[key] for key in ("cluster_on", "k", "proposed", "assign")] for one in made if one["round"]]
    assert ways == [["umap2", 2, 4, "likelihood"], ["z", 3, 7, "likelihood"]]


def test_names_say_how_many_passes_there_will_be(stubs: Stubs) -> None:
    """Which conf/base.config counts, and the passes are counted by their own schedule."""
    passes = [line.split(":")[0] for line in stubs.first.log.splitlines() if line.startswith("Pass ")]
    assert passes[0] == "Pass 1 of 5, consensus" and passes[-1] == "Pass 5 of 5, round 2 of 2"
    assert {"MAP:MERGE (2/5)", "MAP:REFINE (5/5 r2/2 c2.1)"} <= set(
        re.findall(r"Submitted process > (.*)", stubs.first.log)
    )


def test_the_line_of_a_pass_says_where_it_comes_from_the_cache(stubs: Stubs) -> None:
    lines = [line for line in stubs.other_rate.log.splitlines() if line.startswith("Pass ")]
    cached = [line.split(":")[0] for line in lines if line.endswith("; from the cache of an earlier start")]
    assert cached == [f"Pass {number} of 5, consensus" for number in (1, 2, 3)] and len(lines) == 5


def test_each_file_is_published_in_its_pass(stubs: Stubs) -> None:
    results = stubs.first.results
    files = {str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()}
    every = {"particles.star", "metrics.json", "fsc.csv"}
    decoded = {f"decoded/decoder_cluster_0{state}_half{half}.mrc" for state in (1, 2) for half in (1, 2)}
    expected = {f"consensus/pass_0{number}/{name}" for number in (1, 2, 3) for name in every}
    motion = {f"motion/point_0{point}.mrc" for point in range(1, 9)}
    latent = {"latent/linear/linear.json"}
    of_round = every | decoded | motion | latent | {"clusters.json", "posteriors.csv.gz", "comparison/comparison.json"}
    expected |= {f"round_0{number}/{name}" for number in (1, 2) for name in of_round}
    expected |= {f"consensus/pass_0{number}/screening.json" for number in (2, 3)}
    expected |= {"pipeline_info/inputs.json", "pipeline_info/training.json"}
    expected |= {"pipeline_info/decisions.json"}
    assert {name for name in files if re.match(r"consensus|round_", name)} <= expected <= files
    assert {"findings.txt", "report.html"} <= files and (results / "final").is_dir()
    # what the images said last
    assert (results / "round_02" / "posteriors.csv.gz").read_text() == "reassigned\n"


@pytest.mark.long
def test_what_is_broken_or_gone_in_the_results_is_made_good(tmp_path: Path) -> None:
    results = stub(tmp_path, "results", **CONSENSUS).results
    of_pass = results / "consensus" / "pass_01"
    half, gone, whole = of_pass / "metrics.json", of_pass / "fsc.csv", of_pass / "particles.star"
    half.write_text("{ half a fi")
    gone.unlink()
    (of_pass / ".fsc.csv.new").write_text("left by a run that was killed")
    before = whole.stat()
    resumed = stub(tmp_path, "results", "-resume", **CONSENSUS)
    assert resumed.named("COMPLETED") == set()
    assert half.read_text() == gone.read_text() == ""
    assert not list(results.rglob(".*"))
    assert whole.stat().st_ino == before.st_ino


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to have a small disk")
def test_a_disk_that_is_full_leaves_no_half_file(tmp_path: Path) -> None:
    code, results = tmp_path / "code", tmp_path / "results"
    copy_code(code)
    merge = code / "modules" / "merge.nf"
    large = "head -c 3000000 /dev/zero > particles.star; touch"
    merge.write_text(merge.read_text().replace("touch particles.star", large))
    (tmp_path / "particles.star").touch()
    results.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(results)], check=True)
    try:
        run = run_workflow(tmp_path, tmp_path / "particles.star", CONSENSUS, options=("-stub",), code=code)
        of_pass = results / "consensus" / "pass_01"
        assert run.status != 0
        assert f"{of_pass / 'particles.star'}: cannot be written (No space left on device)" in run.log
        assert "go on with -resume" in run.log and "InvocationTargetException" not in run.log
        assert not (of_pass / "particles.star").exists()
    finally:
        subprocess.run(["umount", str(results)], check=True)


def test_a_setting_runs_again_what_reads_it_and_what_follows(stubs: Stubs) -> None:
    again, cached = stubs.other_rate.named("COMPLETED"), stubs.other_rate.named("CACHED")
    assert "DIGEST" in cached
    assert {"LABEL:TRAIN (4 r1)", "MAP:MERGE (4 r1)", "MAP:REFINE (5 r2 c1.1)"} <= again
    assert {"COARSEN (1)", "CHECK_TRAINING (1)", "SCREEN (3)", "MAP:MERGE (3)", "EXPORT (3)"} <= cached
    # what is shown are all parameters
    assert {name for name in again if " r" not in name} == {f"REPORT ({number})" for number in (1, 2, 3)}
    # the linear model learns nothing at a rate
    assert {name for name in cached if " r" in name} == {"LABEL:FIT (4 r1)"}


@pytest.mark.long
def test_a_training_done_before_is_the_first_round_s(tmp_path: Path) -> None:
    given = tmp_path / "00_vae128"
    given.mkdir()
    for name in ("weights.9.pkl", "z.9.pkl", "weights.12.pkl", "z.12.pkl", "weights.14.pkl", "config.yaml"):
        (given / name).write_text(name)
    settings = {"latent": "cryodrgn", "weights": given, "junk": "keep", "consensus_limits": "none"}
    first = stub(tmp_path, "results", **settings)
    names = list(first.tasks.index)
    assert {"TAKE_TRAINING", "LABEL:EMBED (2 r1)", "LABEL:TRAIN (3 r2)"} <= set(names)
    assert "LABEL:TRAIN (2 r1)" not in names
    # the last epoch whose latent variables are there; what else is in the folder does not count
    assert (first.work_folder("TAKE_TRAINING") / "given" / "weights.12.pkl").read_text() == "weights.12.pkl"
    (given / "analyze.12").mkdir()
    assert stub(tmp_path, "results", "-resume", **settings).named("COMPLETED") == set()
    (given / "z.12.pkl").write_text("of another training")
    other = stub(tmp_path, "results", "-resume", **settings)
    assert {"TAKE_TRAINING", "LABEL:EMBED (2 r1)"} <= other.named("COMPLETED")
    assert {"CHECK_INPUTS", "DOWNSAMPLE (1)"} <= other.named("CACHED")
    # one round trains nothing: nothing is asked of a GPU
    assert "CHECK_TRAINING" not in steps_of(set(stub(tmp_path, "short", **settings, rounds=1).tasks.index))


@pytest.mark.long
def test_a_run_goes_on_from_a_published_pass(tmp_path: Path) -> None:
    settings = {"latent": "cryodrgn", "junk": "keep", "consensus_limits": "none", "rounds": 1}
    # names of images are relative to the folder of the first input, which stubs do not look into
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "particles.star").touch()
    first = run_workflow(tmp_path, tmp_path / "data" / "particles.star", settings, options=("-stub",))
    assert first.status == 0, first.log
    latent = first.results / "round_01" / "latent"
    for name in ("weights.pkl", "z.pkl", "config.yaml"):
        (latent / name).touch()

    (latent.parent / "metrics.json").write_text('{"clusters": [{"alignment_limit_angstrom": 12.0}]}')

    def start(results: str, **more: object) -> Run:
        parameters = {**settings, "start_from": "results/round_01", **more}
        return run_workflow(tmp_path, None, parameters, results=results, options=("-stub",))

    on = start("on", k=8, symmetry="C2")
    assert on.status == 0, on.log
    assert "The run that --start_from is of had --symmetry C1, and this one C2\n" in on.log
    coarser = (
        "round_01: its poses were refined up to 12.0 Å, and --resolution_limits 16.5 refines them anew from 16.5 Å on"
    )
    assert coarser in on.log and "--consensus_limits none refines" not in on.log
    assert "TAKE_TRAINING" in on.log and "LABEL:TRAIN" not in on.log
    known = json.loads((tmp_path / "on" / "pipeline_info" / "run.json").read_text())["parameters"]
    assert known["input"] == str(first.results / "round_01" / "particles.star")
    assert (known["images"], known["weights"]) == (str(tmp_path / "data"), str(latent))
    shutil.copytree(latent.parent, tmp_path / "copied")
    linear = start("linear", latent="linear")
    assert linear.status == 0 and "TAKE_TRAINING" not in linear.log, linear.log
    for refused, problem in (
        (start("results"), "results/round_01: is among the results that this run would replace"),
        (start("other", input="data/particles.star"), "--start_from: has particles of its own, and --input is given"),
        (start("other", start_from="results"), "results: is no pass of a run's results"),
        (start("other", start_from="data"), "data: is no pass of a run's results"),
        (start("other", start_from="copied"), "copied: nothing beside it says where the images of its run are"),
        (start("results/round_01/mine"), "results/round_01/mine: is in the folder that --start_from names"),
    ):
        assert refused.status != 0 and problem in refused.log and "Submitted" not in refused.log, refused.log


def test_what_depends_on_a_mask_runs_again_when_its_file_changes(stubs: Stubs) -> None:
    again, cached = stubs.other_focus.named("COMPLETED"), stubs.other_focus.named("CACHED")
    assert {"CHECK_SETTINGS", "LABEL:ASSIGN (4 r1)", "MAP:REASSIGN (4 r1)"} <= again
    assert {"LABEL:TRAIN (4 r1)", "MAP:RECONSTRUCT (1 all)"} <= cached


@pytest.mark.long
def test_changed_code_runs_again(changed_code: ChangedCode) -> None:
    first, changed, _ = changed_code
    cached = {"LIST_STACKS", "CHECK_INPUTS", "CHECK_SETTINGS", "NOTE_DECISIONS", "ESTIMATE_DISK", "DOWNSAMPLE (1)"}
    cached |= {f"MAP:{name}" for name in ("SPLIT (1)", "RECONSTRUCT (1 all)")}
    cached |= {f"MAP:INSERT (1 all.{number})" for number in (1, 2)}
    assert changed.named("CACHED") == cached
    assert changed.named("COMPLETED") == set(first.tasks.index) - cached


@pytest.mark.long
def test_changed_kernels_run_again(changed_code: ChangedCode) -> None:
    again = changed_code.kernels
    assert "CHECK_INPUTS" in again.named("CACHED")
    steps = {name.split(" (")[0] for name in again.named("COMPLETED")}
    assert {f"MAP:{name}" for name in ("INSERT", "REFINE", "RECONSTRUCT")} <= steps


@pytest.mark.long
def test_a_step_without_a_row_of_settings_is_refused(tmp_path: Path) -> None:
    """Nextflow itself waits for ever for a value that is null."""
    code = tmp_path / "code"
    copy_code(code)
    table = code / "subworkflows" / "settings.nf"
    table.write_text(re.sub(r"\n +downsample: .*", "", table.read_text()))
    (tmp_path / "particles.star").touch()
    run = run_workflow(tmp_path, tmp_path / "particles.star", {}, options=("-stub",), code=code)
    assert run.status != 0
    assert "The step 'downsample' has no row in subworkflows/settings.nf" in run.log


@pytest.mark.parametrize("broken", ["half of ", *further("[]", '{"pass": "x"}')])
def test_a_broken_report_does_not_stop_the_run_that_makes_it_anew(results: Path, broken: str) -> None:
    (results / "report.json").write_text(broken)
    resumed_in(results)


@pytest.mark.parametrize("broken", ["{ half a rec", *further("{}")])
def test_results_of_which_nobody_knows_how_they_were_made_are_set_aside(results: Path, broken: str) -> None:
    (results / "pipeline_info" / "made_by.json").write_text(broken)
    resumed = resumed_in(results)
    assert resumed.named("COMPLETED") == set() and "made_by.json does not say any more" in resumed.log
    (aside,) = (results / "earlier").iterdir()
    assert (aside / "consensus").is_dir() and (results / "consensus").is_dir()


def with_stub(code: Path, module: str, line: str) -> None:
    """A copy of the code in which a module's stub does something more, at its end."""
    path = code / "modules" / module
    head, last = path.read_text().rsplit('    """\n}', 1)
    path.write_text(f'{head}    {line}\n    """\n}}{last}')


@pytest.mark.long
def test_a_pass_that_is_made_once_more_takes_the_place_of_no_later_one(tmp_path: Path) -> None:
    code, broken = tmp_path / "code", tmp_path / "broken"
    copy_code(code)
    told = 'echo \'{"pass": ${meta.pass}}\' > report/report.json; echo "pass ${meta.pass}" > report/findings.txt'
    with_stub(code, "report.nf", f"{told}; if [ ${{meta.pass}} = 2 ] && [ -e {broken} ]; then exit 1; fi")
    first = stub(tmp_path, "results", rounds=0, junk="keep", code=code)
    shutil.rmtree(first.work_folder("MAP:MERGE (1)"))
    broken.touch()
    again = run_workflow(
        tmp_path,
        tmp_path / "particles.star",
        {"rounds": 0, "junk": "keep"},
        options=("-stub", "-resume"),
        code=code,
    )
    assert again.status != 0 and {"MAP:MERGE (1)", "REPORT (1)"} <= again.named("COMPLETED")
    assert (again.results / "findings.txt").read_text() == "pass 2\n"


@pytest.mark.long
def test_a_report_of_more_rounds_than_there_are_now_is_written_anew(tmp_path: Path) -> None:
    results = stub(tmp_path, "results", **CONSENSUS).results
    (results / "report.json").write_text('{"pass": 6}')
    (results / "findings.txt").write_text("of round 3")
    stub(tmp_path, "results", "-resume", **CONSENSUS)
    assert (results / "findings.txt").read_text() == "stub\n"


@pytest.mark.long
def test_results_that_are_removed_during_the_run_stop_it(tmp_path: Path) -> None:
    code, results = tmp_path / "code", tmp_path / "results"
    copy_code(code)
    with_stub(code, "merge.nf", f"rm -rf {results}")
    (tmp_path / "particles.star").touch()
    run = run_workflow(tmp_path, tmp_path / "particles.star", CONSENSUS, options=("-stub",), code=code)
    assert run.status != 0 and "InvocationTargetException" not in run.log
    assert f"{results}: has been removed, or its pipeline_info, while the run went on" in run.log


@pytest.mark.long
def test_results_that_another_run_takes_meanwhile_stop_it(tmp_path: Path) -> None:
    code, record = tmp_path / "code", tmp_path / "results" / "pipeline_info" / "session.json"
    copy_code(code)
    with_stub(code, "merge.nf", f"""echo '{{"session": "other", "name": "x", "folder": "y"}}' > {record}""")
    (tmp_path / "particles.star").touch()
    run = run_workflow(tmp_path, tmp_path / "particles.star", CONSENSUS, options=("-stub",), code=code)
    assert run.status != 0 and f"{record.parents[1]}: another run has taken it while this one went on" in run.log


@pytest.mark.long
def test_a_stack_that_is_written_during_the_run_stops_it(tmp_path: Path) -> None:
    code, stack = tmp_path / "code", tmp_path / "stack.mrcs"
    copy_code(code)
    stack.write_text("images")
    with_stub(code, "list_stacks.nf", f"echo {stack} > stacks.txt")
    with_stub(code, "merge.nf", f"echo more >> {stack}")
    (tmp_path / "particles.star").touch()
    run = run_workflow(tmp_path, tmp_path / "particles.star", CONSENSUS, options=("-stub",), code=code)
    assert run.status != 0 and "InvocationTargetException" not in run.log
    assert f"{stack}: has changed since this run began: what was made of it is not to be believed" in run.log


@pytest.mark.long
def test_data_that_were_moved_make_nothing_anew(tmp_path: Path) -> None:
    code, here, there = tmp_path / "code", tmp_path / "here", tmp_path / "there"
    copy_code(code)
    with_stub(code, "list_stacks.nf", "echo stack.mrcs > stacks.txt")
    here.mkdir()
    for name in ("particles.star", "stack.mrcs"):
        (here / name).write_text(name)
    first = run_workflow(tmp_path, here / "particles.star", CONSENSUS, options=("-stub",), code=code)
    shutil.move(here, there)
    (there / "particles.star").touch()
    moved = run_workflow(tmp_path, there / "particles.star", CONSENSUS, options=("-stub", "-resume"), code=code)
    assert (first.status, moved.status) == (0, 0), moved.log
    # which shows the parameters
    assert {name.split(" ")[0] for name in moved.named("COMPLETED")} == {"REPORT"}
    assert not (moved.results / "earlier").exists()
    (there / "stack.mrcs").write_text("other images")
    changed = run_workflow(tmp_path, there / "particles.star", CONSENSUS, options=("-stub", "-resume"), code=code)
    assert "DOWNSAMPLE (1)" in changed.named("COMPLETED") and (changed.results / "earlier").is_dir()


@pytest.mark.parametrize("broken", ["{ half a rec", *further("[]", None)])
def test_a_run_goes_on_though_the_record_of_its_session_is_broken_or_gone(results: Path, broken: str | None) -> None:
    session = results / "pipeline_info" / "session.json"
    session.unlink()
    if broken is not None:
        session.write_text(broken)
    resumed = resumed_in(results)
    assert resumed.named("COMPLETED") == set() and session.exists()


@pytest.mark.long
def test_one_setting_in_another_spelling_makes_nothing_anew(tmp_path: Path) -> None:
    mask = tmp_path / "particles.star"
    stub(tmp_path, "results", **CONSENSUS, mask_diameter=300, learning_rate="1e-3", mask=mask)
    other = {"mask_diameter": "300.0", "learning_rate": "0.0010", "mask": "../" + tmp_path.name + "/particles.star"}
    assert stub(tmp_path, "results", "-resume", **CONSENSUS, **other).named("COMPLETED") == set()


def parameters_read() -> dict[str, set[str]]:
    """Names in each row of the table in settings.nf."""
    text = (REPOSITORY / "subworkflows" / "settings.nf").read_text()
    groups = {name: set(re.findall(r"'(\w+)'", names)) for name, names in re.findall(r"def (\w+) = \[(.*)\]\n", text)}
    table = re.search(r"return \[\n(.*?)\n    \]", text, re.DOTALL)
    assert table is not None
    rows = re.findall(r"^        (\w+): (.*),$", table[1], re.MULTILINE)
    return {
        step: set(re.findall(r"'(\w+)'", names)).union(
            *(groups[word] for word in groups if re.search(rf"\b{word}\b(?!')", names))
        )
        for step, names in rows
    }


@pytest.mark.parametrize("step", [step for step, text in MODULES.items() if "    val settings\n" in text])
def test_a_step_is_given_the_parameters_that_it_reads_and_no_others(step: str) -> None:
    parts = {step: MODULES[step]}
    while called := {name for text in parts.values() for name in re.findall(r"(\w+)\(settings[,)]", text)} - set(parts):
        for name in called:
            parts[name] = re.search(rf"^def {name}\(.*?^\}}", FUNCTIONS, re.MULTILINE | re.DOTALL)[0]  # type: ignore[index]
    read = {name for part in parts.values() for name in re.findall(r"(?<!_)settings\.(\w+)", part)} - {"subMap"}
    assert read - {"version", "parameters", "info"} == parameters_read()[step]


def test_parameters_are_read_where_the_run_begins_alone() -> None:
    """But labels, which Nextflow reads before it has any inputs."""
    lines = [line.strip() for text in (*MODULES.values(), FUNCTIONS) for line in text.splitlines()]
    read = [line for line in lines if re.search(r"\bparams\.", line.split("//")[0])]
    assert all(line.startswith("label params.device == 'cuda'") for line in read) and len(read) == 3


def test_what_stands_for_a_process_in_a_stub_run_is_in_its_module() -> None:
    """But what digests the code, without which nothing could be told of -resume."""
    assert [step for step, text in MODULES.items() if "\n    stub:\n" not in text] == ["digest"]
