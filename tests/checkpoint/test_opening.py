"""What cannot be read or verified is a named error, never a new start."""

from __future__ import annotations

import gc
import os
import re
import resource
import shutil
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from odibi_actors.checkpoint import opening, schema, seals, wal
from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.checkpoint.seals import Seals
from odibi_actors.errors import ConflictError, StoreError
from odibi_actors.messages import Claimed, ClaimRefused
from tests.checkpoint.former import TO_1, downgrade
from tests.checkpoint.make import P, ack, claimed, committed, error, loaded, numbered, plan, put, version
from tests.synced import Disk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with 200 records, closed."""
    path = tmp_path / "checkpoints.db"
    engine = claimed(path)
    put(engine, *(numbered(seq) for seq in range(1, 201)))
    engine.close()
    return path


def crashed(path: Path, to: Path) -> Path:
    """A copy of database, log and seals as they are while a store runs: what a crash leaves."""
    to.mkdir()
    for name in (path.name, path.name + "-wal", path.name + "-seals"):
        shutil.copy(path.with_name(name), to / name)
    return to / path.name


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_given_no_file_that_may_be_opened_when_closed_then_the_log_is_sealed_all_the_same(tmp_path: Path) -> None:
    engine = claimed(tmp_path / "checkpoints.db")
    put(engine, *(numbered(seq) for seq in range(1, 21)))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64 + max(map(int, os.listdir("/proc/self/fd"))), hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            held.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(1000))
        engine.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for one in held:
            os.close(one)
    again = Engine(tmp_path / "checkpoints.db")
    assert again.last_seq == 20
    again.close()


def test_given_a_new_data_dir_when_opened_then_identity_and_epoch_are_kept_from_then_on(tmp_path: Path) -> None:
    first = Engine(tmp_path / "new" / "checkpoints.db")
    assert len(first.store_id) == 32
    assert first.claim(0, "a") == Claimed(1, 0, "a")
    put(first, version())
    first.close()
    second = Engine(tmp_path / "new" / "checkpoints.db")
    assert (second.store_id, second.epoch, second.last_seq) == (first.store_id, 1, 1)
    assert second.claim(0, "a") == Claimed(1, 0, "a")
    second.close()


def test_given_a_new_database_when_made_then_it_is_synced_before_it_has_its_name_and_the_name_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    Engine(tmp_path / "checkpoints.db").close()
    disk.check(tmp_path / "checkpoints.db")


def test_given_an_open_database_then_every_commit_is_synced_and_no_other_process_may_write(path: Path) -> None:
    engine = Engine(path)
    asked = {name: engine._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "locking_mode")}
    assert asked == {"synchronous": 2, "locking_mode": "exclusive"}  # 2: FULL, the log is synced at each commit
    engine.close()


def test_given_a_claimed_epoch_when_claimed_again_then_only_its_claimant_gets_the_same_answer() -> None:
    engine = Engine(":memory:")
    assert engine.claim(0, "a") == Claimed(1, 0, "a")
    put(engine, version())
    assert engine.claim(0, "a") == Claimed(1, 0, "a")
    assert engine.claim(0, "b") == ClaimRefused(1, "b")
    assert engine.claim(1, "b") == Claimed(2, 1, "b")
    assert engine.claim(0, "a") == ClaimRefused(2, "a")
    assert engine.claim(5, "a") == ClaimRefused(2, "a")


def test_given_this_process_holds_it_when_opened_again_then_it_is_refused(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "checkpoints.db")
    with pytest.raises(ConflictError, match=f"process {os.getpid()}"):
        Engine(tmp_path / "checkpoints.db")
    engine.close()


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\0" * 8192])
def test_given_a_file_that_is_no_database_when_opened_then_it_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoints.db"
    path.write_bytes(content)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"checkpoints\.db is (empty|not a SQLite)"):
            Engine(path)
    assert path.read_bytes() == content


def test_given_a_log_without_its_database_when_opened_then_it_is_refused(path: Path) -> None:
    path.with_name("checkpoints.db-wal").write_bytes(b"x" * 5000)
    path.unlink()
    with pytest.raises(StoreError, match=r"is missing, but its log checkpoints\.db-wal is there"):
        Engine(path)
    path.touch()
    with pytest.raises(StoreError, match="is empty"):
        Engine(path)


def test_given_somebody_elses_database_when_opened_then_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE t (a)")
    db.close()
    with pytest.raises(StoreError, match="not a checkpoint database"):
        Engine(path)


def test_given_a_newer_format_when_opened_then_the_error_says_upgrade(path: Path) -> None:
    overwrite(path, 60, struct.pack(">I", 99))
    with pytest.raises(StoreError, match=r"format 99.*upgrade"):
        Engine(path)


@pytest.mark.parametrize("offset", [0, 17, 21, 68, 100, 105])
def test_given_a_damaged_header_when_opened_then_it_is_refused_by_name(path: Path, offset: int) -> None:
    overwrite(path, offset, bytes([path.read_bytes()[offset] ^ 0xFF]))
    with pytest.raises(StoreError, match=r"checkpoints\.db"):
        Engine(path)


def test_given_any_page_overwritten_when_opened_then_it_is_refused_by_name(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    for page in range(1, len(whole) // 4096):
        overwrite(path, page * 4096, b"\xff" * 64)
        with pytest.raises(StoreError, match=r"checkpoints\.db"):
            Engine(path)
        path.write_bytes(whole)
    Engine(path).close()


def test_given_a_lost_row_of_identity_when_opened_then_it_is_refused(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("DELETE FROM meta")
    db.commit()
    db.close()
    with pytest.raises(StoreError, match=r"page \d+ is not as it was written.*checkpoint reseal"):
        Engine(path)
    with pytest.raises(StoreError, match="identity"):
        opening.reseal(path)


def test_given_a_flipped_bit_in_a_payload_when_loaded_then_it_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.db"
    engine = claimed(path)
    put(engine, version(), plan(1, "a.csv"), ack(1, "clean"))
    engine.close()
    at = path.read_bytes().index(b"k" * 32)
    overwrite(path, at, b"j")
    with pytest.raises(StoreError, match="is not as it was written"):
        Engine(path)
    opening.reseal(path)  # the seal of the payload is the second line
    engine = Engine(path)
    with pytest.raises(StoreError, match="the ack of clean of delays iteration 1 does not match its digest"):
        engine.load()
    engine.close()


def test_given_a_crash_when_a_byte_in_the_middle_of_the_log_rots_then_it_is_refused_each_time(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.db"
    engine = claimed(path)
    for seq in range(1, 21):
        put(engine, numbered(seq))
    wal = path.with_name("checkpoints.db-wal")
    size = wal.stat().st_size
    for case, offset in enumerate((0, 5, 20, 40, 50, 60, 3000, size // 2, size // 2 + 4136)):
        copy = crashed(path, tmp_path / str(case))
        log = copy.with_name(wal.name)
        overwrite(log, offset, bytes([log.read_bytes()[offset] ^ 0xFF]))
        for _ in range(2):
            with pytest.raises(StoreError, match=r"checkpoints\.db-wal is damaged"):
                Engine(copy)
    whole = Engine(crashed(path, tmp_path / "whole"))
    assert whole.last_seq == 20
    whole.close()
    engine.close()


def test_given_a_power_cut_when_the_tail_of_the_log_is_torn_then_only_what_was_not_durable_is_gone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "checkpoints.db"
    engine = claimed(path)
    for seq in range(1, 20):
        put(engine, numbered(seq))
    before = path.with_name("checkpoints.db-seals").read_bytes()  # the mark is not synced, and follows the log
    put(engine, numbered(20))
    log_name = "checkpoints.db-wal"
    for cut in (1, 3000, 4120, 4121):
        copy = crashed(path, tmp_path / str(cut))
        copy.with_name("checkpoints.db-seals").write_bytes(before)
        log = copy.with_name(log_name)
        os.truncate(log, log.stat().st_size - cut)
        torn = Engine(copy)
        assert torn.last_seq == 19
        put(torn, numbered(20))
        torn.close()
    copy = crashed(path, tmp_path / "hole")  # the sector of its end was written, one before it was not
    copy.with_name("checkpoints.db-seals").write_bytes(before)
    log = copy.with_name(log_name)
    overwrite(log, log.stat().st_size - 2 * 4120 + 100, b"\xff" * 512)
    torn = Engine(copy)
    assert torn.last_seq == 19
    torn.close()
    engine.close()


def test_given_a_crash_when_what_was_reported_durable_is_not_in_the_log_then_it_is_refused_each_time(
    tmp_path: Path,
) -> None:
    path = tmp_path / "checkpoints.db"
    engine = claimed(path)
    for seq in range(1, 21):
        put(engine, numbered(seq))
    size = path.with_name("checkpoints.db-wal").stat().st_size
    for cut in (1, 4120, size - 5000, size - 40, size):
        copy = crashed(path, tmp_path / str(cut))
        log = copy.with_name("checkpoints.db-wal")
        os.truncate(log, size - cut)
        for _ in range(2):
            with pytest.raises(StoreError, match=r"record 20 of epoch 1 was reported durable.*checkpoints\.db-wal"):
                Engine(copy)
        kept = log.with_name("checkpoints.db-wal.damaged")
        assert (kept.stat().st_size if kept.exists() else 0) == (size - cut if size - cut >= 56 else 0)
    copy = crashed(path, tmp_path / "gone")
    copy.with_name("checkpoints.db-wal").unlink()
    with pytest.raises(StoreError, match="reported durable"):
        Engine(copy)
    copy = crashed(path, tmp_path / "all")
    copy.with_name("checkpoints.db-wal").unlink()
    copy.unlink()
    with pytest.raises(StoreError, match=r"is missing, but its seals checkpoints\.db-seals are there"):
        Engine(copy)
    engine.close()


def test_given_a_crash_while_the_log_is_copied_when_opened_then_every_page_is_in_the_log_or_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is begun again after the copy; what a power cut takes then are the seals that were not synced."""
    path = tmp_path / "checkpoints.db"
    engine = claimed(path)
    put(engine, *(numbered(seq) for seq in range(1, 30)))
    copies: list[Path] = []

    def look(name: str) -> None:
        if name.startswith("store.seal"):
            copies.append(crashed(path, tmp_path / f"{name}-{len(copies)}"))

    monkeypatch.setattr(seals, "failpoint", look)
    engine.checkpoint()
    monkeypatch.undo()
    assert [copy.parent.name for copy in copies] == ["store.seal-0", "store.sealed-1"]
    assert copies[1].read_bytes() != path.read_bytes()  # sealed before the pages changed
    for copy in (*copies, crashed(path, tmp_path / "after")):
        again = Engine(copy)
        assert loaded(again) == loaded(engine)
        again.close()
    engine.close()


