"""What every engine owes to a run, whatever it is: one that is new needs settings here, and is held to the same."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from drgnalign.engines import ENGINES
from drgnalign.errors import InputError
from drgnalign.formats.mrc import write_volume
from drgnalign.interface import Chunk, Engine, EngineSettings, Reconstruction, References
from drgnalign.maps.mask import particle_mask
from drgnalign.particles import ANGLES, ORIGINS, Particles

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
DOUBLES = REPOSITORY / "tests" / "doubles"
# Of programs that the user brings: doubles.
SETTINGS: dict[str, dict[str, Any]] = {
    "native": {},
    "frealignx": {"mass_kda": 200.0, "frealign_dir": DOUBLES},
    "frealign9": {"mass_kda": 200.0, "frealign_dir": DOUBLES},
}
COUNT, LIMIT, DIAMETER = 80, 20.0, 220.0


class Work(NamedTuple):
    """An engine, and what it made of a set: parts of two chunks at the given poses, their maps, refined particles."""

    engine: Engine
    chunk: Chunk
    parts: list[Path]
    made: Reconstruction
    beside: set[str]
    """Names of the files that RECONSTRUCT's folder had then."""
    references: References
    refined: Particles

    @property
    def given(self) -> Particles:
        return self.chunk.particles


def insert_chunks(engine: Engine, whole: Chunk, folder: Path) -> list[Path]:
    folder.mkdir()
    parts = [folder / "a.part", folder / "b.part"]
    for part, rows in zip(parts, (np.arange(50), np.arange(50, COUNT)), strict=True):
        engine.insert(replace(whole, particles=whole.particles.select(rows)), part)
    return parts


@pytest.fixture(scope="module", params=ENGINES)
def work(
    request: pytest.FixtureRequest, simulate: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Work]:
    few = simulate(COUNT, 32, 8.0, snr=0.5, rotation_error_deg=4.0, shift_error_angstrom=4.0)
    few.given.table["drgnLeftOut"] = (np.arange(COUNT) % 7 == 3).astype(int)
    chunk, folder = Chunk(few.given, few.folder, mask_diameter=DIAMETER), tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        # the doubles run under the python that has the library
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        engine = ENGINES[request.param](EngineSettings(**SETTINGS[request.param], logs=folder / "logs"))
        parts, maps = insert_chunks(engine, chunk, folder / "parts"), folder / "maps"
        maps.mkdir()
        made = engine.reconstruct(parts, maps / "map")
        beside = {path.name for path in maps.iterdir()}
        for half, volume in ((1, made.half1), (2, made.half2)):
            write_volume(maps / f"map_half{half}.mrc", volume, made.pixel_size)
        write_volume(maps / "mask.mrc", particle_mask(made.half1 + made.half2, made.pixel_size, DIAMETER), 8.0)
        # weighted: else the maps' FSC, which is of both, would count
        references = References(maps / "map_half1.mrc", maps / "map_half2.mrc", maps / "mask.mrc", weighted=True)
        refined = engine.refine(chunk, references, LIMIT, None)
        yield Work(engine, chunk, parts, made, beside, references, refined)


def test_the_workflow_offers_the_engines_that_there_are() -> None:
    schema = json.loads((REPOSITORY / "nextflow_schema.json").read_text())
    (rule,) = (group["properties"]["engine"] for group in schema["$defs"].values() if "engine" in group["properties"])
    assert rule["enum"] == list(ENGINES)


def test_a_limit_beyond_nyquist_is_refused_before_anything_is_begun(work: Work) -> None:
    with pytest.raises(InputError, match="beyond Nyquist"):
        work.engine.check(work.chunk, [LIMIT, 12.0])


def test_particles_come_back_in_their_order_with_what_merge_reads(work: Work) -> None:
    given, refined = work.given.table, work.refined.table
    unchanged = [label for label in given if label not in (*ANGLES, *ORIGINS)]
    pd.testing.assert_frame_equal(refined[unchanged], given[unchanged], check_dtype=False)
    kept = ~work.given.left_out()
    assert np.isfinite(refined.loc[kept, [*ANGLES, *ORIGINS]]).all(axis=None)
    assert refined.loc[kept, "drgnAccepted"].isin([0, 1]).all()


def test_who_is_left_out_stays_as_it_was(work: Work) -> None:
    out, columns = work.given.left_out(), list(work.given.table)
    pd.testing.assert_frame_equal(work.refined.table.loc[out, columns], work.given.table[out], check_dtype=False)


def test_no_half_set_reads_the_others_map(work: Work, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal((32, 32, 32)).astype(np.float32)
    write_volume(tmp_path / "noise_half2.mrc", noise, 8.0)
    other = work.engine.refine(
        work.chunk, replace(work.references, half2=tmp_path / "noise_half2.mrc"), LIMIT, tmp_path / "refined.part"
    )
    first, kept, poses = work.given.half_sets() == 1, ~work.given.left_out(), [*ANGLES, *ORIGINS]
    same = (other.table[poses] == work.refined.table[poses]).all(axis=1)
    assert same[kept & first].all() and not same[kept & ~first].all()
    assert (tmp_path / "refined.part").exists()


def test_maps_do_not_depend_on_who_is_left_out_or_on_the_order_of_parts(work: Work, tmp_path: Path) -> None:
    table = work.given.table.copy()
    table.loc[work.given.left_out(), ANGLES] += 90.0
    turned = replace(work.chunk, particles=replace(work.given, table=table))
    parts = insert_chunks(work.engine, turned, tmp_path / "parts")
    again = work.engine.reconstruct(parts[::-1], tmp_path / "map")
    for half, volume, other in ((1, work.made.half1, again.half1), (2, work.made.half2, again.half2)):
        assert volume.shape == (32, 32, 32) and volume.dtype == np.float32, half
        np.testing.assert_array_equal(volume, other)
    assert work.made.pixel_size == 8.0 and not np.array_equal(again.half1, again.half2)


def test_what_is_kept_beside_the_maps_is_named_as_merge_takes_it_along(work: Work) -> None:
    assert all(name.startswith("map_statistics") for name in work.beside)


def test_a_part_that_was_emptied_is_refused(work: Work, tmp_path: Path) -> None:
    """As the workflow does to those of a pass that has ended."""
    part, made = tmp_path / "a.part", work.parts[0]
    (shutil.copytree if made.is_dir() else shutil.copy)(made, part)
    for path in part.iterdir() if part.is_dir() else [part]:
        path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(InputError, match="was emptied"):
        work.engine.reconstruct([part], tmp_path / "map")
