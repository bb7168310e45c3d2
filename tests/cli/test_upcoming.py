"""``odibictl schedule next``: occurrences of a schedule, and what daylight saving does to them, in plain words."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from click.testing import Result

from odibi_actors.cli import moments
from tests.cli.fake import FakeBroker
from tests.cli.scheduled import ANSWERS, FOLLOW, SPEC

Broker = Callable[..., FakeBroker]
Invoke = Callable[..., Result]

FORWARD = "clocks go forward 02:00 -> 03:00"
BACK = "clocks go back 02:00 -> 01:00"
NEW_YORK = "America/New_York"
PROJECT = """\
project: small
connections:
  landing: {type: local, path: data/landing}
  lake: {type: local, path: data/lake}
pipelines:
  - pipeline: copy
    trigger: schedule
    schedules:
      - {name: nightly, cron: "30 2 * * *", timezone: Europe/Berlin}
      - {name: both, every: 1h}
      - {name: held, every: 1d, paused: true}
    nodes: &nodes
      - name: incoming
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv"}
      - name: out
        inputs: [incoming]
        write: {connection: lake, path: out, format: parquet}
  - pipeline: other
    trigger: schedule
    schedules:
      - {name: both, after: copy}
    nodes:
      - name: incoming
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv"}
      - name: out
        inputs: [incoming]
        write: {connection: lake, path: other, format: parquet}
