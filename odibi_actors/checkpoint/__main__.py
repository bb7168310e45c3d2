"""``odibictl actor checkpoint``: the checkpoint store and its supervisor."""

from __future__ import annotations

import sys

from odibi_actors.runtime import paths
from odibi_actors.runtime.entry import Entry, Here
from odibi_actors.runtime.log import log


def run(here: Here) -> int:
    """The actor."""
    from odibi_actors.checkpoint.actor import StoreActor
    from odibi_actors.checkpoint.driver import StoreDriver
    from odibi_actors.checkpoint.engine import Engine
    from odibi_actors.runtime.process import run_peer

    # the engine takes run/store.lock itself, but does not wait for a predecessor that is just dying
    paths.hold_lock(here.places.run / "store.lock").release()
    engine = Engine(here.places.database, root=here.project)
    if engine.moved:
        log("info", "checkpoint", engine.moved)
    me = (here.incarnation, here.host, here.pid, engine.store_id)
    actor = StoreActor(*me, engine.epoch, engine.last_seq, home=engine.home)
    return run_peer("store", actor, StoreDriver(engine), here.places.endpoint, incarnation=here.incarnation)


def main(words: list[str] | None = None) -> int:
    """The process; returns its exit code. ``words``: its arguments, without its name."""
    entry = Entry("checkpoint", "odibi_actors.checkpoint", "The checkpoint store: the truth on disk.", run)
    return entry.main(words)


if __name__ == "__main__":
    sys.exit(main())
