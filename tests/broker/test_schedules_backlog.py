"""Past the bound of undurable records no schedule sets anything off; what was held back comes once the store has caught
up, without anything else happening."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import ScheduleSpec, WatchSpec
from odibi_actors.messages import Planned
from odibi_actors.model import TRIGGER
from tests.broker.harness import pipeline
from tests.broker.scheduling import Timed, hourly, occurrence, scheduled
from tests.broker.test_arrivals import Chain, after, arrive


def fill(broker: Timed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is behind by as much as it may be: one record more would be past the bound."""
    monkeypatch.setattr("odibi_actors.broker.journal.MAX_BACKLOG", max(1, broker.flow.journal.backlog))
    if not broker.flow.journal.full:
        broker.ask("pipeline.pause", pipeline="other")
    assert broker.flow.journal.full


def test_given_a_full_backlog_when_an_occurrence_is_due_then_it_is_noted_only_once_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = Chain(scheduled(hourly()), replace(pipeline(trigger="manual"), name="other")).start()
    broker.durable()
    fill(broker, monkeypatch)
    assert broker.due(occurrence(1)) == []
    assert broker.of(rec.Occurrence) == []
    broker.durable()
    assert broker.due(occurrence(1)) == [occurrence(1).place]  # the scheduler says so until it is noted
    assert [run for run, _ in broker.runs()] == ["p.hourly@1970-01-01T01:00:00"]


def test_given_a_full_backlog_when_what_comes_before_commits_then_the_next_runs_once_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = Chain(replace(pipeline(trigger="manual"), name="a"), scheduled(after("a"), name="b")).start()
    broker.ask("pipeline.trigger", pipeline="a", run="r1")
    broker.discovered("f1", name="a")
    while tasks := broker.tasks():
        for task in tasks:
            broker.finish(task)
    broker.durable()
    monkeypatch.setattr("odibi_actors.broker.journal.MAX_BACKLOG", 1)
    for publication in broker.publications():
        broker.published(publication)
    assert len(broker.of(rec.Commit)) == 1
    assert broker.of(rec.Occurrence) == []
    broker.durable()
    assert [run for run, _ in broker.runs()] == ["r1", "b.follow@a=1"]


def test_given_a_full_backlog_when_files_arrive_then_they_set_off_runs_once_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch = ScheduleSpec("flags", file_watch=WatchSpec("/landing", "*.flag"), overlap="buffer_all")
    broker = Chain(scheduled(watch), replace(pipeline(trigger="manual"), name="other")).start()
    broker.durable()
    fill(broker, monkeypatch)
    arrive(broker, "a.flag")
    assert broker.of(rec.Occurrence) == []
    assert [m for m in broker.take(Planned) if m.lane == TRIGGER] == []
    broker.durable()
    assert [run for run, _ in broker.runs()] == ["p.flags@a.flag"]
