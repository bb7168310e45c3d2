"""Days and instants that Spark has written in its former calendar, the Julian one before 1582-10-15.

Such files say so: Spark up to 2.4 wrote no others, later ones do it with ``datetimeRebaseModeInWrite=LEGACY``, and
tell it in the metadata. Which day is meant depends on Spark's tables, for instants also on the zone of its session, so
that what may be another one is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from odibi_actors.config.remedies import listed
from odibi_actors.nodes.formats import Malformed, first_bad

VERSION: Final = b"org.apache.spark.version"
LEGACY: Final = b"org.apache.spark.legacyDateTime"
LEGACY_INT96: Final = b"org.apache.spark.legacyINT96"
FIRST_DAY: Final = -141_427
"""1582-10-15, from which on the calendars are one, in days."""
FIRST_SECOND: Final = -2_208_988_800
"""1900-01-01, from which on instants are the same in all zones, as Spark takes it."""
_PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


class _Asked(NamedTuple):
    """What of a column is in the former calendar: ``dates`` and instants, timestamps that are ``int96``. Others without
    a zone Spark never writes so."""

    dates: bool
    int96: bool


def check(table: pa.Table, meta: Mapping[bytes, bytes], form: str, int96: Collection[str] = ()) -> None:
    """Raise Malformed for the first value that is another one in the calendar of the file, by its metadata. ``form``:
    parquet or avro; ``int96``: the columns with timestamps of the former kind, which Spark 3.0 still wrote so."""
    version = _version(meta)
    if version is None:
        return  # not written by Spark, or by one that does not tell it
    legacy = LEGACY in meta or version < (3, 0)
    former = LEGACY_INT96 in meta or version < (3, 1)
    for name in table.column_names:
        asked = _Asked(legacy, former and name in int96)
        column = table.column(name).combine_chunks()
        column = (
            pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) and column.num_chunks else column
        )
        if not any(asked) or not len(column) or not _early(column, asked):
            continue

        def fits(start: int, stop: int, column: Any = column, asked: _Asked = asked) -> bool:
            return not _early(column.take(pa.array(range(start, stop), pa.int64())), asked)

        row = first_bad(len(column), fits)
        value = _early(column.take(pa.array([row])), asked)
        mode = f"spark.sql.{form}.{'int96' if asked.int96 else 'datetime'}RebaseModeInWrite=CORRECTED"
        message = f"column {name!r}, row {row + 1}: {value} is written in the former calendar of Spark, where it is "
        message += f"another time; write the file again with Spark 3 and {mode}, or leave the column out: "
        raise Malformed(message + listed("read.ignore", name), column=name, value=value)


def _version(meta: Mapping[bytes, bytes]) -> tuple[int, int] | None:
    if VERSION not in meta:
        return (2, 4) if LEGACY in meta else None
    numbers = [int(one) if one.isdigit() else 0 for one in meta[VERSION].decode("ascii", "replace").split(".")[:2]]
    return (numbers[0], numbers[1] if len(numbers) > 1 else 0)


def _early(column: pa.Array, asked: _Asked) -> str:
    """The first value that is before the calendars are one, of those that are asked for; "" where none is."""
    for leaf in _leaves(column):
        if pa.types.is_date(leaf.type):
            days = leaf.cast(pa.date32()).cast(pa.int32())
            early = leaf.filter(pc.less(days, FIRST_DAY)) if asked.dates else leaf.slice(0, 0)
        elif asked.int96 if leaf.type.tz is None else asked.dates:
            early = leaf.filter(pc.less(leaf.cast(pa.int64()), FIRST_SECOND * _PER_SECOND[leaf.type.unit]))
        else:
            continue
        if len(early):
            return str(early.slice(0, 1).cast(pa.string())[0].as_py())
    return ""


def _leaves(column: pa.Array) -> Iterator[pa.Array]:
    """The dates and timestamps in a column, however deep."""
    types = pa.types
    if types.is_date(column.type) or types.is_timestamp(column.type):
        yield column
    elif types.is_map(column.type):
        yield from _leaves(column.keys)
        yield from _leaves(column.items)
    elif types.is_list(column.type) or types.is_large_list(column.type) or types.is_fixed_size_list(column.type):
        yield from _leaves(column.flatten())
    elif types.is_struct(column.type):
        for part in column.flatten():
            yield from _leaves(part)
