"""The source actor on real files, with real events."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import xxhash

from odibi_actors.actor import Log
from odibi_actors.batches.files import digest_bytes
from odibi_actors.cli.source import _listed
from odibi_actors.messages import BROKER, LOCAL, Discover, Sources, SourceSpec
from odibi_actors.model import Position
from odibi_actors.sources.file_position import file_position
from odibi_actors.streaming import leases, watcher
from odibi_actors.streaming import scan as scan_module
from odibi_actors.streaming import source as source_module
from odibi_actors.streaming.changes import FAILED, LONGER, NEW_NAME
from odibi_actors.streaming.effects import Overflow, Scan, Stated
from odibi_actors.streaming.views import row, show, why
from tests.streaming.harness import System, source_spec

Start = Callable[..., System]


FAILED_11 = FAILED.format("p", 11)


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts systems, waits for their first offer, and closes them."""
    systems: list[System] = []

    def begin(*specs: SourceSpec, **options: object) -> System:
        system = System(*specs, **options)  # type: ignore[arg-type]
        systems.append(system)
        system.until(lambda: bool(system.offers), "a first offer")
        return system

    yield begin
    for system in systems:
        system.close()


def position(path: Path, base: Path) -> Position:
    seen = path.stat()
    name = str(path.relative_to(base))
    return file_position(name, seen.st_size, seen.st_mtime_ns, seen.st_ino, ctime_ns=seen.st_ctime_ns)


def test_given_a_slow_writer_when_it_pauses_beyond_settle_then_its_file_is_offered_only_after_the_close(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "RESCAN", 0.02)  # scans see the unfinished file again and again
    system = start(source_spec(tmp_path, settle=0.01))
    with (tmp_path / "slow.csv").open("w") as file:
        for round_ in range(3):
            file.write("a,b\n")
            file.flush()
            os.utime(tmp_path / "slow.csv", (1, 1))  # not even an mtime long ago makes it look finished
            before = system.count(Scan)
            system.until(lambda seen=before: system.count(Scan) > seen + 5, "several scans")
            (tmp_path / f"quick{round_}.csv").write_text("x")
            system.until(lambda r=round_: f"quick{r}.csv" in system.names, "the quick file")
            assert "slow.csv" not in system.names
    system.until(lambda: position(tmp_path / "slow.csv", tmp_path) in system.offers[-1].positions, "the slow file")


def test_given_a_long_settle_when_a_file_is_moved_in_then_it_is_offered_at_once(tmp_path: Path, start: Start) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    system = start(source_spec(tmp_path, path="inbox", settle=3600.0))
    (tmp_path / "made.csv").write_text("x")
    os.rename(tmp_path / "made.csv", inbox / "moved.csv")
    system.until(lambda: system.names == ["inbox/moved.csv"], "the moved file")
    (inbox / "work.tmp").write_text("x")
    os.rename(inbox / "work.tmp", inbox / "renamed.csv")
    system.until(lambda: "inbox/renamed.csv" in system.names, "the renamed file")
    assert [p for p in system.offers[-1].positions if "moved" in p.identity] == [
        position(inbox / "moved.csv", tmp_path)
    ]


@pytest.mark.parametrize("settle", [0.05, 3600.0])
def test_given_a_linked_in_file_when_nobody_writes_it_then_it_is_ready(
    tmp_path: Path, start: Start, settle: float
) -> None:
    system = start(source_spec(tmp_path, settle=settle))
    (tmp_path / "part.staged").write_text("x")
    os.link(tmp_path / "part.staged", tmp_path / "part.csv")
    os.unlink(tmp_path / "part.staged")
    system.until(lambda: system.names == ["part.csv"], "the linked file, long before a lost close would be assumed")


