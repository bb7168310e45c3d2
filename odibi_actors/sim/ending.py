"""The end of a simulated life: once faults have stopped, everything that was begun must come to its end (I5)."""

from __future__ import annotations

from odibi_actors.model import LIVE
from odibi_actors.sim import changing
from odibi_actors.sim.life import Life
from odibi_actors.sim.truth import TERMINAL

BEHIND = 10.0
"""Seconds after which an occurrence must be in the log when nothing is wrong."""


class Ending:
    """What is left to be done. Schedules that follow the clock would go on for ever: once all are up to date an
    operator pauses them."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._up_to_date = False
        self._triggers = 0

    def finished(self) -> bool:
        """Nothing is left."""
        return self._up_to_date and not self._some()

    def left(self) -> str:
        """What is, in a line."""
        return "; ".join((self._some() or self._life.dues.behind(BEHIND))[:8])

    def help(self) -> None:
        """What operators do about it: pause the schedules, and have files read that no run has found yet."""
        life = self._life
        if not self._up_to_date:
            self._up_to_date = not life.dues.behind(BEHIND)
            return
        for known in life.dues.schedules.values():
            if known.spec.timed and not (known.record.paused or known.record.gone):
                life.ask("schedule.pause", pipeline=known.record.pipeline, schedule=known.record.name)
        for name, source in life.truth.paused:
            life.ask("source.resume", pipeline=name, source=source)
        self._give_up()
        changing.ways_out(life, life.rng)
        changing.watch_all(life)
        unplanned = {key[0] for key in life.unplanned}
        for pipeline in life.project.pipelines:
            if pipeline.trigger != "data" and pipeline.name in unplanned:
                self._triggers += 1
                life.ask("pipeline.trigger", pipeline=pipeline.name, run=f"last-{pipeline.name}-{self._triggers}")

    def _give_up(self) -> None:
        """A backfill has no dead letters: what cannot be read ends it."""
        life = self._life
        for (pipeline, _), iteration in list(life.truth.iterations.items()):
            if iteration.state == "failed" and iteration.plan.lane != LIVE and life.rng.random() < 0.05:
                life.ask("backfill.cancel", pipeline=pipeline, lane=iteration.plan.lane)

    def _some(self) -> list[str]:
        truth, dues = self._life.truth, self._life.dues
        found = [f"{p}/{n} {i.state}" for (p, n), i in truth.iterations.items() if i.state not in TERMINAL]
        found += [f"{key} unplanned" for key in self._life.unplanned]
        found += self._life.producers.waiting if self._life.producers is not None else []
        found += self._polled()
        found += dues.unfinished() + truth.backfills.left
        found += [f"alert {number} is not told" for number in truth.alerts.pending]
        found += [f"alerts that were held back are not told: {name}" for name in truth.alerts.held]
        for known in dues.schedules.values():
            if known.record.paused or known.record.gone:
                continue
            if known.spec.timed:
                found.append(f"schedule {known.name} is not paused")
            found += self._not_followed(known.key) + self._not_seen(known.key)
        return found

    def _polled(self) -> list[str]:
        """What is to be polled still: a source that waits in vain for its next tick would hide behind all else."""
        outside = self._life.host.outside
        return outside.polls.waiting if outside is not None and outside.polls is not None else []

    def _not_followed(self, key: tuple[str, str]) -> list[str]:
        """Commits that an ``after`` schedule has not followed."""
        known = self._life.dues.schedules[key]
        commits = {name: self._life.truth.commits.get(name, 0) for name in known.spec.after}
        new = [name for name, number in commits.items() if number > known.seen.get(name, 0)]
        missed = new if known.spec.after_any or len(new) == len(commits) else []
        return [f"{known.name} has not followed commit {commits[name]} of {name}" for name in missed]

    def _not_seen(self, key: tuple[str, str]) -> list[str]:
        """Files that have not started a run."""
        known = self._life.dues.schedules[key]
        watch = known.spec.file_watch
        if watch is None:
            return []
        there = self._life.host.folders.get(watch.folder, {})
        seen = {file[2] for file in self._life.dues.arrived if file[:2] == key}
        return [f"{known.name} has not seen {identity}" for identity in there if identity not in seen]
