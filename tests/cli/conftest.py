"""A broker to talk to, a project to work in, and a way to call ``odibictl`` in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from odibi_actors.cli.__main__ import odibictl
from tests.cli.fake import FakeBroker

Invoke = Callable[..., Result]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ODIBI_PROJECT", "ODIBI_ENDPOINT", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def invoke() -> Invoke:
    """``invoke("status", "-o", "json")`` -> its Result; stdout and stderr apart."""

    def call(*args: object, **kwargs: Any) -> Result:
        return CliRunner().invoke(odibictl, [str(arg) for arg in args], **kwargs)

    return call


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Callable[..., FakeBroker]]:
    """``broker({"status": {...}})`` starts a fake broker that ends with the test."""
    with ExitStack() as stack:
        yield lambda answers, **how: stack.enter_context(FakeBroker(tmp_path, answers, **how))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a small valid project."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "odibi.yaml").write_text(
        """\
project: small
connections:
  landing: {type: local, path: data/landing}
  lake: {type: local, path: data/lake}
pipelines:
  - pipeline: copy
    nodes:
      - name: incoming
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv"}
      - name: kept
        inputs: [incoming]
        transform: {sql: "select * from incoming  -- all of it"}
      - name: out
        inputs: [kept]
        write: {connection: lake, path: out, format: parquet}
"""
    )
    return root
