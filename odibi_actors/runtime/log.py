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
    if LEVELS.get(level, 3) < LEVELS.get(os.environ.get("ODIBI_LOG", "info"), 1):
        return
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
    shown = dict(fields or {})
    below = str(shown.pop("traceback", ""))  # many lines, for people: as they are, below the line
    first, _, rest = text.partition("\n")
    tail = "".join(f" {key}={_value(value)}" for key, value in shown.items())
    line = "\n".join(filter(None, (f"{stamp} {level} {actor} {first}{tail}", rest.rstrip(), below.rstrip()))) + "\n"
    if also is not None:
        also(line.encode())
    try:
        sys.stderr.write(line)
        sys.stderr.flush()
    except OSError:
        return  # whoever read our stderr is gone; that is no reason to stop working


def _value(value: object) -> str:
    text = str(value)
    if text and not any(c.isspace() or c in "\"='" for c in text):
        return text[:VALUE_MAX]
    return json.dumps(text[:VALUE_MAX], ensure_ascii=False)
