"""MRC image stacks and volumes (MRC2014, and the older headers that programs still write).

Cheng et al. (2015), J. Struct. Biol. 192, 146. Stacks are read image by image.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

import numpy as np
import pandas as pd
from mrcfile.dtypes import HEADER_DTYPE
from numpy.typing import ArrayLike, NDArray

from drgnalign.arrays import ImageArray
from drgnalign.errors import DrgnalignError, InputError, InputWarning
from drgnalign.files import also_reading, atomic_path
from drgnalign.formats.packed import refuse_packed
from drgnalign.normalise import normalise
from drgnalign.particles import BACKGROUND_ODD, BACKGROUND_RADIUS, BACKGROUND_SIGMA, Particles

DTYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
OTHER_MODES = {3: "complex integers", 4: "complex numbers", 16: "colours", 17: "colours", 101: "4 bits a pixel"}
OTHER_FILES = {b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF", b"\x89HDF": "HDF5", b"SIMPLE": "FITS"}
# IMOD's stamp and flags, in bytes 40 and 44 of the second part of the header that is free for all. Since it writes
# them, bytes have no sign unless a flag says so.
IMOD_STAMP, IMOD_SIGNED, IMOD_PACKED = 1146047817, 1, 16
# Columns, rows and sections run along x, y and z.
USUAL_AXES = (1, 2, 3)
# No image is this wide, and every plausible width read in the wrong byte order is wider.
WIDTH_LIMIT = 65536
# Read at a time where all images are looked through.
SCAN_PIXELS = 2**24
# No camera counts so far, and sums of squares are still numbers in single precision.
LARGEST_PIXEL = 1e15
OPEN_STACKS = 64
# Sizes along axes that are meant to be the same are rounded.
SAME_VOXEL = 0.01
# Many programs write 1 Å where they know none; and no one has taken images of molecules with others than these.
UNSET_PIXEL_SIZE = 1.0
PIXEL_SIZES = (0.1, 50.0)
# A stack's name with its type behind it, as RELION and XMIPP take it.
TYPED_NAME = re.compile(r"(.+):(?:mrcs?|st|map)", re.IGNORECASE)
# MRC2014 adds 400 to the space group of the volumes in a stack.
STACK_OF_VOLUMES = 400
VOLUME_STACK = STACK_OF_VOLUMES + 1


@dataclass(frozen=True)
class StackHeader:
    """What is needed to read a stack or volume.

    Parameters
    ----------
    path : Path
    shape : tuple of int
        (sections, rows, columns).
    dtype : numpy dtype
        Of the stored values, with their byte order.
    offset : int
        Bytes before the first value.
    voxel : tuple of float or None
        Å along x, y and z; None where the header does not say.
    volumes : int
        Volumes of equal size that the sections make up, in a volume stack (space group 401); else 1.
    axes : tuple of int
        Axes along which columns, rows and sections run: 1 is x, 2 is y, 3 is z.
    doubts : dict of str to str
        What in the header contradicts the file or its own statistics: a word, and a sentence.
    space_group : int
        Of a volume: 1 where it is of one particle, above that of a crystal's cell.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype
    offset: int
    voxel: tuple[float | None, ...]
    volumes: int = 1
    axes: tuple[int, ...] = USUAL_AXES
    doubts: dict[str, str] = field(default_factory=dict)
    space_group: int = 1

    def map(self) -> np.memmap:
        """The stored values, (sections, rows, columns), read-only."""
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape)

    @property
    def pixel_size(self) -> float | None:
        """Å/px along x; None where the header does not say."""
        return self.voxel[0]

    def is_anisotropic(self, axes: int) -> bool:
        """Do the first of the axes x, y, z have voxels of other sizes, as far as the header says?"""
        told = [size for size in self.voxel[:axes] if size is not None]
        return len(told) > 1 and max(told) > (1 + SAME_VOXEL) * min(told)

    @property
    def trusted_pixel_size(self) -> float | None:
        """Å/px, if images of molecules may have it, and it is not what programs write that know none."""
        size = self.pixel_size
        is_one = size is not None and size != UNSET_PIXEL_SIZE and PIXEL_SIZES[0] <= size <= PIXEL_SIZES[1]
        return size if is_one else None

    @property
    def is_transposed(self) -> bool:
        """Do the columns of its images run along y?

        Raises
        ------
        InputError
            Its sections do not run along z, so that they are no images.
        """
        if self.axes[2] != USUAL_AXES[2]:
            problem = f"its sections run along {'xyz'[self.axes[2] - 1]}: they are no images"
            raise InputError(self.path, problem, "write the stack again with the axes in the order x, y, z")
        return self.axes != USUAL_AXES


