"""Projects that are moved, copied, or reached by a link: each publishes, and takes back, only what is its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from odibi_actors.checkpoint import records as rec
from odibi_actors.checkpoint import relocating
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.checkpoint.schema import COUNTED, FORMAT, seal, unseal
from odibi_actors.checkpoint.tables import ScheduleDecoder
from odibi_actors.cli.__main__ import odibictl
from odibi_actors.cli.base import App
from odibi_actors.cli.sink import original
from odibi_actors.config import load_project
from odibi_actors.errors import ConflictError
from odibi_actors.local import LocalSystem, run_pipeline
from odibi_actors.local.changes import Changes
from odibi_actors.local.reset import Plan, Reset, opened
from odibi_actors.local.system import RunSummary
from odibi_actors.model import Home
from odibi_actors.nodes.sinks.owner import OWNER_FILE
from tests.checkpoint import former
from tests.targets import folder

PROJECT = """\
project: moving
data_dir: ${STATE:-.odibi}
connections:
  landing: {type: local, path: landing}
  lake: {type: local, path: "${LAKE:-lake}"}
  mart: {type: sqlite, path: "${MART:-mart.db}"}
pipelines:
  - pipeline: p
    batch: {max_files: 1}
    nodes:
      - name: src
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv", settle: 100ms}
      - {name: same, inputs: [src], transform: {sql: "select x from src"}}
      - {name: out, inputs: [same], write: {connection: lake, path: out, format: parquet}}
      - {name: now, inputs: [same], write: {connection: lake, path: now, format: parquet, mode: overwrite}}
      - {name: tab, inputs: [same], write: {connection: mart, table: t, mode: upsert, keys: [x]}}
"""
WATCHED = "    trigger: schedule\n    schedules: [{name: come, file_watch: {path: landing/q, pattern: '*'}}]\n"
ALL = [1, 2, 3]
MOVED = "the project was in {}, and is in {} now; recorded paths follow\n"
COPIED = "this project is a copy of the one in {}; its recorded paths are those in {} from now on\n"


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A project that has published three iterations."""
    root = tmp_path / "first"
    (root / "landing").mkdir(parents=True)
    (root / "odibi.yaml").write_text(PROJECT)
    for number in ALL:
        put(root, number)
    assert run(root).committed == len(ALL)
    return root


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Targets that are in no project."""
    monkeypatch.setenv("LAKE", str(tmp_path / "away/lake"))
    monkeypatch.setenv("MART", str(tmp_path / "away/mart.db"))
    return tmp_path / "away"


def put(root: Path, number: int) -> None:
    (root / f"landing/{number}.csv").write_text(f"x\n{number}\n")


def run(root: Path) -> RunSummary:
    return run_pipeline(load_project(root), "p")


def copied(root: Path, name: str = "second") -> Path:
    return Path(shutil.copytree(root, root.with_name(name), symlinks=True))


def moved(root: Path, name: str = "second") -> Path:
    return root.rename(root.with_name(name))


def appended(folder: Path) -> list[int]:
    return sorted(x for part in folder.glob("out/part-*.parquet") for x in pq.read_table(part).column("x").to_pylist())


def current(folder: Path) -> list[int]:
    return [x for part in folder.glob("now/current/*.parquet") for x in pq.read_table(part).column("x").to_pylist()]


def table(database: Path) -> list[int] | None:
    with closing(sqlite3.connect(database)) as db:
        there = db.execute("select 1 from sqlite_master where name = 't'").fetchone()
        return sorted(x for (x,) in db.execute("select x from t")) if there else None


def published(root: Path) -> tuple[list[int], list[int], list[int] | None]:
    return appended(root / "lake"), current(root / "lake"), table(root / "mart.db")


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def rewind(root: Path, to: int) -> dict[str, Any]:
    with LocalSystem(load_project(root)) as system:
        system.request("pipeline.drain", {"pipeline": "p"})
        shown = system.request("pipeline.rewind", {"pipeline": "p", "to": to, "dry_run": True})
        system.request("pipeline.rewind", {"pipeline": "p", "to": to})
        system.request("pipeline.resume", {"pipeline": "p"})
    return dict(shown)


def reset(root: Path) -> Plan:
    with opened(load_project(root), "p") as work:
        plan = work.plan(targets=True)
        work.carry_out(plan)
    return plan


def ctl(root: Path, *words: str) -> str:
    return CliRunner().invoke(odibictl, [*words, "--project", str(root)], catch_exceptions=False).output


def blocked(root: Path, number: int = 4) -> Callable[[], None]:
    """One more iteration is prepared, and cannot be published; returns what lets it."""
    put(root, number)
    foreign = root / f"lake/out/part-{number:010d}-out.parquet"
    foreign.write_text("somebody's")
    assert run(root).failed == 1
    return foreign.unlink


def failed(root: Path) -> Callable[[], None]:
    """One more iteration has staged some of its parts, and not all of them."""
    put(root, 4)
    with closing(sqlite3.connect(root / "mart.db")) as db, db:
        db.execute("alter table t rename column x to y")
    assert run(root).failed == 1
    assert len(list((root / "lake/out").glob("*.staged"))) == 1

    def mend() -> None:
        for found in root.parent.glob("*/mart.db"):
            with closing(sqlite3.connect(found)) as db, db:
                db.execute("alter table t rename column y to x")

    return mend


def test_given_a_copy_when_it_is_rewound_then_only_its_own_parts_are_taken_back(first: Path) -> None:
    copy = copied(first)
    before = names(first)
    shown = rewind(copy, 1)
    assert {row["folder"] for row in shown["retractions"]} == {
        str(copy / "lake/out"),
        str(copy / "lake/now"),
        f"{copy}/mart.db#t",
    }
    assert appended(copy / "lake") == [1]
    assert names(first) == before
    assert run(copy).committed == 2
    assert (published(copy), published(first)) == ((ALL, [3], ALL), (ALL, [3], ALL))


def test_given_a_copy_when_it_is_reset_then_only_its_own_targets_are_deleted(first: Path) -> None:
    copy = copied(first)
    assert [one.target for one in reset(copy).published] == [
        f"{copy}/mart.db#t",
        str(copy / "lake/out"),
        str(copy / "lake/now"),
    ]
    assert (published(copy), published(first)) == (([], [], None), (ALL, [3], ALL))
    assert run(copy).rows_read == 3


LEAVES = """\
import os

