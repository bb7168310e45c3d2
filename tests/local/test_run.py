"""``odibictl run`` and the local runtime: the same engine in one process."""

from __future__ import annotations

import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from odibi_actors.config import init_project, load_project
from odibi_actors.config.model import BatchSpec, ProjectSpec
from odibi_actors.errors import ConflictError, OdibiError
from odibi_actors.local import LocalSystem, run_pipeline
from odibi_actors.messages import STORE
from odibi_actors.nodes.sinks import sqlite_sink
from odibi_actors.runtime import paths
from odibi_actors.runtime.progress import Progress, seldom


@pytest.fixture
def project(tmp_path: Path) -> Iterator[ProjectSpec]:
    """The project of ``odibictl init``; its files are old enough to be taken at once."""
    init_project(tmp_path)
    age(tmp_path)
    modules = dict(sys.modules)
    yield load_project(tmp_path)
    for name in [n for n in sys.modules if n not in modules and n.partition(".")[0] == "nodes"]:
        del sys.modules[name]
    sys.path[:] = [p for p in sys.path if p != str(tmp_path)]


def age(root: Path) -> None:
    for file in (root / "data/landing").glob("*.csv"):
        os.utime(file, (1_700_000_000, 1_700_000_000))


def parts(project: ProjectSpec) -> list[str]:
    return sorted(p.name for p in (Path(project.root) / "data/lake/orders").glob("part-*.parquet"))


def sums(project: ProjectSpec) -> list[tuple[str, str, float]]:
    with sqlite3.connect(Path(project.root) / "data/mart.db") as db:
        return db.execute("select day, country, amount from sales order by 1, 2").fetchall()


def add(project: ProjectSpec, name: str, *rows: str) -> None:
    """One more file; those that are there are not touched: they would be read again where a retry looks at them."""
    file = Path(project.root) / "data/landing" / name
    file.write_text("\n".join(["order_id,day,country,quantity,price", *rows, ""]))
    os.utime(file, (1_700_000_000, 1_700_000_000))


def test_a_run_takes_what_is_there_and_ends(project: ProjectSpec) -> None:
    summary = run_pipeline(project, "sales")
    assert (summary.state, summary.iterations, summary.committed, summary.failed) == ("done", 1, 1, 0)
    assert parts(project) == ["part-0000000001-lake_orders.parquet"]
    assert len(sums(project)) == 6


def test_the_next_run_takes_only_what_is_new(project: ProjectSpec) -> None:
    run_pipeline(project, "sales")
    assert run_pipeline(project, "sales").state == "no_data"
    add(project, "orders-2025-02-01.csv", "100,2025-02-01,xx,2,5.0")
    summary = run_pipeline(project, "sales")
    assert (summary.state, summary.iterations) == ("done", 1)
    assert sums(project)[-1] == ("2025-02-01", "xx", 10.0)
    table = pq.read_table(Path(project.root) / "data/lake/orders" / parts(project)[1])
    assert table.column("order_id").to_pylist() == [100]


def test_iterations_bounds_a_run(project: ProjectSpec) -> None:
    for day in range(1, 40):
        add(project, f"orders-2025-03-{day:02}.csv", f"{day},2025-03-01,c{day},1,1.0")
    summary = run_pipeline(project, "sales", iterations=1)
    assert (summary.state, summary.iterations, len(parts(project))) == ("done", 1, 1)
    summary = run_pipeline(project, "sales")
    assert summary.iterations == 2  # 41 files, 16 an iteration


def test_fresh_uses_other_checkpoints_and_refuses_owned_targets(project: ProjectSpec) -> None:
    assert run_pipeline(project, "sales", fresh=True).committed == 1
    before = sums(project)
    with pytest.raises(ConflictError) as refused:
        run_pipeline(project, "sales", fresh=True)
    said = str(refused.value)
    assert "lake_orders: " in said
    assert "data/mart.db#sales" in said
    assert "`odibictl try sales`" in said
    assert "delete" not in said
    assert (parts(project), sums(project)) == (["part-0000000001-lake_orders.parquet"], before)


def test_a_failure_is_said_once(project: ProjectSpec, capsys: pytest.CaptureFixture[str]) -> None:
    spec = Path(project.root) / "odibi.yaml"
    spec.write_text(spec.read_text().replace("max_attempts: 3", "max_attempts: 1"))
    code = Path(project.root) / "nodes/orders.py"
    code.write_text("def clean(orders, max_quantity):\n    print('hello')\n    raise ValueError('no such luck')\n")
    summary = run_pipeline(load_project(Path(project.root)), "sales")
    out, err = capsys.readouterr()
    assert err.count("no such luck") == 1
    assert "error: sales 1: failed at clean: ValueError: no such luck (orders.py line 3, in clean)" in err
    assert (summary.untold, summary.traceback.count("no such luck")) == ("", 2)  # the line of code, and the message
    assert out == "sales 1 clean: hello\n"


