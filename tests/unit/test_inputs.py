from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import run

from drgnalign.errors import InputError, InputWarning
from drgnalign.formats.cryodrgn import write_cryodrgn, write_indices
from drgnalign.formats.cryosparc import write_cs
from drgnalign.formats.mrc import ImageSource, StackWriter
from drgnalign.formats.par import write_par
from drgnalign.formats.star import read_star, write_star
from drgnalign.geometry import angular_distance
from drgnalign.inputs import (
    check_images,
    detect_contrast,
    images_root,
    import_particles,
    open_particles,
    stack_names,
    undecided,
)
from drgnalign.inspect import inspect_file
from drgnalign.particles import ANGLES, Particles

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the test data are not there: {DATA}")

N, BOX = 40, 16
OPTICS_COLUMNS = {
    "voltage": ("rlnVoltage", 300.0),
    "cs": ("rlnSphericalAberration", 2.7),
    "amplitude_contrast": ("rlnAmplitudeContrast", 0.1),
    "pixel_size": ("rlnImagePixelSize", 2.0),
}


def write_stack(path: Path, n: int = N, box: int = BOX, sign: float = 1) -> None:
    y, x = np.mgrid[:box, :box] - box // 2
    disc = np.hypot(x, y) < box / 5
    noise = np.random.default_rng(0).normal(size=(n, box, box))
    with StackWriter(path, n, box, 2.0) as stack:
        stack.append(noise + sign * disc)


def particle_set() -> Particles:
    random = np.random.default_rng(1)
    table = pd.DataFrame({"rlnImageName": [f"{i:06d}@a.mrcs" for i in range(1, N + 1)], "rlnOpticsGroup": 1})
    for label in ("AngleRot", "AngleTilt", "AnglePsi", "OriginXAngst", "OriginYAngst"):
        table["rln" + label] = random.normal(size=N)
    for label in ("DefocusU", "DefocusV", "DefocusAngle"):
        table["rln" + label] = 1e4
    optics = pd.DataFrame({"rlnOpticsGroup": [1], "rlnOpticsGroupName": ["g"]})
    return Particles(table, optics.assign(**dict(OPTICS_COLUMNS.values())), Path("set.star"))


def saved(folder: Path, particles: Particles) -> Path:
    write_star(particles, folder / "set.star")
    return folder / "set.star"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_stack(tmp_path / "a.mrcs")
    return tmp_path


