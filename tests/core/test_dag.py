"""Steps and their DAG: what is wrong is refused by name, what is right is in order."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odibi_actors.core import DAGBuilder, EventEmitter, NodeState, Step


def step(name: str, inputs: tuple[str, ...] = (), outputs: tuple[str, ...] | None = None) -> Step:
    """A step that makes the key of its name."""
    made = (name,) if outputs is None else outputs
    return Step("transform", name, "sql", "pandas", "select 1", None, {k: k for k in inputs}, {k: k for k in made})


DIAMOND = [step("d", ("b", "c")), step("b", ("a",)), step("c", ("a",)), step("a", ("raw",))]


def test_given_both_spellings_of_odibi_core_then_they_are_the_same_step() -> None:
    one = Step("ingestion", "read", "config_op", "pandas", "a.csv", {"sep": ";"}, {}, {"out": "raw"}, {"owner": "me"})
    other = Step(layer="ingestion", step_name="read", engine="pandas", value="a.csv", params={"sep": ";"},
                 outputs={"out": "raw"}, metadata={"owner": "me"})  # fmt: skip
    assert vars(one) == vars(other)
    assert (one.step_name, one.type) == ("read", "config_op")


@pytest.mark.parametrize(
    ("value", "kind"), [("select", "config_op"), ("select * from a", "sql"), ("pkg.mod.f", "function"), ("f", "sql")]
)
def test_given_no_type_then_the_value_of_a_transform_tells_it(value: str, kind: str) -> None:
    assert Step("transform", "t", engine="pandas", value=value).type == kind


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"layer": "load", "name": "a", "value": "x"}, "step a: layer: 'load' is none of ingest"),
        ({"layer": "ingest", "value": "x"}, "name: None"),
        ({"layer": "ingest", "name": "a", "step_name": "b", "value": "x"}, "they mean the same"),
        ({"layer": "ingest", "name": "a", "engine": "dask", "value": "x"}, "step a: engine: 'dask'"),
        ({"layer": "ingest", "name": "a", "type": "api", "value": "x"}, "step a: type: 'api'"),
        ({"layer": "ingest", "name": "a"}, "step a: value: ''"),
        ({"layer": "store", "name": "a", "value": "x.csv"}, "step a: a store needs an input"),
        ({"layer": "ingest", "name": "a", "value": "x", "outputs": ["raw"]}, "step a: outputs: .* is not a dict"),
        ({"layer": "ingest", "name": "a", "value": "x", "outputs": {"data": 1}}, "step a: outputs: 'data' -> 1"),
    ],
)
def test_given_a_step_that_means_nothing_then_it_is_refused_by_name(given: dict[str, Any], said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        Step(**given)


def test_given_a_diamond_then_levels_and_batches_follow_its_keys() -> None:
    builder = DAGBuilder(DIAMOND)
    dag = builder.build()
    assert {name: node.level for name, node in dag.items()} == {"a": 0, "b": 1, "c": 1, "d": 2}
    assert [[one.name for one in batch] for batch in builder.get_parallel_batches()] == [["a"], ["b", "c"], ["d"]]
    assert [one.name for one in builder.get_execution_order()] == ["a", "b", "c", "d"]
    assert builder.get_dependencies("d") == ["b", "c"]
    assert builder.get_dependents("a") == ["b", "c"]
    with pytest.raises(KeyError, match="there is no step 'e'; there are: a, b, c, d"):
        builder.get_dependencies("e")


def test_given_a_way_that_is_longer_than_another_then_the_level_is_that_of_the_longer() -> None:
    dag = DAGBuilder([step("a"), step("b", ("a",)), step("c", ("b",)), step("d", ("a", "c"))]).build()
    assert dag["d"].level == 3


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([step("a", ("b",)), step("b", ("a",))], "circular dependency: .*[ab] -> [ab]"),
        ([step("a", ("a",))], "circular dependency: a -> a"),
        ([step("a", (), ("x",)), step("b", (), ("x",))], "output 'x' is made by two steps, 'a' and 'b'"),
        ([step("a"), step("a", (), ("x",))], "two steps are called 'a'"),
    ],
)
def test_given_steps_that_are_no_dag_then_those_at_fault_are_named(steps: list[Step], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DAGBuilder(steps).build()


@given(st.lists(st.sets(st.integers(0, 30), max_size=4), max_size=12))
def test_given_any_dag_then_each_step_is_behind_and_above_those_it_needs(inputs: list[set[int]]) -> None:
    steps = [step(str(i), tuple(str(j) for j in sorted(needs) if j < i)) for i, needs in enumerate(inputs)]
    dag = DAGBuilder(reversed(steps)).build()
    order = list(dag)
    for node in dag.values():
        assert all(order.index(one) < order.index(node.name) for one in node.dependencies)
        assert node.level == max((dag[one].level + 1 for one in node.dependencies), default=0)


def test_given_names_that_mean_something_in_mermaid_then_they_are_text() -> None:
    builder = DAGBuilder([step('end"] --> x', (), ("k",)), step("<b>graph", ("k",))])
    mermaid = builder.export_mermaid()
    assert mermaid.splitlines()[0] == "graph TD"
    assert 'n0["end#34;] --#62; x"]' in mermaid
    assert 'n1["#60;b#62;graph"]' in mermaid
    assert "    n0 --> n1" in mermaid.splitlines()
    assert builder.visualize().splitlines()[-1] == '  <b>graph (transform) <- end"] --> x'


def test_given_node_states_then_their_values_are_those_of_odibi_core() -> None:
    assert [state.value for state in NodeState] == ["pending", "success", "failed", "retry"]


def test_given_a_listener_that_raises_then_the_others_hear_and_it_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[Any] = []

    def fails(step: str) -> None:
        raise ValueError(step)

    events = EventEmitter()
    events.on("step_start", fails)
    events.on("step_start", lambda **given: heard.append(given["step"]))
    with caplog.at_level(logging.ERROR, "odibi_actors.core"):
        events.emit("step_start", step="a")
        events.emit("step_start", step="b")
    assert heard == ["a", "b"]
    assert len(caplog.records) == 1
    assert "fails of step_start has failed" in caplog.text
    assert "ValueError: a" in caplog.text


def test_given_listeners_when_cleared_then_only_those_meant_are_forgotten() -> None:
    heard: list[str] = []
    events = EventEmitter()
    for name in ("one", "two"):
        events.on(name, lambda name=name: heard.append(name))
    events.clear("one")
    events.emit("one")
    events.emit("two")
    events.clear()
    events.emit("two")
    assert heard == ["two"]
    with pytest.raises(TypeError, match="cannot be called"):
        events.on("one", None)  # type: ignore[arg-type]
