"""A pool, its warm parent and its workers as real processes, killed in all ways; the test is their broker."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from odibi_actors import __version__
from odibi_actors import messages as m
from odibi_actors.config import code_digest
from odibi_actors.config.model import WorkerSpec
from odibi_actors.errors import ProtocolError
from odibi_actors.model import Attempt
from odibi_actors.runtime import paths, wire
from tests.runtime.processes import WAIT, Family, gone
from tests.workers.builders import task
from tests.workers.fake_executor import LEAK

pytestmark = pytest.mark.process
ROOT = Path(__file__).resolve().parents[2]


class Broker:
    """The other end of the pool's link."""

    def __init__(self, endpoint: str) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.set(zmq.ROUTER_HANDOVER, 1)
        self.socket.bind(endpoint)
        self.peer = b""
        self.workers: dict[str, m.WorkerInfo] = {}

    def send(self, message: m.Message) -> None:
        frames = [self.peer, wire.encode_header("pool-0", "broker", "b"), wire.encode_body(message)]
        self.socket.send_multipart(frames)

    def receive(self) -> m.Message:
        """The next message; a Hello is answered, results are confirmed."""
        assert self.socket.poll(WAIT * 1000), "the pool says nothing"
        self.peer, _, body = self.socket.recv_multipart()
        message = wire.decode_body(body)
        assert not isinstance(message, ProtocolError)
        if isinstance(message, m.PoolHello):
            self.send(m.Welcome(1, 0, "store"))
        if isinstance(message, m.Results):
            self.send(m.Forget(1, [(r.attempt, getattr(r, "node", "")) for r in message.results]))
        if isinstance(message, m.Bye):
            self.send(m.ByeAck())
        if isinstance(message, m.PoolHello | m.Heartbeat):
            self.workers = {worker.worker: worker for worker in message.workers}
        return message

    def expect(self, kind: type[m.Message]) -> Any:
        while not isinstance(message := self.receive(), kind):
            pass
        return message

    def result(self, attempt: Attempt) -> list[m.AnyResult]:
        """What comes of a task, to its end."""
        return self.told([attempt])[0]

    def told(self, attempts: list[Attempt]) -> list[list[m.AnyResult]]:
        """What comes of each of these tasks, to its end."""
        found: dict[Attempt, list[m.AnyResult]] = {attempt: [] for attempt in attempts}
        running = len(attempts)
        while running:
            for result in self.expect(m.Results).results:
                if result.attempt in found:
                    found[result.attempt].append(result)
                    running -= not isinstance(result, m.NodeDone) or result.last
        return list(found.values())

    def until(self, state: Callable[[dict[str, m.WorkerInfo]], bool]) -> dict[str, m.WorkerInfo]:
        """Heartbeats until the workers are so."""
        while not state(self.workers):
            self.receive()
        return self.workers

    def close(self) -> None:
        self.context.destroy(linger=0)


