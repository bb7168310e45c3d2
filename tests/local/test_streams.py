"""``StreamManager``: each row is in exactly one batch that is processed, whatever happens in between."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from odibi_actors.actor import Send
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.config.model import BatchSpec
from odibi_actors.core import DAGExecutor, EventEmitter, Tracker, create_engine_context
from odibi_actors.core.dag import DAGBuilder
from odibi_actors.errors import ConflictError, MissingExtraError, OdibiError
from odibi_actors.local.streams import opened
from odibi_actors.local.streams.desk import Desk
from odibi_actors.local.streams.effects import Note
from odibi_actors.local.streams.portions import Current, planned
from odibi_actors.local.streams.reading import SOURCE, read_spec
from odibi_actors.messages import LOCAL, STORE, Claimed, LoadedPage, Reply, Request, StoreHello
from odibi_actors.messages import SOURCE as SOURCE_ACTOR
from odibi_actors.streaming import StreamConfig, StreamManager, StreamMode
from tests.local import dag_steps
from tests.local.dag_steps import step

SCRIPT = """
import sys
from odibi_actors.streaming import StreamManager
stream = StreamManager.from_source("csv", path="in", name="s", batch_size=2)
print(stream.read_batch()["n"].tolist())
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    yield tmp_path
    crash()


def crash() -> None:
    """What the process has open is gone, as if it had been killed."""
    for feed, _ in opened._feeds.values():
        feed.close()
    opened._feeds.clear()


def write(name: str, *numbers: int) -> Path:
    path = Path("in", name)
    path.write_text("n\n" + "".join(f"{number}\n" for number in numbers))
    return path


def grow(text: str, path: str = "log.csv") -> None:
    with open(path, "a") as file:
        file.write(text)


def files(**given: Any) -> StreamManager:
    return StreamManager.from_source("csv", path="in", name="s", **given)


def log_file(**given: Any) -> StreamManager:
    return StreamManager.from_source("csv", path="log.csv", mode="incremental", **given)


def numbers(batch: Any) -> list[int] | None:
    return None if batch is None else batch["n"].tolist()


# --- files ------------------------------------------------------------------------------------------------------------


def test_given_files_then_they_are_one_batch_of_numpy_types_under_any_name_and_none_comes_twice() -> None:
    stream = StreamManager.from_source("csv", path="in", pattern="*.csv")
    assert stream.get_status()["in"] == {
        "mode": "file_watch", "is_active": False, "last_run": None, "last_watermark": None, "processed_files_count": 0,
    }  # fmt: skip
    for name in "abc":
        write(f"{name}.csv", *range(100))
    batch = stream.read_batch("sensors")
    assert (len(batch), str(batch["n"].dtype)) == (300, "int64")
    assert stream.read_batch("in") is None
    write("a.csv", *range(200))  # it was read, and that it is another one by now is told, and not read
    status = stream.get_status()["in"]
    assert (status["is_active"], status["processed_files_count"]) == (True, 3)
    assert status["last_run"].tzinfo is not None
    stream.stop()
    assert not stream.get_status()["in"]["is_active"]
    crash()
    write("late.csv", 7)
    os.utime("in/late.csv", (1, 1))
    assert numbers(files(pattern="*.csv").read_batch()) != [7]  # under another name it is another stream
    again = StreamManager.from_source("csv", path="in", pattern="*.csv")
    assert (numbers(again.read_batch()), again.read_batch()) == ([7], None)


def test_given_a_batch_that_was_not_processed_then_it_comes_again_and_what_was_processed_does_not() -> None:
    write("a.csv", *range(25))
    stream = files(batch_size=10)
    assert numbers(stream.read_batch()) == list(range(10))
    crash()
    stream = files(batch_size=10)
    assert numbers(stream.read_batch()) == list(range(10))
    assert numbers(stream.read_batch()) == list(range(10, 20))
    crash()
    stream = files(batch_size=3)
    assert numbers(stream.read_batch()) == [10, 11, 12]
    stream.commit()
    crash()
    stream = files()
    assert numbers(stream.read_batch()) == list(range(13, 25))
    stream.rollback()
    assert numbers(stream.read_batch()) == list(range(13, 25))
    opened.end()
    assert files().read_batch() is None


