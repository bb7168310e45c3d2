"""Each command: what it asks, what it prints, how it exits."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from rich.console import Console
from ruamel.yaml import YAML

from odibi_actors import Client, client
from odibi_actors.checkpoint.queries import spec_digest
from odibi_actors.checkpoint.records import project_settings
from odibi_actors.cli import locks, node, output
from odibi_actors.config import code_digest, load_project
from odibi_actors.config.parts import parts
from odibi_actors.messages import Apply, Reply
from odibi_actors.runtime import paths
from tests.cli.fake import FakeBroker

Broker = Callable[..., FakeBroker]
Invoke = Callable[..., Result]

ROW = {
    "pipeline": "delays", "state": "active", "trigger": "data", "version": 2, "in_flight": 1, "offered": 12_345,
    "planned": 9, "committed": 7, "last_iteration": 9, "last_committed": 8, "delivery": "exactly_once", "run": "",
    "problems": [],
}  # fmt: skip
PROBLEMS = ["iteration 9: node clean raised ValueError"]
FAILED = {**ROW, "pipeline": "report", "state": "failed", "problems": PROBLEMS, "stuck": 9, "dead_letters": 2}
STATUS: dict[str, Any] = {
    "epoch": 3, "project": "flights", "store_id": "s", "started_at": 1_000.0, "durable": 10, "pending": 0,
    "peers": [{"name": role, "role": role, "host": "h", "pid": 1, "seen": 1.0} for role in ("store", "source", "pool")],
    "pipelines": [ROW, FAILED],
    "workers": [{"worker": "pool-0-1", "pool": "pool-0", "host": "h", "pid": 5, "state": "busy",
                 "doing": "delays/9/clean", "since": 1.0, "done": 3}],
}  # fmt: skip
SHOWN = {
    **ROW,
    "nodes": [{"node": "clean", "kind": "transform", "inputs": ["flights"]}],
    "iterations": [
        {"iteration": 8, "state": "prepared", "lane": "live", "nodes": {"clean": "acked"}},
        {"iteration": 9, "state": "running", "lane": "live", "nodes": {"clean": "running"}},
    ],
    "sources": [{"source": "flights", "offered": 3, "problems": []}],
}
ITERATION: dict[str, Any] = {
    "pipeline": "delays", "iteration": 9, "lane": "live", "state": "failed", "version": 2, "run": "",
    "planned_at": 1.0, "finished_at": 3.5, "rows_read": 842, "error": "clean: raised",
    "positions": {"flights": [{"identity": "flights-1.csv", "size": 2048}]},
    "revised": [{"node": "flights", "identity": "bad.csv", "message": "line 7 has 3 columns"}],
    "nodes": [{"node": "clean", "state": "error", "attempt": "3-4", "used": 3}],
    "errors": [{"node": "clean", "attempt": "3-4", "kind": "raised", "message": "ValueError: no such day",
                "traceback": "Traceback\n  File nodes/flights.py, line 3", "position": "flights-1.csv", "line": 12,
                "column": "day", "value": "32", "at": 1.0, "used": 3}],
    "sinks": {"lake": {"target": "/lake/part-9", "rows": 800, "digest": "abc"}},
}  # fmt: skip
ANSWERS: dict[str, Any] = {
    "status": STATUS,
    "pipeline.list": {"items": [ROW, FAILED]},
    "pipeline.show": SHOWN,
    "iteration.list": {"items": [{"iteration": 9, "state": "failed", "lane": "live", "rows_read": 842}]},
    "iteration.show": ITERATION,
    "node.list": {"items": [{"node": "clean", "state": "acked", "attempt": "3-4", "rows_out": 12_000, "size": 4096,
                             "duration": 0.5, "where": "spool"}]},
    "source.list": {"items": [{"pipeline": "delays", "source": "flights", "lane": "live", "mode": "file_watch",
                               "known": 365}]},
    "schema.show": {"pipeline": "delays", "source": "flights", "iteration": 1, "left_out": [""],
                    "columns": [{"column": "day", "type": "date32[day]", "origin": "declared"}]},
    "source.pause": {"pipeline": "delays", "source": "flights", "paused": True, "offered": 3},
    "source.resume": {"pipeline": "delays", "source": "flights", "paused": False, "offered": 3},
    "source.unpin": {"pipeline": "delays", "source": "flights", "iteration": 1, "columns": 2, "dry_run": True},
    "source.why": {"file": "x", "items": [{"pipeline": "delays", "source": "flights", "state": "planned",
                                           "reason": "in iteration 3"}]},
    "worker.list": {"items": STATUS["workers"]},
    "deadletter.list": {"items": [{"id": 4, "state": "open", "replay": 0,
        "pipeline": "delays", "iteration": 9, "node": "flights", "position": "bad.csv",
                                   "kind": "malformed", "message": "line 7", "at": 1.0}]},
    "checkpoint.stats": {"store_id": "s", "records": 12_345},
}  # fmt: skip
LISTS = [
    (("pipeline", "list"), "delays\nreport\n"),
    (("iteration", "list", "delays"), "9\n"),
    (("node", "list", "delays", 9), "clean\n"),
    (("source", "list"), "delays.flights\n"),
    (("source", "why", "x"), "delays.flights\n"),
    (("worker", "list"), "pool-0-1\n"),
    (("deadletter", "list"), "4\n"),
]
OBJECTS = [
    (("status",), "flights\n"),
    (("pipeline", "show", "delays"), "delays\n"),
    (("iteration", "show", "delays", 9), "9\n"),
    (("source", "show", "delays.flights"), "delays.flights\n"),
    (("source", "unpin", "delays.flights", "--dry-run"), "delays.flights\n"),
    (("checkpoint", "stats"), "s\n"),
]


@pytest.mark.parametrize(("command", "names"), LISTS + OBJECTS)
def test_given_any_view_then_every_format_is_what_it_says(
    broker: Broker, invoke: Invoke, command: tuple[object, ...], names: str
) -> None:
    endpoint = broker(ANSWERS).endpoint
    results = {
        form: invoke("--endpoint", endpoint, *command, "-o", form)
        for form in ("table", "json", "jsonl", "yaml", "name")
    }
    assert [(r.exit_code, r.stderr) for r in results.values()] == [(0, "")] * 5
    data = json.loads(results["json"].stdout)
    assert data["schema"] == 1
    assert YAML(typ="safe").load(results["yaml"].stdout) == data
    lines = [json.loads(line) for line in results["jsonl"].stdout.splitlines()]
    assert lines == (data["items"] if "items" in data else [{k: v for k, v in data.items() if k != "schema"}])
    assert results["name"].stdout == names
    assert "\x1b" not in results["table"].stdout
    assert all(line == line.rstrip() for line in results["table"].stdout.splitlines())


@pytest.mark.parametrize("command", [command for command, _ in LISTS])
def test_given_an_empty_list_then_it_is_no_error(broker: Broker, invoke: Invoke, command: tuple[object, ...]) -> None:
    endpoint = broker({verb: {"items": []} for verb in ANSWERS}).endpoint
    assert json.loads(invoke("--endpoint", endpoint, *command, "-o", "json").stdout) == {"schema": 1, "items": []}
    assert invoke("--endpoint", endpoint, *command).exit_code == 0


def test_given_types_and_names_with_brackets_when_shown_to_people_then_nothing_of_them_is_taken_for_markup(
    broker: Broker, invoke: Invoke
) -> None:
    columns = ["at: timestamp[us, tz=UTC]", "[red]: list<item: time32[ms]>", "smile :smile: : string"]
    row = {"pipeline": "p", "sink": "lake", "mode": "append", "target": "/lake/[b]", "columns": columns, "pinned_by": 1,
           "at": ["local", "", "/lake/[b]"]}  # fmt: skip
    fake = broker({"sink.show": row, "sink.list": {"items": [row]}})
    lines = invoke("--endpoint", fake.endpoint, "sink", "show", "p.lake").stdout.splitlines()
    assert lines[0] == "p.lake: append to /lake/[b]"
    assert [line.strip() for line in lines[-3:]] == columns
    assert "/lake/[b]" in invoke("--endpoint", fake.endpoint, "sink", "list").stdout


def test_given_a_source_with_nothing_to_tell_of_its_files_then_it_says_so(broker: Broker, invoke: Invoke) -> None:
    row = {"pipeline": "p", "source": "s", "known": 3, "files": {"pending": [], "waiting": []}, "more": {"pending": 0}}
    out = invoke("--endpoint", broker({"source.files": row}).endpoint, "source", "files", "p.s").stdout
    assert out.splitlines()[-1] == "no file is ready, waits, has changed, or is skipped"
    row["files"] = {"waiting": [{"file": "a.csv", "reason": "it is young"}]}
    out = invoke("--endpoint", broker({"source.files": row}).endpoint, "source", "files", "p.s").stdout
    assert "a.csv" in out.splitlines()[-1]
    row["at"] = {"in/l.csv": "byte 12 of 20", "in/new.csv": ""}
    out = invoke("--endpoint", broker({"source.files": row}).endpoint, "source", "files", "p.s").stdout
    assert "in/l.csv   byte 12 of 20" in out
    assert "new.csv" not in out


def test_given_status_then_problems_stand_below_with_what_fixes_them(broker: Broker, invoke: Invoke) -> None:
    out = invoke("--endpoint", broker(ANSWERS).endpoint, "status").stdout
    assert "flights   epoch 3" in out
    assert "12,345" in out
    assert "the scheduler actor is not connected" in out
    assert "report: iteration 9: node clean raised ValueError" in out
    assert "odibictl iteration retry report 9" in out
    assert "report: 2 dead letters" in out


def test_given_a_failed_pipeline_then_its_hint_stands_under_its_own_line(broker: Broker, invoke: Invoke) -> None:
    other = {
        **FAILED,
        "pipeline": "web",
        "problems": ["iteration 3 failed:\nso; apply, and `odibictl iteration retry web 3` sets it aside"],
        "stuck": 3,
        "dead_letters": 1,
        "paused": True,
    }
    lines = invoke(
        "--endpoint", broker({"pipeline.list": {"items": [FAILED, other]}}).endpoint, "pipeline", "list"
    ).stdout
    shown = lines.splitlines()
    assert next(line for line in shown if line.startswith("web")).split()[1:3] == ["failed,", "paused"]
    assert shown[-7:] == [
        "! report: iteration 9: node clean raised ValueError",
        "    `odibictl iteration show report 9`; once fixed: `odibictl iteration retry report 9`",
        "! report: 2 dead letters: `odibictl deadletter list report`",
        "! web: iteration 3 failed:",
        "  so; apply, and `odibictl iteration retry web 3` sets it aside",
        "    `odibictl iteration show web 3`",
        "! web: 1 dead letter: `odibictl deadletter list web`",
    ]


def test_given_no_workers_then_status_says_that_nothing_runs(broker: Broker, invoke: Invoke) -> None:
    out = invoke("--endpoint", broker({"status": {**STATUS, "workers": []}}).endpoint, "status").stdout
    assert "no workers" in out
    assert "odibictl worker scale N" in out


def test_given_an_iteration_in_flight_then_its_nodes_have_the_state_the_broker_knows(
    broker: Broker, invoke: Invoke
) -> None:
    nodes = [
        {"node": "flights", "state": "acked", "used": 2},
        {"node": "clean", "state": "none", "used": 0},
        {"node": "lake", "state": "error", "used": 1, "error": "it broke"},
    ]
    live = {"iteration": 9, "state": "running", "nodes": {"flights": "acked", "clean": "waiting", "lake": "running"}}
    fake = broker(
        {
            "node.list": lambda _: {"items": [dict(row) for row in nodes]},
            "iteration.show": lambda _: {**ITERATION, "nodes": [dict(row) for row in nodes]},
            "pipeline.show": {**SHOWN, "iterations": [live]},
        }
    )
    table = invoke("--endpoint", fake.endpoint, "node", "list", "delays", 9).stdout.splitlines()
    assert [line.split()[:3] for line in table] == [
        ["NODE", "STATE", "TRIES"],
        ["flights", "acked", "3"],
        ["clean", "waiting", "-"],
        ["lake", "running", "1"],
    ]
    shown = json.loads(invoke("--endpoint", fake.endpoint, "iteration", "show", "delays", 9, "-o", "json").stdout)
    assert [row["state"] for row in shown["nodes"]] == ["acked", "waiting", "running"]
    past = json.loads(invoke("--endpoint", fake.endpoint, "node", "list", "delays", 8, "-o", "json").stdout)
    assert [row["state"] for row in past["items"]] == ["acked", "none", "error"]


def test_given_a_message_of_many_lines_then_all_are_indented(broker: Broker, invoke: Invoke) -> None:
    error = {**ITERATION["errors"][0], "message": "SQL failed:\nLINE 1: selekt\n        ^"}
    fake = broker({"iteration.show": {**ITERATION, "errors": [error]}})
    assert (
        "\n  SQL failed:\n  LINE 1: selekt\n          ^\n"
        in invoke("--endpoint", fake.endpoint, "iteration", "show", "delays", 9).stdout
    )


MANY_LINES = (
    "sql: Binder Error: no sum(VARCHAR)\n\tCandidate functions:\n\tsum(arg DECIMAL) -> DECIMAL\n\nLINE 1: select\n"
)


@pytest.mark.parametrize(
    ("verb", "command", "row"),
    [
        ("deadletter.list", ("deadletter", "list"), {**ANSWERS["deadletter.list"]["items"][0], "message": MANY_LINES}),
        ("iteration.list", ("iteration", "list", "delays"), {"iteration": 9, "state": "failed", "error": MANY_LINES}),
        ("node.list", ("node", "list", "delays", 8), {"node": "x", "state": "error", "error": MANY_LINES}),
        ("run.list", ("pipeline", "runs", "delays"), {"run": "manual@1", "state": "failed", "error": MANY_LINES}),
        ("alert.list", ("alert", "list"), {"id": 1, "pipeline": "delays", "kind": "failure", "text": MANY_LINES}),
    ],
)
def test_given_a_message_of_many_lines_then_a_list_has_a_line_for_each_row_and_json_all_of_it(
    broker: Broker, invoke: Invoke, verb: str, command: tuple[object, ...], row: dict[str, Any]
) -> None:
    fake = broker({verb: {"items": [row, row]}, "pipeline.show": SHOWN})
    head, *lines = invoke("--endpoint", fake.endpoint, *command).stdout.splitlines()
    assert len(lines) == 2, head
    assert all("no sum(VARCHAR)" in line for line in lines)
    told = json.loads(invoke("--endpoint", fake.endpoint, *command, "-o", "json").stdout)
    assert all(MANY_LINES in one.values() for one in told["items"])


def test_given_dead_letters_then_the_list_of_iterations_counts_them(broker: Broker, invoke: Invoke) -> None:
    rows = [{"iteration": 2, "state": "committed", "dead_letters": 3}, {"iteration": 1, "dead_letters": 0}]
    fake = broker({"iteration.list": {"items": rows}})
    head, two, one = invoke("--endpoint", fake.endpoint, "iteration", "list", "delays").stdout.splitlines()
    place = head.split().index("DEAD")
    assert (two.split()[place], one.split()[place]) == ("3", "-")


@pytest.mark.parametrize("width", [40, 60])
def test_given_a_narrow_terminal_then_the_name_of_a_node_is_whole(width: int) -> None:
    row = {"node": "a_rather_long_name_of_a_node", "state": "acked", "error": "because " * 20, "worker": "w" * 30}
    view = Console(width=width, file=StringIO())
    with view.capture() as capture:
        view.print(output.table([row], node.COLUMNS))
    assert "a_rather_long_name_of_a_node" in capture.get()


def test_given_a_failed_iteration_then_show_has_place_and_traceback(broker: Broker, invoke: Invoke) -> None:
    out = invoke("--endpoint", broker(ANSWERS).endpoint, "iteration", "show", "delays", 9).stdout
    for part in (
        "flights-1.csv, line 12, column day, value '32'",
        "File nodes/flights.py, line 3",
        "bad.csv",
        "/lake/part-9",
    ):
        assert part in out


def test_given_tries_that_failed_in_the_same_way_then_their_traceback_is_shown_once(
    broker: Broker, invoke: Invoke
) -> None:
    (one,) = ITERATION["errors"]
    errors = [{**one, "used": n, "attempt": f"3-{n}"} for n in (1, 2, 3)] + [{**one, "message": "another", "used": 4}]
    fake = broker({**ANSWERS, "iteration.show": {**ITERATION, "errors": errors}})
    out = invoke("--endpoint", fake.endpoint, "iteration", "show", "delays", 9).stdout
    assert out.count("ValueError: no such day") == 1
    assert "attempt 3, the last of 3 that failed like this)" in " ".join(out.split())
    assert "attempt 4)" in out


def test_given_a_void_iteration_then_show_names_those_that_have_its_files(broker: Broker, invoke: Invoke) -> None:
    shown = {**ITERATION, "state": "cancelled", "planned_as": [11, 12]}
    fake = broker({**ANSWERS, "iteration.show": shown})
    out = invoke("--endpoint", fake.endpoint, "iteration", "show", "delays", 9).stdout
    assert ["planned", "again", "as", "11,", "12"] in [line.split() for line in out.splitlines()]


def test_given_an_iteration_that_nobody_works_at_then_it_is_interrupted_and_show_says_what_goes_on_with_it(
    broker: Broker, invoke: Invoke
) -> None:
    shown = {**ITERATION, "state": "running", "interrupted": True, "errors": []}
    fake = broker({**ANSWERS, "iteration.show": shown, "iteration.list": {"items": [shown]}})
    out = invoke("--endpoint", fake.endpoint, "iteration", "show", "delays", 9).stdout
    assert "interrupted" in out
    assert "the next `odibictl run` or `up`" in out
    assert "interrupted" in invoke("--endpoint", fake.endpoint, "iteration", "list", "delays").stdout


def test_given_a_wide_table_then_a_program_gets_its_lines_whole(broker: Broker, invoke: Invoke) -> None:
    reason = "because " * 100
    endpoint = broker(
        {"source.why": {"items": [{"pipeline": "p", "source": "s", "state": "x", "reason": reason}]}}
    ).endpoint
    assert reason.strip() in invoke("--endpoint", endpoint, "source", "why", "x").stdout


@pytest.mark.parametrize(
    ("iteration", "told"),
    [
        *((one, one) for one in ("committed", "failed", "blocked", "pruned", "dead_lettered", "discarded")),
        *((one, "planned") for one in ("planned", "running", "prepared")),
    ],
)
def test_given_a_file_that_was_planned_when_asked_why_then_its_state_is_what_became_of_it(
    broker: Broker, invoke: Invoke, iteration: str, told: str
) -> None:
    item = {
        "pipeline": "p",
        "source": "s",
        "lane": "live",
        "identity": "a.csv",
        "state": "planned",
        "reason": "planned",
    }
    shown = {"iteration": 3, "letter": 0, "state": iteration, "reason": "as the store has it"}
    fake = broker({"source.why": lambda _: {"file": "a.csv", "items": [dict(item)]}, "file.show": shown})
    result = invoke("--endpoint", fake.endpoint, "source", "why", "a.csv", "-o", "json")
    (row,) = json.loads(result.stdout)["items"]
    assert (row["state"], row["reason"]) == (told, "as the store has it")


def test_given_an_existing_file_when_asked_why_then_its_absolute_path_is_sent(
    broker: Broker, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = broker(ANSWERS)
    (tmp_path / "a.csv").touch()
    monkeypatch.chdir(tmp_path)
    invoke("--endpoint", fake.endpoint, "source", "why", "a.csv")
    invoke("--endpoint", fake.endpoint, "source", "why", "b.csv")
    assert [r.params["file"] for r in fake.requests("source.why")] == [str(tmp_path / "a.csv"), "b.csv"]


@pytest.mark.parametrize("status", [1, 2, 3, 4, 5, 6, 69, 124])
def test_given_an_error_then_its_status_is_the_exit_code_and_stdout_is_empty(
    broker: Broker, invoke: Invoke, status: int
) -> None:
    endpoint = broker({"pipeline.show": Reply("", status, None, "that is why")}).endpoint
    result = invoke("--endpoint", endpoint, "pipeline", "show", "x")
    assert result.exit_code == status
    assert result.stdout == ""
    assert "that is why" in result.stderr


def test_given_nothing_running_then_69_says_how_to_start(invoke: Invoke, project: Path) -> None:
    result = invoke("status", "--project", project)
    assert result.exit_code == 69
    assert "nothing runs on" in result.stderr
    assert "odibictl up" in result.stderr


@pytest.mark.parametrize("command", [("iteration", "wait", "delays"), ("pipeline", "drain", "delays")])
def test_given_a_paused_pipeline_when_a_wait_takes_too_long_then_the_reason_is_told(
    broker: Broker, invoke: Invoke, command: tuple[str, ...]
) -> None:
    waits = {"iteration.wait": lambda _: None, "pipeline.drain": lambda _: None}
    shown = {**SHOWN, "state": "failed", "paused": True, "problems": ["source ref: no file matches"]}
    endpoint = broker({**waits, "pipeline.show": shown}).endpoint
    result = invoke("--endpoint", endpoint, *command, "--timeout", "200ms")
    assert result.exit_code == 124
    assert "error: not done within 0.2 s (delays is failed, paused): source ref: no file matches" in result.stderr


def test_given_no_answer_in_time_then_124(broker: Broker, invoke: Invoke) -> None:
    endpoint = broker({"iteration.wait": lambda _: None, "pipeline.show": SHOWN}).endpoint
    result = invoke("--endpoint", endpoint, "iteration", "wait", "delays", 3, "--timeout", "200ms")
    assert result.exit_code == 124


def test_given_a_pause_that_begins_during_a_wait_then_it_is_told_once_with_its_verb(
    broker: Broker, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def shown(_: object) -> dict[str, Any]:
        looks.append(1)
        return {**SHOWN, "paused": len(looks) > 2}

    def waited(_: object) -> dict[str, Any] | None:
        return {"iteration": 8, "state": "committed", "files": 0} if len(looks) > 4 else None

    monkeypatch.setattr("odibi_actors.client.REPEAT", 0.02)
    endpoint = broker({"pipeline.show": shown, "iteration.wait": waited}).endpoint
    result = invoke("--endpoint", endpoint, "iteration", "wait", "delays", 8, "--timeout", "9s")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("warning: delays is paused: `odibictl pipeline resume delays`") == 1


def test_given_ctrl_c_then_130(broker: Broker, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(client.Client, "status", interrupt)
    assert invoke("--endpoint", "ipc:///nowhere", "status").exit_code == 130


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (("statu",), "status"),
        (("start",), "up"),
        (("stop",), "down"),
        (("ps",), "status"),
        (("pipeline", "pasue", "x"), "pause"),
    ],
)
def test_given_a_typo_then_what_was_meant_is_named(invoke: Invoke, command: tuple[str, ...], hint: str) -> None:
    result = invoke(*command)
    assert result.exit_code == 2
    assert f"did you mean '{hint}'?" in result.stderr


def test_given_a_bad_option_or_value_then_2(invoke: Invoke) -> None:
    assert invoke("status", "--nonsense").exit_code == 2
    assert invoke("status", "--timeout", "soon").exit_code == 2
    assert invoke("iteration", "wait", "delays", "--for", "done").exit_code == 2
    assert invoke("iteration", "show", "delays", 0).exit_code == 2


# --- waiting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "states", "code"),
    [
        ("committed", "committed", 0),
        ("failed", "committed", 5),
        ("failed", "committed,failed", 0),
        ("blocked", "committed", 5),
    ],
)
def test_given_a_wait_then_it_ends_when_stuck_and_says_so_by_its_code(
    broker: Broker, invoke: Invoke, state: str, states: str, code: int
) -> None:
    fake = broker({"iteration.wait": {"pipeline": "delays", "iteration": 3, "state": state}})
    result = invoke("--endpoint", fake.endpoint, "iteration", "wait", "delays", 3, "--for", states, "-o", "json")
    assert result.exit_code == code
    assert json.loads(result.stdout)["state"] == state
    wanted = fake.requests("iteration.wait")[0].params["for"]
    assert {"committed", "failed", "blocked", "dead_lettered", "cancelled"} <= set(wanted)


def test_given_a_pipeline_that_drains_then_the_wait_is_the_brokers(broker: Broker, invoke: Invoke) -> None:
    fake = broker({"pipeline.drain": lambda p: {"state": "drained" if p["wait"] else "draining"}})
    said = invoke("--endpoint", fake.endpoint, "pipeline", "drain", "delays").stderr
    assert said == "delays: drained; go on with `odibictl pipeline resume delays`\n"
    assert "draining" in invoke("--endpoint", fake.endpoint, "pipeline", "drain", "delays", "--no-wait").stderr


def test_given_a_pipeline_that_cannot_drain_then_5(broker: Broker, invoke: Invoke) -> None:
    held = "backfill-7: iteration 3 is blocked"
    endpoint = broker({"pipeline.drain": {"state": "draining", "held": held}}).endpoint
    result = invoke("--endpoint", endpoint, "pipeline", "drain", "delays")
    assert result.exit_code == 5
    assert f"error: delays cannot drain: {held}; see `odibictl pipeline show delays`" in result.stderr


@pytest.mark.parametrize(("state", "code"), [("done", 0), ("no_data", 0), ("failed", 5)])
def test_given_a_triggered_run_when_waited_for_then_its_end_is_the_code(
    broker: Broker, invoke: Invoke, state: str, code: int
) -> None:
    fake = broker({"pipeline.trigger": {"run": "r1"}, "run.wait": {"run": "r1", "state": state}})
    result = invoke("--endpoint", fake.endpoint, "pipeline", "trigger", "report", "--wait", "-o", "json")
    assert result.exit_code == code
    assert json.loads(result.stdout) == {"schema": 1, "run": "r1", "state": state}


def test_given_a_trigger_without_wait_then_the_run_is_printed(broker: Broker, invoke: Invoke) -> None:
    fake = broker({"pipeline.trigger": {"run": "r1"}})
    assert invoke("--endpoint", fake.endpoint, "pipeline", "trigger", "report").stdout == "r1\n"


# --- changing ---------------------------------------------------------------------------------------------------------


def test_given_cancel_then_it_asks_names_what_goes_with_it_and_no_means_no(broker: Broker, invoke: Invoke) -> None:
    fake = broker({**ANSWERS, "iteration.cancel": {"cancelled": [9]}})
    result = invoke("--endpoint", fake.endpoint, "iteration", "cancel", "delays", 9, input="n\n")
    assert result.exit_code == 1
    assert "Cancel iteration 9 of delays?" in result.stderr
    assert fake.requests("iteration.cancel") == []


def test_given_cancel_with_yes_then_it_does_not_ask(broker: Broker, invoke: Invoke) -> None:
    fake = broker({**ANSWERS, "iteration.cancel": {"cancelled": [9]}})
    result = invoke("--endpoint", fake.endpoint, "iteration", "cancel", "delays", 9, "--yes", "-o", "json")
    assert json.loads(result.stdout)["cancelled"] == [9]
    assert "files are not left out by this: they are planned again " in result.stderr


def test_given_cancel_of_a_replay_then_its_letter_is_named(broker: Broker, invoke: Invoke) -> None:
    fake = broker({**ANSWERS, "iteration.cancel": {"cancelled": [9], "letters": [4]}})
    result = invoke("--endpoint", fake.endpoint, "iteration", "cancel", "delays", 9, "--yes")
    assert result.stderr == "dead letter 4 is open again: `odibictl deadletter show 4` says what to do about it\n"


def test_given_cancel_dry_run_then_unprepared_ones_are_listed_and_nothing_is_sent(
    broker: Broker, invoke: Invoke
) -> None:
    fake = broker(ANSWERS)
    result = invoke("--endpoint", fake.endpoint, "iteration", "cancel", "delays", 9, "--dry-run", "-o", "name")
    assert result.stdout == "9\n"
    refused = invoke("--endpoint", fake.endpoint, "iteration", "cancel", "delays", 8, "--dry-run")
    assert "iteration 8 of delays is prepared: it only rolls forward now" in refused.stderr
    assert fake.requests("iteration.cancel") == []


def test_given_kill_without_an_answer_at_the_prompt_then_nothing_is_killed(broker: Broker, invoke: Invoke) -> None:
    fake = broker({"worker.kill": {}, "worker.list": {"items": [{"worker": "w", "pid": 7}]}})
    assert invoke("--endpoint", fake.endpoint, "worker", "kill", "w", input="").exit_code != 0
    assert fake.requests("worker.kill") == []
    assert invoke("--endpoint", fake.endpoint, "worker", "kill", "w", "-y").exit_code == 0
    assert len(fake.requests("worker.kill")) == 1


@pytest.mark.parametrize(
    ("command", "verb"),
    [
        (("pipeline", "pause", "delays"), "pipeline.pause"),
        (("pipeline", "resume", "delays"), "pipeline.resume"),
        (("iteration", "retry", "delays", 9), "iteration.retry"),
        (("worker", "scale", 4), "worker.scale"),
    ],
)
def test_given_a_change_then_stdout_stays_empty(
    broker: Broker, invoke: Invoke, command: tuple[object, ...], verb: str
) -> None:
    fake = broker({verb: {}})
    result = invoke("--endpoint", fake.endpoint, *command)
    assert (result.exit_code, result.stdout) == (0, "")
    assert len(fake.requests(verb)) == 1


def test_given_scale_dry_run_then_nothing_is_sent(broker: Broker, invoke: Invoke) -> None:
    fake = broker(ANSWERS)
    assert "from 1 worker to 4" in invoke("--endpoint", fake.endpoint, "worker", "scale", 4, "--dry-run").stderr
    assert fake.requests("worker.scale") == []


def test_given_a_valid_project_when_applied_then_versions_are_printed(
    broker: Broker, invoke: Invoke, project: Path
) -> None:
    fake = broker(ANSWERS)
    result = invoke("--endpoint", fake.endpoint, "--project", project, "apply", "-o", "json")
    assert json.loads(result.stdout)["items"] == [{"pipeline": "copy", "version": 1, "changed": True}]


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_given_a_module_that_cannot_be_imported_when_applied_then_it_is_warned_of(
    broker: Broker, invoke: Invoke, project: Path, more: tuple[str, ...]
) -> None:
    text = (project / "odibi.yaml").read_text()
    function = text.replace('{sql: "select * from incoming  -- all of it"}', '{function: "nodes.broken_top:f"}')
    (project / "odibi.yaml").write_text(function)
    (project / "nodes").mkdir()
    source = "def f(incoming):\n    return incoming\nprint('no result')\nraise ValueError('at the top')\n"
    (project / "nodes/broken_top.py").write_text(source)
    fake = broker(ANSWERS)
    result = invoke("--endpoint", fake.endpoint, "--project", project, "apply", *more)
    said = "cannot import nodes.broken_top (nodes/broken_top.py line 4): ValueError: at the top\n"
    assert f"warning: odibi.yaml: copy.kept: {said}" in result.stderr
    assert "nodes.broken_top" not in sys.modules


def test_given_an_invalid_project_when_applied_then_2_and_nothing_is_sent(
    broker: Broker, invoke: Invoke, project: Path
) -> None:
    fake = broker({})
    with (project / "odibi.yaml").open("a") as file:
        file.write("nonsense: 1\n")
    assert invoke("--endpoint", fake.endpoint, "--project", project, "apply").exit_code == 2
    assert fake.seen == []


def test_given_apply_dry_run_then_what_runs_is_compared_and_nothing_is_sent(
    broker: Broker, invoke: Invoke, project: Path
) -> None:
    fake = broker(ANSWERS)
    result = invoke("--endpoint", fake.endpoint, "--project", project, "apply", "--dry-run", "-o", "json")
    items = {row["pipeline"]: row for row in json.loads(result.stdout)["items"]}
    assert items["copy"]["running_version"] is None
    assert items["delays"]["action"] == "not in odibi.yaml"
    assert [message.dry_run for _, message in fake.seen if isinstance(message, Apply)] == [True]


def test_given_what_apply_refuses_then_dry_run_refuses_it_with_the_same_words(
    broker: Broker, invoke: Invoke, project: Path
) -> None:
    refusal = Reply("", 4, None, "pipeline copy: source incoming has consumed data and cannot be removed or renamed")
    fake = broker({**ANSWERS, "apply": refusal})
    said = [
        invoke("--endpoint", fake.endpoint, "--project", project, "apply", *more, "-o", "json")
        for more in ((), ("--dry-run",))
    ]
    assert [one.exit_code for one in said] == [4, 4]
    assert said[0].stderr == said[1].stderr
    assert said[1].stdout == ""


@pytest.mark.parametrize(("running", "changed"), [("same", False), ("other", True), ("unknown", None)])
def test_given_apply_dry_run_then_it_says_what_would_change(
    broker: Broker, invoke: Invoke, project: Path, running: str, changed: bool | None
) -> None:
    spec = load_project(project)
    digests = {"spec_digest": spec_digest(spec.pipelines[0]), "code_digest": spec.code_digest}
    found = {"same": digests, "other": {**digests, "spec_digest": "x"}, "unknown": Reply("", 3, None, "pruned")}
    fake = broker(
        {"pipeline.list": {"items": [{**ROW, "pipeline": "copy"}]}, "version.show": found[running], "status": {}}
    )
    result = invoke("--endpoint", fake.endpoint, "--project", project, "apply", "--dry-run", "-o", "json")
    assert [row["changed"] for row in json.loads(result.stdout)["items"]] == [changed]
    assert fake.requests("version.show")[0].params == {"pipeline": "copy", "version": 2}


def test_given_a_changed_project_then_dry_run_says_what_changes_what_runs_again_and_what_stays(
    broker: Broker, invoke: Invoke, project: Path
) -> None:
    former = load_project(project)
    found = {"spec_digest": "x", "code_digest": former.code_digest, "parts": parts(former.pipelines[0])}
    rows = [{**ROW, "pipeline": "copy", "version": 2, "in_flight": 3}, {**ROW, "pipeline": "gone"}]
    fake = broker({**ANSWERS, "pipeline.list": {"items": rows}, "version.show": found})
    text = (project / "odibi.yaml").read_text()
    text = text.replace("select *", "select 1 as one, *").replace("name: out", "name: other")
    (project / "odibi.yaml").write_text(text + "    max_in_flight: 2\n    retry: {max_attempts: 9}\n")
    result = invoke("--endpoint", fake.endpoint, "--project", project, "apply", "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[:-1] == [
        "copy: changes (version 2 runs)",
        "  + other",
        "  - out (refused if it is a source that has read something)",
        "  ~ the pipeline: max_in_flight",
        "  ~ incoming: retry.max_attempts",
        "  ~ kept: retry.max_attempts, transform.sql",
        "  3 in flight: those not prepared yet run again kept, other",
        "  and keep the results of incoming",
    ]
    assert result.stdout.splitlines()[-1].startswith("gone: not in odibi.yaml: nothing of it is planned or run")


def test_given_changed_keys_of_the_project_then_dry_run_says_which(
    broker: Broker, invoke: Invoke, project: Path
) -> None:
    settings = project_settings(load_project(project))
    fake = broker({"pipeline.list": {"items": []}, "status": {"settings": {k: v for k, v in settings.items() if v}}})
    same = invoke("--endpoint", fake.endpoint, "--project", project, "apply", "--dry-run")
    assert same.stdout == "copy: new\n"
    with (project / "odibi.yaml").open("a") as file:
        file.write("history: 1d\nworker: {max_tasks: 50}\n")
    changed = invoke("--endpoint", fake.endpoint, "--project", project, "apply", "--dry-run")
    assert changed.stdout.splitlines() == [
        f"the project: history: {settings['history']} -> 86400.0",
        "the project: worker.max_tasks: not set -> 50",
        "copy: new",
    ]


def test_given_iterations_that_go_on_when_applied_then_each_is_told(
    broker: Broker, invoke: Invoke, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = broker(ANSWERS)
    rows = {"items": [{"pipeline": "copy", "version": 2, "changed": True, "goes_on": [3]}]}
    monkeypatch.setattr(Client, "apply", lambda *_: rows)
    result = invoke("--endpoint", fake.endpoint, "--project", project, "apply")
    assert "copy 3: had failed, and goes on" in result.stderr


def test_given_a_folder_that_is_no_project_then_status_says_so_and_where_to_go(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("--project", tmp_path, "status")
    assert result.exit_code == 2
    assert f"{tmp_path} is no project: there is no odibi.yaml" in result.stderr
    assert "--project DIR" in result.stderr
    assert "odibictl up" not in result.stderr


def test_given_nodes_edited_since_the_apply_then_status_says_so(broker: Broker, invoke: Invoke, project: Path) -> None:
    digest = [code_digest(project)]
    fake = broker({"status": STATUS, "pipeline.show": lambda _: {**SHOWN, "code_digest": digest[0]}})
    lock = served(project, fake)
    note = "nodes/ was changed since the last apply"
    assert note not in invoke("--project", project, "status").stdout
    digest[0] = "of another code"
    assert note in invoke("--project", project, "status").stdout
    assert note not in invoke("--endpoint", fake.endpoint, "--project", project, "status").stdout
    os.close(lock)
    assert "nothing runs on" in invoke("--project", project, "status").stderr


def served(project: Path, fake: FakeBroker) -> int:
    """Let a fake broker be that of a project; returns its lock."""
    places = paths.prepare(project / ".odibi")
    paths.write_connection(places, fake.endpoint)
    return locks.hold(places.run / "broker.lock")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("", ""),
        ("sql", "t.sql"),
        ("code", "nodes/clean.py"),
        ("keys", "t.sql, kept: timeout"),
        ("gone", "odibi.yaml does not have it: `odibictl apply` takes it out"),
        ("broken", "what is on disk cannot be applied: `odibictl validate`"),
    ],
)
def test_given_a_project_that_was_changed_since_the_apply_then_what_sets_it_going_names_what_is_not_applied(
    broker: Broker, invoke: Invoke, project: Path, change: str, told: str
) -> None:
    path = project / "odibi.yaml"
    text = path.read_text().replace('sql: "select * from incoming  -- all of it"', "sql_file: t.sql")
    text += '      - {name: fine, inputs: [kept], transform: {function: "nodes.clean:fine"}}\n'
    assert "sql_file" in text
    (project / "t.sql").write_text("select * from incoming")
    (project / "nodes").mkdir(exist_ok=True)
    (project / "nodes/clean.py").write_text("def fine(kept):\n    return kept\n")
    path.write_text(text)
    (spec,) = load_project(project).pipelines
    found = {"spec_digest": spec_digest(spec), "parts": parts(spec)}
    answers = {"iteration.retry": {}, "pipeline.trigger": {"run": ""}, "sink.list": {"items": []}}
    fake = broker(
        {
            **ANSWERS,
            **answers,
            "pipeline.show": {**SHOWN, "pipeline": "copy", "version": 2},
            "version.show": found,
            "deadletter.show": {"id": 3, "pipeline": "copy"},
            "deadletter.replay": {"letter": 3, "pipeline": "copy", "iteration": 9},
        }
    )
    lock = served(project, fake)
    match change:
        case "sql":
            (project / "t.sql").write_text("select 1 as n from incoming")
        case "code":
            (project / "nodes/clean.py").write_text("def fine(kept):\n    return kept[:1]\n")
        case "keys":
            (project / "t.sql").write_text("select 1 as n from incoming")
            path.write_text(text.replace("name: kept\n", "name: kept\n        timeout: 1m\n"))
        case "gone":
            path.write_text(text.replace("pipeline: copy", "pipeline: other"))
        case "broken":
            path.write_text(text + "  x: [")
    for command in (
        ("deadletter", "replay", 3),
        ("iteration", "retry", "copy", 9),
        ("pipeline", "trigger", "copy"),
    ):
        said = invoke("--project", project, *command).stderr
        assert said.count("applied version is what runs") == bool(change), said
        assert told in said
        assert ("`odibictl apply` first, if that is to run" in said) == (change in ("sql", "code", "keys"))
    assert "applied version" not in invoke("--endpoint", fake.endpoint, "--project", project, *command).stderr
    os.close(lock)


# --- watching ---------------------------------------------------------------------------------------------------------


def test_given_watch_then_it_prints_what_changed_until_interrupted_and_outlives_a_restart(
    broker: Broker, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = iter([{"epoch": 1}, {"epoch": 1}, Reply("", 69, None, "gone for a moment"), {"epoch": 2}])
    fake = broker({"status": lambda _: next(steps)})
    looks = 0

    def tick(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(output.time, "sleep", tick)
    result = invoke("--endpoint", fake.endpoint, "status", "--watch", "-o", "jsonl")
    assert [json.loads(line)["epoch"] for line in result.stdout.splitlines()] == [1, 2]
    assert "gone for a moment" in result.stderr
    assert result.exit_code == 130


def test_given_options_after_the_command_then_they_count_as_before_it(broker: Broker, invoke: Invoke) -> None:
    endpoint = broker(ANSWERS).endpoint
    assert invoke("pipeline", "list", "--endpoint", endpoint, "-o", "name").stdout == "delays\nreport\n"


@pytest.mark.parametrize(
    "command",
    [("alert", "list"), ("iteration", "list", "delays"), ("pipeline", "runs", "delays"), ("backfill", "list")],
)
def test_given_a_list_that_is_empty_since_its_history_is_pruned_then_it_says_so(
    broker: Broker, invoke: Invoke, command: tuple[str, ...]
) -> None:
    empty = {"items": [], "pruned_before": 1_700_000_000.0}
    verbs = ("alert.list", "iteration.list", "run.list")
    fake = broker({**dict.fromkeys(verbs, empty), "backfill.list": {"items": []}})
    said = " ".join(invoke("--endpoint", fake.endpoint, *command).stdout.split())
    assert "is pruned (see history and history_size in odibi.yaml)" in said
    assert "; what ended before 2023-11-1" in said
