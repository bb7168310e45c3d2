"""What becomes of results: acknowledgements, failures, retries, dead letters. Part of ``flow``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from odibi_actors.actor import Log
from odibi_actors.broker import advice, again, alerts, letters, misfits, pins, reads, rewinding, runs
from odibi_actors.broker.iteration import MAX_LOST, NEVER, Busy, Iteration, NodeRun, Publication
from odibi_actors.broker.pipeline import Pipeline
from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import RetrySpec
from odibi_actors.config.writers import writer_of
from odibi_actors.kinds import letters as told_letters
from odibi_actors.messages import AnyResult, NodeDone, NodeFailed, PublishDone
from odibi_actors.model import COUNTED, LIVE, STATE, Attempt, Failure, sentences
from odibi_actors.runtime.visible import named

if TYPE_CHECKING:
    from odibi_actors.broker.flow import Flow

BUSY_PAUSE = 2.0
"""Seconds until a target that another program has locked is tried again; each try waits for a few seconds itself."""

STAYS = "A planned file must stay as it is until it is read: deliver new data under a new name"
"""What is told of one that was written again, but of a reference, which is planned again."""

FULL_PAUSES = (2.0, 30.0)
"""The least and the most seconds until a disk that was full is tried again. Each try writes what there is room for, so
that the pause grows with the time that was waited: it is a quarter of that."""

ALERTED_AFTER = 300.0
"""Seconds that a target is locked, or a disk full, until people are told of it as of a failure."""

CODE_MISMATCH_PAUSE = 5.0
"""Seconds until a node is tried again when no worker has the code of its version: waits for a person, not for luck."""

ENVIRONMENT: frozenset[str] = frozenset({"io", "full", "code", "conflict", "state_lost"})
"""Failures that say nothing about the data: a full disk, code that cannot be loaded, a target of somebody else, a lost
state. They halt whatever ``on_error`` says, and so does whatever fails at a reference (a source of mode ``batch``):
every iteration needs it, and one after the other would be set aside for what is not the fault of its files."""

NAMED = 8
"""Files that one line names."""

TOLD_PAUSE = 5.0
"""Seconds of a pause before the next attempt from which on it is a problem that people are told of."""


def take(flow: Flow, pool: str, result: AnyResult, now: float) -> None:
    """One result of a task; every one is confirmed sooner or later, so that the pool can forget it."""
    match result:
        case NodeDone():
            _node_done(flow, pool, result, now)
        case NodeFailed():
            _node_failed(flow, pool, result, now)
        case PublishDone():
            _publish_done(flow, pool, result)
        case _:
            flow.dispatcher.confirm(pool, result.attempt, "", 0)
            flow.requeue(result.attempt)


def _node_done(flow: Flow, pool: str, done: NodeDone, now: float) -> None:
    found = flow.find(done.pipeline, done.iteration)
    run = found[1].nodes.get(done.node) if found is not None else None
    if found is None or run is None or found[1].prepared or found[1].terminal:
        _unwanted(flow, pool, done)
        return
    pipeline, iteration = found
    if run.ack is not None and run.ack.attempt == done.attempt:
        # Sent again: confirm once everything so far is durable, its ack among it.
        flow.dispatcher.confirm(pool, done.attempt, done.node, flow.journal.last)
        return
    foreign = done.attempt.epoch < flow.epoch and run.state in ("waiting", "ready", "retrying")
    if run.attempt != done.attempt and not foreign:
        _unwanted(flow, pool, done)
        return
    if iteration.holds(done.node, done.key, pins.told(pipeline, iteration, run.spec, done)) is False:
        # Made from inputs, config or a schema that no longer hold: run it again from what holds now.
        flow.dispatcher.confirm(pool, done.attempt, done.node, 0)
        flow.dispatcher.drop(done.attempt)
        flow.requeue(done.attempt)
        return
    if run.spec.state and done.state is None:
        failure = Failure("invalid", "the worker sent no state with the result of a stateful node")
        failed = NodeFailed(
            done.attempt, done.pipeline, done.iteration, done.node, failure, done.started_at, done.duration, done.worker
        )
        _node_failed(flow, pool, failed, now)
        return
    _acknowledge(flow, pipeline, iteration, run, done, pool, now)
    flow.step_done(done.attempt)


def _unwanted(flow: Flow, pool: str, done: NodeDone) -> None:
    flow.dispatcher.confirm(pool, done.attempt, done.node, 0)
    if done.last:
        flow.requeue(done.attempt)


def _acknowledge(
    flow: Flow, pipeline: Pipeline, iteration: Iteration, run: NodeRun, done: NodeDone, pool: str, now: float
) -> None:
    ack = rec.Ack(
        pipeline=done.pipeline,
        iteration=done.iteration,
        node=done.node,
        attempt=done.attempt,
        key=done.key,
        started_at=done.started_at,
        duration=done.duration,
        rows_in=done.rows_in,
        rows_out=done.rows_out,
        worker=done.worker,
        output=done.output,
        staged=done.staged,
        state=done.state,
        memory=done.memory,
        memory_before=done.memory_before,
        files=reads.files(iteration, run.spec, done),
    )
    if run.spec.write is not None:
        pins.take(flow, pipeline, iteration, run.spec, done, now)
    elif run.spec.read is not None:
        pins.read(flow, pipeline, done, now)
    if told := reads.touched(iteration.name, done):
        flow.say(Log("info", told, {"notice": True}))
    for remark in done.remarks[: reads.SHOWN]:
        flow.say(Log("warning", f"{iteration.name} {done.node}: {remark}"))
    seq = flow.write(ack, pipeline.name)
    flow.dispatcher.confirm(pool, done.attempt, done.node, seq)
    run.state, run.ack, run.attempt, run.verify, run.busy = "acked", ack, None, False, None
    pipeline.learn(iteration, done.node, done.rows_out)
    pipeline.problem = ""
    if any(iteration.nodes[name].state == "acked" for name in iteration.consumers(done.node)):
        # The output was made a second time: whoever consumed other bytes runs again.
        flow.void_stale(iteration, f"{done.node} was made again with other bytes")
        flow.wake(iteration)
    else:
        flow.wake_nodes(iteration, iteration.consumers(done.node))
    if run.spec.state:
        flow.states_changed(pipeline, iteration.number)


def _publish_done(flow: Flow, pool: str, done: PublishDone) -> None:
    flow.dispatcher.confirm(pool, done.attempt, done.node, 0)
    flow.close(done.attempt)
    if rewinding.done(flow, done.attempt):
        return
    found = flow.find(done.pipeline, done.iteration)
    publication = found[1].publications.get(done.node) if found is not None else None
    # Publishing is idempotent and keyed, so a former epoch's success is a success.
    if publication is not None and not publication.done:
        if publication.attempt is not None and publication.attempt != done.attempt:
            flow.drop([publication.attempt])
        publication.done, publication.attempt, publication.busy = True, None, None
        if done.remark and found is not None:
            flow.say(Log("info", f"{found[1].name} {done.node}: {done.remark}", {"notice": True}))
        flow.touch(done.pipeline)


def _node_failed(flow: Flow, pool: str, failed: NodeFailed, now: float) -> None:
    found = flow.find(failed.pipeline, failed.iteration)
    if rewinding.failed(flow, failed, now):
        flow.close(failed.attempt)
    elif found is not None:
        pipeline, iteration = found
        failed = replace(failed, failure=advice.completed(pipeline, iteration, failed.node, failed.failure))
        publication = iteration.publications.get(failed.node)
        run = iteration.nodes.get(failed.node)
        if publication is not None and publication.attempt == failed.attempt:
            flow.close(failed.attempt)
            _publish_failed(flow, pipeline, iteration, publication, failed, now)
        elif run is not None and run.attempt == failed.attempt and not iteration.terminal:
            flow.close(failed.attempt)
            _run_failed(flow, pipeline, iteration, run, failed, now)
            flow.wake(iteration)
    flow.requeue(failed.attempt)
    flow.dispatcher.confirm(pool, failed.attempt, failed.node, flow.journal.last)


def _run_failed(
    flow: Flow, pipeline: Pipeline, iteration: Iteration, run: NodeRun, failed: NodeFailed, now: float
) -> None:
    for other in iteration.nodes.values():
        if other.attempt == failed.attempt:
            other.attempt, other.state = None, "waiting"
    failure = failed.failure
    if failure.kind == "input_lost" and failure.lost == STATE:
        _state_lost(flow, pipeline, iteration, run, failed, now)
        return
    if failure.kind == "input_lost" and failure.lost in iteration.nodes:
        _input_lost(flow, pipeline, iteration, run, failure, now)
        return
    if failure.kind == "code_mismatch":
        if flow.before_code(failed.attempt):
            _later(flow, iteration, run, now)  # an apply has changed the code while it waited
            return
        pipeline.problem = failure.message
        _later(flow, iteration, run, now + CODE_MISMATCH_PAUSE)
        return
    if _waits(pipeline, failure):
        run.busy = _busy(flow, pipeline, iteration, failed, run.busy, now)
        _later(flow, iteration, run, now + _pause(failure, run.busy, now))
        return
    reference = _reference(pipeline, failed.node)
    if failure.kind == "changed" and reference:
        _error(flow, iteration, run, failed.attempt, failure, now)
        text = f"{iteration.name}: planned again, with reference {failed.node} as it is now: {failure.message}"
        flow.say(Log("info", text))
        flow.plan_again(pipeline, iteration, failed.node, now)
        return
    if failure.kind == "changed" and pipeline.at_fault.get(iteration.number) == failed.node:
        # Who corrected its file had changed the pipeline too, and it went on: there was nothing left to retry.
        _error(flow, iteration, run, failed.attempt, failure, now)
        why = f"version {iteration.version} changes {failed.node}, and {failure.message}"
        again.as_files_are(flow, pipeline, iteration, failed.node, now, why)
        return
    aside = failure.position and not reference and _dead_letters(pipeline, iteration, failed.node, failure)
    if failure.also and not aside:
        failure = replace(failure, message=f"{failure.message}. {failure.also}")
    if failure.kind in COUNTED:
        run.used += 1
    tries_left = failure.kind in COUNTED and run.used < run.spec.retry.max_attempts
    failure = _with_remedy(flow, pipeline, iteration, failed.node, failure, reference and not tries_left)
    _error(flow, iteration, run, failed.attempt, failure, now)
    if tries_left:
        pause = _backoff(flow, run.spec.retry, run.used, failure)
        tries = f"attempt {run.used}/{run.spec.retry.max_attempts}"
        text = f"{iteration.name} {run.spec.name}: {tries}: {failure.text}; the next in {pause:.1f} s"
        flow.say(Log("warning", text))
        run.trouble = failure.text if pause >= TOLD_PAUSE else ""
        _later(flow, iteration, run, now + pause)
        return
    if aside:
        _revise(flow, pipeline, iteration, run, failure.alone(), now)
        for one in failure.others:
            planned = [position.identity for position in iteration.positions.get(failed.node, [])]
            if not _dead_letters(pipeline, iteration, failed.node, one):
                continue
            if one.position in planned and not iteration.terminal:
                told = _with_remedy(flow, pipeline, iteration, failed.node, one, reference)
                _revise(flow, pipeline, iteration, iteration.nodes[failed.node], told, now)
        return
    _give_up(flow, pipeline, iteration, run.spec.name, failure, now)


def _waits(pipeline: Pipeline, failure: Failure) -> bool:
    """Whether this passes by itself. `odibictl run` ends where a disk is full: whoever called it gets to know so, and
    calls it again."""
    return failure.kind == "busy" or (failure.kind == "full" and not pipeline.manual)


def _pause(failure: Failure, busy: Busy, now: float) -> float:
    """Seconds until it is tried again."""
    least, most = FULL_PAUSES
    return BUSY_PAUSE if failure.kind == "busy" else min(max(least, (now - busy.since) / 4), most)


def _busy(
    flow: Flow, pipeline: Pipeline, iteration: Iteration, failed: NodeFailed, before: Busy | None, now: float
) -> Busy:
    """A target is locked, or a disk full: that is told at once, and again whenever it has taken twice as long."""
    busy = before or Busy(failed.started_at, failed.failure.message, 0.0)
    waited = now - busy.since
    if waited >= ALERTED_AFTER and not busy.alerted:
        busy = busy._replace(alerted=True)
        trouble = f"{failed.node}: waits for {waited:.0f} s, and goes on by itself: {failed.failure.message}"
        alerts.failed(flow, pipeline, iteration, trouble, now)
    if waited < busy.tell:
        return busy._replace(message=failed.failure.message)
    text = f"{iteration.name} {failed.node}: waits for {waited:.0f} s: {failed.failure.message}"
    flow.say(Log("warning", text))
    return busy._replace(message=failed.failure.message, tell=2 * max(waited, BUSY_PAUSE))


def _error(flow: Flow, iteration: Iteration, run: NodeRun, attempt: Attempt, failure: Failure, now: float) -> None:
    flow.write(
        rec.Error(
            pipeline=iteration.pipeline,
            iteration=iteration.number,
            node=run.spec.name,
            attempt=attempt,
            failure=failure,
            used=run.used,
            at=now,
        ),
        iteration.pipeline,
    )


def _backoff(flow: Flow, retry: RetrySpec, used: int, failure: Failure) -> float:
    """Seconds until the next attempt. Who killed a worker did not mean the node, most times: its first attempt after
    a death is at once."""
    if failure.kind == "died" and used == 1:
        return 0.0
    return retry.pause(used) * (1 + retry.jitter * (2 * flow.rng.random() - 1))


def _later(flow: Flow, iteration: Iteration, run: NodeRun, when: float) -> None:
    run.state, run.retry_at = "retrying", when
    if when != NEVER:
        flow.later(when, iteration.pipeline, iteration.number, run.spec.name)


def _input_lost(
    flow: Flow, pipeline: Pipeline, iteration: Iteration, run: NodeRun, failure: Failure, now: float
) -> None:
    producer = iteration.nodes[failure.lost]
    run.state = "waiting"
    if producer.state == "acked":
        producer.lost += 1
        if producer.lost > MAX_LOST:
            _give_up(flow, pipeline, iteration, run.spec.name, failure, now)
            return
        producer.reset()
        iteration.demote()
        flow.invalidate(iteration, [failure.lost], failure.message)
        flow.say(Log("warning", f"{iteration.name}: output of {failure.lost} is made again"))
    flow.wake(iteration)


def _state_lost(
    flow: Flow, pipeline: Pipeline, iteration: Iteration, run: NodeRun, failed: NodeFailed, now: float
) -> None:
    """The state of an iteration that is not prepared is made again; that of any other is lost for good, and said so."""
    name = run.spec.name
    if pipeline.state_before(iteration, name) != (True, run.given):
        run.state = "waiting"  # another one has taken its place since
        return
    giver = pipeline.state_giver(iteration, name)
    if giver is not None and not giver.prepared:
        _input_lost(flow, pipeline, giver, run, replace(failed.failure, lost=name), now)
        iteration.demote()
        return
    as_of = giver.number if giver is not None else next(reversed(pipeline.states.get(name, {0: None})))
    failure = replace(
        failed.failure,
        kind="state_lost",
        message=f"{failed.failure.message}; it is the state as of iteration {as_of}, which nothing can make again: put "
        f"the file back from a backup and `odibictl iteration retry {pipeline.name} {iteration.number}`",
    )
    _error(flow, iteration, run, failed.attempt, failure, now)
    _give_up(flow, pipeline, iteration, name, failure, now)


def _revise(flow: Flow, pipeline: Pipeline, iteration: Iteration, run: NodeRun, failure: Failure, now: float) -> None:
    """One bad position does not condemn the others: it is dead-lettered, durably, before the rest runs on. The last
    one of its source does: what other sources have in this iteration was to be read with it, and is not run on an empty
    table instead; a replay brings all of them."""
    name = run.spec.name
    left = [p for p in iteration.positions.get(name, []) if p.identity != failure.position]
    if not left:
        _give_up(flow, pipeline, iteration, name, failure, now)
        return
    file = named(failure.position)
    place = "" if file in failure.message else f"{file}: "
    remedy = _of_letter(pipeline, iteration, [name], whole=False)
    text = f"dead letter at {name}: {place}{sentences(failure.text, remedy)}"
    alerts.set_aside(flow, pipeline, iteration, text, now)
    iteration.positions[name] = left
    iteration.set_aside += 1
    pipeline.dead_letters += 1
    runs.set_aside(pipeline, iteration)
    barrier = flow.write(
        rec.Revise(
            pipeline=iteration.pipeline,
            iteration=iteration.number,
            node=name,
            identities=[failure.position],
            failure=failure,
            at=now,
        ),
        iteration.pipeline,
    )
    flow.say(Log("error", f"{iteration.name}: {text}", about=pipeline.name))
    iteration.bind(pipeline.spec, iteration.version)
    iteration.nodes[name].barrier = barrier
    pins.release(flow, pipeline, [iteration.number], now, name)
    flow.wake(iteration)


def _of_letter(pipeline: Pipeline, iteration: Iteration, sources: list[str], whole: bool) -> str:
    """What is to be done about a letter of a source whose rows are not corrected where they are. `odibictl run` says it
    at its end."""
    read = {name: read for name, read in told_letters.reads(pipeline.spec.nodes).items() if name in sources}
    if pipeline.manual or not any(map(told_letters.amending, read.values())):
        return ""
    late = letters.overtaken(pipeline, iteration.number, whole)
    remedy = told_letters.remedy(read, late=late, iteration=iteration.number)
    return f"`odibictl deadletter list {pipeline.name}` has its ID: {remedy}"


def _of_halt(pipeline: Pipeline, iteration: Iteration, failure: Failure) -> str:
    """What is to be done where a retry meets the same rows again, as they are not corrected where they are."""
    told = told_letters.reads(pipeline.spec.nodes)
    stay = [name for name, read in told.items() if iteration.positions.get(name) and told_letters.amending(read)]
    if not stay or iteration.lane != LIVE or failure.kind in ENVIRONMENT or pipeline.spec.on_error != "halt":
        return ""
    again_ = advice.apply_and_retry(pipeline, iteration, " and ")
    aside = f"`on_error: dead_letter` in odibi.yaml, {again_}{' sets' if pipeline.manual else ' set'} them aside"
    return f"A retry reads rows of {', '.join(stay)} as they are: if they are wrong, {aside}"


def _set_aside_with(pipeline: Pipeline, iteration: Iteration, node: str, failure: Failure) -> str:
    """Which files are not at fault, and lie in the same letter."""
    others = [
        position.identity
        for name, some in iteration.positions.items()
        for position in some
        if not _reference(pipeline, name) and (name, position.identity) != (node, failure.position)
    ]
    if not failure.position or not others:
        return ""
    names = ", ".join(map(named, others[:NAMED]))
    more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
    return f"; set aside with it, as they were to be read together: {names}{more}"


def _reference(pipeline: Pipeline, node: str) -> bool:
    """The node reads a reference: all of it, for every iteration."""
    return node in pipeline.sources and pipeline.sources[node].pinned


def _dead_letters(pipeline: Pipeline, iteration: Iteration, node: str, failure: Failure) -> bool:
    """What fails is set aside. Not in a backfill: its letters could not be told from live ones in a replay."""
    policy: str = pipeline.spec.on_error
    source = pipeline.sources.get(node)
    if failure.schema and source is not None and (read := source.node.read) is not None:
        policy = {"halt": "halt", "dead_letter": "dead_letter"}.get(read.on_schema_change, policy)
    return policy == "dead_letter" and iteration.lane == LIVE


def _give_up(flow: Flow, pipeline: Pipeline, iteration: Iteration, node: str, failure: Failure, now: float) -> None:
    """No attempt is left: follow ``on_error``; but never throw data away for what is not its fault."""
    aside = _dead_letters(pipeline, iteration, node, failure) and not _reference(pipeline, node)
    configured = failure.kind == "invalid" and misfits.of_spec(pipeline, node, failure.column)
    if aside and failure.kind not in ENVIRONMENT and not configured:
        text = f"dead letter at {node}: {failure.text}{_set_aside_with(pipeline, iteration, node, failure)}"
        sources = [name for name, some in iteration.positions.items() if some]
        text = sentences(text, _of_letter(pipeline, iteration, sources, whole=True))
        alerts.set_aside(flow, pipeline, iteration, text, now)
        pipeline.dead_letters += 1
        runs.set_aside(pipeline, iteration)
        iteration.advance("dead_letter")
        pipeline.kept[iteration.number] = None
        flow.drop(iteration.running())
        iteration.state_seq = flow.write(
            rec.DeadLetter(pipeline=pipeline.name, iteration=iteration.number, node=node, failure=failure, at=now),
            pipeline.name,
        )
        letters.settled(pipeline, iteration, iteration.state_seq)
        pins.release(flow, pipeline, [iteration.number], now)
        flow.say(Log("error", f"{iteration.name}: {text}", about=pipeline.name))
        flow.states_changed(pipeline, iteration.number)
        flow.wake_all(pipeline)
        return
    if node in iteration.nodes:
        iteration.nodes[node].failed = failure.kind
        _later(flow, iteration, iteration.nodes[node], NEVER)
    if iteration.state != "failed":
        iteration.trouble = f"failed at {node}: {sentences(failure.text, _of_halt(pipeline, iteration, failure))}"
        alerts.failed(flow, pipeline, iteration, iteration.trouble, now)
        iteration.advance("fail")
        fail = rec.Fail(pipeline=pipeline.name, iteration=iteration.number, node=node, at=now)
        iteration.state_seq = flow.write(fail, pipeline.name)
        flow.say(Log("error", f"{iteration.name}: {iteration.trouble}", about=pipeline.name))
        runs.stop(flow, pipeline, iteration, now)
        flow.wake_all(pipeline)
    else:
        flow.say(Log("error", f"{iteration.name}: failed at {node} too: {failure.text}", about=pipeline.name))


def _with_remedy(
    flow: Flow, pipeline: Pipeline, iteration: Iteration, node: str, failure: Failure, reference: bool
) -> Failure:
    """The failure, with what is to be done about it; ``reference``: it is one that cannot be read, for good."""
    said = []
    if failure.kind == "missing" and (reference or not _dead_letters(pipeline, iteration, node, failure)):
        again_ = advice.retry(pipeline, iteration)
        said.append(
            f"Put it back, or take back what that sink has published (`pipeline rewind`, `reset`); then {again_}"
        )
    elif reference:
        said.append(_remedy(flow, pipeline, iteration, node))
    elif (
        failure.kind in again.OF_FILES
        and node in pipeline.sources
        and not _dead_letters(pipeline, iteration, node, failure)
    ):
        said.append(_remedy_of_file(pipeline, iteration, node, failure))
    elif failure.kind == "changed" and node in pipeline.sources:
        said.append(STAYS)
    if failure.kind == "malformed":
        said.append(misfits.in_the_way(pipeline, node, failure.column))
    return replace(failure, remedy=". ".join(filter(None, said)))


def _remedy(flow: Flow, pipeline: Pipeline, iteration: Iteration, node: str) -> str:
    """What is to be done about a reference that cannot be read; what a sink of ours wrote nobody should edit."""
    aside = "; nothing is set aside for it" if pipeline.spec.on_error == "dead_letter" else ""
    read = pipeline.sources[node].node.read
    assert read is not None
    writer = writer_of((one.spec for one in flow.pipelines.values()), read)
    fix = f"fix or replace the file, then {advice.retry(pipeline, iteration)}"
    if writer:
        again_ = advice.apply_and_retry(pipeline, iteration)
        fix = f"{writer} writes it: change the read of {node} in odibi.yaml, and {again_}"
    return f"Every iteration reads all of {node}{aside}: {fix}"


def _remedy_of_file(pipeline: Pipeline, iteration: Iteration, node: str, failure: Failure) -> str:
    """What is to be done about a file that is read once."""
    retry = advice.retry(pipeline, iteration)
    if failure.kind == "changed":
        return f"{STAYS}. {retry} plans again what is there now"
    read = pipeline.sources[node].node.read
    assert read is not None
    told_by_user = failure.column in ("", *read.schema)
    pin = None if told_by_user else pipeline.pins.get(node)
    told = f"{node}: its columns are those that iteration {pin.iteration} told" if pin and pin.iteration else ""
    what, them = ("the files", "them") if failure.others else ("the file", "it")
    held = f"{told} (`odibictl source show {pipeline.name}.{node}`). " if told else ""
    if told_letters.kept(read):
        return f"{held}What {node} has taken in it keeps as it is: nothing that is changed now is read in its place"
    return f"{held}Fix {what}, or take {them} away; then {retry}, and what is there then is planned again"


def _not_thrown_away(iteration: Iteration, failed: NodeFailed) -> str:
    """Why a sink that was given up is blocked: somebody may have published it who died before telling so, and until it
    is thrown away nobody knows that it is not there."""
    return (
        f"cannot throw away what {failed.node} was to publish, which may be there: {failed.failure.message}; then "
        f"`odibictl iteration retry {iteration.pipeline} {iteration.number}`, or `odibictl iteration abandon "
        f"{iteration.pipeline} {iteration.number} --sink {failed.node} --leave`"
    )


def _publish_failed(
    flow: Flow, pipeline: Pipeline, iteration: Iteration, publication: Publication, failed: NodeFailed, now: float
) -> None:
    publication.attempt = None
    failure = failed.failure
    spec = iteration.sink(failed.node)
    if failure.kind == "code_mismatch":
        publication.retry_at = now + CODE_MISMATCH_PAUSE
        pipeline.problem = failure.message
    elif _waits(pipeline, failure):
        publication.busy = _busy(flow, pipeline, iteration, failed, publication.busy, now)
        publication.retry_at = now + _pause(failure, publication.busy, now)
    elif failure.kind in COUNTED:
        publication.used += 1
        publication.retry_at = now + _backoff(flow, spec.retry, publication.used, failure)
    waits = failure.kind == "code_mismatch" or _waits(pipeline, failure)
    if not waits and (failure.kind not in COUNTED or publication.used >= spec.retry.max_attempts):
        publication.blocked = True
        iteration.trouble = f"cannot publish {failed.node}: {failure.message}"
        if publication.abandoned:
            iteration.trouble = _not_thrown_away(iteration, failed)
            failure = replace(failure, message=iteration.trouble)
        alerts.failed(flow, pipeline, iteration, iteration.trouble, now)
        if iteration.state != "blocked":
            iteration.advance("block")
        iteration.state_seq = flow.write(
            rec.Block(pipeline=pipeline.name, iteration=iteration.number, node=failed.node, failure=failure, at=now),
            pipeline.name,
        )
        flow.say(Log("error", f"{iteration.name}: {iteration.trouble}", about=pipeline.name))
        runs.stop(flow, pipeline, iteration, now)
        return
    flow.later(publication.retry_at, pipeline.name, iteration.number, failed.node)
