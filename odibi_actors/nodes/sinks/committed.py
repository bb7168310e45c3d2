"""What is committed in the folder of a sink, for readers: the files that are, and no others, with types and values as
they were given to the sink."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from glob import escape
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from odibi_actors.errors import ConflictError, NotFoundError
from odibi_actors.nodes.formats import Malformed
from odibi_actors.nodes.sinks import current, joined, manifest, pieces
from odibi_actors.nodes.sinks.forms import PARQUET, by_suffix, parse, parts, read, schema_of
from odibi_actors.nodes.sinks.joined import Joined
from odibi_actors.nodes.sinks.manifest import is_manifest
from odibi_actors.nodes.sinks.owner import folder_mark
from odibi_actors.nodes.sinks.table_names import quote, text

TRIES = 5
"""Times that a reader begins again when something was taken back, or replaced, while it was reading."""
_SQL = {
    **{f"int{bits}": name for bits, name in ((8, "TINYINT"), (16, "SMALLINT"), (32, "INTEGER"), (64, "BIGINT"))},
    **{f"uint{bits}": name for bits, name in ((8, "UTINYINT"), (16, "USMALLINT"), (32, "UINTEGER"), (64, "UBIGINT"))},
    **{"string": "VARCHAR", "bool": "BOOLEAN", "date32[day]": "DATE"},
}
"""What DuckDB calls the types that columns of partitions have."""
_FILE = "_odibi_file"
"""The column by which a row of a file finds the values of its folders."""


_OTHER = "is not as it was published"
_UNTOLD = (
    "is not read by the columns of the newest part, and does not tell its own (a reader of its format that is told its "
    "types can)"
)


class Listed(NamedTuple):
    """A committed file. ``name``: as it is published; ``values``: of the columns that its folders stand for, ``by``, as
    texts; ``schema``: of its rows with these, None: the file tells it."""

    path: Path
    name: str
    by: Sequence[str] = ()
    values: Sequence[str | None] = ()
    schema: pa.Schema | None = None

    def table(self) -> pa.Table:
        """Its rows. Raises ConflictError, OSError."""
        try:
            if self.schema is None:
                return read(self.path, self.name)
            rest = pa.schema([field for field in self.schema if field.name not in self.by])
            table = parse(self.path.read_bytes(), self.name, rest)
            return pieces.joined(table, self.by, self.values, self.schema)
        except Malformed as error:
            untold = self.schema is None and not by_suffix(Path(self.name)).known.tells_schema
            why = _UNTOLD if untold else _OTHER
            raise ConflictError(f"{self.path} {why}: {error}") from error
        except (pa.ArrowException, KeyError) as error:
            raise ConflictError(f"{self.path} {_OTHER}: {error}") from error


def listed(folder: str | os.PathLike[str]) -> list[Listed]:
    """The files that are committed in a sink's folder, now, in the order of their iterations. Raises NotFoundError: it
    is no sink's; ConflictError, OSError."""
    root = Path(folder).absolute()  # else ``~`` is another folder to Arrow and DuckDB
    return _listed(root)[0]


def read_committed(folder: str | os.PathLike[str], columns: Sequence[str] | None = None) -> pa.Table:
    """All rows that are committed in the folder of a sink (``write.path`` below its connection's), and no others.

    Types and values are those that the sink was given, also of columns that are folders (``partition_by``), and of csv
    and JSON. A column that not all parts have is null in those. ``columns``: only these. A part is there whole or not
    at all, whatever is published, replaced or taken back meanwhile.

    Raises NotFoundError: nothing is committed there, or it is no folder of a sink; ConflictError: a committed file is
    gone or damaged, or no part has one of the columns; OSError.
    """
    root = Path(folder).absolute()  # else ``~`` is another folder to Arrow and DuckDB
    for attempt in range(1, TRIES + 1):
        found: tuple[list[Listed], pa.Schema | None] = ([], None)
        try:
            found = _listed(root)
            tables = [found[1].empty_table()] if found[1] is not None else []
            tables += [one.table() for one in found[0]]
            break
        except FileNotFoundError as error:
            if attempt == TRIES or _listed(root) == found:
                raise ConflictError(f"{root} names a file that is not there: {error.filename}") from error
    if not tables:
        raise NotFoundError(f"nothing is committed in {root}")
    table = pa.concat_tables(tables, promote_options="default")
    if columns is None:
        return table
    if absent := [name for name in columns if name not in table.column_names]:
        raise ConflictError(f"{root} has no column {absent[0]!r}; there are: {', '.join(table.column_names)}")
    return table.select(list(columns))


