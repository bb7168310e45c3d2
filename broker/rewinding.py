"""Taking a pipeline back to an earlier iteration. Part of ``flow``.

REWIND is durable before anything is taken back; from then on every broker rolls it forward: the parts of later
iterations are removed, then REWOUND releases their positions, and they are planned again under new numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from odibi_actors.actor import Log
from odibi_actors.broker import compacting, pins, pruning
from odibi_actors.broker.pipeline import Pipeline, Rewinding
from odibi_actors.checkpoint import adopted
from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import NodeSpec
from odibi_actors.errors import ConflictError
from odibi_actors.messages import STORE, NodeFailed, PublishTask
from odibi_actors.model import Attempt, StagedRef, Target
from odibi_actors.pending import interrupted
from odibi_actors.units import plural

if TYPE_CHECKING:
    from odibi_actors.broker.flow import Flow

MAX_BACKOFF = 30.0
"""Seconds between two tries of a retraction at most."""

MAX_REMEMBERED = 16
"""Requests whose rewind is done, of one pipeline: more are not asked for at once."""

Row = dict[str, Any]


def ask(flow: Flow, pipeline: Pipeline, to: int, params: Row, now: float) -> Row | None:
    """Preview a rewind or begin it; the answer of the latter comes when it is done. Asked again with the same
    ``request``, by one whose broker died before it answered, it is not done twice. Raises ConflictError."""
    request = str(params.get("request") or "")
    if pipeline.rewind is not None:
        if pipeline.rewind.record.to != to:
            raise ConflictError(f"pipeline {pipeline.name} is being rewound to {pipeline.rewind.record.to} already")
        params["begun"] = True
        return None
    if params.get("begun") or request in pipeline.rewound:
        told: Row = params.get("told", {})
        state, last = pipeline.state, pipeline.last_committed
        return {"pipeline": pipeline.name, "to": to, "state": state, "last_committed": last, **told}
    _check(pipeline, to)
    pruning.refuse(pipeline, to)
    if (refused := _in_the_way(pipeline)) and not params.get("dry_run"):
        raise ConflictError(refused)
    key = f"rewind {pipeline.name} {to} {pipeline.last_iteration}"
    if pipeline.written > flow.journal.durable:
        return None  # what the store answers must be all there is
    preview = flow.asks.ask(key, STORE, "rewind.show", {"pipeline": pipeline.name, "to": to}, now)
    if preview is None:
        return None
    flow.asks.forget(key)
    preview["without_state"] = _without_state(pipeline, to, preview.get("never_stateful", []))
    retractions = _retractions(flow, pipeline, preview)
    if params.get("dry_run"):
        return {"pipeline": pipeline.name, **preview, **({"refused": refused} if refused else {})}
    left = rec.Left(**preview["left"])
    record = rec.Rewind(pipeline.name, to, pipeline.last_iteration, retractions, now, left, request)
    flow.write(record, pipeline.name)
    pipeline.rewind = Rewinding(record)
    pipeline.rewind_seq = flow.journal.last
    params["begun"] = True
    params["told"] = {name: preview[name] for name in ("letters", "unpinned") if name in preview}
    return None


def _check(pipeline: Pipeline, to: int) -> None:
    name = pipeline.name
    if pipeline.resetting:
        raise ConflictError(interrupted(name))
    if not 0 <= to < pipeline.last_iteration:
        raise ConflictError(
            f"pipeline {name} has iterations 1 to {pipeline.last_iteration}; there is nothing after {to}"
        )
    if pipeline.backfills:
        raise ConflictError(
            f"pipeline {name} has an open backfill, {next(iter(pipeline.backfills))}: wait for its end, or `odibictl "
            f"backfill cancel {name} {next(iter(pipeline.backfills))}`"
        )


def _in_the_way(pipeline: Pipeline) -> str:
    """What keeps it from being rewound as it is now, though a preview may be seen; "" for nothing."""
    if (pipeline.paused or pipeline.draining) and not pipeline.in_flight:
        return ""
    return (
        f"pipeline {pipeline.name} is {pipeline.state} with {plural(pipeline.in_flight, 'iteration')} in flight; only "
        f"a drained one can be rewound: `odibictl pipeline drain {pipeline.name}` first"
    )


def _without_state(pipeline: Pipeline, to: int, never: list[str]) -> list[str]:
    """The stateful nodes that begin without one, as they had none as of iteration ``to``: those ``never`` had one until
    then. Raises ConflictError for one whose state of then is gone, also when it has lost its ``state: true``: what was
    kept later goes with the rewind, and given back it would begin without one, and nobody would know."""
    found = []
    for node in pipeline.spec.nodes:
        kept = pipeline.states.get(node.name, {})
        if not (node.state or kept) or any(number <= to for number in kept):
            continue
        if to and node.name not in never:
            raise ConflictError(
                f"the state of {node.name} as of iteration {to} is not kept any more (kept: "
                f"{', '.join(map(str, kept)) or 'none'}); rewind to one of these, or to 0; checkpoint.keep_last says "
                "how many are kept"
                + ("" if node.state else "; or give the node, which has lost its `state: true`, another name")
            )
        if node.state:
            found.append(node.name)
    return found


def _retractions(flow: Flow, pipeline: Pipeline, preview: Row) -> list[rec.Retraction]:
    if preview["missing"]:
        raise ConflictError(
            f"the history of {plural(preview['missing'], 'iteration')} after {preview['to']} is pruned, so what was "
            "published is not known any more; a rewind reaches back as far as `history`"
        )
    found = []
    see = f"; `odibictl deadletter list {pipeline.name}` says what to do about what was set aside"
    aside = see if pipeline.dead_letters else ""
    for row in preview["retractions"]:
        node, target = row["node"], Target(*row["at"])
        owner = next(iter(adopted.names(flow.adoptions, target)), (pipeline.name, node))
        moved = owner[0] != pipeline.name
        spec = next((one.write for one in pipeline.spec.nodes if one.name == owner[1] and not moved), None)
        here, overwrites = spec is not None and spec.target == target, spec is not None and spec.mode == "overwrite"
        if row.get("replaced") and (overwrites or row["retracts"]):
            until = " until the next commit replaces it" if here and overwrites else ""
            row["action"] = f"what iteration {row['last']} published stays{until}"
            continue
        if row["retracts"]:
            compacting.refuse(pipeline, preview["to"], node, target)
            found.append(rec.Retraction(node, target, row.get("given_up", [])))
            row["action"] = "parts are deleted"
            continue
        if moved:
            raise ConflictError(
                f"sink {node} has published rows to {target}, which {'.'.join(owner)} has taken over: they cannot be "
                "taken back"
            )
        if spec is not None and spec.mode == "delete":
            row["action"] = "what was deleted stays so"
            continue
        if spec is None or spec.mode != "upsert":
            raise ConflictError(
                f"sink {node} has added rows to {target}: they cannot be taken back; to have all of it again, "
                f"`odibictl reset {pipeline.name} --targets`{aside}"
            )
        until = " until they are upserted again" if here else ": the sink publishes elsewhere now"
        row["action"] = f"rows stay{until}"
    return found


def dispatch(flow: Flow, now: float) -> None:
    """Give what is to be taken back to a pool."""
    for pipeline in flow.pipelines.values():
        rewind = pipeline.rewind
        if rewind is None or rewind.retry_at > now or pipeline.rewind_seq > flow.journal.durable:
            continue
        for place, attempt in rewind.left.items():
            if attempt is not None:
                continue
            pool = flow.dispatcher.place()
            if pool is None:
                return
            node, target = place
            number = rewind.record.last
            given = rewind.left[place] = flow.new_attempt(pipeline.name, number)
            task = PublishTask(
                attempt=given,
                pipeline=pipeline.name,
                iteration=number,
                node=next((one for one in pipeline.spec.nodes if one.name == node), NodeSpec(node)),
                part=StagedRef(target, "", "", 0, 0, ""),
                store_id=flow.store_id,
                home=flow.home,
                access=pipeline.spec.access,
                code_digest=pipeline.code_digest,
                action="retract",
                after=rewind.record.to,
                former=adopted.names(flow.adoptions, target),
                spared=adopted.spared(flow.adoptions, target, (pipeline.name, node)),
                given_up=next((r.given_up for r in rewind.record.retractions if (r.node, r.target) == place), []),
            )
            flow.dispatcher.give(pool, task, now)


def done(flow: Flow, attempt: Attempt) -> bool:
    """A retraction is done; False when the attempt is none."""
    found = _find(flow, attempt)
    if found is None:
        return False
    pipeline, rewind, place = found
    del rewind.left[place]
    flow.touch(pipeline.name)
    return True


def lost(flow: Flow, attempt: Attempt) -> bool:
    """A retraction came to nothing, through no fault of its own: it is given again."""
    found = _find(flow, attempt)
    if found is not None:
        found[1].left[found[2]] = None
        flow.touch(found[0].name)
    return found is not None


def failed(flow: Flow, failure: NodeFailed, now: float) -> bool:
    """A retraction failed: it is tried again for ever, and ``status`` says why it does not go on."""
    found = _find(flow, failure.attempt)
    if found is None:
        return False
    pipeline, rewind, place = found
    rewind.left[place] = None
    rewind.used += 1
    rewind.retry_at = now + min(MAX_BACKOFF, 0.5 * 2 ** min(rewind.used, 10))
    pipeline.problem = f"rewinding: sink {place[0]}: {failure.failure.message}"
    flow.say(Log("error", f"{pipeline.name}: {pipeline.problem}", about=pipeline.name))
    flow.later(rewind.retry_at, pipeline.name, 0, "")
    return True


def _find(flow: Flow, attempt: Attempt) -> tuple[Pipeline, Rewinding, tuple[str, Target]] | None:
    for pipeline in flow.pipelines.values():
        if pipeline.rewind is not None:
            for place, given in pipeline.rewind.left.items():
                if given == attempt:
                    return pipeline, pipeline.rewind, place
    return None


def step(flow: Flow, pipeline: Pipeline, now: float) -> None:
    """All is taken back: release the positions."""
    rewind = pipeline.rewind
    if rewind is None or rewind.left or pipeline.rewind_seq > flow.journal.durable:
        return
    record = rewind.record
    if record.request:  # first: a broker that knows the end of the rewind knows whose it was
        pipeline.rewound = [*pipeline.rewound, record.request][-MAX_REMEMBERED:]
        flow.write(rec.Setting(pipeline.name, rec.REWOUND, " ".join(pipeline.rewound)), pipeline.name)
    seq = flow.write(rec.Rewound(pipeline.name, record.to, record.last, now), pipeline.name)
    pipeline.rewind, pipeline.rewind_seq = None, seq
    pipeline.problem = ""
    pipeline.letters.clear()
    pins.rewound(flow, pipeline, record.to)
    pipeline.stands.clear()
    pipeline.accounted = max(pipeline.accounted, record.last)
    flow.letters_seq = seq
    for kept in pipeline.states.values():
        for number in [n for n in kept if record.to < n <= record.last]:
            del kept[number]
            pipeline.unkept[number] = seq
    for number in [n for n in pipeline.kept if record.to < n <= record.last]:
        del pipeline.kept[number]
        pipeline.unkept[number] = seq
    flow.released(pipeline, pipeline.live, seq, now)
    left = record.left
    pipeline.committed, pipeline.last_committed, pipeline.dead_letters = (
        left.committed,
        left.last_committed,
        left.letters,
    )
