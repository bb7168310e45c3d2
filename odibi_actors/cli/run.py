"""``odibictl run``: available data through one pipeline in this process, then exit."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from odibi_actors.cli import errors, locks
from odibi_actors.cli.base import App, Command, lists, pass_app
from odibi_actors.cli.live_line import live_line
from odibi_actors.cli.names import ALL, PARAM, letters, pipeline_argument
from odibi_actors.cli.output import count, emit, fields
from odibi_actors.cli.project import chosen, load
from odibi_actors.errors import ConflictError
from odibi_actors.units import plural

if TYPE_CHECKING:
    from odibi_actors.config.model import ProjectSpec


@contextlib.contextmanager
def log_nodes() -> Iterator[None]:
    """While it holds, what nodes log (``context.logger``) stands on stderr, as it stands in the log under ``up``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(os.environ.get("ODIBI_LOG", "info").upper())
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


SHOWN = ("run", "state", "iterations", "committed", "rows_read", "failed", "dead_lettered")


def _letters(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> list[int] | None:
    """``3 4``, ``3,4`` or ``all`` (the empty list); None: none are meant."""
    if not any(text.strip() for text in value):
        return None
    found = letters(ctx, param, value)
    return [] if found == [ALL] else [int(one) for one in found]


@click.command(
    cls=Command,
    examples=["odibictl run delays", "odibictl run delays --iterations 1 --fresh", "odibictl run delays --replay all"],
)
@pipeline_argument()
@click.option("--iterations", type=click.IntRange(1), help="Stop after so many iterations.")
@click.option(
    "--fresh",
    is_flag=True,
    help="Use a temporary data_dir: start from nothing. Refused where targets have an owner: see `odibictl try`.",
)
@click.option(
    "--replay",
    metavar="ID,...|all",
    multiple=True,
    callback=_letters,
    help="First take these dead letters up again, each in a new iteration.",
)
@PARAM
@lists
@pass_app
def run(
    app: App, pipeline: str, iterations: int | None, fresh: bool, replay: list[int] | None, params: dict[str, Any]
) -> None:
    """Run a pipeline over the data there is, without daemons.

    Everything happens in this process. It continues from, and adds to, the project's checkpoints; an iteration that a
    former run left failed is tried again first. A node's `timeout` is not enforced here, nor is `worker:`: nobody could
    kill or replace this process. Ctrl-C
    (or SIGTERM) stops it: what it was doing does not count as a try, and the next run goes on with it; twice, at once.
    Functions get the parameters as `context.params`, SQL as `getvariable('KEY')`; what a former run left goes on with
    its own.
    Files of dead letters are read as they are now, so fix them before --replay.
    Exit 4 while `odibictl up` runs on the same data_dir, or when the project was moved meanwhile, 5 when an iteration
    failed, anything became a dead letter, or a folder or file is not there or could not be read, 130 when interrupted.
    """
    if fresh and replay is not None:
        raise click.UsageError("--fresh starts from nothing, so there are no dead letters to --replay; choose one")
    project = load(app)
    chosen(project, pipeline)
    for line in importlib.import_module("odibi_actors.config.load").load_warnings(app.root, pipeline=pipeline):
        errors.message(f"warning: {line}", style="yellow")
    run_pipeline: Any = importlib.import_module("odibi_actors.local").run_pipeline
    try:
        # nodes may print; stdout carries the result
        with live_line(f"{pipeline}: begins") as said, contextlib.redirect_stdout(sys.stderr), log_nodes():
            summary = run_pipeline(project, pipeline, iterations, fresh, said, replay, params)
    except ConflictError as error:
        raise ConflictError(_beside(project, pipeline) or str(error)) from None
    except KeyboardInterrupt:
        errors.message(f"interrupted: nothing of it counts as a try; `odibictl run {pipeline}` goes on")
        raise click.exceptions.Exit(errors.INTERRUPTED) from None
    result = {
        "pipeline": pipeline,
        **{name: getattr(summary, name) for name in SHOWN},
    }
    if replay is not None:
        result["replayed"] = summary.replayed
        if not summary.replayed:
            errors.message(f"{pipeline} has no dead letter that could be taken up")
    emit(
        app,
        lambda: result,
        "run",
        lambda row: [fields([(k, count(v) if isinstance(v, int) else v) for k, v in row.items()])],
    )
    if fresh and summary.traceback:  # else it is kept, and shown by what is named below
        errors.message(summary.traceback.rstrip("\n"))
    if summary.waits:
        errors.message(f"warning: {summary.waits}", style="yellow")
    for line in _wrong(pipeline, summary, fresh):
        errors.message(line, style="red")
    if summary.alerts:
        errors.message(f"warning: {plural(summary.alerts, 'alert')} could not be told yet; the next run, or `up`, does")
    from odibi_actors.model import ALL_DONE  # not at load time: it brings msgspec along

    if summary.state not in ALL_DONE:
        raise click.exceptions.Exit(5)


def _beside(project: ProjectSpec, pipeline: str) -> str:
    """Who runs on the data_dir already, and what to do instead; "" when nobody does."""
    run = Path(project.data_dir) / "run"
    pid = locks.holders(run).get("broker", 0)
    if not pid or pid == os.getpid():
        return ""
    if locks.runs(pid, "run"):
        return f"`odibictl run` is at work on {run.parent} (pid {pid}) already; start this when it has ended"
    return (
        f"a system is running on {run.parent} (pid {pid}): `odibictl pipeline trigger {pipeline} --wait` runs it "
        "there; or stop that with `odibictl down` first"
    )


def _wrong(pipeline: str, summary: Any, fresh: bool) -> list[str]:
    """What is not done, and where to look; why it is not was told when it happened. Of a ``fresh`` run nothing is kept
    to look at."""
    lines = [f"error: {summary.untold}"] if summary.untold else []
    if summary.failed:
        show = f": `odibictl iteration show {pipeline} {summary.stuck}`; the next run tries again"
        failed = f"error: {summary.failed} of {plural(summary.iterations, 'iteration')} failed"
        lines.append(failed if fresh else failed + show)
    if summary.dead_lettered:
        letters = plural(summary.dead_lettered, "dead letter")
        lines.append(
            f"error: {letters}" + ("" if fresh else f": `odibictl deadletter list {pipeline}`; {summary.remedy}")
        )
    if summary.unread:
        again = "" if fresh else "; the next run reads what it can read then"
        what = plural(len(summary.unread), "folder or file", "folders or files")
        lines.append(f"error: not all was read: {what} could not be read{again}")
    from odibi_actors.model import ALL_DONE  # not at load time: it brings msgspec along

    if not (summary.failed or summary.dead_lettered or summary.unread) and summary.state not in ALL_DONE:
        lines.append(f"error: {summary.state}: {summary.error}")
    return lines
