"""The differential test over every zone. Run by ``scripts/cron-differential``.

Zones whose offset has the same history since 1970 (links, and zones that differ only before) are compared once.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from zoneinfo import ZoneInfo, available_timezones

from odibi_actors.scheduler.zones import changes, offset
from tests.scheduler.differential import Tally, compare
from tests.scheduler.expressions import random_expression
from tests.scheduler.tzif import changes_listed, listed, zone_file

END = 2_145_916_800
"""2038-01-01."""
SIX_FIELDS = 0.04
"""The part of the expressions that has seconds: each takes as long as ten others."""


def history(name: str) -> tuple[int, tuple[tuple[int, int], ...]]:
    """The offset at 1970, and its changes until 2038; checks those that the zone file lists against ours."""
    zone = ZoneInfo(name)
    found = tuple((change.start, change.offset) for change in changes(zone, 0, END - 1))
    data = zone_file(name)
    until = min(END, listed(data)[-1][0] + 1)
    assert [one for one in found if one[0] < until] == changes_listed(data, 0, until), name
    return offset(zone, 0), found


def zone(name: str, expressions: int, seed: int) -> tuple[int, set[str], Tally, list[str]]:
    """Changes of a zone, expressions, what was compared, and what differs."""
    rng = random.Random(f"{seed} {name}")
    here = ZoneInfo(name)
    tally, used, differing = Tally(), set(), []
    found = changes(here, 0, END - 1)
    for change in found:
        for _ in range(expressions):
            near = datetime.fromtimestamp(change.start, here).date()
            text = random_expression(rng, near, seconds=rng.random() < SIX_FIELDS)
            used.add(text)
            if problem := compare(text, here, change, rng, tally):
                differing.append(problem)
    return len(found), used, tally, differing


def main() -> int:
    """The command line; 0 when nothing differs."""
    parser = argparse.ArgumentParser(prog="scripts/cron-differential", description=__doc__)
    parser.add_argument("--expressions", type=int, default=1, help="random expressions for each change (default 1)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--seed", type=int, default=1, help="other expressions for another number (default 1)")
    chosen = parser.parse_args()
    began = time.monotonic()
    names = sorted(available_timezones() - {"localtime", "Factory"})
    total, changed, used, differing = Tally(), 0, set[str](), list[str]()
    with ProcessPoolExecutor(chosen.jobs) as pool:
        histories = dict(zip(names, pool.map(history, names), strict=True))
        distinct = list({found: name for name, found in reversed(histories.items())}.values())[::-1]
        asked = (distinct, [chosen.expressions] * len(distinct), [chosen.seed] * len(distinct))
        for number, texts, tally, problems in pool.map(zone, *asked):
            changed, differing = changed + number, differing + problems
            used |= texts
            total.add(tally)
            for problem in problems:
                print(problem, flush=True)
    of_all = sum(len(found) for _, found in histories.values())
    print(
        f"{len(names)} zones with {of_all} changes of offset; {len(distinct)} of different history, {changed} changes"
    )
    print(f"{len(used)} expressions, {total.comparisons} comparisons by three rules, {total.occurrences} occurrences")
    print(f"{total.restarts} restarts; {total.cronsim} comparisons with cronsim")
    print(f"{len(differing)} differ; {time.monotonic() - began:.0f} s")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
