"""Files that were read before and are not as they were: copied, touched, or changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from odibi_actors.actor import Send
from odibi_actors.batches.files import digest_bytes
from odibi_actors.messages import BROKER, LOCAL, LOOKED_UP, STORE, Discover, LedgerLook, LedgerRows, Reply, Request
from odibi_actors.model import Position
from odibi_actors.sources.file_position import file_position, file_times
from odibi_actors.streaming import changes
from odibi_actors.streaming.changes import FAILED, LONGER, NEW_NAME
from odibi_actors.streaming.effects import Digest, FileEvent
from tests.streaming.harness import System, source_spec
from tests.streaming.world import KEY, World

FAILED_11 = FAILED.format("p", 11)


def after_reading(*names: str, credit: int = 3, page: int = 3) -> World:
    """A world in which these files are planned and read, durably."""
    world = World(source_spec("/data", credit=credit), page=page)
    world.work()
    for name in names:
        world.create(name, age=100.0)
    world.work()
    while world.pending:
        world.plan(len(world.pending))
        world.work()
    world.sync()
    world.has_read(*names)
    assert {name for _, planned in world.planned for name in planned} == set(names)
    return world


def rescans(world: World, count: int = 3) -> int:
    """Let so many scans pass; returns how many files were digested meanwhile."""
    digested = 0
    for _ in range(count * 44):
        world.advance(0.25)
        while world.orders:
            order = world.orders[0]
            digested += len(order.files) if isinstance(order, Digest) else 0
            world.work(1)
    return digested


def until_digested(world: World) -> None:
    """Until the file is to be digested."""
    while not any(isinstance(order, Digest) for order in world.orders):
        if world.orders:
            world.work(1)
        else:
            world.advance(0.3)


def why(world: World, name: str) -> tuple[str, str]:
    world.give("client", Request("1", "source.why", {"file": name}))
    reply = next(m for m in reversed(world.sent) if isinstance(m, Reply))
    (item,) = reply.result["items"]
    return item["state"], item["reason"]


def test_given_files_that_were_copied_over_themselves_when_seen_then_each_is_digested_once_in_silence() -> None:
    world = after_reading("a.csv", "b.csv")
    world.replace("a.csv", lost=True)
    world.replace("b.csv", lost=True)
    assert rescans(world) == 2
    assert world.problems == []
    same = [position for message in world.same for position in message.positions]
    assert [(p.identity, p.digest, p.generation) for p in same] == [
        (name, world.read[name], 1) for name in ("a.csv", "b.csv")
    ]
    assert [tuple(file_times(p.detail)) for p in same] == [
        (e.mtime_ns, e.inode, e.ctime_ns) for e in world.files.values()
    ]
    world.meet()  # the ledger is read again: it knows them as they are
    assert rescans(world) == 0
    assert why(world, "a.csv") == ("planned", "planned in iteration 11")


def test_given_a_file_with_other_bytes_of_the_same_size_when_seen_then_it_is_digested_once_and_told_once() -> None:
    world = after_reading("a.csv", "b.csv")
    world.replace("a.csv", 1)
    assert rescans(world) == 1
    told = f"file a.csv changed after it was read (iteration 11), with the same size; {NEW_NAME}; {FAILED_11}"
    assert world.problems == [[told]]
    assert world.same == []
    assert why(world, "a.csv") == ("changed", told)
    world.replace("a.csv", 0)  # what was read is put back
    assert rescans(world) == 1
    assert world.problems[-1] == []


def test_given_several_changed_files_when_told_then_it_is_one_line_with_their_number() -> None:
    world = after_reading("a.csv", "b.csv", "c.csv", "d.csv", "e.csv")
    for name in "abcd":
        world.replace(f"{name}.csv", 1, lost=True)
    world.replace("e.csv", lost=True)
    rescans(world)
    assert world.problems == [
        [
            "4 files changed after they were read: a.csv, b.csv, c.csv and 1 more; those with new data "
            "are read under a new name (`odibictl source files p.files` lists them)"
        ]
    ]


@pytest.mark.parametrize("content", [0, 1])
def test_given_only_another_ctime_when_seen_then_the_bytes_decide(content: int) -> None:
    world = after_reading("a.csv")
    world.replace("a.csv", content, ctime=True)
    assert rescans(world) == 1
    assert len(world.problems) == content
    assert len(world.same) == 1 - content


def test_given_a_file_read_before_digests_were_kept_when_it_is_written_again_then_that_is_all_that_is_said() -> None:
    world = after_reading("a.csv", "b.csv", "c.csv")
    del world.read["a.csv"]
    world.replace("a.csv")
    assert rescans(world) == 0
    (told,) = world.problems[-1]
    assert told == (
        "file a.csv was written again after it was read (iteration 11), with the same size; whether its bytes are "
        f"others is not known, no digest of it is kept: {NEW_NAME}"
    )
    world.replace("b.csv", 1)
    rescans(world)
    assert world.problems[-1] == [
        "2 files were written again after they were read: a.csv, b.csv; those with new data "
        "are read under a new name (of 1 it is not "
        "known whether the bytes are others: no digest was kept) (`odibictl source files p.files` lists them)"
    ]
    del world.read["c.csv"]
    world.replace("c.csv", ctime=True)  # other permissions, say: of that former releases said nothing
    rescans(world)
    assert len(world.problems) == 2


@pytest.mark.parametrize("held", ["unread", "letters"])
def test_given_a_file_that_was_not_read_or_set_aside_when_it_is_another_then_the_source_says_nothing(held: str) -> None:
    world = after_reading("a.csv")
    del world.read["a.csv"]
    if held == "letters":
        world.letters["a.csv"] = "letter"
    else:
        world.unread.append("a.csv")
    world.replace("a.csv", 1, size=7)  # mended, say: the replay reads it
    assert rescans(world) == 0
    assert world.problems == []
    getattr(world, held).clear()
    rescans(world)
    assert "changed after it was read" in world.problems[-1][0]


def test_given_a_file_whose_letter_was_discarded_when_it_is_another_then_that_is_told_with_what_helps() -> None:
    world = after_reading("a.csv", "b.csv")
    del world.read["a.csv"]
    world.letters["a.csv"] = "letter"
    world.replace("a.csv", 1, size=7)
    rescans(world)
    assert world.problems == []
    world.letters["a.csv"] = "discarded"
    rescans(world)
    told = f"file a.csv changed after it was set aside (iteration 11) and its dead letter discarded; {NEW_NAME}{LONGER}"
    assert world.problems == [[told]]
    assert why(world, "a.csv") == ("changed", told)
    world.replace("b.csv", 1)
    rescans(world)
    assert world.problems[-1] == [
        "2 files changed after they were read or discarded: a.csv, b.csv; those with new data are "
        "read under a new name (`odibictl source files p.files` lists them)"
    ]


def test_given_a_file_that_changes_while_it_is_compared_when_it_rests_then_it_is_compared_as_it_is_then() -> None:
    world = after_reading("a.csv")
    world.replace("a.csv")
    until_digested(world)
    assert why(world, "a.csv") == (
        "planned",
        "planned in iteration 11; it has other times than when it was read: its bytes are being compared",
    )
    world.replace("a.csv", 1)
    world.work()
    rescans(world)
    assert len(world.problems[-1]) == 1
    assert world.same == []


def test_given_a_file_that_is_released_while_it_is_compared_when_it_is_then_it_is_offered_again() -> None:
    world = after_reading("a.csv")
    world.replace("a.csv")
    until_digested(world)
    world.cancel()
    world.sync()
    digest = next(order for order in world.orders if isinstance(order, Digest))
    world.orders.remove(digest)
    world.work()
    world.orders.append(digest)
    rescans(world)
    assert world.same == []
    assert world.names == ["a.csv"]
    assert world.problems == []


def test_given_more_files_than_a_lookup_takes_when_all_were_touched_then_they_come_in_turn() -> None:
    names = [f"{number:04}.csv" for number in range(2 * LOOKED_UP + 7)]
    world = after_reading(*names, credit=10_000, page=10_000)
    for name in names:
        world.replace(name, lost=True)
    assert rescans(world) == len(names)
    assert world.problems == []
    looks = [m for m in world.sent if isinstance(m, LedgerLook)]
    assert [len(look.identities) for look in looks] == [LOOKED_UP, LOOKED_UP, 7]
    assert sum(len(same.positions) for same in world.same) == len(names)


def test_given_many_changed_files_when_they_are_compared_in_rounds_then_the_first_and_the_last_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(changes, "LOOKED_UP", 50)
    names = [f"{number:04}.csv" for number in range(3 * 50)]
    world = after_reading(*names, credit=10_000, page=10_000)
    for name in names:
        world.replace(name, 1, lost=True)
    rescans(world)
    assert [text.split(" files ")[0] for (text,) in world.problems] == ["50", "150"]


def test_given_a_round_that_took_long_when_it_is_done_then_the_next_waits_nine_times_as_long() -> None:
    world = after_reading("a.csv", "b.csv")
    world.replace("a.csv")
    until_digested(world)
    world.now += 4.0  # so long the bytes took
    world.work()
    world.replace("b.csv")
    world.work()
    assert rescans(world, 3) == 0
    assert rescans(world, 1) == 1
    assert world.problems == []


def test_given_a_store_that_is_silent_or_behind_when_a_file_was_copied_then_it_is_asked_again() -> None:
    world = after_reading("a.csv")
    world.replace("a.csv")
    world.work(1)  # the stat: the lookup follows
    world.advance(0.3)
    asked = [m for m in world.sent if isinstance(m, LedgerLook)]
    assert len(asked) == 1
    world.orders = [o for o in world.orders if getattr(getattr(o, "message", None), "number", 0) != asked[0].number]
    world.give(STORE, LedgerRows("p", "files", "live", asked[0].number, [], world.durable_seq - 1))
    world.advance(2.5)
    assert len([m for m in world.sent if isinstance(m, LedgerLook)]) == 2
    rescans(world)
    assert world.problems == []
    assert len(world.same) == 1


def unanswered(world: World) -> list[LedgerLook]:
    """The lookups that are on their way to the store, taken from there."""
    looks = [o for o in world.orders if isinstance(o, Send) and isinstance(o.message, LedgerLook)]
    world.orders = [o for o in world.orders if o not in looks]
    return [o.message for o in looks if isinstance(o.message, LedgerLook)]


def test_given_a_store_that_was_away_for_long_when_it_has_answered_then_the_next_round_does_not_wait_for_that() -> None:
    world = after_reading("a.csv", "b.csv")
    world.replace("a.csv")
    world.work(1)  # the stat: the lookup follows
    asked = []
    while len(asked) < 5:
        world.advance(0.5)
        asked += unanswered(world)
    world.advance(2.5)  # the store is back, and answers
    until_digested(world)
    world.work()
    assert len(world.same) == 1
    world.replace("b.csv")
    assert rescans(world, 1) == 1
    assert len(world.same) == 2


def test_given_a_store_that_takes_longer_than_the_source_waits_when_it_answers_then_that_is_the_answer() -> None:
    world = after_reading("a.csv")
    world.replace("a.csv")
    world.work(1)
    world.advance(0.3)
    (first,) = unanswered(world)
    world.advance(2.5)
    assert len(unanswered(world)) == 1
    world.orders.append(Send(STORE, first))
    world.work()  # at this very moment
    assert len(world.same) == 1


def test_given_a_run_when_files_are_being_compared_then_it_ends_when_that_is_known_or_has_taken_long() -> None:
    for answered in (True, False):
        world = after_reading("a.csv")
        world.spec = source_spec("/data", credit=3, idle=True)
        world.meet()
        world.work()
        world.files["a.csv"].mtime_ns += 1
        world.files["a.csv"].content = 1
        world.give(BROKER, Discover(world.epoch, "p", "r1", "live"))
        until_digested(world)
        digest = world.orders.pop()
        assert isinstance(digest, Digest)
        assert not [o for o in world.offers if o.run == "r1" and o.exhausted]
        if answered:
            world.orders.append(digest)
            world.work()
            assert "changed after it was read" in world.problems[-1][0]
        else:
            world.advance(16.0)
            world.work()
        assert world.offers[-1].exhausted


# --- with real files ----------------------------------------------------------------------------------------------


def of(path: Path) -> Position:
    seen = path.stat()
    return file_position(path.name, seen.st_size, seen.st_mtime_ns, seen.st_ino, ctime_ns=seen.st_ctime_ns)


def test_given_a_folder_that_is_copied_when_a_source_begins_there_then_it_knows_all_files_and_says_nothing(
    tmp_path: Path,
) -> None:
    first = tmp_path / "first"
    first.mkdir()
    for number in range(48):
        (first / f"f{number:02}.csv").write_text(f"a\n{number}\n")
    ledger = [of(path) for path in sorted(first.iterdir())]
    second = tmp_path / "second"
    shutil.copytree(first, second, copy_function=shutil.copy)  # as cp -r: other times, other inodes
    (second / "f07.csv").write_text("a\nX\n")
    system = System(source_spec(second), ledger=ledger)
    try:
        system.read = {p.identity: digest_bytes((first / p.identity).read_bytes()) for p in ledger}
        system.until(lambda: bool(system.same and system.problems), "the comparison")
        told = f"file f07.csv changed after it was read (iteration 11), with the same size; {NEW_NAME}; {FAILED_11}"
        assert [one.problems for one in system.problems] == [[told]]
        assert len(system.same[0].positions) == 47
        os.utime(second / "f01.csv")  # touch
        os.chmod(second / "f02.csv", 0o600)
        os.link(second / "f03.csv", tmp_path / "another-name.csv")
        system.give((LOCAL, FileEvent(KEY, "f02.csv", "modified")), (LOCAL, FileEvent(KEY, "f03.csv", "modified")))
        system.until(lambda: sum(len(same.positions) for same in system.same) == 50, "three more that are the same")
        assert len(system.problems) == 1
    finally:
        system.close()


@pytest.mark.parametrize("size", [0, 77], ids=["the same size", "another size"])
def test_given_a_file_of_a_failed_iteration_when_it_is_written_again_then_the_retry_that_reads_it_is_named(
    size: int,
) -> None:
    world = after_reading("a.csv", "b.csv")
    world.failed = True
    world.replace("a.csv", 1, size=size)
    rescans(world)
    (told,) = world.problems[-1]
    assert told.endswith("that has failed; `odibictl iteration retry p 11` reads it as it is now")
    assert NEW_NAME not in told


def test_given_a_file_of_a_committed_iteration_when_it_grows_then_no_retry_is_named_and_what_reads_its_rows_is() -> (
    None
):
    world = after_reading("a.csv", "b.csv")
    world.committed = True
    world.replace("a.csv", 1, size=77)
    rescans(world)
    (told,) = world.problems[-1]
    assert told == f"file a.csv changed after it was read (iteration 11); {NEW_NAME}{LONGER}"
    assert told.endswith("in another pipeline, into targets of its own")


def test_given_a_file_that_could_not_be_read_when_it_is_corrected_then_the_retry_is_named() -> None:
    world = after_reading("a.csv", "b.csv")
    world.failed, world.unread = True, ["a.csv"]
    world.replace("a.csv", 1)
    rescans(world)
    retry = "`odibictl iteration retry p 11` reads it as it is now"
    assert world.problems[-1] == [f"file a.csv was written again since iteration 11 failed; {retry}"]
