"""The warm parent: a process with pandas, pyarrow, DuckDB and the project's ``nodes/`` loaded, which forks workers
in milliseconds and tells its pool at once when one dies.

It runs no user code beyond imports, starts no threads and has no ZeroMQ context: a forked child has only the thread
that forked, so a pool of threads started here would be dead there, and waiting for it a deadlock.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from odibi_actors.config import code_digest
from odibi_actors.config.digest import code_files
from odibi_actors.errors import ConfigError
from odibi_actors.failpoints import failpoint
from odibi_actors.nodes.package import BarredError, claim, forget, module_of
from odibi_actors.runtime.forks import forking_own
from odibi_actors.runtime.linux import die_with_parent, ignore_draining
from odibi_actors.workers import worker as child
from odibi_actors.workers.link import TEXT_MAX, Exited, Failed, Fork, Forked, Importing, Kill, Ready, hear, tell

EXECUTOR = "odibi_actors.nodes.executor:Executor"
LIBRARIES = ("numpy", "pandas", "pyarrow", "pyarrow.compute", "pyarrow.csv", "pyarrow.parquet", "duckdb", "zmq")
HARMLESS = frozenset({"jemalloc_bg_thd", "polars-ooc-clea"})
"""Names (15 characters) of threads that the mere import of a library starts and a child does without: an allocator
starts its own again in the child, polars' one removes files of spilled queries; its pool starts at the first query."""
DIGEST_TRIES = 5  # times nodes/ is read again when it changed while it was imported


class Warm:
    """What all workers of this parent share: the executor's class and the digest of the code they have."""

    def __init__(self, options: argparse.Namespace, tell_of: Callable[[str], object]) -> None:
        self.options = options
        for library in LIBRARIES:
            tell_of(library)
            importlib.import_module(library)
        module, _, name = options.executor.partition(":")
        self.executor: Any = getattr(importlib.import_module(module), name)
        # only now: a file of the project must not take the place of one of our own imports
        claim(Path(options.project), json.loads(options.barred))
        self.code_digest, self.problems = load_nodes(Path(options.project), tell_of)
        gc.collect()
        gc.freeze()  # what is loaded stays; collecting it in children would only copy its pages


def load_nodes(project: Path, tell_of: Callable[[str], object]) -> tuple[str, list[str]]:
    """Import ``nodes/**/*.py``, each told before; returns the digest of what was imported, and what could not be.

    A module that cannot be imported must not stop the others: its nodes show the error when they run.
    """
    problems: list[str] = []
    for _ in range(DIGEST_TRIES):
        try:
            digest = code_digest(project)
            names = code_files(project)
        except (ConfigError, OSError) as error:
            return "", [str(error)]
        problems = []
        for name in names:
            tell_of(name)
            try:
                importlib.import_module(module_of(name))
            except BarredError as error:
                problems.append(f"{name}: {error}"[:TEXT_MAX])
            except BaseException:  # noqa: BLE001 - importing runs the user's code, which may raise anything
                problems.append(f"{name}: {traceback.format_exc(limit=-3)}"[:TEXT_MAX])
        try:
            if code_digest(project) == digest:
                return digest, problems
        except (ConfigError, OSError) as error:
            return "", [str(error)]
        forget()
    return "", [*problems, "nodes/ changes all the time"]


class Template:
    """Forks, reaps and kills workers as told over ``link``."""

    def __init__(self, link: socket.socket, warm: Warm) -> None:
        self._link, self._warm = link, warm
        self._pids: dict[str, int] = {}
        self._watched: dict[int, str] = {}  # pidfd -> worker
        self._poll = select.poll()
        self._poll.register(link, select.POLLIN)

    def run(self) -> None:
        """Until the pool is gone."""
        while True:
            for fd, _ in self._poll.poll():
                if fd == self._link.fileno():
                    if not self._obey():
                        return
                else:
                    self._reap(fd)

    def _obey(self) -> bool:
        for said in hear(self._link):
            match said:
                case None:
                    return False
                case Fork():
                    self._fork(said.worker, said.pipe)
                case Kill() if said.worker in self._pids:
                    _kill_group(self._pids[said.worker])
        return True

    def _fork(self, worker: str, pipe: int) -> None:
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        failpoint("template.fork")
        with forking_own():
            pid = os.fork()
        if pid == 0:
            self._child(worker, pipe, parent)
        failpoint("template.forked")
        os.close(pipe)  # the worker's alone: it ends with it
        fd = os.pidfd_open(pid)
        self._pids[worker], self._watched[fd] = pid, worker
        self._poll.register(fd, select.POLLIN)
        tell(self._link, Forked(worker, pid))

    def _child(self, worker: str, pipe: int, parent: int) -> NoReturn:
        code = 1
        try:
            os.setpgid(0, 0)
            die_with_parent(parent)
            self._link.close()
            for fd in self._watched:
                os.close(fd)
            options = self._warm.options
            child.run(worker, options.endpoint, pipe, Path(options.data_dir), options.host, self._warm)
            code = 0
        except SystemExit as stopped:  # user code called sys.exit
            code = stopped.code if isinstance(stopped.code, int) else 1
        except BaseException:  # noqa: BLE001 - the last frame of a process: tell, and end below
            traceback.print_exc()
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)  # never back into the parent's loop, nor through its exit handlers

    def _reap(self, fd: int) -> None:
        worker = self._watched.pop(fd)
        pid = self._pids.pop(worker)
        self._poll.unregister(fd)
        os.close(fd)
        _kill_group(pid)  # whatever it had started; not reaped yet, so the number is still its own
        _, status = os.waitpid(pid, 0)
        tell(self._link, Exited(worker, pid, os.waitstatus_to_exitcode(status)))


def _kill_group(pid: int) -> None:
    for kill in (os.killpg, os.kill):  # it may not have made its group yet
        try:
            kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def main() -> int:
    """``python -m odibi_actors.workers.template``: started by the pool's driver only."""
    parser = argparse.ArgumentParser(
        prog="odibi_actors.workers.template", description="The pool's warm parent; not for people."
    )
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--project", required=True)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--executor", default=EXECUTOR)
    parser.add_argument("--barred", default="{}", help="modules not to import, with the reason, as JSON")
    options = parser.parse_args()
    die_with_parent(options.parent)
    ignore_draining()  # the pool decides when its workers end
    began = time.monotonic()
    link = socket.socket(fileno=options.fd)
    try:
        warm = Warm(options, lambda what: tell(link, Importing(what)))
    except BaseException as error:  # noqa: BLE001 - no memory, a library that is not there or not whole: tell, and end
        traceback.print_exc()
        tell(link, Failed(f"{type(error).__name__}: {error}"[:TEXT_MAX]))
        return 1
    tell(link, Ready(warm.code_digest, time.monotonic() - began, _threads(), _shorten(warm.problems)))
    Template(link, warm).run()
    return 0


def _threads() -> int:
    """Threads of this process that a forked child would miss."""
    names = [Path(f"/proc/self/task/{task}/comm").read_text().strip() for task in os.listdir("/proc/self/task")]
    return sum(1 for name in names if name not in HARMLESS)


def _shorten(problems: list[str]) -> list[str]:
    told: list[str] = []
    for problem in problems:
        if sum(map(len, told)) + len(problem) > TEXT_MAX:
            return [*told, f"... {len(problems)} modules in all"]
        told.append(problem)
    return told


if __name__ == "__main__":
    sys.exit(main())
