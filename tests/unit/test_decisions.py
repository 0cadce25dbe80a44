"""What people gave a run besides its particles is on record, and on the page."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_line import run, succeed
from small_run import publish, write_run

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
    files = [(name, file) for name, files in given.items() for file in files]
    words = [word for name, file in files for word in ("--file", name, f"theirs/{file}", tmp_path / file)]
    info = tmp_path / "pipeline_info"
    info.mkdir()
    words += ["--inputs", tmp_path / "inputs.json", "--output", info / "decisions.json"]
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    noted = json.loads((info / "decisions.json").read_text())["decisions"]
    assert [(one["parameter"], one["file"]) for one in noted] == [(name, f"theirs/{file}") for name, file in files]
    digests = [hashlib.sha256(contents[file]).hexdigest() for _, file in files]
    assert [one["sha256"] for one in noted] == digests
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


def test_results_that_were_set_aside_keep_theirs(tmp_path: Path) -> None:
    """Beside the tables, as pipeline_info stays where it is."""
    write_run(tmp_path)
    aside = tmp_path / "results" / "earlier" / "happy_darwin"
    publish(tmp_path, aside)
    decision = {"parameter": "mask", "file": "theirs/round.mrc", "sha256": "0" * 64, "decides": "the mask"}
    (aside / "decisions.json").write_text(json.dumps({"decisions": [decision]}))
    succeed("report", aside)
    assert json.loads((aside / "report.json").read_text())["decisions"] == [decision]


@pytest.mark.parametrize("broken", ["[" * 100_000, '{"decisions": 3}', '{"decisions": [{}]}', ""])
def test_a_broken_record_is_told(tmp_path: Path, broken: str) -> None:
    write_run(tmp_path)
    results = tmp_path / "results"
    publish(tmp_path, results)
    (results / "pipeline_info").mkdir()
    (results / "pipeline_info" / "decisions.json").write_text(broken)
    done = run("report", results)
    assert done.exit_code == 2 and "decisions.json: cannot be read as what people decided" in done.output
