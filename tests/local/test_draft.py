"""``odibictl init DIR --from FOLDER``: a project for the files there are."""

from __future__ import annotations

import csv
import gzip
import json
import sqlite3
from decimal import Decimal
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from odibi_actors.config import load_project
from odibi_actors.errors import ConflictError, NotFoundError
from odibi_actors.local import run_pipeline
from odibi_actors.local.draft import Draft, init_from, look
from odibi_actors.local.headers import Header, difference
from tests.cli.conftest import Invoke, invoke  # noqa: F401


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "files"
    found.mkdir()
    return found


def write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = folder / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def shown(draft: Draft) -> list[tuple[str, str, int, list[tuple[str, str]]]]:
    return [(one.name, one.pattern, len(one.files), one.columns) for one in draft.groups]


def left_out(draft: Draft) -> dict[str, str]:
    return {one.name: one.reason for one in draft.skipped}


def test_given_names_that_differ_in_digits_then_they_are_one_source(folder: Path) -> None:
    write(folder, **{"orders-2024-01": "id,day\n1,2024-01-01\n", "orders-2024-02": "id,day\n2.5,2024-02-01\n"})
    write(folder, **{"north/countries": "iso;name\nfr;France\n"})
    assert shown(look(folder)) == [
        ("countries", "north/countries.csv", 1, [("iso", "string"), ("name", "string")]),
        ("orders", "orders-*.csv", 2, [("id", "double"), ("day", "date32")]),
    ]
    assert look(folder).groups[0].options == {"delimiter": ";"}


