"""The DAG of a pipeline as people look at it: as text in a terminal, and as Mermaid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from odibi_actors.config.model import NodeSpec, PipelineSpec, PollSpec
from odibi_actors.config.patterns import shown
from odibi_actors.units import format_duration


def describe(node: NodeSpec) -> str:
    """What a node does, on one line: ``read landing: flights-*.csv (csv, file_watch)``."""
    if node.read is not None:
        read = node.read
        if read.of_table is not None:
            what = f"table {read.table.table}" if read.table.table else "query"
            return f"read {read.connection.name}: {what} by {read.table.watermark_column} ({read.mode})"
        if read.polled is not None:
            return f"read {_polled(read.polled)} every {format_duration(read.polled.every)} ({read.mode})"
        if read.mode == "event":
            return f"read {read.connection.name}: what is pushed to {read.path}/ ({read.mode})"
        pattern = shown(read.pattern)
        files = pattern if read.path == "." else f"{read.path}/{pattern}"
        return f"read {read.connection.name}: {files} ({read.format}, {read.mode})"
    if node.transform is not None:
        what = f"function {node.transform.function}" if node.transform.function else "sql"
        return f"{what} (Spark)" if node.engine == "spark" else what
    write = node.write
    assert write is not None  # exactly one of the three is there
    if write.table is not None:
        keys = f" by {', '.join(write.keys)}" if write.keys else ""
        keys += f", newest {write.version}" if write.version else ""
        return f"write {write.connection.name}: table {write.table} ({write.mode}{keys})"
    return f"write {write.connection.name}: {write.path}/ ({write.format}, {write.mode})"


def _polled(polled: PollSpec) -> str:
    if polled.function:
        return f"function {polled.function}"
    if polled.of_table is not None:
        what = f"table {polled.of_table.table}" if polled.of_table.table else "query"
    else:
        what = polled.path
    return f"{polled.connection.name}: {what}"


def render_text(pipeline: PipelineSpec) -> str:
    """The DAG as indented text, each node once, with a trailing line break.

    A node stands below its first input, and names all of them if there are several; below its other inputs an arrow
    refers to it. A chain goes straight down, so that a long one stays readable; only branches are indented.
    """
    followers: dict[str, list[NodeSpec]] = {node.name: [] for node in pipeline.nodes}
    for node in pipeline.nodes:
        for name in node.inputs:
            followers[name].append(node)
    rows: list[tuple[str, str]] = []
    for root in (node for node in pipeline.nodes if not node.inputs):
        # (node, its parent, prefix of its own line, prefix of the lines below); a stack, for chains may be long
        stack = [(root, "", "", "")]
        while stack:
            node, parent, lead, below = stack.pop()
            if parent and node.inputs[0] != parent:
                rows.append((f"{lead.removesuffix('↓ ')}→ {node.name}", ""))
                continue
            joined = f"  ← {', '.join(node.inputs)}" if len(node.inputs) > 1 else ""
            rows.append((f"{lead}{node.name}", describe(node) + joined))
            stack += reversed(_branches(followers[node.name], node.name, below))
    width = max(len(left) for left, _ in rows)
    head = f"{pipeline.name} (trigger: {pipeline.trigger}, {pipeline.max_in_flight} in flight)"
    return "\n".join([head, *(f"  {left:<{width}}  {right}".rstrip() for left, right in rows)]) + "\n"


def _branches(followers: list[NodeSpec], parent: str, below: str) -> list[tuple[NodeSpec, str, str, str]]:
    if len(followers) == 1:
        return [(followers[0], parent, f"{below}↓ ", below)]
    last = len(followers) - 1
    return [
        (node, parent, below + ("└─ " if index == last else "├─ "), below + ("   " if index == last else "│  "))
        for index, node in enumerate(followers)
    ]


_SHAPES = {"read": ("[/", "/]"), "transform": ("[", "]"), "write": ("[(", ")]")}


def render_mermaid(pipelines: Sequence[PipelineSpec]) -> str:
    """The DAGs as one Mermaid flowchart, a subgraph for each pipeline, with a trailing line break."""
    lines = ["flowchart LR"]
    for pipeline in pipelines:
        # Prefixes: names recur among pipelines, and a node named ``end`` or ``graph`` would be a word of the language.
        names = {node.name: f"{pipeline.name}__{node.name}" for node in pipeline.nodes}
        lines.append(f"  subgraph p_{pipeline.name}[{pipeline.name}]")
        for node in pipeline.nodes:
            before, after = _SHAPES[node.kind]
            lines.append(f'    {names[node.name]}{before}"{node.name}<br/>{_escape(describe(node))}"{after}')
        lines += [f"    {names[name]} --> {names[node.name]}" for node in pipeline.nodes for name in node.inputs]
        lines.append("  end")
    return "\n".join(lines) + "\n"


def as_data(pipeline: PipelineSpec) -> dict[str, Any]:
    """As plain data: ``{"pipeline", "trigger", "nodes": [{"node", "kind", "does"}], "edges": [[from, to]]}``."""
    return {
        "pipeline": pipeline.name,
        "trigger": pipeline.trigger,
        "nodes": [{"node": node.name, "kind": node.kind, "does": describe(node)} for node in pipeline.nodes],
        "edges": [[one, node.name] for node in pipeline.nodes for one in node.inputs],
    }


def _escape(text: str) -> str:
    """Mermaid reads ``#34;`` as a character's number, and backticks as Markdown."""
    return "".join(f"#{ord(letter)};" if letter in '"#<>&`' else letter for letter in text)
