"""Formats that bring their types: what of them is not kept is told with its column, its row and what to do."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from odibi_actors.config.arrow_types import arrow_type, type_name
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.formats.typed import instead
from odibi_actors.nodes.read import read
from tests.nodes.helpers import position, read_spec

TYPED = {
    "time": (pa.array([0, 90_000_000_000], pa.int64()).view(pa.time64("us")), 2),
    "times in a list": (pa.array([[1], [90_000]], pa.list_(pa.int32())).cast(pa.list_(pa.int32())), 0),
    "text": (pa.array([b"a", b"\xff"], pa.binary()).view(pa.string()), 2),
    "digits": (pa.array([Decimal(10) ** 3], pa.decimal128(4, 0)).view(pa.decimal128(2, 0)), 1),
    "interval": (pa.array([(1, 2, 3)], pa.month_day_nano_interval()), 0),
    "struct": (pa.array([{}], pa.struct([])), 0),
}


@pytest.mark.parametrize("name", TYPED)
def test_given_a_value_or_type_that_is_not_kept_when_read_then_column_row_and_a_true_remedy_are_told(
    tmp_path: Path, name: str
) -> None:
    array, row = TYPED[name]
    if name == "times in a list":
        array, row = pa.ListArray.from_arrays([0, 1, 2], array.values.view(pa.time32("s"))), 2
    table = pa.table({"a b": array, "n": range(len(array))})
    with pa.OSFile(str(tmp_path / "f"), "wb") as out, pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(Failed) as caught:
        read(read_spec(tmp_path, "arrow"), [position(tmp_path, "f")], b"")
    failure = caught.value.failure
    assert (failure.kind, failure.column) == ("malformed", "a b")
    assert (f"row {row}: " in failure.message) == bool(row), failure.message
    assert failure.message.endswith('read.ignore: ["a b"]'), failure.message
    rest = read(read_spec(tmp_path, "arrow", ignore=["a b"]), [position(tmp_path, "f")], b"").table
    assert rest.column_names == ["n"]


def test_given_moments_that_python_has_not_when_they_do_not_fit_then_they_are_shown(tmp_path: Path) -> None:
    day, span = pa.array([4_000_000], pa.date32()), pa.array([1 << 62], pa.duration("us"))
    for name, array, kind, shown in (("d", day, "timestamp[ns]", "12921-"), ("e", span, "duration[ns]", "46")):
        pq.write_table(pa.table({name: array}), tmp_path / name)
        with pytest.raises(Failed, match=rf"row 1: {shown}.* is not ") as caught:
            read(read_spec(tmp_path, "parquet", schema={name: kind}), [position(tmp_path, name)], b"")
        assert caught.value.failure.column == name


@pytest.mark.parametrize("kind", [pa.decimal256(60, 2), pa.decimal128(10, 2), pa.list_(pa.time32("s")), pa.binary(3)])
def test_given_a_type_that_read_schema_takes_or_not_then_the_remedy_says_so(kind: pa.DataType) -> None:
    says = instead("a", kind)
    try:
        arrow_type(type_name(kind))
    except ValueError:
        assert "schema" not in says
    else:
        assert type_name(kind) in says
