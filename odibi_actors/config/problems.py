"""What is wrong with a project, told all at once: where, what, the value, and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from odibi_actors.errors import ConfigError

MAX_SHOWN = 100
"""Problems rendered in the message: more of them have one cause, and a terminal scrolls the first ones away."""
MAX_VALUE = 80
"""Characters of an offending value that are shown."""
UNKNOWN = "unknown key"


@dataclass(frozen=True, order=True)
class Problem:
    """One thing to fix. ``line`` and ``column`` are 1-based; ``path`` is dotted (``pipelines[0].nodes[2].read``);
    ``value`` is what stands there, as written (a variable is not shown expanded: it may be a secret)."""

    file: str
    line: int
    column: int
    path: str
    message: str
    value: str = ""
    suggestion: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: "
        path = f"{self.path}: " if self.path else ""
        value = f" (got {self.value})" if self.value else ""
        return f"{where}{path}{self.message}{value}" + (f"; {self.suggestion}" if self.suggestion else "")


class Problems:
    """Collects the problems of one file, and remembers where each dotted path was written."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: set[Problem] = set()
        self.text = ""
        """The whole file, once it is read: to find places within a value."""
        self._marks: dict[str, tuple[int, int]] = {}

    def mark(self, path: str, line: int, column: int) -> None:
        """``path`` was written at this place."""
        self._marks[path] = (line, column)

    def written(self, path: str) -> bool:
        """Does the file hold ``path``, valid or not?"""
        return path in self._marks

    def misspelt(self, path: str, key: str) -> bool:
        """Is a key of ``path`` unknown that was probably meant to be this one?"""
        found = [one.path.rpartition(".") for one in self.found if one.message == UNKNOWN]
        return any(at == path and difflib.get_close_matches(name, [key], n=1) for at, _, name in found)

    def line(self, path: str) -> int:
        """The line of ``path``, or of the nearest thing around it that was written."""
        return self._place(path)[0]

    def add(self, path: str, message: str, value: str = "", suggestion: str = "") -> None:
        """A problem at ``path``, or at the nearest thing around it that was written."""
        self.add_at(*self._place(path), path, message, value=value, suggestion=suggestion)

    def add_at(
        self, line: int, column: int, path: str, message: str, *, value: str = "", suggestion: str = "", file: str = ""
    ) -> None:
        """A problem at a place that has no path of its own, such as an unknown key, or another file."""
        shown = value if len(value) <= MAX_VALUE else value[:MAX_VALUE] + "..."
        self.found.add(Problem(file or self.file, line, column, path, message, shown, suggestion))

    def add_inside(
        self, path: str, text: str, offset: int, message: str, *, suggestion: str = "", file: str = ""
    ) -> None:
        """A problem ``offset`` characters into ``text``, the value of ``path``, or of ``file``, which holds nothing
        else."""
        before = text[:offset]
        line, column = before.count("\n"), offset - (before.rfind("\n") + 1)
        if file:
            self.add_at(line + 1, column + 1, path, message, suggestion=suggestion, file=file)
            return
        place = self._inside(path, text, line, column)
        if place is None:
            message += f" (line {line + 1}, column {column + 1} of it)"
        self.add_at(*(place or self._place(path)), path, message, suggestion=suggestion)

    def _inside(self, path: str, text: str, line: int, column: int) -> tuple[int, int] | None:
        """The place in the file of a place in a value; None where the value is not written as it reads (folded lines,
        escapes, variables)."""
        top, left = self._place(path)
        lines = self.text.split("\n")
        if lines[top - 1 : top] and lines[top - 1][left - 1 : left] in ("|", ">"):
            top, left = top + 1, 1
        wanted = text.split("\n")[line]
        found = lines[top - 1 + line].find(wanted, left - 1 if line == 0 else 0) if top + line <= len(lines) else -1
        return (top + line, found + column + 1) if found >= 0 else None

    def raise_if_any(self) -> None:
        """Raises ConfigError with all of them, in the order of the file."""
        if self.found:
            raise_problems(sorted(self.found))

    def _place(self, path: str) -> tuple[int, int]:
        while path not in self._marks and path:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self._marks.get(path, (1, 1))


def raise_problems(problems: list[Problem]) -> None:
    """Raises a ConfigError whose message has one line per problem."""
    lines = [str(problem) for problem in problems[:MAX_SHOWN]]
    if len(problems) > MAX_SHOWN:
        lines.append(f"... and {len(problems) - MAX_SHOWN} more")
    raise ConfigError("\n".join(lines), tuple(problems))


def did_you_mean(word: str, known: Iterable[str], noun: str) -> str:
    """``did you mean "x"?`` for the nearest of ``known``, else the list of them."""
    names = list(known)
    near = difflib.get_close_matches(word, names, n=1)
    if near:
        return f'did you mean "{near[0]}"?'
    listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"{noun}: {listed}" if names else f"there are no {noun}"
