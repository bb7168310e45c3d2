"""The tables of ``docs/types.md``, made by carrying each case (``python -m tests.docs.generate`` writes them)."""

from __future__ import annotations

import io
import re
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from odibi_actors.config.arrow_types import type_name
from odibi_actors.errors import BatchError
from odibi_actors.kinds.registry import writing
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.sinks import duckdb_table, postgres_sink, postgres_types
from odibi_actors.nodes.sinks.sqlite_types import as_sqlite, check_types, sql_type
from odibi_actors.nodes.sql import SqlRunner
from tests.types.carry import output
from tests.types.cases import CASES, REFUSED, Case

HEAD = "| type | between nodes | parquet reads back | csv | JSON | SQLite holds | DuckDB holds | PostgreSQL holds |"


def types() -> str:
    """A table for each library."""
    runner = SqlRunner()
    try:
        parts = [_table(origin, runner) for origin in dict.fromkeys(case.origin for case in CASES)]
    finally:
        runner.close()
    return "\n\n".join(parts)


def _table(origin: str, runner: SqlRunner) -> str:
    lines = [f"### {origin}\n", HEAD, "|---|---|---|---|---|---|---|---|"]
    lines += [_row(case, runner) for case in CASES if case.origin == origin]
    return "\n".join(lines)


def _row(case: Case, runner: SqlRunner) -> str:
    label = _label(case.label)
    try:
        table = output(case, runner)
    except (BatchError, Failed) as error:
        assert case.kept is REFUSED, case
        return f"| {label} | **refused**: {_remedy(str(error))} | | | | | | |"
    kind = table.schema.field("x").type
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    back = pq.read_table(pa.BufferReader(sink.getvalue())).schema.field("x").type
    parquet = "the same" if back == kind else f"`{type_name(back)}`"
    texts = " | ".join(_text(name, table) for name in ("csv", "json"))
    tables = f"{_sqlite(case, table)} | {_duckdb(table)} | {_postgres(table)}"
    return f"| {label} | `{type_name(kind)}` | {parquet} | {texts} | {tables} |"


def _text(name: str, table: pa.Table) -> str:
    """What a file of texts holds of the first value."""
    known = writing(name)
    assert known is not None
    whole = table if table.column("x").null_count == 0 else table.append_column("k", pa.array(range(table.num_rows)))
    try:
        known.check(whole)
    except Failed:
        return "**refused**"
    out = io.BytesIO()
    first = table.filter(pc.is_valid(table.column("x"))).slice(0, 1)
    if not first.num_rows:
        return "empty" if name == "csv" else "`null`"
    known.write(first.schema, first.to_batches(), out)
    told = out.getvalue().decode()
    said = told.partition("\n")[2].strip("\n") if name == "csv" else told.partition(":")[2].rstrip("}\n")
    return f"`{said}`".replace("|", "\\|").replace("\n", " ") if said.strip() else '`""`'


def _label(text: str) -> str:
    """The type as code, what is said of it as prose."""
    if text.startswith("object: "):
        return f"`object`: {text.removeprefix('object: ')}"
    for match in re.finditer(r", | of | with | within | that | \(", text):
        before = text[: match.start()]
        if all(before.count(left) == before.count(right) for left, right in ("()", "[]", "<>")):
            return f"`{before}`{text[match.start() :]}"
    return f"`{text}`"


def _sqlite(case: Case, table: pa.Table) -> str:
    try:
        check_types(table)
    except Failed as error:
        assert case.sqlite is REFUSED, case
        return f"**refused**: {_remedy(str(error))}"
    values = as_sqlite(table.column("x")).to_pylist()
    shown = ", ".join(_value(value) for value in values[:2])
    return f"{sql_type(table.schema.field('x'))}{f' `{shown}`' if shown else ''}"


def _duckdb(table: pa.Table) -> str:
    try:
        duckdb_table.check(table)
    except Failed as error:
        return f"**refused**: {_remedy(str(error))}"
    with duckdb.connect() as db:
        db.register("t", duckdb_table.prepared(table))
        (row,) = db.execute("describe select x from t").fetchall()
    return f"{row[1]}".replace("|", "\\|")


def _postgres(table: pa.Table) -> str:
    try:
        postgres_sink.SINK.check_rows(table)
    except Failed as error:
        return f"**refused**: {_remedy(str(error))}"
    return postgres_types.sql_type(table.schema.field("x"))


def _value(value: Any) -> str:
    value = int(value) if isinstance(value, bool) else value
    return "NULL" if value is None else repr(value).replace("|", "\\|")


def _remedy(message: str) -> str:
    """What to do, of a refusal: what stands behind its last semicolon."""
    return message.rpartition(";")[2].strip().replace("|", "\\|")
