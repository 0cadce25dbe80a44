"""Atomic models, and the density that they make."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np

from drgnalign.arrays import FloatArray, FloatVolume, IntArray
from drgnalign.errors import InputError, InputNote
from drgnalign.known.read import KnownMap, mask_around, stem

# At its resolution a map has a tenth of its amplitude: B = 4 d² log 10, Å². A voxel must not be narrower than an atom.
FALL, LEAST_B_PER_VOXEL = 4 * math.log(10.0), 40.0
# Of an atom that has but one place.
NO_CONFORMATION = "\0"
# Å of solvent around a model.
AROUND = 40.0
# Å across: a helix of a few turns, and more than any particle.
LEAST_EXTENT, MOST_EXTENT = 20.0, 3000.0


@dataclass(frozen=True)
class KnownModel:
    """The atoms of a model without water and hydrogen.

    Attributes
    ----------
    name : str
        Of its file, without endings.
    path : Path
    model : gemmi.Model
        The first of the file.
    positions : (n, 3) float64
        (x, y, z), Å, as in the file.
    residues : (n,) int64
        Index into `residue_names`.
    residue_names : list of (str, str, str)
        Chain, number with its insertion code, and kind of each residue.
    """

    name: str
    path: Path
    model: gemmi.Model
    positions: FloatArray
    residues: IntArray
    residue_names: list[tuple[str, str, str]]

    @property
    def chains(self) -> list[str]:
        """Names of the chains, in the order of the file."""
        return list(dict.fromkeys(chain for chain, _, _ in self.residue_names))

    def chain_of_atoms(self) -> IntArray:
        """Index into `chains` (n,) of each atom."""
        order = {chain: number for number, chain in enumerate(self.chains)}
        of_residue = np.array([order[chain] for chain, _, _ in self.residue_names], np.int64)
        return np.asarray(of_residue[self.residues])

    @property
    def centre(self) -> FloatArray:
        """(x, y, z), Å: the middle of its extent."""
        return np.asarray(0.5 * (self.positions.min(axis=0) + self.positions.max(axis=0)))


def read_known_model(path: Path) -> KnownModel:
    """Read an atomic model: mmCIF or PDB, also packed by gzip.

    Raises
    ------
    InputError
        It cannot be read, has no atoms but of water and hydrogen, or copies of a chain under one name.
    """
    try:
        structure = gemmi.read_structure(str(path))
        structure[0]  # an empty file has none
    except (RuntimeError, ValueError, OSError, EOFError, IndexError) as error:
        raise InputError(path, f"cannot be read as an atomic model ({error})", "give mmCIF or PDB") from error
    structure.remove_hydrogens()
    structure.remove_waters()
    structure.remove_empty_chains()
    for number in reversed(range(len(structure))):
        if not structure[number].count_atom_sites():
            del structure[number]
    if not len(structure):
        problem = "holds no atoms, but perhaps of water and hydrogen"
        raise InputError(path, problem, "give a model of the particle")
    _refuse_copies(path, structure[0])
    _one_conformation(structure[0])
    if len(structure) > 1:
        what = f"holds {len(structure)} models, of which the first is used"
        warnings.warn(f"{path}: {what}: of an assembly put all into one", InputNote, stacklevel=2)
    return _of_model(path, structure[0].clone())


def _refuse_copies(path: Path, model: gemmi.Model) -> None:
    """Of chains under one name all copies but the first would be taken for other conformations, and be lost."""
    for chain in model:
        for residue in chain:
            atoms = [(atom.name, atom.altloc) for atom in residue]
            if len(set(atoms)) < len(atoms):
                problem = f"has residue {residue.seqid} of chain {chain.name} more than once: copies under one name"
                raise InputError(path, problem, "give each copy of a chain a name of its own")


def _one_conformation(model: gemmi.Model) -> None:
    """Leave the first of alternative conformations, and of residues in one place. What only has the number of another,
    as where numbering begins anew, stays: gemmi's own function takes it for another conformation."""
    for chain in model:
        places: set[str] = set()
        for residue in chain:
            named = {atom.altloc for atom in residue} - {NO_CONFORMATION}
            taken = str(residue.seqid) in places and bool(named)
            kept = {NO_CONFORMATION} | (set() if taken or not named else {min(named)})
            places |= {str(residue.seqid)} if named else set()
            for atom in reversed(range(len(residue))):
                if residue[atom].altloc not in kept:
                    del residue[atom]
        for number in reversed(range(len(chain))):
            if not len(chain[number]):
                del chain[number]


