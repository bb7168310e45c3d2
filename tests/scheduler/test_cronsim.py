"""Where cronsim is right, the differential test asks it too. Where it is not, these show why it is not asked."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim, CronSimError

from odibi_actors.scheduler.cron import parse
from odibi_actors.scheduler.timetable import cron_occurrences
from tests.scheduler.differential import for_cronsim

NEW_YORK = ZoneInfo("America/New_York")


def theirs(text: str, zone: ZoneInfo, after: datetime, count: int) -> list[str]:
    found = islice(CronSim(text, after.astimezone(zone)), count)
    return [f"{wall.astimezone(UTC):%m-%dT%H:%M:%S}" for wall in found]


def ours(text: str, zone: ZoneInfo, after: datetime, count: int) -> list[str]:
    found = islice(cron_occurrences(parse(text), zone, "vixie", after.timestamp()), count)
    return [f"{datetime.fromtimestamp(one.due, UTC):%m-%dT%H:%M:%S}" for one in found]


def test_started_while_a_time_is_shown_again_cronsim_answers_with_the_past() -> None:
    after = datetime(2026, 11, 1, 6, 10, tzinfo=UTC)  # 01:10 for the second time
    assert theirs("30 1 * * *", NEW_YORK, after, 1) == ["11-01T05:30:00"]
    assert ours("30 1 * * *", NEW_YORK, after, 1) == ["11-02T06:30:00"]


def test_several_times_that_the_clock_skips_are_one_to_cronsim() -> None:
    after = datetime(2026, 3, 8, 6, tzinfo=UTC)
    assert theirs("0,30 2 * * *", NEW_YORK, after, 2) == ["03-08T07:00:00", "03-09T06:00:00"]
    assert ours("0,30 2 * * *", NEW_YORK, after, 3) == ["03-08T07:00:00", "03-08T07:00:00", "03-09T06:00:00"]


def test_cronsim_runs_skipped_times_at_the_whole_minute_that_follows() -> None:
    after = datetime(1972, 1, 7, tzinfo=UTC)  # Monrovia goes from -0:44:30 to UTC
    monrovia = ZoneInfo("Africa/Monrovia")
    assert theirs("30 0 * * *", monrovia, after, 1) == ["01-07T00:45:00"]
    assert ours("30 0 * * *", monrovia, after, 1) == ["01-07T00:44:30"]


def test_six_fields_follow_real_time_in_cronsim() -> None:
    after = datetime(2026, 3, 8, 6, tzinfo=UTC)
    assert theirs("0 30 2 * * *", NEW_YORK, after, 1) == ["03-09T06:30:00"]
    assert ours("0 30 2 * * *", NEW_YORK, after, 1) == ["03-08T07:00:00"]


def test_a_range_of_one_with_a_step_goes_on_in_cronsim() -> None:
    after = datetime(2026, 1, 1, tzinfo=UTC)
    assert theirs("53-53/4 * * * *", ZoneInfo("UTC"), after, 2) == ["01-01T00:53:00", "01-01T00:57:00"]
    assert ours("53-53/4 * * * *", ZoneInfo("UTC"), after, 2) == ["01-01T00:53:00", "01-01T01:53:00"]


@pytest.mark.parametrize("text", ["0 0 15W * *", "0 0 * * L5", "0 0 * * friL", "0 0 * * fri-sun", "@daily"])
def test_what_cronsim_does_not_know(text: str) -> None:
    parse(text)
    with pytest.raises(CronSimError):
        CronSim(text, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("30 1 * * fri-sun", "30 1 * * 5-7"),
        ("30 1 * * friL", "30 1 * * 5L"),
        ("@daily", "0 0 * * *"),
        ("*/5 1 * * *", ""),
        ("0 0 15W * *", ""),
        ("0 30 1 * * *", ""),
    ],
)
def test_what_cronsim_is_asked(text: str, asked: str) -> None:
    assert for_cronsim(text) == asked
