"""Work as it is done anywhere: the executor of a worker reads csv files, and stages and publishes parts in folders and
databases. They lie in a folder of the life's own, which the rest of the life does not know: what it calls ``/out`` is
``out`` in there.

The model of all that lives beside it and is done to as well: both must come to the same. Workers are killed at
failpoints, by dice of their own; what they have left there is looked at, and the model has it so.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import msgspec
import pyarrow as pa
from msgspec.structs import replace

from odibi_actors.batches.ipc import encode_schema
from odibi_actors.checkpoint import adopted
from odibi_actors.config.model import NodeSpec, ReadSpec, WriteSpec
from odibi_actors.failpoints import watching
from odibi_actors.kinds.registry import sink_of
from odibi_actors.messages import NodeDone, NodeFailed, PublishDone, PublishTask, Step, Task
from odibi_actors.model import Position, StagedRef, Target
from odibi_actors.nodes.executor import Executor, Outcome
from odibi_actors.nodes.sinks.forms import form_of
from odibi_actors.nodes.sinks.owner import Owner
from odibi_actors.sim import real_files, targets
from odibi_actors.sim.columns import MIXED, OTHER, SHAPE
from odibi_actors.sim.host import Host, Output, Part, SimFile, digest_of
from odibi_actors.sim.own_folder import OwnFolder
from odibi_actors.sim.project import STOCK
from odibi_actors.sim.real_targets import Publication, Row, Table, held, rows_of, stocked
from odibi_actors.sim.truth import check
from odibi_actors.sim.work import Killed, Place, Reading, Work, failed
from odibi_actors.sources.file_position import FileTimes, file_times

RARE = 0.1
"""Share of deaths at failpoints of any file, which are passed more often than those of sinks."""
STATE = "/state"
"""The ``data_dir``, which lies nowhere near the targets."""

PINS = {
    b"": b"",
    SHAPE: encode_schema(pa.schema([("id", pa.int64()), ("extra", pa.int64())])),
    OTHER: encode_schema(pa.schema([("id", pa.int64()), ("extra", pa.date32())])),
    MIXED: encode_schema(pa.schema([("id", pa.int64()), ("extra", pa.string())])),
}
"""What the life knows a schema of files by, and the schema."""
SHAPES = {schema: shape for shape, schema in PINS.items()}


PARTS = (None, "x", "y/z")
"""Values of the column by which folders are partitioned."""


def table_of(output: Output, iteration: int) -> pa.Table:
    """The rows of an output. Iterations disagree about a type, and their values are those of both."""
    amount = pa.int64() if iteration % 2 else pa.float64()
    columns = {
        "id": pa.array(output.rows, pa.int64()),
        "name": pa.array([f'röw, "{row}"' if row % 3 else None for row in output.rows], pa.string()),
        "amount": pa.array([row * 3 for row in output.rows], amount),
        "salt": pa.array([output.salt] * len(output.rows), pa.int64()),
        "part": pa.array([PARTS[row % len(PARTS)] for row in output.rows], pa.string()),
    }
    return pa.table(columns)


class RealWork(Work):
    """Work in a folder of its own, which ``close`` deletes."""

    def __init__(self, host: Host, seed: int) -> None:
        super().__init__(host)
        host.real = True
        self._dice = random.Random(f"killed at failpoints {seed}")
        self._emptied: set[Target] = set()  # what is overwritten, and was emptied by hand
        self._tables: dict[Target, Table] = {}  # what they must hold
        self._coming: dict[str, None] = {}  # staged, and on its way: beside what stands, and not in its place yet
        self._parts: dict[tuple[Place, str], StagedRef] = {}  # (place, digest) -> what was staged, in our folder

    @cached_property
    def _folder(self) -> OwnFolder:
        return OwnFolder()

    @property
    def _root(self) -> str:
        return self._folder.path

    @cached_property
    def _executor(self) -> Executor:
        return Executor(Path(self._root + STATE), "host", "w", "code", lambda: self.host.world.now)

    def close(self) -> None:
        if "_executor" in self.__dict__:
            self._executor.close()
        if "_folder" in self.__dict__:
            self._folder.close()

    def _run(self, task: Task | PublishTask) -> Outcome:
        """Raises Killed."""
        task = replace(task, code_digest="code")
        with watching(self._reach):
            *_, outcome = self._executor.run(task)
        if isinstance(outcome, NodeFailed):
            said = outcome.failure.message.replace(self._root, "")
            outcome = replace(outcome, failure=replace(outcome.failure, message=said))
        return outcome

    def _reach(self, name: str) -> None:
        often = name.startswith(("sink.", "folder.", "rows.", "table."))
        if self._dice.random() < self.host.die * (1.0 if often else RARE):
            raise Killed(name)

    # --- reading --------------------------------------------------------------------------------------------------

    def read(self, task: Task, step: Step) -> Reading | NodeFailed:
        told = super().read(task, step)
        node = step.node
        assert node.read is not None
        folder = node.read.connection.path
        laid = [self._lay(node.read, position) for position in step.positions]
        positions = [position for position, _ in laid]
        connection = replace(node.read.connection, path=self._root + folder)
        node = replace(node, read=replace(node.read, connection=connection))
        alone = replace(step, node=node, positions=positions, schema=PINS[step.schema])
        outcome = self._run(replace(task, steps=[alone], inputs={}))
        name = f"{task.pipeline}/{task.iteration}/{node.name}"
        if isinstance(outcome, NodeFailed):
            same = isinstance(told, NodeFailed) and outcome.failure.kind in ("changed", "malformed")
            check(same, "I6", f"{name} is not read: {outcome.failure}; the model: {told}")
            return failed(self.host, task, node.name, outcome.failure)
        assert isinstance(outcome, NodeDone)
        assert outcome.output is not None
        check(isinstance(told, Reading), "I6", f"{name} is read; the model: {told}")
        assert isinstance(told, Reading)
        rows = self._executor.spool.read(outcome.output).column("id").to_pylist()
        check(rows == told.rows, "I6", f"{name}: {len(rows)} rows were read; the files hold {len(told.rows)}")
        shape = SHAPES.get(outcome.schema)
        same = shape == (b"" if step.schema else told.shape)
        check(same, "I6", f"{name} was read as {outcome.schema_text}; the model: {told.shape!r}")
        digests = [file.digest.hex() for file in outcome.files] == [digest for _, digest in laid]
        check(digests, "I6", f"{name}: other digests were read")
        return told

    def first_shape(self, files: list[SimFile]) -> bytes:
        found = {file.shape for file in files} - {b""}
        return MIXED if len(found) > 1 else super().first_shape(files)

    def _lay(self, read: ReadSpec, position: Position) -> tuple[Position, str]:
        """The file lies there as it is by now; its position says the same of it as the other does. Also the digest of
        its bytes."""
        folder = read.connection.path
        file = self.host.folders[folder].get(position.identity)
        path = Path(self._root + folder, position.identity)
        if file is None:
            path.unlink(missing_ok=True)
            return position, ""
        content = real_files.laid(path, file, read)
        found, planned, digest = path.stat(), file_times(position.detail), digest_of(content)
        detail = FileTimes(planned.mtime_ns, found.st_ino + planned.inode - file.inode, found.st_ctime_ns)
        known = digest if position.digest == file.digest else position.digest
        size = position.size - file.size + len(content)
        return replace(position, size=size, digest=known, detail=detail.packed()), digest

    # --- transforms -----------------------------------------------------------------------------------------------

    def transform(self, task: Task, step: Step, inputs: dict[str, Output]) -> None:
        """SQL is run, over all rows of its inputs."""
        node = step.node
        if node.transform is None or node.transform.sql is None:
            return
        tables = {name: table_of(output, task.iteration) for name, output in inputs.items()}
        given = {
            name: self._executor.spool.write(table, task.pipeline, task.iteration, name, task.attempt)
            for name, table in tables.items()
        }
        sql = " union all ".join(f'select * from "{name}"' for name in tables)
        node = replace(node, transform=replace(node.transform, sql=sql, params={}), state=False)
        outcome = self._run(replace(task, steps=[replace(step, node=node, state=None)], inputs=given, verify=[]))
        name = f"{task.pipeline}/{task.iteration}/{node.name}"
        check(isinstance(outcome, NodeDone) and outcome.output is not None, "I6", f"{name} is not done: {outcome}")
        assert isinstance(outcome, NodeDone)
        assert outcome.output is not None
        found = sorted(rows_of(self._executor.spool.read(outcome.output)), key=number_of)
        expected = sorted((row for table in tables.values() for row in rows_of(table)), key=number_of)
        check(found == expected, "I6", f"{name} gives {len(found)} rows; its inputs have {len(expected)}")

    # --- staging --------------------------------------------------------------------------------------------------

    def stage(self, task: Task, step: Step, output: Output) -> tuple[StagedRef, bytes] | NodeFailed:
        place = (task.pipeline, task.iteration, step.node.name)
        table = table_of(output, task.iteration)
        (name,) = step.node.inputs
        given = self._executor.spool.write(table, task.pipeline, task.iteration, name, task.attempt)
        alone = replace(step, node=self._outside(step.node))
        outcome = self._run(replace(task, steps=[alone], inputs={name: given}, verify=[]))
        told = self.refused(task, step)
        if isinstance(outcome, NodeFailed) and outcome.failure.kind == "conflict":
            check(told, "I5", f"{place} is not staged, and might be: {outcome}")
            return failed(self.host, task, place[2], outcome.failure)
        check(isinstance(outcome, NodeDone), "I5", f"{place} is not staged: {outcome}")
        assert isinstance(outcome, NodeDone)
        assert outcome.staged is not None
        part = self._inside(outcome.staged)
        check(not told or self._has_bare(part.at), "I3", f"{place} is staged where it does not go with what stands")
        check(part.rows == len(output.rows), "I1", f"{place} has {part.rows} rows, not {len(output.rows)}")
        self._parts[place, part.digest] = outcome.staged
        assert step.node.write is not None
        self.host.staged[part.staged] = self.made(step.node.write, msgspec.msgpack.encode(output), part.digest)
        self.host.owners[part.at] = (place[0], place[2])
        return part, outcome.schema

    def suffix(self, write: WriteSpec) -> str:
        return form_of(write.format, write.compression).suffix if write.format else ""

    def mixes(self, part: Part, iteration: int = 0) -> bool:
        if part.at.sink == "local":
            return super().mixes(part, iteration)
        table = self._tables.get(part.at, Table())
        if iteration and table.overwritten >= iteration:
            return True
        return part.replaces and bool(table.rows) and not table.overwritten

    def _has_bare(self, at: Target) -> bool:
        """Something that was published in this folder has no rows, and may not be seen."""
        return at.sink == "local" and any(not self._published(place).ids for place in self.host.standing(at))

    def _outside(self, node: NodeSpec) -> NodeSpec:
        """The node, whose target is in our folder."""
        assert node.write is not None
        connection = replace(node.write.connection, path=self._root + node.write.connection.path)
        return replace(node, write=replace(node.write, connection=connection))

    def _inside(self, part: StagedRef) -> StagedRef:
        """The part, as the rest of the life knows it."""
        return _elsewhere(part, lambda path: path.removeprefix(self._root))

    def _in_ours(self, part: StagedRef) -> StagedRef:
        """The other way round."""
        return _elsewhere(part, self._ours)

    def _ours(self, path: str) -> str:
        """Where in our folder that is."""
        return self._root + path if path.startswith("/") else path

    # --- publishing -----------------------------------------------------------------------------------------------

    def publish(self, task: PublishTask) -> PublishDone | NodeFailed:
        place = (task.pipeline, task.iteration, task.node.name)
        if task.action == "publish" and self.refuses(task):
            return super().publish(task)
        part = self._in_ours(task.part)
        try:
            outcome = self._run(replace(task, part=part))
        except Killed:
            staged = self.host.staged.get(task.part.staged)
            self._look(task, part)
            self._swept()
            if task.action == "publish" and staged is not None and place not in self.host.visible:
                self._coming[task.part.staged] = None
                self.host.staged[task.part.staged] = staged
            raise
        assert isinstance(outcome, PublishDone | NodeFailed)
        if isinstance(outcome, NodeFailed):
            outcome = failed(self.host, task, task.node.name, outcome.failure)
        if self._by_hand(task, part, outcome):
            return outcome
        told = super().publish(task)
        self._coming.pop(task.part.staged, None)
        self._swept()
        if task.action == "publish" and isinstance(outcome, PublishDone):
            self._emptied.discard(task.part.at)
        late = task.part.replaces and self.host.current.get(task.part.at, 0) > place[1]
        same = isinstance(told, NodeFailed) == isinstance(outcome, NodeFailed)
        check(same or late or part.void, "I3", f"{place}: {task.action}: {outcome}; the model: {told}")
        return outcome if late else told if part.void else outcome

    def _look(self, task: PublishTask, part: StagedRef) -> None:
        """What has a worker that was killed left? The model has it so."""
        place = (task.pipeline, task.iteration, task.node.name)
        visible = place in self.host.visible
        match task.action:
            case "publish" if not visible and not part.void and Publication(place, part, [], 0).stands():
                super().publish(task)
            case "discard" if visible and not self._published(place).stands():
                super().publish(task)
            case "retract":
                self.host.truth.retracted(task.pipeline, task.after, task.iteration)
                for one in self.retracted(task):
                    if not self._published(one).stands():
                        del self.host.visible[one]
                        self.host.changes += 1

    def _by_hand(self, task: PublishTask, part: StagedRef, outcome: PublishDone | NodeFailed) -> bool:
        """What is to be given up, and is in a table or has replaced something, nobody but an operator deletes, who does
        so after a while."""
        place = (task.pipeline, task.iteration, task.node.name)
        there = place in self.host.visible and self.host.visible[place].digest == part.digest
        if task.action != "discard" or not there or not (part.replaces or part.at.sink != "local"):
            return False
        if part.replaces and isinstance(outcome, PublishDone):
            return False  # it was replaced since
        check(isinstance(outcome, NodeFailed), "I3", f"{place}: rows that are published are told as given up")
        self.host.world.count("rows to delete by hand")
        self.host.world.after(2.0, self._delete, place)
        return True

    def _delete(self, place: Place) -> None:
        if place in self.host.visible:
            self.move_away(place)
            targets.resettle(self.host)
            self.host.changes += 1

    def _publish(self, task: PublishTask, place: Place) -> bool:
        new = place not in self.host.visible
        if not super()._publish(task, place):
            return False
        if new and place in self.host.visible and task.part.at.sink != "local":
            part = self.host.visible[place]
            self._tables.setdefault(part.at, Table()).take(self._rows(place), part, place[1])
        return True

    def _swept(self) -> None:
        """What is staged, and nobody asks for any more, a sink deletes."""
        for path in [path for path in self.host.staged if not os.path.lexists(self._root + path)]:
            if path not in self._coming:
                del self.host.staged[path]

    # --- what operators do ----------------------------------------------------------------------------------------

    def put_back(self, at: Target, count: int) -> Callable[[], None]:
        newer = {place: self._take_out(place) for place in self.host.standing(at)[-count:]}
        bring_back = super().put_back(at, count)

        def really() -> None:
            for place in self.host.missing[at]:
                if place not in self.host.visible:
                    newer[place]()
            bring_back()

        return really

    def _take_out(self, place: Place) -> Callable[[], None]:
        """Of a target; what brings it back."""
        bring_back, table = self._published(place).take_out(), self._tables.get(self.host.visible[place].at)
        if table is None:
            return bring_back
        rows = self._rows(place)
        table.lose(rows)

        def really() -> None:
            bring_back()
            table.rows += rows

        return really

    def fill(self, at: Target, ids: list[int]) -> None:
        """Somebody puts rows into a table by hand."""
        self._tables.setdefault(at, Table()).rows += stocked(_moved(at, self._ours), ids)

    def move_away(self, place: Place) -> None:
        self._published(place).move_away()
        at = self.host.visible[place].at
        if at in self._tables:
            self._tables[at].lose(self._rows(place))
            self._tables[at].forget(place[1])
        elif self.host.visible[place].replaces:
            self._emptied.add(at)
        super().move_away(place)

    def reset(self, pipeline: str, targets: list[Target]) -> None:
        known, adoptions = self.host.engine.known(pipeline) or {}, self.host.engine.adoptions()
        for at in targets:
            names = adopted.names(adoptions, at) or [self.host.owners[at]]
            owners = [Owner(self.host.engine.store_id, *name) for name in names]
            given_up = [known.get("given_up", {}).get(node, ()) if name == pipeline else () for name, node in names]
            kind, there = sink_of(at.sink), _moved(at, self._ours)
            mark = kind.mark(there)
            if mark is not None and mark.owner in owners:
                kind.delete(there, owners, given_up)
            if at.locator != STOCK:  # which nobody has published
                self._tables.pop(at, None)
            self._emptied.discard(at)
        shutil.rmtree(f"{self._root}{STATE}/staged/{pipeline}", ignore_errors=True)
        self._coming.clear()
        super().reset(pipeline, targets)
        self._swept()

    # --- what is there --------------------------------------------------------------------------------------------

    def _published(self, place: Place) -> Publication:
        visible = self.host.visible[place]
        output = msgspec.msgpack.decode(visible.data, type=Output)
        return Publication(place, self._parts[place, visible.digest], output.rows, output.salt)

    def check(self) -> None:
        for at in dict.fromkeys(part.at for part in self.host.visible.values()):
            if at not in self._emptied:
                found, expected = self._compared(at)
                check(found == expected, "I1", f"{at} holds {len(found)} rows, not {len(expected)}")

    def held(self, at: Target) -> bool:
        found, expected = self._compared(at)
        return found == expected

    def outside(self, path: str) -> str:
        return self._ours(path)

    def _compared(self, at: Target) -> tuple[list[Row], list[Row]]:
        """The rows that readers find in a target, and those that it must hold."""
        places, newest, table = self.host.standing(at), self.host.current.get(at), self._tables.get(at)
        read = [place for place in places if newest in (None, place[1])]
        expected = [row for place in read for row in self._rows(place)] if table is None else table.rows
        found = held(self._published(read[0]).part)
        return sorted(found, key=number_of), sorted(expected, key=number_of)

    def _rows(self, place: Place) -> list[Row]:
        return rows_of(table_of(msgspec.msgpack.decode(self.host.visible[place].data, type=Output), place[1]))


def _elsewhere(part: StagedRef, path: Callable[[str], str]) -> StagedRef:
    names = ("staged", "published", "exclusive")
    return replace(part, at=_moved(part.at, path), **{name: path(getattr(part, name)) for name in names})


def _moved(at: Target, path: Callable[[str], str]) -> Target:
    return replace(at, connection=path(at.connection), locator=path(at.locator))


def number_of(row: Row) -> tuple[int, int]:
    """What rows are sorted by: number and salt."""
    return row[0], row[3]
