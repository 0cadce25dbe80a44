"""The simulator: projections against sums, maps and moved points; sets against what was asked for."""

from __future__ import annotations

import gzip
import importlib.util
import itertools
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.transform import Rotation

from drgnalign import simulate
from drgnalign.ctf import ctf
from drgnalign.errors import InputError
from drgnalign.formats.mrc import ImageSource, read_volume
from drgnalign.formats.star import read_star
from drgnalign.geometry import angular_distance
from drgnalign.simulate import Microscope, Specimen, Spectrum

PIXEL = 4.0
SIGMA = 3.0
IDENTITY = np.eye(3)


@pytest.fixture(scope="module")
def specimen() -> Specimen:
    return simulate.phantom_states(1)[0]


def project(specimen: Specimen, rotation: np.ndarray, shift: tuple = (0, 0), box: int = 64) -> np.ndarray:
    return simulate.project(*specimen, rotation, shift, box, PIXEL, SIGMA)


def relative_difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.parametrize("box", [64, 63])
def test_projection_is_the_transform_of_the_points(specimen: Specimen, box: int) -> None:
    rotation = Rotation.random(random_state=1).as_matrix()
    shift = np.array([1.3, -2.6])
    image = project(specimen, rotation, tuple(shift), box)
    x = specimen.points @ rotation[:, :2] / PIXEL + shift
    k = np.fft.fftfreq(box)
    k[np.abs(k) == 0.5] = np.nan
    columns = np.exp(-2j * np.pi * np.outer(k, x[:, 0]))
    rows = np.exp(-2j * np.pi * np.outer(k, x[:, 1]))
    blur = np.exp(-2 * (np.pi * SIGMA / PIXEL) ** 2 * (k[:, None] ** 2 + k**2))
    expected = np.nan_to_num((rows * specimen.weights) @ columns.T * blur)
    measured = np.fft.fft2(np.fft.ifftshift(image))
    assert relative_difference(measured, expected) < 1e-3
    assert_allclose(image.sum(), specimen.weights.sum(), rtol=1e-4)


@pytest.mark.parametrize("box", [48, 49])
def test_map_and_projections_agree_along_the_axes(specimen: Specimen, box: int) -> None:
    volume = simulate.density_map(*specimen, box, 2 * PIXEL, SIGMA)
    transform = np.fft.fftn(np.fft.ifftshift(volume))
    # The image's axes in the volume are the rotation's first two columns: (x, y), (y, z), (z, x).
    cyclic = np.eye(3)[:, [1, 2, 0]]
    slices = {0: transform[0], 1: transform[:, :, 0], 2: transform[:, 0, :].T}
    for turns, central in slices.items():
        rotation = np.linalg.matrix_power(cyclic, turns)
        image = simulate.project(*specimen, rotation, (0, 0), box, 2 * PIXEL, SIGMA)
        assert relative_difference(np.fft.fft2(np.fft.ifftshift(image)), central) < 1e-3


def test_a_point_is_drawn_where_it_lies() -> None:
    point = Specimen(np.array([[3.0, -2.0, 5.0]]) * PIXEL, np.ones(1))
    volume = simulate.density_map(*point, 32, PIXEL, SIGMA)
    assert np.unravel_index(volume.argmax(), volume.shape) == (16 + 5, 16 - 2, 16 + 3)
    image = simulate.project(*point, IDENTITY, (0, 0), 32, PIXEL, SIGMA)
    assert np.unravel_index(image.argmax(), image.shape) == (16 - 2, 16 + 3)


def test_points_beyond_the_box_wrap_around(specimen: Specimen) -> None:
    away = specimen._replace(points=specimen.points + 32 * PIXEL * np.array([1, -3, 2]))
    for draw in (lambda one: simulate.density_map(*one, 32, PIXEL, SIGMA), lambda one: project(one, IDENTITY, box=32)):
        still = draw(specimen)
        assert_allclose(draw(away), still, atol=1e-5 * still.max())


def test_displacement_moves_the_image_to_higher_columns_and_rows(specimen: Specimen) -> None:
    still = project(specimen, IDENTITY)
    assert_allclose(project(specimen, IDENTITY, (3, 0)), np.roll(still, 3, axis=1), atol=1e-4 * still.max())
    assert_allclose(project(specimen, IDENTITY, (0, -2)), np.roll(still, -2, axis=0), atol=1e-4 * still.max())


