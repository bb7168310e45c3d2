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

_YEAR = r"\d{4}|\d\d"
_DATES = (
    (r"\d\d?", r"\d\d?", _YEAR, ("%d{0}%m{0}{1}", "%m{0}%d{0}{1}")),
    (r"\d\d?", r"[A-Za-z]{3}", _YEAR, ("%d{0}%b{0}{1}",)),
    (r"\d{4}", r"\d\d?", r"\d\d?", ("%Y{0}%m{0}%d",)),
)
"""Parts of dates that no type is taken for, and how ``strptime`` writes them: with what is between, and the year."""
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
            yield from _days(one, [other for other in texts if other is not one], options, reads)
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


def _days(one: _Text, others: list[_Text], options: Options, reads: Reads) -> Iterator[str]:
    """A column of dates that are not written as ISO has them. Day and month are told apart by the days after the
    12th."""
    forms = _forms(one.values)
    if not forms:
        return
    says = f"{one.name}: {one.values[0].as_py()!r} and the like stay text"
    if len(forms) == 2:
        says += f"; nothing tells whether the day is first ({forms[0]}) or the month ({forms[1]}). If the day is"
    nulls = {"null_values": one.words} if one.words else {}
    wanted = {**options, **nulls, "timestamp_parsers": [forms[0]]}
    too = [other.name for other in others if set(one.words) & set(other.words)]
    if not too and reads(wanted, {one.name: "timestamp[us]"}) is not None:
        yield f"{says}: options: {_json(wanted)} and {columns({one.name: 'timestamp[us]'})} read them as timestamps"
        return
    number = _node(f"strptime({_without(one)}, {_literal(forms[0])})", one.name)
    words = " and ".join(map(repr, one.words))
    why = f" ({words} in {', '.join(too)}, too: `null_values`, which holds for all columns, would make that null)"
    yield f"{says}: {number} makes timestamps of them{why if too else ''}"


def _forms(values: pa.ChunkedArray) -> list[str]:
    """How all of these texts may be written as dates; the day before the month comes first."""
    for first, second, third, orders in _DATES:
        found = re.fullmatch(
            rf"(?:{first})([./ -])(?:{second})\1({third})( \d\d:\d\d)?(:\d\d)?", values[0].as_py(), re.ASCII
        )
        if found is None:
            continue
        mark, last = re.escape(found[1]), rf"\d{{{len(found[2])}}}" if third is _YEAR else third
        clock = (r" \d\d:\d\d" if found[3] else "") + (r":\d\d" if found[4] else "")
        if not pc.all(pc.match_substring_regex(values, f"^{first}{mark}{second}{mark}{last}{clock}$")).as_py():
            continue
        year = "%Y" if len(found[2]) == 4 else "%y"
        end = (" %H:%M" if found[3] else "") + (":%S" if found[4] else "")
        forms = [order.format(found[1], year) + end for order in orders]
        return [one for one in forms if not pc.strptime(values, one, "s", error_is_null=True).null_count]
    return []


def _groups(one: _Text) -> Iterator[str]:
    """A column of numbers with groups of digits, of which no type keeps how they are written. A point, or a comma, that
    comes once in each may be that of decimals as well."""
    for group, point in _MARKS:
        mark, end = re.escape(group), re.escape(point)
        numbers = rf"^[-+]?([0-9]+|[0-9]{{1,3}}({mark}[0-9]{{3}})+)({end}[0-9]+)?$"
        if not pc.all(pc.match_substring_regex(one.values, numbers)).as_py():
            continue
        sure = rf"{mark}\d{{3}}({mark}|{end})\d" if group in ".," else mark
        those = one.values.filter(pc.match_substring_regex(one.values, sure))
        if not len(those) or _addresses(one.values):
            continue
        first = shorten(repr(those[0].as_py()), _MAX_SHOWN)
        number = _node(_number(one, group, point), one.name)
        yield (
            f"{one.name}: {first} and the like, with groups of digits, stay text: {number} makes numbers of them, and "
            "refuses what is written otherwise"
        )
        return


def _addresses(values: pa.ChunkedArray) -> bool:
    """Whether all are written as addresses of the internet are."""
    return bool(pc.all(pc.match_substring_regex(values, r"^\d{1,3}(\.\d{1,3}){3}$")).as_py())


def _number(one: _Text, group: str, point: str) -> str:
    """SQL for a number with all digits that it has. A cast alone would round those of later rows that have more after
    the point, and take away marks wherever they stand."""
    behind = pc.struct_field(pc.extract_regex(one.values, rf"{re.escape(point)}(?P<a>\d+)$"), "a")
    places = min(pc.max(pc.binary_length(behind)).as_py() or 0, _MAX_PLACES)
    text = _without(one)
    plain = f"replace({text}, {_literal(group)}, '')"
    plain = plain if point == "." else f"replace({plain}, {_literal(point)}, '.')"
    ends = f"([{point}][0-9]{{1,{places}}})?" if places else ""
    form = _literal(f"[-+]?([0-9]+|[0-9]{{1,3}}([{group}][0-9]{{3}})+){ends}")
    return (
        f"case when regexp_full_match({text}, {form}) then cast({plain} as decimal(38, {places})) "
        f"when {text} is not null then error({_literal(f'{one.name}: no such number: ')} || {text}) end"
    )


def _without(one: _Text) -> str:
    """SQL for the column, with null for its words for nothing."""
    text = _name(one.name)
    for word in one.words:
        text = f"nullif({text}, {_literal(word)})"
    return text


def _node(expression: str, name: str) -> str:
    """What a node of SQL selects to have the column so."""
    return f"`select * replace ({expression} as {_name(name)})`"


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _json(options: Options) -> str:
    return json.dumps(options, ensure_ascii=False)
