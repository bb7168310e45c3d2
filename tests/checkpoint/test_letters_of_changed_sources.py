"""A letter knows what lies in it, whatever its sources have become since."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.sources.file_position import file_position
from tests.checkpoint.make import P, failure, plan
from tests.checkpoint.test_operators import LEFT, put

RATES = file_position("r.csv", 3, 4, 5, 1, "ab" * 16)
OTHER = replace(RATES, identity="other.csv")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Iteration 1, which had ``rates`` as a reference, is a letter; ``flights`` is read whole by now, and ``rates`` is
    watched: iteration 2 takes the letter up."""
    made = Engine(tmp_path / "checkpoints.db")
    made.claim(0, "b1")
    first = plan(1, "f1.csv")
    put(made, replace(first, positions={**first.positions, "rates": [RATES]}), dead(1))
    again = replace(first, iteration=2, positions={"flights": [OTHER], "rates": []}, ledgered=["rates"])
    put(made, replace(again, replay=r.Replay(1, 1, True, keeps=True)))
    yield made
    made.close()


def dead(number: int) -> r.DeadLetter:
    return r.DeadLetter(P, number, "clean", failure("bad"), 3.0)


def lies(engine: Engine, letter: int) -> tuple[str, dict[str, Any]]:
    """Its state, and what lies in it."""
    row = engine.answer("deadletter.show", {"id": letter})
    return row["state"], {name: [one["identity"] for one in row["positions"][name]] for name in row["consumed"]}


def sound(engine: Engine) -> bool:
    return not engine.answer("checkpoint.verify", {"cursor": ""})["problems"]


def test_a_letter_holds_what_was_consumed_and_tells_what_was_read_besides(engine: Engine) -> None:
    assert lies(engine, 1) == ("replaying", {"flights": ["f1.csv"]})
    assert engine.answer("deadletter.show", {"id": 1})["positions"].keys() == {"flights", "rates"}


def test_when_the_replay_is_void_then_the_letter_is_open_with_its_file(engine: Engine) -> None:
    put(engine, r.Cancel(P, [2], 4.0))
    assert lies(engine, 1) == ("open", {"flights": ["f1.csv"]})
    assert sound(engine)


def test_when_the_replay_becomes_a_letter_then_that_holds_the_file_until_it_is_taken_back(engine: Engine) -> None:
    put(engine, dead(2))
    assert lies(engine, 2) == ("open", {"rates": [], "flights": ["f1.csv"]})
    assert sound(engine)
    put(engine, r.Rewind(P, 1, 2, [], 5.0, LEFT), r.Rewound(P, 1, 2, 6.0))
    assert lies(engine, 1) == ("open", {"flights": ["f1.csv"]})
    assert sound(engine)
