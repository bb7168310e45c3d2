"""What is in force of each pipeline, as the log tells it: an iteration is prepared with the sinks, and has read the
references, that the newest version names, whatever it was planned with."""

from __future__ import annotations

from collections.abc import Callable

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import PipelineSpec
from odibi_actors.sim.planned import Planned
from odibi_actors.sim.verdict import check
from odibi_actors.streaming.patterns import Pattern


class Versions:
    """All pipelines. ``told``: a new version is in force."""

    def __init__(self) -> None:
        self.told: Callable[[PipelineSpec], None] = lambda _spec: None
        self._newest: dict[str, PipelineSpec] = {}

    def apply(self, record: rec.AnyRecord, iterations: dict[tuple[str, int], Planned]) -> None:
        """A record that is on disk now."""
        match record:
            case rec.Version():
                self._newest[record.pipeline] = record.spec
                self.told(record.spec)
            case rec.Prepare():
                self._prepared(record, iterations[record.pipeline, record.iteration])

    def newest(self, pipeline: str) -> PipelineSpec:
        """The version of it that is in force."""
        return self._newest[pipeline]

    def pattern_of(self, pipeline: str, source: str) -> str:
        """Which files a source takes once; "" where it reads all of them each time."""
        read = next((node.read for node in self._newest[pipeline].nodes if node.name == source), None)
        return read.pattern if read is not None and not read.pinned else ""

    def _prepared(self, record: rec.Prepare, iteration: Planned) -> None:
        name, spec = f"{record.pipeline}/{record.iteration}", self._newest[record.pipeline]
        iteration.inputs = {node.name: node.inputs[0] for node in spec.nodes if node.write is not None}
        found, wanted = sorted(record.sinks), sorted(iteration.inputs)
        check(found == wanted, "I1", f"{name} is prepared for {found}, and the newest version has {wanted}")
        for node in spec.nodes:
            if node.write is not None:
                part, write = record.sinks[node.name], node.write
                same = (part.at, part.replaces) == (write.target, write.mode == "overwrite")
                check(same, "I1", f"{name} is prepared for {part.at}, {node.name} publishes to {write}")
        states = sorted(node.name for node in spec.nodes if node.state)
        check(sorted(record.states) == states, "I1", f"{name} is prepared with states of {sorted(record.states)}")
        for node in spec.nodes:
            if node.read is not None and node.read.pinned:
                pattern, positions = Pattern(node.read.pattern), iteration.positions.get(node.name, [])
                other = [position.identity for position in positions if not pattern.matches(position.identity)]
                check(not other, "I1", f"{name} has read {other[:5]} of {node.name}, whose pattern is by now another")
