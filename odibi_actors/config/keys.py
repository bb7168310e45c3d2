"""The keys of ``odibi.yaml``: the one table behind loading, the JSON Schema and the messages.

Defaults are those of the specs in ``config/model.py``, named here as ``model``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from odibi_actors.config.by_type import ByType
from odibi_actors.config.kinds import (
    MAX_NAME,
    NAME,
    NAME_TEXT,
    Anything,
    Choice,
    Flag,
    Key,
    Later,
    Listing,
    Number,
    Object,
    OneOrMore,
    Table,
    Text,
    Word,
    duration,
    size,
)
from odibi_actors.config.model import (
    BatchSpec,
    ConnectionSpec,
    NodeSpec,
    PipelineSpec,
    ReadSpec,
    RetainSpec,
    RetrySpec,
    WorkerSpec,
    WriteSpec,
)
from odibi_actors.config.patterns import one_line
from odibi_actors.config.received import FOLDER_NAME, MAX_LEVELS, MAX_PARTITIONS, MAX_SCHEDULES
from odibi_actors.config.schedule_keys import ALERTS, SCHEDULE
from odibi_actors.kinds.registry import connection_of, connections, formats, sources

MAX_CONCURRENT = 1000
"""Iterations in flight and workers of a host: more is a slip of the finger."""
IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]*"

_TEXT = Text()
_PATTERN = Text(verify=one_line)
_PROJECT = Text(r"[A-Za-z][A-Za-z0-9_-]*", "a name: letters, digits, _ and -", MAX_NAME)
_FUNCTION = Text(rf"{IDENTIFIER}(\.{IDENTIFIER})*:{IDENTIFIER}", "module:function, such as nodes.flights:clean")
_TABLE = Text(IDENTIFIER, "a table name: letters, digits, _", MAX_NAME)
_PARTITION = Text(
    FOLDER_NAME,
    "a column that can name a folder: letters, digits, _, and a letter first; rename it in the node's SQL",
    MAX_NAME,
)
_COLUMNS = 10_000
_TAKE = Number(1, 10**12)
_LATER = ("s3", "postgres", "delta", "kafka")
"""Types of connections that the design names."""

CONNECTION = ByType(
    Choice(tuple(connections()), later=tuple(one for one in _LATER if one not in connections())),
    lambda name: connection_of(name).keys,
    "What it leads to, which decides its other keys.",
    ConnectionSpec,
)

RETRY = Object(
    {
        "max_attempts": Key(Number(1, 1000), "How often a node is tried, the first time included."),
        "backoff": Key(Choice(("exponential", "fixed")), "How the wait between attempts grows."),
        "initial": Key(duration(), "The wait before the second attempt."),
        "max": Key(duration(), "The longest wait."),
        "jitter": Key(Number(0, 1, real=True), "Random part of the wait, as a fraction of it."),
    },
    RetrySpec,
)

BATCH = Object(
    {
        "max_files": Key(_TAKE, "Files one iteration may take."),
        "max_rows": Key(_TAKE, "Rows one iteration may take."),
        "max_bytes": Key(size(), "Bytes one iteration may take, such as 256MB."),
        "linger": Key(duration(), "How long to wait for more before an iteration is planned."),
    },
    BatchSpec,
)

CHECKPOINT = Object({"keep_last": Key(Number(1, 10**6), "How many states and durable outputs are kept.")}, PipelineSpec)

RETAIN = Object(
    {
        "time": Key(duration(), "How long what was read is kept, counted from when it came."),
        "size": Key(size(), "How much of it is kept at most."),
    },
    RetainSpec,
    doc="What was read, and is committed, is deleted from the log once it is older, or more.",
)

READ = Object(
    {
        "connection": Key(NAME_TEXT, "The connection to read from; it has to be said but for a function."),
        "format": Key(Choice(tuple(formats())), "Format of the files; of files it has to be said."),
        "mode": Key(
            Choice(tuple(sources())),
            "file_watch: each file once, as it arrives; batch: all files, once a run; "
            "incremental: what is new in files that grow, or in a table; event: rows that are pushed; "
            "interval: a file, a table, a query or a function, polled.",
            required=True,
        ),
        "path": Key(_TEXT, "Folder below the connection's; interval: the file."),
        "pattern": Key(OneOrMore(_PATTERN), "Which files, such as flights-*.csv; or a list of such."),
        "exclude": Key(OneOrMore(_PATTERN), "Which of them not, such as *-test.csv; or a list of such."),
        "schema": Key(Table(_TEXT), "Column: Arrow type, as far as it should not be inferred."),
        "columns": Key(Listing(_TEXT, unique=True, limit=_COLUMNS), "Read only these columns; default: all."),
        "ignore": Key(
            Listing(Text(blank=True), unique=True, limit=_COLUMNS), 'Columns not to read; "" for one without a name.'
        ),
        "optional": Key(
            Listing(_TEXT, unique=True, limit=_COLUMNS), "Columns of schema that a file may lack; they are null then."
        ),
        "options": Key(Anything(), "Options of the reader."),
        "settle": Key(
            duration(), "How long a file must not have changed before it is taken, where its close cannot be seen."
        ),
        "on_change": Key(
            Choice(("error", "reprocess")),
            "incremental: a file that was truncated or replaced is a problem, and not read; or it is read again.",
        ),
        "order": Key(Choice(("time", "name")), "file_watch: which are taken first, the oldest or by name."),
        "follow_links": Key(Flag(), "Read files and folders to which symbolic links lead; else links are passed over."),
        "window": Key(duration(), "event: how long the key of a push is known again."),
        "backlog": Key(
            size(),
            "event: what may be pushed and not be read yet; then a producer is to come again. interval: then ticks are "
            "missed.",
        ),
        "retain": Key(
            RETAIN, "event, interval: how much of what was read is kept in its log, for rewinds and backfills."
        ),
        "table": Key(Text(limit=MAX_NAME), "Table of a SQL connection, for incremental and interval."),
        "query": Key(_TEXT, "One SELECT on a SQL connection, instead of a table."),
        "watermark_column": Key(_TEXT, "Column that grows with what is new in it: a number, date, time or text."),
        "keys": Key(Listing(_TEXT, unique=True), "Columns by which rows of a table are told apart; default: all."),
        "lag": Key(
            Word(), "How far behind the greatest watermark rows may still come: a duration, or a number; default: 0."
        ),
        "initial": Key(Word(), "The least watermark that is read; default: all are."),
        "every": Key(duration(1), "interval: how often, at least 1s; ticks are counted from 1970."),
        "function": Key(_FUNCTION, "interval: module:function, which returns what there is; a file in nodes/."),
        "params": Key(Anything(), "interval: keyword arguments of the function."),
        "on_schema_change": Key(
            Choice(("halt", "evolve", "dead_letter", "rescue")),
            "A file has other columns than those before it: halt; take new ones in, with nulls for missing ones; set "
            "it aside; keep what does not fit, as JSON, in a column _rescued. Default: as on_error.",
        ),
    },
    ReadSpec,
)

TRANSFORM = Object(
    {
        "function": Key(_FUNCTION, "module:function; the module is a file in nodes/."),
        "sql": Key(_TEXT, "DuckDB SQL over the inputs, by their names."),
        "sql_file": Key(_TEXT, "A file of the project with the SQL, such as sql/report.sql."),
        "params": Key(Anything(), "Keyword arguments of the function."),
    },
    one_of=("function", "sql", "sql_file"),
)

WRITE = Object(
    {
        "connection": Key(NAME_TEXT, "The connection to write to.", required=True),
        "mode": Key(
            Choice(("append", "overwrite", "upsert", "delete")),
            "append; overwrite all that the iteration before has published; upsert, or delete, by keys (SQL).",
        ),
        "path": Key(_TEXT, "Folder below the connection's (local)."),
        "format": Key(Choice(tuple(formats())), "Format of the files (local)."),
        "compression": Key(Choice(("gzip", "zstd")), "How each file is compressed as a whole (csv, json, arrow)."),
        "table": Key(_TABLE, "Table (SQL)."),
        "keys": Key(Listing(_TEXT, unique=True), "Columns that identify a row, for upsert and delete."),
        "version": Key(
            _TEXT,
            "Column that grows with each change: an older row never replaces, or deletes, a newer (upsert, delete).",
        ),
        "schema": Key(Table(_TEXT), "Column: Arrow type, as far as it is not to be pinned as the first part has it."),
        "partition_by": Key(
            Listing(_PARTITION, unique=True, limit=MAX_LEVELS), "Columns whose values become folders (local)."
        ),
        "max_partitions": Key(Number(1, MAX_PARTITIONS), "Folders that one iteration may write to (local)."),
        "on_schema_change": Key(
            Choice(("halt", "evolve")),
            "A part has other columns than those before it: halt (default); take new ones in, with nulls for missing "
            "ones.",
        ),
    },
    WriteSpec,
)

_ON_ERROR = Choice(("halt", "dead_letter"))

NODE = Object(
    {
        "name": Key(NAME_TEXT, "Name, unique in the pipeline.", required=True),
        "inputs": Key(Listing(NAME_TEXT, empty=True, unique=True), "The nodes whose output it gets."),
        "read": Key(READ, "A source."),
        "transform": Key(TRANSFORM, "A Python function or SQL."),
        "write": Key(WRITE, "A sink."),
        "retry": Key(RETRY, "Instead of the pipeline's, key by key."),
        "timeout": Key(duration(0.001), "Per attempt, instead of the pipeline's."),
        "durable": Key(Flag(), "Sync the output to disk, so that power loss does not cost its computation."),
        "description": Key(_TEXT, "What it is for."),
        "previously": Key(Later("keep the name of a source that has read something"), "Former name of a read node."),
        "requires": Key(Later(), "Tags a worker must have."),
        "engine": Key(
            Choice(("spark",)),
            "Of a transform: its SQL is Spark's, its function gets DataFrames of Spark.",
        ),
        "state": Key(Flag(), "The function gets `state` and returns (output, state), kept for the next iteration."),
        "on_fail": Key(Later("on_error of the pipeline"), "What happens when a check fails."),
        "on_error": Key(Later("on_error of the pipeline"), "What happens when the node fails."),
    },
    NodeSpec,
    one_of=("read", "transform", "write"),
)

PIPELINE = Object(
    {
        "pipeline": Key(NAME_TEXT, "Name, unique in the project.", required=True),
        "description": Key(_TEXT, "What it is for."),
        "trigger": Key(
            Choice(("data", "schedule", "manual")),
            "data: whenever there is something to read; schedule: by schedules; manual: `odibictl pipeline trigger`.",
        ),
        "schedules": Key(
            Listing(SCHEDULE, empty=True, limit=MAX_SCHEDULES),
            "When it runs, with trigger: schedule; [] if all are added by `odibictl schedule add`.",
        ),
        "nodes": Key(Listing(NODE), "The DAG.", required=True),
        "max_in_flight": Key(Number(1, MAX_CONCURRENT), "Iterations at once."),
        "batch": Key(BATCH, "What one iteration may take."),
        "retry": Key(RETRY, "Retries of its nodes."),
        "timeout": Key(duration(0.001), "Per attempt of a node."),
        "on_error": Key(_ON_ERROR, "halt: wait for an operator; dead_letter: set the batch aside and go on."),
        "checkpoint": Key(CHECKPOINT, "What is kept."),
        "alerts": Key(ALERTS, "Who is told, besides those of the project's alerts."),
    },
    PipelineSpec,
)

WORKER = Object(
    {
        "max_tasks": Key(_TAKE, "Tasks after which a worker process makes way for a fresh one; default: any number."),
        "max_memory": Key(
            size(50_000_000),
            "A worker that has more in memory after a task makes way for a fresh one; default: its share of half the "
            "host's memory, at least 1GB.",
        ),
    },
    WorkerSpec,
    instead="how many there are is `workers`",
)

PROJECT = Object(
    {
        "project": Key(_PROJECT, "Name of the project.", required=True),
        "description": Key(_TEXT, "What it is for."),
        "data_dir": Key(_TEXT, "Where checkpoints and intermediate data are kept; default .odibi."),
        "workers": Key(Number(1, MAX_CONCURRENT), "Worker processes per host; default: the number of cores."),
        "worker": Key(WORKER, "When a worker process makes way for a fresh one."),
        "history": Key(duration(1), "How long finished iterations are listed; default 30d."),
        "history_size": Key(
            size(1_000_000), "What they may take in the checkpoint store, oldest go first; default 2GB."
        ),
        "connections": Key(Table(CONNECTION, NAME_TEXT), "Where data lives, by name.", required=True),
        "pipelines": Key(Listing(PIPELINE), "The pipelines.", required=True),
        "alerts": Key(ALERTS, "Who is told, about every pipeline."),
    }
)


def config_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the project file, for editors."""
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Odibi Actors project",
        "$comment": f"names match {NAME}",
    }
    return head | PROJECT.schema()


def write_schema(data_dir: Path) -> Path:
    """Writes ``odibi.schema.json`` into ``data_dir`` (made private if missing), whole or not at all."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = data_dir / "odibi.schema.json"
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(config_schema()), indent=2) + b"\n")
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return target
