"""``partition_by``: each value comes back from its folder, by whatever reader; a part is seen by its manifest."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from odibi_actors import committed_sql, failpoints, read_committed
from odibi_actors.errors import ConflictError, NotFoundError
from odibi_actors.kinds.sink import Site
from odibi_actors.model import Attempt, StagedRef
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.sinks.conform import Pin
from odibi_actors.nodes.sinks.folder import FolderSink
from odibi_actors.nodes.sinks.forms import form_of
from odibi_actors.nodes.sinks.known import UNKNOWN, Known
from odibi_actors.nodes.sinks.manifest import MANIFESTS
from odibi_actors.nodes.sinks.owner import Owner
from odibi_actors.nodes.sinks.partitioned import Cut, PartitionedCurrent, PartitionedFolder
from tests.synced import Disk
from tests.targets import folder

OWNER = Owner("store-1", "p", "out")
TEXTS = [
    *("DE", "", " ", "DE ", " x", "a/b", "../..", ".", "..", "a%b", "%2F", "a=b", "a+b", "a#b", "a?b*[c]{d}"),
    *("it's", 'q"q', "back\\slash"),
    *("l\nl", "é😀", "NULL", "null", "007", "1e5", "2024-01-01", "true", "x.tmp", "~", "nan", "_x", "x" * 240),
]  # fmt: skip


def sink(root: Path, *by: str, format: str = "parquet", limit: int = 1000, replaces: bool = False) -> PartitionedFolder:
    made = PartitionedCurrent if replaces else PartitionedFolder
    return made(Site(folder(str(root)), OWNER, replaces=replaces), form_of(format), Cut(list(by), limit))  # type: ignore[return-value]


def stage(to: PartitionedFolder, table: pa.Table, iteration: int) -> StagedRef:
    return to.stage(table, iteration, Attempt(1, iteration), Pin())[0]


def publish(to: PartitionedFolder, table: pa.Table, iteration: int) -> StagedRef:
    part = stage(to, table, iteration)
    to.publish(part, iteration, iteration - 1, known=UNKNOWN)
    return part


def by_i(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: row["i"])


COLUMNS: dict[str, pa.Array] = {
    "text": pa.array([*TEXTS, None]),
    "dates as text": pa.array(["2024-01-01", None]),
    "integers": pa.array([-(2**63), -1, 0, 2**63 - 1, None]),
    "small": pa.array([-128, 127, None], pa.int8()),
    "unsigned": pa.array([0, 2**64 - 1, None], pa.uint64()),
    "flags": pa.array([True, False, None]),
    "dates": pa.array([dt.date(1, 1, 1), dt.date(1969, 12, 31), dt.date(9999, 12, 31), None]),
}


@pytest.mark.parametrize("format", ["parquet", "csv", "json", "arrow"])
@pytest.mark.parametrize("case", COLUMNS)
def test_given_any_value_when_it_is_a_folder_then_it_comes_back_with_its_type(
    case: str, format: str, tmp_path: Path
) -> None:
    table = pa.table({"i": range(len(COLUMNS[case])), "k": COLUMNS[case]})
    publish(sink(tmp_path, "k", format=format), table, 1)
    assert read_committed(tmp_path).sort_by("i").equals(table)


@pytest.mark.parametrize("case", COLUMNS)
def test_given_any_value_when_others_are_told_its_type_then_they_read_it_too(case: str, tmp_path: Path) -> None:
    table = pa.table({"i": range(len(COLUMNS[case])), "k": COLUMNS[case]})
    publish(sink(tmp_path, "k"), table, 1)
    expected = table.to_pylist()
    assert duckdb.sql(f"{committed_sql(tmp_path)} order by i").to_arrow_table().equals(table)
    hive = ds.partitioning(pa.schema([("k", COLUMNS[case].type)]), flavor="hive")
    assert by_i(ds.dataset(tmp_path, partitioning=hive, format="parquet").to_table().to_pylist()) == expected
    types = {"k": pl.from_arrow(COLUMNS[case]).dtype}  # type: ignore[union-attr]
    if case not in ("flags", "dates"):  # polars takes them for null, or fails
        found = pl.read_parquet(f"{tmp_path}/k=*/*.parquet", hive_partitioning=True, hive_schema=types)  # type: ignore[arg-type]
        assert by_i(found.to_dicts()) == expected


@pytest.mark.parametrize("odd", ["a[b]", "x*y", "q?", "[[]", "back\\slash", "~", "k=1/y=2", "it's"])
@pytest.mark.parametrize("by", [(), ("k",)])
def test_given_a_folder_that_looks_like_a_pattern_when_queried_then_it_is_that_folder(
    odd: str, by: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, rows in ((odd, 1), ("ab", 2), ("a", 2), ("xzy", 2), ("qq", 2), ("[", 2)):  # whom a pattern would find
        (tmp_path / name).mkdir(parents=True)
        to = (
            sink(tmp_path / name, *by)
            if by
            else FolderSink(Site(folder(str(tmp_path / name)), OWNER), form_of("parquet"))
        )
        table = pa.table({"i": range(rows), "k": ["a"] * rows})
        to.publish(to.stage(table, 1, Attempt(1, 1), Pin())[0], 1, 0, known=UNKNOWN)
    monkeypatch.chdir(tmp_path)
    for root in (odd, tmp_path / odd):
        assert read_committed(root).to_pylist() == [{"i": 0, "k": "a"}]
        query = committed_sql(root)
        with monkeypatch.context() as elsewhere:
            elsewhere.chdir("/")
            assert duckdb.sql(f"select i, k from ({query})").fetchall() == [(0, "a")]


def test_given_a_folder_that_duckdb_cannot_name_then_it_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "a\\[b"
    root.mkdir()
    publish(sink(root, "k"), table_of(1), 1)
    assert read_committed(root).num_rows == 2
    with pytest.raises(ConflictError, match="the backslash beside one of"):
        committed_sql(root)


def test_given_values_of_folders_when_queried_then_they_are_those_of_the_manifest(tmp_path: Path) -> None:
    table = pa.table({"k": [None, "NULL", "null", "__HIVE"], "n": [1, None, 3, 4], "i": range(4)})
    publish(sink(tmp_path, "k", "n"), table, 1)
    query = committed_sql(tmp_path)
    assert "hive_partitioning = false" in query  # of which versions of DuckDB think differently
    assert duckdb.sql(f"select k, n, i from ({query}) order by i").fetchall() == [
        tuple(row.values()) for row in table.to_pylist()
    ]


def test_given_several_columns_when_published_then_rows_of_a_partition_keep_their_order(tmp_path: Path) -> None:
    table = pa.table({"a": ["x", None, "y", "x", ""], "b": [1, 2, 1, 1, None], "i": range(5)})
    publish(sink(tmp_path, "a", "b"), table, 1)
    assert {str(one.relative_to(tmp_path)) for one in tmp_path.glob("a=*/b=*/*")} == {
        f"{at}/part-0000000001-out.parquet"
        for at in ("a=x/b=1", "a=y/b=1", "a=__HIVE_DEFAULT_PARTITION__/b=2", "a=/b=__HIVE_DEFAULT_PARTITION__")
    }
    assert [row["i"] for row in read_committed(tmp_path).to_pylist()] == [0, 3, 1, 2, 4]
    assert read_committed(tmp_path, ["b", "a"]).column_names == ["b", "a"]
    with pytest.raises(ConflictError, match="has no column 'c'; there are: a, b, i"):
        read_committed(tmp_path, ["c"])


REFUSED = {
    "a double": ({"k": [1.5]}, ["k"], 9, "column 'k' is double, and partitions are by text"),
    "a name too long": ({"k": ["ok", "é" * 130]}, ["k"], 9, "makes a folder's name of 262 bytes; 255 are the most"),
    "what says null": ({"k": ["__HIVE_DEFAULT_PARTITION__"]}, ["k"], 9, "which is how folders say null"),
    "a zero byte": ({"k": ["a\0b"]}, ["k"], 9, "holds a zero byte, .* Let a node before .* or set `on_error: dead_"),
    "no such column": ({"k": ["a"]}, ["other"], 9, "partition_by names column 'other', which is not there"),
    "all columns": ({"k": ["a"]}, ["i", "k"], 9, "none is left for the files"),
    "too many": ({"k": ["a", "b", "c", None]}, ["k"], 3, r"of 4 partitions \(k\), more than .*max_partitions \(3\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_given_what_no_folder_says_then_it_is_refused_by_name_and_nothing_is_left(case: str, tmp_path: Path) -> None:
    columns, by, limit, message = REFUSED[case]
    table = pa.table({"i": range(len(columns["k"])), **columns})
    with pytest.raises(Failed, match=message):
        stage(sink(tmp_path, *by, limit=limit), table, 1)
    assert [one for one in tmp_path.rglob("*") if one.is_file() and one.name != "_odibi_owner.json"] == []


def table_of(number: int) -> pa.Table:
    return pa.table({"k": ["a", "b"], "i": [number, number]})


@pytest.mark.parametrize("replaces", [False, True])
def test_given_a_reader_at_each_step_of_publishing_then_it_sees_a_part_whole_or_not_at_all(
    replaces: bool, tmp_path: Path
) -> None:
    to, seen = sink(tmp_path, "k", replaces=replaces), list[list[int]]()
    publish(to, table_of(1), 1)
    part = stage(to, table_of(2), 2)
    with failpoints.watching(lambda _: seen.append(read_committed(tmp_path)["i"].to_pylist())):
        to.publish(part, 2, 1, known=UNKNOWN)
    before, after = ([1, 1], [2, 2]) if replaces else ([1, 1], [1, 1, 2, 2])
    step = seen.index(after)
    assert step > 0
    assert seen == [before] * step + [after] * (len(seen) - step)


def test_given_files_that_no_manifest_names_then_they_are_not_committed(tmp_path: Path) -> None:
    to = sink(tmp_path, "k")
    publish(to, table_of(1), 1)
    (tmp_path / "k=a/part-0000000002-out.parquet").write_bytes(
        (tmp_path / "k=a/part-0000000001-out.parquet").read_bytes()
    )
    assert read_committed(tmp_path)["i"].to_pylist() == [1, 1]
    assert duckdb.sql(committed_sql(tmp_path)).fetchall() == [(1, "a"), (1, "b")]


def test_given_a_part_without_rows_then_its_columns_are_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no folder of a sink"):
        read_committed(tmp_path)
    publish(sink(tmp_path, "k"), table_of(1).slice(0, 0), 1)
    assert read_committed(tmp_path).equals(table_of(1).slice(0, 0))
    with pytest.raises(NotFoundError, match="no file is committed"):
        committed_sql(tmp_path)


def test_given_another_part_when_staged_for_the_same_attempt_then_the_first_stands(tmp_path: Path) -> None:
    to = sink(tmp_path, "k")
    first, second = stage(to, table_of(1), 1), stage(to, table_of(2), 1)
    assert first.staged != second.staged
    assert stage(to, table_of(1), 1) == first
    to.publish(first, 1, 0, known=UNKNOWN)
    assert read_committed(tmp_path)["i"].to_pylist() == [1, 1]
    with pytest.raises(ConflictError, match="it was not written by this iteration"):
        to.publish(second, 1, 0, known=UNKNOWN)


def test_given_files_of_an_unknown_part_when_published_then_all_that_is_in_the_way_is_named_and_nothing_is_linked(
    tmp_path: Path,
) -> None:
    to = sink(tmp_path, "k")
    first = publish(to, pa.table({"k": ["b", "c", "d"], "i": [1, 1, 1]}), 1)
    second = stage(to, pa.table({"k": ["a", "b", "c"], "i": [2, 2, 2]}), 1)  # of an older store, under the same number
    with pytest.raises(ConflictError, match=r"move it, and all files part-0000000001-out\.\* in the folders of part"):
        to.publish(second, 1, 0, known=UNKNOWN)
    with pytest.raises(ConflictError, match=r"or move that away, with all files of these iterations in the folders"):
        to.publish(stage(to, table_of(2), 2), 2, 0, known=Known(0))
    Path(first.published).unlink()
    found = r"k=b/part-0000000001-out.parquet, and 1 more of that name, .*: move all files part-0000000001-out\.\* in"
    with pytest.raises(ConflictError, match=found):
        to.publish(second, 1, 0, known=UNKNOWN)
    assert not list(tmp_path.glob("k=a/*"))
    for file in tmp_path.glob("k=*/part-0000000001-out.*"):
        file.unlink()
    to.publish(second, 1, 0, known=UNKNOWN)
    assert read_committed(tmp_path)["i"].to_pylist() == [2, 2, 2]


def test_given_a_published_part_when_it_is_discarded_then_its_folders_go_and_others_stay(tmp_path: Path) -> None:
    to = sink(tmp_path, "k")
    publish(to, table_of(1).slice(0, 1), 1)
    part = publish(to, table_of(2), 2)
    for _ in range(2):
        to.discard(part, 2)
    assert read_committed(tmp_path)["i"].to_pylist() == [1]
    assert [one.name for one in tmp_path.iterdir() if "=" in one.name] == ["k=a"]


def test_given_a_death_amid_discarding_then_the_next_one_deletes_the_rest(tmp_path: Path) -> None:
    to = sink(tmp_path, "k")
    part = publish(to, table_of(1), 1)

    class Death(Exception):
        pass

    def die(_: str) -> None:
        raise Death

    with pytest.raises(Death), failpoints.watching(die):
        to.discard(part, 1)
    to.discard(part, 1)
    assert list(tmp_path.rglob("*.parquet*")) == []
    assert not list(tmp_path.glob("_part*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("k=a/", "../k=a/"), "which is not one of that iteration and partition"),
        (lambda text: text.replace('"schema": 1', '"schema": 2'), "it is of form 2, and this version knows 1"),
        (lambda text: text[:-5], "is not a manifest of a sink"),
        (lambda text: text.replace('"rows": 1,', '"rows": -1,', 1), "cannot be"),
    ],
)
def test_given_a_manifest_that_is_none_then_readers_are_told(change: Any, message: str, tmp_path: Path) -> None:
    part = publish(sink(tmp_path, "k"), table_of(1), 1)
    Path(part.published).write_text(change(Path(part.published).read_text()))
    with pytest.raises(ConflictError, match=message):
        read_committed(tmp_path)


def test_given_a_file_that_is_gone_then_it_is_named(tmp_path: Path) -> None:
    publish(sink(tmp_path, "k"), table_of(1), 1)
    (tmp_path / "k=b/part-0000000001-out.parquet").unlink()
    with pytest.raises(ConflictError, match=r"names a file that is not there: .*k=b/part-0000000001-out.parquet"):
        read_committed(tmp_path)


def test_given_folders_of_other_columns_then_they_are_not_mixed(tmp_path: Path) -> None:
    publish(sink(tmp_path, "k"), table_of(1), 1)
    with pytest.raises(
        ConflictError, match=r"holds parts partitioned by k .*and readers of these would not see those partitioned by i"
    ):
        publish(sink(tmp_path, "i"), table_of(2), 2)
    assert json.loads((tmp_path / "_odibi_owner.json").read_text())["partition_by"] == ["k"]
    assert [one.name for one in (tmp_path / MANIFESTS).iterdir()] == ["part-0000000001-out.manifest"]


def test_given_a_part_when_staged_and_published_then_all_of_it_is_synced_before_the_manifest_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = sink(tmp_path / "out", "k")
    to.stage(table_of(1).slice(0, 0), 9, Attempt(1, 9), Pin())  # the folder is there, and claimed
    disk = Disk(monkeypatch)
    part = stage(to, table_of(1), 1)
    named = disk.done.index(("rename", Path(part.staged).parent))
    synced = [path for call, path in disk.done[:named] if call == "fsync"]
    within = next(path for path in synced if path.name == Path(part.staged).name).parent
    assert {path.name for path in synced if path.parent == within} == {"0.staged", "1.staged", Path(part.staged).name}
    assert within in synced
    assert ("fsync", tmp_path / "out") in disk.done[named:]
    disk.done.clear()
    to.publish(part, 1, 0, known=UNKNOWN)
    manifest = Path(part.published)
    linked = disk.done.index(("link", manifest))
    for name in ("a", "b"):
        at = tmp_path / "out" / f"k={name}"
        file = disk.done.index(("link", at / "part-0000000001-out.parquet"))
        assert ("fsync", at) in disk.done[file:linked]
        assert ("fsync", at.parent) in disk.done[:linked]  # which names the folder
    assert ("fsync", manifest.parent) in disk.done[linked:]


@pytest.mark.parametrize("replaces", [False, True])
def test_given_a_staged_file_that_was_damaged_then_nothing_is_published(replaces: bool, tmp_path: Path) -> None:
    to = sink(tmp_path, "k", replaces=replaces)
    part = stage(to, table_of(1), 1)
    at = Path(part.staged).parent / "1.staged"
    at = Path(part.staged).parent.parent / "k=b/part-0000000001-out.parquet" if replaces else at
    at.write_bytes(at.read_bytes()[:-1] + b"x")
    with pytest.raises(ConflictError, match=r"the prepared file .* it was damaged"):
        to.publish(part, 1, 0, known=UNKNOWN)
    with pytest.raises(NotFoundError):
        read_committed(tmp_path)
