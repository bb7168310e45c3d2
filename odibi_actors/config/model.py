"""The resolved project: what is left of ``odibi.yaml`` once it is read, checked and filled with defaults.

These values travel: a pipeline's spec is kept in its VERSION record and each task carries the specs of its nodes.
So they hold plain data only, every path is absolute, every duration is in seconds and every size in bytes.
"""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

import msgspec

from odibi_actors.config.places import without_secret
from odibi_actors.model import RESCUED, Accesses, Target

KindName = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_]*$", max_length=64)]
"""Of a format, a sink or a source: which there are is told by ``kinds.registry`` where they are used."""


class ConnectionSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where data lives. ``type``: its kind (``kinds.connection``). ``path``: what it leads to; absolute where that is a
    file or a folder of this machine. How to get in stands beside, see ``PipelineSpec.access``."""

    name: str
    type: KindName
    path: str
    shared: bool = False


OnSchemaChange = Literal["", "halt", "evolve", "dead_letter", "rescue"]
"""What becomes of a file whose columns are not those of the files before it; "": what ``on_error`` says."""
Consumption = Literal["set", "cursor", "pinned"]
"""How positions of a source are taken. ``set``: each identity once; ``cursor``: ranges of partitions, each in its
order; ``pinned``: all there is, by digest, for every iteration."""

FORMER: dict[str, Consumption] = {"file_watch": "set", "batch": "pinned"}
"""Of the modes of releases that did not tell it."""


class TableSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of a database is read: a ``table``, or the rows of a ``query`` (the other is ""). ``watermark_column`` grows
    with what is new; ``keys`` tell rows apart ([]: all columns do). ``lag`` (a duration, or a number as text): how far
    behind the greatest watermark rows may still come; ``initial``: the least watermark that is read ("": all are)."""

    table: str
    query: str
    watermark_column: str
    keys: list[str] = []
    lag: str = ""
    initial: str = ""


class RetainSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how long, in seconds, and how many bytes a log keeps of what was read and is committed."""

    time: float = 30 * 86400.0
    size: int = 10_000_000_000


class PollSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is polled every so many seconds: the file ``path`` below a connection, ``of_table`` of a database, or a
    ``function`` of the project's ``nodes``, with ``params``."""

    every: float
    connection: ConnectionSpec
    path: str = ""
    of_table: TableSpec | None = None
    function: str = ""
    params: dict[str, Any] = {}


class ReadSpec(msgspec.Struct, frozen=True):
    """A source node. ``path`` is relative to the connection's folder; ``settle`` in seconds. ``columns``: read only
    these (all, if empty); ``ignore``: not these; ``optional``: those that a file may lack. ``consumption`` follows from
    the mode, and is told to those who know no modes ("": by a former release, whose modes are known). ``on_change``: of
    a file that grows and was truncated or replaced. ``window``: seconds in which the key of a push is known again;
    ``backlog``: bytes that may be pushed and not be read yet; ``retain``: how much of its log is kept. ``of_table``:
    what is read of a database; there are no files then, and ``format`` is "sql". ``order``: by which
    files are taken, the time of their last change or their names; ``follow_links``: symbolic links are what they lead
    to. ``typed``: ``schema`` has all columns that are read, so that there is an empty table of it before anything was.
    ``polled``: what is read into a log of its own, to which ``connection`` and ``path`` lead then."""

    connection: ConnectionSpec
    format: KindName
    mode: KindName
    path: str = "."
    pattern: str = "*"
    schema: dict[str, str] = {}
    options: dict[str, Any] = {}
    settle: float = 2.0
    columns: list[str] = []
    ignore: list[str] = []
    optional: list[str] = []
    consumption: Consumption | Literal[""] = ""
    on_change: Literal["error", "reprocess"] = "error"
    window: float = 86400.0
    backlog: int = 1_000_000_000
    retain: RetainSpec = RetainSpec()
    of_table: TableSpec | None = None
    typed: bool = False
    on_schema_change: OnSchemaChange = ""
    order: Literal["time", "name"] = "time"
    follow_links: bool = False
    polled: PollSpec | None = None

    def __post_init__(self) -> None:
        if not self.consumption:
            if self.mode not in FORMER:
                raise ValueError(f"mode {self.mode} without its consumption")
            msgspec.structs.force_setattr(self, "consumption", FORMER[self.mode])

    @property
    def rescues(self) -> bool:
        """What does not fit its columns goes into one of its own, ``RESCUED``."""
        return self.on_schema_change == "rescue"

    @property
    def said(self) -> dict[str, str]:
        """Columns that are there by what the project file says, and their types."""
        return self.schema | ({RESCUED: "string"} if self.rescues else {})

    @property
    def pinned(self) -> bool:
        """Read whole for every iteration, pinned by digest: nothing of it is consumed."""
        return self.consumption == "pinned"

    @property
    def table(self) -> TableSpec:
        """What is read of a database. Raises ValueError: files are read."""
        if self.of_table is None:
            raise ValueError("this source reads files")
        return self.of_table


