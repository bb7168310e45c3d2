"""Append to a folder: one file ``part-<iteration, 10 digits>-<node>.parquet`` per iteration.

A staged part lies beside its target, under a leading underscore and ending in ``.staged``: ``*.parquet`` does not match
it, and readers of whole folders (pyarrow, Spark) skip the underscore.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from odibi_actors.batches.files import digest_file, fsync_dir, make_dirs, new_file
from odibi_actors.errors import ConflictError
from odibi_actors.failpoints import failpoint
from odibi_actors.kinds.sink import Site
from odibi_actors.model import Attempt, StagedRef
from odibi_actors.nodes.sinks import current
from odibi_actors.nodes.sinks.conform import VOID, Pin
from odibi_actors.nodes.sinks.known import ATTEMPT, UNKNOWN, Known, unknown
from odibi_actors.nodes.sinks.owner import Owner, claim_folder, folder_mark, folder_owner, missed
from odibi_actors.nodes.sinks.parquet_types import check_types


class ParquetSink:
    """The sink of one node in one folder."""

    overwrite = False

    def __init__(self, site: Site) -> None:
        self.at = site.at
        self.folder = Path(site.at.locator)
        self.owner = site.owner
        self.home = site.home
        self.former = site.former
        self.owners = (site.owner, *site.former)
        self.nodes = list(dict.fromkeys(one.node for one in self.owners))

    def stage(
        self, table: pa.Table, iteration: int, attempt: Attempt, pin: Pin | None = None, published: bool = False
    ) -> tuple[StagedRef, pa.Table]:
        """Write the part of an iteration, synced and invisible. Returns it, and the rows that are in it.

        Raises Failed (``invalid``: types that parquet has not, rows that do not fit the ``pin``), ConflictError
        (another owner or mode; ``published`` parts are missed) and OSError.
        """
        check_types(table)
        self._check_published(published)
        pin = pin or Pin()
        if pin.known is None:
            pin.known = self._newest_schema()
        table = pin.conform(table)
        if pin.void(table):
            table = table.replace_schema_metadata({VOID: b"1"})
        make_dirs(self.folder, sync=True)
        self._claim()
        staged, target = self._places(iteration, attempt)
        make_dirs(staged.parent, sync=True)
        temporary = staged.with_name(f"{staged.name.removesuffix('.staged')}.{os.getpid()}.tmp.staged")
        temporary.unlink(missing_ok=True)  # of a dead process with our number
        marks = self._marks(iteration)
        with new_file(temporary, sync=True) as writer:
            pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), **marks}), writer)
        digest, size, rows = writer.digest, writer.size, table.num_rows
        try:
            failpoint("parquet.stage")
            os.link(temporary, staged)
            failpoint("parquet.staged")
        except FileExistsError:
            if digest_file(staged)[0] != digest:
                # Its part may be prepared, so it stands, and ours gets a name of its own: the attempt was made before
                # by a process that died, of what came of it then; or by one that our store, put back, knows nothing of.
                staged, target = self._places(iteration, f"{attempt}-{digest}")
                make_dirs(staged.parent, sync=True)
                with suppress(FileExistsError):
                    os.link(temporary, staged)
        finally:
            temporary.unlink()
        fsync_dir(staged.parent)
        self._staged(staged)
        part = StagedRef(
            self.at,
            str(staged),
            str(target),
            rows,
            size,
            digest,
            exclusive=self.at.locator,
            retracts=True,
            replaces=self.overwrite,
        )
        return part, table

    def _places(self, iteration: int, attempt: Attempt | str) -> tuple[Path, Path]:
        """Where a part is staged, and published. ``attempt``: with the digest of the part, where that of another part
        has its name."""
        stem = f"part-{iteration:010d}-{self.owner.node}"
        return self.folder / f"_{stem}.{attempt}.staged", self.folder / f"{stem}.parquet"

    def _marks(self, iteration: int) -> dict[bytes, bytes]:
        """Metadata of a part."""
        return {}

    def _staged(self, staged: Path) -> None:
        """A part is staged."""

    def _claim(self) -> None:
        """Own the folder, for this mode. One that is refused is left as it was."""
        if folder_owner(self.folder) in (None, *self.owners):
            current.check_folder(self.folder, self.owner, self.overwrite, self.former)
        claim_folder(self.folder, self.owner, self.home, self.former)

    def _check_published(self, published: bool) -> None:
        """Raise ConflictError when what the sink has ``published`` is not there: another folder has taken its place."""
        if published and folder_owner(self.folder) is None:
            raise missed(str(self.folder), self.owner)

    def _newest_schema(self) -> pa.Schema | None:
        """That of the newest part of this sink. Raises ConflictError, and OSError."""
        newest = self._newest() if folder_owner(self.folder) in self.owners else None
        if newest is None:
            return None
        try:
            return pq.read_schema(newest).remove_metadata()
        except pa.ArrowInvalid as error:
            raise ConflictError(f"{newest}, whose schema later parts are to have, cannot be read: {error}") from error

    def _newest(self) -> Path | None:
        return newest_part(self.folder, *self.nodes)

    def publish(
        self,
        part: StagedRef,
        iteration: int,
        settled: int,
        published: bool = False,
        before: int = 0,
        known: Known = UNKNOWN,
    ) -> None:
        """Make a prepared part visible; done already is done. ``settled``: every iteration up to it is terminal, in
        whatever lane. ``published``: others were before it; that of ``before`` may have been taken away by whoever
        cleans the folder, which ``checkpoint verify`` tells. ``known``: of what else may stand there. Raises
        ConflictError and OSError."""
        staged, target = Path(part.staged), Path(part.published)
        self._check_paths(staged, target, iteration)
        self._check_published(published)
        self._claim()
        if not os.path.lexists(target):
            self._check_known(known, iteration)
        self._appear(part, iteration, staged, target)
        failpoint("parquet.linked")
        fsync_dir(self.folder)
        staged.unlink(missing_ok=True)
        failpoint("parquet.unlinked")
        self._sweep(iteration, settled)  # not synced: a name that returns after a power loss is swept by a later part

    def _check_known(self, known: Known, iteration: int) -> None:
        """Raise ConflictError when parts of this sink are there that our store has not published. Raises OSError."""
        found = known.missed(_parts(self.folder, self.owner.node), lambda path: digest_file(path)[0])
        if found:
            names = [path.name for _, path in found]
            raise unknown(
                str(self.folder),
                names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}",
                [number for number, _ in found],
                self.owner,
                "or move that away, if the files it was made of are still there: they are read again. Then "
                f"`odibictl iteration retry {self.owner.pipeline} {iteration}`",
            )

    def discard(self, part: StagedRef, iteration: int) -> None:
        """Delete a prepared part that is not to be published, also where it was: somebody died before telling so. What
        has its name and is not what was prepared is somebody else's. Raises ConflictError and OSError."""
        staged, target = Path(part.staged), Path(part.published)
        self._check_paths(staged, target, iteration)
        if self._of_a_copy():
            return
        if target.is_file() and digest_file(target)[0] == part.digest:
            target.unlink(missing_ok=True)
            fsync_dir(self.folder)
        staged.unlink(missing_ok=True)

    def _of_a_copy(self) -> bool:
        """What is here is the original's, of which our store is a copy: we can have published nothing."""
        found = folder_mark(self.folder)
        return found is not None and bool(found.elsewhere(self.home, self.folder))

    def retract(
        self,
        after: int,
        last: int,
        given_up: Collection[int] = (),
        owners: Sequence[Owner] = (),
        spared: Collection[tuple[int, int]] = (),
    ) -> None:
        """Take back the parts of iterations after ``after`` up to ``last``, but for those whose sink was ``given_up``,
        and numbers that are ``spared``, each (after, up to; 0: no end): what has their name is somebody else's.
        ``owners``: all who have owned the folder, if it has passed on, its owner first. Raises ConflictError and
        OSError."""
        if not self.folder.is_dir() or self._of_a_copy():
            return  # nothing was ever published there, or all that is there is the original's
        claim_folder(self.folder, owners[0] if owners else self.owner, self.home, owners)
        kept = [range(low + 1, high + 1 if high else last + 1) for low, high in spared]
        pattern = re.compile(rf"_?part-(\d{{10,}})-{re.escape(self.owner.node)}\.(parquet|.*\.staged)")
        with os.scandir(self.folder) as entries:
            found = [(entry.path, pattern.fullmatch(entry.name)) for entry in entries]
        for path, match in sorted(found, reverse=True):
            ours = match is not None and (int(match[1]) not in given_up or match[2] != "parquet")
            if match and after < int(match[1]) <= last and ours and not any(int(match[1]) in one for one in kept):
                failpoint("parquet.retract")
                Path(path).unlink(missing_ok=True)
        fsync_dir(self.folder)

    def _appear(self, part: StagedRef, iteration: int, staged: Path, target: Path) -> None:
        if os.path.lexists(target):
            check_published(part, target)
            return
        if not part.rows and not to_be_seen(staged):
            return
        check_staged(part, staged, f"{target} does not exist")
        failpoint("parquet.link")
        try:
            os.link(staged, target)
        except FileExistsError:
            check_published(part, target)

    def _check_paths(self, staged: Path, target: Path, iteration: int) -> None:
        """A part is published only under the names that staging gives: a message cannot choose others."""
        stem = f"part-{iteration:010d}-{self.owner.node}"
        named = target.name == f"{stem}.parquet" and re.fullmatch(rf"_{stem}\.{ATTEMPT}\.staged", staged.name)
        if not named or staged.parent != self.folder or target.parent != self.folder:
            raise ConflictError(f"{staged} -> {target} is not a part of iteration {iteration} of {self.owner}")

    def _sweep(self, iteration: int, settled: int) -> None:
        """Delete what dead attempts staged for this iteration and for settled ones. Other lower numbers may be of
        another lane: their parts are still to be published."""
        pattern = re.compile(rf"_part-(\d{{10,}})-(?:{'|'.join(map(re.escape, self.nodes))})\..*\.staged")
        with os.scandir(self.folder) as entries:
            found = [(entry.path, pattern.fullmatch(entry.name)) for entry in entries]
        for path, match in found:
            if match and (int(match[1]) == iteration or int(match[1]) <= settled):
                Path(path).unlink(missing_ok=True)


