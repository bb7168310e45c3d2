"""A soak of the scheduler: scheduler, broker and store are killed while schedules come due every second.

Run by ``scripts/chaos-schedules``. In the end each due time must be in the log once, each must have done what its
policy says, and each run must stand in the output once (see ``scheduled``).
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from odibi_actors.errors import OdibiError
from tests.system.harness import System, until
from tests.system.scheduled import SCHEDULES, Verdict, flag, make, report, verdicts

VICTIMS = ("scheduler", "broker", "checkpoint")
STOPS = (0.5, 2.0, 6.0)
"""Seconds a process is stopped for, now and then."""
DOWN = (1.0, 5.0, 15.0)
"""Seconds everything is down, now and then: shorter than the grace of most schedules, and longer than that of some."""
GAP = 0.8
"""Seconds from one fault to the next on average."""
RECOVERY = 120.0
"""Seconds until nothing is left to do once all faults have ended, or the soak has failed."""
FLAG_EVERY = 2.0


class Soak:
    """One system and what was done to it."""

    def __init__(self, folder: Path, seed: int, say: Callable[[str], None]) -> None:
        self.rng, self.say = random.Random(seed), say
        self.system = System(make(folder))
        self.kills: Counter[str] = Counter()
        self.stops = self.downs = self.flags = 0
        self._next_flag = 0.0
        self._stopped: list[tuple[float, int]] = []

    def run(self, kills: int) -> list[Verdict]:
        """Kill that often, let it come to rest, stop it, and look."""
        self.system.start()
        began = shown = time.monotonic()
        while self.kills.total() < kills:
            self._pass(self.rng.expovariate(1 / GAP))
            dice = self.rng.random()
            if dice < 0.02:
                self._down()
            elif dice < 0.08:
                self._stop()
            else:
                self._kill(*self.rng.sample(VICTIMS, self.rng.choice((1, 1, 1, 2, 3))))
            if time.monotonic() > shown + 30:
                shown = time.monotonic()
                self.say(f"{shown - began:6.0f} s  {dict(self.kills)}, {self.stops} stops, {self.downs} times all down")
        return self.finish()

    def _pass(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            for when, pid in self._stopped[:]:
                if when <= now:
                    self._stopped.remove((when, pid))
                    _signal(pid, signal.SIGCONT)
            if now >= self._next_flag:
                self._next_flag = now + FLAG_EVERY
                self.flags += 1
                flag(self.system.project, self.flags)
            time.sleep(0.02)

    def _kill(self, *roles: str) -> None:
        found = self.system.processes.roles()
        for role in roles:
            if role in found and _signal(self.rng.choice(found[role]), signal.SIGKILL):
                self.kills[role] += 1

    def _stop(self) -> None:
        pids = self.system.pids(self.rng.choice(VICTIMS))
        if pids and _signal(pids[0], signal.SIGSTOP):
            self.stops += 1
            self._stopped.append((time.monotonic() + self.rng.choice(STOPS), pids[0]))

    def _down(self) -> None:
        """Everything is killed, and started again later."""
        self._go_on()
        self.system.kill("launcher")
        assert self.system.extinct(), f"left running: {self.system.processes.living()}"
        self.downs += 1
        self._pass(self.rng.choice(DOWN))
        self.system.launch()
        self.system.await_up()

    def _go_on(self) -> None:
        for _, pid in self._stopped:
            _signal(pid, signal.SIGCONT)
        self._stopped.clear()

    def finish(self) -> list[Verdict]:
        """Pause every schedule, wait until nothing waits or runs, stop the system; what its log and outputs say."""
        self._go_on()
        system = self.system
        system.await_up()

        def arrived() -> bool:
            rows = system.client.schedules("files")["items"]
            return int(rows[0]["started"]) >= self.flags

        until(f"{self.flags} files have started runs", arrived, RECOVERY)
        for name in SCHEDULES:
            if name != "follows":
                system.client.pause_schedule(f"{name}.tick")

        def quiet() -> bool:
            waiting = any(row["waiting"] for row in system.client.schedules()["items"])
            active = any(row["run"] or row["in_flight"] for row in system.client.pipelines()["items"])
            return not (waiting or active)

        until("nothing waits and nothing runs", quiet, RECOVERY)
        assert not (bugs := system.bugs()), "\n".join(bugs)
        system.stop()
        return verdicts(system.project, self.flags)


def _signal(pid: int, number: int) -> bool:
    import os

    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def main() -> int:
    """The command line; 0 when no occurrence was lost, doubled, or treated against its policy."""
    parser = argparse.ArgumentParser(prog="scripts/chaos-schedules", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="how often something is killed (default 100)")
    parser.add_argument("--seed", type=int, default=1, help="which faults, in which order (default 1)")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="odibi-chaos-"))
    say = partial(print, file=sys.stderr, flush=True)
    say(f"seed {chosen.seed}, in {folder}")
    soak, found, failed = Soak(folder / "project", chosen.seed, say), list[Verdict](), ""
    try:
        found = soak.run(chosen.kills)
    except (AssertionError, OdibiError) as error:
        failed = f"{error}\n{soak.system.ctl('status', '--timeout', '5s').stdout}{soak.system.tail(60)}"
    finally:
        soak.system.close()
    print(report(found))
    killed = ", ".join(f"{role} {count}" for role, count in sorted(soak.kills.items()))
    print(f"killed {soak.kills.total()} times ({killed}), stopped {soak.stops}, all down {soak.downs} times")
    if failed or any(one.problems for one in found):
        say(f"{failed}\nFAILED: all is left in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
