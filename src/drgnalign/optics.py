"""What a file says of the lens besides the usual values of the CTF: which terms, how large, and where they matter."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from drgnalign.arrays import FloatArray
from drgnalign.ctf import FLIPPED, MULTIPLIED, Lens, electron_wavelength, lenses, listed_numbers
from drgnalign.errors import InputWarning
from drgnalign.particles import (
    BEAM_TILT,
    CRYOSPARC_TERMS,
    EVEN_ZERNIKE,
    MAGNIFICATION,
    ODD_ZERNIKE,
    PHASE_FLIPPED,
    PREMULTIPLIED,
    USUAL_FILL,
    Particles,
)

Phase = Callable[[Lens, FloatArray, FloatArray], FloatArray]

# The columns of a magnification, in short.
STRETCH = f"{MAGNIFICATION[0]}…11"
# A term matters where it turns the phase by an eighth, or takes as much off the amplitude.
TURNED = np.pi / 4
LOST = np.log(1 / np.cos(TURNED))
# Of the lengths that cryoSPARC keeps: the order of the polynomial that each is a factor of, and what it is.
CRYOSPARC_ORDERS = dict(
    zip(
        CRYOSPARC_TERMS,
        [
            (3, "beam tilt of cryoSPARC"),
            (3, "trefoil of cryoSPARC"),
            (4, "tetrafoil of cryoSPARC"),
            (1, "shift of cryoSPARC"),
        ],
        strict=True,
    )
)
# Å: where that is looked for, at so many resolutions and directions.
COARSEST, FINEST, RESOLUTIONS, DIRECTIONS = 200.0, 1.0, 400, 48
# Å: where the phase of polynomials is told.
TOLD_AT = 5.0


class Term(NamedTuple):
    """One thing that a file says of the lens.

    Attributes
    ----------
    columns, what, size : str
        Where it says so, in words, and how much it is at most.
    matters_from : float or None
        Å: at resolutions as fine as this and finer; infinite where at all, 0 where at none down to 1 Å, None where too
        little is known to say.
    taken_off : bool
        Is it taken off images that are written for other programs (`drgnalign.ctf.PlainImages`)?
    used : bool
        By the native engine.
    """

    columns: str
    what: str
    size: str
    matters_from: float | None
    taken_off: bool = False
    used: bool = True

    def __str__(self) -> str:
        size = f" {self.size}" if self.size else ""
        return f"{self.what} ({self.columns}{size}; matters {self.where})"

    @property
    def where(self) -> str:
        """At which resolutions, in words."""
        if self.matters_from is None:
            return "where it is large"
        if np.isinf(self.matters_from):
            return "at all resolutions"
        return f"from {self.matters_from:.3g} Å on" if self.matters_from else f"nowhere down to {FINEST:g} Å"

    def matters_at(self, resolution: float = FINEST) -> bool:
        """Does it at a resolution in Å, or at any? Where that is not known, it may."""
        return self.matters_from is None or self.matters_from >= resolution

    @property
    def record(self) -> dict[str, Any]:
        """JSON-ready."""
        known = self.matters_from is not None and 0 < self.matters_from < np.inf
        return {
            "columns": self.columns,
            "what": self.what,
            "size": self.size,
            "matters": self.where,
            "matters_from_angstrom": float(f"{self.matters_from:.3g}") if known else None,
            "native_engine": "used" if self.used else "not used",
        }


def optics_terms(particles: Particles, diameter: float | None = None) -> list[Term]:
    """All that a set says of its lens and that is not neutral.

    Parameters
    ----------
    particles : Particles
    diameter : float, optional
        Of the particle, Å: how far magnification moves its edge. Default: most of the box, where that is known.

    Raises
    ------
    InputError
        See `drgnalign.ctf.lenses`.
    """
    groups, optics = lenses(particles), particles.optics
    if diameter is None and {"rlnImageSize", "rlnImagePixelSize"} <= set(optics):
        diameter = USUAL_FILL * float((optics["rlnImageSize"] * optics["rlnImagePixelSize"]).max())
    with np.errstate(all="ignore"):  # of values that no lens has
        found = [
            _stored(groups, FLIPPED, PHASE_FLIPPED, "phase-flipped images"),
            _stored(groups, MULTIPLIED, PREMULTIPLIED, "images multiplied by their CTF"),
            _magnification(groups, diameter),
            _tilt(groups),
            _zernike(groups, ODD_ZERNIKE, "odd aberrations"),
            _zernike(groups, EVEN_ZERNIKE, "even aberrations"),
            _b_factor(particles.ctf_factors("rlnCtfBfactor")),
            _scale(particles.ctf_factors("rlnCtfScalefactor")),
            *(_cryosparc(groups, optics.get(label), label) for label in CRYOSPARC_TERMS),
        ]
    return [term for term in found if term is not None]


def not_told(particles: Particles, diameter: float | None = None, limit: float = FINEST) -> str:
    """What images that are written for other programs still have in them, and their files do not say; '' if nothing.

    Parameters
    ----------
    particles, diameter
        As of `optics_terms`.
    limit : float
        Å: only what matters at this or a coarser resolution.
    """
    terms = optics_terms(particles, diameter)
    return "; ".join(str(term) for term in terms if not term.taken_off and term.matters_at(limit))


def warn_of_training(particles: Particles, diameter: float, train_box: int) -> None:
    """Say what is in the images that cryoDRGN is trained on and that it knows nothing of, where it matters to them.

    Parameters
    ----------
    particles : Particles
    diameter : float
        Of the particle, Å.
    train_box : int
        px, of the training images.
    """
    unseen = not_told(particles, diameter, 2 * particles.box * particles.pixel_size / train_box)
    if unseen:
        message = f"cryoDRGN, which is trained on images that have it, takes no account of {unseen}"
        warnings.warn(f"{particles.path}: {message}", InputWarning, stacklevel=2)


def _stored(groups: Sequence[Lens], stored: int, label: str, what: str) -> Term | None:
    count = sum(lens.stored == stored for lens in groups)
    size = "" if count == len(groups) else f"in {count} of {len(groups)} optics groups"
    return Term(label, what, size, np.inf, taken_off=True) if count else None


def _magnification(groups: Sequence[Lens], diameter: float | None) -> Term | None:
    away = max(float(np.linalg.norm(lens.magnification - np.eye(2), 2)) for lens in groups)
    if away == 0:
        return None
    # the edge of a particle moves by so much, and a wave of eight times that turns by an eighth
    matters = _within(8 * away * 0.5 * diameter) if diameter else None
    return Term(STRETCH, "magnification", f"up to {100 * away:.2g} %", matters)


def _tilt(groups: Sequence[Lens]) -> Term | None:
    tilts = np.array([lens.tilt for lens in groups])
    if not tilts.any():
        return None
    size = f"up to {np.hypot(*tilts.T).max():.2g} mrad"
    tilted = [replace(lens, odd=np.zeros(1)) for lens in groups]
    return Term("/".join(BEAM_TILT), "beam tilt", size, _turns_from(tilted, Lens.odd_phase), taken_off=True)


def _zernike(groups: Sequence[Lens], label: str, what: str) -> Term | None:
    is_odd = label == ODD_ZERNIKE
    if not any((lens.odd if is_odd else lens.even).any() for lens in groups):
        return None
    alone = [replace(lens, tilt=np.zeros(2)) for lens in groups]
    phase = Lens.odd_phase if is_odd else Lens.even_phase
    size = f"up to {_largest(alone, phase, np.array([TOLD_AT]))[0]:.2g} rad at {TOLD_AT:g} Å"
    return Term(label, what, size, _turns_from(alone, phase), taken_off=is_odd)


def _turns_from(groups: Sequence[Lens], phase: Phase) -> float | None:
    """The coarsest resolution, Å, at which a phase is turned by an eighth in some direction."""
    resolutions = np.geomspace(COARSEST, FINEST, RESOLUTIONS)
    largest = _largest(groups, phase, resolutions)
    if not np.isfinite(largest).all():
        return None
    where = np.flatnonzero(largest >= TURNED)
    if not len(where):
        return 0.0
    return float(resolutions[where[0]]) if where[0] else np.inf


def _largest(groups: Sequence[Lens], phase: Phase, resolutions: FloatArray) -> FloatArray:
    """The largest phase of all groups and directions at each resolution (n,) in Å, radians."""
    angles = np.linspace(0, np.pi, DIRECTIONS, endpoint=False)
    kx, ky = np.cos(angles) / resolutions[:, None], np.sin(angles) / resolutions[:, None]
    return np.max([np.abs(phase(lens, kx, ky)).max(axis=1) for lens in _unlike(groups)], axis=0)


def _unlike(groups: Sequence[Lens]) -> list[Lens]:
    return list({lens.key: lens for lens in groups}.values())


def _b_factor(values: FloatArray) -> Term | None:
    most = float(np.abs(values).max())
    size = f"{values.min():.4g} to {values.max():.4g} Å²"
    return Term("rlnCtfBfactor", "B-factor of the CTF", size, _within((most / (4 * LOST)) ** 0.5)) if most else None


def _scale(values: FloatArray) -> Term | None:
    size = f"{values.min():.3g} to {values.max():.3g}"
    return Term("rlnCtfScalefactor", "scale of the CTF", size, np.inf) if (values != 1).any() else None


def _cryosparc(groups: Sequence[Lens], kept: pd.Series | None, label: str) -> Term | None:
    """A length l of order n turns the phase by 2π λⁿ⁻¹ l sⁿ, whichever its sign."""
    if kept is None:
        return None
    length = max(float(np.abs(listed_numbers(stored)).max(initial=0)) for stored in kept)
    order, what = CRYOSPARC_ORDERS[label]
    wavelength = float(electron_wavelength([lens.voltage for lens in groups]).max())
    matters = (8 * length * wavelength ** (order - 1)) ** (1 / order)
    known = _within(matters) if np.isfinite(matters) else None
    return Term(label, what, f"up to {length:.3g} Å", known, used=False) if length else None


def _within(matters_from: float) -> float:
    """A resolution in Å, 0 where it is finer than any."""
    return matters_from if matters_from >= FINEST else 0.0
