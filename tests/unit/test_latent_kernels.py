"""The loops of a linear latent model against those for one volume."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from drgnalign.engine.kernels import BESIDES, Kernels, LatentEquations, Reference, ReferenceSet, stacked_poses
from drgnalign.engine.plan import coefficient_plan
from drgnalign.engine.sampling import sphere_rows

BOX, PIXEL, LIMIT, EDGE, SCALE = 32, 4.0, 12.0, 22, 2.0
RNG = np.random.default_rng(0)
PLAN = coefficient_plan(BOX, PIXEL, LIMIT).within_limit()
KERNELS = Kernels(BOX, PLAN.kx, PLAN.ky, PLAN.flat)
IMAGES = 5
magnified = pytest.mark.parametrize("stretch", [[[1.0, 0.0, 0.0, 1.0]], [[1.03, 0.02, -0.01, 0.97]]])


def volumes_of(number: int) -> ReferenceSet:
    shape = (number, 2 * EDGE + 1, 2 * EDGE + 1, EDGE + 1)
    transforms = (RNG.normal(size=shape) + 1j * RNG.normal(size=shape)).astype(np.complex64)
    return ReferenceSet(tuple(Reference(one, SCALE) for one in transforms))


def images() -> np.ndarray:
    coefficients = RNG.normal(size=(IMAGES, 3, len(PLAN.kx))).astype(np.float32)
    coefficients[:, :, PLAN.shell < 0] = 0
    return coefficients


def poses(stretch: list[list[float]]) -> np.ndarray:
    shifts = RNG.normal(0, 2, (IMAGES, 2))
    return stacked_poses(Rotation.random(IMAGES, RNG).as_matrix(), shifts, np.repeat(stretch, IMAGES, axis=0))


@magnified
@pytest.mark.parametrize("number", [1, 5, 8, 11])
def test_products_of_all_slices_are_those_of_each_volume_alone(number: int, stretch: list[list[float]]) -> None:
    volumes, coefficients, given = volumes_of(number), images(), poses(stretch)
    grams = KERNELS.latent_gram(volumes, coefficients, given)
    assert grams.shape == (IMAGES, number + BESIDES, number + BESIDES)
    matches = KERNELS.matches(volumes, coefficients, given)
    assert_allclose(grams[:, :number, -1], matches.products, rtol=1e-3, atol=0.05)
    assert_allclose(np.einsum("nvv->nv", grams)[:, :number], matches.powers, rtol=1e-4)
    for a, b in zip(*np.triu_indices(number, 1), strict=True):
        both = Reference(volumes.members[a].transform + volumes.members[b].transform, SCALE)
        power = KERNELS.matches(ReferenceSet((both,)), coefficients, given).powers[:, 0]
        assert_allclose(2 * grams[:, a, b], power - matches.powers[:, a] - matches.powers[:, b], atol=0.1)
    assert_allclose(grams, np.swapaxes(grams, 1, 2))


@magnified
def test_the_mean_has_the_derivatives_by_the_pose_that_refinement_has(stretch: list[list[float]]) -> None:
    volumes, coefficients, given = volumes_of(3), images(), poses(stretch)
    grams = KERNELS.latent_gram(volumes, coefficients, given)
    sums = KERNELS.products(volumes.members[0], coefficients, given, KERNELS.count)
    tolerance = {"rtol": 1e-3, "atol": 1e-3 * np.abs(grams).max()}
    a, b = np.triu_indices(5)
    assert_allclose(grams[:, 3 + a, 3 + b], sums["curvature"], **tolerance)
    assert_allclose(grams[:, 0, 3:8], sums["with_model"], **tolerance)
    assert_allclose(grams[:, -1, 3:8], sums["with_data"], **tolerance)


@magnified
def test_one_volume_with_a_latent_variable_of_one_is_a_reconstruction(stretch: list[list[float]]) -> None:
    coefficients, given = images(), poses(stretch)
    equations = LatentEquations(1, EDGE, SCALE)
    one = np.ones((IMAGES, 1))
    KERNELS.latent_insert(equations, coefficients, given, one, one[:, :, None])
    rows = sphere_rows(2 * EDGE + 1)
    sums = np.zeros((rows.voxels, 4), np.float32)
    KERNELS.insert(sums, rows.starts, SCALE, BOX / 2, coefficients, given)
    z, y = np.mgrid[-EDGE : EDGE + 1, -EDGE : EDGE + 1]
    for x in range(EDGE):
        # how far magnified images reach is another matter
        within = z**2 + y**2 + x**2 <= (EDGE - 3) ** 2
        there = sums[rows.starts[z[within] + rows.edge, y[within] + rows.edge] + x]
        assert_allclose(equations.data[:, :, x, 0][within], there[:, 0] + 1j * there[:, 1], atol=1e-4)
        assert_allclose(equations.normal[:, :, x, 0][within], there[:, 2], atol=1e-4)


def test_each_image_counts_with_its_moments() -> None:
    coefficients, given = images(), poses([[1.0, 0.0, 0.0, 1.0]])
    volumes, first = 9, RNG.normal(size=(IMAGES, 9))
    second = first[:, :, None] * first[:, None, :] + np.eye(volumes)
    together = LatentEquations(volumes, EDGE, SCALE)
    KERNELS.latent_insert(together, coefficients, given, first, second)
    alone = [LatentEquations(1, EDGE, SCALE) for _ in range(IMAGES)]
    one = np.ones((1, 1))
    for image, equations in enumerate(alone):
        rows = slice(image, image + 1)
        KERNELS.latent_insert(equations, coefficients[rows].copy(), given[rows], one, one[:, :, None])
    data = np.stack([equations.data[..., 0] for equations in alone], axis=-1)
    assert_allclose(together.data, data @ first.astype(np.float32), atol=1e-4)
    a, b = np.triu_indices(volumes)
    normal = np.stack([equations.normal[..., 0] for equations in alone], axis=-1)
    assert_allclose(together.normal, normal @ second[:, a, b], atol=1e-3)


def test_too_many_volumes_are_refused() -> None:
    with pytest.raises(ValueError, match="17 volumes, of at most 16"):
        KERNELS.latent_gram(volumes_of(17), images(), poses([[1.0, 0.0, 0.0, 1.0]]))
