"""Runs tasks in a worker: chains of nodes, and publishing. Everything that goes wrong becomes a ``Failure``."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow as pa

from odibi_actors.batches.files import named
from odibi_actors.batches.spool import Spool
from odibi_actors.config.model import NodeSpec, ReadSpec, WriteSpec
from odibi_actors.errors import AccessError, BatchError, ConfigError, ConflictError, MissingExtraError
from odibi_actors.failpoints import failpoint
from odibi_actors.kinds.connection import Access, access_to, name_of
from odibi_actors.kinds.registry import sink_of, source_of
from odibi_actors.kinds.sink import Site
from odibi_actors.kinds.source import ReadResult, Source
from odibi_actors.messages import AnyTask, NodeDone, NodeFailed, PublishDone, PublishTask, Started, Step, Task
from odibi_actors.model import (
    LIVE,
    PIN,
    STATE,
    BatchRef,
    Failure,
    FailureKind,
    SchemaChange,
    StagedRef,
    Target,
    node_key,
    pin_digest,
)
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.printing import labelled
from odibi_actors.nodes.read import untouched
from odibi_actors.nodes.sinks.conform import Pin
from odibi_actors.nodes.sinks.conform import describe as describe_schema
from odibi_actors.nodes.sinks.known import Known
from odibi_actors.nodes.sinks.owner import Owner
from odibi_actors.nodes.spark.runner import SparkRunner
from odibi_actors.nodes.sql import SqlRunner, Variables
from odibi_actors.nodes.tracebacks import describe, user_failure
from odibi_actors.nodes.transform import Context, run_function, run_stateful
from odibi_actors.nodes.untyped import by_default, hint
from odibi_actors.runtime import room
from odibi_actors.runtime.memory import Peak
from odibi_actors.runtime.place import Place

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Outcome = Started | NodeDone | NodeFailed | PublishDone


class Executor:
    """One worker's executor; it keeps nothing between tasks but an open, empty DuckDB.

    ``code_digest`` is that of the ``nodes/`` this process has (or would) import; ``clock`` gives seconds since the Unix
    epoch.
    """

    def __init__(
        self, data_dir: Path, host: str, worker: str, code_digest: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._staged = data_dir / "staged"
        self.spool = Spool(data_dir / "spool", host)
        self.worker = worker
        self.code_digest = code_digest
        self._clock = clock
        self._sql = SqlRunner()
        self._spark = SparkRunner()
        self._places = {"": Place(data_dir)}

    def run(self, task: AnyTask) -> Iterator[Outcome]:
        """Do a task: for each of its nodes ``Started``, then its result; nothing comes after a failure."""
        if left := self._left(task):
            node = task.node if isinstance(task, PublishTask) else task.steps[0].node
            yield self._failed(task, node.name, Failure("busy", left), self._clock())
        elif isinstance(task, PublishTask):
            yield from self._publish(task)  # runs no code of the project, and a prepared iteration must roll forward
        elif task.code_digest != self.code_digest:
            message = f"this worker has code {self.code_digest}, the task is for {task.code_digest}"
            yield self._failed(task, task.steps[0].node.name, Failure("code_mismatch", message), self._clock())
        else:
            yield from self._run_chain(task)

    def _left(self, task: AnyTask) -> str:
        """That the project is not where the task has its paths, if so: nothing is made below a folder that is gone."""
        root = task.home.root
        if root not in self._places:
            self._places[root] = Place(Path(root))
        return next((said for place in self._places.values() if (said := place.left())), "")

    def interrupt(self) -> None:
        """Stop the query that runs, if one does; from another thread."""
        self._sql.interrupt()
        self._spark.interrupt()

    def close(self) -> None:
        """Release the DuckDB, and let go of Spark."""
        self._sql.close()
        self._spark.close()

    # --- chains ---------------------------------------------------------------------------------------------------

    def _run_chain(self, task: Task) -> Iterator[Outcome]:
        refs = dict(task.inputs)
        held: dict[str, pa.Table] = {}
        typeless = set(task.typeless)
        for place, step in enumerate(task.steps):
            node = step.node
            if place and (left := self._left(task)):
                yield self._failed(task, node.name, Failure("busy", left), self._clock())
                return
            yield Started(task.attempt, node.name)
            began, peak = self._clock(), Peak()
            inputs: dict[str, pa.Table] = {}
            try:
                with labelled(f"{task.pipeline} {task.iteration} {node.name}"):
                    inputs |= {
                        name: held[name] if name in held else self._input(task, name, refs) for name in node.inputs
                    }
                    last = place == len(task.steps) - 1
                    done, table = self._run_step(task, step, refs, inputs, began, last=last, guessed=bool(typeless))
                done = msgspec.structs.replace(done, memory=peak.so_far(), memory_before=peak.before)
            except Exception as error:  # noqa: BLE001 - whatever it was, the node has failed and says why
                failure = to_failure(error)
                if more := self._hint(task, node, failure, inputs, frozenset(typeless)):
                    failure = msgspec.structs.replace(failure, message=failure.message.rstrip() + more)
                yield self._failed(task, node.name, failure, began)
                return
            # The next node gets this very table; older ones go, unless a later node of the chain wants them.
            later = {name for following in task.steps[place + 1 :] for name in following.node.inputs}
            held = {name: kept for name, kept in (held | {node.name: table}).items() if name in later}
            if done.output is not None:
                refs[node.name] = done.output
            if node.read is not None:
                (typeless.discard if step.schema or done.schema else typeless.add)(node.name)
            yield done

    def _run_step(
        self,
        task: Task,
        step: Step,
        refs: dict[str, BatchRef],
        inputs: dict[str, pa.Table],
        began: float,
        *,
        last: bool,
        guessed: bool,
    ) -> tuple[NodeDone, pa.Table]:
        node = step.node
        output = staged = state = None
        schema, schema_text, notes = b"", list[str](), list[str]()
        changes: list[SchemaChange] = []
        found: ReadResult | None = None
        if node.write is not None:
            pin = self._pin(task, step, node.write, guessed)
            table, staged, told = self._stage(task, step, node.write, inputs, pin)
            if told is not None:
                schema, schema_text = told.serialize().to_pybytes(), describe_schema(told)
            changes = pin.changes
            notes = by_default(table, node.write.schema) if schema else []
        else:
            if node.read is not None:
                access = task.access.get(name_of(node.read.connection.type, node.read.connection.path), {})
                door = Access(access, task.home.root)
                nothing = node.read.typed and not step.positions and not step.schema
                source = _source(node.read)
                found = untouched(node.read) if nothing else source.load(node.read, step.positions, step.schema, door)
                table, schema, schema_text = found.table, found.schema, found.schema_text
            elif node.state:
                table, kept = self._run_stateful(task, step, inputs)
                state = self.spool.write(kept, task.pipeline, task.iteration, node.name, task.attempt, state=True)
            else:
                table = self._transform(task, node, inputs)
            output = self.spool.write(
                table, task.pipeline, task.iteration, node.name, task.attempt, durable=node.durable
            )
        done = NodeDone(
            attempt=task.attempt,
            pipeline=task.pipeline,
            iteration=task.iteration,
            node=node.name,
            key=node_key(step.static, self._digests(step, refs, schema)),
            started_at=began,
            duration=self._clock() - began,
            rows_in=table.num_rows if node.read is not None else sum(one.num_rows for one in inputs.values()),
            rows_out=table.num_rows if staged is None else staged.rows,
            worker=self.worker,
            output=output,
            staged=staged,
            schema=schema,
            schema_text=schema_text,
            last=last,
            state=state,
            schema_notes=found.notes if found is not None else notes,
            left_out=found.left_out if found is not None else [],
            files=found.files if found is not None else [],
            touched=found.touched if found is not None else [],
            remarks=found.remarks if found is not None else [],
            changes=found.changes if found is not None else changes,
        )
        return done, table

    def _digests(self, step: Step, refs: dict[str, BatchRef], schema: bytes) -> dict[str, str]:
        """The digests of what the node was given, its state among them; of a source, also of the schema its files were
        read with, and of a sink that of its part."""
        digests = {name: refs[name].digest for name in step.node.inputs}
        if step.node.state:
            digests[STATE] = step.state.digest if step.state is not None else ""
        if step.node.transform is None and (pin := pin_digest(schema or step.schema)):
            digests[PIN] = pin
        return digests

    def _input(self, task: Task, name: str, refs: dict[str, BatchRef]) -> pa.Table:
        if name not in refs:
            raise Failed("invalid", f"the task has no input {name!r}")
        try:
            return self.spool.read(refs[name], verify=name in task.verify)
        except BatchError as error:
            raise Failed("input_lost", f"output of {name!r}: {error}", lost=name) from error

    def _transform(self, task: Task, node: NodeSpec, inputs: dict[str, pa.Table]) -> pa.Table:
        spec = node.transform
        assert spec is not None
        if spec.sql is not None:
            runner = self._spark if node.engine == "spark" else self._sql
            return runner.run(spec.sql, inputs, self._variables(task, node), node.sql_file)
        with self._spark.given(node.engine) as spark:
            return run_function(spec.function or "", spec.params, inputs, self._context(task, node), spark)

    def _hint(
        self, task: Task, node: NodeSpec, failure: Failure, inputs: dict[str, pa.Table], typeless: frozenset[str]
    ) -> str:
        spec = node.transform
        if spec is None or node.engine is not None:
            return ""
        if (sql := spec.sql) is None:
            return hint(failure, inputs, typeless, None)
        variables = self._variables(task, node)
        return hint(failure, inputs, typeless, lambda tables: self._sql.refusal(sql, tables, variables))

    def _variables(self, task: Task, node: NodeSpec) -> Variables:
        context = self._context(task, node)
        return Variables(context.params, context.occurrence, context.scheduled_at)

    def _run_stateful(self, task: Task, step: Step, inputs: dict[str, pa.Table]) -> tuple[pa.Table, pa.Table]:
        node, former = step.node, None
        spec = node.transform
        if spec is None or spec.function is None:
            raise Failed("invalid", "only a transform with a function keeps state")
        if step.state is not None:
            try:
                # Always verified: nothing can make the state of a committed iteration again.
                former = self.spool.read(step.state, verify=True)
            except BatchError as error:
                raise Failed("input_lost", f"the state that {node.name!r} kept: {error}", lost=STATE) from error
        with self._spark.given(node.engine) as spark:
            return run_stateful(spec.function, spec.params, inputs, self._context(task, node), former, spark)

    def _context(self, task: Task, node: NodeSpec) -> Context:
        return Context(
            pipeline=task.pipeline,
            iteration=task.iteration,
            node=node.name,
            attempt=task.attempt_no,
            watermark=None,
            logger=node_logger(task.pipeline, task.iteration, node.name),
            run=task.run,
            params=copy.deepcopy(task.trigger.params),  # nothing a function does to them reaches another node
            schedule=task.trigger.schedule,
            occurrence=task.trigger.occurrence,
            scheduled_at=_EPOCH + timedelta(seconds=task.trigger.due) if task.trigger.due else None,
            files=list(task.trigger.files),
            lane=task.lane,
        )

    # --- sinks ----------------------------------------------------------------------------------------------------

    def _pin(self, task: Task, step: Step, spec: WriteSpec, guessed: bool) -> Pin:
        """What the part is held to. ``guessed``: the types of columns without values are, so that a part without rows
        tells none."""
        known = pa.ipc.read_schema(pa.py_buffer(step.schema)) if step.schema else None
        name, evolve = f"{task.pipeline}.{step.node.name}", spec.on_schema_change == "evolve"
        return Pin(known, open=step.open, declared=spec.schema, name=name, guessed=guessed, evolve=evolve)

    def _stage(
        self, task: Task, step: Step, spec: WriteSpec, inputs: dict[str, pa.Table], pin: Pin
    ) -> tuple[pa.Table, StagedRef, pa.Schema | None]:
        """The rows of the part, the part, and the schema that it tells, if it does."""
        if len(inputs) != 1:
            raise Failed("invalid", f"a write node has one input, not {len(inputs)}; join them in a transform")
        (table,) = inputs.values()
        owner = Owner(task.store_id, task.pipeline, step.node.name)
        former = [Owner(task.store_id, *one) for one in step.former]
        overwrite = spec.mode == "overwrite"
        if overwrite and task.lane != LIVE:
            raise ConflictError(
                f"{pin.name} overwrites: what {task.lane} reads again is older than what stands there, and does not "
                f"replace it; `odibictl backfill cancel {task.pipeline} {task.lane}`"
            )
        access = access_to(spec.target, task.access, task.home.root)
        site = Site(spec.target, owner, task.home, former, self._staged, overwrite, access)
        with naming(spec.target):
            sink = sink_of(spec.target.sink).open(site, spec)
            staged, rows = sink.stage(table, task.iteration, task.attempt, pin, step.published)
        return table, staged, None if pin.void(rows) else pin.told(rows)

    def _publish(self, task: PublishTask) -> Iterator[Outcome]:
        yield Started(task.attempt, task.node.name)
        began = self._clock()
        try:
            remark = self._publish_part(task)
        except Exception as error:  # noqa: BLE001 - whatever it was, publishing has failed and says why
            failure = to_failure(error)
            if failure.kind not in ("io", "full", "busy"):  # nothing of a prepared iteration can be run again
                failure = msgspec.structs.replace(failure, kind="conflict")
            yield self._failed(task, task.node.name, failure, began)
            return
        duration = self._clock() - began
        yield PublishDone(task.attempt, task.pipeline, task.iteration, task.node.name, self.worker, duration, remark)

    def _publish_part(self, task: PublishTask) -> str:
        """To the target that was prepared, not to what the configuration may name by now. Returns what is to be told
        of it, or ""."""
        owner = Owner(task.store_id, task.pipeline, task.node.name)
        others = [Owner(task.store_id, *one) for one in task.former]
        part, retracting = task.part, task.action == "retract"
        access = access_to(part.at, task.access, task.home.root)
        former = () if retracting else others
        site = Site(part.at, owner, task.home, former, self._staged, part.replaces, access, part.published)
        with naming(part.at):
            sink = sink_of(part.at.sink).open(site, None)
            if retracting:
                sink.retract(task.after, task.iteration, task.given_up, others, task.spared)
            elif task.action == "discard":
                sink.discard(part, task.iteration)
            else:
                known = Known(task.upto, dict(task.coming))
                failpoint("sink.publish")
                remark = sink.publish(part, task.iteration, task.settled, task.published, task.before, known)
                failpoint("sink.published")
                return remark or ""
        return ""

    def _failed(self, task: AnyTask, node: str, failure: Failure, began: float) -> NodeFailed:
        return NodeFailed(
            task.attempt, task.pipeline, task.iteration, node, failure, began, self._clock() - began, self.worker
        )


def _source(read: ReadSpec) -> Source:
    try:
        return source_of(read.mode)
    except ConfigError as error:
        raise Failed("invalid", str(error)) from error


def node_logger(pipeline: str, iteration: int, node: str) -> logging.Logger:
    """The logger of a node in one iteration: its lines begin as what the node prints does (``sales 3 clean:``). Levels
    and handlers are those of ``odibi.PIPELINE.NODE``. It is not kept by ``logging``, which never forgets a name."""
    logger = logging.Logger(f"{pipeline} {iteration} {node}:")
    logger.parent = logging.getLogger(f"odibi.{pipeline}.{node}")
    return logger


@contextmanager
def naming(target: Target) -> Iterator[None]:
    """Errors of the environment name the target, unless they name a path themselves; those of its kind are failures."""
    try:
        with named(target.name):
            yield
    except Exception as error:
        if (failed := sink_of(target.sink).failure(target, error)) is not None:
            raise failed from error
        raise


def to_failure(error: Exception) -> Failure:
    """Why a node failed, from what was raised while it ran."""
    if isinstance(error, Failed):
        return error.failure
    if isinstance(error, MissingExtraError):
        return Failed("code", str(error)).failure
    if isinstance(error, AccessError):
        return Failed("busy", str(error)).failure  # nothing is wrong with the data
    if isinstance(error, ConflictError):
        return Failed("conflict", str(error)).failure
    if isinstance(error, OSError):
        kind: FailureKind = "full" if room.lacking(error) else "io"
        return Failed(kind, room.explained(error, describe(error))).failure
    if isinstance(error, BatchError):
        return Failed("invalid", str(error), column=error.column).failure
    return user_failure(error).failure
