"""The broker's side of the log: numbered records on their way to the checkpoint store.

Over ROUTER/DEALER a peer that dies and returns loses a middle stretch silently, so only numbering shows a gap. The
journal keeps every record above what is durable, to send it again to a restarted store.
"""

from __future__ import annotations

from collections import deque
from itertools import islice

from odibi_actors.checkpoint.records import AnyRecord
from odibi_actors.messages import AppendRecords

MAX_BACKLOG = 10_000
"""Undurable records past which nothing is dispatched or planned: bounds memory and what a crash makes run again."""

MAX_PER_MESSAGE = 400
"""Records in one message: with inline outputs of 8 KiB each it stays far below the frame limit of the wire."""


class Journal:
    """Numbers records, remembers those not yet durable, and says what to send."""

    def __init__(self, epoch: int, last_seq: int) -> None:
        self.epoch = epoch
        self.durable = last_seq
        self._next = last_seq + 1
        self._sent = last_seq
        self._kept: deque[AnyRecord] = deque()

    @property
    def last(self) -> int:
        """Number of the newest record."""
        return self._next - 1

    @property
    def backlog(self) -> int:
        """Records that are not durable yet."""
        return len(self._kept)

    @property
    def full(self) -> bool:
        """No more work may be given out until the store catches up."""
        return len(self._kept) >= MAX_BACKLOG

    def append(self, record: AnyRecord) -> int:
        """Number a record; it is sent by the next ``unsent``. Returns its number."""
        seq = self._next
        self._next += 1
        self._kept.append(record)
        return seq

    def unsent(self) -> list[AppendRecords]:
        """Messages with the records that were not sent yet, in order."""
        messages = []
        while self._sent < self.last:
            offset = self._sent - self.durable
            records = list(islice(self._kept, offset, offset + MAX_PER_MESSAGE))
            messages.append(AppendRecords(epoch=self.epoch, first=self._sent + 1, records=records))
            self._sent += len(records)
        return messages

    def settle(self, through: int) -> bool:
        """The store has ``through`` on disk. Returns whether that is news; a number never given out is ignored."""
        if through <= self.durable or through > self.last:
            return False
        for _ in range(through - self.durable):
            self._kept.popleft()
        self.durable = through
        self._sent = max(self._sent, through)
        return True

    def rewind(self, seq: int) -> bool:
        """Send again from ``seq`` on. False when ``seq`` was durable already: the store has lost what it promised."""
        if seq <= self.durable:
            return False
        self._sent = min(self._sent, seq - 1)
        return True
