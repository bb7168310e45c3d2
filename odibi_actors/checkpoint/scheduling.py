"""What the records of the scheduler do to the tables: schedules and their occurrences, runs, backfills, alerts."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint.schema import seal
from odibi_actors.checkpoint.tables import OPEN, Contradiction, Tables
from odibi_actors.model import LIVE, TRIGGER, Place, Range, Trigger

REASONS_MAX = 20
OTHER = "other"
"""Skips are counted by the part of their reason before ":". The kinds are few; should they not be, those after the
first so many are counted together as OTHER."""


class Scheduling(Tables):
    """Handlers of these records; see ``Transaction`` for their rules."""

    # --- schedules -----------------------------------------------------------------------------------------------

    def _schedule(self, _seq: int, record: r.Schedule) -> None:
        payload = seal(record)
        done = self._execute(
            "INSERT INTO schedules (pipeline, name, due, wall, gone, seen, payload) VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (pipeline, name) DO UPDATE SET due = excluded.due, wall = excluded.wall,"
            " gone = excluded.gone, seen = excluded.seen, payload = excluded.payload"
            " WHERE (excluded.due, excluded.wall) >= (due, wall)",
            (record.pipeline, record.name, *told(record.place), record.gone, json.dumps(record.seen), payload),
        )
        if done.rowcount == 0:
            raise Contradiction(f"schedule {record.pipeline}.{record.name}: its place cannot go back to {record.place}")
        self.weight += len(payload) + 200

    def _there(self, pipeline: str, schedule: str) -> tuple[Any, ...]:
        """(due, wall, seen, reasons) of a schedule; raises Contradiction unless it is there."""
        row = self._execute(
            "SELECT due, wall, seen, reasons, gone FROM schedules WHERE pipeline = ? AND name = ?", (pipeline, schedule)
        ).fetchone()
        if row is None or row[4]:
            raise Contradiction(f"pipeline {pipeline}: schedule {schedule} is {'not there' if row is None else 'gone'}")
        return tuple(row[:4])

    def _occurrence(self, seq: int, record: r.Occurrence) -> None:
        key = (record.pipeline, record.schedule)
        if record.seen or record.place is None:
            due, wall, seen, _ = self._there(*key)
            place = self._onward(key, Place(due, wall), record.place)
            if record.seen:
                self._execute(
                    "UPDATE schedules SET due = ?, wall = ?, seen = ? WHERE pipeline = ? AND name = ?",
                    (*told(place), json.dumps({**json.loads(seen), **record.seen}), *key),
                )
        else:  # the common one, in one statement
            done = self._execute(
                "UPDATE schedules SET due = ?, wall = ? WHERE pipeline = ? AND name = ? AND gone = 0"
                " AND (due, wall) < (?, ?)",
                (*told(record.place), *key, *told(record.place)),
            )
            if done.rowcount == 0:
                due, wall, *_ = self._there(*key)
                self._onward(key, Place(due, wall), record.place)
        payload = seal(record)
        try:
            self._execute(
                "INSERT INTO occurrences (seq, pipeline, schedule, id, first, due, at, state, payload)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, 'waiting', ?)",
                (seq, *key, record.id, record.id, record.due, record.at, payload),
            )
        except sqlite3.IntegrityError:
            raise Contradiction(f"schedule {key[0]}.{key[1]}: occurrence {record.id} is noted already") from None
        if record.positions:
            self._arrived(record)
        self.weight += len(payload) + 500

    @staticmethod
    def _onward(key: tuple[str, str], before: Place, place: Place | None) -> Place:
        if place is None:
            return before
        if place <= before:
            raise Contradiction(f"schedule {key[0]}.{key[1]}: {place} is not after its place {before}")
        return place

    def _arrived(self, record: r.Occurrence) -> None:
        """The files are the schedule's in the ledger, as those of an iteration 0: no rewind gives them back."""
        rows = [
            (record.pipeline, TRIGGER, record.schedule, p.identity, p.generation, p.size, p.rows, p.digest, p.detail)
            for p in record.positions
        ]
        try:
            self._executemany("INSERT INTO ledger VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?, 0, ?)", rows)
        except sqlite3.IntegrityError:
            what = f"schedule {record.pipeline}.{record.schedule}, occurrence {record.id}"
            raise Contradiction(f"{what}: a file of it has started a run already") from None
        self._execute("INSERT OR IGNORE INTO counters (pipeline) VALUES (?)", (record.pipeline,))
        self._execute("UPDATE counters SET positions = positions + ? WHERE pipeline = ?", (len(rows), record.pipeline))
        self.weight += 1024 * len(rows)

    def _skip(self, seq: int, record: r.Skip) -> None:
        key = (record.pipeline, record.schedule)
        if record.count < 1:
            raise Contradiction(f"schedule {key[0]}.{key[1]}: {record.count} occurrences cannot be skipped")
        if record.place is None:
            self._give_up(record)
            self._count(key, record)
            return
        due, wall, _, reasons = self._there(*key)
        place = self._onward(key, Place(due, wall), record.place)
        self._execute(
            "INSERT INTO occurrences (seq, pipeline, schedule, id, first, due, at, state, reason, count)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 'skipped', ?, ?)",
            (seq, *key, record.last, record.first or record.last, record.due, record.at, record.reason, record.count),
        )
        self._execute(
            "UPDATE schedules SET due = ?, wall = ?, skipped = skipped + ?, reasons = ?"
            " WHERE pipeline = ? AND name = ?",
            (*told(place), record.count, counted(reasons, record), *key),
        )
        self.weight += 500

    def _give_up(self, record: r.Skip) -> None:
        done = self._execute(
            "UPDATE occurrences SET state = 'skipped', reason = ?, count = ? WHERE pipeline = ? AND schedule = ?"
            " AND id = ? AND state = 'waiting' AND state <> 'skipped'",
            (record.reason, record.count, record.pipeline, record.schedule, record.first),
        )
        if done.rowcount == 0:
            raise Contradiction(f"schedule {record.pipeline}.{record.schedule}: {record.first} is not waiting")

    def _count(self, key: tuple[str, str], record: r.Skip) -> None:
        (reasons,) = self._execute("SELECT reasons FROM schedules WHERE pipeline = ? AND name = ?", key).fetchone()
        self._execute(
            "UPDATE schedules SET skipped = skipped + ?, reasons = ? WHERE pipeline = ? AND name = ?",
            (record.count, counted(reasons, record), *key),
        )
        self.weight += 500

    # --- runs ----------------------------------------------------------------------------------------------------

    def _run(self, seq: int, record: r.Run) -> None:
        trigger = record.trigger
        payload = None if trigger == Trigger() else seal(trigger)
        done = self._execute(
            "INSERT OR IGNORE INTO runs (seq, run, pipeline, cause, at, state, lane, schedule, occurrence, payload,"
            " most, took) VALUES (?, ?, ?, ?, ?, 'active', ?, ?, ?, ?, ?, ?)",
            (seq, record.run, record.pipeline, record.cause, record.at, record.lane, trigger.schedule,
             trigger.occurrence, payload, record.limit, len(record.took)),
        )  # fmt: skip
        if done.rowcount == 0:
            raise Contradiction(f"run {record.run} exists already")
        if trigger.schedule and trigger.kind != "backfill":
            self._start(record)
        self._take_over(record)
        self.weight += len(payload or b"") + 500

    def _take_over(self, record: r.Run) -> None:
        """What it finishes counts as its own from here on, whoever planned it; and no more as that of a run that had
        taken it up before."""
        for number in record.took:
            self._execute(
                "UPDATE runs SET took_cancelled = took_cancelled + 1, voided = voided + 1 WHERE run <> ? AND run ="
                " (SELECT taken FROM iterations WHERE pipeline = ? AND iteration = ?)",
                (record.run, record.pipeline, number),
            )
            done = self._execute(
                f"UPDATE iterations SET taken = ? WHERE pipeline = ? AND iteration = ? AND {OPEN}",
                (record.run, record.pipeline, number),
            )
            if done.rowcount == 0:
                raise Contradiction(f"run {record.run}: iteration {number} of {record.pipeline} is not unfinished")
        self._executemany(
            "UPDATE runs SET taken = ? WHERE run = ? AND pipeline = ?",
            [(record.run, name, record.pipeline) for name in record.over],
        )

    def _run_planned(self, _seq: int, record: r.RunPlanned) -> None:
        done = self._execute(
            "UPDATE runs SET upto = ?, unread = ? WHERE run = ? AND state = 'active'",
            (record.upto, record.unread, record.run),
        )
        if done.rowcount == 0:
            raise Contradiction(f"there is no active run {record.run}")

    def _start(self, record: r.Run) -> None:
        """The occurrence that waited has its run."""
        key = (record.pipeline, record.trigger.schedule)
        done = self._execute(
            "UPDATE occurrences SET state = 'started', run = ? WHERE pipeline = ? AND schedule = ? AND id = ?"
            " AND state = 'waiting' AND state <> 'skipped'",
            (record.run, *key, record.trigger.occurrence),
        )
        if done.rowcount == 0:
            what = f"occurrence {record.trigger.occurrence} of {key[0]}.{key[1]}"
            raise Contradiction(f"run {record.run}: {what} is not waiting")
        self._execute(
            "UPDATE schedules SET started = started + 1, last = ?, last_run = ? WHERE pipeline = ? AND name = ?",
            (record.trigger.occurrence, record.run, *key),
        )

    def _run_end(self, _seq: int, record: r.RunEnd) -> None:
        if record.state == "active":
            raise Contradiction(f"run {record.run} cannot end as active")
        done = self._execute(
            "UPDATE runs SET state = ?, ended = ?, error = ? WHERE run = ?"
            " AND (state = 'active' OR (state = 'failed' AND ? = 'cancelled'))",
            (record.state, record.at, record.error, record.run, record.state),
        )
        if done.rowcount == 0:
            raise Contradiction(f"there is no active run {record.run}")
        if record.state != "failed":
            self._execute("DELETE FROM given_back WHERE run = ?", (record.run,))

    def _runs_of(self, key: tuple[str, int]) -> list[str]:
        """The run that planned an iteration, and the one that has taken it, if it has them."""
        row = self._execute("SELECT run, taken FROM iterations WHERE pipeline = ? AND iteration = ?", key).fetchone()
        return [name for name in dict.fromkeys(row or ()) if name]

    def _goes_on(self, key: tuple[str, int]) -> None:
        """What failed of an iteration is tried again, given up or planned again, so its runs have not failed yet. One
        of the live lane plans nothing more: it ends with what it has."""
        for run in self._runs_of(key):
            self._execute(
                "UPDATE runs SET state = 'active', ended = NULL, error = '', upto = CASE lane WHEN 'live' THEN"
                " coalesce((SELECT max(iteration) FROM iterations AS i WHERE i.pipeline = runs.pipeline"
                f" AND {OPEN.replace('state', 'i.state')} AND (i.run = runs.run OR i.taken = runs.run)), 0) ELSE 0 END"
                " WHERE state = 'failed' AND run = ?",
                (run,),
            )

    def _set_aside(self, key: tuple[str, int], count: int) -> None:
        """Dead letters for which the runs of the iteration answer, whatever becomes of them."""
        for run in self._runs_of(key):
            self._execute("UPDATE runs SET aside = aside + ? WHERE run = ?", (count, run))

    def _run_cancelled(self, key: tuple[str, int], plan: r.Plan, again: bool, letter: bool) -> None:
        """An iteration is void: its runs have done that much less. ``again``: one of them plans all of it again, so it
        has not planned everything any more. Else they have lost its files until they plan them again, or the
        ``letter`` that it took up is open."""
        runs = self._runs_of(key)
        for run in runs:
            column = "cancelled" if run == plan.run else "took_cancelled"
            self._execute(
                f"UPDATE runs SET {column} = {column} + 1, voided = voided + ?, aside = aside + ? WHERE run = ?",
                (not again, letter, run),
            )
            if again:
                self._execute("DELETE FROM given_back WHERE run = ?", (run,))
            elif plan.replay is None:
                self._executemany(
                    "INSERT OR IGNORE INTO given_back SELECT run, ?, ? FROM runs WHERE run = ?"
                    " AND state IN ('active', 'failed')",
                    [(*one, run) for one in plan.taken_back()],
                )
        if again and plan.replay is None:
            active = "SELECT 1 FROM runs WHERE run = ? AND state = 'active'"
            planner = next((run for run in runs if self._execute(active, (run,)).fetchone()), "")
            self._execute("UPDATE runs SET upto = 0, unread = '' WHERE run = ?", (planner,))

    def _run_plans(self, plan: r.Plan) -> None:
        """One more iteration of the run that plans, and of the one that takes it."""
        if plan.run:
            self._execute("UPDATE runs SET planned = planned + 1 WHERE run = ?", (plan.run,))
        if plan.taken:
            self._execute("UPDATE runs SET took = took + 1 WHERE run = ?", (plan.taken,))
        if (plan.run or plan.taken) and self._execute("SELECT 1 FROM given_back LIMIT 1").fetchone():
            runs = (plan.run, plan.taken)
            files = [(source, p.identity) for source in plan.ledgered for p in plan.positions.get(source, ())]
            self._executemany(
                "DELETE FROM given_back WHERE run = ? AND source = ? AND identity = ?",
                [(run, *file) for run in runs for file in files],
            )
            for run in dict.fromkeys(runs):
                for source, ranges in plan.ranges.items():
                    self._has_again(run, source, ranges)

    def _has_again(self, run: str, source: str, ranges: list[Range]) -> None:
        """What a run had lost of a source that is read in order is planned again, or a part of it."""
        ask = "SELECT identity FROM given_back WHERE run = ? AND source = ?"
        for (lost,) in self._execute(ask, (run, source)).fetchall():
            left = lost
            for one in ranges:
                left = left and one.leaves(left)
            if left != lost:
                self._execute(
                    "DELETE FROM given_back WHERE run = ? AND source = ? AND identity = ?", (run, source, lost)
                )
            if left and left != lost:
                self._execute("INSERT OR IGNORE INTO given_back VALUES (?, ?, ?)", (run, source, left))

    # --- backfills -----------------------------------------------------------------------------------------------

    def _backfill(self, _seq: int, record: r.Backfill) -> None:
        payload = seal(record)
        done = self._execute(
            "INSERT OR IGNORE INTO backfills (pipeline, lane, run, at, payload) VALUES (?, ?, ?, ?, ?)",
            (record.pipeline, record.lane, record.run, record.at, payload),
        )
        if done.rowcount == 0 or record.lane in (LIVE, TRIGGER):
            raise Contradiction(f"pipeline {record.pipeline}: lane {record.lane} is taken")
        if self._execute("SELECT 1 FROM rewinds WHERE pipeline = ?", (record.pipeline,)).fetchone():
            raise Contradiction(f"pipeline {record.pipeline} is being rewound, and cannot be backfilled meanwhile")
        self.weight += len(payload)

    def _backfill_end(self, _seq: int, record: r.BackfillEnd) -> None:
        key = (record.pipeline, record.lane)
        open_ = self._execute(
            f"SELECT iteration FROM iterations WHERE pipeline = ? AND {OPEN} AND lane = ? LIMIT 1", key
        ).fetchone()
        if open_ is not None:
            raise Contradiction(f"pipeline {key[0]}: iteration {open_[0]} of backfill {key[1]} is unfinished")
        done = self._execute(
            "UPDATE backfills SET state = ?, ended = ? WHERE pipeline = ? AND lane = ? AND state = 'active'",
            (record.state, record.at, *key),
        )
        if done.rowcount == 0:
            raise Contradiction(f"pipeline {key[0]}: there is no active backfill {key[1]}")

    def _backfilled(self, pipeline: str, lane: str, planned: int, positions: int) -> None:
        self._execute(
            "UPDATE backfills SET planned = planned + ?, positions = positions + ? WHERE pipeline = ? AND lane = ?",
            (planned, positions, pipeline, lane),
        )

    def _backfill_committed(self, key: tuple[str, int]) -> None:
        self._execute(
            "UPDATE backfills SET committed = committed + 1 WHERE pipeline = ? AND lane ="
            " (SELECT lane FROM iterations WHERE pipeline = ? AND iteration = ?)",
            (key[0], *key),
        )

    def _no_backfill(self, pipeline: str) -> None:
        row = self._execute(
            "SELECT lane FROM backfills WHERE pipeline = ? AND state = 'active' LIMIT 1", (pipeline,)
        ).fetchone()
        if row is not None:
            raise Contradiction(f"pipeline {pipeline} cannot be rewound while its backfill {row[0]} is active")

    # --- alerts --------------------------------------------------------------------------------------------------

    def _alert(self, seq: int, record: r.Alert) -> None:
        if record.id != seq:
            raise Contradiction(f"alert {record.id} must have the number of its record, {seq}")
        payload = seal(record)
        self._execute(
            "INSERT INTO alerts (id, pipeline, at, payload) VALUES (?, ?, ?, ?)",
            (record.id, record.pipeline, record.at, payload),
        )
        self.weight += len(payload)

    def _alerted(self, _seq: int, record: r.Alerted) -> None:
        done = self._execute(
            "UPDATE alerts SET told_at = ?, error = ? WHERE id = ? AND told_at IS NULL",
            (None if record.again else record.at, record.error, record.id),
        )
        if done.rowcount == 0:
            raise Contradiction(f"there is no alert {record.id} that was not told")


def told(place: Place) -> tuple[int, str]:
    """The columns of a place."""
    return place.due, place.wall


def counted(reasons: str, record: r.Skip) -> str:
    """The counters (JSON, reason -> occurrences) with those of the record."""
    found = json.loads(reasons)
    kind = record.reason.partition(":")[0].strip()
    if kind not in found and len(found) >= REASONS_MAX:
        kind = OTHER
    found[kind] = found.get(kind, 0) + record.count
    return json.dumps(found)


HANDLERS: dict[type, Callable[[Any, int, Any], None]] = {
    r.Schedule: Scheduling._schedule,
    r.Occurrence: Scheduling._occurrence,
    r.Skip: Scheduling._skip,
    r.Run: Scheduling._run,
    r.RunPlanned: Scheduling._run_planned,
    r.RunEnd: Scheduling._run_end,
    r.Backfill: Scheduling._backfill,
    r.BackfillEnd: Scheduling._backfill_end,
    r.Alert: Scheduling._alert,
    r.Alerted: Scheduling._alerted,
}
