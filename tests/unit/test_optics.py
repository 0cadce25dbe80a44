"""What a lens does to images besides the CTF: each term in simulated images, matched by the engine's model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.transform import Rotation

from drgnalign.ctf import PlainImages, ctf, ctf_terms, electron_wavelength, lenses, plain_optics
from drgnalign.downsample import downsample_stack, with_stack
from drgnalign.engine.images import coefficient_batches, poses_of
from drgnalign.engine.kernels import ReferenceSet, kernels_for
from drgnalign.engine.noise import estimate_noise
from drgnalign.engine.plan import coefficient_plan
from drgnalign.engine.reconstruct import insert_particles
from drgnalign.engine.reference import transform_reference
from drgnalign.engine.refine import refine_particles
from drgnalign.errors import InputError, InputWarning
from drgnalign.external.driver import warn_of_lens
from drgnalign.external.images import stack_for
from drgnalign.formats.mrc import ImageSource, StackWriter
from drgnalign.formats.particle_file import write_particle_file
from drgnalign.formats.star import read_star, write_star
from drgnalign.fourier import irfft_images, rfft_images, shell_numbers
from drgnalign.geometry import angular_distance
from drgnalign.inputs import import_particles
from drgnalign.inspect import inspect_file
from drgnalign.interface import Chunk
from drgnalign.optics import optics_terms, warn_of_training
from drgnalign.particles import (
    DEFOCUS,
    MAGNIFICATION,
    NEUTRAL_CTF,
    NEUTRAL_OPTICS,
    PHASE_FLIPPED,
    PREMULTIPLIED,
    Particles,
)
from drgnalign.simulate import phantom_states
from drgnalign.simulate.projection import density_map
from drgnalign.validation.fsc import fourier_shell_correlation

BOX, PIXEL, BLUR, LIMIT, COUNT = 48, 4.0, 3.0, 9.0, 40
SPECIMEN = phantom_states(1)[0]
# Lenses so bad that every term counts at 9 Å: nobody would take images with them.
TERMS: dict[str, dict[str, float | str]] = {
    "beam tilt": {"rlnBeamTiltX": 6.0, "rlnBeamTiltY": -9.0},
    "trefoil": {"rlnOddZernike": "[0,0,700,0,0,-600]"},
    "coma": {"rlnOddZernike": "[-480.5,310.25,0,-240,155,0]"},
    "shift": {"rlnOddZernike": "[6,-9]"},
    "tetrafoil": {"rlnEvenZernike": "[0,0,0,0,-6000,0,0,0,7000]"},
    "astigmatism": {"rlnEvenZernike": "[0.2,30,12,-40,0,15,250,-20,0]"},
    "magnification": dict(zip(MAGNIFICATION, (1.05, 0.03, -0.02, 0.96), strict=True)),
    "B-factor": {"rlnCtfBfactor": 250.0},
    "scale": {"rlnCtfScalefactor": 0.6},
    "flipped": {"rlnCtfDataArePhaseFlipped": 1},
    "multiplied": {"rlnCtfDataAreCtfPremultiplied": 1},
}  # fmt: skip
ALL = {label: value for term in TERMS.values() for label, value in term.items()} | {"rlnCtfDataArePhaseFlipped": 0}


def numbers(stored: float | str) -> np.ndarray:
    return np.array([float(word) for word in str(stored).strip("[]").split(",")])


def odd_and_even(x: np.ndarray, y: np.ndarray, told: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Zernike polynomials written out, in RELION's order, and the coma of a tilted beam."""
    r2 = x**2 + y**2
    odd = [y, x, 3 * x**2 * y - y**3, (3 * r2 - 2) * y, (3 * r2 - 2) * x, x**3 - 3 * x * y**2]
    even = [
        np.ones_like(x), 2 * x * y, 2 * r2 - 1, x**2 - y**2, 4 * x * y * (x**2 - y**2), (4 * r2 - 3) * 2 * x * y,
        6 * r2**2 - 6 * r2 + 1, (4 * r2 - 3) * (x**2 - y**2), x**4 - 6 * x**2 * y**2 + y**4,
    ]  # fmt: skip
    coma = -2 * np.pi * 2.7e7 * electron_wavelength(300.0) ** 2 * r2 * 1e-3
    phase = coma * (told["rlnBeamTiltX"] * x + told["rlnBeamTiltY"] * y)
    phase = phase + sum(c * z for c, z in zip(numbers(told["rlnOddZernike"]), odd, strict=False))
    return phase, sum(c * z for c, z in zip(numbers(told["rlnEvenZernike"]), even, strict=False))


