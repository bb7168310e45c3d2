"""What sinks that take over their targets ask for, as far as it can be seen from here: whose each says it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from odibi_actors.config.doors import Doors
from odibi_actors.config.model import ProjectSpec, WriteSpec
from odibi_actors.errors import ConflictError, NotFoundError
from odibi_actors.messages import Adopt
from odibi_actors.nodes.sinks.owner import home_of
from odibi_actors.nodes.sinks.targets import check_targets, looked_at, mark_of, named

Name = tuple[str, str]
Names = Mapping[str, Sequence[Name]]


def wanted(project: ProjectSpec, sinks: Sequence[str], from_: str, store_id: str, names: Names) -> list[Adopt]:
    """What to ask the broker for. ``from_``: who has published there, else its owner by the store, or by the target
    itself. ``names``: see ``adopted.by_target``. Raises NotFoundError, and ConflictError when a target, these or others
    of the project, is not this store's, or others have to be adopted with them: what is applied at once passes on at
    once."""
    writes = {(p.name, one.name): one.write for p in project.pipelines for one in p.nodes if one.write is not None}
    found, known, doors = [], dict(names), Doors(Path(project.root))
    for sink in dict.fromkeys(map(named, sinks)):
        if sink not in writes:
            there = ", ".join(".".join(one) for one in writes if one[0] == sink[0]) or "none"
            raise NotFoundError(f"odibi.yaml has no sink {'.'.join(sink)}; those of {sink[0]}: {there}")
        adopt, owners = _one(writes[sink], doors, sink, named(from_) if from_ else None, store_id, names)
        found.append(adopt)
        known[writes[sink].target.name] = owners
    asked = [f"{one.pipeline}.{one.node}" for one in found]
    home = home_of(Path(project.data_dir), Path(project.root))
    check_targets(project.pipelines, store_id, home, known, adopting=asked)
    return found


def _one(
    write: WriteSpec, doors: Doors, sink: Name, from_: Name | None, store_id: str, names: Names
) -> tuple[Adopt, list[Name]]:
    ours, known = _marked(write, doors, store_id), list(names.get(write.target.name, ()))
    if from_ is None and known[:1] == [sink]:
        from_ = known[1]
    from_ = from_ or (known[0] if known else ours)
    name = ".".join(sink)
    if ours == sink and (from_ == sink or not known):
        raise ConflictError(f"{name} owns {write.target} already: nothing is to be taken over")
    if from_ is None:
        raise NotFoundError(
            f"nobody of this store is known to own {write.target}: {name} may begin it if it is nobody's; or name the "
            "sink that has published there (--from PIPELINE.NODE)"
        )
    owners = [sink, *(one for one in (from_, ours, *known) if one is not None)]
    return Adopt(*sink, *from_, marked=ours == from_), owners


def _marked(write: WriteSpec, doors: Doors, store_id: str) -> Name | None:
    """Whose of this store the target says that it is."""
    with suppress(ConflictError), looked_at(write.target):  # what cannot be looked at is told by whoever publishes
        mark = mark_of(write.target, doors.to(write.target))
        if mark is not None and mark.owner.store_id == store_id:
            return mark.owner.pipeline, mark.owner.node
    return None
