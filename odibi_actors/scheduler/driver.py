"""The scheduler needs nothing from the outside world."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from odibi_actors.actor import Effect
from odibi_actors.messages import Message


class NullDriver:
    """A driver of an actor that has no effects of its own."""

    def perform(self, effect: Effect, now: float) -> Iterable[tuple[str, Message]]:
        """There is nothing to perform."""
        raise TypeError(f"this actor has no effect {type(effect).__name__}")

    def inputs(self) -> Mapping[Any, Callable[[], Iterable[tuple[str, Message]]]]:
        """Nothing to poll."""
        return {}

    def close(self) -> None:
        """Nothing to release."""
