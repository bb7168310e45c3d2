"""Sources that are looked at and read as they are anywhere: logs of events, and tables of a database that grow. Their
finders, probes and readers are the product's; what they look at lies in a folder of the life's own, which the rest of
the life does not know.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

from msgspec.structs import replace

from odibi_actors.config.model import ReadSpec
from odibi_actors.kinds.connection import OPEN
from odibi_actors.messages import Message
from odibi_actors.model import Position, PositionRead, Range
from odibi_actors.sim import log
from odibi_actors.sim.tables import Database, Running
from odibi_actors.sim.work import Killed
from odibi_actors.sources.events import log as event_log
from odibi_actors.sources.events import reader as event_reader
from odibi_actors.sources.events.effects import Append, Prune, Survey
from odibi_actors.sources.events.probe import Probe as EventProbe
from odibi_actors.sources.query import reader as table_reader
from odibi_actors.sources.query.probe import Probe as TableProbe
from odibi_actors.streaming.effects import Again, Ahead, Ask, AsNow, Piece, Seen

EVENTS, TABLES = "event", "incremental"
"""Modes of the sources that are."""

KILLED = 0.04
"""How often the source is killed about a commit of a log, while anything goes wrong."""


class Folder:
    """What these sources of a life read. ``full_until``: until when the disk of the logs is; ``harm``: whether anything
    goes wrong."""

    def __init__(self, seed: int, now: Callable[[], float]) -> None:
        self.now = now
        self.databases: dict[str, Database] = {}  # by the path of the connection
        self.full_until = 0.0
        self.harm = False
        self.look: Callable[[], None] = lambda: None  # at what has come into the logs
        self._seed = seed
        self._dice = random.Random(f"killed about commits {seed}")

    @cached_property
    def root(self) -> str:
        """Where it is."""
        memory = "/dev/shm"  # syncing is tried elsewhere
        return tempfile.mkdtemp(prefix="odibi-life-", dir=memory if os.access(memory, os.W_OK) else None)

    def calm(self) -> None:
        """Nothing goes wrong any more, and whoever writes to a table comes to an end."""
        self.harm, self.full_until = False, 0.0
        for database in self.databases.values():
            for one in [*database.running.values()]:
                database.commit(one)
            database.quiet = True

    def close(self) -> None:
        """The life has ended."""
        for database in self.databases.values():
            database.close()
        if "root" in self.__dict__:
            shutil.rmtree(self.root)

    def outside(self, read: ReadSpec) -> ReadSpec:
        """The same, of what lies in the folder."""
        return replace(read, connection=replace(read.connection, path=self.root + read.connection.path))

    def make_log(self, read: ReadSpec) -> Path:
        """An empty log of events, which is the same in each life of this seed."""
        folder = Path(self.root + read.connection.path, read.path)
        event_log.writing(folder)
        path = folder / event_log.NAME
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("UPDATE log SET id = ?", (random.Random(f"log {self._seed}").randbytes(16),))
        db.close()
        return path

    def make_table(self, read: ReadSpec, rows: Callable[[], list[int]]) -> Database:
        """An empty table; ``rows``: of transactions that come while somebody looks."""
        path = Path(self.root + read.connection.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        of = random.Random(f"table {read.connection.path} {self._seed}")
        database = self.databases[read.connection.path] = Database(path, read.table, of, self.now, rows)
        return database

    def reached(self, name: str) -> None:
        """A failpoint of a log: a full disk cannot be written, and sources are killed before and after that. Raises
        Killed and sqlite3.OperationalError."""
        if name == "events.commit" and self.full_until > self.now():
            raise sqlite3.OperationalError("database or disk is full")
        if name.startswith("events.") and self.harm and self._dice.random() < KILLED:
            raise Killed(name)

    def read(self, read: ReadSpec, positions: list[Position]) -> tuple[list[int], list[PositionRead]]:
        """What a worker reads of planned positions."""
        if not positions:
            return [], []
        outside, asked = self.outside(read), [log.bare(position) for position in positions]
        if read.mode == EVENTS:
            folder = Path(outside.connection.path, outside.path)
            found = event_reader.load(outside, folder, asked, b"")
        else:
            found = table_reader.load(outside, asked, b"", OPEN)
        files = [replace(one, detail=position.detail) for one, position in zip(found.files, positions, strict=True)]
        return found.table.column("id").to_pylist(), files


class Probes:
    """Those of one source actor, which forgets them when it ends."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._events = EventProbe(folder.now)
        self._tables = TableProbe(lambda _type: Running(folder.databases))

    def steps(self, ask: Ask) -> Iterator[Message | None]:
        """What is asked, step by step."""
        told = ask
        ask = replace(ask, read=self._folder.outside(ask.read))
        if isinstance(ask, Again):
            ask = replace(ask, positions=[log.bare(position) for position in ask.positions])
        probe = self._events if ask.read.mode == EVENTS else self._tables
        match ask:
            case Append() if isinstance(probe, EventProbe):
                steps = probe.append(ask)
            case Survey() if isinstance(probe, EventProbe):
                steps = probe.survey(ask)
            case Prune() if isinstance(probe, EventProbe):
                held = [log.bare(position) for position in ask.held]
                steps = probe.prune(replace(ask, held=held))
            case Again():
                steps = probe.again(ask)
            case Ahead():
                steps = probe.ahead(ask)
            case _:
                raise TypeError(f"nobody answers {type(ask).__name__}")
        for message in steps:
            yield self._inside(message, told)

    def _inside(self, message: Message | None, ask: Ask) -> Message | None:
        """What it says of tables has the rows that are meant."""
        if ask.read.mode == EVENTS or not isinstance(message, Seen | AsNow):
            return message
        if isinstance(message, AsNow) and isinstance(ask, Again):
            asked = {position.identity: position for position in ask.positions}
            as_now = [
                Piece(one.range, replace(one.position, detail=asked[one.position.identity].detail))
                for one in message.pieces
            ]
            return replace(message, pieces=as_now)
        assert isinstance(message, Seen)
        parts = [
            replace(part, pieces=[Piece(one.range, self._telling(ask.read, one)) for one in part.pieces])
            for part in message.parts
        ]
        return replace(message, parts=parts)

    def _telling(self, read: ReadSpec, piece: Piece) -> Position:
        rows, _ = self._folder.read(read, [piece.position])
        assert isinstance(piece.range, Range)
        return log.telling(piece.position, piece.range.partition, rows)
