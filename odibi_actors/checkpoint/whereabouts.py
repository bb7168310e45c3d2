"""What became of one file, for ``source why``; see ``queries`` for the rules of all questions."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import msgspec

from odibi_actors.checkpoint import aside
from odibi_actors.checkpoint.asking import MAX_ROWS, Name
from odibi_actors.checkpoint.schema import unseal
from odibi_actors.checkpoint.tables import LetterDecoder
from odibi_actors.runtime.visible import named
from odibi_actors.units import format_instant

GIVEN_UP = "under this name it is not read again; what is to be read needs a new name"


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``file.show``: where a file of a source stands."""

    pipeline: Name
    source: Name
    identity: str
    lane: str = "live"


def _file(db: sqlite3.Connection, given: File) -> Any:
    """``{"iteration", "state", "letter", "reason"}``; iteration 0: it was not planned, or is read in order, in pieces:
    then ``reason`` says what of it lies in dead letters. ``letter``: the dead letter in which it is, 0 for none.
    ``state``: that of its iteration, or ``dead_lettered`` or ``discarded`` where the file itself was set aside."""
    row = db.execute(
        "SELECT iteration, revised FROM ledger WHERE pipeline = ? AND lane = ? AND source = ? AND identity = ?"
        " ORDER BY generation DESC LIMIT 1",
        (given.pipeline, given.lane, given.source, given.identity),
    ).fetchone()
    if row is None:
        told = aside.of_partition(db, given.pipeline, given.source, given.lane, given.identity)
        return {"iteration": 0, "state": "", "letter": 0, "reason": told}
    number, revised = row
    found = db.execute(
        "SELECT state, finished_at, node, error FROM iterations WHERE pipeline = ? AND iteration = ?",
        (given.pipeline, number),
    ).fetchone()
    state, finished, node, error = found or ("pruned", None, "", "")
    letter = db.execute(
        "SELECT id, state, replay, message, position, payload FROM dead_letters WHERE pipeline = ? AND iteration = ?"
        " AND revised = ? AND (? = 0 OR position = ?) ORDER BY id DESC LIMIT 1",
        (given.pipeline, number, revised, revised, given.identity),
    ).fetchone()
    out = revised or state == "dead_lettered"
    if out:
        reason = _aside(number, letter and letter[:5], given.identity)
        if letter is not None and letter[1] == "open":
            held = unseal(letter[5], LetterDecoder, f"dead letter {letter[0]}")
            known = aside.there(db, given.pipeline)
            reason += f": {aside.remedy(known, held, number, not revised, letter[0])}"
        state = "discarded" if letter is None or letter[1] not in ("open", "replaying") else "dead_lettered"
    else:
        reason = _planned(given.pipeline, number, state, finished, node, error)
    is_open = out and letter is not None and letter[1] != "replayed"
    return {"iteration": number, "state": state, "letter": letter[0] if is_open else 0, "reason": reason}


def _aside(number: int, letter: tuple[int, str, int, str, str] | None, identity: str) -> str:
    if letter is None:
        return f"set aside in iteration {number}, and its dead letter was discarded: {GIVEN_UP}"
    id_, state, replay, message, at_fault = letter
    other = f"with {named(at_fault)}, which is at fault, " if at_fault not in ("", identity) else ""
    what = f"set aside {other}in iteration {number}, as dead letter {id_} ({message})"
    if state == "open":
        return what
    return f"{what}; iteration {replay} takes it up again" if state == "replaying" else f"{what}, which was discarded"


def _planned(pipeline: str, number: int, state: str, finished: float | None, node: str, error: str) -> str:
    at = f" at {format_instant(finished)}" if finished else ""
    show = f"`odibictl iteration show {pipeline} {number}`"
    match state:
        case "committed":
            return f"read in iteration {number}, committed{at}"
        case "pruned":
            return f"read in iteration {number}, whose history is pruned"
        case "failed" | "blocked":
            return f"planned in iteration {number}, which is {state} at {node}: {error} (see {show})"
    return f"planned in iteration {number}, which is {state} (see {show})"


class Discarded(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``source.discarded``: what was discarded of a source that is read in order."""

    pipeline: Name
    source: Name


def _discarded(db: sqlite3.Connection, given: Discarded) -> Any:
    """``{"positions": [position]}``, the oldest first, at most ``MAX_ROWS``."""
    return {"positions": [one.shown() for one in aside.discarded(db, given.pipeline, given.source)[:MAX_ROWS]]}


VERBS: dict[str, tuple[Callable[[sqlite3.Connection, Any], Any], type]] = {
    "file.show": (_file, File),
    "source.discarded": (_discarded, Discarded),
}
