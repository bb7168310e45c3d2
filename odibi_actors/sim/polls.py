"""What sources poll (``mode: interval``), and what must become of it: each tick is in the log once, with rows that were
read at it; those that nobody has polled are told; and once nothing goes wrong no tick is left out.

It looks at the log with eyes of its own, after each step of the source, and shares nothing with who polls.
"""

from __future__ import annotations

import io
import random
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from odibi_actors.config.model import NodeSpec, ReadSpec
from odibi_actors.sim.verdict import check
from odibi_actors.units import format_instant

Source = tuple[str, str]
"""(pipeline, source)."""

TICKS = 3
"""Ticks that are polled once nothing goes wrong, one behind the other; then there is nothing to be polled any more, but
for runs."""
CALM = 20.0
"""Virtual seconds from the last fault until each tick is polled: who was stopped is awake, who was cut off is back."""
SLOW = 0.1
"""Share of polls that take as long as some ticks, while anything goes wrong."""

_MISSED = re.compile(r"(\w+/\w+): (\d+) ticks? missed \(([^)]*UTC)\)")


class Polled:
    """A file that is polled. ``rows``: it has these now; ``away_until``: it is not there until then."""

    def __init__(self, source: Source, read: ReadSpec, file: Path, log: Path, rows: list[int]) -> None:
        assert read.polled is not None
        self.source, self.file, self.log = source, file, log
        self.made = read.format
        self.away_until = 0.0
        self.calm_since: float | None = None
        self.awaited = False  # its pipeline is set off by data, so that each tick is polled
        self.over = False
        self.wanted = TICKS  # of the ticks since all is calm
        self.read: dict[float, list[list[int]]] = {}  # tick -> what polls of it have read
        self.ticks: list[tuple[float, float]] = []  # that are in the log, and ``every`` of then
        self.every = read.polled.every
        self.seen = 0
        file.parent.mkdir(parents=True, exist_ok=True)
        self.change(rows)

    @property
    def since_calm(self) -> list[float]:
        """Ticks that were kept since."""
        return [tick for tick, _ in self.ticks if self.calm_since is not None and tick > self.calm_since]

    def change(self, rows: list[int]) -> None:
        """Somebody writes it again, at once, for one tick at least."""
        self.rows, self.over = rows, False
        self.wanted = max(self.wanted, len(self.since_calm) + 1)
        new = self.file.with_name("new")
        if self.made == "csv":
            new.write_text("\n".join(["id", *map(str, rows), ""]))
        else:
            out = io.BytesIO()
            table = pa.table({"id": pa.array(rows, pa.int64())})
            with pa.ipc.new_file(out, table.schema) as writer:
                writer.write_table(table)
            new.write_bytes(out.getvalue())
        new.rename(self.file)


