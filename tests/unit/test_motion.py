"""A lobe that swings: FIT sees a motion, and MOTION makes half maps along it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from numpy.testing import assert_allclose
from scipy.stats import spearmanr

from drgnalign.downsample import downsample_stack
from drgnalign.errors import InputError
from drgnalign.formats.mrc import read_volume, write_volume
from drgnalign.formats.star import write_star
from drgnalign.heterogeneity.path import WIDTH, move_along, points_along, shown_at
from drgnalign.maps.mask import soft_sphere
from drgnalign.particles import LEFT_OUT, PATH, PATH_ERROR, Particles
from drgnalign.run.linear import Moving, read_motion
from drgnalign.run.record import read_record
from drgnalign.run.records import LinearRecord, PathPoint
from drgnalign.simulate import phantom_states, swinging_states
from drgnalign.steps.fit import main as fit
from drgnalign.steps.motion import main as motion

COUNT, POSITIONS, LEFT = 600, 30, 20


class Swing(NamedTuple):
    """A set in a folder with FIT's model, and who is where."""

    simulated: Any
    folder: Path
    record: LinearRecord
    found: Moving

    @property
    def particles(self) -> Particles:
        """As CLUSTER leaves them."""
        given = self.simulated.given
        columns = {PATH: self.found.along, PATH_ERROR: self.found.errors}
        return Particles(given.table.assign(**columns), given.optics, given.path)


