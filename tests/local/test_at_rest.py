"""Verbs that only read, on a store at rest: the shapes of a running system, and not a byte written."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from odibi_actors.checkpoint import records
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.checkpoint.resting import Resting
from odibi_actors.cli.__main__ import odibictl
from odibi_actors.client import Client
from odibi_actors.config import load_project
from odibi_actors.config.model import ProjectSpec
from odibi_actors.errors import ConflictError, NotFoundError, StoreError, UnreachableError
from odibi_actors.local import LocalSystem, run_pipeline
from odibi_actors.local.at_rest import AtRest, _at_rest
from odibi_actors.messages import BROKER, SOURCE, STORE
from odibi_actors.runtime import paths
from tests.checkpoint import former
from tests.checkpoint.make import P, ack, claimed, committed, error, plan, put, version
from tests.local.test_run import add, project

__all__ = ["project"]

ASKED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (BROKER, "pipeline.list", {}),
    (BROKER, "pipeline.show", {"pipeline": "sales"}),
    (BROKER, "schedule.list", {"pipeline": None}),
    (BROKER, "backfill.list", {"pipeline": None}),
    (BROKER, "worker.list", {}),
    (STORE, "iteration.list", {"pipeline": "sales"}),
    (STORE, "iteration.show", {"pipeline": "sales", "iteration": 1}),
    (STORE, "node.list", {"pipeline": "sales", "iteration": 1}),
    (STORE, "deadletter.list", {}),
    (STORE, "run.list", {"pipeline": "sales"}),
    (STORE, "alert.list", {}),
    (STORE, "checkpoint.stats", {}),
    (SOURCE, "source.list", {}),
    (SOURCE, "source.why", {"file": "orders-2025-01-01.csv"}),
)


def files(data_dir: Path) -> dict[str, tuple[bytes, int]]:
    found = {}
    for path in sorted(data_dir.rglob("*")):
        if path.is_file():
            found[str(path.relative_to(data_dir))] = path.read_bytes(), path.stat().st_mtime_ns
    return found


def call(project: ProjectSpec, *args: str) -> Result:
    return CliRunner().invoke(odibictl, [*args, "--project", project.root])


def keys(value: Any) -> Any:
    """The shape of a result."""
    if isinstance(value, dict):
        return {name: keys(one) for name, one in value.items()}
    if isinstance(value, list):
        return [keys(one) for one in value]
    return None


def test_given_a_system_has_ended_then_what_only_reads_is_answered_in_the_same_shapes(project: ProjectSpec) -> None:
    run_pipeline(project, "sales")
    add(project, "orders-9.csv", "1,2024-01-05,fr,oops,2")
    with LocalSystem(project) as system:
        system.request("status")
        live = {verb: system.request(verb, dict(params), to=to) for to, verb, params in ASKED}
        shape = keys(system.request("status"))
    with AtRest(Path(project.data_dir)) as store:
        assert store.answer(BROKER, "status", {})["at_rest"] == store.as_of
        assert keys(store.answer(BROKER, "status", {})["pipelines"]) == shape["pipelines"]
        assert shape.keys() < store.answer(BROKER, "status", {}).keys()
        for to, verb, params in ASKED:
            found = store.answer(to, verb, dict(params))
            if verb not in ("checkpoint.stats", "worker.list", "source.list", "source.why"):
                assert found == live[verb], verb
            elif verb != "worker.list":
                assert keys(found) == keys(live[verb]), verb
    assert live["iteration.list"]["items"]


def test_given_a_store_at_rest_when_it_is_read_then_nothing_is_written_or_made(
    project: ProjectSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_pipeline(project, "sales")
    data_dir = Path(project.data_dir)
    before = files(data_dir)
    seen = []
    answer = Resting.answer

    def looked(self: Resting, *args: Any) -> Any:
        found = answer(self, *args)
        seen.append({path.name for path in data_dir.iterdir()} == {name.partition("/")[0] for name in before} | folders)
        return found

    folders = {path.name for path in data_dir.iterdir() if path.is_dir()}
    monkeypatch.setattr(Resting, "answer", looked)
    for args in (
        ("status",),
        ("iteration", "list", "sales"),
        ("iteration", "show", "sales", "1"),
        ("node", "list", "sales", "1"),
        ("deadletter", "list"),
        ("source", "list"),
        ("source", "why", "orders-2025-01-01.csv"),
        ("schedule", "list"),
        ("pipeline", "list"),
        ("pipeline", "show", "sales"),
        ("pipeline", "runs", "sales"),
        ("backfill", "list"),
        ("checkpoint", "stats"),
    ):
        result = call(project, *args, "-o", "json")
        assert result.exit_code == 0, (args, result.stderr)
        assert result.stderr.count("read from the store at rest (as of 20") == 1, args
        assert json.loads(result.stdout)["schema"] == 1
    assert call(project, "checkpoint", "verify").exit_code == 0
    assert files(data_dir) == before
    assert seen
    assert all(seen)


def test_given_a_file_that_no_pattern_matches_when_asked_why_then_it_is_told_if_it_is_not_there(
    project: ProjectSpec,
) -> None:
    run_pipeline(project, "sales")
    (Path(project.root) / "data/landing/there.txt").touch()
    (row,) = json.loads(call(project, "source", "why", "orders-2025-01-01.csv", "-o", "json").stdout)["items"]
    assert row["state"] == "committed"
    absent, there = (call(project, "source", "why", name).stdout for name in ("nope.txt", "there.txt"))
    assert "nope.txt does not match pattern orders-*.csv; and there is no such file" in absent
    assert "there.txt does not match pattern orders-*.csv" in there
    assert "no such file" not in "\n".join(line for line in there.splitlines() if "orders-*.csv" in line)


def test_given_nothing_runs_then_nothing_is_missed_that_only_runs_with_the_system(tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing" / "a.csv").write_text("id,cust\n1,1\n")
    (tmp_path / "ref.csv").write_text("id,country\n1,de\n")
    (tmp_path / "odibi.yaml").write_text(
        "project: rest\n"
        "connections:\n"
        "  landing: {type: local, path: landing}\n"
        "  here: {type: local, path: .}\n"
        "pipelines:\n"
        "  - pipeline: p\n"
        "    nodes:\n"
        '      - {name: src, read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv"}}\n'
        "      - {name: ref, read: {connection: here, format: csv, mode: batch, pattern: ref.csv}}\n"
        '      - {name: j, inputs: [src, ref], transform: {sql: "select s.id from src s join ref r using (id)"}}\n'
        "      - {name: out, inputs: [j], write: {connection: here, path: out, format: parquet}}\n"
    )
    project = load_project(tmp_path)
    run_pipeline(project, "p")
    reference = json.loads(call(project, "source", "why", str(tmp_path / "ref.csv"), "-o", "json").stdout)
    assert ("ref", "reference", "read whole by every iteration, as it is when that is planned") in [
        (item["source"], item["state"], item["reason"]) for item in reference["items"]
    ]
    shown = json.loads(call(project, "status", "-o", "json").stdout)
    assert [row["problems"] for row in shown["pipelines"]] == [[]]
    assert json.loads(call(project, "pipeline", "show", "p", "-o", "json").stdout)["problems"] == []
    result = call(project, "doctor", "-o", "json")
    rows = {row["check"]: row for row in json.loads(result.stdout)["items"]}
    assert (rows["broker"]["state"], rows["broker"]["found"]) == ("ok", "not running")
    assert not {"source", "scheduler", "pool"} & rows.keys()
    assert [name for name, row in rows.items() if row["state"] == "fail"] == []
    assert result.stderr == ""


def test_given_nothing_runs_when_something_is_to_be_changed_then_69_says_how_to_start(project: ProjectSpec) -> None:
    run_pipeline(project, "sales")
    before = files(Path(project.data_dir))
    for args, instead in (
        (("pipeline", "trigger", "sales"), "`odibictl run sales`"),
        (("iteration", "retry", "sales", "1"), "`odibictl run sales`"),
        (("iteration", "wait", "sales"), "`odibictl run sales`"),
        (("pipeline", "drain", "sales"), "`odibictl up`"),
        (("pipeline", "backfill", "sales", "--files", "*.csv", "--yes"), "`odibictl up`"),
        (("worker", "scale", "2"), "`odibictl up`"),
        (("worker", "kill", "pool-0-1", "--yes"), "`odibictl up`"),
        (("apply",), "`odibictl run`"),
    ):
        result = call(project, *args)
        assert (result.exit_code, result.stdout) == (69, ""), args
        assert result.stderr.count("nothing runs on") == 1, result.stderr
        error = result.stderr.splitlines()[-1]
        assert error.startswith("error: ")
        assert "`odibictl up`" in error
        assert instead in error
    with Client(project=project.root) as client, pytest.raises(UnreachableError, match="nothing runs on"):
        client.apply(project)
    assert files(Path(project.data_dir)) == before


def test_given_what_was_interrupted_then_it_is_said_to_be_and_what_is_over_is_not() -> None:
    engine = claimed()
    put(engine, version(), *committed(1, "a.csv"), plan(2, "b.csv"), plan(3, "c.csv"), error(3, "clean", 1))
    put(engine, records.Fail(P, 3, "clean", 5.0), plan(4, "d.csv"))
    rows = _at_rest("iteration.list", engine.answer("iteration.list", {"pipeline": P}))["items"]
    assert {row["iteration"]: row.get("interrupted", False) for row in rows} == {1: False, 2: True, 3: False, 4: False}
    (row,) = [_at_rest("iteration.show", engine.answer("iteration.show", {"pipeline": P, "iteration": 2}))]
    assert (row["state"], row["interrupted"]) == ("planned", True)


def test_given_a_client_of_python_then_it_reads_at_rest_and_tells_as_of_when(project: ProjectSpec) -> None:
    run_pipeline(project, "sales")
    told: list[tuple[Path, float]] = []
    with Client(project=project.root) as client:
        client.on_rest = lambda folder, as_of: told.append((folder, as_of))
        assert client.iterations("sales")["items"][0]["state"] == "committed"
        with pytest.raises(NotFoundError, match="no iteration 7"):
            client.iteration("sales", 7)
    (one,) = told
    assert one == (Path(project.data_dir), (Path(project.data_dir) / "checkpoints.db").stat().st_mtime)


def test_given_somebody_runs_then_nothing_is_read_behind_their_back(project: ProjectSpec) -> None:
    run_pipeline(project, "sales")
    lock = paths.hold_lock(Path(project.data_dir) / "run" / "broker.lock")
    try:
        with Client(project=project.root, timeout=0.1) as client, pytest.raises(UnreachableError):
            client.status()
    finally:
        lock.release()
    with LocalSystem(project), pytest.raises(ConflictError, match="runs"):
        AtRest(Path(project.data_dir))


def test_given_a_crash_left_records_in_the_log_then_they_are_read_and_the_log_stays(
    project: ProjectSpec, tmp_path: Path
) -> None:
    data_dir = Path(project.data_dir)
    run_pipeline(project, "sales")
    add(project, "orders-9.csv", "100,2024-01-05,fr,1,2")
    with LocalSystem(project) as system:
        run = system.request("pipeline.trigger", {"pipeline": "sales"})["run"] or ""
        if run:
            system.request("run.wait", {"run": run})
        live = system.request("iteration.list", {"pipeline": "sales"}, to=STORE)
        copy = tmp_path / "copy"
        shutil.copytree(data_dir, copy)
    assert (copy / "checkpoints.db-wal").stat().st_size > 0
    before = files(copy)
    with AtRest(copy) as store:
        assert store.answer(STORE, "iteration.list", {"pipeline": "sales"}) == live
    assert files(copy) == before


def test_given_a_store_of_a_former_format_then_it_is_read_and_stays_as_it_is(tmp_path: Path) -> None:
    with former.whole():
        before = claimed()
        put(before, version(), *(record for n in range(1, 11) for record in committed(n, f"{n}.csv")))
        put(before, plan(11, "11.csv"), ack(11, data=b"x"), error(11))
    for name, more, tables in (
        ("3", "", former.FORMAT_3),
        ("2", "", former.FORMAT_2),
        ("1", former.TO_1, former.FORMAT_2),
    ):
        folder = tmp_path / name
        folder.mkdir()
        former.downgrade(before, folder / "checkpoints.db", more, tables)
        kept = files(folder)
        with AtRest(folder) as store:
            for verb, params in (
                ("iteration.list", {}),
                ("iteration.show", {"iteration": 3}),
                ("node.list", {"iteration": 11}),
            ):
                found = store.answer(STORE, verb, {"pipeline": P, **params})
                for row in found.get("items", ()):
                    row.pop("interrupted", None)  # said of a store at rest only
                assert found == before.answer(verb, {"pipeline": P, **params})
            assert store.answer(BROKER, "pipeline.list", {})["items"][0]["committed"] == 10
        assert files(folder) == kept


def damaged(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[3 * 4096 + 100] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (damaged, "page 4 is not as it was written"),
        (lambda path: path.with_name("checkpoints.db-seals").unlink(), "checkpoints.db-seals is missing"),
        (lambda path: path.unlink(), "checkpoints.db is missing"),
        (lambda path: path.write_bytes(b""), "is empty"),
    ],
)
def test_given_a_damaged_store_then_it_is_named_and_never_read_as_empty(
    tmp_path: Path, harm: Callable[[Path], None], said: str
) -> None:
    engine = claimed(tmp_path / "checkpoints.db")
    put(engine, version(), *(record for n in range(1, 30) for record in committed(n, f"{n}.csv")))
    engine.close()
    harm(tmp_path / "checkpoints.db")
    with pytest.raises(StoreError, match=said):
        AtRest(tmp_path)


def test_given_no_store_then_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no checkpoint store in"):
        AtRest(tmp_path)


def test_given_somebody_reads_when_a_store_starts_then_it_waits_for_the_end_of_that(tmp_path: Path) -> None:
    claimed(tmp_path / "checkpoints.db").close()
    store = Resting(tmp_path)
    started = threading.Thread(target=lambda: Engine(tmp_path / "checkpoints.db").close())
    started.start()
    assert store.load()[1] == ""
    store.close()
    started.join(5)
    assert not started.is_alive()
    held = os.open(tmp_path / "run" / "store.lock", os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with pytest.raises(ConflictError, match="is running already"):
        Engine(tmp_path / "checkpoints.db")
    os.close(held)


@pytest.mark.parametrize("verb", ["status", "pipelines"])
def test_given_a_system_that_is_being_started_then_a_client_says_so_and_can_ask_again(
    project: ProjectSpec, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """The store was not running when it was looked for, and is when it is opened: `up --detach` waits for an answer."""
    run_pipeline(project, "sales")
    monkeypatch.setattr(paths, "held", lambda _: "")
    held = os.open(Path(project.data_dir) / "run" / "store.lock", os.O_RDWR)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with Client(project=project.root) as client, pytest.raises(UnreachableError, match="is being started on"):
            getattr(client, verb)()
    finally:
        os.close(held)
