"""Whoever waits for the end of something, in a share of the lives: of a run, of an iteration, of all that a pipeline
has to do. What is answered must have been so, and everybody is answered once all is done.

Time passes until an answer arrives, so it is compared with all that was so since it was asked for. Clients ask again
every two seconds, with the same id, as the real one does; a broker that has just started knows nobody.
"""

from __future__ import annotations

import random
from typing import Any

from odibi_actors.messages import Reply, Request
from odibi_actors.model import LIVE
from odibi_actors.sim.life import Life
from odibi_actors.sim.planned import Planned
from odibi_actors.sim.verdict import check

SHARE = 0.25
"""Of the lives."""
OFTEN = {"run.wait": 0.5, "iteration.wait": 0.2}
"""Share of runs and iterations that somebody waits for."""
IDLE = 0.15
"""How often, when an iteration is planned, somebody waits for all that its pipeline has to do."""
AGAIN = 2.0
"""Virtual seconds after which a client asks again."""
ANSWERED = 30.0
"""Virtual seconds within which everybody is answered once nothing is left to do."""

Number = tuple[str, int]
"""(pipeline, iteration)."""
WELL = "committed"


class Wait:
    """A request that waits. ``after``, ``open``: of one for a whole pipeline, see ``Client.wait``."""

    def __init__(self, verb: str, params: dict[str, Any], since: float, stores: int) -> None:
        self.verb, self.params, self.since, self.stores = verb, params, since, stores


class Course:
    """What something was, from when on."""

    def __init__(self) -> None:
        self._was: list[tuple[float, Any]] = []

    def note(self, now: float, state: Any) -> None:
        """It is so from now on."""
        if not self._was or self._was[-1][1] != state:
            self._was.append((now, state))

    def since(self, begin: float) -> list[Any]:
        """All that it was from then on."""
        ends = [at for at, _ in self._was[1:]] + [float("inf")]
        return [state for (_, state), end in zip(self._was, ends, strict=True) if end >= begin]

    def at(self, time: float) -> Any:
        """What it was then; None before it began."""
        return next((state for at, state in reversed(self._was) if at <= time), None)


