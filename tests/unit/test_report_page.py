"""What the page holds of maps and of latent space."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from small_run import BOX, FACTS, PARTICLES, publish, write_run

from drgnalign.cli import main
from drgnalign.errors import InputError
from drgnalign.formats.mrc import read_volume, write_volume
from drgnalign.formats.star import read_star, write_star
from drgnalign.fourier import soft_sphere
from drgnalign.maps.contour import contour_of
from drgnalign.report.advice import MASK
from drgnalign.report.facts import run_facts, run_known
from drgnalign.report.packed import in_steps, packed, packed_words, unpacked
from drgnalign.report.page import rendered, write_report
from drgnalign.report.points import density, embedded_points, stratified
from drgnalign.report.slices import slice_images
from drgnalign.report.volumes import LAST_BOXES, LAST_MAPS, box_for, embedded_volumes, reduced


def test_what_is_packed_comes_back() -> None:
    words = np.array([[0, 1, 255], [256, 4660, 65535]], np.uint16)
    low, high = np.frombuffer(unpacked(packed_words(words)), np.uint8).reshape(2, 6).astype(int)
    assert (low + 256 * high).tolist() == words.ravel().tolist()
    assert unpacked(packed("日本 <b>".encode())).decode() == "日本 <b>"


def test_values_beyond_the_steps_are_cut_off() -> None:
    assert in_steps([-5, 0, 0.5, 1, 7], 0, 1, 10).tolist() == [0, 0, 5, 10, 10]


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_the_contour_is_at_the_edge_of_an_even_body(noise: float) -> None:
    body = 3.0 * soft_sphere(32, 8, 4) + np.random.default_rng(1).normal(scale=noise, size=(32, 32, 32))
    contour = contour_of(body, soft_sphere(32, 13, 2) > 0.5)
    assert contour == pytest.approx(1.5, rel=0.15)
    assert contour_of(np.zeros((8, 8, 8), np.float32), np.ones((8, 8, 8), np.bool_)) > 0


def test_a_map_is_brought_down_without_folding(tmp_path: Path) -> None:
    body = soft_sphere(48, 12, 8)
    # at a frequency that 32 voxels do not hold
    stripes = body + 5 * np.cos(2 * np.pi * 20 / 48 * np.arange(48)).astype(np.float32)
    write_volume(tmp_path / "map.mrc", stripes, 2.0)
    small, voxel = reduced(tmp_path / "map.mrc", 32)
    assert voxel == pytest.approx(3.0)
    assert np.abs(small - soft_sphere(32, 8, 16 / 3)).max() < 0.03


@pytest.mark.parametrize(("box", "shown"), [(96, 96), (200, 100), (320, 160)])
def test_slices_are_no_larger_than_they_are_shown(tmp_path: Path, box: int, shown: int) -> None:
    """Fifty clusters at 320 px would be a page of 22 MB."""
    write_volume(tmp_path / "map.mrc", np.zeros((box, box, box), np.float32), 1.0)
    for image in slice_images(tmp_path / "map.mrc"):
        assert imread(BytesIO(image)).shape[:2] == (shown, shown)


def test_volumes_of_a_run(tmp_path: Path) -> None:
    held = embedded_volumes(write_run(tmp_path), FACTS)
    assert [entry["number"] for entry in held["rounds"]] == [0, 1, 2]
    assert [one["name"] for one in held["rounds"][2]["maps"]] == ["cluster_01", "cluster_02"]
    assert [len(entry["film"]) for entry in held["rounds"]] == [0, 6, 6]
    said = [entry["film_doubt"] for entry in held["rounds"]]
    assert (said[0], said[2]) == ("", "")
    assert said[1].startswith("These maps hardly resemble the consensus (correlation 0.0")
    assert [[one["place"] for one in entry["motion"]] for entry in held["rounds"]] == [[], [], [0.1, 0.5]]
    assert len({one["contour"] for one in held["rounds"][2]["motion"]}) == 1
    one, two = held["rounds"][2]["maps"]
    bytes_ = np.frombuffer(unpacked(one["data"]), np.uint8).reshape(BOX, BOX, BOX)
    values = one["low"] + bytes_ / 255 * (one["high"] - one["low"])
    true, _ = read_volume(tmp_path / "pass_3" / "clusters" / "cluster_01.mrc")
    assert np.abs(values - np.clip(true, one["low"], one["high"])).max() <= (one["high"] - one["low"]) / 255
    assert 0.3 < one["contour"] < 0.6
    assert {kind: len(unpacked(volume["data"])) for kind, volume in one["colours"].items()} == {
        "difference": (BOX // 2) ** 3,
        "resolution": (BOX // 2) ** 3,
    }
    assert sum(one["resolutions"]["counts"]) == pytest.approx((soft_sphere(BOX // 2, 5, 1) > 0.5).sum(), rel=0.2)
    # where cluster 1 has its sphere, the consensus has half of it, and cluster 2 nothing
    held_differences = [
        np.frombuffer(unpacked(cluster["colours"]["difference"]["data"]), np.uint8) for cluster in (one, two)
    ]
    more, less = (difference.reshape(BOX // 2, BOX // 2, BOX // 2)[6, 6, 9] for difference in held_differences)
    assert more > 200 and less < 100
    assert two["colour"] != one["colour"]


def test_many_maps_are_smaller() -> None:
    assert box_for(4, LAST_BOXES, LAST_MAPS) == 128
    for maps in (10, 25, 51):
        box = box_for(maps, LAST_BOXES, LAST_MAPS)
        assert 48 <= box < 128 and maps * box**3 <= LAST_MAPS * 128**3
    assert box_for(10_000, LAST_BOXES, LAST_MAPS) == 48


def test_a_missing_map_is_told(tmp_path: Path) -> None:
    folders = write_run(tmp_path)
    (folders[3] / "clusters" / "cluster_02.mrc").unlink()
    with pytest.raises(InputError, match="cluster_02"):
        embedded_volumes(folders, FACTS)


def test_points_of_a_run(tmp_path: Path) -> None:
    folders = write_run(tmp_path)
    held = embedded_points(folders, FACTS)
    star = read_star(folders[3] / "particles.star")
    assert (held["particles"], held["sample"]) == (PARTICLES, PARTICLES)
    assert unpacked(held["names"]).decode().split("\n") == star.table["rlnImageName"].tolist()
    last = held["rounds"][-1]
    expected = np.where(star.left_out(), -1, star.cluster_labels())
    assert (np.frombuffer(unpacked(last["labels"]), np.uint8).astype(int) - 1).tolist() == expected.tolist()
    table = pd.read_csv(folders[3] / "latent" / "embedding.csv")
    low, high = np.frombuffer(unpacked(last["umap2"]), np.uint8).reshape(2, 2, PARTICLES).astype(int)
    shown = (low + 256 * high) / last["steps"]["umap2"]
    # up to one scale and the middle
    spread = np.ptp(table[["umap2_1", "umap2_2"]].to_numpy(), axis=0).max()
    for axis, column in enumerate(("umap2_1", "umap2_2")):
        assert np.ptp(shown[axis] * spread - table[column]) < 1e-3
    assert sum(cell[2] for cell in last["pca"]["cells"]) + last["pca"]["outside"] == PARTICLES
    json.dumps(held)


def test_the_sample_has_small_clusters_whole_and_others_in_proportion() -> None:
    labels = np.repeat([1, 2, 3, -1], [60_000, 30_000, 50, 10])
    rows = stratified(labels, 9_000)
    assert np.all(np.diff(rows) > 0)
    sizes = dict(zip(*np.unique(labels[rows], return_counts=True), strict=True))
    assert sizes[3] == 50 and sizes[-1] == 10
    assert len(rows) == pytest.approx(9_000, abs=3) and sizes[1] == pytest.approx(2 * sizes[2], abs=2)
    assert np.array_equal(stratified(labels, 10**6), np.arange(len(labels)))


def test_every_particle_counts_in_the_nearest_hexagon() -> None:
    random = np.random.default_rng(3)
    pcs = random.normal(size=(3000, 2)).astype(np.float32)
    held = density(pcs, np.zeros((6, 2)), [0.7, 0.3])
    cells = np.array(held["cells"])
    away = np.linalg.norm(pcs[:, None] - cells[None, :, :2], axis=2).min(axis=1)
    # corners of a hexagon of width 1 are 1/√3 from its middle
    assert (away < held["width"] / np.sqrt(3) + 1e-3).sum() >= 3000 - held["outside"]
    assert cells[:, 2].sum() + held["outside"] == 3000


def test_the_bundle_is_the_one_that_was_built() -> None:
    templates = files("drgnalign.report") / "templates"
    code = (templates / "report.js").read_bytes()
    sources = Path(__file__).parents[2] / "report_page"
    paths = [sources / "build.mjs", sources / "package-lock.json", *sorted((sources / "src").iterdir())]
    built, of = (line.split()[0] for line in (templates / "report.js.sha256").read_text().splitlines())
    assert hashlib.sha256(code).hexdigest() == built
    assert hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest() == of, "run make bundle"
    assert b"</script" not in code
    notices = (templates / "THIRD_PARTY_NOTICES.txt").read_text()
    lock = json.loads((sources / "package-lock.json").read_text())
    for path, package in lock["packages"].items():
        if path and not package.get("dev"):
            assert f"{path.removeprefix('node_modules/')} {package['version']} (" in notices


def test_results_set_aside_are_neither_unfinished_nor_to_be_gone_on_with(tmp_path: Path) -> None:
    write_run(tmp_path)
    aside = tmp_path / "results" / "earlier" / "happy_darwin"
    publish(tmp_path, aside)
    main(["report", str(aside)], standalone_mode=False)
    page = (aside / "report.html").read_text()
    facts = json.loads((aside / "report.json").read_text())
    assert facts["set_aside"] and facts["finished"] is None
    assert [step["command"] for step in facts["next"]] == [None]
    assert "results set aside: pass 3" in page and "under way" not in page.split("<script")[0]
    assert "<dt>One more round" not in page and "data-copy=" not in page.split("<script")[0]
    assert facts["open"][0]["file"].startswith("final/")
    # the same results where a run put them
    own = tmp_path / "own"
    aside.rename(own)
    main(["report", str(own)], standalone_mode=False)
    assert not json.loads((own / "report.json").read_text())["set_aside"]


def test_notes_are_no_doubts_and_commands_are_whole(tmp_path: Path) -> None:
    folders = write_run(tmp_path)
    facts = run_facts(folders, {"passes": 3, "command": "nextflow run main.nf --k 3"})
    text = "ends at Nyquist <see --resolution_limits>"
    facts["not_believed"] = [{"of": "every cluster", "text": text, "mark": "good"}]
    page = rendered(folders, facts, tmp_path).split("<script")[0]
    assert "None of the checks made here speaks against" in page and "Nothing speaks" not in page
    whole_option = 'ends at Nyquist &lt;see <span class="whole">--resolution_limits</span>&gt;'
    assert page.index("To bear in mind</h2>") < page.index(whole_option)
    whole = f"nextflow run main.nf --k 3 -resume --rounds {facts['round'] + 1}"
    words = " ".join(f"<span>{word}</span>" for word in whole.split())
    command = f'<code class="words">{words}</code><button type="button" data-copy="{whole}">'
    assert f'<dd><div class="command">{command}' in page
    assert "*.mrc" not in page and f"<code>open {facts['open'][0]['file']}" in page
    assert "% of those kept)" in page


def test_what_is_known_has_a_section_of_its_own(tmp_path: Path) -> None:
    folders = write_run(tmp_path)
    facts = run_facts(folders, {"passes": 3})
    assert "Beside what is known" not in rendered(folders, facts, tmp_path)
    pair = {"reference": "emd_<1>", "claimed": True, "assigned": True, "mean_fsc": 0.91, "resolution_05_angstrom": 12.5}
    pair |= {"hand": "mirrored", "q_score": 0.4, "chains": "1 of 2 chains present; absent: B"}
    rows = [{"cluster": "cluster_01", "which": "emd_<1>", "pairs": [pair, pair | {"claimed": False}]}]
    known = {"folder": "round_02/comparison", "references": ["emd_<1>", "emd_2"], "rows": rows, "thesis": "figures"}
    page = rendered(folders, facts | {"comparison": known}, tmp_path)
    assert '<a href="#known">' in page and '<th scope="col">emd_&lt;1&gt;</th>' in page
    assert (
        "<strong>0.910</strong>, 0.5 at 12.5 Å, mirrored, Q-score 0.40; 1 of 2 chains present; absent: B</td>" in page
    )
    assert "<td>not found</td>" in page and "<pre>figures</pre>" in page and "<code>round_02/comparison/</code>" in page


def test_a_card_has_no_row_without_a_value_and_a_placeholder_is_marked(tmp_path: Path) -> None:
    folders = write_run(tmp_path)
    facts = run_facts(folders, {"passes": 3}) | {"next": [{"why": "", "command": f"run --focus_mask {MASK}"}]}
    facts["left_out"] |= {"doubt": "junk may be among them"}
    known = {"states": 2, "limit_angstrom": 14.0, "agreement": [], "contrast": {"spread": 0.1}}
    facts["evidence"] |= known | {"spread_interval": [0.0, 0.5]}
    page = rendered(folders, facts, tmp_path)
    assert f">{MASK}</mark></code>" in page
    assert "rests, lies between 0.00 and 0.50." in page
    assert "But junk may be among them." in page
    cards = page.split('<section id="clusters">')[1].split("<h3>Resolution by cluster")[0]
    assert "Spread</abbr>" in cards and "Amplitude</abbr>" not in cards and "<dd>–" not in cards


@pytest.mark.parametrize(
    ("pattern", "new", "message"),
    [
        ("umap2_1", "umap2_9", "has no column umap2_1"),
        ("(\n7,.*),.*", r"\1,x", "cannot be read"),
        ("(\n7,.*),.*", r"\1,nan", "row 8 has coordinates that are no numbers"),
    ],
)
def test_broken_coordinates_are_refused_and_the_page_stays(
    tmp_path: Path, pattern: str, new: str, message: str
) -> None:
    folders = write_run(tmp_path)
    facts = run_facts(folders, {"passes": 3})
    write_report(folders, facts, tmp_path, tmp_path)
    held = [(tmp_path / name).read_bytes() for name in ("report.html", "report.json")]
    path = folders[3] / "latent" / "embedding.csv"
    path.write_text(re.sub(pattern, new, path.read_text(), count=1))
    with pytest.raises(InputError, match=message):
        write_report(folders, facts | {"made": "later"}, tmp_path, tmp_path)
    assert [(tmp_path / name).read_bytes() for name in ("report.html", "report.json")] == held


def cut(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-3]))


def replaced(old: str, new: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(re.sub(old, new, path.read_text(), count=1)) and None


def training_without_losses(path: Path) -> None:
    path.write_text('{"epoch": 1, "first_epoch": 1, "losses": [{}], "settings": {}}')


@pytest.mark.parametrize(
    ("name", "spoil", "problem"),
    [
        ("round_02/fsc.csv", cut, "has 9 of the 12 shells of cluster_02"),
        ("consensus/pass_01/fsc.csv", cut, "has 9 of the 12 shells of consensus"),
        ("round_01/fsc.csv", replaced(r"0\.99\d+", "inf"), "some of its figures are infinite"),
        ("round_02/metrics.json", replaced("0.8", "1e999"), "1e999 is no number"),
        ("round_02/metrics.json", replaced('"round": 2', '"round": 1'), "it is of round_01"),
        ("round_02/decoded/pc1_03.mrc", Path.unlink, "is missing, though later ones are there"),
        ("round_01/latent/training.json", training_without_losses, "no page can be made of it (TypeError at "),
    ],
)
def test_results_that_are_not_as_a_run_left_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, spoil: Callable[[Path], None], problem: str
) -> None:
    write_run(tmp_path)
    publish(tmp_path, tmp_path / "results")
    spoil(tmp_path / "results" / name)
    words = ["report", str(tmp_path / "results"), "-o", str(tmp_path / "page")]
    with pytest.raises(SystemExit):
        main(words, standalone_mode=False)
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "page" / "report.html").exists()


def test_copies_of_a_round_beside_it_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path)
    results = tmp_path / "results"
    publish(tmp_path, results)
    for name in ("round_02_backup", "round_02 (copy)", "round_old"):
        shutil.copytree(results / "round_02", results / name)
        replaced('"particles": 300', '"particles": 1')(results / name / "metrics.json")
    main(["report", str(results)], standalone_mode=False)
    assert [one["particles"] for one in json.loads((results / "report.json").read_text())["clusters"]] == [300, 300]
    shutil.copytree(results / "round_01", results / "round_03")
    with pytest.raises(SystemExit):
        main(["report", str(results)], standalone_mode=False)
    assert "round_03/metrics.json: it is of round_01" in capsys.readouterr().err


def test_commands_name_the_place_where_moved_results_are(tmp_path: Path) -> None:
    write_run(tmp_path)
    first, moved = tmp_path / "first", tmp_path / "moved"
    publish(tmp_path, first)
    info = first / "pipeline_info"
    info.mkdir()
    parameters = {"parameters": {"outdir": "first"}, "passes": 3}
    (info / "run.json").write_text(json.dumps({**parameters, "command": "nextflow run main.nf --outdir first"}))
    (info / "session.json").write_text(json.dumps({"session": "x", "folder": str(tmp_path)}))
    main(["report", str(first)], standalone_mode=False)
    assert json.loads((first / "report.json").read_text())["moved_to"] is None
    first.rename(moved)
    main(["report", str(moved)], standalone_mode=False)
    facts = json.loads((moved / "report.json").read_text())
    commands = " ".join(step["command"] or "" for step in facts["next"])
    assert facts["moved_to"] == str(moved) and f"{moved}/final" in commands


def test_a_page_elsewhere_says_where_the_files_are(tmp_path: Path) -> None:
    write_run(tmp_path)
    publish(tmp_path, tmp_path / "results")
    main(["report", str(tmp_path / "results"), "-o", str(tmp_path / "elsewhere")], standalone_mode=False)
    page = (tmp_path / "elsewhere" / "report.html").read_text()
    particles = tmp_path / "results" / "round_02" / "particles.star"
    assert f"drgnalign select {particles} --names selection.csv" in page
    assert f"In <code>{tmp_path / 'results'}</code>" in page and "In the folder of this page" not in page
    # which names files beside it
    assert not (tmp_path / "elsewhere" / "findings.txt").exists()
    main(["report", str(tmp_path / "results")], standalone_mode=False)
    assert (tmp_path / "results" / "findings.txt").read_text().startswith("What was found (round 2)\n")


def test_a_motion_is_what_is_opened_first(tmp_path: Path) -> None:
    folders = write_run(tmp_path)
    facts = run_facts(folders, {"passes": 3})
    assert [one["file"] for one in facts["open"][:2]] == ["final/motion/point_01.mrc", "final/motion/point_02.mrc"]
    assert facts["open"][0]["resolution_angstrom"] == 12.5
    # before the end, where the round's own maps are
    under_way = run_facts(folders, {"passes": 5})
    assert under_way["open"][0]["file"] == "round_02/motion/point_01.mrc"
    assert facts["particle_file"] == "final/cluster_01_particles.star"


def test_where_final_is_gone_the_command_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path)
    results = tmp_path / "results"
    publish(tmp_path, results)
    (results / "pipeline_info").mkdir()
    (results / "pipeline_info" / "run.json").write_text(json.dumps({"passes": 3}))
    main(["report", str(results)], standalone_mode=False)
    assert f"{results / 'final'}: it is missing, and the report names files in it" in capsys.readouterr().err
    assert (results / "report.html").is_file()


def test_a_page_that_cannot_be_put_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path)
    publish(tmp_path, tmp_path / "results")
    (tmp_path / "afile").touch()
    for name, why in (("afile", "File exists"), ("afile/x", "Not a directory")):
        with pytest.raises(SystemExit) as ended:
            main(["report", str(tmp_path / "results"), "-o", str(tmp_path / name)])
        assert ended.value.code == 2
        assert f"ERROR: {tmp_path / name}: {why}" in capsys.readouterr().err


def test_a_map_of_another_box_and_an_empty_mask_are_told(tmp_path: Path) -> None:
    folders = write_run(tmp_path)
    mask = folders[3] / "clusters" / "mask.mrc"
    write_volume(mask, np.zeros((BOX, BOX, BOX), np.float32), 4.0)
    with pytest.raises(InputError, match=r"mask\.mrc: holds nothing"):
        embedded_volumes(folders, FACTS)
    write_volume(mask, np.ones((BOX, BOX, BOX), np.float32), 4.0)
    embedded_volumes(folders, FACTS)
    write_volume(folders[3] / "clusters" / "cluster_02.mrc", np.ones((8, 8, 8), np.float32), 4.0)
    with pytest.raises(InputError, match=r"cluster_02\.mrc: has another box"):
        embedded_volumes(folders, FACTS)


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of all that JSON holds: names and numbers that lead there."""
    yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in inner:
        yield from places(item, (*place, name))


