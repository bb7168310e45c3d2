"""Sources that are looked at and read as they are anywhere: logs of events, what is polled into one, and tables of a
database that grow. Their finders, probes and readers are the product's; what they look at lies in a folder of the
life's own, which the rest of the life does not know.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

from msgspec.structs import replace

from odibi_actors.config.model import ReadSpec
from odibi_actors.kinds.connection import OPEN
from odibi_actors.messages import Message
from odibi_actors.model import Position, PositionRead, Range
from odibi_actors.sim import log
from odibi_actors.sim.own_folder import OwnFolder
from odibi_actors.sim.polls import Polls
from odibi_actors.sim.tables import Database, Running
from odibi_actors.sim.work import Killed
from odibi_actors.sources.events import log as event_log
from odibi_actors.sources.events import reader as event_reader
from odibi_actors.sources.events.effects import Append, Prune, Pruned, Survey
from odibi_actors.sources.events.probe import Probe as EventProbe
from odibi_actors.sources.query import reader as table_reader
from odibi_actors.sources.query.probe import Probe as TableProbe
from odibi_actors.sources.ticks.effects import Poll, Polled
from odibi_actors.sources.ticks.poll import poll
from odibi_actors.streaming.effects import Again, Ahead, Ask, AsNow, Piece, Seen

EVENTS, TABLES, POLLED = "event", "incremental", "interval"
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
        self.looks: list[Callable[[], None]] = []  # at what has come into the logs
        self.polls: Polls | None = None
        self.cuts = 0  # how often something was deleted from a log
        self.whole: Callable[[], bool] = lambda: False  # nothing may be deleted from any
        self._seed = seed
        self._dice = random.Random(f"killed about commits {seed}")

    @cached_property
    def _folder(self) -> OwnFolder:
        return OwnFolder()

    @property
    def root(self) -> str:
        """Where it is."""
        return self._folder.path

    def calm(self) -> None:
        """Nothing goes wrong any more, and whoever writes to a table comes to an end."""
        self.harm, self.full_until = False, 0.0
        if self.polls is not None:
            self.polls.calm()
        for database in self.databases.values():
            for one in [*database.running.values()]:
                database.commit(one)
            database.quiet = True

    def close(self) -> None:
        """The life has ended."""
        for database in self.databases.values():
            database.close()
        if "_folder" in self.__dict__:
            self._folder.close()

    def outside(self, read: ReadSpec) -> ReadSpec:
        """The same, of what lies in the folder."""
        polled = read.polled
        if polled is not None:
            polled = replace(polled, connection=replace(polled.connection, path=self.path(polled.connection.path)))
        return replace(read, connection=replace(read.connection, path=self.path(read.connection.path)), polled=polled)

    def left(self, read: ReadSpec) -> set[int]:
        """The events of a log that who begins with it reads: those below its floor were kept for dead letters."""
        path = Path(self.path(read.connection.path), read.path, event_log.NAME)
        db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        found = {number for (number,) in db.execute("SELECT number FROM events, log WHERE number > floor")}
        db.close()
        return found

    def path(self, path: str) -> str:
        """Where a path of the life really is."""
        return self.root + path

    def look(self) -> None:
        """What has come into the logs?"""
        for look in self.looks:
            look()

    def delay(self, ask: Ask) -> float:
        """Virtual seconds of the next step of what is asked."""
        if self.polls is not None and isinstance(ask, Poll):
            return self.polls.delay()
        return 0.0

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
        if name.startswith(("events.", "source.poll")) and self.harm and self._dice.random() < KILLED:
            raise Killed(name)

    def read(self, read: ReadSpec, positions: list[Position]) -> tuple[list[int], list[PositionRead]]:
        """What a worker reads of planned positions."""
        if not positions:
            return [], []
        outside, asked = self.outside(read), [log.bare(position) for position in positions]
        if read.mode in (EVENTS, POLLED):
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
        probe = self._tables if ask.read.mode == TABLES else self._events
        match ask:
            case Poll():
                steps = self._poll(ask)
            case Append() if isinstance(probe, EventProbe):
                steps = probe.append(ask)
            case Survey() if isinstance(probe, EventProbe):
                steps = probe.survey(ask)
            case Prune() if isinstance(probe, EventProbe):
                steps = self._prune(probe, ask)
            case Again():
                steps = probe.again(ask)
            case Ahead():
                steps = probe.ahead(ask)
            case _:
                raise TypeError(f"nobody answers {type(ask).__name__}")
        for message in steps:
            yield self._inside(message, told)

    def _prune(self, probe: EventProbe, ask: Prune) -> Iterator[Message | None]:
        """Nothing is deleted that an older store, or the newer one once it is back, may have to read."""
        if self._folder.whole():
            yield Pruned(ask.source, ask.number, problem="an older store is in place")
            return
        self._folder.cuts += 1
        yield from probe.prune(replace(ask, held=[log.bare(position) for position in ask.held]))

    def _poll(self, ask: Poll) -> Iterator[Message | None]:
        """What there is by the time that the poll has taken."""
        polls = self._folder.polls
        assert polls is not None
        assert ask.read.polled is not None
        if not polls.there(ask.source):
            yield Polled(ask.source, ask.number, problem="No such file")
            return
        for message in poll(ask):
            polls.polled(ask.source, ask.at, ask.read.polled.every)
            yield message

    def _inside(self, message: Message | None, ask: Ask) -> Message | None:
        """What it says of tables has the rows that are meant."""
        if ask.read.mode != TABLES or not isinstance(message, Seen | AsNow):
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
