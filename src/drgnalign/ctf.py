"""The contrast transfer function, in RELION's convention."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def electron_wavelength(voltage: ArrayLike) -> NDArray[np.float64]:
    """Relativistic electron wavelength in Å of an accelerating voltage in kV."""
    volts = np.asarray(voltage, dtype=np.float64) * 1e3
    return 12.2642598 / np.sqrt(volts * (1.0 + volts * 0.978475598e-6))


def phase_coefficients(
    voltage: ArrayLike, cs: ArrayLike, amplitude_contrast: ArrayLike, phase_shift: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The constants of the CTF's phase, so that hot loops need not know physics.

    The phase at spatial frequency s (1/Å) with defocus d (Å, underfocus positive) along its direction is
    ``defocus_term * d * s² + cs_term * s⁴ + offset``, and the CTF is its sine.

    Parameters
    ----------
    voltage : array_like
        kV.
    cs : array_like
        Spherical aberration, mm.
    amplitude_contrast : array_like
        Fraction w of amplitude contrast, 0…1.
    phase_shift : array_like
        Phase plate, degrees.

    Returns
    -------
    defocus_term, cs_term, offset : float64 arrays
        π λ; −π/2 Cs λ³; phase shift + arcsin(w), radians.
    """
    wavelength = electron_wavelength(voltage)
    cs_angstrom = np.asarray(cs, dtype=np.float64) * 1e7
    offset = np.radians(phase_shift) + np.arcsin(amplitude_contrast)
    return np.pi * wavelength, -0.5 * np.pi * cs_angstrom * wavelength**3, offset


def ctf(
    kx: ArrayLike,
    ky: ArrayLike,
    defocus_u: ArrayLike,
    defocus_v: ArrayLike,
    defocus_angle: ArrayLike,
    voltage: ArrayLike,
    cs: ArrayLike,
    amplitude_contrast: ArrayLike,
    phase_shift: ArrayLike = 0.0,
) -> NDArray[np.float64]:
    """Contrast transfer function sin(γ + arcsin w); all arguments broadcast.

    γ = π λ d(α) s² − π/2 Cs λ³ s⁴ + phase shift, with the astigmatic defocus
    d(α) = (dU + dV)/2 + (dU − dV)/2 cos 2(α − angle). Positive at low frequency: white protein stays white.

    Parameters
    ----------
    kx, ky : array_like
        Spatial frequency in 1/Å along the image's columns and rows.
    defocus_u, defocus_v : array_like
        Å, underfocus positive.
    defocus_angle : array_like
        Degrees from +x (columns) towards +y (rows) to the direction of `defocus_u`.
    voltage, cs, amplitude_contrast, phase_shift : array_like
        kV, mm, fraction, degrees.

    Returns
    -------
    float64 array
        Values within −1…1. Rohou & Grigorieff (2015), J. Struct. Biol. 192, 216.
    """
    kx, ky = np.asarray(kx, float), np.asarray(ky, float)
    du, dv = np.asarray(defocus_u, float), np.asarray(defocus_v, float)
    defocus_term, cs_term, offset = phase_coefficients(voltage, cs, amplitude_contrast, phase_shift)
    angle = 2.0 * np.radians(defocus_angle)
    s2 = kx**2 + ky**2
    # s² cos 2(α − angle) without the arctangent
    astigmatism = (kx**2 - ky**2) * np.cos(angle) + 2.0 * kx * ky * np.sin(angle)
    defocus_s2 = 0.5 * (du + dv) * s2 + 0.5 * (du - dv) * astigmatism
    return np.sin(defocus_term * defocus_s2 + cs_term * s2**2 + offset)
