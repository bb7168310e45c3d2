"""The executor: chains of nodes, keys and digests, and a kind for everything that goes wrong."""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from odibi_actors.batches.ipc import decode_schema, encode_schema
from odibi_actors.batches.spool import Spool
from odibi_actors.config.model import NodeSpec
from odibi_actors.messages import NodeDone, NodeFailed, PublishDone, Started, Step, Task
from odibi_actors.model import PIN, Attempt, Trigger, node_key, pin_digest
from odibi_actors.nodes.executor import Executor, node_logger
from odibi_actors.sources.files import FolderOfFiles
from tests.nodes.helpers import (
    done,
    failed,
    function_node,
    outcomes,
    parquet_node,
    position,
    publish_task,
    read_spec,
    sql_node,
    task,
)

CSV = b"carrier,dep_delay\n" + b"UA,61\nAA,\nUA,5\n" * 2000


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[Executor]:
    ticks = iter(range(10_000))
    one = Executor(tmp_path / ".odibi", "host", "w1", "code", clock=lambda: float(next(ticks)))
    yield one
    one.close()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """``nodes/flights.py`` of a project on the import path."""
    path = tmp_path / "project" / "nodes" / "flights.py"
    path.parent.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path / "project"))
    yield path
    for name in [name for name in sys.modules if name.split(".")[0] == "nodes"]:
        del sys.modules[name]


def _read_step(folder: Path, data: bytes = CSV, schema: bytes = b"") -> Step:
    node = NodeSpec("flights", read=read_spec(folder))
    return Step(node, "static-flights", [position(folder, "f.csv", data)], schema)


def test_given_a_chain_when_run_then_each_node_is_acknowledged_with_its_key(tmp_path: Path, executor: Executor) -> None:
    clean = sql_node("clean", ["flights"], "select * from flights where dep_delay > 0")
    count = sql_node("by_carrier", ["clean"], "select carrier, count(*) as n from clean group by all")
    work = task(_read_step(tmp_path), clean, count, parquet_node(tmp_path, inputs=("by_carrier",)))
    found = list(executor.run(work))
    assert [type(one) for one in found] == [Started, NodeDone] * 4
    results = [one for one in found if isinstance(one, NodeDone)]
    assert [(one.node, one.rows_in, one.rows_out, one.last) for one in results] == [
        ("flights", 6000, 6000, False),
        ("clean", 6000, 4000, False),
        ("by_carrier", 4000, 1, False),
        ("lake", 1, 1, True),
    ]
    assert results[0].schema_text == ["carrier: string", "dep_delay: int64"]
    assert decode_schema(results[0].schema).names == ["carrier", "dep_delay"]
    assert all(one.worker == "w1" and one.duration == 1.0 and one.started_at >= 0 for one in results)
    outputs = [one.output for one in results[:3]]
    assert [bool(ref and ref.path) for ref in outputs] == [True, True, False]
    assert results[0].key == node_key("static-flights", {PIN: pin_digest(results[0].schema)})
    assert results[2].key == node_key("static-by_carrier", {"clean": outputs[1].digest if outputs[1] else ""})
    assert results[3].output is None
    assert results[3].staged is not None
    assert results[3].staged.rows == 1


def test_given_a_chain_when_run_then_the_next_node_takes_the_table_from_memory(
    tmp_path: Path, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Spool, "read", lambda *_, **__: pytest.fail("the output is read again"))
    nodes = [sql_node(f"n{i}", [f"n{i - 1}" if i else "flights"], f"select * from n{i - 1}") for i in range(1, 4)]
    first = sql_node("n0", ["flights"], "select * from flights")
    assert done(executor, task(_read_step(tmp_path), first, *nodes)).rows_out == 6000


def test_given_the_same_nodes_one_by_one_when_run_then_keys_and_digests_are_those_of_the_chain(
    tmp_path: Path, executor: Executor
) -> None:
    step = _read_step(tmp_path)
    clean = sql_node("clean", ["flights"], "select carrier, sum(dep_delay) as s from flights group by all")
    chain = [one for one in outcomes(executor, task(step, clean)) if isinstance(one, NodeDone)]
    alone = done(executor, task(step, counter=2))
    assert alone.output is not None
    other = done(executor, task(clean, inputs={"flights": alone.output}, counter=3))
    assert (alone.key, other.key) == (chain[0].key, chain[1].key)
    assert other.output is not None
    assert chain[1].output is not None
    assert other.output.digest == chain[1].output.digest


def test_given_other_code_then_no_node_runs_but_what_is_prepared_is_published(
    tmp_path: Path, executor: Executor
) -> None:
    found = list(executor.run(task(_read_step(tmp_path), code="newer")))
    (result,) = found
    assert isinstance(result, NodeFailed)
    assert (result.failure.kind, result.node) == ("code_mismatch", "flights")
    staged = done(executor, task(_read_step(tmp_path), parquet_node(tmp_path, inputs=("flights",))))
    publish = msgspec.structs.replace(publish_task(parquet_node(tmp_path), staged), code_digest="newer")
    assert isinstance(list(executor.run(publish))[-1], PublishDone)


