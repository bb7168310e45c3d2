"""The store's actor: whatever comes twice, late, out of order or not at all, exactly the log is applied, in order."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from odibi_actors.actor import Effect, Log, Send, Stop
from odibi_actors.checkpoint.actor import BYE_WAIT, IDLE, STUCK, StoreActor
from odibi_actors.checkpoint.driver import StoreDriver
from odibi_actors.checkpoint.effects import Checkpoint, EpochSet, Prune, Read, SetEpoch, Write
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.checkpoint.retention import EVERY
from odibi_actors.messages import (
    BROKER,
    HEARTBEAT,
    LOCAL,
    AppendRecords,
    Bye,
    ByeAck,
    Claim,
    Claimed,
    ClaimRefused,
    Connected,
    Durable,
    Fenced,
    Heartbeat,
    LedgerPage,
    LedgerQuery,
    Load,
    LoadedPage,
    Message,
    RecordRefused,
    Refused,
    Reply,
    Request,
    ResendFrom,
    Shutdown,
    StoreHello,
    Terminate,
    Tick,
    WhoAreYou,
)
from tests.checkpoint.make import P, ack, loaded, numbered, plan
from tests.checkpoint.reference import Reference


class Store:
    """An actor on an engine in memory, with a driver that acts when the test says so."""

    def __init__(self, engine: Engine | None = None) -> None:
        self.engine = engine or Engine(":memory:")
        self.now = 1000.0
        self.sent: list[Message] = []
        self.asked: list[Effect] = []
        self.stopped: Stop | None = None
        self.start()

    def start(self) -> None:
        """A new process on the same disk: what was asked and not done is lost."""
        engine = self.engine
        self.actor = StoreActor("i", "host", 1, engine.store_id, engine.epoch, engine.last_seq)
        self.driver = StoreDriver(engine)
        self.asked = []
        self.take(self.actor.start(self.now))
        self.tell(Connected(), sender=LOCAL)

    def take(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self.sent.append(effect.message)
            elif isinstance(effect, Stop):
                self.stopped = effect
            elif not isinstance(effect, Log):
                self.asked.append(effect)

    def tell(self, *messages: Message, sender: str = BROKER, flush: bool = True) -> list[Message]:
        """Messages that arrive together; returns what was sent."""
        before = len(self.sent)
        for message in messages:
            self.take(self.actor.handle(sender, message, self.now))
        if flush:
            self.take(self.actor.flush(self.now))
        return self.sent[before:]

    def perform(self) -> list[Message]:
        """Carry out the oldest effect and feed its answer back; returns what was sent."""
        effect = self.asked.pop(0)
        return [sent for sender, m in self.driver.perform(effect, self.now) for sent in self.tell(m, sender=sender)]

    def settle(self) -> list[Message]:
        """Carry out all there is, up to maintenance; returns what was sent."""
        sent = []
        while self.asked:
            sent += self.perform()
        return sent

    def wait(self, seconds: float) -> list[Message]:
        """Let time pass from deadline to deadline, carrying out what is asked; returns what was sent."""
        until, sent = self.now + seconds, []
        while (due := self.actor.deadline()) is not None and due <= until and self.stopped is None:
            self.now = max(self.now, due)
            sent += self.tell(Tick(), sender=LOCAL)
            sent += self.settle()
        self.now = until
        return sent

    def claim(self, claimant: str = "a") -> None:
        self.tell(Claim(self.engine.epoch, claimant))
        self.settle()


def append(first: int, count: int, epoch: int = 1) -> AppendRecords:
    return AppendRecords(epoch, first, [numbered(seq) for seq in range(first, first + count)])


actions = st.one_of(
    st.tuples(st.just("append"), st.integers(-12, 12), st.integers(0, 12)),
    st.tuples(st.just("perform"), st.just(0), st.just(0)),
    st.tuples(st.just("flush"), st.just(0), st.just(0)),
    st.tuples(st.just("crash"), st.just(0), st.just(0)),
    st.tuples(st.just("tick"), st.just(0), st.just(0)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(actions, max_size=60))
def test_any_interleaving_of_lost_repeated_and_late_appends_applies_the_log_in_order(
    script: list[tuple[str, int, int]],
) -> None:
    store = Store()
    store.claim()
    near = 1
    for what, offset, count in script:
        if what == "append":
            first = max(1, near + offset)
            store.tell(append(first, count), flush=False)
            near = max(near, first + count)
        elif what == "perform" and store.asked:
            store.perform()
        elif what == "flush":
            store.tell()
        elif what == "tick":
            store.now += 0.3
            store.tell(Tick(), sender=LOCAL)
        elif what == "crash":
            store.start()
        durable = [m.through for m in store.sent if isinstance(m, Durable)]
        assert all(through <= store.engine.last_seq for through in durable)
        assert len([e for e in store.asked if isinstance(e, Write | SetEpoch | Checkpoint | Prune)]) <= 1
    reference = Reference()
    for seq in range(1, store.engine.last_seq + 1):
        reference.apply(numbered(seq))
    assert loaded(store.engine) == reference.snapshot()
    # From here on nothing is lost: a broker that answers what it hears makes all of it durable.
    store.settle()
    goal = near + 5
    heard = store.tell(append(goal, 1)) + store.settle()
    while store.engine.last_seq < goal:
        resend = [m.seq for m in heard if isinstance(m, ResendFrom)]
        heard = store.tell(append(resend[-1], goal + 1 - resend[-1])) + store.settle()
    assert heard[-1] == Durable(1, goal)


def test_given_it_connects_when_asked_who_it_is_then_it_tells_what_is_durable() -> None:
    store = Store()
    store.claim()
    store.tell(append(1, 3))
    hello = StoreHello("i", "host", 1, store.engine.store_id, 1, 0)
    assert store.tell(WhoAreYou()) == [hello]
    store.settle()
    hello = StoreHello("i", "host", 1, store.engine.store_id, 1, 3)
    assert store.tell(WhoAreYou()) == [hello]
    assert store.tell(Connected(), sender=LOCAL) == [hello]


def test_given_many_messages_at_once_when_flushed_then_they_are_one_transaction() -> None:
    store = Store()
    store.claim()
    store.tell(append(1, 3), append(4, 2), append(6, 1))
    assert [(e.first, len(e.records)) for e in store.asked if isinstance(e, Write)] == [(1, 6)]
    store.tell(append(7, 2))
    store.tell(append(9, 2))
    assert len(store.asked) == 1
    assert store.perform() == [Durable(1, 6)]
    assert [(e.first, len(e.records)) for e in store.asked if isinstance(e, Write)] == [(7, 4)]


def test_given_more_than_a_transaction_bears_when_flushed_then_it_is_cut() -> None:
    store = Store()
    store.claim()
    store.tell(append(1, 6001))
    assert [m.through for m in store.settle() if isinstance(m, Durable)] == [5000, 6001]
    store = Store()
    store.claim()
    big = [plan(1, "a"), *(ack(1, f"n{n}", bytes(3_000_000)) for n in range(4))]
    store.tell(AppendRecords(1, 1, big))
    assert [m.through for m in store.settle() if isinstance(m, Durable)] == [3, 5]


def test_given_a_gap_when_flushed_then_it_is_asked_for_once_and_again_by_and_by() -> None:
    store = Store()
    store.claim()
    assert store.tell(append(3, 1), append(5, 2)) == [ResendFrom(1, 1)]
    assert ResendFrom(1, 1) in store.wait(HEARTBEAT)
    store.tell(append(1, 3))
    assert not [m for m in store.settle() + store.wait(5 * HEARTBEAT) if isinstance(m, ResendFrom)]
    assert store.engine.last_seq == 3


def test_given_what_is_durable_already_when_sent_again_then_durable_is_repeated() -> None:
    store = Store()
    store.claim()
    store.tell(append(1, 5))
    store.settle()
    assert store.tell(append(1, 2), append(3, 3)) == [Durable(1, 5)]
    store.tell(append(4, 4))
    assert store.settle() == [Durable(1, 7)]


def test_given_a_new_epoch_when_the_old_broker_appends_then_it_is_fenced_and_nothing_is_applied() -> None:
    store = Store()
    store.claim("a")
    store.tell(append(1, 2), append(3, 1))
    store.tell(append(4, 1))
    store.tell(Claim(1, "b"))
    assert store.perform() == [Durable(1, 3)]
    # The claim goes before what still waits, which is of the older epoch and void.
    assert store.settle() == [Claimed(2, 3, "b")]
    assert store.tell(append(4, 2), append(6, 1)) == [Fenced(2)]
    assert store.tell(Load(1)) == [Fenced(2)]
    assert store.tell(Request("b1-1", "iteration.ended", {"pipeline": "p"}, epoch=1)) == [Fenced(2)]
    assert store.tell(append(4, 2, epoch=3)) == []
    assert store.settle() == []
    assert store.engine.last_seq == 3
    store.tell(append(4, 1, epoch=2))
    assert store.settle() == [Durable(2, 4)]


def test_given_a_claim_that_is_repeated_or_late_when_answered_then_nothing_that_waits_is_lost() -> None:
    store = Store()
    store.claim("a")
    store.tell(append(1, 2))
    store.tell(append(3, 2), Claim(0, "a"), Claim(0, "z"))
    assert store.settle() == [Durable(1, 2), Claimed(1, 0, "a"), ClaimRefused(1, "z"), Durable(1, 4)]


def test_given_a_contradiction_when_written_then_the_prefix_is_durable_and_the_rest_is_refused() -> None:
    store = Store()
    store.claim()
    store.tell(AppendRecords(1, 1, [plan(1, "a.csv"), plan(2, "a.csv"), plan(3, "b.csv")]))
    durable, refused = store.settle()
    assert durable == Durable(1, 1)
    assert isinstance(refused, RecordRefused)
    assert refused.seq == 2
    assert "iteration 1 has it" in refused.reason
    assert store.tell(append(2, 1), append(9, 1)) == [refused]
    store.claim("b")
    store.tell(AppendRecords(2, 2, [plan(2, "b.csv")]))
    assert store.settle() == [Durable(2, 2)]


def test_given_the_disk_fails_when_written_then_the_process_stops_to_be_restarted() -> None:
    store = Store()
    store.claim()
    (pages,) = store.engine._db.execute("PRAGMA page_count").fetchone()
    store.engine._db.execute(f"PRAGMA max_page_count = {pages}")
    store.tell(AppendRecords(1, 1, [plan(1, "a"), ack(1, data=bytes(100_000))]))
    assert store.settle() == []
    assert store.stopped is not None
    assert store.stopped.code == 70


def test_given_a_disk_that_never_answers_when_time_passes_then_the_process_stops_to_be_restarted() -> None:
    store = Store()
    store.claim()
    store.tell(append(1, 1))
    store.now += STUCK
    due = store.actor.deadline()
    assert due is not None
    assert due <= store.now
    store.tell(Tick(), sender=LOCAL)
    assert store.stopped is not None
    assert store.stopped.code == 70


def test_given_queries_when_asked_then_each_is_answered_to_who_asked() -> None:
    store = Store()
    store.claim()
    store.tell(append(1, 7))
    store.settle()
    (page,) = store.tell(Load(1)) + store.settle()
    assert isinstance(page, LoadedPage)
    assert (page.epoch, page.items, page.cursor, page.asked) == (1, loaded(store.engine), "", "")
    (found,) = store.tell(LedgerQuery(P, "flights", "live", limit=1), sender="source") + store.settle()
    assert isinstance(found, LedgerPage)
    assert ([p.identity for p in found.positions], found.cursor, found.seq) == (["00000-a.csv"], "00000-a.csv", 7)
    store.tell(Request("1", "iteration.list", {"pipeline": P}), sender="client-1")
    (reply,) = store.settle()
    assert isinstance(reply, Reply)
    assert (reply.status, reply.result["items"][0]["state"]) == (0, "running")
    for status, verb, params in (
        (3, "iteration.list", {"pipeline": "delayz"}),
        (3, "iteration.show", {"pipeline": P, "iteration": 9}),
        (2, "iteration.burn", {}),
        (2, "iteration.list", {}),
        (2, "iteration.list", {"pipeline": 5}),
        (2, "iteration.list", {"pipeline": P, "state": "sleepy"}),
    ):
        store.tell(Request("2", verb, params), sender="client-1")
        (reply,) = store.settle()
        assert isinstance(reply, Reply)
        assert (reply.status, bool(reply.error)) == (status, True)
    store.tell(Load(1, cursor="nonsense"))
    assert store.settle() == []
    assert store.stopped is None


def test_given_it_is_idle_when_time_passes_then_it_checkpoints_once_and_sweeps_history_every_hour() -> None:
    store = Store()
    store.claim()
    asked: list[tuple[float, str]] = []
    perform = store.driver.perform
    store.driver.perform = lambda e, now: [asked.append((now, type(e).__name__)), *perform(e, now)][1:]  # type: ignore[method-assign]
    store.tell(append(1, 5))
    store.settle()
    written = store.now
    store.wait(2 * EVERY)
    kinds = [kind for _, kind in asked]
    assert kinds == ["Write", "Checkpoint", "Prune", "Prune"]
    assert asked[1][0] >= written + IDLE


def test_given_it_is_told_to_stop_when_all_is_durable_then_it_says_bye_and_waits_for_the_answer() -> None:
    for farewell, sender in ((Terminate(), LOCAL), (Shutdown(), BROKER)):
        store = Store()
        store.claim()
        store.tell(append(1, 3))
        store.tell(append(4, 2))
        store.tell(farewell, sender=sender)
        assert store.settle() == [Durable(1, 3), Durable(1, 5), Bye()]
        store.tell(append(6, 1))  # what the broker said before it heard
        assert store.stopped is None
        assert store.settle() == [Durable(1, 6)]
        store.tell(ByeAck())
        assert store.stopped is not None
        assert store.stopped.code == 0


def test_given_a_bye_that_nobody_hears_when_time_passes_then_it_stops_all_the_same() -> None:
    store = Store()
    store.tell(Terminate(), sender=LOCAL)
    assert store.sent[-1] == Bye()
    store.wait(BYE_WAIT)
    assert store.stopped is not None
    assert store.stopped.code == 0
    store = Store()
    store.tell(Terminate(at_once=True), sender=LOCAL)
    assert store.stopped is not None
    store = Store()
    store.tell(Refused("another store is here"))
    assert store.stopped is not None
    assert store.stopped.code == 70


def test_given_it_runs_when_time_passes_then_it_is_heard_every_second() -> None:
    store = Store()
    store.claim()
    beats = [m for m in store.wait(10 * HEARTBEAT) if isinstance(m, Heartbeat)]
    assert beats == [Heartbeat(1)] * 10


def test_given_answers_that_come_late_when_the_epoch_has_moved_then_it_never_goes_back() -> None:
    store = Store()
    store.claim("a")
    store.claim("b")
    store.tell(EpochSet(BROKER, Claimed(1, 0, "a")), sender=LOCAL)
    store.tell(append(1, 1, epoch=2))
    assert store.settle() == [Durable(2, 1)]
    assert not [e for e in store.asked if isinstance(e, Read)]
