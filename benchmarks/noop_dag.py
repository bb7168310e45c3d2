"""Milliseconds per node of a DAG of 100 nodes that do nothing, each acknowledged durably.

system  one tiny file per iteration, one iteration after the other (max_in_flight 1) or 4 at once; from the first plan
        to the last commit, by the recorded times, divided by all nodes
floor   the same DAGs and messages (a linear chain travels as one, a result per node) through a bare ROUTER and DEALERs:
        worker processes that call the same function on the same Arrow bytes, 4 tasks ahead per worker; what arrives
        together is written to a log and fdatasynced before its successors go out
call    the function calls alone in one process, with decoding and encoding of the Arrow bytes: no messages, no disk
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import common
import msgspec
import zmq

NODES = '''\
"""Nothing to do."""

import pyarrow as pa


def noop(first: pa.Table, *others: pa.Table) -> pa.Table:
    return first
'''
AHEAD = 4  # tasks per worker that are out at once, as the broker has it
CSV = "id,value\n1,0.5\n2,1.5\n"

Dag = dict[str, list[str]]
"""Node -> its inputs, in topological order; the first one reads the file."""


def chain(size: int) -> Dag:
    """One after the other."""
    return {"n0": [], **{f"n{i}": [f"n{i - 1}"] for i in range(1, size)}}


def fan(size: int) -> Dag:
    """All but the last read from the first; the last takes all of them."""
    middle = [f"n{i}" for i in range(1, size - 1)]
    return {"n0": [], **{name: ["n0"] for name in middle}, f"n{size - 1}": middle or ["n0"]}


def layers(size: int) -> Dag:
    """A first node, then square layers; a node takes two of the layer before it."""
    width = max(1, round((size - 1) ** 0.5))
    dag: Dag = {"n0": []}
    before = ["n0"]
    while len(dag) < size:
        layer = [f"n{len(dag) + i}" for i in range(min(width, size - len(dag)))]
        for place, name in enumerate(layer):
            dag[name] = list(dict.fromkeys([before[place % len(before)], before[(place + 1) % len(before)]]))
        before = layer
    return dag


SHAPES = {"chain": chain, "fan-out": fan, "layers": layers}


def project(dag: Dag, max_in_flight: int) -> str:
    """odibi.yaml: the first node reads, all others do nothing."""
    lines = [
        "project: noop",
        "connections: {landing: {type: local, path: landing}}",
        "pipelines:",
        f"  - pipeline: noop\n    max_in_flight: {max_in_flight}\n    batch: {{max_files: 1}}\n    nodes:",
    ]
    for name, inputs in dag.items():
        lines.append(f"      - name: {name}")
        if inputs:
            lines.append(f"        inputs: [{', '.join(inputs)}]\n        transform: {{function: 'nodes.bench:noop'}}")
        else:
            lines.append("        read: {connection: landing, format: csv, mode: file_watch, pattern: '*.csv'}")
    return "\n".join(lines) + "\n"


# --- the system -------------------------------------------------------------------------------------------------------


def deliver(folder: Path, name: str, count: int) -> None:
    """Tiny files that appear whole."""
    (folder / "landing").mkdir(exist_ok=True)
    for number in range(count):
        temporary = folder / f"{name}.part"
        temporary.write_text(CSV)
        temporary.rename(folder / f"landing/{name}-{number:04}.csv")


def measure_system(system: common.System, name: str, count: int) -> float:
    """Seconds for ``count`` iterations."""
    first = system.last("noop") + 1
    # Delivered while paused: the figure is the DAG's, not the discovery's.
    system.client.pause("noop")
    deliver(system.folder, name, count)
    end = time.monotonic() + common.QUIET
    while system.client.pipeline("noop")["offered"] < min(count, 2) and time.monotonic() < end:
        time.sleep(0.05)
    system.client.resume("noop")
    while system.last("noop") < first + count - 1 and time.monotonic() < end + common.QUIET:
        time.sleep(0.05)
    system.settle("noop")
    rows = [row for row in system.client.iterations("noop", limit=count)["items"] if row["iteration"] >= first]
    if len(rows) != count:
        raise SystemExit(f"{len(rows)} iterations came of {count} files")
    return float(max(row["finished_at"] for row in rows) - min(row["planned_at"] for row in rows))


# --- the floors -------------------------------------------------------------------------------------------------------


def arrow_bytes() -> bytes:
    """The table of one file as the system passes it on."""
    import pyarrow as pa

    table = pa.table({"id": [1, 2], "value": [0.5, 1.5]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def call(inputs: list[bytes]) -> bytes:
    """One node: decode, do nothing, encode."""
    import pyarrow as pa

    table, *_ = [pa.ipc.open_file(data).read_all() for data in inputs]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def measure_calls(dag: Dag, count: int) -> float:
    """Seconds for the functions of ``count`` DAGs in this process."""
    data = arrow_bytes()
    began = time.perf_counter()
    for _ in range(count):
        for inputs in dag.values():
            call([data] * max(1, len(inputs)))
    return time.perf_counter() - began


def floor_worker(endpoint: str) -> None:
    """A bare worker: [ids of nodes in a row, inputs of the first] -> a result for each."""
    import pyarrow as pa  # noqa: F401 - warm before the first task, as the system's workers are

    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    socket.connect(endpoint)
    socket.send(msgspec.msgpack.encode([-1, b""]))
    while True:
        nodes, inputs = msgspec.msgpack.decode(socket.recv())
        for node in nodes:
            result = call(inputs)
            inputs = [result]
            socket.send(msgspec.msgpack.encode([node, result]))


class Floor:
    """The bare coordinator and its workers."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
        endpoint = f"ipc://{folder}/floor.sock"
        self.socket.bind(endpoint)
        spawn = multiprocessing.get_context("spawn")
        self.processes = [spawn.Process(target=floor_worker, args=(endpoint,), daemon=True) for _ in range(workers)]
        for process in self.processes:
            process.start()
        self.peers: dict[bytes, int] = dict.fromkeys((self.socket.recv_multipart()[0] for _ in self.processes), 0)
        self.log = os.open(folder / "floor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def run(self, dag: Dag, count: int, at_once: int) -> float:
        """Seconds for ``count`` DAGs."""
        names = list(dag)
        place = {name: number for number, name in enumerate(names)}
        inputs = [[place[name] for name in dag[node]] for node in names]
        after: list[list[int]] = [[] for _ in names]
        for number, sources in enumerate(inputs):
            for source in sources:
                after[source].append(number)
        data = arrow_bytes()
        size = len(names)
        outputs: dict[int, bytes] = {}
        missing: dict[int, int] = {}
        ready: deque[int] = deque()
        owner: dict[int, bytes] = {}
        begun = left = 0

        def begin() -> None:
            nonlocal begun, left
            base = begun * size
            for number, sources in enumerate(inputs):
                missing[base + number] = len(sources)
            ready.append(base)
            begun, left = begun + 1, left + size

        def follow(task: int) -> list[int]:
            """The linear chain that begins at this task."""
            tasks = [task]
            while len(after[tasks[-1] % size]) == 1 and len(inputs[after[tasks[-1] % size][0]]) == 1:
                tasks.append(tasks[-1] - tasks[-1] % size + after[tasks[-1] % size][0])
            return tasks

        began = time.perf_counter()
        while begun < min(at_once, count):
            begin()
        done = [0] * count
        while left:
            while ready:
                peer = min(self.peers, key=self.peers.__getitem__)
                if self.peers[peer] >= AHEAD:
                    break
                tasks = follow(ready.popleft())
                base = tasks[0] - tasks[0] % size
                given = [outputs[base + source] for source in inputs[tasks[0] % size]] or [data]
                self.peers[peer] += 1
                owner[tasks[-1]] = peer
                self.socket.send_multipart([peer, msgspec.msgpack.encode([tasks, given])])
            self.socket.poll()
            frames = []
            while True:
                try:
                    frames.append(self.socket.recv_multipart(zmq.DONTWAIT)[1])
                except zmq.Again:
                    break
            os.write(self.log, b"".join(frames))
            os.fdatasync(self.log)
            for frame in frames:
                task, output = msgspec.msgpack.decode(frame)
                outputs[task] = output
                left -= 1
                done[task // size] += 1
                last = owner.pop(task, None)
                if last is not None:
                    self.peers[last] -= 1
                for number in after[task % size]:
                    successor = task - task % size + number
                    missing[successor] -= 1
                    if not missing[successor] and (len(after[task % size]) > 1 or len(inputs[number]) > 1):
                        ready.append(successor)
                if done[task // size] == size and begun < count:
                    begin()
        return time.perf_counter() - began

    def close(self) -> None:
        """End the workers."""
        for process in self.processes:
            process.terminate()
            process.join()
        self.socket.close()
        os.close(self.log)


# --- all of it --------------------------------------------------------------------------------------------------------


def benchmark(options: Any, folder: Path, floor: Floor, shape: str, at_once: int) -> dict[str, Any]:
    """One row of the table."""
    dag = SHAPES[shape](options.nodes)
    place = folder / f"{shape}-{at_once}"
    seconds: dict[str, list[float]] = {"system": [], "floor": [], "call": []}
    with common.System(place, project(dag, at_once), NODES, options.workers) as system:
        measure_system(system, "warm", 2)
        floor.run(dag, 2, at_once)
        measure_calls(dag, 1)
        before = system.cpu()
        for number in range(options.repeats):
            seconds["system"].append(measure_system(system, f"r{number}", options.iterations))
            seconds["floor"].append(floor.run(dag, options.iterations, at_once))
            seconds["call"].append(measure_calls(dag, options.iterations))
        cpu = common.used(before, system.cpu(), options.repeats * options.iterations * len(dag))
    per_node = {
        name: common.spread([1000 * one / options.iterations / len(dag) for one in values])
        for name, values in seconds.items()
    }
    ratio = per_node["system"]["median"] / per_node["floor"]["median"]
    return {"shape": shape, "nodes": len(dag), "at once": at_once, **per_node, "ratio": ratio, "cpu_ms": cpu}


def main() -> int:
    """The command line; returns the exit code."""
    parser = common.parser(__doc__)
    parser.add_argument("--nodes", type=common.positive, default=100, help="nodes of a DAG (default 100)")
    parser.add_argument("--iterations", type=common.positive, default=20, help="DAGs per measurement (default 20)")
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument(
        "--at-once", type=common.positive, nargs="+", default=[1, 4], help="DAGs in flight (default 1 4)"
    )
    options = parser.parse_args()
    with common.workplace(options.dir) as folder:
        where = common.machine(folder)
        floor = Floor(folder, options.workers)
        try:
            rows = [
                benchmark(options, folder, floor, shape, at_once)
                for shape in options.shapes
                for at_once in options.at_once
            ]
        finally:
            floor.close()
    print("milliseconds per node: median (lowest-highest) of", options.repeats, "measurements")
    common.report(options, where, ["shape", "nodes", "at once", "system", "floor", "call", "ratio"], rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
