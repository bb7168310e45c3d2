"""Power cuts: the file system under a working system is shut down as by a loss of power, again and again.

Run by ``scripts/powercut``, as root: data_dir and targets lie on an ext4 image on a loop device, which the ioctl
EXT4_IOC_SHUTDOWN cuts off without flushing its journal (linux/fs/ext4/ext4.h). All processes are killed, the image is
mounted again, which replays the journal, and everything starts again. What had been told to be committed must still be,
no part may be half, and in the end every row must be there once.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet

from odibi_actors.errors import OdibiError
from tests.system import arrivals
from tests.system.arrivals import PIPELINES, Arrivals, Verdict, verdicts
from tests.system.harness import System

SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32)."""
NO_LOG_FLUSH = 2
"""EXT4_GOING_FLAGS_NOLOGFLUSH: what the journal holds in memory is lost, as with the power."""
IMAGE = 1 << 30
"""Bytes of the image, sparse."""
RECOVERY = 120.0
"""Seconds in which everything must be done at the end."""


class Disk:
    """An ext4 image, mounted at ``path``. Needs root and a loop device; raises RuntimeError where there is none."""

    def __init__(self, folder: Path) -> None:
        self._image, self.path = folder / "disk.img", folder / "disk"
        self.path.mkdir()
        with self._image.open("wb") as file:
            file.truncate(IMAGE)
        self._run("mkfs.ext4", "-q", "-F", str(self._image))
        self.mount()

    def mount(self) -> None:
        """Mount it; the journal of a disk that was cut is replayed."""
        self._run("mount", "-o", "loop", str(self._image), str(self.path))

    def unmount(self) -> None:
        """Unmount it, cut or not; those that were killed may still be on their way out."""
        for _ in range(100):
            try:
                return self._run("umount", str(self.path))
            except RuntimeError as error:
                if "busy" not in str(error):
                    raise
            time.sleep(0.1)
        return self._run("umount", str(self.path))

    def cut(self) -> None:
        """The power is gone: from here on every access fails, and what was not synced is lost."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    @staticmethod
    def _run(*command: str) -> None:
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise RuntimeError(f"there is no {command[0]} on this machine") from error
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


class PowerCuts:
    """A project whose data_dir and targets are on a disk that is cut; its sources lie elsewhere."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.disk = Disk(folder)
        disk = self.disk.path
        self.arrivals = Arrivals(folder / "project", self.rng)
        text = arrivals.PROJECT.replace("path: data/lake", f"path: {disk}/lake")
        text = text.replace("path: data/mart.db", f"path: {disk}/mart.db")
        self.project = folder / "project"
        (self.project / "odibi.yaml").write_text(f"data_dir: {disk}/odibi\n{text}")
        for name in ("lake", "mart.db"):  # where the answer is looked for
            (self.project / "data" / name).symlink_to(disk / name)
        self.told: dict[str, dict[int, None]] = {name: {} for name in PIPELINES}
        self.cuts = self.forgotten = self.halves = 0

    def cycle(self) -> None:
        """Start, work for a while, cut, and see what is left."""
        system = System(self.project)
        try:
            system.start()
            self._look(system, first=True)
            end = time.monotonic() + self.rng.uniform(0.2, 2.0)
            while time.monotonic() < end:
                self.arrivals.deliver()
                self._look(system)
                time.sleep(self.rng.uniform(0.0, 0.15))
            self.disk.cut()
        finally:
            system.close()
        self.disk.unmount()
        self.disk.mount()
        self.cuts += 1
        self._parts()

    def _look(self, system: System, first: bool = False) -> None:
        """Note what the checkpoint store says is committed; after a start all that was noted must be."""
        for name, told in self.told.items():
            rows = system.client.iterations(name, limit=1000)["items"]
            states = {row["iteration"]: row["state"] for row in rows}
            if first and told:
                oldest = min(states, default=0)
                self.forgotten += sum(states.get(n) not in ("committed", "dead_lettered") for n in told if n >= oldest)
            told.update(dict.fromkeys(n for n, state in states.items() if state in ("committed", "dead_lettered")))

    def _parts(self) -> None:
        """Every visible part must be whole."""
        for part in (self.disk.path / "lake").rglob("*.parquet"):
            try:
                pyarrow.parquet.read_table(part)
            except (pyarrow.ArrowException, OSError):
                self.halves += 1

    def finish(self) -> list[Verdict]:
        """Let everything be done, and compare it with the answer."""
        system = System(self.project)
        try:
            system.start()
            self._look(system, first=True)
            self.arrivals.deliver()
            for name in PIPELINES:
                state = system.settled(name, RECOVERY)
                assert state == "committed", f"{name} is {state}\n{system.tail()}"
            letters = system.client.dead_letters("checked")["items"]
            names = [Path(row["position"]).name or _only_file(system, row["id"]) for row in letters]
            found = verdicts(self.arrivals, names)
            system.stop()
            return found
        finally:
            system.close()

    @property
    def acknowledged(self) -> int:
        """Iterations that were told to be finished."""
        return sum(len(told) for told in self.told.values())


def _only_file(system: System, letter: int) -> str:
    positions = system.client.dead_letter(letter)["positions"]
    (position,) = [one for some in positions.values() for one in some]
    return Path(position["identity"]).name


def main() -> int:
    """The command line; 0 when nothing acknowledged was forgotten and every row is there once."""
    parser = argparse.ArgumentParser(prog="scripts/powercut", description=__doc__)
    parser.add_argument("--cuts", type=int, default=20, help="how often the power is cut (default 20)")
    parser.add_argument("--seed", type=int, default=1, help="when, and what arrives (default 1)")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="odibi-powercut-"))
    try:
        run = PowerCuts(folder, chosen.seed)
    except RuntimeError as error:
        shutil.rmtree(folder, ignore_errors=True)
        print(f"cannot cut the power on this machine: {error}", file=sys.stderr)
        return 2
    found: list[Verdict] = []
    problem = ""
    try:
        for number in range(1, chosen.cuts + 1):
            run.cycle()
            said = f"cut {number}/{chosen.cuts}: {run.acknowledged} iterations acknowledged, {run.forgotten} forgotten"
            print(said, file=sys.stderr, flush=True)
        found = run.finish()
    except (AssertionError, OdibiError) as error:
        problem = str(error)
    rows, lost = sum(v.expected for v in found), sum(v.lost for v in found)
    doubled, wrong = sum(v.doubled for v in found), sum(v.wrong for v in found)
    print(
        f"{run.cuts} power cuts; {run.acknowledged} iterations acknowledged, {run.forgotten} forgotten; {run.halves} "
        f"parts not whole; {rows:,} rows expected, {lost} lost, {doubled} doubled, {wrong} wrong"
    )
    if problem or run.forgotten or run.halves or not all(v.holds for v in found):
        print(f"{problem}\n{[v for v in found if not v.holds]}\nFAILED: all is left in {folder}", file=sys.stderr)
        return 1
    run.disk.unmount()
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
