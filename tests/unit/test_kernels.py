"""The inner loops against analytic Gaussians, finite differences and each other."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from drgnalign.ctf import ctf, phase_coefficients
from drgnalign.engine.kernels import (
    N_SUMS,
    Image,
    Reference,
    ctf_values,
    insert_slice,
    new_phases,
    normal_equations,
)
from drgnalign.engine.plan import CoefficientPlan, coefficient_plan
from drgnalign.engine.pose_search import rotated
from drgnalign.engine.reference import transform_reference

PIXEL = 4.0
LIMIT = 10.0
# Three Gaussian blobs without symmetry: centres (x, y, z) in voxels from the box centre, and heights.
CENTRES = np.array([[4.0, 1.0, -2.0], [-3.0, 5.0, 1.5], [0.5, -4.0, 5.0]])
HEIGHTS = np.array([1.0, 0.7, 1.4])
SIGMA = 1.6

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
    count = plan.stages[-1][1]
    return plan.kx[:count], plan.ky[:count]


def projection(kx: np.ndarray, ky: np.ndarray, rotation: np.ndarray, box: int) -> np.ndarray:
    """Transform of the blobs' line integrals along the image's z axis."""
    flat = CENTRES @ rotation[:, :2]
    phases = np.exp(-2j * np.pi / box * (np.outer(kx, flat[:, 0]) + np.outer(ky, flat[:, 1])))
    envelope = (2 * np.pi * SIGMA**2) ** 1.5 * np.exp(-2 * np.pi**2 * SIGMA**2 * (kx**2 + ky**2) / box**2)
    return (phases @ HEIGHTS) * envelope


def sums_of(
    reference: Reference, box: int, kx: np.ndarray, ky: np.ndarray, data: np.ndarray, weighted_ctf: np.ndarray,
    rotation: np.ndarray, shift: np.ndarray,
) -> np.ndarray:  # fmt: skip
    sums = np.empty(N_SUMS)
    image = Image(box, kx, ky, data.astype(np.complex64), weighted_ctf.astype(np.float32))
    normal_equations(reference, image, len(kx), rotation, np.asarray(shift, float), new_phases(box), sums)
    return sums


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
    products = np.array(values)[:, :, 26]
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
    assert sums[26] / sums[25] == pytest.approx(1, abs=5e-3)
    assert sums[26] ** 2 / sums[25] == pytest.approx(power, rel=1e-3)
    for wrong in ([0, 0], [-4, 2], [-2, 4], [4, 2]):
        away = sums_of(reference_of(box), box, kx, ky, data, weights, ROTATIONS[0], np.array(wrong))
        assert away[26] < 0.7 * sums[26]


def test_the_model_reads_through_the_ctf() -> None:
    box = 32
    kx, ky = used(coefficient_plan(box, PIXEL, LIMIT))
    weights, reference = np.sin(0.3 * kx + ky), reference_of(box)
    plain = model(reference, box, kx, ky, np.ones(len(kx)), ROTATIONS[1])
    assert_allclose(model(reference, box, kx, ky, weights, ROTATIONS[1]), weights * plain, atol=1e-3)


@boxes
def test_derivatives_are_finite_differences(box: int) -> None:
    kx, ky = used(coefficient_plan(box, PIXEL, LIMIT))
    rng = np.random.default_rng(0)
    reference, weights, shift = reference_of(box), rng.uniform(-1, 1, len(kx)), np.array([1.3, -0.7])
    data = 50 * (rng.standard_normal(len(kx)) + 1j * rng.standard_normal(len(kx)))
    # Rotations by which no coefficient comes to lie on the far side of a grid plane, where the slope jumps.
    step = 1e-6
    rotation = ROTATIONS[2]

    def moved(parameter: int, amount: float) -> tuple[np.ndarray, np.ndarray]:
        turned, omega = rotation.copy(), np.zeros(3)
        if parameter < 3:
            omega[parameter] = amount
            rotated(rotation, omega, turned)
            return turned, shift
        return rotation, shift + amount * np.eye(2)[parameter - 3]

    sums = sums_of(reference, box, kx, ky, data, weights, rotation, shift)
    derivatives = []
    for parameter in range(5):
        plus, minus = (moved(parameter, sign * step) for sign in (1, -1))
        after, before = (sums_of(reference, box, kx, ky, data, weights, *pose) for pose in (plus, minus))
        difference = (after - before) / (2 * step)
        scale = np.sqrt(sums[25])
        assert_allclose(sums[20 + parameter] / scale, difference[26] / scale, rtol=1e-4, atol=0.02)
        assert_allclose(sums[15 + parameter] / scale, difference[25] / 2 / scale, rtol=1e-4, atol=0.02)
        if parameter < 3:
            ends = (model(reference, box, kx, ky, weights, pose[0]) for pose in (plus, minus))
            derivatives.append((next(ends) - next(ends)) / (2 * step))
    centre = model(reference, box, kx, ky, weights, rotation)
    derivatives += [-2j * np.pi / box * k * centre for k in (kx, ky)]
    products = [(a.conj() * b).sum().real for i, a in enumerate(derivatives) for b in derivatives[i:]]
    assert_allclose(sums[:15], products, rtol=1e-3, atol=1e-3 * max(products))
    assert sums[25] == pytest.approx((np.abs(centre) ** 2).sum(), rel=1e-5)


def test_rotations_turn_about_the_image_axes() -> None:
    for omega in ([0.3, 0, 0], [0, -0.2, 0], [0, 0, 0.1], [1e-9, 0, 0], [0.2, -0.5, 0.4]):
        result = np.empty((3, 3))
        rotated(ROTATIONS[0], np.array(omega), result)
        assert_allclose(result, ROTATIONS[0] @ Rotation.from_rotvec(omega).as_matrix(), atol=1e-12)


def whole_rows(shape: tuple[int, int, int]) -> np.ndarray:
    """Where the rows of an array of this shape begin."""
    return shape[2] * np.arange(shape[0] * shape[1]).reshape(shape[:2])


@boxes
def test_insertion_is_the_adjoint_of_slicing(box: int) -> None:
    """⟨d, slice of V⟩ = ⟨insertion of d, V⟩ for any volume: both read and write the same voxels alike."""
    kx, ky = used(coefficient_plan(box, PIXEL, LIMIT))
    rng = np.random.default_rng(0)
    reference = reference_of(box)
    shape = reference.transform.shape
    volume = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    data = rng.standard_normal(len(kx)) + 1j * rng.standard_normal(len(kx))
    values, shift = rng.uniform(-1, 1, len(kx)), np.array([1.3, -0.7])
    for rotation in ROTATIONS:
        numerator, denominator = np.zeros(shape, np.complex64), np.zeros(shape, np.float32)
        flat, rows = (numerator.reshape(-1), denominator.reshape(-1)), whole_rows(shape)
        image = Image(box, kx, ky, data.astype(np.complex64), values.astype(np.float32))
        weight = np.ones(len(kx), np.float32)
        insert_slice(*flat, rows, reference.scale, image, weight, rotation, shift, new_phases(box))
        sums = sums_of(Reference(volume, reference.scale), box, kx, ky, data, values, rotation, shift)
        assert (numerator.conj() * volume).sum().real == pytest.approx(sums[26], rel=1e-3)
        assert denominator.sum() == pytest.approx((values**2).sum(), rel=1e-5)


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
        numerator, denominator = np.zeros(shape, np.complex64), np.zeros(shape, np.float32)
        flat, rows = (numerator.reshape(-1), denominator.reshape(-1)), whole_rows(shape)
        image = Image(box, kx, ky, values, np.ones(40, np.float32))
        insert_slice(*flat, rows, 1.0, image, weight, ROTATIONS[4] @ turn, np.zeros(2), new_phases(box))
        written.append((numerator, denominator))
    assert np.abs(written[0][0]).max() > 1
    assert_allclose(written[1][0], written[0][0], atol=1e-4)
    assert_allclose(written[1][1], written[0][1], atol=1e-5)


@boxes
def test_ctf_of_the_plan_is_the_ctf(box: int) -> None:
    plan = coefficient_plan(box, PIXEL)
    u, v, angle, phase = 16_000.0, 14_500.0, 37.0, 20.0
    terms = phase_coefficients(300.0, 2.7, 0.07, phase)
    doubled = np.radians(2 * angle)
    defocus = np.array([(u + v) / 2, (u - v) / 2, np.cos(doubled), np.sin(doubled)])
    found = np.empty(len(plan.kx), np.float32)
    ctf_values(plan.kx, plan.ky, 1 / (box * PIXEL), defocus, *(float(term) for term in terms), found)
    expected = ctf(plan.kx / (box * PIXEL), plan.ky / (box * PIXEL), u, v, angle, 300.0, 2.7, 0.07, phase)
    assert_allclose(found, expected, atol=1e-5)
