"""What differs between two versions of a pipeline, and which nodes run again for it."""

from __future__ import annotations

from pathlib import Path

from odibi_actors.config import load_project
from odibi_actors.config.model import PipelineSpec
from odibi_actors.config.parts import difference, parts

PROJECT = """
project: shop
connections: {landing: {type: local, path: in}, lake: {type: local, path: out}}
pipelines:
  - pipeline: p
    nodes:
      - {name: sink, inputs: [last], write: {connection: lake, path: p, format: parquet}}
      - {name: last, inputs: [first], transform: {sql: select * from first}}
      - {name: src, read: {connection: landing, format: csv, pattern: "*.csv", mode: file_watch, settle: 1s}}
      - {name: first, inputs: [src], transform: {sql: "select *, 1 as one from src"}}
"""


def _spec(folder: Path, text: str) -> PipelineSpec:
    (folder / "odibi.yaml").write_text(text)
    (spec,) = load_project(folder).pipelines
    return spec


def test_what_stands_behind_a_changed_node_runs_again_in_whatever_order_they_are_written(tmp_path: Path) -> None:
    former = parts(_spec(tmp_path, PROJECT))
    found = difference(former, _spec(tmp_path, PROJECT.replace("1 as one", "2 as one")))
    assert found.keys == {"first": ["transform.sql"]}
    assert {*found.again} == {"first", "last", "sink"}
    assert found.kept == ["src"]


def test_a_key_without_meaning_for_what_comes_out_makes_nothing_run_again(tmp_path: Path) -> None:
    former = parts(_spec(tmp_path, PROJECT))
    new = PROJECT.replace("settle: 1s", "settle: 1s}, retry: {max_attempts: 2")
    found = difference(former, _spec(tmp_path, new))
    assert found.again == []


CODE = PROJECT.replace("transform: {sql: select * from first}", 'transform: {function: "nodes.a:f"}')


def test_changed_code_is_told_by_its_file_and_only_what_reaches_it_runs_again(tmp_path: Path) -> None:
    (tmp_path / "nodes").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "nodes" / f"{name}.py").write_text("def f(x): return x\n")
    former = parts(_spec(tmp_path, CODE))
    (tmp_path / "nodes/b.py").write_text("def f(x): return x + 1\n")
    assert not difference(former, _spec(tmp_path, CODE))
    (tmp_path / "nodes/a.py").write_text("from nodes import c\n\ndef f(x): return c.f(x)\n")
    found = difference(former, _spec(tmp_path, CODE))
    assert (found.code, found.keys, found.told) == (
        ["nodes/a.py", "nodes/c.py"],
        {},
        ["nodes/a.py", "nodes/c.py"],
    )
    assert ({*found.again}, {*found.kept}) == ({"last", "sink"}, {"src", "first"})


POLLED = """
project: shop
connections: {lake: {type: local, path: out}}
pipelines:
  - pipeline: p
    nodes:
      - {name: src, read: {mode: interval, every: 1h, function: "nodes.a:f"}}
      - {name: sink, inputs: [src], write: {connection: lake, path: p, format: parquet}}
"""


def test_changed_code_that_is_polled_is_another_version_and_what_was_polled_stays(tmp_path: Path) -> None:
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes/a.py").write_text("def f(): return None\n")
    former = _spec(tmp_path, POLLED)
    (tmp_path / "nodes/a.py").write_text("def f(): return 1\n")
    new = _spec(tmp_path, POLLED)
    found = difference(parts(former), new)
    assert (found.told, found.again, found.kept) == (["nodes/a.py"], [], ["src", "sink"])


def test_a_line_names_three_differences_and_counts_the_others(tmp_path: Path) -> None:
    former = parts(_spec(tmp_path, PROJECT))
    new = PROJECT.replace("settle: 1s", "settle: 2s").replace("1 as one", "2 as one").replace("name: sink", "name: out")
    found = difference(former, _spec(tmp_path, new + "    max_in_flight: 2\n"))
    assert found.told == ["+ out", "- sink", "pipeline: max_in_flight", "and 2 more"]
