"""The state of a run between passes: which files it is made of, what is in them, who writes and who reads them.

A pass takes the state that the last one left and leaves the next one. It is made of a file and two folders.

``particles.star``
    All particles in the order of the input (`drgnalign.particles`): poses, half sets, the cluster in
    ``rlnClassNumber``. CHECK_INPUTS writes the first one, MERGE the others.

``references/``
    What the next pass compares images with; MERGE writes it (`drgnalign.run.merge.merge_references`).

    ==========================  ==========================================================================
    ``noise.csv``               noise spectrum of the full-size images, of DOWNSAMPLE; handed on unchanged.
                                The first pass is given nothing else.
    ``mask.mrc``                that all maps of the pass share: the user's, a round's, or the consensus's
    ``consensus_mask.mrc``      the consensus's own, for MASK; none where the user gave one
    ``consensus_….mrc``         the maps of the last consensus pass
    ``cluster_KK_….mrc``        the maps of the clusters of this pass; none of a cluster that was skipped
    ``fsc.csv``                 of each of these maps, shell by shell
    ``labels_used.json``        labels that clusters of any round have had: no other cluster gets one again
    ==========================  ==========================================================================

``latent/``
    Of the last round (`drgnalign.run.latent`).

A map has a name, ``consensus`` or ``cluster_KK``, and files that begin with it:

==================================  ==================================================================
``NAME_half1.mrc``, ``_half2``      unfiltered half maps
``NAME.mrc``                        both, filtered by their FSC; ``NAME_sharp.mrc`` sharpened besides
``NAME_mask.mrc``                   the mask that was made of it, where none was given
``NAME_reference_half1.mrc``, …     half maps that are weighted already: where they are there, REFINE
                                    compares images with these, as they are (``--weighted``)
``NAME_statistics…``                what a Frealign keeps beside its half maps
``NAME_local_resolution.mrc``       Å; 0 where it is not known
``NAME_local_resolution.csv``       its shells: neighbourhoods, what chance makes of them, who reaches them
``NAME_fsc.csv``                    rows of ``fsc.csv``, without the pass's own columns
``NAME_resolution.json``            its figures (`drgnalign.run.records.MapFigures`)
==================================  ==================================================================

RECONSTRUCT writes them (`drgnalign.maps.write.write_maps`; the references and statistics come of the engine). DECODE
writes ``decoder_cluster_KK_half1.mrc`` and ``_half2.mrc``, references of this form that are no maps of the pass.

What a pass leaves for people, and for REPORT in a folder ``pass_N``, published as ``consensus/pass_NN`` or
``round_NN``: ``particles.star`` and ``fsc.csv`` as above, ``metrics.json`` and, of rounds, ``clusters.json``
(`drgnalign.run.records`), ``clusters/`` (the pass's maps and ``mask.mrc``), and of rounds ``latent/`` and
``decoded/`` (``pc1_NN.mrc`` along the first principal component, ``cluster_KK.mrc`` at the clusters' centres). Where
FIT sees a motion, MOTION adds ``motion/``: maps ``point_NN``, and of each a `drgnalign.run.records.PathPoint`. With
--compare COMPARE adds ``comparison/`` to a round: ``comparison.json`` (`drgnalign.known.records`) and what belongs to
it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from drgnalign.arrays import BoolArray, IntArray
from drgnalign.files import write_text

# Of a state and of a pass's folder.
PARTICLES, FSC, METRICS = "particles.star", "fsc.csv", "metrics.json"
MAPS, LATENT, DECODED, MOTION, COMPARISON = "clusters", "latent", "decoded", "motion", "comparison"
# Of a handover: who is in no map.
LEFT_OUT_FILE = "left_out_particles.star"
# Of references.
NOISE, MASK, USED_LABELS = "noise.csv", "mask.mrc", "labels_used.json"
CONSENSUS = "consensus"
CLUSTER, DECODER = "cluster_", "decoder_"
# What the names of a map's files end with.
HALF_MAPS = ("_half1.mrc", "_half2.mrc")
FILTERED, SHARP, OWN_MASK = ".mrc", "_sharp.mrc", "_mask.mrc"
REFERENCES = tuple(f"_reference{ending}" for ending in HALF_MAPS)
STATISTICS = "_statistics"
LOCAL_RESOLUTION, LOCAL_SHELLS = "_local_resolution.mrc", "_local_resolution.csv"
CURVE, FIGURES = "_fsc.csv", "_resolution.json"
# Decoded maps along the first principal component, and maps along a motion.
FILM, POINT = "pc1_", "point_"


def cluster_name(label: int) -> str:
    """Name of a cluster's maps."""
    return f"{CLUSTER}{label:02d}"


