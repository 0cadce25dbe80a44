"""Sets whose grey values differ: found at import, and of no consequence for poses, maps and likelihoods."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from runpy import run_path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from numpy.testing import assert_allclose, assert_array_equal

from drgnalign.background import survey_backgrounds
from drgnalign.engine.likelihood import log_likelihoods
from drgnalign.engine.noise import estimate_noise
from drgnalign.engine.reconstruct import HALVES, insert_particles
from drgnalign.engine.reference import transform_reference, weighted_halves
from drgnalign.engine.refine import refine_particles
from drgnalign.errors import InputError, InputWarning
from drgnalign.formats.mrc import ImageSource, StackWriter
from drgnalign.formats.star import read_star, write_star
from drgnalign.geometry import angular_distance
from drgnalign.inputs import import_particles, open_particles
from drgnalign.inspect import inspect_file
from drgnalign.maps.mask import particle_mask
from drgnalign.particles import BACKGROUND_ODD, BACKGROUND_RADIUS, BACKGROUND_SIGMA, Particles
from drgnalign.simulate.nuisances import Nuisances
from drgnalign.validation.fsc import fourier_shell_correlation

BOX, PIXEL, DIAMETER, LIMIT = 48, 5.5, 200.0, 14.0
GREY = Nuisances(gain=0.3, gain_range=(1.0, 5.0), offset=2.0, ramp=1.0, hot_images=0.1)
POSES = {"rotation_error_deg": 4.0, "shift_error_angstrom": 4.0}


def of_nuisances(simulate: Callable[..., Any], n: int = 200, **nuisances: Any) -> Any:
    return simulate(n, BOX, PIXEL, snr=0.2, nuisances=Nuisances(**nuisances))


@pytest.mark.parametrize("snr", [0.05, 0.3, 3.0])
@pytest.mark.parametrize("box", [32, 48])
def test_nothing_is_to_be_done_where_images_are_normalised(
    box: int, snr: float, simulate: Callable[..., Any], recwarn: pytest.WarningsRecorder
) -> None:
    """Simulated noise has variance 1."""
    some = simulate(200, box, 264.0 / box, snr=snr)
    imported = import_particles(some.folder / "particles.star", invert="no")
    assert imported.optics[BACKGROUND_ODD].tolist() == [1] and not ImageSource(imported, some.folder).normalises
    assert not [warning for warning in recwarn if warning.category is InputWarning]
    rows = np.arange(200)
    assert_array_equal(ImageSource(imported, some.folder).read(rows), some.source.read(rows))


@pytest.mark.parametrize(
    ("nuisances", "reason"),
    [
        ({"gain": 0.2}, r"noise of σ = 0\.\d+…1\.\d+"),
        ({"gain_range": (4.0, 4.0)}, r"noise of σ = 3\.\d+…4\.\d+"),
        ({"offset": 1.0}, r"means up to \d.* σ"),
        ({"ramp": 1.0}, r"ramps up to 0\.\d+ σ"),
        ({"hot_images": 0.05}, "outlying pixels in 5 % of the images"),
    ],
)
def test_what_makes_normalisation_necessary_is_found(
    nuisances: dict[str, Any], reason: str, simulate: Callable[..., Any]
) -> None:
    path = of_nuisances(simulate, **nuisances).folder / "particles.star"
    with pytest.warns(InputWarning, match=f"normalised as they are read: {reason}$"):
        imported = import_particles(path, mask_diameter=DIAMETER)
    assert imported.optics[BACKGROUND_RADIUS].tolist() == [pytest.approx(DIAMETER / 2 / PIXEL)]
    assert imported.optics[BACKGROUND_SIGMA].tolist() == [1.0]
    # the user's word counts, and a file's own does not: it may be of other images
    for given in (path, path.with_name("again.star")):
        assert import_particles(given, normalise="no").optics[BACKGROUND_RADIUS].tolist() == [0.0]
        write_star(imported, path.with_name("again.star"))
    with pytest.raises(InputError, match="--normalise is 'yes'"):
        import_particles(path, normalise="yes")


def test_figures_of_what_was_found(simulate: Callable[..., Any]) -> None:
    some = of_nuisances(simulate, 600, gain=0.3, offset=2.0, ramp=1.0, hot_images=0.1)
    record = survey_backgrounds(some.given, some.folder, DIAMETER).record
    assert json.loads(json.dumps(record)) == record
    gains = some.truth.table["drgnTrueGain"]
    for name, share in (("p05", 0.05), ("p50", 0.5), ("p95", 0.95)):
        assert record["gain"][name] == pytest.approx(gains.quantile(share), rel=0.06)
    assert (record["images"], record["share_with_outlying_pixels"]) == (600, pytest.approx(0.1, abs=0.002))
    assert record["offset_sigma"]["p95"] > 1 and 0.2 < record["ramp_sigma"]["p50"] < 0.7


def test_few_images_that_are_far_from_the_others_are_normalised_alone(
    simulate: Callable[..., Any], tmp_path: Path
) -> None:
    """Though the survey does not see them."""
    some = simulate(300, BOX, PIXEL, snr=0.2)
    images = some.source.read(np.arange(300))
    dirty = images.copy()
    dirty[7, 20, 20], dirty[8], dirty[9] = 1e5, 100 * images[8], images[9] + 30
    dirty[10, :5] = 0
    with StackWriter(tmp_path / "particles.mrcs", 300, BOX, PIXEL) as stack:
        stack.append(dirty)
    given = some.given.select(np.arange(300))
    given.table["rlnImageName"] = [f"{number + 1}@particles.mrcs" for number in range(300)]
    # as if they had not been looked at
    given.optics = given.optics.assign(**{BACKGROUND_RADIUS: DIAMETER / 2 / PIXEL, BACKGROUND_ODD: 1})
    read = ImageSource(given, tmp_path).read(np.arange(300))
    others = np.setdiff1d(np.arange(300), [7, 8, 9, 10])
    assert_array_equal(read[others], images[others])
    hot = np.zeros((BOX, BOX), bool)
    hot[20, 20] = True
    assert_allclose(read[7][~hot], images[7][~hot], atol=0.3)
    assert_allclose(read[8], images[8], atol=0.3)
    assert_allclose(read[9], images[9], atol=0.3)
    assert not read[10, :5].any() and np.corrcoef(read[10, 6:].ravel(), images[10, 6:].ravel())[0, 1] > 0.99


def test_upsampled_images_get_noise_that_leaves_particles_as_strong(simulate: Callable[..., Any]) -> None:
    """Noise in 23 of 48 Fourier pixels each way is as strong as in all, if its standard deviation is as much less."""
    some = of_nuisances(simulate, 400, coarse_box=BOX // 2)
    found = survey_backgrounds(some.given, some.folder, DIAMETER)
    assert_allclose(found.levels, [1.0, 23 / BOX], rtol=0.02)
    assert found.irregular == []
    uneven = of_nuisances(simulate, 400, coarse_box=BOX // 2, gain=0.3)
    with pytest.warns(InputWarning, match="normalised as they are read: noise"):
        imported = import_particles(uneven.folder / "particles.star", invert="no", mask_diameter=DIAMETER)
    assert_allclose(imported.optics[BACKGROUND_SIGMA], [1.0, 23 / BOX], rtol=0.02)
    group = imported.optics_rows()
    power = ImageSource(imported, uneven.folder).read(np.arange(400)).var(axis=(1, 2))
    first, second = (np.median(power[group == number]) - level**2 for number, level in enumerate((1.0, 23 / BOX)))
    assert second == pytest.approx(first, rel=0.1)


def test_masked_images_are_refused_and_blank_ones_pass(particles_of: Callable[..., Particles], tmp_path: Path) -> None:
    images = 5 * np.random.default_rng(0).standard_normal((40, 32, 32), dtype=np.float32)
    images[3] = 4
    particles = particles_of(images)
    found = survey_backgrounds(particles, tmp_path, 100.0)
    assert len(found.masked) == 0 and len(found.gains) == 39
    axis = np.arange(32) - 16
    for few, message in (
        (3, r"image 11 has a constant background .*\(3 of 40 images\)\n.*drgnalign select .* --drop 11-13 "),
        (25, r"25 of 39 images looked at have a constant background.*\n.*not masked"),
    ):
        images[10 : 10 + few, np.hypot(axis[:, None], axis) > 12] = 0
        write_star(particles_of(images), tmp_path / "masked.star")
        with pytest.raises(InputError, match=message):
            import_particles(tmp_path / "masked.star", invert="no", mask_diameter=100.0)
    report = inspect_file(tmp_path / "masked.star", every_image=True)
    told = [finding["what"] for finding in report["findings"]]
    assert any(what.startswith("25 of 39 images looked at have a constant background") for what in told)
    blank = survey_backgrounds(particles_of(np.zeros((4, 32, 32), np.float32)), tmp_path, 100.0)
    assert blank.irregular == [] and blank.record == {"images": 0}


def test_an_inspection_of_all_images_tells_of_their_backgrounds(simulate: Callable[..., Any], tmp_path: Path) -> None:
    some = simulate(120, BOX, PIXEL, snr=0.2)
    axis = np.arange(BOX) - BOX // 2

    def told(images: np.ndarray) -> dict[str, Any]:
        with StackWriter(tmp_path / "particles.mrcs", 120, BOX, PIXEL) as stack:
            stack.append(images)
        given = some.given.select(np.arange(120))
        given.table["rlnImageName"] = [f"{number + 1}@particles.mrcs" for number in range(120)]
        write_star(given, tmp_path / "particles.star")
        return inspect_file(tmp_path / "particles.star", every_image=True)

    images = some.source.read(np.arange(120))
    clean = told(images)
    assert clean["findings"] == [] and clean["facts"]["backgrounds"]["images"] == 120
    loud = images.copy()
    loud[5] *= 100
    one = told(loud)
    assert [finding["level"] for finding in one["findings"]] == ["note"]
    assert "1 of 120 images looked at have a background far from the others'" in one["findings"][0]["what"]
    assert one["facts"]["backgrounds"]["far_from_the_others"] == 1
    gains = images * np.linspace(1, 5, 120, dtype=np.float32)[:, None, None]
    assert told(gains)["findings"][0]["what"].startswith("images are normalised as they are read: noise of σ = 1")
    masked = images.copy()
    masked[7:9, np.hypot(axis[:, None], axis) > 0.4 * BOX] = 0
    (error,) = told(masked)["findings"]
    assert error["level"] == "error" and "2 images have a constant background" in error["what"]
    assert "--drop 8-9 " in error["what"]


def test_contrast_is_found_among_hot_pixels_and_gains(simulate: Callable[..., Any], tmp_path: Path) -> None:
    some = simulate(60, BOX, PIXEL, snr=0.5)
    images = some.source.read(np.arange(60))
    images *= -np.exp(np.random.default_rng(0).standard_normal(60)).astype(np.float32)[:, None, None]
    images[::9, 20:24, 24] += 1e4
    with StackWriter(tmp_path / "particles.mrcs", 60, BOX, PIXEL) as stack:
        stack.append(images)
    given = some.given.select(np.arange(60))
    given.optics = given.optics.drop(columns="drgnContrast")
    write_star(given, tmp_path / "particles.star")
    assert import_particles(tmp_path / "particles.star", normalise="no").optics["drgnContrast"].tolist() == ["dark"]
    with pytest.warns(InputWarning, match="normalised"):
        imported = import_particles(tmp_path / "particles.star", mask_diameter=DIAMETER)
    assert imported.optics["drgnContrast"].tolist() == ["dark"]


def test_edges_in_some_images_decide_no_contrast(simulate: Callable[..., Any], tmp_path: Path) -> None:
    some = simulate(120, BOX, PIXEL, snr=0.5)
    images = some.source.read(np.arange(120))
    images[::4, :, :5] += 10
    assert import_particles(saved(some, images, tmp_path)).optics["drgnContrast"].tolist() == ["white"]


def test_optics_groups_have_a_contrast_each(simulate: Callable[..., Any], tmp_path: Path) -> None:
    """Merged sets of two programs; three images of the third group do not tell."""
    some, groups = simulate(123, BOX, PIXEL, snr=0.5), np.repeat([1, 2, 3], [80, 40, 3])
    images = some.source.read(np.arange(123))
    path = saved(some, np.where(groups[:, None, None] == 2, -images, images), tmp_path, groups)
    with pytest.warns(
        InputWarning, match="dark in the images of optics group 2, and white in those of 1: each is turned"
    ):
        imported = import_particles(path)
    assert imported.optics["drgnContrast"].tolist() == ["white", "dark", "white"]
    assert_allclose(ImageSource(imported, tmp_path).read(np.arange(123)), images, atol=1e-6)
    declared = read_star(path)
    declared.optics["drgnContrast"] = "white"
    write_star(declared, path)
    with pytest.raises(
        InputError, match=r"white in its images, which look otherwise of optics group 2\n.*optics table"
    ):
        import_particles(path)


def saved(some: Any, images: np.ndarray, folder: Path, groups: np.ndarray | None = None) -> Path:
    """The particle file of a set whose images were changed, as another program writes it."""
    with StackWriter(folder / "particles.mrcs", len(images), BOX, PIXEL) as stack:
        stack.append(images.astype(np.float32))
    given = some.given.select(np.arange(len(images)))
    given.optics = given.optics.drop(columns="drgnContrast")
    if groups is not None:
        number = int(groups.max())
        given.optics = pd.concat([given.optics] * number, ignore_index=True).assign(rlnOpticsGroup=range(1, number + 1))
        given.table["rlnOpticsGroup"] = groups
    write_star(given, folder / "particles.star")
    return folder / "particles.star"


def test_files_of_the_workflow_are_opened_as_they_are(simulate: Callable[..., Any]) -> None:
    some = of_nuisances(simulate, hot_images=0.1)
    path = some.folder / "users.star"
    write_star(Particles(some.given.table.drop(columns="drgnRow"), some.given.optics, path), path)
    with pytest.warns(InputWarning, match="normalised"):
        opened = open_particles(path, None, DIAMETER).particles
    assert opened.optics[BACKGROUND_RADIUS][0] == pytest.approx(DIAMETER / 2 / PIXEL)
    assert open_particles(path, None, DIAMETER, "no")[0].optics[BACKGROUND_RADIUS][0] == 0
    opened.optics[BACKGROUND_RADIUS] = 11.0
    write_star(opened, path.with_name("own.star"))
    assert open_particles(path.with_name("own.star"), None)[0].optics[BACKGROUND_RADIUS][0] == 11.0


def test_check_inputs_tells_what_it_found(simulate: Callable[..., Any], tmp_path: Path) -> None:
    main = run_path(str(Path(__file__).parents[2] / "bin" / "check_inputs.py"))["main"]
    for nuisances, normalised in (({"hot_images": 0.1}, True), ({}, False)):
        some = of_nuisances(simulate, **nuisances)
        words = f"{some.folder}/particles.star --images {some.folder} --train-box 32 --mask-diameter {DIAMETER}"
        words += f" --output {tmp_path}/p.star --report {tmp_path}/p.json --said {tmp_path}/said.txt"
        result = CliRunner().invoke(main, words.split())
        assert result.exit_code == 0, result.output
        facts = json.loads((tmp_path / "p.json").read_text())
        assert facts["normalised"] is normalised
        assert facts["backgrounds"]["share_with_outlying_pixels"] == (0.1 if normalised else 0.0)
        assert (read_star(tmp_path / "p.star").optics[BACKGROUND_ODD] == 0).all() == normalised
        reason = "images are normalised as they are read: outlying pixels in 10 % of the images"
        reason = f"{some.folder}/particles.star: {reason}"
        assert facts["warnings"] == ([reason] if normalised else [])
        assert facts["notes"] == facts["warnings"]
        assert (tmp_path / "said.txt").read_text() == (f"WARNING: {reason}\n" if normalised else "")


# --- poses, maps and likelihoods


class Grey(NamedTuple):
    """The same particles and noise in clean images, and in images of all kinds of grey values."""

    clean: Any
    dirty: Any
    imported: Particles


@pytest.fixture(scope="module")
def grey(simulate: Callable[..., Any]) -> Grey:
    clean, dirty = (simulate(600, BOX, PIXEL, snr=0.2, nuisances=kind, **POSES) for kind in (Nuisances(), GREY))
    with pytest.warns(InputWarning, match="normalised"):
        imported = import_particles(dirty.folder / "particles.star", mask_diameter=DIAMETER)
    return Grey(clean, dirty, imported)


def at_truth(grey: Grey, optics: pd.DataFrame) -> Particles:
    return Particles(grey.clean.truth.table, optics, grey.clean.truth.path)


def half_maps(particles: Particles, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    source = ImageSource(particles, folder)
    sums = insert_particles(particles, source, estimate_noise(particles, source, DIAMETER), 1.5)
    return sums.half_map(1), sums.half_map(2)


def test_images_read_as_the_same(grey: Grey) -> None:
    clean = grey.clean.given.select(np.arange(600))
    clean.optics[BACKGROUND_RADIUS] = grey.imported.optics[BACKGROUND_RADIUS]
    one, other = (
        ImageSource(particles, some.folder).read(np.arange(600))
        for particles, some in ((clean, grey.clean), (grey.imported, grey.dirty))
    )
    differs = np.abs(one - other)
    assert (differs > 0.03).sum() <= 60
    assert np.quantile(differs, 0.999) < 0.01


def test_maps_are_worth_as_much(grey: Grey) -> None:
    """And as strong: grey values that differ between micrographs, and hot pixels, cost a map much."""
    mask = particle_mask(grey.clean.volume, PIXEL, DIAMETER)
    areas, maps = [], []
    for folder, optics in (
        (grey.clean.folder, grey.clean.truth.optics),
        (grey.dirty.folder, grey.imported.optics),
        (grey.dirty.folder, grey.clean.truth.optics),
    ):
        maps.append(sum(half_maps(at_truth(grey, optics), folder)) * mask)
        areas.append(fourier_shell_correlation(maps[-1], grey.clean.volume * mask)[1:].mean())
    assert abs(areas[1] - areas[0]) < 0.004
    assert areas[2] < areas[0] - 0.1
    assert np.vdot(maps[0], maps[1]) / np.vdot(maps[0], maps[0]) == pytest.approx(1, abs=0.03)


def test_poses_and_likelihoods_are_the_same(grey: Grey) -> None:
    halves = half_maps(grey.clean.given, grey.clean.folder)
    mask = particle_mask(grey.clean.volume, PIXEL, DIAMETER)
    first, second, weights = weighted_halves(*halves, mask, joint=False)
    references = {
        half: transform_reference(volume, mask, weights, PIXEL, LIMIT, 1.5)
        for half, volume in zip(HALVES, (first, second), strict=True)
    }
    errors, likelihoods = [], []
    for folder, optics in (
        (grey.clean.folder, grey.clean.given.optics),
        (grey.dirty.folder, grey.imported.optics),
        (grey.dirty.folder, grey.clean.given.optics),
    ):
        particles = Particles(grey.clean.given.table, optics, grey.clean.given.path)
        source = ImageSource(particles, folder)
        noise = estimate_noise(particles, source, DIAMETER)
        refined = refine_particles(particles, source, references, noise, LIMIT)
        errors.append(angular_distance(grey.clean.truth.rotations(), refined.rotations))
        likelihoods.append(log_likelihoods(particles, source, [references], noise, LIMIT)[:, 0])
    assert np.median(errors[1]) == pytest.approx(np.median(errors[0]), rel=0.03)
    assert np.quantile(errors[1], 0.9) == pytest.approx(np.quantile(errors[0], 0.9), rel=0.05)
    assert np.corrcoef(likelihoods[0], likelihoods[1])[0, 1] > 0.99
    assert np.abs(likelihoods[1] - likelihoods[0]).mean() < 0.1 * likelihoods[0].std()
    assert np.corrcoef(likelihoods[0], likelihoods[2])[0, 1] < 0.8
