"""Which of DuckDB's types leave a query exactly, which are refused, and with which cast they would.

DuckDB exports some of its types as what they are not: UHUGEINT as a signed decimal, BIT, BIGNUM and VARIANT as their
inner bytes, TIMETZ without its offset, the microseconds of an INTERVAL as nanoseconds that may not fit. ENUM and JSON
become text, UUID its text; HUGEINT, which ``sum`` of integers makes, int64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from odibi_actors.nodes.failures import Failed

REMEDIES = {
    "uhugeint": "{}::varchar, or {}::decimal(38, 0)",
    "bignum": "{}::varchar",
    "bit": "{}::varchar",
    "interval": "epoch_us({}) for its microseconds, or {}::varchar",
    "time with time zone": "{}::varchar, or {}::time",
    "union": "{}::varchar, or union_extract({}, 'member')",
    "variant": "{}::json, or {}::varchar",
    "geometry": "st_aswkb({}), or st_astext({})",
    "type": "{}::varchar",
}
"""Types without an exact Arrow form, by ``DuckDBPyType.id``, and what to write instead."""
_HUGE = "hugeint"


def check_types(names: Sequence[str], types: Sequence[Any]) -> None:
    """Raise Failed (``invalid``) for the first column of a type that is not carried, naming it."""
    for name, kind in zip(names, types, strict=True):
        found = next((one for one in _inner(kind) if one.id in REMEDIES), None)
        if found is not None:
            shown = '"' + name.replace('"', '""') + '"'
            what = f"is {kind}" if found is kind else f"is {kind}, with {found} in it"
            cast = REMEDIES[found.id].format(shown, shown) if found is kind else f"its {found} to varchar"
            message = f"sql: column {name!r} {what}, which is not carried exactly from here; cast it: {cast}"
            raise Failed("invalid", message, column=name)


def narrow(table: pa.Table, types: Sequence[Any]) -> pa.Table:
    """The table with int64 for each HUGEINT, also within lists. Raises Failed (``invalid``): beyond 64 bits."""
    for place, (name, kind) in enumerate(zip(table.column_names, types, strict=True)):
        if not any(one.id == _HUGE for one in _inner(kind)):
            continue
        column = table.column(place)
        try:
            table = table.set_column(place, name, column.cast(_narrowed(kind, column.type)))
        except pa.ArrowInvalid as error:
            message = f"sql: column {name!r} holds integers beyond 64 bits; cast it to decimal(38, 0) or varchar"
            raise Failed("invalid", message, column=name) from error
    return table


def _inner(kind: Any) -> list[Any]:
    """A type and those in it."""
    found = [kind]
    if kind.id in ("list", "array", "struct", "tuple", "map"):
        for name, child in kind.children:
            if name != "size":  # of an array, a number
                found += _inner(child)
    return found


def _narrowed(kind: Any, arrow: pa.DataType) -> pa.DataType:
    """The Arrow type a column was exported as, with int64 where DuckDB has a HUGEINT."""
    if kind.id == _HUGE:
        return pa.int64()
    if kind.id in ("list", "array"):
        inner = _narrowed(dict(kind.children)["child"], arrow.value_type)
        return pa.list_(inner) if kind.id == "list" else pa.list_(inner, arrow.list_size)
    if kind.id == "map":
        parts = dict(kind.children)
        return pa.map_(_narrowed(parts["key"], arrow.key_type), _narrowed(parts["value"], arrow.item_type))
    if kind.id in ("struct", "tuple"):
        children = [child for _, child in kind.children]
        return pa.struct([(f.name, _narrowed(one, f.type)) for one, f in zip(children, arrow, strict=True)])
    return arrow
