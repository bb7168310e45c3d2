"""The sink of ``mode: overwrite`` in a folder; ``current`` says how readers see it."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from odibi_actors.batches.files import digest_file, fsync_dir
from odibi_actors.errors import ConflictError
from odibi_actors.failpoints import failpoint
from odibi_actors.model import Attempt, StagedRef
from odibi_actors.nodes.sinks import current
from odibi_actors.nodes.sinks.folder import FolderSink, check_published, check_staged, to_be_seen
from odibi_actors.nodes.sinks.forms import parts
from odibi_actors.nodes.sinks.known import ATTEMPT, Known
from odibi_actors.nodes.sinks.manifest import PART


class CurrentSink(FolderSink):
    """The sink of one node in one folder, of which each part takes the place of the one before."""

    overwrite = True

    def _places(self, iteration: int, attempt: Attempt | str) -> tuple[Path, Path]:
        name = f"{iteration:010d}-{self.owner.node}"
        target = self.folder / f"_current-{name}.{attempt}" / f"part-{name}{self._form().suffix}"
        return target.with_name(f"{target.name}.staged"), target

    def _marks(self, iteration: int, rows: int) -> dict[bytes, bytes]:
        return current.marked(self.owner, iteration, rows)

    def _newest(self) -> Path | None:
        found = current.held(self.folder)
        return found.part if found is not None else None

    def _staged(self, staged: Path) -> None:
        """Make the link that publishing renames: it can be renamed once, so whoever wakes up late with it is too
        late."""
        with suppress(FileExistsError):  # the attempt was staged before
            os.symlink(self._version(staged).name, self._link(staged))
        fsync_dir(self.folder)

    def _check_known(self, known: Known, iteration: int) -> None:
        """Whatever stands there is replaced, and never by what is older."""

    def _appear(self, part: StagedRef, iteration: int, known: Known) -> None:
        staged, target = Path(part.staged), Path(part.published)
        try:
            self._replace(part, iteration, staged, target)
        except (ConflictError, OSError):
            # Else another process of ours was faster; or this one has long been replaced, by what is prepared as well.
            if not self._stands(part, target) and not self._is_past(iteration, known):
                raise

    def _is_past(self, iteration: int, known: Known) -> bool:
        """A later part stands there that our store has prepared, and not committed. Parts come in order: this one was
        there before, and a broker that has started again does not know."""
        found = current.held(self.folder)
        if found is None or found.owner != self.owner or found.iteration <= iteration:
            return False
        return known.coming.get(found.iteration) == digest_file(found.part)[0]

    def _stands(self, part: StagedRef, target: Path) -> bool:
        found = current.held(self.folder)
        return found is not None and found.part == target.resolve() and digest_file(target)[0] == part.digest

    def _replace(self, part: StagedRef, iteration: int, staged: Path, target: Path) -> None:
        published = self.folder / current.CURRENT
        found = current.held(self.folder)
        if found is not None and found.iteration >= iteration:
            if self._stands(part, target):
                return
            raise ConflictError(
                f"{published} is of iteration {found.iteration}, and is not replaced by the older iteration {iteration}"
            )
        if target.exists():
            check_published(part, target)
        elif found is None and not to_be_seen(part, staged):
            return
        else:
            self._check_staged(part, staged, f"{target} does not exist")
            os.rename(staged, target)
        fsync_dir(target.parent)  # before anybody can be led there
        self._fence(iteration)
        try:
            if found is None:
                failpoint("folder.link")
                os.symlink(
                    self._version(target).name, published
                )  # unlike a rename it replaces nothing that appears just now
            else:
                failpoint("folder.rename")
                os.rename(self._link(staged), published)
        except FileExistsError:
            raise ConflictError(f"{published} has appeared meanwhile: move it away and retry") from None
        except FileNotFoundError:
            link = self._link(staged)
            raise ConflictError(
                f"the prepared link {link} is gone: make it again (`ln -s {link.stem} {link}`), then "
                "`odibictl iteration retry`"
            ) from None

    def _check_staged(self, part: StagedRef, staged: Path, told: str) -> None:
        """Raise ConflictError unless it is as it was prepared."""
        check_staged(part, staged, told)

    def _version(self, path: Path) -> Path:
        """The folder that ``current`` is to lead to, of a part that is staged or published at ``path``."""
        return path.parent

    def _link(self, staged: Path) -> Path:
        """The link of a staged part."""
        version = self._version(staged)
        return version.with_name(f"{version.name}.link")

    def _fence(self, iteration: int) -> None:
        """Delete the links of earlier iterations: these are published or void, and a stopped process that still means
        to publish one comes too late."""
        for number, path in current.versions(self.folder, *self.nodes):
            if number < iteration and path.is_symlink():
                path.unlink(missing_ok=True)

    def discard(self, part: StagedRef, iteration: int) -> None:
        """Delete a prepared part that is not to be published. Raises ConflictError when it was, by somebody who died
        before telling so: readers are led to it, and what it replaced may be gone; and OSError."""
        staged, target = Path(part.staged), Path(part.published)
        self._check_paths(staged, target, iteration)
        if self._of_a_copy():
            return
        if self._stands(part, target):
            published = self.folder / current.CURRENT
            raise ConflictError(
                f"{published} is what iteration {iteration} published before its worker died, and what it replaced may "
                f"be gone: `odibictl iteration abandon {self.owner.pipeline} {iteration} --sink {self.owner.node} "
                f"--leave` leaves it there; or move {published} away and retry"
            )
        self._link(staged).unlink(missing_ok=True)
        _remove(self._version(staged))

    def _check_paths(self, staged: Path, target: Path, iteration: int) -> None:
        name = f"{iteration:010d}-{self.owner.node}"
        named = re.fullmatch(rf"_current-{re.escape(name)}\.{ATTEMPT}", target.parent.name)
        part = PART.fullmatch(target.name)
        sound = part and part[0] == f"part-{name}{part['suffix']}" and target.parent.parent == self.folder
        if not named or not sound or staged != target.with_name(f"{target.name}.staged"):
            raise ConflictError(f"{staged} -> {target} is not a part of iteration {iteration} of {self.owner}")

    def _sweep(self, iteration: int, settled: int) -> None:
        """Delete what earlier iterations and dead attempts have left, but for what is published and the one before it,
        which somebody may be reading."""
        published = (self.folder / current.CURRENT).resolve()
        found = sorted(current.versions(self.folder, *self.nodes), reverse=True)
        former = next((p for n, p in found if n < iteration and not p.is_symlink() and _published(p)), None)
        for number, path in found:
            if number <= iteration and path.is_symlink():
                path.unlink(missing_ok=True)
            elif number <= iteration and path != former and path.resolve() != published:
                _remove(path)
        super()._sweep(iteration, settled)  # what a dying worker was staging in parts


def _published(version: Path) -> bool:
    """There is a part in the folder of a version."""
    return any(parts(version))


def _remove(folder: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)
