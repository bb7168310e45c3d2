"""The schema of a sink: told by its first part, kept by all later ones.

A later batch is brought to it exactly, or refused: naming the column, both types, the first value that does not fit,
and the way out. Nothing is rounded, cut or read as text.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from odibi_actors.batches.normalise import normal_type
from odibi_actors.config.arrow_types import type_name
from odibi_actors.config.remedies import schema
from odibi_actors.model import SchemaChange
from odibi_actors.nodes.failures import MAX_VALUE, Failed, shorten
from odibi_actors.nodes.formats.columns import twin
from odibi_actors.nodes.schemas import hollow, parse_type

VOID = b"odibi.void"
"""Metadata of a staged part of which nothing is to be seen (``Pin.void``)."""
_NULLS = b"odibi.nulls"
"""Metadata of a pinned field: the part that told its type held nothing but nulls in it."""


class Pin:
    """What a sink holds its parts to. ``known`` None: the next part tells it. ``open``: columns may come and go with
    the next part, types stay. ``declared`` is ``write.schema``; ``name`` is ``pipeline.node``. ``guessed``: nobody
    knows the types of columns without values yet. ``evolve``: new columns are taken in, and missing ones are null;
    ``changes`` says which were so, of the part that was brought to it last."""

    def __init__(
        self,
        known: pa.Schema | None = None,
        *,
        open: bool = False,
        declared: dict[str, str] | None = None,
        name: str = "",
        guessed: bool = False,
        evolve: bool = False,
    ) -> None:
        self.known = known
        self.pinned = known is not None  # a sink may learn from its target what it is held to
        self.evolve = evolve
        self.changes: list[SchemaChange] = []
        self.guessed = guessed
        self.open = open
        self.name = name
        try:
            self.declared = {column: parse_type(text) for column, text in (declared or {}).items()}
        except ValueError as error:
            raise Failed("invalid", f"write.schema: {error}") from error

    def conform(self, table: pa.Table) -> pa.Table:
        """The table in the pinned schema, or, where there is none, in its own with the declared types. Raises Failed
        (``invalid``)."""
        if not table.column_names and not table.num_rows:  # nothing, from a function or file that has found nothing
            self.guessed = True
            self.changes = []
            return self.known.remove_metadata().empty_table() if self.known is not None else table
        self._check_names(table)
        there = dict.fromkeys(table.column_names)
        types = {} if self.known is None else {field.name: field for field in self.known}
        for column, kind in self.declared.items():
            if column in types and types[column].type != kind and column in there:
                raise Failed("invalid", self._declared_late(column, kind, types[column].type), column=column)
        names = list(types) if self._evolves else [name for name in types if name in there]
        if table.num_rows or not self._evolves:
            names += [name for name in there if name not in types]
        self._note(types, table)
        columns = []
        for name in names:
            if name not in there:
                columns.append(pa.chunked_array([pa.nulls(table.num_rows, types[name].type)]))
                continue
            column = table.column(name)
            wanted = types[name].type if name in types else self.declared.get(name, normal_type(column.type))
            columns.append(self._cast(name, column, wanted, types.get(name)))
        return pa.table(columns, names=names)

    @property
    def _evolves(self) -> bool:
        return self.evolve and self.known is not None and not self.open

    def _note(self, known: Mapping[str, pa.Field], table: pa.Table) -> None:
        self.changes = []
        if self._evolves and table.num_rows:
            there = frozenset(table.column_names)
            self.changes = [SchemaChange(name, "missing") for name in known if name not in there]
            for field in table.schema:
                if field.name not in known:
                    kind = self.declared.get(field.name, normal_type(field.type))
                    self.changes.append(SchemaChange(field.name, "new", type_name(kind), twin(field.name, known)))

    def told(self, table: pa.Table) -> pa.Schema | None:
        """The schema to pin as of a part with these rows; None: the one that is pinned holds."""
        if self.known is None or self.open or not self.pinned:
            return pin_of(table)
        if self.evolve and table.num_columns > len(self.known):
            return pa.schema([*self.known, *list(pin_of(table))[len(self.known) :]])
        return None

    def void(self, table: pa.Table) -> bool:
        """Nothing is to be seen of this part: it has no rows, and columns of types that nobody told. Readers of a
        folder would take those of its first file for all."""
        return self.guessed and not table.num_rows and (self.known is None or self.open)

    def _check_names(self, table: pa.Table) -> None:
        names, there = table.column_names, frozenset(table.column_names)  # of thousands of columns each look-up counts
        twice = [name for name in names if names.count(name) > 1] if len(there) < len(names) else []
        if twice:
            raise Failed("invalid", f"column {twice[0]!r} is there twice; name each column once", column=twice[0])
        if not names:
            raise Failed("invalid", "the table has no columns; a sink needs some")
        absent = [name for name in self.declared if name not in there]
        if absent:
            message = f"write.schema names column {absent[0]!r}, which is not there; columns: {', '.join(names)}"
            raise Failed("invalid", message, column=absent[0])
        if self.known is None or self.open or self.evolve:
            return
        known = dict.fromkeys(self.known.names)
        for name in known:
            if name not in there:
                kind = type_name(self.known.field(name).type)
                message = f"column {name!r} ({kind}) is missing: {self._way_out('leave it out')}"
                raise Failed("invalid", message, column=name)
        new = [name for name in names if name not in known]
        if new:
            kind = type_name(table.schema.field(new[0]).type)
            more = f", and {len(new) - 1} more" if len(new) > 1 else ""
            message = f"column {new[0]!r} ({kind}){more} is new to the sink: {self._way_out('let it in')}"
            raise Failed("invalid", message, column=new[0])

    def _way_out(self, what: str) -> str:
        return (
            f"its columns are pinned by its first part ({shorten(', '.join(self.known.names), 300)}). Give it these, "
            f"or {what} from here on: `odibictl sink repin {self.name}`, or `on_schema_change: evolve` in its write; "
            "parts published before stay as they are"
            if self.known is not None
            else ""
        )

    def _declared_late(self, column: str, kind: pa.DataType, pinned: pa.DataType) -> str:
        return (
            f"write.schema says {column}: {type_name(kind)}, but the sink's first part pinned {type_name(pinned)}. "
            f"Publish {self._elsewhere()}, to have it so"
        )

    def _elsewhere(self) -> str:
        return f"to another place, or all of it again (`odibictl reset {self.name.partition('.')[0]} --targets`)"

    def _cast(
        self, name: str, column: pa.ChunkedArray, wanted: pa.DataType, pinned: pa.Field | None
    ) -> pa.ChunkedArray:
        if column.type == wanted:
            return column
        if column.null_count == len(column):
            return pa.chunked_array([pa.nulls(len(column), wanted)])
        if pa.types.is_nested(wanted):
            column = pa.chunked_array([hollow(column.combine_chunks(), wanted)])
        if column.type == wanted:
            return column
        bad = unfit(column, wanted)
        if bad is None:
            return pa.chunked_array([_to(column.combine_chunks(), wanted)], wanted)
        row, value = bad
        given, named = type_name(column.type), type_name(wanted)
        if pinned is None:
            message = f"column {name!r} is {given}, write.schema says {named}: {value} (row {row + 1}) is not {named}"
            raise Failed("invalid", message, column=name, value=value)
        nulls = ", in which it held nothing but nulls" if pinned.metadata and _NULLS in pinned.metadata else ""
        message = (
            f"column {name!r} is {given}: {value} (row {row + 1}) is not {named}, which the sink's first part "
            f"pinned{nulls}. Cast it before the sink; or publish {self._elsewhere()}{_saying(name, given)}"
        )
        raise Failed("invalid", message, column=name, value=value)


def _saying(name: str, kind: str) -> str:
    """What to say beforehand, where it can be said."""
    try:
        parse_type(kind)
    except ValueError:
        return ""  # of lists and the like
    return f", with `{schema('write', name, kind)}`"


def pin_of(table: pa.Table) -> pa.Schema:
    """The schema to pin as of this part."""
    fields = []
    for field, column in zip(table.schema, table.columns, strict=True):
        nulls = {_NULLS: b"1"} if column.null_count == len(column) else None
        fields.append(pa.field(field.name, field.type, metadata=nulls))
    return pa.schema(fields)


def describe(schema: pa.Schema) -> list[str]:
    """``name: type`` of each column."""
    return [f"{field.name}: {type_name(field.type)}" for field in schema]


def unfit(column: pa.ChunkedArray, wanted: pa.DataType) -> tuple[int, str] | None:
    """(row, value) of the first value that is not exactly one of this type; None when all are."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(column, pa.ChunkedArray):  # pyarrow gives it back so when there is no chunk
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if _related(column.type, wanted) and _exact(column, wanted):
        return None
    low, high = 0, len(column)  # the first bad value lies in [low, high)
    if not _related(column.type, wanted):
        low = next((row for row in range(len(column)) if column[row].is_valid), 0)
        high = low + 1
    while high - low > 1:
        middle = (low + high) // 2
        if _exact(column.take(pa.array(range(low, middle), pa.int64())), wanted):  # a slice of lists casts all of them
            low = middle
        else:
            high = middle
    return low, shorten(str(column[low].as_py()), MAX_VALUE)


