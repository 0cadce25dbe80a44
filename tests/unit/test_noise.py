"""The noise spectrum of images whose noise is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from drgnalign.engine.noise import estimate_noise, read_noise, write_noise
from drgnalign.errors import InputError
from drgnalign.formats.mrc import ImageSource
from drgnalign.particles import Particles
from drgnalign.simulate import Spectrum, coloured_noise


def spectrum_of(particles: Particles) -> np.ndarray:
    return estimate_noise(
        particles, ImageSource(particles, particles.path.parent), 0.7 * particles.box * particles.pixel_size
    )


@pytest.mark.parametrize("box", [32, 33])
def test_white_noise_has_a_flat_spectrum(box: int, particles_of: Callable[..., Particles]) -> None:
    images = 2 * np.random.default_rng(0).standard_normal((400, box, box), dtype=np.float32)
    power = spectrum_of(particles_of(images))
    assert power.shape == (1, box // 2 + 1)
    # N² times the variance; ring 1 has the fewest coefficients.
    assert_allclose(power, box**2 * 4, rtol=0.15)
    assert_allclose(power[:, 4:], box**2 * 4, rtol=0.04)


@pytest.mark.parametrize("box", [32, 33])
def test_coloured_noise_shows_its_colour(box: int, particles_of: Callable[..., Particles]) -> None:
    pixel_size = 4.0
    spectrum = Spectrum(np.array([0.0, 0.125]), np.array([5.0, 1.0]))
    images = coloured_noise(np.random.default_rng(0), 400, box, pixel_size, spectrum)
    power = spectrum_of(particles_of(images, pixel_size))[0]
    asked = np.interp(np.arange(box // 2 + 1) / (box * pixel_size), spectrum.frequency, spectrum.power)
    ratio = power[3:] / asked[3:]
    assert_allclose(ratio / ratio.mean(), 1, atol=0.06)
    # Unit variance per pixel in all.
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(box), np.fft.fftfreq(box))) / pixel_size
    mean = np.interp(radius, spectrum.frequency, spectrum.power).mean()
    assert_allclose(power[3:] / box**2, asked[3:] / mean, rtol=0.08)


def test_every_optics_group_has_its_own(particles_of: Callable[..., Particles]) -> None:
    images = np.random.default_rng(0).standard_normal((300, 24, 24)).astype(np.float32)
    groups = np.tile([7, 3, 3], 100)
    images[groups == 7] *= 3
    particles = particles_of(images, groups=groups)
    power = spectrum_of(particles)
    assert particles.optics["rlnOpticsGroup"].tolist() == [3, 7]
    assert_allclose(power[:, 3:].mean(1), [24**2, 9 * 24**2], rtol=0.03)


def test_who_is_left_out_is_no_noise(particles_of: Callable[..., Particles]) -> None:
    images = np.random.default_rng(0).standard_normal((300, 24, 24)).astype(np.float32)
    images[::3] *= 3
    clean = spectrum_of(particles_of(np.delete(images, np.arange(0, 300, 3), 0), groups=np.tile([1, 2], 100)))
    particles = particles_of(images, groups=np.tile([1, 1, 2], 100))
    particles.table["drgnLeftOut"] = (np.arange(300) % 3 == 0).astype(int)
    assert_array_equal(spectrum_of(particles), clean)
    # nobody else is there to ask
    particles.table["drgnLeftOut"] = (particles.table["rlnOpticsGroup"] == 2).astype(int)
    assert_array_equal(spectrum_of(particles)[1], clean[1])


def test_a_uniform_background_is_no_noise(particles_of: Callable[..., Particles]) -> None:
    images = np.random.default_rng(0).standard_normal((200, 24, 24)).astype(np.float32)
    flat, raised = spectrum_of(particles_of(images)), spectrum_of(particles_of(images + 100))
    assert_allclose(raised, flat, rtol=1e-3)


def test_a_group_of_blank_images_gets_the_noise_of_the_others(particles_of: Callable[..., Particles]) -> None:
    images = np.random.default_rng(0).standard_normal((200, 32, 32), dtype=np.float32)
    images[:3] = 0
    power = spectrum_of(particles_of(images, groups=np.where(np.arange(200) < 3, 2, 1)))
    assert_array_equal(power[1], power[0])


def test_contrast_does_not_matter(particles_of: Callable[..., Particles]) -> None:
    particles = particles_of(np.random.default_rng(0).standard_normal((20, 24, 24)).astype(np.float32))
    white = spectrum_of(particles)
    particles.optics["drgnContrast"] = "dark"
    assert_array_equal(spectrum_of(particles), white)


def test_table_round_trip(tmp_path: Path, particles_of: Callable[..., Particles]) -> None:
    particles = particles_of(np.zeros((4, 16, 16), np.float32), groups=np.array([5, 5, 2, 2]))
    power = np.random.default_rng(0).uniform(1, 2, (2, 9))
    write_noise(tmp_path / "noise.csv", particles, power)
    assert_allclose(read_noise(tmp_path / "noise.csv", particles), power, rtol=1e-14)
    # Rows follow the optics table that is asked about, not the file.
    one = particles.select([0, 1])
    one.optics = one.optics.iloc[[1]].reset_index(drop=True)
    assert_allclose(read_noise(tmp_path / "noise.csv", one), power[[1]], rtol=1e-14)


def test_a_table_of_other_particles_is_refused(tmp_path: Path, particles_of: Callable[..., Particles]) -> None:
    particles = particles_of(np.zeros((4, 16, 16), np.float32))
    write_noise(tmp_path / "noise.csv", particles, np.ones((1, 9)))
    particles.optics["rlnImageSize"] = 18
    with pytest.raises(InputError, match="10 shells of optics group 1"):
        read_noise(tmp_path / "noise.csv", particles)
    particles.optics["rlnImageSize"], particles.optics["rlnOpticsGroup"] = 16, 4
    with pytest.raises(InputError, match="optics group 4"):
        read_noise(tmp_path / "noise.csv", particles)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_powers_that_are_none_are_refused(value: float, tmp_path: Path, particles_of: Callable[..., Particles]) -> None:
    particles = particles_of(np.zeros((4, 16, 16), np.float32))
    power = np.ones((1, 9))
    power[0, 3] = value
    write_noise(tmp_path / "noise.csv", particles, power)
    with pytest.raises(InputError, match="powers that are negative or no numbers"):
        read_noise(tmp_path / "noise.csv", particles)
