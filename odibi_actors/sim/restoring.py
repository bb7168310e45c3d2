"""The store of a life is put back as it was a while ago, its targets are not: what was published since is in them, made
of files that the store knows nothing of. Nothing may be published twice in silence.

The account of what must hold (``truth``) is put back with it: it knows what that store knows. Operators do as
docs/operations.md says: bring the newer store back, as long as nothing was published by the older one; or move away
what is in the targets and no iteration that is known has published.
"""

from __future__ import annotations

import random
import sqlite3
from copy import deepcopy
from typing import Any

from odibi_actors.checkpoint.engine import Engine
from odibi_actors.model import StagedRef
from odibi_actors.sim import targets
from odibi_actors.sim.host import Older
from odibi_actors.sim.life import Life
from odibi_actors.sim.planned import Planned


class Copy:
    """Of the store, its spool, and the account of it."""

    def __init__(self, life: Life) -> None:
        self._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        life.host.engine._db.backup(self._db)
        self._spool, self._project = dict(life.host.spool), life.project
        self.joined, self.cuts = dict(life.host.joined), _cuts(life)
        whole = (life, life.world, life.host, life.landing, life.clock, life.truth, life.dues)
        told = [told.__self__ for told in life.truth.applied if hasattr(told, "__self__")]
        memo: dict[int, Any] = {id(one): one for one in (*whole, *told)}
        self._truth = deepcopy(life.truth.__dict__, memo)
        self._dues = deepcopy(life.dues.__dict__, memo)

    @property
    def iterations(self) -> dict[tuple[str, int], Planned]:
        """All that it knows."""
        found: dict[tuple[str, int], Planned] = self._truth["iterations"]
        return found

    def put_back(self, life: Life) -> None:
        """It takes the place of the store, while nothing runs; then everything starts again. Done once."""
        life.world.crash_all()
        if self._passed_on(self._db) != self._passed_on(life.host.engine._db):
            life.project = self._project  # sinks whose targets have not passed on have their names of then
        engine = Engine(":memory:", life.host.engine.store_id)
        self._db.backup(engine._db)
        life.host.engine.close()
        row = engine._db.execute("SELECT epoch, last_seq, claimant, claim_seq FROM meta").fetchone()
        engine.epoch, engine.last_seq, engine._claimant, engine._claim_seq = row
        life.host.engine, life.host.spool = engine, self._spool
        life.truth.__dict__.update(self._truth)
        life.dues.__dict__.update(self._dues)
        life.apply_next = True

    def _passed_on(self, db: sqlite3.Connection) -> int:
        """How many targets have."""
        return int(db.execute("SELECT count(*) FROM adoptions").fetchone()[0])


def begin(life: Life, rng: random.Random) -> None:
    """A copy is made, and put in the place of the store after a while."""
    copy = Copy(life)
    life.world.after(rng.choice([0.3, 1.0, 3.0, 6.0]), _put_back, life, copy, rng)


def _put_back(life: Life, copy: Copy, rng: random.Random) -> None:
    """Unless what it has published, or staged, is not there any more: then it is of no use, as `checkpoint verify`, or
    the first that is to be published, tells."""
    host = life.host
    fit = all(_has(life, place, one) for place, one in copy.iterations.items())
    if host.older == "in place" or host.missing or not fit or (copy.joined, copy.cuts) != (host.joined, _cuts(life)):
        life.world.count("older store of no use")
        return
    life.world.crash_all()
    newer, since, former = Copy(life), host.changes, host.older
    life.world.tell("an older store is put back")
    life.world.count("older store")
    copy.put_back(life)
    host.older = "in place"
    life.world.after(rng.choice([0.5, 3.0, 9.0]), _way_out, life, newer, since, rng.random() < 0.5, former)


def _cuts(life: Life) -> int:
    return life.host.outside.cuts if life.host.outside is not None else 0


def _has(life: Life, place: tuple[str, int], one: Planned) -> bool:
    """What this iteration has published, or is to publish, is there."""
    host = life.host
    for sink, part in parts(one).items():
        data = host.visible.get((*place, sink))
        published = data is not None and data.digest == part.digest
        staged = one.state != "committed" and part.staged in host.staged
        if one.state in ("cancelled", "rewound", "dead_lettered") or sink in one.abandoned:
            continue
        if not published and not (staged and host.staged[part.staged].digest == part.digest):
            return False
    return True


def parts(one: Planned) -> dict[str, StagedRef]:
    """By sink, of an iteration that is prepared, or will be."""
    return one.sinks or {node: ack.staged for node, ack in one.acks.items() if ack.staged is not None}


def _way_out(life: Life, newer: Copy, since: int, back: bool, former: Older) -> None:
    life.host.older = "tidied"
    if back and life.host.changes == since:
        life.world.tell("the newer store is brought back")
        life.world.count("newer store")
        newer.put_back(life)
        life.host.older = former
        return
    life.world.tell("what nobody knows is moved away")
    move_away(life)


def move_away(life: Life) -> None:
    """What is in the targets, and was published by no iteration that is known."""
    host = life.host
    if host.older != "tidied":
        return
    for place in [*host.visible]:
        pipeline, number, sink = place
        one = life.truth.iterations.get((pipeline, number))
        part = parts(one).get(sink) if one is not None and one.live else None
        if part is None or part.digest != host.visible[place].digest:
            life.work.move_away(place)
            life.world.count("moved away")
    targets.resettle(host)
