"""The complete sweep: ``scripts/corruption-sweep [--cuts BYTES] [--jobs N]``. Exit 1 when one outcome is wrong."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

from tests.checkpoint import sweep


def share(folder: Path, cuts: int, jobs: int, job: int) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Every ``jobs``-th damage."""
    scratch = folder / f"scratch-{job}"
    scratch.mkdir()
    tried = sweep.Sweep(folder / "store", scratch)
    for damage in islice(sweep.damages(folder / "store", cuts=cuts), job, None, jobs):
        tried.attempt(damage)
    return tried.outcomes, tried.wrong


def main() -> int:
    """Run and print a table; returns the exit code."""
    parser = argparse.ArgumentParser(description="Damage every byte of a store's files, one at a time, and start it.")
    parser.add_argument("--cuts", type=int, default=16, help="a file is also cut short at every so many bytes (16)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="odibi-sweep-", dir=sweep.scratch()))
    start = time.monotonic()
    try:
        sweep.make(folder / "store")
        with ProcessPoolExecutor(options.jobs) as pool:
            parts = list(pool.map(partial(share, folder, options.cuts, options.jobs), range(options.jobs)))
    finally:
        shutil.rmtree(folder)
    counts = sum((part[0] for part in parts), Counter[tuple[str, str]]())
    wrong = [line for part in parts for line in part[1]]
    print(f"{'damage':32} {'named error':>12} {'no difference':>14} {'wrong':>6}")
    for what in sorted({name for name, _ in counts}):
        print(f"{what:32} {counts[what, 'named']:>12,} {counts[what, 'same']:>14,} {counts[what, 'wrong']:>6,}")
    print(f"{sum(counts.values()):,} in {time.monotonic() - start:,.0f} s")
    print("\n".join(wrong[:50]), end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
