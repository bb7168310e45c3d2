"""Changes of zones are those that the zone files list; and zones whose rules change while we run."""

from __future__ import annotations

import random
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice, pairwise
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from odibi_actors.config.model import ScheduleSpec
from odibi_actors.model import Place
from odibi_actors.scheduler.cron import parse
from odibi_actors.scheduler.timetable import Occurrence, first, occurrences
from odibi_actors.scheduler.zones import LOOK_EVERY, changes, forget_zones, offset, pieces
from tests.scheduler.all_zones import history
from tests.scheduler.expressions import random_expression
from tests.scheduler.tzif import changes_listed, fake, zone_file

END = 2_145_916_800  # 2038
HOUR = 3600
DAY = 86_400


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    "name", ["America/New_York", "Africa/Casablanca", "Pacific/Apia", "Africa/Monrovia", "Etc/UTC"]
)
def test_changes_are_those_that_the_zone_file_lists(name: str) -> None:
    _, found = history(name)  # compares them
    assert len(found) == len({start for start, _ in found})


def test_no_zone_changes_twice_within_a_look() -> None:
    names = available_timezones() - {"localtime", "Factory"}
    assert len(names) > 400
    for name in sorted(names):
        listed = changes_listed(zone_file(name), 0, END)
        assert all(later - former > 6 * LOOK_EVERY for (former, _), (later, _) in pairwise(listed)), name


def test_pieces_are_seamless_and_cut_at_the_changes() -> None:
    zone = ZoneInfo("America/New_York")
    start = at("2026-03-08T07:00")  # the instant of a change
    found = list(islice(pieces(zone, start), 30))
    assert found[0].start == start
    assert all(one.end == later.start and one.start < one.end for one, later in pairwise(found))
    assert all(offset(zone, one.start) == one.offset == offset(zone, one.end - 1) for one in found)
    cuts = [later.start for one, later in pairwise(found) if one.offset != later.offset]
    assert cuts == [change.start for change in changes(zone, start, found[-1].start)]


# A zone whose rules change


@pytest.fixture
def land(tmp_path: Path) -> Iterator[Path]:
    """The file of the zone ``Land``, which tests write."""
    zoneinfo.reset_tzpath([str(tmp_path)])
    yield tmp_path / "Land"
    zoneinfo.reset_tzpath()
    forget_zones()


def rule(land: Path, before: int, *transitions: tuple[int, int]) -> None:
    """From now on these are the rules."""
    land.write_bytes(fake(sorted(transitions), before))
    forget_zones()


def take(spec: ScheduleSpec, after: Place | float, count: int) -> list[Occurrence]:
    """Each found again from the place of the last one."""
    found: list[Occurrence] = []
    for _ in range(count):
        one = first(spec, after)
        assert one is not None
        found.append(one)
        after = one.place
    return found


def show(found: list[Occurrence]) -> list[str]:
    return [f"{datetime.fromtimestamp(one.due, UTC):%dT%H:%M} {one.id[8:16]}{one.id[19:]}" for one in found]


SPRING = at("2026-03-08T02:00")
"""In Land, which is UTC, the clock may go forward now."""


def test_given_rules_that_are_not_forgotten_when_they_change_then_the_old_ones_hold(land: Path) -> None:
    rule(land, 0)
    daily = ScheduleSpec("s", cron="30 2 * * *", timezone="Land")
    assert show(take(daily, SPRING, 1)) == ["08T02:30 08T02:30"]
    land.write_bytes(fake([(SPRING, HOUR)], 0))
    assert show(take(daily, SPRING - DAY, 2)) == ["07T02:30 07T02:30", "08T02:30 08T02:30"]
    forget_zones()
    assert show(take(daily, SPRING - DAY, 2)) == ["07T02:30 07T02:30", "08T02:00 08T02:30"]


def test_given_a_change_that_is_called_off_when_its_occurrence_has_run_then_it_does_not_run_again(land: Path) -> None:
    daily = ScheduleSpec("s", cron="30 2 * * *", timezone="Land")
    rule(land, 0, (SPRING, HOUR))
    [ran] = take(daily, SPRING - HOUR, 1)
    assert (ran.due, ran.note) == (SPRING, "skipped by the clock")
    rule(land, 0)
    assert show(take(daily, ran.place, 1)) == ["09T02:30 09T02:30"]
    assert show(take(daily, SPRING - HOUR, 1)) == ["08T02:30 08T02:30"]  # the same id, at another instant


def test_given_rules_that_move_the_clock_forward_when_learned_late_then_fixed_times_passed_over_are_due_at_once(
    land: Path,
) -> None:
    spec = ScheduleSpec("s", cron="0,30 9-12 * * *", timezone="Land")
    rule(land, 0)
    ran = take(spec, at("2026-03-08T09:45"), 1)
    assert show(ran) == ["08T10:00 08T10:00"]
    rule(land, 0, (SPRING, HOUR))
    assert show(take(spec, ran[0].place, 4)) == [
        "08T10:00 08T10:30",
        "08T10:00 08T11:00",
        "08T10:30 08T11:30",
        "08T11:00 08T12:00",
    ]