def test_given_a_log_that_was_reused_when_it_crashes_then_older_frames_beyond_its_end_are_no_damage(
    tmp_path: Path,
) -> None:
    path = tmp_path / "checkpoints.db"
    engine = claimed(path)
    for seq in range(1, 41):
        put(engine, numbered(seq))
    engine.checkpoint()
    for seq in range(41, 45):
        put(engine, numbered(seq))
    copy = Engine(crashed(path, tmp_path / "copy"))
    assert copy.last_seq == 44
    assert loaded(copy) == loaded(engine)
    copy.close()
    engine.close()


def test_given_lost_seals_when_opened_then_it_is_refused_until_they_are_made_again(path: Path) -> None:
    before = Engine(path)
    dump = loaded(before)
    before.close()
    path.with_name("checkpoints.db-seals").unlink()
    with pytest.raises(StoreError, match=r"checkpoints\.db-seals is missing.*checkpoint reseal"):
        Engine(path)
    opening.reseal(path)
    after = Engine(path)
    assert loaded(after) == dump
    after.close()


def test_given_a_database_without_seals_of_format_1_when_opened_then_it_gets_them_and_our_tables(
    tmp_path: Path,
) -> None:
    path = tmp_path / "checkpoints.db"
    before = claimed()
    put(before, version(), r.Run("r", P, "trigger", 1.0))
    for number in range(1, 41):
        put(before, *committed(number, f"{number}.csv"))
    downgrade(before, path, TO_1)
    path.with_name("checkpoints.db-seals").unlink()
    for _ in range(2):
        engine = Engine(path)
        assert engine.last_seq == 202
        assert engine.answer("checkpoint.stats", {})["format"] == schema.FORMAT
        assert loaded(engine) == loaded(before)
        engine.close()
    path.with_name("checkpoints.db-seals").unlink()
    with pytest.raises(StoreError, match="is missing"):
        Engine(path)


