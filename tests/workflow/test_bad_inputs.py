"""Bad input: one clear message, an exit status that is not 0, and nothing expensive started."""

from __future__ import annotations

import json
import re
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import mrcfile
import numpy as np
import pandas as pd
import pytest
from runs import PYTHON, REPOSITORY, Run, further, run_workflow

from drgnalign.formats.cryodrgn import write_cryodrgn, write_indices, write_latent
from drgnalign.formats.mrc import StackWriter, read_volume, write_volume
from drgnalign.formats.star import read_star, write_star
from drgnalign.fourier import soft_sphere
from drgnalign.geometry import angular_distance
from drgnalign.particles import ANGLES, ORIGINS, Particles
from drgnalign.subsets import merge_particles

BOX, PIXEL_SIZE = 32, 8.0
FIELD = REPOSITORY / "tests" / "data" / "field"


class InputSet(NamedTuple):
    """A set in a folder of its own, to be spoilt."""

    folder: Path
    particles: Particles

    @property
    def star(self) -> Path:
        return self.folder / "particles.star"

    @property
    def stack(self) -> Path:
        return self.folder / "particles.mrcs"

    def save(self) -> None:
        write_star(self.particles, self.star)


@pytest.fixture
def inputs(noisy_set: Any, tmp_path: Path) -> InputSet:
    particles = noisy_set.given.select(np.arange(len(noisy_set.given)))
    (tmp_path / "particles.mrcs").write_bytes((noisy_set.folder / "particles.mrcs").read_bytes())
    own = InputSet(tmp_path, particles)
    own.save()
    return own


def check_inputs(inputs: InputSet) -> subprocess.CompletedProcess[str]:
    """The step CHECK_INPUTS as the workflow runs it."""
    options: list[object] = ["--images", inputs.folder, "--invert", "auto", "--train-box", BOX]
    options += ["--perturb-rotation", 0, "--perturb-shift", 0, "--seed", 0]
    options += ["--output", inputs.folder / "checked.star", "--report", inputs.folder / "inputs.json"]
    return step("check_inputs.py", inputs.star, *options)


def check_settings(
    inputs: InputSet, *others: object, limits: str = "20,16.5", k: int = 2
) -> subprocess.CompletedProcess[str]:
    """The step CHECK_SETTINGS as the workflow runs it."""
    return step("check_settings.py", inputs.star, "--limits", limits, "--clusters", k, "--proposed", 2 * k, *others)


