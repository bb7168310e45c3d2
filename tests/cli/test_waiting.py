"""What ``iteration wait`` says."""

from __future__ import annotations

import pytest

from odibi_actors.cli.iteration import _sentence

ENDED = {"pipeline": "p", "iteration": 3, "state": "committed", "files": 0, "ended": {"committed": 1}}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "p 3: committed"),
        ({"planned_again": 1, "as": [3]}, "p 3: committed (1 was planned again as 3)"),
        ({"planned_again": 1, "as": [2, 3]}, "p 3: committed (1 was planned again as 2, 3)"),
        (
            {"iteration": 1, "state": "cancelled", "planned_again": 1, "as": []},
            "p 1: cancelled (1 was planned again; its files are gone)",
        ),
    ],
)
def test_given_an_iteration_that_was_planned_again_when_told_then_with_its_number_now(
    more: dict[str, object], said: str
) -> None:
    assert _sentence(ENDED | {"ended": {}} | more) == said
