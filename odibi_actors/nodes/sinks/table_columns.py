"""What the rows for a table are asked whatever its database: which columns they have, and which of those it lacks."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pyarrow as pa

from odibi_actors.batches.normalise import without_case
from odibi_actors.config.arrow_types import type_name
from odibi_actors.errors import ConflictError
from odibi_actors.model import Target
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.sinks.table_names import quote

BRING_PARENT = "nothing is kept: bring that row there, and `odibictl iteration retry`"
"""The remedy where a row is refused, or another one would be left, without the row that it refers to."""
TAKEN = (
    "nothing is kept: another row has that value; change that row, or drop what makes the value unique, and "
    "`odibictl iteration retry`"
)
"""The remedy where a value that is to be unique stands in another row."""
TWICE = "two rows of one batch have that value: leave one of them out before the sink, or drop what makes it unique"
"""The remedy where rows that come together have such a value."""
LEADS_THERE = "A foreign key leads there"
"""Of a table that is missing, or has no unique columns to refer to."""


def of_others(message: str) -> bool:
    """Whether a table refuses rows for what stands in another one, or in its own besides: it may stand there later."""
    return BRING_PARENT in message or LEADS_THERE in message


RENAME = "rename one of them before the sink, in the SQL of a node (`select Name as other_name, ...`)"
"""The remedy where two columns are one to a database."""


def check_names(schema: pa.Schema, title: str, *, cased: bool = False) -> None:
    """Raise Failed (``invalid``) for names that the database ``title`` cannot have, or, unless they are ``cased``,
    cannot tell apart."""
    folded: dict[str, str] = {}
    for name in schema.names:
        if "\0" in name or not name:
            raise Failed("invalid", f"{title} has no names like {name!r}; rename the column", column=name)
        other = folded.setdefault(name if cased else without_case(name), name)
        if other != name:
            raise Failed("invalid", f"columns {other!r} and {name!r} are one to {title}; {RENAME}", column=name)


def check_there(at: Target, types: Mapping[str, str], known: Collection[str], generated: Collection[str] = ()) -> None:
    """Raise ConflictError unless a table has all columns of the rows, as names in ``known``, and computes none itself.
    ``types``: of each column of the rows the type that it would have there."""
    for name in types:
        if name in generated:
            message = f"column {name!r} of table {at.locator!r} in {at.connection} is generated; leave it out"
            raise ConflictError(message)
    if missing := {name: kind for name, kind in types.items() if name not in known}:
        table = quote(at.locator)
        fix = "; ".join(f"alter table {table} add column {quote(name)} {kind}" for name, kind in missing.items())
        names = ", ".join(map(repr, missing))
        raise ConflictError(f"table {at.locator!r} of {at.connection} has no column {names}; add it: {fix}")


def other_type(at: Target, field: pa.Field, declared: str, wanted: str) -> Failed:
    """A table keeps the column otherwise than it is."""
    return Failed(
        "invalid",
        f"column {field.name!r} of table {at.locator!r} in {at.connection} is declared {declared}, and the rows have "
        f"{type_name(field.type)}. Declare it {wanted}, or cast it before the sink",
        column=field.name,
    )


def not_unique(at: Target, keys: list[str]) -> ConflictError:
    """The keys of an upsert name several rows."""
    return ConflictError(
        f"table {at.locator!r} of {at.connection} has several rows of the same {', '.join(keys)}, by which rows are to "
        "be upserted: delete all but one of each, or choose other write.keys"
    )


def collated(at: Target, key: str) -> ConflictError:
    """Rows would be upserted, or deleted, whose keys are others than those that came."""
    return ConflictError(
        f"column {key!r} of table {at.locator!r} in {at.connection} takes different keys for one, by its collation or "
        "that of a unique index: the row of one key would be replaced, or deleted, for another. Make the column again "
        "without a collation (in PostgreSQL a deterministic one), and the index, or choose other write.keys"
    )


def count_older(table: str, held: str, keys: list[str], version: str, comparison: str = "") -> str:
    """The query for how many rows of ``held`` an upsert leaves out, since what is there has a greater version."""
    same = " and ".join(f"t.{quote(key)} = r.{quote(key)}" for key in keys)
    newer = f"t.{quote(version)} > r.{quote(version)}{comparison}"
    return f"select count(*) from {held} r where exists (select 1 from {quote(table)} t where {same} and {newer})"


def on_conflict(table: str, names: list[str], keys: list[str], version: str | None) -> str:
    """What an INSERT says of rows whose keys are there: they are replaced, unless they have a greater version."""
    if not keys:
        return ""
    rest = [quote(name) for name in names if name not in keys]
    change = f"update set {', '.join(f'{name} = excluded.{name}' for name in rest)}" if rest else "nothing"
    if version is not None and rest:
        former = f"{quote(table)}.{quote(version)}"
        change += f" where {former} is null or {former} <= excluded.{quote(version)}"
    return f" on conflict ({', '.join(map(quote, keys))}) do {change}"
