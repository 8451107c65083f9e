"""Sizes and durations are read as people write them, and written as people read them."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmrun.units import format_duration, format_size, parse_duration, parse_size

SIZES = [
    ("512", 512),
    ("0", 0),
    ("7B", 7),
    ("64MiB", 64 * 2**20),
    ("128MB", 128_000_000),
    ("128mb", 128_000_000),
    ("1 kib", 1024),
    (" 2 GiB ", 2**31),
    ("3k", 3000),
    ("1.5KiB", 1536),
    ("0.5 GB", 500_000_000),
    ("1g", 10**9),
]
DURATIONS = [
    ("2", 2.0),
    ("2s", 2.0),
    ("500ms", 0.5),
    ("1.5 S", 1.5),
    ("250us", 0.00025),
    ("250µs", 0.00025),
    ("2m", 120.0),
    ("3min", 180.0),
    ("1h", 3600.0),
]
NOT_NUMBERS = [
    "",
    " ",
    "MiB",
    "-1",
    "+1",
    "1,5",
    "1.",
    ".5",
    "1e3",
    "0x10",
    "1 2",
    "nan",
    "inf",
    "٣",
    "5 apples",
    "1__0",
]


@pytest.mark.parametrize(("text", "size"), SIZES)
def test_size_is_read_from_text(text: str, size: int) -> None:
    """Decimal and binary units, any case, spaces around."""
    assert parse_size(text) == size


@pytest.mark.parametrize(("text", "seconds"), DURATIONS)
def test_duration_is_read_from_text(text: str, seconds: float) -> None:
    """From microseconds to hours."""
    assert parse_duration(text) == seconds


def test_size_and_duration_are_taken_as_numbers() -> None:
    """Bytes, seconds, and a timedelta."""
    assert parse_size(2**40) == 2**40
    assert parse_duration(3) == 3.0
    assert isinstance(parse_duration(3), float)
    assert parse_duration(0.25) == 0.25
    assert parse_duration(timedelta(minutes=1, milliseconds=5)) == 60.005


@pytest.mark.parametrize("text", [*NOT_NUMBERS, "1s", "1TiB", "9" * 31, "1." + "9" * 31, "9" * 5000])
def test_size_refuses_what_is_none_and_shows_how_it_is_written(text: str) -> None:
    """The error has the text and an example."""
    with pytest.raises(ValueError, match="is not a size; write for instance '64MiB'") as caught:
        parse_size(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", [*NOT_NUMBERS, "1MB", "1d", "9" * 31, "9" * 400])
def test_duration_refuses_what_is_none_and_shows_how_it_is_written(text: str) -> None:
    """The error has the text and an example."""
    with pytest.raises(ValueError, match="is not a duration; write for instance '2s'") as caught:
        parse_duration(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("value", [True, False, None, 1.5, b"5", [1]])
def test_size_refuses_other_types(value: object) -> None:
    """A half byte and a truth value are mistakes."""
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [True, None, b"5", [1]])
def test_duration_refuses_other_types(value: object) -> None:
    """A truth value is no number of seconds."""
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(value)  # type: ignore[arg-type]


def test_size_refuses_less_than_nothing() -> None:
    """A negative number of bytes."""
    with pytest.raises(ValueError, match="cannot be negative: -1"):
        parse_size(-1)


@pytest.mark.parametrize(
    "value", [-1, -0.001, math.nan, math.inf, 1e9, 10**400, "9" * 30, timedelta(seconds=-1), timedelta.max]
)
def test_duration_refuses_what_is_negative_or_endless(value: float | str | timedelta) -> None:
    """What no timer could be set to, however it is given."""
    with pytest.raises(ValueError, match="must be at least 0 and finite"):
        parse_duration(value)


@given(st.integers(0, 2**60))
def test_size_written_as_digits_is_read_exactly(size: int) -> None:
    """No float on the way."""
    assert parse_size(str(size)) == parse_size(f"{size} B") == size
    assert parse_size(f"{size}KiB") == size * 1024


@given(st.integers(0, 2**50))
def test_size_written_for_people_is_read_back_to_the_digits_shown(size: int) -> None:
    """What is shown can be given back as a setting: within half of its last digit."""
    assert abs(parse_size(format_size(size)) - size) <= max(1, size) * 0.051


@given(st.floats(1e-9, 1e8))
def test_duration_written_for_people_is_read_back_to_the_digits_shown(seconds: float) -> None:
    """Three digits, in every unit."""
    assert math.isclose(parse_duration(format_duration(seconds)), seconds, rel_tol=0.0051, abs_tol=0.0051e-6)


@given(st.text() | st.from_regex(r"\A[0-9]{1,40}(\.[0-9]{1,40})?[a-zA-Zµ]{0,4}\Z"))
def test_size_and_duration_refuse_text_with_one_kind_of_error(text: str) -> None:
    """Whatever is written: a value in range, or ValueError."""
    for parse, most in ((parse_size, 10**39), (parse_duration, 10**9)):
        try:
            value = parse(text)
        except ValueError:
            continue
        assert 0 <= value < most


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (64 * 2**20, "64 MiB"),
        (2**30 - 1, "1024.0 MiB"),
        (5 * 2**30, "5 GiB"),
        (3 * 2**40, "3072 GiB"),
    ],
)
def test_size_is_written_in_binary_units(size: int, text: str) -> None:
    """Whole numbers without a fraction."""
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00 µs"),
        (4.21e-6, "4.21 µs"),
        (52.4e-6, "52.4 µs"),
        (0.000_999, "999 µs"),
        (0.012, "12.0 ms"),
        (0.099_9, "99.9 ms"),
        (0.1, "100 ms"),
        (0.009_99, "9.99 ms"),
        (3, "3.00 s"),
        (40, "40.0 s"),
        (3600, "3600 s"),
    ],
)
def test_duration_is_written_with_three_digits(seconds: float, text: str) -> None:
    """In the unit that fits."""
    assert format_duration(seconds) == text
