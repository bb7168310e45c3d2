"""A folder of a million files that were read long ago: what its source costs, and what it makes slow.

The files are real; that they were read is written straight into the store, as reading them is not what is measured.

system  file_watch over the folder -> filter -> group by -> parquet, started as a user starts it
floor   ``os.scandir`` and the ``stat`` of each entry, in one bare process

Printed: memory of each process (PSS) once every file was looked at; from a start until a file is published
that came before it; a listing of the whole folder, as ``pipeline trigger`` asks for it, beside the
floor; and a file's way from its close to its output, without and during such listings.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import common
import latency

from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.client import Client
from odibi_actors.model import Attempt, BatchRef, PositionRead, StagedRef, Target
from odibi_actors.sources.file_position import file_position

PER_ITERATION = 1000
"""Files of one iteration of those that were read long ago."""

PATIENCE = 600.0
"""Seconds until anything that is waited for is given up."""

FLOOR = """
import os, sys, time
began = time.perf_counter()
with os.scandir(sys.argv[1]) as entries:
    sizes = [entry.stat(follow_symlinks=False).st_size for entry in entries]
print(time.perf_counter() - began)
"""


def make(landing: Path, count: int) -> None:
    """So many small files."""
    landing.mkdir(parents=True, exist_ok=True)
    folder = os.open(landing, os.O_RDONLY | os.O_DIRECTORY)
    for number in range(count):
        file = os.open(f"old-{number:08}.csv", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=folder)
        os.write(file, b"x")
        os.close(file)
    os.close(folder)


def remember(project: Path, number: int) -> None:
    """Every old file of the folder is one that an iteration after ``number`` has read, and that is committed."""
    lake = str(project / "lake/out")
    engine = Engine(project / ".odibi/checkpoints.db", root=project)
    engine.claim(engine.epoch, "benchmark")
    names = sorted(name for name in os.listdir(project / "landing") if name.startswith("old-"))
    for first in range(0, len(names), PER_ITERATION):
        number += 1
        positions = []
        for name in names[first : first + PER_ITERATION]:
            seen = os.stat(project / "landing" / name)
            positions.append(
                file_position(name, seen.st_size, seen.st_mtime_ns, seen.st_ino, ctime_ns=seen.st_ctime_ns)
            )
        read = [PositionRead(bytes(16), one.detail) for one in positions]
        nothing = BatchRef(1, 1, "0" * 32, "", b"x", "host")
        at = time.time()
        told = (Attempt(1, number), "0" * 32, at, 0.0, 1, 1, "old")
        part = f"{lake}/part-{number:010d}-out.parquet"
        staged = StagedRef(
            Target("local", "", lake), f"{part}.staged", part, 1, 1, "0" * 32, exclusive=lake, retracts=True
        )
        records: list[r.AnyRecord] = [
            r.Plan("files", "live", number, 1, {"rows": positions}, ["rows"], at),
            r.Ack("files", number, "rows", *told, output=nothing, files=read),
            r.Ack("files", number, "out", *told, staged=staged),
            r.Prepare("files", number, {"out": staged}, at),
            r.Commit("files", number, at, 0),
        ]
        engine.apply(engine.epoch, engine.last_seq + 1, records)
        if engine.wal_full:
            engine.checkpoint()
    engine.checkpoint()
    engine.close()


def pids(system: common.System) -> dict[str, list[int]]:
    """Every process of the system, by its role; those of workers together."""
    status = system.client.status()
    found = {peer["name"]: [peer["pid"]] for peer in status["peers"] if peer["role"] != "client"}
    found["broker"] = [json.loads((system.folder / ".odibi/run/connection.json").read_text())["pid"]]
    found["workers"] = [worker["pid"] for worker in status["workers"]]
    return found


def megabytes(pid: int) -> float:
    """PSS: its share of what several have, and all of its own (proc_pid_smaps_rollup)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000


def restarted(system: common.System, watch: latency.Watch, content: bytes, number: int) -> float:
    """Deliver a file while nothing runs, start the system, and stop it; seconds from the start to the file's output."""
    (system.folder / "landing" / f"f{number:06}.csv").write_bytes(content)
    before = set(watch.seen)
    began = time.perf_counter()
    with system:
        while not (new := watch.seen.keys() - before):
            if time.perf_counter() - began > PATIENCE:
                raise SystemExit(f"the file was not published within {PATIENCE:g} s")
            time.sleep(0.01)
        return min(watch.seen[name] for name in new) - began


