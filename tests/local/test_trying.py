"""``odibictl try``: what comes out of a sample, with nothing touched."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from odibi_actors.config import init_project, load_project
from odibi_actors.errors import NotFoundError
from odibi_actors.local import run_pipeline
from odibi_actors.local.trying import _OF_ITERATION, Trial, TriedNode
from odibi_actors.nodes.sinks import pieces
from odibi_actors.nodes.sinks.sqlite_sink import SqliteKind
from odibi_actors.nodes.sinks.sqlite_table import index_name
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


def tried(root: Path, pipeline: str = "sales", *, only: str | None = None, **how: object) -> dict[str, TriedNode]:
    trial = Trial(load_project(root), pipeline, **how)  # type: ignore[arg-type]
    return {one.node: one for one in trial.run(only)}


def snapshot(root: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
        if "__pycache__" not in path.parts and not path.is_socket()
    }


def edit(root: Path, old: str, new: str, file: str = "odibi.yaml") -> None:
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new))


def test_given_a_project_that_never_ran_then_each_node_shows_what_came_out(root: Path) -> None:
    before = snapshot(root)
    found = tried(root)
    assert [(one.node, one.state, one.rows) for one in found.values()] == [
        ("orders", "ok", 9),
        ("clean", "ok", 7),
        ("by_country", "ok", 6),
        ("lake_orders", "ok", 7),
        ("mart_sales", "ok", 6),
    ]
    assert ("amount", "double") in found["clean"].columns
    assert found["clean"].head[0]["amount"] == 19.0
    assert len(found["clean"].head) == 5
    assert found["mart_sales"].note == f"accepted; would go to {root}/data/mart.db#sales"
    assert snapshot(root) == before


def test_given_a_live_system_then_try_works_beside_it_and_reads_what_was_read_before(root: Path) -> None:
    run_pipeline(load_project(root), "sales")
    lock = paths.hold_lock(paths.prepare(root / ".odibi").run / "broker.lock")
    before = snapshot(root)
    try:
        assert tried(root)["mart_sales"].state == "ok"
    finally:
        lock.release()
    assert snapshot(root) == before


def test_given_a_sample_then_so_many_rows_are_taken_of_as_few_files_as_hold_them(root: Path) -> None:
    found = tried(root, sample=4)
    assert (found["orders"].rows, found["orders"].note) == (4, "first 4 of 5 rows of 1 of 2 files")
    assert tried(root, sample=6)["orders"].note == "first 6 of 9 rows of 2 of 2 files"


def test_given_batches_of_one_file_then_a_sample_is_of_one_batch(root: Path) -> None:
    edit(root, "max_files: 16", "max_files: 1")
    assert tried(root, sample=6)["orders"].note == "1 of 2 files"


def test_given_files_then_only_those_are_read(root: Path) -> None:
    found = tried(root, files="*-02.csv")
    assert (found["orders"].rows, found["orders"].note) == (4, "orders-2025-01-02.csv")
    with pytest.raises(NotFoundError, match=r"orders: no file in .*landing matches 'orders-\*.csv' and 'nope\*'"):
        tried(root, files="nope*")


def test_given_sources_without_files_then_all_of_them_are_named_and_what_is_not_there(root: Path) -> None:
    text = (root / "odibi.yaml").read_text()
    more = "      - {name: more, read: {connection: landing, path: more, format: csv, mode: file_watch}}\n"
    nodes = "    nodes:\n"
    (root / "odibi.yaml").write_text(text.replace(nodes, nodes + more))
    for file in (root / "data/landing").glob("*.csv"):
        file.unlink()
    with pytest.raises(NotFoundError) as caught:
        tried(root)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"more: there is no {root}/data/landing/more"
    assert lines[-2:] == [
        f"orders: no file in {root}/data/landing matches 'orders-*.csv'",
        "nothing was tried: each source needs a file to read",
    ]


def test_given_empty_sources_then_those_whose_columns_are_known_give_an_empty_table_and_others_are_named(
    root: Path,
    invoke: Invoke,  # noqa: F811
) -> None:
    declared = "columns: [id], schema: {id: int64}"
    names = {
        "pushed": "path: pushed, mode: event, schema: {id: int64}",
        "watched": f"pattern: 'w-*', format: csv, mode: file_watch, {declared}",
        "grows": f"pattern: 'g-*', format: csv, mode: incremental, {declared}",
        "ticks": f"path: tick.csv, format: csv, mode: interval, every: 1h, {declared}",
        "unknown": "path: nope, format: csv, mode: file_watch",
        "written": "connection: lake, path: orders, format: parquet, mode: batch",
    }
    nodes = "".join(
        f"      - {{name: {name}, read: {{{'' if 'connection' in read else 'connection: landing, '}{read}}}}}\n"
        for name, read in names.items()
    )
    joined = f"      - {{name: joined, inputs: [{', '.join(names)}], transform: {{sql: select * from pushed}}}}\n"
    edit(root, "    nodes:\n", "    nodes:\n" + nodes + joined)
    found = tried(root)
    assert {one.node: (one.state, one.rows) for one in found.values() if one.node in {*names, "joined", "orders"}} == {
        **dict.fromkeys(list(names)[:4], ("ok", 0)),
        "unknown": ("absent", None),
        "written": ("absent", None),
        "joined": ("skipped", None),
        "orders": ("ok", 9),
    }
    assert found["watched"].columns == [("id", "int64")]
    assert found["pushed"].note.startswith("an empty table, as a run has it: nothing was pushed to it yet")
    assert found["unknown"].note == f"there is no {root}/data/landing/nope"
    assert "lake/orders; sales.lake_orders writes there: `odibictl run sales` first" in found["written"].note
    assert found["ticks"].unread.endswith("tick.csv could not be read: No such file or directory")
    said = invoke("try", "sales", "--project", root)
    assert f"error: unknown: there is no {root}/data/landing/nope" in said.stderr
    assert "error: ticks: " in said.stderr
    assert said.exit_code == 5, "a tick that could not be read ends a run so as well"
    edit(
        root,
        f"path: tick.csv, format: csv, mode: interval, every: 1h, {declared}",
        "path: nope, format: csv, mode: batch",
    )
    assert invoke("try", "sales", "--project", root).exit_code == 3
    assert invoke("try", "sales", "--node", "watched", "--project", root).exit_code == 0
    with pytest.raises(NotFoundError, match="nothing was tried"):
        tried(root, files="nope*", only="watched")  # they were asked for, and are not there


def test_given_headers_links_and_packed_files_then_what_is_there_is_told_as_a_run_does(
    tmp_path: Path,
    invoke: Invoke,  # noqa: F811
) -> None:
    text = (
        "project: p\nconnections: {landing: {type: local, path: in}, lake: {type: local, path: lake}}\npipelines:\n"
        "  - pipeline: p\n    nodes:\n"
        "      - {name: a, read: {connection: landing, format: csv, mode: incremental, pattern: 'log*'}}\n"
        "      - {name: q, inputs: [a], transform: {sql: select * from a where id > 0}}\n"
        "      - {name: w, inputs: [q], write: {connection: lake, path: t, format: csv}}\n"
    )
    (tmp_path / "odibi.yaml").write_text(text)
    landing = tmp_path / "in"
    landing.mkdir()
    (landing / "log.csv").write_text("id\n")
    (landing / "log.gz").write_bytes(b"x")
    (landing / "log.link").symlink_to("log.csv")
    with pytest.raises(NotFoundError) as caught:
        list(Trial(load_project(tmp_path), "p").run())
    said = str(caught.value)
    assert f"a: nothing to read in {landing} matches 'log*'\n" in said
    assert "a: log.csv: it has no row to read\n" in said
    assert "a: log.gz: packed, as its suffix says" in said
    assert "a: log.link: a symbolic link" in said
    told = invoke("run", "p", "--project", tmp_path)
    assert "a symbolic link is not followed: log.link" in told.stderr
    assert "a packed file is not read on: log.gz; unpack it, or `exclude` it" in told.stderr
    why = "".join(invoke("source", "why", name, "--project", tmp_path).stdout for name in ("log.gz", "log.link"))
    assert "packed, as its suffix says" in why
    assert "a symbolic link is not followed; move or hard-link" in why
    watched = text.replace("incremental", "file_watch").replace("log*", "log.csv")
    (tmp_path / "odibi.yaml").write_text(watched)
    _, query, _ = Trial(load_project(tmp_path), "p").run()
    assert query.failure is not None
    assert "Column id of a has no row yet, and counts as text until a type is said" in query.failure.message


def test_given_a_node_then_only_that_and_what_it_needs_is_run(root: Path) -> None:
    assert list(tried(root, only="by_country")) == ["orders", "clean", "by_country"]
    with pytest.raises(NotFoundError, match="no node 'nope'; it has: orders, clean"):
        tried(root, only="nope")


def test_given_a_node_that_raises_then_it_says_why_and_what_needs_it_is_skipped(root: Path) -> None:
    (root / "nodes/orders.py").write_text("def clean(orders, max_quantity):\n    raise ValueError('no such luck')\n")
    found = tried(root)
    failure = found["clean"].failure
    assert failure is not None
    assert "no such luck (orders.py line 2, in clean)" in failure.message
    assert "line 2, in clean\n    raise ValueError" in failure.traceback
    assert [(found[name].state, found[name].note) for name in ("by_country", "lake_orders", "mart_sales")] == [
        ("skipped", "needs clean"),
        ("skipped", "needs clean"),
        ("skipped", "needs by_country"),
    ]


def test_given_a_bad_file_then_line_column_and_value_are_named(root: Path) -> None:
    (root / "data/landing/orders-2025-01-00.csv").write_text("order_id,day,country,quantity,price\n1,x,fr,1,2\n")
    failure = tried(root)["orders"].failure
    assert failure is not None
    assert (failure.line, failure.column, failure.value) == (2, "day", "x")


def test_given_reference_data_then_it_is_read_whole(root: Path) -> None:
    lines = "".join(f"c{n},{n}\n" for n in range(50))
    (root / "data/landing/countries.csv").write_text("country,size\n" + lines)
    edit(
        root,
        "      - name: clean  ",
        "      - name: countries\n"
        "        read: {connection: landing, format: csv, mode: batch, pattern: countries.csv}\n"
        "      - name: sized\n        inputs: [clean, countries]\n"
        "        transform: {sql: select size from clean join countries using (country)}\n      - name: clean  ",
    )
    edit(root, "inputs: [clean]\n        write: {connection: lake", "inputs: [sized]\n        write: {connection: lake")
    found = tried(root, sample=2)
    assert (found["countries"].rows, found["countries"].note) == (50, "all of countries.csv")
    assert (found["orders"].rows, found["sized"].rows) == (2, 0)


def test_given_a_table_that_refuses_the_rows_then_so_does_try(root: Path) -> None:
    with closing(sqlite3.connect(root / "data/mart.db")) as database:
        database.execute("create table sales (day text, country text, orders integer)")
    found = tried(root)["mart_sales"]
    assert found.state == "failed"
    assert found.failure is not None
    assert f"{root}/data/mart.db has no column 'amount'" in found.failure.message
    with closing(sqlite3.connect(root / "data/mart.db")) as database:
        assert database.execute("select name from sqlite_master").fetchall() == [("sales",)]


def test_given_parts_of_another_type_then_try_says_so_before_the_run_does(root: Path) -> None:
    run_pipeline(load_project(root), "sales")
    edit(root, '(kept["quantity"] * kept["price"]).round(2)', '"much"', "nodes/orders.py")
    edit(root, "sum(amount)", "sum(price)")
    for name in ("nodes.orders", "nodes"):
        sys.modules.pop(name, None)
    found = tried(root)["lake_orders"]
    assert found.state == "failed"
    assert found.failure is not None
    assert "amount" in found.failure.message
    assert "odibi-try" not in found.failure.message


def test_given_keys_that_stand_twice_then_try_names_them(root: Path) -> None:
    edit(root, "keys: [day, country]", "keys: [day]")
    failure = tried(root)["mart_sales"].failure
    assert failure is not None
    assert "keys stand in several rows" in failure.message


@pytest.mark.parametrize("node", ["lake_orders", "mart_sales"])
def test_given_a_target_of_another_node_then_try_says_whose_it_is(root: Path, node: str) -> None:
    run_pipeline(load_project(root), "sales")
    edit(root, f"name: {node}", f"name: other_{node[:4]}")
    failure = tried(root)[f"other_{node[:4]}"].failure
    assert failure is not None
    assert f"the target belongs to node '{node}' of pipeline 'sales'" in failure.message


def test_given_a_function_with_state_then_it_begins_without(root: Path) -> None:
    (root / "nodes/orders.py").write_text(
        "def clean(orders, state, max_quantity):\n    assert state is None\n    return orders, orders\n"
    )
    edit(root, "inputs: [orders]\n", "inputs: [orders]\n        state: true\n")
    edit(root, "sum(amount)", "sum(price)")
    found = tried(root)["clean"]
    assert (found.state, found.note) == ("ok", "began without state")


def test_given_bad_files_when_they_would_be_dead_letters_then_the_good_ones_are_shown_and_each_is_named(
    root: Path,
    invoke: Invoke,  # noqa: F811
) -> None:
    good = tried(root)["orders"].rows
    landing = root / "data/landing"
    header = next(landing.glob("*.csv")).read_text().splitlines()[0]
    for name in ("orders-bad-1.csv", "orders-bad-2.csv"):
        (landing / name).write_text(f"{header}\nx\n")
    halted = invoke("try", "sales", "--project", root)
    assert (halted.exit_code, "would make a dead letter" in halted.stderr) == (5, False)
    edit(root, "on_error: halt", "on_error: dead_letter")
    found = tried(root)
    assert [name for name, _ in found["orders"].aside] == ["orders-bad-1.csv", "orders-bad-2.csv"]
    assert (found["orders"].state, found["orders"].rows, found["lake_orders"].state) == ("ok", good, "ok")
    told = invoke("try", "sales", "--project", root)
    assert told.exit_code == 5
    for name in ("orders-bad-1.csv", "orders-bad-2.csv"):
        assert f"error: orders: {name} line 2: the row has 1 column" in told.stderr
        assert f"; `run` would make a dead letter of {name}" in told.stderr
    assert run_pipeline(load_project(root), "sales").dead_lettered == 2


def test_given_a_first_line_that_looks_like_data_then_it_is_warned_of(root: Path, invoke: Invoke) -> None:  # noqa: F811
    for file in (root / "data/landing").glob("*.csv"):
        file.unlink()
    (root / "data/landing/orders-1.csv").write_text("4711,x\n4712,y\n")
    text = (root / "odibi.yaml").read_text()
    (root / "odibi.yaml").write_text(re.sub(r"          schema:.*\n(?: {12}.*\n)*", "", text))
    told = invoke("try", "sales", "--node", "orders", "--project", root)
    assert (
        "warning: orders: orders-1.csv has a first line that looks like data ('4711' is a number, as below it)"
        in told.stderr
    )


PINNED = """\
project: pinned
connections:
  landing: {type: local, path: landing}
  mart: {type: sqlite, path: mart.db}
