"""``odibictl schedule`` and ``alert``: what each command asks, what it prints, how it exits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result
from ruamel.yaml import YAML

from odibi_actors.cli import output, schedule
from odibi_actors.cli.names import _params, params_text
from odibi_actors.cli.schedule_skips import HELP, helps, summary
from odibi_actors.messages import Reply
from tests.cli.fake import FakeBroker
from tests.cli.scheduled import ANSWERS, FOLLOW, HOUR, HOURLY, NOW, OCCURRENCES, OLDER, SPEC, listed

Broker = Callable[..., FakeBroker]
Invoke = Callable[..., Result]


def interrupt_after(looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the pause after so many looks of a ``--watch``."""
    left = iter(range(looks - 1))

    def tick(_: float) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(output.time, "sleep", tick)


VIEWS = [
    (("schedule", "list"), "report.hourly\nsales.nightly\nsales.follow\n"),
    (("schedule", "show", "hourly"), "report.hourly\n"),
    (("schedule", "history", "hourly"), "2026-03-08T04:00:00\n2026-03-08T03:00:00\n"),
    (("schedule", "pause", "hourly"), "report.hourly\n"),
    (("schedule", "resume", "hourly"), "report.hourly\n"),
    (("schedule", "remove", "nightly", "-y"), "sales.nightly\n"),
    (("schedule", "remove", "nightly", "--dry-run"), "sales.nightly\n"),
    (("schedule", "add", "report", "x", "--cron", "@daily", "--paused"), "report.x\n"),
    (("schedule", "add", "report", "x", "--every", "5m", "--dry-run"), "report.x\n"),
    (("alert", "list"), "3\n2\n"),
    (("pipeline", "runs", "report"), "report.hourly@2026-03-08T04:00:00\n"),
    (("backfill", "list"), "backfill-7\n"),
    (("backfill", "show", "delays", "7"), "backfill-7\n"),
    (("backfill", "cancel", "delays", "7", "-y"), "backfill-7\n"),
    (("backfill", "cancel", "delays", "7", "--dry-run"), "backfill-7\n"),
    (("pipeline", "backfill", "delays", "--files", "*.csv", "--dry-run"), "delays\n"),
]
LISTS = [("schedule", "list"), ("alert", "list"), ("pipeline", "runs", "report"), ("backfill", "list")]


@pytest.mark.parametrize(
    ("command", "names"), VIEWS, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_given_any_command_then_every_format_is_what_it_says(
    broker: Broker, invoke: Invoke, command: tuple[str, ...], names: str
) -> None:
    endpoint = broker(ANSWERS).endpoint
    results = {form: invoke("--endpoint", endpoint, *command, "-o", form) for form in ("table", "json", "yaml", "name")}
    assert [(r.exit_code, r.stderr) for r in results.values()] == [(0, "")] * 4
    data = json.loads(results["json"].stdout)
    assert data["schema"] == 1
    assert YAML(typ="safe").load(results["yaml"].stdout).keys() == data.keys()
    assert results["name"].stdout == names
    assert names.splitlines()[0].partition("T")[0] in results["table"].stdout


@pytest.mark.parametrize("command", LISTS)
def test_given_an_empty_list_then_it_is_no_error(broker: Broker, invoke: Invoke, command: tuple[str, ...]) -> None:
    endpoint = broker({verb: {"items": []} for verb in ANSWERS}).endpoint
    assert json.loads(invoke("--endpoint", endpoint, *command, "-o", "json").stdout) == {"schema": 1, "items": []}
    result = invoke("--endpoint", endpoint, *command)
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 1)


# --- views ------------------------------------------------------------------------------------------------------------


def test_given_schedules_then_the_list_has_next_last_and_why_most_were_skipped(broker: Broker, invoke: Invoke) -> None:
    lines = invoke("--endpoint", broker(ANSWERS).endpoint, "schedule", "list").stdout.splitlines()
    hourly, nightly, follow = lines[1:4]
    assert "in 12h" in hourly
    assert "2026-03-08 01:00: done" in hourly
    assert "12 (9 overlap)" in hourly
    assert "paused" in nightly
    assert "in 9h" not in nightly, "a paused schedule has no next time"
    assert "report=41: active" in follow
    assert lines[4] == "! sales.follow: pipeline report is no longer in odibi.yaml: nothing starts it"


