"""What there is to read: looks, and what each has found, as long as something of it is left."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Final

from odibi_actors.config.model import ReadSpec
from odibi_actors.local.streams.config import StreamConfig, StreamMode
from odibi_actors.local.streams.session import Session
from odibi_actors.local.streams.words import in_words
from odibi_actors.messages import Offer

log = logging.getLogger("odibi_actors.streaming")

LAST_RUN: Final = "last_run"
"""Setting: when the newest iteration was planned (seconds since the epoch)."""
SETTLE: Final = 2.0
"""Seconds for which a file has to be unchanged that is no longer the one that was read: somebody may be writing it."""


class Replaced(Exception):
    """A file is no longer the one that was read."""


class Looks:
    """Of one stream. ``config`` is not to be changed."""

    def __init__(self, name: str, config: StreamConfig) -> None:
        self._name, self._config = name, config
        self.wanted = False
        """A look is to be made once nothing is left of the one before."""
        self._run = ""  # the look whose findings are being read; "" when nothing of it is left
        self._last = False  # no more is left of it than was offered

    def over(self) -> None:
        """Of the last look nothing more is read."""
        self._run, self._last = "", False

    def offer(self, session: Session, read: ReadSpec) -> Offer | None:
        """Positions that are to be read now; None: none. Raises OSError, ValueError, Replaced: something is there that
        cannot be read."""
        if self._run and not self._last and (offer := session.rest(self._run)).positions:
            return offer
        self.over()
        if not self.wanted:
            return None
        self.wanted = False
        if self.due_in(session) > 0 or (read.mode == "event" and not read.schema):  # nothing was pushed ever
            return None
        offer = session.look()
        if offer.positions:
            self._run = offer.run
            return offer
        if offer.unread:
            self._unread(read, in_words(self._name, "; ".join(offer.unread)))
        return None

    def taken(self, offer: Offer, count: int) -> None:
        """So many of the positions are planned."""
        self._last = offer.exhausted and count == len(offer.positions)

    def due_in(self, session: Session | None) -> float:
        """Seconds until the interval is over that has begun with the newest batch; 0 where there is none."""
        last = float(session.desk.settings.get(LAST_RUN, "0")) if session is not None else 0.0
        now = time.time()
        if self._config.mode != StreamMode.INTERVAL or last > now:
            return 0.0
        return max(0.0, last + self._config.interval_seconds - now)

    def _unread(self, read: ReadSpec, told: str) -> None:
        if self._config.mode != StreamMode.INCREMENTAL or read.of_table is not None:
            raise OSError(told)
        path = Path(self._config.source_path)
        if not path.is_file():
            raise ValueError(f"{self._name}: {told}")
        with open(path, "rb"):  # is it the file, or the way to it?
            pass
        if time.time() - path.stat().st_mtime >= SETTLE:
            raise Replaced(told)
        log.info("%s: %s; it is looked at again", self._name, told)
