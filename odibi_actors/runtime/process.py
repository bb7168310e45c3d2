"""The process runtime: one synchronous poll loop that runs one actor over ZeroMQ.

``run_peer`` links an actor to the broker (DEALER); ``run_hub`` is the broker's end (ROUTER), which also forwards what
peers say to each other. A turn of the loop: read what is there, ``handle`` each, ``flush`` once, carry the effects
out in order; answers of the driver come first in the next turn.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket as sockets
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import zmq

from odibi_actors.actor import Actor, Driver, Log, Send, Stop
from odibi_actors.errors import ProtocolError
from odibi_actors.failpoints import failpoint
from odibi_actors.messages import BROKER, LOCAL, SCHEDULER, SOURCE, STORE, Connected, Message, Terminate, Tick
from odibi_actors.runtime import wire
from odibi_actors.runtime.log import Complaints, log

RESTART = 70  # exit code: something is broken in this process; the supervisor starts another
DRAIN = 500  # messages read per turn at most, so that deadlines and signals get their turn
DRAIN_BYTES = 32 * 1024 * 1024  # and bytes: what is read at once is held at once, decoded
QUEUE = 10_000  # ZeroMQ high-water mark, a tripwire only: credit bounds what is under way
LINGER_MS = 500  # to flush what was said last; peers that matter have said Bye and were answered
HANDSHAKE_MS = 5_000
RECONNECT_IPC_MS = 20, 200  # first and longest pause; a try costs nothing, and recovery waits for it
RECONNECT_TCP_MS = 100, 5_000
HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS = 5_000, 15_000  # TCP only: an ipc peer's death is seen by the kernel
IDLE_MS = 60_000  # longest sleep when the actor has no deadline
PEERS_MAX = 4_096  # names the hub remembers; the longest silent client is forgotten first
RETIRED_MAX = 16  # earlier incarnations remembered per name, to drop what they may still say

Pair = tuple[str, Message]


class Clock:
    """Seconds since the Unix epoch that never go backwards: the wall clock at start, then elapsed time, suspended
    time included."""

    def __init__(self) -> None:
        self._base = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)

    def __call__(self) -> float:
        return self._base + time.clock_gettime(time.CLOCK_BOOTTIME)


class Link(Protocol):
    """The actor's way to its peers."""

    def readers(self) -> dict[Any, Callable[[], Iterable[Pair]]]:
        """What to poll, each with what reads it."""

    def send(self, to: str, message: Message) -> None:
        """Hand to ZeroMQ; never blocks, never raises."""

    def close(self) -> None:
        """Flush for a bounded time and close."""


