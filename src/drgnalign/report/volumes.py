"""Maps for the page: small volumes of bytes, of which the browser makes surfaces and slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from drgnalign.arrays import FloatVolume
from drgnalign.colours import map_colour
from drgnalign.errors import InputError
from drgnalign.formats.mrc import read_volume
from drgnalign.fourier import central_box, padded_transform, resize_volume
from drgnalign.maps.contour import contour_of
from drgnalign.report.packed import in_steps, packed
from drgnalign.report.reading import WHOLE
from drgnalign.run.state import CONSENSUS, DECODED, FILM, FILTERED, LOCAL_RESOLUTION, MAPS, MASK, MOTION, beside

# Sides, in voxels, that maps are brought down to, and how many maps have the largest: those of the last round and the
# consensus, those of other rounds and of films. Where there are more, all are smaller, for the page must stay small.
LAST_BOXES, LAST_MAPS = (128, 96, 64, 48), 4
OTHER_BOXES, OTHER_MAPS = (64, 48, 32), 40
# What colours a surface varies more slowly than the surface itself.
COLOUR_SHARE = 2
# In contours: what is below is noise of no use, and what is above looks the same at any contour that one would choose.
# Outside of the mask even more is noise.
LOWEST, LOWEST_OUTSIDE, HIGHEST = 0.2, 0.5, 4.0
# Values of a byte; of a difference, the middle is none.
STEPS, NO_DIFFERENCE = 255, 128
# Correlation of a film's likest map with the consensus in the mask: .18 after two epochs of training, .98 of linear
# models.
LEAST_ALIKE = 0.5
# Bins of the local resolution's histogram, and the percentiles between which that is drawn.
HISTOGRAM_BINS, HISTOGRAM_PERCENTILES = 24, (1.0, 99.0)


class Reduced(NamedTuple):
    """A map over the same field of view on fewer voxels: (z, y, x), Å/voxel."""

    volume: FloatVolume
    voxel: float


def embedded_volumes(folders: Mapping[int, Path], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Maps of the consensus and of every round, with what their surfaces are coloured by, and films along PC1 and
    along a motion.

    One map of a run is in memory at a time, and none of them twice.

    Parameters
    ----------
    folders : mapping of int to Path
        Folders of the passes by their numbers: ``clusters/`` (maps and ``mask.mrc``), and of rounds ``decoded/``, where
        there was a training, and ``motion/``, where one was seen.
    facts : mapping
        ``rounds`` of `drgnalign.report.facts.run_facts`: ``number``, ``pass``, ``clusters`` and ``motion`` of each.

    Returns
    -------
    dict
        JSON-ready. ``rounds``: of each, ``number`` (0 for the consensus), ``maps``, ``film``, ``film_doubt`` (why it
        is not to be believed, else empty) and ``motion``. Of a map:
        ``label`` (0 for the consensus), ``name``, ``colour``, ``box``, ``voxel`` (Å), ``contour`` (a value of the
        map's own), ``low`` and ``high`` (what bytes 0 and 255 stand for), ``data`` (`drgnalign.report.packed`, order z,
        y, x), ``colours`` by what they are of (``difference`` from the consensus in units of its contour,
        ``resolution`` in Å), each a volume as the map itself; ``resolutions``: ``edges`` (Å) and ``counts`` of the
        local resolution in the mask, where it was computed. Of a film: volumes of one ``contour``; along a motion, each
        with what `facts` says of the point.

    Raises
    ------
    InputError
        A map or a mask is missing or broken.
    """
    rounds = {entry["number"]: entry for entry in facts["rounds"]}
    names = {
        number: [cluster["cluster"] for cluster in entry["clusters"] if not cluster["skipped"]]
        for number, entry in rounds.items()
    }
    films = {number: _frames(folders[entry["pass"]] / DECODED) for number, entry in rounds.items()}
    points = {
        number: [one for one in entry["motion"] if one["resolution_angstrom"]] for number, entry in rounds.items()
    }
    fine = {0, max(rounds)} & set(rounds)
    fine_box = box_for(sum(len(names[number]) for number in fine), LAST_BOXES, LAST_MAPS)
    others = sum(len(names[number]) for number in set(rounds) - fine) + sum(
        map(len, [*films.values(), *points.values()])
    )
    other_box = min(box_for(others, OTHER_BOXES, OTHER_MAPS), fine_box)
    consensus = None
    entries = []
    for number, entry in sorted(rounds.items()):
        clusters = folders[entry["pass"]] / MAPS
        box = fine_box if number in fine else other_box
        mask = _mask(clusters / MASK, box)
        maps = []
        for name in names[number]:
            path = beside(clusters / name, FILTERED)
            small = reduced(path, box)
            if small.volume.shape != mask.volume.shape:
                raise InputError(path, "has another box than the mask beside it", WHOLE)
            consensus = small if name == CONSENSUS else consensus
            maps.append(_map(name, small, mask, consensus, beside(clusters / name, LOCAL_RESOLUTION)))
        frames = [reduced(path, other_box) for path in films[number]]
        along = [beside(folders[entry["pass"]] / MOTION / one["name"], FILTERED) for one in points[number]]
        places = _film([reduced(path, other_box) for path in along], mask)
        entries.append(
            {
                "number": number,
                "maps": maps,
                "film": _film(frames, mask),
                "film_doubt": _doubt_of_film(frames, consensus, mask),
                "motion": [shown | one for shown, one in zip(places, points[number], strict=True)],
            }
        )
    return {"rounds": entries}


