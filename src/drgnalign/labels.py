"""Labels that a person or another program gives: which particles the first round's clusters are."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drgnalign.arrays import IntArray
from drgnalign.errors import InputError, InputNote
from drgnalign.files import sha256_of, suffix_of
from drgnalign.formats.cryodrgn import read_labels
from drgnalign.formats.cryosparc import read_classes
from drgnalign.formats.star import read_blocks
from drgnalign.half_sets import UID_COLUMN
from drgnalign.particles import EXCLUDED, LEFT_OUT, START, Particles
from drgnalign.run.inputs import LabelsRecord

# Of a particle that is left out for good, of one in no cluster, and of those that a list does not name.
OUT, NONE, OTHERS = -1, 0, 2
# How a table's column of labels may be called, and words in it.
LABEL_COLUMNS = ("rlnClassNumber", "label", "cluster", "class")
WORDS = {"drop": OUT, "unassigned": NONE}
# A column of `edited` labels: what a person decided, in words.
DECISION, LABELS_OF_OURS = "decision", "label"
# More of them are not told.
MOST_DECISIONS = 50
KINDS = (
    "give a star file with rlnClassNumber, a cryoSPARC file with classes, cryoDRGN's labels.pkl or ind.pkl, or a CSV "
    "with rlnImageName and label"
)


class _Given(NamedTuple):
    """Labels by what tells particles apart: names of images, or uids. Without labels, a list of particles."""

    keys: pd.Series
    labels: IntArray | None
    decisions: dict[str, int] | None = None


def sizes_in_words(labels: IntArray) -> str:
    """``152 in 1, 148 in 2``, of labels (N,); who is in none does not count."""
    names, sizes = np.unique(labels[labels > 0], return_counts=True)
    return ", ".join(f"{size:,} in {name}" for name, size in zip(names.tolist(), sizes.tolist(), strict=True))


def refuse_odd_labels(particles: Particles) -> None:
    """Refuse labels, or labels to start from, that are no whole numbers from 0; missing columns are none.

    Raises
    ------
    InputError
        Row and column are named.
    """
    for label in ("rlnClassNumber", *(name for name in map(str, particles.table) if name.startswith(START))):
        if label not in particles.table:
            continue
        numbers = pd.to_numeric(particles.table[label], errors="coerce").to_numpy(np.float64)
        odd = ~((numbers >= 0) & (numbers % 1 == 0))
        particles.refuse_rows(odd, f"{label} is no number of a cluster", "correct it; 0 is in no cluster")


def edited(labels: IntArray, verbs: Sequence[tuple[str, str]], source: Path) -> tuple[IntArray, NDArray[np.object_]]:
    """Clusters as a person wants them.

    Parameters
    ----------
    labels : (N,) int64
        0 is in none.
    verbs : sequence of (str, str)
        ``unite`` and ``2,5``; ``drop`` or ``free`` (in none from now on) and ``7``; ``relabel`` and ``3:1``. All mean
        `labels`, none of which may be named twice.
    source : Path
        The file that they are of, for messages.

    Returns
    -------
    labels : (N,) int64
        -1 for who is dropped.
    decisions : (N,) object
        What was decided of each, in words; empty where nothing was.

    Raises
    ------
    InputError
        A number is no cluster of the file or is named twice, or two clusters would get one number.
    """
    new, decisions = labels.copy(), np.full(len(labels), "", object)
    there, taken = set(np.unique(labels[labels > NONE]).tolist()), set[int]()
    if not verbs:
        raise InputError(source, "nothing is to be changed", "give --unite, --drop, --free or --relabel")
    asked = [(f"{verb} {words}", *_meant(verb, words)) for verb, words in verbs]
    for words, numbers, target in asked:
        for number in numbers:
            if number not in there or number in taken:
                what = "is named twice" if number in taken else "is none of its clusters"
                remedy = f"choose of {', '.join(map(str, sorted(there)))}, each once"
                raise InputError(source, f"--{words}: {number} {what}", remedy)
            taken.add(number)
        mine = np.isin(labels, numbers)
        new[mine], decisions[mine] = target, words
    for words, numbers, target in asked:
        others = np.unique(labels[(new == target) & ~np.isin(labels, numbers)])
        if target > NONE and len(others):
            problem = f"--{words}: there would be another cluster {target}"
            raise InputError(source, problem, "choose another number, or --unite both")
    return new, decisions


def _meant(verb: str, words: str) -> tuple[list[int], int]:
    """The clusters that an option names, and the label that they get."""
    pieces = [piece.strip() for piece in words.split(":" if verb == "relabel" else ",")]
    fitting = {"unite": len(pieces) > 1, "relabel": len(pieces) == 2}.get(verb, True)
    if not fitting or not all(piece.isdecimal() and 0 < int(piece) < 2**31 for piece in pieces):
        example = {"unite": "2,5", "relabel": "3:1"}.get(verb, "7")
        raise InputError(None, f"--{verb} is {words!r}", f"give clusters by their numbers, such as --{verb} {example}")
    numbers = list(map(int, pieces))
    if verb == "relabel":
        return numbers[:1], numbers[1]
    return numbers, {"unite": numbers[0], "drop": OUT, "free": NONE}[verb]


def with_labels(particles: Particles, path: Path) -> tuple[Particles, LabelsRecord]:
    """Particles with a file's labels as ``rlnClassNumber``; those that it drops are left out for good.

    Labels are whole numbers from 1; 0 is a particle in no cluster, and -1, or the word ``drop``, one that is left out
    (``drgnExcluded``). Who is not in the file is in no cluster. A file that names particles without labels is a list:
    they are cluster 1, all others cluster 2. cryoDRGN's labels count from 0, and get one more each; its ``ind.pkl`` is
    a list.

    Parameters
    ----------
    particles : Particles
        Of a user's file, as `drgnalign.inputs.import_particles` gives them.
    path : Path

    Returns
    -------
    Particles, LabelsRecord

    Raises
    ------
    InputError
        The file cannot be read, has no labels or not whole ones, is of other particles, or leaves no cluster.

    Warns
    -----
    InputNote
        How many particles each cluster has, how many are in none, and how many are left out.
    """
    labels, decisions = _labels_of(particles, path)
    if (labels < OUT).any():
        raise InputError(path, f"has the label {labels.min()}", "give labels from 1, 0 (none) or -1 (drop)")
    out = labels == OUT
    clusters = {int(label): int(count) for label, count in Counter(labels[labels > NONE].tolist()).items()}
    if not clusters:
        raise InputError(path, "has no particle in a cluster", "give labels from 1")
    record = LabelsRecord(
        file=path.name,
        sha256=sha256_of(path),
        clusters={str(label): clusters[label] for label in sorted(clusters)},
        unassigned=int((labels == NONE).sum()),
        left_out=int(out.sum()),
        decisions=decisions,
    )
    warnings.warn(f"{path.name}: {record.sentence}", InputNote, stacklevel=2)
    table = particles.table.assign(rlnClassNumber=np.where(out, NONE, labels))
    if out.any():
        table[EXCLUDED] = (particles.excluded() | out).astype(np.int64)
        if table[EXCLUDED].all():
            raise InputError(path, "drops every particle", "give labels from 1")
    return replace(particles, table=table), record


def _labels_of(particles: Particles, path: Path) -> tuple[IntArray, dict[str, int]]:
    """Labels (N,) of particles in a file of any kind, and of how many particles it says what was decided."""
    suffix = suffix_of(path)
    if suffix == ".pkl":
        return _of_rows(particles, path), {}
    if suffix == ".cs":
        if UID_COLUMN not in particles.table:
            problem = "names particles by cryoSPARC's uid, which those of --input do not have"
            raise InputError(path, problem, "give the .cs file as --input, or labels by names of images")
        keys, classes = read_classes(path)
        return _matched(_Given(pd.Series(keys), classes), particles.table[UID_COLUMN], path), {}
    if suffix not in (".star", ".csv"):
        raise InputError(path, f"is of a kind ({suffix or 'no suffix'}) that has no labels", KINDS)
    given = _read_star(path) if suffix == ".star" else _read_csv(path)
    own = _spelt(particles.table["rlnImageName"], path)
    return _matched(given._replace(keys=_spelt(given.keys, path)), own, path), given.decisions or {}


def _of_rows(particles: Particles, path: Path) -> IntArray:
    """Of cryoDRGN's arrays: a label for each row, or the rows of a list, from 0."""
    values, rows = read_labels(path), particles.table["drgnRow"].to_numpy(np.int64)
    count = int(rows.max()) + 1
    if len(np.unique(values)) == len(values) and values.min() >= 0 and len(values) > 1:
        if values.max() >= count:
            problem = f"names row {values.max()} (from 0), --input has {count:,}"
            raise InputError(path, problem, "give the file of these particles")
        return np.where(np.isin(rows, values), 1, OTHERS)
    if len(values) != count:
        problem = f"has {len(values):,} labels, --input has {count:,} particles"
        raise InputError(path, problem, "give the labels of these particles")
    return np.where(values[rows] < 0, OUT, values[rows] + 1)