def test_stacks_are_listed_without_their_images(tmp_path: Path) -> None:
    particles = particle_set()
    names = ["b, 2.mrcs", "/far/a.mrcs"] * (N // 2)
    particles.table["rlnImageName"] = [f"{row:06d}@{name}" for row, name in enumerate(names, start=1)]
    assert stack_names(saved(tmp_path, particles)) == ["/far/a.mrcs", "b, 2.mrcs"]
    (tmp_path / "particles.par").touch()
    with pytest.raises(InputError, match="does not name its stack"):
        stack_names(tmp_path / "particles.par")


def test_who_was_left_out_is_said_and_a_run_decides_anew(folder: Path) -> None:
    given = particle_set()
    given.table["drgnLeftOut"] = (np.arange(N) % 10 == 0).astype(int)
    with pytest.warns(InputWarning, match=r"set\.star: 4 of 40 particles are left out, as drgnLeftOut says"):
        opened = open_particles(saved(folder, given), None).particles
    assert opened.left_out().tolist() == given.left_out().tolist()
    run = undecided(opened)
    assert not run.left_out().any()
    assert run.table["drgnInputLeftOut"].tolist() == given.left_out().tolist()
    # as often as a run goes on from another
    run.table["drgnLeftOut"], run.table["drgnPosterior"] = (np.arange(N) % 5 == 0).astype(int), 0.5
    again = undecided(open_particles(saved(folder, run), None).particles)
    assert again.table["drgnInputLeftOut"].sum() == N // 5 and again.table.columns.is_unique
    assert "drgnPosterior" not in again.table and not again.left_out().any()
    given.table["drgnLeftOut"] = "yes"
    with pytest.raises(InputError, match="drgnLeftOut is 'yes'"):
        open_particles(saved(folder, given), None)


def test_import_completes_the_state(folder: Path) -> None:
    given = particle_set()
    given.table["rlnClassNumber"] = 7
    p = import_particles(saved(folder, given), seed=3)
    table = p.table
    assert np.bincount(p.half_sets()).tolist() == [0, N // 2, N // 2]
    assert set(table["rlnClassNumber"]) == {0} and set(table["drgnInputClassNumber"]) == {7}
    assert set(table["rlnPhaseShift"]) == {0.0}
    assert table["drgnRow"].tolist() == list(range(N))
    assert p.optics["drgnContrast"].tolist() == ["white"]
    assert (p.box, p.pixel_size) == (BOX, 2.0)
    np.testing.assert_array_equal(p.displacements(), given.displacements())
    again = import_particles(folder / "set.star", seed=3)
    pd.testing.assert_frame_equal(table, again.table)
    other = import_particles(folder / "set.star", seed=4)
    assert (other.half_sets() != p.half_sets()).any()


def test_a_cryosparc_file_is_imported_like_its_star_file(folder: Path) -> None:
    given = particle_set()
    given.table["rlnRandomSubset"] = np.arange(N) % 2 + 1
    given.optics = given.optics.assign(rlnImageSize=BOX, drgnContrast="white")
    write_cs(given, folder / "set.cs")
    star, cs = import_particles(saved(folder, given)), import_particles(folder / "set.cs")
    assert angular_distance(star.rotations(), cs.rotations()).max() < 1e-4
    np.testing.assert_allclose(cs.displacements(), star.displacements(), atol=1e-6)
    assert cs.half_sets().tolist() == star.half_sets().tolist()
    assert (cs.box, cs.pixel_size, cs.optics["drgnContrast"].tolist()) == (BOX, 2.0, ["white"])
    write_star(cs, folder / "state.star")
    uids = cs.table["drgnCryosparcUid"]
    assert read_star(folder / "state.star").table["drgnCryosparcUid"].tolist() == uids.tolist()


def whole_set() -> Particles:
    particles = particle_set()
    return replace(particles, optics=particles.optics.assign(rlnImageSize=BOX))


@pytest.fixture
def pickles(folder: Path) -> tuple[Path, Path]:
    """cryoDRGN's poses and CTF parameters of the set; its stack is beside them."""
    write_cryodrgn(whole_set(), folder / "cryodrgn")
    return folder / "cryodrgn" / "poses.pkl", folder / "cryodrgn" / "ctf.pkl"


def test_pickles_are_imported_like_the_star_file(folder: Path, pickles: tuple[Path, Path]) -> None:
    poses, ctf = pickles
    star = import_particles(saved(folder, particle_set()))
    same = import_particles(poses, folder / "a.mrcs", ctf=ctf)
    assert angular_distance(star.rotations(), same.rotations()).max() < 1e-3
    np.testing.assert_allclose(star.displacements(), same.displacements(), atol=1e-4)
    for label in ("rlnImageName", "rlnDefocusU"):
        assert same.table[label].tolist() == star.table[label].tolist()
    assert same.optics[["rlnImagePixelSize", "rlnVoltage"]].to_numpy().tolist() == [[2.0, 300.0]]
    assert stack_names(poses, "a.mrcs", ctf=ctf) == ["a.mrcs"]


def test_an_index_chooses_among_pickles(folder: Path, pickles: tuple[Path, Path]) -> None:
    poses, ctf = pickles
    chosen = np.array([3, 4, 8, *range(20, N)])
    write_indices(folder / "ind.pkl", chosen)
    some = import_particles(poses, folder / "a.mrcs", ctf=ctf, ind=folder / "ind.pkl")
    assert (some.image_locations()[0] - 1).tolist() == chosen.tolist()
    # rows of these images alone, in another order
    write_cryodrgn(whole_set().select(chosen[::-1]), folder / "few")
    write_indices(folder / "back.pkl", chosen[::-1].copy())
    few = import_particles(
        folder / "few" / "poses.pkl", folder / "a.mrcs", ctf=folder / "few" / "ctf.pkl", ind=folder / "back.pkl"
    )
    assert (few.image_locations()[0] - 1).tolist() == chosen[::-1].tolist()
    assert stack_names(folder / "few" / "poses.pkl", "a.mrcs", ctf=folder / "few" / "ctf.pkl") == ["a.mrcs"]
    whole = import_particles(poses, folder / "a.mrcs", ctf=ctf)
    assert (some.rotations() == whole.rotations()[chosen]).all()


def test_pickles_that_do_not_fit_their_stack_are_refused(folder: Path, pickles: tuple[Path, Path]) -> None:
    poses, ctf = pickles
    write_stack(folder / "few.mrcs", N - 1)
    with pytest.raises(InputError, match=r"40 rows, and .*few.mrcs holds 39 images(.|\n)*--ind"):
        import_particles(poses, folder / "few.mrcs", ctf=ctf)
    write_stack(folder / "finer.mrcs", box=2 * BOX)
    with pytest.raises(InputError, match=r"ctf.pkl: its box is 16 px, that of .*finer.mrcs 32(.|\n)*--pixel_size 1 "):
        import_particles(poses, folder / "finer.mrcs", ctf=ctf)
    with pytest.raises(InputError, match="do not name their stack"):
        import_particles(poses, folder, ctf=ctf)


def test_a_stack_of_another_sampling_is_taken_by_its_pixel_size(folder: Path, pickles: tuple[Path, Path]) -> None:
    poses, ctf = pickles
    write_stack(folder / "finer.mrcs", box=2 * BOX)
    with pytest.warns(InputWarning, match="the pixel size is 1 Å, 2 Å in the header"):
        finer = import_particles(poses, folder / "finer.mrcs", ctf=ctf, pixel_size=1.0)
    assert (finer.box, finer.pixel_size) == (2 * BOX, 1.0)
    coarse = import_particles(poses, folder / "a.mrcs", ctf=ctf)
    np.testing.assert_allclose(finer.displacements(), 2 * coarse.displacements(), atol=1e-4)
    with pytest.raises(InputError, match=r"rlnImagePixelSize is 2 in the file, but --pixel_size says 3"):
        import_particles(poses, folder / "finer.mrcs", ctf=ctf, pixel_size=3.0)


def test_half_sets_of_the_file_stay(folder: Path) -> None:
    given = particle_set()
    given.table["rlnRandomSubset"] = [1] * 10 + [2] * 30
    assert import_particles(saved(folder, given)).half_sets().tolist() == [1] * 10 + [2] * 30


def test_dark_protein_is_detected_and_read_white(folder: Path) -> None:
    write_stack(folder / "a.mrcs", sign=-1)
    p = import_particles(saved(folder, particle_set()))
    assert p.optics["drgnContrast"].tolist() == ["dark"]
    mean = ImageSource(p, folder).read(np.arange(N)).mean(0)
    assert mean[BOX // 2, BOX // 2] > 0.5


def test_the_users_word_on_contrast_is_not_questioned(folder: Path) -> None:
    path = saved(folder, particle_set())
    for invert, contrast in (("yes", "dark"), ("no", "white")):
        assert import_particles(path, invert=invert).optics["drgnContrast"].tolist() == [contrast]
    with pytest.raises(InputError, match="--invert"):
        import_particles(path, invert="maybe")


@pytest.mark.parametrize("sign", [1, -1])
def test_the_files_word_on_contrast_must_not_contradict_the_images(folder: Path, sign: int) -> None:
    write_stack(folder / "a.mrcs", sign=sign)
    right, wrong = ("white", "dark") if sign == 1 else ("dark", "white")
    declared = particle_set()
    declared.optics["drgnContrast"] = right
    assert import_particles(saved(folder, declared)).optics["drgnContrast"].tolist() == [right]
    declared.optics["drgnContrast"] = wrong
    with pytest.raises(InputError, match=f"says protein is {wrong} .* look otherwise"):
        import_particles(saved(folder, declared))


@pytest.mark.parametrize("sign", [0, 0.02])
def test_unclear_contrast_must_be_declared(folder: Path, sign: float) -> None:
    write_stack(folder / "a.mrcs", sign=sign)
    with pytest.raises(InputError, match="--invert yes"):
        import_particles(saved(folder, particle_set()))


def test_blank_images_have_no_contrast(folder: Path) -> None:
    with StackWriter(folder / "a.mrcs", N, BOX, 2.0) as stack:
        stack.append(np.zeros((N, BOX, BOX)))
    with pytest.raises(InputError, match="all 40 images looked at are blank"):
        import_particles(saved(folder, particle_set()))


def test_three_clear_images_are_too_few(folder: Path) -> None:
    with pytest.raises(InputError, match="contrast is not clear"):
        import_particles(saved(folder, particle_set().select([0, 1, 2])))


@pytest.mark.parametrize("parameter", OPTICS_COLUMNS)
def test_missing_optics_are_asked_for_by_parameter(folder: Path, parameter: str) -> None:
    label, value = OPTICS_COLUMNS[parameter]
    given = particle_set()
    given.optics = given.optics.drop(columns=label)
    path = saved(folder, given)
    with pytest.raises(InputError, match=rf"has no {label}\n.*--{parameter}"):
        import_particles(path)
    assert import_particles(path, **{parameter: value}).optics[label].tolist() == [value]


def test_perturbation_is_uniform_seeded_and_bounded(folder: Path) -> None:
    path = saved(folder, particle_set())
    p = import_particles(path)
    q = import_particles(path, perturb_rotation=5.0, perturb_shift=3.0)
    angles = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
    turned = (q.table[angles] - p.table[angles]).to_numpy()
    moved = q.displacements() - p.displacements()
    for errors, bound in ((turned, 5.0), (moved, 3.0)):
        assert np.abs(errors).max() <= bound + 1e-9
        assert errors.std(axis=0) == pytest.approx(bound / np.sqrt(3), rel=0.25)
    again = import_particles(path, perturb_rotation=5.0, perturb_shift=3.0)
    pd.testing.assert_frame_equal(q.table, again.table)


def shortened(folder: Path, held: int) -> tuple[Path, Path]:
    """A star file, and another folder with a stack of the name that it says, which holds so many of its images."""
    (folder / "other").mkdir()
    write_stack(folder / "other" / "a.mrcs", held)
    return saved(folder, particle_set()), folder / "other"


@pytest.mark.parametrize(("held", "rows"), [(N - 2, 2), (N // 2, N // 2), (1, N - 1)])
def test_many_rows_beyond_a_stack_s_end_are_no_broken_rows(folder: Path, held: int, rows: int) -> None:
    """The stack is another one: to drop the rows would leave the others with wrong images."""
    path, other = shortened(folder, held)
    assert import_particles(path).box == BOX
    with pytest.raises(InputError) as error:
        import_particles(path, other)
    assert (
        f"row {held + 1}: asks for image {held + 1} of a.mrcs, which holds {held} ({rows} such" in error.value.problem
    )
    assert "probably this is another stack of that name" in error.value.problem
    assert "--images" in error.value.remedy and "--drop" not in error.value.remedy


def test_one_row_beyond_a_stack_s_end_may_be_dropped(folder: Path) -> None:
    path, other = shortened(folder, N - 1)
    with pytest.raises(InputError) as error:
        import_particles(path, other)
    assert "another stack" not in error.value.problem and "select" in error.value.remedy
    assert f"--drop {N}" in error.value.remedy


@pytest.mark.parametrize("held", [N - 1, N // 2])
def test_all_commands_refuse_rows_beyond_the_end_of_the_stack_given(folder: Path, held: int) -> None:
    """As a folder and as the stack itself."""
    path, other = shortened(folder, held)
    for words in (
        ["convert", path, "--images", other, "-o", folder / "b.star", "--box", BOX],
        ["convert", par_file(folder), "--images", other / "a.mrcs", "-o", folder / "b.star", *FACTS],
        ["reconstruct", path, "--images", other, "-o", folder / "map"],
    ):
        refused = run(*words)
        assert refused.exit_code == 2 and refused.stderr.count("What to do") == 1
        assert f"row {held + 1}: asks for image {held + 1} of" in refused.stderr
        assert ("another stack of that name" in refused.stderr) == (held == N // 2)
    assert not [*folder.glob("map*"), *folder.glob("b.star")]
    inspected = run("inspect", path, "--images", other).output
    assert f"{N - held} of {N} rows name images beyond the end of their stack" in " ".join(inspected.split())


FACTS = ("--voltage", 300, "--cs", 2.7, "--amplitude-contrast", 0.1)


def par_file(folder: Path) -> Path:
    particles = particle_set()
    particles.table["rlnDefocusAngle"] = 45.0
    write_par(particles, folder / "set.par", "parx")
    return folder / "set.par"


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("rlnAngleTilt", 4, np.nan, "row 5: rlnAngleTilt is not a finite number"),
        ("rlnDefocusV", 4, np.inf, "row 5: rlnDefocusV is not a finite number"),
        ("rlnPhaseShift", 4, np.nan, "row 5: rlnPhaseShift"),
        ("rlnRandomSubset", 4, 3, "row 5: rlnRandomSubset is not 1 or 2"),
        ("rlnRandomSubset", slice(None), 2, "rlnRandomSubset is 2 for all"),
        ("rlnImageName", 4, "000041@a.mrcs", r"row 5: asks for image 41 of a\.mrcs, which holds 40"),
        ("rlnImageName", 4, "000001@b.mrcs", r"b\.mrcs: no such stack \(1 of 2"),
    ],
)
def test_bad_rows(folder: Path, column: str, row: int, value: object, message: str) -> None:
    p = particle_set()
    p.table["rlnPhaseShift"] = 0.0
    p.table["rlnRandomSubset"] = np.arange(N) % 2 + 1
    p.table.loc[row, column] = value
    with pytest.raises(InputError, match=message):
        import_particles(saved(folder, p))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["rlnDefocusV"], "lacks the CTF columns rlnDefocusV"),
        (["rlnAngleRot", "rlnAnglePsi"], "lacks the pose columns rlnAngleRot, rlnAnglePsi"),
        (["rlnOriginYAngst"], "lacks the pose columns rlnOriginYAngst"),
    ],
)
def test_missing_columns(folder: Path, columns: list[str], message: str) -> None:
    p = particle_set()
    p.table = p.table.drop(columns=columns)
    with pytest.raises(InputError, match=message):
        import_particles(saved(folder, p))


@pytest.mark.parametrize(
    ("optics", "message"),
    [
        ({"rlnImagePixelSize": [2.0, 2.1]}, "pixel sizes differ between optics groups"),
        ({"rlnImagePixelSize": [-2.0, 2.0]}, r"the pixel size \(rlnImagePixelSize\) is -2 Å"),
        ({"rlnImageSize": [16, 32]}, "box sizes differ between optics groups"),
        ({"rlnImageSize": [32, 32]}, "rlnImageSize is 32, but the images are 16 px"),
    ],
)
def test_optics_groups_must_fit_each_other(folder: Path, optics: dict[str, list], message: str) -> None:
    p = particle_set()
    second = p.optics.assign(rlnOpticsGroup=2)
    p.optics = pd.concat([p.optics, second], ignore_index=True).assign(**optics)
    p.table["rlnOpticsGroup"] = np.arange(N) % 2 + 1
    with pytest.raises(InputError, match=message):
        import_particles(saved(folder, p))


def test_stacks_must_fit_each_other(folder: Path) -> None:
    p = particle_set()
    p.table.loc[3, "rlnImageName"] = "000001@b.mrcs"
    write_stack(folder / "b.mrcs", n=1, box=18)
    with pytest.raises(InputError, match=r"b\.mrcs: its images are 18 px wide, those of .*a\.mrcs 16 px"):
        check_images(p, folder)


def test_truncated_stack(folder: Path) -> None:
    stack = folder / "a.mrcs"
    stack.write_bytes(stack.read_bytes()[:-1])
    with pytest.raises(InputError, match="39 complete images of the 40"):
        check_images(particle_set(), folder)


def test_a_stack_that_is_only_there_compressed(folder: Path) -> None:
    (folder / "a.mrcs").rename(folder / "a.mrcs.gz")
    with pytest.raises(InputError, match=r"a\.mrcs\.gz is there\n.*unpack it"):
        check_images(particle_set(), folder)


def test_what_a_header_contradicts_is_told(folder: Path) -> None:
    stack = folder / "a.mrcs"
    stack.write_bytes(stack.read_bytes() + bytes(1536))
    with pytest.warns(InputWarning, match="1,536 bytes longer"):
        check_images(particle_set(), folder)


def test_images_must_be_square(folder: Path) -> None:
    stack = folder / "a.mrcs"
    content = bytearray(stack.read_bytes())
    content[:8] = np.array([BOX // 2, BOX * 2], "<i4").tobytes()
    stack.write_bytes(content)
    with pytest.raises(InputError, match="8 × 32 px"):
        check_images(particle_set(), folder)


def test_two_stacks_must_not_become_one_file(folder: Path) -> None:
    p = particle_set()
    p.table["rlnImageName"] = [f"{i // 2 + 1}@job{i % 2}/a.mrcs" for i in range(N)]
    with pytest.raises(InputError, match=r"a\.mrcs: several stacks"):
        check_images(p, folder)


def test_a_stack_may_be_spelled_in_several_ways(folder: Path) -> None:
    p = particle_set()
    p.table["rlnImageName"] = [f"{i + 1}@{'./' * (i % 2)}a.mrcs" for i in range(N)]
    assert check_images(p, folder) == BOX


def test_one_particle_is_too_few(folder: Path) -> None:
    with pytest.raises(InputError, match="only one particle"):
        import_particles(saved(folder, particle_set().select([0])))


def test_nan_pixels_are_named(folder: Path) -> None:
    stack = folder / "a.mrcs"
    content = bytearray(stack.read_bytes())
    content[-4:] = np.array(np.nan, "<f4").tobytes()
    stack.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.mrcs: image 40 holds NaN"):
        import_particles(saved(folder, particle_set()))


def test_other_file_types_are_refused_by_name(folder: Path) -> None:
    with pytest.raises(InputError, match=r"'\.txt' cannot be read"):
        import_particles(folder / "particles.txt")


def test_images_root(folder: Path) -> None:
    star = folder / "star" / "set.star"
    assert images_root(star, None) == folder / "star"
    assert images_root(star, folder) == folder
    assert images_root(star, folder / "a.mrcs") == folder
    with pytest.raises(InputError, match="--images"):
        images_root(star, folder / "nothing")


def test_par_needs_its_stack(folder: Path) -> None:
    row = "{:7d}  10.00  20.00  30.00   -1.00    2.00  10000.     1  15000.0  14000.0   45.00   0.30\n"
    path = folder / "set.par"
    path.write_text("".join(row.format(i) for i in range(1, N + 1)))
    optics = {parameter: value for parameter, (_, value) in OPTICS_COLUMNS.items()}
    for images in (None, folder):
        with pytest.raises(InputError, match="give the stack with --images"):
            import_particles(path, images, **optics)
    p = import_particles(path, folder / "a.mrcs", **optics)
    np.testing.assert_allclose(p.displacements(), np.tile([-1, 2], (N, 1)))


@needs_data
def test_real_atp_synthase_images_are_dark() -> None:
    folder = DATA / "particles/freehand"
    path, stack = folder / "parts-15_128x128f.par", folder / "parts.stk"
    with pytest.raises(InputError, match=r"--voltage .*--cs .*--amplitude_contrast .*--pixel_size"):
        import_particles(path, stack)
    p = import_particles(path, stack, pixel_size=2.8, voltage=200.0, cs=2.0, amplitude_contrast=0.07)
    assert len(p) == 50
    assert p.optics["drgnContrast"].tolist() == ["dark"]


@needs_data
def test_real_ribosome_images_are_dark_and_five_images_do_not_tell() -> None:
    folder = DATA / "particles"
    ribosomes = read_star(folder / "empiar_10076_7.star")
    ribosomes.optics["rlnImageSize"] = check_images(ribosomes, folder)
    assert ribosomes.box == 320
    assert detect_contrast(ribosomes, folder) == "dark"
    with pytest.raises(InputError, match="--invert"):
        detect_contrast(read_star(folder / "relion31.star"), folder)


@needs_data
@pytest.mark.parametrize("name", ["relion5", "sample_particles_relion30", "sample_particles_relion31"])
def test_files_without_their_images_read_but_cannot_be_imported(name: str) -> None:
    path = DATA / f"star/{name}.star"
    assert len(read_star(path)) == 17
    with pytest.raises(InputError, match="no such stack"):
        import_particles(path)


def test_a_file_of_our_own_has_one_sampling_too(folder: Path) -> None:
    """Merging makes such files; shifts and CTF would be of the first group's pixels."""
    own = import_particles(saved(folder, particle_set()))
    own.optics = pd.concat([own.optics, own.optics.assign(rlnOpticsGroup=2, rlnImagePixelSize=3.0)], ignore_index=True)
    own.table["rlnOpticsGroup"] = np.arange(N) % 2 + 1
    write_star(own, folder / "own.star")
    with pytest.raises(InputError, match="pixel sizes differ between optics groups"):
        open_particles(folder / "own.star", folder)


@pytest.mark.parametrize(
    ("column", "words"), [("rlnAngleTilt", "2-D alignments"), ("all", "all 40 orientations are 0")]
)
def test_two_dimensional_alignments_of_relion_are_refused(folder: Path, column: str, words: str) -> None:
    """Class2D writes tilts of exactly 0 throughout; so do programs that never aligned anything."""
    flat = particle_set()
    flat.table[ANGLES if column == "all" else ANGLES[:2]] = 0.0
    with pytest.raises(InputError, match=words):
        import_particles(saved(folder, flat))
    own = flat.table.assign(drgnRow=0, rlnRandomSubset=1)
    with pytest.raises(InputError, match=words):
        open_particles(saved(folder, replace(flat, table=own, optics=flat.optics.assign(drgnContrast="white"))), None)
    assert any(
        one["level"] == "error" and words in one["what"] for one in inspect_file(folder / "set.star")["findings"]
    )
    few = flat.select(np.arange(4))
    import_particles(saved(folder, few), invert="no", normalise="no")


def test_a_stack_that_lies_elsewhere_than_named_is_told(folder: Path) -> None:
    """It is taken without the folders of its name; not where another stack lies as named."""
    moved = particle_set()
    moved.table["rlnImageName"] = [f"{i:06d}@Extract/a.mrcs" for i in range(1, N + 1)]
    with pytest.warns(InputWarning, match=r"Extract/a.mrcs is not there, but .*a.mrcs is: it is taken"):
        import_particles(saved(folder, moved))
    (folder / "s1").mkdir()
    write_stack(folder / "s1" / "a.mrcs")
    moved.table["rlnImageName"] = [f"{i:06d}@s{1 + i % 2}/a.mrcs" for i in range(1, N + 1)]
    with pytest.raises(InputError, match=r"s2/a.mrcs is not there, but .*a.mrcs is \(1 of 2 stacks\)"):
        import_particles(saved(folder, moved))
    found = inspect_file(folder / "set.star")["findings"]
    assert any(one["level"] == "error" and "s2/a.mrcs is not there" in one["what"] for one in found)


def test_a_type_behind_a_stacks_name(folder: Path) -> None:
    """RELION and XMIPP read particles.mrc:mrcs as a stack."""
    typed = particle_set()
    (folder / "a.mrcs").rename(folder / "a.mrc")
    typed.table["rlnImageName"] = [f"{i:06d}@a.mrc:mrcs" for i in range(1, N + 1)]
    assert import_particles(saved(folder, typed)).box == BOX


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rlnDefocusV": None}, "lacks the CTF columns rlnDefocusV"),
        ({"rlnAngleTilt": None}, "lacks the pose columns rlnAngleTilt"),
        ({"rlnOriginXAngst": None}, "lacks the pose columns rlnOriginXAngst"),
        ({"rlnVoltage": None}, "has no rlnVoltage"),
        ({"drgnContrast": "black"}, "drgnContrast is neither white nor dark"),
        ({"rlnImageSize": 32}, "rlnImageSize is 32, but the images are 16 px wide"),
        ({"rlnImagePixelSize": 0.2}, "if that is in nm, it is 2 Å"),
        ({"rlnImageName": "000099@a.mrcs"}, "asks for image 99"),
    ],
)
def test_a_file_of_a_run_is_checked_as_any_other(folder: Path, change: dict[str, object], words: str) -> None:
    own = import_particles(saved(folder, particle_set()))
    for label, value in change.items():
        for frame in (own.table, own.optics):
            if label in frame and value is None:
                frame.drop(columns=label, inplace=True)
            elif label in frame:
                frame[label] = value
    with pytest.raises(InputError, match=words):
        open_particles(saved(folder, own), None)


def test_stacks_are_looked_at_once_in_a_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By CHECK_INPUTS: chunks of a run open them for their images alone."""
    write_star(import_particles(saved(folder, particle_set())), folder / "own.star")
    (folder / "a.mrcs").unlink()
    with pytest.raises(InputError, match=r"a\.mrcs: no such stack"):
        open_particles(folder / "own.star", folder)
    monkeypatch.setenv("DRGNALIGN_TASK", "1")
    assert len(open_particles(folder / "own.star", folder).particles) == N


def test_numbers_that_are_all_one_too_large_are_no_row_to_be_dropped(folder: Path) -> None:
    """Without the last row all others would be of their neighbours' images, and nothing would say so."""
    particles = particle_set()
    particles.table["rlnImageName"] = [f"{number:06d}@a.mrcs" for number in range(2, N + 2)]
    with pytest.raises(InputError, match=rf"row {N}: asks for image {N + 1}.*\n.*may all be one too large") as error:
        import_particles(saved(folder, particles))
    assert f"--drop {N}" not in str(error.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"rlnRandomSubset": 1}, "rlnRandomSubset is 1 for all particles"),
        ({"drgnLeftOut": 1}, "has no particle that is not left out"),
        ({"drgnLeftOut": [0] + [1] * (N - 1)}, "has only one particle that is not left out"),
        ({"drgnOccupancy": [-0.5] + [1.0] * (N - 1)}, "row 1: drgnOccupancy is not within 0 to 1"),
        ({"drgnOccupancy": [1.0] * (N - 1) + [5.0]}, f"row {N}: drgnOccupancy is not within 0 to 1"),
    ],
)
def test_a_file_of_our_own_that_makes_no_two_maps(folder: Path, columns: dict[str, object], message: str) -> None:
    """As a part of it that was selected, or changed by hand: one half map would be empty, or a weight negative."""
    own = import_particles(saved(folder, particle_set()))
    path = saved(folder, replace(own, table=own.table.assign(**columns)))
    with pytest.raises(InputError, match=message):
        open_particles(path, None)


@pytest.mark.parametrize("other", ["{folder}/a.mrcs", "a.mrcs:mrcs"])
def test_a_stack_by_its_full_path_and_with_its_type_is_one(folder: Path, other: str) -> None:
    """Its images are then known to stand in both half sets."""
    given, n = particle_set(), N // 2
    names = ["a.mrcs"] * n + [other.format(folder=folder)] * n
    given.table["rlnImageName"] = [f"{i % n + 1:06d}@{name}" for i, name in enumerate(names)]
    given.table["rlnRandomSubset"] = [1] * n + [2] * n
    with pytest.warns(InputWarning, match=f"both half sets hold rows of the same {n} images"):
        import_particles(saved(folder, given))
