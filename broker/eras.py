"""How the schema of a source or sink changes by itself (``on_schema_change``): columns come, and are missing. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.arrow_types import parted
from odibi_actors.messages import NodeDone
from odibi_actors.model import SchemaChange


def grows(pin: rec.Schema, done: NodeDone) -> bool:
    """Whether a result has all pinned columns, in their order, and behind them some that are new to it. One that was
    made with a former pin has not: it lacks some, or has some that are void with what told them."""
    count = len(pin.text)
    more = {name for name, _ in map(parted, done.schema_text[count:])}
    new = {change.column for change in done.changes if change.change == "new"}
    return not pin.open and bool(more) and more <= new and done.schema_text[:count] == pin.text


class Changed(NamedTuple):
    """``pin``: as a result makes it; ``told``: what nobody has told before."""

    pin: rec.Schema
    told: list[SchemaChange]


def changed(pin: rec.Schema, done: NodeDone, now: float, unsure: Callable[[int], bool]) -> Changed | None:
    """The pin as this result makes it, with what is new in its history; None where nothing is. That a column is
    missing, or goes elsewhere, is told once; and kept once more of an iteration that may be all that is left of those
    that had it: the others come later, or may come to nothing (``unsure``)."""
    tellers: dict[tuple[str, str], list[int]] = {(name, "new"): [] for name, _ in map(parted, pin.text)}
    for era in pin.history:
        for change in era.changes:
            tellers.setdefault((change.column, change.change), []).append(era.iteration)
    grown = bool(done.schema) and grows(pin, done)
    of = [(one, tellers.get((one.column, one.change))) for one in done.changes]
    fresh = [one for one, by in of if by is None and (grown or one.change != "new")]
    own = [one for one, by in of if by and one.change != "new" and all(map(_passing(done.iteration, unsure), by))]
    if not fresh and not own:
        return None
    count = len(pin.text)
    era = rec.Era(done.iteration, now, [*own, *fresh], pin.arrow if grown else b"", count)
    pin = replace(pin, history=[*pin.history, era][-rec.MAX_ERAS :])
    if grown:
        notes = [*pin.notes, *[""] * (count - len(pin.notes)), *done.schema_notes] if pin.target is None else []
        pin = replace(pin, arrow=done.schema, text=done.schema_text, notes=notes)
    return Changed(pin, fresh)


def _passing(iteration: int, unsure: Callable[[int], bool]) -> Callable[[int], bool]:
    """Whether another iteration may go while this one stays."""
    return lambda number: number > iteration or (number != iteration and unsure(number))


def prepared(pin: rec.Schema, iteration: int, unsure: Callable[[int], bool]) -> rec.Schema:
    """The pin once this iteration, made with it, goes on for good: columns that one has told which may come to nothing,
    or comes later, are its own from here on."""

    def passes_on(era: rec.Era) -> bool:
        return bool(era.before) and (era.iteration > iteration or unsure(era.iteration))

    if not any(map(passes_on, pin.history)):
        return pin
    history = [replace(era, iteration=iteration) if passes_on(era) else era for era in pin.history]
    return replace(pin, history=history)


def shown(pin: rec.Schema) -> str:
    """The command that shows its history."""
    return f"{'source' if pin.target is None else 'sink'} show {pin.pipeline}.{pin.node}"
