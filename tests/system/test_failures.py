"""What goes wrong in a user's data or code: named, retried, set aside or held by policy, while others go on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from odibi_actors.errors import TimedOutError
from tests.system.conftest import systems
from tests.system.harness import PLAIN, System, last, pipeline, published, put, put_together, small, until

Make = Callable[[Path], System]

NODES = """
import os
import signal
import time
from pathlib import Path


def fails(rows):
    raise ValueError(f"no use for {len(rows)} rows")


def hangs(rows):
    while not Path("fixed").exists():
        time.sleep(0.01)
    return rows


def leaves(rows):
    time.sleep(0.3)  # what the worker has done before is told by then: else the node before it gets the blame
    os._exit(3)


def crashes(rows):
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGSEGV)
"""
LINE = next(n for n, line in enumerate(NODES.splitlines(), start=1) if "raise ValueError" in line)
RETRY = "{max_attempts: 3, backoff: exponential, initial: 200ms, jitter: 0}"
ONCE = "{max_attempts: 1}"
ON = {"on_error": "dead_letter"}
PIPELINES = "".join(
    [
        pipeline("slowly", PLAIN),
        pipeline("lenient", PLAIN, **ON),
        pipeline("strict", PLAIN),
        pipeline("raising", last("fails"), retry=RETRY),
        pipeline("raising_on", last("fails"), retry=RETRY, **ON),
        pipeline("hanging", last("hangs"), retry=ONCE, timeout="300ms"),
        pipeline("leaving", last("leaves"), retry=ONCE, **ON),
        pipeline("crashing", last("crashes"), retry=ONCE, **ON),
    ]
)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One system for all: each test has a pipeline of its own, and none may hold up another's."""
    with systems() as make:
        made = make(small(tmp_path_factory.mktemp("failures") / "p", PIPELINES, NODES))
        made.start()
        yield made


def errors(system: System, pipeline: str, iteration: int = 1) -> list[dict[str, Any]]:
    return list(system.client.iteration(pipeline, iteration)["errors"])


def test_given_a_file_that_is_written_slowly_when_it_is_still_open_then_it_is_not_taken(system: System) -> None:
    path = system.project / "data/landing/slowly/a.csv"

    def waits() -> bool:
        (row,) = [row for row in system.client.why(str(path))["items"] if row["pipeline"] == "slowly"]
        return "being written" in row["reason"]

    with path.open("w", buffering=1) as file:
        file.write("id,value\n")
        for number in range(8):
            file.write(f"{number},1.5\n")
            until("the source sees it", waits)
        # Longer than a file must be still that nobody has seen being opened; and the source is told to look.
        with pytest.raises(TimedOutError):
            system.client.wait("slowly", timeout=2.5)
        assert waits()
        assert system.iterations("slowly") == []
    assert system.settled("slowly") == "committed"
    assert published(system, "slowly") == list(range(8))
    assert len(system.iterations("slowly")) == 1


def test_given_a_malformed_file_when_bad_data_is_set_aside_then_it_alone_is_a_dead_letter(system: System) -> None:
    put_together(system, "lenient", a=["1,1.5"], b=["2,1.5", "x,2.5"], c=["3,1.5"])
    assert system.settled("lenient") == "committed"
    assert published(system, "lenient") == [1, 3]
    shown = system.client.iteration("lenient", 1)
    assert shown["state"] == "committed"
    assert [row["identity"] for row in shown["positions"]["rows"]] == ["lenient/a.csv", "lenient/c.csv"]
    listed = system.json("deadletter", "list", "lenient")["items"]
    assert [(row["iteration"], row["position"], row["kind"]) for row in listed] == [(1, "lenient/b.csv", "malformed")]
    for word in ("lenient/b.csv", "line 3", "column id", "'x'", "int64"):
        assert word in listed[0]["message"]
    put(system, "lenient", "d", "4,1.5")
    assert system.settled("lenient") == "committed"
    assert published(system, "lenient") == [1, 3, 4]


def test_given_a_malformed_file_when_it_is_to_halt_then_it_is_named_and_a_fixed_one_goes_on(system: System) -> None:
    put(system, "strict", "a", "1,1.5")
    system.wait("strict", 1, "committed")
    put(system, "strict", "b", "2,1.5", "3,many")
    assert system.settled("strict") == "failed"
    put(system, "strict", "c", "4,1.5")
    (error,) = errors(system, "strict", 2)
    found = [error[name] for name in ("kind", "position", "line", "column", "value")]
    assert found == ["malformed", "strict/b.csv", 3, "value", "many"]
    text = system.ctl("iteration", "show", "strict", "2").stdout
    for word in ("strict/b.csv", "line 3", "column value", "'many'"):
        assert word in text
    assert published(system, "strict") == [1], "nothing behind a failed iteration may be published"
    listed = system.ctl("iteration", "list", "strict").stdout.splitlines()
    assert [words[1] for words in map(str.split, listed[1:])] == ["waits", "failed", "committed"]
    put(system, "strict", "b", "2,1.5", "3,2.5")  # fixed where it lies
    assert "planned again" in system.ctl("iteration", "retry", "strict", "2").stderr
    assert system.settled("strict") == "committed"
    assert published(system, "strict") == [1, 2, 3, 4]
    shown = system.ctl("iteration", "show", "strict", "2").stdout
    assert "planned again: when it was retried, with the files of" in " ".join(shown.split())


