"""``partition_by``: a part is many files, ``country=DE/part-0000000012-lake.parquet`` and so on, and a manifest.

A part is staged as one folder, and its manifest is what is prepared, digested and published: one name, linked once all
of the files have theirs. Whoever reads by manifest sees a part whole or not at all; whoever lists the folders sees the
files come one by one, right before it.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import pyarrow as pa

from odibi_actors.batches.files import digest_bytes, digest_file, fsync_dir, make_dirs, new_file
from odibi_actors.errors import ConflictError
from odibi_actors.failpoints import failpoint
from odibi_actors.kinds.sink import Site
from odibi_actors.model import Attempt, StagedRef
from odibi_actors.nodes.sinks import hive, manifest, pieces
from odibi_actors.nodes.sinks.folder import FolderSink, Made, check_published, check_staged, remove, to_be_seen
from odibi_actors.nodes.sinks.folder_current import CurrentSink
from odibi_actors.nodes.sinks.forms import Form
from odibi_actors.nodes.sinks.known import ATTEMPT, Known
from odibi_actors.nodes.sinks.manifest import MANIFESTS, SUFFIX, Manifest
from odibi_actors.nodes.sinks.owner import claim_folder


class Cut(NamedTuple):
    """How parts are cut: by which columns, and into how many folders at most."""

    by: list[str]
    limit: int


class Partitioned(FolderSink):
    """What appending and overwriting have in common. A part is built in a folder of its own, that is then named."""

    def __init__(self, site: Site, form: Form | None = None, cut: Cut | None = None) -> None:
        """``cut``: as ``form``, for staging."""
        super().__init__(site, form)
        self.cut = cut
        self.by = cut.by if cut is not None else ()

    def _check(self, table: pa.Table) -> None:
        assert self.cut is not None, "only staging asks for it"
        pieces.check(table.schema, self.cut.by)
        self._form().known.check(table.select([name for name in table.column_names if name not in self.cut.by]))

    def _write(self, table: pa.Table, iteration: int, attempt: Attempt) -> Made:
        staged, target = self._places(iteration, attempt)
        temporary = self.folder / f"_{manifest.stem(iteration, self.owner.node)}.{attempt}.{os.getpid()}.tmp.staged"
        remove(temporary)  # of a dead process with our number
        try:
            data = self._build(temporary, table, iteration, self._inside(staged, target))
            digest = digest_bytes(data)
            failpoint("folder.stage")
            staged, target = self._name(temporary, iteration, attempt, digest)
            failpoint("folder.staged")
        finally:
            remove(temporary)
        fsync_dir(self.folder)
        return Made(staged, target, digest, len(data))

    def _name(self, temporary: Path, iteration: int, attempt: Attempt, digest: str) -> tuple[Path, Path]:
        """Give the folder of a part the name of the attempt; where another part has that, for the reasons that parts of
        one file have, with the digest of its own."""
        for name in (attempt, f"{attempt}-{digest}"):
            staged, target = self._places(iteration, name)
            try:
                os.rename(temporary, self._top(staged))
                return staged, target
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            if any(path.is_file() and digest_file(path)[0] == digest for path in (staged, target)):
                return staged, target
        raise ConflictError(f"{self._top(staged)} is in the way: move it away and retry")

    def _build(self, root: Path, table: pa.Table, iteration: int, inside: Inside) -> bytes:
        """Write all files of a part below ``root``, synced, and its manifest, whose bytes are returned."""
        cut, form = self.cut, self._form()
        assert cut is not None, "only staging asks for it"
        name = f"{manifest.stem(iteration, self.owner.node)}{form.suffix}"
        folders, files = {root: None}, list[manifest.File]()
        make_dirs(root, sync=False)
        for place, piece in enumerate(pieces.split(table, cut.by, cut.limit)):
            path = f"{hive.folder(cut.by, piece.values)}/{name}"
            at = root / inside.file(place, path)
            at.parent.mkdir(parents=True, exist_ok=True)
            with new_file(at, sync=True) as writer:
                form.write(piece.table.replace_schema_metadata(None), cast(BinaryIO, writer))
            files.append(manifest.File(path, piece.values, piece.table.num_rows, writer.size, writer.digest))
            folders |= dict.fromkeys(above for above in at.parents if above.is_relative_to(root))
        columns, owner = manifest.columns_text(table.schema), self.owner
        told = Manifest(
            1,
            iteration,
            (owner.store_id, owner.pipeline, owner.node),
            form.suffix,
            cut.by,
            columns,
            table.num_rows,
            files,
        )
        data = told.encoded()
        (root / inside.manifest).parent.mkdir(parents=True, exist_ok=True)
        with new_file(root / inside.manifest, sync=True) as writer:
            writer.write(data)
        for folder in {**folders, (root / inside.manifest).parent: None}:
            fsync_dir(folder)
        return data

    def _top(self, staged: Path) -> Path:
        """The folder that is named for the attempt, of a part that is staged there."""
        raise NotImplementedError

    def _inside(self, staged: Path, target: Path) -> Inside:
        raise NotImplementedError

    def _claim_for(self, staged: Path, target: Path) -> None:
        for path in (staged, target):
            with suppress(FileNotFoundError):
                listed = manifest.load(path)
                self.by = listed.partition_by
                self._claim(listed.suffix)
                return
        claim_folder(self.folder, self.owner, self.home, self.former)

    def _load(self, part: StagedRef, staged: Path) -> Manifest:
        """A staged manifest, as it was prepared. Raises ConflictError, OSError."""
        check_staged(part, staged, f"{part.published} does not exist")
        return manifest.load(staged)


class Inside(NamedTuple):
    """Where the folder of a part has its manifest, and its files, by their number and published path."""

    manifest: str
    file: Callable[[int, str], str]


class PartitionedFolder(Partitioned):
    """Of which each iteration adds files."""

    def _places(self, iteration: int, attempt: Attempt | str) -> tuple[Path, Path]:
        stem = manifest.stem(iteration, self.owner.node)
        staged = self.folder / f"_{stem}.{attempt}.staged" / f"{stem}{SUFFIX}.staged"
        return staged, self.folder / MANIFESTS / f"{stem}{SUFFIX}"

    def _top(self, staged: Path) -> Path:
        return staged.parent

    def _inside(self, staged: Path, target: Path) -> Inside:
        return Inside(staged.name, lambda place, _: manifest.numbered(place))

    def _check_paths(self, staged: Path, target: Path, iteration: int) -> None:
        stem = manifest.stem(iteration, self.owner.node)
        named = re.fullmatch(rf"_{re.escape(stem)}\.{ATTEMPT}\.staged", staged.parent.name)
        if not named or staged.name != f"{stem}{SUFFIX}.staged" or staged.parent.parent != self.folder:
            raise ConflictError(f"{staged} is not a part of iteration {iteration} of {self.owner}")
        if target != self.folder / MANIFESTS / f"{stem}{SUFFIX}":
            raise ConflictError(f"{target} is not a part of iteration {iteration} of {self.owner}")

    def _appear(self, part: StagedRef, iteration: int, known: Known) -> None:
        staged, target = Path(part.staged), Path(part.published)
        if os.path.lexists(target):
            check_published(part, target, self._whole(iteration))
            return
        if not to_be_seen(part, staged):
            return
        listed, folders = self._load(part, staged), dict[Path, None]()
        there = self._there(listed)
        make_dirs(target.parent, sync=True)  # first: by it sources see that the files wait for their manifest
        for place, file in enumerate(listed.files):
            path = self.folder / file.path
            if file.path not in there:
                path.parent.mkdir(parents=True, exist_ok=True)
                _link(staged.parent / manifest.numbered(place), path, file)
            folders |= dict.fromkeys(above for above in path.parents if above.is_relative_to(self.folder))
        for folder in folders:  # before the manifest says that they are there
            fsync_dir(folder)
        failpoint("folder.link")
        try:
            os.link(staged, target)
        except FileExistsError:
            check_published(part, target, self._whole(iteration))
        fsync_dir(target.parent)

    def _there(self, listed: Manifest) -> set[str]:
        """Which of the files have their place already: somebody died amid linking them. Raises ConflictError where any
        place is that of another file, before a reader who lists the folders sees more of the part; OSError."""
        found = [file for file in listed.files if os.path.lexists(self.folder / file.path)]
        others = [file.path for file in found if digest_file(self.folder / file.path)[0] != file.digest]
        if others:
            more = f", and {len(others) - 1} more of that name," if others[1:] else ""
            raise ConflictError(
                f"{self.folder / others[0]}{more} was not written by this iteration, and no manifest names it: move "
                f"{self._files(listed.iteration)} away and retry"
            )
        return {file.path for file in found}

    def _files(self, iteration: int) -> str:
        """All files of a part, for who moves them; those of another one may be in more folders."""
        return f"all files {manifest.stem(iteration, self.owner.node)}.* in the folders of partitions"

    def _whole(self, iteration: int) -> str:
        return f"it, and {self._files(iteration)},"

    def _apart(self) -> str:
        return ", with all files of these iterations in the folders of partitions"

    def _unstage(self, staged: Path) -> None:
        remove(staged.parent)

    def discard(self, part: StagedRef, iteration: int) -> None:
        """Delete a prepared part that is not to be published, also where it was, or was begun to be. Raises
        ConflictError and OSError."""
        staged, target = Path(part.staged), Path(part.published)
        self._check_paths(staged, target, iteration)
        if self._of_a_copy():
            return
        if target.is_file() and digest_file(target)[0] == part.digest:
            if not staged.exists():  # it says what is to be deleted, should this process die amid it
                make_dirs(staged.parent, sync=True)
                os.link(target, staged)
                fsync_dir(staged.parent)
            target.unlink(missing_ok=True)
            fsync_dir(target.parent)
        with suppress(ConflictError, FileNotFoundError):  # deleted already, or damaged: it names nothing that is known
            for file in self._load(part, staged).files:
                path = self.folder / file.path
                if path.is_file() and digest_file(path)[0] == file.digest:
                    path.unlink(missing_ok=True)
                    hive.tidy(self.folder, path)
        remove(staged.parent)


class PartitionedCurrent(Partitioned, CurrentSink):
    """Of which each iteration takes the place of the one before: ``current`` leads to the folder of all its files."""

    def _places(self, iteration: int, attempt: Attempt | str) -> tuple[Path, Path]:
        stem = manifest.stem(iteration, self.owner.node)
        version = self.folder / f"_current-{iteration:010d}-{self.owner.node}.{attempt}"
        return version / MANIFESTS / f"{stem}{SUFFIX}.staged", version / MANIFESTS / f"{stem}{SUFFIX}"

    def _version(self, path: Path) -> Path:
        return path.parent.parent

    def _top(self, staged: Path) -> Path:
        return self._version(staged)

    def _inside(self, staged: Path, target: Path) -> Inside:
        return Inside(str(staged.relative_to(self._version(staged))), lambda _, path: path)

    def _check_staged(self, part: StagedRef, staged: Path, told: str) -> None:
        for file in self._load(part, staged).files:
            _check_file(self._version(staged) / file.path, file)

    def _check_paths(self, staged: Path, target: Path, iteration: int) -> None:
        stem, version = manifest.stem(iteration, self.owner.node), self._version(target)
        named = re.fullmatch(rf"_current-{iteration:010d}-{re.escape(self.owner.node)}\.{ATTEMPT}", version.name)
        sound = target == version / MANIFESTS / f"{stem}{SUFFIX}" and version.parent == self.folder
        if not named or not sound or staged != target.with_name(f"{target.name}.staged"):
            raise ConflictError(f"{staged} -> {target} is not a part of iteration {iteration} of {self.owner}")


def _link(staged: Path, path: Path, file: manifest.File) -> None:
    """Give a staged file its place. Raises ConflictError, OSError."""
    _check_file(staged, file)
    failpoint("folder.file")
    os.link(staged, path)


def _check_file(path: Path, file: manifest.File) -> None:
    """Raise ConflictError unless the file is as it was prepared."""
    try:
        digest, _ = digest_file(path)
    except FileNotFoundError:
        raise ConflictError(f"the prepared file {path} is gone; put it back, then `odibictl iteration retry`") from None
    if digest != file.digest:
        raise ConflictError(f"the prepared file {path} has digest {digest}, not {file.digest}: it was damaged")
