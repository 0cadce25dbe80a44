"""Maps at points of latent space: of cryoDRGN's decoder, or of a linear model."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from drgnalign.arrays import FloatArray
from drgnalign.errors import InputError
from drgnalign.formats.cryodrgn import read_latent
from drgnalign.formats.mrc import read_volume, write_volume
from drgnalign.fourier import resize_volume
from drgnalign.heterogeneity.cryodrgn import run_cryodrgn
from drgnalign.run.latent import ALONG_PC1, CONFIG, WEIGHTS, Z
from drgnalign.run.linear import mixed, read_model
from drgnalign.run.state import CONSENSUS, DECODER, FILM, FILTERED, HALF_MAPS, MASK, beside, cluster_name


def points_to_map(latent: Path, nearest: Mapping[str, int]) -> dict[str, FloatArray]:
    """Points of latent space that are worth a map, by the names of the maps.

    Parameters
    ----------
    latent : path
        A round's latent folder.
    nearest : mapping
        Row of the particle nearest to the centre of each cluster, by the cluster's label.

    Returns
    -------
    dict of str to (zdim,) float64
        Along the first principal component, then at the clusters' centres.
    """
    along = np.loadtxt(latent / ALONG_PC1, ndmin=2)
    z, _ = read_latent(latent / Z)
    points = {f"{FILM}{number:02d}": point for number, point in enumerate(along, start=1)}
    return points | {cluster_name(int(label)): z[row].astype(np.float64) for label, row in nearest.items()}


def under_their_names(names: Sequence[str], made: Sequence[Path], consensus: Path | None, outdir: Path) -> None:
    """Give maps their names, and make references of those of clusters if there is a consensus.

    Parameters
    ----------
    names : sequence of str
        As of `points_to_map`.
    made : sequence of path
        The maps, in the same order.
    consensus : path, optional
        See `write_decoder_references`.
    outdir : path
    """
    maps = {name: path.rename(beside(outdir / name, FILTERED)) for name, path in zip(names, made, strict=True)}
    if consensus is not None:
        of_clusters = {name: path for name, path in maps.items() if not name.startswith(FILM)}
        write_decoder_references(of_clusters, consensus, outdir)


def decode_volumes(latent_dir: Path, z: ArrayLike, outdir: Path, pixel_size: float, threads: int = 1) -> list[Path]:
    """Evaluate the decoder at points of latent space.

    White protein comes out with positive density, in the orientation of the particles' poses. cryoDRGN
    ignores the mean of the images, so the zero level of these maps is arbitrary.

    Parameters
    ----------
    latent_dir : path
        Folder with ``weights.pkl`` and ``config.yaml`` of a training; it may have been moved since.
    z : (M, zdim) array_like
        Points of latent space.
    outdir : path
        Folder to write the maps and ``eval_vol.log`` into.
    pixel_size : float
        Å, of the stack that was trained on.
    threads : int
        CPU threads.

    Returns
    -------
    list of Path
        ``vol_001.mrc`` … in the order of `z`: float32 (box, box, box), order (z, y, x), centre box//2.

    Raises
    ------
    InputError
        `z` is empty or not finite.
    DrgnalignError
        cryoDRGN is missing or fails.
    """
    points = np.atleast_2d(np.asarray(z, dtype=np.float64))
    if points.size == 0 or not np.isfinite(points).all():
        raise InputError(latent_dir, "there is no finite point of latent space to decode", "check the training")
    outdir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=outdir, prefix=".decoding-") as folder:
        work = Path(folder)
        np.savetxt(work / "z.txt", points)
        command = ["eval_vol", latent_dir / WEIGHTS, "-c", latent_dir / CONFIG]
        command += ["--zfile", work / "z.txt", "-o", work, "--Apix", pixel_size]
        run_cryodrgn(command, outdir / "eval_vol.log", threads)
        paths = []
        for number in range(1, len(points) + 1):
            name = f"vol_{number:03d}.mrc"
            # cryoDRGN leaves the machine stamp empty, which strict readers refuse: written anew.
            volume, _ = read_volume(work / name)
            write_volume(outdir / name, volume, pixel_size)
            paths.append(outdir / name)
    return paths


def combine_volumes(linear: Path, z: ArrayLike, outdir: Path) -> list[Path]:
    """The maps of a linear latent model at points of latent space.

    Parameters
    ----------
    linear : path
        Folder of the model, see `drgnalign.run.linear`.
    z : (M, q) array_like
    outdir : path

    Returns
    -------
    list of Path
        ``vol_001.mrc`` … in the order of `z`, of both half sets.
    """
    volumes, pixel_size = read_model(linear)
    outdir.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, volume in enumerate(mixed(volumes, z), start=1):
        paths.append(outdir / f"vol_{number:03d}.mrc")
        write_volume(paths[-1], volume, pixel_size)
    return paths


def write_decoder_references(maps: dict[str, Path], consensus: Path, outdir: Path) -> None:
    """Make references of decoded maps: full size, and on the grey scale of the consensus.

    One decoder map serves both half sets, so that half maps refined against it are not independent.

    Parameters
    ----------
    maps : dict of name -> Path
        Decoded maps.
    consensus : path
        References folder with the consensus half maps and ``mask.mrc``.
    outdir : path
        Gets ``decoder_NAME_half1.mrc`` and ``decoder_NAME_half2.mrc``.
    """
    (half1, pixel_size), (half2, _) = (read_volume(beside(consensus / CONSENSUS, ending)) for ending in HALF_MAPS)
    mask, _ = read_volume(consensus / MASK)
    target = 0.5 * (half1 + half2)
    inside, outside = mask > 0.5, mask < 0.01
    for name, path in maps.items():
        volume = resize_volume(read_volume(path)[0], len(target))
        volume = volume - np.median(volume[outside])
        scale = float(np.sum(volume[inside] * target[inside]) / np.sum(volume[inside] ** 2))
        for ending in HALF_MAPS:
            write_volume(beside(outdir / f"{DECODER}{name}", ending), scale * volume, pixel_size)
