"""drgnalign compare: which map is which reference, and what does not fit is said in one message."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from command_line import run, succeed
from mrcfile.dtypes import HEADER_DTYPE
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from drgnalign.errors import InputError
from drgnalign.formats.mrc import read_volume, write_volume
from drgnalign.fourier import soft_sphere
from drgnalign.known.clusters import ClusterMap
from drgnalign.known.compare import agreement, assign, difference, shell_scale
from drgnalign.known.comparison import CURVES, DIFFERENCES, FITTED, TABLE, check_known
from drgnalign.known.read import known_files, read_known_map
from drgnalign.known.records import AS_GIVEN, MIRRORED, RECORD, ComparisonRecord
from drgnalign.run.record import read_record
from drgnalign.simulate import density_map, phantom_states
from drgnalign.steps.compare import main as compare_step

pytestmark = pytest.mark.slow

BOX, PIXEL, SIGMA = 48, 5.0, 4.0


def state_map(state: int, turn: np.ndarray | None = None, box: int = BOX, pixel: float = PIXEL) -> np.ndarray:
    points, weights = phantom_states(3)[state]
    return density_map(points if turn is None else points @ turn.T, weights, box, pixel, SIGMA)


def noisy(volume: np.ndarray, seed: int, ratio: float = 0.3) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(volume.shape)
    return (volume + ratio * volume.std() * noise).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clusters of a round, whose references are turned, mirrored, packed, and of other voxels."""
    folder = tmp_path_factory.mktemp("compare")
    maps, known = folder / "round_01" / "clusters", folder / "known"
    maps.mkdir(parents=True)
    known.mkdir()
    for number, state in enumerate((0, 2), 1):
        halves = [noisy(state_map(state), 10 * number + half) for half in (1, 2)]
        for half, volume in enumerate(halves, 1):
            write_volume(maps / f"cluster_{number:02d}_half{half}.mrc", volume, PIXEL)
        write_volume(maps / f"cluster_{number:02d}.mrc", np.mean(halves, axis=0), PIXEL)
    turn = Rotation.random(random_state=1).as_matrix()
    write_volume(known / "lobes.mrc", state_map(2, turn, 60, 4.0), 4.0)
    mirrored = Rotation.random(random_state=2).as_matrix() @ np.diag([1.0, 1.0, -1.0])
    write_volume(known / "bare.mrc", state_map(0, mirrored, 60, 4.0) * 50, 4.0)
    (known / "bare.map.gz").write_bytes(gzip.compress((known / "bare.mrc").read_bytes()))
    (known / "bare.mrc").unlink()
    write_volume(known / "lobes_half_map_1.mrc", state_map(2, turn, 60, 4.0), 4.0)
    return folder


@pytest.fixture(scope="module")
def compared(folder: Path) -> Result:
    return succeed("compare", folder / "round_01", folder / "known", "-o", folder / "out")


def test_each_map_is_its_reference(folder: Path, compared: Result) -> None:
    record = read_record(ComparisonRecord, folder / "out" / RECORD)
    assert [(one.cluster, one.reference) for one in record.clusters] == [
        ("cluster_01", "bare"),
        ("cluster_02", "lobes"),
    ]
    assert all(one.halves_agree and (one.margin or 0) > 0.1 for one in record.clusters)
    hands = {one.reference: one.hand for one in record.pairs if one.assigned}
    assert hands == {"bare": MIRRORED, "lobes": AS_GIVEN}
    assert "cluster_02: lobes (margin" in compared.stdout and "both half maps say so" in compared.stdout


def test_the_table_has_a_row_a_pair(folder: Path, compared: Result) -> None:
    table = pd.read_csv(folder / "out" / TABLE)
    assert len(table) == 4 and table["claimed"].all() and table["assigned"].sum() == 2
    linear = table[[f"r{row}{column}" for row in "123" for column in "123"]].to_numpy().reshape(-1, 3, 3)
    assert_allclose(np.linalg.det(linear), np.where(table["hand"] == MIRRORED, -1, 1), atol=0.05)
    curves = pd.read_csv(folder / "out" / CURVES)
    assert set(zip(curves["cluster"], curves["reference"], strict=True)) == set(
        zip(table["cluster"], table["reference"], strict=True)
    )


