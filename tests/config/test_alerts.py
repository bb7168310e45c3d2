"""Alerts in the project file: whose they are, and that a command is only ever a file of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from odibi_actors.config.model import AlertSpec
from odibi_actors.config.received import unsound
from tests.config.conftest import VALID, Project
from tests.config.scheduled import pipeline


@pytest.fixture
def notified(project: Project) -> Project:
    """A project with an executable bin/alert.sh, and bin/other.sh that is not executable."""
    for name, mode in (("alert.sh", 0o755), ("other.sh", 0o644)):
        project.write(f"bin/{name}", "#!/bin/sh\n")
        (project.root / "bin" / name).chmod(mode)
    return project


def with_alerts(*alerts: str) -> str:
    """The valid project, its alerts from line 27 on."""
    return VALID + "alerts:\n" + "".join(f"  - {one}\n" for one in alerts)


def test_given_alerts_then_the_spec_holds_them_with_defaults(notified: Project) -> None:
    hook = "https://hooks.example.org/x?y=1"
    notified.write(
        "odibi.yaml",
        with_alerts(
            "{log: true}",
            "{on: failure, command: ./bin/alert.sh, throttle: 0s}",
            f'{{on: [lateness, recovery], webhook: "{hook}"}}',
        ),
    )
    spec = notified.load()
    assert spec.pipelines[0].alerts == [
        AlertSpec(log=True, throttle=300.0),
        AlertSpec(on=["failure"], command="bin/alert.sh", throttle=0.0),
        AlertSpec(on=["lateness", "recovery"], webhook=hook),
    ]
    assert unsound(spec) == ""


def test_given_alerts_of_project_and_pipeline_then_each_pipeline_has_its_own_first_and_none_twice(
    project: Project,
) -> None:
    own = "    alerts: [{on: failure, log: true}, {webhook: 'http://a/'}]\n"
    text = with_alerts("{log: true}", "{webhook: 'http://a/'}")
    first, rest = text.split("alerts:\n")
    project.write("odibi.yaml", first + pipeline("report", trigger="manual", more=own) + "alerts:\n" + rest)
    log, hook = AlertSpec(log=True), AlertSpec(webhook="http://a/")
    delays, report = project.load().pipelines
    assert delays.alerts == [log, hook]
    assert report.alerts == [AlertSpec(on=["failure"], log=True), hook, log]


REFUSED = [
    ("{on: failure}", ["27:5: alerts[0]: needs one of: command, webhook, log"]),
    ("{log: true, webhook: 'http://a/'}", [
        '27:17: alerts[0].webhook: only one of command, webhook, log, and "log" is there; keep one']),
    ("{log: false}", ["27:11: alerts[0].log: can only be true; write true, or delete it"]),
    ("{on: fail, log: true}", [
        '27:10: alerts[0].on: unknown value (got fail); did you mean "failure"?']),
    ("{on: [failure, failure], log: true}", ["27:20: alerts[0].on[1]: listed twice (got failure)"]),
    ("{on: [], log: true}", ["27:10: alerts[0].on: must not be empty"]),
    ("{log: true, throttle: soon}", ["27:27: alerts[0].throttle: not a duration (got soon); "
        "write a number and a unit, such as 250ms, 10s, 5m, 1h or 7d"]),
    ("{webhook: hooks.example.org/x}", ["27:15: alerts[0].webhook: must begin with http:// or https://"
        "; such as https://hooks.example.org/odibi"]),
    ("{webhook: 'file:///etc/passwd'}", ["27:15: alerts[0].webhook: must begin with http:// or https://"
        "; such as https://hooks.example.org/odibi"]),
    ("{webhook: 'https:///x'}", ["27:15: alerts[0].webhook: names no host; "
        "such as https://hooks.example.org/odibi"]),
    ("{webhook: 'https://a:b@c/'}", ["27:15: alerts[0].webhook: must not hold a user or password"
        "; such as https://hooks.example.org/odibi"]),
    ("{webhook: 'https://a:99999/'}", ["27:15: alerts[0].webhook: not a URL: Port out of range 0-65535"
        "; such as https://hooks.example.org/odibi"]),
    ("{command: bin/other.sh}", [
        "27:15: alerts[0].command: is not executable (got bin/other.sh); chmod +x bin/other.sh"]),
    ("{command: bin/alrt.sh}", [
        '27:15: alerts[0].command: there is no such file (got bin/alrt.sh); did you mean "bin/alert.sh"?']),
    ("{command: tools/x}", ["27:15: alerts[0].command: there is no such file (got tools/x); "
        "write it, and chmod +x it"]),
    ("{command: bin}", ["27:15: alerts[0].command: is a folder (got bin); name a file in it"]),
    ("{command: bin/alert.sh --loud}", ["27:15: alerts[0].command: is run without arguments "
        "(got bin/alert.sh --loud); write a script that calls bin/alert.sh"]),
    ("{command: /bin/sh}", ["27:15: alerts[0].command: leads out of the project's folder (got /bin/sh); "
        "name a file of the project, such as bin/alert.sh"]),
    ("{command: bin/../../x}", ["27:15: alerts[0].command: leads out of the project's folder (got bin/../../x); "
        "name a file of the project, such as bin/alert.sh"]),
    ("{command: ~/x}", ["27:15: alerts[0].command: leads out of the project's folder (got ~/x); "
        "name a file of the project, such as bin/alert.sh"]),
    ("{command: .odibi/x}", ["27:15: alerts[0].command: lies in data_dir, which belongs to the system "
        "(got .odibi/x); choose another place"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), REFUSED)
def test_given_an_alert_that_cannot_be_then_it_is_told_where_what_and_how_to_fix(
    notified: Project, text: str, expected: list[str]
) -> None:
    notified.write("odibi.yaml", with_alerts(text))
    assert notified.problems() == [f"odibi.yaml:{line}" for line in expected]


def test_given_a_link_to_a_command_elsewhere_then_it_is_refused(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("other") / "alert.sh"
    outside.write_text("#!/bin/sh\n")
    outside.chmod(0o755)
    (project.root / "alert.sh").symlink_to(outside)
    project.write("odibi.yaml", with_alerts("{command: alert.sh}"))
    assert "leads out of the project's folder (got alert.sh); a link must stay in it, too" in project.problems()[0]


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to(path)])
def test_given_a_command_that_is_a_pipe_or_a_link_to_itself_then_it_is_refused(project: Project, make: object) -> None:
    assert callable(make)
    make(Path(project.root / "odd"))
    project.write("odibi.yaml", with_alerts("{command: odd}"))
    assert "alerts[0].command: there is no such file (got odd)" in project.problems()[0]


def test_given_a_webhook_from_a_variable_then_a_problem_does_not_show_it(project: Project) -> None:
    project.write("odibi.yaml", with_alerts('{webhook: "${HOOK}"}'))
    (problem,) = project.problems({"HOOK": "ftp://secret"})
    assert "secret" not in problem
    assert project.load({"HOOK": "https://a/secret"}).pipelines[0].alerts == [AlertSpec(webhook="https://a/secret")]


@pytest.mark.parametrize("value", ["ftp://hooks.slack.com/T0/s3cr3tcanary", "[x, s3cr3tcanary]", "{a: s3cr3tcanary}"])
def test_given_a_webhook_that_is_wrong_then_the_problem_does_not_show_it(project: Project, value: str) -> None:
    project.write("odibi.yaml", with_alerts(f"{{webhook: {value}}}"))
    problems = project.problems()
    assert problems
    assert "s3cr3tcanary" not in "".join(problems)