class Scene:
    """Particles, and their images through a lens."""

    def __init__(self, particles_of: Callable[..., Particles], terms: dict[str, Any], noise: float = 0.0) -> None:
        rng = np.random.default_rng(2)
        told = {**NEUTRAL_OPTICS, **NEUTRAL_CTF, **terms}
        rotations = Rotation.random(COUNT, rng).as_matrix()
        shifts = rng.uniform(-3, 3, (COUNT, 2))
        u = rng.uniform(9000, 14000, COUNT)
        angles = rng.uniform(0, 180, COUNT)
        ky, kx = np.fft.fftfreq(BOX, PIXEL)[:, None], np.fft.rfftfreq(BOX, PIXEL)[None]
        m00, m01, m10, m11 = (told[f"rlnMagMat{index}"] for index in ("00", "01", "10", "11"))
        x, y = m00 * kx + m01 * ky, m10 * kx + m11 * ky
        odd, even = odd_and_even(x, y, told)
        images = np.empty((COUNT, BOX, BOX), np.float32)
        for row in range(COUNT):
            # V(R M k) of points r is the sum of exp(−2πi k·(Mᵀ Rᵀ r))
            flat = SPECIMEN.points @ rotations[row][:, :2] @ [[m00, m01], [m10, m11]]
            along_y, along_x = (np.exp(-2j * np.pi * np.outer(k, p)) for k, p in ((ky, flat[:, 1]), (kx, flat[:, 0])))
            projected = (along_y * SPECIMEN.weights) @ along_x.T * np.exp(-2 * np.pi**2 * BLUR**2 * (x**2 + y**2))
            moved = np.exp(-2j * np.pi * PIXEL * (kx * shifts[row, 0] + ky * shifts[row, 1]))
            wavelength, r2 = electron_wavelength(300.0), x**2 + y**2
            turned = np.arctan2(y, x) - np.radians(angles[row])
            defocus = u[row] - 800 * np.sin(turned) ** 2
            gamma = np.pi * wavelength * defocus * r2 - np.pi / 2 * 2.7e7 * wavelength**3 * r2**2 + np.arcsin(0.07)
            factor = np.sin(gamma - even) * told["rlnCtfScalefactor"] * np.exp(-told["rlnCtfBfactor"] / 4 * r2)
            taken = projected * moved * factor * np.exp(1j * odd)
            taken = taken + noise * rfft_images(rng.standard_normal((1, BOX, BOX)))[0]
            if told["rlnCtfDataAreCtfPremultiplied"]:
                taken = taken * factor
            if told["rlnCtfDataArePhaseFlipped"]:
                taken = taken * np.sign(factor)
            images[row] = irfft_images(taken[None], BOX)[0]
        made = particles_of(images, PIXEL)
        table = made.table.assign(rlnDefocusU=u, rlnDefocusV=u - 800, rlnDefocusAngle=angles)
        optics = made.optics.assign(**{label: told[label] for label in NEUTRAL_OPTICS})
        table = table.assign(**{label: told[label] for label in NEUTRAL_CTF})
        self.particles = replace(made, table=table, optics=optics).with_poses(rotations, shifts)
        self.source = ImageSource(self.particles, made.path.parent)

    def told(self, **terms: Any) -> Particles:
        """The particles with other terms than their images have."""
        table = self.particles.table.assign(**{label: terms[label] for label in NEUTRAL_CTF if label in terms})
        optics = self.particles.optics.assign(**{label: terms[label] for label in NEUTRAL_OPTICS if label in terms})
        return replace(self.particles, table=table, optics=optics)


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    return density_map(SPECIMEN.points, SPECIMEN.weights, BOX, PIXEL, BLUR)


