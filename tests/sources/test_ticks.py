"""``mode: interval``: each tick is polled once, what was read is kept before it is planned, what is missed is told."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from odibi_actors.actor import Effect, Log, Send
from odibi_actors.config import load_project
from odibi_actors.config.digest import Code
from odibi_actors.config.model import BatchSpec, ConnectionSpec, NodeSpec, PollSpec, ReadSpec
from odibi_actors.errors import ConfigError
from odibi_actors.kinds.connection import OPEN, Access
from odibi_actors.local import run_pipeline
from odibi_actors.local.trying import Trial
from odibi_actors.messages import BROKER, Offer, PlacesPage, SourceProblem, SourceSpec
from odibi_actors.nodes.failures import Failed
from odibi_actors.sources.events.effects import Append, Appended, Outcome, Put, Survey, Surveyed
from odibi_actors.sources.ticks import poll as polling
from odibi_actors.sources.ticks.clock import AGAIN, Clock
from odibi_actors.sources.ticks.code import CHANGED
from odibi_actors.sources.ticks.effects import Keep, Poll, Polled
from odibi_actors.sources.ticks.finder import Ticking
from odibi_actors.sources.ticks.kind import INTERVAL, Interval
from odibi_actors.streaming.effects import Ahead, Part, Seen
from tests.local.telling import call

# --- the clock --------------------------------------------------------------------------------------------------------


def test_given_a_clock_then_ticks_are_anchored_each_is_polled_once_and_polls_never_overlap() -> None:
    clock = Clock(60.0)
    assert (clock.due(1000.0), clock.deadline(1000.0)) == (None, None), "the log has not been looked at"
    clock.begin(None)
    assert clock.due(1000.0) == 16
    clock.polling = 16
    assert (clock.due(1030.0), clock.deadline(1030.0)) == (None, None)
    assert clock.missed(16) == 0
    clock.taken(16)
    assert (clock.due(1019.9), clock.deadline(1010.0)) == (None, 1020.0)
    assert clock.due(1020.0) == 17
    clock.polling = 17
    assert clock.due(1150.0) is None, "it is under way still"
    clock.taken(17)
    assert (clock.due(1150.0), clock.missed(19)) == (19, 1)


def test_given_a_poll_that_fails_then_it_is_tried_again_until_the_next_tick() -> None:
    clock = Clock(3600.0)
    clock.begin(3600.0)
    clock.polling = clock.due(7200.0)
    clock.failed("why", 7201.0)
    assert (clock.due(7201.0), clock.deadline(7201.0), clock.problem) == (None, 7201.0 + AGAIN, "why")
    assert clock.due(7201.0 + AGAIN) == 2
    clock.taken(2)
    assert (clock.problem, clock.due(7300.0)) == ("", None)


def test_given_another_interval_then_ticks_go_on_behind_what_was_taken() -> None:
    clock = Clock(7.0)
    clock.begin(3600.0)  # of one that was polled once an hour
    assert (clock.due(3603.0), clock.due(3605.0)) == (None, 515)


# --- one poll ---------------------------------------------------------------------------------------------------------


def read(folder: Path, **more: Any) -> ReadSpec:
    polled = PollSpec(60.0, ConnectionSpec("landing", "local", str(folder)), **more)
    logs = ConnectionSpec("ticks", "local", str(folder / "ticks"))
    return ReadSpec(logs, "csv", "interval", path="p.src", consumption="cursor", polled=polled)


def polled(spec: ReadSpec, root: str = "", limit: float = 60.0, *, code: str = "", kind: Interval = INTERVAL) -> Polled:
    (found,) = kind.probe(Poll("p/src", 1, spec, 120.0, limit, "p", Access({}, root), code))
    assert isinstance(found, Polled)
    return found


def test_given_a_file_then_it_is_read_as_it_is_unless_it_is_gone_too_large_or_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rates.csv"
    spec = read(tmp_path, path="rates.csv")
    assert polled(spec).problem == "No such file or directory"
    path.write_text("k\n1\n")
    assert polled(spec) == Polled("p/src", 1, b"k\n1\n", -1)
    monkeypatch.setattr(polling, "MAX_DATA", 3)
    assert polled(spec).problem == "it has 4 B, and a poll has at most 3 B"
    monkeypatch.undo()
    real = os.fstat

    def written(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        path.write_text(path.read_text() + "2\n")
        return found

    monkeypatch.setattr(polling.os, "fstat", written)
    assert polled(spec).problem == "it is being written"
    monkeypatch.undo()
    path.unlink()
    os.mkfifo(path)
    assert polled(spec).data == b"", "a pipe that nobody writes to hangs nobody"


FUNCTIONS = """
import os, time
import pyarrow as pa