class Waits:
    """All of a life."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._rng = random.Random(f"waits {life.world.seed}")
        self._open: dict[str, Wait] = {}
        self._runs: dict[str, Course] = {}
        self._iterations: dict[Number, Course] = {}
        self._times: list[float] = []
        self.on = self._rng.random() < SHARE
        if self.on:
            life.truth.applied.append(self.look)
            life.heard.append(self._answered)

    def look(self) -> None:
        """Records were applied: what is there by now; and some come to wait for its end."""
        life, now = self._life, self._life.world.now
        self._times.append(now)
        for name, seen in life.truth.dues.runs.items():
            if name not in self._runs:
                self._runs[name] = Course()
                self._begin("run.wait", {"run": name})
            self._runs[name].note(now, (seen.state, seen.error))
        for (pipeline, number), one in life.truth.iterations.items():
            if (pipeline, number) not in self._iterations:
                self._iterations[pipeline, number] = Course()
                self._begin("iteration.wait", {"pipeline": pipeline, "iteration": number})
                if self._rng.random() < IDLE:
                    life.world.after(self._rng.uniform(0.0, 2.0), self._wait_for_all, pipeline)
            self._iterations[pipeline, number].note(now, one.state)

    def end(self) -> None:
        """Nothing is left to do: everybody is answered. Raises Violation."""
        world = self._life.world
        world.run(world.now + ANSWERED, lambda: not self._pending())
        left = [f"{one.verb} {one.params}" for one in self._pending()]
        check(not left, "I5", f"waits are not answered {ANSWERED:.0f} s after all was done: {left[:3]}")

    def _pending(self) -> list[Wait]:
        return [one for one in self._open.values() if one.stores == self._stores()]

    def _stores(self) -> int:
        """How often the store has forgotten, or another copy took its place: it may not know what was asked for."""
        counts = self._life.world.counts
        return sum(counts.get(what, 0) for what in ("older store", "newer store", "reset", "reset without targets"))

    def _begin(self, verb: str, params: dict[str, Any]) -> None:
        if self._rng.random() < OFTEN[verb]:
            self._life.world.after(self._rng.choice([0.0, 0.1, 3.0]), self._wait, verb, params, self._stores())

    def _wait_for_all(self, pipeline: str) -> None:
        mine = {n: one for (name, n), one in self._life.truth.iterations.items() if name == pipeline}
        open_ = [n for n, one in mine.items() if one.plan.lane == LIVE and not one.terminal]
        self._wait("iteration.wait", {"pipeline": pipeline, "after": max(mine, default=0), "open": open_})

    def _wait(self, verb: str, params: dict[str, Any], stores: int | None = None) -> None:
        one = (params.get("pipeline"), params.get("iteration"))
        forgotten = "iteration" in params and one not in self._life.truth.iterations
        if forgotten or (verb == "run.wait" and stores != self._stores()):
            return  # the store may not know it by now
        request = Request(id=f"wait-{self._rng.getrandbits(40):x}", verb=verb, params=params)
        self._open[request.id] = Wait(verb, params, self._life.world.now, self._stores())
        self._life.world.count(f"waits: {verb}")
        self._ask(request)

    def _ask(self, request: Request) -> None:
        if request.id in self._open:
            self._life.tell_broker(request)
            self._life.world.after(AGAIN, self._ask, request)

    # --- answers --------------------------------------------------------------------------------------------------

    def _answered(self, reply: Reply) -> None:
        self.look()  # nobody writes that all of a pipeline is forgotten
        wait = self._open.pop(reply.id, None)
        if wait is None or wait.stores != self._stores():
            return
        said = f"{wait.verb} {wait.params}, asked {self._life.world.now - wait.since:.1f} s ago: {reply.result}"
        check(reply.status == 0, "I5", f"{said} {reply.error}")
        self._life.world.count(f"answered: {wait.verb}")
        if wait.verb == "run.wait":
            self._run(wait, reply.result, said)
        elif "iteration" in wait.params:
            self._iteration(wait, reply.result, said)
        else:
            self._all(wait, reply.result, said)

    def _run(self, wait: Wait, told: dict[str, Any], said: str) -> None:
        was = self._runs[wait.params["run"]].since(wait.since)
        ended = (told["state"], told["error"])
        check(told["state"] != "active" and ended in was, "I5", f"{said}; it was {was}")

    def _iteration(self, wait: Wait, told: dict[str, Any], said: str) -> None:
        pipeline, number = wait.params["pipeline"], wait.params["iteration"]
        if "planned_again" not in told:
            check(told["iteration"] == number, "I5", said)
            self._was(pipeline, told, wait, said)
            one = self._life.truth.iterations[pipeline, number]
            # Of one that was rewound its letters are void as well.
            aside, again = _revised(one), one.state == "rewound" or self._replayed(pipeline, number)
            check(told["files"] <= aside and (again or told["files"] == aside or not one.terminal), "I5", said)
            return
        check(told["planned_again"] == number and all(n > number for n in told["as"]), "I5", said)
        if not told["as"]:
            return
        check(told["iteration"] in told["as"], "I5", said)
        self._was(pipeline, told, wait, said)
        if told["state"] == WELL:
            for n in told["as"]:
                was = self._iterations[pipeline, n].since(wait.since)
                check(WELL in was, "I5", f"{said}; {n} was {was}")

    def _was(self, pipeline: str, told: dict[str, Any], wait: Wait, said: str) -> None:
        was = self._iterations[pipeline, told["iteration"]].since(wait.since)
        check(told["state"] in was, "I5", f"{said}; it was {was}")
        check(told["state"] not in ("planned", "running", "prepared"), "I5", said)

    def _all(self, wait: Wait, told: dict[str, Any], said: str) -> None:
        """There was a moment since then when nothing was left to do, or something was stuck, and this was the end."""
        pipeline, moments = wait.params["pipeline"], [wait.since, *(at for at in self._times if at >= wait.since)]
        check(any(self._over(pipeline, told, wait, at) for at in moments), "I5", said)

    def _over(self, pipeline: str, told: dict[str, Any], wait: Wait, at: float) -> bool:
        live = {
            n: self._iterations[name, n].at(at)
            for (name, n), one in self._life.truth.iterations.items()
            if name == pipeline and one.plan.lane == LIVE and (name, n) in self._iterations
        }
        if told["iteration"] and live.get(told["iteration"]) != told["state"]:
            return False
        if told["state"] in ("failed", "blocked"):
            return True
        if any(state in ("planned", "running", "prepared", "failed", "blocked") for state in live.values()):
            return False
        ended = [n for n in live if live[n] and (n > wait.params["after"] or n in wait.params["open"])]
        bad = [n for n in ended if live[n] != WELL and not self._goes_on(pipeline, n, str(live[n]))]
        return told["state"] != WELL or not bad or told["iteration"] not in ended

    def _goes_on(self, pipeline: str, number: int, state: str) -> bool:
        """It was taken back, planned again, or taken up again: its end is that of another."""
        again = self._life.truth.iterations[pipeline, number].again
        return state == "rewound" or (state == "cancelled" and again) or self._replayed(pipeline, number)

    def _replayed(self, pipeline: str, number: int) -> bool:
        plans = (one.plan for (name, _), one in self._life.truth.iterations.items() if name == pipeline)
        return any(plan.replay is not None and plan.replay.iteration == number for plan in plans)


def _revised(one: Planned) -> int:
    """How many files were set aside from it one by one."""
    return sum(len(some) for some in one.plan.positions.values()) - sum(len(some) for some in one.positions.values())
