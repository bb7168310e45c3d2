"""Databases of former formats, as those releases made them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from odibi_actors.checkpoint import seals
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.checkpoint.seals import Mark

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

TO_1 = (
    "DROP TABLE states; DROP TABLE rewinds; DROP INDEX replaying; PRAGMA user_version = 1;"
    "ALTER TABLE iterations DROP COLUMN states; ALTER TABLE iterations DROP COLUMN abandoned;"
    "ALTER TABLE dead_letters DROP COLUMN state; ALTER TABLE dead_letters DROP COLUMN replay;"
)
"""What makes tables of format 2 those of format 1."""


def downgrade(engine: Engine, path: Path, more: str = "") -> None:
    """Write what an engine holds to a database of format 2; ``more`` is run on it afterwards. It gets seals, as format
    2 had them."""
    new = sqlite3.connect(path, isolation_level=None)
    new.executescript(FORMAT_2)
    new.execute("DELETE FROM meta")
    for (table,) in new.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        names = ", ".join(row[1] for row in new.execute(f"PRAGMA table_info({table})"))
        if names:
            rows = engine._db.execute(f"SELECT {names} FROM {table}").fetchall()
            marks = ", ".join("?" * len(names.split(", ")))
            new.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)
    new.executescript(more)
    new.close()
    seals.create(path, path, Mark(engine.epoch, engine.last_seq))
