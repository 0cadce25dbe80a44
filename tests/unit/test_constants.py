"""Constants that cannot be are refused by every command, with the unit that they are probably in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run, succeed

from drgnalign.constants import check_constants, constant_findings
from drgnalign.errors import InputError, InputWarning
from drgnalign.formats.par import write_par
from drgnalign.formats.particle_file import read_particle_file
from drgnalign.formats.star import read_star, write_star
from drgnalign.inputs import import_particles, open_particles
from drgnalign.particles import DEFOCUS, MAGNIFICATION, Particles

BOX, PIXEL = 32, 4.0


@pytest.fixture
def given(particles_of: Callable[..., Particles]) -> Particles:
    random = np.random.default_rng(0)
    y, x = np.mgrid[:BOX, :BOX] - BOX // 2
    images = random.normal(size=(40, BOX, BOX)) + (np.hypot(x, y) < 6)
    made = particles_of(images.astype(np.float32), PIXEL)
    made.optics["rlnImageSize"] = BOX
    for label in ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"):
        made.table[label] = random.uniform(0, 90, 40)
    for label in ("rlnOriginXAngst", "rlnOriginYAngst"):
        made.table[label] = random.uniform(0, 30, 40)
    made.table[DEFOCUS[:2]] = 15_000.0
    made.table["rlnRandomSubset"] = np.arange(40) % 2 + 1
    return made


def changed(given: Particles, **columns: Any) -> Particles:
    of_table = {label: value for label, value in columns.items() if label in given.table or label == "rlnPhaseShift"}
    of_optics = {label: value for label, value in columns.items() if label not in of_table}
    return replace(given, table=given.table.assign(**of_table), optics=given.optics.assign(**of_optics))


def both(defocus: float) -> dict[str, float]:
    return dict.fromkeys(DEFOCUS[:2], defocus)


IMPOSSIBLE: dict[str, tuple[dict[str, Any], str]] = {
    "V": ({"rlnVoltage": 300_000.0}, "in V, which is 300 kV"),
    "MV": ({"rlnVoltage": 0.3}, "in MV, which is 300 kV"),
    "no voltage": ({"rlnVoltage": 0.0}, "check value and unit"),
    "Cs in Å": ({"rlnSphericalAberration": 2.7e7}, "in Å, which is 2.7 mm"),
    "Cs in µm": ({"rlnSphericalAberration": 2700.0}, "in µm, which is 2.7 mm"),
    "per cent": ({"rlnAmplitudeContrast": 7.0}, "in per cent, which is 0.07"),
    "negative amplitude contrast": ({"rlnAmplitudeContrast": -0.1}, "outside 0 to 1"),
    "nm": ({"rlnImagePixelSize": 0.131}, "in nm, which is 1.31 Å"),
    "nm, of large pixels": ({"rlnImagePixelSize": 0.8}, "if that is in nm, it is 8 Å"),
    "pm": ({"rlnImagePixelSize": 131.0}, "in pm, which is 1.31 Å"),
    "defocus in µm": (both(1.5), "in µm, which is 15000 Å"),
    "defocus in nm": (both(1500.0), "in nm, which is 15000 Å"),
    "defocus in m": (both(1.5e-6), "in m, which is 15000 Å"),
    "defocus V in µm": ({DEFOCUS[1]: 1.5}, "in µm, which is 15000 Å"),
    "defocus V 0": ({DEFOCUS[1]: 0.0}, "is 0 Å"),
    "defocus in pm": (both(1.5e6), "is 1.5e+06 Å"),
    "overfocus": (both(-15_000.0), "change the signs"),
    "phase shift": ({"rlnPhaseShift": 5156.6}, "degrees were written where radians belong"),
    "singular magnification": (dict(zip(MAGNIFICATION, (0.51, 0.49, 0.49, 0.514), strict=True)), "no lens"),
    "mirrored": (dict(zip(MAGNIFICATION, (1.0, 0.0, 0.0, -1.0), strict=True)), "no lens"),
    "magnification that is not less 1": (dict(zip(MAGNIFICATION, (0.01, 0.0, 0.0, 0.01), strict=True)), "no lens"),
    "beam tilt in µrad": ({"rlnBeamTiltX": 1000.0, "rlnBeamTiltY": 0.0}, "in µrad, which is 1 mrad"),
    "B-factor": ({"rlnCtfBfactor": 1e6}, "B-factor of the CTF"),
    "flag 2": ({"rlnCtfDataArePhaseFlipped": 2}, "it says 1 for yes or 0 for no"),
    "flag .5": ({"rlnCtfDataAreCtfPremultiplied": 0.5}, "it says 1 for yes or 0 for no"),
    "mirror .5": ({"rlnIsFlip": 0.5}, "it says 1 for yes or 0 for no"),
    "no bracket": ({"rlnOddZernike": "[0,1,2"}, "rlnOddZernike is '[0,1,2'"),
    "no brackets": ({"rlnEvenZernike": "0,1,2"}, "as [a,b,c]"),
    "text in a list": ({"rlnOddZernike": "[0,one,2]"}, "as [a,b,c]"),
    "a list that goes on": ({"rlnOddZernike": "[0,1,2],3"}, "as [a,b,c]"),
    "an underscore": ({"rlnOddZernike": "[0,1_0,2]"}, "as [a,b,c]"),
    "an empty place": ({"rlnEvenZernike": "[0,,2]"}, "as [a,b,c]"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_cannot_be_is_refused(given: Particles, tmp_path: Path, name: str) -> None:
    columns, said = IMPOSSIBLE[name]
    write_star(changed(given, **columns), tmp_path / "p.star")
    with pytest.raises(InputError) as caught:
        read_particle_file(tmp_path / "p.star")
    assert said in str(caught.value)
    result = run("inspect", tmp_path / "p.star")
    assert result.exit_code == 2 and said in " ".join(result.output.split())


@pytest.mark.parametrize("name", ["V", "defocus in nm", "no bracket", "flag 2"])
def test_every_command_refuses_it(given: Particles, tmp_path: Path, name: str) -> None:
    columns, said = IMPOSSIBLE[name]
    path, map_file = tmp_path / "p.star", tmp_path / "map.mrc"
    own = import_of(given, tmp_path)
    map_file.touch()
    for particles in (given, own):
        write_star(changed(particles, **columns), path)
        for arguments in (
            ["reconstruct", path, "-o", tmp_path / "x"],
            ["refine", path, "--half1", map_file, "--half2", map_file, "--limit", 20, "-o", tmp_path / "x.star"],
            ["convert", path, "-o", tmp_path / "x.par", "--to", "parx"],
            ["select", path, "-o", tmp_path / "x.star"],
            ["merge", path, "-o", tmp_path / "x.star"],
        ):
            result = run(*arguments)
            assert result.exit_code == 2 and said in result.stderr, arguments
            assert not list(tmp_path.glob("x*"))


def import_of(given: Particles, folder: Path) -> Particles:
    write_star(given, folder / "p.star")
    return import_particles(folder / "p.star")


def test_options_are_asked_as_files_are(given: Particles, tmp_path: Path) -> None:
    write_par(given, tmp_path / "p.par", "par9")
    facts = ["--pixel-size", PIXEL, "--box", BOX, "--cs", 2.7, "--amplitude-contrast", 0.1]
    result = run("convert", tmp_path / "p.par", "-o", tmp_path / "x", "--to", "cryodrgn", *facts, "--voltage", 300_000)
    assert result.exit_code == 2 and "in V, which is 300 kV" in result.stderr


ODD: dict[str, tuple[dict[str, Any], str]] = {
    "voltage": ({"rlnVoltage": 60.0}, "outside 80 to 400 kV"),
    "Cs in m": ({"rlnSphericalAberration": 0.0027}, "in m, which is 2.7 mm"),
    "amplitude contrast": ({"rlnAmplitudeContrast": 0.7}, "outside 0 to 0.2"),
    "pixel size": ({"rlnImagePixelSize": 25.0}, "outside 0.4 to 20 Å"),
    "near focus": (both(4000.0), "in nm, which is 40000 Å"),
    "no defocus": (both(0.0), "the CTF was not estimated"),
    "phase shift in radians": ({"rlnPhaseShift": 1.57}, "seem to be radians"),
    "some phase shifts in radians": ({"rlnPhaseShift": [1.57, 0.0] * 20}, "seem to be radians"),
    "some defoci in µm": (dict.fromkeys(DEFOCUS[:2], [1.5] * 15 + [15_000.0] * 25), "15 of 40 defoci"),
    "some overfoci": (dict.fromkeys(DEFOCUS[:2], [-15_000.0] * 15 + [15_000.0] * 25), "15 of 40 defoci"),
    "poses in radians": (
        {label: np.linspace(0.1, 3.1, 40) for label in ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")},
        "seem to be radians",
    ),
    "shifts in the wrong unit": ({"rlnOriginXAngst": np.linspace(0, 900, 40)}, "more than half of the box"),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_is_told(given: Particles, name: str) -> None:
    columns, said = ODD[name]
    with pytest.warns(InputWarning) as caught:
        check_constants(changed(given, **columns))
    (told,) = (warning.message for warning in caught if warning.category is InputWarning)
    assert said in str(told)


USUAL: list[dict[str, Any]] = [
    {},
    {"rlnVoltage": 100.0},
    {"rlnPhaseShift": 90.0, **both(800.0)},
    {"rlnCtfBfactor": 250.0},
    {"rlnOddZernike": "[]"},
    {"rlnEvenZernike": "[ 1e-3, -2., .5 ]"},
    {"rlnSphericalAberration": 0.01},
    {"rlnBeamTiltX": -0.5, "rlnBeamTiltY": 2},
    {"rlnAmplitudeContrast": 0.0},
]


@pytest.mark.parametrize("columns", USUAL)
def test_what_is_usual_is_not_told(given: Particles, columns: dict[str, Any]) -> None:
    assert list(constant_findings(changed(given, **columns))) == []


def test_a_pixel_size_in_nm_is_told_by_the_header(given: Particles, tmp_path: Path) -> None:
    """Where images of that size could be."""
    write_star(changed(given, rlnImagePixelSize=PIXEL * 1.3), tmp_path / "p.star")
    with pytest.warns(InputWarning, match=r"the pixel size is 5\.2 Å, 4 Å in the header"):
        import_particles(tmp_path / "p.star")
    (tmp_path / "images.mrcs").rename(tmp_path / "same.mrcs")
    data = bytearray((tmp_path / "same.mrcs").read_bytes())
    data[40:52] = np.array([40 * BOX, 40 * BOX, 40], "<f4").tobytes()
    (tmp_path / "images.mrcs").write_bytes(data)
    with pytest.raises(InputError, match="seems to be in nm"):
        import_of(given, tmp_path)


def test_groups_without_particles_may_say_what_they_like(given: Particles, tmp_path: Path) -> None:
    write_star(given, tmp_path / "p.star")
    text = (tmp_path / "p.star").read_text()
    labels = read_star(tmp_path / "p.star").optics.columns.tolist()
    row = next(line for line in text.splitlines() if "opticsGroup1" in line)
    words = ["9" if label == "rlnOpticsGroup" else "none" for label in labels]
    (tmp_path / "p.star").write_text(text.replace(row, " ".join(words) + "\n" + row))
    particles = read_particle_file(tmp_path / "p.star")
    assert len(particles.optics) == 1 and particles.optics["rlnVoltage"].tolist() == given.optics["rlnVoltage"].tolist()
    import_particles(tmp_path / "p.star", pixel_size=PIXEL)
    assert open_particles(tmp_path / "p.star", None)[0].pixel_size == PIXEL
    result = succeed("inspect", tmp_path / "p.star")
    assert "1 of 2 optics groups is used by no particle" in result.output


@pytest.mark.parametrize("label", ["rlnAnglePsi", "rlnDefocusAngle"])
def test_angles_that_were_converted_twice_are_told(given: Particles, label: str) -> None:
    """The CTF and the pose would be of any angle."""
    particles = replace(given, table=given.table.assign(**{label: np.degrees(np.linspace(0, 170, 40))}))
    with pytest.warns(InputWarning, match=rf"of 40 angles \({label}\) are beyond 720°, up to 9,740°"):
        check_constants(particles)
