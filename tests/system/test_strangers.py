"""Somebody who reaches the sockets and talks nonsense: nothing stops, memory stays bounded, the work goes on."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq

from odibi_actors import messages as m
from odibi_actors.runtime import wire
from odibi_actors.runtime.paths import layout
from tests.system.harness import ACTORS, Delivery, Flights, System, finish

Make = Callable[[Path], System]
FLOOD = 100_000
MEMORY_MB = 400
"""Of one actor; it takes 40 to 90 without strangers."""


class Stranger(threading.Thread):
    """Talks to one endpoint from a thread and a context of its own, until it has said all or is told to leave."""

    def __init__(self, endpoint: str, say: Callable[[zmq.Socket[bytes]], None], identity: bytes) -> None:
        super().__init__(daemon=True)
        self._endpoint, self._say, self._identity = endpoint, say, identity
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.error: BaseException | None = None

    def run(self) -> None:
        """Speak."""
        socket = self.context.socket(zmq.DEALER)
        socket.set(zmq.IDENTITY, self._identity)
        socket.set(zmq.SNDTIMEO, 10_000)
        socket.connect(self._endpoint)
        try:
            self._say(socket)
        except zmq.ZMQError as error:
            self.error = error  # refused: that is the receiver's right


def garbage(socket: zmq.Socket[bytes]) -> None:
    """Frames of the wrong number, size and content; half a message at last."""
    good = wire.encode_header("broker", "client-x", "1")
    for number in range(500):
        socket.send_multipart([b"\xff" * (number % 7), bytes(range(256)) * (number % 5)])
        socket.send_multipart([good] * (number % 6 + 1))
        socket.send_multipart([good, b"\xdd\xff\xff\xff\xff" * 20])
        socket.send_multipart([good, wire.encode_body(m.Shutdown())])
        socket.send_multipart([wire.encode_header("store", "broker", "1"), wire.encode_body(m.Shutdown())])
        socket.send_multipart([wire.encode_header("store", "client-x", "1"), wire.encode_body(m.Claim(1, "x"))])
    socket.send(good, zmq.SNDMORE)


def flood(socket: zmq.Socket[bytes]) -> None:
    """Many tiny messages that nobody wants."""
    frames = [wire.encode_header("nobody", "client-f", "1"), wire.encode_body(m.Bye())]
    for _ in range(FLOOD):
        socket.send_multipart(frames)


def never_reads(socket: zmq.Socket[bytes]) -> None:
    """Questions with long answers, whose answers are left in the queue."""
    header = wire.encode_header("broker", "client-s", "1")
    socket.send_multipart([header, wire.encode_body(m.Hello("client", "1", "h", 1))])
    for number in range(5000):
        socket.send_multipart([header, wire.encode_body(m.Request(str(number), "status"))])


def hostile_questions(socket: zmq.Socket[bytes]) -> None:
    """Questions to everybody, with parameters no client of ours sends."""
    for to in ("broker", "store", "source", "scheduler"):
        header = wire.encode_header(to, "client-q", "1")
        for value in (2**63, -1, [1], {"a": []}, "\x1b[2J" * 100, float("nan"), None, b"\xff"):
            for verb in ("iteration.show", "iteration.wait", "worker.scale", "source.why", "pipeline.trigger", "x"):
                params = {"pipeline": "delays", "iteration": value, "workers": value, "file": value, "host": value}
                socket.send_multipart([header, wire.encode_body(m.Request("1", verb, params))])
            socket.send_multipart([header, wire.encode_body(m.Request("1", "pipeline.show", {"pipeline": value}))])


@contextmanager
def strangers(system: System) -> Iterator[None]:
    """All of them at once, at the hub and at the pool's socket for its workers; they stay until the block ends."""
    places = layout(system.project / ".odibi")
    hub, pool = places.endpoint, places.socket("pool-0")
    crowd = [Stranger(hub, say, b"client-%s/1" % name) for say, name in TALKS]
    crowd += [Stranger(pool, say, identity) for say, _ in TALKS[:2] for identity in (b"pool-0-1/1", b"pool-0-99/7")]
    for one in crowd:
        one.start()
    try:
        yield
        for one in crowd:
            one.join(60)
            assert not one.is_alive()
    finally:
        for one in crowd:
            one.context.destroy(linger=0)


TALKS = [(garbage, b"x"), (flood, b"f"), (never_reads, b"s"), (hostile_questions, b"q")]


def peak_mb(pid: int) -> int:
    """The most memory a living process has held."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) // 1024


def test_given_strangers_at_the_sockets_when_files_arrive_then_every_row_is_there_once(
    flights: Flights, make: Make, tmp_path: Path
) -> None:
    system = make(flights.project(tmp_path / "f"))
    system.start()
    before = system.identities(*ACTORS, "worker")
    files = flights.files[:8]
    with strangers(system), Delivery(system.project / "data/landing", files, 10):
        pass
    finish(system, flights, len(files))
    assert system.identities(*ACTORS, "worker") == before, f"somebody died\n{system.tail()}"
    peaks = {role: peak_mb(pid) for role in ACTORS for pid in system.pids(role)}
    assert max(peaks.values()) < MEMORY_MB, peaks
    said = (system.project / ".odibi/log/broker.log").read_text()
    assert "'Shutdown' is not for clients to say" in said, "the strangers were not even heard"
    assert len(said) < 100_000, "the strangers filled the log"
