"""The sets of the engine benchmark: one state, true poses known, noise white."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from drgnalign.engine.noise import estimate_noise, write_noise
from drgnalign.formats.mrc import ImageSource, read_volume, write_volume
from drgnalign.formats.star import read_star
from drgnalign.maps.mask import particle_mask
from drgnalign.simulate import Specimen, phantom_states, simulate_set

# Errors of the poses given: length of the mean rotation vector in degrees and of the mean shift in px of 1.5 Å or
# less, as Frealign was measured with.
ROTATION_ERROR, SHIFT_ERROR = 3.07, 1.75
SIGMA = 1.5


class Case(NamedTuple):
    """A set and the limit of its refinement.

    Attributes
    ----------
    box, pixel_size : int, float
        px, Å.
    limit : float
        Å.
    particles : int
    snr : float
        Signal-to-noise ratio per pixel: those of EMPIAR-10076 down-sampled to such boxes.
    size : float
        Of the specimen, 1: 167 Å across.
    """

    box: int
    pixel_size: float
    limit: float
    particles: int
    snr: float
    size: float

    @property
    def name(self) -> str:
        return f"box {self.box}, {self.limit:g} Å, {100 * self.fill:.0f} % filled"

    @property
    def diameter(self) -> float:
        return 170.0 * self.size

    @property
    def fill(self) -> float:
        return self.diameter / (self.box * self.pixel_size)

    def specimen(self) -> Specimen:
        state = phantom_states(1)[0]
        return Specimen(state.points * self.size, state.weights)


HALF = 96.0 / 170.0
CASES = (
    Case(64, 3.0, 8.0, 2000, 0.05, HALF),
    Case(128, 1.5, 3.2, 1000, 0.018, HALF),
    Case(256, 1.5, 3.2, 800, 0.005, 1.0),
    Case(64, 3.0, 8.0, 2000, 0.05, 1.0),
    Case(128, 1.5, 3.2, 1000, 0.018, 1.0),
)


def make(case: Case, folder: Path) -> Path:
    """Simulate a case's set if it is not there; its folder, with ``noise.csv`` and ``mask.mrc`` besides."""
    out = folder / f"{case.box}_{100 * case.fill:.0f}"
    if (out / "mask.mrc").exists():
        return out
    errors: dict[str, Any] = {
        "rotation_error_deg": ROTATION_ERROR,
        "shift_error_angstrom": SHIFT_ERROR * case.pixel_size,
    }
    simulate_set(
        out, [case.specimen()], [1.0], case.particles, case.box, case.pixel_size,
        snr=case.snr, sigma=SIGMA, seed=1, **errors,
    )  # fmt: skip
    volume, pixel_size = read_volume(out / "state_01.mrc")
    particles = read_star(out / "particles.star")
    write_noise(out / "noise.csv", particles, estimate_noise(particles, ImageSource(particles, out), case.diameter))
    write_volume(out / "mask.mrc", particle_mask(volume, pixel_size, case.diameter), pixel_size)
    return out
