"""What ``rates`` polls, and the account of it: what stood there, from when to when; and what each tick has found.

The log of ticks is read for one thing: which numbers there are, and when each was due and kept.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet

from tests.shop.project import Polled

COLUMNS = ("writing", "n", "whole")
LOG = ".odibi/ticks/rates.rows/events.db"


class Board:
    """One thing that is replaced as a whole: a file, or the table of a database."""

    def __init__(self, folder: Path, rng: random.Random, polled: Polled) -> None:
        self._folder, self._rng, self._polled = folder, rng, polled
        self.writings: dict[int, list[float]] = {}
        """Number -> the times before it was put there, and after it was gone (infinite until then)."""
        self.bad = ""
        self.sound: set[int] = set()
        """Numbers of those that can be read."""
        (folder / "data/board").mkdir()
        self.replace()

    @property
    def newest(self) -> int:
        """What stands there."""
        return len(self.writings)

    def replace(self, bad: str = "") -> str:
        """Another writing takes the place of the one that stands there."""
        number = self.newest + 1
        whole = self._rng.choice([1, 2, 30])
        rows: list[tuple[Any, ...]] = [(number, n, whole) for n in range(whole)]
        if bad:
            rows[-1] = ("what", *rows[-1][1:])
        else:
            self.sound.add(number)
        before = time.time()
        (self._into_table if self._polled == "query" else self._into_file)(rows)
        if number > 1:
            self.writings[number - 1][1] = time.time()
        self.writings[number] = [before, float("inf")]
        self.bad = bad
        return f"rates {number}"

    def _into_file(self, rows: list[tuple[Any, ...]]) -> None:
        path = self._folder / "data/board/rates.csv"
        partial = path.with_suffix(".part")
        partial.write_text(",".join(COLUMNS) + "\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
        os.replace(partial, path)

    def _into_table(self, rows: list[tuple[Any, ...]]) -> None:
        with closing(sqlite3.connect(self._folder / "data/exchange.db", timeout=30.0)) as exchange, exchange:
            exchange.execute("create table if not exists rates (writing, n integer, whole integer)")
            exchange.execute("delete from rates")
            exchange.executemany("insert into rates values (?, ?, ?)", rows)

    def ticks(self) -> dict[int, Tick]:
        """Those that were kept, by their numbers."""
        path = self._folder / LOG
        if not path.exists():
            return {}
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30.0)) as log:
            if not log.execute("select 1 from sqlite_master where name = 'keys'").fetchone():
                return {}
            return {number: Tick(float(key), at) for key, number, at in log.execute("select key, number, at from keys")}


class Tick(NamedTuple):
    """When it was due, and when what was found was kept; UTC seconds."""

    due: float
    kept: float


class Found:
    """What ticks have found, as far as it was published: once known, it never changes."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._by_tick: dict[int, int] = {}

    def differences(self, ticks: dict[int, Tick], took: Iterable[int], part: Path, tag: int) -> Iterator[str]:
        """What is wrong with a part that was made of these ticks. ``tag``: of the version that has made it."""
        table = pyarrow.parquet.read_table(part)
        rows = [tuple(row.values()) for row in table.select([*COLUMNS, "tag"]).to_pylist()]
        asked = table["tick"].to_pylist() if "tick" in table.column_names else []
        place = 0
        for number in sorted(took):
            writing, _, whole, _ = rows[place] if place < len(rows) else (0, 0, 0, 0)
            wanted = [(writing, n, whole, tag) for n in range(whole)]
            if not whole or rows[place : place + whole] != wanted:
                yield f"{part.name}: tick {number} is {rows[place : place + max(1, whole)][:4]}, and no whole writing"
                return
            yield from self._tick(number, writing, ticks)
            due = {ticks[number].due} if asked and number in ticks else set()
            if asked and set(asked[place : place + whole]) != due:
                yield f"{part.name}: tick {number} was due at {due}, and its function was told {asked[place]}"
            place += whole
        if place < len(rows):
            yield f"{part.name} has {len(rows) - place} rows too many, such as {rows[place]}"

    def _tick(self, number: int, writing: int, ticks: dict[int, Tick]) -> Iterator[str]:
        if self._by_tick.setdefault(number, writing) != writing:
            yield f"tick {number} has found writing {self._by_tick[number]}, and is said to have found {writing}"
        if writing not in self._board.sound:
            yield f"tick {number} has found writing {writing}, which cannot be read"
        earlier = [found for other, found in self._by_tick.items() if other < number]
        if earlier and max(earlier) > writing:
            yield f"tick {number} has found writing {writing}, and one before it {max(earlier)}"
        tick, (begun, gone) = ticks.get(number), self._board.writings[writing]
        if tick is None:
            yield f"tick {number} was published, and is not in the log"
        elif not (begun <= tick.kept and tick.due <= gone):
            yield f"tick {number} ({tick}) has found writing {writing}, which stood there from {begun} to {gone}"

    def newest(self) -> int:
        """The newest writing that was ever published."""
        return max(self._by_tick.values(), default=0)
