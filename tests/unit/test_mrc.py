from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mrcfile.dtypes import HEADER_DTYPE

from drgnalign.errors import DrgnalignError, InputError
from drgnalign.formats import mrc
from drgnalign.formats.mrc import ImageSource, StackWriter, read_header, read_volume, write_volume
from drgnalign.particles import Particles


def images(n: int, box: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, box, box)).astype(np.float32)


def raw_stack(path: Path, values: np.ndarray, mode: int, order: str = "<", **fields: object) -> Path:
    """A stack with the oldest kind of header: no machine stamp, no map string, no voxel size."""
    header = np.zeros((), HEADER_DTYPE.newbyteorder(order))
    header["nz"], header["ny"], header["nx"] = values.shape
    header["mode"] = mode
    for field, value in fields.items():
        header[field] = value
    extended = bytes(int(header["nsymbt"]))
    path.write_bytes(header.tobytes() + extended + values.astype(values.dtype.newbyteorder(order)).tobytes())
    return path


def particles(names: list[str], box: int, contrasts: tuple[str, ...] = (), groups: object = 1) -> Particles:
    table = pd.DataFrame({"rlnImageName": names, "rlnOpticsGroup": groups})
    optics = pd.DataFrame({"rlnOpticsGroup": np.arange(max(1, len(contrasts))) + 1, "rlnImageSize": box})
    if contrasts:
        optics["drgnContrast"] = contrasts
    return Particles(table, optics, Path("set.star"))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    mode=st.sampled_from([(0, "i1"), (1, "i2"), (2, "f4"), (6, "u2"), (12, "f2")]),
    order=st.sampled_from("<>"),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 300), st.integers(1, 9)),
    nsymbt=st.sampled_from([0, 80, 1024]),
)
def test_all_modes_and_byte_orders(
    tmp_path: Path, mode: tuple[int, str], order: str, shape: tuple[int, int, int], nsymbt: int
) -> None:
    values = np.arange(np.prod(shape)).reshape(shape).astype(mode[1])
    path = raw_stack(tmp_path / "a.mrcs", values, mode[0], order, nsymbt=nsymbt)
    header = read_header(path)
    assert header.shape == shape
    assert header.pixel_size is None
    np.testing.assert_array_equal(header.map(), values)


def test_truncated_stack_says_how_many_images_are_complete(tmp_path: Path) -> None:
    path = raw_stack(tmp_path / "a.mrcs", images(5, 8), 2)
    path.write_bytes(path.read_bytes()[: 1024 + 3 * 256 + 100])
    with pytest.raises(InputError, match=r"a\.mrcs: is truncated: 3 complete images of the 5"):
        read_header(path)


@pytest.mark.parametrize("content", [b"", b"data_", bytes(1024), b"x" * 5000])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mrcs"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.mrcs: is not an MRC file"):
        read_header(path)
    with pytest.raises(InputError, match="no such file"):
        read_header(tmp_path / "b.mrcs")


def test_written_stack_is_valid_and_reads_back(tmp_path: Path) -> None:
    path, expected = tmp_path / "a.mrcs", images(7, 9)
    with StackWriter(path, 7, 9, 1.31) as stack:
        stack.append(expected[:3])
        assert not path.exists()
        stack.append(expected[3:].astype(np.float64))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.mrcs"]
    assert mrcfile.validate(path)
    with mrcfile.open(path) as file:
        assert file.is_image_stack()
        assert float(file.voxel_size.x) == pytest.approx(1.31)
        np.testing.assert_array_equal(file.data, expected)
    assert read_header(path).pixel_size == pytest.approx(1.31)


def test_a_failed_stack_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcs"
    with pytest.raises(ZeroDivisionError), StackWriter(path, 2, 4, 1.0) as stack:
        stack.append(images(2, 4))
        _ = 1 / 0
    with pytest.raises(DrgnalignError, match="1 images were written"), StackWriter(path, 2, 4, 1.0) as stack:
        stack.append(images(1, 4))
    with pytest.raises(DrgnalignError, match="3 in all"), StackWriter(path, 2, 4, 1.0) as stack:
        stack.append(images(3, 4))
    with pytest.raises(DrgnalignError, match=r"shape \(5, 5\)"), StackWriter(path, 2, 4, 1.0) as stack:
        stack.append(images(2, 5))
    with pytest.raises(InputError, match="folder"), StackWriter(tmp_path / "no" / "a.mrcs", 2, 4, 1.0):
        pass
    assert list(tmp_path.iterdir()) == []


