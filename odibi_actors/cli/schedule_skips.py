"""Why occurrences did not run: every skip is counted, and told with its reason and what helps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from odibi_actors.cli.output import Column, Row, count, table

if TYPE_CHECKING:
    from rich.console import RenderableType

HELP = (
    ("overlap: one waits", "a run was in progress, and one waited already: `overlap: buffer_all` keeps all"),
    (
        "overlap: iteration",
        "an iteration had failed and held the pipeline: fix it, then `odibictl iteration retry PIPELINE N`",
    ),
    (
        "overlap: another",
        "one of another schedule waited already: `overlap: buffer_one` lets this one wait too",
    ),
    ("overlap: a later", "`overlap: cancel`: a later one took its place"),
    ("overlap", "a run was in progress: `overlap: buffer_one` lets one wait, `buffer_all` all"),
    ("buffer full", "runs do not keep up: a longer interval, or a faster pipeline"),
    ("paused", "it came due while the schedule was paused: `odibictl schedule resume NAME`"),
    ("pipeline paused", "it came due while the pipeline was paused: `odibictl pipeline resume PIPELINE`"),
    ("pipeline draining", "it came due while the pipeline drained: `odibictl pipeline resume PIPELINE`"),
    ("pipeline removed", "the pipeline is no longer in odibi.yaml"),
    ("outside catch_up", "nothing could start it for longer than `catch_up.window`: widen it, or backfill"),
    ("late, catch_up", "nothing could start it in time, and `catch_up.policy: none` gives up late ones"),
    ("superseded", "several were missed, and `catch_up.policy: latest` runs the latest: `all` runs each"),
    ("over catch_up", "more were missed than `catch_up.max` allows to run"),
)
"""How a reason begins -> what it means and what helps."""


def summary(row: Row) -> str | None:
    """``2 (paused)`` or, of several reasons, ``12 (9 overlap)``: the main one."""
    if not row.get("skipped"):
        return None
    ordered = _ordered(row.get("reasons") or {})
    main = (
        f" ({ordered[0][0]})" if len(ordered) == 1 else f" ({count(ordered[0][1])} {ordered[0][0]})" if ordered else ""
    )
    return count(row["skipped"]) + main


def _ordered(found: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))


def helps(reason: str) -> str | None:
    """What a reason means and what helps, if we know."""
    return next((words for begin, words in HELP if reason.startswith(begin)), None)


REASONS = (
    Column("SKIPPED", lambda row: count(row["skipped"]), right=True),
    Column("BECAUSE", "reason"),
    Column("WHAT IT MEANS", "means"),
)


def reasons(row: Row) -> RenderableType:
    """How many were skipped for each reason; the sum is the number skipped."""
    lines: list[Row] = [
        {"skipped": number, "reason": reason, "means": helps(reason)}
        for reason, number in _ordered(row.get("reasons") or {})
    ]
    return table(lines, REASONS)
