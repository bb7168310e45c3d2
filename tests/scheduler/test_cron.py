"""What a cron expression means, and which are refused, on the naive wall clock."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
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
        ("0 0 * * 7-7", ["01-04 00:00", "01-11 00:00"]),
        ("0 0 * * sat-7", ["01-03 00:00", "01-04 00:00", "01-10 00:00"]),
        ("*/7 0 1 1 *", ["01-01 00:07", "01-01 00:14"]),
        ("0-10/50 0 * * *", ["01-02 00:00", "01-03 00:00"]),
        ("0 0 28,30 2 *", ["02-28 00:00", "02-28 00:00"]),
        ("0 0 29 2 *", ["02-29 00:00", "02-29 00:00"]),
        ("0 0 * * 5#5", ["01-30 00:00", "05-29 00:00"]),
        ("0 0 15,L 2 *", ["02-15 00:00", "02-28 00:00"]),
        ("0 0 L * mon", ["01-05 00:00", "01-12 00:00", "01-19 00:00", "01-26 00:00", "01-31 00:00"]),
        ("0 0 1,4 * mon,tue", ["01-04 00:00", "01-05 00:00", "01-06 00:00", "01-12 00:00"]),
        ("0 0 31 2 mon", ["02-02 00:00", "02-09 00:00"]),
        ("0 0 1 * 0-6", ["01-02 00:00", "01-03 00:00"]),
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
        ("0 0 ? * 1", "day of month: '?' is not used here; write \\*"),
        ("R R * * *", "minute: 'r'"),
        ("H 2 * * *", "minute: 'h'"),
        ("0 0 1,15W * *", "'15w' cannot stand in a list"),
        ("0 0 1W,15W * *", "'1w' cannot stand in a list"),
        ("0 0 15W,L * *", "'15w' cannot stand in a list"),
        ("0 0 31W * *", "not every month has a day 31"),
        ("0 0 L-3 * *", "'l-3' is not known; there are L"),
        ("0 0 LW * *", "'lw' is not known; there are L"),
        ("0 0 * * L", "day of week: 'l' is not a number from 0 to 7"),
        ("0 0 * * mon,fri#2", "'fri#2' cannot stand in a list with other days"),
        ("0 0 * * 1#0", "first to a fifth"),
        ("0 0 * * 5#٣", "is not a number"),
        ("0 0 15W * mon", "'15W' and '1' cannot be combined"),
        ("0 0 1 * 5L", "cannot be combined"),
        ("0 0 L * 1#1", "cannot be combined"),
        ("0 0 */2 * 1-5", "if either is to do, write '1-31/2'"),
        ("0 0 1 * */2", "if either is to do, write '0-6/2'"),
        ("*,5 * * * *", "lists \\* among others"),
        ("1,,2 * * * *", "minute: '1,,2' has an empty item"),
        (", * * * *", "empty item"),
        ("0-59/0 * * * *", "the step of '0-59/0' must be from 1 to 59"),
        ("*/5/2 * * * *", "is not a number"),
        ("-5 * * * *", "is not a number"),
        ("5- * * * *", "is not a number"),
        ("1.5 * * * *", "is not a number"),
        ("0 24 * * *", "hour: 24 is not from 0 to 23"),
        ("0 0 0 * *", "day of month: 0 is not from 1 to 31"),
        ("0 0 jan * *", "day of month: 'jan' is not a number from 1 to 31"),
        ("0 0 * mon *", "month: 'mon' is not a number from 1 to 12, or a name such as jan"),
        ("0 0 * * jan", "day of week: 'jan' is not a number from 0 to 7, or a name such as sun"),
        ("0 0 * * fri-mon", "runs backwards; write it as two, such as 5-7,0-1"),
        ("0 0 31 2,4 *", "never comes"),
        ("0 0 30 2 *", "never comes"),
        ("0 0 0 1 1 * 2026", "has 7 fields"),
        ("@reboot", "'@reboot' is not known; there are @yearly"),
        ("", "has 0 fields"),
        ("*-5 * * * *", "mixes"),
        ("0 " * 200, "at most"),
        ("٣ * * * *", "is not a number"),
    ],
)
def test_what_users_misread_is_refused_with_the_fix(text: str, says: str) -> None:
    with pytest.raises(CronError, match=says.replace("?", r"\?")):
        parse(text)


@pytest.mark.parametrize("text", ["0 0 15W * *", "0 0 1,L * mon"])
def test_threads_may_share_an_expression(text: str) -> None:
    starts = [datetime(1900 + 100 * number, 1, 1) for number in range(3)]
    cron = parse(text)
    alone = [list(islice(cron.walls(start), 600)) for start in starts]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(3) as pool:
            together = list(pool.map(lambda start: list(islice(cron.walls(start), 600)), starts))
    finally:
        sys.setswitchinterval(before)
    assert together == alone
