"""What the parser of YAML could not read, in plain words: the line that is at fault, and what it should be.

The parser says where it stopped, which is often the line after, in terms of its tokens. Lines and columns are 1-based.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from odibi_actors.units import plural

QUOTE = 'quote a cron expression: cron: "*/5 * * * *"'
"""What to do about one that begins with a character that means something to YAML: ``*`` or ``@``."""
_SECRET = re.compile(r"passw|secret|token|webhook|user|://", re.IGNORECASE)
"""In lines that are not shown: they may hold what nobody else is to read."""
_VALUE = re.compile(r"(?P<before>^\s*(?:- )*(?:[\w.-]+:\s+)?|[\[{,]\s*(?:[\w.-]+:\s+)?)(?P<value>[*@%`][^,\]}#]*)")
"""A value that begins with what means something to YAML, or nothing that may stand there."""
_DASH = re.compile(r"^(\s*)-(\w+)\s*:")
_GLUED = re.compile(r"^[ ]*(?:- )*(\w+):([^ \t\r/].*)$")
_BARE = re.compile(r"^\s*(?:- )*(\w+)(?:\s+(?:=\s*)?([^\s=].*))?$")
_KEY = re.compile(r":(?:[ \t]|$)")
"""What a line with a key has."""
_BLOCK = re.compile(r"(?P<key>[\w.-]+):\s+(?P<mark>[|>])[-+0-9]*\s*(?:#.*)?$")
"""The line over a block of text."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ufffe\uffff]")
_ITEMS = re.compile(r"^(\s*)((?:- +)*)")
_ODD = re.compile(r"found character ('.')")
_NAME = re.compile(r"(\w+)\s*$")


class Fault(NamedTuple):
    """``shown``: the line itself."""

    line: int
    column: int
    message: str
    remedy: str = ""
    shown: str = ""


class Stop(NamedTuple):
    """Where and why the parser stopped; ``opened``: where that began which it was reading, None when it does not
    say."""

    line: int
    column: int
    reason: str
    opened: tuple[int, int] | None = None


def explained(text: str, stop: Stop) -> Fault:
    """The fault behind what the parser says."""
    lines = text.split("\n")
    found = _fault(lines, stop)
    return found._replace(shown=_shown(lines, found.line))


def control(text: str) -> Fault | None:
    """The first control character of the text, which YAML allows none of. Its line is not shown: terminals obey
    some."""
    if (found := _CONTROL.search(text)) is None:
        return None
    line, column = text.count("\n", 0, found.start()) + 1, found.start() - text.rfind("\n", 0, found.start())
    says = f"not valid YAML: the control character U+{ord(found[0]):04X}"
    return Fault(line, column, says, "delete it")


def quoted_value(text: str, line: int) -> str:
    """How a value is to be written that begins with ``*``, ``@`` and the like, in a line (1-based) of the file; ""
    where there is none."""
    written = _line(text.split("\n"), line)
    if re.search(r"\bcron:\s*[*@]", written):
        return QUOTE
    found = _VALUE.search(written)
    if found is None:
        return ""
    key = re.search(r"[\w.-]+:\s+$", found["before"])
    return f'quote it: {key[0] if key else ""}"{found["value"].strip()}"'


def _fault(lines: list[str], stop: Stop) -> Fault:
    line, column, reason, opened = stop
    written = _line(lines, line)
    at = Fault(line, column, f"not valid YAML: {reason}")
    if "'\\t'" in reason or "\t" in written[: column - 1]:
        indents = "\t" in written[: len(written) - len(written.lstrip())]
        remedy = "indent with spaces: YAML allows no tab there" if indents else "write a blank instead, or nothing"
        return at._replace(message="not valid YAML: a tab", remedy=remedy)
    if fault := _short_quote(written, stop) or _short_block(lines, line):
        return fault
    if remedy := quoted_value("\n".join(lines), line):
        odd = _ODD.search(reason)
        return at._replace(message=f"not valid YAML: {odd[1]} begins no text" if odd else at.message, remedy=remedy)
    if "unknown escape" in reason:
        remedy = "between double quotes a backslash is written twice, between single quotes once"
        return at._replace(message="not valid YAML: a backslash between double quotes", remedy=remedy)
    if found := _DASH.match(written):
        says = "not valid YAML: a blank is missing after the dash"
        return at._replace(column=len(found[1]) + 1, message=says, remedy=f"write `- {found[2]}:`")
    if "unexpected end of stream" in reason and opened:
        return Fault(*opened, "not valid YAML: a quote that is opened here is not closed", "close it")
    if reason.startswith("expected ',' or") and opened:
        return _brackets(lines, stop, opened)
    if "expected ':'" in reason and opened:
        return _no_colon(lines, opened[0])
    if reason.startswith("mapping values are not allowed"):
        return _colon_or_indent(lines, at)
    if reason.startswith("expected <block end>"):
        return _indent(lines, at, "not valid YAML: this line is indented like none of those around it")
    return at


def _short_quote(written: str, stop: Stop) -> Fault | None:
    """A quote that ends before its text does: ``'it's'``."""
    before, rest = written[: stop.column - 1].rstrip(), written[stop.column - 1 :]
    mark = before[-1:]
    if mark not in ("'", '"') or not re.match(r"[^\s,\]}:#]", rest) or before.count(mark) < 2:
        return None
    twice = "''" if mark == "'" else '\\"'
    says = "not valid YAML: the quote ends here, and the text goes on"
    return Fault(stop.line, len(before), says, f"within the text a {mark} is written {twice}")


