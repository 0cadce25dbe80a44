"""Real images through the whole workflow."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from runs import Run

from conftest import ATP_SYNTHASE
from drgnalign.formats.star import read_star

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not ATP_SYNTHASE.is_dir(), reason=f"the test data are not there: {ATP_SYNTHASE}"),
]


def test_frealign_particles_come_through_a_round(real_run: Run) -> None:
    assert set(real_run.tasks) == {"COMPLETED"}
    summary = pd.read_csv(real_run.results / "summary.csv")
    assert summary["cluster"].tolist() == ["consensus", "consensus", "cluster_01"]
    assert (summary["particles"] == 50).all() and not summary["skipped"].any()
    refined = read_star(real_run.results / "final" / "cluster_01_particles.star")
    assert refined.pixel_size == pytest.approx(2.8)
    assert refined.table["rlnImageName"].str.endswith("@parts.stk").all()


def test_dark_protein_is_found_and_recorded(real_run: Run) -> None:
    facts = json.loads((real_run.results / "pipeline_info" / "inputs.json").read_text())
    assert facts["contrast"] == ["dark"]
    assert facts["contrast_from"] == "the images or the file"
    assert (facts["particles"], facts["box"], facts["half_sets"]) == (50, 128, [25, 25])


def test_grey_values_of_any_scale_are_normalised_and_it_is_said(real_run: Run) -> None:
    facts = json.loads((real_run.results / "pipeline_info" / "inputs.json").read_text())
    assert facts["normalised"] and 20 < facts["backgrounds"]["gain"]["p50"] < 23
    assert facts["backgrounds"]["share_with_outlying_pixels"] == 0
    assert (
        f"{ATP_SYNTHASE.resolve()}/parts-15_128x128f.par: images are normalised as they are read: noise of σ = 2"
        in real_run.log
    )
