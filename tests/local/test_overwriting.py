"""``mode: overwrite`` in a project: what the sinks hold, what is said of it, and what a rewind, a reset or another mode
does to it."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from odibi_actors.config import load_project
from odibi_actors.errors import ConflictError
from odibi_actors.local import LocalSystem, run_pipeline
from odibi_actors.local.reset import opened
from odibi_actors.local.trying import Trial
from tests.cli.conftest import Invoke, invoke  # noqa: F401

PROJECT = """\
project: shop
connections:
  landing: {type: local, path: landing}
  lake: {type: local, path: lake}
  mart: {type: sqlite, path: mart.db}
pipelines:
  - pipeline: p
    batch: {max_files: 1}
    nodes:
      - name: src
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv", schema: {n: int64}}
      - name: out
        inputs: [src]
        write: {connection: lake, path: out, format: parquet, mode: overwrite}
      - name: tab
        inputs: [src]
        write: {connection: mart, table: t, mode: overwrite}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "landing").mkdir()
    (tmp_path / "odibi.yaml").write_text(PROJECT)
    return tmp_path


def deliver(root: Path, number: int, rows: int = 1) -> None:
    path = root / "landing" / f"{number}.csv"
    path.write_text("n\n" + f"{number}\n" * rows)
    os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))


def run(root: Path, *numbers: int) -> None:
    for number in numbers:
        deliver(root, number)
    summary = run_pipeline(load_project(root), "p")
    assert summary.committed == len(numbers), summary


def edit(root: Path, old: str, new: str) -> None:
    text = (root / "odibi.yaml").read_text()
    assert old in text
    (root / "odibi.yaml").write_text(text.replace(old, new))


def held(root: Path, appended: bool = False) -> tuple[list[int], list[int]]:
    """What folder and table hold."""
    files = list((root / "lake/out").glob("**/part-*.parquet" if appended else "current/*.parquet"))
    lake = [row["n"] for path in files for row in pq.read_table(path).to_pylist()]
    with closing(sqlite3.connect(root / "mart.db")) as mart:
        return lake, [n for (n,) in mart.execute("select n from t")]


def test_given_files_that_arrive_when_run_then_the_sinks_hold_the_newest_batch(root: Path) -> None:
    run(root, 1, 2)
    assert held(root) == ([2], [2])
    run(root, 3)
    assert held(root) == ([3], [3])


def test_given_sinks_that_hold_the_newest_batch_only_when_validated_then_it_is_said_with_their_lines(
    root: Path,
    invoke: Invoke,  # noqa: F811
) -> None:
    (root / "landing/1.csv").write_text("n\n1\n")
    found = json.loads(invoke("validate", "--project", root, "-o", "json").stdout)["warnings"]
    assert [line.partition(" is overwritten by each batch of new files")[0] for line in found] == [
        "odibi.yaml:14: pipelines[0].nodes[1].write: out",
        "odibi.yaml:17: pipelines[0].nodes[2].write: tab",
    ]
    edit(root, "mode: file_watch", "mode: batch")
    edit(root, "- pipeline: p", "- pipeline: p\n    trigger: manual")
    assert json.loads(invoke("validate", "--project", root, "-o", "json").stdout)["warnings"] == []


def test_given_sinks_when_shown_then_it_is_said_what_they_hold_and_what_older_parts_have_become(
    root: Path,
    invoke: Invoke,  # noqa: F811
) -> None:
    run(root, 1, 2, 3)
    shown = {name: invoke("sink", "show", f"p.{name}", "--project", root).stdout for name in ("out", "tab")}
    assert all("holds: what iteration 3 published, 1 row\n" in text for text in shown.values()), shown
    row = json.loads(invoke("sink", "show", "p.out", "--project", root, "-o", "json").stdout)
    assert (row["mode"], row["holds"], row["parts"]) == ("overwrite", {"iteration": 3, "rows": 1}, 3)
    assert invoke("node", "show", "p", "3", "out", "--head", "1", "--project", root).exit_code == 0
    gone = invoke("node", "show", "p", "1", "out", "--head", "1", "--project", root)
    assert (gone.exit_code, "no longer kept: iteration 2 has replaced it" in gone.stderr) == (3, True)
    table = invoke("node", "show", "p", "1", "tab", "--head", "1", "--project", root)
    assert "which iteration 2 overwrites" in table.stderr