pipelines:
  - pipeline: p
    on_error: dead_letter
    nodes:
      - name: s
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*"}
      - {name: tab, inputs: [s], write: {connection: mart, table: t}}
"""


def test_given_pinned_types_when_tried_then_a_bad_file_is_set_aside_as_a_run_does(
    tmp_path: Path,
    invoke: Invoke,  # noqa: F811
) -> None:
    (tmp_path / "odibi.yaml").write_text(PINNED)
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing/a.csv").write_text("k,x\n1,10\n")
    assert invoke("--project", tmp_path, "run", "p").exit_code == 0
    (tmp_path / "landing/b.csv").write_text("k,x\n2,ten\n")
    found = invoke("--project", tmp_path, "try", "p", "-o", "json")
    source, sink = json.loads(found.stdout)["items"]
    assert (source["state"], source["rows"], [one["file"] for one in source["aside"]]) == ("ok", 1, ["b.csv"])
    assert source["columns"] == [{"name": "k", "type": "int64"}, {"name": "x", "type": "int64"}]
    assert (sink["state"], sink["error"]) == ("ok", None)
    assert "nothing runs" not in found.stderr
    edit(tmp_path, 'pattern: "*"}', 'pattern: "*", schema: {x: string}}')
    declared = json.loads(invoke("--project", tmp_path, "try", "p", "-o", "json").stdout)["items"][0]
    assert (declared["aside"], declared["columns"][1]) == ([], {"name": "x", "type": "string"})


FAMILY = """\
project: family
connections:
  in: {type: local, path: in}
  lite: {type: sqlite, path: mart.db}
  duck: {type: duckdb, path: mart.duckdb}