def _mask(path: Path, box: int) -> Reduced:
    mask = reduced(path, box)
    if not (mask.volume > 0.5).any():
        raise InputError(path, "holds nothing", WHOLE)
    return mask


def box_for(maps: int, boxes: Sequence[int], room: int) -> int:
    """The largest of some boxes in which so many maps have no more voxels than `room` maps of the first."""
    fitting = [box for box in boxes if maps * box**3 <= room * boxes[0] ** 3]
    return fitting[0] if fitting else boxes[-1]


def reduced(path: Path, box: int) -> Reduced:
    """A map on at most `box` voxels a side: its low frequencies, so that nothing of the others is folded in."""
    if not path.is_file():
        raise InputError(path, "no such file", "give the folder of all passes")
    volume, voxel = read_volume(path)
    old = volume.shape[0]
    if volume.shape != (old, old, old):
        raise InputError(path, f"it is {' x '.join(map(str, volume.shape[::-1]))} voxels wide", "give a cubic map")
    if old <= box:
        return Reduced(volume, voxel)
    transform = padded_transform(volume, old, (box - 1) // 2)
    return Reduced(central_box(transform, box, box) * np.float32((box / old) ** 3), voxel * old / box)


def _frames(decoded: Path) -> list[Path]:
    """Maps of the film along PC1, in order."""
    paths = sorted(decoded.glob(f"{FILM}[0-9]*.mrc"))
    for number, path in enumerate(paths, start=1):
        if path.name != f"{FILM}{number:02d}.mrc":
            raise InputError(decoded / f"{FILM}{number:02d}.mrc", "is missing, though later ones are there", WHOLE)
    return paths


def _map(name: str, small: Reduced, mask: Reduced, consensus: Reduced | None, local: Path) -> dict[str, Any]:
    """What the page holds of a cluster's map, or of the consensus."""
    label = 0 if name == CONSENSUS else int(name.rpartition("_")[2])
    within = mask.volume > 0.5
    contour = contour_of(small.volume, within)
    box = len(small.volume) // COLOUR_SHARE
    inside = _resized(mask, box).volume > 0.5
    colours, resolutions = {}, None
    if label and consensus is not None:
        colours["difference"] = _difference(_resized(small, box), _resized(consensus, box), inside)
    if local.is_file():
        colours["resolution"], resolutions = _local_resolution(reduced(local, box), inside)
    return {
        "label": label,
        "name": name,
        "colour": map_colour(label),
        **_bytes(small.volume, small.voxel, contour, within),
        "colours": colours,
        "resolutions": resolutions,
    }


def _resized(small: Reduced, box: int) -> Reduced:
    return Reduced(resize_volume(small.volume, box), small.voxel * len(small.volume) / box)


def _bytes(volume: FloatVolume, voxel: float, contour: float, within: NDArray[np.bool_]) -> dict[str, Any]:
    """A map of which nothing is kept below a fifth of the contour; outside of the mask, below half of it."""
    low, high = LOWEST * contour, max(min(HIGHEST * contour, float(volume.max())), 2 * LOWEST * contour)
    kept = np.where(within | (volume > LOWEST_OUTSIDE * contour), volume, 0.0)
    return {
        "box": len(volume),
        "voxel": voxel,
        "contour": contour,
        "low": low,
        "high": high,
        "data": packed(in_steps(kept, low, high, STEPS).astype(np.uint8).tobytes()),
    }


def _difference(mine: Reduced, consensus: Reduced, inside: NDArray[np.bool_]) -> dict[str, Any]:
    """A cluster's map on the consensus's grey scale, less the consensus, in contours of the consensus."""
    power = float(np.sum(np.square(mine.volume[inside], dtype=np.float64)))
    shared = float(np.sum(mine.volume[inside] * consensus.volume[inside], dtype=np.float64))
    scaled = mine.volume * (shared / power if power else 1.0)
    difference = (scaled - consensus.volume) / contour_of(consensus.volume, inside)
    # far from any surface it colours nothing
    near = scaled > LOWEST * contour_of(scaled, inside)
    steps = np.where(near, in_steps(difference, -1.0, 1.0, STEPS), NO_DIFFERENCE)
    return _coloured(steps, mine.voxel, -1.0, 1.0)


def _local_resolution(local: Reduced, inside: NDArray[np.bool_]) -> tuple[dict[str, Any], dict[str, Any]]:
    """As a volume, and as a histogram of the voxels in the mask."""
    values = local.volume[inside]
    low, high = (float(value) for value in np.percentile(values, HISTOGRAM_PERCENTILES))
    high = max(high, low + 0.1)
    counts, edges = np.histogram(np.clip(values, low, high), HISTOGRAM_BINS, (low, high))
    coloured = _coloured(in_steps(_filled(local.volume), low, high, STEPS), local.voxel, low, high)
    return coloured, {"edges": edges.round(3).tolist(), "counts": counts.tolist()}


def _filled(resolution: FloatVolume) -> FloatVolume:
    """Outside of the mask, where 0 stands for what is not known, as the nearest voxel that is known."""
    known = resolution > 0
    if not known.any():
        return resolution
    nearest = scipy.ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return np.asarray(resolution[tuple(nearest)], np.float32)


def _coloured(steps: NDArray[np.int64], voxel: float, low: float, high: float) -> dict[str, Any]:
    data = packed(steps.astype(np.uint8).tobytes())
    return {"box": len(steps), "voxel": voxel, "low": low, "high": high, "data": data}


def _doubt_of_film(frames: Sequence[Reduced], consensus: Reduced | None, mask: Reduced) -> str:
    """A latent model that has not learnt the molecule draws noise."""
    if not frames or consensus is None:
        return ""
    box = len(frames[0].volume)
    inside, like = _resized(mask, box).volume > 0.5, _resized(consensus, box).volume
    most = max(_correlation(frame.volume[inside], like[inside]) for frame in frames)
    if most >= LEAST_ALIKE:
        return ""
    return (
        f"These maps hardly resemble the consensus (correlation {most:.2f} at most, in the mask): the latent model has "
        "not learnt the molecule. Train for more epochs: --epochs_first"
    )


def _correlation(one: FloatVolume, other: FloatVolume) -> float:
    """0 where one of them is even."""
    return float(np.corrcoef(one, other)[0, 1]) if np.ptp(one) and np.ptp(other) else 0.0


def _film(frames: Sequence[Reduced], mask: Reduced) -> list[dict[str, Any]]:
    """Maps along PC1 or along a motion, contoured alike: another contour in each would look like motion."""
    if not frames:
        return []
    inside = _resized(mask, len(frames[0].volume)).volume > 0.5
    # the decoder's zero is arbitrary
    outside = ~inside if not inside.all() else inside
    volumes = [frame.volume - np.median(frame.volume[outside]) for frame in frames]
    contour = float(np.mean([contour_of(volume, inside) for volume in volumes]))
    return [_bytes(volume, frame.voxel, contour, inside) for volume, frame in zip(volumes, frames, strict=True)]