def match(volume: np.ndarray, particles: Particles, source: ImageSource) -> tuple[float, float]:
    """Correlation of images with the engine's model of them, all rings alike, and how strong that is in them."""
    ones = np.ones_like(volume)
    # finer than the images' limit, so that it reaches to M k
    reference = transform_reference(volume, ones, np.ones(BOX // 2 + 1), PIXEL, 2 * PIXEL, 2.0)
    plan = coefficient_plan(BOX, PIXEL, LIMIT).within_limit()
    power = np.abs(rfft_images(PlainImages(particles, BOX).of(source.read(np.arange(COUNT)), np.arange(COUNT)))) ** 2
    rings = shell_numbers(BOX, 2)
    whole = rings <= BOX // 2
    noise = np.bincount(rings[whole], power.mean(axis=0)[whole]) / np.bincount(rings[whole])
    kernels, poses, sums = kernels_for(plan, "cpu"), poses_of(particles), np.zeros(3)
    for batch in coefficient_batches(particles, source, plan, kernels, noise[None], ""):
        found = kernels.matches(ReferenceSet((reference,)), batch.coefficients, poses[batch.rows])
        power = (batch.coefficients[:, :2].astype(float) ** 2).sum()
        sums += [found.products.sum(), found.powers.sum(), power]
    return sums[0] / np.sqrt(sums[1] * sums[2]), sums[0] / sums[1]


@pytest.mark.parametrize("name", TERMS)
def test_each_term_is_in_the_model(name: str, particles_of, volume: np.ndarray) -> None:
    """Sign included: without the term, and with its opposite, the model matches worse."""
    terms = TERMS[name]
    scene = Scene(particles_of, terms)
    correlation, amplitude = match(volume, scene.particles, scene.source)
    assert correlation > 0.997
    assert amplitude == pytest.approx(1, abs=0.01)
    neutral = {label: {**NEUTRAL_OPTICS, **NEUTRAL_CTF}[label] for label in terms}
    without, strength = match(volume, scene.told(**neutral), scene.source)
    if name == "scale":
        assert strength == pytest.approx(0.6, abs=0.01)
        return
    assert without < correlation - 0.01
    if name in ("flipped", "multiplied"):
        return
    if name == "magnification":
        inverse = np.linalg.inv(np.array(list(terms.values())).reshape(2, 2)).ravel()
        opposite: dict[str, Any] = dict(zip(terms, inverse, strict=True))
    else:
        opposite = {label: str((-numbers(value)).tolist()) for label, value in terms.items()}
        opposite = {label: -value if isinstance(value, float) else opposite[label] for label, value in terms.items()}
    assert match(volume, scene.told(**opposite), scene.source)[0] < correlation - 0.01


def test_magnification_is_not_its_transpose(particles_of, volume: np.ndarray) -> None:
    told = dict(zip(TERMS["magnification"], (1.0, 0.06, 0.0, 1.0), strict=True))
    scene = Scene(particles_of, told)
    correlation, _ = match(volume, scene.particles, scene.source)
    transposed = scene.told(rlnMagMat01=0.0, rlnMagMat10=0.06)
    assert match(volume, transposed, scene.source)[0] < correlation - 0.01


def test_all_terms_at_once(particles_of, volume: np.ndarray) -> None:
    scene = Scene(particles_of, ALL)
    correlation, amplitude = match(volume, scene.particles, scene.source)
    assert correlation > 0.99
    assert amplitude == pytest.approx(1, abs=0.02)


def test_poses_are_refined_through_a_bad_lens(particles_of, volume: np.ndarray) -> None:
    scene = Scene(particles_of, ALL, noise=0.3)
    limit, ones, white = 12.0, np.ones_like(volume), np.full((1, BOX // 2 + 1), 0.09 * BOX**2)
    reference = transform_reference(volume, ones, np.ones(BOX // 2 + 1), PIXEL, limit, 2.0)
    rng, true = np.random.default_rng(0), scene.particles
    turns = Rotation.from_rotvec(np.radians(2) * rng.standard_normal((COUNT, 3))).as_matrix()
    off = true.with_poses(true.rotations() @ turns, true.displacements() + rng.uniform(-1, 1, (COUNT, 2)))
    errors = []
    for given in (off, replace(off, optics=off.optics.assign(**NEUTRAL_OPTICS))):
        found = refine_particles(given, scene.source, {1: reference, 2: reference}, white, limit)
        away = np.linalg.norm(found.displacements - true.displacements(), axis=1)
        errors.append((np.median(angular_distance(found.rotations, true.rotations())), np.median(away)))
    assert errors[0][0] < 0.5
    assert errors[0][1] < 0.1
    assert errors[1][0] > 2 * errors[0][0]
    assert errors[1][1] > 5 * errors[0][1]


class Treated:
    """One noisy set: its images as they were taken, flipped, and multiplied by their CTF."""

    def __init__(self, data: Any, folder: Path) -> None:
        self.truth, self.volume, self.folder = data.truth, data.volume, folder
        table, box = data.truth.table, data.truth.box
        kx, ky = np.fft.rfftfreq(box, 8.0)[None], np.fft.fftfreq(box, 8.0)[:, None]
        u, v, angle = (table[label].to_numpy()[:, None, None] for label in DEFOCUS)
        factors = ctf(kx, ky, u, v, angle, 300.0, 2.7, 0.07)
        taken = rfft_images(data.source.read(np.arange(len(table))))
        self.images = {
            "taken": irfft_images(taken, box),
            "flipped": irfft_images(taken * np.sign(factors), box),
            "multiplied": irfft_images(taken * factors, box),
        }
        for name, images in self.images.items():
            with StackWriter(folder / f"{name}.mrcs", len(images), box, 8.0) as stack:
                stack.append(images)

    def particles(self, name: str, told: str | None = None) -> Particles:
        table = self.truth.table
        names = table["rlnImageName"].str.replace("particles", name)
        flags = {PHASE_FLIPPED: int((told or name) == "flipped"), PREMULTIPLIED: int((told or name) == "multiplied")}
        return replace(self.truth, table=table.assign(rlnImageName=names), optics=self.truth.optics.assign(**flags))

    def correlation(self, particles: Particles) -> np.ndarray:
        """FSC of the map of all particles with the true one."""
        source = ImageSource(particles, self.folder)
        sums = insert_particles(particles, source, estimate_noise(particles, source, 220.0), 2.0)
        return fourier_shell_correlation(sums.half_map(1) + sums.half_map(2), self.volume)


@pytest.fixture(scope="module")
def treated(simulate: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Treated:
    return Treated(simulate(600, 32, 8.0, snr=5.0), tmp_path_factory.mktemp("treated"))


@pytest.mark.parametrize("name", ["flipped", "multiplied"])
def test_treated_images_give_the_map_of_those_that_were_taken(treated: Treated, name: str) -> None:
    right = treated.correlation(treated.particles("taken"))
    assert (right[13:16] > 0.5).all()
    assert_allclose(treated.correlation(treated.particles(name))[1:16], right[1:16], atol=0.02)
    # and are lost if nobody says what they are
    assert treated.correlation(treated.particles(name, told="taken"))[14] < right[14] - 0.3


def test_the_noise_of_multiplied_images_is_that_of_the_images(treated: Treated) -> None:
    powers = []
    for name in ("taken", "multiplied"):
        particles = treated.particles(name)
        powers.append(estimate_noise(particles, ImageSource(particles, treated.folder), 220.0)[0])
    # where the CTF is near zero they are not divided by all of it
    assert_allclose(powers[1] / powers[0], 0.95, atol=0.06)


@pytest.mark.parametrize("name", ["flipped", "multiplied"])
def test_a_derived_stack_is_of_images_as_they_were_taken(treated: Treated, tmp_path: Path, name: str) -> None:
    stacks = {}
    for kind in ("taken", name):
        particles = treated.particles(kind)
        downsample_stack(particles, ImageSource(particles, treated.folder), 24, tmp_path / f"{kind}.mrcs")
        derived = with_stack(particles, tmp_path / f"{kind}.mrcs")
        assert not any(lens.stored for lens in lenses(derived))
        stacks[kind] = ImageSource(derived, tmp_path).read(np.arange(600))
        # once more, as COARSEN does: nothing is taken off twice
        downsample_stack(derived, ImageSource(derived, tmp_path), 24, tmp_path / "again.mrcs")
        again = ImageSource(with_stack(derived, tmp_path / "again.mrcs"), tmp_path)
        assert_array_equal(again.read([5]), stacks[kind][[5]])
    a, b = (values - values.mean(axis=(1, 2), keepdims=True) for values in stacks.values())
    assert (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()) > (0.999 if name == "flipped" else 0.97)


def test_a_derived_stack_has_no_odd_aberrations_and_keeps_the_rest(particles_of, volume: np.ndarray) -> None:
    scene = Scene(particles_of, ALL)
    path = scene.source.root / "derived.mrcs"
    downsample_stack(scene.particles, scene.source, BOX, path)
    derived = with_stack(scene.particles, path)
    assert_array_equal(ctf_terms(derived, [1.0], [0.0]).odd, [[[1], [0]]])
    source = ImageSource(derived, path.parent)
    assert match(volume, derived, source)[0] > 0.99
    # what is left in the images is still told of them
    plain = derived.optics.assign(**{label: NEUTRAL_OPTICS[label] for label in ("rlnMagMat00", "rlnMagMat11")})
    assert match(volume, replace(derived, optics=plain), source)[0] < 0.9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rlnIsFlip": [0] * 39 + [1]}, r"row 40: rlnIsFlip says that the image is to be mirrored \(1 such rows\)"),
        ({"rlnCtfScalefactor": [0.0] * 40}, r"row 1: rlnCtfScalefactor is not above 0"),
        ({"rlnCtfBfactor": [np.nan] * 40}, r"row 1: rlnCtfBfactor is not a finite number"),
        ({"rlnCtfDataAreCtfCorrected": 1}, r"images were divided by their CTF"),
        ({"rlnCtfDataArePhaseFlipped": 1, "rlnCtfDataAreCtfPremultiplied": 1}, r"are both 1"),
        ({"rlnMagMat00": -1.0}, r"rlnMagMat00…11 is \[-1\.0, 0\.0, 0\.0, 1\.0\], which no lens does to images"),
        ({"rlnMagMat10": np.nan}, r"rlnMagMat10 is not a finite number in its optics table"),
        ({"rlnOddZernike": "[1,two]"}, r"(?s)rlnOddZernike is '\[1,two\]'.*give up to 42 numbers"),
        ({"rlnEvenZernike": str([0.0] * 60)}, r"(?s)rlnEvenZernike is .*give up to 49 numbers"),
    ],
)  # fmt: skip
def test_what_no_lens_does_is_refused(particles_of, changes: dict[str, Any], message: str) -> None:
    scene = Scene(particles_of, {})
    of_table = {label: value for label, value in changes.items() if isinstance(value, list)}
    table, optics = scene.particles.table.assign(**of_table), scene.particles.optics
    optics = optics.assign(**{label: value for label, value in changes.items() if label not in of_table})
    particles = replace(scene.particles, table=table, optics=optics)
    plan = coefficient_plan(BOX, PIXEL, LIMIT)
    with pytest.raises(InputError, match=message):
        next(coefficient_batches(particles, scene.source, plan, kernels_for(plan, "cpu"), np.ones((1, 25)), ""))


def test_lenses_that_are_alike_share_their_tables(particles_of) -> None:
    groups = np.arange(COUNT) % 4 + 1
    particles = particles_of(np.zeros((COUNT, 16, 16), np.float32), groups=groups)
    particles.optics["rlnBeamTiltX"] = [0.5, 0.0, 0.5, 0.0]
    terms = ctf_terms(particles, [1.0, 2.0], [0.0, 3.0])
    assert terms.odd.shape == (2, 2, 2)
    assert_array_equal(terms.kinds, (groups - 1) % 2)


def test_b_factor_and_scale_may_be_of_an_optics_group(particles_of, tmp_path: Path) -> None:
    particles = particles_of(np.zeros((4, 16, 16), np.float32), groups=np.array([1, 2, 1, 2]))
    particles.optics["rlnCtfBfactor"] = [10.0, 40.0]
    write_star(particles, tmp_path / "p.star")
    particles = read_star(tmp_path / "p.star")
    assert_array_equal(particles.ctf_factors("rlnCtfBfactor"), [10, 40, 10, 40])
    assert_array_equal(particles.ctf_factors("rlnCtfScalefactor"), 1)


# ---- what is told -------------------------------------------------------------------------------------------------


def told_of(particles_of, **terms: Any) -> list[Any]:
    particles = particles_of(np.zeros((4, BOX, BOX), np.float32), PIXEL)
    of_table = {label: terms.pop(label) for label in list(terms) if label in NEUTRAL_CTF}
    changed = replace(particles, table=particles.table.assign(**of_table), optics=particles.optics.assign(**terms))
    return optics_terms(changed, 150.0)


def test_neutral_terms_are_not_told(particles_of) -> None:
    assert told_of(particles_of) == []
    assert told_of(particles_of, **NEUTRAL_OPTICS, **NEUTRAL_CTF) == []
    assert told_of(particles_of, rlnOddZernike="[]", rlnEvenZernike="[0]", drgnCryosparcTilt="[0,0]") == []


@pytest.mark.parametrize(
    ("terms", "size", "matters"),
    [
        # 2π Cs λ² s³ t = π/4 at s = (1/8 Cs λ² t)^⅓
        ({"rlnBeamTiltX": 0.3, "rlnBeamTiltY": 0.4}, "up to 0.5 mrad", 8 * 2.7e7 * 0.019687**2 * 0.5e-3),
        # the edge moves by 2 % of 75 Å
        ({"rlnMagMat00": 1.02}, "up to 2 %", 8 * 0.02 * 75),
        # e^(−B s²/4) = 2^−½
        ({"rlnCtfBfactor": [0.0, 50.0, -10.0, 0.0]}, "-10 to 50 Å²", np.sqrt(50 / (2 * np.log(2)))),
        ({"rlnCtfScalefactor": [1.0, 0.9, 1.1, 1.0]}, "0.9 to 1.1", np.inf),
        ({"rlnOddZernike": "[0,0,0,0,0,100]"}, "up to 0.8 rad at 5 Å", (400 / np.pi) ** (1 / 3)),
        ({"rlnEvenZernike": "[0,0,0,0,0,0,0,0,100]"}, "up to 0.16 rad at 5 Å", (400 / np.pi) ** 0.25),
        ({"rlnEvenZernike": "[1]"}, "up to 1 rad at 5 Å", np.inf),
        ({"rlnOddZernike": "[0,0,0,0,0,1e-3]"}, "up to 8e-06 rad at 5 Å", 0.0),
        ({"rlnCtfDataAreCtfPremultiplied": 1}, "", np.inf),
        ({"drgnCryosparcTetra": "[0,-3e5,0,0]"}, "up to 3e+05 Å", (8 * 3e5 * 0.019687**3) ** 0.25),
    ],
)
def test_how_large_a_term_is_and_where_it_matters(particles_of, terms: dict[str, Any], size: str, matters) -> None:
    (term,) = told_of(particles_of, **terms)
    assert term.size == size
    cubed = "rlnBeamTiltX" in terms
    assert term.matters_from == pytest.approx(matters ** (1 / 3) if cubed else matters, rel=0.02)
    assert next(iter(terms))[:9] in term.columns
    assert term.record["native_engine"] == ("not used" if "drgnCryosparcTetra" in terms else "used")


def test_cryodrgn_is_warned_of_where_its_images_show_it(particles_of) -> None:
    particles = particles_of(np.zeros((4, BOX, BOX), np.float32), PIXEL)
    particles.optics["rlnMagMat00"], particles.optics["rlnBeamTiltX"] = 1.02, 5.0
    # the tilt is taken off the images; 2 % matter from 12 Å on
    with pytest.warns(
        InputWarning, match=r"takes no account of magnification \(rlnMagMat00…11 up to 2 %; matters from 12"
    ) as said:
        warn_of_training(particles, 150.0, 36)
    assert "tilt" not in str(said[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_training(particles, 150.0, 24)


def test_frealign_gets_images_as_they_were_taken_and_is_said_not_to_know_the_rest(particles_of) -> None:
    scene = Scene(particles_of, ALL)
    folder = scene.source.root / "run"
    folder.mkdir()
    named, dark = stack_for(Chunk(scene.particles, scene.source.root), folder)
    assert not dark
    plain = ImageSource(replace(named, optics=plain_optics(named.optics)), folder)
    every = np.arange(COUNT)
    assert_allclose(plain.read(every), PlainImages(scene.particles, BOX).of(scene.source.read(every), every))
    with pytest.warns(InputWarning, match="Frealign takes no account of magnification") as said:
        warn_of_lens(scene.particles, 150.0)
    for told in ("rlnEvenZernike", "rlnCtfBfactor", "rlnCtfScalefactor", "--engine native"):
        assert told in str(said[0].message)
    assert "rlnCtfDataAreCtfPremultiplied" not in str(said[0].message)


def test_inspect_says_what_the_file_has(particles_of) -> None:
    scene = Scene(particles_of, ALL)
    path = scene.source.root / "p.star"
    write_star(scene.particles, path)
    report = inspect_file(path)
    told = " ".join(report["facts"]["optics"])
    for label in (
        "rlnMagMat00…11 up to",
        "rlnBeamTiltX",
        "rlnOddZernike",
        "rlnEvenZernike",
        "rlnCtfBfactor",
        "rlnCtfDataA",
    ):
        assert label in told
    (note,) = [found["what"] for found in report["findings"] if "native engine" in found["what"]]
    assert "rlnMagMat00…11, rlnEvenZernike, rlnCtfBfactor, rlnCtfScalefactor: the native engine uses it" in note
    scene.particles.optics["rlnCtfDataAreCtfCorrected"] = 1
    write_star(scene.particles, path)
    assert any("divided by their CTF" in found["what"] for found in inspect_file(path)["findings"])


def test_terms_are_kept_by_the_star_file_and_named_where_another_has_no_place(particles_of, tmp_path: Path) -> None:
    scene = Scene(particles_of, ALL)
    write_star(scene.particles, tmp_path / "a.star")
    back = read_star(tmp_path / "a.star")
    assert_array_equal(
        ctf_terms(back, [1.0, 5.0], [2.0, 0.0]).odd, ctf_terms(scene.particles, [1.0, 5.0], [2.0, 0.0]).odd
    )
    assert [lens.key for lens in lenses(back)] == [lens.key for lens in lenses(scene.particles)]
    for target, name in (("par9", "a.par"), ("cryodrgn", "pickles")):
        with pytest.warns(InputWarning, match="has no place for half sets, magnification") as said:
            write_particle_file(back, tmp_path / name, target)
        # wrong maps come of this one, which is said by itself and once
        assert ["multiplied by their CTF" in str(one.message) for one in said].count(True) == 1
        for label in ("rlnMagMat00", "rlnBeamTilt", "rlnOddZernike", "rlnEvenZernike", "rlnCtfBfactor"):
            assert label in str(said[0].message)


def test_terms_in_the_particle_table_are_taken_from_there(tmp_path: Path) -> None:
    """As files without optics table have them, and some with one."""
    text = "data_\n\nloop_\n_rlnImageName\n_rlnVoltage\n_rlnCtfDataArePhaseFlipped\n_rlnMagMat00\n"
    (tmp_path / "a.star").write_text(text + "1@a.mrcs 300 1 1.01\n2@a.mrcs 300 0 1.01\n3@a.mrcs 300 1 1.01\n")
    particles = read_star(tmp_path / "a.star")
    assert particles.table["rlnOpticsGroup"].tolist() == [1, 2, 1]
    assert [lens.stored for lens in lenses(particles)] == [1, 0]
    assert lenses(particles)[0].magnification.tolist() == [[1.01, 0], [0, 1]]


@pytest.mark.parametrize("name", ["flipped", "multiplied"])
def test_treated_images_are_imported_as_what_they_are(treated: Treated, name: str) -> None:
    """Their contrast is found, and the state says what was done to them."""
    particles = treated.particles(name)
    path = treated.folder / f"{name}.star"
    write_star(replace(particles, optics=particles.optics.drop(columns="drgnContrast")), path)
    imported = import_particles(path)
    assert imported.optics["drgnContrast"].tolist() == ["white"]
    assert [lens.stored for lens in lenses(imported)] == [lens.stored for lens in lenses(particles)] != [0]


def test_groups_with_a_lens_need_no_phase_shifts(particles_of, tmp_path: Path) -> None:
    """Most files have none; backgrounds of several groups are looked at before the column is made."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(40, 32, 32)).astype(np.float32)
    particles = particles_of(images, groups=np.arange(40) % 2 + 1)
    particles.table.drop(columns="rlnPhaseShift", errors="ignore", inplace=True)
    particles.optics["rlnBeamTiltX"] = [0.5, 0.0]
    write_star(particles, tmp_path / "two.star")
    given = import_particles(tmp_path / "two.star", tmp_path, mask_diameter=80.0)
    assert (given.table["rlnPhaseShift"] == 0).all()
