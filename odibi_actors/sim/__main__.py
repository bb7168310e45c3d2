"""``scripts/simulate``: live many seeds and report what broke.

scripts/simulate --seeds 10000 --jobs 2
scripts/simulate --hours 24                as many lives as make a virtual day
scripts/simulate --seeds 20000 --record F  and later the same again: goes on where it was left
scripts/simulate --seed 662                one life again; if it breaks something: what matters of it
scripts/simulate --seed 662 --story        all of it, told
scripts/simulate --pairs --jobs 2          verbs two by two with a crash between them, until each pair was lived enough
scripts/simulate --triples --jobs 2        the same, with a state of the pipeline in which the other verb comes
scripts/simulate --pairs --record F --table  what was lived, as a table of docs/guarantees.md
scripts/simulate --course cancel,rewind --seed 7 [--story]         one of those again
scripts/simulate --course cancel,failed,rewind --seed 7 [--story]  likewise
scripts/simulate --year --seed 3           a year of schedules: what became of every occurrence
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from odibi_actors.sim import coverage
from odibi_actors.sim.courses import STATES, Course
from odibi_actors.sim.scenario import run_seed
from odibi_actors.sim.shrink import about, shrink
from odibi_actors.sim.tally import Chunk, Life, Tally, chunk, commit
from odibi_actors.sim.verbs import VERBS
from odibi_actors.sim.verdict import Violation
from odibi_actors.sim.year import Year

CHUNK = 50  # seeds per job: long enough to hide the hand-over, short enough for progress


def _live(seeds: range, course: Course | None = None) -> Chunk:
    lives: list[Life] = []
    for seed in seeds:
        outcome, violation, _ = run_seed(seed, course=course)
        lives.append((seed, outcome, violation))
    return chunk(lives)


def _all(chunks: Iterator[range], jobs: int, course: Course | None) -> Iterator[Chunk]:
    """All lives, chunk by chunk, in order."""
    if jobs == 1:
        yield from map(partial(_live, course=course), chunks)
        return
    with ProcessPoolExecutor(jobs) as pool:
        # A few at a time: an endless supply must not be handed over at once.
        waiting = [pool.submit(_live, one, course) for one in itertools.islice(chunks, 2 * jobs)]
        while waiting:
            yield waiting.pop(0).result()
            waiting += [pool.submit(_live, one, course) for one in itertools.islice(chunks, 1)]


def tell(seed: int, whole: bool, course: Course | None = None) -> int:
    """Live one seed and print its story: ``whole``, or what matters of one that broke something."""
    outcome, violation, story = run_seed(seed, story=True, course=course)
    if outcome is not None:
        print("\n".join(story if whole else story[-20:]))
        print(
            f"seed {seed}: all invariants held; {outcome.iterations} iterations of {outcome.files} files in "
            f"{outcome.seconds:.0f} virtual s, {outcome.events} events, trace {outcome.hash}"
        )
        return 0
    if not whole:
        print(f"seed {seed}: {violation}\nleaving out what does not matter ...", file=sys.stderr)
        _, violation, story = shrink(seed, lambda line: print(f"  {line}", file=sys.stderr), course)
        story = about(violation, story)
    print("\n".join(story))
    print(f"seed {seed}: {violation}")
    return 1


def year(seed: int, days: float, story: bool) -> int:
    """Live a year of schedules and print its accounts."""
    began = time.monotonic()
    life = Year(seed, days, story)
    violation = ""
    try:
        accounts = life.run()
    except Violation as broken:
        violation = str(broken)
    if story:
        print("\n".join(life.world.story or []))
    if violation:
        print(f"year {seed}, day {(life.world.now - life.world.start) / 86_400:.3f}: {violation}")
        return 1
    crashes = {what.removeprefix("crash "): n for what, n in accounts.counts.items() if what.startswith("crash ")}
    others = {what: n for what, n in accounts.counts.items() if not what.startswith("crash ")}
    jumps = accounts.counts.get("clock forward", 0) + accounts.counts.get("clock back", 0)
    print(f"year {seed}: {accounts.days:.1f} simulated days, {accounts.schedules} schedules")
    print(f"occurrences: {accounts.occurrences}; started {accounts.started}, each one run")
    print(f"skipped:     {sum(accounts.skipped.values())}: {_counted(accounts.skipped)}")
    print(f"crashes:     {sum(crashes.values())}: {_counted(crashes)}")
    print(f"clock jumps: {jumps}; other faults: {_counted(others)}")
    print(f"lost {accounts.lost}, doubled {accounts.doubled}")
    print(f"{accounts.events} events, trace {accounts.hash}, {time.monotonic() - began:.0f} s")
    return 0


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{what} {number}" for what, number in counts.items())


def _progress(done: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{done}", end="", file=sys.stderr, flush=True)


def search(
    first: int,
    count: int | None,
    hours: float,
    jobs: int,
    course: Course | None = None,
    record: Path | None = None,
    seconds: float = float("inf"),
) -> int:
    """Live ``count`` seeds, or until ``hours`` virtual hours, or ``seconds``, are over; what is in the ``record`` is
    not lived again. Returns 1 when an invariant broke."""
    began, tree = time.monotonic(), commit()
    tally = Tally(record)
    starts = itertools.count(first, CHUNK) if count is None else range(first, first + count, CHUNK)
    ranges = (range(s, s + CHUNK if count is None else min(s + CHUNK, first + count)) for s in starts)
    left = (one for one in ranges if not tally.has(one))
    timely = itertools.takewhile(lambda _one: time.monotonic() < began + seconds, left)
    for lived in _all(timely, jobs, course) if count is not None or tally.virtual < hours * 3600 else ():
        for seed, violation in lived.broken:
            print(f"seed {seed}: {violation}", flush=True)
        tally.add(lived._replace(commit=tree))
        goal = f"{count} seeds" if count is not None else f"{hours:g} h"
        _progress(f"{tally.lived} seeds, {tally.virtual / 3600:.1f} h of {goal}, {len(tally.broken)} broken")
        if count is None and tally.virtual >= hours * 3600:
            break
    print("\n".join(tally.report(time.monotonic() - began, jobs)))
    if tally.broken:
        of = f" --course '{course}'" if course is not None else ""
        print(f"`scripts/simulate{of} --seed {tally.broken[0][0]}` tells what matters of the first")
    return 1 if tally.broken else 0


def _course(parser: argparse.ArgumentParser, text: str) -> Course:
    first, *state, then = text.split(",") if "," in text else (text, "")
    if first not in VERBS or then not in VERBS or len(state) > 1 or not {*state} <= {*STATES}:
        parser.error(f"--course {text!r}: VERB,VERB or VERB,STATE,VERB of {', '.join(VERBS)}; {', '.join(STATES)}")
    return Course(first, "".join(state), then)


def main() -> int:
    """Parse the command line and go."""
    parser = argparse.ArgumentParser(
        prog="scripts/simulate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="how many lives (default 1000)")
    parser.add_argument("--hours", type=float, metavar="H", help="as many lives as make so many virtual hours")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="first seed (default 0)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default 1)")
    parser.add_argument("--seed", type=int, metavar="SEED", help="replay just this one")
    parser.add_argument("--story", action="store_true", help="with --seed: print all that happened")
    parser.add_argument("--year", action="store_true", help="a year of schedules (of seed 0, or --seed)")
    parser.add_argument("--days", type=float, default=366.0, metavar="N", help="with --year: its length (default 366)")
    parser.add_argument("--pairs", action="store_true", help="pairs of operators' verbs, drawn by what was lived least")
    parser.add_argument("--triples", action="store_true", help="likewise a verb, a state of the pipeline, and a verb")
    parser.add_argument("--times", type=int, default=20, metavar="N", help="with these: how often each (default 20)")
    parser.add_argument("--record", type=Path, help="a file that keeps what was lived, to go on with")
    parser.add_argument("--seconds", type=float, default=float("inf"), metavar="S", help="begin nothing after these")
    parser.add_argument("--table", action="store_true", help="with --pairs or --triples: print what the record has")
    parser.add_argument("--course", metavar="VERB,[STATE,]VERB", help="lives of one of these alone")
    options = parser.parse_args()
    if options.pairs or options.triples:
        kind = coverage.KINDS["pairs" if options.pairs else "triples"]
        jobs = max(1, options.jobs)
        if options.table:
            print(coverage.Coverage(kind, options.record).markdown(options.times))
            return 0
        return coverage.search(kind, options.times, jobs, options.record, options.seconds, print, _progress)
    if options.year:
        return year(options.seed or 0, options.days, options.story)
    course = _course(parser, options.course) if options.course else None
    if options.seed is not None:
        return tell(options.seed, options.story, course)
    count = options.seeds if options.seeds is not None or options.hours is not None else 1000
    jobs, hours = max(1, options.jobs), options.hours or 0.0
    return search(options.first, count, hours, jobs, course, options.record, options.seconds)


if __name__ == "__main__":
    sys.exit(main())
