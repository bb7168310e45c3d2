"""Texts as values, without loss: what a column of texts is inferred as, and whether later texts are still that.

A type holds a column only when every cell says exactly what its value says: numbers as JSON writes them, digits that a
double gives back, dates and times of ISO 8601. All else stays text, so that ``007`` is never 7. The rule is in
docs/configuration.md ("What a column is inferred as"); the checks are kernels over whole columns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from odibi_actors.config.arrow_types import type_name
from odibi_actors.config.remedies import option
from odibi_actors.nodes.failures import shorten
from odibi_actors.nodes.formats import first_bad

LOOKED_AT = 64
"""Cells that decide what a column of texts was probably meant to be, so that what spoils it can be told."""
SAFE_DIGITS = 15
"""Decimal digits that every double gives back (DBL_DIG of C); cells with more characters are looked at one by one."""
SAFE_SINGLE = 6
"""The same of a 32-bit float (FLT_DIG)."""
_TINY = 2.3e-308
"""Below this a double has fewer digits than ``SAFE_DIGITS``."""
_ODD_NUMBER = r"^\+|^-?0[0-9]"
_GROUPED = r"^[-+]?[1-9][0-9]{0,2}(,[0-9]{3})+$"
"""Numbers whose commas may stand between groups of digits: 1,250 is 1250 to some, 1.25 to others."""
_POINTED = r"^[-+]?[0-9]{1,3}([.][0-9]{3})+,[0-9]+$"
"""Numbers with points between groups of digits, and a decimal comma."""
_COMMA = r"^[-+]?([0-9]+|[0-9]{1,3}([.][0-9]{3})+)(,[0-9]+)?$"
_POINTS_ALONE = r"^[-+]?[0-9]{1,3}([.][0-9]{3})*$"
_IN_GROUPS = r"\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:,\d{3})+\.\d+|\d{1,3}(?:[ '\u2019\u00a0\u202f]\d{3})+[.,]\d+"
"""Numbers that nobody takes for anything else, of which no type keeps how they are written."""
_TRUE, _FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_UTC = "(Z|[+-]00(:?00)?)$"
_FINE = r"\.[0-9]{7}"
"""In a moment that microseconds do not hold."""

_CLASSES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("number", re.compile(rf"[-+]?({_IN_GROUPS}|(\d+[.,]?\d*|[.,]\d+)([eE][-+]?\d+)?)", re.ASCII)),
    ("date", re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)),
    ("time", re.compile(r"\d\d:\d\d(:\d\d(\.\d+)?)?", re.ASCII)),
    ("instant", re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[-+]\d\d(:?\d\d)?)", re.ASCII)),
    ("moment", re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?", re.ASCII)),
)
_KINDS: dict[str, tuple[pa.DataType, ...]] = {
    "number": (pa.int64(), pa.float64()),
    "bool": (pa.bool_(),),
    "date": (pa.date32(),),
    "time": (pa.time64("us"),),
    "moment": (pa.timestamp("us"), pa.timestamp("ns")),
    "instant": (pa.timestamp("us", "UTC"), pa.timestamp("ns", "UTC")),
    "text": (),
}
"""What each class of texts may be, the first that holds all cells."""
_WORDS = {"bool": "truth value", "moment": "timestamp", "instant": "timestamp in UTC"} | {
    name: name for name in ("number", "date", "time")
}
MAX_SHOWN = 40
"""Characters of a cell in the reason for a type."""


class Spelling(NamedTuple):
    """How the options say that values are written."""

    decimal_point: str = "."
    true: tuple[str, ...] = _TRUE
    false: tuple[str, ...] = _FALSE
    parsers: tuple[str, ...] = ()

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Spelling:
        """From the options of a reader."""
        return cls(
            options.get("decimal_point", "."),
            tuple(options.get("true_values", _TRUE)),
            tuple(options.get("false_values", _FALSE)),
            tuple(options.get("timestamp_parsers", ())),
        )


class Inexact(Exception):
    """A text that ``kind`` does not hold exactly: ``value``, in ``row`` (from 0) of its column."""

    def __init__(self, row: int, value: str, kind: pa.DataType) -> None:
        super().__init__(f"{value!r} is not {type_name(kind)}")
        self.row = row
        self.value = value
        self.kind = kind


class Inferred(NamedTuple):
    """What a column of texts is: the values, and ``why`` these are still texts where most look like something else.
    ``option``: with which they are not, and ``kind`` the type they are then."""

    values: pa.ChunkedArray
    why: str = ""
    option: str = ""
    kind: pa.DataType | None = None


def infer(texts: pa.ChunkedArray, spelling: Spelling) -> Inferred:
    """The column as the first type that holds all of its texts exactly, else as it is; without any as type null."""
    present = texts.drop_null()
    if not len(present):
        return Inferred(pa.chunked_array([pa.nulls(len(texts))]))
    sample = present.slice(0, LOOKED_AT).to_pylist()
    kinds = _KINDS[_class(sample[0], spelling)]
    for kind in kinds:
        try:
            return Inferred(convert(texts, kind, spelling))
        except pa.ArrowInvalid:
            continue
    return _as_text(texts, sample, spelling)


def _as_text(texts: pa.ChunkedArray, sample: list[str], spelling: Spelling) -> Inferred:
    """The texts themselves, and what kept them from being what most of the first cells look like."""
    classes = [_class(text, spelling) for text in sample]
    likely = max(dict.fromkeys(classes), key=classes.count)
    kinds = _KINDS[likely]
    if not kinds:
        return Inferred(texts)
    try:
        exact(texts, kinds[-1] if likely == "number" else kinds[0], spelling)
    except Inexact as spoiled:
        why = f"{shorten(repr(spoiled.value), MAX_SHOWN)} would not be kept as a {_WORDS[likely]}"
        if re.fullmatch(rf"[-+]?({_IN_GROUPS})", spoiled.value, re.ASCII):
            why += "; its digits are in groups, which a transform can take away"
        elif likely == "number" and spelling.decimal_point == "." and decimal_comma(texts):
            return Inferred(texts, why, option("decimal_point", ","), pa.float64())
        elif likely == _class(spoiled.value, spelling) == "instant":
            unit = "ns" if pc.any(pc.match_substring_regex(texts, _FINE)).as_py() else "us"
            why += f'; a schema of "timestamp[{unit}, tz=UTC]" reads it, as that moment in UTC'
        return Inferred(texts, why)
    return Inferred(texts)


def decimal_comma(texts: pa.ChunkedArray) -> bool:
    """Whether the texts are numbers with a decimal comma, and no other reading of them is possible."""
    return comma_numbers(texts) and pc.any(pc.invert(_grouped(texts.filter(_with_comma(texts))))).as_py() is True


def comma_numbers(texts: pa.ChunkedArray) -> bool:
    """Whether all texts are numbers if a comma is their decimal point, and some have one."""
    return pc.any(_with_comma(texts)).as_py() is True and holds(texts, pa.float64(), Spelling(decimal_point=","))


def pointed(texts: pa.ChunkedArray) -> bool:
    """Whether the texts are numbers with a decimal comma, some with points between groups of digits (1.234,50)."""
    return _all(texts, _COMMA) and pc.any(pc.match_substring_regex(texts, _POINTED)).as_py() is True


def points_may_group(texts: pa.ChunkedArray) -> bool:
    """Whether all points in the texts may stand between groups of digits: 1.234 is 1234 to some."""
    return _all(texts, _POINTS_ALONE)


def _all(texts: pa.ChunkedArray, pattern: str) -> bool:
    return pc.all(pc.match_substring_regex(texts, pattern)).as_py() is True


def _with_comma(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.match_substring(texts, ",")


def _grouped(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.match_substring_regex(texts, _GROUPED)


def _class(text: str, spelling: Spelling) -> str:
    if text in spelling.true or text in spelling.false:
        return "number" if text in ("0", "1") else "bool"
    if spelling.parsers and _parsed(pa.chunked_array([[text]]), spelling.parsers) is not None:
        return "moment"
    return next((name for name, pattern in _CLASSES if pattern.fullmatch(text)), "text")


def exact(texts: pa.ChunkedArray, kind: pa.DataType, spelling: Spelling) -> pa.ChunkedArray:
    """The column as ``kind``. Raises Inexact with the first text that it does not hold exactly."""
    try:
        return convert(texts, kind, spelling)
    except pa.ArrowInvalid:

        def fits(start: int, stop: int) -> bool:
            return holds(texts.slice(start, stop - start), kind, spelling)

        row = first_bad(len(texts), fits)
        raise Inexact(row, texts[row].as_py(), kind) from None


def holds(texts: pa.ChunkedArray, kind: pa.DataType, spelling: Spelling) -> bool:
    """Whether ``kind`` holds all of the texts exactly."""
    try:
        convert(texts, kind, spelling)
    except pa.ArrowInvalid:
        return False
    return True


def convert(texts: pa.ChunkedArray, kind: pa.DataType, spelling: Spelling) -> pa.ChunkedArray:
    """The column as ``kind``. Raises ArrowInvalid unless it holds each text exactly."""
    types = pa.types
    converter: Callable[[pa.ChunkedArray, pa.DataType, Spelling], pa.ChunkedArray]
    if kind == texts.type:
        return texts
    if types.is_integer(kind):
        converter = _integers
    elif types.is_floating(kind):
        converter = _floats
    elif types.is_boolean(kind):
        converter = _booleans
    elif types.is_timestamp(kind):
        converter = _moments
    elif types.is_time(kind):
        converter = _times
    else:
        converter = _plain
    return converter(texts, kind, spelling)


def _refuse(texts: pa.ChunkedArray, odd: pa.ChunkedArray) -> None:
    if pc.any(odd).as_py():
        raise pa.ArrowInvalid("not exact")


def _plain(texts: pa.ChunkedArray, kind: pa.DataType, _spelling: Spelling) -> pa.ChunkedArray:
    return texts.cast(kind)


def _integers(texts: pa.ChunkedArray, kind: pa.DataType, _spelling: Spelling) -> pa.ChunkedArray:
    values = texts.cast(kind)
    zeros = pc.and_(pc.starts_with(texts, "0"), pc.greater(pc.binary_length(texts), 1))  # 007, 0x1F
    _refuse(texts, pc.or_(zeros, pc.starts_with(texts, "-0")))
    return values


def _floats(texts: pa.ChunkedArray, kind: pa.DataType, spelling: Spelling) -> pa.ChunkedArray:
    if spelling.decimal_point != ".":
        _refuse(texts, pc.match_substring(texts, "."))
        texts = pc.replace_substring(texts, spelling.decimal_point, ".")
    values = texts.cast(kind)
    _refuse(texts, pc.invert(pc.is_finite(values)))
    _refuse(texts, pc.match_substring_regex(texts, _ODD_NUMBER))
    if not digits_kept(texts, values, whole=True):
        raise pa.ArrowInvalid("digits are lost")
    return values


def digits_kept(texts: pa.ChunkedArray, values: pa.ChunkedArray, *, whole: bool = False) -> bool:
    """Whether each float, written as short as it can be told apart, is the number of its text. ``whole``: and no text
    is a whole number beyond 64 bits, which is an identifier rather than a measure."""
    safe = SAFE_DIGITS if pa.types.is_float64(values.type) else SAFE_SINGLE
    tiny = _TINY if pa.types.is_float64(values.type) else 1.2e-38
    long = pc.greater(pc.binary_length(texts), safe)
    shown = values.cast(pa.string()) if pc.any(long).as_py() else texts
    doubtful = pc.or_(pc.and_(long, pc.not_equal(shown, texts)), pc.less(pc.abs(values), tiny))
    if whole:
        beyond = pc.and_(long, pc.greater_equal(pc.abs(values), float(1 << 63)))
        doubtful = pc.or_(doubtful, beyond)
    table = pa.table({"text": texts, "value": values}).filter(doubtful).group_by(["text", "value"]).aggregate([])
    short = values.type == pa.float32()
    for batch in table.to_batches(max_chunksize=1024):
        for text, value in zip(batch["text"].to_pylist(), batch["value"], strict=True):
            told = value.cast(pa.string()).as_py() if short else repr(value.as_py())
            number = Decimal(text)
            if number != Decimal(told) or (whole and abs(number) >= 1 << 63 and text.lstrip("-").isdigit()):
                return False
    return True


def _booleans(texts: pa.ChunkedArray, _kind: pa.DataType, spelling: Spelling) -> pa.ChunkedArray:
    true = pc.is_in(texts, pa.array(spelling.true, pa.string()))
    false = pc.is_in(texts, pa.array(spelling.false, pa.string()))
    _refuse(texts, pc.and_(pc.invert(pc.or_(true, false)), pc.is_valid(texts)))
    return pc.if_else(pc.is_valid(texts), true, pa.scalar(None, pa.bool_()))


def _moments(texts: pa.ChunkedArray, kind: pa.DataType, spelling: Spelling) -> pa.ChunkedArray:
    if spelling.parsers:
        parsed = _parsed(texts, spelling.parsers) if kind.tz is None else None
        if parsed is None:
            raise pa.ArrowInvalid("no timestamp_parser reads it")
        return parsed.cast(kind)
    values = texts.cast(kind)  # a zone where there is none to be, or none where there is one to be: ArrowInvalid
    _refuse(texts, pc.less(pc.binary_length(texts), len("2024-01-31 10:00")))  # a date, or an hour, is no moment
    if kind.tz is not None:
        local = pc.invert(pc.ends_with(texts, "Z"))
        if pc.any(local).as_py():
            _refuse(texts, pc.invert(pc.match_substring_regex(texts, _UTC)))
    return values


def _parsed(texts: pa.ChunkedArray, parsers: tuple[str, ...]) -> pa.ChunkedArray | None:
    """The moments that one of the formats of strptime reads and gives back."""
    for form in parsers:
        values = pc.strptime(texts, format=form, unit="s", error_is_null=True)
        if values.null_count == texts.null_count and pc.all(pc.equal(pc.strftime(values, format=form), texts)).as_py():
            return values
    return None


def _times(texts: pa.ChunkedArray, kind: pa.DataType, _spelling: Spelling) -> pa.ChunkedArray:
    moments = pc.binary_join_element_wise("1970-01-01", texts, " ").cast(pa.timestamp(kind.unit))
    _refuse(texts, pc.less(pc.binary_length(texts), len("10:00")))
    return moments.cast(kind)
