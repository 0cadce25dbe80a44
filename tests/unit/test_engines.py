"""The native engine behind the interface: files in, particles and parts out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from drgnalign.engine.noise import write_noise
from drgnalign.engines import ENGINES
from drgnalign.errors import InputError
from drgnalign.formats.mrc import write_volume
from drgnalign.formats.star import write_star
from drgnalign.geometry import angular_distance
from drgnalign.interface import Chunk, EngineSettings, References
from drgnalign.maps.mask import particle_mask

NATIVE = ENGINES["native"](EngineSettings())
JOINT = ENGINES["native"](EngineSettings(joint_reference=True))
DIAMETER = 220.0


@pytest.fixture(scope="module")
def noisy_set(simulate: Callable):
    """300 particles of one state; the pose errors blur a map of these."""
    return simulate(300, 32, 8.0, snr=0.3, rotation_error_deg=4.0, shift_error_angstrom=4.0)


@pytest.fixture
def chunk(noisy_set) -> Chunk:
    return Chunk(noisy_set.given, noisy_set.folder, mask_diameter=DIAMETER)


@pytest.fixture
def references(noisy_set, chunk: Chunk, tmp_path: Path) -> References:
    """Half maps of the set at its given poses."""
    NATIVE.insert(chunk, tmp_path / "given.npz")
    half1, half2, pixel_size = NATIVE.reconstruct([tmp_path / "given.npz"], tmp_path / "map")[:3]
    for number, volume in ((1, half1), (2, half2)):
        write_volume(tmp_path / f"half{number}.mrc", volume, pixel_size)
    return References(tmp_path / "half1.mrc", tmp_path / "half2.mrc")


def median_error(noisy_set, particles) -> float:
    return float(np.median(angular_distance(noisy_set.truth.rotations(), particles.rotations())))


def test_refinement_against_own_maps_and_its_part(noisy_set, chunk: Chunk, references: References, tmp_path: Path):
    refined = NATIVE.refine(chunk, references, 20.0, tmp_path / "refined.npz")
    assert median_error(noisy_set, refined) < 0.75 * median_error(noisy_set, noisy_set.given)
    half1, half2, pixel_size = NATIVE.reconstruct([tmp_path / "refined.npz"], tmp_path / "map")[:3]
    assert pixel_size == 8.0
    # The part written on the way is the reconstruction at the refined poses.
    again = Chunk(refined, noisy_set.folder, mask_diameter=DIAMETER)
    NATIVE.insert(again, tmp_path / "again.npz")
    for volume, other in zip(
        (half1, half2), NATIVE.reconstruct([tmp_path / "again.npz"], tmp_path / "map")[:2], strict=True
    ):
        assert_allclose(volume, other, atol=1e-3 * np.abs(other).max())
    # And better than the one at the given poses.
    NATIVE.insert(chunk, tmp_path / "given.npz")
    inside = particle_mask(noisy_set.volume, 8.0, DIAMETER) > 0.5
    before, after = (
        np.corrcoef(sum(NATIVE.reconstruct([part], tmp_path / "map")[:2])[inside], noisy_set.volume[inside])[0, 1]
        for part in (tmp_path / "given.npz", tmp_path / "refined.npz")
    )
    assert after > before


def test_without_a_part_only_poses_are_made(chunk: Chunk, references: References, tmp_path: Path) -> None:
    files = set(tmp_path.iterdir())
    NATIVE.refine(chunk, references, 20.0, None)
    assert set(tmp_path.iterdir()) == files


def test_each_half_follows_its_own_map_unless_joint(noisy_set, chunk: Chunk, references: References, tmp_path: Path):
    noise = np.random.default_rng(0).standard_normal((32, 32, 32)).astype(np.float32)
    mask = tmp_path / "mask.mrc"
    write_volume(mask, particle_mask(noisy_set.volume, 8.0, DIAMETER), 8.0)
    write_volume(tmp_path / "other.mrc", noisy_set.volume + 0.5 * noisy_set.volume.std() * noise, 8.0)
    first, other = references.half1, tmp_path / "other.mrc"
    halves = noisy_set.given.half_sets()
    straight, swapped = (
        NATIVE.refine(chunk, References(*pair, mask), 20.0, None).rotations()
        for pair in ((first, other), (other, first))
    )
    assert (straight[halves == 1] != swapped[halves == 1]).any(axis=(1, 2)).all()
    one, two = (
        JOINT.refine(chunk, References(*pair, mask), 20.0, None).rotations()
        for pair in ((first, other), (other, first))
    )
    assert_allclose(angular_distance(one, two), 0, atol=0.01)


def test_the_noise_of_the_file_is_used(noisy_set, references: References, tmp_path: Path) -> None:
    write_noise(tmp_path / "noise.csv", noisy_set.given, noisy_set.white_noise)
    write_noise(tmp_path / "loud.csv", noisy_set.given, 100 * noisy_set.white_noise)
    plain, loud = (
        NATIVE.refine(Chunk(noisy_set.given, noisy_set.folder, tmp_path / name, DIAMETER), references, 20.0, None)
        for name in ("noise.csv", "loud.csv")
    )
    share = loud.table["drgnScoreBefore"] / plain.table["drgnScoreBefore"]
    assert_allclose(share, 0.01, rtol=1e-3)


def test_chunks_give_the_poses_of_the_whole(noisy_set, references: References, tmp_path: Path) -> None:
    """With the mask, the noise and the pilot of the whole set, as in the workflow."""
    write_noise(tmp_path / "noise.csv", noisy_set.given, noisy_set.white_noise)

    def refine(rows: np.ndarray, part: str):
        particles = noisy_set.given.select(rows)
        chunk = Chunk(particles, noisy_set.folder, tmp_path / "noise.csv", DIAMETER, tmp_path / "pilot.star")
        return NATIVE.refine(chunk, references, 20.0, tmp_path / part).table

    write_star(noisy_set.given.select(np.arange(0, 300, 3)), tmp_path / "pilot.star")
    whole = refine(np.arange(300), "whole.npz")
    pieces = [refine(np.arange(130), "a.npz"), refine(np.arange(130, 300), "b.npz")]
    columns = [c for c in whole if c.startswith(("rlnAngle", "rlnOrigin", "drgn"))]
    assert_array_equal(np.concatenate([piece[columns] for piece in pieces]), whole[columns])
    maps, parts = (
        NATIVE.reconstruct([tmp_path / name for name in names], tmp_path / "map")
        for names in (["whole.npz"], ["b.npz", "a.npz"])
    )
    for half in (0, 1):
        assert_allclose(parts[half], maps[half], atol=1e-4 * np.abs(maps[half]).max())


def test_who_is_left_out_is_in_no_map_and_stays_as_it_is(
    noisy_set, chunk: Chunk, references: References, tmp_path: Path
) -> None:
    marked = noisy_set.given.select(np.arange(300))
    marked.table["drgnLeftOut"] = (np.arange(300) % 5 == 0).astype(int)
    kept = np.flatnonzero(~marked.left_out())
    write_noise(tmp_path / "noise.csv", marked, noisy_set.white_noise)

    def refined(particles, part: str):
        return NATIVE.refine(
            Chunk(particles, noisy_set.folder, tmp_path / "noise.csv", DIAMETER), references, 20.0, tmp_path / part
        ).table

    whole, alone = refined(marked, "whole.npz"), refined(marked.select(kept), "alone.npz")
    columns = [label for label in alone if label.startswith(("rlnAngle", "rlnOrigin", "drgn"))]
    assert_array_equal(whole[columns].to_numpy(float)[kept], alone[columns].to_numpy(float))
    left = marked.left_out()
    pd.testing.assert_frame_equal(whole.loc[left, list(marked.table)], marked.table[left], check_exact=True)
    assert whole.loc[left, "drgnScore"].isna().all()
    for made, expected in (("whole", "alone"), ("inserted", "inserted_alone")):
        if made == "inserted":
            NATIVE.insert(Chunk(marked, noisy_set.folder, tmp_path / "noise.csv", DIAMETER), tmp_path / f"{made}.npz")
            fewer = Chunk(marked.select(kept), noisy_set.folder, tmp_path / "noise.csv", DIAMETER)
            NATIVE.insert(fewer, tmp_path / f"{expected}.npz")
        one, other = (NATIVE.reconstruct([tmp_path / f"{name}.npz"], tmp_path / "map") for name in (made, expected))
        assert_array_equal(one[:2], other[:2])


def test_limit_beyond_nyquist(chunk: Chunk, references: References) -> None:
    with pytest.raises(InputError, match="beyond Nyquist"):
        NATIVE.refine(chunk, references, 12.0, None)


@pytest.mark.parametrize(("box", "pixel_size"), [(30, 8.0), (32, 7.5)])
def test_maps_of_another_sampling_are_refused(
    chunk: Chunk, references: References, tmp_path: Path, box: int, pixel_size: float
) -> None:
    write_volume(tmp_path / "other.mrc", np.ones((box, box, box), np.float32), pixel_size)
    with pytest.raises(InputError, match=rf"other\.mrc: it is {box} voxels wide at {pixel_size:g} Å"):
        NATIVE.refine(chunk, References(references.half1, tmp_path / "other.mrc"), 20.0, None)


def test_the_particle_fills_most_of_its_box_unless_told(noisy_set) -> None:
    assert Chunk(noisy_set.given, noisy_set.folder).diameter == pytest.approx(0.85 * 256)
    assert Chunk(noisy_set.given, noisy_set.folder, mask_diameter=100.0).diameter == 100
