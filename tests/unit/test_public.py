"""The public face, by the examples of its page and by the notebook."""

from __future__ import annotations

import doctest
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import drgnalign
from drgnalign import public
from drgnalign.errors import InputError
from drgnalign.formats.star import write_star

REPOSITORY = Path(__file__).resolve().parents[2]
LABELS = 1 + np.arange(300) % 2


@pytest.fixture
def noisy(simulate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A set of two states, in whose folder the examples run."""
    data = simulate(400, 32, 8.0, states=2, snr=0.5, rotation_error_deg=4.0, shift_error_angstrom=4.0)
    monkeypatch.chdir(data.folder)
    return data


def test_the_examples_of_the_page(noisy: Any) -> None:
    truth, chance = noisy.truth.cluster_labels(), np.random.default_rng(0).integers(1, 3, len(noisy.truth))
    mine = np.where(np.arange(len(truth)) % 3 == 0, chance, truth)
    page = str(REPOSITORY / "docs" / "python.md")
    ran = doctest.testfile(page, module_relative=False, globs={"mine": mine}, encoding="utf-8")
    assert ran.attempted > 10 and not ran.failed


def test_what_is_named_is_there_and_nothing_else() -> None:
    assert {name: getattr(drgnalign, name) for name in drgnalign.__all__} == {
        name: getattr(public, name) for name in drgnalign.__all__
    }
    with pytest.raises(AttributeError, match="no attribute 'reconstrct'"):
        drgnalign.reconstrct  # noqa: B018


def test_some_particles_are_a_set_of_their_own(noisy: Any) -> None:
    data = drgnalign.open_particles(noisy.folder / "particles.star", diameter=200.0)
    half = data.select(np.arange(len(data)) % 2 == 0)
    assert len(half) == len(data) // 2 and half.diameter == 200.0
    mask = drgnalign.mask_of(drgnalign.reconstruct(data), 200.0)
    refined = drgnalign.refine(half, drgnalign.reconstruct(data), 20.0, mask)
    assert refined.particles.table["rlnImageName"].tolist() == half.particles.table["rlnImageName"].tolist()


def test_the_notebook_runs(noisy: Any) -> None:
    """On a set in the places of the demo's."""
    results = Path("demo/results/final")
    results.mkdir(parents=True)
    Path("demo/data").symlink_to(noisy.folder)
    labelled = noisy.given.select(np.arange(len(noisy.given)))
    labelled.table["rlnClassNumber"] = noisy.truth.cluster_labels()
    write_star(labelled, results / "all_particles.star")
    notebook = json.loads((REPOSITORY / "examples" / "demo.ipynb").read_text())
    code = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    names: dict[str, Any] = {}
    exec(compile(code, "demo.ipynb", "exec"), names)
    assert names["found"].verdict.startswith("2 states")
    assert len(names["resolutions"]) == 2 and all(value > 16 for value in names["resolutions"].values())


def test_a_set_is_written_so_that_its_stacks_are_found(
    noisy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = drgnalign.open_particles("particles.star", diameter=200.0)
    # wherever the program is by then
    monkeypatch.chdir(tmp_path)
    drgnalign.write_particles(data, "written.star")
    again = drgnalign.open_particles("written.star", diameter=200.0)
    assert_allclose(drgnalign.reconstruct(again).half1, drgnalign.reconstruct(data).half1, atol=1e-6)
    with pytest.raises(InputError, match=r"name it \.star"):
        drgnalign.write_particles(data, "written.csv")
    assert {"assign", "refine", "write_particles"} <= set(dir(drgnalign))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"starts": LABELS}, "give a list of starts"),
        ({"starts": [LABELS[:-1]]}, r"of shape \(299,\), where there are 300"),
        ({"starts": [np.where(LABELS == 1, np.nan, 1.0)]}, "not all whole numbers"),
        ({"starts": [LABELS + 0.5]}, "not all whole numbers"),
        ({"starts": [["two"] * 300]}, "are no numbers"),
        ({"starts": [0 * LABELS]}, "no start has a particle in a cluster"),
        ({"starts": []}, "no start has a particle in a cluster"),
        ({"k": 0}, "k is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"limit": -1.0}, "limit is -1"),
    ],
)
def test_what_cannot_be_assigned_is_refused(noisy_set: Any, change: dict[str, Any], problem: str) -> None:
    data = drgnalign.open_particles(noisy_set.folder / "particles.star", diameter=200.0)
    with pytest.raises(InputError, match=problem):
        drgnalign.assign(data, **({"starts": [LABELS], "limit": 20.0} | change))


def test_masks_sets_and_symmetries_that_cannot_be_are_refused(noisy_set: Any) -> None:
    data = drgnalign.open_particles(noisy_set.folder / "particles.star", diameter=200.0)
    maps, small = drgnalign.reconstruct(data), np.ones((4, 4, 4), np.float32)
    for call in (lambda: drgnalign.fsc(maps, small), lambda: drgnalign.refine(data, maps, 20.0, small)):
        with pytest.raises(InputError, match=r"the mask is of shape \(4, 4, 4\)"):
            call()
    with pytest.raises(InputError, match="0 particles have no two half maps"):
        drgnalign.reconstruct(data.select([]))
    with pytest.raises(InputError, match="XX"):
        drgnalign.open_particles(noisy_set.folder / "particles.star", symmetry="XX")
