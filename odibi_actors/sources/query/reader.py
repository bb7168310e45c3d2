"""Reading planned rows of a table in a worker: just those of the plan, each value as it is, or refused by name."""

from __future__ import annotations

import shlex
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from odibi_actors.batches.ipc import check_limits, decode_schema, encode_schema
from odibi_actors.batches.normalise import normalise
from odibi_actors.config.arrow_types import type_name
from odibi_actors.config.model import ReadSpec
from odibi_actors.errors import BatchError, ConfigError
from odibi_actors.kinds.connection import Access
from odibi_actors.kinds.dialect import BEHIND, LAST, Column, Dialect, Session, Unreadable
from odibi_actors.kinds.registry import dialect_of
from odibi_actors.kinds.source import ReadResult
from odibi_actors.model import Position, PositionRead
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.formats import Malformed
from odibi_actors.nodes.formats.columns import Wanted
from odibi_actors.nodes.schemas import declared_types, override, settle
from odibi_actors.runtime.visible import in_line, named
from odibi_actors.sources.query.cutting import parts, widened
from odibi_actors.sources.query.marks import beyond, digest_of
from odibi_actors.sources.query.pieces import Read, detail_of
from odibi_actors.sources.query.statements import RANGE, Statements, check_sort, initial_of, what
from odibi_actors.sources.query.types import brought
from odibi_actors.sources.query.watermarks import Unordered
from odibi_actors.units import plural

Types = dict[str, pa.DataType]


def load(spec: ReadSpec, positions: list[Position], pinned: bytes, access: Access) -> ReadResult:
    """All planned rows of one iteration, in their order, as one table.

    The schema is ``read.schema`` over the pinned one (b"" for none) over what the database says, and, where it says
    nothing, what the values of this first batch are. Raises Failed.
    """
    declared = declared_types(spec.schema)
    known = override(decode_schema(pinned), declared) if pinned else None
    if not positions:
        if known is None:
            raise Failed("invalid", "there is nothing to read and no schema is known yet; declare read.schema")
        return ReadResult(_joined(known, []))
    try:
        with _dialect(spec).open(spec, access) as session:
            session.snapshot()
            reader = _Reader(session, spec, known, declared)
            tables = [reader.read(position) for position in positions]
    except Unreadable as error:
        raise Failed("busy" if error.passing else "invalid", str(error)) from error
    schema = reader.schema(tables)
    table = _joined(schema, tables)
    result = ReadResult(table, files=reader.files, remarks=reader.remarks)
    if pinned or not table.num_rows:
        return result
    texts = [f"{field.name}: {type_name(field.type)}" for field in schema]
    notes = [reader.note(field.name) for field in schema]
    return result._replace(schema=encode_schema(schema), schema_text=texts, notes=notes, left_out=reader.left_out)


def _dialect(spec: ReadSpec) -> Dialect:
    try:
        return dialect_of(spec.connection.type)
    except ConfigError as error:
        raise Failed("invalid", str(error)) from error


class _Reader:
    """Reads positions in one session. ``known``: the pinned schema; ``declared``: what ``read.schema`` says."""

    def __init__(self, session: Session, spec: ReadSpec, known: pa.Schema | None, declared: Types) -> None:
        self._session, self._spec, self._declared = session, spec, declared
        self._statements = Statements(session, spec)
        self.files: list[PositionRead] = []
        self.remarks: list[str] = []
        wanted = Wanted(tuple(spec.columns), tuple(spec.ignore), tuple(spec.optional), declared=frozenset(declared))
        self._types: Types = {}
        if known is not None:
            self._types = {field.name: field.type for field in known if not wanted.ignored(field.name)}
            wanted = wanted._replace(expected=tuple(self._types), types=self._types)
        else:
            self._types = {name: kind for name, kind in declared.items() if not wanted.ignored(name)}
        there = {column.name: column for column in self._statements.columns}
        chosen = _chosen(spec, wanted, list(there), [] if known is not None else list(self._types))
        self._columns: list[Column] = [there[name] for name in chosen]
        self.left_out = [name for name in there if name not in chosen]

    def read(self, position: Position) -> pa.Table:
        """The rows of one; columns whose types nothing tells are of type null."""
        try:
            one = detail_of(position)
        except ValueError as error:
            raise Failed("invalid", str(error), position=position.identity) from error
        if one.what != what(self._spec):
            message = f"{named(position.identity)} was planned of {one.what}, and {what(self._spec)} is read now"
            raise Failed("changed", message, position=position.identity)
        check_sort(self._statements, one.low, one.high)
        self._statements.within(one.part)
        try:
            table, absent = _planned(one, self._session.table(*self._select(one), self._columns, self._types))
            check_limits(table.num_rows, table.nbytes)
            table = brought(_normal(table), self._types)
        except Malformed as error:
            column = f", column {in_line(error.column)}" if error.column else ""
            message = f"{named(position.identity)}{column}: {error.message}"
            said = Failed("malformed", message, position=position.identity, column=error.column, value=error.value)
            raise said from error
        except (BatchError, Unordered) as error:
            message = f"{named(position.identity)}: {error}"
            raise Failed("malformed", message, position=position.identity) from error
        if table.num_rows != position.rows:
            self.remarks.append(_differs(position, table.num_rows))
        if widened(one.low, one.high) and absent:
            self.remarks.append(_passed_over(one, position, absent))
        digest = xxhash.xxh3_128_digest(f"{position.identity}\0{table.num_rows}".encode())
        self.files.append(PositionRead(digest, position.detail, table.num_rows))
        return table

    def schema(self, tables: list[pa.Table]) -> pa.Schema:
        """Of all of them together."""
        names = [column.name for column in self._columns]
        names += [name for name in self._types if name not in names]  # optional, and not there
        found: Types = {}
        for name in names:
            kinds = [kind for table in tables if not pa.types.is_null(kind := _type(table, name))]
            found[name] = self._types.get(name) or settle(kinds[0] if kinds else pa.null())
        return pa.schema(list(found.items()))

    def note(self, name: str) -> str:
        """How the type of a column came."""
        kind = next((column.type for column in self._columns if column.name == name), "")
        if name in self._declared:
            return ""
        return f"{kind} in the database" if kind else "as the values are"

    def _select(self, one: Read) -> tuple[str, list[object]]:
        limits = parts(one.low, one.high, initial_of(one.initial, one.high))
        types = self._types
        quoted = [
            self._session.selected(column, pa.types.is_string(types.get(column.name, pa.null())))
            for column in self._columns
        ]
        return self._statements.select(quoted, limits.span, limits.behind, limits.last)


