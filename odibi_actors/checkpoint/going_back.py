"""What a rewind would take back, and what it leaves."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any, Final

import msgspec

from odibi_actors.checkpoint import adopted
from odibi_actors.checkpoint.asking import Name, Number, known
from odibi_actors.checkpoint.records import Schema
from odibi_actors.checkpoint.schema import unseal
from odibi_actors.checkpoint.snapshot import VersionDecoder
from odibi_actors.checkpoint.tables import SchemaDecoder, SinksDecoder
from odibi_actors.errors import ConfigError
from odibi_actors.model import LIVE, Target

LISTED: Final = 100
"""Dead letters whose numbers are told."""
REWIND_LIMIT = 100_000
"""Iterations that one rewind takes back: they are looked at one by one."""


class RewindTo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``rewind.show``: back to iteration ``to``; 0: to the beginning."""

    pipeline: Name
    to: Number


def _rewind(db: sqlite3.Connection, given: RewindTo) -> Any:
    """What a rewind would take back: ``{"to", "last", "states": {state: count}, "files", "missing", "retractions":
    [{"node", "folder", "at", "parts", "last", "replaced", "retracts"}]}``. ``at``: the target, which ``folder`` names;
    ``missing``: iterations whose history is pruned; ``last``: the newest iteration that has published there;
    ``replaced``: each of them in the place of the one before; ``retracts``: its parts can be taken back. A target has
    two rows where files were appended to it, and others overwritten.
    ``files``: those, and pieces of what is read in order, that live sources read again, each once; not references,
    which every iteration reads. ``letters``: dead letters that are ``open_again``, and that are ``gone``, each
    ``{"count", "ids"}`` with the first ids. ``unpinned``: nodes whose columns and types the next iteration tells.
    ``never_stateful``: nodes that keep state, or once did, and had none as of then."""
    key = (given.pipeline, given.to)
    row = db.execute("SELECT last_iteration FROM counters WHERE pipeline = ?", key[:1]).fetchone()
    if row is None:
        known(db, given.pipeline)
    last = row[0] if row else 0
    if last - given.to > REWIND_LIMIT:
        raise ConfigError(f"a rewind takes back {REWIND_LIMIT} iterations at most, this one {last - given.to}")
    states: dict[str, int] = {}
    places: dict[tuple[str, Target, bool], dict[str, Any]] = {}
    for number, state, sinks, abandoned in db.execute(
        "SELECT iteration, state, sinks, abandoned FROM iterations WHERE pipeline = ? AND iteration > ?"
        " ORDER BY iteration",
        key,
    ):
        states[state] = states.get(state, 0) + 1
        if state == "committed" and sinks is not None:
            for node, part in unseal(sinks, SinksDecoder, f"the sinks of {given.pipeline}").items():
                new = {"node": node, "folder": part.at.name, "at": msgspec.to_builtins(part.at), "given_up": []}
                new |= {"parts": 0, "last": 0, "replaced": False, "retracts": part.retracts}
                # Files that are taken back one by one are, whatever the sink has come to overwrite beside them.
                place = places.setdefault((node, part.at, part.retracts and not part.replaces), new)
                if node in json.loads(abandoned):
                    place["given_up"].append(number)
                else:
                    place |= {"parts": place["parts"] + 1, "last": number, "replaced": part.replaces}
    return {
        "to": given.to,
        "last": last,
        "states": states,
        "files": _files_again(db, given),
        "letters": _letters(db, given),
        "unpinned": [pin.node for pin in _pins(db, given.pipeline) if not pin.outlives(given.to)],
        "left": _left(db, given),
        "missing": max(0, last - given.to)
        - sum(states.values())
        - adopted.unused(adopted.load(db.execute), given.pipeline, given.to),
        "never_stateful": _never_stateful(db, given),
        "retractions": [place for place in places.values() if place["parts"]],
    }


