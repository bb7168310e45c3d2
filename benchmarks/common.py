"""What the benchmarks share: a project on real processes, deterministic files, statistics, the report.

Every benchmark measures the system and its floor in the same run, in turns (A B A B ...), on the same machine and disk.
A floor does the same work with the bare libraries and no guarantees: what no system of this kind can beat.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import importlib.metadata
import json
import os
import platform
import random
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from odibi_actors.client import Client
from odibi_actors.streaming.watcher import filesystem

ROOT = Path(__file__).resolve().parent.parent
PROCFILE = (ROOT / "Procfile").read_text()
LIBRARIES = ("pyzmq", "pyarrow", "pandas", "duckdb", "msgspec", "watchdog")
UP_TIMEOUT = 120.0  # seconds, cold imports on a busy machine included
QUIET = 30.0  # seconds after which a benchmark that hears nothing more gives up


# --- the command line -------------------------------------------------------------------------------------------------


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options all benchmarks have."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--repeats", type=positive, default=5, help="times each side is measured, in turns (default 5)")
    made.add_argument("--workers", type=positive, default=2, help="worker processes on either side (default 2)")
    made.add_argument("--json", type=Path, metavar="FILE", help="write every figure, and the machine, there as well")
    made.add_argument("--dir", type=Path, help="folder for data and state; its disk counts (default: a temporary one)")
    return made


def positive(text: str) -> int:
    """For argparse: a number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 on")
    return number


@contextmanager
def workplace(chosen: Path | None) -> Iterator[Path]:
    """A new folder, removed at the end."""
    if chosen is not None:
        chosen.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="odibi-bench-", dir=chosen))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# --- the system -------------------------------------------------------------------------------------------------------


