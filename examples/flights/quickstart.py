"""Run the whole example: real processes, files that arrive meanwhile, two of the processes killed, all compared.

    quickstart.py [--days N] [--per-second N]     exit 0 when every output equals the originals, else 1

It uses the system as anybody would: `honcho start` on the Procfile, `odibictl` for everything else.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import flights_data
import pyarrow.parquet

PROJECT = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
LAKE = PROJECT / "data/lake/flights"
LOG = PROJECT / "data/honcho.log"
BEGAN = time.monotonic()
PIPELINE, SOURCE = "delays", "flights"
START_TIMEOUT = 60.0  # seconds; a cold disk may take a while to import pandas
FINISH_TIMEOUT = 600.0  # seconds, from the last file delivered
STOP_TIMEOUT = 30.0  # seconds
TICK = 2.0  # seconds between lines of progress
KILL_WORKER_AT, KILL_BROKER_AT = 0.35, 0.65  # as fractions of the files delivered


class QuickstartError(Exception):
    """Something is not as it should be; the text is for the user."""


def odibictl(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``odibictl`` in the example's folder."""
    return subprocess.run(
        [str(BIN / "odibictl"), *arguments], cwd=PROJECT, env=environment(), capture_output=True, text=True, check=False
    )


def ask(*arguments: str) -> dict[str, Any] | None:
    """What ``odibictl ... -o json`` prints, or None when the system cannot be reached at this moment."""
    done = odibictl(*arguments, "-o", "json")
    return json.loads(done.stdout) if done.returncode == 0 else None


def say(text: str) -> None:
    """One line, with the seconds since the start."""
    print(f"{time.monotonic() - BEGAN:6.1f} s  {text}", flush=True)


