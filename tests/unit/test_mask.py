"""The mask follows the particle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
from numpy.testing import assert_allclose, assert_array_equal

from drgnalign.errors import DrgnalignError, InputError
from drgnalign.formats.mrc import write_volume
from drgnalign.fourier import irfft_volume, radius_grid, raised_cosine, resize_volume, rfft_volume, shell_numbers
from drgnalign.maps.mask import (
    coarse_box,
    density_outside,
    particle_mask,
    resampled_mask,
    soft_sphere,
    union_mask,
)
from drgnalign.maps.read import read_map, read_mask

PIXEL = 4.0


def blob(box: int, centre: tuple[float, float, float], sigma: float, height: float = 1.0) -> np.ndarray:
    """A Gaussian at `centre` (z, y, x), voxels from the box centre."""
    axis = np.arange(box) - box // 2
    z, y, x = ((axis - c) ** 2 for c in centre)
    exponent = z[:, None, None] + y[None, :, None] + x[None, None, :]
    return (height * np.exp(-exponent / (2 * sigma**2))).astype(np.float32)


def ball(box: int, radius: float, pixel_size: float = PIXEL) -> np.ndarray:
    """A ball with an edge of 12 Å; radius in Å."""
    return raised_cosine(radius_grid(box, 3) * pixel_size - radius, 12.0)


def with_noise(volume: np.ndarray, amount: float = 0.02, seed: int = 0) -> np.ndarray:
    return volume + amount * np.random.default_rng(seed).standard_normal(volume.shape).astype(np.float32)


def at(mask: np.ndarray, centre: tuple[int, int, int]) -> float:
    return float(mask[tuple(np.array(centre) + mask.shape[0] // 2)])


@pytest.mark.parametrize("box", [48, 49])
def test_a_sphere_holds_the_particle_and_ends_within_the_box(box: int) -> None:
    radius = np.sqrt(sum(axis**2 for axis in np.indices((box, box, box)) - box // 2))
    sphere = soft_sphere(box, PIXEL, 100.0)
    assert sphere.dtype == np.float32
    assert (sphere[radius <= 12.5] == 1).all()
    assert (sphere[radius >= 12.5 + 3] == 0).all()
    assert sphere[np.abs(radius - 14) < 0.1] == pytest.approx(0.5, abs=0.1)
    too_large = soft_sphere(box, PIXEL, 1000.0)
    assert (too_large[0] == 0).all() and (too_large[radius <= 0.5 * box - 5] == 1).all()


@pytest.mark.parametrize("box", [48, 49])
@pytest.mark.parametrize("centre", [(9, 0, 0), (0, 9, 0), (0, 0, 9), (-6, 3, 7)])
def test_mask_follows_a_blob(box: int, centre: tuple[int, int, int]) -> None:
    mask = particle_mask(with_noise(blob(box, centre, 2.5)), PIXEL, diameter=160.0)
    assert mask.dtype == np.float32
    assert ((mask >= 0) & (mask <= 1)).all()
    assert at(mask, centre) == 1
    assert at(mask, (-centre[0], -centre[1], -centre[2])) == 0
    found = np.array(scipy.ndimage.center_of_mass(mask)) - box // 2
    assert np.abs(found - centre).max() < 1


def test_a_finer_map_has_the_same_mask() -> None:
    volume = with_noise(blob(48, (9, -4, 5), 2.5))
    coarse = particle_mask(volume, PIXEL, 160.0)
    fine = particle_mask(resize_volume(volume, 128), PIXEL * 48 / 128, 160.0)
    assert fine.shape == (128,) * 3 and fine.dtype == np.float32
    assert fine.min() == 0 and fine.max() == 1
    assert np.abs(resize_volume(fine, 48) - coarse).mean() < 0.1 * coarse.mean()
    assert fine.mean() == pytest.approx(coarse.mean(), rel=0.05)
    axis = (np.arange(128) - 64) * PIXEL * 48 / 128
    assert (fine[np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2) > 84] == 0).all()


def test_nothing_outside_the_sphere_and_a_soft_edge() -> None:
    mask = particle_mask(with_noise(blob(48, (0, 0, 0), 8.0)), PIXEL, diameter=100.0)
    axis = np.arange(48) - 24
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis**2)
    assert (mask[radius > 50 / PIXEL] == 0).all()
    assert ((mask > 0.1) & (mask < 0.9)).any()
    assert np.abs(np.diff(mask, axis=0)).max() < 0.6


def test_a_mass_lowers_the_level_to_enclose_it() -> None:
    volume = with_noise(blob(64, (0, 0, 0), 6.0), 0.1)
    alone, small, large = (particle_mask(volume, PIXEL, 220.0, mass_kda=mass) for mass in (None, 50.0, 650.0))
    assert_array_equal(small, alone)
    assert large.sum() > 1.15 * alone.sum()
    # 1.21 Å³ a dalton, as a ball, grown by 8 Å.
    radius = (3 * 650e3 * 1.21 / (4 * np.pi)) ** (1 / 3) + 8.0
    assert (large == 1).sum() == pytest.approx((4 / 3) * np.pi * (radius / PIXEL) ** 3, rel=0.25)


@pytest.mark.parametrize("mass_kda", [None, 200.0])
@pytest.mark.parametrize("share", [0.05, 0.15])
def test_a_domain_of_few_particles_is_not_cut_off(share: float, mass_kda: float | None) -> None:
    """As the consensus shows it, with so much of its density; the mass is less than the body's."""
    body, domain = blob(64, (0, 0, -12), 4.0), blob(64, (0, 0, 14), 3.0, height=share)
    mask = particle_mask(with_noise(body + domain, 0.01), PIXEL, 240.0, mass_kda)
    assert (mask * domain).sum() > 0.9 * domain.sum()
    assert at(mask, (0, 20, 0)) == 0


