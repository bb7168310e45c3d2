"""The shop: its project, as it is configured at a moment, and the files that were delivered to it.

``sales`` joins what is read with a reference and sets aside what it cannot use; ``totals`` keeps totals in its state
and halts at an error; ``report`` runs when it is asked to, with a parameter. Every row tells in its columns what it was
made of: its file's writing (``amount``), the reference (``reference``), the transform's configuration (``tag``), the
run's parameter (``rate``).
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import NamedTuple

import msgspec

from odibi_actors.batches.files import digest_file
from tests.system.harness import PROCFILE

PIPELINES = ("sales", "totals", "report")
SETS_ASIDE = ("sales", "report")
REFERRING = ("sales", "report")
WRITING = 1000
"""An amount is the number of its file's writing times this, plus the row's number."""
SHOPS = "abc"

_PROJECT = """\
project: shop
workers: {workers}
connections:
  landing:   {{type: local, path: data/landing}}
  reference: {{type: local, path: data/reference}}
  lake:      {{type: local, path: data/lake}}
  mart:      {{type: sqlite, path: data/mart.db}}
pipelines:
"""
_PIPELINE = """\
  - pipeline: {name}
    trigger: {trigger}
    on_error: {on_error}
    batch: {{max_files: {files}}}
    max_in_flight: {in_flight}
    retry: {{max_attempts: 2, backoff: fixed, initial: 20ms}}
    nodes:
      - name: rows
        read:
          {{connection: landing, path: {name}, format: csv, mode: file_watch, pattern: "*.csv", settle: {settle},
           schema: {{id: int64, shop: string, amount: int64}}}}
"""
_REFERRING = """\
      - {{name: prices, read: {{connection: reference, format: csv, mode: batch, pattern: "{pattern}"}}}}
      - name: priced
        inputs: [rows, prices]
        transform: {{function: "nodes.shop:priced", params: {{tag: {tag}, slow: {slow}}}}}
      - name: rated
        inputs: [priced]
        transform: {{sql: "select *, getvariable('rate')::bigint as rate from priced"}}
      - {{name: lake, inputs: [rated], write: {{connection: lake, path: {name}, format: parquet}}}}
"""
_REFERRING_TABLES = """\
      - {{name: mart, inputs: [rated], write: {{connection: mart, table: {name}}}}}
      - {{name: latest, inputs: [rated], write: {{connection: mart, table: {name}_latest, mode: upsert, keys: [id]}}}}
"""
_SUMMING = """\
      - {{name: summed, inputs: [rows], state: true, transform: {{function: "nodes.shop:summed"}}}}
      - name: checked
        inputs: [rows]
        transform: {{function: "nodes.shop:checked", params: {{tag: {tag}, slow: {slow}}}}}
      - {{name: lake, inputs: [checked], write: {{connection: lake, path: totals, format: parquet}}}}
      - name: whole
        inputs: [summed]
        write: {{connection: lake, path: totals_whole, format: parquet, mode: overwrite}}
"""
_SUMMING_TABLES = """\
      - {{name: mart, inputs: [summed], write: {{connection: mart, table: totals, mode: upsert, keys: [shop]}}}}
