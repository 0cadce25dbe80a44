from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drgnalign.formats.text_table import BodyError, Syntax, read_table

PAR = Syntax(comment=ord("C"), star=False)
STAR = Syntax(comment=ord("#"), star=True)


def column(words: list[str]) -> object:
    data = "\n".join(words).encode()
    return read_table(data, 0, len(data), 1, [], PAR).columns[0]


@settings(deadline=None)
@given(st.lists(st.floats(), min_size=1))
def test_every_double_comes_back(values: list[float]) -> None:
    read = np.asarray(column([repr(value) for value in values]), np.float64)
    np.testing.assert_array_equal(read, values)
    np.testing.assert_array_equal(np.copysign(1, read)[read == 0], np.copysign(1, values)[read == 0])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-(10**20), 10**20), st.integers(-30, 30)), min_size=1))
def test_decimals_are_rounded_as_python_rounds_them(decimals: list[tuple[int, int]]) -> None:
    words = [f"{mantissa}e{power}" for mantissa, power in decimals]
    assert np.asarray(column(words)).tolist() == [float(word) for word in words]


@settings(deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**9), max_value=10**9))
def test_fixed_notation_is_rounded_as_python_rounds_it(value: object) -> None:
    assert np.asarray(column([f"{value:f}"]), np.float64)[0] == float(f"{value:f}")


@settings(deadline=None)
@given(st.from_regex(r"\A[-+]?([0-9]{1,40}\.[0-9]{0,40}|\.[0-9]{1,40}|[0-9]{1,15})([eE][-+]?[0-9]{1,3})?\Z"))
def test_any_number_of_digits_is_rounded_as_python_rounds_it(word: str) -> None:
    (read,) = np.asarray(column([word]), np.float64)
    assert read == float(word)


@settings(deadline=None)
@given(st.floats(0, 1e300), st.sampled_from(["", "0", "1"]), st.integers(0, 900))
def test_the_last_of_many_digits_decides_midway_between_two_doubles(below: float, last: str, zeros: int) -> None:
    """Such numbers have up to 767 digits; one that is any greater is rounded up."""
    middle = (Fraction(below) + Fraction(math.nextafter(below, math.inf))) / 2
    places = middle.denominator.bit_length() - 1  # the denominator is a power of two
    digits = str(middle.numerator * 5**places) + "0" * zeros + last
    word = f"{digits}e{-places - zeros - len(last)}"
    assert np.asarray(column([word]), np.float64)[0] == float(word)


@pytest.mark.parametrize(
    "word", ["0." + "0" * 10050 + "1e10052", "1" + "0" * 10050 + ".0e-10049", "1e99999999999999999999"]
)
def test_what_an_exponent_takes_back_counts(word: str) -> None:
    assert np.asarray(column([word]), np.float64)[0] == float(word)


@settings(deadline=None)
@given(st.lists(st.integers(-(10**15) + 1, 10**15 - 1), min_size=1))
def test_whole_numbers_stay_whole(values: list[int]) -> None:
    read = column([str(value) for value in values])
    assert isinstance(read, np.ndarray) and read.dtype == np.int64 and read.tolist() == values


@pytest.mark.parametrize("word", ["1e", "1.2.3", ".", "-", "e5", "0x10", "1_000", "nano", "infinity", "1" * 16])
def test_what_is_no_double_makes_a_column_of_words(word: str) -> None:
    assert column(["1.5", word]) == ["1.5", word]


def test_not_finite() -> None:
    read = np.asarray(column(["nan", "-INF", "Inf", "NaN"]), np.float64)
    assert math.isnan(read[0]) and read[1:3].tolist() == [-math.inf, math.inf] and math.isnan(read[3])


def test_blanks_quotation_marks_comments_and_line_ends() -> None:
    data = b'# a\n a  \'b c\'\t1\r\n# d\n"e f" g"h 2'
    table = read_table(data, 0, len(data), 3, [0, 1], STAR)
    assert table.columns[0] == ["a", "e f"] and table.columns[1] == ["b c", 'g"h']
    assert np.asarray(table.columns[2]).tolist() == [1, 2]


def test_an_empty_line_ends_a_star_table_and_is_skipped_in_a_par_file() -> None:
    data = b"1\n\n2\n"
    star, par = (read_table(data, 0, len(data), 1, [], syntax) for syntax in (STAR, PAR))
    assert (np.asarray(star.columns[0]).tolist(), star.end) == ([1], 2)
    assert (np.asarray(par.columns[0]).tolist(), par.end) == ([1, 2], 5)


@pytest.mark.parametrize(("line", "fields"), [("1", 1), ("1 2 3", 3)])
def test_another_number_of_fields_is_told(line: str, fields: int) -> None:
    data = f"1 2\n{line}\n1 2\n".encode()
    with pytest.raises(BodyError) as told:
        read_table(data, 0, len(data), 2, [], PAR)
    assert told.value.fields == fields
    assert data.count(b"\n", 0, told.value.offset) == 1


def test_only_the_body_is_read() -> None:
    data = b"1\n2\n3\n4\n"
    assert np.asarray(read_table(data, 2, 6, 1, [], PAR).columns[0]).tolist() == [2, 3]


@pytest.mark.parametrize("rest", ["9", "e5", "7.5", "x", "'", "\0", ""])
@pytest.mark.parametrize("word", ["1.5", "1234567890.1234567890123", "1.5e-300", "inf"])
def test_a_body_ends_where_it_is_said_to(word: str, rest: str) -> None:
    table = read_table((word + rest).encode(), 0, len(word), 1, [], PAR)
    assert np.asarray(table.columns[0]).tolist() == [float(word)] and table.end == len(word)
