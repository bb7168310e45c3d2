"""Where rows end in text that comes in blocks. Pure."""

from __future__ import annotations

import re

from odibi_actors.kinds.format import Lines

_END = re.compile(rb"\n")


class Scanner:
    """Finds the ends of rows, block by block."""

    def __init__(self, lines: Lines) -> None:
        self._quote = lines.quote
        self._openers = (b"\n", b"\r", lines.delimiter)
        self.inside = False  # of quotes
        self._closed = False  # the last byte was a quote that closed: another one at once stands for itself
        self._last = b"\n"  # the byte before: a block begins where a row does, at first

    def ends(self, block: bytes) -> list[int]:
        """Places in the block right behind the ends of rows."""
        if not block:
            return []
        if not self._quote or (not self.inside and self._quote not in block):
            self._last, self._closed = block[-1:], False
            return [found.end() for found in _END.finditer(block)]
        return self._quoted(block)

    def _quoted(self, block: bytes) -> list[int]:
        found: list[int] = []
        at = 0
        parts = block.split(self._quote)
        for number, part in enumerate(parts):
            if not self.inside:
                found += [at + one.end() for one in _END.finditer(part)]
            at += len(part) + 1
            if part:
                self._last, self._closed = part[-1:], False
            if number == len(parts) - 1:
                break
            if self.inside:
                self.inside, self._closed = False, True
            else:
                # A quote within an unquoted value is one of its characters.
                self.inside = self._closed or self._last in self._openers
                self._closed = False
            self._last = self._quote
        return found


def header_end(data: bytes, lines: Lines) -> int:
    """Bytes of the row that names the columns, with the empty lines before it; 0 while it has no end yet."""
    begin = 0
    for end in Scanner(lines).ends(data):
        if data[begin:end].strip():
            return end
        begin = end
    return 0
