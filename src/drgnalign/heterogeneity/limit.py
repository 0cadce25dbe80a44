"""Up to which resolution images are compared: as wanted, or as the consensus or the pixels allow."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from drgnalign.downsample import with_stack
from drgnalign.particles import Particles
from drgnalign.run.state import CONSENSUS, FSC, by_cluster


class Limit(NamedTuple):
    """Resolution up to which images are compared.

    Attributes
    ----------
    angstrom, wanted : float
    because : str
        Why it is coarser than wanted; empty where it is not.
    """

    angstrom: float
    wanted: float
    because: str = ""

    @property
    def note(self) -> str:
        """For the user, where it is coarser than wanted; else empty."""
        said = f"images are compared up to {self.angstrom:.1f} Å, not {self.wanted:g} Å: {self.because}"
        return said if self.because else ""

    @property
    def record(self) -> dict[str, Any]:
        """For the record of an assignment."""
        return {"limit_angstrom": self.angstrom, "limit_because": self.because or None}


def assignment_limit(references: Path, wanted: float, particles: Particles, stack: Path) -> Limit:
    """What images are compared up to: as wanted, or as the consensus or the pixels allow.

    Parameters
    ----------
    references : Path
        Folder of the last pass, with ``fsc.csv``.
    wanted : float
        Å.
    particles : Particles
    stack : Path
        Images for assignment, see `drgnalign.downsample.coarsen`.
    """
    consensus = float(by_cluster(references / FSC)["resolution_0143_angstrom"][CONSENSUS])
    nyquist = 2 * with_stack(particles, stack).pixel_size
    # NaN: without resolution, which sets no limit. Maps are shrunk to what the half sets share of them anyway.
    if wanted >= nyquist and not consensus > wanted:
        return Limit(wanted, wanted)
    if consensus > nyquist:
        return Limit(consensus, wanted, f"the consensus has a resolution of {consensus:.1f} Å")
    return Limit(nyquist, wanted, f"Nyquist of the images is {nyquist:.1f} Å")
