"""A soak: files arrive while anything is killed, or stopped for a while, at random moments and at failpoints.

Run by ``scripts/chaos``. Faults overlap: the next one does not wait for the recovery from the last. A file arrives with
each fault, and the time until its rows are published is taken; the figures are of faults that struck alone, when all
before was published. In the end everything must be published, and equal to the answer that ``arrivals`` knows.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet

from odibi_actors.errors import OdibiError
from odibi_actors.failpoints import DECLARED
from tests.system.arrivals import PER_FILE, PIPELINES, Arrivals, Verdict, verdicts
from tests.system.harness import ACTORS, SUPERVISORS, System

SINGLE = (*ACTORS, *SUPERVISORS, "template", "worker")
"""What is to come back by itself."""
WHOLE = ("launcher",)
"""What takes everything along; this program starts it again, as an operator or systemd would."""
STOPS = (0.2, 0.5, 1.0, 4.0, 12.0)
"""Seconds a process is stopped for: less and more than others' patience with it."""
SHARES = {"whole": 0.05, "stop": 0.12, "burst": 0.08, "failpoint": 0.30, "nothing": 0.05}
"""Of all faults; the rest kills one process. Nothing at all shows how long a file takes anyway."""
QUIET_SHARE, QUIET_WAIT = 0.5, 6.0
"""Faults that wait until everything is published, and how long (seconds): they are measured alone."""
GAP = 0.9
"""Seconds from one fault to the next on average, the waiting not counted."""
FILE_EVERY = 0.7
"""Seconds between arrivals when nothing else happens."""
REACHED = 6.0
"""Seconds a failpoint is armed; one that is not reached by then is given up."""
RECOVERY = 90.0
"""Seconds until a file's rows must be published, or the soak has failed. Generous: not a promise, a verdict."""
SLOW = 4.0
"""Seconds to resume after which it is told when it was, to be found in the logs."""
HALTED = re.compile(r" broker \w+ \d+: (failed at|cannot publish) ")
"""What the broker says when an operator is needed."""
LOOK = 0.01
"""Seconds between looks at what is published."""

HOSTS = {
    "peer": ("checkpoint", "scheduler", "source", "pool"),
    "hub": ("broker",),
    "connection": ("broker",),
    "store": ("checkpoint",),
    "source": ("source",),
    "pool": ("pool",),
    "spool.delete": ("pool",),
    "spool.deleted": ("pool",),
    "template": ("template",),
}
"""Whose failpoints they are, by name or its first part; the rest are the workers'."""


class Probe(NamedTuple):
    """A fault whose end is waited for: the file ``number`` arrived with it."""

    victim: str
    began: float
    number: int
    alone: bool


class Recovery(NamedTuple):
    """One that has ended."""

    seconds: float
    alone: bool