def test_given_a_database_of_format_2_when_opened_then_all_it_held_is_there_and_what_is_new_works(
    tmp_path: Path,
) -> None:
    path = tmp_path / "checkpoints.db"
    before = claimed()
    put(before, version(), r.Run("late", P, "trigger", 1.0), r.Run("early", P, "data", 0.5))
    put(before, *committed(1, "a.csv"), plan(2, "b.csv", run="late"), plan(3, "c.csv", run="late"))
    put(before, r.Cancel(P, [3], 2.0), r.RunEnd("early", P, "done", 3.0), plan(4, "d.csv"), error(4))
    downgrade(before, path)
    engine = Engine(path)
    runs = [item for item in loaded(engine) if isinstance(item, r.LoadedRun)]
    assert runs == [
        r.LoadedRun(r.Run("early", P, "data", 0.5), 0, "done"),
        r.LoadedRun(r.Run("late", P, "trigger", 1.0), 2, "active", "", 1),
    ]
    assert [item for item in loaded(engine) if not isinstance(item, r.LoadedRun)] == [
        item for item in loaded(before) if not isinstance(item, r.LoadedRun)
    ]
    made, fresh = (sorted(row) for row in (dump_schema(engine), dump_schema(before)))
    assert made == fresh
    put(engine, r.RunEnd("late", P, "cancelled", 4.0), r.Run("next", P, "trigger", 5.0))
    assert [row["run"] for row in runs_of(engine)] == ["next", "late", "early"]
    engine.close()
    Engine(path).close()