class Rig:
    """A project, a broker, and a pool of two workers."""

    def __init__(self, folder: Path) -> None:
        self.project = folder
        (folder / "odibi.yaml").write_text("project: x\nworkers: 2\n")
        (folder / "nodes").mkdir()
        (folder / "nodes" / "x.py").write_text("VALUE = 1\n")
        self.places = paths.prepare(folder / ".odibi")
        self.family = Family()
        self.broker = Broker(self.places.endpoint)
        self.count = 0

    def start(self, **env: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "tests.workers.fake_executor", str(self.project), str(self.places.data_dir), "2"]
        process = self.family.start(argv, None, **env)
        self.broker.expect(m.PoolHello)
        self.broker.until(lambda w: len(w) == 2 and all(x.state == "idle" for x in w.values()))
        return process

    def supervise(self) -> subprocess.Popen[str]:
        process = self.family.start([sys.executable, "-m", "odibi_actors.workers", "--project", str(self.project)])
        self.broker.expect(m.PoolHello)
        self.broker.until(lambda w: len(w) == 2 and all(x.state == "idle" for x in w.values()))
        return process

    def give(self, *nodes: str, timeout: float = 60.0, code: str = "", iteration: int = 0) -> Attempt:
        self.count += 1
        work = task(self.count, *nodes, timeout=timeout, code=code or code_digest(self.project))
        work = msgspec.structs.replace(work, iteration=iteration or self.count)
        self.broker.send(m.Tasks(1, [work]))
        return work.attempt

    def run(self, *nodes: str, **options: Any) -> list[m.AnyResult]:
        return self.broker.result(self.give(*nodes, **options))

    def busy(self, doing: str) -> m.WorkerInfo:
        workers = self.broker.until(lambda w: any(x.doing.endswith(doing) for x in w.values()))
        return next(x for x in workers.values() if x.doing.endswith(doing))

    def template(self) -> int:
        """pid of the warm parent: its workers, forked from it, have its command line but not its parent."""
        pids = {pid for pid, line in self.family.living().items() if "odibi_actors.workers.template" in line}
        return next(pid for pid in pids if parent(pid) not in pids)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.family.close()
    made.broker.close()
    paths.tidy(made.places)


def test_a_chain_is_run_and_each_node_reported(rig: Rig) -> None:
    rig.start()
    results = rig.run("a", "b")
    assert [(type(r), r.node) for r in results] == [(m.NodeDone, "a"), (m.NodeDone, "b")]  # type: ignore[union-attr]


def test_a_worker_that_dies_as_a_node_begins_is_replaced_and_that_node_is_blamed_each_time(rig: Rig) -> None:
    rig.start()
    for number in range(20):
        ends = ["die", "leave"] if number % 2 else ["leave", "die"]
        told = rig.broker.told([rig.give("a", "b", end, "c") for end in ends])
        for end, results in zip(ends, told, strict=True):
            words = {"die": "killed by SIGKILL", "leave": "exited with code 3"}[end]
            assert [(type(r), getattr(r, "node", "")) for r in results] == [
                (m.NodeDone, "a"),
                (m.NodeDone, "b"),
                (m.NodeFailed, end),
            ]
            failed = results[-1]
            assert isinstance(failed, m.NodeFailed)
            assert failed.failure.kind == "died"
            assert f"died while running node {end}: {words}" in failed.failure.message
    assert [type(r) for r in rig.run("a")] == [m.NodeDone]
    rig.broker.until(lambda w: len(w) == 2 and "pool-0-42" in w and all(x.state == "idle" for x in w.values()))


def test_a_worker_that_writes_what_is_no_result_is_killed_and_that_is_said(rig: Rig) -> None:
    process = rig.start()
    done, failed = rig.run("a", "scribble", "b")
    assert isinstance(done, m.NodeDone)
    assert isinstance(failed, m.NodeFailed)
    reason = "what it wrote for its pool is no result: a frame of 1952540791 bytes; at most 16777216 are allowed"
    assert failed.failure.message.endswith(f"killed by SIGKILL; {reason}")
    assert [type(r) for r in rig.run("a")] == [m.NodeDone]
    process.terminate()
    assert process.stdout is not None
    (line,) = [line for line in process.stdout.read().splitlines() if " error " in line]
    assert "error pool-0 a worker is killed worker=pool-0-1 pid=" in line
    assert reason in line


def test_a_hung_worker_is_killed_at_its_deadline(rig: Rig) -> None:
    rig.start()
    (failed,) = rig.run("hang", timeout=0.3)
    assert isinstance(failed, m.NodeFailed)
    assert failed.failure.kind == "timeout"
    assert 0.3 <= failed.duration < 10
    assert [type(r) for r in rig.run("a")] == [m.NodeDone]


