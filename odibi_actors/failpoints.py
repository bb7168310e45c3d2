"""Named places where a test may kill or stop this process; nothing happens unless the environment asks for it.

``ODIBI_FAILPOINTS="store.commit:kill@3"`` kills a process, as by ``kill -9``, the third time it gets there; several are
joined by commas. ``ODIBI_FAILPOINTS="@FILE"`` reads the same from a file each time a process starts: the first process
to get there moves the file away (to ``FILE.<pid>``), so that its successor lives. ``ODIBI_FAILPOINTS_SEEN=FILE`` notes
there each place a process gets to. ``kill`` is SIGKILL, ``stop`` SIGSTOP.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

DECLARED: dict[str, str] = {
    "peer.receive": "an actor is about to read a message of the broker",
    "peer.received": "it has read one, and not looked at it",
    "peer.send": "an actor is about to send to the broker",
    "peer.sent": "it has handed a message over",
    "hub.receive": "the broker is about to read a message",
    "hub.received": "it has read one, and not looked at it",
    "hub.send": "the broker is about to send, or to forward",
    "hub.sent": "it has handed a message over",
    "connection.rename": "the broker's connection file is written under another name",
    "connection.renamed": "it has its name",
    "store.begin": "before a transaction of the checkpoint store",
    "store.commit": "before its commit",
    "store.committed": "after it, nobody told",
    "store.checkpoint": "before the store's log is copied into its file",
    "store.checkpointed": "after that",
    "store.seal": "before the digests of its pages are written",
    "store.sealed": "after that",
    "source.scan": "before a folder is listed",
    "source.scanned": "after that, nobody told",
    "source.probe": "before it is looked at what a source that is read in order has",
    "source.probed": "after that",
    "source.poll": "before a source is polled",
    "source.polled": "after that, nothing is kept",
    "events.commit": "before a change of a log of events is committed",
    "events.committed": "after that, nobody told",
    "events.prune": "before the deletion of events that were read is committed",
    "events.pruned": "after that, nobody told",
    "pool.spawn": "before a warm parent is started",
    "pool.spawned": "after that",
    "pool.receive": "the pool is about to read a result of a worker",
    "pool.received": "it has read one, and not looked at it",
    "pool.send": "the pool is about to send a task to a worker",
    "pool.sent": "it has handed the task over",
    "spool.delete": "before the outputs of an iteration are deleted",
    "spool.deleted": "after that",
    "template.fork": "before a worker is forked",
    "template.forked": "after that, nobody told",
    "worker.received": "a worker has a task",
    "worker.send": "a worker is about to tell a result",
    "worker.sent": "it has handed the result over",
    "file.create": "before a file is created",
    "file.written": "its bytes are written",
    "file.fsync": "before its bytes are synced",
    "file.fsynced": "after that",
    "dir.fsync": "before the names in a folder are synced",
    "dir.fsynced": "after that",
    "spool.rename": "an output is written under another name",
    "spool.renamed": "it has its name",
    "folder.stage": "a staged part is written, not linked under its name",
    "folder.staged": "it is linked, the other name not removed",
    "folder.file": "before a file of a part is linked to its place, not visible without the manifest",
    "folder.link": "before a part is linked to its published name",
    "folder.linked": "it is visible, the name not synced",
    "folder.rename": "before a part is renamed over the one it replaces",
    "folder.retract": "before a part is taken back",
    "folder.unlinked": "its staged name is removed",
    "compact.written": "the joined files are written, without their names",
    "compact.placed": "they have their names, and no list names them",
    "compact.switch": "before the list of joined files takes the place of the former one",
    "compact.switched": "after that, what was joined is still there",
    "compact.delete": "before a file that was joined is deleted",
    "owner.replace": "before the owner of a folder is replaced",
    "owner.replaced": "after that, the name not synced",
    "sink.publish": "before a sink publishes a part, of whatever kind",
    "sink.published": "after it, not told yet",
    "rows.stage": "a staged part is written, not linked under its name",
    "rows.staged": "it is linked, the other name not removed",
    "table.begin": "before a transaction on the target",
    "table.commit": "before its commit",
    "table.committed": "after it, the staged part still there",
}
"""Name -> where that is."""

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
ENV, SEEN = "ODIBI_FAILPOINTS", "ODIBI_FAILPOINTS_SEEN"
_FORM = re.compile(r"(?P<name>[a-z.]+):(?P<act>kill|stop)(@(?P<time>[1-9][0-9]{0,8}))?")


class Point(NamedTuple):
    """``name`` reached for the ``time``-th time means this signal."""

    name: str
    signal: signal.Signals
    time: int


def parse(text: str) -> list[Point]:
    """The points of ``name:kill@3,name:stop``; raises ValueError that says what is wrong."""
    points = []
    for word in filter(None, text.strip().split(",")):
        found = _FORM.fullmatch(word)
        if found is None or found["name"] not in DECLARED:
            raise ValueError(f"{ENV}: {word!r} is not NAME:kill or NAME:stop with @N or without; names: {[*DECLARED]}")
        points.append(Point(found["name"], SIGNALS[found["act"]], int(found["time"] or 1)))
    return points


class _Armed:
    """What this process was asked for. ``on`` is all that a process nobody asks ever looks at."""

    def __init__(self) -> None:
        self.on = False
        self.told: Callable[[str], None] | None = None
        self.arm()

    def arm(self) -> None:
        """Read the environment (again)."""
        asked, self._seen_file = os.environ.get(ENV, ""), os.environ.get(SEEN, "")
        self._file = asked.removeprefix("@") if asked.startswith("@") else ""
        try:
            self._points = parse(Path(self._file).read_text() if self._file else asked)
        except FileNotFoundError:
            self._points = []
        self._times: dict[str, int] = {}
        self.on = bool(self._points or self._seen_file)

    def reach(self, name: str) -> None:
        """Be there once more."""
        if self.told is not None:
            self.told(name)
            return
        times = self._times[name] = self._times.get(name, 0) + 1
        if times == 1 and self._seen_file:
            with open(self._seen_file, "a") as file:
                file.write(f"{name}\n")
        for point in self._points:
            if (point.name, point.time) == (name, times) and self._claim():
                os.kill(os.getpid(), point.signal)

    def _claim(self) -> bool:
        """Whether it is for us to die: the first one has the file."""
        if not self._file:
            return True
        try:
            os.rename(self._file, f"{self._file}.{os.getpid()}")
        except FileNotFoundError:
            self.on = bool(self._seen_file)
            return False
        return True


_armed = _Armed()
arm = _armed.arm


@contextmanager
def watching(told: Callable[[str], None]) -> Iterator[None]:
    """``told`` hears of each place that this process gets to meanwhile, and may raise there; nothing else happens."""
    was = _armed.on
    _armed.told, _armed.on = told, True
    try:
        yield
    finally:
        _armed.told, _armed.on = None, was


def failpoint(name: str) -> None:
    """A place of ``DECLARED``: die or stop here when the environment asks for it."""
    if _armed.on:
        _armed.reach(name)
