"""Maps of particles at known poses: right hand, right scale, right sign; sums in parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.transform import Rotation

from drgnalign.engine.reconstruct import HalfMapSums, insert_particles, part_file
from drgnalign.engine.sampling import part_bytes, sphere_rows
from drgnalign.errors import DrgnalignError
from drgnalign.formats.mrc import ImageSource
from drgnalign.maps.mask import particle_mask
from drgnalign.particles import Particles

PADDING = 2.0


def both_halves(sums: HalfMapSums) -> np.ndarray:
    return 0.5 * (sums.half_map(1) + sums.half_map(2))


def reconstructed(clean_set, particles: Particles, padding: float = PADDING) -> np.ndarray:
    source = ImageSource(particles, clean_set.folder)
    return both_halves(insert_particles(particles, source, clean_set.white_noise, padding))


def compare(volume: np.ndarray, clean_set) -> tuple[float, float]:
    """Correlation with the true map within the mask, and scale; the mean is not known from images without it."""
    inside = particle_mask(clean_set.volume, clean_set.truth.pixel_size, 220.0) > 0.5
    found, true = volume[inside] - volume[inside].mean(), clean_set.volume[inside] - clean_set.volume[inside].mean()
    product = (found * true).sum()
    return product / np.sqrt((found**2).sum() * (true**2).sum()), product / (true**2).sum()


@pytest.mark.parametrize(("padding", "least"), [(1.0, 0.99), (1.5, 0.998), (2.0, 0.999)])
def test_map_at_the_true_poses_is_the_true_map(clean_set, padding: float, least: float) -> None:
    sums = insert_particles(clean_set.truth, clean_set.source, clean_set.white_noise, padding)
    assert sums.counts.tolist() == [200, 200]
    for volume in (sums.half_map(1), sums.half_map(2), both_halves(sums)):
        assert volume.shape == clean_set.volume.shape
        assert volume.dtype == np.float32
        correlation, scale = compare(volume, clean_set)
        assert correlation > least - 0.01
        assert scale == pytest.approx(1, abs=0.03)
    assert compare(both_halves(sums), clean_set)[0] > least


def test_no_other_hand_and_no_other_centre_fits(clean_set) -> None:
    volume = reconstructed(clean_set, clean_set.truth)
    for axis in range(3):
        assert compare(np.flip(volume, axis), clean_set)[0] < 0.6
        for step in (-1, 1):
            assert compare(np.roll(volume, step, axis), clean_set)[0] < 0.95
    for order in ((0, 2, 1), (2, 1, 0), (1, 0, 2), (1, 2, 0)):
        assert compare(volume.transpose(order), clean_set)[0] < 0.6


def test_wrong_poses_give_wrong_maps(clean_set) -> None:
    truth = clean_set.truth
    rotations, displacements = truth.rotations(), truth.displacements()
    for wrong in (
        truth.with_poses(np.swapaxes(rotations, 1, 2), displacements),
        truth.with_poses(rotations, -displacements),
        truth.with_poses(rotations, displacements[:, ::-1]),
        truth.with_poses(rotations, displacements * [1, -1]),
    ):
        assert compare(reconstructed(clean_set, wrong), clean_set)[0] < 0.85


def test_the_sign_of_the_ctf_is_the_sign_of_the_map(clean_set) -> None:
    right = reconstructed(clean_set, clean_set.truth)
    changed = clean_set.truth.select(np.arange(400))
    changed.table["rlnPhaseShift"] = 180.0
    assert_allclose(reconstructed(clean_set, changed), -right, atol=1e-3 * right.max())
    assert compare(reconstructed(clean_set, changed), clean_set)[0] < -0.999
    overfocus = clean_set.truth.select(np.arange(400))
    overfocus.table[["rlnDefocusU", "rlnDefocusV"]] *= -1
    assert compare(reconstructed(clean_set, overfocus), clean_set)[0] < -0.3


def test_dark_protein_is_turned_white(clean_set) -> None:
    dark = clean_set.truth.select(np.arange(400))
    dark.optics["drgnContrast"] = "dark"
    assert_allclose(reconstructed(clean_set, dark), -reconstructed(clean_set, clean_set.truth), atol=1e-6)


def test_the_direction_of_astigmatism_counts(clean_set) -> None:
    lost = 1 - compare(reconstructed(clean_set, clean_set.truth), clean_set)[0]
    for change in (lambda angle: -angle, lambda angle: angle + 90):
        wrong = clean_set.truth.select(np.arange(400))
        wrong.table["rlnDefocusAngle"] = change(wrong.table["rlnDefocusAngle"])
        assert 1 - compare(reconstructed(clean_set, wrong), clean_set)[0] > 5 * lost


def test_an_image_turned_in_its_plane_gives_the_same_map(particles_of: Callable[..., Particles]) -> None:
    """An image turned by 180° about its centre is the same view, with 180° more in psi."""
    image = np.random.default_rng(0).standard_normal((33, 33)).astype(np.float32)
    particles = particles_of(np.stack([image, image[::-1, ::-1]]))
    rotation = Rotation.from_euler("ZYZ", [20, 50, 80], degrees=True)
    turned = rotation * Rotation.from_euler("Z", 180, degrees=True)
    displacements = np.array([[1.5, -0.5], [-1.5, 0.5]])
    particles = particles.with_poses(np.stack([rotation.as_matrix(), turned.as_matrix()]), displacements)
    source = ImageSource(particles, particles.path.parent)
    sums = insert_particles(particles, source, np.ones((1, 17)), PADDING)
    first = sums.half_map(1)
    assert np.abs(first).max() > 0
    assert_allclose(sums.half_map(2), first, atol=1e-4 * np.abs(first).max())


def test_a_half_map_sees_its_own_half_only(clean_set) -> None:
    whole = insert_particles(clean_set.truth, clean_set.source, clean_set.white_noise, PADDING)
    for half in (1, 2):
        mine = clean_set.truth.select(clean_set.truth.half_sets() == half)
        sums = insert_particles(mine, ImageSource(mine, clean_set.folder), clean_set.white_noise, PADDING)
        assert_array_equal(sums.half_map(half), whole.half_map(half))


def test_a_half_without_particles_is_an_empty_map(clean_set) -> None:
    mine = clean_set.truth.select(clean_set.truth.half_sets() == 1)
    sums = insert_particles(mine, ImageSource(mine, clean_set.folder), clean_set.white_noise, PADDING)
    assert sums.counts.tolist() == [200, 0]
    assert_array_equal(sums.half_map(2), 0)


def test_noisy_images_count_less(particles_of: Callable[..., Particles]) -> None:
    """Two optics groups with the same view, one of them with garbage and a hundred times the noise power."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((4, 32, 32)).astype(np.float32)
    images[2:] = 10 * images[2:]
    particles = particles_of(images, groups=np.array([1, 1, 2, 2]))
    source = ImageSource(particles, particles.path.parent)
    power = np.stack([np.full(17, 1.0), np.full(17, 1e6)])
    weighted = insert_particles(particles, source, power, PADDING).half_map(1)
    clean = particles.select([0, 1])
    alone = insert_particles(clean, ImageSource(clean, particles.path.parent), power, PADDING).half_map(1)
    assert_allclose(weighted, alone, atol=1e-3 * np.abs(alone).max())


