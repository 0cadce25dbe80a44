"""Chains of a model that a map has are present, and the others are not; models that do not fit are refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import gemmi
import numpy as np
import pandas as pd
import pytest
from command_line import run, succeed
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from drgnalign.errors import InputError, InputNote
from drgnalign.formats.mrc import read_volume, write_volume
from drgnalign.fourier import soft_sphere
from drgnalign.known.chains import ChainOccupancy, by_name, chain_occupancies, placed_model, scaled_to, segments
from drgnalign.known.clusters import ClusterMap
from drgnalign.known.comparison import CHAINS, FITTED, RECORD, RESIDUES
from drgnalign.known.fit import Fit
from drgnalign.known.model import KnownModel, blur, density_of, map_of, read_known_model
from drgnalign.known.model_in_map import coarser
from drgnalign.known.records import ComparisonRecord
from drgnalign.run.record import read_record

pytestmark = pytest.mark.slow

BOX, PIXEL = 48, 4.0
CHAINS_THERE = ["A", "B", "C", "D", "E"]
ORIGIN = np.array([120.0, -40.0, 15.0])
IDENTITY = Fit(np.eye(3), np.zeros(3), False, 1.0, 2 * PIXEL, 1.0, 0.0, 0.1, 0.0)


def chain_of(name: str, middle: np.ndarray, rng: np.random.Generator) -> gemmi.Chain:
    """A crumpled thread of 60 residues of one atom in a ball of 20 Å."""
    chain = gemmi.Chain(name)
    at = np.zeros(3)
    for number in range(60):
        step = rng.standard_normal(3)
        at = at * 0.9 + 3.8 * step / np.linalg.norm(step)
        residue = gemmi.Residue()
        residue.name, residue.seqid = "ALA", gemmi.SeqId(str(number + 1))
        atom = gemmi.Atom()
        atom.name, atom.element, atom.b_iso = "CA", gemmi.Element("C"), float(rng.uniform(5, 300))
        atom.pos = gemmi.Position(*(at + middle))
        residue.add_atom(atom)
        chain.add_residue(residue)
    return chain


def structure_of(names: list[str]) -> gemmi.Structure:
    """Five chains in corners of no symmetry, about ORIGIN."""
    rng = np.random.default_rng(0)
    corners = np.array([[-30, -20, -25], [35, -10, -20], [-5, 35, -15], [0, -5, 30], [-38, 15, 20]])
    model = gemmi.Model(1)
    for name, middle in zip(CHAINS_THERE, corners, strict=True):
        chain = chain_of(name, middle + ORIGIN, rng)
        if name in names:
            model.add_chain(chain)
    structure = gemmi.Structure()
    structure.add_model(model)
    structure.setup_entities()
    return structure


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> KnownModel:
    path = tmp_path_factory.mktemp("model") / "five.pdb"
    structure_of(CHAINS_THERE).write_pdb(str(path))
    return read_known_model(path)


def map_without(absent: str, model: KnownModel, weak: str = "", noise: float = 0.3) -> ClusterMap:
    """A map of the other chains, one of them at half its density."""
    volume = np.zeros((BOX,) * 3, np.float32)
    for chain in model.model:
        if chain.name not in absent:
            density = density_of([chain], model.centre, BOX, PIXEL, blur(2 * PIXEL, PIXEL))
            volume += density * (0.5 if chain.name in weak else 1.0)
    rng = np.random.default_rng(1)
    volume = volume + (noise * volume[volume > 0.1 * volume.max()].std() * rng.standard_normal(volume.shape))
    volume = (3 * volume).astype(np.float32)
    return ClusterMap("one", volume, volume, PIXEL, soft_sphere(BOX, 18, 4), (), 2 * PIXEL)


def occupancies(cluster: ClusterMap, model: KnownModel) -> list[ChainOccupancy]:
    return chain_occupancies(cluster, by_name(placed_model(model, IDENTITY)), cluster.mask, 2 * PIXEL)


@pytest.mark.parametrize("absent", ["A", "C", "BD"])
def test_absent_chains_are_absent_and_the_others_present(model: KnownModel, absent: str) -> None:
    cluster = map_without(absent, model)
    found = occupancies(cluster, model)
    assert {one.chain: one.present for one in found} == {name: name not in absent for name in CHAINS_THERE}
    for one in found:
        assert one.occupancy == pytest.approx(0 if one.chain in absent else 1, abs=0.15)
        assert abs(one.null_mean) < 3 * one.null_deviation


def test_a_stretch_that_lacks_is_told_from_the_rest_of_its_chain(model: KnownModel) -> None:
    """Of chain B the second half of the residues is not in the map."""
    placed = placed_model(model, IDENTITY)
    parts = segments(placed)
    assert [name for name in parts if name.startswith("B")] == ["B:1-30", "B:31-60"]
    there = [chain for name, chains in parts.items() if name != "B:31-60" for chain in chains]
    volume = density_of(there, np.zeros(3), BOX, PIXEL, blur(2 * PIXEL, PIXEL))
    cluster = ClusterMap("one", volume, volume, PIXEL, soft_sphere(BOX, 18, 4), (), 2 * PIXEL)
    found = {one.chain: one.occupancy for one in chain_occupancies(cluster, parts, cluster.mask, 2 * PIXEL)}
    assert found["B:31-60"] < 0.3 < 0.7 < found["B:1-30"]


def test_fine_maps_are_made_coarser_for_occupancies(model: KnownModel) -> None:
    """At 1.5 Å a voxel nothing is lost but time."""
    box, pixel = 128, 1.5
    names = [chain for chain in model.model if chain.name != "C"]
    volume = density_of(names, model.centre, box, pixel, blur(6, pixel))
    cluster = ClusterMap("one", volume, volume, pixel, soft_sphere(box, 48, 10), (), 2 * pixel)
    coarse, mask = coarser(cluster, cluster.mask)
    assert coarse.box == 96 == len(mask) and coarse.pixel_size == 2.0 and coarse.resolution == 6.0
    found = chain_occupancies(coarse, by_name(placed_model(model, IDENTITY)), mask, coarse.resolution)
    assert [one.present for one in found] == [name != "C" for name in CHAINS_THERE]
    kept, same = coarser(map_without("", model), mask)
    assert kept.box == BOX and same is mask


def test_half_of_a_chain_is_half(model: KnownModel) -> None:
    cluster = map_without("E", model, weak="B", noise=0.1)
    found = {one.chain: one for one in occupancies(cluster, model)}
    assert found["B"].occupancy == pytest.approx(0.5, abs=0.1)


def test_where_noise_is_as_strong_nobody_can_say(model: KnownModel) -> None:
    cluster = map_without("A", model, noise=40.0)
    found = occupancies(cluster, model)
    assert sum(one.present is None for one in found) >= 3


def test_what_is_present() -> None:
    assert ChainOccupancy("A", 0.9, 0.0, 0.1).present is True
    assert ChainOccupancy("A", 0.1, 0.0, 0.1).present is False
    assert ChainOccupancy("A", 0.9, 0.0, 0.5).present is None
    assert ChainOccupancy("A", 0.1, 0.0, 0.5).present is None


def test_occupancies_do_not_depend_on_grey_values(model: KnownModel) -> None:
    cluster = map_without("A", model)
    brighter = ClusterMap("one", 100 * cluster.volume, cluster.shown, PIXEL, cluster.mask, (), 2 * PIXEL)
    both = [occupancies(one, model) for one in (cluster, brighter)]
    assert_allclose([one.occupancy for one in both[0]], [one.occupancy for one in both[1]], rtol=1e-3)


def test_a_map_is_brought_to_a_models_grey_values(model: KnownModel) -> None:
    density = density_of(list(model.model), model.centre, BOX, PIXEL, blur(2 * PIXEL, PIXEL))
    scaled = scaled_to(-4 * density + 0, density, np.ones_like(density))
    assert np.abs(scaled).max() < 1e-3 * density.max()
    assert_allclose(scaled_to(4 * density, density, np.ones_like(density)), density, atol=0.02 * density.max())


def test_density_is_where_atoms_are(model: KnownModel) -> None:
    density = density_of(list(model.model), model.centre, BOX, PIXEL, blur(10, PIXEL))
    axis = (np.arange(BOX) - BOX // 2) * PIXEL
    moments = [
        float((density.sum(axis=tuple(o for o in range(3) if o != along)) * axis).sum() / density.sum())
        for along in (2, 1, 0)
    ]
    assert_allclose(moments, (model.positions - model.centre).mean(axis=0), atol=0.1)


def test_a_placed_model_is_where_its_density_is(model: KnownModel) -> None:
    turn = Rotation.from_rotvec([0.3, -0.5, 0.2]).as_matrix()
    fit = Fit(turn, np.array([3.0, 4.0, -5.0]), True, 1.1, 8.0, 1.0, 0.0, 0.1, 0.0)
    found = np.array([place.atom.pos.tolist() for place in placed_model(model, fit).all()])
    assert_allclose(found, -1.1 * (model.positions - model.centre) @ turn.T + fit.shift, atol=1e-3)


def test_the_command_names_chains_that_are_there(model: KnownModel, tmp_path: Path) -> None:
    """The model lies elsewhere, is packed, and is found in a map without a chain of it."""
    cluster = map_without("D", model)
    write_volume(tmp_path / "map.mrc", cluster.volume, PIXEL)
    moved = structure_of(CHAINS_THERE)
    turn = Rotation.from_rotvec([1.0, 0.7, -0.4]).as_matrix()
    moved[0].transform_pos_and_adp(gemmi.Transform(gemmi.Mat33(turn.tolist()), gemmi.Vec3(50, 60, 70)))
    packed = tmp_path / "five.cif.gz"
    packed.write_bytes(gzip.compress(moved.make_mmcif_document().as_string().encode()))
    out = tmp_path / "out"
    result = succeed("compare", tmp_path / "map.mrc", packed, "-o", out)
    assert "4 of 5 chains present; absent: D" in result.stdout
    table = pd.read_csv(out / CHAINS)
    assert table["present"].tolist() == [name != "D" for name in CHAINS_THERE]
    residues = pd.read_csv(out / RESIDUES)
    assert len(residues) == 300 and residues["q_score"].notna().all()
    absent = residues["chain"] == "D"
    assert residues.loc[absent, "occupancy"].max() < 0.5 < residues.loc[~absent, "occupancy"].median()
    record = read_record(ComparisonRecord, out / RECORD)
    pair = record.pairs[0]
    assert (pair.resolution_05_present_angstrom or 99) <= (pair.resolution_05_angstrom or 0) + 0.1
    for name in ("comparison.png", "fsc_map.png", "chains_map__five.png"):
        assert (out / name).stat().st_size > 10_000
    written = gemmi.read_structure(str(out / FITTED / "map__five.cif"))
    values, _ = read_volume(tmp_path / "map.mrc")
    for chain in written[0]:
        places = np.array([atom.pos.tolist() for residue in chain for atom in residue]) / PIXEL
        seen = values[tuple(np.rint(places[:, ::-1]).astype(int).T)].mean() > 0.2 * values.max()
        assert seen == (chain.name != "D")
        assert all((atom.b_iso > 70) == (chain.name != "D") for residue in chain for atom in residue)
    assert (out / FITTED / "map__five.defattr").read_text().count("\t/") == 300


def test_a_map_of_the_wrong_hand_is_told_by_a_model(model: KnownModel, tmp_path: Path) -> None:
    mirrored = np.ascontiguousarray(map_without("", model).volume[:, :, ::-1])
    write_volume(tmp_path / "map.mrc", mirrored, PIXEL)
    result = succeed("compare", tmp_path / "map.mrc", model.path, "-o", tmp_path / "out")
    assert "hand mirrored" in result.stdout and "the map's is the wrong one" in result.stdout
    assert "5 of 5 chains present" in result.stdout


def test_models_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pdb").write_text("")
    (tmp_path / "empty.cif").write_text("")
    (tmp_path / "text.cif").write_text("no model")
    water = gemmi.Structure()
    water.add_model(gemmi.Model(1))
    chain = gemmi.Chain("W")
    residue = gemmi.Residue()
    residue.name, residue.seqid = "HOH", gemmi.SeqId("1")
    atom = gemmi.Atom()
    atom.name, atom.element = "O", gemmi.Element("O")
    residue.add_atom(atom)
    chain.add_residue(residue)
    water[0].add_chain(chain)
    water.write_pdb(str(tmp_path / "water.pdb"))
    for name, words in (
        ("empty.pdb", "holds no atoms"),
        ("empty.cif", "cannot be read as an atomic model"),
        ("text.cif", "cannot be read as an atomic model"),
        ("water.pdb", "holds no atoms"),
    ):
        with pytest.raises(InputError, match=words) as error:
            read_known_model(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)


def carbons(path: Path, *places: tuple[float, float, float], models: int = 1) -> Path:
    made = gemmi.Structure()
    for number in range(models):
        made.add_model(gemmi.Model(number + 1))
        chain = gemmi.Chain("A")
        for count, place in enumerate(places, 1):
            residue, atom = gemmi.Residue(), gemmi.Atom()
            residue.name, residue.seqid = "ALA", gemmi.SeqId(str(count))
            atom.name, atom.element, atom.pos = "CA", gemmi.Element("C"), gemmi.Position(*place)
            residue.add_atom(atom)
            chain.add_residue(residue)
        made[number].add_chain(chain)
    made.write_pdb(str(path))
    return path


def test_a_handful_of_atoms_and_atoms_astray_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"few\.pdb: is 5\.0 Å across: too small"):
        read_known_model(carbons(tmp_path / "few.pdb", (0, 0, 0), (5, 0, 0)))
    near = [(float(10 * number), 0.0, 0.0) for number in range(9)]
    with pytest.raises(InputError, match="an atom of chain A lies 8955 Å away"):
        read_known_model(carbons(tmp_path / "astray.pdb", *near, (9000.0, 0.0, 0.0)))


def test_models_without_atoms_are_passed_over(tmp_path: Path) -> None:
    near = [(float(10 * number), 0.0, 0.0) for number in range(9)]
    whole = carbons(tmp_path / "whole.pdb", *near, models=2).read_text().splitlines(True)
    first = next(number for number, line in enumerate(whole) if line.startswith("ATOM"))
    last = next(number for number, line in enumerate(whole) if line.startswith("ENDMDL"))
    (tmp_path / "second.pdb").write_text("".join(whole[:first] + whole[last:]))
    assert read_known_model(tmp_path / "second.pdb").positions.tolist() == [list(place) for place in near]
    atom = next(line for line in whole if line.startswith("ATOM"))
    water = f"{atom[:12]} O   HOH{atom[20:76]} O\n"
    (tmp_path / "water.pdb").write_text("".join([*whole[:first], water, *whole[last:]]))
    assert read_known_model(tmp_path / "water.pdb").positions.tolist() == [list(place) for place in near]


def test_copies_of_a_chain_under_one_name_are_refused(tmp_path: Path) -> None:
    near = [(float(10 * number), 0.0, 0.0) for number in range(9)]
    text = carbons(tmp_path / "one.pdb", *near).read_text()
    atoms = "".join(line for line in text.splitlines(True) if line.startswith("ATOM"))
    (tmp_path / "two.pdb").write_text(f"{atoms}TER\n{atoms}END\n")
    with pytest.raises(InputError, match=r"two\.pdb: has residue 1 of chain A more than once"):
        read_known_model(tmp_path / "two.pdb")


def numbered(path: Path, *residues: tuple[str, str, str], apart: float = 4.0) -> Path:
    """One chain of (number, kind, conformations) of one atom each, or of one for each conformation."""
    lines, serial = [], 0
    for place, (number, kind, conformations) in enumerate(residues):
        code = number if number[-1].isalpha() else f"{number} "
        for letter in conformations or " ":
            serial += 1
            lines.append(
                f"ATOM  {serial:5d}  CA {letter}{kind} A{code:>5}   {apart * place:8.3f}{0.0:8.3f}{0.0:8.3f}"
                "  1.00 20.00           C"
            )
    path.write_text("\n".join([*lines, "END"]) + "\n")
    return path


def test_no_residue_is_lost_for_its_number(tmp_path: Path) -> None:
    """Numbering that begins anew, a ligand with the number of a residue, insertion codes."""
    chain = [(str(number), "ALA", "") for number in range(1, 6)]
    again = [(str(number), "GLY", "") for number in range(1, 6)]
    inserted = [("5A", "SER", ""), ("5B", "SER", "")]
    model = read_known_model(numbered(tmp_path / "again.pdb", *chain, *again, *inserted))
    assert len(model.positions) == 12
    assert [name[1] for name in model.residue_names] == ["1", "2", "3", "4", "5", "1", "2", "3", "4", "5", "5A", "5B"]


def test_of_conformations_the_first_is_used(tmp_path: Path) -> None:
    """Of an atom, and of two kinds of residue in one place."""
    chain = [(str(number), "ALA", "") for number in range(1, 6)]
    model = read_known_model(
        numbered(tmp_path / "two.pdb", *chain, ("6", "ALA", "AB"), ("7", "ALA", "A"), ("7", "GLY", "B"))
    )
    assert [name[1:] for name in model.residue_names[5:]] == [("6", "ALA"), ("7", "ALA")]
    assert len(model.positions) == 7


def test_of_several_models_the_first_is_used_and_that_is_told(tmp_path: Path) -> None:
    near = [(float(10 * number), 0.0, 0.0) for number in range(9)]
    with pytest.warns(InputNote, match="holds 2 models, of which the first is used"):
        assert len(read_known_model(carbons(tmp_path / "two.pdb", *near, models=2)).positions) == 9


def test_a_model_is_no_map_of_a_cluster(model: KnownModel, tmp_path: Path) -> None:
    result = run("compare", model.path, model.path, "-o", tmp_path / "out")
    assert result.exit_code == 2 and "is an atomic model, not a map of a cluster" in result.stderr


def test_the_map_of_a_model_has_room_around(model: KnownModel) -> None:
    known = map_of(model, PIXEL, 8.0)
    assert len(known.volume) % 2 == 0
    assert known.mask[0].max() == 0 and known.mask.max() == pytest.approx(1)
