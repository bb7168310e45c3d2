"""What sinks that take over their targets ask for, as far as it can be seen from here: whose each says it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from odibi_actors.config.doors import Doors
from odibi_actors.config.model import ProjectSpec, ReadSpec, WriteSpec
from odibi_actors.errors import ConflictError, NotFoundError
from odibi_actors.messages import Adopt
from odibi_actors.nodes.sinks.owner import home_of
from odibi_actors.nodes.sinks.targets import check_targets, looked_at, mark_of, named
from odibi_actors.streaming.patterns import Pattern, join
from odibi_actors.units import naming, plural

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


def check_read_again(
    project: ProjectSpec, rows: Sequence[Mapping[str, Any]], ask: Callable[[str, dict[str, Any]], Mapping[str, Any]]
) -> None:
    """Raise ConflictError when pipelines whose appending sinks take over from another pipeline's would read again what
    that one has read: rows would be there twice. ``rows``: as the broker tells what would happen; ``ask``: a verb of
    the store, with its parameters."""
    found, sinks = [], " ".join(f"{row['pipeline']}.{row['sink']}" for row in rows)
    for row in rows:
        pipeline, former = row["pipeline"], row["from"].partition(".")[0]
        if row.get("forgotten"):
            found.append(
                f"{pipeline}.{row['sink']} appends to {row['target']}, and what {former} has read was forgotten "
                f"(`odibictl reset {former}`): {pipeline} would read it again, and rows would be there twice, unless "
                f"its files are others; `odibictl sink adopt {sinks} --read-again` takes the target over all the same"
            )
        reads = {one.name: one.read for p in project.pipelines if p.name == pipeline for one in p.nodes}
        for old, new, why in row.get("unknown", ()):
            found.append(
                f"{pipeline}.{row['sink']} appends to {row['target']}, and nobody can tell whether {pipeline}.{new} "
                f"reads again what {former}.{old} has read ({why}): rows would be there twice; `odibictl sink adopt "
                f"{sinks} --read-again` takes the target over all the same"
            )
        for old, new in row["alike"]:
            read = reads[new]
            assert read is not None  # the broker names sources
            names = _apart(read, {"pipeline": former, "source": old, "other": pipeline, "of": new}, ask)
            if names:
                found.append(
                    f"{pipeline}.{row['sink']} appends to {row['target']}, and {plural(len(names), 'position')} that "
                    f"{former}.{old} has read {'is' if len(names) == 1 else 'are'} not known to {pipeline}.{new} "
                    f"({naming(names)}): it would read {'that' if len(names) == 1 else 'those'} again, and rows "
                    f"would be there twice; {RENAMED.format(former=former, pipeline=pipeline, sinks=sinks)}"
                )
    if found:
        raise ConflictError("\n".join(found))


RENAMED = (
    "what a pipeline has read is kept under its name, so call it {former} again; to begin from the start as "
    "{pipeline}, first `odibictl reset {former} --targets` under the former name; "
    "`odibictl sink adopt {sinks} --read-again` takes the target over all the same"
)
"""What to do about a pipeline that got another name."""


def _apart(read: ReadSpec, asked: dict[str, Any], ask: Callable[[str, dict[str, Any]], Mapping[str, Any]]) -> list[str]:
    """What one source has read, and this one would take, as it has not."""
    found: list[str] = []
    cursor = ""
    while True:
        page = ask("ledger.apart", {**asked, "cursor": cursor})
        found += [name for name in page["items"] if _takes(read, name)]
        cursor = page["cursor"]
        if not cursor:
            return found


def _takes(read: ReadSpec, name: str) -> bool:
    if read.of_table is not None:
        return True
    folder = join("", read.path)
    below = name.removeprefix(f"{folder}/") if folder else name
    return (not folder or below != name) and Pattern(read.pattern).matches(below)


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
