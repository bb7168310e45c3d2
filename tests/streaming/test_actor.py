"""The source actor by itself: scripted messages, virtual time."""

from __future__ import annotations

import pytest

from odibi_actors.actor import Stop
from odibi_actors.messages import (
    BROKER,
    LOCAL,
    STORE,
    Bye,
    ByeAck,
    Connected,
    Heartbeat,
    Hello,
    LedgerPage,
    LedgerQuery,
    Offer,
    Planned,
    Refused,
    Released,
    Reply,
    Request,
    Shutdown,
    Sources,
    Terminate,
    Tick,
    Welcome,
    WhoAreYou,
)
from odibi_actors.sources.file_position import file_position, file_times
from odibi_actors.streaming.actor import SourceActor
from odibi_actors.streaming.changes import FAILED, LONGER, NEW_NAME
from odibi_actors.streaming.effects import Digest, FileEvent, FileEventKind, Forget, Scan, Scanned, Stat, Stated
from tests.streaming.harness import source_spec
from tests.streaming.world import KEY, World

FAILED_11 = FAILED.format("p", 11)


def ready(world: World, *names: str) -> World:
    """The source has looked, and these files are there."""
    world.work()
    for name in names:
        world.create(name)
        world.advance(0.01)
    world.work()
    return world


# --- the ledger ---------------------------------------------------------------------------------------------------


def test_given_no_ledger_yet_when_started_then_nothing_is_scanned_or_offered_and_the_query_is_repeated() -> None:
    world = World()
    world.advance(5.0)
    assert [type(order).__name__ for order in world.orders] == ["Send", "Send", "Send"]
    assert not world.offers
    world.work()
    assert world.names == []
    assert len(world.offers) == 1


def test_given_a_ledger_of_many_pages_when_loaded_then_none_of_it_is_offered() -> None:
    world = World()
    for number in range(10):
        world.create(f"f{number}.csv", age=100.0)
    world.stamps = {n: file_position(n, 1, e.mtime_ns, e.inode) for n, e in world.files.items()}
    world.planned = [(9, [f"f{number}.csv" for number in range(9)])]
    world.sync()
    world.work()
    assert world.names == ["f9.csv"]
    queries = [m for m in world.sent if isinstance(m, LedgerQuery)]
    assert [q.cursor for q in queries] == ["", "f2.csv", "f5.csv"]


def test_given_a_lost_planned_when_the_next_comes_then_nothing_is_offered_until_the_ledger_is_read_again() -> None:
    world = ready(World(), "a.csv", "b.csv", "c.csv")
    world.plan(1, lost=True)
    count = len(world.offers)
    world.plan(1)  # names its predecessor, which the source does not know
    world.work(1)  # the store answers with what is durable, which is less than both
    assert len(world.offers) == count
    world.sync()
    world.advance(1.0)
    world.work()
    assert world.names == ["c.csv"]
    assert world.offers[-1].seq == 12


def test_given_a_lost_planned_when_no_other_comes_then_the_repeated_offer_brings_it_to_light() -> None:
    world = ready(World(), "a.csv", "b.csv")
    world.plan(1, lost=True)
    world.sync()
    world.advance(6.0)  # the offer is repeated; the broker sees that it is stale
    world.work()
    world.advance(1.0)
    world.work()
    assert world.names == ["b.csv"]


def test_given_an_old_offer_when_the_store_is_silent_then_the_actor_sleeps_between_its_queries() -> None:
    world = ready(World(), "a.csv")
    world.meet()
    count = len(world.sent)
    world.advance(20.0)  # raises when the deadline does not move
    assert len(world.sent) - count == 20 + 10  # a heartbeat each second, a query every two


def test_given_a_planned_while_the_ledger_is_read_when_it_is_complete_then_it_is_part_of_it() -> None:
    world = ready(World(), "a.csv", "b.csv")
    world.meet()  # the link was lost: read again
    assert world.orders
    world.plan(1)  # not durable yet: the page cannot hold it
    world.work()
    assert world.names == ["b.csv"]


