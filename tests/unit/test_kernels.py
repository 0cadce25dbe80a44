"""The inner loops against analytic Gaussians, finite differences and each other."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
from lenses import NOT_MAGNIFIED, plain_terms
from numpy.testing import assert_allclose
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from drgnalign.ctf import ctf, phase_coefficients
from drgnalign.engine.kernels import LANES, SUMS, Kernels, Prior, Reference, ReferenceSet, stacked_poses
from drgnalign.engine.plan import CoefficientPlan, coefficient_plan
from drgnalign.engine.reference import transform_reference
from drgnalign.errors import DrgnalignError

PIXEL = 4.0
LIMIT = 10.0
# Three Gaussian blobs without symmetry: centres (x, y, z) in voxels from the box centre, and heights.
CENTRES = np.array([[4.0, 1.0, -2.0], [-3.0, 5.0, 1.5], [0.5, -4.0, 5.0]])
HEIGHTS = np.array([1.0, 0.7, 1.4])
SIGMA = 1.6

# Of an image, row by row; so much is rare.
MAGNIFIED = np.array([[1.03, 0.02, -0.01, 0.97]])
boxes = pytest.mark.parametrize("box", [32, 33])
ROTATIONS = Rotation.random(8, np.random.default_rng(3)).as_matrix()


def blobs(box: int) -> np.ndarray:
    axis = np.arange(box) - box // 2
    x, y, z = ((axis - CENTRES[:, [i]]) ** 2 for i in range(3))
    exponent = z[:, :, None, None] + y[:, None, :, None] + x[:, None, None, :]
    return np.einsum("i,izyx->zyx", HEIGHTS, np.exp(-exponent / (2 * SIGMA**2))).astype(np.float32)


def reference_of(box: int, padding: float = 2.0) -> Reference:
    one = np.ones((box, box, box), np.float32)
    return transform_reference(blobs(box), one, np.ones(box // 2 + 1), PIXEL, LIMIT, padding)


def used(plan: CoefficientPlan) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients that the reference holds: up to the last stage."""
    held = plan.shell[: plan.stages[-1][1]] >= 0
    return plan.kx[: len(held)][held], plan.ky[: len(held)][held]


def projection(kx: np.ndarray, ky: np.ndarray, rotation: np.ndarray, box: int) -> np.ndarray:
    """Transform of the blobs' line integrals along the image's z axis."""
    flat = CENTRES @ rotation[:, :2]
    phases = np.exp(-2j * np.pi / box * (np.outer(kx, flat[:, 0]) + np.outer(ky, flat[:, 1])))
    envelope = (2 * np.pi * SIGMA**2) ** 1.5 * np.exp(-2 * np.pi**2 * SIGMA**2 * (kx**2 + ky**2) / box**2)
    return (phases @ HEIGHTS) * envelope


def filled_up(values: np.ndarray) -> np.ndarray:
    return np.pad(values, (0, -len(values) % LANES)).astype(np.float32)


def kernels_of(box: int, kx: np.ndarray, ky: np.ndarray) -> Kernels:
    kx, ky = filled_up(kx), filled_up(ky)
    return Kernels(box, kx, ky, np.zeros(len(kx), np.int32))


def coefficients_of(data: np.ndarray, weighted_ctf: np.ndarray) -> np.ndarray:
    return np.stack([filled_up(values) for values in (data.real, data.imag, weighted_ctf)])[None]


