"""Where Spark is: at ``SPARK_REMOTE``, or in the process ``host``, which whoever comes first starts."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from odibi_actors.errors import AccessError, MissingExtraError

LOCK: Final = "lock"
SOCKET: Final = "host"
LOG: Final = "log"
REMOTE: Final = "SPARK_REMOTE"
CONNECT: Final = "SPARK_CONNECT_MODE_ENABLED"
"""What tells ``pyspark.sql.functions`` that columns are those of Spark Connect."""
HINT: Final = "engine: spark needs pyspark; run: pip install 'odibi-actors[spark]'"
JAVA_HINT: Final = (
    "engine: spark needs Java 17 or newer (Debian, Ubuntu: apt install openjdk-17-jre-headless), or "
    f"{REMOTE}=sc://HOST:15002 where a Spark Connect server runs"
)
PATIENCE: Final = 300.0
"""Seconds that a start of Spark may take."""
AGAIN: Final = 0.05
"""Seconds until a host that is just starting is asked again."""
MAX_ANSWER: Final = 16_384
MAX_LOG: Final = 10_000_000
"""Bytes of the log beyond which a start begins it again."""
SHAPING: Final = ("SPARK_HOME", "SPARK_CONF_DIR", "JAVA_HOME", "PYSPARK_SUBMIT_ARGS", "PYSPARK_PYTHON")
"""Environment that makes one Spark another."""


class Place(NamedTuple):
    """A Spark Connect server. ``remote``: ``sc://host:port/;token=...``, a secret; ``shared``: it sees our files."""

    remote: str
    shared: bool = True


class Held:
    """A place, and our hold on its process, as long as we use it."""

    def __init__(self, place: Place, connection: socket.socket | None) -> None:
        self.place, self._connection = place, connection

    def gone(self) -> bool:
        """Whether its process has ended, as far as that is known."""
        if self._connection is None:
            return False
        try:
            return not self._connection.recv(1)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Let go."""
        if self._connection is not None:
            self._connection.close()


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    remote: str = ""
    error: str = ""


def missing() -> str:
    """What this host lacks to run ``engine: spark``, with the remedy; "" when nothing is missing."""
    if importlib.util.find_spec("pyspark") is None or importlib.util.find_spec("grpc") is None:
        return HINT
    home = os.environ.get("JAVA_HOME")
    java = os.path.join(home, "bin", "java") if home else shutil.which("java")
    if not os.environ.get(REMOTE) and not (java and os.access(java, os.X_OK)):
        return JAVA_HINT
    return ""


def find() -> Held:
    """The Spark of this environment, started if need be, which takes some ten seconds. Raises MissingExtraError, and
    AccessError when it does not come up."""
    if lack := missing():
        raise MissingExtraError(lack)
    if remote := os.environ.get(REMOTE):
        return Held(Place(remote, shared=False), None)
    folder = _folder()
    until = time.monotonic() + PATIENCE
    while True:
        connection = _connect(folder)
        if connection is not None and (held := _ask(connection, folder, until)) is not None:
            return held
        if time.monotonic() > until:
            raise AccessError(f"Spark did not start within {PATIENCE:g} s; what it said is in {folder / LOG}")
        if connection is None and not _start(folder):
            time.sleep(AGAIN)  # another one is about to open its socket; a process has no event for that


def processes() -> list[int]:
    """The numbers of the process ``host`` and of its JVM; fewer while it starts. Raises OSError when there is none."""
    return [int(pid) for pid in Path(_folder(), LOCK).read_text().split()]


def _folder() -> Path:
    """Of the hosts of this user and environment. Raises AccessError: it is somebody else's."""
    shape = "\0".join([sys.executable, version("pyspark"), *(os.environ.get(name, "") for name in SHAPING)])
    digest = hashlib.blake2b(os.fsencode(shape), digest_size=8).hexdigest()
    folder = Path("/tmp", f"odibi-spark-{os.getuid()}-{digest}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise AccessError(f"{folder} is not a folder of this user alone; remove it")
    return folder


def _connect(folder: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(folder / SOCKET))
    except OSError:
        connection.close()
        return None
    return connection


def _start(folder: Path) -> bool:
    """Start its process; returns, once that has opened its socket, whether it is the one that does it."""
    env = {key: value for key, value in os.environ.items() if key not in (REMOTE, CONNECT)}
    with Path(folder, LOG).open("ab") as log:
        if log.tell() > MAX_LOG:
            log.truncate(0)
        done = subprocess.run(
            [sys.executable, "-m", "odibi_actors.nodes.spark.host", str(folder)],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=env,
            start_new_session=True,
        )
    return done.returncode == 0


def _ask(connection: socket.socket, folder: Path, until: float) -> Held | None:
    """Where its Spark is, once that is up; None: it has ended meanwhile. Raises AccessError."""
    line = b""
    try:
        while not line.endswith(b"\n") and len(line) < MAX_ANSWER:
            connection.settimeout(max(0.1, until - time.monotonic()))
            if not (more := connection.recv(MAX_ANSWER)):
                connection.close()
                return None
            line += more
        answer = msgspec.json.decode(line, type=_Answer)
    except TimeoutError:
        connection.close()
        raise AccessError(f"Spark did not start within {PATIENCE:g} s; what it said is in {folder / LOG}") from None
    except (OSError, msgspec.DecodeError):
        connection.close()
        return None
    if answer.error:
        connection.close()
        raise AccessError(f"Spark does not start: {answer.error}; what it said is in {folder / LOG}")
    connection.setblocking(False)
    return Held(Place(answer.remote), connection)