def test_given_a_cancel_when_its_release_arrives_then_the_positions_are_offered_again_once_it_is_durable() -> None:
    world = ready(World(), "a.csv", "b.csv")
    world.plan(1)
    world.sync()
    assert world.names == ["b.csv"]
    world.cancel()
    world.work(1)
    assert world.offers[-1].seq < 12  # the page was older than the cancel
    world.sync()
    world.advance(1.0)
    world.work()
    world.advance(2.0)  # it is a file found again: its close is not remembered
    world.work()
    assert world.names == ["a.csv", "b.csv"]
    assert world.offers[-1].seq == 12


def test_given_a_cancelled_plan_when_its_message_comes_a_second_time_then_the_positions_stay_offered() -> None:
    world = ready(World(), "a.csv", "b.csv")
    (position,) = world.pending[:1]
    world.plan(1)
    repeated = Planned(world.epoch, "p", "files", world.seq, world.seq, [position], world.seq - 1)
    world.cancel()
    world.sync()
    for _ in range(3):
        world.advance(2.0)
        world.work()
    assert world.names == ["a.csv", "b.csv"]
    world.give(BROKER, repeated)
    world.work()
    assert world.names == ["a.csv", "b.csv"]


def test_given_a_changed_file_when_it_is_planned_again_as_it_is_then_that_is_no_problem_any_more() -> None:
    world = ready(World(), "a.csv")
    world.plan(1)
    world.sync()
    world.append("a.csv")
    world.advance(15.0)
    world.work()
    world.advance(1.0)
    world.work()
    assert world.problems[-1] == [
        f"file a.csv changed after it was read (iteration 11); {NEW_NAME}; {FAILED_11}{LONGER}"
    ]
    found = world.found("a.csv")
    position = file_position("a.csv", found.size, found.mtime_ns, found.inode, generation=2)
    world.give(BROKER, Planned(world.epoch, "p", "files", world.seq + 1, 2, [position], world.seq))
    world.work()
    assert world.problems[-1] == []


def test_given_a_new_epoch_when_a_plan_was_not_durable_then_its_positions_are_offered_again() -> None:
    world = ready(World(), "a.csv", "b.csv")
    world.plan(1)
    assert world.names == ["b.csv"]
    world.crash()
    world.work()
    world.advance(2.0)  # it is a file found again: its close is not remembered
    world.work()
    assert world.names == ["a.csv", "b.csv"]
    assert (world.offers[-1].epoch, world.offers[-1].seq) == (2, 10)


def test_given_messages_of_another_epoch_when_they_arrive_then_older_are_ignored_and_newer_bring_hello() -> None:
    world = ready(World(), "a.csv")
    world.crash()
    world.work()
    count = len(world.offers)
    position = world.offers[-1].positions
    world.give(BROKER, Planned(1, "p", "files", 99, 9, position), Released(1, "p", "files", 98), Sources(1, []))
    assert len(world.offers) == count
    assert list(world.actor.sources) == [KEY]
    world.give(BROKER, Planned(7, "p", "files", 99, 9, position))
    assert isinstance(world.sent[-1], Hello)
    assert len(world.offers) == count
    world.give(BROKER, Welcome(1, 0, "s"))
    assert world.actor.epoch == 2


def test_given_a_stale_page_when_it_comes_twice_or_late_then_it_does_no_harm() -> None:
    world = ready(World(), "a.csv")
    world.plan(1)
    world.give(STORE, LedgerPage("p", "files", "live", "", [], "", 10), LedgerPage("x", "y", "live", "", [], "", 10))
    assert world.names == []


# --- offers -------------------------------------------------------------------------------------------------------


def test_given_more_files_than_credit_when_offered_then_the_oldest_come_first_and_late_ones_are_not_lost() -> None:
    world = World()
    for number, age in enumerate([50.0, 60.0, 40.0, 90.0]):
        world.create(f"f{number}.csv", age=age)
    world.work()
    assert world.names == ["f3.csv", "f1.csv", "f0.csv"]
    world.plan(3)
    assert world.names == ["f2.csv"]
    world.create("late.csv", age=1000.0)
    world.work()
    assert world.names == ["late.csv", "f2.csv"]


