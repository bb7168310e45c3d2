"""Sources that are read in order, as the broker sees them: positions are atoms, and ranges travel with them."""

from __future__ import annotations

from msgspec.structs import replace

from odibi_actors.actor import Log
from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import AlertSpec
from odibi_actors.messages import SOURCE, Offer, Planned, Released, Reply, Request
from odibi_actors.model import Failure, Position, Range
from tests.broker.harness import Broker, pipeline, project


def spec(**more: object):  # type: ignore[no-untyped-def]
    first = pipeline(**more)
    read = first.nodes[0].read
    assert read is not None
    node = replace(first.nodes[0], read=replace(read, mode="log", consumption="cursor"))
    return replace(first, nodes=[node, *first.nodes[1:]])


def place(offset: int) -> bytes:
    return offset.to_bytes(8, "big")


def piece(lower: int, upper: int) -> tuple[Position, Range]:
    return Position(f"a:{lower}-{upper}", upper - lower, 1), Range("a", place(lower), place(upper))


def offer(broker: Broker, *pieces: tuple[Position, Range], ranges: bool = True) -> None:
    at = broker.flow.pipelines["p"].sources["read"].seq
    read = [one for _, one in pieces] if ranges else []
    broker.say(SOURCE, Offer(broker.epoch, "f1", "p", "read", at, [one for one, _ in pieces], ranges=read))


def test_given_an_offer_of_ranges_then_the_plan_carries_them_and_the_source_hears_of_them() -> None:
    broker = Broker(spec()).start()
    offer(broker, piece(0, 2), piece(2, 4))
    plan = broker.of(rec.Plan)[0]
    assert (plan.ledgered, plan.ranges) == ([], {"read": [piece(0, 2)[1]]})
    assert next(one.ranges for one in broker.take(Planned)) == [piece(0, 2)[1]]


def test_given_an_offer_without_its_ranges_then_it_is_not_taken_and_that_is_told() -> None:
    broker = Broker(spec()).start()
    offer(broker, piece(0, 2), ranges=False)
    assert not broker.of(rec.Plan)
    assert any(isinstance(one, Log) and "0 ranges" in one.text for one in broker.effects)


def test_given_a_cancel_then_the_source_is_told_and_what_comes_then_is_planned() -> None:
    broker = Broker(spec()).start()
    offer(broker, piece(0, 2))
    broker.durable()
    broker.take(Released)
    broker.ask("iteration.cancel", pipeline="p", iteration=1)
    assert broker.take(Released)
    offer(broker, piece(0, 3))
    assert [plan.ranges["read"] for plan in broker.of(rec.Plan)] == [[piece(0, 2)[1]], [piece(0, 3)[1]]]


def test_given_a_letter_that_is_replayed_then_its_ranges_are_planned_again_and_move_no_place() -> None:
    broker = Broker(spec()).start()
    broker.know(read=b"schema")
    one, read = piece(0, 2)
    broker.say("client-t", replace_hello())
    broker.say("client-t", Request("1", "deadletter.replay", {"letter": 3}))
    broker.durable()
    asked = [m for m in broker.take(Request) if m.verb == "deadletter.show"]
    row = {"id": 3, "pipeline": "p", "iteration": 0, "node": "read", "state": "open", "whole": True, "replay": 0}
    row |= {"position": "", "positions": {"read": [one.shown()]}, "trigger": {}}
    broker.say("store", Reply(asked[0].id, 0, row))
    (stat,) = [m for m in broker.take(Request) if m.verb == "source.stat"]
    found = {"files": [one.shown()], "changed": [], "gone": [], "reasons": {}}
    found["ranges"] = [[one.identity, "a", read.lower.hex(), read.upper.hex()]]  # type: ignore[list-item]
    broker.say(SOURCE, Reply(stat.id, 0, found))
    plan = broker.of(rec.Plan)[-1]
    assert plan.replay is not None
    assert plan.ranges == {"read": [read]}
    assert plan.positions["read"][0].generation == 2
    assert broker.take(Planned)[-1].ranges == []


def replace_hello():  # type: ignore[no-untyped-def]
    from odibi_actors.messages import Hello

    return Hello("client", "c1", "host", 9)


def test_given_ranges_that_were_read_then_another_kind_is_refused() -> None:
    from odibi_actors.messages import Apply

    broker = Broker(spec()).start()
    offer(broker, piece(0, 2))
    broker.durable()
    broker.say("client-t", replace_hello())
    broker.say("client-t", Apply("9", project(pipeline())))
    (reply,) = [one for one in broker.take(Reply) if one.id == "9"]
    assert (reply.status, "by mode log" in reply.error) == (4, True)


# --- deleting what was read -------------------------------------------------------------------------------------------


def prune(broker: Broker, request: str = "s1", at: int = 9) -> list[Request]:
    """The source asks; what the store is asked then."""
    params = {"pipeline": "p", "source": "read", "partition": "a", "place": place(at).hex()}
    broker.say(SOURCE, Request(request, "source.prune", params))
    return [m for m in broker.take(Request) if m.verb == "source.spare"]


