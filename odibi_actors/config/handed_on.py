"""Whether a column that is new to a source reaches a sink: from the spec, without DuckDB, which no actor loads."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from odibi_actors.config.model import NodeSpec, PipelineSpec

_WORDS = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'", re.DOTALL)
"""Comments and texts: what stands in them is no SQL."""
_INNERMOST = re.compile(r"\([^()]*\)")
_ALL = re.compile(
    r"(?:\bselect(?:\s+distinct|\s+all)?|,)\s*\*"  # not count(*), not a * b
    r"|\bcolumns\b|\bpivot\b|\bunpivot\b|(?:^|\bunion|\bunion\s+all)\s*from\b",  # `from t` is all of it
    re.IGNORECASE,
)
_LIST = re.compile(r"\bselect\b(.*?)(?:\bfrom\b|$)", re.IGNORECASE | re.DOTALL)
_ALIAS = re.compile(r"[\s)](?:as\s+)?\"?(\w+)\"?\s*$", re.IGNORECASE)
_ALL_OF = re.compile(r"(\w+)\s*\.\s*\*")


class Way(NamedTuple):
    """How a column comes from a source to a sink. ``functions``: those on the way, which alone know whether they hand
    it on: none means that it is there for certain. ``names``: under which it may arrive."""

    functions: tuple[str, ...]
    names: frozenset[str]


def reaches(spec: PipelineSpec, source: str, sink: NodeSpec, column: str) -> Way | None:
    """The way of ``column`` from ``source`` to ``sink``. None where it never gets there: no SQL on any way selects
    it."""
    by_name = {node.name: node for node in spec.nodes}

    def way(name: str) -> Way | None:
        node = by_name.get(name)
        if name == source:
            return Way((), frozenset([column]))
        if node is None or node.transform is None:
            return None
        ways = {one: found for one in node.inputs if (found := way(one)) is not None}
        joined = _joined(ways.values())
        sql = node.transform.sql
        if joined is None or sql is None:
            return None if joined is None else Way((*joined.functions, name), joined.names)
        names = [called for one in sorted(joined.names) if selects(sql, one, ways) for called in _called(sql, one)]
        return Way(joined.functions, frozenset(names)) if names else None

    return _joined(found for name in sink.inputs if (found := way(name)) is not None)


def _joined(ways: Iterable[Way]) -> Way | None:
    """Of several ways the surest one, and all names."""
    some = list(ways)
    if not some:
        return None
    return Way(min((one.functions for one in some), key=len), frozenset().union(*(one.names for one in some)))


def selects(sql: str, column: str, inputs: Collection[str]) -> bool:
    """Whether the result of ``sql`` has ``column`` once the tables ``inputs`` have: it names it, or all columns of one
    of them."""
    outer, inner = _outer(_WORDS.sub(" ", sql).strip())
    if _names(outer, column):
        return True
    of = [{name, *_named_so(outer, name)} for name in _ALL_OF.findall(outer)]
    if _ALL.search(outer):
        of.append({name for name in inputs if _names(outer, name)})
    within = any(_ALL.search(one) or _ALL_OF.search(one) or _names(one, column) for one in inner)
    return any(tables & set(inputs) for tables in of) or (bool(of) and within)


def _called(sql: str, column: str) -> set[str]:
    """What a column that the SQL selects is called in its result: an ``as`` gives it another name."""
    outer, inner = _outer(_WORDS.sub(" ", sql).strip())
    found: set[str] = set()
    for text in (outer, *inner):
        for listed in _LIST.findall(text):
            for item in listed.split(","):
                if "*" in item:
                    found.add(column)
                elif _names(item, column):
                    name = _ALIAS.search(item)
                    found.add(name[1] if name and not _names(name[1], column) else column)
    return found or {column}


def _named_so(sql: str, alias: str) -> list[str]:
    """The tables that have this alias."""
    return re.findall(rf"(?:\bfrom|\bjoin|,)\s+(\w+)\s+(?:as\s+)?{alias}(?!\w)", sql, re.IGNORECASE)


def _names(sql: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", sql, re.IGNORECASE) is not None


def _outer(text: str) -> tuple[str, list[str]]:
    """What stands outside of queries in brackets, and those queries. Of other brackets the words stay."""
    inner = []
    while found := _INNERMOST.search(text):
        within = found[0][1:-1].strip()
        query = re.match(r"(?:select|from|with|pivot|unpivot)\b", within, re.IGNORECASE)
        if query:
            inner.append(within)
        kept = "" if query else within.translate({ord("*"): " ", ord(","): " "})
        text = f"{text[: found.start()]} {kept} {text[found.end() :]}"
    return text, inner