def test_the_fitted_reference_lies_in_the_map_at_its_grey_values(folder: Path, compared: Result) -> None:
    fitted, pixel = read_volume(folder / "out" / FITTED / "cluster_01__bare.mrc")
    truth = state_map(0)
    assert pixel == PIXEL
    assert np.corrcoef(fitted.ravel(), truth.ravel())[0, 1] > 0.99
    assert (fitted * truth).sum() / (truth**2).sum() == pytest.approx(1, abs=0.1)


def test_the_difference_is_what_the_reference_lacks(folder: Path, compared: Result) -> None:
    found, _ = read_volume(folder / "out" / DIFFERENCES / "cluster_02__bare.mrc")
    lacking = state_map(2) - state_map(0)
    part = lacking > 0.3 * lacking.max()
    assert found[part].mean() > 0.5 * lacking[part].mean()
    assert np.corrcoef(found[part], lacking[part])[0, 1] > 0.8
    same, _ = read_volume(folder / "out" / DIFFERENCES / "cluster_02__lobes.mrc")
    assert abs(same[part].mean()) < 0.1 * lacking[part].mean()


def test_half_maps_of_a_folder_are_left_out_and_told(folder: Path, compared: Result) -> None:
    assert "lobes_half_map_1.mrc" in compared.stderr
    assert compared.stderr.count("left out") == 1


def test_what_is_refused_leaves_no_folder_and_results_go_into_none_of_the_inputs(folder: Path) -> None:
    (folder / "notes.mrc").write_text("no map")
    refused(folder, folder / "notes.mrc")
    assert not (folder / "bad").exists()
    result = run("compare", folder / "round_01", folder / "known", "-o", folder / "known")
    assert result.exit_code == 2 and "is a folder of what is compared" in result.stderr
    assert not (folder / "known" / RECORD).exists()


def test_it_is_written_once(folder: Path, compared: Result) -> None:
    again = run("compare", folder / "round_01", folder / "known", "-o", folder / "out")
    assert again.exit_code == 2 and "has a comparison already" in again.stderr


def refused(folder: Path, known: Path) -> str:
    """The one message about a reference."""
    result = run("compare", folder / "round_01" / "clusters" / "cluster_01.mrc", known, "-o", folder / "bad")
    assert result.exit_code == 2, result.output
    assert result.stderr.count("ERROR") == 1 and str(known) in result.stderr
    return result.stderr


def broken(volume: np.ndarray, path: Path, **header: int) -> Path:
    write_volume(path, volume, PIXEL)
    data = bytearray(path.read_bytes())
    fields = np.frombuffer(data[: HEADER_DTYPE.itemsize], HEADER_DTYPE).copy()
    for name, value in header.items():
        fields[name] = value
    data[: HEADER_DTYPE.itemsize] = fields.tobytes()
    path.write_bytes(bytes(data))
    return path


def test_a_unit_cell_is_refused(folder: Path, tmp_path: Path) -> None:
    assert "unit cell" in refused(folder, broken(state_map(0), tmp_path / "cell.mrc", ispg=19))


def test_half_maps_given_as_maps_are_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("emd_1234_half_map_1.map", "run_half2_class001_unfil.mrc", "cluster_01_half1.mrc"):
        write_volume(tmp_path / name, state_map(0), PIXEL)
        assert "half map" in refused(folder, tmp_path / name)


def test_nan_truncated_and_even_maps_are_refused(folder: Path, tmp_path: Path) -> None:
    volume = state_map(0)
    volume[3, 3, 3] = np.nan
    write_volume(tmp_path / "nan.mrc", volume, PIXEL)
    assert "NaN" in refused(folder, tmp_path / "nan.mrc")
    write_volume(tmp_path / "short.mrc", state_map(0), PIXEL)
    (tmp_path / "short.mrc").write_bytes((tmp_path / "short.mrc").read_bytes()[:-5000])
    assert "truncated" in refused(folder, tmp_path / "short.mrc")
    write_volume(tmp_path / "even.mrc", np.ones((BOX,) * 3, np.float32), PIXEL)
    assert "all its voxels are 1" in refused(folder, tmp_path / "even.mrc")


