"""The probe of a log of events: what is behind a place, and taking what was pushed."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from odibi_actors.config.model import ReadSpec
from odibi_actors.messages import Message
from odibi_actors.sources.events import log, pieces
from odibi_actors.sources.events.effects import Append, Appended, Outcome, Prune, Pruned, Survey, Surveyed
from odibi_actors.sources.events.pieces import Mark, mark
from odibi_actors.streaming.effects import Again, Ahead, AsNow, Begin, Part, Piece, Seen
from odibi_actors.streaming.patterns import Pattern, join
from odibi_actors.units import size

BEGINNING = Mark().packed()

Steps = Iterator[Message | None]
Checked = tuple[bytes, int] | str
"""Bytes and rows of what is pushed, or why it is refused."""


def folder_of(read: ReadSpec) -> Path:
    """Where its log is."""
    return Path(read.connection.path, read.path)


def partition_of(read: ReadSpec) -> str:
    """The one partition: the folder of the log, as people know it."""
    return join("", read.path) or "events"


class Probe:
    """Keeps the log open that it appends to. In one thread. ``clock``: seconds since the epoch, another one's than the
    machine's."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock
        self._open: dict[Path, tuple[log.Log, int]] = {}  # and the inode of its file

    # --- what is there --------------------------------------------------------------------------------------------

    def ahead(self, ask: Ahead) -> Steps:
        """What is behind the place."""
        name = partition_of(ask.read)
        begin = next((one for one in ask.places if one.partition == name), None)
        meant = Pattern(ask.read.pattern).matches(name.rpartition("/")[2])  # a backfill may be of other sources' files
        if not meant or (begin is None and not ask.more):
            yield Seen(ask.source, ask.number, [])
            return
        begin = begin or Begin(name, b"")
        try:
            with log.reading(folder_of(ask.read)) as found:
                part = _part(ask, begin, found)
        except (log.Damaged, sqlite3.Error, OSError) as error:
            part = Part(name, end=begin.place, problem=f"{folder_of(ask.read) / log.NAME} cannot be read: {error}")
        yield Seen(ask.source, ask.number, [part])

    def again(self, ask: Again) -> Steps:
        """A log never changes what it has: it is there, or it is not."""
        found, gone = list[Piece](), list[tuple[str, str]]()
        try:
            with log.reading(folder_of(ask.read)) as now:
                for position in ask.positions:
                    yield None
                    detail = pieces.detail_of(position)
                    there = list(now.behind(detail.first - 1, detail.last)) if now is not None else []
                    same = now is not None and now.id == detail.id
                    if same and pieces.together([one.digest for one in there]) == position.digest:
                        found.append(pieces.again(position, detail))
                    else:
                        gone.append((position.identity, _why_gone(now, detail)))
        except (ValueError, log.Damaged, sqlite3.Error, OSError) as error:
            known = {piece.position.identity for piece in found}
            gone = [(one.identity, str(error)) for one in ask.positions if one.identity not in known]
        yield AsNow(ask.source, ask.number, found, [], gone)

    # --- what is pushed -------------------------------------------------------------------------------------------

    def append(self, ask: Append) -> Steps:
        """Take what was pushed, with one sync."""
        from odibi_actors.sources.events.reader import conformed  # it brings pyarrow

        checked: list[Checked] = []
        for put in ask.puts:
            polled = ask.read.polled is not None  # what was read is what there is, and is looked at in an iteration
            checked.append((put.data, put.rows) if polled else conformed(ask.read, put.data))
            yield None
        path = folder_of(ask.read) / log.NAME
        try:
            opened = self._writing(ask.read)
            outcomes = _take(opened, ask, checked, self._now())
            if not self._same(path):
                raise log.Damaged(f"{path} was removed or replaced meanwhile")
        except (log.Damaged, sqlite3.Error, OSError) as error:
            self._open.pop(path, None)
            outcomes = [Outcome("failed", why=f"nothing was kept: {path} cannot be written: {error}")] * len(ask.puts)
        yield Appended(ask.source, ask.number, outcomes)

    # --- what is deleted ------------------------------------------------------------------------------------------

    def survey(self, ask: Survey) -> Steps:
        """What of it does not have to be kept."""
        path, keep = folder_of(ask.read) / log.NAME, ask.read.retain
        try:
            with log.reading(path.parent) as found:
                if found is None:
                    yield Surveyed(ask.source, ask.number)
                    return
                with found.as_of_now():
                    floor, since, size_ = found.floor.number, found.since(), found.backlog(found.floor.number)
                    stale = found.stale(self._now() - keep.time, keep.size)
                    there = stale if found.any_up_to(stale) else 0
                    yield Surveyed(
                        ask.source, ask.number, found.id, there, floor, found.last, since, size_, found.newest
                    )
        except (log.Damaged, sqlite3.Error, OSError) as error:
            yield Surveyed(ask.source, ask.number, problem=f"{path} cannot be read: {error}")

    def prune(self, ask: Prune) -> Steps:
        """Delete a chunk of what nobody goes back to; once all of it is gone, give its space back."""
        path = folder_of(ask.read) / log.NAME
        try:
            held = [(one.first, one.last) for one in map(pieces.detail_of, ask.held)]
            opened = self._writing(ask.read)
            count, more = opened.prune(ask.through, held, ask.owner)
            while not more and opened.give_back():
                yield None
            yield Pruned(ask.source, ask.number, count, more)
        except (ValueError, log.Damaged, sqlite3.Error, OSError) as error:
            self._open.pop(path, None)
            yield Pruned(ask.source, ask.number, problem=f"nothing can be deleted from {path}: {error}")

    def _now(self) -> float:
        return time.time() if self._clock is None else self._clock()

    def _writing(self, read: ReadSpec) -> log.Log:
        path = folder_of(read) / log.NAME
        if not self._same(path):
            self._open[path] = (log.writing(path.parent), path.stat().st_ino)
        return self._open[path][0]

    def _same(self, path: Path) -> bool:
        """Whether the file that is open has the name still: what is written into another would be lost."""
        try:
            return path in self._open and path.stat().st_ino == self._open[path][1]
        except FileNotFoundError:
            return False


