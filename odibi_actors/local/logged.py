"""A local runtime within somebody's program: what actors have to say goes to ``logging``, not to stderr."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from odibi_actors.actor import Effect, Log
from odibi_actors.local.runtime import LocalRuntime


class LoggedRuntime(LocalRuntime):
    """``log``: where to; ``words``: how it is said there."""

    def __init__(
        self, clock: Callable[[], float], log: logging.Logger, words: Callable[[str], str] = lambda text: text
    ) -> None:
        super().__init__(clock)
        self._log, self._words = log, words

    def _carry_out(self, name: str, effects: Iterable[Effect]) -> None:
        rest = []
        for effect in effects:
            if isinstance(effect, Log):
                fields = "".join(f" {key}={value}" for key, value in effect.fields.items())
                level = logging.getLevelNamesMapping()[effect.level.upper()]
                self._log.log(level, "%s%s", self._words(effect.text), fields)
            else:
                rest.append(effect)
        super()._carry_out(name, rest)
