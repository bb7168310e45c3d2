"""``odibictl up`` and ``down``: every actor of the Procfile, started and stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from odibi_actors.cli import errors, locks
from odibi_actors.cli.actor import PROCFILE
from odibi_actors.cli.base import App, Command, lists, pass_app
from odibi_actors.cli.output import emit, plural
from odibi_actors.cli.project import load
from odibi_actors.cli.status import render
from odibi_actors.errors import ConfigError, ConflictError, OdibiError, TimedOutError, UnreachableError

UP_TIMEOUT = 60.0
"""Seconds a detached start may take: cold imports on a busy machine, recovery of a large store."""
DOWN_TIMEOUT = 60.0
"""Seconds for nodes to finish what they run before SIGTERM asks again."""
TERM_TIMEOUT = 15.0
"""Seconds after SIGTERM: honcho itself kills what is left after 5 s."""
DYING = 5.0
"""Seconds to wait for what is left of a system whose launcher was killed; its supervisors drain for 2 s."""
QUIET = 1.0
"""Seconds of `down` after which a person asks himself what it is doing."""
POLL = 0.1


@click.command(
    cls=Command, examples=["odibictl up", "odibictl up --workers 4 --detach", "odibictl up --detach -o json"]
)
@click.option("--workers", type=click.IntRange(1, 512), help="Workers on this host (else `workers:` of odibi.yaml).")
@click.option("-d", "--detach", is_flag=True, help="Return as soon as everything answers; output goes to log/up.log.")
@lists
@pass_app
def up(app: App, workers: int | None, detach: bool) -> None:
    """Start every line of the Procfile, supervised by honcho.

    The project is validated first. In the foreground this process becomes `honcho start`: it prefixes the
    output of each actor, and Ctrl-C or SIGTERM stops all of them. Each line is a supervisor that restarts its
    actor when it dies. Nothing is lost however it ends. With --detach the same runs in a session of its own.
    Exit 2 when the project is invalid, 4 when it is running.
    """
    from odibi_actors.config import write_schema
    from odibi_actors.runtime import paths

    project = load(app)
    root = Path(project.root)
    if not (root / "Procfile").is_file():
        raise ConfigError(f"{root / 'Procfile'}: no such file; write one line per actor:\n{PROCFILE.rstrip()}")
    places = paths.prepare(Path(project.data_dir))
    refuse_second(places.run)
    write_schema(places.data_dir)
    if detach:
        _detach(app, root, places, workers)
        _await_ready(app, places, {pipeline.name for pipeline in project.pipelines})
        emit(app, app.client().status, "project", render)
        return
    errors.message(f"{project.name}: {plural(len(project.pipelines), 'pipeline')}; Ctrl-C stops everything")
    _become_honcho(root, locks.hold(places.run / "up.pid"), workers)


def refuse_second(run: Path) -> None:
    """Raise ConflictError when another system lives on this data_dir. One whose launcher is dead is about to end, and
    is given the time."""
    end = time.monotonic() + DYING
    while holders := locks.holders(run):
        launcher = holders.get("up")
        if set(holders) == {"broker"} and locks.runs(holders["broker"], "run"):
            pid = holders["broker"]
            raise ConflictError(f"`odibictl run` is at work on {run.parent} (pid {pid}); start this when it has ended")
        if (launcher is not None and locks.alive(launcher)) or time.monotonic() >= end:
            name, pid = next(iter(holders.items()))
            raise ConflictError(
                f"a system is running on {run.parent} (pid {launcher or pid}, {name}); stop it with `odibictl down`, "
                "or change it with `odibictl apply`"
            )
        time.sleep(POLL)


def environment(root: Path, workers: int | None) -> dict[str, str]:
    """What the actors inherit. The Procfile says ``python``: it must be the one we run in."""
    env = dict(os.environ, ODIBI_PROJECT=str(root), PYTHONUNBUFFERED="1")
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    if workers is not None:
        env["ODIBI_WORKERS"] = str(workers)
    return env


def _become_honcho(root: Path, lock: int, workers: int | None) -> None:
    """Replace this process, so that signals and exit codes need nobody in between. honcho keeps the lock open."""
    os.set_inheritable(lock, True)
    os.chdir(root)
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", "honcho", "start"], environment(root, workers))


def _detach(app: App, root: Path, places: Any, workers: int | None) -> None:
    """Start ``odibictl up`` in a session of its own, and keep its process in ``app`` to see it fail."""
    argv = [sys.executable, "-m", "odibi_actors.cli", "--project", str(root), "up"]
    argv += ["--workers", str(workers)] if workers is not None else []
    with (places.log / "up.log").open("wb") as log:
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd=root
        )
    click.get_current_context().meta["child"] = child


def _await_ready(app: App, places: Any, pipelines: set[str]) -> None:
    """Until the broker knows every pipeline and all actors have joined."""
    from odibi_actors.client import Client

    child: subprocess.Popen[bytes] = click.get_current_context().meta["child"]
    limit = UP_TIMEOUT if app.timeout is None else app.timeout

    def ready() -> bool:
        if child.poll() is not None:
            log = places.log / "up.log"
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
            error = OdibiError(
                f"the system stopped with exit code {child.returncode} while starting:\n{tail}\nsee {log}"
            )
            error.exit_code = child.returncode if child.returncode in (2, 4) else 1
            raise error
        if not places.connection.exists():
            return False
        try:
            with Client(project=app.root, timeout=2.0) as client:  # a new one: the broker of before may be gone
                status = client.status()
        except (UnreachableError, TimedOutError):
            return False
        roles = {peer["role"] for peer in status.get("peers", [])}
        return (
            pipelines <= {row["pipeline"] for row in status.get("pipelines", [])}
            and {"store", "source", "scheduler", "pool"} <= roles
        )

    if not wait_for(ready, limit):
        raise TimedOutError(
            f"the system was started (pid {child.pid}) but is not ready after {limit:g} s; see `odibictl status`, "
            f"`odibictl doctor` and {places.log / 'up.log'}{last_error(places.log / 'up.log')}"
        )


def last_error(log: Path) -> str:
    """What an actor said last of what keeps it from working, on a line of its own; "" when there is no such line."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-1000:]
    except OSError:
        return ""
    told = [line for line in lines if " error " in line and not line.rpartition("died; starting again")[1]]
    return f"\nthe last error in it: {told[-1].partition(' error ')[2]}" if told else ""


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Look every tenth of a second until ``condition`` holds; False when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(POLL)
    return True


