"""What breaking the scheduler by hand has found, second round: slow stores, wrong clocks, changed watches."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from odibi_actors.broker import journal, scheduling
from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import BatchSpec, PipelineSpec, ProjectSpec, ScheduleSpec, WatchSpec
from odibi_actors.messages import LOCAL, SOURCE, Apply, Discover, Hello, Offer, Reply, Request, Tick
from odibi_actors.model import TRIGGER
from tests.broker.harness import CLIENT, pipeline, position
from tests.broker.scheduling import Timed, hourly, scheduled
from tests.broker.test_backfills import given


def of(*specs: PipelineSpec) -> ProjectSpec:
    return ProjectSpec("t", "/", "/data", 1, list(specs), code_digest="code")


def said_again(broker: Timed, verb: str, **params: Any) -> list[int]:
    """A client that repeats its request, as the store takes longer than it waits; the statuses of all answers."""
    broker.say(CLIENT, Hello("client", "c1", "host", 9))
    broker.take(Reply)
    for _ in range(2):
        broker.say(CLIENT, Request("42", verb, params))
        broker.now += 2.5
    broker.durable()
    return [one.status for one in broker.take(Reply)]


def test_given_a_slow_store_when_the_cancel_of_a_backfill_is_repeated_then_it_is_not_said_to_be_unknown() -> None:
    broker = given()
    broker.backfill(files={"": "f*"})
    assert said_again(broker, "backfill.cancel", pipeline="p", lane=broker.lane)[0] == 0


def test_given_a_slow_store_when_the_removal_of_a_schedule_is_repeated_then_it_is_not_said_to_be_unknown() -> None:
    broker = Timed(scheduled(hourly())).start()
    broker.ask("schedule.add", pipeline="p", spec={"name": "mine", "every": 60.0})
    assert said_again(broker, "schedule.remove", pipeline="p", schedule="mine")[0] == 0


def test_given_a_full_journal_when_a_pipeline_lingers_then_the_broker_does_not_spin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal, "MAX_BACKLOG", 20)
    broker = Timed(pipeline(batch=BatchSpec(max_files=100, linger=1.0))).start()
    for number in range(40):
        broker.ask("worker.scale", workers=number + 1)
    broker.offer("f1")
    broker.wait(5.0)
    deadline = broker.flow.deadline()
    assert deadline is None or deadline > broker.now


def test_given_any_time_when_a_tick_comes_just_then_then_the_run_asks_again() -> None:
    for number in range(400):
        broker = Timed(pipeline(trigger="manual"))
        broker.now = 1000.0 + number * 2.4917
        broker.start()
        broker.ask("pipeline.trigger", pipeline="p", run="m")
        asked = broker.flow.pipelines["p"].run
        assert asked is not None
        broker.take(Discover)
        broker.now = asked.asked_at + 5.0
        broker.say(LOCAL, Tick())
        broker.now += 0.5
        broker.say(LOCAL, Tick())
        assert broker.take(Discover), broker.now


def test_given_a_schedule_resumed_while_the_clock_was_wrong_when_it_is_right_again_then_somebody_is_told() -> None:
    broker = Timed(scheduled(hourly())).start()
    broker.beat(0, 4.07e9)
    for verb in ("pause", "resume"):
        broker.ask(f"schedule.{verb}", pipeline="p", schedule="hourly")
    broker.beat(0, 1.7e9)
    row = broker.ask("schedule.show", pipeline="p", schedule="hourly")
    assert row is not None
    assert row.result["problem"]  # all until 2098 is skipped as "paused"


def test_given_many_schedules_that_were_removed_when_one_is_added_then_it_is_not_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scheduling, "MAX_ADDED", 10)
    broker = Timed(scheduled(hourly())).start()
    for number in range(12):
        reply = broker.ask("schedule.add", pipeline="p", spec={"name": f"t{number}", "every": 60.0})
        assert reply is not None
        assert reply.status == 0, reply.error
        broker.ask("schedule.remove", pipeline="p", schedule=f"t{number}")


def test_given_an_open_backfill_when_the_pipeline_becomes_stateful_then_it_is_refused_or_the_backfill_ends() -> None:
    broker = given()
    broker.backfill(files={"": "f*"})
    spec = pipeline()
    nodes = [replace(node, state=node.name == "t") for node in spec.nodes]
    broker.say(CLIENT, Apply("apply", of(replace(spec, nodes=nodes))))
    one = broker.flow.pipelines["p"]
    assert not (one.stateful and one.backfills)


def test_given_files_offered_for_a_watch_when_it_watches_another_folder_then_they_do_not_set_it_off() -> None:
    def watch(folder: str) -> ScheduleSpec:
        return ScheduleSpec("w", file_watch=WatchSpec(folder), overlap="buffer_all")

    broker = Timed(scheduled(watch("/in"))).start()
    broker.ask("pipeline.pause", pipeline="p")
    source = broker.flow.schedules.source("p", "w")
    assert source is not None
    broker.say(SOURCE, Offer(1, "f1", "p", "w", source.seq, [position("old")], "", True, TRIGGER))
    broker.say(CLIENT, Apply("apply", of(scheduled(watch("/other")))))
    broker.ask("pipeline.resume", pipeline="p")
    assert [one.id for one in broker.of(rec.Occurrence)] == []
