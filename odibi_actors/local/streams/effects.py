"""What the desk of a stream is told by whoever drives it. None of it travels."""

from __future__ import annotations

from odibi_actors.checkpoint.records import AnyRecord
from odibi_actors.config.model import ReadSpec
from odibi_actors.messages import Message


class Look(Message, frozen=True):
    """Find what is there now. ``run`` names the question; the answer is ``Desk.answer(run)``."""

    run: str


class Note(Message, frozen=True):
    """Make these records durable, in one transaction; they are when ``Desk.durable``."""

    records: list[AnyRecord]


class Reads(Message, frozen=True):
    """From now on the source reads this: what is pushed has columns that are known by now. ``follow``: it is to offer
    what comes, and not only what a look finds."""

    read: ReadSpec
    follow: bool
