"""What is free on a disk, in words."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest

from odibi_actors.checkpoint.refusals import unreadable
from odibi_actors.nodes.executor import to_failure
from odibi_actors.runtime import room


@pytest.mark.parametrize(
    ("blocks", "available", "inodes", "told"),
    [
        (1000, 3, 5, "12.3 KB of 4.1 MB free"),
        (1000, 0, 5, "0 B of 4.1 MB free"),
        (1000, 3, 0, "12.3 KB of 4.1 MB free, and no inode"),
        (0, 0, 0, ""),
    ],
)
def test_given_a_disk_then_what_is_free_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int, available: int, inodes: int, told: str
) -> None:
    def statvfs(path: Path) -> SimpleNamespace:
        if not path.exists():
            raise FileNotFoundError(path)
        return SimpleNamespace(f_frsize=4096, f_blocks=blocks, f_bavail=available, f_files=100, f_favail=inodes)

    monkeypatch.setattr(os, "statvfs", statvfs)
    missing = tmp_path / "a" / "b"
    assert room.free(missing) == told
    assert room.with_free("full", missing) == (f"full ({told})" if told else "full")
    assert room.with_free("full", None) == "full"


@pytest.mark.parametrize(("number", "lacks"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False)])
def test_given_an_error_of_the_system_then_want_of_room_is_told_from_others(number: int, lacks: bool) -> None:
    assert room.lacking(OSError(number, "")) is lacks
    assert not room.lacking(ValueError(number))


def test_given_too_many_open_files_then_the_error_says_how_many_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (12, 24))
    failure = to_failure(OSError(errno.EMFILE, "Too many open files", "a.csv"))
    assert failure.kind == "io"
    assert (
        "'a.csv' (a process may have 12 files open: `ulimit -n 4096` before its start allows more)" in failure.message
    )
    assert room.explained(OSError(errno.ENFILE, "x"), "x").startswith("x (of all processes of this host")
    assert room.explained(OSError(errno.EIO, "x"), "x") == "x"


def test_given_a_database_that_cannot_be_opened_then_open_files_are_named_only_where_they_are_used_up(
    tmp_path: Path,
) -> None:
    with pytest.raises(sqlite3.OperationalError) as caught:
        sqlite3.connect(f"{(tmp_path / 'missing').as_uri()}?mode=ro", uri=True)
    error = caught.value
    assert room.explained(error, str(error)) == "unable to open database file"
    assert "cannot be opened by this user" in unreadable(tmp_path / "a.db", error)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)  # the limit is one of numbers, and some below the highest may be free
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 3, hard))
    try:
        told, store = room.explained(error, "x"), unreadable(tmp_path / "a.db", error)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert told.startswith("x (a process may have ")
    assert told.endswith("`ulimit -n 4096` before its start allows more)")
    assert store.startswith(f"{tmp_path}/a.db: unable to open database file: a process may have ")
