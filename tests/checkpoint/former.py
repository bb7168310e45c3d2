"""Databases of former formats, as those releases made them."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec

from odibi_actors.checkpoint import seals, transaction
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.checkpoint.schema import counting, seal, sealed, sealing, unseal
from odibi_actors.checkpoint.seals import Mark
from odibi_actors.sources.file_position import file_times

FORMAT_2 = """
PRAGMA application_id = 219880135;
PRAGMA user_version = 2;
BEGIN;
CREATE TABLE meta (               -- one row; claim_seq is last_seq at the time of the claim of this epoch
  id INTEGER PRIMARY KEY CHECK (id = 1),
  store_id TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  claimant TEXT NOT NULL,
  claim_seq INTEGER NOT NULL,
  last_seq INTEGER NOT NULL);
CREATE TABLE versions (
  pipeline TEXT NOT NULL, version INTEGER NOT NULL, payload BLOB NOT NULL,
  PRIMARY KEY (pipeline, version)) WITHOUT ROWID;
CREATE TABLE schemas (
  pipeline TEXT NOT NULL, node TEXT NOT NULL, payload BLOB NOT NULL,
  PRIMARY KEY (pipeline, node)) WITHOUT ROWID;
CREATE TABLE settings (
  scope TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
  PRIMARY KEY (scope, name)) WITHOUT ROWID;
CREATE TABLE runs (
  run TEXT NOT NULL PRIMARY KEY, pipeline TEXT NOT NULL, cause TEXT NOT NULL, at REAL NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('active', 'done', 'failed', 'no_data')), ended REAL,
  planned INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE INDEX active ON runs (run) WHERE state = 'active';
CREATE TABLE counters (           -- positions: rows of the pipeline in the ledger
  pipeline TEXT NOT NULL PRIMARY KEY,
  last_iteration INTEGER NOT NULL DEFAULT 0, last_committed INTEGER NOT NULL DEFAULT 0,
  committed INTEGER NOT NULL DEFAULT 0, positions INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE iterations (         -- sources: JSON list of read nodes; node, error, failures: why it failed
  pipeline TEXT NOT NULL, iteration INTEGER NOT NULL, lane TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('planned', 'running', 'failed', 'prepared', 'blocked', 'committed',
                                       'dead_lettered', 'cancelled', 'rewound')),
  version INTEGER NOT NULL, run TEXT NOT NULL, planned_at REAL NOT NULL, finished_at REAL,
  positions INTEGER NOT NULL, sources TEXT NOT NULL, node TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '',
  failures BLOB, sinks BLOB, states BLOB, abandoned TEXT NOT NULL DEFAULT '[]',
  PRIMARY KEY (pipeline, iteration)) WITHOUT ROWID;
CREATE INDEX unfinished ON iterations (pipeline, iteration)
  WHERE state NOT IN ('committed', 'dead_lettered', 'cancelled', 'rewound');
CREATE TABLE plans (              -- the Plan as revised: also the pins of `batch` positions
  pipeline TEXT NOT NULL, iteration INTEGER NOT NULL, payload BLOB NOT NULL,
  PRIMARY KEY (pipeline, iteration)) WITHOUT ROWID;
CREATE TABLE ledger (             -- never pruned; inode as a signed 64-bit number
  pipeline TEXT NOT NULL, lane TEXT NOT NULL, source TEXT NOT NULL, identity TEXT NOT NULL,
  generation INTEGER NOT NULL, iteration INTEGER NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
  inode INTEGER NOT NULL, digest TEXT NOT NULL, revised INTEGER NOT NULL DEFAULT 0 CHECK (revised IN (0, 1)),
  PRIMARY KEY (pipeline, lane, source, identity, generation)) WITHOUT ROWID;
CREATE TABLE acks (
  pipeline TEXT NOT NULL, iteration INTEGER NOT NULL, node TEXT NOT NULL, seq INTEGER NOT NULL,
  rows_out INTEGER NOT NULL, payload BLOB NOT NULL,
  PRIMARY KEY (pipeline, iteration, node)) WITHOUT ROWID;
