"""``checkpoint verify``, ``reseal`` and ``doctor`` on the store of a real run; a restored one that is older."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from odibi_actors.cli import verify
from odibi_actors.cli.__main__ import odibictl
from odibi_actors.config.doors import Doors
from odibi_actors.config.model import ProjectSpec
from odibi_actors.errors import StoreError
from odibi_actors.local import LocalSystem, run_pipeline
from odibi_actors.messages import STORE
from tests.local.test_run import add, parts, project, sums

__all__ = ["project"]

NAMES = ("checkpoints.db", "checkpoints.db-wal", "checkpoints.db-seals")


@pytest.fixture
def ran(project: ProjectSpec) -> ProjectSpec:
    """A project that has run once."""
    run_pipeline(project, "sales")
    return project


def call(project: ProjectSpec, *args: str) -> Result:
    return CliRunner().invoke(odibictl, [*args, "--project", project.root])


def problems(project: ProjectSpec) -> tuple[int, list[dict[str, str]]]:
    result = call(project, "checkpoint", "verify", "-o", "json")
    return result.exit_code, json.loads(result.stdout)["items"]


def doctor(project: ProjectSpec) -> list[dict[str, str]]:
    items: list[dict[str, str]] = json.loads(call(project, "doctor", "-o", "json").stdout)["items"]
    return [item for item in items if item["check"] == "store"]


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_given_a_sound_store_then_verify_and_doctor_find_nothing_and_change_nothing(ran: ProjectSpec) -> None:
    data_dir = Path(ran.data_dir)
    before = {name: (data_dir / name).read_bytes() for name in NAMES if (data_dir / name).exists()}
    result = call(ran, "checkpoint", "verify")
    assert result.exit_code == 0
    assert result.stderr.endswith("2 files were looked at\n")
    assert (result.stdout + result.stderr).count("no problem") == 1
    assert [row["state"] for row in doctor(ran)] == ["ok"]
    assert {name: (data_dir / name).read_bytes() for name in NAMES if (data_dir / name).exists()} == before


def test_given_no_store_then_verify_says_so(project: ProjectSpec) -> None:
    assert call(project, "checkpoint", "verify").exit_code == 3
    assert call(project, "checkpoint", "reseal", "--yes").exit_code == 3


def test_given_damaged_pages_then_each_is_named_and_doctor_says_what_to_do(ran: ProjectSpec) -> None:
    for page in (3, 5):
        flip(Path(ran.data_dir) / "checkpoints.db", page * 4096 + 4000)
    code, found = problems(ran)
    assert code == 1
    assert [row["what"][:7] for row in found] == ["page 4 ", "page 6 "]
    told = doctor(ran)
    assert [row["state"] for row in told] == ["fail", "fail"]
    assert "restore checkpoints.db with its -wal and -seals from a backup" in told[0]["fix"]


def test_given_damaged_seals_then_reseal_fixes_it(ran: ProjectSpec) -> None:
    flip(Path(ran.data_dir) / "checkpoints.db-seals", 9)
    code, found = problems(ran)
    assert code == 1
    assert "checkpoints.db-seals is damaged" in found[0]["what"]
    assert call(ran, "checkpoint", "reseal", "--yes").exit_code == 0
    assert problems(ran) == (0, [])
    assert run_pipeline(ran, "sales").state == "no_data"


def test_given_a_committed_part_that_was_edited_or_is_gone_then_verify_names_it(ran: ProjectSpec) -> None:
    part = Path(ran.root) / "data/lake/orders" / parts(ran)[0]
    whole = part.read_bytes()
    for offset in range(0, len(whole), 97):
        flip(part, offset)
        code, found = problems(ran)
        assert (code, len(found)) == (1, 1)
        assert "does not match its digest" in found[0]["what"]
        part.write_bytes(whole)
    os.truncate(part, 100)
    assert "has 100 bytes, not" in problems(ran)[1][0]["what"]
    part.unlink()
    assert "is missing" in problems(ran)[1][0]["what"]


def test_given_an_older_copy_of_a_database_then_verify_names_what_it_lacks(ran: ProjectSpec) -> None:
    mart = Path(ran.root) / "data/mart.db"
    older = mart.read_bytes()
    add(ran, "orders-2025-02-01.csv", "100,2025-02-01,xx,2,5.0")
    assert run_pipeline(ran, "sales").committed == 1
    newer = mart.read_bytes()
    assert problems(ran) == (0, [])
    mart.write_bytes(older)
    code, (found,) = problems(ran)
    assert code == 1
    assert found["what"] == f"the part of mart_sales of sales 2, in {mart}#sales, is missing"
    assert "`odibictl sink repin sales.mart_sales`" in found["fix"]
    mart.write_bytes(newer)
    with closing(sqlite3.connect(mart)) as db:
        db.execute("drop table sales")
        db.commit()
    assert [one["what"].partition(", is ")[2] for one in problems(ran)[1]] == ["missing: there is no such table"] * 2
    mart.write_text("garbage")
    assert "cannot be looked for: file is not a database" in problems(ran)[1][0]["what"]
    mart.unlink()
    assert len(problems(ran)[1]) == 2


@pytest.mark.parametrize("fails", ["store", "source"])
def test_given_a_system_that_cannot_be_made_then_the_program_keeps_nothing_of_it(
    ran: ProjectSpec, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    before, open_files = (list(sys.path), list(sys.meta_path)), os.listdir("/proc/self/fd")
    database = Path(ran.data_dir) / "checkpoints.db"
    with monkeypatch.context() as broken:
        if fails == "store":
            flip(database, 3 * 4096 + 100)
        else:
            broken.setattr("odibi_actors.local.system.SourceDriver", lambda: os.open(database / "nowhere", 0))
        with pytest.raises((StoreError, NotADirectoryError)) as refused:
            run_pipeline(ran, "sales")
    assert (sys.path, sys.meta_path) == before
    assert os.listdir("/proc/self/fd") == open_files, refused  # what it opened is closed, not left to the collector
    if fails == "store":
        flip(database, 3 * 4096 + 100)
    assert run_pipeline(ran, "sales").state == "no_data"


def test_given_a_running_system_then_verify_goes_through_its_store_in_chunks(
    ran: ProjectSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("odibi_actors.checkpoint.verify.PAGES", 3)
    monkeypatch.setattr("odibi_actors.checkpoint.verify.ROWS", 1)
    with LocalSystem(ran) as system:

        def ask(cursor: str) -> dict[str, Any]:
            asked.append(cursor)
            answer: dict[str, Any] = system.request("checkpoint.verify", {"cursor": cursor}, to=STORE)
            return answer

        report = verify.running(ask, Path(ran.data_dir) / "spool", Doors(Path(ran.root)))
        assert (report.problems, report.files) == ([], 2)
        assert len(asked) == len(set(asked)) > 10
        flip(Path(ran.data_dir) / "checkpoints.db", 5 * 4096 + 4000)
        problems = verify.running(ask, Path(), Doors(Path())).problems
        assert [row["what"].split(" of ")[0] for row in problems] == ["page 6"]


@pytest.mark.parametrize(("asked", "found"), [([True, False], 0), ([True, True], 1)])
def test_given_a_file_that_is_gone_when_a_running_store_has_moved_on_then_it_is_no_problem(
    tmp_path: Path, asked: list[bool], found: int
) -> None:
    staged = {"what": "the part", "paths": ["staged"], "size": 1, "digest": "", "host": "", "fix": "restore it"}
    walks = iter(asked)

    def ask(cursor: str) -> dict[str, Any]:
        return {"problems": [], "files": [staged] * next(walks), "pages": 1, "rows": 1, "cursor": ""}

    assert len(verify.running(ask, tmp_path, Doors(tmp_path)).problems) == found


def test_given_an_older_store_restored_when_other_data_comes_then_it_conflicts_and_nothing_is_doubled(
    ran: ProjectSpec,
) -> None:
    data_dir, backup = Path(ran.data_dir), Path(ran.root) / "backup"
    backup.mkdir()
    for name in NAMES:
        if (data_dir / name).exists():
            shutil.copy(data_dir / name, backup / name)
    add(ran, "orders-2025-02-01.csv", "100,2025-02-01,xx,2,5.0")
    run_pipeline(ran, "sales")
    after, lake = sums(ran), Path(ran.root) / "data/lake/orders"
    for name in NAMES:
        (data_dir / name).unlink(missing_ok=True)
        if (backup / name).exists():
            shutil.copy(backup / name, data_dir / name)
    published = {name: pq.read_table(lake / name) for name in parts(ran)}
    add(ran, "orders-2025-02-02.csv", "101,2025-02-02,yy,1,1.0")  # iteration 2 is another one now
    summary = run_pipeline(ran, "sales")
    assert summary.state != "done"
    assert sums(ran) == after
    assert {name: pq.read_table(lake / name) for name in parts(ran)} == published