def test_given_more_than_the_broker_lists_then_their_number_is_told_and_names_need_a_pipeline(
    broker: Broker, invoke: Invoke
) -> None:
    endpoint = broker({**ANSWERS, "schedule.list": {**listed({}), "more": 99_000}}).endpoint
    for form in ("table", "json"):
        told = invoke("--endpoint", endpoint, "schedule", "list", "-o", form).stderr
        assert told == "3 of 99,003; name a pipeline to see its own\n"
    assert "99,003 schedules" in invoke("--endpoint", endpoint, "status").stdout
    result = invoke("--endpoint", endpoint, "schedule", "show", "hourly")
    assert result.exit_code == 2
    assert "PIPELINE.hourly" in result.stderr
    assert invoke("--endpoint", endpoint, "schedule", "show", "report.hourly").exit_code == 0


def test_given_a_schedule_the_store_was_not_told_of_yet_then_it_is_shown_without_occurrences(
    broker: Broker, invoke: Invoke
) -> None:
    answers = {**ANSWERS, "occurrence.list": Reply("", 3, None, "pipeline report has no schedule hourly")}
    result = invoke("--endpoint", broker(answers).endpoint, "schedule", "show", "hourly")
    assert result.exit_code == 0
    assert "none is kept of 312 started and 12 skipped: they are pruned" in result.stdout


def test_given_a_pipeline_then_only_its_schedules_are_asked_for(broker: Broker, invoke: Invoke) -> None:
    fake = broker(ANSWERS)
    result = invoke("--endpoint", fake.endpoint, "schedule", "list", "sales", "-o", "name")
    assert result.stdout == "sales.nightly\nsales.follow\n"
    assert fake.requests("schedule.next")[0].params == {"pipeline": "sales"}


def test_given_no_scheduler_then_everything_else_is_listed(broker: Broker, invoke: Invoke) -> None:
    away = Reply("", 69, None, "the scheduler is not connected")
    result = invoke("--endpoint", broker({**ANSWERS, "schedule.next": away}).endpoint, "schedule", "list", "-o", "json")
    assert result.exit_code == 0
    assert [row["next"] for row in json.loads(result.stdout)["items"]] == [None] * 3
    assert "the next due times are not known: the scheduler is not connected" in result.stderr


