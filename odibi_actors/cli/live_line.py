"""Progress on a terminal: one line that is replaced, above which all else stands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from odibi_actors.cli import errors


@contextmanager
def live_line(first: str, stream: TextIO | None = None) -> Iterator[Callable[[str], None]]:
    """What takes lines while it holds. On a terminal lines of progress (``Progress``) replace one another, beside the
    time that has passed, and are gone at the end; ``first`` stands there before. Anywhere else they come seldom. All
    others are said as ``errors.message`` does. ``stream``: stderr."""
    from odibi_actors.runtime.progress import Progress, seldom

    out = stream or sys.stderr
    if not out.isatty():
        yield seldom(errors.message)
        return
    from rich import progress
    from rich.console import Console
    from rich.markup import escape

    from odibi_actors.runtime.visible import in_line

    columns = (progress.SpinnerColumn("line"), progress.TextColumn("{task.description}"), progress.TimeElapsedColumn())
    with progress.Progress(*columns, console=Console(file=out), transient=True) as bar:  # what others write is above it
        task = bar.add_task(escape(in_line(first)), total=None)

        def said(line: str) -> None:
            if isinstance(line, Progress):
                bar.update(task, description=escape(in_line(line)))
            else:
                errors.message(line)

        yield said
