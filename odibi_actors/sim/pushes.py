"""Producers that push rows to logs of events, and what must become of it: rows that were acknowledged are in the log,
those of a key once however often they are pushed, those without one at most as often as they arrived.

It looks at the log with eyes of its own, after each append, and shares nothing with who appends.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from odibi_actors.config.model import NodeSpec, PipelineSpec
from odibi_actors.messages import SOURCE, Message, Reply
from odibi_actors.messages import Push as Pushing
from odibi_actors.sim.verdict import check

AGAIN = 2.0
"""Virtual seconds after which a producer that has heard nothing asks again."""
PATIENCE = 200
"""Times that it asks."""

Source = tuple[str, str]
"""(pipeline, source)."""


class Push:
    """Rows that a producer wants to be there. ``sound``: they are what the source takes; ``asked``: the newest
    question; ``arrived``: how often the source was told them; ``events``: what they are in the log, and since when;
    ``done``: the producer knows what became of it."""

    def __init__(self, source: Source, key: str, rows: list[int], sound: bool) -> None:
        self.source, self.key, self.rows, self.sound = source, key, rows, sound
        table = pa.table({"id" if sound else "di": pa.array(rows, pa.int64())})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        self.data = sink.getvalue().to_pybytes()
        self.asked = ""
        self.times = self.arrived = 0
        self.events: dict[int, float] = {}
        self.done = self.acknowledged = False

    def __repr__(self) -> str:
        return f"push {self.key or 'without a key'} of rows {self.rows[0]} to {self.rows[-1]} to {self.source}"


class _Log:
    """A log of events, as it is looked at: up to which event it was."""

    def __init__(self, path: Path, window: float) -> None:
        self.path, self.window = path, window
        self.seen = 0


class Producers:
    """All of a life. ``tell``: a client says this to the source; ``after``: later; ``stored``: rows are in the log as
    this event; ``count``: what has happened."""

    def __init__(
        self,
        now: Callable[[], float],
        after: Callable[..., None],
        tell: Callable[[str, Message], None],
        number: Callable[[], str],
        stored: Callable[[Source, int, list[int]], None],
        count: Callable[[str], None],
    ) -> None:
        self._now, self._after, self._tell, self._number, self._stored = now, after, tell, number, stored
        self._count = count
        self._logs: dict[Source, _Log] = {}
        self.pushes: list[Push] = []
        self._by_row: dict[int, Push] = {}
        self._by_question: dict[str, Push] = {}

    def add(self, pipeline: str, source: NodeSpec, path: Path) -> None:
        """A log to push to."""
        assert source.read is not None
        self._logs[pipeline, source.name] = _Log(path, source.read.window)

    # --- what producers do ----------------------------------------------------------------------------------------

    def push(self, pipeline: PipelineSpec, source: NodeSpec, rows: list[int], rng: random.Random) -> str:
        """New rows; the id of the question. Half of them have a key, a few of which somebody has used before, and
        few are not what the source takes."""
        key, sound = f"k{rows[0]}" if rng.random() < 0.5 else "", rng.random() < 0.95
        used = [one.key for one in self.pushes if one.key and one.source == (pipeline.name, source.name)]
        if key and used and rng.random() < 0.1:
            key = rng.choice(used)
        one = Push((pipeline.name, source.name), key, rows, sound)
        self.pushes.append(one)
        self._by_row[rows[0]] = one
        self._ask(one)
        return one.asked

    def push_again(self, pipeline: str, rng: random.Random) -> str:
        """Somebody pushes again what was pushed, acknowledged or not; "" when nothing was."""
        there = [one for one in self.pushes if one.source[0] == pipeline]
        if not there:
            return ""
        one = rng.choice([one for one in there if not one.acknowledged] or there[-5:])
        self._ask(one)
        return one.asked

    def _ask(self, one: Push) -> None:
        one.asked, one.done = self._number(), False
        self._by_question[one.asked] = one
        self._say(one, one.asked)

    def _say(self, one: Push, asked: str) -> None:
        if one.asked != asked or one.done or one.times >= PATIENCE:
            return
        one.times += 1
        self._tell(SOURCE, Pushing(asked, *one.source, one.data, one.key))
        self._after(AGAIN, self._say, one, asked)

    @property
    def waiting(self) -> list[str]:
        """Who has not heard yet."""
        return [f"{one} is not answered" for one in self.pushes if not one.done]

    # --- what must hold -------------------------------------------------------------------------------------------

    def arrived(self, message: Pushing) -> None:
        """The source was told it."""
        if (one := self._by_question.get(message.id)) is not None:
            one.arrived += 1

    def answered(self, reply: Reply) -> None:
        """A producer is told what became of it."""
        one = self._by_question.get(reply.id)
        if one is None:
            return
        self.look()
        result = reply.result if isinstance(reply.result, dict) else {}
        state = result.get("state", "")
        if reply.status == 0 and state in ("stored", "known"):
            there = result["event"] in one.events
            check(there, "I2", f"{one} is acknowledged as event {result['event']}, and is {[*one.events]}")
            check(one.sound, "I1", f"{one} is taken, and has not the columns of its source")
            one.acknowledged = one.done = True
            self._count(f"push {state}")
        elif reply.status in (1, 4) and (not one.sound or one.key) and "nothing was kept" not in reply.error:
            other = one.key and any(o.events for o in self.pushes if o is not one and o.key == one.key)
            check(other or not one.sound, "I5", f"{one} is refused: {reply.error}")
            self._count("push refused")
            one.done = True
        else:
            self._count("push not taken yet")  # it is asked again

    def look(self) -> None:
        """What has come into the logs since."""
        for source, log in self._logs.items():
            db = sqlite3.connect(f"{log.path.as_uri()}?mode=ro", uri=True)
            ask = "SELECT number, data FROM events WHERE number > ? ORDER BY number"
            for number, data in db.execute(ask, (log.seen,)).fetchall():
                log.seen = number
                self._found(source, log.window, number, pa.ipc.open_file(data).read_all()["id"].to_pylist())
            db.close()

    def _found(self, source: Source, window: float, number: int, rows: list[int]) -> None:
        one, now = self._by_row.get(rows[0]) if rows else None, self._now()
        check(one is not None, "I1", f"event {number} of {source} has rows {rows[:3]}, which nobody has pushed")
        assert one is not None
        check(one.rows == rows and one.source == source, "I1", f"event {number} of {source} has {rows}, not {one}")
        check(one.sound, "I1", f"{one} is event {number}, and has not the columns of its source")
        if one.key:
            same = [other for other in self.pushes if other.key == one.key and other.source == source]
            known = [since for other in same for since in other.events.values() if since + window >= now]
            check(not known, "I1", f"{one} is event {number}, and its key was known")
        else:
            times = len(one.events) + 1
            check(times <= one.arrived, "I1", f"{one} is in the log {times} times, and arrived {one.arrived} times")
        one.events[number] = now
        self._stored(source, number, rows)
