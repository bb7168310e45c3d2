"""How runs must end: counted from the records alone, by itself, and compared with what the broker says."""

from __future__ import annotations

from odibi_actors.checkpoint import records as rec
from odibi_actors.model import LIVE
from odibi_actors.sim.log import records
from odibi_actors.sim.planned import Planned
from odibi_actors.sim.verdict import check

File = tuple[str, str]
"""(source, identity)."""


class Tally:
    """What a run answers for: iterations that it planned or took up, dead letters, files that a cancel took from it."""

    def __init__(self) -> None:
        self.iterations: list[Planned] = []
        self.letters = 0
        self.given_back: dict[File, None] = {}
        self.voided = 0
        self.taken = ""


class Runs:
    """All runs. Methods are called with records once they are durable, in their order."""

    def __init__(self) -> None:
        self._all: dict[str, Tally] = {}
        self._of: dict[tuple[str, int], dict[str, None]] = {}  # iteration -> runs that answer for it

    def begin(self, record: rec.Run, open_: list[Planned]) -> None:
        """A run begins; ``open_``: what is unfinished in the live lane of its pipeline."""
        tally = self._all[record.run] = Tally()
        numbers = [one.plan.iteration for one in open_]
        check(set(record.took) <= set(numbers), "I5", f"run {record.run} takes up {record.took}, of {numbers}")
        for one in open_:
            if one.plan.iteration in record.took:
                tally.iterations.append(one)
                answer = self._of.setdefault((record.pipeline, one.plan.iteration), {})
                for former in [name for name in answer if name != one.plan.run]:  # only the newest that took it up
                    del answer[former]
                    self._all[former].iterations.remove(one)
                    self._all[former].voided += 1
                answer[record.run] = None
        for name in record.over:
            self._all[name].taken = record.run

    def plan(self, planned: Planned) -> None:
        """An iteration of the run that plans, and of the one that took that over."""
        plan = planned.plan
        taken = self._all[plan.run].taken if plan.run in self._all else ""
        check(plan.taken == taken or plan.replay is not None, "I5", f"{plan} is taken by {taken or 'no run'}")
        for name in (plan.run, plan.taken):
            if name in self._all:
                self._all[name].iterations.append(planned)
                self._of.setdefault((plan.pipeline, plan.iteration), {})[name] = None
                for source in plan.consumed:
                    for file in (file for p in plan.positions.get(source, ()) for file in records(p)):
                        self._all[name].given_back.pop((source, file), None)

    def set_aside(self, pipeline: str, iteration: int, count: int = 1) -> None:
        """So many dead letters of an iteration."""
        for tally in self._tallies(pipeline, iteration):
            tally.letters += count

    def cancelled(self, planned: Planned, reason: str, opened: bool) -> None:
        """An iteration is void; ``opened``: the letter that it had taken up is open again."""
        plan = planned.plan
        files = {(s, f): None for s in plan.consumed for p in planned.positions.get(s, ()) for f in records(p)}
        for tally in self._tallies(plan.pipeline, plan.iteration):
            tally.letters += opened
            if reason.startswith(rec.PLANNED_AGAIN) or plan.lane != LIVE:
                tally.given_back.clear()
                continue
            tally.voided += 1
            if plan.replay is None:
                tally.given_back.update(files)

    def end(self, record: rec.RunEnd) -> None:
        """The broker says how it has ended."""
        tally = self._all[record.run]
        kept = [one for one in tally.iterations if one.state != "cancelled"]
        left = [one.plan.iteration for one in kept if not one.terminal]
        name = f"run {record.run} ends {record.state} ({record.error})"
        if record.state in ("done", "no_data"):
            check(not left, "I5", f"{name} and {left} are unfinished")
        if left or record.state == "cancelled":
            return  # an iteration is stuck, or somebody has cancelled all of it
        if record.state == "failed" and record.error.startswith("iteration "):
            return  # behind one that is stuck it had nothing of its own
        if record.state == "failed" and record.error.startswith("not all was read: "):
            return
        due = "failed" if tally.letters else "cancelled" if tally.given_back else "done" if kept else "no_data"
        if due == "no_data" and tally.voided:
            due = "cancelled"
        check(record.state == due, "I5", f"{name}, and {len(kept)} iterations, {tally.letters} letters make it {due}")

    def forget(self, pipeline: str) -> None:
        """Nobody answers for its iterations any more."""
        self._of = {key: names for key, names in self._of.items() if key[0] != pipeline}

    def of(self, pipeline: str, iteration: int) -> list[str]:
        """The runs that answer for an iteration."""
        return [*self._of.get((pipeline, iteration), {})]

    def _tallies(self, pipeline: str, iteration: int) -> list[Tally]:
        return [self._all[name] for name in self.of(pipeline, iteration)]
