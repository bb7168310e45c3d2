"""``odibictl actor source``: the source actor and its supervisor."""

from __future__ import annotations

import sys

from odibi_actors.runtime.entry import Entry, Here


def run(here: Here) -> int:
    """The actor."""
    from odibi_actors.runtime.process import run_peer
    from odibi_actors.streaming.actor import SourceActor
    from odibi_actors.streaming.driver import SourceDriver

    actor = SourceActor(here.incarnation, here.host, here.pid)
    return run_peer("source", actor, SourceDriver(), here.places.endpoint, incarnation=here.incarnation)


def main(words: list[str] | None = None) -> int:
    """The process; returns its exit code. ``words``: its arguments, without its name."""
    return Entry("source", "odibi_actors.streaming", "The sources: what there is to read.", run).main(words)


if __name__ == "__main__":
    sys.exit(main())
