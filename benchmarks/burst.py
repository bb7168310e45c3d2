"""Files per second of a burst: all files are there at once, and are read, filtered, grouped and written as parquet.

system    one iteration per file (``batch.max_files: 1``): as many outputs and fsyncs as the floor
system16  up to 16 files per iteration, the default: from the first file's arrival to the last iteration's commit
floor     a multiprocessing pool of bare workers: pyarrow csv, the same two functions, parquet, fsync, rename, fsync of
          the folder; one output per file
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import common

SIDES = {"system": 1, "system16": 16}
"""Name -> ``batch.max_files``."""


def warm_up(_: int) -> None:
    """What a worker of the floor has loaded before it counts; slow enough that each gets one."""
    import pyarrow.csv
    import pyarrow.parquet  # noqa: F401

    common.bare_functions()
    time.sleep(0.3)


def one(paths: tuple[Path, Path]) -> None:
    """One file of the floor."""
    common.bare(*paths)


def link(stock: list[Path], folder: Path, turn: str) -> list[Path]:
    """The same bytes under new names, ready to be moved in."""
    folder.mkdir(exist_ok=True)
    made = []
    for number, path in enumerate(stock):
        name = folder / f"{turn}-{number:05}.csv"
        os.link(path, name)
        made.append(name)
    return made


def measure_system(system: common.System, stock: list[Path], turn: str, known: int) -> float:
    """Seconds from the first file's arrival to the last commit."""
    waiting = link(stock, system.folder / "waiting", turn)
    first = system.last("files") + 1
    began = time.time()
    for path in waiting:
        path.rename(system.folder / "landing" / path.name)
    system.finish("files", known + len(stock))
    rows = system.client.iterations("files", limit=len(stock) + 1)["items"]
    return float(max(row["finished_at"] for row in rows if row["iteration"] >= first) - began)


def measure_floor(pool: Any, folder: Path, stock: list[Path], turn: str) -> float:
    """Seconds of the bare pool."""
    landing = link(stock, folder / "landing", turn)
    began = time.perf_counter()
    jobs = [(path, folder / "lake" / f"part-{path.stem}.parquet") for path in landing]
    for _ in pool.imap_unordered(one, jobs):
        pass
    return time.perf_counter() - began


def main() -> int:
    """The command line; returns the exit code."""
    parser = common.parser(__doc__)
    parser.add_argument("--files", type=common.positive, default=500, help="files of a burst (default 500)")
    parser.add_argument("--size", type=common.positive, default=1_000_000, help="bytes of a file (default 1000000)")
    parser.add_argument("--kinds", type=common.positive, default=50, help="files that differ (default 50)")
    options = parser.parse_args()
    with common.workplace(options.dir) as folder:
        where = common.machine(folder)
        seconds, cpu = measure(options, folder)
    floor = common.spread([options.files / one for one in seconds["floor"]])
    rows = []
    for side, found in seconds.items():
        rate = common.spread([options.files / one for one in found])
        row = {"side": side, "files/s": rate, "of the floor": rate["median"] / floor["median"]}
        rows.append(row | ({"cpu_ms": cpu[side]} if side in cpu else {}))
    print(f"files per second, {options.files} files of {options.size} bytes, {options.workers} workers:", end=" ")
    print(f"median (lowest-highest) of {options.repeats} bursts")
    common.report(options, where, ["side", "files/s", "of the floor"], rows)
    return 0


def measure(options: argparse.Namespace, folder: Path) -> tuple[dict[str, list[float]], dict[str, dict[str, float]]]:
    """Side -> seconds of each burst; side -> milliseconds of CPU time per file, by actor."""
    kinds = [folder / f"kind{seed}.csv" for seed in range(min(options.kinds, options.files))]
    for seed, path in enumerate(kinds):
        path.write_bytes(common.make_csv(options.size, seed))
    stock = [kinds[number % len(kinds)] for number in range(options.files)]
    warm = stock[: 2 * options.workers]
    bare = folder / "bare"
    (bare / "lake").mkdir(parents=True)
    seconds: dict[str, list[float]] = {side: [] for side in (*SIDES, "floor")}
    with ExitStack() as stack:
        pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(options.workers))
        pool.map(warm_up, range(options.workers), chunksize=1)
        measure_floor(pool, bare, warm, "warm")
        systems = {}
        for side, max_files in SIDES.items():
            project = common.files_project(max_files)
            systems[side] = stack.enter_context(common.System(folder / side, project, common.WORK, options.workers))
            (folder / side / "landing").mkdir(exist_ok=True)
            time.sleep(1.5)  # the source sees the new folder
            measure_system(systems[side], warm, "warm", 0)
        before = {side: system.cpu() for side, system in systems.items()}
        for turn in range(options.repeats):
            for side, system in systems.items():
                known = len(warm) + turn * options.files
                seconds[side].append(measure_system(system, stock, f"t{turn}", known))
            seconds["floor"].append(measure_floor(pool, bare, stock, f"t{turn}"))
        files = options.repeats * len(stock)
        cpu = {side: common.used(before[side], system.cpu(), files) for side, system in systems.items()}
    return seconds, cpu


if __name__ == "__main__":
    sys.exit(main())
