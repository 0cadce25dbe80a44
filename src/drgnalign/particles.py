"""The particle table: the one in-memory form of a particle set."""

from __future__ import annotations

import ctypes
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from drgnalign.arrays import FloatArray, IntArray
from drgnalign.compiled import Array, load_library
from drgnalign.errors import InputError
from drgnalign.geometry import euler_to_matrix, matrix_to_euler
from drgnalign.staging import is_of_the_run

# A particle is taken to fill this much of its box unless a diameter is given.
USUAL_FILL = 0.85
ANGLES = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
ORIGINS = ["rlnOriginXAngst", "rlnOriginYAngst"]
# RELION 3.0's, in px: only where the pixel size is not known.
PIXEL_ORIGINS = ["rlnOriginX", "rlnOriginY"]
# Share with which a particle counts in the map of its cluster.
OCCUPANCY = "drgnOccupancy"
# Columns with further labels for assignment to start from.
START = "drgnStart"
# Where on a motion's path a particle is, 0 … 1, and the standard deviation of that; NaN where it is left out.
PATH, PATH_ERROR = "drgnPath", "drgnPathError"
# 1 where a particle is none of the states: it stays in the file, and is in no map, training or statistic.
LEFT_OUT = "drgnLeftOut"
# 1 where the program that the file comes from had left a particle out: so it is left out of everything, and no image
# takes it back.
EXCLUDED = "drgnExcluded"
# 1 where a particle's pose was looked for among all orientations.
SEARCHED = "drgnSearched"
# Of an optics group whose images are normalised as they are read: the radius (px) outside of which their background is
# (0: they are taken as they are), and the standard deviation that their noise gets (1 where it is not said); and
# whether only those are normalised whose backgrounds are far from the others' (1).
BACKGROUND_RADIUS, BACKGROUND_SIGMA = "drgnBackgroundRadius", "drgnBackgroundSigma"
BACKGROUND_ODD = "drgnBackgroundOdd"
BACKGROUND = (BACKGROUND_RADIUS, BACKGROUND_SIGMA, BACKGROUND_ODD)
# In the optics table: what is known against the half sets (`drgnalign.half_maps`). And of each particle whose half set
# was dealt at import: the coarsest limit (Å) to which its pose was refined against its own half set's map; 0 for none.
HALVES, REFINED_FROM = "drgnHalves", "drgnRefinedFrom"
DEFOCUS = ["rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"]
MAGNIFICATION = ["rlnMagMat00", "rlnMagMat01", "rlnMagMat10", "rlnMagMat11"]
BEAM_TILT = ["rlnBeamTiltX", "rlnBeamTiltY"]
ODD_ZERNIKE, EVEN_ZERNIKE = "rlnOddZernike", "rlnEvenZernike"
PHASE_FLIPPED, PREMULTIPLIED = "rlnCtfDataArePhaseFlipped", "rlnCtfDataAreCtfPremultiplied"
# What no image can be compared with: one that is mirrored, or divided by its CTF.
MIRRORED, DIVIDED = "rlnIsFlip", "rlnCtfDataAreCtfCorrected"
# Of a particle's CTF (in files, as RELION allows, also of its optics group); and what stands for "none of it".
NEUTRAL_CTF = {"rlnCtfBfactor": 0.0, "rlnCtfScalefactor": 1.0}
# The same of an optics group; coefficients in the order of `drgnalign.ctf.zernike_phase`.
NEUTRAL_OPTICS: dict[str, float | str] = {
    **dict(zip(MAGNIFICATION, (1.0, 0.0, 0.0, 1.0), strict=True)),
    **dict.fromkeys(BEAM_TILT, 0.0),
    ODD_ZERNIKE: "[0,0,0,0,0,0]",
    EVEN_ZERNIKE: "[0,0,0,0,0,0,0,0,0]",
    **dict.fromkeys([PHASE_FLIPPED, PREMULTIPLIED, DIVIDED], 0),
}
CTF_VALUES = [*DEFOCUS, "rlnPhaseShift", *NEUTRAL_CTF]
# Of an optics group, lists [a,b…] in Å of so many numbers: what cryoSPARC keeps of the lens in a way whose signs nobody
# has documented. It is kept, so that it can be given back to cryoSPARC, and used by nothing.
CRYOSPARC_TERMS = {"drgnCryosparcTilt": 2, "drgnCryosparcTrefoil": 2, "drgnCryosparcTetra": 4, "drgnCryosparcShift": 2}
NUMERIC = [
    *ANGLES,
    *ORIGINS,
    *CTF_VALUES,
    MIRRORED,
    "rlnClassNumber",
    "rlnRandomSubset",
    LEFT_OUT,
    EXCLUDED,
    SEARCHED,
    REFINED_FROM,
]
# Beyond these no pose or CTF value means anything: shifts of a tenth of a millimetre, defoci of one.
ABSURD: dict[str, tuple[float, str]] = {
    **dict.fromkeys([*ANGLES, "rlnDefocusAngle", "rlnPhaseShift"], (1e6, "°")),
    **dict.fromkeys(ORIGINS, (1e6, " Å")),
    **dict.fromkeys(DEFOCUS[:2], (1e7, " Å")),
}
# Shares that are reckoned may be beyond 1 by their last digits.
ROUNDED = 1e-6
# So many particles are not all seen along one axis.
FEWEST_VIEWS = 20
# What has poses, by the names that its programs give it.
REFINEMENT = (
    "the particle file of a 3-D refinement: run_data.star of RELION's Refine3D, or of a cryoSPARC refinement the "
    "particles' .cs, with its passthrough file (--passthrough)"
)
# Stands for the name of the stack where a file does not name it.
NO_STACK = "?"
NUMERIC_OPTICS = [
    "rlnVoltage",
    "rlnSphericalAberration",
    "rlnAmplitudeContrast",
    "rlnImagePixelSize",
    "rlnImageSize",
    *(label for label, value in NEUTRAL_OPTICS.items() if not isinstance(value, str)),
]