class Polls:
    """All of a life. ``stored``: rows are in the log as this event; ``count``: what has happened."""

    def __init__(
        self,
        seed: int,
        now: Callable[[], float],
        stored: Callable[[Source, int, list[int]], None],
        count: Callable[[str], None],
    ) -> None:
        self._now, self._stored, self._count = now, stored, count
        self._dice = random.Random(f"slow polls {seed}")
        self.all: dict[str, Polled] = {}  # by "pipeline/source"
        self.told: dict[tuple[str, str], int] = {}  # (source, first and last tick that were missed) -> how many
        self.harm = False

    def add(self, pipeline: str, node: NodeSpec, folder: Callable[[str], str], rows: list[int], awaited: bool) -> None:
        """A source that polls; ``folder``: where a path of the life really is."""
        assert node.read is not None
        assert node.read.polled is not None
        file = Path(folder(node.read.polled.connection.path), node.read.polled.path)
        log = Path(folder(node.read.connection.path), node.read.path, "events.db")
        one = self.all[f"{pipeline}/{node.name}"] = Polled((pipeline, node.name), node.read, file, log, rows)
        one.awaited = awaited

    # --- what happens ---------------------------------------------------------------------------------------------

    def of(self, pipeline: str) -> Polled | None:
        """What the source of a pipeline polls."""
        return next((one for one in self.all.values() if one.source[0] == pipeline), None)

    def delay(self) -> float:
        """Virtual seconds that a poll takes."""
        if not self.harm or self._dice.random() >= SLOW:
            return self._dice.uniform(0.001, 0.05)
        self._count("slow poll")
        return self._dice.uniform(1.0, 12.0)

    def there(self, name: str) -> bool:
        """Whether what this source polls is there."""
        one = self.all[name]
        return not one.over and one.away_until <= self._now()

    def calm(self) -> None:
        """Nothing goes wrong any more."""
        self.harm = False
        for one in self.all.values():
            one.away_until, one.calm_since = 0.0, self._now() + CALM

    @property
    def waiting(self) -> list[str]:
        """What is to be polled still."""
        awaited = {name: one for name, one in self.all.items() if one.awaited and not one.over}
        for name, one in awaited.items():
            ticks = one.since_calm
            lacks = [tick for tick in _between(ticks[0], ticks[-1], one.every) if tick not in ticks] if ticks else []
            check(not lacks or one.wanted > TICKS, "I5", f"{name}: nobody polls {lacks}, though nothing goes wrong")
            one.over = len(ticks) >= one.wanted
            if one.over:
                self._all_told(name, one)
        return [f"{name} is to be polled" for name, one in awaited.items() if not one.over]

    # --- what must hold -------------------------------------------------------------------------------------------

    def polled(self, name: str, at: float, every: float) -> None:
        """A poll of this tick has read what is there now."""
        one = self.all[name]
        one.every = every
        check(at % every == 0 and at <= self._now(), "I1", f"{name} is polled at {at}, which is no tick of {every} s")
        known = [tick for tick, _ in one.ticks]
        check(at not in known, "I1", f"{name} is polled at {at} once more, which is in its log")
        one.read.setdefault(at, []).append(one.rows)
        self._count("polled")

    def say(self, text: str) -> None:
        """A process has told this."""
        if (found := _MISSED.search(text)) is not None:
            self.told[found[1], found[3]] = int(found[2])

    def look(self) -> None:
        """What has come into the logs since."""
        for name, one in self.all.items():
            if not one.log.exists():
                continue
            db = sqlite3.connect(f"{one.log.as_uri()}?mode=ro", uri=True)
            ask = "SELECT number, data, key FROM events LEFT JOIN keys USING (number) WHERE number > ? ORDER BY number"
            for number, data, key in db.execute(ask, (one.seen,)).fetchall():
                one.seen = number
                self._found(name, one, number, _rows(one.made, data), key)
            db.close()

    def _found(self, name: str, one: Polled, number: int, rows: list[int], key: str | None) -> None:
        check(key is not None, "I1", f"event {number} of {name} is that of no tick")
        at = float(key or 0.0)
        newest = one.ticks[-1][0] if one.ticks else 0.0
        check(at > newest, "I1", f"event {number} of {name} is tick {at}, behind that of {newest}")
        check(rows in one.read.get(at, []), "I1", f"event {number} of {name} has rows that nobody has read at {at}")
        one.ticks.append((at, one.every))
        self._stored(one.source, number, rows)
        self._count("tick kept")

    def _all_told(self, name: str, one: Polled) -> None:
        """Each tick that was missed, while its pipeline was set off by data."""
        for (former, _), (tick, every) in zip(one.ticks, one.ticks[1:], strict=False):
            if missed := _between(former, tick, every):
                first, last = format_instant(missed[0]), format_instant(missed[-1])
                named = first if len(missed) == 1 else f"{first} to {last}"
                told = self.told.get((name, named))
                check(told == len(missed), "I5", f"{name}: {len(missed)} ticks missed ({named}), of which {told} told")
                self._count("missed ticks told")


def _between(former: float, tick: float, every: float) -> list[float]:
    """The ticks behind the one and before the other."""
    first = int(former // every) + 1
    return [number * every for number in range(first, int(tick // every)) if number * every > former]


def _rows(made: str, data: bytes) -> list[int]:
    if made == "csv":
        return [int(line) for line in data.decode().split()[1:]]
    found: list[int] = pa.ipc.open_file(data).read_all()["id"].to_pylist()
    return found