def test_given_no_scheduler_when_watched_then_that_is_told_once(
    broker: Broker, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(3, monkeypatch)
    fake = broker({**ANSWERS, "schedule.next": Reply("", 69, None, "the scheduler is not connected")})
    result = invoke("--endpoint", fake.endpoint, "schedule", "list", "--watch")
    assert result.exit_code == 130
    assert len(fake.requests("schedule.list")) == 3
    assert result.stderr.count("not connected") == 1


def test_given_only_schedules_without_a_clock_then_the_scheduler_is_not_asked(broker: Broker, invoke: Invoke) -> None:
    fake = broker({**ANSWERS, "schedule.list": {"items": [FOLLOW]}})
    assert invoke("--endpoint", fake.endpoint, "schedule", "list").exit_code == 0
    assert fake.requests("schedule.next") == []


def test_given_a_schedule_then_show_tells_every_skip_with_its_reason_and_what_helps(
    broker: Broker, invoke: Invoke
) -> None:
    out = invoke("--endpoint", broker(ANSWERS).endpoint, "schedule", "show", "hourly").stdout
    rows = [line.split() for line in out.splitlines()]
    assert ["skipped", "12"] in rows
    counted = {line[1]: int(line[0]) for line in rows if line and line[0].isdigit()}
    assert counted == {"overlap": 9, "paused": 3}
    assert "`overlap: buffer_one` lets one wait" in out
    assert "overlap: run report.hourly@2026-03-08T01:00:00" in out, "the reason of a recent one, in full"
    assert "2026-03-01 01:00:00 to 2026-03-01 03:00:00" in out, "older than those listed, and skipped"
    assert out.count("2026-03-08 03:00:00") == 1


def test_given_occurrences_that_wait_then_show_lists_them(broker: Broker, invoke: Invoke) -> None:
    waits = [{"id": "2026-03-08T05:00:00", "due": NOW - 10.2 * HOUR, "at": NOW - 10.2 * HOUR}]
    answers = {**ANSWERS, "schedule.show": {**HOURLY, "waiting": 1, "spec": SPEC, "waits": waits}}
    out = invoke("--endpoint", broker(answers).endpoint, "schedule", "show", "hourly").stdout
    assert "2026-03-08 05:00:00  10h ago" in out


@pytest.mark.parametrize(
    "reason",
    [
        "overlap: run R in progress", "overlap: one waits already", "buffer full: 100 occurrences wait", "paused",
        "pipeline paused", "pipeline draining", "pipeline removed", "outside catch_up.window",
        "late, catch_up.policy none", "superseded by a later one", "over catch_up.max",
    ],
)  # fmt: skip
def test_given_a_reason_then_what_it_means_is_known_in_full_and_by_its_kind(reason: str) -> None:
    assert helps(reason)
    assert helps(reason.partition(":")[0])
    assert len(HELP) == len({begin for begin, _ in HELP})


def test_given_an_iteration_that_holds_the_pipeline_then_the_reason_is_not_told_as_a_run_in_progress() -> None:
    assert "`odibictl iteration retry PIPELINE N`" in (helps("overlap: iteration 2 is failed and holds its lane") or "")


def test_given_skips_then_their_summary_is_the_number_and_the_main_reason() -> None:
    assert summary({"skipped": 0, "reasons": {}}) is None
    assert summary({"skipped": 1200, "reasons": {"paused": 1200}}) == "1,200 (paused)"
    assert summary({"skipped": 5, "reasons": {"paused": 2, "overlap": 3}}) == "5 (3 overlap)"


def test_given_a_history_then_state_and_limit_are_asked_of_the_store(broker: Broker, invoke: Invoke) -> None:
    fake = broker(ANSWERS)
    out = invoke(
        "--endpoint", fake.endpoint, "schedule", "history", "report.hourly", "--state", "skipped", "--limit", 5
    ).stdout
    wanted = {"pipeline": "report", "schedule": "hourly", "state": "skipped", "limit": 5}
    assert [request.params for request in fake.requests("occurrence.list")] == [wanted]
    assert fake.requests("schedule.list") == [], "a full name needs no looking up"
    assert out.splitlines()[2].split()[:6] == ["2026-03-01", "01:00:00", "to", "2026-03-01", "03:00:00", "skipped"]
    assert OLDER["reason"] in out
    assert OCCURRENCES[0]["run"] not in out


def test_given_alerts_then_who_was_not_told_is_plain(broker: Broker, invoke: Invoke) -> None:
    alerts = ANSWERS["alert.list"]["items"]
    failed = {**alerts[0], "error": "bin/tell: exit code 1", "told_at": NOW}
    fake = broker({"alert.list": {"items": [failed, *alerts]}})
    lines = invoke("--endpoint", fake.endpoint, "alert", "list", "report", "-n", 5).stdout.splitlines()
    assert "failed: bin/tell: exit code 1" in lines[1]
    assert "not yet" in lines[2]
    assert "ago" in lines[3].partition("report")[2]
    assert fake.requests("alert.list")[0].params == {"pipeline": "report", "limit": 5}


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["show", "pause", "resume", "history", "remove", "next"])
def test_given_a_name_of_several_then_2_and_they_are_named(broker: Broker, invoke: Invoke, verb: str) -> None:
    fake = broker({**ANSWERS, "schedule.list": {"items": [HOURLY, {**HOURLY, "pipeline": "sales"}]}})
    result = invoke("--endpoint", fake.endpoint, "schedule", verb, "hourly")
    assert result.exit_code == 2
    assert "name one of: report.hourly, sales.hourly" in result.stderr
    assert {request.verb for _, request in fake.seen if hasattr(request, "verb")} == {"schedule.list"}