def cluster_label(name: str) -> int:
    """Label of the cluster whose maps have this name; 0 of the consensus."""
    return 0 if name == CONSENSUS else int(name.removeprefix(CLUSTER))


def beside(prefix: Path, ending: str) -> Path:
    """A map's file, by the folder and the name of the map."""
    return prefix.with_name(f"{prefix.name}{ending}")


def map_files(folder: Path, name: str) -> list[str]:
    """Names of the files of a map that the next pass may need: half maps and filtered map, which there have to be, and
    what else there is of it."""
    others = (*REFERENCES, f"{STATISTICS}*", SHARP, LOCAL_RESOLUTION, LOCAL_SHELLS, OWN_MASK)
    found = sorted(path.name for ending in others for path in folder.glob(f"{name}{ending}"))
    return [*(f"{name}{ending}" for ending in (*HALF_MAPS, FILTERED)), *found]


def point_names(folder: Path) -> list[str]:
    """Names of the points of a motion whose records (`drgnalign.run.records.PathPoint`) are in a folder, in order."""
    return sorted(path.stem for path in folder.glob(f"{POINT}*.json") if path.stem.removeprefix(POINT).isdigit())


def members(labels: IntArray, kept: BoolArray, mapped: Collection[str]) -> dict[str, BoolArray]:
    """Who is in which map of a pass, by its name; of clusters that were skipped, who would be.

    Parameters
    ----------
    labels : (N,) int64
        Clusters; 0 is in none. Before the first round they may be the user's own, of which there are no maps yet.
    kept : (N,) bool
        Who is not left out.
    mapped : collection of str
        Names of the maps in ``fsc.csv``.
    """
    names = {cluster_name(label): kept & (labels == label) for label in np.unique(labels[kept & (labels > 0)]).tolist()}
    before = CONSENSUS in mapped and not any(name.startswith(CLUSTER) for name in mapped)
    return names if names and not before else {CONSENSUS: kept}


def by_cluster(path: Path) -> pd.DataFrame:
    """Of ``fsc.csv``, by the names of the maps, what is the same in all shells: ``resolution_0143_angstrom`` and
    ``alignment_limit_angstrom`` among them."""
    return pd.read_csv(path).drop_duplicates("cluster").set_index("cluster")


def read_used_labels(references: Path) -> set[int]:
    """Labels that clusters of any pass so far have had."""
    path = references / USED_LABELS
    return set(json.loads(path.read_text())) if path.exists() else set()


def write_used_labels(labels: Iterable[int], references: Path) -> None:
    """Write the labels that clusters of any pass so far have had."""
    write_text(references / USED_LABELS, json.dumps(sorted(labels)) + "\n")


def round_name(number: int) -> str:
    """As the folder and the pictures of a round are called."""
    return f"round_{number:02d}"


def published_name(number: int, round_: int) -> str:
    """The folder of a pass in a run's ``--outdir``."""
    return round_name(round_) if round_ else f"{CONSENSUS}/pass_{number:02d}"


def pass_folders(folder: Path) -> dict[int, Path]:
    """Folders of the passes in `folder` (``pass_0``, ``pass_1`` …) by the passes' numbers, in their order."""
    found = {int(path.name.removeprefix("pass_")): path for path in folder.glob("pass_[0-9]*") if path.is_dir()}
    return dict(sorted(found.items()))


def published_passes(results: Path) -> list[Path]:
    """Folders of the passes in a run's ``--outdir``: those of the consensus, then the rounds; not copies that have
    further words in their names."""
    found = [*sorted(results.glob(f"{CONSENSUS}/pass_*")), *sorted(results.glob("round_*"))]
    return [folder for folder in found if folder.name.partition("_")[2].isdecimal()]
