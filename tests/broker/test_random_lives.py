"""Brokers with random lives, on a real store (see ``lives``): nothing is refused, lost, doubled or stuck for ever."""

from __future__ import annotations

import pytest

from tests.broker.endings import agree, settle
from tests.broker.lives import Life

LIVES, PART, STEPS = 200, 25, 40


@pytest.mark.parametrize("first", range(0, LIVES, PART))
def test_given_operators_failures_and_crashes_at_random_when_all_is_fixed_then_everything_comes_to_its_end(
    first: int,
) -> None:
    for seed in range(first, first + PART):
        life = Life(seed)
        try:
            life.live(STEPS)
            agree(life)
            settle(life)
        except Exception as error:
            error.add_note(f"life {seed}:")
            for line in life.log:
                error.add_note(line)
            raise
