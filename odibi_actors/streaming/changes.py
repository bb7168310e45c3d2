"""Files that are not as they were when they were read: which of them hold other bytes, and which are known again.

A project that is copied, a folder that is restored, ``touch``: other times and inodes, the same bytes. The ledger keeps
the digest of what a worker has read; so a file with another stamp is looked up there and digested, once. With the bytes
that were read it is the same file, known as it is from now on, durably; with others it is a problem that is told.
"""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

from odibi_actors.actor import Effect, Send
from odibi_actors.messages import BROKER, LOOKED_UP, STORE, LedgerLook, LedgerRow, LedgerRows, SameBytes
from odibi_actors.model import Position
from odibi_actors.runtime.visible import named
from odibi_actors.streaming.copied import RETRY
from odibi_actors.streaming.effects import Digest, Digested, Found
from odibi_actors.streaming.ledger import Stamp, same_but_ctime, same_stamp, stamp

if TYPE_CHECKING:
    from odibi_actors.streaming.ledger import Ledger

MAX_SUSPECTS = 100_000
"""Files that wait to be compared; the rest is found again by a later scan."""

MAX_CHANGED = 5000
"""Changed files that are remembered; it is told when there may be more."""

GATHER = 0.25
"""Seconds until a file that was touched is looked up: most times others follow, and go with it."""

SHARE = 9.0
"""After a round of comparing there is a pause of this many times its duration: reading what was read takes at most 10 %
of the time, whatever goes on in the folder, and on file systems whose ctime never stands still."""

MAX_PAUSE = 300.0
"""Seconds between two rounds at most."""

TOLD_EVERY = 60.0
"""Seconds between two lines about files that changed, while there are more to be compared."""

NEW_NAME = (
    "if its data is new, rename it: then all of its rows are read, those that were read before once more, and this is "
    "told no more"
)
LONGER = (
    "; where rows are added to files, `mode: incremental` reads just these, in another pipeline, into targets of its "
    "own"
)
FAILED = "if that iteration has failed, `odibictl iteration retry {} {}` reads it as it is now"


