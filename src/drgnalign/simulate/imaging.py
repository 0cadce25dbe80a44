"""The microscope's part in an image: CTF and noise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drgnalign.arrays import FloatArray, ImageArray
from drgnalign.ctf import ctf
from drgnalign.fourier import half_plane_multiplicity, irfft_images, rfft_images


class Spectrum(NamedTuple):
    """Relative noise power (S,) at spatial frequencies (S,) in 1/Å, ascending."""

    frequency: FloatArray
    power: FloatArray


class Microscope(NamedTuple):
    """Voltage in kV, spherical aberration in mm, amplitude contrast as a fraction."""

    voltage: float = 300.0
    cs: float = 2.7
    amplitude_contrast: float = 0.07


def apply_ctf(
    images: ImageArray,
    pixel_size: float,
    defocus_u: ArrayLike,
    defocus_v: ArrayLike,
    defocus_angle: ArrayLike,
    microscope: Microscope,
) -> ImageArray:
    """Multiply white-protein images by their CTF in Fourier space (periodic box); protein stays white.

    Parameters
    ----------
    images : (n, N, N) float array
    pixel_size : float
        Å.
    defocus_u, defocus_v, defocus_angle : (n,) array_like
        Å, Å, degrees; see `drgnalign.ctf.ctf`.
    microscope : Microscope

    Returns
    -------
    (n, N, N) float32
    """
    box = images.shape[-1]
    factors = ctf_grid(box, pixel_size, defocus_u, defocus_v, defocus_angle, microscope)
    return irfft_images(rfft_images(images) * factors, box).astype(np.float32, copy=False)


def coloured_noise(
    rng: np.random.Generator, count: int, box: int, pixel_size: float, spectrum: Spectrum | None
) -> ImageArray:
    """Gaussian noise images (count, box, box) of unit variance per pixel and the given radial power spectrum.

    Without a spectrum the noise is white. Beyond the spectrum's ends its first and last values are kept.
    """
    noise = rng.standard_normal((count, box, box), dtype=np.float32)
    if spectrum is None:
        return noise
    kx, ky = _frequencies(box, pixel_size)
    power = np.interp(np.hypot(kx, ky), spectrum.frequency, spectrum.power)
    mean_power = (power * half_plane_multiplicity(box)).sum() / box**2
    amplitude = np.sqrt(power / mean_power).astype(np.float32)
    return irfft_images(rfft_images(noise) * amplitude, box).astype(np.float32, copy=False)


def _frequencies(box: int, pixel_size: float) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """kx (1, box//2+1) and ky (box, 1) in 1/Å of a half-plane transform."""
    return np.fft.rfftfreq(box, pixel_size)[None, :], np.fft.fftfreq(box, pixel_size)[:, None]


def ctf_grid(
    box: int,
    pixel_size: float,
    defocus_u: ArrayLike,
    defocus_v: ArrayLike,
    defocus_angle: ArrayLike,
    microscope: Microscope,
) -> ImageArray:
    """CTF (n, box, box//2+1) of n particles."""
    kx, ky = _frequencies(box, pixel_size)
    u, v, angle = (np.asarray(a, float).reshape(-1, 1, 1) for a in (defocus_u, defocus_v, defocus_angle))
    return ctf(kx, ky, u, v, angle, *microscope).astype(np.float32)
