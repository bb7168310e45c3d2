"""Columns that hold no value yet are text, whatever they are to hold: told where a transform fails because of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pyarrow as pa

from odibi_actors.config.remedies import schema
from odibi_actors.model import RESCUED, Failure
from odibi_actors.nodes.failures import shorten

_OF_TEXT = re.compile(r"VARCHAR|\b(large_)?(str|string|utf8|object)\b", re.IGNORECASE)
"""What DuckDB, pandas, polars and pyarrow call texts, which cannot be added up."""
_OF_VALUES = re.compile(r"convert|conversion|pars(e|ing)\b", re.IGNORECASE)
"""What is said of a text that is there, so that its column has a value."""
_OF_TYPES = re.compile(r"dtype|kernel|input types|operation", re.IGNORECASE)
"""What libraries say when a type does not do; the user's code says other things."""
_AMBIGUOUS = re.compile(r'Could not choose a best candidate function for the function call "(.+?)\(')
"""What DuckDB says of a null without a type."""
_PLACE = re.compile(r" \((\S+) line (\d+), in ([^)]+)\)$")
_SHOWN = 200
"""Characters of names that are told."""
_ALONE = 50
"""Columns that are tried one by one: of a file of hundreds without a row, all are told."""
Tables = Mapping[str, pa.Table]
Refusal = Callable[[Tables], str]
"""What a query is refused with as it is planned over these inputs, before any row is looked at; "" when it is not."""


def hint(failure: Failure, inputs: Tables, headers: frozenset[str], refusal: Refusal | None) -> str:
    """What to add to a failure of a transform that columns explain which are text for want of a value, or an input that
    has none. ``headers``:
    sources of which no row was read yet, so that none of their columns has a type; ``refusal``: of a query, None for a
    function. "" when there is nothing to add."""
    if bare := [name for name, table in inputs.items() if not table.column_names]:
        if not headers:
            return f". {bare[0]} has no column: have it give an empty table of its columns"
        of = bare[0] if bare[0] in headers else ", ".join(sorted(headers))
        return (
            f". {bare[0]} has no column yet, for nothing was read that tells one: declare them, "
            f"{schema('read', 'COLUMN', 'TYPE')} of {of}"
        )
    if not _OF_TEXT.search(failure.message):
        return ""
    for name, table in inputs.items():
        if table.num_rows == 0 and not headers:
            continue  # its types are known
        columns = [one for one in table.column_names if _hollow(table.column(one))]
        columns = _in_query(refusal, inputs, name, columns) if refusal else _in_function(failure, inputs, columns)
        if not columns:
            continue
        named, one = shorten(", ".join(columns), _SHOWN), len(columns) == 1
        what = (
            f"{'holds' if one else 'hold'} no value yet" if table.num_rows else f"{'has' if one else 'have'} no row yet"
        )
        of = name if name in headers or not headers else ", ".join(sorted(headers))
        return (
            f". Column{'' if one else 's'} {named} of {name} {what}, and {'counts' if one else 'count'} as text until "
            f"a type is said: {schema('read', columns[0], 'TYPE')} of {of}, or a cast"
        )
    return ""


def _in_query(refusal: Refusal, inputs: Tables, name: str, columns: list[str]) -> list[str]:
    """The columns without which, as nulls of any type, the query is not refused as it is."""
    said = refusal(inputs) if columns else ""
    if not said:
        return []  # a row was refused, and these columns have no value in any

    def explain(some: list[str]) -> bool:
        other = refusal({**inputs, name: _without_type(inputs[name], some)})
        unsure = _AMBIGUOUS.search(other)
        return unsure[1] in said if unsure else other != said

    if not explain(columns):
        return []
    return [one for one in columns if explain([one])] or columns if len(columns) <= _ALONE else columns


def _in_function(failure: Failure, inputs: Tables, columns: list[str]) -> list[str]:
    """The columns that the message or the line of code names; all, where there is no other text and the message is of
    types."""
    if _OF_VALUES.search(failure.message):
        return []
    place = _PLACE.search(failure.message)
    code = re.search(rf'{re.escape(place[1])}", line {place[2]}, in .*\n(.*)\n', failure.traceback) if place else None
    says = failure.message[: place.start()] if place else failure.message
    text = f"{says}\n{code[1] if code else ''}"
    named = [one for one in columns if re.search(rf"(?<!\w){re.escape(one)}(?!\w)", text)]
    others = any(
        pa.types.is_string(table.field(one).type) and not _hollow(table.column(one))
        for table in inputs.values()
        for one in table.column_names
    )
    return named or ([] if others or not _OF_TYPES.search(says) else columns)


def _without_type(table: pa.Table, columns: list[str]) -> pa.Table:
    for name in columns:
        table = table.set_column(table.schema.get_field_index(name), name, pa.nulls(table.num_rows))
    return table


def by_default(table: pa.Table, declared: Mapping[str, str]) -> list[str]:
    """The columns of a sink's first part that nothing says to be text; what was rescued is."""
    if not table.num_rows:
        return []
    open_ = [name for name in table.column_names if name not in declared and name != RESCUED]
    return [name for name in open_ if _hollow(table.column(name))]


def _hollow(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_string(column.type)) and column.null_count == len(column)