from nodes.sub import many

def prints(context, n):
    print("not the answer")
    return pa.table({"n": many.rows(n), "at": [context.scheduled_at] * n})

def raises():
    raise ValueError("the service is down")

def dies():
    os._exit(7)

def hangs():
    time.sleep(20)
"""


def test_given_a_function_that_is_edited_prints_raises_dies_or_hangs_then_its_table_is_read_or_it_is_named(
    tmp_path: Path,
) -> None:
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes/sub").mkdir()
    (tmp_path / "nodes/given.py").write_text(FUNCTIONS)
    (tmp_path / "nodes/sub/many.py").write_text("def rows(n):\n    return list(range(n))\n")
    prints = read(tmp_path, function="nodes.given:prints", params={"n": 2})
    code = Code(tmp_path).of([NodeSpec("src", read=prints)]).nodes["src"]
    list(INTERVAL.probe(Keep("p/src", 1, prints, str(tmp_path), code)))
    shutil.rmtree(tmp_path / "nodes/sub")
    (tmp_path / "nodes/given.py").write_text(FUNCTIONS.replace("from nodes.sub import many", "1 / 0"))
    assert polled(prints, str(tmp_path), code=code, kind=Interval()).problem == CHANGED, "nobody has kept it"
    found = {"prints": polled(prints, str(tmp_path), code=code)}
    (tmp_path / "nodes/given.py").write_text(FUNCTIONS.replace("from nodes.sub import many", ""))
    found |= {
        name: polled(read(tmp_path, function=f"nodes.given:{name}", params=params), str(tmp_path), limit)
        for name, params, limit in (
            ("raises", {}, 60.0),
            ("dies", {}, 60.0),
            ("hangs", {}, 3.0),
        )
    }
    assert (found["prints"].rows, found["prints"].problem, found["prints"].data[:6]) == (2, "", b"ARROW1")
    assert "the service is down" in found["raises"].problem
    assert found["dies"].problem == "its process ended with 7: "
    assert found["hangs"].problem == "it has not ended within 3s"
    assert list((tmp_path / "ticks/p.src").iterdir()) == [], "nothing is left of what was read"


# --- what happens to it -----------------------------------------------------------------------------------------------


class Machine:
    """A finder whose store and probe this is; the time is that of the 20th minute."""

    def __init__(self, tmp_path: Path, idle: bool = False, newest: str = "") -> None:
        spec = SourceSpec("p", NodeSpec("src", read=read(tmp_path, path="a.csv")), 4, idle=idle)
        assert spec.node.read is not None
        self.now = 1200.0
        self.finder = Ticking(spec, spec.node.read, "i", 0)
        self.finder.welcome(1, 0, self.now)
        self.flush()
        self.finder.told(PlacesPage("p", "src", "live", "", [], "", 0), self.now)
        (survey,) = [one for one in self.flush() if isinstance(one, Survey)]
        self.finder.heard(Surveyed("p/src", survey.number, newest=newest), self.now)

    def flush(self) -> list[Effect]:
        return self.finder.flush(self.now)

    def polls(self) -> Poll:
        (found,) = [one for one in self.flush() if isinstance(one, Poll)]
        return found

    def answers(self, poll: Poll, problem: str = "") -> list[Effect]:
        self.finder.heard(Polled("p/src", poll.number, b"" if problem else b"k\n1\n", -1, problem), self.now)
        return self.flush()

    def kept(self, append: Append, *outcome: Outcome) -> list[Effect]:
        self.finder.heard(Appended("p/src", append.number, [*outcome]), self.now)
        return self.flush()


def appended(effects: list[Effect]) -> Append:
    (found,) = [one for one in effects if isinstance(one, Append)]
    return found


def told(effects: list[Effect]) -> list[str]:
    return [one.text for one in effects if isinstance(one, Log)]


def test_given_a_poll_then_it_is_kept_under_its_tick_before_anything_is_offered(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    poll = machine.polls()
    assert (poll.at, poll.line) == (1200.0, "poll of p/src")
    assert poll.line != machine.finder.read.connection.path, "one that hangs holds up neither log nor others"
    append = appended(machine.answers(poll))
    assert append.puts == [Put("1200.0", b"k\n1\n", -1)]
    assert [one for one in machine.kept(append, Outcome("stored", 1)) if isinstance(one, Poll)] == []
    machine.now = 1260.0
    assert machine.polls().at == 1260.0


@pytest.mark.parametrize("outcome", [Outcome("known", 1), Outcome("refused", 1, why="other rows")])
def test_given_a_tick_that_a_former_process_has_kept_then_it_is_taken_and_not_polled_again(
    tmp_path: Path, outcome: Outcome
) -> None:
    machine = Machine(tmp_path)
    said = machine.kept(appended(machine.answers(machine.polls())), outcome)
    assert (told(said), machine.finder.unread) == ([], [])
    assert machine.finder.clock.last == 20


def test_given_what_the_log_has_then_its_tick_is_not_polled_again_and_those_since_are_missed_and_told(
    tmp_path: Path,
) -> None:
    assert [one for one in Machine(tmp_path, newest="1200.0").flush() if isinstance(one, Poll)] == []
    machine = Machine(tmp_path, newest="960.0")
    said = machine.answers(machine.polls())
    assert appended(said), "told before it is kept: who is killed in between tells it again"
    assert told(said) == [
        "p/src: 3 ticks missed (1970-01-01 00:17:00 UTC to 1970-01-01 00:19:00 UTC): what was there then is not known"
    ]


def test_given_a_poll_or_a_log_that_fails_then_it_is_told_and_tried_again(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    said = machine.answers(machine.polls(), "gone")
    assert [one.message.problems for one in said if isinstance(one, Send) and isinstance(one.message, SourceProblem)]
    assert machine.finder.unread[0].endswith("/a.csv could not be read at the tick of 1970-01-01 00:20:00 UTC: gone")
    assert machine.finder.deadline() == 1206.0
    machine.now = 1206.0
    machine.kept(appended(machine.answers(machine.polls())), Outcome("full", why="1 GB waits to be read"))
    assert "1 GB waits" in machine.finder.unread[0]
    machine.now = 1212.0
    machine.kept(appended(machine.answers(machine.polls())), Outcome("stored", 1))
    assert machine.finder.unread == []


def test_given_other_code_then_it_is_kept_at_once_and_what_it_was_wanted_for_is_polled_again(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    poll = machine.polls()
    assert poll.code == "", "a file is polled"
    machine.answers(poll, CHANGED)
    machine.finder.rebind(replace(machine.finder.spec, code="applied", root="/project"))
    keep, poll = (one for one in machine.flush() if isinstance(one, Keep | Poll))
    assert (keep.code, keep.root, poll.code) == ("applied", "/project", "applied")  # type: ignore[union-attr]
    assert machine.finder.unread == []
    assert not any(isinstance(one, Keep) for one in machine.flush())
    machine.finder.rebind(replace(machine.finder.spec, code="newer"))
    assert [one.code for one in machine.flush() if isinstance(one, Keep)] == ["newer"]


def test_given_a_pipeline_that_runs_on_demand_then_only_a_run_polls_and_it_waits_for_what_it_reads(
    tmp_path: Path,
) -> None:
    machine = Machine(tmp_path, idle=True)
    assert [one for one in machine.flush() if isinstance(one, Poll | Ahead)][-1:] != [Poll]
    assert not any(isinstance(one, Poll) for one in machine.flush())
    machine.finder.discover("run", machine.now)
    poll = machine.polls()
    asked = [one for one in machine.flush() if isinstance(one, Ahead)]
    assert asked == [], "what is there is looked at once the poll is kept"
    looks = [
        one for one in machine.kept(appended(machine.answers(poll)), Outcome("stored", 1)) if isinstance(one, Ahead)
    ]
    if not looks:  # one was under way since before
        machine.finder.heard(Seen("p/src", machine.finder._looking, []), machine.now)
        looks = [one for one in machine.flush() if isinstance(one, Ahead)]
    machine.finder.heard(Seen("p/src", looks[-1].number, [Part("p.src")]), machine.now)
    offers = [one.message for one in machine.flush() if isinstance(one, Send) and one.to == BROKER]
    assert [one.run for one in offers if isinstance(one, Offer)][-1:] == ["run"]


def test_given_a_tick_that_cannot_be_read_then_it_alone_is_what_failed(tmp_path: Path) -> None:
    spec = read(tmp_path, path="rates.csv")
    puts = [Put(repr(60.0 * tick), data, -1) for tick, data in enumerate((b"k\n1\n", b"", b"k\n3\n"), 1)]
    list(INTERVAL.probe(Append("p/src", 1, spec, puts, 0, spec.backlog, spec.window)))
    (seen,) = INTERVAL.probe(Ahead("p/src", 2, spec, [], BatchSpec(), 4, True))
    assert isinstance(seen, Seen)
    positions = [piece.position for part in seen.parts for piece in part.pieces]
    assert [one.identity for one in positions] == ["p.src:1-1", "p.src:2-2", "p.src:3-3"]
    with pytest.raises(Failed) as failed:
        INTERVAL.load(spec, positions, b"", OPEN)
    assert failed.value.failure.position == "p.src:2-2"
    assert INTERVAL.load(spec, [positions[0], positions[2]], b"", OPEN).table.to_pydict() == {"k": [1, 3]}


# --- a whole system ---------------------------------------------------------------------------------------------------

YAML = """\
project: ticks
connections:
  landing: {type: local, path: in}
  shop: {type: sqlite, path: shop.db}
  lake: {type: local, path: out}
