"""Once nothing goes wrong any more, nobody waits for what is there: files are planned soon, not just at last.

``ending`` asks whether everything comes to its end within minutes. A message that is lost and never said again, a
question that nobody repeats, a wake-up that is missing may hide behind that: a look at the folder that comes every ten
seconds, or somebody's next request, puts it right. So whenever a file could be planned it must be within seconds.
"""

from __future__ import annotations

from odibi_actors.config.model import PipelineSpec, ReadSpec
from odibi_actors.model import LIVE
from odibi_actors.sim.life import Life
from odibi_actors.sim.places import Place
from odibi_actors.sim.planned import Planned
from odibi_actors.sim.verdict import check
from odibi_actors.streaming.patterns import Pattern

SOON = 8.0
"""Virtual seconds within which a file is planned once it is there, whole, and there is room for it: an offer that was
lost is said again after 5, a question after 2."""

AT_ONCE = 3.0
"""Likewise for what was released while nothing was lost: an answer of the ledger, a look at these files, ``settle``."""

UNHEARD = 42.0
"""Likewise for a file whose last event was lost: one that was seen being written is taken for whole after 30 s, and is
seen at all by the next look at the folder, 10 s later at most."""

STOPPED = 300.0
"""Likewise where the source was stopped while it looked: it takes that for the time that a look takes."""


class Promptness:
    """``look`` is called once a virtual second while nothing goes wrong. ``slowest``: seconds that a file waited."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._since: dict[str, tuple[object, float]] = {}
        self.slowest = 0.0
        self._released: dict[Place, float] = {}
        self._calm = 0.0

    def release(self, pipeline: str, calm: float | None) -> None:
        """What is not planned of this pipeline now was released: no event of the file system tells of that, and none is
        needed. From ``calm`` on nothing goes wrong; None: nothing has."""
        soon = AT_ONCE if calm is None else SOON
        self._released |= {place: soon for place in self._life.unplanned if place[0] == pipeline}
        self._calm = max(self._calm, calm or 0.0)

    def look(self) -> None:
        """Raises Violation when a file has waited too long."""
        for pipeline in self._life.project.pipelines:
            if pipeline.trigger == "data":
                self._look(pipeline)

    def _look(self, pipeline: PipelineSpec) -> None:
        life, name, now = self._life, pipeline.name, self._life.world.now
        mine = [i for (owner, _), i in life.truth.iterations.items() if owner == name and i.plan.lane == LIVE]
        watched = {node.name: Pattern(node.read.pattern) for node in pipeline.nodes if node.read is not None}
        mine_ = [place for place in life.unplanned if place[0] == name and watched[place[1]].matches(place[2])]
        due = [place for place in mine_ if life.landing.delivered[place].whole]
        if not due or not self._room(pipeline, mine, due):
            self._since.pop(name, None)
            return
        # What has happened: as long as something does, it waits for its turn.
        done = (len(mine), sum(one.terminal for one in mine), len(life.landing.delivered))
        if self._since.get(name, (None, 0.0))[0] != done:
            self._since[name] = (done, max(now, self._calm))
        waited = now - self._since[name][1]
        self.slowest = max(self.slowest, waited)
        allowed = max(self._patience(place) for place in due)
        check(waited <= allowed, "I5", f"{name} has room, and has not planned {due[:3]} for {waited:.0f} s")

    def _room(self, pipeline: PipelineSpec, mine: list[Planned], due: list[Place]) -> bool:
        """Whether something of it could be planned now."""
        life = self._life
        open_ones = [one for one in mine if not one.terminal]
        if life.dues.held.get(pipeline.name) or pipeline.name in life.truth.rewinds:
            return False
        if len(open_ones) >= pipeline.max_in_flight or any(one.state in ("failed", "blocked") for one in open_ones):
            return False
        return all(self._there(pipeline.name, node.name, node.read, due) for node in pipeline.nodes if node.read)

    def _there(self, pipeline: str, source: str, read: ReadSpec, due: list[Place]) -> bool:
        """Whether a reference has files, and another source one, or columns that are known."""
        life = self._life
        if read.pinned:
            pattern = Pattern(read.pattern)
            return any(pattern.matches(name) for name in life.host.folders.get(read.connection.path, {}))
        first = any(place[1] == source for place in due)
        return first or bool(life.truth.pins.known(pipeline, source))

    def _patience(self, place: Place) -> float:
        if place in self._released:
            return self._released[place]
        counts = self._life.world.counts
        if "stop source" in counts or "suspend" in counts:
            return STOPPED
        return UNHEARD if place[2] in self._life.landing.unheard else SOON