def _short_block(lines: list[str], line: int) -> Fault | None:
    """A line that is meant to belong to the block of text above it (``sql: |``), and is no deeper than its key."""
    written = _line(lines, line)
    for above in range(line - 1, 0, -1):
        over = lines[above - 1]
        if (found := _BLOCK.search(over)) is None:
            continue
        key = _after_dash(over)
        within = [one for one in lines[above : line - 1] if one.strip()]
        if any(_depth(one)[0] <= key for one in within) or _depth(written)[0] > key:
            return None
        if within and _KEY.search(written):
            return None  # as likely a key of its own
        says = f"not valid YAML: this line is not within the block `{found['key']}: {found['mark']}`"
        remedy = f"indent the lines of the block deeper than {found['key']} (by {key + 2} blanks, say)"
        return Fault(line, _depth(written)[0] + 1, says, remedy)
    return None


def _brackets(lines: list[str], stop: Stop, opened: tuple[int, int]) -> Fault:
    before = _line(lines, stop.line)[: stop.column - 1]
    mark = _line(lines, opened[0])[opened[1] - 1 : opened[1]] or "{"
    if before.endswith("$"):
        remedy = 'within { } and [ ] quote a variable: "${NAME}"'
        return Fault(stop.line, stop.column, f"not valid YAML: {stop.reason}", remedy)
    close = {"{": "}", "[": "]"}.get(mark, mark)
    there = _line(lines, stop.line)[stop.column - 1 : stop.column]
    if there and there in "]}" and there != close:
        says = f"not valid YAML: {mark} is opened in line {opened[0]}, and {there} does not close it"
        return Fault(stop.line, stop.column, says, f"close it with {close}")
    if stop.line == opened[0] and before.rstrip()[-1:] in ("]", "}"):
        remedy = "separate what is within { } and [ ] by commas; quote a text that begins with [ or {"
        return Fault(stop.line, stop.column, f"not valid YAML: {stop.reason}", remedy)
    name = _NAME.search(before)
    if stop.line == opened[0] and name:
        says = f"not valid YAML: a comma is missing before {name[1]}"
        return Fault(stop.line, name.start() + 1, says, "separate what is within { } and [ ] by commas")
    return Fault(*opened, f"not valid YAML: {mark} is opened here and not closed", f"close it with {close}")


def _no_colon(lines: list[str], line: int) -> Fault:
    if fault := _short_block(lines, line):
        return fault
    written = _line(lines, line)
    column = len(written) - len(written.lstrip()) + 1
    if found := _GLUED.match(written):
        odd = "" if found[2].isascii() or not found[2][0].isspace() else f" (U+{ord(found[2][0]):04X} is none)"
        says = f"not valid YAML: a blank is missing after the colon{odd}"
        return Fault(line, column, says, f"write `{found[1]}: {found[2].strip()}`")
    found = _BARE.match(written)
    remedy = "write `key: value`" if found is None else f"write `{found[1]}:{' ' + found[2] if found[2] else ''}`"
    return Fault(line, column, "not valid YAML: a colon is missing after the name of the key", remedy)


def _colon_or_indent(lines: list[str], at: Fault) -> Fault:
    line = at.line
    before = _line(lines, line)[: at.column - 1]
    if re.search(r":\s", before):
        key = before[: before.index(":")].strip(" -")
        says = "not valid YAML: a colon within a text that is not quoted"
        return at._replace(message=says, remedy=f'quote the text: {key}: "..."')
    above = [number for number in range(1, line) if _line(lines, number).strip(" ") and not _comment(lines, number)]
    if above and not _KEY.search(_line(lines, above[-1]).split(" #")[0]):
        return _no_colon(lines, above[-1])
    return _indent(lines, at, "not valid YAML: this line is indented below one that has a value")


def _comment(lines: list[str], number: int) -> bool:
    return _line(lines, number).lstrip().startswith("#")


def _indent(lines: list[str], at: Fault, says: str) -> Fault:
    """What the indentation should be: that of a level that is open there, the nearest one, or both that are as near.
    Where it is one already something else is wrong, of which the words of the parser are told."""
    line = at.line
    written = _line(lines, line)
    indent, dashed = _depth(written)
    levels = _open(lines[: line - 1], dashed)
    if not levels:
        return Fault(line, indent + 1, says, "indent what belongs together by the same number of blanks")
    near = min(abs(level - indent) for level, _ in levels)
    if not near:
        return at
    each = sorted((level for level in levels if abs(level[0] - indent) == near), reverse=True)
    remedy = "indent it " + ", or ".join(f"by {level}, as line {other}" for level, other in each)
    return Fault(line, indent + 1, f"{says} (by {plural(indent, 'blank')})", remedy)


def _open(lines: list[str], dashed: bool) -> list[tuple[int, int]]:
    """The levels (blanks, last line at it) that are open after these lines: of items of lists, or of keys."""
    found: dict[tuple[int, bool], int] = {}
    for number, written in enumerate(lines, 1):
        if not written.strip() or written.lstrip().startswith("#"):
            continue
        indent, item = _depth(written)
        found = {level: at for level, at in found.items() if level[0] <= indent}
        found[indent, item] = number
        if item:
            found = {level: at for level, at in found.items() if level[0] <= indent}
            found[_after_dash(written), False] = number
    return [(indent, number) for (indent, item), number in found.items() if item == dashed]


def _depth(written: str) -> tuple[int, bool]:
    found = _ITEMS.match(written)
    assert found is not None  # both parts may be empty
    return len(found[1]), bool(found[2])


def _after_dash(written: str) -> int:
    found = _ITEMS.match(written)
    assert found is not None  # both parts may be empty
    return len(found[0])


def _line(lines: list[str], line: int) -> str:
    return lines[line - 1] if line <= len(lines) else ""


def _shown(lines: list[str], line: int) -> str:
    written = _line(lines, line).strip()
    return "" if _SECRET.search(written) else written