def test_given_files_from_before_the_start_when_nobody_writes_them_then_they_are_offered_without_waiting_for_settle(
    tmp_path: Path, start: Start
) -> None:
    (tmp_path / "whole.csv").write_text("x")
    with (tmp_path / "slow.csv").open("w") as file:
        file.write("a,b\n")
        file.flush()
        system = start(source_spec(tmp_path, settle=3600.0))
        system.until(lambda: system.names == ["whole.csv"], "the whole file")
    system.until(lambda: sorted(system.names) == ["slow.csv", "whole.csv"], "the slow file, once it is closed")


@pytest.mark.parametrize("when", ["before the start", "after it"])
def test_given_a_writer_that_closes_between_two_looks_at_its_file_then_the_file_is_offered_as_it_is_after_the_close(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    asked, written = scan_module.writer, []

    def close_first(path: str) -> leases.Writer:
        if path.endswith("made.csv") and not written:
            written.append(path)
            with (tmp_path / "part").open("a") as file:  # of the same file; its events bear this name
                file.write("x\n1\n")
        return asked(path)

    monkeypatch.setattr(scan_module, "writer", close_first)
    whole = 4

    def deliver() -> None:
        (tmp_path / "part").touch()
        os.link(tmp_path / "part", tmp_path / "made.csv")

    if when == "before the start":
        deliver()
    system = start(source_spec(tmp_path, settle=3600.0))
    if when == "after it":
        deliver()
    system.until(lambda: "made.csv" in system.names, "the file")
    sizes = [p.size for offer in system.offers for p in offer.positions if p.identity == "made.csv"]
    assert set(sizes) == {whole}


def test_given_folders_whose_writers_cannot_be_heard_when_scanned_then_settle_is_waited_for(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "filesystem", lambda device: "nfs4")
    (tmp_path / "old.csv").write_text("x")
    os.utime(tmp_path / "old.csv", (1, 1))
    (tmp_path / "young.csv").write_text("x")
    system = start(source_spec(tmp_path, settle=3600.0))
    assert system.names == ["old.csv"]
    assert [one["waiting"] for one in (row(source) for source in system.actor.sources.values())] == [1]


def test_given_a_linked_in_file_that_is_still_written_when_it_is_looked_at_then_it_waits_for_the_close(
    tmp_path: Path, start: Start
) -> None:
    system = start(source_spec(tmp_path, settle=3600.0))
    with (tmp_path / "made.part").open("w") as file:
        file.write("a,b\n")
        file.flush()
        os.link(tmp_path / "made.part", tmp_path / "made.csv")
        (tmp_path / "quick.csv").write_text("x")
        system.until(lambda: system.names == ["quick.csv"], "the quick file")
    os.link(tmp_path / "made.part", tmp_path / "again.csv")
    system.until(lambda: "again.csv" in system.names, "the same bytes, closed")


def test_given_a_burst_of_2000_files_when_planned_as_offered_then_each_is_offered_exactly_once(
    tmp_path: Path, start: Start
) -> None:
    system = start(source_spec(tmp_path, credit=64))
    for number in range(2000):
        (tmp_path / f"f{number:05}.csv").write_text("x")
    planned: list[str] = []
    while len(planned) < 2000:
        system.until(lambda: bool(system.names), "more files")
        assert len(system.names) <= 64
        planned += system.names
        system.plan()
    assert sorted(planned) == [f"f{number:05}.csv" for number in range(2000)]


def test_given_a_missing_folder_when_it_appears_later_then_the_problem_is_told_and_its_files_are_found(
    tmp_path: Path, start: Start
) -> None:
    system = start(source_spec(tmp_path, path="later"))
    assert "does not exist" in system.problems[-1].problems[0]
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "a.csv").write_text("x")
    system.until(lambda: system.names == ["later/a.csv"], "the file in the new folder")
    assert system.problems[-1].problems == []
    (tmp_path / "later" / "b.csv").write_text("x")
    system.until(lambda: "later/b.csv" in system.names, "an event of the new folder")


