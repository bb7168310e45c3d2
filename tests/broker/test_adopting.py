"""A target passes from one sink to another: by one record, with nothing of the former one in flight."""

from __future__ import annotations

from msgspec.structs import replace

from odibi_actors.broker.pipeline import Rewinding
from odibi_actors.checkpoint import records as rec
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.config.model import PipelineSpec, ProjectSpec, ReadSpec
from odibi_actors.messages import Adopt, Apply, Hello, Reply
from odibi_actors.model import Failure
from tests.broker.harness import Broker, pipeline, project
from tests.broker.test_pins import publish, run
from tests.targets import folder

CLIENT = "client"


def called(name: str) -> PipelineSpec:
    """The pipeline, in which the sink ``a`` is called so."""
    spec = pipeline(max_in_flight=4)
    return replace(spec, nodes=[replace(one, name=name) if one.name == "a" else one for one in spec.nodes])


def adopt(broker: Broker, spec: ProjectSpec, *adoptions: Adopt, dry_run: bool = False) -> Reply:
    broker.say(CLIENT, Hello("client", "c1", "host", 9))
    broker.say(CLIENT, Apply("2", spec, adopt=list(adoptions), dry_run=dry_run))
    (reply,) = broker.replies()
    return reply


def compute(broker: Broker) -> None:
    while tasks := broker.tasks():
        for task in tasks:
            broker.results(*run(broker, task))


def begun(*names: str) -> Broker:
    broker = Broker(called("a")).start()
    broker.know(read=b"schema")
    broker.offer(*names)
    return broker


AS_Z = Adopt("p", "z", "p", "a")


def test_given_something_is_prepared_when_adopted_then_that_ends_first_and_the_rest_is_staged_by_the_new_name() -> None:
    broker = begun("1", "2", "3")
    tasks = broker.tasks()
    for task in tasks:
        if task.iteration == 1:
            broker.results(*run(broker, task))
    compute_of_first = [task for task in broker.tasks() if task.iteration == 1]
    for task in compute_of_first:
        broker.results(*run(broker, task))
    broker.durable()
    assert [one.iteration for one in broker.of(rec.Prepare)] == [1]
    reply = adopt(broker, project(called("z")), AS_Z)
    assert "iteration 1 of p is prepared, and p.a publishes it to /lake/a first" in reply.error
    assert broker.flow.pipelines["p"].version == 1
    publish(broker)
    reply = adopt(broker, project(called("z")), AS_Z)
    assert (reply.status, reply.result["adopted"][0]["target"]) == (0, "/lake/a"), reply.error
    at = [type(one) for one in broker.records].index(rec.Adopt)
    assert type(broker.records[at - 1]) is rec.Invalidate or type(broker.records[at - 1]) is rec.Version
    for task in tasks:
        if task.iteration > 1:
            broker.results(*run(broker, task))
    staged = {}
    while found := broker.tasks():
        for task in found:
            staged |= {(task.iteration, step.node.name): step for step in task.steps if step.node.write is not None}
            broker.results(*run(broker, task))
    assert {key for key in staged if key[1] in "az"} == {(2, "z"), (3, "z")}
    assert staged[2, "z"].former == [("p", "a")]
    assert staged[2, "z"].schema == b"int"  # it is held to what the former one was
    assert staged[2, "z"].published
    broker.durable()
    (work,) = [one for one in broker.publications() if one.node.name == "z"]
    assert (work.former, work.published, work.before) == ([("p", "a")], True, 1)


def test_given_it_was_applied_before_when_adopted_then_what_has_failed_for_it_goes_on() -> None:
    broker = begun("1")
    compute(broker)
    publish(broker)
    assert broker.apply(called("z")).status == 0
    broker.offer("2")
    while tasks := broker.tasks():
        for task in tasks:
            if "z" in [step.node.name for step in task.steps]:
                broker.fail(task, "z", Failure("conflict", "it belongs to a"))
            else:
                broker.results(*run(broker, task))
    broker.durable()
    assert [one.iteration for one in broker.of(rec.Fail)] == [2]
    (row,) = adopt(broker, project(called("z")), AS_Z).result["adopted"]
    assert (row["goes_on"], row["already"]) == ([2], False)
    compute(broker)
    publish(broker)
    assert [one.iteration for one in broker.of(rec.Commit)] == [1, 2]
    (row,) = adopt(broker, project(called("z")), AS_Z).result["adopted"]
    assert row["already"]
    assert len(broker.of(rec.Adopt)) == 1
    refusal = broker.apply(called("a"))
    assert "belongs to p.z: `odibictl sink adopt p.a` hands it over" in refusal.error


