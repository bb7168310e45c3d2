"""Append to a folder: one file ``part-<iteration, 10 digits>-<node>.<format>`` per iteration.

A staged part lies beside its target, under a leading underscore and ending in ``.staged``: ``*.parquet`` does not match
it, and readers of whole folders (pyarrow, Spark) skip the underscore.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import pyarrow as pa
import pyarrow.parquet as pq

from odibi_actors.batches.files import digest_file, fsync_dir, make_dirs, new_file
from odibi_actors.errors import ConflictError
from odibi_actors.failpoints import failpoint
from odibi_actors.kinds.sink import Site
from odibi_actors.model import Attempt, StagedRef
from odibi_actors.nodes.sinks import current, hive, joined, manifest
from odibi_actors.nodes.sinks.conform import VOID, Pin
from odibi_actors.nodes.sinks.forms import PARQUET, Form, parts, remember, schema_of
from odibi_actors.nodes.sinks.joined import Joined
from odibi_actors.nodes.sinks.known import ATTEMPT, UNKNOWN, Known, unknown
from odibi_actors.nodes.sinks.manifest import MANIFESTS, PART
from odibi_actors.nodes.sinks.owner import Owner, claim_folder, folder_mark, folder_owner, missed


class FolderSink:
    """The sink of one node in one folder."""

    overwrite = False
    by: Sequence[str] = ()
    """The columns that are folders."""

    def __init__(self, site: Site, form: Form | None = None) -> None:
        """``form``: in which parts are staged (None: they are staged already)."""
        self.form = form
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

        Raises Failed (``invalid``: what the format does not hold, rows that do not fit the ``pin``), ConflictError
        (another owner or mode; ``published`` parts are missed) and OSError.
        """
        form, given = self._form(), table.schema
        if given.names:
            self._check(table)
        self._check_published(published)
        pin = pin or Pin()
        if pin.known is None:
            pin.known = self._newest_schema()
        table = pin.conform(table)
        if table.schema != given:
            self._check(table)
        void = pin.void(table)
        make_dirs(self.folder, sync=True)
        self._claim(form.suffix)
        made = self._write(table, iteration, attempt)
        self._staged(made.staged)
        part = StagedRef(
            self.at,
            str(made.staged),
            str(made.target),
            table.num_rows,
            made.size,
            made.digest,
            exclusive=self.at.locator,
            retracts=True,
            replaces=self.overwrite,
            void=void,
        )
        return part, table

    def _check(self, table: pa.Table) -> None:
        """Raise Failed (``invalid``) for what the files would not give back."""
        self._form().known.check(table)

    def _write(self, table: pa.Table, iteration: int, attempt: Attempt) -> Made:
        """Write the part, synced, under the name of the attempt."""
        form = self._form()
        staged, target = self._places(iteration, attempt)
        make_dirs(staged.parent, sync=True)
        temporary = staged.with_name(f"{staged.name.removesuffix('.staged')}.{os.getpid()}.tmp.staged")
        temporary.unlink(missing_ok=True)  # of a dead process with our number
        marks = self._marks(iteration, table.num_rows)
        with new_file(temporary, sync=True) as writer:
            form.write(table.replace_schema_metadata(marks or None), cast(BinaryIO, writer))
        digest = writer.digest
        try:
            failpoint("folder.stage")
            os.link(temporary, staged)
            failpoint("folder.staged")
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
        if not form.known.tells_schema:
            remember(staged.parent, table.schema, marks)
        return Made(staged, target, digest, writer.size)

    def _places(self, iteration: int, attempt: Attempt | str) -> tuple[Path, Path]:
        """Where a part is staged, and published. ``attempt``: with the digest of the part, where that of another part
        has its name."""
        stem = f"part-{iteration:010d}-{self.owner.node}"
        return self.folder / f"_{stem}.{attempt}.staged", self.folder / f"{stem}{self._form().suffix}"

    def _form(self) -> Form:
        assert self.form is not None, "only staging asks for it"
        return self.form

    def _marks(self, iteration: int, rows: int) -> dict[bytes, bytes]:
        """Metadata of a part."""
        return {}

    def _staged(self, staged: Path) -> None:
        """A part is staged."""

    def _claim(self, suffix: str) -> None:
        """Own the folder, for this mode and for parts that end so. One that is refused is left as it was."""
        if folder_owner(self.folder) in (None, *self.owners):
            current.check_folder(self.folder, self.owner, self.overwrite, self.former, suffix, self.by)
        claim_folder(self.folder, self.owner, self.home, self.former, suffix, self.by)

    def _check_published(self, published: bool) -> None:
        """Raise ConflictError when what the sink has ``published`` is not there: another folder has taken its place."""
        if published and folder_owner(self.folder) is None:
            raise missed(str(self.folder), self.owner)

    def _newest_schema(self) -> pa.Schema | None:
        """That of the newest part of this sink. Raises ConflictError, and OSError."""
        if folder_owner(self.folder) not in self.owners:
            return None
        newest = self._newest()
        return schema_of(newest).remove_metadata() if newest is not None else joined_schema(self.folder, *self.nodes)

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
        told = joined.load(self.folder, self.owner.node) if not self.overwrite else None
        if told is not None and told.covers(target):
            self._check_joined(told, known)
            self._unstage(staged)  # it was published long ago, and joined with others since
            return
        self._check_published(published)
        self._claim_for(staged, target)
        if not os.path.lexists(target):
            self._check_known(known, iteration)
        self._appear(part, iteration, known)
        failpoint("folder.linked")
        fsync_dir(self.folder)
        self._unstage(staged)
        failpoint("folder.unlinked")
        self._sweep(iteration, settled)  # not synced: a name that returns after a power loss is swept by a later part

    def _claim_for(self, staged: Path, target: Path) -> None:
        """Own the folder, for what is prepared."""
        self._claim(suffix_of(target))

    def _unstage(self, staged: Path) -> None:
        """Delete what was staged of a part that is published."""
        staged.unlink(missing_ok=True)

    def _check_known(self, known: Known, iteration: int) -> None:
        """Raise ConflictError when parts of this sink are there that our store has not published. Raises OSError."""
        if (told := joined.load(self.folder, self.owner.node)) is not None and known.upto >= 0:
            self._check_joined(told, known)
        found = known.missed(parts(self.folder, self.owner.node), lambda path: digest_file(path)[0])
        if found:
            names = [path.name for _, path in found]
            raise unknown(
                str(self.folder),
                names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}",
                [number for number, _ in found],
                self.owner,
                f"or move that away{self._apart()}, if the files it was made of are still there: they are read again. "
                f"Then `odibictl iteration retry {self.owner.pipeline} {iteration}`",
            )

    def _apart(self) -> str:
        """What else a part consists of, for who moves it."""
        return ""

    def _check_joined(self, told: Joined, known: Known) -> None:
        """Raise ConflictError when files were joined of iterations of which our store knows nothing."""
        if told.upto > known.upto:
            what = f"joined files ({joined.list_of(self.folder, self.owner.node).name})"
            ways = f"or begin again: `odibictl reset {self.owner.pipeline} --targets`"
            raise unknown(str(self.folder), what, [told.upto], self.owner, ways)

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
        told = joined.load(self.folder, self.owner.node)
        if told is not None and told.upto > after:  # an older store is asked, which does not know
            raise ConflictError(
                f"{self.folder}: what {self.owner.node} has published up to iteration {told.upto} is in files with "
                f"what was before {after + 1}, and is not taken back: `odibictl reset {self.owner.pipeline} --targets`"
            )
        claim_folder(self.folder, owners[0] if owners else self.owner, self.home, owners)
        kept = [range(low + 1, high + 1 if high else last + 1) for low, high in spared]
        pattern = re.compile(rf"(_?)part-(\d{{10,}})-{re.escape(self.owner.node)}\..+")

        def ours(path: Path) -> bool:
            match = pattern.fullmatch(path.name)
            if match is None or not after < int(match[2]) <= last or any(int(match[2]) in one for one in kept):
                return False
            return bool(match[1]) or int(match[2]) not in given_up

        manifests = self.folder / MANIFESTS
        for place in (manifests, self.folder) if manifests.is_dir() else (self.folder,):  # what no manifest names
            for name in sorted(filter(lambda name: ours(place / name), os.listdir(place)), reverse=True):
                failpoint("folder.retract")
                remove(place / name)
            fsync_dir(place)
        partitioned = hive.files(self.folder) if manifests.is_dir() else ()
        for path in filter(ours, partitioned):  # nobody who reads by manifest sees any more
            failpoint("folder.retract")
            path.unlink(missing_ok=True)
            hive.tidy(self.folder, path)

    def _appear(self, part: StagedRef, iteration: int, known: Known) -> None:
        staged, target = Path(part.staged), Path(part.published)
        if os.path.lexists(target):
            check_published(part, target)
            return
        if not to_be_seen(part, staged):
            return
        check_staged(part, staged, f"{target} does not exist")
        failpoint("folder.link")
        try:
            os.link(staged, target)
        except FileExistsError:
            check_published(part, target)

    def _check_paths(self, staged: Path, target: Path, iteration: int) -> None:
        """A part is published only under the names that staging gives: a message cannot choose others."""
        stem = f"part-{iteration:010d}-{self.owner.node}"
        named = target.name == stem + suffix_of(target) and re.fullmatch(rf"_{stem}\.{ATTEMPT}\.staged", staged.name)
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
                remove(Path(path))


