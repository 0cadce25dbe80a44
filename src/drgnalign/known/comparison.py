"""All maps against all references: what is written of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from drgnalign.arrays import FloatVolume
from drgnalign.errors import InputError, InputWarning
from drgnalign.files import atomic_path
from drgnalign.formats.mrc import write_volume
from drgnalign.fourier import resize_volume
from drgnalign.known.body import Body, body_of
from drgnalign.known.clusters import ClusterMap, read_cluster
from drgnalign.known.compare import Agreement, Assignment, agreement, assign, difference
from drgnalign.known.fit import Fit, fit_body, placed
from drgnalign.known.model import KnownModel, map_of, read_known_model
from drgnalign.known.model_in_map import (
    ModelFound,
    chain_records,
    look_for_chains,
    residue_table,
    write_placed_model,
)
from drgnalign.known.read import KnownMap, is_model, read_known_map, stem
from drgnalign.known.records import (
    AS_GIVEN,
    MAP,
    MIRRORED,
    MODEL,
    NOT_TOLD,
    RECORD,
    ClusterRecord,
    ComparisonRecord,
    PairRecord,
)
from drgnalign.maps.mask import union_mask
from drgnalign.particles import USUAL_FILL
from drgnalign.run.record import write_record
from drgnalign.run.state import FSC
from drgnalign.version import __version__

TABLE, CURVES = "comparison.csv", FSC
CHAINS, RESIDUES = "chains.csv", "residues.csv"
FITTED, DIFFERENCES = "fitted", "difference"
# A reference whose voxels are narrower than this share of the map's is sampled anew, as the map is.
FINER = 0.8
# Diameters that differ by more are of other particles, or of another scale; by more than the other, even where it fits.
OTHER_SCALE, OTHER_PARTICLE = 1.25, 2.5


class Reference(NamedTuple):
    """A reference, ready to be fitted; the model that it is the density of, or None."""

    known: KnownMap
    body: Body
    model: KnownModel | None

    @property
    def name(self) -> str:
        """Of its file."""
        return self.known.name


@dataclass(frozen=True)
class Found:
    """A map and a reference: where the reference lies in it, and, where that is claimed, how far both agree, and what
    of a model is there."""

    reference: Reference
    fit: Fit
    agreement: Agreement | None = None
    atoms: ModelFound | None = None


def compare_all(
    maps: Sequence[Path],
    known: Sequence[Path],
    out: Path,
    told: Callable[[str], None] = lambda text: None,
    thesis: bool = False,
) -> ComparisonRecord:
    """Compare each map with each reference, and write what comes of it.

    Parameters
    ----------
    maps, known : sequence of Path
        Files.
    out : Path
        Folder, which is made.
    told : callable, optional
        Told what is being done.
    thesis : bool
        Also noted in the record: published figures are wanted beside.

    Returns
    -------
    ComparisonRecord
        As in ``comparison.json``.

    Raises
    ------
    InputError
        See `drgnalign.known.read`; two references of one name.
    """
    _refuse_twins(known)
    comparison = _Comparison(out, told)
    for path in maps:
        comparison.add(read_cluster(path), known)
    return comparison.written(thesis)


def check_known(known: Sequence[Path]) -> None:
    """Refuse references that `compare_all` would, before there are maps.

    Raises
    ------
    InputError
        As `compare_all`.
    """
    _refuse_twins(known)
    for path in known:
        read_known_model(path) if is_model(path) else read_known_map(path)


def _refuse_twins(known: Sequence[Path]) -> None:
    """Of one name, by which results go."""
    seen: dict[str, Path] = {}
    for path in known:
        if stem(path) in seen:
            raise InputError(path, f"has the name of {seen[stem(path)]}", "rename one: results go by the names")
        seen[stem(path)] = path


class _Comparison:
    """What was found so far."""

    def __init__(self, out: Path, told: Callable[[str], None]) -> None:
        self._out, self._told = out, told
        self._references: dict[float, list[Reference]] = {}
        self._clusters: list[ClusterMap] = []
        self._found: list[list[Found]] = []
        self._masks: list[str] = []

    def add(self, cluster: ClusterMap, known: Sequence[Path]) -> None:
        """Compare a map with all references."""
        body = body_of(cluster.volume, cluster.pixel_size, cluster.mask)
        found, references = [], self._prepared(cluster, known)
        for folder in (FITTED, DIFFERENCES) if references else ():
            (self._out / folder).mkdir(parents=True, exist_ok=True)
        for reference in references:
            self._told(f"fitting {reference.name} into {cluster.name}")
            fit = fit_body(body, reference.body, cluster.resolution)
            found.append(Found(reference, fit))
            _tell_unlike(cluster, body, reference, fit.claimed)
        mask = self._common_mask(cluster, found)
        self._clusters.append(cluster)
        self._found.append([self._judged(cluster, one, mask) if one.fit.claimed else one for one in found])
        self._masks.append("of the map" + "".join(f", {one.reference.name}" for one in found if one.fit.claimed))

    def _prepared(self, cluster: ClusterMap, known: Sequence[Path]) -> list[Reference]:
        """The references, sampled for maps of this voxel size; read once."""
        size = cluster.pixel_size
        # and of the first one's resolution, which sets no more than how fast a model's amplitudes fall
        if size not in self._references:
            self._references[size] = [_reference(path, size, cluster.resolution) for path in known]
        return self._references[size]

    def _common_mask(self, cluster: ClusterMap, found: Sequence[Found]) -> FloatVolume:
        """Around the map and all references in it: what one of them lacks is a difference."""
        diameter = USUAL_FILL * cluster.box * cluster.pixel_size
        return union_mask(cluster.mask, _placed_all(cluster, found), cluster.pixel_size, diameter)

    def _judged(self, cluster: ClusterMap, one: Found, mask: FloatVolume) -> Found:
        volume = _placed(cluster, one)
        judged = agreement(cluster, volume, mask)
        name = f"{cluster.name}__{one.reference.name}.mrc"
        grey = (volume * np.float32(judged.grey_scale)).astype(np.float32)
        write_volume(self._out / FITTED / name, grey, cluster.pixel_size)
        rest = difference(cluster, volume, mask, cluster.resolution)
        write_volume(self._out / DIFFERENCES / name, rest, cluster.pixel_size)
        if one.reference.model is None:
            return replace(one, agreement=judged)
        self._told(f"looking for chains of {one.reference.name} in {cluster.name}")
        atoms = look_for_chains(cluster, one.reference.model, one.fit, mask)
        write_placed_model(self._out / FITTED / name, one.reference.model, one.fit, cluster, atoms)
        return replace(one, agreement=judged, atoms=atoms)

    def written(self, thesis: bool) -> ComparisonRecord:
        """Write tables and record."""
        assigned = _assigned(self._found)
        halves = [_assigned(self._found, half).reference for half in (0, 1)]
        record = ComparisonRecord(version=__version__, thesis=thesis)
        for row, cluster in enumerate(self._clusters):
            column = assigned.reference[row]
            record.clusters.append(
                ClusterRecord(
                    cluster=cluster.name,
                    resolution_angstrom=cluster.resolution,
                    pixel_size_angstrom=cluster.pixel_size,
                    box=cluster.box,
                    half_maps=bool(cluster.halves),
                    halves=cluster.worth,
                    mask=self._masks[row],
                    reference=None if column is None else self._found[row][column].reference.name,
                    margin=assigned.margins[row],
                    halves_agree=all(one[row] == column for one in halves) if cluster.halves else None,
                )
            )
            for number, one in enumerate(self._found[row]):
                margin = assigned.margins[row] if number == column else None
                record.pairs.append(_pair(cluster, one, number == column, margin))
                record.chains += [] if one.atoms is None else chain_records(cluster.name, one.reference.name, one.atoms)
        self._write(record)
        return record

    def _write(self, record: ComparisonRecord) -> None:
        self._out.mkdir(parents=True, exist_ok=True)
        if record.pairs:
            self._write_pairs(record)
        if record.chains:
            self._write_atoms(record)
        write_record(record, self._out / RECORD)

    def _write_pairs(self, record: ComparisonRecord) -> None:
        """Tables of pairs and of their FSC."""
        with atomic_path(self._out / TABLE) as temporary:
            pd.DataFrame(record.table()).to_csv(temporary, index=False, float_format="%.6g")
        with atomic_path(self._out / CURVES) as temporary:
            curves = list(_curves(self._clusters, self._found))
            table = pd.concat(curves) if curves else pd.DataFrame(columns=["cluster", "reference"])
            table.to_csv(temporary, index=False, float_format="%.5f")

    def _write_atoms(self, record: ComparisonRecord) -> None:
        """Tables of chains and of residues."""
        with atomic_path(self._out / CHAINS) as temporary:
            pd.DataFrame([one.written() for one in record.chains]).to_csv(temporary, index=False, float_format="%.4f")
        tables = [
            residue_table(one.atoms).assign(cluster=cluster.name, reference=one.reference.name)
            for cluster, row in zip(self._clusters, self._found, strict=True)
            for one in row
            if one.atoms is not None
        ]
        with atomic_path(self._out / RESIDUES) as temporary:
            pd.concat(tables).to_csv(temporary, index=False, float_format="%.4f")


def _reference(path: Path, pixel_size: float, resolution: float) -> Reference:
    if is_model(path):
        model = read_known_model(path)
        known = map_of(model, pixel_size, resolution)
        return Reference(known, body_of(known.volume, known.pixel_size, known.mask), model)
    known = _sampled(read_known_map(path), pixel_size)
    return Reference(known, body_of(known.volume, known.pixel_size, known.mask), None)


def _sampled(known: KnownMap, pixel_size: float) -> KnownMap:
    """At the map's voxels where its own are narrower: what is finer cannot be compared."""
    if known.pixel_size >= FINER * pixel_size:
        return known
    width = len(known.volume) * known.pixel_size
    box = 2 * round(0.5 * width / pixel_size)
    volumes = [resize_volume(one, box).astype(np.float32) for one in (known.volume, known.mask)]
    return replace(known, volume=volumes[0], mask=np.clip(volumes[1], 0, 1), pixel_size=width / box)