@pytest.mark.parametrize("amount", [0.005, 0.1])
def test_noise_adds_no_specks_and_a_small_part_is_kept(amount: float) -> None:
    body, small = blob(64, (0, 0, -14), 3.0), blob(64, (0, 0, 16), 1.5)
    mask = particle_mask(with_noise(body + small, amount), PIXEL, 240.0)
    assert at(mask, (0, 0, -14)) == at(mask, (0, 0, 16)) == 1
    _, parts = scipy.ndimage.label(mask > 0)
    assert parts == 2


@pytest.mark.parametrize("volume", [np.zeros((32, 32, 32), np.float32), -blob(32, (0, 0, 0), 4.0)])
def test_nothing_to_mask_is_an_error(volume: np.ndarray) -> None:
    with pytest.raises(DrgnalignError, match="no density above its background") as error:
        particle_mask(volume, PIXEL, 100.0)
    # a diameter may be too small as well
    assert "another --mask_diameter" in error.value.remedy and "smaller" not in error.value.remedy
    assert all(cause in error.value.remedy for cause in ("white", "grey values", "junk"))


BODY, DOMAIN = blob(64, (0, 0, -12), 4.0), blob(64, (0, 0, 14), 3.0)


@pytest.mark.parametrize("box", [64, 48, 33])
def test_a_union_holds_what_each_map_shows(box: int) -> None:
    """Maps may be coarser than the mask."""
    maps = [resize_volume(with_noise(volume, 0.05), box) for volume in (BODY, BODY + DOMAIN)]
    consensus = particle_mask(with_noise(BODY), PIXEL, 240.0)
    union = union_mask(consensus, maps, PIXEL, 240.0)
    assert union.shape == consensus.shape and union.dtype == np.float32
    assert union.min() >= 0 and union.max() <= 1
    assert (union >= consensus).all()
    assert (consensus * DOMAIN).sum() < 0.01 * DOMAIN.sum()
    assert (union * DOMAIN).sum() > 0.99 * DOMAIN.sum()
    assert at(union, (0, 20, 0)) < 0.01


@pytest.mark.parametrize("smoothed_to", [None, 30.0, 60.0])
def test_noise_adds_nothing_to_a_union(smoothed_to: float | None) -> None:
    """White noise, and noise that is strong at low resolution, as where the CTF leaves no signal."""
    consensus = particle_mask(with_noise(BODY), PIXEL, 240.0)
    maps = [with_noise(np.zeros_like(BODY), seed=seed) for seed in range(5)]
    if smoothed_to is not None:
        boost = 1 + 10 * np.exp(-((shell_numbers(64, 3) * smoothed_to / (64 * PIXEL)) ** 2))
        maps = [irfft_volume(rfft_volume(noise) * boost, 64).astype(np.float32) for noise in maps]
    assert_array_equal(union_mask(consensus, maps, PIXEL, 240.0), consensus)
    assert_array_equal(union_mask(consensus, [], PIXEL, 240.0), consensus)


@pytest.mark.parametrize(("box", "other"), [(64, 32), (64, 33), (33, 64), (48, 48)])
def test_a_mask_keeps_its_place_and_values_at_another_sampling(box: int, other: int) -> None:
    mask = ball(box, 75.0, 256.0 / box)
    there = resampled_mask(mask, other)
    assert there.dtype == np.float32 and there.shape == (other,) * 3
    assert there.min() >= 0 and there.max() <= 1
    assert np.abs(there - ball(other, 75.0, 256.0 / other)).max() < 0.1
    assert there.mean() == pytest.approx(mask.mean(), rel=0.02)
    found = np.array(scipy.ndimage.center_of_mass(there)) - other // 2
    assert np.abs(found).max() < 0.05