def _parts(folder: Path, *nodes: str) -> Iterator[tuple[int, Path]]:
    """(iteration, path) of the parts that these nodes have appended to a folder, in no order. Raises OSError."""
    pattern = re.compile(rf"part-(\d{{10,}})-(?:{'|'.join(map(re.escape, nodes))})\.parquet")
    for match in filter(None, map(pattern.fullmatch, os.listdir(folder))):
        yield int(match[1]), folder / match[0]


def newest_part(folder: Path, *nodes: str) -> Path | None:
    """The newest part that one of these nodes has appended to a folder. Raises OSError."""
    return max(_parts(folder, *nodes), default=(0, None))[1]


def to_be_seen(staged: Path) -> bool:
    """Whether a part without rows becomes a file. One that is gone has been published, or swept: nothing is missed."""
    try:
        return VOID not in (pq.read_schema(staged).metadata or {})
    except FileNotFoundError:
        return False
    except pa.ArrowInvalid:
        return True  # damaged, which its digest tells


def check_staged(part: StagedRef, staged: Path, target: str) -> None:
    """Raise ConflictError unless the staged part is as it was prepared. ``target``: what is known of that."""
    try:
        digest, _ = digest_file(staged)
    except FileNotFoundError:
        raise ConflictError(
            f"the prepared part {staged} is gone and {target}; put the file back, then `odibictl iteration retry`"
        ) from None
    if digest != part.digest:
        raise ConflictError(f"the prepared part {staged} has digest {digest}, not {part.digest}: it was damaged")


def check_published(part: StagedRef, target: Path) -> None:
    """Raise ConflictError unless the published part is the prepared one. Raises OSError."""
    digest, _ = digest_file(target)
    if digest != part.digest:
        raise ConflictError(
            f"{target} exists with digest {digest}, not the prepared {part.digest}; "
            "it was not written by this iteration: move it away and retry"
        )
