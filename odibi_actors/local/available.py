"""What sources have for ``odibictl try``, whether or not it was read before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from odibi_actors.config.model import BatchSpec, NodeSpec, PipelineSpec, ReadSpec
from odibi_actors.config.patterns import shown
from odibi_actors.config.writers import writer_of
from odibi_actors.kinds.connection import Access
from odibi_actors.kinds.registry import source_of
from odibi_actors.kinds.source import Fillable
from odibi_actors.model import Position, Range
from odibi_actors.runtime.visible import named
from odibi_actors.sources.file_position import file_position
from odibi_actors.streaming.effects import Again, Ahead, AsNow, Begin, Found, Part, Scan, Scanned, Seen
from odibi_actors.streaming.patterns import Pattern, join, relative_to
from odibi_actors.streaming.scan import scan
from odibi_actors.streaming.watcher import Unwatched


class Available(NamedTuple):
    """The first that a source would read, what could not be looked at, and what ``passed``: what is there, and has
    nothing that is read."""

    positions: list[Position]
    problems: list[str]
    passed: list[str] = []


def nothing_in(
    pipelines: Sequence[PipelineSpec], pipeline: str, node: NodeSpec, files: str | None, found: Available
) -> list[str]:
    """What is said of a source that has nothing to read. ``files``: only these were asked for."""
    problems = found.problems
    assert node.read is not None
    read, kind = node.read, source_of(node.read.mode)
    if isinstance(kind, Fillable):
        return problems or [kind.filling(f"{pipeline}.{node.name}")]
    if read.of_table is not None:
        return problems or [f"there is no row in {f'table {read.table.table}' if read.table.table else 'the query'}"]
    place = Path(read.connection.path) / read.path
    only = f" and {files!r}" if files else ""
    nothing = "nothing to read in {} matches" if found.passed else "no file in {} matches"
    said = f"{nothing.format(place)} {shown(read.pattern)!r}{only}" if place.exists() else f"there is no {place}"
    if (writer := writer_of(pipelines, read)) and next(place.rglob("part-*"), None) is None:
        said += f"; {writer} writes there: `odibictl run {writer.partition('.')[0]}` first"
    return [said, *problems, *found.passed]


def ahead(read: ReadSpec, limits: BatchSpec, access: Access, left_out: Sequence[Position] = ()) -> Available:
    """What a source that is read in order would read first without what is ``left_out``."""
    kind, credit = source_of(read.mode), limits.max_files + 1
    holes: dict[str, list[Range]] = {}
    if left_out:
        for now in kind.probe(Again("try", 1, read, list(left_out), access=access)):
            for piece in now.pieces if isinstance(now, AsNow) else ():
                holes.setdefault(piece.range.partition, []).append(piece.range)
    found, problems, passed = list[Position](), list[str](), list[str]()
    places = [begin for partition, some in holes.items() for begin in _between(partition, some)]
    first = {begin.partition: begin for begin in reversed(places)}
    rest = [begin for begin in places if begin is not first[begin.partition]]
    rounds = [(list(first.values()), True), *(([begin], False) for begin in rest)]
    for begins, more in rounds:
        for seen in kind.probe(Ahead("try", 1, read, begins, limits, credit - len(found), more, access=access)):
            if isinstance(seen, Seen):
                found += [piece.position for part in seen.parts for piece in part.pieces]
                problems += [*seen.problems, *(part.problem or part.waits for part in seen.parts)]
                passed += [f"{named(name)}: {why}" for name, why in seen.skipped]
                passed += [
                    f"{named(part.partition)}: it has no row to read" for part in seen.parts if _empty(read, part)
                ]
        if len(found) >= credit:
            break
    return Available(found, list(dict.fromkeys(filter(None, problems))), list(dict.fromkeys(passed)))


def _empty(read: ReadSpec, part: Part) -> bool:
    """A file that is there, and in which nothing was found."""
    return read.of_table is None and not (part.pieces or part.problem or part.waits)


def _between(partition: str, holes: list[Range]) -> list[Begin]:
    """The parts of a partition before, between and behind these ranges."""
    ordered = sorted(holes, key=lambda one: one.lower)
    lowers = [b"", *(one.upper for one in ordered)]
    uppers = [*(one.lower for one in ordered), b""]
    return [Begin(partition, low, high) for low, high in zip(lowers, uppers, strict=True) if not high or low < high]


def listed(read: ReadSpec, files: str | None) -> Available:
    """The files of a source in the order in which it would read them. Those planned long ago are among them, and those
    that somebody still writes."""
    path = join("", read.path)
    below = len(path) + 1 if path else 0
    found, problems, passed = list[Found](), list[str](), list[str]()
    for chunk in scan(
        Scan("try", 1, read.connection.path, path, read.pattern, whole=read.pinned, follow=read.follow_links),
        Unwatched(),
    ):
        if isinstance(chunk, Scanned):
            found += chunk.files
            problems += chunk.problems
            passed += [f"{named(identity)}: {why}" for identity, why in chunk.skipped]
    ordered, only = not read.pinned and read.order == "time", None if files is None else Pattern(files)
    if files is not None and (inside := relative_to(path, files)):  # as files are listed: below the connection
        fits = Pattern(files)
        only = fits if any(fits.matches(file.identity[below:]) for file in found) else Pattern(inside)
    positions = [
        file_position(file.identity, file.size, file.mtime_ns, file.inode)
        for file in sorted(found, key=lambda file: (file.mtime_ns if ordered else 0, file.identity))
        if only is None or only.matches(file.identity[below:])
    ]
    return Available(positions, problems, passed)
