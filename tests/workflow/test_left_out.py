"""Junk is found, and in nothing from then on, though never lost."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from runs import Run

from drgnalign.formats.cryodrgn import read_indices, read_latent
from drgnalign.formats.star import read_star
from drgnalign.particles import ANGLES, ORIGINS, Particles

POSE = [*ANGLES, *ORIGINS]


def passes_of(run: Run) -> list[Particles]:
    folders = [*sorted(run.results.glob("consensus/pass_*")), *sorted(run.results.glob("round_*"))]
    return [read_star(folder / "particles.star") for folder in folders]


def test_empty_images_are_left_out_before_the_first_round(junk_run: Run) -> None:
    truth = read_star(junk_run.results.parent / "set" / "truth.star").table
    empty = (truth["drgnTrueJunk"] == "empty").to_numpy()
    given, refined, screened, last = passes_of(junk_run)
    assert not given.left_out().any() and not refined.left_out().any()
    # the round takes back what the coarse images of the first look misjudged
    for particles, most_good in ((screened, 0.06), (last, 0.02)):
        assert particles.left_out()[empty].mean() > 0.9
        assert particles.left_out()[~empty].mean() < most_good
    record = json.loads((junk_run.results / "consensus" / "pass_03" / "screening.json").read_text())
    metrics = json.loads((junk_run.results / "consensus" / "pass_03" / "metrics.json").read_text())
    assert metrics["screening"] == record and metrics["left_out"] == screened.left_out().sum()


def test_rows_stay_and_who_stays_out_keeps_its_pose(junk_run: Run) -> None:
    given = read_star(junk_run.results.parent / "set" / "particles.star").table
    *before, screened, last = passes_of(junk_run)
    for particles in (*before, screened, last):
        assert particles.table["rlnImageName"].tolist() == given["rlnImageName"].tolist()
    out = screened.left_out() & last.left_out()
    pd.testing.assert_frame_equal(last.table.loc[out, POSE], screened.table.loc[out, POSE], check_exact=True)
    refined = last.table.loc[~screened.left_out() & ~last.left_out(), POSE]
    assert (refined != screened.table.loc[refined.index, POSE]).any(axis=1).all()


def test_they_are_in_no_training_cluster_or_figure(junk_run: Run) -> None:
    results = junk_run.results
    *_, screened, last = passes_of(junk_run)
    latent = results / "round_01" / "latent"
    assert read_indices(latent / "ind.pkl").tolist() == np.flatnonzero(~screened.left_out()).tolist()
    assert len(read_latent(latent / "z.pkl")[0]) == len(pd.read_csv(latent / "embedding.csv")) == len(last)
    assert not last.cluster_labels()[last.left_out()].any() and last.cluster_labels()[~last.left_out()].all()
    summary = pd.read_csv(results / "summary.csv")
    sizes, out = summary.groupby("pass")["particles"].sum(), summary.groupby("pass")["left_out"].first()
    assert (sizes + out).tolist() == [len(last)] * 4
    assert out.tolist() == [0, 0, screened.left_out().sum(), last.left_out().sum()]


def test_they_are_told_and_handed_over(junk_run: Run) -> None:
    results = junk_run.results
    *_, screened, last = passes_of(junk_run)
    assert f"Consensus, pass 3: {screened.left_out().sum()} of 500 particles are left out" in junk_run.log
    assert f"Round 1: {last.left_out().sum()} of 500 particles are left out" in junk_run.log
    final = results / "final"
    everything, out = read_star(final / "all_particles.star"), read_star(final / "left_out_particles.star")
    assert everything.left_out().tolist() == last.left_out().tolist()
    expected = everything.table[everything.left_out()].reset_index(drop=True)
    pd.testing.assert_frame_equal(out.table, expected)
    clusters = pd.concat([read_star(path).table for path in sorted(final.glob("cluster_*_particles.star"))])
    assert set(clusters["rlnImageName"]).isdisjoint(out.table["rlnImageName"])
    assert len(clusters) + len(out) == 500
    assert "left_out_particles.star" in pd.read_csv(final / "index.csv")["file"].tolist()


@pytest.mark.long
def test_kept_junk_is_in_everything_and_only_named(junk_run: Run, kept_run: Run) -> None:
    *_, last = passes_of(kept_run)
    assert len(passes_of(kept_run)) == 3 and not last.left_out().any() and last.cluster_labels().all()
    assert np.isfinite(last.table[["drgnJunkPosterior", "drgnAmplitude"]]).all(axis=None)
    assert not (kept_run.results / "final" / "left_out_particles.star").exists()
    # what comes before anybody is left out was not done again, the rest is another run
    assert {"DOWNSAMPLE (1)", "MAP:MERGE (1)", "MAP:MERGE (2)"} <= kept_run.named("CACHED")
    assert "LABEL:FIT (3 r1)" in kept_run.named("COMPLETED") and "LABEL:FIT (4 r1)" in junk_run.named("COMPLETED")
    assert "SCREEN (3)" in junk_run.named("COMPLETED") and not any("SCREEN" in name for name in kept_run.tasks.index)
