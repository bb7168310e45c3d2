"""A project of second-level schedules under all policies, and what its log and its outputs must say in the end.

Each pipeline writes the ids of the occurrences it ran for, so that its output alone tells which ran, and how often.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow.parquet

from odibi_actors.checkpoint import records as rec
from odibi_actors.checkpoint.schema import unseal
from odibi_actors.model import Place
from odibi_actors.scheduler.timetable import occurrences
from tests.system.harness import PROCFILE

SCHEDULES = {
    "each": '{name: tick, cron: "* * * * * *", overlap: buffer_all, catch_up: {policy: all, max: 10000}}',
    "skips": "{name: tick, every: 1s, overlap: skip, catch_up: {policy: all, max: 10000}}",
    "one": "{name: tick, every: 1s, overlap: buffer_one, catch_up: {policy: latest, grace: 1s}}",
    "beside": '{name: tick, cron: "*/2 * * * * *", overlap: allow, catch_up: {policy: all, max: 10000}}',
    "cancels": "{name: tick, every: 3s, overlap: cancel, catch_up: {policy: all, max: 10000}}",
    "jitters": "{name: tick, every: 2s, jitter: 1500ms, overlap: buffer_all, catch_up: {policy: none, grace: 2s}}",
    "follows": "{name: tick, after: each}",
    "files": '{name: tick, file_watch: {connection: landing, path: flags, pattern: "*.flag"}}',
}
"""Pipeline -> its schedule."""

SKIPS_ALLOWED: dict[str, tuple[str, ...]] = {
    "each": ("buffer full",),
    "skips": ("overlap",),
    "one": ("overlap", "superseded by a later one"),
    "beside": ("buffer full",),
    "cancels": ("overlap",),
    "jitters": ("buffer full", "late, catch_up.policy none"),
    "follows": (),
    "files": (),
}
"""Reasons that the policies of a schedule allow, but for those of a pause."""

PROJECT = """\
project: scheduled
workers: 2
connections:
  landing: {type: local, path: data/landing}
  lake:    {type: local, path: data/lake}
pipelines:
"""

PIPELINE = """\
  - pipeline: {name}
    trigger: schedule
    schedules:
      - {schedule}
    max_in_flight: 8
    retry: {{max_attempts: 20, backoff: fixed, initial: 100ms}}
    nodes:
      - name: one
        read: {{connection: landing, format: csv, mode: batch, pattern: one.csv}}
      - name: stamped
        inputs: [one]
        transform: {{function: "nodes.own:stamped"}}
      - name: out
        inputs: [stamped]
        write: {{connection: lake, path: {name}, format: parquet}}
"""

NODES = '''\
def stamped(one, context):
    """The one row, with the occurrence that it is run for."""
    return one.assign(occurrence=context.occurrence, run=context.run)
'''


def make(folder: Path) -> Path:
    """The project in ``folder``."""
    (folder / "nodes").mkdir(parents=True)
    (folder / "data/landing/flags").mkdir(parents=True)
    (folder / "data/landing/one.csv").write_text("value\n1\n")
    (folder / "nodes/own.py").write_text(NODES)
    (folder / "Procfile").write_text(PROCFILE.read_text())
    pipelines = [PIPELINE.format(name=name, schedule=schedule) for name, schedule in SCHEDULES.items()]
    (folder / "odibi.yaml").write_text(PROJECT + "".join(pipelines))
    return folder


def flag(folder: Path, number: int) -> None:
    """A file arrives whose only meaning is that it is there."""
    partial = folder / f"data/landing/flags/{number:05}.part"
    partial.write_text("")
    partial.rename(partial.with_suffix(".flag"))


class Verdict(NamedTuple):
    """What became of one schedule's occurrences. ``problems`` is empty when all is as it must be."""

    pipeline: str
    due: int
    started: int
    skipped: dict[str, int]
    runs: dict[str, int]
    problems: list[str]


def verdicts(folder: Path, flags: int) -> list[Verdict]:
    """Compare the log of a system that has stopped with the calendar, with the policies, and with the outputs."""
    database = folder / ".odibi/checkpoints.db"
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        return [_verdict(db, folder, name, flags) for name in SCHEDULES]


