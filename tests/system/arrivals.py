"""What arrives during a soak, and the answer: four pipelines over flights; every row follows from a file's number.

``flights`` joins two sources with a third into parquet files and a SQLite table; ``days`` upserts totals; ``running``
keeps running totals in its state, upserts them into one table, and overwrites another and a file with them; ``checked``
gets files that its node refuses, or that cannot be read, and must set exactly those aside.
"""

from __future__ import annotations

import os
import random
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet

from tests.system.harness import PROCFILE

Row = tuple[Any, ...]

CARRIERS = {"AA": "American", "B6": "JetBlue", "DL": "Delta", "UA": "United", "WN": "Southwest"}
PER_FILE = 1000
"""Numbers of rows that a file may have; a row's id is the file's number times this, plus its place."""
REFUSED_EVERY, MALFORMED_EVERY, CANCELLED_EVERY = 11, 17, 3
HEADER = "id,day,carrier,delay\n"
COLUMNS = "{id: int64, day: int64, carrier: string, delay: int64}"
CSV = f'format: csv, mode: file_watch, pattern: "*.csv", schema: {COLUMNS}'

PROJECT = f"""\
project: chaos
workers: 2
connections:
  landing:   {{type: local, path: data/landing}}
  reference: {{type: local, path: data/reference}}
  lake:      {{type: local, path: data/lake}}
  mart:      {{type: sqlite, path: data/mart.db}}
pipelines:
  - pipeline: flights
    batch: {{max_files: 4}}
    retry: {{max_attempts: 20, backoff: fixed, initial: 100ms}}
    nodes:
      - name: departed
        read: {{connection: landing, path: departed, {CSV}}}
      - name: cancelled
        read: {{connection: landing, path: cancelled, {CSV}}}
      - name: carriers
        read: {{connection: reference, format: csv, mode: batch, pattern: carriers.csv}}
      - {{name: planned, inputs: [departed, cancelled], transform: {{sql: "from departed union all from cancelled"}}}}
      - {{name: named, inputs: [planned, carriers], transform: {{function: "nodes.flights:named"}}}}
      - {{name: lake_flights, inputs: [named], write: {{connection: lake, path: flights, format: parquet}}}}
      - {{name: mart_flights, inputs: [named], write: {{connection: mart, table: flights}}}}
  - pipeline: days
    batch: {{max_files: 3}}
    retry: {{max_attempts: 20, backoff: fixed, initial: 100ms}}
    nodes:
      - name: rows
        read: {{connection: landing, path: days, {CSV}}}
      - name: totals
        inputs: [rows]
        transform: {{sql: "select day, carrier, count(*) n, sum(delay)::bigint delay from rows group by all"}}
      - name: mart_days
        inputs: [totals]
        write: {{connection: mart, table: days, mode: upsert, keys: [day, carrier]}}
  - pipeline: running
    batch: {{max_files: 3}}
    retry: {{max_attempts: 20, backoff: fixed, initial: 100ms}}
    nodes:
      - name: rows
        read: {{connection: landing, path: running, {CSV}}}
      - {{name: totals, inputs: [rows], state: true, transform: {{function: "nodes.flights:totals"}}}}
      - name: mart_running
        inputs: [totals]
        write: {{connection: mart, table: running, mode: upsert, keys: [carrier]}}
      - name: mart_whole
        inputs: [totals]
        write: {{connection: mart, table: whole, mode: overwrite}}
      - name: lake_whole
        inputs: [totals]
        write: {{connection: lake, path: whole, format: parquet, mode: overwrite}}
  - pipeline: checked
    on_error: dead_letter
    batch: {{max_files: 1}}
    retry: {{max_attempts: 6, backoff: fixed, initial: 50ms}}
    nodes:
      - name: rows
        read: {{connection: landing, path: checked, {CSV}}}
      - {{name: good, inputs: [rows], transform: {{function: "nodes.flights:good"}}}}
      - {{name: lake_checked, inputs: [good], write: {{connection: lake, path: checked, format: parquet}}}}
"""
PIPELINES = ("flights", "days", "running", "checked")
KINDS = ("departed", "cancelled", "days", "running", "checked")
NODES = '''\
import pandas


def named(planned, carriers):
    """Flights with the names of their carriers."""
    return planned.merge(carriers, on="carrier", how="left")


def totals(rows, state):
    """Flights and delay by carrier, since the beginning."""
    fresh = rows.groupby("carrier", as_index=False).agg(n=("id", "count"), delay=("delay", "sum"))
    if state is not None:
        fresh = pandas.concat([state, fresh]).groupby("carrier", as_index=False).sum()
    return fresh, fresh


def good(rows):
    """The rows, unless one of them has no day."""
    if (rows["day"] < 0).any():
        raise ValueError("a flight without a day")
    return rows
'''