class Soak:
    """One system, its arrivals, and what was done to it. ``say`` is told of progress."""

    def __init__(self, folder: Path, seed: int, say: Callable[[str], None]) -> None:
        self.rng, self.say = random.Random(seed), say
        self.arrivals = Arrivals(folder, random.Random(f"arrivals {seed}"))
        self.arm_file = folder / "failpoint"
        self.system = System(folder)
        self.system.env["ODIBI_FAILPOINTS"] = f"@{self.arm_file}"
        self.kills = self.stops = self.unreached = 0
        self.fired: Counter[str] = Counter()
        self.recoveries: dict[str, list[Recovery]] = {}
        self.probes: list[Probe] = []
        self.published: set[int] = set()
        self._parts: set[str] = set()
        self._stopped: list[tuple[float, int]] = []  # (when to go on, pid)
        self._armed: tuple[str, float] | None = None
        self._next_file = self._last_fault = 0.0

    def run(self, kills: int) -> list[Verdict]:
        """Kill that often, then wait for the end of all work; what every output holds."""
        self.system.start()
        began = shown = time.monotonic()
        while self.kills < kills:
            self.wait(self.rng.expovariate(1 / GAP))
            if self.rng.random() < QUIET_SHARE:
                self.wait(QUIET_WAIT, quiet=True)
            self._fault()
            if time.monotonic() > shown + 15.0:
                shown = time.monotonic()
                self.say(self._progress(shown - began))
                self._halted()
        self._calm()
        return self.finish()

    def one_by_one(self, times: int) -> list[Verdict]:
        """Each victim so often, each time when all before is published; what every output holds."""
        self.system.start()
        for victim in ("nothing", *SINGLE, *WHOLE):
            for _ in range(times):
                self.wait(RECOVERY, quiet=True)
                if victim == "nothing":
                    self._struck(victim, time.monotonic())
                elif victim in WHOLE:
                    self._kill_whole(victim)
                else:
                    self._kill(victim)
            self.say(f"{victim}: {times} times")
        return self.finish()

    def _progress(self, seconds: float) -> str:
        worst = max(((r.seconds, name) for name, took in self.recoveries.items() for r in took), default=(0.0, ""))
        return (
            f"{seconds:6.0f} s  {self.kills} kills ({self.fired.total()} at failpoints), {self.stops} stops, "
            f"{self.arrivals.count} files, {len(self.published)} published; worst {worst[0]:.1f} s ({worst[1]})"
        )

    # --- time passes ----------------------------------------------------------------------------------------------

    def wait(self, seconds: float, quiet: bool = False) -> None:
        """So long; or until everything is published and nothing is stopped or armed."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end and not (quiet and self._quiet()):
            if now >= self._next_file and not quiet:
                self.arrivals.deliver()
                self._next_file = now + FILE_EVERY
            self._look(now)
            time.sleep(LOOK)

    def _quiet(self) -> bool:
        return not (self.probes or self._stopped or self._armed) and len(self.published) >= self.arrivals.count

    def _look(self, now: float) -> None:
        """What is published, who is to go on, which failpoint was reached."""
        for when, pid in self._stopped[:]:
            if when <= now:
                self._stopped.remove((when, pid))
                signalled(pid, signal.SIGCONT)
        self._look_at_failpoint(now)
        for name in sorted(set(os.listdir(self._lake)) - self._parts) if self._lake.is_dir() else []:
            if name.endswith(".parquet"):
                self._parts.add(name)
                column = pyarrow.parquet.read_table(self._lake / name, columns=["id"])["id"]
                self.published.update(i // PER_FILE for i in column.to_pylist() if i % PER_FILE < PER_FILE // 2)
        now = time.monotonic()
        for probe in self.probes[:]:
            if probe.number in self.published:
                self.probes.remove(probe)
                alone = probe.alone and self._last_fault <= probe.began and not self._stopped
                self.recoveries.setdefault(probe.victim, []).append(Recovery(now - probe.began, alone))
                if now - probe.began > SLOW:
                    at = time.strftime("%H:%M:%S", time.gmtime(time.time() - now + probe.began))
                    self.say(f"         slow: {now - probe.began:.1f} s after {probe.victim} at {at} ({alone=})")
            elif now - probe.began > RECOVERY:
                raise AssertionError(f"{probe.number} not published {RECOVERY:g} s after {probe.victim}")

    @property
    def _lake(self) -> Path:
        return self.system.project / "data/lake/flights"

    def _look_at_failpoint(self, now: float) -> None:
        if self._armed is None:
            return
        name, until_ = self._armed
        pids = [int(path.suffix[1:]) for path in self.arm_file.parent.glob(f"{self.arm_file.name}.*")]
        if pids:
            self._disarm()
            self._armed = None
            if " stop " in name:
                self.stops += 1
                self._stopped.append((now + self.rng.choice(STOPS[:3]), pids[0]))
            else:
                self.kills += 1
            self.fired[name.split()[-1]] += 1
            self._struck("at a failpoint", now)
        elif now >= until_:
            self._disarm()
            self._armed = None
            self.unreached += 1

    @property
    def armed(self) -> bool:
        """Whether a failpoint is armed that was not reached yet."""
        return self._armed is not None

    def _disarm(self) -> None:
        for path in self.arm_file.parent.glob(f"{self.arm_file.name}*"):
            path.unlink(missing_ok=True)

    # --- faults ---------------------------------------------------------------------------------------------------

    def _fault(self) -> None:
        kinds = [*SHARES, "kill"]
        (kind,) = self.rng.choices(kinds, [*SHARES.values(), 1 - sum(SHARES.values())])
        if kind == "whole":
            self._kill_whole(self.rng.choice(WHOLE))
        elif kind == "stop":
            self._stop(self.rng.choice((*SINGLE, *WHOLE)), self.rng.choice(STOPS))
        elif kind == "burst":
            self._kill(*self.rng.sample(SINGLE, self.rng.randint(2, 4)))
        elif kind == "failpoint" and self._armed is None:
            self._arm_any()
        elif kind == "nothing":
            self._struck("nothing", time.monotonic())
        else:
            self._kill(self.rng.choice(SINGLE))

    def _struck(self, victim: str, began: float) -> None:
        """A fault has happened: a file comes, and is waited for."""
        alone = not self.probes and not self._stopped
        self._last_fault = began
        self.probes.append(Probe(victim, began, self.arrivals.deliver(), alone))

    def _kill(self, *roles: str) -> None:
        """SIGKILL these, as far as they are there at this moment."""
        self.arrivals.deliver()
        self.wait(self.rng.uniform(0.0, 0.3))
        found = self.system.processes.roles()
        began = time.monotonic()
        killed = [role for role in roles if role in found and signalled(self.rng.choice(found[role]), signal.SIGKILL)]
        self.kills += len(killed)
        if killed:
            self._struck(killed[0] if len(roles) == 1 else "several at once", began)

    def _kill_whole(self, role: str) -> None:
        """One whose death ends everything; then a new start."""
        self._calm()
        self.system.kill(role)
        self.kills += 1
        assert self.system.extinct(), f"left running after {role}: {self.system.processes.living()}"
        began = time.monotonic()
        self.system.launch()
        self._struck(f"{role}, all started again", began)

    def _stop(self, role: str, seconds: float) -> None:
        """SIGSTOP now, SIGCONT later; the others, and the faults, go on meanwhile."""
        pids = self.system.pids(role)
        if pids:
            pid, began = self.rng.choice(pids), time.monotonic()
            if signalled(pid, signal.SIGSTOP):
                self.stops += 1
                self._struck(f"stopped {seconds:g} s", began)
                self._stopped.append((began + seconds, pid))

    def _arm_any(self) -> None:
        name = self.rng.choice([*DECLARED])
        often = name.startswith(("peer.", "hub.", "store."))
        act = "stop" if self.rng.random() < SHARES["stop"] else "kill"
        self.arm(name, act, self.rng.randint(1, 30 if often else 3))

    def arm(self, name: str, act: str, time_: int) -> None:
        """Arm a failpoint and kill whose it is, so that the next one gets there."""
        new = self.arm_file.with_name("arming")
        new.write_text(f"{name}:{act}@{time_}")
        new.rename(self.arm_file)
        self._armed = (f"failpoint {act} {name}", time.monotonic() + REACHED)
        hosts = HOSTS.get(name) or HOSTS.get(name.split(".", maxsplit=1)[0]) or ("worker",)
        self._kill(self.rng.choice(hosts))

    def _calm(self) -> None:
        """Nothing is stopped or armed any more."""
        for _, pid in self._stopped:
            signalled(pid, signal.SIGCONT)
        self._stopped.clear()
        self._disarm()
        self._armed = None

    # --- the end --------------------------------------------------------------------------------------------------

    def finish(self) -> list[Verdict]:
        """Wait for the end of all work; what every output holds."""
        system = self.system
        system.await_up()
        self._planned(sum(self.arrivals.delivered.values()))
        for name in PIPELINES:
            state = system.settled(name, RECOVERY)
            assert state in ("committed", "dead_lettered"), f"pipeline {name} is {state}"
        self.wait(RECOVERY, quiet=True)
        assert not (bugs := system.bugs()), "\n".join(bugs)
        return verdicts(self.arrivals, letters(self.system))

    def _planned(self, wanted: int) -> None:
        """Wait until so many files are planned. The verdict is of a system that stands still, not of a slow machine."""
        client, before, end = self.system.client, -1, 0.0
        while True:
            rows = [row for row in client.sources()["items"] if row["mode"] == "file_watch"]
            planned = sum(row["known"] for row in rows)
            if planned >= wanted:
                return
            if planned != before:
                before, end = planned, time.monotonic() + RECOVERY
            states = [(row["pipeline"], row["state"], row["problems"]) for row in client.pipelines()["items"]]
            said = f"{planned} of {wanted} files are planned, and no more for {RECOVERY:g} s: {rows}; {states}"
            assert time.monotonic() < end, f"{said}\n{self.system.tail()}"
            time.sleep(LOOK)

    def _halted(self) -> None:
        """Nothing that happens here is a reason to wait for an operator."""
        log = self.system.project / ".odibi/log/broker.log"
        lines = [line for line in log.read_text(errors="replace").splitlines() if HALTED.search(line)]
        assert not lines, "a pipeline has halted:\n" + "\n".join(lines[:10])


def letters(system: System) -> list[str]:
    """The files of ``checked`` that were set aside."""
    found = []
    for row in system.client.dead_letters("checked")["items"]:
        identity = row["position"] or _only_file(system, row["iteration"])
        found.append(identity.rpartition("/")[2])
    return found


def _only_file(system: System, iteration: int) -> str:
    (position,) = system.client.iteration("checked", iteration)["positions"]["rows"]
    return str(position["identity"])


def story(soak: Soak, found: list[Verdict]) -> list[str]:
    """What is known of the iterations behind rows that are not as they should be."""
    lines = []
    for verdict in found:
        for row in verdict.examples[:3]:
            lines.append(f"{verdict.output}: {row}")
            if isinstance(row[0], int):
                number = row[0] // PER_FILE if verdict.output != "mart days" else row[0]
                lines += tell(soak.system, f"flights-{number:06}.csv")
    return lines


def tell(system: System, file: str) -> list[str]:
    """Where that file went, and what the logs say of it."""
    lines = []
    for item in system.client.why(file)["items"]:
        lines.append(f"  {item['pipeline']}/{item['source']}: {item['state']}: {item['reason']}")
        iteration = item["reason"].rpartition("iteration ")[2]
        place = f"{item['pipeline']}/{iteration}"
        logs = (system.project / ".odibi/log").glob("*.log*")
        said = [line for log in logs for line in log.read_text(errors="replace").splitlines() if f"{place}/" in line]
        lines += [f"    {line}" for line in sorted(said)[:20]]
    return lines


def signalled(pid: int, number: int) -> bool:
    """Send a signal; False when there is nobody any more."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def summary(soak: Soak, found: list[Verdict]) -> dict[str, Any]:
    """The figures, as ``-o json`` prints them. Seconds; ``alone``: of how many the times are."""
    victims = {}
    for name, took in sorted(soak.recoveries.items()):
        alone = sorted(r.seconds for r in took if r.alone) or sorted(r.seconds for r in took)
        victims[name] = {
            "times": len(took),
            "alone": sum(r.alone for r in took),
            "median": round(statistics.median(alone), 3),
            "p90": round(alone[len(alone) * 9 // 10], 3),
            "worst": round(alone[-1], 3),
            "worst_of_all": round(max(r.seconds for r in took), 3),
        }
    return {
        "kills": soak.kills,
        "at_failpoints": soak.fired.total(),
        "failpoints": dict(sorted(soak.fired.items())),
        "failpoints_not_reached": soak.unreached,
        "stops": soak.stops,
        "files": sum(soak.arrivals.delivered.values()),
        "outputs": [verdict._asdict() for verdict in found],
        "victims": victims,
    }


def report(said: dict[str, Any]) -> str:
    """The same as a table."""
    lines = [f"{'victim':32}{'times':>6}{'alone':>6}{'median s':>10}{'p90 s':>8}{'worst s':>9}{'of all':>8}"]
    for name, row in said["victims"].items():
        seconds = f"{row['median']:10.2f}{row['p90']:8.2f}{row['worst']:9.2f}{row['worst_of_all']:8.2f}"
        lines.append(f"{name:32}{row['times']:6}{row['alone']:6}{seconds}")
    lines += ["", f"{'output':16}{'expected':>12}{'lost':>8}{'doubled':>8}{'wrong':>8}"]
    for row in said["outputs"]:
        lines.append(f"{row['output']:16}{row['expected']:12,}{row['lost']:8,}{row['doubled']:8,}{row['wrong']:8,}")
    lines += [
        "",
        f"killed {said['kills']:,} times ({said['at_failpoints']} at failpoints, {said['failpoints_not_reached']} not "
        f"reached), stopped {said['stops']:,} times, {said['files']:,} files",
        f"failpoints reached: {', '.join(f'{name} {count}' for name, count in said['failpoints'].items())}",
    ]
    return "\n".join(lines)


def main() -> int:
    """The command line; 0 when no row was lost, doubled or wrong and everything came back by itself."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="how often something is killed (default 100)")
    parser.add_argument("--one-by-one", type=int, metavar="N", help="instead: N kills of each, each by itself")
    parser.add_argument("--seed", type=int, default=1, help="which faults, in which order (default 1)")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text", help="form of the figures")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="odibi-chaos-"))
    say = partial(print, file=sys.stderr, flush=True)
    say(f"seed {chosen.seed}, in {folder}")
    soak, found = Soak(folder / "project", chosen.seed, say), list[Verdict]()
    try:
        found = soak.one_by_one(chosen.one_by_one) if chosen.one_by_one else soak.run(chosen.kills)
        problems = story(soak, found)
    except (AssertionError, OdibiError) as error:
        problems = [f"{error}\n{soak.system.ctl('status', '--timeout', '5s').stdout}{soak.system.tail(60)}"]
    finally:
        soak.system.close()
    said = summary(soak, found)
    print(json.dumps(said, indent=1) if chosen.output == "json" else report(said))
    if problems:
        say("\n".join([*problems, f"FAILED: all is left in {folder}"]))
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
