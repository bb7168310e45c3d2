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
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet

from odibi_actors.client import Client
from odibi_actors.sources.file_position import file_times
from tests.shop.goods import WRITING, Goods, Row
from tests.shop.project import REFERRING, Settings
from tests.shop.rates import Found, Tick

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
    files: dict[str, int]  # identity -> ctime in ns; of ticks 0
    references: list[tuple[str, str]]  # (identity, digest)


class Books:
    """What the store says of one pipeline at a moment at which nothing is under way."""

    def __init__(self) -> None:
        self.iterations: list[Iteration] = []
        self.letters: dict[int, dict[str, Any]] = {}
        self.ticks: dict[int, Tick] = {}

    @classmethod
    def of(cls, client: Client, pipeline: str, goods: Goods) -> Books:
        """Ask for it."""
        books = cls()
        books.ticks = goods.board.ticks() if pipeline == "rates" else {}
        rows = client.iterations(pipeline, limit=MOST)["items"][::-1]
        books.iterations += [cls._iteration(client, pipeline, row) for row in rows]
        for row in client.dead_letters(pipeline)["items"]:
            shown = client.dead_letter(row["id"])
            books.letters[row["id"]] = {**row, "held": {*held(pipeline, shown)}}
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
            held(pipeline, shown),
            [(one["identity"], one["digest"]) for one in shown["positions"].get("prices", ())],
        )


