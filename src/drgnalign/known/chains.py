"""Which chains of a model a map shows, by density, beside the same chains at other places."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import gemmi
import numpy as np
import scipy
from scipy.spatial.transform import Rotation

from drgnalign.arrays import BoolArray, FloatArray, FloatVolume
from drgnalign.fourier import irfft_volume, rfft_volume, shell_numbers
from drgnalign.known.clusters import ClusterMap
from drgnalign.known.compare import shell_scale
from drgnalign.known.fit import Fit
from drgnalign.known.model import KnownModel, blur, density_of

# Of a chain's highest density, what counts as its density.
PART = 0.02
# Residues of a segment: a helix or two.
SEGMENT = 30
# Shuffled places of each chain, and voxels of it that are looked at there.
PLACES, MOST_VOXELS = 60, 5000
# A chain is present from this occupancy on, where it is so many standard deviations of its null above nothing; absent
# below, where it is as far from being whole.
PRESENT, STANDS_OUT = 0.5, 3.0
# Of the diagonal, so that chains that lie within each other at low resolution have an answer.
RIDGE = 1e-3
# Chains as strong as this share of the strongest are whole: their median is an occupancy of 1.
WHOLE, STRONGEST = 0.5, 0.9


@dataclass(frozen=True)
class ChainOccupancy:
    """How much of a chain is in a map.

    Attributes
    ----------
    chain : str
    occupancy : float
        1 where its density is as strong as that of chains that are whole.
    null_mean, null_deviation : float
        The same of the chain in shuffled places and orientations, in what the model leaves unexplained.
    """

    chain: str
    occupancy: float
    null_mean: float
    null_deviation: float

    @property
    def z(self) -> float:
        """Standard deviations by which it stands out of its null."""
        return (self.occupancy - self.null_mean) / max(self.null_deviation, 1e-9)

    @property
    def present(self) -> bool | None:
        """Is the chain there? None where that cannot be told: its null reaches as far."""
        if self.occupancy >= PRESENT:
            return True if self.z >= STANDS_OUT else None
        lacks = (1 - self.occupancy + self.null_mean) / max(self.null_deviation, 1e-9)
        return False if lacks >= STANDS_OUT else None


def placed_model(model: KnownModel, fit: Fit) -> gemmi.Model:
    """The model in the frame of a map, (x, y, z) in Å from the box's centre; mirrored where the fit is."""
    moved = model.model.clone()
    shift = fit.shift - fit.linear @ model.centre
    moved.transform_pos_and_adp(gemmi.Transform(gemmi.Mat33(fit.linear.tolist()), gemmi.Vec3(*shift)))
    return moved


def chain_occupancies(
    cluster: ClusterMap,
    chains: Mapping[str, Sequence[gemmi.Chain]],
    mask: FloatVolume,
    resolution: float,
    seed: int = 0,
) -> list[ChainOccupancy]:
    """The occupancy of each chain of a model in a map, all at once.

    The map is brought to the model's grey values shell by shell, and written as a sum of the chains' densities and a
    constant, by least squares within the mask: what a neighbour's density spills into a chain's place is the
    neighbour's. The null of a chain is what the same estimate makes of its density turned and moved to random places
    within the mask, apart from its own, in the map minus that sum, so that no other chain is there either.

    Parameters
    ----------
    cluster : ClusterMap
    chains : mapping of str to sequence of gemmi.Chain
        By their names (`by_name`, `segments`), in the frame of the map (`placed_model`).
    mask : (N, N, N) float32
        Around map and model.
    resolution : float
        Å, to which densities are compared.
    seed : int

    Returns
    -------
    list of ChainOccupancy
        In the order given.
    """
    box, pixel = cluster.box, cluster.pixel_size
    parts = scipy.sparse.csc_matrix(_densities(chains.values(), box, pixel, resolution))
    whole = np.asarray(parts.sum(axis=1), np.float32).reshape((box,) * 3)
    scaled = scaled_to(cluster.volume, whole, mask)
    inside = mask.ravel() > 0.5
    found, power = _least_squares(parts, scaled.ravel().astype(np.float64), inside)
    rest = (scaled.ravel() - parts @ found[:-1] - found[-1] * inside).reshape((box,) * 3).astype(np.float32)
    rng = np.random.default_rng(seed)
    nulls = [
        _shuffled(_column(parts, number, box), rest, np.argwhere(mask > 0.5).astype(float), rng) / power[number]
        for number in range(parts.shape[1])
    ]
    one = _whole(found[:-1])
    return [
        ChainOccupancy(name, float(value / one), float(null.mean() / one), float(null.std() / one))
        for name, value, null in zip(chains, found[:-1], nulls, strict=True)
    ]