def fitted(simulated: Any, folder: Path, *options: object) -> LinearRecord:
    """FIT's record of a set, in a folder for it."""
    write_star(simulated.given, folder / "particles.star")
    downsample_stack(simulated.given, simulated.source, 32, folder / "assign.mrcs")
    consensus = {"cluster": ["consensus"], "resolution_0143_angstrom": [20.0]}
    pd.DataFrame(consensus).to_csv(folder / "fsc.csv", index=False)
    words = [folder / "particles.star", "--stack", folder / "assign.mrcs", "--last-references", folder, "--limit", 14]
    words += ["--mask-diameter", 220, "-o", folder / "linear", *options]
    ended = CliRunner().invoke(fit, [str(word) for word in words], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return read_record(LinearRecord, folder / "linear" / "linear.json")


@pytest.fixture(scope="module")
def swing(simulate: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Swing:
    folder = tmp_path_factory.mktemp("swing")
    simulated = simulate(COUNT, 32, 8.0, states=swinging_states(POSITIONS), snr=0.5)
    simulated.given.table[LEFT_OUT] = (np.arange(COUNT) < LEFT).astype(int)
    record = fitted(simulated, folder, "--components", 3, "--most-points", 6)
    return Swing(simulated, folder, record, read_motion(folder / "linear", COUNT))


def test_particles_lie_along_the_motion(swing: Swing) -> None:
    assert swing.record.motion and swing.record.motion_gain is not None and swing.record.motion_gain > 0.05
    along = swing.found.along
    assert np.isnan(along[:LEFT]).all() and np.isfinite(along[LEFT:]).all()
    assert abs(spearmanr(along[LEFT:], swing.simulated.truth.cluster_labels()[LEFT:])[0]) > 0.95
    assert swing.found.nodes.shape[1] == 3


@pytest.mark.slow
def test_a_state_beside_a_motion_has_no_place_on_it(simulate: Callable[..., Any], tmp_path: Path) -> None:
    states = [*swinging_states(60), phantom_states(3)[2]]
    shares = [0.6 / 60] * 60 + [0.4]
    simulated = simulate(1500, 32, 8.0, states=states, populations=shares, snr=0.2, rotation_error_deg=1.0)
    record = fitted(simulated, tmp_path, "--components", 8, "--most-points", 12)
    found, still = read_motion(tmp_path / "linear", 1500), simulated.truth.cluster_labels() == 61
    assert (record.motion, record.groups, record.beside) == (True, 2, 1)
    assert record.moving_share == pytest.approx(0.6, abs=0.03)
    assert np.mean(np.isnan(found.along) == still) > 0.98
    moving = ~still & np.isfinite(found.along)
    assert abs(spearmanr(found.along[moving], simulated.truth.cluster_labels()[moving])[0]) > 0.95
    given = simulated.given
    particles = Particles(given.table.assign(**{PATH: found.along}), given.optics, given.path)
    assert move_along(particles, ~still) and not move_along(particles, still)


def test_a_map_is_of_the_particles_that_are_there(swing: Swing) -> None:
    places = points_along(swing.particles, 4)
    assert_allclose(np.diff(places), np.diff(places)[0])
    for place in places:
        shown, spread = shown_at(swing.particles, float(place))
        near = np.abs(shown.table[PATH] - place) < WIDTH
        shares = shown.occupancies()
        assert shares[near].mean() > 2 * shares[~near].mean() and shares.min() > 0 and shares.max() <= 1
        assert not shown.left_out().any()
        # narrower at the ends, beyond which nobody is
        assert WIDTH * 0.4 < spread < 0.2
    # who is known exactly has its place's kernel
    exact = swing.particles
    exact.table[PATH_ERROR] = 0.0
    shown, _ = shown_at(exact, 0.5)
    assert_allclose(shown.occupancies(), np.exp(-0.5 * ((shown.table[PATH] - 0.5) / WIDTH) ** 2))


def test_where_nobody_is_there_is_no_map(swing: Swing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does the round end: the others are made."""
    monkeypatch.chdir(tmp_path)
    gap = swing.particles
    gap.table[PATH], gap.table[PATH_ERROR] = np.where(np.arange(COUNT) % 2, 0.0, 1.0), 0.01
    write_star(gap, tmp_path / "particles.star")
    write_volume(tmp_path / "mask.mrc", soft_sphere(32, 8.0, 220.0), 8.0)
    words = [tmp_path / "particles.star", "--point", 2, "--points", 3, "--mask", tmp_path / "mask.mrc"]
    words += ["--images", swing.simulated.folder, "-o", tmp_path / "point_02"]
    ended = CliRunner().invoke(motion, [str(word) for word in words], catch_exceptions=False)
    assert ended.exit_code == 0 and "point_02: no map: 0 particles of the smaller half set" in ended.output
    record = read_record(PathPoint, tmp_path / "point_02.json")
    assert record.particles == 0 and record.resolution_angstrom is None
    assert not list(tmp_path.glob("*half1.mrc"))


def test_particles_without_a_motion_are_refused(swing: Swing) -> None:
    with pytest.raises(InputError, match="has no drgnPath"):
        points_along(swing.simulated.given, 4)


def test_maps_show_where_the_lobe_is(swing: Swing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_star(swing.particles, tmp_path / "particles.star")
    write_volume(tmp_path / "mask.mrc", soft_sphere(32, 8.0, 220.0), 8.0)
    made = []
    for point in (1, 4):
        words = [tmp_path / "particles.star", "--point", point, "--points", 4, "--mask", tmp_path / "mask.mrc"]
        words += ["--images", swing.simulated.folder, "-o", tmp_path / "motion" / f"point_{point:02d}"]
        ended = CliRunner().invoke(motion, [str(word) for word in words], catch_exceptions=False)
        assert ended.exit_code == 0, ended.output
        made.append(read_volume(tmp_path / "motion" / f"point_{point:02d}.mrc")[0])
        record = read_record(PathPoint, tmp_path / "motion" / f"point_{point:02d}.json")
        assert 20 < record.worth_particles < record.particles < COUNT - LEFT
        assert record.resolution_angstrom is not None and 16 <= record.resolution_angstrom < 30
    ends = [read_volume(swing.simulated.folder / f"state_{number:02d}.mrc")[0] for number in (1, POSITIONS)]
    found, true = made[1] - made[0], ends[1] - ends[0]
    assert abs(np.corrcoef(found.ravel(), true.ravel())[0, 1]) > 0.7
    assert {path.name for path in (tmp_path / "motion").glob("point_01*")} >= {
        "point_01_half1.mrc",
        "point_01_half2.mrc",
        "point_01_fsc.csv",
    }
    assert not [path for path in tmp_path.iterdir() if path.is_dir() and path.name != "motion"]
    assert "place" in json.loads((tmp_path / "motion" / "point_01.json").read_text())