def _chosen(spec: ReadSpec, wanted: Wanted, there: list[str], needed: list[str]) -> list[str]:
    """The columns to read. Raises Failed: one is missing, or new."""
    try:
        chosen = wanted.chosen(there)
        missing = [name for name in needed if name not in there and name not in spec.optional]
        if missing:
            raise Malformed(f"column {missing[0]!r} of read.schema is missing; found: {', '.join(there)}")
    except Malformed as error:
        raise Failed("invalid", f"{what(spec)}: {error.message}", column=error.column) from error
    return chosen


def _normal(table: pa.Table) -> pa.Table:
    """With normal types, but for those that are not known: these stay null."""
    unknown = [field.name for field in table.schema if pa.types.is_null(field.type)]
    made = normalise(table)
    for name in unknown:
        made = made.set_column(made.schema.get_field_index(name), name, pa.nulls(made.num_rows))
    return made


def _planned(one: Read, table: pa.Table) -> tuple[pa.Table, int]:
    """Without the rows at the edges that are not those of this position: read before, or not planned. And how many of
    those that are known from now on are not in it."""
    behind, last = table.column(BEHIND), table.column(LAST)
    table = table.drop_columns([BEHIND, LAST])
    read = Counter(one.low.known or ())
    planned = beyond(one.high.known or (), one.low.known or ())
    drop = set[int]()
    for column, wanted in ((behind, None), (last, planned)):
        places = pc.indices_nonzero(column.is_valid()).to_pylist()
        for place, text in zip(places, column.drop_null().to_pylist(), strict=True):
            digest = digest_of(text)
            if read[digest]:
                read[digest] -= 1
                drop.add(place)
            elif wanted is not None and not wanted[digest]:
                drop.add(place)
            elif wanted is not None:
                wanted[digest] -= 1
    absent = planned.total()
    if not drop:
        return table, absent
    return table.filter(pa.array([place not in drop for place in range(table.num_rows)], pa.bool_())), absent


def _type(table: pa.Table, name: str) -> pa.DataType:
    index = table.schema.get_field_index(name)
    return table.schema.field(index).type if index >= 0 else pa.null()


def _joined(schema: pa.Schema, tables: list[pa.Table]) -> pa.Table:
    """One table; a column that is not there is null."""
    whole = []
    for table in tables:
        columns = []
        for field in schema:
            index = table.schema.get_field_index(field.name)
            found = table.column(index) if index >= 0 else pa.nulls(table.num_rows)
            if not pa.types.is_null(found.type) and found.type != field.type:
                # Ranges of one batch whose values alone tell the type, as in SQLite.
                found = brought(pa.table({field.name: found}), {field.name: field.type}).column(0)
            columns.append(found if found.type == field.type else pa.nulls(table.num_rows, field.type))
        whole.append(pa.Table.from_arrays(columns, schema=schema))
    table = pa.concat_tables(whole) if whole else schema.empty_table()
    check_limits(table.num_rows, table.nbytes)
    return table


def _passed_over(one: Read, position: Position, rows: int) -> str:
    """What is told where ``lag`` reaches further than when the table was read up to here: nobody knows by then which of
    the rows that it takes in were read."""
    upto = one.low.floor if one.low.known is not None else ""
    return (
        f"{named(position.identity)}: `lag` takes in {plural(rows, 'row')} from {one.high.floor} on that it did not "
        "when the table was read up to there; which of them were read is not known, and none is read now: "
        f"`odibictl pipeline backfill P --rows {shlex.quote(one.high.floor + RANGE + upto)}` reads them (once more)"
    )


def _differs(position: Position, rows: int) -> str:
    """What is told where a range has other rows than when it was planned."""
    name, other = named(position.identity), abs(position.rows - rows)
    if rows < position.rows:
        return f"{name}: {plural(other, 'row')} fewer than planned: deleted, or changed, and so behind it now"
    return f"{name}: {plural(other, 'row')} more than planned, which came late"
