"""One folder, several lanes: a backfill reads again what was read, a schedule's files start a run each, once."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from odibi_actors.actor import Send
from odibi_actors.messages import (
    BROKER,
    LOCAL,
    STORE,
    Connected,
    Discover,
    LedgerPage,
    LedgerQuery,
    LedgerRow,
    LedgerRows,
    Message,
    Offer,
    Planned,
    Released,
    Reply,
    Request,
    SourceProblem,
    Sources,
    Tick,
    Welcome,
)
from odibi_actors.sources.file_position import file_position
from odibi_actors.streaming.actor import NUMBERS, SourceActor
from odibi_actors.streaming.changes import FAILED, LONGER, NEW_NAME
from odibi_actors.streaming.effects import FileEvent, Forget, Found, Scan, Scanned, Stated
from tests.streaming.harness import source_spec
from tests.streaming.world import World

FAILED_11 = FAILED.format("p", 11)

BACKFILL = "backfill-7"


def first_scan(nth: int) -> int:
    """The number of the first scan of an actor's nth source."""
    return nth * NUMBERS + 1


def backfill(*names: str, credit: int = 2, **read: object) -> World:
    """A backfill in whose folder these files lie, asked for its run."""
    world = World(source_spec("/data", credit=credit, lane=BACKFILL, **read))  # type: ignore[arg-type]
    for name in names:
        world.create(name, age=100.0)
    world.work()
    assert not world.offers
    world.discover("b1")
    world.work()
    return world


def trigger(*names: str) -> World:
    """A schedule ``arrivals`` that waits for files; these came, and each has set it off."""
    world = World(source_spec("/data", credit=3, lane="trigger", name="arrivals"))
    world.work()
    for name in names:
        world.create(name)
        world.work()
        world.plan(1)
    world.sync()
    return world


def ask(world: World, verb: str, sender: str = "client-1", **params: object) -> Reply:
    (effect,) = world.actor.handle(sender, Request("1", verb, params), world.now)
    reply = effect.message  # type: ignore[attr-defined]
    assert isinstance(reply, Reply)
    return reply


def why(world: World, file: str) -> tuple[str, str, str]:
    (item,) = ask(world, "source.why", file=file).result["items"]
    return item["lane"], item["state"], item["reason"]


# --- backfills ----------------------------------------------------------------------------------------------------


def test_given_a_backfill_when_its_run_asks_then_what_was_there_is_offered_once_and_what_comes_later_is_not() -> None:
    world = backfill("a.csv", "b.csv", "c.csv")
    assert (world.names, world.offers[-1].left, world.offers[-1].exhausted) == (["a.csv", "b.csv"], 3, False)
    world.create("later.csv", age=50.0)
    world.work()
    world.plan(2)
    assert (world.names, world.offers[-1].left, world.offers[-1].exhausted) == (["c.csv"], 1, True)
    world.plan(1)
    assert (world.names, world.offers[-1].left, world.offers[-1].exhausted) == ([], 0, True)
    assert {(offer.lane, offer.run) for offer in world.offers} == {(BACKFILL, "b1")}
    assert why(world, "a.csv") == (BACKFILL, "planned", "backfill-7: planned in iteration 11")
    told = "backfill-7: it was not there, or not read by the live lane, when the backfill began"
    assert why(world, "later.csv") == (BACKFILL, "ignored", told)


