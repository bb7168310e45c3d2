"""Runs with parameters, and backfills: what is asked, previewed, waited for."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from odibi_actors import Client, client_verbs
from odibi_actors.cli.backfill import preview
from odibi_actors.cli.output import lines
from odibi_actors.errors import ConfigError, ConflictError, NotFoundError, TimedOutError
from odibi_actors.messages import Reply
from tests.cli.fake import FakeBroker
from tests.cli.scheduled import ANSWERS, BACKFILL, RUN

Broker = Callable[..., FakeBroker]
Invoke = Callable[..., Result]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_verbs, "POLL", 0.0)


def in_turn(*rows: dict[str, Any] | None) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What ``backfill.list`` answers, one after the other; the last one from then on."""
    left = list(rows)

    def answer(_: dict[str, Any]) -> dict[str, Any]:
        row = left.pop(0) if len(left) > 1 else left[0]
        return {"items": [] if row is None else [row]}

    return answer


# --- runs -------------------------------------------------------------------------------------------------------------


def test_given_parameters_when_triggered_then_they_are_what_yaml_makes_of_them(broker: Broker, invoke: Invoke) -> None:
    fake = broker(ANSWERS)
    words = ["day=2013-01-01", "n=3", "rate=0.5", "full=true", "text='3'", "none=", "list=[1, a]", "eq=a=b"]
    options = [part for word in words for part in ("--param", word)]
    result = invoke("--endpoint", fake.endpoint, "pipeline", "trigger", "report", *options)
    [sent] = fake.requests("pipeline.trigger")
    assert result.stdout == f"{sent.params['run']}\n"
    assert sent.params["params"] == {
        "day": "2013-01-01", "n": 3, "rate": 0.5, "full": True, "text": "3", "none": None, "list": [1, "a"],
        "eq": "a=b",
    }  # fmt: skip


@pytest.mark.parametrize("word", ["day", "=1", "a b=1", "a={", "a=1\nb: 2", "plz=01067"])
def test_given_what_is_no_parameter_when_triggered_then_2(broker: Broker, invoke: Invoke, word: str) -> None:
    fake = broker(ANSWERS)
    result = invoke("--endpoint", fake.endpoint, "pipeline", "trigger", "report", "--param", word)
    assert result.exit_code == 2
    assert ("would become 1067 as a number; quote it" in " ".join(result.stderr.split())) == (word == "plz=01067")
    assert fake.seen == []


def test_given_runs_then_cause_duration_and_error_are_shown(broker: Broker, invoke: Invoke) -> None:
    rows = [
        RUN,
        {
            **RUN,
            "run": "backfill-ab",
            "lane": "backfill-7",
            "cause": "backfill",
            "ended": None,
            "took": None,
            "error": "",
        },
    ]
    fake = broker({"run.list": {"items": rows}})
    out = invoke("--endpoint", fake.endpoint, "pipeline", "runs", "report", "--state", "failed", "-n", 9).stdout
    assert [request.params for request in fake.requests("run.list")] == [
        {"pipeline": "report", "state": "failed", "limit": 9}
    ]
    first, second = out.splitlines()[1:3]
    assert first.split()[1:3] == ["failed", "schedule"]
    assert " 42s " in first
    assert "ValueError" in first
    assert second.split()[2] == "backfill-7"
    endpoint = broker({"run.list": {"items": []}}).endpoint
    assert (
        "report has no runs that are failed"
        in invoke("--endpoint", endpoint, "pipeline", "runs", "report", "--state", "failed").stdout
    )
    assert (
        "what `trigger: data` plans by itself belongs to none"
        in invoke("--endpoint", endpoint, "pipeline", "runs", "report").stdout
    )


# --- what a backfill would do -----------------------------------------------------------------------------------------


def test_given_dry_run_then_files_are_previewed_and_nothing_begins(broker: Broker, invoke: Invoke) -> None:
    fake = broker(ANSWERS)
    result = invoke("--endpoint", fake.endpoint, "pipeline", "backfill", "delays", "--files", "*.csv", "--dry-run")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].split() == ["flights", "*.csv", "90", "9.0", "MB", "a.csv", "z.csv", "-", "-"]
    assert [request.params["dry_run"] for request in fake.requests("pipeline.backfill")] == [True]


def test_given_rows_of_a_table_then_the_preview_speaks_of_rows_and_names_the_table() -> None:
    row = {"source": "orders", "pattern": "1..3", "table": "work_orders", "files": 1, "bytes": None,
           "first": "work_orders", "last": "work_orders", "unread": 0, "aside": 0}  # fmt: skip
    said = [line.split() for line in lines(*preview({"pipeline": "p", "files": [row]})).splitlines()]
    assert said[-2:] == [["SOURCE", "ROWS", "OF", "SET", "ASIDE"], ["orders", "1..3", "work_orders", "-"]]


