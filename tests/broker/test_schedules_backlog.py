"""Past the bound of undurable records no schedule sets anything off; what was held back comes once there is room."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from odibi_actors.checkpoint import records as rec
from tests.broker.harness import pipeline
from tests.broker.scheduling import Timed, hourly, occurrence, scheduled
from tests.broker.test_arrivals import Chain


def fill(broker: Timed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is behind by as much as it may be: one record more would be past the bound."""
    monkeypatch.setattr("broker.journal.MAX_BACKLOG", max(1, broker.flow.journal.backlog))
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
