"""A training that was done before: what is taken of it, and what is refused."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from drgnalign.errors import InputError
from drgnalign.formats.cryodrgn import read_indices, write_indices, write_latent
from drgnalign.formats.star import read_star
from drgnalign.heterogeneity.take import doubt_of_sign, take_training
from drgnalign.particles import Particles
from drgnalign.run.inputs import InputsRecord
from drgnalign.run.latent import TrainingRecord, write_images
from drgnalign.run.record import read_record, write_record
from drgnalign.simulate import phantom_states, simulate_set
from drgnalign.steps.take_training import main

COUNT = 20
SETTINGS = {"box": 32, "zdim": 4, "layers": 3, "nodes": 256, "learning_rate": 1e-4}
MODEL = {
    "qlayers": 3, "qdim": 256, "players": 3, "pdim": 256, "zdim": 4, "encode_mode": "resid", "enc_mask": 16,
    "pe_type": "gaussian", "feat_sigma": 0.5, "pe_dim": None, "domain": "fourier", "activation": "relu",
}  # fmt: skip
# As cryoDRGN 3 writes it: with an object of numpy's.
CONFIG = """dataset_args:
  norm:
  - 0
  - !!python/object/apply:numpy.core.multiarray.scalar
    - !!python/object/apply:numpy.dtype
      args: [f4, false, true]
    - !!binary |
      AACAPw==
lattice_args: {D: 33}
version: 3.4.3
"""
LOG = """(INFO) # =====> Epoch: 1 Average gen loss = 0.98, KLD = 12.5, total loss = 0.99; Finished in 0:01
# =====> Epoch: 2 Average gen loss = 0.91, KLD = nan, total loss = 0.92; Finished in 0:00:01
"""


@pytest.fixture(scope="module")
def particles(tmp_path_factory: pytest.TempPathFactory) -> Particles:
    folder = tmp_path_factory.mktemp("set")
    simulate_set(folder, phantom_states(1), [1.0], COUNT, 48, 5.0)
    return read_star(folder / "particles.star")


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A folder of ``cryodrgn train_vae``."""
    folder = tmp_path / "given"
    folder.mkdir()
    write_model(folder)
    write_weights(folder / "weights.29.pkl")
    latent(folder / "z.29.pkl")
    return folder


def write_model(folder: Path, **changes: Any) -> None:
    (folder / "config.yaml").write_text(CONFIG + yaml.dump({"model_args": MODEL | changes}))


def write_weights(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", "weights")


def latent(path: Path, count: int = COUNT, zdim: int = 4, first: float = 0.5) -> None:
    z = np.arange(count * zdim, dtype=np.float32).reshape(count, zdim)
    z[0, 0] = first
    write_latent(path, z, np.zeros_like(z))


def take(given: Path, particles: Particles, name: str = "weights.29.pkl", **changes: Any) -> TrainingRecord:
    out = given.parent / "training"
    z = given / name.replace("weights", "z")
    return take_training(given / name, z, given / "config.yaml", particles, SETTINGS | changes, out)


def test_a_training_becomes_the_round_s(given: Path, particles: Particles) -> None:
    (given / "run.log").write_text(LOG)
    record = take(given, particles)
    out = given.parent / "training"
    assert read_record(TrainingRecord, out / "training.json") == record
    assert (record.epoch, record.first_epoch, record.cryodrgn_version) == (29, 1, "3.4.3")
    assert record.taken_from == str(given / "weights.29.pkl")
    assert [loss["reconstruction"] for loss in record.losses] == [0.98, 0.91]
    assert record.losses[1]["kld"] is None
    assert record.settings == {"box": 32, "zdim": 4, "layers": 3, "nodes": 256, "learning_rate": None}
    for name, source in {"weights.pkl": "weights.29.pkl", "z.pkl": "z.29.pkl", "train.log": "run.log"}.items():
        assert (out / name).read_bytes() == (given / source).read_bytes()
    # what cryoDRGN 4 reads: without objects, and with all that it asks for
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["dataset_args"]["norm"] == [0, 1.0]
    assert config["model_args"] == MODEL | {"tilt_params": {}} and config["lattice_args"]["D"] == 33
    assert not (out / "ind.pkl").exists()


def test_a_round_s_own_is_taken_with_its_record(given: Path, particles: Particles) -> None:
    (given / "weights.29.pkl").rename(given / "weights.pkl")
    (given / "z.29.pkl").rename(given / "z.pkl")
    write_indices(given / "ind.pkl", np.arange(5))
    own = TrainingRecord(epoch=12, first_epoch=8, losses=[], settings=SETTINGS | {"beta": 0.25}, device="cuda")
    write_record(own, given / "training.json")
    record = take(given, particles, "weights.pkl")
    assert (record.epoch, record.first_epoch, record.settings, record.device) == (12, 8, own.settings, "cuda")
    np.testing.assert_array_equal(read_indices(given.parent / "training" / "ind.pkl"), np.arange(5))
    with pytest.raises(InputError, match=r"learning_rate 0.0001 where the run has 0.001\n.* --learning_rate 0.0001"):
        take(given, particles, "weights.pkl", learning_rate=1e-3)


def test_rows_of_other_images_are_refused(given: Path, particles: Particles) -> None:
    """Of a round's, which says whose they are; stacks may have been moved meanwhile."""
    write_images(particles, given)
    moved = particles.table["rlnImageName"].str.replace("@", "@elsewhere/").str.replace(".mrcs", ".mrc:mrcs")
    take(given, replace(particles, table=particles.table.assign(rlnImageName=moved)))
    with pytest.raises(InputError, match=rf"not those of the latent variables in {given}, or in another order\n"):
        take(given, particles.select(np.arange(COUNT)[::-1]))
    (given / "images.sha256").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"images\.sha256: is no digest"):
        take(given, particles)


