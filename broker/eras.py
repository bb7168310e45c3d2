"""How the schema of a source or sink changes by itself (``on_schema_change``): columns come, and are missing. Pure."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.arrow_types import parted
from odibi_actors.messages import NodeDone


def grows(pin: rec.Schema, done: NodeDone) -> bool:
    """Whether a result has all pinned columns, in their order, and behind them some that are new to it. One that was
    made with a former pin has not: it lacks some, or has some that are void with what told them."""
    count = len(pin.text)
    more = {name for name, _ in map(parted, done.schema_text[count:])}
    new = {change.column for change in done.changes if change.change == "new"}
    return not pin.open and bool(more) and more <= new and done.schema_text[:count] == pin.text


def changed(pin: rec.Schema, done: NodeDone, now: float) -> rec.Schema | None:
    """The pin as this result makes it, with what is new in its history; None where nothing is. That a column is missing
    is told once."""
    known = {(change.column, change.change) for era in pin.history for change in era.changes}
    known |= {(name, "new") for name, _ in map(parted, pin.text)}  # by a result that was made beside this one
    grown = bool(done.schema) and grows(pin, done)
    fresh = [one for one in done.changes if (one.column, one.change) not in known and (grown or one.change != "new")]
    if not fresh:
        return None
    count = len(pin.text)
    era = rec.Era(done.iteration, now, fresh, pin.arrow if grown else b"", count)
    pin = replace(pin, history=[*pin.history, era][-rec.MAX_ERAS :])
    if not grown:
        return pin
    notes = [*pin.notes, *[""] * (count - len(pin.notes)), *done.schema_notes] if pin.target is None else []
    return replace(pin, arrow=done.schema, text=done.schema_text, notes=notes)


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