"""
_NODES = '''\
import time

import pandas


def checked(rows, tag, slow):
    """The rows, unless one of them is refused."""
    time.sleep(slow)
    if (rows["amount"] < 0).any():
        raise ValueError("a negative amount")
    return rows.assign(tag=tag)


def priced(rows, prices, tag, slow):
    """The rows, with the number of the reference."""
    return checked(rows, tag, slow).assign(reference=int(prices["number"].iloc[0]))


def summed(rows, state):
    """Rows and amount of each shop since the beginning."""
    fresh = rows.groupby("shop", as_index=False).agg(n=("id", "count"), amount=("amount", "sum"))
    if state is not None:
        fresh = pandas.concat([state, fresh]).groupby("shop", as_index=False).sum()
    return fresh, fresh
'''


class Settings(msgspec.Struct, frozen=True):
    """What the project file says at a moment, for each pipeline: ``tag`` is told in every row; ``slow``: seconds."""

    tag: int = 0
    slow: float = 0.0
    files: int = 2
    in_flight: int = 2
    settle: str = "20ms"
    pattern: str = "prices-*.csv"


class Writing(NamedTuple):
    """One writing of a file. ``bad``: "" (its rows are good), "refused" by a node, or "malformed"."""

    number: int
    rows: list[tuple[int, str, int]]
    bad: str


class Goods:
    """The project in ``folder``, and all that was ever written into its folders."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder, self._rng = folder, rng
        self.settings = {name: Settings(slow=rng.choice([0.0, 0.1, 0.4])) for name in PIPELINES}
        self.writings: dict[tuple[str, str], dict[int, Writing]] = {}
        """(pipeline, identity) -> ctime in ns -> what was written then, oldest first."""
        self.references: dict[str, int] = {}
        """Digest of a reference -> its number."""
        self.workers = 2
        self.tables = {name: rng.random() < 0.5 for name in PIPELINES}
        """Whether a pipeline writes into tables as well: then it cannot be taken back."""
        self._written = self._row = 0
        for name in PIPELINES:
            (folder / "data/landing" / name).mkdir(parents=True)
        (folder / "data/reference").mkdir()
        (folder / "nodes").mkdir()
        (folder / "nodes/shop.py").write_text(_NODES)
        (folder / "Procfile").write_text(PROCFILE.read_text())
        self.refer("prices-a.csv")
        self.refer("tariff-a.csv")
        self.configure()

    def configure(self) -> None:
        """Write the project file."""
        text = _PROJECT.format(workers=self.workers)
        for name in PIPELINES:
            given = msgspec.structs.asdict(self.settings[name]) | {
                "name": name,
                "trigger": "manual" if name == "report" else "data",
                "on_error": "dead_letter" if name in SETS_ASIDE else "halt",
            }
            parts = (_REFERRING, _REFERRING_TABLES) if name in REFERRING else (_SUMMING, _SUMMING_TABLES)
            text += (_PIPELINE + parts[0] + (parts[1] if self.tables[name] else "")).format(**given)
        fresh = self.folder / "odibi.yaml.new"
        fresh.write_text(text)
        fresh.rename(self.folder / "odibi.yaml")

    # --- files ----------------------------------------------------------------------------------------------------

    def deliver(self, pipeline: str, bad: str = "") -> str:
        """A new file; its identity."""
        name = f"f{len(self.writings) + 1:04}.csv"
        count = self._rng.choice([1, 3, 20, 300])
        rows = [(self._row + i, self._rng.choice(SHOPS)) for i in range(count)]
        self._row += count
        return self._write(pipeline, f"{pipeline}/{name}", rows, bad)

    def rewrite(self, pipeline: str, identity: str, bad: str = "") -> str:
        """The same rows with other amounts, in place of what is there."""
        rows = [row[:2] for row in self.newest(pipeline, identity).rows]
        return self._write(pipeline, identity, rows, bad)

    def newest(self, pipeline: str, identity: str) -> Writing:
        """What the file holds now."""
        return [*self.writings[pipeline, identity].values()][-1]

    def bad(self, pipeline: str) -> list[str]:
        """Files that are bad now."""
        return [i for p, i in self.writings if p == pipeline and self.newest(p, i).bad]

    def _write(self, pipeline: str, identity: str, rows: list[tuple[int, str]], bad: str) -> str:
        self._written += 1
        lines = [(key, shop, self._written * WRITING + i % WRITING) for i, (key, shop) in enumerate(rows)]
        text = "id,shop,amount\n" + "".join(f"{key},{shop},{amount}\n" for key, shop, amount in lines)
        if bad == "refused":
            text += f"{rows[-1][0]},a,-1\n"
        elif bad == "malformed":
            text += "1,a,what\n"
        path = self.folder / "data/landing" / identity
        former = path.stat() if path.exists() else None
        if former is not None and self._rng.random() < 0.5:
            # In place, and as if nothing had happened.
            path.write_text(text)
            if self._rng.random() < 0.5:
                os.utime(path, ns=(former.st_atime_ns, former.st_mtime_ns))
        else:
            partial = path.with_suffix(".part")
            partial.write_text(text)
            partial.rename(path)
        writing = Writing(self._written, lines, bad)
        self.writings.setdefault((pipeline, identity), {})[path.stat().st_ctime_ns] = writing
        return identity

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