def test_given_a_process_that_ends_then_its_batch_is_processed_unless_an_exception_has_ended_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write("a.csv", 1, 2, 3, 4, 5)
    assert subprocess.check_output([sys.executable, "-c", SCRIPT], text=True) == "[1, 2]\n"
    assert numbers(files(batch_size=2).read_batch()) == [3, 4]
    uncaught(monkeypatch)
    opened.end()
    assert numbers(files(batch_size=2).read_batch()) == [3, 4]


def test_given_a_loop_that_an_exception_ends_then_its_batch_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.csv", 1, 2)
    stream = files(batch_size=1)
    with suppress(ZeroDivisionError):
        for _ in stream.read(max_iterations=1):
            raise ZeroDivisionError
    uncaught(monkeypatch)
    assert [numbers(batch) for batch in stream.read(max_iterations=1)] == [[1], [2]]


def uncaught(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the interpreter, or a notebook, remembers of an exception that nobody catches."""
    monkeypatch.setattr(sys, "last_value", ZeroDivisionError(), raising=False)


def test_given_a_context_then_it_commits_unless_it_fails() -> None:
    write("a.csv", 1, 2)
    with files(batch_size=1) as stream:
        stream.read_batch()
    with suppress(ZeroDivisionError), files(batch_size=1) as stream:
        assert numbers(stream.read_batch()) == [2]
        raise ZeroDivisionError
    assert numbers(files().read_batch()) == [2]


def test_given_a_file_that_cannot_be_read_then_it_is_named_and_nothing_is_lost() -> None:
    write("a.csv", 1)
    stream = files()
    assert numbers(stream.read_batch()) == [1]
    write("b.csv", 2)
    Path("in/c.csv").write_text("n\nmany\n")
    write("d.csv", 3)
    for at, name in enumerate("bcd"):
        os.utime(f"in/{name}.csv", (at, at))
    assert numbers(stream.read_batch()) == [2]
    for _ in range(2):
        with pytest.raises(ValueError, match=r"s: c\.csv line 2, column n: 'many' is not int64"):
            stream.read_batch()
    assert stream.set_aside() == ["c.csv"]
    assert numbers(stream.read_batch()) == [3]
    Path("in/e.csv").write_text("n\nfew\n")
    with pytest.raises(ValueError, match=r"e\.csv"):
        stream.read_batch()
    write("e.csv", 4)  # corrected
    while (batch := stream.read_batch()) is None:
        pass  # on a busy machine it is heard of a moment later
    assert (numbers(batch), stream.read_batch()) == ([4], None)


def test_given_large_files_then_as_many_are_read_at_once_as_go_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("odibi_actors.local.streams.session.MAX_BYTES", 10)
    for at, name in enumerate("abcd"):
        os.utime(write(f"{name}.csv", at, at), (at, at))
    assert [numbers(batch) for batch in files().read(max_iterations=1)] == [[0, 0], [1, 1], [2, 2], [3, 3]]


def test_given_a_file_that_is_gone_with_rows_to_come_then_they_are_missed_until_they_are_given_up() -> None:
    path = write("a.csv", 1, 2, 3)
    stream = files(batch_size=2)
    stream.read_batch()
    stream.commit()
    crash()
    path.unlink()
    stream = files(batch_size=2)
    with pytest.raises(ValueError, match=r"s: .*a\.csv.*; 2 of its rows are processed; put it back"):
        stream.read_batch()
    assert stream.set_aside() == ["a.csv"]
    write("b.csv", 4)
    assert numbers(stream.read_batch()) == [4]


def test_given_a_file_that_is_being_written_then_it_is_left_until_it_is_closed() -> None:
    stream = files()
    with open("in/a.csv", "w") as file:
        file.write("n\n1\n")
        file.flush()
        assert stream.read_batch() is None
        file.write("2\n")
    assert numbers(stream.read_batch()) == [1, 2]


# --- files that grow, tables ------------------------------------------------------------------------------------------


def test_given_a_file_that_grows_or_is_written_whole_then_what_is_new_comes_with_ties_and_late_rows() -> None:
    grow("n,at\n2,5\n3,5\n")
    stream = log_file(watermark_column="at")
    assert numbers(stream.read_batch("anything")) == [2, 3]
    assert stream.read_batch() is None
    grow("4,5\n5,1\n6")
    assert numbers(stream.read_batch()) == [4, 5]
    Path("log.csv").write_text("n,at\n2,5\n3,5\n4,5\n5,1\n6,10\n7,9\n")
    assert numbers(stream.read_batch()) == [6, 7]
    assert stream.read_batch() is None
    assert stream.get_status()["log"]["last_watermark"] == 10
    assert Path("artifacts/checkpoints/log_watermark.txt").read_text() == "10"
    crash()
    grow("8,11\n")
    assert numbers(log_file(watermark_column="at").read_batch()) == [8]


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("artifacts/checkpoints/log_watermark.txt", {}),
        ("artifacts/checkpoints/sensor_stream_watermark.txt", {}),
        ("artifacts/checkpoints/csv_incremental_watermark.txt", {}),
        ("mine.txt", {"watermark_file": "mine.txt"}),
    ],
)
def test_given_a_watermark_of_odibi_core_then_reading_goes_on_behind_it(name: str, given: dict[str, Any]) -> None:
    Path("artifacts/checkpoints").mkdir(parents=True)
    Path(name).write_text("2024-01-02T00:00:00")
    grow("at,n\n" + "".join(f"2024-01-0{day} 00:00:00,{day}\n" for day in (1, 3, 2, 4)))
    stream = log_file(watermark_column="at", **given)
    assert numbers(stream.read_batch("sensor_stream")) == [3, 4]
    assert stream.read_batch("sensor_stream") is None
    own = given.get("watermark_file", "artifacts/checkpoints/log_watermark.txt")
    assert Path(own).read_text() == "2024-01-04T00:00:00"
    crash()
    assert log_file(watermark_column="at", **given).read_batch("sensor_stream") is None


def test_given_a_watermark_file_that_somebody_changes_or_deletes_then_it_is_honoured_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Path("mine.txt").write_text("")  # is no watermark
    grow("n\n1\n2\n3\n")

    def stream() -> StreamManager:
        crash()
        return log_file(watermark_column="n", watermark_file="mine.txt")

    assert numbers(stream().read_batch()) == [1, 2, 3]
    opened.end()
    assert stream().read_batch() is None
    assert not caplog.records
    Path("mine.txt").write_text("1\n")
    assert numbers(stream().read_batch()) == [2, 3]
    assert "mine.txt holds '1', which was not written by this stream ('3' was)" in caplog.text
    opened.end()
    Path("mine.txt").unlink()
    assert numbers(stream().read_batch()) == [1, 2, 3]
    assert "mine.txt is gone, or empty, and this stream had written '3': everything is read again" in caplog.text
    Path("mine.txt").write_text("soon")
    with pytest.raises(ValueError, match="watermark 'soon' is no int64"):
        stream().read_batch()


def test_given_a_kill_between_the_commit_and_the_watermark_file_then_it_is_no_news(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    grow("n\n1\n")
    stream = log_file(watermark_column="n")
    stream.read_batch()
    monkeypatch.setattr("odibi_actors.local.streams.floors.Floors.show", lambda self: None)
    stream.commit()
    crash()
    assert log_file(watermark_column="n").read_batch() is None
    assert not caplog.records
    assert Path("artifacts/checkpoints/log_watermark.txt").read_text() == "1"


def test_given_a_file_that_was_replaced_then_rows_beyond_the_watermark_come_or_it_is_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    grow("n\n1\n5\n")
    stream, plain = log_file(watermark_column="n"), log_file(name="plain")
    assert numbers(stream.read_batch()) == numbers(plain.read_batch()) == [1, 5]
    Path("log.csv").write_text("n\n4\n6\n7\n")
    os.utime("log.csv", (now := time.time() + 3600, now))
    assert stream.read_batch() is None  # somebody may be writing it still
    os.utime("log.csv", (1, 1))
    assert numbers(stream.read_batch()) == [6, 7]
    assert "rows beyond watermark 5 are new" in caplog.text
    assert stream.read_batch() is None
    with pytest.raises(ValueError, match=r"plain: log\.csv was (truncated|replaced)"):
        plain.read_batch()


def test_given_a_table_then_what_is_new_of_it_comes() -> None:
    with sqlite3.connect("shop.db") as db:
        db.execute("CREATE TABLE orders (n INTEGER PRIMARY KEY, at INTEGER)")
        db.execute("INSERT INTO orders VALUES (1, 10), (2, 10)")

    def stream() -> StreamManager:
        return StreamManager.from_source("sqlite", path="shop.db", mode="incremental", watermark_column="at",
                                         table="orders", keys=["n"])  # fmt: skip

    assert numbers(stream().read_batch()) == [1, 2]
    opened.end()
    with sqlite3.connect("shop.db") as db:
        db.execute("INSERT INTO orders VALUES (3, 10), (4, 11)")
    assert numbers(stream().read_batch()) == [3, 4]


# --- interval, events -------------------------------------------------------------------------------------------------


def test_given_an_interval_then_all_comes_once_in_each(monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.csv", 1, 2)
    now = [1_000.0]
    monkeypatch.setattr("odibi_actors.local.streams.looks.time.time", lambda: now[0])
    stream = files(mode="interval", interval=60)
    assert numbers(stream.read_batch()) == [1, 2]
    assert stream.read_batch() is None
    crash()
    stream = files(mode="interval", interval=60)
    assert stream.read_batch() is None
    write("b.csv", 3)
    now[0] += 60
    assert numbers(stream.read_batch()) == [1, 2, 3]


def test_given_rows_that_are_pushed_then_they_come_once_in_their_order_with_the_types_of_the_first() -> None:
    def stream() -> StreamManager:
        crash()
        manager = StreamManager()
        manager.add_source("clicks", StreamConfig(StreamMode.EVENT))
        return manager

    one = stream()
    assert one.read_batch("clicks") is None
    assert one.push("clicks", pd.DataFrame({"n": [1, 2]}), key="first") == 2
    one = stream()
    assert one.push("clicks", [{"n": 1}, {"n": 2}], key="first") == 2
    one.push("clicks", pa.table({"n": [3]}))
    with pytest.raises(OdibiError, match="column 'm' is new"):
        one.push("clicks", [{"m": 4}])
    assert numbers(one.read_batch("clicks")) == [1, 2, 3]
    assert one.read_batch("clicks") is None
    assert stream().read_batch("clicks") is None
    with pytest.raises(ValueError, match="s has mode file_watch: rows are pushed to one of mode event"):
        files().push("s", [{"n": 1}])


def test_given_a_log_of_events_that_is_to_be_cut_then_what_is_not_processed_stays() -> None:
    desk = Desk("i", read_spec(StreamConfig("event"), Path()), SOURCE, BatchSpec(), 16)
    for message in (StoreHello("s", "h", 1, "store", 0, 0), Claimed(1, 0, "i"), LoadedPage(1, [], "", "")):
        desk.handle(STORE, message, 0)
    current = Current(1, pa.table({"n": [1]}), epoch=1)
    desk.handle(LOCAL, Note(planned(current, [], [], None, consumed=False)), 0)
    asked = {"pipeline": "stream", "source": SOURCE, "partition": "events", "place": "00"}

    def upto() -> Any:
        desk.flush(0)
        desk.handle(SOURCE_ACTOR, Request("r", "source.prune", asked), 0)
        (sent,) = desk.flush(0)
        assert isinstance(sent, Send)
        assert isinstance(sent.message, Request)
        return sent.message.params["upto"]

    assert upto() == 0
    current.done = 1
    desk.handle(LOCAL, Note(current.progress()), 0)
    assert upto() == 1
    told = Reply("r", 0, {"place": "00", "iteration": 1, "held": [], "more": False})
    (sent,) = desk.handle(STORE, told, 0)
    assert sent == Send(SOURCE_ACTOR, Reply("r", 0, {"place": "00", "held": [], "waits": "", "store_id": "store"}))


# --- engines, options -------------------------------------------------------------------------------------------------


def test_given_an_engine_then_the_batch_is_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("odibi_actors.nodes.spark.runner.missing", lambda: "no Spark; run: pip install it")
    write("a.csv", 1, 2, 3)
    stream = files(batch_size=1)
    with pytest.raises(MissingExtraError, match="pip install"):
        stream.read_batch(engine="spark")
    with pytest.raises(ValueError, match="engine: 'dask' is none of pandas, polars, arrow, spark"):
        stream.read_batch(engine="dask")
    assert isinstance(first := stream.read_batch(engine="polars"), pl.DataFrame)
    assert first["n"].to_list() == [1]
    assert stream.read_batch(engine="arrow") == pa.table({"n": [2]})
    assert isinstance(stream.read_batch(), pd.DataFrame)


def test_given_options_of_pandas_readers_then_they_mean_the_same() -> None:
    Path("in/a.csv").write_text("# made today\nx;007;1,5;2024-01-01\n-;8;2,5;2024-01-02\n", encoding="latin-1")
    stream = files(sep=";", decimal=",", skiprows=1, header=None, names=["who", "code", "price", "day"],
                   dtype={"code": str, "price": "float64"}, parse_dates=["day"], na_values="-", encoding="latin-1",
                   usecols=["who", "code", "price", "day"], low_memory=False)  # fmt: skip
    batch = stream.read_batch()
    assert batch["code"].tolist() == ["007", "8"]
    assert batch["price"].tolist() == [1.5, 2.5]
    assert batch["who"].tolist()[0] == "x"
    assert batch["who"].isna().tolist() == [False, True]
    assert batch["day"].dtype.kind == "M"


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"mode": "watch"}, "watch"),
        ({"format": "excel"}, "format: 'excel' is not installed; there are: "),
        ({"batch_size": 0}, "batch_size: 0 is not a number of rows"),
        ({"interval_seconds": -1}, "interval_seconds: -1"),
        ({"source_path": ""}, "source_path: mode file_watch reads"),
        ({"read_options": {"seperator": ";"}}, "unknown option 'seperator' of format csv"),
        ({"read_options": {"dtype": str}}, "dtype: say it column by column"),
        ({"read_options": {"dtype": {"a": "strng"}}}, "the type of 'a': 'strng'"),
        ({"read_options": {"header": None}}, r"say names=\[...\]"),
        ({"read_options": {"parse_dates": True}}, "parse_dates: name the columns"),
        ({"mode": "incremental", "format": "parquet"}, "format: mode incremental: format parquet has no lines"),
        (
            {"mode": "incremental", "format": "sqlite", "read_options": {"table": "t"}},
            "watermark_column: incremental needs",
        ),
        ({"mode": "incremental", "format": "sqlite", "watermark_column": "n"}, "say table= or query="),
        ({"format": "sqlite"}, "tables of sqlite are read by incremental"),
        ({"mode": "event", "read_options": {"sep": ";"}}, "mode event reads no files"),
    ],
)
def test_given_a_config_that_cannot_be_then_it_says_so_at_once(config: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        StreamManager().add_source("s", StreamConfig(**{"mode": "file_watch", "source_path": "in", **config}))


def test_given_names_that_cannot_be_then_they_are_refused() -> None:
    stream = files()
    for name in ("a/b", ".", ""):
        with pytest.raises(ValueError, match="is no name"):
            stream.add_source(name, StreamConfig("event"))
    with pytest.raises(ValueError, match="there is a source 's' already"):
        stream.add_source("s", StreamConfig("event"))
    stream.add_source("t", StreamConfig("event"))
    with pytest.raises(KeyError, match="there is no source 'u'; there are: s, t"):
        stream.read_batch("u")
    with pytest.raises(KeyError, match="say which source is meant"):
        stream.read_batch()


def test_given_a_watermark_column_that_is_none_then_it_is_named() -> None:
    grow("n\n1\n")
    with pytest.raises(ValueError, match="there is no column 'at'; there are: n"):
        log_file(watermark_column="at").read_batch()


# --- loops ------------------------------------------------------------------------------------------------------------


def test_given_several_sources_then_a_round_takes_all_that_is_there_of_each() -> None:
    write("a.csv", 1, 2, 3)
    grow("n\n4\n5\n")
    stream = files(batch_size=2)
    stream.add_source("log", StreamConfig("incremental", "log.csv", batch_size=2))
    batches = stream.read(max_iterations=2, sleep_seconds=0)
    assert [numbers(next(batches)) for _ in range(3)] == [[1, 2], [3], [4, 5]]
    write("b.csv", 6)
    assert [numbers(batch) for batch in batches] == [[6]]
    assert list(stream.read("log", max_iterations=3, sleep_seconds=0)) == []


def test_given_a_loop_that_waits_then_a_new_file_and_a_stop_end_that_at_once() -> None:
    stream = files()
    found: list[list[int] | None] = []
    first, second = threading.Event(), threading.Event()

    def loop() -> None:
        for batch in stream.read(sleep_seconds=600):
            found.append(numbers(batch))
            (second if first.is_set() else first).set()

    write("a.csv", 1)
    thread = threading.Thread(target=loop)
    thread.start()
    assert first.wait(60)
    write("b.csv", 2)
    assert second.wait(60)
    stream.stop()
    thread.join(60)
    assert not thread.is_alive()
    assert found == [[1], [2]]


# --- several managers -------------------------------------------------------------------------------------------------


def test_given_two_managers_then_one_of_them_has_a_source_and_the_other_is_told() -> None:
    write("a.csv", 1, 2)
    one = files(batch_size=1)
    assert numbers(one.read_batch()) == [1]
    two = files(batch_size=1)
    assert numbers(two.read_batch()) == [1]  # the first one may be at it still
    with pytest.raises(ConflictError, match="stream 's' is read by another StreamManager of this process"):
        one.read_batch()
    del one, two  # whoever is gone has ended
    assert numbers(files(batch_size=1).read_batch()) == [2]
    other = StreamManager.from_source("csv", path="in", name="other")
    assert numbers(other.read_batch()) == [1, 2]


def test_given_another_process_that_reads_it_then_that_is_said_with_the_way_out() -> None:
    stream = files()
    engine = Engine(folder_of(stream) / "stream.db")
    try:
        with pytest.raises(ConflictError, match=r"read by another process.*another name"):
            stream.read_batch()
    finally:
        engine.close()
    write("a.csv", 1)
    assert numbers(stream.read_batch()) == [1]


def folder_of(stream: StreamManager) -> Path:
    found = stream._folder("s", stream._configs["s"])
    found.mkdir(parents=True)
    return found


# --- executions -------------------------------------------------------------------------------------------------------


def test_given_an_execution_then_its_batch_is_processed_or_comes_again(caplog: pytest.LogCaptureFixture) -> None:
    dag_steps.reset()
    write("a.csv", 1, 2, 3)
    stream = files(batch_size=1)
    steps = [step("load", "add", {"data": "raw"})]
    executor = DAGExecutor(DAGBuilder(steps), create_engine_context("pandas"), Tracker(), EventEmitter(), max_retries=0)
    executor.data_map["raw"] = stream.read_batch()
    executor.execute()
    crash()
    stream = files(batch_size=1)
    dag_steps.trouble["load"] = 1
    executor.data_map["raw"] = stream.read_batch()
    assert numbers(executor.data_map["raw"]) == [2]
    with pytest.raises(RuntimeError, match="load"):
        executor.execute()
    with caplog.at_level(logging.WARNING):
        executor.data_map["raw"] = stream.read_batch()
    assert "a batch of 1 rows comes again" in caplog.text
    assert numbers(executor.data_map["raw"]) == [2]
    executor.execute()
    assert numbers(stream.read_batch()) == [3]
    dag_steps.reset()


@pytest.mark.process
def test_given_processes_killed_at_random_then_no_row_is_lost_or_doubled(folder: Path) -> None:
    assert "4 killed" in kill(folder, 4, 1)


@pytest.mark.soak
@pytest.mark.process
@pytest.mark.timeout(1800)
def test_given_two_hundred_killed_processes_then_no_row_is_lost_or_doubled(folder: Path) -> None:
    assert "200 killed" in kill(folder, 200, 2)


def kill(folder: Path, kills: int, seed: int) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.local.stream_process", str(folder / "kills"), str(kills), str(seed)],
        cwd=Path(__file__).parent.parent.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
