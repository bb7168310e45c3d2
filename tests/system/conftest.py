"""Systems of real processes; when a test ends, nothing of them may be left running."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.harness import Flights, System

DAYS = 60


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole systems need the cores: those of a file run one after the other."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.process)
            item.add_marker(pytest.mark.xdist_group(f"systems-{item.path.stem}"))
            item.add_marker(pytest.mark.timeout(240))


@pytest.fixture(scope="session")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Flights:
    return Flights(tmp_path_factory.mktemp("flights"), DAYS)


@contextmanager
def systems() -> Iterator[Callable[[Path], System]]:
    """Makes systems. One that still runs in the end is stopped by ``odibictl down``, and nothing may be left of it."""
    made: list[System] = []

    def new(project: Path) -> System:
        made.append(System(project))
        return made[-1]

    problems = []
    try:
        yield new
    finally:
        for system in made:
            try:
                if system.processes.living():
                    system.stop()
                problems += system.bugs()
            except AssertionError as error:
                problems.append(str(error))
            finally:
                system.close()
    assert not problems, "\n".join(problems)


@pytest.fixture
def make() -> Iterator[Callable[[Path], System]]:
    with systems() as new:
        yield new
