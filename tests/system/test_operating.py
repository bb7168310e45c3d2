"""What operators do to a running system: start and stop it in every way, scale, trigger, pause, drain."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from odibi_actors.client import Client
from odibi_actors.errors import TimedOutError, UnreachableError
from tests.system.harness import (
    ACTORS,
    PLAIN,
    PROCFILE,
    System,
    last,
    pipeline,
    published,
    put,
    small,
    until,
)

Make = Callable[[Path], System]

CLI = (sys.executable, "-m", "odibi_actors.cli")
UP = (*CLI, "up")
HONCHO = (sys.executable, "-m", "honcho", "start")

NODES = """
import time
from pathlib import Path


def waits(rows, context):
    with open(f"busy-{context.iteration}", "a") as log:
        log.write("once ")
    while not Path("go").exists():
        time.sleep(0.01)
    return rows
"""

LEAKS = """
KEPT = []


def leaks(rows):
    KEPT.append(b"x" * 40_000_000)
    return rows
"""


ORDERS = "order_id,day,country,quantity,price\n10,2025-01-03,fr,2,10.00\n"

# --- starting and stopping ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", [HONCHO, UP], ids=["honcho start", "odibictl up"])
def test_given_a_new_project_when_started_by_honcho_or_up_then_it_works_until_it_is_interrupted(
    argv: tuple[str, ...], make: Make, tmp_path: Path
) -> None:
    system = make(tmp_path / "orders")
    made = make(tmp_path).ctl("init", "orders")
    assert made.returncode == 0, made.stderr
    (system.project / "Procfile").write_text(PROCFILE.read_text())
    for number, names in ((signal.SIGINT, ["01", "02"]), (signal.SIGTERM, ["01", "02", "03"])):
        if "03" in names:
            (system.project / "data/landing/orders-2025-01-03.csv").write_text(ORDERS)
        main = system.start(*argv)
        assert system.settled("sales") == "committed"
        taken = [
            row["identity"]
            for iteration in system.iterations("sales")
            for row in system.client.iteration("sales", iteration["iteration"])["positions"]["orders"]
        ]
        assert sorted(taken) == [f"orders-2025-01-{day}.csv" for day in names]
        main.send_signal(number)
        assert system.extinct(), f"left running: {system.processes.living()}"
        codes = (0, 128 + number, -number) if argv == HONCHO else (130 if number == signal.SIGINT else 0,)
        assert main.returncode in codes, system.tail()
    assert system.ctl("down").returncode == 69


def test_given_a_running_system_when_another_is_started_on_it_then_that_is_a_conflict(
    make: Make, tmp_path: Path
) -> None:
    system = make(small(tmp_path / "p", pipeline("plain", PLAIN)))
    done = system.ctl("up", "--detach", "-o", "json")
    assert done.returncode == 0, done.stderr
    before = system.client.status()["started_at"]
    for words in (["up"], ["up", "--detach"], ["run", "plain"]):
        second = system.ctl(*words)
        assert second.returncode == 4
        assert "running" in second.stderr
    assert system.client.status()["started_at"] == before
    put(system, "plain", "a", "1,1.5")
    assert system.settled("plain") == "committed"
    assert system.ctl("down").returncode == 0
    until("it is gone", lambda: json.loads(system.ctl("status", "-o", "json").stdout).get("at_rest"))


@pytest.mark.soak
def test_given_a_copy_of_a_running_project_then_verbs_given_in_it_do_not_reach_the_original(
    make: Make, tmp_path: Path
) -> None:
    """``connection.json`` names an absolute address, and comes along with ``cp -a``."""
    original = make(small(tmp_path / "p", pipeline("plain", PLAIN)))
    original.start()
    put(original, "plain", "a", "1,1.5")
    assert original.settled("plain") == "committed"
    subprocess.run(["cp", "-a", original.project, tmp_path / "copy"], check=True)
    copy = make(tmp_path / "copy")
    for words in (["apply"], ["down"], ["worker", "scale", "1"]):
        done = copy.ctl(*words)
        assert (done.returncode, "nothing " in done.stderr) == (69, True), (words, done)
    with pytest.raises(UnreachableError, match="nothing runs on"):
        Client(project=copy.project).request("worker.scale", {"workers": 1})
    for verb in ("pause", "resume"):  # in the copy's own store
        assert copy.ctl("pipeline", verb, "plain").returncode == 0
        assert [row["state"] for row in original.client.status()["pipelines"]] == ["active"]
    assert copy.ctl("status").returncode == 0  # of the store at rest
    assert [row["state"] for row in original.client.status()["pipelines"]] == ["active"]
    done = copy.ctl("up", "--detach")
    assert done.returncode == 0, done.stderr
    put(copy, "plain", "b", "2,1.5")
    assert copy.settled("plain") == "committed"
    assert (published(original, "plain"), published(copy, "plain")) == ([1], [1, 2])
    copy.stop()
    assert [row["state"] for row in original.client.status()["pipelines"]] == ["active"]


@pytest.mark.soak
def test_given_a_node_that_runs_for_six_seconds_when_up_gets_sigterm_then_it_finishes_and_up_exits_0(
    make: Make, tmp_path: Path
) -> None:
    code = "import time\n\n\ndef slow(rows):\n    open('busy', 'w').close()\n    time.sleep(6)\n    return rows\n"
    system = make(small(tmp_path / "p", pipeline("plain", last("slow")), nodes=code))
    main = system.start(*UP)
    put(system, "plain", "a", "1,1.5")
    until("the node runs", (system.project / "busy").exists)
    main.terminate()
    assert system.extinct(30), f"left running: {system.processes.living()}"
    assert main.returncode == 0, system.tail()
    assert "still run" not in system.tail(200)
    (system.project / "busy").unlink()
    system.start(*UP)
    assert system.settled("plain") == "committed"
    assert not (system.project / "busy").exists(), "what it finished was not recorded"
    assert published(system, "plain") == [1]


@pytest.mark.parametrize("line", ["checkpoint", pytest.param("worker", marks=pytest.mark.soak)])
def test_given_a_busy_system_when_one_supervisor_is_terminated_then_all_of_it_stops_and_loses_nothing(
    make: Make, tmp_path: Path, line: str
) -> None:
    system = make(small(tmp_path / "p", pipeline("plain", PLAIN, batch="{max_files: 1}")))
    system.start()
    for part in range(5):
        put(system, "plain", f"{part}", f"{part},1.5")
    system.wait("plain", 1, "committed")
    system.kill(f"supervisor of {line}", signal.SIGTERM)
    assert system.extinct(), f"left running: {system.processes.living()}"
    system.start()
    assert system.settled("plain") == "committed"
    assert published(system, "plain") == list(range(5))


# --- workers ------------------------------------------------------------------------------------------------------


def states(system: System) -> list[str]:
    return [row["state"] for row in system.json("worker", "list")["items"]]


def test_given_busy_workers_when_scaled_up_and_down_then_nothing_restarts_and_nothing_is_lost(
    make: Make, tmp_path: Path
) -> None:
    system = make(small(tmp_path / "p", pipeline("held", last("waits"), batch="{max_files: 1}"), NODES))
    system.start()

    def busy() -> list[Path]:
        return list(system.project.glob("busy-*"))

    for number in range(6):
        put(system, "held", str(number), f"{number},1.5")
    until("two workers are busy", lambda: len(busy()) == 2)
    before = system.identities("launcher", *ACTORS, "template")
    assert system.ctl("worker", "scale", "4").returncode == 0
    until("four workers are busy", lambda: len(busy()) == 4)
    until("all four are shown", lambda: states(system) == ["busy"] * 4)
    assert system.ctl("worker", "scale", "1").returncode == 0
    for number in range(6, 9):
        put(system, "held", str(number), f"{number},1.5")
    (system.project / "go").touch()
    assert system.settled("held") == "committed"
    until("one worker is left", lambda: len(system.pids("worker")) == 1)
    until("only that one is shown", lambda: states(system) == ["idle"])
    said = [line for line in (system.project / ".odibi/log/pool-0.log").read_text().splitlines() if "worker" in line]
    assert sum("info pool-0 a surplus worker has ended" in line for line in said) == 3
    assert not [line for line in said if "SIGKILL" in line or "is gone" in line]
    assert published(system, "held") == list(range(9))
    for row in system.iterations("held"):
        assert system.client.iteration("held", row["iteration"])["errors"] == []
    assert system.identities("launcher", *ACTORS, "template") == before
    assert {path.read_text() for path in busy()} == {"once "}, "a busy worker finishes its node"
    # It is the operator's word, so it outlives the pool; but not the system.
    (former,) = system.pids("worker")
    system.kill("pool")

    def replaced() -> bool:
        rows = system.client.workers()["items"]
        return [row["state"] for row in rows] == ["idle"] and rows[0]["pid"] != former

    until("one worker is back", replaced)
    assert len(system.pids("worker")) == 1


def test_given_limits_of_workers_when_nodes_leak_then_workers_are_recycled_until_the_limits_are_taken_back(
    make: Make, tmp_path: Path
) -> None:
    system = make(small(tmp_path / "p", pipeline("leaky", last("leaks"), batch="{max_files: 1}"), LEAKS))
    yaml = system.project / "odibi.yaml"
    plain = yaml.read_text()
    yaml.write_text("worker: {max_tasks: 3}\n" + plain)
    system.start()
    log = system.project / ".odibi/log/pool-0.log"

    def recycled() -> list[str]:
        return [line for line in log.read_text().splitlines() if " a worker is recycled " in line]

    def committed() -> int:
        return int(system.client.pipeline("leaky")["committed"])

    for number in range(9):
        put(system, "leaky", str(number), f"{number},1.5")
    until("nine are committed", lambda: committed() == 9)
    assert len(recycled()) >= 5  # 18 tasks: of each iteration a chain, and a publication
    assert all(line.endswith('why="it has done 3 tasks (worker.max_tasks)"') for line in recycled())
    workers = {
        row["worker"] for number in range(1, 10) for row in system.json("node", "list", "leaky", str(number))["items"]
    }
    assert len(workers) >= 3
    (node,) = [row for row in system.json("node", "list", "leaky", "9")["items"] if row["node"] == "last"]
    assert node["memory"] - node["memory_before"] > 30_000_000
    assert "when it began" in system.ctl("node", "show", "leaky", "9", "last").stdout
    until(
        "the memory of workers is shown", lambda: all(row["memory"] for row in system.json("worker", "list")["items"])
    )
    assert not [line for line in log.read_text().splitlines() if " warning " in line or "is gone" in line]
    assert all(system.client.iteration("leaky", number)["errors"] == [] for number in range(1, 10))
    system.kill("broker")  # its successor does not read odibi.yaml
    for number in range(9, 14):
        put(system, "leaky", str(number), f"{number},1.5")
    until("all are committed", lambda: committed() == 14)
    yaml.write_text(plain)
    assert system.ctl("apply").returncode == 0
    before = len(recycled())
    assert before >= 8
    for number in range(14, 20):
        put(system, "leaky", str(number), f"{number},1.5")
    until("these too are committed", lambda: committed() == 20)
    assert len(recycled()) == before
    assert published(system, "leaky") == list(range(20))


# --- pipelines ----------------------------------------------------------------------------------------------------

BATCH = """\
  - pipeline: table
    trigger: manual
    nodes:
      - {name: rows, read: {connection: landing, path: table, format: csv, mode: batch, pattern: "*.csv"}}
      - {name: out, inputs: [rows], write: {connection: mart, table: rows, mode: upsert, keys: [id]}}
