"""The answer that the soak compares with: it must see one row that is lost, doubled or wrong among many."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.system.arrivals import Arrivals, Row, compare

FILES = 40


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    arrivals = Arrivals(tmp_path / "project", random.Random(1))
    for _ in range(FILES):
        arrivals.deliver()
    return list(arrivals.expected("lake flights"))


def test_given_the_same_rows_in_another_order_when_compared_then_it_holds(rows: list[Row]) -> None:
    assert compare("x", rows, reversed(rows)).holds
    assert len(rows) > FILES


def test_given_one_row_lost_doubled_or_wrong_when_compared_then_each_is_counted(rows: list[Row]) -> None:
    other = (*rows[2][:-1], "nobody")
    found = compare("x", rows, [*rows[1:2], other, *rows[3:], rows[5], rows[5]])
    assert (found.lost, found.doubled, found.wrong) == (2, 2, 1)
    assert set(found.examples) == {rows[0], rows[2], rows[5], other}
    assert not found.holds


def test_given_delivered_files_when_the_answer_is_made_then_refused_and_malformed_ones_are_not_in_it(
    tmp_path: Path,
) -> None:
    arrivals = Arrivals(tmp_path / "project", random.Random(1))
    for _ in range(FILES):
        arrivals.deliver()
    aside = {f"flights-{n:06}.csv" for n in (11, 17, 22, 33, 34)}
    assert set(arrivals.aside()) == aside
    there = {row[0] // 1000 for row in arrivals.expected("lake checked")}
    assert there == set(range(1, FILES + 1)) - {11, 17, 22, 33, 34}
    days = {row[0] for row in arrivals.expected("mart days")}
    assert days == set(range(1, FILES + 1))