def environment() -> dict[str, str]:
    """Ours without ``ODIBI_*`` (they may point at another system), and with the venv's programs first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ODIBI_")}
    return kept | {"PATH": f"{BIN}{os.pathsep}{kept.get('PATH', os.defpath)}"}


class System:
    """The example's Procfile under honcho; leaving the ``with`` block stops it, whatever happened."""

    def __enter__(self) -> System:
        with LOG.open("wb") as log:
            # A session of its own: Ctrl-C reaches us alone, and we stop the rest in order.
            self.honcho = subprocess.Popen(
                [str(BIN / "honcho"), "start"],
                cwd=PROJECT,
                env=environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.honcho.poll() is None:
            self.honcho.terminate()
            try:
                self.honcho.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self.honcho.kill()  # the supervisors ask the kernel to end them with it
                self.honcho.wait()

    def check(self) -> None:
        """Raise QuickstartError when honcho is gone: no line of a Procfile may exit by itself."""
        if self.honcho.poll() is not None:
            raise QuickstartError(f"honcho stopped with exit code {self.honcho.returncode} while it was needed")

    def wait_until_up(self) -> dict[str, Any]:
        """The first status in which the pipeline and all workers are there."""
        end = time.monotonic() + START_TIMEOUT
        while time.monotonic() < end:
            self.check()
            status = ask("status")
            if status and status["pipelines"] and status["workers"]:
                return status
            time.sleep(0.2)
        raise QuickstartError(f"the system was not up after {START_TIMEOUT:.0f} s")


class Delivery(threading.Thread):
    """Delivers the files at a steady rate while the main thread watches; ``error`` is why it ended early."""

    def __init__(self, days: int, per_second: float) -> None:
        super().__init__(name="delivery", daemon=True)
        self.days, self.per_second = days, per_second
        self.delivered, self.error = 0, ""

    def run(self) -> None:
        """Deliver them all."""
        try:
            for number in flights_data.deliver_all(PROJECT, self.per_second, self.days):
                self.delivered = number
        except OSError as error:
            self.error = str(error)


class Run:
    """One run of the example."""

    def __init__(self, system: System, delivery: Delivery) -> None:
        self.system, self.delivery = system, delivery
        self.epoch = 0
        self.killed_worker = 0
        self.killed_broker = 0

    def go(self) -> None:
        """Everything between the start and the comparison; raises QuickstartError."""
        status = self.system.wait_until_up()
        self.epoch = status["epoch"]
        say(f"the system is up: {len(status['workers'])} workers, epoch {self.epoch}; files begin to arrive")
        self.delivery.start()
        shown = time.monotonic()
        while self.delivery.is_alive() or not (self.killed_worker and self.killed_broker):
            self.system.check()
            self.delivery.join(0.2)
            self.kill_on_the_way()
            if time.monotonic() - shown > TICK:
                self.progress()
                shown = time.monotonic()
        if self.delivery.error:
            raise QuickstartError(f"delivering stopped: {self.delivery.error}")
        self.finish()

    def kill_on_the_way(self) -> None:
        """SIGKILL a worker, then the broker, once enough files are there."""
        share = self.delivery.delivered / self.delivery.days
        if share >= KILL_WORKER_AT and not self.killed_worker:
            workers = (ask("worker", "list") or {"items": []})["items"]
            busy = sorted(workers, key=lambda row: row["state"] != "busy")
            if busy:
                self.killed_worker = busy[0]["pid"]
                os.kill(self.killed_worker, signal.SIGKILL)
                say(f"kill -9 {self.killed_worker}: worker {busy[0]['worker']}, {busy[0]['state']}")
        elif share >= KILL_BROKER_AT and not self.killed_broker:
            self.killed_broker = json.loads((PROJECT / ".odibi/run/connection.json").read_text())["pid"]
            os.kill(self.killed_broker, signal.SIGKILL)
            say(f"kill -9 {self.killed_broker}: the broker")

    def progress(self) -> None:
        """Show how far it is; raises QuickstartError when the pipeline can go no further."""
        status = ask("status")
        files = f"{self.delivery.delivered:3}/{self.delivery.days} files delivered"
        if status is None:
            say(f"{files}, the broker is not reachable")
            return
        if status["epoch"] > self.epoch:
            say(f"the broker is back by itself: epoch {status['epoch']}")
            self.epoch = status["epoch"]
        pipeline = next(row for row in status["pipelines"] if row["pipeline"] == PIPELINE)
        problems = "; ".join(pipeline["problems"])
        if pipeline["state"] != "active":
            raise QuickstartError(f"the pipeline is {pipeline['state']}: {problems}")
        rows = sum(pyarrow.parquet.read_metadata(part).num_rows for part in LAKE.glob("*.parquet"))
        say(
            f"{files}, {pipeline['committed']} iterations committed, {rows:,} rows in the lake"
            + (problems and f" ({problems})")
        )

    def finish(self) -> None:
        """Wait until the last file is committed, and see that both kills were real."""
        end = time.monotonic() + FINISH_TIMEOUT
        while self.known_files() < self.delivery.days:
            if time.monotonic() > end:
                raise QuickstartError(
                    f"the source has not found all {self.delivery.days} files: `odibictl source list`"
                )
            self.system.check()
            time.sleep(0.2)
        say("all files are found; waiting until nothing is left to do: odibictl iteration wait delays")
        waited = odibictl("iteration", "wait", PIPELINE, "--timeout", f"{FINISH_TIMEOUT:.0f}s")
        if waited.returncode:
            raise QuickstartError(
                f"`odibictl iteration wait {PIPELINE}` ended with {waited.returncode}: {waited.stderr.strip()}"
            )
        self.progress()
        workers = (ask("worker", "list") or {"items": []})["items"]
        if self.epoch < 2 or not workers or self.killed_worker in [row["pid"] for row in workers]:
            raise QuickstartError("what was killed is still there, or was not replaced")

    def known_files(self) -> int:
        """How many files the source has found."""
        listed = ask("source", "list") or {"items": []}
        return sum(row["known"] for row in listed["items"] if row["source"] == SOURCE)


def stop(system: System) -> None:
    """``odibictl down``, after which honcho has nothing left to run; raises QuickstartError."""
    done = odibictl("down")
    if done.returncode:
        raise QuickstartError(f"`odibictl down` ended with {done.returncode}: {done.stderr.strip()}")
    try:
        system.honcho.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise QuickstartError(f"`odibictl down` said done, but honcho still ran {STOP_TIMEOUT:.0f} s later") from None


def quickstart(days: int, per_second: float) -> int:
    """The whole story; returns the exit code."""
    status = ask("status", "--timeout", "2s") if (PROJECT / ".odibi/run/connection.json").exists() else None
    if status and not status.get("at_rest"):
        raise QuickstartError(f"a system runs in {PROJECT} already; stop it first: `odibictl down` there")
    shutil.rmtree(PROJECT / ".odibi", ignore_errors=True)
    flights_data.prepare(PROJECT)
    say(f"the originals are ready: {flights_data.FLIGHTS:,} flights, cut into {flights_data.DAYS} daily files")
    with System() as system:
        Run(system, Delivery(days, per_second)).go()
        say("comparing every output with one query over the original data")
        compared = subprocess.run([sys.executable, str(PROJECT / "compare.py"), "--days", str(days)], check=False)
        say("stopping: odibictl down")
        stop(system)
    if compared.returncode:
        raise QuickstartError("the outputs differ from the originals")
    say(f"done, with a worker and the broker killed on the way; all is in {PROJECT}")
    return 0


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--days", type=int, default=flights_data.DAYS, help="deliver the first N days only (default all)"
    )
    parser.add_argument("--per-second", type=float, default=15.0, help="files delivered per second (default 15)")
    chosen = parser.parse_args()

    def terminated(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, terminated)
    try:
        return quickstart(chosen.days, chosen.per_second)
    except (QuickstartError, flights_data.DataError, OSError) as error:
        print(f"\nquickstart: {error}", file=sys.stderr)
        if LOG.exists():
            print(f"the last lines of {LOG}:", file=sys.stderr)
            print(
                "\n".join(f"    {line}" for line in LOG.read_text(errors="replace").splitlines()[-15:]), file=sys.stderr
            )
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
