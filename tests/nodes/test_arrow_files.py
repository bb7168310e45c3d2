"""Arrow IPC files and streams as a source's files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.feather
import pytest

from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.formats import Malformed
from odibi_actors.nodes.formats.arrow import parse
from odibi_actors.nodes.formats.columns import Wanted
from odibi_actors.nodes.read import read
from tests.nodes.helpers import position, read_spec

TABLE = pa.table({"id": [1, 2], "tags": [["a"], None], "at": pa.array([1, None], pa.timestamp("us", "UTC"))})


def written(table: pa.Table, make: Any = pa.ipc.new_file, **options: Any) -> bytes:
    sink = io.BytesIO()
    with make(sink, table.schema, **options) as writer:
        writer.write_table(table)
    return sink.getvalue()


@pytest.mark.parametrize("make", [pa.ipc.new_file, pa.ipc.new_stream])
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_given_a_file_or_a_stream_then_the_table(tmp_path: Path, make: Any, compression: str | None) -> None:
    data = written(TABLE, make, options=pa.ipc.IpcWriteOptions(compression=compression))
    found = read(read_spec(tmp_path, "arrow"), [position(tmp_path, "a.arrow", data)], b"")
    assert found.table.equals(TABLE)


def test_given_feather_and_categories_then_their_values(tmp_path: Path) -> None:
    table = pa.table({"c": pa.array(["x", "y", "x"]).dictionary_encode()})
    pyarrow.feather.write_feather(table, str(tmp_path / "f.feather"))
    found = read(read_spec(tmp_path, "arrow"), [position(tmp_path, "f.feather")], b"")
    assert found.table.to_pylist() == [{"c": "x"}, {"c": "y"}, {"c": "x"}]
    with pytest.raises(Malformed, match="Feather version 1"):
        parse(b"FEA1....", {}, Wanted())


@pytest.mark.parametrize("make", [pa.ipc.new_file, pa.ipc.new_stream])
def test_given_a_file_that_is_cut_off_anywhere_then_it_is_malformed(make: Any) -> None:
    batches = pa.Table.from_batches(TABLE.to_batches() * 3)
    data = written(batches, make)
    for length in range(len(data)):
        with pytest.raises(Malformed):
            parse(data[:length], {}, Wanted())
    assert parse(data, {}, Wanted()).table.num_rows == 6


@pytest.mark.parametrize("make", [pa.ipc.new_file, pa.ipc.new_stream])
@pytest.mark.parametrize("rows", [0, 2])
def test_given_two_in_one_then_none_of_both_is_lost_in_silence(make: Any, rows: int) -> None:
    one, other = written(TABLE, make), written(TABLE.slice(0, rows), make)
    for data in (one + other, other + one):
        with pytest.raises(Malformed, match=r"deliver each (stream )?by itself"):
            parse(data, {}, Wanted())
    with pytest.raises(Malformed):
        parse(one + b"x" * 8, {}, Wanted())


@pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
def test_given_a_file_within_a_value_then_it_is_one_file(compression: Any) -> None:
    blobs = pl.DataFrame({"b": [written(TABLE), written(TABLE)], "x": [1, 2]})
    sink = io.BytesIO()
    blobs.write_ipc(sink, compression=compression)
    assert parse(sink.getvalue(), {}, Wanted()).table.to_pylist() == blobs.to_dicts()
    assert parse(written(blobs.to_arrow()), {}, Wanted()).table.to_pylist() == blobs.to_dicts()


def test_given_categories_of_polars_then_their_values() -> None:
    frame = pl.DataFrame({"c": pl.Series(["a", None, "b"], dtype=pl.Categorical), "e": pl.Series(["x"] * 3)})
    frame = frame.with_columns(e=pl.col("e").cast(pl.Enum(["x", "y"])), l=pl.concat_list(pl.col("c")))
    for write in (frame.write_ipc, frame.write_ipc_stream):
        sink = io.BytesIO()
        write(sink)
        assert parse(sink.getvalue(), {}, Wanted()).table.to_pylist() == frame.to_dicts()


def test_given_other_bytes_then_what_they_are() -> None:
    for data, says in (
        (b"", "empty"),
        (b"id,x\n", "something else, not Arrow"),
        (b"PAR1\0\xff", "is parquet, not Arrow"),
    ):
        with pytest.raises(Malformed, match=says):
            parse(data, {}, Wanted())


def test_given_pinned_types_then_values_fit_them_exactly(tmp_path: Path) -> None:
    spec = read_spec(tmp_path, "arrow")
    first = read(spec, [position(tmp_path, "a.arrow", written(pa.table({"x": [1, 2]})))], b"")
    narrow = written(pa.table({"x": pa.array([3], pa.int8())}), pa.ipc.new_stream)
    assert read(spec, [position(tmp_path, "b.arrow", narrow)], first.schema).table["x"].to_pylist() == [3]
    with pytest.raises(Failed, match=r"c\.arrow, column x: row 1: 1\.5 is not int64; read\.schema: {x: double}"):
        read(spec, [position(tmp_path, "c.arrow", written(pa.table({"x": [1.5]})))], first.schema)
    with pytest.raises(Failed, match="column 'x' is missing"):
        read(spec, [position(tmp_path, "d.arrow", written(pa.table({"y": [1]})))], first.schema)