def _verdict(db: sqlite3.Connection, folder: Path, pipeline: str, flags: int) -> Verdict:
    blob, due, wall = db.execute(
        "SELECT payload, due, wall FROM schedules WHERE pipeline = ? AND name = 'tick'", (pipeline,)
    ).fetchone()
    record = unseal(blob, msgspec.msgpack.Decoder(rec.Schedule), "the schedule")
    rows = db.execute(
        "SELECT id, first, state, run, reason, count FROM occurrences WHERE pipeline = ? ORDER BY seq", (pipeline,)
    ).fetchall()
    runs = dict(db.execute("SELECT run, state FROM runs WHERE pipeline = ?", (pipeline,)).fetchall())
    started = [row for row in rows if row[2] == "started"]
    skipped = [row for row in rows if row[2] == "skipped"]
    problems = [f"{row[0]} still waits" for row in rows if row[2] == "waiting"]
    if record.spec.timed:
        born = _born(db, pipeline)
        wanted = [
            one.id for one in takewhile(lambda one: one.place <= Place(due, wall), occurrences(record.spec, born))
        ]
        problems += _covered(wanted, rows)
    elif pipeline == "files":
        wanted = [f"{number:05}.flag" for number in range(1, flags + 1)]
        got = [row[0].rpartition("/")[2] for row in started]
        problems += [f"{name} started {got.count(name)} runs" for name in wanted if got.count(name) != 1]
    else:
        wanted = [row[0] for row in started]
    for row in skipped:
        kind = row[4].partition(":")[0]
        if kind not in (*SKIPS_ALLOWED[pipeline], "paused", "schedule removed"):
            problems.append(f"{row[0]} was skipped: {row[4]}")
    problems += _ran(folder, pipeline, started, runs)
    reasons: Counter[str] = Counter()
    for row in skipped:
        reasons[row[4].partition(":")[0]] += row[5]
    return Verdict(pipeline, len(wanted), len(started), dict(reasons), dict(Counter(runs.values())), problems)


def _born(db: sqlite3.Connection, pipeline: str) -> float:
    """When the schedule began: when the version of its pipeline did."""
    (blob,) = db.execute("SELECT payload FROM versions WHERE pipeline = ? AND version = 1", (pipeline,)).fetchone()
    return float(int(unseal(blob, msgspec.msgpack.Decoder(rec.Version), "the version").at))


def _covered(wanted: list[str], rows: list[Any]) -> list[str]:
    """Every due time is noted once: by itself, or in the span of a skip."""
    place = {id_: number for number, id_ in enumerate(wanted)}
    seen: Counter[str] = Counter()
    problems = []
    for id_, first, state, _run, _reason, count in rows:
        if id_ not in place or first not in place:
            problems.append(f"{id_} ({first}) was never due")
            continue
        span = wanted[place[first] : place[id_] + 1] if state == "skipped" else [id_]
        if len(span) != count:
            problems.append(f"{first} to {id_} are {len(span)} occurrences, counted were {count}")
        seen.update(span)
    problems += [f"{id_} was lost" for id_ in wanted if not seen[id_]]
    problems += [f"{id_} was noted {count} times" for id_, count in seen.items() if count > 1]
    return problems


def _ran(folder: Path, pipeline: str, started: list[Any], runs: dict[str, str]) -> list[str]:
    """Each occurrence that was started has one run that has ended, and what it did stands in the output once."""
    problems = []
    if len(runs) != len(started) or set(runs) != {row[3] for row in started}:
        problems.append(f"{len(started)} occurrences were started, {len(runs)} runs are known")
    out: Counter[str] = Counter()
    for part in (folder / "data/lake" / pipeline).glob("*.parquet"):
        out.update(pyarrow.parquet.read_table(part)["run"].to_pylist())
    for run, state in runs.items():
        if state == "done" and out[run] != 1:
            problems.append(f"{run} is done and stands in the output {out[run]} times")
        elif state not in ("done", "cancelled"):
            problems.append(f"{run} is {state}")
    problems += [
        f"{run} stands in the output {count} times" for run, count in out.items() if count > 1 or run not in runs
    ]
    return problems


def report(found: list[Verdict]) -> str:
    """A table, problems below."""
    lines = [f"{'pipeline':10}{'due':>8}{'started':>9}  {'runs':34}{'skipped'}"]
    for one in found:
        runs = ", ".join(f"{count} {state}" for state, count in sorted(one.runs.items()))
        reasons = ", ".join(f"{count} {reason}" for reason, count in one.skipped.items()) or "none"
        lines.append(f"{one.pipeline:10}{one.due:8,}{one.started:9,}  {runs:34}{reasons}")
    for one in found:
        lines += [f"! {one.pipeline}: {problem}" for problem in one.problems[:10]]
    lost = sum(len(one.problems) for one in found)
    lines.append(f"{sum(one.due for one in found):,} occurrences, {lost} problems")
    return "\n".join(lines)
