"""Verbs that wait for an end, and the book-keeper's own judgement of it: the exit code says just that.

What ended well is committed, with all of its files; judged from the iterations alone.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.shop.verbs import DifferenceError

if TYPE_CHECKING:
    from tests.shop.life import Life

FAILED, LATE = 5, 124
"""Exit codes: it did not end well; it did not end in time."""
SOON = "20s"
OVER = ("committed", "dead_lettered", "cancelled", "rewound")
Row = dict[str, Any]


def wait_for_iteration(life: Life, pipeline: str) -> str:
    """`iteration wait` for one that is over."""
    rows = [row for row in life.client.iterations(pipeline, limit=1000)["items"] if row["state"] in OVER]
    if not rows:
        return ""
    row = life.rng.choice(rows)
    number = row["iteration"]
    letters = [one for one in life.client.dead_letters(pipeline)["items"] if one["iteration"] == number]
    if _planned_again(life, pipeline, row) or any(one["state"] != "open" for one in letters):
        return ""  # its end is that of another
    if row["dead_letters"] != len(letters):
        return ""  # some were given up
    code, said = life.ctl("iteration", "wait", pipeline, str(number), "--timeout", SOON)
    return _judged(f"iteration wait {pipeline} {number}", code, said, _well(life, pipeline, [row]), [row])


def trigger_and_wait(life: Life, pipeline: str) -> str:
    """`pipeline trigger --wait`, with a parameter."""
    if pipeline != "report" or life.client.pipeline(pipeline)["state"] != "active":
        return ""
    rate = life.next_rate()
    words = ["pipeline", "trigger", pipeline, "--param", f"rate={rate}", "--wait", "--timeout", SOON, "-o", "json"]
    done = life.system.ctl(*words)
    if done.returncode == LATE or not done.stdout:
        runs = life.client.runs(pipeline)["items"]
        life.keeper.rates.update({row["run"]: rate for row in runs if row["run"] not in life.keeper.rates})
        return f"exit {done.returncode}: {done.stderr.strip()}"
    run = json.loads(done.stdout)["run"]
    life.keeper.rates[run] = rate
    return _of_run(life, pipeline, run, done.returncode, done.stderr)


def run_at_rest(life: Life, pipeline: str) -> str:
    """`down`, `odibictl run`, `up`."""
    if life.client.pipeline(pipeline)["state"] != "active":
        return ""
    life.client.close()
    life.system.stop()
    rate = life.next_rate()
    try:
        done = life.system.ctl("run", pipeline, "--param", f"rate={rate}", "-o", "json", timeout=120.0)
    finally:
        life.up()
    if not done.stdout:
        raise DifferenceError(f"odibictl run {pipeline}: exit {done.returncode}: {done.stderr}")
    summary = json.loads(done.stdout)
    run = summary["run"]
    life.keeper.rates[run] = rate
    mine = _mine(life, pipeline, run)
    counted = {
        "iterations": len(mine),
        "committed": sum(row["state"] == "committed" for row in mine),
        "failed": sum(row["state"] in ("failed", "blocked") for row in mine),
        "dead_lettered": sum(row["dead_letters"] for row in mine),
    }
    if told := {name: summary[name] for name in counted if summary[name] != counted[name]}:
        raise DifferenceError(f"odibictl run {pipeline} says {told} of {counted}: {done.stdout}")
    if pipeline == "rates" and life.goods.board.bad and life.goods.form.polled != "file":
        return f"{run}: what is polled cannot be read: {summary['state']}"
    return _of_run(life, pipeline, run, done.returncode, done.stderr)


def wait_for_backfill(life: Life, pipeline: str) -> str:
    """`backfill wait` for one that goes on."""
    rows = life.client.backfills(pipeline)["items"]
    if not rows:
        return ""
    lane = rows[0]["lane"]
    code, said = life.ctl("backfill", "wait", pipeline, lane, "--timeout", SOON)
    if code == LATE:
        return f"{lane}: {said.strip()}"
    mine = [row for row in life.client.iterations(pipeline, limit=1000)["items"] if row["lane"] == lane]
    return _judged(f"backfill wait {pipeline} {lane}", code, said, _well(life, pipeline, mine), mine)


def _of_run(life: Life, pipeline: str, run: str, code: int, said: str) -> str:
    mine = _mine(life, pipeline, run)
    well = _well(life, pipeline, mine)
    told = life.client.run(run)["state"]
    if (told in ("done", "no_data")) != well:
        raise DifferenceError(f"run {run} of {pipeline} is said to be {told}; its iterations: {_told(mine)}")
    return _judged(f"run {run} of {pipeline}", code, said, well, mine)


def _mine(life: Life, pipeline: str, run: str) -> list[Row]:
    return [row for row in life.client.iterations(pipeline, limit=1000)["items"] if run in (row["run"], row["taken"])]


def _well(life: Life, pipeline: str, rows: list[Row]) -> bool:
    return all(
        (row["state"] == "committed" and not row["dead_letters"]) or _planned_again(life, pipeline, row) for row in rows
    )


def _planned_again(life: Life, pipeline: str, row: Row) -> bool:
    return row["state"] == "cancelled" and bool(life.client.iteration(pipeline, row["iteration"])["planned_as"])


def _judged(what: str, code: int, said: str, well: bool, rows: list[Row]) -> str:
    if code != (0 if well else FAILED):
        raise DifferenceError(f"{what}: exit {code}: {said.strip()}; its iterations: {_told(rows)}")
    return f"{what}: exit {code}"


def _told(rows: list[Row]) -> str:
    return ", ".join(f"{row['iteration']} {row['state']} ({row['dead_letters']} letters)" for row in rows)
