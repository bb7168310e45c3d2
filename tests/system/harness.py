"""A whole system under test: its processes by role, ways to kill them, waits that end by themselves."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.parquet

from odibi_actors.client import Client
from odibi_actors.errors import OdibiError, TimedOutError, UnreachableError
from odibi_actors.runtime import paths
from tests.example.conftest import EXAMPLE, load
from tests.runtime.processes import MARK, Family, gone

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PROCFILE = ROOT / "Procfile"

DEADLINE = 60.0
"""Seconds until a wait is given up: a generous bound for a busy machine, never a figure that is promised."""
DYING = 15.0
"""Seconds in which everything must be gone once `up` or honcho was killed, or one of its supervisors (it gives 5)."""
LOOK = 0.05
"""Seconds between looks at what no message tells of, such as the processes of this machine."""

BUGS = ("a bug stopped this actor", "the store refused record", "the driver's worker died", "Traceback (most")
"""Words in a log that mean a mistake of ours; supervisors would fix it, and hide it."""

LINES = {
    "broker": "odibi_actors.broker",
    "checkpoint": "odibi_actors.checkpoint",
    "scheduler": "odibi_actors.scheduler",
    "source": "odibi_actors.streaming",
    "worker": "odibi_actors.workers",
}
"""Line of the Procfile -> the module it runs."""
ACTORS = ("broker", "checkpoint", "scheduler", "source", "pool")
SUPERVISORS = tuple(f"supervisor of {line}" for line in LINES)


Found = TypeVar("Found")


def until(what: str, look: Callable[[], Found | None], seconds: float = DEADLINE) -> Found:
    """Look until there is something; AssertionError when there is nothing in time."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(LOOK)
    return found


class Processes(Family):
    """Everything a system consists of, told from all else on this machine by a mark in its environment."""

    def launch(self, argv: list[str], cwd: Path, output: Path, **env: str) -> subprocess.Popen[str]:
        """Start one; it and its children write to the file ``output``."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ODIBI_")}
        inherited.pop("PYTHONDONTWRITEBYTECODE", None)  # starts are measured as users have them
        path = f"{BIN}{os.pathsep}{inherited.get('PATH', os.defpath)}"
        with output.open("ab") as log:
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env={**inherited, "PATH": path, "PYTHONPATH": str(ROOT), **env, MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                text=True,
            )
        self.started.append(process)
        return process

    def roles(self) -> dict[str, list[int]]:
        """Role -> pids: launcher, supervisors, actors, template, worker, and "other" (a shell on its way)."""
        living = self.living()
        templates = {pid for pid, line in living.items() if " odibi_actors.workers.template " in line}
        found: dict[str, list[int]] = {}
        for pid, line in sorted(living.items()):
            forked = "worker" if parent(pid) in templates else "template"
            found.setdefault(forked if pid in templates else role_of(line), []).append(pid)
        return found


def role_of(line: str) -> str:
    """The role of a process that is no template, from its command line."""
    if re.search(r"(^|[ /])honcho start|(odibictl|odibi_actors\.cli) (.* )?up( |$)", line):
        return "launcher"
    for name, module in LINES.items():
        if re.search(rf"^\S*python\S* (\S*odibictl actor {name}|(-P )?-m {re.escape(module)})( |$)", line):
            if " --actor " not in line:
                return f"supervisor of {name}"
            return "pool" if name == "worker" else name
    return "other"


def parent(pid: int) -> int:
    """Its parent; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