def test_given_only_asked_whether_it_can_be_then_nothing_is_applied() -> None:
    broker = begun("1")
    compute(broker)
    publish(broker)
    count = len(broker.records)
    reply = adopt(broker, project(called("z")), AS_Z, dry_run=True)
    assert reply.result["adopted"][0]["from"] == "p.a"
    assert len(broker.records) == count


def test_given_a_rewind_is_under_way_then_it_is_refused() -> None:
    broker = begun("1")
    compute(broker)
    publish(broker)
    left = rec.Left(0, 0, 0)
    broker.flow.pipelines["p"].rewind = Rewinding(rec.Rewind("p", 0, 1, [], 1.0, left))
    assert "is being rewound" in adopt(broker, project(called("z")), AS_Z).error


def test_given_another_pipeline_then_its_numbers_go_on_above_and_the_store_says_the_same() -> None:
    broker = begun("1", "2", "3")
    compute(broker)
    publish(broker)
    rest = called("a")
    rest = replace(rest, nodes=[one for one in rest.nodes if one.name != "a"])
    nodes = [one for one in called("a").nodes if one.name != "b"]
    read = nodes[0].read
    assert isinstance(read, ReadSpec)
    other = replace(called("a"), name="q", nodes=[replace(nodes[0], read=replace(read, path="q")), *nodes[1:]])
    both = replace(project(rest), pipelines=[rest, other])
    (row,) = adopt(broker, both, Adopt("q", "a", "p", "a")).result["adopted"]
    assert row["planned_again"] == []
    record = broker.of(rec.Adopt)[0]
    assert (record.through, record.after) == (3, 0)
    assert broker.flow.pipelines["q"].last_iteration == 3
    pin = broker.flow.pipelines["q"].pins.get("a", folder("/lake/a"))
    assert pin is not None
    assert broker.flow.pipelines["p"].pins.get("a", folder("/lake/a")) is None
    engine = Engine(":memory:")
    engine.claim(0, "b1")
    engine.apply(1, 1, broker.records)
    rows = engine.answer("sink.adopted", {})["items"]
    assert rows == [{"target": "/lake/a", "names": [("q", "a"), ("p", "a")]}]
    items, _ = engine.load("")
    counters = {item.pipeline: item.last_iteration for item in items if isinstance(item, rec.LoadedCounter)}
    assert counters == {"p": 3, "q": 3}
    assert [item.record for item in items if isinstance(item, rec.LoadedAdopt)] == [record]
    assert [
        item.record for item in items if isinstance(item, rec.LoadedSchema) if item.record.target == folder("/lake/a")
    ] == [pin]
    shown = engine.answer("rewind.show", {"pipeline": "q", "to": 0})
    assert (shown["last"], shown["missing"]) == (3, 0)
    engine.close()


def test_given_two_sinks_that_exchanged_their_names_then_each_goes_on_with_what_its_target_has() -> None:
    broker = begun("1")
    compute(broker)
    publish(broker)
    spec = called("a")
    other = {"a": "b", "b": "a"}
    spec = replace(spec, nodes=[replace(one, name=other.get(one.name, one.name)) for one in spec.nodes])
    both = [Adopt("p", "b", "p", "a"), Adopt("p", "a", "p", "b")]
    assert adopt(broker, project(spec), *both).status == 0
    engine = Engine(":memory:")
    engine.claim(0, "b1")
    engine.apply(1, 1, broker.records)
    items, _ = engine.load("")
    engine.close()
    loaded = [one.record for one in items if isinstance(one, rec.LoadedSchema)]
    held = [broker.flow.pipelines["p"].pins.get(name, folder(f"/lake/{other[name]}")) for name in "ab"]
    assert {one.node: one.target for one in loaded if one.target} == {"a": folder("/lake/b"), "b": folder("/lake/a")}
    assert [one for one in loaded if one.target] == held
