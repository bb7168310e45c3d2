"""Who wants to know what happens in a pipeline."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

log = logging.getLogger("odibi_actors.core")

Listener = Callable[..., Any]


class EventEmitter:
    """Calls listeners when something happens: ``pipeline_start(steps)``, ``pipeline_complete(data_map)``,
    ``pipeline_error(error)``, ``step_start(step)``, ``step_complete(step, duration_ms)``, ``step_error(step, error)``.

    A listener that raises hurts nobody: it is logged with its traceback the first time, and goes on being called. Any
    thread may call any method.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[str, list[Listener]] = {}
        self._told: set[tuple[str, int]] = set()

    def on(self, event_name: str, callback: Listener) -> None:
        """Call ``callback(**kwargs)`` at each event of that name, behind those who asked before. Raises TypeError."""
        if not callable(callback):
            raise TypeError(f"callback: {callback!r} cannot be called; give a function")
        with self._lock:
            self._listeners.setdefault(event_name, []).append(callback)

    def emit(self, event_name: str, **kwargs: Any) -> None:
        """Call the listeners of an event, in this thread, in the order in which they asked."""
        with self._lock:
            listeners = list(self._listeners.get(event_name, ()))
        for listener in listeners:
            try:
                listener(**kwargs)
            except Exception as error:
                if self._first_time(event_name, listener):
                    name = getattr(listener, "__qualname__", repr(listener))
                    text = "listener %s of %s has failed; it is told this once"
                    log.error(text, name, event_name, exc_info=error)

    def _first_time(self, event_name: str, listener: Listener) -> bool:
        with self._lock:
            new = (event_name, id(listener)) not in self._told
            self._told.add((event_name, id(listener)))
        return new

    def clear(self, event_name: str | None = None) -> None:
        """Forget the listeners of an event, or of all."""
        with self._lock:
            if event_name is None:
                self._listeners.clear()
                self._told.clear()
            else:
                self._listeners.pop(event_name, None)
                self._told = {(event, listener) for event, listener in self._told if event != event_name}