def test_given_the_draft_then_it_is_valid_and_runs_and_the_files_stay_as_they_are(folder: Path) -> None:
    write(folder, **{"orders-1": "id,a b\n1,x\n", "orders-2": "id,a b\n2,\n", "we[1]rd ${X}": "y,null\n1,2\n"})
    odd = pa.array([{"a: int64, b": 1}])  # a name that `schema` would read as two fields
    lists = {"s": ["x"], "l": [[1]], "d": [{"k": "v", "n": [{"x": 1}]}], "odd": odd}
    pq.write_table(pa.table(lists), folder / "events.parquet")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    project = folder.parent / "project"
    draft = init_from(project, folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert [group.name for group in draft.groups] == ["events", "orders", "we_rd_x"]
    for name, rows in (("events", 1), ("orders", 2), ("we_rd_x", 1)):
        summary = run_pipeline(load_project(project), name)
        assert (summary.state, summary.rows_read) == ("done", rows), summary.error
    assert pq.read_table(project / "data/lake/orders").num_rows == 2
    text = (project / "odibi.yaml").read_text()
    assert '            l: "list<item: int64>"\n' in text
    assert '            d: "struct<k: string, n: list<item: struct<x: int64>>>"\n' in text
    assert "# types as the files have them: odd\n" in text


@pytest.mark.parametrize(
    ("rows", "keys"),
    [
        ("x,price,id\n1,1.5,7\n1,2.5,8\n", "[id]"),
        ("x,id\n1,7\n1,\n2,8\n", "[COLUMNS]"),
        ("x,id\n1,7\n1,7\n", "[COLUMNS]"),
        ("x,id\n", "[COLUMNS]"),
    ],
)
def test_given_rows_then_the_keys_of_the_draft_are_a_column_that_no_two_of_them_share(
    folder: Path, rows: str, keys: str
) -> None:
    write(folder, events=rows)
    project = folder.parent / "project"
    init_from(project, folder)
    text = (project / "odibi.yaml").read_text()
    assert f"mode: upsert, keys: {keys}" in text
    assert ("identify a row" in text) == (keys == "[COLUMNS]")


def test_given_names_that_yaml_takes_for_something_else_then_the_draft_is_valid(folder: Path) -> None:
    names = ("null", "true", "y", "no", "1e5", "on")
    write(folder, **dict.fromkeys(names, "id\n1\n"))
    write(folder, **{"null": "x\n1\n", "true": "y\n1\n", "y": "z\n1\n"})
    project = folder.parent / "project"
    for group in init_from(project, folder).groups:
        assert run_pipeline(load_project(project), group.name).committed == 1


def test_given_files_of_nothing_but_a_header_then_their_types_are_left_to_the_first_rows(folder: Path) -> None:
    write(folder, events="id,at\n")
    assert look(folder).groups[0].columns == []
    project = folder.parent / "project"
    init_from(project, folder)
    write(folder, events="id,at\n1,2024-01-31\n")
    assert run_pipeline(load_project(project), "events").committed == 1
    (part,) = (project / "data/lake/events").glob("*.parquet")
    assert [str(kind) for kind in pq.read_schema(part).types] == ["int64", "date32[day]"]


def test_given_what_cannot_be_understood_then_each_is_told_with_its_reason(folder: Path) -> None:
    write(folder, broken="a,b\n1\n", empty="", good="a\n1\n", **{"odd-1": "x,y\n1,2\n", "odd-2": "x,z\n1,2\n"})
    (folder / "notes.txt").write_text("x")
    (folder / ".hidden.csv").write_text("a\n1\n")
    (folder / "link.csv").symlink_to(folder / "good.csv")
    (folder / "book.csv").write_bytes(b"PK\x03\x04\xff\xfe")
    (folder / "latin.json").write_bytes('{"a": "naïve"}\n'.encode("latin-1"))
    (folder / "bad.parquet").write_bytes(b"PAR1")
    told = left_out(look(folder))
    for name, reason in {
        "broken.csv": "line 2: the row has 1 column, the header 2",
        "empty.csv": "empty",
        "odd-*.csv": "odd-1.csv and odd-2.csv differ: it has no column 'y', and column 'z' is new; give each kind its",
        "notes.txt": "of no known format by its name (.arrow, .feather",
        ".hidden.csv": "leading dot",
        "link.csv": "symbolic link",
        "book.csv": "the file is a zip archive, which .xlsx and .ods files are too; export it as csv",
        "latin.json": "bytes that are not UTF-8, which JSON is",
        "bad.parquet": "its columns cannot be read",
    }.items():
        assert reason in told.pop(name)
    assert not told
    assert [group.pattern for group in look(folder).groups] == ["good.csv"]


@pytest.mark.parametrize(("text", "encoding"), [("naïve – 5 €", "windows-1252"), ("naïve", "windows-1252")])
def test_given_text_of_another_encoding_then_it_is_drafted_and_said_to_be_a_guess(
    folder: Path, text: str, encoding: str
) -> None:
    write(folder, **{"names-1": "id,name\n1,plain\n"})
    (folder / "names-2.csv").write_bytes(f"id,name\n2,{text}\n".encode(encoding))
    (folder / "names-3.csv").write_bytes(f"id,name\n3,{text}\n".encode(encoding))
    project = folder.parent / "project"
    (group,) = init_from(project, folder).groups
    assert (group.options, group.odd) == ({"encoding": encoding}, [])
    drafted = (project / "odibi.yaml").read_text()
    assert f"names-2.csv is not UTF-8 and was taken for {encoding}, which its bytes cannot prove" in drafted
    assert run_pipeline(load_project(project), "names").rows_read == 3
    assert text in pq.read_table(project / "data/lake/names")["name"].to_pylist()


def test_given_no_header_and_decimal_commas_then_semicolons_part_the_columns(folder: Path) -> None:
    write(folder, **{"odd-1": "1;2,5;x\n2;3,25;y\n", "odd-2": "3;4,5;z\n"})
    project = folder.parent / "project"
    (group,) = init_from(project, folder).groups
    assert (group.options["delimiter"], group.options["decimal_point"]) == (";", ",")
    assert [kind for _, kind in group.columns] == ["int64", "double", "string"]
    run_pipeline(load_project(project), group.name)
    assert sorted(pq.read_table(project / f"data/lake/{group.name}").column(1).to_pylist()) == [2.5, 3.25, 4.5]


def test_given_several_columns_that_identify_a_row_then_the_one_that_is_called_so_is_guessed(folder: Path) -> None:
    write(folder, countries="name,seen,country_id\nFrance,1,10\nGermany,2,20\n")
    project = folder.parent / "project"
    assert [group.key for group in init_from(project, folder).groups] == ["country_id"]
    drafted = (project / "odibi.yaml").read_text()
    assert "(keys: a guess" in drafted
    assert "reference data? `mode: batch` reads it each time" in drafted


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_given_files_that_lack_a_column_then_they_are_one_source_and_it_is_optional(folder: Path, ending: str) -> None:
    rows: list[dict[str, object]] = [{"k": 1, "x": 2}, {"k": 2, "x": 3, "w": "a"}, {"k": 3, "w": "b", "x": 4}]
    rows.append({"x": 5, "k": 4})
    for n, row in enumerate(rows):
        csv_text = ",".join(row) + "\n" + ",".join(map(str, row.values())) + "\n"
        (folder / f"b-{n}.{ending}").write_text(csv_text if ending == "csv" else json.dumps(row))
    draft = init_from(folder.parent / "project", folder)
    assert (draft.skipped, draft.groups[0].optional) == ([], ["w"])
    assert draft.groups[0].columns == [("k", "int64"), ("x", "int64"), ("w", "string")]
    assert "optional: [w]  # not in all files; null there" in (folder.parent / "project/odibi.yaml").read_text()
    assert run_pipeline(load_project(folder.parent / "project"), "b").rows_read == 4
    found = pq.read_table(folder.parent / "project/data/lake/b").to_pylist()
    assert sorted((row["k"], row["w"]) for row in found) == [(1, None), (2, "a"), (3, "b"), (4, None)]
    said = difference(Header(("a", "b", "c")), Header(("b", "z")), ["c"])
    assert said == "it has no column 'a', and column 'z' is new"


def test_given_json_of_mixed_types_and_big_integers_then_it_is_drafted_with_what_takes_it(folder: Path) -> None:
    (folder / "e-1.json").write_text('{"k": 1, "m": 1, "big": 1}\n{"k": 2, "m": "x", "big": 18446744073709551615}')
    (folder / "e-2.json").write_text('{"k": 3, "m": [1], "big": 123456789012345678901234567890}')
    (folder / "e-3.json").write_text('{"k": "text", "m": 2, "big": null}')
    draft = init_from(folder.parent / "project", folder)
    assert draft.skipped == []
    assert draft.groups[0].columns == [("k", "string"), ("m", "string"), ("big", "decimal128(38, 0)")]
    text = (folder.parent / "project/odibi.yaml").read_text()
    assert """m: string  # e-1.json line 2, column m: "x" is a text, and 1 before it a number\n""" in text
    assert run_pipeline(load_project(folder.parent / "project"), "e").rows_read == 4


def test_given_json_numbers_that_no_decimal_takes_together_then_they_are_text(folder: Path) -> None:
    (folder / "e-1.json").write_text(
        '{"k": 1, "n": 123456789012345678901234567890123456}\n{"k": 2, "n": 0.12345678901}'
    )
    draft = look(folder)
    assert (draft.skipped, draft.groups[0].columns) == ([], [("k", "int64"), ("n", "string")])


def test_given_json_files_that_share_few_keys_then_they_are_no_kind(folder: Path) -> None:
    for n in range(3):
        (folder / f"e-{n}.json").write_text(json.dumps({"k": 1, f"a{n}": 1}))
    draft = look(folder)
    assert draft.groups == []
    assert "give each kind its own name" in left_out(draft)["e-*.json"]


def test_given_a_few_odd_files_among_many_then_each_is_told_once_and_the_rest_is_a_source(folder: Path) -> None:
    write(folder, **{f"orders-{n}": f"id,qty\n00{n},{n}\n" for n in range(1, 6)})
    write(folder, **{"orders-6": "", "orders-7": "id,amount\n7,7\n", "orders-8": "id,qty\n8\n"})
    (folder / "orders-9.csv").write_bytes("id,qty\n9,9\n".encode("utf-16"))
    (folder / "orders-10.csv").write_bytes(b"PK\x03\x04\xff\xfe")
    draft = init_from(folder.parent / "project", folder)
    assert shown(draft) == [("orders", "orders-*.csv", 5, [("id", "string"), ("qty", "int64")])]
    assert left_out(draft) == {
        "orders-6.csv": "the file is empty, not even a header",
        "orders-7.csv": "unlike orders-1.csv: it has no column 'qty', and column 'amount' is new",
        "orders-8.csv": "line 2: the row has 1 column, the header 2",
        "orders-9.csv": "unlike orders-1.csv: its encoding is 'utf-16', not 'utf-8'; convert it: "
        "`iconv -f utf-16 -t utf-8 FILE > FILE.tmp && mv FILE.tmp FILE`",
        "orders-10.csv": "the file is a zip archive, which .xlsx and .ods files are too; export it as csv",
    }
    assert len(draft.skipped) == 5
    text = (folder.parent / "project" / "odibi.yaml").read_text()
    assert "id: string  # '001' would not be kept as a number" in text
    assert "orders-10.csv" in text
    summary = run_pipeline(load_project(folder.parent / "project"), "orders")
    assert (summary.rows_read, summary.dead_lettered) == (5, 5)


def test_given_files_of_another_encoding_then_the_draft_reads_them(folder: Path) -> None:
    for n in (1, 2):
        (folder / f"orders-{n}.csv").write_bytes(f"id;name\n{n};é\n".encode("utf-16"))
    draft = init_from(folder.parent / "project", folder)
    assert draft.groups[0].options == {"delimiter": ";", "encoding": "utf-16"}
    assert run_pipeline(load_project(folder.parent / "project"), "orders").rows_read == 2


@pytest.mark.parametrize(
    ("names", "patterns"),
    [
        (["s-2025-03-06-corr", "s-2025-03-05", "s-2025-03-06"], ["s-*-corr.csv", "s-????-??-??.csv"]),
        (["s-1-corr", "s-9", "s-10"], ["s-*-corr.csv", "s-*[0-9].csv"]),
        (["s-1-of-2", "s-8", "s-9"], ["s-*-of-*.csv", "s-?.csv"]),
        (["s-20250306-x", "s-20250306-20250307"], ["s-*-x.csv", "s-????????-????????.csv"]),
        (["20250306", "x0250306"], ["[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9].csv", "x*.csv"]),
        (["[s]1", "[s]2", "[s]2b"], ["[[]s]*[0-9].csv", "[[]s]*b.csv"]),
    ],
)
def test_given_a_pattern_that_would_take_files_of_another_kind_then_it_is_made_narrower(
    folder: Path, names: list[str], patterns: list[str]
) -> None:
    write(folder, **dict.fromkeys(names, "x\nv\n"))
    draft = init_from(folder.parent / "project", folder)
    assert sorted(group.pattern for group in draft.groups) == patterns
    assert sorted(name for group in draft.groups for name in group.files) == sorted(f"{name}.csv" for name in names)
    (note,) = [note for group in draft.groups for note in group.notes]
    assert "which is of another kind" in note
    assert f"# {note}" in (folder.parent / "project/odibi.yaml").read_text()
    project = load_project(folder.parent / "project")
    assert sum(run_pipeline(project, group.name).rows_read for group in draft.groups) == len(names)


def test_given_a_line_end_in_a_name_then_its_pattern_takes_it_and_no_other(folder: Path) -> None:
    write(folder, **{"li\nne": "x\n1\n"})
    assert [(group.pattern, group.files) for group in look(folder).groups] == [("li?ne.csv", ["li\nne.csv"])]
    write(folder, **{"li-ne": "y,z\n1,2\n"})
    assert [group.pattern for group in look(folder).groups] == ["li-ne.csv"]
    assert "would take li-ne.csv too" in left_out(look(folder))["li?ne.csv"]


def test_given_no_pattern_for_files_of_one_kind_only_then_it_is_left_out(folder: Path) -> None:
    write(folder, **{"a-1": "x\n1\n", "a-10": "x\n1\n", "a-1-more-2": "y\n1\n"})
    draft = look(folder)
    assert [group.pattern for group in draft.groups] == ["a-*-more-*.csv"]
    assert "would take a-1-more-2.csv too" in left_out(draft)["a-*.csv"]


def test_given_files_that_no_source_takes_then_no_pattern_takes_them_either(folder: Path) -> None:
    write(folder, **{"a-1": "x\nv\n", "a-2": "x\nv\n", "a-1-b": "y\nv\n", "a-2-b": "z\nv\n"})
    draft = look(folder)
    assert [group.pattern for group in draft.groups] == ["a-*[0-9].csv"]
    assert "a-1-b.csv and a-2-b.csv differ" in left_out(draft)["a-*-b.csv"]


def test_given_files_without_a_header_then_no_row_is_lost_and_it_is_told(invoke: Invoke, folder: Path) -> None:  # noqa: F811
    write(folder, **{"moves-1": "4711,2025-01-01,a\n4712,2025-01-02,b\n", "moves-2": "4713,2025-01-03,c\n"})
    write(folder, **{"sites": "AB-17;north\nCD-18;south\n", "years": "country,2019,2020\nfr,1,2\n"})
    project = folder.parent / "project"
    result = invoke("init", project, "--from", folder)
    assert result.exit_code == 0, result.stderr
    assert "note: moves-*.csv: moves-1.csv seems to have no header ('4711' is a number, as below it)" in result.stderr
    assert "note: sites.csv: sites.csv seems to have no header ('AB-17' is a value, as below it)" in result.stderr
    assert "note: years" not in result.stderr
    loaded = load_project(project)
    for name, rows, columns in (
        ("moves", 3, ["column_1", "column_2", "column_3"]),
        ("sites", 2, ["column_1", "column_2"]),
        ("years", 1, ["country", "2019", "2020"]),
    ):
        assert run_pipeline(loaded, name).rows_read == rows
        assert pq.read_table(project / "data/lake" / name).column_names == columns


def test_given_packed_files_then_their_headers_are_known_as_well(folder: Path) -> None:
    for n in (1, 2):
        (folder / f"moves-{n}.csv.gz").write_bytes(
            gzip.compress(f"471{n};2025-01-0{n}\n472{n};2025-01-0{n}\n".encode())
        )
    (group,) = look(folder).groups
    assert group.options == {"delimiter": ";", "column_names": ["column_1", "column_2"]}


def test_given_many_names_with_one_header_then_the_folder_is_the_source(folder: Path) -> None:
    write(folder, **{f"day/{name}": f"id\n{name!r}\n" for name in "abcdefghij"})
    assert [(one.pattern, len(one.files)) for one in look(folder).groups] == [("day/*.csv", 10)]
    write(folder, **{"day/sum-1": "x\n1\n", "day/Sum ${A}": "y\n1\n"})
    draft = init_from(folder.parent / "project", folder)
    assert (draft.skipped, sorted(len(one.files) for one in draft.groups)) == ([], [1, 1, 10])
    text = (folder.parent / "project/odibi.yaml").read_text()
    assert 'pattern: "day/*.csv"\n          exclude: ["day/Sum $${A}.csv", "day/sum-*.csv"]\n' in text
    (group,) = (one for one in draft.groups if len(one.files) == 10)
    assert group.notes == ["does not take day/Sum ${A}.csv, which is of another kind"]
    assert run_pipeline(load_project(folder.parent / "project"), group.name).rows_read == 10
    write(folder, **{f"day/{name * 2}": f"{name}\n1\n" for name in "abcdefghi"})
    assert "(not read: day/a.csv, day/b.csv, day/c.csv and 7 more)" in left_out(look(folder))["day/*.csv"]


@pytest.mark.parametrize("ending", ["json", "arrow"])
def test_given_many_names_whose_columns_only_the_reader_tells_then_those_that_share_them_are_one(
    folder: Path, ending: str
) -> None:
    def put(name: str, row: dict[str, int]) -> None:
        table = pa.Table.from_pylist([row, row])
        if ending == "json":
            (folder / f"{name}.json").write_text(json.dumps([row, row]))
        else:
            pyarrow.feather.write_feather(table, str(folder / f"{name}.arrow"))

    for name in "abcdefghi":
        put(name, {f"{name}_id": 1, f"{name}_n": 2, "at": 3})
    assert [one.pattern for one in look(folder).groups] == [f"{name}.{ending}" for name in "abcdefghi"]
    for name in "abcdefghi":
        put(name, {"id": 1, "n": 2, "at": 3} | ({"more": 4} if name == "c" and ending == "json" else {}))
    assert [(one.pattern, len(one.files)) for one in look(folder).groups] == [(f"*.{ending}", 9)]


def test_given_a_folder_in_use_or_nothing_to_read_then_it_is_refused(folder: Path) -> None:
    with pytest.raises(NotFoundError, match="holds no file"):
        init_from(folder.parent / "p", folder)
    write(folder, a="x\n1\n")
    (folder.parent / "used").mkdir()
    (folder.parent / "used" / "mine").write_text("x")
    with pytest.raises(ConflictError, match="is not empty"):
        init_from(folder.parent / "used", folder)
    with pytest.raises(ConflictError, match="the folder of the files itself"):
        init_from(folder, folder)
    with pytest.raises(NotFoundError, match="no such folder"):
        init_from(folder.parent / "p", folder / "nowhere")
    with pytest.raises(NotFoundError, match=r"a\.csv is a file; name its folder: --from .*files$"):
        init_from(folder.parent / "p", folder / "a.csv")
    shop = sqlite3.connect(folder / "shop.db")
    shop.execute("create table t (a)")
    shop.close()
    duckdb.connect(str(folder / "shop.duck")).close()
    for name, kind, what in (("shop.db", "sqlite", "SQLite"), ("shop.duck", "duckdb", "DuckDB")):
        with pytest.raises(NotFoundError, match=f"a {what} database: .*`mode: incremental`.* `type: {kind}`"):
            init_from(folder.parent / "p", folder / name)
    assert [name for name, why in look(folder).skipped if "database: its tables" in why] == ["shop.db", "shop.duck"]


def test_given_the_command_then_a_table_and_what_was_left_out(invoke: Invoke, folder: Path) -> None:  # noqa: F811
    write(folder, **{"orders-1": "id\n1\n"})
    (folder / "notes.txt").write_text("x")
    result = invoke("init", folder.parent / "p", "--from", folder, "-o", "json")
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    assert data["items"] == [
        {"pipeline": "orders", "pattern": "orders-*.csv", "format": "csv", "files": 1,
         "columns": [{"name": "id", "type": "int64"}], "notes": []}
    ]  # fmt: skip
    assert "left out: notes.txt: of no known format" in result.stderr
    assert invoke("validate", "--project", folder.parent / "p").exit_code == 0


COMMAS = {
    "point": ("id;price\n1;12,50\n2;7,00\n3;\n", [("id", "int64"), ("price", "double")], True),
    "quoted": ('id,price\n1,"12,50"\n2,"-7,00"\n', [("id", "int64"), ("price", "double")], True),
    "groups": ("id;n\n1;12,500\n2;7,250\n", [("id", "int64"), ("n", "string")], False),
    "nought": ("id;n\n1;12,500\n2;0,250\n", [("id", "int64"), ("n", "double")], True),
    "doubt": ("price;n\n12,50;12,500\n7,5;7,250\n", [("price", "double"), ("n", "string")], True),
    "both": ("price;w\n12,50;1.5\n7,5;2\n", [("price", "string"), ("w", "double")], False),
    "mixed": ("price;n\n1.234,50;1\n12,50;2\n", [("price", "string"), ("n", "int64")], False),
    "points": ("price;n\n1.234,50;1.234\n12,50;2.500\n", [("price", "string"), ("n", "string")], True),
    "point or group": ("price;n\n12,50;1.234\n7,5;2\n", [("price", "double"), ("n", "string")], True),
    "points and a point": ("price;n\n1.234,50;1.5\n12,50;2\n", [("price", "string"), ("n", "double")], False),
    "pairs": ("at;n\n1,2,3;1\n12,50;1\n", [("at", "string"), ("n", "int64")], False),
    "digits": ("price;n\n1,2345678901234567890;1\n", [("price", "string"), ("n", "int64")], False),
}


@pytest.mark.parametrize("name", COMMAS)
def test_given_numbers_with_commas_then_they_are_read_only_where_nothing_else_can_be_meant(
    folder: Path, name: str
) -> None:
    text, columns, comma = COMMAS[name]
    write(folder, prices=text)
    project = folder.parent / "project"
    (group,) = init_from(project, folder).groups
    assert group.columns == columns
    assert (group.options.get("decimal_point") == ",") is comma
    assert any("decimal comma" in note for note in group.notes) is comma
    assert run_pipeline(load_project(project), "prices").state == "done"
    read = pq.read_table(project / "data/lake/prices")
    for found, _ in columns:
        for value, cell in zip(read[found].to_pylist(), csv_cells(text, found), strict=True):
            assert value is None if not cell else str(value) == cell or float(cell.replace(",", ".")) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("price;n\n1.234,50;1.234\n12,50;2.500\n",
         ["'1.234,50' would not be kept as a number; its digits are in groups",
          "'1.234' may have groups of digits, or a decimal point"]),
        ("price;n\n12,50;1.234\n7,5;2\n", ["'1.234' may have groups of digits, or a decimal point"]),
        ('price\n"1,234.50"\n12.5\n', ["'1,234.50' would not be kept as a number; its digits are in groups"]),
        ("price\n1 234.50\n12.5\n", ["'1 234.50' would not be kept as a number; its digits are in groups"]),
        ("ip\n192.168.100.200\n", []),
    ],
)  # fmt: skip
def test_given_numbers_in_groups_of_digits_then_the_draft_says_why_they_are_text(
    folder: Path, text: str, why: list[str]
) -> None:
    write(folder, prices=text)
    (group,) = init_from(folder.parent / "project", folder).groups
    drafted = (folder.parent / "project/odibi.yaml").read_text()
    assert all(one in drafted for one in why)
    assert sum(bool(one) for one in group.why.values()) == len(why)