def committed_sql(folder: str | os.PathLike[str]) -> str:
    """A SELECT for DuckDB of all rows that are committed in a folder of parquet files, as of now: for a query, or a
    view that stays with these files, wherever it is asked. Values and types of partitions are told, not guessed.

    Raises NotFoundError: nothing is committed there, or no file; ConflictError: it is not parquet, or DuckDB cannot
    name the folder; OSError.
    """
    root, found = Path(folder).absolute(), listed(folder)
    if not found:
        raise NotFoundError(f"no file is committed in {root}")
    others = [one.path.name for one in found if not one.path.name.endswith(PARQUET)]
    if others:
        what = "such SQL reads parquet only, `read_committed` other formats as well"
        raise ConflictError(f"{root} holds {others[0]}: {what}")
    paths = [str(one.path) for one in found]
    names, by = ", ".join(text(_pattern(path)) for path in paths), found[0].by
    rows = f"read_parquet([{names}], union_by_name = true, hive_partitioning = false"
    if not by:
        return f"SELECT * FROM {rows})"
    # Not from the names of folders: there some versions of DuckDB take the text NULL for null, and null for a text.
    folders = ", ".join(
        f"({', '.join([text(path), *_constants(one)])})" for path, one in zip(paths, found, strict=True)
    )
    return (
        f"SELECT _rows.* EXCLUDE ({_FILE}), {', '.join(f'_folders.{quote(name)}' for name in by)} "
        f"FROM {rows}, filename = {text(_FILE)}) AS _rows "
        f"JOIN (VALUES {folders}) AS _folders({_FILE}, {', '.join(map(quote, by))}) USING ({_FILE})"
    )


def _constants(one: Listed) -> Iterator[str]:
    """The values of a file's folders in SQL, with their types."""
    assert one.schema is not None  # a manifest, or a list, tells the columns that are folders
    for name, value in zip(one.by, one.values, strict=True):
        yield f"{'NULL' if value is None else text(value)}::{_SQL[str(one.schema.field(name).type)]}"


def _pattern(path: str) -> str:
    """The path as a pattern of DuckDB's that no other file fits. Raises ConflictError."""
    pattern = escape(path)
    if pattern != path and "\\" in path:
        raise ConflictError(
            f"DuckDB does not open {path}, for the backslash beside one of [ * ?; move or rename the folder"
        )
    return pattern


def rows_of(path: Path) -> pa.Table:
    """The rows of a part that is a manifest, staged or published. Raises ConflictError, OSError."""
    return pa.concat_tables([_schema(path).empty_table(), *(one.table() for one in _files(path))])


def _listed(root: Path) -> tuple[list[Listed], pa.Schema | None]:
    """The committed files, and the schema of the newest part; None: nothing is committed. What is joined meanwhile is
    looked at again."""
    while True:
        lists = joined.Lists(root)
        found = [part for part in _parts(root) if not lists.speak_for(part)]
        files = [one for told in lists.lists for one in _joined(root, told)]
        files += [one for part in found for one in _files(part)]
        schema = _schema(found[-1]) if found else None
        if schema is None and lists.lists:
            schema = manifest.schema_of_text(lists.lists[-1].schemas[-1])
        if not lists.changed():
            return files, schema


def _joined(root: Path, told: Joined) -> Iterator[Listed]:
    schemas = list(map(manifest.schema_of_text, told.schemas))
    for file in told.files:
        name = f"part-{told.upto:010d}-{told.node}{joined.suffix_of(file.path)}"
        yield Listed(root / file.path, name, told.partition_by, file.values, schemas[file.columns])


def _parts(root: Path) -> list[Path]:
    """The published parts of a folder, files and manifests, in order."""
    if folder_mark(root) is None:
        raise NotFoundError(f"{root} is no folder of a sink" if root.is_dir() else f"there is no folder {root}")
    held = current.held(root)
    return [held.part] if held is not None else [path for _, path in sorted(parts(root))]


def _schema(part: Path) -> pa.Schema:
    return schema_of(part).remove_metadata()


def _files(part: Path) -> Iterator[Listed]:
    if not is_manifest(part.name):
        yield Listed(part, part.name)
        return
    found, schema = manifest.load(part), _schema(part)
    for file, path in manifest.files(part):
        yield Listed(path, found.name, found.partition_by, file.values, schema)
