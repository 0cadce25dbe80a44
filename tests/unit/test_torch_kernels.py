"""The GPU's loops give what the compiled ones give; without a GPU they run on the processor."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from drgnalign.engine import kernels as compiled
from drgnalign.engine.kernels import Kernels
from drgnalign.engine.likelihood import log_likelihoods
from drgnalign.engine.prior import estimate_prior
from drgnalign.engine.reconstruct import HalfMapSums, insert_particles
from drgnalign.engine.reference import transform_reference
from drgnalign.engine.refine import refine_particles
from drgnalign.errors import DrgnalignError
from drgnalign.formats.mrc import ImageSource
from drgnalign.geometry import angular_distance
from drgnalign.maps.mask import particle_mask
from drgnalign.particles import MAGNIFICATION, PHASE_FLIPPED, PREMULTIPLIED
from drgnalign.symmetry import point_group

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from drgnalign.engine.torch_kernels import TorchKernels  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "torch-cpu"
LIMIT, DIAMETER, PADDING = 18.0, 220.0, 1.5


@pytest.fixture(autouse=True)
def torch_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device name for the GPU's loops, on the processor where there is no GPU."""

    def loops(plan, device: str, search=None):
        layout = (plan.box, plan.kx, plan.ky, plan.flat, search)
        return Kernels(*layout) if device == "cpu" else TorchKernels(*layout, device=device.removeprefix("torch-"))

    for module in ("refine", "prior", "reconstruct", "likelihood"):
        monkeypatch.setattr(f"drgnalign.engine.{module}.kernels_for", loops)


@pytest.fixture(scope="module", params=[32, 33], ids=["even", "odd"])
def scene(request: pytest.FixtureRequest, simulate: Callable):
    data = simulate(300, request.param, 8.0, snr=0.2, rotation_error_deg=4.0, shift_error_angstrom=4.0)
    mask = particle_mask(data.volume, 8.0, DIAMETER)
    reference = transform_reference(data.volume, mask, np.ones(request.param // 2 + 1), 8.0, LIMIT, PADDING)
    return data, {1: reference, 2: reference}


def test_the_same_poses(scene) -> None:
    data, references = scene
    source = ImageSource(data.given, data.folder)
    prior = estimate_prior(data.given, source, references, data.white_noise, LIMIT)
    again = estimate_prior(data.given, source, references, data.white_noise, LIMIT, DEVICE)
    assert_allclose(again, prior, rtol=0.01)
    one, two = (
        refine_particles(data.given, source, references, data.white_noise, LIMIT, prior=prior, device=device)
        for device in ("cpu", DEVICE)
    )
    apart = angular_distance(one.rotations, two.rotations)
    assert np.percentile(apart, 99) < 0.01
    assert np.percentile(np.abs(one.displacements - two.displacements), 99) < 0.002
    assert_allclose(two.score_before, one.score_before, rtol=1e-3, atol=0.02)
    assert_allclose(np.median(two.score_after - one.score_after), 0, atol=0.01)
    # They were refined, and some were looked for once more.
    assert np.median(angular_distance(data.given.rotations(), two.rotations)) > 2


def test_weak_matches_are_looked_for_alike(scene) -> None:
    """With so strong a reference expected, every match is weak."""
    data, references = scene
    few = data.given.select(np.arange(60))
    source, prior = ImageSource(few, data.folder), compiled.Prior(amplitude=10.0)
    one, two = (
        refine_particles(few, source, references, data.white_noise, LIMIT, prior=prior, device=device)
        for device in ("cpu", DEVICE)
    )
    assert (angular_distance(one.rotations, two.rotations) < 0.01).mean() > 0.95


@pytest.mark.parametrize("group", ["C1", "D2"])
def test_the_same_sums(scene, group: str) -> None:
    data, _ = scene
    one, two = (
        insert_particles(data.truth, data.source, data.white_noise, PADDING, point_group(group), device)
        for device in ("cpu", DEVICE)
    )
    assert_array_equal(one.counts, two.counts)
    assert_allclose(two.sums, one.sums, atol=1e-4 * np.abs(one.sums).max())
    assert np.abs(one.sums).max() > 0


def test_refinement_adds_up_at_the_new_poses(scene) -> None:
    data, references = scene
    sums = HalfMapSums(data.given.box, 8.0, PADDING)
    source = ImageSource(data.given, data.folder)
    refinement = refine_particles(data.given, source, references, data.white_noise, LIMIT, sums=sums, device=DEVICE)
    expected = insert_particles(refinement.apply_to(data.given), source, data.white_noise, PADDING)
    assert_allclose(sums.half_map(1), expected.half_map(1), atol=2e-3 * np.abs(expected.half_map(1)).max())


def test_the_same_likelihoods(scene) -> None:
    data, references = scene
    one, two = (
        log_likelihoods(data.truth, data.source, [references], data.white_noise, LIMIT, device)
        for device in ("cpu", DEVICE)
    )
    assert_allclose(two, one, rtol=1e-4, atol=0.01)


@pytest.mark.parametrize("stored", [PHASE_FLIPPED, PREMULTIPLIED])
def test_the_same_of_a_bad_lens(scene, stored: str) -> None:
    """Poses, likelihoods and sums with all that a lens can do to images."""
    data, references = scene
    told = {
        **dict(zip(MAGNIFICATION, (1.03, 0.02, -0.01, 0.97), strict=True)),
        **{"rlnBeamTiltX": 20.0, "rlnOddZernike": "[1,2,3000,4,5,-2000]", "rlnEvenZernike": "[0.3,40]", stored: 1},
    }
    table = data.given.table.assign(rlnCtfBfactor=200.0, rlnCtfScalefactor=0.7)
    particles = replace(data.given, table=table, optics=data.given.optics.assign(**told))
    source, white = ImageSource(particles, data.folder), data.white_noise
    likelihoods, sums, poses = zip(
        *(
            (
                log_likelihoods(particles, source, [references], white, LIMIT, device),
                insert_particles(particles, source, white, PADDING, device=device).sums,
                refine_particles(particles, source, references, white, LIMIT, device=device).rotations,
            )
            for device in ("cpu", DEVICE)
        ),
        strict=True,
    )
    assert_allclose(likelihoods[1], likelihoods[0], rtol=1e-3, atol=0.02)
    assert_allclose(sums[1], sums[0], atol=1e-4 * np.abs(sums[0]).max())
    assert np.percentile(angular_distance(*poses), 95) < 0.02


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_told() -> None:
    layout = np.zeros(8, np.float32)
    with pytest.raises(DrgnalignError, match="no GPU that PyTorch can use"):
        TorchKernels(32, layout, layout, layout.astype(np.int32))


def test_a_missing_pytorch_is_told() -> None:
    """Only a process that has not imported it can miss it."""
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from drgnalign.engine.kernels import kernels_for\n"
        "from drgnalign.engine.plan import coefficient_plan\n"
        "kernels_for(coefficient_plan(32, 8.0), 'cuda')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "a GPU needs PyTorch" in done.stderr
