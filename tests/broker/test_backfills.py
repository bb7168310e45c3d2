"""Backfills: a lane of their own, behind live runs, refused where a second order makes no sense."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from odibi_actors.broker.lane import Backfilling
from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import PipelineSpec
from odibi_actors.messages import (
    SCHEDULER,
    SOURCE,
    STORE,
    Discover,
    Durable,
    Hello,
    Message,
    Offer,
    Reply,
    Request,
    Sources,
    Tasks,
)
from odibi_actors.model import LIVE
from tests.broker.harness import CLIENT, Failure, pipeline, position
from tests.broker.restart import snapshot
from tests.broker.scheduling import HOUR, Timed, hourly

MALFORMED = Failure("malformed", "bad line")
LANE = "backfill-"


class Backfilled(Timed):
    """A broker whose source and scheduler answer the questions of a backfill."""

    found: dict[str, Any] = {"files": 3, "bytes": 30, "first": "a", "last": "c", "unread": 0, "aside": 0}
    aside: list[str] = []

    def start(self, *arguments: Any, **more: Any) -> Backfilled:
        super().start(*arguments, **more)
        return self

    def backfill(self, **params: Any) -> Reply:
        """Ask, let the others answer, return the answer."""
        self.say(CLIENT, Hello("client", "c1", "host", 9))
        self.asked += 1
        self.say(CLIENT, Request(str(self.asked), "pipeline.backfill", {"pipeline": "p", **params}))
        if "run" in params:
            self.store_answers()
        while requests := [(to, message) for to, message in self.sent if isinstance(message, Request)]:
            for to, message in requests:
                self.sent.remove((to, message))
                self.say(to, self._answer(message))
        (reply,) = [m for m in self.replies() if m.id == str(self.asked)]
        return reply

    def _answer(self, request: Request) -> Message:
        if request.verb == "schedule.range":
            begin, end = request.params["from"], request.params["to"]
            hours = range(int(begin) // HOUR, int(end) // HOUR)
            return Reply(request.id, 0, {"items": [{"id": f"h{n}", "due": n * HOUR} for n in hours], "more": False})
        if request.verb == "ledger.aside":
            return Reply(request.id, 0, {"files": self.aside, "more": False})
        self.matched = request.params
        return Reply(request.id, 0, self.found)

    @property
    def lane(self) -> str:
        (name,) = self.flow.pipelines["p"].backfills
        return name

    def offers(self, lane: str, *names: str, exhausted: bool = True, left: int = 0, of: str = "read") -> None:
        owner = self.flow.pipelines["p"].lane(lane)
        assert owner is not None
        run = owner.run.run if owner.run is not None else ""
        source = owner.sources[of]
        positions = [position(one) for one in names]
        self.say(SOURCE, Offer(self.epoch, "f1", "p", of, source.seq, positions, run, exhausted, lane, left))

    def row(self) -> dict[str, Any]:
        reply = self.ask("backfill.list", pipeline="p")
        assert reply is not None
        (row,) = reply.result["items"]
        return dict(row)


def given(spec: PipelineSpec | None = None) -> Backfilled:
    """A pipeline that has read something, so that its schema is known."""
    broker = Backfilled(spec or pipeline()).start()
    broker.offer("f0")
    broker.complete()
    return broker


def batch_only(**more: Any) -> PipelineSpec:
    spec = pipeline(trigger="schedule", schedules=[hourly()], **more)
    read = spec.nodes[0]
    assert read.read is not None
    return replace(spec, nodes=[replace(read, read=replace(read.read, mode="batch", consumption="")), *spec.nodes[1:]])


def test_given_a_dry_run_when_asked_then_it_says_what_matches_and_nothing_is_written() -> None:
    broker = given()
    written = len(broker.records)
    reply = broker.backfill(files={"": "a*"}, dry_run=True)
    assert reply.status == 0
    assert reply.result["files"] == [{"source": "read", "pattern": "a*", **Backfilled.found}]
    assert len(broker.records) == written


def test_given_files_when_backfilled_then_they_are_read_again_in_a_lane_of_their_own_and_it_ends_by_itself() -> None:
    broker = given()
    reply = broker.backfill(files={"read": "f*"}, concurrency=2, params={"again": True})
    assert reply.status == 0
    lane = reply.result["lane"]
    spec = next(s for m in broker.take(Sources) for s in m.sources if s.lane == lane)
    assert spec.node.read is not None
    assert (spec.node.read.pattern, spec.idle) == ("f*", True)
    assert [d.lane for d in broker.take(Discover)] == [lane]
    broker.offers(lane, "f0", "f1", "f2", left=3)
    assert [(p.iteration, p.lane) for p in broker.of(rec.Plan)] == [(1, "live"), (2, lane), (3, lane)]
    assert broker.row()["left"] == 1
    (first, *_) = [t for m in broker.take(Tasks) for t in m.tasks]
    assert first.trigger.params == {"again": True}  # type: ignore[union-attr]
    broker.finish(first)  # type: ignore[arg-type]
    broker.complete()
    assert [(b.lane, b.state) for b in broker.of(rec.BackfillEnd)] == [(lane, "done")]
    assert broker.flow.pipelines["p"].backfills == {}


def test_given_a_backfill_when_live_data_comes_then_it_goes_first_and_does_not_wait_for_the_backfills_turn() -> None:
    broker = given(pipeline(max_in_flight=4))
    broker.backfill(files={"": "f*"}, concurrency=10)
    broker.offers(broker.lane, *(f"b{n}" for n in range(8)))
    sent = [t for m in broker.take(Tasks) for t in m.tasks]
    assert len(sent) == 1  # of two workers one stays free
    broker.offer("live1")
    (task,) = broker.tasks()
    assert task.lane == "live"
    live = task.iteration
    broker.finish(task)
    for sink in broker.tasks():
        broker.finish(sink)
    assert [p.iteration for p in broker.of(rec.Prepare)] == [
        1,
        live,
    ]  # the backfill's, planned before, are not waited for


def test_given_a_failed_iteration_of_a_backfill_when_live_data_comes_then_only_the_backfill_is_held() -> None:
    broker = given(pipeline(on_error="dead_letter"))
    broker.backfill(files={"": "f*"})
    lane = broker.lane
    broker.offers(lane, "b1", "b2")
    (task,) = broker.tasks()
    broker.fail(task, "read", MALFORMED)
    assert broker.of(rec.DeadLetter) == []  # a backfill halts
    assert [(e.state, e.run) for e in broker.of(rec.RunEnd)] == [("failed", broker.row()["run"])]
    assert broker.row()["state"] == "failed"
    broker.offer("live1")
    broker.complete()
    assert [c.iteration for c in broker.of(rec.Commit)] == [1, 3]
    broker.ask("iteration.retry", pipeline="p", iteration=2)
    broker.durable()
    broker.offers(lane, "b1", "b2")
    broker.complete()
    assert [c.iterations for c in broker.of(rec.Cancel)] == [[2]]  # its file was at fault, and is read as it is now
    assert [c.iteration for c in broker.of(rec.Commit)] == [1, 3, 4, 5]
    assert [b.state for b in broker.of(rec.BackfillEnd)] == ["done"]


def test_given_a_backfill_when_cancelled_then_what_is_not_prepared_is_void_and_it_ends() -> None:
    broker = given()
    broker.backfill(files={"": "f*"}, concurrency=2)
    lane = broker.lane
    broker.offers(lane, "b1", "b2", "b3")
    reply = broker.ask("backfill.cancel", pipeline="p", lane=lane)
    assert reply is not None
    assert reply.result["state"] == "cancelled"
    assert [c.iterations for c in broker.of(rec.Cancel)] == [[2, 3]]
    assert [b.state for b in broker.of(rec.BackfillEnd)] == ["cancelled"]
    gone = broker.ask("backfill.cancel", pipeline="p", lane=lane)
    assert gone is not None
    assert gone.status == 3


def test_given_a_failed_backfill_when_cancelled_then_it_ends_too() -> None:
    broker = given()
    broker.backfill(files={"": "f*"})
    broker.offers(broker.lane, "b1")
    (task,) = broker.tasks()
    broker.fail(task, "read", MALFORMED)
    broker.ask("backfill.cancel", pipeline="p", lane=broker.lane)
    assert [b.state for b in broker.of(rec.BackfillEnd)] == ["cancelled"]


def test_given_batch_sources_when_occurrences_are_backfilled_then_each_is_one_iteration_that_knows_its_time() -> None:
    broker = Backfilled(batch_only()).start()
    broker.now = 5.0 * HOUR
    reply = broker.backfill(schedule="hourly", **{"from": 2.0 * HOUR, "to": 5.0 * HOUR})
    assert [one["id"] for one in reply.result["occurrences"]] == ["h2", "h3", "h4"]
    lane = reply.result["lane"]
    broker.offers(lane, "whole")
    broker.complete()
    plans = [p for p in broker.of(rec.Plan) if p.lane == lane]
    assert [(p.trigger.occurrence, p.trigger.due) for p in plans] == [(f"h{n}", n * HOUR) for n in (2, 3, 4)]
    assert [b.state for b in broker.of(rec.BackfillEnd)] == ["done"]


def test_given_occurrences_that_are_not_due_yet_when_they_are_to_be_backfilled_then_that_is_refused() -> None:
    broker = Backfilled(batch_only()).start()
    broker.now = 3.5 * HOUR
    reply = broker.backfill(schedule="hourly", **{"from": 2.0 * HOUR, "to": 6.0 * HOUR})
    assert reply.status == 2
    assert reply.error.startswith(
        "schedule hourly: h4 is not due yet, nor what comes after it; a backfill runs what was"
    )
    assert broker.of(rec.Backfill) == []


def test_given_a_schedule_with_params_when_its_occurrences_are_backfilled_then_they_have_them_unless_given() -> None:
    broker = Backfilled(replace(batch_only(), schedules=[hourly(params={"a": 1, "b": 2})])).start()
    broker.now = 5.0 * HOUR
    span = {"from": 2.0 * HOUR, "to": 3.0 * HOUR}
    lane = broker.backfill(schedule="hourly", params={"b": 3}, **span).result["lane"]
    broker.offers(lane, "whole")
    assert [p.trigger.params for p in broker.of(rec.Plan) if p.lane == lane] == [{"a": 1, "b": 3}]


def test_given_a_reference_beside_the_files_when_backfilled_then_it_is_not_counted_with_them() -> None:
    spec = pipeline()
    read = spec.nodes[0]
    assert read.read is not None
    whole = replace(read, name="ref", read=replace(read.read, mode="batch", consumption="pinned"))
    record = rec.Backfill("p", "backfill-1", "bf-1", 0.0, files={"read": "f*"})
    backfill = Backfilling(record, 0, 0)
    backfill.bind([read, whole])
    taken = {"read": [position("f1"), position("f2")], "ref": [position("r")]}
    backfill.count(taken)
    backfill.count(taken)
    assert (backfill.planned, backfill.positions) == (2, 4)
    backfill.count(taken, -1)
    assert (backfill.planned, backfill.positions) == (1, 2)
    backfill.bind([whole])
    backfill.count({"ref": [position("r")]})
    assert (backfill.planned, backfill.positions) == (2, 3)  # there is nothing else


def test_given_a_reference_that_is_away_when_files_are_backfilled_then_they_wait_for_it() -> None:
    """No later run reads them."""
    read, transform, *rest = pipeline().nodes
    assert read.read is not None
    ref = replace(read, name="ref", read=replace(read.read, mode="batch", consumption=""))
    spec = replace(pipeline(), nodes=[read, ref, replace(transform, inputs=["read", "ref"]), *rest])
    broker = Backfilled(spec).start()
    broker.offers(LIVE, "there", of="ref")
    broker.offer("f0")
    broker.complete()
    lane = broker.backfill(files={"read": "f*"}).result["lane"]
    broker.offers(lane, "f0")
    broker.offers(lane, of="ref")
    assert broker.of(rec.RunEnd) == []
    assert "source ref: no file matches" in broker.flow.pipelines["p"].problem
    broker.offers(lane, "back", of="ref")
    assert [plan.lane for plan in broker.of(rec.Plan)] == [LIVE, lane]


def test_given_a_backfill_that_has_planned_all_when_shown_then_nothing_is_left() -> None:
    broker = given()
    lane = broker.backfill(files={"read": "f*"}).result["lane"]
    assert broker.row()["left"] == -1  # nobody knows yet
    broker.offers(lane, "f0")
    assert (broker.row()["left"], broker.row()["in_flight"]) == (0, 1)


@pytest.mark.parametrize(
    ("params", "status", "says"),
    [
        ({}, 4, "name those to read again"),
        ({"files": {"nobody": "*"}}, 3, "no source 'nobody'"),
        ({"files": {"": ""}}, 2, "files must be"),
        ({"files": {"": "*"}, "concurrency": 0.5}, 2, "concurrency"),
    ],
)
def test_given_a_wrong_request_when_asked_then_it_says_how(params: dict[str, Any], status: int, says: str) -> None:
    reply = given().backfill(**params)
    assert (reply.status, says in reply.error) == (status, True), reply.error


def test_given_what_a_backfill_is_not_for_when_asked_then_it_names_the_options_that_are() -> None:
    broker = Backfilled(batch_only()).start()
    assert "has no source 'read' that consumes files; it has: none (give --schedule, --from and --to)" in (
        broker.backfill(files={"read": "*"}).error
    )
    backwards = broker.backfill(schedule="hourly", **{"from": 3.0 * HOUR, "to": 2.0 * HOUR})
    assert (backwards.status, backwards.error) == (2, "a backfill of occurrences needs --from and a later --to")
    broker.now = 3.5 * HOUR
    later = broker.backfill(schedule="hourly", **{"from": 2.0 * HOUR, "to": 6.0 * HOUR})
    assert later.error.endswith("a backfill runs what was due: choose an earlier --to")
    spec = pipeline()
    nodes = [replace(one, write=replace(one.write, mode="overwrite")) if one.write else one for one in spec.nodes]
    told = Backfilled(replace(spec, nodes=nodes)).start().backfill(files={"": "*"}).error
    assert told.endswith("would replace what is newer: `odibictl pipeline rewind p --to N` reads again in order")


def test_given_a_stateful_pipeline_when_asked_then_it_is_refused() -> None:
    spec = pipeline()
    nodes = [replace(node, state=True) if node.name == "t" else node for node in spec.nodes]
    broker = Backfilled(replace(spec, nodes=nodes)).start()
    reply = broker.backfill(files={"": "*"})
    assert reply.status == 4
    assert "keeps state" in reply.error


def test_given_nothing_that_matches_when_asked_then_it_is_not_found() -> None:
    broker = given()
    broker.found = {"files": 0, "bytes": 0, "first": "", "last": "", "unread": 0, "aside": 0}
    reply = broker.backfill(files={"": "x*"})
    assert (reply.status, reply.error) == (3, "no file that was read matches: read: x*")


def test_given_only_files_that_were_not_read_or_set_aside_when_asked_then_it_says_what_becomes_of_them() -> None:
    broker = given()
    broker.aside = ["f7"]
    broker.found = {"files": 0, "bytes": 0, "first": "", "last": "", "unread": 2, "aside": 1}
    reply = broker.backfill(files={"": "f*"})
    assert broker.matched["aside"] == ["f7"]
    assert reply.status == 3
    assert "2 not read yet, which the pipeline does by itself" in reply.error
    assert "1 set aside: `odibictl deadletter replay ID`" in reply.error
    assert broker.of(rec.Backfill) == []


def test_given_a_backfill_then_its_source_is_told_what_the_live_lane_had_taken_when_it_began() -> None:
    broker = given()
    assert broker.backfill(files={"": "f*"}).status == 0
    (record,) = broker.of(rec.Backfill)
    assert record.through == 1
    broker.durable()
    broker.offer("f1")  # live, and later
    assert len(broker.of(rec.Plan)) == 2
    broker.say(SOURCE, Hello("source", "f2", "host", 2))  # it restarts
    specs = {spec.lane: spec for spec in broker.take(Sources)[-1].sources}
    lane, live = specs[broker.lane], specs["live"]
    assert (lane.through, live.through) == (1, -1)
    assert broker.records[lane.since - 1] == record


def test_given_the_same_request_again_when_its_answer_was_lost_then_it_is_the_same_backfill() -> None:
    broker = given()
    for _ in range(2):
        reply = broker.backfill(files={"": "f*"}, run="bf-1")
        assert reply.status == 0
    assert len(broker.of(rec.Backfill)) == 1


def test_given_a_crash_after_any_record_when_the_broker_is_back_then_the_backfill_goes_on_to_its_end() -> None:
    broker = given()
    broker.backfill(files={"": "f*"}, concurrency=2, run="bf-1")
    lane = broker.lane
    broker.offers(lane, "b1", "b2", "b3")
    broker.complete()
    broker.offers(lane, "b3") if broker.flow.pipelines["p"].lane(lane) else None
    broker.complete()
    whole = list(broker.records)
    begun = next(i for i, r in enumerate(whole) if isinstance(r, rec.Run) and r.run == "bf-1") + 1
    for end in range(begun, len(whole) + 1):
        broker.records = whole[:end]
        items, last = snapshot(broker)
        again = Backfilled(recover=True).start(items, epoch=2, last_seq=last)
        again.say(SCHEDULER, Hello("scheduler", "c9", "host", 4))
        for _ in range(6):
            planned = [
                p.identity
                for r in [*whole[:end], *again.records]
                if isinstance(r, rec.Plan) and r.lane == lane
                for p in r.positions["read"]
            ]
            left = [name for name in ("b1", "b2", "b3") if name not in planned]
            owner = again.flow.pipelines["p"].lane(lane)
            if owner is not None and owner.run is not None:
                again.offers(lane, *left)
            again.complete()
        records = [*whole[:end], *again.records]
        committed = {r.iteration for r in records if isinstance(r, rec.Commit)}
        rows = sorted(
            p.identity
            for r in records
            if isinstance(r, rec.Plan) and r.lane == lane and r.iteration in committed
            for p in r.positions["read"]
        )
        assert rows == ["b1", "b2", "b3"], end
        assert [r.state for r in records if isinstance(r, rec.BackfillEnd)] == ["done"], end


def test_given_a_backfill_that_was_cancelled_when_that_is_not_durable_then_what_it_staged_is_not_settled() -> None:
    broker = given()
    broker.backfill(files={"": "f*"})
    broker.offers(broker.lane, "b1")
    broker.durable()
    broker.offer("live1")
    tasks = [t for m in broker.take(Tasks) for t in m.tasks]
    live = next(t for t in tasks if t.lane == "live")
    broker.finish(live)  # type: ignore[arg-type]
    for sink in broker.tasks():
        if sink.lane == "live":
            broker.finish(sink)
    prepared = broker.flow.journal.last
    broker.ask("backfill.cancel", pipeline="p", lane=broker.lane)
    broker.say(STORE, Durable(1, prepared))
    assert [(p.iteration, p.settled) for p in broker.publications()] == [(live.iteration, 1)] * 2
