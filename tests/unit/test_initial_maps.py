"""Maps of a user's own that assignment starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.ndimage import rotate

from drgnalign.engine.noise import estimate_noise
from drgnalign.errors import InputError
from drgnalign.formats.mrc import ImageSource, read_volume, write_volume
from drgnalign.fourier import irfft_volume, rfft_volume, shell_numbers
from drgnalign.heterogeneity.assign import AGAINST, Assigner, AssignmentSettings
from drgnalign.heterogeneity.initial_maps import check_initial_maps, labels_by_maps, on_scale_of
from drgnalign.heterogeneity.states import coarse_images
from drgnalign.particles import LEFT_OUT

BOX, PIXEL, LIMIT, DIAMETER = 32, 8.0, 18.0, 200.0


@pytest.fixture(scope="module")
def three(simulate: Callable[..., Any]) -> Any:
    return simulate(600, BOX, PIXEL, states=3, snr=0.3)


def assigner(data: Any, limit: float = LIMIT, against: str = AGAINST[0]) -> Assigner:
    source = ImageSource(data.truth, data.folder)
    settings = AssignmentSettings(limit, DIAMETER, against)
    return Assigner(data.truth, source, estimate_noise(data.truth, source, DIAMETER), settings)


def sharpened(volume: np.ndarray) -> np.ndarray:
    """As another program may give it: in units of its own, sharpened, on a constant."""
    strong = np.exp(3 * (shell_numbers(BOX, 3) / BOX) ** 2)
    return (1e3 * irfft_volume(rfft_volume(volume) * strong, BOX) + 5e3).astype(np.float32)


def true_maps(data: Any, folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> list[Path]:
    """Of all states, changed."""
    paths = [folder / f"map {state}.mrc" for state in (1, 2, 3)]
    for state, path in enumerate(paths, start=1):
        write_volume(path, change(read_volume(data.folder / f"state_{state:02d}.mrc")[0]), PIXEL)
    return paths


@pytest.mark.parametrize("against", AGAINST)
def test_images_find_their_maps_whatever_was_done_to_these(three: Any, tmp_path: Path, against: str) -> None:
    found = labels_by_maps(assigner(three, against=against), true_maps(three, tmp_path, sharpened), three.truth)
    assert set(found) == {1, 2, 3}
    # the numbers are those of the maps
    assert (found == three.truth.cluster_labels()).mean() > 0.97


def test_who_is_left_out_gets_no_label(three: Any, tmp_path: Path) -> None:
    paths, mine = true_maps(three, tmp_path, sharpened), assigner(three)
    out = (np.arange(len(three.truth)) < 50).astype(int)
    mine.particles = replace(three.truth, table=three.truth.table.assign(**{LEFT_OUT: out}))
    found = labels_by_maps(mine, paths, three.truth)
    assert not found[:50].any() and found[50:].all()


def test_maps_of_a_finer_sampling_than_the_images(three: Any, tmp_path: Path) -> None:
    """Images are compared coarser than they are given."""
    paths = true_maps(three, tmp_path, sharpened)
    coarse = coarse_images(three.truth, three.folder / "particles.mrcs", 40.0, tmp_path)
    assert coarse.particles.box < BOX
    found = labels_by_maps(
        assigner(three._replace(truth=coarse.particles, folder=coarse.folder), 40.0), paths, three.truth
    )
    assert (found == three.truth.cluster_labels()).mean() > 0.9


@pytest.mark.parametrize(
    "moved",
    [
        lambda volume: np.roll(volume, 4, axis=2),
        lambda volume: rotate(volume, 40, axes=(0, 2), reshape=False),
        lambda volume: np.ascontiguousarray(volume[:, :, ::-1]),
        lambda volume: -volume,
    ],
    ids=["moved", "turned", "mirrored", "black"],
)
def test_a_map_that_lies_elsewhere_is_refused(
    three: Any, tmp_path: Path, moved: Callable[[np.ndarray], np.ndarray]
) -> None:
    paths = true_maps(three, tmp_path, sharpened)
    write_volume(paths[1], moved(read_volume(three.folder / "state_02.mrc")[0]), PIXEL)
    with pytest.raises(InputError, match=r"map 2.mrc: its FSC with the consensus is -?0\.\d\d on average"):
        labels_by_maps(assigner(three), paths, three.truth)


def test_shells_are_brought_to_the_consensus_and_noise_is_not() -> None:
    rng, shells = np.random.default_rng(0), shell_numbers(BOX, 3)
    everywhere = np.ones((BOX, BOX, BOX), np.float32)
    # no two half transforms of white noise have anything in common
    true, other = (rfft_volume(rng.normal(size=everywhere.shape)) for _ in range(2))
    inside, corners = shells <= 10, shells > BOX // 2
    consensus = irfft_volume(np.where(corners, 0, true), BOX).astype(np.float32)
    volume = irfft_volume(0.01 * np.where(inside, true, other), BOX).astype(np.float32)
    found = rfft_volume(on_scale_of(volume, consensus, everywhere))
    assert_allclose(found[inside], true[inside], rtol=1e-3, atol=1e-2)
    beyond = np.mean(np.abs(found[~inside & ~corners]) ** 2) / np.mean(np.abs(true) ** 2)
    assert beyond < 0.01 and np.abs(found[corners]).max() < 1e-3


def test_maps_that_are_no_choice_are_refused_by_name(tmp_path: Path) -> None:
    one, same, other = (tmp_path / f"{name}.mrc" for name in ("one", "same", "other"))
    volume = np.random.default_rng(0).normal(size=(BOX, BOX, BOX)).astype(np.float32)
    for path, size in ((one, BOX), (same, BOX), (other, BOX - 2)):
        write_volume(path, volume[:size, :size, :size], PIXEL)
    check_initial_maps([], BOX, PIXEL)
    for paths, problem in (
        ([one], "one.mrc: it is the only one of --initial_maps"),
        ([one, same], "same.mrc: it is the same map as .*one.mrc"),
        ([one, one], "one.mrc: it is the same map"),
        ([one, other], "other.mrc: it is 30 voxels wide at 8 Å, not 32 at 8 Å"),
    ):
        with pytest.raises(InputError, match=problem):
            check_initial_maps(paths, BOX, PIXEL)