def test_given_files_in_the_order_of_their_names_then_their_times_decide_nothing() -> None:
    world = World(source_spec("/data", credit=3, order="name"))
    for name, age in (("f10.csv", 50.0), ("f2.csv", 90.0), ("f1.csv", 40.0)):
        world.create(name, age=age)
    world.work()
    assert world.names == ["f1.csv", "f10.csv", "f2.csv"]
    world.create("f0.csv", age=1.0)
    world.work()
    assert world.names == ["f0.csv", "f1.csv", "f10.csv"]
    world.append("f10.csv")
    world.finish("f10.csv")
    world.work()
    world.plan(3)
    assert world.names == ["f2.csv"]


def test_given_an_unchanged_set_when_nothing_happens_then_the_offer_is_repeated_every_5_seconds_only() -> None:
    world = ready(World(), "a.csv")
    count = len(world.offers)
    world.advance(4.0)
    assert len(world.offers) == count
    world.advance(1.5)
    assert len(world.offers) == count + 1
    assert world.offers[-1] == world.offers[-2]


def test_given_more_credit_when_sources_are_told_again_then_more_is_offered_and_nothing_is_scanned_again() -> None:
    world = ready(World(), "a.csv", "b.csv", "c.csv", "d.csv")
    assert len(world.names) == 3
    world.give(BROKER, Sources(1, [source_spec("/data", credit=4)]))
    assert len(world.names) == 4
    assert not world.orders


def test_given_a_changed_source_when_sources_are_told_then_the_former_is_forgotten_and_its_answers_are_void() -> None:
    world = ready(World(), "a.csv")
    world.give(BROKER, Sources(1, [source_spec("/other", credit=4)]))
    assert Forget(KEY) in world.orders
    count = len(world.offers)
    world.give(LOCAL, Scanned(KEY, 1, [world.found("a.csv")], done=True, watched=True))
    assert len(world.offers) == count
    assert not world.actor.sources[KEY].files.known
    world.give(BROKER, Sources(1, []))
    assert not world.actor.sources


def test_given_a_list_of_sources_that_a_newer_one_has_overtaken_then_it_ends_nothing() -> None:
    world = ready(World(), "a.csv")
    spec = source_spec("/data", credit=4)
    world.give(BROKER, Sources(1, [spec], 3), Sources(1, [], 2))
    assert list(world.actor.sources) == [KEY]
    world.give(BROKER, Sources(1, [spec], 3), Sources(1, [], 4))
    assert not world.actor.sources
    world.give(BROKER, Welcome(2, 0, "s"), Sources(2, [spec], 1))  # another broker counts anew
    assert list(world.actor.sources) == [KEY]


# --- readiness ----------------------------------------------------------------------------------------------------


def test_given_a_young_file_when_its_event_was_lost_then_it_is_offered_once_it_is_stable_for_settle() -> None:
    world = ready(World())
    world.create("a.csv", lost=True)
    world.overflow()
    world.work()
    assert world.names == []
    world.advance(1.9)
    world.work()
    assert world.names == []
    world.advance(0.2)
    world.work()
    assert world.names == ["a.csv"]


def test_given_an_mtime_in_the_future_when_the_file_is_stable_then_it_is_offered_after_settle() -> None:
    world = World()
    world.create("a.csv", lost=True, age=-1e6)
    world.work()
    assert world.names == []
    world.advance(2.1)
    world.work()
    assert world.names == ["a.csv"]


def test_given_a_writer_when_its_close_is_lost_then_the_file_is_offered_after_a_long_stability_only() -> None:
    world = ready(World())
    world.begin("a.csv")
    world.append("a.csv")
    world.work()
    world.finish("a.csv", lost=True)
    for _ in range(29):
        world.advance(1.0)
        world.work()
    assert world.names == []
    for _ in range(3):
        world.advance(1.0)
        world.work()
    assert world.names == ["a.csv"]


