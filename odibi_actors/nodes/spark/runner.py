"""What a worker does with Spark: queries over its inputs, frames for functions, and their rows."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from odibi_actors.errors import AccessError, BatchError, MissingExtraError
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.spark import failures, tables
from odibi_actors.nodes.spark.finding import CONNECT, Held, find, missing
from odibi_actors.nodes.sql import Variables

LARGE: Final = 16_000_000
"""Bytes of an input from which on it goes by a file, not through the connection, to a Spark on this host."""
RETRIES: Final = 3
"""Of a message that Spark does not answer: it is asked for again by the retry of the node, not for ten minutes here."""
_REMARKS: Final = re.compile(r"\s*(--[^\n]*(\n|$)|/\*.*?\*/)", re.DOTALL)
_QUERY: Final = re.compile(r"[\s(]*(select|with|from|values|table)\b", re.IGNORECASE)
_ONE: Final = "sql: write exactly one SELECT statement (WITH is fine); nothing else is run"


class SparkRunner:
    """One worker's session, opened when it is needed first (never before a fork). After a failure that says that Spark
    is gone the next node opens another."""

    def __init__(self) -> None:
        self._held: Held | None = None
        self._session: Any = None

    def run(self, sql: str, inputs: Mapping[str, pa.Table], variables: Variables, file: str = "") -> pa.Table:
        """The rows of one SELECT of Spark's SQL over tables named as the inputs. What the run was started with is there
        as ``:name``. ``file``: where it was written, for messages. Raises Failed: ``code`` (no pyspark, no Java),
        ``busy`` (no Spark now), ``invalid`` (SQL that can never run), ``raised`` (these rows)."""
        text, given = sql.strip().rstrip(";"), _arguments(variables)
        if not _QUERY.match(_REMARKS.sub(" ", text)):
            raise Failed("invalid", _ONE)
        with self.frames() as frame, self.told(file or "sql"):
            session = self._session
            try:
                for name, table in inputs.items():
                    frame(table, name).createOrReplaceTempView(f"`{name}`")  # it may be a word of SQL
                # Spark runs commands at once: it is asked first whether this is a query, and one alone
                _ = session.sql(f"select * from ({text}\n) limit 0", args=given).schema
                return tables.to_arrow(session.sql(text, args=given))
            finally:
                self._forget(session, inputs)

    @contextmanager
    def frames(self) -> Iterator[Callable[..., Any]]:
        """What makes a DataFrame of a table, to be used within. Raises Failed."""
        session = self.connected()
        with tempfile.TemporaryDirectory(prefix="odibi-spark-") as folder:
            count = 0

            def frame(table: pa.Table, name: str = "") -> Any:
                nonlocal count
                count += 1
                with self.told(f"input {name!r}" if name else "an input"):
                    return self._frame(session, tables.for_spark(table), Path(folder, f"{count}.parquet"))

            yield frame

    @contextmanager
    def given(self, engine: str | None) -> Iterator[Callable[[pa.Table], Any] | None]:
        """``frames`` for a function of a node with engine ``spark``, else None. Of what Spark raises in it the stack of
        the JVM is left out; that Spark is gone is no fault of the function. Raises Failed."""
        if engine != "spark":
            yield None
            return
        try:
            with self.frames() as frame:
                yield frame
        except Failed as failed:
            raise self._explained(failed) from failed.__cause__

    def _explained(self, failed: Failed) -> Failed:
        error = failed.__cause__
        if error is None or not failures.is_of_spark(error):
            return failed
        told = self._failure(error)
        trace = "" if told.kind == "busy" else failed.failure.traceback
        return Failed(told.kind if told.kind == "busy" else failed.failure.kind, told.text, traceback=trace)

    def lasting(self, table: pa.Table) -> Any:
        """The table as a DataFrame as long as the session lives: it goes through the connection. Raises Failed."""
        session = self.connected()
        with self.told("the rows"):
            fitting = tables.for_spark(table)
            return session.createDataFrame(fitting, tables.schema_of(fitting))

    def interrupt(self) -> None:
        """End what runs. From another thread; a Spark that is gone has ended it."""
        session = self._session
        if session is not None:
            try:
                session.interruptAll()
            except Exception as error:
                if not failures.is_of_spark(error):
                    raise

    def close(self) -> None:
        """Let go of Spark."""
        session, held = self._session, self._held
        self._session = self._held = None
        if session is not None and (held is None or not held.gone()):
            session.stop()
        if held is not None:
            held.close()

    # --- the session ----------------------------------------------------------------------------------------------

    def _frame(self, session: Any, table: pa.Table, path: Path) -> Any:
        schema = tables.schema_of(table)
        shared = self._held is not None and self._held.place.shared
        if not shared or table.nbytes < LARGE or not tables.in_files(table):
            return session.createDataFrame(table, schema)
        pq.write_table(table, path, compression="zstd")
        return session.read.schema(schema).parquet(str(path))

    def connected(self) -> Any:
        """The session, opened if there is none. Raises Failed."""
        if self._held is not None and self._held.gone():
            self._drop()
        if self._session is None:
            with self.told("engine: spark"):
                held = find()
                try:
                    self._session = session_at(held.place.remote)
                except BaseException:
                    held.close()
                    raise
                self._held = held
        return self._session

    def _drop(self) -> None:
        """Spark is gone: nothing of it is asked any more. Its session is stopped on this side, without a word to it: as
        long as it is pyspark's default one, plans of others would be sent to it."""
        held, session = self._held, self._session
        self._session = self._held = None
        if session is not None:
            session.release_session_on_close = False
            session.stop()
        if held is not None:
            held.close()

    def _forget(self, session: Any, inputs: Mapping[str, pa.Table]) -> None:
        """The views of a query, unless the session is gone with them."""
        if session is self._session:
            try:
                for name in inputs:
                    session.catalog.dropTempView(name)
            except Exception as error:
                if not failures.is_of_spark(error):
                    raise
                self._failure(error)

    def _failure(self, error: BaseException) -> failures.Told:
        held = self._held
        told = failures.told(error, held is not None and held.gone())
        if told.kind == "busy":
            self._drop()
        return told

    @contextmanager
    def told(self, what: str) -> Iterator[None]:
        """Failures of Spark as those of a node: whatever it raises is a Failed, which says what failed."""
        try:
            yield
        except BatchError as error:
            raise Failed("invalid", f"{what}: {error}", column=error.column) from error
        except MissingExtraError as error:
            raise Failed("code", str(error)) from error
        except AccessError as error:
            raise Failed("io", str(error)) from error
        except Exception as error:
            if not failures.is_of_spark(error):
                raise
            told = self._failure(error)
            text = told.text if told.kind == "busy" else f"{what}: {told.text}"
            raise Failed(told.kind, text, line=told.line) from error


