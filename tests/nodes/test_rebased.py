"""Days and instants that Spark has written in its former calendar are refused by name, or are the same in both."""

from __future__ import annotations

import datetime as dt
import io
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from odibi_actors.nodes.formats import Malformed, avro, parquet
from odibi_actors.nodes.formats.columns import Wanted

VERSION, LEGACY, INT96 = (f"org.apache.spark.{name}" for name in ("version", "legacyDateTime", "legacyINT96"))
OLD, NEW = {VERSION: "2.4.8"}, {VERSION: "3.5.1"}
FORMER = {VERSION: "3.5.1", LEGACY: ""}
UTC_ = pa.timestamp("us", "UTC")
DAYS = pa.array([0, -141_427, -141_428], pa.int32()).cast(pa.date32())
INSTANTS = pa.array([0, -2_208_988_800_000_000, -2_208_988_800_000_001], pa.int64()).cast(UTC_)
LOCAL = INSTANTS.cast(pa.int64()).cast(pa.timestamp("us"))
DEEP = pa.array([[], None, [{"d": dt.date(1582, 10, 14)}]], pa.list_(pa.struct([("d", pa.date32())])))


def read(column: pa.Array, meta: dict[str, str], ignore: tuple[str, ...] = (), **how: Any) -> pa.Table:
    out, table = io.BytesIO(), pa.table({"n": range(len(column)), "c": column})
    pq.write_table(table.replace_schema_metadata(meta or None), out, **how)
    return parquet.parse(out.getvalue(), {}, Wanted(ignore=ignore)).table


@pytest.mark.parametrize(
    ("column", "meta", "how", "value"),
    [
        (DAYS, OLD, {}, "1582-10-14"),
        (DAYS, FORMER, {}, "1582-10-14"),
        (DAYS, {LEGACY: ""}, {}, "1582-10-14"),
        (pa.array([0, 1, -719_164], pa.int32()).cast(pa.date32()), OLD, {}, "0000-12-30"),
        (INSTANTS, OLD, {}, "1899-12-31 23:59:59.999999Z"),
        (DEEP, FORMER, {}, "1582-10-14"),
        (LOCAL, OLD, {"use_deprecated_int96_timestamps": True}, "1899-12-31 23:59:59.999999"),
        (LOCAL, {VERSION: "3.0.3"}, {"use_deprecated_int96_timestamps": True}, "1899-12-31 23:59:59.999999"),
        (LOCAL, {**NEW, INT96: ""}, {"use_deprecated_int96_timestamps": True}, "1899-12-31 23:59:59.999999"),
    ],
)
def test_given_a_file_of_the_former_calendar_then_what_is_another_time_there_is_refused_by_name(
    column: pa.Array, meta: dict[str, str], how: dict[str, Any], value: str
) -> None:
    with pytest.raises(Malformed) as caught:
        read(column, meta, **how)
    mode = "int96" if how else "datetime"
    assert f"column 'c', row 3: {value} is written in the former calendar of Spark" in caught.value.message
    assert f"spark.sql.parquet.{mode}RebaseModeInWrite=CORRECTED" in caught.value.message
    assert (caught.value.column, caught.value.value) == ("c", value)
    assert read(column, meta, ignore=("c",), **how).column_names == ["n"]
    kept = read(column.slice(0, 2), meta, **how).column("c")
    assert kept.cast(column.type).to_pylist() == column.slice(0, 2).to_pylist()


@pytest.mark.parametrize(
    ("column", "meta", "how"),
    [
        (DAYS, {}, {}),
        (DAYS, NEW, {}),
        (DAYS, {**NEW, INT96: ""}, {}),
        (DAYS, {VERSION: "3.0.3"}, {}),
        (INSTANTS, NEW, {}),
        (LOCAL, FORMER, {}),
        (LOCAL, {**NEW, LEGACY: ""}, {"use_deprecated_int96_timestamps": True}),
    ],
)
def test_given_a_file_of_the_calendar_of_today_then_all_is_read(
    column: pa.Array, meta: dict[str, str], how: dict[str, Any]
) -> None:
    assert read(column, meta, **how).column("c").cast(column.type).to_pylist() == column.to_pylist()


@pytest.mark.parametrize(
    ("kind", "logical", "value", "shown"),
    [("int", "date", -719_164, "0000-12-30"), ("long", "timestamp-millis", -(10**14), "-1199-02-15 14:13:20.000Z")],
)
def test_given_an_avro_file_of_the_former_calendar_then_it_is_as_in_parquet(
    kind: str, logical: str, value: int, shown: str
) -> None:
    field = {"name": "c", "type": ["null", {"type": kind, "logicalType": logical}]}

    def parsed(meta: dict[str, str]) -> pa.Table:
        out = io.BytesIO()
        schema = {"type": "record", "name": "r", "fields": [field]}
        fastavro.writer(out, schema, [{"c": None}, {"c": 0}, {"c": value}], metadata=meta)
        return avro.parse(out.getvalue(), {}, Wanted()).table

    for meta in (OLD, FORMER):
        with pytest.raises(Malformed) as caught:
            parsed(meta)
        assert f"column 'c', row 3: {shown} is written in the former calendar of Spark" in caught.value.message
        assert "spark.sql.avro.datetimeRebaseModeInWrite=CORRECTED" in caught.value.message
    assert parsed(NEW).column("c").equals(parsed({}).column("c"))
