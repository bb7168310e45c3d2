"""Avro object container files: records by fastavro, their values as Arrow holds them exactly."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any, Final

import pyarrow as pa

from odibi_actors.batches.ipc import check_limits
from odibi_actors.config.remedies import listed
from odibi_actors.nodes.formats import Malformed, Parsed, first_bad, rebased
from odibi_actors.nodes.formats.avro_blocks import Container, blocks, opened
from odibi_actors.nodes.formats.avro_types import Held, Unreadable, held, takes_no_bytes
from odibi_actors.nodes.formats.columns import Wanted
from odibi_actors.nodes.formats.typed import fitted
from odibi_actors.units import plural

AT_ONCE: Final = 10_000
"""Records that are Python objects at a time."""
_DAMAGED = (EOFError, ValueError, IndexError, KeyError, OverflowError, TypeError, RecursionError)


def parse(data: bytes, types: Mapping[str, pa.DataType], wanted: Wanted) -> Parsed:
    """One file as a table with normal types, or ``types`` where given. Raises Malformed."""
    file = opened(data)
    plain, fields = _schema(file.schema)
    names = [field["name"] for field in fields]
    chosen = wanted.chosen(names)
    columns = {name: _held(name, fields[names.index(name)]["type"]) for name in chosen}
    arrays: dict[str, list[pa.Array]] = {name: [] for name in chosen}
    rows = size = 0
    for records in _records(file, plain):
        for name, how in columns.items():
            array = _array(name, how, [record[name] for record in records], rows)
            arrays[name].append(array)
            size += array.nbytes
        rows += len(records)
        check_limits(rows, size)
    schema = pa.schema([(name, how.kind) for name, how in columns.items()])
    table = pa.table({name: pa.chunked_array(arrays[name], schema.field(name).type) for name in chosen}, schema)
    rebased.check(table, file.meta, "avro")
    return Parsed(fitted(table, types), [name for name in names if name not in chosen])


def _schema(text: bytes) -> tuple[Any, list[dict[str, Any]]]:
    """What decodes the records to plain values, and the fields with all that is said of their types."""
    from fastavro.schema import SchemaParseException, UnknownType, parse_schema

    try:
        schema = json.loads(text)
        plain, whole = parse_schema(_plain(schema)), parse_schema(schema, expand=True)
    except (SchemaParseException, UnknownType, *_DAMAGED) as error:
        raise Malformed(f"the schema in the Avro file cannot be read: {error or type(error).__name__}") from error
    if not isinstance(whole, dict) or whole["type"] != "record":
        raise Malformed("the Avro file does not hold records")
    _check(whole)
    return plain, whole["fields"]


def _plain(schema: Any) -> Any:
    """Without logical types: fastavro would make objects of Python of them, which hold less."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if isinstance(schema, dict):
        return {key: _plain(value) for key, value in schema.items() if key != "logicalType"}
    return schema


def _check(schema: Any) -> None:
    """Raise Malformed for arrays of what takes no bytes: their length is bounded by nothing."""
    if isinstance(schema, list):
        for branch in schema:
            _check(branch)
    elif isinstance(schema, dict):
        if schema["type"] == "array" and takes_no_bytes(schema["items"]):
            raise Malformed("the Avro file has an array of nulls, which is not read")
        inner = [field["type"] for field in schema.get("fields", ())]
        for one in (*inner, *(schema[key] for key in ("items", "values") if key in schema)):
            _check(one)


def _held(name: str, schema: Any) -> Held:
    try:
        return held(schema)
    except Unreadable as error:
        raise Malformed(f"{error}; leave the column out: {listed('read.ignore', name)}", column=name) from None


def _records(file: Container, plain: Any) -> Iterator[list[dict[str, Any]]]:
    from fastavro import schemaless_reader

    done = 0
    for count, block in blocks(file):
        check_limits(done + count, len(block))
        if count > len(block):  # a few bytes could claim billions of records that take none
            message = f"a block of {len(block)} bytes claims {plural(count, 'record')}: the file is damaged"
            raise Malformed(f"{message}, or has records of nothing but nulls, which are not read")
        source = BytesIO(block)
        for start in range(0, count, AT_ONCE):
            records: list[Any] = []
            for _ in range(min(AT_ONCE, count - start)):
                try:
                    records.append(schemaless_reader(source, plain, None))
                except _DAMAGED as error:
                    why = str(error) or type(error).__name__
                    raise Malformed(f"record {done + 1} cannot be read: {why}") from error
                done += 1
            yield records
        if source.read(1):
            raise Malformed(f"bytes follow record {done} in its block: the file is damaged")


def _array(name: str, how: Held, values: list[Any], before: int) -> pa.Array:
    values = values if how.convert is None else list(map(how.convert, values))
    try:
        return pa.array(values, how.kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, ValueError) as error:
        row = first_bad(len(values), lambda start, stop: _fits(values[start:stop], how.kind))
        message = f"record {before + row + 1}: {values[row]!r:.80} is no {how.kind}: {error}; correct the file, or "
        message += f"leave the column out: {listed('read.ignore', name)}"
        raise Malformed(message, column=name, value=repr(values[row])[:80]) from error


def _fits(values: list[Any], kind: pa.DataType) -> bool:
    try:
        pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, ValueError):
        return False
    return True
