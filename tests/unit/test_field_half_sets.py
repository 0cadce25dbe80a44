"""Small files made after trouble that users report: half sets, and cryoSPARC's jobs."""

from __future__ import annotations

import json
from pathlib import Path
from runpy import run_path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from command_line import run, succeed

from drgnalign.formats.cryosparc import read_cs
from drgnalign.formats.star import read_star

FIELD = Path(__file__).parents[1] / "data" / "field"
BIN = Path(__file__).parents[2] / "bin"
HETERO = FIELD / "B02_cs_hetero"


def check_inputs(folder: Path, particles: Path, *options: object) -> Result:
    """The first step of the workflow; it writes state.star, facts.json and said.txt into the folder."""
    words = [particles, "--images", FIELD, "--train-box", 32, "--output", folder / "state.star"]
    words += ["--report", folder / "facts.json", "--said", folder / "said.txt", *options]
    main = run_path(str(BIN / "check_inputs.py"))["main"]
    return CliRunner().invoke(main, [str(word) for word in words])


def imported(folder: Path, particles: Path, *options: object) -> tuple[pd.DataFrame, dict]:
    """Table of the state, and what was found; what is warned of is said and kept."""
    done = check_inputs(folder, particles, *options)
    assert done.exit_code == 0, done.output
    facts = json.loads((folder / "facts.json").read_text())
    assert (folder / "said.txt").read_text() == "".join(f"WARNING: {warning}\n" for warning in facts["warnings"])
    return read_star(folder / "state.star").table, facts


def images_in_both(table: pd.DataFrame) -> int:
    return int((table.groupby("rlnImageName")["rlnRandomSubset"].nunique() > 1).sum())


@pytest.mark.parametrize("file", ["A41_symexp_star/p.star", "A42_duplicates/twice.star"])
def test_all_rows_of_an_image_are_in_one_half_set(file: str, tmp_path: Path) -> None:
    table, facts = imported(tmp_path, FIELD / file)
    assert len(table) == 80 and images_in_both(table) == 0
    assert facts["half_sets"] == [40, 40] and facts["halves"] == "dealt at import"
    assert "dealt by chance, never parting images" in facts["warnings"][0]


def test_a_division_that_parts_rows_of_an_image_is_told(tmp_path: Path) -> None:
    table, facts = imported(tmp_path, FIELD / "A41_symexp_star" / "p2.star")
    assert images_in_both(table) == 40 and facts["halves"] == "not independent"
    assert "both half sets hold rows of the same 40 images: they are not independent" in facts["warnings"][0]
    table, facts = imported(tmp_path, FIELD / "A41_symexp_star" / "p2.star", "--half-sets", "deal")
    assert images_in_both(table) == 0 and facts["halves"] == "dealt at import"


def test_the_way_out_of_one_half_set_works(tmp_path: Path) -> None:
    star = FIELD / "A36_one_half" / "p.star"
    refused = check_inputs(tmp_path, star)
    assert refused.exit_code == 2 and "--half_sets deal" in refused.output
    assert "--half_sets deal" in " ".join(run("inspect", star, "--images", FIELD).output.split())
    _, facts = imported(tmp_path, star, "--half_sets", "deal")
    assert facts["half_sets"] == [20, 20]


def test_warnings_of_cryosparc_s_reader_are_said_and_kept(tmp_path: Path) -> None:
    job = FIELD / "F11_cs_warnings"
    _, facts = imported(tmp_path, job / "particles.cs", "--images", job)
    for part in ("alignments3D/psize_A", "alignments3D/split is not a division", "has no half sets"):
        assert any(part in warning for warning in facts["warnings"]), part


PASSTHROUGH = ("--passthrough", HETERO / "J5_pt_all.cs", "--passthrough", HETERO / "J5_pt_ctf.cs")


def test_a_job_over_three_files_is_read_by_all_steps(tmp_path: Path) -> None:
    """Files of further fields have the rows in another order; each finds its own by uid."""
    succeed("convert", HETERO / "J5_particles.cs", *PASSTHROUGH, "-o", tmp_path / "all.star")
    table = read_star(tmp_path / "all.star").table
    further = np.load(HETERO / "J5_pt_ctf.cs")
    row_of = pd.Series(range(7), further["uid"])
    rows = row_of[np.load(HETERO / "J5_particles.cs")["uid"]]
    np.testing.assert_allclose(table["rlnDefocusU"], further["ctf/df1_A"][rows], rtol=1e-6)
    state, _ = imported(tmp_path, HETERO / "J5_particles.cs", *PASSTHROUGH, "--images", FIELD / "F11_cs_warnings")
    np.testing.assert_array_equal(state["rlnDefocusU"], table["rlnDefocusU"])
    succeed("select", HETERO / "J5_particles.cs", *PASSTHROUGH, "--rows", "1:3", "-o", tmp_path / "few.cs")
    assert len(read_cs(tmp_path / "few.cs")) == 3


def test_the_files_of_a_job_may_come_one_by_one(tmp_path: Path) -> None:
    """A field that two of them have is taken from the first."""
    main, others = np.load(HETERO / "J5_particles.cs"), [HETERO / "J5_pt_all.cs", HETERO / "J5_pt_ctf.cs"]
    rows = [read_cs(HETERO / "J5_particles.cs", order).cs_rows for order in (others, others[::-1], others[:1])]
    for found in rows:
        assert set(main.dtype.names) <= set(found.dtype.names)
        np.testing.assert_array_equal(found["uid"], main["uid"])
        np.testing.assert_array_equal(found["ctf/df1_A"], rows[0]["ctf/df1_A"])


def test_passthrough_files_are_cryosparc_s(tmp_path: Path) -> None:
    refused = check_inputs(tmp_path, FIELD / "A36_one_half" / "p.star", *PASSTHROUGH)
    assert refused.exit_code == 2 and "only cryoSPARC's files have passthrough files" in refused.output


def test_a_star_file_without_ctf_values_is_not_written_silently(tmp_path: Path) -> None:
    rows = np.load(HETERO / "J5_pt_all.cs")
    kept = [name for name in rows.dtype.names if not name.startswith("ctf/")]
    with (tmp_path / "J7.CS").open("wb") as file:
        np.save(file, rows[kept])
    done = succeed("convert", tmp_path / "J7.CS", "--box", 32, "-o", tmp_path / "J7.STAR")
    assert "has no CTF values, and what is written has none" in done.output and "--passthrough" in done.output
    assert len(read_star(tmp_path / "J7.STAR")) == 7


def test_relion_s_names_of_stacks(tmp_path: Path) -> None:
    """Where they are not so, it is said, and links are offered."""
    job = FIELD / "F11_cs_warnings"
    done = succeed("convert", job / "particles.cs", "-o", tmp_path / "p.star")
    assert "RELION wants stacks that are named .mrcs: 1 of 1 are not" in done.output and "--links" in done.output
    words = ("convert", job / "particles.cs", "--links", tmp_path / "links", "-o", tmp_path / "p.star")
    for _ in range(2):
        assert "RELION wants" not in succeed(*words).output
    stack = tmp_path / "links" / "J12" / "extract" / "000123_mic_particles.mrcs"
    assert stack.resolve() == (job / "J12" / "extract" / "000123_mic_particles.mrc").resolve()
    assert read_star(tmp_path / "p.star").table["rlnImageName"].iloc[0] == f"000001@{stack}"
    stack.unlink()
    stack.write_text("another file")
    assert "it is no link to" in run(*words).output