def test_a_try_that_is_followed_by_another_says_so(project: ProjectSpec, capsys: pytest.CaptureFixture[str]) -> None:
    spec = Path(project.root) / "odibi.yaml"
    spec.write_text(spec.read_text().replace("max_attempts: 3, initial: 1s", "max_attempts: 2, initial: 10ms"))
    (Path(project.root) / "nodes/orders.py").write_text("def clean(orders, max_quantity):\n    return 1 / 0\n")
    run_pipeline(load_project(Path(project.root)), "sales")
    said = [line for line in capsys.readouterr().err.splitlines() if "division" in line]
    assert [line.partition(": Zero")[0] for line in said] == [
        "warning: sales 1 clean: attempt 1/2",
        "error: sales 1: failed at clean",
    ]


def test_rows_are_those_of_watched_sources(project: ProjectSpec) -> None:
    (Path(project.root) / "data/landing/countries.csv").write_text("country,size\nde,1\nfr,2\n")
    age(Path(project.root))
    spec = Path(project.root) / "odibi.yaml"
    spec.write_text(
        spec.read_text()
        .replace(
            "      - name: clean  ",
            "      - name: countries\n"
            "        read: {connection: landing, format: csv, mode: batch, pattern: countries.csv}\n"
            "      - name: sized\n        inputs: [orders, countries]\n"
            "        transform: {sql: select * from orders join countries using (country)}\n      - name: clean  ",
        )
        .replace("inputs: [clean]\n        write:", "inputs: [sized]\n        write:")
    )
    assert run_pipeline(load_project(Path(project.root)), "sales").rows_read == 9
    spec.write_text(
        spec.read_text().replace("mode: file_watch", "mode: batch").replace("trigger: data", "trigger: manual")
    )
    assert run_pipeline(load_project(Path(project.root)), "sales").rows_read == 11


def test_a_node_that_raises_fails_the_run_and_says_why(project: ProjectSpec) -> None:
    code = Path(project.root) / "nodes/orders.py"
    code.write_text("def clean(orders, max_quantity):\n    raise ValueError('no such luck')\n")
    broken = load_project(Path(project.root))
    summary = run_pipeline(broken, "sales")
    assert (summary.state, summary.failed) == ("failed", 1)
    assert "no such luck" in summary.error
    assert parts(project) == []


def test_the_next_run_retries_what_the_former_left_failed(project: ProjectSpec) -> None:
    code = Path(project.root) / "nodes/orders.py"
    sound = code.read_text()
    code.write_text("def clean(orders, max_quantity):\n    raise ValueError('no such luck')\n")
    assert run_pipeline(load_project(Path(project.root)), "sales").failed == 1
    code.write_text(sound)
    for name in ("nodes.orders", "nodes"):
        sys.modules.pop(name, None)
    summary = run_pipeline(load_project(Path(project.root)), "sales")
    assert (summary.state, summary.committed, summary.failed) == ("done", 1, 0)
    assert parts(project) == ["part-0000000001-lake_orders.parquet"]


@pytest.mark.parametrize("new", [False, True])
def test_the_next_run_ends_too_when_what_it_retries_fails_again(project: ProjectSpec, new: bool) -> None:
    code = Path(project.root) / "nodes/orders.py"
    code.write_text(
        "def clean(orders, max_quantity):\n"
        "    if orders['day'].astype(str).min() < '2025-01-05':\n"
        "        raise ValueError('no such luck')\n"
        "    return orders.assign(amount=1.0)\n"
    )
    config = Path(project.root) / "odibi.yaml"
    config.write_text(config.read_text().replace("max_attempts: 3, initial: 1s", "max_attempts: 2, initial: 200ms"))
    broken = load_project(Path(project.root))
    assert run_pipeline(broken, "sales").failed == 1
    if new:  # its iteration is computed, and waits behind the one that fails
        add(project, "orders-2025-02-01.csv", "90,2025-02-01,fr,1,1.0")
    for _ in range(2):
        summary = run_pipeline(broken, "sales")
        assert (summary.state, summary.failed, summary.committed) == ("failed", 1, 0)
    code.write_text("def clean(orders, max_quantity):\n    return orders.dropna().assign(amount=1.0)\n")
    for name in ("nodes.orders", "nodes"):
        sys.modules.pop(name, None)
    summary = run_pipeline(load_project(Path(project.root)), "sales")
    assert (summary.state, summary.failed, summary.committed) == ("done", 0, 1 + new)


