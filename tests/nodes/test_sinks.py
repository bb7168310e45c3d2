"""Sinks publish whole parts, once, whatever is killed and however often they are told."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from odibi_actors.batches.files import digest_file
from odibi_actors.batches.spool import Spool
from odibi_actors.config.model import NodeSpec
from odibi_actors.messages import NodeDone, PublishDone, PublishTask
from odibi_actors.model import Attempt, BatchRef
from odibi_actors.nodes.executor import Executor
from odibi_actors.nodes.sinks import folder as folder_sink
from odibi_actors.nodes.sinks import sqlite_sink
from odibi_actors.nodes.sinks import table as table_sink
from odibi_actors.nodes.sinks.owner import OWNER_FILE, folder_owner
from odibi_actors.nodes.sinks.sqlite_types import as_sqlite
from tests import targets
from tests.nodes.helpers import done, failed, outcomes, overwriting, parquet_node, publish_task, sqlite_node, task
from tests.synced import Disk


class World:
    """A data_dir, a lake and a mart in one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.executor = Executor(root / ".odibi", "host", "w1", "code", clock=lambda: 5.0)
        self.lake = parquet_node(root / "lake")
        self.folder = root / "lake" / "flights"
        self.mart = root / "mart.db"

    def ref(self, table: pa.Table, iteration: int = 1) -> BatchRef:
        return Spool(self.root / ".odibi" / "spool", "host").write(table, "delays", iteration, "clean", Attempt(1, 1))

    def stage(self, node: NodeSpec, table: pa.Table, iteration: int = 1, counter: int = 1, **more: Any) -> NodeDone:
        inputs = {"clean": self.ref(table, iteration)}
        return done(self.executor, task(node, inputs=inputs, iteration=iteration, counter=counter, **more))

    def stage_failure(self, node: NodeSpec, table: pa.Table, **more: Any) -> Any:
        return failed(self.executor, task(node, inputs={"clean": self.ref(table)}, **more)).failure

    def publish(self, node: NodeSpec, staged: NodeDone, settled: int = 0) -> None:
        (result,) = outcomes(self.executor, publish_task(node, staged, settled=settled))
        assert isinstance(result, PublishDone), result

    def publish_failure(self, work: PublishTask) -> Any:
        return failed(self.executor, work).failure

    def rows(self, sql: str = "select * from delays order by 1, 2") -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.mart)) as connection:
            return connection.execute(sql).fetchall()

    def leftovers(self) -> list[str]:
        return [p.name for p in self.root.rglob("*") if p.suffix in (".staged", ".tmp") or "staged" in p.parts]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_given_a_part_that_was_published_untold_when_given_up_then_it_is_gone_and_a_foreign_one_stays(
    world: World,
) -> None:
    for number in (1, 2):
        staged = world.stage(world.lake, pa.table({"a": [number]}), number)
        assert staged.staged is not None
        target = Path(staged.staged.published)
        if number == 1:
            world.publish(world.lake, staged)
        else:
            target.write_bytes(b"somebody else's")
        given_up = msgspec.structs.replace(publish_task(world.lake, staged), action="discard")
        for _ in range(2):
            (result,) = outcomes(world.executor, given_up)
            assert isinstance(result, PublishDone)
        assert target.exists() == (number == 2)
    assert world.leftovers() == []


@pytest.mark.parametrize("mode", ["append", "upsert", "overwrite"])
def test_given_rows_that_were_published_untold_when_given_up_then_that_is_refused_until_they_are_gone(
    world: World, mode: str
) -> None:
    node = sqlite_node(world.mart, keys=("day",) if mode == "upsert" else ())
    node = overwriting(node) if mode == "overwrite" else node
    world.publish(node, world.stage(node, TABLE, 1))
    staged = world.stage(node, OTHER, 2)
    given_up = msgspec.structs.replace(publish_task(node, staged), action="discard")
    world.publish(node, staged)
    said = world.publish_failure(given_up)
    assert (said.kind, said.message.startswith("2 rows of iteration 2 were published to table")) == ("conflict", True)
    statement = said.message.rpartition("`delete")[2].rstrip("`")
    with contextlib.closing(sqlite3.connect(world.mart)) as connection, connection:
        connection.execute(f"delete{statement}")
    for _ in range(2):
        (result,) = outcomes(world.executor, given_up)
        assert isinstance(result, PublishDone)


