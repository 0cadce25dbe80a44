"""Which Fourier coefficients of an image are used, and in which order."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from drgnalign.engine.kernels import LANES
from drgnalign.engine.sampling import FEWEST_STAGE_RADIUS

# Refinement proceeds through these resolutions (Å) down to its limit. Starting coarse matters: almost all wrong
# poses are local minima of the shift, and at 40 Å there are none within reach.
STAGES = (40.0, 20.0, 12.0)


@dataclass(frozen=True)
class CoefficientPlan:
    """The half-plane coefficients of a box up to Nyquist, so sorted that every resolution stage is a prefix.

    The compiled loops take eight at a time, so that after those within the limit, and after the last, some may follow
    that fill up: they have shell −1 and no weight. A stage before the limit takes in some of the next one's instead.

    Attributes
    ----------
    box : int
        Image size N.
    pixel_size : float
        Å.
    kx, ky : (m,) float32
        Fourier pixels along columns (≥ 0) and rows.
    flat : (m,) int32
        Position in the flattened (N, N//2+1) transform.
    shell : (m,) int64
        Nearest integer radius, at most N//2; −1 of coefficients that fill up.
    stages : tuple of (resolution Å, count)
        The resolution stages of a refinement and how many leading coefficients each uses; the last one is the
        refinement's limit. Empty where nothing is refined.
    """

    box: int
    pixel_size: float
    kx: NDArray[np.float32]
    ky: NDArray[np.float32]
    flat: NDArray[np.int32]
    shell: NDArray[np.int64]
    stages: tuple[tuple[float, int], ...]

    def weights(self, noise: NDArray[np.float64]) -> NDArray[np.float32]:
        """1/σ at each coefficient, for each group of a noise spectrum (groups, N//2 + 1); 0 where it fills up, and
        where a group's images have no power."""
        inverse = np.divide(1.0, np.sqrt(noise), out=np.zeros_like(noise, np.float64), where=noise > 0)
        weights = np.where(self.shell < 0, 0.0, inverse[:, self.shell])
        return np.ascontiguousarray(weights, np.float32)

    def within_limit(self) -> CoefficientPlan:
        """The coefficients that refinement uses, without those beyond its limit."""
        count = self.stages[-1][1]
        parts = {name: getattr(self, name)[:count] for name in ("kx", "ky", "flat", "shell")}
        return replace(self, **parts)

    def stage_near(self, resolution: float) -> tuple[float, int]:
        """The finest stage that is not finer than `resolution` Å, or the first one."""
        coarser = [stage for stage in self.stages if stage[0] >= resolution]
        return coarser[-1] if coarser else self.stages[0]


def coefficient_plan(box: int, pixel_size: float, limit: float | None = None) -> CoefficientPlan:
    """Coefficients up to Nyquist, one of each Hermitian pair, without the zero frequency.

    Parameters
    ----------
    box : int
        Image size N.
    pixel_size : float
        Å.
    limit : float, optional
        Resolution limit of a refinement in Å; without it there are no stages.

    Returns
    -------
    CoefficientPlan
    """
    resolutions = _stage_resolutions(box, pixel_size, limit)
    radii = [limit_radius(box, pixel_size, resolution) for resolution in resolutions]
    ky, kx = np.mgrid[-(box // 2) : box // 2 + 1, 0 : box // 2 + 1]
    ky, kx = ky.ravel(), kx.ravel()
    distance = np.hypot(kx, ky)
    # On the column kx = 0 both members of a pair are present: keep the one with ky > 0. The Nyquist row and column
    # of an even box have no partner with a sign of its own and are left out.
    keep = (distance <= box / 2) & ((kx > 0) | (ky > 0))
    keep &= (2 * kx < box) & (2 * np.abs(ky) < box)
    kx, ky, distance = kx[keep], ky[keep], distance[keep]
    stage = np.searchsorted(np.asarray(radii), distance, side="left")
    order = np.lexsort((kx, ky, stage))
    kx, ky, distance = kx[order], ky[order], distance[order]
    counts = np.cumsum(np.bincount(stage, minlength=len(radii)))[: len(radii)]
    within = int(counts[-1]) if len(counts) else 0

    def filled_up(values: NDArray[np.generic], filling: int) -> NDArray[np.generic]:
        parts = (values[:within], values[within:])
        return np.concatenate([np.pad(part, (0, -len(part) % LANES), constant_values=filling) for part in parts])

    return CoefficientPlan(
        box=box,
        pixel_size=pixel_size,
        kx=filled_up(kx, 0).astype(np.float32),
        ky=filled_up(ky, 0).astype(np.float32),
        flat=filled_up((ky % box) * (box // 2 + 1) + kx, 0).astype(np.int32),
        shell=filled_up(np.minimum(np.rint(distance).astype(np.int64), box // 2), -1).astype(np.int64),
        stages=tuple((r, int(n) + -int(n) % LANES) for r, n in zip(resolutions, counts, strict=True)),
    )


def _stage_resolutions(box: int, pixel_size: float, limit: float | None) -> list[float]:
    if limit is None:
        return []
    coarser = [s for s in STAGES if s > limit and box * pixel_size / s >= FEWEST_STAGE_RADIUS]
    return [*coarser, limit]


def limit_radius(box: int, pixel_size: float, limit: float) -> float:
    """Radius in Fourier pixels of a resolution limit in Å, at most half the box."""
    return min(box * pixel_size / limit, box / 2)