def dump_schema(engine: Engine) -> list[tuple[str, str]]:
    """The statements that make the tables, without comments and quotes, as ALTER TABLE leaves others."""
    found = engine._db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return [(name, re.sub(r"--[^\n]*|\s+|\"", " ", sql)) for name, sql in found]


def runs_of(engine: Engine) -> list[dict[str, object]]:
    items = engine.answer("run.list", {"pipeline": P})["items"]
    assert isinstance(items, list)
    return items


def test_given_a_store_that_was_never_closed_when_it_is_collected_then_its_seals_hold(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.db"
    engine = claimed(path)
    put(engine, numbered(1))
    engine.checkpoint()
    put(engine, numbered(2))
    os.close(engine._lock or 0)
    del engine
    gc.collect()
    again = Engine(path)
    assert again.last_seq == 2
    again.close()


def test_given_a_full_disk_when_written_then_it_stops_for_good_and_a_new_start_has_the_prefix(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.db"
    engine = claimed(path)
    put(engine, version(), plan(1, "a.csv"))
    (pages,) = engine._db.execute("PRAGMA page_count").fetchone()
    engine._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="full"):
        put(engine, ack(1, data=bytes(100_000)))
    assert engine.broken
    assert engine.last_seq == 2
    with pytest.raises(StoreError, match="cannot be used any more"):
        put(engine, ack(1))
    with pytest.raises(StoreError, match="cannot be used any more"):
        engine.load()
    engine.close()
    again = Engine(path)
    assert again.last_seq == 2
    put(again, ack(1))
    assert again.answer("node.list", {"pipeline": P, "iteration": 1})["items"][0]["state"] == "acked"
    again.close()


def test_given_a_crash_while_it_was_made_when_opened_then_it_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "checkpoints.db.new").write_bytes(b"half")
    engine = Engine(tmp_path / "checkpoints.db")
    engine.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoints.db", "checkpoints.db-seals", "run"]
    assert (tmp_path / "checkpoints.db").stat().st_mode & 0o777 == 0o600


