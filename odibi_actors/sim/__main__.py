"""``scripts/simulate``: live many seeds and report what broke.

scripts/simulate --seeds 10000 --jobs 2
scripts/simulate --seed 662 --story        one life, told
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from odibi_actors.model import TRANSITIONS
from odibi_actors.sim.scenario import Outcome, run_seed

CHUNK = 50  # seeds per job: long enough to hide the hand-over, short enough for progress


def _live(seeds: range) -> list[tuple[int, Outcome | None, str]]:
    lives = []
    for seed in seeds:
        outcome, violation, _ = run_seed(seed)
        lives.append((seed, outcome, violation))
    return lives


def _all(first: int, count: int, jobs: int) -> Iterator[list[tuple[int, Outcome | None, str]]]:
    chunks = [range(start, min(start + CHUNK, first + count)) for start in range(first, first + count, CHUNK)]
    if jobs == 1:
        yield from map(_live, chunks)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(_live, chunks)


def tell(seed: int, lines: int) -> int:
    """Live one seed and print its story; returns the exit code."""
    outcome, violation, story = run_seed(seed, story=True)
    print("\n".join(story[-lines:]))
    if violation:
        print(f"seed {seed}: {violation}")
        return 1
    assert outcome is not None
    print(
        f"seed {seed}: all invariants held; {outcome.iterations} iterations of {outcome.files} files in "
        f"{outcome.seconds:.0f} virtual s, {outcome.events} events, trace {outcome.hash}"
    )
    return 0


def search(first: int, count: int, jobs: int) -> int:
    """Live ``count`` seeds; returns 1 when an invariant broke."""
    began = time.monotonic()
    faults: dict[str, int] = {}
    transitions: dict[str, int] = {}
    lived = iterations = broken = 0
    virtual = 0.0
    for lives in _all(first, count, jobs):
        for seed, outcome, violation in lives:
            lived += 1
            if outcome is None:
                broken += 1
                print(f"seed {seed}: {violation}")
                continue
            iterations += outcome.iterations
            virtual += outcome.seconds
            for total, counts in ((faults, outcome.counts), (transitions, outcome.transitions)):
                for what, number in counts.items():
                    total[what] = total.get(what, 0) + number
        if sys.stderr.isatty():
            print(f"\r{lived}/{count} seeds, {broken} broken", end="", file=sys.stderr, flush=True)
    took = time.monotonic() - began
    print(
        f"{lived} seeds from {first} on: {broken} violations; {iterations} iterations, {virtual / 3600:.1f} virtual h"
    )
    print(f"took {took:.0f} s with {jobs} jobs: {virtual / 3600 / (took * jobs / 60):.2f} virtual h per core minute")
    print("faults:      " + ", ".join(f"{what} {number}" for what, number in sorted(faults.items())))
    print("transitions: " + ", ".join(f"{what} {number}" for what, number in sorted(transitions.items())))
    never = [f"{s}/{e}" for s, events in TRANSITIONS.items() for e in events if f"{s}/{e}" not in transitions]
    print("never taken: " + (", ".join(never) or "none"))
    return 1 if broken else 0


def main() -> int:
    """Parse the command line and go."""
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=1000, metavar="N", help="how many lives (default 1000)")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="first seed (default 0)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default 1)")
    parser.add_argument("--seed", type=int, metavar="SEED", help="replay just this one")
    parser.add_argument("--story", action="store_true", help="with --seed: print all that happened")
    options = parser.parse_args()
    if options.seed is not None:
        return tell(options.seed, 1_000_000 if options.story else 20)
    return search(options.first, options.seeds, options.jobs)


if __name__ == "__main__":
    sys.exit(main())
