"""Memory that a sink takes to stage and to publish a batch, beyond the batch itself: each sink in a process of its own.

Peaks are those of the kernel (VmHWM), reset before each step. Publishing rows maps the staged file: its pages count as
memory of the process, and can be taken away from it at any time.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from odibi_actors.config.model import ConnectionSpec, WriteSpec
from odibi_actors.kinds.registry import sink_of
from odibi_actors.kinds.sink import Site
from odibi_actors.model import Attempt
from odibi_actors.nodes.sinks.conform import Pin
from odibi_actors.nodes.sinks.known import UNKNOWN
from odibi_actors.nodes.sinks.owner import Owner

SIZE = 500
"""Megabytes of the batch."""
SINKS = ["parquet", "arrow", "csv", "json", "parquet partitioned", "sqlite", "sqlite upsert", "duckdb", "duckdb upsert"]


def rows(megabytes: int) -> pa.Table:
    """Whole numbers, fractions, texts, and ten partitions."""
    count = megabytes * 1_000_000 // 54
    known = pa.array([f"value-of-this-row-{number * 7919 % 10**12:012}" for number in range(100_000)])
    texts = known.take(pa.array(np.arange(count) * 31 % 100_000))
    tenths = pa.array((np.arange(count) % 10).astype(np.int32))
    return pa.table({"k": np.arange(count), "x": np.random.default_rng(1).random(count), "t": texts, "p": tenths})


def peak(do: Callable[[], object]) -> tuple[int, int]:
    """Megabytes in memory before, and at most meanwhile."""
    Path("/proc/self/clear_refs").write_text("5")
    before = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    do()
    status = Path("/proc/self/status").read_text().splitlines()
    most = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    return round(before / 1e6), round(most / 1e6)


def measure(name: str, megabytes: int, folder: Path) -> None:
    """Print what one sink takes."""
    kind, _, mode = name.partition(" ")
    if kind in ("sqlite", "duckdb"):
        upserts = mode == "upsert"
        mart = ConnectionSpec("mart", kind, str(folder / "mart.db"))
        write = WriteSpec(mart, "upsert" if upserts else "append", table="t", keys=["k"] if upserts else [])
    else:
        lake = ConnectionSpec("lake", "local", str(folder / "lake"))
        write = WriteSpec(lake, path="t", format=kind, partition_by=["p"] if mode else [])
    batch = [rows(megabytes)]
    size = round(batch[0].nbytes / 1e6)
    site = Site(write.target, Owner("s", "p", "n"), staging=folder / "staged")
    parts, first = [], sink_of(write.target.sink).open(site, write)
    staging = peak(lambda: parts.append(first.stage(batch[0], 1, Attempt(1, 1), Pin())[0]))
    batch.clear()  # nobody has it while it is published
    sink = sink_of(write.target.sink).open(site._replace(published=parts[0].published), None)
    publishing = peak(lambda: sink.publish(parts[0], 1, 0, False, 0, UNKNOWN))
    more = [most - before for before, most in (staging, publishing)]
    print(f"{name:20} batch {size} MB, staging {more[0]:+} MB, publishing {more[1]:+} MB", flush=True)


def main() -> None:
    """``[MEGABYTES [SINK]]``"""
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else SIZE
    if len(sys.argv) > 2:
        with tempfile.TemporaryDirectory() as folder:
            measure(sys.argv[2], megabytes, Path(folder))
        return
    for name in SINKS:
        subprocess.run([sys.executable, "-m", "benchmarks.sink_memory", str(megabytes), name], check=True)


if __name__ == "__main__":
    main()