def test_given_a_commit_whose_sync_failed_when_the_log_is_copied_without_it_then_the_next_start_finds_no_damage(
    tmp_path: Path,
) -> None:
    path = tmp_path / "checkpoints.db"
    engine = claimed(path)
    for seq in range(1, 40):
        put(engine, numbered(seq))
    engine.checkpoint()
    before = path.read_bytes()
    for seq in range(40, 400):
        put(engine, numbered(seq))
    sealed = engine._files.seals
    assert sealed is not None
    log = wal.read(path.with_name("checkpoints.db-wal"), verify=False)
    # The log as we read it holds a transaction that SQLite, after the error, never copies.
    sealed.seal(log)
    assert list(sealed.damaged(1, sealed.pages))
    assert path.read_bytes() == before
    sealed.settle(log)
    assert sealed.pages == len(before) // sealed.page_size
    assert not list(sealed.damaged(1, sealed.pages))
    again = Seals(path)
    assert (again.pages, list(again.damaged(1, again.pages))) == (sealed.pages, [])
    again.close()


def test_given_a_database_of_more_than_a_gigabyte_then_the_page_that_sqlite_never_writes_is_no_damage(
    tmp_path: Path,
) -> None:
    path = tmp_path / "checkpoints.db"
    engine = claimed(path)
    engine.close()
    page = seals.LOCK_BYTE // 4096 + 1
    content = b"x" * 4096
    with path.open("r+b") as file:  # as SQLite leaves it: all but that one page have content, here a few of them
        file.truncate((page + 1) * 4096)
        file.seek(page * 4096)
        file.write(content)
    sealed = Seals(path)
    sealed.seal(wal.Log(content, (1, 1), 1, 4096, {page + 1: 0}, page + 1))
    assert list(sealed.damaged(page, page + 1)) == []
    with path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(b"y")
    assert list(sealed.damaged(page, page + 1)) == [page + 1]
    sealed.close()


def test_given_a_database_that_another_program_has_locked_then_it_says_who_and_nothing_of_backups(path: Path) -> None:
    script = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('begin exclusive'); print(1, flush=True)"
    )
    argv = [sys.executable, "-c", f"{script}; sys.stdin.read()", str(path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(StoreError) as told:
            Engine(path)
        other.communicate()
    assert f"{path} is locked by pid {other.pid} (python" in str(told.value)
    assert "once the lock is released `odibictl up` goes on by itself" in str(told.value)
    assert "backup" not in str(told.value)
    Engine(path).close()


def test_given_a_full_disk_at_the_start_then_it_says_so_and_nothing_of_backups(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(db: sqlite3.Connection) -> None:
        db.execute(f"pragma max_page_count = {db.execute('pragma page_count').fetchone()[0]}")
        db.execute("create table more as select hex(randomblob(500000))")  # as SQLite says it of a disk

    monkeypatch.setattr(opening, "upgrade", full)
    with pytest.raises(StoreError) as told:
        Engine(path)
    assert str(told.value).startswith(
        f"{path}: database or disk is full: the disk is full; once there is space `odibictl up`"
    )
    assert str(told.value).endswith(" free)")
    assert "backup" not in str(told.value)
