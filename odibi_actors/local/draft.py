"""``odibictl init DIR --from FOLDER``: a project for the files there are. They are read, never moved or changed."""

from __future__ import annotations

import codecs
import os
import re
import shlex
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from odibi_actors.config.arrow_types import type_name
from odibi_actors.config.keys import write_schema
from odibi_actors.config.load import PROJECT_FILE, load_project
from odibi_actors.config.model import ConnectionSpec, ReadSpec
from odibi_actors.config.patterns import shown
from odibi_actors.errors import ConflictError, NodeError, NotFoundError
from odibi_actors.kinds.source import ReadResult
from odibi_actors.local.draft_file import name_of, project_file
from odibi_actors.local.grouping import Group, Skipped, database, grouped
from odibi_actors.local.growth import WholeLines, look_for_writers
from odibi_actors.local.headers import unpacked
from odibi_actors.local.meant import Options, notes
from odibi_actors.model import Position
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.formats import Malformed
from odibi_actors.nodes.formats.exact import comma_numbers, decimal_comma, pointed, points_may_group
from odibi_actors.nodes.formats.packed import unpack
from odibi_actors.nodes.read import read
from odibi_actors.nodes.schemas import parse_type
from odibi_actors.runtime.visible import named
from odibi_actors.sources.file_position import file_position
from odibi_actors.streaming.joins import Joins
from odibi_actors.streaming.patterns import REPLACED, Pattern, temporary

MAX_LOOKED = 256_000_000
"""Bytes of a group of files that are read to learn its types."""
_KEY = re.compile(r"(?:^|_|-| )(?:id|key|no|nr|code)$|(?<=[a-z])(?:Id|ID|Key|No)$", re.IGNORECASE)
"""How columns are called that identify a row."""
MAX_GROUPS = 50
"""Pipelines of one draft: more of them are no longer a draft that somebody reads."""
MAX_ODD = 20
"""Files of a group that are left out one by one: where there are more, it is the group that cannot be read."""


_ABSENT = (
    "is not there, though the sink that published it has it among what is committed: put it back, or take back what "
    "that sink has published (`pipeline rewind`, `reset`)"
)


class Draft(NamedTuple):
    """What was made of a folder."""

    groups: list[Group]
    skipped: list[Skipped]


def init_from(directory: Path, folder: Path) -> Draft:
    """Write a project for the files of ``folder`` into ``directory``. Raises NotFoundError when there is nothing to
    read, ConflictError when the directory is not empty, OSError."""
    if folder.is_file():
        what, where = database(folder), shlex.quote(str(folder.parent))
        raise NotFoundError(f"{folder} is {what}" if what else f"{folder} is a file; name its folder: --from {where}")
    if not folder.is_dir():
        raise NotFoundError(f"{folder}: no such folder")
    source, target = folder.resolve(), directory.resolve()
    if temporary(source.name) == REPLACED:
        raise NotFoundError(f"{folder} is {REPLACED}; name its folder for the rest: --from {source.parent}")
    found = sorted(os.listdir(target)) if target.is_dir() else []
    if target.exists() and not target.is_dir():
        raise ConflictError(f"{directory} is a file; name a directory")
    if target == source:
        raise ConflictError(f"{directory} is the folder of the files itself; name a new directory for the project")
    if [name for name in found if not source.is_relative_to(target / name)]:
        raise ConflictError(f"{directory} is not empty (it has {named(found[0])}); name a new directory")
    draft = look(source)
    if not draft.groups:
        reasons = "\n".join(f"{named(name)}: {reason}" for name, reason in draft.skipped) or "it is empty"
        raise NotFoundError(f"{folder} holds no file that can be read\n{reasons}")
    place = source.relative_to(target).as_posix() if source.is_relative_to(target) else str(source)
    target.mkdir(parents=True, exist_ok=True)
    (target / PROJECT_FILE).write_text(
        project_file(name_of(target.name or "project"), place, draft.groups), encoding="utf-8"
    )
    (target / ".gitignore").write_text(".odibi/\n.env\n__pycache__/\ndata/lake/\ndata/mart.db*\n")
    write_schema(target / ".odibi")
    load_project(target, sql=True)
    return draft


def look(folder: Path) -> Draft:
    """The groups of files of a folder, with the types that their rows have."""
    skipped: list[Skipped] = []
    sound: list[Group] = []
    absent = _absent(folder, skipped)
    for group in grouped(folder, skipped):
        if gone := next(filter(Pattern(group.pattern).matches, absent), None):
            skipped.append(Skipped(shown(group.pattern), f"{named(gone)} {_ABSENT}, then draft again"))
        elif len(sound) == MAX_GROUPS:
            skipped.append(Skipped(shown(group.pattern), f"this is a draft of {MAX_GROUPS} pipelines at most"))
        elif _types(folder, group, skipped):
            sound.append(group)
    names: dict[str, None] = {}
    for group in sound:
        name = name_of(group.name)
        numbered = (f"{name}_{number}" for number in range(2, MAX_GROUPS + 2))
        group.name = name if name not in names else next(one for one in numbered if one not in names)
        names[group.name] = None
    return Draft(sound, skipped)


