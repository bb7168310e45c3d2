"""Results on stdout: ``table`` for people, ``json``, ``jsonl``, ``yaml`` and ``name`` for programs.

``json`` is one object with ``"schema": 1``; lists stand under ``"items"``. ``jsonl`` is one object per line: the rows
of a list, or the object. ``name`` prints what other commands take as an argument.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

import click

from odibi_actors import units
from odibi_actors.cli import errors
from odibi_actors.cli.paging import rest
from odibi_actors.runtime.enduring import unread
from odibi_actors.runtime.visible import named, visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from odibi_actors.cli.base import App

SCHEMA = 1
SHORTEST = 20
"""Characters of a short column that are shown however narrow the terminal is."""

WIDE = 100_000
"""Columns of a table that nobody looks at: a program reads it, so nothing may be cut or wrapped."""
AS_IT_IS: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
"""Of a console: text is no markup. Types (``timestamp[us, tz=UTC]``), paths and messages hold brackets of their own."""
WATCH_EVERY = 1.0
"""Seconds between two looks: what a person can follow."""
STYLES = {
    "active": "green",
    "committed": "green",
    "acked": "green",
    "published": "green",
    "busy": "green",
    "ok": "green",
    "done": "green",
    "started": "green",
    "waiting": "cyan",
    "skipped": "yellow",
    "paused": "yellow",
    "draining": "yellow",
    "drained": "yellow",
    "prepared": "cyan",
    "running": "cyan",
    "retrying": "yellow",
    "warn": "yellow",
    "cancelled": "yellow",
    "failed": "bold red",
    "blocked": "bold red",
    "error": "bold red",
    "fail": "bold red",
    "dead_lettered": "red",
}
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, and the key of the row or a function of it."""

    heading: str
    value: str | Callable[[Row], object]
    right: bool = False
    whole: bool = False
    """Never folded: it is what other commands take as an argument."""
    short: bool = False
    """Cut to its first line, and on a terminal to what the other columns leave: `show`, and `-o json`, have all of it.
    Other columns are in one line too, uncut."""

    name: bool = False
    """It is the name of a file or a position: a line end in it is written out."""

    def cell(self, row: Row) -> str:
        """The text of this column in ``row``; "-" where there is nothing."""
        value = self.value(row) if callable(self.value) else row.get(self.value)
        return "-" if value is None or value == "" else (named if self.name else visible)(str(value))


def kept(said: str, result: Row) -> str:
    """``said`` of an empty list; if history is pruned, that something may have stood there."""
    when = result.get("pruned_before")
    if when is None:
        return said
    through = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))
    return f"{said}; what ended before {through} is pruned (see history and history_size in odibi.yaml)"