@pytest.mark.parametrize(("name", "state"), [("raising", "failed"), ("raising_on", "dead_lettered")])
def test_given_a_function_that_raises_when_its_tries_are_used_up_then_its_policy_is_followed(
    name: str, state: str, system: System
) -> None:
    put(system, name, "a", "1,1.5", "2,2.5")
    system.wait(name, 1, state)
    tries = errors(system, name)
    assert [(error["node"], error["kind"], error["used"]) for error in tries] == [
        ("last", "raised", used) for used in (1, 2, 3)
    ]
    pauses = [later["at"] - former["at"] for former, later in pairwise(tries)]
    assert pauses[0] >= 0.2
    assert pauses[1] >= 0.4
    own = system.project / "nodes/own.py"
    for text in (tries[-1]["traceback"], system.ctl("iteration", "show", name, "1").stdout):
        assert f'File "{own}", line {LINE}, in fails' in text
        assert "ValueError: no use for 2 rows" in text
    assert published(system, name) == []
    acked = [row["state"] for row in system.client.nodes(name, 1)["items"]]
    assert acked == ["acked", "error", "none"]
    letters = [(row["iteration"], row["node"]) for row in system.client.dead_letters(name)["items"]]
    assert letters == ([] if state == "failed" else [(1, "last")])


def test_given_a_node_that_never_returns_when_its_time_is_over_then_its_worker_is_killed_and_replaced(
    system: System,
) -> None:
    before = set(system.pids("worker"))
    pool = system.pids("pool")
    put(system, "hanging", "a", "1,1.5")
    system.wait("hanging", 1, "failed")
    (error,) = errors(system, "hanging")
    assert error["kind"] == "timeout"
    assert "0.3s" in error["message"]
    until(
        "the worker is replaced", lambda: len(set(system.pids("worker"))) == 2 != len(before & {*system.pids("worker")})
    )
    assert system.pids("pool") == pool
    (system.project / "fixed").touch()
    assert system.ctl("iteration", "retry", "hanging", "1").returncode == 0
    assert system.settled("hanging") == "committed"
    assert published(system, "hanging") == [1]


@pytest.mark.parametrize(("name", "words"), [("leaving", "exited with code 3"), ("crashing", "SIGSEGV")])
def test_given_a_node_that_ends_its_worker_when_it_runs_then_it_counts_as_died(
    name: str, words: str, system: System
) -> None:
    put(system, name, "a", "1,1.5")
    system.wait(name, 1, "dead_lettered")
    (error,) = errors(system, name)
    assert (error["node"], error["kind"], error["used"]) == ("last", "died", 1)
    assert words in error["message"]
    until("there are two workers again", lambda: len(system.pids("worker")) == 2)


def test_given_an_unknown_key_when_the_project_is_checked_or_started_then_the_right_one_is_suggested(
    make: Make, tmp_path: Path
) -> None:
    system = make(small(tmp_path / "p", pipeline("plain", PLAIN, max_in_fligth=2)))
    for command in ("validate", "up"):
        done = system.ctl(command)
        assert done.returncode == 2
        assert 'odibi.yaml:9:5: pipelines[0].max_in_fligth: unknown key; did you mean "max_in_flight"?' in done.stderr
    assert not system.processes.living()


@pytest.mark.soak
def test_given_a_folder_that_another_project_publishes_to_when_one_publishes_there_too_then_it_is_refused(
    make: Make, tmp_path: Path
) -> None:
    first, second = (make(small(tmp_path / name, pipeline("plain", PLAIN))) for name in ("first", "second"))
    for system in (first, second):
        yaml = system.project / "odibi.yaml"
        yaml.write_text(yaml.read_text().replace("path: data/lake", f"path: {tmp_path / 'lake'}"))
        put(system, "plain", "a", "1,1.5")
    first.start()
    assert first.settled("plain") == "committed"
    first.stop()
    before = sorted((tmp_path / "lake/plain").iterdir())
    refused = second.ctl("up")
    assert (refused.returncode, refused.stderr.count("belongs to node 'out' of pipeline 'plain'")) == (4, 1)
    second.start(sys.executable, "-m", "honcho", "start")  # which asks nobody before
    second.wait("plain", 1, "blocked", "failed")
    text = second.ctl("iteration", "show", "plain", "1").stdout
    assert "belongs to node 'out' of pipeline 'plain'" in text
    assert sorted((tmp_path / "lake/plain").glob("*.parquet")) == [p for p in before if p.suffix == ".parquet"]
