"""What waits say of the end of runs and iterations is what the store's tables say of it."""

from __future__ import annotations

from typing import Any

import pytest

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import BatchSpec
from odibi_actors.messages import Discover, Request
from tests.broker.harness import Broker, Failure, pipeline
from tests.broker.scheduling import Timed

WRONG = Failure("invalid", "it does not fit")
"""An iteration that is given up as a whole."""


def life(*ends: str, broker: Broker | None = None) -> Broker:
    """A pipeline whose iterations, one file each, ended so: committed, file (that is set aside), dead_lettered,
    cancelled."""
    broker = broker or Broker(pipeline(on_error="dead_letter", batch=BatchSpec(max_files=2))).start()
    for end in ends:
        one(broker, end)
    return broker


def one(broker: Broker, end: str) -> None:
    number = broker.flow.pipelines["p"].last_iteration + 1
    broker.offer(f"f{number}.csv", f"g{number}.csv", run=looked(broker), exhausted=True)
    (task,) = broker.tasks()
    if end == "cancelled":
        broker.ask("iteration.cancel", pipeline="p", iteration=number)
    elif end == "dead_lettered":
        broker.fail(task, "read", WRONG)
    elif end == "file":
        broker.fail(task, "read", Failure("malformed", "line 3: x", position=f"f{number}.csv"))
        broker.durable()
    else:
        broker.finish(task)
    work(broker)


def looked(broker: Broker) -> str:
    """What the sources were asked to look for, last."""
    return ([""] + [m.run for _, m in broker.sent if isinstance(m, Discover)])[-1]


def work(broker: Broker) -> None:
    for _ in range(4):
        broker.compute()
        broker.durable()
        for publication in broker.publications():
            broker.published(publication)
    broker.durable()


def wait(broker: Broker, **params: Any) -> Any:
    """Ask, let the sources look and the store answer."""
    broker.ask("iteration.wait", pipeline="p", **params)
    broker.offer(run=looked(broker), exhausted=True)
    work(broker)
    broker.store_answers()
    (reply,) = broker.replies()
    return reply.result


@pytest.mark.parametrize(
    ("before", "since", "said"),
    [
        ([], [], (0, "", 0)),
        (["committed"], [], (1, "committed", 0)),
        (["dead_lettered"], [], (1, "dead_lettered", 0)),
        (["committed", "file"], [], (2, "committed", 1)),
        (["committed", "cancelled"], [], (2, "cancelled", 0)),
        (["file", "committed"], [], (2, "committed", 0)),  # older letters do not count
        (["dead_lettered", "committed"], [], (2, "committed", 0)),
        (["dead_lettered"], ["committed"], (2, "committed", 0)),
        (["committed"], ["dead_lettered", "committed"], (2, "dead_lettered", 0)),
        (["committed"], ["file", "committed"], (2, "committed", 1)),
        (["committed"], ["cancelled", "committed"], (2, "cancelled", 0)),
        (["file"], ["file", "dead_lettered"], (3, "dead_lettered", 1)),
    ],
)
def test_given_iterations_that_ended_when_a_pipeline_is_waited_for_then_the_worst_since_the_call_is_told(
    before: list[str], since: list[str], said: tuple[int, str, int]
) -> None:
    broker = life("committed", *before)  # the schema is known
    marks = {"after": broker.flow.pipelines["p"].last_iteration, "open": []}
    broker.ask("iteration.wait", pipeline="p", **marks)
    life(*since, broker=broker)
    broker.offer(run=looked(broker), exhausted=True)
    work(broker)
    broker.store_answers()
    (reply,) = broker.replies()
    told = reply.result
    number, state, files = said
    expected = (number + 1, state or "committed", files)  # one more, of before
    assert (told["iteration"], told["state"], told["files"]) == expected


def test_given_nothing_that_ever_ran_when_waited_for_then_it_says_so() -> None:
    told = wait(Broker().start())
    assert (told["iteration"], told["state"]) == (0, "")


@pytest.mark.parametrize(
    ("end", "state", "files"),
    [("committed", "committed", 0), ("file", "committed", 1), ("dead_lettered", "dead_lettered", 0),
     ("cancelled", "cancelled", 0)],
)  # fmt: skip
def test_given_one_iteration_that_ended_when_it_is_waited_for_then_its_own_end_is_told(
    end: str, state: str, files: int
) -> None:
    broker = life("committed", end, "committed")
    broker.ask("iteration.wait", pipeline="p", iteration=2)
    broker.store_answers()
    (reply,) = broker.replies()
    assert (reply.result["iteration"], reply.result["state"], reply.result["files"]) == (2, state, files)


