"""Virtual time, processes that crash, and a network that behaves as badly as ZeroMQ was seen to.

Everything random comes from one generator, and nothing iterates over a set, so a seed gives the same run each time;
``World.hash`` digests every message delivered.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import xxhash

from odibi_actors.actor import Actor, Driver, Effect, Log, Send, Stop
from odibi_actors.messages import BROKER, LOCAL, AnyMessage, Connected, Message, Tick

START = 1_700_000_000.0
"""When virtual time begins (seconds since the Unix epoch), unless a life says otherwise."""

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(AnyMessage)


class Faults(msgspec.Struct, frozen=True):
    """How badly the world behaves; rates are per message or per effect, times in seconds."""

    duplicate: float = 0.0
    slow: float = 0.0
    crash_between_effects: float = 0.0


class Process:
    """One actor's process: ``generation`` counts its starts. ``ahead``: seconds its ``now`` is ahead of the world's: a
    process looks at the wall clock once, when it starts."""

    def __init__(self, name: str, make: Callable[[int], tuple[Actor, Driver]], restart: tuple[float, float]) -> None:
        self.name = name
        self.make = make
        self.restart = restart
        self.generation = 0
        self.ahead = 0.0
        self.alive = False
        self.actor: Actor | None = None
        self.driver: Driver | None = None
        self.mailbox: list[tuple[str, Message]] = []
        self.turn_due = False
        self.tick_at: float | None = None
        self.frozen_until = 0.0


class World:
    """The event loop of the simulator."""

    def __init__(self, seed: int, start: float = START) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.now = self.start = start
        self.faults = Faults()
        self.processes: dict[str, Process] = {}
        self.clients: dict[str, Callable[[Message], None]] = {}
        self.on_stop: Callable[[str, Stop], None] = lambda _name, _stop: None
        self.ahead: Callable[[str], float] = lambda _name: 0.0  # seconds a process that starts is ahead of ``now``
        self.on_kill: Callable[[str], None] = lambda _name: None
        self.on_deliver: Callable[[str, str, Message], None] = lambda _sender, _to, _message: None
        self.on_log: Callable[[Log], None] = lambda _log: None
        self.story: list[str] | None = None
        self.counts: dict[str, int] = {}
        self.events = 0
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._ties = 0
        self._links: dict[tuple[str, str], float] = {}
        self._cut: dict[tuple[str, int], None] = {}
        self._down: dict[tuple[str, str], float] = {}  # (peer, direction) -> until when nothing passes
        self._seconds: list[Process] = []  # processes that live beside the one of their name
        self._digest = xxhash.xxh3_64()

    @property
    def hash(self) -> str:
        """Digest of everything delivered so far."""
        return str(self._digest.hexdigest())

    def count(self, what: str) -> None:
        """Count a kind of fault."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def tell(self, line: str) -> None:
        """Add to the story, if one is kept."""
        if self.story is not None:
            self.story.append(f"{self.now - self.start:10.4f}  {line}")

    def end(self) -> None:
        """Let go of all actors: the collector does not see that some of theirs lead back here (``judge.Stream``)."""
        for process in (*self.processes.values(), *self._seconds):
            process.actor = process.driver = None
            process.mailbox.clear()
        self._queue.clear()

    # --- time -----------------------------------------------------------------------------------------------------

    def after(self, delay: float, function: Callable[..., Any], *args: Any) -> None:
        """Call ``function`` in ``delay`` virtual seconds."""
        self._ties += 1
        heapq.heappush(self._queue, (self.now + delay, self._ties, function, args))

    def run(self, until: float, done: Callable[[], bool] | None = None) -> bool:
        """Let time pass to ``until``, or until ``done`` says so (asked after every event). Returns whether it did."""
        while self._queue and self._queue[0][0] <= until:
            when, _, function, args = heapq.heappop(self._queue)
            self.now = max(self.now, when)
            self.events += 1
            function(*args)
            if done is not None and done():
                return True
        self.now = max(self.now, until)
        return False

    # --- processes ------------------------------------------------------------------------------------------------

    def add(
        self, name: str, make: Callable[[int], tuple[Actor, Driver]], restart: tuple[float, float] = (0.05, 1.0)
    ) -> None:
        """A process that is started now and restarted whenever it dies, after ``restart`` (least, most) seconds."""
        self.processes[name] = Process(name, make, restart)
        self.after(self.rng.uniform(0, 0.2), self._start, name)

    def _start(self, name: str) -> None:
        process = self.processes[name]
        if process.alive:
            return  # it was started before, beside one that was about to start
        process.generation += 1
        process.alive, process.frozen_until, process.ahead = True, 0.0, self.ahead(name)
        process.mailbox, process.turn_due, process.tick_at = [], False, None
        process.actor, process.driver = process.make(process.generation)
        self.tell(f"{name} starts ({process.generation})")
        self._carry_out(process, process.actor.start(self.now + process.ahead))
        if name == BROKER:
            for other in self.processes.values():
                if other.name != BROKER and other.alive:
                    self.after(self.rng.uniform(0, 0.1), self.arrive, other.name, other.generation, LOCAL, Connected())
        elif self.processes[BROKER].alive:
            self.arrive(name, process.generation, LOCAL, Connected())
        self._arm(process)

    def crash(self, name: str, away: float | None = None) -> None:
        """SIGKILL: what it was about to do is not done; it starts again after a while, or ``away`` seconds."""
        self._kill(self.processes[name], away)

    def crash_all(self) -> None:
        """Everything at once, second processes included."""
        for process in [*self.processes.values(), *self._seconds]:
            self._kill(process)

    def _kill(self, process: Process, away: float | None = None) -> None:
        if not process.alive:
            return
        name = process.name
        self.tell(f"{name} ({process.generation}) is killed")
        self.count(f"crash {name.partition('-')[0]}")
        self.on_kill(name)
        process.alive = False
        process.actor = None
        if process.driver is not None:
            process.driver.close()
        if process in self._seconds:
            self._seconds.remove(process)
        else:
            self.after(self.rng.uniform(*process.restart) if away is None else away, self._start, name)

    def freeze(self, name: str, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after ``seconds``: meanwhile it hears nothing, and does nothing."""
        process = self.processes[name]
        if process.alive:
            self.count(f"stop {name.partition('-')[0]}")
            self.tell(f"{name} is stopped for {seconds:.1f} s")
            process.frozen_until = self.now + seconds

    def second(self, name: str) -> None:
        """Another process of this name starts while the first lives on beside it: it hears half of what comes, and
        what it says arrives."""
        former = self.processes[name]
        if not former.alive or self._seconds:
            return
        self.count(f"second {name}")
        self.tell(f"a second {name} starts")
        process = self.processes[name] = Process(name, former.make, former.restart)
        process.generation = former.generation
        self._seconds.append(former)
        self._start(name)

    def _find(self, name: str, generation: int) -> Process | None:
        """The living process of this name and generation."""
        for process in (self.processes.get(name), *self._seconds):
            if process is not None and process.name == name and process.generation == generation and process.alive:
                return process
        return None

    # --- messages -------------------------------------------------------------------------------------------------

    def partition(self, name: str, seconds: float, ways: str = "both") -> None:
        """Nothing passes between this peer and the broker for a while, or nothing ``in`` or ``out`` of the peer; what
        is sent meanwhile is lost."""
        self.count("partition" if ways == "both" else "one-way partition")
        self.tell(f"{name} is cut off ({ways}) for {seconds:.2f} s")
        for way in ("in", "out") if ways == "both" else (ways,):
            self._down[name, way] = self.now + seconds
        self.after(seconds + self.rng.uniform(0, 0.1), self._reconnect, name)

    def _reconnect(self, name: str) -> None:
        process = self.processes.get(name)
        if process is not None and process.alive:
            self.arrive(name, process.generation, LOCAL, Connected())

    def send(self, sender: str, to: str, message: Message, generation: int = 0) -> None:
        """Put a message on its way; through the broker's process unless it is one end."""
        self._hop(sender, generation, sender, to, _encoder.encode(message))

    def _hop(self, at: str, generation: int, sender: str, to: str, frame: bytes) -> None:
        target = to if at == BROKER else BROKER
        delay = self.rng.uniform(0.0001, 0.002)
        if self.rng.random() < self.faults.slow:
            delay += self.rng.uniform(0.05, 3.0)
            self.count("delay")
        when = max(self.now + delay, self._links.get((at, target), 0.0) + 1e-9)
        self._links[(at, target)] = when
        receiver = self.processes.get(target)
        args = (at, generation, target, receiver.generation if receiver else 0, sender, to, frame)
        self.after(when - self.now, self._arrived, *args)
        if self.rng.random() < self.faults.duplicate:
            self.count("duplicate")
            self.after(when - self.now + self.rng.uniform(0, 1.0), self._arrived, *args)

    def _arrived(
        self, at: str, at_generation: int, target: str, generation: int, sender: str, to: str, frame: bytes
    ) -> None:
        if self._lost(at, at_generation, target, generation):
            self.count("lost")
            return
        if target != to:
            self._hop(BROKER, self.processes[BROKER].generation, sender, to, frame)
            return
        self._digest.update(f"{self.now:.6f}{sender}>{to}".encode())
        self._digest.update(frame)
        message = _decoder.decode(frame)
        self.on_deliver(sender, to, message)
        if to in self.clients:
            self.clients[to](message)
        else:
            self.arrive(to, generation, sender, message)
            for process in self._seconds:
                if process.name == to and self.rng.random() < 0.5:
                    self.arrive(to, process.generation, sender, message)

    def _lost(self, at: str, at_generation: int, target: str, generation: int) -> bool:
        peer, way = (at, "out") if target == BROKER else (target, "in")
        if self._down.get((peer, way), 0.0) > self.now:
            return True
        receiver = self.processes.get(target)
        if receiver is not None and (not receiver.alive or receiver.generation != generation):
            return True
        if at not in self.processes or self._find(at, at_generation) is not None:
            return False
        # The sender died since: a suffix of what it had sent never leaves its socket.
        if (at, at_generation) not in self._cut and self.rng.random() >= 0.3:
            return False
        self._cut[(at, at_generation)] = None
        return True

    def arrive(self, name: str, generation: int, sender: str, message: Message) -> None:
        """A message is in the process's mailbox; it takes its turn shortly, with whatever has come by then."""
        process = self._find(name, generation)
        if process is None:
            return
        process.mailbox.append((sender, message))
        if not process.turn_due:
            process.turn_due = True
            self.after(self.rng.uniform(0.00001, 0.001), self._turn, name, generation)

    def _turn(self, name: str, generation: int) -> None:
        process = self._find(name, generation)
        if process is None or process.actor is None:
            return
        if process.frozen_until > self.now:
            self.after(process.frozen_until - self.now, self._turn, name, generation)
            return
        process.turn_due = False
        mailbox, process.mailbox = process.mailbox, []
        for sender, message in mailbox:
            if not self._carry_out(process, process.actor.handle(sender, message, self.now + process.ahead)):
                return
        if self._carry_out(process, process.actor.flush(self.now + process.ahead)):
            self._arm(process)

    def _carry_out(self, process: Process, effects: Iterable[Effect]) -> bool:
        for effect in effects:
            if self.rng.random() < self.faults.crash_between_effects:
                self._kill(process)
                return False
            match effect:
                case Send(to=to, message=message):
                    self.send(process.name, to, message, process.generation)
                case Log():
                    self.tell(f"{process.name}: {effect.text}")
                    self.on_log(effect)
                case Stop():
                    self.tell(f"{process.name} stops: {effect.reason}")
                    self.on_stop(process.name, effect)
                    self._kill(process)
                    return False
                case _:
                    assert process.driver is not None
                    for sender, message in process.driver.perform(effect, self.now + process.ahead):
                        self.arrive(process.name, process.generation, sender, message)
        return True

    def _arm(self, process: Process) -> None:
        if process.actor is None:
            return
        due = process.actor.deadline()
        if due is not None:
            due -= process.ahead
        if due is None or (process.tick_at is not None and self.now < process.tick_at <= due):
            return
        process.tick_at = max(due, self.now)
        self.after(process.tick_at - self.now, self._tick, process.name, process.generation, process.tick_at)

    def _tick(self, name: str, generation: int, at: float) -> None:
        process = self._find(name, generation)
        if process is not None and process.tick_at == at:
            process.tick_at = None
            self.arrive(name, generation, LOCAL, Tick())
