"""Sources of which nothing new is planned, as an operator wants it. Part of ``flow``.

Such a source goes on looking, and takes what is pushed; what it offers is kept, and neither planned nor waited for: to
its pipeline it is a source with nothing new. A replay of a dead letter, and a backfill, read it all the same. The wish
is a setting of the pipeline, named after the source, so that it outlives brokers, `down`, and the source itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from odibi_actors.actor import Log
from odibi_actors.broker.lane import SourceState
from odibi_actors.broker.pipeline import Pipeline
from odibi_actors.checkpoint import records as rec
from odibi_actors.errors import ConflictError, NotFoundError
from odibi_actors.units import plural

if TYPE_CHECKING:
    from odibi_actors.broker.flow import Flow


def ask(flow: Flow, pipeline: Pipeline, name: str, on: bool) -> dict[str, object]:
    """Pause a source of the live lane, or let it go on. Raises NotFoundError, ConflictError."""
    source = pipeline.sources.get(name)
    if source is None:
        known = ", ".join(pipeline.sources) or "none"
        raise NotFoundError(f"pipeline {pipeline.name} has no source {name!r}; its sources: {known}")
    if source.pinned and on:
        raise ConflictError(
            f"{pipeline.name}.{name} is read whole by every iteration, so that none could be without it: "
            f"`odibictl pipeline pause {pipeline.name}` pauses all of them"
        )
    if source.paused != on:
        pipeline.live.pause(name, on)
        flow.shape += 1
        flow.write(rec.Setting(scope=pipeline.name, name=rec.PAUSED + name, value="1" if on else ""), pipeline.name)
        flow.touch(pipeline.name)
    return {"pipeline": pipeline.name, "source": name, "paused": source.paused, "offered": _offered(source)}


def load(pipeline: Pipeline, setting: rec.Setting) -> None:
    """What a former broker was told, of any source."""
    if setting.name.startswith(rec.PAUSED):
        pipeline.live.pause(setting.name.removeprefix(rec.PAUSED), bool(setting.value))


def problems(pipeline: Pipeline) -> Iterator[str]:
    """What `status` says of them."""
    for name, source in pipeline.sources.items():
        if source.paused:
            yield f"source {name} is paused{_waiting(source)}; `odibictl source resume {pipeline.name}.{name}`"


def _offered(source: SourceState) -> int | None:
    """Positions that wait; None as long as it has not told."""
    return source.waits if source.heard else None


def _waiting(source: SourceState) -> str:
    count = _offered(source)
    if count is None:
        return ""
    return f", and {plural(count, 'position')} of it {'waits' if count == 1 else 'wait'}" if count else ""


def tell(flow: Flow, pipeline: Pipeline) -> None:
    """A run has begun, which reads nothing of them."""
    for text in problems(pipeline):
        flow.say(Log("info", f"{pipeline.name}: {text}", {"notice": True}))
