from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drgnalign.errors import InputError
from drgnalign.formats.frealign_statistics import read_statistics

DATA = Path(__file__).parents[3] / "shared" / "data" / "frealign-runs"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the test data are not there: {DATA}")

HEADER_9 = (
    "C  NO.  RESOL  RING RAD   FSPR    FSC  Part_FSC  Part_SSNR  Rec_SSNR       CC   EXP. C    SIG C  ERFC  TOTVOX\n"
)
ROW_9 = "C%4d%8.2f%10.4f%7.2f%7.3f%10.3f%11.4f%10.2f%9.4f%9.4f%9.4f%6.2f%8d\n"
HEADER_X = "C SHELL     RESOLUTION    RING_RADIUS            FSC       Part_FSC  Part_SSNR^0.5   Rec_SSNR^0.5\n"
ROW_X = "%14.5f" * 7 + "\n"


def nine(shells: int, ssnr: float = 52.8674) -> str:
    rows = [
        (n, 192 / (n - 1), (n - 1) / 64, 1.24, 0.9, 1.0, ssnr, 159.96, 0, 0, 0, 0, 17) for n in range(2, shells + 2)
    ]
    tail = "C  Average               56.28  0.385     0.667     1.8402    185.93   0.0000   0.0000   0.0000  0.00\n"
    return "C settings\n" + HEADER_9 + "".join(ROW_9 % row for row in rows) + tail + "C\n"


def statistics(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "statistics.txt"
    path.write_text(text)
    return path


def test_frealignx(tmp_path: Path) -> None:
    rows = [(n, 192 / (n - 1), (n - 1) / 64, 0.9, 0.95, 24.3, 141.2) for n in range(2, 34)]
    table = read_statistics(statistics(tmp_path, HEADER_X + "".join(ROW_X % row for row in rows)))
    assert table["shell"].tolist() == list(range(2, 34))
    np.testing.assert_allclose(table["resolution_angstrom"], 192 / np.arange(1, 33), atol=1e-5)
    assert table.iloc[0].tolist() == [2, 192, 0.01562, 0.9, 0.95, 24.3, 141.2]


def test_frealign9(tmp_path: Path) -> None:
    table = read_statistics(statistics(tmp_path, nine(32)))
    assert len(table) == 32 and table["voxels"].tolist() == [17] * 32
    first = table.iloc[0]
    assert [first["fsc"], first["part_fsc"], first["part_sqrt_ssnr"], first["rec_sqrt_ssnr"]] == [
        0.9,
        1,
        52.8674,
        159.96,
    ]


def test_frealign9_columns_that_run_together(tmp_path: Path) -> None:
    text = nine(32, 123456.7891)
    assert "1.000123456.7891" in text
    assert read_statistics(statistics(tmp_path, text))["part_sqrt_ssnr"].tolist() == [123456.7891] * 32


def test_numbers_too_large_for_their_column_are_nan(tmp_path: Path) -> None:
    table = read_statistics(statistics(tmp_path, nine(32).replace("    159.96", "**********")))
    assert table["rec_sqrt_ssnr"].isna().all() and table["part_sqrt_ssnr"].notna().all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no table"),
        (HEADER_X, "no rows"),
        (HEADER_9, "no rows"),
        (HEADER_X + "1 2 3\n", "line 2 has 3 columns"),
        (HEADER_X + "2 x 3 4 5 6 7\n", "line 2: .*'x'"),
        (HEADER_X + ROW_X % (3, 1, 1, 1, 1, 1, 1), "shells .* are missing"),
        (HEADER_X + "nan 1 1 1 1 1 1\n", "no shell"),
    ],
)
def test_broken_tables_are_input_errors(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_statistics(statistics(tmp_path, text))


@needs_data
@pytest.mark.parametrize(
    "name", ["frealign9/reconstruct.res", "frealign9/refine_input_with_table.par", "frealignx/statistics.txt"]
)
def test_tables_of_the_real_programs(name: str) -> None:
    table = read_statistics(DATA / name)
    assert len(table) == 32
    np.testing.assert_allclose(table["resolution_angstrom"], 64 * 3 / (table["shell"] - 1), atol=0.006)
    assert table["fsc"].iloc[0] > 0.99
