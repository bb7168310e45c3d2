"""A soak: flights arrive for some minutes while anything is killed, or stopped for a while, at random moments.

Run by ``scripts/chaos``. Each fault strikes just after files have arrived and is followed by another one; the time
from the fault until the rows of that one are published is taken. When a year of flights has arrived every output is
compared with the originals, and a fresh project begins the next year.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet

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
FILE_EVERY = 1.0
"""Seconds between files in quiet times."""
MOST, AMIDST = 4, 0.4
"""Files that arrive right before a fault, and seconds until it strikes: in the midst of the work on them."""
WHOLE_SHARE, STOP_SHARE, BURST_SHARE = 0.12, 0.25, 0.15
RECOVERY = 90.0
"""Seconds until an output after a fault, or the soak has failed. A generous bound: not a promise, a verdict."""


class Soak:
    """What is measured over all years, and the system and files of the present one."""

    def __init__(self, folder: Path, seed: int, minutes: float) -> None:
        self.folder, self.rng = folder, random.Random(seed)
        self.flights = Flights(folder / "originals", DAYS)
        self.deliver = load("flights_data.py").deliver
        self.end = time.monotonic() + minutes * 60
        self.recoveries: dict[str, list[float]] = {}
        self.verdicts: list[Any] = []
        self.system: System

    def run(self) -> bool:
        """Year after year; whether everything held."""
        year = 0
        while time.monotonic() < self.end:
            year += 1
            self.begin(self.folder / f"year-{year}")
            try:
                self.year()
            finally:
                self.system.close()
        self.report()
        return all(verdict.holds for verdict in self.verdicts)

    def begin(self, project: Path) -> None:
        self.system = System(self.flights.project(project))
        self.landing = project / "data/landing"
        self.parts: set[str] = set()
        self.dates: set[str] = set()
        self.delivered, self.next_file = 0, 0.0
        self.system.start()

    def year(self) -> None:
        """All files, with faults as long as there is time."""
        while time.monotonic() < self.end and self.delivered < DAYS - MOST:
            self.idle(self.rng.uniform(*PAUSE))
            for _ in range(self.rng.randint(1, MOST)):
                self.feed()
            time.sleep(self.rng.uniform(0.0, AMIDST))
            self.fault()
        while self.delivered < DAYS:
            self.feed()
        self.compare()

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
                self.next_file = now + FILE_EVERY
            time.sleep(min(0.05, max(0.0, end - now)))

    # --- faults ---------------------------------------------------------------------------------------------------

    def fault(self) -> None:
        """One fault, or a burst of them, and the next output."""
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
        took = self.next_output(began)
        self.recoveries.setdefault(kind, []).append(took)
        number = sum(map(len, self.recoveries.values()))
        print(f"{number:4} {kind:32} {took:6.2f} s to the next output, {self.delivered} files", flush=True)

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

    def next_output(self, began: float) -> float:
        """Seconds from ``began`` until the rows of a file that was delivered after the fault are published."""
        self.feed()
        date = self.flights.files[self.delivered - 1][0][len("flights-") : -len(".csv")]
        end = began + RECOVERY
        while date not in self.published():
            assert time.monotonic() < end, f"{date} not published within {RECOVERY:g} s\n{self.problems()}"
            time.sleep(0.02)
        return time.monotonic() - began

    def published(self) -> set[str]:
        """Dates in the lake. The files are read, so that no actor need be there to be asked."""
        for part in sorted((self.system.project / "data/lake/flights").glob("*.parquet")):
            if part.name not in self.parts:
                column = pyarrow.parquet.read_table(part, columns=["date"])["date"]
                self.dates.update(str(day) for day in column.unique().to_pylist())
                self.parts.add(part.name)
        return self.dates

    def problems(self) -> str:
        """What the system says of itself."""
        return self.system.ctl("status", "--timeout", "5s").stdout + self.system.tail(80)

    # --- the end --------------------------------------------------------------------------------------------------

    def compare(self) -> None:
        """Wait until all is done; compare every output."""

        def found() -> bool:
            listed = self.system.client.sources()["items"]
            return sum(row["known"] for row in listed if row["source"] == "flights") >= DAYS

        until(f"all {DAYS} files are found", found, RECOVERY)
        state = self.system.settled("delays", RECOVERY)
        assert state == "committed", f"the pipeline is {state}\n{self.problems()}"
        epoch = self.system.client.status()["epoch"]
        self.system.stop()
        assert not (bugs := self.system.bugs()), "\n".join(bugs)
        verdicts = load("compare.py").compare(self.system.project / "data", DAYS)
        self.verdicts += verdicts
        print(f"\na year has arrived in {epoch} epochs\n{load('compare.py').report(verdicts)}\n", flush=True)

    def report(self) -> None:
        """Faults by kind, recoveries, rows."""
        print(f"{'fault':32}{'times':>6}{'median s':>10}{'worst s':>10}   (from the fault to the next output)")
        for kind, took in sorted(self.recoveries.items()):
            print(f"{kind:32}{len(took):6}{statistics.median(took):10.2f}{max(took):10.2f}")
        kills = sum(len(took) for kind, took in self.recoveries.items() if kind.startswith("kill"))
        stops = sum(map(len, self.recoveries.values())) - kills
        expected = sum(verdict.expected for verdict in self.verdicts)
        lost = sum(verdict.missing for verdict in self.verdicts)
        doubled = sum(verdict.doubled + verdict.extra for verdict in self.verdicts)
        wrong = sum(verdict.differing for verdict in self.verdicts)
        print(f"killed {kills} times, stopped {stops} times")
        print(f"rows expected: {expected:,}, lost: {lost:,}, doubled: {doubled:,}, wrong: {wrong:,}")


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
    print("the soak holds" if held else "the soak does NOT hold")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