@pytest.mark.parametrize("how", ["timeout", "killed"])
def test_what_a_node_started_dies_with_its_worker(rig: Rig, how: str) -> None:
    rig.start()
    attempt = rig.give("spawn", timeout=0.5 if how == "timeout" else 60.0)
    if how == "killed":
        worker = rig.busy("spawn")
        while len(sleepers(rig)) < 1:
            rig.broker.receive()
        os.kill(worker.pid, signal.SIGKILL)
    (failed,) = rig.broker.result(attempt)
    assert isinstance(failed, m.NodeFailed)
    assert all(gone(pid) for pid in sleepers(rig))


def sleepers(rig: Rig) -> list[int]:
    return [pid for pid, line in rig.family.living().items() if "time.sleep(600)" in line]


def test_the_operator_kills_a_worker(rig: Rig) -> None:
    rig.start()
    attempt = rig.give("hang")
    worker = rig.busy("hang")
    rig.broker.send(m.KillWorker(worker.worker))
    assert [type(r) for r in rig.broker.result(attempt)] == [m.Returned]
    assert gone(worker.pid)


def test_a_killed_warm_parent_is_replaced_and_nobody_is_blamed(rig: Rig) -> None:
    rig.start()
    attempt = rig.give("hang")
    worker = rig.busy("hang")
    os.kill(rig.template(), signal.SIGKILL)
    assert [type(r) for r in rig.broker.result(attempt)] == [m.Returned]
    assert gone(worker.pid)
    assert [type(r) for r in rig.run("a")] == [m.NodeDone]


def test_a_killed_pool_leaves_nothing_behind(rig: Rig) -> None:
    process = rig.start()
    rig.give("hang")
    rig.busy("hang")
    process.kill()
    assert rig.family.extinct()


def test_sigterm_finishes_what_runs_and_returns_what_waits(rig: Rig) -> None:
    process = rig.start()
    running = [rig.give("wait"), rig.give("wait")]
    rig.broker.until(lambda w: all(x.state == "busy" for x in w.values()))
    waiting = rig.give("a")
    process.terminate()
    assert [type(r) for r in rig.broker.result(waiting)] == [m.Returned]
    late = rig.give("a")
    assert [type(r) for r in rig.broker.result(late)] == [m.Returned]
    (rig.places.data_dir / "go").touch()
    seen: list[m.AnyResult] = []
    while not isinstance(message := rig.broker.receive(), m.Bye):
        seen += message.results if isinstance(message, m.Results) else []
    assert sorted(r.attempt for r in seen if isinstance(r, m.NodeDone)) == running
    assert process.wait(WAIT) == 0
    assert rig.family.extinct()


def test_a_second_sigterm_stops_at_once(rig: Rig) -> None:
    process = rig.start()
    rig.give("hang")
    rig.busy("hang")
    process.terminate()
    while rig.broker.expect(m.PoolHello).capacity:
        pass
    process.terminate()
    assert process.wait(WAIT) == 0
    assert rig.family.extinct()


def test_the_pool_scales_while_it_runs(rig: Rig) -> None:
    rig.start()
    rig.broker.send(m.Scale(1, 4))
    rig.broker.until(lambda w: len(w) == 4 and all(x.state == "idle" for x in w.values()))
    attempt = rig.give("wait")
    rig.busy("wait")
    rig.broker.send(m.Scale(1, 1))
    rig.broker.until(lambda w: len(w) == 1)
    (rig.places.data_dir / "go").touch()
    assert [type(r) for r in rig.broker.result(attempt)] == [m.NodeDone]


def test_surplus_workers_end_and_the_log_calls_them_so(rig: Rig) -> None:
    process = rig.start()
    rig.broker.send(m.Scale(1, 5))
    rig.broker.until(lambda w: len(w) == 5 and all(x.state == "idle" for x in w.values()))
    rig.broker.send(m.Scale(1, 1))
    rig.broker.until(lambda w: len(w) == 1)
    process.terminate()
    assert process.stdout is not None
    lines = process.stdout.read().splitlines()
    assert sum("info pool-0 a surplus worker has ended" in line for line in lines) == 4
    assert not [line for line in lines if "SIGKILL" in line or "a worker is gone" in line]


