"""One life of the shop: files come, operators do what they can, processes are killed; then everything is put right.

After some steps, and at the end, the book-keeper compares. Verbs go through ``Client``, or through `odibictl` where
that has more to say. A verb that is refused is counted, and must leave everything as it was.
"""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgspec

from odibi_actors.client import Client
from odibi_actors.errors import ConflictError, NotFoundError, OdibiError, RunFailedError, TimedOutError
from tests.shop.book import Keeper
from tests.shop.goods import PIPELINES, REFERRING, Goods, Settings
from tests.system.harness import System

STEPS = 20
KILLS = 3
PATIENCE = 60.0
"""Seconds within which all must be put right at the end, or work must come to rest: a verdict, not a promise."""
LOOK = 0.05
GONE = "the broker was restarted before it answered"
"""In what a client says of a request that must happen once: whether it was done is not known, and the life goes on."""
VICTIMS = ("broker", "checkpoint", "source", "scheduler", "pool", "worker", "template", "launcher")
QUIET = 0.3
"""Share of the steps after which all work is waited for, and compared."""
CLOSED = "create trigger closed before insert on {} begin select raise(abort, 'the till is closed'); end"


class DifferenceError(AssertionError):
    """What is there is not what must be there."""


class Life:
    """A life from a seed, in ``folder``. ``story`` tells it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = random.Random(f"shop {seed}")
        self.goods = Goods(folder, random.Random(f"goods {seed}"))
        self.keeper = Keeper(self.goods)
        self.system = System(folder)
        self.client = self._connect()
        self.story: list[str] = []
        self.counts: Counter[str] = Counter()
        self._rate = 0

    def live(self) -> None:
        """All of it. Raises DifferenceError, or AssertionError when something never ends."""
        for pipeline in PIPELINES:
            self.goods.deliver(pipeline)
        self._up()
        verbs, weights = [*VERBS.values()], [weight for weight, _ in VERBS.values()]
        deadly = set(self.rng.sample(range(STEPS), KILLS))
        for step in range(STEPS):
            pipeline = self.rng.choice(PIPELINES)
            while not self._do(verbs[self.rng.choices(range(len(verbs)), weights)[0]][1], pipeline):
                pass
            if step in deadly:
                self._do(Life.kill, pipeline)
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

    def _do(self, verb: Callable[[Life, str], str], pipeline: str) -> bool:
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

    def _up(self) -> None:
        self.system.start()
        self.client.close()
        self.client = self._connect()
        self._note_versions()

    def _note_versions(self) -> None:
        for row in self.client.pipelines()["items"]:
            key, settings = (row["pipeline"], row["version"]), self.goods.settings[row["pipeline"]]
            if self.keeper.versions.setdefault(key, settings) != settings:
                raise DifferenceError(f"{key} is {self.keeper.versions[key]}, and is said to be {settings}")

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
        for pipeline in PIPELINES:
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
            self.open_till()
            left = [what for pipeline in PIPELINES for what in self._right(pipeline)]
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
                    self._replay(pipeline, letter["id"])
        for backfill in self.client.backfills(pipeline)["items"]:
            left.append(f"{pipeline} {backfill['lane']} goes on")
        if pipeline == "report":
            try:
                run = self._trigger()
                state = self.client.wait_run(run, timeout=10.0)["state"]
                if state not in ("done", "no_data"):
                    left.append(f"{run} is {state}")
            except (ConflictError, TimedOutError) as error:
                left.append(str(error))
        self._idle(pipeline)
        found = self.keeper.compare(self.client, pipeline, True)
        return [*left, *(what for what in found if "at the end" in what)]

    # --- verbs: data ----------------------------------------------------------------------------------------------

    def deliver(self, pipeline: str) -> str:
        """A few files arrive, bad ones among them."""
        found = []
        for _ in range(self.rng.choice([1, 2, 4, 8])):
            bad = self.rng.choices(["", "refused", "malformed"], [5, 1, 1])[0]
            found.append(self.goods.deliver(pipeline, bad) + (f" ({bad})" if bad else ""))
        return ", ".join(found)

    def fix(self, pipeline: str) -> str:
        """A bad file is written again."""
        bad = self.goods.bad(pipeline)
        return self.goods.rewrite(pipeline, self.rng.choice(bad)) if bad else ""

    def rewrite(self, pipeline: str) -> str:
        """Any file is written again, whether it was read or not."""
        identity = self.rng.choice([i for p, i in self.goods.writings if p == pipeline])
        return self.goods.rewrite(pipeline, identity)

    def refer(self, pipeline: str) -> str:
        """A reference is replaced."""
        name = self.rng.choice(["prices-a.csv", "tariff-a.csv"])
        self.goods.refer(name)
        return name

    # --- verbs: operators -----------------------------------------------------------------------------------------

    def pause(self, pipeline: str) -> str:
        """`pipeline pause`."""
        return str(self.client.pause(pipeline))

    def resume(self, pipeline: str) -> str:
        """`pipeline resume`."""
        return str(self.client.resume(pipeline))

    def cancel(self, pipeline: str) -> str:
        """`iteration cancel` of one of the newest."""
        number = self._one_of_the_newest(pipeline)
        return f"{number}: {self.client.cancel(pipeline, number)}" if number else ""

    def retry(self, pipeline: str) -> str:
        """`iteration retry` of what is held."""
        rows = self.client.iterations(pipeline, limit=1000)["items"]
        held = [row["iteration"] for row in rows if row["state"] in ("failed", "blocked")]
        return f"{held[-1]}: {self.client.retry(pipeline, held[-1])}" if held else ""

    def replay(self, pipeline: str) -> str:
        """`deadletter replay`, at times after its files were fixed."""
        letter = self._letter(pipeline)
        if not letter:
            return ""
        if self.rng.random() < 0.5:
            for position in self.client.dead_letter(letter)["positions"].get("rows", ()):
                if self.goods.newest(pipeline, position["identity"]).bad:
                    self.goods.rewrite(pipeline, position["identity"])
        return f"{letter}: {self._replay(pipeline, letter)}"

    def _replay(self, pipeline: str, letter: int) -> dict[str, Any]:
        former = self.client.dead_letter(letter)["iteration"]
        done = self.client.replay(letter)
        self.keeper.replays[pipeline, done["iteration"]] = former
        return done

    def discard(self, pipeline: str) -> str:
        """`deadletter discard`."""
        letter = self._letter(pipeline)
        if not letter:
            return ""
        held = self.client.dead_letter(letter)["positions"].get("rows", ())
        done = self.client.discard(letter)
        self.keeper.discarded |= {(pipeline, position["identity"]) for position in held}
        return f"{letter}: {done}"

    def rewind(self, pipeline: str) -> str:
        """`pipeline drain`, `pipeline rewind` to one of the newest or to the beginning, `pipeline resume`."""
        to = self.rng.choice([0, max(0, self._one_of_the_newest(pipeline) - self.rng.randint(1, 2))])
        state = self.client.drain(pipeline, timeout=PATIENCE)["state"]
        self.tell(f"drain {pipeline}: {state}")
        try:
            return f"to {to}: {self.client.rewind(pipeline, to, timeout=PATIENCE)}"
        finally:
            if self.rng.random() < 0.8:
                self.client.resume(pipeline)

    def backfill(self, pipeline: str) -> str:
        """`pipeline backfill` of some files."""
        if pipeline not in REFERRING:
            return ""
        self._rate += 1
        pattern = self.rng.choice(["*", "f*[02468].csv", "f000?.csv"])
        begun = self.client.backfill(pipeline, {"": pattern}, concurrency=2, params={"rate": self._rate})
        self.keeper.rates[begun["run"]] = self._rate
        return f"{pattern}: {begun}"

    def backfill_cancel(self, pipeline: str) -> str:
        """`backfill cancel` of one that goes on."""
        rows = self.client.backfills(pipeline)["items"]
        return str(self.client.cancel_backfill(pipeline, rows[0]["lane"])) if rows else ""

    def trigger(self, pipeline: str) -> str:
        """`pipeline trigger`, at times waited for."""
        if pipeline != "report":
            return ""
        run = self._trigger()
        return f"rate {self._rate}: {run}"

    def _trigger(self) -> str:
        self._rate += 1
        run = str(self.client.trigger("report", {"rate": self._rate})["run"])
        self.keeper.rates[run] = self._rate
        return run

    def apply(self, pipeline: str) -> str:
        """Something of the project changes, or several things: `apply`, or `down` and `up`."""
        changes: dict[str, Any] = {}
        if self.rng.random() < 0.5:
            changes["tag"] = self.goods.settings[pipeline].tag + 1
        if self.rng.random() < 0.3:
            changes["files"] = self.rng.choice([1, 2, 4])
        if self.rng.random() < 0.3:
            changes["slow"] = self.rng.choice([0.0, 0.1, 0.4])
        if self.rng.random() < 0.3:
            changes["in_flight"] = self.rng.choice([1, 2, 4])
        if self.rng.random() < 0.3:
            changes["settle"] = self.rng.choice(["20ms", "30ms", "40ms"])
        if pipeline in REFERRING and self.rng.random() < 0.4:
            changes["pattern"] = self.rng.choice(["prices-*.csv", "tariff-*.csv"])
        settings = self.goods.settings[pipeline]
        self.goods.settings[pipeline] = msgspec.structs.replace(settings, **changes) if changes else Settings()
        self.goods.configure()
        if self.rng.random() < 0.2:
            return f"{changes}, {self.restart(pipeline)}"
        code, said = self.ctl("apply")
        if code:
            raise DifferenceError(f"apply: exit {code}: {said}")
        self._note_versions()
        return f"{changes}: {said.strip()}"

    def scale(self, pipeline: str) -> str:
        """`worker scale`."""
        return str(self.client.scale(self.rng.choice([1, 2, 3])))

    def close_till(self, pipeline: str) -> str:
        """A target refuses rows for a while."""
        if pipeline not in REFERRING or not self.goods.tables[pipeline]:
            return ""
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(self.goods.folder / "data/mart.db")) as mart:
            mart.execute(CLOSED.format(pipeline))
            return "closed"
        return ""

    def open_till(self, pipeline: str = "") -> str:
        """It takes them again."""
        if not (self.goods.folder / "data/mart.db").exists():
            return ""
        with closing(sqlite3.connect(self.goods.folder / "data/mart.db", timeout=30.0)) as mart, mart:
            closed = mart.execute("select 1 from sqlite_master where name = 'closed'").fetchone()
            mart.execute("drop trigger if exists closed")
        return "open" if closed else ""

    def abandon(self, pipeline: str) -> str:
        """`iteration abandon` of a blocked sink."""
        rows = self.client.iterations(pipeline, limit=1000)["items"]
        blocked = [row["iteration"] for row in rows if row["state"] == "blocked"]
        if not blocked:
            return ""
        return f"{blocked[-1]}: {self.client.abandon(pipeline, blocked[-1], 'mart')}"

    # --- verbs: the machine ---------------------------------------------------------------------------------------

    def restart(self, pipeline: str) -> str:
        """`down`, and `up`."""
        self.client.close()
        self.system.stop()
        self._up()
        return "down, up"

    def kill(self, pipeline: str) -> str:
        """SIGKILL for one process, or for all."""
        victim = self.rng.choice(VICTIMS)
        self.system.kill(victim, rng=self.rng)
        if victim == "launcher":
            if not self.system.extinct():
                raise DifferenceError(f"left running: {self.system.processes.living()}")
            self._up()
        return victim

    # --- what there is --------------------------------------------------------------------------------------------

    def _one_of_the_newest(self, pipeline: str) -> int:
        rows = self.client.iterations(pipeline, limit=3)["items"]
        return int(self.rng.choice(rows)["iteration"]) if rows else 0

    def _letter(self, pipeline: str) -> int:
        letters = [row["id"] for row in self.client.dead_letters(pipeline)["items"] if row["state"] == "open"]
        return int(self.rng.choice(letters)) if letters else 0

    def state(self) -> str:
        """What a human would look at after a difference."""
        with suppress(OdibiError, OSError):
            parts = [self.system.ctl("status", "--timeout", "5s").stdout]
            for pipeline in PIPELINES:
                for words in (
                    ["iteration", "list", pipeline],
                    ["deadletter", "list", pipeline],
                    ["pipeline", "runs", pipeline],
                ):
                    parts.append(f"$ {' '.join(words)}\n" + self.system.ctl(*words).stdout)
            return "\n".join(parts)
        return json.dumps("nothing answers")


VERBS: dict[str, tuple[int, Callable[[Life, str], str]]] = {
    verb.__name__: (weight, verb)
    for weight, verb in (
        (6, Life.deliver),
        (3, Life.fix),
        (1, Life.rewrite),
        (3, Life.refer),
        (2, Life.pause),
        (2, Life.resume),
        (4, Life.cancel),
        (3, Life.retry),
        (5, Life.replay),
        (1, Life.discard),
        (3, Life.rewind),
        (3, Life.backfill),
        (1, Life.backfill_cancel),
        (5, Life.trigger),
        (4, Life.apply),
        (1, Life.scale),
        (1, Life.close_till),
        (2, Life.open_till),
        (1, Life.abandon),
        (1, Life.restart),
    )
}
"""Verb -> (weight, what it does)."""
