"""Keeps one actor alive: the small process behind each line of the Procfile.

``odibictl up`` and honcho stop everything as soon as one line exits, so a line may exit only because it was asked to
(0), because its configuration is invalid (2), or because another instance has its role (4); every other death is
followed by a new start. It dies with honcho or ``odibictl up``, and its actor dies with it, whoever is killed.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from odibi_actors.runtime.linux import abandoned, die_with_parent, exit_reason, launchers
from odibi_actors.runtime.log import stamped
from odibi_actors.runtime.logfile import LOOK, LogFile
from odibi_actors.runtime.outlet import Outlet

BACKOFF, BACKOFF_MAX = 0.1, 5.0  # seconds before the start of one that died soon after the last, doubling
STEADY = 2.0  # seconds up after which a death is a first one: the next start is at once
ORPHAN_GRACE = 2.0  # seconds to drain when whoever launched us was killed; below paths.PREDECESSOR, for who comes next
LINE_MAX = 65536  # bytes of one line shown at once
FINAL = (0, 2, 4)  # exit codes a restart would not fix, or should not
RECOVER = "ODIBI_RECOVER"
"""Set for a line that is not started for the first time: its broker goes on with the versions in the store."""
RESTART = 70  # what an actor returns to be started again (EX_SOFTWARE)


class Supervisor:
    """Runs ``argv`` until it ends for good. See ``supervise``."""

    def __init__(
        self,
        argv: Sequence[str],
        restart: Sequence[str],
        name: str,
        data_dir: Path,
        final: Sequence[int] = FINAL,
        longest: float = BACKOFF_MAX,
    ) -> None:
        self._final, self._longest = final, longest
        self._argv, self._restart, self._name = list(argv), list(restart), name
        self._log_path = data_dir / "log" / f"{name}.log"
        self._file = LogFile(self._log_path)
        self._outlet = Outlet(self._left_out)
        self._rest = b""  # of a line that has not ended
        self._child: subprocess.Popen[bytes] | None = None
        self._told = 0  # how often we were asked to stop
        self._kill_at: float | None = None
        self._wake, wake_end = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wake_end, False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        self._launchers = [os.pidfd_open(pid) for pid in launchers()]
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        for fd in self._launchers:
            self._poll.register(fd, select.POLLIN)

    def run(self) -> int:
        """Until the actor ends for good; returns the exit code of this line."""
        try:
            return self._run()
        finally:
            self._outlet.close()

    def _run(self) -> int:
        if abandoned():
            self._say("warning", "the process that launched us was gone before we began; not starting")
            return 0
        argv, delay, reason, deaths = self._argv, 0.0, "", 0
        while True:
            began = time.monotonic()
            status = self._run_once(argv, reason)
            if self._told:
                return 0
            if status in self._final:
                return status
            steady = time.monotonic() - began > STEADY
            delay, deaths = (0.0, 1) if steady else (delay, deaths + 1)
            reason = exit_reason(status)
            ended = "ended" if status == 0 else "died"
            # deaths soon after a start; one that lived for a while is the first again
            times = {"in_a_row": deaths} if deaths > 1 else {}
            self._say("error", f"{ended}; starting again", reason=reason, delay=f"{delay:g}s", **times)
            if self._pause(delay):
                return 0
            argv, delay = self._restart, min(max(delay * 2, BACKOFF), self._longest)

    def _run_once(self, argv: list[str], former: str) -> int:
        """One life of the actor; returns its code, minus the signal when it was killed."""
        me = os.getpid()
        # a session of its own: honcho signals whole process groups, and a drain must be asked for once, by us
        self._child = child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(me),  # noqa: PLW1509 - this process has one thread
        )
        assert child.stdout is not None
        output = child.stdout.fileno()
        os.set_blocking(output, False)
        self._poll.register(output, select.POLLIN)
        self._say("info", "started", pid=child.pid, **({"former": former} if former else {}))
        if self._told:
            self._stop()
        open_output = True
        while child.poll() is None:
            for fd in self._wait(self._patience()):
                if fd == output and open_output:
                    open_output = self._copy(output)
                self._react(fd)
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                self._told = max(2, self._told)
                self._stop()
        if open_output and self._copy(output):  # what it said last; a grandchild may keep the pipe open for long
            self._poll.unregister(output)
        if self._rest:
            self._outlet.write(self._rest + b"\n")
            self._rest = b""
        child.stdout.close()
        self._child = None
        return child.returncode

    def _copy(self, output: int) -> bool:
        """Copy what is there; False at the end of the output, which is then no longer polled."""
        while True:
            try:
                data = os.read(output, 65536)
            except BlockingIOError:
                return True
            if not data:
                self._poll.unregister(output)
                return False
            self._write(data)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
        if newline:
            self._outlet.write(whole + newline)
        if len(self._rest) >= LINE_MAX:
            self._outlet.write(self._rest + b"\n")
            self._rest = b""

    def _wait(self, patience: float | None) -> list[int]:
        """The descriptors at which something has happened within ``patience`` milliseconds, or until the next look at
        the log file. Whoever reads our stderr is given what it takes meanwhile."""
        look = LOOK * 1000
        if self._outlet.waiting:
            self._poll.register(self._outlet.fd, select.POLLOUT)
        ready = [fd for fd, _ in self._poll.poll(look if patience is None else min(look, patience))]
        if self._outlet.waiting:
            self._poll.unregister(self._outlet.fd)
            self._outlet.pump()
        self._file.look()
        return ready

    def _react(self, fd: int) -> None:
        if fd == self._wake:
            for number in os.read(self._wake, 64):
                if number != signal.SIGCHLD:
                    self._told += 1
                    self._stop()
        elif fd in self._launchers:
            self._launchers.remove(fd)
            self._poll.unregister(fd)
            os.close(fd)
            self._say("warning", "the process that launched us is gone; stopping")
            self._told += 1
            self._stop()
            self._kill_at = time.monotonic() + ORPHAN_GRACE

    def _stop(self) -> None:
        if self._child is None or self._child.returncode is not None:
            return
        number = signal.SIGTERM if self._told == 1 else signal.SIGKILL
        if self._final:
            self._child.send_signal(number)
        else:  # a shell and what it runs; an actor tells its own
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, number)

    def _pause(self, seconds: float) -> bool:
        """Wait before a restart; True when asked to stop meanwhile."""
        end = time.monotonic() + seconds
        while not self._told and (left := end - time.monotonic()) > 0:
            for fd in self._wait(left * 1000):
                self._react(fd)
        return self._told > 0

    def _patience(self) -> float | None:
        return None if self._kill_at is None else max(0.0, self._kill_at - time.monotonic()) * 1000 + 1

    def _say(self, level: str, text: str, **fields: object) -> None:
        line = stamped(level, self._name, text, fields).encode()
        if line:
            self._file.write(line)
            self._outlet.write(line)

    def _left_out(self, count: int) -> bytes:
        text = f"{count} lines were not shown here, because nothing took them: they are in {self._log_path}"
        return stamped("warning", self._name, text).encode()


def supervise(argv: Sequence[str], name: str, data_dir: Path, restart: Sequence[str] | None = None) -> int:
    """Run ``argv`` as the actor ``name`` and keep it running; ``restart`` is what later starts run instead.

    What it prints goes to our stderr and to ``<data_dir>/log/<name>.log``. Returns the exit code: 0 when the actor
    or we were asked to stop, 2 or 4 when a restart would not fix it. SIGTERM drains, a second one kills.
    """
    return Supervisor(argv, argv if restart is None else restart, name, data_dir).run()