def test_given_a_folder_that_is_replaced_when_files_come_to_the_new_one_then_its_events_tell_of_them(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "RESCAN", 1e9)
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "old.csv").write_text("x")
    system = start(source_spec(tmp_path, path="inbox", settle=0.01))
    shutil.rmtree(inbox)
    system.until(lambda: system.names == [], "the loss of the old file")
    inbox.mkdir()
    (inbox / "new.csv").write_text("x")
    system.until(lambda: system.names == ["inbox/new.csv"], "the new file")
    (inbox / "next.csv").write_text("x")
    system.until(lambda: "inbox/next.csv" in system.names, "an event of the new folder")


def test_given_lost_events_when_the_kernel_reports_an_overflow_then_everything_is_scanned_again(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[object] = []
    real = watcher.Folder.on_event
    monkeypatch.setattr(watcher.Folder, "on_event", lambda self, event: lost.append(event))
    system = start(source_spec(tmp_path, settle=0.01))
    (tmp_path / "a.csv").write_text("x")
    scans = system.count(Scan)
    monkeypatch.setattr(watcher.Folder, "on_event", real)
    folder = system.driver._watcher._folders["p/files"][""]
    folder.on_queue_overflow()
    system.until(lambda: system.names == ["a.csv"], "the file whose events were lost")
    assert system.count(Scan) == scans + 1


def test_given_more_paths_than_are_kept_when_events_flood_then_a_rescan_replaces_them(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("odibi_actors.streaming.driver.MAX_EVENTS", 10)
    monkeypatch.setattr(source_module, "RESCAN", 1e9)
    system = start(source_spec(tmp_path, credit=500, settle=0.01))
    for number in range(500):
        (tmp_path / f"f{number}.csv").write_text("x")
    system.until(lambda: len(system.names) == 500, "all files")


def test_given_no_inotify_when_files_arrive_then_polling_finds_them_and_says_so(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "filesystem", lambda device: "nfs4")
    monkeypatch.setattr(source_module, "POLL", 0.02)
    system = start(source_spec(tmp_path, settle=0.05))
    (tmp_path / "a.csv").write_text("x")
    system.until(lambda: system.names == ["a.csv"], "the polled file")
    assert any("nfs4" in str(getattr(e, "text", "")) for e in system.effects)


def test_given_a_recursive_pattern_when_folders_appear_with_files_then_all_levels_are_found(
    tmp_path: Path, start: Start
) -> None:
    system = start(source_spec(tmp_path, pattern="**/*.csv", settle=0.01))
    deep = tmp_path / "2013" / "01"
    deep.mkdir(parents=True)
    (deep / "a.csv").write_text("x")
    (tmp_path / "top.csv").write_text("x")
    (tmp_path / "2013" / ".hidden").mkdir()
    (tmp_path / "2013" / ".hidden" / "no.csv").write_text("x")
    system.until(lambda: sorted(system.names) == ["2013/01/a.csv", "top.csv"], "both levels")
    (deep / "b.csv").write_text("x")
    system.until(lambda: "2013/01/b.csv" in system.names, "an event of the new folder")
    os.rename(tmp_path / "2013", tmp_path / "2014")
    system.until(lambda: "2014/01/b.csv" in system.names and "2013/01/b.csv" not in system.names, "the moved folder")


def test_given_a_planned_file_when_it_is_changed_then_one_problem_names_it_and_others_go_on(
    tmp_path: Path, start: Start
) -> None:
    (tmp_path / "a.csv").write_text("x")
    system = start(source_spec(tmp_path, settle=0.01))
    system.until(lambda: system.names == ["a.csv"], "the file")
    system.plan()
    (tmp_path / "a.csv").write_text("changed")
    system.until(lambda: bool(system.problems), "the problem")
    assert system.problems[-1].problems == [
        f"file a.csv changed after it was read (iteration 11); {NEW_NAME}; {FAILED_11}{LONGER}"
    ]
    (tmp_path / "b.csv").write_text("x")
    system.until(lambda: system.names == ["b.csv"], "another file")
    (tmp_path / "a.csv").unlink()
    system.until(lambda: system.problems[-1].problems == [], "the end of the problem")


def test_given_names_that_are_no_plain_files_when_scanned_then_they_are_skipped_with_a_reason(
    tmp_path: Path, start: Start
) -> None:
    (tmp_path / "real.csv").write_text("x")
    os.utime(tmp_path / "real.csv", (1, 1))
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "half.csv.tmp").write_text("x")
    with open(os.fsencode(tmp_path) + b"/caf\xe9.csv", "w") as file:
        file.write("x")
    system = start(source_spec(tmp_path))
    assert system.names == ["real.csv"]
    assert [text for text in system.problems[-1].problems if "UTF-8" in text and "caf" in text]

    def told(file: str) -> tuple[str, str]:
        item = why(system.actor.sources["p/files"], file)
        return item["state"], item["reason"]

    assert told("link.csv") == (
        "ignored",
        "a symbolic link is not followed; move or hard-link the file itself here",
    )
    assert told("pipe.csv") == ("ignored", "not a regular file")
    assert told("folder.csv") == ("ignored", "a folder")
    assert told("half.csv.tmp") == ("ignored", "names ending in .tmp are taken for unfinished files")
    assert told(str(tmp_path / "real.csv")) == ("pending", "ready, not planned yet")
    assert told("nothing.csv")[0] == "not_found"
    assert told("real.parquet") == ("ignored", "real.parquet does not match pattern *.csv")


def test_given_several_lanes_on_one_folder_when_one_ends_then_the_others_go_on_hearing_of_its_files(
    tmp_path: Path, start: Start
) -> None:
    for name in ("a.csv", "a.txt"):
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (1, 1))
    live, trigger = source_spec(tmp_path), source_spec(tmp_path, lane="trigger", name="arrivals", pattern="b*")
    backfill = source_spec(tmp_path, lane="backfill-7", pattern="a*")
    system = start(live, trigger, backfill)
    assert live.node.read is not None

    def offered(lane: str) -> list[str]:
        offers = [offer for offer in system.offers if offer.lane == lane]
        return [p.identity for p in offers[-1].positions] if offers else []

    system.until(lambda: offered("live") == ["a.csv"], "the live source offers what is there")
    system.give((BROKER, Discover(1, "p", "r", "backfill-7")))
    system.until(lambda: offered("backfill-7") == ["a.csv"], "the backfill offers it as well")
    assert offered("trigger") == []
    item = why(system.actor.sources["p/files/backfill-7"], "a.txt")
    assert item["reason"] == "backfill-7: a.txt does not match pattern *.csv"  # it is no file of that source
    system.give((BROKER, Sources(1, [live, trigger])))
    scans = system.count(Scan)
    (tmp_path / "b.csv").write_text("x")
    system.until(lambda: offered("trigger") == ["b.csv"], "the schedule's source hears of its file")
    system.until(lambda: offered("live") == ["a.csv", "b.csv"], "the live source hears of it too")
    assert system.count(Scan) == scans
    assert offered("backfill-7") == ["a.csv"]


