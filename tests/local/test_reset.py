"""``odibictl reset``: a pipeline starts over, whole or not at all."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from odibi_actors.checkpoint.engine import Engine
from odibi_actors.config import init_project, load_project
from odibi_actors.errors import ConflictError, NotFoundError, OdibiError
from odibi_actors.local import LocalSystem, run_pipeline
from odibi_actors.local.reset import Plan, Reset, opened
from odibi_actors.nodes.sinks import sqlite_sink
from odibi_actors.runtime import paths
from tests.cli.conftest import Invoke, invoke  # noqa: F401


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """The project of ``odibictl init``."""
    init_project(tmp_path)
    for file in (tmp_path / "data/landing").glob("*.csv"):
        os.utime(file, (1_700_000_000, 1_700_000_000))
    modules = dict(sys.modules)
    yield tmp_path
    for name in [n for n in sys.modules if n not in modules and n.partition(".")[0] == "nodes"]:
        del sys.modules[name]
    sys.path[:] = [p for p in sys.path if p != str(tmp_path)]


Call = Callable[..., str]


@pytest.fixture
def call(root: Path, invoke: Invoke) -> Call:  # noqa: F811
    """``odibictl`` in the project, which exits with ``code``: all that it has said."""

    def called(*words: str, code: int = 0, **more: str) -> str:
        result = invoke(*words, "--project", root, **more)
        assert result.exit_code == code, result.output
        return result.output

    return called


def reset(root: Path, *, targets: bool = True) -> Plan:
    with opened(load_project(root), "sales") as work:
        plan = work.plan(targets)
        work.carry_out(plan)
        return plan


def published(root: Path) -> tuple[list[str], int | None]:
    parts = sorted(path.name for path in (root / "data/lake/orders").glob("*"))
    with closing(sqlite3.connect(root / "data/mart.db")) as db:
        known = db.execute("select 1 from sqlite_master where name = 'sales'").fetchone()
        return parts, db.execute("select count(*) from sales").fetchone()[0] if known else None


def sound(root: Path) -> None:
    """The store says so of itself."""
    engine = Engine(root / ".odibi/checkpoints.db")
    try:
        cursor = ""
        while True:
            chunk = engine.answer("checkpoint.verify", {"cursor": cursor})
            assert not chunk["problems"], chunk
            cursor = chunk["cursor"]
            if not cursor:
                return
    finally:
        engine.close()


def test_given_files_that_were_read_more_than_once_or_are_gone_then_those_that_are_read_again_are_counted(
    root: Path,
) -> None:
    project = load_project(root)
    run_pipeline(project, "sales")
    with LocalSystem(project) as system:
        begun = system.request("pipeline.backfill", {"pipeline": "sales", "files": {"orders": "*.csv"}, "run": "b-x"})
        system.request("run.wait", {"run": begun["run"]})
    with opened(project, "sales") as work:
        assert work.plan(targets=True).files == 2
    min((root / "data/landing").glob("*.csv")).unlink()
    with opened(project, "sales") as work:
        assert work.plan(targets=True).files == 1


def test_given_a_reset_with_targets_then_the_next_run_does_it_all_again_once(root: Path) -> None:
    run_pipeline(load_project(root), "sales")
    before = published(root)
    plan = reset(root)
    assert (plan.iterations, plan.files, plan.schemas) == ({"committed": 1}, 2, 3)
    assert [(one.node, one.parts) for one in plan.published] == [("mart_sales", 6), ("lake_orders", 1)]
    assert published(root) == ([], None)
    sound(root)
    summary = run_pipeline(load_project(root), "sales")
    assert (summary.state, summary.committed, summary.rows_read) == ("done", 1, 9)
    parts, rows = published(root)
    assert (parts, rows) == (["_odibi_owner.json", "part-0000000002-lake_orders.parquet"], 6)
    assert rows == before[1]
    sound(root)


def test_given_appended_parts_then_a_reset_without_targets_is_refused(root: Path) -> None:
    run_pipeline(load_project(root), "sales")
    before = published(root)
    with pytest.raises(ConflictError, match=r"would be there twice after the next run \(lake_orders: 1 in .*--targets"):
        reset(root, targets=False)
    assert published(root) == before
    for part in (root / "data/lake/orders").glob("part-*"):
        part.unlink()
    assert reset(root, targets=False).published == []
    assert published(root)[1] == 6
    assert run_pipeline(load_project(root), "sales").committed == 1
    assert published(root)[1] == 6


@pytest.fixture
def foreign(root: Path) -> Path:
    """Iteration 2 was abandoned at its sink, as a file of its part's name stood there, which is somebody else's."""
    project = load_project(root)
    run_pipeline(project, "sales")
    path = root / "data/lake/orders/part-0000000002-lake_orders.parquet"
    path.write_text("foreign")
    first = next((root / "data/landing").glob("*.csv"))
    first.with_name(f"{first.stem}-more.csv").write_bytes(first.read_bytes())
    assert run_pipeline(project, "sales").failed == 1
    with LocalSystem(project) as system:
        system.request("iteration.abandon", {"pipeline": "sales", "iteration": 2, "sink": "lake_orders"})
        flow = system.coordinator.flow
        system.until(lambda: flow is not None and not flow.pipelines["sales"].in_flight)
    return path


def test_given_somebody_elses_file_under_the_name_of_an_abandoned_part_then_it_stays(root: Path, foreign: Path) -> None:
    plan = reset(root)
    assert [(one.node, one.parts) for one in plan.published if one.node == "lake_orders"] == [("lake_orders", 1)]
    assert published(root)[0] == [foreign.name]
    assert foreign.read_text() == "foreign"


def test_given_such_a_file_when_rewound_then_it_stays_as_well(root: Path, foreign: Path) -> None:
    with LocalSystem(load_project(root)) as system:
        system.request("pipeline.drain", {"pipeline": "sales", "wait": True})
        system.request("pipeline.rewind", {"pipeline": "sales", "to": 0})
    assert [name for name in published(root)[0] if name.endswith(".parquet")] == [foreign.name]
    assert foreign.read_text() == "foreign"


def test_given_letters_states_and_a_failed_iteration_then_all_are_forgotten(root: Path) -> None:
    code = (root / "nodes/orders.py").read_text()
    (root / "nodes/orders.py").write_text("def clean(orders, max_quantity):\n    return 1 / 0\n")
    spec = root / "odibi.yaml"
    spec.write_text(spec.read_text().replace("max_attempts: 3", "max_attempts: 1"))
    assert run_pipeline(load_project(root), "sales").failed == 1
    assert reset(root).iterations == {"failed": 1}
    (root / "nodes/orders.py").write_text(code)
    for name in ("nodes.orders", "nodes"):
        sys.modules.pop(name, None)
    assert run_pipeline(load_project(root), "sales").committed == 1
    sound(root)


def _at(name: str, owner: type, after: bool) -> Callable[[pytest.MonkeyPatch], None]:
    """Die before or after a step."""

    def arm(patch: pytest.MonkeyPatch) -> None:
        step = getattr(owner, name)

        def dying(*args: object, **more: object) -> None:
            if after:
                step(*args, **more)
            raise KeyboardInterrupt

        patch.setattr(owner, name, dying)

    return arm


OTHER = """
  - pipeline: beside
    nodes:
      - name: lines
        read: {connection: landing, format: csv, mode: file_watch, pattern: "orders-*.csv"}
      - {name: copy, inputs: [lines], write: {connection: lake, path: copy, format: parquet}}
