"""One stream of this process: batches of the rows that are not processed yet, each until it is."""

from __future__ import annotations

import itertools
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa

from odibi_actors.checkpoint.records import AnyRecord, Cancel, Setting
from odibi_actors.config.arrow_types import type_name
from odibi_actors.errors import ConflictError, MissingExtraError
from odibi_actors.kinds.connection import Access
from odibi_actors.kinds.registry import source_of
from odibi_actors.kinds.source import ReadResult
from odibi_actors.local.streams import session as sessions
from odibi_actors.local.streams.config import StreamConfig, StreamMode
from odibi_actors.local.streams.desk import STREAM
from odibi_actors.local.streams.floors import ANEW, Floors
from odibi_actors.local.streams.looks import LAST_RUN, Looks, Replaced
from odibi_actors.local.streams.portions import Batch, Current, as_engine, given_up, planned
from odibi_actors.local.streams.reading import SOURCE, read_spec
from odibi_actors.local.streams.session import Session, forget
from odibi_actors.local.streams.words import in_words
from odibi_actors.messages import Offer
from odibi_actors.model import Failure, Position, Range
from odibi_actors.nodes.failures import Failed
from odibi_actors.units import naming

log = logging.getLogger("odibi_actors.streaming")

SCHEMA: Final = "schema"
"""Setting: the columns of what is pushed, as JSON."""


