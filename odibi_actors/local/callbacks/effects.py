"""What the desk is told by its manager and its threads, and what it asks of its driver. None of it travels."""

from __future__ import annotations

import msgspec

from odibi_actors.actor import Effect
from odibi_actors.config.model import ScheduleSpec
from odibi_actors.messages import Message
from odibi_actors.model import Place


class Shown(msgspec.Struct, frozen=True):
    """A schedule as people see it. ``last_run``: when the newest run began (seconds since the epoch; 0: never);
    ``errors``: failed runs; ``last_error``: traceback of the newest of them; ``running``: when each run in progress
    began; ``waiting``: occurrences that are noted and not started, and files that are found and not noted."""

    spec: ScheduleSpec
    place: Place
    last_run: float = 0.0
    runs: int = 0
    errors: int = 0
    last_error: str = ""
    skipped: dict[str, int] = {}
    running: list[float] = []
    waiting: int = 0
    problem: str = ""


# --- manager, threads -> desk -----------------------------------------------------------------------------------------


class Registered(Message, frozen=True):
    """A schedule is wanted, under the name in its spec. ``number`` stands for the function. ``wall``: what the wall
    clock shows (seconds since the epoch). ``errors``, ``last_error``, ``last_run``: what this manager showed of it
    before it was stopped."""

    number: int
    spec: ScheduleSpec
    wall: float
    errors: int = 0
    last_error: str = ""
    last_run: float = 0.0


class Unscheduled(Message, frozen=True):
    """A schedule is wanted no longer. What runs goes on; what waits is skipped."""

    name: str


class Ended(Message, frozen=True):
    """A callback is over. ``error``: its traceback, "" when it returned."""

    run: str
    error: str = ""


class Leave(Message, frozen=True):
    """Begin nothing more; stop once nothing runs, at ``until`` (the runtime's time; None: whenever that is) in any
    case."""

    until: float | None = None


# --- desk -> driver ---------------------------------------------------------------------------------------------------


class Call(Effect, frozen=True):
    """Call function ``number`` in a thread, with ``path`` unless that is ""; Ended comes back. The run is durable."""

    number: int
    name: str
    run: str
    path: str = ""


class Show(Effect, frozen=True):
    """Schedules that have changed, by name; None: gone."""

    items: dict[str, Shown | None]
