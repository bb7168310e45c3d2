"""Schedules that follow no clock: after other pipelines, and when files arrive."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import PipelineSpec, ProjectSpec, ScheduleSpec, WatchSpec
from odibi_actors.messages import SOURCE, Apply, Hello, Offer, Planned, Sources
from odibi_actors.model import TRIGGER
from tests.broker.harness import CLIENT, Failure, pipeline, position
from tests.broker.restart import snapshot
from tests.broker.scheduling import Timed, scheduled
from tests.broker.test_backfills import Backfilled

MALFORMED = Failure("malformed", "bad line")


class Chain(Timed):
    """Several pipelines in one project."""

    def __init__(self, *specs: PipelineSpec, recover: bool = False) -> None:
        super().__init__(specs[0], recover=recover)
        if not recover:
            self.actor._project = ProjectSpec("test", "/", "/data", 2, list(specs), code_digest="code")

    def run_through(self, name: str, *files: str) -> None:
        """The pipeline's run finds these files, and commits."""
        self.discovered(*files, name=name)
        self.complete()


def after(*names: str, **more: object) -> ScheduleSpec:
    more.setdefault("overlap", "buffer_one")
    return ScheduleSpec("follow", after=list(names), **more)  # type: ignore[arg-type]


def chain() -> Chain:
    """a (by hand) -> b -> c."""
    specs = [
        replace(pipeline(trigger="manual"), name="a"),
        scheduled(after("a"), name="b"),
        scheduled(after("b"), name="c"),
    ]
    return Chain(*specs).start()  # type: ignore[return-value]


def test_given_a_chain_when_the_first_commits_then_each_runs_once_after_the_one_before() -> None:
    broker = chain()
    broker.ask("pipeline.trigger", pipeline="a", run="r1")
    broker.run_through("a", "f1")
    assert [run for run, _ in broker.runs()] == ["r1", "b.follow@a=1"]
    broker.run_through("b", "g1")
    broker.run_through("c", "h1")
    assert broker.runs() == [("r1", "done"), ("b.follow@a=1", "done"), ("c.follow@b=1", "done")]


def test_given_a_run_of_several_iterations_when_they_commit_then_the_next_runs_once_after_all_of_them() -> None:
    broker = chain()
    broker.ask("pipeline.trigger", pipeline="a", run="r1")
    broker.run_through("a", "f1", "f2", "f3")
    assert [c.iteration for c in broker.of(rec.Commit)] == [1, 2, 3]
    assert [run for run, _ in broker.runs()] == ["r1", "b.follow@a=3"]


def test_given_a_run_without_data_when_it_ends_then_nothing_follows() -> None:
    broker = chain()
    broker.ask("pipeline.trigger", pipeline="a", run="r1")
    broker.discovered(name="a")
    assert broker.runs() == [("r1", "no_data")]


def test_given_a_failure_in_the_middle_when_retried_then_it_goes_on_from_there_and_nothing_upstream_runs_again() -> (
    None
):
    broker = chain()
    broker.ask("pipeline.trigger", pipeline="a", run="r1")
    broker.run_through("a", "f1")
    broker.discovered("g1", name="b")
    (task,) = broker.tasks()
    broker.results(broker.run(task)[0])
    broker.fail(task, "t", MALFORMED)
    assert broker.runs()[-1] == ("b.follow@a=1", "failed")
    broker.ask("iteration.retry", pipeline="b", iteration=1)
    (again,) = broker.tasks()
    assert [step.node.name for step in again.steps] == ["t"]  # what was read is not read again
    broker.finish(again)
    broker.complete()
    broker.run_through("c", "h1")
    assert broker.runs() == [("r1", "done"), ("b.follow@a=1", "done"), ("c.follow@b=1", "done")]
    assert [(p.pipeline, p.iteration) for p in broker.of(rec.Plan)] == [("a", 1), ("b", 1), ("c", 1)]


def test_given_commits_while_the_follower_runs_when_it_ends_then_they_are_one_occurrence_more() -> None:
    broker = chain()
    for number, name in enumerate(["f1", "f2", "f3"], 1):
        broker.ask("pipeline.trigger", pipeline="a", run=f"r{number}")
        broker.run_through("a", name)
    broker.run_through("b", "g1")
    assert [run for run, _ in broker.runs() if run.startswith("b")] == ["b.follow@a=1", "b.follow@a=3"]


def test_given_all_of_several_when_one_has_not_committed_then_it_waits_and_with_any_it_does_not() -> None:
    for any_, expected in ((False, []), (True, ["c.follow@a=1"])):
        specs = [replace(pipeline(trigger="manual"), name=name) for name in ("a", "b")]
        broker = Chain(*specs, scheduled(after("a", "b", after_any=any_), name="c"))
        broker.start()
        broker.ask("pipeline.trigger", pipeline="a", run="r1")
        broker.run_through("a", "f1")
        assert [run for run, _ in broker.runs() if run.startswith("c")] == expected
        if not any_:
            broker.ask("pipeline.trigger", pipeline="b", run="r2")
            broker.run_through("b", "g1")
            assert [run for run, _ in broker.runs() if run.startswith("c")] == ["c.follow@a=1+b=1"]


