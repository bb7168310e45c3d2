"""Files that are copied, touched, written again with their former times: with source, broker, workers and store."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from odibi_actors.batches.files import digest_file
from odibi_actors.client import Client
from odibi_actors.config import load_project
from odibi_actors.config.model import ProjectSpec
from odibi_actors.local import LocalSystem, run_pipeline
from odibi_actors.model import Position
from odibi_actors.nodes.positions import Files
from odibi_actors.sources.file_position import file_times
from odibi_actors.streaming import scan
from odibi_actors.streaming.effects import Found
from tests.local.test_moved_projects import COPIED
from tests.local.test_references import GOOD, YAML, rows, state, until, written

WATCHED = """\
project: copies
connections:
  landing: {type: local, path: data/landing}
  lake: {type: local, path: data/lake}
pipelines:
  - pipeline: p
    nodes:
      - {name: src, read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv", settle: 100ms}}
      - {name: out, inputs: [src], write: {connection: lake, path: t, format: parquet}}
"""


@pytest.fixture
def project(tmp_path: Path) -> ProjectSpec:
    root = tmp_path / "first"
    for number in range(10, 58):
        written(root / f"data/landing/f{number}.csv", f"id,country\n{number},de\n")
    (root / "odibi.yaml").write_text(WATCHED)
    return load_project(root)


@pytest.fixture
def with_reference(tmp_path: Path) -> ProjectSpec:
    (tmp_path / "odibi.yaml").write_text(YAML.format(on_error="halt", mode="batch"))
    written(tmp_path / "data/landing/a.csv", "id,cust\n1,1\n")
    written(tmp_path / "data/ref/cust.csv", GOOD)
    return load_project(tmp_path)


def in_place(path: Path, text: str) -> None:
    """Other bytes of the same number, the times set back: the same size, mtime and inode."""
    before = path.stat()
    assert len(text) == before.st_size
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def known(project: ProjectSpec) -> dict[str, tuple[int, int, int]]:
    """What the ledger knows files by."""
    with sqlite3.connect(Path(project.data_dir) / "checkpoints.db") as db:
        found = db.execute("SELECT identity, detail FROM ledger").fetchall()
    db.close()
    return {identity: tuple(file_times(detail)) for identity, detail in found}


def on_disk(project: ProjectSpec) -> dict[str, tuple[int, int, int]]:
    seen = {path.name: path.stat() for path in (Path(project.root) / "data/landing").iterdir()}
    return {name: (one.st_mtime_ns, one.st_ino, one.st_ctime_ns) for name, one in seen.items()}


def copied(project: ProjectSpec, to: Path) -> ProjectSpec:
    """As ``cp -r`` does it: other times, other inodes."""
    shutil.copytree(project.root, to, copy_function=shutil.copy)
    return load_project(to)


def test_given_a_project_that_was_copied_when_run_then_nothing_is_read_again_nor_called_changed(
    project: ProjectSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_pipeline(project, "p").rows_read == 48
    copy = copied(project, tmp_path / "second")
    capsys.readouterr()
    assert run_pipeline(copy, "p").state == "no_data"
    assert capsys.readouterr().err == COPIED.format(project.root, copy.root)
    assert known(copy) == on_disk(copy)  # and so none of them is digested again
    for name in list(on_disk(copy)):
        os.utime(Path(copy.root) / "data/landing" / name)
    for name, country in (("f20.csv", "fr"), ("f30.csv", "es"), ("f40.csv", "es"), ("f50.csv", "it")):
        written(Path(copy.root) / "data/landing" / name, f"id,country\n20,{country}\n")
    written(Path(copy.root) / "data/landing/new.csv", "id,country\n99,pt\n")
    summary = run_pipeline(copy, "p")
    assert (summary.rows_read, summary.committed) == (1, 1)
    assert capsys.readouterr().err == (
        "warning: p/src: 4 files changed after they were read: f20.csv, f30.csv, f40.csv and 1 more; those with "
        "new data are read under a new name (`odibictl source files p.src` lists them)\n"
    )
    changed = {"f20.csv", "f30.csv", "f40.csv", "f50.csv"}
    assert {name for name, numbers in on_disk(copy).items() if known(copy)[name] != numbers} == changed


def test_given_a_file_written_again_in_place_before_it_is_read_when_run_then_it_is_read_as_it_is_and_told(
    project: ProjectSpec, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, done = Files.load, []

    def load(self: Files, position: Position) -> bytes:
        if position.identity == "f20.csv" and not done:
            done.append(position)
            in_place(self.folder / position.identity, "id,country\n20,fr\n")
        return real(self, position)

    monkeypatch.setattr(Files, "load", load)
    run_pipeline(project, "p")
    assert (20, "fr") in rows(project)
    told = [line for line in capsys.readouterr().err.splitlines() if "ctime" in line]
    assert told == [
        "p 1 src: 1 file had another ctime than when planned, read as now: f20.csv (linked, given other permissions, "
        "or written again with the former times)"
    ]
    assert known(project) == on_disk(project)
    with Client(project=project.root) as client:  # the iteration tells what it has read, not what was planned
        (shown,) = [p for p in client.iteration("p", 1)["positions"]["src"] if p["identity"] == "f20.csv"]
    path = Path(project.root) / "data/landing/f20.csv"
    assert shown["digest"] == digest_file(path)[0]
    assert file_times(bytes.fromhex(shown["detail"])).ctime_ns == path.stat().st_ctime_ns
    in_place(Path(project.root) / "data/landing/f20.csv", "id,country\n20,it\n")  # and again, now that it was read
    (Path(project.root) / "data/landing/f21.csv").chmod(0o600)
    os.link(Path(project.root) / "data/landing/f22.csv", Path(project.root) / "other-name")
    run_pipeline(project, "p")
    assert capsys.readouterr().err == (
        "warning: p/src: file f20.csv changed after it was read (iteration 1), with the same size; if its data "
        "is new, rename it: then all of its rows are read, those that were read before once more, and this is told no "
        "more\n"
    )
    landing = Path(project.root) / "data/landing"
    (landing / "f20.csv").rename(landing / "f20-new.csv")  # what is said does help
    assert run_pipeline(project, "p").committed == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("ctime", [True, False])
def test_given_a_reference_replaced_with_its_size_and_times_when_a_file_comes_then_it_is_read_with_the_new_one(
    with_reference: ProjectSpec, monkeypatch: pytest.MonkeyPatch, ctime: bool
) -> None:
    """``ctime``: else not even that tells, as on some network file systems."""
    if not ctime:
        monkeypatch.setattr(
            scan, "_regular", lambda identity, seen: Found(identity, seen.st_size, seen.st_mtime_ns, seen.st_ino)
        )
    root = Path(with_reference.root)
    with LocalSystem(with_reference, manual=False) as system:
        until(system, lambda: state(system) == {1: "committed"}, "the first")
        in_place(root / "data/ref/cust.csv", GOOD.replace("fr", "pt"))
        written(root / "data/landing/b.csv", "id,cust\n2,2\n")
        until(system, lambda: len(rows(with_reference)) == 2, "the second")
        assert len(state(system)) <= 4
    assert rows(with_reference) == [(1, "de"), (2, "pt")]


def test_given_a_reference_that_never_is_what_was_planned_when_a_file_comes_then_it_is_tried_ever_more_seldom_and_told(
    with_reference: ProjectSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(with_reference.root)
    with LocalSystem(with_reference, manual=False) as system:
        until(system, lambda: state(system) == {1: "committed"}, "the first")
        real = Files.load

        def load(self: Files, position: Position) -> bytes:
            if position.identity == "cust.csv":
                in_place(self.folder / position.identity, GOOD.replace("fr", f"{time.monotonic_ns() % 100:02}"))
            return real(self, position)

        monkeypatch.setattr(Files, "load", load)
        written(root / "data/landing/b.csv", "id,cust\n2,2\n")

        def told() -> bool:
            (row,) = system.request("pipeline.list")["items"]
            return any("changed 4 times between plan and read; planned again in" in text for text in row["problems"])

        until(system, told, "the problem")
        assert len(state(system)) <= 6
        monkeypatch.setattr(Files, "load", real)
        until(system, lambda: len(rows(with_reference)) == 2, "the second")
