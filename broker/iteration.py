"""One iteration of one pipeline: what each of its nodes has come to. Pure bookkeeping, no messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import msgspec
import xxhash

from odibi_actors.checkpoint.records import Ack, Replay
from odibi_actors.config.model import NodeSpec, PipelineSpec
from odibi_actors.model import (
    PIN,
    STATE,
    TERMINAL,
    Attempt,
    BatchRef,
    IterationState,
    Position,
    Range,
    StagedRef,
    Trigger,
    next_state,
    node_key,
)

NodeState = Literal["waiting", "ready", "running", "retrying", "acked"]
MAX_LOST = 10
"""Times the output of one node may be lost and made again before the node counts as failed: a disk that loses
everything must not keep the pipeline busy for ever."""

NEVER = float("inf")
"""When a node is tried again by itself of which no try is left."""

BEHIND = 1 << 60
"""Added to the order of a backfill's iterations: whatever is ready of a live lane goes before them."""


StateBefore = Callable[["Iteration", str], tuple[bool, BatchRef | None]]
"""(iteration, stateful node) -> whether the state it is to be given is known, and that state (None: nothing yet)."""

Pinned = Callable[[NodeSpec], str]
"""Source or sink -> digest of the schema it is held to; "" while none is pinned."""


class Busy(NamedTuple):
    """A target is locked by another program, or a disk is full: since when, why, after how many seconds it is told
    again, and whether an alert was sent."""

    since: float
    message: str
    tell: float
    alerted: bool = False


class NodeRun:
    """A node within an iteration. ``attempt`` is set while running; ``ack`` while acked."""

    __slots__ = (
        "ack", "attempt", "barrier", "busy", "failed", "given", "lost", "retry_at", "spec", "state", "static",
        "trouble", "used", "verify",
    )  # fmt: skip

    def __init__(self, spec: NodeSpec, static: str) -> None:
        self.spec = spec
        self.static = static
        self.state: NodeState = "waiting"
        self.attempt: Attempt | None = None
        self.ack: Ack | None = None
        self.used = 0  # counted attempts that failed
        self.lost = 0  # times its output was invalidated
        self.retry_at = 0.0
        self.failed = ""  # kind of what its last attempt failed of, once none is left
        self.busy: Busy | None = None  # while its target is locked, or a disk is full
        self.trouble = ""  # what the last counted attempt failed of, while it waits for the next
        self.barrier = 0  # record that must be durable before the node runs (REVISE)
        self.given: BatchRef | None = None  # of a stateful node: the state its attempt was sent with
        self.verify = False  # the output comes from an earlier epoch: check its digest before use

    def reset(self) -> None:
        """Back to waiting: whatever was known of its output no longer stands."""
        self.state = "waiting"
        self.attempt = None
        self.ack = None
        self.verify = False

    @property
    def gave_up(self) -> str:
        """What kind of failure it waits for an operator with; "" while it does not."""
        return self.failed if self.state == "retrying" and self.retry_at == NEVER else ""

    @property
    def output_digest(self) -> str:
        """Digest of the acknowledged output; "" when there is none."""
        return self.ack.output.digest if self.ack is not None and self.ack.output is not None else ""


class Publication:
    """The publishing of one prepared sink."""

    __slots__ = (
        *("abandoned", "attempt", "barrier", "blocked", "busy", "done", "left", "part", "queued", "retry_at", "used"),
    )

    def __init__(self, part: StagedRef) -> None:
        self.part = part
        self.attempt: Attempt | None = None
        self.queued = False
        self.used = 0
        self.retry_at = 0.0
        self.done = False
        self.blocked = False
        self.busy: Busy | None = None  # while its target is locked, or a disk is full
        self.barrier = 0  # record that must be durable before anything is done about it (ABANDON)
        self.abandoned = False  # an operator gave it up: its part is thrown away, not published
        self.left = False  # and that could not be done: an operator said to leave there what there is


