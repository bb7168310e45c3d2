"""One value, or a few, of each type that DuckDB, pandas, polars and Arrow have, and what is to become of them.

``kept``: what a node hands on; ``sqlite``: what SQLite holds. ``REFUSED`` in place of either: refused by column. What
parquet gives back is always what it was given. ``docs/types.md`` is made from this table by running it.
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

D = decimal.Decimal
REFUSED = ["refused"]
INF = float("inf")
NAN = float("nan")
UUID = uuid.UUID("60754fc1-ebe2-4d92-ac31-8bd13ac12fe6")
NOON = dt.datetime(2020, 1, 1, 12)
DAY = dt.date(2020, 1, 1)
TIME = dt.time(1, 2, 3, 123456)
UTC_NOON = NOON.replace(tzinfo=dt.UTC)
UUIDS = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([UUID.bytes, None], pa.binary(16)))


@dataclass(frozen=True)
class Case:
    """``make``: SQL for DuckDB, else what gives a column as a node function would return it."""

    origin: str
    label: str
    make: str | Callable[[], Any]
    kept: list[Any]
    sqlite: list[Any]

    def __str__(self) -> str:
        return f"{self.origin} {self.label}"


def duck(label: str, sql: str, kept: list[Any], sqlite: list[Any] | None = None) -> Case:
    return Case("DuckDB", label, sql, kept, kept if sqlite is None else sqlite)


DUCKDB = [
    duck("BOOLEAN", "true", [True], [1]),
    duck("TINYINT", "(-128)::tinyint", [-128]),
    duck("SMALLINT", "(-32768)::smallint", [-32768]),
    duck("INTEGER", "(-2147483648)::integer", [-(2**31)]),
    duck("BIGINT", "(-9223372036854775808)::bigint", [-(2**63)]),
    duck("UTINYINT", "255::utinyint", [255]),
    duck("USMALLINT", "65535::usmallint", [65535]),
    duck("UINTEGER", "4294967295::uinteger", [2**32 - 1]),
    duck("UBIGINT", "9223372036854775807::ubigint", [2**63 - 1]),
    duck("UBIGINT, beyond 63 bits", "18446744073709551615::ubigint", [2**64 - 1], REFUSED),
    duck("HUGEINT", "sum(9223372036854775807)", [2**63 - 1]),
    duck("HUGEINT, beyond 64 bits", "sum(9223372036854775807) + 1", REFUSED),
    duck("HUGEINT[]", "[1::hugeint, null]", [[1, None]], REFUSED),
    duck("UHUGEINT", "~(0::uhugeint)", REFUSED),
    duck("UHUGEINT, by md5_number", "md5_number('a')", REFUSED),
    duck("STRUCT(a UHUGEINT)", "{'a': 1::uhugeint}", REFUSED),
    duck("BIGNUM", "123456789012345678901234567890123456789012345::bignum", REFUSED),
    duck("DECIMAL(4,1)", "1.5::decimal(4,1)", [D("1.5")], ["1.5"]),
    duck(
        "DECIMAL(38,38)",
        "'0.000000000000000000000000000001'::decimal(38,38)",
        [D("1e-30")],
        ["0." + "0" * 29 + "1" + "0" * 8],
    ),
    duck("FLOAT", "0.1::float", [0.10000000149011612]),
    duck("DOUBLE", "unnest([0.1, 'inf'::double, 5e-324])", [0.1, INF, 5e-324]),
    duck("DOUBLE, -0.0", "'-0.0'::double", [-0.0], [0.0]),
    duck("DOUBLE, NaN", "'nan'::double", [NAN], REFUSED),
    duck("VARCHAR", "'a' || chr(0) || 'é'", ["a\0é"]),
    duck("BLOB", "'\\xAA\\x00'::blob", [b"\xaa\0"]),
    duck("BIT", "'10101'::bit", REFUSED),
    duck("JSON", """'{"a":1}'::json""", ['{"a":1}']),
    duck("UUID", f"'{UUID}'::uuid", [str(UUID)]),
    duck("ENUM", "'b'::enum('b', 'a')", ["b"]),
    duck("DATE", "date '2020-01-01'", [DAY], ["2020-01-01"]),
    duck("TIME", "time '01:02:03.123456'", [TIME], ["01:02:03.123456"]),
    duck("TIME, 24:00:00", "time '24:00:00'", REFUSED),
    duck("TIME_NS", "'01:02:03.123456000'::time_ns", [TIME], ["01:02:03.123456"]),
    duck("TIME WITH TIME ZONE", "timetz '01:02:03+02:30'", REFUSED),
    duck("TIMESTAMP", "timestamp '2020-01-01 12:00:00'", [NOON], ["2020-01-01 12:00:00"]),
    duck("TIMESTAMP, infinity", "'infinity'::timestamp", [2**63 - 1], REFUSED),
    duck("TIMESTAMP_S", "'2020-01-01 12:00:00'::timestamp_s", [NOON], ["2020-01-01 12:00:00"]),
    duck("TIMESTAMP_MS", "'2020-01-01 12:00:00'::timestamp_ms", [NOON], ["2020-01-01 12:00:00"]),
    duck(
        "TIMESTAMP_NS",
        "'2020-01-01 12:00:00.000000001'::timestamp_ns",
        [1577880000000000001],
        ["2020-01-01 12:00:00.000000001"],
    ),
    duck("TIMESTAMP WITH TIME ZONE", "timestamptz '2020-01-01 14:00:00+02'", [UTC_NOON], ["2020-01-01 12:00:00+00:00"]),
    duck(
        "TIMESTAMPTZ_NS",
        "'2020-01-01 14:00:00.000000001+02'::timestamptz_ns",
        [1577880000000000001],
        ["2020-01-01 12:00:00.000000001+00:00"],
    ),
    duck("INTERVAL", "interval '1 month 2 days 3 us'", REFUSED),
    duck("INTERVAL, of two timestamps", "timestamp '2020-01-02' - timestamp '2020-01-01'", REFUSED),
    duck("LIST", "[1, null]", [[1, None]], REFUSED),
    duck("ARRAY", "array_value(1, 2)", [[1, 2]], REFUSED),
    duck("STRUCT", "{'a': 1, 'b': 'x'}", [{"a": 1, "b": "x"}], REFUSED),
    duck("TUPLE", "row(1, 'x')", [{"element1": 1, "element2": "x"}], REFUSED),
    duck("MAP", "map {'a': 1}", [[("a", 1)]], REFUSED),
    duck("UNION", "union_value(num := 1)", REFUSED),
    duck("VARIANT", "1::variant", REFUSED),
    duck("GEOMETRY", "'POINT(0 0)'::geometry", REFUSED),
    duck("TYPE", "'INTEGER'::type", REFUSED),
    duck("NULL", "null", [None]),
]


def pandas(label: str, make: Callable[[], Any], kept: list[Any], sqlite: list[Any] | None = None) -> Case:
    return Case("pandas", label, make, kept, kept if sqlite is None else sqlite)


def objects(label: str, *values: Any, kept: list[Any] | None = None, sqlite: list[Any] | None = None) -> Case:
    found = REFUSED if kept is None else kept
    return pandas(f"object: {label}", lambda: pd.Series(list(values), dtype=object), found, sqlite)


def arrow_dtype(kind: pa.DataType, *values: Any) -> Callable[[], Any]:
    return lambda: pd.Series(pd.arrays.ArrowExtensionArray(pa.array(values, kind)))  # type: ignore[attr-defined]


FAR = int(np.datetime64("12020-01-01", "s").astype("int64"))
NS = pd.Timestamp("2020-01-01 12:00:00.000000001")
PANDAS = [
    pandas("int64", lambda: pd.Series([1, 2]), [1, 2]),
    pandas("uint64", lambda: pd.Series(np.array([2**64 - 1], "uint64")), [2**64 - 1], REFUSED),
    pandas("float64 (NaN says missing)", lambda: pd.Series([0.1, NAN, INF]), [0.1, None, INF]),
    pandas("float16", lambda: pd.Series(np.array([1.5], "float16")), [1.5]),
    pandas("float128", lambda: pd.Series(np.array([1.5], "longdouble")), REFUSED),
    pandas("complex128", lambda: pd.Series([1 + 2j]), REFUSED),
    pandas("bool", lambda: pd.Series([True, False]), [True, False], [1, 0]),
    pandas("str", lambda: pd.Series(["a", None], dtype="str"), ["a", None]),
    pandas("string[python]", lambda: pd.Series(["a", None], dtype="string[python]"), ["a", None]),
    pandas("string[pyarrow]", lambda: pd.Series(["a", None], dtype="string[pyarrow]"), ["a", None]),
    pandas("Int64", lambda: pd.Series([1, None], dtype="Int64"), [1, None]),
    pandas("UInt8", lambda: pd.Series([255, None], dtype="UInt8"), [255, None]),
    pandas("boolean", lambda: pd.Series([True, None], dtype="boolean"), [True, None], [1, None]),
    pandas("Float32", lambda: pd.Series([0.5, None], dtype="Float32"), [0.5, None]),
    pandas("Float64", lambda: pd.Series([0.1, None], dtype="Float64"), [0.1, None]),
    pandas("category", lambda: pd.Series(pd.Categorical(["b", None], ["b", "a"], ordered=True)), ["b", None]),
    pandas("category of numbers", lambda: pd.Series(pd.Categorical([3, 1])), [3, 1]),
    pandas("category of periods", lambda: pd.Series(["2024-01", None], dtype="period[M]").astype("category"),
           ["2024-01", None]),
    pandas("category of intervals (pd.cut)", lambda: pd.cut(pd.Series([1, 5]), [0, 3, 9]), REFUSED),
    pandas("category of numbers and text", lambda: pd.Series(pd.Categorical([1, "a"])), REFUSED),
    pandas("datetime64[s]", lambda: pd.Series(np.array(["2020-01-01T12", "NaT"], "M8[s]")), [NOON, None],
           ["2020-01-01 12:00:00", None]),
    pandas("datetime64[ns]", lambda: pd.Series([NS.as_unit("ns")]), [NS.value], ["2020-01-01 12:00:00.000000001"]),
    pandas("datetime64[s], year 12020", lambda: pd.Series(np.array(["12020-01-01"], "M8[s]")), [FAR],
           REFUSED),
    pandas("datetime64 with a zone, the hour that comes twice",
           lambda: pd.Series(pd.to_datetime(["2020-11-01 05:30", "2020-11-01 06:30"], utc=True)
                             .tz_convert("America/New_York")),
           [dt.datetime(2020, 11, 1, 5, 30, tzinfo=dt.UTC), dt.datetime(2020, 11, 1, 6, 30, tzinfo=dt.UTC)],
           ["2020-11-01 05:30:00+00:00", "2020-11-01 06:30:00+00:00"]),
    pandas("datetime64 with an offset", lambda: pd.Series(pd.to_datetime(["2020-01-01 17:30+05:30"])), [UTC_NOON],
           ["2020-01-01 12:00:00+00:00"]),
    pandas("timedelta64[us]", lambda: pd.Series(pd.to_timedelta(["1s", None])).astype("m8[us]"),
           [dt.timedelta(seconds=1), None], [1_000_000, None]),
    pandas("timedelta64[ns]", lambda: pd.Series(np.array([1], "m8[ns]")), [1], [1]),
    pandas("period[M]", lambda: pd.Series(pd.PeriodIndex(["2024-01", None], freq="M")), ["2024-01", None]),
    pandas("period[Q]", lambda: pd.Series(pd.period_range("2024-01", periods=2, freq="Q")), ["2024Q1", "2024Q2"]),
    pandas("interval", lambda: pd.Series(pd.interval_range(0, 2)), REFUSED),
    pandas("Sparse", lambda: pd.Series(pd.arrays.SparseArray([0, 1])), REFUSED),
    pandas("ArrowDtype of a timestamp", arrow_dtype(pa.timestamp("s"), NOON), [NOON], ["2020-01-01 12:00:00"]),
    pandas("ArrowDtype of a decimal", arrow_dtype(pa.decimal128(5, 2), D("1.50")), [D("1.50")], ["1.50"]),
    pandas("ArrowDtype of a double: NaN is a value", arrow_dtype(pa.float64(), NAN, None), [NAN, None], REFUSED),
    pandas("ArrowDtype of a list", arrow_dtype(pa.list_(pa.int8()), [1]), [[1]], REFUSED),
    objects("text", "a", None, NAN, pd.NA, kept=["a", None, None, None]),
    objects("text with a lone surrogate", "\ud800"),
    objects("bytes", b"a", bytearray(b"b"), kept=[b"a", b"b"]),
    objects("whole numbers", 1, 2**63 - 1, kept=[1, 2**63 - 1]),
    objects("whole numbers beyond 64 bits", 2**64),
    objects("whole numbers and fractions", 1, 0.5, kept=[1.0, 0.5]),
    objects("whole numbers beyond 53 bits and fractions", 2**53 + 1, 0.5),
    objects("booleans", True, None, kept=[True, None], sqlite=[1, None]),
    objects("Decimals", D("1.5"), D("0.25"), None, kept=[D("1.50"), D("0.25"), None], sqlite=["1.50", "0.25", None]),
    objects("Decimals, infinite", D("inf")),
    objects("long doubles and fractions", np.longdouble("0.1"), 1.0),
    objects("arrays of no dimension", np.array(1)),
    objects("dates", DAY, None, kept=[DAY, None], sqlite=["2020-01-01", None]),
    objects("datetimes", NOON, pd.NaT, kept=[NOON, None], sqlite=["2020-01-01 12:00:00", None]),
    objects("datetimes of two zones", UTC_NOON, UTC_NOON.astimezone(dt.timezone(dt.timedelta(hours=2))),
            kept=[UTC_NOON, UTC_NOON], sqlite=["2020-01-01 12:00:00+00:00"] * 2),
    objects("times", TIME, kept=[TIME], sqlite=["01:02:03.123456"]),
    objects("timedeltas", dt.timedelta(1), kept=[dt.timedelta(1)], sqlite=[86_400_000_000]),
    objects("UUIDs", UUID, None, kept=[str(UUID), None]),
    objects("dicts", {"a": 1}, {"b": "x"}, kept=[{"a": 1, "b": None}, {"a": None, "b": "x"}], sqlite=REFUSED),
    objects("lists", [1], [], None, kept=[[1], [], None], sqlite=REFUSED),
    objects("nothing", None, None, kept=[None, None]),
    objects("no rows", kept=[]),
    objects("numbers and text", 1, "a"),
    objects("text and bytes", "a", b"b"),
    objects("booleans and numbers", True, 1),
    objects("fractions and booleans", 0.5, True),
    objects("Decimals and fractions", D("1.5"), 0.5),
    objects("dates and datetimes", DAY, NOON),
    objects("datetimes with and without a zone", NOON, UTC_NOON),
    objects("Timestamps with nanoseconds", NS),
    objects("Timedeltas with nanoseconds", pd.Timedelta(1, "ns")),
    objects("times with a zone", TIME.replace(tzinfo=dt.UTC)),
    objects("lists of numbers and text", [1, "a"]),
    objects("dicts whose values differ in type", {"a": DAY}, {"a": NOON}),
    objects("dicts with keys that are no text", {1: 2}),
    objects("empty dicts", {}),
    objects("sets", {1}),
    objects("Periods", pd.Period("2024-01")),
    objects("other objects", object()),
]  # fmt: skip


def polars(label: str, values: list[Any], kind: Any, kept: list[Any], sqlite: list[Any] | None = None) -> Case:
    make = lambda: pl.Series(values, dtype=kind)  # noqa: E731
    return Case("polars", label, make, kept, kept if sqlite is None else sqlite)


POLARS = [
    polars("Boolean", [True, None], pl.Boolean, [True, None], [1, None]),
    *(polars(kind.__name__, [1, None], kind, [1, None]) for kind in (pl.Int8, pl.Int16, pl.Int32, pl.Int64)),
    *(polars(kind.__name__, [1, None], kind, [1, None]) for kind in (pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)),
    polars("Int128", [1], pl.Int128, REFUSED),
    polars("UInt128", [1], pl.UInt128, REFUSED),
    polars("List(Int128)", [[1]], pl.List(pl.Int128), REFUSED),
    polars("Float16", [1.5], pl.Float16, [1.5]),
    polars("Float32", [0.5, None], pl.Float32, [0.5, None]),
    polars("Float64", [0.1, None, INF], pl.Float64, [0.1, None, INF]),
    polars("Float64, NaN", [NAN], pl.Float64, [NAN], REFUSED),
    polars("Decimal(38, 2)", [D("1.50")], pl.Decimal(38, 2), [D("1.50")], ["1.50"]),
    polars("String", ["a", None], pl.String, ["a", None]),
    polars("Categorical", ["a", None], pl.Categorical, ["a", None]),
    polars("Enum", ["b"], pl.Enum(["b", "a"]), ["b"]),
    polars("Binary", [b"\0"], pl.Binary, [b"\0"]),
    polars("Date", [DAY], pl.Date, [DAY], ["2020-01-01"]),
    polars("Time", [TIME], pl.Time, [TIME], ["01:02:03.123456"]),
    polars("Datetime('ms')", [NOON], pl.Datetime("ms"), [NOON], ["2020-01-01 12:00:00"]),
    polars("Datetime('us', 'Europe/Berlin')", [UTC_NOON], pl.Datetime("us", "Europe/Berlin"), [UTC_NOON],
           ["2020-01-01 12:00:00+00:00"]),
    polars("Duration('us')", [dt.timedelta(1)], pl.Duration("us"), [dt.timedelta(1)], [86_400_000_000]),
    polars("Null", [None], pl.Null, [None]),
    polars("List", [[1], None], pl.List(pl.Int64), [[1], None], REFUSED),
    polars("Array", [[1, 2]], pl.Array(pl.Int64, 2), [[1, 2]], REFUSED),
    polars("Struct", [{"a": 1}], pl.Struct({"a": pl.Int64}), [{"a": 1}], REFUSED),
    polars("Map", [{"a": 1}], pl.Map(pl.String, pl.Int64), [[("a", 1)]], REFUSED),
    polars("Object", [object()], pl.Object, REFUSED),
]  # fmt: skip


def arrow(label: str, make: Callable[[], Any], kept: list[Any], sqlite: list[Any] | None = None) -> Case:
    return Case("Arrow", label, make, kept, kept if sqlite is None else sqlite)


def plain(kind: pa.DataType, *values: Any, sqlite: list[Any] | None = None, kept: list[Any] | None = None) -> Case:
    return arrow(str(kind), lambda: pa.array(values, kind), list(values) if kept is None else kept, sqlite)


def bits(kind: pa.DataType, value: int) -> Callable[[], Any]:
    return lambda: pa.array([value], pa.int64() if kind.bit_width == 64 else pa.int32()).view(kind)


def extension(kind: Any, storage: pa.Array) -> Callable[[], Any]:
    return lambda: pa.ExtensionArray.from_storage(kind, storage)


ARROW = [
    plain(pa.null(), None),
    plain(pa.bool_(), True, None, sqlite=[1, None]),
    *(plain(kind, 1, None) for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64())),
    *(plain(kind, 1, None) for kind in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())),
    plain(pa.float16(), 1.5, None),
    plain(pa.float32(), 0.5, None),
    plain(pa.float64(), 0.1, None),
    plain(pa.decimal32(5, 2), D("1.50"), sqlite=["1.50"]),
    plain(pa.decimal64(15, 2), D("1.50"), sqlite=["1.50"]),
    plain(pa.decimal128(38, 2), D("1.50"), sqlite=["1.50"]),
    plain(pa.decimal128(5, -2), D("100"), sqlite=["100"]),
    plain(pa.decimal256(20, 2), D("1.50"), sqlite=["1.50"]),
    plain(pa.decimal256(60, 12), D("1E-10"), sqlite=["0.000000000100"]),
    plain(pa.string(), "a\0b", None),
    plain(pa.large_string(), "a", None),
    plain(pa.string_view(), "a", None),
    arrow("string that is not UTF-8", lambda: pa.array([b"\xff"]).view(pa.string()), REFUSED),
    plain(pa.binary(), b"\0", None),
    plain(pa.large_binary(), b"\0", None),
    plain(pa.binary_view(), b"\0", None),
    plain(pa.binary(2), b"ab", None),
    plain(pa.date32(), DAY, sqlite=["2020-01-01"]),
    plain(pa.date64(), DAY, sqlite=["2020-01-01"]),
    arrow("date64 within a day", bits(pa.date64(), 1), REFUSED),
    arrow("date32, year 10000", bits(pa.date32(), 2932897), [2932897], REFUSED),
    plain(pa.time32("s"), dt.time(1, 2, 3), sqlite=["01:02:03"]),
    plain(pa.time32("ms"), dt.time(1, 2, 3), sqlite=["01:02:03"]),
    plain(pa.time64("us"), TIME, sqlite=["01:02:03.123456"]),
    arrow("time64[ns]", bits(pa.time64("ns"), 1001), [1001], ["00:00:00.000001001"]),
    arrow("time64[us], 24:00:00", bits(pa.time64("us"), 86_400_000_000), REFUSED),
    *(plain(pa.timestamp(unit), NOON, sqlite=["2020-01-01 12:00:00"]) for unit in ("s", "ms", "us")),
    plain(pa.timestamp("ns"), NOON, kept=[1577880000000000000], sqlite=["2020-01-01 12:00:00"]),
    plain(pa.timestamp("us", "America/New_York"), UTC_NOON, sqlite=["2020-01-01 12:00:00+00:00"]),
    plain(pa.timestamp("us", "+05:30"), UTC_NOON, sqlite=["2020-01-01 12:00:00+00:00"]),
    arrow("timestamp of an unknown zone", lambda: pa.array([1], pa.timestamp("us", "Nowhere/X")), REFUSED),
    *(plain(pa.duration(unit), dt.timedelta(seconds=1), sqlite=[count])
      for unit, count in (("s", 1), ("ms", 1000), ("us", 1_000_000))),
    arrow("duration[ns]", lambda: pa.array([1001], pa.duration("ns")), [1001], [1001]),
    plain(pa.month_day_nano_interval(), pa.MonthDayNano([1, 2, 3]), kept=REFUSED),
    plain(pa.list_(pa.int64()), [1], None, sqlite=REFUSED),
    plain(pa.large_list(pa.int64()), [1], None, sqlite=REFUSED),
    plain(pa.list_view(pa.int64()), [1, 2], None, [3], sqlite=REFUSED),
    plain(pa.large_list_view(pa.int64()), [1, 2], None, [3], sqlite=REFUSED),
    plain(pa.list_(pa.int64(), 2), [1, 2], None, sqlite=REFUSED),
    plain(pa.struct([("a", pa.list_view(pa.int8()))]), {"a": [1, 2]}, {"a": None}, sqlite=REFUSED),
    arrow("struct with two fields of one name",
          lambda: pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), REFUSED),
    plain(pa.struct([]), {}, kept=REFUSED),
    plain(pa.map_(pa.string(), pa.int64()), [("a", 1)], sqlite=REFUSED),
    plain(pa.dictionary(pa.int8(), pa.string()), "a", None),
    arrow("run_end_encoded<string>", lambda: pa.RunEndEncodedArray.from_arrays([1, 3], ["a", None]), ["a", None, None]),
    arrow("sparse_union",
          lambda: pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1]), pa.array(["a"])]), REFUSED),
    arrow("dense_union", lambda: pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()),
                                                          [pa.array([1])]), REFUSED),
    arrow("arrow.uuid", lambda: UUIDS, [str(UUID), None]),
    arrow("list<arrow.uuid>", lambda: pa.ListArray.from_arrays([0, 2], UUIDS), [[str(UUID), None]], REFUSED),
    arrow("arrow.json", extension(pa.json_(), pa.array(["{}", None])), ["{}", None]),
    arrow("arrow.bool8", extension(pa.bool8(), pa.array([2, 0, None], pa.int8())), [True, False, None], [1, 0, None]),
    arrow("arrow.fixed_shape_tensor",
          extension(pa.fixed_shape_tensor(pa.int64(), [2]), pa.array([[1, 2]], pa.list_(pa.int64(), 2))), REFUSED),
    arrow("arrow.opaque", extension(pa.opaque(pa.binary(), "a", "b"), pa.array([b"a"])), REFUSED),
]  # fmt: skip

CASES = [*DUCKDB, *PANDAS, *POLARS, *ARROW]
