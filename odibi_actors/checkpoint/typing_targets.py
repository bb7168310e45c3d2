"""To format 10: parts and targets say what they are.

Up to format 9 a target was a text, a folder or ``<database path>#<table>``, which whoever wanted to know took apart;
and so was what a part becomes, a file or again such a text. This is the last place that does it.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from odibi_actors.checkpoint.rewriting import rewrite

_Value = dict[str, Any]
_Key = tuple[Any, ...]


def target(text: str) -> list[str]:
    """A target of former formats as ``model.Target`` has it. Other folders on the way may have a ``#`` in their names;
    no folder that a sink published to had one, and no table a ``/``."""
    place, mark, table = text.rpartition("#")
    return ["sqlite", place, table] if mark and "/" not in table else ["local", "", text]


def parts_say_what_they_are(db: sqlite3.Connection) -> None:
    """Staged parts, of acks and of prepared iterations. Those that do so already stay as they are. Raises StoreError,
    sqlite3.Error."""
    rewrite(db, "acks", "pipeline, iteration, node", "payload", _ack)
    rewrite(db, "iterations", "pipeline, iteration", "sinks", _sinks)


def targets_say_what_they_are(db: sqlite3.Connection) -> None:
    """Targets of pinned schemas, of adoptions and of rewinds under way. Raises StoreError, sqlite3.Error."""
    rewrite(db, "schemas", "pipeline, node", "payload", _target)
    rewrite(db, "adoptions", "seq", "payload", _target)
    rewrite(db, "rewinds", "pipeline", "payload", _rewind)


def _ack(_key: _Key, ack: _Value) -> bool:
    return ack.get("staged") is not None and _part(ack["staged"])


def _sinks(_key: _Key, parts: _Value) -> bool:
    changed = False
    for part in parts.values():
        changed |= _part(part)
    return changed


def _part(part: _Value) -> bool:
    if "at" in part:
        return False
    text = part.pop("target")
    sink, connection, locator = target(text)
    if sink == "local":  # it had the name of its file: a folder further up, where that is one of the part's own
        folder = text.rpartition("/")[0]
        locator = folder.rpartition("/")[0] if part.get("replaces") else folder
        part |= {"published": text, "exclusive": locator, "retracts": True}
    else:
        part |= {"published": "", "exclusive": connection}
    part["at"] = [sink, connection, locator]
    return True


def _target(_key: _Key, record: _Value) -> bool:
    """Of a source's schema there is none."""
    text = record.pop("target", "")
    if text:
        record["target"] = target(text)
    return True


def _rewind(_key: _Key, rewind: _Value) -> bool:
    for one in rewind["retractions"]:
        one["target"] = target(one.pop("folder"))
    return bool(rewind["retractions"])