def _placed(cluster: ClusterMap, one: Found) -> FloatVolume:
    known = one.reference.known
    return placed(known.volume, known.pixel_size, one.fit, cluster.box, cluster.pixel_size)


def _placed_all(cluster: ClusterMap, found: Sequence[Found]) -> Iterator[FloatVolume]:
    return (_placed(cluster, one) for one in found if one.fit.claimed)


def _tell_unlike(cluster: ClusterMap, body: Body, reference: Reference, claimed: bool) -> None:
    """Warn of a reference whose scale may be why it is not in a map, or why it seems to be."""
    ratio = reference.body.diameter / body.diameter
    if max(ratio, 1 / ratio) < (OTHER_PARTICLE if claimed else OTHER_SCALE) or (claimed and reference.model):
        return
    what = f"was {'' if claimed else 'not '}found in {cluster.name}, and its particle is {ratio:.2f} times as large"
    remedy = "if it is the same particle, its voxels have another size: correct its header"
    if claimed:
        remedy = f"{remedy}; nothing was found then"
    elif reference.model:
        remedy = "if it is a part of the particle, it is too small to be found by itself"
    warnings.warn(f"{reference.known.path}: {what}: {remedy}", InputWarning, stacklevel=2)


def _assigned(found: Sequence[Sequence[Found]], half: int | None = None) -> Assignment:
    """By the maps, or as one half map of each, where it has any, would have it."""
    shape = (len(found), len(found[0]) if found else 0)
    scores = [_score(one.agreement, half) if one.agreement else 0.0 for row in found for one in row]
    claimed = [one.fit.claimed for row in found for one in row]
    return assign(np.reshape(scores, shape), np.reshape(claimed, shape).astype(np.bool_))