def secure(socket: zmq.Socket[bytes], remote: bool) -> None:
    """The limits every socket of ours has; the defaults of ZeroMQ have none."""
    socket.set(zmq.MAXMSGSIZE, wire.BODY_MAX)
    socket.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.set(zmq.SNDHWM, QUEUE)
    socket.set(zmq.RCVHWM, QUEUE)
    socket.set(zmq.LINGER, LINGER_MS)
    first, longest = RECONNECT_TCP_MS if remote else RECONNECT_IPC_MS
    socket.set(zmq.RECONNECT_IVL, first)
    socket.set(zmq.RECONNECT_IVL_MAX, longest)
    if remote:
        socket.set(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        socket.set(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
        socket.set(zmq.HEARTBEAT_TTL, HEARTBEAT_TIMEOUT_MS)


def receive(socket: zmq.Socket[bytes], frames: int, who: str = "peer") -> Iterator[list[bytes]]:
    """Up to ``DRAIN`` waiting messages of exactly ``frames`` frames; others are dropped without being joined. ``who``
    reads them, for failpoints."""
    before, after = f"{who}.receive", f"{who}.received"
    total = 0
    for _ in range(DRAIN):
        if total > DRAIN_BYTES:
            return
        try:
            failpoint(before)
            parts = [socket.recv(zmq.DONTWAIT)]
            while socket.get(zmq.RCVMORE):
                part = socket.recv(zmq.DONTWAIT)
                if len(parts) < frames + 1:
                    parts.append(part)
        except zmq.Again:
            return
        failpoint(after)
        total += sum(map(len, parts))
        if len(parts) == frames:
            yield parts


class PeerLink:
    """A DEALER to the hub. IMMEDIATE: what is said while the link is down is dropped, not delivered later to a
    broker that does not expect it; every ``Connected`` starts again with Hello."""

    def __init__(self, context: zmq.Context[Any], name: str, incarnation: str, endpoint: str) -> None:
        self._name, self._incarnation = name, incarnation
        self._socket = context.socket(zmq.DEALER)
        secure(self._socket, remote=endpoint.startswith("tcp:"))
        self._socket.set(zmq.IDENTITY, wire.identity(name, incarnation))
        self._socket.set(zmq.IMMEDIATE, 1)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self._socket.connect(endpoint)
        self._complain = Complaints(name)
        self._headers: dict[str, bytes] = {}

    def readers(self) -> dict[Any, Callable[[], Iterable[Pair]]]:
        return {self._monitor: self._connected, self._socket: self._read}

    def _connected(self) -> Iterator[Pair]:
        while self._monitor.poll(0):
            self._monitor.recv_multipart()  # only one event is asked for; zmq's parser would import asyncio
            self._socket.get(zmq.EVENTS)  # lets the socket notice the new pipe; a send may be refused otherwise
            yield LOCAL, Connected()

    def _read(self) -> Iterator[Pair]:
        for header_frame, body in receive(self._socket, wire.FRAMES):
            header = wire.decode_header(header_frame)
            message = header if isinstance(header, ProtocolError) else wire.decode_body(body, sender=header.sender)
            if isinstance(header, ProtocolError) or isinstance(message, ProtocolError):
                self._complain("dropped a frame from the broker", {"reason": message})
            elif header.to == self._name:
                yield header.sender, message

    def send(self, to: str, message: Message) -> None:
        header = self._headers.get(to) or self._headers.setdefault(
            to, wire.encode_header(to, self._name, self._incarnation)
        )
        try:
            for body in wire.bodies(message):
                failpoint("peer.send")
                self._socket.send_multipart([header, body], zmq.DONTWAIT)
                failpoint("peer.sent")
        except ProtocolError as error:
            log("error", self._name, "not sent", {"to": to, "reason": error})
        except zmq.Again:
            log("debug", self._name, "not sent: no link", {"to": to, "message": type(message).__name__})

    def close(self) -> None:
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close()


class HubLink:
    """The ROUTER all peers connect to, and the directory: name -> identity of its latest incarnation."""

    def __init__(self, context: zmq.Context[Any], incarnation: str, endpoints: Sequence[str]) -> None:
        self._incarnation = incarnation
        self._socket = context.socket(zmq.ROUTER)
        secure(self._socket, remote=any(e.startswith("tcp:") for e in endpoints))
        self._socket.set(zmq.ROUTER_HANDOVER, 1)
        # with MANDATORY and DONTWAIT a send to an absent or full peer is refused, and seen, instead of vanishing
        self._socket.set(zmq.ROUTER_MANDATORY, 1)
        for endpoint in endpoints:
            self._socket.bind(endpoint)
        self._peers: OrderedDict[str, bytes] = OrderedDict()
        self._retired: dict[str, list[bytes]] = {}
        self._complain = Complaints(BROKER)
        self._headers: dict[str, bytes] = {}

    def readers(self) -> dict[Any, Callable[[], Iterable[Pair]]]:
        return {self._socket: self._read}

    def _read(self) -> Iterator[Pair]:
        for sender_id, header_frame, body in receive(self._socket, 1 + wire.FRAMES, "hub"):
            header = wire.decode_header(header_frame)
            if isinstance(header, ProtocolError):
                self._complain("dropped a frame", {"from": repr(sender_id[:60]), "reason": header})
                continue
            if not self._admit(header, sender_id):
                continue
            if header.to != BROKER:
                if wire.fits(body, header.sender):
                    self._post(header.to, header_frame, body, "forwarded")
                continue
            message = wire.decode_body(body, sender=header.sender)
            if isinstance(message, ProtocolError):
                self._complain("dropped a frame", {"from": header.sender, "reason": message})
            else:
                yield header.sender, message

    def _admit(self, header: wire.Header, sender_id: bytes) -> bool:
        """Whether the frame counts: names must be true, and an earlier incarnation has nothing more to say."""
        name = header.sender
        if name == BROKER or sender_id != wire.identity(name, header.incarnation):
            self._complain("dropped a frame under a false name", {"name": name, "from": repr(sender_id[:60])})
            return False
        known = self._peers.get(name)
        if known != sender_id:
            retired = self._retired.setdefault(name, [])
            if sender_id in retired:
                return False
            if known is not None:
                retired.append(known)
                del retired[:-RETIRED_MAX]
            self._peers[name] = sender_id
            if len(self._peers) > PEERS_MAX:
                forgotten = self._least()
                del self._peers[forgotten]
                self._retired.pop(forgotten, None)
                self._headers.pop(forgotten, None)
        self._peers.move_to_end(name)
        return True

    def _least(self) -> str:
        """Whom to forget: of the clients, if there are any, else of all but the actors there is one of, the longest
        silent; any number of strangers must not make the hub forget the store."""
        ordinary = [name for name in self._peers if name not in (STORE, SOURCE, SCHEDULER)]
        return next((name for name in ordinary if name.startswith(wire.CLIENT)), ordinary[0])

    def _post(self, to: str, header: bytes, body: bytes, what: str) -> None:
        peer = self._peers.get(to)
        if peer is None:
            log("debug", BROKER, "dropped: unknown peer", {"to": to, "message": what})
            return
        try:
            failpoint("hub.send")
            self._socket.send_multipart([peer, header, body], zmq.DONTWAIT)
            failpoint("hub.sent")
        except zmq.Again:
            self._complain("dropped: the peer's queue is full", {"to": to, "message": what})
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            log("debug", BROKER, "dropped: the peer is gone", {"to": to, "message": what})

    def send(self, to: str, message: Message) -> None:
        if to not in self._peers:
            log("debug", BROKER, "dropped: unknown peer", {"to": to, "message": type(message).__name__})
            return
        header = self._headers.get(to) or self._headers.setdefault(
            to, wire.encode_header(to, BROKER, self._incarnation)
        )
        try:
            for body in wire.bodies(message):
                self._post(to, header, body, type(message).__name__)
        except ProtocolError as error:
            log("error", BROKER, "not sent", {"to": to, "reason": error})

    def close(self) -> None:
        self._socket.close()


class NoDriver:
    """For actors that ask for nothing but Send, Stop and Log."""

    def perform(self, effect: object, now: float) -> Iterable[Pair]:
        raise TypeError(f"no driver carries out {type(effect).__name__}")

    def inputs(self) -> dict[Any, Callable[[], Iterable[Pair]]]:
        return {}

    def close(self) -> None:
        return None


class Signals:
    """SIGTERM and SIGINT as messages: the first drains, a second stops at once. A wake-up fd, because a poll without
    end does not notice a signal."""

    def __init__(self) -> None:
        self._read, write = sockets.socketpair()
        self._read.setblocking(False)
        write.setblocking(False)
        self._write = write
        self._count = 0
        self._former = [(n, signal.signal(n, lambda *_: None)) for n in (signal.SIGTERM, signal.SIGINT)]
        self._former_fd = signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)

    def readers(self) -> dict[Any, Callable[[], Iterable[Pair]]]:
        return {self._read.fileno(): self._signalled}

    def _signalled(self) -> Iterator[Pair]:
        for number in self._read.recv(64):
            if number in (signal.SIGTERM, signal.SIGINT):
                self._count += 1
                yield LOCAL, Terminate(at_once=self._count > 1)

    def close(self) -> None:
        signal.set_wakeup_fd(self._former_fd)
        for number, handler in self._former:
            signal.signal(number, handler)
        self._read.close()
        self._write.close()


class Loop:
    """Runs one actor until it stops; ``run`` returns the exit code."""

    def __init__(self, name: str, actor: Actor, driver: Driver, link: Link, signals: Signals) -> None:
        self._name, self._actor, self._driver, self._link, self._signals = name, actor, driver, link, signals
        self._now = Clock()
        self._answers: list[Pair] = []
        self._code: int | None = None

    def run(self) -> int:
        self._carry_out(self._actor.start(self._now()))
        while self._code is None:
            self._turn()
        return self._code

    def _turn(self) -> None:
        readers = {**self._signals.readers(), **self._link.readers(), **self._driver.inputs()}
        ready = zmq.zmq_poll([(source, zmq.POLLIN) for source in readers], self._patience())
        pairs, self._answers = self._answers, []
        for source, _ in ready:
            pairs.extend(readers[source]())
        now = self._now()
        due = self._actor.deadline()
        if due is not None and due <= now:
            pairs.append((LOCAL, Tick()))
        if not pairs:
            return
        effects = []
        for sender, message in pairs:
            effects.extend(self._actor.handle(sender, message, now))
        effects.extend(self._actor.flush(now))
        self._carry_out(effects)

    def _patience(self) -> int:
        """Milliseconds to wait for input; rounded up, so that a deadline is not met with a busy loop."""
        if self._answers:
            return 0
        due = self._actor.deadline()
        if due is None:
            return IDLE_MS
        return min(IDLE_MS, max(0, int((due - self._now()) * 1000) + 1))

    def _carry_out(self, effects: Iterable[object]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._link.send(effect.to, effect.message)
            elif isinstance(effect, Log):
                log(effect.level, self._name, effect.text, effect.fields)
            elif isinstance(effect, Stop):
                log("info" if effect.code == 0 else "error", self._name, f"stops: {effect.reason}")
                self._code = effect.code
                return
            else:
                self._answers.extend(self._driver.perform(effect, self._now()))  # type: ignore[arg-type]


def run_peer(name: str, actor: Actor, driver: Driver | None, endpoint: str, *, incarnation: str | None = None) -> int:
    """Run ``actor`` under the address ``name``, linked to the broker at ``endpoint``. Returns the exit code.

    ``incarnation`` names this process start (random when None). An exception out of the actor is a bug: it is
    logged, and 70 returned, so that the supervisor starts a fresh one.
    """
    made = incarnation or secrets.token_hex(8)
    return _run(name, actor, driver, lambda context: PeerLink(context, name, made, endpoint))


def run_hub(actor: Actor, driver: Driver | None, endpoints: Sequence[str], *, incarnation: str | None = None) -> int:
    """Run the broker's ``actor`` at these ``ipc://`` or ``tcp://`` endpoints. Returns the exit code."""
    made = incarnation or secrets.token_hex(8)
    return _run(BROKER, actor, driver, lambda context: HubLink(context, made, endpoints))


def _run(name: str, actor: Actor, driver: Driver | None, make: Callable[[zmq.Context[Any]], Link]) -> int:
    used = driver if driver is not None else NoDriver()
    with _closing(used, name) as (context, signals):
        try:
            link = make(context)
        except zmq.ZMQError as error:
            log("error", name, f"cannot listen: {error}")
            return RESTART
        try:
            return Loop(name, actor, used, link, signals).run()
        except Exception:  # noqa: BLE001 - a bug in an actor or driver: leave a trace, let the supervisor restart
            log("error", name, "a bug stopped this actor", {"traceback": traceback.format_exc(), "pid": os.getpid()})
            return RESTART
        finally:
            link.close()


@contextmanager
def _closing(driver: Driver, name: str) -> Iterator[tuple[zmq.Context[Any], Signals]]:
    context: zmq.Context[Any] = zmq.Context()
    signals = Signals()
    try:
        yield context, signals
    finally:
        signals.close()
        driver.close()
        context.destroy(LINGER_MS)