TABLE = pa.table({"day": ["mon", "tue"], "n": [1, 2]})
OTHER = pa.table({"day": ["mon", "wed"], "n": [10, 30]})


# --- files --------------------------------------------------------------------------------------------------------


def test_given_a_staged_part_then_no_reader_of_the_folder_sees_it_until_it_is_published(world: World) -> None:
    world.publish(world.lake, world.stage(world.lake, TABLE, 1))
    staged = world.stage(world.lake, OTHER, 2)
    assert staged.staged is not None
    assert Path(staged.staged.staged).is_file()
    assert pq.read_table(world.folder).num_rows == 2
    assert len(list(world.folder.glob("*.parquet"))) == 1
    world.publish(world.lake, staged)
    assert pq.read_table(world.folder).num_rows == 4
    names = sorted(os.listdir(world.folder))
    assert names == [OWNER_FILE, "part-0000000001-lake.parquet", "part-0000000002-lake.parquet"]
    assert digest_file(Path(staged.staged.published)) == (staged.staged.digest, staged.staged.size)


def test_given_no_rows_when_published_then_there_is_one_empty_part(world: World) -> None:
    world.publish(world.lake, world.stage(world.lake, TABLE.slice(0, 0)))
    assert pq.read_table(world.folder).equals(TABLE.slice(0, 0))


def test_given_a_published_part_when_published_again_then_nothing_changes(world: World) -> None:
    staged = world.stage(world.lake, TABLE)
    for _ in range(3):
        world.publish(world.lake, staged)
    assert pq.read_table(world.folder).equals(TABLE)


def test_given_the_same_attempt_twice_then_the_first_part_stands_and_another_is_beside_it(world: World) -> None:
    first, other = world.stage(world.lake, TABLE), world.stage(world.lake, OTHER)
    assert world.stage(world.lake, TABLE).staged == first.staged != other.staged
    assert world.stage(world.lake, OTHER).staged == other.staged
    world.publish(world.lake, first)
    assert pq.read_table(world.folder).equals(TABLE)
    assert world.leftovers() == []


def test_given_dead_attempts_when_a_later_iteration_is_published_then_their_parts_are_swept(world: World) -> None:
    for counter in (1, 2):
        world.stage(world.lake, TABLE, 1, counter)
    world.stage(parquet_node(world.root / "lake", "lake"), TABLE, 3, 1)
    world.publish(world.lake, world.stage(world.lake, TABLE, 2, 1), settled=1)
    assert sorted(p.name for p in world.folder.glob("*.staged")) == ["_part-0000000003-lake.1-1.staged"]


def test_given_a_strange_file_under_the_published_name_when_published_then_it_is_a_conflict(world: World) -> None:
    staged = world.stage(world.lake, TABLE)
    strange = world.folder / "part-0000000001-lake.parquet"
    strange.write_bytes(b"mine")
    failure = world.publish_failure(publish_task(world.lake, staged))
    assert (failure.kind, str(strange) in failure.message) == ("conflict", True)
    assert strange.read_bytes() == b"mine"


