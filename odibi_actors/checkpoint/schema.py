"""The tables of ``checkpoints.db``, format 10, and the sealed form of payloads.

``payload`` columns hold a record as msgpack followed by its xxh3-64 (8 bytes, big endian): SQLite has no page
checksums, so a flipped bit inside a row would otherwise be believed. Columns beside it repeat what is searched for.
No statement here needs SQLite newer than 3.24.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
import xxhash

from odibi_actors.checkpoint import twins
from odibi_actors.errors import StoreError

FORMAT = 10
"""``PRAGMA user_version``: raised with every change of the tables; a newer one is refused."""

APPLICATION_ID = 0x0D1B1AC7
"""``PRAGMA application_id``: tells our database from any other SQLite file."""

ITERATIONS = """\
CREATE TABLE iterations (         -- sources: JSON list of read nodes; node, error, failures: why it failed
  id INTEGER PRIMARY KEY, pipeline TEXT NOT NULL, iteration INTEGER NOT NULL, lane TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('planned', 'running', 'failed', 'prepared', 'blocked', 'committed',
                                       'dead_lettered', 'cancelled', 'rewound')),
  version INTEGER NOT NULL, run TEXT NOT NULL, planned_at REAL NOT NULL, finished_at REAL,
  positions INTEGER NOT NULL, sources TEXT NOT NULL, node TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '',
  failures BLOB, sinks BLOB, states BLOB, abandoned TEXT NOT NULL DEFAULT '[]',
  rows INTEGER,                   -- that its read nodes gave; with summary: what stands for its plan and its acks
  summary BLOB, taken TEXT NOT NULL DEFAULT '',
  UNIQUE (pipeline, iteration));
CREATE INDEX unfinished ON iterations (pipeline, iteration)
  WHERE state NOT IN ('committed', 'dead_lettered', 'cancelled', 'rewound');
CREATE INDEX whole ON iterations (pipeline, iteration)
  WHERE summary IS NULL AND state IN ('committed', 'cancelled', 'rewound');
CREATE INDEX finished ON iterations (finished_at) WHERE finished_at IS NOT NULL;
"""
PLANS = """\
CREATE TABLE plans (              -- the Plan as revised: also the pins of `batch` positions
  pipeline TEXT NOT NULL, iteration INTEGER NOT NULL, payload BLOB NOT NULL,
  PRIMARY KEY (pipeline, iteration));
"""
ACKS = """\
CREATE TABLE acks (               -- with the bytes of inline outputs; gone once their iteration has a summary
  pipeline TEXT NOT NULL, iteration INTEGER NOT NULL, node TEXT NOT NULL, seq INTEGER NOT NULL,
  rows_out INTEGER NOT NULL, payload BLOB NOT NULL,
  PRIMARY KEY (pipeline, iteration, node));
"""
ERRORS = """\
CREATE TABLE errors (             -- live: counts as the node's newest failed try unless a later ack stands
  pipeline TEXT NOT NULL, iteration INTEGER NOT NULL, node TEXT NOT NULL, seq INTEGER NOT NULL,
  live INTEGER NOT NULL CHECK (live IN (0, 1)), payload BLOB NOT NULL,
  PRIMARY KEY (pipeline, iteration, node, seq));
"""
LETTERS = """\
CREATE TABLE dead_letters (       -- position "" and revised 0: the whole iteration; replay: the one that takes it up
  id INTEGER PRIMARY KEY AUTOINCREMENT, replay INTEGER NOT NULL DEFAULT 0,
  state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'replaying', 'replayed')),
  pipeline TEXT NOT NULL, iteration INTEGER NOT NULL, node TEXT NOT NULL,
  position TEXT NOT NULL, revised INTEGER NOT NULL CHECK (revised IN (0, 1)), kind TEXT NOT NULL,
  message TEXT NOT NULL, at REAL NOT NULL, payload BLOB NOT NULL);
CREATE INDEX dead_letters_of ON dead_letters (pipeline, iteration, revised);
CREATE INDEX replaying ON dead_letters (pipeline, replay) WHERE state = 'replaying';
"""
STATES = """\
CREATE TABLE states (             -- what stateful nodes have kept as of committed iterations
  pipeline TEXT NOT NULL, node TEXT NOT NULL, iteration INTEGER NOT NULL, payload BLOB NOT NULL,
  PRIMARY KEY (pipeline, node, iteration)) WITHOUT ROWID;