class System:
    """A project started as a user starts it: ``odibictl up --detach``. ``with`` stops it with ``odibictl down``."""

    def __init__(self, folder: Path, yaml: str, nodes: str, workers: int) -> None:
        self.folder, self.workers = folder, workers
        (folder / "nodes").mkdir(parents=True)
        (folder / "odibi.yaml").write_text(yaml)
        (folder / "Procfile").write_text(PROCFILE)
        (folder / "nodes/__init__.py").touch()
        (folder / "nodes/bench.py").write_text(nodes)
        self.client = Client(project=folder, timeout=UP_TIMEOUT)

    def __enter__(self) -> System:
        self._odibictl("up", "--detach", "--workers", str(self.workers), "--timeout", f"{UP_TIMEOUT:.0f}s")
        end = time.monotonic() + UP_TIMEOUT
        while sum(worker["state"] == "idle" for worker in self.client.status()["workers"]) < self.workers:
            if time.monotonic() > end:
                raise SystemExit(f"the workers are not up after {UP_TIMEOUT:.0f} s: see {self.folder / '.odibi/log'}")
            time.sleep(0.1)
        return self

    def __exit__(self, *exc: object) -> None:
        self.client.close()
        self._odibictl("down")

    def settle(self, pipeline: str) -> None:
        """Wait until nothing is left to do; a benchmark in which something failed counts for nothing."""
        state = self.client.wait(pipeline, timeout=600.0)["state"]
        if state in ("failed", "blocked"):
            raise SystemExit(f"pipeline {pipeline} is {state}: {self.client.pipeline(pipeline)['problems']}")

    def finish(self, pipeline: str, files: int) -> None:
        """Wait until so many files (of all times) are planned, and then until they are committed."""
        last, end = -1, 0.0
        while (known := sum(source["known"] for source in self.client.sources()["items"])) < files:
            if known != last:
                last, end = known, time.monotonic() + QUIET
            if time.monotonic() > end:
                raise SystemExit(f"{known} of {files} files are planned after {QUIET:.0f} s of silence")
            time.sleep(0.05)
        self.settle(pipeline)

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU time each actor has used so far; the workers together."""
        status = self.client.status()
        pids = {peer["name"]: [peer["pid"]] for peer in status["peers"] if peer["role"] != "client"}
        pids["broker"] = [json.loads((self.folder / ".odibi/run/connection.json").read_text())["pid"]]
        pids["workers"] = [worker["pid"] for worker in status["workers"]]
        return {name: sum(map(_cpu_time, numbers)) for name, numbers in sorted(pids.items())}

    def last(self, pipeline: str) -> int:
        """The number of the newest committed iteration."""
        return int(self.client.pipeline(pipeline)["last_committed"])

    def _odibictl(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "odibi_actors.cli", "--project", str(self.folder), *arguments]
        env = {name: value for name, value in os.environ.items() if not name.startswith("ODIBI_")}
        done = subprocess.run(command, env=env | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"odibictl {arguments[0]} ended with {done.returncode}: {done.stderr}")


def _cpu_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime: proc(5)


def used(before: dict[str, float], after: dict[str, float], units: int) -> dict[str, float]:
    """Milliseconds of CPU time per unit of work, by actor."""
    return {name: 1000 * (after[name] - before.get(name, 0.0)) / units for name in after}


# --- files ------------------------------------------------------------------------------------------------------------


def make_csv(size: int, seed: int) -> bytes:
    """About ``size`` bytes of CSV: id (int), key (20 words), amount (double), flag (int), text; the same for a seed."""
    rng = random.Random(seed)
    lines = ["id,key,amount,flag,note\n"]
    length = len(lines[0])
    while length < size or len(lines) < 2:
        row = len(lines)
        line = (
            f"{row},key{rng.randrange(20):02},{rng.random() * 1000:.4f},{rng.randrange(2)},{rng.getrandbits(80):020x}\n"
        )
        lines.append(line)
        length += len(line)
    return "".join(lines).encode()


def await_path(path: Path) -> None:
    """Wait until it exists."""
    end = time.monotonic() + UP_TIMEOUT
    while not path.exists():
        if time.monotonic() > end:
            raise SystemExit(f"{path} did not appear")
        time.sleep(0.02)


CSV_SCHEMA = "{id: int64, key: string, amount: double, flag: int64, note: string}"
"""Of ``make_csv``, as ``read.schema`` has it."""

WORK = '''\
"""The work on one table, the same for the system and for its floor."""

import pyarrow as pa
import pyarrow.compute as pc


def keep(rows: pa.Table) -> pa.Table:
    return rows.filter(pc.equal(rows["flag"], 1))


def totals(rows: pa.Table) -> pa.Table:
    return rows.group_by("key", use_threads=False).aggregate([("amount", "sum"), ("id", "count")])
'''
"""``nodes/bench.py`` of the benchmarks that read files."""


def files_project(max_files: int, max_in_flight: int = 4) -> str:
    """A project that reads CSV files, filters, groups, and writes parquet: what ``bare`` does."""
    return f"""\
project: bench
connections:
  landing: {{type: local, path: landing}}
  lake:    {{type: local, path: lake}}
pipelines:
  - pipeline: files
    max_in_flight: {max_in_flight}
    batch: {{max_files: {max_files}}}
    nodes:
      - name: rows
        read: {{connection: landing, format: csv, mode: file_watch, pattern: "*.csv", schema: {CSV_SCHEMA}}}
      - name: kept
        inputs: [rows]
        transform: {{function: "nodes.bench:keep"}}
      - name: totals
        inputs: [kept]
        transform: {{function: "nodes.bench:totals"}}
      - name: out
        inputs: [totals]
        write: {{connection: lake, path: out, format: parquet}}
"""


def bare(source: Path, target: Path) -> None:
    """The floor's whole work on one file: read, filter, group, write, sync, rename, sync the name."""
    import pyarrow as pa
    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    keep, totals = bare_functions()
    types = {"id": pa.int64(), "key": pa.string(), "amount": pa.float64(), "flag": pa.int64(), "note": pa.string()}
    rows = pc.read_csv(
        source,
        read_options=pc.ReadOptions(use_threads=False),
        convert_options=pc.ConvertOptions(column_types=types),
    )
    temporary = target.with_name(f"_{target.name}.tmp")
    with open(temporary, "wb") as file:
        pq.write_table(totals(keep(rows)), file)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(target)
    descriptor = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(descriptor)
    os.close(descriptor)


