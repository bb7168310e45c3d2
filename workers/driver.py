"""The impure half of the pool: the warm parents, the workers' sockets, and the spool on disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import zmq

from odibi_actors import __version__
from odibi_actors import messages as m
from odibi_actors.actor import DeleteSpool, Effect, Measure, StartWorker, StopWorker, ToWorker
from odibi_actors.config import code_digest
from odibi_actors.errors import OdibiError, ProtocolError
from odibi_actors.failpoints import failpoint
from odibi_actors.nodes.package import module_of
from odibi_actors.runtime import wire
from odibi_actors.runtime.linux import exit_reason
from odibi_actors.runtime.log import Complaints, log
from odibi_actors.runtime.memory import resident
from odibi_actors.runtime.process import receive, secure
from odibi_actors.workers import spool
from odibi_actors.workers.link import Exited, Failed, Fork, Forked, Importing, Kill, Ready, hear, pair, tell
from odibi_actors.workers.pipe import Reader
from odibi_actors.workers.template import EXECUTOR

Pair = tuple[str, m.Message]
DYING = 2.0  # seconds a warm parent that closed its link has to end
HANGS = 45.0  # seconds one import takes at least when it is given up
DEAD = -9  # status told for a worker that died unseen

TEMPLATE_ENV = {
    # fresh pages are what costs: keep memory instead of giving it back (1.6-2.3 times faster chains of pandas nodes)
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    # no threads before the fork, and one worker per core after it
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ARROW_IO_THREADS": "2",
}
"""Defaults for the warm parent; what the user's environment sets wins."""


KILLS = 3
"""Times that a parent is killed by SIGKILL while it imports one module before that is taken for the module's doing."""


class Child:
    """One worker's process: its ``pid``, 0 until it is told, and its ``results``, once its parent was asked to fork.
    ``spoiled``: why they cannot be read any more, for which it is killed."""

    def __init__(self) -> None:
        self.pid = 0
        self.spoiled = ""
        self.results: Reader | None = None

    def close(self) -> None:
        """It is dead, and all it said is read."""
        if self.results is not None:
            self.results.close()


class Parent:
    """One warm parent, and the workers it has forked, or will, by name. ``importing``: what it imports, ``since`` when
    (monotonic); ``failed``: why that cannot be."""

    def __init__(self, process: subprocess.Popen[bytes], link: Any) -> None:
        self.process, self.link = process, link
        self.ready = False
        self.workers: dict[str, Child] = {}
        self.importing, self.since = "", time.monotonic()
        self.failed = ""

    def fork(self, worker: str) -> None:
        """Ask it for this worker."""
        ours, theirs = os.pipe()
        self.workers[worker].results = Reader(ours)
        tell(self.link, Fork(worker, theirs))
        os.close(theirs)

    def end(self) -> None:
        """Kill it, and with it its workers."""
        self.link.close()
        self.process.kill()
        self.process.wait()

    def died(self) -> str:
        """How it ended, once it has closed its link."""
        try:
            status = self.process.wait(DYING)
        except subprocess.TimeoutExpired:
            return "closed what connects it with its pool"
        return f"exited with code {status}" if status >= 0 else f"killed by {exit_reason(status)}"


