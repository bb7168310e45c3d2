"""``ScheduleManager``: callbacks on the real scheduler, store and source, with threads and real time."""

from __future__ import annotations

import functools
import gc
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from odibi_actors.checkpoint import records as rec
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.config.model import ScheduleSpec
from odibi_actors.errors import ConflictError, StoreError
from odibi_actors.local.callbacks import arguments, loop, manager
from odibi_actors.local.callbacks.desk import INTERRUPTED, LEFT_BEHIND
from odibi_actors.model import Place
from odibi_actors.scheduler import Schedule, ScheduleManager, ScheduleMode

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs/python-schedules.md"
LONG = 30.0  # seconds after which a test has failed


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., ScheduleManager]]:
    """Makes managers; they are stopped at the end."""
    made: list[ScheduleManager] = []

    def one(**options: Any) -> ScheduleManager:
        made.append(ScheduleManager(**{"state_dir": None, **options}))
        return made[-1]

    yield one
    for each in made:
        each.stop(timeout=0.0)


def nothing(*_: object, **__: object) -> None:
    """A callback."""


def runs(name: str, count: int) -> Callable[[dict[str, Any]], bool]:
    """The condition that so many runs have ended."""
    return lambda status: status[name]["run_count"] >= count and not status[name]["running"]


def child(script: str, *arguments: object) -> subprocess.Popen[str]:
    """A process of its own that runs a script."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# --- the three kinds --------------------------------------------------------------------------------------------------


def test_given_a_second_cron_when_started_then_it_is_called_in_its_seconds(
    make: Callable[..., ScheduleManager],
) -> None:
    scheduler = make()
    seen: list[float] = []
    assert scheduler.schedule("* * * * * *", lambda: seen.append(time.time()), name="tick") == "tick"
    scheduler.start()
    assert scheduler.wait_for(runs("tick", 2), LONG)
    status = scheduler.get_status("tick")
    assert (status["mode"], status["expression"], status["is_active"]) == (ScheduleMode.CRON, "* * * * * *", True)
    assert status["next_run"] > status["last_run"]
    assert (status["error_count"], status["last_error"], status["skipped"]) == (0, None, {})
    assert int(seen[0]) < int(seen[1])


def test_given_an_interval_when_calls_take_time_then_due_times_do_not_drift(
    make: Callable[..., ScheduleManager],
) -> None:
    scheduler = make()
    scheduler.schedule_interval(1, lambda: threading.Event().wait(0.3), name="beat")
    scheduler.start()
    assert scheduler.wait_for(runs("beat", 2), LONG)
    status = scheduler.get_status("beat")
    assert (status["mode"], status["expression"]) == (ScheduleMode.INTERVAL, "every 1s")
    assert status["next_run"].microsecond == 0
    assert status["run_count"] >= 2
    assert not status["skipped"]


def test_given_files_then_the_callback_gets_each_path_once_those_that_were_there_included(
    make: Callable[..., ScheduleManager], tmp_path: Path
) -> None:
    (tmp_path / "old.csv").write_text("1")
    (tmp_path / "other.txt").write_text("1")
    scheduler = make()
    got: list[Path] = []
    scheduler.schedule_file_watch(tmp_path, got.append, pattern="*.csv", name="files")
    scheduler.start()
    assert scheduler.wait_for(runs("files", 1), LONG)
    (tmp_path / "new.csv").write_text("2")
    assert scheduler.wait_for(runs("files", 2), LONG)
    (tmp_path / "new.csv").write_text("2 again")
    (tmp_path / "last.csv").write_text("3")
    assert scheduler.wait_for(runs("files", 3), LONG)
    assert got == [tmp_path / "old.csv", tmp_path / "new.csv", tmp_path / "last.csv"]
    status = scheduler.get_status("files")
    assert (status["mode"], status["next_run"]) == (ScheduleMode.FILE_WATCH, None)
    assert status["expression"] == str(tmp_path / "*.csv")


def test_given_a_folder_that_is_not_there_then_its_problem_is_shown_until_it_is(
    make: Callable[..., ScheduleManager], tmp_path: Path
) -> None:
    scheduler = make()
    scheduler.schedule_file_watch(tmp_path / "later", nothing, name="files")
    scheduler.start()
    assert scheduler.wait_for(lambda status: "does not exist" in (status["files"]["problem"] or ""), LONG)
    (tmp_path / "later").mkdir()
    (tmp_path / "later/a.csv").write_text("1")
    assert scheduler.wait_for(lambda status: status["files"]["problem"] is None, LONG)
    assert scheduler.wait_for(runs("files", 1), LONG)


def test_given_kinds_of_schedules_then_the_manager_has_their_mode(tmp_path: Path) -> None:
    scheduler = ScheduleManager()
    assert scheduler.mode is None
    scheduler.schedule("0 * * * *", nothing)
    assert scheduler.mode is ScheduleMode.CRON
    scheduler.schedule_file_watch(tmp_path, nothing)
    assert scheduler.mode is ScheduleMode.HYBRID
    assert [mode.value for mode in ScheduleMode] == ["cron", "interval", "file_watch", "hybrid"]


# --- errors, overlaps, callbacks that do not end ----------------------------------------------------------------------


def test_given_a_callback_that_raises_then_its_traceback_is_shown_and_it_is_called_again(
    make: Callable[..., ScheduleManager], caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise SystemExit("no such table")

    scheduler = make()
    scheduler.schedule_interval(1, broken)
    scheduler.start()
    assert scheduler.wait_for(lambda status: status["broken"]["error_count"] >= 2, LONG)
    error = scheduler.get_status("broken")["last_error"]
    assert "no such table" in error
    assert "in broken" in error
    assert "callbacks/manager.py" not in error
    assert "callback broken has failed" in caplog.text


def test_given_a_slow_callback_then_no_copies_overlap_and_the_skips_are_counted(
    make: Callable[..., ScheduleManager],
) -> None:
    go_on, calls = threading.Event(), []
    scheduler = make()
    scheduler.schedule_interval(1, lambda: (calls.append(1), go_on.wait(LONG)), name="slow")
    scheduler.start()
    assert scheduler.wait_for(lambda status: status["slow"]["skipped"].get("overlap", 0) >= 1, LONG)
    assert len(calls) == 1
    assert scheduler.get_status("slow")["running"] == 1
    go_on.set()
    assert scheduler.wait_for(lambda status: status["slow"]["run_count"] >= 2, LONG)


def test_given_overlap_allow_then_copies_run_side_by_side(make: Callable[..., ScheduleManager]) -> None:
    together = threading.Barrier(2, timeout=LONG)
    scheduler = make()
    scheduler.schedule_interval(1, together.wait, name="both", overlap="allow")
    scheduler.start()
    assert scheduler.wait_for(runs("both", 2), LONG)
    assert scheduler.get_status("both")["error_count"] == 0


def test_given_a_callback_that_never_returns_then_others_go_on_and_stop_leaves_it_behind(
    make: Callable[..., ScheduleManager],
) -> None:
    release, begun = threading.Event(), threading.Event()
    scheduler = make()
    scheduler.schedule_interval(1, lambda: (begun.set(), release.wait()), name="hangs")
    scheduler.schedule_interval(1, nothing, name="goes on")
    scheduler.start()
    assert begun.wait(LONG)
    assert scheduler.wait_for(runs("goes on", 2), LONG)
    assert not scheduler.stop(timeout=0.1)
    assert scheduler.get_status("hangs")["last_error"] == LEFT_BEHIND
    scheduler.start()  # it still runs: so it is not called again
    assert scheduler.wait_for(lambda status: status["hangs"]["skipped"].get("overlap", 0) >= 1, LONG)
    count = scheduler.get_status("hangs")["run_count"]
    release.set()
    assert scheduler.wait_for(lambda status: status["hangs"]["run_count"] > count, LONG)


# --- starting, stopping, changing -------------------------------------------------------------------------------------


def test_given_a_stop_then_it_waits_for_what_runs_and_leaves_nothing_behind(
    make: Callable[..., ScheduleManager], tmp_path: Path
) -> None:
    gc.collect()  # what earlier tests have left is not to be closed in the midst of this one
    threads, files = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    begun, done = threading.Event(), []
    scheduler = make(state_dir=tmp_path / "state")
    scheduler.schedule_interval(1, lambda: (begun.set(), threading.Event().wait(0.2), done.append(1)), name="work")
    scheduler.schedule_file_watch(tmp_path, nothing, name="files")
    scheduler.start()
    assert begun.wait(LONG)
    assert scheduler.stop()
    assert done == [1]
    status = scheduler.get_status("work")
    assert (status["is_active"], status["run_count"], status["running"]) == (True, 1, 0)
    for thread in set(threading.enumerate()) - threads:
        thread.join(LONG)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= files
    assert scheduler.stop()


def test_given_a_manager_as_a_context_then_it_runs_within(make: Callable[..., ScheduleManager]) -> None:
    with make() as scheduler:
        scheduler.schedule_interval(1, nothing, name="a")
        assert scheduler.is_running
        scheduler.start()  # once more does nothing
        assert scheduler.wait_for(runs("a", 1), LONG)
    assert not scheduler.is_running


def test_given_a_restart_of_a_manager_in_memory_then_it_goes_on_where_it_was(
    make: Callable[..., ScheduleManager], tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("1")
    scheduler, got = make(), []
    scheduler.schedule_file_watch(tmp_path, got.append, name="files")
    for expected in (1, 2):
        scheduler.start()
        assert scheduler.wait_for(runs("files", expected), LONG)
        scheduler.stop()
        (tmp_path / "b.csv").write_text("1")
    assert [path.name for path in got] == ["a.csv", "b.csv"]


def test_given_a_restart_in_memory_then_old_runs_are_forgotten_and_the_counts_stay(
    make: Callable[..., ScheduleManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "MEMORY_HISTORY", 0.0)
    monkeypatch.setattr(loop, "MEMORY_PRUNE", 0.1)
    scheduler = make()
    scheduler.schedule_interval(1, lambda: 1 / 0, name="fails")
    for expected in (1, 2):
        scheduler.start()
        assert scheduler.wait_for(runs("fails", expected), LONG)
        scheduler.stop()
        status = scheduler.get_status("fails")
        assert (status["run_count"], status["error_count"]) == (expected, expected)
        assert "ZeroDivisionError" in status["last_error"]
    engine = scheduler._memory
    assert engine is not None
    assert len(engine.answer("run.list", {"limit": 10})["items"]) < 2


def test_given_a_callback_that_stops_the_manager_then_it_ends_as_done(make: Callable[..., ScheduleManager]) -> None:
    scheduler = make()
    scheduler.schedule_interval(1, scheduler.stop, name="last")
    scheduler.start()
    assert scheduler.wait_for(runs("last", 1), LONG)
    assert scheduler.stop()
    status = scheduler.get_status("last")
    assert (status["run_count"], status["error_count"]) == (1, 0)


def test_given_schedules_that_come_and_go_while_running_then_only_the_present_ones_are_called(
    make: Callable[..., ScheduleManager],
) -> None:
    with make() as scheduler:
        assert scheduler.list_schedules() == []
        scheduler.schedule_interval(1, nothing, name="a")
        assert scheduler.wait_for(runs("a", 1), LONG)
        scheduler.schedule("* * * * * *", nothing, name="b")
        assert scheduler.unschedule("a")
        assert not scheduler.unschedule("a")
        assert scheduler.wait_for(runs("b", 1), LONG)
        assert scheduler.list_schedules() == list(scheduler.get_status()["schedules"]) == ["b"]


def test_given_many_threads_that_add_and_remove_then_each_gets_what_it_asked_for(
    make: Callable[..., ScheduleManager],
) -> None:
    scheduler = make()

    def work(number: int) -> None:
        for turn in range(20):
            scheduler.schedule("0 0 1 1 *", nothing, name=f"{number}-{turn}")
            if turn % 2:
                scheduler.unschedule(f"{number}-{turn}")

    with scheduler:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wanted = sorted(f"{number}-{turn}" for number in range(4) for turn in range(0, 20, 2))
        assert sorted(scheduler.get_status()["schedules"]) == wanted


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.schedule("61 * * * *", nothing, name="x"), "schedule x: cron: minute: 61 is not from 0 to 59"),
        (lambda s: s.schedule("* * *", nothing), "has 3 fields"),
        (lambda s: s.schedule("0 0 31 2 *", nothing), "cron"),
        (lambda s: s.schedule("0 * * * *", nothing, timezone="Europe/Berlim"), 'did you mean "Europe/Berlin"'),
        (lambda s: s.schedule("0 * * * *", nothing, overlap="cancel"), "a thread cannot be cancelled"),
        (lambda s: s.schedule("0 * * * *", nothing, overlap="skp"), "'skp' is none of skip"),
        (lambda s: s.schedule("0 * * * *", nothing, catch_up={"windw": 1}), "windw"),
        (lambda s: s.schedule("0 * * * *", nothing, name="taken"), "there is a schedule 'taken' already"),
        (lambda s: s.schedule("0 * * * *", nothing, name=""), "is not a text"),
        (lambda s: s.schedule_interval(0.5, nothing), "must be whole seconds"),
        (lambda s: s.schedule_interval(-1, nothing), "every"),
        (lambda s: s.schedule_interval(10, nothing, jitter=10), "must be shorter than every"),
        (lambda s: s.schedule_interval(10, nothing, start="soon"), "not a date or time"),
        (lambda s: s.schedule_file_watch(__file__, nothing), "is a file; a folder is watched"),
        (lambda s: s.schedule_file_watch(".", nothing, pattern="../*"), "pattern"),
        (lambda s: s.schedule_file_watch(".", nothing, settle=-1), "settle"),
    ],
)
def test_given_a_wrong_argument_then_the_error_names_it(call: Callable[[ScheduleManager], Any], message: str) -> None:
    scheduler = ScheduleManager()
    scheduler.schedule("0 0 * * *", nothing, name="taken")
    with pytest.raises(ValueError, match=re.escape(message)):
        call(scheduler)
    assert scheduler.list_schedules() == ["taken"]


def test_given_what_cannot_be_called_then_it_is_a_type_error() -> None:
    async def later() -> None:
        pass

    scheduler = ScheduleManager()
    with pytest.raises(TypeError, match="cannot be called"):
        scheduler.schedule("0 * * * *", "job")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="coroutine function"):
        scheduler.schedule("0 * * * *", later)
    with pytest.raises(TypeError, match="'nightly' is not a tuple of arguments; a name is given as name="):
        scheduler.schedule("0 * * * *", nothing, "nightly")
    with pytest.raises(TypeError, match="kwargs: 3 is not a dict"):
        scheduler.schedule_interval(60, nothing, (), 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"lambda cannot be called with args \(1, 2\) and kwargs {}: too many"):
        scheduler.schedule_interval(60, lambda one: one, (1, 2))
    with pytest.raises(TypeError, match=r"lambda cannot be called with the path, args \(\)"):
        scheduler.schedule_file_watch(".", lambda: None)
    assert scheduler.list_schedules() == []


def test_given_wrong_options_of_a_manager_then_they_are_refused() -> None:
    with pytest.raises(ValueError, match="max_workers"):
        ScheduleManager(max_workers=0)
    with pytest.raises(ValueError, match="unknown time zone"):
        ScheduleManager(timezone="Mars/Olympus")
    with pytest.raises(KeyError, match="there is no schedule 'x'; there are: none"):
        ScheduleManager(1.0).get_status("x")


def test_given_no_names_then_those_of_the_functions_are_taken() -> None:
    scheduler = ScheduleManager()
    scheduler.schedule("0 * * * *", nothing)
    scheduler.schedule_interval(300, nothing)
    scheduler.schedule_interval("5m", functools.partial(nothing, 1))
    scheduler.schedule_interval(5.0, lambda: None)
    assert scheduler.list_schedules() == ["nothing", "nothing-2", "nothing-3", "lambda"]
    assert scheduler.get_status("nothing-3")["expression"] == "every 5m"


def test_given_arguments_then_the_functions_are_called_with_them_after_the_path(
    make: Callable[..., ScheduleManager], tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    scheduler, got = make(), dict[str, Any]()

    def note(*args: Any, key: str, **more: Any) -> None:
        got.setdefault(key, (*args, more))

    scheduler.schedule("* * * * * *", note, (1,), {"key": "cron"})
    scheduler.schedule_interval(1, note, args=[2], kwargs={"key": "interval", "x": 5})
    scheduler.schedule_file_watch(tmp_path, note, "*.csv", ("n",), {"key": "files"}, "files")
    scheduler.start()
    assert scheduler.wait_for(lambda status: all(one["run_count"] for one in status.values()) and len(got) == 3, LONG)
    assert got == {"cron": (1, {}), "interval": (2, {"x": 5}), "files": (tmp_path / "a.csv", "n", {})}


def test_given_schedules_then_status_and_schedules_tell_what_code_for_odibi_core_asks_for(tmp_path: Path) -> None:
    scheduler = ScheduleManager(10.0)
    scheduler.schedule("0 * * * *", nothing, (1,), {"a": 2}, "hourly")
    scheduler.schedule_file_watch(tmp_path, nothing, pattern="*.csv", name="files")
    status = scheduler.get_status()
    assert (status["is_running"], status["schedule_count"], list(status["schedules"])) == (
        False,
        2,
        ["hourly", "files"],
    )
    hourly, files = scheduler.schedules.values()
    assert hourly == Schedule(
        "hourly", ScheduleMode.CRON, "0 * * * *", nothing, (1,), {"a": 2}, next_run=hourly.next_run
    )
    assert hourly.next_run is not None
    assert status["schedules"]["hourly"]["is_active"]
    assert (files.mode, files.watch_path, files.file_pattern) == ("file_watch", str(tmp_path), "*.csv")


def test_given_options_as_python_has_them_then_the_spec_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = arguments.timed(
        "a",
        "UTC",
        every=60,
        start=datetime(2026, 1, 1, 12, tzinfo=UTC),
        end=date(2027, 1, 1),
        exclude=[date(2026, 12, 25), "2026-12-26"],
        catch_up={"window": 7200, "policy": "all", "grace": "5s"},
        jitter=1.5,
    )
    assert (spec.start, spec.end) == (1767268800.0, 1798761600.0)
    assert (spec.exclude, spec.jitter) == (["2026-12-25", "2026-12-26"], 1.5)
    assert (spec.catch_up.window, spec.catch_up.policy, spec.catch_up.grace) == (7200.0, "all", 5.0)
    assert arguments.timed("a", "UTC", cron="@daily", catch_up="none").catch_up.policy == "none"
    monkeypatch.setenv("TZ", ":Asia/Tokyo")
    assert arguments.timed("a", arguments.local_zone(), cron="@daily").timezone == "Asia/Tokyo"
    monkeypatch.setenv("TZ", "JST-9")  # no IANA name
    assert arguments.local_zone() != "JST-9"


# --- durable ----------------------------------------------------------------------------------------------------------


def test_given_a_state_dir_then_a_second_manager_is_refused(
    make: Callable[..., ScheduleManager], tmp_path: Path
) -> None:
    first, second = make(state_dir=tmp_path), make(state_dir=tmp_path)
    first.start()
    with pytest.raises(ConflictError, match="in use by another ScheduleManager"):
        second.start()
    first.stop()
    second.start()


def test_given_no_state_dir_then_a_default_folder_remembers_and_others_beside_it_are_in_memory(
    make: Callable[..., ScheduleManager], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text("x\n1\n")
    calls: list[tuple[int, str]] = []
    for turn in (1, 2):  # as two processes
        scheduler = ScheduleManager()
        scheduler.schedule_file_watch("in", lambda path, turn=turn: calls.append((turn, path.name)), name="files")
        with scheduler:
            assert scheduler.wait_for(runs("files", turn), LONG)
            if turn == 1:
                beside = make(state_dir=manager.STATE_DIR)
                beside.schedule_file_watch("in", lambda path: calls.append((0, path.name)), name="files")
                beside.start()
                assert beside.wait_for(runs("files", 1), LONG)
                beside.stop()
        (tmp_path / "in/b.csv").write_text("x\n2\n")
    assert calls == [(1, "a.csv"), (0, "a.csv"), (2, "b.csv")]
    assert (tmp_path / "artifacts/schedules" / manager.DATABASE).exists()
    beside.start()  # stays in memory
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("schedules are in memory, and begin again with the process: state_dir")
    assert "in use by another ScheduleManager" in told


def test_given_a_default_folder_that_cannot_be_made_then_it_is_in_memory_and_says_so(
    make: Callable[..., ScheduleManager], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("artifacts").write_text("a file")
    scheduler = make(state_dir=manager.STATE_DIR)
    scheduler.schedule_interval(1, nothing, name="a")
    scheduler.start()
    assert scheduler.wait_for(runs("a", 1), LONG)
    assert "Not a directory" in caplog.text
    given = make(state_dir="artifacts/schedules")
    with pytest.raises(NotADirectoryError):
        given.start()


STAYS = """
import threading
from odibi_actors.scheduler import ScheduleManager
scheduler = ScheduleManager(state_dir=None)
def last():
    print("called")
    scheduler.stop()
