"""A soak: flights arrive for some minutes while anything is killed, or stopped for a while, at random moments.

Run by ``scripts/chaos``. A signal is followed by a file, and the time from the signal to the next commit is taken.
In the end every output is compared with the originals.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from odibi_actors.client import Client
from odibi_actors.errors import OdibiError
from tests.example.conftest import load
from tests.system.harness import ACTORS, SUPERVISORS, Flights, System, until

DAYS = 365
SINGLE = (*ACTORS, "template", "worker")
"""What is to come back by itself."""
WHOLE = ("honcho", *SUPERVISORS)
"""What takes everything along; this program starts it again, as an operator or systemd would."""
STOPS = (0.2, 1.0, 4.0, 12.0)
"""Seconds a process is stopped for: less and more than others' patience with it."""
PAUSE = (0.2, 5.0)
"""Seconds between the recovery from one fault and the next."""
WHOLE_SHARE, STOP_SHARE, BURST_SHARE = 0.12, 0.25, 0.15
RECOVERY = 90.0
"""Seconds until a commit after a fault, or the soak has failed. A generous bound: not a promise, a verdict."""


class Soak:
    """The system, its files, and what was measured."""

    def __init__(self, folder: Path, seed: int, minutes: float) -> None:
        self.rng = random.Random(seed)
        self.flights = Flights(folder / "originals", DAYS)
        self.system = System(self.flights.project(folder / "flights"))
        self.landing = self.system.project / "data/landing"
        self.deliver = load("flights_data.py").deliver
        self.minutes = minutes
        self.delivered = 0
        self.every = minutes * 60 * 0.9 / DAYS
        self.next_file = 0.0
        self.faults: Counter[str] = Counter()
        self.recoveries: dict[str, list[float]] = defaultdict(list)

    def run(self) -> bool:
        """Go through it; whether everything held."""
        self.system.start()
        began = time.monotonic()
        for number in itertools.count(1):
            if time.monotonic() - began >= self.minutes * 60 or self.delivered >= DAYS - 1:
                break
            self.idle(self.rng.uniform(*PAUSE))
            self.fault(number)
        while self.delivered < DAYS:
            self.feed()
        return self.verdict()

    # --- files ----------------------------------------------------------------------------------------------------

    def feed(self) -> None:
        """Deliver the next file, if one is left."""
        if self.delivered < DAYS:
            name, content = self.flights.files[self.delivered]
            self.deliver(self.landing, name, content, slowly=self.rng.random() < 0.02)
            self.delivered += 1

    def idle(self, seconds: float) -> None:
        """Deliver files at their rate for so long."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            if now >= self.next_file:
                self.feed()
                self.next_file = now + self.every
            time.sleep(min(0.05, max(0.0, end - now)))

    # --- faults ---------------------------------------------------------------------------------------------------

    def fault(self, number: int) -> None:
        """One fault, or a burst of them, and the next commit."""
        chance = self.rng.random()
        if chance < WHOLE_SHARE:
            kind = f"kill {self.rng.choice(WHOLE)}"
            began = self.kill_whole(kind.removeprefix("kill "))
        elif chance < WHOLE_SHARE + STOP_SHARE:
            role, seconds = self.rng.choice(SINGLE), self.rng.choice(STOPS)
            kind = f"stop {role} {seconds:g} s"
            began = self.stop(role, seconds)
        elif chance < WHOLE_SHARE + STOP_SHARE + BURST_SHARE:
            kind = "kill several"
            began = time.monotonic()
            for role in self.rng.sample(SINGLE, self.rng.randint(2, 4)):
                self.kill(role)
        else:
            role = self.rng.choice(SINGLE)
            kind = f"kill {role}"
            began = time.monotonic()
            self.kill(role)
        self.faults[kind] += 1
        took = self.next_commit(began)
        self.recoveries[kind].append(took)
        print(f"{number:4} {kind:32} {took:6.2f} s to the next commit, {self.delivered} files", flush=True)

    def kill(self, role: str) -> None:
        """SIGKILL one of them, if there is one at this moment."""
        pids = self.system.pids(role)
        if pids:
            signalled(self.rng.choice(pids), signal.SIGKILL)

    def kill_whole(self, role: str) -> float:
        self.system.kill(role)
        assert self.system.extinct(), f"left running: {self.system.processes.living()}"
        began = time.monotonic()
        self.system.start()
        return began

    def stop(self, role: str, seconds: float) -> float:
        """SIGSTOP, files that arrive meanwhile, SIGCONT."""
        pid = self.rng.choice(until(f"there is a {role}", lambda: self.system.pids(role)))
        began = time.monotonic()
        if signalled(pid, signal.SIGSTOP):
            self.idle(seconds)
            signalled(pid, signal.SIGCONT)
        return began

    def committed(self) -> int:
        """Iterations committed; -1 while nobody answers."""
        try:
            with Client(project=self.system.project, timeout=2.0) as client:
                (row,) = client.status()["pipelines"]
        except (OdibiError, ValueError):
            return -1
        assert row["state"] == "active", f"the pipeline is {row['state']}: {row['problems']}\n{self.system.tail()}"
        return int(row["committed"])

    def next_commit(self, began: float) -> float:
        """Seconds from ``began`` to the first commit of a file that was delivered after the fault."""
        self.feed()
        last = self.flights.files[self.delivered - 1][0]
        end = began + RECOVERY
        while not self.published(last):
            assert time.monotonic() < end, f"no commit within {RECOVERY:g} s\n{self.system.tail(80)}"
            time.sleep(0.05)
        return time.monotonic() - began

    def published(self, name: str) -> bool:
        """Is this file's iteration committed?"""
        try:
            with Client(project=self.system.project, timeout=2.0) as client:
                items = client.why(name)["items"]
                planned = next((i["reason"] for i in items if i["source"] == "flights" and i["state"] == "planned"), "")
                number = planned.rpartition("iteration ")[2].rstrip(".) ")
                if not number.isdigit():
                    return False
                shown = client.iterations("delays", limit=100)["items"]
                state = next((row["state"] for row in shown if row["iteration"] == int(number)), "committed")
        except OdibiError:
            return False
        assert state not in ("failed", "blocked"), f"iteration {number} is {state}\n{self.system.tail(80)}"
        return bool(state == "committed")

    # --- the end --------------------------------------------------------------------------------------------------

    def verdict(self) -> bool:
        """Wait until all is done, compare, print."""

        def found() -> bool:
            listed = self.system.client.sources()["items"]
            return sum(row["known"] for row in listed if row["source"] == "flights") >= DAYS

        until(f"all {DAYS} files are found", found, RECOVERY)
        state = self.system.settled("delays", RECOVERY)
        rows = self.system.client.iterations("delays", limit=1000)["items"]
        epoch = self.system.client.status()["epoch"]
        self.system.stop()
        module = load("compare.py")
        verdicts = module.compare(self.system.project / "data", DAYS)
        print(f"\n{'fault':32}{'times':>6}{'median s':>10}{'worst s':>10}")
        for kind, times in sorted(self.faults.items()):
            took = self.recoveries[kind]
            print(f"{kind:32}{times:6}{statistics.median(took):10.2f}{max(took):10.2f}")
        kills = sum(times for kind, times in self.faults.items() if kind.startswith("kill"))
        print(f"{kills} times killed, {sum(self.faults.values()) - kills} times stopped; {epoch} epochs")
        print(f"{len(rows)} iterations, the pipeline is {state}\n")
        print(module.report(verdicts))
        lost = sum(verdict.missing for verdict in verdicts)
        doubled = sum(verdict.doubled + verdict.extra for verdict in verdicts)
        print(f"rows lost: {lost}; rows doubled: {doubled}")
        return state == "committed" and all(verdict.holds for verdict in verdicts)


def signalled(pid: int, number: int) -> bool:
    """Send a signal; False when there is nobody any more."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def main() -> int:
    """The command line; 0 when no row was lost or doubled and everything came back by itself."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long faults go on (default 10)")
    parser.add_argument("--seed", type=int, default=1, help="which faults, in which order (default 1)")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="odibi-chaos-"))
    print(f"seed {chosen.seed}, {chosen.minutes:g} minutes, in {folder}", flush=True)
    soak = Soak(folder, chosen.seed, chosen.minutes)
    try:
        held = soak.run()
    except (AssertionError, OdibiError) as error:
        print(f"FAILED: {error}\nall is left in {folder}", file=sys.stderr)
        held = False
    finally:
        soak.system.close()
    print("the soak holds" if held else "the soak does NOT hold")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
