"""One bit flipped, or one file cut short, in a store's files: what does the next start make of it?

A store is opened on each damaged copy, and all it holds is compared with what it held whole.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import xxhash

from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.checkpoint.opening import UNREADABLE
from odibi_actors.checkpoint.resting import Resting
from odibi_actors.errors import StoreError
from tests.checkpoint.make import P, claimed, committed, error, numbered, plan, put

Outcome = Literal["named", "same", "wrong"]
"""named: refused by a StoreError that names a file. same: nothing that it holds differs. wrong: anything else."""

NAMES = ("checkpoints.db", "checkpoints.db-wal", "checkpoints.db-seals")


class Damage(NamedTuple):
    """A bit of a byte of a file (``cut``: the file ends there)."""

    name: str
    offset: int
    bit: int = 0
    cut: bool = False


def make(folder: Path) -> None:
    """A store as a crash leaves it: part of what it holds is in the database file, part in the log only."""
    live = folder.with_name(folder.name + "-live")
    engine = claimed(live / "checkpoints.db")
    put(engine, *(numbered(seq) for seq in range(1, 21)))
    engine.checkpoint()
    put(engine, *committed(3, "3.csv"))
    put(engine, plan(4, "4.csv"), error(4))
    put(engine, r.Alert(engine.last_seq + 1, "failure", P, "it broke", 1.0), r.Backfill(P, "backfill-9", "r", 1.0))
    folder.mkdir()
    for name in NAMES:
        shutil.copy(live / name, folder / name)
    engine.close()
    shutil.rmtree(live)


def dump(db: sqlite3.Connection) -> list[Any]:
    """All that a database holds, and the statements that make it."""
    found: list[Any] = db.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall():
        found.append((table, db.execute(f"SELECT * FROM {table}").fetchall()))
    return found


def damages(folder: Path, step: int = 1, cuts: int = 1) -> Iterator[Damage]:
    """One bit of every ``step``-th byte of each file, which bit changes from byte to byte; a cut at every ``cuts``."""
    for name in NAMES:
        size = (folder / name).stat().st_size
        yield from (Damage(name, at, (at * 5 + 3) % 8) for at in range(0, size, step))
        yield from (Damage(name, at, cut=True) for at in range(0, size, cuts))


class Sweep:
    """Tries damages on copies of ``folder`` in ``scratch`` (best in memory)."""

    def __init__(self, folder: Path, scratch: Path, *, at_rest: bool = False) -> None:
        self._at_rest = at_rest
        self._files = {name: (folder / name).read_bytes() for name in NAMES}
        self._scratch = scratch
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.wrong: list[str] = []
        outcome, self._whole = self._open(self._files)
        assert outcome == "same", outcome

    def _open(self, files: dict[str, bytes]) -> tuple[str, Any]:
        for old in self._scratch.iterdir():
            if old.is_file():
                old.unlink()
        for name, data in files.items():
            (self._scratch / name).write_bytes(data)
        if self._at_rest:
            return self._look()
        try:
            engine = Engine(self._scratch / "checkpoints.db")
        except StoreError as error:
            return ("named" if "checkpoints.db" in str(error) else "wrong"), str(error)
        try:
            return "same", dump(engine._db)
        except UNREADABLE as error:
            return "wrong", str(error)
        finally:
            engine.close()

    def _look(self) -> tuple[str, Any]:
        """The same of those who only read."""
        try:
            store = Resting(self._scratch)
        except StoreError as error:
            return ("named" if "checkpoints.db" in str(error) else "wrong"), str(error)
        try:
            return "same", dump(store.db)
        except UNREADABLE as error:
            return "wrong", str(error)
        finally:
            store.close()

    def attempt(self, damage: Damage) -> Outcome:
        """What the next start makes of it, counted."""
        data = bytearray(self._files[damage.name])
        if damage.cut:
            del data[damage.offset :]
        else:
            data[damage.offset] ^= 1 << damage.bit
        found, what = self._open({**self._files, damage.name: bytes(data)})
        outcome: Outcome = "named" if found == "named" else "same" if what == self._whole else "wrong"
        self.outcomes[f"{damage.name} {'cut' if damage.cut else 'flipped'}", outcome] += 1
        if outcome == "wrong":
            self.wrong.append(f"{damage}: {str(what)[:200]}")
        return outcome


def mark(epoch: int, record: int) -> bytes:
    """The mark of a store as the seals hold it."""
    data = struct.pack(">QQ", epoch, record)
    return data + xxhash.xxh3_64_digest(data)


def scratch() -> str | None:
    """A folder in memory, if there is one: the sweep is bound by syncs otherwise."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
