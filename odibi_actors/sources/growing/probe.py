"""Looking at growing files: which there are, whether each is still the one that was read, and what is new in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, NamedTuple

import xxhash

from odibi_actors.config.model import ReadSpec
from odibi_actors.kinds.format import Lines
from odibi_actors.messages import Message
from odibi_actors.runtime.visible import named
from odibi_actors.sources.growing import pieces
from odibi_actors.sources.growing.cutting import Cut, Cutter
from odibi_actors.sources.growing.lines import header_end
from odibi_actors.sources.growing.packed import packed
from odibi_actors.sources.growing.places import BEGINNING, BLOCK, NOTHING, Mark, digest, link, mark
from odibi_actors.sources.growing.renamed import Known
from odibi_actors.streaming.effects import Again, Ahead, AsNow, Begin, Found, Part, Piece, Scan, Scanned, Seen
from odibi_actors.streaming.patterns import Pattern, join
from odibi_actors.streaming.scan import scan
from odibi_actors.streaming.unmatched import said
from odibi_actors.streaming.watcher import Unwatched
from odibi_actors.units import plural

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC

MAX_HEADER = BLOCK
"""Bytes of the row that names the columns."""

MAX_ROW = 64 << 20
"""Bytes of a row whose end is looked for: more than that without one is a file of another kind."""

MAX_REMEMBERED = 10_000
"""Files of which it is remembered how they were found."""

Steps = Iterator[Message | None]


class Former(NamedTuple):
    """How a file was when it was looked at: by the same of all of it, it needs no second look."""

    read: ReadSpec
    begin: Begin
    found: Found
    part: Part


class Probe:
    """Answers what finders of ``mode: incremental`` ask. It remembers files in which nothing was new, and those whose
    whole chain was compared, and can forget both any time."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, str], Former] = {}
        self._same: dict[str, tuple[bytes, int]] = {}  # path -> the place whose chain it has, in the file of this inode

    def ahead(self, ask: Ahead, lines: Lines) -> Steps:
        """What is behind these places."""
        read = ask.read
        files, seen = dict[str, Found](), Scanned(ask.source, ask.number, [])
        effect = Scan(ask.source, ask.number, read.connection.path, join("", read.path), read.pattern)
        skipped: list[tuple[str, str]] = []
        for chunk in scan(effect, Unwatched()):
            if isinstance(chunk, Scanned):
                files |= {found.identity: found for found in chunk.files}
                skipped += chunk.skipped
                seen = chunk
            yield None
        rolled = {name: why for name in files if (why := packed(name))}
        skipped += rolled.items()
        fits, below = Pattern(read.pattern), len(join("", read.path))
        asked = {one.partition: one for one in ask.places if fits.matches(one.partition[below:].lstrip("/"))}
        if ask.more:
            asked |= {name: Begin(name, b"") for name in files if name not in asked and name not in rolled}
        parts: list[Part] = []
        grown = [name for name, one in asked.items() if name in files and _offset(one) < files[name].size]
        known = Known(ask.places)
        credit, share = ask.credit, max(1, ask.credit // max(1, len(grown)))
        for name in sorted(asked):
            for step in self._part(ask, asked[name], files.get(name), lines, min(share, credit), known):
                yield None
                if step is not None:
                    parts.append(step)
                    credit -= len(step.pieces)
        folder = f"/{join(read.connection.path, read.path)}"
        missing = [f"folder {folder} does not exist; it is read once it is there"] if seen.missing else []
        known_names = [one.partition[below:].lstrip("/") for one in ask.places]
        uncounted = [(one, 0, near) for one, _, near in seen.unmatched]  # a line for each count would be no news
        odd = [text for _, text in said(uncounted, folder, known_names)] if ask.more else None
        yield Seen(ask.source, ask.number, parts, skipped, [*seen.unread, *seen.problems, *missing], odd)

    def _part(
        self, ask: Ahead, begin: Begin, found: Found | None, lines: Lines, credit: int, known: Known
    ) -> Iterator[Part | None]:
        """What there is of one file; None stands for a step."""
        name = begin.partition
        if found is None:
            gone = f"{named(name)} is gone" if begin.until and begin.until != begin.place else ""
            yield Part(name, end=begin.place, problem=gone)
            return
        key = (ask.source, name)
        former = self._idle.get(key)
        if former is not None and former[:3] == (ask.read, begin, found):
            yield former.part
            return
        self._idle.pop(key, None)
        part = None
        try:
            with open(os.open(os.path.join(ask.read.connection.path, name), _FLAGS), "rb", buffering=0) as file:
                for step in _Look(self, file, ask, begin, lines, credit, known).steps():
                    part = step
                    yield None
        except FileNotFoundError:
            part = Part(name, end=begin.place)
        except OSError as error:
            part = Part(name, end=begin.place, problem=f"{named(name)} cannot be read: {error.strerror}")
        assert part is not None
        if not part.pieces and not part.more and len(self._idle) < MAX_REMEMBERED:
            self._idle[key] = Former(ask.read, begin, found, part)
        yield part

    def chained(self, path: str, place: bytes, inode: int) -> bool:
        """Whether the whole chain of this place was compared with the file of that inode."""
        return self._same.get(path) == (place, inode)

    def compared(self, path: str, place: bytes, inode: int) -> None:
        """It was, and is the same."""
        if len(self._same) >= MAX_REMEMBERED:
            self._same.clear()
        self._same[path] = (place, inode)

    def again(self, ask: Again) -> Steps:
        """How planned rows are now: the same bytes of the file, whatever they hold by now."""
        found, changed, gone = list[Piece](), list[str](), list[tuple[str, str]]()
        for position in ask.positions:
            yield None
            try:
                one = pieces.detail_of(position)
                with open(os.open(os.path.join(ask.read.connection.path, one.path), _FLAGS), "rb", buffering=0) as file:
                    names, rows = _read(file, 0, one.header), _read(file, one.begin, one.end)
            except ValueError as error:
                gone.append((position.identity, str(error)))
                continue
            except OSError as error:
                gone.append((position.identity, f"{error.strerror}"))
                continue
            if problem := _unfit(one, names, rows):
                gone.append((position.identity, problem))
                continue
            piece = pieces.again(position, one, xxhash.xxh3_128_hexdigest(rows))
            found.append(piece)
            if piece.position.digest != position.digest:
                changed.append(position.identity)
        yield AsNow(ask.source, ask.number, found, changed, gone)


def _unfit(one: pieces.Detail, names: bytes, rows: bytes) -> str:
    """Why bytes of a file are not rows that can be read in place of those that were planned."""
    if len(rows) < one.end - one.begin:
        return f"{named(one.path)} was cut short: it has no byte {one.end} any more"
    if digest(names) != one.names:
        return f"the first line of {named(one.path)} is another one"
    if not rows.endswith(b"\n"):
        return (
            f"byte {one.end:,} of {named(one.path)} is no end of a line: what is corrected has to be as long as it was"
        )
    return ""


class _Look:
    """One look into an open file, from a place on."""

    def __init__(
        self, probe: Probe, file: BinaryIO, ask: Ahead, begin: Begin, lines: Lines, credit: int, known: Known
    ) -> None:
        self._probe, self._file, self._read, self._limits, self._known = probe, file, ask.read, ask.limits, known
        self._begin, self._lines, self._credit = begin, lines, credit
        self._name, self._shown = begin.partition, named(begin.partition)
        seen = os.fstat(file.fileno())
        self._regular, self._size, self._inode = stat.S_ISREG(seen.st_mode), seen.st_size, seen.st_ino
        self._until = mark(begin.until) if begin.until else None

    def steps(self) -> Iterator[Part | None]:
        """The last one is what was found."""
        at = mark(self._begin.place) if self._begin.place else Mark()
        if not self._regular:
            yield Part(self._name, end=at.packed(), problem=f"{self._shown} is not a regular file")
            return
        problem = ""
        for text in self._differs(self._until or at):
            yield None
            problem = text or problem
        if problem and (self._until is not None or self._read.on_change == "error"):
            yield Part(self._name, end=at.packed(), at=_read_up_to(at), problem=self._told(problem, at))
            return
        note = ""
        if problem:
            note = f"{self._shown} {problem}; it is read again from its beginning"
            at = Mark(at.generation + 1)
        elif self._until is not None and at.generation < self._until.generation:
            note, at = (
                f"{self._shown} was replaced: its former content cannot be read again",
                Mark(self._until.generation),
            )
        if not self._begin.place and self._until is None:
            for told in self._known.renamed(self._name, self._size, self._inode, self._bytes):
                yield None
                note = told
        yield from self._cut(at, note)

    # --- is it the file that was read? ----------------------------------------------------------------------------

    def _differs(self, at: Mark) -> Iterator[str]:
        """Why it is not the file that was read up to there, "" while nothing says so: the last text counts."""
        if self._size < at.offset and self._inode != at.inode:
            size = plural(self._size, "byte")
            yield f"was replaced: another file with {size} has its name, and it was read up to byte {at.offset:,}"
            return
        if self._size < at.offset:
            yield f"was truncated: it has {plural(self._size, 'byte')}, and was read up to byte {at.offset:,}"
            return
        if not at.offset:
            return
        if digest(self._bytes(0, min(BEGINNING, at.offset))) != at.beginning:
            yield "was replaced: it does not begin as it did"
            return
        if digest(self._bytes(at.whole * BLOCK, at.offset)) != at.rest:
            yield f"was replaced: what precedes byte {at.offset:,} is not what was read"
            return
        if self._inode == at.inode or self._probe.chained(self._name, at.packed(), self._inode):
            return
        chain = NOTHING
        for number in range(at.whole):
            chain = link(chain, self._bytes(number * BLOCK, (number + 1) * BLOCK))
            yield ""
        if chain != at.chain:
            yield f"was replaced: what precedes byte {at.offset:,} is not what was read"
        else:
            self._probe.compared(self._name, at.packed(), self._inode)

    def _told(self, problem: str, at: Mark) -> str:
        if self._until is not None:
            return f"{self._shown} {problem}: what was read of it cannot be read again"
        return (
            f"{self._shown} {problem}; nothing more of it is read. Put back what it was, give it another name, or say "
            "`on_change: reprocess`, which reads it again from its beginning"
        )

    # --- what is new in it ----------------------------------------------------------------------------------------

    def _cut(self, at: Mark, note: str) -> Iterator[Part | None]:
        size = self._size if self._until is None else min(self._size, self._until.offset)
        head, header = self._head()
        end = Mark(at.generation, self._size).packed()
        empty = Part(self._name, end=end, at=_read_up_to(at), note=note)
        if self._lines.array and head.lstrip(b" \t\r\n")[:1] == self._lines.array:
            problem = f"{self._shown} is one array: only files with one object a line can be read on"
            yield _with(empty, problem=problem)
            return
        if self._lines.header and not header:
            waits = f"{self._shown}: the line that names its columns has no end yet" if self._size else ""
            long = f"{self._shown}: the line that names its columns is longer than {MAX_HEADER:,} bytes"
            yield _with(empty, problem=long) if self._size >= MAX_HEADER else _with(empty, waits=waits)
            return
        begin = at
        if at.offset < header:
            begin = Mark(at.generation, header, head.count(b"\n", 0, header), self._inode, chain=NOTHING)
        cutter = Cutter(begin, self._inode, head, self._lines, self._limits.max_rows, self._limits.max_bytes)
        cuts, more = list[Cut](), False
        for number in range(begin.whole, -(-size // BLOCK)):
            block = self._bytes(number * BLOCK, min(size, (number + 1) * BLOCK))
            cuts += cutter.feed(block)
            more = len(cuts) >= self._credit and number * BLOCK + len(block) < size
            if more or len(cuts) > self._credit or cutter.left > MAX_ROW:
                break
            yield None
        if not more and (last := cutter.rest()) is not None:
            cuts.append(last)
        more = more or len(cuts) > self._credit
        names = digest(head[:header])
        found: list[Piece] = []
        lower = self._begin.place or at.packed()
        for cut in cuts[: self._credit]:
            # What was known of the end counts: the file may have another inode since.
            known = self._until is not None and cut.end.offset == self._until.offset
            upper = self._begin.until if known else cut.end.packed()
            found.append(pieces.piece(self._name, cut, lower, upper, header, names))
            lower = upper
        yield _with(empty, found=found, more=more, waits="" if more else self._waits(cutter, size))

    def _head(self) -> tuple[bytes, int]:
        """The beginning of the file, and how much of it is the row that names the columns, which may be longer."""
        size = BEGINNING
        while True:
            head = self._bytes(0, min(self._size, size))
            header = header_end(head, self._lines) if self._lines.header else 0
            if header or not self._lines.header or len(head) < size or size >= MAX_HEADER:
                return head, header
            size = MAX_HEADER

    def _waits(self, cutter: Cutter, size: int) -> str:
        """Why the last bytes are not taken."""
        if not cutter.left or self._until is not None:
            return ""
        left = plural(cutter.left, "byte")
        if cutter.left > MAX_ROW:
            return f"{self._shown}: more than {MAX_ROW:,} bytes without the end of a line, which is waited for"
        if cutter.open_quote:
            return f"{self._shown}: its last {left} begin a quoted value that has no end yet; they are read once it has"
        return f"{self._shown}: its last line ({left}) has no end yet; it is read once it has"

    def _bytes(self, begin: int, end: int) -> bytes:
        return _read(self._file, begin, end)


def _with(
    part: Part, *, found: list[Piece] | None = None, more: bool = False, waits: str = "", problem: str = ""
) -> Part:
    return Part(part.partition, found or [], more, part.end, part.at, waits, problem, part.note)


def _read(file: BinaryIO, begin: int, end: int) -> bytes:
    """These bytes, or as many of them as there are."""
    found = b""
    with suppress(BlockingIOError):
        while len(found) < end - begin and (
            more := os.pread(file.fileno(), end - begin - len(found), begin + len(found))
        ):
            found += more
    return found


def _offset(begin: Begin) -> int:
    return mark(begin.place).offset if begin.place else -1


def _read_up_to(at: Mark) -> str:
    if not at.offset:
        return "nothing of it is read yet" if not at.generation else "its new content is not read yet"
    return f"read up to byte {at.offset:,} (line {at.line:,})"
