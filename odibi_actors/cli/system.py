"""``odibictl up`` and ``down``: every actor, or every line of the Procfile, started and stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from odibi_actors.cli import errors, locks
from odibi_actors.cli.applied import against_store
from odibi_actors.cli.base import App, Command, lists, pass_app
from odibi_actors.cli.output import emit
from odibi_actors.cli.project import load
from odibi_actors.cli.status import render
from odibi_actors.errors import ConflictError, OdibiError, TimedOutError, UnreachableError
from odibi_actors.runtime.console import Console
from odibi_actors.runtime.entry import findable
from odibi_actors.runtime.launcher import Launcher, environment
from odibi_actors.runtime.trouble import last_error
from odibi_actors.units import plural

if TYPE_CHECKING:
    from odibi_actors.config.model import ProjectSpec

UP_TIMEOUT = 60.0
"""Seconds a detached start may take: cold imports on a busy machine, recovery of a large store."""
DOWN_TIMEOUT = 60.0
"""Seconds for nodes to finish what they run before SIGTERM asks again."""
TERM_TIMEOUT = 45.0
"""Seconds after SIGTERM: `up` gives running nodes 25 s, the rest 10 s more."""
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
@click.option("--log", type=click.Path(path_type=Path), hidden=True, help="Write there; how --detach starts it.")
@lists
@pass_app
def up(app: App, workers: int | None, detach: bool, log: Path | None) -> None:
    """Start every actor, and keep it running.

    The project is validated first; what `validate` warns of is said, and which modules of nodes/ cannot be imported. If
    it has a Procfile, the lines of that are run. What each says is shown behind its name, on stderr, and whatever dies
    is started again. Ctrl-C or SIGTERM stops all: running nodes get 25 s to finish, a second one stops at once. Nothing
    is lost however it ends. With --detach the same runs in a session of its own. Exit 2 when the project is invalid, 4
    when it is running, or contradicts what was done.
    """
    from odibi_actors.checkpoint.resting import passed_on, store_id
    from odibi_actors.cli import deep
    from odibi_actors.config import write_schema
    from odibi_actors.nodes.sinks.owner import home_of
    from odibi_actors.nodes.sinks.targets import check_targets, taken_over
    from odibi_actors.runtime import paths, procfile, room

    project = load(app)
    root = Path(project.root)
    lines, notes = procfile.read(root / "Procfile")
    places = paths.prepare(Path(project.data_dir))
    refuse_second(places.run)
    names = passed_on(places.data_dir, root)
    targets = (project.pipelines, store_id(places.database), home_of(places.data_dir, root), names)
    check_targets(*targets)
    for line in taken_over(*targets):
        errors.message(line)
    if log is None:  # else who has detached this has said it
        deep.warn(project)
        _warn(app, project, detach)
    try:
        write_schema(places.data_dir)
    except OSError as error:  # it is for editors; the system waits for room
        if not room.lacking(error):
            raise
        errors.message(f"warning: {room.with_free(f'{places.data_dir}: {error.strerror}', places.data_dir)}")
    if detach:
        _detach(app, root, places, workers)
        _await_ready(app, places, {pipeline.name for pipeline in project.pipelines})
        emit(app, app.client().status, "project", render)
        return
    locks.hold(places.run / "up.pid")  # until this process is gone: `down` waits for that
    console = Console([line.name for line in lines], log or places.log / "up.log", detached=log is not None)
    console.say("info", f"{project.name}: {plural(len(project.pipelines), 'pipeline')}; Ctrl-C stops everything")
    for note in notes:
        console.say("warning", note)
    code = Launcher(lines, root, environment(root, workers, _variables(root)), console, data_dir=places.data_dir).run()
    paths.tidy(places)
    raise click.exceptions.Exit(code)


def _warn(app: App, project: ProjectSpec, detach: bool) -> None:
    """Say what ``validate`` warns of. What contradicts the store the broker says when it applies the project: where its
    words go to a log only, it is said here. Raises ConfigError, ConflictError: `apply` would refuse the project."""
    from odibi_actors.config.load import load_warnings

    found, contradicts = load_warnings(app.root), against_store(app, project)
    if detach:
        found += contradicts
    for line in found:
        errors.message(f"warning: {line}", style="yellow")


def refuse_second(run: Path) -> None:
    """Raise ConflictError when another system lives on this data_dir. One whose launcher is dead is about to end, and
    is given the time."""
    from odibi_actors.runtime.presence import moved

    if said := moved(run):
        raise ConflictError(said)
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


def _variables(root: Path) -> dict[str, str]:
    """The environment, and what ``.env`` adds to it: nodes and the user's own lines read it too."""
    from odibi_actors.config.problems import Problems
    from odibi_actors.config.variables import read_env_file

    findable()
    return read_env_file(root / ".env", Problems("odibi.yaml")) | dict(os.environ)


def _detach(app: App, root: Path, places: Any, workers: int | None) -> None:
    """Start ``odibictl up`` in a session of its own, and keep its process in ``app`` to see it fail."""
    findable()
    path = places.log / "up.log"
    # -P: nothing in the project's folder takes the place of what we import
    argv = [sys.executable, "-P", "-m", "odibi_actors.cli", "--project", str(root), "up", "--log", str(path)]
    argv += ["--workers", str(workers)] if workers is not None else []
    with path.open("wb") as log:  # for what is said before it begins
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
        # Not before it can be found: `down`, given next, would find nothing, and it would come up afterwards.
        wait_for(lambda: child.poll() is not None or "up" in locks.holders(places.run), UP_TIMEOUT)
        raise TimedOutError(
            f"the system was started (pid {child.pid}) but is not ready after {limit:g} s; see `odibictl status`, "
            f"`odibictl doctor` and {places.log / 'up.log'}{_last_words(places.log / 'up.log')}"
        )


def _last_words(log: Path) -> str:
    said = last_error(log)
    return f"\nthe last error in it: {said}" if said else ""


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

    Then `up` (or `honcho start`) ends too. When that takes longer than --timeout (60s) SIGTERM goes to `up`.
    Nothing is lost either way. Exit 69 when nothing runs.
    """
    from odibi_actors.runtime import paths

    places = paths.layout(app.data_dir)
    run = places.run
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
        paths.tidy(places)
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
    paths.tidy(places)
    errors.message("stopped")
