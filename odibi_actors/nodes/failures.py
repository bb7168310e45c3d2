"""How code of this package gives up on a node: an exception that carries the durable ``Failure``."""

from __future__ import annotations

from odibi_actors.errors import NodeError
from odibi_actors.model import Failure, FailureKind

MAX_MESSAGE = 4 * 1024
"""Characters of a message: user code can raise with a whole frame as its text, and the log keeps every failure."""
MAX_VALUE = 200
"""Characters of a value shown: enough to recognise it."""


def shorten(text: str, limit: int) -> str:
    """At most ``limit`` characters of ``text``, marked where cut, and safe to encode as UTF-8."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


class Failed(NodeError):
    """The node fails with ``failure``."""

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        traceback: str = "",
        position: str = "",
        line: int = 0,
        column: str = "",
        value: str = "",
        lost: str = "",
        schema: bool = False,
    ) -> None:
        super().__init__(message)
        self.failure = Failure(
            kind=kind,
            message=shorten(message, MAX_MESSAGE),
            traceback=traceback,
            position=position,
            line=line,
            column=column,
            value=shorten(value, MAX_VALUE),
            lost=lost,
            schema=schema,
        )