def _score(agreed: Agreement, half: int | None) -> float:
    return agreed.mean_fsc if half is None or not agreed.halves else agreed.halves[half]


def _pair(cluster: ClusterMap, one: Found, assigned: bool, margin: float | None) -> PairRecord:
    fit, agreed = one.fit, one.agreement
    hand = (MIRRORED if fit.mirrored else AS_GIVEN) if fit.hand_decided else NOT_TOLD
    record = PairRecord(
        cluster=cluster.name,
        reference=one.reference.name,
        kind=MODEL if one.reference.model else MAP,
        claimed=fit.claimed,
        agreement=fit.agreement,
        null_mean=fit.null_mean,
        null_deviation=fit.null_deviation,
        z=fit.z,
        hand=hand,
        hand_margin=fit.hand_margin,
        diameter_angstrom=one.reference.body.diameter,
        assigned=assigned,
        margin=margin,
    )
    if agreed is None:
        return record
    return replace(
        record,
        rotation=fit.linear.tolist(),
        shift_angstrom=fit.shift.tolist(),
        scale=fit.scale,
        grey_scale=agreed.grey_scale,
        fit_limit_angstrom=fit.limit,
        mean_fsc=agreed.mean_fsc,
        resolution_05_angstrom=agreed.resolution,
        resolution_05_present_angstrom=None if one.atoms is None else one.atoms.resolution_present,
        q_score=None if one.atoms is None else one.atoms.q_score,
    )


def _curves(clusters: Sequence[ClusterMap], found: Sequence[Sequence[Found]]) -> Iterator[pd.DataFrame]:
    """FSC of each pair that is claimed, shell by shell."""
    for cluster, row in zip(clusters, found, strict=True):
        for one in row:
            if one.agreement is not None:
                table = one.agreement.fsc.table()
                yield table.assign(cluster=cluster.name, reference=one.reference.name)
