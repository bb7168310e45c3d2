"""``odibictl worker``: the processes that run nodes."""

from __future__ import annotations

import click

from odibi_actors.cli import errors
from odibi_actors.cli.base import App, group, lists, pass_app, yes
from odibi_actors.cli.output import Column, ago, count, emit, size, table
from odibi_actors.errors import NotFoundError
from odibi_actors.units import plural

worker = group("worker", "Workers: list, scale, drain, kill.")

COLUMNS = (
    Column("WORKER", "worker"),
    Column("STATE", "state"),
    Column("DOING", "doing"),
    Column("SINCE", lambda row: ago(row.get("since")), right=True),
    Column("DONE", lambda row: count(row.get("done")), right=True),
    Column("MEMORY", lambda row: size(row.get("memory") or None), right=True),
    Column("PID", "pid", right=True),
    Column("POOL", "pool"),
    Column("HOST", "host"),
)


@worker.command("list", examples=["odibictl worker list", "odibictl worker list -o name"])
@lists
@pass_app
def list_(app: App) -> None:
    """List workers of all hosts and what each is doing.

    MEMORY is what its process has in memory at this moment, what it shares with others included. With `worker:` in
    odibi.yaml a worker makes way for a fresh one between two tasks.
    """
    emit(app, app.client().workers, "worker", lambda result: [table(result["items"], COLUMNS, "no workers")])


@worker.command(examples=["odibictl worker scale 4", "odibictl worker scale 1 --dry-run"])
@click.argument("workers", metavar="N", type=click.IntRange(0, 1024))
@click.option("--dry-run", is_flag=True, help="Only say how many there are and would be.")
@pass_app
def scale(app: App, workers: int, dry_run: bool) -> None:
    """Have N workers per host; surplus ones finish their task first.

    It outlives a restart of the pool, not `odibictl down`.
    """
    client = app.client()
    if dry_run:
        now = len(client.workers()["items"])
        errors.message(f"would scale from {plural(now, 'worker')} to {workers} per host")
        return
    client.scale(workers)
    errors.message(f"scaling to {plural(workers, 'worker')} per host")


@worker.command(examples=["odibictl worker drain pool-0-1"])
@click.argument("worker")
@pass_app
def drain(app: App, worker: str) -> None:
    """Replace one worker by a fresh one, once it has finished.

    It ends what it was given: nothing is lost, or done again. For a worker that holds on to a file or to memory, or has
    imported something that only a new process loads again; to have fewer of them, `odibictl worker scale N`.
    """
    app.client().drain_worker(worker)
    errors.message(f"{worker} finishes what it was given, and makes way for a fresh one")


@worker.command(examples=["odibictl worker kill pool-0-1", "odibictl worker kill pool-0-1 --yes"])
@click.argument("worker")
@yes
@pass_app
def kill(app: App, worker: str) -> None:
    """SIGKILL one worker. It is replaced, and what it was doing runs again elsewhere."""
    client = app.client()
    if not any(worker in (row["worker"], str(row.get("pid"))) for row in client.workers()["items"]):
        if app.rested:  # nothing runs that could have a worker: it says so
            client.kill(worker)
        raise NotFoundError(f"no worker {worker!r}; see `odibictl worker list`")
    app.confirm(f"Kill worker {worker}?")
    client.kill(worker)
    errors.message(f"killed {worker}")