def test_density_outside_of_a_mask_is_found_and_measured() -> None:
    body = particle_mask(with_noise(BODY), PIXEL, 240.0)
    both = particle_mask(with_noise(BODY + DOMAIN), PIXEL, 240.0)
    volume = with_noise(BODY + DOMAIN, 0.05, seed=1)
    share = DOMAIN.sum() / (BODY + DOMAIN).sum()
    assert density_outside(volume, body, PIXEL, 240.0) == pytest.approx(share, rel=0.1)
    assert density_outside(volume, both, PIXEL, 240.0) == 0
    assert density_outside(with_noise(BODY, 0.05, seed=1), body, PIXEL, 240.0) == 0


def test_no_density_is_seen_in_noise_nor_in_the_rim_of_a_tight_mask() -> None:
    tight = ball(64, 60.0)
    for seed in range(5):
        assert density_outside(with_noise(np.zeros_like(tight), seed=seed), tight, PIXEL, 240.0) == 0
    assert density_outside(with_noise(ball(64, 60.0), 0.05), tight, PIXEL, 240.0) == 0


def test_a_map_for_a_mask_is_as_coarse_as_its_filter_allows() -> None:
    assert [coarse_box(320, 1.31), coarse_box(64, 4.0), coarse_box(49, 8.0), coarse_box(256, 15.0)] == [
        120,
        64,
        48,
        256,
    ]


def test_a_mask_is_read_with_values_from_0_to_1(tmp_path: Path) -> None:
    mask = ball(32, 60.0)
    rounded = 1.01 * mask - 0.005
    write_volume(tmp_path / "mask.mrc", rounded, PIXEL)
    read = read_mask(tmp_path / "mask.mrc", 32, PIXEL)
    assert_allclose(read, mask, atol=0.0051)
    assert read.min() == 0 and read.max() == 1


@pytest.mark.parametrize(
    ("mask", "pixel_size", "problem"),
    [
        (ball(24, 40.0), PIXEL, "24 voxels wide at 4 Å, not 32 at 4 Å"),
        (ball(32, 60.0), 4.1, "32 voxels wide at 4.1 Å, not 32 at 4 Å"),
        (ball(32, 60.0)[:16], PIXEL, "32 x 16 voxels wide"),
        (ball(32, 60.0) - 128, PIXEL, "its values are -128 … -127, those of a mask 0 … 1"),
        ((ball(32, 60.0) > 0.5) - 128.0, PIXEL, "its values are -128 … -127, .*\n.*newstack"),
        (255 * ball(32, 60.0), PIXEL, "its values are 0 … 255, those of a mask 0 … 1"),
        (ball(32, 60.0) - 0.5, PIXEL, "its values are -0.5 … 0.5, those of a mask 0 … 1"),
        (np.zeros((32, 32, 32)), PIXEL, "no voxel of this mask is inside"),
        (np.ones((32, 32, 32)), PIXEL, "no voxel of this mask is outside"),
        (1 - ball(32, 60.0), PIXEL, "as if it were inverted"),
    ],
)
def test_what_is_no_mask_of_these_images_is_refused(
    mask: np.ndarray, pixel_size: float, problem: str, tmp_path: Path
) -> None:
    write_volume(tmp_path / "mine.mrc", mask, pixel_size)
    with pytest.raises(InputError, match=rf"mine\.mrc: .*{problem}"):
        read_mask(tmp_path / "mine.mrc", 32, PIXEL)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_map_of_one_value_is_refused(value: float, tmp_path: Path) -> None:
    write_volume(tmp_path / "map.mrc", np.full((32, 32, 32), value), PIXEL)
    with pytest.raises(InputError, match=f"all its voxels are {value:g}: it is neither a map nor a mask"):
        read_map(tmp_path / "map.mrc", 32, PIXEL)


@pytest.mark.parametrize("voxels", [1, 8, 27])
def test_a_mask_of_next_to_nothing_is_refused(tmp_path: Path, voxels: int) -> None:
    mask, side = np.zeros((32, 32, 32), np.float32), round(voxels ** (1 / 3))
    mask[16 : 16 + side, 16 : 16 + side, 16 : 16 + side] = 1
    write_volume(tmp_path / "mask.mrc", mask, 2.0)
    with pytest.raises(InputError, match=f"only {voxels} voxels of this mask are inside"):
        read_mask(tmp_path / "mask.mrc", 32, 2.0)
