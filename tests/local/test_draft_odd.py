"""``odibictl init DIR --from FOLDER`` over awkward files: what it tells, and that what it writes runs."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from odibi_actors.config import load_project
from odibi_actors.errors import NotFoundError
from odibi_actors.local import run_pipeline
from odibi_actors.local.draft import Draft, init_from
from odibi_actors.streaming.patterns import REPLACED
from tests.cli.conftest import Invoke, invoke  # noqa: F401

SHOP = """
project: shop
connections: {l: {type: local, path: in}, lake: {type: local, path: lake}}
pipelines:
  - pipeline: p
    nodes:
      - name: s
        read: {connection: l, format: csv, mode: file_watch, pattern: "*.csv"}
      - name: t
        inputs: [s]
        write: {connection: lake, path: t, format: parquet, partition_by: [k]}
      - name: o
        inputs: [s]
        write: {connection: lake, path: o, format: parquet, mode: overwrite}
"""
OVERWRITTEN = """
project: again
connections: {{l: {{type: local, path: {lake}}}, o: {{type: local, path: out}}}}
pipelines:
  - pipeline: p
    trigger: manual
    nodes:
      - name: s
        read: {{connection: l, format: parquet, mode: batch, {what}}}
      - name: t
        inputs: [s]
        write: {{connection: o, path: t, format: parquet}}
