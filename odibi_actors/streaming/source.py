"""Discovery for one read node: from scans, hints and the ledger to offers."""

from __future__ import annotations

from typing import Any

from odibi_actors.actor import Effect, Log, Send
from odibi_actors.config.digest import read_digest
from odibi_actors.config.model import ReadSpec
from odibi_actors.messages import BROKER, STORE, LedgerPage, LedgerRows, Message, Planned, SourceProblem, SourceSpec
from odibi_actors.model import LIVE, TRIGGER, Position
from odibi_actors.streaming import unmatched, views
from odibi_actors.streaming.changes import Changes
from odibi_actors.streaming.effects import (
    Digested,
    FileEvent,
    Forget,
    Found,
    Overflow,
    Scan,
    Scanned,
    Stat,
    Stated,
)
from odibi_actors.streaming.files import Files
from odibi_actors.streaming.ledger import Ledger, same_stamp, stamp
from odibi_actors.streaming.offers import Offers, Run
from odibi_actors.streaming.patterns import Pattern, join, unsafe

RESCAN = 10.0
"""Seconds between reconciling scans where a watcher tells of changes."""

POLL = 1.0
"""Seconds between scans where none does, or where the folder is missing."""

SCAN_SHARE = 9.0
"""A scan is followed by a pause of at least this many times its duration: at most 10 % of the time goes to scans."""

MAX_PAUSE = 300.0
"""Seconds between scans at most, however long one took."""

MAX_STAT = 5000
"""Files looked at by one effect."""

MAX_NAMED = 20
"""Writers looked for at a time."""

HELD_SHOWN = 5.0
"""Seconds after which a file that is being written is shown as waiting for that: most are whole before."""

RUN_PATIENCE = 60.0
"""Seconds after which a run leaves a file to the next one that somebody keeps open without writing."""

MAX_REMEMBERED = 10_000
"""Skipped names, and iterations of recently planned files, remembered for ``source why``."""


def source_key(pipeline: str, source: str, lane: str) -> str:
    """The name by which the driver, and the log, know a source."""
    return f"{pipeline}/{source}" if lane == LIVE else f"{pipeline}/{source}/{lane}"


