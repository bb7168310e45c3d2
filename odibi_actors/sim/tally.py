"""What many lives came to, chunk by chunk; a record of it, with which a soak is taken up where it was left."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from odibi_actors.model import TRANSITIONS
from odibi_actors.sim.scenario import Outcome

ENOUGH = 100
"""Times a transition must have been taken to count as tried."""

Life = tuple[int, Outcome | None, str]
"""(seed, outcome or None, violation or "")."""
Counts = dict[str, int]


def add(total: Counts, more: Counts) -> None:
    """Count on."""
    for what, number in more.items():
        total[what] = total.get(what, 0) + number


def commit() -> str:
    """The commit of this tree, with a "+" when files of it were changed since; "" where nothing tells."""
    here = Path(__file__).parent
    try:
        said = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.strip()


class Chunk(NamedTuple):
    """Lives from ``first`` on. ``virtual``: seconds; ``broken``: (seed, violation); counts as in ``Outcome``."""

    first: int
    lives: int
    iterations: int
    virtual: float
    broken: list[tuple[int, str]]
    faults: Counts
    transitions: Counts
    occurrences: Counts
    verbs: Counts
    commit: str = ""


def chunk(lives: Iterable[Life], tree: str = "") -> Chunk:
    """Sum them up. ``tree``: of which commit they are."""
    found = Chunk(-1, 0, 0, 0.0, [], {}, {}, {}, {}, tree)
    for seed, outcome, violation in lives:
        first = seed if found.first < 0 else found.first
        found = found._replace(first=first, lives=found.lives + 1)
        if outcome is None:
            found.broken.append((seed, violation))
            continue
        found = found._replace(
            iterations=found.iterations + outcome.iterations, virtual=found.virtual + outcome.seconds
        )
        add(found.faults, outcome.counts)
        add(found.transitions, outcome.transitions)
        add(found.occurrences, outcome.occurrences)
        add(found.verbs, outcome.verbs)
    return found


class Tally:
    """All chunks. ``record``: a file of JSON lines, one for each; those that are in it are not lived again."""

    def __init__(self, record: Path | None = None) -> None:
        self._record = record
        self.lived = self.iterations = 0
        self.virtual = 0.0
        self.broken: list[tuple[int, str]] = []
        self.faults: Counts = {}
        self.transitions: Counts = {}
        self.occurrences: Counts = {}
        self.verbs: Counts = {}
        self.commits: Counts = {}
        self._done: dict[int, int] = {}
        if record is not None and record.exists():
            for line in record.read_text().splitlines():
                self._add(Chunk(*json.loads(line)))

    def has(self, seeds: range) -> bool:
        """Whether these were lived."""
        return self._done.get(seeds.start) == len(seeds)

    def add(self, more: Chunk) -> None:
        """One more chunk."""
        self._add(more)
        if self._record is not None:
            with self._record.open("a") as file:
                file.write(json.dumps(more) + "\n")

    def _add(self, more: Chunk) -> None:
        self._done[more.first] = more.lives
        self.lived += more.lives
        self.iterations += more.iterations
        self.virtual += more.virtual
        self.broken += [(seed, violation) for seed, violation in more.broken]
        add(self.commits, {more.commit: more.lives})
        add(self.faults, more.faults)
        add(self.transitions, more.transitions)
        add(self.occurrences, more.occurrences)
        add(self.verbs, more.verbs)

    def report(self, took: float, jobs: int) -> list[str]:
        """The figures; ``took``: seconds of this run, 0: it only reads the record."""
        hours = self.virtual / 3600
        speed = f" in {took:.0f} s with {jobs} jobs" if took else ""
        known = [f"{state}/{event}" for state, events in TRANSITIONS.items() for event in events]
        few = [f"{what} {self.transitions.get(what, 0)}" for what in known if self.transitions.get(what, 0) < ENOUGH]
        return [
            f"{self.lived} lives: {len(self.broken)} violations; {self.iterations} iterations",
            f"commits:     {told(self.commits)}",
            f"{hours:.1f} virtual h ({hours / 24:.1f} days){speed}",
            f"faults:      {told(self.faults)}",
            f"transitions: {told(self.transitions)}",
            f"occurrences: {told(self.occurrences)}",
            f"verbs:       {told(self.verbs)}",
            f"taken less than {ENOUGH} times: " + (", ".join(few) or "none"),
        ]


def told(counts: Counts) -> str:
    """``a 3, b 4``."""
    return ", ".join(f"{what or 'unknown'} {number}" for what, number in sorted(counts.items()))