@pytest.mark.parametrize(
    ("name", "text", "data"),
    [
        ("package.json", '{\n  "name": "shop",\n  "version": "1.0"\n}\n', False),
        ("settings.json", '\ufeff{"debug": true}', False),
        ("settings.json.gz", '{"debug": true}', False),
        ("rows.json", '[{"debug": true}]', True),
        ("rows.json", '{"debug": true}\n{"debug": false}\n', True),
        ("rows.jsonl", '{"debug": true}\n', True),
        ("event-1.json", '{"debug": true}\n', True),
    ],
)
def test_given_json_that_holds_one_object_alone_then_it_is_no_data(
    folder: Path, name: str, text: str, data: bool
) -> None:
    write(folder, other="x\n1\n")
    raw = text.encode()
    (folder / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    draft = look(folder)
    assert [group.files for group in draft.groups] == [*([[name]] if data else []), ["other.csv"]][
        :: 1 if name < "other" else -1
    ]
    assert list(left_out(draft)) == ([] if data else [name])
    assert data or "one object, as configuration is" in left_out(draft)[name]


def test_given_files_of_one_kind_of_which_some_are_packed_then_they_are_one_source(folder: Path) -> None:
    write(folder, x="id\n1\n", **{"orders-1": "id\na\n", "orders-2": "id\nb\n", "y": "id\n1\n"})
    (folder / "x.csv.gz").write_bytes(gzip.compress(b"id\n2\n"))
    (folder / "y.csv.gz").write_bytes(gzip.compress(b"other\n2\n"))
    (folder / "orders-3.csv.gz").write_bytes(gzip.compress(b"id\nc\n"))
    project = folder.parent / "project"
    draft = init_from(project, folder)
    assert [(group.pattern, len(group.files)) for group in draft.groups] == [
        ("orders-*.csv*", 3), ("x.csv*", 2), ("y.csv", 1), ("y.csv.gz", 1)
    ]  # fmt: skip
    assert run_pipeline(load_project(project), "orders").rows_read == 3
    assert run_pipeline(load_project(project), "x").rows_read == 2


def test_given_a_file_that_is_there_packed_and_not_then_its_rows_are_drafted_once_or_it_is_told(folder: Path) -> None:
    write(folder, x="id\n1\n", **{"orders-1": "id\na\n"})
    (folder / "x.csv.gz").write_bytes(gzip.compress(b"id\n1\n"))
    for n, rows in ((1, b"id\na\n"), (2, b"id\nb\n")):
        (folder / f"orders-{n}.csv.gz").write_bytes(gzip.compress(rows))
    draft = look(folder)
    assert [(group.pattern, len(group.files)) for group in draft.groups] == [("orders-*.csv*", 3), ("x.csv", 1)]
    assert left_out(draft) == {"x.csv.gz": "x.csv has the same content"}
    assert draft.groups[0].notes == ["orders-1.csv.gz has the same rows as orders-1.csv: take one away"]


def test_given_a_copy_with_another_ending_then_no_pattern_takes_it_with_the_packed_ones(folder: Path) -> None:
    write(folder, x="id\n1\n")
    (folder / "x.csv.gz").write_bytes(gzip.compress(b"id\n2\n"))
    (folder / "x.csv.bak").write_bytes(b"id\n3\n")
    assert [group.pattern for group in look(folder).groups] == ["x.csv", "x.csv.gz"]


def csv_cells(text: str, column: str) -> list[str]:
    delimiter = ";" if ";" in text else ","
    return [row[column] for row in csv.DictReader(text.splitlines(), delimiter=delimiter)]


def test_given_decimals_that_pandas_counted_in_the_rows_then_wider_ones_fit_as_well(folder: Path) -> None:
    def frame(text: str) -> pd.DataFrame:
        return pd.DataFrame({"price": [Decimal(text)], "n": [1]})

    frame("1.50").to_parquet(folder / "pandas-1.parquet")
    kind = pa.decimal128(6, 2)
    pq.write_table(pa.table({"price": pa.array([Decimal("1.50")], kind)}), folder / "arrow-1.parquet")
    project = folder.parent / "project"
    found = {group.name: dict(group.columns)["price"] for group in init_from(project, folder).groups}
    assert found == {"arrow": "decimal128(6, 2)", "pandas": "decimal128(38, 2)"}
    assert "# decimal128(3, 2) in the files: pandas" in (project / "odibi.yaml").read_text()
    frame("123456789.25").to_parquet(folder / "pandas-2.parquet")
    assert run_pipeline(load_project(project), "pandas").rows_read == 2
