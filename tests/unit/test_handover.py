"""`drgnalign export`: a pass of a small run, made up, for RELION, cryoDRGN and the EMDB."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import yaml
from command_line import run, succeed
from cryosparc.dataset import Dataset
from matplotlib.image import imread
from numpy.testing import assert_allclose
from small_run import PARTICLES, STACK, write_run

from drgnalign.colours import map_colour
from drgnalign.formats.cryodrgn import read_latent, read_poses, write_latent
from drgnalign.formats.star import read_star, write_star
from drgnalign.fourier import soft_sphere
from drgnalign.handover.emdb import fsc_xml, picture
from drgnalign.run.latent import TrainingRecord
from drgnalign.run.record import write_record

CONFIG = """cmd:
- cryodrgn
- --ctf
- training/ctf.pkl
dataset_args:
  ctf: /gone/ctf.pkl
  datadir: null
  ind: /gone/ind.pkl
  norm:
  - 0.0
  - 2.5
  particles: /gone/down_sampled.mrcs
  poses: /gone/poses.pkl
lattice_args:
  D: 25
"""
EVERY_HUNDREDTH = 6


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the input's images, in which a run left ``results``."""
    (tmp_path / STACK).parent.mkdir()
    (tmp_path / STACK).touch()
    results = tmp_path / "results"
    folders = write_run(tmp_path / "made")
    for number, name in ((1, "consensus/pass_01"), (2, "round_01"), (3, "round_02")):
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        folders[number].rename(results / name)
        for path in [*(results / name / "clusters").glob("c*[0-9s].mrc")]:
            for half in (1, 2):
                path.with_name(f"{path.stem}_half{half}.mrc").write_bytes(path.read_bytes())
    latent = results / "round_02" / "latent"
    for name, text in (("weights.pkl", "weights"), ("train.log", "epoch"), ("config.yaml", CONFIG)):
        (latent / name).write_text(text)
    z = np.arange(2 * PARTICLES, dtype=np.float32).reshape(-1, 2)
    write_latent(latent / "z.pkl", z, -z)
    write_record(TrainingRecord(epoch=12, first_epoch=9, losses=[], settings={}), latent / "training.json")
    (results / "pipeline_info").mkdir()
    where = {
        "run.json": {"parameters": {"input": "particles.star", "symmetry": "D7"}},
        "session.json": {"folder": str(tmp_path)},
    }
    for name, facts in where.items():
        (results / "pipeline_info" / name).write_text(json.dumps(facts))
    return tmp_path


def names_in(path: Path) -> set[str]:
    return set(read_star(path).table["rlnImageName"].str.partition("@")[2])


def test_a_job_of_relion_is_whole_and_its_paths_are_the_projects(project: Path) -> None:
    job = project / "External" / "drgnalign"
    succeed("export", project / "results", "--to", "relion", "--relion-project", project, "-o", job)
    nodes = dict(re.findall(r"^(External\S+) (\S+)$", (job / "RELION_OUTPUT_NODES.star").read_text(), re.M))
    assert all((project / path).is_file() for path in nodes) and (job / "RELION_JOB_EXIT_SUCCESS").exists()
    kinds = {path.removeprefix("External/drgnalign/"): kind for path, kind in nodes.items()}
    assert kinds["cluster_01_particles.star"] == "ParticleGroupMetadata.star.relion"
    assert kinds["cluster_02_half2.mrc"] == "DensityMap.mrc.halfmap" and kinds["mask.mrc"] == "Mask3D.mrc"
    assert len(kinds) == 2 * 4 + 1
    everybody = read_star(project / "results" / "round_02" / "particles.star").table
    parts = pd.concat([read_star(job / f"cluster_0{label}_particles.star").table for label in (1, 2)])
    assert len(parts) == PARTICLES - EVERY_HUNDREDTH
    whole = everybody.loc[parts["drgnRow"]]
    assert parts["rlnRandomSubset"].tolist() == whole["rlnRandomSubset"].tolist()
    assert names_in(job / "cluster_01_particles.star") == {STACK}


@pytest.mark.parametrize("inside", [True, False])
def test_stacks_of_other_names_and_folders_are_found_too(project: Path, inside: bool) -> None:
    """RELION takes what is not called .mrcs for a stack where that stands behind the name."""
    table = project / "results" / "round_02" / "particles.star"
    table.write_text(table.read_text().replace(".mrcs", ".mrc"))
    (project / STACK).rename(project / STACK.removesuffix("s"))
    relion = project if inside else project / "elsewhere"
    relion.mkdir(exist_ok=True)
    job = relion / "job"
    succeed("export", project / "results", "--to", "relion", "--relion-project", relion, "-o", job)
    name = STACK.removesuffix("s") if inside else str(project / STACK.removesuffix("s"))
    assert names_in(job / "cluster_01_particles.star") == {f"{name}:mrcs"}


