"""``scripts/simulate --pairs``: lives drawn by what was not lived often enough yet, and the table of what was.

Pairs of verbs that were answered too seldom come first. What was lived can be kept in a file, and gone on with.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

from odibi_actors.sim.pairs import PAIRS, VERBS, Pair
from odibi_actors.sim.scenario import run_seed

PART = 10
"""Lives of one pair that one job lives."""
MAX_PARTS = 8
"""Jobs spent on a pair at most: some states are hardly ever reached together."""
ANSWERS = ("accepted", "refused", "unanswered")


def _live(pair: Pair, first: int) -> tuple[Pair, dict[str, int], list[tuple[int, str]]]:
    """Some lives of a pair: how it was answered, and (seed, violation) of those that broke."""
    counts: dict[str, int] = {}
    broken = []
    for seed in range(first, first + PART):
        outcome, violation, _ = run_seed(seed, pair=pair)
        if outcome is None:
            broken.append((seed, violation))
            continue
        for answer, count in outcome.lived.items():
            counts[answer] = counts.get(answer, 0) + count
    return pair, counts, broken


class Coverage:
    """How often each pair was lived, by answer. ``record``: a file of JSON lines, one for each part."""

    def __init__(self, record: Path | None) -> None:
        self.record = record
        self.counts: dict[Pair, dict[str, int]] = {pair: {} for pair in PAIRS}
        self.parts: dict[Pair, int] = dict.fromkeys(PAIRS, 0)
        self.broken: list[tuple[Pair, int, str]] = []
        if record is not None and record.exists():
            for line in record.read_text().splitlines():
                part = json.loads(line)
                first, second = part["pair"]
                self._add((first, second), part["counts"], part["broken"])
        self.begun = dict(self.parts)

    def add(self, pair: Pair, counts: dict[str, int], broken: list[tuple[int, str]]) -> None:
        """One more part."""
        self._add(pair, counts, broken)
        if self.record is not None:
            with self.record.open("a") as file:
                file.write(json.dumps({"pair": pair, "counts": counts, "broken": broken}) + "\n")

    def _add(self, pair: Pair, counts: dict[str, int], broken: list[tuple[int, str]]) -> None:
        self.parts[pair] += 1
        self.broken += [(pair, seed, violation) for seed, violation in broken]
        for answer, count in counts.items():
            self.counts[pair][answer] = self.counts[pair].get(answer, 0) + count

    def next(self, times: int) -> tuple[Pair, int] | None:
        """The pair that was accepted least, and its next seed; None when each was often enough, or tried enough."""
        wanting = [
            pair
            for pair in PAIRS
            if self.begun[pair] < MAX_PARTS and (not self.begun[pair] or self.counts[pair].get("accepted", 0) < times)
        ]
        if not wanting:
            return None
        pair = min(wanting, key=lambda one: (self.begun[one], self.counts[one].get("accepted", 0)))
        self.begun[pair] += 1
        return pair, (self.begun[pair] - 1) * PART

    @property
    def lives(self) -> int:
        """Lives so far."""
        return sum(self.parts.values()) * PART

    def table(self, times: int) -> str:
        """Rows: the first verb; columns: the second; how often both were accepted. And the pairs that were not."""
        short = {name: "".join(part[0] for part in name.split()) + name.split()[-1][1:3] for name in VERBS}
        width = max(map(len, VERBS))
        lines = [" " * width + "".join(f"{short[name]:>6}" for name in VERBS)]
        for first in VERBS:
            row = [self.counts[first, second].get("accepted", 0) for second in VERBS]
            lines.append(f"{first:{width}}" + "".join(f"{count:6}" for count in row))
        lines.append(f"both accepted less than {times} times (accepted, refused, unanswered):")
        for pair in PAIRS:
            counts = [self.counts[pair].get(answer, 0) for answer in ANSWERS]
            if counts[0] < times:
                lines.append(f"  {pair[0]}, {pair[1]}: {counts[0]}, {counts[1]}, {counts[2]}")
        return "\n".join(lines)


def search(
    times: int,
    jobs: int,
    record: Path | None,
    seconds: float,
    say: Callable[[str], None],
    progress: Callable[[str], None],
) -> int:
    """Live until every pair was accepted ``times`` times, or tried enough, or ``seconds`` are over; 1 when an invariant
    broke."""
    coverage, began = Coverage(record), time.monotonic()
    with ProcessPoolExecutor(jobs) as pool:
        waiting: list[Future[tuple[Pair, dict[str, int], list[tuple[int, str]]]]] = []
        while True:
            while len(waiting) < 2 * jobs and time.monotonic() < began + seconds:
                following = coverage.next(times)
                if following is None:
                    break
                waiting.append(pool.submit(_live, *following))
            if not waiting:
                break
            pair, counts, broken = waiting.pop(0).result()
            coverage.add(pair, counts, broken)
            for seed, violation in broken:
                say(f"pair {','.join(pair)} seed {seed}: {violation}")
            progress(f"{coverage.lives} lives, {len(coverage.broken)} broken")
    say(coverage.table(times))
    say(f"{coverage.lives} lives of {len(PAIRS)} pairs: {len(coverage.broken)} violations")
    if coverage.broken:
        pair, seed, _ = coverage.broken[0]
        say(f"`scripts/simulate --pair '{','.join(pair)}' --seed {seed}` tells what matters of the first")
    return 1 if coverage.broken else 0