def test_given_an_unknown_name_then_3_and_what_was_meant(broker: Broker, invoke: Invoke) -> None:
    endpoint = broker(ANSWERS).endpoint
    result = invoke("--endpoint", endpoint, "schedule", "show", "hourli")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "did you mean 'hourly'?" in result.stderr


# --- changing ---------------------------------------------------------------------------------------------------------


def add(broker: Broker, invoke: Invoke, *options: str, project: Path | None = None) -> tuple[Result, list[Any]]:
    fake = broker(ANSWERS)
    where = ("--project", project) if project else ()
    result = invoke("--endpoint", fake.endpoint, *where, "schedule", "add", "report", "x", *options)
    return result, [request.params for request in fake.requests("schedule.add")]


def test_given_options_when_added_then_the_whole_spec_is_sent(broker: Broker, invoke: Invoke) -> None:
    result, [sent] = add(
        broker, invoke, "--cron", "30 2 * * *", "--timezone", "Europe/Berlin", "--dst", "literal",
        "--overlap", "buffer_all", "--catch-up", "all", "--window", "2h", "--max", "7", "--grace", "5s",
        "--jitter", "10s", "--start", "2026-01-01", "--end", "2026-07-01T00:00Z", "--exclude", "2026-03-01",
        "--exclude", "2026-03-02", "--deadline", "30m", "--param", "full=true", "--param", 'n="3"',
        "--description", "each night",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "odibictl schedule next report.x" in result.stderr
    assert sent == {
        "pipeline": "report",
        "replace": False,
        "spec": {
            "name": "x", "cron": "30 2 * * *", "every": 0.0, "after": [], "after_any": False, "file_watch": None,
            "timezone": "Europe/Berlin", "dst": "literal", "overlap": "buffer_all",
            "catch_up": {"window": 7200.0, "policy": "all", "max": 7, "grace": 5.0}, "jitter": 10.0,
            "start": 1767222000.0, "end": 1782864000.0, "exclude": ["2026-03-01", "2026-03-02"], "deadline": 1800.0,
            "paused": False, "params": {"full": True, "n": "3"}, "description": "each night",
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        (["--every", "5m"], {"every": 300.0, "overlap": "skip"}),
        (["--after", "sales"], {"after": ["sales"], "after_any": False, "overlap": "buffer_one"}),
        (["--after", "sales", "--after", "delays"], {"after": ["sales", "delays"], "after_any": False}),
        (["--after-any", "sales", "--after-any", "delays"], {"after": ["sales", "delays"], "after_any": True}),
        (["--every", "1h", "--paused"], {"paused": True}),
    ],
)
def test_given_each_kind_when_added_then_it_is_that_kind(
    broker: Broker, invoke: Invoke, options: list[str], fields: dict[str, Any]
) -> None:
    result, [sent] = add(broker, invoke, *options)
    assert result.exit_code == 0, result.stderr
    assert {key: sent["spec"][key] for key in fields} == fields


@pytest.mark.parametrize(
    ("text", "folder", "pattern"),
    [
        ("landing:in-*.csv", "data/landing", "in-*.csv"),
        ("landing:a/b/*.csv", "data/landing/a/b", "*.csv"),
        ("landing:a/*/b.csv", "data/landing/a", "*/b.csv"),
        ("data/ready/*.done", "data/ready", "*.done"),
    ],
)
def test_given_files_when_added_then_folder_and_pattern_are_those_of_the_project(
    broker: Broker, invoke: Invoke, project: Path, text: str, folder: str, pattern: str
) -> None:
    result, [sent] = add(broker, invoke, "--file-watch", text, "--per", "set", project=project)
    assert result.exit_code == 0, result.stderr
    watch = sent["spec"]["file_watch"]
    assert (watch["folder"], watch["pattern"], watch["per"]) == (str(project / folder), pattern, "set")


def test_given_a_connection_that_no_node_uses_when_its_files_are_waited_for_then_it_is_found(
    broker: Broker, invoke: Invoke, project: Path
) -> None:
    file = project / "odibi.yaml"
    spare = "connections:\n  spare: {type: local, path: data/spare}\n"
    file.write_text(file.read_text().replace("connections:\n", spare, 1))
    result, [sent] = add(broker, invoke, "--file-watch", "spare:*.csv", project=project)
    assert result.exit_code == 0, result.stderr
    assert sent["spec"]["file_watch"]["folder"] == str(project / "data/spare")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "exactly one of --cron, --every, --after, --after-any, --file-watch"),
        (["--cron", "@daily", "--every", "5m"], "not --cron and --every"),
        (["--cron", "0 0 31 2 *"], "never comes"),
        (["--cron", "@daily", "--timezone", "Berlin"], 'did you mean "Europe/Berlin"?'),
        (["--after", "delys"], 'did you mean "delays"?'),
        (["--after", "report"], "cannot come after itself"),
        (["--every", "soon"], "not a duration"),
        (["--every", "5m", "--per", "set"], "--per goes with --file-watch"),
        (["--file-watch", "x.csv"], "'landing:orders-*.csv'"),
        (["--file-watch", "landing:x.csv"], "name it with --project DIR"),
        (["--cron", "@daily", "--param", "full"], "write KEY=VALUE"),
        (["--cron", "@daily", "--param", "a=1", "--param", "a=2"], "'a' is given twice"),
        (["--cron", "@daily", "--param", "a=[1"], "is no YAML value"),
        (["--cron", "@daily", "--param", "a=1\nb: 2"], "is no YAML value"),
    ],
)
def test_given_a_wrong_schedule_when_added_then_2_and_nothing_is_sent(
    broker: Broker, invoke: Invoke, tmp_path: Path, options: list[str], message: str
) -> None:
    result, sent = add(broker, invoke, *options, project=tmp_path)
    assert (result.exit_code, result.stdout, sent) == (2, "", [])
    assert message in result.stderr