def test_rotating_the_view_is_rotating_the_points_back(specimen: Specimen) -> None:
    rotation = Rotation.from_euler("ZYZ", [20, 50, -70], degrees=True).as_matrix()
    turned = specimen._replace(points=specimen.points @ rotation)
    projected = simulate.density_map(*turned, 64, PIXEL, SIGMA).sum(axis=0)
    assert relative_difference(project(specimen, rotation), projected) < 0.01
    assert relative_difference(project(specimen, rotation.T), projected) > 0.2


def test_ctf_keeps_white_protein_white_and_is_the_library_s() -> None:
    microscope = Microscope(amplitude_contrast=0.1)
    delta = np.zeros((2, 32, 32), np.float32)
    delta[:, 16, 16] = 1.0
    images = simulate.apply_ctf(delta, 3.0, [15000, 9000], [14000, 9000], [30, 0], microscope)
    measured = np.fft.fft2(np.fft.ifftshift(images, axes=(1, 2)))
    k = np.fft.fftfreq(32, 3.0)
    expected = ctf(k[None, :], k[:, None], 15000, 14000, 30, 300, 2.7, 0.1)
    inside = np.ix_(np.arange(32) != 16, np.arange(32) != 16)
    assert_allclose(measured[0][inside], expected[inside], atol=1e-5)
    assert images[0].sum() == pytest.approx(0.1, abs=1e-5)


def test_noise_has_unit_variance_and_the_given_spectrum() -> None:
    spectrum = Spectrum(np.array([0.0, 0.05, 0.1]), np.array([3.0, 3.0, 1.0]))
    noise = simulate.coloured_noise(np.random.default_rng(0), 400, 32, 5.0, spectrum)
    assert noise.var() == pytest.approx(1.0, rel=0.01)
    power = (np.abs(np.fft.fft2(noise)) ** 2).mean(axis=0)
    assert power[0, 6] / power[0, 16] == pytest.approx(3.0 - 2.0 * (6 / 160 > 0.05), rel=0.25)
    assert power[:2, 1:3].mean() / power[15:18, 15:18].mean() == pytest.approx(3.0, rel=0.1)


def test_phantom_states_grow_by_one_lobe_each() -> None:
    states = simulate.phantom_states(4, seed=2)
    for smaller, larger in itertools.pairwise(states):
        assert_array_equal(larger.points[: len(smaller.points)], smaller.points)
        added = larger.weights.sum() - smaller.weights.sum()
        assert added == pytest.approx(0.45 * states[0].weights.sum())
    lobes = np.array([state.points[-240:].mean(axis=0) for state in states[1:]])
    distances = np.linalg.norm(lobes[:, None] - lobes[None], axis=-1)[np.triu_indices(3, 1)]
    assert distances.min() > 60
    assert np.linalg.norm(states[-1].points, axis=1).max() < 105
    with pytest.raises(InputError):
        simulate.phantom_states(8)


def test_phantom_body_differs_from_its_mirror_image() -> None:
    """The best of many rotations does not bring the mirrored body onto the body."""
    points = simulate.phantom_states(1)[0].points[:1200:10]
    mirrored = points * [1, 1, -1]

    def overlap(other: np.ndarray) -> float:
        squares = ((points[:, None] - other[None]) ** 2).sum(axis=-1)
        return float(np.exp(-squares / (4 * 8.0**2)).sum())

    best = max(overlap(mirrored @ matrix) for matrix in Rotation.random(1500, random_state=0).as_matrix())
    assert best < 0.85 * overlap(points)


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("set")
    make(out)
    return out


def make(out: Path, **changes: object) -> None:
    settings: dict = {
        "snr": 0.5,
        "rotation_error_deg": 4.0,
        "shift_error_angstrom": 2.0,
        "displacement_spread": 1.5,
        "seed": 3,
    }
    simulate.simulate_set(out, simulate.phantom_states(2), [3, 1], 1200, 24, 10.0, **{**settings, **changes})


def test_set_is_complete_and_labels_are_as_asked(small_set: Path) -> None:
    names = sorted(path.name for path in small_set.iterdir())
    assert names == ["particles.mrcs", "particles.star", "state_01.mrc", "state_02.mrc", "truth.star"]
    particles, truth = read_star(small_set / "particles.star"), read_star(small_set / "truth.star")
    assert len(particles) == len(truth) == 1200
    assert (particles.cluster_labels() == 0).all()
    assert_array_equal(np.bincount(truth.cluster_labels()), [0, 900, 300])
    assert_array_equal(particles.half_sets(), truth.half_sets())
    assert_array_equal(np.bincount(truth.half_sets()), [0, 600, 600])
    assert truth.table["rlnImageName"].iloc[41] == "000042@particles.mrcs"
    for column in ("rlnImageName", "rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"):
        assert_array_equal(particles.table[column].to_numpy(), truth.table[column].to_numpy())


