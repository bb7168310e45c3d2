"""Milliseconds from the close of a file to its published output, at a steady number of files per second.

Files are written under their final names and closed; an output counts when its parquet file appears under its published
name. Both moments are taken by this process: after close() returns, and when the kernel tells of the new name.

system  file_watch -> filter -> group by -> parquet, published and checkpointed by iteration
floor   one process: inotify, pyarrow csv, the same two functions, parquet, fsync, rename, fsync of the folder
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import threading
import time
from pathlib import Path
from typing import Any

import common

KINDS = 4  # different files, written again and again under new names


def floor_loop(landing: Path, lake: Path) -> None:
    """The bare loop, in a process of its own."""
    import pyarrow.csv
    import pyarrow.parquet  # noqa: F401 - warm before the first file

    common.bare_functions()
    arrivals = common.Folder(landing, common.Folder.CLOSE_WRITE)
    (landing.parent / "ready").touch()
    while True:
        for name in arrivals.read():
            common.bare(landing / name, lake / f"part-{name.removesuffix('.csv')}.parquet")


class Watch(threading.Thread):
    """Name of a published output -> when it appeared."""

    def __init__(self, lake: Path) -> None:
        super().__init__(daemon=True)
        self.folder = common.Folder(lake, common.Folder.CREATE | common.Folder.MOVED_TO)
        self.seen: dict[str, float] = {}
        self.start()

    def run(self) -> None:
        """Until the process ends."""
        while True:
            names = self.folder.read()
            now = time.perf_counter()
            for name in names:
                if name.startswith("part-"):
                    self.seen.setdefault(name, now)

    def wait(self, names: set[str]) -> None:
        """Until these outputs are there."""
        end = time.monotonic() + common.QUIET
        while missing := names - self.seen.keys():
            if time.monotonic() > end:
                raise SystemExit(f"{len(missing)} of {len(names)} outputs did not appear, such as {min(missing)}")
            time.sleep(0.02)


def deliver(landing: Path, contents: list[bytes], first: int, count: int, per_second: float) -> dict[str, float]:
    """Write files at that rate; name -> when it was closed."""
    closed = {}
    began = time.perf_counter()
    for number in range(count):
        time.sleep(max(0.0, began + number / per_second - time.perf_counter()))
        name = f"f{first + number:06}.csv"
        with open(landing / name, "wb") as file:
            file.write(contents[number % len(contents)])
        closed[name] = time.perf_counter()
    return closed


def iterations(system: common.System, names: dict[str, float], first: int) -> dict[str, str]:
    """File -> the output of its iteration."""
    found = {}
    for number in range(first, system.last("files") + 1):
        for position in system.client.iteration("files", number)["positions"]["rows"]:
            found[position["identity"]] = f"part-{number:010d}-out.parquet"
    missing = names.keys() - found.keys()
    if missing:
        raise SystemExit(f"{len(missing)} files are in no iteration, such as {min(missing)}")
    return found


def measure_system(
    system: common.System, watch: Watch, contents: list[bytes], number: int, options: Any
) -> list[float]:
    """Milliseconds of each file of one turn."""
    first = system.last("files") + 1
    closed = deliver(system.folder / "landing", contents, number, options.files, options.rate)
    system.finish("files", number + options.files)
    where = iterations(system, closed, first)
    watch.wait({where[name] for name in closed})
    return [1000 * (watch.seen[where[name]] - at) for name, at in closed.items()]


def measure_floor(folder: Path, watch: Watch, contents: list[bytes], number: int, options: Any) -> list[float]:
    """The same for the bare loop."""
    closed = deliver(folder / "landing", contents, number, options.files, options.rate)
    where = {name: f"part-{name.removesuffix('.csv')}.parquet" for name in closed}
    watch.wait(set(where.values()))
    return [1000 * (watch.seen[where[name]] - at) for name, at in closed.items()]


def summary(side: str, turns: list[list[float]]) -> dict[str, Any]:
    """A row: each percentile of each turn, and the worst of all."""
    row: dict[str, Any] = {"side": side, "files": sum(map(len, turns))}
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        row[name] = common.spread([common.percentile(turn, share) for turn in turns])
    return row | {"max": max(max(turn) for turn in turns), "milliseconds": turns}


def ratio(system: dict[str, Any], floor: dict[str, Any]) -> dict[str, Any]:
    """The last row."""
    names = ("p50", "p95", "p99")
    return {
        "side": "ratio",
        "files": "",
        **{name: system[name]["median"] / floor[name]["median"] for name in names},
        "max": system["max"] / floor["max"],
    }


def main() -> int:
    """The command line; returns the exit code."""
    parser = common.parser(__doc__)
    parser.add_argument("--files", type=common.positive, default=50, help="files per side and turn (default 50)")
    parser.add_argument("--rate", type=float, default=5.0, help="files per second (default 5)")
    parser.add_argument("--size", type=common.positive, default=1_000_000, help="bytes of a file (default 1000000)")
    options = parser.parse_args()
    with common.workplace(options.dir) as folder:
        where = common.machine(folder)
        contents = [common.make_csv(options.size, seed) for seed in range(KINDS)]
        bare = folder / "bare"
        for name in ("landing", "lake"):
            (bare / name).mkdir(parents=True)
        floor = multiprocessing.get_context("spawn").Process(
            target=floor_loop, args=(bare / "landing", bare / "lake"), daemon=True
        )
        floor.start()
        turns: dict[str, list[list[float]]] = {"system": [], "floor": []}
        try:
            with common.System(folder / "system", common.files_project(16), common.WORK, options.workers) as system:
                (system.folder / "landing").mkdir(exist_ok=True)
                watch, bare_watch = Watch(system.folder / "lake/out"), Watch(bare / "lake")
                common.await_path(bare / "ready")
                warm = argparse.Namespace(**{**vars(options), "files": 3})
                measure_system(system, watch, contents, 0, warm)
                measure_floor(bare, bare_watch, contents, 0, warm)
                before = system.cpu()
                for turn in range(options.repeats):
                    number = 3 + turn * options.files
                    turns["system"].append(measure_system(system, watch, contents, number, options))
                    turns["floor"].append(measure_floor(bare, bare_watch, contents, number, options))
                cpu = common.used(before, system.cpu(), options.repeats * options.files)
        finally:
            floor.terminate()
            floor.join()
    rows = [summary(side, found) for side, found in turns.items()]
    rows[0]["cpu_ms"] = cpu
    print(f"milliseconds from close to output, {options.rate:g} files/s of {options.size} bytes:", end=" ")
    print(f"median (lowest-highest) of {options.repeats} turns")
    common.report(options, where, ["side", "files", "p50", "p95", "p99", "max"], [*rows, ratio(*rows)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