def test_given_files_that_live_had_not_taken_when_a_backfill_looks_then_they_are_no_files_of_it() -> None:
    """Also after a restart of the source, when what the run found first is forgotten."""
    actor = SourceActor("i1", "host", 1)
    spec = replace(source_spec("/data", lane=BACKFILL), through=5, since=12)
    found = [Found(name, 1, 5, 1) for name in ("a.csv", "b.csv", "new.csv")]
    told: list[Message] = []
    taken = [file_position(name, 1, 5, 1) for name in ("a.csv", "b.csv")]
    messages: list[tuple[str, Message]] = [
        (BROKER, Connected()),
        (BROKER, Welcome(1, 10, "s")),
        (BROKER, Sources(1, [spec])),
        (BROKER, Discover(1, "p", "b1", BACKFILL)),
        (STORE, LedgerPage("p", "files", BACKFILL, "", [], "", 12)),
        (STORE, LedgerPage("p", "files", "live", "", taken[:1], "", 11, 5)),  # before the backfill was durable
        (STORE, LedgerPage("p", "files", "live", "", taken[:1], "", 12, 4)),  # of another one
        (LOCAL, Tick()),
        (STORE, LedgerPage("p", "files", "live", "", taken[:1], "a.csv", 12, 5)),
        (STORE, LedgerPage("p", "files", "live", "a.csv", taken[1:], "", 12, 5)),
        (LOCAL, Scanned("p/files/backfill-7", first_scan(1), found, done=True)),
        (LOCAL, Stated("p/files/backfill-7", first_scan(1) + 1, found[:2], [])),
        (LOCAL, Tick()),
    ]
    scans = []
    for number, (sender, message) in enumerate(messages):
        now = 1000.0 + 0.2 * number
        effects = actor.handle(sender, message, now) + actor.flush(now)
        scans += [number for effect in effects if isinstance(effect, Scan)]
        told += [effect.message for effect in effects if isinstance(effect, Send)]
    assert scans == [9]  # not before it knows what live had taken
    assert [m.through for m in told if isinstance(m, LedgerQuery) and m.lane == "live"][-2:] == [5, 5]
    offers = [m for m in told if isinstance(m, Offer)]
    assert [p.identity for p in offers[-1].positions] == ["a.csv", "b.csv"]
    assert offers[-1].exhausted
    (effect,) = actor.handle("c", Request("1", "source.why", {"file": "new.csv"}), 1010.0)
    assert isinstance(effect, Send)
    assert isinstance(effect.message, Reply)
    (item,) = effect.message.result["items"]
    assert item["state"] == "ignored"
    assert "the live lane had not read it when the backfill began" in item["reason"]


def test_given_a_file_planned_in_live_when_it_changed_then_only_live_calls_that_a_problem() -> None:
    actor = SourceActor("i1", "host", 1)
    both = [source_spec("/data"), source_spec("/data", lane=BACKFILL)]
    found = [Found("a.csv", 99, 5, 1)]
    told: list[Message] = []
    messages: list[tuple[str, Message]] = [
        (BROKER, Connected()),
        (BROKER, Welcome(1, 10, "s")),
        (BROKER, Sources(1, both)),
        (BROKER, Discover(1, "p", "b1", BACKFILL)),
        (STORE, LedgerPage("p", "files", "live", "", [file_position("a.csv", 1, 5, 1)], "", 10)),
        (STORE, LedgerPage("p", "files", BACKFILL, "", [], "", 10)),
        (LOCAL, Scanned("p/files", first_scan(1), found, done=True)),
        (LOCAL, Scanned("p/files/backfill-7", first_scan(2), found, done=True)),
        (LOCAL, Stated("p/files/backfill-7", first_scan(2) + 1, found, [])),
        (LOCAL, Tick()),
        (STORE, LedgerRows("p", "files", "live", 1, [LedgerRow(file_position("a.csv", 1, 5, 1), 7, "read")], 10)),
    ]
    for number, (sender, message) in enumerate(messages):
        now = 1000.0 + 0.1 * number
        effects = actor.handle(sender, message, now) + actor.flush(now)
        told += [effect.message for effect in effects if isinstance(effect, Send)]
    problem = f"file a.csv changed after it was read (iteration 7); {NEW_NAME}; {FAILED.format('p', 7)}{LONGER}"
    assert [m for m in told if isinstance(m, SourceProblem)] == [SourceProblem("p", "files", [problem], "live")]
    offers = [m for m in told if isinstance(m, Offer)]
    assert [(o.lane, [p.size for p in o.positions]) for o in offers] == [("live", []), (BACKFILL, [99])]
    told.clear()
    read = LedgerRow(file_position("a.csv", 99, 5, 1), 9, "read")
    messages = [
        (BROKER, Sources(1, both[:1], 1)),  # the backfill has ended
        (LOCAL, Stated("p/files", first_scan(1) + 1, found, [])),
        (LOCAL, Tick()),
        (LOCAL, Scanned("p/files", first_scan(1) + 2, found, done=True)),
        (LOCAL, Tick()),
        (STORE, LedgerRows("p", "files", "live", 3, [read], 10)),
        (LOCAL, Tick()),
    ]
    for number, (sender, message) in enumerate(messages):
        now = 1002.0 + 0.3 * number
        effects = actor.handle(sender, message, now) + actor.flush(now)
        told += [effect.message for effect in effects if isinstance(effect, Send)]
    assert [m for m in told if isinstance(m, SourceProblem)] == [SourceProblem("p", "files", [], "live")]


