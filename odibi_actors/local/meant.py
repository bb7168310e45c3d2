"""What columns that are read as text may be meant as, and what is to be written for it. Used by ``draft``: nothing is
taken for more than it says, so that a person decides."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from odibi_actors.config.remedies import columns
from odibi_actors.nodes.failures import shorten
from odibi_actors.nodes.formats.exact import Spelling, decimal_comma, infer
from odibi_actors.nodes.formats.misfit import NO_VALUE

Options = Mapping[str, object]
Reads = Callable[[Options, Mapping[str, str]], pa.Schema | None]
"""Reads the files again with these options and with other types of some columns; None: they cannot be read so."""

_DAY = re.compile(r"(\d\d?)([./-])(\d\d?)\2(\d{4}|\d\d)( \d\d:\d\d)?(:\d\d)?", re.ASCII)
_MARKS = ((".", ","), (",", "."), (" ", ","), (" ", "."), ("'", "."), ("\u00a0", ","), ("\u202f", ","))
"""What may stand between groups of digits, with the decimal point that goes with it."""
_MAX_SHOWN = 40
_MAX_WORDS = 8
"""Words for nothing that are named; a column with more of them has other things in mind."""
_MAX_PLACES = 37


class _Text(NamedTuple):
    """A column of texts: each that comes in it once, without the ``words`` that people write for nothing."""

    name: str
    values: pa.ChunkedArray
    words: list[str]


def notes(table: pa.Table, options: Options, reads: Reads) -> Iterator[str]:
    """What to tell of the columns of ``table`` that are texts, as it was read with ``options``."""
    texts = [_text(name, table[name]) for name in table.column_names if pa.types.is_string(table[name].type)]
    yield from _nothing(texts, options, reads)
    for one in texts:
        if len(one.values):
            yield from _days(one, options, reads)
            yield from _groups(one)


def _text(name: str, column: pa.ChunkedArray) -> _Text:
    every = pc.unique(column.drop_null())
    empty = pc.match_substring_regex(every, f"^(?:{NO_VALUE.pattern})$", ignore_case=True)
    return _Text(name, pa.chunked_array([every.filter(pc.invert(empty))]), every.filter(empty).to_pylist())


def _nothing(texts: list[_Text], options: Options, reads: Reads) -> Iterator[str]:
    """Columns that only words for nothing keep from being numbers, dates or truth values."""
    found = [one for one in texts if len(one.values) and 0 < len(one.words) <= _MAX_WORDS and _plain(one, options)]
    if not found:
        return
    words = list(dict.fromkeys(word for one in found for word in one.words))
    comma = {"decimal_point": ","} if any(decimal_comma(one.values) for one in found) else {}
    for more in ({}, {"quoted_strings_can_be_null": True}):
        wanted = {**options, **comma, "null_values": words, **more}
        schema = reads(wanted, {})
        if schema is None or any(pa.types.is_string(schema.field(one.name).type) for one in found):
            continue
        names = ", ".join(one.name for one in found)
        kinds = columns({one.name: schema.field(one.name).type for one in found})
        too = [one.name for one in texts if one not in found and set(words) & set(one.words)]
        also = f" (in {', '.join(too)}, too)" if too else ""
        yield (
            f"{names}: text, for {' and '.join(map(repr, words))}, which may stand for no value: "
            f"options: {_json(wanted)} makes that null{also}, with {kinds}"
        )
        return


def _plain(one: _Text, options: Options) -> bool:
    """Whether what else is in the column has a type."""
    values = infer(one.values, Spelling.of(options)).values
    return not pa.types.is_string(values.type) or decimal_comma(one.values)


def _days(one: _Text, options: Options, reads: Reads) -> Iterator[str]:
    """A column of dates that do not begin with the year. Day and month are told apart by the days after the 12th."""
    first = one.values[0].as_py()
    shape = _DAY.fullmatch(first)
    if shape is None:
        return
    mark, year = re.escape(shape[2]), len(shape[4])
    clock = (r" \d\d:\d\d" if shape[5] else "") + (r":\d\d" if shape[6] else "")
    parts = pc.extract_regex(one.values, rf"^(?P<a>\d\d?){mark}(?P<b>\d\d?){mark}(?P<c>\d{{{year}}}){clock}$")
    if parts.null_count:
        return
    ahead, behind = (pc.max(pc.struct_field(parts, name).cast(pa.int32())).as_py() for name in ("a", "b"))
    end = ("%Y" if year == 4 else "%y") + (" %H:%M" if shape[5] else "") + (":%S" if shape[6] else "")
    orders = [(order, highest) for order, highest in (("%d{0}%m{0}", behind), ("%m{0}%d{0}", ahead)) if highest <= 12]
    forms = [order.format(shape[2]) + end for order, _ in orders]
    if not forms:
        return
    says = f"{one.name}: {first!r} and the like stay text"
    if len(forms) == 2:
        says += f"; nothing tells whether the day is first ({forms[0]}) or the month ({forms[1]}). If the day is"
    nulls = {"null_values": one.words} if one.words else {}
    wanted = {**options, **nulls, "timestamp_parsers": [forms[0]]}
    if reads(wanted, {one.name: "timestamp[us]"}) is not None:
        yield f"{says}: options: {_json(wanted)} and {columns({one.name: 'timestamp[us]'})} read them as timestamps"
        return
    text = _name(one.name)
    for word in one.words:
        text = f"nullif({text}, {_literal(word)})"
    yield f"{says}: {_node(f'strptime({text}, {_literal(forms[0])})', one.name)} makes timestamps of them"


def _groups(one: _Text) -> Iterator[str]:
    """A column of numbers with groups of digits, of which no type keeps how they are written."""
    for group, point in _MARKS:
        mark, end = re.escape(group), re.escape(point)
        numbers = rf"^[-+]?(\d+|\d{{1,3}}({mark}\d{{3}})+)({end}\d+)?$"
        if not pc.all(pc.match_substring_regex(one.values, numbers)).as_py():
            continue
        both = one.values.filter(pc.match_substring_regex(one.values, rf"{mark}\d{{3}}{end}\d"))
        if not len(both):
            continue
        behind = pc.struct_field(pc.extract_regex(one.values, rf"{end}(?P<a>\d+)$"), "a")
        places = min(pc.max(pc.binary_length(behind)).as_py(), _MAX_PLACES)
        text = _name(one.name)
        for word in one.words:
            text = f"nullif({text}, {_literal(word)})"
        text = f"replace({text}, {_literal(group)}, '')"
        text = text if point == "." else f"replace({text}, {_literal(point)}, '.')"
        first = shorten(repr(both[0].as_py()), _MAX_SHOWN)
        number = _node(f"cast({text} as decimal(38, {places}))", one.name)
        yield f"{one.name}: {first} and the like, with groups of digits, stay text: {number} makes numbers of them"
        return


def _node(expression: str, name: str) -> str:
    """What a node of SQL selects to have the column so."""
    return f"`select * replace ({expression} as {_name(name)})`"


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _json(options: Options) -> str:
    return json.dumps(options, ensure_ascii=False)
