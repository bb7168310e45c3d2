"""The commands that a failure names, with their arguments: who raises it does not know what it is raised for."""

from __future__ import annotations

from msgspec.structs import replace

from odibi_actors.broker.iteration import Iteration
from odibi_actors.broker.pipeline import Pipeline
from odibi_actors.model import Failure

APPLY = "`odibictl apply`"


def retry(pipeline: Pipeline, iteration: Iteration) -> str:
    """What tries an iteration again; where nothing runs, the next run does."""
    if pipeline.manual:
        return f"`odibictl run {pipeline.name}`"
    return f"`odibictl iteration retry {pipeline.name} {iteration.number}`"


def apply_and_retry(pipeline: Pipeline, iteration: Iteration, between: str = ", then ") -> str:
    """The same once odibi.yaml was changed, which a run applies by itself."""
    again = retry(pipeline, iteration)
    return again if pipeline.manual else f"{APPLY}{between}{again}"


def completed(pipeline: Pipeline, iteration: Iteration, node: str, failure: Failure) -> Failure:
    """The failure, whose message may name such a command alone."""
    message, bare = failure.message, "`odibictl iteration retry`"
    which = f"{pipeline.name} {iteration.number}"
    for named, whole in {
        f"{APPLY}, then {bare}": apply_and_retry(pipeline, iteration),
        bare: retry(pipeline, iteration),
        "`odibictl iteration abandon`": f"`odibictl iteration abandon {which} --sink {node}`",
    }.items():
        message = message.replace(named, whole)
    return failure if message == failure.message else replace(failure, message=message)
