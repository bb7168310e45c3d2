"""``odibictl try``: a pipeline over a sample of what is there, beside whatever runs: no store, no locks, no targets.

Nodes are run by the same ``Executor`` as everywhere, on a temporary folder, in the order of the DAG. Sinks publish into
that folder too, into an empty table made like the one there is, so what they refuse is refused here as well.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
import pyarrow as pa

from odibi_actors.batches.shown import head
from odibi_actors.config.arrow_types import type_name
from odibi_actors.config.model import (
    ConnectionSpec,
    NodeSpec,
    PipelineSpec,
    ProjectSpec,
    ReadSpec,
    WriteSpec,
)
from odibi_actors.config.received import params_problem
from odibi_actors.errors import ConfigError, ConflictError, NotFoundError, OdibiError
from odibi_actors.kinds.connection import Access, access_to, asked_once, name_of
from odibi_actors.kinds.registry import sink_of
from odibi_actors.kinds.sink import Rehearsing, Site
from odibi_actors.local.available import Available, ahead, listed, nothing_in
from odibi_actors.local.polling import polled
from odibi_actors.messages import NodeDone, NodeFailed, PublishTask, Step, Task
from odibi_actors.model import Attempt, BatchRef, Failure, Home, Position, Trigger, sentences
from odibi_actors.nodes.executor import Executor, naming, to_failure
from odibi_actors.nodes.package import claimed
from odibi_actors.nodes.read import DOUBT
from odibi_actors.nodes.sinks.conform import Pin
from odibi_actors.nodes.sinks.owner import Owner
from odibi_actors.nodes.sinks.table_columns import of_others
from odibi_actors.nodes.sinks.targets import mark_of, understood
from odibi_actors.units import plural

SAMPLE = 1000
"""Rows of each watched source that are taken: enough to see, little enough to wait for."""
HEAD = 5
"""Rows of each node that are shown."""
STORE = "try"
_OF_ITERATION = re.compile(r"[,;]? (?:and|then) `odibictl iteration [^`]*`|; or cancel the iteration\b")
"""Parts of a remedy that nobody can follow: there is no iteration."""


class TriedNode(msgspec.Struct):
    """What came of one node. ``state``: ``ok``, ``failed``, ``absent`` (a source that has nothing, and nobody knows its
    columns) or ``skipped`` (an input is missing). ``rows``: what it put out, of a sink what it was given. ``columns``:
    (name, Arrow type); ``head``: its first rows. ``note``: which part of the data it had, or where a sink would write.
    ``aside``: (file, why) that a run would set aside as a dead letter. ``doubt``: what is to be looked at. ``unread``:
    why nothing could be read, though a run goes on without it."""

    node: str
    kind: str
    state: str = "ok"
    rows: int | None = None
    duration: float | None = None
    note: str = ""
    columns: list[tuple[str, str]] = []
    head: list[dict[str, object]] = []
    failure: Failure | None = None
    aside: list[tuple[str, str]] = []
    doubt: str = ""
    unread: str = ""


class Trial:
    """One pipeline over a sample. ``sample``: rows of each watched source; ``files``: a pattern for their files (paths
    below the source's folder; None: all). ``params``: as an operator would trigger a run with. Sources of mode
    ``batch`` are read whole, as in every iteration. ``pins``: the Arrow schemas that sources are held to; ``discarded``
    what was given up of sources that are read in order: they are read on behind it. ``repinned``: the schemas of sinks
    whose next part may have other columns. Raises ConfigError for parameters that no run may have, and for fewer rows
    than one (``head``: than none)."""

    def __init__(
        self,
        project: ProjectSpec,
        pipeline: str,
        sample: int = SAMPLE,
        files: str | None = None,
        head: int = HEAD,
        params: Mapping[str, Any] | None = None,
        pins: Mapping[str, bytes] | None = None,
        discarded: Mapping[str, list[Position]] | None = None,
        repinned: Mapping[str, bytes] | None = None,
    ) -> None:
        if problem := params_problem(dict(params or {})):
            raise ConfigError(problem)
        if sample < 1 or head < 0:
            raise ConfigError(f"sample={sample}, head={head}: a sample has a row or more, and a head none or more")
        self._trigger = Trigger("manual", params=dict(params or {}))
        self._project = project
        self._spec = project.pipeline(pipeline)
        self._sample = sample
        self._files = files
        self._head = head
        self._pins = dict(pins or {})
        self._repinned = dict(repinned or {})
        self._discarded = dict(discarded or {})
        self._counter = 0
        self._outputs: dict[str, BatchRef] = {}
        self._without: dict[str, tuple[str, str]] = {}
        self._unpolled: dict[str, str] = {}
        self._typeless: set[str] = set()  # sources of which no row was read, so that no types are known
        self.sampled = False
        """Some source has more than was taken."""

    def run(self, only: str | None = None) -> Iterator[TriedNode]:
        """Each node as it is done; with ``only`` that node and what it needs. A source that has nothing gives the empty
        table that a run has of it, or, while nobody knows its columns, is ``absent``. Raises NotFoundError when nothing
        can be tried. User code runs in this process."""
        nodes = wanted(self._spec, only)
        with claimed(Path(self._project.root)), tempfile.TemporaryDirectory(prefix="odibi-try-") as folder:
            self._folder = Path(folder)
            given = (self._spec.access, self._project.root, self._folder / "ticks")
            polls = [polled(self._spec.name, node, *given) for node in nodes]
            self._unpolled = {node.name: problem for node, problem in polls if problem}
            nodes = [node for node, _ in polls]
            self._look([node for node in nodes if node.read is not None])
            self._executor = Executor(self._folder, "", "try", self._project.code_digest)
            try:
                for node in nodes:
                    yield _followable(self._node(node))
            finally:
                self._executor.close()

    def _look(self, sources: list[NodeSpec]) -> None:
        """Note which sources have nothing, and why. Raise NotFoundError with all of them when nothing can be tried."""
        lines = []
        for node in sources:
            found = self._listed(node)
            if not found.positions:
                problems = found.problems
                problems += [problem] if (problem := self._unpolled.get(node.name)) else []
                files = self._files if node.read is not None and not node.read.pinned else None
                said = nothing_in(self._project.pipelines, self._spec.name, node, files, found)
                self._without[node.name] = "; ".join(said), "; ".join(problems)
                lines += [f"{node.name}: {line}" for line in said]
        anything = len(self._without) < len(sources) or any(self._known(node) for node in sources)
        if lines and (not anything or (self._files and len(self._without) == len(sources))):
            other = any(node.read is not None and node.read.consumption == "cursor" for node in sources)
            needs = "something" if other else "a file"
            raise NotFoundError("\n".join([*lines, f"nothing was tried: each source needs {needs} to read"]))

    def _known(self, node: NodeSpec) -> bool:
        """Whether a run has at least an empty table of it: its columns are declared, or those that were read."""
        read = node.read
        return read is not None and not read.pinned and (read.typed or bool(self._pins.get(node.name)))

    def _listed(self, node: NodeSpec) -> Available:
        assert node.read is not None
        if node.read.consumption == "cursor":
            access = self._spec.access.get(name_of(node.read.connection.type, node.read.connection.path), {})
            # one more than a run takes at once: whether there are more
            left_out = self._discarded.get(node.name, [])
            return ahead(node.read, self._spec.batch, Access(access, self._project.root), left_out)
        return listed(node.read, self._files if not node.read.pinned else None)

    def _node(self, node: NodeSpec) -> TriedNode:
        missing = [name for name in node.inputs if name not in self._outputs]
        if missing:
            return TriedNode(node.name, node.kind, "skipped", note=f"needs {', '.join(missing)}")
        if node.read is not None:
            return self._read(node, node.read)
        if node.write is not None:
            return self._write(node, node.write)
        tried, table = self._table(node, [])
        if node.state and tried.state == "ok":
            tried.note = "began without state"
        return self._kept(tried, table)

    def _kept(self, tried: TriedNode, table: pa.Table | None) -> TriedNode:
        """Keep a node's output for those behind it, and show its head."""
        if table is not None:
            name = self._spec.name
            self._outputs[tried.node] = self._executor.spool.write(table, name, 1, tried.node, self._attempt())
            tried.rows = table.num_rows
            tried.columns = [(field.name, type_name(field.type)) for field in table.schema]
            tried.head = head(table, self._head)
        return tried

    def _attempt(self) -> Attempt:
        self._counter += 1
        return Attempt(1, self._counter)

    def _step(self, node: NodeSpec, positions: list[Position]) -> Step:
        """Other sinks are held to what their stand-ins are like."""
        schema = self._repinned.get(node.name, b"") if node.write is not None else self._pins.get(node.name, b"")
        return Step(node, "", positions, schema, open=node.name in self._repinned)

    def _run(self, node: NodeSpec, positions: list[Position]) -> tuple[TriedNode, NodeDone | None]:
        """Run one node."""
        task = Task(
            attempt=self._attempt(),
            pipeline=self._spec.name,
            iteration=1,
            steps=[self._step(node, positions)],
            inputs={name: self._outputs[name] for name in node.inputs},
            verify=[],
            code_digest=self._project.code_digest,
            store_id=STORE,
            trigger=self._trigger,
            typeless=sorted(self._typeless),
            home=Home(root=self._project.root),
            access=self._spec.access,
        )
        tried = TriedNode(node.name, node.kind)
        for said in self._executor.run(task):
            if isinstance(said, NodeDone):
                tried.duration = said.duration
                if node.read is not None and node.name not in self._pins:
                    (self._typeless.discard if said.schema else self._typeless.add)(node.name)
                return tried, said
            if isinstance(said, NodeFailed):
                tried.state, tried.failure, tried.duration = "failed", said.failure, said.duration
        return tried, None

    def _table(self, node: NodeSpec, positions: list[Position]) -> tuple[TriedNode, pa.Table | None]:
        tried, done = self._run(node, positions)
        table = self._executor.spool.read(done.output) if done is not None and done.output is not None else None
        if done is not None:
            tried.doubt = next((note.partition("; ")[2] for note in done.schema_notes if DOUBT in note), "")
        return tried, table

    # --- sources --------------------------------------------------------------------------------------------------

    def _read(self, node: NodeSpec, read: ReadSpec) -> TriedNode:
        """A reference whole; of any other source the oldest files, more of them until there are rows enough."""
        watched = not read.pinned
        if node.name in self._without:
            why, problem = self._without[node.name]
            if not self._known(node):
                return TriedNode(node.name, node.kind, "absent", note=why)
            tried, table = self._table(node, [])
            tried.note, tried.unread = f"an empty table, as a run has it: {why}", problem
            return self._kept(tried, table)
        found, problems, _ = self._listed(node)
        if not found:
            raise NotFoundError("\n".join([f"{node.name}: its files are gone", *problems]))
        # Rows of several batches together are none: two of one key would be refused that a run upserts one by one.
        most = min(len(found), self._spec.batch.max_files) if watched else len(found)
        count = 1 if watched else most
        aside: list[tuple[str, str]] = []
        tried, table = self._sound(node, found[:count], aside)
        while table is not None and table.num_rows < self._sample and count < most:
            count = min(most, 4 * count)  # read again, as one batch: its types are inferred together
            tried, table = self._sound(node, found[:count], aside)
        tried.aside = aside
        total = table.num_rows if table is not None else 0
        tried.note = found[0].identity if len(found) == 1 else f"{count - len(aside)} of {len(found)} files"
        if read.consumption == "cursor" and len(found) > 1:  # of which no more is looked for than a run takes at once
            tried.note = f"the first {plural(count, 'piece')}" if count < len(found) else f"all {len(found)} pieces"
        if self._discarded.get(node.name):
            tried.note += ", without what was discarded"
        if watched and table is not None and total > self._sample:
            tried.note = f"first {self._sample:,} of {total:,} rows of {tried.note}"
            table = table.slice(0, self._sample)
        if watched:
            self.sampled = self.sampled or total > self._sample or count < len(found)
        else:
            tried.note = f"all of {tried.note}" if len(found) == 1 else f"all {len(found)} files"
        return self._kept(tried, table)

    def _sound(
        self, node: NodeSpec, positions: list[Position], aside: list[tuple[str, str]]
    ) -> tuple[TriedNode, pa.Table | None]:
        """Read these files; with ``on_error: dead_letter`` without those that cannot be read, which are put ``aside``
        as a run does, as long as others are left. References are never read in part."""
        while True:
            known = {identity for identity, _ in aside}
            rest = [position for position in positions if position.identity not in known]
            tried, table = self._table(node, rest)
            first = tried.failure.position if tried.failure is not None else ""
            spared = self._spec.on_error == "dead_letter" and node.read is not None and not node.read.pinned
            if not spared or tried.failure is None or len(rest) < 2 or first not in {one.identity for one in rest}:
                if tried.failure is not None and (also := tried.failure.also):
                    message = sentences(tried.failure.message, also)
                    tried.failure = msgspec.structs.replace(tried.failure.alone(), message=message)
                return tried, table
            bad = [(one.position, one.message) for one in (tried.failure, *tried.failure.others)]
            aside += bad[: len(rest) - 1]

    # --- sinks ----------------------------------------------------------------------------------------------------

    def _write(self, node: NodeSpec, write: WriteSpec) -> TriedNode:
        """Stage and publish into the temporary folder; then see whose the real target is."""
        real = Path(write.connection.path)
        target = write.target
        access = access_to(target, self._spec.access, self._project.root)
        stand_in = self._folder / "targets" / node.name
        stand_in.mkdir(parents=True)
        kind = sink_of(write.target.sink)
        place = kind.stand_in(stand_in)
        if place is None:
            return self._rehearse(node, write, access)
        stand_in = place
        note = f"accepted; would go to {target}"
        try:
            with understood(write.target):
                kind.resemble(write, stand_in, Owner(STORE, self._spec.name, node.name), access)
                problem = _owned(write, self._spec.name, node.name, access)
        except (OSError, OdibiError, pa.ArrowException) as error:
            problem, note = "", f"would go to {target}; what is there was not checked: {error}"
        connection = ConnectionSpec(write.connection.name, write.connection.type, str(stand_in))
        tried, done = self._run(_with(node, write, connection), [])
        tried.rows = self._outputs[node.inputs[0]].rows
        failure = tried.failure
        if done is not None and done.staged is not None:
            publish = PublishTask(
                attempt=self._attempt(),
                pipeline=self._spec.name,
                iteration=1,
                node=node,
                part=done.staged,
                store_id=STORE,
                code_digest=self._project.code_digest,
            )
            failure = next((one.failure for one in self._executor.run(publish) if isinstance(one, NodeFailed)), None)
            if failure is not None and of_others(failure.message):  # whose rows are not here
                failure, note = None, f"accepted, its foreign keys were not looked at; would go to {target}"
        if failure is not None:
            problem = failure.message.replace(str(stand_in), str(real))
            tried.failure = msgspec.structs.replace(failure, message=problem)
        elif problem:
            tried.failure = Failure("conflict", problem)
        tried.state, tried.note = ("failed", f"refused; would go to {target}") if problem else ("ok", note)
        return tried

    def _rehearse(self, node: NodeSpec, write: WriteSpec, access: Access) -> TriedNode:
        """Nothing is like the target: it is asked what it would take, and left as it is."""
        target, owner = write.target, Owner(STORE, self._spec.name, node.name)
        table = self._executor.spool.read(self._outputs[node.inputs[0]])
        tried = TriedNode(node.name, node.kind, rows=table.num_rows, note=f"accepted; would go to {target}")
        name, known = f"{self._spec.name}.{node.name}", self._repinned.get(node.name)
        schema = pa.ipc.read_schema(pa.py_buffer(known)) if known else None
        pin = Pin(schema, open=known is not None, declared=write.schema, name=name)
        site = Site(target, owner, staging=self._folder, replaces=write.mode == "overwrite", access=access)
        try:
            with naming(target):
                unseen = cast(Rehearsing, sink_of(target.sink).open(site, write)).rehearse(table, pin)
                if unseen:
                    tried.note = f"accepted, {unseen} were not looked at; would go to {target}"
                if problem := _owned(write, self._spec.name, node.name, access):
                    tried.failure = Failure("conflict", problem)
        except (OSError, OdibiError) as error:
            failure = to_failure(error)
            if failure.kind == "busy":
                tried.note = f"would go to {target}; what is there was not checked: {asked_once(failure.message)}"
                return tried
            tried.failure = failure
        if tried.failure is not None:
            tried.state, tried.note = "failed", f"refused; would go to {target}"
        return tried


def wanted(spec: PipelineSpec, only: str | None) -> list[NodeSpec]:
    """The nodes to run, in order: all, or one and what it needs. Raises NotFoundError."""
    if only is None:
        return list(spec.nodes)
    try:
        needed = {spec.node(only).name}
    except KeyError:
        names = ", ".join(node.name for node in spec.nodes)
        raise NotFoundError(f"pipeline {spec.name} has no node {only!r}; it has: {names}") from None
    for node in reversed(spec.nodes):
        if node.name in needed:
            needed.update(node.inputs)
    return [node for node in spec.nodes if node.name in needed]


def _followable(tried: TriedNode) -> TriedNode:
    """Without what is to be done about an iteration."""
    tried.note = _OF_ITERATION.sub("", tried.note)
    if (failure := tried.failure) is not None:
        tried.failure = msgspec.structs.replace(failure, message=_OF_ITERATION.sub("", failure.message))
    return tried


def _with(node: NodeSpec, write: WriteSpec, connection: ConnectionSpec) -> NodeSpec:
    return msgspec.structs.replace(node, write=msgspec.structs.replace(write, connection=connection))


def _owned(write: WriteSpec, pipeline: str, node: str, access: Access) -> str:
    """Why the target is not this node's, or not for its mode, or "". Which store owns it is not asked: only a store
    could tell its id."""
    found = mark_of(write.target, access)
    owner = found.owner if found is not None else None
    if owner is not None and (owner.pipeline, owner.node) != (pipeline, node):
        return f"the target belongs to {owner}"
    try:
        sink_of(write.target.sink).check(write, owner or Owner(STORE, pipeline, node), (), access)
    except ConflictError as error:
        return str(error)
    return ""
