"""Directions in which half maps agree less, and Fourier space that is not seen, of cases that are known."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from command_line import succeed
from scipy.spatial.transform import Rotation

from drgnalign.formats.mrc import write_volume
from drgnalign.formats.star import read_star, write_star
from drgnalign.fourier import irfft_volume, rfft_volume, shell_numbers, soft_sphere
from drgnalign.symmetry import point_group
from drgnalign.validation.views import ConicalFsc, conical_fsc, seen_share

BOX, PIXEL = 48, 3.0


def halves(along_z: int, across: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise on a signal that goes to one shell along z, to another across it."""
    rng = np.random.default_rng(seed)
    transform = rfft_volume(rng.standard_normal((BOX,) * 3))
    z = np.fft.fftfreq(BOX, 1 / BOX)[:, None, None]
    shells = shell_numbers(BOX, 3)
    last = np.where(np.abs(z) > 0.7 * shells, along_z, across)
    signal = irfft_volume(np.where(shells <= last, transform, 0), BOX)
    return tuple((signal + 0.3 * rng.standard_normal(signal.shape)).astype(np.float32) for _ in range(2))  # type: ignore[return-value]


def cones(half1: np.ndarray, half2: np.ndarray, mask: np.ndarray | None = None) -> ConicalFsc:
    return conical_fsc(half1, half2, PIXEL, mask)


def test_an_isotropic_map_is_no_worse_than_chance() -> None:
    found = cones(*halves(16, 16))
    assert not found.is_anisotropic
    # three shells are averaged, and all of the last one's three are above the threshold until two are gone
    assert 16 < BOX * PIXEL / found.mean < 18.5
    assert found.best <= found.mean <= found.worst <= 1.15 * found.mean


def test_the_worst_direction_is_found() -> None:
    found = cones(*halves(8, 18), soft_sphere(BOX, 18, 5))
    assert found.is_anisotropic and "anisotropic" in found.claim()
    worst = found.directions[int(found.resolutions.argmax())]
    assert abs(worst[2]) > 0.85
    # of so much signal what the mask smears into the next shells is above the noise there
    assert 8 < BOX * PIXEL / found.worst < 12
    assert 18 < BOX * PIXEL / found.best < 23.5
    assert len(found.table()) == len(found.resolutions)


def test_views_from_everywhere_show_everything() -> None:
    views = Rotation.random(3000, random_state=0).as_matrix()
    assert seen_share(views, 20) == 1.0
    assert seen_share(views[:10], 20) < 0.6


def test_views_of_a_tilted_ring_leave_a_cone() -> None:
    """Views 30° off one axis: directions nearer to it than 60° lie in no plane; cos 60° of half the sphere are out."""
    azimuth = np.random.default_rng(0).uniform(0, 360, 3000)
    views = Rotation.from_euler("ZY", np.stack([azimuth, np.full(3000, 30.0)], axis=1), degrees=True).as_matrix()
    assert seen_share(views, 40) == pytest.approx(0.5, abs=0.03)


def test_symmetry_shows_more() -> None:
    view = Rotation.from_euler("ZY", [[10.0, 40.0]], degrees=True).as_matrix()
    assert seen_share(view, 10, point_group("C4")) > 2 * seen_share(view, 10)


def test_one_plane_is_one_pixel_thick() -> None:
    """|k·v| ≤ 1/2 at radius r is a band of 1/(2r) of the sphere."""
    assert seen_share(np.eye(3)[None], 10) == pytest.approx(0.05, abs=0.01)


def test_the_command_says_what_images_show(tmp_path: Path) -> None:
    succeed("simulate", tmp_path / "set", "--particles", 300, "--states", 1, "--box", 32, "--pixel-size", 8)
    state = tmp_path / "set" / "state_01.mrc"
    result = succeed("fsc", state, state, "--particles", tmp_path / "set" / "particles.star")
    assert "100.0 % of the shell at 16.00 Å are in an image's plane" in result.stderr
    write_star(read_star(tmp_path / "set" / "particles.star").select([0]), tmp_path / "one.star")
    said = [
        succeed("fsc", state, state, "--particles", tmp_path / "one.star", "--symmetry", group).stderr
        for group in ("C1", "C3")
    ]
    one, three = (float(re.findall(r"([\d.]+) % of the shell", text)[0]) for text in said)
    assert 2 * one < three <= 3 * one + 0.1


def test_the_command_says_it(tmp_path: Path) -> None:
    for number, half in enumerate(halves(8, 18), 1):
        write_volume(tmp_path / f"half{number}.mrc", half, PIXEL)
    result = succeed("fsc", tmp_path / "half1.mrc", tmp_path / "half2.mrc", "--cones", tmp_path / "cones.csv")
    assert "in the worst" in result.stderr and "anisotropic" in result.stderr
    assert "Å are in an image's plane" not in result.stderr
    assert (tmp_path / "cones.csv").read_text().startswith("x,y,z,resolution_0143_angstrom\n")


def test_many_views_of_a_kind_take_no_longer_and_show_no_more() -> None:
    """Within 30° of one axis: what lies nearer to it than 60°, less half a plane's thickness, is in no plane."""
    azimuth, tilt = np.random.default_rng(0).uniform(0, [[360.0], [30.0]], (2, 40_000))
    views = Rotation.from_euler("ZY", np.stack([azimuth, tilt], axis=1), degrees=True).as_matrix()
    few, many = seen_share(views[:4000], 16), seen_share(views, 16)
    thickness = np.degrees(np.arcsin(0.5 / 16))
    assert many == pytest.approx(np.cos(np.radians(60 - thickness)), abs=0.01) and many == pytest.approx(few, abs=0.01)
    assert seen_share(views, 16, point_group("C4")) == pytest.approx(many, abs=0.01)