class Changes:
    """What has become of the planned files of one source. ``texts``: by identity, what is told of those that changed;
    ``unsure``: those of them of which no digest was kept; ``given_up``: those that were set aside, and discarded;
    ``full``: there may be more."""

    def __init__(self, key: str, base: str, ledger: Ledger, follow: bool = False) -> None:
        self.key, self.base, self.ledger, self._follow = key, base, ledger, follow
        self.texts: dict[str, str] = {}
        self.unsure: dict[str, None] = {}
        self.given_up: dict[str, None] = {}
        self.full = False
        self._found: dict[str, str] = {}  # as ``texts``, of the round at hand
        self._told_at = 0.0
        self._told_as: dict[str, Stamp] = {}  # what each of both was then
        self._suspects: dict[str, Found] = {}
        self._looking: dict[str, Found] = {}
        self._comparing: dict[str, tuple[Found, LedgerRow]] = {}
        self._to_digest: list[Found] = []
        self._same: dict[str, list[Position]] = {}  # by the lane that has read them
        self._number = 0  # of the round: a store that answers late has answered
        self._round_began = 0.0
        self._next: float | None = None  # when a lookup is due: the next, or this one again

    @property
    def busy(self) -> bool:
        """Whether there are files of which it is not known yet whether they changed."""
        return bool(self._suspects or self._looking or self._comparing)

    def text(self, identity: str) -> str:
        """What is told of this file, or will be once others were compared; "" for one that did not change."""
        return self.texts.get(identity) or self._found.get(identity, "")

    def pending(self, identity: str) -> bool:
        """Whether this is one of them."""
        return identity in self._suspects or identity in self._looking or identity in self._comparing

    # --- what happened --------------------------------------------------------------------------------------------

    def seen(self, found: Found, now: float) -> None:
        """A planned file is there, as ``found``."""
        identity, now_is = found.identity, stamp(found)
        planned = self.ledger.index.get(identity)
        if planned is None or same_stamp(planned, now_is):
            self.forget(identity)
        elif self._told_as.get(identity) != now_is and not self._known(found) and len(self._suspects) < MAX_SUSPECTS:
            self._suspects[identity] = found
            if self._next is None:
                self._next = now + GATHER

    def again(self) -> None:
        """A backfill has ended, and may have read some of them as they are now: the next look tells."""
        self._told_as.clear()

    def _known(self, found: Found) -> bool:
        """Whether it is being looked up, or compared, as it is."""
        comparing = self._comparing.get(found.identity)
        return self._looking.get(found.identity) == found or (comparing is not None and comparing[0] == found)

    def forget(self, identity: str) -> bool:
        """It is as it was planned, or gone, or planned again. Returns whether it was told of."""
        self._suspects.pop(identity, None)
        self._told_as.pop(identity, None)
        self._found.pop(identity, None)
        self.unsure.pop(identity, None)
        self.given_up.pop(identity, None)
        told = self.texts.pop(identity, None) is not None
        self.full = self.full and bool(self.texts)
        return told

    def keep(self, planned: Container[str]) -> None:
        """The ledger was read again: what is not planned any more cannot have changed."""
        for identity in [i for i in (*self.texts, *self._suspects) if i not in planned]:
            self.forget(identity)

    def rows(self, answer: LedgerRows, now: float) -> None:
        """What the ledger holds of the files that were looked up."""
        if answer.number != self._number or not self._looking or answer.seq < self.ledger.seq:
            return
        looking, self._looking = self._looking, {}
        rows = {row.position.identity: row for row in answer.rows}
        for identity, found in looking.items():
            row = rows.get(identity)
            if row is None or identity not in self.ledger.index:
                continue
            if row.state in ("read", "discarded"):
                self._judge(found, row)
            elif row.failed and row.state == "unread" and not same_but_ctime(stamp(row.position), stamp(found)):
                self._tell(found, f"was written again since iteration {row.iteration} failed; {self._retry(row)}")
        self._done(now)

    def _judge(self, found: Found, row: LedgerRow) -> None:
        """By its row alone, where that is enough: else its bytes are compared."""
        now_is, was = stamp(found), stamp(row.position)
        when = f"it was read (iteration {row.iteration})"
        if row.state == "discarded":
            when = f"it was set aside (iteration {row.iteration}) and its dead letter discarded"
            self.given_up[found.identity] = None
        if same_stamp(was, now_is):
            self.ledger.index[found.identity] = was
            self.forget(found.identity)
        elif found.size != row.position.size:
            grows = LONGER if found.size > row.position.size and not row.failed else ""
            self._tell(found, f"changed after {when}; {self._remedy(row)}{grows}")
        elif row.position.digest:
            self._comparing[found.identity] = (found, row)
            self._to_digest.append(found)
        elif not same_but_ctime(was, now_is):
            self._tell(
                found,
                f"was written again after {when}, with the same size; whether its bytes are others is not known, no "
                f"digest of it is kept: {NEW_NAME}",
            )
            self.unsure[found.identity] = None

    def digested(self, answer: Digested, now: float) -> None:
        """The digest of a file that is compared; "" when it has changed again: another look will tell."""
        identity = answer.file.identity
        if identity not in self._comparing or self._comparing[identity][0] != answer.file:
            return
        found, row = self._comparing.pop(identity)
        if answer.digest and identity in self.ledger.index:
            if answer.digest == row.position.digest:
                self._know_again(found, row)
            else:
                what = f"changed after it was read (iteration {row.iteration}), with the same size"
                self._tell(found, f"{what}; {self._remedy(row)}")
        self._done(now)

    def _know_again(self, found: Found, row: LedgerRow) -> None:
        self.ledger.index[found.identity] = stamp(found)
        self.forget(found.identity)
        known = found.position(row.position.generation, row.position.digest)
        self._same.setdefault(row.lane, []).append(known)

    def _remedy(self, row: LedgerRow) -> str:
        if row.failed:
            return f"that has failed; {self._retry(row)}"
        if row.state == "discarded" or row.committed:
            return NEW_NAME
        return f"{NEW_NAME}; {FAILED.format(self.ledger.pipeline, row.iteration)}"

    def _retry(self, row: LedgerRow) -> str:
        return f"`odibictl iteration retry {self.ledger.pipeline} {row.iteration}` reads it as it is now"

    def _tell(self, found: Found, what: str) -> None:
        self.unsure.pop(found.identity, None)
        if found.identity not in self.texts and len(self.texts) + len(self._found) >= MAX_CHANGED:
            self.full = True
            return
        self._found[found.identity] = f"file {named(found.identity)} {what}"
        self._told_as[found.identity] = stamp(found)

    def _done(self, now: float) -> None:
        """After a round the next may begin, after a pause. What was found is told once, with its number:
        of many rounds after the first and the last, and once a minute."""
        if self._looking or self._comparing:
            return
        self._next = now + min(SHARE * (now - self._round_began), MAX_PAUSE)
        if self._found and (not self._suspects or not self.texts or now - self._told_at >= TOLD_EVERY):
            self.texts.update(self._found)
            self._found, self._told_at = {}, now

    # --- what to do about it --------------------------------------------------------------------------------------

    def flush(self, now: float, epoch: int, *, scanning: bool) -> list[Effect]:
        """The lookup that is due (once a scan is done: all that it finds goes together), the files to digest, and, to
        the broker of ``epoch``, those that are known again."""
        effects: list[Effect] = []
        if self._to_digest:
            effects.append(Digest(self.key, self.base, self._to_digest, self._follow))
            self._to_digest = []
        ledger = self.ledger
        if self._same and not self._comparing and epoch:
            same, self._same = self._same, {}
            for lane, positions in same.items():
                effects.append(Send(BROKER, SameBytes(epoch, ledger.pipeline, ledger.source, positions, lane)))
        if self._next is not None and now >= self._next and ledger.loaded and not scanning:
            effects += self._look(now)
        return effects

    def _look(self, now: float) -> list[Effect]:
        if self._comparing:
            self._next = None
            return []
        if not self._looking:
            self._number += 1
            for identity in list(self._suspects)[:LOOKED_UP]:
                self._looking[identity] = self._suspects.pop(identity)
        if not self._looking:
            self._next = None
            return []
        self._next = now + RETRY
        self._round_began = now  # a store that is away takes nobody's time: what counts is the lookup it answers
        ledger = self.ledger
        look = LedgerLook(ledger.pipeline, ledger.source, ledger.lane, self._number, list(self._looking))
        return [Send(STORE, look)]

    def deadline(self) -> float | None:
        """When ``flush`` has something to do at the latest."""
        return self._next if self.ledger.loaded else None