def test_a_run_waits_for_a_locked_target_says_so_and_goes_on(
    project: ProjectSpec, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sqlite_sink, "BUSY_TIMEOUT", 0.0)
    run_pipeline(project, "sales")
    add(project, "orders-2025-02-01.csv", "90,2025-02-01,fr,1,1.0")
    other = sqlite3.connect(Path(project.root) / "data/mart.db", isolation_level=None)
    other.execute("begin exclusive")

    def release(_line: str) -> None:  # progress is told each second, and longer than the tries of the node last
        if [1 for said in capsys.readouterr().err.splitlines() if "is locked by" in said]:
            seen.append(_line)
        if seen and other.in_transaction:
            other.execute("rollback")

    seen: list[str] = []
    summary = run_pipeline(project, "sales", progress=release)
    other.close()
    assert seen
    assert (summary.state, summary.committed, summary.failed) == ("done", 1, 0)
    assert ("2025-02-01", "fr", 1.0) in sums(project)


def test_a_second_system_on_the_same_data_is_refused(project: ProjectSpec) -> None:
    places = paths.prepare(Path(project.data_dir))
    lock = paths.hold_lock(places.run / "broker.lock")
    try:
        with pytest.raises(ConflictError, match="broker is already running"):
            run_pipeline(project, "sales")
    finally:
        lock.release()


def test_the_verbs_of_the_system_work_in_one_process(project: ProjectSpec) -> None:
    with LocalSystem(project) as system:
        run = system.request("pipeline.trigger", {"pipeline": "sales"})["run"]
        assert system.request("run.wait", {"run": run})["state"] == "done"
        nodes = system.request("node.list", {"pipeline": "sales", "iteration": 1}, to=STORE)["items"]
        assert {n["node"]: n["state"] for n in nodes} == dict.fromkeys(
            ["orders", "clean", "by_country", "lake_orders", "mart_sales"], "acked"
        )
        with pytest.raises(OdibiError, match="no pipeline 'nope'"):
            system.request("pipeline.show", {"pipeline": "nope"})


def test_progress_is_told(project: ProjectSpec) -> None:
    lines: list[str] = []
    with ExitStack() as writers:

        def heard(line: str) -> None:
            lines.append(line)
            writers.close()

        for file in (Path(project.root) / "data/landing").glob("*.csv"):
            os.utime(file)  # just written, and open: the source waits until nobody writes it
            writers.enter_context(file.open("a"))
        run_pipeline(project, "sales", progress=heard)
    assert any("sales: 0 committed" in line for line in lines)


