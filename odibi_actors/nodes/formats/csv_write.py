"""Tables as csv: each cell so that our own reader gives back the same value where its type is declared, or refused.

A null is an empty cell; texts stand in quotes, an empty one as well. Numbers have all of their digits; moments with a
zone are in UTC and end in ``Z``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.formats import Malformed
from odibi_actors.nodes.formats.columns import Wanted
from odibi_actors.nodes.formats.csv import parse
from odibi_actors.nodes.formats.texts import no_type, portions, spelt

NAME = "csv"


def check(table: pa.Table) -> None:
    """Raise Failed (``invalid``) for the first column, by name, type or value, that would not come back as it is."""
    _check_names(table.column_names)
    for field in table.schema:
        if (
            pa.types.is_nested(field.type)
            or pa.types.is_binary(field.type)
            or pa.types.is_fixed_size_binary(field.type)
        ):
            raise no_type(field, NAME)
        for portion in portions(table.column(field.name)):
            spelt(portion, field, NAME)
    if table.num_columns == 1 and table.column(0).null_count:
        name = table.column_names[0]
        message = f"column {name!r} holds nulls, and is alone: a row of it would be an empty line; add a column"
        raise Failed("invalid", message, column=name)


def _check_names(names: list[str]) -> None:
    """The header is read again: a name of blanks, or a first one that looks like a remark, would be none."""
    if _come_back(names):
        return
    name = next((name for place, name in enumerate(names) if not _come_back(names[: place + 1])), names[0])
    message = f"csv has no column {name!r}: its readers would take it for something else; rename it in the node before"
    raise Failed("invalid", message, column=name)


def _come_back(names: list[str]) -> bool:
    try:
        return bool(parse(_header(names), {}, Wanted(), {}).table.column_names == names)
    except Malformed:
        return False


def _header(names: list[str]) -> bytes:
    return (",".join(_quoted(pa.array(names, pa.string())).to_pylist()) + "\n").encode()


def write(schema: pa.Schema, batches: Iterable[pa.RecordBatch], out: BinaryIO) -> None:
    """The header and the rows, batch by batch. Raises OSError."""
    out.write(_header(schema.names))
    for batch in batches:
        cells = [_cells(column, field) for field, column in zip(schema, batch.columns, strict=True)]
        lines = pc.binary_join_element_wise(*cells, ",").to_pylist()
        out.write("".join([f"{line}\n" for line in lines]).encode())


def _cells(column: pa.Array, field: pa.Field) -> pa.Array:
    """Texts in quotes, so that none is a null or a number to a reader; all else as it is spelt."""
    texts = spelt(pa.chunked_array([column]), field, NAME, verify=False).combine_chunks()
    is_text = pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
    return pc.fill_null(_quoted(texts) if is_text else texts, "")


def _quoted(texts: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise('"', pc.replace_substring(texts, '"', '""'), '"', "")
