"""What Spark raises, as failures of a node."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from odibi_actors.model import FailureKind

_LOST: Final = re.compile(r"\[(INVALID_HANDLE\.|RETRIES_EXCEEDED|NO_ACTIVE_SESSION|SESSION_CLOSED|SESSION_CHANGED)")
"""How messages begin when the session is gone that we had."""
_CONNECTION: Final = "SparkConnectGrpcException"
"""What pyspark makes of an error of the connection; those of queries are classes below it."""
_UNAVAILABLE: Final = re.compile(r"^<_\w+ of RPC .*\n\s*status = StatusCode\.UNAVAILABLE")
_NEVER: Final = ("AnalysisException", "ParseException")
_LINE: Final = re.compile(r"[;(]?\s*\(?line (\d+),? pos(?:ition)? \d+\)?;?")
_FILE: Final = "[FAILED_READ_FILE"
_CAUSE: Final = re.compile(r"^Caused by: [\w.$]+: (.+?)(?=\n\s*at |\nCaused by|\Z)", re.MULTILINE | re.DOTALL)
"""Why it could not be read: only the stack of the JVM has that."""
_DETAILS: Final = re.compile(r'details = "(.*?)"\n', re.DOTALL)


class Told(NamedTuple):
    """A failure: its kind, one or a few lines for people, the line of the query that it is about (0: none)."""

    kind: FailureKind
    text: str
    line: int = 0


def is_of_spark(error: BaseException | None) -> bool:
    """Whether an exception is one of pyspark's, which are those of the connection as well."""
    return type(error).__module__.split(".")[0] == "pyspark"


def told(error: BaseException, gone: bool) -> Told:
    """What to say of it. ``gone``: Spark's process is known to have ended."""
    text = str(error)
    # what rows say must not be taken for it: only the beginning of a message, and of the connection's, is Spark's own
    lost = _LOST.match(text) or (type(error).__name__ == _CONNECTION and _UNAVAILABLE.search(text))
    if gone or lost:
        found = _DETAILS.search(text)
        why = found[1] if found else text.strip().splitlines()[0] if text.strip() else type(error).__name__
        return Told("busy", f"Spark was lost while it worked; the next try starts, or finds, another ({why[:200]})")
    never = any(kind.__name__ in _NEVER for kind in type(error).__mro__)
    causes = _CAUSE.findall(text) if text.startswith(_FILE) else []
    # what follows is the plan, the query once more with our frame around it, and the stack of the JVM
    text = re.split(r"\n== SQL|\n\nJVM stacktrace:|;\n'|\n== Stacktrace", text.strip())[0].strip()
    line = _LINE.search(text)
    text = _LINE.sub("", text.splitlines()[0] if never and text else text).strip() or type(error).__name__
    text = f"{text}: {' '.join(causes[-1].split())[:500]}" if causes else text
    return Told("invalid" if never else "raised", text, int(line[1]) if line else 0)