pipelines:
  - pipeline: p
    nodes:
      - {name: children, read: {connection: in, format: csv, mode: file_watch, pattern: "c-*.csv"}}
      - {name: lite, inputs: [children], write: {connection: lite, table: c, mode: upsert, keys: [id]}}
      - {name: duck, inputs: [children], write: {connection: duck, table: c, mode: upsert, keys: [id]}}
      - {name: orphan, inputs: [children], write: {connection: lite, table: o, mode: append}}
      - {name: other, inputs: [children], write: {connection: lite, table: d, mode: upsert, keys: [id]}}
"""


def test_given_rows_that_refer_to_others_then_foreign_keys_are_not_looked_at_and_no_remedy_is_an_iterations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/c-1.csv").write_text("id,p_id\n10,1\n")
    (tmp_path / "odibi.yaml").write_text(FAMILY)
    parent = "create table p (id integer primary key)"
    child = "(id integer primary key, p_id integer references p(id), check (p_id < 5))"
    with closing(sqlite3.connect(tmp_path / "mart.db")) as database:
        database.execute(parent)
        database.execute(f"create table c {child}")
        database.execute("create table o (id integer, p_id integer references gone(id))")
        database.execute("create table d (id integer, p_id integer)")
        database.execute(f"create index {index_name('d', ['id'])} on d (p_id)")
    with closing(duckdb.connect(tmp_path / "mart.duckdb")) as database:
        database.execute(parent)
        database.execute(f"create table c {child}")
    found = tried(tmp_path, "p")
    for name in ("lite", "duck", "orphan"):
        assert (found[name].state, found[name].note.partition(";")[0]) == (
            "ok",
            "accepted, its foreign keys were not looked at",
        ), found[name].failure
    assert found["other"].failure is not None
    assert found["other"].failure.message.endswith("keys id; drop it")
    (tmp_path / "in/c-1.csv").write_text("id,p_id\n10,7\n")
    assert "CHECK constraint" in str(tried(tmp_path, "p", only="lite")["lite"].failure), "all else is looked at"
    (tmp_path / "in/c-1.csv").write_text("id,p_id\n10,1\n")
    monkeypatch.setattr(SqliteKind, "stand_in", lambda *_: None)  # as of a database that has no file
    monkeypatch.setattr(SqliteKind, "refers", lambda *_: True)
    assert tried(tmp_path, "p", only="lite")["lite"].note.startswith("accepted, its foreign keys were not looked at; ")
    assert _OF_ITERATION.sub("", f"{pieces._WAYS_OUT}.").endswith("dead_letter`, and `odibictl apply`.")
