"""What operators ask of the broker: one function per verb. Wire: messages.Request; shapes: docs/cli.md."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import msgspec

from odibi_actors.actor import Log, Send
from odibi_actors.broker import (
    again,
    backfill,
    compacting,
    letters,
    pins,
    pruning,
    rewinding,
    runs,
    scheduling,
    source_pauses,
    views,
    waits,
)
from odibi_actors.broker.directory import Directory
from odibi_actors.broker.flow import Flow
from odibi_actors.broker.iteration import Iteration
from odibi_actors.broker.pipeline import Pipeline
from odibi_actors.broker.scheduled import Scheduled
from odibi_actors.checkpoint import records as rec
from odibi_actors.checkpoint.records import WORKERS
from odibi_actors.config.received import params_problem
from odibi_actors.errors import ConflictError, NotFoundError, OdibiError
from odibi_actors.messages import SOURCE, Discover, DrainWorker, KillWorker, Scale
from odibi_actors.model import LIVE, MAX_PLACE, Trigger
from odibi_actors.pending import interrupted
from odibi_actors.runtime.visible import named

MAX_WORKERS = 512
"""Upper bound of ``worker scale``: each worker is a process; more on one host is a typing error."""

MAX_ROWS = 2000
"""Rows of a list: more do not fit into an answer, nor on a screen."""

Row = dict[str, Any]


class UsageError(OdibiError):
    """A request lacks a parameter or has one of the wrong kind."""

    exit_code = 2


MAX_OPEN = 1000
"""Iterations that a wait may name: those a pipeline can have in flight."""

MAX_RUN = 400
"""Characters of a run's id: two names and an occurrence's id fit."""

Name = Annotated[str, msgspec.Meta(max_length=200)]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Params(msgspec.Struct, frozen=True, rename={"for_": "for", "from_": "from"}):
    """What the known parameters of the verbs are. Of their ranges and whether they must be there each verb says
    more."""

    pipeline: Name | None = None
    iteration: int | None = None
    run: Annotated[str, msgspec.Meta(max_length=MAX_RUN)] | None = None
    for_: Annotated[list[Name], msgspec.Meta(max_length=100)] | None = None
    timeout: float | None = None
    iterations: int | None = None
    retry: bool | None = None
    wait: bool | None = None
    workers: int | None = None
    worker: Name | Number | None = None
    host: Name | None = None
    sink: Name | None = None
    to: float | None = None
    letter: int | None = None
    dry_run: bool | None = None
    schedule: Name | None = None
    spec: dict[str, Any] | None = None
    replace: bool | None = None
    params: dict[Name, Any] | None = None
    files: dict[Name, Annotated[str, msgspec.Meta(max_length=1000)]] | None = None
    from_: float | None = None
    concurrency: int | None = None
    lane: Name | None = None
    after: Number | None = None
    open: Annotated[list[Number], msgspec.Meta(max_length=MAX_OPEN)] | None = None
    take: bool | None = None
    letters: Annotated[list[Number], msgspec.Meta(max_length=MAX_ROWS)] | None = None
    request: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9-]{1,64}$")] | None = None
    source: Name | None = None
    partition: Annotated[str, msgspec.Meta(max_length=1000)] | None = None
    place: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{2})+$", max_length=2 * MAX_PLACE)] | None = None


def checked(verb: str, params: Row) -> Row:
    """The parameters of a request, once they are known to be of the right kinds. Raises UsageError."""
    try:
        msgspec.convert(params, Params)
    except msgspec.ValidationError as error:
        raise UsageError(f"{verb[:40]}: {error}") from None
    for ours in (
        "look",
        "begun",
        runs.AS_OF,
        runs.FREE,
        waits.FOLLOWED,
    ):  # what a wait has come to; not for a client to say
        params.pop(ours, None)
    if problem := params_problem(params.get("params") or {}):
        raise UsageError(f"{verb[:40]}: {problem}")
    return params


class Commands:
    """The verbs. Each returns its result, or None to be asked again after every change until it has one (waits)."""

    def __init__(self, flow: Flow, directory: Directory, started_at: float) -> None:
        self.flow = flow
        self.directory = directory
        self.started_at = started_at
        self._looks = 0
        self._verbs: dict[str, Callable[[Row, float], Row | None]] = {
            "status": self._status,
            "pipeline.list": self._pipeline_list,
            "pipeline.show": self._pipeline_show,
            "pipeline.trigger": self._trigger,
            "pipeline.pause": self._pause,
            "pipeline.resume": self._resume,
            "pipeline.drain": self._drain,
            "run.wait": self._run_wait,
            "iteration.wait": self._iteration_wait,
            "iteration.retry": self._retry,
            "iteration.cancel": self._cancel,
            "iteration.abandon": self._abandon,
            "sink.repin": self._repin,
            "sink.compact": self._compact,
            "source.unpin": self._unpin,
            "source.pause": partial(self._source_paused, on=True),
            "source.resume": partial(self._source_paused, on=False),
            "source.prune": self._prune,
            "deadletter.replay": self._replay,
            "deadletter.discard": self._discard,
            "pipeline.rewind": self._rewind,
            "pipeline.backfill": self._backfill,
            "backfill.list": self._backfill_list,
            "backfill.cancel": self._backfill_cancel,
            "schedule.list": self._schedule_list,
            "schedule.show": self._schedule_show,
            "schedule.add": self._schedule_add,
            "schedule.remove": self._schedule_remove,
            "schedule.pause": self._schedule_pause,
            "schedule.resume": self._schedule_resume,
            "worker.list": self._worker_list,
            "worker.scale": self._scale,
            "worker.kill": partial(self._one_worker, message=KillWorker),
            "worker.drain": partial(self._one_worker, message=DrainWorker),
        }

    def run(self, verb: str, params: Row, now: float) -> Row | None:
        """Do one verb; raises OdibiError."""
        function = self._verbs.get(verb)
        if function is None:
            raise UsageError(f"unknown verb {verb[:40]!r}; known: {', '.join(self._verbs)}")
        return function(params, now)

    def look(self, params: Row) -> None:
        """Ask (again) the sources of a pipeline somebody waits for to look now. Not those of runs: a run asks them what
        was there when it began, and would have to ask again after each look."""
        if "look" in params and not self._pipeline(params).on_demand:
            self.flow.say(
                Send(SOURCE, Discover(epoch=self.flow.epoch, pipeline=params["pipeline"], run=params["look"]))
            )

    # --- views ----------------------------------------------------------------------------------------------------

    def _status(self, _params: Row, now: float) -> Row:
        return views.status(self.flow, self.directory, self.started_at, now)

    def _pipeline_list(self, _params: Row, now: float) -> Row:
        return {"items": [views.pipeline_row(p, self._starting(now)) for p in self.flow.listed()]}

    def _pipeline_show(self, params: Row, now: float) -> Row:
        return views.pipeline_detail(self._pipeline(params), self._starting(now))

    def _starting(self, now: float) -> bool:
        return now - self.started_at < views.STARTING

    def _worker_list(self, _params: Row, _now: float) -> Row:
        return {"items": views.worker_rows(self.flow)}

    # --- pipelines ------------------------------------------------------------------------------------------------

    def _pipeline(self, params: Row) -> Pipeline:
        name = params.get("pipeline")
        pipeline = self.flow.pipelines.get(name) if isinstance(name, str) else None
        if pipeline is None or pipeline.forgotten:
            known = ", ".join(one.name for one in self.flow.listed()) or "none"
            raise NotFoundError(f"no pipeline {name!r}; known: {known}")
        return pipeline

    def _trigger(self, params: Row, now: float) -> Row | None:
        pipeline = self._pipeline(params)
        if pipeline.resetting:
            raise ConflictError(interrupted(pipeline.name))
        if pipeline.removed:
            raise ConflictError(f"pipeline {pipeline.name} is no longer in odibi.yaml; add it and run `odibictl apply`")
        if not pipeline.on_demand:
            if params.get("params"):
                raise UsageError(
                    f"pipeline {pipeline.name} is `trigger: data`: what it reads belongs to no run that could be given "
                    "params; `trigger: manual` or `schedule` has runs"
                )
            self.flow.say(Send(SOURCE, Discover(epoch=self.flow.epoch, pipeline=pipeline.name, run="")))
            return {
                "pipeline": pipeline.name,
                "run": "",
                "note": "looking for data now; it starts by itself",
            }
        if "begun" in params:
            answer, stuck = params["begun"]
            return self._unstuck(pipeline, answer, stuck, now)
        run = str(params.get("run") or f"manual{runs.RESERVED}{self.flow.epoch}-{self.flow.journal.last + 1}")
        if params.get("run"):
            stands = runs.stands(self.flow, pipeline, run, params, now)
            if stands is None:
                return None
            if stands:  # asked again, as the reply was lost: it is the same run
                return {"pipeline": pipeline.name, "run": run}
        take = bool(params.get("take"))
        active = pipeline.live.active
        if active and not take:
            raise ConflictError(f"pipeline {pipeline.name} is running already: run {named(active[0])}")
        if pipeline.paused or pipeline.draining:
            raise ConflictError(
                f"pipeline {pipeline.name} is {pipeline.state}; `odibictl pipeline resume {pipeline.name}` first"
            )
        limit = params.get("iterations") or 0
        if not isinstance(limit, int) or limit < 0:
            raise UsageError(f"iterations must be a number from 1 on, not {limit!r}")
        _check_stuck(pipeline, bool(params.get("retry")))
        ready = [letters.prepare(self.flow, letter, now) for letter in params.get("letters") or ()]
        # As data came: of two letters of a sink that is overwritten the newer one has to be the last.
        found = sorted((one for one in ready if one is not None), key=lambda one: int(one.row["iteration"]))
        if len(found) < len(ready):
            return None
        trigger = Trigger(kind="manual", params=params.get("params") or {})
        # It starts first: what it takes up, and tries again, it answers for.
        runs.start(self.flow, pipeline, run, "manual", now, limit, trigger, take=True)
        stuck = [one.number for one in pipeline.unfinished(LIVE) if one.state in ("failed", "blocked")]
        answer = {"pipeline": pipeline.name, "run": run, "replayed": self._taken_up(pipeline, run, found, now)}
        params["begun"] = (answer, stuck)
        return self._unstuck(pipeline, answer, stuck, now)

    def _unstuck(self, pipeline: Pipeline, answer: Row, stuck: list[int], now: float) -> Row | None:
        """The run has started; now what is ``stuck`` is retried, each once. None: a source has not answered yet."""
        while stuck:
            iteration = pipeline.iterations.get(stuck[0])
            again = iteration is not None and iteration.state in ("failed", "blocked")
            if again and iteration is not None and self.flow.retry(pipeline, iteration, now) is None:
                return None
            del stuck[0]
        return answer

    def _taken_up(self, pipeline: Pipeline, run: str, ready: list[letters.Ready], now: float) -> list[Row]:
        """Dead letters of this pipeline in new iterations, which the run answers for."""
        rows = []
        for one in ready:
            self.flow.asks.forget(*one.asked)
            if one.pipeline is not pipeline or one.iteration:
                continue
            runs.replayed(pipeline, run)
            rows.append({"letter": one.row["id"], "iteration": letters.take_up(self.flow, one, now, run)})
        return rows

    def _pause(self, params: Row, _now: float) -> Row:
        pipeline = self._pipeline(params)
        if not pipeline.paused:
            self.flow.set(pipeline, "paused", True)
        return {"pipeline": pipeline.name, "state": pipeline.state}

    def _resume(self, params: Row, _now: float) -> Row:
        pipeline = self._pipeline(params)
        for name in ("paused", "draining"):
            if getattr(pipeline, name):
                self.flow.set(pipeline, name, False)
        self.flow.wake_all(pipeline)
        return {"pipeline": pipeline.name, "state": pipeline.state}

    def _drain(self, params: Row, _now: float) -> Row | None:
        """Finish what is planned and take no more; the answer comes when that is so (``wait``: False: at once). A pause
        ends by it, as nothing would be finished; whoever pauses or resumes later has the last word."""
        pipeline = self._pipeline(params)
        if not params.get("begun"):
            params["begun"] = True
            if not pipeline.draining:
                self.flow.set(pipeline, "draining", True)
            if pipeline.paused:
                self.flow.set(pipeline, "paused", False)
                self.flow.wake_all(pipeline)
        return waits.drain(pipeline, params)

    def _run_wait(self, params: Row, now: float) -> Row | None:
        return waits.run(self.flow, str(params.get("run")), params, now)

    # --- iterations -----------------------------------------------------------------------------------------------

    def _iteration(self, params: Row) -> tuple[Pipeline, Iteration]:
        pipeline = self._pipeline(params)
        number = params.get("iteration")
        iteration = pipeline.iterations.get(number) if isinstance(number, int) else None
        if iteration is None:
            if isinstance(number, int) and 0 < number <= pipeline.last_iteration:
                end = f"`odibictl iteration wait {pipeline.name} {number}` says how, or as which it was planned again"
                raise ConflictError(f"iteration {number} of {pipeline.name} is finished; {end}")
            raise NotFoundError(f"no iteration {number} of {pipeline.name}; the newest is {pipeline.last_iteration}")
        return pipeline, iteration

    def _iteration_wait(self, params: Row, now: float) -> Row | None:
        pipeline = self._pipeline(params)
        number = params.get("iteration")
        if number is not None:
            if not isinstance(number, int) or number < 1:
                raise UsageError(f"iteration must be a number from 1 on, not {number!r}")
            return waits.iteration(self.flow, pipeline, number, params, now)
        if "look" not in params:
            # What has just arrived counts too: every source looks, and says so, before the pipeline is called idle.
            self._looks += 1
            params["look"] = f"look-{self.flow.epoch}-{self._looks}"
            self.look(params)
        return waits.pipeline(self.flow, pipeline, params, now)

    def _retry(self, params: Row, now: float) -> Row | None:
        pipeline, number = self._pipeline(params), params.get("iteration")
        found = pipeline.iterations.get(number) if isinstance(number, int) else None
        if number in pipeline.gone_on and (found is None or found.state not in ("failed", "blocked")):
            state = "finished" if found is None else found.state
            return {"pipeline": pipeline.name, "iteration": number, "state": state, "version": pipeline.gone_on[number]}
        pipeline, iteration = self._iteration(params)
        if iteration.state not in ("failed", "blocked"):
            if self.flow.hurry(pipeline, iteration, now):
                return {"pipeline": pipeline.name, "iteration": iteration.number, "state": iteration.state}
            raise ConflictError(
                f"iteration {iteration.number} of {pipeline.name} is {iteration.state}; only failed and blocked ones "
                "can be retried"
            )
        void = self.flow.retry(pipeline, iteration, now)
        if void is None:
            return None
        row: Row = {"pipeline": pipeline.name, "iteration": iteration.number, "state": iteration.state}
        stuck = pipeline.stuck(iteration.lane)
        if void:
            row["planned_again"], row["above"] = void, pipeline.last_iteration
            row["letters"] = again.letters([pipeline.iterations[number] for number in void])
        elif stuck is not None:
            row["stuck"] = stuck.number
        return row

    def _cancel(self, params: Row, now: float) -> Row:
        pipeline, iteration = self._iteration(params)
        suffix = [i for i in pipeline.unfinished(iteration.lane) if i.number >= iteration.number]
        for other in suffix:
            if other.prepared:
                raise ConflictError(
                    f"iteration {other.number} of {pipeline.name} is {other.state}: it only rolls forward now"
                )
        if not suffix:
            raise ConflictError(f"iteration {iteration.number} of {pipeline.name} is {iteration.state}")
        self.flow.cancel_from(pipeline, suffix, now)
        numbers = ", ".join(str(one.number) for one in suffix)
        self.flow.say(Log("info", f"{pipeline.name} {numbers}: cancelled by an operator"))
        backfill = pipeline.backfills.get(iteration.lane)
        if backfill is not None:  # no later run would take what is released
            runs.plan_again(backfill.lane, suffix)
        return {"pipeline": pipeline.name, "cancelled": [i.number for i in suffix], "letters": again.letters(suffix)}

    def _abandon(self, params: Row, now: float) -> Row:
        pipeline, iteration = self._iteration(params)
        node = params.get("sink")
        publication = iteration.publications.get(node) if isinstance(node, str) else None
        name = f"{pipeline.name}/{iteration.number}"
        if publication is None:
            known = ", ".join(iteration.publications) or "none that is prepared"
            raise NotFoundError(f"{name} has no sink {node!r}; its sinks: {known}")
        if publication.abandoned and not (publication.blocked and params.get("leave")):
            return {"pipeline": pipeline.name, "iteration": iteration.number, "sink": node, "state": iteration.state}
        if params.get("leave") and not publication.abandoned:
            raise ConflictError(
                f"{name}: sink {node} is not given up yet; nothing is left there: without --leave first"
            )
        if not publication.blocked:
            state = "published" if publication.done else "being published"
            raise ConflictError(f"{name}: sink {node} is {state}; only a blocked sink can be abandoned")
        if not params.get("dry_run"):
            self.flow.abandon(pipeline, iteration, str(node), now)
        return {"pipeline": pipeline.name, "iteration": iteration.number, "sink": node, "state": iteration.state}

    def _repin(self, params: Row, now: float) -> Row:
        """The next part of a sink may have other columns than those before it."""
        pipeline, node = self._pipeline(params), params.get("sink")
        sinks = [one.name for one in pipeline.spec.nodes if one.write is not None]
        if node not in sinks:
            raise NotFoundError(
                f"pipeline {pipeline.name} has no sink {node!r}; its sinks: {', '.join(sinks) or 'none'}"
            )
        result = {"pipeline": pipeline.name, "sink": node, "dry_run": bool(params.get("dry_run"))}
        if not params.get("dry_run"):
            pins.reopen(self.flow, pipeline, str(node))
        return result

    def _compact(self, params: Row, now: float) -> Row:
        """Files of a sink may be joined."""
        to = params.get("to")
        given = int(to) if to is not None else None
        return compacting.ask(
            self.flow, self._pipeline(params), str(params.get("sink")), given, bool(params.get("dry_run"))
        )

    def _prune(self, params: Row, now: float) -> Row | None:
        """The source actor asks how much of a log may be deleted."""
        what = {name: params.get(name) for name in ("source", "partition", "place")}
        if not all(what.values()):
            raise UsageError("source.prune needs a source, a partition and a place")
        return pruning.ask(self.flow, self._pipeline(params), now=now, **{name: str(one) for name, one in what.items()})

    def _unpin(self, params: Row, now: float) -> Row:
        """The next file of a source tells its columns and types."""
        dry_run = bool(params.get("dry_run"))
        row = pins.unpin(self.flow, self._pipeline(params), str(params.get("source")), now, dry_run)
        return {**row, "dry_run": dry_run}

    def _source_paused(self, params: Row, _now: float, *, on: bool) -> Row:
        """Plan nothing new of a source, or go on."""
        return source_pauses.ask(self.flow, self._pipeline(params), str(params.get("source")), on)

    # --- dead letters, and going back -----------------------------------------------------------------------------

    def _replay(self, params: Row, now: float) -> Row | None:
        return letters.replay(self.flow, _letter(params), bool(params.get("dry_run")), now)

    def _discard(self, params: Row, now: float) -> Row | None:
        return letters.discard(self.flow, _letter(params), bool(params.get("dry_run")), now)

    def _rewind(self, params: Row, now: float) -> Row | None:
        to = params.get("to")
        if not isinstance(to, int) or to < 0:
            raise UsageError(f"to must be the number of an iteration, or 0 for the beginning, not {to!r}")
        return rewinding.ask(self.flow, self._pipeline(params), to, params, now)

    # --- schedules and backfills ----------------------------------------------------------------------------------

    def _schedule(self, params: Row) -> tuple[Pipeline, Scheduled]:
        pipeline = self._pipeline(params)
        return pipeline, self.flow.schedules.find(pipeline.name, params.get("schedule"))

    def _some(self, params: Row) -> list[Pipeline]:
        return [self._pipeline(params)] if params.get("pipeline") else self.flow.listed()

    def _schedule_list(self, params: Row, now: float) -> Row:
        named = params.get("schedule")
        found = [(p, one) for p in self._some(params) for one in self.flow.schedules.of(p.name)]
        chosen = [(p, one) for p, one in found if named in (None, one.name)]
        if len(chosen) > MAX_ROWS:  # what somebody should know of comes first
            chosen.sort(key=lambda item: not scheduling.problem(self.flow, item[0], item[1], now))
        rows = [scheduling.row(self.flow, p, one, now) for p, one in chosen[:MAX_ROWS]]
        return {"items": rows, "more": max(0, len(chosen) - MAX_ROWS)}

    def _schedule_show(self, params: Row, now: float) -> Row:
        return scheduling.show(self.flow, *self._schedule(params), now)

    def _schedule_add(self, params: Row, now: float) -> Row:
        replace = bool(params.get("replace"))
        return scheduling.add(self.flow, self._pipeline(params), params.get("spec"), now, replace)

    def _schedule_remove(self, params: Row, now: float) -> Row:
        return scheduling.remove_added(self.flow, *self._schedule(params), now)

    def _schedule_pause(self, params: Row, now: float) -> Row:
        return scheduling.pause(self.flow, *self._schedule(params), True, now)

    def _schedule_resume(self, params: Row, now: float) -> Row:
        return scheduling.pause(self.flow, *self._schedule(params), False, now)

    def _backfill(self, params: Row, now: float) -> Row | None:
        return backfill.ask(self.flow, self._pipeline(params), params, now)

    def _backfill_list(self, params: Row, _now: float) -> Row:
        return {"items": [backfill.row(p, one) for p in self._some(params) for one in p.backfills.values()]}

    def _backfill_cancel(self, params: Row, now: float) -> Row:
        return backfill.cancel(self.flow, self._pipeline(params), str(params.get("lane")), now)

    # --- workers --------------------------------------------------------------------------------------------------

    def _scale(self, params: Row, _now: float) -> Row:
        count = params.get("workers")
        if not isinstance(count, int) or not 0 <= count <= MAX_WORKERS:
            raise UsageError(f"workers must be a number from 0 to {MAX_WORKERS}, not {count!r}")
        hosts = {pool.host: None for pool in self.flow.dispatcher.pools.values()}
        wanted = params.get("host")
        if wanted is not None and wanted not in hosts:
            raise NotFoundError(f"no worker pool on host {wanted!r}; known: {', '.join(hosts) or 'none'}")
        if not hosts:
            raise NotFoundError("no worker pool is connected; is the `worker:` line of the Procfile running?")
        for host in [wanted] if wanted is not None else list(hosts):
            self.flow.workers[host] = count
            self.flow.journal.append(rec.Setting(scope=WORKERS, name=host, value=str(count)))
            scale_host(self.flow, host)
        return {"workers": count, "hosts": [wanted] if wanted is not None else list(hosts)}

    def _one_worker(self, params: Row, _now: float, *, message: type[KillWorker | DrainWorker]) -> Row:
        """Tell the pool of a worker, by its name or process, what is to become of it."""
        name = params.get("worker")
        for pool in self.flow.dispatcher.pools.values():
            for worker in pool.workers:
                if name in (worker.worker, str(worker.pid), worker.pid):
                    self.flow.say(Send(pool.name, message(worker=worker.worker)))
                    return {"worker": worker.worker, "pool": pool.name, "pid": worker.pid}
        raise NotFoundError(f"no worker {name!r}; see `odibictl worker list`")


def _check_stuck(pipeline: Pipeline, retry: bool) -> None:
    """A run behind a stuck iteration could never end: it retries what is stuck, or is told what holds it back."""
    stuck = pipeline.stuck()
    if stuck is not None and not retry:
        raise ConflictError(
            f"iteration {stuck.number} of {pipeline.name} is {stuck.state} and holds back what comes after it: "
            f"fix the cause, then `odibictl iteration retry {pipeline.name} {stuck.number}`, or cancel it"
        )


def _letter(params: Row) -> int:
    letter = params.get("letter")
    if not isinstance(letter, int):
        raise UsageError(f"letter must be the id of a dead letter, not {letter!r}; see `odibictl deadletter list`")
    return letter


def scale_host(flow: Flow, host: str) -> None:
    """Tell the pools of a host their share of the workers that an operator asked for, if one did."""
    count = flow.workers.get(host)
    pools = [pool for pool in flow.dispatcher.pools.values() if pool.host == host and not pool.draining]
    if count is None or not pools:
        return
    share, rest = divmod(count, len(pools))
    for place, pool in enumerate(pools):
        pool.capacity = share + (1 if place < rest else 0)
        flow.say(Send(pool.name, Scale(epoch=flow.epoch, workers=pool.capacity)))
