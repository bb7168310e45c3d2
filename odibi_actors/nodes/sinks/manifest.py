"""Manifests: which files a part of a partitioned sink consists of. They become visible by it, all at once.

One is JSON, in ``_odibi_manifests`` of the folder below which its files lie. Other readers skip the underscore, and the
suffix is no format's. Standard library and msgspec only: sources ask as well.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from odibi_actors.errors import ConflictError
from odibi_actors.nodes.sinks import hive

if TYPE_CHECKING:
    import pyarrow as pa

MANIFESTS = "_odibi_manifests"
SUFFIX = ".manifest"
PART = re.compile(r"part-(?P<iteration>\d{10,})-(?P<node>[^.]+)(?P<suffix>\.[a-z0-9]+(?:\.(?:gz|zst))?)")
"""The name of a published part: of a file, or of a manifest."""
MAX_BYTES = 256 * 1024 * 1024
"""Of one: some million files."""
_DIGEST = r"[0-9a-f]{32}"


class File(msgspec.Struct, frozen=True):
    """``path``: below the manifest's root; ``values``: of its partition, as texts; ``digest``: xxh3-128."""

    path: str
    values: list[str | None]
    rows: int
    bytes: int
    digest: str


class Manifest(msgspec.Struct, frozen=True):
    """One part. ``owner``: store id, pipeline and node that wrote it; ``suffix``: of its files; ``columns``: the Arrow
    schema of its rows, serialised, in base64; ``schema``: of this form itself."""

    schema: int
    iteration: int
    owner: tuple[str, str, str]
    suffix: str
    partition_by: list[str]
    columns: str
    rows: int
    files: list[File]

    def arrow(self) -> pa.Schema:
        """The schema of its rows. Raises ConflictError."""
        return schema_of_text(self.columns)

    def encoded(self) -> bytes:
        """Its bytes: equal ones for equal parts."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"

    @property
    def name(self) -> str:
        """Of each of its files."""
        return f"{stem(self.iteration, self.owner[2])}{self.suffix}"


def columns_text(schema: pa.Schema) -> str:
    """The value of ``Manifest.columns``."""
    return base64.b64encode(schema.remove_metadata().serialize().to_pybytes()).decode()


def schema_of_text(text: str) -> pa.Schema:
    """The schema that is told so. Raises ConflictError."""
    import pyarrow as pa

    try:
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text, validate=True)))
    except (pa.ArrowException, ValueError) as error:
        raise ConflictError(f"the schema in a manifest is damaged: {error}") from error


def stem(iteration: int, node: str) -> str:
    """The name of a part, without suffix."""
    return f"part-{iteration:010d}-{node}"


def is_manifest(path: str) -> bool:
    """Whether a part is one."""
    return path.endswith((SUFFIX, f"{SUFFIX}.staged"))


def root_of(path: Path) -> Path:
    """The folder below which the files of a published manifest lie."""
    return path.parent.parent


def of(path: Path) -> Path | None:
    """The manifest that is to name a file in the folder of a partition, whether it is there or not; None for files that
    no sink puts there."""
    match = PART.fullmatch(path.name)
    if match is None or "=" not in path.parent.name:
        return None
    manifests = hive.root_of(path) / MANIFESTS
    return manifests / f"{stem(int(match['iteration']), match['node'])}{SUFFIX}" if manifests.is_dir() else None


def coming(path: str) -> bool:
    """A file of a sink that is about to publish it: no manifest names it yet."""
    found = of(Path(path)) if "=" in path else None
    return found is not None and not found.exists()


def load(path: Path) -> Manifest:
    """Raises ConflictError: it is none, or names what its files cannot be called; OSError."""
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    return decode(data, path)


def files(path: Path) -> list[tuple[File, Path]]:
    """The files of a part, staged or published, and where they are. Raises ConflictError, OSError."""
    found = load(path)
    if path.parent.name == MANIFESTS:
        return [(file, root_of(path) / file.path) for file in found.files]
    return [(file, path.parent / numbered(place)) for place, file in enumerate(found.files)]


def numbered(place: int) -> str:
    """What a staged file is called in the folder of its part."""
    return f"{place}.staged"


def decode(data: bytes, path: Path) -> Manifest:
    """See ``load``."""
    try:
        if len(data) > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES} bytes")
        found = msgspec.json.decode(data, type=Manifest)
        if found.schema != 1:
            raise ValueError(f"it is of form {found.schema}, and this version knows 1")
        for file in found.files:
            if file.path != f"{hive.folder(found.partition_by, file.values)}/{found.name}":
                raise ValueError(f"it names the file {file.path!r}, which is not one of that iteration and partition")
            if not re.fullmatch(_DIGEST, file.digest) or file.rows < 0 or file.bytes < 0:
                raise ValueError(f"what it says of {file.path!r} cannot be")
    except (msgspec.DecodeError, ValueError) as error:
        raise ConflictError(f"{path} is not a manifest of a sink: {error}") from error
    return found
