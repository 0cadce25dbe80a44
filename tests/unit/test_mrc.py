from __future__ import annotations

import bz2
import gzip
import lzma
from itertools import permutations
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mrcfile.dtypes import HEADER_DTYPE

from drgnalign.errors import DrgnalignError, InputError, InputWarning
from drgnalign.formats import mrc
from drgnalign.formats.mrc import ImageSource, StackWriter, read_header, read_volume, tell_doubts, write_volume
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
    extended = bytes(max(0, int(header["nsymbt"])))
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


def flags_of_imod(flags: int, order: str = "<") -> np.void:
    """The second part of the header that is free for all, with IMOD's stamp and flags."""
    content = bytes(40) + np.array([1146047817, flags], f"{order}i4").tobytes()
    return np.void(content.ljust(84, b"\0"))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("flags", "dtype"), [(0, "u1"), (2, "u1"), (1, "i1"), (9, "i1")])
def test_bytes_have_the_sign_that_imod_says(tmp_path: Path, order: str, flags: int, dtype: str) -> None:
    values = np.arange(256).astype("u1").reshape(1, 16, 16)
    path = raw_stack(tmp_path / "a.mrcs", values, 0, order, extra2=flags_of_imod(flags, order), dmin=0, dmax=255)
    header = read_header(path)
    np.testing.assert_array_equal(header.map(), values.view(dtype))
    assert bool(header.doubts) == (dtype == "i1")


def test_other_modes_do_not_care_about_imods_flags(tmp_path: Path) -> None:
    path = raw_stack(tmp_path / "a.mrcs", images(2, 4), 2, extra2=flags_of_imod(0))
    assert read_header(path).dtype == "f4"


def test_half_bytes_are_refused(tmp_path: Path) -> None:
    path = raw_stack(tmp_path / "a.mrcs", images(2, 4).astype("u1"), 0, extra2=flags_of_imod(16))
    with pytest.raises(InputError, match="4 bits a pixel"):
        read_header(path)


@pytest.mark.parametrize(
    ("mode", "dtype", "least", "most", "told"),
    [
        (0, "i1", 0, 255, True),
        (0, "i1", 3, 140, True),
        (1, "i2", 0, 60_000, True),
        (0, "i1", -128, 127, False),
        (0, "i1", 0, 127, False),
        (0, "i1", 0, -1, False),
        (0, "i1", 0, 1e6, False),
        (6, "u2", 0, 60_000, False),
        (6, "u2", -30_000, 30_000, True),
        (6, "u2", 0, -1, False),
    ],
)
def test_statistics_that_no_sign_allows(
    tmp_path: Path, mode: int, dtype: str, least: float, most: float, told: bool
) -> None:
    header = read_header(raw_stack(tmp_path / "a.mrcs", np.zeros((2, 4, 4), dtype), mode, dmin=least, dmax=most))
    assert header.dtype.str[1:] == dtype  # as the standard says
    assert ("sign" in header.doubts) == told


def test_doubts_are_told_once_for_each_kind(tmp_path: Path) -> None:
    paths = [raw_stack(tmp_path / f"{n}.mrcs", np.zeros((2, 4, 4), "i1"), 0, dmax=200) for n in range(3)]
    paths[1].write_bytes(paths[1].read_bytes() + b"more")
    with pytest.warns(InputWarning) as told:
        tell_doubts([read_header(path) for path in paths])
    messages = [str(warning.message) for warning in told]
    assert len(messages) == 2
    assert messages[0].startswith(str(paths[0])) and messages[0].endswith("(3 of 3 stacks)")
    assert messages[1].startswith(str(paths[1])) and messages[1].endswith("(1 of 3 stacks)")


@pytest.mark.parametrize("extended", [0, 80])
@pytest.mark.parametrize(
    ("beyond", "told"), [(1536, "1,536 bytes longer"), (1, "1 bytes longer"), (512, "2 images more")]
)
def test_more_bytes_than_the_header_says_are_told(tmp_path: Path, extended: int, beyond: int, told: str) -> None:
    path = raw_stack(tmp_path / "a.mrcs", images(3, 8), 2, nsymbt=extended)
    assert not read_header(path).doubts
    path.write_bytes(path.read_bytes() + bytes(beyond))
    header = read_header(path)
    assert told in header.doubts["length"]
    with pytest.warns(InputWarning, match="longer than its header says"):
        raw_stack(path, images(8, 8), 2, nsymbt=extended, mx=8, cella=(8.0, 8.0, 8.0))
        path.write_bytes(path.read_bytes() + bytes(beyond))
        read_volume(path)


def test_an_extended_header_that_is_not_there(tmp_path: Path) -> None:
    path = raw_stack(tmp_path / "a.mrcs", images(3, 8), 2, nsymbt=80)
    data = path.read_bytes()
    path.write_bytes(data[:1024] + data[1104:])
    with pytest.raises(InputError, match=r"80 bytes .*\(NSYMBT\) is not there"):
        read_header(path)
    with pytest.raises(InputError, match=r"a length of -80 bytes \(NSYMBT\)"):
        read_header(raw_stack(path, images(3, 8), 2, nsymbt=-80))


