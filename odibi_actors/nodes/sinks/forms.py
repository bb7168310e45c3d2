"""In which form a folder holds its parts: a format, perhaps packed; and what their columns are, where no file says it.

All parts of one folder have one form: readers take what ``*.csv`` finds. The suffix that stands for it is in the mark
of the owner.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from odibi_actors.errors import ConflictError
from odibi_actors.kinds.registry import formats, writing
from odibi_actors.nodes.sinks import manifest
from odibi_actors.nodes.sinks.manifest import MANIFESTS, PART

if TYPE_CHECKING:
    import pyarrow as pa

    from odibi_actors.kinds.format import WritingFormat

PACKED = {"gzip": ".gz", "zstd": ".zst"}
"""``write.compression`` -> what comes behind the suffix."""
SCHEMA_FILE = "_odibi_schema.arrow"
"""What the columns of the parts in this folder are, as a serialised Arrow schema: nothing else tells it of csv and
JSON. Readers of folders skip the underscore."""
PARQUET = ".parquet"
ROWS = 65_536
"""Of a batch that a format is given."""


class Form(NamedTuple):
    """A format that is written, and how it is packed ("" for not at all)."""

    known: WritingFormat
    compression: str = ""

    @property
    def suffix(self) -> str:
        return self.known.written + PACKED.get(self.compression, "")

    def write(self, table: pa.Table, out: BinaryIO) -> None:
        """The bytes of a part. Raises OSError."""
        self.write_batches(table.schema, table.to_batches(ROWS), out)

    def write_batches(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch], out: BinaryIO) -> None:
        """The bytes of a part, batch by batch. Raises OSError."""
        import pyarrow as pa

        if not self.compression:
            self.known.write(schema, batches, out)
            return
        with pa.CompressedOutputStream(pa.PythonFile(out, "w"), self.compression) as packed:
            self.known.write(schema, batches, cast(BinaryIO, packed))


def form_of(format: str | None, compression: str | None = None) -> Form:
    """As ``write.format`` and ``write.compression`` say. Raises ConfigError, also for a format that is only read."""
    known = writing(format or "parquet")
    if known is None:
        from odibi_actors.errors import ConfigError

        raise ConfigError(f"format {format} is only read; written are: {', '.join(written())}")
    return Form(known, compression or "")


def written() -> list[str]:
    """The formats that are written."""
    return [name for name in formats() if writing(name) is not None]


def by_suffix(path: Path) -> Form:
    """The form of a part, by its name. Raises ConflictError when no format that is installed here has it."""
    match = PART.fullmatch(path.name)
    suffix = match["suffix"] if match is not None else ""
    for name in written():
        for compression in ("", *PACKED):
            form = Form(cast("WritingFormat", writing(name)), compression)
            if form.suffix == suffix:
                return form
    raise ConflictError(f"{path} is of no format that is installed here")


def parts(folder: Path, *nodes: str) -> Iterator[tuple[int, Path]]:
    """(iteration, path) of the parts that these nodes (none given: any) have appended to a folder, files and manifests,
    in no order. Raises OSError."""
    manifests = folder / MANIFESTS
    for place in (folder, manifests) if manifests.is_dir() else (folder,):
        for match in filter(None, map(PART.fullmatch, os.listdir(place))):
            if not nodes or match["node"] in nodes:
                yield int(match["iteration"]), place / match[0]


def remember(folder: Path, schema: pa.Schema, marks: Mapping[bytes, bytes]) -> None:
    """Keep beside parts what they are, durably. Raises OSError."""
    from odibi_actors.batches.files import fsync_dir, new_file

    path, data = folder / SCHEMA_FILE, schema.with_metadata(dict(marks) or None).serialize().to_pybytes()
    with suppress(OSError):
        if path.read_bytes() == data:
            return
    temporary = path.with_name(f"{path.name}.{os.getpid()}.staged")
    temporary.unlink(missing_ok=True)
    with new_file(temporary, sync=True) as writer:
        writer.write(data)
    os.replace(temporary, path)
    fsync_dir(folder)


def schema_of(part: Path) -> pa.Schema:
    """What the columns of a published part are, with the marks of who wrote it. Raises ConflictError, OSError."""
    import pyarrow as pa

    try:
        if manifest.is_manifest(part.name):
            return manifest.load(part).arrow()
        if not by_suffix(part).known.tells_schema:
            return pa.ipc.read_schema(pa.BufferReader((part.parent / SCHEMA_FILE).read_bytes()))
        if part.name.endswith(PARQUET):
            import pyarrow.parquet as pq

            return pq.read_schema(part)
        with _opened(part) as file:
            return pa.ipc.open_file(file).schema
    except (pa.ArrowInvalid, FileNotFoundError) as error:
        raise ConflictError(f"{part}, whose schema later parts are to have, cannot be read: {error}") from error


def _opened(part: Path) -> pa.NativeFile:
    import pyarrow as pa

    from odibi_actors.nodes.formats.packed import unpack

    return pa.BufferReader(unpack(part.read_bytes(), part.name, "auto"))


def read(part: Path, name: str) -> pa.Table:
    """The rows of a part that is a file, staged or published, whose published name is ``name``, as they were given to
    the sink. Raises ConflictError, Malformed, OSError."""
    import pyarrow as pa

    schema = None
    if not by_suffix(Path(name)).known.tells_schema:
        schema = pa.ipc.read_schema(pa.BufferReader((part.parent / SCHEMA_FILE).read_bytes()))
    return parse(part.read_bytes(), name, schema)


def parse(data: bytes, name: str, schema: pa.Schema | None) -> pa.Table:
    """The rows in the bytes of a file called ``name``. ``schema``: what its columns are, for formats that do not tell
    it. Raises ConflictError, Malformed."""
    from odibi_actors.kinds.format import Request
    from odibi_actors.nodes.formats.columns import Wanted
    from odibi_actors.nodes.formats.packed import unpack

    form = by_suffix(Path(name))
    data = unpack(data, name, "auto") if form.compression else data
    types: dict[str, pa.DataType] = {}
    if schema is not None and not form.known.tells_schema:
        types = {field.name: field.type for field in schema}
    # A column that came later is null in parts of before.
    wanted = Wanted(expected=tuple(types) or None, optional=tuple(types), types=types, declared=frozenset(types))
    return form.known.parse(Request(data, name, types, {}, wanted, {}, first=False)).table