class Source:
    """All that is known of one source, in one lane. Methods take what happened; ``flush`` says what to do about it.

    Each lane has its own ledger, so a backfill finds again what ``live`` has planned long since. In lane ``trigger`` a
    file is "planned" once it has set off the schedule that the source is named after.
    """

    def __init__(self, spec: SourceSpec, read: ReadSpec, incarnation: str, first: int) -> None:
        self.spec, self.read, self.incarnation = spec, read, incarnation
        self.key = source_key(spec.pipeline, spec.node.name, spec.lane)
        self.trigger = spec.lane == TRIGGER
        self.backfill = spec.lane not in (LIVE, TRIGGER)
        self.pattern = Pattern(self.read.pattern)
        self.only: Pattern | None = None  # of a backfill: what the live source takes; the rest is no file of it
        self.read_digest = read_digest(read)
        self.path = join("", self.read.path)
        self.pinned = self.read.pinned
        self.ledger = Ledger(spec.pipeline, spec.node.name, spec.lane)
        # Of a backfill: what the live lane had taken when it began. What it has not is its own to read.
        self.taken = Ledger(spec.pipeline, spec.node.name, LIVE, spec.through) if spec.through >= 0 else None
        self.files = Files(self.read.settle, self.read.order)
        self.refused = unsafe(self.read.path) or unsafe(self.read.pattern)
        self.problems: list[str] = []
        self.run: Run | None = None
        self.epoch = 0
        self.scanned = False
        self._looked = False
        self._first = self._number = first  # answers to a former source of this name bear lower numbers
        self._scanning = 0
        self._scan_started = 0.0
        self.listings, self.listed_in = 0, 0.0  # whole ones that have ended, and the seconds of the last
        self._next_scan: float | None = 0.0  # None: when the running scan is done
        self.scan_problems: list[str] = []
        self.unmatched: dict[str, str] = {}  # pattern that matches nothing -> what is said of it
        self.empty = False  # there is no file in its folder
        self._unmatched_told: dict[str, None] = {}
        self.unread: list[str] = []
        self._unwatched = ""
        self.changes = Changes(self.key, self.read.connection.path, self.ledger, self.read.follow_links)
        self.skipped: dict[str, str] = {}
        self._skipping: dict[str, str] = {}
        self.iterations: dict[str, int] = {}
        self._touched: dict[str, None] = {}
        self._asked: dict[str, int] = {}
        self._folders: dict[str, None] = {}
        self.offers = Offers(self)
        self._report = True
        self._log: list[str] = []
        self._say: list[str] = []

    @property
    def idle(self) -> bool:
        """Whether only files of a run are offered. A backfill ends: it never follows what arrives while it runs."""
        return self.spec.idle or (self.backfill and not self.pinned)

    @property
    def within(self) -> dict[str, None] | None:
        """The files of the run that are not planned yet, where only those are offered; else None."""
        return self.run.left if self.idle and self.run is not None else None

    @property
    def looked_at(self) -> dict[str, object]:
        """Files of which it is being asked what they are."""
        return {**self._touched, **self._asked}

    @property
    def folder(self) -> str:
        """Where it looks for files."""
        return f"/{join(self.read.connection.path, self.path)}"

    def relative(self, identity: str) -> str:
        """The path below the source's folder."""
        return identity[len(self.path) + 1 :] if self.path else identity

    # --- the broker's and the store's messages --------------------------------------------------------------------

    def welcome(self, epoch: int, start_seq: int, now: float) -> None:
        """The broker knows us (again): it may be a new one, and messages of the former link may be lost."""
        if epoch > self.epoch:
            self.ledger.restart(start_seq, now)
        else:
            self.ledger.reread(start_seq, now)
        self.epoch = epoch
        if self.taken is not None and not self.taken.loaded:
            self.taken.reread(max(start_seq, self.spec.since), now)
        if self.pinned:
            self.ledger.none(start_seq)
        self.offers.again()
        self._report = True

    def taken_page(self, page: LedgerPage, now: float) -> None:
        """A page of what the live lane had taken when the backfill began."""
        mine = (self.spec.pipeline, self.spec.node.name) == (page.pipeline, page.source)
        if self.taken is not None and mine and self.taken.page(page, now) is not None:
            self.offers.dirty = True

    def rebind(self, spec: SourceSpec) -> None:
        """Same files, other credit or wishes."""
        self.spec = spec
        self.offers.dirty = True

    def discover(self, run: str, now: float) -> None:
        """Look now, in full. Asked again for the same run, what was there when it began still counts. ``run`` ""
        only looks, and believes no digest: what was offered with one was not what was there."""
        if not run:
            self._next_scan = now
            self.offers.digests.forget()
        elif self.run is None or self.run.run != run:
            self.run = Run(run)
            self._next_scan = now
        self.offers.again()

    def page(self, page: LedgerPage, now: float) -> None:
        """A page of the ledger."""
        released = self.ledger.page(page, now)
        if released is None:
            return
        self.offers.dirty = True
        for identity in [i for i in self.files.known if i in self.ledger.index]:
            self._planned(identity, now)
        self.changes.keep(self.ledger.index)
        if self.run is not None and self.run.left is not None:
            self.run.left.update(dict.fromkeys(released))  # the run that plans now plans them again
        if len(released) > MAX_STAT:
            self._next_scan = now
        else:
            self._touched.update(dict.fromkeys(released))

    def planned(self, message: Planned, now: float) -> None:
        """Positions are planned: offer what is beyond them."""
        if self.pinned:
            self.ledger.seq = max(self.ledger.seq, message.seq)
            return
        if not self.ledger.planned(message, now):
            return
        for position in message.positions:
            self.iterations[position.identity] = message.iteration
            self._planned(position.identity, now)
            if self.changes.forget(position.identity):
                self._touched[position.identity] = None  # planned again as it is now: look whether it still is
        while len(self.iterations) > MAX_REMEMBERED:
            del self.iterations[next(iter(self.iterations))]
        self.offers.dirty = True

    def _planned(self, identity: str, now: float) -> None:
        file = self.files.known.get(identity)
        if file is not None:
            self._compare(file.found(identity), now)
        self._lose(identity)

    def released(self, seq: int, now: float) -> None:
        """A cancel released positions."""
        if not self.pinned:
            self.ledger.released(seq, now)

    def _lose(self, identity: str) -> None:
        """The file is no longer a candidate."""
        self.files.drop(identity)
        if self.run is not None and self.run.left is not None and identity in self.run.left:
            del self.run.left[identity]
            self.offers.dirty = True

    # --- what the driver found ------------------------------------------------------------------------------------

    def on_scanned(self, chunk: Scanned, now: float) -> None:
        """A chunk of a full scan, or of one below a new folder."""
        if chunk.number <= self._first:
            return
        closed, written = frozenset(chunk.closed), frozenset(chunk.written)
        for found in chunk.files:
            if found.identity in self._touched or found.identity in self._asked:
                file = self.files.known.get(found.identity)
                if file is not None:
                    file.seen = self._number
                continue  # newer news of it is on the way
            if found.identity in closed:
                self.files.unwritten(found.identity, after="")
            held = found.identity in written
            self._observe(found, now, asked=held or found.identity in closed, written=held)
        skipped = self._skipping if self._scanning else self.skipped
        if len(skipped) < MAX_REMEMBERED:
            skipped.update(chunk.skipped)
        if not chunk.done:
            return
        if chunk.number == self._scanning:
            self._scan_done(chunk, now)

    def _scan_done(self, chunk: Scanned, now: float) -> None:
        started, self._scanning = self._scanning, 0
        self.listings, self.listed_in = self.listings + 1, now - self._scan_started
        for identity in self.files.sweep(started):
            self._lose(identity)
        self.offers.digests.prune(self.files)
        self.skipped, self._skipping = self._skipping, {}
        self._touched.update(dict.fromkeys(self.changes.texts))  # those that are gone by now are no problem any more
        self.unread = chunk.unread
        self.scan_problems = [*chunk.unread, *chunk.problems]
        if chunk.missing:
            self.scan_problems.append(f"folder {self.folder} does not exist; it is read once it is there")
            self.unread = [*self.unread, self.scan_problems[-1]]
        self.empty = not (chunk.missing or chunk.unread or chunk.unmatched or self.files.known or self.ledger.index)
        found = chunk.unmatched if not (self.trigger or self.backfill) else []  # these wait for what is to come
        self.unmatched = dict(unmatched.said(found, self.folder, map(self.relative, self.ledger.index)))
        if chunk.unwatched and chunk.unwatched != self._unwatched:
            self._log.append(f"{self.key}: no file events ({chunk.unwatched}); looking every {POLL:g} s instead")
        self._unwatched = chunk.unwatched
        pause = RESCAN if chunk.watched else POLL
        if self._next_scan is None:
            self._next_scan = now + max(pause, min(SCAN_SHARE * (now - self._scan_started), MAX_PAUSE))
        if self.run is not None and self.run.scan == started:
            # Files that are being asked for may be there too: the run is not exhausted before the answer.
            asked = [i for i in (*self._asked, *self._touched) if i not in self.ledger.index]
            self.run.found([*self.files.known, *asked], now)
        self.scanned = self.offers.dirty = True

    def on_stated(self, answer: Stated, now: float) -> None:
        """Files that were asked for; older answers than the newest question are void."""
        closed, written = frozenset(answer.closed), frozenset(answer.written)
        for found in answer.files:
            if self._answered(found.identity, answer.number):
                if found.identity in closed:
                    self.files.unwritten(found.identity, after="created")
                self._observe(found, now, asked=True, written=found.identity in written)
                self._hold(found.identity, answer.writers.get(found.identity, ""), now)
                self.offers.dirty = self.offers.dirty or self.pinned  # its digest may be taken now
        for identity in answer.gone:
            if self._answered(identity, answer.number):
                self.changes.forget(identity)
                self._gone(identity)
        for identity, reason in answer.skipped:
            if self._answered(identity, answer.number):
                self._gone(identity)
                if len(self.skipped) < MAX_REMEMBERED:
                    self.skipped[identity] = reason

    def _gone(self, identity: str) -> None:
        self._lose(identity)
        self.offers.dirty = True

    def _answered(self, identity: str, number: int) -> bool:
        if self._asked.get(identity) != number:
            return False
        del self._asked[identity]
        return identity not in self._touched

    def _hold(self, identity: str, by: str, now: float) -> None:
        """It may be held back by its writer: remember who that is. A run waits for one that writes, and leaves a file
        that is only kept open to a later run."""
        held, left = self.files.held.get(identity), self.run.left if self.run is not None else None
        if held is None:
            return
        held.by = by or held.by
        if not held.told and now - held.since >= HELD_SHOWN:
            held.told = True
            self._say.append(f"{self.key}: {views.writing(self, identity)}; it is taken once it is closed")
        if left is None or identity not in left or self.pinned:
            return
        still = now - max(self.files.known[identity].since, held.since)
        if still >= RUN_PATIENCE:
            del left[identity]
            self.offers.dirty = True
            self._log.append(
                f"{self.key}: {views.writing(self, identity)}, but nothing was written for {still:.0f} s: the run goes "
                "on without it, and it is left to a later one"
            )

    def _observe(self, found: Found, now: float, asked: bool = False, written: bool = False) -> None:
        """A regular file of that name exists; see ``Files.observe``."""
        if self._foreign(found.identity) or (found.gone and self.trigger):
            self._lose(found.identity)
        elif found.identity in self.ledger.index:
            self._compare(found, now)
            self._lose(found.identity)
        else:
            self.files.observe(found, self._number, now, asked, written)

    def _foreign(self, identity: str) -> bool:
        """Whether it is no file of this backfill: the live source does not take it, or had not when that began."""
        if self.only is not None and not self.only.matches(self.relative(identity)):
            return True
        return self.taken is not None and identity not in self.taken.index

    def _compare(self, found: Found, now: float) -> None:
        """A planned file should be as it was. One that has started a run is not read here; one that was read may go."""
        if found.gone:
            self.changes.forget(found.identity)
        elif not self.trigger:
            self.changes.seen(found, now)

    def on_rows(self, answer: LedgerRows, now: float) -> None:
        """What the ledger holds of files that are not as they were planned."""
        self.changes.rows(answer, now)
        self.offers.dirty = self.offers.dirty or not self.changes.busy

    def on_event(self, event: FileEvent, now: float) -> None:
        """The watcher's hint: look at this path."""
        identity = event.identity
        if event.kind == "folder":
            self._folders[identity] = None
            return
        look = True
        self.files.touched(identity)  # as it was seen before it is there no more: it must not be planned so
        if event.kind == "closed" or event.kind == "moved":  # noqa: PLR1714 - narrows the type
            self.files.mark(identity, "closed", now)
        elif event.kind != "gone" and identity not in self.ledger.index:
            look = self.files.mark(identity, event.kind, now)
        if look:
            self._touched[identity] = None

    def on_overflow(self, event: Overflow, now: float) -> None:
        """Events were lost."""
        self._log.append(f"{self.key}: {event.reason}; looking at everything again")
        self._next_scan = now

    def on_digested(self, answer: Digested, now: float) -> None:
        """The digest of a file of a batch source, or of one that was read."""
        if not self.pinned:
            self.changes.digested(answer, now)
            self.offers.dirty = self.offers.dirty or not self.changes.busy
            return
        if not self.offers.digests.answer(answer):
            self._touched[answer.file.identity] = None
        self.offers.dirty = True

    # --- what to do about it --------------------------------------------------------------------------------------

    def flush(self, now: float) -> list[Effect]:
        """Everything that is due."""
        effects: list[Effect] = [Log("warning", text) for text in self._log]
        effects += [Log("info", text) for text in self._say]
        self._log, self._say = [], []
        for ledger in (self.ledger, self.taken):
            query = None if ledger is None else ledger.query(now)
            if query is not None:
                effects.append(Send(STORE, query))
        effects += self.offers.flush(now)
        if self._may_look():
            effects += self._look(now)
        effects += self.changes.flush(now, self.epoch, scanning=bool(self._scanning))
        effects += self._problems(now)
        return effects

    def deadline(self) -> float | None:
        """When ``flush`` should be called at the latest."""
        times = [self.ledger.next_query, self.files.deadline()]
        times.append(None if self.taken is None else self.taken.next_query)
        times.append(None if self._scanning else self.changes.deadline())
        if self._may_look():
            times.append(None if self._scanning else self._next_scan)
            times.append(0.0 if self._touched or self._folders else None)
        times.append(self.offers.deadline())
        return min((time for time in times if time is not None), default=None)

    def forget(self) -> Effect:
        """What ends this source."""
        return Forget(self.key)

    def follows(self, live: ReadSpec | None) -> None:
        """A backfill takes files of the live source alone."""
        self.only = Pattern(live.pattern) if self.backfill and live is not None else None

    def backfilled(self) -> None:
        """Files that it has read again as they are did not change since: they are looked up again."""
        self.changes.again()
        self._touched.update(dict.fromkeys(self.changes.texts))

    def told(self, message: Message, now: float) -> None:
        """The store's answer."""
        match message:
            case LedgerPage(through=through) if through >= 0:
                self.taken_page(message, now)
            case LedgerPage():
                self.page(message, now)
            case LedgerRows():
                self.on_rows(message, now)

    def heard(self, message: Message, now: float) -> None:
        """News of the driver."""
        match message:
            case FileEvent():
                self.on_event(message, now)
            case Scanned():
                self.on_scanned(message, now)
            case Stated():
                self.on_stated(message, now)
            case Digested():
                self.on_digested(message, now)
            case Overflow():
                self.on_overflow(message, now)

    def waiting(self) -> dict[str, str]:
        """Files that are not ready."""
        return views.waiting(self)

    # --- questions ------------------------------------------------------------------------------------------------

    def look(self, number: int, positions: list[Position]) -> Effect:
        """How are these files now?"""
        identities = [position.identity for position in positions]
        return Stat(self.key, number, self.read.connection.path, identities, follow=self.read.follow_links)

    def looked(self, answer: Message, positions: list[Position]) -> dict[str, Any] | None:
        """The answer of ``source.stat``."""
        if not isinstance(answer, Stated):
            return None
        planned = {position.identity: stamp(position) for position in positions}
        files = [found.position() for found in answer.files]
        changed = [now.identity for now in files if not same_stamp(planned[now.identity], stamp(now))]
        gone = [*answer.gone, *(identity for identity, _ in answer.skipped)]
        return {"files": [now.shown() for now in files], "changed": changed, "gone": gone}

    def row(self) -> dict[str, Any]:
        """As ``source list`` shows it."""
        return views.row(self)

    def show(self) -> dict[str, Any]:
        """As ``source files`` shows it."""
        return views.show(self)

    def why(self, file: str) -> dict[str, str]:
        """As ``source why`` tells it."""
        return views.why(self, file)

    def match(self, pattern: str, aside: list[str]) -> dict[str, Any]:
        """Which of the files that it has taken match a pattern."""
        return views.match(self, pattern, aside)

    def _may_look(self) -> bool:
        """Whether files are looked for: once the ledger was read, so that a million files that are planned long since
        never become candidates."""
        known = self.ledger.loaded and (self.taken is None or self.taken.loaded)
        return not self.refused and (self._looked or known)

    def _look(self, now: float) -> list[Effect]:
        """Scans and stats that are due."""
        self._looked = True
        effects: list[Effect] = []
        base, path, pattern = self.read.connection.path, self.path, self.read.pattern
        follow = self.read.follow_links
        if not self._scanning and self._next_scan is not None and now >= self._next_scan:
            self._number, self._next_scan = self._number + 1, None
            self._scanning, self._scan_started, self._skipping = self._number, now, {}
            if self.run is not None and self.run.scan == 0:
                self.run.scan = self._number
            effects.append(Scan(self.key, self._number, base, path, pattern, "", self.read.settle, self.pinned, follow))
        for folder in self._folders:
            self._number += 1
            scan = Scan(self.key, self._number, base, path, pattern, folder, self.read.settle, self.pinned, follow)
            effects.append(scan)
        self._folders = {}
        self._touched.update(dict.fromkeys(self.files.due(now, MAX_STAT)))
        if self._touched:
            identities = list(self._touched)[:MAX_STAT]
            self._number += 1
            for identity in identities:
                del self._touched[identity]
                self._asked[identity] = self._number
            heard = self.scanned and not self._unwatched
            tell = self.files.unnamed(now, MAX_NAMED)
            effects.append(Stat(self.key, self._number, base, identities, heard, tell, self.pinned, follow))
        return effects

    def ask(self, identities: list[str]) -> bool:
        """Ask the kernel who writes these files, those of which that is not known. Returns whether there are any."""
        unasked = [i for i in self.files.unasked(identities) if i not in self._asked]
        self._touched.update(dict.fromkeys(unasked))
        return bool(self.files.unasked(identities))

    # --- what people see ------------------------------------------------------------------------------------------

    def _problems(self, now: float) -> list[Effect]:
        """Tell the broker when the list of problems has changed."""
        waits = views.held_back(self, now)
        problems = views.standing(self) + waits
        if problems == self.problems and not (self._report and problems):
            return []
        self._report = False
        again = [text for one, text in self.unmatched.items() if one in self._unmatched_told]  # other counts, no news
        self._unmatched_told = dict.fromkeys(self.unmatched)
        fresh = [text for text in problems if text not in [*self.problems, *waits, *again]]
        self.problems = problems
        told: list[Effect] = [Log("warning", f"{self.key}: {text}") for text in fresh]
        if self.epoch:
            spec = self.spec
            told.append(Send(BROKER, SourceProblem(spec.pipeline, spec.node.name, problems, spec.lane)))
        return told
