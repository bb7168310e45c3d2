"""What a source offers: the first files beyond what is planned, or, of a reference, all of them with their digests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from odibi_actors.actor import Effect, Send
from odibi_actors.messages import BROKER, Offer
from odibi_actors.model import Position
from odibi_actors.streaming.batch import Digests
from odibi_actors.streaming.effects import Digest

if TYPE_CHECKING:
    from odibi_actors.streaming.source import Source

RESEND = 5.0
"""Seconds after which an offer is repeated; messages can be lost."""

COMPARE_PATIENCE = 10.0
"""Seconds that a run waits at most to know whether files changed that were read before, so that it can tell."""

OFFER_BYTES = 4_000_000
"""Bytes of the names in one offer: it has to fit into a frame, and as a plan into a record. At least one file goes."""


def _fitting(identities: list[str]) -> list[str]:
    """As many of the first ones as may travel together; 80 bytes for the numbers of each."""
    total = 0
    for count, identity in enumerate(identities):
        total += len(identity.encode()) + 80
        if total > OFFER_BYTES and count:
            return identities[:count]
    return identities


class Run:
    """A run looks at what is there when it begins. ``scan``: the scan that finds it; ``left``: what is not planned;
    ``patience``: until when it waits to know whether files that were read before have changed."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.scan = 0
        self.left: dict[str, None] | None = None
        self.patience = 0.0

    def found(self, identities: list[str], now: float) -> None:
        """Its scan is done, and these files are there and not planned."""
        self.left = dict.fromkeys(identities)
        self.patience = now + COMPARE_PATIENCE


class Offers:
    """The offers of one source. ``dirty``: something happened that may change the next one."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.digests = Digests()
        self.dirty = True
        self._offer: Offer | None = None
        self._offered_at = 0.0
        self._pinned = False

    def again(self) -> None:
        """Whoever heard the last offer may have forgotten it."""
        self._offer, self.dirty = None, True

    def flush(self, now: float) -> list[Effect]:
        """The offer, if it is another than the last or that one is old, and what has to be digested for it."""
        source, effects = self._source, list[Effect]()
        if not self._wanted(now):
            return effects
        offer = self._make(now)
        if offer is not None:
            self._offer, self._offered_at = offer, now
            effects.append(Send(BROKER, offer))
        if source.pinned and (wanted := self.digests.wanted(source.files, source.looked_at)):
            effects.append(Digest(source.key, source.read.connection.path, wanted, source.read.follow_links))
        return effects

    def deadline(self) -> float | None:
        """When the last offer is to be repeated."""
        return self._offered_at + RESEND if self._may() and self._offer is not None else None

    def _may(self) -> bool:
        """Whether it is known what is there and what is planned, and offers are wanted."""
        source = self._source
        if not source.scanned or not source.ledger.loaded or not source.epoch:
            return False
        # A reference is told of also between runs: a dead letter that is replayed then reads it as it is.
        return source.pinned or not source.idle or source.within is not None

    def _wanted(self, now: float) -> bool:
        if not self._may():
            return False
        if self._offer is not None and now >= self._offered_at + RESEND:
            self.again()
        changed = self.dirty or self._source.files.changed
        self.dirty = self._source.files.changed = False
        return changed

    def _make(self, now: float) -> Offer | None:
        """The offer as it should be now; None when it is the former one or cannot be made yet."""
        source, run = self._source, self._source.run
        found = self._all() if source.pinned else self._first(now)
        if found is None:
            return None
        positions, left, exhausted = found
        offer = Offer(
            epoch=source.epoch,
            incarnation=source.incarnation,
            pipeline=source.spec.pipeline,
            source=source.spec.node.name,
            seq=source.ledger.seq,
            positions=positions,
            run=run.run if run is not None else "",
            exhausted=exhausted,
            lane=source.spec.lane,
            left=left,
            read=source.read_digest,
            unread=source.unread,
        )
        former = self._offer
        # what more there is beyond the credit is told with the next offer, or when this one is repeated
        return None if former is not None and offer == replace(former, left=left) else offer

    def _all(self) -> tuple[list[Position], int, bool] | None:
        """All files of a reference: positions, their number, whether a run has all it waits for. None while that is not
        known, and was not before."""
        source = self._source
        source.ask(source.files.ready_ones())
        # a file that is being asked for may be one of them
        found = None if source.looked_at else self.digests.positions(source.files)
        if found is None and not self._pinned:
            return None
        positions = found or []  # none while one is being written: what was offered is no longer what is there
        self._pinned = bool(positions)
        scanned = source.run is None or source.run.left is not None
        return positions, len(positions), scanned and found is not None

    def _first(self, now: float) -> tuple[list[Position], int, bool] | None:
        """The oldest files beyond what is planned: positions, how many there are, whether no more are of the run.
        None until it is known that nobody writes them."""
        source, run, within = self._source, self._source.run, self._source.within
        left = source.files.ready if within is None else len(within)
        identities = _fitting(source.files.first(min(source.spec.credit, left), within))
        if source.ask(identities):
            return None
        of_run = run.left if run is not None else {}
        exhausted = of_run is not None and sum(1 for i in identities if i in of_run) == len(of_run)
        if run is not None and source.changes.busy and now < run.patience:
            exhausted = False
        return [self._position(identity) for identity in identities], left, exhausted

    def _position(self, identity: str) -> Position:
        return self._source.files.known[identity].found(identity).position()
