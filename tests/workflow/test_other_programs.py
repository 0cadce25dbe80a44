"""What `drgnalign export` makes of a run's results, opened by the programs that it is for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from runs import PYTHON, Run

from drgnalign.formats.mrc import read_volume
from drgnalign.validation.fsc import fourier_shell_correlation


def export(loop_run: Run, *words: object) -> None:
    command = [PYTHON.with_name("drgnalign"), "export", loop_run.results, *words]
    subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)


def test_cryodrgn_analyses_a_round(loop_run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "for_cryodrgn"
    export(loop_run, "--to", "cryodrgn", "-o", folder)
    (latent,) = folder.glob("z.*.pkl")
    epoch = latent.name.split(".")[1]
    command = [PYTHON.with_name("cryodrgn"), "analyze", folder, epoch, "--skip-umap", "--ksample", 2, "--pc", 1]
    subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    decoded = sorted((folder / f"analyze.{epoch}" / "kmeans2").glob("vol_*.mrc"))
    assert len(decoded) == 2 and all(np.isfinite(read_volume(path)[0]).all() for path in decoded)


@pytest.mark.long
def test_relion_reconstructs_the_half_maps_from_the_project(loop_run: Run, tmp_path: Path) -> None:
    """Its own interpolation and weights, on images that are not normalised: within the mask the map is the same."""
    project, job = tmp_path / "project", tmp_path / "project" / "External" / "drgnalign"
    project.mkdir()
    export(loop_run, "--to", "relion", "--relion-project", project, "-o", job)
    mask = read_volume(job / "mask.mrc")[0]
    for half in (1, 2):
        out = project / f"half{half}.mrc"
        command = ["relion_reconstruct", "--i", "External/drgnalign/cluster_01_particles.star", "--o", out.name]
        command += ["--ctf", "--subset", str(half)]
        subprocess.run(command, cwd=project, check=True, capture_output=True, text=True)
        ours = read_volume(job / f"cluster_01_half{half}.mrc")[0]
        alike = fourier_shell_correlation(read_volume(out)[0] * mask, ours * mask)
        print(np.round(alike, 4).tolist())
        assert (alike[1 : len(alike) // 2] > 0.99).all()
