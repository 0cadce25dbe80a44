"""Results as entries of the EMDB: what a deposition of a single-particle map asks for.

Of each state a folder: the map, two unmodified half maps, the mask, the FSC as XML (correlation by spatial frequency in
1/Å), a picture of 500 × 500 px, and a text of what the forms ask.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
from matplotlib import image
from numpy.typing import NDArray

from drgnalign.arrays import FloatVolume
from drgnalign.colours import map_colour
from drgnalign.files import atomic_path, copy_whole, write_text
from drgnalign.formats.mrc import read_volume
from drgnalign.fourier import resize_volume
from drgnalign.half_maps import INDEPENDENT
from drgnalign.handover.results import Results, State
from drgnalign.maps.contour import contour_of
from drgnalign.particles import Particles
from drgnalign.run.state import FILTERED, HALF_MAPS, LOCAL_RESOLUTION, MASK, SHARP, beside, cluster_label

CURVE, PICTURE, ABOUT = "_fsc.xml", "_picture.png", "_deposition.txt"
SIDE = 500
# Of the lamp, from the particle: to the viewer's left and up.
LAMP = np.array([-0.4, 0.5, 1.0]) / np.sqrt(1.41)


def write_entries(results: Results, folder: Path, symmetry: str) -> list[Path]:
    """Write an entry for each state of a pass.

    Parameters
    ----------
    results : Results
    folder : Path
        Gets a folder for each state; made if need be.
    symmetry : str
        That the run was told.

    Returns
    -------
    list of Path
        The entries' folders.
    """
    mask = read_volume(results.mask)[0] > 0.5
    return [_write_entry(results, state, mask, folder / state.name, symmetry) for state in results.states]


def _write_entry(results: Results, state: State, mask: NDArray[np.bool_], folder: Path, symmetry: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    others = [ending for ending in (SHARP, LOCAL_RESOLUTION) if beside(state.prefix, ending).is_file()]
    maps = [beside(state.prefix, ending) for ending in (FILTERED, *HALF_MAPS, *others)]
    for path in (*maps, results.mask):
        copy_whole(path, folder / path.name)
    volume, pixel_size = read_volume(beside(state.prefix, FILTERED))
    contour = contour_of(volume, mask)
    write_text(folder / f"{state.name}{CURVE}", fsc_xml(state.curve, state.name))
    with atomic_path(folder / f"{state.name}{PICTURE}") as temporary:
        image.imsave(temporary, picture(volume, contour, map_colour(cluster_label(state.name))))
    write_text(folder / f"{state.name}{ABOUT}", _about(results, state, contour, pixel_size, symmetry))
    return folder


def _of_all_groups(particles: Particles, label: str) -> str:
    """A value of the lens; of several optics groups all there are."""
    if label not in particles.optics:
        return "unknown"
    used = np.unique(particles.optics[label].to_numpy()[particles.optics_rows()])
    return " and ".join(f"{value:g}" for value in used)


def fsc_xml(curve: pd.DataFrame, title: str) -> str:
    """The EMDB's form of an FSC: the one within the mask, corrected for it.

    Parameters
    ----------
    curve : DataFrame
        Rows of ``fsc.csv``: ``resolution_angstrom``, ``fsc_corrected``; shells where that is not known are left out.
    title : str
    """
    axes = {"title": title, "xaxis": "Resolution (A-1)", "yaxis": "Correlation Coefficient"}
    root = ElementTree.Element("fsc", axes)
    for angstrom, value in curve[["resolution_angstrom", "fsc_corrected"]].dropna().to_numpy(np.float64):
        place = ElementTree.SubElement(root, "coordinate")
        ElementTree.SubElement(place, "x").text = f"{1 / angstrom:.6f}"
        ElementTree.SubElement(place, "y").text = f"{value:.6f}"
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def picture(volume: FloatVolume, contour: float, colour: str) -> NDArray[np.uint8]:
    """The surface of a map at a contour, seen along z, on white.

    Parameters
    ----------
    volume : (N, N, N) float array
        Order z, y, x.
    contour : float
    colour : str
        ``#rrggbb``

    Returns
    -------
    (500, 500, 3) uint8
        The first row is the largest y.
    """
    fine = resize_volume(volume, SIDE // 2)
    inside = fine >= contour
    seen: NDArray[np.bool_] = np.any(inside, axis=0)
    # the voxel that is nearest to the viewer, who looks from large z down
    depth = len(fine) - 1 - np.argmax(inside[::-1], axis=0)
    rows, columns = np.indices(seen.shape)
    normal = -np.array([slope[depth, rows, columns] for slope in np.gradient(fine)[::-1]])
    normal /= np.maximum(np.linalg.norm(normal, axis=0), 1e-12)
    light = 0.35 + 0.65 * np.clip(np.tensordot(LAMP, normal, 1), 0, 1)
    far = 0.35 * (1 - depth / max(len(fine) - 1, 1))
    hue = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
    lit = (1 - far[..., None]) * light[..., None] * (40 + 0.84 * hue) + 255 * far[..., None]
    small = np.where(seen[..., None], lit, 255.0).clip(0, 255).astype(np.uint8)[::-1]
    return small.repeat(SIDE // len(small), axis=0).repeat(SIDE // len(small), axis=1)


def _about(results: Results, state: State, contour: float, pixel_size: float, symmetry: str) -> str:
    """What the forms of a deposition ask, as far as a run knows it."""
    value, particles = state.curve.iloc[0]["resolution_0143_angstrom"], state.particles
    metrics = next((entry for entry in results.metrics.clusters if entry.cluster == state.name), None)
    factor = metrics and metrics.b_factor_angstrom2
    halves = (metrics and metrics.halves) or results.metrics.halves or "of unknown worth"
    # rows of one image, as symmetry expansion makes them, are one particle
    images, everybody = (one.table["rlnImageName"].nunique() for one in (particles, results.particles))
    expanded = f", in {len(particles):,} rows" if images < len(particles) else ""
    sharpened = beside(state.prefix, SHARP).is_file() and factor is not None
    rows = {
        "map": f"{state.name}{FILTERED}, recommended contour {contour:.4g}",
        "voxel size": f"{pixel_size:.4f} Å, box {particles.box} px",
        "half maps": f"{state.name}{HALF_MAPS[0]}, {state.name}{HALF_MAPS[1]}: neither masked, filtered nor sharpened",
        "half sets": halves if halves == INDEPENDENT else f"{halves}: the resolution is not that of a gold standard",
        "mask": MASK,
        "resolution": f"{float(value):.2f} Å, FSC 0.143, corrected for the mask by randomised phases"
        if pd.notna(value)
        else "none",
        "FSC": f"{state.name}{CURVE}",
        "particles": f"{images:,} of {everybody:,}{expanded}",
        "sharpening": f"none; {state.name}{SHARP} with a B-factor of {factor:.0f} Å²" if sharpened else "none",
        "symmetry": symmetry,
        "voltage": f"{_of_all_groups(particles, 'rlnVoltage')} kV",
        "spherical aberration": f"{_of_all_groups(particles, 'rlnSphericalAberration')} mm",
        "software": "drgnalign; cryoDRGN where its latent space was asked",
        "to be filled in": "specimen, vitrification, microscope, detector, dose, processing before drgnalign",
    }
    return "".join(f"{name:<22}{text}\n" for name, text in rows.items())
