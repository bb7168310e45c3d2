"""From format 9 to 10: a position was a file, with its times and inode as fields of their own; they are its ``detail``.

Positions lie in the ledger, and sealed in plans, summaries, letters, occurrences and acknowledgements.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import msgspec

from odibi_actors.checkpoint import schema, twins
from odibi_actors.checkpoint.rewriting import opened, rewrite
from odibi_actors.model import LIVE
from odibi_actors.sources.file_position import FileTimes

_LEDGER = f"""
DROP TRIGGER ledger_in;
DROP TRIGGER ledger_out;
ALTER TABLE ledger RENAME TO former_ledger;
{schema.LEDGER}
INSERT INTO ledger SELECT pipeline, lane, source, identity, generation, iteration, size, -1, digest, revised,
  file_detail(mtime_ns, inode, ctime_ns) FROM former_ledger;
DROP TABLE former_ledger;
{twins.INDEX}
{schema.RANGES}
UPDATE sizes SET bytes = (SELECT coalesce(sum({schema.COUNTED["ledger"][0].format("ledger")}), 0) FROM ledger)
  WHERE name = 'ledger';
"""


def upgrade(db: sqlite3.Connection, script: Callable[[sqlite3.Connection, str], None]) -> None:
    """Inside the transaction that is open; ``script`` runs statements in it. Raises StoreError (damaged)."""
    db.create_function("file_detail", 3, _detail, deterministic=True)
    script(db, _LEDGER + schema.counting("ledger", *schema.COUNTED["ledger"]))
    # Acks first: what they have read is told by the times in their plans.
    rewrite(db, "acks", "pipeline, iteration, node", "payload", _Acks(db))
    rewrite(db, "plans", "pipeline, iteration", "payload", _Positions(db, "pipeline, iteration", "positions"))
    rewrite(db, "occurrences", "seq", "payload", lambda _key, value: _listed(value, "positions"))
    rewrite(db, "dead_letters", "id", "payload", _Letters(db))
    rewrite(db, "iterations", "id", "summary", _Positions(db, "id", 1), packed=True)


def _position(file: list[Any]) -> list[Any]:
    """A position as it is now, of what was ``[identity, size, mtime, inode, generation, digest, ctime]``."""
    whole = [*file, *(1, "", 0)[len(file) - 4 :]]
    identity, size, mtime_ns, inode, generation, digest, ctime_ns = whole
    return [identity, size, -1, generation, digest, _detail(mtime_ns, inode, ctime_ns)]


def _detail(mtime_ns: int, inode: int, ctime_ns: int) -> bytes:
    return FileTimes(mtime_ns, inode, ctime_ns).packed()


def _by_source(holder: Any, name: Any) -> bool:
    """Positions by source in a field."""
    holder[name] = {source: [_position(one) for one in some] for source, some in holder[name].items()}
    return any(holder[name].values())


def _listed(holder: Any, name: str) -> bool:
    holder[name] = [_position(one) for one in holder.get(name, [])]
    return bool(holder[name])


class _Positions:
    """Those of an iteration, in a field of its plan or of its summary. References among them are not counted now."""

    def __init__(self, db: sqlite3.Connection, keys: str, field: Any) -> None:
        self._db, self._field = db, field
        self._where = " AND ".join(f"{key} = ?" for key in keys.split(", "))

    def __call__(self, key: tuple[Any, ...], holder: Any) -> bool:
        """Change them; returns whether there are any."""
        changed = _by_source(holder, self._field)
        row = self._db.execute(f"SELECT sources FROM iterations WHERE {self._where}", key).fetchone()
        if row is not None:
            count = sum(len(holder[self._field].get(source, ())) for source in msgspec.json.decode(row[0]))
            self._db.execute(f"UPDATE iterations SET positions = ? WHERE {self._where}", (count, *key))
        return changed


class _Letters:
    """Those of a dead letter, which says of which sources they are: those that the ledger has of its iteration."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __call__(self, key: tuple[Any, ...], letter: Any) -> bool:
        """Change them; returns whether there are any."""
        sources = self._db.execute(
            "SELECT DISTINCT source FROM ledger JOIN dead_letters USING (pipeline, iteration) WHERE id = ?"
            " AND lane = ? AND (dead_letters.revised = 0 OR source = node) ORDER BY source",
            (*key, LIVE),
        )
        letter += [*([], {})[len(letter) - 2 :], [source for (source,) in sources]]
        return _by_source(letter, 1)


class _Acks:
    """What a node has read was [digest, ctime] of each position of its plan, in their order."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._key: tuple[Any, ...] = ()
        self._positions: dict[str, list[Any]] = {}

    def __call__(self, key: tuple[Any, ...], ack: Any) -> bool:
        """Change the ack; returns whether it has read anything."""
        if not ack.get("files"):
            return False
        if self._key != key[:2]:
            row = self._db.execute("SELECT payload FROM plans WHERE pipeline = ? AND iteration = ?", key[:2]).fetchone()
            plan = opened(row[0], f"plan of {key[0]} {key[1]}") if row is not None else {}
            self._key, self._positions = key[:2], plan.get("positions", {})
        planned = self._positions.get(key[2], [])
        # One whose plan was revised since tells of more files than are planned: the ledger has what it has read.
        same = len(planned) == len(ack["files"])
        ack["files"] = [
            [digest, _detail(file[2], file[3], ctime_ns), -1]
            for (digest, ctime_ns), file in zip(ack["files"], planned, strict=False)
        ] if same else []  # fmt: skip
        return True
