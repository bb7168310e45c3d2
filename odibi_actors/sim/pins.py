"""Who is held to which schema, as the log tells it: a pin belongs to what is committed, and goes with what is void."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from odibi_actors.checkpoint import records as rec
from odibi_actors.model import Attempt
from odibi_actors.sim import eras
from odibi_actors.sim.planned import Planned
from odibi_actors.sim.verdict import check

TIMES = 4
"""How often a schema may become the same: whoever brings it may have to do so again, but not for ever."""

Node = tuple[str, str]
"""(pipeline, node)."""

Held = dict[Node, tuple[bytes, bool]]
"""Node -> the schema it is held to, and whether it is open."""


class Pins:
    """All pins. ``read_as``: the schema that an attempt has read its files with, b"" for headers alone; ``kept_of``:
    the columns that it has kept beside those (``rescue``), or missed; ``ask``: what the store says."""

    def __init__(self) -> None:
        self.ask: Callable[[], Held] | None = None
        self.read_as: Callable[[Attempt, str], bytes] = lambda _attempt, _node: b""
        self.kept_of: Callable[[Attempt, str], list[str]] = lambda _attempt, _node: []
        self._pins: dict[Node, rec.Schema] = {}
        self._times: dict[tuple[object, ...], int] = {}  # what has become of a schema -> how often

    def known(self, pipeline: str, source: str) -> bytes:
        """The schema of a source; b"" while it has none."""
        pin = self._pins.get((pipeline, source))
        return pin.arrow if pin is not None else b""

    def fresh(self, pipeline: str, sink: str, iteration: int) -> bool:
        """The sink was pinned again, and this iteration is the first since: it goes on without what was published."""
        pin = self._pins.get((pipeline, sink))
        return pin is None or pin.open or pin.iteration >= iteration

    def apply(self, record: rec.AnyRecord, iterations: dict[tuple[str, int], Planned]) -> None:
        """A record that is on disk now."""
        match record:
            case rec.Schema():
                self._schema(record, iterations)
            case rec.Unpin():
                self._pins.pop((record.pipeline, record.node), None)
            case rec.Adopt():
                former = self._pins.get((record.from_pipeline, record.from_node))
                if former is not None and former.target == record.target:
                    del self._pins[record.from_pipeline, record.from_node]
                    self._pins[record.pipeline, record.node] = former
            case rec.Cancel():
                self._void(record.pipeline, record.iterations)
            case rec.DeadLetter():
                self._void(record.pipeline, [record.iteration])
            case rec.Revise():
                self._void(record.pipeline, [record.iteration], record.node)
            case rec.Rewound():
                for key, pin in [one for one in self._pins.items() if one[0][0] == record.pipeline]:
                    opened = pin.target is not None and not pin.iteration  # what is left in its target tells it again
                    if not record.to or pin.iteration > record.to or opened:
                        del self._pins[key]
                    else:
                        self._pins[key] = eras.cut(pin, lambda number: number > record.to)
            case rec.Prepare():
                self._prepared(record, iterations)

    def forget(self, pipeline: str) -> None:
        """Nothing of it is held to anything."""
        self._pins = {key: pin for key, pin in self._pins.items() if key[0] != pipeline}

    def compare(self) -> None:
        """The store says the same."""
        if self.ask is not None:
            mine = {key: (pin.arrow, pin.open) for key, pin in self._pins.items()}
            found = self.ask()
            check(found == mine, "I1", f"the store holds {_differ(found, mine)}, not {_differ(mine, found)}")

    def _schema(self, record: rec.Schema, iterations: dict[tuple[str, int], Planned]) -> None:
        key = (record.pipeline, record.node)
        former = self._pins.get(key)
        told_once = former is not None and (former.target, former.iteration) == (record.target, record.iteration)
        if former is not None and told_once and not former.open and not record.open:
            same = former.arrow == record.arrow  # what is missing is told, or who has told a column is another
            if not same:
                self._brought(record)
            if same or eras.grown(former, record, iterations):
                self._pins[key] = record
                return
        if record.target is None:
            name = f"{record.pipeline}.{record.node}"
            by = iterations.get((record.pipeline, record.iteration))
            check(by is not None and not by.terminal, "I1", f"{name} is pinned by {record.iteration}, which is over")
            same = former is None or former.arrow == record.arrow
            check(same, "I1", f"{name} is pinned as {record.arrow!r}, and is {former and former.arrow!r}")
        self._pins[key] = record

    def _brought(self, record: rec.Schema) -> None:
        """Nobody brings the same columns again and again, because somebody else takes them away each time."""
        name = f"{record.pipeline}.{record.node}"
        key = (name, *((era.iteration, one.text) for era in record.history for one in era.changes))
        self._times[key] = self._times.get(key, 0) + 1
        check(self._times[key] <= TIMES, "I5", f"{name} has become {record.text} more than {TIMES} times")

    def _void(self, pipeline: str, numbers: Iterable[int], node: str = "") -> None:
        for key, pin in list(self._pins.items()):
            if key[0] != pipeline or node not in ("", key[1]):
                continue
            if pin.iteration not in numbers:
                self._pins[key] = eras.cut(pin, lambda number: number in numbers)
                continue
            del self._pins[key]
            if pin.former:
                self._pins[key] = rec.Schema(*key, pin.former, [], pin.target, open=True)

    def _prepared(self, record: rec.Prepare, iterations: dict[tuple[str, int], Planned]) -> None:
        """What is prepared was read as its sources are held to, and they are for as long as it stands; likewise parts
        of sinks that take new columns in."""
        iteration = iterations[record.pipeline, record.iteration]
        for node, ack in iteration.acks.items():
            pin = self._pins.get((record.pipeline, node))
            read = self.read_as(ack.attempt, node)
            if not read or (ack.staged is None and not iteration.positions.get(node)):
                continue
            name = f"{record.pipeline}/{record.iteration}"
            if pin is not None and not pin.open:
                eras.prepared(pin, record, iterations)
            held = pin is not None and pin.arrow == read
            check(held, "I1", f"{name}: {node} was read as {read!r}, and is held to {pin and pin.arrow!r}")
            assert pin is not None
            stays = pin.iteration <= record.iteration
            if pin.target is not None and not pin.history:  # where it goes what is left in its target tells it again
                by = iterations.get((record.pipeline, pin.iteration))
                stays = stays or by is None or by.terminal or by.state in ("prepared", "blocked")
            check(stays, "I1", f"{name} rolls on, {node} is pinned by {pin.iteration}")
            told = {change.column for era in pin.history for change in era.changes}
            kept = set(self.kept_of(ack.attempt, node))
            check(kept <= told, "I1", f"{name}: {node} has rescued, or missed, {kept}, and its history has {told}")


def _differ(found: Held, other: Held) -> str:
    return str({key: value for key, value in found.items() if other.get(key) != value})