CREATE TABLE rewinds (pipeline TEXT NOT NULL PRIMARY KEY, payload BLOB NOT NULL) WITHOUT ROWID;
"""
RUNS = """\
CREATE TABLE runs (               -- seq, ended: as of RUN and RUNEND; payload: the Trigger, NULL if there is none
  seq INTEGER PRIMARY KEY, run TEXT NOT NULL UNIQUE, pipeline TEXT NOT NULL, cause TEXT NOT NULL, at REAL NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('active', 'done', 'failed', 'no_data', 'cancelled')), ended REAL,
  planned INTEGER NOT NULL DEFAULT 0, cancelled INTEGER NOT NULL DEFAULT 0, lane TEXT NOT NULL DEFAULT 'live',
  schedule TEXT NOT NULL DEFAULT '', occurrence TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '', payload BLOB,
  most INTEGER NOT NULL DEFAULT 0, upto INTEGER NOT NULL DEFAULT 0, taken TEXT NOT NULL DEFAULT '',
  took INTEGER NOT NULL DEFAULT 0, took_cancelled INTEGER NOT NULL DEFAULT 0, voided INTEGER NOT NULL DEFAULT 0,
  aside INTEGER NOT NULL DEFAULT 0, unread TEXT NOT NULL DEFAULT '');
CREATE INDEX runs_of ON runs (pipeline, state);
CREATE INDEX runs_in ON runs (state);
CREATE INDEX runs_ended ON runs (pipeline, ended) WHERE ended IS NOT NULL;
CREATE INDEX runs_old ON runs (ended) WHERE ended IS NOT NULL;
"""
GIVEN_BACK = """\
CREATE TABLE given_back (         -- files that a cancel took from a run which has not planned them again
  run TEXT NOT NULL, source TEXT NOT NULL, identity TEXT NOT NULL,
  PRIMARY KEY (run, source, identity)) WITHOUT ROWID;
"""
SCHEDULES = """\
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
"""

LEDGER = """\
CREATE TABLE ledger (             -- never pruned; size, rows: -1 where not known; digest: '' or 16 bytes
  pipeline TEXT NOT NULL, lane TEXT NOT NULL, source TEXT NOT NULL, identity TEXT NOT NULL,
  generation INTEGER NOT NULL, iteration INTEGER NOT NULL, size INTEGER NOT NULL, rows INTEGER NOT NULL,
  digest TEXT NOT NULL, revised INTEGER NOT NULL DEFAULT 0 CHECK (revised IN (0, 1)), detail BLOB NOT NULL,
  PRIMARY KEY (pipeline, lane, source, identity, generation)) WITHOUT ROWID;
"""

RANGES = """\
CREATE TABLE ranges (             -- never pruned; hole: its position is a dead letter
  pipeline TEXT NOT NULL, lane TEXT NOT NULL, source TEXT NOT NULL, partition TEXT NOT NULL, lower BLOB NOT NULL,
  upper BLOB NOT NULL, iteration INTEGER NOT NULL, hole INTEGER NOT NULL CHECK (hole IN (0, 1)),
  PRIMARY KEY (pipeline, lane, source, partition, lower)) WITHOUT ROWID;
CREATE INDEX ranges_of ON ranges (pipeline, iteration);
CREATE TABLE places (             -- how far each partition was read: see ``ranges``
  pipeline TEXT NOT NULL, lane TEXT NOT NULL, source TEXT NOT NULL, partition TEXT NOT NULL, place BLOB NOT NULL,
  PRIMARY KEY (pipeline, lane, source, partition)) WITHOUT ROWID;
"""

HOME = """\
CREATE TABLE home (               -- one row, or none yet: where the store was when it was opened last, see relocating
  data_dir TEXT NOT NULL, root TEXT NOT NULL);
"""

ADOPTIONS = """\
CREATE TABLE adoptions (          -- seq: of ADOPT
  seq INTEGER PRIMARY KEY, payload BLOB NOT NULL);
