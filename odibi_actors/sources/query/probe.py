"""Looking at tables: what is new in them, in pieces that fit, and what they hold of pieces that were planned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from odibi_actors.config.model import BatchSpec, ReadSpec
from odibi_actors.kinds.dialect import Dialect, Session, Unreadable
from odibi_actors.kinds.registry import dialect_of
from odibi_actors.messages import Message
from odibi_actors.sources.query import pieces
from odibi_actors.sources.query.cutting import Cut, Cutter
from odibi_actors.sources.query.marks import BEGINNING, Mark, mark
from odibi_actors.sources.query.settling import Settling
from odibi_actors.sources.query.statements import Limit, Statements, Value, check_sort, initial_of, mixed, what
from odibi_actors.sources.query.watermarks import Unordered
from odibi_actors.streaming.effects import Again, Ahead, AsNow, Begin, Part, Piece, Seen
from odibi_actors.units import plural

Steps = Iterator[Message | None]

MAX_REMEMBERED = 1000
"""Sources of which something is remembered."""


class _Former(NamedTuple):
    """How a table was looked at, and what was found: by the same of all of it, it needs no second look."""

    read: ReadSpec
    begin: Begin
    limits: BatchSpec
    stamp: tuple[Any, ...]
    part: Part


class Probe:
    """Answers what finders of tables ask, in the thread of one connection. What it remembers it can forget any time.
    ``dialect``: of connections of a type."""

    def __init__(self, dialect: Callable[[str], Dialect] = dialect_of) -> None:
        self._dialect = dialect
        self._settling: dict[str, Settling] = {}
        self._idle: dict[str, _Former] = {}

    def ahead(self, ask: Ahead) -> Steps:
        """What is behind this place."""
        name = what(ask.read)
        asked = [one for one in ask.places if one.partition == name]
        if not asked and ask.more:
            asked = [Begin(name, b"")]
        parts = [self._part(ask, begin) for begin in asked]
        yield Seen(ask.source, ask.number, parts)

    def again(self, ask: Again) -> Steps:
        """How planned rows are now."""
        found, changed, gone = list[Piece](), list[str](), list[tuple[str, str]]()
        for position in ask.positions:
            yield None
            try:
                one = pieces.detail_of(position)
                with self._dialect(ask.read.connection.type).open(ask.read, ask.access) as session:
                    session.snapshot()
                    statements = Statements(session, ask.read)
                    check_sort(statements, one.low, one.high)
                    statements.within(one.part)
                    rows = Cutter(statements, "", initial_of(one.initial, one.high)).rows(one.low, one.high)
            except (Unreadable, Unordered, ValueError) as error:
                gone.append((position.identity, str(error)))
                continue
            found.append(pieces.again(position, rows))
            if rows != position.rows:
                changed.append(position.identity)
        yield AsNow(ask.source, ask.number, found, changed, gone)

    def _part(self, ask: Ahead, begin: Begin) -> Part:
        read, name = ask.read, begin.partition
        dialect = self._dialect(read.connection.type)
        stamp, former = dialect.stamp(read), self._idle.get(ask.source)
        if former is not None and former[:-1] == (read, begin, ask.limits, stamp):
            return former.part
        self._idle.pop(ask.source, None)
        try:
            low = mark(begin.place) if begin.place else BEGINNING
            with dialect.open(read, ask.access) as session:
                if len(self._settling) >= MAX_REMEMBERED:
                    self._settling.clear()
                settling = self._settling.setdefault(f"{ask.source}\0{name}", Settling())
                part = _Look(ask, begin, low, session, settling).part()
        except (Unreadable, Unordered, ValueError) as error:
            problem = str(error)
            part = Part(name, end=begin.place, problem=problem if problem.startswith(name) else f"{name}: {problem}")
        quiet = not part.pieces and not part.more and not part.problem
        if quiet and stamp is not None and len(self._idle) < MAX_REMEMBERED:
            self._idle[ask.source] = _Former(read, begin, ask.limits, stamp, part)
        return part


class _Look:
    """One look at a table, from a place on."""

    def __init__(self, ask: Ahead, begin: Begin, low: Mark, session: Session, settling: Settling) -> None:
        self._ask, self._begin, self._low, self._session, self._settling = ask, begin, low, session, settling
        self._name = begin.partition
        self._until = mark(begin.until) if begin.until else None

    def part(self) -> Part:
        """What there is."""
        read, low, until = self._ask.read, self._low, self._until
        ask = Statements(self._session, read)
        check_sort(ask, low, *([until] if until is not None else []))
        ask.within(read.pattern)
        greatest = ask.greatest()
        without = self._without(ask)
        if until is not None and (greatest is None or until.text is None):
            return self._gone(until)
        if greatest is None:
            return self._nothing(without)
        if ask.measure.sort is None and low.text is not None and low.sort != greatest.sort:
            raise Unreadable(mixed(read, low.sort, greatest.sort))
        initial = initial_of(read.table.initial, Mark(*greatest))
        if low.text is None and initial is not None and greatest.key < initial.key:
            return self._nothing(without)
        wanted = greatest if until is None else Value(until.sort, until.text or "")
        bound, holds = self._settling.bound(self._session, wanted)
        self._session.snapshot()
        cutter = Cutter(ask, read.table.lag, initial)
        top, held = cutter.top(low, greatest)
        waits = [held, _held_up(holds), without]
        at = _at(low)
        if until is not None:
            top = max(top, until, key=Mark.packed)
        if bound is None or (until is not None and bound != wanted):
            return Part(self._name, more=True, end=top.packed(), at=at, waits=_joined(waits))
        high = until or (top if bound == greatest else cutter.top(low, bound)[0])
        rows = self._limit(ask, low, initial)
        cuts, more = cutter.cuts(low, high, rows, self._ask.credit, empty=until is not None)
        found, lower = list[Piece](), self._begin.place or low.packed()
        for cut in cuts:
            upper = self._begin.until if until is not None and cut.high == until else cut.high.packed()
            first = read.table.initial if cut.low.text is None else ""
            found.append(pieces.piece(self._name, cut, lower, upper, first, read.pattern))
            lower = upper
        more = more or bound != wanted
        return Part(self._name, found, more, top.packed(), at, "" if more else _joined(waits))

    def _nothing(self, waits: str) -> Part:
        return Part(self._name, end=self._low.packed(), at=_at(self._low), waits=waits)

    def _gone(self, until: Mark) -> Part:
        """No row is there any more of what is to be read again: it is passed over."""
        lower, found = self._begin.place or self._low.packed(), list[Piece]()
        if lower < self._begin.until:
            found.append(
                pieces.piece(self._name, Cut(self._low, until, 0), lower, self._begin.until, "", self._ask.read.pattern)
            )
        return Part(self._name, found, end=self._begin.until, at=_at(self._low))

    def _limit(self, ask: Statements, low: Mark, initial: Value | None) -> int:
        """Rows of a piece: ``batch.max_rows``, fewer where so many would be more than ``batch.max_bytes``."""
        limits = [Limit(">=", initial)] if initial is not None else []
        if low.text is not None:
            limits = [Limit(">", Value(low.sort, low.text))]
        size = ask.size(*limits)
        most = int(self._ask.limits.max_bytes / size) if size else self._ask.limits.max_rows
        return max(1, min(self._ask.limits.max_rows, most))

    def _without(self, ask: Statements) -> str:
        count = ask.without()
        if not count:
            return ""
        column = self._ask.read.table.watermark_column
        have = "has" if count == 1 else "have"
        return f"{plural(count, 'row')} {have} no {column} (null): not read until there is one"


def _held_up(holds: list[str]) -> str:
    if not holds:
        return ""
    more = f", and {len(holds) - 1} more" if len(holds) > 1 else ""
    return f"waits for the end of {holds[0]}{more}, which may still add rows before the last watermark"


def _joined(waits: list[str]) -> str:
    return "; ".join(text for text in waits if text)


def _at(low: Mark) -> str:
    return "nothing of it is read yet" if low.text is None else f"read up to {low.text}"