class TransformSpec(msgspec.Struct, frozen=True):
    """Exactly one of ``function`` (``module:function``) and ``sql`` (DuckDB SQL text; a ``sql_file`` is resolved
    to it)."""

    function: str | None = None
    sql: str | None = None
    params: dict[str, Any] = {}


class WriteSpec(msgspec.Struct, frozen=True):
    """A sink node: ``path`` and ``format`` on a local connection, ``table`` on a SQL connection. ``schema``: column ->
    Arrow type, as far as it is not to be pinned as the first part has it. ``version``: of an upsert or a
    deletion by ``keys``, the column that tells which of two rows is the newer one. ``partition_by``: the columns whose
    values are folders, of which one iteration may have ``max_partitions``. ``on_schema_change``: ``evolve`` takes new
    columns in, and nulls for missing ones; else they are refused."""

    connection: ConnectionSpec
    mode: Literal["append", "overwrite", "upsert", "delete"] = "append"
    path: str | None = None
    format: KindName | None = None
    table: str | None = None
    keys: list[str] = []
    schema: dict[str, str] = {}
    version: str | None = None
    compression: Literal["gzip", "zstd"] | None = None
    partition_by: list[str] = []
    max_partitions: int = 1000
    on_schema_change: Literal["", "halt", "evolve"] = ""

    @property
    def target(self) -> Target:
        """Where it publishes: a table of what the connection leads to, or a folder."""
        kind = self.connection.type
        if self.table is not None:
            return Target(kind, self.connection.path, self.table)
        return Target(kind, "", os.path.normpath(os.path.join(self.connection.path, self.path or ".")))


class RetrySpec(msgspec.Struct, frozen=True):
    """``max_attempts`` includes the first; ``initial`` and ``max`` in seconds; ``jitter`` as a fraction of the
    delay."""

    max_attempts: int = 3
    backoff: Literal["exponential", "fixed"] = "exponential"
    initial: float = 1.0
    max: float = 60.0
    jitter: float = 0.2

    def pause(self, used: int) -> float:
        """Seconds until the next attempt after ``used`` failed ones, without jitter."""
        return min(self.initial * (2 ** (used - 1) if self.backoff == "exponential" else 1), self.max)


class BatchSpec(msgspec.Struct, frozen=True):
    """What one iteration may take at most; ``max_bytes`` in bytes, ``linger`` in seconds."""

    max_files: int = 16
    max_rows: int = 1_000_000
    max_bytes: int = 256_000_000
    linger: float = 0.0


class NodeSpec(msgspec.Struct, frozen=True):
    """One node of the DAG, with exactly one of ``read``, ``transform``, ``write``. ``timeout`` in seconds per
    attempt. ``state``: the function takes what it kept from the iteration before, and returns what to keep.
    ``engine``: of a transform, what runs its SQL or what its function is given; None: DuckDB, and pandas.
    ``sql_file``: the file that holds its SQL, for messages."""

    name: str
    inputs: list[str] = []
    read: ReadSpec | None = None
    transform: TransformSpec | None = None
    write: WriteSpec | None = None
    retry: RetrySpec = RetrySpec()
    timeout: float = 600.0
    durable: bool = False
    requires: list[str] = []
    description: str = ""
    state: bool = False
    engine: Literal["spark"] | None = None
    sql_file: str = ""

    @property
    def kind(self) -> Literal["read", "transform", "write"]:
        """Which of the three the node is."""
        if self.read is not None:
            return "read"
        return "transform" if self.transform is not None else "write"