def _read_star(path: Path) -> _Given:
    tables = [table for table in read_blocks(path).values() if "rlnImageName" in table]
    if not tables:
        raise InputError(path, "has no table with rlnImageName", KINDS)
    table = tables[-1]
    if "rlnClassNumber" not in table:
        return _Given(table["rlnImageName"], None)
    labels = _whole(table["rlnClassNumber"], path)
    # whom a run left out keeps a label that says nothing
    aside = table[LEFT_OUT].to_numpy(np.int64) != 0 if LEFT_OUT in table else np.zeros(len(table), np.bool_)
    return _Given(table["rlnImageName"], np.where(aside, NONE, labels))


def _read_csv(path: Path) -> _Given:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise InputError(path, f"cannot be read as CSV: {error}", KINDS) from error
    if "rlnImageName" not in table:
        raise InputError(path, f"has no column rlnImageName (its first line: {', '.join(map(str, table))})", KINDS)
    decided = DECISION in table and LABELS_OF_OURS in table
    others = [str(label) for label in table if label != "rlnImageName" and not (decided and label == DECISION)]
    chosen = [label for label in LABEL_COLUMNS if label in others] or others
    if len(chosen) > 1 and chosen == others:
        raise InputError(path, f"has several columns ({', '.join(chosen)}), none of them called label", KINDS)
    said = table[DECISION].value_counts().head(MOST_DECISIONS).to_dict() if decided else {}
    decisions = {str(words): int(count) for words, count in sorted(said.items()) if words}
    return _Given(table["rlnImageName"], _whole(table[chosen[0]], path) if chosen else None, decisions)