def test_packed_files_that_are_broken_go_by_their_own_names(folder: Path, tmp_path: Path) -> None:
    write_volume(tmp_path / "map.mrc", state_map(0), PIXEL)
    packed = gzip.compress((tmp_path / "map.mrc").read_bytes())
    (tmp_path / "cut.map.gz").write_bytes(packed[: len(packed) // 2])
    assert "cannot be unpacked" in refused(folder, tmp_path / "cut.map.gz")
    (tmp_path / "no.map.gz").write_bytes(b"no gzip")
    assert "cannot be unpacked" in refused(folder, tmp_path / "no.map.gz")
    (tmp_path / "text.map.gz").write_bytes(gzip.compress(b"no map"))
    assert "is not an MRC file" in refused(folder, tmp_path / "text.map.gz")


def test_noise_alone_has_no_particle(folder: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal((BOX,) * 3)
    write_volume(tmp_path / "noise.mrc", noise, PIXEL)
    assert "stands out of its background" in refused(folder, tmp_path / "noise.mrc")


def test_other_files_and_empty_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no map")
    assert "neither a map nor an atomic model" in refused(folder, tmp_path / "notes.txt")
    (tmp_path / "empty").mkdir()
    assert "holds no map" in refused(folder, tmp_path / "empty")


def test_two_references_of_one_name_are_refused(folder: Path, tmp_path: Path) -> None:
    write_volume(tmp_path / "lobes.mrc", state_map(0), PIXEL)
    result = run("compare", folder / "round_01", folder / "known", tmp_path / "lobes.mrc", "-o", tmp_path / "bad")
    assert result.exit_code == 2 and "has the name of" in result.stderr


def test_folders_without_maps_of_clusters_are_refused(folder: Path, tmp_path: Path) -> None:
    result = run("compare", tmp_path, folder / "known", "-o", tmp_path / "bad")
    assert result.exit_code == 2 and "holds no maps of clusters" in result.stderr


def test_a_level_of_grey_is_no_density(folder: Path, tmp_path: Path) -> None:
    """As in maps of eight bits."""
    lobes = state_map(2)
    write_volume(tmp_path / "grey.mrc", 128 + 100 * lobes / lobes.max(), PIXEL)
    write_volume(tmp_path / "bare.mrc", state_map(0), PIXEL)
    maps = folder / "round_01" / "clusters" / "cluster_02.mrc"
    succeed("compare", maps, tmp_path / "grey.mrc", tmp_path / "bare.mrc", "-o", tmp_path / "out")
    record = read_record(ComparisonRecord, tmp_path / "out" / RECORD)
    assert record.clusters[0].reference == "grey"
    assert next(one.mean_fsc or 0 for one in record.pairs if one.assigned) > 0.9


def test_what_fits_at_another_size_is_told(folder: Path, tmp_path: Path) -> None:
    """A header that says 1 Å, as of a map whose voxels nobody knows."""
    write_volume(tmp_path / "tiny.mrc", state_map(2), 1.0)
    maps = folder / "round_01" / "clusters" / "cluster_02.mrc"
    said = succeed("compare", maps, tmp_path / "tiny.mrc", "-o", tmp_path / "out").stderr
    assert "times as large" in said and "its voxels have another size" in said


def test_another_scale_is_told_once(folder: Path, tmp_path: Path) -> None:
    """The same map whose header says half the voxel size is not found, and the message says why."""
    write_volume(tmp_path / "scaled.mrc", state_map(0, None, 60, 4.0), 2.0)
    cluster = folder / "round_01" / "clusters" / "cluster_01.mrc"
    result = succeed("compare", cluster, tmp_path / "scaled.mrc", "-o", tmp_path / "out")
    assert "none of the references" in result.stdout
    assert result.stderr.count("times as large") == 1 and "correct its header" in result.stderr


def test_a_box_smaller_than_its_particle_is_told(tmp_path: Path) -> None:
    write_volume(tmp_path / "cut.mrc", state_map(2)[12:-12, 12:-12, 12:-12], PIXEL)
    with pytest.warns(match="goes through the faces"):
        read_known_map(tmp_path / "cut.mrc")


def test_boxes_that_are_no_cubes_are_padded(tmp_path: Path) -> None:
    volume = state_map(0)
    write_volume(tmp_path / "flat.mrc", volume[2:-3, :, 4:-4], PIXEL)
    found = read_known_map(tmp_path / "flat.mrc")
    assert found.volume.shape == (BOX,) * 3
    # the middle of 43 of 48 sections from the third on is one section off
    assert_allclose(found.volume[3:44], np.roll(volume, 0, axis=0)[3 - 1 : 44 - 1], atol=0.02 * volume.max())


def test_odd_boxes_are_compared_as_they_are(tmp_path: Path) -> None:
    """Of two odd boxes, one of them a reference: the shift is between their own centres."""
    write_volume(tmp_path / "map.mrc", noisy(state_map(1, None, 47), 0), PIXEL)
    write_volume(tmp_path / "known.mrc", state_map(1, None, 61, 4.0), 4.0)
    succeed("compare", tmp_path / "map.mrc", tmp_path / "known.mrc", "-o", tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / TABLE)
    assert_allclose(table[[f"shift_{axis}_angstrom" for axis in "xyz"]], 0, atol=0.05 * PIXEL)
    fitted, _ = read_volume(tmp_path / "out" / FITTED / "map__known.mrc")
    assert np.corrcoef(fitted.ravel(), state_map(1, None, 47).ravel())[0, 1] > 0.99


def test_a_cluster_that_is_no_cube_is_refused(folder: Path, tmp_path: Path) -> None:
    write_volume(tmp_path / "flat.mrc", state_map(0)[2:-3], PIXEL)
    result = run("compare", tmp_path / "flat.mrc", folder / "known", "-o", tmp_path / "out")
    assert result.exit_code == 2 and "is no cube" in result.stderr


def test_references_that_are_alike_are_called_so(folder: Path, tmp_path: Path) -> None:
    turned = state_map(2, Rotation.random(random_state=7).as_matrix(), 60, 4.0)
    write_volume(tmp_path / "again.mrc", turned, 4.0)
    cluster = folder / "round_01" / "clusters" / "cluster_02.mrc"
    references = (folder / "known" / "lobes.mrc", tmp_path / "again.mrc", folder / "known" / "bare.map.gz")
    result = succeed("compare", cluster, *references, "-o", tmp_path / "out")
    line = result.stdout.splitlines()[0]
    assert "or as well" in line and {"lobes", "again"} <= set(line.replace(",", "").replace(":", "").split())
    assert "bare" not in line and "cannot be told apart" in line


@pytest.mark.parametrize("name", ["map1_half", "vol_2_half", "half_map_b", "run_half2_unfil"])
def test_half_maps_are_known_by_many_names(tmp_path: Path, name: str) -> None:
    write_volume(tmp_path / f"{name}.mrc", state_map(0), PIXEL)
    with pytest.raises(InputError, match="is a half map by its name"):
        known_files([tmp_path / f"{name}.mrc"])


def test_masks_of_a_folder_are_left_out(tmp_path: Path) -> None:
    for name in ("emd_1", "mask_refine", "emd_1_msk_1", "unmasked", "Mask2"):
        write_volume(tmp_path / f"{name}.mrc", state_map(0), PIXEL)
    assert [path.stem for path in known_files([tmp_path])] == ["emd_1", "unmasked"]


def test_a_tiny_map_and_a_file_to_write_into_are_refused(folder: Path, tmp_path: Path) -> None:
    write_volume(tmp_path / "tiny.mrc", np.arange(8.0).reshape(2, 2, 2).astype(np.float32), PIXEL)
    assert "2 voxels across" in refused(folder, tmp_path / "tiny.mrc")
    (tmp_path / "out").write_text("mine")
    result = run("compare", folder / "round_01", folder / "known" / "lobes.mrc", "-o", tmp_path / "out")
    assert result.exit_code == 2 and "is a file" in result.stderr and (tmp_path / "out").read_text() == "mine"


def test_files_are_named_once(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.mrc", state_map(0), PIXEL)
    assert known_files([tmp_path, tmp_path / "a.mrc"]) == [tmp_path / "a.mrc"]
    with pytest.raises(InputError):
        known_files([tmp_path / "b.txt"])


def test_the_assignment_is_the_best_as_a_whole() -> None:
    """The second map is nearer to the first reference than to its own, but the first has no other."""
    scores = np.array([[0.9, 0.1, 0.2], [0.8, 0.7, 0.2]])
    found = assign(scores, np.ones((2, 3), bool))
    assert found.reference == [0, 1]
    # without the first pair: .2 + .8; without the second: .9 + .2
    assert_allclose(np.array(found.margins, float), [1.6 - 1.0, 1.6 - 1.1])
    claimed = np.array([[True, False, False], [False, False, False]])
    assert assign(scores, claimed).reference == [0, None]


def test_shell_scale_and_difference_of_what_is_known() -> None:
    """A reference times two under white noise: factor two, and noise is left."""
    rng = np.random.default_rng(0)
    reference, mask = state_map(1), soft_sphere(BOX, 18, 4)
    noise = (0.05 * reference.std() * rng.standard_normal(reference.shape)).astype(np.float32)
    volume = 2 * reference + noise
    cluster = ClusterMap("one", volume, volume, PIXEL, mask, (), 2 * PIXEL)
    assert_allclose(shell_scale(cluster.volume, reference, mask)[1:12], 2, rtol=0.05)
    rest = difference(cluster, reference, mask, 4 * PIXEL)
    assert rest.std() < 0.05 * reference.std()
    assert agreement(cluster, reference, mask).mean_fsc > 0.8
    assert agreement(cluster, reference, mask).grey_scale == pytest.approx(2, rel=0.01)


def test_the_record_is_read_as_it_was_written(folder: Path, compared: Result) -> None:
    record = read_record(ComparisonRecord, folder / "out" / RECORD)
    stored = json.loads((folder / "out" / RECORD).read_text())
    assert record.written() == stored


def test_published_figures_stand_beside_a_runs(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what makes them not comparable, and without a reference to fit."""
    maps = tmp_path / "round_01" / "clusters"
    shutil.copytree(folder / "round_01" / "clusters", maps)
    halves = {"cluster_01": "independent", "cluster_02": "dealt at import"}
    rows = [
        {"cluster": name, "shell": 1, "resolution_0143_angstrom": 12.5, "halves": worth}
        for name, worth in halves.items()
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "round_01" / "fsc.csv", index=False)
    # the word is the figures, whatever there is of this name
    (tmp_path / "thesis").mkdir()
    monkeypatch.chdir(tmp_path)
    result = succeed("compare", tmp_path / "round_01", "thesis", "-o", tmp_path / "out")
    assert "cluster_01: 12.50 Å, half sets independent\n" in result.stdout
    assert "cluster_02: 12.50 Å, half sets dealt at import: not claimed as independent" in result.stdout
    assert "3.34 Å, EMDB 3.7 Å (class E, experiment 10, iteration 7, 8)" in result.stdout
    assert "one map of both halves" in result.stdout
    # of table 5.2 the best iterations of clusters 0 and 1
    assert "experiment 5 (table 5.2): 3.46 (5), 3.95 (7)" in result.stdout
    assert read_record(ComparisonRecord, tmp_path / "out" / RECORD).pairs == []
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [RECORD]
    assert "holds no map" in run("compare", "round_01", "./thesis", "-o", "other").stderr
    alone = maps / "cluster_01.mrc"
    alone.rename(tmp_path / "mine.mrc")
    said = succeed("compare", tmp_path / "mine.mrc", "thesis", "-o", tmp_path / "alone").stdout
    assert "mine: no FSC of half maps is beside it" in said


def test_the_step_says_which_is_which_and_takes_a_round_without_maps(folder: Path, tmp_path: Path) -> None:
    lobes = folder / "known" / "lobes.mrc"
    options = ["--known", lobes, "--known", folder / "known" / "bare.map.gz", "--thesis", "--round", 2]
    step([*options, folder / "round_01" / "clusters", "--said", tmp_path / "said.txt", "-o", tmp_path / "out"])
    said = (tmp_path / "said.txt").read_text().splitlines()
    assert [line.split(" (")[0] for line in said] == [
        "Round 2, cluster_01 beside what is known: bare",
        "Round 2, cluster_02 beside what is known: lobes",
    ]
    record = read_record(ComparisonRecord, tmp_path / "out" / RECORD)
    assert record.thesis and len(record.pairs) == 4 and (tmp_path / "out" / "comparison.png").is_file()
    (tmp_path / "empty").mkdir()
    step([*options, tmp_path / "empty", "--said", tmp_path / "none.txt", "-o", tmp_path / "without"])
    assert (tmp_path / "none.txt").read_text() == ""
    assert not read_record(ComparisonRecord, tmp_path / "without" / RECORD).pairs


def step(arguments: list[object]) -> None:
    compare_step([str(argument) for argument in arguments], standalone_mode=False)


def test_references_are_refused_before_there_are_maps(folder: Path, tmp_path: Path) -> None:
    lobes = folder / "known" / "lobes.mrc"
    check_known([lobes, folder / "known" / "bare.map.gz"])
    write_volume(tmp_path / "even.mrc", np.zeros((BOX,) * 3, np.float32), PIXEL)
    (tmp_path / "void.cif").write_text("data_void\n")
    shutil.copy(lobes, tmp_path)
    for paths in ([tmp_path / "even.mrc"], [tmp_path / "void.cif"], [lobes, tmp_path / "lobes.mrc"]):
        with pytest.raises(InputError, match=paths[-1].name):
            check_known(paths)
