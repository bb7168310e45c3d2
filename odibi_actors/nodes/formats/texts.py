"""Values as texts that our readers read back exactly: what csv writes, and JSON where it has no such value."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from odibi_actors.config.arrow_types import type_name
from odibi_actors.nodes.failures import MAX_VALUE, Failed, shorten
from odibi_actors.nodes.formats import first_bad
from odibi_actors.nodes.formats.cells import Cells

_CELLS = Cells({})
PORTION = 65_536
"""Rows that are looked at together."""


def no_type(field: pa.Field, name: str) -> Failed:
    """The format has nothing that holds the column."""
    fix = "make it text in the node before (to_json() in SQL, json.dumps in Python; base64 for bytes), or write parquet"
    message = f"column {field.name!r} is {type_name(field.type)}, which {name} cannot hold; {fix}"
    return Failed("invalid", message, column=field.name)


def portions(column: pa.ChunkedArray) -> Iterator[pa.ChunkedArray]:
    """The column, some rows at once: what is made of all of them to be looked at takes several times their memory. One
    without rows is one portion."""
    for start in range(0, max(len(column), 1), PORTION):
        yield column.slice(start, PORTION)


def spelt(column: pa.ChunkedArray, field: pa.Field, name: str, *, verify: bool = True) -> pa.ChunkedArray:
    """The column as texts. ``verify``: raise Failed (``invalid``) for the first value that would be read back as
    another one, by a reader of the format ``name`` that knows the type."""
    kind = field.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        if verify and "\0" in (found := _first_with_nul(column)):
            message = f"column {field.name!r} holds a text with a zero byte, which {name} cannot hold; replace it"
            raise Failed("invalid", message, column=field.name, value=shorten(found, MAX_VALUE))
        return column.cast(pa.string())
    texts = _texts(column)
    if texts is None:
        raise no_type(field, name)
    if verify and not (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):  # these have one text, and it theirs
        _verify(texts, column, field, name)
    return texts


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    kind, types = column.type, pa.types
    if types.is_null(kind):
        return column.cast(pa.string())
    if types.is_decimal(kind):
        return digits(column)
    if types.is_timestamp(kind) and kind.tz is not None:
        texts = column.cast(pa.timestamp(kind.unit, "UTC")).cast(pa.timestamp(kind.unit)).cast(pa.string())
        return pc.binary_join_element_wise(texts, "Z", "")
    if types.is_date64(kind):
        column = column.cast(pa.date32())
    if types.is_float16(kind):
        column = column.cast(pa.float32())
    known = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    if known or types.is_date(kind) or types.is_time(kind) or types.is_timestamp(kind):
        return column.cast(pa.string())
    return None


def digits(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Decimals as plain digits; Arrow writes those with many zeros after the point as ``1E-10``."""
    texts = column.cast(pa.string())
    if not pc.any(pc.match_substring(texts, "E")).as_py():
        return texts
    values = [None if value is None else format(value, "f") for value in column.to_pylist()]
    return pa.chunked_array([pa.array(values, pa.string())])


def _first_with_nul(column: pa.ChunkedArray) -> str:
    found = column.filter(pc.match_substring(column, "\0"))
    return str(found[0].as_py()) if len(found) else ""


def _verify(texts: pa.ChunkedArray, column: pa.ChunkedArray, field: pa.Field, name: str) -> None:
    """A text stands for its value alone: it is read again, and compared."""
    present = column.drop_null()
    texts = texts.drop_null()
    if not len(present) or _comes_back(texts, present):
        return

    def fits(start: int, stop: int) -> bool:
        return _comes_back(texts.slice(start, stop - start), present.slice(start, stop - start))

    bad = shorten(texts[first_bad(len(texts), fits)].as_py(), MAX_VALUE)
    message = (
        f"column {field.name!r} holds {bad}, which no reader of {name} gives back as {type_name(field.type)}; cast or "
        "replace it in the node before, or write parquet"
    )
    raise Failed("invalid", message, column=field.name, value=bad)


def _comes_back(texts: pa.ChunkedArray, values: pa.ChunkedArray) -> bool:
    try:
        again = _CELLS.lenient(texts, values.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    if pa.types.is_floating(values.type):
        if pa.types.is_float16(values.type):
            again, values = again.cast(pa.float32()), values.cast(pa.float32())
        same = pc.or_(pc.equal(again, values), pc.and_(pc.is_nan(again), pc.is_nan(values)))
        return pc.all(same).as_py() is True and _signs(again, values)
    return bool(again.combine_chunks().equals(values.combine_chunks()))


def _signs(again: pa.ChunkedArray, values: pa.ChunkedArray) -> bool:
    """No -0.0 has become 0.0."""
    zero = pc.equal(values.cast(pa.float64()), 0.0)
    signs = [pc.divide(1.0, one.cast(pa.float64()).filter(zero)) for one in (again, values)]
    return pc.all(pc.equal(*signs)).as_py() is not False
