"""The client on a real socket: what it sends, what it makes of answers, when it gives up."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from odibi_actors import Client, client
from odibi_actors.config.model import ScheduleSpec
from odibi_actors.errors import (
    ConfigError,
    ConflictError,
    NotFoundError,
    OdibiError,
    RunFailedError,
    TimedOutError,
    UnreachableError,
)
from odibi_actors.messages import Bye, Hello, Reply, Request
from odibi_actors.runtime import paths
from tests.cli.fake import FakeBroker

Broker = Callable[..., FakeBroker]


def test_given_a_broker_when_asked_then_hello_comes_first_and_the_result_is_returned(broker: Broker) -> None:
    fake = broker({"status": {"epoch": 3}})
    with Client(fake.endpoint) as one:
        assert one.status() == {"epoch": 3}
    kinds = [type(message) for _, message in fake.seen]
    assert kinds[:2] == [Hello, Request]
    hello = fake.seen[0][1]
    assert isinstance(hello, Hello)
    assert hello.role == "client"


def test_given_an_open_client_when_closed_then_it_says_bye(broker: Broker) -> None:
    said = threading.Event()
    fake = broker({"status": {}})
    answer = fake._answer
    fake._answer = lambda message: (said.set() if isinstance(message, Bye) else None) or answer(message)  # type: ignore[method-assign]
    with Client(fake.endpoint) as one:
        one.status()
    assert said.wait(10)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (2, ConfigError),
        (3, NotFoundError),
        (4, ConflictError),
        (5, RunFailedError),
        (124, TimedOutError),
        (69, UnreachableError),
        (1, OdibiError),
        (6, OdibiError),
    ],
)
def test_given_a_reply_with_a_status_then_its_error_is_raised_with_that_exit_code(
    broker: Broker, status: int, kind: type[OdibiError]
) -> None:
    fake = broker({"pipeline.show": Reply("", status, None, "it is so")})
    with Client(fake.endpoint) as one, pytest.raises(kind, match="it is so") as caught:
        one.pipeline("delays")
    assert type(caught.value) is kind
    assert caught.value.exit_code == status


@pytest.mark.parametrize(
    ("call", "to", "verb", "params"),
    [
        (lambda c: c.pipelines(), "broker", "pipeline.list", {}),
        (lambda c: c.pause("p"), "broker", "pipeline.pause", {"pipeline": "p"}),
        (lambda c: c.resume("p"), "broker", "pipeline.resume", {"pipeline": "p"}),
        (lambda c: c.drain("p", wait=False), "broker", "pipeline.drain", {"pipeline": "p", "wait": False}),
        (lambda c: c.retry("p", 2), "broker", "iteration.retry", {"pipeline": "p", "iteration": 2}),
        (lambda c: c.cancel("p", 2), "broker", "iteration.cancel", {"pipeline": "p", "iteration": 2}),
        (lambda c: c.wait_run("r"), "broker", "run.wait", {"run": "r"}),
        (lambda c: c.iterations("p", 5), "store", "iteration.list", {"pipeline": "p", "limit": 5, "state": None}),
        (lambda c: c.iteration("p", 2), "store", "iteration.show", {"pipeline": "p", "iteration": 2}),
        (lambda c: c.nodes("p", 2), "store", "node.list", {"pipeline": "p", "iteration": 2}),
        (lambda c: c.dead_letters(), "store", "deadletter.list", {"pipeline": None, "limit": 1000}),
        (lambda c: c.checkpoint_stats(), "store", "checkpoint.stats", {}),
        (lambda c: c.sources(), "source", "source.list", {}),
        (lambda c: c.why("f"), "source", "source.why", {"file": "f"}),
        (lambda c: c.workers(), "broker", "worker.list", {}),
        (lambda c: c.scale(4), "broker", "worker.scale", {"workers": 4}),
        (lambda c: c.drain_worker("w"), "broker", "worker.drain", {"worker": "w"}),
        (lambda c: c.pause_source("p", "s"), "broker", "source.pause", {"pipeline": "p", "source": "s"}),
        (lambda c: c.resume_source("p", "s"), "broker", "source.resume", {"pipeline": "p", "source": "s"}),
        (lambda c: c.kill("w"), "broker", "worker.kill", {"worker": "w"}),
        (lambda c: c.schedules("p"), "broker", "schedule.list", {"pipeline": "p"}),
        (lambda c: c.next_times(), "scheduler", "schedule.next", {"pipeline": None}),
        (lambda c: c.schedule("p.s"), "broker", "schedule.show", {"pipeline": "p", "schedule": "s"}),
        (lambda c: c.pause_schedule("p.s"), "broker", "schedule.pause", {"pipeline": "p", "schedule": "s"}),
        (lambda c: c.resume_schedule("p.s"), "broker", "schedule.resume", {"pipeline": "p", "schedule": "s"}),
        (
            lambda c: c.occurrences("p", "s", "skipped", 5),
            "store",
            "occurrence.list",
            {"pipeline": "p", "schedule": "s", "state": "skipped", "limit": 5},
        ),
        (lambda c: c.runs("p", "failed", 5), "store", "run.list", {"pipeline": "p", "state": "failed", "limit": 5}),
        (lambda c: c.run("r"), "store", "run.show", {"run": "r"}),
        (lambda c: c.backfills("p"), "broker", "backfill.list", {"pipeline": "p"}),
        (lambda c: c.alerts("p", 5), "store", "alert.list", {"pipeline": "p", "limit": 5}),
    ],
)
def test_given_a_method_when_called_then_its_verb_goes_to_the_actor_that_knows(
    broker: Broker, call: Callable[[Client], Any], to: str, verb: str, params: dict[str, Any]
) -> None:
    fake = broker({verb: {"items": []}})
    with Client(fake.endpoint) as one:
        call(one)
    assert [(where, m.verb, m.params) for where, m in fake.seen if isinstance(m, Request)] == [(to, verb, params)]


def test_given_a_broker_that_forgot_us_when_it_asks_who_we_are_then_the_same_request_is_sent_again(
    broker: Broker,
) -> None:
    fake = broker({"pipeline.trigger": lambda params: {"run": params["run"]}}, forget=1)
    with Client(fake.endpoint) as one:
        run = one.trigger("report")["run"]
    sent = fake.requests("pipeline.trigger")
    assert len({request.id for request in sent}) == 1
    assert [request.params["run"] for request in sent] == [run, run]


def test_given_a_backfill_when_its_answer_is_lost_then_the_same_run_is_asked_for_again(broker: Broker) -> None:
    fake = broker({"pipeline.backfill": lambda params: {"lane": "backfill-7", "run": params["run"]}}, forget=1)
    with Client(fake.endpoint) as one:
        run = one.backfill("report", schedule="hourly", start=1.0, end=2.0, params={"full": True})["run"]
    sent = [request.params for request in fake.requests("pipeline.backfill")]
    wanted = {
        "pipeline": "report", "schedule": "hourly", "from": 1.0, "to": 2.0, "concurrency": 1, "params": {"full": True},
        "dry_run": False, "run": run,
    }  # fmt: skip
    assert sent == [wanted, wanted]


def test_given_a_removed_schedule_when_the_first_answer_was_lost_then_its_absence_is_no_error(broker: Broker) -> None:
    row = {"pipeline": "report", "schedule": "nightly"}
    fake = broker({"schedule.show": row, "schedule.remove": Reply("", 3, None, "report has no schedule nightly")})
    with Client(fake.endpoint) as one:
        assert one.remove_schedule("report.nightly") == row
    fake.answers["schedule.show"] = Reply("", 3, None, "report has no schedule nightly")
    with Client(fake.endpoint) as one, pytest.raises(NotFoundError):
        one.remove_schedule("report.nightly")


def test_given_values_or_a_spec_when_a_schedule_is_added_then_the_same_is_sent(broker: Broker) -> None:
    fake = broker({"schedule.add": lambda params: {"schedule": params["spec"]["name"]}})
    values = {"cron": "0 2 * * *", "timezone": "Europe/Berlin", "params": {"full": True}}
    with Client(fake.endpoint) as one:
        one.add_schedule("report", name="nightly", **values)
        one.add_schedule("report", {"name": "nightly", **values})
        spec = ScheduleSpec("nightly", cron="0 2 * * *", timezone="Europe/Berlin", params={"full": True})
        one.add_schedule("report", spec)
        with pytest.raises(ConfigError, match="one or the other"):
            one.add_schedule("report", spec, paused=True)
        with pytest.raises(ConfigError, match="unknown key"):
            one.add_schedule("report", name="nightly", corn="0 2 * * *")
    sent = [request.params for request in fake.requests("schedule.add")]
    assert sent == [{"pipeline": "report", "spec": msgspec.to_builtins(spec), "replace": False}] * 3


def test_given_a_name_without_a_pipeline_then_it_is_looked_up_and_must_be_one(broker: Broker) -> None:
    rows = [("report", "hourly"), ("sales", "hourly"), ("sales", "nightly")]
    listed = {"items": [{"pipeline": pipeline, "schedule": schedule} for pipeline, schedule in rows]}
    fake = broker({"schedule.list": listed})
    with Client(fake.endpoint) as one:
        assert one.find_schedule("nightly") == ("sales", "nightly")
        assert one.find_schedule("report.hourly") == ("report", "hourly")
        with pytest.raises(ConfigError, match=r"report\.hourly, sales\.hourly"):
            one.find_schedule("hourly")
        with pytest.raises(NotFoundError, match="did you mean 'nightly'"):
            one.find_schedule("nightli")


def test_given_a_verb_that_must_happen_once_when_a_restarted_broker_took_no_notice_then_it_is_sent_again(
    broker: Broker,
) -> None:
    fake = broker({"iteration.retry": {}}, forget=1)
    with Client(fake.endpoint) as one:
        one.retry("delays", 3)
    assert len(fake.requests("iteration.retry")) == 2


def test_given_a_long_wait_when_the_broker_is_silent_then_the_same_request_is_repeated(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "REPEAT", 0.05)
    answers = iter([None, None, {"state": "committed"}])
    fake = broker({"iteration.wait": lambda _: next(answers)})
    with Client(fake.endpoint) as one:
        assert one.wait("delays", 3)["state"] == "committed"
    sent = fake.requests("iteration.wait")
    assert len(sent) >= 3
    assert len({request.id for request in sent}) == 1


def test_given_a_verb_that_must_happen_once_when_unanswered_then_it_is_not_repeated(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "REPEAT", 0.05)
    fake = broker({"worker.kill": lambda _: None})
    with Client(fake.endpoint, timeout=0.4) as one, pytest.raises(TimedOutError):
        one.kill("pool-0-1")
    assert len(fake.requests("worker.kill")) == 1


def test_given_a_wait_for_a_pipeline_then_the_broker_is_told_what_had_not_ended_before(broker: Broker) -> None:
    live, past = {"iteration": 7, "lane": "live"}, {"iteration": 6, "lane": "backfill-1"}
    shown = {"last_iteration": 8, "iterations": [past, live]}
    fake = broker({"iteration.wait": {"iteration": 8, "state": "committed"}, "pipeline.show": shown})
    with Client(fake.endpoint) as one:
        assert one.wait("delays")["state"] == "committed"
    params = fake.requests("iteration.wait")[0].params
    assert (params["after"], params["open"]) == (8, [7])


def test_given_no_broker_at_the_endpoint_then_unreachable_says_how_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "CONNECT_TIMEOUT", 0.1)
    with Client(f"ipc://{tmp_path}/none.ipc") as one, pytest.raises(UnreachableError, match="odibictl up"):
        one.status()


def test_given_a_broker_that_fell_silent_then_a_wait_without_limit_ends(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LOST_AFTER", 0.2)
    fake = broker({"run.wait": lambda _: None})
    with Client(fake.endpoint) as one, pytest.raises(UnreachableError, match="silent"):
        one.wait_run("r")


def test_given_a_broker_that_refuses_us_then_its_reason_is_told(broker: Broker) -> None:
    fake = broker({}, refuse="another host")
    with Client(fake.endpoint) as one, pytest.raises(ConflictError, match="another host"):
        one.status()


def test_given_an_address_that_is_none_then_the_error_names_it() -> None:
    with Client("nonsense") as one, pytest.raises(UnreachableError, match="'nonsense' is no ZeroMQ address"):
        one.status()


@pytest.mark.parametrize("line", ["", "data_dir: state", 'data_dir: "state"', "data_dir: ${NOWHERE:-state}  # here"])
def test_given_a_project_then_the_connection_file_below_its_data_dir_is_found(
    broker: Broker, tmp_path: Path, line: str
) -> None:
    fake = broker({"status": {"epoch": 3}})
    (tmp_path / "odibi.yaml").write_text(f"project: x\n{line}\n")
    run = tmp_path / ("state" if line else ".odibi") / "run"
    run.mkdir(parents=True)
    (run / "connection.json").write_text(json.dumps({"endpoint": fake.endpoint, "pid": 1}))
    with Client(project=tmp_path) as one:
        assert one.status() == {"epoch": 3}


def test_given_a_project_file_being_edited_then_the_running_system_is_reached_all_the_same(
    broker: Broker, tmp_path: Path
) -> None:
    fake = broker({"status": {"epoch": 3}})
    (tmp_path / "odibi.yaml").write_text("workers: [1\n")
    (tmp_path / ".odibi" / "run").mkdir(parents=True)
    (tmp_path / ".odibi" / "run" / "connection.json").write_text(json.dumps({"endpoint": fake.endpoint}))
    with Client(project=tmp_path) as one:
        assert one.status() == {"epoch": 3}


def test_given_the_connection_file_of_another_folder_then_its_system_is_not_reached(
    broker: Broker, tmp_path: Path
) -> None:
    fake = broker({"status": {"epoch": 3}})
    for name in ("p", "copy"):
        paths.prepare(tmp_path / name / ".odibi")
    original = paths.layout(tmp_path / "p" / ".odibi")
    paths.write_connection(original, fake.endpoint)
    shutil.copy(original.connection, tmp_path / "copy" / ".odibi" / "run")
    with pytest.raises(UnreachableError, match=r"nothing runs on .*copy"):
        Client(project=tmp_path / "copy").status()
    with Client(project=tmp_path / "p") as one:
        assert one.status() == {"epoch": 3}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"endpoint": 3}'])
def test_given_a_damaged_connection_file_then_unreachable_names_it(tmp_path: Path, content: str) -> None:
    (tmp_path / ".odibi" / "run").mkdir(parents=True)
    (tmp_path / ".odibi" / "run" / "connection.json").write_text(content)
    with pytest.raises(UnreachableError, match=r"connection\.json"):
        Client(project=tmp_path).status()


def test_given_an_environment_then_it_names_the_endpoint(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = broker({"status": {"epoch": 3}})
    monkeypatch.setenv("ODIBI_ENDPOINT", fake.endpoint)
    with Client() as one:
        assert one.status() == {"epoch": 3}


def test_given_a_verb_that_must_happen_once_when_another_broker_is_there_before_an_answer_then_it_is_told_at_once(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "REPEAT", 0.05)

    def dies(_: dict[str, Any]) -> None:
        fake.epoch = 4

    fake = broker({"iteration.retry": dies})
    said = "restarted before it answered, and nobody knows whether it was done"
    with Client(fake.endpoint) as one, pytest.raises(TimedOutError, match=said):
        one.retry("p", 1)
    assert len(fake.requests("iteration.retry")) == 1


def test_given_a_client_at_work_in_one_thread_when_another_uses_it_then_that_is_refused_at_once(broker: Broker) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow(_: object) -> dict[str, Any]:
        asked.set()
        go_on.wait(10)
        return {"state": "finished"}

    fake = broker({"iteration.wait": slow, "status": {"epoch": 3}})
    results: list[Any] = []
    with Client(fake.endpoint, timeout=10.0) as one:
        first = threading.Thread(target=lambda: results.append(one.request("iteration.wait", {})))
        first.start()
        assert asked.wait(10)
        for use in (one.status, one.close):
            with pytest.raises(ConflictError, match="in another thread"):
                use()
        go_on.set()
        first.join(10)
        assert results == [{"state": "finished"}]
        assert one.status() == {"epoch": 3}  # one after the other they may


def test_given_an_open_client_when_the_process_forks_then_child_and_parent_are_both_answered(broker: Broker) -> None:
    fake = broker({"status": {"epoch": 3}})
    with Client(fake.endpoint, timeout=10.0) as one:
        assert one.status() == {"epoch": 3}
        name = one.name
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                answered = [one.status() for _ in range(3)]
                one.close()
                code = 0 if answered == [{"epoch": 3}] * 3 and one.name != name else 2
            finally:
                os._exit(code)
        for _ in range(3):
            assert one.status() == {"epoch": 3}
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert one.name == name
