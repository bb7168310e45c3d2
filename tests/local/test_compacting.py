"""``sink compact``: files of old iterations are joined, in one step for who reads by list."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from odibi_actors import Client, committed_sql, failpoints, read_committed
from odibi_actors.config import load_project
from odibi_actors.errors import ConflictError, OdibiError
from odibi_actors.kinds.sink import Site
from odibi_actors.local import LocalSystem, run_pipeline
from odibi_actors.local.reset import opened
from odibi_actors.model import Target
from odibi_actors.nodes.sinks import joined
from odibi_actors.nodes.sinks.compacting import tidy
from odibi_actors.nodes.sinks.folder import FolderSink
from odibi_actors.nodes.sinks.owner import Owner
from odibi_actors.streaming.effects import Scan
from odibi_actors.streaming.scan import scan
from odibi_actors.streaming.watcher import Watcher
from tests.cli.conftest import Invoke, invoke  # noqa: F401
from tests.synced import Disk

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
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv", schema: {n: int64, k: string}}
      - name: out
        inputs: [src]
        write: {connection: lake, path: out, format: FORM}
"""
FORMS = ["parquet", "csv, compression: gzip", "parquet, partition_by: [k]", "json, partition_by: [k]"]


@pytest.fixture(params=FORMS)
def root(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return made(tmp_path, str(request.param))


def made(root: Path, form: str = "parquet, partition_by: [k]", files: int = 4) -> Path:
    (root / "landing").mkdir()
    (root / "odibi.yaml").write_text(PROJECT.replace("FORM", form))
    deliver(root, *range(1, files + 1))
    return root


def deliver(root: Path, *numbers: int) -> None:
    for number in numbers:
        path = root / "landing" / f"{number}.csv"
        path.write_text(f"n,k\n{number},a\n{number * 10},\n")
        os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))
    summary = run_pipeline(load_project(root), "p")
    assert summary.committed == len(numbers), summary


def seen(root: Path) -> list[tuple[int, str | None]]:
    return sorted((row["n"], row["k"]) for row in read_committed(root / "lake/out").to_pylist())


def expected(*numbers: int) -> list[tuple[int, str | None]]:
    return sorted([*((n, "a") for n in numbers), *((n * 10, None) for n in numbers)])


def files(root: Path) -> list[str]:
    found = (path for path in (root / "lake/out").rglob("part-*") if path.suffix != ".manifest")
    return sorted(str(path.relative_to(root / "lake/out")) for path in found)


def compact(root: Path, **more: Any) -> dict[str, Any]:
    with Client(project=root) as client:
        return client.sink_compact("p", "out", **more)


def test_given_small_files_when_joined_then_readers_see_the_same_rows_in_few_files(root: Path) -> None:
    before, partitions = files(root), 2 if "=" in files(root)[0] else 1
    told = compact(root, dry_run=True)
    assert (told["joined"], told["into"], told["upto"], files(root)) == (4 * partitions, partitions, 4, before)
    assert compact(root)["joined"] == 4 * partitions
    assert (len(files(root)), seen(root)) == (partitions, expected(1, 2, 3, 4))
    assert not set(files(root)) & set(before)
    assert compact(root)["joined"] == 0  # there is nothing left to do
    deliver(root, 5, 6)
    assert seen(root) == expected(1, 2, 3, 4, 5, 6)
    assert compact(root)["joined"] == 3 * partitions
    assert (len(files(root)), seen(root)) == (partitions, expected(1, 2, 3, 4, 5, 6))
    assert list((root / "lake/out").rglob("*.staged")) == []
    if "parquet" in (root / "odibi.yaml").read_text():
        assert len(duckdb.sql(committed_sql(root / "lake/out")).fetchall()) == 12


