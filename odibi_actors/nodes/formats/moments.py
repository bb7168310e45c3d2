"""What C's strptime, by which pyarrow reads ``timestamp_parsers``, lets through though it is no such moment."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache, reduce
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from odibi_actors.nodes.formats.strptime import DIRECTIVE, spelt

Group = Callable[[str], pa.Array]
_NAMES: Final = dict.fromkeys("aAbBh", "[A-Za-z]+")
_TWO: Final = dict.fromkeys("mdHIMSeklwu", r"\d{1,2}")
_READS: Final = _TWO | _NAMES | {"Y": r"\d{4}", "y": r"\d\d", "j": r"\d{1,3}", "p": "[AaPp][Mm]"}
"""What the directives read. C takes years of fewer digits, too, which would be others."""
_OFFSET = r"(?P<sign>[-+Zz])(?P<hours>\d\d)?:?(?P<minutes>\d\d)?"
_MONTHS = pa.array("jan feb mar apr may jun jul aug sep oct nov dec".split())  # noqa: SIM905
_DAYS = pa.array("mon tue wed thu fri sat sun".split())  # noqa: SIM905
_CENTURY: Final = 69
"""From this year of two digits on, a year is one of the 20th century (POSIX)."""


def check(texts: pa.ChunkedArray, values: pa.ChunkedArray, parsers: Sequence[str]) -> None:
    """Raise ArrowInvalid unless each of ``values`` gives back all that one of the formats reads in its text (none of
    them null): 31/02/2024 would be the 2nd of March, second 60 the next minute, the year 25 that of the Romans, and a
    Monday that is none any day."""
    seconds = values.cast(pa.timestamp(values.type.unit)).cast(pa.timestamp("s"))
    table = pa.table({"text": texts, "value": seconds}).group_by(["text", "value"]).aggregate([])
    for batch in table.to_batches():
        same = (_gives_back(batch["text"], batch["value"], form) for form in parsers)
        if not pc.all(reduce(pc.or_, same)).as_py():
            raise pa.ArrowInvalid("no such moment")


def other_years(parsers: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The formats with one before them that takes years of two digits, or of four, in the place of the other ones."""
    for form in parsers:
        long = re.sub("%[DF]", lambda found: spelt(found[0]), form)
        for one, other in (("%Y", "%y"), ("%y", "%Y")):
            if one in long and (changed := long.replace(one, other)) not in parsers[:1]:
                yield (changed, *(found for found in parsers if found != changed))


def _gives_back(texts: pa.Array, values: pa.Array, form: str) -> pa.Array:
    """Which values are what the format says of their texts."""
    names, pattern = _pattern(form)
    found = pc.extract_regex(texts, pattern)

    def group(name: str) -> pa.Array:
        return pc.struct_field(found, name)

    if "z" in names:
        values = pc.add(values, _offset(group).cast(pa.duration("s")))
    same = [pc.equal(_said(name, names, group), _has(name, values)) for name in names if name not in "pz"]
    return pc.fill_null(reduce(pc.and_, same), False)


@cache
def _pattern(form: str) -> tuple[str, str]:
    """The directives in a format, and a regular expression of the texts that it reads, with a group for each."""
    parts, names, end = [], [], 0
    whole = spelt(form)
    for found in DIRECTIVE.finditer(whole):
        parts.append(_plain(whole[end : found.start()]))
        end, name = found.end(), found[1]
        if name in "nt%":
            parts.append("%" if name == "%" else r"\s*")
            continue
        names.append(name)
        reads = _OFFSET if name == "z" else f"(?P<{name}>{_READS[name]})"
        parts.append(rf"\s*{reads}")
    return "".join(names), f"^{''.join([*parts, _plain(whole[end:])])}$"


def _plain(text: str) -> str:
    return "".join(r"\s*" if one.isspace() else re.escape(one) for one in text)


def _number(text: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(text, ""), "0", text).cast(pa.int64())


def _offset(group: Group) -> pa.Array:
    seconds = pc.add(pc.multiply(_number(group("hours")), 3600), pc.multiply(_number(group("minutes")), 60))
    return pc.multiply(seconds, pc.if_else(pc.equal(group("sign"), "-"), -1, 1))


def _said(name: str, names: str, group: Group) -> pa.Array:
    """What the text says, as ``_has`` tells it."""
    text = group(name)
    if name in _NAMES:
        known = _DAYS if name in "aA" else _MONTHS
        return pc.index_in(pc.utf8_lower(pc.utf8_slice_codeunits(text, 0, 3)), known)
    number = _number(text)
    if name == "y":
        return pc.add(number, pc.if_else(pc.less(number, _CENTURY), 2000, 1900))
    if name in "Il" and "p" in names:
        morning = pc.if_else(pc.equal(number, 12), 0, number)
        return pc.add(morning, pc.if_else(pc.equal(pc.utf8_lower(group("p")), "pm"), 12, 0))
    return number


def _has(name: str, values: pa.Array) -> pa.Array:
    """The part of each moment that a directive stands for."""
    match name:
        case "Y" | "y":
            return pc.year(values)
        case "m":
            return pc.month(values)
        case "b" | "B" | "h":
            return pc.subtract(pc.month(values), 1)
        case "d" | "e":
            return pc.day(values)
        case "j":
            return pc.day_of_year(values)
        case "H" | "k" | "I" | "l":
            return pc.hour(values)
        case "M":
            return pc.minute(values)
        case "S":
            return pc.second(values)
        case "w":
            return pc.day_of_week(values, count_from_zero=True, week_start=7)
        case "u":
            return pc.day_of_week(values, count_from_zero=False, week_start=1)
    return pc.day_of_week(values)
