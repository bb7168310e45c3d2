"""Keys and versions of the rows to upsert, or delete by, as their table holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from odibi_actors.config.arrow_types import type_name
from odibi_actors.nodes.failures import MAX_VALUE, Failed, shorten
from odibi_actors.units import plural

if TYPE_CHECKING:
    from odibi_actors.nodes.sinks.table_kind import TableKind

_COUNT, _PLACE = "=count", "=place"


def only_keys(table: pa.Table, keys: list[str], version: str | None) -> pa.Table:
    """What of the rows tells which are to be deleted. Raises Failed (``invalid``): they have no such column."""
    wanted = [*keys, *([version] if version is not None else [])]
    for name in wanted:
        _check_there(table, name, "key to delete by" if name in keys else "write.version")
    return table.select(wanted)


def check_keys(
    table: pa.Table, keys: list[str], version: str | None, kind: TableKind, *, once: bool = False
) -> pa.Table:
    """Rows of which no two have the same keys. With ``version`` the newest of those stays, without one they are
    refused, or, where ``once`` is enough, taken for one. Raises Failed (``invalid``), naming the values, also for a key
    or a version that is null."""
    for key in keys:
        _check_column(table, key, "key to delete by" if once else "upsert key")
    if version is not None:
        _check_column(table, version, "write.version")
        if not kind.sorts(table.column(version).type):
            message = (
                f"write.version {version!r} is {type_name(table.column(version).type)}, which {kind.title} keeps as "
                "text that does not sort; cast it to int64 or double"
            )
            raise Failed("invalid", message, column=version)
    stored = pa.table({key: kind.stored(table.column(key)) for key in keys})
    counts = stored.group_by(keys, use_threads=False).aggregate([([], "count_all")])
    counts = counts.rename_columns([*keys, _COUNT])
    twice = counts.filter(pc.greater(counts.column(_COUNT), 1))
    if not twice.num_rows:
        return table
    if version is None and once:
        return _newest(table, stored, keys, None, kind)
    if version is None:
        row = twice.slice(0, 1).to_pylist()[0]
        values = _shown(row, keys)
        message = (
            f"{plural(twice.num_rows, 'key stands', 'keys stand')} in several rows of one batch, first {values} "
            f"({row[_COUNT]} rows): which of them is to be kept? Aggregate, add a column to write.keys, or name a "
            "write.version, whose greatest is kept"
        )
        raise Failed("invalid", message, column=", ".join(keys), value=values)
    return _newest(table, stored, keys, version, kind)


def _check_there(table: pa.Table, name: str, what: str) -> None:
    if name not in table.column_names:
        message = f"{what} {name!r} is not a column; columns: {', '.join(table.column_names)}"
        raise Failed("invalid", message, column=name)


def _check_column(table: pa.Table, name: str, what: str) -> None:
    _check_there(table, name, what)
    column = table.column(name)
    nulls = pc.sum(pc.is_null(column, nan_is_null=pa.types.is_floating(column.type))).as_py() or 0
    if nulls:
        raise Failed("invalid", f"{what} {name!r} is null in {plural(nulls, 'row')}; filter such rows out", column=name)


def _newest(table: pa.Table, stored: pa.Table, keys: list[str], version: str | None, kind: TableKind) -> pa.Table:
    """One row of each key: that of the greatest version, or the first. Rows that are alike are one; others of one
    version refused."""
    versions = kind.stored(table.column(version)).to_pylist() if version is not None else None
    best: dict[tuple[Any, ...], int] = {}
    for place, key in enumerate(zip(*(stored.column(key).to_pylist() for key in keys), strict=True)):
        former = best.setdefault(key, place)
        if former == place or versions is None:
            continue
        if versions[place] > versions[former]:
            best[key] = place
        elif versions[place] == versions[former]:
            one, other = table.slice(former, 1), table.slice(place, 1)
            if not one.equals(other):
                values = _shown(dict(zip(keys, key, strict=True)), keys)
                message = (
                    f"several rows of one batch have the key {values} and the same {version} "
                    f"({versions[place]}): which of them is to be kept? Aggregate, or use a finer write.version"
                )
                raise Failed("invalid", message, column=", ".join(keys), value=values)
    return table.take(pa.array(sorted(best.values()), pa.int64()))


def _shown(row: dict[str, Any], keys: list[str]) -> str:
    return shorten(", ".join(f"{key}={row[key]!r}" for key in keys), MAX_VALUE)