def spares(broker: Broker, asked: Request, at: int, iteration: int) -> None:
    told = {"place": place(at).hex(), "iteration": iteration, "held": [], "more": False}
    broker.say("store", Reply(asked.id, 0, told))


def test_given_what_may_be_deleted_then_it_is_written_down_before_and_a_rewind_below_is_refused() -> None:
    broker = Broker(spec()).start()
    (asked,) = prune(broker)
    assert asked.params["upto"] == 0
    spares(broker, asked, 7, 3)
    written = [one for one in broker.of(rec.Setting) if one.name == rec.PRUNED]
    assert [one.value for one in written] == ['{"read":3}']
    assert not [one for one in broker.take(Reply) if one.id == "s1"], "before it is durable"
    broker.durable()
    (reply,) = [one for one in broker.take(Reply) if one.id == "s1"]
    waits = "not all of the rest is committed: p.read"
    assert (reply.result["place"], reply.result["waits"]) == (place(7).hex(), waits)
    broker.flow.pipelines["p"].last_iteration = 5
    refused = broker.ask("pipeline.rewind", pipeline="p", to=2)
    assert refused is not None
    assert "rewind to 3 or later" in refused.error
    later = broker.ask("pipeline.rewind", pipeline="p", to=3)
    assert later is None or "rewind to 3" not in later.error


def test_given_a_rewind_or_a_backfill_then_nothing_is_deleted_and_an_answer_of_before_counts_no_more() -> None:
    broker = Broker(spec()).start()
    (asked,) = prune(broker)
    pipeline_ = broker.flow.pipelines["p"]
    broker.durable()
    pipeline_.rewind_seq = broker.flow.journal.durable  # one has begun and ended meanwhile
    assert pipeline_.rewind_seq
    spares(broker, asked, 9, 3)
    broker.durable()
    assert not [one for one in broker.take(Reply) if one.id == "s1"]
    assert [m for m in broker.take(Request) if m.verb == "source.spare"], "it is asked anew"
    pipeline_.rewind_seq += 1  # its end is not durable yet
    prune(broker, "s3")
    (reply,) = [one for one in broker.take(Reply) if one.id == "s3"]
    assert (reply.status, reply.error) == (4, "pipeline p is being rewound")
    pipeline_.rewind_seq -= 1
    pipeline_.backfills["backfill-1"] = None  # type: ignore[assignment]
    prune(broker, "s2")
    (reply,) = [one for one in broker.take(Reply) if one.id == "s2"]
    assert (reply.status, reply.error) == (4, "pipeline p has an open backfill, backfill-1")


def test_given_rows_that_were_pushed_when_they_are_set_aside_then_log_and_alert_say_how_they_are_corrected() -> None:
    first = spec(on_error="dead_letter", alerts=[AlertSpec(["dead_letter"], log=True)])
    read = first.nodes[0].read
    assert read is not None
    broker = Broker(replace(first, nodes=[replace(first.nodes[0], read=replace(read, mode="event")), *first.nodes[1:]]))
    broker.start()
    broker.pool_joins()
    offer(broker, piece(0, 2))
    broker.durable()
    broker.fail(broker.tasks()[0], "read", Failure("malformed", "it is bad", position="a:0-2"))
    wanted = (
        "`odibictl deadletter list p` has its ID: if rows are wrong, push them corrected (`odibictl event push`) and "
        "`odibictl deadletter discard ID`; if the pipeline is wrong, fix that and `odibictl deadletter replay ID`"
    )
    assert any(isinstance(one, Log) and one.text.endswith(wanted) for one in broker.effects)
    assert [one.text.endswith(wanted) for one in broker.of(rec.Alert)] == [True]


def test_given_rows_that_were_pushed_when_they_halt_a_pipeline_then_it_says_how_it_goes_on_without_them() -> None:
    first = spec()
    read = first.nodes[0].read
    assert read is not None
    broker = Broker(replace(first, nodes=[replace(first.nodes[0], read=replace(read, mode="event")), *first.nodes[1:]]))
    broker.start()
    broker.pool_joins()
    offer(broker, piece(0, 2))
    broker.durable()
    broker.fail(broker.tasks()[0], "read", Failure("malformed", "it is bad", position="a:0-2"))
    wanted = (
        "it is bad. What read has taken in it keeps as it is: nothing that is changed now is read in its place. "
        "A retry reads rows of read as they are: if they are wrong, `on_error: dead_letter` in odibi.yaml, `odibictl "
        "apply` and `odibictl iteration retry p 1` set them aside"
    )
    assert broker.flow.pipelines["p"].iterations[1].trouble.endswith(wanted)
    broker.ask("iteration.retry", pipeline="p", iteration=1)
    (cancel,) = broker.of(rec.Cancel)
    assert cancel.reason == f"{rec.PLANNED_AGAIN}when it was retried, with what read has kept, as it was taken in"
