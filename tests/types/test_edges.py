"""What is lost beside the values: indexes, names, digits, signs, zones; and what a node is given of it."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from odibi_actors.batches import frames
from odibi_actors.batches.frames import from_pandas
from odibi_actors.batches.normalise import normalise
from odibi_actors.errors import BatchError
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.formats import parquet_types
from odibi_actors.nodes.sinks.sqlite_types import as_sqlite
from odibi_actors.nodes.sql import SqlRunner
from odibi_actors.nodes.transform import to_table
from tests.types.carry import exact, through_parquet, through_sqlite

FRAME = frames.to_pandas(pa.table({"k": [3, 1, 3, 2], "s": ["a", "b", "c", None], "v": [1.5, 2.5, 3.5, 4.5]}))
NUMPY = pd.DataFrame({"k": [3, 1, 3, 2], "s": ["a", "b", "c", None], "v": [1.5, 2.5, 3.5, 4.5]})


@pytest.fixture(scope="module")
def runner() -> Iterator[SqlRunner]:
    runner = SqlRunner()
    yield runner
    runner.close()


# --- the index --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", [FRAME, NUMPY], ids=["arrow", "numpy"])
@pytest.mark.parametrize(
    "change",
    [
        lambda f: f,
        lambda f: f[f.v > 2],
        lambda f: f[f.v > 99],
        lambda f: f.sort_values("k"),
        lambda f: f.iloc[::2],
        lambda f: f.iloc[::-1],
        lambda f: f.sample(frac=1, random_state=1),
        lambda f: pd.concat([f, f]),
        lambda f: f.drop_duplicates("k"),
        lambda f: f.merge(f, on="k"),
        lambda f: f.groupby("k", as_index=False).v.sum(),
        lambda f: f.groupby("k").v.sum().reset_index(),
        lambda f: f.nlargest(2, "v"),
        lambda f: f.dropna(),
        lambda f: f.explode("s"),
        lambda f: f.assign(s=[[1, 2]] * 4).explode("s"),
        lambda f: f.melt("k", ["v"]),
        lambda f: f.set_index(pd.RangeIndex(5, 9)),
        lambda f: f.head(0).set_index(pd.Index([], dtype=object)),
        lambda f: pd.DataFrame({"a": pd.Series([], dtype=object)}),
    ],
)
def test_given_an_index_without_data_when_returned_then_it_is_dropped_without_a_word(
    frame: pd.DataFrame, change: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    changed = change(frame)
    assert from_pandas(changed).num_rows == len(changed)


@pytest.mark.parametrize(
    ("frame", "change", "says"),
    [
        (FRAME, lambda f: f.describe(), "index of "),
        (NUMPY, lambda f: f.describe(), "first: count"),
        (NUMPY, lambda f: f.set_index("s").rename_axis(None), "reset_index"),
        (FRAME, lambda f: f.set_index("s").rename_axis(None), "reset_index"),
        (FRAME, lambda f: f.set_index("k").rename_axis(None), "int64[pyarrow]"),
        (FRAME, lambda f: f.groupby("k").sum(numeric_only=True).rename_axis(None), "reset_index"),
        (NUMPY, lambda f: f[["v"]].quantile([0.1, 0.9]), "float64"),
        (NUMPY, lambda f: f.set_index(pd.date_range("2020-01-01", periods=4)), "datetime64"),
        (NUMPY, lambda f: f.set_index(f.s == "a").rename_axis(None), "bool"),
        (FRAME, lambda f: f.set_index("k"), "index with data (k)"),
        (FRAME, lambda f: f.groupby(["k", "s"]).sum(), "index with data (k, s)"),
        (NUMPY, lambda f: f.set_index(["k", "s"]).rename_axis([None, None]), "index with data (None, None)"),
        (NUMPY, lambda f: f[["v"]].T.rename(columns=str), "first: v"),
        (NUMPY, lambda f: f.agg({"v": ["min", "max"]}), "first: min"),
    ],
)
def test_given_an_index_with_data_when_returned_then_it_is_refused(
    frame: pd.DataFrame, change: Callable[[pd.DataFrame], pd.DataFrame], says: str
) -> None:
    with pytest.raises(BatchError) as caught:
        from_pandas(change(frame))
    assert says in str(caught.value)
    assert "reset_index" in str(caught.value)


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([0], "must be text, not 0 (int)"),
        ([("a", "sum")], "must be text, not ('a', 'sum') (tuple)"),
        ([pd.Timestamp("2020-01-01")], "(Timestamp)"),
        ([None], "must be text"),
        (["a", "a"], "several columns named 'a'"),
        ([""], "no name"),
    ],
)
def test_given_names_that_are_none_when_returned_then_they_are_refused(names: list[Any], says: str) -> None:
    frame = pd.DataFrame([[1] * len(names)])
    frame.columns = (
        pd.Index(names, tupleize_cols=True) if isinstance(names[0], tuple) else pd.Index(names, dtype=object)
    )
    with pytest.raises(BatchError) as caught:
        from_pandas(frame)
    assert says in str(caught.value)


def test_given_columns_of_several_levels_when_returned_then_they_are_refused() -> None:
    with pytest.raises(BatchError, match="must be text, not"):
        from_pandas(NUMPY.groupby("k").agg({"v": ["min", "max"]}).reset_index())


@pytest.mark.parametrize(
    ("names", "says"), [(["x", "X"], "are one to SQLite; rename one of them"), (["x\0"], "rename the column")]
)
def test_given_names_that_sqlite_cannot_tell_when_staged_then_they_are_refused(
    tmp_path: Path, names: list[str], says: str
) -> None:
    with pytest.raises(Failed, match=says) as caught:
        through_sqlite(pa.table([[1]] * len(names), names=names), tmp_path)
    assert caught.value.failure.kind == "invalid"
    assert not list(tmp_path.iterdir())


def test_given_names_that_differ_beyond_ascii_when_staged_then_they_are_two_columns(tmp_path: Path) -> None:
    table = pa.table({"É": [1], "é": [2], "x": [3]})
    assert through_sqlite(table, tmp_path) == [(3, "integer")]


def test_given_inputs_whose_names_are_one_to_sql_when_it_reads_them_then_they_are_refused(runner: SqlRunner) -> None:
    with pytest.raises(Failed, match="input 't': columns 'a' and 'A' are one to SQL") as caught:
        runner.run("select * from t", {"t": pa.table({"a": [1], "A": [2]})})
    assert (caught.value.failure.kind, caught.value.failure.column) == ("invalid", "A")
    assert runner.run("select * from t", {"t": pa.table({"É": [1], "é": [2]})}).column_names == ["É", "é"]


# --- values in SQLite -------------------------------------------------------------------------------------------------


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=30, min_value=-(10**7), max_value=10**7)))
def test_given_decimals_when_kept_as_text_then_they_are_plain_digits_and_the_same(
    values: list[decimal.Decimal],
) -> None:
    texts = as_sqlite(pa.chunked_array([pa.array(values, pa.decimal256(50, 30))])).to_pylist()
    assert not any("E" in text for text in texts)
    assert [decimal.Decimal(text) for text in texts] == values


def test_given_keys_that_differ_by_their_sign_only_when_upserted_then_they_are_one_key(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="1 key stands in several rows"):
        through_sqlite(pa.table({"x": [0.0, -0.0]}), tmp_path, ["x"])


@pytest.mark.parametrize(
    ("column", "says"),
    [
        (pa.array([1, 2**63], pa.uint64()), "holds 9223372036854775808"),
        (pa.array([1.0, float("nan")]), "NaN in 1 row"),
        (pa.array([1.0, float("nan")], pa.float16()), "NaN in 1 row"),
        (pa.array([2932897], pa.int32()).view(pa.date32()), "0001 to 9999"),
        (pa.array([-719163], pa.int32()).view(pa.date32()), "0001 to 9999"),
        (pa.array([253402300800], pa.timestamp("s")), "0001 to 9999"),
        (pa.array([-62135596801], pa.timestamp("s", "UTC")), "0001 to 9999"),
        (pa.array([2**63 - 1], pa.timestamp("us")), "0001 to 9999"),
        (pa.array([-(2**63)], pa.timestamp("ms")), "0001 to 9999"),
    ],
)
def test_given_values_that_sqlite_would_change_when_staged_then_they_are_refused_with_column_and_value(
    tmp_path: Path, column: pa.Array, says: str
) -> None:
    with pytest.raises(Failed) as caught:
        through_sqlite(pa.table({"x": column}), tmp_path)
    failure = caught.value.failure
    assert (failure.kind, failure.column, bool(failure.value)) == ("invalid", "x", True)
    assert says in failure.message
    assert not list(tmp_path.iterdir())


def test_given_the_first_and_last_days_when_staged_then_they_are_texts_that_sort(tmp_path: Path) -> None:
    days = [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999)]
    found = [value for value, _ in through_sqlite(pa.table({"x": pa.array(days, pa.timestamp("us"))}), tmp_path)]
    assert found == ["0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"] == sorted(found)


# --- parquet ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "says"),
    [
        (pa.array([2**62], pa.timestamp("s")), "out of bounds"),
        (pa.array([pa.MonthDayNano([1, 2, 3])]), "Unhandled type"),
        (pa.array([{}], pa.struct([])), "no child field"),
    ],
)
def test_given_what_parquet_cannot_hold_when_staged_then_it_is_refused_by_column(
    tmp_path: Path, column: pa.Array, says: str
) -> None:
    """Whoever let it through: nodes refuse most of it already."""
    with pytest.raises(Failed) as caught:
        through_parquet(pa.table({"a": [1] * len(column), "x": column}), tmp_path)
    failure = caught.value.failure
    assert (failure.kind, failure.column) == ("invalid", "x")
    assert says in failure.message
    assert not list(tmp_path.iterdir())


def test_given_a_schema_that_was_looked_at_when_the_next_part_comes_then_the_writer_is_not_asked_again() -> None:
    table = pa.table({"looked_at": [1]})
    parquet_types.check_types(table)
    before = parquet_types._unwritable.cache_info().hits
    parquet_types.check_types(table)
    assert parquet_types._unwritable.cache_info().hits == before + 1


# --- what is given ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "reader", "says"),
    [
        (pa.array([2**62], pa.timestamp("s")), "polars", "out of bounds"),
        (pa.array([2**62], pa.duration("s")), "polars", "out of bounds"),
        (pa.array([decimal.Decimal(1)], pa.decimal256(60, 0)), "polars", "more than 38 digits"),
        (pa.array([[decimal.Decimal(1)]], pa.list_(pa.decimal256(60, 0))), "polars", "more than 38 digits"),
        (pa.array([2**62], pa.timestamp("s", "UTC")), "SQL", "out of bounds"),
        (pa.array([2**62], pa.duration("ms")), "SQL", "out of bounds"),
        (pa.array([1001], pa.duration("ns")), "SQL", "would lose data"),
        (pa.array([[1001]], pa.list_(pa.duration("ns"))), "SQL", "would lose data"),
        (pa.array([decimal.Decimal(1)], pa.decimal256(60, 0)), "SQL", "more than 38 digits"),
    ],
)
def test_given_what_a_reader_would_bend_when_it_is_given_then_it_is_refused_by_column(
    runner: SqlRunner, column: pa.Array, reader: str, says: str
) -> None:
    table = pa.table({"a": [1], "x": column})
    with pytest.raises((Failed, BatchError)) as caught:
        frames.to_polars(table) if reader == "polars" else runner.run("select x from t", {"t": table})
    error = caught.value
    assert (error.failure.column if isinstance(error, Failed) else error.column) == "x"
    assert says in str(error)


def test_given_types_that_polars_and_sql_lack_when_given_then_they_come_as_what_holds_them(runner: SqlRunner) -> None:
    table = pa.table({"z": pa.array([5], pa.timestamp("us", "+05:30")), "h": pa.array([1.5], pa.float16())})
    assert frames.to_polars(table).schema == {"z": pl.Datetime("us", "UTC"), "h": pl.Float16}
    assert runner.run("select h, z from t", {"t": table}).column("h").to_pylist() == [1.5]


def test_given_a_polars_that_panics_when_it_converts_then_it_is_an_error_as_any_other() -> None:
    class PanicException(BaseException):
        pass

    def panics() -> None:
        raise PanicException("operator does not support Int256")

    with pytest.raises(BatchError, match="polars cannot convert"):
        frames._guarded(panics)


# --- any values -------------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
SHAPES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "uint64": (pa.uint64(), st.integers(0, 2**63 - 1)),
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "double": (pa.float64(), st.floats(allow_nan=False)),
    "string": (pa.string(), TEXT),
    "binary": (pa.binary(), st.binary(max_size=6)),
    "bool": (pa.bool_(), st.booleans()),
    "date": (pa.date32(), st.dates()),
    "timestamp": (pa.timestamp("us"), st.datetimes()),
    "zoned": (pa.timestamp("ns", "America/New_York"), st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))),
    "time": (pa.time64("us"), st.times()),
    "duration": (pa.duration("us"), st.timedeltas(-dt.timedelta(10**8), dt.timedelta(10**8))),
    "decimal": (pa.decimal128(38, 20), st.decimals(-(10**17), 10**17, places=20)),
}


@st.composite
def columns(draw: st.DrawFn) -> pa.ChunkedArray:
    kind, values = SHAPES[draw(st.sampled_from(sorted(SHAPES)))]
    chunks = draw(st.lists(st.lists(st.none() | values, max_size=4), min_size=1, max_size=3))
    return pa.chunked_array([pa.array(chunk, kind) for chunk in chunks], kind)


@given(columns(), st.sampled_from(["pandas", "polars", "arrow", "view"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_given_any_values_when_they_go_through_a_node_and_a_sink_then_what_is_read_back_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, column: pa.ChunkedArray, library: str
) -> None:
    root = tmp_path_factory.mktemp("any")
    given_ = pa.table({"x": column})
    if library == "pandas":
        table = to_table(frames.to_pandas(given_))
    elif library == "polars":
        table = to_table(frames.to_polars(given_))
    else:
        view = pa.string_view() if pa.types.is_string(column.type) else column.type
        table = to_table(pa.table({"x": column.cast(view) if library == "view" else column}))
    assert exact(table.column("x")) == exact(column)
    assert exact(through_parquet(table, root).column("x")) == exact(column)
    stored = [value for value, _ in through_sqlite(table, root)]
    assert stored == as_sqlite(table.column("x")).to_pylist()
    assert [_from_sqlite(value, column.type) for value in stored] == column.to_pylist()


def _from_sqlite(value: Any, kind: pa.DataType) -> Any:
    """A value as a reader of the documented form takes it."""
    if value is None:
        return None
    if pa.types.is_date(kind):
        return dt.date.fromisoformat(value)
    if pa.types.is_timestamp(kind):
        return dt.datetime.fromisoformat(value)
    if pa.types.is_time(kind):
        return dt.time.fromisoformat(value)
    if pa.types.is_duration(kind):
        return dt.timedelta(microseconds=value)
    return decimal.Decimal(value) if pa.types.is_decimal(kind) else value


@given(st.lists(st.none() | st.lists(st.none() | st.lists(st.integers(0, 9), max_size=2), max_size=3), max_size=5))
def test_given_list_views_when_normalised_then_they_are_the_same_lists(values: list[Any]) -> None:
    views = pa.array(values, pa.list_view(pa.large_list_view(pa.int64())))
    for array in (views, views.slice(1), pa.concat_arrays([views, views])):
        found = normalise(pa.table({"x": array})).column("x")
        assert found.type == pa.list_(pa.list_(pa.int64()))
        found.validate(full=True)
        assert found.to_pylist() == array.to_pylist()


FREQUENCIES = ("M", "Q", "Y", "D", "h", "min", "s", "ms", "us", "ns", "W-SUN", "W-WED", "2M", "Q-NOV", "Y-MAR")


@given(
    st.sampled_from(FREQUENCIES), st.lists(st.none() | st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1)))
)
def test_given_periods_when_returned_then_their_text_says_the_same_period(
    frequency: str, days: list[dt.datetime | None]
) -> None:
    periods = pd.Series(pd.PeriodIndex(days, freq=frequency))
    texts = from_pandas(pd.DataFrame({"x": periods})).column("x").to_pylist()
    assert [pd.NaT if text is None else pd.Period(text, freq=frequency) for text in texts] == list(periods)
