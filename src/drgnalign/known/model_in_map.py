"""A model that lies in a map: what of it is there, how well it is seen, and as ChimeraX shows that."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import gemmi
import numpy as np
import pandas as pd

from drgnalign.arrays import FloatArray, FloatVolume
from drgnalign.files import atomic_path, write_text
from drgnalign.fourier import resize_volume
from drgnalign.known.chains import ChainOccupancy, by_name, chain_occupancies, placed_model, residue_means, segments
from drgnalign.known.clusters import ClusterMap
from drgnalign.known.compare import agreement
from drgnalign.known.fit import Fit
from drgnalign.known.model import KnownModel, blur, density_of
from drgnalign.known.q_score import q_scores
from drgnalign.known.records import ChainRecord
from drgnalign.maps.mask import resampled_mask

# Colours of nothing, half and all of a chain or residue: safe for the colour-blind.
PALETTE = "#882255:#DDCC77:#117733"
# Å, and voxels of a map in its resolution, for occupancies.
FINEST, SAMPLES = 6.0, 3.0
SCENE = """# Written by drgnalign, for UCSF ChimeraX, with the map of {cluster} open.
# Segments of chains by occupancy (0 to 100 in the column of B-factors):
open "{name}.cif"
color byattribute bfactor palette {palette} range 0,100
# Residues by Q-score, which the next line makes an attribute of theirs:
open "{name}.defattr"
# color byattribute r:q_score palette {palette} range 0,1
"""


@dataclass(frozen=True)
class ModelFound:
    """What of a model is in a map.

    Attributes
    ----------
    chains, segments : list of ChainOccupancy
        Of whole chains, and of stretches of them.
    residues : list of (str, str, str, float)
        Chain, number, kind and Q-score.
    resolution_present : float or None
        Å; where the FSC with the density of the chains that are present falls below 0.5. None where none is.
    """

    chains: list[ChainOccupancy]
    segments: list[ChainOccupancy]
    residues: list[tuple[str, str, str, float]]
    resolution_present: float | None

    @property
    def q_score(self) -> float:
        """Mean of the residues."""
        return float(np.nanmean([score for _, _, _, score in self.residues]))

    def of_chain(self, chain: str) -> FloatArray:
        """Q-scores of the residues of a chain."""
        return np.array([score for name, _, _, score in self.residues if name == chain])


def look_for_chains(cluster: ClusterMap, model: KnownModel, fit: Fit, mask: FloatVolume) -> ModelFound:
    """Which chains of a model are in a map, and how well its residues are seen.

    Parameters
    ----------
    cluster : ClusterMap
    model : KnownModel
    fit : Fit
        Of the model in the map.
    mask : (N, N, N) float32
        Around both.

    Returns
    -------
    ModelFound
    """
    moved = placed_model(model, fit)
    coarse, around = coarser(cluster, mask)
    chains = chain_occupancies(coarse, by_name(moved), around, coarse.resolution)
    stretches = chain_occupancies(coarse, segments(moved), around, coarse.resolution)
    positions = np.array([place.atom.pos.tolist() for place in moved.all()])
    residues = list(residue_means(model, q_scores(cluster.shown, cluster.pixel_size, positions)))
    present = [chain for one in chains if one.present for chain in by_name(moved)[one.chain]]
    if not present:
        return ModelFound(chains, stretches, residues, None)
    width = blur(cluster.resolution, cluster.pixel_size)
    density = density_of(present, np.zeros(3), cluster.box, cluster.pixel_size, width)
    return ModelFound(chains, stretches, residues, agreement(cluster, density, mask).resolution)


def coarser(cluster: ClusterMap, mask: FloatVolume) -> tuple[ClusterMap, FloatVolume]:
    """A map and a mask at the sampling that occupancies need: whether a chain is there is seen at 6 Å."""
    resolution = max(cluster.resolution, FINEST)
    needed = 2 * math.ceil(0.5 * SAMPLES * cluster.box * cluster.pixel_size / resolution)
    if needed >= cluster.box:
        return replace(cluster, resolution=resolution), mask
    volume = resize_volume(cluster.volume, needed).astype(np.float32)
    size = cluster.pixel_size * cluster.box / needed
    return replace(cluster, volume=volume, pixel_size=size, resolution=resolution), resampled_mask(mask, needed)


def chain_records(cluster: str, reference: str, found: ModelFound) -> list[ChainRecord]:
    """Of ``comparison.json`` and ``chains.csv``."""
    records = []
    for one in found.chains:
        scores = found.of_chain(one.chain)
        seen = scores[np.isfinite(scores)]
        records.append(
            ChainRecord(
                cluster=cluster,
                reference=reference,
                chain=one.chain,
                residues=len(scores),
                occupancy=one.occupancy,
                null_mean=one.null_mean,
                null_deviation=one.null_deviation,
                z=one.z,
                present=one.present,
                q_score=float(seen.mean()) if len(seen) else None,
            )
        )
    return records


def residue_table(found: ModelFound) -> pd.DataFrame:
    """Rows of ``residues.csv``."""
    table = pd.DataFrame(found.residues, columns=["chain", "residue", "kind", "q_score"])
    rows = table.groupby("chain", sort=False).cumcount() + 1
    for one in found.segments:
        chain, _, place = one.chain.rpartition(":")
        first, last = (int(row) for row in place.split("-"))
        mine = (table["chain"] == chain) & rows.between(first, last)
        table.loc[mine, ["segment", "occupancy", "z"]] = [place, one.occupancy, one.z]
    return table


def write_placed_model(path: Path, model: KnownModel, fit: Fit, cluster: ClusterMap, found: ModelFound) -> None:
    """Write the model as it lies in a map, with what ChimeraX colours it by, beside its density.

    Parameters
    ----------
    path : Path
        Of its density; ``.cif``, ``.defattr`` and ``.cxc`` take the place of its ending. Coordinates are those that
        ChimeraX gives the map, whose first voxel is the origin.
    model, fit, cluster, found
        See `look_for_chains`.
    """
    moved = placed_model(model, fit)
    corner = float(cluster.box // 2 * cluster.pixel_size)
    moved.transform_pos_and_adp(gemmi.Transform(gemmi.Mat33(), gemmi.Vec3(corner, corner, corner)))
    occupancies = np.clip(100 * residue_table(found)["occupancy"].to_numpy(np.float64), 0, 100)
    for place, residue in zip(moved.all(), model.residues.tolist(), strict=True):
        place.atom.b_iso = occupancies[residue]
    structure = gemmi.Structure()
    structure.name = path.stem
    structure.add_model(moved)
    structure.setup_entities()
    with atomic_path(path.with_suffix(".cif")) as temporary:
        structure.make_mmcif_document().write_file(str(temporary))
    head = "attribute: q_score\nmatch mode: any\nrecipient: residues\n"
    rows = [f"\t/{chain}:{number}\t{score:.3f}\n" for chain, number, _, score in found.residues if np.isfinite(score)]
    write_text(path.with_suffix(".defattr"), head + "".join(rows))
    write_text(path.with_suffix(".cxc"), SCENE.format(cluster=cluster.name, name=path.stem, palette=PALETTE))
