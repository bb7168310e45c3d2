"""From arguments of Python to the spec of a schedule. What is wrong is a ValueError that says what to write."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from odibi_actors.config import moments
from odibi_actors.config.model import CatchUpSpec, ScheduleSpec, WatchSpec
from odibi_actors.config.schedules import read_schedule
from odibi_actors.errors import ConfigError
from odibi_actors.streaming.patterns import unsafe
from odibi_actors.units import format_duration

Overlap = Literal["skip", "buffer_one", "buffer_all", "allow"]
Dst = Literal["vixie", "literal", "utc"]
Moment = datetime | date | str
Days = Iterable[date | str]
CatchUp = CatchUpSpec | Mapping[str, Any] | Literal["latest", "all", "none"]

OVERLAPS: Final = ("skip", "buffer_one", "buffer_all", "allow")
MAX_NAME: Final = 200
ZONES: Final = "zoneinfo/"


def local_zone() -> str:
    """The IANA name of this machine's zone: ``TZ``, else where /etc/localtime leads; UTC if neither tells."""
    link = os.path.realpath("/etc/localtime")
    for name in (os.environ.get("TZ", "").removeprefix(":"), link.rpartition(ZONES)[2] if ZONES in link else ""):
        try:
            moments.zone(name)
        except moments.UnknownError:
            continue
        return name
    return "UTC"


def timed(name: str, zone: str, **given: Any) -> ScheduleSpec:
    """The spec of a cron or interval schedule; what is None was not given. Raises ValueError."""
    values = {key: value for key, value in given.items() if value is not None}
    for key in ("every", "jitter"):
        if key in values:
            values[key] = _duration(values[key])
    for key in ("start", "end"):
        if key in values:
            values[key] = _moment(values[key])
    if "exclude" in values:
        days = values["exclude"]
        values["exclude"] = [_moment(day) for day in ([days] if isinstance(days, (str, date)) else days)]
    if "catch_up" in values:
        values["catch_up"] = _catch_up(values["catch_up"])
    if "cron" in values or any(key in values for key in ("start", "end", "exclude")):
        values.setdefault("timezone", zone)
    _overlap(name, values.get("overlap"))
    try:
        spec = read_schedule({"name": "callback", **values}, Path("/"), {}, [])
    except ConfigError as error:
        raise ValueError(f"schedule {name}: {error}") from error
    return msgspec.structs.replace(spec, name=name)


def watch(name: str, path: str | os.PathLike[str], pattern: str, settle: float, overlap: Any) -> ScheduleSpec:
    """The spec of a schedule that waits for files. Raises ValueError."""
    folder = os.path.abspath(os.fspath(path))
    if os.path.isfile(folder):
        raise ValueError(f"schedule {name}: {folder} is a file; a folder is watched: name the file in pattern")
    if not pattern or (problem := unsafe(pattern)):
        raise ValueError(f"schedule {name}: pattern: {problem if pattern else 'is empty; such as *.csv'}")
    if not 0 <= settle <= 3600:
        raise ValueError(f"schedule {name}: settle: {settle} is not from 0 to 3600 seconds")
    _overlap(name, overlap)
    files = WatchSpec(folder, pattern, "file", float(settle))
    return ScheduleSpec(name, file_watch=files, overlap=overlap or "buffer_all")


class Called(msgspec.Struct, frozen=True):
    """A function, and what it is called with."""

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}

    def __call__(self, *first: Any) -> None:
        self.function(*first, *self.args, **self.kwargs)

    @classmethod
    def of(
        cls, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any] | None, *first: Any
    ) -> Called:
        """Raises TypeError unless a thread can call the function with ``first``, ``args`` and ``kwargs``."""
        if not callable(function):
            raise TypeError(f"{function!r} cannot be called; give a function")
        if inspect.iscoroutinefunction(function):
            remedy = "give one that runs it: lambda: asyncio.run(...)"
            raise TypeError(f"{function.__qualname__} is a coroutine function; {remedy}")
        if isinstance(args, (str, bytes)) or not isinstance(args, Sequence):
            raise TypeError(f"args: {args!r} is not a tuple of arguments; a name is given as name=")
        if kwargs is not None and not isinstance(kwargs, Mapping):
            raise TypeError(f"kwargs: {kwargs!r} is not a dict of arguments")
        called = cls(function, tuple(args), dict(kwargs or {}))
        try:
            inspect.signature(function).bind(*first, *called.args, **called.kwargs)
        except ValueError:
            pass  # one of C: nobody knows
        except TypeError as error:
            path = "the path, " if first else ""
            raise TypeError(
                f"{name_of(function, None, ())} cannot be called with {path}args {called.args!r} and kwargs "
                f"{called.kwargs!r}: {error}"
            ) from None
        return called


def name_of(fn: Callable[..., Any], wanted: str | None, taken: Iterable[str]) -> str:
    """The name that is wanted, or the function's (with a number where that is taken). Raises ValueError."""
    names = frozenset(taken)
    if wanted is not None:
        if not isinstance(wanted, str) or not 0 < len(wanted) <= MAX_NAME or not wanted.isprintable():
            raise ValueError(f"name: {wanted!r} is not a text of 1 to {MAX_NAME} characters")
        if wanted in names:
            raise ValueError(f"name: there is a schedule {wanted!r} already; unschedule it, or take another name")
        return wanted
    inner = getattr(fn, "func", fn)  # of a functools.partial
    base = str(getattr(inner, "__name__", type(inner).__name__)).strip("<>")[: MAX_NAME - 10]
    name, number = base, 1
    while name in names:
        number += 1
        name = f"{base}-{number}"
    return name


def _overlap(name: str, overlap: Any) -> None:
    if overlap == "cancel":
        raise ValueError(f"schedule {name}: overlap: a thread cannot be cancelled; there are {', '.join(OVERLAPS)}")
    if overlap is not None and overlap not in OVERLAPS:
        raise ValueError(f"schedule {name}: overlap: {overlap!r} is none of {', '.join(OVERLAPS)}")


def _duration(value: Any) -> Any:
    """Seconds as the configuration has them; text is taken as it is (``5m``)."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return format_duration(value)
    return value


def _moment(value: Any) -> Any:
    """A date, or a date and time, as the configuration has them."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return value.isoformat() if isinstance(value, date) else value


def _catch_up(given: Any) -> dict[str, Any]:
    if isinstance(given, str):
        return {"policy": given}
    values = msgspec.structs.asdict(given) if isinstance(given, CatchUpSpec) else dict(given)
    return {key: _duration(value) if key in ("window", "grace") else value for key, value in values.items()}
