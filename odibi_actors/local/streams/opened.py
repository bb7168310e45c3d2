"""The streams that this process has open: one at a time of each folder, whoever asks; and its end.

A ``DAGExecutor`` tells which data an execution has succeeded or failed with. What is open when the process ends
normally is processed; after an exception that nobody caught it is not.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from odibi_actors.errors import ConflictError
from odibi_actors.local.streams.feed import Feed

log = logging.getLogger("odibi_actors.streaming")

# All finalizers of a process run at the moment of the first one, at its exit, and one of them closes a store: what is
# open has to be noted before that, so that there has to be a finalizer before it.
weakref.finalize(Feed, lambda: None)

_lock = threading.Lock()
_lost: weakref.WeakKeyDictionary[Any, list[tuple[int, Path]]] = weakref.WeakKeyDictionary()
"""Owners from whom another one has taken feeds, and which."""
_feeds: dict[tuple[int, Path], tuple[Feed, weakref.ref[Any]]] = {}
"""By process, too: what a parent has open is not its child's."""


def opened(folder: Path, owner: object, make: Callable[[], Feed]) -> Feed:
    """The feed of a folder for this owner. Of another one that is gone, what was open is processed, as when a process
    ends; one that is still there has lost it: what it has open comes again, here."""
    with _lock:
        key = (os.getpid(), folder)
        if key in _lost.get(owner, ()):
            raise ConflictError(
                f"stream {folder.name.rpartition('-')[0]!r} is read by another StreamManager of this process by now: "
                "give one of them another name, and both read everything"
            )
        feed, former = _feeds.get(key, (None, None))
        if feed is not None and former is not None:
            if (whose := former()) is owner:
                return feed
            if whose is None:
                _end(feed)
            else:
                _lost.setdefault(whose, []).append(key)
                feed.close()
        feed = make()
        _feeds[key] = feed, weakref.ref(owner)
        return feed


def released(folder: Path, owner: object) -> None:
    """This owner is done with a folder: what is open comes again."""
    with _lock:
        key = (os.getpid(), folder)
        feed, former = _feeds.get(key, (None, None))
        if feed is not None and former is not None and former() is owner:
            feed.close()
            del _feeds[key]


def processed(values: Iterable[Any]) -> None:
    """Whoever has this in hand has processed it."""
    _holding(values, Feed.processed)


def failed(values: Iterable[Any]) -> None:
    """Whoever has this in hand has not managed to process it."""
    _holding(values, Feed.failed)


def _holding(values: Iterable[Any], act: Callable[[Feed], None]) -> None:
    given = [value for value in values if value is not None]
    with _lock:
        feeds = [feed for (process, _), (feed, _) in _feeds.items() if process == os.getpid()]
    for feed in feeds:
        if given and feed.holds(given):
            act(feed)


def _end(feed: Feed) -> None:
    """Whoever had it has ended."""
    try:
        if not feed.troubled:
            feed.processed()
    except Exception:  # that it cannot be noted must not keep others from their end
        log.exception("%s: the last batch comes again, as it cannot be noted that it is processed", feed.name)
    feed.close()


@atexit.register
def end() -> None:
    """The process ends, and with it all that it has open."""
    for (process, _), (feed, _) in list(_feeds.items()):
        if process == os.getpid():
            _end(feed)
    _feeds.clear()