pipelines:
  - pipeline: p
    nodes:
      - {name: src, read: {connection: landing, path: rates.csv, format: csv, mode: interval, every: 1s}}
      - {name: out, inputs: [src], write: {connection: lake, path: t, format: csv}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "odibi.yaml").write_text(YAML)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/rates.csv").write_text("k\n1\n")
    return tmp_path


def out(project: Path) -> list[int]:
    parts = sorted((project / "out/t").glob("*.csv"))
    return [int(line) for part in parts for line in part.read_text().split()[1:]]


def runs_until(project: Path, count: int) -> None:
    """A tick is a second: run until so many were read."""
    while len(out(project)) < count:
        assert run_pipeline(load_project(project), "p").state in ("done", "no_data")


def test_given_a_file_that_changes_then_each_tick_has_it_as_it_was_also_after_a_rewind(project: Path) -> None:
    runs_until(project, 1)
    (project / "in/rates.csv").write_text("k\n2\n")
    runs_until(project, 2)
    assert out(project) == [1, 2]
    assert call(project, "pipeline", "pause", "p").exit_code == 0
    assert call(project, "pipeline", "rewind", "p", "--to", "0", "--yes").exit_code == 0
    assert call(project, "pipeline", "resume", "p").exit_code == 0
    (project / "in/rates.csv").unlink()
    told = call(project, "run", "p")
    assert out(project) == [1, 2], "what was read is read again, as it was then"
    assert told.exit_code == (
        5 if "rates.csv could not be read at the tick of" in told.stderr else 0
    )  # or no tick since
    (listed,) = call(project, "source", "list", "-o", "name").stdout.split()
    assert listed == "p.src"


