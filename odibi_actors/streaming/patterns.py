"""Which names a source takes: its pattern, and the names it never takes.

A pattern is matched against the path relative to the source's folder, segment by segment: ``*``, ``?`` and ``[...]``
never cross a ``/``; a segment ``**`` stands for any number of folders, none included. Upper and lower case differ.

Several patterns are one text: see ``config.patterns``.
"""

from __future__ import annotations

import fnmatch
import re

from odibi_actors.config.patterns import LINE, lines

TEMPORARY = (".tmp", ".part", ".staged", "~")
"""Endings of names that writers give to files they have not finished."""
UNCOMMITTED = "_temporary"
"""The folder in which jobs of Spark and Hadoop write, until they are committed. Hive's begins with a dot."""
OWN = "_odibi"
"""Names that begin so are ours, such as the owner file of a sink's folder: no data of anybody."""
_VERSION = re.compile(r"_current-\d{10,}-.+\.\d+-\d+(-[0-9a-f]{32})?(\.link)?")
"""What a sink of ``mode: overwrite`` has published in a folder, is about to, or has replaced since."""
REPLACED = (
    "a version of what a sink of `mode: overwrite` publishes, which may have been replaced: the newest one is read by "
    "`mode: batch` with the link `current` beside it as `path`"
)


def temporary(relative: str) -> str:
    """Why the path is taken for unfinished work of some writer, or for none of the data, or "" when it is not."""
    for segment in relative.split("/"):
        if segment.startswith("."):
            return f"names with a leading dot are ignored ({segment})"
        if segment == UNCOMMITTED:
            return f"{UNCOMMITTED} holds what Spark and Hadoop have not committed: it is renamed then"
        if segment.startswith(OWN):
            return f"names that begin with {OWN} are of Odibi itself ({segment})"
        if _VERSION.fullmatch(segment):
            return REPLACED
    name = relative.rpartition("/")[2]
    for ending in TEMPORARY:
        if name.endswith(ending):
            return f"names ending in {ending} are taken for unfinished files"
    return ""


def unsafe(path: str) -> str:
    """Why a folder or pattern may not be used, or "": it must stay below the connection's folder."""
    for line in path.split(LINE):
        if line.startswith("/"):
            return f"{line!r} is absolute; give it relative to the connection's folder"
        if ".." in line.split("/"):
            return f"{line!r} leaves the connection's folder; remove the '..'"
    return ""


def join(folder: str, name: str) -> str:
    """Join two relative paths; "." and "" stand for no folder."""
    parts = [part for part in f"{folder}/{name}".split("/") if part not in {"", "."}]
    return "/".join(parts)


def relative_to(folder: str, pattern: str) -> str:
    """The pattern relative to ``folder`` of one that is given below the connection, as files are listed; "" for any
    other."""
    inside = join("", pattern).removeprefix(f"{folder}/")
    return inside if folder and inside != join("", pattern) else ""


def utf8(name: str) -> bool:
    """Whether a name (as the filesystem gave it) can be sent and stored as text."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


class Pattern:
    """A compiled pattern; see the module for its meaning."""

    def __init__(self, pattern: str) -> None:
        self.text = pattern
        taken, excluded = lines(pattern)
        self._taken, self._excluded = list(map(_segments, taken)), list(map(_segments, excluded))
        self.depth = None if any(None in one for one in self._taken) else max(len(one) - 1 for one in self._taken)
        """How many folders deep matching files lie; None: any depth."""

    def matches(self, relative: str) -> bool:
        """Whether the file of this relative path is one of the source's."""
        parts = relative.split("/")
        return any(_match(one, parts) for one in self._taken) and not any(_match(one, parts) for one in self._excluded)

    def descends(self, depth: int) -> bool:
        """Whether files may match in a folder ``depth`` levels below the source's (1: directly in it)."""
        return self.depth is None or depth <= self.depth


def _segments(pattern: str) -> list[re.Pattern[str] | None]:
    """None: ``**``."""
    names = [segment for segment in pattern.split("/") if segment not in {"", "."}]
    return [None if name == "**" else re.compile(fnmatch.translate(name)) for name in names]


def _match(segments: list[re.Pattern[str] | None], parts: list[str]) -> bool:
    """Whether the segments of a pattern (None: ``**``) match those of a path, each exactly once.

    When a segment does not fit, only the latest ``**`` takes one folder more: whatever an earlier one could take
    instead, the latest can as well. So the work is bounded by pattern times path, whoever chose either.
    """
    if segments and segments[-1] is None:  # a trailing ** takes every file below, and must take one
        segments = [*segments, _ANY]
    index = part = 0
    again: tuple[int, int] | None = None
    while part < len(parts):
        segment = segments[index] if index < len(segments) else _NEVER
        if segment is None:
            again, index = (index, part), index + 1
        elif segment.match(parts[part]) is not None:
            index, part = index + 1, part + 1
        elif again is None:
            return False
        else:
            again = (again[0], again[1] + 1)
            index, part = again[0] + 1, again[1]
    return all(segment is None for segment in segments[index:])


_ANY, _NEVER = re.compile(""), re.compile(r"(?!)")