def test_given_an_answer_from_before_the_close_when_it_comes_after_it_then_the_half_file_is_not_offered() -> None:
    world = ready(World())
    world.begin("a.csv")
    world.append("a.csv")
    asked = [order for order in world.orders if isinstance(order, Stat)][-1]
    half = world.found("a.csv")
    world.append("a.csv")
    world.finish("a.csv")
    world.give(LOCAL, Stated(KEY, asked.number, [half], []))
    assert world.names == []
    world.work()
    assert world.names == ["a.csv"]
    assert world.offers[-1].positions[0].size == 2


def test_given_a_ready_file_when_it_is_opened_again_then_its_offer_is_withdrawn_until_the_close() -> None:
    world = ready(World(), "a.csv")
    assert world.names == ["a.csv"]
    world.files["a.csv"].open = True
    world.append("a.csv")
    assert world.names == []
    world.finish("a.csv")
    world.work()
    assert world.names == ["a.csv"]


def test_given_a_file_that_was_opened_again_but_not_changed_when_offered_then_it_is_offered_once() -> None:
    world = ready(World(), "a.csv")
    world.event("a.csv", "modified")
    world.event("a.csv", "closed")
    world.work()
    assert world.names == ["a.csv"]


def test_given_a_burst_of_hints_when_flushed_then_one_stat_asks_for_just_these() -> None:
    world = ready(World(), "old.csv")
    for number in range(5):
        world.files[f"f{number}.csv"] = world.files["old.csv"]
    world.give(LOCAL, *[FileEvent(KEY, f"f{n}.csv", "closed") for n in range(5) for _ in range(2)])
    assert [order.identities for order in world.orders if isinstance(order, Stat)] == [[f"f{n}.csv" for n in range(5)]]
    assert not any(isinstance(order, Scan) for order in world.orders)


@pytest.mark.parametrize(("watched", "pause"), [(True, 10.0), (False, 1.0)])
def test_given_a_watcher_or_none_when_time_passes_then_the_folder_is_scanned_every_10_or_1_seconds(
    watched: bool, pause: float
) -> None:
    world = World()
    world.watched = watched
    world.work()
    world.advance(pause - 0.1)
    assert not any(isinstance(order, Scan) for order in world.orders)
    world.advance(0.2)
    assert any(isinstance(order, Scan) for order in world.orders)


def test_given_a_slow_scan_when_it_is_done_then_the_next_waits_nine_times_as_long() -> None:
    world = World()
    world.work(1)
    world.advance(4.0)
    world.work()
    world.advance(35.0)
    assert not any(isinstance(order, Scan) for order in world.orders)
    world.advance(1.1)
    assert any(isinstance(order, Scan) for order in world.orders)


# --- runs and batch sources ---------------------------------------------------------------------------------------


def test_given_an_idle_source_when_a_run_asks_then_only_what_was_there_when_it_began_is_offered() -> None:
    world = World(source_spec("/data", credit=2, idle=True))
    for name in ("a.csv", "b.csv", "c.csv"):
        world.create(name, age=100.0)
    world.begin("slow.csv")
    world.work()
    assert not world.offers
    world.discover("r1")
    world.work()
    world.create("later.csv", age=50.0)
    world.work()
    assert world.names == ["a.csv", "b.csv"]
    assert not world.offers[-1].exhausted
    world.plan(2)
    assert world.names == ["c.csv"]
    assert not world.offers[-1].exhausted
    world.finish("slow.csv")
    world.work()
    assert world.names == ["c.csv", "slow.csv"]
    assert world.offers[-1].exhausted
    world.plan(2)
    assert world.names == []
    assert world.offers[-1].exhausted
    assert world.offers[-1].run == "r1"
    world.discover("r2")
    world.work()
    assert world.names == ["later.csv"]
    assert world.offers[-1].run == "r2"