def held(pipeline: str, shown: dict[str, Any]) -> dict[str, int]:
    """What an iteration or a letter has of its files, each with its ctime in ns; of ticks each by its number, and 0."""
    positions = shown["positions"].get("rows", ())
    if pipeline != "rates":
        return {one["identity"]: file_times(bytes.fromhex(one["detail"])).ctime_ns for one in positions}
    ranges = [one["identity"].rpartition(":")[2].partition("-") for one in positions]
    return {f"tick {number}": 0 for first, _, last in ranges for number in range(int(first), int(last or first) + 1)}


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
        self._found = Found(goods.board)

    def compare(self, client: Client, pipeline: str, ended: bool) -> list[str]:
        """What differs. ``ended``: every file must be committed or discarded, and nothing else."""
        return self.differences(pipeline, Books.of(client, pipeline, self.goods), ended)

    def differences(self, pipeline: str, books: Books, ended: bool) -> list[str]:
        """The same of what is known."""
        found = [*self._places(pipeline, books, ended), *self._targets(pipeline, books)]
        if ended and pipeline == "rates" and self._found.newest() < self.goods.board.newest:
            found.append(f"rates: writing {self.goods.board.newest} was not polled at the end")
        return found

    # --- where every file is --------------------------------------------------------------------------------------

    def _places(self, pipeline: str, books: Books, ended: bool) -> Iterator[str]:
        known = {f"tick {n}" for n in books.ticks} if pipeline == "rates" else {*self.goods.files(pipeline)}
        places: dict[str, list[str]] = {identity: [] for identity in known}
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
            if identity not in known and pipeline != "rates":
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
        if pipeline == "rates":
            yield from self._polled(books, certain, perhaps)
            return
        tables = pipeline in self.goods.form.tables
        for sink in ("lake", "mart") if tables and pipeline != "totals" else ("lake",):
            wanted = self._rows(pipeline, books, [one for one in certain if sink not in one.abandoned])
            allowed = self._rows(pipeline, books, [one for one in perhaps if sink not in one.abandoned])
            yield from _differ(f"{pipeline} {sink}", wanted, allowed, Counter(self._there(pipeline, sink)))
        if pipeline == "returns":
            yield from self._deleted(books)
        elif perhaps:
            return
        elif pipeline in REFERRING and tables:
            kept = [one for one in certain if "latest" not in one.abandoned]
            keys = Counter({key[:1]: 1 for key in self._rows(pipeline, books, kept)})
            yield from _differ(f"{pipeline} latest", keys, Counter(), Counter(self._there(pipeline, "latest")))
        elif pipeline == "totals":
            yield from self._sums(books, certain)

    def _sums(self, books: Books, certain: list[Iteration]) -> Iterator[str]:
        for sink in ("whole", "mart") if "totals" in self.goods.form.tables else ("whole",):
            last = max((at for at, one in enumerate(certain) if sink not in one.abandoned), default=-1)
            if last < 0 and any(one.state == "rewound" for one in books.iterations):
                continue  # what is overwritten goes on to hold what it held until the next iteration is published
            sums: dict[str, list[int]] = {}
            for row in self._rows("totals", books, certain[: last + 1]).elements():
                sums.setdefault(row[1], []).append(row[2])
            wanted = Counter((shop, len(amounts), sum(amounts)) for shop, amounts in sums.items())
            found = Counter(self._there("totals", sink))
            if sink == "mart" and any(sink in one.abandoned for one in certain):
                continue  # shops of an abandoned part may lack
            yield from _differ(f"totals {sink}", wanted, Counter(), found)

    def _polled(self, books: Books, certain: list[Iteration], perhaps: list[Iteration]) -> Iterator[str]:
        """Each part is made of the ticks of its iteration; parts that came since the store was asked are left out."""
        parts = {
            int(part.name.split("-")[1]): part
            for part in (self.goods.folder / "data/lake/rates").glob("part-*.parquet")
        }
        newest = max((one.number for one in books.iterations), default=0)
        for one in certain:
            part = parts.pop(one.number, None)
            if "lake" in one.abandoned:
                continue
            if part is None:
                yield f"rates: iteration {one.number} is committed, and has no part"
                continue
            took = [int(name.removeprefix("tick ")) for name in one.files]
            tag = self.versions.get(("rates", one.version), Settings(tag=-1)).tag
            yield from self._found.differences(books.ticks, took, part, tag)
        for number in sorted({*parts} - {one.number for one in perhaps}):
            if number <= newest:
                yield f"rates has {parts[number].name}, whose iteration is not committed"

    def _deleted(self, books: Books) -> Iterator[str]:
        """A rewind brings nothing back."""
        certain: dict[int, int] = {}
        perhaps: dict[int, int] = {}
        for one in books.iterations:
            if one.state in ("committed", "rewound", "prepared", "blocked"):
                sure = one.state in ("committed", "rewound") and "mart" not in one.abandoned
                versions = certain if sure else perhaps
                for key, version, _ in self._rows("returns", books, [one]):
                    versions[key] = max(version, versions.get(key, 0))
        yield from self.goods.stock.differences(certain, perhaps)

    def _made_of(self, pipeline: str, one: Iteration) -> Iterator[str]:
        """What its files and references are is what its version asks for."""
        settings = self.versions.get((pipeline, one.version))
        for identity, digest in one.references:
            if digest not in self.goods.references:
                yield f"{pipeline} {one.number}: reference {identity} has a digest that nobody wrote"
            if settings is not None and not fnmatch(identity, settings.pattern):
                yield f"{pipeline} {one.number} of version {one.version} reads {identity}, not {settings.pattern}"
        for identity, ctime in one.files.items() if pipeline != "rates" else ():
            if ctime not in self.goods.writings.get((pipeline, identity), {}):
                yield f"{pipeline} {one.number}: {identity} as of {ctime} was never written"

    def _rows(self, pipeline: str, books: Books, iterations: list[Iteration]) -> Counter[Row]:
        """What these iterations publish."""
        rows: Counter[Row] = Counter()
        for one in iterations:
            settings = self.versions.get((pipeline, one.version), Settings(tag=-1))
            more: Row = (settings.tag,)
            if pipeline == "wares":
                more = (("tag", settings.tag),)
            elif pipeline in REFERRING:
                number = self.goods.references.get(one.references[0][1], 0) if one.references else 0
                more = (settings.tag, number, self._rate(pipeline, books, one))
            for identity, ctime in one.files.items():
                writing = self.goods.writings.get((pipeline, identity), {}).get(ctime)
                for row in writing.rows if writing is not None else ():
                    whole = (*row, *more)
                    rows[tuple(sorted(whole)) if pipeline == "wares" else whole] += 1
        return rows

    def _rate(self, pipeline: str, books: Books, one: Iteration) -> int | None:
        """The parameter of the run that first planned it: of a replay that of its letter's iteration."""
        number = one.number
        while (pipeline, number) in self.replays:
            number = self.replays[pipeline, number]
        return next((self.rates.get(each.run) for each in books.iterations if each.number == number), None)

    def _there(self, pipeline: str, sink: str) -> Iterator[Row]:
        """The rows of a target: those of ``wares`` as pairs of a column and its value, without those that are null."""
        names = {"returns": ["id", "version", "tag"], "wares": []}.get(pipeline, ["id", "shop", "amount", "tag"])
        if sink in ("lake", "whole"):
            lake = self.goods.folder / "data/lake"
            parts = lake.glob(f"{pipeline}/*.parquet" if sink == "lake" else f"{pipeline}_whole/current/*.parquet")
            found = _of_parts(sorted(parts))
        else:
            found = _of_table(
                self.goods.folder / "data/mart.db", f"{pipeline}_latest" if sink == "latest" else pipeline
            )
        if pipeline in REFERRING:
            names = ["id"] if sink == "latest" else [*names, "reference", "rate"]
        elif pipeline == "totals" and sink != "lake":
            names = ["shop", "n", "amount"]
        for row in found:
            if names:
                yield tuple(row[name] for name in names)
            else:
                yield tuple(sorted((name, value) for name, value in row.items() if value is not None))


def _of_parts(parts: list[Path]) -> Iterator[dict[str, Any]]:
    for part in parts:
        yield from pyarrow.parquet.read_table(part).to_pylist()


def _of_table(path: Path, table: str) -> Iterator[dict[str, Any]]:
    with closing(sqlite3.connect(path)) as mart:
        mart.row_factory = sqlite3.Row
        if mart.execute("select 1 from sqlite_master where name = ?", (table,)).fetchone():
            yield from map(dict, mart.execute(f'select * from "{table}"'))


def _differ(what: str, wanted: Counter[Row], allowed: Counter[Row], found: Counter[Row]) -> Iterator[str]:
    less, more = wanted - found, found - wanted - allowed
    if less:
        yield f"{what} lacks {less.total()} rows, such as {_some(less)}"
    if more:
        yield f"{what} has {more.total()} rows too many, such as {_some(more)}"


def _some(rows: Counter[Row]) -> str:
    return "; ".join(f"{row}{_writing(row)}" for row in [*rows][:SOME])


def _writing(row: Row) -> str:
    return f" (writing {row[2] // WRITING})" if len(row) > 3 and isinstance(row[2], int) else ""
