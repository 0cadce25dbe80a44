"""What people gave a run besides its particles is on record, and on the page."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from click.testing import CliRunner
from small_run import write_run

from drgnalign.report.facts import run_facts, run_known
from drgnalign.report.page import rendered
from drgnalign.run.inputs import InputsRecord, LabelsRecord
from drgnalign.run.record import write_record
from drgnalign.steps.note_decisions import main


def test_files_are_noted_with_what_they_decide(tmp_path: Path) -> None:
    contents = {"mine.csv": b"labels", "round.mrc": b"mask", "one.mrc": b"map 1", "two.mrc": b"map 2"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    labels = LabelsRecord(
        file="mine.csv", sha256="", clusters={"1": 7}, unassigned=0, left_out=3, decisions={"drop 2": 3}
    )
    facts = InputsRecord(
        input="theirs.star", particles=10, box=48, pixel_size_angstrom=5.0, train_box=32, optics_groups=1,
        half_sets=[5, 5], halves="independent", left_out_by_input=3, contrast=["white"], contrast_from="--invert",
        normalised=False, backgrounds={}, optics=[], warnings=[], notes=[], labels=labels,
    )  # fmt: skip
    write_record(facts, tmp_path / "inputs.json")
    given = {"labels": ["mine.csv"], "mask": ["round.mrc"], "initial_maps": ["one.mrc", "two.mrc"]}
    words = [word for name, files in given.items() for file in files for word in (f"--{name}", tmp_path / file)]
    info = tmp_path / "pipeline_info"
    info.mkdir()
    words += ["--inputs", tmp_path / "inputs.json", "--output", info / "decisions.json"]
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    noted = json.loads((info / "decisions.json").read_text())["decisions"]
    assert {(one["parameter"], one["file"]) for one in noted} == {
        (name, file) for name, files in given.items() for file in files
    }
    assert all(one["sha256"] == hashlib.sha256(contents[one["file"]]).hexdigest() for one in noted)
    (of_labels,) = (one for one in noted if one["parameter"] == "labels")
    assert "3 are left out for good; a person decided: drop 2 (3 particles)" in of_labels["decides"]

    folders = write_run(tmp_path)
    page = rendered(folders, run_facts(folders, {"passes": 3} | run_known(info)), tmp_path).split("<script")[0]
    table = page.split("Decided by people</h3>")[1].split("</table>")[0]
    assert all(f"<td>{one['file']}</td>" in table and one["sha256"] in table for one in noted)


def test_where_nothing_was_decided_nothing_is_said(tmp_path: Path) -> None:
    folders = write_run(tmp_path)
    facts = run_facts(folders, {"passes": 3} | run_known(tmp_path))
    assert facts["decisions"] == [] and "Decided by people" not in rendered(folders, facts, tmp_path)
