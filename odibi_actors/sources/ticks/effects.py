"""What the finder of a source that is polled asks of its probe besides, and what that tells."""

from __future__ import annotations

from odibi_actors.kinds.connection import OPEN, Access
from odibi_actors.streaming.effects import Answered, Ask


class Keep(Ask, frozen=True):
    """Keep the code of the source's function, whose digest is ``code``, as it is below ``root``, before it is edited.
    Not answered: where that is no more, a poll says so."""

    root: str
    code: str


class Poll(Ask, frozen=True):
    """Read what there is now, within ``limit`` seconds, as of the tick ``at`` (seconds since the epoch). ``code``: the
    digest of the function's code that was applied; "": as it is now. Answered by Polled."""

    at: float
    limit: float
    pipeline: str = ""
    access: Access = OPEN
    code: str = ""

    @property
    def line(self) -> str:
        """One that hangs holds up neither the log nor other sources."""
        return f"poll of {self.source}"


class Polled(Answered, frozen=True):
    """The bytes that were read, in the source's format, and their ``rows`` (-1: not known); or the ``problem``."""

    data: bytes = b""
    rows: int = -1
    problem: str = ""
