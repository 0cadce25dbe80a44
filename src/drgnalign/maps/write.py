"""From two half maps to everything that is kept of a reconstruction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from drgnalign.arrays import FloatVolume
from drgnalign.files import atomic_path, write_text
from drgnalign.formats.mrc import write_volume
from drgnalign.maps.filters import guinier_b_factor, sharpened, wiener_filtered
from drgnalign.maps.mask import density_outside, particle_mask, soft_sphere
from drgnalign.particles import USUAL_FILL
from drgnalign.run.records import MapFigures
from drgnalign.run.state import (
    CURVE,
    FIGURES,
    FILTERED,
    HALF_MAPS,
    LOCAL_RESOLUTION,
    LOCAL_SHELLS,
    OWN_MASK,
    SHARP,
    beside,
)
from drgnalign.validation.fsc import FscResult, half_map_fsc
from drgnalign.validation.local_resolution import local_resolution
from drgnalign.validation.views import conical_fsc


def write_maps(
    half1: FloatVolume,
    half2: FloatVolume,
    pixel_size: float,
    prefix: Path,
    *,
    mask: FloatVolume | None,
    mask_name: str,
    diameter: float,
    mass_kda: float | None,
    figures: Mapping[str, float | None] | None = None,
    local: bool = False,
) -> FscResult:
    """Write half maps, filtered map, mask and FSC.

    Parameters
    ----------
    half1, half2 : (N, N, N) float32
        Unfiltered half maps.
    pixel_size : float
        Å.
    prefix : Path
        What the names of the files begin with (`drgnalign.run.state`).
    mask : (N, N, N) float32, optional
        Soft mask of the FSC; without it one is made from the maps.
    mask_name : str
        How the records call the mask.
    diameter : float
        Å, of the particle.
    mass_kda : float, optional
    figures : mapping, optional
        How it compares with the consensus: the last ones of `MapFigures`.
    local : bool
        Also write PREFIX_local_resolution.mrc, in Å, and .csv; it takes seconds at 128 px, most of a minute at 320.

    Returns
    -------
    FscResult
    """
    if mask is None:
        mask = particle_mask(0.5 * (half1 + half2), pixel_size, diameter, mass_kda)
        mask_name = f"{prefix.name}{OWN_MASK}"
        write_volume(prefix.with_name(mask_name), mask, pixel_size)
    fsc = half_map_fsc(half1, half2, pixel_size, mask)
    for ending, half in zip(HALF_MAPS, (half1, half2), strict=True):
        write_volume(beside(prefix, ending), half, pixel_size)
    filtered = wiener_filtered(half1, half2, fsc.corrected)
    write_volume(beside(prefix, FILTERED), filtered, pixel_size)
    b_factor = guinier_b_factor(filtered * mask, pixel_size, fsc.resolution)
    if b_factor is not None:
        write_volume(beside(prefix, SHARP), sharpened(filtered, pixel_size, b_factor), pixel_size)
    if local:
        found = local_resolution(half1, half2, pixel_size, mask)
        write_volume(beside(prefix, LOCAL_RESOLUTION), found.volume, pixel_size)
        with atomic_path(beside(prefix, LOCAL_SHELLS)) as temporary:
            found.table().assign(mask=mask_name).to_csv(temporary, index=False, float_format="%.4g")
    table = fsc.table().assign(resolution_0143_angstrom=fsc.resolution, mask=mask_name)
    with atomic_path(beside(prefix, CURVE)) as temporary:
        table.to_csv(temporary, index=False)
    # where the sphere is too small the particle goes on behind its border, and the background is further out
    beyond = max(diameter, USUAL_FILL * len(half1) * pixel_size)
    sphere = soft_sphere(len(half1), pixel_size, diameter)
    directions = None if fsc.resolution is None else conical_fsc(half1, half2, pixel_size, sphere).figures()
    record = MapFigures(
        resolution_angstrom=fsc.resolution,
        reaches_nyquist=fsc.reaches_nyquist,
        mean_fsc=float(fsc.corrected[1:].mean()),
        mask=mask_name,
        density_outside_mask=density_outside(0.5 * (half1 + half2), mask, pixel_size, beyond),
        b_factor_angstrom2=b_factor,
        by_direction=directions,
        compared=bool(figures),
        **(figures or {}),
    )
    # with all digits: the records of the pass are made of it
    write_text(beside(prefix, FIGURES), json.dumps(record.written(), indent=2) + "\n")
    return fsc
