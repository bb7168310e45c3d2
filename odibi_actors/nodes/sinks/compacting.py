"""Joining small files of old iterations into big ones (``odibictl sink compact``), beside whatever is published.

The joined files get their names, synced, then one rename of the list makes readers by list see them instead of the
former ones, which are deleted only then. Whatever a crash leaves behind, no list names, and the next time deletes it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import msgspec
import pyarrow as pa

from odibi_actors.batches.files import digest_file, fsync_dir, make_dirs, new_file
from odibi_actors.errors import ConflictError
from odibi_actors.failpoints import failpoint
from odibi_actors.nodes.sinks import hive, joined, manifest
from odibi_actors.nodes.sinks.committed import Listed
from odibi_actors.nodes.sinks.forms import ROWS, by_suffix, parts, schema_of
from odibi_actors.nodes.sinks.joined import File, Joined
from odibi_actors.nodes.sinks.manifest import MANIFESTS, is_manifest
from odibi_actors.nodes.sinks.owner import folder_mark
from odibi_actors.units import plural


class Known(NamedTuple):
    """What the store knows of a sink's parts: ``digests`` of those in its history, which begins with iteration
    ``first``. What has the name of another part since is somebody else's."""

    first: int
    digests: Mapping[int, str]


class Plan(NamedTuple):
    """``kept``: files that stay as they are; ``packs``: each of them becomes one file; ``manifests``: of parts, which
    go as the list names their files."""

    upto: int
    schemas: list[str]
    by: list[str]
    kept: list[File]
    packs: list[list[File]]
    manifests: list[str]

    @property
    def joins(self) -> int:
        """Files that are joined."""
        return sum(map(len, self.packs))


def plan(folder: Path, node: str, upto: int, size: int, known: Known) -> Plan:
    """Which files of a node's parts up to an iteration are smaller than ``size`` bytes, and would be joined, those of
    one partition and schema. Raises ConflictError: one is not as it was published; OSError."""
    before = joined.load(folder, node)
    upto = max(upto, before.upto if before is not None else 0)
    schemas: dict[str, int] = {text: place for place, text in enumerate(before.schemas if before is not None else [])}
    mark = folder_mark(folder)
    files, manifests = list(before.files) if before is not None else [], list[str]()
    for number, part in sorted(parts(folder, node)):
        if (before is not None and number <= before.upto) or number > upto:
            continue
        if number < known.first or _is_known(part, number, known):
            files += _files(part, schemas)
            manifests += [f"{MANIFESTS}/{part.name}"] if is_manifest(part.name) else []
    groups: dict[tuple[int, tuple[str | None, ...]], list[File]] = {}
    for file in files:
        groups.setdefault((file.columns, tuple(file.values)), []).append(file)
    kept, packs = list[File](), list[list[File]]()
    for group in groups.values():
        kept += [file for file in group if file.bytes >= size]
        for pack in _packs([file for file in group if file.bytes < size], size):
            if len(pack) > 1:
                packs.append(pack)
            else:
                kept += pack
    by = list(mark.partition_by) if mark is not None else []
    return Plan(upto, list(schemas), by, kept, packs, manifests)


def _is_known(part: Path, number: int, known: Known) -> bool:
    digest = known.digests.get(number)
    if digest is not None and digest_file(part)[0] != digest:
        raise ConflictError(f"{part} is not as it was published: `odibictl checkpoint verify` tells more")
    return digest is not None


def _packs(files: Iterable[File], size: int) -> list[list[File]]:
    packs: list[list[File]] = [[]]
    for file in files:
        if sum(one.bytes for one in packs[-1]) + file.bytes > size and packs[-1]:
            packs.append([])
        packs[-1].append(file)
    return packs


def _files(part: Path, schemas: dict[str, int]) -> list[File]:
    columns = schemas.setdefault(manifest.columns_text(schema_of(part)), len(schemas))
    if is_manifest(part.name):
        found = manifest.load(part).files
        return [File(one.path, one.values, columns, one.rows, one.bytes, one.digest) for one in found]
    digest, size = digest_file(part)
    rows = Listed(part, part.name).table().num_rows
    return [File(part.name, [], columns, rows, size, digest)]


