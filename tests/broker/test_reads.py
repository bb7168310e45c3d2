"""What the broker does with what is told of files: by a worker that read them, or a source that knows them again."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from odibi_actors.actor import Log
from odibi_actors.checkpoint import records as rec
from odibi_actors.messages import SOURCE, SameBytes
from odibi_actors.model import LIVE, PositionRead
from odibi_actors.sources.file_position import file_position
from tests.broker.harness import POOL, Broker
from tests.broker.test_references import given as with_a_reference

READ = PositionRead(b"0123456789abcdef", b"detail")


def read(broker: Broker, **more: object) -> None:
    """A worker has read the file that is planned."""
    broker.offer("f1.csv")
    broker.durable()
    (task,) = broker.tasks()
    first, *rest = broker.run(task)
    broker.results(replace(first, **more), *rest)


def test_what_was_read_of_a_file_is_part_of_its_acknowledgement_and_what_was_touched_is_told_once() -> None:
    broker = Broker().start()
    read(broker, files=[READ], touched=["f1.csv"])
    (ack,) = [ack for ack in broker.of(rec.Ack) if ack.node == "read"]
    assert ack.files == [READ]
    told = [e for e in broker.effects if isinstance(e, Log) and "ctime" in e.text]
    assert [(one.level, one.text) for one in told] == [
        (
            "info",
            "p 1 read: 1 file had another ctime than when planned, read as now: f1.csv (linked, given other "
            "permissions, or written again with the former times)",
        )
    ]


@pytest.mark.parametrize("files", [[], [READ, READ]])
def test_a_worker_that_does_not_tell_of_each_file_is_believed_in_the_rest(files: list[PositionRead]) -> None:
    broker = Broker().start()
    read(broker, files=files)
    (ack,) = [ack for ack in broker.of(rec.Ack) if ack.node == "read"]
    assert ack.files == []


def test_the_files_of_a_reference_are_pinned_by_digest_and_not_kept_again() -> None:
    broker = with_a_reference("halt")
    for task in broker.tasks():
        results = [replace(one, files=[READ, READ] if one.node in ("cust", "read") else []) for one in broker.run(task)]
        broker.results(*results)
    kept = {ack.node: ack.files for ack in broker.of(rec.Ack)}
    assert (kept["read"], kept["cust"]) == ([READ, READ], [])


def test_files_that_the_source_knows_again_are_written_and_nothing_else_is() -> None:
    broker = Broker().start()
    known = file_position("f1.csv", 10, 2, 3, 1, "ab" * 16, 4)
    odd = [file_position("f2.csv", 10, 2, 3), file_position("f3.csv", 10, 2, 3, 1, "short")]
    broker.say(SOURCE, SameBytes(broker.epoch, "p", "read", [known, *odd]))
    assert broker.of(rec.Same) == [rec.Same("p", LIVE, "read", [known])]
    for message in (
        SameBytes(broker.epoch + 1, "p", "read", [known]),
        SameBytes(broker.epoch, "nobody", "read", [known]),
        SameBytes(broker.epoch, "p", "t", [known]),
        SameBytes(broker.epoch, "p", "read", [known], "elsewhere"),
        SameBytes(broker.epoch, "p", "read", odd),
    ):
        broker.say(SOURCE, message)
    broker.say(POOL, SameBytes(broker.epoch, "p", "read", [known]))
    assert len(broker.of(rec.Same)) == 1
    broker.say(SOURCE, SameBytes(broker.epoch, "p", "read", [known], "backfill-7"))  # it has ended, and had read them
    assert broker.of(rec.Same)[1:] == [rec.Same("p", "backfill-7", "read", [known])]
