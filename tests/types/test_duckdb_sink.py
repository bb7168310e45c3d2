"""Every type that a node hands on, in a table of DuckDB: exact, or refused by column."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pytest

from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.sinks.duckdb_sink import SINK, _Database
from odibi_actors.nodes.sql import SqlRunner
from tests import targets
from tests.types.carry import exact, output, refusal
from tests.types.cases import CASES, REFUSED, Case

KEPT = [case for case in CASES if case.kept is not REFUSED]


@pytest.fixture(scope="module")
def runner() -> Iterator[SqlRunner]:
    runner = SqlRunner()
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def db() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


@pytest.mark.parametrize("case", KEPT, ids=str)
def test_given_a_type_that_is_carried_when_duckdb_holds_it_then_it_is_exact_or_refused_by_column(
    case: Case, runner: SqlRunner, db: duckdb.DuckDBPyConnection
) -> None:
    table = output(case, runner)
    said = ""
    try:
        SINK.check_rows(table)
    except Failed as error:
        said = refusal(error)
    if said:
        assert ";" in said or "too far off" in said
        return
    db.execute("drop table if exists t")
    SINK.insert(_Database(db), targets.table("", "t"), table, [], None)
    back = db.sql("select x from t").to_arrow_table().column("x")
    column = table.column("x")
    given = column.cast(pa.int64()) if pa.types.is_duration(column.type) else column
    assert exact(back) == exact(given)
