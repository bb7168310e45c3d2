"""How far the partitions of ordered sources were read: one place for each, in each lane, and the ranges behind it.

A set of identities does not protect ranges: ``100-200`` and ``150-250`` do not collide. So a plan of an ordered source
moves a place: its first range begins there, each further one where the one before ends, and nothing else is planned. A
range whose position became a dead letter is a **hole**: it stays taken when its iteration is void, since the letter
holds it; a place that comes back below it stops before it, and goes on behind it.

Places are bytes whose order is the order of what is read; what they say only the source's kind knows. Called inside the
transaction of the record at hand.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable

from odibi_actors.checkpoint.tables import Contradiction
from odibi_actors.model import Range, Reached

Execute = Callable[..., sqlite3.Cursor]

_PLACE = "pipeline = ? AND lane = ? AND source = ? AND partition = ?"


def take(execute: Execute, key: tuple[str, str, str], iteration: int, ranges: Iterable[Range]) -> None:
    """An iteration reads these ranges of (pipeline, lane, source). Raises Contradiction when one does not begin where
    its partition's place is, or takes what is taken."""
    for one in ranges:
        at = (*key, one.partition)
        what = f"pipeline {key[0]}, lane {key[1]}: {one.lower.hex()}-{one.upper.hex()} of {key[2]} {one.partition!r}"
        place = execute(f"SELECT place FROM places WHERE {_PLACE}", at).fetchone()
        if one.lower >= one.upper:
            raise Contradiction(f"{what} is planned for iteration {iteration}, and is no range")
        if place is not None and place[0] != one.lower:
            raise Contradiction(f"{what} is planned for iteration {iteration}, but its place is {place[0].hex()}")
        taken = execute(
            f"SELECT iteration FROM ranges WHERE {_PLACE} AND lower >= ? AND lower < ? ORDER BY lower LIMIT 1",
            (*at, one.lower, one.upper),
        ).fetchone()
        if taken is not None:
            raise Contradiction(f"{what} is planned for iteration {iteration}, but iteration {taken[0]} has some of it")
        execute("INSERT INTO ranges VALUES (?, ?, ?, ?, ?, ?, ?, 0)", (*at, one.lower, one.upper, iteration))
        _move(execute, at, one.upper)


def take_up(execute: Execute, key: tuple[str, str, str], iteration: int, ranges: Iterable[Range]) -> None:
    """An iteration takes up these ranges from dead letters. Raises Contradiction for one that no letter holds."""
    for one in ranges:
        found = execute(
            f"SELECT upper, hole FROM ranges WHERE {_PLACE} AND lower = ?", (*key, one.partition, one.lower)
        ).fetchone()
        if found != (one.upper, 1):
            raise Contradiction(
                f"pipeline {key[0]}, lane {key[1]}: {one.lower.hex()}-{one.upper.hex()} of {key[2]} {one.partition!r} "
                f"is taken up by iteration {iteration}, but lies in no dead letter"
            )


def _move(execute: Execute, at: tuple[str, str, str, str], place: bytes) -> None:
    """The place is there, or behind the holes that begin there."""
    upper = f"SELECT upper FROM ranges WHERE {_PLACE} AND lower = ?"
    while (hole := execute(upper, (*at, place)).fetchone()) is not None:
        place = hole[0]
    execute("INSERT OR REPLACE INTO places VALUES (?, ?, ?, ?, ?)", (*at, place))


def set_aside(execute: Execute, pipeline: str, iteration: int, gone: Iterable[tuple[str, Range]] | None = None) -> None:
    """These (source, range) of an iteration, or all of it, lie in dead letters from now on."""
    if gone is None:
        execute("UPDATE ranges SET hole = 1 WHERE pipeline = ? AND iteration = ?", (pipeline, iteration))
        return
    for source, one in gone:
        execute(
            "UPDATE ranges SET hole = 1 WHERE pipeline = ? AND source = ? AND partition = ? AND lower = ?"
            " AND iteration = ?",
            (pipeline, source, one.partition, one.lower, iteration),
        )


def release(execute: Execute, pipeline: str, iterations: Iterable[int]) -> None:
    """These iterations are void: each place goes back to the smallest beginning of what they had; holes stay. Raises
    Contradiction when another iteration has read beyond that."""
    _back(execute, pipeline, [(number, "hole = 0") for number in iterations], strict=True)


def take_back(execute: Execute, pipeline: str, to: int, last: int) -> None:
    """All after iteration ``to`` up to ``last`` is taken back, holes too: their letters are no more."""
    numbers = execute(
        "SELECT DISTINCT iteration FROM ranges WHERE pipeline = ? AND iteration > ? AND iteration <= ?",
        (pipeline, to, last),
    ).fetchall()
    _back(execute, pipeline, [(number, "1") for (number,) in numbers], strict=False)