class Feed:
    """``folder``: where its store is. ``config`` is not to be changed. Every method may be called from any thread.

    A batch is *open* until it is processed. All that is known beyond that is in the store: after an error, or a kill,
    the next call begins with what is durable.
    """

    def __init__(self, name: str, config: StreamConfig, folder: Path, floors: Floors | None) -> None:
        self.name, self.config, self.folder = name, config, folder
        self._floors = floors
        self._mode = StreamMode(config.mode)
        self._lock = threading.RLock()
        self._session: Session | None = None
        self._read = read_spec(config, folder)
        self._batch: Batch | None = None
        self._current: Current | None = None
        self._positions: list[Position] = []  # of it
        self._unsaid: list[AnyRecord] = []  # of batches that are processed, and not durable yet
        self._looks = Looks(name, config)

    # --- batches ------------------------------------------------------------------------------------------------------

    def next(self, engine: str, *, look: bool = True) -> Any:
        """The next batch; the one before counts as processed, unless it has failed: then it comes again. None: there is
        nothing, now. ``look``: look for more once what the last look has found is read. Raises ValueError, OSError,
        OdibiError."""
        with self._lock:
            while True:
                with self._working() as session:
                    self._looks.wanted = self._looks.wanted or look
                    try:
                        return self._next(session, engine)
                    except Replaced as why:
                        self._again(session, why)

    def _next(self, session: Session, engine: str) -> Any:
        if self._batch is not None and self._batch.left and self.troubled:
            self._batch.failed = True
        if self._batch is not None and self._batch.failed:
            log.warning("%s: a batch of %d rows comes again: processing it has failed", self.name, self._batch.rows)
        elif self._batch is not None:
            self._processed()
        self._batch = None
        self._say(session)
        while True:
            if self._current is not None and self._current.left:
                table = self._current.rows(self.config.batch_size)
                data = as_engine(table, engine)
                self._batch = Batch(data, table.num_rows, last_error())
                return data
            self._current = None
            offer = self._looks.offer(session, self._read)
            if offer is None or not self._take(session, offer):
                return None

    def processed(self) -> None:
        """The open batch, if there is one, is processed. It is on disk when this returns."""
        with self._lock:
            if self._batch is None or self._session is None:
                return
            with self._working() as session:
                self._processed()
                self._say(session)

    def failed(self) -> None:
        """Processing the open batch has failed: the next one is this one again."""
        with self._lock:
            if self._batch is not None:
                self._batch.failed = True

    def left(self, data: Any) -> None:
        """Whoever had these rows in a loop has left it: should an exception have done that which nobody catches, they
        come again."""
        with self._lock:
            if self._batch is not None and self._batch.data is data:
                self._batch.left = True

    def holds(self, values: Iterable[Any]) -> bool:
        """Whether the open batch is one of these."""
        with self._lock:
            return self._batch is not None and any(value is self._batch.data for value in values)

    @property
    def troubled(self) -> bool:
        """Whether an exception that nobody caught has come since the open batch was given."""
        with self._lock:
            return self._batch is not None and (self._batch.failed or self._batch.error_before is not last_error())

    def set_aside(self) -> list[str]:
        """Give up what is being read: of an iteration of which batches were given its rest, else the next position that
        there is. Returns the positions of which nothing more is read, ever. Raises as ``next``."""
        with self._working(resume=False) as session:
            plan = session.desk.open
            positions, records = plan.positions[SOURCE] if plan is not None else self._positions, list[AnyRecord]()
            number = plan.iteration if plan is not None else self._current.iteration if self._current else 0
            if not number:
                self._looks.wanted = True
                offer = self._looks.offer(session, self._read)
                if offer is None:
                    return []
                number, positions = session.desk.numbers + 1, offer.positions[:1]
                current = Current(number, pa.table({}), epoch=session.desk.epoch)
                records = planned(current, positions, offer.ranges[:1], None, consumed=not self._read.pinned)
            session.note([*records, *given_up(number, Failure("malformed", "set aside by the program"))])
            self._batch = self._current = session.desk.open = None
            names = [one.identity for one in positions]
            log.warning("%s: set aside, and not read again: %s", self.name, naming(names))
            return names

    def _processed(self) -> None:
        """The open batch is processed; it is noted with what comes next."""
        batch, current = self._batch, self._current
        assert batch is not None
        assert current is not None
        rows = current.rows(batch.rows)
        current.done += batch.rows
        if self._floors is not None:
            self._unsaid += self._floors.passed(rows)
        self._unsaid += current.progress()
        self._batch = None

    def _say(self, session: Session) -> None:
        """Make durable what is not."""
        if self._unsaid:
            records, self._unsaid = self._unsaid, []
            session.note(records)
            if self._floors is not None:
                self._floors.show()

    # --- what there is ------------------------------------------------------------------------------------------------

    def _again(self, session: Session, why: Replaced) -> None:
        """What was read is replaced: read what is there, beyond the watermark."""
        if self._floors is None or not session.desk.numbers:
            raise ValueError(f"{self.name}: {why}") from why
        log.warning(
            "%s: %s was replaced, so it is read from its beginning: rows beyond watermark %s are new, others count as "
            "read", self.name, self.config.source_path, self._floors.shown,
        )  # fmt: skip
        session.note(self._floors.replaced())
        self._close()

    def _take(self, session: Session, offer: Offer) -> bool:
        """Read of what is offered as much as goes into memory, and plan it. Whether it still is what was offered."""
        count = len(offer.positions) if self._read.pinned else _fitting(offer.positions)
        try:
            positions, ranges, found = self._load(session, offer.positions[:count], offer.ranges[:count])
        except Failed as error:
            if error.failure.kind == "changed":
                log.info("%s: %s; it is looked at again", self.name, error)
                self._looks.over()
                return False
            raise ValueError(in_words(self.name, f"{self.name}: {error}")) from error
        self._looks.taken(offer, len(positions))
        current = Current(session.desk.numbers + 1, self._given(found.table), epoch=session.desk.epoch)
        records = planned(current, positions, ranges, found, consumed=not self._read.pinned)
        records.append(Setting(STREAM, LAST_RUN, repr(time.time())))
        session.note([*records, *current.progress()] if not current.left else records)
        self._current, self._positions = current, positions
        return True

    def _load(
        self, session: Session, positions: list[Position], ranges: list[Range]
    ) -> tuple[list[Position], list[Range], ReadResult]:
        """Read positions; where one cannot be read, those before it. Raises Failed that names it, OSError."""
        count = len(positions)
        while True:
            try:
                found = self._loaded(session, positions[:count])
            except Failed as error:
                names = [one.identity for one in positions[:count]]
                count = names.index(error.failure.position) if error.failure.position in names else 0
                if not count:
                    raise
                continue
            return positions[:count], ranges[:count], found

    def _loaded(self, session: Session, positions: list[Position]) -> ReadResult:
        kind = source_of(self._read.mode)
        return kind.load(self._read, positions, session.desk.pinned, Access())

    def _given(self, table: pa.Table) -> pa.Table:
        return self._floors.above(table) if self._floors is not None and table.column_names else table

    # --- at work ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _working(self, *, resume: bool = True) -> Iterator[Session]:
        """Work with the session. After an error that is not the data's it is closed: the next one finds in the store
        what there was to do."""
        with self._lock:
            if self._session is None:
                self._session = self._begun(resume=resume)
            try:
                yield self._session
            except (ValueError, OSError, MissingExtraError):
                self._looks.over()
                raise
            except BaseException:
                self._close()
                raise

    def _begun(self, *, resume: bool) -> Session:
        session = self._start()
        try:
            if self._floors is not None:
                if records := self._floors.open(session.desk.settings):
                    session.note(records)
                if ANEW in session.desk.settings:
                    session.close()
                    forget(self.folder)
                    session = self._start()
                    session.note([Setting(STREAM, ANEW, "")])
                    self._floors.open(session.desk.settings)
            self._batch = self._current = None
            self._unsaid = []
            self._looks.over()
            if resume:
                self._resume(session)
        except BaseException:
            session.close()
            raise
        return session

    def _start(self) -> Session:
        try:
            session = Session(self.name, self.folder, self._read, self.config.batch_size)
        except ConflictError as error:
            raise ConflictError(
                f"stream {self.name!r} is read by another process ({error}): give this one another name, or another "
                "checkpoint_dir, and both read everything"
            ) from error
        if self._mode is StreamMode.EVENT and not self._read.schema and SCHEMA in session.desk.settings:
            self._columns(session, session.desk.settings[SCHEMA])
        return session

    def _resume(self, session: Session) -> None:
        """Read again what was planned and is not processed. Raises ValueError that names what cannot be."""
        plan, ack = session.desk.open, session.desk.acked
        if plan is None:
            return
        try:
            table = self._given(self._loaded(session, plan.positions[SOURCE]).table)
        except Failed as error:
            if self._read.pinned:  # what is there now is as good
                session.note([Cancel(STREAM, [plan.iteration], time.time())])
                session.desk.open = None
                return
            done = ack.rows_out if ack is not None else 0
            rest = f"; {done} of its rows are processed" if done else ""
            raise ValueError(
                in_words(self.name, f"{self.name}: {error}{rest}; put it back as it was, or give it up by set_aside()")
            ) from error
        session.desk.open = None
        self._positions = plan.positions[SOURCE]
        done = ack.rows_out if ack is not None else 0
        self._current = Current(plan.iteration, table, done, session.desk.epoch)
        if not self._current.left:
            session.note(self._current.progress())
            self._current = None

    def _close(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            session.close()
        self._batch = self._current = None
        self._unsaid = []

    def close(self) -> None:
        """Release the folder. An open batch comes again."""
        with self._lock:
            self._close()

    # --- pushing ------------------------------------------------------------------------------------------------------

    def push(self, rows: Any, key: str | None) -> int:
        """Have rows taken, which are durable when this returns. Returns how many. Raises ValueError, OdibiError."""
        from odibi_actors.client_events import chunks, table_of

        if self._mode is not StreamMode.EVENT:
            raise ValueError(f"{self.name} has mode {self._mode.value}: rows are pushed to one of mode event")
        table = table_of(rows)
        with self._working() as session:
            if not self._read.schema:
                columns = {one.name: type_name(one.type) for one in table.schema}
                if not columns:
                    raise ValueError("rows that are pushed have columns")
                text = msgspec.json.encode(columns).decode()
                session.note([Setting(STREAM, SCHEMA, text)])
                self._columns(session, text)
            named = key or os.urandom(8).hex()
            for number, data in enumerate(chunks(table)):
                taken = session.push(data, named, number)
                if taken["state"] == "full":
                    raise ConflictError(f"{self.name}: {taken['why']}: nothing is taken until some of it is processed")
        return int(table.num_rows)

    def _columns(self, session: Session, text: str) -> None:
        self._read = msgspec.structs.replace(self._read, schema=msgspec.json.decode(text, type=dict[str, str]))
        session.reads(self._read)

    # --- what people see ----------------------------------------------------------------------------------------------

    def last_run(self) -> datetime | None:
        """When the newest batch was given."""
        with self._working() as session:
            at = float(session.desk.settings.get(LAST_RUN, "0"))
        return datetime.fromtimestamp(at, UTC).astimezone() if at else None

    def watermark(self) -> Any:
        """The highest value that is processed; None: there is none."""
        with self._working():
            return self._floors.shown if self._floors is not None else None

    def files(self) -> list[str]:
        """Those that are processed, relative to the folder."""
        with self._working() as session:
            return session.taken()

    # --- waiting ------------------------------------------------------------------------------------------------------

    def news(self) -> bool:
        """Whether something is there that nobody has looked for; what has happened is taken notice of."""
        with self._lock:
            return self._session is not None and self._session.news()

    def inputs(self) -> list[int]:
        """File descriptors from which there is something to read when something has happened."""
        with self._lock:
            return self._session.inputs() if self._session is not None else []

    def next_act(self) -> float:
        """Seconds until ``news`` should be asked for again, whatever happens."""
        with self._lock:
            return self._session.next_act() if self._session is not None else float("inf")

    def due_in(self) -> float:
        """Seconds until an interval is over; infinity where there is none to wait for."""
        with self._lock:
            return self._looks.due_in(self._session) if self._read.pinned and self._session else float("inf")


def _fitting(positions: list[Position]) -> int:
    """How many of the first ones are read at once."""
    sizes = itertools.accumulate(max(0, position.size) for position in positions)
    return max(1, sum(size <= sessions.MAX_BYTES for size in sizes))


def last_error() -> object:
    """The exception that nobody caught last, as the interpreter remembers it; notebooks do too."""
    return getattr(sys, "last_value", None)