def with_other(value: Any, place: tuple[Any, ...], other: Any) -> Any:
    if not place:
        return other
    copy = value.copy()
    copy[place[0]] = with_other(value[place[0]], place[1:], other)
    return copy


COMPOSITION = {
    "micrographs": {"effective": 3.0, "expected": 90.0, "p": 1e-9},
    "views": {"efficiency": 0.1, "expected": 0.8, "z": -30.0},
    "defocus": {"quantiles": [1e4, 2e4, 3e4], "quantiles_of_all": [1e4, 1.5e4, 3e4], "higher": 0.9, "z": 12.0},
}
# Those of a run that the small one does not write.
RECORDS = {
    "run.json": {"command": "nextflow run", "parameters": {"k": 2}, "passes": 3, "rounds": 2},
    "latent/training.json": {"epoch": 1, "first_epoch": 1, "losses": [{"epoch": 1, "total": 0.9}], "settings": {}},
}


@pytest.mark.parametrize("file", ["metrics.json", "latent/embedding.json", *RECORDS])
@pytest.mark.parametrize("other", ["text", [1, "a"], {"a": 1}, None, -7, True])
def test_a_value_of_another_type_is_one_message_or_none(tmp_path: Path, file: str, other: Any) -> None:
    folders = write_run(tmp_path)
    path = folders[3] / file
    for name, record in RECORDS.items():
        (folders[3] / name).write_text(json.dumps(record))
    whole = json.loads(path.read_text())
    if file == "metrics.json":
        whole["clusters"][0]["composition"] = COMPOSITION
    for place in places(whole):
        path.write_text(json.dumps(with_other(whole, place, other)))
        with suppress(InputError):
            run_facts(folders, run_known(folders[3]))


def test_versions_that_are_no_text_are_told(tmp_path: Path) -> None:
    (tmp_path / "software_versions.yml").write_bytes(b"numpy: \xff\xfe\n")
    with pytest.raises(InputError, match=r"software_versions\.yml: cannot be read"):
        run_known(tmp_path)


def test_where_everybody_is_left_out_there_is_a_page(tmp_path: Path) -> None:
    folders = write_run(tmp_path)
    for folder in folders.values():
        path = folder / "particles.star"
        particles = read_star(path)
        particles.table["drgnLeftOut"] = 1
        write_star(particles, path)
    write_report(folders, run_facts(folders, {"passes": 3}), tmp_path, tmp_path)


def test_a_defocus_that_is_no_number_is_told(tmp_path: Path) -> None:
    folders = write_run(tmp_path)
    particles = read_star(folders[3] / "particles.star")
    particles.table.loc[3, "rlnDefocusU"] = np.nan
    write_star(particles, folders[3] / "particles.star")
    with pytest.raises(InputError, match="rlnDefocusU"):
        run_facts(folders, {"passes": 3})
