"""CSV of which what does not fit is kept: the texts of cells that are not of their column's type, and of columns that
are new."""

from __future__ import annotations

import pyarrow as pa

from odibi_actors.kinds.format import Request
from odibi_actors.nodes.formats import Parsed, csv
from odibi_actors.nodes.formats.cells import Cells
from odibi_actors.nodes.formats.exact import convert
from odibi_actors.nodes.formats.rescued import Texts, of_texts, written


def rescue(request: Request) -> Parsed:
    """See ``rescued.Rescuing``: each cell as a text, then as what it is where its column is known."""
    cells = Cells(request.options)
    texts = {name: kind for name, kind in request.declared.items() if _any(kind)}
    kept = {name: kind for name, kind in request.inferred.items() if _any(kind)}
    found = csv.parse(request.data, texts, request.wanted, request.options, kept)
    columns: dict[str, pa.ChunkedArray] = {}
    rescued: dict[str, Texts] = {}
    for name, column in zip(found.table.column_names, found.table.columns, strict=True):
        if name in texts or name in kept:
            columns[name] = column
        elif name in request.declared:
            columns[name], rescued[name] = _declared(column, request.declared[name], cells)
        elif name in request.inferred:
            columns[name], rescued[name] = _inferred(column, request.inferred[name], cells)
        else:
            rescued[name] = [None if text is None else written(text) for text in column.to_pylist()]
    return found._replace(table=_table(columns, found.table), rescued=rescued)


def _any(kind: pa.DataType) -> bool:
    """It holds each cell."""
    return kind in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())


def _table(columns: dict[str, pa.ChunkedArray], whole: pa.Table) -> pa.Table:
    return pa.Table.from_arrays([*columns.values()], [*columns]) if columns else whole.select([])


def _declared(texts: pa.ChunkedArray, kind: pa.DataType, cells: Cells) -> tuple[pa.ChunkedArray, Texts]:
    def read(part: pa.ChunkedArray) -> pa.ChunkedArray | None:
        try:
            return cells.lenient(part, kind)
        except pa.ArrowInvalid:
            return None

    return of_texts(texts, kind, read)


def _inferred(texts: pa.ChunkedArray, kind: pa.DataType, cells: Cells) -> tuple[pa.ChunkedArray, Texts]:
    def read(part: pa.ChunkedArray) -> pa.ChunkedArray | None:
        try:
            return convert(part, kind, cells.spelling)
        except pa.ArrowInvalid:
            return None

    return of_texts(texts, kind, read)
