"""Whether a column that is new to a source reaches a sink: from the spec, without DuckDB, which no actor loads."""

from __future__ import annotations

import re
from collections.abc import Collection

from odibi_actors.config.model import NodeSpec, PipelineSpec

_WORDS = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'", re.DOTALL)
"""Comments and texts: what stands in them is no SQL."""
_INNERMOST = re.compile(r"\([^()]*\)")
_ALL = re.compile(
    r"(?:\bselect(?:\s+distinct|\s+all)?|,)\s*\*"  # not count(*), not a * b
    r"|\bcolumns\b|\bpivot\b|\bunpivot\b|(?:^|\bunion|\bunion\s+all)\s*from\b",  # `from t` is all of it
    re.IGNORECASE,
)
_ALL_OF = re.compile(r"(\w+)\s*\.\s*\*")


def reaches(spec: PipelineSpec, source: str, sink: NodeSpec, column: str) -> tuple[str, ...] | None:
    """The functions on the way from ``source`` to ``sink``, which alone know whether they hand ``column`` on: none
    means that it is there for certain. None where it never is: no SQL on any way selects it."""
    by_name = {node.name: node for node in spec.nodes}

    def way(name: str) -> tuple[str, ...] | None:
        node = by_name.get(name)
        if name == source or node is None or node.transform is None:
            return () if name == source else None
        ways = {one: found for one in node.inputs if (found := way(one)) is not None}
        sql = node.transform.sql
        if not ways or (sql is not None and not selects(sql, column, ways)):
            return None
        return (*min(ways.values(), key=len), *((name,) if sql is None else ()))

    return min((one for name in sink.inputs if (one := way(name)) is not None), key=len, default=None)


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


def _named_so(sql: str, alias: str) -> list[str]:
    """The tables that have this alias."""
    return re.findall(rf"(?:\bfrom|\bjoin|,)\s+(\w+)\s+(?:as\s+)?{alias}(?!\w)", sql, re.IGNORECASE)


def _names(sql: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", sql, re.IGNORECASE) is not None


def _outer(text: str) -> tuple[str, list[str]]:
    """What stands outside of queries in brackets, and those queries. Other brackets stay, without their stars."""
    inner = []
    while found := _INNERMOST.search(text):
        within = found[0][1:-1].strip()
        query = re.match(r"(?:select|from|with|pivot|unpivot)\b", within, re.IGNORECASE)
        if query:
            inner.append(within)
        kept = "" if query else within.replace("*", " ")
        text = f"{text[: found.start()]} {kept} {text[found.end() :]}"
    return text, inner