def read_header(path: str | Path) -> StackHeader:
    """Read and check a header; the machine stamp, which some programs leave empty, is not needed.

    Parameters
    ----------
    path : path

    Returns
    -------
    StackHeader

    Raises
    ------
    InputError
        No such file, not an MRC file of a mode that can be read (0, 1, 2, 6, 12), or fewer bytes than the
        header announces.

    Notes
    -----
    Bytes (mode 0) have a sign, as the standard says, unless IMOD's stamp says otherwise. Doubts are for the caller to
    tell (`tell_doubts`), who may read thousands of headers.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, "no such file", "check the path")
    with path.open("rb") as file:
        block = file.read(HEADER_DTYPE.itemsize)
    refuse_packed(path, block)
    for order in "<>":
        if len(block) == HEADER_DTYPE.itemsize:
            header = np.frombuffer(block, HEADER_DTYPE.newbyteorder(order))[0]
            if 0 < header["nx"] < WIDTH_LIMIT and 0 < header["ny"] < WIDTH_LIMIT and header["mode"] in DTYPES:
                return _checked(path, header, np.dtype(order + DTYPES[int(header["mode"])]))
    raise InputError(path, "is not an MRC file of mode 0, 1, 2, 6 or 12" + _other(block), "convert it to MRC, mode 2")


def _other(block: bytes) -> str:
    """What a file that is not read is, as far as its first bytes tell."""
    for magic, name in OTHER_FILES.items():
        if block.startswith(magic):
            return f", but of {name}"
    for order in "<>":
        if len(block) == HEADER_DTYPE.itemsize:
            header = np.frombuffer(block, HEADER_DTYPE.newbyteorder(order))[0]
            mode = int(header["mode"])
            if 0 < header["nx"] < WIDTH_LIMIT and 0 < header["ny"] < WIDTH_LIMIT and mode in OTHER_MODES:
                return f", but of mode {mode} ({OTHER_MODES[mode]})"
    return ""


def _checked(path: Path, header: np.void, dtype: np.dtype) -> StackHeader:
    columns, rows, sections = (int(header[name]) for name in ("nx", "ny", "nz"))
    dtype = _with_sign(path, header, dtype)
    offset, doubts = _data_offset(path, header, columns * rows * dtype.itemsize)
    doubts |= _range_doubts(header, dtype)
    cell = [(float(header["cella"][axis]), int(header[f"m{axis}"])) for axis in "xyz"]
    # of what calls itself a stack of images, the third says nothing
    flat = cell[2][1] == 1 and sections > 1
    voxel = tuple(
        width / intervals if 0 < width < np.inf and intervals > 0 else None
        for width, intervals in cell[: 2 if flat else 3]
    )
    depth = int(header["mz"])
    is_volume_stack = int(header["ispg"]) >= VOLUME_STACK and depth > 0 and sections % depth == 0
    volumes = sections // depth if is_volume_stack else 1
    axes = tuple(int(header[name]) for name in ("mapc", "mapr", "maps"))
    if sorted(axes) != sorted(USUAL_AXES):
        # older headers leave them empty
        doubts |= {"axes": f"its axes (MAPC, MAPR, MAPS) are {axes}: x, y, z are assumed"} if any(axes) else {}
        axes = USUAL_AXES
    group = int(header["ispg"]) % STACK_OF_VOLUMES
    made = StackHeader(path, (sections, rows, columns), dtype, offset, voxel, volumes, axes, doubts, group)
    if made.is_anisotropic(2):
        doubts["voxels"] = f"its header has pixels of {voxel[0]:.6g} × {voxel[1]:.6g} Å: pixels have to be square"
    return made


def _with_sign(path: Path, header: np.void, dtype: np.dtype) -> np.dtype:
    """The type of the values, of bytes as IMOD's stamp says."""
    stamp, flags = np.frombuffer(header["extra2"].tobytes()[40:48], header.dtype["mode"]).tolist()
    if header["mode"] != 0 or stamp != IMOD_STAMP:
        return dtype
    if flags & IMOD_PACKED:
        raise InputError(path, "holds 4 bits a pixel, as IMOD's stamp says", "convert it to mode 2: newstack -mode 2")
    return dtype if flags & IMOD_SIGNED else np.dtype("u1")


