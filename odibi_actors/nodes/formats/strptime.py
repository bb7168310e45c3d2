"""Which formats of C's strptime tell a moment: ``read.options.timestamp_parsers``. Loads nothing: a project file is
checked with it.

C's strptime reads directives whose value it then throws away, and makes 1900-01-01 of what a format does not name. Such
a format would read values that are not those of its texts, so it is refused before any text is read.
"""

from __future__ import annotations

import re

_LONG = {"%D": "%m/%d/%y", "%F": "%Y-%m-%d", "%T": "%H:%M:%S", "%R": "%H:%M", "%r": "%I:%M:%S %p"}
_LONG |= {"%c": "%a %b %e %H:%M:%S %Y", "%x": "%m/%d/%y", "%X": "%H:%M:%S"}
"""What stands for several directives, in the locale C."""
_SAME = {"h": "b", "B": "b", "A": "a", "u": "a", "w": "a", "e": "d", "k": "H", "l": "I"}
"""Directives that tell the same as another one."""
_KNOWN = "YymbdjHIMSpaz"
DIRECTIVE = re.compile(r"%[-_0^#]*\d*(.|\Z)", re.DOTALL)
"""One, with the flags and widths that C passes over; its group is the letter."""
_IN_SQL = "declare such columns as string, and read them with strptime() in SQL"
_REFUSED = {
    "Z": "the name of a time zone is passed over; write the texts with an offset (%z), or declare such columns as "
    "string and convert them in a node",
    "s": "seconds are read in the time zone of the machine; declare such columns as int64, and make timestamps of them "
    "with make_timestamp(x * 1000000) in SQL",
    "C": "a century is no year; write %Y for four digits",
    "f": f"fractions of a second are read in ISO 8601 only, without timestamp_parsers; {_IN_SQL}",
    **dict.fromkeys("GgVUW", f"weeks and their years are passed over; {_IN_SQL}"),
}


def problem(form: str) -> str:
    """Why a format does not tell a moment by itself, and what to do; "" when it does."""
    found = [_SAME.get(one, one) for one in DIRECTIVE.findall(spelt(form)) if one not in "nt%" or not one]
    for one in found:
        if one in _REFUSED:
            return f"has {form!r} with %{one}: {_REFUSED[one]}"
        if one not in _KNOWN or not one:
            return f"has {form!r} with %{one}, which strptime does not know; %% is a percent sign"
    named = set(found)
    twice = next((one for one in found if found.count(one) > 1), "")
    if twice:
        return f"has {form!r}, which names %{twice} (or what tells the same) twice: the last would count; {_IN_SQL}"
    return next((f"has {form!r}, {why}" for bad, why in _rules(named) if bad), "")


def _rules(named: set[str]) -> list[tuple[bool, str]]:
    """What is wrong with these directives together."""
    return [
        ("Y" in named and "y" in named, f"which names the year twice: the last would count; {_IN_SQL}"),
        (not named & {"Y", "y"}, f"which names no year (%Y or %y): all would be of 1900; {_IN_SQL}"),
        ("j" in named and bool(named & {"m", "b", "d"}), f"which names the day twice, by %j as well; {_IN_SQL}"),
        ({"j", "a"} <= named, f"in which %j is passed over beside the day of the week; {_IN_SQL}"),
        ("m" in named and "b" in named, f"which names the month twice: the last would count; {_IN_SQL}"),
        ("d" in named and not named & {"m", "b"}, f"which names a day without its month; {_IN_SQL}"),
        ("H" in named and "I" in named, f"which names the hour twice: the last would count; {_IN_SQL}"),
        ("p" in named and "I" not in named, "in which %p (AM, PM) counts only with %I: write %I for %H"),
        ("I" in named and "p" not in named, "in which %I is an hour of twelve without %p (AM, PM): write %H for %I"),
    ]


def spelt(form: str) -> str:
    """The format with each directive by itself: those that stand for several are written out."""
    return re.sub(r"%%|%[DFTRrcxX]", lambda found: _LONG.get(found[0], found[0]), form)