def _gone(run: Path, limit: float) -> bool:
    """Wait until nobody holds a lock, and say what is waited for once that takes noticeable time."""
    quiet = min(QUIET, limit)
    if wait_for(lambda: not locks.holders(run), quiet):
        return True
    errors.message("waiting for running nodes to finish")
    return wait_for(lambda: not locks.holders(run), limit - quiet)


@click.command(cls=Command, examples=["odibictl down", "odibictl down --timeout 5m"])
@pass_app
def down(app: App) -> None:
    """Stop the system: every actor finishes what it is doing.

    Then honcho, which `up` started, ends too. When that takes longer than --timeout (60s) SIGTERM goes to the
    process `up` started. Nothing is lost either way. Exit 69 when nothing runs.
    """
    from odibi_actors.runtime import paths

    run = paths.layout(app.data_dir).run
    before = locks.holders(run)
    limit = DOWN_TIMEOUT if app.timeout is None else app.timeout
    asked = True
    try:
        app.client().shutdown()
    except (UnreachableError, TimedOutError):
        asked = False
        if not before:
            raise UnreachableError(f"nothing is running on {run.parent}") from None
    if asked and _gone(run, limit):
        errors.message("stopped")
        return
    launcher = before.get("up")
    if launcher is None or not locks.alive(launcher):
        left = ", ".join(f"{name} (pid {pid})" for name, pid in locks.holders(run).items())
        raise TimedOutError(f"still running: {left}; stop with Ctrl-C where `honcho start` runs, or kill these")
    errors.message(
        "the broker does not answer; sending SIGTERM" if not asked else f"not down after {limit:g} s; sending SIGTERM"
    )
    os.kill(launcher, signal.SIGTERM)
    if not wait_for(lambda: not locks.holders(run), TERM_TIMEOUT):
        raise TimedOutError(f"pid {launcher} does not stop; see {run.parent / 'log' / 'up.log'}")
    errors.message("stopped")
