"""Disks that are full or fail, under a real system: it says so, loses nothing, and goes on once they are fixed."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.system.harness import PLAIN, System, pipeline, published, put, small, until

Make = Callable[[Path], System]

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system and tracing a process need root"),
]
RETRY = "{max_attempts: 2, backoff: fixed, initial: 100ms}"
FULL = "[Errno 28] No space left on device"
SIZE = 32 << 20
"""Bytes of the small file system."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MB in memory."""
    path = tmp_path / "disk"
    path.mkdir()
    with mounted(path):
        yield path


@contextlib.contextmanager
def mounted(path: Path, bind: Path | None = None) -> Iterator[None]:
    """Mount it there, or what is at ``bind`` as well."""
    what = ["-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs"] if bind is None else ["--bind", str(bind)]
    done = subprocess.run(["mount", *what, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine mounts nothing: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def fill(disk: Path) -> Path:
    """Take all the space that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler


def test_given_a_full_disk_under_the_store_when_it_has_space_again_then_everything_is_there_once(
    disk: Path, make: Make, tmp_path: Path
) -> None:
    project = small(tmp_path / "p", pipeline("plain", PLAIN))
    text = (project / "odibi.yaml").read_text()
    (project / "odibi.yaml").write_text(f"data_dir: {disk}/odibi\n{text}")
    system = make(project)
    system.start()
    put(system, "plain", "a", "1,1.5")
    system.wait("plain", 1, "committed")
    store = system.pids("checkpoint")
    filler = fill(disk)
    for number in range(2, 12):
        put(system, "plain", f"f{number}", *(f"{number * 1000 + row},{row}" for row in range(500)))
    until("the store has given up on its disk", lambda: system.pids("checkpoint") not in ([], store))
    said = (system.log.read_text(errors="replace")).lower()
    assert "full" in said or "no space" in said, system.tail()
    filler.unlink()
    wanted = sorted([1, *(n * 1000 + row for n in range(2, 12) for row in range(500))])
    until("all is published", lambda: published(system, "plain") == wanted)
    assert system.settled("plain") == "committed"
    assert system.bugs() == []


SINKS = {
    "append": "connection: lake, path: append, format: parquet",
    "overwrite": "connection: lake, path: overwrite, format: parquet, mode: overwrite",
    "sql_append": "connection: mart, table: sql_append",
    "sql_upsert": "connection: mart, table: sql_upsert, mode: upsert, keys: [id]",
    "sql_overwrite": "connection: mart, table: sql_overwrite, mode: overwrite",
}
KEEPS = "def keep(rows, state):\n    return rows, rows\n"
STATEFUL = '{name: last, inputs: [rows], transform: {function: "nodes.own:keep"}, state: true}'


def sinks(folder: Path, lake: Path, **keys: object) -> Path:
    """A project with a pipeline for each kind of sink, all of them below ``lake``."""
    texts = []
    for name, write in SINKS.items():
        text = pipeline(name, PLAIN, **keys)
        texts.append(text.replace(f"write: {{connection: lake, path: {name}, format: parquet}}", f"write: {{{write}}}"))
    project = small(folder, "".join(texts))
    path = project / "odibi.yaml"
    path.write_text(path.read_text().replace("data/lake", str(lake)).replace("data/mart.db", str(lake / "mart.db")))
    return project


def held(lake: Path, name: str) -> list[int]:
    """The ids in that sink."""
    if name.startswith("sql_"):
        with contextlib.closing(sqlite3.connect(lake / "mart.db")) as db:
            return sorted(row[0] for row in db.execute(f"select id from {name}"))
    parts = (lake / name).glob("current/*.parquet" if name == "overwrite" else "part-*.parquet")
    return sorted(i for part in parts for i in pq.read_table(part)["id"].to_pylist())


def waits(system: System, name: str) -> str:
    """What is told of a pipeline that waits for room; "" as long as it does not."""
    problems = [text for text in system.client.pipeline(name)["problems"] if "waits since" in text]
    return problems[0] if problems else ""


def test_given_a_full_disk_under_each_kind_of_sink_when_it_has_space_again_then_all_goes_on_by_itself(
    disk: Path, make: Make, tmp_path: Path
) -> None:
    system = make(sinks(tmp_path / "p", disk, retry=RETRY))
    system.start()
    for name in SINKS:
        put(system, name, "a", "1,1.5")
    for name in SINKS:
        system.wait(name, 1, "committed")
    filler = fill(disk)
    for name in SINKS:
        put(system, name, "b", *(f"{row},{row}" for row in range(2, 5000)))
    for name in SINKS:
        told = until(f"{name} waits for room", lambda name=name: waits(system, name))
        assert "No space left" in told or "disk is full" in told
        assert str(disk) in told
        assert re.search(r" of 33\.6 MB free", told), told
    wanted = system.json("status")["pipelines"]
    assert {row["state"] for row in wanted} == {"active"}
    assert all(system.client.iteration(name, 2)["errors"] == [] for name in SINKS)
    filler.unlink()
    for name in SINKS:
        system.wait(name, 2, "committed")
        fresh = list(range(2, 5000))
        assert held(disk, name) == (fresh if "overwrite" in name else [1, *fresh]), name


@pytest.mark.parametrize("node", [PLAIN, STATEFUL])
def test_given_a_full_spool_when_it_has_space_again_then_outputs_and_states_go_on_by_themselves(
    disk: Path, make: Make, tmp_path: Path, node: str
) -> None:
    system = make(small(tmp_path / "p", pipeline("plain", node, retry=RETRY), KEEPS))
    spool = system.project / ".odibi/spool"
    spool.mkdir(parents=True)
    with mounted(spool, bind=disk):
        system.start()
        put(system, "plain", "a", "1,1.5")
        system.wait("plain", 1, "committed")
        filler = fill(disk)
        put(system, "plain", "b", *(f"{row},{row}" for row in range(2, 9000)))
        told = until("it waits for room", lambda: waits(system, "plain"))
        assert f"No space left on device: '{spool}/plain/2/" in told
        assert " of 33.6 MB free)" in told
        filler.unlink()
        system.wait("plain", 2, "committed")
        assert published(system, "plain") == list(range(1, 9000))
        system.stop()


@pytest.mark.soak
def test_given_a_full_disk_when_run_then_it_ends_with_5_names_path_and_room_and_the_next_run_goes_on(
    disk: Path, make: Make, tmp_path: Path
) -> None:
    system = make(sinks(tmp_path / "p", disk, retry=RETRY))
    for name in SINKS:
        put(system, name, "a", "1,1.5")
        assert system.ctl("run", name).returncode == 0
    filler = fill(disk)
    for name in SINKS:
        put(system, name, "b", *(f"{row},{row}" for row in range(2, 5000)))
        done = system.ctl("run", name)
        assert done.returncode == 5, done.stderr
        assert re.search(rf"error: {name} 2: .*{disk}.* of 33.6 MB free\)\n", done.stderr), done.stderr
    filler.unlink()
    for name in SINKS:
        assert system.ctl("run", name).returncode == 0
        fresh = list(range(2, 5000))
        assert held(disk, name) == (fresh if "overwrite" in name else [1, *fresh]), name


@pytest.mark.soak
def test_given_a_full_disk_under_the_store_when_run_then_it_ends_with_1_and_the_next_run_goes_on(
    disk: Path, make: Make, tmp_path: Path
) -> None:
    project = small(tmp_path / "p", pipeline("plain", PLAIN))
    text = (project / "odibi.yaml").read_text()
    (project / "odibi.yaml").write_text(f"data_dir: {disk}/odibi\n{text}")
    system = make(project)
    system.start()
    put(system, "plain", "a", "1,1.5")
    system.wait("plain", 1, "committed")
    system.stop()
    filler = fill(disk)
    put(system, "plain", "b", *(f"{row},{row}" for row in range(2, 5000)))
    done = system.ctl("run", "plain")
    assert done.returncode == 1, done.stderr
    assert f"{disk}/odibi/checkpoints.db" in done.stderr
    assert "`odibictl run` when it is run again (" in done.stderr
    assert " of 33.6 MB free)" in done.stderr
    system.launch()  # `up` begins though there is no room, and goes on by itself
    until("it has tried", lambda: f"broker cannot start: {FULL}" in system.log.read_text(errors="replace"))
    assert " of 33.6 MB free)" in system.log.read_text()
    assert [path.name for path in (disk / "odibi/run").glob("connection.json.*")] == []
    filler.unlink()
    until("all is published", lambda: published(system, "plain") == list(range(1, 5000)))


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace makes a sync fail; it is not installed")
def test_given_a_sync_that_fails_when_the_store_writes_then_it_starts_again_and_nothing_is_lost(
    make: Make, tmp_path: Path
) -> None:
    system = make(small(tmp_path / "p", pipeline("plain", PLAIN)))
    system.start()
    put(system, "plain", "a", "1,1.5")
    system.wait("plain", 1, "committed")
    (store,) = system.pids("checkpoint")
    trace = tmp_path / "trace"
    inject = "inject=fsync,fdatasync:error=EIO:when=1"
    with subprocess.Popen(
        ["strace", "-f", "-q", "-o", str(trace), "-e", "trace=fsync,fdatasync", "-e", inject, "-p", str(store)],
        stderr=subprocess.PIPE,
        text=True,
    ) as strace:
        try:
            until("it is traced", lambda: "TracerPid:\t0" not in Path(f"/proc/{store}/status").read_text())
        except (AssertionError, FileNotFoundError):
            strace.kill()
            pytest.skip(f"processes cannot be traced on this machine: {strace.communicate()[1]}")
        ids = [1]

        def replaced() -> bool:
            # Each thread is traced a little later than the process: there must be something to sync by then.
            ids.append(ids[-1] + 1)
            put(system, "plain", f"f{ids[-1]}", f"{ids[-1]},1.5")
            return system.pids("checkpoint") not in ([], [store])

        until("another store has taken its place", replaced)
        strace.send_signal(signal.SIGTERM)
    assert "EIO" in trace.read_text()
    until("all is published", lambda: published(system, "plain") == ids)
    assert system.settled("plain") == "committed"
    assert system.bugs() == []