def step(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(word) for word in (PYTHON, REPOSITORY / "bin" / script, *arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def write_images(path: Path, images: np.ndarray) -> None:
    with StackWriter(path, len(images), images.shape[-1], PIXEL_SIZE) as stack:
        stack.append(images)


def missing_stack(own: InputSet) -> None:
    own.stack.unlink()


def truncated_stack(own: InputSet) -> None:
    own.stack.write_bytes(own.stack.read_bytes()[:-1000])


def row_beyond_the_stack(own: InputSet) -> None:
    own.particles.table.loc[7, "rlnImageName"] = "000301@particles.mrcs"
    own.save()


def nan_pose(own: InputSet) -> None:
    own.particles.table.loc[7, "rlnAngleTilt"] = np.nan
    own.save()


def no_ctf(own: InputSet) -> None:
    own.particles.table.drop(columns=["rlnDefocusU", "rlnDefocusV"], inplace=True)
    own.save()


def no_voltage(own: InputSet) -> None:
    own.particles.optics.drop(columns="rlnVoltage", inplace=True)
    own.save()


def other_box_in_an_optics_group(own: InputSet) -> None:
    own.particles.optics = pd.concat([own.particles.optics] * 2, ignore_index=True)
    own.particles.optics.loc[1, ["rlnOpticsGroup", "rlnImageSize"]] = [2, 64]
    own.particles.table.loc[150:, "rlnOpticsGroup"] = 2
    own.save()


def other_box_in_a_stack(own: InputSet) -> None:
    write_images(own.folder / "other.mrcs", np.ones((1, 2 * BOX, 2 * BOX), np.float32))
    own.particles.table.loc[7, "rlnImageName"] = "1@other.mrcs"
    own.save()


def one_half_set(own: InputSet) -> None:
    own.particles.table["rlnRandomSubset"] = 1
    own.save()


@pytest.mark.parametrize(
    ("spoil", "file", "problem", "remedy"),
    [
        (missing_stack, "particles.mrcs", "no such stack", "--images"),
        (truncated_stack, "particles.mrcs", "truncated", "again"),
        (row_beyond_the_stack, "particles.star", "row 8: asks for image 301", "correct or remove"),
        (nan_pose, "particles.star", "row 8: rlnAngleTilt is not a finite number", "correct or remove"),
        (no_ctf, "particles.star", "lacks the CTF columns rlnDefocusU, rlnDefocusV", "give"),
        (no_voltage, "particles.star", "has no rlnVoltage", "--voltage"),
        (other_box_in_an_optics_group, "particles.star", "box sizes differ between optics groups", "one box size"),
        (other_box_in_a_stack, "other.mrcs", "64 px wide", "one box size"),
        (one_half_set, "particles.star", "rlnRandomSubset is 1 for all", "both half sets"),
    ],
)
def test_bad_particles(
    inputs: InputSet, spoil: Callable[[InputSet], None], file: str, problem: str, remedy: str
) -> None:
    spoil(inputs)
    refused(inputs, check_inputs(inputs), file, problem, remedy)


def test_limit_beyond_nyquist(inputs: InputSet) -> None:
    refused(
        inputs, check_settings(inputs, limits="20,15.9"), "particles.star", "15.9 Å is beyond Nyquist (16 Å", "coarser"
    )


def test_settings_that_particles_allow_pass(inputs: InputSet) -> None:
    smaller = np.bincount(inputs.particles.half_sets())[1:].min()
    assert check_settings(inputs, limits="none,20,16,auto", k=smaller // 10).returncode == 0


def test_more_clusters_than_there_are_particles_for(inputs: InputSet) -> None:
    smaller = np.bincount(inputs.particles.half_sets())[1:].min()
    problem = f"300 particles, {smaller} of them in the smaller half set; 50 clusters need 500 there, 10 each"
    refused(inputs, check_settings(inputs, k=50), "particles.star", problem, f"give --k {smaller // 10} or less")
    done = check_settings(inputs, "--proposed", 301)
    refused(inputs, done, "particles.star", "300 particles, fewer than 301 clusters to start from", "smaller --k")


def test_too_few_particles_for_any_map(inputs: InputSet) -> None:
    few = inputs.particles.select(np.flatnonzero(inputs.particles.half_sets() == 1)[:19])
    others = inputs.particles.select(np.flatnonzero(inputs.particles.half_sets() == 2)[:30])
    write_star(merge_particles([few, others]), inputs.star)
    problem = "it has 49 particles, 19 of them in the smaller half set: too few for any map"
    refused(inputs, check_settings(inputs, k=1), "particles.star", problem, "20 particles or more in each half set")


@pytest.mark.parametrize(
    ("option", "value", "problem", "remedy"),
    [
        ("--assign-limit", 400, "--assign_limit 400 Å leaves nothing to compare in a box of 256 Å", "64 Å or less"),
        ("--mask-diameter", 500, "--mask_diameter 500 Å is larger than the box (256 Å)", "the particle's diameter"),
        ("--mask-diameter", 30, "--mask_diameter 30 Å is less than 4 pixels of 8 Å", "the particle's diameter"),
        ("--mass-kda", 1e5, "--mass_kda 100000 is a ball of 614 Å at least, larger than 256 Å", "correct the box"),
        ("--perturb-shift", 200, "--perturb_shift 200 Å moves particles out of their box of 256 Å", "less than 128 Å"),
    ],
)
def test_settings_that_no_box_of_this_size_allows(
    inputs: InputSet, option: str, value: float, problem: str, remedy: str
) -> None:
    refused(inputs, check_settings(inputs, option, value), "particles.star", problem, remedy)


def ball(box: int = BOX, radius: float = 80.0, shift: int = 0) -> np.ndarray:
    """A mask; radius in Å, off its place by so many voxels."""
    return np.roll(soft_sphere(box, radius / PIXEL_SIZE, 2), shift, axis=0)


@pytest.mark.parametrize(
    ("mask", "problem"),
    [
        (ball(24), "it is 24 voxels wide at 8 Å, not 32 at 8 Å"),
        *further(
            (255 * ball(), "its values are 0 … 255, those of a mask 0 … 1"),
            (0 * ball(), "no voxel of this mask is inside"),
            (1 - ball(), "most of the box's faces are inside of this mask, as if it were inverted"),
            (ball(radius=20, shift=16), "more of it lies outside of the particle's sphere of 100 Å than inside"),
        ),
    ],
)
def test_masks_that_are_none_of_these_images(inputs: InputSet, mask: np.ndarray, problem: str) -> None:
    write_volume(inputs.folder / "my mask.mrc", mask, PIXEL_SIZE)
    for option in ("--mask", "--focus-mask"):
        done = check_settings(inputs, option, inputs.folder / "my mask.mrc", "--mask-diameter", 100)
        refused(inputs, done, "my mask.mrc", problem, "")
    write_volume(inputs.folder / "my mask.mrc", ball(), PIXEL_SIZE)
    assert check_settings(inputs, "--mask", inputs.folder / "my mask.mrc").returncode == 0


def test_maps_that_are_none_of_these_images(inputs: InputSet) -> None:
    paths = [inputs.folder / name for name in ("a.mrc", "b, c.mrc")]
    options = [word for path in paths for word in ("--initial-map", path)]
    write_volume(paths[0], ball(), PIXEL_SIZE)
    write_volume(paths[1], ball(24), PIXEL_SIZE)
    problem = "it is 24 voxels wide at 8 Å, not 32 at 8 Å"
    refused(inputs, check_settings(inputs, *options), "b, c.mrc", problem, "the images' box and pixel size")
    write_volume(paths[1], ball(shift=1), PIXEL_SIZE)
    assert check_settings(inputs, *options).returncode == 0


def refused(inputs: InputSet, done: subprocess.CompletedProcess[str], file: str, problem: str, remedy: str) -> None:
    """Exit status 2 and one message of two lines, without a traceback; nothing is written."""
    assert done.returncode == 2, done.stderr
    first, second = done.stderr.strip().splitlines()
    assert first.startswith("ERROR: ") and file in first and problem in first
    assert second.startswith("  What to do: ") and remedy in second
    assert not (inputs.folder / "checked.star").exists()


def test_nan_pixels_stop_the_run_before_training(inputs: InputSet) -> None:
    images = read_volume(inputs.stack)[0].copy()
    images[41, 3, 5] = np.nan
    write_images(inputs.stack, images)
    with mrcfile.open(inputs.stack, "r+") as stack:
        stack.voxel_size = 2.5
    message = stopped_before_training(run_workflow(inputs.folder / "run", inputs.star))
    assert f"{inputs.folder}/particles.mrcs: image 42" in message
    # what was warned of may be why it is wrong
    assert message.index("WARNING: ") < message.index("ERROR: ") < message.index("Caused by:")
    assert "2.5" in message[message.index("WARNING: ") :].splitlines()[0]


def test_messages_reach_the_user(inputs: InputSet) -> None:
    missing_stack(inputs)
    message = stopped_before_training(run_workflow(inputs.folder / "run", inputs.star))
    assert f"{inputs.folder}/particles.mrcs: no such stack" in message
    assert "What to do: give the folder that the image names refer to with --images" in message
    # before and after all that Nextflow has to say
    first, last = (message.index(f"ERROR: {inputs.folder}"), message.rindex(f"ERROR: {inputs.folder}"))
    assert first < message.index("Caused by:") < message.rindex("Tip:") < last


@pytest.mark.long
def test_a_bad_mask_stops_the_run_before_training(inputs: InputSet) -> None:
    write_volume(inputs.folder / "my mask.mrc", 255 * ball(), PIXEL_SIZE)
    run = run_workflow(inputs.folder / "run", inputs.star, {"mask": inputs.folder / "my mask.mrc"})
    message = stopped_before_training(run)
    assert f"{inputs.folder}/my mask.mrc: its values are 0 … 255" in message
    assert "DOWNSAMPLE" not in message
    gone = run_workflow(inputs.folder / "run", inputs.star, {"focus_mask": inputs.folder / "nowhere.mrc"})
    assert "nowhere.mrc: no such file" in stopped_before_training(gone)
    assert "--focus_mask" in gone.log and "Submitted" not in gone.log


@pytest.mark.long
def test_a_job_of_cryosparc_over_three_files(tmp_path: Path) -> None:
    """It is read, and what was warned of is said and kept, before more clusters than particles stop the run."""
    job = tmp_path / "J5, (a)"
    job.mkdir()
    names = {"J5_pt_all.cs": "all, [1].cs", "J5_pt_ctf.cs": "ctf.cs", "J5_particles.cs": "J5.CS"}
    for name, own in names.items():
        (job / own).symlink_to(FIELD / "B02_cs_hetero" / name)
    passthrough = f"{job / names['J5_pt_all.cs']},{job / names['J5_pt_ctf.cs']}"
    parameters = {"passthrough": passthrough, "images": FIELD / "F11_cs_warnings", "k_start": 8}
    run = run_workflow(tmp_path / "run", job / "J5.CS", parameters)
    assert (
        "J5.CS: it has 7 particles, 3 of them in the smaller half set: too few for any map"
        in stopped_before_training(run)
    )
    warnings = json.loads((run.results / "pipeline_info" / "inputs.json").read_text())["warnings"]
    # Nextflow hands on what links lead to
    assert f"{FIELD}/B02_cs_hetero/J5_particles.cs: alignments3D_multi/split is not a division" in warnings[0]
    assert all(f"WARNING: {warning}" in run.log for warning in warnings)
    gone = run_workflow(tmp_path / "run", job / "J5.CS", {**parameters, "passthrough": f"{passthrough},none.cs"})
    assert "none.cs: no such file" in gone.log and "--passthrough" in gone.log and "Submitted" not in gone.log


@pytest.mark.long
def test_cryodrgn_s_files_are_an_input(inputs: InputSet) -> None:
    """Poses, CTF parameters and an index, all named alike; what does not go with them is named at once."""
    write_cryodrgn(inputs.particles, inputs.folder / "cryodrgn")
    chosen = np.arange(20, len(inputs.particles))
    for name, made in (("poses", "poses.pkl"), ("ctf", "ctf.pkl")):
        (inputs.folder / name).mkdir()
        (inputs.folder / "cryodrgn" / made).rename(inputs.folder / name / "my, file.pkl")
    (inputs.folder / "ind").mkdir()
    write_indices(inputs.folder / "ind" / "my, file.pkl", chosen)
    files = {name: inputs.folder / name / "my, file.pkl" for name in ("poses", "ctf", "ind")}
    settings = {"rounds": 0, "consensus_limits": "none", "junk": "keep"}
    run = run_workflow(inputs.folder / "run", None, {**files, **settings, "images": inputs.stack})
    assert run.status == 0, run.log
    done = read_star(run.results / "consensus" / "pass_01" / "particles.star")
    assert (done.image_locations()[0] - 1).tolist() == chosen.tolist()
    assert angular_distance(done.rotations(), inputs.particles.rotations()[chosen]).max() < 1e-3
    message = stopped_before_training(
        run_workflow(inputs.folder / "run", inputs.star, {"poses": files["poses"], "passthrough": "none.cs"})
    )
    for problem in (
        "--poses: are in place of --input",
        "--poses: need --ctf",
        "--poses: need their stack, which they do not name, as --images",
        "--passthrough: is of cryoSPARC",
    ):
        assert problem in message
    assert "Submitted" not in message


def test_paths_that_nextflow_cannot_pass_on_are_refused(inputs: InputSet) -> None:
    (inputs.folder / "a $HOME").symlink_to(inputs.folder)
    run = run_workflow(inputs.folder / "run", inputs.star, {"images": inputs.folder / "a $HOME"})
    message = stopped_before_training(run)
    assert "a $HOME: Nextflow cannot pass on a path with $" in message and "correct --images" in message
    assert "Submitted" not in run.log


def test_a_folder_for_a_file_is_called_so(inputs: InputSet) -> None:
    message = stopped_before_training(run_workflow(inputs.folder / "run", inputs.folder))
    assert f"{inputs.folder}: is a folder, a file is needed" in message and "correct --input" in message
    assert "Usage" not in message and "Submitted" not in message


def test_an_output_folder_that_cannot_be_written(inputs: InputSet) -> None:
    run = run_workflow(inputs.folder / "run", inputs.star, results=f"{inputs.star}/results")
    message = stopped_before_training(run)
    assert "particles.star/results: cannot be written" in message
    assert "--outdir" in message
    assert "Submitted" not in run.log


def test_all_bad_parameters_are_named_at_once(inputs: InputSet) -> None:
    parameters = {
        "roundz": 3,
        "inptu": "p.star",
        "lattice": "cubic",
        "epochs_first": "many",
        "cluster_on": "tsne",
        "k": 0,
        "learning_rate": 0,
    }
    parameters |= {"resolution_limits": "6;5", "amplitude_contrast": 7, "fixed_clusters": "perhaps", "k_start": 0}
    parameters |= {"consensus_limits": "0,10", "rounds": 100_000_000, "seed": "1e30"}
    run = run_workflow(inputs.folder / "run", inputs.star, parameters)
    message = stopped_before_training(run)
    assert "Submitted" not in run.log
    for problem in (
        "--roundz: unknown parameter; did you mean --rounds?",
        "--inptu: unknown parameter; did you mean --input?",
        "--lattice: unknown parameter\n",
        "--epochs_first many: is not of type integer",
        "--cluster_on tsne: is not understood (Coordinates that are clustered: z, umap2 or umap3; ",
        "--k 0: is not understood",
        "--rounds 100000000: must be at most 100000",
        ": must be at most 2147483647",
        "--k_start 0: is not understood",
        "--learning_rate 0: must be more than 0",
        "--resolution_limits 6;5: is not understood",
        "--consensus_limits 0,10: is not understood",
        "--amplitude_contrast 7: must be at most 1",
        "--fixed_clusters perhaps: is not of type boolean",
        "What to do: correct them; --help lists all parameters",
    ):
        assert problem in message


def test_parameters_that_contradict_each_other_are_refused(inputs: InputSet) -> None:
    parameters = {
        "k": "auto",
        "assign": "none",
        "weights": "anything",
        "labels": "mine.csv",
        "initial_maps": "a.mrc,b.mrc",
    }
    message = stopped_before_training(run_workflow(inputs.folder / "run", inputs.star, parameters))
    assert "--initial_maps: --labels say already what the first round starts from" in message
    assert "--initial_maps: need a round with --assign likelihood, the first" in message
    assert "--k auto: needs --assign likelihood" in message
    assert "--weights: are of a network, and --latent is linear" in message


@pytest.mark.long
def test_a_later_round_of_too_many_clusters_is_refused(inputs: InputSet) -> None:
    run = run_workflow(
        inputs.folder / "run", inputs.star, {"k": "2,40", "assign": "likelihood,none", "k_start": "4,40"}
    )
    message = stopped_before_training(run)
    assert "40 clusters" in message and "300 particles" in message and "DOWNSAMPLE" not in message


@pytest.mark.parametrize(
    ("files", "given", "problem"),
    [
        ((), "", "given: holds no weights.N.pkl with their z.N.pkl"),
        *further(
            (("weights.3.pkl", "z.3.pkl"), "", "given/config.yaml: is needed with weights.3.pkl, and not there"),
            (("weights.3.pkl", "config.yaml"), "weights.3.pkl", "given/z.3.pkl: is needed with weights.3.pkl"),
            (("config.yaml",), "config.yaml", "given/config.yaml: is not named weights.N.pkl"),
            ((), "nothing", "given/nothing: no such file or folder"),
        ),
    ],
)
def test_a_training_that_is_none_is_refused(inputs: InputSet, files: tuple[str, ...], given: str, problem: str) -> None:
    folder = inputs.folder / "given"
    folder.mkdir()
    for name in files:
        (folder / name).touch()
    run = run_workflow(inputs.folder / "run", inputs.star, {"latent": "both", "weights": folder / given})
    message = stopped_before_training(run)
    assert problem in message and "--weights" in message and "Submitted" not in message


@pytest.mark.long
def test_a_training_of_other_particles_is_refused(inputs: InputSet) -> None:
    folder = inputs.folder / "given"
    folder.mkdir()
    with zipfile.ZipFile(folder / "weights.3.pkl", "w") as file:
        file.writestr("archive/data.pkl", "weights")
    write_latent(folder / "z.3.pkl", np.zeros((299, 2)), np.zeros((299, 2)))
    blocks = ["lattice_args: {D: 33}", "dataset_args: {norm: [0, 1]}"]
    blocks += ["model_args: {qlayers: 2, players: 2, qdim: 32, pdim: 32, zdim: 2}"]
    (folder / "config.yaml").write_text("\n".join(blocks))
    run = run_workflow(inputs.folder / "run", inputs.star, {"latent": "both", "weights": folder})
    message = stopped_before_training(run)
    assert f"{folder}/z.3.pkl: has 2 latent variables of 299 particles" in message
    assert "DOWNSAMPLE" not in message


def stopped_before_training(run: Run) -> str:
    """What was printed by a run that failed, as it should, before the loop."""
    assert run.status > 0
    assert "LABEL:" not in run.log and "REFINE" not in run.log
    assert "Traceback" not in run.log
    return run.log


def test_a_cluster_that_became_tiny_is_reported(inputs: InputSet) -> None:
    labels = np.where(np.arange(300) < 5, 2, 1)
    inputs.particles.table["rlnClassNumber"] = labels
    inputs.save()
    options = ["--last-references", inputs.folder, "--limit", "16.5", "--references", "reconstruct"]
    done = step("split.py", inputs.star, *options, "--chunk-size", 150, "--output", inputs.folder / "plan")
    assert done.returncode == 0
    assert "cluster_02: skipped in this pass: 5 particles" in done.stderr
    assert set(pd.read_csv(inputs.folder / "plan" / "plan.csv")["cluster"]) == {"cluster_01"}
    chunk = read_star(inputs.folder / "plan" / "cluster_01_chunk_0001.star").table
    columns = [*ANGLES, *ORIGINS]
    pd.testing.assert_frame_equal(chunk[columns], inputs.particles.table.loc[5:154, columns].reset_index(drop=True))


@pytest.mark.long
def test_a_run_for_which_the_disk_has_no_room_is_not_begun(inputs: InputSet) -> None:
    """Sums of sixty chunks a round, all of them kept: seven terabytes."""
    parameters = {"rounds": 20_000, "chunk_size": 5, "keep": True}
    run = run_workflow(inputs.folder, inputs.star, parameters)
    assert run.status > 0 and "DOWNSAMPLE" not in run.log
    last = "\n".join(run.log.rstrip().splitlines()[-4:])
    assert re.search(r"/work and .*/results: about \d+ GB will be written, and \d+ GB are free\n", last)
    assert "make room, give another -work-dir or --outdir" in last