def test_progress_is_told_while_nodes_run(project: ProjectSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("odibi_actors.local.runtime.LOOK_EVERY", 0.0)
    monkeypatch.setattr("odibi_actors.local.system.REPORT_EVERY", 0.0)
    for number in range(8):
        add(project, f"orders-9{number}.csv", f"9{number},2026-01-05,de,1,1.0")
    files = len(list((Path(project.root) / "data/landing").glob("*.csv")))
    lines: list[str] = []
    one_by_one = msgspec.structs.replace(project.pipeline("sales"), batch=BatchSpec(max_files=1))
    run_pipeline(msgspec.structs.replace(project, pipelines=[one_by_one]), "sales", progress=lines.append)
    told = [line for line in lines if isinstance(line, Progress)]
    counts = [[int(number) for number in re.findall(r"\d+", line)] for line in told]
    known = [each for each in counts if sum(each)]  # before, nobody has looked
    assert min(sum(each) for each in known) == files, told  # what was planned this moment may count twice
    assert len({tuple(each) for each in known}) > 3
    assert known[-1] == [files, 0, 0]


def test_progress_that_stands_line_below_line_is_told_seldom() -> None:
    said = list[str]()
    times = iter([0.0, 0.0, 9.0, 10.0, 10.0])
    tell = seldom(said.append, lambda: next(times))
    for line in (Progress("a"), Progress("b"), "news", Progress("c")):
        tell(line)
    assert said == ["a", "news", "c"]


def test_a_run_that_a_killed_system_has_left_goes_on_and_counts(project: ProjectSpec) -> None:
    with LocalSystem(project) as system:
        system.request("pipeline.trigger", {"pipeline": "sales", "run": "left"})
    summary = run_pipeline(project, "sales")
    assert (summary.state, summary.committed) == ("done", 1)
    assert len(parts(project)) == 1


def test_a_file_that_is_being_written_is_waited_for_however_old_it_looks_and_named(project: ProjectSpec) -> None:
    lines: list[str] = []
    path = Path(project.root) / "data/landing/orders-2025-04-01.csv"
    with path.open("w") as file:
        file.write("order_id,day,country,quantity,price\n1,2025-04-01,yy,1,1.0\n2,2025-04-01,yy,1,2")
        file.flush()
        age(Path(project.root))

        def heard(line: str) -> None:
            lines.append(line)
            if "waiting for" in line and not file.closed:
                file.write("50\n3,2025-04-01,yy,1,7\n")
                file.close()

        run_pipeline(project, "sales", progress=heard)
    assert sums(project)[-1] == ("2025-04-01", "yy", 258.0)
    (told,) = [line for line in lines if "waiting for" in line]
    assert told.startswith(f"waiting for {path.name} of sales/orders: being written")
    assert f"by pid {os.getpid()} " in told


def where(system: LocalSystem, source: str, identity: str) -> dict[str, Any]:
    wanted = {"pipeline": "sales", "source": source, "identity": identity}
    return dict(system.request("file.show", wanted, to=STORE))


def test_what_became_of_a_file_is_told_with_its_iteration_its_letter_and_what_to_do(project: ProjectSpec) -> None:
    pipelines = [msgspec.structs.replace(one, on_error="dead_letter") for one in project.pipelines]
    project = msgspec.structs.replace(project, pipelines=pipelines)
    run_pipeline(project, "sales")
    add(project, "orders-2025-05-01.csv", "1,2025-05-01,zz,1,1.0,and,more")
    add(project, "orders-2025-05-02.csv", "2,2025-05-01,zz,1,1.0")
    run_pipeline(project, "sales")
    add(project, "orders-2025-05-03.csv", "1,2025-05-01,zz,1,1.0,and,more")
    run_pipeline(project, "sales")
    with LocalSystem(project) as system:
        good = where(system, "orders", "orders-2025-05-02.csv")
        assert (good["iteration"], good["letter"]) == (2, 0)
        assert good["reason"].startswith("read in iteration 2, committed at 20")
        for name, number, letter in (("orders-2025-05-01.csv", 2, 1), ("orders-2025-05-03.csv", 3, 2)):
            bad = where(system, "orders", name)
            assert (bad["iteration"], bad["letter"], bad["state"]) == (number, letter, "dead_lettered")
            assert bad["reason"].startswith(f"set aside in iteration {number}, as dead letter {letter} ({name} line 2")
            assert f"`odibictl deadletter replay {letter}`" in bad["reason"]
        system.request("deadletter.discard", {"letter": 2})
        given_up = where(system, "orders", "orders-2025-05-03.csv")
        assert "discarded" in given_up["reason"]
        assert given_up["state"] == "discarded"
        assert where(system, "orders", "nothing.csv")["iteration"] == 0


def test_given_code_that_cannot_be_loaded_then_no_row_is_set_aside_for_it(project: ProjectSpec) -> None:
    (module,) = (Path(project.root) / "nodes").glob("*.py")
    sound = module.read_text()
    module.write_text("import not_installed_anywhere\n" + sound)
    config = Path(project.root) / "odibi.yaml"
    config.write_text(config.read_text().replace("on_error: halt", "on_error: dead_letter"))
    project = load_project(Path(project.root))
    assert project.pipelines[0].on_error == "dead_letter"
    summary = run_pipeline(project, "sales")
    assert (summary.state, summary.failed, summary.dead_lettered) == ("failed", 1, 0)
    module.write_text(sound)
    summary = run_pipeline(load_project(Path(project.root)), "sales")
    assert (summary.state, summary.committed) == ("done", 1)


def test_given_a_first_file_of_nothing_but_a_header_then_its_guessed_types_are_nobodys(project: ProjectSpec) -> None:
    config = Path(project.root) / "odibi.yaml"
    config.write_text(
        config.read_text()
        .replace("schema: {order_id: int64, day: date32, country: string, quantity: int64, price: double}", "")
        .replace(
            'transform: {function: "nodes.orders:clean", params: {max_quantity: 1000}}', "transform: {sql: from orders}"
        )
        .replace("sum(amount) as amount", "sum(price::double) as amount")
    )
    for file in (Path(project.root) / "data/landing").glob("*.csv"):
        file.unlink()
    add(project, "orders-2025-01-01.csv")
    assert run_pipeline(load_project(project.root), "sales").committed == 1
    assert parts(project) == []
    add(project, "orders-2025-01-02.csv", "4,2025-01-02,fr,1,2.50")
    assert run_pipeline(load_project(project.root), "sales").committed == 1
    assert parts(project) == ["part-0000000002-lake_orders.parquet"]
    assert sums(project) == [("2025-01-02", "fr", 2.5)]
