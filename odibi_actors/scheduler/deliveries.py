"""Telling the targets of alerts: commands of the project, and webhooks. A few threads, so that one that hangs holds up
nobody else."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any, Final

from odibi_actors.config.places import without_secret
from odibi_actors.messages import Told
from odibi_actors.scheduler.effects import Tell

THREADS: Final = 4
"""Targets that are told at once."""
MAX_WAITING: Final = 1_000
"""Targets that wait for a thread; more are refused, and tried again later."""
COMMAND_SECONDS: Final = 30.0
"""After which a command is killed."""
WEBHOOK_SECONDS: Final = 10.0
"""For which a webhook may be silent."""
SECRET: Final = 8
"""Characters from which on a piece of an address may be a secret; shorter ones are words, such as "hook"."""
KEPT: Final = 4_096
"""Bytes of what a command says on stderr, from the end."""


class DeliveryError(Exception):
    """A target was not told; the message says why."""


class Deliveries:
    """Carries out Tell in threads; ``answer`` is called from them, once for each. ``root``: the project's folder."""

    def __init__(self, root: Path, answer: Callable[[Told], None]) -> None:
        self._root, self._answer = root, answer
        self._lock = threading.Condition()
        self._waiting: deque[Tell] = deque()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._threads = 0
        self._idle = 0
        self._closed = False

    def put(self, tell: Tell) -> bool:
        """Have it told; False: too much waits already, or it is over."""
        with self._lock:
            if self._closed or len(self._waiting) >= MAX_WAITING:
                return False
            self._waiting.append(tell)
            if self._idle < len(self._waiting) and self._threads < THREADS:
                self._threads += 1
                threading.Thread(target=self._work, name=f"alerts-{self._threads}", daemon=True).start()
            self._lock.notify()
            return True

    def close(self) -> None:
        """Kill what runs, drop what waits."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
            self._lock.notify_all()
            for process in self._running:
                _kill(process)

    def _work(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
                while not self._waiting and not self._closed:
                    self._lock.wait()
                self._idle -= 1
                if self._closed:
                    return
                tell = self._waiting.popleft()
            self._answer(Told(tell.id, tell.target, self._tell(tell)))

    def _tell(self, tell: Tell) -> str:
        """Returns what went wrong, or ""; no part of it is the address of a webhook, whatever the other side says."""
        wrong = self._tried(tell)
        return _without(tell.spec.webhook, wrong) if tell.spec.webhook and wrong else wrong

    def _tried(self, tell: Tell) -> str:
        try:
            if tell.spec.command:
                self._command(tell.spec.command, tell.payload)
            else:
                post(tell.spec.webhook, tell.payload)
        except DeliveryError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - whatever a target does, its alert must not be stuck
            return f"{type(error).__name__}: {error}"
        return ""

    def _command(self, command: str, payload: dict[str, Any]) -> None:
        path = executable(self._root, command)
        # files, not pipes: whoever inherits them cannot make us wait, nor fill our memory
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
            given.write(json.dumps(payload).encode() + b"\n")
            given.seek(0)
            process = self._start(path, payload, given, said)
            try:
                code = process.wait(COMMAND_SECONDS)
            except subprocess.TimeoutExpired:
                raise DeliveryError(f"killed: it took more than {COMMAND_SECONDS:g} s") from None
            finally:
                _kill(process)  # also what it left behind
                process.wait()
                with self._lock:
                    self._running.discard(process)
            if code != 0:
                raise DeliveryError(f"exit code {code}{_last_line(said)}")

    def _start(self, path: Path, payload: dict[str, Any], given: IO[bytes], said: IO[bytes]) -> subprocess.Popen[bytes]:
        values = {name: str(value).replace("\0", "") for name, value in payload.items() if name != "schema"}
        environment = os.environ | {f"ODIBI_ALERT_{name.upper()}": value for name, value in values.items()}
        with self._lock:
            if self._closed:
                raise DeliveryError("the scheduler stops")
            try:
                process = subprocess.Popen(
                    [path],
                    stdin=given,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    cwd=self._root,
                    env=environment,
                    start_new_session=True,
                )
            except OSError as error:
                raise DeliveryError(f"cannot be run: {error.strerror}") from None
            self._running.add(process)
            return process


def executable(root: Path, command: str) -> Path:
    """The file of that name; raises DeliveryError when it is not an executable file of the project."""
    home = Path(os.path.realpath(root))
    path = Path(os.path.realpath(home / command))
    if not path.is_relative_to(home):
        raise DeliveryError(f"{path} is not below the project's folder")
    if not path.is_file():
        raise DeliveryError(f"there is no file {path}")
    if not os.access(path, os.X_OK):
        raise DeliveryError(f"not executable; run: chmod +x {path}")
    return path


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as an empty GET, wherever the other side likes."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        raise DeliveryError(f"answers {code}: moved to {without_secret(newurl)}; name the new address in odibi.yaml")


def _without(address: str, text: str) -> str:
    """The text without the address, its path, its query, and the longer pieces of them."""
    rest = address.partition("://")[2].partition("/")[2]
    pieces = {address, f"/{rest}", *rest.split("?"), *re.split("[/?=&#]", rest)}
    for piece in sorted(pieces, key=len, reverse=True):
        if len(piece) >= SECRET:
            text = text.replace(piece, "...")
    return text


def post(address: str, payload: dict[str, Any]) -> None:
    """POST the payload as JSON; raises DeliveryError unless the answer is a success."""
    if not address.startswith(("http://", "https://")):
        raise DeliveryError("a webhook begins with http:// or https://")
    head = {"Content-Type": "application/json", "User-Agent": "odibi-actors"}
    try:
        request = urllib.request.Request(address, json.dumps(payload).encode(), head, method="POST")
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=WEBHOOK_SECONDS):
            return
    except urllib.error.HTTPError as error:
        with error:
            raise DeliveryError(f"answers {error.code} {error.reason}".rstrip()) from None
    except urllib.error.URLError as error:
        raise DeliveryError(f"cannot be reached: {error.reason}") from None
    except TimeoutError:
        raise DeliveryError(f"no answer within {WEBHOOK_SECONDS:g} s") from None
    except (OSError, HTTPException, ValueError) as error:
        raise DeliveryError(f"{type(error).__name__}: {error}") from None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The command and its children, as far as they stayed in its session."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _last_line(said: IO[bytes]) -> str:
    said.seek(max(0, said.seek(0, os.SEEK_END) - KEPT))
    lines = said.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f": {last[:500]}" if last else ""
