"""Long lists: nothing of one is left out in silence, whatever the format."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest
from click.testing import CliRunner

from odibi_actors.cli.__main__ import odibictl
from odibi_actors.cli.base import App, Command, lists, pass_app
from odibi_actors.cli.output import emit
from odibi_actors.cli.paging import limited, pages

ROWS = [{"id": number} for number in range(2500, 0, -1)]


def ask(limit: int, before: int | None) -> dict[str, Any]:
    """As the store answers."""
    left = [row for row in ROWS if before is None or row["id"] < before]
    found = left[: min(limit, 1000)]
    more = {"total": len(ROWS), "next": found[-1]["id"]} if len(left) > len(found) else {}
    return {"items": found, **more}


@click.command(cls=Command)
@limited()
@lists
@pass_app
def listing(app: App, limit: int | None) -> None:
    emit(app, lambda: pages(ask, limit), "id", lambda result: [f"{len(result['items'])} rows"])


@pytest.mark.parametrize(
    ("words", "number", "told"),
    [
        ([], 20, "20 of 2,500; --limit N or --all shows the others\n"),
        (["-n", "1500"], 1500, "1,500 of 2,500; --limit N or --all shows the others\n"),
        (["--all"], 2500, ""),
        (["--all", "-n", "3"], 2500, ""),
        (["-n", "3", "--all"], 2500, ""),
        (["-n", "2500"], 2500, ""),
    ],
)
def test_given_a_long_list_then_what_is_left_out_is_told_in_every_format(
    words: list[str], number: int, told: str
) -> None:
    runner = CliRunner()
    for form in ("table", "name", "json"):
        done = runner.invoke(listing, [*words, "-o", form])
        assert (done.exit_code, done.stderr) == (0, told), done.output
    found = json.loads(done.stdout)
    assert found["items"] == ROWS[:number]
    assert found.get("total") == (len(ROWS) if told else None)


def test_given_any_command_then_a_limit_comes_with_all() -> None:
    """A list that has a limit of its own would not say what it leaves out."""

    def walk(command: click.Command) -> None:
        names = {param.name for param in command.params}
        assert ("limit" in names) == ("all_" in names), command.name
        for one in getattr(command, "commands", {}).values():
            walk(one)

    walk(odibictl)
