"""pandas columns of Python objects: only those of one kind of value become a column.

Arrow takes the type of the first values and bends the others to it where it can: a datetime after a date loses its
time, text among bytes becomes bytes, true among floats 1.0, and nanoseconds, time zones of times and the difference
between instants and local times are dropped.
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

KINDS: tuple[tuple[tuple[type, ...], str], ...] = (
    ((str,), "text"),
    ((bytes, bytearray, memoryview), "bytes"),
    ((bool, np.bool_), "booleans"),
    ((np.timedelta64, dt.timedelta), "durations"),  # before numbers: numpy's durations are integers to it
    ((int, float, np.number, decimal.Decimal), "numbers"),
    ((np.datetime64,), "datetimes without a time zone"),
    ((dt.datetime,), "datetimes"),
    ((dt.date,), "dates"),
    ((dt.time,), "times"),
    ((uuid.UUID,), "UUIDs"),
    ((dict,), "mappings"),
    ((list, tuple, np.ndarray), "lists"),
)
"""Types -> the kind of value they are; of several that fit the first."""
_LOOKED_INTO = {"datetimes", "times", "durations", "mappings", "lists"}
_MISSING: set[type] = {type(None), type(pd.NA), type(pd.NaT)}


class Mixed(ValueError):
    """What a column holds besides its first kind, and what to do."""


def check_values(values: Iterable[Any]) -> None:
    """Raise Mixed unless all values that are not missing (None, NaT, pandas.NA, and NaN, which among objects says
    missing) are of one kind that Arrow carries exactly."""
    values = list(values)
    types = set(map(type, values)) - _MISSING
    if len(types) > 1:  # NaN among texts is no second kind
        values = [one for one in values if not (isinstance(one, float) and one != one)]  # noqa: PLR0124
        types = set(map(type, values)) - _MISSING
    kinds = {_kind(one) for one in types}
    if kinds & _LOOKED_INTO:
        values = [one for one in values if type(one) not in _MISSING]
        kinds = kinds - {"datetimes"} | {_moment(one) for one in values if isinstance(one, dt.datetime)}
    if len(kinds) > 1:
        raise Mixed(f"it holds {' and '.join(sorted(kinds))}; make them one type, .astype(str) for example")
    if kinds == {"times"} and any(one.tzinfo is not None for one in values):
        raise Mixed("it holds times of day with a time zone, which would be lost; make them text, .astype(str)")
    if kinds == {"durations"} and any(getattr(one, "nanoseconds", 0) for one in values):
        raise Mixed("it holds Timedeltas with nanoseconds, which would be lost; convert it by pd.to_timedelta()")
    if kinds == {"mappings"}:
        for key in dict.fromkeys(key for one in values for key in one):
            check_values([one.get(key) for one in values])
    if kinds == {"lists"}:
        check_values([inner for one in values for inner in one])


def _kind(type_: type) -> str:
    for types, name in KINDS:
        if issubclass(type_, types) and type_ is not np.longdouble:  # it has more digits than a double
            return name
    name = f"{type_.__module__}.{type_.__qualname__}".removeprefix("builtins.")
    raise Mixed(f"it holds {name} objects; convert them, .astype(str) for example")


def _moment(value: dt.datetime) -> str:
    if getattr(value, "nanosecond", 0):
        raise Mixed("it holds Timestamps with nanoseconds, which would be lost; convert it by pd.to_datetime()")
    return f"datetimes {'without' if value.tzinfo is None else 'with'} a time zone"
