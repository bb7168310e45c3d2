"""What an actor is, and the effects it may ask for. Actors are pure; runtimes carry the effects out.

The rules: no clock, socket, file, thread, randomness or iteration over a set inside an actor. Time is the argument
``now`` (seconds since the Unix epoch, never going backwards within one process), randomness is injected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Protocol

import msgspec

from odibi_actors.messages import AnyTask, Message


class Effect(msgspec.Struct, frozen=True):
    """Base of all effects: values that ask the runtime to act."""


class Send(Effect, frozen=True):
    """Send to a peer by address ("broker", "store", "pool-0", ...). Delivery is not promised."""

    to: str
    message: Message


class Stop(Effect, frozen=True):
    """End this process. Code 0: asked to, do not restart; 70: restart me (fenced, failed disk)."""

    code: int
    reason: str


class Log(Effect, frozen=True):
    """A line for the operator, on stderr and in the actor's log file. ``about``: the pipeline that an error is of."""

    level: Literal["debug", "info", "warning", "error"]
    text: str
    fields: dict[str, Any] = {}
    about: str = ""


class Actor(Protocol):
    """A state machine. A runtime calls ``start`` once, ``handle`` per message, ``flush`` after each group of
    messages that
    arrived together (where actors join what they send into lists), and ``handle(LOCAL, Tick())`` at
    ``deadline()``."""

    def start(self, now: float) -> list[Effect]:
        """First effects, before any message."""

    def handle(self, sender: str, message: Message, now: float) -> list[Effect]:
        """React to one message. ``sender`` is an address, or LOCAL. Unknown or stale messages are ignored, never
        raised."""

    def flush(self, now: float) -> list[Effect]:
        """What can wait until all messages at hand were handled."""

    def deadline(self) -> float | None:
        """When Tick is wanted at the latest."""


class Driver(Protocol):
    """Carries out the effects that are an actor's own (everything but Send, Stop, Log): the impure half of an
    actor."""

    def perform(self, effect: Effect, now: float) -> Iterable[tuple[str, Message]]:
        """Do it; answers are (sender, message) pairs, fed back to the actor at once."""

    def inputs(self) -> Mapping[Any, Callable[[], Iterable[tuple[str, Message]]]]:
        """File descriptors or ZeroMQ sockets the runtime polls beside its own link, each with what reads it without
        blocking into (sender, message) pairs for the actor. Asked again before every poll."""

    def close(self) -> None:
        """Release files, threads, processes."""


# --- effects of the pool ------------------------------------------------------------------------------------------


class StartWorker(Effect, frozen=True):
    """Fork a worker from the warm parent under this name. ``fresh``: from a new parent, which reads ``nodes/``
    again."""

    worker: str
    fresh: bool = False


class StopWorker(Effect, frozen=True):
    """SIGKILL this worker; its death comes back as WorkerExited."""

    worker: str


class Measure(Effect, frozen=True):
    """Look what these workers have in memory; the answer is Measured."""

    workers: list[str]


class ToWorker(Effect, frozen=True):
    """Send to one of the pool's own workers."""

    worker: str
    message: Message


class DeleteSpool(Effect, frozen=True):
    """Delete these (pipeline, iteration) folders of the spool."""

    iterations: list[tuple[str, int]]


__all__ = [
    "Actor",
    "AnyTask",
    "DeleteSpool",
    "Driver",
    "Effect",
    "Log",
    "Measure",
    "Send",
    "StartWorker",
    "Stop",
    "StopWorker",
    "ToWorker",
]
