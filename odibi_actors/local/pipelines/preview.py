"""``Pipeline.preview``: what a sample becomes in each node, to look at."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from odibi_actors.client import Client
from odibi_actors.local.held_to import discarded, pins, repinned
from odibi_actors.local.trying import Trial, TriedNode
from odibi_actors.nodes.lent import lending
from odibi_actors.runtime.visible import in_markdown
from odibi_actors.units import plural

if TYPE_CHECKING:
    from odibi_actors.local.pipelines.pipeline import Pipeline

WIDE = 200
"""Characters of a value that are shown."""


@dataclass(frozen=True)
class Preview:
    """``nodes``: as far as it went, in the order of the DAG; ``sampled``: some source has more than was taken. Shown in
    a notebook, or by ``print``: a line for each node, and its first rows."""

    pipeline: str
    nodes: tuple[TriedNode, ...]
    sampled: bool

    def __getitem__(self, node: str) -> TriedNode:
        """Raises KeyError."""
        return {one.node: one for one in self.nodes}[node]

    def __iter__(self) -> Iterator[TriedNode]:
        return iter(self.nodes)

    @property
    def ok(self) -> bool:
        """Every node has done its work, and no file would be set aside."""
        return all(one.state == "ok" and not one.aside and not one.unread for one in self.nodes)

    @property
    def _scope(self) -> str:
        return "a sample" if self.sampled else "all there is"

    def __str__(self) -> str:
        lines = [f"{self.pipeline}: {self._scope}; nothing was published"]
        for one in self.nodes:
            lines += ["", f"{one.node} ({one.kind}): {_told(one)}"]
            lines += [f"  {json.dumps(row, ensure_ascii=False)}" for row in one.head]
        return "\n".join(lines)

    def _repr_markdown_(self) -> str:
        parts = [f"**{in_markdown(self.pipeline)}**: {self._scope}; nothing was published"]
        for one in self.nodes:
            parts.append(f"**{in_markdown(one.node)}** ({one.kind}): {in_markdown(_told(one))}")
            if one.head:
                names = [f"{in_markdown(name)}<br>*{in_markdown(kind)}*" for name, kind in one.columns]
                rows = [[_cell(row[name]) for name, _ in one.columns] for row in one.head]
                parts.append("\n".join(f"| {' | '.join(line)} |" for line in [names, ["---"] * len(names), *rows]))
        return "\n\n".join(parts)


def preview(
    pipeline: Pipeline,
    sample: int,
    node: str | None,
    files: str | None,
    head: int,
    params: Mapping[str, Any] | None,
) -> Preview:
    """See ``Pipeline.preview``."""
    project = pipeline.spec()
    sources = [one.name for one in project.pipeline(pipeline.name).nodes if one.read is not None]
    with Client(project=project.root) as client:
        held = pins(client, pipeline.name, sources)
        gone = discarded(client, pipeline.name, sources)
        opened = repinned(client, pipeline.name)
    trial = Trial(project, pipeline.name, sample, files, head, params, held, gone, opened)
    with lending(pipeline.functions):
        nodes = tuple(trial.run(node))
    return Preview(pipeline.name, nodes, trial.sampled)


def _told(one: TriedNode) -> str:
    """What came of a node, in words."""
    count = plural(one.rows, "row") if one.rows is not None else ""
    said = [one.failure.message if one.failure is not None else "", one.note, one.unread, one.doubt]
    said += [f"{file} would be a dead letter: {why}" for file, why in one.aside]
    return "; ".join(part for part in (one.state, count, *said) if part)


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return in_markdown(text if len(text) <= WIDE else f"{text[:WIDE]}…")