def _data_offset(path: Path, header: np.void, size: int) -> tuple[int, dict[str, str]]:
    """Where the first value is, and what is odd about the length of the file; `size` is that of an image in bytes."""
    sections, extended = int(header["nz"]), int(header["nsymbt"])
    offset, length = HEADER_DTYPE.itemsize + extended, path.stat().st_size
    complete = (length - offset) // size
    if extended < 0:
        raise InputError(path, f"its extended header has a length of {extended} bytes (NSYMBT)", "write it again")
    if sections >= 1 and extended and length == HEADER_DTYPE.itemsize + sections * size:
        problem = f"the extended header of {extended} bytes that its header announces (NSYMBT) is not there"
        raise InputError(path, problem, "write it again, or correct NSYMBT to 0")
    if sections < 1 or complete < sections:
        problem = f"is truncated: {max(complete, 0)} complete images of the {sections} in its header"
        raise InputError(path, problem, "copy or write the file again")
    beyond = length - offset - sections * size
    if beyond == 0:
        return offset, {}
    reason = f"an extended header that NSYMBT ({extended}) does not count shifts all values"
    if beyond % size == 0:
        reason = f"it may hold {beyond // size} images more, or {reason}"
    return offset, {"length": f"it is {beyond:,} bytes longer than its header says: {reason}"}


def _range_doubts(header: np.void, dtype: np.dtype) -> dict[str, str]:
    """What is odd about the statistics of integers: those without sign reach beyond the greatest number with sign."""
    least, most = float(header["dmin"]), float(header["dmax"])
    if dtype.kind == "u" and least < 0 and least <= most <= np.iinfo(dtype).max // 2:
        fits = (
            f"its values have no sign, as mode {header['mode']} says, but by its header they are {least:g} … {most:g}"
        )
        remedy = "if they have one, the darkest are brightest: convert it to mode 2 with the program that wrote it"
        return {"sign": f"{fits}: {remedy}"}
    if dtype.kind != "i" or not 0 <= least <= most or not np.iinfo(dtype).max < most <= 2 * np.iinfo(dtype).max + 1:
        return {}
    fits = f"its values have a sign, as mode {header['mode']} says, but by its header they are {least:g} … {most:g}"
    remedy = "if they have none, dark and bright are mixed up: convert it to mode 2 with the program that wrote it"
    return {"sign": f"{fits}: {remedy}"}


def tell_doubts(headers: Sequence[StackHeader]) -> None:
    """Warn of what headers contradict, once for each kind of contradiction.

    Parameters
    ----------
    headers : sequence of StackHeader

    Warns
    -----
    InputWarning
        Names the first file of each kind, and how many there are.
    """
    for kind in dict.fromkeys(kind for header in headers for kind in header.doubts):
        mine = [header for header in headers if kind in header.doubts]
        others = f" ({len(mine)} of {len(headers)} stacks)" if len(headers) > 1 else ""
        warnings.warn(f"{mine[0].path}: {mine[0].doubts[kind]}{others}", InputWarning, stacklevel=3)


