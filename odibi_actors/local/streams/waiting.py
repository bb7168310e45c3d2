"""Waiting until one of several streams may have something new."""

from __future__ import annotations

import selectors
import time
from collections.abc import Iterable

from odibi_actors.local.streams.feed import Feed


def wait(feeds: list[Feed], wake: int, seconds: float) -> None:
    """At most so many seconds, or until there is something to read from ``wake``."""
    end = time.monotonic() + seconds
    while True:
        news = [feed.news() for feed in feeds]  # of each: they take notice of what has happened
        if any(news):
            return
        left, due = end - time.monotonic(), min(feed.due_in() for feed in feeds)
        if left <= 0 or due <= 0:
            return
        limit = min([left, due, *(feed.next_act() for feed in feeds)])
        if _woken([fd for feed in feeds for fd in feed.inputs()], wake, max(0.0, limit)):
            return


def _woken(inputs: Iterable[int], wake: int, limit: float) -> bool:
    with selectors.DefaultSelector() as selector:
        for one in (*inputs, wake):
            selector.register(one, selectors.EVENT_READ)
        return wake in [key.fd for key, _ in selector.select(limit)]
