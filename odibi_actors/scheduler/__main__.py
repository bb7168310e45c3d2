"""``python -m odibi_actors.scheduler``: the scheduler and its supervisor."""

from __future__ import annotations

import sys

from odibi_actors.runtime.entry import Entry, Here


def run(here: Here) -> int:
    """The actor."""
    from odibi_actors.runtime.process import run_peer
    from odibi_actors.scheduler.actor import SchedulerActor
    from odibi_actors.scheduler.driver import SchedulerDriver

    actor = SchedulerActor(here.incarnation, here.host, here.pid)
    return run_peer(
        "scheduler", actor, SchedulerDriver(here.project), here.places.endpoint, incarnation=here.incarnation
    )


def main() -> int:
    """The process; returns its exit code."""
    return Entry("scheduler", "odibi_actors.scheduler", "The scheduler: when pipelines run.", run).main()


if __name__ == "__main__":
    sys.exit(main())