CREATE TABLE states (             -- what stateful nodes have kept as of committed iterations
  pipeline TEXT NOT NULL, node TEXT NOT NULL, iteration INTEGER NOT NULL, payload BLOB NOT NULL,
  PRIMARY KEY (pipeline, node, iteration)) WITHOUT ROWID;
CREATE TABLE rewinds (pipeline TEXT NOT NULL PRIMARY KEY, payload BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE errors (             -- live: counts as the node's newest failed try unless a later ack stands
  pipeline TEXT NOT NULL, iteration INTEGER NOT NULL, node TEXT NOT NULL, seq INTEGER NOT NULL,
  live INTEGER NOT NULL CHECK (live IN (0, 1)), payload BLOB NOT NULL,
  PRIMARY KEY (pipeline, iteration, node, seq)) WITHOUT ROWID;
CREATE TABLE dead_letters (       -- position "" and revised 0: the whole iteration; replay: the one that takes it up
  id INTEGER PRIMARY KEY AUTOINCREMENT, replay INTEGER NOT NULL DEFAULT 0,
  state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'replaying', 'replayed')),
  pipeline TEXT NOT NULL, iteration INTEGER NOT NULL, node TEXT NOT NULL,
  position TEXT NOT NULL, revised INTEGER NOT NULL CHECK (revised IN (0, 1)), kind TEXT NOT NULL,
  message TEXT NOT NULL, at REAL NOT NULL, payload BLOB NOT NULL);
CREATE INDEX dead_letters_of ON dead_letters (pipeline, iteration, revised);
CREATE INDEX replaying ON dead_letters (pipeline, replay) WHERE state = 'replaying';
INSERT INTO meta VALUES (1, ':store_id:', 0, '', 0, 0);
COMMIT;
"""
"""The tables of format 2."""

FORMAT_3 = """
PRAGMA application_id = 219880135;
PRAGMA user_version = 3;
BEGIN;
CREATE TABLE meta (               -- one row; claim_seq is last_seq at the time of the claim of this epoch
  id INTEGER PRIMARY KEY CHECK (id = 1),
  store_id TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  claimant TEXT NOT NULL,
  claim_seq INTEGER NOT NULL,
  last_seq INTEGER NOT NULL);
CREATE TABLE versions (
  pipeline TEXT NOT NULL, version INTEGER NOT NULL, payload BLOB NOT NULL,
  PRIMARY KEY (pipeline, version)) WITHOUT ROWID;
CREATE TABLE schemas (
  pipeline TEXT NOT NULL, node TEXT NOT NULL, payload BLOB NOT NULL,
  PRIMARY KEY (pipeline, node)) WITHOUT ROWID;
CREATE TABLE settings (
  scope TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
  PRIMARY KEY (scope, name)) WITHOUT ROWID;
CREATE TABLE runs (               -- seq, ended: as of RUN and RUNEND; payload: the Trigger, NULL if there is none
  seq INTEGER PRIMARY KEY, run TEXT NOT NULL UNIQUE, pipeline TEXT NOT NULL, cause TEXT NOT NULL, at REAL NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('active', 'done', 'failed', 'no_data', 'cancelled')), ended REAL,
  planned INTEGER NOT NULL DEFAULT 0, cancelled INTEGER NOT NULL DEFAULT 0, lane TEXT NOT NULL DEFAULT 'live',
  schedule TEXT NOT NULL DEFAULT '', occurrence TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '', payload BLOB);