def find_stack(name: str, root: Path) -> Path:
    """Where a stack is: as named if that is absolute, else in `root`, else in `root` without its folders.

    What programs write behind a colon to say the file's type (``particles.mrc:mrcs``) is left out, if there is no such
    file. What is found is input of the running command, over which it does not write (`drgnalign.files.reading`).

    Parameters
    ----------
    name : str
    root : Path

    Returns
    -------
    Path
        The first that exists; if none does, the first looked for.
    """
    path = _as_named(name, root)
    beside = _as_named(Path(name).name, root)
    found = beside if not path.exists() and beside.exists() and not Path(name).is_absolute() else path
    if found.exists():
        also_reading(found)
    return found


def without_folders(names: Iterable[str], root: Path) -> list[str]:
    """The names of stacks that `find_stack` finds without the folders in them only."""
    foreign = [name for name in names if not Path(name).is_absolute() and len(Path(name).parts) > 1]
    return [name for name in foreign if not _as_named(name, root).exists() and find_stack(name, root).exists()]


def _as_named(name: str, root: Path) -> Path:
    path = root / name
    typed = TYPED_NAME.fullmatch(name)
    return root / typed[1] if typed and not path.exists() else path


def within_reason(images: NDArray) -> NDArray[np.bool_]:
    """Which of some images (n, y, x) have pixels that are finite, and up to `LARGEST_PIXEL`, only."""
    # written so that NaN, which both extremes take over, is not; half precision does not hold the limit
    least, most = (extreme.astype(np.float64) for extreme in (images.min(axis=(1, 2)), images.max(axis=(1, 2))))
    return (most <= LARGEST_PIXEL) & (least >= -LARGEST_PIXEL)


