"""What a fake broker answers about schedules, runs, backfills and alerts."""

from __future__ import annotations

import time
from typing import Any

NOW = time.time()
HOUR = 3600.0
SPEC: dict[str, Any] = {
    "name": "hourly", "cron": "0 * * * *", "every": 0.0, "after": [], "after_any": False, "file_watch": None,
    "timezone": "America/New_York", "dst": "vixie", "overlap": "skip", "jitter": 0.0, "start": 0.0, "end": 0.0,
    "catch_up": {"window": HOUR, "policy": "latest", "max": 100, "grace": 60.0}, "exclude": ["2026-12-25"],
    "deadline": 1800.0, "paused": False, "params": {"full": True}, "description": "flights of the hour",
}  # fmt: skip
HOURLY: dict[str, Any] = {
    "pipeline": "report", "schedule": "hourly", "kind": "cron", "when": "0 * * * *", "timezone": "America/New_York",
    "overlap": "skip", "origin": "yaml", "state": "active", "last": "2026-03-08T01:00:00",
    "last_run": "report.hourly@2026-03-08T01:00:00", "last_state": "done", "started": 312, "skipped": 12,
    "reasons": {"paused": 3, "overlap": 9}, "waiting": 0, "problem": "", "place": {"due": 1, "wall": "~"},
    "description": "flights of the hour",
}  # fmt: skip
NIGHTLY = {
    **HOURLY, "pipeline": "sales", "schedule": "nightly", "when": "30 2 * * *", "timezone": "Europe/Berlin",
    "origin": "cli", "state": "paused", "skipped": 2, "reasons": {"paused": 2}, "last": "", "last_run": "",
    "last_state": "",
}  # fmt: skip
FOLLOW = {
    **HOURLY, "pipeline": "sales", "schedule": "follow", "kind": "after", "when": "after report", "timezone": "UTC",
    "overlap": "buffer_one", "last": "report=41", "last_state": "active", "skipped": 0, "reasons": {}, "waiting": 1,
    "problem": "pipeline report is no longer in odibi.yaml: nothing starts it",
}  # fmt: skip
OCCURRENCES = [
    {"schedule": "hourly", "occurrence": "2026-03-08T04:00:00", "due": NOW - HOUR, "at": NOW - HOUR,
     "state": "started", "run": "report.hourly@2026-03-08T04:00:00", "run_state": "done", "reason": "", "count": 1,
     "first": "2026-03-08T04:00:00"},
    {"schedule": "hourly", "occurrence": "2026-03-08T03:00:00", "due": NOW - 2 * HOUR, "at": NOW - 2 * HOUR,
     "state": "skipped", "run": "", "run_state": "", "reason": "overlap: run report.hourly@2026-03-08T01:00:00",
     "count": 1, "first": "2026-03-08T03:00:00"},
]  # fmt: skip
OLDER = {**OCCURRENCES[1], "occurrence": "2026-03-01T03:00:00", "first": "2026-03-01T01:00:00", "count": 3,
         "at": NOW - 200 * HOUR, "reason": "paused"}  # fmt: skip
BACKFILL = {
    "pipeline": "delays", "lane": "backfill-7", "run": "backfill-ab", "state": "running", "planned": 5, "committed": 3,
    "in_flight": 2, "failed": 0, "positions": 80, "left": 40, "concurrency": 2, "at": NOW - 100,
}  # fmt: skip
RUN = {
    "run": "report.hourly@2026-03-08T04:00:00", "pipeline": "report", "state": "failed", "cause": "schedule",
    "at": NOW - HOUR, "ended": NOW - HOUR + 42, "took": 42.0, "planned": 2, "lane": "live", "schedule": "hourly",
    "occurrence": "2026-03-08T04:00:00", "error": "iteration 9: node clean raised ValueError",
}  # fmt: skip
ALERT = {
    "id": 3, "kind": "failure", "pipeline": "report", "schedule": "hourly", "run": RUN["run"], "occurrence": "x",
    "text": "run failed: iteration 9: node clean", "at": NOW - 60, "told_at": None, "error": "", "held_back": 2,
}  # fmt: skip
MATCHED = {"source": "flights", "pattern": "*.csv", "files": 90, "bytes": 9_000_000, "first": "a.csv", "last": "z.csv"}


def listed(params: dict[str, Any]) -> dict[str, Any]:
    items = [row for row in (HOURLY, NIGHTLY, FOLLOW) if params.get("pipeline") in (None, row["pipeline"])]
    return {"items": items}


def shown(params: dict[str, Any]) -> dict[str, Any]:
    row = next(row for row in (HOURLY, NIGHTLY, FOLLOW) if row["schedule"] == params["schedule"])
    return {**row, "spec": {**SPEC, "name": row["schedule"]}, "waits": []}


def occurred(params: dict[str, Any]) -> dict[str, Any]:
    rows = [OCCURRENCES[1], OLDER] if params["state"] == "skipped" else OCCURRENCES
    return {"items": rows[: params["limit"]]}


def changed(params: dict[str, Any], **fields: Any) -> dict[str, Any]:
    found = {row["schedule"]: row for row in (HOURLY, NIGHTLY, FOLLOW)}.get(params.get("schedule", ""), HOURLY)
    return {**found, **fields}


ANSWERS: dict[str, Any] = {
    "schedule.list": listed,
    "schedule.show": shown,
    "schedule.next": {
        "items": [
            {"pipeline": "report", "schedule": "hourly", "next": NOW + 12.4 * HOUR, "late": 0.012},
            {"pipeline": "sales", "schedule": "nightly", "next": NOW + 9 * HOUR, "late": None},
        ]
    },
    "schedule.add": lambda p: changed({}, pipeline=p["pipeline"], schedule=p["spec"]["name"], origin="cli"),
    "schedule.remove": lambda p: changed(p, state="off"),
    "schedule.pause": lambda p: changed(p, state="paused"),
    "schedule.resume": lambda p: changed(p, state="active"),
    "occurrence.list": occurred,
    "pipeline.list": {"items": [{"pipeline": name} for name in ("delays", "report", "sales")]},
    "pipeline.show": {"pipeline": "delays",
                      "nodes": [{"node": "flights", "kind": "read"}, {"node": "out", "kind": "write"}],
                      "sources": [{"source": "flights", "consumption": "set", "offered": 0, "problems": []}]},
    "sink.list": {"items": []},
    "pipeline.trigger": lambda p: {"pipeline": p["pipeline"], "run": p["run"]},
    "pipeline.backfill": lambda p: {
        "pipeline": p["pipeline"], "lane": "" if p["dry_run"] else "backfill-7", "run": p["run"],
        "files": [MATCHED] if "files" in p else [], "iterations": 0,
        "occurrences": [] if "files" in p else [{"id": "2026-03-08T03:00:00", "due": p["from"]}] * 23,
    },
    "run.list": {"items": [RUN]},
    "backfill.list": {"items": [BACKFILL]},
    "backfill.cancel": {**BACKFILL, "state": "cancelled"},
    "alert.list": {"items": [ALERT, {**ALERT, "id": 2, "told_at": NOW - 50, "schedule": ""}]},
    "status": {"epoch": 3, "project": "flights", "peers": [], "workers": [],
               "pipelines": [{"pipeline": "report", "state": "active", "trigger": "schedule"}]},
}  # fmt: skip
