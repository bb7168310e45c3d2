"""Columns that are folders: of files that a sink with ``partition_by`` has published, and that a source reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from odibi_actors.config.arrow_types import type_name
from odibi_actors.errors import ConflictError
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.formats import Malformed, Parsed
from odibi_actors.nodes.formats.columns import Wanted
from odibi_actors.nodes.sinks import hive, manifest, pieces
from odibi_actors.nodes.sinks.joined import Lists
from odibi_actors.nodes.sinks.manifest import MANIFESTS, Manifest


class Partition(NamedTuple):
    """Of one file: the values of its folders, as texts, and the types of these columns."""

    values: Mapping[str, str | None]
    types: Mapping[str, pa.DataType]

    def within(self, wanted: Wanted) -> Wanted:
        """What is wanted of the file itself. Raises Failed (``invalid``): nothing."""
        take = tuple(name for name in wanted.take if name not in self.values)
        if wanted.take and not take:
            raise Failed("invalid", f"read.columns names folders only ({', '.join(wanted.take)}): add one of the files")
        expected = wanted.expected
        if expected is not None:
            expected = tuple(name for name in expected if name not in self.values)
        return wanted._replace(take=take, expected=expected)

    def added(self, parsed: Parsed, wanted: Wanted, types: Mapping[str, pa.DataType]) -> Parsed:
        """The file with these columns, as far as they are wanted; of ``types``, if they are known, else of those that
        the sink was given. Raises Malformed."""
        table = parsed.table
        columns = dict(zip(table.column_names, table.columns, strict=True))
        for name in self.values:
            kind = types.get(name, self.types[name])
            try:
                columns[name] = pa.chunked_array([pieces.column(self.values[name], kind, table.num_rows)])
            except pa.ArrowInvalid:
                value = str(self.values[name])
                raise Malformed(f"its folder says {value!r}, not {type_name(kind)}", column=name, value=value) from None
        chosen = wanted.chosen(list(columns))
        left_out = [name for name in self.values if name not in chosen]
        table = pa.table([columns[name] for name in chosen], chosen)
        return parsed._replace(table=table, left_out=[*parsed.left_out, *left_out])


def partition_of(path: Path) -> Partition | None:
    """Of a file that a sink has published; None where no manifest speaks of it. Raises ConflictError, OSError."""
    if "=" not in path.parent.name:
        return None
    root = hive.root_of(path)
    try:
        lists = _lists(root, (root / MANIFESTS).stat().st_mtime_ns)
    except FileNotFoundError:
        return None
    if (entry := lists.entry(path)) is not None:
        told, one = entry
        return _partition(told.partition_by, one.values, manifest.schema_of_text(told.schemas[one.columns]))
    place = manifest.of(path)
    if place is None:
        return None
    try:
        found = _load(place, place.stat().st_mtime_ns)
    except FileNotFoundError:
        return None
    at = str(path.relative_to(root))
    file = next((one for one in found.files if one.path == at), None)
    if file is None:
        raise ConflictError(f"{place} does not name {at}: it is not of that iteration")
    return _partition(found.partition_by, file.values, found.arrow())


def _partition(by: Sequence[str], values: Sequence[str | None], schema: pa.Schema) -> Partition:
    return Partition(dict(zip(by, values, strict=True)), {name: schema.field(name).type for name in by})


@lru_cache(maxsize=4)
def _lists(root: Path, _mtime_ns: int) -> Lists:
    """Of many files of one folder: a list that takes the place of another changes the time of its folder."""
    return Lists(root)


@lru_cache(maxsize=4)
def _load(place: Path, _mtime_ns: int) -> Manifest:
    """Of many files of one manifest."""
    return manifest.load(place)
