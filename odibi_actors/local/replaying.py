"""Dead letters that a local run takes up again: each in an iteration of its own, by the engine that ``up`` runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from odibi_actors.errors import ConfigError
from odibi_actors.kinds.letters import remedies, told
from odibi_actors.messages import BROKER, SOURCE, STORE, Discover

if TYPE_CHECKING:
    from odibi_actors.broker.pipeline import Pipeline
    from odibi_actors.local.system import LocalSystem

ALL: Sequence[int] = ()
"""Every open letter of the pipeline."""
LOOK_WITHIN = 10.0
"""Seconds for which sources that are read whole may take to say what they have."""


def chosen(system: LocalSystem, pipeline: str, letters: Sequence[int], each: Callable[[], None]) -> list[int]:
    """The letters that are meant, ascending, once everything that a replay of them needs is known. Raises NotFoundError
    and ConfigError (it is one of another pipeline)."""
    wanted = sorted(dict.fromkeys(letters)) or _open(system, pipeline)
    for letter in wanted:
        shown = system.request("deadletter.show", {"id": letter}, to=STORE)
        if shown["pipeline"] != pipeline:
            other = shown["pipeline"]
            raise ConfigError(f"dead letter {letter} is one of {other}: `odibictl run {other} --replay {letter}`")
    if wanted:
        _look(system, pipeline, each)
    return wanted


def _open(system: LocalSystem, pipeline: str) -> list[int]:
    return sorted(row["id"] for row in _rows(system, pipeline) if row["state"] == "open")


def remedy(system: LocalSystem, pipeline: str, iterations: Collection[int]) -> str:
    """What is to be done about the letters of these iterations; "" when there are none."""
    if not iterations:
        return ""
    mine = (row for row in _rows(system, pipeline) if row["iteration"] in iterations)
    return told(remedies(mine, f"`odibictl run {pipeline} --replay {{}}`"))


def _rows(system: LocalSystem, pipeline: str) -> Iterator[dict[str, Any]]:
    before: int | None = None
    while True:  # page by page
        page = system.request("deadletter.list", {"pipeline": pipeline, "before": before}, to=STORE)
        yield from page["items"]
        before = page.get("next")
        if before is None:
            return


def _look(system: LocalSystem, pipeline: str, each: Callable[[], None]) -> None:
    """Sources that are read whole say what they have only when somebody asks. One that cannot is told of by the
    replay."""
    flow = system.coordinator.flow
    assert flow is not None
    row: Pipeline = flow.pipelines[pipeline]
    references = [source for source in row.sources.values() if source.pinned]
    if not references:
        return
    if row.run is None:  # else that one asks them
        system.runtime.send(BROKER, SOURCE, Discover(epoch=flow.epoch, pipeline=pipeline, run=f"replay-{flow.epoch}"))
    end = system.clock() + LOOK_WITHIN
    system.until(lambda: all(source.pending for source in references) or system.clock() > end, each)
