"""``mode: overwrite``: each iteration replaces what the sink holds as a whole, in order, and nothing of others."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from odibi_actors.config.model import NodeSpec, PipelineSpec
from odibi_actors.errors import ConflictError
from odibi_actors.messages import NodeDone, PublishDone, Step
from odibi_actors.model import NOWHERE
from odibi_actors.nodes.sinks import folder, folder_current, owner
from odibi_actors.nodes.sinks import table as table_sink
from odibi_actors.nodes.sinks.targets import check_targets, mark_of
from tests.nodes.helpers import done, outcomes, overwriting, publish_task, sqlite_node, task
from tests.nodes.test_sinks import PUBLISH, World
from tests.synced import Disk

SINKS = pytest.mark.parametrize("sink", ["lake", "mart"])
STORE = "store-1"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def appending(world: World, sink: str) -> NodeSpec:
    return world.lake if sink == "lake" else sqlite_node(world.mart)


def node(world: World, sink: str) -> NodeSpec:
    return overwriting(appending(world, sink))


def table(number: int, rows: int = 2) -> pa.Table:
    """What iteration ``number`` brings."""
    return pa.table({"day": pa.array([str(row) for row in range(rows)], pa.string()), "n": pa.array([number] * rows)})


def read(world: World, sink: str) -> list[tuple[Any, ...]]:
    """All that a reader sees, of a folder by ``current/*.parquet``; nothing where nothing is."""
    if sink == "mart":
        try:
            return world.rows()
        except sqlite3.OperationalError:
            return []
    found = [
        tuple(row.values())
        for path in world.folder.glob("current/*.parquet")
        for row in pq.read_table(path).to_pylist()
    ]
    return sorted(found)


def state(number: int, rows: int = 2) -> list[tuple[Any, ...]]:
    return [(str(row), number) for row in range(rows)]


def publish(world: World, sink: str, number: int) -> NodeDone:
    staged = world.stage(node(world, sink), table(number), number)
    world.publish(node(world, sink), staged, settled=number - 1)
    return staged


def refusal(world: World, sink: NodeSpec, batch: pa.Table, number: int, **more: Any) -> str:
    """Why the part is not staged."""
    failure = world.stage_failure(sink, batch, iteration=number, **more)
    assert failure.kind == "conflict"
    return str(failure.message)


# --- whole, in order, once ----------------------------------------------------------------------------------------


@SINKS
def test_given_several_iterations_when_published_then_each_replaces_the_one_before(world: World, sink: str) -> None:
    for number in (1, 2, 5):
        publish(world, sink, number)
        assert read(world, sink) == state(number)
    if sink == "lake":
        names = ["_current-0000000002-lake.1-1", "_current-0000000005-lake.1-1", "_odibi_owner.json", "current"]
        assert sorted(os.listdir(world.folder)) == names  # the one before is kept for its readers
        assert os.readlink(world.folder / "current") == "_current-0000000005-lake.1-1"
        assert duckdb.sql(f"select * from '{world.folder}/current/*.parquet'").fetchall() == state(5)
        assert pq.read_table(world.folder / "current").num_rows == 2
    else:
        assert world.leftovers() == ["staged", "delays"]


@SINKS
def test_given_no_rows_when_published_then_what_stands_is_empty_and_has_the_columns(world: World, sink: str) -> None:
    publish(world, sink, 1)
    empty = world.stage(node(world, sink), table(2, rows=0), 2)
    world.publish(node(world, sink), empty)
    assert read(world, sink) == []
    if sink == "lake":
        assert pq.read_table(world.folder / "current").schema.remove_metadata() == table(1).schema
    else:
        assert world.rows("select name from pragma_table_info('delays')") == [("day",), ("n",)]
    publish(world, sink, 3)
    assert read(world, sink) == state(3)


@SINKS
def test_given_a_published_part_when_published_again_then_nothing_changes(world: World, sink: str) -> None:
    publish(world, sink, 1)
    staged = world.stage(node(world, sink), table(2), 2)
    for _ in range(3):
        world.publish(node(world, sink), staged)
    assert read(world, sink) == state(2)


@SINKS
def test_given_a_part_that_stands_when_it_is_to_be_given_up_then_that_is_refused_and_it_stays(
    world: World, sink: str
) -> None:
    publish(world, sink, 1)
    work = publish_task(node(world, sink), publish(world, sink, 2))
    failure = world.publish_failure(msgspec.structs.replace(work, action="discard"))
    assert (failure.kind, "iteration 2" in failure.message) == ("conflict", True)
    assert read(world, sink) == state(2)
    publish(world, sink, 3)
    assert read(world, sink) == state(3)


@SINKS
def test_given_a_part_that_was_replaced_when_a_broker_that_does_not_know_publishes_it_again_then_it_is_done(
    world: World, sink: str
) -> None:
    staged = {number: publish(world, sink, number) for number in (1, 2, 3, 4)}
    coming = [(number, staged[number].staged.digest) for number in (2, 3, 4)]  # type: ignore[union-attr]
    work = publish_task(node(world, sink), staged[2], settled=1)
    (result,) = outcomes(world.executor, msgspec.structs.replace(work, upto=1, coming=coming))
    assert isinstance(result, PublishDone), result
    assert read(world, sink) == state(4)


@SINKS
def test_given_an_older_part_when_published_after_a_newer_one_then_it_is_a_conflict_and_the_newer_one_stays(
    world: World, sink: str
) -> None:
    older = world.stage(node(world, sink), table(1), 1)
    assert older.staged is not None
    kept = Path(older.staged.staged).read_bytes()
    publish(world, sink, 2)
    path = Path(older.staged.staged)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(kept)
    failure = world.publish_failure(publish_task(node(world, sink), older))
    assert (failure.kind, "iteration 2" in failure.message, "older iteration 1" in failure.message) == (
        "conflict",
        True,
        True,
    )
    assert read(world, sink) == state(2)


@SINKS
def test_given_any_step_of_publishing_when_somebody_reads_then_it_is_the_old_whole_or_the_new_one(
    world: World, sink: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, list[tuple[Any, ...]]]] = []
    for module in (folder, folder_current, table_sink):
        monkeypatch.setattr(module, "failpoint", lambda name: seen.append((name, read(world, sink))))
    publish(world, sink, 1)
    expected = {"lake": ["folder.link", "folder.linked", "folder.unlinked"]}.get(sink, ["table.committed"])
    assert [name for name, _ in seen][-len(expected) :] == expected
    seen.clear()
    publish(world, sink, 2)
    states = [rows for _, rows in seen]
    assert all(rows in (state(1), state(2)) for rows in states), seen
    assert states == sorted(states, key=state(2).__eq__)
    assert ("folder.rename" if sink == "lake" else "table.commit", state(1)) in seen


@SINKS
def test_given_readers_that_never_rest_when_one_iteration_replaces_the_other_then_each_sees_one_of_them_whole(
    world: World, sink: str
) -> None:
    publish(world, sink, 1)
    ended, wrong, reads = threading.Event(), list[object](), []

    def reader() -> None:
        while not ended.is_set():
            followed = (world.folder / "current").resolve()
            try:
                found = read(world, sink)
            except FileNotFoundError:  # replaced since the folder was listed; never by other bytes
                continue
            except (OSError, pa.ArrowException) as error:
                wrong.append(error)
                return
            if not found and sink == "lake" and not followed.exists():
                continue  # replaced twice between the opening of the folder and its listing: that one is gone
            reads.append(len(found))
            if len(found) != 2 or len({n for _, n in found}) != 1:
                wrong.append(found)

    threads = [threading.Thread(target=reader) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(2, 60):
        publish(world, sink, number)
    ended.set()
    for thread in threads:
        thread.join()
    assert (wrong, bool(reads)) == ([], True)


def test_given_a_reader_that_opens_what_it_has_listed_again_when_that_is_replaced_then_it_finds_nothing_else_there(
    world: World,
) -> None:
    """DuckDB, polars and pandas open a file several times for one query: its footer, then its data."""
    publish(world, "lake", 1)
    (listed,) = world.folder.glob("current/*.parquet")
    followed = (world.folder / "current").resolve()
    publish(world, "lake", 2)
    assert not listed.exists()
    (kept,) = followed.glob("*.parquet")  # who follows the link first is not disturbed by the next commit
    assert pq.read_table(kept).column("n").to_pylist() == [1, 1]
    publish(world, "lake", 3)
    assert not followed.exists()


# --- kill -9, SIGSTOP, power loss ---------------------------------------------------------------------------------


def elsewhere(world: World, staged: NodeDone, sink: str, point: str) -> subprocess.Popen[bytes]:
    """Another process publishes the part, and has this accident."""
    work = msgspec.json.encode(publish_task(node(world, sink), staged)).decode()
    argv = [sys.executable, "-c", PUBLISH, str(world.root / ".odibi"), work]
    return subprocess.Popen(
        argv, env={**os.environ, "ODIBI_FAILPOINTS": point}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


POINTS = ["folder.link", "folder.rename", "folder.linked", "folder.unlinked"]


@pytest.mark.process
@pytest.mark.parametrize("point", [*POINTS, "table.begin", "table.commit", "table.committed"])
def test_given_a_publisher_killed_anywhere_when_published_again_then_the_new_one_stands(
    world: World, point: str
) -> None:
    sink = "lake" if point.startswith("folder") else "mart"
    number = 1 if point == "folder.link" else 2
    if number == 2:
        publish(world, sink, 1)
    before = read(world, sink)
    staged = world.stage(node(world, sink), table(number), number)
    killed = elsewhere(world, staged, sink, f"{point}:kill")
    assert killed.wait(60) == -signal.SIGKILL, killed.communicate()
    assert read(world, sink) in (before, state(number))
    world.publish(node(world, sink), staged)
    assert read(world, sink) == state(number)
    if sink == "lake":
        kept = [f"_current-{one:010d}-lake.1-1" for one in range(1, number + 1)]
        assert sorted(os.listdir(world.folder)) == [*kept, "_odibi_owner.json", "current"]


@pytest.mark.process
@pytest.mark.parametrize("point", ["folder.link", "folder.rename", "table.begin"])
def test_given_a_publisher_that_was_stopped_when_it_wakes_behind_newer_ones_then_they_stay(
    world: World, point: str
) -> None:
    sink = "lake" if point.startswith("folder") else "mart"
    number = 1 if point == "folder.link" else 2
    if number == 2:
        publish(world, sink, 1)
    staged = world.stage(node(world, sink), table(number), number)
    stopped = elsewhere(world, staged, sink, f"{point}:stop")
    _, status = os.waitpid(stopped.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    world.publish(node(world, sink), staged)  # by the next broker's worker
    publish(world, sink, number + 1)
    os.kill(stopped.pid, signal.SIGCONT)
    stopped.communicate(timeout=60)
    assert read(world, sink) == state(number + 1)


@pytest.mark.process
def test_given_a_stopped_publisher_whose_sink_was_given_up_when_it_wakes_then_what_came_later_stays(
    world: World,
) -> None:
    publish(world, "lake", 1)
    staged = world.stage(node(world, "lake"), table(2), 2)
    stopped = elsewhere(world, staged, "lake", "folder.rename:stop")
    os.waitpid(stopped.pid, os.WUNTRACED)
    later = world.stage(node(world, "lake"), table(3), 3)
    killed = elsewhere(world, later, "lake", "folder.linked:kill")  # before it tidies up
    assert killed.wait(60) == -signal.SIGKILL
    os.kill(stopped.pid, signal.SIGCONT)
    out, _ = stopped.communicate(timeout=60)
    assert b"NodeFailed" in out
    assert read(world, "lake") == state(3)


def test_given_two_publishers_of_one_part_when_the_other_is_faster_then_it_is_done(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, point in ((1, "folder.link"), (2, "folder.rename")):
        staged = world.stage(node(world, "lake"), table(number), number)
        assert staged.staged is not None
        part = Path(staged.staged.staged)

        def faster(name: str, point: str = point, part: Path = part) -> None:
            if name == point:
                os.rename(f"{part.parent}.link", world.folder / "current")

        with monkeypatch.context() as patched:
            patched.setattr(folder_current, "failpoint", faster)
            world.publish(node(world, "lake"), staged)
        assert read(world, "lake") == state(number)


def test_given_a_part_when_it_replaces_another_then_the_name_is_synced_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(world, "lake", 1)
    staged = world.stage(node(world, "lake"), table(2), 2)
    disk = Disk(monkeypatch)
    world.publish(node(world, "lake"), staged)
    assert staged.staged is not None
    part = Path(staged.staged.published)
    assert disk.done == [
        ("rename", part),
        ("fsync", part.parent),
        ("rename", world.folder / "current"),
        ("fsync", world.folder),
    ]


def test_given_rows_that_the_table_refuses_when_overwritten_then_the_former_ones_stay(world: World) -> None:
    publish(world, "mart", 1)
    staged = world.stage(node(world, "mart"), table(2), 2)
    world.rows("create trigger strict before insert on delays when new.n = 2 begin select raise(abort, 'two'); end")
    assert "two" in world.publish_failure(publish_task(node(world, "mart"), staged)).message
    assert read(world, "mart") == state(1)


@SINKS
@pytest.mark.parametrize("harm", ["gone", "damaged"])
def test_given_a_harmed_part_when_published_then_it_is_a_conflict_and_the_former_one_stays(
    world: World, sink: str, harm: str
) -> None:
    publish(world, sink, 1)
    staged = world.stage(node(world, sink), table(2), 2)
    assert staged.staged is not None
    part = Path(staged.staged.staged)
    part.unlink() if harm == "gone" else part.write_bytes(part.read_bytes()[:-1] + b"\0")
    failure = world.publish_failure(publish_task(node(world, sink), staged))
    assert (failure.kind, str(part) in failure.message) == ("conflict", True)
    assert read(world, sink) == state(1)


@SINKS
def test_given_a_part_that_is_given_up_when_discarded_then_nothing_of_it_is_left_and_the_former_one_stays(
    world: World, sink: str
) -> None:
    publish(world, sink, 1)
    before = sorted(path for path in world.root.rglob("*") if "spool" not in path.parts)
    staged = world.stage(node(world, sink), table(2), 2)
    given_up = msgspec.structs.replace(publish_task(node(world, sink), staged), action="discard")
    for _ in range(2):
        (result,) = outcomes(world.executor, given_up)
        assert isinstance(result, PublishDone)
    left = sorted(path for path in world.root.rglob("*") if "spool" not in path.parts)
    assert [path for path in left if path not in before and path.name != "2"] == []
    publish(world, sink, 3)
    assert read(world, sink) == state(3)


def test_given_dead_attempts_and_files_of_others_when_published_then_the_former_go_and_the_latter_stay(
    world: World,
) -> None:
    publish(world, "lake", 1)
    for counter in (2, 3):
        world.stage(node(world, "lake"), table(2), 2, counter)
    world.stage(node(world, "lake"), table(4), 4)
    (world.folder / "notes.txt").write_text("mine")
    publish(world, "lake", 3)
    names = [f"_current-{name}" for name in ("0000000001-lake.1-1", "0000000003-lake.1-1", "0000000004-lake.1-1")]
    names += [f"{names[-1]}.link", "_odibi_owner.json", "current", "notes.txt"]
    assert sorted(os.listdir(world.folder)) == names


@pytest.mark.parametrize("field", ["staged", "published"])
def test_given_names_that_staging_does_not_give_when_published_or_discarded_then_they_are_refused(
    world: World, field: str
) -> None:
    staged = world.stage(node(world, "lake"), table(1), 1)
    assert staged.staged is not None
    (world.root / "victim").mkdir()
    path = str(world.root / "victim" / "x.staged")
    for part in (
        staged.staged,
        msgspec.structs.replace(staged.staged, published=str(world.root / "victim" / "x" / "y")),
    ):
        work = publish_task(
            node(world, "lake"), msgspec.structs.replace(staged, staged=msgspec.structs.replace(part, **{field: path}))
        )
        assert world.publish_failure(work).kind == "conflict"
        assert world.publish_failure(msgspec.structs.replace(work, action="discard")).kind == "conflict"
    assert (world.root / "victim").is_dir()


# --- whose it is --------------------------------------------------------------------------------------------------


def foreign(world: World, sink: str) -> Callable[[], bytes]:
    """Something of somebody else stands in the target; gives what it is now."""
    if sink == "mart":
        world.rows("create table delays (day text, n integer)")
        with contextlib.closing(sqlite3.connect(world.mart)) as connection, connection:
            connection.execute("insert into delays values ('mine', 0)")
        return lambda: repr(world.rows()).encode()
    world.folder.mkdir(parents=True, exist_ok=True)
    (world.folder / "current").mkdir()
    mine = world.folder / "current" / "mine.parquet"
    pq.write_table(pa.table({"mine": [1]}), mine)
    return mine.read_bytes


@SINKS
def test_given_what_is_of_somebody_else_when_it_would_be_overwritten_then_it_is_refused_and_stays(
    world: World, sink: str
) -> None:
    staged = world.stage(node(world, sink), table(1), 1)
    content = foreign(world, sink)
    before = content()
    said = (
        "is not what a sink has published"
        if sink == "lake"
        else "holds 1 rows that no overwrite of delays.mart has written"
    )
    assert said in refusal(world, node(world, sink), table(1), 1)
    assert said in world.publish_failure(publish_task(node(world, sink), staged)).message
    spec = PipelineSpec("delays", [node(world, sink)])
    with pytest.raises(ConflictError, match=r"^delays\.(lake|mart): [^\n]*$") as refused:
        check_targets([spec], STORE, NOWHERE)
    assert said in str(refused.value)
    assert content() == before


@SINKS
def test_given_a_target_that_is_refused_when_nobody_owns_it_then_nobody_does_after_it(world: World, sink: str) -> None:
    foreign(world, sink)
    refusal(world, node(world, sink), table(1), 1)
    spec = node(world, sink).write
    assert spec is not None
    assert mark_of(spec.target) is None


def test_given_a_strange_file_that_appears_at_the_last_moment_when_published_then_it_is_not_replaced(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = world.stage(node(world, "lake"), table(1))
    strange = world.folder / "current"
    monkeypatch.setattr(folder_current, "failpoint", lambda _: strange.write_bytes(b"mine"))
    assert world.publish_failure(publish_task(node(world, "lake"), staged)).kind == "conflict"
    assert strange.read_bytes() == b"mine"


@SINKS
def test_given_another_store_when_it_has_taken_over_then_what_the_former_one_published_is_not_deleted(
    world: World, sink: str
) -> None:
    publish(world, sink, 1)
    assert "belongs to" in refusal(world, node(world, sink), table(1), 1, store_id="store-2")
    if sink == "lake":
        (world.folder / owner.OWNER_FILE).unlink()
    else:
        with contextlib.closing(sqlite3.connect(world.mart)) as connection, connection:
            connection.execute("delete from _odibi_owners")
    said = refusal(world, node(world, sink), table(1), 1, store_id="store-2")
    assert ("(store store-1), and is not overwritten" if sink == "lake" else "no overwrite of delays.mart") in said
    assert read(world, sink) == state(1)


def test_given_an_empty_table_of_somebody_when_overwritten_then_its_constraints_stay(world: World) -> None:
    world.rows("create table delays (day text primary key, n integer check (n < 9))")
    publish(world, "mart", 1)
    publish(world, "mart", 2)
    assert read(world, "mart") == state(2)
    assert "CHECK constraint failed" in world.stage_failure(node(world, "mart"), table(9), iteration=3).message


# --- another mode, another lane -----------------------------------------------------------------------------------


@SINKS
def test_given_what_was_appended_when_the_mode_becomes_overwrite_then_it_is_refused_not_deleted(
    world: World, sink: str
) -> None:
    staged = world.stage(node(world, sink), table(2), 2)
    world.publish(appending(world, sink), world.stage(appending(world, sink), table(1), 1))
    said = "parts that were appended (part-0000000001-lake.parquet)" if sink == "lake" else "holds 2 rows that no"
    assert said in refusal(world, node(world, sink), table(3), 3)
    assert said in world.publish_failure(publish_task(node(world, sink), staged)).message
    with pytest.raises(ConflictError, match="delays"):
        check_targets([PipelineSpec("delays", [node(world, sink)])], STORE, NOWHERE)
    assert len(pq.read_table(world.folder / "part-0000000001-lake.parquet") if sink == "lake" else world.rows()) == 2


def test_given_a_file_that_was_overwritten_when_the_mode_becomes_append_then_no_part_comes_beside_it(
    world: World,
) -> None:
    staged = world.stage(world.lake, table(2), 2)
    publish(world, "lake", 1)
    assert "published with `mode: overwrite`" in refusal(world, world.lake, table(2), 2)
    assert "published with `mode: overwrite`" in world.publish_failure(publish_task(world.lake, staged)).message
    with pytest.raises(ConflictError, match="mode: overwrite"):
        check_targets([PipelineSpec("delays", [world.lake])], STORE, NOWHERE)
    assert read(world, "lake") == state(1)


def test_given_a_file_of_somebody_when_parts_are_appended_beside_it_then_nobody_minds(world: World) -> None:
    foreign(world, "lake")
    world.publish(world.lake, world.stage(world.lake, table(1), 1))
    check_targets([PipelineSpec("delays", [world.lake])], STORE, NOWHERE)


def test_given_a_table_that_was_overwritten_when_rows_are_appended_then_a_later_overwrite_does_not_delete_them(
    world: World,
) -> None:
    publish(world, "mart", 1)
    world.publish(sqlite_node(world.mart), world.stage(sqlite_node(world.mart), table(2), 2))
    assert read(world, "mart") == sorted([*state(1), *state(2)])
    assert "holds 4 rows that no overwrite" in refusal(world, node(world, "mart"), table(3), 3)


def test_given_an_appended_part_of_another_lane_when_the_table_was_overwritten_since_then_it_does_not_come_behind_it(
    world: World,
) -> None:
    behind = world.stage(sqlite_node(world.mart), table(1), 1)
    publish(world, "mart", 2)
    failure = world.publish_failure(publish_task(sqlite_node(world.mart), behind))
    assert "was overwritten by iteration 2" in failure.message
    assert "`odibictl iteration abandon delays 1 --sink mart`" in failure.message
    assert read(world, "mart") == state(2)


@SINKS
def test_given_an_iteration_of_a_backfill_when_staged_then_it_is_refused_and_halts(world: World, sink: str) -> None:
    said = refusal(world, node(world, sink), table(1), 1, lane="backfill-9")
    assert "`odibictl backfill cancel delays backfill-9`" in said


# --- the schema ---------------------------------------------------------------------------------------------------


def test_given_no_pin_when_another_type_comes_then_what_stands_tells_it_and_the_way_out_is_true(world: World) -> None:
    """After a rewind the pin is gone, and what the sink holds is there still."""
    publish(world, "lake", 1)
    text = pa.table({"day": ["x"], "n": ["many"]})
    failure = world.stage_failure(node(world, "lake"), text, iteration=2)
    assert (failure.kind, "`odibictl reset delays --targets`" in failure.message) == ("invalid", True)
    shutil.rmtree(world.folder)  # what that does
    world.publish(node(world, "lake"), world.stage(node(world, "lake"), text, 2))
    assert read(world, "lake") == [("x", "many")]


@SINKS
def test_given_a_pin_when_another_type_comes_then_it_is_refused_and_a_fitting_one_is_cast(
    world: World, sink: str
) -> None:
    first = world.stage(node(world, sink), table(1), 1)
    world.publish(node(world, sink), first)
    pin = Step(node(world, sink), "", schema=first.schema)

    def staged(batch: pa.Table, number: int) -> NodeDone:
        inputs = {"clean": world.ref(batch, number)}
        return done(world.executor, task(pin, inputs=inputs, iteration=number))

    world.publish(node(world, sink), staged(pa.table({"n": [2.0], "day": ["0"]}), 2))
    assert read(world, sink) == [("0", 2)]
    failure = world.stage_failure(pin, pa.table({"n": [2.5], "day": ["0"]}))  # type: ignore[arg-type]
    assert (failure.column, "reset delays --targets" in failure.message) == ("n", True)


@SINKS
def test_given_no_row_and_types_that_nobody_told_when_published_then_nothing_is_made_and_what_stood_is_gone(
    world: World, sink: str
) -> None:
    first = world.stage(node(world, sink), table(1, rows=0), 1, typeless=["src"])
    for _ in range(2):
        world.publish(node(world, sink), first)
    assert read(world, sink) == []
    assert (world.folder / "current").exists() is False
    publish(world, sink, 2)
    reopened = Step(node(world, sink), "", schema=world.stage(node(world, sink), table(2), 2).schema, open=True)
    void = world.stage(reopened, table(3, rows=0), 3, typeless=["src"])  # type: ignore[arg-type]
    assert void.schema == b""
    for _ in range(2):
        world.publish(node(world, sink), void)
    assert read(world, sink) == []
    publish(world, sink, 4)
    assert read(world, sink) == state(4)


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    """A stopped process that a failed test has left is killed."""
    yield
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, _ = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            if pid == 0:
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
