"""The scheduler's driver: a clock that is set, real commands, a real web server."""

from __future__ import annotations

import json
import os
import select
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from odibi_actors.actor import Stop
from odibi_actors.config.model import AlertSpec
from odibi_actors.messages import LOCAL, ClockSet, Message, Told, ZonesChanged
from odibi_actors.scheduler import deliveries as module
from odibi_actors.scheduler.clock import ZoneFiles
from odibi_actors.scheduler.driver import SchedulerDriver
from odibi_actors.scheduler.effects import FollowClock, Tell
from odibi_actors.scheduler.zones import zone_named
from tests.scheduler.test_clock import Machine

PAYLOAD = {"schema": 1, "kind": "failure", "pipeline": "p", "text": "p failed\0", "held_back": 0}


def wait(driver: SchedulerDriver, count: int = 1) -> list[Message]:
    """The next messages for the actor."""
    found: list[Message] = []
    while len(found) < count:
        readers = driver.inputs()
        ready = select.select(list(readers), [], [], 20)[0]
        assert ready, f"only {found}"
        for one in ready:
            for sender, message in readers[one]():
                assert sender == LOCAL
                found.append(message)
    return found


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[SchedulerDriver]:
    made = SchedulerDriver(tmp_path)
    yield made
    made.close()


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """Makes a command of the project."""

    def make(text: str) -> str:
        path = tmp_path / "alert.sh"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return "alert.sh"

    return make


