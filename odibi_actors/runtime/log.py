"""One line per event on stderr, a traceback below it::

2026-01-31T09:30:00.123Z warning pool-0 a worker is gone worker=pool-0-3
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from odibi_actors.runtime.visible import visible

LEVELS = {"debug": 0, "info": 1, "warning": 2, "error": 3}
VALUE_MAX = 4000  # characters of one value; a traceback fits, a batch does not


def log(
    level: str,
    actor: str,
    text: str,
    fields: Mapping[str, Any] | None = None,
    also: Callable[[bytes], object] | None = None,
) -> None:
    """Write one line; below ``ODIBI_LOG`` (debug, info, warning, error; default info) nothing. ``also``: where a
    copy goes."""
    line = stamped(level, actor, text, fields)
    if not line:
        return
    if also is not None:
        also(line.encode())
    try:
        sys.stderr.write(line)
        sys.stderr.flush()
    except OSError:
        return  # whoever read our stderr is gone; that is no reason to stop working


def stamped(level: str, actor: str, text: str, fields: Mapping[str, Any] | None = None) -> str:
    """That line, with its newline; "" when its level is not wanted."""
    if LEVELS.get(level, 3) < LEVELS.get(os.environ.get("ODIBI_LOG", "info"), 1):
        return ""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
    shown = dict(fields or {})
    below = str(shown.pop("traceback", ""))  # many lines, for people: as they are, below the line
    first, _, rest = text.partition("\n")
    tail = "".join(f" {key}={_value(value)}" for key, value in shown.items())
    told = filter(None, (f"{stamp} {level} {actor} {first}{tail}", rest.rstrip(), below.rstrip()))
    return visible("\n".join(told)) + "\n"


class Complaints:
    """Warnings about what others send: the first few of every ``PERIOD`` seconds are told, the rest counted, so that a
    flood of garbage does not push everything else out of the log."""

    PERIOD, MOST = 10.0, 20

    def __init__(self, actor: str) -> None:
        self._actor = actor
        self._since = float("-inf")
        self._count = 0

    def __call__(self, text: str, fields: Mapping[str, Any]) -> None:
        """Warn, or count."""
        now = time.monotonic()
        if now - self._since >= self.PERIOD:
            if self._count > self.MOST:
                log("warning", self._actor, "more complaints like these", {"untold": self._count - self.MOST})
            self._since, self._count = now, 0
        self._count += 1
        if self._count <= self.MOST:
            log("warning", self._actor, text, fields)


def _value(value: object) -> str:
    text = visible(str(value)[:VALUE_MAX])
    if text and not any(c.isspace() or c in "\"='" for c in text):
        return text
    return json.dumps(text, ensure_ascii=False)