def test_an_earlier_pass_and_moved_images(project: Path, tmp_path: Path) -> None:
    moved = project / "moved"
    (project / STACK).parent.rename(moved)
    out = tmp_path / "job"
    words = ("export", project / "results", "--to", "relion", "--relion-project", project, "-o", out)
    refused = run(*words)
    assert refused.exit_code == 2 and "1 stacks cannot be found" in refused.output and "--images" in refused.output
    assert not out.exists()
    succeed(*words, "--images", moved, "--pass", "consensus/pass_01")
    assert names_in(out / "consensus_particles.star") == {f"moved/{Path(STACK).name}"}


def without_blanks(project: Path) -> None:
    """The stack under another name, in the folder and in the round's particle file."""
    (project / STACK).rename(project / "Extract" / "images.mrcs")
    path = project / "results" / "round_02" / "particles.star"
    particles = read_star(path)
    numbers = particles.table["rlnImageName"].str.partition("@")[0]
    particles.table["rlnImageName"] = numbers + "@Extract/images.mrcs"
    write_star(particles, path)


def test_a_folder_of_cryodrgn_is_alike_row_by_row(project: Path) -> None:
    without_blanks(project)
    # such a long one is folded, at blanks and beside what is not ASCII
    gone = f"/gone/{'work of 日本の研究 ' * 8}/ctf.pkl"
    config = yaml.safe_load(CONFIG)
    config["dataset_args"] |= {"ctf": gone, "particles": gone}
    (project / "results" / "round_02" / "latent" / "config.yaml").write_text(yaml.dump(config))
    folder = project / "for_cryodrgn"
    said = succeed("export", project / "results", "--to", "cryodrgn", "-o", folder).output
    assert "cryodrgn analyze" in said and " 12" in said
    kept = ~read_star(project / "results" / "round_02" / "particles.star").left_out()
    mu, logvar = read_latent(folder / "z.12.pkl")
    assert mu[:, 0].tolist() == (2.0 * np.flatnonzero(kept)).tolist() and (logvar == -mu).all()
    assert len(read_poses(folder / "poses.pkl")[0]) == kept.sum() == len(read_star(folder / "particles.star"))
    given = yaml.safe_load((folder / "config.yaml").read_text())["dataset_args"]
    assert given["ind"] is None and given["norm"] == [0.0, 2.5]
    assert all(Path(given[name]).is_file() for name in ("particles", "poses", "ctf"))
    (labels,) = (folder / "analyze.12").glob("kmeans2/labels.pkl")
    clusters = read_star(folder / "particles.star").cluster_labels()
    assert pickle.loads(labels.read_bytes()).tolist() == (clusters - 1).tolist()
    assert pickle.loads((folder / "analyze.12" / "umap.pkl").read_bytes()).shape == (kept.sum(), 2)
    assert (folder / "weights.12.pkl").read_text() == "weights" and (folder / "run.log").read_text() == "epoch"


def test_a_group_of_cryosparc_has_the_uids_of_the_input(project: Path) -> None:
    path = project / "results" / "round_02" / "particles.star"
    particles = read_star(path)
    uids = np.random.default_rng(1).integers(2**60, 2**63, PARTICLES, dtype=np.uint64)
    particles.table["drgnCryosparcUid"] = uids.astype(str)
    write_star(particles, path)
    folder = project / "for_cryosparc"
    succeed("export", project / "results", "--to", "cryosparc", "-o", folder)
    group = yaml.safe_load((folder / "cluster_02_particles.csg").read_text())
    assert group["group"]["type"] == "particle" and set(group["results"]) == {"blob", "ctf", "alignments3D"}
    members = read_star(path).table.query("rlnClassNumber == 2 and drgnLeftOut == 0")
    for slot, said in group["results"].items():
        rows = np.load(folder / said["metafile"].removeprefix(">"))
        assert said["num_items"] == len(rows) == len(members) and said["type"] == f"particle.{slot}"
    assert rows["uid"].tolist() == uids[members.index].tolist()
    assert (rows["alignments3D/split"] == members["rlnRandomSubset"] - 1).all()
    assert set(rows["blob/path"].tolist()) == {STACK.encode()}
    # by cryoSPARC's own reader
    theirs = Dataset.load(folder / group["results"]["alignments3D"]["metafile"].removeprefix(">"))
    assert len(theirs) == len(members) and theirs["uid"].tolist() == uids[members.index].tolist()
    assert set(theirs.prefixes()) >= {"blob", "ctf", "alignments3D"}
    assert_allclose(theirs["alignments3D/pose"], rows["alignments3D/pose"])


