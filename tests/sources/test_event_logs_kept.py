"""What is deleted from a log of events, and what is not: nothing that anybody still reads, holds or may go back to."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from odibi_actors.actor import Log, Send
from odibi_actors.client import Client
from odibi_actors.config import load_project
from odibi_actors.config.model import RetainSpec
from odibi_actors.errors import ConflictError, OdibiError
from odibi_actors.local import LocalSystem, run_pipeline
from odibi_actors.messages import BROKER, Reply, Request
from odibi_actors.sources.events import log
from odibi_actors.sources.events.effects import Prune, Pruned, Put, Survey, Surveyed
from odibi_actors.sources.events.keeping import EVERY, PATIENCE, Keeping
from odibi_actors.sources.events.pieces import Mark, mark
from odibi_actors.streaming.effects import Again, AsNow
from tests.sources.test_events import Inbox, log_id, rows

ALL = RetainSpec(time=0.0)


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path)


def survey(inbox: Inbox, keep: RetainSpec = ALL) -> Surveyed:
    found = list(inbox.kind.probe(Survey("p.src", 1, replace(inbox.read, retain=keep))))[-1]
    assert isinstance(found, Surveyed)
    return found


def prune(inbox: Inbox, through: int, *held: int, owner: str = "store") -> Pruned:
    positions = [piece.position for piece in inbox.part(max_rows=1).pieces if mark(piece.range.upper).number in held]
    assert len(positions) == len(held)
    found = list(inbox.kind.probe(Prune("p.src", 1, inbox.read, through, positions, owner)))[-1]
    assert isinstance(found, Pruned)
    return found


def numbers(folder: Path) -> list[int]:
    with sqlite3.connect(folder / "clicks/events.db") as db:
        return [number for (number,) in db.execute("SELECT number FROM events ORDER BY number")]


# --- the log ----------------------------------------------------------------------------------------------------------


def test_given_times_and_sizes_then_what_is_older_or_more_is_stale(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    assert survey(inbox) == Surveyed("p.src", 1)
    for _ in range(6):
        inbox.append(Put("", rows(1)))
        now[0] += 10.0
    size = len(rows(1))
    by_time = [survey(inbox, RetainSpec(time, 1 << 40)).stale for time in (100.0, 60.0, 59.0, 30.0, 0.0)]
    assert by_time == [0, 0, 1, 3, 6]
    assert [survey(inbox, RetainSpec(100.0, kept * size)).stale for kept in (7, 6, 5, 2)] == [0, 0, 1, 4]
    found = survey(inbox)
    assert (found.floor, found.last, found.since, found.size) == (0, 6, 1000.0, 6 * size)


def test_given_what_is_deleted_then_the_rest_is_read_as_before_and_keys_numbers_and_the_backlog_go_on(
    inbox: Inbox, tmp_path: Path
) -> None:
    for number in range(1, 6):
        inbox.append(Put(f"k{number}", rows(number)))
    pieces, size = inbox.part(max_rows=1).pieces, len(rows(1))
    assert prune(inbox, 3) == Pruned("p.src", 1, 3)
    assert numbers(tmp_path) == [4, 5]
    assert inbox.load(*inbox.part(pieces[2].range.upper).pieces) == [4, 5]
    assert inbox.append(Put("k2", rows(2)))[0].state == "known"
    assert inbox.append(Put("k2", rows(9)))[0].state == "refused"
    assert inbox.append(Put("", rows(6)), taken=3, limit=2 * size)[0].state == "full"
    assert prune(inbox, 5).count == 2
    assert (numbers(tmp_path), survey(inbox).last) == ([], 5)
    assert inbox.append(Put("", rows(6)), taken=5, limit=1)[0].number == 6  # none is given a number twice
    assert inbox.append(Put("", rows(7)), taken=5, limit=size)[0].state == "full"
    assert inbox.load(*inbox.part(pieces[4].range.upper).pieces) == [6]
    assert survey(inbox).size == size


def test_given_events_that_a_letter_holds_then_they_stay_until_nobody_holds_them(inbox: Inbox, tmp_path: Path) -> None:
    for number in range(1, 6):
        inbox.append(Put("", rows(number)))
    held = inbox.part(max_rows=1).pieces[1]
    assert prune(inbox, 4, 2).count == 3
    assert (numbers(tmp_path), inbox.load(held)) == ([2, 5], [2])
    assert [piece.position.identity for piece in inbox.part().pieces] == ["clicks:5-5"]  # nobody else reads it
    found = survey(inbox)
    assert (found.stale, found.floor) == (5, 4)
    assert prune(inbox, 4).count == 1
    assert numbers(tmp_path) == [5]


def test_given_a_place_below_what_is_deleted_then_it_is_named_and_who_begins_is_told_where(inbox: Inbox) -> None:
    for number in range(1, 6):
        inbox.append(Put("", rows(number)))
    pieces = inbox.part(max_rows=1).pieces
    prune(inbox, 3)
    problem = inbox.part(pieces[0].range.upper).problem
    assert problem == (
        "the log of events lacks event 2 to 3: it is deleted up to event 3 (`retain`), which other checkpoints had "
        "read; put those back, or `odibictl reset PIPELINE`, which begins behind that"
    )
    new = inbox.part()
    assert (inbox.load(*new.pieces), new.pieces[0].range.lower) == ([4, 5], Mark().packed())
    assert new.note == "its log of events is deleted up to event 3 (`retain`); what follows is read"
    found = list(inbox.kind.probe(Again("p.src", 1, inbox.read, [pieces[0].position])))[-1]
    assert isinstance(found, AsNow)
    assert found.gone == [("clicks:1-1", "the log of events is deleted up to event 3 (`retain`)")]


def test_given_a_log_that_another_store_deletes_from_then_nothing_is_deleted(inbox: Inbox, tmp_path: Path) -> None:
    for number in range(1, 4):
        inbox.append(Put("", rows(number)))
    prune(inbox, 1)
    assert "another project's store reads it" in prune(inbox, 2, owner="other").problem
    assert numbers(tmp_path) == [2, 3]


def test_given_a_log_of_the_release_before_then_it_is_read_and_taken_over_when_it_is_written(
    inbox: Inbox, tmp_path: Path
) -> None:
    (tmp_path / "clicks").mkdir()
    with sqlite3.connect(tmp_path / "clicks/events.db") as db:
        former = log._SCHEMA.replace("floor INTEGER NOT NULL, base INTEGER NOT NULL, owner TEXT NOT NULL", "")
        db.executescript(former.replace("id BLOB NOT NULL,", "id BLOB NOT NULL"))
        db.execute("INSERT INTO log VALUES (1, ?)", (bytes(16),))
        insert = "INSERT INTO events (at, rows, bytes, total, digest, data) VALUES (1.0, 1, ?, ?, ?, ?)"
        db.execute(insert, (len(rows(1)), len(rows(1)), log.digest(rows(1)), rows(1)))
    assert (inbox.load(*inbox.part().pieces), survey(inbox).stale) == ([1], 1)
    inbox.append(Put("", rows(2)))
    assert inbox.load(*inbox.part().pieces) == [1, 2]
    assert prune(inbox, 1).count == 1
    with sqlite3.connect(tmp_path / "clicks/events.db") as db:
        db.execute("UPDATE log SET version = 9")
    assert "is a log of version 9; this release reads version 2" in inbox.part().problem


def test_given_much_that_is_deleted_then_it_goes_in_chunks_and_its_space_is_given_back(
    inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "CHUNK", 3)
    inbox.append(*(Put("", rows(*range(n, n + 50_000))) for n in range(8)), limit=1 << 30)
    path = tmp_path / "clicks/events.db"
    assert prune(inbox, 7) == Pruned("p.src", 1, 3, True)
    assert (numbers(tmp_path), survey(inbox).floor) == ([4, 5, 6, 7, 8], 3)
    assert (prune(inbox, 7).count, prune(inbox, 7)) == (3, Pruned("p.src", 1, 1, False))
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert path.stat().st_size < 2 * len(rows(*range(50_000)))


def test_given_a_full_disk_then_that_nothing_could_be_deleted_is_told_and_the_log_is_whole(
    inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.append(*(Put("", rows(*range(number, number + 9_000))) for number in range(3)))
    before = inbox.load(*inbox.part().pieces)

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(log, "failpoint", full)
    assert prune(inbox, 2).problem.endswith("events.db: database or disk is full")
    monkeypatch.undo()
    assert inbox.load(*inbox.part().pieces) == before
    assert prune(inbox, 2).count == 2


DELETER = """
import sys
from pathlib import Path
from tests.sources.test_event_logs_kept import Inbox, log, prune
log.CHUNK = 2
inbox = Inbox(Path(sys.argv[1]))
while prune(inbox, 7, 4).more:
    pass