class System:
    """One project folder and the processes that run it."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.processes = Processes()
        self.log = project / "system.log"
        self.client = Client(project=project, timeout=DEADLINE)
        self.main: subprocess.Popen[str] | None = None
        self.env: dict[str, str] = {}  # more of it, for all that is started

    # --- starting and stopping ------------------------------------------------------------------------------------

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Start it by ``argv``, else by `odibictl up`, and wait until every actor has joined."""
        main = self.launch(*argv)
        self.await_up()
        return main

    def launch(self, *argv: str) -> subprocess.Popen[str]:
        """The same without waiting."""
        command = list(argv) or [sys.executable, "-m", "odibi_actors.cli", "up"]
        self.main = self.processes.launch(command, self.project, self.log, **self.env)
        return self.main

    def await_up(self) -> dict[str, Any]:
        """The first status with every actor and an idle or busy worker in it."""

        def look() -> dict[str, Any] | None:
            assert self.main is None or self.main.poll() is None, f"it ended while it started:\n{self.tail()}"
            try:
                with Client(project=self.project, timeout=2.0) as client:
                    status = client.status()
            except (UnreachableError, TimedOutError):
                return None
            roles = {peer["role"] for peer in status["peers"]}
            working = [row for row in status["workers"] if row["state"] in ("idle", "busy")]
            return status if roles >= {"store", "source", "pool", "scheduler"} and working else None

        return until(f"the system is up\n{self.tail()}", look)

    def stop(self) -> None:
        """``odibictl down``; everything must be gone after it."""
        done = self.ctl("down")
        assert done.returncode == 0, done.stderr + self.tail()
        assert self.extinct(), f"left after down: {self.processes.living()}"

    def extinct(self, seconds: float = DYING) -> bool:
        """Wait for the end of every process; False when some live on."""
        end = time.monotonic() + seconds
        while living := self.processes.living():
            if not all(gone(pid, end - time.monotonic()) for pid in living):
                return False
        if self.main is not None:
            self.main.wait(seconds)
        return True

    def close(self) -> None:
        """Kill what is left. A test that did not mean to leave anything calls ``stop`` or ``extinct`` before."""
        self.client.close()
        self.processes.close()
        paths.tidy(paths.layout(self.project / ".odibi"))  # what was killed could not

    # --- processes ------------------------------------------------------------------------------------------------

    def pids(self, role: str) -> list[int]:
        """Living processes of that role."""
        return self.processes.roles().get(role, [])

    def kill(self, role: str, number: int = signal.SIGKILL, rng: random.Random | None = None) -> int:
        """Send a signal to one process of the role, as soon as there is one; returns its pid. SIGKILL: and wait until
        it is dead."""
        while True:
            pids = until(f"there is a process for {role}\n{self.tail()}", lambda: self.pids(role))
            pid = rng.choice(pids) if rng is not None else pids[0]
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
            assert number != signal.SIGKILL or gone(pid), f"{role} (pid {pid}) survived SIGKILL"
            return pid

    def identities(self, *roles: str) -> dict[str, list[int]]:
        """pids of some roles, to compare with later ones."""
        found = self.processes.roles()
        return {role: found.get(role, []) for role in roles}

    # --- talking to it --------------------------------------------------------------------------------------------

    def ctl(self, *words: str, timeout: float = DEADLINE) -> subprocess.CompletedProcess[str]:
        """``odibictl WORDS`` in the project."""
        return self.python("odibi_actors.cli", *words, timeout=timeout)

    def python(
        self, module: str, *words: str, given: str | None = None, timeout: float = DEADLINE
    ) -> subprocess.CompletedProcess[str]:
        """``python -m MODULE WORDS`` in the project, with what is ``given`` on its standard input."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("ODIBI_")}
        return subprocess.run(
            [sys.executable, "-m", module, *words],
            cwd=self.project,
            env={**env, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", MARK: self.processes.mark},
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )

    def json(self, *words: str) -> Any:
        """The result of a command that must succeed."""
        done = self.ctl(*words, "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def iterations(self, pipeline: str) -> list[dict[str, Any]]:
        """All iterations, oldest first."""
        return self.client.iterations(pipeline, limit=1000)["items"][::-1]

    def wait(self, pipeline: str, iteration: int, *states: str) -> None:
        """Wait until that iteration is in one of the states."""
        try:
            self.client.wait(pipeline, iteration, states, timeout=DEADLINE)
        except OdibiError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from error

    def settled(self, pipeline: str, seconds: float = DEADLINE) -> str:
        """Wait until nothing is left to do; the state it ended in."""
        try:
            return str(self.client.wait(pipeline, timeout=seconds)["state"])
        except OdibiError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from error

    def bugs(self) -> list[str]:
        """What actors have said of themselves that must never happen, whatever was done to them."""
        logs = (self.project / ".odibi/log").glob("*.log*")
        lines = [line for log in sorted(logs) for line in log.read_text(errors="replace").splitlines()]
        return [line[:2000] for line in lines if any(words in line for words in BUGS)]

    def tail(self, lines: int = 40) -> str:
        """The last lines of what the system said."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


# --- projects -----------------------------------------------------------------------------------------------------


class Flights:
    """The first days of the flights, cut once for all tests. ``files``: (name, content) by date."""

    def __init__(self, folder: Path, days: int) -> None:
        self.folder, self.days = folder, days
        data = load("flights_data.py")
        data.prepare(folder)
        self.files: list[tuple[str, bytes]] = list(data.days(folder))[:days]
        # The comparison need not read what never arrives.
        header = self.files[0][1].splitlines(keepends=True)[0]
        rows = b"".join(content.removeprefix(header) for _, content in self.files)
        (folder / "data/original/flights.csv").write_bytes(header + rows)

    def project(self, folder: Path) -> Path:
        """A copy of the example with its data, nothing delivered yet."""
        ignored = shutil.ignore_patterns("data", ".odibi", "__pycache__", "*.log")
        shutil.copytree(EXAMPLE, folder, ignore=ignored)
        shutil.copytree(self.folder / "data", folder / "data")
        return folder

    def assert_compared(self, system: System, days: int | None = None) -> None:
        """Every output holds what the originals of the delivered days say, once."""
        module = load("compare.py")
        verdicts = module.compare(system.project / "data", days or self.days)
        assert all(verdict.holds for verdict in verdicts), module.report(verdicts) + "\n" + system.tail()