CREATE INDEX runs_of ON runs (pipeline, state);
CREATE INDEX runs_in ON runs (state);
CREATE INDEX runs_ended ON runs (pipeline, ended) WHERE ended IS NOT NULL;
CREATE INDEX runs_old ON runs (ended) WHERE ended IS NOT NULL;
CREATE TABLE schedules (          -- never pruned; reasons, seen: JSON objects; payload: the newest SCHEDULE
  pipeline TEXT NOT NULL, name TEXT NOT NULL, due INTEGER NOT NULL, wall TEXT NOT NULL,
  gone INTEGER NOT NULL CHECK (gone IN (0, 1)), started INTEGER NOT NULL DEFAULT 0, skipped INTEGER NOT NULL DEFAULT 0,
  reasons TEXT NOT NULL DEFAULT '{}', seen TEXT NOT NULL DEFAULT '{}', last TEXT NOT NULL DEFAULT '',
  last_run TEXT NOT NULL DEFAULT '', payload BLOB NOT NULL,
  PRIMARY KEY (pipeline, name)) WITHOUT ROWID;
CREATE TABLE occurrences (        -- seq: of OCCURRENCE, or of a SKIP of what was not noted before (no payload)
  seq INTEGER PRIMARY KEY, pipeline TEXT NOT NULL, schedule TEXT NOT NULL, id TEXT NOT NULL, first TEXT NOT NULL,
  due REAL NOT NULL, at REAL NOT NULL, state TEXT NOT NULL CHECK (state IN ('waiting', 'started', 'skipped')),
  run TEXT NOT NULL DEFAULT '', reason TEXT NOT NULL DEFAULT '', count INTEGER NOT NULL DEFAULT 1, payload BLOB);
CREATE UNIQUE INDEX noted ON occurrences (pipeline, schedule, id) WHERE state <> 'skipped';
CREATE INDEX waiting ON occurrences (seq) WHERE state = 'waiting';
CREATE INDEX occurrences_of ON occurrences (pipeline, schedule, state);
CREATE INDEX occurrences_in ON occurrences (pipeline, state);
CREATE TABLE backfills (          -- planned: iterations; positions: those planned and not released
  pipeline TEXT NOT NULL, lane TEXT NOT NULL, run TEXT NOT NULL, at REAL NOT NULL,
  state TEXT NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'done', 'no_data', 'cancelled')), ended REAL,
  planned INTEGER NOT NULL DEFAULT 0, committed INTEGER NOT NULL DEFAULT 0, positions INTEGER NOT NULL DEFAULT 0,
  payload BLOB NOT NULL,
  PRIMARY KEY (pipeline, lane)) WITHOUT ROWID;
CREATE TABLE alerts (             -- told_at: NULL until ALERTED
  id INTEGER PRIMARY KEY, pipeline TEXT NOT NULL, at REAL NOT NULL, told_at REAL, error TEXT NOT NULL DEFAULT '',
  payload BLOB NOT NULL);
CREATE INDEX untold ON alerts (id) WHERE told_at IS NULL;
CREATE INDEX alerts_of ON alerts (pipeline);
CREATE INDEX alerts_told ON alerts (told_at) WHERE told_at IS NOT NULL;
CREATE TABLE counters (           -- positions: rows of the pipeline in the ledger
  pipeline TEXT NOT NULL PRIMARY KEY,
  last_iteration INTEGER NOT NULL DEFAULT 0, last_committed INTEGER NOT NULL DEFAULT 0,
  committed INTEGER NOT NULL DEFAULT 0, positions INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE iterations (         -- sources: JSON list of read nodes; node, error, failures: why it failed
  pipeline TEXT NOT NULL, iteration INTEGER NOT NULL, lane TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('planned', 'running', 'failed', 'prepared', 'blocked', 'committed',
                                       'dead_lettered', 'cancelled', 'rewound')),
  version INTEGER NOT NULL, run TEXT NOT NULL, planned_at REAL NOT NULL, finished_at REAL,
  positions INTEGER NOT NULL, sources TEXT NOT NULL, node TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '',
  failures BLOB, sinks BLOB, states BLOB, abandoned TEXT NOT NULL DEFAULT '[]',
  PRIMARY KEY (pipeline, iteration)) WITHOUT ROWID;
CREATE INDEX unfinished ON iterations (pipeline, iteration)
  WHERE state NOT IN ('committed', 'dead_lettered', 'cancelled', 'rewound');
