"""Where particles move, a round leaves half maps along the motion and each particle's place on it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from runs import Run
from scipy.stats import spearmanr

from drgnalign.formats.mrc import read_volume
from drgnalign.formats.star import read_star


def test_a_motion_is_seen_and_shown(motion_run: Run) -> None:
    results = motion_run.results
    assert {"MOTION (2 r1 1)", "MOTION (2 r1 2)"} <= set(motion_run.tasks.index)
    record = json.loads((results / "round_01" / "clusters.json").read_text())["linear"]
    assert record["motion"] and record["motion_gain"] > 0.05
    table = read_star(results / "round_01" / "particles.star").table
    truth = read_star(results.parent / "set" / "truth.star").cluster_labels()
    assert abs(spearmanr(table["drgnPath"], truth)[0]) > 0.9
    assert table["drgnPathError"].between(0, 0.5).all()
    maps = []
    for name in ("point_01", "point_02"):
        point = json.loads((results / "round_01" / "motion" / f"{name}.json").read_text())
        fsc = pd.read_csv(results / "round_01" / "motion" / f"{name}_fsc.csv")
        assert 0 < point["spread"] < 0.3
        assert fsc["resolution_0143_angstrom"].iloc[0] == pytest.approx(point["resolution_angstrom"], rel=1e-4)
        halves = [read_volume(results / "round_01" / "motion" / f"{name}_half{half}.mrc")[0] for half in (1, 2)]
        maps.append(np.mean(halves, axis=0))
    assert not (results / "round_01" / "motion" / "point_03.mrc").exists()
    ends = [read_volume(results.parent / "set" / f"state_{number:02d}.mrc")[0] for number in (1, 20)]
    found, true = maps[1] - maps[0], ends[1] - ends[0]
    assert abs(np.corrcoef(found.ravel(), true.ravel())[0, 1]) > 0.5
    steps = json.loads((results / "report.json").read_text())["next"]
    assert any('/final/motion/point_??.mrc" vseries true' in (step["command"] or "") for step in steps)
    final = pd.read_csv(results / "final" / "index.csv")["file"]
    assert {path.name for path in (results / "final" / "motion").iterdir()} == {
        f"{name}{ending}"
        for name in ("point_01", "point_02")
        for ending in (".mrc", "_half1.mrc", "_half2.mrc", "_fsc.csv")
    }
    assert final.str.startswith("motion/").sum() == 8
    shown = json.loads((results / "report.json").read_text())["rounds"]
    assert [len(one["motion"]) for one in shown] == [0, 2]


@pytest.mark.long
def test_poses_are_refined_along_a_motion_and_clusters_made_of_them(path_run: Run) -> None:
    tasks = set(path_run.tasks.index)
    assert {name for name in tasks if "MAP:REFINE" in name} == {"MAP:REFINE (2 r1 p1.1)", "MAP:REFINE (2 r1 p2.1)"}
    assert {"MAP:REFERENCE (2 r1 p1)", "MAP:REINSERT (2 r1 c1.1)", "MAP:RECONSTRUCT (2 r1 c1)"} <= tasks
    after = read_star(path_run.results / "round_01" / "particles.star").table
    assert after["drgnScore"].notna().all() and set(after["rlnClassNumber"]) == {1, 2}
    assert after["drgnAccepted"].mean() > 0.9
