"""Every type of DuckDB, pandas, polars and Arrow, through a node and into both sinks: exact, or refused by column."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from odibi_actors.batches import frames
from odibi_actors.errors import BatchError
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.sql import SqlRunner
from tests.types.carry import exact, expected, output, refusal, through_parquet, through_sqlite
from tests.types.cases import ARROW, CASES, DUCKDB, POLARS, REFUSED, Case

KEPT = [case for case in CASES if case.kept is not REFUSED]


@pytest.fixture(scope="module")
def runner() -> Iterator[SqlRunner]:
    runner = SqlRunner()
    yield runner
    runner.close()


@pytest.mark.parametrize("case", [case for case in CASES if case.kept is REFUSED], ids=str)
def test_given_a_type_that_is_not_carried_when_a_node_returns_it_then_it_is_refused_by_column(
    case: Case, runner: SqlRunner
) -> None:
    with pytest.raises((BatchError, Failed)) as caught:
        output(case, runner)
    assert ";" in refusal(caught.value), "a remedy"


@pytest.mark.parametrize("case", KEPT, ids=str)
def test_given_a_type_that_is_carried_when_a_node_returns_it_then_each_value_is_exact(
    case: Case, runner: SqlRunner
) -> None:
    column = output(case, runner).column("x")
    assert exact(column) == expected(case.kept, column.type)


@pytest.mark.parametrize("case", KEPT, ids=str)
def test_given_a_type_that_is_carried_when_parquet_holds_it_then_it_is_read_back_exactly(
    case: Case, runner: SqlRunner, tmp_path: Path
) -> None:
    table = output(case, runner)
    back = through_parquet(table, tmp_path).column("x")
    assert exact(back) == exact(table.column("x"))


@pytest.mark.parametrize("case", KEPT, ids=str)
def test_given_a_type_that_is_carried_when_sqlite_holds_it_then_it_is_as_documented_or_refused_before_it_is_staged(
    case: Case, runner: SqlRunner, tmp_path: Path
) -> None:
    table = output(case, runner)
    if case.sqlite is REFUSED:
        with pytest.raises(Failed) as caught:
            through_sqlite(table, tmp_path)
        assert ";" in refusal(caught.value) or "cannot" in refusal(caught.value)
        assert not list(tmp_path.iterdir())
    else:
        assert exact([value for value, _ in through_sqlite(table, tmp_path)]) == exact(case.sqlite)


@pytest.mark.parametrize("case", KEPT, ids=str)
def test_given_a_type_that_is_carried_when_a_function_is_given_it_then_it_is_exact_there_or_refused_by_column(
    case: Case, runner: SqlRunner
) -> None:
    table = output(case, runner)
    pandas_back = frames.from_pandas(frames.to_pandas(table)).column("x")
    assert (pandas_back.type, exact(pandas_back)) == (table.column("x").type, exact(table.column("x")))
    try:
        given = frames.to_polars(table)
    except BatchError as error:
        refusal(error)
        assert pa.types.is_decimal256(table.column("x").type)
        return
    assert exact(frames.from_polars(given).column("x")) == exact(table.column("x"))


@pytest.mark.parametrize("case", KEPT, ids=str)
def test_given_a_type_that_is_carried_when_sql_reads_it_then_it_is_exact_there_or_refused_by_column(
    case: Case, runner: SqlRunner
) -> None:
    table = output(case, runner)
    column = table.column("x")
    is_duration = pa.types.is_duration(column.type)
    try:
        back = runner.run(f"select {'epoch_us(x)' if is_duration else 'x'} as x from t", {"t": table}).column("x")
    except Failed as error:
        refusal(error)
        assert pa.types.is_decimal256(column.type) or column.type == pa.duration("ns")
        return
    assert exact(back) == (exact(column.cast(pa.duration("us")).cast(pa.int64())) if is_duration else exact(column))


# --- nothing is left out ----------------------------------------------------------------------------------------------


def test_given_the_types_of_duckdb_then_each_is_in_the_table() -> None:
    found = duckdb.sql("select distinct logical_type from duckdb_types() where internal").fetchall()
    names = {name for (name,) in found} | {"JSON"}
    labels = {case.label.partition(",")[0].partition("(")[0] for case in DUCKDB}
    assert names <= labels


def test_given_the_types_of_polars_then_each_is_in_the_table() -> None:
    skipped = {"Unknown", "Field", "Utf8"}
    kinds = {
        name
        for name, kind in vars(pl).items()
        if isinstance(kind, type) and issubclass(kind, pl.DataType) and name not in skipped and name != "DataType"
    } - {"BaseExtension", "Extension"}  # Arrow's extensions under another name
    labels = {case.label.partition("(")[0].partition(",")[0] for case in POLARS}
    assert kinds <= labels


def test_given_the_types_of_arrow_then_each_is_in_the_table() -> None:
    wanted = {value for name, value in vars(pa.lib).items() if name.startswith("Type_")}
    old = (
        {pa.lib.Type_INTERVAL_MONTHS, pa.lib.Type_INTERVAL_DAY_TIME}
        if hasattr(pa.lib, "Type_INTERVAL_MONTHS")
        else set()
    )
    made = {case.make().type.id for case in ARROW if not isinstance(case.make, str)}
    assert wanted - old <= made
