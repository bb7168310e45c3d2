"""What must hold of backfills: each file, or occurrence, in one iteration of the lane, and nothing left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from odibi_actors.checkpoint import records as rec
from odibi_actors.sim.log import records
from odibi_actors.sim.places import Entry, Place
from odibi_actors.sim.planned import Planned
from odibi_actors.sim.verdict import check
from odibi_actors.streaming.patterns import Pattern

Lane = tuple[str, str]
"""(pipeline, lane)."""


class Backfills:
    """All of them. ``planned``: of a lane, the owners of its places, and its iterations."""

    def __init__(self, planned: Callable[[str, str], tuple[Mapping[Place, list[Entry]], list[Planned]]]) -> None:
        self._planned = planned
        self.pattern_of: Callable[[str, str], str] = lambda _pipeline, _source: "*"  # of a source, by now
        self._open: dict[Lane, rec.Backfill] = {}
        self._there: dict[Lane, list[Place]] = {}  # files of it that the live lane had planned when it began
        self._wanted: dict[Lane, list[Place]] = {}  # those of them that sources took in then
        self._by_files: dict[str, None] = {}
        self._all: dict[Lane, str] = {}  # lane -> how it ended, "" while it is open

    def open(self, pipeline: str) -> list[str]:
        """Open backfills of a pipeline."""
        return [lane for name, lane in self._open if name == pipeline]

    def is_open(self, pipeline: str, lane: str) -> bool:
        """Whether this one is."""
        return (pipeline, lane) in self._open

    @property
    def left(self) -> list[str]:
        """All open ones."""
        return [f"{lane} of {pipeline} is open" for pipeline, lane in self._open]

    def tally(self) -> dict[str, int]:
        """How they ended."""
        found: dict[str, int] = {}
        for (_, lane), state in self._all.items():
            kind = f"backfill of {'files' if lane in self._by_files else 'occurrences'} {state}"
            found[kind] = found.get(kind, 0) + 1
        return found

    def begin(self, record: rec.Backfill, owner: Mapping[Place, list[Entry]]) -> None:
        """It wants at least the files that the live lane knows by now."""
        key = (record.pipeline, record.lane)
        check(key not in self._all, "I1", f"{record.lane} of {record.pipeline} begins twice")
        self._all[key], self._open[key] = "", record
        if record.files:
            self._by_files[record.lane] = None
        patterns = {source: Pattern(pattern) for source, pattern in record.files.items()}
        there = {
            place: entries
            for place, entries in owner.items()
            if place[0] == record.pipeline and place[1] in patterns
            if patterns[place[1]].matches(_named(place, entries)) and not _set_aside(entries)
        }
        self._there[key] = [*there]
        self._wanted[key] = [place for place, entries in there.items() if self._watched(place, entries)]

    def forget(self, pipeline: str) -> None:
        """Those that are open are cancelled."""
        for key in [key for key in self._open if key[0] == pipeline]:
            del self._open[key]
            self._all[key] = "cancelled"

    def _watched(self, place: Place, entries: list[Entry]) -> bool:
        """The pattern of its source, as it is by now, takes it in."""
        return Pattern(self.pattern_of(place[0], place[1])).matches(_named(place, entries))

    def planned(self, plan: rec.Plan) -> None:
        """An iteration of it: only of files that the live lane had taken when it began, and not set aside."""
        there = self._there.get((plan.pipeline, plan.lane), [])
        for source in plan.consumed:
            read = [file for position in plan.positions[source] for file in records(position)]
            more = [file for file in read if (plan.pipeline, source, file) not in there]
            name = f"{plan.pipeline}/{plan.iteration} of {plan.lane}"
            check(not more, "I1", f"{name} reads {more[:5]} of {source}, which the live lane had not taken")

    def end(self, record: rec.BackfillEnd, owner: Mapping[Place, list[Entry]]) -> None:
        """It is over: everything of it is terminal; unless it was cancelled, nothing is missing but what the live lane
        gave back or set aside meanwhile."""
        key = (record.pipeline, record.lane)
        begun = self._open.pop(key, None)
        check(begun is not None, "I1", f"{record.lane} of {record.pipeline} ends and is not open")
        assert begun is not None
        self._all[key] = record.state
        owners, mine = self._planned(*key)
        left = [i.plan.iteration for i in mine if not i.terminal]
        check(not left, "I5", f"{record.lane} of {record.pipeline} ends while {left} are unfinished")
        if record.state == "cancelled":
            return
        kept = [place for place in self._wanted[key] if _taken(owner.get(place, []), begun.through)]
        kept = [place for place in kept if self._watched(place, list(owner[place]))]
        missing = [place for place in kept if place not in owners]
        check(not missing, "I1", f"{record.lane} ends {record.state}, and has not read {missing[:5]}")
        done = [i.plan.trigger.occurrence for i in mine if i.state != "cancelled" and begun.occurrences]
        # No data: at that moment no file was there to be read.
        wanted = [occurrence for occurrence, _ in begun.occurrences if record.state == "done"]
        check(done == wanted, "I1", f"{record.lane} ends {record.state}: {done} instead of {wanted}")


def _taken(entries: list[Entry], through: int) -> bool:
    """Whether a file was planned by then, and that still stands."""
    then = [entry for entry in entries if entry.iteration <= through]
    return bool(then) and not _set_aside(then)


def _named(place: Place, entries: list[Entry]) -> str:
    """What patterns are asked: the file, or the partition in which the record is."""
    return place[2].partition("/")[0] if entries[-1].ordered else place[2]


def _set_aside(entries: list[Entry]) -> bool:
    """Whether a file lies in a dead letter; of what is read in order, whether it ever did."""
    return any(entry.letter for entry in entries) if entries[-1].ordered else bool(entries[-1].letter)
