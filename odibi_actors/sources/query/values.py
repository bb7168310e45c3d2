"""Rows of values without declared types as a table: a column is what all of its values are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from odibi_actors.config.remedies import schema
from odibi_actors.kinds.dialect import BEHIND, LAST
from odibi_actors.nodes.formats import Malformed

_EXACT = 1 << 53
_TYPES: dict[type, pa.DataType] = {int: pa.int64(), float: pa.float64(), str: pa.string(), bytes: pa.binary()}


def table(batches: Iterator[list[tuple[Any, ...]]], names: Sequence[str], types: Mapping[str, pa.DataType]) -> pa.Table:
    """The rows; behind ``names`` come the columns of edges. Whole numbers of a column
    that ``types`` have as string become texts. Raises Malformed: values of several types."""
    every = [*names, BEHIND, LAST]
    columns: list[list[Any]] = [[] for _ in every]
    for batch in batches:
        for column, values in zip(columns, zip(*batch, strict=True), strict=True):
            column.extend(values)
    wanted = [pa.types.is_string(types.get(name, pa.null())) for name in every]
    made = [_column(values, name, text) for values, name, text in zip(columns, every, wanted, strict=True)]
    return pa.Table.from_arrays(made, names=every)


def _column(values: list[Any], name: str, text: bool) -> pa.Array:
    kinds = set(map(type, values)) - {type(None)}
    if text and kinds <= {int, str}:
        return pa.array([None if one is None else str(one) for one in values], pa.string())
    if kinds == {int, float}:
        wide = next((one for one in values if isinstance(one, int) and abs(one) > _EXACT), None)
        if wide is not None:
            message = f"{wide} among numbers with a point, of which none is as exact"
            raise Malformed(message, column=name, value=str(wide))
        return pa.array([None if one is None else float(one) for one in values], pa.float64())
    if len(kinds) > 1:
        words = {int: "numbers", float: "numbers", str: "texts", bytes: "blobs"}
        said = " and ".join(sorted({words[one] for one in kinds}))
        message = f"its values are {said}: one type is needed; cast it in a query, or leave it out"
        raise Malformed(message, column=name)
    if text and kinds:
        raise Malformed(f"its values are no texts; {schema('read', name, _TYPES[kinds.pop()])}", column=name)
    return pa.array(values, _TYPES[kinds.pop()] if kinds else pa.null())
