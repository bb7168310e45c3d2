"""What every source that is read in order goes through: kinds by faults. ``docs/guarantees.md`` has the table,
``test_contract.py`` runs each cell of it. A kind of a package of its own is one ``Kind`` more."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pytest

from odibi_actors.batches.ipc import encode
from odibi_actors.config.model import BatchSpec, ConnectionSpec, PollSpec, ReadSpec, TableSpec
from odibi_actors.kinds.connection import OPEN
from odibi_actors.kinds.source import Source
from odibi_actors.nodes.failures import Failed
from odibi_actors.sources.events.effects import Append, Appended, Put
from odibi_actors.sources.events.kind import Events
from odibi_actors.sources.incremental import Incremental
from odibi_actors.sources.ticks.effects import Poll, Polled
from odibi_actors.sources.ticks.kind import Interval
from odibi_actors.streaming.effects import Again, Ahead, AsNow, Begin, Part, Piece, Seen
from tests.docs.wrapped import item

TYPES = {"id": "int64", "s": "string"}
HOSTILE = ["a,b", 'q"q', "é😀", "'; drop table t; --", "../../x", " x ", "NULL", "{}", "\\N", "2"]
Rows = list[dict[str, Any]]


class Kind(NamedTuple):
    """A mode, and what it reads. ``make``: the kind, as a process that begins has it; ``read``: its section, below a
    folder; ``add``: append rows there; ``gone``: take away all that it reads."""

    mode: str
    make: Callable[[], Source]
    read: Callable[[Path], ReadSpec]
    add: Callable[[Path, Rows], None]
    gone: Callable[[Path], None]
    two: dict[str, int] = {"max_rows": 2}  # limits within which two rows fit, and no more


def _files(format: str) -> Kind:
    def read(root: Path) -> ReadSpec:
        landing = ConnectionSpec("landing", "local", str(root / "in"))
        return ReadSpec(landing, format, "incremental", pattern="*", schema=TYPES, consumption="cursor")

    def add(root: Path, rows: Rows) -> None:
        import csv
        import json

        path = root / "in" / f"a.{format}"
        path.parent.mkdir(exist_ok=True)
        new = not path.exists()
        with path.open("a", newline="") as file:
            if format == "json":
                file.writelines(json.dumps(row) + "\n" for row in rows)
                return
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([["id", "s"]] if new else [])
            writer.writerows([row["id"], row["s"]] for row in rows)

    return Kind("incremental", Incremental, read, add, lambda root: (root / "in" / f"a.{format}").unlink())


def _table(kind: str) -> Kind:
    def opened(root: Path) -> Any:
        return sqlite3.connect(root / "shop.db") if kind == "sqlite" else duckdb.connect(str(root / "shop.db"))

    def read(root: Path) -> ReadSpec:
        shop = ConnectionSpec("shop", kind, str(root / "shop.db"))
        spec = TableSpec("t", "", "id")
        return ReadSpec(shop, "sql", "incremental", schema=TYPES, consumption="cursor", of_table=spec)

    def add(root: Path, rows: Rows) -> None:
        with closing(opened(root)) as db:
            db.execute("CREATE TABLE IF NOT EXISTS t (id BIGINT, s VARCHAR)")
            db.executemany("INSERT INTO t VALUES (?, ?)", [[row["id"], row["s"]] for row in rows])
            db.commit()

    return Kind("incremental", Incremental, read, add, lambda root: (root / "shop.db").unlink())


def _append(kind: Source, read: ReadSpec, put: Put) -> None:
    (found,) = (one for one in kind.probe(Append("p/src", 1, read, [put], 0, 1 << 40, 60.0)) if one is not None)
    assert isinstance(found, Appended)
    assert [one.state for one in found.outcomes] == ["stored"], found


def _events() -> Kind:
    def read(root: Path) -> ReadSpec:
        inbox = ConnectionSpec("inbox", "local", str(root))
        return ReadSpec(inbox, "arrow", "event", path="log", schema=TYPES, consumption="cursor")

    def add(root: Path, rows: Rows) -> None:
        _append(Events(), read(root), Put("", encode(pa.Table.from_pylist(rows))))

    return Kind("event", Events, read, add, lambda root: shutil.rmtree(root / "log"))


def _ticks() -> Kind:
    def read(root: Path) -> ReadSpec:
        logs, landing = (ConnectionSpec(name, "local", str(root / name)) for name in ("ticks", "in"))
        polled = PollSpec(60.0, landing, "now.arrow")
        return ReadSpec(logs, "arrow", "interval", path="log", schema=TYPES, consumption="cursor", polled=polled)

    def add(root: Path, rows: Rows) -> None:
        (root / "in").mkdir(exist_ok=True)
        (root / "in/now.arrow").write_bytes(encode(pa.Table.from_pylist(rows)))
        kind = Interval()
        (found,) = kind.probe(Poll("p/src", 1, read(root), 60.0, 60.0))
        assert isinstance(found, Polled)
        _append(kind, read(root), Put("", found.data, found.rows))

    one_tick = {"max_bytes": 1}  # nobody has looked at its rows
    return Kind("interval", Interval, read, add, lambda root: shutil.rmtree(root / "ticks"), one_tick)


KINDS: dict[str, Kind] = {
    "growing csv": _files("csv"),
    "growing JSON lines": _files("json"),
    "table of SQLite": _table("sqlite"),
    "table of DuckDB": _table("duckdb"),
    "events": _events(),
    "polled file": _ticks(),
}


class Bench:
    """One kind, and what there is for it to read: eight rows, two by two."""

    def __init__(self, kind: Kind, root: Path) -> None:
        self.kind, self.root, self.read = kind, root, kind.read(root)
        self.source = kind.make()

    def add(self, first: int, texts: list[str] | None = None) -> Rows:
        rows = [{"id": first + number, "s": text} for number, text in enumerate(texts or ["x", "y"])]
        self.kind.add(self.root, rows)
        return rows

    def fill(self) -> Rows:
        return [row for number in range(4) for row in self.add(2 * number + 1)]

    def restart(self) -> None:
        self.source = self.kind.make()

    def parts(self, begins: list[Begin], credit: int = 100, more: bool = True, **limits: int) -> list[Part]:
        ask = Ahead("p/src", 1, self.read, begins, BatchSpec(**limits), credit, more)
        (found,) = (one for one in self.source.probe(ask) if one is not None)
        assert isinstance(found, Seen)
        assert found.problems == []
        return found.parts

    def drained(self, restarts: bool = False, credit: int = 100, **limits: int) -> Iterator[Piece]:
        """All there is, piece by piece, each where the one before ends."""
        places: dict[str, bytes] = {}
        while True:
            found = self.parts([Begin(name, place) for name, place in places.items()], credit, **limits)
            pieces = [piece for part in found for piece in part.pieces]
            for part in found:
                assert part.problem == ""
                for piece in part.pieces:
                    assert places.get(part.partition) in (None, piece.range.lower)
                    assert piece.range.lower < piece.range.upper
                    places[part.partition] = piece.range.upper
                if not part.more and part.pieces:  # a run reads what begins before its end, and is done behind it
                    assert part.pieces[-1].range.lower < part.end <= part.pieces[-1].range.upper
            if not pieces:
                return
            yield from pieces
            if restarts:
                self.restart()

    def rows(self, *pieces: Piece) -> Rows:
        found: Rows = self.source.load(self.read, [one.position for one in pieces], b"", OPEN).table.to_pylist()
        return found

    def again(self, *pieces: Piece) -> AsNow:
        (found,) = (
            one
            for one in self.source.probe(Again("p/src", 2, self.read, [piece.position for piece in pieces]))
            if one is not None
        )
        assert isinstance(found, AsNow)
        return found


def _once(bench: Bench) -> None:
    rows = bench.fill()
    pieces = list(bench.drained())
    assert bench.rows(*pieces) == rows
    assert list(bench.parts([Begin(one.range.partition, one.range.upper) for one in pieces[-1:]])[0].pieces) == []
    later = bench.add(100)
    (part,) = bench.parts([Begin(pieces[-1].range.partition, pieces[-1].range.upper)])
    assert bench.rows(*part.pieces) == later


def _cut(bench: Bench) -> None:
    rows = bench.fill()
    pieces = list(bench.drained(credit=1, **bench.kind.two))
    read = [bench.rows(piece) for piece in pieces]
    assert [row for some in read for row in some] == rows
    assert {len(some) for some in read} <= {1, 2}
    assert len({piece.position.identity for piece in pieces}) == len(pieces)


def _restart(bench: Bench) -> None:
    rows = bench.fill()
    before = list(bench.drained(credit=1, **bench.kind.two))
    bench.restart()
    after = list(bench.drained(restarts=True, credit=1, **bench.kind.two))
    assert [piece.range for piece in after] == [piece.range for piece in before]
    assert bench.rows(*after) == rows


def _killed_in_between(bench: Bench) -> None:
    bench.fill()
    pieces = list(bench.drained(max_rows=4, credit=1))
    first = bench.rows(*pieces)
    bench.add(100)  # what comes meanwhile is of a later range
    bench.restart()
    assert bench.rows(*pieces) == first
    found = bench.again(*pieces)
    assert ([piece.range for piece in found.pieces], found.changed, found.gone) == (
        [one.range for one in pieces],
        [],
        [],
    )


def _hole(bench: Bench) -> None:
    bench.fill()
    pieces = list(bench.drained(credit=1, **bench.kind.two))
    name, hole = pieces[0].range.partition, pieces[2].range
    (before,) = bench.parts([Begin(name, pieces[0].range.upper, hole.lower)], more=False)
    assert bench.rows(*before.pieces) == bench.rows(pieces[1])
    assert before.pieces[-1].range.upper == hole.lower
    (behind,) = bench.parts([Begin(name, hole.upper)], more=False)
    assert bench.rows(*behind.pieces) == bench.rows(*pieces[3:])


def _hostile(bench: Bench) -> None:
    rows = bench.add(1, HOSTILE)
    assert bench.rows(*bench.drained()) == rows


def _gone(bench: Bench) -> None:
    bench.fill()
    pieces = list(bench.drained())
    bench.restart()
    bench.kind.gone(bench.root)
    found = bench.again(*pieces)
    assert (found.pieces, [identity for identity, _ in found.gone]) == ([], [one.position.identity for one in pieces])
    assert all(part.pieces == [] for part in bench.parts([Begin(pieces[0].range.partition, pieces[-1].range.upper)]))
    with pytest.raises((Failed, OSError)):
        bench.rows(*pieces)


FAULTS: dict[str, tuple[str, Callable[[Bench], None]]] = {
    "none": ("each row is read once, in order; what is appended is behind the place", _once),
    "limits": ("pieces fit into an iteration, one where the one before ends, with names of their own", _cut),
    "restart of the source": ("a process that comes after looks on at the place, and finds the same", _restart),
    "kill between reading and commit": (
        "what is planned is read again as it was, by another process, whatever was appended meanwhile",
        _killed_in_between,
    ),
    "rows in a dead letter": ("it is read up to before them, and on behind them", _hole),
    "hostile values": ("texts come through as they are", _hostile),
    "gone": ("that what was read is gone is told; nothing else is read in its place", _gone),
}
"""Name -> what is asked of every kind, and the run of it."""


def table() -> str:
    """For the documentation: each cell is a test of ``test_contract.py``."""
    lines = [f"| {' | '.join(['fault', *KINDS])} |", f"|---{'|---' * len(KINDS)}|"]
    lines += [f"| {name} |{' ✓ |' * len(KINDS)}" for name in FAULTS]
    lines += ["", *(item(f"**{name}**: {asked}.") for name, (asked, _) in FAULTS.items())]
    return "\n".join(lines)
