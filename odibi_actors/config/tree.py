"""YAML 1.2 text -> a tree of values that know where they were written.

The parser's events are composed here rather than by the YAML library: so every limit is checked before anything is
built, every duplicate key is seen, no tag constructs anything, and ``yes`` or ``2024-01-01`` stay the text they are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from odibi_actors.config.problems import Problems
from odibi_actors.config.yaml_faults import Fault, Stop, control, explained, quoted_value
from odibi_actors.doubles import gives_back

MAX_FILE = 256 * 1024
"""Bytes of a project file; at about 5,000 lines a second this bounds parsing to a few seconds."""
MAX_DEPTH = 32
"""Nesting: a pipeline needs 6; the rest is for ``params``. Keeps recursion far from Python's limit."""
MAX_NODES = 100_000
"""Values with aliases expanded: aliases of aliases grow exponentially."""
MAX_TEXT = 4 * MAX_FILE
"""Characters with aliases and variables expanded: what they share here is written out where a message carries it."""
_MAX_INT = 2**63 - 1
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")

Plain = None | bool | int | float | str


@dataclass
class Scalar:
    """A leaf. ``source`` is its text as written, ``value`` what it means; ``variable``: it held a ``${VAR}``."""

    line: int
    column: int
    source: str
    value: Plain
    variable: bool = False
    size: int = 1
    text: int = 0


@dataclass
class Sequence:
    """A list."""

    line: int
    column: int
    items: list[Tree]
    size: int = 1
    text: int = 0


@dataclass
class Mapping:
    """A mapping, without the later ones of duplicate keys."""

    line: int
    column: int
    items: dict[str, tuple[Scalar, Tree]]
    size: int = 1
    text: int = 0


Tree = Scalar | Sequence | Mapping
Expand = Callable[[str], tuple[str, list[str]]]
"""Text -> (text with its variables replaced, names of the missing ones)."""


_LIBRARY = (ValueError, OverflowError, AssertionError, LookupError, AttributeError, TypeError, RecursionError)
"""What the YAML library lets escape for texts it did not expect (a version directive, an escape beyond Unicode)."""


class _Stop(Exception):
    """The rest of the file cannot be read; the problem is recorded."""


def parse(text: str, problems: Problems, expand: Expand) -> Tree | None:
    """The one document of ``text``, or None when it cannot be read. Records problems, raises nothing."""
    # Imported here: messages import this package in every process, and the parser alone costs 40 ms.
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError, YAMLStreamError

    try:
        return _Composer(text, iter(YAML(typ="safe", pure=True).parse(text)), problems, expand).document()
    except _Stop:
        return None
    except MarkedYAMLError as error:
        mark, opened = error.problem_mark or error.context_mark, error.context_mark
        reason = str(error.problem or error.context or "it cannot be parsed").split("\n", maxsplit=1)[0]
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        stop = Stop(line, column, reason, (opened.line + 1, opened.column + 1) if opened else None)
        fault = explained(text, stop)
        problems.add_at(fault.line, fault.column, "", fault.message, value=fault.shown, suggestion=fault.remedy)
    except (YAMLError, YAMLStreamError, *_LIBRARY) as error:
        reason = "not valid YAML: " + str(error).split("\n", maxsplit=1)[0]
        fault = control(text) or Fault(1, 1, reason)
        problems.add_at(fault.line, fault.column, "", fault.message, suggestion=fault.remedy)
    return None


def resolve_plain(text: str) -> Plain:
    """What an unquoted scalar means, by the core schema of YAML 1.2 (chapter 10.3)."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text[0] in "tT"
    if re.fullmatch(r"[-+]?[0-9]{1,1000}", text):
        return int(text)
    if re.fullmatch(r"0o[0-7]{1,22}", text):
        return int(text[2:], 8)
    if re.fullmatch(r"0x[0-9a-fA-F]{1,16}", text):
        return int(text[2:], 16)
    if _DECIMAL.fullmatch(text):
        return float(text)
    if re.fullmatch(r"[-+]?\.(inf|Inf|INF)", text):
        return -math.inf if text[0] == "-" else math.inf
    return math.nan if text in (".nan", ".NaN", ".NAN") else text


def lost(value: Any, text: str) -> str:
    """What an unquoted scalar would lose as the number ``value``: "" when it gives ``text`` back."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if not _DECIMAL.fullmatch(text):  # octal, hexadecimal, .inf: nobody takes them for anything else
        return ""
    exact = gives_back(value, text) if isinstance(value, float) else True
    return "" if exact and not _LEADING_ZERO.match(text) else f"would become {value} as a number"


def plain_data(tree: Tree, path: str, problems: Problems) -> Any:
    """The tree as plain Python values (dict, list, str, int of 64 bits, float, bool, None)."""
    if isinstance(tree, Mapping):
        return {key: plain_data(value, f"{path}.{key}", problems) for key, (_, value) in tree.items.items()}
    if isinstance(tree, Sequence):
        return [plain_data(value, f"{path}[{at}]", problems) for at, value in enumerate(tree.items)]
    if isinstance(tree.value, int) and not -_MAX_INT <= tree.value <= _MAX_INT:
        problems.add_at(
            tree.line, tree.column, path, "does not fit into 64 bits", value=tree.source, suggestion="quote it"
        )
    elif isinstance(tree.value, int | float) and (says := lost(tree.value, tree.source)):
        problems.add_at(tree.line, tree.column, path, says, value=tree.source, suggestion="quote it")
    return tree.value