def test_given_a_run_when_a_file_of_its_snapshot_vanishes_then_it_is_given_up() -> None:
    world = World(source_spec("/data", idle=True))
    world.begin("a.csv")
    world.work()
    world.discover("r1")
    world.work()
    assert not world.offers[-1].exhausted
    del world.files["a.csv"]
    world.advance(11.0)
    world.work()
    assert world.names == []
    assert world.offers[-1].exhausted


def test_given_a_run_with_nothing_to_do_when_it_asks_then_an_empty_exhausted_offer_says_so() -> None:
    world = World(source_spec("/data", idle=True))
    world.work()
    world.discover("r1")
    world.work()
    assert world.offers[-1].positions == []
    assert world.offers[-1].exhausted
    assert world.offers[-1].run == "r1"


def test_given_a_reference_when_no_run_asks_then_it_is_told_of_all_the_same() -> None:
    """A dead letter that is replayed between runs reads it."""
    world = World(source_spec("/data", mode="batch", idle=True))
    world.create("ref.csv", age=100.0)
    world.work()
    assert world.names == ["ref.csv"]


def test_given_a_file_that_is_asked_for_when_the_scan_is_done_first_then_the_run_waits_for_the_answer() -> None:
    world = ready(World())
    world.create("b.csv")
    world.discover("look")
    world.orders.sort(key=lambda order: isinstance(order, Stat))
    world.work(1)  # the scan, which leaves b.csv to the answer that is on the way
    assert not any(offer.run == "look" and offer.exhausted for offer in world.offers)
    world.work()
    assert (world.names, world.offers[-1].run, world.offers[-1].exhausted) == (["b.csv"], "look", True)


def test_given_a_reference_that_gets_a_file_when_a_run_looks_then_no_offer_is_without_it() -> None:
    world = World(source_spec("/data", mode="batch", idle=True))
    world.create("a.csv", age=100.0)
    world.work()
    world.create("b.csv")
    world.discover("look")
    while world.orders:  # the question that the event has raised is answered last of all
        world.orders.sort(key=lambda order: isinstance(order, Stat) and "b.csv" in order.identities)
        world.work(1)
    assert all(len(offer.positions) == 2 for offer in world.offers if offer.run == "look" and offer.exhausted)
    assert (world.names, world.offers[-1].exhausted) == (["a.csv", "b.csv"], True)


@pytest.mark.parametrize("kind", ["moved", "closed"])
def test_given_a_ready_file_that_is_replaced_when_a_run_looks_then_the_former_one_is_not_offered(
    kind: FileEventKind,
) -> None:
    """What it looked like before, which would fail as soon as it is read."""
    world = World(source_spec("/data", idle=True))
    world.create("a.csv", age=100.0)
    world.work()
    world.replace("a.csv", lost=True)
    world.event("a.csv", kind)
    world.discover("look")
    world.orders.sort(key=lambda order: isinstance(order, Stat))
    world.work(1)  # the scan is done before the question that the event has raised is answered
    assert not any(offer.positions for offer in world.offers)
    world.work()
    assert [p.identity for p in world.offers[-1].positions] == ["a.csv"]  # as it is: the world looks at each offer


def test_given_a_live_source_when_a_run_asks_then_new_files_go_on_and_exhausted_waits_for_the_scan() -> None:
    world = ready(World(), "a.csv")
    world.discover("r1")
    assert world.names == ["a.csv"]
    assert not world.offers[-1].exhausted
    world.work()
    world.create("b.csv")
    world.work()
    assert world.names == ["a.csv", "b.csv"]
    assert world.offers[-1].exhausted


