"""What people see of a source that is read in order, and what a backfill of it reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from odibi_actors.config.model import ReadSpec
from odibi_actors.config.patterns import shown
from odibi_actors.kinds.letters import kept
from odibi_actors.model import Reached
from odibi_actors.runtime.visible import named
from odibi_actors.sources.growing.packed import PACKED
from odibi_actors.sources.query.statements import ends_of
from odibi_actors.streaming.effects import Begin, Piece
from odibi_actors.streaming.patterns import Pattern, join, relative_to
from odibi_actors.streaming.views import links
from odibi_actors.units import naming, plural

if TYPE_CHECKING:
    from odibi_actors.streaming.ordered import Ordered

LISTED = 50
"""Of each kind listed by ``source files``."""

MAX_SHOWN = 20
"""Problems shown for one source; the rest is counted."""

NOT_LOOKED_AT = (
    "read in part, or whole; whether it has changed or grown since is found by the next look of `run` or `up`"
)
"""What is told of a partition that was read, from the store alone: nobody looks at files while nothing runs."""

LATE = "what it reads from has not answered yet, and is waited for"


def gap(taken: Reached, place: bytes | None) -> Begin:
    """Where a backfill goes on that has read up to ``place`` (None: nothing), and up to where, of what was ``taken``:
    behind what it leaves out, if that begins there."""
    at = place if place is not None else taken.begin
    until = taken.place
    for lower, upper in taken.holes:
        if lower == at:
            at = upper
        elif lower > at:
            until = lower
            break
    # What was taken may have been rewound since, to before what the backfill has read: then nothing is left.
    return Begin(taken.partition, at, max(until, at))


def standing(source: Ordered, late: bool, troubles: list[str]) -> list[str]:
    """What is wrong with a source, but for what it waits for."""
    problems = [source.refused] if source.refused else []
    problems += [LATE] if late else []
    problems += troubles + [known.part.problem for known in source.known.values() if known.part.problem]
    if not source.backfill:  # the live lane tells it
        problems += source.unmatched + links(source.skipped) + _packed(source.skipped)
    if len(problems) > MAX_SHOWN:
        problems[MAX_SHOWN:] = [f"... and {len(problems) - MAX_SHOWN} more"]
    return problems


def _packed(skipped: Mapping[str, str]) -> list[str]:
    """What is told of files that match, and cannot grow."""
    found = sorted(identity for identity, reason in skipped.items() if reason == PACKED)
    if not found:
        return []
    what, them = ("a packed file is", "it") if len(found) == 1 else (f"{len(found)} packed files are", "them")
    return [f"{what} not read on: {naming(found)}; unpack {them}, or `exclude` {them}"]


def several(waits: list[str]) -> list[str]:
    """What is waited for: a few are told, many are counted."""
    return waits if len(waits) <= MAX_SHOWN else [*waits[:MAX_SHOWN], f"... and {len(waits) - MAX_SHOWN} more"]


def row(source: Ordered) -> dict[str, Any]:
    """The row of ``source list``: ``known`` and ``waiting`` are partitions, ``pending`` pieces that may be planned."""
    known = source.known.values()
    return {
        "pipeline": source.spec.pipeline,
        "source": source.spec.node.name,
        "lane": source.spec.lane,
        "mode": source.read.mode,
        "consumption": source.read.consumption,
        "path": source.path or ".",
        "pattern": _what(source.read),
        "known": len(dict.fromkeys((*source.places.index, *source.known))),
        "pending": sum(len(one.pieces) for one in known),
        "waiting": sum(bool(one.part.waits) for one in known),
        "problems": source.problems,
    }


def show(source: Ordered) -> dict[str, Any]:
    """``source files``: the row, and what is ready, waits, cannot be taken, or is passed over; of each, ``more``: how
    many there are beyond those that are listed. ``at``: how far each partition was read."""
    pieces = [piece for one in source.known.values() for piece in one.pieces]
    kinds = {
        "pending": {piece.position.identity: _ready(piece) for piece in pieces},
        "waiting": {name: one.part.waits for name, one in source.known.items() if one.part.waits},
        "changed": {name: one.part.problem for name, one in source.known.items() if one.part.problem},
        "skipped": source.skipped,
    }
    listed = {kind: dict(list(found.items())[:LISTED]) for kind, found in kinds.items()}
    return {
        **row(source),
        "files": {
            kind: [{"file": name, "reason": reason} for name, reason in found.items()] for kind, found in listed.items()
        },
        "more": {kind: len(kinds[kind]) - len(found) for kind, found in listed.items()},
        "at": {name: one.part.at for name, one in list(source.known.items())[:LISTED]},
    }


def _what(read: ReadSpec) -> str:
    if read.of_table is None:
        return shown(read.pattern)
    return f"table {read.table.table}" if read.table.table else "query"


def _ready(piece: Piece) -> str:
    sizes = (("byte", piece.position.size), ("row", piece.position.rows))
    return f"{', '.join(plural(count, noun) for noun, count in sizes if count >= 0)}: ready, not planned yet"


def files(read: ReadSpec) -> bool:
    """Whether it reads files, and not rows of a table, ticks or what is pushed."""
    return read.of_table is None and read.polled is None and not kept(read)


def takes(read: ReadSpec) -> str:
    """What it takes that reads no ``files``."""
    if read.polled is not None:
        return "what it is polled for at each tick"
    if read.of_table is None:
        return "what is pushed to it (`odibictl event push`)"
    return f"rows of table {read.of_table.table}" if read.of_table.table else "rows of its query"


def why(source: Ordered, file: str) -> dict[str, str] | None:
    """An item of ``source why``; see ``views.why``. None: it reads no files, and nothing else that has this name."""
    base = source.read.connection.path.rstrip("/")
    partition = _partition(source, file)
    known = (source.skipped, source.known, source.places.index)
    if not files(source.read) and not any(partition in names for names in known):
        return None
    state, reason = _why(source, partition) if partition is not None else ("ignored", f"it is not below {base}/")
    return {
        "pipeline": source.spec.pipeline,
        "source": source.spec.node.name,
        "lane": source.spec.lane,
        "state": state,
        "reason": f"{source.spec.lane}: {reason}" if source.backfill else reason,
        "identity": partition or "",
        "path": f"{base}/{partition}" if partition else "",
    }


def _partition(source: Ordered, file: str) -> str | None:
    base = source.read.connection.path.rstrip("/") + "/"
    if file.startswith("/"):
        if not file.startswith(base):
            return None
        file = file[len(base) :]
    file = join("", file)
    known = (source.places.index, source.known, source.skipped)
    inside = not source.path or file.startswith(source.path + "/")
    return file if inside or any(file in names for names in known) else join(source.path, file)


def _why(source: Ordered, partition: str) -> tuple[str, str]:
    if partition in source.skipped:
        return "ignored", source.skipped[partition]
    known, place = source.known.get(partition), source.places.index.get(partition)
    if known is None and place is None:
        if not Pattern(source.read.pattern).matches(relative(source, partition)):
            name = named(relative(source, partition))
            return "ignored", f"{name} does not match pattern {shown(source.read.pattern)}"
        return "not_found", f"there is no such file below {source.read.connection.path}"
    if known is None:
        return "planned", NOT_LOOKED_AT
    told = known.part.at or ("read in part, or whole" if place is not None else "nothing of it is read yet")
    ready = f"; {plural(len(known.pieces), 'piece')} of it ready, not planned yet" if known.pieces else ""
    if known.part.problem:
        return "changed", f"{known.part.problem} ({told})"
    if known.pieces:
        return "pending", told + ready
    return ("waiting", f"{told}; {known.part.waits}") if known.part.waits else ("planned", told)


def relative(source: Ordered, partition: str) -> str:
    """The path below the source's folder; of one that is that folder its name."""
    if partition == source.path:
        return partition.rpartition("/")[2]
    return partition[len(source.path) + 1 :] if source.path else partition


def match(source: Ordered, pattern: str) -> dict[str, Any]:
    """Which partitions of which something was read match a pattern; see ``views.match``. How many bytes were read of
    them only their kind knows. ``table``: of rows, which have no files ("" for files)."""
    found = _matching(source, pattern)
    if not found and (inside := relative_to(source.path, pattern)):
        found, pattern = _matching(source, inside), inside
    of = source.read.of_table
    return {
        "pattern": pattern,
        "table": "" if of is None else of.table or "the query",
        "files": len(found),
        "bytes": None,
        "first": min(found, default=""),
        "last": max(found, default=""),
        "unread": 0,
        "aside": sum(bool(source.places.index[name].holes) for name in found),
    }


def _matching(source: Ordered, pattern: str) -> list[str]:
    if source.read.of_table is not None:
        return list(source.places.index) if ends_of(pattern) is not None else []
    wanted = Pattern(pattern)
    return [name for name in source.places.index if wanted.matches(relative(source, name))]