def test_given_joined_files_then_verify_reset_and_what_is_shown_know_them(root: Path, invoke: Invoke) -> None:  # noqa: F811
    before = sorted(root.rglob("lake/**/*"))
    asked = invoke("sink", "compact", "p.out", "--project", str(root))
    assert (asked.exit_code, sorted(root.rglob("lake/**/*"))) == (2, before)
    assert "and never rewind it below 4? [y/N]" in asked.stderr
    told = invoke("sink", "compact", "p.out", "--yes", "--project", str(root))
    assert told.exit_code == 0, told
    assert "have become" in told.stdout
    project = ("--project", str(root))
    assert "no problem" in invoke("checkpoint", "verify", *project).stdout
    shown = invoke("node", "show", "p", "1", "out", "--head", "2", *project)
    assert "was joined with others" in shown.stderr + shown.stdout
    path = root / "lake/out" / files(root)[0]
    path.write_bytes(path.read_bytes() + b"\n")
    wrong = invoke("checkpoint", "verify", *project)
    assert (wrong.exit_code != 0, str(path) in wrong.stdout + wrong.stderr) == (True, True)
    with opened(load_project(root), "p") as reset:
        reset.carry_out(reset.plan(True))
    assert os.listdir(root / "lake/out") == []
    assert run_pipeline(load_project(root), "p").committed == 4
    assert seen(root) == expected(1, 2, 3, 4)
    with LocalSystem(load_project(root)) as system:  # of what is forgotten nothing holds
        system.request("pipeline.drain", {"pipeline": "p"})
        system.request("pipeline.rewind", {"pipeline": "p", "to": 5})


def test_given_joined_files_when_rewound_below_them_then_it_is_refused_by_name(tmp_path: Path) -> None:
    root = made(tmp_path)
    compact(root)
    deliver(root, 5)
    with LocalSystem(load_project(root)) as system:
        system.request("pipeline.drain", {"pipeline": "p"})
        with pytest.raises(OdibiError, match=r"sink out in .* were joined up to iteration 4.*rewind to 4 or later"):
            system.request("pipeline.rewind", {"pipeline": "p", "to": 3, "dry_run": True})
        with pytest.raises(OdibiError, match="rewind to 4 or later"):
            system.request("pipeline.rewind", {"pipeline": "p", "to": 3})
        assert seen(root) == expected(1, 2, 3, 4, 5)
        system.request("pipeline.rewind", {"pipeline": "p", "to": 4})
        assert seen(root) == expected(1, 2, 3, 4)
        system.request("pipeline.resume", {"pipeline": "p"})
    assert run_pipeline(load_project(root), "p").committed == 1
    assert seen(root) == expected(1, 2, 3, 4, 5)


def test_given_a_reader_at_each_step_of_joining_then_it_sees_every_row_once(root: Path) -> None:
    steps: list[str] = []

    def look(name: str) -> None:
        steps.append(name)
        assert seen(root) == expected(1, 2, 3, 4), name

    with failpoints.watching(look):
        compact(root)
    assert {"compact.written", "compact.placed", "compact.switch", "compact.switched", "compact.delete"} <= set(steps)


@pytest.mark.process
@pytest.mark.parametrize("point", [name for name in failpoints.DECLARED if name.startswith("compact.")])
def test_given_a_death_at_each_step_then_every_row_is_there_once_and_the_next_time_ends_it(
    point: str, tmp_path: Path
) -> None:
    root = made(tmp_path)
    child = os.fork()
    if not child:
        try:
            os.environ[failpoints.ENV] = f"{point}:kill"
            failpoints.arm()
            compact(root)
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert seen(root) == expected(1, 2, 3, 4)
    deliver(root, 5)
    assert seen(root) == expected(1, 2, 3, 4, 5)
    compact(root)
    assert (len(files(root)), seen(root)) == (2, expected(1, 2, 3, 4, 5))
    assert list((root / "lake/out").rglob("*.staged")) == []


