"""Whether files of a draft are still written, and can be read as they grow."""

from __future__ import annotations

import codecs
from pathlib import Path

from odibi_actors.kinds.format import lines_of
from odibi_actors.kinds.registry import format_of
from odibi_actors.local.grouping import Group
from odibi_actors.local.headers import unpacked
from odibi_actors.model import Position
from odibi_actors.nodes.positions import Files
from odibi_actors.runtime.visible import named
from odibi_actors.streaming.leases import names, writer


class WholeLines(Files):
    """Files that are being written, up to the end of their last whole line."""

    def load(self, position: Position) -> bytes:
        data = super().load(position)
        return data[: data.rfind(b"\n") + 1] or data


def look_for_writers(folder: Path, group: Group) -> None:
    """Note whether somebody writes one of the files: a source that waits for its end may wait for ever; and whether
    they can be read line by line."""
    group.appendable = not _no_lines(folder / group.files[0], group)
    held = next((name for name in group.files if writer(str(folder / name)) == "some"), None)
    if held is None:
        return
    who = names([str(folder / held)]).get(str(folder / held), "somebody")
    unfit = _no_lines(folder / held, group)
    group.growing = not unfit
    group.notes.append(
        f"{named(held)} is being written by {who}: "
        + (
            f"a run waits for its end ({unfit})"
            if unfit
            else "`mode: incremental` reads each whole line once, as it comes"
        )
    )


def _no_lines(path: Path, group: Group) -> str:
    """Why a file cannot be read line by line, or ""."""
    if unpacked(path.name) != path.name:
        return "it is packed"
    found = lines_of(format_of(group.format), group.options)
    if isinstance(found, str):
        return found
    with path.open("rb") as file:
        array = group.format == "json" and file.read(64).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"[")
    return "it is one array of objects" if array else ""