scheduler.schedule_interval(1, last)
scheduler.start(daemon=False)
"""


def test_given_no_daemon_then_the_process_stays_until_stop() -> None:
    out, err = child(STAYS).communicate(timeout=LONG)
    assert (out, err) == ("called\n", "")


def test_given_a_downtime_then_the_latest_occurrence_runs_and_the_others_are_counted(
    make: Callable[..., ScheduleManager], tmp_path: Path
) -> None:
    engine = Engine(tmp_path / manager.DATABASE)
    engine.claim(0, "former")
    minute = int(time.time()) // 60 * 60
    spec = ScheduleSpec("job", cron="* * * * *", timezone="UTC")
    engine.apply(1, 1, [rec.Schedule("job", "job", spec, "cli", Place(minute - 10 * 60), 0.0)])
    engine.close()
    scheduler = make(state_dir=tmp_path)
    scheduler.schedule("* * * * *", nothing, name="job", timezone="UTC", catch_up={"grace": 0})
    scheduler.start()
    assert scheduler.wait_for(runs("job", 1), LONG)
    assert scheduler.get_status("job")["skipped"]["superseded by a later one"] >= 9


KILLED = """
import sys, threading
from odibi_actors.scheduler import ScheduleManager
scheduler = ScheduleManager(state_dir=sys.argv[1])
def one(path):
    print(path.name, flush=True)
    if path.name == "b.csv":
        threading.Event().wait()