def test_workers_that_leak_are_recycled_between_tasks_and_what_they_have_in_memory_is_told(rig: Rig) -> None:
    process = rig.start()
    rig.broker.until(lambda w: all(x.memory for x in w.values()))
    shared = max(w.memory for w in rig.broker.workers.values())
    assert shared < 1_000_000_000
    rig.broker.send(m.WorkerLimits(1, WorkerSpec(max_memory=shared + 100_000_000)))
    for _ in range(10):
        assert [type(r) for r in rig.run("leak")] == [m.NodeDone]
        assert max(w.memory for w in rig.broker.workers.values()) < shared + 100_000_000 + 2 * LEAK
    rig.broker.until(lambda w: len(w) == 2 and all(x.state == "idle" for x in w.values()))
    process.terminate()
    assert process.stdout is not None
    lines = process.stdout.read().splitlines()
    recycled = [line for line in lines if "info pool-0 a worker is recycled" in line]
    assert len(recycled) >= 3
    assert all("MB in memory after a task (worker.max_memory: " in line for line in recycled)
    assert not [line for line in lines if "SIGKILL" in line or "a worker is gone" in line or " warning " in line]


def test_a_worker_that_has_done_its_tasks_is_another_process_for_the_next(rig: Rig) -> None:
    rig.start()
    rig.broker.send(m.WorkerLimits(1, WorkerSpec(max_tasks=1)))
    names = [result.worker for _ in range(6) for result in rig.run("a") if isinstance(result, m.NodeDone)]
    assert len(set(names)) == 6


@pytest.mark.parametrize("node", ["popen", "pool", "forked"])
def test_what_a_node_starts_can_be_ended_by_sigterm(rig: Rig, node: str) -> None:
    rig.start()
    assert [type(r) for r in rig.run(node, timeout=10.0)] == [m.NodeDone]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_worker_and_warm_parent_does_nothing(rig: Rig, number: int) -> None:
    rig.start()
    attempt = rig.give("wait")
    worker = rig.busy("wait")
    for pid in (worker.pid, rig.template()):
        os.kill(pid, number)
    assert not gone(worker.pid, 0.3)
    (rig.places.data_dir / "go").touch()
    assert [type(r) for r in rig.broker.result(attempt)] == [m.NodeDone]


def test_a_module_that_cannot_be_imported_stops_nobody_else(rig: Rig) -> None:
    (rig.project / "nodes" / "bad.py").write_text("raise SystemExit('no')\n")
    rig.start()
    assert [type(r) for r in rig.run("a")] == [m.NodeDone]


ENDS = {
    "exits": ("import os; os._exit(3)", "exited with code 3"),
    "exits with 0": ("import os; os._exit(0)", "exited with code 0"),
    "is killed": ("import ctypes; ctypes.string_at(0)", "killed by SIGSEGV"),
    "kills": ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL"),
    "closes all": ("import os; os.closerange(3, 1000)", "ended its process"),
}
"""What a module does to the process that imports it, and what is told."""


@pytest.mark.parametrize("how", ENDS)
def test_a_module_that_ends_its_process_stops_nobody_else_and_is_named(rig: Rig, how: str) -> None:
    code, words = ENDS[how]
    (rig.project / "nodes" / "bad.py").write_text(code + "\n")
    (rig.project / "nodes" / "bad2.py").write_text(code + "\n")
    process = rig.start()
    assert [type(r) for r in rig.run("a")] == [m.NodeDone]
    problems = rig.broker.expect(m.Heartbeat).problems
    for name in ("nodes/bad.py", "nodes/bad2.py"):
        assert any(name in problem and words in problem for problem in problems), problems
    # fixed and applied: a fresh parent imports it
    for name in ("bad.py", "bad2.py"):
        (rig.project / "nodes" / name).write_text("VALUE = 1\n")
    assert [type(r) for r in rig.run("use")] == [m.NodeDone]
    assert rig.broker.expect(m.Heartbeat).problems == []
    assert process.poll() is None


