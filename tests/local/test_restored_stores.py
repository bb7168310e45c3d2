"""An older copy of the store is put back, its targets stay: nothing is doubled, and that is told with a way out."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from odibi_actors.local.system import RunSummary
from tests.local.test_moved_projects import ctl, put, run

HEAD = """\
project: restored
connections:
  landing: {type: local, path: landing}
  lake: {type: local, path: lake}
  mart: {type: sqlite, path: mart.db}
pipelines:
  - pipeline: p
    on_error: dead_letter
    batch: {max_files: 1}
    nodes:
      - name: src
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv", settle: 100ms}
      - {name: same, inputs: [src], transform: {sql: "select cast(x as bigint) as x from src"}}
"""
SINKS = {
    "folder": "connection: lake, path: out, format: parquet",
    "current": "connection: lake, path: out, format: parquet, mode: overwrite",
    "append": "connection: mart, table: t",
    "upsert": "connection: mart, table: t, mode: upsert, keys: [x]",
    "overwrite": "connection: mart, table: t, mode: overwrite",
}
ADDING = ["folder", "append", "upsert"]
OVERWRITING = ["current", "overwrite"]


def project(root: Path, sink: str) -> Path:
    """One that has published iteration 1."""
    (root / "landing").mkdir(parents=True)
    (root / "odibi.yaml").write_text(f"{HEAD}      - {{name: out, inputs: [same], write: {{{SINKS[sink]}}}}}\n")
    put(root, 1)
    assert run(root).committed == 1
    return root


def rows(root: Path) -> list[int]:
    """All that a reader sees."""
    if (root / "lake").exists():
        parts = [*root.glob("lake/out/part-*.parquet"), *root.glob("lake/out/current/*.parquet")]
        return sorted(x for part in parts for x in pq.read_table(part).column("x").to_pylist())
    with closing(sqlite3.connect(root / "mart.db")) as db:
        return sorted(x for (x,) in db.execute("select x from t"))


def kept(root: Path, called: str = "backup") -> Callable[[], None]:
    """A copy of the store as it is; what it gives puts it back."""
    names = [path.name for path in (root / ".odibi").glob("checkpoints.db*")]
    (root / called).mkdir()
    for name in names:
        shutil.copy(root / ".odibi" / name, root / called)
    if (root / "mart.db").exists():
        shutil.copy(root / "mart.db", root / called)

    def back() -> None:
        for path in (root / ".odibi").glob("checkpoints.db*"):
            path.unlink()
        for name in names:
            shutil.copy(root / called / name, root / ".odibi")

    return back


def bad(root: Path, number: int) -> None:
    (root / f"landing/{number}.csv").write_text("x\nnone\n")


def killed(root: Path, point: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "odibi_actors.cli", "run", "p", "--project", str(root)],
        env={**os.environ, "ODIBI_FAILPOINTS": point},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def older(root: Path, sink: str) -> Callable[[], None]:
    """The store is that of iteration 1. What it does not know: file 2 became a letter, and file 3 was published as
    iteration 3; the former is taken away, so that the latter is now iteration 2. Gives what puts the newer one back."""
    project(root, sink)
    back = kept(root)
    bad(root, 2)
    put(root, 3)
    assert run(root).committed == 1
    assert rows(root) == ([1, 3] if sink in ADDING else [3])
    newer = kept(root, "newer")
    back()
    (root / "landing/2.csv").unlink()
    return newer


def blocked(summary: RunSummary) -> str:
    """Why the iteration is."""
    assert summary.state == "failed"
    return summary.error


@pytest.mark.parametrize("sink", ADDING)
def test_given_an_older_store_when_what_it_does_not_know_was_published_later_then_nothing_is_added(
    tmp_path: Path, sink: str
) -> None:
    older(tmp_path, sink)
    for _ in range(3):  # whatever is planned meanwhile, and however often it starts again
        said = blocked(run(tmp_path))
        assert "iteration 3" in said
        assert "older copy" in said
        assert rows(tmp_path) == [1, 3]
        put(tmp_path, 10 + _)


def moved_away(root: Path) -> None:
    (root / "lake/out/part-0000000003-out.parquet").unlink()


def marks_deleted(root: Path) -> None:
    """With the rows, or without, where the rows are upserted again: just as the message says it."""
    statement = blocked(run(root)).rpartition("`delete from _odibi_commits")[2].partition("`")[0]
    with closing(sqlite3.connect(root / "mart.db")) as db:
        if "mode: upsert" not in (root / "odibi.yaml").read_text():
            db.execute("delete from t where x = 3")
        db.execute(f"delete from _odibi_commits{statement}")
        db.commit()


def older_database(root: Path) -> None:
    shutil.copy(root / "backup/mart.db", root / "mart.db")


@pytest.mark.parametrize(
    ("sink", "way"),
    [
        ("folder", moved_away),
        ("append", marks_deleted),
        ("append", older_database),
        ("upsert", marks_deleted),
        ("upsert", older_database),
    ],
)
@pytest.mark.parametrize("again", [False, True])
def test_given_that_when_what_the_message_says_is_done_then_all_is_there_once(
    tmp_path: Path, sink: str, way: Callable[[Path], None], again: bool
) -> None:
    older(tmp_path, sink)
    put(tmp_path, 4)
    for _ in range(2 if again else 1):
        blocked(run(tmp_path))
    way(tmp_path)
    assert run(tmp_path).state == "done"
    put(tmp_path, 5)
    assert run(tmp_path).state == "done"
    assert rows(tmp_path) == [1, 3, 4, 5]
    assert "no problem was found" in ctl(tmp_path, "checkpoint", "verify")


@pytest.mark.parametrize("sink", SINKS)
def test_given_an_older_store_when_the_newer_one_is_brought_back_then_it_goes_on(tmp_path: Path, sink: str) -> None:
    newer = older(tmp_path, sink)
    blocked(run(tmp_path))
    newer()
    put(tmp_path, 4)
    assert run(tmp_path).committed == 1
    assert rows(tmp_path) == ([1, 3, 4] if sink in ADDING else [4])


@pytest.mark.parametrize("sink", OVERWRITING)
def test_given_an_older_store_when_what_stands_there_is_newer_then_it_stays_until_a_newer_one_comes(
    tmp_path: Path, sink: str
) -> None:
    older(tmp_path, sink)
    said = blocked(run(tmp_path))
    assert "older iteration 2" in said
    assert rows(tmp_path) == [3]
    put(tmp_path, 4)
    ctl(tmp_path, "iteration", "abandon", "p", "2", "--sink", "out", "--yes")
    assert "iteration 3" in blocked(run(tmp_path))
    ctl(tmp_path, "iteration", "abandon", "p", "3", "--sink", "out", "--yes")
    put(tmp_path, 5)
    assert run(tmp_path).state == "done"
    assert rows(tmp_path) == [5]


@pytest.mark.parametrize("sink", SINKS)
def test_given_a_part_that_was_staged_and_is_not_known_when_its_attempt_is_made_again_then_it_is_another_part(
    tmp_path: Path, sink: str
) -> None:
    project(tmp_path, sink)
    back = kept(tmp_path)
    put(tmp_path, 2)
    place = "rows" if "mart" in SINKS[sink] else "folder"
    killed(tmp_path, f"{place}.staged:kill@1")
    back()
    (tmp_path / "landing/2.csv").unlink()
    put(tmp_path, 3)
    assert run(tmp_path).committed == 1
    assert rows(tmp_path) == ([1, 3] if sink in ADDING else [3])
    put(tmp_path, 4)
    assert run(tmp_path).committed == 1
    assert rows(tmp_path) == ([1, 3, 4] if sink in ADDING else [4])
    assert not [path for path in tmp_path.rglob("*.staged") if "2-" in path.name]
