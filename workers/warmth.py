"""What the warm parent imports, as far as a person should know: an import that takes long, and what went wrong."""

from __future__ import annotations

from odibi_actors import messages as m
from odibi_actors.actor import Effect, Log

SLOW = 5.0  # seconds an import takes before it is told
TOLD_MAX = 10  # problems told; the rest is counted
TEXT_MAX = 300  # characters of each


class Warmth:
    """Follows ``Warming``."""

    def __init__(self) -> None:
        self.importing = ""
        self._since = 0.0
        self._told = False
        self._problems: list[str] = []

    def hear(self, message: m.Warming, now: float) -> None:
        """The parent goes on, or has come to an end."""
        self.importing, self._since, self._told = message.importing, now, False
        if not message.importing:
            self._problems = message.problems

    def loaded(self, module: str) -> None:
        """A node of this module is done, so it can be imported by now: what it lacked has come since."""
        path = module.replace(".", "/")
        names = (f"{path}.py", f"{path}/__init__.py")
        self._problems = [problem for problem in self._problems if not any(name in problem for name in names)]

    def tick(self, now: float) -> list[Effect]:
        """Log an import that takes long, once."""
        if self.deadline() is None or now < self._since + SLOW:
            return []
        self._told = True
        return [Log("warning", "an import takes long; no worker starts before it is done", {"module": self.importing})]

    def deadline(self) -> float | None:
        """When to look next."""
        return self._since + SLOW if self.importing and not self._told else None

    def problems(self, now: float) -> list[str]:
        """What to tell."""
        found = [problem[:TEXT_MAX] for problem in self._problems[:TOLD_MAX]]
        if len(self._problems) > TOLD_MAX:
            found.append(f"... {len(self._problems)} in all: see `odibictl logs worker`")
        if self.importing and now - self._since >= SLOW:
            took = f"importing {self.importing} has taken {now - self._since:.0f} s so far"
            found.append(f"{took}; no worker starts before it is done")
        return found