"""


def test_given_manual_pipelines_when_triggered_then_each_run_takes_what_there_is(make: Make, tmp_path: Path) -> None:
    system = make(small(tmp_path / "p", pipeline("files", PLAIN, trigger="manual") + BATCH))
    system.start()

    def run(pipeline: str) -> str:
        done = system.ctl("pipeline", "trigger", pipeline, "--wait", "-o", "json")
        assert done.returncode == 0, done.stderr + system.tail()
        return done.stdout

    assert "no_data" in run("files")
    put(system, "files", "a", "1,1.5")
    put(system, "files", "b", "2,1.5")
    with pytest.raises(TimedOutError):
        system.client.wait("files", 1, timeout=0.5)
    assert '"done"' in run("files")
    assert published(system, "files") == [1, 2]
    assert "no_data" in run("files")
    assert published(system, "files") == [1, 2]

    put(system, "table", "a", "1,1.5", "2,1.5")
    for values in ({1: 1.5, 2: 1.5}, {1: 1.5, 2: 7.5, 3: 1.5}):
        put(system, "table", "a", *(f"{key},{value}" for key, value in values.items()))
        assert '"done"' in run("table")
        assert mart(system) == values
    assert len(system.iterations("table")) == 2
    assert system.ctl("pipeline", "trigger", "tabel").returncode == 3


def mart(system: System) -> dict[int, float]:
    import sqlite3

    with sqlite3.connect(system.project / "data/mart.db") as database:
        found = dict(database.execute("select id, value from rows order by id").fetchall())
    database.close()
    return found


def test_given_a_pipeline_that_is_paused_or_drained_when_files_arrive_then_they_wait_until_it_resumes(
    make: Make, tmp_path: Path
) -> None:
    system = make(small(tmp_path / "p", pipeline("held", last("waits")), NODES))
    system.start()

    def state() -> str:
        return str(system.client.pipeline("held")["state"])

    def offered(number: int) -> None:
        until(f"{number} files are offered", lambda: system.client.pipeline("held")["offered"] == number)

    assert system.ctl("pipeline", "pause", "held").returncode == 0
    put(system, "held", "a", "1,1.5")
    offered(1)
    assert state() == "paused"
    system.kill("broker")
    until("the broker is back", lambda: system.await_up()["epoch"] == 2)
    offered(1)
    assert state() == "paused"
    assert system.iterations("held") == []
    assert system.ctl("pipeline", "resume", "held").returncode == 0
    until("the node runs", (system.project / "busy-1").exists)
    assert system.ctl("pipeline", "drain", "held", "--no-wait").returncode == 0
    put(system, "held", "b", "2,1.5")
    offered(1)
    assert state() == "draining"
    (system.project / "go").touch()
    assert system.ctl("pipeline", "drain", "held").returncode == 0
    assert state() == "drained"
    assert published(system, "held") == [1]
    assert system.ctl("pipeline", "resume", "held").returncode == 0
    assert system.settled("held") == "committed"
    assert published(system, "held") == [1, 2]


def test_given_the_folder_is_moved_while_it_runs_then_up_says_so_once_stops_and_makes_nothing_at_the_former_path(
    make: Make, tmp_path: Path
) -> None:
    system = make(small(tmp_path / "p", pipeline("plain", PLAIN)))
    assert system.ctl("up", "--detach").returncode == 0
    put(system, "plain", "a", "1,1.5")
    system.wait("plain", 1, "committed")
    system.client.close()
    former, system.project = system.project, tmp_path / "moved"
    former.rename(system.project)
    until("it has stopped", lambda: "nothing runs" in system.ctl("status").stderr)
    assert not former.exists()
    told = (system.project / ".odibi/log/up.log").read_text()
    assert told.count(f"{former} was moved to {system.project} while it was worked on; stopping") == 1
    assert system.ctl("up", "--detach").returncode == 0
    put(system, "plain", "b", "2,1.5")
    client = Client(project=system.project)
    assert client.wait("plain", 2, ("committed",), timeout=60)["state"] == "committed"
    client.close()
    assert published(system, "plain") == [1, 2]
    assert "no problem was found" in system.ctl("checkpoint", "verify").stdout
    assert system.ctl("down").returncode == 0
    assert not former.exists()
