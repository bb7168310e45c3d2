"""Files whose columns change, and sources and sinks that take that up (``on_schema_change``): which lives have some,
and what a worker makes of them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from msgspec.structs import replace

from odibi_actors.config.model import NodeSpec, PipelineSpec, ProjectSpec
from odibi_actors.model import SchemaChange

SHAPE, OTHER, MIXED = b"schema", b"other", b"texts"
"""Columns and types of most files, and of others; what can hold both."""

SHARE = 0.15
"""Of lives in which columns change, beside those that are asked for it."""
OF = ("columns come", "schema policy")
"""What happens in such lives alone."""
EVOLVE, RESCUE = "evolve", "rescue"
Policy = Literal["", "halt", "dead_letter", "evolve", "rescue"]
POLICIES: tuple[Policy, ...] = ("halt", "dead_letter", "evolve", "evolve")

BASE = ("id", "extra")
NEW = ("c1", "c2", "c3", "c4")
"""Columns that come, any of them at any time."""


def changes(seed: int, verbs: tuple[str, ...]) -> bool:
    """Whether columns change in the life of this seed, which has something to do for these verbs."""
    return random.Random(f"columns change {seed}").random() < SHARE or any(verb in OF for verb in verbs)


def evolves(node: NodeSpec) -> bool:
    """The columns of this source or sink may become more by themselves."""
    spec = node.read or node.write
    return spec is not None and spec.on_schema_change == EVOLVE


def rescues(node: NodeSpec) -> bool:
    """What does not fit the columns of this source is kept beside them."""
    return node.read is not None and node.read.rescues


def says(node: NodeSpec) -> bool:
    """It says what is to be done about other columns."""
    spec = node.read or node.write
    return spec is not None and bool(spec.on_schema_change)


def of_files(pipeline: PipelineSpec) -> list[NodeSpec]:
    """The sources of a pipeline that read files."""
    return [node for node in pipeline.nodes if node.read is not None and node.read.mode in ("file_watch", "batch")]


def policies(node: NodeSpec) -> list[Policy]:
    """What a source of files may do about other columns."""
    whole = node.read is not None and node.read.pinned
    return [one for one in POLICIES if not (whole and one == "dead_letter")]


def changing(project: ProjectSpec, rng: random.Random) -> ProjectSpec:
    """Its sources of files have policies, and half of its sinks take new columns in."""

    def other(node: NodeSpec) -> NodeSpec:
        if node.read is not None and node.read.mode in ("file_watch", "batch"):
            return replace(node, read=replace(node.read, on_schema_change=rng.choice(policies(node))))
        if node.write is not None and rng.random() < 0.5:
            return replace(node, write=replace(node.write, on_schema_change=EVOLVE))
        return node

    pipelines = [replace(one, nodes=[other(node) for node in one.nodes]) for one in project.pipelines]
    if rng.random() < 0.4:
        pipelines = [replace(one, nodes=[_rescuing(node) for node in one.nodes]) for one in pipelines]
    return replace(project, pipelines=pipelines)


def _rescuing(node: NodeSpec) -> NodeSpec:
    """A source that would take new columns in keeps them beside its own."""
    if node.read is None or not evolves(node):
        return node
    return replace(node, read=replace(node.read, on_schema_change=RESCUE))


# --- what a schema is called ---------------------------------------------------------------------------------------


def shape_of(columns: Sequence[str]) -> bytes:
    """The schema of these columns."""
    return SHAPE if tuple(columns) == BASE else b"columns " + ",".join(columns).encode()


def columns_of(shape: bytes) -> list[str]:
    """Those of a schema; [] of one that does not say them."""
    if shape == SHAPE:
        return [*BASE]
    return shape[8:].decode().split(",") if shape.startswith(b"columns ") else []


def text_of(shape: bytes) -> list[str]:
    """As people are told it."""
    return [f"{column}: int64" for column in columns_of(shape)]


def some(rng: random.Random) -> bytes:
    """Of a file: new ones, in any order, or one that is missing."""
    if rng.random() < 0.2:
        return shape_of(["id"])
    return shape_of([*BASE, *rng.sample(NEW, rng.randint(1, 2))])


# --- what a worker makes of it -------------------------------------------------------------------------------------


class Told(NamedTuple):
    """The schema with what has come, and what is other than before."""

    shape: bytes
    changes: list[SchemaChange]


def taken(pinned: bytes, found: Iterable[bytes]) -> Told:
    """Of files, or rows, with these schemas, by whom takes new columns in. ``pinned``: b"" for none yet."""
    known = columns_of(pinned)
    told, missing = [*known], dict[str, None]()
    for shape in found:
        there = columns_of(shape)
        told += [column for column in there if column not in told]
        missing |= {column: None for column in known if there and column not in there}
    if not pinned:
        return Told(shape_of(told) if told else b"", [])
    new = [SchemaChange(column, "new", "int64") for column in told[len(known) :]]
    return Told(shape_of(told), [*(SchemaChange(column, "missing") for column in missing), *new])


def kept(pinned: bytes, found: Iterable[bytes]) -> Told:
    """Of files with these schemas, by whom keeps new columns beside those of the first."""
    shapes = list(found)
    shape = pinned or next((one for one in shapes if one), b"")
    known, changes = columns_of(shape), dict[SchemaChange, None]()
    for one in shapes:
        there = columns_of(one)
        changes |= {SchemaChange(column, "missing"): None for column in known if there and column not in there}
        changes |= {SchemaChange(column, "rescued"): None for column in there if column not in known}
    return Told(shape, [*changes])


def of_part(iteration: int) -> bytes:
    """The columns that a part of this iteration has: those of its rows, if no others are pinned."""
    return shape_of(["id", *NEW[: iteration // 3 % (len(NEW) + 1)]])
