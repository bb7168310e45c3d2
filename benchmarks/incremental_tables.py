"""Reading what is new in a table of a database: does it take longer, the longer the table is?

    python -m benchmarks.incremental_tables --rows 4000000 --new 1000

A table of so many rows, with an index on its watermark, is read whole, in pieces that fit into an iteration; then rows
are added, several times, and just these are found and read: looked for by the probe of the kind, and read as a worker
reads them. The same for half the rows. Beside it, as a floor, the driver of the database selects just the new rows,
from where they are known to begin, and makes nothing of them.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb

from odibi_actors.config.model import BatchSpec, ConnectionSpec, ReadSpec, TableSpec
from odibi_actors.kinds.connection import OPEN
from odibi_actors.sources.incremental import INCREMENTAL
from odibi_actors.streaming.effects import Ahead, Begin, Piece, Seen

CREATE = "create table orders (id bigint, customer varchar, amount double, note varchar, updated_at varchar)"
_VALUES = "i, 'c' || (i * 7919 % 100003), (i % 9973) + 0.25, 'note ' || (i % 13)"
_INSERT = {
    "sqlite": "insert into orders with recursive n(i) as (select {begin} union all select i + 1 from n"
    " where i < {end} - 1)"
    f" select {_VALUES}, strftime('%Y-%m-%d %H:%M:%S', 1700000000 + i / 4, 'unixepoch') from n",
    "duckdb": f"insert into orders select {_VALUES}, strftime(make_timestamp((1700000000 + i // 4) * 1000000::bigint),"
    " '%Y-%m-%d %H:%M:%S') from range({begin}, {end}) n(i)",
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_000_000, help="of the table (default 4,000,000)")
    parser.add_argument("--new", type=int, default=1000, help="rows that are added (default 1,000)")
    parser.add_argument("--repeats", type=int, default=9, help="times they are (default 9)")
    parser.add_argument("--engine", choices=sorted(_INSERT), action="append", help="default: both")
    parser.add_argument("--dir", type=Path, help="folder for the file; its disk counts (default: a temporary one)")
    given = parser.parse_args()
    for engine in given.engine or sorted(_INSERT):
        for rows in (given.rows // 2, given.rows):
            with tempfile.TemporaryDirectory(dir=given.dir) as folder:
                _measure(engine, Path(folder, "shop.db"), rows, given.new, given.repeats)


def _connect(engine: str, path: Path) -> Any:
    return sqlite3.connect(path) if engine == "sqlite" else duckdb.connect(str(path))


def _fill(engine: str, path: Path, begin: int, count: int) -> None:
    with closing(_connect(engine, path)) as db:
        for at in range(begin, begin + count, 500_000):
            end = min(at + 500_000, begin + count)
            db.execute(_INSERT[engine].format(begin=at, end=end))
            db.commit()


class _Source:
    """The kind, asked as its finder and its workers ask; what was read is counted and let go."""

    def __init__(self, engine: str, path: Path) -> None:
        what = TableSpec("orders", "", "updated_at", ["id"])
        place = ConnectionSpec("shop", engine, str(path))
        self._read = ReadSpec(place, "sql", "incremental", consumption="cursor", of_table=what)
        self._behind: list[Begin] = []
        self._schema = b""

    def read(self) -> int:
        """All that is there behind the place; the rows."""
        rows = 0
        while pieces := self._look():
            for piece in pieces:
                found = INCREMENTAL.load(self._read, [piece.position], self._schema, OPEN)
                self._schema = self._schema or found.schema
                rows += found.table.num_rows
        return rows

    def _look(self) -> list[Piece]:
        ask = Ahead("benchmark", 1, self._read, self._behind, BatchSpec(), 4)
        (seen,) = [one for one in INCREMENTAL.probe(ask) if isinstance(one, Seen)]
        (part,) = seen.parts
        if part.problem:
            raise SystemExit(part.problem)
        if part.pieces:
            self._behind = [Begin("orders", part.pieces[-1].range.upper)]
        return part.pieces


def _measure(engine: str, path: Path, rows: int, new: int, repeats: int) -> None:
    with closing(_connect(engine, path)) as db:
        db.execute(CREATE)
        if engine == "sqlite":
            db.execute("create index grows on orders (updated_at)")
    _fill(engine, path, 0, rows)
    source = _Source(engine, path)
    whole = _time(source.read, rows)
    took, bare = [], []
    for turn in range(repeats):
        begin = rows + turn * new
        _fill(engine, path, begin, new)
        took.append(_time(source.read, new))
        bare.append(_time(lambda begin=begin: _select(engine, path, begin), new))
    print(f"{engine}: {rows:,} rows, {path.stat().st_size / 1e6:,.0f} MB")
    ratio = whole / statistics.median(took)
    print(f"  whole: {whole:.2f} s; {new:,} new rows: {_spread(took)} ({_spread(bare)} bare); {ratio:,.0f} times less")


def _select(engine: str, path: Path, begin: int) -> int:
    with closing(_connect(engine, path)) as db:
        text = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(1700000000 + begin // 4))
        return len(db.execute("select * from orders where updated_at >= ?", (text,)).fetchall())


def _time(read: Callable[[], int], rows: int) -> float:
    started = time.perf_counter()
    found = read()
    took = time.perf_counter() - started
    if found != rows:
        raise SystemExit(f"{found:,} rows were read, not {rows:,}")
    return took


def _spread(values: list[float]) -> str:
    low, middle, high = (f"{value * 1000:.1f}" for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} ms ({low}-{high})"


if __name__ == "__main__":
    main()
