"""What the files of a run's state are called, and where they lie."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import drgnalign
from drgnalign.run import latent, plan, state
from drgnalign.run.state import (
    cluster_label,
    cluster_name,
    map_files,
    pass_folders,
    published_name,
    published_passes,
    read_used_labels,
    write_used_labels,
)


def test_names_of_maps_say_their_label() -> None:
    assert [cluster_name(label) for label in (1, 12, 123)] == ["cluster_01", "cluster_12", "cluster_123"]
    assert [cluster_label(name) for name in ("consensus", "cluster_07", "cluster_123")] == [0, 7, 123]


def test_files_of_a_map_are_no_other_map_s(tmp_path: Path) -> None:
    beside = ["_mask.mrc", "_reference_half1.mrc", "_reference_half2.mrc", "_statistics_half1.txt"]
    for ending in ("_half1.mrc", "_half2.mrc", ".mrc", *beside, "_fsc.csv", "_resolution.json"):
        for name in ("cluster_01", "cluster_10", "decoder_cluster_01"):
            (tmp_path / f"{name}{ending}").touch()
    needed = ["_half1.mrc", "_half2.mrc", ".mrc"]
    assert map_files(tmp_path, "cluster_01") == [f"cluster_01{ending}" for ending in (*needed, *beside)]
    # these have to be there: whoever places them says which is missing
    assert map_files(tmp_path, "cluster_02") == [f"cluster_02{ending}" for ending in needed]


def test_labels_once_used_are_remembered(tmp_path: Path) -> None:
    write_used_labels({7, 2, 11}, tmp_path)
    assert (tmp_path / "labels_used.json").read_text() == "[2, 7, 11]\n"
    assert read_used_labels(tmp_path) == {2, 7, 11}


def test_folders_of_passes_come_in_the_order_of_the_passes(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        (tmp_path / f"pass_{number}").mkdir()
    assert list(pass_folders(tmp_path)) == [1, 2, 10]
    names = [published_name(1, 0), published_name(2, 0), published_name(3, 1), published_name(12, 10)]
    assert names == ["consensus/pass_01", "consensus/pass_02", "round_01", "round_10"]
    for name in names[::-1]:
        (tmp_path / name).mkdir(parents=True)
    assert published_passes(tmp_path) == [tmp_path / name for name in names]


def words_of(module: Path) -> Iterator[str]:
    """Texts without spaces: names, not sentences."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            yield node.value


def test_names_of_the_state_s_files_stand_in_one_place() -> None:
    owners = {Path(str(module.__file__)) for module in (latent, plan, state)}
    names = [state.FSC, state.METRICS, state.NOISE, state.MASK, state.USED_LABELS, latent.EMBEDDING, latent.WEIGHTS]
    names += [*state.HALF_MAPS, state.SHARP, state.OWN_MASK, state.LOCAL_RESOLUTION, state.CURVE, state.FIGURES]
    names += [
        state.STATISTICS,
        state.DECODER,
        latent.ALONG_PC1,
        plan.PLAN_FILE,
        "_reference_half",
        "_pilot.",
        "_chunk_",
    ]
    others = set(Path(str(drgnalign.__file__)).parent.rglob("*.py")) - owners
    found = {(path.name, word) for path in others for word in words_of(path) for name in names if name in word}
    # what could be a name in Python is one, or a column's
    assert {(module, word) for module, word in found if not word.isidentifier()} == set()