"""

COUNTED = {
    "acks": ("length({0}.payload) + 100", "payload"),
    "plans": ("length({0}.payload) + 60", "payload"),
    "errors": ("length({0}.payload) + 100", ""),
    "iterations": (
        "200 + length({0}.sources) + length({0}.error) + coalesce(length({0}.failures), 0)"
        " + coalesce(length({0}.sinks), 0) + coalesce(length({0}.states), 0) + coalesce(length({0}.summary), 0)",
        "error, failures, sinks, states, summary",
    ),
    "runs": ("260 + coalesce(length({0}.payload), 0)", ""),
    "occurrences": ("220 + coalesce(length({0}.payload), 0)", ""),
    "backfills": ("120 + length({0}.payload)", ""),
    "alerts": ("80 + length({0}.payload)", ""),
    "dead_letters": ("150 + length({0}.message) + length({0}.payload)", "payload"),
    "states": ("length({0}.payload) + 60", ""),
    "ledger": ("155 + 2 * length({0}.source) + 2 * length({0}.identity) + length({0}.detail)", "detail"),
}
"""Table -> bytes that a row takes, its entries in indexes included (about), and the columns that change them."""

PRUNED = ("acks", "plans", "errors", "iterations", "runs", "occurrences", "backfills", "alerts")
"""Tables of history: what ``history`` and ``history_size`` bound."""


def counting(table: str, size: str, changed: str) -> str:
    """The triggers that keep the table's row of ``sizes`` true."""
    new, old = size.format("new"), size.format("old")

    def trigger(name: str, event: str, rows: str, change: str) -> str:
        return (
            f"CREATE TRIGGER {table}_{name} AFTER {event} ON {table} BEGIN"
            f" UPDATE sizes SET {rows}bytes = bytes + {change} WHERE name = '{table}'; END;\n"
        )

    made = trigger("in", "INSERT", "rows = rows + 1, ", new) + trigger(
        "out", "DELETE", "rows = rows - 1, ", f"-({old})"
    )
    return made + (trigger("to", f"UPDATE OF {changed}", "", f"({new}) - ({old})") if changed else "")


def sizes(counted: Mapping[str, tuple[str, str]]) -> str:
    """The tables of sizes and of prunings, with the triggers of these tables."""
    return """\
CREATE TABLE sizes (              -- what tables hold, as triggers keep it: to count a table is to read it
  name TEXT NOT NULL PRIMARY KEY, rows INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE prunings (           -- why: history or history_size; at: the last time; the rest: since ever
  why TEXT NOT NULL PRIMARY KEY, at REAL NOT NULL, iterations INTEGER NOT NULL, rows INTEGER NOT NULL,
  through REAL NOT NULL) WITHOUT ROWID;
""" + "".join(
        f"INSERT INTO sizes SELECT '{table}', count(*), coalesce(sum({size.format(table)}), 0) FROM {table};\n"
        + counting(table, size, changed)
        for table, (size, changed) in counted.items()
    )


SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
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
{RUNS}{GIVEN_BACK}{SCHEDULES}CREATE TABLE counters (           -- pruned: newest forgotten; newest: last to commit
  pipeline TEXT NOT NULL PRIMARY KEY,
  last_iteration INTEGER NOT NULL DEFAULT 0, last_committed INTEGER NOT NULL DEFAULT 0,
  committed INTEGER NOT NULL DEFAULT 0, positions INTEGER NOT NULL DEFAULT 0,
  pruned INTEGER NOT NULL DEFAULT 0, commits INTEGER NOT NULL DEFAULT 0,
  newest INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
{ITERATIONS}{PLANS}{LEDGER}{twins.INDEX}{RANGES}{HOME}{ADOPTIONS}{ACKS}{STATES}{ERRORS}{LETTERS}{sizes(COUNTED)}
INSERT INTO meta VALUES (1, ':store_id:', 0, '', 0, 0);
COMMIT;
"""

T = TypeVar("T")
_encoder = msgspec.msgpack.Encoder()
_SEAL = 8


def seal(value: Any) -> bytes:
    """The value as msgpack, followed by its xxh3-64."""
    return sealing(_encoder.encode(value))


def sealing(data: bytes) -> bytes:
    """The bytes, followed by their xxh3-64."""
    return data + xxhash.xxh3_64_digest(data)


def sealed(blob: bytes, what: str) -> bytes:
    """What is before the xxh3-64 at the end of a payload; raises StoreError naming ``what`` when they do not match."""
    data, mark = blob[:-_SEAL], blob[-_SEAL:]
    if xxhash.xxh3_64_digest(data) != mark:
        raise StoreError(f"the checkpoint database is damaged: {what} does not match its digest; {FIX}")
    return data


def unseal(blob: bytes, decoder: msgspec.msgpack.Decoder[T], what: str) -> T:
    """The value of a sealed payload; raises StoreError naming ``what`` when seal or content do not hold."""
    data = sealed(blob, what)
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise StoreError(f"the checkpoint database holds {what} that this release cannot read: {error}") from error


FIX = (
    "stop the system, keep a copy of the folder, and restore checkpoints.db with its -wal and -seals from a backup; "
    "do not delete it: its ledger is what keeps data from being read twice"
)
"""What to do about a damaged database."""
