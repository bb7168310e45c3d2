"""What csv and JSON write, our own readers give back exactly where they know the types; what they would not is refused
by name before anything is written."""

from __future__ import annotations

import io
import math
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from odibi_actors.kinds.registry import writing
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.formats import csv_write, json_write, texts
from odibi_actors.nodes.sinks.forms import Form, read, remember

NAN, INF = float("nan"), float("inf")
TEXTS = [
    "",
    None,
    "a,b",
    'q"q',
    "l\nl",
    "l\r\nl",
    "\r",
    " x ",
    "NA",
    "null",
    "é€😀",
    "007",
    "\t",
    "a\x1fb",
    "true",
    "1e5",
]
KEPT: dict[str, pa.Array] = {
    "int64": pa.array([1, None, -(2**63), 2**63 - 1]),
    "uint64": pa.array([0, 2**64 - 1], pa.uint64()),
    "int8": pa.array([-128, 127], pa.int8()),
    "double": pa.array([0.1, 1e300, 5e-324, None, 1 / 3, -0.0, 0.0]),
    "float": pa.array([0.1, 3.4e38, 1e-45], pa.float32()),
    "bool": pa.array([True, False, None]),
    "string": pa.array(TEXTS),
    "decimal": pa.array([Decimal("1.50"), None, Decimal("-0.01")], pa.decimal128(10, 2)),
    "decimal of 38 digits": pa.array([Decimal("12345678901234567890123456789.012345678")], pa.decimal128(38, 9)),
    "decimal with an exponent": pa.array([Decimal("0.0000000000000000001")], pa.decimal128(38, 19)),
    "date": pa.array([date(2024, 2, 29), None, date(1, 1, 1), date(9999, 12, 31)]),
    "timestamp[s]": pa.array([datetime(2024, 1, 2, 3, 4, 5)], pa.timestamp("s")),
    "timestamp[us]": pa.array([datetime(2024, 1, 2, 3, 4, 5, 678901), None, datetime(1, 1, 1)], pa.timestamp("us")),
    "timestamp[ns]": pa.array([1_700_000_000_123_456_789], pa.int64()).view(pa.timestamp("ns")),
    "timestamp[us, UTC]": pa.array([datetime(2024, 1, 2, 3, 4, 5, 6)], pa.timestamp("us", "UTC")),
    "timestamp[us, Berlin]": pa.array([datetime(2024, 7, 2, 3, 4, 5, 6)], pa.timestamp("us", "Europe/Berlin")),
    "time[s]": pa.array([time(1, 2, 3)], pa.time32("s")),
    "time[us]": pa.array([time(1, 2, 3, 4), None], pa.time64("us")),
    "null": pa.nulls(2),
}
NESTED: dict[str, pa.Array] = {
    "list": pa.array([[1, None], None, []]),
    "list of texts": pa.array([["a", ""], [None]]),
    "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": None}]),
    "struct of moments": pa.array([{"t": datetime(2024, 1, 1), "d": [Decimal("1.5")]}, None]),
    "list of lists": pa.array([[[1], []], [None]]),
}
REFUSED: dict[str, pa.Array] = {
    "binary": pa.array([b"x"]),
    "binary of a size": pa.array([b"xx"], pa.binary(2)),
    "duration": pa.array([timedelta(1)], pa.duration("us")),
    "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
    "date far away": pa.array([10_000_000], pa.int32()).view(pa.date32()),
    "moment far away": pa.array([2**62], pa.int64()).view(pa.timestamp("us")),
    "half": pa.array([1.5], pa.float32()).cast(pa.float16()),
}


def carried(name: str, table: pa.Table, folder: Path, compression: str = "") -> pa.Table:
    known = writing(name)
    assert known is not None
    form = Form(known, compression)
    known.check(table)
    part = folder / f"part-0000000001-n{form.suffix}"
    with open(part, "wb") as file:
        form.write(table, file)
    remember(folder, table.schema, {})
    return read(part, part.name)


def of(column: pa.Array) -> pa.Table:
    return pa.table({"k": pa.array(range(len(column))), "x": column})


@pytest.mark.parametrize("name", ["csv", "json"])
@pytest.mark.parametrize("case", KEPT)
def test_given_a_column_when_written_then_our_reader_gives_it_back(name: str, case: str, tmp_path: Path) -> None:
    table = of(KEPT[case])
    assert carried(name, table, tmp_path).equals(table)
    if case == "double":
        back = carried(name, table, tmp_path).column("x").to_pylist()
        assert [math.copysign(1, value) for value in back[-2:]] == [-1.0, 1.0]


@pytest.mark.parametrize("case", NESTED)
def test_given_nested_values_then_json_has_them_and_csv_refuses_them_by_name(case: str, tmp_path: Path) -> None:
    table = of(NESTED[case])
    assert carried("json", table, tmp_path).equals(table)
    with pytest.raises(Failed, match=r"column 'x' is .*, which csv cannot hold; make it text"):
        carried("csv", table, tmp_path)


@pytest.mark.parametrize("name", ["csv", "json"])
@pytest.mark.parametrize("case", REFUSED)
def test_given_what_would_not_come_back_then_the_column_is_named(name: str, case: str, tmp_path: Path) -> None:
    with pytest.raises(Failed, match="column 'x'") as refused:
        carried(name, of(REFUSED[case]), tmp_path)
    assert (refused.value.failure.kind, refused.value.failure.column) == ("invalid", "x")