class _Composer:
    """Events -> tree; recursion is bounded by MAX_DEPTH."""

    def __init__(self, text: str, events: Any, problems: Problems, expand: Expand) -> None:
        self._written = text
        self._events = events
        self._problems = problems
        self._expand = expand
        self._anchors: dict[str, Tree] = {}
        self._total = 0
        self._text = 0

    def document(self) -> Tree | None:
        """The only document; an empty file is None, with a problem."""
        from ruamel.yaml.events import DocumentStartEvent, StreamEndEvent

        next(self._events)  # stream start
        start = next(self._events)
        if isinstance(start, StreamEndEvent):
            self._problems.add_at(1, 1, "", "the file is empty", suggestion="`odibictl init DIR` writes a working one")
            return None
        if start.version is not None and tuple(start.version) < (1, 2):
            self._fail(start, "", "is read as YAML 1.2", "delete the %YAML line")
        tree = self._tree(next(self._events), "", 1)
        next(self._events)  # document end
        after = next(self._events)
        if isinstance(after, DocumentStartEvent):
            self._fail(after, "", "only one document per file", "delete the second one and its ---")
        return tree

    def _tree(self, event: Any, path: str, depth: int) -> Tree:
        from ruamel.yaml.events import AliasEvent, MappingStartEvent, ScalarEvent

        if depth > MAX_DEPTH:
            self._fail(event, path, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, AliasEvent):
            tree = self._anchors.get(event.anchor)
            if tree is None:
                # `*.csv`, `*/5 * * * *`: no name of an anchor is meant
                remedy = quoted_value(self._written, _place(event)[0])
                self._fail(event, path, f"unknown alias *{event.anchor}", remedy)
            self._count(event, path, tree.size, tree.text)
            return tree
        self._count(event, path, 1, 0)
        if event.tag is not None:
            self._fail(event, path, "tags are not supported", f"delete {event.tag}")
        before, text = self._total, self._text
        if isinstance(event, ScalarEvent):
            tree = self._scalar(event, path)
        elif isinstance(event, MappingStartEvent):
            tree = self._mapping(event, path, depth)
        else:
            tree = self._sequence(event, path, depth)
        tree.size, tree.text = self._total - before + 1, self._text - text
        if event.anchor is not None:
            self._anchors[event.anchor] = tree
        return tree

    def _scalar(self, event: Any, path: str) -> Scalar:
        line, column = _place(event)
        plain = bool(event.implicit[0])
        value = resolve_plain(event.value) if plain else event.value
        scalar = Scalar(line, column, event.value, value)
        if isinstance(value, str) and "$" in value:
            scalar.value, missing = self._expand(value)
            scalar.variable = scalar.value != value
            for name in missing:
                hint = f"set it in the environment or in .env, or give a default: ${{{name}:-...}}"
                self._problems.add_at(
                    line, column, path, f"the variable {name} is not set", value=value, suggestion=hint
                )
        self._check_text(event, path, str(scalar.value))
        self._count(event, path, 0, max(len(event.value), len(str(scalar.value))))
        return scalar

    def _sequence(self, event: Any, path: str, depth: int) -> Sequence:
        from ruamel.yaml.events import SequenceEndEvent

        items: list[Tree] = []
        while not isinstance(child := next(self._events), SequenceEndEvent):
            items.append(self._tree(child, f"{path}[{len(items)}]", depth + 1))
        return Sequence(*_place(event), items)

    def _mapping(self, event: Any, path: str, depth: int) -> Mapping:
        from ruamel.yaml.events import MappingEndEvent, ScalarEvent

        items: dict[str, tuple[Scalar, Tree]] = {}
        while not isinstance(child := next(self._events), MappingEndEvent):
            if not isinstance(child, ScalarEvent):
                self._fail(child, path, "a key must be text")
            name = child.value
            self._check_text(child, path, name)
            self._count(child, path, 0, len(name))
            at = f"{path}.{name}" if path else name
            key = Scalar(*_place(child), name, name)
            value = self._tree(next(self._events), at, depth + 1)
            if isinstance(value, Scalar) and value.value is None and not value.source:
                value.line, value.column = key.line, key.column  # an empty value begins where the next thing does
            if child.implicit[0] and not isinstance(resolve_plain(name), str):
                self._problems.add_at(
                    key.line, key.column, at, "a key must be text", value=name, suggestion=f'write "{name}"'
                )
            elif name in items:
                first = items[name][0].line
                message = f"duplicate key; first on line {first}"
                self._problems.add_at(key.line, key.column, at, message, suggestion="delete one of both, or join them")
            else:
                items[name] = (key, value)
        return Mapping(*_place(event), items)

    def _check_text(self, event: Any, path: str, text: str) -> None:
        """Halves of surrogate pairs (an escape, a variable that is not UTF-8) could be neither sent nor stored."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            shown = ascii(text[error.start])[1:-1]
            self._fail(event, path, f"holds {shown}, which is no character", "write the character itself, in UTF-8")

    def _count(self, event: Any, path: str, size: int, text: int) -> None:
        self._total += size
        self._text += text
        if self._total > MAX_NODES:
            self._fail(event, path, f"more than {MAX_NODES} values, aliases expanded")
        if self._text > MAX_TEXT:
            self._fail(event, path, f"more than {MAX_TEXT} characters, aliases and variables expanded")

    def _fail(self, event: Any, path: str, message: str, suggestion: str = "") -> NoReturn:
        self._problems.add_at(*_place(event), path, message, suggestion=suggestion)
        raise _Stop


def _place(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1
