"""``odibictl up``: runs the lines of a Procfile, each in a session of its own, and starts again what dies.

A line of ours is the supervisor of an actor. It ends when the actor was asked to (0), or when a restart would not help
(2: invalid configuration, 4: somebody else has its role): then all the others are asked to end too. One that was
killed is started again with backoff, and its actor, which died with it, with it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from odibi_actors.runtime.console import Console
from odibi_actors.runtime.linux import exit_reason
from odibi_actors.runtime.logfile import LOOK
from odibi_actors.runtime.place import Place
from odibi_actors.runtime.procfile import Line
from odibi_actors.runtime.supervisor import BACKOFF, BACKOFF_MAX, FINAL, RECOVER, STEADY

GRACE = 25.0  # seconds for running nodes to finish once asked to stop, as `down` gives them
REST_GRACE = 10.0  # seconds then for the other actors: they have a few records to write
LAST_GRACE = 3.0  # seconds between asking for the second time and SIGKILL
LINE_MAX = 65536  # bytes of one line shown at once


class _Running:
    """A line, and its process while it has one."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.process: subprocess.Popen[bytes] | None = None
        self.output = -1
        self.rest = b""
        self.began = 0.0
        self.starts = 0
        self.delay = 0.0
        self.due: float | None = 0.0  # when to start it

    @property
    def early(self) -> bool:
        """Whether it is stopped first: workers, so that what they finish is recorded; and what is not ours."""
        return self.line.actor in ("worker", "")

    def signal(self, number: int) -> None:
        """Send it, if there is somebody."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)


class Launcher:
    """Runs ``lines`` in the folder ``root`` until they have ended; see ``run``. One that runs at a time in a process,
    in its main thread."""

    def __init__(
        self,
        lines: Sequence[Line],
        root: Path,
        env: Mapping[str, str],
        console: Console,
        *,
        data_dir: Path | None = None,
    ) -> None:
        self._lines = [_Running(line) for line in lines]
        self._root, self._console = root, console
        self._place = Place(root, *([data_dir] if data_dir is not None else []))
        self._env = {**env, "ODIBI_LAUNCHER": str(os.getpid())}
        self._told = 0  # how often we were asked to stop
        self._stage = 0  # 0: running; 1: workers are leaving; 2: the others; 3: asked again; 4: killed
        self._deadline = 0.0  # of the stage
        self._code = 0
        self._poll = select.poll()
        self._wake, self._wake_end = os.pipe()
        for fd in (self._wake, self._wake_end):
            os.set_blocking(fd, False)
        self._poll.register(self._wake, select.POLLIN)

    def run(self) -> int:
        """Until every line has ended; returns the exit code: 0 when asked to stop by SIGTERM, SIGHUP or `down`, 130 by
        SIGINT (Ctrl-C), 2 or 4 when a line ended with that, 4 also when the project was moved away, 1 when a
        line could not be started.

        A first signal lets running nodes finish, a second one kills.
        """
        former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        for number, handler in former.items():
            if handler is not signal.SIG_IGN or number == signal.SIGTERM:  # nohup, or a script's `up &`, mean it
                signal.signal(number, lambda *_: None)
        former[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        wakeup = signal.set_wakeup_fd(self._wake_end, warn_on_full_buffer=False)
        try:
            while self._turn():
                pass
            return self._code
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in former.items():
                signal.signal(number, handler)
            os.close(self._wake)
            os.close(self._wake_end)
            self._console.close()

    def _turn(self) -> bool:
        """Start what is due, wait for something to happen, react to it; False when all have ended."""
        now = time.monotonic()
        if self._stage:
            self._go_on_stopping(now)
            if not any(one.process for one in self._lines):
                return False
        else:
            for one in self._lines:
                if one.due is not None and one.due <= now:
                    self._start(one, now)
        times = [self._deadline] if self._stage else [one.due for one in self._lines if one.due is not None]
        patience = max(0.0, min([now + LOOK, *times]) - now) * 1000 + 1
        if self._console.waiting:
            self._poll.register(self._console.fd, select.POLLOUT)
        outputs = {one.output: one for one in self._lines if one.process is not None and one.output >= 0}
        ready = self._poll.poll(patience)
        if self._console.waiting:
            self._poll.unregister(self._console.fd)
        self._console.pump()
        for fd, _ in ready:
            if fd == self._wake:
                self._signalled()
            elif fd in outputs:
                self._copy(outputs[fd])
        self._reap()
        self._look_around()
        return True

    def _look_around(self) -> None:
        """Stop when the project is somewhere else: all that is here names paths below the former folder."""
        if not self._stage and (left := self._place.left()):
            self._console.say("error", f"{left}; stopping: `odibictl up` goes on where the project is now")
            self._stop(4)

    # --- lines ----------------------------------------------------------------------------------------------------

    def _start(self, one: _Running, now: float) -> None:
        env = {**self._env, RECOVER: "1"} if one.starts else self._env
        one.starts, one.began, one.due = one.starts + 1, now, None
        try:
            one.process = subprocess.Popen(
                one.line.argv,
                cwd=self._root,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in a terminal reaches us alone, and we stop the rest in order
            )
        except OSError as error:  # no processes, no memory: that may pass
            self._ended(one, f"cannot be started: {error}", now)
            return
        assert one.process.stdout is not None
        one.output, one.rest = one.process.stdout.fileno(), b""
        os.set_blocking(one.output, False)
        self._poll.register(one.output, select.POLLIN)

    def _copy(self, one: _Running) -> None:
        """Show the whole lines of what is there."""
        while True:
            try:
                data = os.read(one.output, LINE_MAX)
            except BlockingIOError:
                return
            if not data:
                self._poll.unregister(one.output)
                one.output = -1
                return
            *lines, one.rest = (one.rest + data).split(b"\n")
            if len(one.rest) >= LINE_MAX:
                lines, one.rest = [*lines, one.rest], b""
            for line in lines:
                self._console.write(one.line.name, line)

    def _reap(self) -> None:
        """Take note of every child that has ended: as the first process of a container, also of those it inherits."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            one = next((one for one in self._lines if one.process is not None and one.process.pid == pid), None)
            if one is not None:
                self._exited(one, os.waitstatus_to_exitcode(status), time.monotonic())

    def _exited(self, one: _Running, code: int, now: float) -> None:
        process = one.process
        assert process is not None
        assert process.stdout is not None
        if one.output >= 0:
            self._copy(one)  # what it said last; what it started may keep the pipe open for long
        if one.output >= 0:
            self._poll.unregister(one.output)
        if one.rest:
            self._console.write(one.line.name, one.rest)
        process.stdout.close()
        process.returncode = code
        one.process, one.output, one.rest = None, -1, b""
        if self._stage:
            return
        if one.line.actor and code in FINAL:
            if code:
                self._console.say("error", f"{one.line.name} ended with exit code {code}; stopping all")
            self._stop(code)
        elif one.line.actor and code > 0 and one.starts == 1 and now - one.began < STEADY:
            self._console.say("error", f"{one.line.name} could not be started: exit code {code}; stopping all")
            self._stop(1)
        else:
            self._ended(one, exit_reason(code), now)

    def _ended(self, one: _Running, reason: str, now: float) -> None:
        one.delay = 0.0 if now - one.began > STEADY else min(max(one.delay * 2, BACKOFF), BACKOFF_MAX)
        one.due = now + one.delay
        text = f"{one.line.name} is gone with its supervisor; starting again"
        self._console.say("error", text, reason=reason, delay=f"{one.delay:g}s")

    # --- the end --------------------------------------------------------------------------------------------------

    def _signalled(self) -> None:
        for number in os.read(self._wake, 64):
            if number == signal.SIGCHLD:
                continue
            self._told += 1
            if self._told == 1:
                self._console.say("info", "stopping: running nodes finish; a second signal stops at once")
                self._stop(130 if number == signal.SIGINT else 0)
            else:
                self._console.say("warning", "told twice: stopping at once")
                self._at_once()

    def _stop(self, code: int) -> None:
        """Ask all to end: the workers first, while there is somebody to record what they finish."""
        if self._stage:
            return
        self._code, self._stage, self._deadline = code, 1, time.monotonic() + GRACE
        self._tell(signal.SIGTERM, early=True)

    def _go_on_stopping(self, now: float) -> None:
        if self._stage == 1 and (now >= self._deadline or not self._living("worker")):
            if self._living("worker"):
                self._console.say("warning", f"nodes still run after {GRACE:g} s; they run again at the next start")
                self._tell(signal.SIGTERM, early=True)  # for the second time: at once
            self._stage, self._deadline = 2, now + REST_GRACE
            self._tell(signal.SIGTERM, early=False)
        elif self._stage == 2 and now >= self._deadline:
            left = ", ".join(one.line.name for one in self._lines if one.process)
            self._console.say("warning", f"still there: {left}; asking for the second time")
            self._stage, self._deadline = 3, now + LAST_GRACE
            for one in self._lines:
                one.signal(signal.SIGTERM)
        elif self._stage > 2 and now >= self._deadline:
            self._kill(now)

    def _at_once(self) -> None:
        """The second signal: an actor dies with its supervisor; other lines are told for the second time."""
        now = time.monotonic()
        for one in self._lines:
            one.signal(signal.SIGKILL if one.line.actor else signal.SIGTERM)
        self._stage, self._deadline = 3, now + 1.0

    def _kill(self, now: float) -> None:
        for one in self._lines:
            one.signal(signal.SIGKILL)
        self._stage, self._deadline = 4, now + LAST_GRACE

    def _tell(self, number: int, *, early: bool) -> None:
        for one in self._lines:
            if one.early == early:
                one.signal(number)

    def _living(self, actor: str) -> bool:
        return any(one.process is not None and one.line.actor == actor for one in self._lines)


def environment(root: Path, workers: int | None, inherited: Mapping[str, str]) -> dict[str, str]:
    """What lines inherit: their project, and our Python first where a line says ``python`` or ``odibictl``."""
    env = dict(inherited, ODIBI_PROJECT=str(root), PYTHONUNBUFFERED="1")
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    env.pop(RECOVER, None)
    if workers is not None:
        env["ODIBI_WORKERS"] = str(workers)
    return env