@pytest.mark.parametrize("axes", list(permutations((1, 2, 3))))
def test_volumes_come_as_z_y_x_whatever_their_order(tmp_path: Path, axes: tuple[int, int, int]) -> None:
    volume = np.arange(4 * 4 * 4, dtype=np.float32).reshape(4, 4, 4)
    # columns, rows and sections of the file run along these axes; the array's are z, y, x
    stored = volume.transpose([3 - axis for axis in axes[::-1]])
    fields = dict(zip(("mapc", "mapr", "maps"), axes, strict=True))
    path = raw_stack(tmp_path / "a.mrc", np.ascontiguousarray(stored), 2, mx=4, cella=(8.0, 8.0, 8.0), **fields)
    values, pixel_size = read_volume(path)
    np.testing.assert_array_equal(values, volume)
    assert values.flags.c_contiguous and pixel_size == 2


def test_axes_that_are_none_are_told(tmp_path: Path) -> None:
    assert "axes" in read_header(raw_stack(tmp_path / "a.mrc", images(4, 4), 2, mapc=1, mapr=1, maps=3)).doubts
    assert not read_header(raw_stack(tmp_path / "a.mrc", images(4, 4), 2)).doubts


def test_sides_that_differ_follow_their_axes(tmp_path: Path) -> None:
    volume = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    stored = np.ascontiguousarray(volume.transpose(2, 1, 0))
    path = raw_stack(tmp_path / "a.mrc", stored, 2, mx=4, cella=(8.0, 6.0, 4.0), mapc=3, mapr=2, maps=1)
    np.testing.assert_array_equal(read_volume(path)[0], volume)


@pytest.mark.parametrize("mode", [(2, "f4"), (1, "i2")])
def test_images_whose_columns_run_along_y_are_transposed(tmp_path: Path, mode: tuple[int, str]) -> None:
    stored = (100 * images(5, 6)).astype(mode[1])
    raw_stack(tmp_path / "a.mrcs", stored, mode[0], mapc=2, mapr=1, maps=3)
    source = ImageSource(particles([f"{n}@a.mrcs" for n in (4, 1, 5)], 6), tmp_path)
    np.testing.assert_array_equal(source.read([0, 1, 2]), stored[[3, 0, 4]].swapaxes(1, 2))
    np.testing.assert_array_equal(source.read([1]), stored[[0]].swapaxes(1, 2))
    raw_stack(tmp_path / "a.mrcs", stored, mode[0], mapc=2, mapr=3, maps=1)
    with pytest.raises(InputError, match="its sections run along x"):
        ImageSource(particles(["1@a.mrcs"], 6), tmp_path).read([0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(bytes(2000), mtime=0), "is compressed by gzip\n.*unpack it, and give a.mrcs"),
        (bz2.compress(bytes(2000)), "is compressed by bzip2"),
        (lzma.compress(bytes(2000)), "is compressed by xz"),
        (b"PK\x03\x04" + bytes(2000), "is a zip archive"),
        (b"II*\0" + bytes(2000), "but of TIFF"),
        (b"\x89HDF" + bytes(2000), "but of HDF5"),
    ],
)
def test_what_it_is_instead_is_said(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.mrcs.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_header(path)


@pytest.mark.parametrize("mode", [3, 4, 101])
def test_modes_that_are_not_read_are_named(tmp_path: Path, mode: int) -> None:
    with pytest.raises(InputError, match=f"but of mode {mode} "):
        read_header(raw_stack(tmp_path / "a.mrcs", images(2, 4), mode))


def test_voxels_that_are_no_cubes(tmp_path: Path) -> None:
    """Of a map refused, of images told; of what calls itself a stack the third size says nothing."""
    path = tmp_path / "a.mrc"
    for cell, axis in ((1, "y"), (2, "z")):
        write_volume(path, np.zeros((16, 16, 16), np.float32), 2.0)
        data = bytearray(path.read_bytes())
        data[40 + 4 * cell : 44 + 4 * cell] = np.array(48.0, "<f4").tobytes()
        path.write_bytes(data)
        with pytest.raises(InputError, match="they are no cubes"):
            read_volume(path)
        assert ("voxels" in read_header(path).doubts) == (axis == "y")
    data[36:40] = np.array(1, "<i4").tobytes()
    path.write_bytes(data)
    assert read_volume(path)[1] == 2.0


def test_a_cell_that_is_infinite_says_no_pixel_size(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.mrc", np.ones((4, 4, 4)), np.inf)
    assert read_header(tmp_path / "a.mrc").pixel_size is None
    with pytest.raises(InputError, match="no voxel size"):
        read_volume(tmp_path / "a.mrc")