def parts_of(noisy_set, folder: Path, size: int) -> list[Path]:
    paths = []
    for number, start in enumerate(range(0, 300, size)):
        chunk = noisy_set.given.select(np.arange(start, min(start + size, 300)))
        source = ImageSource(chunk, noisy_set.folder)
        paths.append(folder / f"part_{size}_{number}.npz")
        insert_particles(chunk, source, noisy_set.white_noise, PADDING).save(paths[-1])
    return paths


def test_parts_add_up_to_the_whole(noisy_set, tmp_path: Path) -> None:
    whole = insert_particles(noisy_set.given, noisy_set.source, noisy_set.white_noise, PADDING)
    parts = parts_of(noisy_set, tmp_path, 70)
    forwards, backwards = HalfMapSums.load_sum(parts), HalfMapSums.load_sum(parts[::-1])
    shuffled = HalfMapSums.load_sum([parts[i] for i in (3, 0, 4, 2, 1)])
    other = HalfMapSums.load_sum(parts_of(noisy_set, tmp_path, 110))
    for half in (1, 2):
        assert_array_equal(backwards.half_map(half), forwards.half_map(half))
        assert_array_equal(shuffled.half_map(half), forwards.half_map(half))
        scale = np.abs(whole.half_map(half)).max()
        assert_allclose(forwards.half_map(half), whole.half_map(half), atol=1e-4 * scale)
        assert_allclose(other.half_map(half), forwards.half_map(half), atol=1e-4 * scale)
    assert forwards.counts.tolist() == whole.counts.tolist() == [150, 150]
    assert (forwards.box, forwards.pixel_size, forwards.padding) == (32, 8.0, PADDING)


