"""The examples of docs/configuration.md about schedules and alerts load, and its tables say what the calendar does."""

from __future__ import annotations

import re
import textwrap
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from odibi_actors.config.kinds import Choice
from odibi_actors.config.model import ScheduleSpec
from odibi_actors.config.received import MAX_PROJECT_SCHEDULES, MAX_SCHEDULES
from odibi_actors.config.schedule_keys import SCHEDULE
from odibi_actors.scheduler.judge import LATE, OUTSIDE, OVER, PAUSED, SUPERSEDED
from odibi_actors.scheduler.timetable import occurrences
from tests.config.conftest import VALID, Project
from tests.config.scheduled import NODES, pipeline

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.startswith("schedules:")])
def test_given_an_example_of_schedules_then_it_loads(project: Project, block: str) -> None:
    others = pipeline("orders", trigger="manual") + pipeline("payments", trigger="manual")
    head = "  - pipeline: example\n    trigger: schedule\n"
    project.write("odibi.yaml", VALID + others + head + textwrap.indent(block, "    ") + NODES.format(name="example"))
    assert len(project.load().pipelines[-1].schedules) == block.count("- {name:")


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.startswith("alerts:")])
def test_given_an_example_of_alerts_then_it_loads(project: Project, block: str) -> None:
    project.write("bin/alert.sh", "#!/bin/sh\n")
    (project.root / "bin/alert.sh").chmod(0o755)
    project.write("odibi.yaml", VALID + block)
    assert len(project.load().pipelines[0].alerts) == 3


def test_given_the_examples_then_each_kind_has_one() -> None:
    text = "".join(block for block in BLOCKS if block.startswith("schedules:"))
    assert all(f" {kind}: " in text for kind in SCHEDULE.one_of)
    assert any(block.startswith("alerts:") for block in BLOCKS)


def test_given_the_table_of_changing_clocks_then_the_calendar_agrees() -> None:
    rows = re.findall(r"^\| `([\d* ]+)` \| ([\w`, ]+) \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 4
    for cron, policies, march, october in rows:
        for dst in re.findall(r"`(\w+)`", policies):
            assert due(cron, dst, "2026-03-29") == told(march), (cron, dst)
            assert due(cron, dst, "2026-10-25") == told(october), (cron, dst)


def told(cell: str) -> list[str]:
    times = re.findall(r"\d\d:\d\d", cell)
    return times * 2 if "both times" in cell else times


def due(cron: str, dst: str, day: str) -> list[str]:
    """Local times between 01:00 and 04:00 (an hourly one) or 05:00 at which it is due."""
    first, last = (
        datetime.fromisoformat(f"{day}T{hour}").replace(tzinfo=BERLIN).timestamp()
        for hour in ("00:59:59", "05:00" if cron.startswith("30 2") else "04:00")
    )
    spec = ScheduleSpec("a", cron=cron, timezone="Europe/Berlin", dst=dst, end=last)  # type: ignore[arg-type]
    return [f"{datetime.fromtimestamp(one.due, BERLIN):%H:%M}" for one in occurrences(spec, first)]


def test_given_the_reasons_and_policies_of_the_code_then_the_page_names_them() -> None:
    assert all(f"`{reason}`" in PAGE for reason in (PAUSED, OUTSIDE, LATE, SUPERSEDED, OVER))
    overlap = SCHEDULE.keys["overlap"].kind
    assert isinstance(overlap, Choice)
    assert all(f"| `{value}` |" in PAGE for value in overlap.values)
    assert f"{MAX_SCHEDULES:,} schedules of a pipeline, {MAX_PROJECT_SCHEDULES:,} of a project" in PAGE
