"""Why an actor is not there: what it said last counts only while it is what keeps it away."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from odibi_actors.runtime.trouble import last_error, unheard

STARTED = "2026-11-24T09:11:30.000Z info checkpoint started pid=7{}\n"
ERROR = "2026-11-24T09:11:31.306Z error checkpoint it cannot be opened\n"
DIED = '2026-11-24T09:11:31.384Z error checkpoint died; starting again reason="exit code 1"\n'


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("", ""),
        (STARTED.format("") + ERROR + DIED + STARTED.format(' former="exit code 1"'), "checkpoint it cannot be opened"),
        (STARTED.format("") + ERROR + STARTED.format(""), ""),
        (STARTED.format("") + DIED, ""),
    ],
)
def test_given_a_log_then_the_last_error_is_one_that_still_holds(tmp_path: Path, log: str, said: str) -> None:
    path = tmp_path / "checkpoint.log"
    path.write_text(log)
    assert last_error(path) == said


def test_given_a_full_disk_then_it_is_named_for_who_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peers = [{"role": role, "name": role, "host": "elsewhere", "pid": 1} for role in ("source", "scheduler", "pool")]
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_blocks=100, f_bavail=0, f_frsize=4096))
    ((role, said),) = unheard({"peers": peers}, tmp_path)
    assert role == "store"
    assert f"the checkpoint actor is not connected (the disk of {tmp_path} is full); its" in said


def test_given_a_silent_peer_then_only_one_that_has_died_is_told_by_its_log(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log/checkpoint.log").write_text(STARTED.format("") + ERROR)
    silent = {"name": "store", "role": "store", "seconds": 5.0, "waits": "3 records"}
    others = [{"role": role, "name": role, "host": "elsewhere", "pid": 1} for role in ("source", "scheduler", "pool")]

    def said(pid: int) -> str:
        store = {"role": "store", "name": "store", "host": socket.gethostname(), "pid": pid}
        ((_, line),) = unheard({"peers": [*others, store], "silent": [silent]}, tmp_path)
        return line

    assert said(os.getpid()).startswith("the checkpoint actor has not answered for 5s; 3 records wait for it: see")
    assert "5s (it said last: checkpoint it cannot be opened); 3 records" in said(2**22 + 1)