def test_given_add_dry_run_then_it_says_when_and_sends_nothing(broker: Broker, invoke: Invoke) -> None:
    result, sent = add(broker, invoke, "--every", "1h", "--dry-run")
    lines = result.stdout.splitlines()
    assert sent == []
    assert lines[0] == "report.x: would be added"
    assert [line.split()[0] for line in lines[1:]] == ["due"] * 3


def test_given_another_one_of_the_name_when_added_then_4(broker: Broker, invoke: Invoke) -> None:
    exists = Reply("", 4, None, "report has a schedule x already, another one")
    fake = broker({**ANSWERS, "schedule.add": exists})
    result = invoke("--endpoint", fake.endpoint, "schedule", "add", "report", "x", "--every", "5m")
    assert result.exit_code == 4
    assert "has a schedule x already" in result.stderr


def test_given_remove_without_yes_then_it_asks_and_no_means_no(broker: Broker, invoke: Invoke) -> None:
    fake = broker(ANSWERS)
    result = invoke("--endpoint", fake.endpoint, "schedule", "remove", "follow", input="n\n")
    assert result.exit_code == 4, "one of odibi.yaml"
    assert "delete it there" in result.stderr
    result = invoke("--endpoint", fake.endpoint, "schedule", "remove", "nightly", input="n\n")
    assert result.exit_code == 1
    assert "Remove schedule sales.nightly?" in result.stderr
    assert fake.requests("schedule.remove") == []
    assert invoke("--endpoint", fake.endpoint, "schedule", "remove", "nightly", input="y\n").exit_code == 0
    assert [r.params for r in fake.requests("schedule.remove")] == [{"pipeline": "sales", "schedule": "nightly"}]


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_given_pause_and_resume_then_what_to_do_next_is_said(broker: Broker, invoke: Invoke, verb: str) -> None:
    fake = broker(ANSWERS)
    result = invoke("--endpoint", fake.endpoint, "schedule", verb, "hourly")
    assert "`odibictl schedule" in result.stdout
    assert [r.params for r in fake.requests(f"schedule.{verb}")] == [{"pipeline": "report", "schedule": "hourly"}]


# --- status -----------------------------------------------------------------------------------------------------------


