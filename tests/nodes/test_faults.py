"""All files of a batch that cannot be read are named at once, up to a bound; no other failure hides behind them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from odibi_actors.batches.ipc import encode_schema
from odibi_actors.model import Failure, Position
from odibi_actors.nodes import faults
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.faults import NAMED
from odibi_actors.nodes.read import read
from tests.nodes.helpers import position, read_spec

PINNED = encode_schema(pa.schema([("id", pa.int64()), ("name", pa.string())]))
GOOD = {"csv": b"id,name\n1,a\n", "json": b'{"id": 1, "name": "a"}\n'}
BAD = {"csv": b"id,name\n1,a\nx1,b\n", "json": b'{"id": 1, "name": "a"}\n{"id": "x1", "name": "b"}\n'}


def failed(spec: object, files: list[Position], pinned: bytes) -> Failure:
    with pytest.raises(Failed) as caught:
        read(spec, files, pinned)  # type: ignore[arg-type]
    return caught.value.failure


@pytest.mark.parametrize("format_", ["csv", "json"])
@pytest.mark.parametrize("pinned", [PINNED, b""], ids=["pinned", "first batch"])
def test_given_several_bad_files_when_read_then_each_is_named_with_its_place(
    tmp_path: Path, format_: str, pinned: bytes
) -> None:
    content = {"a": GOOD, "b": BAD, "c": GOOD, "d": BAD, "e": BAD}
    files = [position(tmp_path, name, data[format_]) for name, data in content.items()]
    failure = failed(read_spec(tmp_path, format_, schema={} if pinned else {"id": "int64"}), files, pinned)
    assert (failure.kind, failure.position) == ("malformed", "b")
    assert [(one.position, one.column, one.value.strip('"')) for one in failure.others] == [
        ("d", "id", "x1"),
        ("e", "id", "x1"),
    ]
    assert failure.also.startswith("2 more files of this batch cannot be read: d line ")
    assert (failure.alone().message, failure.alone().also) == (failure.message, "")


def test_given_a_file_of_another_format_among_bad_ones_when_read_then_all_are_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1], "name": ["a"]}), tmp_path / "a")
    files = [position(tmp_path, "a"), position(tmp_path, "b", b"no parquet"), position(tmp_path, "c", b"nor this")]
    failure = failed(read_spec(tmp_path, "parquet"), files, PINNED)
    assert (failure.position, [one.position for one in failure.others]) == ("b", ["c"])


def test_given_more_bad_files_than_are_named_when_read_then_the_rest_is_counted(tmp_path: Path) -> None:
    files = [position(tmp_path, f"{n:02}.csv", BAD["csv"]) for n in range(NAMED + 4)]
    failure = failed(read_spec(tmp_path), files, PINNED)
    assert [one.position for one in failure.others] == [f"{n:02}.csv" for n in range(1, NAMED + 1)]
    assert failure.more == 3
    assert failure.also.startswith(
        f"{NAMED + 3} more files of this batch cannot be read: 01.csv line 3, column id ('x1')"
    )
    assert failure.also.endswith("; and 3 more")


def test_given_a_bad_file_and_one_that_is_gone_when_read_then_both_are_named(tmp_path: Path) -> None:
    files = [position(tmp_path, name, BAD["csv"]) for name in ("a", "b")]
    (tmp_path / "b").unlink()
    failure = failed(read_spec(tmp_path), files, PINNED)
    assert [(one.kind, one.position) for one in (failure, *failure.others)] == [("malformed", "a"), ("changed", "b")]


@pytest.mark.parametrize("error", [OSError("the disk is gone"), Failed("invalid", "of no file")])
def test_given_another_failure_behind_a_bad_file_when_read_then_the_bad_file_is_told(error: Exception) -> None:
    found = faults.Faults()
    with found.looking():
        raise Failed("malformed", "bad", position="a")
    with pytest.raises(Failed, match="bad") as caught, found.looking():
        raise error
    assert caught.value.failure == Failure("malformed", "bad", position="a")


@pytest.mark.parametrize("error", [OSError("the disk is gone"), Failed("invalid", "of no file")])
def test_given_no_bad_file_when_another_failure_comes_then_it_is_raised_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)), faults.Faults().looking():
        raise error
