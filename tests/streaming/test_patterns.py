"""Which names a source takes."""

from __future__ import annotations

import pytest

from odibi_actors.config.patterns import several, shown
from odibi_actors.streaming.patterns import Pattern, join, temporary, unsafe, utf8


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*.csv", "a.csv", True),
        ("*.csv", "a.CSV", False),
        ("*.csv", "in/a.csv", False),
        ("flights-*.csv", "flights-2013-01-01.csv", True),
        ("flights-[0-9]?.csv", "flights-12.csv", True),
        ("flights-[!0-9].csv", "flights-1.csv", False),
        ("*/*.csv", "2013/a.csv", True),
        ("*/*.csv", "2013/01/a.csv", False),
        ("**/*.csv", "a.csv", True),
        ("**/*.csv", "2013/01/a.csv", True),
        ("2013/**/*.csv", "2013/a.csv", True),
        ("2013/**/*.csv", "2014/a.csv", False),
        ("in/**", "in/x/y", True),
        ("in/**", "in", False),
        ("a**b.csv", "axb.csv", True),
        ("./*.csv", "a.csv", True),
        ("[.csv", "[.csv", True),
    ],
)
def test_given_a_pattern_when_matched_then_segments_never_cross_a_slash(
    pattern: str, name: str, expected: bool
) -> None:
    assert Pattern(pattern).matches(name) is expected


def test_given_a_pattern_when_asked_for_depth_then_only_two_stars_go_on_without_end() -> None:
    assert not Pattern("*.csv").descends(1)
    assert Pattern("*/*.csv").descends(1)
    assert not Pattern("*/*.csv").descends(2)
    assert Pattern("**/*.csv").descends(99)


@pytest.mark.parametrize(
    "name",
    [
        ".a.csv",
        "a.csv.tmp",
        "a.part",
        "a.staged",
        "a.csv~",
        ".git/a.csv",
        "x/_temporary/0/a.csv",
        "_current-0000000002-w.1-8/a",
    ],
)
def test_given_a_temporary_name_when_judged_then_the_reason_is_told(name: str) -> None:
    assert temporary(name)


def test_given_ordinary_names_when_judged_then_they_are_taken() -> None:
    assert not temporary("2013/a.csv")
    assert not temporary("tmp.csv")
    assert not temporary("_temporary.csv")
    assert not temporary("_current-2/a.csv")
    assert utf8("café.csv")
    assert not utf8("caf\udce9.csv")
    assert join(".", "a.csv") == "a.csv"
    assert join("in/./x", "a.csv") == "in/x/a.csv"
    assert unsafe("a/../../b")
    assert unsafe("/a")
    assert not unsafe("a..b/c")


SEVERAL = several(["*.csv", "in/**/*.txt"], ["*-test.*", "in/old/**"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.csv", True),
        ("in/a.csv", False),
        ("in/a.txt", True),
        ("in/x/y/a.txt", True),
        ("a.txt", False),
        ("a-test.csv", False),
        ("in/x/a-test.txt", False),
        ("in/old/a.txt", False),
        ("in/x/old/a.txt", True),
    ],
)
def test_given_several_patterns_when_matched_then_any_takes_a_file_but_for_those_excluded(
    name: str, expected: bool
) -> None:
    assert Pattern(SEVERAL).matches(name) is expected


def test_given_several_patterns_then_they_are_shown_and_bounded_each_by_itself() -> None:
    assert shown(SEVERAL) == "*.csv, in/**/*.txt, not **/*-test.*, not in/old/**"
    assert Pattern(several(["*.csv", "*/*.csv"])).depth == 1
    assert Pattern(SEVERAL).depth is None
    assert unsafe(several(["*.csv", "../*.csv"]))
    assert unsafe(several(["*.csv", "/a"]))
    assert several(["!odd.csv"]) == shown("!odd.csv") == "!odd.csv"
    assert Pattern("!odd.csv").matches("!odd.csv")