def test_given_a_rewind_when_it_is_done_then_what_was_published_last_stays_until_the_next_commit(
    root: Path,
    invoke: Invoke,  # noqa: F811
) -> None:
    run(root, 1, 2, 3)
    (root / "landing/3.csv").unlink()
    with LocalSystem(load_project(root)) as system:
        system.request("pipeline.drain", {"pipeline": "p"})
        shown = system.request("pipeline.rewind", {"pipeline": "p", "to": 1, "dry_run": True})
        assert {row["action"] for row in shown["retractions"]} == {
            "what iteration 3 published stays until the next commit replaces it"
        }
        system.request("pipeline.rewind", {"pipeline": "p", "to": 1})
    assert held(root) == ([3], [3])
    said = invoke("sink", "show", "p.out", "--project", root).stdout
    assert "holds: what iteration 3 published" in said
    verdict = invoke("checkpoint", "verify", "--project", root)
    assert verdict.exit_code == 0, verdict.output
    with LocalSystem(load_project(root)) as system:
        system.request("pipeline.resume", {"pipeline": "p"})
    run_pipeline(load_project(root), "p")
    assert held(root) == ([2], [2])
    assert invoke("checkpoint", "verify", "--project", root).exit_code == 0


def test_given_a_reset_when_targets_stay_then_the_next_run_replaces_them_and_with_targets_they_go(root: Path) -> None:
    run(root, 1, 2)

    def reset(targets: bool) -> Any:
        with opened(load_project(root), "p") as work:
            plan = work.plan(targets)
            work.carry_out(plan)
            return plan

    assert reset(False).published == []
    assert held(root) == ([2], [2])
    (root / "landing/2.csv").unlink()
    assert run_pipeline(load_project(root), "p").committed == 1
    assert held(root) == ([1], [1])
    assert [(one.node, one.parts) for one in reset(True).published] == [("tab", 1), ("out", 1)]
    assert list((root / "lake/out").iterdir()) == []
    edit(root, ", mode: overwrite", "")
    assert run_pipeline(load_project(root), "p").committed == 1
    assert held(root, appended=True) == ([1], [1])


@pytest.mark.parametrize("command", ["run", "up"])
def test_given_appended_parts_when_the_mode_becomes_overwrite_then_it_is_told_before_anything_is_planned(
    root: Path,
    invoke: Invoke,  # noqa: F811
    command: str,
) -> None:
    edit(root, ", mode: overwrite", "")
    run(root, 1)
    edit(root, "format: parquet}", "format: parquet, mode: overwrite}")
    edit(root, "table: t}", "table: t, mode: overwrite}")
    deliver(root, 2)
    if command == "run":
        with pytest.raises(ConflictError) as refusal:
            run_pipeline(load_project(root), "p")
        said = str(refusal.value)
    else:
        done = invoke("up", "--project", root, "--detach")
        assert done.exit_code == 4
        said = done.stderr
    assert "p.out: " in said
    assert "parts that were appended (part-0000000001-out.parquet)" in said
    assert "`odibictl reset p --targets`" in said
    assert "holds 1 rows that no overwrite of p.tab has written" in said
    assert held(root, appended=True) == ([1], [1])


def test_given_a_sample_when_tried_then_an_overwrite_is_tried_too_and_what_it_may_not_replace_is_said(
    root: Path,
) -> None:
    def tried() -> dict[str, Any]:
        return {one.node: one for one in Trial(load_project(root), "p").run()}

    deliver(root, 1)
    assert {one.state for one in tried().values()} == {"ok"}
    run_pipeline(load_project(root), "p")
    assert {one.state for one in tried().values()} == {"ok"}
    edit(root, "schema: {n: int64}", "schema: {n: string}")
    assert "which the sink's first part pinned" in tried()["out"].failure.message
    edit(root, "schema: {n: string}", "schema: {n: int64}")
    edit(root, "mode: overwrite}", "mode: append}")
    assert "published with `mode: overwrite`" in tried()["out"].failure.message
    assert held(root) == ([1], [1])