CREATE TABLE plans (              -- the Plan as revised: also the pins of `batch` positions
  pipeline TEXT NOT NULL, iteration INTEGER NOT NULL, payload BLOB NOT NULL,
  PRIMARY KEY (pipeline, iteration)) WITHOUT ROWID;
CREATE TABLE ledger (             -- never pruned; inode as a signed 64-bit number
  pipeline TEXT NOT NULL, lane TEXT NOT NULL, source TEXT NOT NULL, identity TEXT NOT NULL,
  generation INTEGER NOT NULL, iteration INTEGER NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
  inode INTEGER NOT NULL, digest TEXT NOT NULL, revised INTEGER NOT NULL DEFAULT 0 CHECK (revised IN (0, 1)),
  PRIMARY KEY (pipeline, lane, source, identity, generation)) WITHOUT ROWID;
CREATE TABLE acks (
  pipeline TEXT NOT NULL, iteration INTEGER NOT NULL, node TEXT NOT NULL, seq INTEGER NOT NULL,
  rows_out INTEGER NOT NULL, payload BLOB NOT NULL,
  PRIMARY KEY (pipeline, iteration, node)) WITHOUT ROWID;
CREATE TABLE states (             -- what stateful nodes have kept as of committed iterations
  pipeline TEXT NOT NULL, node TEXT NOT NULL, iteration INTEGER NOT NULL, payload BLOB NOT NULL,
  PRIMARY KEY (pipeline, node, iteration)) WITHOUT ROWID;
CREATE TABLE rewinds (pipeline TEXT NOT NULL PRIMARY KEY, payload BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE errors (             -- live: counts as the node's newest failed try unless a later ack stands
  pipeline TEXT NOT NULL, iteration INTEGER NOT NULL, node TEXT NOT NULL, seq INTEGER NOT NULL,
  live INTEGER NOT NULL CHECK (live IN (0, 1)), payload BLOB NOT NULL,
  PRIMARY KEY (pipeline, iteration, node, seq)) WITHOUT ROWID;
CREATE TABLE dead_letters (       -- position "" and revised 0: the whole iteration; replay: the one that takes it up
  id INTEGER PRIMARY KEY AUTOINCREMENT, replay INTEGER NOT NULL DEFAULT 0,
  state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'replaying', 'replayed')),
  pipeline TEXT NOT NULL, iteration INTEGER NOT NULL, node TEXT NOT NULL,
  position TEXT NOT NULL, revised INTEGER NOT NULL CHECK (revised IN (0, 1)), kind TEXT NOT NULL,
  message TEXT NOT NULL, at REAL NOT NULL, payload BLOB NOT NULL);
CREATE INDEX dead_letters_of ON dead_letters (pipeline, iteration, revised);
CREATE INDEX replaying ON dead_letters (pipeline, replay) WHERE state = 'replaying';
INSERT INTO meta VALUES (1, ':store_id:', 0, '', 0, 0);
COMMIT;
"""
"""The tables of format 3."""

TO_1 = (
    "DROP TABLE states; DROP TABLE rewinds; DROP INDEX replaying; PRAGMA user_version = 1;"
    "ALTER TABLE iterations DROP COLUMN states; ALTER TABLE iterations DROP COLUMN abandoned;"
    "ALTER TABLE dead_letters DROP COLUMN state; ALTER TABLE dead_letters DROP COLUMN replay;"
)
"""What makes tables of format 2 those of format 1."""


LEDGER_9 = """
DROP TABLE ranges;
DROP TABLE places;
DROP TABLE ledger;
CREATE TABLE ledger (             -- never pruned; inode signed; digest: '' or 16 bytes
  pipeline TEXT NOT NULL, lane TEXT NOT NULL, source TEXT NOT NULL, identity TEXT NOT NULL,
  generation INTEGER NOT NULL, iteration INTEGER NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
  inode INTEGER NOT NULL, digest TEXT NOT NULL, revised INTEGER NOT NULL DEFAULT 0 CHECK (revised IN (0, 1)),
  ctime_ns INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (pipeline, lane, source, identity, generation)) WITHOUT ROWID;
