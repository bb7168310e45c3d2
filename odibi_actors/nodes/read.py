"""Read nodes: planned files to one table of the pinned schema."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from odibi_actors.batches.ipc import check_limits, decode_schema, encode_schema
from odibi_actors.config.model import ReadSpec
from odibi_actors.errors import BatchError
from odibi_actors.model import FilePosition
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.formats import Malformed, csv, parquet
from odibi_actors.nodes.options import check_options
from odibi_actors.nodes.positions import load
from odibi_actors.nodes.schemas import declared_types, override, settle, widen


class ReadResult(NamedTuple):
    """``schema`` (serialised) and ``schema_text`` (``name: type``) are set when none was pinned and rows were found."""

    table: pa.Table
    schema: bytes = b""
    schema_text: list[str] = []


def read(spec: ReadSpec, positions: list[FilePosition], pinned: bytes) -> ReadResult:
    """All planned files of one iteration, in order, as one table.

    The schema is ``read.schema`` over the pinned one (``pinned``, b"" for none) over what the files of this first batch
    are inferred as; its order is the table's. Raises Failed (``changed``, ``malformed``, ``invalid``) and OSError.
    """
    if problems := check_options(spec.format, spec.options):
        raise Failed("invalid", "; ".join(problems))
    declared = declared_types(spec.schema)
    if pinned:
        schema = override(decode_schema(pinned), declared)
        return ReadResult(_concat([_fitted(spec, position, schema) for position in positions], schema))
    if not positions:
        message = "there is nothing to read and no schema is known yet; declare read.schema, or wait for a first file"
        raise Failed("invalid", message)
    return _read_first(spec, positions, declared)


def _read_first(spec: ReadSpec, positions: list[FilePosition], declared: dict[str, pa.DataType]) -> ReadResult:
    tables: list[pa.Table] = []
    kinds: dict[str, pa.DataType] = {}
    for position in positions:
        table = _parse(spec, position, declared, list(kinds) or None)
        _check_declared(position, table, declared)
        for field in table.schema:
            kinds[field.name] = declared.get(field.name) or widen(kinds.get(field.name, field.type), field.type)
        tables.append(table)
    schema = pa.schema([(name, declared.get(name) or settle(kind)) for name, kind in kinds.items()])
    for index, position in enumerate(positions):
        if tables[index].schema != schema:
            tables[index] = _fitted(spec, position, schema)
    table = _concat(tables, schema)
    if not table.num_rows:
        return ReadResult(table)  # headers alone tell no types: let a later batch pin them
    return ReadResult(table, encode_schema(schema), [f"{field.name}: {field.type}" for field in schema])


def _check_declared(position: FilePosition, table: pa.Table, declared: dict[str, pa.DataType]) -> None:
    missing = [name for name in declared if name not in table.column_names]
    if missing:
        message = f"column {missing[0]!r} of read.schema is missing; found: {', '.join(table.column_names)}"
        raise _failed(position, Malformed(message, line=1, column=missing[0]))


def _fitted(spec: ReadSpec, position: FilePosition, schema: pa.Schema) -> pa.Table:
    types = {field.name: field.type for field in schema}
    return _parse(spec, position, types, schema.names)


def _parse(
    spec: ReadSpec, position: FilePosition, types: Mapping[str, pa.DataType], expected: list[str] | None
) -> pa.Table:
    data = load(Path(spec.connection.path), position)
    try:
        if spec.format == "csv":
            table = csv.parse(data, types, expected, spec.options)
        else:
            table = parquet.parse(data, types, expected)
        check_limits(table.num_rows, table.nbytes)
    except pa.ArrowNotImplementedError as error:
        raise Failed("invalid", f"a column of this type cannot be read from {spec.format}: {error}") from error
    except BatchError as error:
        raise _failed(position, Malformed(str(error))) from error
    except Malformed as error:
        raise _failed(position, error) from error
    return table


def _failed(position: FilePosition, error: Malformed) -> Failed:
    place = position.identity
    if error.line:
        place += f" line {error.line}"
    if error.column:
        place += f", column {error.column}"
    return Failed(
        "malformed",
        f"{place}: {error.message}",
        position=position.identity,
        line=error.line,
        column=error.column,
        value=error.value,
    )


def _concat(tables: list[pa.Table], schema: pa.Schema) -> pa.Table:
    if not tables:
        return schema.empty_table()
    table = pa.concat_tables([table.select(schema.names).cast(schema) for table in tables])
    check_limits(table.num_rows, table.nbytes)
    return table
