"""A drain comes to its end, or says why it does not: it is never waited for in vain."""

from __future__ import annotations

import pytest

from odibi_actors.checkpoint import records as rec
from odibi_actors.messages import STORE, Reply, Request
from tests.broker.harness import CLIENT, Broker, Failure, pipeline
from tests.broker.restart import restarted
from tests.broker.test_backfills import Backfilled, given
from tests.broker.test_operators import CONFLICT

LEFT = {"committed": 0, "last_committed": 0, "letters": 0}
MALFORMED = Failure("malformed", "no number", position="b1")


def busy() -> Broker:
    """One iteration is at work."""
    broker = Broker().start()
    broker.offer("f1")
    return broker


def drained(broker: Broker) -> Reply | None:
    """Somebody waits for it; the answer, if there is one at once."""
    return broker.ask("pipeline.drain", pipeline="p")


def finish(broker: Broker) -> None:
    """Let everything that was given out come to its end."""
    for _ in range(4):
        broker.compute()
        broker.durable()
        for publication in broker.publications():
            broker.published(publication)
    broker.durable()


def settings(broker: Broker) -> list[tuple[str, str]]:
    return [(record.name, record.value) for record in broker.of(rec.Setting)]


def test_given_a_paused_pipeline_when_it_is_drained_then_what_is_planned_is_finished() -> None:
    broker = busy()
    broker.ask("pipeline.pause", pipeline="p")
    assert drained(broker) is None
    assert settings(broker)[-2:] == [("draining", "1"), ("paused", "")]  # never neither: nothing is planned between
    finish(broker)
    (reply,) = broker.replies()
    assert reply.result == {"pipeline": "p", "state": "drained", "in_flight": 0, "held": ""}


@pytest.mark.parametrize(("verb", "says"), [("pause", "it was paused meanwhile"), ("resume", "it was resumed")])
def test_given_a_drain_that_is_waited_for_when_somebody_wants_otherwise_then_that_stays_and_is_told(
    verb: str, says: str
) -> None:
    broker = busy()
    assert drained(broker) is None
    broker.say(CLIENT, Request("other", f"pipeline.{verb}", {"pipeline": "p"}))
    replies = {reply.id: reply for reply in broker.replies()}
    assert says in replies["1"].result["held"]
    finish(broker)
    assert broker.flow.pipelines["p"].state == {"pause": "draining", "resume": "active"}[verb]
    assert broker.flow.pipelines["p"].paused == (verb == "pause")


def test_given_an_iteration_of_a_backfill_that_failed_when_it_is_drained_then_that_is_told_at_once() -> None:
    broker: Backfilled = given()
    lane = broker.backfill(files={"": "f*"}).result["lane"]
    broker.offers(lane, "b1")
    assert drained(broker) is None
    (task,) = broker.tasks()
    broker.fail(task, "read", MALFORMED)
    (reply,) = broker.replies()
    assert reply.result["in_flight"] == 1
    assert reply.result["held"].startswith(f"{lane}: iteration 2 failed at read: no number")


def test_given_a_blocked_sink_when_it_is_drained_then_that_is_told_and_after_a_retry_it_goes_on() -> None:
    broker = busy()
    broker.compute()
    broker.durable()
    for publication in broker.publications():
        broker.fail(publication, publication.node.name, CONFLICT)
    reply = drained(broker)
    assert reply is not None
    assert "iteration 1 cannot publish" in reply.result["held"]
    broker.ask("iteration.retry", pipeline="p", iteration=1)
    assert drained(broker) is None
    for publication in broker.publications():
        broker.published(publication)
    broker.durable()
    assert broker.replies()[-1].result["state"] == "drained"


def test_given_others_that_write_all_the_time_when_a_pipeline_is_taken_back_or_waited_for_then_it_is_answered() -> None:
    broker = busy()
    finish(broker)
    drained(broker)
    broker.durable()
    broker.ask("worker.scale", workers=1)  # a record of nothing that matters here, and not durable
    assert broker.ask("pipeline.rewind", pipeline="p", to=0) is None
    assert [request.verb for request in broker.take(Request, to=STORE)] == ["rewind.show"]
    broker.ask("pipeline.resume", pipeline="p")
    broker.durable()
    assert broker.ask("iteration.wait", pipeline="p", iteration=1) is None
    (request,) = broker.take(Request, to=STORE)
    broker.ask("worker.scale", workers=2)
    row = {"iteration": 1, "state": "committed", "files": 0}
    broker.say(STORE, Reply(request.id, 0, row))
    assert broker.replies()[-1].result == row
    assert broker.take(Request, to=STORE) == []


def test_given_no_iterations_when_it_is_drained_then_it_is_at_once() -> None:
    broker = Broker(pipeline()).start()
    reply = drained(broker)
    assert reply is not None
    assert reply.result["state"] == "drained"


def taken_back(**params: object) -> tuple[Broker, Reply]:
    """A rewind to the beginning is asked for as ``same``, done and answered."""
    broker = busy()
    finish(broker)
    drained(broker)
    broker.durable()
    broker.say(CLIENT, Request("same", "pipeline.rewind", {"pipeline": "p", "to": 0, **params}))
    (asked,) = broker.take(Request, to=STORE)
    preview = {"to": 0, "states": {"committed": 1}, "files": 1, "missing": 0, "retractions": [], "left": LEFT}
    broker.say(STORE, Reply(asked.id, 0, preview))
    broker.durable()
    (reply,) = broker.replies()
    assert (reply.id, reply.status, len(broker.of(rec.Rewound))) == ("same", 0, 1)
    return broker, reply


def test_given_a_rewind_that_was_answered_when_the_same_request_comes_once_more_then_it_is_not_done_twice() -> None:
    broker, reply = taken_back()
    broker.say(
        CLIENT, Request("same", "pipeline.rewind", {"pipeline": "p", "to": 0})
    )  # on its way when the answer left
    assert broker.take(Request, to=STORE) == []
    assert broker.replies() == [reply]


def test_given_a_rewind_whose_broker_died_before_it_answered_when_asked_again_then_it_is_not_done_twice() -> None:
    broker, reply = taken_back(request="once")
    after = restarted(broker)
    answer = after.ask("pipeline.rewind", pipeline="p", to=0, request="once")
    assert answer is not None
    assert (answer.status, answer.result) == (0, reply.result)
    after.ask("pipeline.rewind", pipeline="p", to=0, request="another")
    assert [request.verb for request in after.take(Request, to=STORE)] == ["rewind.show"]
