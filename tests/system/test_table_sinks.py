"""A system whose sinks are tables of DuckDB and PostgreSQL: workers die before and after their commits, and each row is
there once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import duckdb

from odibi_actors.failpoints import ENV
from tests.postgres import Schema
from tests.system.harness import System, pipeline, put, small, until

TABLES = ("added", "keyed")


def test_given_tables_when_workers_are_killed_around_their_commits_then_every_row_is_there_once(
    tmp_path: Path, make: Callable[[Path], System]
) -> None:
    schema = Schema(tmp_path)
    given = ", ".join(f"{key}: {value}" for key, value in (schema.section | {"timeout": "30s"}).items())
    sinks = [
        f"{{name: {table}_{at}, inputs: [rows], write: {{connection: {at}, table: {table}{more}}}}}"
        for table, more in (("added", ""), ("keyed", ", mode: upsert, keys: [id]"))
        for at in ("duck", "pg")
    ]
    last = '{name: last, inputs: [rows], transform: {sql: "select * from rows"}}'
    folder = small(tmp_path / "project", pipeline("flow", "\n".join([last, *sinks]), batch="{max_files: 1}"))
    text = (folder / "odibi.yaml").read_text()
    connections = f"connections:\n  duck: {{type: duckdb, path: data/mart.duckdb}}\n  pg: {{type: postgres, {given}}}\n"
    (folder / "odibi.yaml").write_text(text.replace("connections:\n", connections))
    system = make(folder)
    armed = tmp_path / "armed"
    system.env[ENV] = f"@{armed}"
    for number, point in enumerate(("table.commit", "table.committed")):
        armed.write_text(f"{point}:kill@{number + 1}")
        if not number:
            system.start()
        else:
            system.kill("worker")  # the next one is armed
        put(system, "flow", f"f{number}", *(f"{number * 10 + row},{row}" for row in range(3)))
        until(f"{point} has killed", lambda number=number: len(list(tmp_path.glob("armed.*"))) > number)
    put(system, "flow", "last", "90,1")
    system.settled("flow")
    ids = [0, 1, 2, 10, 11, 12, 90]
    system.stop()
    with closing(duckdb.connect(str(folder / "data/mart.duckdb"), read_only=True)) as db:
        found = [db.execute(f"select id from {one} order by id").fetchall() for one in TABLES]
    found += [schema.rows(f"select id from {one} order by id") for one in TABLES]
    assert [[row[0] for row in one] for one in found] == [ids] * 4
