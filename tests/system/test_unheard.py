"""Actors that are stopped, or die again and again: every verb says so, and its exit code is true."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.harness import PLAIN, System, pipeline, put, small, until

Make = Callable[[Path], System]
READS = [("iteration", "list", "plain"), ("checkpoint", "stats"), ("deadletter", "list")]


@pytest.fixture
def system(make: Make, tmp_path: Path) -> System:
    """A small one that has committed an iteration."""
    found = make(small(tmp_path / "p", pipeline("plain", PLAIN)))
    found.start()
    put(found, "plain", "a", "1,1.5")
    found.wait("plain", 1, "committed")
    return found


def stop(system: System, role: str) -> int:
    """SIGSTOP it, and wait until the kernel has done so."""
    pid = system.kill(role, signal.SIGSTOP)
    until("it is stopped", lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    return pid


def test_given_a_store_that_is_stopped_then_each_verb_says_so_and_goes_on_after_it(system: System) -> None:
    pid = stop(system, "checkpoint")
    said = f"the checkpoint actor (pid {pid}) is stopped by a signal: `kill -CONT {pid}`"
    try:
        for words in READS:
            done = system.ctl(*words, "--timeout", "1s")
            assert done.returncode == 124, (words, done)
            assert said in done.stderr, (words, done.stderr)
        put(system, "plain", "b", "2,1.5")
        waited = system.ctl("iteration", "wait", "plain", "2", "--timeout", "1s")
        assert waited.returncode == 124
        assert said in waited.stderr
        shown = system.ctl("status")
        assert (shown.returncode, said in shown.stdout) == (0, True), shown.stdout
        assert said in system.ctl("doctor").stdout
    finally:
        os.kill(pid, signal.SIGCONT)
    system.wait("plain", 2, "committed")
    assert system.ctl("iteration", "list", "plain").returncode == 0


def test_given_a_broker_that_is_stopped_then_each_verb_says_so(system: System) -> None:
    pid = stop(system, "broker")
    try:
        for words in (*READS, ("status",), ("iteration", "retry", "plain", "1"), ("apply",)):
            done = system.ctl(*words)
            assert done.returncode == 69, (words, done)
            assert f"the broker (pid {pid}) is stopped by a signal: `kill -CONT {pid}`" in done.stderr, (words, done)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert system.ctl("status").returncode == 0


def test_given_a_store_that_cannot_start_then_each_verb_says_what_it_said_last(system: System) -> None:
    database = system.project / ".odibi/checkpoints.db"
    aside = database.with_name("aside")
    database.rename(aside)
    database.mkdir()
    system.kill("checkpoint")
    said = f"(it said last: checkpoint {database} cannot be opened: "
    try:
        until("it is told", lambda: said in system.ctl("status").stdout)
        done = system.ctl("iteration", "list", "plain", "--timeout", "1s")
        assert done.returncode == 124
        assert said in done.stderr
    finally:
        database.rmdir()
        aside.rename(database)
    until("it is back", lambda: system.ctl("iteration", "list", "plain").returncode == 0)
    until("all is well", lambda: "it said last" not in system.ctl("status").stdout)
    assert "not connected" not in system.ctl("status").stdout


@pytest.mark.soak
def test_given_a_broker_that_cannot_start_then_each_verb_says_what_it_said_last(system: System) -> None:
    lock = system.project / ".odibi/run/broker.lock"
    lock.unlink()
    lock.mkdir()
    system.kill("broker")
    try:
        said = "not its broker, which is starting or is being started again (it said last: "
        until("it is told", lambda: said in system.ctl("status").stderr)
        done = system.ctl("iteration", "list", "plain")
        assert done.returncode == 69
        assert said in done.stderr
        assert str(lock) in done.stderr
    finally:
        lock.rmdir()
    until("it is back", lambda: system.ctl("iteration", "list", "plain").returncode == 0)
