"""Processes that read streams and are killed at random: ``python -m tests.local.stream_process FOLDER KILLS SEED``.

One process that has everything loaded forks the others. Each reads files, a file that grows, and what it pushes, and
notes each batch that it is given in one line. The batch that a killed process had in hand comes again, as it was; no
other row comes twice, and none is missing.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

from odibi_actors.streaming import StreamConfig, StreamManager, StreamMode

FILE_ROWS, LINES, PUSHED = 17, 11, 5
"""Rows that are added before each life."""


def read(number: int, batches: int | None) -> None:
    """A life: push, and read all that there is; or be killed with that batch in hand."""
    given = 0
    manager = StreamManager()
    manager.add_source("files", StreamConfig(StreamMode.FILE_WATCH, "in", file_pattern="*.csv", batch_size=7))
    manager.add_source("grows", StreamConfig(StreamMode.INCREMENTAL, "log.csv", watermark_column="n", batch_size=4))
    manager.add_source("events", StreamConfig(StreamMode.EVENT, batch_size=100))
    acknowledged = Path("pushed").read_text().count("\n") if Path("pushed").exists() else 0
    for push in range(acknowledged, number + 1):  # the one whose process was killed before it noted that is known again
        manager.push("events", [{"n": push * PUSHED + row} for row in range(PUSHED)], key=str(push))
        note(push, "pushed")
    for name in ("files", "grows", "events"):
        for batch in manager.read(name, max_iterations=1):
            note({"life": number, "source": name, "rows": batch["n"].tolist()})
            if (given := given + 1) == batches:
                os.kill(os.getpid(), signal.SIGKILL)


def note(what: object, file: str = "batches") -> None:
    """In one write, so that a kill leaves the whole line or none."""
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{json.dumps(what)}\n".encode())
    os.close(descriptor)


def add(number: int) -> None:
    """What is there before a life."""
    Path("in").mkdir(exist_ok=True)
    rows = range(number * FILE_ROWS, (number + 1) * FILE_ROWS)
    Path(f"in/{number:05}.csv").write_text("n\n" + "".join(f"{row}\n" for row in rows))
    with Path("log.csv").open("a") as log:
        if not number:
            log.write("n\n")
        log.writelines(f"{row}\n" for row in range(number * LINES, (number + 1) * LINES))


def life(number: int, seconds: float | None = None, batches: int | None = None) -> bool:
    """Fork a process, and kill it after that time, or with that batch in hand. Whether it came to its end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            read(number, batches)
            code = 0
        except BaseException:  # noqa: BLE001 - whatever it is, the parent is told by the code
            traceback.print_exc()
        os._exit(code)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    assert os.WEXITSTATUS(status) == 0, "the process has failed"
    return True


def check(lives: int) -> int:
    """Raise AssertionError for a row that is lost or doubled. Returns the batches that came again."""
    again = 0
    lines = [json.loads(line) for line in Path("batches").read_text().splitlines()]
    for source, count in (("files", FILE_ROWS), ("grows", LINES), ("events", PUSHED)):
        rows: list[int] = []
        former, life = list[int](), -1
        for line in lines:
            if line["source"] != source:
                continue
            if line["rows"] == former and line["life"] != life:
                again += 1  # it was in hand when its process was killed
            else:
                rows += line["rows"]
            former, life = line["rows"], line["life"]
        assert rows == list(range(count * lives)), f"{source}: {rows}"
    return again


def main(folder: str, kills: str, seed: str) -> None:
    """Lives until so many were killed, and one more."""
    for name in ("pyarrow.pandas_compat", "odibi_actors.local.streams", "odibi_actors.nodes.read"):
        importlib.import_module(name)  # before the forks: each life would load it anew
    chance = random.Random(int(seed))
    Path(folder).mkdir(parents=True)
    os.chdir(folder)
    began = time.monotonic()
    add(0)
    assert life(0)
    longest, number, killed = time.monotonic() - began, 0, 0
    while killed < int(kills):
        number += 1
        add(number)
        by_time = chance.random() < 0.7
        killed += not life(
            number, chance.uniform(0, longest) if by_time else None, None if by_time else chance.randint(1, 6)
        )
    add(number + 1)
    assert life(number + 1)
    # The last process has ended without asking further, and its last batches are still in hand.
    again = check(number + 2)
    print(
        f"{killed} killed of {number + 2} lives; {again} batches came again; an undisturbed life takes {longest:.2f} s"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
