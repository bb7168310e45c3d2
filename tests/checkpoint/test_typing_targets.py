"""Stores of formats up to 9, in which targets were texts."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import pytest

from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint import seals, typing_targets
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.checkpoint.schema import FORMAT, seal
from odibi_actors.checkpoint.seals import Mark
from odibi_actors.checkpoint.tables import SinksDecoder
from odibi_actors.errors import StoreError
from odibi_actors.model import StagedRef
from tests.checkpoint import former
from tests.checkpoint.make import P, ack, claimed, commit, loaded, plan, put, version
from tests.targets import file_part, folder, rows_part, table

PARTS = {
    "lake": file_part("/lake/_part-0000000002-lake.1-2.staged", "/lake/part-0000000002-lake.parquet", 7, 100, "d" * 32),
    "day": file_part(
        "/day/_current-2.1-3/part.parquet.staged", "/day/_current-2.1-3/part.parquet", 7, 100, "e" * 32, replaces=True
    ),
    "mart": rows_part(file_part("/data/staged/p/2/mart.arrow", "/x/y", 7, 100, "f" * 32), "/a#b/mart.db", "sales"),
}


def in_flight(engine: Engine) -> None:
    """An iteration that is committed, one that is prepared, one whose sinks are staged, and a rewind."""
    put(engine, version(), plan(1, "a.csv"), ack(1), r.Prepare(P, 1, {"lake": PARTS["lake"]}, 2.0), commit(1))
    put(engine, plan(2, "b.csv"), *(part_of(2, node) for node in PARTS), r.Prepare(P, 2, PARTS, 2.0))
    put(engine, plan(3, "c.csv"), *(part_of(3, node) for node in PARTS))
    put(engine, r.Schema(P, "flights", b"s", ["n: int64"]))
    put(engine, r.Schema(P, "mart", b"m", ["n: int64"], table("/a#b/mart.db", "sales"), 1))
    put(engine, r.Schema(P, "lake", b"l", ["n: int64"], folder("/lake"), 1))
    put(engine, r.Adopt(P, "lake", folder("/lake"), P, "old", 0, 0, 1.0))
    put(engine, version(pipeline="q"), plan(1, "a.csv", pipeline="q"), ack(1, pipeline="q"))
    put(engine, r.Prepare("q", 1, {"lake": PARTS["lake"]}, 2.0), r.Commit("q", 1, 3.0))
    put(engine, r.Rewind("q", 0, 1, [r.Retraction("lake", folder("/lake"), [2])], 4.0, r.Left(0, 0, 0)))


def part_of(number: int, node: str) -> r.Ack:
    return msgspec.structs.replace(ack(number, node, counter=number), output=None, staged=PARTS[node])


def test_given_a_store_of_the_format_before_with_work_in_flight_when_opened_then_all_of_it_says_what_it_is(
    tmp_path: Path,
) -> None:
    path = tmp_path / "checkpoints.db"
    before = claimed(path)
    in_flight(before)
    dump, mark = loaded(before), Mark(before.epoch, before.last_seq)
    shown = before.answer("iteration.show", {"pipeline": P, "iteration": 2})
    before.close()
    db = sqlite3.connect(path, isolation_level=None)
    former.take_back(db, former.TO_9)
    like = "instr(payload, CAST('/a#b/mart.db#sales' AS BLOB))"
    texts = db.execute(f"SELECT count(*) FROM schemas WHERE {like}").fetchone()
    db.close()
    assert texts == (1,)  # as the release before wrote it
    path.with_name("checkpoints.db-seals").unlink()
    seals.create(path, path, mark)
    for _ in range(2):
        engine = Engine(path)
        assert engine.answer("checkpoint.stats", {})["format"] == FORMAT
        assert loaded(engine) == dump
        assert engine.answer("iteration.show", {"pipeline": P, "iteration": 2}) == shown
        engine.close()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/lake/out", folder("/lake/out")),
        ("/lake#1/out", folder("/lake#1/out")),  # a folder on the way may have one
        ("/mart.db#sales", table("/mart.db", "sales")),
        ("/a#b/mart.db#sales", table("/a#b/mart.db", "sales")),
    ],
)
def test_given_a_target_of_a_former_format_then_it_is_told_what_it_is(text: str, found: object) -> None:
    assert msgspec.convert(typing_targets.target(text), type=type(found)) == found


def test_given_parts_as_the_release_before_wrote_them_when_upgraded_then_they_are_ours() -> None:
    staged = {"staged": "/s", "rows": 7, "size": 100, "digest": "d"}
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE acks (pipeline, iteration, node, payload)")
    db.execute("CREATE TABLE iterations (pipeline, iteration, sinks)")
    parts = {
        "lake": staged | {"target": "/lake/part-1-lake.parquet"},
        "day": staged | {"target": "/day/_current-1-day.1-2/part-1-day.parquet", "replaces": True},
        "mart": staged | {"target": "/mart.db#t", "replaces": True},
    }
    db.execute("INSERT INTO iterations VALUES ('p', 1, ?)", (seal(parts),))
    for _ in range(2):  # a step to format 4 has done it once
        typing_targets.parts_say_what_they_are(db)
    (blob,) = db.execute("SELECT sinks FROM iterations").fetchone()
    common = {"rows": 7, "size": 100, "digest": "d"}
    assert SinksDecoder.decode(blob[:-8]) == {
        "lake": StagedRef(
            folder("/lake"), "/s", "/lake/part-1-lake.parquet", **common, exclusive="/lake", retracts=True
        ),
        "day": StagedRef(
            folder("/day"),
            "/s",
            "/day/_current-1-day.1-2/part-1-day.parquet",
            **common,
            exclusive="/day",
            retracts=True,
            replaces=True,
        ),
        "mart": StagedRef(table("/mart.db", "t"), "/s", "", **common, exclusive="/mart.db", replaces=True),
    }


def test_given_a_payload_that_is_damaged_when_upgraded_then_it_is_named_and_nothing_changes() -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute("CREATE TABLE schemas (pipeline, node, payload)")
    db.execute("INSERT INTO schemas VALUES ('p', 'lake', ?)", (seal({"target": "/lake"})[:-1] + b"x",))
    with pytest.raises(StoreError, match=r"payload of schemas p lake does not match its digest"):
        typing_targets.targets_say_what_they_are(db)
