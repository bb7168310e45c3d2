"""The DAG of a pipeline, drawn: as a tree of text, as Mermaid, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from odibi_actors.config.model import NodeSpec, PipelineSpec

MAX_SQL = 60
"""Characters of a statement that are shown."""


def describe(node: NodeSpec) -> str:
    """What a node does, in a few words."""
    if node.read is not None:
        read = node.read
        where = "/".join(
            part for part in (read.connection.name, read.path if read.path != "." else "", read.pattern) if part
        )
        return f"read {read.format} {where} ({read.mode})"
    if node.transform is not None:
        if node.transform.function:
            return f"transform {node.transform.function}"
        lines = (line.partition("--")[0] for line in (node.transform.sql or "").splitlines())
        sql = " ".join(" ".join(lines).split())
        return f"sql {sql if len(sql) <= MAX_SQL else sql[: MAX_SQL - 3] + '...'}"
    write = node.write
    assert write is not None
    return f"write {write.connection.name}/{write.table or write.path} ({write.mode})"


def text(pipeline: PipelineSpec) -> str:
    """A tree: each node stands below its first input and names its others."""
    children: dict[str, list[NodeSpec]] = {}
    for node in pipeline.nodes:
        children.setdefault(node.inputs[0] if node.inputs else "", []).append(node)
    lines = [f"{pipeline.name} (trigger: {pipeline.trigger})"]

    def draw(parent: str, indent: str) -> None:
        below = children.get(parent, [])
        for place, node in enumerate(below):
            last = place == len(below) - 1
            others = f"  (also from {', '.join(node.inputs[1:])})" if node.inputs[1:] else ""
            lines.append(f"{indent}{'└─ ' if last else '├─ '}{node.name}: {describe(node)}{others}")
            draw(node.name, indent + ("   " if last else "│  "))

    draw("", "")
    return "\n".join(lines) + "\n"


def mermaid(pipelines: Sequence[PipelineSpec]) -> str:
    """A Mermaid flowchart, one subgraph for each pipeline."""
    lines = ["flowchart LR"]
    for pipeline in pipelines:
        lines.append(f"  subgraph {pipeline.name}")
        for node in pipeline.nodes:
            label = f"{node.name}<br/>{describe(node)}".replace('"', "'")
            opening, closing = {"read": ("[/", "/]"), "transform": ("[", "]"), "write": ("[(", ")]")}[node.kind]
            lines.append(f'    {pipeline.name}__{node.name}{opening}"{label}"{closing}')
        lines += [
            f"    {pipeline.name}__{one} --> {pipeline.name}__{node.name}"
            for node in pipeline.nodes
            for one in node.inputs
        ]
        lines.append("  end")
    return "\n".join(lines) + "\n"


def plain(pipeline: PipelineSpec) -> dict[str, Any]:
    """Nodes and edges as data."""
    return {
        "pipeline": pipeline.name,
        "trigger": pipeline.trigger,
        "nodes": [{"node": node.name, "kind": node.kind, "does": describe(node)} for node in pipeline.nodes],
        "edges": [[one, node.name] for node in pipeline.nodes for one in node.inputs],
    }