def pose_of(box: int, rotation: np.ndarray, shift: np.ndarray, stretch: np.ndarray = NOT_MAGNIFIED) -> np.ndarray:
    """Of data whose origin is the centre: the loops take transforms as they come, with the origin in the corner."""
    return stacked_poses(rotation[None], np.asarray(shift, float)[None] - box // 2, stretch)


def sums_of(
    reference: Reference, box: int, kx: np.ndarray, ky: np.ndarray, data: np.ndarray, weighted_ctf: np.ndarray,
    rotation: np.ndarray, shift: np.ndarray, stretch: np.ndarray = NOT_MAGNIFIED,
) -> np.ndarray:  # fmt: skip
    kernels, pose = kernels_of(box, kx, ky), pose_of(box, rotation, shift, stretch)
    return kernels.products(reference, coefficients_of(data, weighted_ctf), pose, kernels.count)[0]


def in_line(sums: np.void) -> np.ndarray:
    return np.hstack([sums[name] for name in SUMS.names])


def model(
    reference: Reference, box: int, kx: np.ndarray, ky: np.ndarray, weighted_ctf: np.ndarray, rotation: np.ndarray
) -> np.ndarray:
    """The kernel's model of each coefficient, got from its inner products with 1 and i."""
    one, none = np.ones(1), np.zeros(2)
    values = [
        [
            sums_of(reference, box, kx[j : j + 1], ky[j : j + 1], probe * one, weighted_ctf[j : j + 1], rotation, none)
            for probe in (1, 1j)
        ]
        for j in range(len(kx))
    ]
    products = np.array(values)["match"]
    return products[:, 0] + 1j * products[:, 1]


@boxes
@pytest.mark.parametrize("padding", [1.0, 2.0])
def test_slices_are_the_transforms_of_projections(box: int, padding: float) -> None:
    plan = coefficient_plan(box, PIXEL, LIMIT)
    kx, ky = used(plan)
    reference = reference_of(box, padding)
    for rotation in ROTATIONS:
        found = model(reference, box, kx, ky, np.ones(len(kx)), rotation)
        expected = projection(kx, ky, rotation, box)
        error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        assert error < (0.1 if padding == 1 else 0.02)


@boxes
def test_a_displaced_particle_matches_the_model_at_its_displacement_only(box: int) -> None:
    kx, ky = used(coefficient_plan(box, PIXEL, LIMIT))
    shift, weights = np.array([4.0, -2.0]), np.cos(kx + 0.3 * ky)
    # The image of a particle displaced by +4 columns and −2 rows.
    data = weights * projection(kx, ky, ROTATIONS[0], box) * np.exp(-2j * np.pi / box * (4 * kx - 2 * ky))
    sums = sums_of(reference_of(box), box, kx, ky, data, weights, ROTATIONS[0], shift)
    power = (np.abs(data) ** 2).sum()
    assert sums["match"] / sums["power"] == pytest.approx(1, abs=5e-3)
    assert sums["match"] ** 2 / sums["power"] == pytest.approx(power, rel=1e-3)
    for wrong in ([0, 0], [-4, 2], [-2, 4], [4, 2]):
        away = sums_of(reference_of(box), box, kx, ky, data, weights, ROTATIONS[0], np.array(wrong))
        assert away["match"] < 0.7 * sums["match"]


def test_the_model_reads_through_the_ctf() -> None:
    box = 32
    kx, ky = used(coefficient_plan(box, PIXEL, LIMIT))
    weights, reference = np.sin(0.3 * kx + ky), reference_of(box)
    plain = model(reference, box, kx, ky, np.ones(len(kx)), ROTATIONS[1])
    assert_allclose(model(reference, box, kx, ky, weights, ROTATIONS[1]), weights * plain, atol=1e-3)


def interpolated(reference: Reference, kx: np.ndarray, ky: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """The reference at the coefficients of a slice, in double precision."""
    edge = len(reference.transform) // 2
    points = reference.scale * rotation[:, :2] @ np.stack([kx, ky]).astype(float)
    mirrored = points[0] < 0
    x, y, z = np.where(mirrored, -points, points)
    parts = (reference.transform.real.astype(float), reference.transform.imag.astype(float))
    real, imaginary = (map_coordinates(part, [z + edge, y + edge, x], order=1) for part in parts)
    return real + 1j * np.where(mirrored, -imaginary, imaginary)


stretches = pytest.mark.parametrize("stretch", [NOT_MAGNIFIED, MAGNIFIED], ids=["plain", "magnified"])


@boxes
@stretches
def test_derivatives_are_finite_differences(box: int, stretch: np.ndarray) -> None:
    kx, ky = used(coefficient_plan(box, PIXEL, LIMIT))
    qx, qy = stretch.reshape(2, 2) @ np.stack([kx, ky])
    # what a magnified image shows beyond the reference does not count
    within = np.hypot(qx, qy) <= box * PIXEL / LIMIT
    kx, ky, qx, qy = (values[within] for values in (kx, ky, qx, qy))
    rng = np.random.default_rng(0)
    reference, weights, shift = reference_of(box), rng.uniform(-1, 1, len(kx)), np.array([1.3, -0.7])
    data = 50 * (rng.standard_normal(len(kx)) + 1j * rng.standard_normal(len(kx)))
    rotation, step = ROTATIONS[2], 1e-6

    def model_at(omega: np.ndarray, displacement: np.ndarray) -> np.ndarray:
        """What an image at a pose close to the present one is like, brought back by the present shift."""
        turned = rotation @ Rotation.from_rotvec(omega).as_matrix()
        away = displacement - shift
        phases = np.exp(-2j * np.pi / box * (kx * away[0] + ky * away[1]))
        return weights * interpolated(reference, qx, qy, turned) * phases

    derivatives = []
    for change in step * np.eye(5):
        after, before = (model_at(moved[:3], shift + moved[3:]) for moved in (change, -change))
        derivatives.append((after - before) / (2 * step))
    centre = model_at(np.zeros(3), shift)
    returned = data * np.exp(2j * np.pi / box * (kx * shift[0] + ky * shift[1]))
    pairs = [(a, b) for i, a in enumerate(derivatives) for b in derivatives[i:]]
    pairs += [(a, centre) for a in derivatives] + [(a, returned) for a in derivatives]
    pairs += [(centre, centre), (centre, returned)]
    expected = np.array([(a.conj() * b).sum().real for a, b in pairs])
    sizes = np.array([np.linalg.norm(a) * np.linalg.norm(b) for a, b in pairs])
    found = in_line(sums_of(reference, box, kx, ky, data, weights, rotation, shift, stretch))
    assert_allclose(found / sizes, expected / sizes, atol=1e-5)


def test_what_a_magnified_image_shows_beyond_a_volume_is_neither_read_nor_added() -> None:
    """Twice as far: half of the coefficients, and none of those that would lie outside of the memory."""
    box, stretch = 32, np.array([[2.0, 0.0, 0.0, 2.0]])
    kx, ky = used(coefficient_plan(box, PIXEL, LIMIT))
    reference, ones = reference_of(box), np.ones(len(kx))
    near = 2 * np.hypot(kx, ky) <= (len(reference.transform) // 2 - 1) / reference.scale
    assert 0 < near.sum() < len(kx) / 3
    every, some = (
        in_line(sums_of(reference, box, kx[few], ky[few], ones[few], ones[few], ROTATIONS[0], np.zeros(2), stretch))
        for few in (slice(None), near)
    )
    assert_allclose(every, some, rtol=1e-4, atol=1e-3)
    pose = pose_of(box, ROTATIONS[0], np.zeros(2), stretch)
    shape = reference.transform.shape
    _, denominator = inserted(shape, reference.scale, box, kx, ky, ones, ones, pose)
    assert denominator.sum() == pytest.approx(near.sum(), rel=1e-5)


def test_a_reference_beyond_counting_is_refused() -> None:
    # an empty array takes no memory until it is written to
    huge = Reference(np.empty((1301, 1301, 651), np.complex64), 1.0)
    kernels = kernels_of(32, *used(coefficient_plan(32, PIXEL, LIMIT)))
    with pytest.raises(DrgnalignError, match="larger than the kernels can count"):
        kernels.products(huge, np.zeros((1, 3, kernels.count), np.float32), np.zeros((1, 15)), LANES)


def whole_rows(shape: tuple[int, int, int]) -> np.ndarray:
    """Where the rows of an array of this shape begin."""
    return shape[2] * np.arange(shape[0] * shape[1], dtype=np.int32).reshape(shape[:2])


def inserted(
    shape: tuple[int, int, int], scale: float, box: int, kx: np.ndarray, ky: np.ndarray, data: np.ndarray,
    weighted_ctf: np.ndarray, pose: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Numerator and denominator of one image."""
    sums = np.zeros((*shape, 4), np.float32)
    coefficients = coefficients_of(data, weighted_ctf)
    reach = (shape[2] - 2) / scale
    kernels_of(box, kx, ky).insert(sums.reshape(-1, 4), whole_rows(shape), scale, reach, coefficients, pose)
    return sums[..., 0] + 1j * sums[..., 1], sums[..., 2]


@boxes
@stretches
def test_insertion_is_the_adjoint_of_slicing(box: int, stretch: np.ndarray) -> None:
    """⟨d, slice of V⟩ = ⟨insertion of d, V⟩ for any volume: both read and write the same voxels alike."""
    kx, ky = used(coefficient_plan(box, PIXEL, LIMIT))
    rng = np.random.default_rng(0)
    reference = reference_of(box)
    shape = reference.transform.shape
    volume = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    data = rng.standard_normal(len(kx)) + 1j * rng.standard_normal(len(kx))
    values, shift = rng.uniform(-1, 1, len(kx)), np.array([1.3, -0.7])
    for rotation in ROTATIONS:
        pose = pose_of(box, rotation, shift, stretch)
        numerator, denominator = inserted(shape, reference.scale, box, kx, ky, data, values, pose)
        sums = sums_of(Reference(volume, reference.scale), box, kx, ky, data, values, rotation, shift, stretch)
        assert (numerator.conj() * volume).sum().real == pytest.approx(sums["match"], rel=1e-3)
        reached = np.hypot(*(stretch.reshape(2, 2) @ np.stack([kx, ky]))) <= (shape[2] - 2) / reference.scale
        assert denominator.sum() == pytest.approx((values[reached] ** 2).sum(), rel=1e-5)


@boxes
def test_a_coefficient_and_its_hermitian_mate_are_inserted_alike(box: int) -> None:
    """Turned by 180° in its plane, an image's coefficient at k stands at −k and is the conjugate of the old one."""
    kx, ky = (k[:40] for k in used(coefficient_plan(box, PIXEL, LIMIT)))
    data = (np.arange(40) + 1j).astype(np.complex64)
    weight = np.linspace(0.5, 1.5, 40, dtype=np.float32)
    edge = box // 2 + 2
    shape = (2 * edge + 1, 2 * edge + 1, edge + 1)
    written = []
    for values, turn in ((data, np.eye(3)), (data.conj(), np.diag([-1.0, -1.0, 1.0]))):
        pose = pose_of(box, ROTATIONS[4] @ turn, np.zeros(2))
        written.append(inserted(shape, 1.0, box, kx, ky, values * weight, weight, pose))
    assert np.abs(written[0][0]).max() > 1
    assert_allclose(written[1][0], written[0][0], atol=1e-4)
    assert_allclose(written[1][1], written[0][1], atol=1e-5)


@boxes
def test_ctf_of_the_plan_is_the_ctf(box: int) -> None:
    plan = coefficient_plan(box, PIXEL)
    u, v, angle, phase = 16_000.0, 14_500.0, 37.0, 20.0
    terms = np.array(phase_coefficients(300.0, 2.7, 0.07, phase))
    doubled = np.radians(2 * angle)
    defocus = np.array([[(u + v) / 2, (u - v) / 2, np.cos(doubled), np.sin(doubled)]])
    phases = terms * (box * PIXEL) ** np.array([-2.0, -4.0, 0.0]) / (2 * np.pi)
    kernels = Kernels(box, plan.kx, plan.ky, plan.flat)
    image = np.random.default_rng(0).standard_normal((1, box, box)).astype(np.float32)
    weights = np.full((1, len(plan.kx)), 2.0, np.float32)
    transform = scipy.fft.rfft2(image)
    terms = plain_terms(defocus, phases[None], len(plan.kx))
    found = kernels.prepare(image.copy(), weights, np.zeros(1, np.int32), terms)[0]
    expected = ctf(plan.kx / (box * PIXEL), plan.ky / (box * PIXEL), u, v, angle, 300.0, 2.7, 0.07, phase)
    assert_allclose(found[2], 2 * expected, atol=2e-5)
    assert_allclose(found[0] + 1j * found[1], 2 * transform[0].reshape(-1)[plan.flat], atol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_pose_that_is_not_finite_does_not_reach_c(value: float) -> None:
    kx, ky = used(coefficient_plan(32, PIXEL, LIMIT))
    kernels, reference = kernels_of(32, kx, ky), reference_of(32)
    coefficients = np.zeros((2, 3, kernels.count), np.float32)
    poses = stacked_poses(ROTATIONS[:2], np.zeros((2, 2)), np.repeat(NOT_MAGNIFIED, 2, axis=0))
    poses[1, 4] = value
    sums, starts = np.zeros((10, 4), np.float32), np.zeros((3, 3), np.int32)
    for call in (
        lambda: kernels.refine(reference, coefficients, poses, Prior()),
        lambda: kernels.products(reference, coefficients, poses, LANES),
        lambda: kernels.matches(ReferenceSet((reference,)), coefficients, poses),
        lambda: kernels.insert(sums, starts, 1.0, 1.0, coefficients, poses),
    ):
        with pytest.raises(DrgnalignError, match="a pose is not a finite number"):
            call()
