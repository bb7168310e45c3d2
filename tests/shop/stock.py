"""A table that the shop fills itself, and of which ``returns`` deletes rows by their keys."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path


class Stock:
    """Rows (id, version, amount), and the account of them: what was put in, and each newer version of it."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self._path, self._rng = folder / "data/mart.db", rng
        self._rows: dict[int, tuple[int, int]] = {}
        with closing(self._mart()) as mart, mart:
            mart.execute("create table stock (id integer primary key, version integer not null, amount integer)")

    def _mart(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=30.0)

    def put(self, keys: Iterable[int]) -> None:
        """Rows of these keys, which are new."""
        fresh = {key: (self._rng.randint(1, 3), self._rng.randrange(10**6)) for key in keys}
        with closing(self._mart()) as mart, mart:
            mart.executemany("insert into stock values (?, ?, ?)", [(key, *row) for key, row in fresh.items()])
        self._rows |= fresh

    def renew(self) -> str:
        """Some rows get a newer version, those that are there still."""
        keys = self._rng.sample(sorted(self._rows), min(len(self._rows), 20))
        fresh = "update stock set version = version + 1, amount = amount + 1 where id = ? returning id, version, amount"
        with closing(self._mart()) as mart, mart:
            found = [row for key in keys for row in mart.execute(fresh, (key,)).fetchall()]
        self._rows |= {key: (version, amount) for key, version, amount in found}
        return f"{len(found)} of {len(keys)} rows" if keys else ""

    def differences(self, certain: dict[int, int], perhaps: dict[int, int]) -> Iterator[str]:
        """``certain``, ``perhaps``: key -> the greatest version with which its deletion was, or may have been,
        published."""
        with closing(self._mart()) as mart:
            found = {key: (version, amount) for key, version, amount in mart.execute("select * from stock")}
        gone = {key for key, row in self._rows.items() if row[0] <= certain.get(key, 0)}
        may_be = {key for key, row in self._rows.items() if row[0] <= perhaps.get(key, 0)}
        there = [key for key in gone if key in found]
        lost = [key for key in self._rows if key not in found and key not in gone | may_be]
        other = [(key, row, self._rows.get(key)) for key, row in found.items() if self._rows.get(key) != row]
        if there:
            yield f"stock has {len(there)} rows whose deletion was published, such as {sorted(there)[:4]}"
        if lost:
            yield f"stock lacks {len(lost)} rows that nobody has deleted, such as {sorted(lost)[:4]}"
        if other:
            yield f"stock has {len(other)} rows that nobody has put there, such as {other[:4]}"