def test_given_a_batch_source_when_a_file_is_replaced_then_the_whole_set_is_offered_again_with_digests(
    tmp_path: Path, start: Start
) -> None:
    (tmp_path / "a.csv").write_text("one")
    (tmp_path / "b.csv").write_text("two")
    system = start(source_spec(tmp_path, mode="batch", settle=0.01))

    def digests() -> dict[str, str]:
        return {p.identity: p.digest for p in system.offers[-1].positions}

    one, two, three = (xxhash.xxh3_128(text.encode()).hexdigest() for text in ("one", "two", "three"))
    assert digests() == {"a.csv": one, "b.csv": two}
    (tmp_path / "new.tmp").write_text("three")
    os.rename(tmp_path / "new.tmp", tmp_path / "b.csv")
    system.until(lambda: digests() == {"a.csv": one, "b.csv": three}, "the new set")
    (tmp_path / "a.csv").unlink()
    system.until(lambda: digests() == {"b.csv": three}, "the set without a")


def test_given_a_planned_ledger_when_the_source_starts_then_only_what_is_beyond_it_is_offered(
    tmp_path: Path, start: Start
) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (1, 1))
    system = start(source_spec(tmp_path), ledger=[position(tmp_path / "a.csv", tmp_path)])
    assert system.names == ["b.csv"]


