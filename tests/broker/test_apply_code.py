"""``apply`` of other code: a pipeline that does not depend on what was changed stays as it is, and runs with it."""

from __future__ import annotations

from msgspec.structs import replace

from odibi_actors.actor import Log
from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import CodeSpec, NodeSpec, PipelineSpec, ProjectSpec
from odibi_actors.errors import ConflictError
from odibi_actors.messages import Apply, Hello, Reply
from tests.broker.harness import CLIENT, Broker, Failure, pipeline
from tests.broker.restart import restarted


def spec(name: str, digest: str) -> PipelineSpec:
    return replace(pipeline(), name=name, code=CodeSpec({"t": digest}, {f"nodes/{name}.py": digest}))


def project(code: str, **digests: str) -> ProjectSpec:
    return ProjectSpec("test", "/", "/data", 2, [spec(*one) for one in digests.items()], code_digest=code)


def begun() -> Broker:
    broker = Broker(spec("p", "p1"))
    broker.actor._project = project("one", p="p1", q="q1")
    return broker.start()


def applied(broker: Broker, given: ProjectSpec, *, dry_run: bool = False) -> Reply:
    broker.say(CLIENT, Hello("client", "c1", "host", 9))
    broker.say(CLIENT, Apply("2", given, dry_run=dry_run))
    (reply,) = broker.replies()
    return reply


def test_only_what_depends_on_the_changed_file_gets_a_version_and_each_says_why() -> None:
    broker = begun()
    broker.offer("f1.csv")
    (read,) = broker.tasks()
    broker.finish(read)
    assert ([step.node.name for step in read.steps], read.code_digest) == (["read", "t"], "one")
    reply = applied(broker, project("two", p="p1", q="q2"))
    rows = {row["pipeline"]: row for row in reply.result["items"]}
    assert (rows["p"]["version"], rows["p"]["changed"], rows["p"]["why"]) == (1, False, [])
    assert (rows["q"]["version"], rows["q"]["changed"], rows["q"]["why"]) == (2, True, ["nodes/q.py"])
    assert not broker.of(rec.Invalidate)
    broker.tasks()
    broker.offer("f2.csv")
    assert {task.code_digest for task in broker.tasks()} == {"two"}
    assert "q: version 2: nodes/q.py" in [one.text for one in broker.effects if isinstance(one, Log)]


def test_what_depends_on_the_changed_file_runs_again_and_nothing_else() -> None:
    broker = begun()
    broker.offer("f1.csv")
    (read,) = broker.tasks()
    broker.finish(read)
    applied(broker, project("two", p="p2", q="q1"))
    assert [task.steps[0].node.name for task in broker.tasks()][-1] == "t"
    assert [one.nodes for one in broker.of(rec.Invalidate)] == [["t"]]  # the source stands


def test_the_next_broker_knows_the_code_that_was_applied_last() -> None:
    broker = begun()
    applied(broker, project("two", p="p1", q="q2"))
    broker.durable()
    after = restarted(broker)
    after.offer("f1.csv")
    assert {task.code_digest for task in after.tasks()} == {"two"}
    assert "code" not in after.ask("status").result["settings"]  # type: ignore[union-attr]


def test_a_task_that_waited_with_the_former_code_is_given_again_at_once_and_nobody_is_told_to_apply() -> None:
    broker = begun()
    broker.offer("f1.csv")
    (former,) = broker.tasks()
    applied(broker, project("two", p="p1", q="q2"))
    wrong = Failure("code_mismatch", "nodes/ was changed since the last apply: run odibictl apply")
    broker.fail(former, "read", wrong)
    broker.wait(0.01)
    (again,) = broker.tasks()
    assert again.code_digest == "two"
    assert broker.flow.pipelines["p"].problem == ""
    broker.fail(again, "read", wrong)
    broker.wait(0.01)
    assert broker.flow.pipelines["p"].problem == wrong.message
    assert broker.tasks() == []


def test_a_dry_run_says_what_an_apply_would_and_changes_nothing() -> None:
    broker = begun()
    written = len(broker.records)
    given = project("two", p="p1", q="q2", r="r1")
    rows = applied(broker, given, dry_run=True).result["items"]
    assert [(row["pipeline"], row["version"], row["changed"]) for row in rows] == [
        ("p", 1, False),
        ("q", 1, True),
        ("r", 0, True),
    ]
    broker.durable()
    assert (len(broker.records), [*broker.flow.pipelines]) == (written, ["p", "q"])
    assert {one.code_digest for one in broker.flow.pipelines.values()} == {"one"}
    after = [(row["pipeline"], row["changed"], row["why"]) for row in applied(broker, given).result["items"]]
    assert after == [(row["pipeline"], row["changed"], row["why"]) for row in rows]


def test_a_dry_run_refuses_what_an_apply_refuses() -> None:
    broker = begun()
    broker.offer("f1.csv")
    gone = spec("p", "p1")
    renamed = [NodeSpec("other", read=gone.nodes[0].read), replace(gone.nodes[1], inputs=["other"]), *gone.nodes[2:]]
    given = replace(project("one", q="q1"), pipelines=[replace(gone, nodes=renamed), spec("q", "q1")])
    said = [applied(broker, given, dry_run=dry_run) for dry_run in (True, False)]
    assert [one.status for one in said] == [ConflictError.exit_code] * 2
    assert said[0].error == said[1].error
    assert "source read has consumed data" in said[0].error
