"""What the ``__main__`` of every actor shares: options, the supervisor around it, the exit codes.

Imports nothing heavy: without ``--actor`` the process is only a supervisor, and there are five of them.
"""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from odibi_actors.errors import ConflictError, OdibiError
from odibi_actors.runtime import leaving, paths, room
from odibi_actors.runtime.linux import own_standard_descriptors, stand_in
from odibi_actors.runtime.log import log
from odibi_actors.runtime.supervisor import RESTART, supervise


class Here(NamedTuple):
    """This start of an actor: where its project lives and who it is. ``incarnation`` is new each time."""

    name: str
    project: Path
    places: paths.Layout
    options: argparse.Namespace
    incarnation: str
    host: str
    pid: int


class Entry:
    """One line of the Procfile. ``run`` is the actor itself: it returns an exit code, imports what it needs itself,
    and is called once ``run/<name>.lock`` is held."""

    def __init__(self, name: str, module: str, about: str, run: Callable[[Here], int]) -> None:
        self.name, self.module, self._run = name, module, run
        self.parser = argparse.ArgumentParser(
            prog=f"odibictl actor {'worker' if name == 'pool' else name}",
            description=f"{about} Runs it under a supervisor that restarts it when it dies; SIGTERM drains and stops.",
        )
        self.parser.add_argument("--project", type=Path, metavar="DIR", help="folder of odibi.yaml (ODIBI_PROJECT, .)")
        self.parser.add_argument("--actor", action="store_true", help="the actor itself, without supervisor")
        self.parser.add_argument("--data-dir", type=Path, help=argparse.SUPPRESS)  # what the supervisor found

    def main(self, argv: list[str] | None = None) -> int:
        """The process; returns its exit code. What is wrong is one line on stderr, not a traceback."""
        leaving.prepare()
        return leaving.leave(self._main(argv))

    def _main(self, argv: list[str] | None) -> int:
        own_standard_descriptors()
        words = sys.argv[1:] if argv is None else argv
        options = self.parser.parse_args(words)
        try:
            project = Path(os.path.realpath(options.project or os.environ.get("ODIBI_PROJECT") or "."))
            stand_in(project)
            data_dir = options.data_dir or paths.basics(project, required=self.needs_project(options)).data_dir
            if options.actor and not data_dir.is_dir():  # its supervisor has made it, and nobody makes another one
                raise ConflictError(f"{data_dir} is gone: its project was moved or removed while the system ran")
            places = paths.prepare(data_dir)
            if options.actor:
                return self._act(project, places, options)
            code = self.supervise(project, places, options, words)
            paths.leave(places)
            return code
        except OdibiError as error:
            log("error", self.name, str(error))
            return error.exit_code
        except OSError as error:  # no rights, no space: the supervisor tries again
            trace = {} if error.filename else {"traceback": traceback.format_exc()}  # a path says it all
            log("error", self.name, f"cannot start: {room.explained(error, str(error))}", trace)
            return RESTART

    def needs_project(self, options: argparse.Namespace) -> bool:
        """Whether there must be an ``odibi.yaml``."""
        return True

    def command(self, project: Path, places: paths.Layout, words: list[str]) -> list[str]:
        """The actor's own command line, for its supervisor."""
        own = ["--actor", "--project", str(project), "--data-dir", str(places.data_dir)]
        # -P: the project's folder must not be on the import path of anything but workers
        return [sys.executable, "-P", "-m", self.module, *words, *own]

    def supervise(self, project: Path, places: paths.Layout, options: argparse.Namespace, words: list[str]) -> int:
        """Keep the actor running."""
        findable()
        return supervise(self.command(project, places, words), self.name, places.data_dir)

    def actor_name(self, options: argparse.Namespace) -> str:
        """The actor's address."""
        return self.name

    def _act(self, project: Path, places: paths.Layout, options: argparse.Namespace) -> int:
        name = self.actor_name(options)
        paths.hold_lock(places.run / f"{name}.lock")  # until this process ends, however it ends
        here = Here(name, project, places, options, secrets.token_hex(8), socket.gethostname(), os.getpid())
        return self._run(here)


def findable() -> None:
    """Make our packages importable by children that do not look into the current folder, and have another one: entries
    of PYTHONPATH are made absolute, empty ones (which mean the current folder, mostly by a stray colon) left out."""
    home = str(Path(__file__).resolve().parents[2])
    entries = [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if sys.path and os.path.realpath(sys.path[0] or ".") == home and not sys.flags.safe_path:
        entries = [home, *(entry for entry in entries if entry != home)]
    if entries:
        os.environ["PYTHONPATH"] = os.pathsep.join(entries)
    else:
        os.environ.pop("PYTHONPATH", None)