def test_given_a_strange_file_that_appears_at_the_last_moment_when_published_then_it_is_not_replaced(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = world.stage(world.lake, TABLE)
    strange = world.folder / "part-0000000001-lake.parquet"

    def appear(name: str) -> None:
        if name == "folder.link":
            strange.write_bytes(b"mine")

    monkeypatch.setattr(folder_sink, "failpoint", appear)
    assert world.publish_failure(publish_task(world.lake, staged)).kind == "conflict"
    assert strange.read_bytes() == b"mine"


@pytest.mark.parametrize("harm", ["gone", "damaged"])
def test_given_a_harmed_part_when_published_then_it_is_a_conflict_and_nothing_appears(world: World, harm: str) -> None:
    staged = world.stage(world.lake, TABLE)
    assert staged.staged is not None
    part = Path(staged.staged.staged)
    part.unlink() if harm == "gone" else part.write_bytes(part.read_bytes()[:-1] + b"\0")
    failure = world.publish_failure(publish_task(world.lake, staged))
    assert (failure.kind, str(part) in failure.message) == ("conflict", True)
    assert not list(world.folder.glob("*.parquet"))


def test_given_another_owner_when_staged_or_published_then_it_is_a_conflict_that_names_it(world: World) -> None:
    staged = world.stage(world.lake, TABLE)
    owner = folder_owner(world.folder)
    assert owner is not None
    assert owner == ("store-1", "delays", "lake")
    fresh = world.stage_failure(world.lake, TABLE, store_id="store-2")
    assert fresh.kind == "conflict"
    assert "node 'lake' of pipeline 'delays' (store store-1)" in fresh.message
    assert f"delete {world.folder / OWNER_FILE}" in fresh.message
    assert world.stage_failure(parquet_node(world.root / "lake", "second"), TABLE).kind == "conflict"
    (world.folder / OWNER_FILE).write_text('{"store_id": "x", "pipeline": "y", "node": "z"}')
    assert world.publish_failure(publish_task(world.lake, staged)).kind == "conflict"
    (world.folder / OWNER_FILE).write_text("nonsense")
    assert world.publish_failure(publish_task(world.lake, staged)).kind == "conflict"


def test_given_changed_config_when_a_prepared_part_is_published_then_it_goes_to_its_prepared_target(
    world: World,
) -> None:
    staged = world.stage(world.lake, TABLE)
    world.publish(parquet_node(world.root / "elsewhere"), staged)
    assert pq.read_table(world.folder).equals(TABLE)


@pytest.mark.parametrize("field", ["staged", "published"])
def test_given_names_that_staging_does_not_give_when_published_then_they_are_refused(world: World, field: str) -> None:
    staged = world.stage(world.lake, TABLE)
    assert staged.staged is not None
    (world.root / "victim.staged").write_bytes(b"x")
    part = msgspec.structs.replace(staged.staged, **{field: str(world.root / "victim.staged")})
    failure = world.publish_failure(publish_task(world.lake, msgspec.structs.replace(staged, staged=part)))
    assert failure.kind == "conflict"
    assert (world.root / "victim.staged").exists()


def test_given_a_path_out_of_the_connection_when_staged_then_it_is_refused(world: World) -> None:
    assert world.lake.write is not None
    bad = msgspec.structs.replace(world.lake, write=msgspec.structs.replace(world.lake.write, path="../../x"))
    assert world.stage_failure(bad, TABLE).kind == "invalid"


# --- SQLite -------------------------------------------------------------------------------------------------------


def test_given_types_when_published_then_they_stand_as_the_mapping_says(world: World) -> None:
    noon = dt.datetime(2013, 1, 1, 12)
    table = pa.table(
        {
            "i": pa.array([1, None], pa.int8()),
            "u": pa.array([2**63 - 1, 0], pa.uint64()),
            "b": [True, None],
            "f": [1.5, None],
            "h": pa.array([1.5, 2.5], pa.float32()),
            "s": ["é", None],
            "x": [b"\0", None],
            "d": [dt.date(2013, 1, 31), None],
            "d64": pa.array([dt.date(2013, 1, 31), None], pa.date64()),
            "t": pa.array([noon, noon + dt.timedelta(microseconds=500_100)], pa.timestamp("us")),
            "ts": pa.array([noon, noon], pa.timestamp("s")),
            "z": pa.array([noon, None], pa.timestamp("ns", "America/New_York")),
            "m": [decimal.Decimal("1.50"), None],
            "c": [dt.time(5, 0, 0, 10), dt.time(5)],
            "w": pa.array([3, None], pa.duration("s")),
        }
    )
    world.publish(sqlite_node(world.mart), world.stage(sqlite_node(world.mart), table))
    first, second = world.rows("select * from delays order by rowid")
    day, noon_text = "2013-01-31", "2013-01-01 12:00:00"
    assert first[:9] == (1, 2**63 - 1, 1, 1.5, 1.5, "é", b"\0", day, day)
    assert first[9:] == (noon_text, noon_text, "2013-01-01 12:00:00+00:00", "1.50", "05:00:00.00001", 3)
    assert second[:5] == (None, 0, None, None, 2.5)
    assert second[9] == "2013-01-01 12:00:00.5001"
    kinds = [kind for (kind,) in world.rows("select type from pragma_table_info('delays')")]
    assert kinds == ["INTEGER"] * 3 + ["REAL"] * 2 + ["TEXT", "BLOB"] + ["TEXT"] * 7 + ["INTEGER"]


@given(st.lists(st.datetimes(dt.datetime(1950, 1, 1), dt.datetime(2100, 1, 1)), min_size=1, max_size=20), st.booleans())
def test_given_instants_when_kept_as_text_then_texts_sort_as_they_do(times: list[dt.datetime], zoned: bool) -> None:
    column = pa.array(times, pa.timestamp("us", "America/New_York" if zoned else None))
    texts = as_sqlite(column).to_pylist()
    assert [text for _, text in sorted(zip(times, texts, strict=True))] == sorted(texts)
    assert as_sqlite(column.cast(pa.timestamp("ns", column.type.tz))).to_pylist() == texts
    assert [dt.datetime.fromisoformat(text).replace(tzinfo=None) for text in texts] == times


def test_given_parts_when_published_again_then_append_adds_each_once(world: World) -> None:
    node = sqlite_node(world.mart)
    one, two = world.stage(node, TABLE, 1), world.stage(node, OTHER, 2)
    for staged in (one, one, two, one, two):
        world.publish(node, staged)
    assert world.rows() == [("mon", 1), ("mon", 10), ("tue", 2), ("wed", 30)]
    assert world.leftovers() == ["staged", "delays"]


def test_given_an_upsert_when_published_then_rows_of_the_same_keys_are_replaced(world: World) -> None:
    node = sqlite_node(world.mart, ("day",))
    world.publish(node, world.stage(node, TABLE, 1))
    world.publish(node, world.stage(node, OTHER, 2))
    world.publish(node, world.stage(node, OTHER.slice(0, 0), 3))
    assert world.rows() == [("mon", 10), ("tue", 2), ("wed", 30)]


ROWS = st.dictionaries(st.tuples(st.integers(0, 5), st.sampled_from("ab")), st.none() | st.integers(0, 99), max_size=8)


@given(st.lists(ROWS, min_size=1, max_size=5), st.data())
@settings(max_examples=15, deadline=None)
def test_given_random_iterations_repeats_and_republishing_then_the_table_is_the_dict(
    tmp_path_factory: pytest.TempPathFactory, iterations: list[dict[tuple[int, str], int | None]], data: st.DataObject
) -> None:
    world = World(tmp_path_factory.mktemp("upsert"))
    node = sqlite_node(world.mart, ("k", "s"))
    model: dict[tuple[int, str], int | None] = {}
    published: list[NodeDone] = []
    for number, rows in enumerate(iterations, 1):
        columns = [[k for k, _ in rows], [s for _, s in rows], list(rows.values())]
        kinds = (pa.int64(), pa.string(), pa.int64())
        arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
        table = pa.table(arrays, names=["k", "s", "v"])
        staged = [world.stage(node, table, number, counter) for counter in range(1, data.draw(st.integers(1, 2)) + 1)][
            -1
        ]
        world.publish(node, staged)
        model |= rows
        published.append(staged)
        world.publish(node, data.draw(st.sampled_from(published)))
        assert world.rows("select k, s, v from delays order by k, s") == [(*k, v) for k, v in sorted(model.items())]


@pytest.mark.parametrize(
    ("table", "keys", "says"),
    [
        (pa.table({"day": ["mon", "tue", "mon"], "n": [1, 2, 3]}), ("day",), "day='mon' (2 rows)"),
        (pa.table({"day": ["mon", None], "n": [1, 2]}), ("day",), "key 'day' is null in 1 row"),
        (pa.table({"day": [1.0, float("nan")], "n": [1, 2]}), ("day",), "'day' holds NaN in 1 row"),
        (TABLE, ("zz",), "upsert key 'zz' is not a column; columns: day, n"),
        (pa.table({"a": [1], "A": [2]}), (), "'a' and 'A' are one to SQLite"),
        (pa.table({"a": [[1]]}), (), "column 'a' is list<item: int64>"),
        (pa.table({"a": pa.array([2**63], pa.uint64())}), (), "holds 9223372036854775808"),
    ],
)
def test_given_rows_that_cannot_be_published_when_staged_then_they_are_invalid(
    world: World, table: pa.Table, keys: tuple[str, ...], says: str
) -> None:
    failure = world.stage_failure(sqlite_node(world.mart, keys), table)
    assert failure.kind == "invalid"
    assert says in failure.message
    assert not world.leftovers()


def test_given_a_table_that_lacks_columns_when_staged_then_the_fix_is_told(world: World) -> None:
    with contextlib.closing(sqlite3.connect(world.mart)) as connection:
        connection.execute("create table delays (DAY text)")
    failure = world.stage_failure(sqlite_node(world.mart), TABLE)
    assert failure.kind == "conflict"  # the table's fault, not the data's
    assert 'alter table "delays" add column "n" INTEGER' in failure.message


def test_given_another_digest_or_owner_when_published_then_it_is_a_conflict(world: World) -> None:
    node = sqlite_node(world.mart)
    world.publish(node, world.stage(node, TABLE, 1))
    again = world.stage(node, OTHER, 1, counter=2)
    assert "was published with digest" in world.publish_failure(publish_task(node, again)).message
    stolen = world.publish_failure(publish_task(node, again, store_id="store-2"))
    assert (stolen.kind, "belongs to node 'mart' of pipeline 'delays'" in stolen.message) == ("conflict", True)
    assert world.stage_failure(sqlite_node(world.mart, name="second"), TABLE).kind == "conflict"
    assert world.rows() == [("mon", 1), ("tue", 2)]


def test_given_old_iterations_when_markers_are_pruned_then_they_are_refused_not_doubled(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_sink, "MARKERS_KEPT", 2)
    node = sqlite_node(world.mart)
    first = world.stage(node, TABLE, 1)
    kept = Path(first.staged.staged if first.staged else "").read_bytes()
    for number in range(2, 6):
        if number == 2:
            world.publish(node, first)
        world.publish(node, world.stage(node, TABLE, number), settled=number - 1)
    assert world.rows("select iteration from _odibi_commits") == [(4,), (5,)]
    path = Path(first.staged.staged if first.staged else "")
    path.parent.mkdir(parents=True)
    path.write_bytes(kept)
    assert "up to which everything is settled" in world.publish_failure(publish_task(node, first)).message
    assert len(world.rows()) == 10


@pytest.mark.parametrize("harm", ["gone", "damaged"])
def test_given_a_harmed_sql_part_when_published_then_it_is_a_conflict(world: World, harm: str) -> None:
    node = sqlite_node(world.mart)
    staged = world.stage(node, TABLE)
    assert staged.staged is not None
    part = Path(staged.staged.staged)
    part.unlink() if harm == "gone" else part.write_bytes(part.read_bytes()[:-1] + b"\0")
    failure = world.publish_failure(publish_task(node, staged))
    assert (failure.kind, str(part) in failure.message) == ("conflict", True)
    assert world.rows("select count(*) from sqlite_master where name = 'delays'") == [(0,)]


def test_given_rows_the_table_refuses_when_published_then_it_is_a_conflict_and_nothing_is_in(world: World) -> None:
    with contextlib.closing(sqlite3.connect(world.mart)) as connection:
        connection.execute("create table delays (day text, n integer check (n < 2))")
    node = sqlite_node(world.mart)
    failure = world.stage_failure(node, TABLE)
    assert (failure.kind, failure.message.split(" refuses ")[1]) == ("invalid", "row 2: CHECK constraint failed: n < 2")
    world.rows("drop table delays")
    staged = world.stage(node, TABLE)
    world.rows("create table delays (day text, n integer check (n < 2))")
    failure = world.publish_failure(publish_task(node, staged))
    assert (failure.kind, "CHECK constraint failed" in failure.message) == ("conflict", True)
    assert world.rows() == []


def test_given_a_locked_database_when_staged_or_published_then_it_says_who_has_it_and_can_be_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_sink, "BUSY_TIMEOUT", 0.0)
    node = sqlite_node(world.mart)
    staged = world.stage(node, TABLE)
    script = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('begin exclusive')"
    argv = [sys.executable, "-c", f"{script}; print(1, flush=True); sys.stdin.read()", str(world.mart)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        for failure in (world.publish_failure(publish_task(node, staged)), world.stage_failure(node, TABLE)):
            assert failure.kind == "busy"
            assert f"{world.mart} is locked by pid {other.pid} (python" in failure.message
        other.communicate()
    world.publish(node, staged)
    assert len(world.rows()) == 2


def test_given_a_file_that_is_no_database_when_staged_then_it_is_a_conflict_not_the_datas(world: World) -> None:
    world.mart.write_bytes(b"not a database, but long enough to be looked at" * 30)
    failure = world.stage_failure(sqlite_node(world.mart), TABLE)
    assert (failure.kind, str(world.mart) in failure.message) == ("conflict", True)


# --- lanes --------------------------------------------------------------------------------------------------------


def parts(world: World) -> list[str]:
    return sorted(p.name for p in world.root.rglob("*") if p.is_file() and re.search(r"\.(staged|arrow)$", p.name))


@pytest.mark.parametrize("sink", ["lake", "mart"])
def test_given_a_prepared_part_of_another_lane_when_a_higher_iteration_is_published_then_it_is_not_swept(
    world: World, sink: str
) -> None:
    node = world.lake if sink == "lake" else sqlite_node(world.mart)
    dead, waiting = world.stage(node, TABLE, 1), world.stage(node, OTHER, 2)
    world.stage(node, OTHER, 3, counter=1)  # a dead attempt of what is published now
    world.publish(node, world.stage(node, TABLE, 3, counter=2), settled=1)
    assert dead.staged is not None
    assert waiting.staged is not None
    assert parts(world) == [Path(waiting.staged.staged).name]
    world.publish(node, waiting, settled=1)
    assert parts(world) == []
    assert len(pq.read_table(world.folder) if sink == "lake" else world.rows()) == 4


@pytest.mark.parametrize("sink", ["lake", "mart"])
@pytest.mark.parametrize("distance", [1, 20_000])
def test_given_a_backfill_far_behind_when_it_is_published_after_live_ones_then_it_is_there_once_however_often(
    world: World, sink: str, distance: int
) -> None:
    node = world.lake if sink == "lake" else sqlite_node(world.mart)
    behind = world.stage(node, OTHER, 5)
    live = [world.stage(node, TABLE, number) for number in (5 + distance, 6 + distance)]
    for staged in live:
        world.publish(node, staged, settled=4)
    for staged in (behind, live[0], behind, live[1], behind):
        world.publish(node, staged, settled=4)
    assert len(pq.read_table(world.folder) if sink == "lake" else world.rows()) == 6


def test_given_an_unsettled_iteration_when_later_ones_are_published_then_no_marker_above_it_is_deleted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_sink, "MARKERS_KEPT", 2)
    node = sqlite_node(world.mart)
    published = {number: world.stage(node, TABLE, number) for number in (1, 2, 4, 5, 6, 7)}
    behind = world.stage(node, OTHER, 3)
    for number, staged in published.items():
        world.publish(node, staged, settled=min(2, number - 1))
    assert world.rows("select iteration from _odibi_commits") == [(4,), (5,), (6,), (7,)]
    assert world.rows("select low_water from _odibi_owners") == [(2,)]
    world.publish(node, behind, settled=2)
    for number in (4, 5, 6, 7):
        world.publish(node, published[number], settled=2)
    assert len(world.rows()) == 14
    world.publish(node, world.stage(node, TABLE, 8), settled=7)
    assert world.rows("select iteration from _odibi_commits") == [(7,), (8,)]
    assert world.rows("select low_water from _odibi_owners") == [(6,)]