""" + counting("ledger", "140 + length({0}.source) + length({0}.identity)", "")


def to_9(db: sqlite3.Connection) -> sqlite3.Connection:
    """Make tables and payloads of format 10 those of format 9, in which a position was a file; returns ``db``."""
    names = "pipeline, lane, source, identity, generation, iteration, size, digest, revised, detail"
    rows = db.execute(f"SELECT {names} FROM ledger").fetchall()
    db.executescript(LEDGER_9)
    db.execute("UPDATE sizes SET rows = 0, bytes = 0 WHERE name = 'ledger'")
    for *row, digest, revised, detail in rows:
        mtime_ns, inode, ctime_ns = file_times(detail)
        inode -= (inode >> 63) << 64
        db.execute(
            "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*row, mtime_ns, inode, digest, revised, ctime_ns),
        )

    def by_source(value: Any, name: Any) -> None:
        value[name] = {source: [_file(one) for one in some] for source, some in value[name].items()}

    def listed(value: Any, name: str) -> None:
        value[name] = [_file(one) for one in value[name]]

    def read(value: Any, _name: str) -> None:
        value["files"] = [[digest, file_times(detail).ctime_ns] for digest, detail, _rows in value["files"]]

    _change(db, "plans", "payload", "positions", by_source)
    _change(db, "acks", "payload", "files", read)
    _change(db, "occurrences", "payload", "positions", listed)
    _change(db, "dead_letters", "payload", 1, by_source)
    _change(db, "iterations", "summary", 1, by_source)
    db.execute("PRAGMA user_version = 9")
    return db


def _change(db: sqlite3.Connection, table: str, column: str, name: object, change: Callable[[Any, Any], None]) -> None:
    for key, blob in db.execute(f"SELECT rowid, {column} FROM {table} WHERE {column} IS NOT NULL").fetchall():
        data = sealed(blob, table)
        value = msgspec.msgpack.decode(zlib.decompress(data) if column == "summary" else data)
        change(value, name)
        data = msgspec.msgpack.encode(value)
        data = sealing(zlib.compress(data) if column == "summary" else data)
        db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (data, key))


def _file(position: list[Any]) -> list[Any]:
    """As former releases wrote it."""
    identity, size, _rows, generation, digest, detail = position
    mtime_ns, inode, ctime_ns = file_times(detail)
    return [identity, size, mtime_ns, inode, generation, digest, ctime_ns]


STORES = Path(__file__).parent / "stores"
"""Dumps of stores that former releases have made, by the name of their format."""


def stored(name: str, path: Path) -> None:
    """Put a store that a former release has made at ``path``, sealed."""
    db = opened(path)
    db.execute("PRAGMA journal_mode = WAL")
    db.executescript((STORES / f"{name}.sql").read_text())
    db.close()
    resealed(path)


def opened(path: Path) -> sqlite3.Connection:
    """The database, as any SQLite file."""
    return sqlite3.connect(path, isolation_level=None)


def resealed(path: Path) -> None:
    """Its seals are of what it holds now."""
    db = opened(path)
    mark = Mark(*db.execute("SELECT epoch, last_seq FROM meta").fetchone())
    db.close()
    path.with_name(path.name + seals.SUFFIX).unlink(missing_ok=True)
    seals.create(path, path, mark)


TO_9 = ""
"""What makes tables of format 9 those of format 9: ``take_back`` does the rest."""

TO_8 = "DROP TABLE adoptions; PRAGMA user_version = 8;"
"""What makes tables of format 9 those of format 8."""

TO_7 = TO_8 + "DROP TABLE home; PRAGMA user_version = 7;"
"""What makes tables of format 9 those of format 7."""

TO_6 = (
    TO_7 + "ALTER TABLE counters DROP COLUMN commits; ALTER TABLE counters DROP COLUMN newest; PRAGMA user_version = 6;"
)
"""What makes tables of format 9 those of format 6."""

TO_5 = (
    TO_6
    + "DROP TABLE given_back; ALTER TABLE iterations DROP COLUMN taken;"
    + "".join(
        f"ALTER TABLE runs DROP COLUMN {name};"
        for name in ("most", "upto", "taken", "took", "took_cancelled", "voided", "aside", "unread")
    )
    + "PRAGMA user_version = 5;"
)
"""What makes tables of format 9 those of format 5."""

TO_4 = TO_5 + (
    "DROP TRIGGER ledger_in; DROP TRIGGER ledger_out; ALTER TABLE ledger DROP COLUMN ctime_ns;"
    "UPDATE ledger SET digest = ''; PRAGMA user_version = 4;"
    "UPDATE sizes SET bytes = (SELECT sum(110 + length(source) + length(identity)) FROM ledger) WHERE name = 'ledger';"
    + counting("ledger", "110 + length({0}.source) + length({0}.identity)", "")
)
"""What makes tables of format 9 those of format 4."""


def take_back(db: sqlite3.Connection, script: str) -> None:
    """Make a database of ours one of a former format: ``script`` is one of the above."""
    targets_are_texts(db)
    to_9(db).executescript(script)


def targets_are_texts(db: sqlite3.Connection) -> None:
    """Parts and targets as formats up to 9 had them."""
    for table, key, column, change in (
        ("acks", "seq", "payload", _of_ack),
        ("iterations", "pipeline || iteration", "sinks", lambda sinks: [_of_part(part) for part in sinks.values()]),
        ("schemas", "pipeline || node", "payload", _of_record),
        ("adoptions", "seq", "payload", _of_record),
        ("rewinds", "pipeline", "payload", _of_rewind),
    ):
        if not _has(db, table, column):
            continue
        for name, blob in db.execute(f"SELECT {key}, {column} FROM {table} WHERE {column} IS NOT NULL").fetchall():
            value = unseal(blob, msgspec.msgpack.Decoder(), table)
            change(value)
            db.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (seal(value), name))


def _has(db: sqlite3.Connection, table: str, column: str) -> bool:
    return column in [row[1] for row in db.execute(f"PRAGMA table_info({table})")]


def _of_ack(ack: dict[str, Any]) -> None:
    if ack.get("staged") is not None:
        _of_part(ack["staged"])


def _of_part(part: dict[str, Any]) -> None:
    at, published = part.pop("at"), part.pop("published")
    part["target"] = published or "#".join(at[1:])
    for name in ("exclusive", "retracts", "void"):
        part.pop(name, None)


def _of_record(record: dict[str, Any]) -> None:
    if (at := record.pop("target", None)) is not None:
        record["target"] = "#".join(at[1:]) if at[1] else at[2]


def _of_rewind(rewind: dict[str, Any]) -> None:
    for one in rewind["retractions"]:
        at = one.pop("target")
        one["folder"] = at[2]


@contextmanager
def whole() -> Iterator[None]:
    """Engines keep acks and plans of all iterations, as former releases did."""
    with mock.patch.object(transaction, "beyond", return_value=[]):
        yield


def downgrade(engine: Engine, path: Path, more: str = "", tables: str = FORMAT_2) -> None:
    """Write what an engine holds (see ``whole``) to a database of a former format; ``more`` is run on it afterwards. It
    gets seals, as formats from 2 on had them."""
    old = sqlite3.connect(":memory:", isolation_level=None)
    engine._db.backup(old)
    to_9(old)
    new = sqlite3.connect(path, isolation_level=None)
    new.execute("PRAGMA journal_mode = WAL")
    new.executescript(tables)
    new.execute("DELETE FROM meta")
    for (table,) in new.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        names = ", ".join(row[1] for row in new.execute(f"PRAGMA table_info({table})"))
        if names:
            rows = old.execute(f"SELECT {names} FROM {table}").fetchall()
            marks = ", ".join("?" * len(names.split(", ")))
            new.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)
    targets_are_texts(new)
    new.executescript(more)
    new.close()
    seals.create(path, path, Mark(engine.epoch, engine.last_seq))
