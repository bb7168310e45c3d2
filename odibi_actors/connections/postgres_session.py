"""A connection to PostgreSQL whose statements end, whatever becomes of the server or of the network."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from odibi_actors.connections.postgres import PIP
from odibi_actors.errors import ConflictError, MissingExtraError
from odibi_actors.kinds.connection import Access

ANSWER = 60.0
"""Seconds that a statement may take by default."""
APPLICATION = "odibi-actors"
GRACE = 1.0
"""Seconds beyond it after which a server that says nothing is given up."""
WAITING = 0.9
"""Part of that which it may wait for what others have locked: whatever takes longer is work of its own."""


class TooSlowError(Exception):
    """The server has ended a statement that worked for ``patience`` seconds: it would do so again."""

    def __init__(self, patience: float) -> None:
        super().__init__(
            f"a statement worked for {patience:g} s, which is `timeout` of its connection, and the server has ended "
            "it: say a longer one in odibi.yaml; or let an iteration have fewer rows (`batch: {max_rows: ...}`), or "
            "the table an index"
        )


class Database:
    """A connection of psycopg; the server ends each statement after ``patience`` seconds."""

    def __init__(self, connection: Any, patience: float) -> None:
        self.connection = connection
        self.patience = patience

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """A statement; its parameters are ``?``. Raises TooSlowError, psycopg.Error."""
        with self.bounded():
            # Without parameters a text is not looked at: a name in it may hold a % or a ?.
            return self.connection.execute(sql.replace("?", "%s") if parameters else sql, parameters or None)

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Whoever waits in here is woken, by the end of the connection, once the server has been silent for too long.
        Raises TooSlowError where it has ended the statement by itself, at its own limit."""
        import psycopg

        end = threading.Timer(self.patience + GRACE, self._hang_up)
        end.daemon = True
        began = time.monotonic()
        end.start()
        try:
            yield
        except psycopg.errors.QueryCanceled as error:
            if time.monotonic() - began < self.patience:  # somebody has cancelled it, who may let it work another time
                raise
            raise TooSlowError(self.patience) from error
        finally:
            end.cancel()

    def _hang_up(self) -> None:
        with socket.socket(fileno=self.connection.fileno()) as wire:
            try:
                wire.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended by itself
            finally:
                wire.detach()  # it is libpq's


@contextmanager
def connected(place: str, access: Access, application: str = APPLICATION) -> Iterator[Database]:
    """A connection to the schema of ``place``, each statement a transaction. Raises ConflictError: nothing tells how to
    get there, or there is no such schema; MissingExtraError; psycopg.Error."""
    try:
        import psycopg
    except ImportError as error:
        raise MissingExtraError(PIP) from error
    if not access.keys:
        raise ConflictError(f"no connection of odibi.yaml leads to {place} any more: put it back")
    given, patience = access.keys, float(access.keys.get("timeout", ANSWER))
    schema = given.get("schema", "public")
    with psycopg.connect(
        host=given.get("host", "localhost"),
        port=given.get("port", "5432"),
        dbname=given["database"],
        user=given.get("user"),
        password=access.secret("password") or None,
        sslmode=given.get("sslmode", "prefer"),
        connect_timeout=max(2, round(patience)),
        application_name=application,
        options=f"-c search_path={schema} -c statement_timeout={round(patience * 1000)} -c TimeZone=UTC"
        f" -c lock_timeout={round(patience * WAITING * 1000)}"
        " -c DateStyle=ISO -c client_encoding=UTF8 -c synchronous_commit=on",
        autocommit=True,
        prepare_threshold=None,  # a table may be another one by the next statement
    ) as connection:
        db = Database(connection, patience)
        if db.execute("select current_schema()").fetchone()[0] != schema:
            quoted = schema.replace('"', '""')
            raise ConflictError(f'{place} has no such schema: `create schema "{quoted}"`')
        yield db


def passing(error: Any) -> bool:
    """Whether a psycopg.Error is of a server that cannot be reached, lets nobody in or is too busy: nothing is wrong
    with what is asked of it."""
    import psycopg

    code = error.sqlstate or ""
    some = code[:2] in ("", "08", "28", "53", "57", "40") or code in ("55P03", "57014", "3D000")
    return some and isinstance(error, psycopg.OperationalError)
