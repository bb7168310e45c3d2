"""The Spark engine of steps: DataFrames for functions, Spark's SQL, files by Spark's readers.

What a step makes is computed when the step ends, and comes here as an Arrow table: it is a step's own failure that is
told, it can be kept exactly, and it is there when Spark is lost. DataFrames are made of these tables.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from odibi_actors.batches.frames import from_pandas, from_polars, to_pandas
from odibi_actors.core import files
from odibi_actors.core.contexts import EngineContext, PandasContext, Secrets
from odibi_actors.core.values import lent, numpy_frame
from odibi_actors.errors import BatchError, MissingExtraError
from odibi_actors.nodes.spark import tables
from odibi_actors.nodes.spark.finding import missing
from odibi_actors.nodes.spark.runner import SparkRunner
from odibi_actors.nodes.sql import NONE

log = logging.getLogger("odibi_actors.core")

_SETTING: Final = "spark."
_READ: Final = ("csv", "json", "jsonl", "parquet")
"""What Spark reads itself; all else is read as the pandas engine does."""
_CSV: Final = {"header": True, "inferSchema": True, "mode": "FAILFAST", "enforceSchema": False}
_PADDED: Final = r"^\s*[+-]?0[0-9]"
"""Of a number that Spark would give back without its zeros."""


class SparkContext:
    """One session of the Spark of this host, or of ``SPARK_REMOTE``, for DataFrames, and one for each query that runs
    at the same time. All methods may be called by several threads. Settings: those of a session, as
    ``**{"spark.sql.shuffle.partitions": 4}``. Raises MissingExtraError."""

    def __init__(self, secrets: Secrets | None = None, **settings: Any) -> None:
        if lack := missing():
            raise MissingExtraError(lack)
        if unknown := sorted(name for name in settings if not name.startswith(_SETTING)):
            log.warning(
                "the Spark of a host serves all that run there; left out: %s. Settings of a session begin with "
                "spark.sql., and SPARK_REMOTE names another Spark",
                ", ".join(unknown),
            )
        self._settings = {name: value for name, value in settings.items() if name not in unknown}
        self._main = SparkRunner()
        self._idle: list[SparkRunner] = []
        self._set: Any = None  # the session that has the settings
        self._lock = threading.RLock()
        self._tables: weakref.WeakKeyDictionary[Any, pa.Table] = weakref.WeakKeyDictionary()
        self._registered: dict[str, pa.Table] = {}
        self._pandas = _PandasBeside(self, secrets)
        weakref.finalize(self, _close, self._main, self._idle)

    def __repr__(self) -> str:
        return "SparkContext()"

    def connect(self) -> SparkContext:
        """Start Spark, or find the one that runs, which takes some ten seconds at first. Raises NodeError."""
        self._session()
        return self

    def read(self, source: str, **kw: Any) -> Any:
        """The data of a file or folder as a DataFrame, by its suffix or ``source_type``: csv, json, jsonl and parquet
        by Spark's reader, with its options; avro, sqlite and sql as the pandas engine reads them. csv has a header, and
        types that Spark infers; numbers of which some begin with a zero, as 007, stay text. A row that does not fit is
        an error, and so is a header that says otherwise than ``schema``. Raises ValueError, OSError, NodeError."""
        kind = kw.pop("source_type", None) or files.format_of(source)
        if kind not in _READ:
            return self.settled(self._pandas.read(source, source_type=kind, **kw))
        path = source if "://" in source else os.path.abspath(source)
        if "://" not in source and not os.environ.get("SPARK_REMOTE") and not os.path.exists(path):
            raise FileNotFoundError(f"{source}: there is no such file")
        schema, options = kw.pop("schema", None), {**({"mode": "FAILFAST"} if kind != "parquet" else {}), **kw}
        session = self._session()
        with self._main.told(source):
            reader = session.read if schema is None else session.read.schema(schema)
            match kind:
                case "csv" if schema is None:
                    return _csv(reader, path, {**_CSV, **kw})
                case "csv":
                    return reader.options(**{**_CSV, "inferSchema": False, **kw}).csv(path)
                case "parquet":
                    return reader.options(**options).parquet(path)
            return reader.options(**{"multiLine": kind == "json" and _is_array(path), **options}).json(path)

    def write(self, df: Any, target: str, **kw: Any) -> None:
        """Write data to one file, whole or not at all: parquet with exactly these types; csv, json, jsonl and sqlite as
        the pandas engine does. (``df.write`` of Spark itself writes folders, and large data.) Raises as that does."""
        table = self.plain(df)
        if isinstance(table, pa.Table) and (kw.get("target_type") or files.format_of(target)) == "parquet" and not kw:
            files.whole(Path(target), lambda fresh: pq.write_table(table, fresh))
        else:
            self._pandas.write(to_pandas(table) if isinstance(table, pa.Table) else table, target, **kw)

    def register_temp(self, name: str, df: Any) -> None:
        """Give data a name for ``execute_sql``, instead of those of that name. Raises TypeError."""
        with self._lock:
            self._registered[name] = self._table(name, df)

    def execute_sql(self, query: str) -> Any:
        """The rows of one SELECT of Spark's SQL over what was registered, as a DataFrame. See ``query``."""
        with self._lock:
            frames = dict(self._registered)
        return self.query(query, frames)

    def query(self, sql: str, frames: Mapping[str, Any]) -> Any:
        """The rows of one SELECT over these alone, as a DataFrame. Raises NodeError, ValueError for data that Spark
        cannot have exactly, by column."""
        inputs = {name: self._table(name, frame) for name, frame in frames.items()}
        runner = self._borrow()
        try:
            return self._frame(runner.run(sql, inputs, NONE))
        finally:
            self._idle.append(runner)

    def get_secret(self, key: str) -> str:
        """Raises KeyError with the name, not the value."""
        return self._pandas.get_secret(key)

    def collect_sample(self, df: Any, n: int = 5) -> pd.DataFrame:
        """The first ``n`` rows, as a pandas frame."""
        if (known := self._known(df)) is not None:
            return numpy_frame(known.slice(0, n))
        if not _is_frame(df):
            return self._pandas.collect_sample(df, n)
        with self._main.told("a sample"):
            return numpy_frame(tables.to_arrow(df.limit(n)))

    # --- steps --------------------------------------------------------------------------------------------------------

    def of(self, engine: str) -> EngineContext:
        """This one for steps of Spark; steps of pandas get, and make, pandas frames."""
        return self if engine == "spark" else self._pandas

    @contextmanager
    def lending(self, inputs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The inputs of a step as DataFrames; what Spark raises meanwhile is told without the stack of the JVM."""
        frames = {name: self.settled(value) for name, value in inputs.items()}
        with self._main.told("Spark"):
            yield frames

    def settled(self, value: Any) -> Any:
        """What a step has made, computed: tables and frames of whatever kind as DataFrames of the session of now; any
        other value as it is."""
        known = self._known(value)
        if known is not None and value.sparkSession is self._session():
            return value
        table = known if known is not None else self.plain(value)
        if isinstance(table, pd.DataFrame):
            table = self._table("a frame", table)
        return self._frame(table) if isinstance(table, pa.Table) else value

    def plain(self, value: Any) -> Any:
        """A DataFrame as an Arrow table, any other value as it is. Raises NodeError."""
        if (known := self._known(value)) is not None:
            return known
        if not _is_frame(value):
            return value
        with self._main.told("Spark"):
            return tables.to_arrow(value)

    # --- sessions -----------------------------------------------------------------------------------------------------

    def _session(self) -> Any:
        with self._lock:
            session = self._main.connected()
            if session is not self._set:
                for name, value in self._settings.items():
                    with self._main.told(name):
                        session.conf.set(name, value)
                self._set = session
            return session

    def _frame(self, table: pa.Table) -> Any:
        self._session()
        with self._lock:
            frame = self._main.lasting(table)
            self._tables[frame] = table
            return frame

    def _known(self, value: Any) -> pa.Table | None:
        with self._lock:
            return self._tables.get(value) if _is_frame(value) else None

    def _table(self, name: str, value: Any) -> pa.Table:
        plain = self.plain(value)
        try:
            if isinstance(plain, pd.DataFrame):
                return from_pandas(plain)
            if type(plain).__module__.partition(".")[0] == "polars":
                return from_polars(plain)
        except BatchError as error:
            raise ValueError(f"{name}: {error}") from error
        if isinstance(plain, pa.Table):
            return plain
        raise TypeError(f"{name}: {type(value).__name__} is no frame and no table")

    def _borrow(self) -> SparkRunner:
        """A session that nobody else uses meanwhile: views are those of a session."""
        try:
            return self._idle.pop()
        except IndexError:
            return SparkRunner()


class _PandasBeside(PandasContext):
    """The pandas engine for steps that get what steps of Spark have made."""

    def __init__(self, spark: SparkContext, secrets: Secrets | None) -> None:
        super().__init__(secrets)
        self._spark = weakref.proxy(spark)

    def of(self, engine: str) -> EngineContext:
        found: EngineContext = self._spark.of(engine)
        return found

    @contextmanager
    def lending(self, inputs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        plain = {name: self._spark.plain(value) if _is_frame(value) else lent(value) for name, value in inputs.items()}
        yield {name: numpy_frame(one) if _is_frame(inputs[name]) else one for name, one in plain.items()}


def _is_frame(value: Any) -> bool:
    """Whether it is a DataFrame of Spark."""
    return type(value).__module__.startswith("pyspark.sql") and hasattr(value, "sparkSession")


def _csv(reader: Any, path: str, options: dict[str, Any]) -> Any:
    """Types inferred; a column of numbers in which some begin with a zero stays text."""
    found = reader.options(**options).csv(path)
    numbers = [name for name, kind in found.dtypes if kind.split("(")[0] in ("int", "bigint", "double", "decimal")]
    if not numbers or not options.get("inferSchema"):
        return found
    from pyspark.sql.connect import functions as F

    texts = reader.options(**{**options, "inferSchema": False}).csv(path)
    asked = [F.max(F.when(texts[_quoted(name)].rlike(_PADDED), 1)).alias(str(n)) for n, name in enumerate(numbers)]
    row = texts.agg(*asked).first()
    padded = [name for n, name in enumerate(numbers) if row[n] is not None]
    if not padded:
        return found
    log.info("%s: %s stay text: some of their numbers begin with a zero", path, ", ".join(padded))
    kinds = ", ".join(f"{_quoted(name)} {'string' if name in padded else kind}" for name, kind in found.dtypes)
    return reader.schema(kinds).options(**{**options, "inferSchema": False}).csv(path)


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _is_array(path: str) -> bool:
    """Whether a JSON file is one array, not an object per line."""
    try:
        with Path(path).open("rb") as file:
            return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
    except OSError:
        return False  # a folder, or elsewhere


def _close(main: SparkRunner, idle: list[SparkRunner]) -> None:
    for one in [main, *idle]:
        one.close()
