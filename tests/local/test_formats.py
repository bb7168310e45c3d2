"""What verbs print of a real project: for programs the same frame everywhere, for people nothing lost."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from odibi_actors.cli.__main__ import odibictl
from odibi_actors.config.model import ProjectSpec
from odibi_actors.local import run_pipeline
from tests.local.test_run import add, project

__all__ = ["project"]

READING = (
    *("validate", "doctor", "graph sales", "try sales", "status"),
    *("pipeline list", "pipeline show sales", "pipeline runs sales"),
    *("schedule list", "schedule next --cron '0 2 * * *' --timezone UTC", "backfill list"),
    *("iteration list sales", "iteration show sales 1"),
    *("node list sales 1", "node show sales 1 orders"),
    *("source list", "source show sales.orders", "source why orders-2025-01-01.csv"),
    *("sink list", "sink show sales.lake_orders", "worker list", "deadletter list", "alert list"),
    *("checkpoint stats", "checkpoint verify", "run sales", "reset sales --targets --dry-run"),
)
"""Tried here, on a project that has run and has failed of one file."""
RUNNING = {
    *("init", "up", "apply", "pipeline trigger", "pipeline backfill", "pipeline rewind"),
    *("schedule show", "schedule add", "schedule remove", "schedule pause", "schedule resume", "schedule history"),
    *("backfill show", "backfill cancel", "backfill wait", "iteration cancel", "iteration abandon", "iteration wait"),
    *(
        "source files",
        "source pause",
        "source resume",
        "source unpin",
        "sink adopt",
        "sink repin",
        "sink compact",
        "event push",
        "deadletter show",
        "deadletter replay",
        "deadletter discard",
    ),
}
"""They change something, or need a schedule, a backfill, a running system."""


def verbs(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Those that print for programs."""
    for name, one in getattr(command, "commands", {}).items():
        yield from verbs(one, (*path, name))
    if any("--output" in param.opts for param in command.params) and not hasattr(command, "commands"):
        yield " ".join(path)


@pytest.fixture
def ran(project: ProjectSpec) -> ProjectSpec:
    run_pipeline(project, "sales")
    add(project, "orders-9.csv", "1,2024-01-05,fr,oops,2")
    run_pipeline(project, "sales")
    return project


def test_given_each_verb_when_it_prints_json_then_schema_is_the_number_of_the_format(ran: ProjectSpec) -> None:
    for verb in READING:
        result = CliRunner().invoke(odibictl, [*shlex.split(verb), "-o", "json", "--project", ran.root])
        assert result.stdout, (verb, result.exit_code, result.stderr)
        assert json.loads(result.stdout)["schema"] == 1, verb


def test_given_a_verb_that_prints_json_then_it_is_tried_here_or_listed() -> None:
    def tried(verb: str) -> bool:
        return any(f"{one} ".startswith(f"{verb} ") for one in READING)

    assert {verb for verb in verbs(odibictl) if not tried(verb)} == RUNNING