def test_given_schedules_then_status_has_the_next_ones_and_a_line_for_each_problem(
    broker: Broker, invoke: Invoke
) -> None:
    out = invoke("--endpoint", broker(ANSWERS).endpoint, "status").stdout
    assert "3 schedules, 1 paused, 1 occurrence waiting, 14 skipped: `odibictl schedule list`" in out
    assert "next  report.hourly" in out
    assert "nothing runs" not in out
    rests = ANSWERS | {"status": ANSWERS["status"] | {"at_rest": 1.0}}
    assert "(nothing runs that would start it)" in invoke("--endpoint", broker(rests).endpoint, "status").stdout
    assert "sales.nightly" not in out, "it is paused"
    assert "! sales.follow: pipeline report is no longer in odibi.yaml: nothing starts it" in out


def test_given_very_many_problems_then_status_lists_some_and_counts_the_rest(broker: Broker, invoke: Invoke) -> None:
    rows = [{**FOLLOW, "schedule": f"s{number}"} for number in range(500)]
    result = invoke("--endpoint", broker({**ANSWERS, "schedule.list": {"items": rows}}).endpoint, "status")
    assert result.stdout.count("nothing starts it") == 10
    assert "! 490 schedules more: `odibictl schedule list`" in result.stdout


def test_given_no_pipeline_that_follows_a_schedule_then_status_asks_for_none(broker: Broker, invoke: Invoke) -> None:
    status = {**ANSWERS["status"], "pipelines": [{"pipeline": "p", "state": "active", "trigger": "data"}]}
    fake = broker({**ANSWERS, "status": status})
    assert "schedules" not in json.loads(invoke("--endpoint", fake.endpoint, "status", "-o", "json").stdout)
    assert fake.requests("schedule.list") == []


def test_given_nobody_who_knows_of_schedules_then_status_shows_the_rest(broker: Broker, invoke: Invoke) -> None:
    away = Reply("", 1, None, "no such verb")
    result = invoke("--endpoint", broker({**ANSWERS, "schedule.list": away}).endpoint, "status")
    assert result.exit_code == 0
    assert "report    active" in result.stdout


def test_given_a_status_that_is_watched_then_schedules_are_not_listed_every_second(
    broker: Broker, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(4, monkeypatch)
    fake = broker(ANSWERS)
    invoke("--endpoint", fake.endpoint, "status", "--watch")
    assert len(fake.requests("status")) == 4
    assert len(fake.requests("schedule.list")) == 1


def test_given_replace_when_added_then_the_broker_is_told_so(broker: Broker, invoke: Invoke) -> None:
    result, [sent] = add(broker, invoke, "--every", "5m", "--replace")
    assert result.exit_code == 0, result.stderr
    assert sent["replace"] is True


def test_given_occurrences_that_are_pruned_then_no_list_says_that_nothing_has_come_due() -> None:
    from odibi_actors.cli.schedule import none_kept

    assert none_kept({"started": 0, "skipped": 0}) == "nothing has come due yet"
    assert none_kept({"started": 30, "skipped": 2}) == (
        "none is kept of 30 started and 2 skipped: they are pruned (see history and history_size in odibi.yaml)"
    )


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"waiting": 0}, None),
        ({"waiting": 2, "arrived": 0}, "2"),
        ({"waiting": 1, "arrived": 2}, "3, 2 of them arrived"),
    ],
)
def test_given_what_waits_then_list_and_show_say_the_same(row: dict[str, int], said: str | None) -> None:
    (column,) = [one for one in schedule.COLUMNS if one.heading == "WAITING"]
    assert column.cell(row) == (said or "-")
    assert schedule.waiting(row) == said


def test_params_are_shown_as_they_are_given() -> None:
    values = {
        "full": True,
        "n": 3,
        "text": "3",
        "word": "yes",
        "plain": "fr",
        "none": None,
        "some": [1, "a"],
        "day": "",
    }
    told = params_text(values)
    assert told == 'full=true, n=3, text="3", word="yes", plain=fr, none=null, some=[1, "a"], day=""'
    option = click.Option(["--param"])
    context = click.Context(click.Command("x"))
    assert _params(context, option, [params_text({key: value}) for key, value in values.items()]) == values