def test_a_parent_that_is_killed_while_it_imports_a_module_imports_it_again(rig: Rig) -> None:
    died = rig.places.data_dir / "died"
    code = f"import os, pathlib\ndied = pathlib.Path({str(died)!r})\n"
    code += "if not died.exists():\n    died.touch()\n    os.kill(os.getpid(), 9)\n"
    (rig.project / "nodes" / "fine.py").write_text(code)
    rig.start()
    assert [type(r) for r in rig.run("a")] == [m.NodeDone]
    assert (died.exists(), rig.broker.expect(m.Heartbeat).problems) == (True, [])


@pytest.mark.parametrize("code", ["raise SystemExit(1)", "raise KeyboardInterrupt", "raise BaseException('no')", "1/0"])
def test_a_module_that_raises_anything_stops_nobody_else_and_is_named(rig: Rig, code: str) -> None:
    (rig.project / "nodes" / "bad.py").write_text(code + "\n")
    rig.start()
    assert [type(r) for r in rig.run("a")] == [m.NodeDone]
    (problem,) = rig.broker.expect(m.Heartbeat).problems
    assert problem.startswith("nodes/bad.py: ")


def test_an_import_that_hangs_is_told_within_seconds(rig: Rig) -> None:
    (rig.project / "nodes" / "bad.py").write_text("import time; time.sleep(600)\n")
    began = time.monotonic()
    argv = [sys.executable, "-m", "tests.workers.fake_executor", str(rig.project), str(rig.places.data_dir), "2"]
    rig.family.start(argv)
    while not (problems := rig.broker.expect(m.Heartbeat).problems):
        assert time.monotonic() - began < 20
    assert "importing nodes/bad.py has taken" in problems[0]


def test_without_memory_for_a_library_the_reason_is_told_and_the_pool_lives(rig: Rig) -> None:
    argv = [sys.executable, "-m", "tests.workers.fake_executor", str(rig.project), str(rig.places.data_dir), "2"]
    # too little for duckdb, enough for all before it
    process = rig.family.start(["/bin/sh", "-c", f"ulimit -v 420000; exec {' '.join(argv)}"])
    while not (problems := rig.broker.expect(m.Heartbeat).problems):
        pass
    assert problems[0].startswith("workers cannot start: importing ")
    assert process.poll() is None


def test_a_node_that_kills_its_parent_is_run_alone_and_then_blamed_and_nobody_else_is(rig: Rig) -> None:
    rig.start()
    innocent, guilty = rig.give("wait"), rig.give("a", "parricide")
    assert [type(r) for r in rig.broker.result(guilty)] == [m.NodeDone, m.Returned]
    rig.broker.until(lambda w: len(w) == 2 and all(x.state == "idle" for x in w.values()))
    again = rig.give("parricide", iteration=2)
    (failed,) = rig.broker.result(again)
    assert isinstance(failed, m.NodeFailed)
    assert (failed.node, failed.failure.kind) == ("parricide", "died")
    (rig.places.data_dir / "go").touch()
    assert innocent != guilty
    assert [type(r) for r in rig.run("wait", iteration=1)] == [m.NodeDone]


