"""Databases of former formats brought up to ours, one step after the other, each in one transaction."""

from __future__ import annotations

import json
import re
import sqlite3
from typing import Any

import msgspec

from odibi_actors.checkpoint import packing_positions, schema
from odibi_actors.checkpoint.records import Ack, Plan
from odibi_actors.checkpoint.schema import FORMAT
from odibi_actors.checkpoint.summary import beyond, summarise
from odibi_actors.checkpoint.typing_targets import parts_say_what_they_are, targets_say_what_they_are

KEPT_WHOLE = 5
"""Iterations per pipeline that keep their outputs in the step to format 4: the default of ``checkpoint.keep_last``."""

MAX_VACUUM = 256_000_000
"""Bytes up to which a database is rewritten, so that from then on it gives space back: the log holds a copy of it
meanwhile. A larger one uses again what is free, and does not shrink."""

_ITERATIONS_2 = """\
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
"""

_RUNS_3 = """\
CREATE TABLE runs (               -- seq, ended: as of RUN and RUNEND; payload: the Trigger, NULL if there is none
  seq INTEGER PRIMARY KEY, run TEXT NOT NULL UNIQUE, pipeline TEXT NOT NULL, cause TEXT NOT NULL, at REAL NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('active', 'done', 'failed', 'no_data', 'cancelled')), ended REAL,
  planned INTEGER NOT NULL DEFAULT 0, cancelled INTEGER NOT NULL DEFAULT 0, lane TEXT NOT NULL DEFAULT 'live',
  schedule TEXT NOT NULL DEFAULT '', occurrence TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '', payload BLOB);
CREATE INDEX runs_of ON runs (pipeline, state);
CREATE INDEX runs_in ON runs (state);
CREATE INDEX runs_ended ON runs (pipeline, ended) WHERE ended IS NOT NULL;
CREATE INDEX runs_old ON runs (ended) WHERE ended IS NOT NULL;
"""

_ITERATIONS_4 = """\
CREATE TABLE iterations (         -- sources: JSON list of read nodes; node, error, failures: why it failed
  id INTEGER PRIMARY KEY, pipeline TEXT NOT NULL, iteration INTEGER NOT NULL, lane TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('planned', 'running', 'failed', 'prepared', 'blocked', 'committed',
                                       'dead_lettered', 'cancelled', 'rewound')),
  version INTEGER NOT NULL, run TEXT NOT NULL, planned_at REAL NOT NULL, finished_at REAL,
  positions INTEGER NOT NULL, sources TEXT NOT NULL, node TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '',
  failures BLOB, sinks BLOB, states BLOB, abandoned TEXT NOT NULL DEFAULT '[]',
  rows INTEGER,                   -- that its read nodes gave; with summary: what stands for its plan and its acks
  summary BLOB,
  UNIQUE (pipeline, iteration));
CREATE INDEX unfinished ON iterations (pipeline, iteration)
  WHERE state NOT IN ('committed', 'dead_lettered', 'cancelled', 'rewound');
CREATE INDEX whole ON iterations (pipeline, iteration)
  WHERE summary IS NULL AND state IN ('committed', 'cancelled', 'rewound');
CREATE INDEX finished ON iterations (finished_at) WHERE finished_at IS NOT NULL;
"""

_LEDGER_5 = "140 + length({0}.source) + length({0}.identity)"
"""Bytes of a row of the ledger, as formats 5 to 9 counted them."""

_SCRIPTS = {
    1: f"""
ALTER TABLE iterations RENAME TO former_iterations;
DROP INDEX unfinished;
{_ITERATIONS_2}
INSERT INTO iterations SELECT *, NULL, '[]' FROM former_iterations;
DROP TABLE former_iterations;
ALTER TABLE dead_letters RENAME TO former_letters;
DROP INDEX dead_letters_of;
{schema.LETTERS}
INSERT INTO dead_letters (id, pipeline, iteration, node, position, revised, kind, message, at, payload)
  SELECT id, pipeline, iteration, node, position, revised, kind, message, at, payload FROM former_letters;
DROP TABLE former_letters;
{schema.STATES}""",
    2: f"""
ALTER TABLE runs RENAME TO former_runs;
DROP INDEX active;
{_RUNS_3}
INSERT INTO runs (run, pipeline, cause, at, state, ended, planned, cancelled)
  SELECT f.run, f.pipeline, f.cause, f.at, f.state, f.ended, f.planned, coalesce(c.cancelled, 0)
  FROM former_runs AS f LEFT JOIN (SELECT pipeline, run, count(*) AS cancelled FROM iterations
    WHERE state = 'cancelled' AND run <> '' GROUP BY pipeline, run) AS c ON c.pipeline = f.pipeline AND c.run = f.run
  ORDER BY f.at, f.run;
DROP TABLE former_runs;
{schema.SCHEDULES}""",
    4: f"""
ALTER TABLE ledger ADD COLUMN ctime_ns INTEGER NOT NULL DEFAULT 0;
DROP TRIGGER ledger_in;
DROP TRIGGER ledger_out;
UPDATE sizes SET bytes = (SELECT coalesce(sum({_LEDGER_5.format("ledger")}), 0) FROM ledger) WHERE name = 'ledger';
{schema.counting("ledger", _LEDGER_5, "")}""",
    5: f"""
ALTER TABLE iterations ADD COLUMN taken TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN most INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN upto INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN taken TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN took INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN took_cancelled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN voided INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN aside INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN unread TEXT NOT NULL DEFAULT '';
UPDATE runs SET aside = (SELECT count(*) FROM dead_letters AS d JOIN iterations AS i ON i.pipeline = d.pipeline
  AND i.iteration = d.iteration WHERE d.pipeline = runs.pipeline AND i.run = runs.run) WHERE state = 'active';
{schema.GIVEN_BACK}""",
    6: """
ALTER TABLE counters ADD COLUMN commits INTEGER NOT NULL DEFAULT 0;
ALTER TABLE counters ADD COLUMN newest INTEGER NOT NULL DEFAULT 0;
UPDATE counters SET commits = last_committed, newest = last_committed;
""",
    7: schema.HOME,
    8: schema.ADOPTIONS,
}
"""Format -> what makes its tables those of the next."""

