"""Schedules through crashes, downtimes and a clock that is set: some days of ``scripts/simulate --year``."""

from __future__ import annotations

from functools import cache

import pytest

from odibi_actors.scheduler import agenda
from odibi_actors.sim import year
from odibi_actors.sim.verdict import Violation
from odibi_actors.sim.year import Accounts, Year

pytestmark = pytest.mark.xdist_group("year")
"""One process: the days that are counted are looked at too."""

SEEDS = (2, 7)


@cache
def lived(seed: int) -> Accounts:
    return Year(seed, 6.0).run()


def total(field: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for seed in SEEDS:
        for what, number in getattr(lived(seed), field).items():
            found[what] = found.get(what, 0) + number
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_given_days_of_faults_when_counted_then_no_occurrence_is_lost_or_doubled(seed: int) -> None:
    accounts = lived(seed)

    assert (accounts.lost, accounts.doubled) == (0, 0)
    assert accounts.started == accounts.runs > 500
    assert accounts.started + sum(accounts.skipped.values()) == accounts.occurrences


def test_given_days_of_faults_when_looked_at_then_every_kind_was_among_them() -> None:
    faults, skipped = total("counts"), total("skipped")
    for kind in (
        *("crash broker", "crash store", "crash scheduler", "crash source", "clock forward", "clock back", "down"),
        *("lost", "apply", "operator schedule.pause", "operator schedule.add"),
    ):
        assert faults.get(kind, 0) >= 2, f"{kind}: {faults}"
    for reason in ("outside catch_up.window", "overlap", "superseded by a later one", "late, catch_up.policy none"):
        assert skipped.get(reason, 0) > 0, f"{reason}: {skipped}"


def test_given_a_seed_when_lived_twice_then_the_trace_is_the_same() -> None:
    assert Year(5, 2.5).run() == Year(5, 2.5).run()


def test_given_a_year_when_it_is_over_then_the_actors_are_as_quick_as_before() -> None:
    before = agenda.REPEAT

    with year._slow():
        assert before < agenda.REPEAT

    assert before == agenda.REPEAT


def test_given_a_scheduler_that_leaves_out_an_occurrence_when_lived_then_it_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = agenda.Agenda.put

    def late(self: agenda.Agenda, item: agenda.ScheduleEntry) -> None:
        real(self, item)
        entry = self.entries.get((item.pipeline, item.spec.name))
        if entry is not None:
            entry.stream.limit = 100
            if entry.stream.look() is not None:
                entry.stream.pass_()

    monkeypatch.setattr(agenda.Agenda, "put", late)

    with pytest.raises(Violation, match=r"I1: p\d+\.s\d+: 1 from .* the calendar has"):
        Year(0, 4.0).run()