def compact(folder: Path, node: str, planned: Plan) -> None:
    """Do it; nobody else joins files of the folder meanwhile (``joined.alone``). Raises ConflictError: a file is not as
    it was; OSError. What was done by then is undone by the next time."""
    tidy(folder, node)
    run, made, temporaries = secrets.token_hex(4), list[File](), list[tuple[Path, Path]]()
    for place, pack in enumerate(planned.packs):
        temporary = folder / f"_joined-{node}.{run}-{place}.staged"
        file = _write(folder, node, planned, pack, temporary, f"j{run}-{place}")
        made.append(file)
        temporaries.append((temporary, folder / file.path))
    failpoint("compact.written")
    for temporary, path in temporaries:
        os.rename(temporary, path)
    for above in dict.fromkeys(path.parent for _, path in temporaries):
        fsync_dir(above)
    failpoint("compact.placed")
    gone = [*planned.manifests, *(file.path for pack in planned.packs for file in pack)]
    told = Joined(1, node, planned.upto, planned.by, planned.schemas, [*planned.kept, *made], gone)
    path = joined.list_of(folder, node)
    make_dirs(path.parent, sync=True)
    temporary = path.with_name(f"{path.name}.staged")
    temporary.unlink(missing_ok=True)
    with new_file(temporary, sync=True) as writer:
        writer.write(msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n")
    failpoint("compact.switch")
    os.replace(temporary, path)
    fsync_dir(path.parent)
    failpoint("compact.switched")
    tidy(folder, node)


def _write(folder: Path, node: str, planned: Plan, pack: list[File], to: Path, name: str) -> File:
    first = pack[0]
    schema = manifest.schema_of_text(planned.schemas[first.columns])
    rest = pa.schema([field for field in schema if field.name not in planned.by])
    suffix = joined.suffix_of(first.path)
    form = by_suffix(Path(f"part-0000000000-{node}{suffix}"))
    rows = 0

    def batches() -> Iterable[pa.RecordBatch]:
        nonlocal rows
        for file in pack:
            path = folder / file.path
            if digest_file(path)[0] != file.digest:
                raise ConflictError(f"{path} is not as it was published: `odibictl checkpoint verify` tells more")
            table = Listed(path, f"part-0000000000-{node}{suffix}", schema=rest).table()
            if table.num_rows != file.rows:
                raise ConflictError(f"{path} has {plural(table.num_rows, 'row')}, not {file.rows}")
            rows += table.num_rows
            yield from table.replace_schema_metadata(None).to_batches(ROWS)

    with new_file(to, sync=True) as writer:
        form.write_batches(rest.remove_metadata(), batches(), cast(BinaryIO, writer))
    below = hive.folder(planned.by, first.values)
    called = f"{manifest.stem(planned.upto, node)}.{name}{suffix}"
    path = f"{below}/{called}" if below else called
    return File(path, first.values, first.columns, rows, writer.size, writer.digest)


def tidy(folder: Path, node: str) -> None:
    """Delete what was joined last, and what a crash has left of joining: no list names it. Raises ConflictError,
    OSError."""
    found = joined.load(folder, node)
    named = {file.path for file in found.files} if found is not None else set[str]()
    for name in os.listdir(folder):
        if name.startswith(f"_joined-{node}.") and name.endswith(".staged"):
            (folder / name).unlink(missing_ok=True)
    there = [folder / name for name in os.listdir(folder)]
    there += hive.files(folder) if (folder / MANIFESTS).is_dir() else []
    gone = [folder / path for path in (found.gone if found is not None else ()) if path not in named]
    for path in there:
        match = joined.NAME.fullmatch(path.name)
        if match is not None and match["node"] == node and str(path.relative_to(folder)) not in named:
            gone.append(path)
    for path in gone:
        failpoint("compact.delete")
        path.unlink(missing_ok=True)
        hive.tidy(folder, path)
    fsync_dir(folder)
