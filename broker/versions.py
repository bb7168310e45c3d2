"""Actors of another version of the package: those the broker understands are told of in ``status``, all others are
refused until one of the two is another version."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from odibi_actors.messages import ONE_VERSION, PROTOCOL, SCHEDULER, SOURCE, STORE, Hello, PoolHello, StoreHello
from odibi_actors.version import __version__

AnyHello = Hello | StoreHello | PoolHello

MAX_REFUSED = 100
"""Remembered; a system has four actors and at most 64 pools, and strangers may give themselves any name."""
MAX_VERSION = 40
"""Characters of a version that are shown."""


class Refusals:
    """Who was refused, by name, until it is welcome or says Bye."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, Any]] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._rows))

    def __contains__(self, name: str) -> bool:
        return name in self._rows

    def rows(self) -> list[dict[str, Any]]:
        """For ``status``."""
        return list(self._rows.values())

    def problem(self, name: str) -> str:
        """Why this one was refused, and what to do; "" if it was not."""
        row = self._rows.get(name)
        return f"{row['problem']}: {row['fix']}" if row is not None else ""

    def forget(self, name: str) -> None:
        """It is welcome, or gone."""
        self._rows.pop(name, None)

    def refuse(self, name: str, hello: AnyHello, now: float) -> str:
        """Why: what both sides log."""
        version = hello.version[:MAX_VERSION]
        theirs, ours = f"{version} (protocol {hello.protocol})", f"{__version__} (protocol {PROTOCOL})"
        problem = f"{name} runs version {theirs}, the broker {ours}, and neither understands the other"
        if name in (STORE, SOURCE, SCHEDULER) or isinstance(hello, PoolHello):
            row = {"name": name, "role": role(hello), "version": version, "protocol": hello.protocol}
            self._rows[name] = {
                **row,
                "host": hello.host,
                "pid": hello.pid,
                "since": now,
                "problem": problem,
                "fix": ONE_VERSION,
            }
            while len(self._rows) > MAX_REFUSED:
                del self._rows[next(iter(self._rows))]
        return f"{problem}: {ONE_VERSION}"


def role(hello: AnyHello) -> str:
    """Of whoever says it."""
    match hello:
        case StoreHello():
            return "store"
        case PoolHello():
            return "pool"
    return hello.role


def understood(hello: AnyHello) -> bool:
    """Whether its messages and records are ours. Requests and replies of clients are what they always were."""
    return hello.protocol == PROTOCOL or (isinstance(hello, Hello) and hello.role == "client")