@functools.cache
def _own() -> SparkRunner:
    runner = SparkRunner()
    atexit.register(runner.close)
    return runner


def lasting(table: pa.Table) -> Any:
    """The table as a DataFrame of the session that this program has for itself, as long as it runs. Raises
    MissingExtraError, NodeError (no Spark, types that Spark has not)."""
    if lack := missing():
        raise MissingExtraError(lack)
    return _own().lasting(table)


def session_at(remote: str) -> Any:
    logging.getLogger("SQLQueryContextLogger").disabled = True  # it says in 10 KB what is raised as well
    # Nothing here goes through pandas; and that a retry was the last one is raised as well.
    warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas", category=FutureWarning)
    warnings.filterwarnings("ignore", message=r"\[RETRIES_EXCEEDED\]")
    from pyspark.sql.connect.client.retries import DefaultPolicy
    from pyspark.sql.connect.session import SparkSession

    session = SparkSession.builder.remote(remote).create()
    os.environ.setdefault(CONNECT, "1")
    session.client.set_retry_policies([DefaultPolicy(max_retries=RETRIES)])
    session.conf.set("spark.sql.session.timeZone", "UTC")
    return session


def _arguments(variables: Variables) -> dict[str, Any]:
    """Parameters of a query, by name: of ``params`` texts, numbers, booleans and null as they are, all else as JSON."""
    plain = (str, int, float, type(None))
    given: dict[str, Any] = {
        name: value if isinstance(value, plain) else msgspec.json.encode(value).decode()
        for name, value in variables.params.items()
    }
    return given | {"occurrence": variables.occurrence or None, "scheduled_at": variables.scheduled_at}