def test_pose_errors_have_the_medians_asked_for(small_set: Path) -> None:
    particles, truth = read_star(small_set / "particles.star"), read_star(small_set / "truth.star")
    angles = angular_distance(particles.rotations(), truth.rotations())
    shifts = np.linalg.norm(particles.displacements() - truth.displacements(), axis=1) * 10.0
    assert np.median(angles) == pytest.approx(4.0, rel=0.06)
    assert np.median(shifts) == pytest.approx(2.0, rel=0.08)
    assert truth.displacements().std() == pytest.approx(1.5, rel=0.06)


def test_images_are_the_true_maps_seen_at_the_true_poses_with_the_snr_asked_for(small_set: Path) -> None:
    truth = read_star(small_set / "truth.star")
    images = ImageSource(truth, small_set).read(np.arange(1200))
    scale = read_volume(small_set / "state_01.mrc")[0].sum() / simulate.phantom_states(2)[0].weights.sum()
    states = simulate.phantom_states(2)
    rotations, displacements, labels = truth.rotations(), truth.displacements(), truth.cluster_labels()
    clean = np.stack(
        [
            scale * simulate.project(*states[labels[i] - 1], rotations[i], displacements[i], 24, 10.0, 1.5)
            for i in range(1200)
        ]
    )
    defoci = (truth.table[f"rlnDefocus{name}"].to_numpy() for name in ("U", "V", "Angle"))
    signal = simulate.apply_ctf(clean, 10.0, *defoci, Microscope())
    noise = images - signal
    assert signal.var() / noise.var() == pytest.approx(0.5, rel=0.03)
    assert abs(np.corrcoef(signal.ravel(), noise.ravel())[0, 1]) < 0.01


def test_the_seed_decides_everything(small_set: Path, tmp_path: Path) -> None:
    make(tmp_path / "again")
    make(tmp_path / "other", seed=4)
    for path in small_set.iterdir():
        if path.suffix == ".star":
            assert path.read_text() == (tmp_path / "again" / path.name).read_text()
    truth = read_star(small_set / "truth.star")
    folders = (small_set, tmp_path / "again", tmp_path / "other")
    first, again, other = (ImageSource(truth, folder).read(np.arange(300)) for folder in folders)
    assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("populations", "n", "box", "changes"),
    [
        ([1], 10, 24, {}),
        ([1, 0], 10, 24, {}),
        ([1, 1], 1, 24, {}),
        ([1, 1], 10, 12, {}),
        ([1, 1], 10, 24, {"snr": 0.0}),
        ([1, 1], 10, 24, {"displacements": np.zeros((9, 2))}),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    tmp_path: Path, populations: list[float], n: int, box: int, changes: dict
) -> None:
    with pytest.raises(InputError):
        simulate.simulate_set(tmp_path, simulate.phantom_states(2), populations, n, box, 10.0, **changes)


def load_make_set() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "rib50s" / "make_set.py"
    spec = importlib.util.spec_from_file_location("make_set", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rib50s_reads_domains_by_file_and_chain(tmp_path: Path) -> None:
    def atom(record: str, residue: str, chain: str, x: float, element: str) -> str:
        start = f"{record:<6}    1  X   {residue:>3} {chain}   1    {x:8.3f}   0.000   0.000  1.00 20.00"
        return f"{start:<76}{element:>2}\n"

    lines = [
        atom("ATOM", "G", "A", 10, "P"),
        atom("HETATM", "PSU", "B", 20, "C"),
        atom("HETATM", "HOH", "B", 90, "O"),
    ]
    with gzip.open(tmp_path / "RNA1.pdb.gz", "wt") as file:
        file.writelines(lines)
    table = "domain,n_atoms,E,B\nRNA1_a,1,0.9,0.36\nRNA1_b,1,0.5,0.35\n"
    (tmp_path / "domain_occupancy_20maps.csv").write_text(table)
    make_set = load_make_set()
    full, part = make_set.read_states(tmp_path, ["E", "B"])
    assert_array_equal(full.weights, [15, 6])
    # Both states are centred as the whole model is.
    assert_allclose(full.points[:, 0], [10 - 270 / 21, 20 - 270 / 21])
    assert_allclose(part.points, full.points[:1])
    with pytest.raises(InputError, match="no state X"):
        make_set.read_states(tmp_path, ["X"])