@pytest.mark.parametrize(
    ("model", "settings", "problem", "remedy"),
    [
        ({"zdim": 10}, {}, "zdim 10 where the run has 4", "--zdim 10"),
        ({}, {"box": 40, "nodes": 1024}, "box 32 .* has 40, nodes 256 .* has 1024", "--train_box 32 --nodes 256"),
        ({"pdim": 1024}, {}, "256 nodes in the encoder and 1024 in the decoder", "--labels"),
        ({"pe_type": "geom_lowf", "domain": "hartley"}, {}, "pe_type: geom_lowf, domain: hartley", "--labels"),
        ({"enc_mask": 12}, {}, "enc_mask: 12", "--labels"),
    ],
)
def test_another_network_is_refused(
    given: Path, particles: Particles, model: dict[str, Any], settings: dict[str, Any], problem: str, remedy: str
) -> None:
    write_model(given, **model)
    with pytest.raises(InputError, match=rf"config.yaml: .*{problem}.*\n  What to do: .*{remedy}"):
        take(given, particles, **settings)
    assert not (given.parent / "training").exists()


def test_a_training_of_larger_images_is_of_other_particles(given: Path, particles: Particles) -> None:
    write_model(given, enc_mask=32)
    (given / "config.yaml").write_text((given / "config.yaml").read_text().replace("D: 33", "D: 65"))
    with pytest.raises(InputError, match="on images of 64 px, and those of the particles have 48 px"):
        take(given, particles)


@pytest.mark.parametrize(
    ("count", "zdim", "first", "problem"),
    [
        (COUNT - 1, 4, 0.5, f"4 latent variables of 19 particles, .* the particle file {COUNT}"),
        (COUNT, 3, 0.5, "3 latent variables of 20 particles, where the network has 4"),
        (COUNT, 4, np.nan, "not finite"),
    ],
)
def test_latent_variables_of_others_are_refused(
    given: Path, particles: Particles, count: int, zdim: int, first: float, problem: str
) -> None:
    latent(given / "z.29.pkl", count, zdim, first)
    with pytest.raises(InputError, match=rf"z.29.pkl: .*{problem}"):
        take(given, particles)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"lattice_args: {{D: 33}}\nmodel_args: {json.dumps(MODEL)}\n", "does not say how images were normalised"),
        ("a: [1", "cannot be read"),
        ("- 1\n", "holds no settings"),
        ("lattice_args: {D: 33}\n", "lacks the sizes"),
        ("lattice_args: {D: 33}\nmodel_args: {zdim: 4}\n", "lacks the sizes"),
        ("lattice_args: {D: large}\nmodel_args: {zdim: 4}\n", "lacks the sizes"),
        ("lattice_args: 3\nmodel_args: 3\n", "lacks the sizes"),
    ],
)
def test_a_broken_config_is_refused(given: Path, particles: Particles, text: str, problem: str) -> None:
    (given / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=rf"config.yaml: .*{problem}.*\n.*train_vae"):
        take(given, particles)


