"""Files of a source that hold the bytes of another one: people copy and restore files, and each name is read.

That is told, once, when the second is read; nothing is refused. Small files may well be equal by chance, and those
without rows add nothing: neither is told.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from odibi_actors.model import LIVE, PositionRead
from odibi_actors.runtime.visible import named
from odibi_actors.units import plural

LEAST = 64
"""Bytes of a file from which on it is told."""

LOOKED_AT = 100
"""Files of the same bytes among which an earlier one is looked for: there may be any number."""

NAMED = 3
"""Files that one line names."""

_ONE_OF = f"lane = '{LIVE}' AND digest <> '' AND size >= {LEAST}"

INDEX = f"CREATE INDEX twins ON ledger (digest) WHERE {_ONE_OF};\n"
"""Each of its entries ends with the key of the ledger: by it a file is found without its row."""

_EQUAL = (
    "SELECT revised = 1 OR EXISTS (SELECT 1 FROM iterations AS i WHERE i.pipeline = l.pipeline AND i.iteration ="
    " l.iteration AND i.state = 'dead_lettered') AS aside, iteration, identity FROM ledger AS l"
    f" WHERE {_ONE_OF} AND digest = ? AND pipeline = ? AND source = ?"
)
"""Files of these bytes: (set aside there, iteration, name)."""

_NEWEST = (
    " AND NOT EXISTS (SELECT 1 FROM ledger AS n WHERE n.pipeline = l.pipeline AND n.lane = l.lane AND n.source ="
    " l.source AND n.identity = l.identity AND n.generation > l.generation)"
)
"""As they were taken up last: of a dead letter that was replayed, by the iteration that has its rows."""

Execute = Callable[..., sqlite3.Cursor]


class Twin(NamedTuple):
    """A file that was read, and another one that had been read before (``former`` in iteration ``by``; ``aside``: it
    was set aside there, and is published by none)."""

    identity: str
    former: str
    by: int
    aside: bool = False

    @property
    def where(self) -> str:
        """What became of the former."""
        return f"iteration {self.by}" + (", where it was set aside" if self.aside else "")


class Read(NamedTuple):
    """What was read of one file of an iteration."""

    identity: str
    size: int
    file: PositionRead


def found(execute: Execute, pipeline: str, source: str, iteration: int, reads: Sequence[Read]) -> list[Twin]:
    """Of the files that an iteration of the live lane has read, those whose bytes were read before. Call it before the
    ledger has their digests: one that is read once more is not told of again."""
    here: dict[bytes, str] = {}
    told = []
    for identity, size, file in reads:
        if size < LEAST or file.rows == 0:
            continue
        former, by, aside = here.setdefault(file.digest, identity), iteration, False
        if former == identity:
            key = (file.digest, pipeline, source)
            equal = execute(f"{_EQUAL} AND identity <> ?{_NEWEST} LIMIT {LOOKED_AT}", (*key, identity)).fetchall()
            if not equal or execute(f"{_EQUAL} AND identity = ? LIMIT 1", (*key, identity)).fetchone():
                continue
            aside, by, former = min(equal)
        told.append(Twin(identity, former, by, bool(aside)))
    return told


def line(pipeline: str, source: str, iteration: int, twins: Sequence[Twin]) -> str:
    """What is told of them."""
    names = "; ".join(f"{named(one.identity)} those of {named(one.former)} ({one.where})" for one in twins[:NAMED])
    more = f"; and {len(twins) - NAMED} more" if len(twins) > NAMED else ""
    has = "has" if len(twins) == 1 else "have"
    return (
        f"{pipeline} {iteration} {source}: {plural(len(twins), 'file')} {has} the same bytes as one that was read under"
        f" another name: {names}{more}; read all the same (`odibictl iteration show {pipeline} {iteration}`)"
    )


def earlier(
    db: sqlite3.Connection, pipeline: str, iteration: int, source: str, files: Sequence[Any]
) -> Iterator[dict[str, Any]]:
    """Of these positions of an iteration, as they were read, those whose bytes another file had before."""
    for file in files:
        if file.size < LEAST or not file.digest:
            continue
        key = (bytes.fromhex(file.digest), pipeline, source, file.identity)
        equal = db.execute(f"{_EQUAL} AND identity <> ?{_NEWEST} LIMIT {LOOKED_AT}", key).fetchall()
        before = [one for one in equal if one[1:] < (iteration, file.identity)]
        if before:
            aside, by, name = min(before)
            told = {"node": source, "identity": file.identity, "same_as": name, "iteration": by}
            yield told | {"aside": bool(aside)}
