"""``odibictl reset``: while nothing runs a pipeline forgets all that it has done, and with ``--targets`` what it has
published is deleted; then all of it is read again, under numbers that go on from where they were. Without
``--targets`` what is replaced, as a whole or by keys, stays until it is.

Targets that have passed on to another pipeline are that one's, and stay as they are.
"""

from __future__ import annotations

from odibi_actors.sim import feeding
from odibi_actors.sim.life import Life


def reset(life: Life, pipeline: str, targets: bool) -> None:
    """Down, reset, up."""
    host = life.host
    life.world.crash_all()
    life.world.tell(f"{pipeline} is reset" + (", with its targets" if targets else ""))
    life.world.count("reset" if targets else "reset without targets")
    gone = [at for at, owner in host.owners.items() if owner[0] == pipeline] if targets else []
    life.work.reset(pipeline, gone)
    host.engine.forget(pipeline, life.world.now, "{}")
    host.engine.end_reset(pipeline, gone)
    host.spool = {path: data for path, data in host.spool.items() if not path.startswith(f"{pipeline}/")}
    host.changes += 1
    life.truth.forget(pipeline)
    feeding.forget(life, pipeline)


def may(life: Life, pipeline: str) -> bool:
    """There is something to forget; and store and targets know of each other."""
    host = life.host
    return bool(life.newest(pipeline)) and not host.missing and host.older != "in place"


def adds(life: Life, pipeline: str) -> bool:
    """Something that it has published, and owns, would be there twice."""
    host = life.host
    owned = [at for at, owner in host.owners.items() if owner[0] == pipeline]
    return any(not (part.replaces or part.keyed) for part in host.visible.values() if part.at in owned)
