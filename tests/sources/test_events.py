"""The log of events: what is acknowledged is there and stays, once; what is read of it is what was pushed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from msgspec.structs import replace

from odibi_actors.actor import Send
from odibi_actors.batches.ipc import encode
from odibi_actors.client import Client
from odibi_actors.client_events import table_of
from odibi_actors.config.model import BatchSpec, ConnectionSpec, ReadSpec
from odibi_actors.errors import ConfigError
from odibi_actors.kinds.connection import OPEN
from odibi_actors.messages import Push, Reply
from odibi_actors.nodes.failures import Failed
from odibi_actors.sources.events import desk, from_file, log
from odibi_actors.sources.events.desk import Desk
from odibi_actors.sources.events.effects import Append, Appended, Outcome, Put
from odibi_actors.sources.events.kind import EVENT, Events
from odibi_actors.sources.events.pieces import Mark, mark
from odibi_actors.streaming.effects import Again, Ahead, AsNow, Begin, Part, Piece, Seen

LIMIT = 1_000_000


def spec(folder: Path, **more: Any) -> ReadSpec:
    connection = ConnectionSpec("inbox", "local", str(folder))
    return ReadSpec(connection, "arrow", "event", path="clicks", schema={"id": "int64"}, consumption="cursor", **more)


def rows(*ids: Any) -> bytes:
    return encode(pa.table({"id": list(ids)}))


class Inbox:
    """A log of events, as its probe has it."""

    def __init__(self, folder: Path) -> None:
        self.read, self.kind, self.asked = spec(folder), Events(), 0

    def append(self, *puts: Put, taken: int = 0, limit: int = LIMIT, window: float = 3600.0) -> list[Outcome]:
        self.asked += 1
        found = list(self.kind.probe(Append("p.src", self.asked, self.read, [*puts], taken, limit, window)))[-1]
        assert isinstance(found, Appended)
        return found.outcomes

    def part(self, place: bytes = b"", until: bytes = b"", credit: int = 100, **limits: int) -> Part:
        places = [Begin("clicks", place, until)] if place else []
        ask = Ahead("p.src", 1, self.read, places, BatchSpec(**limits), credit)
        found = list(self.kind.probe(ask))[-1]
        assert isinstance(found, Seen)
        return found.parts[0]

    def load(self, *pieces: Piece) -> list[int]:
        positions = [one.position for one in pieces]
        found: list[int] = self.kind.load(self.read, positions, b"", OPEN).table["id"].to_pylist()
        return found


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path)


def log_id(folder: Path) -> bytes:
    with sqlite3.connect(folder / "clicks/events.db") as db:
        found: bytes = db.execute("SELECT id FROM log").fetchone()[0]
        return found


# --- what is pushed ---------------------------------------------------------------------------------------------------


def test_given_pushes_when_acknowledged_then_they_are_read_once_and_in_order(inbox: Inbox) -> None:
    first = inbox.append(Put("", rows(1, 2)), Put("", rows(3)))
    assert [(one.state, one.number, one.rows) for one in first] == [("stored", 1, 2), ("stored", 2, 1)]
    inbox.append(Put("", rows(3)))  # the same again, without a key: nobody guesses that it is the same
    part = inbox.part()
    (piece,) = part.pieces
    assert (piece.position.identity, piece.position.rows, piece.range.upper) == ("clicks:1-3", 4, part.end)
    assert inbox.load(piece) == [1, 2, 3, 3]
    assert inbox.part(part.end).pieces == []
    inbox.append(Put("", rows(9)))
    assert inbox.load(*inbox.part(part.end).pieces) == [9]


def test_given_a_key_that_was_pushed_then_the_same_is_known_and_other_rows_are_refused(inbox: Inbox) -> None:
    inbox.append(Put("", rows(0)), Put("a", rows(1)))
    known, other, twice, again = inbox.append(
        Put("a", rows(1)), Put("a", rows(2)), Put("b", rows(3)), Put("b", rows(3))
    )
    assert (known.state, known.number, known.rows) == ("known", 2, 1)
    assert (other.state, other.number) == ("refused", 2)
    assert other.why == "key 'a' was pushed before, as event 2, with other rows: push these with another key"
    assert (twice.state, again.state, again.number) == ("stored", "known", 3)
    assert inbox.load(*inbox.part().pieces) == [0, 1, 3]


def test_given_a_window_then_keys_are_forgotten_behind_it_and_within_it_not(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    inbox.append(Put("a", rows(1)), window=60.0)
    now[0] = 1059.0
    assert inbox.append(Put("a", rows(1)), window=60.0)[0].state == "known"
    now[0] = 1061.0
    inbox.append(Put("b", rows(2)), window=60.0)
    assert inbox.append(Put("a", rows(1)), window=60.0)[0].state == "stored"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (rows("x"), "the push, column id"),
        (rows(1.5), "column id: row 1: 1.5 is not int64; read.schema: {id: double} takes such values instead"),
        (encode(pa.table({"idx": [1]})), "'id'"),
        (encode(pa.table({"id": [1], "more": [2]})), "'more'"),
        (b"id\n1\n", "not Arrow IPC"),
        (rows(1)[:-9], "not a readable Arrow file"),
    ],
)
def test_given_rows_that_do_not_fit_then_they_are_refused_by_name_and_the_others_are_taken(
    inbox: Inbox, data: bytes, says: str
) -> None:
    good, bad, also = inbox.append(Put("", rows(1)), Put("k", data), Put("", rows(2)))
    assert (good.state, bad.state, also.state) == ("stored", "refused", "stored")
    assert says in bad.why
    assert inbox.append(Put("k", rows(3)))[0].state == "stored"  # its key was not used
    assert inbox.load(*inbox.part().pieces) == [1, 2, 3]


def test_given_more_than_may_wait_then_the_rest_is_to_come_again_until_it_is_planned(inbox: Inbox) -> None:
    size = len(rows(1))
    first, second = inbox.append(Put("", rows(1)), Put("", rows(2)), limit=size + 1)
    assert (first.state, second.state) == ("stored", "full")
    assert "wait to be read, and at most" in second.why
    assert inbox.append(Put("", rows(2)), limit=size + 1)[0].state == "full"
    assert inbox.append(Put("", rows(2)), limit=size + 1, taken=1)[0].state == "stored"
    assert inbox.append(Put("", rows(3)), limit=1, taken=2)[0].state == "stored"  # larger than the limit: taken alone
    assert inbox.load(*inbox.part().pieces) == [1, 2, 3]


def test_given_a_log_that_cannot_be_written_then_nothing_is_acknowledged(inbox: Inbox, tmp_path: Path) -> None:
    (tmp_path / "clicks").write_text("somebody's file")
    (outcome,) = inbox.append(Put("", rows(1)))
    assert outcome.state == "failed"
    assert "nothing was kept" in outcome.why
    (tmp_path / "clicks").unlink()
    assert inbox.append(Put("", rows(1)))[0].state == "stored"


def test_given_a_log_that_is_removed_while_it_is_open_then_what_is_pushed_goes_into_a_new_one(
    inbox: Inbox, tmp_path: Path
) -> None:
    inbox.append(Put("", rows(1)))
    read = inbox.part().end
    for path in (tmp_path / "clicks").iterdir():
        path.unlink()
    assert inbox.append(Put("", rows(2)))[0].state == "stored"
    assert inbox.load(*inbox.part().pieces) == [2]
    assert inbox.part(read).problem == (
        "the log of events is another one, and it was read up to event 1; put back the one that was read"
    )


# --- what is read -----------------------------------------------------------------------------------------------------


def test_given_limits_then_pieces_hold_whole_pushes_within_them(inbox: Inbox) -> None:
    for number in range(7):
        inbox.append(Put("", rows(number, number)))
    assert [one.position.rows for one in inbox.part(max_rows=4).pieces] == [4, 4, 4, 2]
    part = inbox.part(max_rows=1, credit=3)
    assert ([one.position.rows for one in part.pieces], part.more) == ([2, 2, 2], True)
    rest = inbox.part(part.pieces[-1].range.upper, max_rows=5)
    assert ([one.position.rows for one in rest.pieces], rest.more) == ([4, 4], False)
    assert inbox.load(*part.pieces, *rest.pieces) == [n for number in range(7) for n in (number, number)]


def test_given_a_hole_behind_it_then_it_is_read_up_to_there(inbox: Inbox) -> None:
    for number in range(5):
        inbox.append(Put("", rows(number)))
    first, second = inbox.part(max_rows=3).pieces
    (piece,) = inbox.part(until=second.range.lower, place=Mark().packed()).pieces
    assert piece.range == first.range


def test_given_an_older_copy_of_the_log_then_nothing_is_read_until_it_is_back(inbox: Inbox, tmp_path: Path) -> None:
    inbox.append(Put("", rows(1)))
    older = (tmp_path / "clicks/events.db").read_bytes() + (tmp_path / "clicks/events.db-wal").read_bytes()
    assert older
    with sqlite3.connect(tmp_path / "clicks/events.db") as db, sqlite3.connect(tmp_path / "copy.db") as copy:
        db.backup(copy)
    inbox.append(Put("", rows(2)))
    (piece,) = inbox.part().pieces
    for path in (tmp_path / "clicks").iterdir():
        path.unlink()
    (tmp_path / "copy.db").rename(tmp_path / "clicks/events.db")
    assert "is an older copy: it ends with event 1" in inbox.part(piece.range.upper).problem
    with pytest.raises(Failed, match="is not what was planned"):
        inbox.load(piece)
    found = list(inbox.kind.probe(Again("p.src", 1, inbox.read, [piece.position])))[-1]
    assert isinstance(found, AsNow)
    assert found.gone == [("clicks:1-2", "the log of events has no such events any more")]


def test_given_a_log_from_which_somebody_has_deleted_then_what_is_missing_is_named_and_nothing_is_passed_over(
    inbox: Inbox, tmp_path: Path
) -> None:
    for number in range(6):
        inbox.append(Put("", rows(number)))
    with sqlite3.connect(tmp_path / "clicks/events.db") as db:
        db.execute("DELETE FROM events WHERE number IN (1, 3, 4)")
    assert "lacks event 1: somebody has deleted from it" in inbox.part().problem
    assert "lacks event 3 to 4: " in inbox.part(Mark(2, log_id(tmp_path)).packed()).problem
    assert inbox.load(*inbox.part(Mark(4, log_id(tmp_path)).packed()).pieces) == [4, 5]


def test_given_a_schema_that_has_changed_since_then_the_planned_events_are_named(inbox: Inbox) -> None:
    inbox.append(Put("", rows(1)), Put("", rows(300)))
    (piece,) = inbox.part().pieces
    inbox.read = replace(inbox.read, schema={"id": "int8"})
    with pytest.raises(Failed) as raised:
        inbox.load(piece)
    assert raised.value.failure.position == "clicks:1-2"
    assert raised.value.failure.message.startswith("clicks:2, column id: ")


def test_given_planned_events_when_asked_how_they_are_then_they_are_as_they_were(inbox: Inbox) -> None:
    inbox.append(Put("", rows(1)))
    pieces = inbox.part().pieces
    found = list(inbox.kind.probe(Again("p.src", 1, inbox.read, [one.position for one in pieces])))[-1]
    assert isinstance(found, AsNow)
    assert (found.pieces, found.changed, found.gone) == (pieces, [], [])
    assert mark(pieces[0].range.upper).number == 1


# --- kills ------------------------------------------------------------------------------------------------------------

PRODUCER = """
import sys
from pathlib import Path
from tests.sources.test_events import Inbox, Put, rows
inbox = Inbox(Path(sys.argv[1]))
for number in range(int(sys.argv[2]), 6):
    for outcome in inbox.append(Put(str(number), rows(number)), Put(f"{number}b", rows(number + 100))):
        print(number, outcome.state, flush=True)
