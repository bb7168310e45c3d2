"""``python -m odibi_actors.nodes.spark.host FOLDER``: one Spark, in local mode, for whoever on this host asks for it.

A session of Spark takes seconds to start and hundreds of megabytes: workers share one, through Spark Connect
(https://spark.apache.org/docs/latest/spark-connect-overview.html), which keeps the JVM out of their processes. Whoever
uses it holds a connection to the socket in FOLDER, over which it was told where the server is, and its token. It ends
when nobody has held one for ``LINGER`` seconds; a user who dies lets go by dying. Whoever kills it costs its users a
retry: they see the connection end, and start another.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import selectors
import socket
import sys
import time
from pathlib import Path
from typing import IO, Any, Final

from odibi_actors.nodes.spark.finding import LOCK, SOCKET, Place

LINGER: Final = 60.0
"""Seconds that it waits for another user."""
LOOK: Final = 1.0
"""Seconds between looks at the JVM."""
MAX_ERROR: Final = 4000
"""Characters that are told of a start that failed."""
SETTINGS: Final = {
    "spark.app.name": "odibi-actors",
    "spark.ui.enabled": "false",
    "spark.log.level": "FATAL",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.connect.grpc.binding.address": "127.0.0.1",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.runSQLOnFiles": "false",
    "spark.connect.execute.manager.detachedTimeout": "30s",
    "spark.connect.session.manager.defaultSessionTimeout": "24h",
}
"""Loopback alone; SQL sees its inputs, no files; what a dead worker has left running is ended. What fails in a query is
told to whoever has asked it, and not logged as well."""
PREFERRED: Final = {"spark.sql.shuffle.partitions": str(os.cpu_count() or 1)}
"""Where ``spark-defaults.conf`` does not say otherwise: two hundred partitions are meant for clusters."""


def main() -> int:
    """The process; returns its exit code: 0 once another one, which goes on, has opened the socket."""
    reading, writing = os.pipe()
    if os.fork():  # whoever has started us waits until there is a socket, and has no child to look after
        os.close(writing)
        return 0 if os.read(reading, 1) else 1
    os.close(reading)
    folder = Path(sys.argv[1])
    with Path(folder, LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0  # another one is faster
        _sign(lock, os.getpid())
        Path(folder, SOCKET).unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(folder / SOCKET))
            listener.listen(128)
            os.write(writing, b"1")
            os.close(writing)
            return _serve(listener, folder, lock)


def _sign(lock: IO[str], *pids: int) -> None:
    """Leave our number, and that of the JVM, for whoever wants to look at them."""
    lock.truncate(0)
    lock.write("".join(f"{pid}\n" for pid in pids))
    lock.flush()


def _serve(listener: socket.socket, folder: Path, lock: IO[str]) -> int:
    try:
        place, jvm = _start(folder)
        _sign(lock, os.getpid(), jvm.pid)
    except Exception as error:  # noqa: BLE001 - whatever it was, it is told to those who wait
        return _refuse(listener, f"{type(error).__name__}: {error}")
    _attend(listener, place, jvm)
    Path(folder, SOCKET).unlink(missing_ok=True)
    return 0


def _start(folder: Path) -> tuple[Place, Any]:
    """Start Spark; returns where it is and the process of its JVM."""
    os.environ.pop("SPARK_REMOTE", None)
    # by the environment, which no other user sees: settings are arguments of the JVM, for everybody to read
    os.environ["SPARK_CONNECT_AUTHENTICATE_TOKEN"] = token = secrets.token_hex(16)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession

    conf = SparkConf(loadDefaults=True)
    port = _free_port()
    for key, value in SETTINGS.items():
        conf.set(key, value)
    for key, value in PREFERRED.items():
        conf.setIfMissing(key, value)
    conf.setIfMissing("spark.master", "local[*]")
    conf.setIfMissing("spark.sql.warehouse.dir", str(folder / "warehouse"))
    conf.set("spark.plugins", "org.apache.spark.sql.connect.SparkConnectPlugin")
    conf.set("spark.connect.grpc.binding.port", str(port))
    conf.set("spark.sql.artifact.isolation.enabled", "true")
    context = SparkContext.getOrCreate(conf)
    SparkSession(context)  # that Connect's sessions are made of
    gateway: Any = context._gateway
    return Place(f"sc://localhost:{port}/;token={token}"), gateway.proc


def _free_port() -> int:
    """One that nobody listens at now. Should somebody take it before Spark does, the start fails: it is tried again."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _attend(listener: socket.socket, place: Place, jvm: Any) -> None:
    """Tell whoever comes where Spark is, until nobody has been there for a while, or the JVM is gone."""
    told = json.dumps({"remote": place.remote}).encode() + b"\n"
    empty = time.monotonic()
    with selectors.DefaultSelector() as ready:
        ready.register(listener, selectors.EVENT_READ)
        while jvm.poll() is None:
            if len(ready.get_map()) > 1:
                empty = time.monotonic()
            elif time.monotonic() - empty >= LINGER:
                return
            for key, _ in ready.select(LOOK):
                if key.fileobj is listener:
                    user, _ = listener.accept()
                    if jvm.poll() is not None:
                        return  # it ends without an answer, and the next one is started
                    user.setblocking(False)
                    if _told(user, told):
                        ready.register(user, selectors.EVENT_READ)
                elif isinstance(key.fileobj, socket.socket) and _left(key.fileobj):
                    ready.unregister(key.fileobj)
                    key.fileobj.close()


def _told(user: socket.socket, line: bytes) -> bool:
    try:
        user.sendall(line)
    except OSError:
        user.close()
        return False
    return True


def _left(user: socket.socket) -> bool:
    try:
        return not user.recv(4096)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _refuse(listener: socket.socket, error: str) -> int:
    """Tell those who wait why there is no Spark."""
    told = json.dumps({"error": error[:MAX_ERROR]}).encode() + b"\n"
    listener.settimeout(LOOK)
    while True:
        try:
            user, _ = listener.accept()
        except OSError:
            return 1
        with user:
            _told(user, told)


if __name__ == "__main__":
    ended = main()
    sys.stderr.flush()
    os._exit(ended)  # pyspark would ask a JVM that may be gone to stop; it ends by itself with us
