"""A value of a file or table comes back as it was, or is refused by its column or line."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from odibi_actors.core import create_engine_context

CONTEXT = create_engine_context("pandas")
BIG = (1 << 53) + 1


def objects(*values: Any) -> pd.DataFrame:
    return pd.DataFrame({"x": pd.Series(values, dtype=object)})


def values(frame: pd.DataFrame) -> list[tuple[type, Any]]:
    return [(type(one), one) for one in frame["x"].astype(object).where(frame["x"].notna(), None).tolist()]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_given_texts_with_other_separators_of_lines_then_json_gives_them_back(name: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": ["a\u2028b", "\u2029", "c\u0085d", "e\x1cf\x0b\x0c"], "n": [1, 2, 3, 4]})
    CONTEXT.write(frame, str(tmp_path / name))
    pd.testing.assert_frame_equal(CONTEXT.read(str(tmp_path / name)), frame)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_given_rows_without_columns_then_json_keeps_their_number(name: str, tmp_path: Path) -> None:
    CONTEXT.write(pd.DataFrame(index=range(3)), str(tmp_path / name))
    assert CONTEXT.read(str(tmp_path / name)).shape == (3, 0)
    for other, said in (("a.csv", "csv has no rows"), ("a.db", "SQLite has no table")):
        with pytest.raises(TypeError, match=f"{other}: {said} without columns"):
            CONTEXT.write(
                pd.DataFrame(index=range(3)), str(tmp_path / other), **({"table": "t"} if "db" in other else {})
            )
        assert not (tmp_path / other).exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'[{"id": 1, "id": 2}]', "an object has 'id' twice"),
        (b'[{"v": {"a": 1, "a": 2}}]', "an object has 'a' twice"),
        (b'{"tags": ["x", "y"], "ids": [1]}', "a list per column, and these differ in length: 'tags' 2, 'ids' 1"),
        (b'[{"v": "\\ud800"}]', "column 'v': a text has a lone surrogate"),
        (b'[{"v": ["\\ud800"]}]', "column 'v': a text has a lone surrogate"),
        (b'[{"v": "\xff"}]', "can't decode byte 0xff"),
    ],
)
def test_given_json_that_no_frame_has_then_file_and_reason_are_named(text: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=f"^{path}: .*{message}"):
        CONTEXT.read(str(path))


def test_given_json_with_a_byte_order_mark_or_numbers_of_64_bits_and_gaps_then_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"x": 18446744073709551615, "y": true}\n{"y": 9007199254740993}\n{}\n')
    found = CONTEXT.read(str(path))
    assert values(found) == [(int, (1 << 64) - 1), (type(None), None), (type(None), None)]
    assert found["y"].tolist()[:2] == [True, BIG]
    assert found["y"][0] is True


@pytest.mark.parametrize(
    "given", [[1, None], [True, None, False], [1.5, None], [1, "1", 2.5, b"1"], [None], ["007", 7]]
)
def test_given_columns_of_objects_then_sqlite_gives_each_value_back(given: list[Any], tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    CONTEXT.write(objects(*given), path, table="t")
    CONTEXT.write(objects(*given), path, table="t", mode="append")
    found = CONTEXT.read(path, table="t")["x"].tolist()
    assert [None if pd.isna(one) else one for one in found] == [*given, *given]
    assert [isinstance(one, (str, bytes, bool)) for one in found] == [
        isinstance(v, (str, bytes, bool)) for v in given
    ] * 2


def test_given_booleans_and_infinity_then_sqlite_gives_them_back(tmp_path: Path) -> None:
    path, frame = str(tmp_path / "a.db"), pd.DataFrame({"ok": [True, False], "x": [float("inf"), -1.5]})
    CONTEXT.write(frame, path, table="t")
    pd.testing.assert_frame_equal(CONTEXT.read(path, table="t"), frame, check_exact=True)


@pytest.mark.parametrize(
    ("declared", "given", "message"),
    [
        ("numeric", ["007"], "the table gives '007' back as 7"),
        ("numeric", ["a", "1e5"], "the table gives '1e5' back as 100000"),
        ("text", [1], "the table gives 1 back as '1'"),
        ("real", [BIG], f"the table gives {BIG} back as {float(BIG)}"),
        ("integer", [True], "booleans as 0 and 1"),
        ("boolean", [1], "booleans as 0 and 1"),
        ("", [True, 2], "booleans as 0 and 1"),
        ("", [1 << 70], "no whole number of more than 64 bits: 1180591620717411303424"),
        ("", [(1 << 64) - 1], "no whole number of more than 64 bits"),
        ("", ["\ud800"], "row 0 has a lone surrogate"),
    ],
)
def test_given_a_value_that_a_table_would_change_then_the_column_is_named_and_nothing_is_written(
    declared: str, given: list[Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.db"
    connection = sqlite3.connect(path)
    connection.execute(f'create table t ("x" {declared})')
    with pytest.raises(TypeError, match=f"a.db: column 'x': .*{message}"):
        CONTEXT.write(objects(*given), str(path), table="t", mode="append")
    assert connection.execute("select * from t").fetchall() == []
    connection.close()


def test_given_a_database_that_cannot_answer_then_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with pytest.raises(TypeError, match="two columns of one name: a, A"):
        CONTEXT.write(pd.DataFrame({"a": [1], "A": [2]}), str(path), table="t")
    CONTEXT.write(pd.DataFrame({"a": [1]}), str(path), table="t")
    with pytest.raises(sqlite3.OperationalError, match=f"^{path}: no such column: t.b"):
        CONTEXT.write(pd.DataFrame({"b": [1]}), str(path), table="t", mode="append")
    path.write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises(sqlite3.DatabaseError, match=f"^{path}: "):
        CONTEXT.read(str(path), table="t")


def test_given_large_numbers_and_gaps_in_csv_then_no_digit_is_lost(tmp_path: Path) -> None:
    path = str(tmp_path / "a.csv")
    frame = pd.DataFrame(
        {
            "x": pd.array([(1 << 60) + 1, None, -BIG], dtype="Int64"),
            "y": [1e300, None, 0.5],
            "z": [1.0, None, 2.0],
            "u": pd.array([(1 << 53) + 2, None, 1], dtype="Int64"),
        }
    )
    CONTEXT.write(frame, path)
    pd.testing.assert_frame_equal(CONTEXT.read(path), frame, check_exact=True)
    assert str(CONTEXT.read(path, dtype={"x": "float64"})["x"].dtype) == "float64"
    Path(path).write_text('x,y\n"9,007,199,254,740,993",1\n,2\n')
    assert CONTEXT.read(path, thousands=",")["x"].tolist()[0] == BIG
    CONTEXT.write(frame, path)
    assert CONTEXT.read(path, index_col="z", usecols=["x", "z"])["x"].tolist()[0] == (1 << 60) + 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a,b\n1,2,9\n2,3,4\n", "its first row has more cells than the header .*line 2, saw 3.*index_col=0"),
        (b"a,b\n1,2\n2,3,4\n", "line 3, saw 3"),
        (b"a,a,a.1\n1,2,3\n", "several columns are named a; give names= and header=0"),
        (b"", "No columns"),
        (b"a\n\xff\n", "can't decode byte 0xff"),
    ],
)
def test_given_csv_whose_cells_have_no_column_of_their_own_then_it_is_refused(
    text: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=f"(?s)^{path}: .*{message}"):
        CONTEXT.read(str(path))


def test_given_csv_and_what_to_make_of_its_cells_then_pandas_decides(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2,9\n2,3,4\n")
    assert CONTEXT.read(str(path), index_col=0).to_dict("list") == {"a": [2, 3], "b": [9, 4]}
    path.write_text("a,a\n1,2\n")
    with pytest.raises(ValueError, match="several columns are named a"):
        CONTEXT.read(str(path), index_col=0)
    path.write_text("a;a\n1;2\n")
    assert CONTEXT.read(str(path), sep=";", names=["x", "y"], header=0).to_dict("list") == {"x": [1], "y": [2]}


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.jsonl", "a.parquet"])
def test_given_half_a_character_then_file_and_column_are_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=f"{name}: column 'x': row 1 has a lone surrogate"):
        CONTEXT.write(objects("a", "\ud800"), str(tmp_path / name))
    assert list(tmp_path.iterdir()) == []