"""


@pytest.mark.parametrize("place", ["events.commit", "events.committed"])
def test_given_kills_around_its_commits_and_a_producer_that_tries_again_then_each_push_is_there_once(
    tmp_path: Path, place: str
) -> None:
    told = 0
    for times in range(1, 5):
        env = {**os.environ, "ODIBI_FAILPOINTS": f"{place}:kill@{times}"}
        command = [sys.executable, "-c", PRODUCER, str(tmp_path), str(told)]
        ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode in (0, -signal.SIGKILL), ran.stderr
        said = [line.split()[0] for line in ran.stdout.splitlines()]
        told = max((int(one) for one in said if said.count(one) == 2), default=told - 1) + 1
    inbox = Inbox(tmp_path)
    assert inbox.load(*inbox.part().pieces) == [n for number in range(6) for n in (number, number + 100)]


# --- who waits --------------------------------------------------------------------------------------------------------


def a_push(request: str, data: bytes, key: str = "", part: int = 0) -> Push:
    return Push(request, "p", "src", data, key, part)


def test_given_pushes_while_a_transaction_is_under_way_then_they_go_together_into_the_next() -> None:
    one = Desk()
    assert one.push("a", a_push("r1", b"1", "k")) == []
    assert one.group() == [Put("k", b"1")]
    assert one.push("a", a_push("r1", b"1", "k")) == []  # asked again
    assert one.push("b", a_push("r1", b"2")) == one.push("c", a_push("r1", b"3", "k", 2)) == one.group() == []
    (told,) = one.done([Outcome("stored", 1, 5)])
    assert told == Send("a", Reply("r1", 0, {"state": "stored", "event": 1, "rows": 5}))
    assert one.group() == [Put("", b"2"), Put("k\n2", b"3")]


def test_given_a_push_that_is_none_or_too_much_held_then_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "MAX_HELD", 10)
    monkeypatch.setattr(desk, "MAX_DATA", 9)
    one = Desk()
    for bad in (a_push("r", b""), a_push("r", b"x" * 10), a_push("r", b"x", "x" * 201), a_push("r", b"x", "a\n2")):
        (told,) = one.push("a", bad)
        assert isinstance(told, Send)
        assert isinstance(told.message, Reply)
        assert told.message.status == 2, bad
    assert one.push("a", a_push("r", b"123456")) == []
    (told,) = one.push("b", a_push("r", b"123456"))
    assert told == Send("b", Reply("r", 0, {"state": "full", "retry_after": 1.0, "why": "6 B wait to be written"}))
    one.group()
    one.done([Outcome("stored", 1)])
    assert one.push("b", a_push("r", b"123456")) == []


def test_given_the_same_rows_written_otherwise_then_their_key_is_known(inbox: Inbox) -> None:
    inbox.append(Put("k", rows(140)))
    assert inbox.append(Put("k", rows(140.0)))[0].state == "known"


@pytest.mark.parametrize(
    "values",
    [
        [date(2024, 1, 1), datetime(2024, 1, 1, 5)],
        [pd.Timestamp("2024-01-01T00:00:00.000000999")],
        [pd.Timedelta(999, "ns")],
        [datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=5))), datetime(2024, 1, 1)],
        [datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=5)))],
        [time(1, 2, 3, tzinfo=timezone(timedelta(hours=5)))],
        [1, "1"],
    ],
)
@pytest.mark.parametrize("framed", [False, True])
def test_given_rows_that_arrow_would_bend_when_pushed_then_they_are_exact_or_refused(
    values: list[Any], framed: bool
) -> None:
    rows_ = [{"d": one} for one in values]
    given: Any = pd.DataFrame({"d": pd.Series(values, dtype=object)}) if framed else rows_
    table, refused = None, ""
    try:
        table = table_of(given)
    except ConfigError as error:
        refused = str(error)
    if table is None:
        assert "'d'" in refused
        return
    (kind,) = table.schema.types
    found = [one.value if kind.unit == "ns" else one.as_py() for one in table["d"]]
    wanted = [int(one.value) if kind.unit == "ns" else one for one in values]
    assert found == wanted


@pytest.mark.parametrize(
    "index", [pd.Index([77], name="page"), pd.Index(["x"]), pd.MultiIndex.from_tuples([(1, 2)], names=["a", "b"])]
)
def test_given_a_frame_with_an_index_of_data_when_pushed_then_it_is_refused(index: pd.Index) -> None:
    with pytest.raises(ConfigError, match="index"):
        table_of(pd.DataFrame({"id": [1]}, index=index))


def test_given_an_empty_key_then_it_is_said_that_it_is_none() -> None:
    with pytest.raises(ConfigError, match="an empty key is none"):
        Client("ipc:///nowhere").push("p.src", [{"id": 1}], key="")


def test_given_a_file_that_is_no_log_then_it_is_named(inbox: Inbox, tmp_path: Path) -> None:
    (tmp_path / "clicks").mkdir()
    (tmp_path / "clicks" / log.NAME).write_bytes(b"x" * 5000)
    assert "events.db cannot be read" in inbox.part().problem
    (outcome,) = inbox.append(Put("", rows(1)))
    assert outcome.state == "failed"


def test_given_a_source_that_ignores_a_column_when_a_file_is_pushed_then_it_is_read_without() -> None:
    taken = {"schema": {"id": "int64"}, "optional": [], "columns": [], "ignore": ["note"]}
    assert from_file.table_of(b'{"id": 1, "note": "x"}\n', "stdin", "json", taken).column_names == ["id"]
    assert EVENT.filling("p.clicks").startswith("nothing was pushed to it yet; `odibictl event push p.clicks FILE`")
