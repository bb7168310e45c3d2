"""Stateful nodes: the state of N-1 in, the state of N out, whatever becomes of either."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import PipelineSpec
from odibi_actors.messages import STORE, NodeDone, Release, Reply, Request, Task
from odibi_actors.model import STATE, BatchRef, Failure, node_key
from tests.broker.harness import Broker, pipeline

RAISED = Failure("raised", "boom")
LOST = Failure("input_lost", "the state that 't' kept: spool file is missing", lost=STATE)


def stateful(**more: object) -> PipelineSpec:
    """read -> t (keeps state) -> (a, b)."""
    spec = pipeline(**more)
    return replace(spec, nodes=[replace(node, state=node.name == "t") for node in spec.nodes])


def state_ref(iteration: int, salt: str = "") -> BatchRef:
    digest = f"state-{iteration}{salt}"
    return BatchRef(rows=1, size=9, digest=digest, path=f"p/{iteration}/t-1-1.state.arrow")


def answer(broker: Broker, task: Task, salt: str = "") -> list[NodeDone]:
    """What a worker answers, with states."""
    done = []
    inputs = {name: ref.digest for name, ref in task.inputs.items()}
    for step, one in zip(task.steps, broker.run(task, salt), strict=True):
        if step.node.state:
            given = {name: inputs[name] for name in step.node.inputs}
            given[STATE] = step.state.digest if step.state is not None else ""
            key = node_key(step.static, given)
            one = replace(one, key=key, state=state_ref(task.iteration, salt))  # noqa: PLW2901
        inputs[step.node.name] = one.output.digest if one.output is not None else ""
        done.append(one)
    return done


def compute(broker: Broker) -> None:
    while tasks := broker.tasks():
        for task in tasks:
            broker.results(*answer(broker, task))


def commit(broker: Broker) -> None:
    """Let everything there is be computed, prepared, published, committed."""
    for _ in range(6):
        compute(broker)
        broker.durable()
        for publication in broker.publications():
            broker.published(publication)
    broker.durable()


def planned(names: int = 2, **more: object) -> Broker:
    """A broker whose source has read its first file, and has offered others."""
    broker = Broker(stateful(**more)).start()
    broker.offer("f1.csv")
    commit(broker)
    broker.offer(*[f"f{number}.csv" for number in range(2, names + 2)])
    return broker


def steps(tasks: list[Task]) -> dict[int, list[str]]:
    return {task.iteration: [step.node.name for step in task.steps] for task in tasks}


def test_the_next_iteration_waits_for_the_state_while_its_other_nodes_run() -> None:
    broker = planned()
    tasks = broker.tasks()
    assert steps(tasks) == {2: ["read", "t"], 3: ["read"]}
    assert tasks[0].steps[1].state == state_ref(1)
    broker.results(*answer(broker, tasks[1]))
    assert broker.tasks() == []
    broker.results(*answer(broker, tasks[0]))
    given = {t.iteration: t.steps[0].state for t in broker.tasks() if t.steps[0].node.name == "t"}
    assert given == {3: state_ref(2)}


def test_prepare_says_the_states_and_commit_how_many_stay() -> None:
    broker = planned(keep_last=2)
    commit(broker)
    assert [record.states for record in broker.of(rec.Prepare)] == [{"t": state_ref(n)} for n in (1, 2, 3)]
    assert {record.keep for record in broker.of(rec.Commit)} == {2}


def test_folders_of_states_go_once_enough_later_ones_are_durable() -> None:
    broker = planned(keep_last=1)
    compute(broker)
    broker.durable()
    for publication in broker.publications():
        broker.published(publication)
    assert [record.iteration for record in broker.of(rec.Commit)] == [1, 2]
    assert [n for m in broker.take(Release) for _, n in m.iterations] == []  # COMMIT 2 is not durable yet
    broker.durable()
    assert [n for m in broker.take(Release) for _, n in m.iterations] == [1]


def test_a_state_made_again_with_other_bytes_voids_what_was_made_of_it() -> None:
    broker = planned()
    second, third = broker.tasks()
    broker.results(*answer(broker, second), *answer(broker, third))
    sink, *_, made = sorted(broker.tasks(), key=lambda task: task.iteration)
    broker.results(*answer(broker, made))
    broker.tasks()
    # A sink of the second iteration finds the output of t lost: t runs again, and keeps something else.
    broker.fail(sink, sink.steps[0].node.name, Failure("input_lost", "gone", lost="t"))
    (again,) = [task for task in broker.tasks() if task.iteration == 2 and task.steps[0].node.name == "t"]
    broker.results(*answer(broker, again, salt="-other"))
    voided = [record for record in broker.of(rec.Invalidate) if record.iteration == 3]
    assert voided
    assert "t" in voided[0].nodes
    (again,) = [task for task in broker.tasks() if task.iteration == 3 and task.steps[0].node.name == "t"]
    assert again.steps[0].state == state_ref(2, "-other")


def test_a_dead_letter_passes_the_state_before_it_on() -> None:
    broker = planned(on_error="dead_letter")
    second, third = broker.tasks()
    broker.results(*answer(broker, second), *answer(broker, third))
    sink, *_, made = sorted(broker.tasks(), key=lambda task: task.iteration)
    assert made.steps[0].state == state_ref(2)
    broker.results(*answer(broker, made))
    broker.fail(sink, sink.steps[0].node.name, Failure("invalid", "duplicate keys"))
    assert [record.iteration for record in broker.of(rec.DeadLetter)] == [2]
    assert [record.nodes for record in broker.of(rec.Invalidate) if record.iteration == 3] == [["t"]]
    (again,) = [task for task in broker.tasks() if task.iteration == 3 and task.steps[0].node.name == "t"]
    assert again.steps[0].state == state_ref(1)


def test_the_lost_state_of_an_unprepared_iteration_is_made_again() -> None:
    broker = planned()
    second, third = broker.tasks()
    broker.results(*answer(broker, second), *answer(broker, third))
    (reader,) = [task for task in broker.tasks() if task.iteration == 3]
    broker.fail(reader, "t", LOST)
    assert [(record.iteration, record.nodes) for record in broker.of(rec.Invalidate)] == [(2, ["t"])]
    assert steps(broker.tasks())[2] == ["t"]
    assert broker.of(rec.Fail) == []


def test_the_lost_state_of_a_committed_iteration_halts_whatever_on_error_says_and_a_retry_fixes_it() -> None:
    broker = planned(names=1, on_error="dead_letter")
    (task,) = broker.tasks()
    read, _ = answer(broker, task)
    broker.results(read)
    broker.fail(task, "t", LOST)
    assert broker.of(rec.DeadLetter) == []
    (error,) = broker.of(rec.Error)
    assert error.failure.kind == "state_lost"
    assert "as of iteration 1" in error.failure.message
    assert [record.iteration for record in broker.of(rec.Fail)] == [2]
    broker.durable()
    reply = broker.ask("iteration.retry", pipeline="p", iteration=2)
    assert reply is not None
    assert reply.status == 0
    (again,) = broker.tasks()
    assert again.steps[0].state == state_ref(1)


def test_a_recovered_broker_goes_on_with_the_newest_state() -> None:
    spec = stateful()
    version = rec.Version("p", 1, spec, "code", 0.0)
    items: list[rec.AnyLoaded] = [
        rec.LoadedVersion(version),
        rec.LoadedSchema(rec.Schema("p", "read", b"schema", [])),
        rec.LoadedCounter("p", 4, 4, 4, ["read"]),
        rec.LoadedState("p", "t", 3, state_ref(3)),
        rec.LoadedState("p", "t", 4, state_ref(4)),
    ]
    broker = Broker(spec, recover=True).start(items, epoch=2, last_seq=40)
    broker.pool_joins("w2", spool=[("p", 2), ("p", 3), ("p", 4)])
    assert [n for m in broker.take(Release) for _, n in m.iterations] == [2]
    broker.offer("f5.csv")
    (task,) = broker.tasks()
    assert task.steps[1].state == state_ref(4)


def test_a_prepared_iteration_gives_its_state_though_new_configuration_knows_its_node_no_more() -> None:
    spec = stateful()
    plan = rec.Plan("p", "live", 1, 1, {"read": []}, ["read"], 0.0)
    items: list[rec.AnyLoaded] = [
        rec.LoadedVersion(rec.Version("p", 1, spec, "code", 0.0)),
        rec.LoadedSchema(rec.Schema("p", "read", b"schema", [])),
        rec.LoadedCounter("p", 1, 0, 0, ["read"]),
        rec.LoadedIteration(plan, "prepared", {}, {"t": state_ref(1)}),
    ]
    broker = Broker(spec, recover=True).start(items, epoch=2, last_seq=9)
    assert [record.iteration for record in broker.of(rec.Commit)] == [1]
    broker.offer("f2.csv")
    (task,) = broker.tasks()
    assert task.steps[1].state == state_ref(1)


def test_a_ready_node_waits_again_while_the_state_it_was_to_be_given_is_made_again() -> None:
    broker = planned()
    second, third = broker.tasks()
    broker.results(*answer(broker, second))
    sink, _ = broker.tasks()
    broker.ask("pipeline.pause", pipeline="p")
    broker.results(*answer(broker, third))
    broker.fail(sink, sink.steps[0].node.name, Failure("input_lost", "gone", lost="t"))
    broker.durable()
    broker.ask("pipeline.resume", pipeline="p")
    tasks = broker.tasks()
    assert steps(tasks) == {2: ["t"]}
    broker.results(*answer(broker, tasks[0]))
    (made,) = [task for task in broker.tasks() if task.iteration == 3]
    assert made.steps[0].state == state_ref(2)


def test_a_lost_state_that_was_replaced_meanwhile_is_no_reason_to_fail() -> None:
    broker = planned()
    second, third = broker.tasks()
    broker.results(*answer(broker, second), *answer(broker, third))
    *sinks, made = sorted(broker.tasks(), key=lambda task: task.iteration)
    for sink in sinks:
        broker.fail(sink, sink.steps[0].node.name, Failure("input_lost", "gone", lost="t"))
    for _ in range(2):  # t, then the sinks
        again = [task for task in broker.tasks() if task.iteration == 2]
        broker.results(*[one for task in again for one in answer(broker, task, salt="-other")])
    assert [record.iteration for record in broker.of(rec.Prepare)] == [1, 2]
    broker.fail(made, "t", LOST)  # of the state that the second iteration kept at first
    assert broker.of(rec.Fail) == []
    (again,) = [task for task in broker.tasks() if task.iteration == 3]
    assert again.steps[0].state == state_ref(2, "-other")


def test_a_result_without_its_state_is_never_taken_for_none() -> None:
    broker = planned()
    second, third = broker.tasks()
    without = [replace(one, state=None) for one in answer(broker, second)]
    broker.results(*without, *answer(broker, third))
    assert [task for task in broker.tasks() if task.iteration == 3] == []


def rewind(broker: Broker, never: list[str]) -> Reply:
    """What is answered when iteration 2 is to be taken back; ``never``: what the store says of nodes with state."""
    broker.ask("pipeline.drain", pipeline="p")
    broker.durable()
    broker.replies()
    assert broker.ask("pipeline.rewind", pipeline="p", to=1, dry_run=True) is None
    (request,) = broker.take(Request, to=STORE)
    left = {"committed": 1, "last_committed": 1, "letters": 0}
    preview = {"to": 1, "last": 2, "states": {"committed": 1}, "positions": 1, "missing": 0, "left": left}
    broker.say(STORE, Reply(request.id, 0, {**preview, "retractions": [], "never_stateful": never}))
    (reply,) = broker.replies()
    return reply


@pytest.mark.parametrize("never", [[], ["t"]])
def test_a_rewind_to_before_the_node_kept_state_begins_without_one(never: list[str]) -> None:
    broker = Broker(pipeline()).start()
    for name in ("f1.csv", "f2.csv"):
        broker.offer(name)
        for _ in range(4):
            broker.compute()
            broker.durable()
            for publication in broker.publications():
                broker.published(publication)
    broker.apply(stateful())
    reply = rewind(broker, never)
    if never:
        assert (reply.status, reply.result["without_state"]) == (0, ["t"])
    else:
        assert (reply.status, "is not kept any more (kept: none)" in reply.error) == (4, True)


@pytest.mark.parametrize("never", [[], ["t"]])
def test_a_rewind_leaves_no_node_without_the_state_that_it_could_be_given_back(never: list[str]) -> None:
    broker = planned(1, keep_last=1)
    commit(broker)
    assert broker.apply(pipeline()).status == 0
    reply = rewind(broker, never)
    if never:
        assert (reply.status, reply.result["without_state"]) == (0, [])
    else:
        assert (reply.status, "the state of t as of iteration 1 is not kept any more (kept: 2)" in reply.error) == (
            4,
            True,
        )
        assert reply.error.endswith("or give the node, which has lost its `state: true`, another name")


def test_a_node_that_is_given_its_state_back_has_missed_nothing_in_between() -> None:
    broker = planned(1)
    commit(broker)
    without = pipeline()
    assert broker.apply(without).status == 0
    assert broker.apply(stateful()).status == 0  # nothing was committed meanwhile
    assert broker.apply(without).status == 0
    broker.offer("f9.csv")
    commit(broker)
    refused = broker.apply(stateful())
    assert refused.status == 4
    assert "node t kept its last state (`state: true`) at iteration 2" in refused.error
    assert "up to 3, is not in it" in refused.error
    assert "`odibictl pipeline rewind p --to 2`" in refused.error
    assert broker.flow.pipelines["p"].version == 4
