"""A broker that dies after any of its records: each occurrence is still noted once, and what waits runs once."""

from __future__ import annotations

import pytest

from odibi_actors.checkpoint import records as rec
from odibi_actors.messages import SCHEDULER, Due, Dues
from tests.broker.restart import snapshot
from tests.broker.scheduling import Timed, hourly, occurrence, scheduled

HOURS = 6


def life(overlap: str) -> Timed:
    """Some hours of a schedule, with data in every second one."""
    broker = Timed(scheduled(hourly(overlap=overlap, deadline=600.0))).start()
    for number in range(1, HOURS + 1):
        broker.due(occurrence(number))
        if number % 3 == 0:
            go_on(broker)
    return broker


def go_on(broker: Timed) -> None:
    """Let the runs that are active come to their end."""
    while broker.flow.pipelines["p"].live.active:
        if broker.flow.pipelines["p"].run is not None:
            broker.discovered(f"f{broker.epoch}-{len(broker.records)}")
        broker.complete()


def told_from_its_place(broker: Timed) -> None:
    """The scheduler tells all that follows the place, as it would after a restart."""
    place = broker.flow.schedules.find("p", "hourly").place
    left = [one for n in range(1, HOURS + 1) if (one := occurrence(n)).place > place]
    if left:
        broker.now = max(broker.now, left[-1].due)
        broker.say(SCHEDULER, Due(broker.epoch, broker.now, [Dues("p", "hourly", place, left)]))


@pytest.mark.parametrize("overlap", ["skip", "buffer_one", "buffer_all", "allow", "cancel"])
def test_given_a_crash_after_any_record_when_it_goes_on_then_no_occurrence_is_lost_or_doubled(overlap: str) -> None:
    whole = life(overlap).records
    first = next(i for i, r in enumerate(whole) if isinstance(r, rec.Schedule)) + 1
    for end in range(first, len(whole) + 1):
        before = Timed(scheduled(hourly(overlap=overlap)))
        before.records = whole[:end]
        items, last = snapshot(before)
        again = Timed(recover=True)
        again.now = 50_000.0
        again.start(items, epoch=2, last_seq=last)
        told_from_its_place(again)
        go_on(again)
        records = [*whole[:end], *again.records]
        noted = [r.id for r in records if isinstance(r, rec.Occurrence)]
        skipped = [r.last for r in records if isinstance(r, rec.Skip) and r.place is not None]
        assert sorted(noted + skipped) == [occurrence(n).id for n in range(1, HOURS + 1)], end
        given_up = [r.first for r in records if isinstance(r, rec.Skip) and r.place is None]
        started = [r.trigger.occurrence for r in records if isinstance(r, rec.Run)]
        assert sorted(started + given_up) == sorted(noted), end
        ended = {r.run: r.state for r in records if isinstance(r, rec.RunEnd)}
        assert set(ended) == {f"p.hourly@{one}" for one in started}, end
        snapshot(before_and(before, records[end:], whole[:end]))


def before_and(broker: Timed, more: list[rec.AnyRecord], former: list[rec.AnyRecord]) -> Timed:
    """What both brokers wrote; the store takes it without a contradiction (see ``snapshot``)."""
    broker.records = [*former, *more]
    return broker


def test_given_counters_and_last_run_when_the_broker_is_back_then_they_are_as_before() -> None:
    broker = life("skip")
    items, last = snapshot(broker)
    again = Timed(recover=True)
    again.now = broker.now
    again.start(items, epoch=2, last_seq=last)
    for verb in ("schedule.show", "schedule.list"):
        rows = []
        for one in (broker, again):
            reply = one.ask(verb, pipeline="p", **({"schedule": "hourly"} if verb == "schedule.show" else {}))
            assert reply is not None
            rows.append(reply.result)
        assert rows[0] == rows[1]


def test_given_a_manual_run_that_has_ended_when_asked_for_again_after_a_restart_then_it_is_not_started_twice() -> None:
    broker = Timed(scheduled(hourly())).start()
    broker.ask("pipeline.trigger", pipeline="p", run="r1")
    broker.discovered()
    items, last = snapshot(broker)
    again = Timed(recover=True).start(items, epoch=2, last_seq=last)
    reply = again.ask("pipeline.trigger", pipeline="p", run="r1")
    assert reply is not None
    assert (reply.status, reply.result["run"]) == (0, "r1")
    assert again.of(rec.Run) == []
    again.durable()
    ended = again.ask("run.wait", run="r1")
    assert ended is not None
    assert ended.result["state"] == "no_data"