"""


@pytest.mark.parametrize("place", ["events.prune:kill@2", "events.pruned:kill@1"])
def test_given_kills_while_events_are_deleted_then_the_floor_says_what_is_gone(tmp_path: Path, place: str) -> None:
    inbox = Inbox(tmp_path)
    inbox.append(*(Put("", rows(number)) for number in range(1, 10)))
    held = inbox.part(max_rows=1).pieces[3]
    ran = subprocess.run(
        [sys.executable, "-c", DELETER, str(tmp_path)],
        env={**os.environ, "ODIBI_FAILPOINTS": place},
        check=False,
        timeout=60,
    )
    assert ran.returncode == -signal.SIGKILL
    assert (numbers(tmp_path), survey(inbox).floor) == ([3, 4, 5, 6, 7, 8, 9], 2)
    while prune(inbox, 7, 4).more:
        pass
    assert (numbers(tmp_path), inbox.load(held)) == ([4, 8, 9], [4])
    assert inbox.load(*inbox.part(Mark(7, log_id(tmp_path)).packed()).pieces) == [8, 9]


# --- the rounds -------------------------------------------------------------------------------------------------------


def a_round(keeping: Keeping, inbox: Inbox, now: float, stale: int = 5) -> Request:
    assert keeping.due(now)
    (asked,) = keeping.begin(7, inbox.read, now)
    assert isinstance(asked, Survey)
    assert not keeping.due(now)
    told = keeping.surveyed(Surveyed("p.src", 7, bytes(16), stale), {"pipeline": "p"}, now)
    (send,) = told
    assert isinstance(send, Send)
    assert (send.to, isinstance(send.message, Request)) == (BROKER, True)
    return send.message  # type: ignore[return-value]


def test_given_what_is_stale_then_the_broker_is_asked_before_anything_is_deleted(inbox: Inbox) -> None:
    keeping = Keeping("p.src", "i")
    asked = a_round(keeping, inbox, 0.0)
    assert asked.params == {"pipeline": "p", "place": Mark(5, bytes(16)).packed().hex()}
    less = {"place": Mark(3, bytes(16)).packed().hex(), "held": [], "waits": "w", "store_id": "s"}
    assert keeping.answered(Reply("i-6", 0, less), 8, inbox.read, 1.0) == []  # an answer to a former round
    first, second = (Prune("p.src", number, inbox.read, 3, [], "s") for number in (8, 9))
    assert keeping.answered(Reply(asked.id, 0, less), 8, inbox.read, 1.0) == [first]
    assert keeping.pruned(Pruned("p.src", 8, 2, True), 9, inbox.read, 2.0) == [second]
    (told,) = keeping.pruned(Pruned("p.src", 9, 1), 10, inbox.read, 3.0)
    assert isinstance(told, Log)
    assert told.text == "p.src: 3 events up to number 3 deleted from its log (`retain`)"
    assert (keeping.waits, keeping.due(3.0)) == ("w", True)


def test_given_a_broker_that_refuses_or_is_silent_then_another_round_begins_later(inbox: Inbox) -> None:
    keeping = Keeping("p.src", "i")
    asked = a_round(keeping, inbox, 0.0)
    assert keeping.answered(Reply(asked.id, 4, error="is being rewound"), 8, inbox.read, 1.0) == []
    assert (keeping.waits, keeping.due(EVERY), keeping.due(1.0 + EVERY)) == ("is being rewound", False, True)
    a_round(keeping, inbox, 1.0 + EVERY)
    assert not keeping.due(EVERY + PATIENCE)
    assert keeping.due(1.0 + EVERY + PATIENCE)


# --- a whole system ---------------------------------------------------------------------------------------------------

YAML = """\
project: kept
connections:
  inbox: {type: local, path: .}
  lake: {type: local, path: out}