def test_given_a_file_planned_in_a_backfill_when_it_changed_then_that_is_a_problem_of_the_backfill() -> None:
    world = backfill("a.csv")
    world.plan(1)
    world.sync()
    world.files["a.csv"].size = 99
    world.advance(11.0)
    world.work()
    world.advance(1.0)
    world.work()
    assert world.problems == [[f"file a.csv changed after it was read (iteration 11); {NEW_NAME}; {FAILED_11}{LONGER}"]]


def test_given_a_batch_source_in_a_backfill_when_its_run_asks_then_the_whole_set_is_offered_with_digests() -> None:
    world = World(source_spec("/data", credit=1, lane=BACKFILL, mode="batch"))
    world.create("b.csv", age=100.0, size=2)
    world.create("a.csv", age=100.0, size=1)
    world.discover("b1")
    world.work()
    offer = world.offers[-1]
    assert [(p.identity, p.digest) for p in offer.positions] == [("a.csv", f"{1:032x}"), ("b.csv", f"{2:032x}")]
    assert (offer.run, offer.lane, offer.exhausted, offer.left) == ("b1", BACKFILL, True, 2)
    assert not any(isinstance(message, LedgerQuery) for message in world.sent)


# --- schedules that wait for files --------------------------------------------------------------------------------


def test_given_a_trigger_when_files_come_then_each_is_offered_once_and_one_that_changes_later_is_no_problem() -> None:
    world = trigger("a.csv", "b.csv")
    assert world.names == []
    world.append("a.csv")
    world.finish("a.csv")
    world.files["b.csv"].size = 99
    world.advance(11.0)
    world.work()
    world.crash()
    world.advance(11.0)
    world.work()
    assert world.problems == []
    assert world.names == []
    assert why(world, "a.csv") == (
        "trigger",
        "planned",
        "schedule arrivals: it has set this schedule off, which each file does once",
    )


def test_given_a_trigger_when_a_file_is_ready_then_why_says_what_it_waits_for() -> None:
    world = trigger()
    world.create("a.csv")
    world.work()
    assert why(world, "a.csv") == ("trigger", "pending", "schedule arrivals: ready, about to set this schedule off")
    assert why(world, "a.txt")[1:] == ("ignored", "schedule arrivals: a.txt does not match pattern *.csv")
    answer = ask(world, "source.why", file="no.csv")
    assert (answer.status, "p/arrivals/trigger: schedule arrivals: no such file" in answer.error) == (3, True)
    row = ask(world, "source.list").result["items"][0]
    assert (row["source"], row["lane"], row["pending"]) == ("arrivals", "trigger", 1)


# --- lanes side by side -------------------------------------------------------------------------------------------