class ImageSource:
    """Images of a particle set, read from their stacks as they are needed: the one place that reads them.

    Parameters
    ----------
    particles : Particles
        With ``rlnImageSize``. Groups whose ``drgnContrast`` is ``dark`` are multiplied by −1. Groups whose
        ``drgnBackgroundRadius`` (px) is above 0 are normalised (`drgnalign.normalise`), to noise of
        ``drgnBackgroundSigma``, or 1; where ``drgnBackgroundOdd`` is 1, only images that are far from that. Without
        these columns images come as they are stored.
    root : path
        Folder that relative stack names refer to.
    """

    def __init__(self, particles: Particles, root: str | Path) -> None:
        self.box, self.root, self._particles = particles.box, Path(root), particles
        numbers, names = particles.image_locations()
        self._slices = numbers - 1
        self._stack_of, stacks = pd.factorize(names)
        self._paths = [find_stack(name, self.root) for name in stacks]
        self._grey = _grey_values(particles)
        self._told_blank: set[int] = set()
        # Ten thousand stacks cannot all be open; each holds a file descriptor.
        self._stack = lru_cache(maxsize=OPEN_STACKS)(self._open)

    def __len__(self) -> int:
        return len(self._slices)

    @property
    def normalises(self) -> bool:
        """Are all images of an optics group normalised as they are read?"""
        return bool(((self._grey.radii > 0) & ~self._grey.only_odd).any())

    def read(self, rows: ArrayLike, out: ImageArray | None = None) -> ImageArray:
        """Read the images of some particles, white protein, normalised where the optics table says so.

        Parameters
        ----------
        rows : (n,) array_like of int
            Rows of the particle table, in any order.
        out : (m, box, box) float32, optional
            Memory for the images, m ≥ n: who reads batch after batch need not ask for it anew.

        Returns
        -------
        (n, box, box) float32
            In the order of `rows`.

        Raises
        ------
        InputError
            A stack is missing, truncated, too short, of another box, or holds NaN or infinite pixels, or some beyond
            `LARGEST_PIXEL`; an image that is to be normalised has a constant background.
        """
        rows = np.asarray(rows, dtype=np.int64)
        images = np.empty((len(rows), self.box, self.box), np.float32) if out is None else out[: len(rows)]
        self._read_as_stored(rows, images)
        usable = within_reason(images)
        if not usable.all():
            self._refuse_infinite(rows[~usable])
        for radius in np.unique(self._grey.radii[rows]):
            if radius > 0:
                self._normalise(images, rows, radius)
        signs = self._grey.signs[rows]
        if (signs != 1).any():
            images *= signs[:, None, None]
        return images

    def _read_as_stored(self, rows: NDArray[np.int64], images: ImageArray) -> None:
        """Fill `images` (n, box, box) with those of some rows (n,)."""
        order = np.lexsort((self._slices[rows], self._stack_of[rows]))
        stacks = self._stack_of[rows[order]]
        for mine in np.split(order, np.flatnonzero(np.diff(stacks)) + 1) if len(rows) else []:
            stack = int(self._stack_of[rows[mine[0]]])
            header = self._stack(stack)[0]
            is_all = len(mine) == len(rows) and (np.diff(mine) == 1).all()
            as_stored = is_all and header.dtype == "f4" and not header.is_transposed
            stored = images if as_stored else np.empty((len(mine), *images.shape[1:]), header.dtype)
            self._read_stored(stack, self._slices[rows[mine]], stored)
            if not as_stored:
                images[mine] = stored.swapaxes(1, 2) if header.is_transposed else stored

    def _refuse_infinite(self, known: NDArray[np.int64]) -> None:
        problem = f"holds NaN or infinite pixels, or some beyond {LARGEST_PIXEL:g}"
        self._refuse_all(known, lambda images, rows: ~within_reason(images), problem, "make the stack again")

    def _refuse_masked(self, known: NDArray[np.int64], radius: float) -> None:
        def masked(images: ImageArray, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
            # what is not finite has its own message
            usable = within_reason(images) & (self._grey.radii[rows] == radius)
            varied = images[usable].min(axis=(1, 2)) < images[usable].max(axis=(1, 2))
            usable[usable] = (normalise(images[usable], radius).sigma == 0) & varied if usable.any() else False
            return usable

        problem = (
            f"has a constant background outside of a circle of {radius:g} px, or constant corners, as masked images"
        )
        self._refuse_all(known, masked, f"{problem} have", "give images that were not masked")

    def _refuse_all(
        self,
        known: NDArray[np.int64],
        is_bad: Callable[[ImageArray, NDArray[np.int64]], NDArray[np.bool_]],
        problem: str,
        remedy: str,
    ) -> None:
        """Name all images of the set that are as bad as some that are known: one at a time would be as many runs."""
        bad = np.zeros(len(self), np.bool_)
        bad[known] = True
        step = max(1, SCAN_PIXELS // self.box**2)
        for start in range(0, len(self), step):
            rows = np.arange(start, min(start + step, len(self)))
            images = np.empty((len(rows), self.box, self.box), np.float32)
            # what cannot be read is another message, once these are gone
            with suppress(InputError):
                self._read_as_stored(rows, images)
                bad[rows] = is_bad(images, rows)
        command = self._particles.dropping(bad)
        remedy += f", or remove them: {command}" if command else ""
        self._refuse(int(bad.argmax()), f"{problem} ({bad.sum()} of {len(self)} images)", remedy)

    def _normalise(self, images: ImageArray, rows: NDArray[np.int64], radius: float) -> None:
        """Normalise those of some images whose groups have this radius, or only those far from the others."""
        mine = self._grey.radii[rows] == radius
        levels, only_odd = self._grey.sigmas[rows[mine]], self._grey.only_odd[rows[mine]]
        chosen = images[mine] if only_odd.any() or not mine.all() else images
        found = normalise(chosen, radius)
        masked = (found.sigma == 0) & chosen.any(axis=(1, 2))
        if masked.any():
            self._refuse_masked(rows[mine][masked], radius)
        if (levels != 1).any():
            chosen *= levels[:, None, None]
        if chosen is not images:
            changed = ~only_odd | found.far_from(levels)
            images[np.flatnonzero(mine)[changed]] = chosen[changed]

    def tell_blank(self, rows: Sequence[int]) -> None:
        """Say once that the images of some rows are blank."""
        found = sorted(set(rows) - self._told_blank)
        if not found:
            return
        self._told_blank.update(found)
        first = found[0]
        problem = f"image {self._slices[first] + 1} is blank, all its pixels alike ({len(found):,} such images)"
        remedy = "they show nothing, and count all the same: leave them out"
        message = f"{self._paths[self._stack_of[first]]}: {problem}: {remedy}"
        warnings.warn(message, InputWarning, stacklevel=3)

    def _refuse(self, row: int, problem: str, remedy: str) -> None:
        raise InputError(self._paths[self._stack_of[row]], f"image {self._slices[row] + 1} {problem}", remedy)

    def _read_stored(self, stack: int, slices: NDArray[np.int64], images: NDArray) -> None:
        """Fill `images` with those of a stack; those that follow each other there are read at one go."""
        header, file = self._stack(stack)
        if slices[-1] >= header.shape[0]:
            missing = slices[slices >= header.shape[0]][0] + 1
            problem = f"has no image {missing}: it holds {header.shape[0]}"
            raise InputError(header.path, problem, "give the stack that the particles come from")
        starts = np.flatnonzero(np.diff(slices, prepend=-2) != 1)
        memory, size, descriptor = images.reshape(-1).view(np.uint8).data, images[0].nbytes, file.fileno()
        for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(slices)], strict=True):
            place, rest = header.offset + int(slices[start]) * size, memory[start * size : end * size]
            while rest:
                read = os.preadv(descriptor, [rest], place)
                if not read:
                    raise InputError(header.path, "became shorter while it was read", "keep stacks as they are")
                place, rest = place + read, rest[read:]

    def _open(self, stack: int) -> tuple[StackHeader, FileIO]:
        header = read_header(self._paths[stack])
        if header.shape[1:] != (self.box, self.box):
            problem = f"images are {header.shape[2]} × {header.shape[1]} px, not {self.box} × {self.box}"
            raise InputError(header.path, problem, "give stacks of one box size")
        # plain reads: on network disks, and for pages that are read once, they are faster than a memory map
        return header, FileIO(header.path)


