"""The pandas engine: ordinary frames in and out, values exact or refused by name, files whole or not at all."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pandas as pd
import pytest

from odibi_actors.core import create_engine_context
from odibi_actors.errors import MissingExtraError, NodeError
from odibi_actors.nodes.spark import finding

CONTEXT = create_engine_context("pandas")
BIG = (1 << 53) + 1
FRAME = pd.DataFrame({"key": ["a", "b"], "size": [BIG, 2], "price": [0.1 + 0.2, 1e-310], "ok": [True, False]})


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.jsonl", "a.parquet"])
def test_given_a_frame_when_written_and_read_then_it_is_the_same(name: str, tmp_path: Path) -> None:
    CONTEXT.write(FRAME, str(tmp_path / "new" / name))
    pd.testing.assert_frame_equal(CONTEXT.read(str(tmp_path / "new" / name)), FRAME, check_exact=True)


def test_given_texts_that_look_like_numbers_or_dates_in_json_then_they_stay_texts(tmp_path: Path) -> None:
    frame = pd.DataFrame({"code": ["007", "1e5"], "created_at": ["2025-01-15", "1"]})
    CONTEXT.write(frame, str(tmp_path / "a.json"))
    assert CONTEXT.read(str(tmp_path / "a.json")).to_dict("list") == frame.to_dict("list")


@pytest.mark.parametrize(
    ("column", "said"),
    [([float("inf"), 1.0], "infinity"), ([Decimal("0.10"), None], "Decimal"), ([b"x", b""], "bytes")],
)
def test_given_values_that_json_lacks_then_the_column_is_named_and_the_file_stays(
    column: list[Any], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    path.write_text("before")
    with pytest.raises(TypeError, match=f"column 'bad': JSON has no {said}"):
        CONTEXT.write(pd.DataFrame({"bad": column}), str(path))
    assert path.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]


def test_given_an_index_with_data_then_it_is_written_and_one_of_numbers_is_not(tmp_path: Path) -> None:
    named = pd.DataFrame({"v": [1, 2]}, index=pd.Index(["x", "y"], name="k"))
    filtered = pd.DataFrame({"v": [1, 2, 3]})[1:]
    for name in ("a.csv", "a.jsonl"):
        CONTEXT.write(named, str(tmp_path / name))
        assert CONTEXT.read(str(tmp_path / name)).to_dict("list") == {"k": ["x", "y"], "v": [1, 2]}
        CONTEXT.write(filtered, str(tmp_path / name))
        assert CONTEXT.read(str(tmp_path / name)).to_dict("list") == {"v": [2, 3]}


def test_given_params_then_they_go_to_the_reader(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1;007\n2;008\n")
    found = CONTEXT.read(str(tmp_path / "a.txt"), source_type="csv", header=False, sep=";", dtype={1: str})
    assert found.values.tolist() == [[1, "007"], [2, "008"]]


def test_given_a_table_of_sqlite_then_it_comes_and_goes_in_one_piece(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    frame = pd.DataFrame({"k": ["a", None], "n": [1, 2], "at": pd.to_datetime(["2025-01-15", None])})
    CONTEXT.write(frame, path, table='or"der')
    CONTEXT.write(frame.head(1), path, table='or"der', mode="append")
    found = CONTEXT.read(path, table='or"der')
    assert found["at"].fillna("-").tolist() == ["2025-01-15T00:00:00", "-", "2025-01-15T00:00:00"]
    assert CONTEXT.read(path, query='select n from "or""der" where k is null')["n"].tolist() == [2]
    assert len(CONTEXT.read("", source_type="sql", connection_string=f"sqlite:///{path}", table='or"der')) == 3
    with pytest.raises(TypeError, match="column 'bad': SQLite has no Decimal"):
        CONTEXT.write(pd.DataFrame({"bad": [Decimal(1)]}), path, table='or"der')
    CONTEXT.write(frame.head(1), path, table='or"der')
    assert len(CONTEXT.read(path, table='or"der')) == 1
    with pytest.raises(FileNotFoundError, match="there is no such database"):
        CONTEXT.read(str(tmp_path / "none.db"), table="t")
    assert not (tmp_path / "none.db").exists()


def test_given_large_numbers_and_a_gap_then_no_digit_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table t (n integer)")
        connection.executemany("insert into t values (?)", [(BIG,), (None,)])
    connection.close()
    for found in (
        CONTEXT.read(str(path), table="t")["n"],
        CONTEXT.query("select unnest([9007199254740993, null]) as n", {})["n"],
    ):
        assert int(found[0]) == BIG
        assert found.isna().tolist() == [False, True]


def test_given_an_avro_file_then_it_is_a_frame(tmp_path: Path) -> None:
    schema = {"type": "record", "name": "r", "fields": [{"name": "n", "type": "long"}, {"name": "s", "type": "string"}]}
    with open(tmp_path / "a.avro", "wb") as file:
        fastavro.writer(file, schema, [{"n": BIG, "s": "x"}])
    assert CONTEXT.read(str(tmp_path / "a.avro")).to_dict("list") == {"n": [BIG], "s": ["x"]}
    with pytest.raises(ValueError, match="avro is not written"):
        CONTEXT.write(FRAME, str(tmp_path / "b.avro"))


def test_given_sql_then_types_are_those_of_numpy_and_sums_are_exact() -> None:
    found = CONTEXT.query("select key, sum(size) as total from rows group by key order by key", {"rows": FRAME})
    assert found["total"].tolist() == [BIG, 2]
    assert str(found["total"].dtype) == "int64"
    CONTEXT.register_temp("rows", FRAME)
    assert CONTEXT.execute_sql("select count(*) as n from rows")["n"].tolist() == [2]


@pytest.mark.parametrize(
    "sql", ["drop table rows", "select * from read_csv('/etc/passwd')", "select nothing from rows"]
)
def test_given_sql_that_is_no_select_over_the_frames_then_it_is_refused(sql: str) -> None:
    with pytest.raises(NodeError):
        CONTEXT.query(sql, {"rows": FRAME})


def test_given_a_frame_that_sql_cannot_have_then_it_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="rows: the frame has an index with data"):
        CONTEXT.query("select * from rows", {"rows": FRAME.set_index("key")})


def test_given_queries_at_once_then_each_sees_its_own_frames() -> None:
    """The original's nodes shared one connection: they mixed, and waited for each other for ever."""
    together, found = threading.Barrier(4), dict[int, list[int]]()

    def work(number: int) -> None:
        together.wait()
        found[number] = [
            int(CONTEXT.query("select sum(n) as n from rows", {"rows": pd.DataFrame({"n": [number]})})["n"][0])
            for _ in range(10)
        ]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {number: [number] * 10 for number in range(4)}


