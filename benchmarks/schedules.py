"""Many schedules: seconds from due to noted and running, processor time while nothing is due, memory, time to start.

The schedules are in the store before the system starts (``--schedules``, of 100 pipelines whose folder is empty, so
that a run looks for files, finds none, and ends). ``busy``: each comes due once an hour, at a second of its own.
``idle``: none comes due within a day.

system  odibictl up; lag: from the due time to when the broker notes it and starts the run (both in the log)
floor   one process with the due times in a heap: sleep; lag: until it wakes; then append to a file and fdatasync
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import sqlite3
import statistics
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import common

from odibi_actors.checkpoint import records as rec
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.client import Client
from odibi_actors.config.model import ScheduleSpec
from odibi_actors.messages import SCHEDULER, Claimed
from odibi_actors.model import Place

PIPELINES = 100
HEAD = """\
project: bench
connections:
  landing: {type: local, path: landing}
  lake:    {type: local, path: lake}
pipelines:
"""
PIPELINE = """\
  - pipeline: p{number}
    trigger: schedule
    schedules: []
    nodes:
      - {{name: rows, read: {{connection: landing, format: csv, mode: file_watch, schema: {{id: int64}}}}}}
      - {{name: out, inputs: [rows], write: {{connection: lake, path: p{number}, format: parquet}}}}
"""


def cron(rng: random.Random, busy: bool) -> str:
    """Six fields: a second of each hour, or of a day that is far away."""
    second, minute = rng.randrange(60), rng.randrange(60)
    if busy:
        return f"{second} {minute} * * * *"
    far = time.gmtime(time.time() + 86_400 * rng.randint(5, 300))
    return f"{second} {minute} {rng.randrange(24)} {far.tm_mday} {far.tm_mon} *"


def fill(folder: Path, count: int, busy: bool) -> float:
    """Put the schedules into the store of a system that has stopped; seconds it took."""
    rng = random.Random(1)
    engine = Engine(folder / ".odibi/checkpoints.db")
    began = time.perf_counter()
    claimed = engine.claim(engine.epoch, "bench")
    assert isinstance(claimed, Claimed)
    place = Place(int(time.time()))
    zones = ("UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata")
    for start in range(0, count, 5000):
        records = [
            rec.Schedule(
                f"p{number % PIPELINES}",
                f"s{number}",
                ScheduleSpec(f"s{number}", cron=cron(rng, busy), timezone=rng.choice(zones)),
                "cli",
                place,
                time.time(),
            )
            for number in range(start, min(start + 5000, count))
        ]
        engine.apply(engine.epoch, engine.last_seq + 1, records)
    took = time.perf_counter() - began
    engine.close()
    return took


def known(client: Client, pipeline: int) -> int:
    """Of how many schedules of a pipeline the scheduler knows when they are due."""
    rows = client.request("schedule.next", {"pipeline": f"p{pipeline}"}, to=SCHEDULER)["items"]
    return sum(row["next"] is not None for row in rows)


def await_known(system: common.System, count: int) -> float:
    """Seconds until the scheduler knows of all when they are due."""
    began = time.perf_counter()
    for pipeline in range(PIPELINES):
        while known(system.client, pipeline) < count // PIPELINES:
            if time.perf_counter() - began > 300:
                raise SystemExit(f"the scheduler does not know all schedules of p{pipeline} after 300 s")
            time.sleep(0.05)
    return time.perf_counter() - began


def memory(system: common.System) -> dict[str, float]:
    """Resident megabytes of the actors."""
    pids = {peer["name"]: peer["pid"] for peer in system.client.status()["peers"] if peer["role"] != "client"}
    pids["broker"] = json.loads((system.folder / ".odibi/run/connection.json").read_text())["pid"]
    found = {}
    for name in ("scheduler", "broker", "store"):
        lines = Path(f"/proc/{pids[name]}/status").read_text().splitlines()
        found[name] = int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1000
    return found


def lags(folder: Path, since: float) -> list[float]:
    """Milliseconds from due to noted of every occurrence that was due after ``since``."""
    with closing(sqlite3.connect(f"file:{folder / '.odibi/checkpoints.db'}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT due, at FROM occurrences WHERE due > ?", (since,)).fetchall()
    return [1000 * (at - due) for due, at in rows]


def measure(folder: Path, options: argparse.Namespace, busy: bool) -> dict[str, Any]:
    """A row of the table: one system with all its schedules, for so many seconds."""
    yaml = HEAD + "".join(PIPELINE.format(number=number) for number in range(PIPELINES))
    (folder / "landing").mkdir(parents=True)
    system = common.System(folder, yaml, "", options.workers)
    with system:
        pass
    filled = fill(folder, options.schedules, busy)
    began = time.perf_counter()
    with system:
        up = time.perf_counter() - began
        learned = await_known(system, options.schedules)
        time.sleep(5.0)  # what came due while it started is caught up
        before, since, clock = system.cpu(), time.time(), time.perf_counter()
        time.sleep(options.seconds)
        after, seconds = system.cpu(), time.perf_counter() - clock
        held = memory(system)
    shares = {name: 100 * (after[name] - before[name]) / seconds for name in ("scheduler", "broker", "store")}
    return {
        "side": f"system, {'busy' if busy else 'idle'}",
        "schedules": options.schedules,
        "milliseconds": sorted(lags(folder, since)),
        "up_s": up,
        "known_s": learned,
        "filled_s": filled,
        "cpu": shares,
        "mb": held,
    }


def floor(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The same number of due times per second, from a heap."""
    folder.mkdir(parents=True)
    rng, begin = random.Random(1), time.time() + 1
    due = [begin + 3600 * rng.random() for _ in range(options.schedules)]
    heapq.heapify(due)
    found, cpu = [], time.process_time()
    with (folder / "log").open("ab", buffering=0) as file:
        while due[0] < begin + options.seconds:
            first = heapq.heappop(due)
            time.sleep(max(0.0, first - time.time()))
            found.append(1000 * (time.time() - first))
            file.write(f"{first}\n".encode())
            os.fdatasync(file.fileno())
    share = 100 * (time.process_time() - cpu) / options.seconds
    return {"side": "floor, busy", "schedules": options.schedules, "milliseconds": sorted(found), "cpu": {"all": share}}