def test_given_other_bytes_in_place_of_an_input_when_it_is_to_be_verified_then_the_failure_names_the_producer(
    tmp_path: Path, executor: Executor
) -> None:
    tables = [pa.table({"n": pa.array(range(start, start + 5000))}) for start in (0, 1)]
    right, other = (
        executor.spool.write(table, "delays", 1, "flights", Attempt(1, n)) for n, table in enumerate(tables)
    )
    (executor.spool.root / other.path).replace(executor.spool.root / right.path)
    node = sql_node("clean", ["flights"], "select sum(n) as n from flights")
    failure = failed(executor, task(node, inputs={"flights": right}, verify=("flights",))).failure
    assert (failure.kind, failure.lost) == ("input_lost", "flights")


@pytest.mark.parametrize("harm", ["gone", "cut", "flipped"])
def test_given_a_lost_input_when_run_then_the_failure_names_the_producer(
    tmp_path: Path, executor: Executor, harm: str
) -> None:
    output = done(executor, task(_read_step(tmp_path))).output
    assert output is not None
    path = tmp_path / ".odibi" / "spool" / output.path
    data = path.read_bytes()
    path.unlink()
    if harm != "gone":
        path.write_bytes(data[:-8] if harm == "cut" else data[:999] + bytes([data[999] ^ 1]) + data[1000:])
    node = sql_node("clean", ["flights"], "select * from flights")
    failure = failed(executor, task(node, inputs={"flights": output}, verify=("flights",))).failure
    assert (failure.kind, failure.lost) == ("input_lost", "flights")
    assert failed(executor, task(node)).failure.kind == "invalid"


def test_given_a_node_that_fails_when_in_a_chain_then_those_before_stand_and_those_after_do_not_begin(
    tmp_path: Path, executor: Executor, project: Path
) -> None:
    project.write_text("def clean(flights, limit):\n    raise ValueError(f'limit {limit}')\n")
    work = task(
        _read_step(tmp_path),
        function_node("clean", ["flights"], "nodes.flights:clean", limit=3),
        sql_node("after", ["clean"], "select * from clean"),
    )
    results = outcomes(executor, work)
    assert [type(one) for one in results] == [NodeDone, NodeFailed]
    failure = results[1].failure  # type: ignore[union-attr]
    assert failure.kind == "raised"
    assert failure.message == "ValueError: limit 3 (flights.py line 2, in clean)"
    assert "raise ValueError" in failure.traceback


def test_given_a_node_that_writes_to_a_full_disk_then_neither_code_nor_rows_are_blamed(
    tmp_path: Path, executor: Executor, project: Path
) -> None:
    project.write_text(
        "def clean(flights, limit):\n    with open('/dev/full', 'w') as file:\n        file.write('x')\n"
    )
    work = task(_read_step(tmp_path), function_node("clean", ["flights"], "nodes.flights:clean", limit=3))
    failure = outcomes(executor, work)[1].failure  # type: ignore[union-attr]
    assert failure.kind == "full"
    assert failure.message.startswith("OSError: [Errno 28] No space left on device (flights.py line ")


TELLS = """import datetime as dt
import pandas as pd

def tell(context):
    context.params["day"] = "spoilt"
    context.files.clear()
    when = None if context.scheduled_at is None else context.scheduled_at.isoformat()
    return pd.DataFrame({"text": ["|".join(map(str, (
        context.run, context.lane, context.schedule, context.occurrence, when)))]})

def again(first, context):
    return pd.DataFrame({"text": [str(context.params) + str(context.files)]})
"""


def test_given_a_run_of_a_schedule_when_functions_and_sql_ask_then_they_are_told_what_set_it_off(
    executor: Executor, project: Path
) -> None:
    project.write_text(TELLS)
    trigger = Trigger("schedule", "hourly", "2024-03-01T12:00", 1709294400.0, {"day": "mon"}, ["a.csv"])
    first = function_node("first", [], "nodes.flights:tell")
    second = function_node("second", ["first"], "nodes.flights:again")
    third = sql_node(
        "third",
        ["second"],
        "select getvariable('day') as day, getvariable('occurrence') as o, epoch(getvariable('scheduled_at')) as at",
    )
    work = task(first, second, third, trigger=trigger, run="r1", lane="backfill-7")
    results = outcomes(executor, work)
    tables = [
        executor.spool.read(one.output).to_pylist() for one in results if isinstance(one, NodeDone) and one.output
    ]
    assert tables == [
        [{"text": "r1|backfill-7|hourly|2024-03-01T12:00|2024-03-01T12:00:00+00:00"}],
        [{"text": "{'day': 'mon'}['a.csv']"}],
        [{"day": "mon", "o": "2024-03-01T12:00", "at": 1709294400.0}],
    ]
    assert trigger.params == {"day": "mon"}


