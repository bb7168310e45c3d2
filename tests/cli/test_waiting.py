"""What ``iteration wait`` says."""

from __future__ import annotations

import pytest

from odibi_actors.cli.iteration import _sentence
from odibi_actors.cli.pauses import Pauses
from odibi_actors.client import Client

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


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ({"state": "active", "paused": False}, ""),
        ({"state": "paused", "paused": True}, "paused"),
        ({"state": "drained", "paused": True}, "drained"),
    ],
)
def test_given_a_pipeline_that_plans_nothing_when_waited_for_then_the_verb_that_resumes_it_is_told(
    row: dict[str, object], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Pauses(Client("tcp://127.0.0.1:1"), "p").take(row)
    told = f"warning: p is {word}: `odibictl pipeline resume p`\n" if word else ""
    assert capsys.readouterr().err == told