def test_given_a_full_disk_at_each_step_then_every_row_is_there_once_and_the_next_time_ends_it(tmp_path: Path) -> None:
    root, steps = made(tmp_path, files=2), dict[str, int]()
    with failpoints.watching(lambda name: steps.update({name: len(steps)})):
        compact(root)
    done = [1, 2]
    for number, step in enumerate(name for name in steps if name.startswith(("compact.", "file.", "dir."))):
        deliver(root, number + 101)
        done.append(number + 101)

        def full(name: str, step: str = step) -> None:
            if name == step:
                raise OSError(errno.ENOSPC, "No space left on device")

        with failpoints.watching(full), pytest.raises((OSError, OdibiError), match="No space left"):
            compact(root)
        assert seen(root) == expected(*done), step
        compact(root)
        assert (len(files(root)), seen(root)) == (2, expected(*done)), step
        assert list((root / "lake/out").rglob("*.staged")) == [], step


def test_given_what_must_not_be_joined_then_it_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    root = made(tmp_path)
    text, before = (root / "odibi.yaml").read_text(), files(root)
    manifest = next((root / "lake/out/_odibi_manifests").iterdir())
    data = manifest.read_bytes()
    manifest.write_bytes(data.replace(b'"rows": 2', b'"rows": 3'))
    with pytest.raises(ConflictError, match="is not as it was published"):
        compact(root)
    manifest.write_bytes(data)
    part = root / "lake/out" / before[0]
    data = part.read_bytes()
    part.write_bytes((root / "lake/out" / before[1]).read_bytes())  # which can be read, and has as many rows
    with pytest.raises(ConflictError, match="is not as it was published"):
        compact(root)
    part.write_bytes(data)
    with joined.alone(root / "lake/out"), pytest.raises(ConflictError, match="are just being joined"):
        compact(root)
    reader = "      - name: again\n        read: {connection: lake, format: parquet, mode: file_watch, path: out, "
    reader += "pattern: '**/part-*', schema: {n: int64, k: string}}\n"
    more = "  - pipeline: q\n    nodes:\n" + reader
    more += "      - {name: copy, inputs: [again], write: {connection: lake, path: copy, format: parquet}}\n"
    (root / "odibi.yaml").write_text(text + more)
    run_pipeline(load_project(root), "q")
    with pytest.raises(ConflictError, match=r"q.again reads the folder of p.out file by file"):
        compact(root)
    assert (files(root), seen(root)) == (before, expected(1, 2, 3, 4))


def test_given_somebody_elses_file_then_it_is_neither_joined_nor_deleted(tmp_path: Path) -> None:
    root = cancelled(made(tmp_path, "parquet", 2))
    deliver(root, 4)
    other = root / "lake/out/part-0000000003-out.parquet"  # of the iteration that was cancelled
    other.write_bytes((root / "lake/out/part-0000000001-out.parquet").read_bytes())
    assert compact(root)["joined"] == 3
    assert seen(root) == expected(1, 2, 4)
    tidy(root / "lake/out", "out")
    assert other.exists()


def cancelled(root: Path) -> Path:
    """An iteration was planned, and given up."""
    (root / "landing/3.csv").write_text("n,k\nx,a\n")
    assert run_pipeline(load_project(root), "p").failed == 1
    with Client(project=root) as client:
        client.cancel("p", 3)
    (root / "landing/3.csv").unlink()
    return root


def test_given_joined_files_when_a_source_lists_them_then_only_one_that_reads_all_each_time_takes_them(
    root: Path,
) -> None:
    compact(root)
    deliver(root, 5)

    def listed(whole: bool) -> tuple[list[str], dict[str, str]]:
        effect = Scan("s", 1, str(root / "lake/out"), "", "**/part-*", whole=whole)
        (said,) = [one for one in scan(effect, Watcher(lambda *_: None)) if one is not None]
        assert (said.unread, said.problems) == ([], [])
        return sorted(found.identity for found in said.files), dict(said.skipped)

    assert listed(True) == (files(root), {})
    taken, skipped = listed(False)
    joins = [name for name in files(root) if joined.NAME.fullmatch(Path(name).name)]
    assert (taken, [*skipped]) == (sorted(set(files(root)) - set(joins)), joins)
    assert all("`mode: batch` reads it" in why for why in skipped.values())


