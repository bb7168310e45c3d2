"""How the life of a broker comes to its end (see ``lives``): all that is fixed goes on, and nothing was lost."""

from __future__ import annotations

from typing import Any

from odibi_actors.checkpoint import records as rec
from odibi_actors.messages import Apply
from odibi_actors.model import TRIGGER
from tests.broker.harness import CLIENT
from tests.broker.lives import Life

QUIET = 12
"""Rounds in which nothing is written, after which nothing more will be."""


def settle(life: Life) -> None:
    """Operators fix everything, the pool fails no more: whatever is not over after that is stuck."""
    life.log.append("settle")
    life.variant, life.watched = 0, True
    life.say(CLIENT, Apply("a", life.project()))
    quiet, before = 0, 0
    while quiet < (QUIET if left(life) else 3):
        flow = life.broker.flow
        for name, one in list(flow.pipelines.items()):
            if one.paused or one.draining:
                life.deed("pipeline.resume", pipeline=name)
            for iteration in list(one.unfinished()):
                if iteration.state in ("failed", "blocked"):
                    life.deed("iteration.retry", pipeline=name, iteration=iteration.number)
        life.sources(lambda: True)
        life.work(0.0)
        life.durable()
        life.answer()
        life.notices()
        life.wait()
        quiet, before = (quiet + 1, before) if life.engine.last_seq == before else (0, life.engine.last_seq)
    assert not left(life), left(life)
    life.apply_records()
    assert life.engine.answer("run.list", {"state": "active"})["items"] == [], "the store has active runs"
    for name in life.broker.flow.pipelines:
        waiting = life.engine.answer("occurrence.list", {"pipeline": name, "state": "waiting"})["items"]
        assert waiting == [], "the store has waiting occurrences"
    lanes = life.engine._db.execute("SELECT pipeline, lane FROM backfills WHERE state = 'active'").fetchall()
    assert lanes == [], "the store has open backfills"
    judge(life)


def judge(life: Life) -> None:
    """Nothing was lost on the way."""
    flow = life.broker.flow
    committed = {(r.pipeline, r.iteration) for r in life.history if isinstance(r, rec.Commit)}
    plans = [r for r in life.history if isinstance(r, rec.Plan) and (r.pipeline, r.iteration) in committed]
    asked = {(r.pipeline, r.lane): r for r in life.history if isinstance(r, rec.Backfill)}
    for end in [r for r in life.history if isinstance(r, rec.BackfillEnd)]:
        key = (end.pipeline, end.lane)
        ran = [plan.trigger.occurrence for plan in plans if (plan.pipeline, plan.lane) == key]
        wanted = [one for one, _ in asked[key].occurrences]
        assert end.state != "done" or not wanted or sorted(ran) == sorted(wanted), f"{key}: {ran}"
    for key, since in life.cancelled.items():
        later = [r for r in life.history[since:] if isinstance(r, rec.Plan) and (r.pipeline, r.lane) == key]
        assert not later, f"{key} was cancelled, and plans {later[0].iteration}"
    watch = flow.schedules.get("p", "w")
    if watch is not None and not watch.off:
        known = {p.identity for p in life.ledger("p", TRIGGER, "w")}
        assert sorted(known) == sorted(life.files["landing"])
    follows = flow.schedules.get("q", "aft")
    if follows is not None and not follows.off:
        assert follows.seen.get("p", 0) == flow.pipelines["p"].commits


def left(life: Life) -> list[str]:
    """What is not over."""
    flow = life.broker.flow
    found = []
    for name, one in flow.pipelines.items():
        if one.removed:
            continue
        found += [f"{name}: iteration {i.number} {i.state}" for i in one.unfinished()]
        found += [f"{name}: run {run} of {lane.name}" for lane in one.lanes for run in lane.active]
        found += [f"{name}: backfill {lane}" for lane in one.backfills]
        found += [f"{name}: rewind"] if one.rewind is not None else []
        found += [f"{name}.{s.name} waits {list(s.waiting)}" for s in flow.schedules.of(name) if s.waiting]
    return found


def agree(life: Life) -> None:
    """What the broker has in memory is what the next one would load."""
    for _ in range(3):
        life.durable()
    if any(one.stuck(lane.name) for one in life.broker.flow.pipelines.values() for lane in one.lanes):
        return  # runs that wait behind it fail at a restart
    now = memory(life.broker.flow)
    life.start(None)
    after = memory(life.broker.flow)
    assert now == after, [(a, b) for a, b in zip(now.items(), after.items(), strict=False) if a != b]


def memory(flow: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, one in flow.pipelines.items():
        found[name] = (one.last_committed, one.committed, one.dead_letters, one.paused)
        found[f"{name} runs"] = sorted(run for lane in one.lanes for run in lane.active)
        found[f"{name} lanes"] = {lane: b.committed for lane, b in one.backfills.items()}
        found[f"{name} open"] = {i.number: i.state for i in one.unfinished() if i.state not in ("running", "planned")}
    for key, one in sorted(flow.schedules._all.items()):
        found[f"{key}"] = (one.place, one.paused, one.gone, one.generation, one.started, one.skipped, one.seen)
        found[f"{key} waits"] = list(one.waiting)
        found[f"{key} floor"] = one.floor
        found[f"{key} last"] = (one.last, one.last_run, one.last_state)
    return found
