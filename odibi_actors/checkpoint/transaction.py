"""What each record does to the tables. One ``Transaction`` lives as long as one SQLite transaction.

Two rules. A record that contradicts what is stored raises ``Contradiction``; the engine then rolls back and applies
the records before it again, so a handler need not clean up after itself. Nothing is read twice: states seen in
this transaction are remembered, and runs of acknowledgements, the hot record, are written by one ``executemany``.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from odibi_actors.checkpoint import adopted, ranges, scheduling, twins
from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint.letters import Letters
from odibi_actors.checkpoint.scheduling import Scheduling
from odibi_actors.checkpoint.schema import seal, unseal
from odibi_actors.checkpoint.summary import beyond, summarise
from odibi_actors.checkpoint.tables import (
    Contradiction,
    ErrorDecoder,
    FailuresDecoder,
    PlanDecoder,
    SchemaDecoder,
    StatesDecoder,
)
from odibi_actors.model import (
    LIVE,
    TERMINAL,
    TRIGGER,
    UNPREPARED,
    Failure,
    IterationState,
    next_state,
)
from odibi_actors.units import plural

ERRORS_KEPT = 50
"""Failed tries kept per node of an iteration: a node retried for days must not fill the disk."""


class Transaction(Letters, Scheduling):
    """Applies records in order on a connection that is inside a transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        super().__init__(db)
        self._states: dict[tuple[str, int], IterationState] = {}
        self._acks: list[tuple[str, int, str, int, int, bytes]] = []
        self._reads: list[tuple[bytes, bytes, str, str, str, str, int]] = []
        self.notes: list[str] = []
        """What people are to be told of the records, once they are durable."""

    def run(self, first: int, records: Iterable[r.AnyRecord]) -> None:
        """Apply records numbered from ``first``; raises Contradiction with the index of the one at fault."""
        index = 0
        try:
            for index, record in enumerate(records):
                if type(record) is r.Ack:
                    self._ack(first + index, record)
                    continue
                if self._acks:
                    self._flush()
                _HANDLERS[type(record)](self, first + index, record)
            self._flush()
        except Contradiction as error:
            error.index = index
            raise
        except (OverflowError, UnicodeEncodeError, sqlite3.IntegrityError) as error:
            refusal = Contradiction(f"a value cannot be stored: {error}")
            refusal.index = index
            raise refusal from error

    def _state(self, pipeline: str, iteration: int) -> IterationState:
        key = (pipeline, iteration)
        state = self._states.get(key)
        if state is None:
            row = self._execute("SELECT state FROM iterations WHERE pipeline = ? AND iteration = ?", key).fetchone()
            if row is None:
                raise Contradiction(f"pipeline {pipeline} has no iteration {iteration}")
            state = self._states[key] = row[0]
        return state

    def _next(self, pipeline: str, iteration: int, event: str) -> IterationState:
        """The state after the event, remembered; the caller writes it together with its other columns."""
        state = self._state(pipeline, iteration)
        try:
            state = next_state(state, event)
        except ValueError as error:
            raise Contradiction(f"pipeline {pipeline}, iteration {iteration}: {error}") from None
        self._states[pipeline, iteration] = state
        return state

    def _begun(self, pipeline: str, iteration: int) -> None:
        """The first ack or error of a planned iteration means that it was dispatched."""
        state = self._next(pipeline, iteration, "dispatch")
        self._execute(
            "UPDATE iterations SET state = ? WHERE pipeline = ? AND iteration = ?", (state, pipeline, iteration)
        )

    def _unprepared(self, pipeline: str, iteration: int, what: str) -> None:
        state = self._state(pipeline, iteration)
        if state not in UNPREPARED:
            raise Contradiction(f"pipeline {pipeline}, iteration {iteration}: {what}, but it is {state}")

    def _plan(self, pipeline: str, iteration: int) -> r.Plan:
        row = self._execute(
            "SELECT payload FROM plans WHERE pipeline = ? AND iteration = ?", (pipeline, iteration)
        ).fetchone()
        if row is None:
            raise Contradiction(f"pipeline {pipeline}, iteration {iteration}: its plan is not kept any more")
        return unseal(row[0], PlanDecoder, f"the plan of {pipeline} iteration {iteration}")

    # --- the hot record -----------------------------------------------------------------------------------------

    def _ack(self, seq: int, record: r.Ack) -> None:
        pipeline, iteration = record.pipeline, record.iteration
        state = self._state(pipeline, iteration)
        if state == "planned":
            self._begun(pipeline, iteration)
        elif state not in UNPREPARED:
            self._unprepared(pipeline, iteration, f"node {record.node} is acknowledged")
        self._acks.append((pipeline, iteration, record.node, seq, record.rows_out, seal(record)))
        if record.files:
            self._read(record)

    def _read(self, record: r.Ack) -> None:
        """The ledger keeps what was read of each file: by that it is known again when it has other times."""
        pipeline, iteration, node = record.pipeline, record.iteration, record.node
        plan = self._plan(pipeline, iteration)
        positions = plan.positions.get(node, [])
        if len(record.files) != len(positions):
            raise Contradiction(
                f"pipeline {pipeline}, iteration {iteration}: {node} has read {plural(len(record.files), 'file')}, but"
                f" {len(positions)} are planned"
            )
        if node in plan.ledgered:
            self._flush()  # what was read before is looked for in the ledger
            if plan.lane == LIVE:
                reads = [twins.Read(p.identity, p.size, file) for p, file in zip(positions, record.files, strict=True)]
                if found := twins.found(self._execute, pipeline, node, iteration, reads):
                    self.notes.append(twins.line(pipeline, node, iteration, found))
            self._reads += [
                (file.digest, file.detail, pipeline, plan.lane, node, p.identity, p.generation)
                for p, file in zip(positions, record.files, strict=True)
            ]

    def _flush(self) -> None:
        if self._acks:
            self.weight += sum(len(row[5]) + 100 for row in self._acks)
            # Not REPLACE: the row it takes away would still be counted in ``sizes``.
            self._executemany(
                "INSERT INTO acks VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (pipeline, iteration, node) DO UPDATE SET"
                " seq = excluded.seq, rows_out = excluded.rows_out, payload = excluded.payload",
                self._acks,
            )
            self._acks.clear()
        if self._reads:
            self.weight += 2 * 1024 * len(self._reads)  # of the ledger, and of its index
            self._executemany(
                "UPDATE ledger SET digest = ?, detail = ? WHERE pipeline = ? AND lane = ? AND source = ?"
                " AND identity = ? AND generation = ?",
                self._reads,
            )
            self._reads.clear()

    # --- configuration, settings ---------------------------------------------------------------------------

    def _version(self, _seq: int, record: r.Version) -> None:
        newest = self._execute("SELECT max(version) FROM versions WHERE pipeline = ?", (record.pipeline,)).fetchone()
        if newest[0] is not None and record.version <= newest[0]:
            raise Contradiction(f"pipeline {record.pipeline}: version {record.version} is not above {newest[0]}")
        self._execute("INSERT INTO versions VALUES (?, ?, ?)", (record.pipeline, record.version, seal(record)))
        self._execute("INSERT OR IGNORE INTO counters (pipeline) VALUES (?)", (record.pipeline,))
        self._execute(
            "UPDATE iterations SET version = ? WHERE pipeline = ? AND state IN ('planned', 'running', 'failed')"
            " AND state NOT IN ('committed', 'dead_lettered', 'cancelled', 'rewound')",
            (record.version, record.pipeline),
        )

    def _schema(self, _seq: int, record: r.Schema) -> None:
        self._execute("INSERT OR REPLACE INTO schemas VALUES (?, ?, ?)", (record.pipeline, record.node, seal(record)))

    def _unpin(self, _seq: int, record: r.Unpin) -> None:
        self._execute("DELETE FROM schemas WHERE pipeline = ? AND node = ?", (record.pipeline, record.node))

    def _pins(self, pipeline: str) -> list[r.Schema]:
        """What the sources and sinks of a pipeline are held to."""
        rows = self._execute("SELECT node, payload FROM schemas WHERE pipeline = ?", (pipeline,)).fetchall()
        return [unseal(payload, SchemaDecoder, f"the schema of {node} of {pipeline}") for node, payload in rows]

    def _release_pins(self, pipeline: str, iterations: list[int], node: str = "") -> None:
        """These iterations are void, and so are the pins they told, or that of ``node``; one that was open is so
        again."""
        for pin in self._pins(pipeline):
            if node not in ("", pin.node):
                continue
            if pin.iteration not in iterations:
                former = pin.without(lambda era: era.iteration in iterations)
                if former is not pin:
                    self._schema(0, former)
            elif pin.former:
                self._schema(0, pin.reopened())
            else:
                self._unpin(0, r.Unpin(pipeline, pin.node))

    def _adopt(self, seq: int, record: r.Adopt) -> None:
        """The former sink's pin goes along; in another pipeline numbers go on above its own, so that no two parts of a
        target have one."""
        former = (record.from_pipeline, record.from_node)
        if (found := adopted.names(adopted.load(self._execute), record.target)) and found[0] != former:
            raise Contradiction(f"{record.target} passes on from {'.'.join(former)}, but is of {'.'.join(found[0])}")
        self._execute("INSERT INTO adoptions VALUES (?, ?)", (seq, seal(record)))
        if record.pipeline != record.from_pipeline:
            self._execute(
                "UPDATE counters SET last_iteration = max(last_iteration, ?) WHERE pipeline = ?",
                (record.through, record.pipeline),
            )
        for pin in self._pins(record.from_pipeline):
            if (pin.node, pin.target) == (record.from_node, record.target):
                self._unpin(0, r.Unpin(pin.pipeline, pin.node))
                self._schema(0, msgspec.structs.replace(pin, pipeline=record.pipeline, node=record.node))

    def _setting(self, _seq: int, record: r.Setting) -> None:
        if record.value:
            self._execute("INSERT OR REPLACE INTO settings VALUES (?, ?, ?)", (record.scope, record.name, record.value))
        else:
            self._execute("DELETE FROM settings WHERE scope = ? AND name = ?", (record.scope, record.name))

    # --- the life of an iteration --------------------------------------------------------------------------------

    def _new_plan(self, _seq: int, plan: r.Plan) -> None:
        pipeline, iteration = plan.pipeline, plan.iteration
        row = self._execute("SELECT last_iteration FROM counters WHERE pipeline = ?", (pipeline,)).fetchone()
        last = row[0] if row else 0
        if plan.lane == TRIGGER:
            raise Contradiction(f"pipeline {pipeline}, iteration {iteration}: lane {TRIGGER} is that of schedules")
        if iteration <= last:
            raise Contradiction(f"pipeline {pipeline}: iteration {iteration} is not above {last}, the newest planned")
        ledger = [
            (pipeline, plan.lane, source, p.identity, p.generation, iteration, p.size, p.rows, p.digest, p.detail)
            for source in plan.ledgered
            for p in plan.positions.get(source, ())
        ]
        try:
            self._executemany("INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?)", ledger)
        except sqlite3.IntegrityError:
            raise Contradiction(self._planned_twice(ledger)) from None
        self._ranges(plan)
        # Reference data are read again by every iteration: counted with the rows, they would hide them.
        counted = plan.counted()
        count = sum(len(plan.positions[source]) for source in counted)
        self._execute(
            "INSERT INTO iterations (pipeline, iteration, lane, state, version, run, planned_at, positions, sources,"
            " taken) VALUES (?, ?, ?, 'planned', ?, ?, ?, ?, ?, ?)",
            (pipeline, iteration, plan.lane, plan.version, plan.run, plan.at, count, json.dumps(counted), plan.taken),
        )
        payload = seal(plan)
        self._execute("INSERT INTO plans VALUES (?, ?, ?)", (pipeline, iteration, payload))
        self._execute("INSERT OR IGNORE INTO counters (pipeline) VALUES (?)", (pipeline,))
        self._execute(
            "UPDATE counters SET last_iteration = ?, positions = positions + ? WHERE pipeline = ?",
            (iteration, len(ledger), pipeline),
        )
        if plan.replay is not None:
            self._take_up(plan, plan.replay)
        self._run_plans(plan)
        if plan.lane != LIVE:
            self._backfilled(pipeline, plan.lane, 1, sum(len(plan.positions[source]) for source in plan.counted()))
        self._states[pipeline, iteration] = "planned"
        # File names may come in any order: between a few and all of them share a page.
        self.weight += len(payload) + 1024 * len(ledger)

    def _ranges(self, plan: r.Plan) -> None:
        """The places of ordered sources move with the plan, or it is refused."""
        for source, some in plan.ranges.items():
            if len(some) != len(plan.positions.get(source, ())) or source in plan.ledgered:
                raise Contradiction(
                    f"pipeline {plan.pipeline}, iteration {plan.iteration}: {source} has {plural(len(some), 'range')}, "
                    f"but {plural(len(plan.positions.get(source, ())), 'position')}, each of which is to have one"
                )
            take = ranges.take if plan.replay is None else ranges.take_up
            take(self._execute, (plan.pipeline, plan.lane, source), plan.iteration, some)
            self.weight += 2048 * len(some)

    def _planned_twice(self, ledger: list[tuple[Any, ...]]) -> str:
        for row in ledger:
            found = self._execute(
                "SELECT iteration FROM ledger WHERE pipeline = ? AND lane = ? AND source = ? AND identity = ?"
                " AND generation = ? AND iteration <> ?",
                row[:6],
            ).fetchone()
            if found is not None:
                return (
                    f"pipeline {row[0]}, lane {row[1]}: {row[3]} (generation {row[4]}) of {row[2]} is planned for"
                    f" iteration {row[5]}, but iteration {found[0]} has it"
                )
        return f"pipeline {ledger[0][0]}: iteration {ledger[0][5]} plans a position twice"

    def _same(self, _seq: int, record: r.Same) -> None:
        """A file is known by other times from now on, as long as what was read of it is what it holds."""
        source = (record.pipeline, record.lane, record.source)
        self._executemany(
            "UPDATE ledger SET detail = ? WHERE pipeline = ? AND lane = ? AND source = ?"
            " AND identity = ? AND generation = ? AND size = ? AND digest <> '' AND hex(digest) = ?",
            [(p.detail, *source, p.identity, p.generation, p.size, p.digest.upper()) for p in record.positions],
        )
        self.weight += 1024 * len(record.positions)

    def _error(self, seq: int, record: r.Error) -> None:
        pipeline, iteration, node = key = record.pipeline, record.iteration, record.node
        state = self._state(pipeline, iteration)
        if state == "planned":
            self._begun(pipeline, iteration)
        elif state in TERMINAL:
            raise Contradiction(f"pipeline {pipeline}, iteration {iteration}: node {node} failed, but it is {state}")
        payload = seal(record)
        self._execute("INSERT INTO errors VALUES (?, ?, ?, ?, 1, ?)", (*key, seq, payload))
        self._execute(
            "DELETE FROM errors WHERE pipeline = ? AND iteration = ? AND node = ? AND seq <= (SELECT seq FROM errors"
            " WHERE pipeline = ? AND iteration = ? AND node = ? ORDER BY seq DESC LIMIT 1 OFFSET ?)",
            (*key, *key, ERRORS_KEPT),
        )
        self.weight += len(payload)

    def _invalidate(self, _seq: int, record: r.Invalidate) -> None:
        self._unprepared(record.pipeline, record.iteration, "its acknowledgements are made void")
        keys = [(record.pipeline, record.iteration, node) for node in record.nodes]
        # An error that the ack had settled stays settled once that ack is gone.
        self._executemany(
            "UPDATE errors SET live = 0 WHERE pipeline = ? AND iteration = ? AND node = ? AND seq <"
            " (SELECT seq FROM acks WHERE pipeline = errors.pipeline AND iteration = errors.iteration"
            " AND node = errors.node)",
            keys,
        )
        self._executemany("DELETE FROM acks WHERE pipeline = ? AND iteration = ? AND node = ?", keys)

    def _revise(self, _seq: int, record: r.Revise) -> None:
        pipeline, iteration, node = record.pipeline, record.iteration, record.node
        self._unprepared(pipeline, iteration, "its plan is revised")
        plan = self._plan(pipeline, iteration)
        wanted = frozenset(record.identities)
        before = plan.positions.get(node, [])
        gone = [p for p in before if p.identity in wanted]
        missing = wanted.difference(p.identity for p in gone)
        if missing:
            raise Contradiction(f"pipeline {pipeline}, iteration {iteration}: {min(missing)} of {node} is not planned")
        positions = {**plan.positions, node: [p for p in before if p.identity not in wanted]}
        left = plan.ranges
        if read := left.get(node):
            aside = [p.identity in wanted for p in before]
            left = {**left, node: [one for one, out in zip(read, aside, strict=True) if not out]}
            gone_ranges = [(node, one) for one, out in zip(read, aside, strict=True) if out]
            ranges.set_aside(self._execute, pipeline, iteration, gone_ranges)
        self._execute(
            "UPDATE plans SET payload = ? WHERE pipeline = ? AND iteration = ?",
            (seal(msgspec.structs.replace(plan, positions=positions, ranges=left)), pipeline, iteration),
        )
        self._execute(
            "UPDATE iterations SET positions = positions - ? WHERE pipeline = ? AND iteration = ?",
            (len(gone), pipeline, iteration),
        )
        self._executemany(
            "UPDATE ledger SET revised = 1 WHERE pipeline = ? AND lane = ? AND source = ? AND identity = ?"
            " AND generation = ? AND iteration = ?",
            [(pipeline, plan.lane, node, p.identity, p.generation, iteration) for p in gone],
        )
        self._release_pins(pipeline, [iteration], node)
        for p in gone:
            self._dead_letter_row(record, p.identity, {node: [p]}, plan.trigger, [node], revised=1)
        self._set_aside((pipeline, iteration), len(gone))
        self.weight += 1024 * len(gone)

    def _fail(self, _seq: int, record: r.Fail) -> None:
        key = (record.pipeline, record.iteration)
        state = self._next(*key, "fail")
        row = self._execute(
            "SELECT payload FROM errors WHERE pipeline = ? AND iteration = ? AND node = ? ORDER BY seq DESC LIMIT 1",
            (*key, record.node),
        ).fetchone()
        message = unseal(row[0], ErrorDecoder, f"an error of {key[0]} {key[1]}").failure.text if row else ""
        self._execute(
            "UPDATE iterations SET state = ?, node = ?, error = ? WHERE pipeline = ? AND iteration = ?",
            (state, record.node, message, *key),
        )

    def _block(self, _seq: int, record: r.Block) -> None:
        key = (record.pipeline, record.iteration)
        failures: dict[str, tuple[Failure, float]] = {}
        if self._state(*key) == "blocked":  # by another sink
            row = self._execute("SELECT failures FROM iterations WHERE pipeline = ? AND iteration = ?", key).fetchone()
            failures = unseal(row[0], FailuresDecoder, f"the failures of {key[0]} iteration {key[1]}")
        else:
            self._next(*key, "block")
        failures[record.node] = (record.failure, record.at)
        self._execute(
            "UPDATE iterations SET state = 'blocked', node = ?, error = ?, failures = ?"
            " WHERE pipeline = ? AND iteration = ?",
            (record.node, record.failure.message, seal(failures), *key),
        )

    def _retry(self, _seq: int, record: r.Retry) -> None:
        key = (record.pipeline, record.iteration)
        self._goes_on(key)
        self._execute(
            "UPDATE iterations SET state = ?, node = '', error = '', failures = NULL"
            " WHERE pipeline = ? AND iteration = ?",
            (self._next(*key, "retry"), *key),
        )
        self._execute("UPDATE errors SET live = 0 WHERE pipeline = ? AND iteration = ?", key)

    def _prepare(self, _seq: int, record: r.Prepare) -> None:
        key = (record.pipeline, record.iteration)
        self._execute(
            "UPDATE iterations SET state = ?, sinks = ?, states = ? WHERE pipeline = ? AND iteration = ?",
            (
                self._next(*key, "prepare"),
                seal(record.sinks),
                seal(record.states) if record.states else None,
                *key,
            ),
        )

    def _commit(self, _seq: int, record: r.Commit) -> None:
        key = (record.pipeline, record.iteration)
        self._keep_states(key, record.keep)
        self._execute(
            "UPDATE iterations SET state = ?, finished_at = ?, node = '', error = '', failures = NULL, states = NULL"
            " WHERE pipeline = ? AND iteration = ?",
            (self._next(*key, "commit"), record.at, *key),
        )
        self._execute(
            "UPDATE counters SET committed = committed + 1, last_committed = max(last_committed, ?),"
            " commits = commits + 1, newest = ? WHERE pipeline = ?",
            (record.iteration, record.iteration, record.pipeline),
        )
        self._replayed(key)
        self._backfill_committed(key)
        for old in beyond(self._execute, record.pipeline, record.keep):
            self.weight += summarise(self._execute, old)

    def _keep_states(self, key: tuple[str, int], keep: int) -> None:
        """The prepared states become the pipeline's; of each node the newest ``keep`` stay."""
        row = self._execute("SELECT states FROM iterations WHERE pipeline = ? AND iteration = ?", key).fetchone()
        if row is None or row[0] is None:
            return
        states = unseal(row[0], StatesDecoder, f"the states of {key[0]} iteration {key[1]}")
        for node, state in states.items():
            self._execute("INSERT INTO states VALUES (?, ?, ?, ?)", (key[0], node, key[1], seal(state)))
            self._execute(
                "DELETE FROM states WHERE pipeline = ? AND node = ? AND iteration <= (SELECT iteration FROM states"
                " WHERE pipeline = ? AND node = ? ORDER BY iteration DESC LIMIT 1 OFFSET ?)",
                (key[0], node, key[0], node, max(1, keep)),
            )
        self.weight += len(row[0])

    def _dead_letter(self, _seq: int, record: r.DeadLetter) -> None:
        key = (record.pipeline, record.iteration)
        state = self._next(*key, "dead_letter")
        self._execute(
            "UPDATE iterations SET state = ?, finished_at = ?, node = ?, error = ?, failures = ?"
            " WHERE pipeline = ? AND iteration = ?",
            (
                state,
                record.at,
                record.node,
                record.failure.text,
                seal({record.node: (record.failure, record.at)}),
                *key,
            ),
        )
        plan = self._plan(*key)
        left = self._not_taken(plan)
        held, consumed = {**plan.positions, **left}, [*plan.consumed, *left]
        self._dead_letter_row(record, record.failure.position, held, plan.trigger, consumed, revised=0)
        self._set_aside(key, 1)
        ranges.set_aside(self._execute, *key)
        self._release_pins(record.pipeline, [record.iteration])
        self._replayed(key)  # its own letter takes the place of the former one

    def _cancel(self, _seq: int, record: r.Cancel) -> None:
        self._release_pins(record.pipeline, record.iterations)
        ranges.release(self._execute, record.pipeline, record.iterations)
        for iteration in record.iterations:
            key = (record.pipeline, iteration)
            state = self._next(*key, "cancel")
            plan = self._plan(*key)
            # A revised position is no longer in the plan: it stays consumed, with its dead letter.
            rows = [
                (record.pipeline, plan.lane, source, p.identity, p.generation, iteration)
                for source in plan.ledgered
                for p in plan.positions.get(source, ())
            ]
            self._executemany(
                "DELETE FROM ledger WHERE pipeline = ? AND lane = ? AND source = ? AND identity = ?"
                " AND generation = ? AND iteration = ?",
                rows,
            )
            self._execute(
                "UPDATE counters SET positions = positions - ? WHERE pipeline = ?", (len(rows), record.pipeline)
            )
            self._execute(
                "UPDATE iterations SET state = ?, finished_at = ?, error = ? WHERE pipeline = ? AND iteration = ?",
                (state, record.at, record.reason or self._what_failed(key), *key),
            )
            letter = self._give_back(plan)
            self.weight += 1024 * len(rows)
            again = plan.lane != LIVE or record.reason.startswith(r.PLANNED_AGAIN)
            self._run_cancelled(key, plan, again, letter)
            if plan.lane != LIVE:
                self._backfilled(
                    record.pipeline, plan.lane, 0, -sum(len(plan.positions[one]) for one in plan.counted())
                )
                self._goes_on(key)

    def _what_failed(self, key: tuple[str, int]) -> str:
        """What an iteration has failed of, without what was to be done about it; "" when it has not."""
        row = self._execute("SELECT node, error FROM iterations WHERE pipeline = ? AND iteration = ?", key).fetchone()
        for (blob,) in self._execute(
            "SELECT payload FROM errors WHERE pipeline = ? AND iteration = ? AND node = ? ORDER BY seq DESC LIMIT 1",
            (*key, row[0]),
        ):
            return unseal(blob, ErrorDecoder, f"an error of {key[0]} {key[1]}").failure.message
        return str(row[1])

    def _abandon(self, _seq: int, record: r.Abandon) -> None:
        key = (record.pipeline, record.iteration)
        row = self._execute(
            "SELECT failures, abandoned FROM iterations WHERE pipeline = ? AND iteration = ? AND state = 'blocked'", key
        ).fetchone()
        failures = {} if row is None else unseal(row[0], FailuresDecoder, f"the failures of {key[0]} {key[1]}")
        if row is None or failures.pop(record.node, None) is None:
            raise Contradiction(f"pipeline {key[0]}, iteration {key[1]}: sink {record.node} is not blocked")
        node, error = next(((name, failure.message) for name, (failure, _) in failures.items()), ("", ""))
        self._execute(
            "UPDATE iterations SET state = ?, failures = ?, abandoned = ?, node = ?, error = ?"
            " WHERE pipeline = ? AND iteration = ?",
            (
                "blocked" if failures else self._next(*key, "abandon"),
                seal(failures) if failures else None,
                json.dumps([*json.loads(row[1]), record.node]),
                node,
                error,
                *key,
            ),
        )
        if not failures:
            self._goes_on(key)

    # --- going back ----------------------------------------------------------------------------------------------

    def _rewind(self, _seq: int, record: r.Rewind) -> None:
        pipeline = record.pipeline
        open_ = self._execute(
            "SELECT count(*) FROM iterations WHERE pipeline = ? AND state NOT IN"
            " ('committed', 'dead_lettered', 'cancelled', 'rewound')",
            (pipeline,),
        ).fetchone()
        if open_[0]:
            raise Contradiction(f"pipeline {pipeline} has {open_[0]} unfinished iterations and cannot be rewound")
        self._no_backfill(pipeline)
        done = self._execute("INSERT OR IGNORE INTO rewinds VALUES (?, ?)", (pipeline, seal(record)))
        if done.rowcount == 0:
            raise Contradiction(f"pipeline {pipeline} is being rewound already")

    def _rewound(self, _seq: int, record: r.Rewound) -> None:
        pipeline, to, last = key = record.pipeline, record.to, record.last
        done = self._execute("DELETE FROM rewinds WHERE pipeline = ?", (pipeline,))
        if done.rowcount == 0:
            raise Contradiction(f"pipeline {pipeline} is not being rewound")
        (committed,) = self._execute(
            "SELECT count(*) FROM iterations WHERE pipeline = ? AND iteration > ? AND iteration <= ?"
            " AND state = 'committed'",
            key,
        ).fetchone()
        self._execute(
            "UPDATE iterations SET state = 'rewound' WHERE pipeline = ? AND iteration > ? AND iteration <= ?"
            " AND state IN ('committed', 'dead_lettered')",
            key,
        )
        released = self._execute("DELETE FROM ledger WHERE pipeline = ? AND iteration > ? AND iteration <= ?", key)
        ranges.take_back(self._execute, *key)
        self._letters_rewound(pipeline, to, last)
        self._execute("DELETE FROM states WHERE pipeline = ? AND iteration > ? AND iteration <= ?", key)
        for pin in self._pins(pipeline):
            former = pin.as_of(to)
            if former is None:
                self._unpin(0, r.Unpin(pipeline, pin.node))
            elif former is not pin:
                self._schema(0, former)
        self._execute(
            "UPDATE counters SET committed = committed - ?, positions = positions - ?, last_committed ="
            " coalesce((SELECT max(iteration) FROM iterations WHERE pipeline = ? AND state = 'committed'), 0)"
            " WHERE pipeline = ?",
            (committed, released.rowcount, pipeline, pipeline),
        )
        self._states.clear()
        self.weight += 1024 * released.rowcount


_HANDLERS: dict[type, Callable[[Transaction, int, Any], None]] = {
    r.Version: Transaction._version,
    r.Schema: Transaction._schema,
    r.Unpin: Transaction._unpin,
    r.Adopt: Transaction._adopt,
    r.Setting: Transaction._setting,
    r.Plan: Transaction._new_plan,
    r.Same: Transaction._same,
    r.Error: Transaction._error,
    r.Invalidate: Transaction._invalidate,
    r.Revise: Transaction._revise,
    r.Fail: Transaction._fail,
    r.Block: Transaction._block,
    r.Retry: Transaction._retry,
    r.Prepare: Transaction._prepare,
    r.Commit: Transaction._commit,
    r.DeadLetter: Transaction._dead_letter,
    r.Cancel: Transaction._cancel,
    r.Abandon: Transaction._abandon,
    r.Discard: Transaction._discard,
    r.Rewind: Transaction._rewind,
    r.Rewound: Transaction._rewound,
    **scheduling.HANDLERS,
}
