"""``ScheduleManager``: Python functions on cron, interval and file schedules, each in a thread, nothing unseen."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import msgspec

from odibi_actors.checkpoint.engine import Engine
from odibi_actors.config.model import ScheduleSpec
from odibi_actors.errors import ConflictError, OdibiError
from odibi_actors.local.callbacks import arguments
from odibi_actors.local.callbacks.arguments import Called, CatchUp, Days, Dst, Moment, Overlap
from odibi_actors.local.callbacks.desk import Desk
from odibi_actors.local.callbacks.driver import DeskDriver
from odibi_actors.local.callbacks.effects import Call, Ended, Leave, Registered, Shown, Unscheduled
from odibi_actors.local.callbacks.loop import Loop
from odibi_actors.local.callbacks.status import MODES, Schedule, ScheduleMode, schedule_of, status_of
from odibi_actors.model import Place
from odibi_actors.runtime.process import Clock

log = logging.getLogger("odibi_actors.scheduler")

MAX_WORKERS: Final = 32
"""Callbacks at a time, if nothing is said: they mostly wait, for a disk or a network."""
MAX_ERROR: Final = 10_000
"""Characters of a traceback that are kept: its end."""
DATABASE: Final = "schedules.db"
STATE_DIR: Final = Path("artifacts/schedules")
"""Where a manager keeps its state, if nothing is said."""


class _Job(msgspec.Struct):
    """A schedule of this manager; ``shown`` is its newest state."""

    number: int
    called: Called
    shown: Shown


class ScheduleManager:
    """Calls functions when their time has come, each in a thread.

    ``state_dir``: a folder in which places, seen files and runs are kept, so that a restart goes on where the process
    ended; None: all is in memory. Where another manager has the default one, or it cannot be made, this one is in
    memory, and a warning says so. ``max_workers``: callbacks at a time. ``timezone``: of schedules that name none;
    default: the machine's. ``check_interval`` is taken for code that was written for odibi_core, and ignored: nothing
    polls.

    Every method may be called from any thread, while running or not.
    """

    def __init__(
        self,
        check_interval: float = 10.0,
        *,
        state_dir: str | os.PathLike[str] | None = STATE_DIR,
        max_workers: int = MAX_WORKERS,
        timezone: str | None = None,
    ) -> None:
        if max_workers < 1:
            raise ValueError(f"max_workers: {max_workers} is not a number from 1 on")
        self.timezone = timezone or arguments.local_zone()
        arguments.timed("timezone", self.timezone, cron="0 0 * * *")  # is there such a zone?
        self.state_dir = Path(os.path.abspath(state_dir)) if state_dir is not None else None
        self._given = state_dir is not STATE_DIR
        self._max_workers = max_workers
        self._clock = Clock()
        self._memory: Engine | None = None  # outlives a stop
        self._jobs: dict[str, _Job] = {}
        self._called: dict[int, Called] = {}
        self._numbers = 0
        self._news = threading.Condition()  # guards all that follows and precedes
        self._starting = threading.Lock()  # one start or stop at a time
        self._driver: DeskDriver | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._calls: dict[str, tuple[str, int]] = {}  # run -> (schedule, thread)
        self._problem = ""

    # --- schedules ----------------------------------------------------------------------------------------------------

    def schedule(
        self,
        expression: str,
        function: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        *,
        timezone: str | None = None,
        dst: Dst | None = None,
        overlap: Overlap = "skip",
        catch_up: CatchUp | None = None,
        jitter: float | str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        exclude: Days | None = None,
    ) -> str:
        """Call ``function(*args, **kwargs)`` when the expression says so: 5 fields, or 6 with seconds first, or
        ``@hourly`` and its kin.

        Returns the name. Raises ValueError for an expression or option that is wrong, or a name that is taken,
        TypeError for a function that cannot be called so.
        """
        given = {"timezone": timezone, "dst": dst, "overlap": overlap, "catch_up": catch_up, "jitter": jitter}
        span = {"start": start, "end": end, "exclude": exclude}
        return self._add(
            Called.of(function, args, kwargs),
            name,
            lambda own: arguments.timed(own, self.timezone, cron=expression, **given, **span),
        )

    def schedule_interval(
        self,
        seconds: float | str,
        function: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        *,
        timezone: str | None = None,
        overlap: Overlap = "skip",
        catch_up: CatchUp | None = None,
        jitter: float | str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        exclude: Days | None = None,
    ) -> str:
        """Call ``function(*args, **kwargs)`` every so many whole ``seconds`` (or ``"5m"``), counted from ``start``,
        else from the moment it begins: without drift, however long a call takes. Returns the name. Raises ValueError,
        TypeError.
        """
        given = {"timezone": timezone, "overlap": overlap, "catch_up": catch_up, "jitter": jitter}
        span = {"start": start, "end": end, "exclude": exclude}
        return self._add(
            Called.of(function, args, kwargs),
            name,
            lambda own: arguments.timed(own, self.timezone, every=seconds, **given, **span),
        )

    def schedule_file_watch(
        self,
        watch_path: str | os.PathLike[str],
        function: Callable[..., Any],
        pattern: str = "*.*",
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        *,
        overlap: Overlap = "buffer_all",
        settle: float = 2.0,
    ) -> str:
        """Call ``function(path, *args, **kwargs)``, path a ``pathlib.Path``, once for each file in the folder that
        matches, those that are there included, as soon as it is written whole: it was closed, or moved in, or, where
        that cannot be seen, has not changed for ``settle`` seconds. Returns the name. Raises ValueError, TypeError.
        """
        return self._add(
            Called.of(function, args, kwargs, Path()),
            name,
            lambda own: arguments.watch(own, watch_path, pattern, settle, overlap),
        )

    def unschedule(self, name: str) -> bool:
        """End a schedule. A callback that runs goes on. Whether there was one."""
        with self._news:
            job = self._jobs.pop(name, None)
            if job is None:
                return False
            del self._called[job.number]
            if self._driver is not None:
                self._driver.post(Unscheduled(name))
            self._news.notify_all()
        return True

    def _add(self, called: Called, name: str | None, spec_of: Callable[[str], ScheduleSpec]) -> str:
        with self._news:
            spec = spec_of(arguments.name_of(called.function, name, self._jobs))
            self._numbers += 1
            job = _Job(self._numbers, called, Shown(spec, Place(0)))
            self._jobs[spec.name] = job
            self._called[job.number] = called
            if self._driver is not None:
                self._driver.post(self._registered(job))
        return spec.name

    def _registered(self, job: _Job) -> Registered:
        shown = job.shown
        return Registered(job.number, shown.spec, time.time(), shown.errors, shown.last_error, shown.last_run)

    # --- running ------------------------------------------------------------------------------------------------------

    def start(self, daemon: bool = True) -> None:
        """Begin, in a background thread; does nothing when it has begun. ``daemon=False``: the process does not end
        before ``stop`` is called. Raises ConflictError when another manager holds the ``state_dir`` that was given,
        StoreError when it cannot be read."""
        with self._starting:
            if self._thread is not None:
                if self.is_running:
                    return
                if self._within():
                    raise RuntimeError("a callback cannot start the manager that waits for its end")
                self._thread.join()
            engine = self._engine()
            with self._news:
                self._problem, self._stopping = "", False
                left = {run: name for run, (name, _) in self._calls.items()}
                driver = self._driver = DeskDriver(self._max_workers, self._job, self._show)
                desk = Desk(os.urandom(6).hex(), self._max_workers, left)
                for job in self._jobs.values():
                    driver.post(self._registered(job))
            loop = Loop(self._clock, engine, desk, driver, durable=self.state_dir is not None)
            self._thread = threading.Thread(target=self._run, args=(loop,), name="odibi-scheduler", daemon=daemon)
            self._thread.start()
            atexit.register(self._at_exit)

    def stop(self, wait: bool = True, timeout: float | None = None) -> bool:
        """Begin nothing more, ``wait`` for callbacks that run (at most ``timeout`` seconds), end the threads. Whether
        every callback has ended: one that has not is recorded as failed, and goes on until it returns or the process
        ends. Called by a callback it only asks, and that callback is waited for in the background."""
        with self._news:
            thread, driver = self._thread, self._driver
            if thread is None or driver is None:
                return not self._calls
            self._stopping = True
            until = self._clock() + (timeout or 0.0) if timeout is not None or not wait else None
            driver.post(Leave(until))
        if self._within():
            return False
        thread.join()
        with self._news:
            return not self._calls

    def __enter__(self) -> ScheduleManager:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def is_running(self) -> bool:
        """It was started, and not stopped; no error has ended it."""
        with self._news:
            return self._driver is not None and not self._stopping

    @property
    def mode(self) -> ScheduleMode | None:
        """The kind of its schedules, HYBRID if there are several, None if there are no schedules."""
        with self._news:
            modes = {MODES[job.shown.spec.kind]: None for job in self._jobs.values()}
        return ScheduleMode.HYBRID if len(modes) > 1 else next(iter(modes), None)

    def _within(self) -> bool:
        """Whether this thread is in a callback."""
        with self._news:
            return threading.get_ident() in [ident for _, ident in self._calls.values()]

    def _engine(self) -> Engine:
        if self.state_dir is not None:
            try:
                self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
                return Engine(self.state_dir / DATABASE)
            except (ConflictError, OSError) as error:
                taken = isinstance(error, ConflictError)
                why = (
                    f"state_dir {self.state_dir} is in use by another ScheduleManager: {error}" if taken else str(error)
                )
                if self._given:
                    raise (ConflictError(why) if taken else error) from error
                log.warning("schedules are in memory, and begin again with the process: %s; give a state_dir", why)
                self.state_dir = None
        self._memory = self._memory or Engine(":memory:")
        return self._memory

    def _run(self, loop: Loop) -> None:
        """The background thread."""
        problem = ""
        try:
            loop.run()
        except OdibiError as error:
            problem = str(error)
        except Exception as error:  # a thread must not die unheard: whoever asks for the status is told
            problem = f"{type(error).__name__}: {error}"
            log.exception("the scheduler's thread has ended by a bug")
        if problem:
            log.error("nothing is scheduled any more: %s", problem)
        try:
            loop.close()
        finally:
            atexit.unregister(self._at_exit)
            with self._news:
                self._driver, self._problem = None, problem
                self._news.notify_all()

    def _at_exit(self) -> None:
        self.stop(wait=False)

    # --- callbacks ----------------------------------------------------------------------------------------------------

    def _job(self, call: Call) -> Callable[[], None]:
        """What a thread is to do for a Call."""
        with self._news:
            self._calls[call.run] = (call.name, 0)
        return lambda: self._call(call)

    def _call(self, call: Call) -> None:
        """Call the function, in this thread, and tell the desk of now: that may be the one after it was left behind."""
        with self._news:
            called = self._called.get(call.number)
            self._calls[call.run] = (call.name, threading.get_ident())
        error = ""
        try:
            if called is None:
                error = "it was unscheduled before the callback was called"
            elif call.path:
                called(Path(call.path))
            else:
                called()
        except BaseException as raised:  # noqa: BLE001 - user code: whatever it raises must not end the thread
            frames = raised.__traceback__.tb_next if raised.__traceback__ is not None else None  # without this one
            error = "".join(traceback.format_exception(type(raised), raised, frames))[-MAX_ERROR:]
            log.error("callback %s has failed (run %s)\n%s", call.name, call.run, error)
        with self._news:
            del self._calls[call.run]
            if self._driver is not None:
                self._driver.post(Ended(call.run, error))

    def _show(self, items: dict[str, Shown | None]) -> None:
        with self._news:
            for name, shown in items.items():
                job = self._jobs.get(name)
                if job is not None and shown is not None:
                    job.shown = shown
            self._news.notify_all()

    # --- what people see ----------------------------------------------------------------------------------------------

    def list_schedules(self) -> list[str]:
        """Names, in the order in which they were scheduled."""
        with self._news:
            return list(self._jobs)

    def get_status(self, name: str | None = None) -> dict[str, Any]:
        """``is_running``: it was started, and not stopped, and no error has ended it; ``schedule_count``;
        ``schedules``: name -> how it is. With a name only how that one is; raises KeyError if it is not there.

        ``mode``, ``expression``, ``timezone``; ``is_active``: no error has ended it; ``last_run``, ``next_run``: aware
        datetimes or None (the begin of the newest run; the next due time); ``run_count``: runs begun, ``error_count``:
        failed ones, ``last_error``: traceback of the newest, or None; ``skipped``: reason -> occurrences;
        ``running``: runs in progress, ``running_since``: the begin of the oldest; ``waiting``: occurrences and files
        that wait; ``problem``: text or None.
        """
        with self._news:
            if name is not None and name not in self._jobs:
                raise KeyError(f"there is no schedule {name!r}; there are: {', '.join(self._jobs) or 'none'}")
            wanted = {key: job.shown for key, job in self._jobs.items() if name in (None, key)}
            running, problem = self.is_running, self._problem
        found = {
            key: status_of(shown, self.timezone, running=running, problem=problem) for key, shown in wanted.items()
        }
        if name is not None:
            return found[name]
        return {"is_running": running, "schedule_count": len(found), "schedules": found}

    @property
    def schedules(self) -> dict[str, Schedule]:
        """The schedules by name, as they are now."""
        with self._news:
            status = self.get_status()["schedules"]
            return {
                name: schedule_of(name, job.called, job.shown.spec, status[name]) for name, job in self._jobs.items()
            }

    def wait_for(self, condition: Callable[[dict[str, Any]], bool], timeout: float | None = None) -> bool:
        """Wait until ``condition(get_status()["schedules"])`` holds, looking whenever something changes; at most
        ``timeout`` seconds. Whether it does."""
        with self._news:
            return self._news.wait_for(lambda: condition(self.get_status()["schedules"]), timeout)
