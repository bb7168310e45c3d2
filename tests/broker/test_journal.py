"""Numbered records on their way to the store."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from odibi_actors.broker.journal import MAX_BACKLOG, MAX_PER_MESSAGE, Journal
from odibi_actors.checkpoint.records import Commit
from odibi_actors.messages import AppendRecords


def record(number: int) -> Commit:
    return Commit(pipeline="p", iteration=number, at=0.0)


def test_records_are_numbered_on_from_what_the_store_had() -> None:
    journal = Journal(epoch=3, last_seq=10)
    assert [journal.append(record(i)) for i in range(3)] == [11, 12, 13]
    (message,) = journal.unsent()
    assert (message.epoch, message.first, len(message.records)) == (3, 11, 3)
    assert journal.unsent() == []


def test_long_lists_are_split() -> None:
    journal = Journal(1, 0)
    for i in range(MAX_PER_MESSAGE * 2 + 1):
        journal.append(record(i))
    assert [len(m.records) for m in journal.unsent()] == [MAX_PER_MESSAGE, MAX_PER_MESSAGE, 1]


def test_what_is_durable_is_not_sent_again() -> None:
    journal = Journal(1, 0)
    for i in range(5):
        journal.append(record(i))
    journal.unsent()
    assert journal.settle(3)
    assert journal.rewind(4)
    (message,) = journal.unsent()
    assert (message.first, [r.iteration for r in message.records if isinstance(r, Commit)]) == (4, [3, 4])


def test_a_store_that_lost_what_it_promised_is_noticed() -> None:
    journal = Journal(1, 0)
    journal.append(record(0))
    journal.settle(1)
    assert not journal.rewind(1)


def test_a_number_never_given_out_is_not_durable() -> None:
    journal = Journal(1, 5)
    assert not journal.settle(9)
    assert journal.durable == 5


def test_a_backlog_past_the_bound_is_full() -> None:
    journal = Journal(1, 0)
    for i in range(MAX_BACKLOG):
        assert not journal.full
        journal.append(record(i))
    assert journal.full


class Delivery(RuleBasedStateMachine):
    """A store that loses, repeats and forgets messages gets every record once and in order all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.journal = Journal(1, 0)
        self.written = 0
        self.wire: list[AppendRecords] = []
        self.store: list[int] = []

    @rule(count=st.integers(1, 30))
    def write(self, count: int) -> None:
        for _ in range(count):
            self.journal.append(record(self.written))
            self.written += 1

    @rule()
    def send(self) -> None:
        self.wire += self.journal.unsent()

    @rule(drop=st.booleans(), twice=st.booleans())
    def deliver(self, drop: bool, twice: bool) -> None:
        if not self.wire:
            return
        message = self.wire.pop(0)
        for _ in range(0 if drop else 2 if twice else 1):
            if message.first <= len(self.store) + 1:
                skip = len(self.store) + 1 - message.first
                self.store += [r.iteration for r in message.records[skip:] if isinstance(r, Commit)]
            else:
                self.journal.rewind(len(self.store) + 1)

    @rule()
    def report(self) -> None:
        self.journal.settle(len(self.store))

    @rule()
    def restart_store(self) -> None:
        self.wire.clear()
        assert self.journal.rewind(len(self.store) + 1)

    @invariant()
    def a_prefix_in_order(self) -> None:
        assert self.store == list(range(len(self.store)))
        assert self.journal.durable <= len(self.store)

    def teardown(self) -> None:
        self.wire.clear()
        self.journal.rewind(len(self.store) + 1)
        for message in self.journal.unsent():
            skip = len(self.store) + 1 - message.first
            self.store += [r.iteration for r in message.records[skip:] if isinstance(r, Commit)]
        assert self.store == list(range(self.written))


TestDelivery = Delivery.TestCase
