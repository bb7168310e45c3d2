"""The JSON Schema knows schedules and alerts: what ``load_project`` takes an editor takes too."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from ruamel.yaml import YAML

from odibi_actors.config import config_schema
from odibi_actors.errors import ConfigError
from tests.config.conftest import VALID, Project
from tests.config.scheduled import with_schedule
from tests.config.schemas import accepts
from tests.config.test_schedules import SCHEDULES

SCHEMA = config_schema()


def parsed(text: str) -> Any:
    """As an editor reads it: YAML 1.2, dates are text."""
    yaml = YAML(typ="safe", pure=True)
    yaml.constructor.yaml_constructors.pop("tag:yaml.org,2002:timestamp", None)
    yaml.constructor.add_constructor("tag:yaml.org,2002:timestamp", lambda loader, node: node.value)
    return yaml.load(text)


def schedule(name: str) -> dict[str, Any]:
    pipeline = SCHEMA["properties"]["pipelines"]["items"]["properties"]
    found = pipeline["schedules"]["items"]["properties"][name]
    assert isinstance(found, dict)
    return found


def test_given_the_valid_project_then_the_schema_accepts_it_and_not_every_change() -> None:
    assert accepts(SCHEMA, parsed(VALID))
    assert not accepts(SCHEMA, parsed(VALID.replace("workers: 2", "workers: 0")))
    assert not accepts(SCHEMA, parsed(VALID.replace("nodes:", "nods:")))


@pytest.mark.parametrize(
    "text",
    [
        '{name: a, cron: "0 * * * *", timezone: Europe/Berlin, dst: utc, exclude: [2026-12-25, "2026-12-26"]}',
        "{name: a, every: 5m, start: 2026-01-01T06:00, end: 2027-01-01, jitter: 5s, deadline: 1h, paused: true}",
        "{name: a, every: 5m, catch_up: {window: 1d, policy: all, max: 5, grace: 0s}, overlap: allow}",
        "{name: a, every: 5m, params: {a: [1]}}",
        "{name: a, after: delays}",
        "{name: a, after: [delays]}",
        "{name: a, after: {any: [delays]}}",
        "{name: a, file_watch: {connection: landing, path: x, pattern: '*.csv', per: set, settle: 5s}}",
    ],
)
def test_given_a_schedule_that_loads_then_the_schema_accepts_it(project: Project, text: str) -> None:
    project.write("odibi.yaml", with_schedule(text))
    assert project.load()
    assert accepts(SCHEMA, parsed(with_schedule(text)))


@pytest.mark.parametrize("text", ["{log: true}", "{on: failure, webhook: 'http://a/'}", "{on: [lateness], log: true}"])
def test_given_an_alert_that_loads_then_the_schema_accepts_it(project: Project, text: str) -> None:
    whole = f"{VALID}    alerts: [{text}]\nalerts: [{text}]\n"
    project.write("odibi.yaml", whole)
    assert project.load()
    assert accepts(SCHEMA, parsed(whole))


@given(SCHEDULES)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_loads_the_schema_accepts(project: Project, values: dict[str, Any]) -> None:
    text = with_schedule(msgspec.json.encode(values).decode())
    project.write("odibi.yaml", text)
    try:
        project.load()
    except ConfigError:
        return
    assert accepts(SCHEMA, parsed(text))


@pytest.mark.parametrize(
    "text",
    [
        "{name: a}",
        "{every: 1h}",
        "{name: a, every: 1h, after: delays}",
        "{name: a, every: 5}",
        "{name: a, every: 1h, overlap: queue}",
        "{name: a, every: 1h, catch_up: {max: 0}}",
        "{name: a, every: 1h, exclude: 2026-05-01}",
        "{name: a, after: []}",
        "{name: a, after: {all: [delays], any: [delays]}}",
        "{name: a, file_watch: {path: in, per: day}}",
        "{name: a, every: 1h, evry: 1h}",
    ],
)
def test_given_a_schedule_of_the_wrong_shape_then_the_schema_refuses_it_too(text: str) -> None:
    assert not accepts(SCHEMA, parsed(with_schedule(text)))


def test_given_alerts_of_the_wrong_shape_then_the_schema_refuses_them_too() -> None:
    for text in ("{on: failure}", "{log: false}", "{log: true, webhook: 'http://a/'}", "{on: fail, log: true}"):
        assert not accepts(SCHEMA, parsed(f"{VALID}alerts: [{text}]\n")), text


def test_given_defaults_that_hold_then_they_are_in_the_schema_and_no_others() -> None:
    assert {name: schedule(name)["default"] for name in ("timezone", "dst", "paused", "jitter")} == {
        "timezone": "UTC",
        "dst": "vixie",
        "paused": False,
        "jitter": "0s",
    }
    assert all("default" not in schedule(name) for name in ("cron", "every", "overlap", "start", "end", "deadline"))
    catch_up = schedule("catch_up")["properties"]
    assert {name: key["default"] for name, key in catch_up.items()} == {
        "window": "1h",
        "policy": "latest",
        "max": 100,
        "grace": "1m",
    }
