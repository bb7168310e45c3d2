"""An executor whose nodes do what their names say, and the pool that uses it."""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from odibi_actors import messages as m
from odibi_actors.config import code_digest
from odibi_actors.runtime import memory, paths
from odibi_actors.runtime.process import run_peer
from odibi_actors.workers.driver import PoolDriver
from odibi_actors.workers.pool import PoolActor

LEAK = 60_000_000
KEPT: list[bytes] = []


class FakeExecutor:
    """Nodes: ``hang``, ``die`` (SIGKILL), ``leave`` (exit 3), ``spawn`` (a child process, then hang), ``wait`` (for
    the file ``go`` in the data_dir), ``use`` (imports nodes.bad), ``parricide`` (kills its parent), ``popen``,
    ``pool``, ``forked`` (a child that is ended by SIGTERM), ``leak`` (keeps LEAK bytes), ``scribble`` (writes into each
    pipe it finds); others are done at once."""

    def __init__(self, data_dir: Path, host: str, worker: str, code: str) -> None:
        self.data_dir, self.worker = data_dir, worker

    def run(self, task: m.AnyTask) -> Iterator[Any]:
        assert isinstance(task, m.Task)
        for i, step in enumerate(task.steps):
            node = step.node.name
            yield m.Started(task.attempt, node)
            self.do(node)
            last = i == len(task.steps) - 1
            yield m.NodeDone(
                task.attempt, task.pipeline, task.iteration, node, "k", 0.0, 0.0, 1, 1, self.worker, last=last
            )

    def do(self, node: str) -> None:
        match node:
            case "leak":
                KEPT.append(b"x" * LEAK)
            case "hang":
                time.sleep(600)
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "leave":
                os._exit(3)
            case "spawn":
                subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
                time.sleep(600)
            case "popen":
                child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
                child.terminate()
                child.wait()
            case "pool":
                with multiprocessing.get_context("fork").Pool(2) as pool:
                    pool.map(abs, range(4))
                pool.join()
            case "parricide":
                os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(600)
            case "forked":
                child_pid = os.fork()
                if child_pid == 0:
                    time.sleep(600)
                os.kill(child_pid, signal.SIGTERM)
                os.waitpid(child_pid, 0)
            case "scribble":
                for fd in map(int, os.listdir("/proc/self/fd")):
                    if (
                        fd > 2
                        and os.path.exists(path := f"/proc/self/fd/{fd}")
                        and os.readlink(path).startswith("pipe:")
                    ):
                        os.write(fd, b"what is this?")
            case "use":  # what a transform does
                importlib.import_module("nodes.bad")
            case "wait":
                while not (self.data_dir / "go").exists():
                    time.sleep(0.01)


def main() -> int:
    """``python -m tests.workers.fake_executor PROJECT DATA_DIR WORKERS``: the pool, unsupervised."""
    parser = argparse.ArgumentParser()
    parser.add_argument("project", type=Path)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("workers", type=int)
    options = parser.parse_args()
    places = paths.prepare(options.data_dir)
    digest = code_digest(options.project)
    actor = PoolActor(
        "pool-0", f"i{os.getpid()}", "host", os.getpid(), options.workers, digest, memory=memory.available()
    )
    driver = PoolDriver(
        "pool-0",
        project=options.project,
        data_dir=options.data_dir,
        endpoint=places.socket("pool-0"),
        host="host",
        executor="tests.workers.fake_executor:FakeExecutor",
    )
    return run_peer("pool-0", actor, driver, places.endpoint)


if __name__ == "__main__":
    sys.exit(main())
