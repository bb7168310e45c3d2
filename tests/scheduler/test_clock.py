"""The machine's clock and zones: what is told of them, and when."""

from __future__ import annotations

import os
import select
from pathlib import Path

import pytest

from odibi_actors.messages import ClockSet
from odibi_actors.scheduler import clock as module
from odibi_actors.scheduler.clock import Alarm, WallClock, ZoneFiles, zone_files


class Machine:
    """Two clocks, set by hand."""

    def __init__(self) -> None:
        self.wall, self.elapsed = 1_000.0, 50.0

    def follow(self, now: float) -> WallClock:
        return WallClock(now, lambda: self.wall, lambda: self.elapsed)

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.elapsed += seconds


def test_given_a_clock_when_first_looked_at_then_its_offset_is_told_and_later_only_what_changes() -> None:
    machine = Machine()
    clock = machine.follow(990.0)
    assert clock.look() == ClockSet(10.0, jumped=False)
    machine.pass_(3_600.0)
    assert clock.look() is None
    machine.wall += 0.0009
    assert clock.look() is None
    machine.wall += 0.25
    set_ = clock.look()
    assert set_ is not None
    assert (set_.offset, set_.jumped) == (pytest.approx(10.2509), False)
    assert clock.look() is None
    machine.wall -= 7_200.0
    set_ = clock.look()
    assert set_ is not None
    assert (set_.offset, set_.jumped) == (pytest.approx(-7189.7491), True)


def test_given_many_small_corrections_when_they_add_up_then_they_are_told() -> None:
    machine = Machine()
    clock = machine.follow(1_000.0)
    clock.look()
    told = []
    for _ in range(20):
        machine.wall += 0.0004
        told.append(clock.look())
    assert [one.offset for one in told if one is not None][-1] == pytest.approx(0.008, abs=0.0011)


def test_given_the_alarm_when_its_time_comes_then_it_wakes_and_waits_again() -> None:
    alarm = Alarm()
    assert alarm.fd is not None
    assert select.select([alarm.fd], [], [], 0)[0] == []
    assert alarm.arm(at=1)  # a second long ago, in place of somebody who sets the clock
    assert select.select([alarm.fd], [], [], 10)[0] == [alarm.fd]
    alarm.read()
    assert select.select([alarm.fd], [], [], 0)[0] == []
    alarm.close()
    alarm.close()
    alarm.read()
    assert alarm.fd is None


def test_given_a_system_without_timers_when_an_alarm_is_made_then_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module.ctypes, "CDLL", lambda *_, **__: object())
    assert Alarm().fd is None


def test_given_zone_files_when_they_change_then_it_is_seen_once_a_minute_at_most(tmp_path: Path) -> None:
    file = tmp_path / "tzdata.zi"
    file.write_text("2025a")
    zones = ZoneFiles(100.0, lambda: [tmp_path, file, tmp_path / "none"])
    file.write_text("2025b")
    os.utime(file, (1, 1))
    assert not zones.changed(159.0)
    assert zones.changed(160.0)
    assert not zones.changed(161.0)
    assert not zones.changed(220.0)
    (tmp_path / "new").write_text("")
    os.utime(tmp_path, (1, 1))
    assert zones.changed(280.0)


def test_given_this_machine_when_its_zone_files_are_named_then_some_exist() -> None:
    assert any(path.exists() for path in zone_files())