def test_given_an_iteration_planned_again_by_itself_when_waited_for_then_that_is_no_cancel() -> None:
    broker = life("committed")
    broker.ask("iteration.wait", pipeline="p")
    broker.offer("f2.csv", run=looked(broker), exhausted=True)
    flow, p = broker.flow, broker.flow.pipelines["p"]
    flow.cancel_from(
        p, list(p.unfinished()), broker.now, f"{rec.PLANNED_AGAIN}a file of ref changed before it was read"
    )
    broker.tasks()
    life("committed", broker=broker)
    broker.store_answers()
    (reply,) = broker.replies()
    assert (reply.result["iteration"], reply.result["state"]) == (3, "committed")


# --- runs -------------------------------------------------------------------------------------------------------------


def triggered(*names: str, **more: Any) -> Timed:
    broker = Timed(pipeline(trigger="manual", on_error="dead_letter", max_in_flight=4, **more)).start()
    broker.ask("pipeline.trigger", pipeline="p", run="r0")
    broker.discovered("f0.csv")
    broker.complete()
    broker.ask("pipeline.trigger", pipeline="p", run="r1")
    broker.discovered(*names)
    return broker


def ended(broker: Broker, run: str = "r1") -> Any:
    """What a wait for the run is told, and what the store has of it."""
    broker.durable()
    reply = broker.ask("run.wait", run=run)
    assert reply is not None
    assert [e.state for e in broker.of(rec.RunEnd) if e.run == run][-1] == reply.result["state"]
    return reply.result


@pytest.mark.parametrize("failure", [Failure("malformed", "line 3: x", position="f2.csv"), WRONG])
def test_given_a_run_of_which_something_was_set_aside_when_it_ends_then_it_is_not_done(failure: Failure) -> None:
    broker = triggered("f1.csv", "f2.csv", batch=BatchSpec(max_files=2))
    (task,) = broker.tasks()
    broker.fail(task, "read", failure)
    broker.durable()
    broker.complete()
    result = ended(broker)
    assert result["state"] == "failed"
    assert result["error"].startswith("1 dead letter: ")


def test_given_a_run_with_a_cancelled_rest_when_it_ends_then_it_was_cancelled_and_says_how_much_is_left() -> None:
    broker = triggered("f1.csv", "f2.csv", "f3.csv")
    broker.ask("iteration.cancel", pipeline="p", iteration=3)
    broker.take(Discover)
    first = next(task for task in broker.tasks() if task.iteration == 2)
    broker.finish(first)
    broker.complete()
    result = ended(broker)
    assert result["state"] == "cancelled"
    assert result["error"].startswith("2 files of it given back")


def test_given_a_cancelled_rest_that_the_run_plans_again_when_it_ends_then_it_is_done() -> None:
    broker = triggered("f1.csv", "f2.csv")
    broker.complete()
    assert ended(broker)["state"] == "done"


def test_given_a_run_that_set_something_aside_when_the_broker_is_another_then_it_is_not_done_either() -> None:
    again = Timed(recover=True)
    spec = pipeline(trigger="manual", on_error="dead_letter")
    items: list[rec.AnyLoaded] = [
        rec.LoadedVersion(rec.Version("p", 1, spec, "code", 1.0)),
        rec.LoadedRun(rec.Run("r1", "p", "manual", 1.0), planned=1, kept=1, set_aside=1),
        rec.LoadedCounter("p", 1, 1, 1, [], [], 1),
    ]
    again.start(items, epoch=2, last_seq=9)
    again.discovered()
    result = ended(again)
    assert (result["state"], result["error"][:13]) == ("failed", "1 dead letter")


def test_given_a_run_that_plans_when_somebody_waits_for_its_pipeline_then_sources_look_for_the_run_alone() -> None:
    """Each other look would be another moment to them, up to which they tell what is there: neither would end."""
    broker = Broker(pipeline(trigger="manual")).start()
    reply = broker.ask("pipeline.trigger", pipeline="p")
    assert reply is not None
    assert {m.run for m in broker.take(Discover)} == {reply.result["run"]}
    assert broker.ask("iteration.wait", pipeline="p") is None
    broker.say("client-t", Request(str(broker.asked), "iteration.wait", {"pipeline": "p"}))  # as clients repeat it
    assert broker.take(Discover) == []
    broker.offer(run=reply.result["run"], exhausted=True)
    assert [(end.state, end.error) for end in broker.of(rec.RunEnd)] == [("no_data", "")]
