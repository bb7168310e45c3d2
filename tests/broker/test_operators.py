"""Dead letters taken up again, blocked sinks given up, pipelines taken back: every step durable before the next."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import PipelineSpec
from odibi_actors.messages import SOURCE, STORE, DrainWorker, KillWorker, PublishTask, Released, Reply, Request
from odibi_actors.model import Failure, Trigger
from odibi_actors.sources.file_position import file_position
from tests.broker.harness import POOL, Broker, pipeline
from tests.broker.test_state import state_ref, stateful
from tests.targets import folder

BAD = Failure("invalid", "duplicate keys")
CONFLICT = Failure("conflict", "somebody else's file stands there")


def answer(broker: Broker, peer: str, result: Any = None, error: str = "", status: int = 0) -> None:
    """The peer answers what the broker has asked it."""
    (request,) = broker.take(Request, to=peer)
    broker.say(peer, Reply(request.id, status, result, error))


def replies(broker: Broker) -> list[Reply]:
    return broker.replies()


def letter(state: str = "open", replay: int = 0, **more: Any) -> dict[str, Any]:
    row = file_position("f2.csv", 10, 1, 1).shown()
    return {"id": 7, "pipeline": "p", "iteration": 2, "node": "read", "position": "f2.csv",
            "state": state, "replay": replay, "whole": True,
            "positions": {"read": [row]}, "trigger": {}, **more}  # fmt: skip


def dead(**more: Any) -> Broker:
    """Iteration 1 is committed, iteration 2 a dead letter."""
    broker = Broker(pipeline(on_error="dead_letter", **more)).start()
    for number in (1, 2):
        broker.offer(f"f{number}.csv")
        (task,) = broker.tasks()
        broker.finish(task)
        if number == 2:
            sink = broker.tasks()[0]
            broker.fail(sink, sink.steps[0].node.name, BAD)
        publish(broker)
    return broker


def publish(broker: Broker) -> None:
    for _ in range(4):
        broker.compute()
        broker.durable()
        for publication in broker.publications():
            broker.published(publication)
    broker.durable()


def replay(broker: Broker, size: int = 11) -> Reply | None:
    """Ask for the replay of the letter; the file is there, of this size."""
    assert broker.ask("deadletter.replay", letter=7) is None
    answer(broker, STORE, letter())
    answer(broker, SOURCE, {"files": [file_position("f2.csv", size, 5, 6).shown()], "gone": []})
    found = replies(broker)
    return found[0] if found else None


# --- dead letters -------------------------------------------------------------------------------------------------


def test_a_replay_plans_the_file_as_it_is_now_as_the_next_generation() -> None:
    broker = dead()
    reply = replay(broker)
    assert reply is not None
    assert reply.result == {"letter": 7, "pipeline": "p", "files": 1, "iteration": 3}
    plan = broker.of(rec.Plan)[-1]
    assert plan.positions == {"read": [file_position("f2.csv", 11, 5, 6, generation=2)]}
    assert plan.replay == rec.Replay(7, 2, True)


def test_a_replay_bears_what_had_set_its_letter_off() -> None:
    broker = dead()
    assert broker.ask("deadletter.replay", letter=7) is None
    trigger = {"kind": "schedule", "schedule": "nightly", "due": 5.0, "params": {"rate": 3}}
    answer(broker, STORE, letter(trigger=trigger))
    answer(broker, SOURCE, {"files": [file_position("f2.csv", 11, 5, 6).shown()], "gone": []})
    wanted = msgspec.convert(trigger, Trigger)
    assert broker.of(rec.Plan)[-1].trigger == wanted
    assert broker.of(rec.Plan)[-1].run == ""
    assert [step.trigger for step in broker.tasks()[:1]] == [wanted]


def test_the_first_file_of_a_source_is_replayed_and_teaches_its_schema() -> None:
    broker = Broker(pipeline(on_error="dead_letter")).start()
    broker.offer("f2.csv")
    (task,) = broker.tasks()
    broker.fail(task, "read", Failure("invalid", "line 3: 2 cells instead of 3", position="f2.csv"))
    broker.durable()
    assert [record.iteration for record in broker.of(rec.DeadLetter)] == [1]
    assert broker.of(rec.Schema) == []
    reply = replay(broker)
    assert reply is not None
    assert (reply.status, reply.error) == (0, "")
    publish(broker)
    assert [record.iteration for record in broker.of(rec.Commit)] == [2]
    assert len(broker.of(rec.Schema)) == 1


def test_the_letter_goes_when_the_replay_commits_and_its_batch_with_it() -> None:
    broker = dead()
    pipeline_ = broker.flow.pipelines["p"]
    assert (pipeline_.dead_letters, list(pipeline_.kept)) == (1, [2])
    replay(broker)
    publish(broker)
    assert [record.iteration for record in broker.of(rec.Commit)] == [1, 3]
    assert (pipeline_.dead_letters, list(pipeline_.kept)) == (0, [])


def test_a_letter_is_taken_up_once_however_often_it_is_asked_for() -> None:
    broker = dead()
    replay(broker)
    assert broker.ask("deadletter.replay", letter=7) is None
    answer(broker, STORE, letter())  # the store has not written the plan yet
    (reply,) = replies(broker)
    assert (reply.status, reply.result["iteration"]) == (0, 3)
    assert len(broker.of(rec.Plan)) == 3
    assert broker.ask("deadletter.discard", letter=7) is None
    answer(broker, STORE, letter("replaying", 3))
    (reply,) = replies(broker)
    assert reply.status == 4
    assert broker.of(rec.Discard) == []


def test_a_cancelled_replay_gives_the_letter_back() -> None:
    broker = dead()
    replay(broker)
    reply = broker.ask("iteration.cancel", pipeline="p", iteration=3)
    assert reply is not None
    assert reply.status == 0
    broker.durable()
    assert replay(broker) is not None
    assert broker.of(rec.Plan)[-1].iteration == 4
    assert broker.flow.pipelines["p"].dead_letters == 1


@pytest.mark.parametrize(
    ("files", "says"), [({"files": [], "gone": ["f2.csv"]}, "f2.csv of source read is not there any more")]
)
def test_a_file_that_is_gone_is_said_and_nothing_is_planned(files: dict[str, Any], says: str) -> None:
    broker = dead()
    assert broker.ask("deadletter.replay", letter=7) is None
    answer(broker, STORE, letter())
    answer(broker, SOURCE, files)
    (reply,) = replies(broker)
    assert reply.status == 4
    assert says in reply.error
    assert len(broker.of(rec.Plan)) == 2


def test_a_letter_that_is_not_there_is_not_found() -> None:
    broker = dead()
    assert broker.ask("deadletter.replay", letter=7) is None
    answer(broker, STORE, error="there is no dead letter 7", status=3)
    (reply,) = replies(broker)
    assert (reply.status, reply.error) == (3, "there is no dead letter 7")


def test_nothing_is_replayed_into_a_paused_pipeline() -> None:
    broker = dead()
    broker.ask("pipeline.pause", pipeline="p")
    assert broker.ask("deadletter.replay", letter=7) is None
    answer(broker, STORE, letter())
    (reply,) = replies(broker)
    assert reply.status == 4
    assert "paused" in reply.error


def test_a_discarded_letter_is_gone_and_its_batch_with_it() -> None:
    broker = dead()
    assert broker.ask("deadletter.discard", letter=7) is None
    answer(broker, STORE, letter())
    assert [reply.status for reply in replies(broker)] == [0]
    assert [record.letter for record in broker.of(rec.Discard)] == [7]
    assert list(broker.flow.pipelines["p"].kept) == []
    assert broker.ask("deadletter.replay", letter=7) is None
    answer(broker, STORE, letter())  # not written yet
    (reply,) = replies(broker)
    assert (reply.status, "discarded" in reply.error) == (4, True)


def test_an_unanswered_question_is_asked_again() -> None:
    broker = dead()
    assert broker.ask("deadletter.replay", letter=7) is None
    (first,) = broker.take(Request, to=STORE)
    broker.wait(2.5)
    (second,) = broker.take(Request, to=STORE)
    assert first == second


def test_what_the_store_says_of_a_letter_counts_only_once_it_knows_of_a_rewind() -> None:
    broker = done(pipeline(on_error="dead_letter"))
    assert broker.ask("pipeline.rewind", pipeline="p", to=1) is None
    answer(broker, STORE, {**PREVIEW, "retractions": []})
    broker.durable()
    assert len(broker.of(rec.Rewound)) == 1
    broker.ask("pipeline.resume", pipeline="p")
    replies(broker)
    assert broker.ask("deadletter.replay", letter=7) is None
    assert broker.take(Request, to=STORE) == []  # REWOUND is not durable: the letter may be gone with it
    broker.durable()
    answer(broker, STORE, error="there is no dead letter 7", status=3)
    assert [reply.status for reply in replies(broker)] == [3]


# --- sinks that are given up --------------------------------------------------------------------------------------


def blocked() -> tuple[Broker, PublishTask]:
    """Iterations 1 and 2 are prepared; sink a of 1 is blocked. Returns the publication of b of 1."""
    broker = Broker().start()
    broker.offer("f1.csv")
    broker.compute()
    broker.offer("f2.csv")
    broker.compute()
    broker.durable()
    first = {task.node.name: task for task in broker.publications()}
    broker.fail(first["a"], "a", CONFLICT)
    broker.durable()
    return broker, first["b"]


def test_a_sink_that_is_not_blocked_cannot_be_abandoned() -> None:
    broker, _ = blocked()
    for iteration, sink, status in ((1, "b", 4), (2, "a", 4), (1, "nope", 3), (9, "a", 3)):
        reply = broker.ask("iteration.abandon", pipeline="p", iteration=iteration, sink=sink)
        assert reply is not None
        assert reply.status == status
    assert broker.of(rec.Abandon) == []


def test_the_next_iteration_publishes_there_only_once_the_giving_up_is_durable() -> None:
    broker, other = blocked()
    broker.published(other)
    for task in broker.publications():
        assert (task.iteration, task.node.name) == (2, "b")
    reply = broker.ask("iteration.abandon", pipeline="p", iteration=1, sink="a")
    assert reply is not None
    assert reply.result["state"] == "prepared"
    assert broker.publications() == []  # ABANDON is not durable
    broker.durable()
    (task,) = broker.publications()
    assert (task.iteration, task.node.name, task.action) == (1, "a", "discard")
    broker.published(task)
    (task,) = broker.publications()
    assert (task.iteration, task.node.name, task.action) == (2, "a", "publish")
    assert [record.abandoned for record in broker.of(rec.Commit)] == [["a"]]


def given_up() -> tuple[Broker, PublishTask]:
    """Sink a of 1 is given up; returns the order to throw its part away."""
    broker, other = blocked()
    broker.published(other)
    broker.ask("iteration.abandon", pipeline="p", iteration=1, sink="a")
    broker.durable()
    (task,) = [task for task in broker.publications() if task.action == "discard"]
    return broker, task


def test_what_was_given_up_and_cannot_be_thrown_away_is_no_commit_for_it_may_be_there() -> None:
    broker, task = given_up()
    broker.fail(task, "a", CONFLICT)
    broker.durable()
    assert broker.of(rec.Commit) == []
    shown = broker.flow.pipelines["p"].iterations[1].trouble
    assert "cannot throw away what a was to publish, which may be there" in shown
    assert "odibictl iteration abandon p 1 --sink a --leave" in shown
    assert broker.of(rec.Block)[-1].failure.message == shown  # what lists and `iteration show` tell, running or at rest

    broker.ask("iteration.retry", pipeline="p", iteration=1)
    broker.durable()
    (task,) = [task for task in broker.publications() if task.iteration == 1]
    assert task.action == "discard"
    broker.published(task)
    assert [record.abandoned for record in broker.of(rec.Commit)] == [["a"]]


def test_a_worker_that_dies_while_it_throws_away_is_followed_by_another() -> None:
    broker, task = given_up()
    broker.fail(task, "a", Failure("died", "killed"))
    assert broker.of(rec.Commit) == []
    broker.wait(60.0)
    (task,) = [task for task in broker.publications() if task.iteration == 1]
    assert task.action == "discard"


def test_what_cannot_be_thrown_away_is_left_by_a_second_word_only() -> None:
    broker, task = given_up()
    assert broker.ask("iteration.abandon", pipeline="p", iteration=1, sink="a", leave=True).status == 0
    broker.fail(task, "a", CONFLICT)
    broker.durable()
    broker.ask("iteration.abandon", pipeline="p", iteration=1, sink="a")
    broker.durable()
    assert broker.of(rec.Commit) == []
    broker.ask("iteration.abandon", pipeline="p", iteration=1, sink="a", leave=True)
    assert broker.of(rec.Commit) == []  # the second ABANDON is not durable
    broker.durable()
    assert [record.node for record in broker.of(rec.Abandon)] == ["a", "a"]
    assert [record.abandoned for record in broker.of(rec.Commit)] == [["a"]]
    assert [task.iteration for task in broker.publications()] == [2]


def test_nothing_is_left_of_a_sink_that_is_not_given_up() -> None:
    broker, _ = blocked()
    reply = broker.ask("iteration.abandon", pipeline="p", iteration=1, sink="a", leave=True)
    assert reply is not None
    assert (reply.status, "without --leave first" in reply.error) == (4, True)


def test_what_was_left_stays_so_after_a_restart() -> None:
    former, _ = blocked()
    prepared = former.of(rec.Prepare)[0]
    plan = rec.Plan("p", "live", 1, 1, {"read": []}, ["read"], 0.0)
    for count, tasks in ((1, [("a", "discard")]), (2, [])):
        items: list[rec.AnyLoaded] = [
            rec.LoadedVersion(rec.Version("p", 1, pipeline(), "code", 0.0)),
            rec.LoadedCounter("p", 1, 0, 0, ["read"]),
            rec.LoadedIteration(plan, "blocked", prepared.sinks, {}, ["b"], ["a"] * count),
        ]
        broker = Broker(recover=True).start(items, epoch=2, last_seq=20)
        assert [(task.node.name, task.action) for task in broker.publications()] == tasks


def test_what_was_given_up_stays_so_after_a_restart() -> None:
    former, _ = blocked()
    prepared = former.of(rec.Prepare)[0]
    plan = rec.Plan("p", "live", 1, 1, {"read": []}, ["read"], 0.0)
    items: list[rec.AnyLoaded] = [
        rec.LoadedVersion(rec.Version("p", 1, pipeline(), "code", 0.0)),
        rec.LoadedCounter("p", 1, 0, 0, ["read"]),
        rec.LoadedIteration(plan, "blocked", prepared.sinks, {}, ["b"], ["a"]),
    ]
    broker = Broker(recover=True).start(items, epoch=2, last_seq=20)
    assert [(task.node.name, task.action) for task in broker.publications()] == [("a", "discard")]


# --- going back ---------------------------------------------------------------------------------------------------

LETTERS = {"open_again": {"count": 1, "ids": [4]}, "gone": {"count": 0, "ids": []}}
PREVIEW = {
    "to": 1, "last": 3, "states": {"committed": 2}, "positions": 2, "missing": 0,
    "left": {"committed": 1, "last_committed": 1, "letters": 0},
    "retractions": [
        {"node": "a", "folder": "/lake/a", "at": ["local", "", "/lake/a"], "parts": 2, "retracts": True}
    ],
}  # fmt: skip


def done(spec: PipelineSpec | None = None) -> Broker:
    """Three iterations are committed and the pipeline is drained."""
    broker = Broker(spec).start()
    for number in (1, 2, 3):
        broker.offer(f"f{number}.csv")
        publish(broker)
    broker.ask("pipeline.drain", pipeline="p")
    broker.durable()
    return broker


def test_only_a_drained_pipeline_is_taken_back() -> None:
    broker = done()
    broker.ask("pipeline.resume", pipeline="p")
    reply = broker.ask("pipeline.rewind", pipeline="p", to=1)
    assert reply is not None
    assert (reply.status, "drain" in reply.error) == (4, True)
    broker.durable()
    assert broker.ask("pipeline.rewind", pipeline="p", to=1, dry_run=True) is None
    answer(broker, STORE, {**PREVIEW, "retractions": []})
    (shown,) = replies(broker)
    assert "`odibictl pipeline drain p` first" in shown.result["refused"]
    broker.ask("pipeline.pause", pipeline="p")
    broker.durable()
    for to, status in ((3, 4), (-1, 2), ("x", 2)):
        reply = broker.ask("pipeline.rewind", pipeline="p", to=to)
        assert reply is not None
        assert reply.status == status


def test_a_rewind_is_durable_before_anything_is_taken_back_and_all_is_before_anything_is_released() -> None:
    broker = done()
    assert broker.ask("pipeline.rewind", pipeline="p", to=1) is None
    answer(broker, STORE, {**PREVIEW, "letters": LETTERS, "unpinned": ["read"]})
    assert [record.to for record in broker.of(rec.Rewind)] == [1]
    assert broker.publications() == []
    broker.durable()
    (task,) = broker.publications()
    assert (task.action, task.after, task.iteration, task.part.at) == ("retract", 1, 3, folder("/lake/a"))
    assert broker.of(rec.Rewound) == []
    broker.offer("f4.csv")
    broker.ask("pipeline.resume", pipeline="p")
    assert len(broker.of(rec.Plan)) == 3
    broker.fail(task, "a", Failure("io", "permission denied"))
    broker.wait(1.5)
    (task,) = broker.publications()
    broker.published(task)
    assert [record.to for record in broker.of(rec.Rewound)] == [1]
    assert [message.source for message in broker.take(Released)] == ["read"]
    (reply,) = replies(broker)
    assert (reply.status, reply.result["letters"], reply.result["unpinned"]) == (0, LETTERS, ["read"])
    broker.offer("f2.csv")
    assert broker.of(rec.Plan)[-1].iteration == 4


def test_a_new_broker_rolls_a_rewind_forward() -> None:
    record = rec.Rewind("p", 1, 3, [rec.Retraction("a", folder("/lake/a"))], 0.0, rec.Left(1, 1, 0))
    items: list[rec.AnyLoaded] = [
        rec.LoadedVersion(rec.Version("p", 1, pipeline(), "code", 0.0)),
        rec.LoadedCounter("p", 3, 3, 3, ["read"]),
        rec.LoadedRewind(record),
    ]
    broker = Broker(recover=True).start(items, epoch=2, last_seq=50)
    (task,) = broker.publications()
    assert (task.action, task.after, task.iteration) == ("retract", 1, 3)
    broker.published(task)
    assert len(broker.of(rec.Rewound)) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"missing": 2}, "pruned"),
        (
            {"retractions": [{"node": "a", "at": ["sqlite", "/mart.db", "sales"], "parts": 2, "retracts": False}]},
            "all of it again, `odibictl reset ",
        ),
    ],
)
def test_what_cannot_be_taken_back_is_refused_before_anything_happens(change: dict[str, Any], says: str) -> None:
    broker = done()
    assert broker.ask("pipeline.rewind", pipeline="p", to=1) is None
    answer(broker, STORE, {**PREVIEW, **change})
    (reply,) = replies(broker)
    assert reply.status == 4
    assert says in reply.error
    assert broker.of(rec.Rewind) == []


def test_a_stateful_pipeline_goes_back_only_to_a_state_that_is_kept() -> None:
    items: list[rec.AnyLoaded] = [
        rec.LoadedVersion(rec.Version("p", 1, stateful(), "code", 0.0)),
        rec.LoadedSetting(rec.Setting("p", "draining", "1")),
        rec.LoadedCounter("p", 3, 3, 3, ["read"]),
        rec.LoadedState("p", "t", 2, state_ref(2)),
        rec.LoadedState("p", "t", 3, state_ref(3)),
    ]
    broker = Broker(recover=True).start(items, epoch=2, last_seq=50)
    assert broker.ask("pipeline.rewind", pipeline="p", to=1) is None
    answer(broker, STORE, PREVIEW)
    (reply,) = replies(broker)
    assert (reply.status, "kept: 2, 3" in reply.error) == (4, True)
    assert broker.ask("pipeline.rewind", pipeline="p", to=2) is None
    answer(broker, STORE, {**PREVIEW, "to": 2, "retractions": []})
    broker.durable()
    assert [record.to for record in broker.of(rec.Rewound)] == [2]
    broker.ask("pipeline.resume", pipeline="p")
    assert broker.flow.pipelines["p"].states["t"] == {2: state_ref(2)}


def test_what_is_staged_and_may_have_been_published_by_a_newer_store_is_told_to_the_sink() -> None:
    broker = Broker().start()
    broker.know(read=b"schema")
    for number in (1, 2):
        broker.offer(f"f{number}.csv")
    first, second = broker.tasks()
    broker.finish(second)
    for task in broker.tasks():
        if task.steps[0].node.name == "a":
            broker.finish(task)  # its other sink is not done: it is not prepared
    broker.finish(first)
    broker.compute()
    broker.durable()
    told = {(task.iteration, task.node.name): dict(task.coming) for task in broker.publications()}
    assert told[1, "a"] == {1: "1-a", 2: "2-a"}


def test_given_a_start_when_a_reference_has_not_told_what_there_is_then_that_is_a_problem_only_after_a_while() -> None:
    first = pipeline()
    read = first.nodes[0].read
    assert read is not None
    ref = replace(first.nodes[0], name="ref", read=replace(read, mode="batch", consumption="pinned"))
    broker = Broker(replace(first, nodes=[ref, *first.nodes])).start()

    def told() -> list[list[str]]:
        replies = [broker.ask("status"), broker.ask("pipeline.show", pipeline="p"), broker.ask("pipeline.list")]
        rows = [reply.result for reply in replies if reply is not None]
        return [rows[0]["pipelines"][0]["problems"], rows[1]["problems"], rows[2]["items"][0]["problems"]]

    assert told() == [[], [], []]
    broker.wait(10.0)
    assert told() == [["source ref: has not reported yet"]] * 3


def test_given_a_worker_by_name_or_process_when_drained_or_killed_then_its_pool_is_told() -> None:
    broker = Broker(pipeline()).start()
    assert broker.ask("worker.drain", worker="w0") is not None
    assert [message.worker for message in broker.take(DrainWorker, to=POOL)] == ["w0"]
    assert broker.ask("worker.kill", worker="101") is not None
    assert [message.worker for message in broker.take(KillWorker, to=POOL)] == ["w1"]
    reply = broker.ask("worker.drain", worker="w9")
    assert reply is not None
    assert (reply.status, broker.take(DrainWorker)) == (3, [])