# What a file may lack and belongs to an optics group, and the option that gives it.
OPTICS_OPTIONS = {
    "rlnVoltage": "--voltage (kV)",
    "rlnSphericalAberration": "--cs (mm)",
    "rlnAmplitudeContrast": "--amplitude_contrast (0…1)",
    "rlnImagePixelSize": "--pixel_size (Å/px)",
    "rlnImageSize": "--box (px)",
}
_INT = ctypes.c_int64
_LIBRARY = load_library(__file__, {"mark_bad_names": [ctypes.c_char_p, _INT, _INT, Array(np.bool_), Array(np.int64)]})


def fill_optics(
    path: Path, optics: pd.DataFrame, given: Mapping[str, float | None], used: NDArray[np.bool_] | None = None
) -> None:
    """Fill into an optics table what the user gives and the file does not hold.

    Parameters
    ----------
    path : Path
        The file.
    optics : DataFrame
        Changed in place.
    given : mapping of str to float or None
        By label of `OPTICS_OPTIONS`.
    used : (groups,) bool, optional
        Groups that particles are of; all without it. The others may say what they like.

    Raises
    ------
    InputError
        A value in the file differs from the one given by more than 0.1 %.
    """
    for label, value in given.items():
        if value is None:
            continue
        if label not in optics:
            optics[label] = float(value)
        optics[label] = optics[label].fillna(float(value))
        unlike = ~np.isclose(optics[label], value, rtol=1e-3, atol=0)
        odd = optics.loc[unlike if used is None else unlike & used, label]
        if len(odd):
            option = OPTICS_OPTIONS[label].split()[0]
            problem = f"{label} is {odd.iloc[0]:g} in the file, but {option} says {value:g}"
            raise InputError(path, problem, f"leave {option} out, or correct the file")


