"""One poll. A file is read here; a query and a function run in a process of their own, which can be ended."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from odibi_actors.config.model import PollSpec
from odibi_actors.errors import ConfigError
from odibi_actors.failpoints import failpoint
from odibi_actors.messages import Message
from odibi_actors.sources.ticks.code import Applied
from odibi_actors.sources.ticks.effects import Keep, Poll, Polled
from odibi_actors.units import format_duration, size

MAX_DATA = 256 << 20
"""Bytes of one poll: it is held in memory, and is one event of the log."""
TAIL = 500
"""Characters of what a process has said that are told, once it has failed."""
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


class Order(msgspec.Struct, frozen=True):
    """What the process is to do: see ``child``. ``out``: the file for what it has read; ``code``: the files of
    ``nodes/`` that it runs, whatever there is by now."""

    polled: PollSpec
    pipeline: str
    node: str
    at: float
    access: dict[str, str]
    root: str
    out: str
    code: dict[str, bytes] = {}


class Said(msgspec.Struct, frozen=True):
    """What it says: rows, or a problem."""

    rows: int = -1
    problem: str = ""


def keep(ask: Keep, applied: Applied) -> Iterator[Message | None]:
    """See ``effects.Keep``."""
    assert ask.read.polled is not None
    with suppress(ConfigError, OSError):  # a poll says why
        applied.of(ask.source, ask.root, ask.read.polled.function, ask.code)
    yield None


def poll(ask: Poll, applied: Applied | None = None) -> Iterator[Message | None]:
    """See ``effects.Poll``. ``applied``: the code that is kept."""
    polled = ask.read.polled
    assert polled is not None
    failpoint("source.poll")
    if polled.function or polled.of_table is not None:
        told = apart(ask, polled, applied or Applied())
    else:
        told = of_file(Path(polled.connection.path, polled.path))
    failpoint("source.polled")
    data, said = told
    if len(data) > MAX_DATA:
        data, said = b"", Said(problem=f"it has {size(len(data))}, and a poll has at most {size(MAX_DATA)}")
    yield Polled(ask.source, ask.number, data, said.rows, said.problem)


def of_file(path: Path) -> tuple[bytes, Said]:
    """A file as it is, unless it is written meanwhile."""
    try:
        with open(os.open(path, _FLAGS), "rb") as file:
            before = os.fstat(file.fileno())
            data = file.read(MAX_DATA + 1)
            after = os.fstat(file.fileno())
            named = path.stat()
    except OSError as error:
        return b"", Said(problem=f"{error.strerror}")
    if _stamp(before) != _stamp(after) or (named.st_dev, named.st_ino) != (after.st_dev, after.st_ino):
        return b"", Said(problem="it is being written")
    return data, Said()


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def apart(ask: Poll, polled: PollSpec, applied: Applied) -> tuple[bytes, Said]:
    """What a process of its own reads, which is ended once its time is up."""
    folder = Path(ask.read.connection.path, ask.read.path)
    try:
        code = applied.of(ask.source, ask.access.root, polled.function, ask.code) if ask.code else {}
    except (ConfigError, OSError) as error:
        return b"", Said(problem=str(error))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="poll-") as temporary:
            out = Path(temporary, "polled.arrow")
            node = ask.source.partition(".")[2]
            keys, root = dict(ask.access.keys), ask.access.root
            order = Order(polled, ask.pipeline, node, ask.at, keys, root, str(out), code)
            return _run(order, ask.limit, out)
    except OSError as error:
        return b"", Said(problem=f"{folder} cannot be written: {error.strerror}")


def _run(order: Order, limit: float, out: Path) -> tuple[bytes, Said]:
    command = [sys.executable, "-P", "-m", "odibi_actors.sources.ticks.child"]
    try:
        ran = subprocess.run(
            command, input=msgspec.msgpack.encode(order), capture_output=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return b"", Said(problem=f"it has not ended within {format_duration(limit)}")
    said = _said(ran)
    if said.problem or out.stat().st_size > MAX_DATA:
        return b"", said if said.problem else Said(problem=f"it is larger than {size(MAX_DATA)}")
    return out.read_bytes(), said


def _said(ran: subprocess.CompletedProcess[bytes]) -> Said:
    try:
        return msgspec.json.decode(ran.stdout, type=Said)
    except msgspec.DecodeError:
        tail: Any = ran.stderr.decode(errors="replace").strip()[-TAIL:]
        return Said(problem=f"its process ended with {ran.returncode}: {tail}")
