"""Schedules in the project file: what they become, and what is refused, with its place and fix."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from odibi_actors.config.model import CatchUpSpec, ConnectionSpec, ProjectSpec, ScheduleSpec, WatchSpec
from odibi_actors.config.received import unsound, unsound_schedule
from odibi_actors.config.schedules import read_schedule
from odibi_actors.errors import ConfigError
from tests.config.conftest import VALID, Project
from tests.config.scheduled import AT, pipeline, with_schedule


def loaded(project: Project, text: str) -> ScheduleSpec:
    """The schedule of that text, after a round trip as it travels and is kept."""
    project.write("odibi.yaml", with_schedule(text))
    spec = project.load()
    assert unsound(spec) == ""
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(spec), type=ProjectSpec) == spec
    assert msgspec.json.decode(msgspec.json.encode(spec), type=ProjectSpec) == spec
    (schedule,) = spec.pipelines[1].schedules
    return schedule


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


# --- what they become -------------------------------------------------------------------------------------------------


def test_given_only_a_name_and_a_time_then_all_else_is_the_default_of_the_spec(project: Project) -> None:
    assert loaded(project, '{name: a, cron: "0 * * * *"}') == ScheduleSpec("a", cron="0 * * * *")
    assert loaded(project, "{name: a, every: 5m}") == ScheduleSpec("a", every=300.0)
    assert loaded(project, "{name: a, after: delays}") == ScheduleSpec("a", after=["delays"], overlap="buffer_one")
    watch = WatchSpec(str(project.root / "data/landing"))
    assert loaded(project, "{name: a, file_watch: {connection: landing}}") == ScheduleSpec(
        "a", file_watch=watch, overlap="buffer_all"
    )


def test_given_every_key_then_the_spec_holds_it(project: Project) -> None:
    found = loaded(
        project,
        '{name: a, description: d, cron: "0 30 6 * * mon-fri", timezone: Europe/Berlin, dst: literal, overlap: allow, '
        "catch_up: {window: 1d, policy: all, max: 7, grace: 5s}, jitter: 90s, start: 2026-01-01, end: 2027-01-01, "
        'exclude: [2026-12-25, "2026-12-26"], deadline: 30m, paused: true, params: {region: eu, days: [1, 2]}}',
    )
    assert found == ScheduleSpec(
        name="a",
        description="d",
        cron="0 30 6 * * mon-fri",
        timezone="Europe/Berlin",
        dst="literal",
        overlap="allow",
        catch_up=CatchUpSpec(window=86400.0, policy="all", max=7, grace=5.0),
        jitter=90.0,
        start=seconds("2026-01-01T00:00+01:00"),
        end=seconds("2027-01-01T00:00+01:00"),
        exclude=["2026-12-25", "2026-12-26"],
        deadline=1800.0,
        paused=True,
        params={"region": "eu", "days": [1, 2]},
    )


@pytest.mark.parametrize(
    ("when", "overlap"),
    [
        ('cron: "@daily"', "skip"),
        ("every: 1s", "skip"),
        ("after: delays", "buffer_one"),
        ("file_watch: {path: in}", "buffer_all"),
        ("file_watch: {path: in, per: file}", "buffer_all"),
        ("file_watch: {path: in, per: set}", "buffer_one"),
    ],
)
def test_given_no_overlap_then_the_one_of_its_kind_holds_and_a_written_one_wins(
    project: Project, when: str, overlap: str
) -> None:
    assert loaded(project, f"{{name: a, {when}}}").overlap == overlap
    assert loaded(project, f"{{name: a, {when}, overlap: cancel}}").overlap == "cancel"


@pytest.mark.parametrize(
    ("written", "names", "any_of"),
    [
        ("delays", ["delays"], False),
        ("[delays, other]", ["delays", "other"], False),
        ("{all: [other, delays]}", ["other", "delays"], False),
        ("{any: [delays, other]}", ["delays", "other"], True),
    ],
)
def test_given_a_form_of_after_then_names_and_how_many_are_needed(
    project: Project, written: str, names: list[str], any_of: bool
) -> None:
    text = with_schedule(f"{{name: a, after: {written}}}") + pipeline("other", trigger="manual")
    project.write("odibi.yaml", text)
    schedule = project.load().pipelines[1].schedules[0]
    assert (schedule.after, schedule.after_any) == (names, any_of)


@pytest.mark.parametrize(
    ("written", "folder"),
    [
        ("{connection: landing}", "data/landing"),
        ("{connection: landing, path: orders/./new}", "data/landing/orders/new"),
        ("{path: inbox}", "inbox"),
        ("{path: .}", "."),
    ],
)
def test_given_a_watched_folder_then_it_is_absolute(project: Project, written: str, folder: str) -> None:
    watch = loaded(project, f"{{name: a, file_watch: {written}}}").file_watch
    assert watch is not None
    assert watch == WatchSpec(os.path.normpath(project.root / folder))


def test_given_pattern_per_and_settle_then_they_are_kept(project: Project) -> None:
    watch = loaded(
        project, "x".replace("x", '{name: a, file_watch: {path: in, pattern: "**/*.csv", per: set, settle: 10s}}')
    ).file_watch
    assert watch == WatchSpec(str(project.root / "in"), "**/*.csv", "set", 10.0)


@pytest.mark.parametrize(
    ("text", "zone", "instant"),
    [
        ("2026-07-01", "Europe/Berlin", "2026-06-30T22:00:00+00:00"),
        ("2026-07-01T06:30", "America/New_York", "2026-07-01T10:30:00+00:00"),
        ('"2026-07-01 06:30:15"', "UTC", "2026-07-01T06:30:15+00:00"),
        ("2026-07-01T06:30Z", "Europe/Berlin", "2026-07-01T06:30:00+00:00"),
        ("2026-07-01T06:30:00-04:00", "Europe/Berlin", "2026-07-01T10:30:00+00:00"),
        ("2026-10-25T02:30", "Europe/Berlin", "2026-10-25T00:30:00+00:00"),  # shown twice: the first
        ("2026-03-29T02:30", "Europe/Berlin", "2026-03-29T01:30:00+00:00"),  # skipped: 03:30
    ],
)
def test_given_a_start_without_offset_then_it_is_local_time_of_the_zone(
    project: Project, text: str, zone: str, instant: str
) -> None:
    assert loaded(project, f"{{name: a, every: 1h, timezone: {zone}, start: {text}}}").start == seconds(instant)


def test_given_an_end_in_the_past_or_sources_that_are_all_batch_then_it_is_accepted(project: Project) -> None:
    assert loaded(project, "{name: a, every: 1h, end: 2001-01-01}").end == seconds("2001-01-01T00:00+00:00")


def test_given_schedules_of_one_name_in_two_pipelines_then_they_are_two(project: Project) -> None:
    project.write("odibi.yaml", with_schedule("{name: a, every: 1h}") + pipeline("other", "{name: a, every: 2h}"))
    assert [one.schedules[0].every for one in project.load().pipelines[1:]] == [3600.0, 7200.0]


# --- what is refused --------------------------------------------------------------------------------------------------

REFUSED = [
    # exactly one kind, and only keys that mean something
    ("{name: a}", ["29:9: {S}: needs one of: cron, every, after, file_watch"]),
    ("{every: 1h}", ['29:9: {S}: the key "name" is missing; Name, unique in the pipeline.']),
    ("{name: A, every: 1h}", [
        "29:16: {S}.name: must be a name: lower-case letters, digits, _ ([a-z][a-z0-9_]*) (got A)"]),
    ('{name: a, every: 1h, cron: "@daily"}', [
        '29:30: {S}.cron: only one of cron, every, after, file_watch, and "every" is there; keep one']),
    ("{name: a, evry: 1h}", ['29:19: {S}.evry: unknown key; did you mean "every"?']),
    ("{name: a, every: 1h, dst: utc}", [
        "29:35: {S}.dst: does not apply: every counts seconds, whatever the clocks show; delete it"]),
    ("{name: a, every: 1h, timezone: Europe/Berlin}", [
        "29:40: {S}.timezone: does not apply: without start, end and exclude nothing of it is read in a zone; "
        "delete it"]),
    *(
        (f"{{name: a, after: delays, {key}: {value}}}", [
            f"29:{len(key) + 36}: {{S}}.{key}: does not apply: after follows commits, not the clock; delete it"])
        for key, value in (("jitter", "1s"), ("start", "2026-01-01"), ("end", "2026-01-01"), ("timezone", "UTC"),
                           ("dst", "utc"))
    ),
    ("{name: a, after: delays, exclude: [2026-01-01], catch_up: {max: 1}}", [
        "29:34: {S}.exclude: does not apply: after follows commits, not the clock; delete it",
        "29:57: {S}.catch_up: does not apply: after follows commits, not the clock; delete it"]),
    ("{name: a, file_watch: {path: in}, jitter: 1s}", [
        "29:51: {S}.jitter: does not apply: file_watch follows files, not the clock; delete it"]),
    # cron
    ('{name: a, cron: "61 * * * *"}', ["29:25: {S}.cron: minute: 61 is not from 0 to 59 (got 61 * * * *)"]),
    ('{name: a, cron: "0 0 31 2 *"}', [
        "29:25: {S}.cron: '0 0 31 2 *' never comes: no month has such a day (got 0 0 31 2 *)"]),
    ("{name: a, cron: 5}", ['29:25: {S}.cron: must be text (got 5); quote it: "5"']),
    # numbers and durations
    ("{name: a, every: 100ms}", ["29:26: {S}.every: must be whole seconds, at least 1s (got 100ms); such as 5m"]),
    ("{name: a, every: 0s}", ["29:26: {S}.every: must be whole seconds, at least 1s (got 0s); such as 5m"]),
    ("{name: a, every: 1.5s}", ["29:26: {S}.every: must be whole seconds, at least 1s (got 1500ms); such as 5m"]),
    ("{name: a, every: 5}", ["29:26: {S}.every: not a duration (got 5); "
        "write a number and a unit, such as 250ms, 10s, 5m, 1h or 7d"]),
    ("{name: a, every: 3h, jitter: 61m}", ["29:38: {S}.jitter: at most 1h (got 61m)"]),
    ("{name: a, every: 1m, jitter: 60s}", ["29:38: {S}.jitter: must be shorter than every, which is 1m (got 1m)"]),
    ("{name: a, every: 1m, deadline: 999ms}", ["29:40: {S}.deadline: must be at least 1s (got 999ms)"]),
    ("{name: a, every: 1m, catch_up: {max: 0}}", ["29:46: {S}.catch_up.max: must be from 1 to 10000 (got 0)"]),
    ("{name: a, every: 1m, catch_up: {max: 10001}}", ["29:46: {S}.catch_up.max: must be from 1 to 10000 (got 10001)"]),
    ("{name: a, every: 1m, catch_up: {window: 0s}}", ["29:49: {S}.catch_up.window: must be at least 1s (got 0s)"]),
    ("{name: a, every: 1m, catch_up: {policy: newest}}", [
        "29:49: {S}.catch_up.policy: unknown value (got newest); one of: latest, all, none"]),
    ("{name: a, every: 1m, catch_up: all}", [
        "29:40: {S}.catch_up: must be a mapping (got all); keys: window, policy, max, grace"]),
    ("{name: a, every: 1m, overlap: queue}", [
        "29:39: {S}.overlap: unknown value (got queue); one of: skip, buffer_one, buffer_all, allow, cancel"]),
    ("{name: a, every: 1m, paused: 1}", ["29:38: {S}.paused: must be true or false (got 1)"]),
    ("{name: a, every: 1m, params: [1]}", ["29:38: {S}.params: must be a mapping"]),
    ("{name: a, every: 1m, params: {n: 99999999999999999999}}", [
        "29:42: {S}.params.n: does not fit into 64 bits (got 99999999999999999999); quote it"]),
    (f"{{name: a, every: 1m, params: {{text: {'x' * 65536}}}}}", [
        "29:30: {S}.params: longer than 65536 bytes as JSON; each run carries them: name a file instead"]),
    # zones and dates
    ('{name: a, cron: "@daily", timezone: europe/berlin}', [
        '29:45: {S}.timezone: unknown time zone (got europe/berlin); did you mean "Europe/Berlin"?']),
    ('{name: a, cron: "@daily", timezone: New_York}', [
        '29:45: {S}.timezone: unknown time zone (got New_York); did you mean "America/New_York"?']),
    ('{name: a, cron: "@daily", timezone: Europe/Berln}', [
        '29:45: {S}.timezone: unknown time zone (got Europe/Berln); did you mean "Europe/Berlin"?']),
    ('{name: a, cron: "@daily", timezone: ../../etc/passwd}', [
        "29:45: {S}.timezone: unknown time zone (got ../../etc/passwd); "
        "write an IANA name, such as UTC or America/New_York"]),
    ('{name: a, cron: "@daily", timezone: 2}', ['29:45: {S}.timezone: must be text (got 2); quote it: "2"']),
    ("{name: a, every: 1h, start: tomorrow}", ["29:37: {S}.start: not a date or time (got tomorrow); "
        "write 2026-12-25, 2026-12-25T06:00 or 2026-12-25T06:00:00+01:00"]),
    ("{name: a, every: 1h, start: 2026-02-30}", [
        "29:37: {S}.start: there is no such day: day is out of range for month (got 2026-02-30)"]),
    ("{name: a, every: 1h, start: 2026-02-03T25:00}", [
        "29:37: {S}.start: there is no such time: hour must be in 0..23 (got 2026-02-03T25:00)"]),
    ("{name: a, every: 1h, end: 2100-01-01}", [
        "29:35: {S}.end: must be from 1970-01-02 to 2099-12-31 (got 2100-01-01)"]),
    ("{name: a, every: 1h, start: 2026-05-01, end: 2026-05-01}", [
        "29:54: {S}.end: must be later than start (got 2026-05-01); start is 2026-05-01"]),
    ("{name: a, every: 1h, start: 2026-05-01T00:00Z, end: 2026-04-30T23:00-01:00}", [
        "29:61: {S}.end: must be later than start (got 2026-04-30T23:00-01:00); start is 2026-05-01T00:00Z"]),
    ("{name: a, every: 1h, exclude: 2026-05-01}", [
        "29:39: {S}.exclude: must be a list (got 2026-05-01); write [2026-05-01]"]),
    ("{name: a, every: 1h, exclude: [25.12.]}", [
        "29:40: {S}.exclude[0]: not a date (got 25.12.); write it as 2026-12-25"]),
    ("{name: a, every: 1h, exclude: [2026-05-01, 2026-05-01]}", [
        "29:52: {S}.exclude[1]: listed twice (got 2026-05-01)"]),
    ("{name: a, every: 1h, exclude: [2026-13-01]}", [
        "29:40: {S}.exclude[0]: there is no such day: month must be in 1..12 (got 2026-13-01)"]),
    # what can never come
    ('{name: a, cron: "0 0 29 2 *", start: 2026-01-01, end: 2028-02-29}', [
        "29:9: {S}: is never due from start on, before end, outside exclude; widen it, or delete the schedule"]),
    ("{name: a, every: 1h, start: 2026-05-01, end: 2026-05-02, exclude: [2026-05-01]}", [
        "29:9: {S}: is never due from start on, before end, outside exclude; widen it, or delete the schedule"]),
    ('{name: a, every: 366d, start: 2099-06-01, exclude: [2099-06-01]}', [
        "29:9: {S}: is never due from start on; widen it, or delete the schedule"]),
    # after
    ("{name: a, after: delay}", ['29:26: {S}.after: unknown pipeline (got delay); did you mean "delays"?']),
    ("{name: a, after: report}", [
        "29:26: {S}.after: a pipeline cannot come after itself (got report); name another, or use every"]),
    ("{name: a, after: [delays, x]}", ["29:35: {S}.after[1]: unknown pipeline (got x); other pipelines: delays"]),
    ("{name: a, after: [delays, delays]}", ["29:35: {S}.after[1]: listed twice (got delays)"]),
    ("{name: a, after: {any: [x]}}", ["29:33: {S}.after.any[0]: unknown pipeline (got x); other pipelines: delays"]),
    ("{name: a, after: {some: [delays]}}", [
        "29:26: {S}.after: needs one of: all, any",
        "29:27: {S}.after.some: unknown key; known keys: all, any"]),
    ("{name: a, after: {all: [delays], any: [delays]}}", [
        '29:42: {S}.after.any: only one of all, any, and "all" is there; keep one']),
    ("{name: a, after: []}", ["29:26: {S}.after: must not be empty"]),
    ("{name: a, after: }", ["29:19: {S}.after: is empty; give it a value or delete the key"]),
    # file_watch
    ("{name: a, file_watch: {pattern: x}}", [
        '29:19: {S}.file_watch: the key "path" is missing; path: data/landing, or a connection']),
    ("{name: a, file_watch: {path: ../x}}", [
        "29:38: {S}.file_watch.path: leads out of the project's folder (got ../x); "
        "write a path below it, or name a connection"]),
    ("{name: a, file_watch: {path: /etc}}", [
        "29:38: {S}.file_watch.path: leads out of the project's folder (got /etc); "
        "write a path below it, or name a connection"]),
    ("{name: a, file_watch: {connection: landing, path: a/../..}}", [
        "29:59: {S}.file_watch.path: leads out of the connection's folder (got a/../..); "
        "write a path below it, or name a connection"]),
    ("{name: a, file_watch: {path: .odibi/spool}}", [
        "29:38: {S}.file_watch.path: lies in data_dir, which belongs to the system; choose another place"]),
    ("{name: a, file_watch: {path: nodes/flights.py}}", [
        "29:38: {S}.file_watch.path: is a file; a folder is watched (got nodes/flights.py); "
        "name the file in pattern"]),
    ("{name: a, file_watch: {path: in, pattern: ../x}}", [
        "29:51: {S}.file_watch.pattern: leads out of the folder (got ../x); such as *.csv"]),
    ("{name: a, file_watch: {connection: landng}}", [
        '29:44: {S}.file_watch.connection: unknown connection (got landng); did you mean "landing"?']),
    ("{name: a, file_watch: {connection: mart}}", [
        "29:44: {S}.file_watch.connection: files are watched in a local connection; mart is sqlite; "
        "or leave it out, and give a path of the project"]),
    ("{name: a, file_watch: {path: in, per: day}}", [
        "29:47: {S}.file_watch.per: unknown value (got day); one of: file, set"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), REFUSED)
def test_given_a_schedule_that_cannot_be_then_it_is_told_where_what_and_how_to_fix(
    project: Project, text: str, expected: list[str]
) -> None:
    project.write("odibi.yaml", with_schedule(text))
    assert project.problems() == ["odibi.yaml:" + line.replace("{S}", AT.split(": ")[1]) for line in expected]


def test_given_two_schedules_of_one_name_then_the_second_is_refused(project: Project) -> None:
    project.write("odibi.yaml", VALID + pipeline("report", "{name: a, every: 1h}", "{name: a, every: 2h}"))
    assert project.problems() == [
        "odibi.yaml:30:16: pipelines[1].schedules[1].name: duplicate schedule name; first on line 29 (got a)"
    ]


def test_given_pipelines_after_each_other_then_the_cycle_is_named(project: Project) -> None:
    links = [pipeline(name, f"{{name: x, after: {given}}}") for name, given in (("a", "c"), ("b", "[a]"), ("c", "b"))]
    project.write("odibi.yaml", VALID + "".join(links))
    assert project.problems() == [
        "odibi.yaml:29:26: pipelines[1].schedules[0].after: cycle: a after c after b after a; take one of these away"
    ]


def test_given_a_chain_of_pipelines_then_it_is_no_cycle(project: Project) -> None:
    links = [pipeline("a", "{name: x, after: delays}"), pipeline("b", "{name: x, after: [a, delays]}")]
    project.write("odibi.yaml", VALID + "".join(links))
    assert [one.schedules[0].after for one in project.load().pipelines[1:]] == [["delays"], ["a", "delays"]]


def test_given_a_trigger_without_schedules_or_the_other_way_round_then_it_is_refused(project: Project) -> None:
    project.write("odibi.yaml", VALID + pipeline("report"))
    assert project.problems() == [
        "odibi.yaml:27:14: pipelines[1].trigger: trigger: schedule needs schedules; "
        'schedules: [{name: hourly, cron: "0 * * * *"}]'
    ]
    project.write("odibi.yaml", VALID + pipeline("report", "{name: a, every: 1h}", trigger="manual"))
    assert project.problems() == [
        "odibi.yaml:27:14: pipelines[1].trigger: schedules are for trigger: schedule, this one is manual; "
        "trigger: schedule"
    ]
    project.write("odibi.yaml", VALID + "    schedules: [{name: a, every: 1h}]\n")
    assert project.problems() == [
        "odibi.yaml:26:5: pipelines[0].schedules: schedules are for trigger: schedule, this one is data; "
        "trigger: schedule"
    ]


def test_given_an_empty_list_then_schedules_are_added_while_it_runs(project: Project) -> None:
    project.write("odibi.yaml", VALID + pipeline("report", more="    schedules: []\n"))
    report = project.load().pipelines[1]
    assert (report.trigger, report.schedules) == ("schedule", [])


def test_given_a_misspelt_trigger_then_nothing_else_is_said_of_it(project: Project) -> None:
    project.write("odibi.yaml", VALID + pipeline("report", "{name: a, every: 1h}", trigger="schedul"))
    assert project.problems() == [
        'odibi.yaml:27:14: pipelines[1].trigger: unknown value (got schedul); did you mean "schedule"?'
    ]


# --- as plain values, for the command line ----------------------------------------------------------------------------


def read(project: Project, values: dict[str, Any], pipelines: tuple[str, ...] = ("delays", "report")) -> ScheduleSpec:
    connections = {"landing": ConnectionSpec("landing", "local", str(project.root / "data/landing"))}
    return read_schedule(values, project.root, connections, list(pipelines), pipeline="report")


def test_given_plain_values_then_the_spec_is_that_of_the_file(project: Project) -> None:
    values = {"name": "a", "cron": "0 6 * * *", "timezone": "Europe/Berlin", "exclude": ["2026-12-25"], "jitter": "5s"}
    text = '{name: a, cron: "0 6 * * *", timezone: Europe/Berlin, exclude: [2026-12-25], jitter: 5s}'
    assert read(project, values) == loaded(project, text)
    watch = {"name": "a", "file_watch": {"connection": "landing", "per": "set"}}
    assert read(project, watch) == loaded(project, "{name: a, file_watch: {connection: landing, per: set}}")
    after = {"name": "a", "after": {"any": ["delays"]}}
    assert read(project, after) == loaded(project, "{name: a, after: {any: [delays]}}")


def test_given_numbers_and_flags_as_text_then_they_are_understood_but_in_params(project: Project) -> None:
    found = read(
        project,
        {
            "name": "a",
            "every": "1m",
            "paused": "true",
            "catch_up": {"max": "7"},
            "params": {"n": "7", "m": 7, "x": None},
        },
    )
    assert (found.paused, found.catch_up.max, found.params) == (True, 7, {"n": "7", "m": 7, "x": None})


def test_given_wrong_values_then_all_are_told_without_places(project: Project) -> None:
    with pytest.raises(ConfigError) as caught:
        read(project, {"name": "a", "every": "0s", "cron": "x", "after": ["delays", "y"], "paused": "maybe"})
    assert str(caught.value).split("\n") == [
        'after: only one of cron, every, after, file_watch, and "every" is there; keep one',
        "cron: 'x' has 1 fields; a cron expression has 5 (minute, hour, day of month, month, day of week), or 6 with "
        "seconds first (got x)",
        'cron: only one of cron, every, after, file_watch, and "every" is there; keep one',
        "every: must be whole seconds, at least 1s (got 0s); such as 5m",
        "paused: must be true or false (got maybe)",
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "needs one of: cron, every, after, file_watch"),
        ({"every": "1m"}, 'the key "name" is missing'),
        ({"name": "a", "every": "1m", "params": {"x": object()}}, "params.x: is no plain value (got object)"),
        ({"name": "a", "every": "1m", "description": "\udc80"}, "description: holds what is no character"),
        ({"name": "a", "every": None}, "every: is empty"),
        ({"name": "a", "file_watch": {"path": ".odibi"}}, "file_watch.path: lies in data_dir"),
        ({"name": "a", "after": "report"}, "after: a pipeline cannot come after itself"),
    ],
)
def test_given_a_value_that_cannot_be_then_it_is_refused(
    project: Project, values: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(project, values)
    assert str(caught.value).startswith(expected)


def test_given_endless_nesting_then_it_is_refused(project: Project) -> None:
    deep: dict[str, Any] = {}
    deep["x"] = deep
    with pytest.raises(ConfigError, match="nested deeper than 32 levels"):
        read(project, {"name": "a", "every": "1m", "params": deep})


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "name": st.just("a"),
    "cron": st.sampled_from(["* * * * *", "0 0 29 2 *", "@hourly"]) | st.text("0123456789*/-,#lw@ ", max_size=12),
    "every": st.sampled_from(["1s", "90s", "1h", "1ms"]),
    "after": st.sampled_from(["delays", ["delays"], {"any": ["delays"]}, {"all": ["delays"]}]),
    "file_watch": st.fixed_dictionaries(
        {"path": st.text("a./", min_size=1, max_size=6)}, optional={"per": st.sampled_from(["file", "set"])}
    ),
    "timezone": st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "Mars/Base"]),
    "dst": st.sampled_from(["vixie", "literal", "utc"]),
    "jitter": st.sampled_from(["0s", "1s", "1m", "2h"]),
    "start": st.datetimes(datetime(1960, 1, 1), datetime(2110, 1, 1)).map(lambda at: at.isoformat(timespec="seconds")),
    "end": st.dates().map(str),
    "exclude": st.lists(st.dates().map(str), max_size=3),
    "catch_up": st.fixed_dictionaries({}, optional={"max": st.integers(), "window": st.sampled_from(["0s", "1d"])}),
    "deadline": st.sampled_from(["0s", "1s", "3d"]),
    "params": st.dictionaries(st.text(max_size=4), _PLAIN, max_size=3),
}


SCHEDULES = st.fixed_dictionaries(
    {"name": st.just("a")}, optional={key: value for key, value in _VALUES.items() if key not in ("name", "params")}
)
"""Schedules of the right shape; most of them are refused for what their keys say together."""


def attempt(project: Project, values: dict[str, Any]) -> ScheduleSpec | ConfigError:
    try:
        return read(project, values)
    except ConfigError as error:
        return error


@given(st.fixed_dictionaries({}, optional={key: value | _PLAIN for key, value in _VALUES.items()}))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_values_are_refused_or_a_sound_schedule_that_travels(project: Project, values: dict[str, Any]) -> None:
    spec = attempt(project, values)
    if isinstance(spec, ConfigError):
        assert spec.problems
        return
    assert unsound_schedule(spec, {"delays": None, "report": None}, "report") == ""
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(spec), type=ScheduleSpec)
    assert repr(again) == repr(spec)  # nan is not equal to itself


@given(SCHEDULES)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_file_and_the_command_line_take_and_say_the_same(project: Project, values: dict[str, Any]) -> None:
    text = msgspec.json.encode(values).decode()  # JSON is YAML
    project.write("odibi.yaml", with_schedule(text))
    expected = attempt(project, values)
    if isinstance(expected, ScheduleSpec):
        assert project.load().pipelines[1].schedules == [expected]
        return
    with pytest.raises(ConfigError) as caught:
        project.load()
    at = "pipelines[1].schedules[0]"
    told = sorted((one.path.removeprefix(at).lstrip("."), one.message) for one in caught.value.problems)
    assert told == sorted((one.path, one.message) for one in expected.problems)


WHOLE = (
    VALID
    + pipeline(
        "report",
        '{name: a, cron: "0 6 * * mon-fri", timezone: Europe/Berlin, dst: literal, exclude: [2026-12-25]}',
        "{name: b, every: 5m, start: 2026-01-01T06:00, end: 2027-01-01, jitter: 5s, catch_up: {policy: all, max: 5}}",
        "{name: c, after: {any: [delays]}, overlap: cancel, deadline: 1h, params: {x: [1, {y: 2}]}}",
        "{name: d, file_watch: {connection: landing, path: in, pattern: '*.csv', per: set, settle: 1s}}",
    )
    + "alerts:\n  - {on: [failure], webhook: 'https://a.b:8/c'}\n  - {log: true, throttle: 1h}\n"
)


@given(st.integers(len(VALID), len(WHOLE)), st.integers(0, 30), st.text(max_size=6) | st.text("0123456789:-/.*{}[]"))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_mutated_project_is_refused_with_places_or_sound(project: Project, at: int, cut: int, put: str) -> None:
    project.write("odibi.yaml", (WHOLE[:at] + put + WHOLE[at + cut :]).encode("utf-8", "surrogatepass"))
    try:
        spec = project.load()
    except ConfigError as error:
        wrong = [problem for problem in error.problems if problem.line < 1 or not problem.message]
    else:
        wrong = [unsound(spec)] if unsound(spec) else []
    assert not wrong