class Followed(Backfilled):
    """p, which may be backfilled -> b."""

    def __init__(self, recover: bool = False) -> None:
        super().__init__(pipeline(), recover=recover)
        if not recover:
            specs = [pipeline(), scheduled(after("p"), name="b")]
            self.actor._project = ProjectSpec("test", "/", "/data", 2, specs, code_digest="code")

    def start(self, *arguments: Any, **more: Any) -> Followed:
        super().start(*arguments, **more)
        return self

    def follow(self) -> None:
        self.discovered(f"g{len(self.followed())}", name="b")
        self.complete()

    def followed(self) -> list[str]:
        return [run for run, _ in self.runs() if run.startswith("b.")]


def test_given_a_commit_of_a_lower_number_behind_a_higher_one_then_it_is_followed_too() -> None:
    broker = Followed().start()
    broker.offer("f1")
    broker.complete()
    broker.follow()
    broker.offer("f2")
    (task,) = broker.tasks()
    broker.fail(task, "read", Failure("invalid", "no"))
    broker.backfill(files={"": "*"}, run="r1")
    broker.offers(broker.lane, "f1")
    broker.complete()
    broker.follow()
    assert broker.followed() == ["b.follow@p=1", "b.follow@p=3"]
    broker.ask("iteration.retry", pipeline="p", iteration=2)
    broker.complete()
    assert [c.iteration for c in broker.of(rec.Commit) if c.pipeline == "p"] == [1, 3, 2]
    assert broker.followed() == ["b.follow@p=1", "b.follow@p=3", "b.follow@p=2"]
    cut = (
        next(
            i
            for i, r in enumerate(broker.records)
            if isinstance(r, rec.Commit) and (r.pipeline, r.iteration) == ("p", 2)
        )
        + 1
    )
    broker.records = broker.records[:cut]
    items, last = snapshot(broker)
    again = Followed(recover=True).start(items, epoch=2, last_seq=last)
    assert [r.id for r in again.of(rec.Occurrence)] == ["p=2"]


def test_given_commits_that_a_rewind_takes_back_then_what_comes_after_it_is_followed() -> None:
    broker = Followed().start()
    for name in ("f1", "f2"):
        broker.offer(name)
        broker.complete()
        broker.follow()
    items, last = snapshot(broker)
    counter = next(item for item in items if isinstance(item, rec.LoadedCounter) and item.pipeline == "p")
    assert (counter.commits, counter.newest) == (2, 2)
    back = replace(counter, last_committed=0, committed=0)  # as after a rewind to the beginning
    again = Followed(recover=True)
    again.start([back if item is counter else item for item in items], epoch=2, last_seq=last)
    again.offer("f3")
    again.complete()
    assert [r.id for r in again.of(rec.Occurrence)] == ["p=3"]


def test_given_a_crash_after_the_commit_when_the_broker_is_back_then_the_follower_runs_once() -> None:
    broker = chain()
    broker.ask("pipeline.trigger", pipeline="a", run="r1")
    broker.run_through("a", "f1")
    cut = next(i for i, r in enumerate(broker.records) if isinstance(r, rec.Commit)) + 1
    whole = broker.records
    for end in range(cut, len(whole) + 1):
        broker.records = whole[:end]
        items, last = snapshot(broker)
        again = Chain(pipeline(), recover=True)
        again.start(items, epoch=2, last_seq=last)
        if again.flow.pipelines["a"].live.active:  # the end of its run was lost: it looks again, and ends
            again.discovered(name="a")
        written = [r.id for r in [*whole[:end], *again.records] if isinstance(r, rec.Occurrence)]
        runs = [r.run for r in [*whole[:end], *again.records] if isinstance(r, rec.Run)]
        assert written == ["a=1"], end
        assert runs == ["r1", "b.follow@a=1"], end


# --- files ----------------------------------------------------------------------------------------------------------


def test_given_what_arrives_while_a_run_is_in_progress_when_shown_then_it_is_said_to_have_arrived() -> None:
    broker = watched("file")
    arrive(broker, "a.flag", "b.flag", "c.flag")
    row = broker.ask("schedule.show", pipeline="p", schedule="flags")
    assert row is not None
    assert (row.result["waiting"], row.result["arrived"]) == (0, 2)


def watched(per: str, **more: object) -> Timed:
    watch = WatchSpec("/landing", "*.flag", per)  # type: ignore[arg-type]
    more.setdefault("overlap", "buffer_all" if per == "file" else "buffer_one")
    return Timed(scheduled(ScheduleSpec("flags", file_watch=watch, **more))).start()  # type: ignore[arg-type]


def arrive(broker: Timed, *names: str) -> None:
    source = broker.flow.schedules.source("p", "flags")
    assert source is not None
    positions = [position(name) for name in names]
    broker.say(SOURCE, Offer(broker.epoch, "f1", "p", "flags", source.seq, positions, lane=TRIGGER))


