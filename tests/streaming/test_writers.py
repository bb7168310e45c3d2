"""Files that somebody has open for writing: what the kernel knows of them, and what becomes of it."""

from __future__ import annotations

import fcntl
import mmap
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from odibi_actors.actor import Log
from odibi_actors.messages import BROKER, Discover
from odibi_actors.streaming import files, leases, source, watcher
from odibi_actors.streaming.effects import Stat
from odibi_actors.streaming.scan import look
from odibi_actors.streaming.views import why
from tests.streaming.harness import System, source_spec

Start = Callable[..., System]
LONG_AGO = (1, 1)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts systems that look often, and closes them."""
    monkeypatch.setattr(source, "RESCAN", 0.02)
    monkeypatch.setattr(source, "POLL", 0.02)
    monkeypatch.setattr(files, "ASK_AGAIN", 0.05)
    monkeypatch.setattr(files, "LOST_CLOSE", 0.1)
    systems: list[System] = []

    def begin(folder: Path, **read: object) -> System:
        system = System(source_spec(folder, **{"settle": 0.01, **read}))  # type: ignore[arg-type]
        systems.append(system)
        return system

    yield begin
    for system in systems:
        system.close()


def proceeds(system: System, folder: Path, rounds: int = 5) -> None:
    """Let it look several times at everything that is there; others are offered meanwhile."""
    for number in range(rounds):
        name = f"whole{len(list(folder.iterdir()))}-{number}.csv"
        (folder / name).write_text("x")
        before = system.count(Stat)
        system.until(lambda n=name, b=before: n in system.names and system.count(Stat) > b + 2, "others")


def told(system: System, file: str) -> tuple[str, str]:
    item = why(system.actor.sources["p/files"], file)
    return item["state"], item["reason"]


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize("when", ["before", "after"])
def test_given_an_old_file_that_somebody_has_open_when_all_clocks_have_run_out_then_it_waits_for_the_close(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch, watched: bool, when: str
) -> None:
    if not watched:
        monkeypatch.setattr(watcher, "filesystem", lambda device: "nfs4")
    system = start(tmp_path) if when == "after" else None
    with (tmp_path / "a.csv").open("w") as file:
        file.write("id,amount\n1,100\n2,2")
        file.flush()
        os.utime(tmp_path / "a.csv", LONG_AGO)
        system = system or start(tmp_path)
        proceeds(system, tmp_path)
        assert "a.csv" not in system.names
        assert told(system, "a.csv")[0] == "waiting"
        file.write("50\n3,7\n")
    system.until(lambda: "a.csv" in system.names, "the file, once it is closed")
    (offered,) = [p for p in system.offers[-1].positions if p.identity == "a.csv"]
    assert offered.size == len("id,amount\n1,100\n2,250\n3,7\n")


def test_given_two_writers_when_one_closes_then_the_other_is_waited_for(tmp_path: Path, start: Start) -> None:
    system = start(tmp_path)
    with (tmp_path / "a.csv").open("a") as last:
        last.write("x")
        last.flush()
        with (tmp_path / "a.csv").open("a") as first:
            first.write("y")
        proceeds(system, tmp_path)
        assert "a.csv" not in system.names
    system.until(lambda: "a.csv" in system.names, "the file")


def test_given_a_writer_of_another_name_when_the_file_is_linked_or_moved_in_then_it_waits(
    tmp_path: Path, start: Start
) -> None:
    inbox, outside = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    outside.mkdir()
    system = start(inbox)
    with (outside / "a.part").open("w") as linked, (outside / "b.part").open("w") as moved:
        linked.write("x")
        linked.flush()
        moved.write("y")
        moved.flush()
        os.link(outside / "a.part", inbox / "a.csv")
        os.rename(outside / "b.part", inbox / "b.csv")
        proceeds(system, inbox)
        assert not {"a.csv", "b.csv"} & set(system.names)
    system.until(lambda: {"a.csv", "b.csv"} <= set(system.names), "both, though nobody heard of the close of the first")


def test_given_a_shared_map_that_outlives_its_descriptor_when_it_is_gone_then_the_file_is_taken(
    tmp_path: Path, start: Start
) -> None:
    (tmp_path / "a.csv").write_bytes(b"x" * 4096)
    with (tmp_path / "a.csv").open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 4096)
    os.utime(tmp_path / "a.csv", LONG_AGO)
    system = start(tmp_path)
    proceeds(system, tmp_path)
    assert "a.csv" not in system.names
    mapped.close()
    system.until(lambda: "a.csv" in system.names, "the file")


def test_given_a_reference_file_that_is_written_when_it_is_closed_then_only_then_all_are_offered(
    tmp_path: Path, start: Start
) -> None:
    (tmp_path / "whole.csv").write_text("x")
    with (tmp_path / "half.csv").open("w") as file:
        file.write("x")
        file.flush()
        os.utime(tmp_path / "half.csv", LONG_AGO)
        system = start(tmp_path, mode="batch")
        for _ in range(20):
            system.step(0.02)
        assert not system.names
    system.until(lambda: system.names == ["half.csv", "whole.csv"], "both")
    with (tmp_path / "half.csv").open("a") as file:
        file.write("x")
        file.flush()
        system.until(lambda: not system.names, "the withdrawal")
        for _ in range(20):
            system.step(0.02)
        assert not system.names
    system.until(lambda: system.names == ["half.csv", "whole.csv"], "both again")
    assert system.offers[-1].positions[0].size == 2


def test_given_an_offered_file_when_a_writer_opens_it_and_pauses_then_it_is_withdrawn(
    tmp_path: Path, start: Start
) -> None:
    (tmp_path / "a.csv").write_text("x\n")
    system = start(tmp_path)
    system.until(lambda: system.names == ["a.csv"], "the file")
    with (tmp_path / "a.csv").open("a") as file:
        file.write("y")
        file.flush()
        os.utime(tmp_path / "a.csv", LONG_AGO)
        system.until(lambda: not system.names, "the withdrawal")
        proceeds(system, tmp_path)
        assert "a.csv" not in system.names
    system.until(lambda: "a.csv" in system.names, "the file as it is now")


# --- three answers ------------------------------------------------------------------------------------------------


def test_given_a_file_when_the_kernel_is_asked_then_nobody_somebody_and_unknown_are_three_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x")
    assert leases.writer(str(path)) == "none"
    with path.open("a"):
        assert leases.writer(str(path)) == "some"
    assert leases.writer(str(path)) == "none"
    assert leases.writer(str(tmp_path / "no.csv")) == "unknown"
    (tmp_path / "link.csv").symlink_to(path)
    assert leases.writer(str(tmp_path / "link.csv")) == "unknown"
    real, code = fcntl.fcntl, 0

    def refusing(handle: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETLEASE:
            raise OSError(code, os.strerror(code))
        return real(handle, command, argument)

    monkeypatch.setattr(leases.fcntl, "fcntl", refusing)
    for refusal in (13, 22, 95):  # another user's file; a filesystem without leases
        code = refusal
        assert leases.writer(str(path)) == "unknown"


def test_given_a_filesystem_of_many_hosts_when_this_kernel_knows_no_writer_then_that_says_nothing(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.csv").write_text("x")
    with (tmp_path / "b.csv").open("w"):
        answer = look(Stat("p/files", 1, str(tmp_path), ["a.csv", "b.csv"], heard=False))
    assert (answer.closed, answer.written) == ([], ["b.csv"])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file to somebody else")
def test_given_a_file_of_another_user_when_nothing_can_be_told_then_settle_decides() -> None:
    script = (
        "import os, sys; from odibi_actors.streaming.leases import writer; os.setuid(54321); print(writer(sys.argv[1]))"
    )
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder) / "a.csv"
        path.write_text("x")
        os.chmod(path, 0o644)
        os.chown(path, 12345, 12345)
        command = [sys.executable, "-c", script, str(path)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "unknown"


# --- what is told -------------------------------------------------------------------------------------------------


def test_given_a_writer_in_another_process_when_it_goes_on_for_a_while_then_file_and_process_are_named(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "HELD_SHOWN", 0.2)
    script = "import sys; f = open(sys.argv[1], 'w'); f.write('x'); f.flush(); sys.stdin.read()"
    arguments = [sys.executable, "-c", script, str(tmp_path / "a.csv")]
    system = start(tmp_path)
    with subprocess.Popen(arguments, stdin=subprocess.PIPE) as process:
        by = f"pid {process.pid} ({Path(sys.executable).name[:15]})"
        system.until(lambda: bool(system.problems and system.problems[-1].problems), "it is told")
        (problem,) = system.problems[-1].problems
        assert problem.startswith(f"file a.csv is being written by {by} since ")
        assert problem.endswith(" UTC; it is taken once it is closed")
        state, reason = told(system, "a.csv")
        assert state == "waiting"
        assert reason.startswith(f"being written by {by} since ")
        process.communicate()
    system.until(lambda: system.names == ["a.csv"] and not system.problems[-1].problems, "the file, and no problem")
    lines = [e.text for e in system.effects if isinstance(e, Log)]
    assert len([line for line in lines if "being written" in line]) == 1


def test_given_a_run_when_a_file_is_kept_open_and_not_written_then_the_run_ends_without_it_and_says_so(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "RUN_PATIENCE", 0.5)
    system = System(source_spec(tmp_path, idle=True, settle=0.01))
    try:
        with (tmp_path / "a.csv").open("w") as file:
            file.write("x")
            file.flush()
            (tmp_path / "b.csv").write_text("x")
            system.give((BROKER, Discover(1, "p", "r1")))
            system.until(lambda: system.names == ["b.csv"], "what is whole")
            assert not system.offers[-1].exhausted
            system.until(lambda: system.offers[-1].exhausted, "the end of the run")
            assert system.names == ["b.csv"]
        system.give((BROKER, Discover(1, "p", "r2")))
        system.until(lambda: sorted(system.names) == ["a.csv", "b.csv"], "both in the next run")
        (line,) = [e.text for e in system.effects if isinstance(e, Log) and e.level == "warning"]
        assert "a.csv is being written" in line
        assert "left to a later one" in line
    finally:
        system.close()


def test_given_a_reference_rewritten_with_its_former_size_and_times_when_seen_again_then_its_digest_is_another(
    tmp_path: Path, start: Start
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")
    system = start(tmp_path, mode="batch")
    system.until(lambda: system.names == ["a.csv"], "the file")
    former, seen = system.offers[-1].positions[0].digest, path.stat()
    path.write_text("new")
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    system.until(
        lambda: system.names == ["a.csv"] and system.offers[-1].positions[0].digest != former, "the digest of now"
    )