def test_one_part_comes_back_bit_by_bit(noisy_set, tmp_path: Path) -> None:
    whole = insert_particles(noisy_set.given, noisy_set.source, noisy_set.white_noise, 1.5)
    whole.save(tmp_path / "part.npz")
    back = HalfMapSums.load_sum([tmp_path / "part.npz"])
    assert_array_equal(back.numerator, whole.numerator)
    assert_array_equal(back.denominator, whole.denominator)
    assert [path.name for path in tmp_path.iterdir()] == ["part.npz"]


def test_half_sets_can_be_written_and_read_one_after_the_other(noisy_set, tmp_path: Path) -> None:
    whole = insert_particles(noisy_set.given, noisy_set.source, noisy_set.white_noise, PADDING)
    with part_file(tmp_path / "part.npz") as add:
        for half in (2, 1):
            mine = noisy_set.given.select(noisy_set.given.half_sets() == half)
            add(insert_particles(mine, ImageSource(mine, noisy_set.folder), noisy_set.white_noise, PADDING))
            assert not (tmp_path / "part.npz").exists()
    for half in (1, 2):
        alone = HalfMapSums.load_sum([tmp_path / "part.npz"], [half])
        assert alone.counts[half - 1] == 150
        assert alone.counts[2 - half] == 0
        assert_array_equal(alone.half_map(half), whole.half_map(half))
        assert_array_equal(alone.half_map(3 - half), 0)


def test_a_part_holds_the_sphere_within_nyquist_and_no_empty_half(noisy_set, tmp_path: Path) -> None:
    for number, halves in enumerate(([1], [1, 2])):
        mine = noisy_set.given.select(np.isin(noisy_set.given.half_sets(), halves))
        source = ImageSource(mine, noisy_set.folder)
        path = tmp_path / f"{number}.npz"
        insert_particles(mine, source, noisy_set.white_noise, PADDING).save(path)
        expected = part_bytes(32, PADDING) * len(halves) / 2
        assert expected <= path.stat().st_size < expected + 3000
        assert expected < 0.6 * len(halves) * 24 * 67**2 * 34


@pytest.mark.parametrize("kept", [0, 100, 10_000])
def test_what_is_not_a_whole_part_is_refused(tmp_path: Path, noisy_set, kept: int) -> None:
    part = tmp_path / "part.npz"
    insert_particles(noisy_set.given, noisy_set.source, noisy_set.white_noise, 1.0).save(part)
    part.write_bytes(part.read_bytes()[:kept])
    with pytest.raises(DrgnalignError, match="not a part"):
        HalfMapSums.load_sum([part])


def test_parts_of_different_reconstructions_are_refused(tmp_path: Path) -> None:
    HalfMapSums(32, 8.0, 2.0).save(tmp_path / "a.npz")
    for number, geometry in enumerate([(34, 8.0, 2.0), (32, 7.0, 2.0), (32, 8.0, 1.0)]):
        HalfMapSums(*geometry).save(tmp_path / f"b{number}.npz")
        with pytest.raises(DrgnalignError, match="another reconstruction"):
            HalfMapSums.load_sum([tmp_path / "a.npz", tmp_path / f"b{number}.npz"])


def test_a_map_too_large_to_be_counted_is_refused() -> None:
    with pytest.raises(DrgnalignError, match="larger than the kernels can count"):
        sphere_rows(2100)


def test_occupancies_are_shares_in_the_sums(clean_set) -> None:
    """Half occupied twice is once; the sums of a particle with no share are empty."""
    truth, plan_noise = clean_set.truth.select(np.arange(20)), np.ones((1, clean_set.truth.box // 2 + 1))
    source = ImageSource(truth, clean_set.folder)
    whole = insert_particles(truth, source, plan_noise, 1.0)
    half = insert_particles(replace(truth, table=truth.table.assign(drgnOccupancy=0.5)), source, plan_noise, 1.0)
    none = insert_particles(replace(truth, table=truth.table.assign(drgnOccupancy=0.0)), source, plan_noise, 1.0)
    assert_allclose(2 * half.sums, whole.sums, rtol=1e-4, atol=1e-5 * np.abs(whole.sums).max())
    assert not none.sums.any()
