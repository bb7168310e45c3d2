"""What C's strptime, by which pyarrow reads ``timestamp_parsers``, lets through though it is no such moment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

_LATE = "29|30|31|6[01]"
"""What is in each text that may be a day after the end of its month, or a leap second."""
_LONG = {"%T": "%H:%M:%S", "%D": "%m/%d/%y", "%F": "%Y-%m-%d", "%R": "%H:%M", "%e": "%d", "%n": " ", "%t": " "}
"""What Python's strptime does not know of C's."""
_DIRECTIVE = re.compile(r"%[-_0^#]*\d*[EO]?(.)|(\s+)|(.)", re.DOTALL)
_DIGITS = {"Y": r"\s*\d{4}", "y": r"\s*\d\d", "j": r"\s*\d{1,3}", "%": "%"}
_DIGITS |= dict.fromkeys("dHIklemMSUVW", r"\s*\d{1,2}")
"""What the directives read. Elsewhere C takes fewer digits, too, without another value."""
_FIRST_YEAR = 1000
"""Only years before it are also read from fewer digits than ``%Y`` takes."""


def check(texts: pa.ChunkedArray, values: pa.ChunkedArray, parsers: Sequence[str]) -> None:
    """Raise ArrowInvalid for ``values`` of ``texts`` (none of them null) that are no such moments: 31/02/2024 would be
    the 2nd of March, second 60 the next minute, and the year 25 that of the Romans."""
    late = pc.match_substring_regex(texts, _LATE)
    if any(_rolls(text, parsers) for text in pc.unique(texts.filter(late)).to_pylist()):
        raise pa.ArrowInvalid("no such moment")
    if not pc.all(pc.match_substring_regex(texts, f"^({'|'.join(map(_strict, parsers))})$")).as_py():
        raise pa.ArrowInvalid("a year of other digits than its format says")
    early = pc.less(pc.year(values.cast(pa.timestamp(values.type.unit))), _FIRST_YEAR)
    whole = [re.compile(_strict(form)) for form in parsers if "%Y" in form or "%F" in form]
    if not all(any(one.fullmatch(text) for one in whole) for text in pc.unique(texts.filter(early)).to_pylist()):
        raise pa.ArrowInvalid("a year of less than four digits")


def other_years(parsers: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The formats with one before them that takes years of two digits, or of four, in the place of the other ones."""
    for form in parsers:
        long = re.sub("%[DF]", lambda found: _LONG[found[0]], form)
        for one, other in (("%Y", "%y"), ("%y", "%Y")):
            if one in long and (changed := long.replace(one, other)) not in parsers[:1]:
                yield (changed, *(found for found in parsers if found != changed))


@cache
def _strict(form: str) -> str:
    """A regular expression of the texts that ``form`` reads with as many digits of the year as it says."""
    form = re.sub("%[TDFRnt]", lambda found: _LONG[found[0]], form)

    def of(found: re.Match[str]) -> str:
        directive, blanks, plain = found.groups()
        if directive is None:
            return r"\s*" if blanks else re.escape(plain)
        return _DIGITS.get(directive, "(?s:.+?)")

    return _DIRECTIVE.sub(of, form)


def _rolls(text: str, parsers: Sequence[str]) -> bool:
    """Whether the only format that reads a text reads a day or a second that is not there."""
    rolls = False
    for form in parsers:
        try:
            datetime.strptime(text, re.sub("%[TDFRent]", lambda found: _LONG[found[0]], form))
        except ValueError as error:
            rolls |= not any(says in str(error) for says in ("does not match", "unconverted data", "bad directive"))
        else:
            return False
    return rolls