_functions: tuple[Callable[[Any], Any], Callable[[Any], Any]] | None = None


def bare_functions() -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """``keep`` and ``totals`` of WORK, as the workers of the system import them."""
    global _functions  # noqa: PLW0603 - loaded once per process
    if _functions is None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "odibi_bench_work.py").write_text(WORK)
            sys.path.insert(0, folder)
            import odibi_bench_work  # type: ignore[import-not-found]

            sys.path.remove(folder)
        _functions = (odibi_bench_work.keep, odibi_bench_work.totals)
    return _functions


class Folder:
    """The kernel's events of one folder: names that appear in it whole (linked, renamed) or are closed after writing.

    inotify(7) by itself: the thinnest layer there is, the same for both sides.
    """

    CLOSE_WRITE, MOVED_TO, CREATE = 0x8, 0x80, 0x100
    HEAD = struct.Struct("iIII")

    def __init__(self, path: Path, mask: int) -> None:
        path.mkdir(parents=True, exist_ok=True)
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_CLOEXEC)
        if self.fd < 0 or libc.inotify_add_watch(self.fd, os.fsencode(path), mask) < 0:
            raise OSError(ctypes.get_errno(), "inotify", str(path))

    def read(self) -> list[str]:
        """Names with an event; waits for the first."""
        data = os.read(self.fd, 1 << 16)
        names, at = [], 0
        while at < len(data):
            _, _, _, length = self.HEAD.unpack_from(data, at)
            at += self.HEAD.size
            names.append(data[at : at + length].rstrip(b"\0").decode())
            at += length
        return names

    def close(self) -> None:
        """End the watch."""
        os.close(self.fd)


# --- figures ----------------------------------------------------------------------------------------------------------


def spread(values: list[float]) -> dict[str, Any]:
    """Median, extremes and the values themselves."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "values": values}


def percentile(values: list[float], share: float) -> float:
    """The smallest value that ``share`` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 1000 * len(ordered)) // 1000) - 1)]


def machine(folder: Path) -> dict[str, Any]:
    """Where and when it was measured."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "commit": _output("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 1e9, 1),
        "kernel": platform.release(),
        "filesystem": filesystem(folder.stat().st_dev),
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "load_before": [round(one, 2) for one in os.getloadavg()],
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def report(options: argparse.Namespace, where: dict[str, Any], columns: list[str], rows: list[dict[str, Any]]) -> None:
    """The table on stdout, and everything as JSON if asked for. A row's values are text, numbers or ``spread``s."""
    libraries = ", ".join(f"{name} {version}" for name, version in where["libraries"].items())
    print(f"{where['date']}  {where['command']}  (commit {where['commit']})")
    print(f"{where['cpu']}, {where['cores']} cores, {where['memory_gb']} GB, {where['filesystem']}, ", end="")
    print(f"Linux {where['kernel']}, Python {where['python']}, {libraries}, load before {where['load_before'][0]}\n")
    cells = [columns, *([_cell(row[name]) for name in columns] for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    for line in cells:
        print("  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]))
    for row in rows:
        if "cpu_ms" in row:
            label = " ".join(str(row[name]) for name in columns if isinstance(row[name], str | int))
            print(f"cpu ms, {label}:", ", ".join(f"{name} {_number(ms)}" for name, ms in row["cpu_ms"].items()))
    if options.json is not None:
        options.json.write_text(json.dumps({"schema": 1, "machine": where, "rows": rows}, indent=1) + "\n")


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return f"{_number(value['median'])} ({_number(value['min'])}-{_number(value['max'])})"
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
