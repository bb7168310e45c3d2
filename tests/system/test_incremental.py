"""A file that grows while a system runs and its processes are killed: every row is there once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.harness import System, until

YAML = """\
project: grow
workers: 1
connections:
  landing: {type: local, path: in}
  lake: {type: local, path: out}
pipelines:
  - pipeline: p
    batch: {max_rows: 20}
    nodes:
      - {name: log, read: {connection: landing, format: json, mode: incremental, pattern: "*.jsonl"}}
      - {name: out, inputs: [log], write: {connection: lake, path: t, format: csv}}
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


def test_given_a_file_that_grows_while_processes_are_killed_then_every_row_is_there_once(system: System) -> None:
    system.start()
    rows = 0
    with (system.project / "in/a.jsonl").open("a", buffering=1) as file:
        for role in ("source", "broker", "pool", "checkpoint"):
            for _ in range(30):
                file.write(f'{{"id": {rows}}}\n')
                rows += 1
            least = max(0, rows - 60)
            until("something more is read", lambda least=least: len(out(system)) > least)
            file.write(f'{{"id": {rows}')  # half a line
            system.kill(role)
            file.write("}\n")
            rows += 1
    until("all is read", lambda: len(out(system)) >= rows)
    assert out(system) == list(range(rows))