@pytest.mark.parametrize("place", ["source.poll", "source.polled", "events.commit", "events.committed"])
def test_given_a_kill_around_a_poll_then_its_tick_is_read_once(project: Path, place: str) -> None:
    (project / "odibi.yaml").write_text(YAML.replace("1s", "365d"))
    command = [sys.executable, "-m", "odibi_actors.cli", "--project", str(project), "run", "p"]
    ran = subprocess.run(command, env={**os.environ, "ODIBI_FAILPOINTS": f"{place}:kill"}, check=False, timeout=60)
    assert ran.returncode == -signal.SIGKILL
    for _ in range(2):
        assert run_pipeline(load_project(project), "p").state in ("done", "no_data")
    assert out(project) == [1]


def test_given_a_query_and_a_function_then_they_are_tried_and_read(project: Path) -> None:
    import sqlite3

    with sqlite3.connect(project / "shop.db") as db:
        db.execute("CREATE TABLE rates (id INTEGER PRIMARY KEY, rate DECIMAL(9, 2), name TEXT)")
        db.execute("INSERT INTO rates VALUES (9007199254740993, 1.5, 'ö'), (2, NULL, '')")
    first = YAML.replace("connection: landing, path: rates.csv, format: csv, ", "connection: shop, table: rates, ")
    (project / "odibi.yaml").write_text(first.replace("1s", "365d").replace("format: csv}}", "format: parquet}}"))
    (tried, *_) = Trial(load_project(project), "p").run()
    assert (tried.state, tried.rows) == ("ok", 2)
    assert run_pipeline(load_project(project), "p").rows_read == 2
    (project / "nodes").mkdir()
    (project / "nodes/rates.py").write_text("def fetch(): 1 / 0\n")
    (project / "odibi.yaml").write_text(
        YAML.replace("connection: landing, path: rates.csv, format: csv, ", 'function: "nodes.rates:fetch", ').replace(
            "format: csv}}", "format: parquet}}"
        )
    )
    loaded = load_project(project)
    (project / "nodes/rates.py").write_text("def fetch(): 2 / 0\n")
    assert CHANGED in str(run_pipeline(loaded, "p").unread), "what was read in when it began, or nothing"


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ("connection: landing, path: a.csv, format: csv", "interval needs to know how often"),
        ("connection: landing, path: a.csv, every: 1h", 'the key "format" is missing'),
        ("connection: landing, format: csv, every: 1h", "interval needs something to read"),
        ("connection: shop, table: a, query: select 1, every: 1h", "table is there as well"),
        ('connection: shop, function: "nodes.a:b", every: 1h', "a function reads by itself"),
        ('function: "nodes.a:b", every: 1h', "nodes/a.py"),
        ("path: a.csv, format: csv, every: 1h", 'the key "connection" is missing'),
        ("connection: landing, path: ../a.csv, format: csv, every: 1h", "leads out of the connection's folder"),
        ("connection: landing, path: a.csv, format: csv, every: 1h, window: 1h", "mode interval takes no window"),
    ],
)
def test_given_a_section_that_is_wrong_then_it_is_said(project: Path, section: str, says: str) -> None:
    wrong = "connection: landing, path: rates.csv, format: csv, mode: interval, every: 1s"
    (project / "odibi.yaml").write_text(YAML.replace(wrong, f"{section}, mode: interval"))
    with pytest.raises(ConfigError) as raised:
        load_project(project)
    assert says in str(raised.value)
