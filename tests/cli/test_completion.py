"""What the shell offers after a Tab: names of the project and of the running system."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from odibi_actors.cli.__main__ import odibictl
from tests.cli.fake import FakeBroker
from tests.cli.scheduled import ANSWERS, HOURLY
from tests.cli.test_upcoming import PROJECT

Broker = Callable[..., FakeBroker]


def offered(words: list[str], incomplete: str = "") -> list[str]:
    shell = ShellComplete(odibictl, {}, "odibictl", "_ODIBICTL_COMPLETE")
    return [item.value for item in shell.get_completions(words, incomplete)]


@pytest.fixture
def scheduled(tmp_path: Path) -> Path:
    """A project with schedules."""
    (tmp_path / "odibi.yaml").write_text(PROJECT)
    return tmp_path


@pytest.mark.parametrize("command", [["schedule", "next"], ["schedule", "pause"], ["schedule", "show"]])
def test_given_a_project_then_its_schedules_are_offered_with_the_pipeline_where_that_is_needed(
    scheduled: Path, command: list[str]
) -> None:
    words = ["--project", str(scheduled), *command]
    assert offered(words) == ["nightly", "copy.both", "held", "other.both"]
    assert offered(words, "n") == ["nightly"]
    assert offered(words, "copy.") == ["copy.both", "copy.nightly", "copy.held"]


@pytest.mark.parametrize(
    "command",
    [["pipeline", "pause"], ["pipeline", "backfill"], ["iteration", "list"], ["run"], ["schedule", "add"]],
)
def test_given_a_project_then_its_pipelines_are_offered(scheduled: Path, command: list[str]) -> None:
    assert offered(["--project", str(scheduled), *command]) == ["copy", "other"]


def test_given_no_pipeline_then_those_of_the_project_are_named(
    scheduled: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def said(project: Path) -> str:
        return CliRunner().invoke(odibictl, ["--project", str(project), "run"]).output

    assert "Missing argument 'PIPELINE'. odibi.yaml has: copy, other\n" in said(scheduled)
    assert said(tmp_path_factory.mktemp("empty")).endswith("Missing argument 'PIPELINE'.\n")


def test_given_a_running_system_then_what_was_added_to_it_is_offered(broker: Broker, tmp_path: Path) -> None:
    endpoint = broker(ANSWERS).endpoint
    words = ["--project", str(tmp_path), "--endpoint", endpoint]
    assert offered([*words, "schedule", "show"]) == ["hourly", "nightly", "follow"]
    assert offered([*words, "pipeline", "runs"], "re") == ["report"]
    assert offered([*words, "backfill", "wait", "delays"]) == ["backfill-7", "delays"]


def test_given_the_same_schedule_in_both_then_it_is_offered_once(broker: Broker, scheduled: Path) -> None:
    rows = [{**HOURLY, "pipeline": "copy", "schedule": "nightly"}]
    endpoint = broker({"schedule.list": {"items": rows}}).endpoint
    words = ["--project", str(scheduled), "--endpoint", endpoint, "schedule", "show"]
    assert offered(words, "ni") == ["nightly"]


def test_given_neither_project_nor_system_then_nothing_is_offered_and_nothing_fails(tmp_path: Path) -> None:
    assert offered(["--project", str(tmp_path), "schedule", "show"]) == []
    (tmp_path / "odibi.yaml").write_text("project: [\n")
    assert offered(["--project", str(tmp_path), "schedule", "show"]) == []
