from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drgnalign.colours import map_colour
from drgnalign.errors import InputError
from drgnalign.formats.mrc import write_volume
from drgnalign.fourier import soft_sphere
from drgnalign.run.chimerax import UNKNOWN, write_scenes

BOX = 24
# Words of the commands that scripts are made of.
COMMANDS = {"open", "volume", "hide", "color", "tile", "view", "vseries"}


@pytest.fixture
def final(tmp_path: Path) -> Path:
    """Two clusters' bodies of heights 1 and 2, their half maps, and three points of a motion."""
    write_volume(tmp_path / "mask.mrc", soft_sphere(BOX, 10, 2), 2.0)
    for label in (1, 12):
        body = (1 if label == 1 else 2) * soft_sphere(BOX, 6, 2)
        for ending in ("", "_half1", "_half2"):
            write_volume(tmp_path / f"cluster_{label:02d}{ending}.mrc", body, 2.0)
    (tmp_path / "motion").mkdir()
    for point, height in ((1, 1.0), (2, 2.0), (3, 3.0)):
        write_volume(tmp_path / "motion" / f"point_{point:02d}.mrc", height * soft_sphere(BOX, 6, 2), 2.0)
    return tmp_path


def commands(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]


def test_every_file_that_a_script_opens_is_there_and_every_command_known(final: Path) -> None:
    scenes = write_scenes(final, ["cluster_01", "cluster_12"], ["point_01", "point_02", "point_03"])
    assert set(scenes) == {"open_all.cxc", "open_half_maps.cxc", "open_motion.cxc"}
    for name in scenes:
        lines = commands(final / name)
        assert {line[0] for line in lines} <= COMMANDS
        opened = [word for line in lines if line[0] == "open" for word in line if word.endswith(".mrc")]
        assert opened and all((final / file).is_file() for file in opened)
        assert name in (final / name).read_text().splitlines()[0]


def test_maps_have_the_reports_colours_and_contours_at_half_height(final: Path) -> None:
    write_scenes(final, ["cluster_01", "cluster_12"])
    shown = {line[1]: line for line in commands(final / "open_all.cxc") if line[0] == "volume"}
    for model, label, height in (("#1", 1, 1.0), ("#2", 12, 2.0)):
        words = dict(zip(shown[model][2::2], shown[model][3::2], strict=True))
        assert words["color"] == map_colour(label) and words["step"] == "1"
        assert float(words["level"]) == pytest.approx(height / 2, rel=0.15)
    assert commands(final / "open_all.cxc")[-1] == ["tile"]


def test_one_map_is_not_tiled_and_the_consensus_is_black(final: Path) -> None:
    for ending in ("", "_half1", "_half2"):
        (final / f"cluster_01{ending}.mrc").rename(final / f"consensus{ending}.mrc")
    (final / "mask.mrc").unlink()
    write_scenes(final, ["consensus"])
    lines = commands(final / "open_all.cxc")
    assert lines[-1] == ["view"] and "#000000" in lines[1] and '"consensus"' in lines[0]
    assert [line[-1] for line in commands(final / "open_half_maps.cxc") if line[0] == "open"] == ['1"', '2"']


def test_a_film_has_one_contour(final: Path) -> None:
    write_scenes(final, [], ["point_01", "point_02", "point_03"])
    lines = commands(final / "open_motion.cxc")
    assert lines[0] == ["open", *(f"motion/point_{i:02d}.mrc" for i in (1, 2, 3)), "vseries", "true"]
    assert float(lines[1][lines[1].index("level") + 1]) == pytest.approx(1.0, rel=0.15)


def test_local_resolution_is_on_one_scale(final: Path) -> None:
    for label, (low, high) in {1: (3.0, 5.0), 12: (4.0, 8.0)}.items():
        values = np.random.default_rng(label).uniform(low, high, (BOX, BOX, BOX)).astype(np.float32)
        values[: BOX // 3] = 0
        write_volume(final / f"cluster_{label:02d}_local_resolution.mrc", values, 2.0)
    write_scenes(final, ["cluster_01", "cluster_12"])
    lines = commands(final / "open_local_resolution.cxc")
    sampled = [line for line in lines if line[0] == "color"]
    # a map and its local resolution are moved as one
    assert [line[2:5] for line in sampled] == [["#1.1", "map", "#1.2"], ["#2.1", "map", "#2.2"]]
    stops = [step.split(",") for step in sampled[0][-1].split(":")]
    ends = [float(step) for step, _ in stops]
    assert sampled[0][-1] == sampled[1][-1] and ends == sorted(ends)
    assert ends[2] == pytest.approx(3.05, abs=0.1) and ends[-1] == pytest.approx(7.9, abs=0.1)
    # 0 is no resolution
    assert stops[0] == ["0.000", UNKNOWN] and stops[1][1] == UNKNOWN


def test_where_no_resolution_is_known_nothing_is_said_of_it(final: Path) -> None:
    write_volume(final / "cluster_01_local_resolution.mrc", np.zeros((BOX, BOX, BOX), np.float32), 2.0)
    write_scenes(final, ["cluster_01"])
    (sampled,) = [line for line in commands(final / "open_local_resolution.cxc") if line[0] == "color"]
    assert sampled[-1].startswith(f"0.000,{UNKNOWN}")


def test_a_mask_of_another_box_is_told(final: Path) -> None:
    write_volume(final / "mask.mrc", soft_sphere(BOX // 2, 5, 2), 4.0)
    with pytest.raises(InputError, match=r"cluster_01\.mrc: has another box than the mask\.mrc beside it"):
        write_scenes(final, ["cluster_01"])
    assert not list(final.glob("*.cxc"))
