"""The DAG of steps: which depend on which, by the keys of their inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Final

from odibi_actors.core.steps import Step

COLOURS: Final = {"ingest": "#e1f5ff", "store": "#fff3e0", "transform": "#f3e5f5", "publish": "#e8f5e9"}
"""Of a layer in a Mermaid diagram; ``ingestion`` and ``transformation`` have that of their short forms."""


@dataclass
class DAGNode:
    """A step in its DAG. ``dependencies``, ``dependents``: names of the steps before and after it, in the order of the
    steps; ``level``: longest way from a step without dependencies, from 0."""

    step: Step
    dependencies: list[str] = field(default_factory=list)
    dependents: list[str] = field(default_factory=list)
    level: int = 0

    @property
    def name(self) -> str:
        """Of its step."""
        return self.step.name


class DAGBuilder:
    """Makes a DAG of steps: a step depends on those whose output keys are among its input keys."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self.steps = list(steps)
        self.dag: dict[str, DAGNode] = {}

    def build(self) -> dict[str, DAGNode]:
        """Name -> node, each behind those it depends on. Raises ValueError that names the steps: a name or an output
        key that two have, a circle."""
        nodes: dict[str, DAGNode] = {}
        makers: dict[str, str] = {}
        for step in self.steps:
            if step.name in nodes:
                raise ValueError(f"two steps are called {step.name!r}; each needs a name of its own")
            nodes[step.name] = DAGNode(step)
            for key in dict.fromkeys(step.outputs.values()):
                if key in makers:
                    raise ValueError(f"output {key!r} is made by two steps, {makers[key]!r} and {step.name!r}")
                makers[key] = step.name
        for node in nodes.values():
            keys = dict.fromkeys(node.step.inputs.values())
            node.dependencies = list(dict.fromkeys(makers[key] for key in keys if key in makers))
        for node in nodes.values():
            for name in node.dependencies:
                nodes[name].dependents.append(node.name)
        _level(nodes)
        places = {name: place for place, name in enumerate(nodes)}
        self.dag = {name: nodes[name] for name in sorted(nodes, key=lambda one: (nodes[one].level, places[one]))}
        return self.dag

    def _built(self) -> dict[str, DAGNode]:
        return self.dag or self.build()

    def get_execution_order(self) -> list[Step]:
        """The steps, each behind those it depends on."""
        return [node.step for node in self._built().values()]

    def get_parallel_batches(self) -> list[list[Step]]:
        """The steps by level: those of one level do not depend on each other."""
        batches: list[list[Step]] = []
        for node in self._built().values():
            if node.level == len(batches):
                batches.append([])
            batches[node.level].append(node.step)
        return batches

    def get_dependencies(self, step_name: str) -> list[str]:
        """Names of the steps it depends on. Raises KeyError."""
        return list(self._node(step_name).dependencies)

    def get_dependents(self, step_name: str) -> list[str]:
        """Names of the steps that depend on it. Raises KeyError."""
        return list(self._node(step_name).dependents)

    def _node(self, name: str) -> DAGNode:
        dag = self._built()
        if name not in dag:
            raise KeyError(f"there is no step {name!r}; there are: {', '.join(dag) or 'none'}")
        return dag[name]

    def visualize(self) -> str:
        """The DAG as text, a step per line, by level."""
        lines = []
        for level, batch in enumerate(self.get_parallel_batches()):
            lines.append(f"Level {level}")
            for step in batch:
                dependencies = self.dag[step.name].dependencies
                lines.append(
                    f"  {step.name} ({step.layer})" + (f" <- {', '.join(dependencies)}" if dependencies else "")
                )
        return "\n".join(lines)

    def export_mermaid(self) -> str:
        """The DAG as a Mermaid flowchart."""
        dag = self._built()
        ids = {name: f"n{place}" for place, name in enumerate(dag)}  # a name may be a word of Mermaid's
        lines = ["graph TD"]
        for name, node in dag.items():
            colour = next(colour for layer, colour in COLOURS.items() if node.step.layer.startswith(layer))
            lines += [f'    {ids[name]}["{_escape(name)}"]', f"    style {ids[name]} fill:{colour}"]
        lines += [f"    {ids[one]} --> {ids[name]}" for name, node in dag.items() for one in node.dependencies]
        return "\n".join(lines)


def given_keys(dag: dict[str, DAGNode]) -> dict[str, list[str]]:
    """Keys that no step makes, so that they must be in ``data_map`` -> the steps that need them."""
    made = {key for node in dag.values() for key in node.step.outputs.values()}
    found: dict[str, list[str]] = {}
    for node in dag.values():
        for key in dict.fromkeys(node.step.inputs.values()):
            if key not in made:
                found.setdefault(key, []).append(node.name)
    return found


def _level(nodes: dict[str, DAGNode]) -> None:
    try:
        order = list(TopologicalSorter({name: node.dependencies for name, node in nodes.items()}).static_order())
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        raise ValueError(f"circular dependency: {circle}; no step can wait for itself") from None
    for name in order:
        node = nodes[name]
        node.level = max((nodes[one].level + 1 for one in node.dependencies), default=0)


def _escape(text: str) -> str:
    """Mermaid reads ``#34;`` as a character's number."""
    return "".join(f"#{ord(letter)};" if letter in '"#<>&`\n' else letter for letter in text)
