"""A backfill of which an iteration is cancelled while it still plans: its files are of the run again."""

from __future__ import annotations

from tests.streaming.test_lanes import backfill


def test_given_a_planned_file_of_a_backfill_when_its_iteration_is_cancelled_then_it_is_offered_again() -> None:
    world = backfill("a.csv", "b.csv", "c.csv")
    world.plan(2)
    world.sync()
    world.work()
    assert world.names == ["c.csv"]

    world.cancel()
    world.sync()
    world.work()

    assert sorted(world.names) == ["a.csv", "b.csv"]  # the credit is 2
    assert (world.offers[-1].exhausted, world.offers[-1].left) == (False, 3)