class Made(NamedTuple):
    """A part that was written: where it is staged, where it will be published, its digest and size in bytes."""

    staged: Path
    target: Path
    digest: str
    size: int


def remove(path: Path) -> None:
    """Delete a file, or a folder with what is in it; gone already is gone. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        with suppress(FileNotFoundError):
            shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def suffix_of(part: Path) -> str:
    """What the name of a published part ends in; "" when it is none."""
    match = PART.fullmatch(part.name)
    return match["suffix"] if match is not None else ""


def joined_schema(folder: Path, *nodes: str) -> pa.Schema | None:
    """That of the newest parts of one of these nodes that were joined; None: none were. Raises ConflictError,
    OSError."""
    told = [one for one in joined.lists(folder) if one.node in nodes]
    newest = max(told, key=lambda one: one.upto, default=None)
    return manifest.schema_of_text(newest.schemas[-1]) if newest is not None else None


def newest_part(folder: Path, *nodes: str) -> Path | None:
    """The newest part that one of these nodes has appended to a folder. Raises OSError."""
    return max(parts(folder, *nodes), default=(0, None))[1]


def to_be_seen(part: StagedRef, staged: Path) -> bool:
    """Whether a part becomes a file. Former releases said so in the file: one that is gone has been published, or
    swept, so that nothing is missed."""
    if part.rows or part.void or not part.published.endswith(PARQUET):
        return not part.void
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


def check_published(part: StagedRef, target: Path, whole: str = "it") -> None:
    """Raise ConflictError unless the published part is the prepared one. ``whole``: all that is to be moved away
    then. Raises OSError."""
    digest, _ = digest_file(target)
    if digest != part.digest:
        raise ConflictError(
            f"{target} exists with digest {digest}, not the prepared {part.digest}; "
            f"it was not written by this iteration: move {whole} away and retry"
        )
