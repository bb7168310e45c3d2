"""What stands at the targets of a project, asked before anything is planned."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from odibi_actors.config.model import PipelineSpec, WriteSpec
from odibi_actors.config.places import lies_in
from odibi_actors.errors import ConflictError, NotFoundError
from odibi_actors.kinds.connection import OPEN, Access, access_to, asked_once
from odibi_actors.kinds.registry import sink_of
from odibi_actors.model import Home, Target
from odibi_actors.nodes.sinks.owner import Mark, Owner, RenamedError

Names = Mapping[str, Sequence[Sequence[str]]]
"""Name of a target -> the (pipeline, node) of all who have owned it, its owner first, if it has passed on."""
_NOBODY: Names = {}


def named(text: str) -> tuple[str, str]:
    """(pipeline, node) of ``PIPELINE.NODE``. Raises NotFoundError."""
    pipeline, dot, node = text.partition(".")
    if not dot or not node:
        raise NotFoundError(f"{text!r} names no sink; write PIPELINE.NODE, see `odibictl sink list`")
    return pipeline, node


def refused(
    pipelines: Iterable[PipelineSpec],
    store_id: str,
    home: Home,
    names: Names = _NOBODY,
    beside: Iterable[PipelineSpec] = (),
    adopting: Iterable[str] = (),
) -> list[str]:
    """One line for each target that belongs to somebody else than the sink that would publish there, or holds what its
    mode does not go with. A target that cannot be looked at is not told here: whoever publishes will say why.
    ``beside``: pipelines that are applied with these, ``adopting``: sinks that take over their targets already; both
    for what is to be done."""
    found = list(_refusals(pipelines, store_id, home, names))
    if any(isinstance(error, RenamedError) for _, error in found):
        others = [*found, *_refusals(beside, store_id, home, names)]
        renamed = [name for name, error in others if isinstance(error, RenamedError)]
        together = list(dict.fromkeys([*adopting, *renamed]))
        found = [
            (
                name,
                RenamedError(error.found, name, error.former, together) if isinstance(error, RenamedError) else error,
            )
            for name, error in found
        ]
    return [f"{name}: {error}" for name, error in found]


def _refusals(
    pipelines: Iterable[PipelineSpec], store_id: str, home: Home, names: Names
) -> Iterator[tuple[str, ConflictError]]:
    for name, write, owner, access in _sinks(pipelines, store_id, home.root):
        with looked_at(write.target):
            try:
                check_target(write, owner, home, _former(names, write, owner), access)
            except ConflictError as error:
                yield name, error


def taken_over(pipelines: Iterable[PipelineSpec], store_id: str, home: Home, names: Names = _NOBODY) -> list[str]:
    """One line for each target outside of the project that was this store's at another place, where it is no more: the
    project was moved, and goes on there. Of targets that ``refused`` says nothing of."""
    lines = []
    for name, write, owner, access in _sinks(pipelines, store_id, home.root):
        with looked_at(write.target), suppress(ConflictError):
            found = mark_of(write.target, access)
            place = sink_of(write.target.sink).place(write.target)
            owners = (owner, *_former(names, write, owner))
            if found is None or found.owner not in owners or found.home in ("", home.data_dir):
                continue
            if place is not None and lies_in(os.path.realpath(place), home.root):
                continue
            lines.append(
                f"{name}: {write.target} was published from {found.home}, where its checkpoints are no more; it "
                f"goes on from {home.data_dir}"
            )
    return lines


def _sinks(
    pipelines: Iterable[PipelineSpec], store_id: str, root: str
) -> Iterator[tuple[str, WriteSpec, Owner, Access]]:
    for pipeline in pipelines:
        for node in pipeline.nodes:
            if node.write is not None:
                owner = Owner(store_id, pipeline.name, node.name)
                access = access_to(node.write.target, pipeline.access, root)
                yield f"{pipeline.name}.{node.name}", node.write, owner, access


def _former(names: Names, write: WriteSpec, owner: Owner) -> list[Owner]:
    """From whom the sink has taken its target over."""
    known = [tuple(one) for one in names.get(write.target.name, ())]
    return [Owner(owner.store_id, *one) for one in known[1:]] if known and known[0] == owner[1:] else []


def check_targets(
    pipelines: Iterable[PipelineSpec],
    store_id: str,
    home: Home,
    names: Names = _NOBODY,
    beside: Iterable[PipelineSpec] = (),
    adopting: Iterable[str] = (),
) -> None:
    """Raise ConflictError, with one line for each, when sinks of these pipelines cannot publish to their targets. All
    else: see ``refused``."""
    if lines := refused(pipelines, store_id, home, names, beside, adopting):
        raise ConflictError("\n".join(lines))


def check_target(
    write: WriteSpec, owner: Owner, home: Home, former: Collection[Owner] = (), access: Access = OPEN
) -> None:
    """Raise ConflictError when the target is another's than a ``former`` owner's, or holds what the sink's mode does
    not go with; only looked at. Raises what the kind cannot look at it for."""
    kind, at = sink_of(write.target.sink), write.target
    if (found := kind.mark(at, access)) is not None:
        called, take = kind.called(at)
        found.check(owner, home, kind.place(at), called, take, former)
    kind.check(write, owner, former, access)


def mark_of(at: Target, access: Access = OPEN) -> Mark | None:
    """Whose the target is, None: nobody's; only looked at. Raises ConflictError, OSError, and what its kind knows."""
    return sink_of(at.sink).mark(at, access)


@contextmanager
def looked_at(at: Target) -> Iterator[None]:
    """Passes over that the target cannot be looked at; ConflictError is told."""
    try:
        yield
    except ConflictError:
        raise
    except Exception as error:
        if not isinstance(error, OSError) and sink_of(at.sink).failure(at, error) is None:
            raise


@contextmanager
def understood(at: Target, told: type[OSError | ConflictError] = OSError) -> Iterator[None]:
    """What a kind says of its own errors, to who asks once, is told by one of type ``told``; ConflictError and OSError
    stay."""
    try:
        yield
    except (ConflictError, OSError):
        raise
    except Exception as error:
        failed = sink_of(at.sink).failure(at, error)
        if failed is None:
            raise
        raise told(asked_once(failed.failure.message)) from error
