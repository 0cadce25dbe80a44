"""cryoDRGN's driver and its decoder, on images of Gaussian blobs whose map and projections are known exactly."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from drgnalign.errors import DrgnalignError, InputError
from drgnalign.formats.cryodrgn import read_latent
from drgnalign.formats.mrc import StackWriter, read_volume
from drgnalign.geometry import matrix_to_euler
from drgnalign.heterogeneity import cryodrgn as program_module
from drgnalign.heterogeneity import train as train_module
from drgnalign.heterogeneity.cryodrgn import find_cryodrgn
from drgnalign.heterogeneity.decode import decode_volumes
from drgnalign.heterogeneity.take import take_training
from drgnalign.heterogeneity.train import Checkpoints, train, trained_on
from drgnalign.particles import Particles
from drgnalign.run.latent import TrainingRecord
from drgnalign.run.record import write_record

pytestmark = pytest.mark.slow

BOX, PIXEL_SIZE, COUNT, SIGMA = 24, 4.0, 600, 1.5
# A chiral arrangement without symmetry, (x, y, z) in px from the centre: a mirrored map does not match it.
BLOBS = np.array([[6, 0, 0], [0, 5, 0], [0, 0, 4], [-4, -4, 2], [3, -3, -5]], dtype=float)
SETTINGS = {
    "zdim": 2, "layers": 2, "nodes": 64, "batch_size": 8, "learning_rate": 1e-3, "beta": 0.5, "seed": 1, "threads": 1,
}  # fmt: skip

needs_cryodrgn = pytest.mark.skipif(
    shutil.which("cryodrgn") is None and not (Path(program_module.sys.executable).parent / "cryodrgn").exists(),
    reason="the program cryodrgn is not installed",
)


def gaussians(axes: list[NDArray[np.float64]], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over blobs on a grid: axes in array order, centres (…, blobs, dimension) as (x, y, …)."""
    total = np.ones(())
    for axis, coordinate in zip(axes, np.moveaxis(centres[..., ::-1], -1, 0), strict=True):
        profile = np.exp(-0.5 * ((axis - coordinate[..., None]) / SIGMA) ** 2)
        total = total[..., None] * profile[(..., *[None] * (total.ndim - coordinate.ndim), slice(None))]
    return total.sum(axis=-len(axes) - 1)


def true_map() -> NDArray[np.float64]:
    grid = np.arange(BOX) - BOX // 2
    return gaussians([grid] * 3, BLOBS)


def simulate(folder: Path) -> tuple[Path, Particles]:
    """White projections, displaced, with a CTF of 1 everywhere (pure amplitude contrast in focus) and little noise."""
    rng = np.random.default_rng(0)
    rotations = Rotation.random(COUNT, random_state=0).as_matrix()
    displacements = rng.uniform(-3, 3, (COUNT, 2))
    # x_volume = R x_image: a point of the volume appears in the image at its coordinates under the transpose.
    in_image = np.einsum("nji,bj->nbi", rotations, BLOBS)[..., :2] + displacements[:, None]
    grid = np.arange(BOX) - BOX // 2
    images = gaussians([grid] * 2, in_image)
    images += rng.normal(scale=images.std(), size=images.shape)
    rot, tilt, psi = matrix_to_euler(rotations)
    table = pd.DataFrame(
        {
            "rlnImageName": [f"{i + 1:06d}@stack.mrcs" for i in range(COUNT)],
            "rlnOpticsGroup": 1,
            "rlnAngleRot": rot,
            "rlnAngleTilt": tilt,
            "rlnAnglePsi": psi,
            # Poses belong to the original images, here of twice the box and half the pixel size.
            "rlnOriginXAngst": -displacements[:, 0] * PIXEL_SIZE,
            "rlnOriginYAngst": -displacements[:, 1] * PIXEL_SIZE,
            "rlnDefocusU": 0.0,
            "rlnDefocusV": 0.0,
            "rlnDefocusAngle": 0.0,
            "rlnPhaseShift": 0.0,
        }
    )
    optics = pd.DataFrame(
        {
            "rlnOpticsGroup": [1],
            "rlnVoltage": [300.0],
            "rlnSphericalAberration": [0.0],
            "rlnAmplitudeContrast": [1.0],
            "rlnImagePixelSize": [PIXEL_SIZE / 2],
            "rlnImageSize": [BOX * 2],
        }
    )
    with StackWriter(folder / "stack.mrcs", COUNT, BOX, PIXEL_SIZE) as writer:
        writer.append(images)
    return folder / "stack.mrcs", Particles(table, optics, folder / "particles.star")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory):
    return simulate(tmp_path_factory.mktemp("data"))