class CatchUpSpec(msgspec.Struct, frozen=True, gc=False):
    """What becomes of occurrences that came due while nobody could start them. One that is at most ``grace`` seconds
    late counts as on time. ``policy``: of those that are due at once run the ``latest``; of the late ones within
    ``window`` seconds ``all`` (the newest ``max``), or ``none``."""

    window: float = 3600.0
    policy: Literal["latest", "all", "none"] = "latest"
    max: int = 100
    grace: float = 60.0


class WatchSpec(msgspec.Struct, frozen=True):
    """Files whose arrival starts a run. ``folder`` is absolute; ``pattern`` as for sources; ``per``: one run for each
    file, or one for all that are there at once; ``settle`` in seconds, as for sources."""

    folder: str
    pattern: str = "*"
    per: Literal["file", "set"] = "file"
    settle: float = 2.0


class ScheduleSpec(msgspec.Struct, frozen=True, gc=False):
    """When a pipeline runs: exactly one of ``cron``, ``every`` (seconds), ``after`` (pipelines; ``after_any``: one of
    them is enough) and ``file_watch``.

    ``start`` and ``end`` are instants (seconds since the epoch; 0: none), the first included, the second not. ``every``
    is anchored at ``start``, or at the epoch. ``exclude`` lists dates (``2026-12-25``) of ``timezone``. ``jitter`` in
    seconds. ``deadline``: seconds from due time to the end of the run, after which it is late (0: none). ``paused``:
    how it begins. ``params`` are given to every run it starts."""

    name: str
    cron: str = ""
    every: float = 0.0
    after: list[str] = []
    after_any: bool = False
    file_watch: WatchSpec | None = None
    timezone: str = "UTC"
    dst: Literal["vixie", "literal", "utc"] = "vixie"
    overlap: Literal["skip", "buffer_one", "buffer_all", "allow", "cancel"] = "skip"
    catch_up: CatchUpSpec = CatchUpSpec()
    jitter: float = 0.0
    start: float = 0.0
    end: float = 0.0
    exclude: list[str] = []
    deadline: float = 0.0
    paused: bool = False
    params: dict[str, Any] = {}
    description: str = ""

    @property
    def kind(self) -> Literal["cron", "every", "after", "file_watch"]:
        """Which of the four it is."""
        if self.cron:
            return "cron"
        if self.every:
            return "every"
        return "after" if self.after else "file_watch"

    @property
    def timed(self) -> bool:
        """It follows the clock."""
        return bool(self.cron or self.every)

    @property
    def timing(self) -> tuple[Any, ...]:
        """What decides when it is due: when this changes, it begins again."""
        watch = self.file_watch
        where = (watch.folder, watch.pattern, watch.per) if watch is not None else None
        zone = (self.timezone, self.dst) if self.cron else None
        return (self.cron, self.every, self.after, self.after_any, where, zone, self.start, self.exclude)


AlertKind = Literal["failure", "dead_letter", "lateness", "recovery", "schema_change"]


class AlertSpec(msgspec.Struct, frozen=True):
    """Who is told: exactly one of ``command`` (a file below the project's folder), ``webhook`` (http or https) and
    ``log``. ``on``: the kinds that matter, all if empty; whoever wants failures is told of dead letters too.
    ``throttle``: seconds for which another alert of the same kind about the same pipeline is held back."""

    on: list[AlertKind] = []
    command: str = ""
    webhook: str = ""
    log: bool = False
    throttle: float = 300.0

    @property
    def shown(self) -> str:
        """What people see of it: whoever knows the whole address of a webhook may write there."""
        return "log" if self.log else self.command or without_secret(self.webhook)

    def wants(self, kind: AlertKind) -> bool:
        """Whether it is to be told of this kind."""
        return not self.on or kind in self.on or (kind == "dead_letter" and "failure" in self.on)


