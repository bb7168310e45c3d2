"""Fifty Python callbacks on schedules: what they cost while nothing is due, and how late each is called.

system    ``ScheduleManager``: the scheduler, store and source actors in one thread, nothing polls
durable   the same with a ``state_dir``: each occurrence is synced to disk before its callback is called
floor     a bare loop that wakes each second and compares every schedule's due time with the clock, then starts a
          thread; it keeps no record, and knows neither zones nor overlaps nor files that are half written

idle      of one core, in percent, over ``--seconds``: 50 schedules of all kinds, none of them due (20 cron, 20
          intervals, 10 folders)
lag       milliseconds from due time to the first line of the callback: 50 schedules that are due each second; what was
          never called is ``missed``
"""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import common

from odibi_actors.scheduler import ScheduleManager

CHECK = 1.0
"""Seconds between two looks of the floor."""


class Floor:
    """The idea of a loop that polls: next due time per schedule, files by listing their folder."""

    def __init__(self) -> None:
        self._timed: list[tuple[int, Callable[[int], Any]]] = []
        self._folders: list[tuple[Path, Callable[[Path], Any]]] = []
        self._seen: set[Path] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop)

    def every(self, seconds: int, fn: Callable[[int], Any]) -> None:
        self._timed.append((seconds, fn))

    def watch(self, folder: Path, fn: Callable[[Path], Any]) -> None:
        self._folders.append((folder, fn))

    def _loop(self) -> None:
        due = [(int(time.time()) // seconds + 1) * seconds for seconds, _ in self._timed]
        while not self._stop.wait(CHECK):
            now = time.time()
            for number, (seconds, fn) in enumerate(self._timed):
                if now >= due[number]:
                    threading.Thread(target=fn, args=(due[number],)).start()
                    due[number] = int(now) // seconds * seconds + seconds
            for folder, fn_ in self._folders:
                for path in folder.glob("*.csv"):
                    if path not in self._seen:
                        self._seen.add(path)
                        threading.Thread(target=fn_, args=(path,)).start()

    def __enter__(self) -> Floor:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()


def nothing(*_: object) -> None:
    """A callback."""


@contextmanager
def idle(side: str, folder: Path, count: int) -> Iterator[None]:
    """So many schedules, none of them due: 2 of 5 cron, 2 of 5 intervals, 1 of 5 folders."""
    folders = [folder / f"in-{number}" for number in range(count // 5)]
    for each in folders:
        each.mkdir(parents=True, exist_ok=True)
    timed = count - len(folders)
    if side == "floor":
        loop = Floor()
        for _ in range(timed):
            loop.every(10**9, nothing)
        for each in folders:
            loop.watch(each, nothing)
        with loop:
            yield
        return
    manager = ScheduleManager(state_dir=folder / "state" if side == "durable" else None)
    for number in range(timed):
        if number % 2:
            manager.schedule_interval(86_400, nothing)
        else:
            manager.schedule("0 0 1 1 *", nothing)
    for each in folders:
        manager.schedule_file_watch(each, nothing)
    with manager:
        yield


def cpu() -> float:
    """Seconds of processor time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def share(side: str, folder: Path, options: Any) -> float:
    """Percent of one core while nothing is due."""
    with idle(side, folder, options.schedules):
        time.sleep(2.0)  # the beginning is not idle
        before, began = cpu(), time.monotonic()
        time.sleep(options.seconds)
        return 100 * (cpu() - before) / (time.monotonic() - began)


def lags(side: str, folder: Path, options: Any) -> list[float]:
    """Milliseconds by which each call was late."""
    begin = int(time.time()) + 2
    seconds = int(options.seconds)
    if side == "floor":
        late: list[float] = []
        loop = Floor()
        for _ in range(options.schedules):
            loop.every(1, lambda due: late.append(1000 * (time.time() - due)) if due >= begin else None)
        with loop:
            time.sleep(begin + seconds - time.time())
        return late
    called: list[list[float]] = [[] for _ in range(options.schedules)]
    manager = ScheduleManager(state_dir=folder / "state" if side == "durable" else None, max_workers=options.schedules)
    span = {"start": datetime.fromtimestamp(begin, UTC), "end": datetime.fromtimestamp(begin + seconds, UTC)}
    for number, times in enumerate(called):

        def note(times: list[float] = times) -> None:
            times.append(time.time())

        manager.schedule("* * * * * *", note, name=f"tick-{number}", overlap="buffer_all", **span)
    with manager:
        time.sleep(begin + seconds - time.time())
    # each in its turn: so the first call was due at the begin, the second a second later
    return [1000 * (at - begin - turn) for times in called for turn, at in enumerate(times)]


def row(side: str, idles: list[float], turns: list[list[float]], options: Any) -> dict[str, Any]:
    """What was measured of one side."""
    calls = sum(map(len, turns))
    made: dict[str, Any] = {"side": side, "idle": common.spread(idles), "calls": calls}
    made["missed"] = options.schedules * int(options.seconds) * len(turns) - calls
    for name, part in (("p50", 0.5), ("p99", 0.99)):
        made[name] = common.spread([common.percentile(turn, part) for turn in turns])
    return made | {"max": max(max(turn) for turn in turns), "milliseconds": turns}


def ratio(of: dict[str, Any], floor: dict[str, Any]) -> dict[str, Any]:
    """Medians of one side as multiples of the floor's."""
    names = ("idle", "p50", "p99")
    parts = {name: of[name]["median"] / floor[name]["median"] if floor[name]["median"] else 0.0 for name in names}
    return {"side": f"{of['side']}/floor", "calls": "", "missed": "", "max": of["max"] / floor["max"], **parts}


def main() -> int:
    """The command line; returns the exit code."""
    parser = common.parser(__doc__)
    parser.set_defaults(repeats=3)
    parser.add_argument("--schedules", type=common.positive, default=50, help="schedules at once (default 50)")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each is measured (default 20)")
    options = parser.parse_args()
    sides = ("system", "durable", "floor")
    idles: dict[str, list[float]] = {side: [] for side in sides}
    turns: dict[str, list[list[float]]] = {side: [] for side in sides}
    with common.workplace(options.dir) as folder:
        where = common.machine(folder)
        for turn in range(options.repeats):
            for side in sides:
                idles[side].append(share(side, folder / f"idle-{side}-{turn}", options))
                turns[side].append(lags(side, folder / f"lag-{side}-{turn}", options))
    rows = [row(side, idles[side], turns[side], options) for side in sides]
    print(f"{options.schedules} schedules: percent of a core while idle, milliseconds from due to called:", end=" ")
    print(f"median (lowest-highest) of {options.repeats} turns of {options.seconds:g} s")
    rows += [ratio(rows[0], rows[2]), ratio(rows[1], rows[2])]
    common.report(options, where, ["side", "calls", "missed", "idle", "p50", "p99", "max"], rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
