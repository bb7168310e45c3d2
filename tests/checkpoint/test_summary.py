"""An iteration that has ended well keeps a summary; the bytes of its outputs go once nothing needs them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.store_size import an_iteration
from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint import summary, upgrades, wal
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.checkpoint.schema import FORMAT
from odibi_actors.checkpoint.upgrades import KEPT_WHOLE
from odibi_actors.config.model import ConnectionSpec, NodeSpec, WriteSpec
from odibi_actors.errors import StoreError
from odibi_actors.model import BatchRef
from tests.checkpoint import former
from tests.checkpoint.counting import counted, recounted
from tests.checkpoint.make import (
    P,
    ack,
    claimed,
    commit,
    error,
    failure,
    loaded,
    plan,
    prepare,
    put,
    staged,
    version,
)
from tests.checkpoint.test_opening import dump_schema


def life(number: int, keep: int = 1, data: bytes = b"x" * 2000) -> list[r.AnyRecord]:
    sink = r.Ack(P, number, "lake", ack(number).attempt, "k" * 32, 1.0, 0.5, 7, 7, "w-1", None, staged(number))
    return [
        plan(number, f"{number}.csv"),
        ack(number, data=data),
        error(number),
        ack(number, "clean", data=data, counter=2),
        sink,
        prepare(number),
        r.Commit(P, number, 3.0 + number, keep),
    ]


def whole(engine: Engine) -> list[int]:
    """Iterations whose acks are kept with their bytes."""
    return [n for (n,) in engine._db.execute("SELECT DISTINCT iteration FROM acks ORDER BY iteration")]


def views(engine: Engine, *numbers: int) -> list[Any]:
    """All but whether outputs are kept, which is what a summary changes."""
    found: list[Any] = [engine.answer("iteration.list", {"pipeline": P, "limit": 100})]
    for number in numbers:
        key = {"pipeline": P, "iteration": number}
        whole, nodes = engine.answer("iteration.show", key), engine.answer("node.list", key)
        for row in (*whole["nodes"], *nodes["items"]):
            del row["kept"]
        found += [whole, nodes]
    return found


def test_given_more_than_keep_last_when_committed_then_older_ones_have_a_summary_that_shows_the_same() -> None:
    with former.whole():
        before = claimed()
        put(before, version(), *(record for n in range(1, 8) for record in life(n, keep=3)))
    engine = claimed()
    put(engine, version(), *(record for n in range(1, 8) for record in life(n, keep=3)))
    assert (whole(before), whole(engine)) == ([*range(1, 8)], [5, 6, 7])
    assert views(engine, *range(1, 8)) == views(before, *range(1, 8))
    assert loaded(engine) == loaded(before)
    assert counted(engine) == recounted(engine)


def test_given_what_nodes_had_in_memory_then_it_is_shown_of_whole_and_of_summarised_iterations_alike() -> None:
    engine = claimed()
    records: list[r.AnyRecord] = []
    for number in range(1, 6):
        told = msgspec.structs.replace(ack(number, "clean", counter=2), memory=number * 1000, memory_before=number)
        records += [*life(number, keep=2)[:2], told, prepare(number), r.Commit(P, number, 3.0 + number, 2)]
    put(engine, version(), *records)
    assert whole(engine) == [4, 5]
    for number in range(1, 6):
        rows = engine.answer("node.list", {"pipeline": P, "iteration": number})["items"]
        shown = {row["node"]: (row["memory"], row["memory_before"]) for row in rows}
        assert shown["clean"] == (number * 1000, number)
        assert shown["flights"] == (None, None)  # it was not told


def test_given_acks_and_summaries_of_the_format_before_then_memory_is_not_known() -> None:
    told = ack(1, "clean")
    fields = msgspec.to_builtins(told)
    older = {name: value for name, value in fields.items() if not name.startswith("memory")}
    assert msgspec.convert(older, r.Ack) == told
    array = msgspec.to_builtins(summary.output(told))
    assert msgspec.convert(array[:-2], summary.Output) == summary.output(told)


def test_given_summaries_when_a_sink_is_shown_then_its_parts_are_all_counted() -> None:
    engine = claimed()
    sink = NodeSpec("lake", ["clean"], write=WriteSpec(ConnectionSpec("lake", "local", "/lake"), path="a"))
    former = version()
    put(
        engine,
        msgspec.structs.replace(former, spec=msgspec.structs.replace(former.spec, nodes=[*former.spec.nodes, sink])),
    )
    put(engine, *(record for n in range(1, 8) for record in life(n, keep=3)))
    shown = engine.answer("sink.show", {"pipeline": P, "sink": "lake"})
    assert whole(engine) == [5, 6, 7]
    assert (shown["parts"], shown["rows"], shown["first"], shown["last"]) == (7, 7 * staged(1).rows, 1, 7)


def test_given_an_ack_that_replaces_another_then_it_is_counted_once() -> None:
    engine = claimed()
    put(engine, plan(1, "a.csv"), ack(1, data=b"x"), ack(1, data=b"y" * 100, counter=2), r.Invalidate(P, 1, ["x"], ""))
    assert counted(engine) == recounted(engine)
    put(engine, r.Invalidate(P, 1, ["flights"], "lost"), r.Cancel(P, [1], 1.0))
    assert counted(engine) == recounted(engine)
    assert counted(engine)["ledger"] == (0, 0)


def test_given_iterations_under_way_when_others_commit_then_nothing_of_theirs_goes() -> None:
    engine = claimed()
    put(engine, plan(1, "1.csv"), ack(1, data=b"x"), r.Fail(P, 1, "clean", 1.0))
    put(
        engine,
        plan(2, "2.csv", lane="backfill-1"),
        ack(2, data=b"x"),
        prepare(2),
        r.Block(P, 2, "lake", failure(), 1.0),
    )
    for number in range(3, 9):
        put(engine, *life(number))
    assert whole(engine) == [1, 2, 8]
    acks = [item.record for item in loaded(engine) if isinstance(item, r.LoadedAck)]
    assert [(a.iteration, a.output.data if a.output else b"") for a in acks] == [(1, b"x"), (2, b"x")]


def test_given_a_dead_letter_when_it_is_open_then_the_bytes_of_its_iteration_stay_until_it_goes() -> None:
    for ending in ("discard", "replay", "open"):
        engine = claimed()
        put(engine, plan(1, "1.csv"), ack(1, data=b"x"), r.DeadLetter(P, 1, "clean", failure(), 1.0))
        for number in range(2, 9):
            put(engine, *life(number))
        assert whole(engine) == [1, 8], ending
        (letter,) = engine.answer("deadletter.list", {"pipeline": P})["items"]
        if ending == "discard":
            put(engine, r.Discard(P, letter["id"], 2.0))
        if ending == "replay":
            again = r.Plan(P, "live", 9, 1, {"flights": []}, [], 1.0, replay=r.Replay(letter["id"], 1, True))
            put(engine, again, ack(9), prepare(9))
            assert whole(engine) == [1, 8, 9]
            put(engine, commit(9))
        assert whole(engine) == {"discard": [8], "replay": [9], "open": [1, 8]}[ending]
        assert engine.answer("iteration.show", {"pipeline": P, "iteration": 1})["positions"]["flights"]
        assert counted(engine) == recounted(engine)


def test_given_two_letters_of_an_iteration_when_one_goes_then_its_bytes_stay() -> None:
    engine = claimed()
    put(engine, plan(1, "a.csv", "b.csv"), ack(1, data=b"x"), r.Revise(P, 1, "flights", ["a.csv"], failure(), 1.0))
    put(engine, ack(1, data=b"y"), r.DeadLetter(P, 1, "clean", failure(), 1.0))
    put(engine, *life(2), *life(3))
    whole_letter, file_letter = (row["id"] for row in engine.answer("deadletter.list", {"pipeline": P})["items"])
    put(engine, r.Discard(P, file_letter, 2.0))
    assert whole(engine) == [1, 3]
    put(engine, r.Discard(P, whole_letter, 2.0))
    assert whole(engine) == [3]


def test_given_states_when_committed_then_they_are_kept_once() -> None:
    engine = claimed()
    state = BatchRef(1, 3000, "d" * 32, "", b"s" * 3000)
    for number in (1, 2, 3):
        put(engine, plan(number, f"{number}.csv"), ack(number))
        put(engine, r.Prepare(P, number, {}, 1.0, {"clean": state}), r.Commit(P, number, 2.0, 2))
    assert engine._db.execute("SELECT count(*) FROM iterations WHERE states IS NOT NULL").fetchone() == (0,)
    kept = [(item.iteration, item.state) for item in loaded(engine) if isinstance(item, r.LoadedState)]
    assert kept == [(2, state), (3, state)]


def test_given_many_cancelled_when_committed_then_a_commit_takes_a_few_at_a_time() -> None:
    engine = claimed()
    for number in range(1, 31):
        put(engine, plan(number, f"{number}.csv"), ack(number))
    put(engine, r.Cancel(P, list(range(1, 31)), 1.0))
    assert whole(engine) == list(range(1, 31))
    put(engine, *life(31))
    assert len(whole(engine)) == 31 - 8
    for number in range(32, 36):
        put(engine, *life(number))
    assert whole(engine) == [35]


def test_given_an_iteration_of_seven_small_nodes_then_it_takes_less_than_three_kilobytes(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.db"
    engine = claimed(path)
    put(engine, version())
    for number in range(1, 501):
        put(engine, *an_iteration(number))
    engine.close()
    assert path.stat().st_size / 500 < 3000


def test_given_a_database_of_format_3_when_opened_then_all_it_showed_is_there_and_the_bytes_are_gone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "checkpoints.db"
    with former.whole():
        before = claimed()
        put(before, version(), *(record for n in range(1, 11) for record in life(n, data=b"x" * 8000)))
        put(before, plan(11, "11.csv"), ack(11, data=b"x"), r.DeadLetter(P, 11, "clean", failure(), 1.0))
        put(before, plan(12, "12.csv"), ack(12, data=b"y"), error(12))
        put(before, plan(13, "13.csv"), r.Cancel(P, [13], 1.0), r.Setting(r.PROJECT, r.HISTORY, "864000.0"))
    former.downgrade(before, path, tables=former.FORMAT_3)
    size = path.stat().st_size
    for _ in range(2):
        engine = Engine(path)
        assert engine.answer("checkpoint.stats", {})["format"] == FORMAT
        assert views(engine, *range(1, 14)) == views(before, *range(1, 14))
        assert loaded(engine) == loaded(before)
        assert whole(engine) == [7, 8, 9, 10, 11, 12]
        assert len([n for n in whole(engine) if n < 11]) + 1 == KEPT_WHOLE  # the cancelled one had no acks
        assert counted(engine) == recounted(engine)
        engine.close()
    engine = Engine(path)
    made, fresh = (sorted(row) for row in (dump_schema(engine), dump_schema(before)))
    assert made == fresh
    put(engine, ack(12, "clean"), prepare(12), commit(12))
    engine.close()
    assert path.stat().st_size < size


def test_given_a_crash_in_the_upgrade_then_the_next_start_does_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoints.db"
    with former.whole():
        before = claimed()
        put(before, version(), *(record for n in range(1, 11) for record in life(n)))
    former.downgrade(before, path, tables=former.FORMAT_3)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(upgrades, "summarise", full)
        with pytest.raises(StoreError, match="No space left"):
            Engine(path)
    engine = Engine(path)
    assert views(engine, *range(1, 11)) == views(before, *range(1, 11))
    engine.close()


def test_given_a_damaged_summary_when_it_is_shown_then_the_error_names_it(tmp_path: Path) -> None:
    engine = claimed()
    put(engine, version(), *(record for n in (1, 2, 3) for record in life(n)))
    engine._db.execute("UPDATE iterations SET summary = zeroblob(50) WHERE iteration = 1")
    for verb in ("iteration.show", "node.list"):
        with pytest.raises(StoreError, match="the summary of delays iteration 1 does not match its digest"):
            engine.answer(verb, {"pipeline": P, "iteration": 1})


def shrunk(path: Path) -> Engine:
    """A store whose history is pruned and whose free pages are given back, in its log only."""
    engine = claimed(path)
    put(engine, version())
    for number in range(1, 400):
        put(engine, *life(number, keep=10**6))
    engine.checkpoint()
    while engine.prune(1e6, 1.0, 20):
        pass
    return engine


def test_given_history_is_pruned_when_checkpointed_then_the_file_gives_its_space_back(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.db"
    engine = shrunk(path)
    before = path.stat().st_size
    engine.checkpoint()
    assert path.stat().st_size < before / 3
    stats = engine.answer("checkpoint.stats", {})
    assert stats["bytes"] == path.stat().st_size
    cursor = ""
    while True:
        found = engine.answer("checkpoint.verify", {"cursor": cursor})
        assert [p for p in found["problems"] if "page" in p["what"]] == []
        if not (cursor := found["cursor"]):
            break
    put(engine, *(record for n in range(400, 900) for record in life(n, keep=10**6)))  # it grows again
    engine.close()
    again = Engine(path)
    assert again.answer("iteration.list", {"pipeline": P})["items"][0]["iteration"] == 899
    again.close()


def test_given_a_crash_after_space_was_given_back_when_opened_then_nothing_is_missing(tmp_path: Path) -> None:
    live, copy = tmp_path / "live", tmp_path / "copy"
    live.mkdir()
    engine = shrunk(live / "checkpoints.db")
    expected = loaded(engine), views(engine, 399)
    sealed, log = engine._files.seals, engine._files.log
    assert sealed is not None
    assert log is not None
    for step in ("in the log", "sealed", "copied"):
        if step == "sealed":
            sealed.seal(wal.read(log, verify=False))
        if step == "copied":
            engine.checkpoint()
        shutil.copytree(live, copy)
        again = Engine(copy / "checkpoints.db")
        assert (loaded(again), views(again, 399)) == expected, step
        again.close()
        Engine(copy / "checkpoints.db").close()
        shutil.rmtree(copy)
    engine.close()
