"""Acknowledged pushes per second, beside the floor: bare append and sync of the same bytes to a file.

    python -m benchmarks.events --pushes 200 --producers 8 --batch 1000

A system of real processes takes pushes of one row, by one producer and by several at once, then pushes of many rows by
one producer; each is acknowledged before its producer goes on. The floor writes the same Arrow bytes to a file and
syncs each (fdatasync). In turns, on the same disk; medians of the turns, lowest and highest.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from odibi_actors import Client
from odibi_actors.batches.ipc import encode

YAML = """\
project: pushed
workers: 1
connections:
  inbox: {type: local, path: inbox}
  lake: {type: local, path: lake}
pipelines:
  - pipeline: p
    nodes:
      - {name: src, read: {connection: inbox, path: events, mode: event, schema: {id: int64, at: double, page: string}}}
      - {name: out, inputs: [src], write: {connection: lake, path: out, format: parquet}}
"""


def table(rows: int) -> pa.Table:
    """The same rows each time."""
    numbers = range(rows)
    return pa.table({"id": [*numbers], "at": [one / 7 for one in numbers], "page": [f"/{one}" for one in numbers]})


def odibictl(folder: Path, *words: str) -> None:
    """Raises CalledProcessError."""
    command = [sys.executable, "-m", "odibi_actors.cli", *words, "--project", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def pushed(folder: Path, producers: int, pushes: int, rows: pa.Table) -> float:
    """Seconds until all are acknowledged, the clients being connected before."""
    ready, go = threading.Barrier(producers + 1), threading.Barrier(producers + 1)

    def produce() -> None:
        with Client(project=folder, timeout=60.0) as client:
            client.event_schema("p.src")
            ready.wait()
            go.wait()
            for _ in range(pushes // producers):
                client.push("p.src", rows)

    threads = [threading.Thread(target=produce) for _ in range(producers)]
    for one in threads:
        one.start()
    ready.wait()
    begun = time.perf_counter()
    go.wait()
    for one in threads:
        one.join()
    return time.perf_counter() - begun


def appended(folder: Path, pushes: int, rows: pa.Table) -> None:
    """The floor: written and synced, one by one."""
    data = encode(rows)
    with (folder / "floor").open("ab", buffering=0) as file:
        for _ in range(pushes):
            file.write(data)
            os.fdatasync(file.fileno())


def main() -> None:
    """Measure, and print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pushes", type=int, default=200, help="pushes of each turn")
    options.add_argument("--producers", type=int, default=8, help="that push at once")
    options.add_argument("--batch", type=int, default=1000, help="rows of a large push")
    options.add_argument("--repeats", type=int, default=5, help="turns")
    options.add_argument("--dir", type=Path, help="folder whose disk counts")
    given = options.parse_args()
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="odibi-bench-", dir=given.dir) as made:
        folder = Path(made)
        (folder / "odibi.yaml").write_text(YAML)
        odibictl(folder, "up", "--detach")
        one, many = table(1), table(given.batch)
        try:
            pushed(folder, 1, 2, one)
            for _ in range(given.repeats):
                for name, work in (
                    ("floor: 1 row, append and sync", lambda: seconds(lambda: appended(folder, given.pushes, one))),
                    ("1 row, 1 producer", lambda: pushed(folder, 1, given.pushes, one)),
                    (f"1 row, {given.producers} producers", lambda: pushed(folder, given.producers, given.pushes, one)),
                    (f"floor: {given.batch} rows", lambda: seconds(lambda: appended(folder, given.pushes, many))),
                    (f"{given.batch} rows, 1 producer", lambda: pushed(folder, 1, given.pushes, many)),
                ):
                    found.setdefault(name, []).append(work() / given.pushes * 1000)
        finally:
            odibictl(folder, "down")
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, {given.pushes} pushes a turn, {given.repeats} turns")
    print(f"{'':32} {'ms each':>8} {'lowest':>8} {'highest':>8} {'per s':>8}")
    for name, values in found.items():
        median = statistics.median(values)
        print(f"{name:32} {median:8.2f} {min(values):8.2f} {max(values):8.2f} {1000 / median:8,.0f}")


if __name__ == "__main__":
    main()
