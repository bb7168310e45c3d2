"""Specs that came over the network: whatever no odibi.yaml could say is refused, whoever built it."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from odibi_actors.config import received
from odibi_actors.config.model import (
    AlertSpec,
    CatchUpSpec,
    ConnectionSpec,
    NodeSpec,
    PipelineSpec,
    ProjectSpec,
    ReadSpec,
    ScheduleSpec,
    WatchSpec,
    WorkerSpec,
)
from odibi_actors.config.received import after_cycle, unsound, unsound_schedule

CRON = ScheduleSpec("s", cron="0 6 * * *")
EVERY = ScheduleSpec("s", every=60.0)
AFTER = ScheduleSpec("s", after=["other"])
FILES = ScheduleSpec("s", file_watch=WatchSpec("/data/in", "*.csv"))
SOUND = [
    *(CRON, EVERY, AFTER, FILES),
    replace(CRON, timezone="Europe/Berlin", exclude=["2026-12-25"], start=1.0, end=2.0, jitter=3600.0),
    replace(EVERY, every=1.0, jitter=0.5, catch_up=CatchUpSpec(1.0, "all", 10_000, 0.0)),
    replace(AFTER, after=["other", "third"], after_any=True),
    replace(EVERY, deadline=1.0, params={"a": [1, {"b": None}]}),
]
DEEP: list[Any] = []
for _ in range(40):
    DEEP = [DEEP]


def watching(**changes: Any) -> ScheduleSpec:
    assert FILES.file_watch is not None
    return replace(FILES, file_watch=replace(FILES.file_watch, **changes))


UNSOUND = [
    (replace(CRON, name="S"), "is not a name"),
    (replace(CRON, name="a" * 65), "is not a name"),
    (ScheduleSpec("s"), "exactly one of"),
    (replace(CRON, every=60.0), "exactly one of"),
    (replace(AFTER, file_watch=FILES.file_watch), "exactly one of"),
    (replace(CRON, cron="61 * * * *"), "61 is not from 0 to 59"),
    (replace(CRON, cron="0 0 31 2 *"), "never comes"),
    (replace(CRON, cron="* " * 10_000), "at most 200 characters"),
    *((replace(EVERY, every=bad), "every is out of range") for bad in (0.1, 1.5, -60.0, 1e12, math.nan, math.inf)),
    *((replace(CRON, timezone=bad), "unknown time zone") for bad in ("", "Mars/Base", "../x", "/etc/x", "right/UTC",
        "localtime", "Europe", "a\0", "A" * 10_000)),
    (replace(AFTER, after=["nobody"]), "is no other pipeline"),
    (replace(AFTER, after=["me"]), "is no other pipeline"),
    (replace(AFTER, after=["other", "other"]), "twice"),
    (replace(CRON, after_any=True), "after_any"),
    (watching(folder="data/in"), "not absolute"),
    (watching(folder="/data/\0"), "not absolute"),
    (watching(folder="/data/../etc"), "not a tidy path"),
    (watching(folder="/" + "x" * 5000), "not absolute"),
    *((watching(pattern=bad), "its pattern") for bad in ("", "/x", "../x", "a/../b", "a\0")),
    (watching(settle=-1.0), "settle"),
    (watching(settle=math.nan), "settle"),
    *((replace(FILES, **{key: value}), "are for cron and every") for key, value in (
        ("jitter", 1.0), ("start", 1.0), ("end", 1.0), ("exclude", ["2026-01-01"]), ("catch_up", CatchUpSpec(max=1)))),
    (replace(AFTER, jitter=1.0), "are for cron and every"),
    *((replace(CRON, start=bad), "start or end") for bad in (-1.0, 0.5, 5e9, math.nan, math.inf)),
    (replace(CRON, end=math.nan), "start or end"),
    (replace(CRON, start=5.0, end=5.0), "end is not later"),
    (replace(CRON, exclude=["soon"]), "no date"),
    (replace(CRON, exclude=["2026-12-25"] * 1001), "more than 1000"),
    *((replace(CRON, jitter=bad), "jitter") for bad in (-1.0, 3601.0, math.nan)),
    (replace(EVERY, jitter=60.0), "jitter"),
    *((replace(CRON, catch_up=bad), "catch_up") for bad in (
        CatchUpSpec(window=0.0), CatchUpSpec(window=math.inf), CatchUpSpec(grace=-1.0), CatchUpSpec(max=0),
        CatchUpSpec(max=10_001))),
    *((replace(CRON, deadline=bad), "deadline") for bad in (0.5, -1.0, math.nan)),
    (replace(CRON, description="x" * 70_000), "description"),
    (replace(CRON, params={"a": DEEP}), "nested deeper"),
    (replace(CRON, params={"a": b"bytes"}), "no file could say"),
    (replace(CRON, params={"a": {1: 2}}), "no file could say"),
    (replace(CRON, params={"a": 2**63}), "no file could say"),
    (replace(CRON, params={"a": "x" * 70_000}), "longer than"),
]  # fmt: skip
NAMES = {"me": None, "other": None, "third": None}


@pytest.mark.parametrize("spec", SOUND)
def test_given_a_sound_schedule_then_nothing_is_said(spec: ScheduleSpec) -> None:
    assert unsound_schedule(spec, NAMES, "me") == ""
    assert unsound(project(scheduled("me", spec), plain("other"), plain("third"))) == ""


@pytest.mark.parametrize("limits", [WorkerSpec(max_tasks=0), WorkerSpec(max_memory=-1), WorkerSpec(max_memory=2**60)])
def test_given_limits_of_workers_no_file_could_say_then_they_are_refused(limits: WorkerSpec) -> None:
    assert unsound(replace(project(plain("other")), worker=limits)) == "the limits of a worker are out of range"


@pytest.mark.parametrize(("spec", "why"), UNSOUND)
def test_given_a_schedule_no_file_could_say_then_it_is_refused_alone_and_within_a_project(
    spec: ScheduleSpec, why: str
) -> None:
    assert why in unsound_schedule(spec, NAMES, "me")
    assert why in unsound(project(scheduled("me", spec), plain("other"), plain("third")))


def test_given_data_dir_then_a_schedule_may_not_watch_it() -> None:
    assert "lies in data_dir" in unsound_schedule(watching(folder="/state/spool"), NAMES, data_dir="/state")
    assert unsound_schedule(watching(folder="/state/spool"), NAMES) == ""


def test_given_no_pipeline_then_only_the_others_are_known() -> None:
    assert unsound_schedule(replace(AFTER, after=["me"]), NAMES) == ""


# --- whole projects ---------------------------------------------------------------------------------------------------


def plain(name: str) -> PipelineSpec:
    read = ReadSpec(ConnectionSpec("c", "local", "/data"), "csv", "file_watch")
    return PipelineSpec(name, [NodeSpec("n", read=read)])


def scheduled(name: str, *schedules: ScheduleSpec) -> PipelineSpec:
    return replace(plain(name), trigger="schedule", schedules=list(schedules))


def project(*pipelines: PipelineSpec) -> ProjectSpec:
    return ProjectSpec("test", "/", "/state", 2, list(pipelines), code_digest="code")


def test_given_two_schedules_of_one_name_then_the_project_is_refused() -> None:
    assert unsound(project(scheduled("me", CRON, EVERY))) == "pipeline me: two schedules s"
    assert unsound(project(scheduled("me", CRON), scheduled("other", CRON))) == ""


def test_given_schedules_and_another_trigger_then_the_project_is_refused() -> None:
    found = unsound(project(replace(scheduled("me", CRON), trigger="data")))
    assert found == "pipeline me: schedules, and trigger: data"


def test_given_a_schedule_that_watches_data_dir_then_the_project_is_refused() -> None:
    assert "lies in data_dir" in unsound(project(scheduled("me", watching(folder="/state/spool"))))
    assert "lies in data_dir" in unsound(project(scheduled("me", watching(folder="/state"))))
    assert unsound(project(scheduled("me", watching(folder="/states")))) == ""


def test_given_pipelines_after_each_other_then_the_project_is_refused() -> None:
    found = unsound(project(scheduled("me", AFTER), scheduled("other", replace(AFTER, after=["me"]))))
    assert found == "a cycle of pipelines: me after other after me"


def test_given_too_many_schedules_then_the_project_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (received.MAX_SCHEDULES, received.MAX_PROJECT_SCHEDULES) == (10_000, 200_000)
    monkeypatch.setattr(received, "MAX_SCHEDULES", 2)
    monkeypatch.setattr(received, "MAX_PROJECT_SCHEDULES", 3)
    three = [replace(CRON, name=name) for name in "abc"]
    assert unsound(project(scheduled("me", *three))) == "pipeline me: 3 schedules; at most 2"
    assert unsound(project(scheduled("me", *three[:2]), scheduled("other", *three[:2]))) == "4 schedules; at most 3"


@pytest.mark.parametrize(
    ("alert", "why"),
    [
        (AlertSpec(), "exactly one of"),
        (AlertSpec(log=True, command="x"), "exactly one of"),
        *((AlertSpec(command=bad), "command") for bad in ("/bin/sh", "../x", "a/../../x", "a\0", "a/../b", ".", "./a",
            "~/x", "a\nb", "x" * 5000)),
        *((AlertSpec(webhook=bad), "webhook") for bad in ("file:///x", "http://", "http://a:b@c", "http://[x", "x y",
            "https://a:0/", "https://é/", "https://a/\n")),
        (AlertSpec(log=True, throttle=-1.0), "throttle"),
        (AlertSpec(log=True, throttle=math.nan), "throttle"),
        (AlertSpec(log=True, on=["failure", "failure"]), "twice"),
    ],
)  # fmt: skip
def test_given_an_alert_no_file_could_say_then_the_project_is_refused(alert: AlertSpec, why: str) -> None:
    assert why in unsound(project(replace(plain("me"), alerts=[alert])))


def test_given_sound_alerts_then_nothing_is_said_unless_they_are_too_many() -> None:
    alerts = [AlertSpec(log=True), AlertSpec(command="bin/x y.sh"), AlertSpec(webhook="http://[::1]:8080/x")]
    assert unsound(project(replace(plain("me"), alerts=alerts))) == ""
    assert "201 alerts; at most 200" in unsound(project(replace(plain("me"), alerts=[AlertSpec(log=True)] * 201)))


@given(st.text(max_size=40))
def test_a_command_that_is_accepted_stays_below_its_folder(command: str) -> None:
    from odibi_actors.config.places import unsound_command

    if unsound_command(command) == "":
        assert not command.startswith(("/", "~"))
        assert "\0" not in command
        assert ".." not in command.split("/")


@given(st.text(max_size=30) | st.text("0123456789*/-,#lw@jan ", max_size=30), st.text(max_size=30))
def test_any_expression_and_zone_is_known_or_refused(cron: str, zone: str) -> None:
    unsound_schedule(replace(EVERY, every=0.0, cron=cron or "x"), NAMES)
    unsound_schedule(replace(CRON, timezone=zone), NAMES)


@given(st.dictionaries(st.sampled_from("abcde"), st.lists(st.sampled_from("abcde"), unique=True, max_size=3)))
def test_a_cycle_is_named_exactly_when_there_is_one(edges: dict[str, list[str]]) -> None:
    reach = {name: set(given) & set(edges) for name, given in edges.items()}
    for _ in edges:
        reach = {name: found | {far for near in found for far in reach[near]} for name, found in reach.items()}
    named = after_cycle(edges).split(" after ") if after_cycle(edges) else []
    assert bool(named) == any(name in found for name, found in reach.items())
    assert all(given in edges[name] for name, given in pairwise(named))