def _of_model(path: Path, model: gemmi.Model) -> KnownModel:
    positions, residues, names = [], [], []
    for chain in model:
        for residue in chain:
            names.append((chain.name, str(residue.seqid), residue.name))
            for atom in residue:
                positions.append(atom.pos.tolist())
                residues.append(len(names) - 1)
    found = np.array(positions, np.float64)
    if not np.isfinite(found).all():
        raise InputError(path, "has atoms whose coordinates are no numbers", "make the model again")
    _refuse_odd_extent(path, found, [names[residue][0] for residue in residues])
    return KnownModel(stem(path), path, model, found, np.array(residues, np.int64), names)


def _refuse_odd_extent(path: Path, positions: FloatArray, chains: Sequence[str]) -> None:
    """A handful of atoms has no orientation, and the box of a model with an atom astray would not fit into memory."""
    extent = float(np.ptp(positions, axis=0).max())
    if extent < LEAST_EXTENT:
        problem = f"is {extent:.1f} Å across: too small to be sought in a map"
        raise InputError(path, problem, "give a model of the particle, or of most of it")
    if extent > MOST_EXTENT:
        away = np.linalg.norm(positions - np.median(positions, axis=0), axis=1)
        problem = (
            f"is {extent:.0f} Å across: an atom of chain {chains[int(away.argmax())]} lies {away.max():.0f} Å away"
        )
        raise InputError(path, problem, "take out what lies astray")


def blur(resolution: float, pixel_size: float) -> float:
    """B-factor (Å²) of all atoms in a density of a resolution (Å), wide enough for its voxels (Å).

    Those of the model are of another map, and are not used.
    """
    return max(FALL * resolution**2, LEAST_B_PER_VOXEL * pixel_size**2)


def density_of(
    chains: Sequence[gemmi.Chain], origin: FloatArray, box: int, pixel_size: float, b_factor: float
) -> FloatVolume:
    """Density of some chains by electron scattering (gemmi).

    Parameters
    ----------
    chains : sequence of gemmi.Chain
    origin : (3,) float64
        (x, y, z) of the model, Å, that is to be the box's centre; what lies outside wraps around.
    box : int
    pixel_size, b_factor : float
        Å, and Å² of all atoms.

    Returns
    -------
    (box, box, box) float32
    """
    model = gemmi.Model(1)
    for chain in chains:
        model.add_chain(chain)
    move = gemmi.Transform(gemmi.Mat33(), gemmi.Vec3(*(box // 2 * pixel_size - origin)))
    model.transform_pos_and_adp(move)
    for place in model.all():
        place.atom.b_iso, place.atom.occ = b_factor, 1.0
        place.atom.aniso = gemmi.SMat33f(0, 0, 0, 0, 0, 0)
    calculator = gemmi.DensityCalculatorE()
    side = box * pixel_size
    calculator.grid.set_unit_cell(gemmi.UnitCell(side, side, side, 90, 90, 90))
    calculator.grid.spacegroup = gemmi.SpaceGroup("P 1")
    calculator.grid.set_size(box, box, box)
    calculator.add_model_density_to_grid(model)
    return np.ascontiguousarray(calculator.grid.array.transpose(2, 1, 0), dtype=np.float32)


def map_of(model: KnownModel, pixel_size: float, resolution: float) -> KnownMap:
    """A model as a map, centred on `KnownModel.centre`.

    Parameters
    ----------
    model : KnownModel
    pixel_size, resolution : float
        Å.

    Returns
    -------
    KnownMap
    """
    extent = float(np.ptp(model.positions, axis=0).max()) + 2 * AROUND
    box = 2 * math.ceil(0.5 * extent / pixel_size)
    volume = density_of(list(model.model), model.centre, box, pixel_size, blur(resolution, pixel_size))
    return KnownMap(model.name, model.path, volume, pixel_size, mask_around(model.path, volume, pixel_size))
