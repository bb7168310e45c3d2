"""Read nodes: planned files to one table of the pinned schema."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import pyarrow as pa

from odibi_actors.batches.ipc import check_limits, decode_schema, encode_schema
from odibi_actors.config.arrow_types import type_name
from odibi_actors.config.model import ReadSpec
from odibi_actors.config.remedies import listed
from odibi_actors.config.remedies import schema as declares
from odibi_actors.errors import BatchError, ConfigError, ConflictError
from odibi_actors.kinds.format import Format, Request, check_options, lacks
from odibi_actors.kinds.registry import format_of
from odibi_actors.kinds.source import ReadResult
from odibi_actors.model import RESCUED, Position, PositionRead, SchemaChange
from odibi_actors.nodes import rescuing
from odibi_actors.nodes.failures import Failed, shorten
from odibi_actors.nodes.faults import Faults
from odibi_actors.nodes.formats import Malformed, Parsed, rescued
from odibi_actors.nodes.formats.columns import MAX_LISTED, Wanted, twin
from odibi_actors.nodes.formats.exact import Spelling
from odibi_actors.nodes.formats.packed import unpack
from odibi_actors.nodes.formats.typed import instead
from odibi_actors.nodes.inference import Clash, Inference, columns_of
from odibi_actors.nodes.partition import Partition, partition_of
from odibi_actors.nodes.positions import Files
from odibi_actors.nodes.schemas import declared_types, override
from odibi_actors.runtime.visible import in_line, named

DOUBT = "has a first line that looks like data"
Types = dict[str, pa.DataType]
MAX_NAMED = 8
"""Missing columns that are named; a file of another kind lacks them all."""


class Loader(Protocol):
    """Gives the bytes of positions, as those of a file of the format. ``read``: by identity, what was read of each;
    ``touched``: as in ``NodeDone``."""

    read: dict[str, PositionRead]
    touched: list[str]

    def load(self, position: Position) -> bytes:
        """All of its bytes, which are the planned ones. Raises Failed and OSError."""

    def parsed(self, position: Position, rows: int) -> None:
        """What was loaded has so many rows."""

    def line(self, position: Position, line: int) -> int:
        """The line as people know it (1-based) that is this line of what was loaded."""


def read(spec: ReadSpec, positions: list[Position], pinned: bytes, files: Loader | None = None) -> ReadResult:
    """All planned files of one iteration, in order, as one table.

    The schema is ``read.schema`` over the pinned one (``pinned``, b"" for none) over what the files of this first batch
    are inferred as; its order is the table's. Raises Failed (``changed``, ``malformed``, ``invalid``) and OSError.
    """
    if problem := lacks(_format(spec)):
        raise Failed("invalid", problem)
    if problems := check_options(_format(spec), spec.options):
        raise Failed("invalid", "; ".join(problems))
    declared = declared_types(spec.schema)
    files = files or Files(Path(spec.connection.path), follow=spec.follow_links)
    if pinned and spec.on_schema_change == "evolve":
        result = _read_evolving(spec, files, positions, decode_schema(pinned), declared)
    elif pinned and spec.rescues:
        result = _read_rescuing(spec, files, positions, _known(spec, decode_schema(pinned), declared), declared)
    elif pinned:
        schema = _known(spec, decode_schema(pinned), declared)
        result = ReadResult(_concat(_all_fitted(spec, files, positions, schema, declared), schema))
    elif positions:
        first = _first_rescuing if spec.rescues else _read_first
        result = first(spec, files, positions, declared)
    else:
        message = "there is nothing to read and no schema is known yet; declare read.schema, or wait for a first file"
        raise Failed("invalid", message)
    return result._replace(files=[files.read[position.identity] for position in positions], touched=files.touched)


def untouched(spec: ReadSpec) -> ReadResult:
    """The empty table of a source that says all of its columns, and of which nothing was read yet."""
    types = declared_types(spec.schema)
    names = [name for name in spec.columns or types if name not in spec.ignore]
    schema = pa.schema([(name, types[name]) for name in names])
    texts = [f"{name}: {type_name(types[name])}" for name in names]
    result = ReadResult(schema.empty_table(), encode_schema(schema), texts, ["declared"] * len(names))
    return rescuing.empty(result) if spec.rescues else result


def _format(spec: ReadSpec) -> Format:
    try:
        return format_of(spec.format)
    except ConfigError as error:
        raise Failed("invalid", str(error)) from error


def _wanted(spec: ReadSpec, expected: list[str] | None, types: Types, *, rescue: bool = False) -> Wanted:
    known = None if expected is None else tuple(expected)
    given = frozenset(spec.schema)
    open_ = spec.on_schema_change == "evolve" or (spec.rescues and rescue)
    return Wanted(tuple(spec.columns), tuple(spec.ignore), tuple(spec.optional), known, types, given, open_)


def _known(spec: ReadSpec, pinned: pa.Schema, declared: Types) -> pa.Schema:
    """What every file has to hold, now that a first batch was read."""
    schema = override(pinned, declared)
    wanted = _wanted(spec, None, declared)
    for name in spec.columns:
        if name not in schema.names:
            message = f"column {name!r} of read.columns was not read before: declare its type, "
            raise Failed("invalid", message + declares("read", name, "TYPE"))
    if spec.rescues and not wanted.ignored(RESCUED):
        rescuing.check_known(schema)
    return pa.schema([field for field in schema if not wanted.ignored(field.name)])


def _read_first(spec: ReadSpec, files: Loader, positions: list[Position], declared: Types) -> ReadResult:
    told = _partitions(spec, positions)
    inference = Inference(told | declared, Spelling.of(spec.options), texts=_format(spec).texts)
    inference.folders = [name for name in told if name not in declared]
    wanted = _wanted(spec, None, declared)
    names: list[str] | None = None
    doubt = ""
    faults = Faults()
    for position in positions:
        with faults.looking():
            parsed = _parse(spec, files, position, declared, {}, names)
            doubt = doubt or (
                f"{named(position.identity)} {DOUBT} ({parsed.doubt}), taken for names" if parsed.doubt else ""
            )
            _check_declared(spec, files, wanted, position, parsed.table)
            inference.add(parsed)
            names = [*inference.names, *(name for name in spec.optional if name not in inference.names)]
    faults.tell()
    inference.expect(name for name in declared if name in spec.optional and not wanted.ignored(name))
    schema = _together(inference, files, positions)
    tables = inference.tables(schema)
    if tables is None or not spec.options.get("strings_can_be_null", True):
        tables = _all_fitted(spec, files, positions, schema, declared)
    table = _concat(tables, schema)
    if not table.num_rows and (not schema.names or not declared.keys() >= set(schema.names)):
        return ReadResult(table)  # headers alone tell no types: let a later batch pin them
    texts = [f"{field.name}: {type_name(field.type)}" for field in schema]
    notes = inference.notes(schema)
    if doubt and not declared.keys() >= set(schema.names):
        notes[0] += (
            f"; {doubt}: if there is no header, say options: {{column_names: [...]}}, then `odibictl reset PIPELINE`"
        )
    return ReadResult(table, encode_schema(schema), texts, notes, inference.left_out)


def _together(inference: Inference, files: Loader, positions: list[Position]) -> pa.Schema:
    """The types that hold all of these files. Raises Failed."""
    try:
        return inference.schema()
    except Clash as clash:
        other = f"{type_name(clash.former)} in {named(positions[clash.first].identity)}"
        message = f"the column is {type_name(clash.kind)} here, and {other}: no type holds both"
        message += f"; {instead(clash.name, clash.kind)}"
        raise _failed(files, positions[clash.place], Malformed(message, column=clash.name)) from None


def _read_evolving(
    spec: ReadSpec, files: Loader, positions: list[Position], pinned: pa.Schema, declared: Types
) -> ReadResult:
    """The pinned columns, null where a file lacks them, and those that rows have besides: these are pinned as well."""
    schema = _known(spec, pinned, declared)
    known, missing = frozenset(schema.names), dict[str, None]()
    inference, having = Inference({}, Spelling.of(spec.options), texts=_format(spec).texts), list[Position]()
    tables: list[pa.Table] = []
    faults = Faults()
    for position in positions:
        with faults.looking():
            parsed = _fitted(spec, files, position, schema, declared)
            there = parsed.table.column_names
            tables.append(parsed.table)
            if parsed.table.num_rows:
                missing |= {name: None for name in schema.names if name not in there and name not in spec.optional}
                if new := [name for name in there if name not in known]:
                    inference.add(parsed._replace(table=parsed.table.select(new), left_out=[]))
                    having.append(position)
    faults.tell()
    changes = [SchemaChange(name, "missing") for name in missing]
    if not inference.names:
        return ReadResult(_concat(tables, schema), changes=changes)
    new_ones = _together(inference, files, having)
    told = pa.schema([*pinned, *new_ones])
    schema = _known(spec, told, declared)
    tables.clear()  # they are read again, with the types that all of them have
    tables = _all_fitted(spec, files, positions, schema, declared)
    changes += [SchemaChange(one.name, "new", type_name(one.type), twin(one.name, pinned.names)) for one in new_ones]
    texts = [f"{field.name}: {type_name(field.type)}" for field in told]
    return ReadResult(_concat(tables, schema), encode_schema(told), texts, inference.notes(new_ones), changes=changes)


def _first_rescuing(spec: ReadSpec, files: Loader, positions: list[Position], declared: Types) -> ReadResult:
    """As any first batch, if its files fit each other and what is declared; else the first of them that has rows tells
    the columns, and what does not fit is rescued."""
    try:
        return rescuing.empty(_read_first(spec, files, positions, declared))
    except Failed as failed:
        if not failed.failure.schema:
            raise
    told, tell = ReadResult(pa.table({})), 0
    while not told.schema and tell < len(positions):
        tell += 1
        told = _told_by_first(spec, files, positions[:tell], declared)
    if not told.schema:
        return rescuing.empty(told)
    pinned = decode_schema(told.schema)
    found = _read_rescuing(spec, files, positions, _known(spec, pinned, declared), declared)
    told = rescuing.declared_anyway(told, pinned, declared)
    return told._replace(table=found.table, changes=found.changes)


def _told_by_first(spec: ReadSpec, files: Loader, positions: list[Position], declared: Types) -> ReadResult:
    """What these files tell, whatever values they have in columns that are declared."""
    held = dict(declared)
    while True:
        try:
            return _read_first(spec, files, positions, held)
        except Failed as failed:
            if held.pop(failed.failure.column, None) is None:
                raise


def _read_rescuing(
    spec: ReadSpec, files: Loader, positions: list[Position], schema: pa.Schema, declared: Types
) -> ReadResult:
    """The columns of ``schema``, null where a file lacks them or has what they do not hold, and what was rescued."""
    rescue, missing = rescuing.Rescue(schema), dict[str, None]()
    tables: list[pa.Table] = []
    faults = Faults()
    for position in positions:
        with faults.looking():
            parsed = _fitted(spec, files, position, schema, declared, rescue=True)
            there = parsed.table.column_names
            tables.append(parsed.table)
            rescue.add(position.identity, parsed.table.num_rows, parsed.rescued)
            if parsed.table.num_rows:
                missing |= {name: None for name in schema.names if name not in there and name not in spec.optional}
    faults.tell()
    changes = [*(SchemaChange(name, "missing") for name in missing), *rescue.changes()]
    return ReadResult(rescue.with_kept(_concat(tables, schema)), changes=changes)


def _check_declared(spec: ReadSpec, files: Loader, wanted: Wanted, position: Position, table: pa.Table) -> None:
    known = {*table.column_names, *spec.optional}
    missing = [name for name in spec.schema if name not in known and not wanted.ignored(name)]
    if not missing:
        return
    found = shorten(", ".join(table.column_names), MAX_LISTED)
    named = missing[:MAX_NAMED]
    more = f" and {len(missing) - len(named)} more" if missing != named else ""
    columns = f"{'column' if len(missing) == 1 else 'columns'} {', '.join(map(repr, named))}{more}"
    are, they = ("is", "it is") if len(missing) == 1 else ("are", "they are")
    message = f"{columns} of read.schema {are} missing; found: {found}; "
    message += f"{listed('read.optional', *named)} reads nulls where {they} missing"
    raise _failed(files, position, Malformed(message, line=_format(spec).header, column=missing[0]))


def _all_fitted(
    spec: ReadSpec, files: Loader, positions: list[Position], schema: pa.Schema, declared: Types
) -> list[pa.Table]:
    tables: list[pa.Table] = []
    faults = Faults()
    for position in positions:
        with faults.looking():
            table = _fitted(spec, files, position, schema, declared).table
            if not faults.found:
                tables.append(table)
        if faults.found:
            tables.clear()
    faults.tell()
    return tables


def _fitted(
    spec: ReadSpec, files: Loader, position: Position, schema: pa.Schema, declared: Types, *, rescue: bool = False
) -> Parsed:
    inferred = {field.name: field.type for field in schema if field.name not in declared}
    known = {field.name: field.type for field in schema if field.name in declared}
    return _parse(spec, files, position, known, inferred, schema.names, rescue=rescue)


def _parse(
    spec: ReadSpec,
    files: Loader,
    position: Position,
    declared: Types,
    inferred: Types,
    expected: list[str] | None,
    *,
    rescue: bool = False,
) -> Parsed:
    """A file as a table. ``expected`` None: it is the first of a first batch; ``rescue``: what does not fit is kept."""
    known = _format(spec)
    data = files.load(position)
    wanted = _wanted(spec, expected, declared | inferred, rescue=rescue)
    partition = _partition(spec, position)
    try:
        if known.packed:
            data = unpack(data, position.identity, spec.options.get("compression", "auto"))
        within = wanted if partition is None else partition.within(wanted)
        folders = () if partition is None else partition.values
        types = {name: kind for name, kind in declared.items() if name not in folders}
        request = Request(data, position.identity, types, inferred, within, spec.options, first=expected is None)
        parsed = rescued.parsed(known, request) if rescue else known.parse(request)
        if spec.rescues:
            rescued.check_free(parsed.table.column_names)
        if partition is not None:
            parsed = partition.added(parsed, wanted, declared | inferred)
            parsed = rescued.with_folders(parsed, wanted, partition.values) if rescue else parsed
        check_limits(parsed.table.num_rows, parsed.table.nbytes)
    except pa.ArrowNotImplementedError as error:
        raise Failed("invalid", f"a column of this type cannot be read from {spec.format}: {error}") from error
    except BatchError as error:
        raise _failed(files, position, Malformed(str(error))) from error
    except UnicodeDecodeError as error:  # of a format that is not ours: the file's fault, not that of all others
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _failed(files, position, Malformed(f"bytes that are not {error.encoding}", line=line)) from error
    except Malformed as error:
        raise _failed(files, position, error) from error
    files.parsed(position, parsed.table.num_rows)
    return parsed


def _partition(spec: ReadSpec, position: Position) -> Partition | None:
    """Of a file that a sink has published below folders of partitions."""
    try:
        return partition_of(Path(spec.connection.path, position.identity))
    except ConflictError as error:
        raise Failed("changed", str(error), position=position.identity) from error


def _partitions(spec: ReadSpec, positions: list[Position]) -> Types:
    """The columns that are folders, with the types that their sinks were given."""
    types: Types = {}
    for position in positions:
        if (partition := _partition(spec, position)) is not None:
            types = {**partition.types, **types}
    return types


def _failed(files: Loader, position: Position, error: Malformed) -> Failed:
    place = named(position.identity)
    line = files.line(position, error.line) if error.line else 0
    if line:
        place += f" line {line}"
    if error.column:
        place += f", column {in_line(error.column)}"
    return Failed(
        "malformed",
        f"{place}: {error.message}",
        position=position.identity,
        line=line,
        column=error.column,
        value=error.value,
        schema=bool(error.uneven or error.column),
    )


def _concat(tables: list[pa.Table], schema: pa.Schema) -> pa.Table:
    """One table; a column that is optional and missing is null."""
    if not tables:
        return schema.empty_table()
    whole = []
    for table in tables:
        found = columns_of(table)
        columns = [found[one.name] if one.name in found else pa.nulls(table.num_rows, one.type) for one in schema]
        whole.append(pa.Table.from_arrays(columns, schema=schema))
    table = pa.concat_tables(whole)
    check_limits(table.num_rows, table.nbytes)
    return table