@given(st.permutations(range(1, 9)), st.data())
@settings(max_examples=15, deadline=None)
def test_given_two_lanes_in_any_order_of_numbers_when_published_and_repeated_then_every_part_is_there_once(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], data: st.DataObject
) -> None:
    world = World(tmp_path_factory.mktemp("lanes"))
    node = sqlite_node(world.mart)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_sink, "MARKERS_KEPT", 1)
        staged = {number: world.stage(node, pa.table({"n": [number], "m": [0]}), number) for number in order}
        done: list[int] = []
        for number in order:
            settled = next(n for n in range(9) if n + 1 not in done)
            world.publish(node, staged[number], settled)
            done.append(number)
            unsettled = [n for n in done if n > settled]
            world.publish(node, staged[data.draw(st.sampled_from(unsettled))], settled)
            assert world.rows() == [(n, 0) for n in sorted(done)]
    assert parts(world) == []


# --- kill -9 ------------------------------------------------------------------------------------------------------

PUBLISH = """
import sys, msgspec
from pathlib import Path
from odibi_actors.messages import PublishTask
from odibi_actors.nodes.executor import Executor
executor = Executor(Path(sys.argv[1]), "host", "w1", "code")
print(list(executor.run(msgspec.json.decode(sys.argv[2], type=PublishTask)))[-1])
"""