def finish(row: dict[str, Any]) -> dict[str, Any]:
    """Percentiles and one line of text for what is by actor."""
    values = row["milliseconds"]
    row["due"] = len(values)
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        row[f"{name} ms"] = common.percentile(values, share) if values else "-"
    row["max ms"] = values[-1] if values else "-"
    row["cpu %"] = ", ".join(f"{name} {share:.1f}" for name, share in row["cpu"].items())
    row["MB"] = ", ".join(f"{name} {mb:.0f}" for name, mb in row.get("mb", {}).items()) or "-"
    row["start s"] = f"{row['up_s']:.1f} + {row['known_s']:.1f}" if "up_s" in row else "-"
    return row


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("--schedules", type=common.positive, default=100_000, help="how many (default 100000)")
    parser.add_argument("--seconds", type=common.positive, default=60, help="each side is measured (default 60)")
    options = parser.parse_args()
    with common.workplace(options.dir) as folder:
        where = common.machine(folder)
        rows = [floor(folder / "floor", options)]
        rows += [measure(folder / kind, options, kind == "busy") for kind in ("busy", "idle")]
    common.report(
        options,
        where,
        ["side", "schedules", "due", "p50 ms", "p99 ms", "max ms", "cpu %", "MB", "start s"],
        [finish(row) for row in rows],
    )
    print(f"\nmedian of the system's lag over the floor's: {_ratio(rows):.1f}")


def _ratio(rows: list[dict[str, Any]]) -> float:
    return statistics.median(rows[1]["milliseconds"]) / statistics.median(rows[0]["milliseconds"])


if __name__ == "__main__":
    main()