def test_given_a_live_source_and_a_backfill_of_it_when_orders_come_then_each_lane_has_its_own() -> None:
    world = World()
    world.create("a.csv", age=100.0)
    both = [world.spec, source_spec("/data", lane=BACKFILL), source_spec("/data", lane="trigger")]
    world.give(BROKER, Sources(1, both))
    live, again, trigger = world.actor.sources.values()
    assert [one.key for one in (live, again, trigger)] == ["p/files", "p/files/backfill-7", "p/files/trigger"]
    asked = [(m.source, m.lane) for m in world.sent if isinstance(m, LedgerQuery)]
    assert asked == [("files", "live"), ("files", BACKFILL), ("files", "trigger")]
    position = file_position("a.csv", 1, 2, 3)
    world.give(STORE, LedgerPage("p", "files", BACKFILL, "", [position], "", 10))
    assert [one.ledger.loaded for one in (live, again, trigger)] == [False, True, False]
    world.give(
        STORE, LedgerPage("p", "files", "live", "", [], "", 10), LedgerPage("p", "files", "trigger", "", [], "", 10)
    )
    world.give(BROKER, Planned(1, "p", "files", 12, 3, [file_position("b.csv", 1, 2, 3)], 10, BACKFILL))
    assert [one.ledger.seq for one in (live, again, trigger)] == [10, 12, 10]
    assert [sorted(one.ledger.index) for one in (live, again, trigger)] == [[], ["a.csv", "b.csv"], []]
    world.give(BROKER, Released(1, "p", "files", 13, "live"))
    assert [one.ledger.loaded for one in (live, again, trigger)] == [False, True, True]
    world.discover("r1")
    assert [one.run is not None for one in (live, again, trigger)] == [True, False, False]
    world.give(BROKER, Sources(1, [both[0], both[2]]))
    assert Forget("p/files/backfill-7") in world.orders
    assert list(world.actor.sources.values()) == [live, trigger]


@pytest.mark.parametrize("lane", ["backfill-9", "trigger", "", "live/x"])
def test_given_orders_for_a_lane_that_is_not_there_when_they_come_then_they_are_ignored(lane: str) -> None:
    world = World()
    world.create("a.csv", age=100.0)
    world.work()
    offers, orders = list(world.offers), list(world.orders)
    position = world.offers[-1].positions
    world.give(BROKER, Planned(1, "p", "files", 12, 3, position, 10, lane), Released(1, "p", "files", 13, lane))
    world.give(STORE, LedgerPage("p", "files", lane, "", position, "", 14))
    world.give(LOCAL, FileEvent(f"p/files/{lane}", "x.csv", "closed"))
    assert (world.offers, world.orders) == (offers, orders)
    assert world.names == ["a.csv"]


def test_given_more_files_than_credit_when_more_come_then_left_is_told_when_the_offer_is_repeated() -> None:
    world = World()
    for number in range(4):
        world.create(f"f{number}.csv", age=100.0 - number)
    world.work()
    assert (len(world.names), world.offers[-1].left) == (3, 4)
    count = len(world.offers)
    world.create("late.csv")
    world.work()
    assert len(world.offers) == count  # the same files are offered: they need not be told again
    world.advance(5.1)
    assert (len(world.offers), world.offers[-1].left) == (count + 1, 5)
    world.plan(3)
    assert world.offers[-1].left == 2


# --- source.match -------------------------------------------------------------------------------------------------