def test_an_entry_of_the_emdb_says_what_its_figures_are_worth(project: Path) -> None:
    """Of rows that are one image three times, in two optics groups, whose half sets are not independent."""
    path = project / "results" / "round_02" / "particles.star"
    particles = read_star(path)
    particles.table["rlnImageName"] = particles.table["rlnImageName"].to_numpy()[np.arange(PARTICLES) // 3]
    particles.optics = pd.concat([particles.optics, particles.optics.assign(rlnOpticsGroup=2, rlnVoltage=200.0)])
    particles.table["rlnOpticsGroup"] = np.arange(PARTICLES) % 2 + 1
    write_star(particles, path)
    file = project / "results" / "round_02" / "metrics.json"
    file.write_text(file.read_text().replace('"independent"', '"not independent"'))
    succeed("export", project / "results", "--to", "emdb", "-o", project / "emdb")
    text = (project / "emdb" / "cluster_02" / "cluster_02_deposition.txt").read_text()
    assert "in 297 rows" in text and "200 and 300 kV" in text
    assert "not independent: the resolution is not that of a gold standard" in text


def test_an_entry_of_the_emdb_has_what_a_deposition_asks(project: Path) -> None:
    folder = project / "emdb"
    succeed("export", project / "results", "--to", "emdb", "-o", folder)
    entry, maps = folder / "cluster_01", project / "results" / "round_02" / "clusters"
    for name in ("cluster_01.mrc", "cluster_01_half1.mrc", "cluster_01_half2.mrc", "mask.mrc"):
        assert (entry / name).read_bytes() == (maps / name).read_bytes()
    assert imread(entry / "cluster_01_picture.png").shape[:2] == (500, 500)
    text = (entry / "cluster_01_deposition.txt").read_text()
    assert "12.00 Å, FSC 0.143" in text and "recommended contour" in text and "300 kV" in text
    assert re.search(r"particles +297 of 600\n", text) and re.search(r"symmetry +D7\n", text)
    assert re.search(r"half sets +independent\n", text)
    root = ElementTree.parse(entry / "cluster_01_fsc.xml").getroot()
    assert root.attrib["xaxis"] == "Resolution (A-1)" and len(root) == 12


def test_the_xml_has_frequencies_and_leaves_out_what_is_not_known() -> None:
    curve = pd.DataFrame({"resolution_angstrom": [20.0, 10.0, 5.0], "fsc_corrected": [0.9, np.nan, 0.1]})
    points = ElementTree.fromstring(fsc_xml(curve, "a <b>").partition("\n")[2])
    assert [(point[0].text, point[1].text) for point in points] == [("0.050000", "0.900000"), ("0.200000", "0.100000")]


def test_the_picture_shows_the_map_where_it_is() -> None:
    """A ball at the upper right, as ChimeraX and the report show a map: x to the right, y up."""
    ball = np.roll(soft_sphere(24, 4, 2), (6, 6), axis=(1, 2)).astype(np.float32)
    shown = picture(ball, 0.5, map_colour(1))
    rows, columns = np.nonzero((shown != 255).any(axis=2))
    middle = np.array([rows.mean(), columns.mean()]) / 500
    assert middle == pytest.approx([0.5 - 6 / 24, 0.5 + 6 / 24], abs=0.03)
    blue = shown[int(rows.mean()), int(columns.mean())].astype(int)
    assert blue[2] > blue[0] + 50


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--to", "relion"), "give --relion-project"),
        (("--to", "emdb", "--relion-project", "."), "leave it out"),
        (("--to", "emdb", "--pass", "round_09"), "choose one of consensus/pass_01, round_01, round_02"),
        (("--to", "cryodrgn", "--pass", "consensus/pass_01"), "has no network of cryoDRGN's"),
        (("--to", "cryosparc"), "is not of particles from cryoSPARC"),
    ],
)
def test_what_cannot_be_exported_is_told(project: Path, words: tuple[str, ...], told: str) -> None:
    refused = run("export", project / "results", "-o", project / "out", *words)
    assert refused.exit_code == 2 and told in refused.output
    assert not (project / "out").exists()


def test_what_is_there_is_not_mixed_with(project: Path) -> None:
    words = ("export", project / "results", "--to", "emdb", "-o", project / "out")
    succeed(*words, "--pass", "round_01")
    refused = run(*words)
    assert refused.exit_code == 2 and "is no empty folder" in refused.output


def test_a_folder_outside_of_the_project_is_refused(project: Path) -> None:
    (project / "relion").mkdir()
    words = ("--to", "relion", "--relion-project", project / "relion", "-o", project / "out")
    refused = run("export", project / "results", *words)
    assert refused.exit_code == 2 and "is not in the RELION project" in refused.output


@pytest.mark.parametrize("missing", ["clusters/mask.mrc", "clusters/cluster_02_half1.mrc", "fsc.csv", "particles.star"])
def test_a_missing_file_is_told_and_nothing_is_begun(project: Path, missing: str) -> None:
    (project / "results" / "round_02" / missing).unlink()
    refused = run("export", project / "results", "--to", "emdb", "-o", project / "out")
    assert refused.exit_code == 2 and Path(missing).name in refused.output
    assert not (project / "out").exists()


def test_blanks_that_cryodrgn_cannot_read_are_told(project: Path) -> None:
    refused = run("export", project / "results", "--to", "cryodrgn", "-o", project / "out")
    assert refused.exit_code == 2 and "cryoDRGN reads no blanks" in refused.output
    assert not (project / "out").exists()


def test_results_that_do_not_say_where_their_images_are(project: Path) -> None:
    without_blanks(project)
    (project / "results" / "pipeline_info" / "run.json").unlink()
    words = ("export", project / "results", "--to", "cryodrgn", "-o", project / "out")
    refused = run(*words)
    assert refused.exit_code == 2 and "does not say where the images" in refused.output
    succeed(*words, "--images", project)
