"""The source's driver on simulated folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from odibi_actors.actor import Effect
from odibi_actors.messages import Message
from odibi_actors.sim import log
from odibi_actors.sim.host import Feed, Host
from odibi_actors.streaming.effects import Ask, Digest, Digested, FileEvent, Forget, Scan, Scanned, Stat, Stated
from odibi_actors.streaming.patterns import Pattern


class SimSourceDriver:
    """Scans and stats the simulated folders; hints get lost."""

    def __init__(self, host: Host, name: str, generation: int) -> None:
        self._host, self._name, self._generation = host, name, generation
        self._watched: dict[str, tuple[str, Pattern]] = {}  # source's key -> folder, and which files of it
        self._closed = False

    def perform(self, effect: Effect, now: float) -> Feed:
        """Answers come after a while."""
        world = self._host.world
        match effect:
            case Scan():
                self._watched[effect.source] = (effect.base, Pattern(effect.pattern))
                world.after(world.rng.uniform(0.001, 0.05), self._scan, effect)
            case Stat():
                world.after(world.rng.uniform(0.0001, 0.005), self._stat, effect)
            case Digest():
                there = self._host.folders.get(effect.base, {})
                for found in effect.files:
                    file = there.get(found.identity)
                    same = file is not None and file.found == found
                    self._feed(Digested(effect.source, found, file.digest if file is not None and same else ""))
            case Ask():
                world.after(world.rng.uniform(0.001, 0.2), self._probe, effect)
            case Forget():
                self._watched.pop(effect.source, None)
        return []

    def _feed(self, message: Message) -> None:
        if not self._closed:
            self._host.world.arrive(self._name, self._generation, "", message)

    def _scan(self, effect: Scan) -> None:
        pattern = Pattern(effect.pattern)
        there = self._host.folders.get(effect.base, {})
        files = [f.found for identity, f in there.items() if pattern.matches(identity)]
        self._feed(Scanned(effect.source, effect.number, files, done=True, watched=True))

    def _stat(self, effect: Stat) -> None:
        folder = self._host.folders.get(effect.base, {})
        files = [folder[i].found for i in effect.identities if i in folder]
        gone = [i for i in effect.identities if i not in folder]
        self._feed(Stated(effect.source, effect.number, files, gone))

    def _probe(self, effect: Ask) -> None:
        self._feed(log.answer(self._host, effect, self._host.world.rng))

    def hint(self, folder: str, identity: str, kind: str) -> bool:
        """A file event, unless it gets lost: False when somebody has not heard of it."""
        heard, folders = True, self._host.folders
        for source, (base, pattern) in self._watched.items():
            if folders.get(base) is folders.get(folder) and pattern.matches(identity):
                if self._host.world.rng.random() < 0.8:
                    self._feed(FileEvent(source, identity, kind))  # type: ignore[arg-type]
                else:
                    heard = False
        return heard

    def inputs(self) -> Mapping[Any, Callable[[], Feed]]:
        """Nothing."""
        return {}

    def close(self) -> None:
        """The process is killed."""
        self._closed = True
