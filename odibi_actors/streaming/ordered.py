"""The finder of a source that is read in order: from places, and what its probe finds behind them, to offers.

It knows nothing of what a place says but its order. What it knows can be lost any time: the places are the store's, and
what is behind them is looked for again.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from odibi_actors.actor import Effect, Log, Send
from odibi_actors.config.digest import read_digest
from odibi_actors.config.model import ReadSpec
from odibi_actors.kinds.connection import Access
from odibi_actors.messages import BROKER, STORE, Message, Offer, PlacesPage, Planned, SourceProblem, SourceSpec
from odibi_actors.model import LIVE, Position
from odibi_actors.streaming import ordered_views as views
from odibi_actors.streaming.effects import Again, Ahead, AsNow, Begin, Forget, Part, Piece, Seen
from odibi_actors.streaming.patterns import join, unsafe
from odibi_actors.streaming.places import Places
from odibi_actors.streaming.source import source_key

POLL = 1.0
"""Seconds between two looks."""

SHARE = 9.0
"""A look is followed by a pause of at least this many times its duration: at most 10 % of the time goes to looking."""

MAX_PAUSE = 300.0
"""Seconds between two looks at most, however long one took."""

PATIENCE = 60.0
"""Seconds after which a probe that has not answered is told of; it has a thread of its own, and holds up no other."""

RESEND = 5.0
"""Seconds after which an offer is repeated; messages can be lost."""

WAITS_SHOWN = 5.0
"""Seconds after which what cannot be taken yet is told of: most of it can be, soon."""

OFFER_BYTES = 4_000_000
"""Bytes of one offer, which has to fit into a frame, and as a plan into a record. At least one piece goes."""


class Known:
    """What is known of a partition behind its place: ``pieces`` that are not planned, one behind the other, and the
    rest as of the last look (``Part``). ``since``: when that was first so."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.part = Part("")
        self.since = 0.0
        self.told = False


class Run:
    """A run reads what is there when it begins: ``ends``, by partition, as the first look behind its beginning found
    it, whose number is above ``after``."""

    def __init__(self, run: str, after: int) -> None:
        self.run, self.after = run, after
        self.ends: dict[str, bytes] | None = None


