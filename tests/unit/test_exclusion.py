"""Particles that the program of a file had left out: in the file, and in nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run, succeed

from drgnalign.engine.noise import estimate_noise
from drgnalign.errors import InputError, InputWarning
from drgnalign.exclusion import with_excluded
from drgnalign.formats.mrc import read_volume
from drgnalign.formats.particle_file import read_particle_file
from drgnalign.formats.star import read_star, write_star
from drgnalign.heterogeneity.assign import Assigner, AssignmentSettings
from drgnalign.heterogeneity.screen import screened
from drgnalign.heterogeneity.states import find_states, with_amplitudes
from drgnalign.inputs import import_particles, open_particles, undecided
from drgnalign.particles import Particles

BOX, PIXEL, LIMIT, DIAMETER = 32, 8.0, 18.0, 200.0
RULES = {"drgnFrealignInclude": (1, -1), "drgnFrealignOcc": (100.0, 0.0), "rlnSelected": (1, 0), "rlnEnabled": (1, -1)}


@pytest.fixture(scope="module")
def data(simulate: Callable) -> Any:
    return simulate(400, BOX, PIXEL, snr=0.3)


def foreign(data: Any, **columns: Any) -> Particles:
    """Of a file that is not the workflow's own."""
    return replace(data.given, table=data.given.table.drop(columns="drgnRow").assign(**columns))


def some(count: int) -> np.ndarray:
    return np.arange(count) % 4 == 1


@pytest.mark.parametrize("label", RULES)
def test_they_are_kept_in_the_file_and_told(data: Any, label: str) -> None:
    out, (inside, outside) = some(len(data.given)), RULES[label]
    path = data.folder / f"{label}.star"
    write_star(foreign(data, **{label: np.where(out, outside, inside)}), path)
    with pytest.warns(InputWarning, match="100 of 400 particles are left out by the file's own program"):
        opened = open_particles(path, None).particles
    assert len(opened) == len(data.given)
    assert opened.left_out().tolist() == opened.excluded().tolist() == out.tolist()
    # a run, which decides anew about junk, does not about them
    write_star(undecided(opened), data.folder / "state.star")
    with pytest.warns(InputWarning, match="100 of 400 particles are left out by the file's own"):
        assert open_particles(data.folder / "state.star", None)[0].left_out().tolist() == out.tolist()


def test_they_are_in_no_map(data: Any, tmp_path: Path) -> None:
    out = some(len(data.given))
    write_star(foreign(data, drgnFrealignInclude=np.where(out, -1, 1)), data.folder / "with.star")
    write_star(foreign(data).select(~out), data.folder / "without.star")
    maps = []
    for name in ("with", "without"):
        said = succeed("reconstruct", data.folder / f"{name}.star", "-o", tmp_path / name).stderr
        assert ("100 of 400" in said) == (name == "with")
        maps.append(read_volume(tmp_path / f"{name}_half1.mrc")[0])
    np.testing.assert_allclose(*maps, atol=1e-4 * np.abs(maps[0]).max())


@pytest.mark.parametrize("exclude", [True, False])
def test_no_image_takes_them_back(data: Any, exclude: bool) -> None:
    """Though they match as well as all others, and whether or not junk is to be left out."""
    out = some(len(data.given))
    with pytest.warns(InputWarning):
        given = with_excluded(foreign(data, drgnFrealignInclude=np.where(out, -1, 1)))
    source = data._replace(truth=given).source
    noise = estimate_noise(given, source, DIAMETER)
    assigner = Assigner(given, source, noise, AssignmentSettings(LIMIT, DIAMETER, exclude=exclude))
    found = screened(assigner)
    assert found.outcome.left_out[out].all() and not found.searched[out].any()
    assert found.outcome.left_out[~out].mean() < 0.05
    written = with_amplitudes(found.particles, found.outcome)
    assert np.isnan(written.table["drgnAmplitude"][out]).all() and written.left_out()[out].all()
    labels = np.where(np.arange(len(given)) % 2, 1, 2)
    states = find_states(assigner, [labels], None)
    assert states.kept.assignment.left_out[out].all() and not states.searched[out].any()
    assert states.kept.assignment.left_out[~out].mean() < 0.05


