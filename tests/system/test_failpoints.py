"""A system in which every failpoint is reached, and some of them kill: it finishes by itself, every row there once."""

from __future__ import annotations

from pathlib import Path

import pytest

from odibi_actors.failpoints import DECLARED, SEEN
from tests.system.chaos import Soak
from tests.system.harness import until

KILLS = [
    "store.committed",  # durable, and nobody knows
    "hub.sent",  # the store has the record, the broker that wrote it is gone
    "peer.received",
    "worker.sent",
    "spool.rename",
    "folder.linked",
    "folder.rename",  # the file that is overwritten is still the former one
    "table.committed",  # the rows are there, the broker is not told
    "template.forked",  # workers nobody knows of
    "pool.spawned",
    "connection.rename",
]

ELSEWHERE = {
    *("owner.replace", "owner.replaced", "source.probe", "source.probed", "folder.file"),
    *("events.commit", "events.committed", "events.prune", "events.pruned"),
    *("source.poll", "source.polled"),
    *(name for name in DECLARED if name.startswith("compact.")),
}
"""Of targets that pass on to another sink: tests/local/test_adopting.py reaches them; of sources that are read in
order: tests/local/test_incremental.py; of partitions: tests/sinks; of files that are joined:
tests/local/test_compacting.py; of what is pushed: tests/sources/test_events.py, and
test_event_logs_kept.py; of what is polled: tests/sources/test_ticks.py."""


@pytest.fixture
def soak(tmp_path: Path):  # type: ignore[no-untyped-def]
    made = Soak(tmp_path / "project", 1, print)
    made.system.env[SEEN] = str(tmp_path / "seen")
    try:
        yield made
        made.system.stop()
    finally:
        made.system.close()


def test_given_files_that_arrive_when_processes_are_killed_at_failpoints_then_every_row_is_there_once(
    soak: Soak, tmp_path: Path
) -> None:
    soak.system.start()
    for name in KILLS:

        def killed(name: str = name) -> bool:
            if not soak.armed:
                soak.arm(name, "kill", 1)
            soak.wait(0.1)
            return soak.fired[name] > 0

        until(f"{name} has killed", killed)
    verdicts = soak.finish()
    assert all(verdict.holds for verdict in verdicts), verdicts
    assert min(verdict.expected for verdict in verdicts if verdict.output != "dead letters") > 0
    client = soak.system.client
    client.drain("checked")
    client.rewind("checked", 0, timeout=60)
    client.resume("checked")
    verdicts = soak.finish()
    assert all(verdict.holds for verdict in verdicts), verdicts
    for name in DECLARED.keys() - ELSEWHERE:
        until(f"{name} is reached", lambda name=name: name in (tmp_path / "seen").read_text().split())
