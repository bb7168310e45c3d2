"""The schemas that the nodes of one pipeline are held to: nothing but what ``pins`` has put there."""

from __future__ import annotations

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import NodeSpec
from odibi_actors.model import Target, pin_digest


class Pins:
    """The pins of one pipeline: of sinks, where one that was made for another target than the node's counts for
    nothing, and of sources, which have no target. ``sources``: the schemas of the latter."""

    def __init__(self) -> None:
        self._pins: dict[str, tuple[rec.Schema, str]] = {}
        self.sources: dict[str, bytes] = {}

    def put(self, pin: rec.Schema) -> None:
        """The newest pin of this node."""
        self.drop(pin.node)
        self._pins[pin.node] = (pin, "" if pin.open else pin_digest(pin.arrow))
        if pin.target is None:
            self.sources[pin.node] = pin.arrow

    def drop(self, node: str) -> None:
        """The node has none."""
        self._pins.pop(node, None)
        self.sources.pop(node, None)

    def rewound(self, to: int) -> list[rec.Schema]:
        """Drop the pins that go when the pipeline is taken back to ``to``, and what others have become since; those of
        sources that go are returned."""
        gone = []
        for pin in self.all():
            former = pin.as_of(to)
            if former is None:
                self.drop(pin.node)
                gone.append(pin)
            elif former is not pin:
                self.put(former)
        return [pin for pin in gone if pin.target is None]

    def all(self) -> list[rec.Schema]:
        """Of every node that has one."""
        return [pin for pin, _ in self._pins.values()]

    def get(self, node: str, target: Target | None = None) -> rec.Schema | None:
        """The pin of a sink with this target, or of a source."""
        pin, _ = self._pins.get(node, (None, ""))
        return pin if pin is not None and pin.target == target else None

    def digest(self, node: NodeSpec) -> str:
        """Digest of the schema a source or sink is held to; "" when it is free."""
        if self.get(node.name, node.write.target if node.write is not None else None) is None:
            return ""
        return self._pins[node.name][1]

    def of(self, iterations: list[int]) -> list[rec.Schema]:
        """The pins that parts of these iterations told."""
        return [pin for pin, _ in self._pins.values() if pin.iteration in iterations]
