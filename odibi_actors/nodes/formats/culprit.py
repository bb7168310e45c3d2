"""The first place in a CSV file that does not fit: exact physical line, column and value.

pyarrow names a row, not a line, and not always that. So a refused file is read again: its shape by the ``csv`` module,
its cells as texts, which are converted in halves until one is left. The verdict is that of the fast reading, the
place is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa

from odibi_actors.nodes.formats import Malformed, first_bad
from odibi_actors.nodes.formats.cells import Cells
from odibi_actors.nodes.formats.misfit import message
from odibi_actors.nodes.formats.rows import before_line, shape


class Columns(NamedTuple):
    """The columns that are read, and the types of those that are known."""

    names: list[str]
    declared: Mapping[str, pa.DataType]
    inferred: Mapping[str, pa.DataType]


def find_culprit(
    data: bytes,
    names: list[str],
    columns: Columns,
    cells: Cells,
    read_texts: Callable[[bytes], pa.Table | None],
    options: Mapping[str, Any],
) -> Malformed | None:
    """The first place that does not fit; None when the slow reading finds nothing wrong. ``names``: all of the file."""
    texts_of = [n for n in columns.names if not pa.types.is_binary(columns.declared.get(n, pa.null()))]
    found = shape(data, names, [names.index(name) for name in texts_of], options)
    texts = read_texts(before_line(data, found.problem.line if found.problem is not None else 0))
    if texts is None:
        return found.problem
    first, culprit = len(found.lines), found.problem
    for name in columns.names:
        inferred = name in columns.inferred
        kind = columns.inferred[name] if inferred else columns.declared.get(name)
        if kind is None:
            continue
        column = texts[name].slice(0, first)
        holds = partial(cells.exact if inferred else cells.lenient_holds, kind=kind)
        if holds(column):
            continue
        row = first_bad(len(column), lambda start, stop: holds(column.slice(start, stop - start)))  # noqa: B023
        value = column[row].as_py()
        says = message(name, value, kind, cells, inferred=inferred)
        first, culprit = row, Malformed(says, line=found.lines[row], column=name, value=value)
    return culprit
