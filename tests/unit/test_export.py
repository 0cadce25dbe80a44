from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest

from drgnalign.errors import InputError
from drgnalign.formats.mrc import write_volume
from drgnalign.formats.star import read_star
from drgnalign.particles import Particles
from drgnalign.run.export import export_final
from drgnalign.run.record import write_record
from drgnalign.run.records import PathPoint

LABELS = [1, 1, 2, 0, 2, 1, 3]


@pytest.fixture
def particles() -> Particles:
    """Three clusters and an unassigned particle, in two optics groups."""
    random = np.random.default_rng(0)
    count = len(LABELS)
    table = pd.DataFrame(
        {
            "rlnImageName": [f"{i + 1:06d}@Extract/job007/mic{i % 2}.mrcs" for i in range(count)],
            "rlnMicrographName": [f"mic{i % 2}.mrc" for i in range(count)],
            "rlnOpticsGroup": [2, 5, 2, 5, 2, 5, 2],
            "rlnAngleRot": random.uniform(-180, 180, count),
            "rlnOriginXAngst": random.normal(size=count),
            "rlnClassNumber": LABELS,
            "rlnRandomSubset": [1, 2, 1, 2, 2, 1, 1],
            "drgnRow": range(count),
            "drgnInputClassNumber": 7,
            "drgnScore": [0.1, 0.2, np.nan, np.nan, 0.3, 0.4, 0.5],
        }
    )
    optics = pd.DataFrame(
        {
            "rlnOpticsGroup": [2, 5],
            "rlnOpticsGroupName": ["first", "second"],
            "rlnImagePixelSize": 1.31,
            "rlnImageSize": 4,
            "drgnContrast": "dark",
        }
    )
    return Particles(table, optics, Path("state.star"))


@pytest.fixture
def references(tmp_path: Path) -> Path:
    """Maps of clusters 1 and 2, and of the consensus; the last round skipped cluster 3."""
    folder = tmp_path / "references"
    folder.mkdir()
    random = np.random.default_rng(1)
    rows = []
    for name in ("consensus", "cluster_01", "cluster_02"):
        for ending in ("_half1", "_half2", ""):
            write_volume(folder / f"{name}{ending}.mrc", random.normal(size=(4, 4, 4)).astype(np.float32), 1.31)
        rows += [(name, shell, "0.12345678901234567", 2.62, "mask.mrc", "none", "not independent") for shell in (1, 2)]
    write_volume(folder / "mask.mrc", np.ones((4, 4, 4), np.float32), 1.31)
    columns = ["cluster", "shell", "fsc_corrected", "resolution_0143_angstrom", "mask"]
    columns += ["alignment_limit_angstrom", "halves"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "fsc.csv", index=False)
    return folder


def test_files_and_index(particles: Particles, references: Path, tmp_path: Path) -> None:
    outdir = tmp_path / "final"
    index = export_final(particles, references, outdir)
    full = ["_particles.star", "_half1.mrc", "_half2.mrc", ".mrc", "_fsc.csv"]
    expected = [f"cluster_{label:02d}{ending}" for label in (1, 2) for ending in full]
    expected += ["cluster_03_particles.star", "all_particles.star", "mask.mrc"]
    expected += ["open_all.cxc", "open_half_maps.cxc", "README.txt"]
    assert sorted(index["file"]) == sorted(expected)
    assert {path.name for path in outdir.iterdir()} == {*expected, "index.csv"}
    assert pd.read_csv(outdir / "index.csv").equals(index)
    descriptions = index.set_index("file")["description"]
    assert "skipped in the last round" in descriptions["cluster_03_particles.star"]
    assert "1 in no cluster" in descriptions["all_particles.star"]
    assert "2.62 Å" in descriptions["cluster_01_fsc.csv"]
    assert descriptions.str.endswith("halves not independent").all()


def test_the_readme_says_what_opens_where(particles: Particles, references: Path, tmp_path: Path) -> None:
    export_final(particles, references, tmp_path / "final")
    lines = (tmp_path / "final" / "README.txt").read_text().splitlines()
    assert lines[0].startswith("ChimeraX      chimerax open_all.cxc: maps in the report's colours")
    programs = ["ChimeraX", "RELION", "cryoSPARC", "cryoDRGN", "EMDB", "all"]
    assert [line.split()[0] for line in lines if line[0] != " "] == programs
    named = {
        word.rstrip(",;:") for line in lines for word in line.split() if word.rstrip(",;:").endswith((".mrc", ".star"))
    }
    assert named and all((tmp_path / "final" / file).is_file() for file in named)


