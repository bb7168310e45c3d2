"""The shop's folders and tables, its project as it is configured at a moment, and all that was delivered.

Every row tells in its columns what it was made of: its file's writing (``amount``), the reference (``reference``), the
transform's configuration (``tag``), the run's parameter (``rate``).
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any, NamedTuple

from odibi_actors.batches.files import digest_file
from tests.shop.project import LANDING, NODES, PIPELINES, TABLES, Form, Settings, project_file
from tests.shop.rates import Board
from tests.shop.stock import Stock
from tests.system.harness import PROCFILE

Row = tuple[Any, ...]
MANY = 4
"""Pipelines of a life."""
WRITING = 1000
"""An amount is the number of its file's writing times this, plus the row's number."""
SHOPS = "abc"
CHECKED = ("sales", "totals", "report")
"""Pipelines with a node that refuses negative amounts."""
_NUMBERS = dict.fromkeys(LANDING, "amount") | {"returns": "version"}
BOARD = "rates.csv"
"""What stands for the one thing that ``rates`` polls, among the files of all others."""


class Writing(NamedTuple):
    """One writing of a file. ``rows``: as tuples, those of ``wares`` of pairs (column, value); ``bad``: "" (its rows
    are good), "refused" by a node, or "malformed"."""

    number: int
    rows: list[Row]
    bad: str


def drawn(rng: random.Random) -> Form:
    """What a life consists of."""
    pipelines = rng.sample(PIPELINES, MANY)
    return Form(
        tuple(name for name in PIPELINES if name in pipelines),
        frozenset(name for name in (*TABLES, "totals") if rng.random() < 0.5),
        rng.choice(["file", "file", "query", "function"]),
    )


class Goods:
    """The project in ``folder``, and all that was ever written into its folders."""

    def __init__(self, folder: Path, rng: random.Random, form: Form) -> None:
        self.folder, self._rng, self.form = folder, rng, form
        every = form.intervals()[0]
        self.settings = {name: Settings(slow=rng.choice([0.0, 0.1, 0.4]), every=every) for name in form.pipelines}
        self.writings: dict[tuple[str, str], dict[int, Writing]] = {}
        """(pipeline, identity) -> ctime in ns -> what was written then, oldest first."""
        self.references: dict[str, int] = {}
        """Digest of a reference -> its number."""
        self._written = self._row = 0
        for name in LANDING:
            (folder / "data/landing" / name).mkdir(parents=True)
        (folder / "data/reference").mkdir()
        (folder / "nodes").mkdir()
        (folder / "nodes/shop.py").write_text(NODES)
        (folder / "Procfile").write_text(PROCFILE.read_text())
        self.board = Board(folder, rng, form.polled)
        self.stock = Stock(folder, rng)
        self.refer("prices-a.csv")
        self.refer("tariff-a.csv")
        self.configure()

    @property
    def pipelines(self) -> tuple[str, ...]:
        """Those of this life."""
        return self.form.pipelines

    def text(self) -> str:
        """The project file, as the settings want it."""
        return project_file(self.form, self.settings, workers=2)

    def configure(self) -> None:
        """Write the project file."""
        fresh = self.folder / "odibi.yaml.new"
        fresh.write_text(self.text())
        fresh.rename(self.folder / "odibi.yaml")

    # --- files ----------------------------------------------------------------------------------------------------

    def deliver(self, pipeline: str, bad: str = "") -> str:
        """A new file; its identity. Of ``rates``: another writing of the one thing that is polled."""
        if pipeline == "rates":
            return self.board.replace(bad)
        name = f"f{len(self.writings) + 1:04}.csv"
        count = self._rng.choice([1, 3, 20, 300])
        keys = [*range(self._row, self._row + count)]
        self._row += count
        if pipeline == "returns":
            self.stock.put(key for key in keys if self._rng.random() < 0.9)
        return self._write(pipeline, f"{pipeline}/{name}", keys, bad)

    def rewrite(self, pipeline: str, identity: str, bad: str = "") -> str:
        """The same keys with other values, in place of what is there."""
        if pipeline == "rates":
            return self.board.replace(bad)
        return self._write(pipeline, identity, [_key(row) for row in self.newest(pipeline, identity).rows], bad)

    def newest(self, pipeline: str, identity: str) -> Writing:
        """What the file holds now."""
        return [*self.writings[pipeline, identity].values()][-1]

    def files(self, pipeline: str) -> list[str]:
        """All that were ever delivered."""
        return [BOARD] if pipeline == "rates" else [i for p, i in self.writings if p == pipeline]

    def bad(self, pipeline: str) -> list[str]:
        """Files that are bad now."""
        if pipeline == "rates":
            return [BOARD] if self.board.bad else []
        return [i for i in self.files(pipeline) if self.newest(pipeline, i).bad]

    def _write(self, pipeline: str, identity: str, keys: list[int], bad: str) -> str:
        self._written += 1
        make = {"returns": self._returns, "wares": self._wares}.get(pipeline, self._orders)
        columns, rows = make(keys)
        told = [columns, *rows]
        if bad:
            wrong = [*rows[-1]]
            wrong[columns.index(_NUMBERS[pipeline])] = -1 if bad == "refused" and pipeline in CHECKED else "what"
            told.append(wrong)
        text = "".join(",".join(map(str, row)) + "\n" for row in told)
        self._place(self.folder / "data/landing" / identity, text)
        kept = [tuple(zip(columns, row, strict=True)) for row in rows] if pipeline == "wares" else rows
        ctime = (self.folder / "data/landing" / identity).stat().st_ctime_ns
        self.writings.setdefault((pipeline, identity), {})[ctime] = Writing(self._written, kept, bad)
        return identity

    def _orders(self, keys: list[int]) -> tuple[list[str], list[Row]]:
        amount = self._written * WRITING
        return ["id", "shop", "amount"], [
            (key, self._rng.choice(SHOPS), amount + i % WRITING) for i, key in enumerate(keys)
        ]

    def _returns(self, keys: list[int]) -> tuple[list[str], list[Row]]:
        return ["id", "version"], [(key, self._rng.randint(1, 4)) for key in keys]

    def _wares(self, keys: list[int]) -> tuple[list[str], list[Row]]:
        """Columns come with the writings, whole numbers and texts, and lack in some."""
        there = [number for number in range(1, 2 + self._written // 8) if self._rng.random() < 0.6]
        self._rng.shuffle(there)
        values = [self._written if number % 2 else f"w{self._written}" for number in there]
        amount = self._written * WRITING
        rows = [(key, amount + i % WRITING, *values) for i, key in enumerate(keys)]
        return ["id", "amount", *(f"c{number}" for number in there)], rows

    def _place(self, path: Path, content: str) -> None:
        former = path.stat() if path.exists() else None
        if former is not None and self._rng.random() < 0.5:
            # In place, and as if nothing had happened.
            path.write_text(content)
            if self._rng.random() < 0.5:
                os.utime(path, ns=(former.st_atime_ns, former.st_mtime_ns))
        else:
            partial = path.with_suffix(".part")
            partial.write_text(content)
            partial.rename(path)

    def refer(self, name: str) -> None:
        """Another reference under that name; at times of the same size and time as the one before."""
        path = self.folder / "data/reference" / name
        number = len(self.references) + 1
        former = path.stat() if path.exists() else None
        partial = path.with_suffix(".part")
        partial.write_text(f"number\n{number:06}\n")
        self.references[digest_file(partial)[0]] = number
        if former is not None and self._rng.random() < 0.5:
            os.utime(partial, ns=(former.st_atime_ns, former.st_mtime_ns))
        partial.rename(path)


def _key(row: Row) -> int:
    first = row[0]
    return int(first[1] if isinstance(first, tuple) else first)