def test_given_planned_and_waiting_files_when_a_pattern_is_asked_for_then_all_that_match_are_counted() -> None:
    world = World(source_spec("/data", credit=3, path="in", pattern="**/*.csv"))
    for name, size in (("in/m/b1.csv", 1), ("in/m/b2.csv", 10), ("in/m/b3.csv", 100), ("in/c.csv", 1000)):
        world.create(name, age=100.0, size=size)
    world.work()
    world.plan(2)
    world.begin("in/m/b4.csv")
    world.work()

    def match(pattern: object, *aside: str) -> object:
        wanted = {"pipeline": "p", "source": "files", "pattern": pattern, "aside": list(aside)}
        return ask(world, "source.match", **wanted).result

    taken = sorted(world.actor.sources["p/files"].ledger.index)
    sizes = {name: world.files[name].size for name in taken}
    b = [name for name in taken if "/b" in name]
    found = {"files": len(b), "bytes": sum(sizes[name] for name in b), "first": b[0], "last": b[-1]}
    assert match("m/b*.csv") == {"pattern": "m/b*.csv", **found, "unread": 4 - len(b), "aside": 0}
    assert match("*/b*.csv") == {"pattern": "*/b*.csv", **found, "unread": 4 - len(b), "aside": 0}
    found = {"files": 2, "bytes": sum(sizes.values()), "first": taken[0], "last": taken[-1]}
    assert match("**") == {"pattern": "**", **found, "unread": 3, "aside": 0}
    assert match("**", taken[0]) == {
        "pattern": "**",
        **{"files": 1, "bytes": sizes[taken[1]], "first": taken[1], "last": taken[1]},
        **{"unread": 3, "aside": 1},
    }
    assert match("*.parquet") == {
        "pattern": "*.parquet",
        "files": 0,
        "bytes": 0,
        "first": "",
        "last": "",
        "unread": 0,
        "aside": 0,
    }


def test_given_a_pattern_below_the_connection_as_files_are_listed_then_it_matches_unless_the_folder_holds_another() -> (
    None
):
    world = World(source_spec("/data", credit=3, path="in", pattern="**/*.csv"))
    for name in ("in/a.csv", "in/m/b.csv"):
        world.create(name, age=100.0, size=1)
    world.work()

    def match(pattern: str) -> tuple[str, int]:
        found = ask(world, "source.match", pipeline="p", source="files", pattern=pattern, aside=[]).result
        return found["pattern"], found["files"] + found["unread"]

    assert match("in/a.csv") == ("a.csv", 1)
    assert match("in/m/*.csv") == ("m/*.csv", 1)
    assert match("inn/a.csv") == ("inn/a.csv", 0)
    world.create("in/in/a.csv", age=100.0, size=1)
    world.work()
    assert match("in/a.csv") == ("in/a.csv", 1)  # one below the source's folder goes first


def test_given_files_that_are_ready_when_a_source_is_shown_then_they_are_listed_oldest_first() -> None:
    world = World(source_spec("/data", credit=1, path="in", pattern="*.csv"))
    for age, name in ((1000.0, "in/b.csv"), (500.0, "in/a.csv")):
        world.create(name, age=age)
    world.work()
    shown = ask(world, "source.files", pipeline="p", source="files").result
    ready = "ready, not planned yet"
    assert shown["files"]["pending"] == [{"file": name, "reason": ready} for name in ("in/b.csv", "in/a.csv")]
    assert (shown["pending"], shown["more"]["pending"]) == (2, 0)


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("/data/*.csv", "'/data/*.csv' is absolute"),
        ("../*.csv", "'../*.csv' leaves the connection's folder"),
        ("a/../../b", "leaves"),
        ("", "a pattern is needed"),
        (".", "a pattern is needed"),
        (None, "a pattern is needed"),
        (7, "a pattern is needed"),
    ],
)
def test_given_a_pattern_that_cannot_be_when_asked_for_then_the_answer_says_why(pattern: object, says: str) -> None:
    world = World()
    world.work()
    answer = ask(world, "source.match", pipeline="p", source="files", pattern=pattern)
    assert (answer.status, says in answer.error) == (2, True), answer.error


def test_given_a_source_that_has_not_looked_yet_or_is_none_when_asked_for_then_no_wrong_number_is_told() -> None:
    world = World()
    params = {"pipeline": "p", "source": "files", "pattern": "*"}
    assert world.actor.handle(BROKER, Request("1", "source.match", params), world.now) == []  # it asks again
    assert ask(world, "source.match", **params).status == 4
    world.work()
    assert ask(world, "source.match", sender=BROKER, **params).status == 0
    assert ask(world, "source.match", pipeline="p", source="nobody", pattern="*").status == 3
    assert not any(isinstance(order, Scan) for order in world.orders)
