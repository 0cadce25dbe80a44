"""Names of stacks in files that are written elsewhere than they were read: what each means, and how to call it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drgnalign.errors import InputError, InputWarning
from drgnalign.files import Identity, identity
from drgnalign.formats.mrc import find_stack, read_header
from drgnalign.particles import NO_STACK, Particles


def named_for(parts: Sequence[Particles], output: Path, images: Path | None, like: Path | None) -> list[Particles]:
    """Particle sets that are to become one file, with each stack under one name by which that file finds it.

    A name is kept where it means the same file from the output's folder; else it becomes the path from there, or an
    absolute one where the stack lies outside of it. Names are looked up in `images`, or in the set's own folder, then
    in that of `like`, then in the current one, from which RELION reads them.

    Parameters
    ----------
    parts : sequence of Particles
    output : Path
        The file that they are to become.
    images : Path, optional
        Folder that all names refer to.
    like : Path, optional
        A file that has the images of all: names that are found nowhere are the same there.

    Raises
    ------
    InputError
        Stacks that are not found have one name in several folders, or the name of another file.

    Warns
    -----
    InputWarning
        Stacks were found from the current folder, or none of the sets names its stack.
    """
    if len(parts) > 1 and all(NO_STACK in part.image_locations()[1] for part in parts):
        _warn(parts[0].path, "and the files after it name no stack: their image numbers are taken as those of one")
    written: dict[Identity, str] = {}
    meaning: dict[str, tuple[Identity, Path]] = {}
    return [_renamed(part, output.parent, images, like, written, meaning) for part in parts]


def named_beside(particles: Particles, output: Path, images: Path | None) -> Particles:
    """Particles that are to be written, with names by which their stacks are found from there (`named_for`).

    Where the user gives the folder of the names they stay as they are, as it will be given with that file too.

    Raises
    ------
    InputError
        From the file's folder they would mean others.
    """
    if images is None:
        return named_for([particles], output, None, None)[0]
    _lost_names(particles, images if images.is_dir() else images.parent, output)
    return particles


def with_names(particles: Particles, root: Path, call: Callable[[Path], str]) -> Particles:
    """Particles whose stacks are named otherwise.

    Parameters
    ----------
    particles : Particles
    root : Path
        Folder that their names are relative to.
    call : callable
        Gives the new name of a stack, by its path.
    """
    codes, names = pd.factorize(particles.image_locations()[1])
    calls = [str(name) if name == NO_STACK else call(find_stack(str(name), root)) for name in names]
    return _called(particles, codes, calls)


def _renamed(
    part: Particles,
    folder: Path,
    images: Path | None,
    like: Path | None,
    written: dict[Identity, str],
    meaning: dict[str, tuple[Identity, Path]],
) -> Particles:
    """A set under the names that are given out in `written`; `meaning` is what each of these means, and whose it is."""
    codes, names = pd.factorize(part.image_locations()[1])
    others: dict[int, str] = {}
    current: list[str] = []
    for code, name in enumerate(map(str, names)):
        if name == NO_STACK:
            continue
        file = _found(part.path, name, images, like)
        if file is None and images is None and Path(name).is_file():
            file = Path(name)
            current.append(name)
        known = _unfound(part.path, name, images, like) if file is None else identity(file)
        call = written.setdefault(known, name if file is None else _call(name, file, folder))
        owner = meaning.setdefault(call, (known, part.path))
        if owner[0] != known or (file is None and _is_elsewhere(name, part.path, folder)):
            whose = (
                f" {owner[1]} names a stack so, too" if owner[1] != part.path else " another file is called so there"
            )
            problem = f"the stack {name} is not found from its folder;{whose}, which may be another one"
            raise InputError(part.path, problem, "give the folder that all image names refer to with --images")
        if call != name:
            others[code] = call
    if current and part.path.parent.resolve() != Path.cwd():
        problem = f"{len(current):,} of its stacks, such as {current[0]}, are not found from its folder"
        _warn(part.path, f"{problem}, and taken from the current one")
    if not others:
        return part
    return _called(part, codes, [others.get(code, str(name)) for code, name in enumerate(names)])


def _called(particles: Particles, codes: NDArray[np.intp], calls: Sequence[str]) -> Particles:
    """Particles whose stacks, of which `codes` (N,) says which is whose, are called otherwise."""
    numbers = particles.table["rlnImageName"].str.partition("@")[0].tolist()
    new = [f"{number}@{calls[code]}" for number, code in zip(numbers, codes.tolist(), strict=True)]
    return replace(particles, table=particles.table.assign(rlnImageName=new))


def _found(path: Path, name: str, images: Path | None, like: Path | None) -> Path | None:
    roots = [images] if images is not None else [path.parent, *([] if like is None else [like.parent])]
    for root in roots:
        file = find_stack(name, root)
        if file.is_file():
            return file
    return None


def _unfound(path: Path, name: str, images: Path | None, like: Path | None) -> Identity:
    """Names that are found nowhere are alike in one folder."""
    normal = os.path.normpath(name)
    one_folder = images is not None or like is not None or Path(name).is_absolute()
    return ("not found", normal, None if one_folder else os.path.realpath(path.parent))


def _call(name: str, file: Path, folder: Path) -> str:
    """How a file in a folder calls a stack."""
    if identity(find_stack(name, folder)) == identity(file):
        return name
    absolute, root = (Path(os.path.normpath(path.absolute())) for path in (file, folder))
    return str(absolute.relative_to(root) if absolute.is_relative_to(root) else absolute)


def _is_elsewhere(name: str, path: Path, folder: Path) -> bool:
    """Would a stack that is not found be found from another folder?"""
    return find_stack(name, folder).is_file() and identity(path.parent) != identity(folder)


def names_told(particles: Particles, root: Path, output: Path, *, root_given: bool = False) -> list[str]:
    """Refuse to write image names that mean other files from the output's folder; what is to be said of the others.

    Parameters
    ----------
    particles : Particles
        As they are to be written.
    root : Path
        Folder that relative stack names refer to.
    output : Path
    root_given : bool
        The user gave `root`, and will give it with the output too.

    Returns
    -------
    list of str
        For `tell`, once the file is written: names mean nothing from there, or what was not found from `root` is found
        from there, and may be another file of that name.

    Raises
    ------
    InputError
    """
    lost, told = _lost_names(particles, root, output), []
    if lost and not root_given:
        problem = f"its image names, such as {lost[0]}, are relative to {root}, and mean nothing from here"
        told.append(f"{problem}: give --images {root} with it, start RELION there, or write it there")
    elsewhere = _names_of_elsewhere(particles, root, output)
    if elsewhere:
        whose = "are those of the run's input" if "drgnRow" in particles.table else f"mean nothing from {root}"
        problem = f"its image names, such as {elsewhere[0]}, {whose}; from here that is"
        there = find_stack(elsewhere[0], output.parent)
        doubt = _doubt_of_stack(particles, elsewhere[0], there)
        what = f"which is another stack: {doubt}" if doubt else "which may be another stack of that name: check it"
        told.append(f"{problem} {there.resolve()}, {what}, or give the folder that they refer to with --images")
    return told


def tell(output: Path, told: Sequence[str]) -> None:
    """Warn of what `names_told` found."""
    for what in told:
        warnings.warn(f"{output}: {what}", InputWarning, stacklevel=2)


def tell_names_of_run(particles: Particles, root: Path, output: Path) -> None:
    """Say if image names are those of a run's input, and found neither from their folder, the output's nor this one.

    Warns
    -----
    InputWarning
    """
    if "drgnRow" not in particles.table:
        return
    names, folders = _stacks(particles), (root, output.parent, Path.cwd())
    if names and not any(find_stack(name, folder).is_file() for name in names for folder in folders):
        problem = f"its image names, such as {names[0]}, are those of the run's input, and mean nothing from here"
        _warn(output, f"{problem}: whatever reads it next needs --images, the folder of that input")


def missing_stacks(particles: Particles, root: Path) -> list[Path]:
    """Where the stacks that are not there would be."""
    return [path for path in (find_stack(name, root) for name in _stacks(particles)) if not path.is_file()]


def tell_missing(particles: Particles, root: Path) -> None:
    """Say how many stacks are not there, so that nothing could be held against them.

    Warns
    -----
    InputWarning
    """
    missing = missing_stacks(particles, root)
    if not missing:
        return
    names = _stacks(particles)
    problem = f"{len(missing):,} of {len(names):,} stacks cannot be found, such as {missing[0]}"
    remedy = "give the folder that the image names refer to with --images"
    if all(find_stack(name, Path()).is_file() for name in names):
        remedy = "from the current folder they are found: if these are meant, give --images ."
    _warn(particles.path, f"{problem}: what is written was not held against its images; {remedy}")


def _names_of_elsewhere(particles: Particles, root: Path, output: Path) -> list[str]:
    """Names of stacks that are not found in `root`, but from the output's folder."""
    folder = output.parent
    if identity(folder) == identity(root):
        return []
    return [
        name
        for name in _stacks(particles)
        if not find_stack(name, root).is_file() and find_stack(name, folder).is_file()
    ]