def _related(kind: pa.DataType, wanted: pa.DataType) -> bool:
    """Values of the one type can be values of the other, without being read as something else."""
    types = pa.types
    if kind == wanted or types.is_null(kind):
        return True
    if types.is_integer(kind) and (types.is_integer(wanted) or types.is_floating(wanted) or types.is_decimal(wanted)):
        return True
    if types.is_floating(kind) and (types.is_floating(wanted) or types.is_integer(wanted)):
        return True
    if types.is_decimal(kind) and (types.is_decimal(wanted) or types.is_integer(wanted)):
        return True
    if types.is_timestamp(kind) and types.is_timestamp(wanted):
        return (kind.tz is None) == (wanted.tz is None)
    if types.is_list(kind) and types.is_list(wanted):
        return _related(kind.value_type, wanted.value_type)
    if types.is_struct(kind) and types.is_struct(wanted):
        same = [field.name for field in kind] == [field.name for field in wanted]
        return same and all(_related(a.type, b.type) for a, b in zip(kind, wanted, strict=True))
    groups = (
        (types.is_date,),
        (types.is_time,),
        (types.is_duration,),
        (types.is_string, types.is_large_string),
        (types.is_binary, types.is_large_binary, types.is_fixed_size_binary),
    )
    return any(any(is_(kind) for is_ in group) and any(is_(wanted) for is_ in group) for group in groups)


def _to(column: pa.Array | pa.ChunkedArray, wanted: pa.DataType) -> pa.Array:
    if pa.types.is_integer(column.type) and pa.types.is_decimal(wanted):
        column = column.cast(pa.decimal128(20, 0))  # else Arrow looks at the type alone
    return column.cast(wanted)


def _exact(column: pa.Array, wanted: pa.DataType) -> bool:
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())  # for which Arrow has more functions
    try:
        cast = _to(column, wanted)
        if not _has_floats(column.type) and not _has_floats(wanted):
            return True  # Arrow refuses what it cannot cast exactly
        back = cast.cast(column.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    if pa.types.is_floating(column.type):
        same = pc.or_(pc.equal(column, back), pc.and_(pc.is_nan(column), pc.is_nan(back)))
        return pc.all(same).as_py() is not False
    return bool(back.equals(column))


def _has_floats(kind: pa.DataType) -> bool:
    if pa.types.is_floating(kind):
        return True
    return any(_has_floats(kind.field(place).type) for place in range(kind.num_fields))