def run(data, previous: Path | None, outdir: Path, epochs: int = 1, **changes):
    stack, particles = data
    return train(stack, particles, BOX, PIXEL_SIZE, previous, outdir, epochs=epochs, **(SETTINGS | changes))


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    outdir = tmp_path_factory.mktemp("round_00") / "latent"
    run(data, None, outdir, epochs=6)
    return outdir


@needs_cryodrgn
@pytest.mark.long
def test_decoded_map_is_the_true_map(trained: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(trained, tmp_path / "elsewhere")
    z, _ = read_latent(moved / "z.pkl")
    assert z.shape == (COUNT, 2)
    (path,) = decode_volumes(moved, z.mean(axis=0), tmp_path / "maps", PIXEL_SIZE)
    volume, pixel_size = read_volume(path)
    assert pixel_size == pytest.approx(PIXEL_SIZE)
    truth = true_map()
    correlation = np.corrcoef(volume.ravel(), truth.ravel())[0, 1]
    mirrored = np.corrcoef(volume[::-1].ravel(), truth.ravel())[0, 1]
    assert correlation > 0.9
    assert mirrored < correlation - 0.2
    report = json.loads((trained / "training.json").read_text())
    losses = [epoch["reconstruction"] for epoch in report["losses"]]
    assert report["epoch"] == len(losses) == 6
    assert losses[-1] < losses[0]
    assert sorted(p.name for p in trained.iterdir()) == [
        "config.yaml", "train.log", "training.json", "weights.pkl", "z.pkl",
    ]  # fmt: skip


@needs_cryodrgn
def test_warm_start_goes_on_at_changed_poses(data, trained: Path, tmp_path: Path) -> None:
    stack, particles = data
    turn = Rotation.from_rotvec([0.02, 0.0, 0.0]).as_matrix()
    changed = particles.with_poses(turn @ particles.rotations(), particles.displacements() + 0.1)
    report = run((stack, changed), trained, tmp_path / "latent")
    before = json.loads((trained / "training.json").read_text())
    assert (report.first_epoch, report.epoch) == (7, 7)
    assert report.losses[0]["reconstruction"] < before["losses"][2]["reconstruction"]


@needs_cryodrgn
def test_a_training_that_was_taken_is_trained_on_from(data, trained: Path, tmp_path: Path) -> None:
    _, particles = data
    given, taken = tmp_path / "given", tmp_path / "taken"
    given.mkdir()
    # as cryoDRGN names them, and without what is ours
    names = {"weights.pkl": "weights.6.pkl", "z.pkl": "z.6.pkl", "config.yaml": "config.yaml", "train.log": "run.log"}
    for own, name in names.items():
        shutil.copy(trained / own, given / name)
    before = take_training(
        given / "weights.6.pkl", given / "z.6.pkl", given / "config.yaml", particles, SETTINGS | {"box": BOX}, taken
    )
    assert len(before.losses) == before.epoch == 6
    report = run(data, taken, tmp_path / "latent")
    assert (report.first_epoch, report.epoch) == (7, 7)
    assert report.losses[0]["reconstruction"] < before.losses[2]["reconstruction"]


@needs_cryodrgn
@pytest.mark.long
def test_who_is_left_out_is_encoded_and_not_trained_on(data, trained: Path, tmp_path: Path) -> None:
    stack, particles = data
    left_out = np.arange(COUNT) % 4 == 1
    marked = particles.select(np.arange(COUNT))
    marked.table["drgnLeftOut"] = left_out.astype(int)
    # a later round, in which others were left out before
    run((stack, marked), trained, tmp_path / "marked")
    with StackWriter(tmp_path / "fewer.mrcs", int((~left_out).sum()), BOX, PIXEL_SIZE) as writer:
        writer.append(read_volume(stack)[0][~left_out])
    run((tmp_path / "fewer.mrcs", particles.select(~left_out)), trained, tmp_path / "alone")
    z, alone = (read_latent(tmp_path / name / "z.pkl")[0] for name in ("marked", "alone"))
    np.testing.assert_array_equal(z[~left_out], alone)
    # good particles, left out for the test: they lie where the others do
    assert z.shape == (COUNT, 2) and np.isfinite(z).all()
    np.testing.assert_allclose(z[left_out].mean(axis=0), alone.mean(axis=0), atol=0.3 * alone.std())
    np.testing.assert_array_equal(trained_on(tmp_path / "marked", COUNT), ~left_out)
    assert trained_on(tmp_path / "alone", 450).all()


def interrupt_the_second_stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next training is ended from outside once a stretch is whole."""
    real, done = train_module.run_cryodrgn, []

    def run_cryodrgn(arguments, log, threads) -> None:
        if done:
            with log.open("a") as file:
                file.write("Epoch: 99 of what is lost\n")
            raise KeyboardInterrupt
        done.append(arguments)
        real(arguments, log, threads)

    monkeypatch.setattr(train_module, "run_cryodrgn", run_cryodrgn)


@needs_cryodrgn
@pytest.mark.long
def test_an_interrupted_training_ends_as_if_it_had_not_been(
    data, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted twice."""
    whole = run(data, trained, tmp_path / "whole", 3, checkpoints=Checkpoints(tmp_path / "kept", 1))
    assert not list((tmp_path / "kept").iterdir())
    checkpoints = Checkpoints(tmp_path / "others", 1)
    for name in ("epoch_00007", "epoch_00008"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            interrupt_the_second_stretch(patch)
            run(data, trained, tmp_path / "gone", 3, checkpoints=checkpoints)
        (folder,) = checkpoints.folder.iterdir()
        # and the one before, which another attempt may be reading
        assert max(path.name for path in folder.iterdir()) == name
    again = run(data, trained, tmp_path / "again", 3, checkpoints=checkpoints)
    assert not list(checkpoints.folder.iterdir())
    assert again == whole
    assert [one["epoch"] for one in again.losses] == [7, 8, 9]
    for one, other in zip(*(read_latent(tmp_path / name / "z.pkl") for name in ("whole", "again")), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_training_does_not_go_on_from_a_checkpoint(
    data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of other poses or another seed."""
    fake_cryodrgn(tmp_path, "exit 1", monkeypatch)
    stack, particles = data
    moved = particles.with_poses(particles.rotations(), particles.displacements() + 0.1)
    checkpoints = Checkpoints(tmp_path / "kept", 2)
    for number, (mine, changes) in enumerate([(particles, {}), (particles, {"seed": 2}), (moved, {})]):
        with pytest.raises(DrgnalignError):
            run((stack, mine), None, tmp_path / "latent", 4, checkpoints=checkpoints, **changes)
        assert len(list(checkpoints.folder.iterdir())) == number + 1


def test_attempts_at_the_same_time_share_what_they_have_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where Nextflow has died, its job trains on, and a resumed run does the same training."""
    stretch, log = train_module._stretch, tmp_path / "train.log"

    def run_cryodrgn(arguments: list[object], log: Path, threads: int) -> None:
        part = Path(str(arguments[3]))
        part.mkdir()
        (part / "weights.pkl").touch()
        log.touch()
        if part.name == "epoch_00010":
            other = tmp_path / "kept" / part.name
            other.mkdir(parents=True)
            (other / "weights.pkl").write_text("the other's")

    monkeypatch.setattr(train_module, "run_cryodrgn", run_cryodrgn)
    weights = None
    for epoch in (5, 10, 15):
        weights = stretch(tmp_path / "a.mrcs", [], weights, tmp_path / "kept" / f"epoch_{epoch:05d}", log, 1)
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["epoch_00010", "epoch_00015"]
    assert (tmp_path / "kept" / "epoch_00010" / "weights.pkl").read_text() == "the other's"
    # the other is further on: what it has stays
    (tmp_path / "kept" / "epoch_00020").mkdir()
    stretch(tmp_path / "a.mrcs", [], None, tmp_path / "kept" / "epoch_00012", log, 1)
    assert (tmp_path / "kept" / "epoch_00020").is_dir()


def previous_round(folder: Path) -> Path:
    settings = SETTINGS | {"box": BOX}
    write_record(TrainingRecord(epoch=10, first_epoch=1, losses=[], settings=settings), folder / "training.json")
    return folder


@pytest.mark.parametrize("change", [{"zdim": 3}, {"layers": 3}, {"nodes": 32}, {"learning_rate": 1e-4}])
def test_changed_network_is_refused(data, tmp_path: Path, change) -> None:
    name, value = next(iter(change.items()))
    with pytest.raises(InputError, match=f"{name} was {SETTINGS[name]} .* {value} now"):
        run(data, previous_round(tmp_path), tmp_path / "latent", **change)


def test_stack_that_does_not_fit_is_refused(data, tmp_path: Path) -> None:
    stack, particles = data
    with pytest.raises(InputError, match="shape"):
        run((stack, particles.select(np.arange(5))), None, tmp_path)


def fake_cryodrgn(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "cryodrgn"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(program_module, "find_cryodrgn", lambda: program)


def test_failure_quotes_the_log(data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cryodrgn(tmp_path, "echo the reason >&2; exit 3", monkeypatch)
    with pytest.raises(DrgnalignError, match=r"status 3:\n\s+the reason"):
        run(data, None, tmp_path / "latent")
    assert (tmp_path / "latent" / "train.log").read_text() == "the reason\n"
    assert [p.name for p in (tmp_path / "latent").iterdir()] == ["train.log"]


def test_training_on_the_cpu_is_announced(
    data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_cryodrgn(tmp_path, "echo Use cuda False; exit 1", monkeypatch)
    with pytest.raises(DrgnalignError):
        run(data, None, tmp_path / "latent")
    assert "WARNING: no GPU found" in capsys.readouterr().err


def test_missing_program_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(program_module.sys, "executable", str(tmp_path / "python"))
    with pytest.raises(DrgnalignError, match="pip install"):
        find_cryodrgn()


@needs_cryodrgn
@pytest.mark.long
def test_images_that_do_not_fit_are_read_batch_by_batch(data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is the same; that of the particles left out, too."""
    stack, particles = data
    some_left_out = replace(particles, table=particles.table.assign(drgnLeftOut=np.arange(COUNT) % 3 == 0))
    made = []
    for name, memory in (("whole", 2**50), ("lazily", 0)):
        monkeypatch.setattr(train_module, "available_memory", lambda memory=memory: memory)
        made.append(run((stack, some_left_out), None, tmp_path / name))
    assert [record.lazy for record in made] == [False, True]
    assert "lazy=True" in (tmp_path / "lazily" / "train.log").read_text()
    whole, lazily = (read_latent(tmp_path / name / "z.pkl")[0] for name in ("whole", "lazily"))
    assert np.array_equal(whole, lazily)