def _doubt_of_stack(particles: Particles, name: str, path: Path) -> str:
    """What tells that a file is not the stack of that name which particles are of; empty if nothing does."""
    numbers, names = particles.image_locations()
    mine = names == name
    try:
        held, _, box = read_header(path).shape
    except InputError as error:
        return error.problem
    if numbers[mine].max() > held:
        return f"it holds {held:,} images, and number {numbers[mine].max():,} is asked for"
    if "rlnImageSize" in particles.optics:
        said = particles.optics["rlnImageSize"].to_numpy()[particles.optics_rows()[mine]]
        if (said != box).any():
            return f"its box is {box} px, that of the particles {said[said != box][0]:g}"
    return ""


def _lost_names(particles: Particles, root: Path, output: Path) -> list[str]:
    """Names of stacks in `root` that mean nothing from the output's folder; those that mean others are refused."""
    folder, lost = output.parent, []
    if identity(folder) == identity(root):
        return []
    for name in _stacks(particles):
        mine, there = find_stack(name, root), find_stack(name, folder)
        if not mine.is_file() or identity(mine) == identity(there):
            continue
        if there.is_file():
            problem = f"{name} would be {there}, another file than {mine}, which the particles are of"
            raise InputError(output, problem, "write the file into the folder that it comes from, or an empty one")
        lost.append(name)
    return lost


def _stacks(particles: Particles) -> list[str]:
    """Names of the stacks, each once."""
    return [str(name) for name in pd.unique(particles.image_locations()[1]) if name != NO_STACK]


def _warn(path: Path, problem: str) -> None:
    warnings.warn(f"{path}: {problem}", InputWarning, stacklevel=4)