@pytest.mark.process
@pytest.mark.parametrize(
    "point",
    ["folder.link", "folder.linked", "folder.unlinked", "table.begin", "table.commit", "table.committed"],
)
def test_given_a_publisher_killed_anywhere_when_published_again_then_rows_are_there_once(
    world: World, point: str
) -> None:
    node = world.lake if point.startswith("folder") else sqlite_node(world.mart)
    staged = world.stage(node, TABLE)
    work = publish_task(node, staged)
    argv = [sys.executable, "-c", PUBLISH, str(world.root / ".odibi"), msgspec.json.encode(work).decode()]
    killed = subprocess.run(
        argv, env={**os.environ, "ODIBI_FAILPOINTS": f"{point}:kill"}, capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    world.publish(node, staged)
    if point.startswith("folder"):
        assert pq.read_table(world.folder).equals(TABLE)
        assert sorted(os.listdir(world.folder)) == [OWNER_FILE, "part-0000000001-lake.parquet"]
    else:
        assert world.rows() == [("mon", 1), ("tue", 2)]
        assert world.leftovers() == ["staged", "delays"]


# --- power loss ---------------------------------------------------------------------------------------------------


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Inodes that were synced."""
    inodes: set[int] = set()
    real = os.fsync

    def fsync(descriptor: int) -> None:
        inodes.add(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return inodes


@pytest.mark.parametrize("sink", ["lake", "mart"])
def test_given_a_part_when_staged_and_published_then_bytes_and_names_are_synced(
    world: World, synced: set[int], sink: str
) -> None:
    node = world.lake if sink == "lake" else sqlite_node(world.mart)
    staged = world.stage(node, TABLE)
    assert staged.staged is not None
    part = Path(staged.staged.staged)
    parents = [folder for folder in part.parents if world.root in (folder, *folder.parents)]
    assert {path.stat().st_ino for path in (part, *parents)} <= synced
    synced.clear()
    world.publish(node, staged)
    if sink == "lake":
        assert world.folder.stat().st_ino in synced
    else:
        with sqlite_sink.SINK.opened(targets.table(str(world.mart), "t")) as connection:
            assert connection.execute("pragma synchronous").fetchone() == (3,)


@pytest.mark.parametrize("sink", ["lake", "mart"])
def test_given_a_full_disk_when_staged_or_published_then_the_message_names_the_target(
    world: World, monkeypatch: pytest.MonkeyPatch, sink: str
) -> None:
    node = world.lake if sink == "lake" else sqlite_node(world.mart)
    world.publish(node, world.stage(node, TABLE, 1))
    staged, ref = world.stage(node, TABLE, 2), world.ref(TABLE)
    target = str(world.folder if sink == "lake" else world.mart)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        failure = failed(world.executor, task(node, inputs={"clean": ref}, iteration=3)).failure
        place = target if sink == "lake" else str(world.root / ".odibi" / "staged")
        assert (failure.kind, place in failure.message) == ("full", True), failure.message
        assert "No space left on device" in failure.message
        if sink == "lake":
            failure = world.publish_failure(publish_task(node, staged))
            assert (failure.kind, target in failure.message) == ("full", True), failure.message
            assert failure.message.endswith(" free)")
    if sink == "mart":
        with contextlib.closing(sqlite3.connect(world.mart, isolation_level=None)) as other:
            (pages,) = other.execute("pragma page_count").fetchone()
            big = world.stage(node, pa.table({"day": ["x" * 10_000] * 50, "n": [1] * 50}), 4)
        real = sqlite_sink.SqliteKind.opened

        @contextlib.contextmanager
        def small(self: Any, at: Any, *access: Any) -> Any:
            with real(self, at, *access) as connection:
                connection.execute(f"pragma max_page_count = {pages}")
                yield connection

        monkeypatch.setattr(sqlite_sink.SqliteKind, "opened", small)
        failure = world.publish_failure(publish_task(node, big))
        assert (failure.kind, failure.message.count(target)) == ("full", 1)
        assert re.search(r"database or disk is full \(.* of .* free\)$", failure.message)


def test_given_a_sync_that_fails_when_staged_then_it_is_io_and_nothing_is_left(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = world.ref(TABLE)
    world.publish(world.lake, world.stage(world.lake, TABLE, 1))

    def fsync(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    failure = failed(world.executor, task(world.lake, inputs={"clean": ref}, iteration=2)).failure
    assert (failure.kind, world.leftovers()) == ("io", [])


@pytest.mark.parametrize("sink", ["lake", "mart"])
def test_given_a_part_when_staged_then_its_bytes_are_synced_before_it_has_its_name_and_the_name_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch, sink: str
) -> None:
    node = world.lake if sink == "lake" else sqlite_node(world.mart)
    world.stage(node, TABLE)  # makes the folders
    disk = Disk(monkeypatch)
    staged = world.stage(node, TABLE, iteration=1, counter=2)
    assert staged.staged is not None
    disk.check(Path(staged.staged.staged))
    if sink == "lake":
        disk.done.clear()
        world.publish(node, staged)
        assert disk.done == [("link", Path(staged.staged.published)), ("fsync", world.folder)]


@pytest.mark.parametrize("sink", ["lake", "mart"])
def test_given_the_same_counter_in_two_epochs_when_staged_then_the_names_differ(world: World, sink: str) -> None:
    node = world.lake if sink == "lake" else sqlite_node(world.mart)
    work = task(node, inputs={"clean": world.ref(TABLE)})
    names = [
        one.staged.staged
        for epoch in (1, 2)
        if (one := done(world.executor, msgspec.structs.replace(work, attempt=Attempt(epoch, 7)))).staged
    ]
    assert len(frozenset(names)) == 2
    assert all(Path(name).exists() for name in names)


def test_given_a_marker_that_cannot_be_written_when_published_then_no_row_is_there_either(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = sqlite_node(world.mart)
    world.publish(node, world.stage(node, TABLE, 1))
    rows = world.rows()
    staged = world.stage(node, TABLE, 2)

    def mark(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(table_sink.TableSink, "_mark", mark)
        world.publish_failure(publish_task(node, staged))
    assert world.rows() == rows
    world.publish(node, staged)
    assert len(world.rows()) == 2 * len(rows)
