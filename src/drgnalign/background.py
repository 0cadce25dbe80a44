"""Backgrounds of the images of a set as they are stored: do they have to be normalised?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drgnalign.arrays import FloatArray, IntArray
from drgnalign.engine.noise import estimate_noise
from drgnalign.errors import InputError
from drgnalign.formats.mrc import ImageSource
from drgnalign.normalise import Background, background_pixels, background_radius, joined_backgrounds, normalise
from drgnalign.particles import BACKGROUND, BACKGROUND_RADIUS, Particles

SAMPLE = 2000
BATCH_PIXELS = 2**24
# What a set may have and need no normalisation: a median gain that differs from 1, a standard deviation of its
# logarithm, offsets and ramps in standard deviations of the noise, and a share of images with outlying pixels. Real
# images that RELION had normalised had .002, .01, .05 and .04; coloured noise alone offsets of .14 and ramps of .16.
SAME_GAIN, SPREAD_OF_GAINS, OFFSET, RAMP, OUTLYING_IMAGES = 0.05, 0.05, 0.2, 0.15, 0.002
# Percentiles that speak for a set; between the outer ones are so many standard deviations of a normal distribution.
PERCENTILES, BETWEEN = (5, 50, 95), 3.29
# Of the rings by whose power optics groups are compared, as shares of the box: beyond what ice and neighbours leave,
# and within what all detectors hand on.
RINGS = (1 / 16, 1 / 4)


@dataclass(frozen=True)
class Backgrounds:
    """What was found in a sample of n images.

    Attributes
    ----------
    radius : float
        Of the circle outside of which the background is, px.
    pixels : int
        Of the background.
    levels : (groups,) float64
        Standard deviation of the noise in normalised images of each optics group; 1 in that with the widest band.
    found : Background
        Of all images but those with a constant background.
    gains : (n,) float64
        Standard deviations of the noise over those levels.
    masked : (m,) int64
        Rows of the images with a constant background, or constant corners, that are not blank.
    """

    radius: float
    pixels: int
    levels: FloatArray
    found: Background
    gains: FloatArray
    masked: IntArray

    @property
    def irregular(self) -> list[str]:
        """What makes it necessary to normalise the images, in words; empty where nothing does."""
        if not len(self.gains):
            return []
        # of a standard deviation, a mean and a slope that are known by so many pixels
        sampling = 2 / self.pixels**0.5
        low, median, high = np.percentile(self.gains, PERCENTILES)
        widest = np.exp(BETWEEN * np.hypot(SPREAD_OF_GAINS, sampling))
        (_, _, offset), (_, _, ramp) = self._percentiles(self.found.offset), self._percentiles(self.found.ramp)
        reasons = {
            f"noise of σ = {low:.3g}…{high:.3g}": abs(median - 1) > SAME_GAIN or high > widest * low,
            f"means up to {offset:.2g} σ": offset > OFFSET + sampling,
            f"ramps up to {ramp:.2g} σ": ramp > RAMP + sampling,
            f"outlying pixels in {100 * self._outlying:.2g} % of the images": self._outlying > OUTLYING_IMAGES,
            f"edges that were filled up in {100 * self._filled:.2g} % of the images": self._filled > OUTLYING_IMAGES,
        }
        return [reason for reason, holds in reasons.items() if holds]

    @property
    def record(self) -> dict[str, Any]:
        """JSON-ready: percentiles of gains, and of offsets and ramps in standard deviations of the noise."""
        if not len(self.gains):
            return {"images": 0}
        figures = {
            "gain": np.percentile(self.gains, PERCENTILES),
            "offset_sigma": self._percentiles(self.found.offset),
            "ramp_sigma": self._percentiles(self.found.ramp),
        }
        return {
            "images": len(self.gains),
            "radius_px": self.radius,
            **{
                name: {
                    f"p{percentile:02d}": float(value) for percentile, value in zip(PERCENTILES, values, strict=True)
                }
                for name, values in figures.items()
            },
            "share_with_outlying_pixels": self._outlying,
            "share_with_filled_edges": self._filled,
            "far_from_the_others": self._far,
        }

    @property
    def done(self) -> str:
        """Which images are normalised as they are read, and why; empty where none is."""
        if self.irregular:
            return f"images are normalised as they are read: {', '.join(self.irregular)}"
        far = self._far
        if not far:
            return ""
        which = f"{far:,} of {len(self.gains):,} images looked at have a background"
        return f"{which} far from the others': such images are normalised as they are read"

    @property
    def _far(self) -> int:
        return int(self.found.far_from(self.found.sigma / self.gains).sum())

    def refuse_masked(self, path: Path | None) -> None:
        """Refuse a set most of whose images have no background."""
        looked_at = len(self.gains) + len(self.masked)
        if 2 * len(self.masked) > looked_at:
            problem = f"{len(self.masked)} of {looked_at} images looked at have a constant background, or constant "
            problem += f"corners, outside of a circle of {self.radius:.0f} px: their noise cannot be told"
            raise InputError(path, problem, "give images that were not masked")

    @property
    def _outlying(self) -> float:
        return float((self.found.outlying > 0).mean())

    @property
    def _filled(self) -> float:
        return float((self.found.filled > 0).mean())

    def _percentiles(self, values: NDArray[np.float32]) -> FloatArray:
        return np.percentile(np.abs(values) / self.found.sigma, PERCENTILES)


def survey_backgrounds(particles: Particles, root: Path, diameter: float) -> Backgrounds:
    """Look at up to 2,000 evenly spread images as they are stored, of particles that are not left out.

    Parameters
    ----------
    particles : Particles
        With ``rlnImageSize``.
    root : Path
        Folder that relative stack names refer to.
    diameter : float
        Of the particle, Å.

    Returns
    -------
    Backgrounds
    """
    kept = np.flatnonzero(~particles.left_out())
    rows = kept[np.unique(np.linspace(0, len(kept) - 1, SAMPLE).astype(np.int64))]
    sample = particles.select(rows)
    sample.optics = sample.optics.drop(columns=list(BACKGROUND), errors="ignore")
    radius, source = background_radius(sample.box, sample.pixel_size, diameter), ImageSource(sample, root)
    parts, blank = [], []
    for batch in np.array_split(np.arange(len(sample)), -(-len(sample) * sample.box**2 // BATCH_PIXELS)):
        images = source.read(batch)
        parts.append(normalise(images, radius))
        blank.append(~images.any(axis=(1, 2)))
    found = joined_backgrounds(parts)
    varied = found.sigma > 0
    levels = _levels(sample.select(varied), root, radius, diameter)
    return Backgrounds(
        radius=radius,
        pixels=background_pixels(sample.box, radius),
        levels=levels,
        found=found.select(varied),
        gains=found.sigma[varied] / levels[sample.optics_rows()[varied]],
        masked=rows[~varied & ~np.concatenate(blank)],
    )


def _levels(sample: Particles, root: Path, radius: float, diameter: float) -> FloatArray:
    """What the noise of each optics group is normalised to.

    Noise of one standard deviation is not the same where its colour differs, as that of up-sampled images does. So
    that particles are as strong in all groups, noise has as much power in rings where all groups have some.
    """
    levels, groups = np.ones(len(sample.optics)), np.unique(sample.optics_rows())
    if len(groups) < 2:
        return levels
    sample.optics[BACKGROUND_RADIUS] = radius
    power = estimate_noise(sample, ImageSource(sample, root), diameter)
    rings = np.arange(power.shape[1])
    common = (power[groups] > 0).all(axis=0) & (rings >= RINGS[0] * sample.box) & (rings <= RINGS[1] * sample.box)
    if common.any():
        levels[groups] = np.median(power[groups][:, common] / power[groups[0], common], axis=1) ** -0.5
    return levels / levels.max()