def test_given_an_older_store_beside_joined_files_then_publishing_is_refused(tmp_path: Path) -> None:
    root = made(tmp_path, "parquet", 2)
    compact(root)
    told = joined.list_of(root / "lake/out", "out")
    told.write_text(json.dumps(json.loads(told.read_text()) | {"upto": 7}))
    (root / "landing/3.csv").write_text("n,k\n3,a\n")
    summary = run_pipeline(load_project(root), "p")
    assert summary.committed == 0
    assert "of which these checkpoints know nothing" in str(summary)


def test_given_a_cancelled_iteration_behind_the_last_commit_then_what_comes_next_is_published(tmp_path: Path) -> None:
    root = cancelled(made(tmp_path, "parquet", 2))
    assert compact(root)["upto"] == 2
    deliver(root, 4)
    assert seen(root) == expected(1, 2, 4)


def test_given_parts_of_other_columns_then_they_are_not_joined_with_each_other(tmp_path: Path) -> None:
    root = made(tmp_path, "parquet", 2)
    text = (root / "odibi.yaml").read_text()
    more = "      - {name: more, inputs: [src], transform: {sql: 'select *, 1 as one from src'}}\n      - name: out"
    (root / "odibi.yaml").write_text(
        text.replace("      - name: out", more).replace("inputs: [src]\n", "inputs: [more]\n")
    )
    with Client(project=root) as client:
        client.sink_repin("p", "out")
    deliver(root, 3, 4)
    assert compact(root)["into"] == 2
    found = read_committed(root / "lake/out").to_pylist()
    assert sorted((row["n"], row["one"]) for row in found) == sorted(
        (n * by, one) for n, one in ((1, None), (2, None), (3, 1), (4, 1)) for by in (1, 10)
    )


def test_given_files_that_are_big_enough_then_they_stay_as_they_are(tmp_path: Path) -> None:
    root = made(tmp_path, "parquet", 3)
    before, size = files(root), os.stat(root / "lake/out" / files(root)[0]).st_size
    assert compact(root, size=size // 2)["joined"] == 0
    assert (files(root), list((root / "lake/out").glob("_odibi_manifests/*"))) == (before, [])
    assert compact(root, size=size * 2 + 10)["into"] == 1
    assert len(files(root)) == 2


def test_given_a_store_that_does_not_know_of_joining_when_asked_to_take_back_then_no_file_is_deleted(
    tmp_path: Path,
) -> None:
    root = made(tmp_path, "parquet", 3)
    compact(root)
    site = Site(Target("local", "", str(root / "lake/out")), Owner("store", "p", "out"))
    with pytest.raises(
        ConflictError, match=r"up to iteration 3 is in files with what was before 2, and is not taken back"
    ):
        FolderSink(site).retract(1, 3)
    assert seen(root) == expected(1, 2, 3)


def test_given_files_that_are_joined_then_they_and_their_list_are_synced_before_anything_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = made(tmp_path, "parquet", 2)
    disk, steps = Disk(monkeypatch), dict[str, int]()
    with failpoints.watching(lambda name: steps.setdefault(name, len(disk.done)) and None):
        compact(root)
    folder = root / "lake/out"
    synced = [path for call, path in disk.done[: steps["compact.written"]] if call == "fsync"]
    assert any(path.name.startswith("_joined-out.") for path in synced)
    placed = disk.done[steps["compact.written"] : steps["compact.placed"]]
    assert ("fsync", folder) in placed
    assert ("fsync", joined.list_of(folder, "out").parent) in disk.done[
        steps["compact.switch"] : steps["compact.switched"]
    ]
    assert steps["compact.delete"] >= steps["compact.switched"]
