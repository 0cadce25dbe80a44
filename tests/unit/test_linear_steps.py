"""FIT to COMBINE as the workflow calls them: states are found, named and mapped without a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.metrics import adjusted_rand_score

from drgnalign.downsample import downsample_stack
from drgnalign.errors import InputError
from drgnalign.formats.cryodrgn import read_indices, read_latent
from drgnalign.formats.mrc import read_volume
from drgnalign.formats.star import read_star, write_star
from drgnalign.heterogeneity.known import Known
from drgnalign.heterogeneity.verdicts import AS_ASKED, MOVING, PARTLY_MOVING, PERHAPS_RUNNING, RUNNING, with_linear
from drgnalign.particles import LEFT_OUT
from drgnalign.run.linear import Found, read_found, read_model, write_found
from drgnalign.run.record import read_record
from drgnalign.run.records import ClusteringRecord, LinearRecord
from drgnalign.steps.cluster import main as cluster
from drgnalign.steps.combine import main as combine
from drgnalign.steps.embed import main as embed
from drgnalign.steps.fit import main as fit

LEFT = 20


def done(command: click.Command, *arguments: object) -> None:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def fitted(simulate: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """400 particles of two states, of whom the first 20 are left out; a folder with what the steps made of them."""
    folder = tmp_path_factory.mktemp("run")
    errors = {"rotation_error_deg": 1.0, "shift_error_angstrom": 1.0}
    simulated = simulate(400, 32, 8.0, states=2, snr=0.3, **errors)
    particles = simulated.given
    particles.table[LEFT_OUT] = (np.arange(400) < LEFT).astype(int)
    write_star(particles, folder / "particles.star")
    downsample_stack(particles, simulated.source, 32, folder / "assign.mrcs")
    references = folder / "references"
    references.mkdir()
    pd.DataFrame({"cluster": ["consensus"], "resolution_0143_angstrom": [24.0]}).to_csv(
        references / "fsc.csv", index=False
    )
    star, latent = folder / "particles.star", folder / "latent"
    images = ("--stack", folder / "assign.mrcs", "--last-references", references)
    how = ("--components", 3, "--most-points", 5, "--limit", 14)
    done(fit, star, *images, *how, "--mask-diameter", 200, "--threads", 2, "-o", folder / "linear")
    done(embed, "--linear", folder / "linear", "-o", latent)
    done(
        cluster, star, "--latent", latent, "--last-references", references, "--method", "kmeans", "--space", "z",
        "--k", 4, "--starts", "-o", folder / "labelled.star", "--record", folder / "clusters.json",
    )  # fmt: skip
    done(combine, "--latent", latent, "--clusters", folder / "clusters.json", "-o", folder / "decoded")
    # from this model to one of the next round
    again = ("--last-latent", latent, "--mask-diameter", 200, "-o", folder / "next")
    done(fit, star, *images, *how, *again)
    return simulated, folder


def test_points_are_states_of_those_who_are_not_left_out(fitted: tuple[Any, Path]) -> None:
    simulated, folder = fitted
    labels = read_star(folder / "labelled.star").table["drgnStartPoints"].to_numpy()
    assert (labels[:LEFT] == 0).all()
    assert adjusted_rand_score(simulated.truth.cluster_labels()[LEFT:], labels[LEFT:]) > 0.95


@pytest.mark.parametrize("name", ["linear", "next"])
def test_the_record_says_how_many(fitted: tuple[Any, Path], name: str) -> None:
    record = read_record(LinearRecord, fitted[1] / name / "linear.json")
    assert (record.points, record.particles, record.components) == (2, 400 - LEFT, 3)
    assert record.limit_angstrom == 24.0
    assert record.continued == (name == "next")
    assert len(record.gains) == 3
    assert record.gains[1] - record.gains[0] > 1.0 > record.gains[2] - record.gains[1]
    assert record.number == "2 states"


def test_the_latent_folder_is_of_one_form(fitted: tuple[Any, Path]) -> None:
    latent = fitted[1] / "latent"
    z, _ = read_latent(latent / "z.pkl")
    assert z.shape == (400, 3)
    np.testing.assert_array_equal(read_indices(latent / "ind.pkl"), np.arange(LEFT, 400))
    assert len(pd.read_csv(latent / "embedding.csv")) == 400
    record = read_record(ClusteringRecord, fitted[1] / "clusters.json")
    assert record.linear is not None and record.linear.points == 2


def test_maps_show_the_states(fitted: tuple[Any, Path]) -> None:
    """The ends of the film differ as the two true maps do."""
    simulated, folder = fitted
    films = [read_volume(folder / "decoded" / f"pc1_{number:02d}.mrc")[0] for number in (1, 6)]
    truths = [read_volume(simulated.folder / f"state_{number:02d}.mrc")[0] for number in (1, 2)]
    found, true = films[1] - films[0], truths[1] - truths[0]
    assert abs(np.corrcoef(found.ravel(), true.ravel())[0, 1]) > 0.7
    names = {path.stem for path in (folder / "decoded").glob("cluster_*.mrc")}
    assert names == {f"cluster_{number:02d}" for number in range(1, 5)}


def test_a_model_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no linear latent model"):
        read_model(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read_found(tmp_path, 3)


def test_what_images_say_survives_writing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(5, 3, 3))
    known = Known(rng.normal(size=(5, 3)), roots @ np.swapaxes(roots, 1, 2))
    write_found(Found(known, np.array([0, 1, 2, 1, 2]), np.zeros((2, 3))), tmp_path)
    found = read_found(tmp_path, 5)
    np.testing.assert_allclose(found.known.linear, known.linear, rtol=1e-6)
    np.testing.assert_allclose(found.known.quadratic, known.quadratic, rtol=1e-6)
    np.testing.assert_array_equal(found.labels, [0, 1, 2, 1, 2])
    with pytest.raises(InputError, match="of 5 particles, not of 6"):
        read_found(tmp_path, 6)


def test_embedding_needs_a_latent_space(tmp_path: Path) -> None:
    result = CliRunner().invoke(embed, ["-o", str(tmp_path / "latent")])
    assert result.exit_code == 2
    assert "give --training, --linear, or both" in result.output


@pytest.mark.parametrize(
    ("gains", "points", "said"),
    [
        ([0.0, 1.0, 1.0], 2, "2 states"),
        ([0.0, 1.0, 2.0, 2.0], 3, "2 states; the linear model counts 3 states"),
        ([0.0, 0.0], 1, "2 states; the linear model counts 1 state"),
        ([0.0, 1.0, 2.0], 3, "2 states; the linear model counts 3 states or more"),
        # a third that hardly gains anything is no doubt, a second one is needed
        ([0.0, 1.0, 1.03, 1.03], 3, "2 states"),
        ([0.0, 0.03, 0.05], 3, "2 states"),
        ([0.0, 0.03, 0.09, 0.09], 3, "2 states; the linear model counts 3 states"),
        # many that hardly gain anything gain something together
        ([0.0, 1.0, 1.04, 1.08, 1.08], 4, "2 states; the linear model counts 4 states"),
    ],
)
def test_a_verdict_says_where_the_linear_model_disagrees(gains: list[float], points: int, said: str) -> None:
    assert with_linear("2 states", 2, LinearRecord(gains=gains, points=points)) == said
    assert with_linear("2 states", 2, None) == "2 states"
    moving = LinearRecord(gains=gains, points=points, motion=True)
    assert with_linear("2 states", 2, moving) == f"{MOVING}; the clusters alone say: 2 states"
    assert with_linear(PERHAPS_RUNNING, 2, moving).startswith(MOVING)
    for same in (RUNNING, AS_ASKED):
        assert with_linear(same, 2, moving) == f"{same}; the linear model sees a motion"
        partly = LinearRecord(gains=gains, points=points, motion=True, groups=3, moving_share=0.6)
        words = "a motion of 60 % of the particles, and 2 states beside it"
        assert with_linear(same, 2, partly) == f"{same}; the linear model sees {words}"
        assert with_linear("2 states", 2, partly) == f"{PARTLY_MOVING}{words}; the clusters alone say: 2 states"
    assert json.dumps(LinearRecord(gains=gains, points=points).written())