def rows(kind: str, number: int) -> list[Row]:
    """The rows of that file: from a few, whose batches travel in messages, to those that need the spool. A day of
    ``days`` is in one file only."""
    rng = random.Random(f"{kind} {number}")
    day = -1 if kind == "checked" and number % REFUSED_EVERY == 0 else number
    first = number * PER_FILE + (PER_FILE // 2 if kind == "cancelled" else 0)
    count = rng.choice((1, 20, 60, 400))
    return [(first + i, day, rng.choice([*CARRIERS]), rng.randint(-20, 300)) for i in range(count)]


def name_of(number: int) -> str:
    """The file's name."""
    return f"flights-{number:06}.csv"


class Arrivals:
    """The project in ``folder``, and what has been delivered to it."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder, self._rng = folder, rng
        self.delivered: dict[str, int] = {}
        (folder / "nodes").mkdir(parents=True)
        for kind in KINDS:
            (folder / "data/landing" / kind).mkdir(parents=True)
        (folder / "data/reference").mkdir()
        listed = "".join(f"{code},{name}\n" for code, name in CARRIERS.items())
        (folder / "data/reference/carriers.csv").write_text("carrier,name\n" + listed)
        (folder / "odibi.yaml").write_text(PROJECT)
        (folder / "nodes/flights.py").write_text(NODES)
        (folder / "Procfile").write_text(PROCFILE.read_text())

    @property
    def count(self) -> int:
        """How often something was delivered."""
        return self.delivered.get("departed", 0)

    def deliver(self) -> int:
        """The next file of every kind; returns the number of that of ``departed``."""
        number = self.count + 1
        for kind in KINDS:
            if kind != "cancelled":
                self._write(kind, number)
        if (
            number % CANCELLED_EVERY == 1
        ):  # the first at once: a pipeline begins when each of its sources has had a file
            self._write("cancelled", number // CANCELLED_EVERY + 1)
        return number

    def _write(self, kind: str, number: int) -> None:
        self.delivered[kind] = number
        text = HEADER + "".join(f"{','.join(map(str, row))}\n" for row in rows(kind, number))
        if kind == "checked" and number % MALFORMED_EVERY == 0:
            text += "what,is,this,line\n"
        path = self.folder / "data/landing" / kind / name_of(number)
        partial = path.with_suffix(".part")
        match self._rng.choice(("rename", "rename", "link", "in place")):
            case "rename":
                partial.write_text(text)
                partial.rename(path)
            case "link":
                partial.write_text(text)
                os.link(partial, path)
                partial.unlink()
            case _:
                with path.open("w") as file:
                    file.write(text[: len(text) // 2])
                    file.flush()
                    file.write(text[len(text) // 2 :])

    # --- the answer -----------------------------------------------------------------------------------------------

    def aside(self) -> list[str]:
        """Files of ``checked`` that must be dead letters."""
        numbers = range(1, self.delivered.get("checked", 0) + 1)
        return [name_of(n) for n in numbers if n % REFUSED_EVERY == 0 or n % MALFORMED_EVERY == 0]

    def expected(self, output: str) -> Iterator[Row]:
        """The rows that must be there."""
        match output:
            case "lake flights" | "mart flights":
                for kind in ("departed", "cancelled"):
                    for row in self._rows(kind):
                        yield (*row, CARRIERS[row[2]])
            case "mart days":
                yield from totals(((day, carrier), delay) for _, day, carrier, delay in self._rows("days"))
            case "mart running" | "mart whole" | "lake whole":
                yield from totals(((carrier,), delay) for _, _, carrier, delay in self._rows("running"))
            case _:
                aside = {int(name.split("-")[1].removesuffix(".csv")) for name in self.aside()}
                yield from (row for row in self._rows("checked") if row[0] // PER_FILE not in aside)

    def _rows(self, kind: str) -> Iterator[Row]:
        for number in range(1, self.delivered.get(kind, 0) + 1):
            yield from rows(kind, number)

    def found(self, output: str) -> Iterator[Row]:
        """The rows that are there."""
        place, name = output.split()
        if place == "lake":
            columns = ["id", "day", "carrier", "delay", *(["name"] if name == "flights" else [])]
            columns = ["carrier", "n", "delay"] if name == "whole" else columns
            for part in sorted(
                (self.folder / "data/lake" / name).glob("current/*.parquet" if name == "whole" else "*.parquet")
            ):
                table = pyarrow.parquet.read_table(part, columns=columns)
                yield from zip(*(column.to_pylist() for column in table.columns), strict=True)
            return
        columns_of = {
            "flights": "id, day, carrier, delay, name",
            "days": "day, carrier, n, delay",
            "running": "carrier, n, delay",
            "whole": "carrier, n, delay",
        }
        with closing(sqlite3.connect(self.folder / "data/mart.db")) as mart:
            yield from mart.execute(f"select {columns_of[name]} from {name}")


OUTPUTS = ("lake flights", "mart flights", "mart days", "mart running", "mart whole", "lake whole", "lake checked")


def totals(delays: Iterable[tuple[Row, int]]) -> Iterator[Row]:
    """(key, number of delays, their sum)."""
    found: dict[Row, list[int]] = {}
    for key, delay in delays:
        found.setdefault(key, []).append(delay)
    return ((*key, len(each), sum(each)) for key, each in found.items())


class Verdict(NamedTuple):
    """What one output holds, in rows; ``examples`` of what is lost, doubled or wrong."""

    output: str
    expected: int
    lost: int
    doubled: int
    wrong: int
    examples: list[Row]

    @property
    def holds(self) -> bool:
        """Whether it is what it should be."""
        return not (self.lost or self.doubled or self.wrong)


def compare(output: str, expected: Iterable[Row], found: Iterable[Row]) -> Verdict:
    """Count every row of both."""
    wanted, there = Counter(expected), Counter(found)
    lost, surplus = wanted - there, there - wanted
    doubled = Counter({row: count for row, count in surplus.items() if row in wanted})
    wrong = surplus - doubled
    examples = [*lost, *doubled, *wrong][:10]
    return Verdict(output, wanted.total(), lost.total(), doubled.total(), wrong.total(), examples)


def verdicts(arrivals: Arrivals, letters: Iterable[str]) -> list[Verdict]:
    """Every output, and the dead letters (names of their files), against the answer."""
    found = [compare(output, arrivals.expected(output), arrivals.found(output)) for output in OUTPUTS]
    return [*found, compare("dead letters", ((name,) for name in arrivals.aside()), ((name,) for name in letters))]