"""


@pytest.mark.parametrize(
    ("arm", "rows"),
    [
        (_at("forget", Engine, True), 6),
        (_at("_delete", Reset, True), None),
        (_at("end_reset", Engine, False), None),
    ],
    ids=["forgotten", "one target", "all targets"],
)
def test_given_a_kill_in_the_middle_then_others_go_on_and_it_waits_until_the_reset_is_ended(
    root: Path, arm: Callable[[pytest.MonkeyPatch], None], rows: int | None
) -> None:
    (root / "odibi.yaml").write_text((root / "odibi.yaml").read_text() + OTHER)
    run_pipeline(load_project(root), "sales")
    with pytest.MonkeyPatch.context() as patch:
        arm(patch)
        with pytest.raises(KeyboardInterrupt):
            reset(root)
    half = published(root)
    assert half[1] == rows
    assert run_pipeline(load_project(root), "beside").committed == 1
    said = r"a reset of sales was interrupted, .*while nothing runs \(`odibictl down`\), `odibictl reset sales` ends it"
    with pytest.raises(OdibiError, match=said):
        run_pipeline(load_project(root), "sales")
    with LocalSystem(load_project(root), manual=False) as system:  # what follows its data goes on by itself, or waits
        for verb, more in (("backfill", {"files": {"orders": "*.csv"}, "run": "b-x"}), ("rewind", {"to": 0})):
            with pytest.raises(OdibiError, match=r"was interrupted|is resetting"):
                system.request(f"pipeline.{verb}", {"pipeline": "sales", **more})
        row = system.request("pipeline.show", {"pipeline": "sales"})
        assert (row["state"], row["offered"]) == ("resetting", 0)
        assert "`odibictl reset sales` ends it" in row["problems"][0]
    assert published(root) == half
    sound(root)
    assert reset(root, targets=False).targets  # as it was begun
    assert published(root) == ([], None)
    assert run_pipeline(load_project(root), "sales").committed == 1
    assert published(root) == (["_odibi_owner.json", "part-0000000002-lake_orders.parquet"], 6)
    sound(root)


def test_given_a_reset_that_a_former_release_has_begun_then_it_is_ended(root: Path) -> None:
    run_pipeline(load_project(root), "sales")
    with opened(load_project(root), "sales") as work:
        plan = json.loads(msgspec.json.encode(work.plan(targets=True)))
    former = {name: value for name, value in plan.items() if name not in ("given_up", "removed")}
    (root / ".odibi/reset-sales.json").write_text(json.dumps(former))
    with pytest.raises(OdibiError, match="a reset of sales was interrupted"):
        run_pipeline(load_project(root), "sales")
    assert not (root / ".odibi/reset-sales.json").exists()
    assert reset(root, targets=False).targets
    assert published(root) == ([], None)
    sound(root)


def test_given_a_target_that_cannot_be_deleted_then_the_reset_is_left_where_that_doubles_nothing(
    root: Path, call: Call
) -> None:
    run_pipeline(load_project(root), "sales")
    call("reset", "sales", "--leave", "--yes", code=3)  # there is none
    table = published(root)[1]

    def refused(*_: object) -> None:
        raise ConflictError("it is away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("odibi_actors.nodes.sinks.table_kind.TableKind.delete", refused)
        patch.setattr("odibi_actors.nodes.sinks.local_sink.LocalSink.delete", refused)
        said = call("reset", "sales", "--targets", "--yes", code=4)
        assert "it is away; `odibictl reset sales --leave` ends the reset without what cannot be deleted" in said
        said = call("reset", "sales", "--leave", "--yes", code=4)
        assert "it is away; what lake_orders has appended to " in said
        assert "delete it yourself, or let lake_orders publish elsewhere, then `odibictl reset sales --leave`" in said
        for part in (root / "data/lake/orders").glob("part-*"):
            part.unlink()
        said = call("reset", "sales", "--leave", "--yes")
        assert "mart_sales: " in said
        assert "stays as it is, as it cannot be deleted: it is away" in said
    assert published(root)[1] == table
    assert run_pipeline(load_project(root), "sales").committed == 1
    assert published(root) == (["_odibi_owner.json", "part-0000000002-lake_orders.parquet"], table)
    sound(root)


def test_given_a_pipeline_that_was_taken_out_then_it_is_forgotten_and_comes_back_above_its_parts(
    root: Path,
    call: Call,
    invoke: Invoke,  # noqa: F811
) -> None:
    spec = root / "odibi.yaml"
    first = spec.read_text()
    run_pipeline(load_project(root), "sales")
    spec.write_text(first[: first.index("  - pipeline: sales")] + OTHER.lstrip("\n"))
    run_pipeline(load_project(root), "beside")
    command = "`odibictl reset sales` forgets it, and leaves its targets"
    assert command in call("status")
    assert command in call("apply", "--dry-run")
    before = published(root)
    assert "Forget all this of sales?" in invoke("reset", "sales", "--project", root, input="n\n").output
    assert "sales" in call("status")
    said = call("reset", "sales", "--yes")
    assert "stays as it is; sales would add to it, if it came back" in said
    assert published(root) == before
    for words in (("status",), ("apply", "--dry-run"), ("pipeline", "list"), ("sink", "list")):
        assert "sales" not in call(*words)
    call("pipeline", "show", "sales", code=3)
    call("sink", "show", "sales.lake_orders", code=3)
    assert "not forgotten; there are: beside" in call("reset", "sales", "--yes", code=3)
    sound(root)
    spec.write_text(first.replace("- pipeline: sales", "- pipeline: shop"))  # a new name, the same targets
    refused = call("sink", "adopt", "shop.lake_orders", "shop.mart_sales", "--yes", code=4)
    assert "what sales has read was forgotten (`odibictl reset sales`): shop would read it again" in refused
    spec.write_text(first)
    said = call("run", "sales")
    assert "it reads all of its files again, and adds to what lake_orders may have left in its target" in said
    names = ["_odibi_owner.json", *(f"part-000000000{n}-lake_orders.parquet" for n in (1, 2))]
    assert published(root) == (names, 6)
    assert "sales" in call("status")
    sound(root)


def test_given_something_in_flight_then_a_pipeline_that_was_taken_out_is_not_forgotten(root: Path) -> None:
    code = (root / "nodes/orders.py").read_text()
    (root / "nodes/orders.py").write_text(code.replace("return", "raise ValueError\n    return"))
    spec = root / "odibi.yaml"
    spec.write_text(spec.read_text().replace("max_attempts: 3", "max_attempts: 1"))
    assert run_pipeline(load_project(root), "sales").failed == 1
    text = spec.read_text()
    spec.write_text(text[: text.index("  - pipeline: sales")] + OTHER.lstrip("\n"))
    with pytest.raises(
        ConflictError, match=r"unfinished iterations \(1 failed\): put it back, and `odibictl run sales`"
    ):
        reset(root, targets=False)


def test_given_targets_of_others_then_they_stay(root: Path) -> None:
    run_pipeline(load_project(root), "sales")
    (root / "data/lake/orders/notes.txt").write_text("mine")
    owner = root / "data/lake/orders/_odibi_owner.json"
    with closing(sqlite3.connect(root / "data/mart.db")) as db:
        db.execute("create table mine (a)")
        db.execute("update _odibi_owners set store_id = 'other'")
        db.commit()
    assert [one.node for one in reset(root).published] == ["lake_orders"]
    assert not owner.exists()
    assert published(root) == (["notes.txt"], 6)


def test_given_a_system_that_runs_or_nothing_done_or_a_target_in_use_then_it_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFoundError, match="has done nothing"):
        reset(root)
    run_pipeline(load_project(root), "sales")
    monkeypatch.setattr(sqlite_sink, "LOOK_TIMEOUT", 0.0)
    with closing(sqlite3.connect(root / "data/mart.db", isolation_level=None)) as db:
        db.execute("pragma locking_mode = exclusive")
        db.execute("begin exclusive")
        with pytest.raises(ConflictError, match=r"mart.db is locked by .*; give the command again once the lock is re"):
            reset(root)
    lock = paths.hold_lock(paths.prepare(root / ".odibi").run / "broker.lock")
    try:
        with pytest.raises(ConflictError, match="`odibictl down` first"):
            reset(root)
    finally:
        lock.release()


def test_given_the_command_then_it_shows_asks_and_tells(invoke: Invoke, root: Path) -> None:  # noqa: F811
    run_pipeline(load_project(root), "sales")
    before = published(root)
    shown = invoke("reset", "sales", "--project", root, "--targets", "--dry-run", "-o", "json")
    assert shown.exit_code == 0, shown.stderr
    data = json.loads(shown.stdout)
    assert (data["done"], data["iterations"], data["files"]) == (False, {"committed": 1}, 2)
    asked = invoke("reset", "sales", "--project", root, "--targets", input="n\n")
    assert (asked.exit_code, published(root)) == (1, before)
    assert "Forget all this of sales?" in asked.stderr
    assert "6 rows, and the table" in asked.stderr
    assert invoke("reset", "sales", "--project", root).exit_code == 4
    done = invoke("reset", "sales", "--project", root, "--targets", "--yes")
    assert (done.exit_code, published(root)) == (0, ([], None)), done.stderr
    assert invoke("reset", "nope", "--project", root, "--yes").exit_code == 3
