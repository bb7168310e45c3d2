"""How far a table may be read while transactions run that may still add rows: up to the greatest watermark of a moment,
as soon as all have ended that ran then. What comes from later ones has greater watermarks, or the same."""

from __future__ import annotations

from typing import NamedTuple

from odibi_actors.kinds.dialect import Session, Unfinished
from odibi_actors.sources.query.statements import Value


class _Pending(NamedTuple):
    bound: Value
    unfinished: Unfinished


class Settling:
    """Of one source. What it knows may be lost any time: it is waited for again then."""

    def __init__(self) -> None:
        self._pending: _Pending | None = None
        self._settled = b""

    def bound(self, session: Session, wanted: Value) -> tuple[Value | None, list[str]]:
        """Up to where it may be read now, of what is ``wanted``, and who holds up the rest."""
        if wanted.key <= self._settled:
            return wanted, []
        pending = self._pending or self._ask(session, wanted)
        if pending is None:
            return wanted, []
        holds = session.holds(pending.unfinished)
        if holds:
            self._pending = pending
            return None, holds
        self._pending, self._settled = None, max(self._settled, pending.bound.key)
        if wanted.key <= self._settled:
            return wanted, []
        self._pending = self._ask(session, wanted)  # what came meanwhile is next
        return pending.bound, []

    @staticmethod
    def _ask(session: Session, wanted: Value) -> _Pending | None:
        running = session.running()
        return None if running is None else _Pending(wanted, running)
