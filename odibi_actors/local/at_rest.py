"""What a client asks, answered from a store at rest: the verbs that only read, when nothing runs on a data_dir.

The answers are those of the actors: the store's own queries, the broker's views of what it would recover from, the
source's reasons over the ledger. Nothing is started, claimed or written.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

from odibi_actors.actor import Effect, Send
from odibi_actors.broker import recovery, views
from odibi_actors.broker.commands import Commands, checked
from odibi_actors.broker.coordinator import READS
from odibi_actors.broker.directory import Directory
from odibi_actors.broker.flow import Flow
from odibi_actors.checkpoint.resting import Resting
from odibi_actors.config.model import ProjectSpec
from odibi_actors.errors import OdibiError, StoreError
from odibi_actors.kinds.source import Finder
from odibi_actors.messages import (
    BROKER,
    SCHEDULER,
    SOURCE,
    STORE,
    LedgerPage,
    PlacesPage,
    PlacesQuery,
    Reply,
    Request,
    Sources,
    Welcome,
)
from odibi_actors.model import Position
from odibi_actors.scheduler.timetable import occurrences
from odibi_actors.sources.growing.packed import packed
from odibi_actors.streaming.actor import SourceActor
from odibi_actors.streaming.scan import passed_over
from odibi_actors.streaming.source import Source
from odibi_actors.streaming.views import REFERENCE

WAITING = frozenset({"run.wait", "iteration.wait"})
"""Reads that wait for something to happen: nothing will."""

_OTHERS = frozenset({(SOURCE, f"source.{verb}") for verb in ("list", "show", "why")} | {(SCHEDULER, "schedule.next")})


def answers(to: str, verb: str) -> bool:
    """Whether a store at rest can answer this."""
    if to == BROKER:
        return verb in READS - WAITING
    return to == STORE or (to, verb) in _OTHERS


class AtRest:
    """The store of a data_dir, open. ``root``: the project's folder. Use as a context manager: a store that starts
    waits for its end. Raises what ``Resting`` raises."""

    def __init__(self, data_dir: Path, root: Path | None = None) -> None:
        self.data_dir = data_dir
        self._store = Resting(data_dir, root)
        self.as_of = self._store.as_of
        self._known: dict[tuple[str, str, str], tuple[int, str]] = {}
        self._grow: set[tuple[str, str, str]] = set()  # sources of files that grow
        self._whole: set[tuple[str, str, str]] = set()  # sources that are read whole by every iteration
        """Source -> iteration and identity of the file that is asked about."""

    def __enter__(self) -> AtRest:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    def answer(self, to: str, verb: str, params: dict[str, Any]) -> Any:
        """The result of a verb that it ``answers``. Raises what a client raises."""
        if to == STORE:
            return _at_rest(verb, self._store.answer(verb, params))
        if to == BROKER and verb == "status":
            status = views.status(self._flow(), Directory(), 0.0, time.time())
            return {**status, "at_rest": self.as_of}
        if to == BROKER:
            commands = Commands(self._flow(), Directory(), 0.0)
            return commands.run(verb, checked(verb, params), time.time())
        if to == SOURCE:
            return self._source(verb, params)
        return {"items": self._next(params.get("pipeline"))}

    def _next(self, pipeline: str | None) -> list[dict[str, Any]]:
        """When schedules that follow the clock are due next: the calendar needs no scheduler."""
        flow, now, found = self._flow(), time.time(), []
        for name in [one.name for one in flow.listed()] if pipeline is None else [pipeline]:
            for one in flow.schedules.of(name):
                due = next(occurrences(one.spec, now), None) if one.spec.timed else None
                found.append(
                    {"pipeline": name, "schedule": one.name, "next": due.due if due is not None else None, "late": None}
                )
        return found

    def would_change(self, project: ProjectSpec) -> dict[str, Any]:
        """What ``apply`` with ``dry_run`` answers. Raises as that does."""
        return {"items": recovery.would_change(self._flow(), project)}

    def letter(self, id_: int) -> str:
        """The pipeline of a dead letter. Raises NotFoundError."""
        return str(self._store.answer("deadletter.show", {"id": id_})["pipeline"])

    def _flow(self) -> Flow:
        """What a broker that starts now would know, before it does anything."""
        flow = Flow(self._store.epoch, self._store.last_seq, self._store.store_id, random.Random(0))
        cursor = ""
        try:
            while True:
                items, cursor = self._store.load(cursor)
                recovery.load(flow, items)
                if not cursor:
                    break
        except (LookupError, ValueError) as error:
            raise StoreError(f"what {self._store.path} holds does not fit together: {error!r}") from error
        for pipeline in flow.pipelines.values():
            pipeline.at_rest = True
        return flow

    # --- sources ----------------------------------------------------------------------------------------------------

    def _source(self, verb: str, params: dict[str, Any]) -> Any:
        actor = SourceActor("at-rest", "", os.getpid())
        store = self._store
        actor.handle(BROKER, Welcome(store.epoch, store.last_seq, store.store_id), 0.0)
        actor.handle(BROKER, Sources(store.epoch, views.source_specs(self._flow())), 0.0)
        for source in actor.sources.values():
            asked = source.flush(0.0)  # it asks for the ledger, and for a look at its folder, which nobody takes
            key = (source.spec.pipeline, source.spec.node.name, source.spec.lane)
            if not isinstance(source, Source):
                self._places(source, asked)
                if source.read.mode == "incremental" and source.read.of_table is None:
                    self._grow.add(key)
                continue
            if source.pinned:
                self._whole.add(key)
            positions = self._planned(key, _names(source.read.connection.path, source.path, params.get("file")))
            source.page(LedgerPage(*key, "", positions, "", store.last_seq), 0.0)
            for position in positions:
                number = source.iterations[position.identity] = self._iteration(key, position)
                self._known[key] = number, position.identity
        reply = next(
            effect.message
            for effect in actor.handle("client", Request("1", verb, params), 0.0)
            if isinstance(effect, Send) and isinstance(effect.message, Reply)
        )
        if verb == "source.why":
            return self._why(reply, str(params.get("file")))
        if reply.status:
            raise _error(reply)
        for row in reply.result["items"] if verb == "source.list" else (reply.result,):
            key = (row["pipeline"], row["source"], row["lane"])
            if row["consumption"] != "cursor":
                row["known"] = None if row["consumption"] == "pinned" else self._count(key)
            row["pending"] = row["waiting"] = None  # nobody looks into the folder
        return reply.result

    def _places(self, source: Finder, asked: list[Effect]) -> None:
        """Tell a source that is read in order its places."""
        for query in (one.message for one in asked if isinstance(one, Send)):
            if isinstance(query, PlacesQuery):
                of = (query.pipeline, query.lane, query.source)
                items, _ = self._store.places(*of, query.cursor, query.limit, query.through)
                page = (query.pipeline, query.source, query.lane, query.cursor, items, "", self._store.last_seq)
                source.told(PlacesPage(*page, query.through), 0.0)

    def _why(self, reply: Reply, file: str) -> Any:
        """What is not planned is looked at by nobody."""
        items = (reply.result or {}).get("items", [])
        for item in items:
            key = (item["pipeline"], item["source"], item["lane"])
            if item["state"] == "planned" and (known := self._known.get(key)):
                item["reason"] += self._ended(key[0], *known)
            path = os.path.join(item["reason"].rpartition(" below ")[2], file)
            if item["state"] in ("not_found", "waiting", "pending") and os.path.lexists(path):
                item["state"] = "unplanned"
                item["reason"] = "not planned as of now; nothing runs that would look at it (`odibictl up`)"
                if passed := passed_over(path) or (packed(path) if key in self._grow else ""):
                    item["state"], item["reason"] = "ignored", passed
                elif key in self._whole:
                    item["state"], item["reason"] = "reference", REFERENCE
        if reply.status and all(item["state"] == "not_found" for item in items):
            raise _error(reply)
        return reply.result

    def _ended(self, pipeline: str, number: int, identity: str) -> str:
        """What became of a file that was planned: the state of its iteration, and its dead letter."""
        state = self._store.db.execute(
            "SELECT state FROM iterations WHERE pipeline = ? AND iteration = ?", (pipeline, number)
        ).fetchone()
        letter = self._store.db.execute(
            "SELECT id FROM dead_letters WHERE pipeline = ? AND iteration = ? AND position IN ('', ?)"
            " AND state <> 'replayed' ORDER BY id DESC LIMIT 1",
            (pipeline, number, identity),
        ).fetchone()
        told = f", which is {state[0]}" if state else ", which is history"
        return told + (f"; set aside: `odibictl deadletter show {letter[0]}`" if letter else "")

    def _planned(self, key: tuple[str, str, str], identities: list[str]) -> list[Position]:
        pipeline, source, lane = key
        found = []
        for identity in identities:
            some, _ = self._store.ledger(pipeline, lane, source, _before(identity))
            found += [position for position in some if position.identity == identity]
        return found

    def _iteration(self, key: tuple[str, str, str], position: Position) -> int:
        pipeline, source, lane = key
        (number,) = self._store.db.execute(
            "SELECT iteration FROM ledger WHERE pipeline = ? AND lane = ? AND source = ? AND identity = ?"
            " AND generation = ?",
            (pipeline, lane, source, position.identity, position.generation),
        ).fetchone()
        return int(number)

    def _count(self, key: tuple[str, str, str]) -> int:
        pipeline, source, lane = key
        (count,) = self._store.db.execute(
            "SELECT count(DISTINCT identity) FROM ledger WHERE pipeline = ? AND lane = ? AND source = ?",
            (pipeline, lane, source),
        ).fetchone()
        return int(count)


def _at_rest(verb: str, result: Any) -> Any:
    """Iterations that are under way, as the store has it: nothing runs that would work at them."""
    rows = result["items"] if verb == "iteration.list" else [result] if verb == "iteration.show" else []
    for row in rows:
        if row["state"] in _UNDER_WAY and not row["waits_for"]:
            row["interrupted"] = True
    return result


_UNDER_WAY = ("planned", "running", "prepared")


def _error(reply: Reply) -> OdibiError:
    error = OdibiError(reply.error)
    error.exit_code = reply.status
    return error


def _names(folder: str, path: str, file: object) -> list[str]:
    """Identities that a file may have, as ``views.why`` looks for it."""
    if not isinstance(file, str) or not file:
        return []
    below = folder.rstrip("/") + "/"
    if file.startswith("/"):
        if not file.startswith(below):
            return []
        file = file[len(below) :]
    name = os.path.normpath(file)
    return list(dict.fromkeys((name, f"{path}/{name}" if path else name)))


def _before(identity: str) -> str:
    """Text that sorts right before it, so that a page begins with it."""
    return identity[:-1] + chr(ord(identity[-1]) - 1) + "\U0010ffff" if ord(identity[-1]) > 1 else identity[:-1]