@pytest.mark.parametrize("protocol", [m.PROTOCOL, m.PROTOCOL + 1])
def test_a_package_that_was_changed_under_a_running_pool_is_told_and_used_only_if_it_understands_the_pool(
    rig: Rig, tmp_path_factory: pytest.TempPathFactory, protocol: int
) -> None:
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(ROOT / "odibi_actors", folder / "odibi_actors", ignore=shutil.ignore_patterns("__pycache__"))
    rig.start(PYTHONPATH=f"{folder}{os.pathsep}{ROOT}")
    for name, old, new in (
        ("version.py", f'__version__ = "{__version__}"', '__version__ = "9.9.9"'),
        ("messages.py", f"\nPROTOCOL = {m.PROTOCOL}\n", f"\nPROTOCOL = {protocol}\n"),
    ):
        path = folder / "odibi_actors" / name
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))
    (rig.project / "nodes" / "x.py").write_text("VALUE = 2\n")
    attempt = rig.give("a")  # of code that only a fresh parent has
    if protocol == m.PROTOCOL:
        assert [type(r) for r in rig.broker.result(attempt)] == [m.NodeDone]
    while not (problems := rig.broker.expect(m.Heartbeat).problems):
        pass
    (problem,) = problems
    assert "version 9.9.9" in problem
    assert f"this pool {__version__}" in problem or f"this pool runs {__version__} (protocol" in problem
    assert problem.startswith("workers cannot start") == (protocol != m.PROTOCOL)
    assert m.ONE_VERSION in problem


def test_changed_code_is_run_by_fresh_workers_and_unknown_code_by_nobody(rig: Rig) -> None:
    rig.start()
    former = rig.template()
    (rig.project / "nodes" / "x.py").write_text("VALUE = 2\n")
    assert [type(r) for r in rig.run("a")] == [m.NodeDone]
    (failed,) = rig.run("a", code="f" * 32)
    assert isinstance(failed, m.NodeFailed)
    assert failed.failure.kind == "code_mismatch"
    assert "odibictl apply" in failed.failure.message
    assert gone(former)  # once its last worker was replaced


def test_a_killed_pool_is_started_again_by_its_supervisor_under_the_same_name(rig: Rig) -> None:
    rig.supervise()
    first = int((rig.places.run / "pool-0.lock").read_text())
    os.kill(first, signal.SIGKILL)
    hello = rig.broker.expect(m.PoolHello)
    assert hello.pid != first
    assert rig.broker.peer.startswith(b"pool-0/")


def test_a_killed_supervisor_takes_pool_and_workers_along(rig: Rig) -> None:
    process = rig.supervise()
    process.kill()
    assert rig.family.extinct()


def test_a_second_pool_of_the_project_gets_the_next_name(rig: Rig) -> None:
    rig.supervise()
    rig.family.start([sys.executable, "-m", "odibi_actors.workers", "--project", str(rig.project), "--workers", "1"])
    while rig.broker.expect(m.PoolHello).capacity != 1:
        pass
    assert rig.broker.peer.startswith(b"pool-1/")


def test_the_time_to_fork_a_worker_is_told(rig: Rig, record_property: Callable[[str, object], None]) -> None:
    """A figure, not a promise: from a kill to the result of the next task, which its replacement runs."""
    rig.start()
    rig.broker.send(m.Scale(1, 1))
    workers = rig.broker.until(lambda w: len(w) == 1)
    began = time.perf_counter()
    os.kill(next(iter(workers.values())).pid, signal.SIGKILL)
    rig.run("a")
    took = time.perf_counter() - began
    record_property("kill_to_result_ms", round(took * 1000, 1))
    print(f"kill to result: {took * 1000:.1f} ms")


@pytest.mark.parametrize(
    "module",
    [
        "odibi_actors.broker",
        "odibi_actors.workers",
        "odibi_actors.checkpoint",
        "odibi_actors.scheduler",
        "odibi_actors.streaming",
    ],
)
def test_every_line_of_the_procfile_has_help_and_names_a_missing_project(module: str, tmp_path: Path) -> None:
    shown = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True)
    assert "--project" in shown.stdout
    ended = subprocess.run(
        [sys.executable, "-m", module, "--project", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert re.search(r"no odibi\.yaml", ended.stderr)