def _absent(folder: Path, skipped: list[Skipped]) -> list[str]:
    """Paths of files that sinks have published below the folder, and that are gone: no source reads what is left."""
    joins, listed = Joins(whole=True), set[str]()
    for parent, _, names in os.walk(folder):
        joins.sink(parent)
        listed.update(os.path.join(parent, name) for name in names)
    try:
        return sorted(os.path.relpath(path, folder) for path in joins.unlisted(listed))
    except (ConflictError, OSError) as error:
        skipped.append(Skipped(".", f"what sinks have committed there cannot be told: {_short(error)}"))
        return []


# --- types ------------------------------------------------------------------------------------------------------------


def _types(folder: Path, group: Group, skipped: list[Skipped]) -> bool:
    """Read as many files as are few bytes, as one batch, and note its types. False: they cannot be read."""
    spec = ReadSpec(ConnectionSpec("files", "local", str(folder)), group.format,
                    "batch", options=dict(group.options), optional=list(group.optional))  # fmt: skip
    positions: list[Position] = []
    total = 0
    for name in group.files:
        seen = os.stat(folder / name)
        total += seen.st_size
        if total > MAX_LOOKED:
            break
        positions.append(file_position(name, seen.st_size, seen.st_mtime_ns, seen.st_ino))
    if not positions:
        return True  # too large to look at: its first batch will tell
    reasons: dict[str, str] = {}
    look_for_writers(folder, group)
    while True:
        try:
            found = read(spec, positions, b"", WholeLines(folder) if group.growing else None)
            break
        except Failed as error:
            if (wider := _otherwise(spec, error)) is not None:
                if error.failure.column in wider.schema:
                    reasons[error.failure.column] = _short(error).partition("; read.schema")[0]
                spec = wider
                continue
            bad = error.failure.position
            rest = [position for position in positions if position.identity != bad]
            if len(rest) in (0, len(positions)) or len(group.odd) >= MAX_ODD:
                skipped.append(Skipped(shown(group.pattern), _short(error)))
                return False
            skipped.append(Skipped(bad, _short(error).removeprefix(bad).lstrip(":, ")))
            group.odd.append(bad)
            group.files.remove(bad)
            positions = rest
        except (NodeError, OSError) as error:
            skipped.append(Skipped(shown(group.pattern), _short(error)))
            return False
    group.looked = len(positions)
    if group.format == "json" and (reason := _no_rows(folder, group, found)):
        skipped.append(Skipped(shown(group.pattern), reason))
        return False
    if not found.notes:
        group.columns = [(name, "string") for name in group.optional]
        return True  # headers alone: the first rows will tell
    if group.format == "csv" and (other := _with_commas(spec, positions, found)):
        found = other
        group.options["decimal_point"] = ","
        group.notes.append("its numbers are written with a decimal comma: options: decimal_point")
    table = found.table
    if group.format == "csv":
        group.notes += notes(table, group.options, partial(_again, spec, positions, table.schema))
    group.why = dict(zip(table.column_names, (note.partition(": ")[2] for note in found.notes), strict=False))
    generous = (
        {} if group.format != "parquet" else _generous([folder / one.identity for one in positions], table.schema)
    )
    for field in table.schema:
        text = type_name(generous.get(field.name, field.type))
        if field.name in generous:
            group.why[field.name] = (
                f"{type_name(field.type)} in the files: pandas may have counted the digits of their rows"
            )
        if _declarable(text, generous.get(field.name, field.type)):
            group.columns.append((field.name, text))
        else:
            group.untyped.append(field.name)
    group.why |= reasons
    group.optional = spec.optional
    if 2 * len(group.optional) >= max(len(table.column_names), 1):
        names = ", ".join(map(repr, group.optional))
        skipped.append(Skipped(shown(group.pattern), f"not all files have {names}; give each kind its own name"))
        return False
    if unsaid := [name for name in group.optional if name in group.untyped]:
        skipped.append(
            Skipped(shown(group.pattern), f"column {unsaid[0]!r}, of a type that `schema` cannot say, is not in all")
        )
        return False
    unique = [name for name, _ in group.columns if _identifies(table[name])]
    group.key = min(unique, key=lambda name: not _KEY.search(name), default="")  # in the order of columns, else
    return True