def test_given_secrets_then_only_their_names_are_ever_told() -> None:
    context = create_engine_context("pandas", {"db": "s3cret"})
    assert context.get_secret("db") == "s3cret"
    assert "s3cret" not in repr(context)
    with pytest.raises(KeyError, match="there is no secret 'other'") as caught:
        context.get_secret("other")
    assert "s3cret" not in str(caught.value)
    assert create_engine_context("pandas", secrets=str.upper).get_secret("key") == "KEY"


def test_given_an_engine_that_is_not_there_then_what_to_install_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("odibi_actors.core.spark.missing", lambda: finding.HINT)
    with pytest.raises(MissingExtraError, match=r"pip install 'odibi-actors\[spark\]'"):
        create_engine_context("spark")
    with pytest.raises(ValueError, match="engine: 'dask' is none of pandas, spark"):
        create_engine_context("dask")


def test_given_the_package_when_imported_then_nothing_heavy_is_loaded() -> None:
    code = "import sys, odibi_actors.core as c; c.Step; c.DAGBuilder; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.lower()) is False


def test_given_names_of_the_package_then_each_is_there() -> None:
    from odibi_actors import core

    assert all(getattr(core, name).__name__ == name for name in core.__all__)
    with pytest.raises(AttributeError):
        core.Nothing  # noqa: B018
