"""What `status` tells of what does not go on: since when, what waits for it, until when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from odibi_actors.actor import Log
from odibi_actors.broker import reads
from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import BatchSpec, RetrySpec
from odibi_actors.messages import SOURCE, STORE, Heartbeat, NodeDone
from odibi_actors.model import Attempt
from odibi_actors.units import plural
from tests.broker.harness import Broker, Failure, pipeline

RAISED = Failure("raised", "KeyError: 'x'")


def status(broker: Broker) -> Any:
    reply = broker.ask("status")
    assert reply is not None
    return reply.result


def beats(broker: Broker, seconds: int, *names: str) -> None:
    for _ in range(seconds):
        broker.wait(1.0)
        for name in names:
            broker.say(name, Heartbeat(broker.epoch))


def test_given_a_store_that_is_not_heard_then_it_is_told_since_when_and_what_waits() -> None:
    broker = Broker().start()
    broker.durable()
    beats(broker, 2, SOURCE, STORE)
    assert status(broker)["silent"] == []
    broker.offer("f1.csv")
    beats(broker, 5, SOURCE)
    (row,) = [row for row in status(broker)["silent"] if row["role"] == "store"]
    assert row["seconds"] >= 3.0
    assert row["waits"] == plural(broker.flow.journal.backlog, "record")
    broker.durable()
    beats(broker, 1, SOURCE, STORE)
    assert [row for row in status(broker)["silent"] if row["role"] == "store"] == []


def test_given_a_store_that_comes_and_goes_and_makes_nothing_durable_then_it_is_told() -> None:
    broker = Broker().start()
    broker.durable()
    beats(broker, 1, SOURCE, STORE)
    broker.offer("f1.csv")
    beats(broker, 6, SOURCE, STORE)  # heard each second, as one that crashes and starts again is
    assert [row["role"] for row in status(broker)["silent"] if row["role"] != "pool"] == ["store"]


def test_given_a_broker_that_has_just_begun_then_a_store_with_work_is_not_silent() -> None:
    broker = Broker()
    broker.now = 1_000_000_000.0
    broker.start()
    broker.offer("f1.csv")
    assert broker.flow.journal.backlog
    assert status(broker)["silent"] == []


def waiting() -> Broker:
    """An iteration whose node waits an hour for its next attempt."""
    spec = pipeline()
    retry = RetrySpec(max_attempts=3, initial=3600.0, max=3600.0, jitter=0.0)
    nodes = [replace(node, retry=retry) for node in spec.nodes]
    broker = Broker(replace(spec, nodes=nodes)).start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    broker.fail(task, "read", RAISED)
    return broker


def test_given_a_node_that_waits_for_its_next_attempt_then_it_is_told_why_and_until_when() -> None:
    broker = waiting()
    (row,) = status(broker)["pipelines"]
    when = datetime.fromtimestamp(broker.now + 3600.0, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    (problem,) = row["problems"]
    assert problem == (
        f"iteration 1, read: attempt 1/3 failed, the next at {when} (`odibictl iteration retry p 1` tries now): "
        "KeyError: 'x'"
    )


def test_given_a_node_that_waits_for_its_next_attempt_when_retried_then_it_runs_now_and_the_try_counted() -> None:
    broker = waiting()
    assert broker.tasks() == []
    reply = broker.ask("iteration.retry", pipeline="p", iteration=1)
    assert reply is not None
    assert reply.status == 0
    (task,) = broker.tasks()
    assert task.attempt_no == 2
    assert broker.of(rec.Retry) == []
    again = broker.ask("iteration.retry", pipeline="p", iteration=1)
    assert again is not None
    assert again.status == 4


@pytest.mark.parametrize(
    ("columns", "notes", "left_out", "told"),
    [
        (["id: int64", "at: date32[day]"], ["declared", "declared"], [], ""),
        (
            ["id: int64", "zip: string", "n: int64"],
            ["declared", "inferred: '007' would not be kept as a number", "inferred"],
            [],
            "p.read: types inferred from the first batch (iteration 1), which later files have to fit: zip: string "
            "('007' would not be kept as a number), n: int64; to choose others, declare them in read.schema "
            "(`odibictl source show p.read`)",
        ),
        (
            ["n: int64"],
            ["inferred; it differs from 'N' by blanks or case only"],
            [],
            "p.read: types inferred from the first batch (iteration 1), which later files have to fit: n: int64 "
            "(it differs from 'N' by blanks or case only); to choose others, declare them in read.schema "
            "(`odibictl source show p.read`)",
        ),
        (
            ["id: int64"],
            ["declared; it differs from 'ID' by blanks or case only"],
            [],
            "p.read: id: int64 (it differs from 'ID' by blanks or case only) (`odibictl source show p.read`)",
        ),
        (
            ["id: int64"],
            ["declared"],
            [""],
            "p.read: not read: (a column without a name) (`odibictl source show p.read`)",
        ),
    ],
)
def test_given_a_first_batch_then_what_was_inferred_or_left_out_is_told_and_nothing_else(
    columns: list[str], notes: list[str], left_out: list[str], told: str
) -> None:
    done = NodeDone(
        Attempt(1, 1),
        "p",
        1,
        "read",
        "k",
        1.0,
        1.0,
        1,
        1,
        "w",
        schema_text=columns,
        schema_notes=notes,
        left_out=left_out,
    )
    assert reads.pinned(done) == told
    assert reads.pinned(done, rows=True) == told.replace("later files", "later rows")


def test_given_a_commit_then_its_line_says_how_much_was_read_and_how_long_it_took() -> None:
    broker = Broker(pipeline(batch=BatchSpec(max_files=3))).start()
    broker.know(read=b"schema")
    broker.offer("f1.csv", "f2.csv", "f3.csv")
    broker.durable()
    for task in broker.tasks():
        broker.finish(task)
    broker.now += 1.5
    broker.compute()
    broker.durable()
    for work in broker.publications():
        broker.published(work)
    broker.durable()
    (line,) = [one.text for one in broker.effects if isinstance(one, Log) and ": committed" in one.text]
    assert line == "p 1: committed, 3 files, 1 row read, 1.5 s"
