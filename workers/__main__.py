"""``odibictl actor worker``: a pool of workers and its supervisor."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from odibi_actors.errors import ConfigError, ConflictError
from odibi_actors.runtime import paths
from odibi_actors.runtime.entry import Entry, Here, findable
from odibi_actors.runtime.supervisor import supervise

POOLS_MAX = 64  # pools of one data_dir; more are a mistake


class PoolEntry(Entry):
    """Several pools may serve one project: the supervisor takes the first free slot and keeps it as long as it lives,
    so that a pool has the same name after a crash."""

    def needs_project(self, options: argparse.Namespace) -> bool:
        return options.broker is None

    def actor_name(self, options: argparse.Namespace) -> str:
        return str(options.name or "pool-0")

    def supervise(self, project: Path, places: paths.Layout, options: argparse.Namespace, words: list[str]) -> int:
        findable()
        name, _slot = take_slot(places.run)
        return supervise([*self.command(project, places, words), "--name", name], name, places.data_dir)


def take_slot(run: Path) -> tuple[str, paths.Lock]:
    """(``pool-<n>``, its lock) for the first n nobody has; raises ConflictError when there is none."""
    for number in range(POOLS_MAX):
        name = f"pool-{number}"
        try:
            return name, paths.hold_lock(run / f"{name}.slot.lock", wait=0.0)
        except ConflictError:
            continue
    raise ConflictError(f"{POOLS_MAX} pools are running for this project already")


def workers_wanted(here: Here) -> int:
    """``--workers``, ODIBI_WORKERS, ``workers:`` of odibi.yaml, else one per core."""
    asked = here.options.workers if here.options.workers is not None else os.environ.get("ODIBI_WORKERS", "")
    if asked == "":
        found = paths.basics(here.project, required=False).workers
        return found if found is not None else len(os.sched_getaffinity(0))
    try:
        number = int(asked)
    except ValueError:
        number = -1
    if number < 0:
        raise ConfigError(f"workers must be a number from 0 on, not {asked!r}")
    return number


def run(here: Here) -> int:
    """The actor."""
    from odibi_actors.config import code_digest
    from odibi_actors.runtime.memory import available
    from odibi_actors.runtime.process import run_peer
    from odibi_actors.workers.driver import PoolDriver
    from odibi_actors.workers.pool import PoolActor
    from odibi_actors.workers.spool import inventory

    found = inventory(here.places.spool)
    wanted = workers_wanted(here)
    digest = code_digest(here.project)
    actor = PoolActor(here.name, here.incarnation, here.host, here.pid, wanted, digest, found, available())
    driver = PoolDriver(
        here.name,
        project=here.project,
        data_dir=here.places.data_dir,
        endpoint=here.places.socket(here.name),
        host=here.host,
    )
    endpoint = here.options.broker or here.places.endpoint
    return run_peer(here.name, actor, driver, endpoint, incarnation=here.incarnation)


def main(words: list[str] | None = None) -> int:
    """The process; returns its exit code. ``words``: its arguments, without its name."""
    entry = PoolEntry("pool", "odibi_actors.workers", "A pool of worker processes on this host.", run)
    entry.parser.add_argument("--broker", metavar="ENDPOINT", help="the broker, such as tcp://HOST:7070 (here: found)")
    entry.parser.add_argument("--workers", metavar="N", help="worker processes (ODIBI_WORKERS, odibi.yaml, cores)")
    entry.parser.add_argument("--name", help=argparse.SUPPRESS)
    return entry.main(words)


if __name__ == "__main__":
    sys.exit(main())
