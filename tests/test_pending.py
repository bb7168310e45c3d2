"""What a file that is ready waits for, told from its pipeline's row."""

from __future__ import annotations

from typing import Any

import pytest

from odibi_actors.pending import held_by

LIVE = {"pipeline": "p", "state": "active", "paused": False, "trigger": "data", "run": "", "max_in_flight": 2}
TWO = [{"iteration": 4, "state": "failed", "lane": "live"}, {"iteration": 5, "state": "prepared", "lane": "live"}]
BACKFILL = [{"iteration": n, "state": "running", "lane": "backfill-1"} for n in (6, 7)]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({}, ""),
        ({"iterations": [TWO[0], *BACKFILL], "state": "failed"}, ""),  # one more may be planned behind it
        ({"state": "paused", "paused": True}, "p is paused: `odibictl pipeline resume p`"),
        ({"state": "failed", "paused": True}, "p is paused: `odibictl pipeline resume p`"),
        ({"state": "drained"}, "p is drained: `odibictl pipeline resume p`"),
        ({"state": "draining"}, "p is draining: `odibictl pipeline resume p`"),
        ({"state": "removed"}, "p is no longer in odibi.yaml"),
        (
            {"iterations": TWO, "state": "failed"},
            "2 iterations of p are in flight (max_in_flight), held up by 4, which is failed: "
            "`odibictl iteration show p 4`",
        ),
        ({"iterations": TWO[1:], "max_in_flight": 1}, "1 iteration of p is in flight (max_in_flight)"),
        (
            {"trigger": "manual"},
            "p has trigger: manual, and takes it in its next run: `odibictl pipeline trigger p`",
        ),
        ({"trigger": "schedule"}, "p has trigger: schedule, and takes it in its next run: `odibictl schedule next`"),
        ({"trigger": "schedule", "run": "x"}, ""),
        ({"problems": ["iteration 3 waits", "source r: no file matches yet"]}, "source r: no file matches yet"),
    ],
)
def test_given_a_pipeline_then_what_keeps_a_ready_file_from_being_planned_is_named(
    row: dict[str, Any], told: str
) -> None:
    assert held_by({**LIVE, **row}) == told