@pytest.mark.parametrize("cron", ["0 * * * *", "0 0-23 * * *"])
def test_given_rules_that_move_the_clock_back_when_learned_late_then_no_wall_time_runs_twice(
    land: Path, cron: str
) -> None:
    spec = ScheduleSpec("s", cron=cron, timezone="Land")
    rule(land, 0, (SPRING, HOUR))
    ran = take(spec, at("2026-03-08T08:30"), 1)
    assert show(ran) == ["08T09:00 08T10:00"]
    rule(land, 0)
    assert show(take(spec, ran[0].place, 2)) == ["08T11:00 08T11:00", "08T12:00 08T12:00"]


@pytest.mark.parametrize("cron", ["*/15 * * * *", "0-45/15 0-23 * * *"])
def test_given_a_step_forward_that_becomes_a_step_back_when_learned_late_then_no_id_comes_twice(
    land: Path, cron: str
) -> None:
    spec = ScheduleSpec("s", cron=cron, timezone="Land")
    rule(land, 0, (SPRING - 9 * DAY, HOUR), (SPRING, 3 * HOUR))
    found = take(spec, SPRING - HOUR, 6)  # 03:15, which the new rules show as 00:15, a second time
    rule(land, 0, (SPRING - 9 * DAY, HOUR), (SPRING, 0))
    found += take(spec, found[-1].place, 30)
    assert len({one.id for one in found}) == len(found)
    assert all(one.place < later.place for one, later in pairwise(found))


def test_given_a_step_back_that_is_called_off_in_the_hour_that_it_repeats_then_no_id_comes_twice(land: Path) -> None:
    spec = ScheduleSpec("s", cron="*/15 * * * *", timezone="Land")
    rule(land, HOUR, (SPRING, -900))
    found = take(spec, SPRING - HOUR, 5)
    assert [one.id[11:] for one in found[-3:]] == ["02:45:00", "01:45:00#1", "02:00:00#1"]
    noted_by_former_releases = Place(found[-1].due, found[-1].wall)
    assert [one.id[11:] for one in take(spec, noted_by_former_releases, 2)] == ["02:15:00#1", "02:30:00#1"]
    rule(land, 0)  # 02:00 goes on
    found += take(spec, found[-1].place, 20)
    assert len({one.id for one in found}) == len(found)


@st.composite
def rules(draw: st.DrawFn) -> list[tuple[int, int]]:
    """A few changes within days around SPRING, in quarters of an hour, more than a day apart."""
    days = draw(st.lists(st.integers(-2, 2), unique=True, max_size=3))
    return [
        (SPRING + day * 2 * DAY + draw(st.integers(0, 8)) * 900, draw(st.integers(-8, 8)) * 900) for day in sorted(days)
    ]


@settings(max_examples=150, deadline=None)
@example(45135, [[(1772589600, 3600), (1772935200, 0)], [(1772589600, 3600), (1772769600, -900)], []], "vixie")
@given(st.integers(0, 2**32), st.lists(rules(), min_size=2, max_size=4), st.sampled_from(["vixie", "literal"]))
def test_given_rules_that_change_again_and_again_then_nothing_is_in_the_past_nor_doubled_nor_a_fixed_time_lost(
    tmp_path_factory: pytest.TempPathFactory, seed: int, versions: list[list[tuple[int, int]]], dst: str
) -> None:
    folder = tmp_path_factory.mktemp("zones")
    rng = random.Random(seed)
    text = random_expression(rng, datetime.fromtimestamp(SPRING, UTC).date())
    spec = ScheduleSpec("s", cron=text, timezone="Land", dst=dst)  # type: ignore[arg-type]
    zoneinfo.reset_tzpath([str(folder)])
    try:
        rule(folder / "Land", 0, *versions[0])
        found = take(spec, float(SPRING - 5 * DAY), 1)
        for version in versions:
            rule(folder / "Land", 0, *version)
            found += take(spec, found[-1].place, rng.randint(1, 15))
            assert next(occurrences(spec, found[-1].place)).place > found[-1].place
    finally:
        zoneinfo.reset_tzpath()
        forget_zones()
    assert all(one.place < later.place for one, later in pairwise(found))
    firsts = [one.id for one in found if not one.fold]
    assert len(set(firsts)) == len(firsts)
    if dst == "vixie" and not parse(text).wild:
        walls = islice(parse(text).walls(datetime.fromisoformat(found[0].wall), inclusive=True), len(found))
        assert [one.wall for one in found] == [wall.isoformat() for wall in walls]