def optics_table(facts: pd.DataFrame, groups: ArrayLike) -> pd.DataFrame:
    """The optics table of groups that are numbered as they come.

    Parameters
    ----------
    facts : DataFrame
        What belongs into it, one row a particle.
    groups : (N,) array_like of int
        Group of each particle, from 0; its first one speaks for it.
    """
    optics = facts.iloc[np.unique(groups, return_index=True)[1]].reset_index(drop=True)
    numbers = np.arange(1, len(optics) + 1)
    optics.insert(0, "rlnOpticsGroup", numbers)
    optics.insert(1, "rlnOpticsGroupName", [f"opticsGroup{number}" for number in numbers])
    optics["rlnImageDimensionality"] = 2
    return optics


def image_names(numbers: ArrayLike, stack: str) -> list[str]:
    """Names of images in one stack.

    Parameters
    ----------
    numbers : (N,) array_like of int
        From 1.
    stack : str

    Returns
    -------
    list of str
        ``NNNNNN@stack``, all with the same number of digits.
    """
    # as rows of text of one width, which is ten times as fast as a loop over the images
    left = np.asarray(numbers, np.int64)
    digits = max(6, len(str(left.max(initial=0))))
    ending = f"@{stack}\0".encode()
    rows = np.empty((len(left), digits + len(ending)), np.uint8)
    rows[:, digits:] = np.frombuffer(ending, np.uint8)
    for place in range(digits - 1, -1, -1):
        left, digit = np.divmod(left, 10)
        rows[:, place] = digit + ord("0")
    return rows.tobytes().decode().split("\0")[:-1]


def _badly_named(names: list[str]) -> NDArray[np.bool_]:
    """Which names are not of the form number@stack, with a number from 1 of at most 18 digits."""
    text = "\n".join(names).encode(errors="replace")
    bad, lines = np.empty(len(names), np.bool_), np.empty(1, np.int64)
    _LIBRARY.mark_bad_names(text, len(text), len(names), bad, lines)
    if lines[0] != len(names):
        # a name with a line's end in it
        return np.array(["\n" in name for name in names])
    return bad


def _not_finite(labels: Sequence[str]) -> str:
    return f"{', '.join(labels)} {'is not a finite number' if len(labels) == 1 else 'are not finite numbers'}"


def no_views(table: pd.DataFrame) -> str | None:
    """What is wrong with orientations that are turns in the plane only, as of 2-D classes and of particles that were
    never aligned: tilts of exactly 0 throughout. None if they are not, of few rows, or not there."""
    if not set(ANGLES) <= set(table) or len(table) < FEWEST_VIEWS or table["rlnAngleTilt"].to_numpy(np.float64).any():
        return None
    if not table[ANGLES].to_numpy(np.float64).any():
        return f"all {len(table):,} orientations are 0: the particles were not aligned"
    return f"the tilt (rlnAngleTilt) of all {len(table):,} particles is 0: these are 2-D alignments, no 3-D poses"


# What particle files are called: one of another name is refused (`drgnalign.formats.particle_file`).
PARTICLE_FILES = (".star", ".par", ".parx", ".cs")
# Rows, or runs of them, that a message lists.
LISTED = 50


def row_list(rows: NDArray[np.bool_]) -> str:
    """``8,42,77-80``: which of some rows (N,) are meant, from 1; of more than `LISTED` such pieces only the first."""
    edges = np.flatnonzero(np.diff(rows, prepend=False, append=False)).reshape(-1, 2)
    pieces = [f"{first + 1}" if last == first + 1 else f"{first + 1}-{last}" for first, last in edges[:LISTED].tolist()]
    return ",".join(pieces) + (",…" if len(edges) > LISTED else "")


def dropping(path: Path, bad: NDArray[np.bool_]) -> str | None:
    """The command that leaves some rows (N,) of a file out, if there is one that leaves others in."""
    if bad.all() or path.suffix.lower() not in PARTICLE_FILES:
        return None
    rows, name, good, meant = row_list(bad), shlex.quote(str(path)), f"good{path.suffix}", []
    if rows.endswith("…"):
        rows, meant = "ROWS", [f"ROWS are {rows}"]
    if is_of_the_run(path):
        name, good, meant = "FILE", "GOOD", ["FILE is the one given with --input", *meant]
    return f"drgnalign select {name} --drop {rows} -o {good}" + (f", where {' and '.join(meant)}" if meant else "")


