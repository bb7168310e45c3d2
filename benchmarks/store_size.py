"""Bytes that the checkpoint store keeps of an iteration, and how long its chores take.

Iterations of 7 nodes with small outputs (2 read by the next node, 2 sinks), one file each, straight into the store:

    python -m benchmarks.store_size --iterations 22000

prints bytes per iteration, by table, the time of a commit's transaction, and of each step of pruning them all.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.config.model import NodeSpec, PipelineSpec
from odibi_actors.model import Attempt, BatchRef, PositionRead, StagedRef, Target
from odibi_actors.sources.file_position import file_position

NODES = ("flights", "clean", "delayed", "by_carrier", "by_day", "lake_flights", "mart_delays")
SINKS = NODES[5:]
FOLDER = "/srv/projects/flights/data"
BATCH = 1900
"""Bytes of a small output: an Arrow IPC file of a few rows."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=22_000)
    parser.add_argument("--dir", type=Path, help="folder for the database; its disk counts (default: a temporary one)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.dir) as folder:
        _measure(Path(folder) / "checkpoints.db", given.iterations)


def _measure(path: Path, iterations: int) -> None:
    engine = Engine(path)
    engine.claim(engine.epoch, "benchmark")
    spec = PipelineSpec("delays", [NodeSpec(name) for name in NODES])
    engine.apply(1, 1, [r.Version("delays", 1, spec, "c" * 32, 1.0)])
    took = []
    for number in range(1, iterations + 1):
        records = list(an_iteration(number))
        started = time.perf_counter()
        engine.apply(1, engine.last_seq + 1, records)
        took.append(time.perf_counter() - started)
        if engine.wal_full:
            engine.checkpoint()
    engine.checkpoint()
    stats = engine.answer("checkpoint.stats", {})
    size = path.stat().st_size
    print(f"{iterations:,} iterations of {len(NODES)} nodes: {size / 1e6:.1f} MB, {size / iterations:,.0f} bytes each")
    for table, row in (stats.get("tables") or {}).items():
        print(f"  {table:14} {row['rows']:>9,} rows {row['bytes'] / iterations:>9,.0f} bytes per iteration")
    print(
        f"an iteration's transaction: median {_ms(statistics.median(took))}, p99 {_ms(sorted(took)[-len(took) // 100])}"
    )
    steps = []
    more = True
    while more:
        started = time.perf_counter()
        answer = engine.prune(2e9, 1.0, 20)
        more = bool(getattr(answer, "more", answer))
        steps.append(time.perf_counter() - started)
        if engine.wal_full:
            engine.checkpoint()
    engine.checkpoint()
    print(f"pruned in {len(steps)} steps: median {_ms(statistics.median(steps))}, longest {_ms(max(steps))}")
    print(f"after it: {path.stat().st_size / 1e6:.1f} MB, of which the ledger stays")
    engine.close()


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _digest(*of: object) -> str:
    return hashlib.blake2b(repr(of).encode(), digest_size=16).hexdigest()


def an_iteration(number: int) -> Iterator[r.AnyRecord]:
    """The records of a whole life."""
    at = 1_700_000_000.0 + number
    written = 1_700_000_000_123_456_789 + number * 10**9
    file = file_position(f"flights-{number:08}.csv", 20_000 + number, written, number, ctime_ns=written)
    yield r.Plan("delays", "live", number, 1, {"flights": [file]}, ["flights"], at)
    parts = {}
    for at_node, node in enumerate(NODES):
        attempt = Attempt(1, number * 8 + at_node)
        told = (_digest(number, node, "key"), at, 0.0123, 120, 120, "pool-0/w-1")
        if node in SINKS:
            target = f"{FOLDER}/lake/flights/part-{number:010}-{node}.parquet"
            staged = f"{FOLDER}/lake/flights/_part-{number:010}-{node}-{attempt}.staged"
            lake = Target("local", "", f"{FOLDER}/lake/flights")
            parts[node] = StagedRef(
                lake, staged, target, 120, 9000, _digest(number, node), exclusive=lake.locator, retracts=True
            )
            yield r.Ack("delays", number, node, attempt, *told, staged=parts[node])
        else:
            data = b"".join(hashlib.blake2b(f"{number}{node}{i}".encode()).digest() for i in range(BATCH // 64))
            output = BatchRef(120, len(data), _digest(number, node), "", data, "host")
            files = [PositionRead(bytes.fromhex(_digest(number)), file.detail)] if node == NODES[0] else []
            yield r.Ack("delays", number, node, attempt, *told, output=output, files=files)
    yield r.Prepare("delays", number, parts, at)
    yield r.Commit("delays", number, at + 1, 5)


if __name__ == "__main__":
    main()
