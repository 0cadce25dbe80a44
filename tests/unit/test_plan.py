"""Which Fourier coefficients are used: each once, coarse ones first."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from drgnalign.engine.kernels import LANES
from drgnalign.engine.plan import coefficient_plan, limit_radius
from drgnalign.engine.sampling import oversampling, padded_box, reference_oversampling

boxes = pytest.mark.parametrize("box", [32, 33])


@boxes
def test_one_of_each_hermitian_pair_up_to_nyquist(box: int) -> None:
    plan = coefficient_plan(box, 4.0)
    real = plan.shell >= 0
    held = set(zip(plan.kx[real].astype(int).tolist(), plan.ky[real].astype(int).tolist(), strict=True))
    mates = {(-x, -y) for x, y in held}
    assert len(held) == real.sum() > len(plan.kx) - LANES
    assert not held & mates
    inside = range(-(box // 2), box // 2 + 1)
    wanted = {(x, y) for x in inside for y in inside if 0 < x * x + y * y <= box * box / 4}
    wanted = {(x, y) for x, y in wanted if abs(2 * x) < box and abs(2 * y) < box}
    assert held | mates == wanted
    assert plan.stages == ()


@boxes
def test_where_the_coefficients_stand_in_a_transform(box: int) -> None:
    plan = coefficient_plan(box, 4.0, 10.0)
    assert_array_equal(np.fft.fftfreq(box, 1 / box)[plan.flat // (box // 2 + 1)], plan.ky)
    assert_array_equal(plan.flat % (box // 2 + 1), plan.kx)
    real = plan.shell >= 0
    assert_array_equal(plan.shell[real], np.rint(np.hypot(plan.kx, plan.ky))[real])
    assert_array_equal(plan.weights(np.full((2, box // 2 + 1), 4.0)), np.where(real, 0.5, 0.0) * np.ones((2, 1)))


@pytest.mark.parametrize(
    ("box", "limit", "resolutions"),
    [
        (64, 8.0, [40, 20, 12, 8]),
        (65, 12.0, [40, 20, 12]),
        (64, 25.0, [40, 25]),
        (64, 60.0, [60]),
        (32, 10.0, [20, 12, 10]),  # at 40 Å only 3.2 Fourier pixels
    ],
)
def test_every_stage_is_a_prefix(box: int, limit: float, resolutions: list[float]) -> None:
    plan = coefficient_plan(box, 4.0, limit)
    assert [resolution for resolution, _ in plan.stages] == resolutions
    radius, real = np.hypot(plan.kx, plan.ky), plan.shell >= 0
    for resolution, count in plan.stages:
        within = box * 4.0 / resolution
        assert count % LANES == 0
        assert (radius[count:] > within)[real[count:]].all()
        # a stage is filled up with the next one's, but nothing goes beyond the limit
        assert (radius[:count] > within).sum() < (LANES if resolution > limit else 1)


def test_nyquist_is_the_end() -> None:
    assert limit_radius(64, 4.0, 8.0) == 32
    assert limit_radius(64, 4.0, 2.0) == 32
    plan = coefficient_plan(64, 4.0, 8.0)
    assert plan.stages[-1][1] == len(plan.kx)


def test_the_stage_near_a_resolution_is_not_finer() -> None:
    plan = coefficient_plan(64, 4.0, 8.0)
    assert [plan.stage_near(r)[0] for r in (100, 40, 20, 15, 8)] == [40, 40, 20, 20, 8]
    assert plan.stage_near(20)[1] == plan.stages[1][1]


def test_padding_grows_with_the_particle() -> None:
    assert [oversampling(100, 2.0, diameter) for diameter in (80, 100, 101, 150, 151, 200)] == [1, 1, 1.5, 1.5, 2, 2]
    assert [reference_oversampling(100, 2.0, diameter) for diameter in (80, 81, 100, 101, 151)] == [
        1,
        1.25,
        1.25,
        1.5,
        2,
    ]
    assert [padded_box(box, factor) for box, factor in ((33, 1.0), (32, 1.5), (33, 1.5), (33, 2.0))] == [33, 48, 50, 66]
