"""kill -9 of anything, at random moments, while flights arrive: it finishes by itself and no row is lost or doubled."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.harness import ACTORS, SUPERVISORS, Delivery, Flights, System, finish, moments

Make = Callable[[Path], System]

UP = (sys.executable, "-m", "odibi_actors.cli", "up")
HONCHO = (sys.executable, "-m", "honcho", "start")

TIMES = 3
WORKERS = ("pool", "template", "worker")


def later(*roles: str) -> object:
    """Among the soaks: each of these is killed once below, and ``scripts/chaos`` kills all of them for longer."""
    return pytest.param(roles, marks=pytest.mark.soak)


@pytest.mark.parametrize(
    "roles", [later("broker", "checkpoint"), later("scheduler", "source"), later(*WORKERS)], ids="+".join
)
def test_given_files_that_arrive_when_processes_are_killed_again_and_again_then_every_row_is_there_once(
    roles: tuple[str, ...], flights: Flights, make: Make, tmp_path: Path
) -> None:
    rng = random.Random(f"kill {roles}")
    system = make(flights.project(tmp_path / "f"))
    system.start()
    files = flights.files[:40]
    victims = rng.sample(roles * TIMES, k=len(roles) * TIMES)
    killed: dict[str, list[int]] = {role: [] for role in roles}
    with Delivery(system.project / "data/landing", files, 10) as delivery:
        for moment, role in zip(moments(rng, 2, len(files) - 4, len(victims)), victims, strict=True):
            delivery.reach(moment)
            killed[role].append(system.kill(role, rng=rng))
    finish(system, flights, len(files))
    for role in roles:
        assert len(set(killed[role])) == TIMES
        assert not set(killed[role]) & set(system.pids(role))
    assert system.main is not None
    assert system.main.poll() is None, "all was stopped"


def test_given_files_that_arrive_when_every_process_is_killed_in_turn_then_every_row_is_there_once(
    flights: Flights, make: Make, tmp_path: Path
) -> None:
    rng = random.Random("kill all")
    system = make(flights.project(tmp_path / "f"))
    system.start()
    roles = [*ACTORS, "template", "worker"]
    rng.shuffle(roles)
    with Delivery(system.project / "data/landing", flights.files, 10) as delivery:
        for moment, role in zip(moments(rng, 2, flights.days - 2, len(roles)), roles, strict=True):
            delivery.reach(moment)
            system.kill(role, rng=rng)
    finish(system, flights)


@pytest.mark.parametrize("roles", [SUPERVISORS[:3], later(*SUPERVISORS[3:])], ids="+".join)
def test_given_files_that_arrive_when_supervisors_are_killed_under_up_then_they_come_back_and_no_row_is_lost(
    roles: tuple[str, ...], flights: Flights, make: Make, tmp_path: Path
) -> None:
    rng = random.Random(f"kill {roles}")
    system = make(flights.project(tmp_path / "f"))
    (system.project / "Procfile").unlink()  # `up` needs none
    main = system.start()
    files = flights.files[:36]
    killed = []
    with Delivery(system.project / "data/landing", files, 4) as delivery:
        for moment, role in zip(moments(rng, 2, len(files) - 4, 2 * len(roles)), roles * 2, strict=True):
            delivery.reach(moment)
            killed.append(system.kill(role))
    finish(system, flights, len(files))
    assert main.poll() is None, "all was stopped"
    assert not set(killed) & {pid for role in roles for pid in system.pids(role)}
    assert all(len(system.pids(role)) == 1 for role in SUPERVISORS)


@pytest.mark.parametrize("argv", [UP, pytest.param(HONCHO, marks=pytest.mark.soak)], ids=["up", "honcho"])
def test_given_files_that_arrive_when_the_launcher_is_killed_then_all_stops_and_the_next_start_finishes(
    argv: tuple[str, ...], flights: Flights, make: Make, tmp_path: Path
) -> None:
    rng = random.Random(f"kill {argv}")
    system = make(flights.project(tmp_path / "f"))
    system.start(*argv)
    files = flights.files[:36]
    # honcho stops all when one of its lines ends
    roles = ("launcher", SUPERVISORS[0], SUPERVISORS[4]) if argv == HONCHO else ("launcher", "launcher")
    with Delivery(system.project / "data/landing", files, 4) as delivery:
        for role in roles:
            # somewhere in the work on the next files, wherever the last start has got to by then
            delivery.reach(min(len(files), delivery.delivered + rng.randint(1, 4)))
            system.kill(role)
            assert system.extinct(), f"left running after {role} was killed: {system.processes.living()}"
            system.start(*argv)
    finish(system, flights, len(files))
