"""One life of the shop: files come, operators do what they can, processes are killed; then everything is put right.

After some steps, and at the end, the book-keeper compares. Verbs go through ``Client``, or through `odibictl` where
that has more to say. A verb that is refused is counted, and must leave everything as it was.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from odibi_actors.client import Client
from odibi_actors.errors import ConflictError, NotFoundError, OdibiError, RunFailedError, TimedOutError
from tests.shop import ends, verbs
from tests.shop.book import Keeper, held
from tests.shop.goods import Goods, drawn
from tests.shop.project import Form, section
from tests.shop.verbs import PATIENCE, DifferenceError, Verb
from tests.system.harness import System

STEPS = 20
KILLS = 3
LOOK = 0.05
VERBS: tuple[tuple[int, Verb], ...] = (
    *verbs.VERBS,
    (2, ends.wait_for_iteration),
    (2, ends.trigger_and_wait),
    (1, ends.run_at_rest),
    (2, ends.wait_for_backfill),
)
"""(weight, what it does)."""
GONE = "the broker was restarted before it answered"
"""In what a client says of a request that must happen once: whether it was done is not known, and the life goes on."""
QUIET = 0.3
"""Share of the steps after which all work is waited for, and compared."""


class Life:
    """A life from a seed, in ``folder``. ``story`` tells it. ``form``: what it consists of, else that is drawn."""

    def __init__(self, folder: Path, seed: int, form: Form | None = None) -> None:
        self.rng = random.Random(f"shop {seed}")
        goods = random.Random(f"goods {seed}")
        self.goods = Goods(folder, goods, form or drawn(goods))
        self.keeper = Keeper(self.goods)
        self.system = System(folder)
        self.client = self._connect()
        self.story: list[str] = []
        self.counts: Counter[str] = Counter()
        self._rate = 0

    def live(self) -> None:
        """All of it. Raises DifferenceError, or AssertionError when something never ends."""
        self.tell(str(self.goods.form))
        for pipeline in self.goods.pipelines:
            self.goods.deliver(pipeline)
        self.up()
        weights, choice = zip(*VERBS, strict=True)
        deadly = set(self.rng.sample(range(STEPS), KILLS))
        for step in range(STEPS):
            pipeline = self.rng.choice(self.goods.pipelines)
            while not self._do(self.rng.choices(choice, weights)[0], pipeline):
                pass
            if step in deadly:
                self._do(verbs.kill, pipeline)
            if self.rng.random() < QUIET:
                self.settle(pipeline)
            elif self.rng.random() < 0.5:
                time.sleep(self.rng.choice([0.02, 0.1, 0.3]))
        self.put_right()
        self._compare(ended=True)
        self._verify()
        self.client.close()
        self.system.stop()
        if bugs := self.system.bugs():
            raise DifferenceError("an actor says what must never happen:\n" + "\n".join(bugs[:5]))

    def tell(self, what: str) -> None:
        """A line of the story."""
        self.story.append(f"{time.strftime('%H:%M:%S')} {what}")

    def _do(self, verb: Verb, pipeline: str) -> bool:
        """False when there was nothing to do."""
        name = verb.__name__
        try:
            said = verb(self, pipeline)
            if not said:
                return False
            self.counts[name] += 1
            self.tell(f"{name} {pipeline}: {said}")
        except (ConflictError, NotFoundError) as refused:
            self.counts[f"{name}, refused"] += 1
            self.tell(f"{name} {pipeline}: refused: {refused}")
        except TimedOutError as late:
            if GONE not in str(late):
                raise DifferenceError(f"{name} {pipeline}: {late}") from None
            self.counts[f"{name}, unanswered"] += 1
            self.tell(f"{name} {pipeline}: {late}")
        return True

    # --- the system -----------------------------------------------------------------------------------------------

    def _connect(self) -> Client:
        return Client(project=self.goods.folder, timeout=PATIENCE)

    def up(self) -> None:
        self.system.start()
        self.client.close()
        self.client = self._connect()
        self.note_versions()

    def note_versions(self) -> None:
        """What each version says: one number is never given to two."""
        for row in self.client.pipelines()["items"]:
            name, version = row["pipeline"], row["version"]
            settings = self.goods.settings[name]
            noted = self.keeper.versions.setdefault((name, version), settings)
            former, wanted = (section(self.goods.form, name, one) for one in (noted, settings))
            if former != wanted:
                raise DifferenceError(f"{name} {version} is {former}, and is said to be {wanted}")

    def ctl(self, *words: str) -> tuple[int, str]:
        """``odibictl``: its exit code, what it said."""
        done = self.system.ctl(*words, timeout=PATIENCE * 2)
        if done.returncode == 4:
            raise ConflictError(done.stderr.strip())
        if done.returncode == 3:
            raise NotFoundError(done.stderr.strip())
        return done.returncode, done.stdout + done.stderr

    # --- coming to rest -------------------------------------------------------------------------------------------

    def settle(self, pipeline: str) -> None:
        """Let all work of a pipeline come to an end, or to where it waits for somebody; compare."""
        self.client.resume(pipeline)
        self._idle(pipeline)
        self._differences(pipeline, ended=False)
        self.counts["compared"] += 1

    def _idle(self, pipeline: str) -> None:
        """Nothing goes on in any lane."""
        for run in self.client.runs(pipeline, state="active")["items"]:
            if run["lane"] == "live":
                with suppress(RunFailedError, TimedOutError):
                    self.client.wait_run(run["run"], timeout=2.0)
        deadline = time.monotonic() + PATIENCE
        calm = 0
        while calm < 3:
            rows = self.client.iterations(pipeline, limit=1000)["items"]
            busy = [row for row in rows if row["state"] in ("planned", "running", "prepared")]
            held = {row["lane"] for row in rows if row["state"] in ("failed", "blocked")}
            calm = calm + 1 if all(row["lane"] in held for row in busy) else 0
            if calm and not busy:
                calm += 1
            if time.monotonic() > deadline:
                raise DifferenceError(f"{pipeline} does not come to rest: {busy[:5]}")
            time.sleep(LOOK)

    def _compare(self, ended: bool) -> None:
        for pipeline in self.goods.pipelines:
            self._differences(pipeline, ended)

    def _differences(self, pipeline: str, ended: bool) -> None:
        """Compare until it is right: what is still being published is not wrong yet."""
        deadline = time.monotonic() + (PATIENCE if ended else 10.0)
        while found := self.keeper.compare(self.client, pipeline, ended):
            if time.monotonic() > deadline:
                raise DifferenceError("\n".join(found))
            time.sleep(0.2)

    def _verify(self) -> None:
        code, said = self.ctl("checkpoint", "verify")
        if code != 0:
            raise DifferenceError(f"checkpoint verify: exit {code}: {said}")

    def put_right(self) -> None:
        """What an operator does in the end: fix the files, open the till, retry, replay, run once more."""
        self.tell("put right")
        deadline = time.monotonic() + 2 * PATIENCE
        while True:
            verbs.open_till(self)
            left = [what for pipeline in self.goods.pipelines for what in self._right(pipeline)]
            if not left:
                return
            if time.monotonic() > deadline:
                raise DifferenceError("cannot be put right: " + "; ".join(left))

    def _right(self, pipeline: str) -> list[str]:
        """One round; what is left to do."""
        for identity in self.goods.bad(pipeline):
            if (pipeline, identity) not in self.keeper.discarded:
                self.goods.rewrite(pipeline, identity)
        self.client.resume(pipeline)
        left = []
        for row in self.client.iterations(pipeline, limit=1000)["items"][::-1]:
            if row["state"] in ("failed", "blocked"):
                left.append(f"{pipeline} {row['iteration']} is {row['state']}: {row['error']}")
                with suppress(ConflictError, NotFoundError, TimedOutError):
                    self.client.retry(pipeline, row["iteration"])
        for letter in self.client.dead_letters(pipeline)["items"]:
            if letter["state"] == "open":
                left.append(f"{pipeline} letter {letter['id']} is open: {letter['message']}")
                with suppress(ConflictError, NotFoundError):
                    # What was polled is kept as it was found.
                    (self.discard if pipeline == "rates" else self.replay)(pipeline, letter["id"])
        for backfill in self.client.backfills(pipeline)["items"]:
            left.append(f"{pipeline} {backfill['lane']} goes on")
        if pipeline == "report":
            try:
                run = self.trigger()
                state = self.client.wait_run(run, timeout=10.0)["state"]
                if state not in ("done", "no_data"):
                    left.append(f"{run} is {state}")
            except (ConflictError, TimedOutError) as error:
                left.append(str(error))
        self._idle(pipeline)
        found = self.keeper.compare(self.client, pipeline, True)
        return [*left, *(what for what in found if "at the end" in what)]

    # --- what is noted when it is asked for -----------------------------------------------------------------------

    def replay(self, pipeline: str, letter: int) -> dict[str, Any]:
        """Take a letter up."""
        former = self.client.dead_letter(letter)["iteration"]
        done = self.client.replay(letter)
        self.keeper.replays[pipeline, done["iteration"]] = former
        return done

    def discard(self, pipeline: str, letter: int) -> dict[str, Any]:
        """Give a letter up."""
        lost = held(pipeline, self.client.dead_letter(letter))
        done = self.client.discard(letter)
        self.keeper.discarded |= {(pipeline, identity) for identity in lost}
        return done

    def next_rate(self) -> int:
        """A parameter that no run had."""
        self._rate += 1
        return self._rate

    def trigger(self) -> str:
        """A run of ``report``, with a parameter."""
        rate = self.next_rate()
        run = str(self.client.trigger("report", {"rate": rate})["run"])
        self.keeper.rates[run] = rate
        return run

    def state(self) -> str:
        """What a human would look at after a difference."""
        with suppress(OdibiError, OSError):
            parts = [self.system.ctl("status", "--timeout", "5s").stdout]
            for pipeline in self.goods.pipelines:
                for words in (
                    ["iteration", "list", pipeline],
                    ["deadletter", "list", pipeline],
                    ["pipeline", "runs", pipeline],
                ):
                    parts.append(f"$ {' '.join(words)}\n" + self.system.ctl(*words).stdout)
            return "\n".join(parts)
        return json.dumps("nothing answers")
