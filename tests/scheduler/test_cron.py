"""What a cron expression means, and which are refused, on the naive wall clock."""

from __future__ import annotations

from datetime import datetime
from itertools import islice

import pytest

from odibi_actors.scheduler.cron import CronError, parse

START = datetime(2026, 1, 1)  # a Thursday


@pytest.mark.parametrize(
    ("text", "walls"),
    [
        ("30 2 * * *", ["01-01 02:30", "01-02 02:30"]),
        ("@hourly", ["01-01 01:00", "01-01 02:00"]),
        ("0 9-17/4 * * mon-fri", ["01-01 09:00", "01-01 13:00", "01-01 17:00", "01-02 09:00"]),
        ("0 0 L * *", ["01-31 00:00", "02-28 00:00"]),
        ("0 0 15W * *", ["01-15 00:00", "02-16 00:00"]),
        ("0 0 * * fri#2", ["01-09 00:00", "02-13 00:00"]),
        ("0 0 * * 5L", ["01-30 00:00", "02-27 00:00"]),
        ("0 0 * * L5", ["01-30 00:00", "02-27 00:00"]),
        ("0 0 * * 7", ["01-04 00:00", "01-11 00:00"]),
        ("0 0 * * fri-sun", ["01-02 00:00", "01-03 00:00", "01-04 00:00", "01-09 00:00"]),
        ("0 0 13 * fri", ["01-02 00:00", "01-09 00:00", "01-13 00:00"]),
        ("0 0 * * 0-0/2", ["01-04 00:00", "01-11 00:00"]),
        ("10 4-4 * * *", ["01-01 04:10", "01-02 04:10"]),
    ],
)
def test_an_expression_gives_these_walls(text: str, walls: list[str]) -> None:
    found = [wall.strftime("%m-%d %H:%M") for wall in islice(parse(text).walls(START), len(walls))]
    assert found == walls


def test_six_fields_have_seconds_first() -> None:
    found = [wall.strftime("%H:%M:%S") for wall in islice(parse("*/20 1 0 * * *").walls(START), 4)]
    assert found == ["00:01:00", "00:01:20", "00:01:40", "00:01:00"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("* * * *", "has 4 fields"),
        ("@often", "is not known"),
        ("60 * * * *", "minute: 60 is not from 0 to 59"),
        ("0 0 31 2 *", "never comes"),
        ("0 0 31 4,6 *", "never comes"),
        ("59/15 * * * *", "read differently"),
        ("*/0 * * * *", "step"),
        ("*/90 * * * *", "step"),
        ("5-1 * * * *", "runs backwards"),
        ("0 0 * * sunday", "day of week: 'sunday'"),
        ("0 0 * * mon#6", "first to a fifth"),
        ("0 0 ? * 1", "day of month: '?'"),
        ("R R * * *", "minute: 'r'"),
        ("H 2 * * *", "minute: 'h'"),
        ("0 0 1,15W * *", "W"),
        ("*-5 * * * *", "mixes"),
        ("0 " * 200, "at most"),
        ("٣ * * * *", "is not a number"),
    ],
)
def test_what_users_misread_is_refused_with_the_mend(text: str, says: str) -> None:
    with pytest.raises(CronError, match=says.replace("?", r"\?")):
        parse(text)
