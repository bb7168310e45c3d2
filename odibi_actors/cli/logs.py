"""``odibictl logs``: what the actors wrote, together or one by one."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from odibi_actors.cli import locks
from odibi_actors.cli.base import App, Command, pass_app
from odibi_actors.errors import NotFoundError
from odibi_actors.runtime.enduring import unread
from odibi_actors.runtime.visible import visible

POLL = 0.2
"""Seconds between two looks at the files: what a person takes for "at once"; a stat costs 3 us."""
TAIL_BLOCK = 64 * 1024
MAX_LINE = 1024 * 1024
"""Bytes without a newline after which the rest counts as a line: a log may be damaged."""
LAUNCHER = "up"
"""What `up --detach` wrote, or a terminal did not take: other logs once more, so it is shown only when asked for."""
WORKER = "worker"
"""The Procfile's name of the line whose pools write ``pool-0.log``, ``pool-1.log``, ..."""
COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "red")


class Tail:
    """Reads one growing log file line by line, also when it is replaced or cut by rotation."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._inode = 0
        self._offset = 0
        self._rest = b""

    def last(self, lines: int) -> list[str]:
        """The last complete ``lines`` lines; what comes later is given by ``new``."""
        try:
            with self.path.open("rb") as file:
                self._inode = os.fstat(file.fileno()).st_ino
                end = file.seek(0, os.SEEK_END)
                data = b""
                while lines and data.count(b"\n") <= lines and end - len(data) > 0 and len(data) < MAX_LINE * 16:
                    begin = max(0, end - len(data) - TAIL_BLOCK)
                    file.seek(begin)
                    data = file.read(end - len(data) - begin) + data
        except FileNotFoundError:
            return []
        self._offset = end
        *whole, self._rest = data.split(b"\n")
        return [line.decode(errors="replace") for line in whole[-lines:]] if lines else []

    def new(self) -> Iterator[str]:
        """Complete lines that were added since."""
        former = self.path.with_name(self.path.name + ".1")
        if self._inode and _inode(self.path) != self._inode == _inode(former):
            yield from self._read(former)  # rotated: what was written between our last look and the cut
        yield from self._read(self.path)

    def _read(self, path: Path) -> Iterator[str]:
        try:
            with path.open("rb") as file:
                state = os.fstat(file.fileno())
                if state.st_ino != self._inode or state.st_size < self._offset:
                    self._inode, self._offset, self._rest = state.st_ino, 0, b""
                if state.st_size == self._offset:
                    return
                file.seek(self._offset)
                data = file.read(MAX_LINE)
        except FileNotFoundError:
            return
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
        if len(self._rest) >= MAX_LINE:
            rest, self._rest = self._rest, b""
            yield rest.decode(errors="replace")


def _inode(path: Path) -> int:
    """The file's inode; 0 when there is none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def merged(parts: dict[str, list[str]]) -> list[tuple[str, str]]:
    """(actor, line) of several logs, by the time at the start of their lines; a line without one (of a traceback)
    stays behind the one before it."""
    keyed = []
    for name, lines in parts.items():
        stamp = ""
        for place, line in enumerate(lines):
            if line[:4].isdigit() and line[4:5] == "-":
                stamp = line.split(" ", 1)[0] if "T" in line[:11] else line[:23]
            keyed.append((stamp, name, place, line))
    return [(name, line) for _, name, _, line in sorted(keyed)]


@click.command(cls=Command, examples=["odibictl logs", "odibictl logs broker -n 100", "odibictl logs -f"])
@click.argument("actor", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on as lines are written, until Ctrl-C.")
@click.option(
    "-n", "--lines", type=click.IntRange(0, 100_000), default=20, show_default=True, help="Last lines of each log."
)
@pass_app
def logs(app: App, actor: str | None, follow: bool, lines: int) -> None:
    """Print the logs of one actor, or of all interleaved.

    The actors' supervisors write them to the data_dir's log folder; only logs on this host are seen. `logs up` is what
    `up --detach` wrote, all of them once more, or what a terminal did not take of `up`.
    """
    folder = app.data_dir / "log"
    tails = _tails(folder, actor, {})
    if not tails and not (follow and actor is None):
        names = ", ".join(sorted(path.stem for path in folder.glob("*.log"))) if folder.is_dir() else ""
        raise NotFoundError(
            f"no log of {actor!r} in {folder}; there are: {names}" if actor and names else _none(app.data_dir)
        )
    prefix = _Prefix(plain=actor is not None and actor != WORKER)
    prefix.print(merged({name: tail.last(lines) for name, tail in tails.items()}))
    while follow and not unread():
        time.sleep(POLL)
        tails = _tails(folder, actor, tails)
        prefix.print([(name, line) for name, tail in tails.items() for line in tail.new()])


def _none(data_dir: Path) -> str:
    """Why there are no logs."""
    said = f"no logs in {data_dir / 'log'}"
    if locks.holders(data_dir / "run"):
        return f"{said}, though a system runs: somebody removed them; its actors make them again within seconds"
    if (data_dir / "checkpoints.db").exists():
        return f"{said}: they were removed, or only `odibictl run` was at work here, which keeps none"
    return f"{said}; nothing has run here yet: start with `odibictl up`"


def _tails(folder: Path, actor: str | None, known: dict[str, Tail]) -> dict[str, Tail]:
    """One Tail for each log there is by now."""
    paths = sorted(folder.glob("*.log"))
    return {
        path.stem: known.get(path.stem) or Tail(path)
        for path in paths
        if actor == path.stem
        or (actor == WORKER and path.stem.startswith("pool-"))
        or (actor is None and path.stem != LAUNCHER)
    }


class _Prefix:
    """Prints lines behind their actor's name, each actor in its colour."""

    def __init__(self, plain: bool) -> None:
        self.plain = plain
        self.colours: dict[str, str] = {}

    def print(self, lines: Iterable[tuple[str, str]]) -> None:
        for name, said in lines:
            line = visible(said)
            if self.plain:
                click.echo(line)
                continue
            colour = self.colours.setdefault(name, COLOURS[len(self.colours) % len(COLOURS)])
            label = f"{name:<10} | "
            click.echo((label if os.environ.get("NO_COLOR") else click.style(label, fg=colour)) + line)
        sys.stdout.flush()
