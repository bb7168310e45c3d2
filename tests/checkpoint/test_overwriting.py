"""What the store says of parts that others replace: which of them stands, and what a rewind leaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.model import StagedRef
from tests.checkpoint.make import P, ack, failure, plan, staged
from tests.checkpoint.test_operators import LEFT, put
from tests.targets import file_part


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = Engine(tmp_path / "checkpoints.db")
    made.claim(0, "b1")
    yield made
    made.close()


def part(number: int) -> StagedRef:
    target = f"/lake/_current-{number}/part.parquet"
    return file_part(f"{target}.staged", target, 7, 100, f"{number}" * 32, replaces=True)


def prepared(engine: Engine, number: int, node: str = "lake") -> None:
    acks = [ack(number), ack(number, node)]
    put(engine, plan(number, f"f{number}.csv"), *acks, r.Prepare(P, number, {node: part(number)}, 2.0))


def committed(engine: Engine, number: int, abandoned: bool = False) -> None:
    prepared(engine, number)
    if abandoned:
        put(engine, r.Block(P, number, "lake", failure("conflict"), 2.5), r.Abandon(P, number, "lake", 2.6))
    put(engine, r.Commit(P, number, 3.0, abandoned=["lake"] if abandoned else []))


def counted_on(engine: Engine) -> list[tuple[str, list[str]]]:
    """Parts that ``checkpoint verify --targets`` looks for, and where."""
    found: list[tuple[str, list[str]]] = []
    cursor = ""
    while True:
        answer = engine.answer("checkpoint.verify", {"cursor": cursor})
        assert not answer["problems"]
        found += [(one["what"], one["paths"]) for one in answer["files"] if "the part of" in one["what"]]
        cursor = answer["cursor"]
        if not cursor:
            return found


def output(engine: Engine, number: int) -> dict[str, Any]:
    return dict(engine.answer("node.show", {"pipeline": P, "iteration": number, "node": "lake"})["output"])


def test_given_several_parts_when_verified_then_only_the_newest_is_to_be_there(engine: Engine) -> None:
    for number in (1, 2, 3):
        committed(engine, number)
    assert counted_on(engine) == [(f"the part of lake of {P} 3", ["/lake/_current-3/part.parquet"])]


def test_given_a_newer_part_that_is_prepared_when_verified_then_it_is_there_or_staged_and_the_older_one_may_be_gone(
    engine: Engine,
) -> None:
    committed(engine, 1)
    prepared(engine, 2)
    assert counted_on(engine) == [
        (f"the part of lake of {P} 2", ["/lake/_current-2/part.parquet", "/lake/_current-2/part.parquet.staged"])
    ]


def test_given_a_newer_part_that_was_given_up_when_verified_then_the_older_one_is_to_be_there(engine: Engine) -> None:
    committed(engine, 1)
    committed(engine, 2, abandoned=True)
    assert [what for what, _ in counted_on(engine)] == [f"the part of lake of {P} 1"]


def test_given_a_rewind_when_verified_then_the_part_that_was_taken_back_stands_still_and_no_other_is_missed(
    engine: Engine,
) -> None:
    committed(engine, 1)
    committed(engine, 2)
    put(engine, r.Rewind(P, 1, 2, [], 5.0, LEFT), r.Rewound(P, 1, 2, 6.0))
    assert counted_on(engine) == []
    assert output(engine, 1)["replaced_by"] == 2


def test_given_a_part_when_its_node_is_shown_then_it_is_said_which_iteration_overwrites_it(engine: Engine) -> None:
    for number in (1, 2, 3):
        committed(engine, number)
    assert [output(engine, number).get("replaced_by") for number in (1, 2, 3)] == [2, 3, None]


def test_given_a_rewind_when_asked_for_then_it_is_told_what_stands_and_that_it_was_replaced(engine: Engine) -> None:
    for number in (1, 2, 3):
        committed(engine, number)
    committed(engine, 4, abandoned=True)
    shown = engine.answer("rewind.show", {"pipeline": P, "to": 1})
    row = {"node": "lake", "folder": "/lake", "parts": 2, "last": 3, "replaced": True, "given_up": [4]}
    assert shown["retractions"] == [row | {"at": ["local", "", "/lake"], "retracts": True}]
    put(engine, plan(5, "f5.csv"), ack(5), r.Prepare(P, 5, {"lake": staged(5)}, 2.0), r.Commit(P, 5, 3.0))
    assert [row["replaced"] for row in engine.answer("rewind.show", {"pipeline": P, "to": 4})["retractions"]] == [False]


def test_given_parts_of_before_the_sink_came_to_overwrite_then_a_rewind_takes_these_back_and_no_others(
    engine: Engine,
) -> None:
    put(engine, plan(1, "f1.csv"), ack(1), r.Prepare(P, 1, {"lake": staged(1)}, 2.0), r.Commit(P, 1, 3.0))
    committed(engine, 2)
    rows = engine.answer("rewind.show", {"pipeline": P, "to": 0})["retractions"]
    assert [(row["parts"], row["last"], row["replaced"]) for row in rows] == [(1, 1, False), (1, 2, True)]