def test_given_numbers_that_are_none_then_csv_has_them_and_json_refuses_them(tmp_path: Path) -> None:
    table = of(pa.array([NAN, INF, -INF, None, 1.0]))
    back = carried("csv", table, tmp_path).column("x").to_pylist()
    assert math.isnan(back[0])
    assert back[1:] == [INF, -INF, None, 1.0]
    with pytest.raises(Failed, match="column 'x' holds NaN or an infinite number, and JSON has none"):
        carried("json", table, tmp_path)
    nested = of(pa.array([[1.0, NAN]]))
    with pytest.raises(Failed, match="column 'x' holds NaN"):
        carried("json", nested, tmp_path)


def test_given_nulls_in_the_only_column_then_csv_refuses_them_as_their_rows_would_be_empty_lines(
    tmp_path: Path,
) -> None:
    with pytest.raises(Failed, match="column 'x' holds nulls, and is alone"):
        carried("csv", pa.table({"x": ["a", None]}), tmp_path)
    assert carried("csv", pa.table({"x": ["a", ""]}), tmp_path).equals(pa.table({"x": ["a", ""]}))
    with pytest.raises(Failed, match="a text with a zero byte"):
        carried("csv", of(pa.array(["a\0b"])), tmp_path)


@pytest.mark.parametrize("name", ["a,b", 'a"b', "a\nb", "é", "#", "1"])
def test_given_hostile_names_of_columns_when_written_then_they_come_back(name: str, tmp_path: Path) -> None:
    table = pa.table({"k": [1], name: ["x"]})
    for format in ("csv", "json"):
        assert carried(format, table, tmp_path).equals(table)


@pytest.mark.parametrize("name", [" a", "a ", " a b\t", "sep=;", "# a", "\ufeffa", "a;b", "A\r\nB"])
@pytest.mark.parametrize("first", [False, True])
def test_given_a_name_that_the_reader_takes_as_it_is_when_written_as_csv_then_it_comes_back(
    name: str, first: bool, tmp_path: Path
) -> None:
    table = pa.table({name: ["x"], "k": [1]} if first else {"k": [1], name: ["x"]})
    if first and name == "# a":
        with pytest.raises(Failed, match="csv has no column '# a'"):
            carried("csv", table, tmp_path)
    else:
        assert carried("csv", table, tmp_path).equals(table)


@pytest.mark.parametrize("names", [[""], ["k", ""], ["\t", "k"], ["sep=;"], ["a;b"], ["k", "a\0"]])
def test_given_a_name_that_the_reader_takes_for_something_else_when_written_as_csv_then_it_is_refused(
    names: list[str], tmp_path: Path
) -> None:
    with pytest.raises(Failed, match="csv has no column") as caught:
        carried("csv", pa.table({name: ["x"] for name in names}), tmp_path)
    assert caught.value.failure.column == next(name for name in names if name != "k")


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
@pytest.mark.parametrize("name", ["csv", "json", "arrow"])
def test_given_a_compression_when_written_twice_then_the_bytes_are_the_same_and_all_is_there(
    name: str, compression: str, tmp_path: Path
) -> None:
    known = writing(name)
    assert known is not None
    table = of(pa.array(TEXTS * 10_000))  # of several batches
    seen = []
    for _ in range(2):
        out = io.BytesIO()
        Form(known, compression).write(table, out)
        seen.append(out.getvalue() if not out.closed else b"closed")
    assert seen[0] == seen[1]
    assert carried(name, table, tmp_path, compression).equals(table)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "t": st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
                "d": st.none() | st.decimals(-(10**15), 10**15, places=4),
                "f": st.none() | st.floats(allow_nan=False, allow_infinity=False),
                "z": st.none() | st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)),
            }
        ),
        max_size=8,
    )
)
def test_any_rows_come_back_from_csv_and_json(tmp_path_factory: pytest.TempPathFactory, rows: list[dict]) -> None:  # type: ignore[type-arg]
    schema = pa.schema(
        [("t", pa.string()), ("d", pa.decimal128(20, 4)), ("f", pa.float64()), ("z", pa.timestamp("us", "UTC"))]
    )
    table = pa.Table.from_pylist(rows, schema)
    for name in ("csv", "json"):
        assert carried(name, table, tmp_path_factory.mktemp("any")).equals(table)


@pytest.mark.parametrize("written", [csv_write, json_write])
def test_given_many_rows_when_they_are_checked_then_some_are_looked_at_together_and_the_last_one_too(
    written: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def counting(column: pa.ChunkedArray, *args: Any, **more: Any) -> pa.ChunkedArray:
        looked.append(len(column))
        return texts.spelt(column, *args, **more)

    monkeypatch.setattr(written, "spelt", counting)
    monkeypatch.setattr(texts, "PORTION", 100)
    days = [date(2020, 1, 1)] * 350
    written.check(pa.table({"d": pa.chunked_array([days[:240], days[240:]]), "n": range(350)}))
    assert max(looked) <= 100
    with pytest.raises(Failed, match="10000"):
        written.check(pa.table({"d": pa.array([*[0] * 349, 2932897], pa.date32()), "n": range(350)}))
