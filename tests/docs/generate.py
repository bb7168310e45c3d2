"""The parts of the documentation that code knows better: ``python -m tests.docs.generate`` writes them again.

A generated part stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``; everything else is written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from odibi_actors.config.by_type import ByType
from odibi_actors.config.keys import PROJECT
from odibi_actors.config.kinds import (
    NAME_TEXT,
    Anything,
    Choice,
    Flag,
    Key,
    Kind,
    Later,
    Listing,
    Number,
    Object,
    OneOrMore,
    Secret,
    Table,
    Text,
    Unit,
    Word,
)
from odibi_actors.model import TERMINAL, TRANSITIONS
from tests.docs.client_page import client
from tests.sinks.contract import table as sinks
from tests.sources.contract import table as sources
from tests.types.page import types

DOCS = Path(__file__).parents[2] / "docs"

CAUSES = {
    "dispatch": "its first task is sent to a pool, or a pool still runs one of a former broker",
    "prepare": "every node is acknowledged; every earlier iteration of the lane is prepared, blocked or terminal",
    "fail": "a node has no attempt left; `on_error: halt`",
    "dead_letter": "a node has no attempt left; `on_error: dead_letter`",
    "cancel": "an operator: `odibictl iteration cancel`, or `retry` where a file is at fault; or `apply` of a "
    "pipeline with other sources",
    "retry": "an operator: `odibictl iteration retry`",
    "abandon": "an operator: `odibictl iteration abandon`, of its last blocked sink",
    "rewind": "an operator: `odibictl pipeline rewind`, once all is taken back",
    "commit": "every sink has published; every earlier iteration of the lane is terminal",
    "block": "a sink meets a conflict, or has no attempt left",
}
"""Event of ``model.TRANSITIONS`` -> what causes it."""

ELSEWHERE = {
    ("", "data_dir"): "`.odibi`",
    ("", "workers"): "number of cores",
    ("", "history"): "`30d`",
    ("", "history_size"): "`2GB`",
    ("pipelines[]", "timeout"): "`10m`",
    ("pipelines[].nodes[]", "timeout"): "the pipeline's",
}
"""Defaults that are not those of the spec of the same mapping."""

NO_BOUND = 10**12
"""Numbers from here on are bounds against slips, not worth a word."""


def transitions() -> str:
    """The table of states and the diagram."""
    lines = ["| state | event | next state | what causes it |", "|---|---|---|---|"]
    for state, events in TRANSITIONS.items():
        if not events:
            lines.append(f"| `{state}` | | | terminal |")
        lines += [f"| `{state}` | {event} | `{after}` | {CAUSES[event]} |" for event, after in events.items()]
    lines += ["", "```mermaid", "stateDiagram-v2", "    [*] --> planned"]
    for state, events in TRANSITIONS.items():
        lines += [f"    {state} --> {after}: {event}" for event, after in events.items()]
    lines += [f"    {state} --> [*]" for state in TRANSITIONS if state in TERMINAL]
    return "\n".join([*lines, "```"])


def keys() -> str:
    """A section for each mapping of the project file."""
    parts = []
    for path, section in objects("", PROJECT):
        rows = [_row(path, name, key, section) for name, key in section.keys.items() if not isinstance(key.kind, Later)]
        later = [f"`{name}`" for name, key in section.keys.items() if isinstance(key.kind, Later)]
        parts.append(f"### {f'`{path}`' if path else 'The project'}\n")
        if section.one_of:
            parts.append(f"Exactly one of {', '.join(f'`{name}`' for name in section.one_of)}.\n")
        parts += ["| key | type | default | meaning |", "|---|---|---|---|", *rows, ""]
        if later:
            parts.append(f"Not available in this version: {', '.join(later)}.\n")
    return "\n".join(parts).rstrip()


def objects(path: str, section: Object) -> Iterator[tuple[str, Object]]:
    """(where, mapping) for each mapping with keys of its own, outer ones first; one that stands in two places once."""
    seen: dict[int, Object] = {}  # kept: some are made for this walk, and a number of one that is gone comes again

    def walk(at: str, kind: Kind) -> Iterator[tuple[str, Object]]:
        if isinstance(kind, Object):
            if id(kind) in seen:
                return
            seen[id(kind)] = kind
            yield at, kind
            for name, key in kind.keys.items():
                yield from walk(f"{at}.{name}".lstrip("."), key.kind)
        elif isinstance(kind, ByType):
            for name in kind.types.values:
                yield from walk(f"{at}, type: {name}", kind.of(name))
        elif isinstance(kind, Listing):
            yield from walk(f"{at}[]", kind.kind)
        elif isinstance(kind, Table):
            yield from walk(f"{at}.NAME", kind.kind)

    return walk(path, section)


def _row(path: str, name: str, key: Key, section: Object) -> str:
    meaning = key.doc.replace("|", "\\|")
    if isinstance(key.kind, Choice) and key.kind.later:
        meaning += f" Not available in this version: {', '.join(key.kind.later)}."
    return f"| `{name}` | {describe(key.kind)} | {default(path, name, key, section)} | {meaning} |"


def default(path: str, name: str, key: Key, section: Object) -> str:
    """What holds when the key is not written."""
    if (path, name) in ELSEWHERE:
        return ELSEWHERE[path, name]
    if key.required:
        return "required"
    for field in msgspec.structs.fields(section.model) if section.model is not None else ():
        if field.name == name and isinstance(field.default, (bool, int, float, str)) and field.default != "":
            shown = key.kind.show(field.default)
            return f"`{str(shown).lower() if isinstance(shown, bool) else shown}`"
    return ""


def describe(kind: Kind) -> str:
    """The type of a value, in words."""
    match kind:
        case Choice():
            return " or ".join(f"`{value}`" for value in kind.values)
        case Number():
            noun = "number" if kind.real else "whole number"
            return f"{noun}, {kind.low:g} " + (f"to {kind.high:.15g}" if kind.high < NO_BOUND else "or more")
        case Flag():
            return "`true` or `false`"
        case Unit():
            return kind.noun.removeprefix("a ")
        case Text():
            if kind is NAME_TEXT:
                return "name"
            return kind.what.partition(":")[0].removeprefix("a ") if kind.what.startswith("a ") else kind.what or "text"
        case Listing():
            if isinstance(kind.kind, Object):
                return "list of mappings"
            return "list of names" if kind.kind is NAME_TEXT else "list of texts"
        case OneOrMore():
            return "text, or list of texts"
        case Table():
            inner = "a mapping" if isinstance(kind.kind, Object | ByType) else "text"
            return f"name: {inner}"
        case Object():
            return "mapping, see below"
        case Word():
            return "text or number"
        case Secret():
            return "`${NAME}` or `{file: PATH}`"
        case Anything():
            return "mapping of any plain values"
    raise TypeError(f"no words for {type(kind).__name__}")


PARTS: dict[str, Callable[[], str]] = {
    "transitions": transitions,
    "keys": keys,
    "types": types,
    "client": client,
    "sinks": sinks,
    "sources": sources,
}


def renew(text: str) -> str:
    """The page with its generated parts as they should be."""

    def replace(match: re.Match[str]) -> str:
        return f"{match[1]}\n\n{PARTS[match[2]]()}\n\n{match[3]}"

    return re.sub(r"(<!-- begin (\w+) -->).*?(<!-- end \2 -->)", replace, text, flags=re.DOTALL)


def main() -> None:
    """Write the pages again."""
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        if renew(text) != text:
            page.write_text(renew(text), encoding="utf-8")
            print(f"written: {page.relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