"""


@pytest.fixture
def scheduled(tmp_path: Path) -> Path:
    """A project with schedules; nothing runs."""
    (tmp_path / "odibi.yaml").write_text(PROJECT)
    return tmp_path


def notes(invoke: Invoke, *options: object) -> list[tuple[str, str]]:
    """(local time, note) of each occurrence."""
    result = invoke("schedule", "next", *options, "-o", "json")
    assert result.exit_code == 0, result.stderr
    return [(row["local"], row["note"]) for row in json.loads(result.stdout)["items"]]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (  # a fixed time in the gap
            ("--cron", "30 2 * * *", "--from", "2026-03-07", "-n", 3),
            [("07T02:30:00-05:00", ""), ("08T03:00:00-04:00", f"{FORWARD}: runs at once"), ("09T02:30:00-04:00", "")],
        ),
        (  # a fixed time that is shown twice
            ("--cron", "30 1 * * *", "--from", "2026-10-31T12:00", "-n", 2),
            [("01T01:30:00-04:00", f"{BACK}: runs the first time"), ("02T01:30:00-05:00", "")],
        ),
        (  # real time: skipped ones are skipped
            ("--cron", "*/30 * * * *", "--from", "2026-03-08T01:30", "-n", 3),
            [
                ("08T01:30:00-05:00", ""),
                ("08T03:00:00-04:00", f"{FORWARD}: 02:00, 02:30 skipped"),
                ("08T03:30:00-04:00", ""),
            ],
        ),
        (  # many of them are counted
            ("--cron", "*/10 * * * *", "--from", "2026-03-08T01:50", "-n", 2),
            [
                ("08T01:50:00-05:00", ""),
                ("08T03:00:00-04:00", f"{FORWARD}: 6 times skipped, 02:00 to 02:50"),
            ],
        ),
        (  # real time: repeated ones are repeated
            ("--cron", "0 * * * *", "--from", "2026-11-01T00:00", "-n", 4),
            [
                ("01T00:00:00-04:00", ""),
                ("01T01:00:00-04:00", f"{BACK}: first of two"),
                ("01T01:00:00-05:00", f"{BACK}: second of two"),
                ("01T02:00:00-05:00", ""),
            ],
        ),
        (  # literal: never in a gap
            ("--cron", "30 2 * * *", "--dst", "literal", "--from", "2026-03-07", "-n", 2),
            [("07T02:30:00-05:00", ""), ("09T02:30:00-04:00", f"{FORWARD}: 02:30 skipped")],
        ),
        (  # literal: twice in an overlap
            ("--cron", "30 1 * * *", "--dst", "literal", "--from", "2026-11-01", "-n", 2),
            [("01T01:30:00-04:00", f"{BACK}: first of two"), ("01T01:30:00-05:00", f"{BACK}: second of two")],
        ),
        (  # utc: what moves is the local time
            ("--cron", "0 12 * * *", "--dst", "utc", "--from", "2026-10-31", "-n", 2),
            [("31T08:00:00-04:00", ""), ("01T07:00:00-05:00", f"{BACK}: local time shifts")],
        ),
    ],
)  # fmt: skip
def test_given_a_change_of_clocks_then_each_note_says_what_becomes_of_the_occurrence(
    invoke: Invoke, options: tuple[object, ...], expected: list[tuple[str, str]]
) -> None:
    found = notes(invoke, *options, "--timezone", NEW_YORK)
    assert [(local[8:], note) for local, note in found] == expected


def test_given_a_schedule_of_the_project_then_nothing_needs_to_run(invoke: Invoke, scheduled: Path) -> None:
    result = invoke("--project", scheduled, "schedule", "next", "nightly", "--from", "2026-10-24", "-n", 3)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "UTC                   LOCAL                         NOTE",
        "2026-10-24T00:30:00Z  Sat 2026-10-24 02:30:00 CEST  -",
        "2026-10-25T00:30:00Z  Sun 2026-10-25 02:30:00 CEST  clocks go back 03:00 -> 02:00: runs the first time",
        "2026-10-26T01:30:00Z  Mon 2026-10-26 02:30:00 CET   -",
    ]


def test_given_json_then_each_row_has_id_instant_and_both_times(invoke: Invoke, scheduled: Path) -> None:
    result = invoke(
        "--project", scheduled, "schedule", "next", "copy.both", "--from", "2026-03-01", "-n", 1, "-o", "json"
    )
    assert json.loads(result.stdout) == {
        "schema": 1, "pipeline": "copy", "schedule": "both", "timezone": "UTC",
        "items": [{"occurrence": "2026-03-01T00:00:00", "due": 1772323200, "utc": "2026-03-01T00:00:00Z",
                   "local": "2026-03-01T00:00:00+00:00", "note": ""}],
    }  # fmt: skip


def test_given_a_name_of_several_pipelines_then_2_names_them(invoke: Invoke, scheduled: Path) -> None:
    result = invoke("--project", scheduled, "schedule", "next", "both")
    assert result.exit_code == 2
    assert "name one of: copy.both, other.both" in result.stderr


def test_given_a_schedule_that_follows_no_clock_then_it_says_so(invoke: Invoke, scheduled: Path) -> None:
    result = invoke("--project", scheduled, "schedule", "next", "other.both", "-o", "json")
    assert (result.exit_code, json.loads(result.stdout)["items"]) == (0, [])
    assert "other.both follows copy, not the clock" in result.stderr


def test_given_a_paused_schedule_then_its_times_are_told_and_that_it_is_paused(invoke: Invoke, scheduled: Path) -> None:
    result = invoke("--project", scheduled, "schedule", "next", "held", "-n", 2, "-o", "name")
    assert len(result.stdout.splitlines()) == 2
    assert "copy.held is paused" in result.stderr


def test_given_a_schedule_added_by_cli_then_the_running_system_is_asked(
    broker: Broker, invoke: Invoke, scheduled: Path
) -> None:
    fake = broker(
        {**ANSWERS, "schedule.show": {**FOLLOW, "schedule": "x", "kind": "cron", "spec": {**SPEC, "jitter": 5.0}}}
    )
    result = invoke("--endpoint", fake.endpoint, "--project", scheduled, "schedule", "next", "sales.x", "-n", 1)
    assert result.exit_code == 0, result.stderr
    assert "starts up to 5.00s later" in result.stderr
    assert "left out: 2026-12-25 (exclude)" in result.stderr
    assert len(fake.requests("schedule.show")) == 1


@pytest.mark.parametrize(
    ("where", "code", "message"),
    [("project", 3, "did you mean 'nightly'?"), ("nowhere", 2, "is no project: there is no odibi.yaml")],
)
def test_given_an_unknown_name_and_nothing_running_then_3_or_outside_of_a_project_2(
    invoke: Invoke, scheduled: Path, tmp_path: Path, where: str, code: int, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    folder = scheduled if where == "project" else tmp_path / "empty"
    result = invoke("--project", folder, "schedule", "next", "nightli")
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "name a schedule, or give --cron EXPR"),
        (("nightly", "--cron", "@daily"), "one of the two"),
        (("nightly", "--timezone", "UTC"), "go with --cron"),
        (("--cron", "61 * * * *"), "cron: minute"),
        (("--cron", "@daily", "--timezone", "berlin"), "Europe/Berlin"),
        (("--cron", "@daily", "--from", "soon"), "not a date or time"),
        (("--cron", "@daily", "--from", "2026-02-30"), "no such day"),
        (("--cron", "@daily", "-n", 0), "0 is not in the range"),
    ],
)
def test_given_what_cannot_be_then_2_says_what_to_write(
    invoke: Invoke, options: tuple[object, ...], message: str
) -> None:
    result = invoke("schedule", "next", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_given_a_time_then_it_is_one_of_the_zone_unless_it_says_otherwise(invoke: Invoke) -> None:
    cron = ("--cron", "0 * * * *", "--timezone", NEW_YORK, "-n", 1)
    assert notes(invoke, *cron, "--from", "2026-01-01T02:00")[0][0] == "2026-01-01T02:00:00-05:00"
    assert notes(invoke, *cron, "--from", "2026-01-01T02:00:00Z")[0][0] == "2025-12-31T21:00:00-05:00"


# --- moments ----------------------------------------------------------------------------------------------------------


def test_given_a_moment_then_it_is_as_short_as_is_clear() -> None:
    zone = ZoneInfo(NEW_YORK)
    now = datetime(2026, 7, 30, 18, 0, tzinfo=UTC).timestamp()  # 14:00 there
    at = [now + 720, now + 90_000, now + 40 * 86_400, now + 5]
    assert [moments.clock(one, zone, now) for one in at] == [
        "14:12 EDT", "Fri 15:00 EDT", "2026-09-08 14:00 EDT", "14:00:05 EDT",
    ]  # fmt: skip
    assert [moments.until(one, now) for one in (*at[:2], now - 3)] == ["in 12m", "in 25h", "now"]


def test_given_an_occurrence_then_its_wall_time_is_as_short_as_is_clear() -> None:
    zone = ZoneInfo(NEW_YORK)
    now = datetime(2026, 7, 31, 3, 0, tzinfo=UTC).timestamp()  # still the 30th there
    assert moments.wall("2026-07-30T13:00:00", zone, now) == "13:00"
    assert moments.wall("2026-07-27T01:30:05#1", zone, now) == "Mon 01:30:05 (second)"
    assert moments.wall("orders=12", zone, now) == "orders=12"


def test_given_a_zone_this_machine_does_not_know_then_times_are_shown_in_utc() -> None:
    assert moments.zone_of("Mars/Olympus").key == moments.zone_of(None).key == "UTC"
