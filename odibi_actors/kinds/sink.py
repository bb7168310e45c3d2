"""A sink: how the parts of iterations get to where they are published, once, whole, in order (protocol.md).

What the broker and the store need to know of it stands in ``model.StagedRef`` and ``model.Target``: they never load a
kind. Nothing here loads pyarrow, nor may a kind before it stages: names and targets are asked for by whoever checks a
project file.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from odibi_actors.kinds.connection import OPEN, Access
from odibi_actors.model import NOWHERE, Attempt, Home, StagedRef, Target

if TYPE_CHECKING:
    import pyarrow as pa

    from odibi_actors.config.model import WriteSpec
    from odibi_actors.nodes.failures import Failed
    from odibi_actors.nodes.sinks.conform import Pin
    from odibi_actors.nodes.sinks.known import Known
    from odibi_actors.nodes.sinks.owner import Mark, Owner


class Site(NamedTuple):
    """The sink of one node at its target. ``former``: from whom it has taken that over; ``staging``: the folder for
    parts of kinds that have none beside their target; ``replaces``: each part takes the place of the one before;
    ``access``: how to get to the target; ``published``: of a prepared part, the file that it becomes."""

    at: Target
    owner: Owner
    home: Home = NOWHERE
    former: Sequence[Owner] = ()
    staging: Path = Path()
    replaces: bool = False
    access: Access = OPEN
    published: str = ""


class Publisher(Protocol):
    """A sink at its target. Any method may be called again with what it was called with before: done already is done.
    All raise ConflictError (the target is another's, holds something else, is not there any more), OSError, and what
    ``Sink.failure`` makes a failure of."""

    def stage(
        self, table: pa.Table, iteration: int, attempt: Attempt, pin: Pin, published: bool = False
    ) -> tuple[StagedRef, pa.Table]:
        """Write the part of an iteration, synced and invisible. Returns it, and the rows that are in it. ``pin``: the
        schema it is brought to; ``published``: something of the sink stands in its target, and is missed if it does
        not. Raises Failed (``invalid``) for what the target could not hold exactly, before anything is written."""

    def publish(
        self, part: StagedRef, iteration: int, settled: int, published: bool, before: int, known: Known
    ) -> str | None:
        """Make a prepared part visible. Returns what people are to be told of it, if anything.
        ``settled``: every iteration up to it is terminal, in whatever lane; ``before``: the newest iteration that is
        known to stand there, 0 for none; ``known``: what else may."""

    def discard(self, part: StagedRef, iteration: int) -> None:
        """Delete a prepared part that is not to be published, also where it was: somebody died before telling so."""

    def retract(
        self,
        after: int,
        last: int,
        given_up: Collection[int] = (),
        owners: Sequence[Owner] = (),
        spared: Collection[tuple[int, int]] = (),
    ) -> None:
        """Take back the parts of iterations after ``after`` up to ``last``; asked of those alone whose parts say that
        they can be (``StagedRef.retracts``). Not those of which the sink was ``given_up``, nor numbers that are
        ``spared``, each (after, up to; 0: no end): what has their name is somebody else's. ``owners``: all who have
        owned the target, if it has passed on, its owner first."""


class Rehearsing(Publisher, Protocol):
    """One that can tell beforehand."""

    def rehearse(self, table: pa.Table, pin: Pin) -> str | None:
        """Raise what staging would, and what publishing would for these rows; nothing is changed, nothing written. What
        of the target was not looked at, in words; "" or None: nothing."""


class Kept(NamedTuple):
    """What a sink has published and a reset deletes: how many ``parts`` (files or rows), and whether ``replaced`` is
    all of it by what comes next. ``stays``: why a target that files do not make up is not deleted itself, in words.
    ``needed_by``: locators, at the same connection, of what has to go before it does."""

    parts: int
    replaced: bool = False
    stays: str = ""
    needed_by: Sequence[str] = ()


def kept_by(at: Target, other: str) -> str:
    """Why a target is not deleted: ``other`` of its database needs it."""
    return (
        f"{at.locator!r} of {at.connection} is not dropped: {other!r} refers to it; drop {other!r}, or the foreign key "
        "that leads from there, first"
    )


class Sink(Protocol):
    """``name``: as ``type:`` of the connection says it. ``about``: what ``path:`` of the connection is, and
    ``misplaced``: asked where its connections have no kind of their own (``kinds.connection``). ``needs``,
    ``takes``: keys of ``write`` that it must and may have beside those of all sinks. ``modes``: values of
    ``write.mode``. ``flat``: as what it is called, if it holds nothing but plain values; else "". ``unit``: of what is
    published (``file``, ``row``)."""

    name: str
    about: str
    needs: Sequence[str]
    takes: Sequence[str]
    modes: Sequence[str]
    flat: str
    unit: str

    # --- asked by whoever checks a project file -------------------------------------------------------------------

    def misplaced(self, path: str) -> tuple[str, str]:
        """Why the path of a connection is none for it, and what would be; "" for nothing. See above."""

    def reserved(self, at: Target) -> tuple[str, str]:
        """Why a sink may not have this target, and what is so; "" for nothing."""

    def folded(self, at: Target) -> Target:
        """The target as this kind compares names: two that are equal so are one."""

    # --- asked by whoever looks at targets ------------------------------------------------------------------------

    def place(self, at: Target) -> Path | None:
        """The file or folder in which the target lies: what a project that moves takes along. None: it is not of this
        machine."""

    def called(self, at: Target) -> tuple[str, tuple[str, str]]:
        """How messages call the target; what lets somebody else have it, and what empties it."""

    # Each is told how to get in (``access``), and raises AccessError where it needs to and does not.

    def mark(self, at: Target, access: Access = OPEN) -> Mark | None:
        """To whom the target belongs; None: nobody. Raises ConflictError, OSError, and what ``failure`` knows."""

    def check(self, write: WriteSpec, owner: Owner, former: Collection[Owner] = (), access: Access = OPEN) -> None:
        """Raise ConflictError when the target holds what the sink's mode or format does not go with; only looked at."""

    def newest(self, at: Target, nodes: Collection[str]) -> str:
        """What is left of these nodes in the target that tells the schema of the next part; "" when nothing does."""

    def holds(self, at: Target, access: Access = OPEN) -> tuple[int, int]:
        """(iteration, rows) of what stands in a target that is overwritten; (0, 0): nothing."""

    def missing(
        self,
        at: Target,
        sink: Sequence[str],
        iteration: int,
        digest: str,
        owners: Sequence[Any],
        access: Access = OPEN,
    ) -> str:
        """Why a committed part without a file (``StagedRef.published``) is not known to be in the target; "" when it
        is. ``sink``: store id, pipeline, node; ``owners``: whose the target may be."""

    def rows(self, at: Target, path: Path, name: str) -> pa.Table:
        """What is in the file of a part, staged or published, whose published name is ``name``. Raises ConflictError,
        OSError."""

    # --- done at rest ---------------------------------------------------------------------------------------------

    def kept(
        self,
        at: Target,
        owners: Sequence[Owner],
        given_up: Sequence[Collection[int]],
        access: Access = OPEN,
    ) -> Kept | None:
        """What these have published there, None when nothing is there. ``given_up``: of each the iterations of which
        it was abandoned."""

    def delete(
        self,
        at: Target,
        owners: Sequence[Owner],
        given_up: Sequence[Collection[int]],
        access: Access = OPEN,
    ) -> None:
        """Delete that, and then the ownership. Done already is done."""

    def stand_in(self, folder: Path) -> Path | None:
        """The path of a connection to what a sink can be tried on instead of its target, in an empty ``folder``. None:
        nothing is like it, so that its publisher is asked to ``rehearse`` instead."""

    def resemble(self, write: WriteSpec, stand_in: Path, owner: Owner, access: Access = OPEN) -> None:
        """Make there what is like the target, without its rows."""

    # --- in a worker ----------------------------------------------------------------------------------------------

    def open(self, site: Site, write: WriteSpec | None) -> Publisher:
        """The sink at a target; ``write`` for staging. Nothing is touched. Raises Failed (``invalid``)."""

    def failure(self, at: Target, error: Exception) -> Failed | None:
        """The failure that an error of this kind's is, naming the target; None for errors that are not its own."""
