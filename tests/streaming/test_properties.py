"""Whatever arrives, is lost or restarts: nothing planned is offered again, and every file is planned in the end."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.streaming.harness import source_spec
from tests.streaming.world import World

OPS = ("create", "begin", "append", "finish", "plan", "cancel", "sync", "crash", "advance", "work", "overflow", "lose")
OFTEN = ("create", "create", "plan", "plan", "plan", "work", "work", "work", "advance", "sync")
STEP = st.tuples(st.sampled_from(OPS + OFTEN), st.integers(0, 9), st.booleans())


def begun(ready: bool, lane: str, leases: bool = False) -> World:
    """A world; ``ready``: the source has read its ledger and scanned its empty folder."""
    world = World(source_spec("/data", credit=3, lane=lane), leases=leases)
    if ready:
        world.work()
    return world


def play(world: World, op: str, number: int, flag: bool) -> None:
    """One step of a story."""
    name = f"f{number}.csv"
    entry = world.files.get(name)
    match op:
        case "create" if entry is None:
            world.create(name, lost=flag, age=number)
        case "begin" if entry is None:
            world.begin(name, lost=flag)
        case "append" if entry is not None and entry.open:
            world.append(name, lost=flag)
        case "finish" if entry is not None and entry.open:
            world.finish(name, lost=flag)
        case "plan":
            world.plan(1 + number % 3, lost=flag)
        case "cancel":
            world.cancel(lost=flag)
        case "sync":
            world.sync()
        case "crash":
            world.crash()
        case "advance":
            world.advance((0.1, 1.0, 3.0, 11.0, 40.0)[number % 5])
        case "work":
            world.work(1 + number)
        case "overflow":
            world.overflow()
        case "lose":
            world.lose = flag


@settings(max_examples=200, deadline=None)
@given(st.lists(STEP, min_size=5, max_size=80), st.booleans(), st.sampled_from(["live", "trigger"]), st.booleans())
def test_given_any_story_when_faults_stop_then_every_file_is_planned_exactly_once_and_none_while_its_writer_is_known(
    story: list[tuple[str, int, bool]], ready: bool, lane: str, leases: bool
) -> None:
    world = begun(ready, lane, leases)
    for step in story:
        play(world, *step)
    world.lose = False
    for name, entry in world.files.items():
        if entry.open:
            world.finish(name)
    for _ in range(150):
        world.work()
        world.plan(3)
        world.sync()
        world.advance(3.0)
    planned = [name for _, names in world.planned for name in names]
    changed = [name for name in world.files if name in planned and world.stamps[name].size != world.files[name].size]
    assert sorted(planned) == sorted(world.files)
    assert all(not world.files[name].honest for name in changed)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(STEP.filter(lambda s: s[0] not in {"crash", "cancel"}), max_size=40),
    st.booleans(),
    st.sampled_from(["live", "backfill-9"]),
)
def test_given_any_story_when_a_run_asks_then_it_is_exhausted_once_all_of_its_snapshot_is_planned(
    story: list[tuple[str, int, bool]], ready: bool, lane: str
) -> None:
    world = begun(ready, lane)
    for step in story:
        play(world, *step)
    world.lose = False
    for name, entry in world.files.items():
        if entry.open:
            world.finish(name)
    snapshot = set(world.files)
    world.discover("r1")
    for _ in range(150):
        world.work()
        world.plan(3)
        world.sync()
        world.advance(3.0)
    last = world.offers[-1]
    assert (last.run, last.exhausted, last.left) == ("r1", True, 0)
    assert snapshot == {name for _, names in world.planned for name in names}
