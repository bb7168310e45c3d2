"""A small valid project, and a way to load variants of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from odibi_actors.config import load_project
from odibi_actors.config.model import ProjectSpec
from odibi_actors.errors import ConfigError

VALID = """\
project: flights
workers: 2
connections:
  landing: {type: local, path: data/landing}
  lake: {type: local, path: data/lake}
  mart: {type: sqlite, path: data/mart.db}
pipelines:
  - pipeline: delays
    nodes:
      - name: flights
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv"}
      - name: clean
        inputs: [flights]
        transform: {function: "nodes.flights:clean", params: {max_delay: 600}}
      - name: by_carrier
        inputs: [clean]
        transform: {sql: "select carrier, count(*) as n from clean group by all"}
      - name: lake_flights
        inputs: [clean]
        write: {connection: lake, path: flights, format: parquet}
      - name: mart_delays
        inputs: [by_carrier]
        write: {connection: mart, table: delays, mode: upsert, keys: [carrier]}
    retry: {max_attempts: 3, initial: 1s}
    timeout: 10m
"""
MODULE = '''\
"""Node functions."""
from functools import partial


def clean(flights, max_delay=60, *, context=None):
    return flights


def join(left, right, how):
    return left


async def late(flights):
    return flights


short = partial(clean, max_delay=1)
'''


class Project:
    """A project folder on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("nodes/flights.py", MODULE)
        self.write("odibi.yaml", VALID)

    def write(self, name: str, text: str | bytes) -> None:
        """One file of the project."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def edit(self, old: str, new: str) -> None:
        """Replace ``old``, which must be there."""
        path = self.root / "odibi.yaml"
        text = path.read_text()
        assert old in text, old
        path.write_text(text.replace(old, new))

    def load(self, env: Mapping[str, str] | None = None) -> ProjectSpec:
        """Load it, with no environment but ``env``."""
        return load_project(self.root, env or {})

    def problems(self, env: Mapping[str, str] | None = None) -> list[str]:
        """The problems as shown; fails when there are none."""
        with pytest.raises(ConfigError) as caught:
            self.load(env)
        assert [str(problem) for problem in caught.value.problems] == str(caught.value).split("\n")
        return str(caught.value).split("\n")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The valid project, to be edited."""
    return Project(tmp_path)