def same(src):
    if os.path.isdir({here!r}):
        os.rename({here!r}, {there!r})
    return src[["x"]]
"""


def test_given_a_project_that_is_moved_during_a_run_then_it_says_so_and_nothing_is_made_at_the_former_path(
    first: Path,
) -> None:
    there = first.with_name("second")
    text = (first / "odibi.yaml").read_text()
    (first / "odibi.yaml").write_text(text.replace('sql: "select x from src"', 'function: "nodes.leaving:same"'))
    (first / "nodes").mkdir()
    (first / "nodes/leaving.py").write_text(LEAVES.format(here=str(first), there=str(there)))
    put(first, 4)
    with pytest.raises(ConflictError, match=f"{first} was moved to {there} while it was worked on; nothing of it"):
        run(first)
    assert not first.exists()
    assert published(there)[0] == ALL
    assert (run(there).committed, published(there)) == (1, ([*ALL, 4], [4], [*ALL, 4]))
    assert not first.exists()


@pytest.mark.parametrize("stop", [blocked, failed])
@pytest.mark.parametrize("bring", [copied, moved])
def test_given_an_iteration_in_flight_when_the_project_is_copied_or_moved_then_it_is_published_in_the_new_one(
    first: Path, bring: Callable[[Path], Path], stop: Callable[[Path], Callable[[], None]]
) -> None:
    mend = stop(first)
    second = bring(first)
    (second / "lake/out/part-0000000004-out.parquet").unlink(missing_ok=True)
    if bring is copied or stop is failed:
        mend()
    before = names(first)
    assert "no problem was found" in ctl(second, "checkpoint", "verify")
    if (bring, stop) == (copied, failed):  # what was planned and not read yet has another inode, and is planned again
        assert run(second).failed == 1
    assert run(second).state == "done"
    assert published(second) == ([*ALL, 4], [4], [*ALL, 4])
    assert names(first) == before
    assert not list((second / "lake").rglob("*.staged"))
    if bring is copied:
        assert run(first).state == "done"
        assert published(first) == ([*ALL, 4], [4], [*ALL, 4])


@pytest.mark.parametrize(
    "place", ["folder.staged", "folder.link", "folder.linked", "folder.rename", "table.commit", "table.committed"]
)
def test_given_a_crash_while_it_publishes_when_the_project_is_moved_then_each_part_is_published_once(
    first: Path, place: str
) -> None:
    put(first, 4)
    killed = subprocess.run(
        [sys.executable, "-m", "odibi_actors.cli", "run", "p", "--project", str(first)],
        env={**os.environ, "ODIBI_FAILPOINTS": f"{place}:kill@1"},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    second = moved(first)
    assert "no problem was found" in ctl(second, "checkpoint", "verify")
    assert run(second).state == "done"
    assert published(second) == ([*ALL, 4], [4], [*ALL, 4])
    assert not list((second / "lake").rglob("*.staged"))
    assert not first.exists()


def test_given_a_moved_project_then_nothing_is_missing_nor_read_again_and_it_is_told_once(
    first: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = moved(first)
    capsys.readouterr()
    assert "no problem was found" in ctl(second, "checkpoint", "verify")
    shown = json.loads(ctl(second, "sink", "show", "p.out", "-o", "json").partition("\n")[2])
    assert (shown["target"], shown["pinned_by"], shown["columns"]) == (str(second / "lake/out"), 1, ["x: int64"])
    assert shown["owner"].startswith("node 'out' of pipeline 'p'")
    assert run(second).state == "no_data"
    assert capsys.readouterr().err == MOVED.format(first, second)
    assert run(second).state == "no_data"
    assert capsys.readouterr().err == ""
    (row,) = json.loads(ctl(second, "pipeline", "list", "-o", "json").partition("\n")[2])["items"]
    assert row["version"] == 1
    shown = rewind(second, 1)
    assert shown["retractions"][0]["folder"] == str(second / "lake/out")
    assert appended(second / "lake") == [1]
    assert run(second).committed == 2
    assert published(second) == (ALL, [3], ALL)


def test_given_a_moved_project_when_another_store_lies_where_it_was_then_it_is_not_called_a_copy(
    first: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = moved(first)
    (first / ".odibi").mkdir(parents=True)
    with closing(sqlite3.connect(first / ".odibi/checkpoints.db")) as db, db:
        db.execute("create table meta as select 'another' as store_id")
    capsys.readouterr()
    run(second)
    assert capsys.readouterr().err == MOVED.format(first, second)


def test_given_a_moved_project_when_something_is_changed_at_rest_then_it_is_told(
    first: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = moved(first)
    capsys.readouterr()
    with Changes(second / ".odibi", second) as broker:
        broker.request("pipeline.pause", {"pipeline": "p"})
    assert capsys.readouterr().err == MOVED.format(first, second)
    third = moved(second, "third")
    with opened(load_project(third), "p"):
        pass
    assert capsys.readouterr().err == MOVED.format(second, third)


def test_given_a_reset_that_was_interrupted_when_its_project_is_copied_then_the_copy_ends_its_own(
    first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Reset, "_delete", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            reset(first)
    copy = copied(first)
    before = names(first)
    assert {one.target for one in reset(copy).published} == {
        f"{copy}/lake/out",
        f"{copy}/lake/now",
        f"{copy}/mart.db#t",
    }
    assert (published(copy), published(first), names(first)) == (([], [], None), (ALL, [3], ALL), before)
    assert reset(first).resumed


def test_given_a_folder_with_a_hash_on_the_way_when_a_project_is_moved_there_then_it_goes_on(first: Path) -> None:
    first.with_name("c#").mkdir()
    second = first.rename(first.with_name("c#") / "second")
    assert "no problem was found" in ctl(second, "checkpoint", "verify")
    put(second, 4)
    assert run(second).committed == 1
    assert published(second) == ([*ALL, 4], [4], [*ALL, 4])
    rewind(second, 1)
    assert appended(second / "lake") == [1]
    assert "pinned, 1 column" in ctl(second, "sink", "show", "p.out")
    assert [one.target for one in reset(second).published] == [
        f"{second}/mart.db#t",
        str(second / "lake/out"),
        str(second / "lake/now"),
    ]
    assert published(second) == ([], [], None)


@pytest.mark.parametrize("left", ["lake/out", "lake/now", "mart.db"])
def test_given_a_target_that_was_left_behind_when_moved_then_none_begins_silently(first: Path, left: str) -> None:
    second = moved(first)
    (second / left).rename(second.with_name("left"))
    put(second, 4)
    summary = run(second)
    assert summary.failed == 1
    assert f"{second / left} is not there, but node" in summary.untold or f"{second / left} is not there" in ctl(
        second, "iteration", "show", "p", "4"
    )


def test_given_a_link_to_the_project_when_run_through_it_then_it_is_the_same_project(
    first: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link = first.with_name("link")
    link.symlink_to(first)
    capsys.readouterr()
    assert load_project(link) == load_project(first)
    assert run(link).state == "no_data"
    assert capsys.readouterr().err == ""
    assert f"append to {first}/lake/out" in ctl(link, "sink", "show", "p.out")


def test_given_a_moved_project_when_its_store_is_opened_then_nothing_in_it_names_the_former_folder(first: Path) -> None:
    (first / "odibi.yaml").write_text(PROJECT.replace("    batch:", f"{WATCHED}    batch:"))
    for number in range(4, 10):  # enough for summaries
        put(first, number)
    run(first)
    blocked(first, 10)
    second = moved(first)
    path = second / ".odibi/checkpoints.db"
    engine = Engine(path)
    retractions = [rec.Retraction("out", folder(f"{first}/lake/out"))]
    rewinding = rec.Rewind("p", 1, 9, retractions, 1.0, rec.Left(1, 1, 0))
    engine._db.execute("INSERT INTO rewinds VALUES ('p', ?)", (seal(rewinding),))
    assert set(naming(engine, str(first))) == {
        ("versions", "payload"),
        ("schemas", "payload"),
        ("schedules", "payload"),
        ("acks", "payload"),
        ("rewinds", "payload"),
        ("iterations", "sinks"),
        ("home", "root"),
        ("home", "data_dir"),
    }
    engine.close()
    engine = Engine(path, root=second)
    assert naming(engine, str(first)) == []
    sizes = dict(engine._db.execute("SELECT name, bytes FROM sizes").fetchall())
    for name in ("acks", "iterations"):
        (size,) = engine._db.execute(f"SELECT sum({COUNTED[name][0].format(name)}) FROM {name}").fetchone()
        assert sizes[name] == size
    engine.close()


def naming(engine: Engine, folder: str) -> list[tuple[str, str]]:
    """(table, column) in which a path below the folder stands, but for texts of errors."""
    found = {}
    for (name,) in engine._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        columns = [row[1] for row in engine._db.execute(f"PRAGMA table_info({name})")]
        for row in engine._db.execute(f"SELECT * FROM {name}"):
            for column, value in zip(columns, row, strict=True):
                data = value.encode() if isinstance(value, str) else value
                if column in ("error", "failures") or name == "errors" or not isinstance(data, bytes):
                    continue
                text = zlib.decompress(data[:-8]) if column == "summary" else data
                if re.search(re.escape(folder.encode()) + rb"(?![-\w])", text):
                    found[name, column] = None
    return list(found)


def test_given_a_schedule_that_waits_for_files_when_the_project_is_moved_then_it_begins_no_second_time(
    first: Path,
) -> None:
    (first / "odibi.yaml").write_text(PROJECT.replace("    batch:", f"{WATCHED}    batch:"))
    (first / "landing/q").mkdir()
    known: list[rec.Schedule] = []
    for root in (first, moved):
        second = root if isinstance(root, Path) else root(first)
        with LocalSystem(load_project(second)) as system:
            system.request("status")
        with closing(sqlite3.connect(second / ".odibi/checkpoints.db")) as db:
            ((blob,),) = db.execute("select payload from schedules").fetchall()
        known.append(unseal(blob, ScheduleDecoder, "it"))
    before, after = known
    assert before.spec.file_watch is not None
    assert after.spec.file_watch is not None
    assert (before.spec.file_watch.folder, before.generation) == (f"{first}/landing/q", after.generation)
    assert (after.spec.file_watch.folder, after.place) == (f"{second}/landing/q", before.place)


# --- targets outside of the project -----------------------------------------------------------------------------------


def test_given_a_copy_whose_targets_are_shared_when_run_then_each_is_refused_by_name_and_nothing_is_planned(
    outside: Path, first: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = copied(first)
    put(copy, 4)
    before = names(outside)
    capsys.readouterr()
    with pytest.raises(ConflictError) as refusal:
        run(copy)
    assert capsys.readouterr().err == COPIED.format(first, copy)  # what is recorded of the sources has followed
    lines = str(refusal.value).splitlines()
    called = [f"{outside}/lake/out", f"{outside}/lake/now", f"table 't' of {outside}/mart.db"]
    assert len(lines) == len(called)
    for line, name in zip(lines, called, strict=True):
        assert f": {name} belongs to node " in line
        assert f"at {first}/.odibi, of which {copy}/.odibi is a copy, or the other way round: name another " in line
    assert f"at {first}/.odibi, of which this is a copy" in ctl(copy, "sink", "show", "p.out")
    assert "of which" not in ctl(first, "sink", "show", "p.out")
    plan = reset(copy)
    assert plan.published == []
    assert [line.partition(" belongs to ")[0] for line in plan.others] == [
        f"out: {outside}/lake/out",
        f"now: {outside}/lake/now",
        f"tab: {outside}/mart.db#t",
    ]
    assert names(outside) == before
    assert table(outside / "mart.db") == ALL
    put(first, 5)
    assert run(first).committed == 1


def test_given_a_copy_that_names_other_targets_when_rewound_or_given_up_then_the_originals_parts_stay(
    outside: Path, first: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(first, 4)
    foreign = outside / "lake/out/part-0000000004-out.parquet"
    foreign.write_text("somebody's")
    assert run(first).failed == 1
    copy = copied(first)
    foreign.unlink()
    before = names(outside)
    for name, place in (("LAKE", "lake"), ("MART", "mart.db")):
        monkeypatch.setenv(name, place)
    assert run(copy).failed == 1
    assert "`odibictl iteration abandon p 4" in capsys.readouterr().err
    with LocalSystem(load_project(copy)) as system:
        for sink in ("out", "now", "tab"):
            system.request("iteration.abandon", {"pipeline": "p", "iteration": 4, "sink": sink})
    assert run(copy).state == "no_data"
    assert names(outside) == before
    shown = rewind(copy, 1)
    assert [original(App(project=copy), row["at"]) for row in shown["retractions"]] == [f"{first}/.odibi"] * 3
    assert names(outside) == before
    monkeypatch.undo()
    monkeypatch.setenv("LAKE", str(outside / "lake"))
    monkeypatch.setenv("MART", str(outside / "mart.db"))
    assert run(first).state == "done"
    assert appended(outside / "lake") == [*ALL, 4]


def test_given_a_moved_project_with_targets_elsewhere_when_run_then_it_takes_them_over_and_says_so_once(
    outside: Path, first: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = moved(first)
    put(second, 4)
    capsys.readouterr()
    assert run(second).committed == 1
    took = f"was published from {first}/.odibi, where its checkpoints are no more; it goes on from {second}/.odibi\n"
    called = (f"p.out: {outside}/lake/out", f"p.now: {outside}/lake/now", f"p.tab: {outside}/mart.db#t")
    assert capsys.readouterr().err == MOVED.format(first, second) + "".join(f"{name} {took}" for name in called)
    put(second, 5)
    run(second)
    assert capsys.readouterr().err == ""
    assert json.loads((outside / "lake/out" / OWNER_FILE).read_text())["home"] == f"{second}/.odibi"
    copied(second, "first")  # a backup is brought back to where it was
    put(first, 6)
    with pytest.raises(ConflictError, match=f"at {second}/.odibi, of which {first}/.odibi is a copy"):
        run(first)


def test_given_marks_of_a_former_release_when_published_then_they_say_from_where(outside: Path, first: Path) -> None:
    mark = outside / "lake/out" / OWNER_FILE
    said = json.loads(mark.read_text())
    mark.write_text(json.dumps({name: said[name] for name in ("store_id", "pipeline", "node")}))
    with closing(sqlite3.connect(outside / "mart.db")) as db, db:
        db.execute("alter table _odibi_owners drop column home")
    put(first, 4)
    assert run(first).committed == 1
    assert json.loads(mark.read_text()) == said
    with closing(sqlite3.connect(outside / "mart.db")) as db:
        assert db.execute("select home from _odibi_owners").fetchall() == [(f"{first}/.odibi",)]
    with pytest.raises(ConflictError, match="is a copy"):
        run(copied(first))


# --- the data_dir -----------------------------------------------------------------------------------------------------


def test_given_a_copy_of_a_project_whose_data_dir_is_elsewhere_when_run_then_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("STATE", str(tmp_path / "state"))
    first: Path = request.getfixturevalue("first")
    copy = copied(first)
    for ask in (lambda: run(copy), lambda: reset(copy)):
        with pytest.raises(ConflictError, match=f"is that of the project in {first}, which has published to {first}/"):
            ask()
    put(first, 4)
    assert run(first).committed == 1
    monkeypatch.setenv("STATE", str(shutil.copytree(tmp_path / "state", tmp_path / "other")))
    rewind(copy, 1)
    assert appended(copy / "lake") == [1]
    assert appended(first / "lake") == [*ALL, 4]
    monkeypatch.setenv("STATE", str(tmp_path / "state"))
    third = moved(first, "third")
    assert run(third).state == "no_data"
    assert rewind(third, 1)["retractions"][0]["folder"] == f"{third}/lake/out"


def test_given_a_copied_data_dir_within_the_project_when_run_then_the_original_keeps_the_targets(
    first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(first / ".odibi", first / "state")
    monkeypatch.setenv("STATE", "state")
    with pytest.raises(ConflictError, match=f"at {first}/.odibi, of which {first}/state is a copy"):
        run(first)
    shutil.rmtree(first / ".odibi")
    put(first, 4)
    assert run(first).committed == 1


# --- the store --------------------------------------------------------------------------------------------------------


def test_given_a_crash_while_what_is_recorded_follows_when_opened_again_then_it_follows(
    first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = moved(first)
    path = second / ".odibi/checkpoints.db"
    real = relocating.seal

    def full(value: Any) -> bytes:
        if isinstance(value, dict):
            raise OSError(28, "No space left on device")
        return real(value)

    with monkeypatch.context() as patched:
        patched.setattr(relocating, "seal", full)
        with pytest.raises(Exception, match="No space left"):
            Engine(path, root=second)
    engine = Engine(path, root=second)
    assert engine.moved
    engine.close()
    assert run(second).state == "no_data"
    assert rewind(second, 1)["retractions"][0]["folder"] == f"{second}/lake/out"


@pytest.mark.parametrize("bring", [copied, moved, "link", "still"])
def test_given_a_store_of_format_5_when_its_project_was_moved_before_then_it_is_found_where_it_was(
    first: Path, bring: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    second = first if bring in ("link", "still") else bring(first)
    path = second / ".odibi/checkpoints.db"
    engine = Engine(path)
    if bring == "link":  # as if it had always been reached by a link
        relocating._rewrite(engine._db, Home(root=str(first)), Home(root=f"{first}-link"))
        (first.with_name("first-link")).symlink_to(first)
    former.take_back(engine._db, former.TO_5)
    engine.close()
    capsys.readouterr()
    assert "no problem was found" in ctl(second, "checkpoint", "verify")
    put(second, 4)
    assert run(second).committed == 1
    told = capsys.readouterr().err
    was = {"link": f"{first}-link", "still": ""}.get(bring, str(first)) if isinstance(bring, str) else str(first)
    assert told == (MOVED.format(was, second) if was else "")
    assert published(second) == ([*ALL, 4], [4], [*ALL, 4])
    assert rewind(second, 1)["retractions"][0]["folder"] == f"{second}/lake/out"
    engine = Engine(path)
    assert engine.answer("checkpoint.stats", {})["format"] == FORMAT
    engine.close()