def _why_gone(now: log.Log | None, detail: pieces.Detail) -> str:
    if now is not None and now.id == detail.id and detail.first <= now.floor.number:
        return f"the log of events is deleted up to event {now.floor.number:,} (`retain`)"
    return "the log of events has no such events any more"


def _take(opened: log.Log, ask: Append, checked: list[Checked], now: float) -> list[Outcome]:
    outcomes = []
    with opened.changing():
        room = ask.limit - opened.backlog(ask.taken)
        for put, found in zip(ask.puts, checked, strict=True):
            if isinstance(found, str):
                outcomes.append(Outcome("refused", why=found))
                continue
            data, rows = found
            outcome = _outcome(opened, put.key, data, rows, room, ask.limit)
            if outcome.state == "stored":
                number = opened.add(put.key, data, rows, now)
                outcome = Outcome("stored", number, rows)
                room -= len(data)
            outcomes.append(outcome)
        opened.forget(now - ask.window)
    return outcomes


def _outcome(opened: log.Log, key: str, data: bytes, rows: int, room: int, limit: int) -> Outcome:
    """What is to become of a push."""
    known = opened.known(key) if key else None
    if known is not None:
        if known.digest == log.digest(data):
            return Outcome("known", known.number, rows)
        said = key.partition("\n")[0]
        why = f"key {said!r} was pushed before, as event {known.number}, with other rows: push these with another key"
        return Outcome("refused", known.number, why=why)
    if room < len(data) and room < limit:
        return Outcome("full", why=f"{size(limit - room)} wait to be read, and at most {size(limit)} may")
    return Outcome("stored", rows=rows)


def _part(ask: Ahead, begin: Begin, found: log.Log | None) -> Part:
    at = mark(begin.place) if begin.place else Mark()
    told = f"read up to event {at.number:,}" if at.number else "nothing of it is read yet"
    if found is None:
        lost = f"the log of events is gone: it was read up to event {at.number:,}" if at.number else ""
        return Part(begin.partition, end=begin.place, at=told, problem=lost)
    last = found.last
    if at.number and (at.id != found.id or at.number > last):
        other = "is another one" if at.id != found.id else f"is an older copy: it ends with event {last:,}"
        problem = (
            f"the log of events {other}, and it was read up to event {at.number:,}; put back the one that was read"
        )
        return Part(begin.partition, end=begin.place, at=told, problem=problem)
    through = min(last, mark(begin.until).number) if begin.until else last
    after, floor, note = at.number, found.floor.number, ""
    if not begin.place and floor:
        after, note = floor, f"its log of events is deleted up to event {floor:,} (`retain`); what follows is read"
    try:
        cuts, more = _cut(_whole(found.behind(after, through), after), ask)
    except Gap as gap:
        why = "somebody has deleted from it; put back the one that was pushed to"
        if gap.first <= floor:
            why = (
                f"it is deleted up to event {floor:,} (`retain`), which other checkpoints had read; put those back, or "
                "`odibictl reset PIPELINE`, which begins behind that"
            )
        problem = f"the log of events lacks {gap}: {why}"
        return Part(begin.partition, end=begin.place, at=told, problem=problem)
    made: list[Piece] = []
    lower = begin.place or BEGINNING
    for events in cuts:
        whole = bool(begin.until) and events[-1].number == mark(begin.until).number
        upper = begin.until if whole else Mark(events[-1].number, found.id).packed()
        made.append(pieces.piece(begin.partition, found.id, events, lower, upper))
        lower = upper
    end = Mark(last, found.id).packed() if last else begin.place
    return Part(begin.partition, made, more, end, told, note=note)


class Gap(Exception):
    """Numbers that are not there: the log gives each that follows the last one."""

    def __init__(self, first: int, last: int) -> None:
        super().__init__(f"event {first:,}" + (f" to {last:,}" if last > first else ""))
        self.first = first


def _whole(events: Iterator[log.Event], last: int) -> Iterator[log.Event]:
    """The events behind that one. Raises Gap."""
    for event in events:
        if event.number != last + 1:
            raise Gap(last + 1, event.number - 1)
        yield event
        last = event.number


def _cut(events: Iterator[log.Event], ask: Ahead) -> tuple[list[list[log.Event]], bool]:
    """Events in pieces that fit into an iteration each, as many as are asked for, and whether there are more. Each tick
    is a piece: nobody has looked at what was polled, and one that cannot be read takes its piece with it."""
    alone = ask.read.polled is not None
    cuts: list[list[log.Event]] = []
    rows = total = 0
    for event in events:
        some = max(0, event.rows)
        fits = rows + some <= ask.limits.max_rows and total + event.size <= ask.limits.max_bytes
        if alone or not cuts or not fits:
            if len(cuts) >= ask.credit:
                return cuts, True
            cuts.append([])
            rows = total = 0
        cuts[-1].append(event)
        rows, total = rows + some, total + event.size
    return cuts, False