def test_given_a_batch_source_when_files_are_there_then_one_offer_holds_all_of_them_with_digests() -> None:
    world = World(source_spec("/data", credit=1, mode="batch"))
    world.create("b.csv", age=100.0, size=2)
    world.create("a.csv", age=100.0, size=1)
    world.work()
    assert [(p.identity, p.digest) for p in world.offers[-1].positions] == [
        ("a.csv", f"{1:032x}"),
        ("b.csv", f"{2:032x}"),
    ]
    assert not any(isinstance(m, LedgerQuery) for m in world.sent)
    world.begin("c.csv")
    world.work()
    count = len(world.offers)
    world.append("c.csv")
    world.finish("c.csv")
    assert len(world.offers) == count  # nothing incomplete is offered
    asked: list[str] = []
    while world.orders:
        asked += [f.identity for order in world.orders[:1] if isinstance(order, Digest) for f in order.files]
        world.work(1)
    assert world.names == ["a.csv", "b.csv", "c.csv"]
    assert asked == ["c.csv"]  # what has not changed is not digested again


# --- joining, leaving, telling ------------------------------------------------------------------------------------


def test_given_a_batch_source_when_listed_then_its_files_are_known_and_none_waits_to_be_planned() -> None:
    world = ready(World(source_spec("/data", mode="batch")), "a.csv", "b.csv")
    (row,) = ask(world, "source.list").result["items"]
    assert (row["known"], row["pending"], row["waiting"]) == (2, None, 0)
    (item,) = ask(world, "source.why", file="a.csv").result["items"]
    assert (item["state"], item["reason"]) == (
        "reference", "read whole by every iteration, as it is when that is planned"
    )  # fmt: skip


def test_given_a_batch_source_when_the_broker_says_look_again_then_digests_are_taken_again() -> None:
    world = ready(World(source_spec("/data", mode="batch")), "a.csv")
    world.work()
    assert world.names == ["a.csv"]
    world.sent.clear()
    world.discover("")
    assert [order.files for order in world.orders if isinstance(order, Digest)] == [[world.found("a.csv")]]
    assert [m.positions for m in world.sent if isinstance(m, Offer)] == [[]], "what was offered is not what is there"
    world.work()
    assert world.names == ["a.csv"]


def test_given_a_reference_that_is_another_when_digested_at_once_then_it_is_looked_at_and_offered() -> None:
    world = ready(World(source_spec("/data", mode="batch")), "a.csv")
    world.work()
    world.discover("")  # the digest is to be taken again
    world.files["a.csv"].inode += 1  # renamed over, and nobody tells
    for _ in range(40):  # a driver that answers of digests before all else
        world.orders.sort(key=lambda order: not isinstance(order, Digest))
        world.work(1)
    assert world.orders == [], "one question makes the answer to the other void, for ever"
    world.advance(5.0)
    world.work()
    assert [file_times(one.detail).inode for one in world.offers[-1].positions] == [world.files["a.csv"].inode]


def test_given_no_welcome_when_connected_then_hello_is_repeated_and_then_the_heartbeat_begins() -> None:
    actor = SourceActor("i", "h", 1)
    assert actor.start(0.0) == []
    assert actor.deadline() is None
    assert [e.message for e in actor.handle(LOCAL, Connected(), 0.0)] == [Hello("source", "i", "h", 1)]  # type: ignore[attr-defined]
    actor.handle(LOCAL, Tick(), 1.0)
    assert [type(e.message) for e in actor.flush(1.0)] == [Hello]  # type: ignore[attr-defined]
    actor.handle(BROKER, Welcome(3, 0, "s"), 1.5)
    assert [e.message for e in actor.flush(2.0)] == [Heartbeat(3)]  # type: ignore[attr-defined]
    assert [type(e.message) for e in actor.handle(BROKER, WhoAreYou(), 2.5)] == [Hello]  # type: ignore[attr-defined]


@pytest.mark.parametrize("message", [Terminate(), Shutdown()])
def test_given_the_end_when_told_then_bye_is_said_and_the_actor_stops_on_the_answer_or_without_it(
    message: Terminate | Shutdown,
) -> None:
    for answered in (True, False):
        world = ready(World(), "a.csv")
        world.give(BROKER, message)
        assert isinstance(world.sent[-1], Bye)
        effects = (
            world.actor.handle(BROKER, ByeAck(), world.now)
            if answered
            else world.actor.flush(world.actor.deadline() or 0.0)
        )
        assert [e.code for e in effects if isinstance(e, Stop)] == [0]


