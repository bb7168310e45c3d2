"""What the ledger keeps of files that were read, and how a file is known again."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from msgspec.structs import replace

from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint import seals
from odibi_actors.checkpoint.engine import Engine, Refused
from odibi_actors.checkpoint.seals import Mark
from odibi_actors.config.model import ScheduleSpec
from odibi_actors.messages import LOOKED_UP, LedgerLook, LedgerRow, LedgerRows
from odibi_actors.model import Place, Position, PositionRead
from odibi_actors.sources.file_position import FileTimes, file_position
from tests.checkpoint import former
from tests.checkpoint.counting import counted, recounted
from tests.checkpoint.make import P, ack, claimed, commit, error, failure, file, loaded, plan, prepare, put, version
from tests.checkpoint.test_actor import Store
from tests.checkpoint.test_opening import dump_schema
from tests.targets import folder


def digest(name: str) -> bytes:
    return name.encode().ljust(16, b".")


def read(iteration: int, *names: str, ctime_ns: int = 40) -> r.Ack:
    return replace(
        ack(iteration), files=[PositionRead(digest(name), FileTimes(20, 30, ctime_ns).packed()) for name in names]
    )


def known(name: str, ctime_ns: int = 40, generation: int = 1) -> Position:
    return file_position(name, 10, 20, 30, generation, digest(name).hex(), ctime_ns)


def rows(engine: Engine, *names: str, lane: str = "live") -> list[LedgerRow]:
    return engine.ledger_rows(P, lane, "flights", list(names))


def test_given_an_ack_with_what_was_read_when_stored_then_the_ledger_keeps_digest_and_ctime() -> None:
    engine = claimed()
    put(engine, version(), plan(1, "a.csv", "b.csv"), plan(2, "c.csv"), read(1, "a.csv", "b.csv"), ack(1, "clean"))
    assert engine.ledger(P, "live", "flights") == ([known("a.csv"), known("b.csv"), file("c.csv")], "")
    assert counted(engine) == recounted(engine)
    put(engine, read(1, "A", "B", ctime_ns=50))  # the output was lost, and the files read again
    assert [p.digest for p in engine.ledger(P, "live", "flights")[0]] == [digest("A").hex(), digest("B").hex(), ""]
    engine.close()


def test_given_files_looked_up_when_they_are_planned_then_each_row_says_what_became_of_it() -> None:
    engine = claimed()
    put(engine, version(), plan(1, "a.csv", "bad.csv"))
    put(engine, r.Revise(P, 1, "flights", ["bad.csv"], failure(position="bad.csv"), 2.0), read(1, "a.csv"))
    put(engine, prepare(1), commit(1), plan(2, "late.csv"), plan(3, "c.csv"), read(3, "c.csv"))
    put(engine, r.DeadLetter(P, 3, "clean", failure(), 1.0), plan(4, "old.csv"), ack(4), prepare(4), commit(4))
    found = rows(engine, "a.csv", "bad.csv", "late.csv", "c.csv", "old.csv", "never.csv")
    assert [(row.position.identity, row.iteration, row.state) for row in found] == [
        ("a.csv", 1, "read"),
        ("bad.csv", 1, "letter"),
        ("late.csv", 2, "unread"),
        ("c.csv", 3, "letter"),
        ("old.csv", 4, "read"),  # by a worker of a version that told nothing
    ]
    assert [bool(row.position.digest) for row in found] == [True, False, False, True, False]
    assert rows(engine, "a.csv", lane="backfill-9") == []
    assert rows(engine, *["none"] * LOOKED_UP, "a.csv") == []
    for letter, name in enumerate(("bad.csv", "c.csv"), 1):
        put(engine, r.Discard(P, letter, 1.0))
        (row,) = rows(engine, name)
        assert row.state == "discarded"
    engine.close()


def test_given_generations_of_a_file_when_it_is_looked_up_then_it_is_the_newest() -> None:
    engine = claimed()
    put(engine, version(), plan(1, "a.csv"), read(1, "a.csv"), prepare(1), commit(1))
    put(engine, replace(plan(2), positions={"flights": [file("a.csv", 2)]}), read(2, "a.csv", ctime_ns=60))
    assert rows(engine, "a.csv") == [LedgerRow(known("a.csv", 60, 2), 2, "read")]
    engine.close()


def test_given_a_file_that_a_backfill_has_read_later_when_it_is_looked_up_then_it_is_as_that_has_read_it() -> None:
    engine = claimed()
    put(engine, version(), plan(1, "a.csv", "b.csv"), read(1, "a.csv", "b.csv"), prepare(1), commit(1))
    for number, iteration in ((10, 2), (9, 3)):
        lane = f"backfill-{number}"
        put(engine, r.Backfill(P, lane, f"b{number}", 1.0))
        what = ack(iteration)
        times = FileTimes(20, 30, 50 + iteration).packed()
        what = replace(what, files=[PositionRead(digest(lane), times)])
        put(engine, replace(plan(iteration, "a.csv"), lane=lane), what)
        assert rows(engine, "a.csv")[0].iteration == iteration - 1, "it is not committed"
        put(engine, prepare(iteration), commit(iteration))
        assert rows(engine, "a.csv", "b.csv") == [
            LedgerRow(
                file_position("a.csv", 10, 20, 30, 1, digest(lane).hex(), 50 + iteration),
                iteration,
                "read",
                lane=lane,
                committed=True,
            ),
            LedgerRow(known("b.csv"), 1, "read", committed=True),
        ]
    copy = replace(rows(engine, "a.csv")[0].position, detail=FileTimes(70, 71, 72).packed())
    put(engine, r.Same(P, lane, "flights", [copy]))
    assert rows(engine, "a.csv") == [LedgerRow(copy, 3, "read", lane=lane, committed=True)]
    put(engine, replace(plan(4, "b.csv"), lane=lane), read(4, "b.csv"), prepare(4), commit(4))
    assert rows(engine, "b.csv") == [LedgerRow(known("b.csv"), 1, "read", committed=True)], "it is what it was"
    put(engine, replace(plan(5), positions={"flights": [file("a.csv", 2)]}), read(5, "a.csv", ctime_ns=60))
    assert rows(engine, "a.csv") == [LedgerRow(known("a.csv", 60, 2), 5, "read")]
    engine.close()


def test_given_files_that_are_known_again_when_told_then_only_rows_of_the_same_bytes_take_their_times() -> None:
    engine = claimed()
    put(engine, version(), plan(1, "a.csv", "b.csv"), read(1, "a.csv", "b.csv"), plan(2, "c.csv"))
    moved = FileTimes(70, 2**64 - 1, 80).packed()
    copies = [replace(known(name), detail=moved) for name in ("a.csv", "b.csv", "c.csv")]
    copies[1] = replace(copies[1], digest=digest("other").hex())
    copies += [
        replace(known("c.csv"), digest=""),
        replace(known("a.csv"), digest="no hex", detail=FileTimes(1, 30, 40).packed()),
    ]
    put(engine, r.Same(P, "live", "flights", copies))
    assert engine.ledger(P, "live", "flights")[0] == [copies[0], known("b.csv"), file("c.csv")]
    assert counted(engine) == recounted(engine)
    engine.close()


def test_given_an_ack_that_tells_of_more_files_than_are_planned_when_stored_then_it_is_refused() -> None:
    engine = claimed()
    put(engine, version(), plan(1, "a.csv"))
    with pytest.raises(Refused, match=r"flights has read 2 files, but 1 are planned"):
        put(engine, read(1, "a.csv", "b.csv"))
    engine.close()


def test_given_a_reference_when_it_is_read_then_the_ledger_has_nothing_of_it() -> None:
    engine = claimed()
    put(engine, version(), plan(1, "a.csv", ledgered=()), read(1, "a.csv"))
    assert engine.ledger(P, "live", "flights") == ([], "")
    engine.close()


def test_given_a_source_that_looks_files_up_when_the_store_answers_then_by_number_and_record() -> None:
    engine = claimed()
    put(engine, version(), plan(1, "a.csv"))
    store = Store(engine)
    (found,) = store.tell(LedgerLook(P, "flights", "live", 7, ["a.csv", "b.csv"]), sender="source") + store.settle()
    assert found == LedgerRows(P, "flights", "live", 7, [LedgerRow(file("a.csv"), 1, "unread")], 2)


def test_given_a_database_of_format_4_when_opened_then_all_is_there_and_digests_are_kept_from_then_on(
    tmp_path: Path,
) -> None:
    path = tmp_path / "checkpoints.db"
    before = claimed(path)
    put(before, version(), plan(1, "a.csv"), read(1, "a.csv"), prepare(1), commit(1), plan(2, "b.csv"))
    dump, made, mark = loaded(before), sorted(dump_schema(before)), Mark(before.epoch, before.last_seq)
    before.close()
    db = sqlite3.connect(path, isolation_level=None)
    former.take_back(db, former.TO_4)
    db.close()
    path.with_name("checkpoints.db-seals").unlink()
    seals.create(path, path, mark)
    for _ in range(2):
        engine = Engine(path)
        assert loaded(engine) == dump
        assert sorted(dump_schema(engine)) == made
        assert engine.ledger(P, "live", "flights") == ([file("a.csv"), file("b.csv")], "")
        assert counted(engine) == recounted(engine)
        assert rows(engine, "a.csv") == [LedgerRow(file("a.csv"), 1, "read", committed=True)]
        engine.close()
    engine = Engine(path)
    put(engine, read(2, "b.csv"))
    assert engine.ledger(P, "live", "flights")[0] == [file("a.csv"), known("b.csv")]
    engine.close()


def test_given_a_database_of_format_6_when_opened_then_schedules_go_on_from_what_they_had_followed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "checkpoints.db"
    before = claimed(path)
    put(before, version(), plan(1, "a.csv"), read(1, "a.csv"), prepare(1), commit(1))
    spec = ScheduleSpec("follow", after=[P, "other"])
    put(before, r.Schedule(P, "follow", spec, "yaml", Place(1), 1.0, seen={P: 5, "other": 3}))  # 5: it was rewound
    made, mark = sorted(dump_schema(before)), Mark(before.epoch, before.last_seq)
    before.close()
    db = sqlite3.connect(path, isolation_level=None)
    former.take_back(db, former.TO_6)
    db.close()
    path.with_name("checkpoints.db-seals").unlink()
    seals.create(path, path, mark)
    engine = Engine(path)
    assert sorted(dump_schema(engine)) == made
    (schedule,) = [item.record for item in loaded(engine) if isinstance(item, r.LoadedSchedule)]
    (counter,) = [item for item in loaded(engine) if isinstance(item, r.LoadedCounter)]
    assert (schedule.seen, counter.commits, counter.newest) == ({P: 1, "other": 3}, 1, 1)
    engine.close()


def taken(engine: Engine, through: int, limit: int = 100) -> list[str]:
    names: list[str] = []
    cursor = ""
    while True:
        page, cursor = engine.ledger(P, "live", "flights", cursor, limit, through)
        names += [position.identity for position in page]
        if not cursor:
            return names


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_what_a_lane_had_taken_by_an_iteration_leaves_out_what_came_later_and_what_was_set_aside(limit: int) -> None:
    engine = claimed()
    put(engine, version(), plan(1, "a.csv", "bad.csv"))
    put(engine, r.Revise(P, 1, "flights", ["bad.csv"], failure(position="bad.csv"), 2.0), ack(1), prepare(1), commit(1))
    put(engine, plan(2, "c.csv", "d.csv"), r.DeadLetter(P, 2, "clean", failure(), 1.0), plan(3, "e.csv"))
    again = plan(4, "c.csv")
    positions = {"flights": [replace(file("c.csv"), generation=2)]}
    put(engine, replace(again, positions=positions, replay=r.Replay(2, 2, True)), plan(5, "f.csv"))
    assert [taken(engine, through, limit) for through in range(6)] == [
        [],
        ["a.csv"],
        ["a.csv"],
        ["a.csv", "e.csv"],
        ["a.csv", "c.csv", "e.csv"],
        ["a.csv", "c.csv", "e.csv", "f.csv"],
    ]
    aside = engine.answer("ledger.aside", {"pipeline": P, "source": "flights"})
    assert aside == {"files": ["bad.csv", "d.csv"], "more": False}
    apart = {"pipeline": P, "source": "flights", "other": "q", "of": "flights"}
    assert engine.answer("ledger.apart", apart) == {
        "items": ["a.csv"],
        "cursor": "",
    }  # the rest is on its way, or aside
    assert engine.answer("ledger.apart", {**apart, "other": P})["items"] == []
    put(engine, r.Discard(P, 1, 4.0))  # given up, and aside all the same
    assert engine.answer("ledger.aside", {"pipeline": P, "source": "flights"}) == aside
    engine.close()


@pytest.mark.parametrize("script", [former.TO_9, former.TO_8, former.TO_7, former.TO_6, former.TO_5, former.TO_4])
def test_given_a_database_of_any_former_format_when_opened_then_targets_pass_on_in_it(
    tmp_path: Path, script: str
) -> None:
    path = tmp_path / "checkpoints.db"
    before = claimed(path)
    put(before, version(), plan(1, "a.csv"))
    made, mark = sorted(dump_schema(before)), Mark(before.epoch, before.last_seq)
    before.close()
    db = sqlite3.connect(path, isolation_level=None)
    former.take_back(db, script)
    db.close()
    path.with_name("checkpoints.db-seals").unlink()
    seals.create(path, path, mark)
    engine = Engine(path)
    assert sorted(dump_schema(engine)) == made
    adopted = r.Adopt(P, "new", folder("/lake/x"), P, "old", 0, 0, 1.0)
    put(engine, adopted)
    assert engine.adoptions() == [adopted]
    engine.close()


def test_given_files_of_a_failed_iteration_when_they_are_looked_up_then_each_row_says_so_until_it_is_retried() -> None:
    engine = claimed()
    put(engine, version(), plan(1, "a.csv"), read(1, "a.csv"), plan(2, "b.csv"), plan(3, "c.csv"))
    for number, node in ((1, "clean"), (2, "flights")):
        put(engine, replace(error(number), node=node), r.Fail(P, number, node, 1.0))
    assert [(row.state, row.failed) for row in rows(engine, "a.csv", "b.csv", "c.csv")] == [
        ("read", True),
        ("unread", True),
        ("unread", False),
    ]
    put(engine, r.Retry(P, 1, 2.0))
    assert [row.failed for row in rows(engine, "a.csv", "b.csv")] == [False, True]
    engine.close()
