"""A broker with scheduled pipelines, and a scheduler whose words a test says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import PipelineSpec, ScheduleSpec
from odibi_actors.messages import (
    SCHEDULER,
    SOURCE,
    Discover,
    Due,
    Dues,
    Heartbeat,
    Hello,
    Judged,
    Noted,
    Offer,
    PublishTask,
    Schedules,
    Tasks,
)
from odibi_actors.model import LIVE, Place
from tests.broker.harness import Broker, pipeline, position

HOUR = 3600


def scheduled(*schedules: ScheduleSpec, name: str = "p", **more: Any) -> PipelineSpec:
    """The pipeline of the harness, run by these schedules."""
    spec = pipeline(trigger="schedule", schedules=list(schedules), **more)
    return PipelineSpec(**{**{f: getattr(spec, f) for f in spec.__struct_fields__}, "name": name})


def hourly(**more: Any) -> ScheduleSpec:
    return ScheduleSpec("hourly", cron="0 * * * *", **more)


def occurrence(number: int, reason: str = "", count: int = 1, first: str = "") -> Judged:
    """Occurrence ``number`` of the hourly schedule: due at that hour of 1970."""
    wall = f"1970-01-{1 + number // 24:02d}T{number % 24:02d}:00:00"
    return Judged(wall, number * HOUR, Place(number * HOUR, wall), reason, count, first)


class Timed(Broker):
    """The broker, with a scheduler that has joined."""

    def start(self, *arguments: Any, **more: Any) -> Timed:
        super().start(*arguments, **more)
        self.say(SCHEDULER, Hello("scheduler", "c1", "host", 4))
        return self

    def entries(self) -> dict[str, Any]:
        """What the scheduler was told of each schedule, newest last."""
        return {e.spec.name: e for m in self.take(Schedules) for e in m.items}

    def due(
        self, *judged: Judged, schedule: str = "hourly", after: Place | None = None, name: str = "p"
    ) -> list[Place]:
        """The scheduler tells; returns the places that were noted."""
        at = self.flow.schedules.find(name, schedule).place if after is None else after
        self.now = max([self.now, *(one.due for one in judged)])
        self.say(SCHEDULER, Due(self.epoch, self.now, [Dues(name, schedule, at, list(judged))]))
        return [item.place for message in self.take(Noted) for item in message.items]

    def beat(self, version: int, wall: float = 0.0) -> None:
        self.say(SCHEDULER, Heartbeat(self.epoch, version=version, wall=wall))

    def discovered(
        self, *names: str, exhausted: bool = True, name: str = "p", lane: str = LIVE, unread: Sequence[str] = ()
    ) -> None:
        """The source, which was asked to, has looked for the run that plans."""
        owner = self.flow.pipelines[name].lane(lane)
        assert owner is not None
        assert owner.run is not None
        run, source = owner.run.run, owner.sources["read"]
        assert any(isinstance(m, Discover) and m.run == run for _, m in self.sent)
        positions = [position(one) for one in names]
        offer = Offer(self.epoch, "f1", name, "read", source.seq, positions, run, exhausted, lane, unread=list(unread))
        self.say(SOURCE, offer)

    def complete(self) -> None:
        """Run, publish and commit everything that is planned."""
        quiet = 0
        while quiet < 2:
            given = [task for message in self.take(Tasks) for task in message.tasks]
            for task in given:
                if isinstance(task, PublishTask):
                    self.published(task)
                else:
                    self.finish(task)
            self.durable()
            quiet = 0 if given else quiet + 1

    def skips(self) -> list[tuple[str, int, str]]:
        return [(skip.last[-8:-3], skip.count, skip.reason) for skip in self.of(rec.Skip)]

    def runs(self) -> list[tuple[str, str]]:
        """(run, how it ended or "active")."""
        ended = {end.run: end.state for end in self.of(rec.RunEnd)}
        return [(run.run, ended.get(run.run, "active")) for run in self.of(rec.Run)]