def _back(execute: Execute, pipeline: str, which: list[tuple[int, str]], *, strict: bool) -> None:
    lowest: dict[tuple[str, str, str, str], bytes] = {}
    for iteration, where in which:
        rows = execute(
            f"SELECT lane, source, partition, lower FROM ranges WHERE pipeline = ? AND iteration = ? AND {where}",
            (pipeline, iteration),
        ).fetchall()
        for lane, source, partition, lower in rows:
            at = (pipeline, lane, source, partition)
            lowest[at] = min(lower, lowest.get(at, lower))
        execute(f"DELETE FROM ranges WHERE pipeline = ? AND iteration = ? AND {where}", (pipeline, iteration))
    for at, lower in lowest.items():
        beyond = execute(
            f"SELECT iteration FROM ranges WHERE {_PLACE} AND lower > ? AND hole = 0 LIMIT 1", (*at, lower)
        ).fetchone()
        if strict and beyond is not None:
            raise Contradiction(
                f"pipeline {pipeline}: iteration {beyond[0]} has read on in {at[2]} {at[3]!r} behind what is void"
            )
        (place,) = execute(f"SELECT place FROM places WHERE {_PLACE}", at).fetchone()
        _move(execute, at, min(place, lower))


def reached(
    execute: Execute, pipeline: str, lane: str, source: str, cursor: str = "", limit: int = 1000
) -> tuple[list[Reached], str]:
    """How far the partitions after ``cursor`` were read, in their order, and the next cursor ("" after the last)."""
    rows = execute(
        "SELECT partition, place FROM places WHERE pipeline = ? AND lane = ? AND source = ? AND partition > ?"
        " ORDER BY partition LIMIT ?",
        (pipeline, lane, source, cursor, limit),
    ).fetchall()
    found = []
    for partition, place in rows:
        holes = execute(
            f"SELECT lower, upper FROM ranges WHERE {_PLACE} AND lower > ? ORDER BY lower",
            (pipeline, lane, source, partition, place),
        ).fetchall()
        found.append(Reached(partition, place, holes))
    return found, rows[-1][0] if len(rows) == limit else ""


def taken(
    execute: Execute, pipeline: str, lane: str, source: str, through: int, cursor: str = "", limit: int = 1000
) -> tuple[list[Reached], str]:
    """What a lane had taken by iteration ``through`` of the partitions after ``cursor``, and not set aside; what was
    set aside since is left out as well. And the next cursor."""
    partitions = execute(
        "SELECT DISTINCT partition FROM ranges WHERE pipeline = ? AND lane = ? AND source = ? AND partition > ?"
        " ORDER BY partition LIMIT ?",
        (pipeline, lane, source, cursor, limit),
    ).fetchall()
    found = []
    for (partition,) in partitions:
        rows = execute(
            f"SELECT lower, upper FROM ranges WHERE {_PLACE} AND iteration <= ? AND hole = 0 ORDER BY lower",
            (pipeline, lane, source, partition, through),
        )
        begin = end = b""
        gaps: list[tuple[bytes, bytes]] = []
        for lower, upper in rows:
            if not end:
                begin = lower
            elif lower != end:
                gaps.append((end, lower))
            end = upper
        if end:
            found.append(Reached(partition, end, gaps, begin))
    return found, partitions[-1][0] if len(partitions) == limit else ""


def problems(execute: Execute, at: tuple[str, str, str, str]) -> list[str]:
    """What does not hold of one place: ranges overlap, what is before it was not read, or what is behind it was."""
    what = f"source {at[2]} of {at[0]}, lane {at[1]}, partition {at[3]!r}"
    (place,) = execute(f"SELECT place FROM places WHERE {_PLACE}", at).fetchone()
    rows = execute(f"SELECT lower, upper, iteration, hole FROM ranges WHERE {_PLACE} ORDER BY lower", at).fetchall()
    found = []
    through = min(place, rows[0][0]) if rows else place
    end = through
    for lower, upper, iteration, hole in rows:
        if lower < end:
            found.append(f"{what}: iteration {iteration} has {lower.hex()}, which another one has as well")
        if lower == through:
            through = upper
        elif not hole:
            found.append(f"{what}: iteration {iteration} has {lower.hex()}, but what is before it was not read")
        end = upper
    if place != through:
        found.append(f"{what} is at {place.hex()}, but was read up to {through.hex()}")
    return found
