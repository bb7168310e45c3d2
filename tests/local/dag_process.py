"""Processes that run a DAG and are killed at random: ``python -m tests.local.dag_process KIND FOLDER KILLS SEED``.

KIND is ``execute`` or ``continuous``. One process that has everything loaded forks the others, so that a life costs
milliseconds. Each call of a step's function is a line of ``calls``. After every kill the checkpoint tells which nodes
have finished, and from then on none of these may be called again on the same data.
"""

from __future__ import annotations

import importlib
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from odibi_actors.checkpoint import CheckpointManager
from odibi_actors.core import DAGBuilder, DAGExecutor, EventEmitter, ExecutionMode, Step, Tracker, create_engine_context

ROUNDS = 4
NODES = ("a", "b", "c", "d")
HERE = "tests.local.dag_process"


def note(line: str) -> None:
    """In one write, so that a kill leaves the whole line or none."""
    descriptor = os.open("calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def add(data: pd.DataFrame, name: str, by: int) -> pd.DataFrame:
    note(f"{name} {int(data['n'].iloc[0])}")
    return pd.DataFrame({"n": data["n"] * 10 + by})


def both(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    note(f"d {int(one['n'].iloc[0])}")
    return pd.DataFrame({"n": one["n"] * 100 + other["n"]})


def dag() -> DAGBuilder:
    """a -> b, c -> d -> a file."""
    steps = [
        Step(
            "transform", name, "function", "pandas", f"{HERE}.add", {"name": name, "by": by}, {"data": key}, {"o": name}
        )
        for name, by, key in (("a", 1, "raw"), ("b", 2, "a"), ("c", 3, "a"))
    ]
    steps.append(Step("transform", "d", "function", "pandas", f"{HERE}.both", inputs={"one": "b", "other": "c"},
                      outputs={"o": "d"}))  # fmt: skip
    steps.append(Step("store", "keep", "config_op", "pandas", "out.csv", inputs={"data": "d"}))
    return DAGBuilder(steps)


def execute(manager: CheckpointManager) -> None:
    """Example 3, with a name. That all was done by a process that was killed later is for its caller to see."""
    checkpoint = manager.load_latest("etl")
    if checkpoint is not None and not checkpoint.pending_nodes:
        return
    mode = ExecutionMode.RESUME if checkpoint else ExecutionMode.BATCH
    skip = manager.get_resume_point(checkpoint) if checkpoint else None
    one = executor(manager, mode, skip)
    one.data_map["raw"] = pd.DataFrame({"n": [1, 2]})
    one.execute()


def continuous(manager: CheckpointManager) -> None:
    """A batch per round, known by its number."""
    one = executor(manager, ExecutionMode.STREAM, None)

    def update(data_map: dict[str, Any]) -> None:
        data_map["raw"] = pd.DataFrame({"n": [one._iteration + 1, 2]})

    one.run_continuous(update, max_iterations=ROUNDS - one._iteration, sleep_seconds=0)


def executor(manager: CheckpointManager, mode: ExecutionMode, skip: set[str] | None) -> DAGExecutor:
    context = create_engine_context("pandas")
    return DAGExecutor(dag(), context, Tracker(), EventEmitter(), checkpoint_manager=manager, mode=mode,
                       skip_nodes=skip, dag_name="etl")  # fmt: skip


KINDS = {"execute": (execute, 1), "continuous": (continuous, ROUNDS)}
"""What a process does, and how many rounds that is."""


def line(node: str, number: int) -> str:
    """The call of a node in the round of that number, from 0."""
    return {"a": f"a {number + 1}", "b": f"b {number + 1}1", "c": f"c {number + 1}1", "d": f"d {number + 1}12"}[node]


def finished(folder: Path) -> set[str]:
    """The calls that must not come again."""
    latest = CheckpointManager(folder / "checkpoints").load_latest("etl")
    if latest is None:
        return set()
    done = {(node, number) for node in NODES for number in range(latest.iteration)}
    done |= {(node.node_name, latest.iteration) for node in latest.completed_nodes if node.node_name in NODES}
    return {line(*one) for one in done}


def calls(folder: Path) -> Counter[str]:
    """Those so far."""
    path = folder / "calls"
    return Counter(path.read_text().splitlines() if path.exists() else [])


def life(kind: str, folder: Path, seconds: float | None) -> bool:
    """Fork a process, and kill it after that time. Whether it came to its end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.chdir(folder)
            KINDS[kind][0](CheckpointManager("checkpoints"))
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


def story(kind: str, folder: Path, chance: random.Random, longest: float, kills: int) -> int:
    """Lives until the work is done, the first ``kills`` of them killed. Returns how many were."""
    folder.mkdir()
    killed = 0
    barred, before = set[str](), Counter[str]()
    while not life(kind, folder, chance.uniform(0, longest) if killed < kills else None):
        killed += 1
        now = calls(folder)
        again = {one: now[one] - before[one] for one in barred if now[one] > before[one]}
        assert not again, f"called again after it had finished: {again}"
        barred, before = finished(folder), now
    now = calls(folder)
    assert not [one for one in barred if now[one] > before[one]]
    assert set(now) == {line(node, number) for node in NODES for number in range(KINDS[kind][1])}
    number = KINDS[kind][1]
    rows = [((n * 10 + 1) * 10 + 2) * 100 + (n * 10 + 1) * 10 + 3 for n in (number, 2)]
    assert (folder / "out.csv").read_text() == f"n\n{rows[0]}\n{rows[1]}\n"
    return killed


def main(kind: str, folder: str, kills: str, seed: str) -> None:
    """Stories until so many processes were killed."""
    for name in ("pyarrow.pandas_compat", "odibi_actors.local.dags", "odibi_actors.core.contexts"):
        importlib.import_module(name)  # before the forks: each life would load it anew
    chance = random.Random(int(seed))
    root = Path(folder)
    (root / "first").mkdir(parents=True)
    began = time.monotonic()
    assert life(kind, root / "first", None)
    longest, killed, number = time.monotonic() - began, 0, 0
    while killed < int(kills):
        number += 1
        killed += story(kind, root / str(number), chance, longest, int(kills) - killed)
    print(f"{kind}: {killed} killed in {number} stories; an undisturbed one takes {longest:.2f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
