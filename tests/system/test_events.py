"""Rows that are pushed while a system runs and its processes are killed: what was acknowledged is there once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from odibi_actors.client import Client
from odibi_actors.errors import ConfigError, ConflictError, NotFoundError, OdibiError, TimedOutError
from tests.system.harness import System, until

YAML = """\
project: pushed
workers: 1
connections:
  inbox: {type: local, path: in}
  lake: {type: local, path: out}
pipelines:
  - pipeline: p
    batch: {max_rows: 50}
    nodes:
      - {name: src, read: {connection: inbox, path: events, mode: event, backlog: 64KB, schema: {id: int64}}}
      - {name: out, inputs: [src], write: {connection: lake, path: t, format: csv}}
  - pipeline: wide
    nodes:
      - {name: src, read: {connection: inbox, path: wide, mode: event, schema: {id: int64, page: string}}}
      - {name: out, inputs: [src], write: {connection: lake, path: w, format: parquet}}
  - pipeline: files
    nodes:
      - {name: src, read: {connection: inbox, format: csv, mode: file_watch, pattern: "*.csv"}}
      - {name: out, inputs: [src], write: {connection: lake, path: f, format: csv}}
"""


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    (tmp_path / "odibi.yaml").write_text(YAML)
    (tmp_path / "in").mkdir()
    made = System(tmp_path)
    try:
        yield made
        made.stop()
    finally:
        made.close()


def out(system: System) -> list[int]:
    parts = (system.project / "out/t").glob("*.csv")
    return sorted(int(line) for part in parts for line in part.read_text().split()[1:])


class Producer(threading.Thread):
    """Pushes rows of its own, one event after the other, each as often as it takes."""

    def __init__(self, project: Path, first: int) -> None:
        super().__init__()
        self.project, self.first, self.pushed, self.again, self.stopping = project, first, 0, 0, threading.Event()
        self.error: Exception | None = None

    def run(self) -> None:
        with Client(project=self.project, timeout=3.0) as client:
            while not self.stopping.is_set():
                row = self.first + self.pushed
                try:
                    client.push("p.src", [{"id": row}], key=f"row {row}")
                    self.pushed += 1
                except (ConfigError, ConflictError, NotFoundError) as error:
                    self.error = error
                    return
                except OdibiError:
                    self.again += 1


def test_given_producers_while_processes_are_killed_then_every_row_is_there_once(system: System) -> None:
    system.start()
    producers = [Producer(system.project, first) for first in (0, 1_000_000)]
    for one in producers:
        one.start()
    try:
        for role in ("source", "broker", "source", "checkpoint", "pool", "source"):
            at = [one.pushed for one in producers]
            until(
                "each has pushed more",
                lambda at=at: all(one.pushed > n + 5 for one, n in zip(producers, at, strict=True)),
            )
            system.kill(role)
    finally:
        for one in producers:
            one.stopping.set()
        for one in producers:
            one.join()
    assert [one.error for one in producers] == [None, None]
    wanted = sorted(row for one in producers for row in range(one.first, one.first + one.pushed))
    until("all is read", lambda: len(out(system)) >= len(wanted))
    found = out(system)
    # The last push of each may be durable, though nobody heard of it: it was pushed, and will be known again.
    extra = set(found) - set(wanted)
    assert extra <= {one.first + one.pushed for one in producers}
    assert sorted(set(found)) == found
    assert set(wanted) <= set(found)


@pytest.mark.soak
def test_given_a_pipeline_that_does_not_read_then_a_producer_is_told_to_come_again_and_nothing_is_lost(
    system: System,
) -> None:
    system.start()
    client = system.client
    client.pause("p")
    pushed = 0
    waits: list[str] = []

    def push_on() -> None:
        nonlocal pushed
        while True:
            client.push("p.src", [{"id": pushed}], timeout=5.0, on_wait=waits.append)
            pushed += 1

    with pytest.raises(TimedOutError, match=r"not taken yet: .* wait to be read, and at most 64\.0 KB may"):
        push_on()
    assert len(waits) == 1
    client.resume("p")
    client.push("p.src", [{"id": pushed}], timeout=60.0)
    until("all is read", lambda: out(system) == list(range(pushed + 1)))

    many = [{"id": one, "page": "x" * 100} for one in range(20_000)]
    assert client.push("wide.src", many, key="m", timeout=60.0) == {"rows": 20_000, "events": 3, "known": 0}
    assert client.push("wide.src", many, key="m", timeout=60.0)["known"] == 3
    with pytest.raises(
        ConflictError, match=r"was pushed before, as event \d, with other rows: push these with another key$"
    ):
        client.push("wide.src", [*many, {"id": 1, "page": "x"}], key="m")
    client.push("wide.src", [{"id": 1, "page": "y" * 3_000_000}], timeout=60.0)

    with pytest.raises(ConflictError, match=r"files.src is read by mode file_watch: only one of mode event is pushed"):
        client.push("files.src", [{"id": 1}])
    with pytest.raises(NotFoundError, match="there is no such source"):
        client.push("p.other", [{"id": 1}])
    with pytest.raises(OdibiError, match="the push, column id: the column is string"):
        client.push("p.src", [{"id": "x"}])
