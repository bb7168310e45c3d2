"""The differential test over every zone. Run by ``scripts/cron-differential``."""

from __future__ import annotations

import argparse
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from zoneinfo import ZoneInfo, available_timezones

from odibi_actors.scheduler.zones import Change, changes
from tests.scheduler.differential import compare, random_expression

END = 2_145_916_800
"""2038-01-01."""


def zone(name: str, expressions: int) -> tuple[tuple[Change, ...], int, list[str]]:
    """The changes of a zone, comparisons made, and what differs."""
    rng = random.Random(name)
    here = ZoneInfo(name)
    found = changes(here, 0, END)
    differing = [
        problem
        for change in found
        for _ in range(expressions)
        if (problem := compare(random_expression(rng), here, change, rng))
    ]
    return tuple(found), len(found) * expressions, differing


def main() -> int:
    """The command line; 0 when nothing differs."""
    parser = argparse.ArgumentParser(prog="scripts/cron-differential", description=__doc__)
    parser.add_argument("--expressions", type=int, default=1, help="random expressions for each change (default 1)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    chosen = parser.parse_args()
    names = sorted(available_timezones() - {"localtime", "Factory"})
    began = time.monotonic()
    made = changed = 0
    differing: list[str] = []
    with ProcessPoolExecutor(chosen.jobs) as pool:
        for found, compared, problems in pool.map(zone, names, [chosen.expressions] * len(names)):
            changed, made, differing = changed + len(found), made + compared, differing + problems
            for problem in problems:
                print(problem, flush=True)
    took = time.monotonic() - began
    print(f"{len(names)} zones, {changed} changes, {made} comparisons: {len(differing)} differ; {took:.0f} s")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