scheduler.schedule_file_watch(sys.argv[2], one, name="files", pattern="*.csv")
scheduler.start()
threading.Event().wait()
"""


def test_given_a_process_killed_in_a_callback_then_no_file_comes_twice_and_none_is_missed(
    make: Callable[..., ScheduleManager], tmp_path: Path
) -> None:
    state, landing = tmp_path / "state", tmp_path / "landing"
    landing.mkdir()
    process = child(KILLED, state, landing)
    assert process.stdout is not None
    for name in ("a.csv", "b.csv"):
        (landing / name).write_text("1")
        assert process.stdout.readline() == f"{name}\n"
    (landing / "c.csv").write_text("1")
    process.kill()
    process.communicate()
    scheduler, got = make(state_dir=state), []
    scheduler.schedule_file_watch(landing, got.append, name="files", pattern="*.csv")
    scheduler.start()
    assert scheduler.wait_for(lambda status: bool(got) and status["files"]["running"] == 0, LONG)
    status = scheduler.get_status("files")
    assert [path.name for path in got] == ["c.csv"]
    assert (status["run_count"], status["error_count"], status["last_error"]) == (3, 1, INTERRUPTED)


def test_given_a_disk_that_fails_then_the_status_says_so(
    make: Callable[..., ScheduleManager], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise StoreError("the disk is full")

    scheduler = make(state_dir=tmp_path)
    scheduler.schedule("0 * * * *", nothing, name="a")
    monkeypatch.setattr(Engine, "apply", full)
    scheduler.start()
    assert scheduler.wait_for(lambda status: not status["a"]["is_active"], LONG)
    assert "the store has stopped" in scheduler.get_status("a")["problem"]
    assert not scheduler.is_running
    monkeypatch.undo()
    scheduler.start()
    assert scheduler.wait_for(lambda status: status["a"]["is_active"] and status["a"]["problem"] is None, LONG)


# --- processes --------------------------------------------------------------------------------------------------------

EXITS = """
import sys, threading
from odibi_actors.scheduler import ScheduleManager
begun = threading.Event()
scheduler = ScheduleManager(state_dir=sys.argv[1] or None)
scheduler.schedule_interval(1, lambda: (begun.set(), threading.Event().wait()), name="hangs")
scheduler.start()
begun.wait()
"""


@pytest.mark.parametrize("durable", [False, True])
def test_given_a_script_that_ends_while_a_callback_hangs_then_it_ends_silently(durable: bool, tmp_path: Path) -> None:
    process = child(EXITS, tmp_path / "state" if durable else "")
    out, err = process.communicate(timeout=LONG)
    assert (process.returncode, out, err) == (0, "", "")


def test_given_the_scheduler_alone_then_no_system_is_loaded_with_it() -> None:
    code = "import sys, odibi_actors.scheduler.actor; print([m for m in sys.modules if 'actors.local' in m])"
    out, err = child(code).communicate(timeout=LONG)
    assert (out, err) == ("[]\n", "")
    with pytest.raises(ImportError):
        from odibi_actors.scheduler import Nothing  # type: ignore[attr-defined] # noqa: F401


# --- the page ---------------------------------------------------------------------------------------------------------

EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_given_the_page_then_it_has_examples_and_names_every_field_of_the_status() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(EXAMPLES) >= 3
    scheduler = ScheduleManager()
    scheduler.schedule("0 * * * *", nothing)
    assert not [field for field in scheduler.get_status("nothing") if f"`{field}`" not in text]


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_given_an_example_of_the_page_then_it_runs(number: int, tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", EXAMPLES[number]],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert process.returncode == 0, process.stderr
