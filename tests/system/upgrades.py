"""Upgrades with work in flight: each former release is killed in the midst of its work, and this one goes on with it.

Run by ``scripts/upgrades``. A release is a commit of this repository. It gets files, rewinds a pipeline, and everything
is killed at a random moment. This version starts on what is left and gets more files; at the end every output must be
what follows from the files.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from odibi_actors.errors import OdibiError
from tests.system.arrivals import OUTPUTS, PIPELINES, Arrivals, Verdict, compare
from tests.system.chaos import letters
from tests.system.harness import ROOT, System, until

RELEASES = ("edfa086", "e5e4cd9", "1e31785", "795260e", "fdb4281", "f06fc51", "d81c914", "772cffd")
"""Commits that others have worked with, oldest first: store formats 2, 3, 4, 5, 9 and 10, protocols none to 4."""
BEFORE, LAST, AFTER = 6, 12, 4
"""Files of each kind that the former release gets one by one, just before it is killed, and that ours gets."""
WORKING = 0.8
"""Seconds in which the kill strikes after the last files."""
STARTED, SETTLED = 60.0, 120.0
"""Seconds until a start, and the work that is left, are given up."""
RUNNING = re.compile(r"  - pipeline: running\n.*?(?=  - pipeline: )", re.DOTALL)
"""Of the project: what the first releases did not know."""


def git(*words: str) -> str:
    """What git says of this repository."""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def installed(commit: str, folder: Path) -> Path:
    """That release, importable from the folder that is returned, with its entry points."""
    tree, site = folder / "tree", folder / "site"
    tree.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x"], cwd=tree, input=archive, check=True)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(site), str(tree)], check=True)
    return site


class Former(System):
    """A system of a former release: only its own commands talk to it."""

    def __init__(self, project: Path, site: Path) -> None:
        super().__init__(project)
        self._site = site
        self.env["PYTHONPATH"] = str(site)

    def ctl(self, *words: str, timeout: float = STARTED) -> subprocess.CompletedProcess[str]:
        """``odibictl WORDS`` of that release."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("ODIBI_")}
        return subprocess.run(
            [sys.executable, "-P", "-m", "odibi_actors.cli", *words],
            cwd=self.project,
            env={**env, "PYTHONPATH": str(self._site), "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )

    def await_up(self) -> dict[str, Any]:
        """Wait until it has a worker."""

        def look() -> dict[str, Any] | None:
            assert self.main is None or self.main.poll() is None, f"it ended while it started:\n{self.tail()}"
            done = self.ctl("status", "-o", "json")
            status = json.loads(done.stdout) if done.returncode == 0 else {}
            return status if status.get("workers") else None

        return until(f"the former release is up\n{self.tail()}", look, STARTED)

    def done(self) -> int:
        """How many iterations are committed."""
        listed = json.loads(self.ctl("iteration", "list", "flights", "-o", "json").stdout or "{}")
        items = listed if isinstance(listed, list) else listed.get("items", [])
        return sum(item["state"] == "committed" for item in items)

    def kill_all(self) -> None:
        """SIGKILL to everything, launcher first, until nothing is left."""
        while living := sorted(self.processes.living()):
            for pid in living:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.05)


def in_flight(data_dir: Path) -> int:
    """How many iterations were under way, by the tables that every release has."""
    copy = data_dir.parent / "looked-at"  # SQLite would put the log of the original in order
    copy.mkdir()
    for file in data_dir.glob("checkpoints.db*"):
        shutil.copy(file, copy)
    with closing(sqlite3.connect(copy / "checkpoints.db")) as store:
        ended = "('committed', 'dead_lettered', 'cancelled', 'rewound')"
        return int(store.execute(f"SELECT count(*) FROM iterations WHERE state NOT IN {ended}").fetchone()[0])


def upgraded(site: Path, folder: Path, rng: random.Random, said: list[str]) -> tuple[list[Verdict], list[str]]:
    """One upgrade: what each output holds, and what else is wrong. ``said`` gets what the former release was asked."""
    arrivals = Arrivals(folder, rng)
    shutil.copy(site.parent / "tree/Procfile", folder)
    former = Former(folder, site)
    outputs = list(OUTPUTS)
    pipelines = list(PIPELINES)
    if former.ctl("validate").returncode:
        project = folder / "odibi.yaml"
        project.write_text(RUNNING.sub("", project.read_text()))
        outputs = [output for output in outputs if "running" not in output and "whole" not in output]
        pipelines.remove("running")
        assert former.ctl("validate").returncode == 0, former.ctl("validate").stdout + former.ctl("validate").stderr
    try:
        former.start()
        for _ in range(BEFORE):
            arrivals.deliver()
            time.sleep(rng.random() / 3)
        until(f"something is committed\n{former.tail()}", lambda: former.done() > 0)
        for verb in (["drain"], ["rewind", "--to", "1", "--yes"], ["resume"]):
            done = former.ctl("pipeline", verb[0], "checked", *verb[1:])
            said.append(f"{verb[0]} {'done' if done.returncode == 0 else 'refused'}")
        for _ in range(LAST):
            arrivals.deliver()
        time.sleep(rng.random() * WORKING)
    finally:
        former.kill_all()
        former.close()
    said.append(f"{in_flight(folder / '.odibi')} in flight")
    ours = System(folder)
    problems = []
    try:
        ours.start()
        for _ in range(AFTER):
            arrivals.deliver()
        for pipeline in pipelines:
            ours.settled(pipeline, SETTLED)
        wanted = {kind: arrivals.delivered.get(kind, 0) for kind in ("departed", "cancelled")}

        def known() -> bool:
            listed = ours.client.sources()["items"]
            return all(row["known"] >= wanted[row["source"]] for row in listed if row["source"] in wanted)

        until(f"all files are found\n{ours.tail()}", known)
        states = {pipeline: ours.settled(pipeline, SETTLED) for pipeline in pipelines}
        wanted_ends = ("committed", "dead_lettered")
        problems += [f"{name} is {state}" for name, state in states.items() if state not in wanted_ends]
        problems += ours.bugs()
        verified = ours.ctl("checkpoint", "verify", timeout=SETTLED)
        if verified.returncode:
            problems.append(f"verify: {verified.stdout}{verified.stderr}")
        found = [compare(output, arrivals.expected(output), arrivals.found(output)) for output in outputs]
        aside = [(name,) for name in arrivals.aside()]
        found.append(compare("dead letters", aside, [(name,) for name in letters(ours)]))
        ours.stop()
    finally:
        ours.close()
    return found, problems


def main() -> int:
    """The command line; 0 when every upgrade lost and doubled nothing."""
    parser = argparse.ArgumentParser(prog="scripts/upgrades", description=__doc__)
    parser.add_argument("commits", nargs="*", help=f"former releases (default: {' '.join(RELEASES)})")
    parser.add_argument("--rounds", type=int, default=3, help="upgrades from each (default 3)")
    parser.add_argument("--seed", type=int, default=1, help="when it is killed (default 1)")
    chosen = parser.parse_args()
    failed = 0
    for commit in chosen.commits or RELEASES:
        folder = Path(tempfile.mkdtemp(prefix="odibi-upgrades-"))
        site = installed(commit, folder)
        about = git("log", "-1", "--format=%h %s", commit).strip()
        for number in range(chosen.rounds):
            place, said = folder / str(number), list[str]()
            try:
                found, problems = upgraded(site, place, random.Random(f"{chosen.seed} {commit} {number}"), said)
            except (AssertionError, OdibiError) as error:
                found, problems = [], [str(error)]
            problems += [str(one) for one in found if not one.holds]
            rows = sum(one.expected for one in found)
            verdict = "FAILED" if problems else "holds"
            print(f"{about}: {number + 1}: {', '.join(said)}; {rows:,} rows, {verdict}", flush=True)
            for problem in problems:
                print(f"    {problem}", flush=True)
            failed += bool(problems)
            if problems:
                print(f"    all is left in {place}", flush=True)
            else:
                shutil.rmtree(place)
        if not any(folder.glob("[0-9]*")):
            shutil.rmtree(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
