"""Columns of a source that sinks, held to their first part, do not take: found in the spec, for it is no row's fault.
Part of ``flow``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from odibi_actors.config.arrow_types import arrow_type, parted
from odibi_actors.config.handed_on import reaches
from odibi_actors.config.model import NodeSpec, PipelineSpec

if TYPE_CHECKING:
    from odibi_actors.broker.pipeline import Pipeline


def of_spec(pipeline: Pipeline, sink: str, column: str) -> bool:
    """Whether every part of ``sink`` would have this column otherwise than it is pinned: a source above declares it
    beside the pinned ones, or leaves a pinned one out; or one whose rows it takes as they are has it of another type.
    """
    node = next((one for one in pipeline.spec.nodes if one.name == sink and one.write is not None), None)
    pinned = None if node is None else _pinned(pipeline, node)
    if not column or node is None or pinned is None:
        return False
    for source in pipeline.spec.nodes:
        read = source.read
        if read is None or source.name not in _above(pipeline.spec, node):
            continue
        if column in read.ignore:
            if column in pinned:
                return True
        elif column in read.said:
            if column not in pinned:
                return True
            if source.name in node.inputs and arrow_type(read.said[column]) != arrow_type(pinned[column]):
                return True
    return False


def in_the_way(pipeline: Pipeline, source: str, column: str) -> str:
    """What else is to be done to take a column that is new to ``source``; "" for others, or if that is all."""
    pin = pipeline.pins.get(source) if source in pipeline.sources else None
    if not column or pin is None or column in dict(map(parted, pin.text)):
        return ""
    commands = list(_repins(pipeline, source, column))
    if not commands:
        return ""
    return f"To take {column!r}, let it into what is pinned without it as well: {', '.join(commands)}"


def _repins(pipeline: Pipeline, source: str, column: str) -> Iterator[str]:
    """For each sink that the column reaches, and whose first part has none: what lets it in."""
    for node, pinned in _pinned_below(pipeline, pipeline.spec, source):
        way = reaches(pipeline.spec, source, node, column)
        if way is not None and not way.names <= pinned.keys() and node.write is not None:
            first = ["once its table has it"] if node.write.table is not None else []
            yield f"`odibictl sink repin {pipeline.name}.{node.name}`{_given(first, way.functions)}"


def _given(said: list[str], functions: tuple[str, ...]) -> str:
    """On what an advice depends, in brackets."""
    verb = "hands" if len(functions) == 1 else "hand"
    said = [*said, *([f"if {' and '.join(functions)} {verb} it on"] if functions else [])]
    return f" ({'; '.join(said)})" if said else ""


def told(pipeline: Pipeline, spec: PipelineSpec) -> Iterator[str]:
    """What is to be done for ``spec``, about to be applied: a line for each column that a source declares, and did not
    before, and each sink below it that is pinned without it, or with the former type; and for each column that a sink
    declares otherwise than it is pinned."""
    yield from _declared_late(pipeline, spec)
    former = {node.name: node.read.said for node in pipeline.spec.nodes if node.read is not None}
    for node in spec.nodes:
        if node.read is None or node.name not in former:
            continue
        pin = pipeline.pins.get(node.name)
        before = (dict(map(parted, pin.text)) if pin is not None else {}) | former[node.name]
        for column, kind in node.read.said.items():
            if before.get(column) != kind and column not in node.read.ignore:
                for sink, pinned in _pinned_below(pipeline, spec, node.name):
                    yield from _line(spec, node.name, sink, column, before.get(column), pinned)


def _declared_late(pipeline: Pipeline, spec: PipelineSpec) -> Iterator[str]:
    """What ``write.schema`` says otherwise than the first part that a sink has published: no other part is taken."""
    for node in spec.nodes:
        pinned = _pinned(pipeline, node)
        if node.write is None or pinned is None:
            continue
        name = f"{spec.name}.{node.name}"
        for column, kind in node.write.schema.items():
            known = pinned.get(column)
            if known is None:
                yield (
                    f"{name} is pinned without {column!r}, which its write.schema names: every part is refused; to let "
                    f"it in, `odibictl sink repin {name}`"
                )
            elif arrow_type(known) != arrow_type(kind):
                yield (
                    f"{name} is pinned with {column}: {known}, and its write.schema says {kind}: every part is "
                    f"refused; {_elsewhere(spec)}"
                )


def _elsewhere(spec: PipelineSpec) -> str:
    return f"publish to another place, or all of it again (`odibictl reset {spec.name} --targets`)"


def _line(
    spec: PipelineSpec, source: str, sink: NodeSpec, column: str, before: str | None, pins: dict[str, str]
) -> Iterator[str]:
    assert sink.write is not None
    name = f"{spec.name}.{sink.name}"
    read = next(node.read for node in spec.nodes if node.name == source)
    assert read is not None
    way, pinned = reaches(spec, source, sink, column), pins.get(column)
    if pinned is None and (way is None or before is not None or way.names <= pins.keys()):
        return  # nothing on the way hands it on: no SQL selects it, or it was there before and the sink has none of it
    if pinned is None:
        line = (
            f"{name} is pinned without {column!r}, which {source} declares: to let it in, `odibictl sink repin {name}`"
        )
        if sink.write.table is not None:
            line += f", and add it to table {sink.write.table!r}: `odibictl try {spec.name}` says by which statement"
        yield line + _given([], way.functions if way is not None else ())
    elif before is not None and arrow_type(pinned) == arrow_type(before):
        yield (
            f"{name} is pinned with {column}: {pinned}, and {source} declares {read.said[column]}: what is not "
            f"exactly of the pinned type is refused; {_elsewhere(spec)}"
        )


def _pinned(pipeline: Pipeline, node: NodeSpec) -> dict[str, str] | None:
    """Type by column; None where the next part tells them, or may bring others."""
    if node.write is not None and node.write.on_schema_change == "evolve":
        return None
    pin = None if node.write is None else pipeline.pins.get(node.name, node.write.target)
    return None if pin is None or pin.open else dict(map(parted, pin.text))


def _pinned_below(pipeline: Pipeline, spec: PipelineSpec, source: str) -> Iterator[tuple[NodeSpec, dict[str, str]]]:
    for node in spec.nodes:
        pinned = _pinned(pipeline, node)
        if pinned is not None and source in _above(spec, node):
            yield node, pinned


def _above(spec: PipelineSpec, node: NodeSpec) -> set[str]:
    by_name = {one.name: one for one in spec.nodes}
    found: set[str] = set()
    left = list(node.inputs)
    while left:
        name = left.pop()
        if name not in found and name in by_name:
            found.add(name)
            left += by_name[name].inputs
    return found