def test_given_an_unknown_source_when_its_answers_come_late_then_they_are_ignored(tmp_path: Path, start: Start) -> None:
    system = start(source_spec(tmp_path))
    count = len(system.offers)
    system.give((LOCAL, Stated("p/gone", 1, [], [])), (LOCAL, Overflow("p/gone", "x")))
    assert len(system.offers) == count


def test_given_the_folder_of_a_sink_when_it_is_a_source_then_our_own_names_are_no_files_of_it(
    tmp_path: Path, start: Start
) -> None:
    for name in ("_odibi_owner.json", "part-0000000001-out.parquet", "_part-0000000002-out.1-2.staged"):
        (tmp_path / name).write_text("x")
    (tmp_path / "_odibi_more").mkdir()
    (tmp_path / "_odibi_more" / "a.parquet").write_text("x")
    system = start(source_spec(tmp_path, pattern="**/*"))
    system.until(lambda: system.names == ["part-0000000001-out.parquet"], "the part")
    (tmp_path / "_odibi_later.json").write_text("x")
    (tmp_path / "part-0000000002-out.parquet").write_text("x")
    system.until(lambda: "part-0000000002-out.parquet" in system.names, "the next part")
    assert len(system.names) == 2
    item = why(system.actor.sources["p/files"], "_odibi_owner.json")
    assert (item["state"], item["reason"]) == (
        "ignored",
        "names that begin with _odibi are of Odibi itself (_odibi_owner.json)",
    )


def test_given_symbolic_links_when_scanned_then_they_are_counted_once_and_why_tells_of_what_is_below(
    tmp_path: Path, start: Start
) -> None:
    inbox, elsewhere = tmp_path / "in", tmp_path / "elsewhere"
    for folder in (inbox, elsewhere):
        folder.mkdir()
    (elsewhere / "x.csv").write_text("x")
    (inbox / "real.csv").write_text("x")
    (inbox / "linked").symlink_to(elsewhere)
    (inbox / "one.csv").symlink_to(elsewhere / "x.csv")
    (inbox / "gone.csv").symlink_to(elsewhere / "none.csv")
    (inbox / "self.csv").symlink_to(inbox / "self.csv")  # which keeps nobody from listing the rest
    system = start(source_spec(inbox, pattern="**/*.csv"))
    assert system.names == ["real.csv"]
    system.until(lambda: bool(system.problems), "the links")
    assert system.problems[-1].problems == [
        "4 symbolic links are not followed: gone.csv, linked, one.csv and 1 more; `odibictl source why FILE` says what "
        "to do"
    ]
    item = why(system.actor.sources["p/files"], "linked/x.csv")
    assert (item["state"], item["reason"]) == (
        "ignored",
        "linked: a symbolic link to a folder is not followed; name the folder itself in `path`, or mount it here",
    )
    shown = show(system.actor.sources["p/files"])
    assert sorted(one["file"] for one in shown["files"]["skipped"]) == ["gone.csv", "linked", "one.csv", "self.csv"]
    assert _listed(shown), "people can be shown it"
    assert shown["more"] == {"pending": 0, "waiting": 0, "changed": 0, "skipped": 0}


