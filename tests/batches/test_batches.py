"""Batches survive the trip: through bytes, files, pandas and polars, unchanged; damage is told."""

from __future__ import annotations

import datetime as dt
import decimal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from odibi_actors.batches import files, frames, ipc
from odibi_actors.batches.files import delete_outputs, make_dirs
from odibi_actors.batches.normalise import normal_type, normalise
from odibi_actors.batches.spool import Spool
from odibi_actors.errors import BatchError
from odibi_actors.model import Attempt
from tests.synced import Disk

INSTANTS = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))
COLUMNS: dict[str, tuple[pa.DataType, st.SearchStrategy[object]]] = {
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "int8": (pa.int8(), st.integers(-128, 127)),
    "uint64": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "double": (pa.float64(), st.floats(allow_nan=False)),
    "bool": (pa.bool_(), st.booleans()),
    "string": (pa.string(), st.text(st.characters(exclude_categories=["Cs"]), max_size=5)),
    "binary": (pa.binary(), st.binary(max_size=5)),
    "date": (pa.date32(), st.dates()),
    "us": (pa.timestamp("us"), INSTANTS),
    "zoned": (pa.timestamp("us", "America/New_York"), INSTANTS),
    "decimal": (pa.decimal128(10, 2), st.decimals(-1000, 1000, places=2)),
    "time": (pa.time64("us"), st.times()),
    "duration": (pa.duration("us"), st.timedeltas(dt.timedelta(-9), dt.timedelta(9))),
    "list": (pa.list_(pa.int32()), st.lists(st.integers(0, 9), max_size=3)),
    "struct": (pa.struct([("a", pa.int64())]), st.fixed_dictionaries({"a": st.integers(0, 9)})),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Tables of all types we keep, nulls in all columns, several chunks."""
    rows = draw(st.integers(0, 6))
    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, unique=True))
    arrays = []
    for name in names:
        kind, values = COLUMNS[name]
        cells = draw(st.lists(st.none() | values, min_size=rows, max_size=rows))
        arrays.append(pa.array(cells, kind))
    table = pa.table(arrays, names=names)
    cut = draw(st.integers(0, rows))
    return pa.concat_tables([table.slice(0, cut), table.slice(cut)])


@given(tables())
def test_given_any_table_when_encoded_and_decoded_then_it_is_equal(table: pa.Table) -> None:
    assert ipc.decode(ipc.encode(table), table.num_rows).equals(table)


@given(tables())
def test_given_any_table_when_taken_through_pandas_then_no_type_or_value_drifts(table: pa.Table) -> None:
    assert frames.from_pandas(frames.to_pandas(table)).equals(table)


@given(tables())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_given_any_table_when_spooled_then_it_is_read_back_equal(tmp_path: Path, table: pa.Table) -> None:
    spool = Spool(tmp_path, "here")
    big = pa.concat_tables([table] * 300) if table.num_rows else table
    for one in (table, big):
        ref = spool.write(one, "p", 1, "n", Attempt(1, 2))
        assert (ref.rows, ref.host, bool(ref.path)) == (one.num_rows, "here", ref.size > ipc.INLINE_MAX)
        assert spool.read(ref, verify=True).equals(one)
        assert spool.write(one, "p", 1, "n", Attempt(1, 3)).digest == ref.digest


def _big() -> pa.Table:
    return pa.table({"x": pa.array(range(5000)), "s": [f"text {n}" for n in range(5000)]})


def test_given_a_large_output_when_written_then_only_the_final_name_exists(tmp_path: Path) -> None:
    ref = Spool(tmp_path, "h").write(_big(), "flights", 7, "clean", Attempt(3, 14), durable=True)
    assert ref.path == "flights/7/clean-3-14.arrow"
    assert [p.name for p in tmp_path.rglob("*.*")] == ["clean-3-14.arrow"]
    assert (tmp_path / ref.path).stat().st_size == ref.size


def test_given_a_durable_output_when_written_then_its_bytes_are_synced_before_it_has_its_name_and_the_name_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    ref = Spool(tmp_path, "h").write(_big(), "p", 1, "n", Attempt(1, 1), durable=True)
    disk.check(tmp_path / ref.path)
    disk.done.clear()
    Spool(tmp_path, "h").write(_big(), "p", 1, "n", Attempt(1, 2))
    assert [call for call, _ in disk.done] == ["rename"]  # a cache: what is lost is made again


def test_given_a_folder_that_an_unsynced_output_made_when_a_durable_one_follows_then_its_name_is_synced_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path / "spool", "h")
    spool.write(_big(), "p", 1, "n", Attempt(1, 1))
    disk = Disk(monkeypatch)
    spool.write(_big(), "p", 1, "n", Attempt(1, 2), durable=True)
    synced = [path for call, path in disk.done if call == "fsync"]
    for folder in (tmp_path / "spool" / "p", tmp_path / "spool", tmp_path):
        assert folder in synced, f"what is in {folder.name} has no durable name"
    disk.done.clear()
    spool.write(_big(), "p", 1, "n", Attempt(1, 3), durable=True)
    assert [path for call, path in disk.done if call == "fsync"][1:] == [tmp_path / "spool" / "p" / "1"]


def test_given_a_folder_that_was_deleted_when_it_is_made_again_then_its_name_is_synced_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_dirs(tmp_path / "p" / "1", sync=True)
    delete_outputs(tmp_path, "p", 1)
    disk = Disk(monkeypatch)
    make_dirs(tmp_path / "p" / "1", sync=True)
    assert disk.done == [("fsync", tmp_path / "p")]
    (tmp_path / "p" / "next").mkdir()  # while the former one is there: so it is surely another folder
    delete_outputs(tmp_path, "p", 1)
    (tmp_path / "p" / "next").rename(tmp_path / "p" / "1")
    (tmp_path / "p" / "1" / "x").touch()
    disk.done.clear()
    make_dirs(tmp_path / "p" / "1", sync=True)
    assert disk.done == [("fsync", tmp_path / "p")]


def test_given_many_folders_when_made_then_a_bounded_number_of_them_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_NAMES_MAX", 5)
    monkeypatch.setattr(files, "_named", {})
    for number in range(20):
        make_dirs(tmp_path / "p" / str(number), sync=True)
    assert len(files._named) == 5


def test_given_a_parent_that_may_not_be_read_when_a_folder_in_it_is_there_then_it_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_dirs(tmp_path / "home" / "me", sync=False)
    synced: list[Path] = []

    def refuse(path: Path) -> None:
        if path == tmp_path / "home":
            raise PermissionError(path)
        synced.append(path)

    monkeypatch.setattr(files, "fsync_dir", refuse)
    make_dirs(tmp_path / "home" / "me" / "spool", sync=True)
    assert synced == [tmp_path / "home" / "me"]


def test_given_other_values_in_a_sound_file_when_read_with_verify_then_it_is_a_named_error(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "h")
    ref = spool.write(_big(), "p", 1, "n", Attempt(1, 1))
    other = spool.write(_big().set_column(0, "x", pa.array(range(1, 5001))), "p", 1, "n", Attempt(1, 2))
    assert other.size == ref.size
    (tmp_path / other.path).replace(tmp_path / ref.path)
    assert spool.read(ref).num_rows == ref.rows  # nothing but the digest tells
    with pytest.raises(BatchError, match="digest"):
        spool.read(ref, verify=True)


@pytest.mark.parametrize("harm", ["gone", "cut", "flipped", "folder", "link"])
def test_given_a_harmed_spool_file_when_read_with_verify_then_it_is_a_named_error(tmp_path: Path, harm: str) -> None:
    spool = Spool(tmp_path, "h")
    ref = spool.write(_big(), "p", 1, "n", Attempt(1, 1))
    path = tmp_path / ref.path
    data = bytearray(path.read_bytes())
    path.unlink()
    if harm == "cut":
        path.write_bytes(data[:-1])
    elif harm == "flipped":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif harm == "folder":
        path.mkdir()
    elif harm == "link":
        (tmp_path / "other").write_bytes(data)
        path.symlink_to(tmp_path / "other")
    with pytest.raises(BatchError, match=r"p/1/n-1-1\.arrow"):
        spool.read(ref, verify=True)


def test_given_a_changed_inline_batch_when_read_then_it_is_refused(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "h")
    ref = spool.write(pa.table({"x": [1]}), "p", 1, "n", Attempt(1, 1))
    assert not ref.path
    other = type(ref)(rows=1, size=ref.size, digest=ref.digest, data=b"\0" + ref.data[1:])
    with pytest.raises(BatchError, match="digest"):
        spool.read(other)


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "p/1/../../n-1-1.arrow", "p/1/n-1-1.arrow/..", "p//n-1-1.arrow"]
)
def test_given_a_reference_out_of_the_spool_when_read_then_it_is_refused(tmp_path: Path, path: str) -> None:
    spool = Spool(tmp_path, "h")
    ref = spool.write(_big(), "p", 1, "n", Attempt(1, 1))
    with pytest.raises(BatchError, match="not a path of the spool"):
        spool.read(type(ref)(rows=ref.rows, size=ref.size, digest=ref.digest, path=path))


def test_given_claims_over_the_limits_when_read_then_they_are_refused_before_anything_is_opened(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "h")
    ref = spool.write(_big(), "p", 1, "n", Attempt(1, 1))
    with pytest.raises(BatchError, match="limits"):
        spool.read(type(ref)(rows=ipc.MAX_ROWS + 1, size=ref.size, digest=ref.digest, path=ref.path))


def test_given_a_mapped_output_when_its_iteration_is_deleted_then_the_reader_keeps_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "h")
    ref = spool.write(_big(), "p", 1, "n", Attempt(1, 1))
    table = spool.read(ref)
    delete_outputs(tmp_path, "p", 1)
    delete_outputs(tmp_path, "p", 1)
    assert not (tmp_path / "p" / "1").exists()
    assert table.equals(_big())
    with pytest.raises(ValueError, match="not a folder"):
        delete_outputs(tmp_path, "..", 1)


def test_given_types_of_other_libraries_when_normalised_then_each_has_its_one_form() -> None:
    table = pa.table(
        {
            "large": pa.array(["a", None], pa.large_string()),
            "view": pa.array(["a", None], pa.string_view()),
            "dict": pa.array(["a", None]).dictionary_encode(),
            "ree": pa.RunEndEncodedArray.from_arrays([2], ["a"]),
            "none": pa.nulls(2),
            "nested": pa.array([["a"], None], pa.large_list(pa.large_string())),
            "bytes": pa.array([b"a", None], pa.large_binary()),
            "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16, None], pa.binary(16))),
        },
    ).replace_schema_metadata({"pandas": "{}"})
    found = normalise(table)
    assert [str(kind) for kind in found.schema.types] == [
        *["string"] * 5,
        "list<item: string>",
        "binary",
        "string",
    ]
    assert found.schema.metadata is None
    assert found.column("ree").to_pylist() == ["a", "a"]
    assert found.to_pydict() == {**table.to_pydict(), "uuid": found.column("uuid").to_pylist()}
    assert all(normal_type(kind) == kind for kind in found.schema.types)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (pa.table([[1], [2], [3]], names=["a", "b", "a"]), "several columns named 'a'"),
        (pa.table({}), "no columns"),
        (pa.table([[1]], names=[""]), "column 1 of the table has no name"),
    ],
)
def test_given_bad_names_when_normalised_then_the_error_names_them(table: pa.Table, says: str) -> None:
    with pytest.raises(BatchError, match=says):
        normalise(table)


@pytest.mark.filterwarnings("ignore:The inplace keyword")
def test_given_an_input_when_user_code_works_in_place_then_it_works_and_the_input_stays(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "h")
    table = pa.table({"dep_delay": [61, None, 5] * 1000, "tail": ["n1", None, "N3"] * 1000})
    mapped = spool.read(spool.write(table, "p", 1, "n", Attempt(1, 1)))
    frame = frames.to_pandas(mapped)
    frame["dep_delay"] += 1
    frame.loc[frame.dep_delay > 60, "tail"] = "late"
    frame.iloc[2, 0] = 7
    frame.fillna({"tail": "none"}, inplace=True)
    frame["upper"] = frame["tail"].str.upper()
    frame.drop(columns=["tail"], inplace=True)
    frame.sort_values("dep_delay", inplace=True)
    out = frames.from_pandas(frame[frame.dep_delay > 6])
    assert out.schema.names == ["dep_delay", "upper"]
    assert set(out.column("upper").to_pylist()) == {"LATE", "N3"}
    assert mapped.equals(table)


def test_given_frames_when_taken_over_then_the_index_is_dropped_or_refused_but_never_leaks() -> None:
    frame = pd.DataFrame({"k": ["a", "b", "a"], "v": [1, 2, 3]})
    assert frames.from_pandas(frame[frame.v > 1]).to_pydict() == {"k": ["b", "a"], "v": [2, 3]}
    with pytest.raises(BatchError, match="reset_index"):
        frames.from_pandas(frame.groupby("k").sum())
    assert frames.from_pandas(frame.groupby("k").sum().reset_index()).to_pydict() == {"k": ["a", "b"], "v": [4, 2]}


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "several columns named 'a'"),
        (pd.DataFrame({0: [1]}), "must be text, not 0"),
        (pd.DataFrame({"a": [1, "x", object()]}), "a"),
        (pd.DataFrame(), "no columns"),
    ],
)
def test_given_frames_without_an_arrow_form_when_taken_over_then_the_error_says_why(
    frame: pd.DataFrame, says: str
) -> None:
    with pytest.raises(BatchError, match=says):
        frames.from_pandas(frame)


def test_given_plain_numpy_frames_when_taken_over_then_missing_is_null_and_all_null_is_text() -> None:
    frame = pd.DataFrame(
        {
            "f": np.array([1.5, np.nan]),
            "t": pd.to_datetime(["2013-01-01", None]),
            "c": pd.Categorical(["x", None]),
            "n": [None, None],
            "d": [decimal.Decimal("1.50"), None],
        }
    )
    table = frames.from_pandas(frame)
    assert [column.null_count for column in table.columns] == [1, 1, 1, 2, 1]
    assert [str(table.schema.field(name).type) for name in "fcnd"] == ["double", "string", "string", "decimal128(3, 2)"]


@given(tables())
def test_given_any_table_when_taken_through_polars_then_values_stay(table: pa.Table) -> None:
    table = table.drop_columns([name for name in ("duration", "time") if name in table.column_names])
    if table.column_names:
        assert frames.from_polars(frames.to_polars(table)).to_pylist() == table.to_pylist()


def test_given_a_polars_frame_when_taken_over_then_types_are_normal() -> None:
    frame = pl.DataFrame({"a": ["x"], "c": pl.Series(["x"], dtype=pl.Categorical), "l": [["x"]]})
    assert [str(kind) for kind in frames.from_polars(frame).schema.types] == ["string", "string", "list<item: string>"]


@given(st.binary(max_size=300))
def test_given_random_bytes_when_decoded_then_it_is_a_batch_error(data: bytes) -> None:
    with pytest.raises(BatchError):
        ipc.decode(data)
    with pytest.raises(BatchError):
        ipc.decode_schema(data)
