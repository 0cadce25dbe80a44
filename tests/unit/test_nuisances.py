"""Nuisances of simulated sets: each has the size asked for, and leaves alone what it does not touch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from drgnalign.errors import InputError
from drgnalign.formats.mrc import ImageSource
from drgnalign.formats.star import read_star
from drgnalign.geometry import angular_distance
from drgnalign.particles import Particles
from drgnalign.simulate import Nuisances, Specimen, phantom_states, simulate_set
from drgnalign.simulate.nuisances import half_of

N, BOX, PIXEL = 600, 24, 10.0
# Mean angle of a random rotation: 90° + 360°/π².
RANDOM_DEGREES = 126.5


class Made:
    """A set of two states with hardly any noise, or with nothing but noise to speak of."""

    def __init__(self, folder: Path, nuisances: Nuisances | None = None, snr: float = 1e6) -> None:
        settings = {"snr": snr, "rotation_error_deg": 4.0, "shift_error_angstrom": 2.0, "seed": 3}
        simulate_set(folder, phantom_states(2), [3, 1], N, BOX, PIXEL, nuisances=nuisances, **settings)
        self.truth, self.given = read_star(folder / "truth.star"), read_star(folder / "particles.star")
        self.images = ImageSource(self.truth, folder).read(np.arange(N)).astype(float)

    def column(self, name: str) -> np.ndarray:
        return self.truth.table[name].to_numpy()


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("clean"))


def same_poses(first: Particles, second: Particles, rows: np.ndarray) -> bool:
    return bool((angular_distance(first.rotations()[rows], second.rotations()[rows]) < 1e-4).all())


def test_no_nuisance_changes_nothing_but_names_micrographs(clean: Made, tmp_path: Path) -> None:
    made = Made(tmp_path, Nuisances())
    assert_array_equal(made.images, clean.images)
    for mine, theirs in ((made.truth, clean.truth), (made.given, clean.given)):
        columns = list(theirs.table)
        assert made.truth.table["rlnMicrographName"].equals(mine.table["rlnMicrographName"])
        assert mine.table[columns].equals(theirs.table)
    sizes = made.truth.table.groupby("rlnMicrographName").size().to_numpy()
    assert sizes.max() <= 100
    assert sizes[:-1].min() >= 50
    assert not [name for name in made.given.table if name.startswith("drgnTrue")]


def test_contrast_multiplies_the_signal_alone(clean: Made, tmp_path: Path) -> None:
    made = Made(tmp_path / "signal", Nuisances(contrast=0.2))
    contrast = made.column("drgnTrueContrast")
    assert_allclose(made.images, contrast[:, None, None] * clean.images, atol=1e-2 * clean.images.std())
    assert np.log(contrast).std() == pytest.approx(0.2, rel=0.1)
    assert contrast.mean() == pytest.approx(1.0, abs=0.03)
    noise = Made(tmp_path / "noise", Nuisances(contrast=0.2), snr=1e-9)
    assert_allclose(noise.images, Made(tmp_path / "none", snr=1e-9).images, atol=1e-3)


def test_grey_values_are_by_micrograph(clean: Made, tmp_path: Path) -> None:
    made = Made(tmp_path, Nuisances(gain=0.3, gain_range=(1.0, 5.0), contrast=0.2))
    factors = made.column("drgnTrueGain") * made.column("drgnTrueContrast")
    assert_allclose(made.images, factors[:, None, None] * clean.images, atol=5e-2 * clean.images.std())
    assert (made.truth.table.groupby("rlnMicrographName")["drgnTrueGain"].nunique() == 1).all()
    only_range = Made(tmp_path / "range", Nuisances(gain_range=(1.0, 5.0))).column("drgnTrueGain")
    assert 1.0 <= only_range.min() < 2.0
    assert 4.0 < only_range.max() <= 5.0
    # one nuisance more has not changed the others
    alone = Made(tmp_path / "alone", Nuisances(contrast=0.2))
    assert_array_equal(made.column("drgnTrueContrast"), alone.column("drgnTrueContrast"))


def test_offsets_and_ramps_are_planes_in_units_of_the_noise(tmp_path: Path) -> None:
    made = Made(tmp_path, Nuisances(offset=3.0, ramp=2.0, gain_range=(2.0, 2.0)), snr=1e-9)
    flat = Made(tmp_path, snr=1e-9)
    planes = made.images / 2.0 - flat.images
    x = (np.arange(BOX) - BOX // 2) / BOX
    design = np.stack([np.ones((BOX, BOX)), np.tile(x, (BOX, 1)), np.tile(x, (BOX, 1)).T], axis=-1).reshape(-1, 3)
    fitted, residue, *_ = np.linalg.lstsq(design, planes.reshape(N, -1).T, rcond=None)
    assert residue.max() < 1e-6
    offset, across, down = fitted
    names = made.truth.table["rlnMicrographName"]
    by_micrograph = [offset[names == name] for name in names.unique()]
    assert max(np.ptp(mine) for mine in by_micrograph) < 1e-5
    assert np.std([mine[0] for mine in by_micrograph]) == pytest.approx(3.0, rel=0.6)
    assert np.std(across) == pytest.approx(2.0, rel=0.1)
    assert np.std(down) == pytest.approx(2.0, rel=0.1)
    assert abs(np.corrcoef(across, down)[0, 1]) < 0.15


def test_junk_is_of_three_kinds_and_its_poses_are_random(clean: Made, tmp_path: Path) -> None:
    ball = Specimen(np.zeros((1, 3)), np.array([0.3 * phantom_states(1)[0].weights.sum()]))
    made = Made(tmp_path, Nuisances(empty=0.1, broken=0.1, other=0.05, other_specimen=ball))
    kind, labels = made.column("drgnTrueJunk"), made.truth.cluster_labels()
    assert [int((kind == name).sum()) for name in ("empty", "broken", "other")] == [60, 60, 30]
    assert_array_equal(labels == 0, kind != "no")
    assert_array_equal(labels[labels > 0], clean.truth.cluster_labels()[labels > 0])
    assert_array_equal(made.images[kind == "no"], clean.images[kind == "no"])
    assert made.images[kind == "empty"].var() == pytest.approx(1.0, rel=0.02)
    # of a particle's weight the sum of its image has the share of the amplitude contrast
    mass, body = made.images.sum(axis=(1, 2)), clean.images.sum(axis=(1, 2))
    assert_allclose(mass[kind == "broken"] / body[kind == "broken"], 0.5, atol=0.02)
    small = clean.truth.cluster_labels() == 1
    assert_allclose(mass[kind == "other"], 0.3 * body[small].mean(), rtol=0.02)
    degrees = angular_distance(made.given.rotations(), made.truth.rotations())
    assert degrees[labels == 0].mean() == pytest.approx(RANDOM_DEGREES, abs=10)
    assert same_poses(made.given, clean.given, labels > 0)
    away = np.linalg.norm(made.truth.displacements() - clean.truth.displacements(), axis=1) * PIXEL
    radius = np.linalg.norm(phantom_states(2)[1].points, axis=1).max()
    assert_allclose(away[kind == "broken"], 0.5 * radius, rtol=1e-5)
    assert_allclose(away[kind != "broken"], 0.0, atol=1e-6)


def test_a_plane_cuts_off_half_of_the_mass() -> None:
    points = np.array([[30.0, 0, 0], [-30.0, 5, 0], [0.0, 0, 9]])
    specimen = Specimen(points, np.array([2.0, 1.0, 1.0]))
    assert_array_equal(half_of(specimen, np.array([1.0, 0, 0])).points, points[:1])
    other = half_of(specimen, np.array([-1.0, 0, 0]))
    assert_array_equal(other.points, points[[2, 1]])
    assert_array_equal(other.weights, [1.0, 1.0])


def test_lost_poses_are_random_or_30_degrees_off(clean: Made, tmp_path: Path) -> None:
    made = Made(tmp_path, Nuisances(random_poses=0.2, off_poses=0.1, empty=0.1))
    lost = made.column("drgnTrueLost")
    assert [int((lost == name).sum()) for name in ("random", "off")] == [120, 60]
    assert (made.column("drgnTrueJunk")[lost != "no"] == "no").all()
    degrees = angular_distance(made.given.rotations(), made.truth.rotations())
    assert_allclose(degrees[lost == "off"], 30.0, atol=1e-3)
    assert degrees[lost == "random"].mean() == pytest.approx(RANDOM_DEGREES, abs=7)
    good = made.truth.cluster_labels() > 0
    assert same_poses(made.truth, clean.truth, np.arange(N))
    assert same_poses(made.given, clean.given, good & (lost == "no"))
    assert_array_equal(made.images[good], clean.images[good])


def test_the_defocus_given_is_wrong_and_the_true_one_is_not(clean: Made, tmp_path: Path) -> None:
    made = Made(tmp_path, Nuisances(defocus_error=150.0))
    assert_array_equal(made.images, clean.images)
    errors = {name: (made.given.table[name] - clean.truth.table[name]) for name in ("rlnDefocusU", "rlnDefocusV")}
    assert_allclose(errors["rlnDefocusU"], errors["rlnDefocusV"], atol=1e-6)
    assert errors["rlnDefocusU"].std() == pytest.approx(150.0, rel=0.1)
    assert_array_equal(made.truth.table["rlnDefocusU"], clean.truth.table["rlnDefocusU"])


def test_hot_pixels_are_as_many_and_as_hot_as_asked_for(tmp_path: Path) -> None:
    made = Made(tmp_path, Nuisances(hot_images=0.1, hot_pixels=3, hot_value=300.0, gain_range=(2.0, 2.0)), snr=1.0)
    difference = made.images / 2.0 - Made(tmp_path, snr=1.0).images
    hot = (np.abs(difference) > 1e-3).sum(axis=(1, 2))
    assert int((hot > 0).sum()) == 60
    # two of the three places may be one
    assert hot.sum() == pytest.approx(180, abs=6)
    assert_allclose(difference[np.abs(difference) > 1e-3], 300.0, rtol=1e-4)


def test_up_sampled_images_have_no_power_beyond_the_old_nyquist(tmp_path: Path) -> None:
    made = Made(tmp_path, Nuisances(coarse_box=16), snr=1.0)
    whole = Made(tmp_path, snr=1.0).images
    coarse = made.truth.table["rlnOpticsGroup"].to_numpy() == 2
    assert coarse.mean() == pytest.approx(0.5, abs=0.1)
    assert list(made.truth.optics["rlnOpticsGroup"]) == [1, 2]
    assert_array_equal(made.given.table["rlnOpticsGroup"], made.truth.table["rlnOpticsGroup"])
    assert (made.truth.table.groupby("rlnMicrographName")["rlnOpticsGroup"].nunique() == 1).all()
    assert_array_equal(made.images[~coarse], whole[~coarse])
    k = np.abs(np.fft.fftfreq(BOX, 1 / BOX))
    inside = (k[:, None] < 8) & (k < 8)
    mine, theirs = np.fft.fft2(made.images[coarse]), np.fft.fft2(whole[coarse])
    assert_allclose(mine[:, inside], theirs[:, inside], atol=1e-3)
    assert np.abs(mine[:, ~inside]).max() < 1e-3


@pytest.mark.parametrize(
    "nuisances",
    [
        Nuisances(contrast=-0.1),
        Nuisances(gain_range=(0.0, 1.0)),
        Nuisances(gain_range=(5.0, 1.0)),
        Nuisances(empty=0.6, random_poses=0.5),
        Nuisances(empty=-0.1),
        Nuisances(other=0.1),
        Nuisances(other=0.1, other_specimen=Specimen(np.array([[200.0, 0, 0]]), np.ones(1))),
        Nuisances(hot_images=1.5),
        Nuisances(hot_pixels=0),
        Nuisances(coarse_box=BOX),
    ],
)
def test_nuisances_that_do_not_fit_are_refused(tmp_path: Path, nuisances: Nuisances) -> None:
    with pytest.raises(InputError):
        simulate_set(tmp_path, phantom_states(1), [1], 100, BOX, PIXEL, nuisances=nuisances)