def _whole(column: pd.Series, path: Path) -> IntArray:
    """Labels of a column of text or numbers."""
    said = column.astype(str).str.strip().str.lower().replace({word: str(label) for word, label in WORDS.items()})
    numbers = pd.to_numeric(said, errors="coerce").to_numpy(np.float64)
    bad = ~(np.abs(numbers) < 2**31) | (numbers != np.rint(numbers))
    if bad.any():
        problem = f"row {bad.argmax() + 1}: the label {column.iloc[bad.argmax()]!r} is no whole number"
        raise InputError(path, f"{problem} ({bad.sum():,} such rows)", "give labels from 1, 0 (none) or -1 (drop)")
    return numbers.astype(np.int64)


def _spelt(names: pd.Series, path: Path) -> pd.Series:
    """Names of images, each in one spelling: 1@a.mrcs of 000001@./a.mrcs."""
    parts = names.astype(str).str.partition("@")
    numbers = parts[0].str.lstrip("0")
    bad = (parts[1] == "").to_numpy() | ~numbers.str.fullmatch(r"\d+").fillna(False).to_numpy(np.bool_)
    if bad.any():
        problem = f"row {bad.argmax() + 1}: {names.iloc[bad.argmax()]!r} is no name of an image"
        raise InputError(path, problem, "give names as rlnImageName has them, such as 000001@stack.mrcs")
    stacks, spellings = pd.factorize(parts[2])
    folders = np.array([os.path.normpath(name) for name in spellings], object)[stacks]
    return numbers.reset_index(drop=True) + "@" + pd.Series(folders)


def _matched(given: _Given, own: pd.Series, path: Path) -> IntArray:
    """Labels (N,) of particles that are told apart by `own`, in their order."""
    keys, labels = given.keys.reset_index(drop=True), given.labels
    own = own.reset_index(drop=True)
    missing = ~keys.isin(own).to_numpy()
    if missing.any():
        problem = f"names {keys[missing].iloc[0]}, which --input lacks ({missing.sum():,} of the {len(keys):,} named)"
        raise InputError(path, problem, "give labels of the particles of --input")
    if labels is None:
        return np.where(own.isin(keys), 1, OTHERS)
    # rows of one image, as symmetry expansion makes them, are told apart by their order alone
    if keys.equals(own):
        return labels
    known = pd.DataFrame({"key": keys, "label": labels}).drop_duplicates()
    twice = known["key"].duplicated().to_numpy()
    if twice.any():
        problem = f"gives {known['key'][twice].iloc[0]} several labels ({twice.sum():,} such particles)"
        raise InputError(path, problem, "give each particle one label, or all rows in the order of --input")
    found = own.map(known.set_index("key")["label"]).fillna(NONE)
    result: NDArray[np.int64] = found.to_numpy(np.int64)
    return result