def _files_again(db: sqlite3.Connection, given: RewindTo) -> int:
    """Live ones that were not planned before: a replay's are in their letter again, a backfill's are read by nobody."""
    (files,) = db.execute(
        "SELECT count(*) FROM (SELECT 1 FROM ledger WHERE pipeline = ? AND lane = ? GROUP BY source, identity"
        " HAVING min(iteration) > ?)",
        (given.pipeline, LIVE, given.to),
    ).fetchone()
    (pieces,) = db.execute(
        "SELECT count(*) FROM ranges WHERE pipeline = ? AND lane = ? AND iteration > ?",
        (given.pipeline, LIVE, given.to),
    ).fetchone()
    return int(files) + int(pieces)


def _letters(db: sqlite3.Connection, given: RewindTo) -> dict[str, Any]:
    """Those that iterations to be taken back took up are open again; those of such iterations are no more."""
    rows = db.execute(
        "SELECT id, iteration > ? FROM dead_letters WHERE pipeline = ? AND (iteration > ? AND state <> 'replayed' OR"
        " iteration <= ? AND replay > ? AND state <> 'open') ORDER BY id",
        (given.to, given.pipeline, given.to, given.to, given.to),
    )
    found: dict[bool, list[int]] = {False: [], True: []}
    for letter, later in rows:
        found[bool(later)].append(letter)
    return {
        name: {"count": len(found[later]), "ids": found[later][:LISTED]}
        for name, later in (("open_again", False), ("gone", True))
    }


def _pins(db: sqlite3.Connection, pipeline: str) -> list[Schema]:
    rows = db.execute("SELECT node, payload FROM schemas WHERE pipeline = ? ORDER BY node", (pipeline,))
    return [unseal(payload, SchemaDecoder, f"the schema of {node} of {pipeline}") for node, payload in rows]


def _never_stateful(db: sqlite3.Connection, given: RewindTo) -> list[str]:
    """Nodes that keep a state, or once did, and cannot have had one as of that iteration: all up to it had ended before
    the first version in which the node keeps one."""
    ended, planned = db.execute(
        "SELECT max(finished_at), max(version) FROM iterations WHERE pipeline = ? AND iteration <= ?",
        (given.pipeline, given.to),
    ).fetchone()
    since: dict[str, tuple[float, int]] = {}
    for (blob,) in db.execute("SELECT payload FROM versions WHERE pipeline = ? ORDER BY version", (given.pipeline,)):
        version = unseal(blob, VersionDecoder, f"a version of {given.pipeline}")
        stateful = [node.name for node in version.spec.nodes if node.state]
        since = dict.fromkeys(stateful, (version.at, version.version)) | since
    # By the clock, which may have been set, and by what they were planned with, which is not what they ended with.
    return [name for name, (at, first) in since.items() if ended is not None and at > ended and first > planned]


def _left(db: sqlite3.Connection, given: RewindTo) -> dict[str, int]:
    key = (given.pipeline, given.to)
    committed, last = db.execute(
        "SELECT count(*), coalesce(max(iteration), 0) FROM iterations WHERE pipeline = ? AND state = 'committed'"
        " AND iteration <= ?",
        key,
    ).fetchone()
    (after,) = db.execute(
        "SELECT count(*) FROM iterations WHERE pipeline = ? AND state = 'committed' AND iteration > ?", key
    ).fetchone()
    (total,) = db.execute("SELECT committed FROM counters WHERE pipeline = ?", key[:1]).fetchone() or (committed,)
    (letters,) = db.execute(
        "SELECT count(*) FROM dead_letters WHERE pipeline = ? AND iteration <= ?"
        " AND (state <> 'replayed' OR replay > ?)",
        (*key, given.to),
    ).fetchone()
    return {"committed": total - after, "last_committed": last, "letters": letters}


VERBS: dict[str, tuple[Callable[[sqlite3.Connection, Any], Any], type]] = {"rewind.show": (_rewind, RewindTo)}
