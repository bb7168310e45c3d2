"""Folders, the connection file, locks."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from odibi_actors.errors import ConfigError, ConflictError
from odibi_actors.runtime import paths


def test_folders_are_private(tmp_path: Path) -> None:
    places = paths.prepare(tmp_path / ".odibi")
    for folder in (places.data_dir, places.run, places.log, places.spool):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_deep_data_dir_gets_short_sockets_that_everyone_finds(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    places = paths.prepare(deep)
    assert places.sockets != places.run
    assert len(os.fsencode(places.sockets / "pool-63.ipc")) <= paths.SUN_PATH_MAX
    assert paths.layout(deep).endpoint == places.endpoint
    assert places.sockets.stat().st_mode & 0o777 == 0o700
    places.sockets.rmdir()


@pytest.mark.parametrize("variable", ["/nonexistent", "/tmp/" + "t" * 100])
def test_a_deep_data_dir_has_the_same_sockets_whatever_tmpdir_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    deep = tmp_path / ("d" * 60) / ("g" * 60)
    wanted = paths.layout(deep).sockets
    monkeypatch.setattr(paths.tempfile, "gettempdir", lambda: variable)
    assert paths.layout(deep).sockets == wanted
    assert len(os.fsencode(wanted / "pool-63.ipc")) <= paths.SUN_PATH_MAX


def test_given_no_tmp_to_write_to_then_a_deep_data_dir_has_its_sockets_where_tmpdir_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths.tempfile, "gettempdir", lambda: "/dev/shm")
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != "/tmp")
    assert paths.layout(tmp_path / ("d" * 60) / ("h" * 60)).sockets.parent == Path("/dev/shm")


def test_a_short_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("f" * 60)
    sockets = paths.layout(deep).sockets
    sockets.symlink_to(tmp_path)
    try:
        with pytest.raises(ConflictError, match=str(sockets)):
            paths.prepare(deep)
    finally:
        sockets.unlink()


@pytest.mark.parametrize(
    ("text", "data_dir", "workers"),
    [
        ("project: x\n", ".odibi", None),
        ("data_dir: state\nworkers: 3\n", "state", 3),
        ("data_dir: '${WHERE}/x'   # comment\n", "there/x", None),
        ("data_dir: ${NOT_SET:-elsewhere}\n", "elsewhere", None),
        ("pipelines:\n  - workers: 9\n", ".odibi", None),
    ],
)
def test_the_basics_are_known_without_reading_all(
    tmp_path: Path, text: str, data_dir: str, workers: int | None
) -> None:
    (tmp_path / "odibi.yaml").write_text(text)
    found = paths.basics(tmp_path, {"WHERE": "there"})
    assert found == paths.Basics(tmp_path / data_dir, workers)


def test_a_folder_without_a_project_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=str(tmp_path)):
        paths.basics(tmp_path)
    assert paths.basics(tmp_path, required=False).data_dir == tmp_path / ".odibi"


def test_the_connection_file_is_whole(tmp_path: Path) -> None:
    places = paths.prepare(tmp_path)
    paths.write_connection(places, places.endpoint, host="h")
    told = json.loads(places.connection.read_text())
    assert told.pop("folder")
    assert told.pop("path") == str(places.run)
    assert told == {"endpoint": places.endpoint, "pid": os.getpid(), "host": "h"}
    assert [p.name for p in places.run.iterdir()] == ["connection.json"]


def test_a_connection_file_that_came_with_a_copy_is_told_from_one_reached_by_another_path(tmp_path: Path) -> None:
    places = paths.prepare(tmp_path / "p" / ".odibi")
    paths.write_connection(places, places.endpoint)
    told = json.loads(places.connection.read_text())
    subprocess.run(["cp", "-a", tmp_path / "p", tmp_path / "copy"], check=True)
    (tmp_path / "link").symlink_to(tmp_path / "p")
    assert not paths.copied(places.connection, told)
    assert not paths.copied(paths.layout(tmp_path / "link" / ".odibi").connection, told)
    assert paths.copied(paths.layout(tmp_path / "copy" / ".odibi").connection, told)
    assert not paths.copied(places.connection, {"endpoint": "tcp://10.0.0.1:7070"})  # by hand


def test_a_held_lock_names_its_holder_and_is_free_when_that_one_dies(tmp_path: Path) -> None:
    path = tmp_path / "store.lock"
    code = "import sys; from pathlib import Path; from odibi_actors.runtime.paths import hold_lock\n"
    code += "hold_lock(Path(sys.argv[1]), 0); print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(ConflictError, match=f"store is already running.*pid {holder.pid}"):
        paths.hold_lock(path, 0)
    holder.kill()
    paths.hold_lock(path, 10).release()  # waits for the one that is just dying
    holder.wait()


def test_a_lock_file_stays_so_that_whoever_waits_for_it_and_whoever_comes_next_mean_the_same(tmp_path: Path) -> None:
    path = tmp_path / "store.lock"
    first = paths.hold_lock(path, 0)
    inode = path.stat().st_ino
    first.release()
    second = paths.hold_lock(path, 0)
    assert path.stat().st_ino == inode
    second.release()
    assert path.exists()


def test_given_a_full_disk_then_the_error_names_the_file() -> None:
    with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"), paths.naming(Path("/dev/full")):
        Path("/dev/full").write_text("x")


def test_given_a_full_disk_then_a_lock_is_held_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        lock = paths.hold_lock(tmp_path / "store.lock")
    with pytest.raises(ConflictError):
        paths.hold_lock(tmp_path / "store.lock", wait=0.0)
    lock.release()
