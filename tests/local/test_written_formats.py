"""Sinks of files in csv, JSON and Arrow: whatever can be done with a parquet one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from odibi_actors.config import load_project
from odibi_actors.errors import ConfigError
from odibi_actors.local import LocalSystem, run_pipeline
from odibi_actors.local.reset import opened
from odibi_actors.local.trying import Trial
from odibi_actors.nodes.sinks.committed import read_committed
from odibi_actors.nodes.sinks.forms import SCHEMA_FILE, read
from tests.cli.conftest import Invoke, invoke  # noqa: F401

PROJECT = """\
project: shop
connections:
  landing: {type: local, path: landing}
  lake: {type: local, path: lake}
pipelines:
  - pipeline: p
    batch: {max_files: 1}
    nodes:
      - name: src
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv", schema: {n: int64, t: string}}
      - name: out
        inputs: [src]
        write: {connection: lake, path: out, format: FORM}
"""
FORMS = {
    "csv": ".csv",
    "json": ".jsonl",
    "arrow": ".arrow",
    "csv, compression: gzip": ".csv.gz",
    "json, compression: zstd": ".jsonl.zst",
    "csv, mode: overwrite": ".csv",
    "arrow, mode: overwrite": ".arrow",
    "parquet": ".parquet",
    "json, partition_by: [n]": ".jsonl",
    "parquet, mode: overwrite, partition_by: [n]": ".parquet",
}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path, form: str) -> Path:
    (tmp_path / "landing").mkdir()
    (tmp_path / "odibi.yaml").write_text(PROJECT.replace("FORM", form))
    return tmp_path


def run(root: Path, *numbers: int) -> None:
    for number in numbers:
        path = root / "landing" / f"{number}.csv"
        path.write_text(f'n,t\n{number},""\n,a\n')
        os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))
    summary = run_pipeline(load_project(root), "p")
    assert summary.committed == len(numbers), summary


def held(root: Path, form: str) -> list[int]:
    """The numbers of what a reader of the folder sees, each row compared with what was delivered."""
    folder = root / "lake/out" / ("current" if "overwrite" in form else "")
    found = []
    told = read_committed(root / "lake/out").to_pylist()
    if "partition_by" in form:
        for first, second in zip(told[::2], told[1::2], strict=True):
            assert (first["t"], second) == ("", {"n": None, "t": "a"})
            found.append(first["n"])
        named = {path.relative_to(folder).parts[0] for path in folder.glob(f"*/part-*{FORMS[form]}")}
        assert named == {"n=__HIVE_DEFAULT_PARTITION__", *(f"n={number}" for number in found)}
        return found
    for path in sorted(folder.glob(f"part-*{FORMS[form]}")):
        rows = read(path, path.name).to_pylist()
        assert rows == [{"n": rows[0]["n"], "t": ""}, {"n": None, "t": "a"}]
        found.append(rows[0]["n"])
    assert [row["n"] for row in told[::2]] == found
    return found


def ctl(invoke: Any, root: Path, *argv: str) -> Any:  # noqa: F811
    result = invoke(*argv, "--project", str(root))
    assert result.exit_code == 0, result
    return result


def test_given_files_when_run_then_a_reader_sees_each_row_once(root: Path, form: str) -> None:
    run(root, 1, 2)
    assert held(root, form) == ([2] if "overwrite" in form else [1, 2])
    run(root, 3)
    assert held(root, form) == ([3] if "overwrite" in form else [1, 2, 3])
    names = {name for name in os.listdir(root / "lake/out") if not name.startswith("_")}
    assert all(name == "current" or name.endswith(FORMS[form]) or name.startswith("n=") for name in names)


def test_given_a_part_when_shown_then_its_rows_and_types_are_those_of_the_node(
    root: Path,
    form: str,
    invoke: Invoke,  # noqa: F811
) -> None:
    run(root, 1)
    shown = json.loads(ctl(invoke, root, "node", "show", "p", "1", "out", "--head", "5", "-o", "json").stdout)
    assert shown["head"] == [{"n": 1, "t": ""}, {"n": None, "t": "a"}]
    assert [column["name"] for column in shown["columns"]] == ["n", "t"]
    told = json.loads(ctl(invoke, root, "sink", "show", "p.out", "-o", "json").stdout)
    assert (told["columns"], told["parts"]) == (["n: int64", "t: string"], 1)
    if "overwrite" in form:
        assert told["holds"] == {"iteration": 1, "rows": 2}


def test_given_a_part_that_was_harmed_then_verify_names_it(root: Path, form: str, invoke: Invoke) -> None:  # noqa: F811
    run(root, 1)
    part = next((root / "lake/out").glob(f"**/part-*{FORMS[form]}"))
    assert "no problem" in ctl(invoke, root, "checkpoint", "verify").stdout
    part.write_bytes(part.read_bytes() + b"\n")
    result = invoke("checkpoint", "verify", "--project", str(root))
    assert (result.exit_code != 0, str(part) in result.stdout + result.stderr) == (True, True)


def test_given_later_iterations_when_rewound_then_their_parts_go_and_are_made_again(root: Path, form: str) -> None:
    run(root, 1, 2, 3)
    with LocalSystem(load_project(root)) as system:
        system.request("pipeline.drain", {"pipeline": "p"})
        system.request("pipeline.rewind", {"pipeline": "p", "to": 1})
        system.request("pipeline.resume", {"pipeline": "p"})
    assert held(root, form) == ([3] if "overwrite" in form else [1])
    summary = run_pipeline(load_project(root), "p")
    assert summary.committed == 2
    assert held(root, form) == ([3] if "overwrite" in form else [1, 2, 3])


def test_given_all_when_reset_then_nothing_of_it_is_left(root: Path, form: str) -> None:
    run(root, 1, 2)
    with opened(load_project(root), "p") as reset:
        plan = reset.plan(True)
        files = 4 if "partition_by" in form else 2
        assert [one.parts for one in plan.published] == [1 if "overwrite" in form else files]
        reset.carry_out(plan)
    assert os.listdir(root / "lake/out") == []
    assert run_pipeline(load_project(root), "p").committed == 2
    assert held(root, form) == ([2] if "overwrite" in form else [1, 2])


def test_given_a_sample_when_tried_then_nothing_is_published_and_the_next_run_is_told(root: Path, form: str) -> None:
    run(root, 1)
    before = sorted(os.listdir(root / "lake/out"))
    (root / "landing/2.csv").write_text("n,t\n2,x\n")
    tried = {one.node: one for one in Trial(load_project(root), "p").run()}
    assert tried["out"].state == "ok", tried
    assert sorted(os.listdir(root / "lake/out")) == before


def test_given_another_node_that_adopts_it_then_it_goes_on(root: Path, form: str, invoke: Invoke) -> None:  # noqa: F811
    run(root, 1)
    text = (root / "odibi.yaml").read_text()
    (root / "odibi.yaml").write_text(text.replace("name: out", "name: renamed"))
    ctl(invoke, root, "sink", "adopt", "p.renamed", "--yes")
    run(root, 2)
    assert held(root, form) == ([2] if "overwrite" in form else [1, 2])


def test_given_another_format_in_the_same_folder_then_it_is_refused_by_name(
    root: Path,
    form: str,
    invoke: Invoke,  # noqa: F811
) -> None:
    run(root, 1)
    other = "parquet" if form != "parquet" else "csv"
    mode = ", mode: overwrite" if "overwrite" in form else ""
    mode += ", partition_by: [n]" if "partition_by" in form else ""
    text = (root / "odibi.yaml").read_text().replace(f"format: {form}", f"format: {other}{mode}")
    (root / "odibi.yaml").write_text(text)
    if "overwrite" in form:
        run(root, 2)  # a version is a folder of its own, and replaced as a whole
        assert len(list((root / "lake/out/current").rglob("part-*"))) == (3 if "partition_by" in form else 1)
        return
    result = invoke("run", "p", "--project", str(root))
    assert result.exit_code != 0
    assert f"holds parts that end in {FORMS[form]}" in result.stderr
    assert held(root, form) == [1]


def test_given_an_iteration_that_is_taken_back_to_0_when_other_columns_come_then_they_are_taken(
    root: Path, form: str
) -> None:
    run(root, 1)
    if "overwrite" in form:
        return
    with LocalSystem(load_project(root)) as system:
        system.request("pipeline.drain", {"pipeline": "p"})
        system.request("pipeline.rewind", {"pipeline": "p", "to": 0})
        system.request("pipeline.resume", {"pipeline": "p"})
    text = (root / "odibi.yaml").read_text()
    (root / "odibi.yaml").write_text(text.replace("n: int64", "n: double"))
    if "partition_by" in form:
        assert run_pipeline(load_project(root), "p").failed == 1  # a double is no folder
        return
    assert run_pipeline(load_project(root), "p").committed == 1
    (part,) = (root / "lake/out").glob("part-*")
    assert str(read(part, part.name).schema.field("n").type) == "double"
    assert (root / "lake/out" / SCHEMA_FILE).exists() == (FORMS[form] not in (".arrow", ".parquet"))


def test_given_a_format_that_is_compressed_within_then_more_is_refused(tmp_path: Path) -> None:
    (tmp_path / "odibi.yaml").write_text(PROJECT.replace("FORM", "parquet, compression: gzip"))
    with pytest.raises(ConfigError, match="parquet is compressed within"):
        load_project(tmp_path)


def test_given_a_type_that_csv_cannot_hold_then_it_is_refused_before_anything_is_staged(tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing/1.csv").write_text("n,t\n1,x\n")
    sql = "      - {name: mid, inputs: [src], transform: {sql: 'select n, [t] as l from src'}}"
    text = PROJECT.replace("FORM", "csv").replace("inputs: [src]", "inputs: [mid]")
    text = text.replace("      - name: out", f"{sql}\n      - name: out")
    (tmp_path / "odibi.yaml").write_text(text)
    summary = run_pipeline(load_project(tmp_path), "p")
    assert (summary.failed, (tmp_path / "lake").exists()) == (1, False)
