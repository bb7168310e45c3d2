"""What node functions print says which node it came from: ``sales 12 clean: ...``, a line at a time."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast


@contextmanager
def labelled(label: str) -> Iterator[None]:
    """While it holds, each line written to ``sys.stdout`` and ``sys.stderr`` begins with ``label`` and a colon. What
    goes to the file descriptors 1 and 2 directly (subprocesses, C libraries) is not changed."""
    before = {name: cast("TextIO | None", getattr(sys, name)) for name in ("stdout", "stderr")}
    lines: dict[int, _Lines] = {}  # one for both where both are one stream, so that their lines do not mix
    for name, stream in before.items():
        if stream is not None:
            setattr(sys, name, lines.setdefault(id(stream), _Lines(stream, f"{label}: ")))
    try:
        yield
    finally:
        for name, stream in before.items():
            if isinstance(getattr(sys, name), _Lines):  # else the function has put another one there, and means it
                setattr(sys, name, stream)
        for one in lines.values():
            one.finish()


class _Lines:
    """Writes whole lines to ``stream``, each with its label; all else is the stream's."""

    def __init__(self, stream: TextIO, label: str) -> None:
        self._stream = stream
        self._label = label
        self._rest = ""
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        """Keep what does not end a line yet: half of it could not be told from another node's."""
        with self._lock:
            *whole, self._rest = (self._rest + text).split("\n")
            if whole:
                self._stream.write("".join(f"{self._label}{line}\n" for line in whole))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Each as it is."""
        for line in lines:
            self.write(line)

    def finish(self) -> None:
        """Write what is left as a line."""
        with suppress(OSError, ValueError):  # nobody reads any more, or the stream is closed: no fault of the node
            if self._rest:
                self.write("\n")
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
