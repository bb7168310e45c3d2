"""A sink that each iteration overwrites: what is older never takes the place of what is newer, and that is said."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import ConnectionSpec, PipelineSpec
from odibi_actors.messages import SOURCE, STORE, Reply
from odibi_actors.model import Target
from odibi_actors.sources.file_position import file_position
from tests.broker.harness import Broker, pipeline
from tests.broker.scheduling import HOUR
from tests.broker.test_backfills import Backfilled, batch_only, given
from tests.broker.test_operators import BAD, PREVIEW, answer, done, letter, publish, replies

TABLE = ConnectionSpec("mart", "sqlite", "/mart.db")

FOLDER = {"folder": "/lake/a", "at": ["local", "", "/lake/a"], "retracts": True}


def overwritten(spec: PipelineSpec | None = None, **write: Any) -> PipelineSpec:
    """Sink ``a`` is overwritten."""
    spec = spec or pipeline()
    more: dict[str, Any] = {"mode": "overwrite", **write}
    nodes = [
        replace(node, write=replace(node.write, **more)) if node.name == "a" and node.write is not None else node
        for node in spec.nodes
    ]
    return replace(spec, nodes=nodes)


# --- backfills ----------------------------------------------------------------------------------------------------


def test_given_files_when_a_backfill_is_asked_for_then_it_is_refused_with_what_helps() -> None:
    reply = given(overwritten()).backfill(files={"": "*"})
    assert reply.status == 4
    assert "sink a of p is overwritten" in reply.error
    assert "`odibictl pipeline rewind p --to N`" in reply.error


def test_given_occurrences_when_a_backfill_is_asked_for_then_it_is_refused_too() -> None:
    broker = Backfilled(overwritten(batch_only())).start()
    reply = broker.backfill(schedule="hourly", **{"from": 2.0 * HOUR, "to": 5.0 * HOUR})
    assert (reply.status, "`odibictl pipeline trigger p` reads what is there now" in reply.error) == (4, True)
    assert broker.of(rec.Backfill) == []


def test_given_an_open_backfill_when_a_sink_becomes_one_that_is_overwritten_then_that_is_not_applied() -> None:
    broker = given()
    lane = broker.backfill(files={"read": "f*"}).result["lane"]
    reply = broker.apply(overwritten())
    assert (reply.status, f"`odibictl backfill cancel p {lane}`" in reply.error) == (4, True)
    assert len(broker.of(rec.Version)) == 1
    broker.ask("backfill.cancel", pipeline="p", lane=lane)
    broker.durable()
    assert broker.apply(overwritten()).status == 0


# --- dead letters -------------------------------------------------------------------------------------------------


def dead(spec: PipelineSpec, last: int) -> Broker:
    """Iteration 2 is a dead letter; the others up to ``last`` are committed."""
    broker = Broker(replace(spec, on_error="dead_letter")).start()
    for number in range(1, last + 1):
        broker.offer(f"f{number}.csv")
        (task,) = broker.tasks()
        broker.finish(task)
        if number == 2:
            sink = broker.tasks()[0]
            broker.fail(sink, sink.steps[0].node.name, BAD)
        publish(broker)
    return broker


def replayed(broker: Broker, **more: Any) -> Reply:
    """Ask for the replay of the letter, whose file is there."""
    assert broker.ask("deadletter.replay", letter=7) is None
    answer(broker, STORE, letter(**more))
    found = replies(broker)
    if not found:
        answer(broker, SOURCE, {"files": [file_position("f2.csv", 1, 5, 6).shown()], "gone": []})
        found = replies(broker)
    return found[0]


def test_given_later_iterations_when_a_letter_is_replayed_then_it_is_refused_with_what_helps() -> None:
    broker = dead(overwritten(), last=3)
    reply = replayed(broker)
    assert reply.status == 4
    assert reply.error == (
        "dead letter 7 of iteration 2 of p: sink a is overwritten by each iteration, and a replay would replace what "
        "later ones bring: to have the rows all the same, as the newest batch, write them corrected to a file of "
        "another name and `odibictl deadletter discard 7`; or fix what is wrong and `odibictl pipeline rewind p --to "
        "1` reads again in order"
    )
    assert len(broker.of(rec.Plan)) == 3


def test_given_a_table_that_rows_are_appended_to_when_a_letter_is_replayed_then_no_rewind_is_named() -> None:
    """It would be refused."""
    spec = overwritten()
    nodes = [
        replace(node, write=replace(node.write, connection=TABLE, path=None, format=None, table="t"))
        if node.name == "b" and node.write is not None
        else node
        for node in spec.nodes
    ]
    reply = replayed(dead(replace(spec, nodes=nodes), last=3))
    assert reply.status == 4
    assert reply.error.endswith("write them corrected to a file of another name and `odibictl deadletter discard 7`")


def test_given_a_later_iteration_that_is_under_way_when_a_letter_is_replayed_then_it_is_refused() -> None:
    broker = dead(overwritten(), last=2)
    broker.offer("f3.csv")
    assert "what later ones bring" in replayed(broker).error


def test_given_one_file_of_several_when_it_is_replayed_then_it_is_refused_as_the_rest_is_published() -> None:
    assert "would replace the rest of its own" in replayed(dead(overwritten(), last=2), whole=False).error


def test_given_the_newest_iteration_when_its_letter_is_replayed_then_it_is_the_newest_batch() -> None:
    broker = dead(overwritten(), last=2)
    assert replayed(broker).result["iteration"] == 3


@pytest.mark.parametrize("why", ["not overwritten", "state", "reference"])
def test_given_a_sink_that_holds_more_than_the_newest_batch_when_a_letter_is_replayed_then_nothing_stands_against_it(
    why: str,
) -> None:
    spec = pipeline() if why == "not overwritten" else overwritten()
    if why == "reference":
        read = spec.nodes[0].read
        assert read is not None
        reference = replace(spec.nodes[0], name="all", read=replace(read, mode="batch", consumption=""))
        nodes = [replace(node, inputs=["all"]) if node.name == "a" else node for node in spec.nodes]
        spec = replace(spec, nodes=[reference, *nodes])
    broker = dead(pipeline(), last=3)
    flow = broker.flow.pipelines["p"]
    flow.spec = spec if why != "state" else replace(spec, nodes=[replace(n, state=n.name == "t") for n in spec.nodes])
    assert replayed(broker).status == 0


def test_given_a_replay_under_way_when_a_sink_becomes_one_that_is_overwritten_then_that_is_not_applied() -> None:
    broker = dead(pipeline(), last=3)
    assert replayed(broker).result["iteration"] == 4
    reply = broker.apply(replace(overwritten(), on_error="dead_letter"))
    assert (reply.status, "`odibictl iteration cancel p 4`" in reply.error) == (4, True)
    publish(broker)
    assert broker.apply(replace(overwritten(), on_error="dead_letter")).status == 0


# --- going back ---------------------------------------------------------------------------------------------------


def rewound(broker: Broker, row: dict[str, Any], dry_run: bool = True) -> Reply | None:
    reply = broker.ask("pipeline.rewind", pipeline="p", to=1, dry_run=dry_run)
    assert reply is None
    answer(broker, STORE, {**PREVIEW, "retractions": [{"node": "a", "parts": 2, "last": 3, "replaced": True, **row}]})
    found = replies(broker)
    return found[0] if found else None


def test_given_a_rewind_then_what_was_published_last_is_told_to_stay_and_nothing_is_deleted() -> None:
    broker = done(overwritten())
    reply = rewound(broker, FOLDER)
    assert reply is not None
    (row,) = reply.result["retractions"]
    assert row["action"] == "what iteration 3 published stays until the next commit replaces it"
    assert rewound(broker, FOLDER, dry_run=False) is None
    assert [record.retractions for record in broker.of(rec.Rewind)] == [[]]
    broker.durable()
    assert broker.publications() == []
    assert [record.to for record in broker.of(rec.Rewound)] == [1]


def test_given_a_sink_that_publishes_elsewhere_by_now_then_nothing_is_said_to_replace_what_stays() -> None:
    reply = rewound(done(), FOLDER)
    assert reply is not None
    assert [row["action"] for row in reply.result["retractions"]] == ["what iteration 3 published stays"]


def test_given_a_table_when_its_mode_is_append_by_now_then_a_rewind_is_refused_as_rows_would_be_doubled() -> None:
    folder = {"folder": "/mart.db#t", "at": ["sqlite", "/mart.db", "t"], "retracts": False}
    reply = rewound(done(overwritten(connection=TABLE, path=None, format=None, table="t")), folder)
    assert reply is not None
    assert reply.status == 0
    reply = rewound(done(overwritten(connection=TABLE, path=None, format=None, table="t", mode="append")), folder)
    assert reply is not None
    assert "cannot be taken back" in reply.error


def test_given_rows_that_were_appended_before_the_table_was_to_be_overwritten_then_a_rewind_is_refused() -> None:
    """No overwrite would delete them."""
    folder = {"folder": "/mart.db#t", "at": ["sqlite", "/mart.db", "t"], "retracts": False, "replaced": False}
    reply = rewound(done(overwritten(connection=TABLE, path=None, format=None, table="t")), folder)
    assert reply is not None
    assert "cannot be taken back" in reply.error


def test_given_a_table_that_was_overwritten_and_a_sink_that_overwrites_another_then_its_rows_are_said_to_stay() -> None:
    folder = {"folder": "/mart.db#u", "at": ["sqlite", "/mart.db", "u"], "retracts": False}
    reply = rewound(done(overwritten(connection=TABLE, path=None, format=None, table="t")), folder)
    assert reply is not None
    assert [row["action"] for row in reply.result["retractions"]] == ["what iteration 3 published stays"]


def test_given_an_upsert_that_publishes_elsewhere_by_now_then_nothing_is_said_to_upsert_its_rows_again() -> None:
    folder = {"folder": "/mart.db#u", "at": ["sqlite", "/mart.db", "u"], "retracts": False, "replaced": False}
    upserts = overwritten(connection=TABLE, path=None, format=None, table="t", mode="upsert", keys=["k"])
    reply = rewound(done(upserts), folder)
    assert reply is not None
    assert [row["action"] for row in reply.result["retractions"]] == ["rows stay: the sink publishes elsewhere now"]


def test_given_a_part_prepared_for_another_table_of_the_database_then_it_is_told_to_be_on_its_way_as_well() -> None:
    """Marks do not say in which table they were: whoever published it would be taken for a newer store."""
    broker = Broker(pipeline()).start()
    broker.offer("f1.csv")
    broker.compute()
    (publication,) = [p for i in broker.flow.pipelines["p"].unfinished() for n, p in i.publications.items() if n == "a"]
    publication.part = replace(publication.part, at=Target("sqlite", "/mart.db", "t"))
    coming = broker.flow.pipelines["p"].coming
    assert coming("a", Target("sqlite", "/mart.db", "u")) == [(1, publication.part.digest)]
    assert coming("a", Target("sqlite", "/other.db", "u")) == []
