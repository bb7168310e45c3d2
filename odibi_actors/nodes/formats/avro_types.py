"""Which Arrow type holds the values of an Avro type exactly, and how they come there.

Types and logical types are those of the Apache Avro 1.12 specification.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, NamedTuple

import pyarrow as pa

PRIMITIVE: Final = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
}
LOGICAL: Final = {
    ("int", "date"): pa.date32(),
    ("int", "time-millis"): pa.time32("ms"),
    ("long", "time-micros"): pa.time64("us"),
    ("long", "timestamp-millis"): pa.timestamp("ms", "UTC"),
    ("long", "timestamp-micros"): pa.timestamp("us", "UTC"),
    ("long", "timestamp-nanos"): pa.timestamp("ns", "UTC"),
    ("long", "local-timestamp-millis"): pa.timestamp("ms"),
    ("long", "local-timestamp-micros"): pa.timestamp("us"),
    ("long", "local-timestamp-nanos"): pa.timestamp("ns"),
}
RECORDS: Final = ("record", "error")
MAX_DIGITS: Final = 76
"""Of a decimal256."""

Convert = Callable[[Any], Any]


class Unreadable(Exception):
    """No type of Arrow holds its values exactly."""


class Held(NamedTuple):
    """``kind`` holds the values once ``convert`` is applied to each (None: as they are decoded)."""

    kind: pa.DataType
    convert: Convert | None = None


def held(schema: Any) -> Held:
    """How values of an Avro type (references expanded) are held. Raises Unreadable."""
    if isinstance(schema, list):
        return _union(schema)
    if isinstance(schema, str):
        if schema not in PRIMITIVE:
            raise Unreadable(f"its type {schema} holds itself")
        return Held(PRIMITIVE[schema])
    name, logical = schema["type"], schema.get("logicalType")
    match name:
        case "record" | "error":
            return _record(schema)
        case "array":
            item = held(schema["items"])
            return Held(pa.list_(item.kind), _each(item.convert))
        case "map":
            value = held(schema["values"])
            return Held(pa.map_(pa.string(), value.kind), _pairs(value.convert))
        case "enum":
            return Held(pa.string())
        case "bytes" | "fixed" if logical == "decimal":
            return _decimal(schema)
        case "fixed" if logical == "duration":
            raise Unreadable("a duration of months, days and milliseconds is not read")
        case "fixed" if logical == "uuid" and schema["size"] == 16:
            return Held(pa.string(), _given(lambda value: str(uuid.UUID(bytes=value))))
        case "fixed":
            return Held(pa.binary(schema["size"]))
    return Held(LOGICAL.get((name, logical)) or PRIMITIVE[name])


def takes_no_bytes(schema: Any) -> bool:
    """Whether a value is no byte of the file, so that a few bytes could claim billions of them."""
    if isinstance(schema, dict):
        if schema["type"] in RECORDS:
            return all(takes_no_bytes(field["type"]) for field in schema["fields"])
        return bool(schema["type"] == "null" or (schema["type"] == "fixed" and schema["size"] == 0))
    return bool(schema == "null")


def _union(branches: list[Any]) -> Held:
    some = [branch for branch in branches if branch != "null"]
    if len(some) > 1:
        names = [branch if isinstance(branch, str) else branch.get("name", branch["type"]) for branch in branches]
        raise Unreadable(f"a union of {', '.join(map(str, names))} is no one type")
    return held(some[0]) if some else Held(pa.null())


def _record(schema: dict[str, Any]) -> Held:
    fields = [(field["name"], held(field["type"])) for field in schema["fields"]]
    kind = pa.struct([(name, one.kind) for name, one in fields])
    changing = [(name, one.convert) for name, one in fields if one.convert is not None]
    if not changing:
        return Held(kind)

    def convert(value: Any) -> Any:
        return {**value, **{name: change(value[name]) for name, change in changing}}

    return Held(kind, _given(convert))


def _decimal(schema: dict[str, Any]) -> Held:
    precision, scale = schema.get("precision"), schema.get("scale", 0)
    if not isinstance(precision, int) or not isinstance(scale, int) or not 0 <= scale <= precision or precision < 1:
        return Held(
            pa.binary(schema["size"]) if schema["type"] == "fixed" else pa.binary()
        )  # as the specification asks
    if precision > MAX_DIGITS:
        raise Unreadable(f"a decimal of {precision} digits is longer than {MAX_DIGITS}")
    kind = pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)

    def convert(value: bytes) -> Decimal:
        number = int.from_bytes(value, "big", signed=True)
        return Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -scale))  # exact at any length

    return Held(kind, _given(convert))


def _given(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


def _each(convert: Convert | None) -> Convert | None:
    return None if convert is None else _given(lambda values: [convert(value) for value in values])


def _pairs(convert: Convert | None) -> Convert:
    if convert is None:
        return _given(lambda value: list(value.items()))
    return _given(lambda value: [(key, convert(one)) for key, one in value.items()])