def test_they_do_not_decide_what_half_sets_are_worth(data: Any) -> None:
    """Copies in the other half set do not matter where they are left out."""
    out = some(len(data.given))
    given = foreign(data, drgnFrealignInclude=np.where(out, -1, 1))
    names = given.table["rlnImageName"].to_numpy(object, copy=True)
    names[out] = names[np.flatnonzero(out) - 1]
    halves = given.half_sets()
    halves[out] = 3 - halves[np.flatnonzero(out) - 1]
    write_star(
        replace(given, table=given.table.assign(rlnImageName=names, rlnRandomSubset=halves)), data.folder / "c.star"
    )
    with pytest.warns(InputWarning) as said:
        import_particles(data.folder / "c.star")
    assert not any("not independent" in str(one.message) for one in said)


def test_nobody_left_is_refused_and_shares_are_told(data: Any) -> None:
    with pytest.raises(InputError, match="400 of 400 particles are left out by the file's own program"):
        with_excluded(foreign(data, drgnFrealignOcc=0.0))
    with pytest.warns(InputWarning, match="400 particles have occupancies between 0 and 100 %"):
        assert not with_excluded(foreign(data, drgnFrealignOcc=50.0)).left_out().any()


def test_select_and_conversions_know_them(data: Any, tmp_path: Path) -> None:
    out = some(len(data.given))
    given = foreign(data, drgnExcluded=out.astype(int))
    write_star(given, data.folder / "x.star")
    succeed("select", data.folder / "x.star", "--kept", "-o", data.folder / "kept.star")
    assert len(read_star(data.folder / "kept.star")) == 300
    said = succeed("convert", data.folder / "x.star", "-o", tmp_path / "x.par", "--to", "parx").stderr
    assert "left out" not in said
    assert (read_particle_file(tmp_path / "x.par").table["drgnFrealignInclude"] < 0).tolist() == out.tolist()
    said = run("convert", data.folder / "x.star", "-o", tmp_path / "x", "--to", "cryodrgn").stderr
    assert "100 particles are left out" in said


def test_relion_is_said_to_use_whom_frealign_left_out(data: Any, tmp_path: Path) -> None:
    out = some(len(data.given))
    write_star(foreign(data, drgnFrealignInclude=np.where(out, -1, 1)), data.folder / "y.star")
    said = succeed("convert", data.folder / "y.star", "-o", data.folder / "z.star").stderr
    assert "100 by INCLUDE < 0" in said
    assert "RELION does not read" in said
    succeed("select", data.folder / "z.star", "--kept", "-o", data.folder / "kept_of_z.star")
    assert len(read_star(data.folder / "kept_of_z.star")) == 300
    failed = run("select", data.folder / "particles.star", "--kept", "-o", data.folder / "w.star")
    assert failed.exit_code == 2
    assert "nothing by which another program leaves particles out" in failed.stderr


def test_what_was_done_to_images_is_not_lost_without_a_word(data: Any, tmp_path: Path) -> None:
    for label in ("rlnCtfDataArePhaseFlipped", "rlnCtfDataAreCtfCorrected"):
        done = replace(data.given, optics=data.given.optics.assign(**{label: 1}))
        write_star(done, data.folder / f"{label}.star")
    said = succeed("convert", data.folder / "rlnCtfDataArePhaseFlipped.star", "-o", tmp_path / "a.cs").stderr
    assert "it is of phase-flipped images (rlnCtfDataArePhaseFlipped)" in said
    failed = run("convert", data.folder / "rlnCtfDataAreCtfCorrected.star", "-o", tmp_path / "b.cs")
    assert failed.exit_code == 2
    assert not (tmp_path / "b.cs").exists()