def test_given_links_that_are_followed_then_files_are_those_that_they_lead_to_and_none_leads_round(
    tmp_path: Path, start: Start
) -> None:
    inbox, elsewhere = tmp_path / "in", tmp_path / "elsewhere"
    for folder in (inbox, elsewhere / "deep"):
        folder.mkdir(parents=True)
    (elsewhere / "x.csv").write_text("x")
    (elsewhere / "deep/y.csv").write_text("yy")
    (inbox / "linked").symlink_to(elsewhere)
    (inbox / "one.csv").symlink_to(elsewhere / "x.csv")
    (inbox / "gone.csv").symlink_to(elsewhere / "none.csv")
    (inbox / "self.csv").symlink_to(inbox / "self.csv")
    (inbox / "round").symlink_to(tmp_path)
    (elsewhere / "deep/up").symlink_to(elsewhere)
    system = start(source_spec(inbox, pattern="**/*.csv", follow_links=True))
    assert sorted(system.names) == ["linked/deep/y.csv", "linked/x.csv", "one.csv"]
    sizes = {position.identity: position.size for position in system.offers[-1].positions}
    assert sizes == {"linked/deep/y.csv": 2, "linked/x.csv": 1, "one.csv": 1}
    skipped = {one["file"]: one["reason"] for one in show(system.actor.sources["p/files"])["files"]["skipped"]}
    assert sorted(skipped) == ["gone.csv", "linked/deep/up", "round", "self.csv"]
    assert skipped["gone.csv"] == skipped["self.csv"] == "a symbolic link that leads nowhere"
    assert skipped["round"] == skipped["linked/deep/up"] == scan_module.ROUND
    (elsewhere / "z.csv").write_text("zzz")
    system.until(lambda: "linked/z.csv" in system.names, "a file behind a link to its folder")
    with open(elsewhere / "late.csv", "w") as file:
        file.write("la")
        file.flush()
        (inbox / "late.csv").symlink_to(elsewhere / "late.csv")
        (inbox / "after.csv").symlink_to(elsewhere / "x.csv")
        system.until(lambda: "after.csv" in system.names, "the link that came after it")
        assert "late.csv" not in system.names  # somebody writes what it leads to
    system.until(lambda: "late.csv" in system.names, "the end of its writer")


@pytest.mark.parametrize("linked", ["connection", "path"])
def test_given_a_linked_connection_or_path_when_files_come_then_they_are_found(
    tmp_path: Path, start: Start, linked: str
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    where = {"path": "link"} if linked == "path" else {}
    system = start(source_spec(tmp_path / "link" if linked == "connection" else tmp_path, **where))
    (tmp_path / "real" / "a.csv").write_text("x")
    system.until(lambda: system.names == ["link/a.csv" if linked == "path" else "a.csv"], "the file")


def test_given_many_files_that_changed_when_told_then_one_line_counts_them_and_show_lists_them(
    tmp_path: Path, start: Start
) -> None:
    names = [f"f{number:02}.csv" for number in range(48)]
    for name in names:
        (tmp_path / name).write_text("x")
    system = start(source_spec(tmp_path, credit=64))
    system.until(lambda: len(system.names) == 48, "all")
    system.plan()
    system.read = dict.fromkeys(names, digest_bytes(b"x"))
    for name in names:
        (tmp_path / name).write_text("y")  # of the same size
    system.until(lambda: bool(system.problems) and system.problems[-1].problems[0].startswith("48 "), "one line")
    (line,) = system.problems[-1].problems
    assert line.startswith("48 files changed after they were read: f")
    assert line.endswith(
        "and 45 more; those with new data are read under a new name (`odibictl source files p.files` lists them)"
    )
    assert len(show(system.actor.sources["p/files"])["files"]["changed"]) == 48


def test_given_more_files_that_no_pattern_matches_then_the_broker_knows_how_many_and_the_log_is_told_once(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "RESCAN", 0.02)
    (tmp_path / "a.CSV").touch()
    system = start(source_spec(tmp_path))
    (tmp_path / "b.CSV").touch()
    system.until(lambda: "matches none of the 2 files" in str(system.problems), "the second count")
    assert sum("'*.csv' matches no" in one.text for one in system.effects if isinstance(one, Log)) == 1
