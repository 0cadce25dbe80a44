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
    assert not given.left_out().any()
    # the round takes back what the coarse images of the first looks misjudged
    for particles, most_good in ((refined, 0.06), (screened, 0.06), (last, 0.02)):
        assert particles.left_out()[empty].mean() > 0.9
        assert particles.left_out()[~empty].mean() < most_good
    for number, particles in ((2, refined), (3, screened)):
        folder = junk_run.results / "consensus" / f"pass_0{number}"
        record, metrics = (json.loads((folder / name).read_text()) for name in ("screening.json", "metrics.json"))
        assert metrics["screening"] == record and metrics["left_out"] == particles.left_out().sum()
        # poses are looked for in the refined map alone
        assert (record["searched"] > 0) == (number == 3) == particles.searched().any()


def test_rows_stay_and_who_stays_out_keeps_its_pose(junk_run: Run) -> None:
    given = read_star(junk_run.results.parent / "set" / "particles.star").table
    at_given, refined, screened, last = passes_of(junk_run)
    for particles in (at_given, refined, screened, last):
        assert particles.table["rlnImageName"].tolist() == given["rlnImageName"].tolist()
    moved = (refined.table[POSE] != at_given.table[POSE]).any(axis=1)
    assert moved.tolist() == (~refined.left_out()).tolist()
    out = screened.left_out() & last.left_out()
    pd.testing.assert_frame_equal(last.table.loc[out, POSE], screened.table.loc[out, POSE], check_exact=True)
    refined = last.table.loc[~screened.left_out() & ~last.left_out(), POSE]
    assert (refined != screened.table.loc[refined.index, POSE]).any(axis=1).all()


def test_they_are_in_no_training_cluster_or_figure(junk_run: Run) -> None:
    results = junk_run.results
    *_, refined, screened, last = passes_of(junk_run)
    latent = results / "round_01" / "latent"
    assert read_indices(latent / "ind.pkl").tolist() == np.flatnonzero(~screened.left_out()).tolist()
    assert len(read_latent(latent / "z.pkl")[0]) == len(pd.read_csv(latent / "embedding.csv")) == len(last)
    assert not last.cluster_labels()[last.left_out()].any() and last.cluster_labels()[~last.left_out()].all()
    summary = pd.read_csv(results / "summary.csv")
    sizes, out = summary.groupby("pass")["particles"].sum(), summary.groupby("pass")["left_out"].first()
    assert (sizes + out).tolist() == [len(last)] * 4
    assert out.tolist() == [0, refined.left_out().sum(), screened.left_out().sum(), last.left_out().sum()]


def test_they_are_told_and_handed_over(junk_run: Run) -> None:
    results = junk_run.results
    *_, refined, screened, last = passes_of(junk_run)
    for number, particles in ((2, refined), (3, screened)):
        said = f"Consensus, pass {number}: {particles.left_out().sum()} of 500 particles are left out"
        assert said in junk_run.log
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
    assert {"DOWNSAMPLE (1)", "MAP:MERGE (1)"} <= kept_run.named("CACHED")
    assert "LABEL:FIT (3 r1)" in kept_run.named("COMPLETED") and "LABEL:FIT (4 r1)" in junk_run.named("COMPLETED")
    assert {"SCREEN (2)", "SCREEN (3)"} <= junk_run.named("COMPLETED") and not any(
        "SCREEN" in name for name in kept_run.tasks.index
    )