def test_where_there_are_no_maps_only_particles_are_spoken_of(
    particles: Particles, references: Path, tmp_path: Path
) -> None:
    particles.table["rlnClassNumber"] = 3
    index = export_final(particles, references, tmp_path / "final")
    assert not index["file"].str.endswith(".cxc").any()
    text = (tmp_path / "final" / "README.txt").read_text()
    assert "ChimeraX" not in text and "EMDB" not in text and "RELION" in text


def test_sharpened_maps_and_local_resolutions_are_handed_on(
    particles: Particles, references: Path, tmp_path: Path
) -> None:
    for ending in ("sharp", "local_resolution"):
        write_volume(references / f"cluster_01_{ending}.mrc", np.full((4, 4, 4), 5.0, np.float32), 1.31)
    index = export_final(particles, references, tmp_path / "final").set_index("file")["description"]
    assert (
        "sharpened" in index["cluster_01_sharp.mrc"] and "local resolution" in index["cluster_01_local_resolution.mrc"]
    )
    assert (tmp_path / "final" / "cluster_01_sharp.mrc").exists() and "cluster_02_sharp.mrc" not in index
    script = (tmp_path / "final" / "open_local_resolution.cxc").read_text()
    assert (
        "color sample #1.1 map #1.2 palette 0.000,#9A9A9A:4.990,#9A9A9A:5.000,#FDE725:" in script
        and "cluster_02" not in script
    )


def test_who_is_left_out_has_a_file_of_its_own(particles: Particles, references: Path, tmp_path: Path) -> None:
    # row 3 is unassigned; row 4 would be in cluster 2
    particles.table["drgnLeftOut"] = [0, 0, 0, 0, 1, 0, 0]
    index = export_final(particles, references, tmp_path)
    descriptions = index.set_index("file")["description"]
    assert "1 in no cluster, 1 left out" in descriptions["all_particles.star"]
    assert descriptions["left_out_particles.star"].startswith("1 particles that are left out (drgnLeftOut is 1)")
    everything = read_star(tmp_path / "all_particles.star").table
    pd.testing.assert_frame_equal(everything, particles.table)
    left_out = read_star(tmp_path / "left_out_particles.star").table
    pd.testing.assert_frame_equal(left_out, everything.iloc[[4]].reset_index(drop=True))
    assert read_star(tmp_path / "cluster_02_particles.star").table["drgnScore"].isna().all()


def test_before_there_are_clusters_the_consensus_is_handed_on(
    particles: Particles, references: Path, tmp_path: Path
) -> None:
    particles.table["rlnClassNumber"] = 0
    particles.table["drgnLeftOut"] = [0, 0, 0, 0, 1, 0, 0]
    index = export_final(particles, references, tmp_path / "final")
    maps = ["consensus.mrc", "consensus_half1.mrc", "consensus_half2.mrc"]
    for name in maps:
        assert (tmp_path / "final" / name).read_bytes() == (references / name).read_bytes()
    assert {*maps, "consensus_fsc.csv", "consensus_particles.star"} <= set(index["file"])
    assert len(read_star(tmp_path / "final" / "consensus_particles.star")) == 6


def test_labels_of_ones_own_are_no_maps_before_the_first_round(
    particles: Particles, references: Path, tmp_path: Path
) -> None:
    fsc = pd.read_csv(references / "fsc.csv")
    fsc[fsc["cluster"] == "consensus"].to_csv(references / "fsc.csv", index=False)
    index = export_final(particles, references, tmp_path / "final")
    assert {"consensus.mrc", "consensus_particles.star", "open_all.cxc"} <= set(index["file"])
    assert not index["file"].str.startswith("cluster").any()
    assert "consensus.mrc" in (tmp_path / "final" / "README.txt").read_text()


def test_maps_without_resolution_are_handed_on(particles: Particles, references: Path, tmp_path: Path) -> None:
    table = pd.read_csv(references / "fsc.csv")
    table.loc[table["cluster"] == "cluster_02", "resolution_0143_angstrom"] = np.nan
    table.to_csv(references / "fsc.csv", index=False)
    descriptions = export_final(particles, references, tmp_path / "final").set_index("file")["description"]
    assert "no resolution" in descriptions["cluster_02_fsc.csv"] and "2.62 Å" in descriptions["cluster_01_fsc.csv"]
    assert (tmp_path / "final" / "cluster_02.mrc").exists()