"""

Files = dict[str, str | bytes]


def put(folder: Path, files: Files) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)


def drafted(tmp_path: Path, files: Files) -> tuple[Draft, Path]:
    put(tmp_path / "files", files)
    return init_from(tmp_path / "project", tmp_path / "files"), tmp_path / "project"


def amended(project: Path, note: str) -> None:
    """Write what a note says into the source of the first pipeline: options, and types of columns."""
    path = project / "odibi.yaml"
    data = YAML(typ="safe").load(path.read_text())
    source = data["pipelines"][0]["nodes"][0]["read"]
    found = re.search(r"options: (\{.*?\})(?= and| makes)", note)
    types = re.search(r"schema: (\{.*?\})(?:$| read)", note)
    assert found, note
    assert types, note
    source["options"] = json.loads(found[1])
    source["schema"] |= YAML(typ="safe").load(types[1])
    path.write_text(json.dumps(data))


def rows(project: Path, pipeline: str) -> list[dict[str, Any]]:
    summary = run_pipeline(load_project(project), pipeline)
    assert summary.state == "done", summary.error
    found: list[dict[str, Any]] = pq.read_table(project / "data/lake" / pipeline).to_pylist()
    return found


@pytest.mark.parametrize(
    ("text", "note", "values"),
    [
        ("id,at\n1,31.12.2024\n2,01.02.2025\n", '["%d.%m.%Y"]', ["2024-12-31 00:00:00", "2025-02-01 00:00:00"]),
        ("id,at\n1,12/31/2024\n2,NA\n", '["%m/%d/%Y"]', ["2024-12-31 00:00:00", "None"]),
        ("id,at\n1,01/02/24 10:30\n2,03/04/24 11:00\n", "day is first (%d/%m/%y %H:%M) or the month (%m/%d/%y %H:%M)",
         ["2024-02-01 10:30:00", "2024-04-03 11:00:00"]),
        ("id,x\n1,2.5\n2,NA\n3,n/a\n", "'NA' and 'n/a', which may stand for no value", ["2.5", "None", "None"]),
        ("id,x\n1,-\n2,null\n3,7\n", "'-' and 'null'", ["None", "None", "7"]),
        ('id,x\n1,"NA"\n2,7\n', "quoted_strings_can_be_null", ["None", "7"]),
        ("id;x\n1;12,50\n2;k.A.\n3;n/a\n", None, ["12,50", "k.A.", "n/a"]),
        ("id;x\n1;12,50\n2;n/a\n", '"decimal_point": ","', ["12.5", "None"]),
        ("id,x,name\n1,2,NA\n2,NA,Namibia\n", "(in name, too)", ["2", "None"]),
    ],
)  # fmt: skip
def test_given_dates_and_words_for_nothing_then_they_stay_text_and_what_is_told_to_be_written_reads_them(
    tmp_path: Path, text: str, note: str | None, values: list[str]
) -> None:
    draft, project = drafted(tmp_path, {"t.csv": text})
    column = text.partition("\n")[0].replace(";", ",").split(",")[1]
    assert dict(draft.groups[0].columns)[column] == "string"
    assert len(draft.groups[0].notes) == (note is not None), draft.groups[0].notes
    if note is not None:
        (said,) = draft.groups[0].notes
        assert note in said
        assert f"# {said}\n" in (project / "odibi.yaml").read_text()
        amended(project, said)
    assert [str(row[column]) for row in rows(project, "t")] == values


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["1.234,50", "2,00", "7"], ["1234.50", "2.00", "7.00"]),
        (["1,234.5", "NA", "1,234,567.125"], ["1234.500", "None", "1234567.125"]),
        (["1 234,50", "12,5"], ["1234.50", "12.50"]),
        (["1'234.50", "12"], ["1234.50", "12.00"]),
        (["1.234.567", "2.500"], ["1234567", "2500"]),
        (["1,234,567", "2,500", "-"], ["1234567", "2500", "None"]),
        (["1 234", "7"], ["1234", "7"]),
        (["2024/12/31", "2025/1/2"], ["2024-12-31 00:00:00", "2025-01-02 00:00:00"]),
        (["31-Dec-2024", "NA"], ["2024-12-31 00:00:00", "None"]),
        (["2024/13/31"], []),
        (["1.2.2024", "31.12.2024"], ["2024-02-01 00:00:00", "2024-12-31 00:00:00"]),
        (["1.234,50", "x"], []),
        (["192.168.100.200"], []),
    ],
)
def test_given_digits_in_groups_or_days_of_one_digit_then_the_sql_that_is_told_reads_them(
    tmp_path: Path, cells: list[str], numbers: list[str]
) -> None:
    at = "1" if cells[-1] == "NA" else "2024-01-31 10:00"  # which the reader would have to read as these days
    lines = "".join(f"{n};{cell};{at};NA\n" for n, cell in enumerate(cells))
    draft, project = drafted(tmp_path, {"t.csv": f'id;a "b;at;c\n{lines}'})
    (group,) = draft.groups
    assert len(group.notes) == bool(numbers), group.notes
    assert [row['a "b'] for row in rows(project, "t")] == cells
    if numbers:
        (sql,) = re.findall("`(select [^`]*)`", group.notes[0])
        lake = str(project / "data/lake/t/*.parquet")
        found = duckdb.execute(f"{sql} from read_parquet(?) order by id", [lake]).fetchall()
        assert [str(row[1]) for row in found] == numbers
        assert ("'NA' in c, too" in group.notes[0]) == (cells[-1] == "NA")
        grouped = ("12,34", "1,000.0005") if cells[0].startswith("1,") else ()
        for other in ("12,34.5", "1'2345", "x", "1 2", "1" * 39, *grouped):
            with pytest.raises(duckdb.Error):
                duckdb.execute(f'{sql} from (select ? as "a ""b")', [other]).fetchall()


def zipped(name: str) -> bytes:
    path = io.BytesIO()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "id\n1\n")
    return path.getvalue()


OTHER: dict[str, tuple[str | bytes, str]] = {
    "a.zip": (zipped("a.csv"), "an archive, which is not read: unpack it"),
    "b.tar.gz": (b"\x1f\x8b", "an archive, which is not read"),
    "c.csv": (zipped("a.csv"), "the file is a zip archive"),
    "d.xlsx": (zipped("sheet"), "a spreadsheet, which is not read: export each of its sheets as csv (UTF-8)"),
    "e.xls": (b"\xd0\xcf\x11\xe0", "a spreadsheet"),
    "f.txt": ("id\tname\n1\ta\n", "if it is csv, rename it, or `format: csv` with its name as `pattern` reads it"),
    "g.log": ("started\nended\n", "of no known format by its name"),
    "h.csv": ("id,name,name\n1,a,b\n", "options: {skip_rows: 1, column_names: [id, name, name_2]}"),
    ".hidden/i.csv": ("id\n1\n", "leading dot"),
    "_temporary/j.csv": ("id\n1\n", "Spark"),
    "k.csv.part": ("id\n1\n", "unfinished"),
}


def test_given_what_is_no_source_then_each_is_named_with_what_to_do_and_the_rest_runs(
    invoke: Invoke,  # noqa: F811
    tmp_path: Path,
) -> None:
    put(tmp_path / "files", {name: data for name, (data, _) in OTHER.items()})
    with pytest.raises(NotFoundError, match=r"holds no file that can be read\n[^$]*a\.zip: an archive"):
        init_from(tmp_path / "project", tmp_path / "files")
    put(tmp_path / "files", {"good.csv": "id;name\n1;a\n", "tabs.tsv": "id\tx\n1\t1.234,50\n"})
    result = invoke("init", tmp_path / "project", "--from", tmp_path / "files")
    assert result.exit_code == 0, result.stderr
    for name, (_, reason) in OTHER.items():
        (line,) = (
            line
            for line in result.stderr.splitlines()
            if line.startswith(f"left out: {name.rpartition('/')[0] or name}")
        )
        assert reason in line
    assert "note: tabs.tsv: x: '1.234,50' and the like" in result.stderr
    assert invoke("validate", "--project", tmp_path / "project").exit_code == 0
    assert [len(rows(tmp_path / "project", name)) for name in ("good", "tabs")] == [1, 1]


def test_given_names_that_are_there_twice_then_the_options_that_are_told_read_the_columns_by_their_places(
    tmp_path: Path,
) -> None:
    draft, project = drafted(tmp_path, {"a.csv": "x\n1\n", "h.csv": "id,n,n_2,n\n1,a,b,c\n"})
    (skipped,) = draft.skipped
    found = re.search(r"options: (\{.*?\})", skipped.reason)
    assert found
    path = project / "odibi.yaml"
    data = YAML(typ="safe").load(path.read_text())
    read = data["pipelines"][0]["nodes"][0]["read"]
    read |= {"pattern": "h.csv", "options": YAML(typ="safe").load(found[1])}
    del read["schema"]
    path.write_text(json.dumps(data))
    assert rows(project, "a") == [{"id": 1, "n": "a", "n_2": "b", "n_3": "c"}]


@pytest.mark.parametrize(
    ("name", "text", "grows"),
    [
        ("log.csv", "id,a\n1,2\n3", True),
        ("clicks.jsonl", '{"id": 1}\n{"id": 2', True),
        ("all.json", '[{"id": 1}]\n', False),
    ],
)
def test_given_a_file_that_somebody_writes_then_the_draft_reads_it_as_it_grows(
    tmp_path: Path, name: str, text: str, grows: bool
) -> None:
    put(tmp_path / "files", {name: text})
    with (tmp_path / "files" / name).open("a"):
        draft, project = drafted(tmp_path, {})
        (group,) = draft.groups
        assert f"{name} is being written by pid {os.getpid()} (" in group.notes[0]
        assert group.growing is grows
        if grows:
            assert [row["id"] for row in rows(project, group.name)] == [1]
    assert ("a run waits for its end" in group.notes[0]) is not grows


def test_given_one_file_alone_then_the_draft_names_the_modes_for_references_and_for_files_that_grow(
    tmp_path: Path,
) -> None:
    _, project = drafted(tmp_path, {"a.csv": "id\n1\n", "b.json": '[{"id": 1}, {"id": 2}]', "c-1.csv": "id\n1\n"})
    text = (project / "odibi.yaml").read_text()
    assert text.count("`mode: batch` reads it each time") == 2
    assert text.count("a file that is appended to? `mode: incremental` reads what is new in it") == 1


def test_given_a_folder_of_a_sink_that_lacks_a_published_file_then_no_pipeline_is_drafted_for_it(
    tmp_path: Path,
) -> None:
    put(tmp_path / "shop", {"odibi.yaml": SHOP, "in/a-1.csv": "id,k\n1,x\n2,y\n", "in/a-2.csv": "id,k\n1,x\n"})
    assert run_pipeline(load_project(tmp_path / "shop"), "p").state == "done"
    lake = tmp_path / "shop/lake"
    draft = init_from(tmp_path / "whole", lake)
    told = {one.name.partition("-")[0]: one.reason for one in draft.skipped if one.name.startswith("o/")}
    assert told["o/_current"] == REPLACED
    assert told["o/current"].endswith("with `mode: batch` and `path: o/current`")
    assert not [group for group in draft.groups if group.pattern.startswith("o/")]
    with pytest.raises(NotFoundError, match="a version of what a sink of `mode: overwrite` publishes"):
        init_from(tmp_path / "none", lake / "o/current")
    (lake / "o/_current-0000000099-o.1-1").mkdir()  # of the next iteration, not yet published
    (one,) = lake.glob("o/current/*.parquet")
    (lake / "o/_current-0000000099-o.1-1" / one.name).write_bytes(one.read_bytes())
    for what, read in {
        "path: o/current": 3,
        'pattern: "o/**/*", follow_links: true': 3,
        'pattern: "o/**/*"': 0,
    }.items():
        put(tmp_path / what[:4] / str(read), {"odibi.yaml": OVERWRITTEN.format(lake=lake, what=what)})
        assert run_pipeline(load_project(tmp_path / what[:4] / str(read)), "p").rows_read == read, what
    shutil.rmtree(lake / "o")
    assert all(run_pipeline(load_project(tmp_path / "whole"), group.name).state == "done" for group in draft.groups)
    (gone,) = lake.glob("t/k=y/*.parquet")
    gone.unlink()
    put(
        gone.parent,
        {gone.name.replace("part-0000000001", "part-0000000009"): (next(lake.glob("t/k=x/*"))).read_bytes()},
    )
    draft = init_from(tmp_path / "project", lake)
    assert [group.pattern for group in draft.groups] == [
        group.pattern for group in init_from(tmp_path / "again", lake).groups if "k=x" in group.pattern
    ]
    (reason,) = (one.reason for one in draft.skipped if "k=y" in one.name)
    assert reason.startswith(f"{gone.relative_to(lake)} is not there, though the sink that published it")