class PoolDriver:
    """See ``actor.Driver``. ``endpoint``: the ``ipc://`` address for workers; ``project``: the folder whose
    ``nodes/`` they load."""

    def __init__(
        self, name: str, *, project: Path, data_dir: Path, endpoint: str, host: str, executor: str = EXECUTOR
    ) -> None:
        self._name, self._project, self._data_dir, self._host = name, project, data_dir, host
        self._endpoint, self._executor = endpoint, executor
        self._context: zmq.Context[Any] = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        secure(self._router, remote=False)
        self._router.set(zmq.ROUTER_MANDATORY, 1)
        self._router.bind(endpoint)
        self._complain = Complaints(name)
        self._parents: list[Parent] = []  # the last one forks; the others live until their last worker is gone
        self._barred: dict[str, str] = {}  # modules of nodes/ that end or hang who imports them -> why
        self._barred_in = ""  # the digest of that nodes/
        self._killed: list[str] = []  # what parents imported that were killed one after the other, none ready between

    def inputs(self) -> dict[Any, Callable[[], Iterable[Pair]]]:
        found: dict[Any, Callable[[], Iterable[Pair]]] = {self._router: self._read_ready}
        for parent in self._parents:
            found[parent.link.fileno()] = partial(self._read_parent, parent)
            for name, child in parent.workers.items():
                if child.results is not None and not child.results.ended:
                    found[child.results.fileno()] = partial(self._read_results, name, child)
        return found

    def perform(self, effect: Effect, now: float) -> Iterable[Pair]:
        match effect:
            case StartWorker():
                self._start(effect.worker, effect.fresh)
            case StopWorker():
                return self._stop(effect.worker)
            case ToWorker():
                self._to_worker(effect.worker, effect.message)
            case Measure():
                pids = {name: child.pid for parent in self._parents for name, child in parent.workers.items()}
                found = {name: resident(pids[name]) for name in effect.workers if pids.get(name)}
                return [(m.LOCAL, m.Measured({name: size for name, size in found.items() if size}))]
            case DeleteSpool():
                for problem in spool.delete(self._data_dir / "spool", effect.iterations):
                    log("warning", self._name, "the spool cannot be cleaned", {"problem": problem})
            case _:
                raise TypeError(f"a pool does not carry out {type(effect).__name__}")
        return []

    def close(self) -> None:
        for parent in self._parents:
            parent.end()
            for child in parent.workers.values():
                child.close()
        self._context.destroy(linger=0)

    # --- workers --------------------------------------------------------------------------------------------------

    def _start(self, worker: str, fresh: bool) -> None:
        if fresh or not self._parents:
            self._parents.append(self._spawn())
            for parent in [p for p in self._parents[:-1] if not p.workers]:
                self._retire(parent)
        parent = self._parents[-1]
        parent.workers[worker] = Child()
        if parent.ready:
            parent.fork(worker)

    def _stop(self, worker: str) -> list[Pair]:
        parent = self._parent_of(worker)
        if parent is None:
            return []
        if parent.ready:
            tell(parent.link, Kill(worker))
            return []
        # still importing: nothing was forked; one that nobody waits for any more may hang in an import for good
        del parent.workers[worker]
        if not parent.workers:
            took = time.monotonic() - parent.since
            if took >= HANGS:
                self._bar(parent, f"takes more than {took:.0f} s")
            self._retire(parent)
        return [(m.LOCAL, m.WorkerExited(worker, 0, DEAD, blamed=False))]

    def _to_worker(self, worker: str, message: m.Message) -> None:
        parent = self._parent_of(worker)
        body = wire.encode_body(message)
        if parent is None or len(body) > wire.BODY_MAX:
            log("error", self._name, "not sent", {"to": worker, "bytes": len(body)})
            return
        try:
            failpoint("pool.send")
            self._router.send_multipart([wire.identity(worker, str(parent.workers[worker].pid)), body], zmq.DONTWAIT)
            failpoint("pool.sent")
        except zmq.ZMQError as error:  # gone: its death is reported, or its task's deadline comes
            log("debug", self._name, "not sent", {"to": worker, "error": error})

    def _read_ready(self) -> Iterator[Pair]:
        """Those that came up. It is told by the way that tasks take, which is open then."""
        for sender, body in receive(self._router, 2, "pool"):
            name, _, pid = sender.decode("ascii", "replace").rpartition("/")
            parent = self._parent_of(name)
            message = wire.decode_body(body, refused=())
            if not isinstance(message, m.WorkerReady):
                self._complain("dropped a frame", {"from": name, "reason": message})
            elif parent is not None and pid.isdecimal():
                child = parent.workers[name]
                child.pid = child.pid or int(pid)  # it may be quicker than its parent's word of it
                if child.pid == int(pid):
                    yield name, message

    def _read_results(self, name: str, child: Child) -> Iterator[Pair]:
        """What it has written. Who writes anything else is killed: nobody would know what it meant by the rest."""
        try:
            for frame in child.results.frames() if child.results is not None else ():
                yield name, _result(frame)
        except ProtocolError as error:
            child.close()
            child.spoiled = f"what it wrote for its pool is no result: {error}"
            log("error", self._name, "a worker is killed", {"worker": name, "pid": child.pid, "reason": child.spoiled})
            if (parent := self._parent_of(name)) is not None:
                tell(parent.link, Kill(name))

    def _end(self, name: str, child: Child, exited: m.WorkerExited) -> Iterator[Pair]:
        """The worker is dead: what it had said, then that."""
        yield from self._read_results(name, child)
        child.close()
        yield m.LOCAL, msgspec.structs.replace(exited, because=child.spoiled)

    # --- warm parents ---------------------------------------------------------------------------------------------

    def _spawn(self) -> Parent:
        ours, theirs = pair()
        argv = [sys.executable, "-P", "-m", "odibi_actors.workers.template", "--fd", str(theirs.fileno())]
        argv += ["--parent", str(os.getpid()), "--project", str(self._project), "--data-dir", str(self._data_dir)]
        digest = self._digest()
        if digest != self._barred_in:
            self._barred, self._barred_in = {}, digest
        argv += ["--barred", json.dumps(self._barred), "--executor", self._executor]
        argv += ["--host", self._host, "--endpoint", self._endpoint]
        failpoint("pool.spawn")
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            cwd=self._project,
            env={**TEMPLATE_ENV, **os.environ},
        )
        failpoint("pool.spawned")
        theirs.close()
        return Parent(process, ours)

    def _digest(self) -> str:
        try:
            return code_digest(self._project)
        except (OdibiError, OSError):
            return ""

    def _bar(self, parent: Parent, how: str) -> bool:
        """Whether it was a module of ``nodes/`` that the parent imported, which is not imported any more now."""
        if not parent.importing.startswith("nodes/") or module_of(parent.importing) in self._barred:
            return False
        reason = f"importing {parent.importing} {how}; correct it, then `odibictl apply`"
        self._barred[module_of(parent.importing)] = reason
        log("error", self._name, "a module of nodes/ is not imported any more until it is changed", {"reason": reason})
        return True

    def _killed_by_others(self, parent: Parent) -> bool:
        """Whether its death in the middle of an import may be somebody else's doing: nobody can tell who sent SIGKILL.
        Then the module is tried again."""
        if parent.process.returncode != -signal.SIGKILL or not parent.importing.startswith("nodes/"):
            self._killed.clear()
            return False
        self._killed.append(parent.importing)
        return self._killed.count(parent.importing) < KILLS

    def _retire(self, parent: Parent) -> None:
        self._parents.remove(parent)
        parent.end()

    def _parent_of(self, worker: str) -> Parent | None:
        return next((parent for parent in self._parents if worker in parent.workers), None)

    def _read_parent(self, parent: Parent) -> Iterator[Pair]:
        for said in hear(parent.link):
            match said:
                case Importing():
                    parent.importing, parent.since = said.what, time.monotonic()
                    yield m.LOCAL, m.Warming(said.what)
                case Failed():
                    parent.failed = said.text
                case Ready() if said.protocol != m.PROTOCOL:
                    yield from self._parent_foreign(parent, said)
                    return
                case Ready():
                    self._parent_ready(parent, said)
                    problems = [brief(problem) for problem in said.problems]
                    if said.version != __version__:
                        problems.append(f"workers run version {said.version}, this pool {__version__}: {m.ONE_VERSION}")
                    yield m.LOCAL, m.Warming("", problems)
                case Forked() if said.worker in parent.workers:
                    parent.workers[said.worker].pid = said.pid
                case Exited() if said.worker in parent.workers:
                    child = parent.workers.pop(said.worker)
                    yield from self._end(said.worker, child, m.WorkerExited(said.worker, said.pid, said.status))
                case None:
                    yield from self._parent_died(parent)
                    return
        if not parent.workers and parent is not self._parents[-1]:
            self._retire(parent)

    def _parent_ready(self, parent: Parent, ready: Ready) -> None:
        parent.ready = True
        self._killed.clear()
        log("info", self._name, "warm parent ready", {"pid": parent.process.pid, "seconds": round(ready.seconds, 3)})
        if ready.threads > 1:
            text = "importing nodes/ started threads, which forked workers lack: start them when a node runs"
            log("warning", self._name, text, {"threads": ready.threads})
        for problem in ready.problems:
            log("warning", self._name, "a module of nodes/ cannot be imported", {"problem": problem})
        for worker in parent.workers:
            parent.fork(worker)

    def _parent_foreign(self, parent: Parent, ready: Ready) -> Iterator[Pair]:
        """The package was changed while this pool runs: its workers would not understand what they are told."""
        self._retire(parent)
        theirs, ours = f"{ready.version} (protocol {ready.protocol})", f"{__version__} (protocol {m.PROTOCOL})"
        text = (
            f"workers cannot start: the package here is version {theirs} by now, this pool runs {ours}: {m.ONE_VERSION}"
        )
        log("error", self._name, text)
        yield m.LOCAL, m.Warming("", [text])
        for worker in parent.workers:  # none was forked yet
            yield m.LOCAL, m.WorkerExited(worker, 0, DEAD, blamed=False)

    def _parent_died(self, parent: Parent) -> Iterator[Pair]:
        """Its workers die with it. Where a module of ``nodes/`` was the cause, another parent does without that one;
        else the next StartWorker makes another parent."""
        how = parent.died()
        self._retire(parent)
        log("error", self._name, "the warm parent died", {"pid": parent.process.pid, "how": how})
        ended = not parent.ready and not parent.failed
        if ended and (self._killed_by_others(parent) or self._bar(parent, f"ended its process: {how}")):
            following = self._spawn()
            following.workers = parent.workers  # none was forked yet
            self._parents.append(following)
            return
        if not parent.ready:
            why = f"{parent.importing}: {parent.failed or how}" if parent.importing else how
            yield m.LOCAL, m.Warming("", [f"workers cannot start: importing {why}"])
        for worker, child in parent.workers.items():
            exited = m.WorkerExited(worker, child.pid, DEAD, blamed=False, orphaned=parent.ready)
            yield from self._end(worker, child, exited)


def _result(frame: bytes) -> m.WorkerResult:
    message = wire.decode_body(frame, refused=())
    if isinstance(message, m.WorkerResult):
        return message
    raise message if isinstance(message, ProtocolError) else ProtocolError(f"it is a {type(message).__name__}")


def brief(problem: str) -> str:
    """``nodes/x.py: ValueError: no`` of that with a traceback between."""
    first, _, rest = problem.strip().partition(": ")
    last = rest.splitlines()[-1].strip() if rest else ""
    return last if first in last else f"{first}: {last}"