pipelines:
"""
PIPELINE = """\
  - pipeline: NAME
    trigger: manual
    on_error: dead_letter
    retry: {max_attempts: 1}
    batch: {max_rows: 1}
    nodes:
      - name: src
        read: {connection: inbox, path: clicks, mode: event, schema: {id: int64}, retain: {time: 1ms}}
      - {name: ok, inputs: [src], transform: {sql: "select if(id = 2, error('bad'), id) as id from src"}}
      - {name: out, inputs: [ok], write: {connection: lake, path: NAME, format: csv}}
"""


def keep(project: Path, *requests: tuple[str, dict[str, object]]) -> None:
    """Let the system run until nothing more is to be deleted, then ask."""
    with LocalSystem(load_project(project)) as system:

        def done() -> bool:
            rounds = [one._keeping for one in system.source.sources.values()]  # type: ignore[attr-defined]
            return bool(rounds) and all(
                one.survey is not None and not one._step and one._at > system.clock() for one in rounds
            )

        system.until(done)
        for verb, params in requests:
            system.request(verb, params)


def test_given_what_is_committed_then_it_is_deleted_and_what_reaches_below_is_refused_by_name(
    tmp_path: Path, inbox: Inbox
) -> None:
    (tmp_path / "odibi.yaml").write_text(YAML + PIPELINE.replace("NAME", "p") + PIPELINE.replace("NAME", "q"))
    for number in range(1, 5):
        inbox.append(Put("", rows(number)))
    project = load_project(tmp_path)
    assert run_pipeline(project, "p").state == "failed"
    keep(tmp_path)
    assert numbers(tmp_path) == [1, 2, 3, 4], "the other pipeline has not read it"
    run_pipeline(project, "q")
    keep(tmp_path)
    assert numbers(tmp_path) == [2], "a dead letter of each has it"
    with pytest.raises(OdibiError, match=r"p\.src cannot be read again: its log of events is deleted up to event 4"):
        keep(tmp_path, ("pipeline.backfill", {"pipeline": "p", "files": {"src": "clicks"}}))
    with Client(project=tmp_path) as client:
        assert client.checkpoint_stats()["logs"] == {"p.src": 4, "q.src": 4}
        assert client.schema("p", "src")["deleted"] == 4
        with pytest.raises(ConflictError, match=r"read up to iteration 4 is deleted .* rewind to 4 or later"):
            client.rewind("p", 1)
        for letter in client.dead_letters()["items"]:
            client.discard(letter["id"])
    keep(tmp_path)
    assert numbers(tmp_path) == []
    inbox.append(Put("", rows(5)))
    assert run_pipeline(project, "p").rows_read == 1
