"""``odibictl actor scheduler``: the scheduler and its supervisor."""

from __future__ import annotations

import gc
import sys

from odibi_actors.runtime.entry import Entry, Here


def run(here: Here) -> int:
    """The actor."""
    from odibi_actors.runtime.process import run_peer
    from odibi_actors.scheduler.actor import SchedulerActor
    from odibi_actors.scheduler.driver import SchedulerDriver

    gc.set_threshold(50_000, 20, 50)  # with 100,000 schedules a full collection takes 0.2 s, and finds nothing
    actor = SchedulerActor(here.incarnation, here.host, here.pid)
    return run_peer(
        "scheduler", actor, SchedulerDriver(here.project), here.places.endpoint, incarnation=here.incarnation
    )


def main(words: list[str] | None = None) -> int:
    """The process; returns its exit code. ``words``: its arguments, without its name."""
    return Entry("scheduler", "odibi_actors.scheduler", "The scheduler: when pipelines run.", run).main(words)


if __name__ == "__main__":
    sys.exit(main())
