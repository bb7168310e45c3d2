"""Engines: how steps read, write and query. The pandas engine takes and gives ordinary frames (numpy types)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import pandas as pd
import pyarrow as pa

from odibi_actors.batches.frames import from_pandas
from odibi_actors.core import files
from odibi_actors.core.values import lent, numpy_frame
from odibi_actors.errors import BatchError
from odibi_actors.nodes.sql import SqlRunner

log = logging.getLogger("odibi_actors.core")

Secrets = Mapping[str, str] | Callable[[str], str]


class EngineContext(Protocol):
    """What a ``DAGExecutor`` asks of an engine. All methods may be called by several threads at once."""

    def connect(self) -> EngineContext:
        """Get ready; returns itself."""

    def read(self, source: str, **kw: Any) -> Any:
        """The data of a file or database."""

    def write(self, df: Any, target: str, **kw: Any) -> None:
        """Write data to a file or database: all of it or nothing."""

    def execute_sql(self, query: str) -> Any:
        """The rows of a SELECT over what was registered."""

    def register_temp(self, name: str, df: Any) -> None:
        """Give data a name for ``execute_sql``."""

    def query(self, sql: str, frames: Mapping[str, Any]) -> Any:
        """The rows of a SELECT over these frames alone."""

    def of(self, engine: str) -> EngineContext:
        """The context for steps of an engine. Raises ValueError."""

    def lending(self, inputs: Mapping[str, Any]) -> AbstractContextManager[dict[str, Any]]:
        """What a step is given, to do with as it likes, while it runs."""

    def settled(self, value: Any) -> Any:
        """What a step has made, computed."""

    def plain(self, value: Any) -> Any:
        """The same value as pandas, Arrow or JSON have it: what is kept, and compared."""

    def get_secret(self, key: str) -> str:
        """A secret."""

    def collect_sample(self, df: Any, n: int = 5) -> pd.DataFrame:
        """The first rows."""


def create_engine_context(engine: str, secrets: Secrets | None = None, **kwargs: Any) -> EngineContext:
    """The context of an engine, "pandas" or "spark". ``secrets``: a mapping, or a function of the name; ``kwargs``: for
    Spark settings of its session. Raises MissingExtraError, with what is to be installed, ValueError."""
    if engine == "pandas":
        if kwargs:
            log.warning("the pandas engine has no settings; left out: %s", ", ".join(sorted(kwargs)))
        return PandasContext(secrets)
    if engine == "spark":
        from odibi_actors.core.spark import SparkContext

        return SparkContext(secrets, **kwargs)
    raise ValueError(f"engine: {engine!r} is none of pandas, spark")


class PandasContext:
    """Frames of pandas, files by pandas, SQL by DuckDB: one SELECT, which sees the frames it is given, and neither
    files nor network. Each query has a connection of its own."""

    def __init__(self, secrets: Secrets | None = None) -> None:
        self._secrets = secrets
        self._frames: dict[str, pd.DataFrame] = {}
        self._lock = threading.Lock()
        self._idle: list[SqlRunner] = []

    def __repr__(self) -> str:
        return "PandasContext()"

    def connect(self) -> PandasContext:
        """Nothing to be done: connections are opened when they are needed."""
        return self

    def read(self, source: str, **kw: Any) -> pd.DataFrame:
        """The data of a file, by its suffix or ``source_type``: csv, json, jsonl, parquet, avro, sqlite (``table`` or
        ``query``), sql (``connection_string``, and ``table`` or ``query``). Other arguments go to pandas' reader.
        Raises ValueError, OSError, MissingExtraError."""
        return files.read(source, **kw)

    def write(self, df: pd.DataFrame, target: str, **kw: Any) -> None:
        """Write a frame to a file, by its suffix: csv, json, jsonl, parquet, or a table of SQLite (``table``,
        ``mode="replace"`` or ``"append"``), whole or not at all. An index that holds data becomes columns. Other
        arguments go to pandas' writer. Raises ValueError, TypeError (a value that would come out changed), OSError."""
        files.write(_frame(df), target, **kw)

    def register_temp(self, name: str, df: pd.DataFrame) -> None:
        """Give a frame a name for ``execute_sql``, instead of one of that name. Raises TypeError."""
        with self._lock:
            self._frames[name] = _frame(df)

    def execute_sql(self, query: str) -> pd.DataFrame:
        """The rows of one SELECT over the registered frames. See ``query``."""
        with self._lock:
            frames = dict(self._frames)
        return self.query(query, frames)

    def query(self, sql: str, frames: Mapping[str, Any]) -> pd.DataFrame:
        """The rows of one SELECT over these frames by their names. Raises NodeError for SQL that fails, ValueError for
        a frame that SQL cannot have exactly, by column."""
        tables = {name: _table(name, frame) for name, frame in frames.items()}
        runner = self._borrow()
        try:
            return numpy_frame(runner.run(sql, tables))
        finally:
            self._idle.append(runner)

    def _borrow(self) -> SqlRunner:
        """A connection that nobody else uses meanwhile; opening one takes 25 ms."""
        try:
            return self._idle.pop()
        except IndexError:
            return SqlRunner()

    def of(self, engine: str) -> EngineContext:
        """This one, for steps of pandas. Raises ValueError."""
        if engine != "pandas":
            raise ValueError(
                f"engine {engine!r}: the context is that of pandas; give create_engine_context({engine!r})"
            )
        return self

    @contextmanager
    def lending(self, inputs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Copies: what a step changes in them is changed nowhere else."""
        yield {name: lent(value) for name, value in inputs.items()}

    def settled(self, value: Any) -> Any:
        """As it is."""
        return value

    def plain(self, value: Any) -> Any:
        """As it is."""
        return value

    def get_secret(self, key: str) -> str:
        """Raises KeyError with the name, not the value."""
        if callable(self._secrets):
            return self._secrets(key)
        if self._secrets is None or key not in self._secrets:
            raise KeyError(f"there is no secret {key!r}; give it as create_engine_context('pandas', secrets=...)")
        return self._secrets[key]

    def collect_sample(self, df: pd.DataFrame, n: int = 5) -> pd.DataFrame:
        """The first ``n`` rows, of a table of pyarrow as well."""
        return numpy_frame(df.slice(0, n)) if isinstance(df, pa.Table) else _frame(df).head(n)


def _frame(df: Any) -> pd.DataFrame:
    if not isinstance(df, pd.DataFrame):
        raise TypeError(f"{type(df).__name__} is no pandas frame")
    return df


def _table(name: str, df: Any) -> pa.Table:
    try:
        return from_pandas(_frame(df))
    except BatchError as error:
        raise ValueError(f"{name}: {error}") from error
