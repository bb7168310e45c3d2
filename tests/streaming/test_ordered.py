"""The finder of sources that are read in order: from places, and what is found behind them, to offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import pytest

from odibi_actors.actor import Effect, Log, Send
from odibi_actors.config.model import BatchSpec, ConnectionSpec, NodeSpec, ReadSpec
from odibi_actors.messages import Message, Offer, PlacesPage, PlacesQuery, Planned, SourceProblem, SourceSpec
from odibi_actors.model import LIVE, Position, Range, Reached
from odibi_actors.sources.growing.packed import PACKED
from odibi_actors.streaming.effects import Ahead, Begin, Part, Piece, Seen
from odibi_actors.streaming.ordered import PATIENCE, Ordered
from odibi_actors.streaming.ordered_views import gap
from odibi_actors.streaming.scan import LINK

READ = ReadSpec(ConnectionSpec("data", "local", "/data"), "csv", "log", consumption="cursor")
M = TypeVar("M")


def place(offset: int) -> bytes:
    return offset.to_bytes(8, "big")


def piece(lower: int, upper: int, partition: str = "a") -> Piece:
    one = Range(partition, place(lower), place(upper))
    return Piece(one, Position(f"{partition}:{lower}-{upper}", upper - lower, 1))


class World:
    """A finder, and a store and probe that a test speaks for. ``asked``, ``offers``: what it said, newest last."""

    def __init__(self, lane: str = LIVE, credit: int = 4, idle: bool = False) -> None:
        node = NodeSpec("log", read=READ)
        spec = SourceSpec("p", node, credit, lane, idle, 5 if lane != LIVE else -1, 0, BatchSpec())
        self.finder, self.now, self.sent = Ordered(spec, READ, "i", 100), 0.0, list[Effect]()
        self.finder.welcome(1, 10, 0.0)
        self.flush()

    def flush(self) -> None:
        self.sent += self.finder.flush(self.now)

    def messages(self, kind: type[M]) -> list[M]:
        return [one.message for one in self.sent if isinstance(one, Send) and isinstance(one.message, kind)]

    @property
    def asked(self) -> list[Ahead]:
        return [one for one in self.sent if isinstance(one, Ahead)]

    @property
    def offer(self) -> list[tuple[str, int, int]]:
        """The newest offer."""
        (*_, last) = self.messages(Offer)
        return [(r.partition, *(int.from_bytes(end, "big") for end in (r.lower, r.upper))) for r in last.ranges]

    def places(self, *items: Reached, seq: int = 10, through: int = -1, lane: str = LIVE) -> None:
        self.hear_store(PlacesPage("p", "log", lane, "", list(items), "", seq, through))

    def hear_store(self, message: Message) -> None:
        self.finder.told(message, self.now)
        self.flush()

    def finds(self, *parts: Part, skipped: Mapping[str, str] | None = None) -> None:
        """The probe answers the newest look."""
        self.finder.heard(Seen("p/log", self.asked[-1].number, list(parts), [*(skipped or {}).items()]), self.now)
        self.flush()

    def plans(self, *ranges: Piece, seq: int, previous: int) -> None:
        some = [one.position for one in ranges]
        of = Planned(1, "p", "log", seq, 1, some, previous, self.finder.spec.lane, [one.range for one in ranges])
        self.finder.planned(of, self.now)
        self.flush()

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.flush()


def a(*pieces: Piece, more: bool = False, end: int = 100) -> Part:
    return Part("a", list(pieces), more, place(end))


def test_given_places_then_it_looks_behind_them_and_offers_what_is_there_with_its_ranges() -> None:
    world = World()
    assert not world.asked
    world.places(Reached("a", place(3)))
    assert world.asked[-1].places == [Begin("a", place(3))]
    assert (world.asked[-1].credit, world.asked[-1].more) == (4, True)
    world.finds(a(piece(3, 5), piece(5, 9), end=9), Part("b", [piece(0, 2, "b")], False, place(2)))
    assert world.offer == [("a", 3, 5), ("b", 0, 2), ("a", 5, 9)], "in turns"


def test_given_a_plan_then_what_is_behind_it_is_offered_and_more_is_looked_for() -> None:
    world = World(credit=2)
    world.places()
    world.finds(a(piece(0, 2), piece(2, 4), more=True))
    world.plans(piece(0, 2), seq=11, previous=10)
    assert world.offer == [("a", 2, 4)]
    assert world.messages(Offer)[-1].seq == 11
    assert world.asked[-1].places == [Begin("a", place(4))], "behind what is known"
    world.finds(a(piece(4, 6), more=True))
    assert world.offer == [("a", 2, 4), ("a", 4, 6)]


def test_given_a_cancel_then_what_it_gave_back_is_offered_from_the_place_of_the_store() -> None:
    world = World()
    world.places()
    world.finds(a(piece(0, 2), piece(2, 4), piece(4, 6)))
    world.plans(piece(0, 2), piece(2, 4), seq=11, previous=10)
    world.finder.released(12, world.now)
    world.flush()
    world.places(Reached("a", place(2)), seq=11)  # before the cancel
    world.later(0.2)
    world.places(Reached("a", place(2)), seq=12)
    assert world.asked[-1].places == [Begin("a", place(2))]
    world.finds(a(piece(2, 6)))  # cut anew
    assert world.offer == [("a", 2, 6)]


def test_given_a_plan_whose_word_was_lost_then_places_are_read_again() -> None:
    world = World()
    world.places()
    world.finds(a(piece(0, 2), piece(2, 4), piece(4, 6)))
    asked = len(world.messages(PlacesQuery))
    world.plans(piece(2, 4), seq=12, previous=11)
    assert len(world.messages(PlacesQuery)) == asked + 1
    world.places(Reached("a", place(4)), seq=12)
    assert world.offer == [("a", 4, 6)]


def test_given_a_hole_then_it_is_looked_up_to_it_and_behind_it_once_that_is_planned() -> None:
    world = World()
    world.places(Reached("a", place(2), [(place(6), place(8))]))
    assert world.asked[-1].places == [Begin("a", place(2), place(6))]
    world.finds(a(piece(2, 6)))
    world.plans(piece(2, 6), seq=11, previous=10)
    assert world.finder.places.index["a"] == Reached("a", place(8), [])
    assert world.asked[-1].places == [Begin("a", place(8))]


def test_given_an_answer_for_a_place_that_has_moved_meanwhile_then_it_is_void() -> None:
    world = World()
    world.places(Reached("a", place(4)))
    world.finder.released(11, world.now)
    world.flush()
    world.places(Reached("a", place(2)), seq=11)
    world.finds(a(piece(4, 6)))
    assert not [piece for known in world.finder.known.values() for piece in known.pieces]
    assert world.asked[-1].places == [Begin("a", place(2))]


def test_given_a_run_then_only_what_was_there_when_it_began_is_of_it() -> None:
    world = World(credit=1, idle=True)
    world.places()
    world.finds(a(piece(0, 2), more=True, end=4))
    assert not world.messages(Offer), "on demand"
    world.finder.discover("r1", world.now)
    world.flush()
    assert not world.messages(Offer), "before it has looked"
    world.finds(a(more=True, end=4))
    assert world.offer == [("a", 0, 2)]
    assert not world.messages(Offer)[-1].exhausted
    world.plans(piece(0, 2), seq=11, previous=10)
    world.finds(a(piece(2, 4), more=True, end=8))
    assert (world.offer, world.messages(Offer)[-1].exhausted) == ([("a", 2, 4)], True)
    world.plans(piece(2, 4), seq=12, previous=11)
    world.finds(a(piece(4, 6), more=True, end=8))
    assert (world.offer, world.messages(Offer)[-1].exhausted) == ([], True)


def test_given_a_partition_that_cannot_be_read_then_a_run_ends_and_is_told_why() -> None:
    world = World(idle=True)
    world.places(Reached("a", place(2)))
    world.finder.discover("r1", world.now)
    world.finds(a(end=9))
    world.finds(Part("a", [], False, place(9), problem="a was replaced"))
    offer = world.messages(Offer)[-1]
    assert (offer.positions, offer.exhausted, offer.unread) == ([], True, ["a was replaced"])
    assert world.messages(SourceProblem)[-1].problems == ["a was replaced"]


def test_given_a_backfill_then_it_reads_what_the_live_lane_had_taken_and_passes_over_what_was_set_aside() -> None:
    world = World(lane="backfill-1")
    world.places(lane="backfill-1")
    assert not world.asked, "what was taken is not known yet"
    world.places(Reached("a", place(8), [(place(4), place(6))], begin=place(1)), through=5)
    assert world.asked[-1].places == [Begin("a", place(1), place(4))]
    assert not world.asked[-1].more
    world.finder.discover("r1", world.now)
    world.finds(a(piece(1, 4), end=100))
    assert world.asked[-1].places == [Begin("a", place(6), place(8))]
    world.finds(a(piece(6, 8), end=100))
    assert world.offer == [("a", 1, 4), ("a", 4, 8)], "the range passes over what the position does not read"
    assert world.messages(Offer)[-1].exhausted
    assert [one.identity for one in world.messages(Offer)[-1].positions] == ["a:1-4", "a:6-8"]


def test_given_a_probe_that_does_not_answer_then_that_is_told() -> None:
    world = World()
    world.places()
    world.later(PATIENCE - 1.0)
    assert not world.messages(SourceProblem)
    world.later(2.0)
    assert "has not answered" in world.messages(SourceProblem)[-1].problems[0]
    world.finds(a(piece(0, 2)))
    assert world.messages(SourceProblem)[-1].problems == []
    assert world.offer == [("a", 0, 2)]


def test_given_what_cannot_be_taken_yet_then_that_is_told_after_a_while_and_no_longer_once_it_can() -> None:
    world = World()
    world.places()
    world.finds(Part("a", [], False, place(3), waits="a: its last line has no end yet"))
    assert not world.messages(SourceProblem)
    world.later(6.0)
    assert world.messages(SourceProblem)[-1].problems == ["a: its last line has no end yet"]
    assert [one.level for one in world.sent if isinstance(one, Log)] == ["info"]
    world.finds(a(piece(0, 4), end=4))
    assert world.messages(SourceProblem)[-1].problems == []


@pytest.mark.parametrize("lane", [LIVE, "backfill-1"])
def test_given_links_and_packed_files_that_match_then_the_live_lane_tells_of_them(lane: str) -> None:
    world = World(lane)
    world.places(lane=lane)
    world.places(Reached("a", place(9)), through=5)
    world.finds(a(end=9), skipped={"a.gz": PACKED, "b.gz": PACKED, "l": LINK, "pipe": "not a regular file"})
    told = [
        "a symbolic link is not followed: l; `odibictl source why FILE` says what to do",
        "2 packed files are not read on: a.gz, b.gz; unpack them, or `exclude` them",
    ]
    told = told if lane == LIVE else []
    assert [one.text for one in world.sent if isinstance(one, Log)] == [f"p/log: {one}" for one in told]
    assert world.finder.problems == told


def test_given_other_limits_then_what_was_cut_to_the_former_ones_is_cut_anew() -> None:
    world = World()
    world.places()
    world.finds(a(piece(0, 9)))
    spec = world.finder.spec
    world.finder.rebind(SourceSpec("p", spec.node, 4, LIVE, limits=BatchSpec(max_rows=2)))
    world.flush()
    assert world.asked[-1].limits.max_rows == 2
    world.finds(a(piece(0, 2), piece(2, 4)))
    assert world.offer == [("a", 0, 2), ("a", 2, 4)]


def test_given_a_run_when_more_arrives_in_some_partitions_then_it_takes_no_room_of_what_the_run_waits_for() -> None:
    world = World(credit=2, idle=True)
    world.places()
    world.finder.discover("run", world.now)
    world.finds()  # it began before the run
    parts = {"a": place(1), "b": place(1), "c": place(1)}
    world.finds(
        *(Part(name, [piece(0, 1, name)] if name != "c" else [], name == "c", end) for name, end in parts.items())
    )
    assert world.offer == [("a", 0, 1), ("b", 0, 1)]
    world.plans(piece(0, 1, "a"), piece(0, 1, "b"), seq=11, previous=10)
    world.now += 10.0
    world.flush()
    look = world.asked[-1]
    assert {one.partition: (one.place, one.until) for one in look.places} == {
        "a": (place(1), place(1)),
        "b": (place(1), place(1)),
        "c": (b"", place(1)),
    }
    assert (look.more, look.credit) == (False, 2)
    world.finds(Part("a", end=place(9)), Part("b", end=place(9)), Part("c", [piece(0, 1, "c")], False, place(1)))
    assert world.offer == [("c", 0, 1)]
    assert world.messages(Offer)[-1].exhausted


def test_given_a_range_that_ends_earlier_by_now_when_a_backfill_is_beyond_then_nothing_is_left_of_it() -> None:
    """Seed 27 of the simulator: a piece was planned whose end came before its beginning."""
    assert gap(Reached("t", b"6", [], b"1"), b"9") == Begin("t", b"9", b"9")
    assert gap(Reached("t", b"6", [(b"3", b"4")], b"1"), None) == Begin("t", b"1", b"3")
    assert gap(Reached("t", b"6", [(b"3", b"4")], b"1"), b"3") == Begin("t", b"4", b"6")