class Iteration:
    """State of one iteration. ``order`` ranks it among all pipelines' iterations (the number of its PLAN record)."""

    def __init__(
        self,
        spec: PipelineSpec,
        number: int,
        *,
        lane: str,
        version: int,
        positions: dict[str, list[Position]],
        ranges: dict[str, dict[str, Range]],
        run: str,
        taken: str,
        order: int,
        planned_at: float = 0.0,
        replay: Replay | None = None,
        trigger: Trigger | None = None,
        state_before: StateBefore = lambda _iteration, _node: (True, None),
        pinned: Pinned = lambda _sink: "",
    ) -> None:
        self.pipeline = spec.name
        self.number = number
        self.lane = lane
        self.run = run  # that planned it
        self.taken = taken  # that answers for it besides, or instead
        self.replay = replay
        self.trigger = trigger or Trigger()
        self.order = order
        self._state_before = state_before
        self._pinned = pinned
        self.states: dict[str, BatchRef] = {}  # of a prepared iteration: what its stateful nodes keep
        self.state: IterationState = "planned"
        self.positions = positions
        self._ranges = ranges  # of sources that are read in order: what each position reads, by its identity
        self.trouble = ""  # why it is failed or blocked, for people
        self.planned_at = planned_at
        self.set_aside = 0  # files that were taken out of it as dead letters, as far as this broker knows
        self.prepare_seq = 0
        self.state_seq = 0  # record that led to the present state, if that matters to somebody who waits
        self.publications: dict[str, Publication] = {}
        self.nodes: dict[str, NodeRun] = {}
        self.version = 0
        self.bind(spec, version)

    @property
    def name(self) -> str:
        """As log lines have it: ``sales 12``."""
        return f"{self.pipeline} {self.number}"

    def taken_back(self, sources: list[str]) -> list[tuple[str, str]]:
        """What its run has lost when it is void; see ``Plan.taken_back``."""
        found = []
        for source in sources:
            read = self._ranges.get(source)
            for position in self.positions.get(source, ()):
                found.append((source, position.identity if read is None else read[position.identity].given_back()))
        return found

    @property
    def waits_long(self) -> bool:
        """Whether people were told that it waits for a target, or for room on a disk."""
        waits = [run.busy for run in self.nodes.values()] + [one.busy for one in self.publications.values()]
        return any(busy is not None and busy.alerted for busy in waits)

    @property
    def terminal(self) -> bool:
        """Nothing more will happen to it."""
        return self.state in TERMINAL

    @property
    def prepared(self) -> bool:
        """It only rolls forward."""
        return self.state in ("prepared", "blocked")

    def advance(self, event: str) -> None:
        """Take a transition of ``model.TRANSITIONS``; raises ValueError when there is none."""
        self.state = next_state(self.state, event)

    def bind(self, spec: PipelineSpec, version: int) -> tuple[list[str], list[Attempt]]:
        """Bind to a version of the pipeline. Acks whose key still holds are kept.

        Returns the nodes whose ack no longer stands, and the attempts that are no longer wanted.
        """
        former, self.nodes = self.nodes, {}
        self.version = version
        self.places = {node.name: place for place, node in enumerate(spec.nodes)}
        self._consumers: dict[str, list[str]] = {node.name: [] for node in spec.nodes}
        for node in spec.nodes:
            for name in node.inputs:
                self._consumers[name].append(node.name)
        void: list[str] = []
        unwanted: dict[Attempt, None] = {}
        for node in spec.nodes:
            # What was polled is kept: other code of that function changes nothing of it.
            code = spec.code.nodes.get(node.name, "") if node.read is None else ""
            static = static_key(node, code, self.positions.get(node.name, []), self.trigger)
            run = NodeRun(node, static)
            old = former.get(node.name)
            self.nodes[node.name] = run
            if old is None:
                continue
            if old.static == static:
                for slot in NodeRun.__slots__:
                    setattr(run, slot, getattr(old, slot))
                run.spec = node
                continue
            if old.ack is not None:
                void.append(node.name)
            if old.attempt is not None:
                unwanted[old.attempt] = None
        for name, old in former.items():
            if name not in self.nodes:
                if old.ack is not None:
                    void.append(name)
                if old.attempt is not None:
                    unwanted[old.attempt] = None
        for run in self.nodes.values():
            # A chain shares one attempt: when one of its nodes is void, what is left of the chain starts again.
            if run.attempt is not None and run.attempt in unwanted:
                run.reset()
        void.extend(self.void_stale())
        self.demote()
        return void, list(unwanted)

    def consumers(self, name: str) -> list[str]:
        """Nodes that have ``name`` among their inputs, in order."""
        return self._consumers[name]

    def key_of(self, name: str, pin: str | None = None) -> str | None:
        """The node's key, or None while an input has no acknowledged output. ``pin``: of a source or
        sink, the digest of its schema, if that is not the pinned one."""
        run = self.nodes[name]
        digests = {}
        for source in run.spec.inputs:
            if self.nodes[source].state != "acked":
                return None
            digests[source] = self.nodes[source].output_digest
        if run.spec.state:
            known, state = self._state_before(self, name)
            if not known:
                return None
            digests[STATE] = state.digest if state is not None else ""
        if run.spec.transform is None and (pin := self._pinned(run.spec) if pin is None else pin):
            digests[PIN] = pin
        return node_key(run.static, digests)

    def holds(self, name: str, key: str, pin: str | None = None) -> bool | None:
        """Whether an output made under ``key`` is one of what there is now (``pin``: see ``key_of``); None while an
        input has no acknowledged output. Of headers alone no types were told: they stand whatever is pinned."""
        expected = self.key_of(name, pin)
        if expected is None or expected == key:
            return None if expected is None else True
        run = self.nodes[name]
        return run.spec.read is not None and key == node_key(run.static, {})

    def typeless(self, name: str) -> bool:
        """The source is read, and its files had headers alone."""
        run = self.nodes.get(name)
        return run is not None and run.ack is not None and run.ack.key == node_key(run.static, {})

    def state_for(self, name: str) -> BatchRef | None:
        """What a stateful node is to be given; call it for nodes that are ready."""
        return self._state_before(self, name)[1] if self.nodes[name].spec.state else None

    def _given(self, run: NodeRun) -> bool:
        """All that the node needs is there: the outputs of its inputs, and the state of the iteration before."""
        if any(self.nodes[name].state != "acked" for name in run.spec.inputs):
            return False
        return not run.spec.state or self._state_before(self, run.spec.name)[0]

    def void_stale(self) -> list[str]:
        """Drop acks whose key no longer matches their inputs' present outputs. An ack whose input is being made again
        stands for now: the same bytes may come back. Returns the nodes, in topological order."""
        void = []
        for name, run in self.nodes.items():
            if run.state != "acked" or run.ack is None:
                continue
            if self.holds(name, run.ack.key) is False:
                run.reset()
                void.append(name)
        self.demote()
        return void

    def demote(self) -> None:
        """Nodes that were ready, and whose inputs are being made again, wait."""
        for run in self.nodes.values():
            if run.state == "ready" and not self._given(run):
                run.state = "waiting"

    def wake(self, name: str) -> bool:
        """Make a waiting node ready when its inputs are all there. Returns whether it became ready."""
        run = self.nodes[name]
        if self.prepared or run.state != "waiting" or not self._given(run):
            return False  # no node of a prepared one runs again, not even one that is new to it
        run.state = "ready"
        return True

    def chain(self, name: str) -> list[NodeRun]:
        """The linear chain from a ready node on: each next node has no other input, each node no other consumer."""
        steps = [self.nodes[name]]
        while True:
            after = self.consumers(steps[-1].spec.name)
            if len(after) != 1:
                return steps
            run = self.nodes[after[0]]
            if run.spec.inputs != [steps[-1].spec.name] or run.state != "waiting":
                return steps
            if run.spec.state and not self._state_before(self, run.spec.name)[0]:
                return steps
            steps.append(run)

    def complete(self) -> bool:
        """Every node is acknowledged, and each ack was made from the present outputs of its inputs."""
        if any(run.state != "acked" for run in self.nodes.values()):
            return False
        return all(run.ack is not None and self.holds(name, run.ack.key) for name, run in self.nodes.items())

    def parts(self) -> dict[str, StagedRef]:
        """The staged parts of the sinks of a complete iteration."""
        return {
            name: run.ack.staged
            for name, run in self.nodes.items()
            if run.ack is not None and run.ack.staged is not None
        }

    def kept(self) -> dict[str, BatchRef]:
        """What the stateful nodes of a complete iteration keep."""
        return {
            name: run.ack.state for name, run in self.nodes.items() if run.ack is not None and run.ack.state is not None
        }

    def sink(self, name: str) -> NodeSpec:
        """The spec of a prepared sink. New config may know it no longer; what was prepared is published all the same,
        and all that needs is in its part."""
        return self.nodes[name].spec if name in self.nodes else NodeSpec(name)

    def part(self, name: str) -> StagedRef | None:
        """What a sink is to publish of it, as far as that is staged."""
        if name in self.publications:
            return self.publications[name].part
        ack = self.nodes[name].ack if name in self.nodes and not self.prepared else None
        return ack.staged if ack is not None else None

    def prepare(self, sinks: dict[str, StagedRef], states: dict[str, BatchRef], seq: int) -> None:
        """The state that PREPARE (record ``seq``) leads to."""
        self.prepare_seq = seq
        self.states = states
        self.publications = {name: Publication(part) for name, part in sinks.items()}

    def running(self) -> list[Attempt]:
        """Attempts that are out for this iteration, publishing ones included."""
        attempts = {run.attempt: None for run in self.nodes.values() if run.attempt is not None}
        attempts.update({p.attempt: None for p in self.publications.values() if p.attempt is not None})
        return list(attempts)


def static_key(node: NodeSpec, code: str, positions: list[Position], trigger: Trigger | None = None) -> str:
    """Digest of what is known of a node's output before its inputs are: config, code, positions, and what the run was
    given (32 hex digits).

    Retry, timeout and description do not change an output; only functions depend on the project's code, on what they
    reach of it (``code``, see ``CodeSpec``), and only transforms are told what set the run off.
    """
    meaning = (node.name, node.inputs, node.read, node.transform, node.write, node.state)
    digest = xxhash.xxh3_128(msgspec.msgpack.encode((meaning, code, positions if node.read is not None else None)))
    if node.engine is not None:  # apart from the rest, which is so the same as before there was any
        digest.update(node.engine.encode())
    if trigger is not None and node.transform is not None and trigger.kind:
        digest.update(msgspec.msgpack.encode(trigger, order="deterministic"))
    return str(digest.hexdigest())