def test_given_no_yes_then_it_shows_what_it_would_do_and_asks(broker: Broker, invoke: Invoke) -> None:
    fake = broker(ANSWERS)
    command = ("--endpoint", fake.endpoint, "pipeline", "backfill", "delays", "--files", "*.csv")
    result = invoke(*command, input="n\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "a.csv  z.csv" in result.stderr
    assert "Begin this backfill of delays?" in result.stderr
    result = invoke(*command, input="y\n")
    assert (result.exit_code, result.stdout) == (0, "backfill-7\n")
    assert [request.params["dry_run"] for request in fake.requests("pipeline.backfill")] == [True, True, False]


def test_given_files_with_yes_then_the_lane_is_printed_and_how_to_wait(broker: Broker, invoke: Invoke) -> None:
    fake = broker(ANSWERS)
    result = invoke(
        "--endpoint", fake.endpoint, "pipeline", "backfill", "delays", "--files", "flights=a=*/x.csv", "--yes",
        "--concurrency", 4, "--param", "full=true",
    )  # fmt: skip
    assert (result.exit_code, result.stdout) == (0, "backfill-7\n")
    assert "odibictl backfill wait backfill-7" in result.stderr
    sent = fake.requests("pipeline.backfill")[-1].params
    assert sent.pop("run").startswith("backfill-")
    assert sent == {
        "pipeline": "delays", "files": {"flights": "a=*/x.csv"}, "concurrency": 4, "params": {"full": True},
        "dry_run": False,
    }  # fmt: skip


def test_given_a_pattern_with_an_equals_sign_then_only_a_source_counts_before_it(
    broker: Broker, invoke: Invoke
) -> None:
    fake = broker(ANSWERS)
    invoke("--endpoint", fake.endpoint, "pipeline", "backfill", "delays", "--files", "day=*/x.csv", "--dry-run")
    assert fake.requests("pipeline.backfill")[0].params["files"] == {"flights": "day=*/x.csv"}


def test_given_several_sources_then_the_pattern_must_name_one(broker: Broker, invoke: Invoke) -> None:
    sources = [{"source": name, "consumption": "set"} for name in ("flights", "planes")]
    fake = broker({**ANSWERS, "pipeline.show": {"pipeline": "delays", "sources": sources}})
    command = ("--endpoint", fake.endpoint, "pipeline", "backfill", "delays", "--dry-run", "--files")
    result = invoke(*command, "*.csv")
    assert result.exit_code == 2
    assert "2 sources (flights, planes); write --files SOURCE=*.csv" in result.stderr
    assert invoke(*command, "flights=*.csv", "--files", "planes=p.csv").exit_code == 0
    assert fake.requests("pipeline.backfill")[0].params["files"] == {"flights": "*.csv", "planes": "p.csv"}
    assert "two patterns for source planes" in invoke(*command, "planes=a", "--files", "planes=b").stderr


def test_given_a_reference_beside_the_source_then_a_pattern_alone_says_which(broker: Broker, invoke: Invoke) -> None:
    sources = [{"source": "flights", "consumption": "set"}, {"source": "planes", "consumption": "pinned"}]
    fake = broker({**ANSWERS, "pipeline.show": {"pipeline": "delays", "sources": sources}})
    command = ("--endpoint", fake.endpoint, "pipeline", "backfill", "delays", "--dry-run", "--files")
    assert invoke(*command, "*.csv").exit_code == 0
    assert fake.requests("pipeline.backfill")[0].params["files"] == {"flights": "*.csv"}
    refused = invoke(*command, "planes=p.csv")
    assert refused.exit_code == 2
    assert "planes is read whole in every iteration (mode: batch); name files of flights" in refused.stderr
    fake.answers["pipeline.show"] = {"pipeline": "delays", "sources": sources[1:]}
    refused = invoke(*command, "*.csv")
    assert refused.exit_code == 2
    assert "no source that takes each file once (mode: file_watch)" in refused.stderr


@pytest.mark.parametrize("options", [["--dry-run"], ["--yes"], []])
def test_given_sinks_in_which_rows_come_twice_when_files_are_read_again_then_each_is_named(
    broker: Broker, invoke: Invoke, options: list[str]
) -> None:
    sinks = [
        {
            "pipeline": "delays",
            "sink": "lake",
            "mode": "append",
            "older_over_newer": False,
            "sources": ["flights", "planes"],
        },
        {"pipeline": "delays", "sink": "other", "mode": "append", "older_over_newer": True, "sources": ["planes"]},
        {"pipeline": "delays", "sink": "mart", "mode": "upsert", "older_over_newer": True},
        {"pipeline": "delays", "sink": "exact", "mode": "upsert", "older_over_newer": False},
    ]
    fake = broker({**ANSWERS, "sink.list": {"items": sinks}})
    command = ("--endpoint", fake.endpoint, "pipeline", "backfill", "delays", "--files", "*.csv", *options)
    stderr = invoke(*command, input="n\n").stderr
    assert [line.partition(":")[0] for line in stderr.splitlines() if line.startswith("delays.")] == [
        "delays.lake", "delays.mart",
    ]  # fmt: skip
    assert "delays.lake: it appends, so rows that it has published before will be there twice" in stderr
    assert stderr.index("delays.lake") < (stderr.find("Begin this") if not options else len(stderr))


def test_given_a_schedule_then_the_range_is_in_its_time_zone_and_many_occurrences_are_counted(
    broker: Broker, invoke: Invoke
) -> None:
    fake = broker(ANSWERS)
    result = invoke(
        "--endpoint", fake.endpoint, "pipeline", "backfill", "report", "--schedule", "hourly",
        "--from", "2013-01-01", "--to", "2013-02-01T00:00Z", "--dry-run",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    sent = fake.requests("pipeline.backfill")[0].params
    assert (sent["schedule"], sent["from"], sent["to"]) == ("hourly", 1357016400.0, 1359676800.0)
    assert "iterations  23" in result.stdout
    assert result.stdout.splitlines()[-1] == "... and 3 more, up to 2026-03-08 03:00:00"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--files PATTERN or --rows FROM..TO, or --schedule NAME"),
        (["--files", "x", "--schedule", "hourly"], "one of the two"),
        (["--files", "x", "--from", "2013-01-01"], "go with --schedule"),
        (["--schedule", "hourly", "--from", "2013-01-01"], "needs --from TIME and --to TIME"),
        (["--schedule", "hourly", "--from", "2013-01-02", "--to", "2013-01-01"], "must be before --to"),
        (["--schedule", "hourly", "--from", "then", "--to", "2013-01-01"], "not a date or time"),
        (["--files", "x", "--concurrency", "0"], "0 is not in the range"),
    ],
)
def test_given_half_a_backfill_then_2_says_what_is_missing(
    broker: Broker, invoke: Invoke, options: list[str], message: str
) -> None:
    fake = broker(ANSWERS)
    result = invoke("--endpoint", fake.endpoint, "pipeline", "backfill", "report", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert fake.requests("pipeline.backfill") == []


def test_given_a_refusal_then_its_reason_is_told_before_anything_is_asked(broker: Broker, invoke: Invoke) -> None:
    refused = Reply("", 4, None, "delays keeps state: its iterations cannot be run beside each other")
    fake = broker({**ANSWERS, "pipeline.backfill": refused})
    result = invoke("--endpoint", fake.endpoint, "pipeline", "backfill", "delays", "--files", "*")
    assert result.exit_code == 4
    assert "keeps state" in result.stderr
    assert "Begin" not in result.stderr


# --- waiting ----------------------------------------------------------------------------------------------------------

DONE = {**RUN, "run": "backfill-ab", "pipeline": "delays", "lane": "backfill-7", "state": "done", "planned": 9}


def test_given_wait_then_progress_is_told_on_stderr_and_how_it_ended_on_stdout(broker: Broker, invoke: Invoke) -> None:
    rows = in_turn(BACKFILL, BACKFILL, {**BACKFILL, "committed": 5, "in_flight": 0, "left": 0}, None)
    fake = broker({**ANSWERS, "backfill.list": rows, "run.list": {"items": [DONE]}})
    result = invoke(
        "--endpoint", fake.endpoint, "pipeline", "backfill", "delays", "--files", "*.csv", "--yes", "--wait"
    )
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "delays backfill-7: done, 9 of 9 iterations committed\n"
    assert result.stderr.splitlines() == [
        "delays: backfill-7 has begun; waiting until it ends",
        "delays backfill-7: 3 of 5 iterations committed, 2 in flight, 40 left",
        "delays backfill-7: 5 of 5 iterations committed, 0 left",
        "delays backfill-7: 9 of 9 iterations committed",
    ]


def test_given_a_failed_iteration_then_the_wait_ends_with_5_and_what_fixes_it(broker: Broker, invoke: Invoke) -> None:
    fake = broker({**ANSWERS, "backfill.list": in_turn(BACKFILL, {**BACKFILL, "state": "failed", "failed": 12})})
    result = invoke("--endpoint", fake.endpoint, "backfill", "wait", "delays", "backfill-7", "-o", "json")
    assert result.exit_code == 5
    assert json.loads(result.stdout)["state"] == "failed"
    assert "odibictl iteration retry delays 12" in result.stderr
    out = invoke("--endpoint", fake.endpoint, "backfill", "list").stdout
    assert "! delays backfill-7: iteration 12 failed and holds it up" in out
    assert "`odibictl backfill cancel backfill-7` ends it" in out
    assert "once fixed" not in out  # events and rows of tables cannot be


@pytest.mark.parametrize(("state", "code"), [("done", 0), ("no_data", 0), ("cancelled", 5), ("failed", 5)])
def test_given_one_that_ended_long_ago_when_waited_for_then_its_run_tells(
    broker: Broker, invoke: Invoke, state: str, code: int
) -> None:
    fake = broker({"backfill.list": {"items": []}, "run.list": {"items": [RUN, {**DONE, "state": state}]}})
    result = invoke("--endpoint", fake.endpoint, "backfill", "wait", "delays", "7", "-o", "json")
    assert (result.exit_code, json.loads(result.stdout)["state"]) == (code, state)


def test_given_too_little_time_then_124_says_how_far_it_is(broker: Broker, invoke: Invoke) -> None:
    fake = broker(ANSWERS)
    result = invoke("--endpoint", fake.endpoint, "backfill", "wait", "delays", "7", "--timeout", "50ms")
    assert result.exit_code == 124
    assert "3 of 5 iterations committed" in result.stderr


def test_given_an_unknown_lane_then_3_names_those_there_are(broker: Broker, invoke: Invoke) -> None:
    fake = broker(ANSWERS)
    for verb in ("show", "wait", "cancel"):
        result = invoke("--endpoint", fake.endpoint, "backfill", verb, "delays", "9")
        assert result.exit_code == 3
        assert "no backfill 'backfill-9' of delays; there are: backfill-7" in result.stderr


# --- cancelling -------------------------------------------------------------------------------------------------------


def test_given_cancel_then_it_asks_and_no_means_no(broker: Broker, invoke: Invoke) -> None:
    fake = broker(ANSWERS)
    result = invoke("--endpoint", fake.endpoint, "backfill", "cancel", "delays", "7", input="n\n")
    assert result.exit_code == 1
    assert "Cancel backfill-7 of delays (3 of 5 iterations committed, 2 in flight, 40 left)?" in result.stderr
    assert fake.requests("backfill.cancel") == []


def test_given_cancel_with_yes_then_the_lane_is_asked_for(broker: Broker, invoke: Invoke) -> None:
    fake = broker(ANSWERS)
    result = invoke("--endpoint", fake.endpoint, "backfill", "cancel", "delays", "7", "--yes")
    assert result.stdout == "delays backfill-7: cancelled\n"
    assert [r.params for r in fake.requests("backfill.cancel")] == [{"pipeline": "delays", "lane": "backfill-7"}]


# --- the same in Python -----------------------------------------------------------------------------------------------


def test_given_a_backfill_that_has_ended_when_cancelled_then_that_is_a_conflict(broker: Broker) -> None:
    fake = broker({"backfill.list": {"items": []}, "run.list": {"items": [DONE]}})
    with Client(fake.endpoint) as one, pytest.raises(ConflictError, match="has ended: done"):
        one.cancel_backfill("delays", "backfill-7")


def test_given_an_answer_that_was_lost_when_cancelled_then_its_absence_is_no_error(broker: Broker) -> None:
    gone = Reply("", 3, None, "no open backfill")
    cancelled = {"items": [{**DONE, "state": "cancelled"}]}
    fake = broker({"backfill.list": in_turn(BACKFILL, None), "backfill.cancel": gone, "run.list": cancelled})
    with Client(fake.endpoint) as one:
        assert one.cancel_backfill("delays", "backfill-7")["state"] == "cancelled"


def test_given_a_wait_then_each_look_is_told_and_time_is_kept(broker: Broker) -> None:
    fake = broker({"backfill.list": in_turn(BACKFILL, {**BACKFILL, "state": "done"})})
    seen: list[str] = []
    with Client(fake.endpoint) as one:
        assert (
            one.wait_backfill("delays", "backfill-7", progress=lambda row: seen.append(row["state"]))["state"] == "done"
        )
    assert seen == ["running", "done"]
    with Client(broker(ANSWERS).endpoint) as one, pytest.raises(TimedOutError):
        one.wait_backfill("delays", "backfill-7", timeout=0.0)


def test_given_no_such_lane_when_waited_for_then_not_found(broker: Broker) -> None:
    with Client(broker(ANSWERS).endpoint) as one, pytest.raises(NotFoundError):
        one.wait_backfill("delays", "backfill-9")


def test_given_a_backfill_of_times_to_come_then_it_is_refused_and_nothing_is_asked(broker: Broker) -> None:
    fake = broker(ANSWERS)
    with Client(fake.endpoint) as client, pytest.raises(ConfigError, match="is in the future: hourly runs by itself"):
        client.backfill("report", schedule="hourly", start=time.time() + 3600.0, end=time.time() + 7200.0)
    assert fake.requests("pipeline.backfill") == []
