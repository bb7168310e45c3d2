"""Graphs as text and as Mermaid."""

from __future__ import annotations

from odibi_actors.config.graph import render_mermaid, render_text
from odibi_actors.config.model import NodeSpec, PipelineSpec, TransformSpec
from tests.config.conftest import Project


def _node(name: str, *inputs: str) -> NodeSpec:
    return NodeSpec(name=name, inputs=list(inputs), transform=TransformSpec(sql="select 1"))


def test_a_chain_goes_straight_down_and_branches_are_indented(project: Project) -> None:
    assert render_text(project.load().pipelines[0]).splitlines() == [
        "delays (trigger: data, 4 in flight)",
        "  flights           read landing: *.csv (csv, file_watch)",
        "  ↓ clean           function nodes.flights:clean",
        "  ├─ by_carrier     sql",
        "  │  ↓ mart_delays  write mart: table delays (upsert by carrier)",
        "  └─ lake_flights   write lake: flights/ (parquet, append)",
    ]


def test_a_join_is_drawn_once_and_referred_to_from_its_other_inputs() -> None:
    nodes = [_node("a"), _node("b"), _node("c", "b"), _node("join", "a", "b"), _node("out", "join")]
    assert render_text(PipelineSpec("p", nodes)).splitlines()[1:] == [
        "  a          sql",
        "  ↓ join     sql  ← a, b",
        "  ↓ out      sql",
        "  b          sql",
        "  ├─ c       sql",
        "  └─ → join",
    ]


def test_a_chain_of_any_length_is_drawn() -> None:
    nodes = [_node("n0"), *(_node(f"n{i}", f"n{i - 1}") for i in range(1, 3000))]
    assert render_text(PipelineSpec("p", nodes)).count("\n") == 3001


def test_mermaid_has_every_node_and_edge_and_survives_reserved_names_and_quotes(project: Project) -> None:
    project.edit('pattern: "*.csv"', "pattern: '*\"#.csv'")
    text = render_mermaid(project.load().pipelines[:1])
    assert '    delays__flights[/"flights<br/>read landing: *#34;#35;.csv (csv, file_watch)"/]\n' in text
    assert text.count("-->") == 4
    assert "    delays__by_carrier --> delays__mart_delays\n" in text
