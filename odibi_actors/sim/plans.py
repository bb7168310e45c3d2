"""Random schedules: of every kind, with every policy; and a project that has dozens of them."""

from __future__ import annotations

import random
from datetime import UTC, datetime

from odibi_actors.config.model import (
    CatchUpSpec,
    ConnectionSpec,
    NodeSpec,
    PipelineSpec,
    ProjectSpec,
    ReadSpec,
    ScheduleSpec,
    WriteSpec,
)

ZONES = (
    *("America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Africa/Casablanca", "America/Sao_Paulo"),
    *("UTC", "Asia/Kathmandu", "Pacific/Chatham"),
)

CRONS = (
    *("0 * * * *", "30 * * * *", "*/30 * * * *", "17 3 * * *", "30 2 * * *", "30 1 * * *", "0 2 * * *", "45 1,2 * * *"),
    *("0 0 * * *", "59 23 * * *", "0 0 * * 0", "0 9 * * MON-FRI", "15 */3 * * *", "0 6 1 * *", "0 12 L * *"),
    *("0 8 * * FRI#2", "0 8 15W * *", "30 30 2 * * *", "*/20 0 2 * * *", "0 15-45/10 1-3 * * *", "0 0 29 2 *"),
    *("@daily", "@weekly", "@monthly", "5 4 * JAN,JUL SUN", "0 */6 * * *", "30 2 * * SUN", "10 1-4 * * *"),
)

EVERY = (900.0, 3600.0, 5400.0, 7 * 3600.0, 10_007.0, 86_400.0, 604_800.0)

OVERLAPS = ("skip", "buffer_one", "buffer_all", "allow", "cancel")


def random_schedule(rng: random.Random, name: str, wall: float, fast: bool = False) -> ScheduleSpec:
    """A schedule that follows the clock; ``fast``: due every few seconds."""
    cron, every = "", 0.0
    if rng.random() < 0.7:
        cron = rng.choice(CRONS)
    else:
        every = rng.choice(EVERY)
    window = rng.choice([600.0, 3600.0, 6 * 3600.0, 86_400.0, 7 * 86_400.0])
    catch_up = CatchUpSpec(
        window=window,
        policy=rng.choice(["latest", "all", "none"]),
        max=rng.choice([1, 2, 5, 100]),
        grace=rng.choice([60.0, 60.0, 300.0, 1800.0]),
    )
    if fast:
        cron, every = (rng.choice(FAST_CRONS), 0.0) if cron else ("", rng.choice([1.0, 2.0, 3.0, 5.0, 7.0]))
        catch_up = CatchUpSpec(
            window=rng.choice([1.0, 5.0, 20.0, 600.0]),
            policy=catch_up.policy,
            max=rng.choice([1, 2, 5]),
            grace=rng.choice([0.0, 0.5, 2.0]),
        )
    start = end = 0.0
    if rng.random() < 0.15:
        start = float(int(wall) + rng.randrange(-86_400, 20 * 86_400))
        start = float(int(wall) + rng.randrange(-60, 20)) if fast else start
    if rng.random() < 0.1:
        end = float(int(max(wall, start)) + (rng.randrange(1, 30) if fast else rng.randrange(86_400, 200 * 86_400)))
    exclude = []
    if rng.random() < 0.2:
        days = [wall + rng.randrange(0, 1 if fast else 200) * 86_400 for _ in range(1 if fast else 6)]
        exclude = sorted({datetime.fromtimestamp(day, UTC).date().isoformat(): None for day in days})
    jitter = 0.0
    if rng.random() < 0.25:
        jitter = rng.choice([0.5, 0.9]) if fast else rng.choice([1.0, 30.0, 300.0, 890.0])
    return ScheduleSpec(
        name=name,
        cron=cron,
        every=every,
        timezone=rng.choice(ZONES),
        dst=rng.choice(["vixie", "vixie", "vixie", "literal", "utc"]),
        overlap=rng.choice(OVERLAPS),  # type: ignore[arg-type]
        catch_up=catch_up,
        jitter=jitter,
        start=start,
        end=end,
        exclude=exclude,
        deadline=rng.choice([0.0, 0.0, 3.0]) if fast else 0.0,
        paused=rng.random() < 0.05,
    )


FAST_CRONS = ("* * * * * *", "*/2 * * * * *", "*/5 * * * * *", "3-50/7 * * * * *", "* * * * *", "30 30 2 * * *")


def make_schedules(rng: random.Random, wall: float) -> ProjectSpec:
    """A project with dozens of schedules, of pipelines that find nothing to do."""
    pipelines = []
    for number in range(24):
        source = ConnectionSpec("landing", "local", f"/landing/{number}")
        out = ConnectionSpec("out", "local", "/out")
        nodes = [
            NodeSpec("read0", read=ReadSpec(source, "csv", "file_watch")),
            NodeSpec("s0", ["read0"], write=WriteSpec(out, path=f"p{number}", format="parquet")),
        ]
        schedules = [random_schedule(rng, f"s{place}", wall) for place in range(rng.choice([1, 1, 2, 3]))]
        pipelines.append(PipelineSpec(f"p{number}", nodes, trigger="schedule", schedules=schedules))
    return ProjectSpec("year", "/", "/data", 1, pipelines, code_digest="code")