class _GreyValues(NamedTuple):
    """Of each image (N,): what it is multiplied with, the radius outside of which its background is (0 where it is not
    normalised), what its noise becomes, and whether it is left as it is unless it is far from the others."""

    signs: ImageArray
    radii: NDArray[np.float64]
    sigmas: ImageArray
    only_odd: NDArray[np.bool_]


def _grey_values(particles: Particles) -> _GreyValues:
    optics, rows = particles.optics, particles.optics_rows()
    signs = np.where(optics.get("drgnContrast", "") == "dark", -1.0, 1.0) * np.ones(len(optics))
    radii, sigmas, odd = (
        optics.get(name, pd.Series(default, optics.index)).fillna(default).to_numpy(np.float64)[rows]
        for name, default in ((BACKGROUND_RADIUS, 0.0), (BACKGROUND_SIGMA, 1.0), (BACKGROUND_ODD, 0.0))
    )
    return _GreyValues(signs.astype(np.float32)[rows], radii, sigmas.astype(np.float32), odd > 0)


class StackWriter:
    """Writes a float32 stack image by image; a context manager.

    The stack appears under its name when the block ends, with all its images, and not at all if it ends by an
    exception.

    Parameters
    ----------
    path : path
    count : int
        Number of images that will be written.
    box : int
        px.
    pixel_size : float
        Å/px.
    """

    def __init__(self, path: str | Path, count: int, box: int, pixel_size: float) -> None:
        self.path = Path(path)
        self.shape = (count, box, box)
        self.pixel_size = pixel_size
        self.written = 0
        self._cleanup = ExitStack()
        self._file: BinaryIO

    def __enter__(self) -> StackWriter:
        with ExitStack() as cleanup:
            temporary = cleanup.enter_context(atomic_path(self.path))
            self._file = cleanup.enter_context(temporary.open("wb"))
            self._file.write(_header(self.shape, self.pixel_size, sections_per_volume=1))
            self._cleanup = cleanup.pop_all()
        return self

    def append(self, images: ArrayLike) -> None:
        """Write the next images, (n, box, box).

        Raises
        ------
        DrgnalignError
            They are of another box, or more than announced.
        """
        block = np.ascontiguousarray(images, dtype="<f4")
        self.written += len(block)
        if block.shape[1:] != self.shape[1:] or self.written > self.shape[0]:
            raise self._miscount(f"images of shape {block.shape[1:]}, {self.written} in all, were written")
        self._file.write(block.data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None and self.written != self.shape[0]:
            with self._cleanup:
                raise self._miscount(f"{self.written} images were written")
        self._cleanup.__exit__(kind, error, traceback)

    def _miscount(self, done: str) -> DrgnalignError:
        problem = f"{done} to a stack of {self.shape}"
        return DrgnalignError(self.path, problem, "report this as a bug in drgnalign")


def read_volume(path: str | Path, number: int | None = None) -> tuple[ImageArray, float]:
    """Read a map.

    Parameters
    ----------
    path : path
    number : int, optional
        Which volume of a volume stack, from 1; to be given where there are several.

    Returns
    -------
    volume : (z, y, x) float32
        Whatever the order of the axes in the file is.
    pixel_size : float
        Å.

    Raises
    ------
    InputError
        As `read_header`, or no voxel size in the header, or several, or values that are NaN or infinite, or
        several volumes and no `number`.

    Warns
    -----
    InputWarning
        See `tell_doubts`.
    """
    header = read_header(path)
    tell_doubts([header])
    if number is None and header.volumes > 1:
        raise InputError(header.path, f"is a stack of {header.volumes} volumes", "give one volume")
    if number is not None and not 1 <= number <= header.volumes:
        raise InputError(header.path, f"has no volume {number}: it holds {header.volumes}", "give another number")
    if header.pixel_size is None:
        raise InputError(header.path, "its header has no voxel size", "write the voxel size into the header")
    depth = header.shape[0] // header.volumes
    refuse_unlike_voxels(header)
    first = depth * ((number or 1) - 1)
    along = [header.axes[::-1].index(axis) for axis in USUAL_AXES[::-1]]
    volume = np.array(header.map()[first : first + depth].transpose(along), dtype=np.float32, order="C")
    if not np.isfinite(volume).all():
        raise InputError(header.path, "holds NaN or infinite values", "make the map again")
    return volume, header.pixel_size


def refuse_unlike_voxels(header: StackHeader) -> None:
    """Refuse a volume whose voxels are no cubes."""
    if header.is_anisotropic(3):
        sizes = " × ".join(f"{size:.4g}" for size in header.voxel if size is not None)
        problem = f"its voxels are {sizes} Å: they are no cubes"
        raise InputError(header.path, problem, "sample the map anew, or correct the cell in its header")


def write_volume(path: str | Path, volume: ArrayLike, pixel_size: float) -> None:
    """Write a map (mode 2), under a temporary name first.

    Parameters
    ----------
    path : path
    volume : (z, y, x) array_like
    pixel_size : float
        Å.

    Raises
    ------
    InputError
        The folder does not exist or cannot be written.
    """
    values = np.ascontiguousarray(volume, dtype="<f4")
    statistics = (values.min(), values.max(), values.mean(dtype=np.float64), values.std(dtype=np.float64))
    header = _header(values.shape, pixel_size, sections_per_volume=values.shape[0], statistics=statistics)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(header)
        file.write(values.data)


def _header(
    shape: tuple[int, ...],
    pixel_size: float,
    *,
    sections_per_volume: int,
    statistics: Iterable[float] = (0.0, -1.0, -2.0, -1.0),
) -> bytes:
    """An MRC2014 header, without mrcfile's date in it; the default statistics mean "not known"."""
    header = np.zeros((), HEADER_DTYPE.newbyteorder("<"))
    header["nz"], header["ny"], header["nx"] = shape
    header["mode"] = 2
    header["mx"], header["my"], header["mz"] = shape[2], shape[1], sections_per_volume
    header["cella"] = tuple(n * pixel_size for n in (shape[2], shape[1], sections_per_volume))
    header["cellb"] = (90.0, 90.0, 90.0)
    header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    header["dmin"], header["dmax"], header["dmean"], header["rms"] = statistics
    header["ispg"] = 0 if sections_per_volume == 1 else 1
    header["nversion"] = 20141
    header["map"] = b"MAP "
    header["machst"] = (0x44, 0x44, 0, 0)
    header["nlabl"] = 1
    header["label"][0] = b"drgnalign"
    return header.tobytes()