def test_volume_round_trip(tmp_path: Path) -> None:
    path, volume = tmp_path / "map.mrc", images(6, 6, seed=1)
    write_volume(path, volume, 2.5)
    values, pixel_size = read_volume(path)
    np.testing.assert_array_equal(values, volume)
    assert values.flags.c_contiguous and values.dtype == np.float32
    assert pixel_size == pytest.approx(2.5)
    assert mrcfile.validate(path)
    with mrcfile.open(path) as file:
        assert file.is_volume()
        assert float(file.header.rms) == pytest.approx(volume.std(), rel=1e-5)


def test_unusable_volumes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no voxel size"):
        read_volume(raw_stack(tmp_path / "a.mrc", images(4, 4), 2))
    volume = images(4, 4)
    volume[1, 2, 3] = np.inf
    raw_stack(tmp_path / "b.mrc", volume, 2, mx=4, cella=(4.0, 4.0, 4.0))
    with pytest.raises(InputError, match="NaN or infinite"):
        read_volume(tmp_path / "b.mrc")


def test_images_come_in_the_order_asked_and_white(tmp_path: Path) -> None:
    a, b = images(4, 6, seed=1), images(3, 6, seed=2)
    raw_stack(tmp_path / "a.mrcs", a, 2, ">")
    raw_stack(tmp_path / "b.mrcs", b, 2)
    names = ["3@a.mrcs", "1@b.mrcs", "000001@a.mrcs", "2@b.mrcs"]
    source = ImageSource(particles(names, 6, ("white", "dark"), [1, 2, 1, 2]), tmp_path)
    assert len(source) == 4
    read = source.read([3, 0, 1, 0, 2])
    np.testing.assert_array_equal(read, [-b[1], a[2], -b[0], a[2], a[0]])
    assert read.dtype == np.float32 and read.flags.c_contiguous
    assert source.read([]).shape == (0, 6, 6)


def test_without_contrast_images_come_as_stored(tmp_path: Path) -> None:
    a = images(2, 6)
    raw_stack(tmp_path / "a.mrcs", a, 2)
    source = ImageSource(particles(["1@a.mrcs", "2@a.mrcs"], 6), tmp_path)
    np.testing.assert_array_equal(source.read([0, 1]), a)


def test_where_stacks_are_looked_for(tmp_path: Path) -> None:
    a, b, c = (images(1, 4, seed) for seed in range(3))
    for folder in ("job/mics", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    raw_stack(tmp_path / "job/mics/a.mrcs", a, 2)
    raw_stack(tmp_path / "job/b.mrcs", b, 2)
    raw_stack(tmp_path / "elsewhere/c.mrcs", c, 2)
    names = ["1@mics/a.mrcs", "1@Extract/mics/b.mrcs", f"1@{tmp_path}/elsewhere/c.mrcs"]
    read = ImageSource(particles(names, 4), tmp_path / "job").read([0, 1, 2])
    np.testing.assert_array_equal(read, np.concatenate([a, b, c]))


def test_unreadable_images_are_named(tmp_path: Path) -> None:
    values = images(3, 4)
    values[1, 0, 0] = np.nan
    raw_stack(tmp_path / "a.mrcs", values, 2)
    raw_stack(tmp_path / "b.mrcs", images(1, 5), 2)
    names = ["1@a.mrcs", "2@a.mrcs", "4@a.mrcs", "1@b.mrcs", "1@c.mrcs"]
    source = ImageSource(particles(names, 4), tmp_path)
    source.read([0])
    for row, message in enumerate(("image 2 holds NaN", "no image 4: it holds 3", "5 × 5", "no such file"), 1):
        with pytest.raises(InputError, match=message):
            source.read([0, row])


def test_few_stacks_are_open_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mrc, "OPEN_STACKS", 3)
    for i in range(20):
        raw_stack(tmp_path / f"{i}.mrcs", np.full((2, 4, 4), i, np.float32), 2)
    source = ImageSource(particles([f"{j}@{i}.mrcs" for i in range(20) for j in (1, 2)], 4), tmp_path)
    rows = np.random.default_rng(0).permutation(40)
    np.testing.assert_array_equal(source.read(rows)[:, 0, 0], rows // 2)
    assert source._stack.cache_info().currsize == 3
    assert source._stack.cache_info().misses == 20


def test_volumes_of_a_stack_are_read_one_by_one(tmp_path: Path) -> None:
    volumes = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32)
    with mrcfile.new(tmp_path / "volumes.mrc", volumes) as file:
        file.voxel_size = 2.0
    for number, volume in enumerate(volumes, start=1):
        read, pixel_size = read_volume(tmp_path / "volumes.mrc", number)
        np.testing.assert_array_equal(read, volume)
        assert pixel_size == 2.0
    with pytest.raises(InputError, match="a stack of 3 volumes"):
        read_volume(tmp_path / "volumes.mrc")
    with pytest.raises(InputError, match="has no volume 4"):
        read_volume(tmp_path / "volumes.mrc", 4)