def listings(client: Client) -> tuple[int, float]:
    """How often the source has listed its folder, and the seconds of the last time."""
    (row,) = (row for row in client.sources()["items"] if row["lane"] == "live")
    return row["listings"], row["listed_in"]


def until_listed(client: Client, times: int) -> float:
    """Wait until it was listed so often since its start; seconds of the last time."""
    end = time.monotonic() + PATIENCE
    while (now := listings(client))[0] < times:
        if time.monotonic() > end:
            raise SystemExit(f"the folder was not listed within {PATIENCE:g} s")
        time.sleep(0.1)
    return now[1]


def listed(client: Client) -> float:
    """Have it listed; seconds that it took."""
    before, _ = listings(client)
    client.trigger("files")
    return until_listed(client, before + 1)


class Listings(threading.Thread):
    """Has the folder listed again and again, within the ``with`` block; ``count``: how often."""

    def __init__(self, system: common.System) -> None:
        super().__init__(daemon=True)
        self._project, self.count, self._ended = system.folder, 0, threading.Event()

    def run(self) -> None:
        """Until the block ends."""
        with Client(project=self._project, timeout=PATIENCE) as client:
            while not self._ended.is_set():
                listed(client)
                self.count += 1

    def __enter__(self) -> Listings:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self.join()


def floor(landing: Path) -> float:
    """The same by a bare process; seconds."""
    command = [sys.executable, "-c", FLOOR, str(landing)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def measure(system: common.System, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of the report."""
    contents = [common.make_csv(20_000, seed) for seed in range(options.repeats + 1 + 2 * options.new)]
    landing = system.folder / "landing"
    landing.mkdir()
    watch = latency.Watch(system.folder / "lake/out")
    restarted(system, watch, contents[0], 0)
    with system:
        last = system.last("files")
    make(landing, options.files)
    remember(system.folder, last)
    turns = range(options.repeats)
    starts = [restarted(system, watch, contents[1 + turn], 1 + turn) for turn in turns]
    rows = [row("start until a new file is published, s", starts)]
    number = 1 + options.repeats
    with system:
        until_listed(system.client, 1)
        asked = argparse.Namespace(files=options.new, rate=5.0)
        alone = latency.measure_system(system, watch, contents[number:], number, asked)
        both = [(listed(system.client), floor(landing)) for _ in turns]
        rows.append(row("listing of the folder, s", [ours for ours, _ in both]))
        rows.append(row("floor: os.scandir and stat, s", [bare for _, bare in both]))
        rows.append(row("times the floor", [ours / bare for ours, bare in both]))
        rows += latencies("close to output, between listings, ms", alone)
        with Listings(system) as beside:
            busy = latency.measure_system(system, watch, contents[number + options.new :], number + options.new, asked)
        rows += latencies(f"close to output, during {beside.count} listings, ms", busy)
        for name, numbers in sorted(pids(system).items()):
            rows.append(row(f"memory of {name}, MB", [sum(map(megabytes, numbers))]))
    return rows


def row(what: str, values: list[float]) -> dict[str, Any]:
    """One of the report."""
    return {"what": what, "figure": common.spread(values)}


def latencies(what: str, values: list[float]) -> list[dict[str, Any]]:
    """Median and p99 of files."""
    return [row(f"{what}, {name}", [common.percentile(values, share)]) for name, share in (("p50", 0.5), ("p99", 0.99))]


def main() -> int:
    """The command line; returns the exit code."""
    parser = common.parser(__doc__)
    parser.add_argument("--files", type=common.positive, default=1_000_000, help="read long ago (default 1000000)")
    parser.add_argument("--new", type=common.positive, default=100, help="new ones whose way is timed (default 100)")
    options = parser.parse_args()
    with common.workplace(options.dir) as folder:
        where = common.machine(folder)
        project = common.files_project(16)
        rows = measure(common.System(folder / "system", project, common.WORK, options.workers), options)
    print(f"{options.files:,} files that were read; median (lowest-highest) of {options.repeats} turns")
    common.report(options, where, ["what", "figure"], rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