@dataclass
class Particles:
    """A particle set in RELION's terms.

    Parameters
    ----------
    table : DataFrame
        One row a particle, index 0…N−1. Columns have RELION's names without the underscore; the project's own
        begin with ``drgn``. Angles in degrees, origins and defoci in Å.
    optics : DataFrame
        RELION 3.1 optics table, one row a group.
    path : Path
        Where the set was read from; error messages name it.
    cs_rows : structured array, optional
        Rows (N,) of the cryoSPARC file that the set was read from: fields that the table has no column for.
    origin_names : list of str
        What origins are called in the file that the set was read from, whether or not it has them.
    row_names : dict of str to str, optional
        Of a file without an optics table, which says all of it once a particle: what it calls columns that have other
        names here.
    """

    table: pd.DataFrame
    optics: pd.DataFrame
    path: Path
    cs_rows: NDArray[np.void] | None = None
    origin_names: list[str] = field(default_factory=lambda: [*ORIGINS])
    row_names: dict[str, str] | None = None

    def __len__(self) -> int:
        return len(self.table)

    @property
    def box(self) -> int:
        """Side of the images in px."""
        return int(self._first_optics_value("rlnImageSize"))

    @property
    def pixel_size(self) -> float:
        """Å/px; import makes sure that it is the same for all optics groups."""
        return self._first_optics_value("rlnImagePixelSize")

    def _first_optics_value(self, label: str) -> float:
        if label not in self.optics:
            raise InputError(self.path, f"the optics table has no {label}", "add the column to the star file")
        return float(self.optics[label].iloc[0])

    def diameter(self, given: float | None) -> float:
        """Diameter of the particle in Å: as it was given, or as much of the box as is usual."""
        return given or USUAL_FILL * self.box * self.pixel_size

    def rotations(self) -> FloatArray:
        """Orientations (N, 3, 3): ``R`` with ``x_volume = R x_image``, ``R = Rz(rot) Ry(tilt) Rz(psi)``."""
        return euler_to_matrix(*self.table[ANGLES].to_numpy(np.float64).T)

    def displacements(self) -> FloatArray:
        """Displacements (N, 2) of the particles from the box centre, (x, y) in px: −origin / pixel size."""
        return -self.table[ORIGINS].to_numpy(np.float64) / self.pixel_size

    def half_sets(self) -> IntArray:
        """Half set (N,) of each particle, 1 or 2.

        Raises
        ------
        InputError
            The table does not say.
        """
        if "rlnRandomSubset" not in self.table:
            raise InputError(self.path, "has no half sets (rlnRandomSubset)", "give the particle file of a refinement")
        return self.table["rlnRandomSubset"].to_numpy(np.int64)

    def cluster_labels(self) -> IntArray:
        """Cluster (N,) of each particle, from 1; 0 = unassigned."""
        return self.table["rlnClassNumber"].to_numpy(np.int64)

    def occupancies(self) -> FloatArray:
        """Share (N,) with which each particle counts in the map of its cluster, 0…1; 1 where the table has none."""
        given = self.table.get(OCCUPANCY)
        return np.ones(len(self)) if given is None else given.to_numpy(np.float64)

    def left_out(self) -> NDArray[np.bool_]:
        """Which particles (N,) are in no map, training or statistic; none where the table does not say."""
        return self._flag(LEFT_OUT) | self.excluded()

    def excluded(self) -> NDArray[np.bool_]:
        """Which of these (N,) the program left out that the file comes from: nothing takes them back."""
        return self._flag(EXCLUDED)

    def searched(self) -> NDArray[np.bool_]:
        """Which particles' poses (N,) were looked for among all orientations; none where the table does not say."""
        return self._flag(SEARCHED)

    def _flag(self, label: str) -> NDArray[np.bool_]:
        given = self.table.get(label)
        return np.zeros(len(self), np.bool_) if given is None else given.to_numpy(np.float64) > 0

    def ctf_factors(self, label: str) -> FloatArray:
        """B-factor or scale of each particle's CTF (N,); neutral where the table does not say."""
        if label in self.table:
            return self.table[label].to_numpy(np.float64)
        return np.full(len(self), NEUTRAL_CTF[label])

    def phase_shifts(self) -> FloatArray:
        """Of a phase plate (N,), degrees; 0 where the table does not say."""
        if "rlnPhaseShift" not in self.table:
            return np.zeros(len(self))
        return self.table["rlnPhaseShift"].to_numpy(np.float64)

    def used_optics(self) -> pd.DataFrame:
        """The rows of the optics table whose groups particles are of."""
        return self.optics.iloc[np.unique(self.optics_rows())]

    def without_unused_groups(self) -> Particles:
        """A copy without the optics groups that no particle is of, whatever their values; itself if there are none."""
        used = self.used_optics()
        if len(used) == len(self.optics):
            return self
        return replace(self, optics=used.infer_objects().reset_index(drop=True))

    def with_unused_groups_alike(self) -> Particles:
        """A copy whose optics groups that no particle is of are as the first of the others; itself if there are none.

        They keep their rows, by which the noise of a whole set is told in files of a part of it.
        """
        used = np.unique(self.optics_rows())
        if len(used) == len(self.optics):
            return self
        rows = np.full(len(self.optics), used[0])
        rows[used] = used
        alike = self.optics.iloc[rows].infer_objects().reset_index(drop=True)
        return replace(self, optics=alike.assign(rlnOpticsGroup=self.optics["rlnOpticsGroup"].to_numpy()))

    def optics_rows(self) -> IntArray:
        """Row (N,) of each particle's group in the optics table."""
        groups = pd.Index(self.optics["rlnOpticsGroup"])
        return groups.get_indexer(self.table["rlnOpticsGroup"]).astype(np.int64)

    def image_locations(self) -> tuple[IntArray, NDArray[np.object_]]:
        """Number of each image in its stack (N,), from 1, and the stack's name (N,) as the table has it."""
        parts = self.table["rlnImageName"].str.partition("@")
        return parts[0].to_numpy(np.int64), parts[2].to_numpy(object)

    def select(self, rows: ArrayLike) -> Particles:
        """A copy with the given rows (numbers or a mask), renumbered from 0."""
        rows = np.asarray(rows)
        table = self.table.iloc[rows].reset_index(drop=True)
        cs_rows = None if self.cs_rows is None else self.cs_rows[rows]
        return replace(self, table=table, optics=self.optics.copy(), cs_rows=cs_rows)

    def with_poses(self, rotations: ArrayLike, displacements: ArrayLike) -> Particles:
        """A copy with other poses.

        Parameters
        ----------
        rotations : (N, 3, 3) array_like
            ``R`` with ``x_volume = R x_image``.
        displacements : (N, 2) array_like
            From the box centre, (x, y) in px.
        """
        origins = -np.asarray(displacements, np.float64) * self.pixel_size
        columns = dict(zip(ANGLES, matrix_to_euler(rotations), strict=True))
        columns |= dict(zip(ORIGINS, origins.T, strict=True))
        return replace(self, table=self.table.assign(**columns), optics=self.optics.copy())

    def with_poses_of(self, rows: IntArray, others: Particles) -> Particles:
        """A copy in which some particles have the poses of others, whose images may be of another size.

        Parameters
        ----------
        rows : (n,) int64
            All others keep theirs, to the last bit.
        others : Particles
            n of them.
        """
        table, poses = self.table.copy(), [*ANGLES, *ORIGINS]
        table[poses] = table[poses].astype(np.float64)
        table.loc[table.index[rows], poses] = others.table[poses].to_numpy(np.float64)
        return replace(self, table=table, optics=self.optics.copy())

    def validate(self) -> None:
        """Check what every reader guarantees, whatever the file holds besides.

        At least one row, image names of the form ``number@stack`` with numbers from 1, one row in the optics
        table for every group used, and no text in the columns that hold numbers. Whether all columns are
        there, and none is NaN, is for `drgnalign.inputs.import_particles` to check.

        Raises
        ------
        InputError
            A guarantee is broken; the first offending row is named, counted from 1.
        """
        for label in ("rlnImageName", "rlnOpticsGroup"):
            if label not in self.table:
                raise InputError(self.path, f"has no column {label}", "give a file with one row an image")
        if self.table.empty:
            raise InputError(self.path, "has no particles", "give a file with one row an image")
        self._refuse_names()
        if self.optics["rlnOpticsGroup"].duplicated().any():
            raise InputError(self.path, "an optics group is listed twice", "give every optics group one row")
        self.refuse_rows(self.optics_rows() < 0, "the optics group is not in the optics table")
        for frame, labels in ((self.table, NUMERIC), (self.used_optics().infer_objects(), NUMERIC_OPTICS)):
            for label in frame.columns.intersection(labels):
                if frame[label].dtype.kind not in "iuf":
                    text = pd.to_numeric(frame[label], errors="coerce").isna() & frame[label].notna()
                    self.refuse_rows(text.to_numpy(bool), f"{label} is not a number")

    def _refuse_names(self) -> None:
        names = self.table["rlnImageName"].astype(str)
        bad = _badly_named(names.tolist())
        if not bad.any():
            return
        number, at, stack = names.iloc[int(bad.argmax())].partition("@")
        if number and not number.strip("0") and stack:
            counted = f"the file counts from 0, and images count from 1 (row {bad.argmax() + 1}: {number}@{stack})"
            remedy = (
                "write it again from the program that the particles come from: of cryoSPARC's .cs `drgnalign convert "
                "particles.cs -o particles.star` makes it; a script of your own has to add 1"
            )
            raise InputError(self.path, counted, remedy)
        if not at and not names.str.contains("@").any():
            single = f"it names files with one image each ({number[:80]}), not images of stacks (number@stack)"
            command = f"relion_stack_create --i {shlex.quote(str(self.path))} --o stacked --one_by_one"
            stacked = f"put the images into a stack, in RELION's project folder: {command}; then give stacked.star"
            raise InputError(self.path, single, stacked)
        problem = "rlnImageName is not of the form number@stack, with a number from 1"
        if bad.all():
            named_so = "RELION's Extract calls images 000001@Extract/job012/particles.mrcs"
            again = f"write it again from the program that the particles come from: {named_so}"
            raise InputError(self.path, f"{problem} ({names.iloc[0][:80]!r}, and so in all rows)", again)
        self.refuse_rows(bad, problem)

    def require_poses(self) -> None:
        """Refuse a table that lacks columns of the poses, origins in Å or px among them.

        Raises
        ------
        InputError
            Names the columns as the file would.
        """
        origins = next((labels for labels in (ORIGINS, PIXEL_ORIGINS) if set(labels) & set(self.table)), None)
        missing = [label for label in (*ANGLES, *(origins or [])) if label not in self.table]
        missing += self.origin_names if origins is None else []
        if missing:
            remedy = f"give {REFINEMENT}"
            if set(ANGLES) <= set(self.table):
                added = self._added(dict.fromkeys(missing, "--add_column_value 0"))
                remedy = f"give {REFINEMENT}; or add 0 where particles are centred{added}"
            raise InputError(self.path, f"lacks the pose columns {', '.join(missing)}", remedy)

    def require_ctf(self) -> None:
        """Refuse a table that lacks columns of the defocus.

        Raises
        ------
        InputError
            Names the columns.
        """
        missing = [label for label in DEFOCUS if label not in self.table]
        if missing:
            estimated = "RELION's CtfFind and Extract, or cryoSPARC's Patch CTF and Extract, write them"
            remedy = f"give a particle file with CTF values: {REFINEMENT}; {estimated}"
            if missing[0] != DEFOCUS[0]:
                sources = (f"--copy_column_from {DEFOCUS[0]}", "--add_column_value 0")
                values = dict(zip(DEFOCUS[1:], sources, strict=True))
                added = self._added({label: values[label] for label in missing})
                remedy = f"without astigmatism rlnDefocusV is rlnDefocusU, and rlnDefocusAngle 0: add them{added}"
            raise InputError(self.path, f"lacks the CTF columns {', '.join(missing)}", remedy)

    def _added(self, columns: Mapping[str, str]) -> str:
        """How RELION adds columns to a star file, one after the other; nothing of other files."""
        if self.path.suffix.lower() != ".star":
            return ""
        sources = [shlex.quote(str(self.path)), *["added.star"] * len(columns)]
        commands = [
            f"relion_star_handler --i {source} --o added.star --add_column {label} {value}"
            for source, (label, value) in zip(sources, columns.items(), strict=False)
        ]
        return f": {' && '.join(commands)}"

    def refuse_unusable(self) -> None:
        """Refuse what no image can be worked on with: what `refuse_not_finite` and `refuse_absurd` do, half sets other
        than 1 and 2, and images that were treated in a way that cannot be reckoned with. Columns that the table lacks
        are not asked for.

        Raises
        ------
        InputError
            The first offending row is named, counted from 1.
        """
        self.refuse_not_finite()
        if "rlnRandomSubset" in self.table:
            self._refuse_half_sets()
        shares = self.occupancies()
        self.refuse_rows(~((shares >= 0) & (shares <= 1 + ROUNDED)), f"{OCCUPANCY} is not within 0 to 1")
        self.refuse_rows(~(self.ctf_factors("rlnCtfScalefactor") > 0), "rlnCtfScalefactor is not above 0")
        self.refuse_absurd()
        self.refuse_treated()

    def _refuse_half_sets(self) -> None:
        halves = self.table["rlnRandomSubset"]
        bad = ~halves.isin([1, 2]).to_numpy()
        dealt = "--half_sets deal to have them dealt anew"
        if bad.all():
            problem = f"rlnRandomSubset is 1 or 2 for no particle, but {halves.iloc[0]:g}"
            raise InputError(self.path, problem, f"give the particle file of a refinement, or {dealt}")
        # who removes such rows has one half set left
        if bad.any() and halves.isin([0, 1]).all():
            problem = "rlnRandomSubset is 0 or 1 throughout: half sets count from 1"
            raise InputError(self.path, problem, f"add 1 to it if these are the two half sets, or give {dealt}")
        self.refuse_rows(bad, "rlnRandomSubset is not 1 or 2")

    def refuse_not_finite(self) -> None:
        """Refuse poses, CTF values and shares that are not finite numbers.

        Raises
        ------
        InputError
            One message, which names the first offending row, counted from 1, with its columns.
        """
        labels = self.table.columns.intersection([*ANGLES, *ORIGINS, *PIXEL_ORIGINS, *CTF_VALUES, OCCUPANCY])
        bad = ~np.isfinite(self.table[labels].to_numpy(np.float64))
        rows = bad.any(axis=1)
        if rows.any():
            self.refuse_rows(rows, _not_finite(self.names_in_file(labels[bad[rows.argmax()]])))
        used = self.used_optics()
        numbers = used.columns.intersection(NUMERIC_OPTICS)
        bad = ~np.isfinite(used[numbers].to_numpy(np.float64))
        # lists of numbers, as text
        lists = used.columns.intersection([ODD_ZERNIKE, EVEN_ZERNIKE, *CRYOSPARC_TERMS])
        texts = [used[label].astype(str).str.contains("nan|inf", case=False).to_numpy(bool) for label in lists]
        self.refuse_optics([*numbers, *lists], np.column_stack([bad, *texts]))

    def refuse_optics(self, labels: Sequence[str], bad: NDArray[np.bool_]) -> None:
        """Refuse what is not finite in the optics table; in the rows of a file that has none.

        Parameters
        ----------
        labels : sequence of str
        bad : (groups, labels) bool
            Of `used_optics`.

        Raises
        ------
        InputError
        """
        odd = [label for label, column in zip(labels, bad.T, strict=True) if column.any()]
        if not odd:
            return
        options = [OPTICS_OPTIONS[label] for label in odd if label in OPTICS_OPTIONS]
        given = f", or give {', '.join(options)} where it says NaN" if options else ""
        if self.row_names is None:
            problem = f"{_not_finite(odd)} in its optics table"
            raise InputError(self.path, problem, f"correct the optics table{given}")
        rows = self.rows_of(np.asarray(bad.any(axis=1)))
        first = bad[self._used_rows()[rows.argmax()]]
        names = self.names_in_file([label for label, is_bad in zip(labels, first, strict=True) if is_bad])
        self.refuse_rows(rows, _not_finite(names), f"{self._correction(rows)}{given}")

    def names_in_file(self, labels: Sequence[str]) -> list[str]:
        """What the file calls some columns, each once."""
        names = self.row_names or {}
        return list(dict.fromkeys(names.get(label, label) for label in labels))

    def rows_of(self, groups: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which particles (N,) are of some of the optics groups of `used_optics`."""
        return groups[self._used_rows()]

    def _used_rows(self) -> IntArray:
        """Row (N,) of each particle's group in `used_optics`."""
        return np.unique(self.optics_rows(), return_inverse=True)[1].reshape(-1).astype(np.int64)

    def refuse_absurd(self) -> None:
        """Refuse poses and defoci so large that they mean nothing, and that no sum with them is a number.

        Raises
        ------
        InputError
            The first offending row is named, counted from 1.
        """
        for label, (most, unit) in ABSURD.items():
            if label in self.table:
                values = self.table[label].to_numpy(np.float64)
                beyond = (np.abs(values) > most) & np.isfinite(values)
                if beyond.any():
                    self.refuse_rows(beyond, f"{label} is {values[beyond.argmax()]:g}{unit}, beyond {most:g}{unit}")

    def refuse_treated(self) -> None:
        """Refuse images that have to be mirrored, were divided by their CTF, or are said to be two things at once.

        Raises
        ------
        InputError
        """
        mirrored = self._flag(MIRRORED)
        if mirrored.any():
            problem = f"row {mirrored.argmax() + 1}: {MIRRORED} says that the image is to be mirrored"
            remedy = "mirror the images and remove the column, or set it to 0 where poses are of the images as stored"
            raise InputError(self.path, f"{problem} ({mirrored.sum()} such rows)", remedy)
        if self._in_some_group(DIVIDED).any():
            problem = f"{DIVIDED} is 1: images were divided by their CTF, and their noise with them"
            raise InputError(self.path, problem, "give the images as they were before that")
        if (self._in_some_group(PHASE_FLIPPED) & self._in_some_group(PREMULTIPLIED)).any():
            problem = f"{PHASE_FLIPPED} and {PREMULTIPLIED} are both 1 for an optics group"
            raise InputError(self.path, problem, "keep the one that was done to the images")

    def _in_some_group(self, label: str) -> NDArray[np.bool_]:
        """Of which optics groups, among those used, a flag is set."""
        used = self.used_optics()
        return used[label].to_numpy(np.float64) != 0 if label in used else np.zeros(len(used), np.bool_)

    def refuse_rows(self, bad: NDArray[np.bool_], problem: str, remedy: str | None = None) -> None:
        """Raise an InputError that names the first bad row, counted from 1, if there is one.

        Without a remedy of its own it says to correct the rows, or how to leave them out.
        """
        if bad.any():
            problem = f"row {bad.argmax() + 1}: {problem} ({bad.sum()} such rows)"
            raise InputError(self.path, problem, self._correction(bad) if remedy is None else remedy)

    def _correction(self, bad: NDArray[np.bool_]) -> str:
        """What to do about bad rows (N,)."""
        if bad.all():
            return "correct it in the file: all its rows are so"
        command = self.dropping(bad)
        return "correct or remove the rows" + (f": {command}" if command else "")

    def dropping(self, bad: NDArray[np.bool_]) -> str | None:
        """The command that leaves some rows (N,) out, if there is one that leaves others in."""
        return dropping(self.path, bad)
