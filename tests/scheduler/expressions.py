"""Random cron expressions of every form, from a seed."""

from __future__ import annotations

import random
from datetime import date, timedelta

from tests.scheduler.oracle import DAYS, MONTHS, SHORT


def random_expression(rng: random.Random, near: date | None = None, *, seconds: bool = False) -> str:
    """Five fields (six with ``seconds``), or a shorthand. Hours are mostly small, where zones change; most match a day
    around ``near``, where days are chosen at all."""
    if not seconds and rng.random() < 0.02:
        return rng.choice(list(SHORT))
    near = (near or date(2026, 1, 1) + timedelta(days=rng.randint(0, 3000))) + timedelta(
        days=rng.choice([-1, 0, 0, 0, 1])
    )
    minute, hour = _field(rng, 0, 59, 0.1), _field(rng, 0, rng.choice([5, 5, 23]), 0.2)
    words = [minute, hour, *_days(rng, near)]
    if seconds:
        words.insert(0, _field(rng, 0, 59, 0.1))
        if rng.random() < 0.5:  # else there are few
            words[1] = rng.choice(["*", "*/5", str(rng.randint(0, 59))])
    text = " ".join(words)
    return text.upper() if rng.random() < 0.1 else text


def _days(rng: random.Random, near: date) -> tuple[str, str, str]:
    """Day of month, month, day of week; both days only in forms that all tools read alike."""
    form = rng.choice(["any", "any", "day", "weekday", "both", "special"])
    month = _field(rng, 1, 12, 0.9, near.month)
    if rng.random() < 0.2:
        other = rng.randint(1, 12)
        month = rng.choice(
            [MONTHS[near.month - 1], f"{MONTHS[min(other, near.month) - 1]}-{max(other, near.month)}", f"*,{other}"[2:]]
        )
    if form == "special":
        return _special_day(rng, near, month)
    here = near.isoweekday() % 7
    day = _field(rng, 1, 31, 0.0, near.day) if form in ("day", "both") else "*"
    weekday = _field(rng, 0, 7, 0.0, here) if form in ("weekday", "both") else "*"
    if form == "weekday" and rng.random() < 0.4:
        weekday = rng.choice(
            [DAYS[here], f"{DAYS[here]}-sun", f"mon-{DAYS[here or 7]}", f"{DAYS[here]},{DAYS[(here + 2) % 7]}"]
        )
    if form == "both":  # a step of * is refused beside another day
        day, weekday = day.replace("*", "1-31"), weekday.replace("*", "0-6")
    return _possible(day, weekday), month, weekday


def _possible(day: str, weekday: str) -> str:
    """Days that every month has, so that no expression is impossible."""
    if weekday != "*" or day[0] == "*" or int(day.replace("-", ",").replace("/", ",").split(",")[0]) <= 28:
        return day
    return f"1,{day}"


def _special_day(rng: random.Random, near: date, month: str) -> tuple[str, str, str]:
    here, nth = near.isoweekday() % 7, (near.day + 6) // 7
    name = rng.choice([str(here), DAYS[here], "7" if here == 0 else str(here)])
    weekday = rng.choice(
        [f"{name}#{nth}", f"{name}L", f"L{name}", f"{name}#{nth},{rng.randint(0, 6)}#1", f"{name}L,{name}#2"]
    )
    day = rng.choice(["L", f"{min(near.day, 28)}W", f"W{min(near.day + 1, 28)}", f"{rng.randint(1, 28)},L"])
    if rng.random() < 0.5:
        return day, month, "*"
    return "*", month if nth < 5 else "*", weekday


def _field(rng: random.Random, low: int, high: int, star: float, wanted: int | None = None) -> str:
    dice = rng.random()
    if dice < star:
        return "*"
    if dice < star + 0.15:
        return f"*/{rng.choice([2, 3, 5, 7])}"
    if dice < star + 0.3:
        first = rng.randint(low, high if wanted is None else wanted)
        last = rng.randint(first if wanted is None else wanted, high)
        step = f"/{rng.randint(1, 4)}" if rng.random() < 0.4 else ""
        return f"{first}-{last}{step}"
    chosen = set(rng.sample(range(low, high + 1), rng.randint(1, 3)))
    if wanted is not None and rng.random() < 0.8:
        chosen.add(wanted)
    items = [str(number) for number in sorted(chosen)]
    if rng.random() < 0.1:
        items.append(f"{low}-{rng.randint(low + 1, high)}/{rng.randint(1, 3)}")
    return ",".join(items)