class Delivery(threading.Thread):
    """Delivers files while a test kills things; leaving the ``with`` block waits for the last one."""

    def __init__(self, landing: Path, files: list[tuple[str, bytes]], per_second: float) -> None:
        super().__init__(name="delivery", daemon=True)
        self.landing, self.files, self.per_second = landing, files, per_second
        self.delivered = 0
        self._deliver = load("flights_data.py").deliver
        self._halt = threading.Event()

    def __enter__(self) -> Delivery:
        self.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._halt.set()
        self.join()
        assert kind is not None or self.delivered == len(self.files), "delivering failed"

    def run(self) -> None:
        """Deliver all at a steady rate, one in 40 slowly under its final name."""
        for number, (name, content) in enumerate(self.files, start=1):
            if self._halt.wait(1 / self.per_second):
                return
            self._deliver(self.landing, name, content, slowly=number % 40 == 0)
            self.delivered = number

    def reach(self, number: int) -> None:
        """Wait until so many files were delivered."""
        until(f"{number} files are delivered", lambda: self.delivered >= number)


def finish(system: System, flights: Flights, days: int | None = None) -> None:
    """Wait until every delivered file was found and nothing is left to do; then compare."""
    wanted = days or flights.days

    def found() -> bool:
        listed = system.client.sources()["items"]
        return sum(row["known"] for row in listed if row["source"] == "flights") >= wanted

    until(f"all {wanted} files are found", found)
    state = system.settled("delays")
    assert state == "committed", f"{state}: {system.client.status()}\n{system.tail()}"
    flights.assert_compared(system, wanted)


def moments(rng: random.Random, first: int, last: int, count: int) -> Iterator[int]:
    """``count`` random moments of a delivery, as numbers of delivered files, in order."""
    yield from sorted(rng.randint(first, last) for _ in range(count))


def small(folder: Path, yaml: str, nodes: str = "", workers: int = 2) -> Path:
    """A project of a few lines: ``yaml`` is its pipelines, ``nodes`` its nodes/own.py."""
    (folder / "nodes").mkdir(parents=True)
    for name in re.findall(r"^  - pipeline: (\w+)", yaml, re.MULTILINE):
        (folder / "data/landing" / name).mkdir(parents=True)
    (folder / "Procfile").write_text(PROCFILE.read_text())
    (folder / "nodes/own.py").write_text(nodes)
    (folder / "odibi.yaml").write_text(HEAD.format(workers=workers) + yaml)
    return folder


HEAD = """\
project: small
workers: {workers}
connections:
  landing: {{type: local, path: data/landing}}
  lake:    {{type: local, path: data/lake}}
  mart:    {{type: sqlite, path: data/mart.db}}
pipelines:
"""


def pipeline(name: str, nodes: str, **keys: object) -> str:
    """One pipeline that reads csv files of ``landing/<name>`` as ``rows`` (columns id, value), runs ``nodes`` (lines of
    YAML flow mappings) and writes what ``last`` gives to ``lake/<name>``."""
    lines = [
        f"- pipeline: {name}",
        *(f"  {key}: {value}" for key, value in keys.items()),
        "  nodes:",
        f"    - {{name: rows, read: {{connection: landing, path: {name}, format: csv, mode: file_watch, "
        'pattern: "*.csv", schema: {id: int64, value: double}}}',
        *(f"    - {line}" for line in nodes.strip().splitlines()),
        f"    - {{name: out, inputs: [last], write: {{connection: lake, path: {name}, format: parquet}}}}",
    ]
    return "\n".join(f"  {line}" for line in lines) + "\n"


def last(function: str) -> str:
    """The node ``last``: a function of nodes/own.py over ``rows``."""
    return f'{{name: last, inputs: [rows], transform: {{function: "nodes.own:{function}"}}}}'


PLAIN = '{name: last, inputs: [rows], transform: {sql: "select * from rows"}}'


def put_together(system: System, pipeline: str, **files: list[str]) -> None:
    """Deliver several files that one iteration is to take together: the pipeline is paused meanwhile."""
    system.client.pause(pipeline)
    for name, rows in files.items():
        put(system, pipeline, name, *rows)
    until(f"{len(files)} files are offered", lambda: system.client.pipeline(pipeline)["offered"] == len(files))
    system.client.resume(pipeline)


def put(system: System, pipeline: str, name: str, *rows: str) -> Path:
    """Deliver a csv file of columns id, value, whole at once."""
    folder = system.project / "data/landing" / pipeline
    partial = folder / f"{name}.arriving"
    partial.write_text("id,value\n" + "".join(f"{row}\n" for row in rows))
    return partial.rename(folder / f"{name}.csv")


def published(system: System, pipeline: str) -> list[int]:
    """The ids that were published, sorted."""
    parts = sorted((system.project / "data/lake" / pipeline).glob("*.parquet"))
    return sorted(i for part in parts for i in pyarrow.parquet.read_table(part)["id"].to_pylist())