class Web:
    """A web server on the loopback: notes what it gets; answers as ``plan`` says."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str, Any]] = []
        self.plan: Callable[[BaseHTTPRequestHandler], None] = lambda handler: self.answer(handler, 204)
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                web.got.append((self.path, self.headers["Content-Type"], json.loads(body)))
                web.plan(self)

            def do_GET(self) -> None:
                web.got.append((self.path, "GET", None))
                web.answer(self, 200)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @staticmethod
    def answer(handler: BaseHTTPRequestHandler, code: int, **headers: str) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = Web()
    yield made
    made.server.shutdown()
    made.server.server_close()


def told(driver: SchedulerDriver, spec: AlertSpec, id_: int = 1) -> str:
    """What became of one target."""
    assert list(driver.perform(Tell(id_, 0, spec, PAYLOAD), 0.0)) == []
    (message,) = wait(driver)
    assert isinstance(message, Told)
    assert (message.id, message.target) == (id_, 0)
    return message.error


# --- the clock --------------------------------------------------------------------------------------------------------


def test_given_the_clock_when_followed_then_it_is_told_at_once_and_again_when_it_is_set(tmp_path: Path) -> None:
    machine = Machine()
    driver = SchedulerDriver(tmp_path, machine.follow)
    assert driver.perform(FollowClock(), 1_000.0) == [(LOCAL, ClockSet(0.0, jumped=False))]
    assert select.select(list(driver.inputs()), [], [], 0)[0] == []
    machine.wall += 3_600.0
    assert wait(driver) == [ClockSet(3_600.0, jumped=True)]
    assert select.select(list(driver.inputs()), [], [], 0)[0] == []
    driver.close()
    driver.close()


def test_given_the_alarm_when_it_rings_then_the_loop_wakes_and_looks_at_the_clock(tmp_path: Path) -> None:
    machine = Machine()
    driver = SchedulerDriver(tmp_path, machine.follow)
    driver.perform(FollowClock(), 1_000.0)
    readers = driver.inputs()
    alarm = driver._alarm
    assert alarm is not None
    assert alarm.fd in readers
    alarm.arm(at=1)  # in place of somebody who sets the clock
    assert select.select(list(readers), [], [], 20)[0] == [alarm.fd]
    machine.wall -= 60.0
    assert list(readers[alarm.fd]()) == []
    assert wait(driver) == [ClockSet(-60.0, jumped=True)]
    driver.close()


def test_given_new_zone_data_when_it_is_seen_then_the_actor_is_told(tmp_path: Path) -> None:
    class Changed(ZoneFiles):
        def changed(self, now: float) -> bool:
            return True

    driver = SchedulerDriver(tmp_path, Machine().follow, Changed(0.0, list))
    driver.perform(FollowClock(), 1_000.0)
    before = zone_named("Europe/Berlin")
    assert zone_named("Europe/Berlin") is before
    assert wait(driver) == [ZonesChanged()]
    assert zone_named("Europe/Berlin") is not before
    driver.close()


def test_given_an_effect_of_others_when_performed_then_it_is_refused(driver: SchedulerDriver) -> None:
    with pytest.raises(TypeError):
        driver.perform(Stop(0, ""), 0.0)


# --- commands ---------------------------------------------------------------------------------------------------------


def test_given_a_command_when_told_then_it_gets_the_alert_on_stdin_and_in_its_environment(
    driver: SchedulerDriver, script: Callable[[str], str], tmp_path: Path
) -> None:
    command = script(
        'cat > got.json; echo "$ODIBI_ALERT_KIND $ODIBI_ALERT_PIPELINE $ODIBI_ALERT_TEXT" > got.txt; pwd > at'
    )
    assert told(driver, AlertSpec(command=command)) == ""
    assert json.loads((tmp_path / "got.json").read_text()) == PAYLOAD
    assert (tmp_path / "got.txt").read_text() == "failure p p failed\n"
    assert (tmp_path / "at").read_text().strip() == os.path.realpath(tmp_path)


def test_given_a_command_that_fails_when_told_then_the_error_has_its_last_words(
    driver: SchedulerDriver, script: Callable[[str], str]
) -> None:
    assert told(driver, AlertSpec(command=script("echo first >&2; echo no mail server >&2; echo >&2; exit 3"))) == (
        "exit code 3: no mail server"
    )
    assert told(driver, AlertSpec(command=script("kill -9 $$"))) == "exit code -9"


def test_given_a_command_that_hangs_when_its_time_is_over_then_it_is_killed_with_its_children(
    driver: SchedulerDriver, script: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMMAND_SECONDS", 0.2)
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    error = told(driver, AlertSpec(command=script("exec 9> fifo; sleep 1000 & wait")))
    assert error == "killed: it took more than 0.2 s"
    assert select.select([reader], [], [], 20)[0] == [reader]  # nobody holds the other end any more
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_given_a_path_that_is_no_command_of_the_project_when_told_then_it_is_not_run(
    driver: SchedulerDriver, script: Callable[[str], str], tmp_path: Path
) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside.sh"
    outside.write_text("#!/bin/sh\n")
    outside.chmod(0o755)
    (tmp_path / "link.sh").symlink_to(outside)
    script("")
    (tmp_path / "alert.sh").chmod(0o644)
    says = {
        "../" + outside.name: "not below the project's folder",
        str(outside): "not below the project's folder",
        "link.sh": "not below the project's folder",
        "none.sh": "there is no file",
        ".": "there is no file",
        "alert.sh": "chmod +x",
        "alert.sh; true": "there is no file",
    }
    for command, words in says.items():
        assert words in told(driver, AlertSpec(command=command))
    outside.unlink()


def test_given_a_file_that_cannot_be_run_when_told_then_the_error_says_so(
    driver: SchedulerDriver, tmp_path: Path
) -> None:
    (tmp_path / "bad").write_bytes(b"\x7fELFnonsense")
    (tmp_path / "bad").chmod(0o755)
    assert told(driver, AlertSpec(command="bad")).startswith("cannot be run: ")


def test_given_commands_that_hang_when_more_come_then_four_run_the_others_wait_and_the_end_kills_them(
    script: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    os.mkfifo(tmp_path / "begun")
    begun = os.open(tmp_path / "begun", os.O_RDWR)
    driver = SchedulerDriver(tmp_path)
    command = script("echo x > begun; sleep 1000")
    for number in range(4):
        assert list(driver.perform(Tell(number, 0, AlertSpec(command=command), PAYLOAD), 0.0)) == []
        assert os.read(begun, 2) == b"x\n"
    for number in range(4, 7):
        assert list(driver.perform(Tell(number, 0, AlertSpec(command=command), PAYLOAD), 0.0)) == []
    assert list(driver.perform(Tell(7, 0, AlertSpec(command=command), PAYLOAD), 0.0)) == [
        (LOCAL, Told(7, 0, "too many alerts wait to be told"))
    ]
    assert select.select([begun, *driver.inputs()], [], [], 0)[0] == []
    processes = list(driver._deliveries._running)
    driver.close()
    assert [process.wait(20) for process in processes] == [-9] * 4
    os.close(begun)


# --- webhooks ---------------------------------------------------------------------------------------------------------


def test_given_a_webhook_when_told_then_it_gets_the_alert_as_json(driver: SchedulerDriver, web: Web) -> None:
    assert told(driver, AlertSpec(webhook=f"{web.address}/hook?k=1")) == ""
    assert web.got == [("/hook?k=1", "application/json", PAYLOAD)]


def test_given_a_webhook_that_refuses_or_moves_when_told_then_the_error_says_what_it_answered(
    driver: SchedulerDriver, web: Web
) -> None:
    web.plan = lambda handler: web.answer(handler, 503)
    assert told(driver, AlertSpec(webhook=web.address)) == "answers 503 Service Unavailable"
    for code, target in ((302, "file:///etc/passwd"), (303, f"{web.address}/elsewhere"), (307, "ftp://x/")):
        web.plan = lambda handler, code=code, target=target: web.answer(handler, code, Location=target)  # type: ignore[misc]
        assert f"answers {code}" in told(driver, AlertSpec(webhook=web.address))
    assert {method for _, method, _ in web.got} == {"application/json"}


def test_given_a_webhook_whose_path_is_a_secret_when_it_fails_then_the_error_does_not_show_it(
    driver: SchedulerDriver, web: Web
) -> None:
    hook = f"{web.address}/services/s3cr3tcanary?token=canarys3cr3t"
    web.plan = lambda handler: handler.send_error(404, "no /services/s3cr3tcanary here, canarys3cr3t")
    said = [told(driver, AlertSpec(webhook=hook))]
    for target in (f"{web.address}/services/s3cr3tcanary", "https://elsewhere.example/canarys3cr3t"):
        web.plan = lambda handler, target=target: web.answer(handler, 302, Location=target)  # type: ignore[misc]
        said.append(told(driver, AlertSpec(webhook=hook)))
    said += [told(driver, AlertSpec(webhook=bad + "s3cr3tcanary")) for bad in ("ftp://x/", "http://x:y/", "http://[/")]
    assert "answers 404 no /... here, ..." in said[0]
    assert "moved to https://elsewhere.example/..." in said[2]
    assert all(said)
    assert "s3cr3t" not in "".join(said)


def test_given_no_server_or_no_address_when_told_then_the_error_says_so(driver: SchedulerDriver, web: Web) -> None:
    web.server.shutdown()
    web.server.server_close()
    assert "cannot be reached: " in told(driver, AlertSpec(webhook=web.address))
    for address in ("file:///etc/passwd", "ftp://x/", "gopher"):
        assert "http" in told(driver, AlertSpec(webhook=address))
    for address in ("http://", "http://[", "http://a b/", "http://x:y/"):
        assert told(driver, AlertSpec(webhook=address))


def test_given_a_webhook_that_hangs_when_told_then_others_are_told_meanwhile_and_it_times_out(
    driver: SchedulerDriver, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WEBHOOK_SECONDS", 0.5)
    released = threading.Event()
    web.plan = lambda handler: released.wait(20) and None if handler.path == "/slow" else web.answer(handler, 200)
    driver.perform(Tell(1, 0, AlertSpec(webhook=f"{web.address}/slow"), PAYLOAD), 0.0)
    driver.perform(Tell(2, 0, AlertSpec(webhook=f"{web.address}/quick"), PAYLOAD), 0.0)
    first, second = wait(driver, 2)
    assert first == Told(2, 0)
    assert isinstance(second, Told)
    assert (second.id, second.error) == (1, "no answer within 0.5 s")
    released.set()