def test_given_no_run_when_a_function_asks_then_its_context_is_empty(executor: Executor, project: Path) -> None:
    project.write_text(TELLS)
    output = done(executor, task(function_node("first", [], "nodes.flights:tell"))).output
    assert output is not None
    assert executor.spool.read(output).to_pylist() == [{"text": "|live|||None"}]


def test_given_a_malformed_file_when_run_then_position_line_and_value_are_in_the_failure(
    tmp_path: Path, executor: Executor
) -> None:
    pinned = encode_schema(pa.schema([("carrier", pa.string()), ("dep_delay", pa.int64())]))
    failure = failed(executor, task(_read_step(tmp_path, CSV + b"AA,late\n", pinned))).failure
    assert (failure.kind, failure.position, failure.line) == ("malformed", "f.csv", 6002)
    assert (failure.column, failure.value) == ("dep_delay", "late")


def test_given_a_pinned_schema_when_read_then_none_is_returned(tmp_path: Path, executor: Executor) -> None:
    pinned = encode_schema(pa.schema([("dep_delay", pa.float64()), ("carrier", pa.string())]))
    result = done(executor, task(_read_step(tmp_path, schema=pinned)))
    assert (result.schema, result.schema_text) == (b"", [])
    assert result.output is not None
    table = executor.spool.read(result.output)
    assert [str(field.type) for field in table.schema] == ["double", "string"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/x"), "full"),
        (PermissionError(errno.EACCES, "denied", "/x"), "io"),
        (MemoryError(), "raised"),
        (pa.ArrowMemoryError("malloc of size 1 failed"), "raised"),
        (ZeroDivisionError("ours"), "raised"),
    ],
)
def test_given_an_error_of_the_environment_when_run_then_it_has_its_kind(
    tmp_path: Path, executor: Executor, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(FolderOfFiles, "load", fail)
    failure = failed(executor, task(_read_step(tmp_path))).failure
    assert failure.kind == kind
    assert type(error).__name__ in failure.message


def test_given_a_read_only_spool_when_run_then_it_is_io(tmp_path: Path, executor: Executor) -> None:
    (tmp_path / ".odibi").mkdir()
    (tmp_path / ".odibi" / "spool").write_text("a file where the folder should be")
    assert failed(executor, task(_read_step(tmp_path))).failure.kind == "io"


def test_given_a_write_node_with_two_inputs_when_run_then_it_is_invalid(tmp_path: Path, executor: Executor) -> None:
    output = done(executor, task(_read_step(tmp_path))).output
    assert output is not None
    node = parquet_node(tmp_path, inputs=("a", "b"))
    assert failed(executor, task(node, inputs={"a": output, "b": output})).failure.kind == "invalid"


def test_given_a_task_from_the_wire_when_run_then_it_is_the_same(tmp_path: Path, executor: Executor) -> None:
    work = task(_read_step(tmp_path), sql_node("c", ["flights"], "select count(*) as n from flights"))
    received = msgspec.msgpack.decode(msgspec.msgpack.encode(work), type=Task)
    result = msgspec.msgpack.decode(msgspec.msgpack.encode(done(executor, received)), type=NodeDone)
    assert result.output is not None
    assert executor.spool.read(result.output).to_pydict() == {"n": [6000]}
    assert result.attempt == Attempt(1, 1)


def test_a_node_tells_the_most_its_process_had_in_memory_and_what_it_had_before(
    executor: Executor, project: Path
) -> None:
    project.write_text(
        "import pyarrow as pa\n\n\ndef large(rows):\n    x = bytearray(150_000_000)\n    return rows.head(1)\n\n\n"
        "def small(rows):\n    return rows.head(1)\n"
    )
    steps = [
        Step(function_node("large", ["flights"], "nodes.flights:large"), "l"),
        Step(function_node("small", ["large"], "nodes.flights:small"), "s"),
    ]
    results = outcomes(executor, task(_read_step(project.parent), *steps))
    told = {one.node: (one.memory, one.memory_before) for one in results if isinstance(one, NodeDone)}
    assert told["large"][0] - told["large"][1] > 140_000_000
    assert 0 < told["small"][1] <= told["small"][0] < told["large"][0]


def test_given_a_node_that_logs_then_its_lines_name_the_iteration_and_no_name_is_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO"):
        for iteration in (1, 2):
            node_logger("sales", iteration, "clean").info("dropped %d", iteration)
        node_logger("sales", 3, "clean").debug("not told")
    lines = [f"{record.name} {record.getMessage()}" for record in caplog.records]
    assert lines == ["sales 1 clean: dropped 1", "sales 2 clean: dropped 2"]
    assert [name for name in logging.Logger.manager.loggerDict if name.startswith("sales")] == []