def test_independent_halves_need_no_mark(particles: Particles, references: Path, tmp_path: Path) -> None:
    fsc = references / "fsc.csv"
    fsc.write_text(fsc.read_text().replace("not independent", "independent"))
    index = export_final(particles, references, tmp_path / "final")
    assert not index["description"].str.contains("independent").any()


def test_star_files_keep_what_the_user_had(particles: Particles, references: Path, tmp_path: Path) -> None:
    outdir = tmp_path / "final"
    export_final(particles, references, outdir)
    own = read_star(outdir / "cluster_02_particles.star")
    expected = particles.table.iloc[[2, 4]].reset_index(drop=True)
    pd.testing.assert_frame_equal(own.table, expected)
    pd.testing.assert_frame_equal(own.optics, particles.optics)
    everything = read_star(outdir / "all_particles.star")
    pd.testing.assert_frame_equal(everything.table, particles.table)


def test_maps_are_the_clusters_own(particles: Particles, references: Path, tmp_path: Path) -> None:
    outdir = tmp_path / "final"
    export_final(particles, references, outdir)
    for name in ("cluster_01_half1.mrc", "cluster_02.mrc", "mask.mrc"):
        assert (outdir / name).read_bytes() == (references / name).read_bytes()
    with mrcfile.open(outdir / "cluster_01.mrc") as volume:
        assert volume.voxel_size.x == pytest.approx(1.31)


def test_fsc_is_handed_on_to_the_last_digit(particles: Particles, references: Path, tmp_path: Path) -> None:
    outdir = tmp_path / "final"
    export_final(particles, references, outdir)
    lines = (references / "fsc.csv").read_text().splitlines()
    own = [lines[0], *(line for line in lines if line.startswith("cluster_02"))]
    assert (outdir / "cluster_02_fsc.csv").read_text().splitlines() == own


def test_twice_gives_the_same(particles: Particles, references: Path, tmp_path: Path) -> None:
    outdir = tmp_path / "final"
    export_final(particles, references, outdir)
    first = {path.name: path.read_bytes() for path in outdir.iterdir()}
    export_final(particles, references, outdir)
    assert {path.name: path.read_bytes() for path in outdir.iterdir()} == first


def test_missing_files_are_refused(particles: Particles, references: Path, tmp_path: Path) -> None:
    (references / "cluster_02_half2.mrc").unlink()
    with pytest.raises(InputError, match="no such map"):
        export_final(particles, references, tmp_path / "final")
    (references / "fsc.csv").unlink()
    with pytest.raises(InputError, match="no such file"):
        export_final(particles, references, tmp_path / "final")


def test_maps_along_a_motion_are_handed_on(particles: Particles, references: Path, tmp_path: Path) -> None:
    points = []
    for number in (2, 1, 3):
        folder = tmp_path / f"pass_4_point_0{number}"
        folder.mkdir()
        point = PathPoint(place=number / 4, spread=0.08, particles=7, worth_particles=3.4)
        if number < 3:
            point.resolution_angstrom = 9.123
            for ending in ("_half1.mrc", "_half2.mrc", ".mrc", "_fsc.csv", "_resolution.json"):
                path = folder / f"point_0{number}{ending}"
                if ending == ".mrc":
                    write_volume(path, np.full((4, 4, 4), number, np.float32), 1.31)
                else:
                    path.write_text(f"{number}{ending}")
        write_record(point, folder / f"point_0{number}.json")
        points.append(folder)
    index = export_final(particles, references, tmp_path / "final", points)
    motion = index[index["file"].str.startswith("motion/")].set_index("file")["description"]
    endings = ("_half1.mrc", "_half2.mrc", ".mrc", "_fsc.csv")
    assert list(motion.index) == [f"motion/point_0{number}{ending}" for number in (1, 2) for ending in endings]
    assert "at 0.25 of the motion (0 to 1), as of 3 particles" in motion["motion/point_01.mrc"]
    assert "9.12 Å" in motion["motion/point_02_fsc.csv"]
    for file in motion.index:
        (source,) = tmp_path.glob(f"pass_4_*/{Path(file).name}")
        assert (tmp_path / "final" / file).read_bytes() == source.read_bytes()
    assert "motion/point_01.mrc motion/point_02.mrc vseries" in (tmp_path / "final" / "open_motion.cxc").read_text()
    assert len(list((tmp_path / "final" / "motion").iterdir())) == len(motion)
