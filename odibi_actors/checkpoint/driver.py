"""Carries out the effects of the store's actor on an Engine, one after the other, synchronously."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from odibi_actors.actor import Effect
from odibi_actors.checkpoint.effects import (
    Answered,
    Broken,
    Checkpoint,
    EpochSet,
    Maintained,
    Prune,
    Read,
    SetEpoch,
    Write,
    Written,
)
from odibi_actors.checkpoint.engine import Engine, Refused
from odibi_actors.errors import OdibiError, ProtocolError, StoreError
from odibi_actors.messages import (
    LOCAL,
    LedgerLook,
    LedgerPage,
    LedgerQuery,
    LedgerRows,
    Load,
    LoadedPage,
    Message,
    PlacesPage,
    PlacesQuery,
    Reply,
    Request,
)


class StoreDriver:
    """The impure half of the StoreActor. Owns the engine: ``close`` closes it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def perform(self, effect: Effect, now: float) -> Iterable[tuple[str, Message]]:
        """Do it, and return its one answer; none for a query that is malformed. StoreError becomes Broken."""
        try:
            answer = self._perform(effect, now)
        except StoreError as error:
            answer = Broken(str(error))
        return [(LOCAL, answer)] if answer is not None else []

    def _perform(self, effect: Effect, now: float) -> Message | None:
        engine = self._engine
        match effect:
            case Write():
                return self._write(effect)
            case SetEpoch():
                return EpochSet(effect.to, engine.claim(effect.expected, effect.claimant))
            case Checkpoint():
                engine.checkpoint()
                return Maintained()
            case Prune():
                more = engine.prune(now, effect.history, effect.keep_last)
                return Maintained(more, engine.prune_every(effect.history), engine.unsaved, engine.wal_full)
            case Read(query=Request() as request):
                return Answered(effect.to, self._reply(request))
            case Read(query=(Load() | LedgerQuery() | LedgerLook() | PlacesQuery()) as query):
                try:
                    return Answered(effect.to, self._page(query))
                except ProtocolError:
                    return None
        raise TypeError(f"the checkpoint store cannot carry out {type(effect).__name__}")

    def _write(self, effect: Write) -> Written:
        engine = self._engine
        refused = ""
        try:
            engine.apply(effect.epoch, effect.first, effect.records)
        except Refused as error:
            refused = error.reason
        return Written(engine.epoch, engine.last_seq, engine.wal_full, refused, engine.notes())

    def _page(
        self, query: Load | LedgerQuery | LedgerLook | PlacesQuery
    ) -> LoadedPage | LedgerPage | LedgerRows | PlacesPage:
        engine = self._engine
        if isinstance(query, LedgerLook):
            rows = engine.ledger_rows(query.pipeline, query.lane, query.source, query.identities)
            return LedgerRows(query.pipeline, query.source, query.lane, query.number, rows, engine.last_seq)
        if isinstance(query, Load):
            items, cursor = engine.load(query.cursor)
            return LoadedPage(query.epoch, items, cursor, query.cursor)
        asked = (query.pipeline, query.source, query.lane, query.cursor)
        if isinstance(query, PlacesQuery):
            reached, cursor = engine.places(
                query.pipeline, query.lane, query.source, query.cursor, query.limit, query.through
            )
            return PlacesPage(*asked, reached, cursor, engine.last_seq, query.through)
        positions, cursor = engine.ledger(
            query.pipeline, query.lane, query.source, query.cursor, query.limit, query.through
        )
        return LedgerPage(*asked, positions, cursor, engine.last_seq, query.through)

    def _reply(self, request: Request) -> Reply:
        try:
            return Reply(request.id, 0, self._engine.answer(request.verb, request.params))
        except OdibiError as error:
            if self._engine.broken:
                raise
            return Reply(request.id, error.exit_code, error=str(error))

    def inputs(self) -> Mapping[Any, Callable[[], Iterable[tuple[str, Message]]]]:
        """None: the store listens to its link only."""
        return {}

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()