def test_the_rate_of_learning_goes_on(given: Path, particles: Particles) -> None:
    command = "cmd: [cryodrgn, train_vae, --lr, '0.0005']\n"
    (given / "config.yaml").write_text(command + (given / "config.yaml").read_text())
    with pytest.raises(InputError, match=r"learning_rate 0.0005 where the run has 0.0001"):
        take(given, particles)
    assert take(given, particles, learning_rate=5e-4).settings["learning_rate"] == 5e-4


def test_losses_are_those_of_the_epochs_behind_the_weights(given: Path, particles: Particles) -> None:
    """A log goes on where a training was begun again; the first epoch of cryoDRGN 3 is 0 in names, and 1 in the log."""
    write_weights(given / "weights.0.pkl")
    latent(given / "z.0.pkl")
    (given / "run.log").write_text(LOG.replace("0.98", "0.99") + LOG)
    assert [loss["reconstruction"] for loss in take(given, particles, "weights.0.pkl").losses] == [0.98]


def test_the_epoch_is_that_of_the_log_where_names_have_none(given: Path, particles: Particles) -> None:
    (given / "weights.29.pkl").rename(given / "weights.pkl")
    (given / "z.29.pkl").rename(given / "z.pkl")
    (given / "run.log").write_text(LOG)
    assert take(given, particles, "weights.pkl").epoch == 1


def test_weights_that_are_cut_short_are_refused(given: Path, particles: Particles) -> None:
    (given / "weights.29.pkl").write_bytes((given / "weights.29.pkl").read_bytes()[:-20])
    with pytest.raises(InputError, match=r"weights\.29\.pkl: holds no network: it is cut short"):
        take(given, particles)


def test_another_sign_is_doubted(given: Path) -> None:
    config = given / "config.yaml"
    assert doubt_of_sign(config, ["white"]) is None
    assert "inverted in the training, and protein is dark" in (doubt_of_sign(config, ["dark"]) or "")
    config.write_text(config.read_text().replace("dataset_args:", "dataset_args:\n  invert_data: false"))
    assert doubt_of_sign(config, ["dark"]) is None
    assert "left as they are" in (doubt_of_sign(config, ["dark", "white"]) or "")
    # a round's own are of white protein, whatever the particles are
    (given / "training.json").touch()
    assert doubt_of_sign(config, ["white"]) is None


def test_weights_without_an_epoch_are_refused(given: Path, particles: Particles) -> None:
    (given / "weights.29.pkl").rename(given / "weights.pkl")
    (given / "z.29.pkl").rename(given / "z.pkl")
    with pytest.raises(InputError, match=r"does not say of which epoch.*\n.*weights\.N\.pkl"):
        take(given, particles, "weights.pkl")


def test_the_step_names_the_user_s_files(given: Path, particles: Particles, tmp_path: Path) -> None:
    facts = InputsRecord(
        input="theirs.star", particles=COUNT, box=48, pixel_size_angstrom=5.0, train_box=32, optics_groups=1,
        half_sets=[10, 10], halves="independent", left_out_by_input=0, contrast=["white"], contrast_from="--invert",
        normalised=False, backgrounds={}, optics=[], warnings=[], notes=[],
    )  # fmt: skip
    write_record(facts, tmp_path / "inputs.json")
    words = [particles.path, "--weights", given / "weights.29.pkl", "--z", given / "z.29.pkl"]
    words += ["--config", given / "config.yaml", "--inputs", tmp_path / "inputs.json", "--zdim", 4, "--layers", 3]
    words += ["--nodes", 256, "--learning-rate", 1e-4, "--output", tmp_path / "out", "--said", tmp_path / "said.txt"]
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert f"{given}/weights.29.pkl (epoch 29), and trains none" in (tmp_path / "said.txt").read_text()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.yaml", "images.sha256", "train.log", "training.json", "weights.pkl", "z.pkl",
    ]  # fmt: skip