def test_given_a_second_signal_or_a_refusal_when_it_comes_then_the_actor_stops_at_once() -> None:
    assert SourceActor("i", "h", 1).handle(LOCAL, Terminate(at_once=True), 0.0) == [Stop(0, "terminated")]
    refused = SourceActor("i", "h", 1).handle(BROKER, Refused("a second source"), 0.0)
    assert refused == [Stop(70, "refused by the broker: a second source")]


def ask(world: World, verb: str, **params: object) -> Reply:
    effects = world.actor.handle("client-1", Request("1", verb, params), world.now)
    reply = effects[0].message  # type: ignore[attr-defined]
    assert isinstance(reply, Reply)
    return reply


def test_given_a_whole_path_when_asked_why_then_no_file_of_another_folder_is_meant() -> None:
    world = World(source_spec("/data", credit=3, path="shop"))
    for file, reason in (
        ("/data/web/a.csv", "it is not below /data/shop/"),
        ("/data/a.csv", "it is not below /data/shop/"),
    ):
        (item,) = ask(world, "source.why", file=file).result["items"]
        assert (item["state"], item["reason"], item["path"]) == ("ignored", reason, "")


def test_given_the_cli_when_it_asks_then_list_and_why_tell_states_and_reasons() -> None:
    world = ready(World(), "a.csv", "b.csv")
    world.plan(1)
    world.begin("slow.csv")
    world.work()
    row = ask(world, "source.list").result["items"][0]
    assert row.pop("listed_in") >= 0
    assert row == {
        "pipeline": "p",
        "source": "files",
        "lane": "live",
        "mode": "file_watch",
        "consumption": "set",
        "path": ".",
        "pattern": "*.csv",
        "known": 1,
        "pending": 1,
        "waiting": 1,
        "listings": 1,
        "problems": [],
    }

    def why(file: str) -> tuple[str, str]:
        item = ask(world, "source.why", file=file).result["items"][0]
        return item["state"], item["reason"]

    assert why("a.csv") == ("planned", "planned in iteration 11")
    assert why("/data/b.csv") == ("pending", "ready, not planned yet")
    assert why("slow.csv")[0] == "waiting"
    assert why("x.txt") == ("ignored", "x.txt does not match pattern *.csv")
    assert why("/elsewhere/b.csv") == ("ignored", "it is not below /data/")
    assert ask(world, "source.why", file="no.csv").status == 3
    assert ask(world, "source.why").status == 2
    assert ask(world, "source.dance").status == 2


@pytest.mark.parametrize("read", [{"path": "../x"}, {"path": "/etc"}, {"pattern": "../*.csv"}])
def test_given_an_unsafe_folder_or_pattern_when_told_then_it_is_a_problem_and_nothing_is_scanned(
    read: dict[str, str],
) -> None:
    world = World(source_spec("/data", **read))  # type: ignore[arg-type]
    world.work()
    world.advance(30.0)
    assert "connection's folder" in world.problems[-1][0]
    assert not any(isinstance(order, Scan) for order in world.orders)


def test_given_a_planned_file_that_changed_when_seen_again_then_the_problem_is_told_once_and_to_a_new_broker() -> None:
    world = ready(World(), "a.csv")
    world.plan(1)
    world.sync()
    world.files["a.csv"].size = 99
    world.advance(11.0)
    world.work()
    world.advance(11.0)
    world.work()
    assert world.problems == [[f"file a.csv changed after it was read (iteration 11); {NEW_NAME}; {FAILED_11}{LONGER}"]]
    world.sync()
    world.crash()
    world.work()
    assert len(world.problems) == 2
    assert not any(
        p.identity == "a.csv"
        for offer in world.offers
        if isinstance(offer, Offer) and offer.seq > 10
        for p in offer.positions
    )
