"""What ``odibictl`` shows of the store."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.checkpoint.queries import spec_digest
from odibi_actors.config.model import ConnectionSpec, NodeSpec, PipelineSpec, ReadSpec, WriteSpec
from odibi_actors.errors import ConfigError, NotFoundError
from odibi_actors.kinds.letters import remedies, told
from odibi_actors.model import Failure
from odibi_actors.sources.file_position import FileTimes
from tests.checkpoint.make import (
    P,
    ack,
    claimed,
    commit,
    committed,
    error,
    failure,
    file,
    plan,
    prepare,
    put,
    staged,
    version,
)

ITERATION = {
    "iteration", "lane", "state", "version", "run", "taken", "planned_at", "finished_at", "positions", "rows_read",
    "error", "dead_letters", "waits_for",
}  # fmt: skip
NODE = {
    "node", "state", "attempt", "used", "started_at", "duration", "rows_in", "rows_out", "size", "where",
    "kept", "state_size",
    "memory", "memory_before", "key", "worker", "error",
}  # fmt: skip


@pytest.fixture
def engine() -> Engine:
    """Iterations: 1 committed, 2 failed, 3 planned, 4 blocked."""
    engine = claimed()
    put(engine, version(), *committed(1, "a.csv", "b.csv"))
    put(engine, plan(2, "c.csv"), ack(2, data=b"x"), error(2, "clean", 1), error(2, "clean", 2, "no column"))
    put(engine, r.Fail(P, 2, "clean", 5.0), plan(3, "d.csv"))
    put(engine, plan(4, "e.csv"), ack(4), ack(4, "lake"), prepare(4))
    put(engine, r.Block(P, 4, "lake", Failure("conflict", "another owner"), 6.0))
    return engine


def show(engine: Engine, iteration: int) -> dict[str, object]:
    found = engine.answer("iteration.show", {"pipeline": P, "iteration": iteration})
    assert isinstance(found, dict)
    return found


def test_iterations_are_listed_newest_first(engine: Engine) -> None:
    items = engine.answer("iteration.list", {"pipeline": P})["items"]
    assert [(row["iteration"], row["state"], row["error"]) for row in items] == [
        (4, "blocked", "another owner"),
        (3, "planned", ""),
        (2, "failed", "no column"),
        (1, "committed", ""),
    ]
    assert set(items[0]) == ITERATION
    assert [row["waits_for"] for row in items] == [0, 2, 0, 0]  # what is stuck holds back what comes after it
    assert items[3] == {
        "iteration": 1,
        "lane": "live",
        "state": "committed",
        "version": 1,
        "run": "",
        "taken": "",
        "planned_at": 1.0,
        "finished_at": 3.0,
        "positions": 2,
        "rows_read": 7,
        "error": "",
        "dead_letters": 0,
        "waits_for": 0,
    }


def test_iterations_are_limited_and_selected_by_state(engine: Engine) -> None:
    assert len(engine.answer("iteration.list", {"pipeline": P, "limit": 2})["items"]) == 2
    assert engine.answer("iteration.list", {"pipeline": P, "state": "cancelled"}) == {"items": []}
    items = engine.answer("iteration.list", {"pipeline": P, "state": "failed"})["items"]
    assert [row["iteration"] for row in items] == [2]


@pytest.mark.parametrize(("verb", "given"), [("iteration.list", {"pipeline": P}), ("deadletter.list", {})])
def test_a_list_that_ends_early_says_how_long_it_is_and_where_it_goes_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, verb: str, given: dict[str, str]
) -> None:
    for number in range(5, 8):
        put(engine, plan(number, f"{number}.csv"), r.DeadLetter(P, number, "clean", failure("bad"), 7.0))
    whole = engine.answer(verb, given)
    assert "total" not in whole
    first = engine.answer(verb, {**given, "limit": 2})
    assert (len(first["items"]), first["total"], "at_least" in first) == (2, len(whole["items"]), False)
    after = engine.answer(verb, {**given, "limit": 1000, "before": first["next"]})
    assert first["items"] + after["items"] == whole["items"]
    monkeypatch.setattr("odibi_actors.checkpoint.asking.COUNTED", 3)
    assert engine.answer(verb, {**given, "limit": 1})["at_least"] is True


def test_an_iteration_shows_positions_nodes_errors_and_sinks(engine: Engine) -> None:
    found = show(engine, 2)
    assert set(found) == ITERATION | {
        "pipeline",
        "positions",
        "planned_as",
        "twins",
        "more",
        "files",
        "revised",
        "nodes",
        "errors",
        "sinks",
    }
    assert found["positions"] == {
        "flights": [
            {
                "identity": "c.csv",
                "size": 10,
                "rows": -1,
                "generation": 1,
                "digest": "",
                "detail": FileTimes(20, 30).packed().hex(),
            },
        ]
    }
    errors = found["errors"]
    assert isinstance(errors, list)
    assert errors[1] == {
        "node": "clean",
        "attempt": "1-2",
        "kind": "raised",
        "message": "no column",
        "traceback": "Traceback ...",
        "position": "",
        "line": 0,
        "column": "",
        "value": "",
        "at": 1.0,
        "used": 2,
    }
    assert show(engine, 4)["sinks"] == {
        "lake": {"target": staged(4).published, "rows": 7, "digest": "d" * 32, "abandoned": False}
    }


def test_a_void_iteration_names_those_that_have_its_files_now(engine: Engine) -> None:
    assert show(engine, 3)["planned_as"] == []
    put(engine, r.Cancel(P, [2, 3], 7.0), plan(5, "c.csv", "d.csv"), plan(6, "f.csv"))
    assert show(engine, 2)["planned_as"] == [5]
    assert show(engine, 3)["planned_as"] == [5]
    assert show(engine, 5)["planned_as"] == []


def test_given_a_pinned_schema_when_asked_then_each_column_tells_where_its_type_comes_from(engine: Engine) -> None:
    with pytest.raises(NotFoundError, match="it has read nothing yet, or what it read was cancelled or set aside"):
        engine.answer("schema.show", {"pipeline": P, "source": "flights"})
    with pytest.raises(NotFoundError, match="there is no pipeline"):
        engine.answer("schema.show", {"pipeline": "nope", "source": "flights"})
    notes = ["declared", "inferred: why"]
    columns = ["a: b: int64", "x: string"]
    put(engine, r.Schema(P, "flights", b"...", columns, iteration=1, notes=notes, left_out=["y"]))
    assert engine.answer("schema.show", {"pipeline": P, "source": "flights"}) == {
        "pipeline": P,
        "source": "flights",
        "iteration": 1,
        "columns": [
            {"column": "a: b", "type": "int64", "origin": "declared"},
            {"column": "x", "type": "string", "origin": "inferred: why"},
        ],
        "left_out": ["y"],
        "deleted": 0,
        "history": [],
    }
    put(engine, r.Schema(P, "flights", b"...", ["a: int64"]))  # of the version before
    shown = engine.answer("schema.show", {"pipeline": P, "source": "flights"})
    assert shown["columns"] == [{"column": "a", "type": "int64", "origin": ""}]


@pytest.mark.parametrize("pruned", [False, True])
def test_given_options_that_came_after_a_pin_then_its_column_is_said_to_stay_text_and_what_to_write(
    engine: Engine, pruned: bool
) -> None:
    number, way = "'9,50' would not be kept as a number", '; read.options: {decimal_point: ","} reads it, where all'
    notes = [
        f"inferred: {number}{way} numbers of the source are written so; twin",
        "inferred: 'ja' would not be kept as a truth value",
    ]
    put(engine, r.Schema(P, "flights", b"...", ["x: string", "y: string"], iteration=99 if pruned else 1, notes=notes))

    def origins() -> list[str]:
        columns = engine.answer("schema.show", {"pipeline": P, "source": "flights"})["columns"]  # type: ignore[call-overload]
        return [one["origin"] for one in columns]

    assert origins() == notes
    read = ReadSpec(ConnectionSpec("landing", "local", "/landing"), "csv", "file_watch", options={"decimal_point": ","})
    put(engine, replace(version(2), spec=PipelineSpec(P, [NodeSpec("flights", read=read)])))
    x, y = origins()
    assert x.startswith(f"inferred: {number}; twin; it is pinned as string since iteration ")
    assert "which options.decimal_point, changed later, leaves as it is: read.schema: {x: double} has it read" in x
    assert y == notes[1]
    options = {"null_values": ["-"], "true_values": ["ja"]}
    put(engine, replace(version(3), spec=PipelineSpec(P, [NodeSpec("flights", read=replace(read, options=options))])))
    if not pruned:
        x, y = origins()
        assert "which options.null_values, changed later, leaves as it is: read.schema: {x: double}" in x
        assert (
            "which options.true_values and options.null_values, changed later, leave as it is: read.schema: {y: bool}"
            in y
        )
    read = replace(read, schema={"x": "double"})
    put(engine, replace(version(4), spec=PipelineSpec(P, [NodeSpec("flights", read=read)])))
    assert origins()[0] == f"inferred: {number}; twin; read.schema: {{x: double}} holds from here on"


def test_nodes_are_listed_in_the_order_of_the_pipeline_even_those_that_did_not_run(engine: Engine) -> None:
    items = engine.answer("node.list", {"pipeline": P, "iteration": 2})["items"]
    assert all(set(row) == NODE for row in items)
    assert [(row["node"], row["state"], row["where"], row["used"], row["error"]) for row in items] == [
        ("flights", "acked", "inline", 0, ""),
        ("clean", "error", "", 2, "no column"),
        ("lake", "none", "", 0, ""),
    ]


def test_given_a_node_acked_after_an_error_when_listed_then_the_error_is_history() -> None:
    engine = claimed()
    put(engine, version(), plan(1, "a.csv"), error(1, "clean", 2), ack(1, "clean"))
    row = engine.answer("node.list", {"pipeline": P, "iteration": 1})["items"][1]
    assert (row["state"], row["used"], row["where"], row["error"]) == ("acked", 2, "spool", "")


def test_given_two_blocked_sinks_when_shown_then_both_tell_why_until_retried(engine: Engine) -> None:
    put(engine, r.Block(P, 4, "mart", failure("locked"), 7.0))
    errors = show(engine, 4)["errors"]
    assert isinstance(errors, list)
    assert [(e["node"], e["kind"], e["message"], e["at"]) for e in errors] == [
        ("lake", "conflict", "another owner", 6.0),
        ("mart", "raised", "locked", 7.0),
    ]
    states = {row["node"]: row["state"] for row in engine.answer("node.list", {"pipeline": P, "iteration": 4})["items"]}
    assert states == {"flights": "acked", "clean": "none", "lake": "error", "mart": "error"}
    put(engine, r.Retry(P, 4, 8.0))
    assert (show(engine, 4)["state"], show(engine, 4)["errors"], show(engine, 4)["error"]) == ("prepared", [], "")
    put(engine, commit(4))


def test_given_a_retry_when_shown_then_tries_stay_but_count_no_more(engine: Engine) -> None:
    put(engine, r.Retry(P, 2, 8.0))
    row = engine.answer("node.list", {"pipeline": P, "iteration": 2})["items"][1]
    assert (row["state"], row["used"]) == ("error", 0)
    errors = show(engine, 2)["errors"]
    assert isinstance(errors, list)
    assert len(errors) == 2


def test_dead_letters_are_listed_by_pipeline_and_name_their_position(engine: Engine) -> None:
    put(engine, r.Revise(P, 3, "flights", ["d.csv"], failure("line 3: no number", "d.csv"), 7.0))
    put(engine, r.DeadLetter(P, 2, "clean", failure("no column"), 8.0))
    put(engine, version(pipeline="other"), plan(1, "x", pipeline="other"))
    put(engine, r.DeadLetter("other", 1, "clean", failure("bad"), 9.0))
    items = engine.answer("deadletter.list", {})["items"]
    assert [(row["pipeline"], row["iteration"], row["position"]) for row in items] == [
        ("other", 1, ""),
        (P, 2, ""),
        (P, 3, "d.csv"),
    ]
    fix = {"remedy": "fix it and `odibictl deadletter replay ID`, or give it up with `odibictl deadletter discard ID`"}
    assert engine.answer("deadletter.list", {"pipeline": P})["items"] == [
        {**fix, "id": 2, "pipeline": P, "iteration": 2, "node": "clean", "position": "", "kind": "raised",
         "message": "no column", "at": 8.0, "state": "open", "replay": 0, "files": 1, "first": "c.csv"},
        {**fix, "id": 1, "pipeline": P, "iteration": 3, "node": "flights", "position": "d.csv", "kind": "raised",
         "message": "line 3: no number", "at": 7.0, "state": "open", "replay": 0, "files": 1, "first": "d.csv"},
    ]  # fmt: skip
    assert show(engine, 3)["revised"] == [{"node": "flights", "identity": "d.csv", "message": "line 3: no number"}]
    assert show(engine, 3)["positions"] == {"flights": []}
    items = engine.answer("iteration.list", {"pipeline": P})["items"]
    assert [(row["iteration"], row["dead_letters"]) for row in items] == [(4, 0), (3, 1), (2, 1), (1, 0)]


def test_letters_have_the_remedies_of_what_lies_in_them_and_those_that_are_alike_are_told_once(engine: Engine) -> None:
    """A letter that holds files alone says nothing of pushed rows, though its pipeline reads some."""
    at = ConnectionSpec("in", "local", "/in")
    spec = version().spec
    nodes = [
        NodeSpec("flights", read=ReadSpec(at, "csv", "file_watch")),
        NodeSpec("clicks", read=ReadSpec(at, "arrow", "event", consumption="cursor")),
        *spec.nodes[1:],
    ]
    put(engine, r.Version(P, 2, msgspec.structs.replace(spec, nodes=nodes), "c" * 32, 1.0))
    for number, names in ((5, ["f.csv"]), (6, ["g.csv"]), (7, ["h.csv"])):
        planned = plan(number, *names)
        pushed = {"clicks": [file("1")]} if number == 7 else {}
        put(
            engine,
            msgspec.structs.replace(planned, positions={**planned.positions, **pushed}, ledgered=["flights", *pushed]),
        )
        put(engine, r.DeadLetter(P, number, "clean", failure("bad"), 8.0))
    rows = engine.answer("deadletter.list", {"pipeline": P})["items"]
    fix = "fix it and `odibictl {} 1,2`, or give it up with `odibictl deadletter discard 1,2`"
    push = "if rows of clicks are wrong, push them corrected (`odibictl event push`), give the files of flights"
    assert list(remedies(rows)) == ["3", "1,2"]
    assert remedies(rows)["1,2"] == fix.format("deadletter replay")
    assert remedies(rows, "`odibictl run delays --replay {}`")["1,2"] == fix.format("run delays --replay")
    assert remedies(rows)["3"].startswith(push)
    assert "1,2: fix it" in told(remedies(rows))
    for row in rows:
        shown = engine.answer("deadletter.show", {"id": row["id"]})["remedy"]
        assert shown == row["remedy"].replace(" ID`", f" {row['id']}`")
    assert shown in engine.answer("file.show", {"pipeline": P, "source": "flights", "identity": "f.csv"})["reason"]
    many = [{**rows[2], "id": number} for number in range(1, 20)]
    assert list(remedies(many)) == ["19 letters from 1 to 19"]
    assert remedies([{**rows[2], "state": "replaying"}]) == {}


def test_a_letter_that_would_replace_newer_rows_has_another_remedy_than_its_replay(engine: Engine) -> None:
    at, mart = ConnectionSpec("in", "local", "/in"), ConnectionSpec("mart", "sqlite", "/m.db")
    lake = WriteSpec(ConnectionSpec("lake", "local", "/lake"), path="a", format="csv", mode="overwrite")
    read = ReadSpec(at, "csv", "file_watch")
    nodes = [NodeSpec("flights", read=read), NodeSpec("lake", ["flights"], write=lake)]
    spec = msgspec.structs.replace(version().spec, nodes=nodes)
    put(engine, r.Version(P, 2, spec, "c" * 32, 1.0), r.DeadLetter(P, 2, "lake", failure("bad"), 8.0))

    def told_of(letters: int) -> list[str]:
        rows = engine.answer("deadletter.list", {"pipeline": P})["items"]
        assert len(rows) == letters
        return list(remedies(rows).values())

    (late,) = told_of(1)
    assert late.endswith(f"`odibictl deadletter discard 1`; or fix what is wrong and `odibictl pipeline rewind {P} "
                         "--to 1` reads again in order")  # fmt: skip
    assert engine.answer("deadletter.show", {"id": 1})["remedy"] == late
    why = {"pipeline": P, "source": "flights", "identity": "c.csv"}
    assert engine.answer("file.show", why)["reason"].endswith(late)
    put(engine, r.DeadLetter(P, 3, "lake", failure("bad"), 8.0))
    assert ["`odibictl deadletter discard 1,2`" in text and "--to 1`" in text for text in told_of(2)] == [True]
    put(engine, plan(5, "f.csv"), r.DeadLetter(P, 5, "lake", failure("bad"), 8.0))
    assert [text.partition(" ")[0] for text in told_of(3)] == ["fix", "sink"], "nothing is newer than the newest"
    table = NodeSpec("all", ["flights"], write=WriteSpec(mart, table="t"))
    put(engine, r.Version(P, 3, msgspec.structs.replace(spec, nodes=[*nodes, table]), "c" * 32, 1.0))
    assert "rewind" not in "".join(told_of(3)), "the table would forbid it"


def test_a_version_is_told_by_its_digests(engine: Engine) -> None:
    same = version()
    found = engine.answer("version.show", {"pipeline": P, "version": 1})
    assert (found["spec_digest"], found["code_digest"]) == (spec_digest(same.spec), same.code_digest)
    changed = msgspec.structs.replace(same.spec, max_in_flight=same.spec.max_in_flight + 1)
    assert spec_digest(changed) != found["spec_digest"]
    first = same.spec.nodes[0]
    whole, real = (
        msgspec.structs.replace(same.spec, nodes=[msgspec.structs.replace(first, timeout=timeout)])
        for timeout in (5, 5.0)
    )
    assert spec_digest(whole) == spec_digest(real)
    with pytest.raises(NotFoundError, match="no version 7"):
        engine.answer("version.show", {"pipeline": P, "version": 7})


def test_stats_count_what_is_there(engine: Engine) -> None:
    stats = engine.answer("checkpoint.stats", {})
    assert stats["epoch"] == 1
    assert stats["last_seq"] == engine.last_seq
    assert stats["counts"] == {
        "versions": 1,
        "runs": 0,
        "iterations": 4,
        "acks": 5,
        "errors": 2,
        "dead_letters": 0,
        "schedules": 0,
        "occurrences": 0,
        "backfills": 0,
        "alerts": 0,
        "committed": 1,
        "ledger": 5,
    }
    assert stats["bytes"] == stats["page_count"] * 4096


def test_what_is_not_there_is_told_with_a_suggestion(engine: Engine) -> None:
    for verb in ("iteration.list", "deadletter.list"):
        with pytest.raises(NotFoundError, match="did you mean delays"):
            engine.answer(verb, {"pipeline": "delay"})
    with pytest.raises(NotFoundError, match="iteration 9: the newest is 4"):
        show(engine, 9)
    with pytest.raises(ConfigError, match=r"iteration\.list: .*pipelin"):
        engine.answer("iteration.list", {"pipelin": P})
    assert not engine.broken