def scaled_to(volume: FloatVolume, model: FloatVolume, mask: FloatVolume) -> FloatVolume:
    """A map with the grey values of a model, shell by shell, each as far as both agree there (least squares under the
    mask)."""
    box = len(volume)
    factor, shells = shell_scale(model, volume, mask), np.minimum(shell_numbers(box, 3), box // 2)
    return irfft_volume(rfft_volume(volume) * factor[shells].astype(np.float32), box).astype(np.float32)


def _densities(
    chains: Iterable[Sequence[gemmi.Chain]], box: int, pixel: float, resolution: float
) -> scipy.sparse.csc_matrix:
    """Voxels × chains."""
    columns = []
    for some in chains:
        volume = density_of(some, np.zeros(3), box, pixel, blur(resolution, pixel)).ravel()
        volume[volume < PART * volume.max()] = 0
        columns.append(scipy.sparse.csc_matrix(volume[:, None]))
    return scipy.sparse.hstack(columns)


def segments(model: gemmi.Model) -> dict[str, list[gemmi.Chain]]:
    """Stretches of about `SEGMENT` residues of each chain, named ``CHAIN:FIRST-LAST`` by their rows in the chain."""
    found: dict[str, list[gemmi.Chain]] = {}
    for name, chains in by_name(model).items():
        residues = [residue for chain in chains for residue in chain]
        for rows in np.array_split(np.arange(len(residues)), max(1, round(len(residues) / SEGMENT))):
            part = gemmi.Chain(name)
            for row in rows.tolist():
                part.add_residue(residues[row])
            found[f"{name}:{rows[0] + 1}-{rows[-1] + 1}"] = [part]
    return found


def by_name(model: gemmi.Model) -> dict[str, list[gemmi.Chain]]:
    """Chains by their names, in the order of the file; those of one name are one."""
    found: dict[str, list[gemmi.Chain]] = {}
    for chain in model:
        found.setdefault(chain.name, []).append(chain)
    return found


def _least_squares(
    parts: scipy.sparse.csc_matrix, values: FloatArray, inside: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Factors of the chains and, last, of a constant; and what of each chain's power is its own."""
    within = scipy.sparse.hstack([parts, scipy.sparse.csc_matrix(np.ones((len(values), 1), np.float32))]).tocsr()[
        inside
    ]
    gram = np.asarray((within.T @ within).todense(), np.float64)
    gram[np.diag_indices_from(gram)] *= 1 + RIDGE
    inverse = np.linalg.inv(gram + 1e-12 * gram.max() * np.eye(len(gram)))
    return inverse @ np.asarray(within.T @ values[inside], np.float64).ravel(), 1 / np.diag(inverse)


def _column(parts: scipy.sparse.csc_matrix, number: int, box: int) -> tuple[FloatArray, FloatArray]:
    """Voxels (n, 3) of a chain's density, and its values (n,)."""
    rows = slice(parts.indptr[number], parts.indptr[number + 1])
    return np.stack(np.unravel_index(parts.indices[rows], (box,) * 3), axis=1).astype(float), parts.data[rows]


def _shuffled(
    chain: tuple[FloatArray, FloatArray], rest: FloatVolume, places: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Product of what is left of a map with a chain's density in random places and orientations (`PLACES`,)."""
    voxels, values = _some(*chain, rng)
    if not len(values):
        return np.zeros(PLACES)
    middle = np.average(voxels, axis=0, weights=values)
    radius = np.sqrt(np.average(((voxels - middle) ** 2).sum(axis=1), weights=values))
    turns = Rotation.random(PLACES, random_state=rng).as_matrix()
    centres = _elsewhere(places, middle, radius, rng)
    return np.array(
        [
            values @ scipy.ndimage.map_coordinates(rest, ((voxels - middle) @ turn.T + centre).T, order=1)
            for turn, centre in zip(turns, centres, strict=True)
        ]
    )


def _some(voxels: FloatArray, values: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """A sample of a large chain's voxels, which are many to a resolution, with its whole density."""
    if len(values) <= MOST_VOXELS:
        return voxels, values
    rows = rng.choice(len(values), MOST_VOXELS, replace=False)
    return voxels[rows], values[rows] * (values.sum() / values[rows].sum())


def _elsewhere(places: FloatArray, middle: FloatArray, radius: float, rng: np.random.Generator) -> FloatArray:
    """Random voxels of some, apart from where a chain is, if there are any."""
    apart = np.linalg.norm(places - middle, axis=1) > radius
    allowed = places[apart] if apart.any() else places
    return allowed[rng.integers(len(allowed), size=PLACES)]


def _whole(factors: FloatArray) -> float:
    """What an occupancy of 1 is: the median of those near the strongest."""
    strongest = float(np.quantile(factors, STRONGEST))
    near = factors[factors >= WHOLE * strongest]
    return max(float(np.median(near)) if len(near) else 0.0, 1e-9)


def residue_means(model: KnownModel, scores: FloatArray) -> Iterator[tuple[str, str, str, float]]:
    """Chain, number, kind and mean of the atoms' scores (n,) of each residue."""
    known = np.isfinite(scores)
    sums = np.bincount(model.residues[known], scores[known], len(model.residue_names))
    counts = np.bincount(model.residues[known], minlength=len(model.residue_names))
    means = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
    for name, mean in zip(model.residue_names, means.tolist(), strict=True):
        yield (*name, mean)