class Ordered:
    """One ordered source, in one lane: see ``kinds.source.Finder``."""

    def __init__(self, spec: SourceSpec, read: ReadSpec, incarnation: str, first: int) -> None:
        self.spec, self.read, self.incarnation = spec, read, incarnation
        self.key = source_key(spec.pipeline, spec.node.name, spec.lane)
        self.path = join("", read.path)
        self.backfill = spec.lane != LIVE
        self.places = Places(spec.pipeline, spec.node.name, spec.lane)
        # Of a backfill: what the live lane had taken when it began, which is all that it reads.
        self.taken = Places(spec.pipeline, spec.node.name, LIVE, spec.through) if self.backfill else None
        self.refused = unsafe(read.path) or unsafe(read.pattern)
        self.known: dict[str, Known] = {}
        self.skipped: dict[str, str] = {}
        self.problems: list[str] = []
        self.run: Run | None = None
        self.epoch = 0
        self.scanned = False
        self._digest = read_digest(read)
        self._number = first
        self._asked: dict[str, Begin] = {}  # what the look under way asks for
        self._limit: dict[str, bytes] | None = None  # as it was asked for: see ``_wanted``
        self._looking = 0
        self._looked_at = 0.0
        self._next_look: float | None = 0.0  # None: when the look under way is done
        self._troubles: list[str] = []
        self.unmatched: list[str] = []  # what is said of patterns that match nothing of what is there
        self._say: list[Effect] = []
        self._late = False
        self._offer: Offer | None = None
        self._offered_at = 0.0
        self._dirty = self._report = True

    # --- the broker's and the store's messages --------------------------------------------------------------------

    def welcome(self, epoch: int, start_seq: int, now: float) -> None:
        """The broker knows us (again)."""
        if epoch > self.epoch:
            self.places.restart(start_seq, now)
        else:
            self.places.reread(start_seq, now)
        self.epoch = epoch
        if self.taken is not None and not self.taken.loaded:
            self.taken.reread(max(start_seq, self.spec.since), now)
        self._again()
        self._report = True

    def rebind(self, spec: SourceSpec) -> None:
        """Other credit, limits or wishes. What was cut to other limits is cut again."""
        if spec.limits != self.spec.limits:
            self.known, self._next_look = {}, 0.0
        self.spec, self._dirty = spec, True

    def follows(self, live: ReadSpec | None) -> None:
        """What a backfill may read the store tells: nothing depends on what the live source reads by now."""

    def backfilled(self) -> None:
        """Places are what they were."""

    def discover(self, run: str, now: float) -> None:
        """Look now."""
        if not run or self.run is None or self.run.run != run:
            self.run = Run(run, self._number) if run else self.run
            self._next_look = now
        self._again()

    def planned(self, message: Planned, now: float) -> None:
        """The places have moved, unless a dead letter was taken up."""
        more = any(map(self._more, self.known))
        if self.places.planned(message, now):
            for one in message.ranges:
                self._line_up(one.partition)
            self._dirty = True
            if more:
                self._soon(now)

    def released(self, seq: int, now: float) -> None:
        """A cancel or a rewind has moved places back."""
        self.places.released(seq, now)

    def told(self, message: Message, now: float) -> None:
        """A page of places."""
        if not isinstance(message, PlacesPage):
            return
        if message.through >= 0:
            mine = (self.spec.pipeline, self.spec.node.name) == (message.pipeline, message.source)
            if self.taken is not None and mine and self.taken.page(message, now) is not None:
                self._soon(now)
        elif (gone := self.places.page(message, now)) is not None:
            for partition in gone:
                self.known.pop(partition, None)  # it begins again
            for partition in self.known:
                self._line_up(partition)
            self._dirty = True
            self._soon(now)

    def _line_up(self, partition: str) -> None:
        """Forget what is planned by now. If the rest does not begin at the place, it is looked for again."""
        known, place = self.known.get(partition), self.places.index.get(partition)
        if known is None or place is None:
            return
        known.pieces = [piece for piece in known.pieces if piece.range.lower >= place.place]
        if known.pieces and known.pieces[0].range.lower != place.place:
            known.pieces = []

    # --- what the driver found ------------------------------------------------------------------------------------

    def heard(self, message: Message, now: float) -> None:
        """What was found behind the places."""
        if not isinstance(message, Seen) or message.number != self._looking:
            return
        asked, self._asked, self._looking, self._late = self._asked, {}, 0, False
        for part in message.parts:
            self._take(part, asked.get(part.partition), now)
        for partition in [p for p in self.known if p in asked and p not in {one.partition for one in message.parts}]:
            del self.known[partition]
        self.skipped = dict(message.skipped)
        self._troubles = list(message.problems)
        self.unmatched = self.unmatched if message.unmatched is None else message.unmatched
        if self.run is not None and self.run.ends is None and message.number > self.run.after:
            self.run.ends = {one.partition: self._end(one) for one in message.parts}
        self._dirty, self.scanned = True, True
        if self._next_look is None:
            found = [one.partition for one in message.parts if one.pieces]
            more = self._room() > 0 and any(self._more(one) and not self._at_end(one) for one in found)
            pause = max(POLL, min(SHARE * (now - self._looked_at), MAX_PAUSE))
            self._next_look = now if more else now + pause

    def _take(self, part: Part, asked: Begin | None, now: float) -> None:
        """News of one partition; void if its place has moved otherwise meanwhile."""
        known = self.known.setdefault(part.partition, Known())
        if asked is None and part.partition in self.places.index:
            return  # it was new when it was looked for, and is planned since, after a look of another's
        if asked is not None and self._begin(part.partition) != asked:
            return
        pieces = list(part.pieces)
        place = self._behind(part.partition)
        if pieces and place is not None and pieces[0].range.lower != place:
            # A backfill passes over what it leaves out: the range before it ends there, and this one begins there.
            first = Piece(replace(pieces[0].range, lower=place), pieces[0].position)
            pieces = [first, *pieces[1:]] if self.backfill else []
        known.pieces += pieces
        rest = replace(part, pieces=[])
        if (rest.waits, rest.problem) != (known.part.waits, known.part.problem):
            known.since, known.told = now, False
        if rest.note and rest.note != known.part.note:
            self._say.append(Log("warning", f"{self.key}: {rest.note}"))
        known.part = rest

    def _end(self, part: Part) -> bytes:
        """Where the partition ends as of now, for this lane."""
        return part.end if self.taken is None else self.taken.index[part.partition].place

    def _more(self, partition: str) -> bool:
        """Whether there is more of it than the pieces that are known."""
        part = self.known[partition].part
        if part.more or part.problem:
            return part.more
        # One that stops before a hole, or before what a backfill leaves out, goes on behind it.
        return bool(self._begin(partition).until) and (self.taken is None or not self._at_end(partition))

    def _at_end(self, partition: str) -> bool:
        """Whether all is known up to where it may be read as of now."""
        begin = self._begin(partition)
        return bool(begin.until) and begin.place == begin.until

    def _behind(self, partition: str) -> bytes | None:
        """Where what is known, or planned, of a partition ends; None: nothing is."""
        known, place = self.known.get(partition), self.places.index.get(partition)
        if known is not None and known.pieces:
            return known.pieces[-1].range.upper
        return place.place if place is not None else None

    def _begin(self, partition: str) -> Begin:
        """From where on a partition is to be looked at, and how far."""
        place = self._behind(partition)
        if self.taken is not None:
            return views.gap(self.taken.index[partition], place)
        at = self.places.index.get(partition)
        holes = [hole for hole in at.holes if place is None or hole[0] >= place] if at is not None else []
        until = holes[0][0] if holes else b""
        if self._limit is not None:
            end = max(self._limit.get(partition, b""), place or b"")
            until = min(until, end) if until else end
        return Begin(partition, place or b"", until)

    def _wanted(self) -> dict[str, bytes] | None:
        """Up to where a run that has not taken all yet reads, if only runs do; None: all that is there is looked for.
        What came later must not take the room of what the run waits for."""
        ends = self.run.ends if self.run is not None and self.idle and self.taken is None else None
        if ends is None or all((self._behind(partition) or b"") >= end for partition, end in ends.items()):
            return None
        return ends

    # --- what to do about it --------------------------------------------------------------------------------------

    def flush(self, now: float) -> list[Effect]:
        """Everything that is due."""
        effects: list[Effect] = []
        for places in (self.places, self.taken):
            query = places.query(now) if places is not None else None
            if query is not None:
                effects.append(Send(STORE, query))
        effects += self._look(now) + self._offers(now) + self._tell(now)
        return effects

    def deadline(self) -> float | None:
        """When ``flush`` should be called at the latest."""
        times = [self.places.next_query, self.taken.next_query if self.taken is not None else None]
        if self._may_look():
            times.append(self._next_look if not self._looking else None)
            times.append(self._looked_at + PATIENCE if self._looking and not self._late else None)
        times.append(self._offered_at + RESEND if self._may_offer() and self._offer is not None else None)
        waits = [one.since + WAITS_SHOWN for one in self.known.values() if one.part.waits and not one.told]
        return min((time for time in (*times, *waits) if time is not None), default=None)

    def forget(self) -> Effect:
        """What ends this source."""
        return Forget(self.key)

    def _may_look(self) -> bool:
        return not self.refused and self.places.loaded and (self.taken is None or self.taken.loaded)

    def _soon(self, now: float) -> None:
        """Look as soon as the look under way is done."""
        self._next_look = now if self._next_look is None or self._next_look > now else self._next_look

    def _room(self) -> int:
        """Pieces that may be known beside those that are."""
        return self.spec.credit - sum(len(known.pieces) for known in self.known.values())

    def _look(self, now: float) -> list[Effect]:
        due = self._next_look is not None and now >= self._next_look
        if self._looking or not due or not self._may_look():
            return []
        names = list(self.taken.index) if self.taken is not None else [*{**self.places.index, **self.known}]
        self._limit = self._wanted()
        if self._limit is not None:
            names = list(self._limit)
            for partition, known in self.known.items():
                known.pieces = self.of_run(partition, known)
        self._number += 1
        self._looking, self._looked_at, self._next_look, self._late = self._number, now, None, False
        self._asked = {partition: self._begin(partition) for partition in names}
        asked, more = list(self._asked.values()), self.taken is None and self._limit is None
        room = max(0, self._room())
        return [Ahead(self.key, self._number, self.read, asked, self.spec.limits, room, more, access=self._access())]

    def _access(self) -> Access:
        return Access(self.spec.access, self.spec.root)

    def _again(self) -> None:
        """Whoever heard the last offer may have forgotten it."""
        self._offer, self._dirty = None, True

    # --- offers ---------------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether only what a run wants is offered. A backfill ends: it reads nothing that comes while it runs."""
        return self.spec.idle or self.backfill

    def of_run(self, partition: str, known: Known) -> list[Piece]:
        """The pieces that were there when the run began."""
        ends = self.run.ends if self.run is not None else None
        end = ends.get(partition, b"") if ends is not None else b""
        return [piece for piece in known.pieces if piece.range.lower < end]

    def _may_offer(self) -> bool:
        if not self.scanned or not self.places.loaded or not self.epoch:
            return False
        return not self.idle or (self.run is not None and self.run.ends is not None)

    def _offers(self, now: float) -> list[Effect]:
        if not self._may_offer():
            return []
        if self._offer is not None and now >= self._offered_at + RESEND:
            self._again()
        if not self._dirty:
            return []
        self._dirty = False
        offer, former = self._make(), self._offer
        if former is not None and offer == replace(former, left=offer.left):
            return []
        self._offer, self._offered_at = offer, now
        return [Send(BROKER, offer)]

    def _make(self) -> Offer:
        wanted = {p: self.of_run(p, known) if self.idle else known.pieces for p, known in self.known.items()}
        pieces = _in_turns(list(wanted.values()), self.spec.credit)
        return Offer(
            epoch=self.epoch,
            incarnation=self.incarnation,
            pipeline=self.spec.pipeline,
            source=self.spec.node.name,
            seq=self.places.seq,
            positions=[piece.position for piece in pieces],
            run=self.run.run if self.run is not None else "",
            exhausted=self._exhausted(pieces),
            lane=self.spec.lane,
            left=sum(map(len, wanted.values())),
            read=self._digest,
            unread=self.unread,
            ranges=[piece.range for piece in pieces],
        )

    @property
    def unread(self) -> list[str]:
        """What could not be looked at, and why: a run that ends says so."""
        return [*self.troubles, *(one.part.problem for one in self.known.values() if one.part.problem)]

    @property
    def troubles(self) -> list[str]:
        """Those of them that are of no partition."""
        return self._troubles

    def _exhausted(self, offered: list[Piece]) -> bool:
        """Whether nothing of the run is left beyond this offer."""
        if self.run is None:
            return True
        if self.run.ends is None:
            return False
        there = [(piece.range.partition, piece.range.lower) for piece in offered]
        for partition, end in self.run.ends.items():
            known = self.known.get(partition)
            if known is None:
                continue
            if any((partition, piece.range.lower) not in there for piece in self.of_run(partition, known)):
                return False
            behind = self._behind(partition)
            if self._more(partition) and (behind is None or behind < end):
                return False
        return True

    # --- what is told ---------------------------------------------------------------------------------------------

    def _tell(self, now: float) -> list[Effect]:
        """Tell the broker when the list of problems has changed; the log, what is new."""
        if self._looking and now >= self._looked_at + PATIENCE and not self._late:
            self._late = True
        told, self._say = self._say, []
        for known in self.known.values():
            long = now >= known.since + WAITS_SHOWN or (self.run is not None and self.run.ends is not None)
            if known.part.waits and not known.told and long:  # a run may end at once: it says what it leaves
                known.told = True
                told.append(Log("info", f"{self.key}: {known.part.waits}", {"notice": True}))
        waits = [known.part.waits for known in self.known.values() if known.told and known.part.waits]
        problems = views.standing(self, self._late, self.troubles) + views.several(waits)
        if problems == self.problems and not (self._report and problems):
            return told
        self._report = False
        told += [Log("warning", f"{self.key}: {text}") for text in problems if text not in (*self.problems, *waits)]
        self.problems = problems
        if self.epoch:
            told.append(Send(BROKER, SourceProblem(self.spec.pipeline, self.spec.node.name, problems, self.spec.lane)))
        return told

    def waiting(self) -> dict[str, str]:
        """What cannot be taken yet, by partition."""
        return {name: known.part.waits for name, known in self.known.items() if known.part.waits}

    # --- questions ------------------------------------------------------------------------------------------------

    def look(self, number: int, positions: list[Position]) -> Effect:
        """How are these now?"""
        return Again(self.key, number, self.read, positions, access=self._access())

    def looked(self, answer: Message, positions: list[Position]) -> dict[str, Any] | None:
        """The answer of ``source.stat``."""
        if not isinstance(answer, AsNow):
            return None
        return {
            "files": [piece.position.shown() for piece in answer.pieces],
            "changed": answer.changed,
            "gone": [identity for identity, _ in answer.gone],
            "ranges": [
                (p.position.identity, p.range.partition, p.range.lower.hex(), p.range.upper.hex())
                for p in answer.pieces
            ],
            "reasons": dict(answer.gone),
        }

    def row(self) -> dict[str, Any]:
        """As ``source list`` shows it."""
        return views.row(self)

    def show(self) -> dict[str, Any]:
        """As ``source files`` shows it."""
        return views.show(self)

    def why(self, file: str) -> dict[str, str] | None:
        """As ``source why`` tells it; None: it reads no files."""
        return views.why(self, file)

    def takes(self) -> str:
        """What it takes that reads no files."""
        return views.takes(self.read)

    def match(self, pattern: str, aside: list[str]) -> dict[str, Any]:
        """What was read of the partitions that match a pattern."""
        return views.match(self, pattern)


def _in_turns(parts: list[list[Piece]], limit: int) -> list[Piece]:
    """The first pieces, one of each partition in turn, as many as may travel together."""
    found: list[Piece] = []
    total = 0
    for turn in range(max(map(len, parts), default=0)):
        for pieces in parts:
            if turn >= len(pieces):
                continue
            total += _weight(pieces[turn])
            if found and (len(found) >= limit or total > OFFER_BYTES):
                return found
            found.append(pieces[turn])
    return found


def _weight(piece: Piece) -> int:
    """Bytes of it in an offer, and a plan, about."""
    one, position = piece.range, piece.position
    text = len(one.partition.encode()) + len(position.identity.encode())
    return text + len(one.lower) + len(one.upper) + len(position.detail) + 100