def table(rows: Sequence[Row], columns: Sequence[Column], empty: str = "nothing to show") -> RenderableType:
    """A plain table: no lines, states coloured, numbers to the right."""
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return Text(empty, style="dim")
    view = Table(box=None, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    lines = [[_one_line(column.cell(row), column.short) for column in columns] for row in rows]
    if sys.stdout.isatty():
        _shorten(lines, columns, shutil.get_terminal_size().columns)
    for number, column in enumerate(columns):
        view.add_column(
            Text(column.heading),
            justify="right" if column.right else "left",
            overflow="fold",
            no_wrap=column.whole,
            min_width=max(len(line[number]) for line in lines) if column.whole else None,
        )
    for line in lines:
        view.add_row(*(Text(cell, style=STYLES.get(cell.partition(",")[0], "")) for cell in line))
    return view


def _shorten(lines: list[list[str]], columns: Sequence[Column], width: int) -> None:
    """Cut the cells of short columns, so that a row is one line of ``width`` characters."""
    widths = [max(len(column.heading), *(len(line[place]) for line in lines)) for place, column in enumerate(columns)]
    short = [place for place, column in enumerate(columns) if column.short]
    taken = sum(size for place, size in enumerate(widths) if place not in short) + 2 * len(columns)
    room = max(SHORTEST, (width - taken) // max(1, len(short)))
    for line in lines:
        for place in short:
            if len(line[place]) > room:
                line[place] = f"{line[place][: room - 1].rstrip()}\u2026"


def _one_line(text: str, short: bool) -> str:
    """A cell in one line, since a table has a line for each row."""
    parts = [part for line in text.splitlines() if (part := line.strip())]
    if len(parts) < 2:
        return text.strip("\r\n")
    return f"{parts[0]}\u2026" if short else " ".join(parts)


def fields(pairs: Sequence[tuple[str, object]]) -> RenderableType:
    """Names and values, one a line."""
    from rich.table import Table
    from rich.text import Text

    view = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    view.add_column(style="bold")
    view.add_column(overflow="fold")
    for name, value in pairs:
        text = "-" if value is None or value == "" else visible(str(value))
        view.add_row(Text(name), Text(text, style=STYLES.get(text, "")))
    return view


def emit(
    app: App,
    fetch: Callable[[], Any],
    name: str | Callable[[Row], str],
    render: Callable[[Any], Sequence[RenderableType]],
    watch: bool = False,
) -> Any:
    """Print what ``fetch`` gives, in the format the user asked for; again and again with ``watch``.

    ``name``: key (or function) of what identifies a row. ``render``: the tables for people. Returns the last result.
    """
    if watch:
        _watch(app, fetch, name, lambda result: [*render(result), *filter(None, [rest(result)])])
        raise click.exceptions.Exit
    result = fetch()
    if app.output == "table":
        show(*render(result))
    else:
        click.echo(_for_stdout(text(app.output, result, name)), nl=False)
    if said := rest(result):
        errors.message(said)
    return result


def text(form: str, result: Any, name: str | Callable[[Row], str]) -> str:
    """``result`` in a format for programs, with its newline."""
    rows = result.get("items", [result])
    if form == "json":
        return json.dumps({"schema": SCHEMA, **result}, indent=2, default=_plain) + "\n"
    if form == "jsonl":
        return "".join(json.dumps(row, default=_plain) + "\n" for row in rows)
    if form == "yaml":
        return _yaml({"schema": SCHEMA, **result})
    return "".join(f"{name(row) if callable(name) else row.get(name, '')}\n" for row in rows)


def _for_stdout(text: str) -> str:
    """Programs get names as they are; a terminal must not obey them."""
    return visible(text) if sys.stdout.isatty() else text


def _plain(value: object) -> str:
    """Bytes have no form in JSON: hex is what can be compared."""
    return value.hex() if isinstance(value, bytes) else str(value)


def _yaml(value: object) -> str:
    from ruamel.yaml import YAML

    out = StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    # Through JSON, so that both formats say the same, whatever types the reply held.
    writer.dump(json.loads(json.dumps(value, default=_plain)), out)
    return out.getvalue()


def console() -> Console:
    """A console on stdout: coloured and as wide as the terminal, or plain and uncut where nobody looks."""
    from rich.console import Console, ConsoleOptions
    from rich.segment import Segment

    class Safe(Console):
        """Prints nothing a terminal would obey, but its own colours."""

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(visible(segment.text), segment.style)

    terminal = sys.stdout.isatty()
    width = None if terminal else WIDE
    return Safe(file=sys.stdout, width=width, no_color=bool(os.environ.get("NO_COLOR")), **AS_IT_IS)


def show(*parts: RenderableType) -> None:
    """Print renderables for people."""
    view = console()
    if view.is_terminal:
        for part in parts:
            view.print(part)
        return
    click.echo(_captured(view, parts), nl=False)


def lines(*parts: RenderableType) -> str:
    """Renderables as plain text: for stderr, before a question."""
    from rich.console import Console

    return _captured(Console(width=WIDE, no_color=True, color_system=None, **AS_IT_IS), parts).rstrip("\n")


def _captured(view: Console, parts: Sequence[RenderableType]) -> str:
    with view.capture() as capture:
        for part in parts:
            view.print(part)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def _watch(
    app: App,
    fetch: Callable[[], Any],
    name: str | Callable[[Row], str],
    render: Callable[[Any], Sequence[RenderableType]],
) -> None:
    """Show until interrupted, or until nobody reads it. On a terminal the view is redrawn; else it is printed again
    when it has changed. A broker that is gone for a while (restarted) does not end it; one that never answered does."""
    from odibi_actors.errors import TimedOutError, UnreachableError

    result = fetch()
    if app.output == "table" and sys.stdout.isatty():
        from rich.console import Group
        from rich.live import Live
        from rich.text import Text

        with Live(console=console(), auto_refresh=False) as live:
            while not unread():
                live.update(Group(*render(result)), refresh=True)
                time.sleep(WATCH_EVERY)
                try:
                    result = fetch()
                except (UnreachableError, TimedOutError) as error:
                    live.update(Group(*render(result), Text(str(error), style="red")), refresh=True)
        return
    last = None
    while not unread():
        if result != last:
            if app.output == "table":
                show(*render(result))
            else:
                click.echo(_for_stdout(text(app.output, result, name)), nl=False)
            sys.stdout.flush()
            last = result
        time.sleep(WATCH_EVERY)
        try:
            result = fetch()
        except (UnreachableError, TimedOutError) as error:
            click.echo(f"{error}", err=True)


def ago(moment: float | None, now: float | None = None) -> str:
    """How long since ``moment`` (seconds since the Unix epoch), in one unit: ``12s``, ``3m``, ``2h``, ``5d``."""
    if not moment:
        return "-"
    return span(max(0, int((time.time() if now is None else now) - moment))) + " ago"


def span(seconds: float | None) -> str:
    """A duration in the unit that fits."""
    if seconds is None:
        return "-"
    seconds = max(type(seconds)(0), seconds)  # a clock that was set back in between makes no negative time
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "m")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s" if seconds >= 10 or isinstance(seconds, int) else f"{seconds:.2f}s"


def size(count: int | None) -> str:
    """Bytes in the unit that fits; "-" where they are not known (None, or below 0)."""
    return "-" if count is None or count < 0 else units.size(count)


def count(value: int | None) -> str:
    """A number with thousands marked."""
    return "-" if value is None else f"{value:,}"
