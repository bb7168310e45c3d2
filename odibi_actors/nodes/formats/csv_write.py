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
from odibi_actors.nodes.formats.texts import no_type, spelt

NAME = "csv"


def check(table: pa.Table) -> None:
    """Raise Failed (``invalid``) for the first column, by type or by value, that would not come back as it is."""
    for field in table.schema:
        if (
            pa.types.is_nested(field.type)
            or pa.types.is_binary(field.type)
            or pa.types.is_fixed_size_binary(field.type)
        ):
            raise no_type(field, NAME)
        if field.name != field.name.strip() or not field.name:
            raise Failed(
                "invalid",
                f"csv has no column {field.name!r}: many readers of csv strip the blanks around a name; rename it",
            )
        spelt(table.column(field.name), field, NAME)
    if table.num_columns == 1 and table.column(0).null_count:
        name = table.column_names[0]
        message = f"column {name!r} holds nulls, and is alone: a row of it would be an empty line; add a column"
        raise Failed("invalid", message, column=name)


def write(schema: pa.Schema, batches: Iterable[pa.RecordBatch], out: BinaryIO) -> None:
    """The header and the rows, batch by batch. Raises OSError."""
    names = _quoted(pa.array(schema.names, pa.string())).to_pylist()
    out.write((",".join(names) + "\n").encode())
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