def test_given_a_file_watch_when_the_source_joins_then_it_is_told_to_look() -> None:
    (sources,) = watched("file").take(Sources)
    spec = next(one for one in sources.sources if one.lane == TRIGGER)
    assert spec.node.read is not None
    assert (spec.node.name, spec.node.read.pattern, spec.idle) == ("flags", "*.flag", False)


def test_given_files_when_they_arrive_then_each_starts_a_run_one_after_the_other_and_enters_the_ledger() -> None:
    broker = watched("file")
    arrive(broker, "a.flag", "b.flag")
    assert [(o.id, [p.identity for p in o.positions]) for o in broker.of(rec.Occurrence)] == [("a.flag", ["a.flag"])]
    (planned,) = broker.take(Planned)
    assert (planned.lane, planned.source, planned.iteration) == (TRIGGER, "flags", 0)
    arrive(broker, "b.flag")  # the source has heard of it
    broker.discovered()
    assert broker.runs() == [("p.flags@a.flag", "no_data"), ("p.flags@b.flag", "active")]
    assert broker.of(rec.Run)[-1].trigger.files == ["b.flag"]


def test_given_a_set_when_files_arrive_then_one_run_has_all_that_are_there() -> None:
    broker = watched("set")
    arrive(broker, "a.flag", "b.flag")
    assert [o.id for o in broker.of(rec.Occurrence)] == ["2 files to b.flag"]
    arrive(broker, "c.flag")
    arrive(broker, "c.flag", "d.flag")
    broker.discovered()
    assert [o.id for o in broker.of(rec.Occurrence)] == ["2 files to b.flag", "2 files to d.flag"]


def test_given_an_offer_that_missed_a_plan_when_it_comes_then_no_file_starts_two_runs() -> None:
    broker = watched("file", overlap="allow")
    source = broker.flow.schedules.source("p", "flags")
    assert source is not None
    stale = Offer(broker.epoch, "f1", "p", "flags", source.seq, [position("a.flag")], lane=TRIGGER)
    broker.say(SOURCE, stale)
    broker.say(SOURCE, stale)
    assert [o.id for o in broker.of(rec.Occurrence)] == ["a.flag"]


def test_given_a_paused_pipeline_when_files_arrive_then_they_wait_in_the_folder() -> None:
    broker = watched("file")
    broker.ask("pipeline.pause", pipeline="p")
    arrive(broker, "a.flag")
    assert broker.of(rec.Occurrence) == []
    broker.ask("pipeline.resume", pipeline="p")
    assert [o.id for o in broker.of(rec.Occurrence)] == ["a.flag"]


def test_given_skip_when_a_run_is_in_progress_then_the_file_is_consumed_and_the_skip_counted() -> None:
    broker = watched("file", overlap="skip")
    arrive(broker, "a.flag")
    arrive(broker, "b.flag")
    assert [(s.last, s.reason) for s in broker.of(rec.Skip)] == [("b.flag", "overlap: run p.flags@a.flag in progress")]
    assert [p.identity for o in broker.of(rec.Occurrence) for p in o.positions] == ["a.flag", "b.flag"]


def test_given_a_schedule_that_closes_a_circle_when_added_or_applied_then_it_is_refused() -> None:
    specs = [scheduled(name="a"), scheduled(after("a"), name="b")]
    broker = Chain(*specs).start()
    for name, upstream in (("a", "a"), ("a", "b")):
        reply = broker.ask("schedule.add", pipeline=name, spec={"name": "back", "after": [upstream]})
        assert reply is not None
        assert reply.status == 2
    fine = broker.ask("schedule.add", pipeline="b", spec={"name": "again", "after": ["a"]})
    assert fine is not None
    assert fine.status == 0
    broker.say(CLIENT, Hello("client", "c1", "host", 9))
    changed = ProjectSpec(
        "test", "/", "/data", 2, [scheduled(after("b"), name="a"), scheduled(name="b")], code_digest="c"
    )
    broker.say(CLIENT, Apply("7", changed))
    (refused,) = [reply for reply in broker.replies() if reply.id == "7"]
    assert (refused.status, "cycle" in refused.error) == (4, True)


def test_given_a_paused_schedule_when_others_commit_or_files_arrive_then_they_wait_for_it_to_go_on() -> None:
    broker = chain()
    broker.ask("schedule.pause", pipeline="b", schedule="follow")
    broker.ask("pipeline.trigger", pipeline="a", run="r1")
    broker.run_through("a", "f1")
    assert [run for run, _ in broker.runs()] == ["r1"]
    broker.ask("schedule.resume", pipeline="b", schedule="follow")
    assert [run for run, _ in broker.runs()] == ["r1", "b.follow@a=1"]


def test_given_a_set_of_files_with_long_names_when_they_arrive_then_a_run_is_told_of_as_many_as_may_travel() -> None:
    broker = watched("set", overlap="buffer_one")
    names = [f"{number:03}{'x' * 2000}.flag" for number in range(60)]
    arrive(broker, *names)
    (first,) = broker.of(rec.Occurrence)
    assert 1 < len(first.positions) < 60
    broker.discovered()
    assert [p.identity for o in broker.of(rec.Occurrence) for p in o.positions] == names
    assert all(len(o.id) <= 120 for o in broker.of(rec.Occurrence))