_TO_4 = f"""
ALTER TABLE counters ADD COLUMN pruned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE iterations RENAME TO former_iterations;
DROP INDEX unfinished;
{_ITERATIONS_4}
INSERT INTO iterations (pipeline, iteration, lane, state, version, run, planned_at, finished_at, positions, sources,
    node, error, failures, sinks, states, abandoned)
  SELECT pipeline, iteration, lane, state, version, run, planned_at, finished_at, positions, sources,
    node, error, failures, sinks, states, abandoned FROM former_iterations ORDER BY pipeline, iteration;
DROP TABLE former_iterations;
ALTER TABLE acks RENAME TO former_acks;
{schema.ACKS}
ALTER TABLE plans RENAME TO former_plans;
{schema.PLANS}
ALTER TABLE errors RENAME TO former_errors;
{schema.ERRORS}
INSERT INTO errors SELECT * FROM former_errors;
DROP TABLE former_errors;
"""

_WHOLE = (
    "INSERT INTO acks SELECT * FROM former_acks; INSERT INTO plans SELECT * FROM former_plans;"
    f"DROP TABLE former_acks; DROP TABLE former_plans; {schema.sizes({**schema.COUNTED, 'ledger': (_LEDGER_5, '')})}"
)


class _Ack(Ack, frozen=True, tag="ack"):
    """As formats before 10 had it: what was read of a file was another thing."""

    files: list[Any] = []


class _Plan(Plan, frozen=True, tag="plan"):
    """As formats before 10 had it: so was a position."""

    positions: dict[str, list[Any]]


_AckDecoder, _PlanDecoder = msgspec.msgpack.Decoder(_Ack), msgspec.msgpack.Decoder(_Plan)


def upgrade(db: sqlite3.Connection, *, rewrite: bool = True) -> None:
    """Bring the tables of an older format up to ours; ``rewrite``: and the file without what is free. Raises StoreError
    (damaged), sqlite3.Error."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    for before in range(version, FORMAT):
        db.execute("BEGIN IMMEDIATE")
        try:
            if before == 3:
                parts_say_what_they_are(db)  # before they are summarised: ours reads no others
                _to_4(db)
            elif before == 9:
                packing_positions.upgrade(db, _script)
            else:
                _script(db, _SCRIPTS[before])
            if before == 6:
                _to_7(db)
            elif before == 9:
                parts_say_what_they_are(db)
                targets_say_what_they_are(db)
            db.execute(f"PRAGMA user_version = {before + 1}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
    if version < FORMAT and rewrite:
        _give_back(db)


def _to_4(db: sqlite3.Connection) -> None:
    """Payloads move from tables that spill them into a page each, and what has ended well keeps a summary."""
    _script(db, _TO_4)
    pipelines = db.execute("SELECT pipeline FROM counters ORDER BY pipeline").fetchall()
    for (pipeline,) in pipelines:
        for key in beyond(db.execute, pipeline, KEPT_WHOLE, -1):
            summarise(db.execute, key, "former_acks", "former_plans", _AckDecoder, _PlanDecoder)
    _script(db, _WHOLE)


def _to_7(db: sqlite3.Connection) -> None:
    """Schedules count commits. They had the number of the iteration that they followed, as which the count begins; it
    may be above all that was left after a rewind."""
    commits = dict(db.execute("SELECT pipeline, commits FROM counters").fetchall())
    for pipeline, name, blob in db.execute("SELECT pipeline, name, seen FROM schedules WHERE seen <> '{}'").fetchall():
        seen = {one: min(number, commits.get(one, number)) for one, number in json.loads(blob).items()}
        db.execute("UPDATE schedules SET seen = ? WHERE pipeline = ? AND name = ?", (json.dumps(seen), pipeline, name))


def _script(db: sqlite3.Connection, text: str) -> None:
    """Run statements inside the transaction that is open: ``executescript`` would commit it first."""
    statement = ""
    for piece in re.split("(;)", text):
        statement += piece
        if piece == ";" and sqlite3.complete_statement(statement):
            db.execute(statement)
            statement = ""


def _give_back(db: sqlite3.Connection) -> None:
    """Rewrite the database without its free pages, and so that it can give them back from now on."""
    used, free, size = (
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    if (used - free) * size <= MAX_VACUUM:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("VACUUM")
