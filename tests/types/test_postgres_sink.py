"""Every type that a node hands on, in a table of PostgreSQL: exact, or refused by column."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.sinks.postgres_sink import SINK
from odibi_actors.nodes.sql import SqlRunner
from tests.postgres import GROUP, Schema
from tests.types.carry import exact, output, refusal
from tests.types.cases import CASES, REFUSED, Case

pytestmark = GROUP
KEPT = [case for case in CASES if case.kept is not REFUSED]


@pytest.fixture(scope="module")
def runner() -> Iterator[SqlRunner]:
    runner = SqlRunner()
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Schema, Any]]:
    schema = Schema(tmp_path_factory.mktemp("types"))
    with SINK.opened(schema.target("t"), schema.access) as opened:
        yield schema, opened


def _plain(values: list[Any], kind: pa.DataType) -> list[Any]:
    """What psycopg reads, as the type that was given has it."""
    if pa.types.is_timestamp(kind):
        return exact(pa.chunked_array([pa.array(values, pa.timestamp("us", kind.tz))]))
    if pa.types.is_time(kind):
        return exact(pa.chunked_array([pa.array(values, pa.time64("us"))]))
    if pa.types.is_date(kind):
        return [None if one is None else (one - dt.date(1970, 1, 1)).days for one in values]
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        return exact(pa.chunked_array([pa.array(values, pa.float32())]))
    if pa.types.is_uint64(kind):
        return [None if one is None else int(one) for one in values]
    return exact(values)


@pytest.mark.parametrize("case", KEPT, ids=str)
def test_given_a_type_that_is_carried_when_postgresql_holds_it_then_it_is_exact_or_refused_by_column(
    case: Case, runner: SqlRunner, db: tuple[Schema, Any]
) -> None:
    table = output(case, runner)
    schema, opened = db
    said = ""
    try:
        SINK.check_rows(table)
    except Failed as error:
        said = refusal(error)
    if said:
        assert ";" in said
        return
    opened.execute("drop table if exists t")
    SINK.insert(opened, schema.target("t"), table, [], None)
    column = table.column("x")
    back = [row[0] for row in opened.execute("select x from t").fetchall()]
    given = column.cast(pa.int64()) if pa.types.is_duration(column.type) else column
    given = given.cast(pa.date32()) if pa.types.is_date64(given.type) else given
    assert _plain(back, given.type) == exact(given)
