"""Durations and sizes: the grammar, and exact round trips."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odibi_actors.units import MAX_SIZE, format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("10s", 10.0), ("5m", 300.0), ("1h", 3600.0), ("7d", 604800.0), ("1.5h", 5400.0), ("0s", 0.0)],
)
def test_a_duration_is_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("64KB", 64_000), ("256MB", 256_000_000), ("1MiB", 1_048_576), ("512B", 512), ("0.5KiB", 512), ("2kB", 2000)],
)
def test_a_size_is_bytes_and_kb_is_decimal(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "10", "s", "-1s", "1 s", "1e3s", "10S", "1s\n", "٣s", "1.s", "9" * 40 + "s", "99999d"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write a number|at most"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "10", "MB", "-1B", "1 MB", "0.5B", "1mb", "1B\n", "2000TiB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write a number|whole|at most"):
        parse_size(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(90, "90s"), (3600, "1h"), (0.25, "250ms"), (86400 * 30, "30d"), (0, "0s")]
)
def test_a_duration_reads_well(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(256_000_000, "256MB"), (2**20, "1MiB"), (1001, "1001B"), (0, "0B")])
def test_a_size_reads_well(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.decimals(0, 3660, places=6), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_whatever_parses_comes_back_the_same(number: object, unit: str) -> None:
    seconds = parse_duration(f"{number}{unit}")
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(0, MAX_SIZE))
def test_every_size_comes_back_the_same(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.text(max_size=20))
def test_any_text_is_a_value_or_a_valueerror(text: str) -> None:
    for parse in (parse_duration, parse_size):
        with contextlib.suppress(ValueError):
            assert parse(text) >= 0
