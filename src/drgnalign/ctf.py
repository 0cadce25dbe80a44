"""The contrast transfer function and what else a lens does to images, in RELION's convention.

A particle's image at spatial frequency k is ``e^{iχ(k)} c(k) V(R M k)``: M is the optics group's magnification, χ its
odd aberrations (beam tilt, trefoil and the like), and c the CTF, with the even ones in its phase. All that is told of
the lens is taken at M k, as RELION does it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import factorial

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from drgnalign.arrays import FloatArray
from drgnalign.errors import InputError
from drgnalign.fourier import irfft_images, rfft_images
from drgnalign.particles import (
    BEAM_TILT,
    EVEN_ZERNIKE,
    MAGNIFICATION,
    NEUTRAL_OPTICS,
    ODD_ZERNIKE,
    PHASE_FLIPPED,
    PREMULTIPLIED,
    Particles,
)

# Images that were multiplied by their CTF are divided by it again, but by no less than this in the sine: near its zeros
# there is next to no signal, and what is stored there need not be the noise times the CTF.
LEAST_SINE = 0.1
# No direction is magnified so much more or less than it should be.
LARGEST_STRETCH = 0.3
# Zernike polynomials beyond this order are none that anyone has fitted, nor coefficients (radians Åⁿ) beyond this.
HIGHEST_ORDER, LARGEST_COEFFICIENT = 12, 1e15
# A number of a list of them.
LISTED = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*", re.ASCII)
# What images are as they are stored.
AS_TAKEN, FLIPPED, MULTIPLIED = 0, 1, 2


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


def zernike_phase(coefficients: ArrayLike, kx: ArrayLike, ky: ArrayLike, *, odd: bool) -> FloatArray:
    """Phase of aberrations in radians, as RELION describes it: a sum of Zernike polynomials of the spatial frequency.

    Z(n, m) is R(n, |m|) of the radius in 1/Å times cos mφ, or sin |m|φ for m < 0, φ from +x (columns) to +y (rows).

    Parameters
    ----------
    coefficients : (c,) array_like
        Of n = 1, 3, 5… where odd, else of n = 0, 2, 4…; of each n of m = −n, −n + 2 … n.
    kx, ky : array_like
        1/Å; they broadcast.
    odd : bool
    """
    x, y = np.broadcast_arrays(np.asarray(kx, float), np.asarray(ky, float))
    radius2, phase = x**2 + y**2, np.zeros(x.shape)
    for coefficient, (n, m) in zip(np.asarray(coefficients, float), _orders(odd), strict=False):
        if coefficient == 0:
            continue
        turned = (x + 1j * y) ** abs(m)
        steps = (n - abs(m)) // 2
        radial = sum(_radial(n, abs(m), k) * radius2 ** (steps - k) for k in range(steps + 1))
        phase += coefficient * radial * (turned.imag if m < 0 else turned.real)
    return phase


def _orders(odd: bool) -> list[tuple[int, int]]:
    """n and m of Zernike polynomials, in RELION's order."""
    return [(n, m) for n in range(int(odd), HIGHEST_ORDER + 1, 2) for m in range(-n, n + 1, 2)]


