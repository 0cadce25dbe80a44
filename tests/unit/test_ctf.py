"""The CTF against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from drgnalign.ctf import ctf, electron_wavelength

MICROSCOPE = (300.0, 2.7, 0.07)


def test_wavelengths() -> None:
    # Relativistic de Broglie wavelengths as tabulated, Å.
    np.testing.assert_allclose(electron_wavelength([100.0, 200.0, 300.0]), [0.0370144, 0.0250793, 0.0196875], atol=1e-6)


def test_value_at_a_tenth_of_an_inverse_angstrom() -> None:
    # 15,000 Å: π λ d s² = 9.277511; π/2 Cs λ³ s⁴ = 0.032363; arcsin 0.07 = 0.070057; the sine of 9.315205.
    assert ctf(0.1, 0.0, 15_000, 15_000, 0, *MICROSCOPE) == pytest.approx(0.109354, abs=2e-5)


def test_amplitude_contrast_is_all_there_is_at_zero_frequency() -> None:
    assert ctf(0.0, 0.0, 15_000, 14_000, 30, *MICROSCOPE) == pytest.approx(0.07)


@pytest.mark.parametrize("defocus", [5_000.0, 10_000.0, 25_000.0])
def test_positive_up_to_the_first_zero_which_underfocus_sets(defocus: float) -> None:
    # Without Cs and amplitude contrast the phase is π λ d s²: the first maximum at s² = 1/(2 λ d), the zero at twice.
    wavelength = 0.0196875
    zero = 1 / np.sqrt(wavelength * defocus)
    values = ctf(np.linspace(0.01, 0.99, 50) * zero, 0.0, defocus, defocus, 0, 300.0, 0.0, 0.0)
    assert (values > 0).all()
    assert ctf(zero / np.sqrt(2), 0.0, defocus, defocus, 0, 300.0, 0.0, 0.0) == pytest.approx(1, abs=1e-6)
    assert ctf(zero * 1.05, 0.0, defocus, defocus, 0, 300.0, 0.0, 0.0) < 0


def test_spherical_aberration_acts_against_underfocus() -> None:
    # In focus only Cs is left: −π/2 · 2.7e7 · λ³ · 0.2⁴ = −0.517815 rad.
    assert ctf(0.2, 0.0, 0, 0, 0, 300.0, 2.7, 0.0) == pytest.approx(np.sin(-0.517815), abs=2e-5)


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 135.0, -40.0])
def test_the_angle_points_from_x_towards_y_to_the_larger_defocus(angle: float) -> None:
    s = 0.08
    along = np.radians(angle)
    x, y = s * np.cos(along), s * np.sin(along)
    u, v = 18_000.0, 15_000.0
    assert ctf(x, y, u, v, angle, *MICROSCOPE) == pytest.approx(ctf(s, 0, u, u, 0, *MICROSCOPE), abs=1e-9)
    assert ctf(-y, x, u, v, angle, *MICROSCOPE) == pytest.approx(ctf(s, 0, v, v, 0, *MICROSCOPE), abs=1e-9)
    assert ctf(-x, -y, u, v, angle, *MICROSCOPE) == pytest.approx(ctf(x, y, u, v, angle, *MICROSCOPE))


def test_the_mirrored_angle_is_another_ctf() -> None:
    diagonal = 0.08 / np.sqrt(2)
    right = ctf(diagonal, diagonal, 18_000, 15_000, 45, *MICROSCOPE)
    wrong = ctf(diagonal, diagonal, 18_000, 15_000, -45, *MICROSCOPE)
    assert abs(right - wrong) > 0.5


def test_phase_shift_adds_to_the_phase() -> None:
    assert ctf(0.0, 0.0, 15_000, 15_000, 0, 300.0, 2.7, 0.0, 90.0) == pytest.approx(1)
    s = np.linspace(0, 0.2, 30)
    flipped = ctf(s, 0.0, 15_000, 14_000, 20, *MICROSCOPE, 180.0)
    np.testing.assert_allclose(flipped, -ctf(s, 0.0, 15_000, 14_000, 20, *MICROSCOPE), atol=1e-12)


def test_arguments_broadcast() -> None:
    kx, ky = np.linspace(0, 0.1, 5)[None, None, :], np.linspace(-0.1, 0.1, 4)[None, :, None]
    defocus = np.array([1e4, 2e4, 3e4]).reshape(3, 1, 1)
    values = ctf(kx, ky, defocus, defocus, 0.0, *MICROSCOPE)
    assert values.shape == (3, 4, 5)
    assert values[2, 1, 4] == pytest.approx(ctf(kx[0, 0, 4], ky[0, 1, 0], 3e4, 3e4, 0, *MICROSCOPE))
