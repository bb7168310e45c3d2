"""What odibi_core's page claims of itself, measured here on its own loads, beside the claim.

    python -m benchmarks.page --rows 10000000

file watch    500 csv files of 1 MB in the folder, all read: milliseconds from the moment a further one is moved in to
              the batch in the loop that waits for it (claimed: < 100 ms, below 1,000 files)
incremental   a csv of so many rows, all read: milliseconds of ``read_batch`` for 100 rows that were appended, and of
              one that finds nothing (claimed: < 50 ms)
checkpoint    of a DAG of 100 nodes: milliseconds of ``save``, synced to disk, and ``load`` (claimed: < 200, < 100 ms)
schedules     50 of them, each due every second: milliseconds from due time to the first line of the function (claimed:
              < 10 ms per schedule and check)
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv

from odibi_actors.checkpoint import CheckpointManager, NodeCheckpoint
from odibi_actors.scheduler import ScheduleManager
from odibi_actors.streaming import StreamManager

TIMES = 9


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the csv (default 10,000,000)")
    parser.add_argument("--files", type=int, default=500, help="of 1 MB (default 500)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        file_watch(given.files)
        incremental(given.rows)
        checkpoint()
        schedules()
        os.chdir("/")


def tell(what: str, seconds: list[float], claimed: str) -> None:
    """Median and worst."""
    found = [1000 * one for one in seconds]
    print(f"{what:42} median {statistics.median(found):8.1f} ms   worst {max(found):8.1f} ms   claimed {claimed}")


def timed(act: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def file_watch(files: int) -> None:
    """A loop in a thread waits; files are moved in."""
    Path("in").mkdir()
    rows = 1_000_000 // 20
    table = pa.table({"a": np.arange(rows), "b": np.random.default_rng(1).random(rows)})
    pcsv.write_csv(table, "in/0.csv")
    data = Path("in/0.csv").read_bytes()[:1_000_000].rpartition(b"\n")[0] + b"\n"
    for number in range(files):
        Path(f"in/{number}.csv").write_bytes(data + b"%d,0.5\n" % number)
    stream = StreamManager.from_source("csv", "in", batch_size=1_000_000)
    began, count = time.perf_counter(), 0
    for batch in stream.read(max_iterations=1):
        count += len(batch)
    took = time.perf_counter() - began
    print(f"{files} files of 1 MB: {took:.1f} s, {files / took:.0f} files/s, {count:,} rows")
    came, taken, stop = threading.Event(), list[float](), threading.Event()

    def loop() -> None:
        for _ in stream.read(sleep_seconds=60):
            taken.append(time.perf_counter())
            came.set()
            if stop.is_set():
                return

    thread = threading.Thread(target=loop)
    thread.start()
    lags = []
    for number in range(TIMES):
        time.sleep(0.3)
        Path("new.csv").write_bytes(data + b"%d,0.25\n" % number)
        if number == TIMES - 1:
            stop.set()
        moved = time.perf_counter()
        os.replace("new.csv", f"in/new-{number}.csv")
        came.wait()
        came.clear()
        lags.append(taken[-1] - moved)
    thread.join()
    tell(f"file watch, {files} files there", lags, "< 100 ms")


def incremental(rows: int) -> None:
    """The whole file once, then what is new of it."""
    with open("log.csv", "wb") as file:
        file.write(b"id,value\n")
        for begin in range(0, rows, 1_000_000):
            ids = np.arange(begin, min(rows, begin + 1_000_000))
            pcsv.write_csv(pa.table({"id": ids, "value": ids / 7}), file, pcsv.WriteOptions(include_header=False))
    stream = StreamManager.from_source("csv", "log.csv", "incremental", watermark_column="id", batch_size=1_000_000)
    began = time.perf_counter()
    count = sum(len(batch) for batch in stream.read(max_iterations=1))
    print(f"{count:,} rows of one csv: {time.perf_counter() - began:.1f} s")
    new, nothing = [], []
    for number in range(TIMES):
        with open("log.csv", "a") as more:
            more.writelines(f"{rows + 100 * number + one},0.5\n" for one in range(100))
        new.append(timed(stream.read_batch))
        nothing.append(timed(stream.read_batch))
    tell(f"incremental, 100 new behind {rows:,} rows", new, "< 50 ms")
    tell("incremental, nothing new", nothing, "< 50 ms")


def checkpoint() -> None:
    """Of a DAG of 100 nodes."""
    manager, now = CheckpointManager("checkpoints"), datetime.now(UTC)
    done = [NodeCheckpoint(f"node_{number}", "success", now, 12.5) for number in range(100)]
    made = [manager.create_checkpoint("dag", done, set()) for _ in range(TIMES)]
    tell(
        "checkpoint of 100 nodes, save (durable)",
        [timed(lambda one=one: manager.save(one)) for one in made],
        "< 200 ms",
    )
    ids = manager.list_checkpoints("dag")
    tell("checkpoint of 100 nodes, load", [timed(lambda one=one: manager.load(one)) for one in ids], "< 100 ms")


def schedules() -> None:
    """Fifty of one second each."""
    lags: list[float] = []
    with ScheduleManager(state_dir=None, max_workers=50) as scheduler:
        for number in range(50):
            scheduler.schedule_interval(1, lambda: lags.append(time.time() % 1), name=f"s{number}")
        scheduler.wait_for(lambda now: all(one["run_count"] >= 5 for one in now.values()), 60)
    tell("50 schedules due at once, lag", lags, "< 10 ms each")


if __name__ == "__main__":
    main()
