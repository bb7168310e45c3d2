"""Values of a watermark column as bytes that have their order, and a lag before one. Pure.

A value travels as the text that its database gives back exactly, with its **sort**: ``number``, ``text`` (by code
points), ``date`` or ``moment`` (ISO 8601, of which the texts have the order of time; moments with a zone are in UTC).
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from decimal import Context, Decimal, InvalidOperation
from typing import Literal

from odibi_actors.units import parse_duration

Sort = Literal["number", "text", "date", "moment"]

MAX_TEXT = 1000
"""Bytes of a value, as UTF-8: it is part of every place."""

_NUMBER, _TEXT = b"\x01", b"\x02"
_NEGATIVE, _ZERO, _POSITIVE = b"\x40", b"\x80", b"\xc0"
_EXPONENT = 1 << 31
_EXACT = Context(prec=2000, Emin=-999_999, Emax=999_999)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(\.\d{1,9})?(\+00(?::?00)?|Z)?", re.ASCII)
_INVERTED = bytes(255 - one for one in range(256))


class Unordered(ValueError):
    """A value that has no place in the order: it is refused by name."""


def key(sort: Sort, text: str) -> bytes:
    """Bytes in the order of the values; no key is the beginning of another. Raises Unordered."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT:
        raise Unordered(f"{text[:40]!r}... has more than {MAX_TEXT:,} bytes")
    if sort == "number":
        return _NUMBER + _number(text)
    if sort == "date" and not _DATE.fullmatch(text):
        raise Unordered(f"{text} is no date of the years 0001 to 9999")
    if sort == "moment":
        found = _MOMENT.fullmatch(text)
        if found is None:
            raise Unordered(f"{text} is no time of the years 0001 to 9999")
        text = found[1].replace("T", " ") + (found[2] or "").rstrip("0").rstrip(".")
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise Unordered(f"{text[:40]!r} is no text of Unicode") from None
    return _TEXT + data.replace(b"\0", b"\0\xff") + b"\0\x01"


def _number(text: str) -> bytes:
    """Sign, exponent, digits: each digit one more, so that the end comes before any."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise Unordered(f"{text} is no number") from None
    if not value.is_finite():
        raise Unordered(f"{text} is greater than all numbers, or none")
    if not value:
        return _ZERO
    _, digits, _ = value.normalize(_EXACT).as_tuple()
    data = (value.adjusted() + _EXPONENT).to_bytes(4, "big") + bytes(digit + 1 for digit in digits) + b"\0"
    return _POSITIVE + data if value > 0 else _NEGATIVE + data.translate(_INVERTED)


def before(sort: Sort, text: str, lag: str) -> str:
    """The value that is ``lag`` before one: a number, or a duration such as ``10m``. Raises Unordered."""
    if sort == "number":
        try:
            return format(_EXACT.subtract(Decimal(text), Decimal(lag)), "f")
        except InvalidOperation:
            raise Unordered(f"lag: {lag} is no number, and the watermarks are") from None
    try:
        seconds = timedelta(seconds=parse_duration(lag))
    except ValueError as error:
        raise Unordered(f"lag: {lag}: {error}") from None
    try:
        if sort == "date" or (sort == "text" and _DATE.fullmatch(text)):
            if seconds % timedelta(days=1):
                raise Unordered(f"lag: {lag} is no number of days, and the watermarks are dates")
            return (date.fromisoformat(text) - seconds).isoformat()
        found = _MOMENT.fullmatch(text)
        if found is None:
            raise Unordered(f"{text!r} is no time, so nothing is a time before it")
        if seconds.microseconds:
            raise Unordered(f"lag: {lag} is no number of whole seconds")
        moment = datetime.fromisoformat(found[1]) - seconds
    except (OverflowError, ValueError) as error:
        if isinstance(error, Unordered):
            raise
        raise Unordered(f"there is no time {lag} before {text}") from None
    shown = moment.isoformat(sep=found[1][10])
    return shown + (found[2] or "") + (found[3] or "")