def _radial(n: int, m: int, k: int) -> float:
    """The factor of ρ^(n − 2k) in R(n, m)."""
    return (-1) ** k * factorial(n - k) / (factorial(k) * factorial((n + m) // 2 - k) * factorial((n - m) // 2 - k))


def beam_tilt_phase(tilt: FloatArray, voltage: float, cs: float, kx: ArrayLike, ky: ArrayLike) -> FloatArray:
    """Phase of a tilted beam in radians, −2π Cs λ² s² (t·k), t (2,) in mrad; kV, mm, 1/Å."""
    x, y = np.asarray(kx, float), np.asarray(ky, float)
    scale = -2e-3 * np.pi * (cs * 1e7) * electron_wavelength(voltage) ** 2
    return scale * (x**2 + y**2) * (tilt[0] * x + tilt[1] * y)


@dataclass(frozen=True)
class Lens:
    """What an optics group does to its images besides the CTF.

    Attributes
    ----------
    voltage, cs : float
        kV, mm.
    magnification : (2, 2) float64
        M: images show at k what the volume has at M k.
    tilt : (2,) float64
        Of the beam, mrad.
    odd, even : (c,) float64
        See `zernike_phase`; even ones are taken off the phase of the CTF.
    stored : int
        `AS_TAKEN`, `FLIPPED` or `MULTIPLIED` by the CTF.
    """

    voltage: float
    cs: float
    magnification: FloatArray
    tilt: FloatArray
    odd: FloatArray
    even: FloatArray
    stored: int

    def odd_phase(self, kx: ArrayLike, ky: ArrayLike) -> FloatArray:
        """χ at M k (1/Å), radians."""
        tilted = beam_tilt_phase(self.tilt, self.voltage, self.cs, kx, ky) if self.tilt.any() else 0.0
        return tilted + zernike_phase(self.odd, kx, ky, odd=True)

    def even_phase(self, kx: ArrayLike, ky: ArrayLike) -> FloatArray:
        """What is added to the phase of the CTF at M k (1/Å), radians."""
        return -zernike_phase(self.even, kx, ky, odd=False)

    @property
    def stores_as_taken(self) -> bool:
        """Are images stored as they were taken, and free of odd aberrations?"""
        return self.stored == AS_TAKEN and not self.tilt.any() and not self.odd.any()

    @property
    def key(self) -> tuple[object, ...]:
        """Alike of lenses that are."""
        arrays = (self.magnification, self.tilt, self.odd, self.even)
        return (self.voltage, self.cs, self.stored, *(array.tobytes() for array in arrays))


def lenses(particles: Particles) -> list[Lens]:
    """What each optics group of a set does to its images; those that no particle is of may say what they like, and are
    as the first of the others.

    Raises
    ------
    InputError
        Coefficients that are no list of numbers, or of a higher order than is known; a magnification far from 1.
    """
    optics = particles.optics
    needed = {"rlnVoltage": np.nan, "rlnSphericalAberration": np.nan, **NEUTRAL_OPTICS}
    columns = {label: optics.get(label, pd.Series([value] * len(optics))).tolist() for label, value in needed.items()}
    used = np.unique(particles.optics_rows()).tolist()
    found = {row: _lens(particles, {label: values[row] for label, values in columns.items()}) for row in used}
    return [found.get(row, found[used[0]]) for row in range(len(optics))]


def listed_numbers(stored: float | str) -> FloatArray:
    """The numbers of ``[a,b,c]``, none of ``[]``; NaN where it is something else."""
    text = str(stored).strip()
    if not (text.startswith("[") and text.endswith("]")):
        return np.array([np.nan])
    words = text[1:-1].split(",") if text[1:-1].strip() else []
    return np.array([float(word) if LISTED.fullmatch(word) else np.nan for word in words])


def _lens(particles: Particles, row: dict[str, float | str]) -> Lens:
    magnification = np.array([float(row[label]) for label in MAGNIFICATION]).reshape(2, 2)
    if not (
        np.isfinite(magnification).all()
        and np.linalg.det(magnification) > 0
        and (np.abs(np.linalg.svd(magnification, compute_uv=False) - 1) < LARGEST_STRETCH).all()
    ):
        problem = f"{MAGNIFICATION[0]}…11 is {magnification.ravel().tolist()}, which no lens does to images"
        raise InputError(particles.path, problem, "correct the optics table; without magnification it is 1, 0, 0, 1")
    stored = MULTIPLIED if float(row[PREMULTIPLIED]) else FLIPPED if float(row[PHASE_FLIPPED]) else AS_TAKEN
    return Lens(
        float(row["rlnVoltage"]),
        float(row["rlnSphericalAberration"]),
        magnification,
        np.array([float(row[label]) for label in BEAM_TILT]),
        _coefficients(particles, ODD_ZERNIKE, row[ODD_ZERNIKE]),
        _coefficients(particles, EVEN_ZERNIKE, row[EVEN_ZERNIKE]),
        stored,
    )


def _coefficients(particles: Particles, label: str, stored: float | str) -> FloatArray:
    values, known = listed_numbers(stored), len(_orders(label == ODD_ZERNIKE))
    if not (np.abs(values) < LARGEST_COEFFICIENT).all() or len(values) > known:
        problem = f"{label} is {str(stored)[:80]!r}"
        raise InputError(particles.path, problem, f"give up to {known} numbers, as [a,b,c], in the optics table")
    return values


@dataclass(frozen=True)
class CtfTerms:
    """What decides the CTF of n particles at given Fourier pixels (m,) of a box, as the engine's loops take it.

    The tables are of T kinds of optics groups.

    Attributes
    ----------
    defocus : (n, 4) float64
        Mean and half difference in Å, cos and sin of twice the angle.
    phases : (n, 3) float64
        The CTF is sin 2π(p₀ D k² + p₁ k⁴ + p₂ + even), k in Fourier pixels, times s₀ e^{−s₁ k²}.
    envelopes : (n, 2) float64
        s₀ and s₁.
    kinds : (n,) int32
        Row of the tables.
    aberrated : (T,) int32
        1 where there are even or odd aberrations.
    even : (T, m) float32
        Turns.
    odd : (T, 2, m) float32
        Real and imaginary part of e^{−iχ}, which takes odd aberrations off.
    magnifications : (T, 4) float64
        M, row by row.
    stored : (T,) int32
        See `Lens`.
    """

    defocus: FloatArray
    phases: FloatArray
    envelopes: FloatArray
    kinds: NDArray[np.int32]
    aberrated: NDArray[np.int32]
    even: NDArray[np.float32]
    odd: NDArray[np.float32]
    magnifications: FloatArray
    stored: NDArray[np.int32]

    def of(self, rows: NDArray[np.int64]) -> CtfTerms:
        """Of some of the particles."""
        return replace(
            self,
            defocus=self.defocus[rows],
            phases=self.phases[rows],
            envelopes=self.envelopes[rows],
            kinds=self.kinds[rows],
        )

    def at(self, kx: ArrayLike, ky: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Sine and envelope (n, m) of each particle at the Fourier pixels that the tables are of."""
        matrix, (d, p, e) = self.magnifications[self.kinds].T[:, :, None], (
            values.T[:, :, None] for values in (self.defocus, self.phases, self.envelopes)
        )  # fmt: skip
        x, y = matrix[0] * kx + matrix[1] * ky, matrix[2] * kx + matrix[3] * ky
        radius2 = x**2 + y**2
        defocus = d[0] * radius2 + d[1] * (d[2] * (x**2 - y**2) + d[3] * 2 * x * y)
        turns = p[0] * defocus + p[1] * radius2**2 + p[2] + self.even[self.kinds]
        return np.sin(2 * np.pi * turns), e[0] * np.exp(-e[1] * radius2)


def ctf_terms(particles: Particles, kx: ArrayLike, ky: ArrayLike) -> CtfTerms:
    """What decides the CTF of each particle at Fourier pixels (m,) of its box.

    Raises
    ------
    InputError
        See `lenses`.
    """
    table, rows = particles.table, particles.optics_rows()
    optics = particles.optics.iloc[rows]
    u, v = table["rlnDefocusU"].to_numpy(float), table["rlnDefocusV"].to_numpy(float)
    angle = 2.0 * np.radians(table["rlnDefocusAngle"].to_numpy(float))
    second, fourth, offset = phase_coefficients(
        optics["rlnVoltage"].to_numpy(float),
        optics["rlnSphericalAberration"].to_numpy(float),
        optics["rlnAmplitudeContrast"].to_numpy(float),
        particles.phase_shifts(),
    )
    per_pixel = 1.0 / (particles.box * particles.pixel_size)
    envelopes = [particles.ctf_factors("rlnCtfScalefactor"), particles.ctf_factors("rlnCtfBfactor") * per_pixel**2 / 4]
    groups = lenses(particles)
    # thousands of exposure groups may be alike
    known: dict[tuple[object, ...], int] = {}
    kind_of = np.array([known.setdefault(lens.key, len(known)) for lens in groups], np.int32)
    kinds = [groups[int(np.argmax(kind_of == kind))] for kind in range(len(known))]
    points = np.stack([np.asarray(kx, float), np.asarray(ky, float)]) * per_pixel
    magnified = [lens.magnification @ points for lens in kinds]
    even = np.array([lens.even_phase(*at) / (2 * np.pi) for lens, at in zip(kinds, magnified, strict=True)])
    odd = [lens.odd_phase(*at) for lens, at in zip(kinds, magnified, strict=True)]
    return CtfTerms(
        defocus=np.stack([0.5 * (u + v), 0.5 * (u - v), np.cos(angle), np.sin(angle)], axis=1),
        phases=np.stack([second * per_pixel**2, fourth * per_pixel**4, offset], axis=1) / (2 * np.pi),
        envelopes=np.stack(envelopes, axis=1),
        kinds=kind_of[rows],
        aberrated=(np.any(even, axis=1) | np.any(odd, axis=1)).astype(np.int32),
        # whole turns would cost digits
        even=(even - np.rint(even)).astype(np.float32),
        odd=np.stack([np.cos(odd), -np.sin(odd)], axis=1).astype(np.float32),
        magnifications=np.array([lens.magnification.ravel() for lens in kinds]),
        stored=np.array([lens.stored for lens in kinds], np.int32),
    )


def stretches(particles: Particles) -> FloatArray:
    """How each particle's image is magnified (N, 4): M of its optics group, row by row."""
    return np.array([lens.magnification.ravel() for lens in lenses(particles)])[particles.optics_rows()]


class PlainImages:
    """Images as a lens without odd aberrations gives them: neither flipped nor multiplied by their CTF.

    What was done to them is known from their optics groups. The engine's loops do the same to the coefficients that
    they read; this is for who needs images: stacks for other programs, and the noise of images that were multiplied.

    Parameters
    ----------
    particles : Particles
        Of the images as they are stored.
    box : int
        px, of images of the same field of view, which may be smaller.
    """

    def __init__(self, particles: Particles, box: int) -> None:
        self.box = box
        self.are_stored = all(lens.stores_as_taken for lens in lenses(particles))
        self._kx, self._ky = _half_plane(box)
        if not self.are_stored:
            self._terms = ctf_terms(particles, self._kx, self._ky)

    def of(self, images: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Of the stored images (n, box, box) of some rows; these themselves where there is nothing to be done."""
        if self.are_stored:
            return images
        terms = self._terms.of(rows)
        transforms = rfft_images(images)
        factors = terms.odd[terms.kinds, 0] + 1j * terms.odd[terms.kinds, 1]
        treated = np.flatnonzero(terms.stored[terms.kinds] != AS_TAKEN)
        if len(treated):
            factors[treated] *= _undone(terms.of(treated), self._kx, self._ky)
        transforms *= factors.reshape(transforms.shape)
        return irfft_images(transforms, self.box).astype(np.float32, copy=False)


def _undone(terms: CtfTerms, kx: FloatArray, ky: FloatArray) -> FloatArray:
    """What flipped images, or those that were multiplied by their CTF, have to be multiplied with (n, m)."""
    sine, envelope = terms.at(kx, ky)
    multiplied = (terms.stored[terms.kinds] == MULTIPLIED)[:, None]
    divisor = np.where(multiplied, envelope * np.maximum(np.abs(sine), LEAST_SINE), 1.0)
    return np.copysign(1.0, sine) / divisor


def _half_plane(box: int) -> tuple[FloatArray, FloatArray]:
    """Fourier pixels (m,) of a flattened half-plane transform, along columns and rows."""
    ky, kx = np.meshgrid(np.fft.fftfreq(box, 1 / box), np.arange(box // 2 + 1), indexing="ij")
    return kx.ravel().astype(float), ky.ravel()


def plain_optics(optics: pd.DataFrame) -> pd.DataFrame:
    """The optics table of images that `PlainImages` made: what was taken off is not to be taken off again."""
    return optics.drop(columns=[*BEAM_TILT, ODD_ZERNIKE, PHASE_FLIPPED, PREMULTIPLIED], errors="ignore")
