"""Reading what is new in a csv file that grows: does it take longer, the longer the file is?

    python -m benchmarks.incremental --rows 10000000 --new 1000

A file of so many rows is read whole, in pieces that fit into an iteration; then rows are appended, several times,
and just these are found and read: looked for by the probe of the kind, and parsed as a worker parses them. The same for
half the rows. Beside it, as floors, `pyarrow.csv` reads the whole file at once, and the new bytes alone, from where
they are known to begin. With `--run`, also whole processes: `odibictl run`, of everything and of what was appended.
"""

from __future__ import annotations

import argparse
import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pcsv

from odibi_actors.config.model import BatchSpec, ConnectionSpec, ReadSpec
from odibi_actors.kinds.connection import OPEN
from odibi_actors.sources.incremental import INCREMENTAL
from odibi_actors.streaming.effects import Ahead, Begin, Piece, Seen

HEADER = "id,customer,amount,note\n"

YAML = """\
project: growing
connections:
  landing: {type: local, path: landing}
  lake: {type: local, path: lake}
pipelines:
  - pipeline: p
    nodes:
      - {name: log, read: {connection: landing, format: csv, mode: incremental, pattern: "*.csv"}}
      - {name: out, inputs: [log], write: {connection: lake, path: out, format: parquet}}
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the file (default 10,000,000)")
    parser.add_argument("--new", type=int, default=1000, help="rows that are appended (default 1,000)")
    parser.add_argument("--repeats", type=int, default=9, help="times they are (default 9)")
    parser.add_argument("--run", action="store_true", help="also whole processes, by `odibictl run`")
    parser.add_argument("--dir", type=Path, help="folder for the file; its disk counts (default: a temporary one)")
    given = parser.parse_args()
    for rows in (given.rows // 2, given.rows):
        with tempfile.TemporaryDirectory(dir=given.dir) as folder:
            _measure(Path(folder), rows, given.new, given.repeats)
            if given.run:
                _processes(Path(folder), rows, given.new, given.repeats)


def _lines(begin: int, count: int) -> str:
    return "".join(
        f"{n},c{n * 7919 % 100003:06},{n % 9973}.{n % 97:02},note {n % 13}\n" for n in range(begin, begin + count)
    )


def _make(path: Path, rows: int) -> None:
    with path.open("w") as file:
        file.write(HEADER)
        for begin in range(0, rows, 100_000):
            file.write(_lines(begin, min(100_000, rows - begin)))


class _Source:
    """The kind, asked as its finder and its workers ask; what was read is counted and let go."""

    def __init__(self, folder: Path) -> None:
        place = ConnectionSpec("landing", "local", str(folder))
        self._read = ReadSpec(place, "csv", "incremental", pattern="*.csv", consumption="cursor")
        self._behind: list[Begin] = []
        self._schema = b""

    def read(self) -> int:
        """All that is there behind the place; the rows."""
        rows = 0
        while pieces := self._look():
            for piece in pieces:
                found = INCREMENTAL.load(self._read, [piece.position], self._schema, OPEN)
                self._schema = self._schema or found.schema
                rows += found.table.num_rows
        return rows

    def _look(self) -> list[Piece]:
        ask = Ahead("benchmark", 1, self._read, self._behind, BatchSpec(), 4)
        (seen,) = [one for one in INCREMENTAL.probe(ask) if isinstance(one, Seen)]
        pieces = [piece for part in seen.parts for piece in part.pieces]
        if pieces:
            self._behind = [Begin(pieces[-1].range.partition, pieces[-1].range.upper)]
        return pieces


def _measure(folder: Path, rows: int, new: int, repeats: int) -> None:
    path = folder / "log.csv"
    _make(path, rows)
    size = path.stat().st_size
    source = _Source(folder)
    whole = _time(source.read, rows)
    floor = _time(lambda: pcsv.read_csv(path, read_options=pcsv.ReadOptions(use_threads=False)).num_rows, rows)
    took, bare = [], []
    for turn in range(repeats):
        begin = path.stat().st_size
        with path.open("a") as file:
            file.write(_lines(rows + turn * new, new))
        took.append(_time(source.read, new))
        bare.append(_time(lambda begin=begin: _tail(path, begin), new))
    print(f"{rows:,} rows, {size / 1e6:,.0f} MB")
    print(f"  whole: {whole:.2f} s ({floor:.2f} s by pyarrow.csv at once, one thread)")
    ratio = whole / statistics.median(took)
    print(f"  {new:,} new rows: {_spread(took)} ({_spread(bare)} by pyarrow.csv alone); {ratio:,.0f} times less")


def _tail(path: Path, begin: int) -> int:
    with path.open("rb") as file:
        file.seek(begin)
        data = io.BytesIO(HEADER.encode() + file.read())
    table: pa.Table = pcsv.read_csv(data)
    return int(table.num_rows)


def _processes(folder: Path, rows: int, new: int, repeats: int) -> None:
    project = folder / "project"
    (project / "landing").mkdir(parents=True)
    (project / "odibi.yaml").write_text(YAML)
    path = project / "landing/log.csv"
    _make(path, rows)

    def run() -> int:
        command = [sys.executable, "-m", "odibi_actors.cli", "run", "p"]
        done = subprocess.run(command, cwd=project, check=True, capture_output=True, text=True)
        return int(done.stdout.partition("rows_read")[2].split()[0].replace(",", ""))

    whole = _time(run, rows)
    took = []
    for turn in range(repeats):
        with path.open("a") as file:
            file.write(_lines(rows + turn * new, new))
        took.append(_time(run, new))
    print(f"  odibictl run: whole {whole:.1f} s; {new:,} new rows {_spread(took)}")


def _time(read: Callable[[], int], rows: int) -> float:
    started = time.perf_counter()
    found = read()
    took = time.perf_counter() - started
    if found != rows:
        raise SystemExit(f"{found:,} rows were read, not {rows:,}")
    return took


def _spread(values: list[float]) -> str:
    low, middle, high = (f"{value * 1000:.1f}" for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} ms ({low}-{high})"


if __name__ == "__main__":
    main()
