"""The book-keeper: what the shop's targets must hold, from its own account of the files and what iterations took up.

It shares no code with broker or store. The composition of iterations is theirs to choose; that each file is in one
place, and each target holds what was made of exactly these files, is not.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from fnmatch import fnmatch
from typing import Any, NamedTuple

import pyarrow.parquet

from odibi_actors.client import Client
from odibi_actors.sources.file_position import file_times
from tests.shop.goods import REFERRING, WRITING, Goods, Settings

Row = tuple[Any, ...]
LIVE = "live"
MOST = 1000
"""Iterations and letters that are looked at."""
SOME = 4
"""Differences of a kind that are told."""


class Iteration(NamedTuple):
    """One iteration as the store tells it."""

    number: int
    lane: str
    state: str
    version: int
    run: str
    abandoned: frozenset[str]
    files: dict[str, int]  # identity -> ctime in ns
    references: list[tuple[str, str]]  # (identity, digest)


class Books:
    """What the store says of one pipeline at a moment at which nothing is under way."""

    def __init__(self) -> None:
        self.iterations: list[Iteration] = []
        self.letters: dict[int, dict[str, Any]] = {}

    @classmethod
    def of(cls, client: Client, pipeline: str) -> Books:
        """Ask for it."""
        books = cls()
        rows = client.iterations(pipeline, limit=MOST)["items"][::-1]
        books.iterations += [cls._iteration(client, pipeline, row) for row in rows]
        for row in client.dead_letters(pipeline)["items"]:
            shown = client.dead_letter(row["id"])
            held = {position["identity"] for position in shown["positions"].get("rows", ())}
            books.letters[row["id"]] = {**row, "held": held}
        return books

    @staticmethod
    def _iteration(client: Client, pipeline: str, row: dict[str, Any]) -> Iteration:
        shown = client.iteration(pipeline, row["iteration"])
        return Iteration(
            shown["iteration"],
            shown["lane"],
            shown["state"],
            shown["version"],
            shown["run"],
            frozenset(name for name, sink in shown["sinks"].items() if sink["abandoned"]),
            {
                position["identity"]: file_times(bytes.fromhex(position["detail"])).ctime_ns
                for position in shown["positions"].get("rows", ())
            },
            [(one["identity"], one["digest"]) for one in shown["positions"].get("prices", ())],
        )


class Keeper:
    """Compares. ``rates``: run -> its parameter, as it was asked for; ``versions``: (pipeline, version) -> settings."""

    def __init__(self, goods: Goods) -> None:
        self.goods = goods
        self.rates: dict[str, int] = {}
        self.versions: dict[tuple[str, int], Settings] = {}
        self.replays: dict[tuple[str, int], int] = {}
        """(pipeline, iteration) that took a letter up -> the iteration that it was the letter of."""
        self.discarded: set[tuple[str, str]] = set()
        """(pipeline, identity) of what was in letters that were given up: the store keeps no letter of those."""

    def compare(self, client: Client, pipeline: str, ended: bool) -> list[str]:
        """What differs. ``ended``: every file must be committed or discarded, and nothing else."""
        return self.differences(pipeline, Books.of(client, pipeline), ended)

    def differences(self, pipeline: str, books: Books, ended: bool) -> list[str]:
        """The same of what is known."""
        return [*self._places(pipeline, books, ended), *self._targets(pipeline, books)]

    # --- where every file is --------------------------------------------------------------------------------------

    def _places(self, pipeline: str, books: Books, ended: bool) -> Iterator[str]:
        places: dict[str, list[str]] = {identity: [] for name, identity in self.goods.writings if name == pipeline}
        for one in books.iterations:
            if one.lane == LIVE and one.state in ("planned", "running", "prepared", "blocked", "failed", "committed"):
                for identity in one.files:
                    places.setdefault(identity, []).append(f"{one.state} {one.number}")
        for number, letter in books.letters.items():
            if letter["state"] == "open" and not letter["held"]:
                yield f"{pipeline}: letter {number} is open and holds no file"
            for identity in letter["held"] if letter["state"] == "open" else ():
                places.setdefault(identity, []).append(f"{letter['state']} letter {number}")
        for identity, found in sorted(places.items()):
            if (pipeline, identity) not in self.goods.writings:
                yield f"{pipeline}: {identity} is in {found}, and was never delivered"
            elif len(found) > 1:
                yield f"{pipeline}: {identity} is in {', '.join(found)}"
            elif ended and not found and (pipeline, identity) in self.discarded:
                continue
            elif ended and (not found or not found[0].startswith("committed")):
                yield f"{pipeline}: {identity} is in {', '.join(found) or 'no place'} at the end"

    # --- what the targets hold ------------------------------------------------------------------------------------

    def _targets(self, pipeline: str, books: Books) -> Iterator[str]:
        certain = [one for one in books.iterations if one.state == "committed"]
        perhaps = [one for one in books.iterations if one.state in ("prepared", "blocked")]
        for one in (*certain, *perhaps):
            yield from self._made_of(pipeline, one)
        tables = self.goods.tables[pipeline]
        for sink in ("lake", "mart") if tables and pipeline in REFERRING else ("lake",):
            wanted = self._rows(pipeline, books, [one for one in certain if sink not in one.abandoned])
            allowed = self._rows(pipeline, books, [one for one in perhaps if sink not in one.abandoned])
            yield from _differ(f"{pipeline} {sink}", wanted, allowed, Counter(self._found(pipeline, sink)))
        if perhaps:
            return
        if pipeline in REFERRING and tables:
            kept = [one for one in certain if "latest" not in one.abandoned]
            keys = Counter({key[:1]: 1 for key in self._rows(pipeline, books, kept)})
            yield from _differ(f"{pipeline} latest", keys, Counter(), Counter(self._found(pipeline, "latest")))
        elif pipeline not in REFERRING:
            yield from self._sums(books, certain)

    def _sums(self, books: Books, certain: list[Iteration]) -> Iterator[str]:
        for sink in ("whole", "mart") if self.goods.tables["totals"] else ("whole",):
            last = max((at for at, one in enumerate(certain) if sink not in one.abandoned), default=-1)
            if last < 0 and any(one.state == "rewound" for one in books.iterations):
                continue  # what is overwritten goes on to hold what it held until the next iteration is published
            sums: dict[str, list[int]] = {}
            for row in self._rows("totals", books, certain[: last + 1]).elements():
                sums.setdefault(row[1], []).append(row[2])
            wanted = Counter((shop, len(amounts), sum(amounts)) for shop, amounts in sums.items())
            found = Counter(self._found("totals", sink))
            if sink == "mart" and any(sink in one.abandoned for one in certain):
                continue  # shops of an abandoned part may lack
            yield from _differ(f"totals {sink}", wanted, Counter(), found)

    def _made_of(self, pipeline: str, one: Iteration) -> Iterator[str]:
        """What its files and references are is what its version asks for."""
        settings = self.versions.get((pipeline, one.version))
        for identity, digest in one.references:
            if digest not in self.goods.references:
                yield f"{pipeline} {one.number}: reference {identity} has a digest that nobody wrote"
            if settings is not None and not fnmatch(identity, settings.pattern):
                yield f"{pipeline} {one.number} of version {one.version} reads {identity}, not {settings.pattern}"
        for identity, ctime in one.files.items():
            if ctime not in self.goods.writings.get((pipeline, identity), {}):
                yield f"{pipeline} {one.number}: {identity} as of {ctime} was never written"

    def _rows(self, pipeline: str, books: Books, iterations: list[Iteration]) -> Counter[Row]:
        """What these iterations publish."""
        rows: Counter[Row] = Counter()
        for one in iterations:
            settings = self.versions.get((pipeline, one.version), Settings(tag=-1))
            more: Row = (settings.tag,)
            if pipeline in REFERRING:
                number = self.goods.references.get(one.references[0][1], 0) if one.references else 0
                more = (settings.tag, number, self._rate(pipeline, books, one))
            for identity, ctime in one.files.items():
                writing = self.goods.writings.get((pipeline, identity), {}).get(ctime)
                for row in writing.rows if writing is not None else ():
                    rows[(*row, *more)] += 1
        return rows

    def _rate(self, pipeline: str, books: Books, one: Iteration) -> int | None:
        """The parameter of the run that first planned it: of a replay that of its letter's iteration."""
        number = one.number
        while (pipeline, number) in self.replays:
            number = self.replays[pipeline, number]
        return next((self.rates.get(each.run) for each in books.iterations if each.number == number), None)

    def _found(self, pipeline: str, sink: str) -> Iterator[Row]:
        data = self.goods.folder / "data"
        columns = ["id", "shop", "amount", "tag"] + (["reference", "rate"] if pipeline in REFERRING else [])
        if sink in {"lake", "whole"}:
            names = columns if sink == "lake" else ["shop", "n", "amount"]
            pattern = f"{pipeline}/*.parquet" if sink == "lake" else f"{pipeline}_whole/current/*.parquet"
            for part in sorted((data / "lake").glob(pattern)):
                table = pyarrow.parquet.read_table(part, columns=names)
                yield from zip(*(column.to_pylist() for column in table.columns), strict=True)
            return
        wanted = "id" if sink == "latest" else ", ".join(columns if pipeline in REFERRING else ["shop", "n", "amount"])
        table_name = f"{pipeline}_latest" if sink == "latest" else pipeline
        with closing(sqlite3.connect(data / "mart.db")) as mart:
            if mart.execute("select 1 from sqlite_master where name = ?", (table_name,)).fetchone():
                yield from mart.execute(f"select {wanted} from {table_name}")


def _differ(what: str, wanted: Counter[Row], allowed: Counter[Row], found: Counter[Row]) -> Iterator[str]:
    less, more = wanted - found, found - wanted - allowed
    if less:
        yield f"{what} lacks {less.total()} rows, such as {_some(less)}"
    if more:
        yield f"{what} has {more.total()} rows too many, such as {_some(more)}"


def _some(rows: Counter[Row]) -> str:
    shown = [f"{row} (writing {row[2] // WRITING})" if len(row) > 3 else f"{row}" for row in [*rows][:SOME]]
    return "; ".join(shown)
