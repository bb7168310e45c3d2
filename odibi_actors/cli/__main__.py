"""``odibictl``: control a running system, or run one. One module per noun; see ``base`` for what they share."""

from __future__ import annotations

import click

import odibi_actors
from odibi_actors.cli import (
    actor,
    alert,
    backfill,
    checkpoint,
    completion,
    deadletter,
    doctor,
    event,
    iteration,
    logs,
    node,
    pipeline,
    project,
    reset,
    run,
    schedule,
    sink,
    source,
    status,
    system,
    trying,
    worker,
)
from odibi_actors.cli.base import Root
from odibi_actors.runtime import leaving
from odibi_actors.runtime.enduring import endure
from odibi_actors.runtime.linux import own_standard_descriptors

COMMANDS: tuple[click.Command, ...] = (
    project.init,
    project.validate,
    project.graph,
    doctor.doctor,
    project.config,
    system.up,
    system.down,
    actor.actor,
    project.apply,
    run.run,
    trying.try_,
    reset.reset,
    status.status,
    logs.logs,
    pipeline.pipeline,
    schedule.schedule,
    backfill.backfill,
    iteration.iteration,
    node.node,
    source.source,
    event.event,
    sink.sink,
    worker.worker,
    deadletter.deadletter,
    alert.alert,
    checkpoint.checkpoint,
    completion.completion,
)


@click.group(cls=Root, name="odibictl")
@click.version_option(odibi_actors.__version__, prog_name="odibictl")
def odibictl() -> None:
    """Odibi Actors: data pipelines that never lose or double a row.

    Begin with `odibictl init DIR`, then `odibictl up` there. stdout carries results, stderr everything else.
    """


for command in COMMANDS:
    odibictl.add_command(command)


def main() -> None:
    """The entry point of ``odibictl``."""
    leaving.prepare()
    own_standard_descriptors()
    endure()
    odibictl(prog_name="odibictl")


if __name__ == "__main__":
    main()