class CodeSpec(msgspec.Struct, frozen=True):
    """The code that a pipeline's functions depend on. ``nodes``: node with a function -> xxh3-128 (32 hex digits) over
    the files that it reaches; ``files``: all of these -> xxh3-64 (16 hex digits)."""

    nodes: dict[str, str] = {}
    files: dict[str, str] = {}


class PipelineSpec(msgspec.Struct, frozen=True):
    """One pipeline; ``nodes`` are in topological order, ties in the order of the file. ``code``: as it was when the
    project was read. ``access``: to what all connections of the project lead to, for those that need any."""

    name: str
    nodes: list[NodeSpec]
    trigger: Literal["data", "schedule", "manual"] = "data"
    max_in_flight: int = 4
    batch: BatchSpec = BatchSpec()
    on_error: Literal["halt", "dead_letter"] = "halt"
    keep_last: int = 5
    description: str = ""
    schedules: list[ScheduleSpec] = []
    alerts: list[AlertSpec] = []
    code: CodeSpec = CodeSpec()
    access: Accesses = {}

    def node(self, name: str) -> NodeSpec:
        """The node of that name; raises KeyError."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    @property
    def overwriting(self) -> list[str]:
        """Sinks whose every part replaces the one before."""
        return [node.name for node in self.nodes if node.write is not None and node.write.mode == "overwrite"]

    @property
    def newest_only(self) -> list[str]:
        """Those of ``overwriting`` that hold no more than what the newest batch of files has brought."""
        fed = self._fed_by_files
        return [name for name in self.overwriting if name in fed]

    @property
    def older_over_newer(self) -> list[str]:
        """Sinks in which rows of files that are read again replace, or delete, newer ones of the same keys: they cannot
        tell by a version which are newer."""
        sinks = [(node.name, node.write) for node in self.nodes if node.write is not None]
        unsure = [name for name, write in sinks if write.mode in ("upsert", "delete") and not write.version]
        fed = self._fed_by_files
        return [name for name in unsure if name in fed]

    @property
    def stateful(self) -> bool:
        """Some node keeps state."""
        return any(node.state for node in self.nodes)

    @property
    def fed_by(self) -> dict[str, list[str]]:
        """The sources whose rows each node gets, sorted. Nodes stand behind their inputs."""
        found: dict[str, list[str]] = {}
        for node in self.nodes:
            own = {node.name} if node.read is not None else set()
            found[node.name] = sorted(own.union(*(found[name] for name in node.inputs if name in found)))
        return found

    @property
    def _fed_by_files(self) -> set[str]:
        """Nodes whose rows are those of the files that an iteration consumes: what is behind a node with state, or
        behind nothing but references, is as new as the iteration, whichever files it has read."""
        found: set[str] = set()
        for node in self.nodes:
            given = any(name in found for name in node.inputs)
            if not node.state and (given or (node.read is not None and not node.read.pinned)):
                found.add(node.name)
        return found


class WorkerSpec(msgspec.Struct, frozen=True):
    """When a worker process makes way for a fresh one, between two tasks: once it has done ``max_tasks``, or has more
    than ``max_memory`` bytes in memory. None: any number; a share of the host's memory."""

    max_tasks: int | None = None
    max_memory: int | None = None


class ProjectSpec(msgspec.Struct, frozen=True):
    """The whole project. ``root`` and ``data_dir`` are absolute. ``history`` in seconds, ``history_size`` in
    bytes. ``code_digest`` covers ``nodes/**/*.py`` at the time of reading (32 hex digits): workers have to have just
    that, whatever of it a node depends on."""

    name: str
    root: str
    data_dir: str
    workers: int
    pipelines: list[PipelineSpec]
    history: float = 30 * 86400.0
    code_digest: str = ""
    history_size: int = 2_000_000_000
    worker: WorkerSpec = WorkerSpec()

    def pipeline(self, name: str) -> PipelineSpec:
        """The pipeline of that name; raises KeyError."""
        for pipeline in self.pipelines:
            if pipeline.name == name:
                return pipeline
        raise KeyError(name)