def _no_rows(folder: Path, group: Group, found: ReadResult) -> str:
    """Why a JSON file is taken for none of the data, or "": one object in a file that is the only one of its name is
    what configuration looks like. Where files of one object each are rows, there are, or will be, more of them."""
    name = group.files[0]
    alone = len(group.files) == 1 and not group.odd and "*" not in group.pattern
    if not alone or found.table.num_rows != 1 or not unpacked(name).lower().endswith(".json"):
        return ""
    text = unpack((folder / name).read_bytes(), name, "auto").removeprefix(codecs.BOM_UTF8)
    if not text.lstrip().startswith(b"{"):
        return ""
    return (
        "one object, as configuration is: rows are one array of objects, or a file of one object each whose name has a "
        "number or a date"
    )


def _otherwise(spec: ReadSpec, error: Failed) -> ReadSpec | None:
    """How to read a file of JSON that did not fit: only the reader can tell which columns it has, and a type that takes
    them is known. None: it stays odd."""
    bad, column = error.__cause__, error.failure.column
    if spec.format != "json" or not column:
        return None
    if isinstance(bad, Malformed) and bad.uneven:
        if len(spec.optional) + len(bad.uneven) > MAX_ODD:
            return None
        return msgspec.structs.replace(spec, optional=[*spec.optional, *bad.uneven])
    takes = (isinstance(bad, Malformed) and bad.takes) or "string"
    if spec.schema.get(column, "uint64") != "uint64":
        takes = "string"  # each step takes more than the one before, so that there is an end
    if spec.schema.get(column) == "string":
        return None
    return msgspec.structs.replace(spec, schema={**spec.schema, column: takes})


def _with_commas(spec: ReadSpec, positions: list[Position], found: ReadResult) -> ReadResult | None:
    """The same read with a decimal comma; None unless the rows leave no doubt: a column is numbers so, of which one
    cannot be anything else, and none is certainly written with a decimal point. What may be groups of digits as well is
    text."""
    texts = [name for name in found.table.column_names if pa.types.is_string(found.table[name].type)]
    if not any(decimal_comma(found.table[name]) or pointed(found.table[name]) for name in texts):
        return None
    other = read(msgspec.structs.replace(spec, options={**spec.options, "decimal_point": ","}), positions, b"")
    doubtful = [name for name in texts if comma_numbers(found.table[name]) and not decimal_comma(found.table[name])]
    gained = False
    for place, field in enumerate(found.table.schema):
        now = other.table[field.name]
        if field.name in doubtful:
            other.notes[place] = (
                f"inferred: {_first(found.table[place], ',')!r} may have a decimal comma, or groups of digits"
            )
            other = other._replace(table=other.table.set_column(place, field, found.table[place]))
        elif now.type != field.type:
            if not pa.types.is_string(field.type):
                if not (pa.types.is_string(now.type) and points_may_group(now)):
                    return None
                other.notes[place] = f"inferred: {_first(now, '.')!r} may have groups of digits, or a decimal point"
            gained = True
    return other if gained else None


def _again(
    spec: ReadSpec, positions: list[Position], former: pa.Schema, options: Options, schema: Mapping[str, str]
) -> pa.Schema | None:
    """What a draft would read with these options, and the types of all columns as it has them but for ``schema``."""
    declared = dict(schema)
    if schema:
        typed = [field for field in former if not pa.types.is_string(field.type)]
        declared = {field.name: type_name(field.type) for field in typed} | declared
    try:
        return read(msgspec.structs.replace(spec, options=dict(options), schema=declared), positions, b"").table.schema
    except (Failed, NodeError, OSError):
        return None


def _first(texts: pa.ChunkedArray, mark: str) -> str:
    return next(str(text) for text in texts.to_pylist() if text and mark in text)


def _generous(paths: list[Path], schema: pa.Schema) -> dict[str, pa.DataType]:
    """Decimals of pandas may be as wide as the rows of that file ask for, as it makes them of Python objects, and those
    of the next file wider: these columns with all digits there are. Any other file says its width on purpose."""
    found: dict[str, pa.DataType] = {}
    for path in paths:
        for column in (pq.read_schema(path).pandas_metadata or {}).get("columns", []):
            name = column.get("name")
            if column.get("numpy_type") != "object" or name not in schema.names:
                continue
            kind = schema.field(name).type
            if pa.types.is_decimal128(kind):
                found[name] = pa.decimal128(38, kind.scale)
    return found


def _identifies(column: pa.ChunkedArray) -> bool:
    """Whether each row has a value of its own, of a type that can be compared exactly."""
    if column.null_count or pa.types.is_nested(column.type) or pa.types.is_floating(column.type):
        return False
    return bool(pc.count_distinct(column).as_py() == len(column))


def _declarable(text: str, kind: pa.DataType) -> bool:
    """Whether ``schema`` can say it. A field whose name looks like another one's type would be read as two."""
    try:
        return bool(parse_type(text) == kind)
    except ValueError:
        return False


def _short(error: Exception) -> str:
    return str(error).split("\n", maxsplit=1)[0]
