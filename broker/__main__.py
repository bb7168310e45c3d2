"""``odibictl actor broker``: the broker and its supervisor."""

from __future__ import annotations

import argparse
import os
import random
import secrets
import sys
from pathlib import Path

from odibi_actors.runtime import paths
from odibi_actors.runtime.entry import Entry, Here, findable
from odibi_actors.runtime.supervisor import RECOVER, supervise


class BrokerEntry(Entry):
    """The first start reads ``odibi.yaml``; a restart goes on with the versions in the store, so that a file edited
    meanwhile neither takes effect by accident nor keeps the system down."""

    def supervise(self, project: Path, places: paths.Layout, options: argparse.Namespace, words: list[str]) -> int:
        findable()
        first = self.command(project, places, words)
        again = [*first, "--recover"]
        return supervise(again if os.environ.pop(RECOVER, "") else first, self.name, places.data_dir, restart=again)


def run(here: Here) -> int:
    """The actor."""
    from odibi_actors.broker.coordinator import Coordinator
    from odibi_actors.broker.directory import Peer
    from odibi_actors.config import load_project
    from odibi_actors.messages import BROKER
    from odibi_actors.runtime.process import run_hub

    project = None if here.options.recover else load_project(here.project)
    me = Peer(BROKER, "broker", here.incarnation, here.host, here.pid, 0.0)
    actor = Coordinator(project, here.incarnation, random.Random(secrets.randbits(64)), me=me)
    endpoints = [here.places.endpoint, *here.options.bind]
    paths.write_connection(here.places, here.places.endpoint, host=here.host, incarnation=here.incarnation)
    return run_hub(actor, None, endpoints, incarnation=here.incarnation)


def main(words: list[str] | None = None) -> int:
    """The process; returns its exit code. ``words``: its arguments, without its name."""
    entry = BrokerEntry("broker", "odibi_actors.broker", "The broker: plans, dispatches, commits.", run)
    entry.parser.add_argument("--recover", action="store_true", help="go on with the versions in the store")
    entry.parser.add_argument(
        "--bind", action="append", default=[], metavar="ENDPOINT", help="listen here too, such as tcp://10.0.0.1:7070"
    )
    return entry.main(words)


if __name__ == "__main__":
    sys.exit(main())
