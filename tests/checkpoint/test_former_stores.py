"""Stores that former releases have made, of this history, are what ours would be after it, and go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.checkpoint.schema import FORMAT, seal, sealed
from odibi_actors.errors import StoreError
from odibi_actors.model import Position, PositionRead
from odibi_actors.sources.file_position import FileTimes, file_position, file_times
from tests.checkpoint import former
from tests.checkpoint.counting import counted, recounted
from tests.checkpoint.make import P, ack, claimed, commit, error, failure, loaded, plan, prepare, put, schedule, version
from tests.checkpoint.test_summary import dump_schema, views

NEWEST = 12


def file(name: str, number: int, generation: int = 1) -> Position:
    """Among them one of before 1970, and inodes of 64 bits."""
    written = 1_700_000_000_000_000_000
    mtime_ns = -5 if number == 1 else written + number
    return file_position(name, 100 + number, mtime_ns, 2**64 - number, generation, ctime_ns=written + 10 * number)


def planned(number: int, *files: Position, **more: Any) -> r.Plan:
    rates = file_position("r.csv", 3, 4, 5, 1, "ab" * 16)
    return replace(plan(number), positions={"flights": list(files), "rates": [rates]}, **more)


def read(number: int, *files: Position) -> r.Ack:
    """With another ctime than planned."""
    told = []
    for place, one in enumerate(files, 1):
        times = file_times(one.detail)
        told.append(PositionRead(bytes([place]) * 16, times._replace(ctime_ns=times.ctime_ns + 1).packed()))
    return replace(ack(number, data=b"x"), files=told)


def history() -> list[r.AnyRecord]:
    """Seven iterations that ended well; one with a file set aside, one that is a letter and is replayed, one that was
    cancelled, one whose file is read; a file that has set off a schedule."""
    records: list[r.AnyRecord] = [version()]
    for number in range(1, 8):
        files = [file(f"{number}a.csv", number), file(f"{number}b.csv", number + 10)]
        records += [planned(number, *files), read(number, *files), ack(number, "clean"), prepare(number)]
        records.append(commit(number))
    good, bad = file("8a.csv", 8), file("bad.csv", 9)
    aside = r.Revise(P, 8, "flights", ["bad.csv"], failure(position="bad.csv"), 2.0)
    records += [planned(8, good, bad), aside, read(8, good)]
    records += [planned(9, file("9a.csv", 20)), error(9), r.DeadLetter(P, 9, "clean", failure(), 3.0)]
    records += [planned(10, file("10a.csv", 21)), r.Cancel(P, [10], 3.0)]
    records.append(planned(11, file("9a.csv", 22, 2), replay=r.Replay(2, 9, whole=True)))
    records += [planned(12, file("12a.csv", 23)), read(12, file("12a.csv", 23)), schedule("arrivals")]
    records.append(r.Occurrence(P, "arrivals", "o1", 5.0, 5.0, positions=[file("t.csv", 30)]))
    return records


def seen(engine: Engine) -> list[Any]:
    """All that anybody can see of the positions."""
    letters = [engine.answer("deadletter.show", {"id": number}) for number in (1, 2)]
    pages = [engine.ledger(P, lane, source) for lane, source in (("live", "flights"), ("trigger", "arrivals"))]
    rows = {table: counts[0] for table, counts in counted(engine).items()}
    return [pages, letters, views(engine, *range(1, NEWEST + 1)), loaded(engine), rows]


@pytest.mark.parametrize("name", ["format-9"])
def test_given_a_store_of_a_former_release_when_opened_then_it_is_what_ours_is_after_the_same_history(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / "checkpoints.db"
    former.stored(name, path)
    ours = claimed()
    put(ours, *history())
    for _ in range(2):
        engine = Engine(path)
        assert engine.answer("checkpoint.stats", {})["format"] == FORMAT
        assert seen(engine) == seen(ours)
        assert counted(engine) == recounted(engine)
        assert sorted(dump_schema(engine)) == sorted(dump_schema(ours))
        engine.close()
    engine = Engine(path)
    put(engine, read(11, file("9a.csv", 22, 2)), prepare(11), commit(11), prepare(12), commit(12))
    with pytest.raises(Exception, match=r"12a\.csv .* but iteration 12 has it"):
        put(engine, planned(13, file("12a.csv", 23)))
    engine.close()


def test_given_a_payload_that_cannot_be_upgraded_then_it_is_named_and_the_store_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.db"
    former.stored("format-9", path)
    db = former.opened(path)
    (blob,) = db.execute("SELECT payload FROM plans WHERE iteration = 11").fetchone()
    value = msgspec.msgpack.decode(sealed(blob, "plan"))
    value["positions"]["flights"] = [["9a.csv", 1]]
    db.execute("UPDATE plans SET payload = ? WHERE iteration = 11", (seal(value),))
    db.close()
    former.resealed(path)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"payload of plans delays 11 .*cannot be upgraded"):
            Engine(path)
    db = former.opened(path)
    assert db.execute("PRAGMA user_version").fetchone() == (9,)
    assert db.execute("SELECT count(*) FROM ledger WHERE mtime_ns > 0").fetchone()[0] > 10
    db.close()


def test_times_are_kept_exactly_in_a_detail_and_that_of_another_kind_is_refused() -> None:
    for times in (FileTimes(-5, 2**64 - 1, 7), FileTimes(1_700_000_000_000_000_000, 0, 0)):
        assert file_times(times.packed()) == times
    with pytest.raises(ValueError, match="a detail of 3 bytes"):
        file_times(b"abc")
