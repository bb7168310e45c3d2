"""The sink of a ``local`` connection: a folder of files."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from odibi_actors.batches.files import fsync_dir
from odibi_actors.errors import ConflictError
from odibi_actors.kinds.connection import OPEN, Access
from odibi_actors.kinds.sink import Kept, Publisher, Site
from odibi_actors.model import Attempt, Target
from odibi_actors.nodes.sinks import current, hive, joined
from odibi_actors.nodes.sinks.forms import SCHEMA_FILE, form_of
from odibi_actors.nodes.sinks.manifest import MANIFESTS, PART, is_manifest
from odibi_actors.nodes.sinks.owner import OWNER_FILE, Mark, Owner, folder_mark, take_folder

if TYPE_CHECKING:
    import pyarrow as pa

    from odibi_actors.config.model import WriteSpec
    from odibi_actors.nodes.failures import Failed


class LocalSink:
    """See ``kinds.sink.Sink``."""

    name = "local"
    needs = ("path", "format")
    takes = ("compression", "partition_by", "max_partitions")
    modes = ("append", "overwrite")
    flat = ""
    unit = "file"

    def reserved(self, at: Target) -> tuple[str, str]:
        name = os.path.basename(at.locator)
        if "#" in name:
            message = "a folder to write to has no # in its name: that stands between a database and its table"
            return message, name
        return "", ""

    def folded(self, at: Target) -> Target:
        return at

    def place(self, at: Target) -> Path:
        return Path(at.locator)

    def called(self, at: Target) -> tuple[str, tuple[str, str]]:
        return at.locator, take_folder(Path(at.locator))

    def mark(self, at: Target, access: Access = OPEN) -> Mark | None:
        return folder_mark(Path(at.locator))

    def check(self, write: WriteSpec, owner: Owner, former: Collection[Owner] = (), access: Access = OPEN) -> None:
        suffix, overwrite = form_of(write.format, write.compression).suffix, write.mode == "overwrite"
        current.check_folder(Path(write.target.locator), owner, overwrite, former, suffix, write.partition_by)

    def newest(self, at: Target, nodes: Collection[str]) -> str:
        from odibi_actors.nodes.sinks.folder import newest_part

        found = newest_part(Path(at.locator), *nodes)
        return found.name if found is not None else ""

    def holds(self, at: Target, access: Access = OPEN) -> tuple[int, int]:
        found = current.held(Path(at.locator))
        return (found.iteration, found.rows) if found is not None else (0, 0)

    def missing(
        self, at: Target, sink: Sequence[str], iteration: int, digest: str, owners: Sequence[Any], access: Access = OPEN
    ) -> str:
        return ""  # each part is a file, which is looked for itself

    def kept(
        self, at: Target, owners: Sequence[Owner], given_up: Sequence[Collection[int]], access: Access = OPEN
    ) -> Kept | None:
        found = _all(Path(at.locator), owners, given_up)
        names = (PART, joined.NAME)
        files = [one for one in found if one.name == current.CURRENT or any(name.fullmatch(one.name) for name in names)]
        files = [one for one in files if not is_manifest(one.name)]
        return Kept(len(files), all(one.name == current.CURRENT for one in files))

    def delete(
        self, at: Target, owners: Sequence[Owner], given_up: Sequence[Collection[int]], access: Access = OPEN
    ) -> None:
        from odibi_actors.nodes.sinks.folder import remove

        folder = Path(at.locator)
        with joined.alone(folder):
            for part in _all(folder, owners, given_up):
                remove(part)
                hive.tidy(folder, part)
        (folder / SCHEMA_FILE).unlink(missing_ok=True)
        fsync_dir(folder)
        (folder / OWNER_FILE).unlink()
        fsync_dir(folder)

    def stand_in(self, folder: Path) -> Path:
        return folder

    def resemble(self, write: WriteSpec, stand_in: Path, owner: Owner, access: Access = OPEN) -> None:
        """With an empty part, of the schema of the newest one there, which later ones are held to."""
        from odibi_actors.nodes.sinks.conform import Pin
        from odibi_actors.nodes.sinks.folder import joined_schema, newest_part
        from odibi_actors.nodes.sinks.forms import schema_of
        from odibi_actors.nodes.sinks.known import UNKNOWN

        below, overwrite = write.path or ".", write.mode == "overwrite"
        real = Path(write.target.locator)
        if overwrite:
            held = current.held(real) if real.is_dir() else None
            newest = held.part if held is not None else None
        else:
            newest = newest_part(real, owner.node) if real.is_dir() else None
        schema = joined_schema(real, owner.node) if newest is None and real.is_dir() and not overwrite else None
        if newest is not None:
            schema = schema_of(newest).remove_metadata()
        if schema is not None:
            empty = schema.empty_table()
            at = Target(self.name, "", os.path.normpath(stand_in / below))
            sink = self.open(Site(at, owner, replaces=overwrite), write)
            part, _ = sink.stage(empty, 0, Attempt(0, 0), Pin())
            sink.publish(part, 0, 0, False, 0, UNKNOWN)

    def rows(self, at: Target, path: Path, name: str) -> pa.Table:
        from odibi_actors.nodes.formats import Malformed
        from odibi_actors.nodes.sinks.committed import rows_of
        from odibi_actors.nodes.sinks.forms import read

        try:
            return rows_of(path) if is_manifest(name) else read(path, name)
        except Malformed as error:
            raise ConflictError(str(error)) from error

    def open(self, site: Site, write: WriteSpec | None) -> Publisher:
        from odibi_actors.nodes.failures import Failed
        from odibi_actors.nodes.sinks.folder import FolderSink
        from odibi_actors.nodes.sinks.folder_current import CurrentSink
        from odibi_actors.nodes.sinks.partitioned import Cut, PartitionedCurrent, PartitionedFolder

        below = Path(write.path or ".") if write is not None else Path()
        if below.is_absolute() or ".." in below.parts:
            raise Failed("invalid", f"write.path {str(below)!r} leaves the folder of its connection")
        form = form_of(write.format, write.compression) if write is not None else None
        cut = Cut(write.partition_by, write.max_partitions) if write is not None and write.partition_by else None
        if cut is not None or is_manifest(site.published):
            return (PartitionedCurrent if site.replaces else PartitionedFolder)(site, form, cut)
        return (CurrentSink if site.replaces else FolderSink)(site, form)

    def failure(self, at: Target, error: Exception) -> Failed | None:
        return None  # those of a file system are everybody's


def _all(folder: Path, owners: Sequence[Owner], given_up: Sequence[Collection[int]]) -> list[Path]:
    """What these have published and staged, newest first: what is left of an interrupted reset is a prefix."""
    found = []
    for owner, numbers in zip(owners, given_up, strict=True):
        found += _of(folder, owner, numbers, owners)
    return list(dict.fromkeys(found))


def _of(folder: Path, owner: Owner, given_up: Collection[int], owners: Collection[Owner]) -> list[Path]:
    """A file with the name of an iteration whose sink was ``given_up`` is somebody else's."""
    pattern = re.compile(rf"(_?)part-(\d{{10,}})-{re.escape(owner.node)}\..+")

    def ours(paths: Iterable[Path]) -> list[Path]:
        named = [(one, match) for one in paths if (match := pattern.fullmatch(one.name))]
        return sorted((one for one, match in named if match[1] or int(match[2]) not in given_up), reverse=True)

    def joins(paths: Iterable[Path]) -> list[Path]:
        return [one for one in paths if (match := joined.NAME.fullmatch(one.name)) and match["node"] == owner.node]

    parts, manifests = [*ours(folder.iterdir()), *joins(folder.iterdir())], folder / MANIFESTS
    parts += folder.glob(f"_joined-{owner.node}.*.staged")
    if manifests.is_dir():  # these first: what is left of an interrupted reset is in none
        told = [joined.list_of(folder, owner.node), *ours(manifests.iterdir())]
        parts = [*told, *parts, *ours(hive.files(folder)), *joins(hive.files(folder))]
    published = [folder / current.CURRENT] if current.is_of(folder, owners) else []  # the link before what it points to
    return [*parts, *published, *(path for _, path in current.versions(folder, owner.node))]


SINK = LocalSink()
