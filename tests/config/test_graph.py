"""Graphs as text and as Mermaid."""

from __future__ import annotations

from odibi_actors.config.graph import describe, render_mermaid, render_text
from odibi_actors.config.model import (
    ConnectionSpec,
    NodeSpec,
    PipelineSpec,
    PollSpec,
    ReadSpec,
    TableSpec,
    TransformSpec,
)
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


def test_a_source_without_files_says_what_is_read_in_the_words_of_the_project() -> None:
    """Where its log is, in which format and by which pattern, nobody has written."""
    at, log = ConnectionSpec("shop", "sqlite", "/s.db"), ConnectionSpec("log", "local", "/log")
    table = TableSpec("orders", "", "id")
    given = {
        "read log: what is pushed to clicks/ (event)": ReadSpec(log, "arrow", "event", "clicks", consumption="cursor"),
        "read shop: table orders by id (incremental)": ReadSpec(
            at, "sql", "incremental", consumption="cursor", of_table=table
        ),
        "read shop: table orders every 1h (interval)": _interval(PollSpec(3600.0, at, of_table=table)),
        "read shop: query every 90s (interval)": _interval(PollSpec(90.0, at, of_table=TableSpec("", "select 1", ""))),
        "read log: rates.csv every 1h (interval)": _interval(PollSpec(3600.0, log, "rates.csv")),
        "read function nodes.a:b every 1h (interval)": _interval(PollSpec(3600.0, log, function="nodes.a:b")),
    }
    assert [describe(NodeSpec("s", read=read)) for read in given.values()] == list(given)


def _interval(polled: PollSpec) -> ReadSpec:
    ticks = ConnectionSpec("ticks", "local", "/ticks")
    return ReadSpec(ticks, "arrow", "interval", "p.s", consumption="cursor", polled=polled)


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
