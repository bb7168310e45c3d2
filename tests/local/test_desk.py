"""The desk of ``ScheduleManager``: places, overlaps, restarts. No threads, no time."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from odibi_actors.config.model import ScheduleSpec
from odibi_actors.local.callbacks import callback, desk, effects
from odibi_actors.local.callbacks.callback import MAX_ACTIVE, MAX_WAITING
from odibi_actors.local.callbacks.desk import INTERRUPTED, LEFT_BEHIND
from odibi_actors.local.callbacks.effects import Ended, Leave
from odibi_actors.messages import (
    LOCAL,
    SCHEDULER,
    SOURCE,
    Due,
    Dues,
    Durable,
    Heartbeat,
    Judged,
    Noted,
    Planned,
    RecordRefused,
    Schedules,
    Sources,
)
from odibi_actors.model import Place
from tests.local.office import BEGIN, Office, every, files
from tests.test_architecture import IMPURE, _runtime_imports


@pytest.fixture
def office() -> Office:
    return Office()


# --- what the scheduler is told ---------------------------------------------------------------------------------------


def test_given_a_new_interval_then_it_counts_from_now_and_nothing_before_is_due(office: Office) -> None:
    office.now += 0.5
    office.register(every("a", 60))
    (told,) = office.told(Schedules)
    assert (told.since, told.items[0].place, told.items[0].spec.start) == (0, Place(int(BEGIN) + 1), BEGIN + 1)
    assert [one.due for one in office.due("a", 2)] == [BEGIN + 61, BEGIN + 121]


def test_given_a_start_that_was_asked_for_then_it_is_the_anchor(office: Office) -> None:
    office.register(every("a", 60, start=BEGIN + 30))
    assert [one.due for one in office.due("a", 2)] == [BEGIN + 30, BEGIN + 90]


def test_given_schedules_that_are_added_later_then_only_they_are_told(office: Office) -> None:
    office.register(every("a"))
    office.sent.clear()
    office.register(every("b"))
    (told,) = office.told(Schedules)
    assert (told.since, told.version, [item.spec.name for item in told.items]) == (1, 2, ["b"])


def test_given_a_scheduler_that_knows_less_then_it_is_told_again(office: Office) -> None:
    office.register(every("a"))
    office.sent.clear()
    office.say(SCHEDULER, Heartbeat(office.engine.epoch, version=0, wall=office.now))
    assert [item.spec.name for item in office.told(Schedules)[0].items] == ["a"]
    office.sent.clear()
    office.say(SCHEDULER, Heartbeat(office.engine.epoch, version=1, wall=office.now))
    assert not office.told(Schedules)


def test_given_a_schedule_that_is_unscheduled_then_its_entry_is_off_and_what_is_due_is_not_taken(
    office: Office,
) -> None:
    office.register(every("a"))
    office.unschedule("a")
    assert office.told(Schedules)[-1].items[0].off
    place = office.desk.callbacks["a"].place
    office.due("a")
    assert not office.called
    assert office.schedule("a").record.gone
    assert office.told(Noted)[-1].items[0].place == place


# --- compare-and-set --------------------------------------------------------------------------------------------------


def test_given_what_is_told_twice_then_it_is_noted_once_and_the_true_place_is_answered(office: Office) -> None:
    office.register(every("a", overlap="allow"))
    place = office.desk.callbacks["a"].place
    judged = office.due("a", 2, after=place)
    office.due("a", 3, after=place)
    assert len(office.called) == 2
    assert [message.items[0].place for message in office.told(Noted)] == [judged[-1].place] * 2


def test_given_what_is_told_twice_in_one_message_then_it_is_noted_once(office: Office) -> None:
    office.register(every("a", overlap="allow"))
    place = office.desk.callbacks["a"].place
    one = Judged("x", place.due + 1, Place(place.due + 1, "x"))
    office.say(SCHEDULER, Due(office.engine.epoch, office.now, [Dues("a", "a", place, [one, one])]))
    assert len(office.called) == 1


def test_given_a_due_of_another_epoch_or_of_nobody_then_it_is_ignored(office: Office) -> None:
    office.register(every("a"))
    due = office.told(Schedules)[0].items[0]
    office.sent.clear()
    office.engine.claim(office.engine.epoch, "someone")  # so that the office speaks of another epoch
    office.due("a", after=due.place)
    assert not office.called
    assert not office.told(Noted)


# --- overlap ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overlap", "called", "waiting", "skipped"),
    [
        ("skip", 1, 0, {"overlap": 4}),
        ("buffer_one", 1, 1, {"overlap": 3}),
        ("buffer_all", 1, 4, {}),
        ("allow", 5, 0, {}),
    ],
)
def test_given_five_due_while_one_runs_then_the_policy_decides(
    overlap: str, called: int, waiting: int, skipped: dict[str, int]
) -> None:
    office = Office(slots=8)
    office.register(every("a", overlap=overlap))
    for _ in range(5):
        office.due("a")
    shown = office.shown["a"]
    assert shown is not None
    assert (len(office.called), shown.waiting, shown.skipped) == (called, waiting, skipped)
    assert office.schedule("a").skipped == skipped
    for _ in range(waiting):
        office.end(next(iter(office.calls)))
    assert len(office.called) == called + waiting


def test_given_too_much_that_waits_then_it_is_skipped(office: Office) -> None:
    office.register(every("a", overlap="buffer_all"))
    office.due("a", MAX_WAITING + 3)
    assert office.schedule("a").skipped == {"buffer full": 2}
    assert len(office.waiting()) == MAX_WAITING


def test_given_too_many_at_once_then_the_rest_waits() -> None:
    office = Office(slots=1000)
    office.register(every("a", overlap="allow"))
    office.due("a", MAX_ACTIVE + 1)
    assert (len(office.calls), len(office.waiting())) == (MAX_ACTIVE, 1)
    office.end(next(iter(office.calls)))
    assert not office.waiting()


def test_given_no_thread_that_is_free_then_schedules_take_turns(office: Office) -> None:
    office.register(every("a", overlap="allow"))
    office.register(every("b", overlap="allow"))
    office.due("a", 8)
    office.due("b", 2)
    assert Counter(call.name for call in office.calls.values()) == {"a": 4}
    for _ in range(4):
        office.end(next(iter(office.calls)))
    assert Counter(call.name for call in office.calls.values()) == {"a": 2, "b": 2}


def test_given_a_skipped_judgement_then_it_is_counted_by_its_reason(office: Office) -> None:
    office.register(every("a"))
    one = office.desk.callbacks["a"]
    place = one.place
    last = Place(place.due + 5, "2023-11-14T22:13:25")
    judged = [Judged("last", last.due, last, "outside catch_up.window", 5, "first")]
    office.say(SCHEDULER, Due(office.engine.epoch, office.now, [Dues("a", "a", place, judged)]))
    assert (one.place, office.schedule("a").skipped, office.called) == (last, {"outside catch_up.window": 5}, [])


# --- files ------------------------------------------------------------------------------------------------------------


def test_given_a_watch_then_the_source_looks_in_its_folder_under_whole_paths(office: Office) -> None:
    office.register(files("f"))
    (spec,) = office.told(Sources, SOURCE)[-1].sources
    assert spec.node.read is not None
    assert (spec.lane, spec.node.read.connection.path, spec.node.read.path) == ("trigger", "/", "in")
    office.unschedule("f")
    assert office.told(Sources, SOURCE)[-1].sources == []


def test_given_files_then_each_is_called_for_once_in_order_and_the_rest_waits_in_the_folder(office: Office) -> None:
    office.register(files("f"))
    office.offer("f", "in/1.csv", "in/2.csv", "in/3.csv")
    assert [call.path for call in office.called] == ["/in/1.csv"]
    assert not office.waiting()
    for _ in range(3):
        office.end(next(iter(office.calls)))
    assert [call.path for call in office.called] == ["/in/1.csv", "/in/2.csv", "/in/3.csv"]
    planned = office.told(Planned, SOURCE)
    assert [message.previous for message in planned[1:]] == [message.seq for message in planned[:-1]]


def test_given_an_offer_that_missed_a_plan_then_it_is_dropped(office: Office) -> None:
    office.register(files("f", overlap="allow"))
    before = office.desk.callbacks["f"].ledger_seq
    office.offer("f", "in/1.csv")
    office.offer("f", "in/1.csv", seq=before)
    assert len(office.called) == 1


def test_given_files_that_are_to_be_skipped_while_one_runs_then_they_are_consumed(office: Office) -> None:
    office.register(files("f", overlap="skip"))
    office.offer("f", "in/1.csv", "in/2.csv")
    assert office.schedule("f").skipped == {"overlap": 1}
    office.end(next(iter(office.calls)))
    assert [call.path for call in office.called] == ["/in/1.csv"]


def test_given_a_run_that_is_not_durable_then_its_callback_is_not_called(office: Office) -> None:
    office.register(every("a"))
    office.silent = True
    office.due("a")
    assert not office.called
    office.say("store", Durable(office.engine.epoch, office.engine.last_seq - 1))
    assert not office.called
    office.say("store", Durable(office.engine.epoch, office.engine.last_seq))
    assert len(office.called) == 1


# --- errors and ends --------------------------------------------------------------------------------------------------


def test_given_a_callback_that_fails_then_its_error_is_shown_and_durable(office: Office) -> None:
    office.register(every("a"))
    office.due("a")
    office.end(next(iter(office.calls)), "Traceback: no")
    shown = office.shown["a"]
    assert shown is not None
    assert (shown.runs, shown.errors, shown.last_error, shown.running) == (1, 1, "Traceback: no", [])
    assert list(office.runs("a").values()) == ["failed"]


def test_given_a_stop_then_nothing_begins_and_it_ends_with_the_last_callback(office: Office) -> None:
    office.register(every("a", overlap="buffer_all"))
    office.due("a", 2)
    office.say(LOCAL, Leave())
    office.due("a")
    assert office.stopped is None
    office.end(next(iter(office.calls)))
    assert office.stopped is not None
    assert (office.stopped.code, len(office.called), len(office.waiting())) == (0, 1, 1)


def test_given_a_stop_with_an_end_then_what_still_runs_is_left_behind(office: Office) -> None:
    office.register(every("a"))
    office.due("a")
    office.say(LOCAL, Leave(office.now + 5))
    assert office.desk.deadline() == office.now + 5
    office.now += 5
    office.tick()
    assert office.stopped is not None
    shown = office.shown["a"]
    assert shown is not None
    assert shown.last_error == LEFT_BEHIND
    run = next(iter(office.calls))
    office.begin(left={run: "a"})
    office.register(every("a"))
    office.due("a")
    assert office.schedule("a").skipped == {"overlap": 1}
    office.say(LOCAL, Ended(run))
    office.due("a")
    assert len(office.calls) == 1


def test_given_what_waits_when_it_is_unscheduled_then_it_is_skipped_and_what_runs_ends(office: Office) -> None:
    office.register(every("a", overlap="buffer_all"))
    office.due("a", 3)
    office.unschedule("a")
    assert office.schedule("a").skipped == {"unscheduled": 2}
    office.end(next(iter(office.calls)))
    assert list(office.runs("a").values()) == ["done"]


def test_given_a_record_that_is_refused_then_the_desk_stops(office: Office) -> None:
    office.say("store", RecordRefused(office.engine.epoch, 7, "no"))
    assert office.stopped is not None
    assert (office.stopped.code, office.stopped.reason) == (70, "record 7 contradicts what is stored: no")


# --- a new process ----------------------------------------------------------------------------------------------------


def test_given_a_process_that_died_in_a_callback_then_its_run_failed_and_is_not_repeated(office: Office) -> None:
    office.register(every("a", overlap="buffer_all"))
    office.due("a", 2)
    office.begin()
    office.register(every("a", overlap="buffer_all"))
    shown = office.shown["a"]
    assert shown is not None
    assert (shown.errors, shown.last_error, shown.runs) == (1, INTERRUPTED, 2)
    assert len(office.called) == 2  # the first, and the one that waited
    assert len({call.run for call in office.called}) == 2


def test_given_a_schedule_that_nobody_registers_again_then_what_waits_keeps_waiting(office: Office) -> None:
    office.register(every("a", overlap="buffer_all"))
    office.due("a", 2)
    office.begin()
    assert len(office.waiting()) == 1
    assert not office.calls
    office.register(every("a", overlap="buffer_all"))
    assert len(office.calls) == 1


def test_given_the_same_schedule_in_a_new_process_then_anchor_and_place_stay(office: Office) -> None:
    office.register(every("a", 60))
    (judged,) = office.due("a")
    office.now += 1000.7
    office.begin()
    office.register(every("a", 60))
    entry = office.told(Schedules)[-1].items[0]
    assert (entry.place, entry.spec.start) == (judged.place, BEGIN)


def test_given_another_interval_in_a_new_process_then_it_begins_again(office: Office) -> None:
    office.register(every("a", 60))
    office.now += 1000
    office.begin()
    office.register(every("a", 90))
    entry = office.told(Schedules)[-1].items[0]
    assert (entry.place, entry.spec.start) == (Place(int(BEGIN) + 1000), BEGIN + 1000)


def test_given_a_schedule_that_is_unscheduled_and_comes_back_then_no_time_runs_twice(office: Office) -> None:
    office.register(every("a", start=BEGIN - 100))
    office.due("a", 50)
    place = office.desk.callbacks["a"].place
    office.unschedule("a")
    office.now = BEGIN + 10  # it was far ahead
    office.register(every("a", start=BEGIN - 100))
    assert office.desk.callbacks["a"].place == place


def test_given_a_schedule_that_comes_back_later_then_the_time_between_is_not_due(office: Office) -> None:
    office.register(every("a", start=BEGIN - 100))
    office.unschedule("a")
    office.now += 1000
    office.register(every("a", start=BEGIN - 100))
    assert office.told(Schedules)[-1].items[0].place == Place(int(BEGIN) + 1000)


def test_given_a_zone_with_other_times_then_wall_times_that_come_again_are_other_occurrences(office: Office) -> None:
    office.register(ScheduleSpec("a", cron="0 12 * * *", timezone="Asia/Tokyo"))
    office.due("a")
    office.end(next(iter(office.calls)))
    office.register(ScheduleSpec("a", cron="0 12 * * *", timezone="America/New_York"))
    office.due("a")
    assert len(office.called) == 2


# --- anything, in any order -------------------------------------------------------------------------------------------


class AnyOrder(RuleBasedStateMachine):
    """Occurrences, ends and crashes in any order: each occurrence is accounted for once, none is called for twice, none
    overlaps against its policy. The engine refuses what contradicts the records before."""

    specs = {
        "skip": every("skip"),
        "one": every("one", overlap="buffer_one"),
        "all": every("all", overlap="buffer_all"),
        "allow": every("allow", overlap="allow"),
        "files": files("files"),
    }
    names = st.sampled_from(["skip", "one", "all", "allow"])

    @initialize(slots=st.integers(1, 5))
    def begin(self, slots: int) -> None:
        self.office = Office(slots)
        self.file = 0
        self._register()

    def _register(self) -> None:
        for spec in self.specs.values():
            self.office.register(spec)

    def _alive(self) -> None:
        if self.office.dead:
            self.office.begin()
            self._register()

    @rule(name=names, count=st.integers(1, 5))
    def due(self, name: str, count: int) -> None:
        self.office.due(name, count)
        self._alive()

    @rule(name=names, back=st.integers(1, 3))
    def told_again(self, name: str, back: int) -> None:
        place = self.office.desk.callbacks[name].place
        self.office.due(name, 2, after=Place(place.due - back))

    @rule(count=st.integers(1, 4))
    def arrive(self, count: int) -> None:
        pending = [one.identity for one in self.office.desk.callbacks["files"].pending]
        new = [f"in/{self.file + number}.csv" for number in range(count)]
        self.file += count
        self.office.offer("files", *pending, *new)
        self._alive()

    @rule(data=st.data(), error=st.sampled_from(["", "boom"]))
    def end(self, data: st.DataObject, error: str) -> None:
        if self.office.calls:
            self.office.end(data.draw(st.sampled_from(sorted(self.office.calls))), error)
            self._alive()

    @rule(when=st.sampled_from(["before", "after"]))
    def die_at_the_next_write(self, when: str) -> None:
        self.office.dies = when

    @rule()
    def crash(self) -> None:
        self.office.dead = True
        self._alive()

    @rule(name=names)
    def come_and_go(self, name: str) -> None:
        self.office.unschedule(name)
        self._alive()
        if self.office.desk.callbacks[name].off:
            self.office.register(self.specs[name])
            self._alive()

    @invariant()
    def nothing_is_called_twice(self) -> None:
        office = self.office
        runs = [call.run for call in office.called]
        assert len(runs) == len(set(runs))
        paths = [call.path for call in office.called if call.path]
        assert len(paths) == len(set(paths))

    @invariant()
    def nothing_overlaps(self) -> None:
        running = Counter(call.name for call in self.office.calls.values())
        assert sum(running.values()) <= self.office.slots
        assert all(count == 1 for name, count in running.items() if name != "allow")

    @invariant()
    def what_is_shown_is_durable(self) -> None:
        for name in self.specs:
            stored, shown = self.office.schedule(name), self.office.shown[name]
            assert shown is not None
            one = self.office.desk.callbacks[name]
            assert (stored.started, stored.skipped, stored.record.place) == (shown.runs, shown.skipped, one.place)
        waiting = [id_ for one in self.office.desk.callbacks.values() for id_ in one.waiting]
        assert sorted(waiting) == sorted(self.office.waiting())

    def teardown(self) -> None:
        if not hasattr(self, "office"):
            return
        self.office.dies = ""
        while self.office.calls:
            self.office.end(next(iter(self.office.calls)))
        assert not self.office.waiting()
        for name in ("skip", "one", "all", "allow"):
            stored = self.office.schedule(name)
            assert "active" not in self.office.runs(name).values()
            first = int(self.office.schedule(name).record.spec.start)
            if "unscheduled" not in stored.skipped and first == BEGIN:
                assert stored.started + sum(stored.skipped.values()) == stored.record.place.due - first


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_the_desk_knows_no_clock_no_thread_no_disk() -> None:
    for module in (desk, callback, effects):
        path = Path(str(module.__file__))
        assert not [name for _, name in _runtime_imports(path) if name.partition(".")[0] in IMPURE]
        loops = [node.iter for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.For)]
        assert not [node for node in loops if isinstance(node, ast.Set)]
