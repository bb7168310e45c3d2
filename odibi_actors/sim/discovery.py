"""The source's driver on simulated folders."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from odibi_actors.actor import Effect
from odibi_actors.failpoints import watching
from odibi_actors.messages import Message
from odibi_actors.sim import log
from odibi_actors.sim.host import Feed, Host
from odibi_actors.sim.work import Killed
from odibi_actors.streaming.effects import Ask, Digest, Digested, FileEvent, Forget, Scan, Scanned, Stat, Stated
from odibi_actors.streaming.patterns import Pattern

if TYPE_CHECKING:
    from odibi_actors.sim.sources import Probes


class SimSourceDriver:
    """Scans and stats the simulated folders; hints get lost."""

    def __init__(self, host: Host, name: str, generation: int) -> None:
        self._host, self._name, self._generation = host, name, generation
        self._watched: dict[str, tuple[str, Pattern]] = {}  # source's key -> folder, and which files of it
        self._closed = False
        self._probes: Probes | None = None
        if host.outside is not None:
            from odibi_actors.sim.sources import Probes

            self._probes = Probes(host.outside)
        self._asked: dict[str, deque[Ask]] = {}  # by line, of which the first is being answered
        self._steps: dict[str, Iterator[Message | None]] = {}

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
            case Ask() if self._probes is not None and effect.read.mode != log.MODE:
                asked = self._asked.setdefault(effect.line, deque())
                asked.append(effect)
                if len(asked) == 1:
                    self._go_on(effect)
            case Ask():
                world.after(world.rng.uniform(0.001, 0.2), self._probe, effect)
            case Forget():
                self._watched.pop(effect.source, None)
                for asked in self._asked.values():
                    for one in [one for place, one in enumerate(asked) if place and one.source == effect.source]:
                        asked.remove(one)
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

    # --- what is looked at as anywhere ----------------------------------------------------------------------------

    def _go_on(self, ask: Ask) -> None:
        world, outside = self._host.world, self._host.outside
        assert outside is not None
        world.after(world.rng.uniform(0.0005, 0.02) + outside.delay(ask), self._step, ask.line)

    def _step(self, line: str) -> None:
        """One more step of the first that is asked there: a thread takes one at a time."""
        if self._closed or self._probes is None or not (asked := self._asked[line]):
            return
        steps = self._steps.get(line)
        if steps is None:
            steps = self._steps[line] = self._probes.steps(asked[0])
        try:
            more, message = self._next(steps)
        except Killed as killed:
            self._host.world.count(f"crash source at {killed}")
            self._host.world.crash(self._name)
            return
        if message is not None:
            self._feed(message)
        if not more:
            del self._steps[line]
            asked.popleft()
        if asked:
            self._go_on(asked[0])

    def _next(self, steps: Iterator[Message | None]) -> tuple[bool, Message | None]:
        """Whether there is more, and what it says. Raises Killed."""
        assert self._host.outside is not None
        try:
            with watching(self._host.outside.reached):
                return True, next(steps)
        except StopIteration:
            return False, None
        finally:
            self._host.outside.look()

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
        """The process is killed: what a probe was about is done, or not."""
        self._closed = True
        for steps in self._steps.values():
            try:
                while self._host.world.rng.random() < 0.5 and self._next(steps)[0]:
                    pass
            except Killed:
                pass
        self._steps.clear()
