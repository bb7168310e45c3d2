"""What a client can ask about schedules, runs, backfills and alerts; ``Client`` has these methods.

A schedule is named by ``schedule`` where that is unique in the project, else by ``pipeline.schedule``.
"""

from __future__ import annotations

import difflib
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from odibi_actors.config.model import ConnectionSpec, ScheduleSpec
from odibi_actors.errors import ConfigError, ConflictError, NotFoundError, TimedOutError
from odibi_actors.messages import BROKER, SCHEDULER, STORE
from odibi_actors.model import ALL_DONE, LIVE
from odibi_actors.units import format_instant, plural

POLL = 1.0
"""Seconds between two looks at a backfill that is waited for."""
ENDED = (*ALL_DONE, "cancelled")
"""States of a backfill that nothing changes."""

Row = dict[str, Any]


def check_open(backfill: Row) -> None:
    """Raise ConflictError for a backfill that has ended: nothing of it can be cancelled."""
    if backfill["state"] in ENDED:
        name = f"{backfill['lane']} of {backfill['pipeline']}"
        raise ConflictError(f"{name} has ended: {backfill['state']}; there is nothing to cancel")


class ScheduleVerbs:
    """Each is one request, unless it says otherwise; raises what ``Client.request`` raises."""

    # --- schedules ------------------------------------------------------------------------------------------------

    def schedules(self, pipeline: str | None = None, timeout: float | None = -1.0) -> Row:
        """``{"items": [schedule rows]}``, of one pipeline or of all; ``more``: so many are not listed."""
        return self._dict("schedule.list", timeout=timeout, pipeline=pipeline)

    def next_times(self, pipeline: str | None = None, timeout: float | None = -1.0) -> Row:
        """``{"items": [{pipeline, schedule, next, late}]}`` of schedules that follow the clock: the next due time
        (seconds since the epoch, or None), and how late the newest occurrence was noticed (seconds)."""
        return self._dict("schedule.next", SCHEDULER, timeout, pipeline=pipeline)

    def find_schedule(self, name: str) -> tuple[str, str]:
        """``(pipeline, schedule)`` meant by ``name``. Raises NotFoundError, or ConfigError when there are several."""
        pipeline, dot, schedule = name.partition(".")
        if dot:
            return pipeline, schedule
        listed = self._dict("schedule.list", schedule=name)
        known = [(row["pipeline"], row["schedule"]) for row in listed["items"]]
        if listed.get("more") and any(one != name for _, one in known):  # not all of that name were seen
            raise ConfigError(f"there are very many schedules; name {name!r} with its pipeline: PIPELINE.{name}")
        return one_of(name, known)

    def schedule(self, name: str) -> Row:
        """One schedule: its row, ``spec``, and what waits (``waits``). Two requests where ``name`` has no pipeline."""
        pipeline, schedule = self.find_schedule(name)
        return self._dict("schedule.show", pipeline=pipeline, schedule=schedule)

    def add_schedule(
        self,
        pipeline: str,
        spec: ScheduleSpec | Mapping[str, Any] | None = None,
        /,
        replace: bool = False,
        **values: Any,
    ) -> Row:
        """Add a schedule to a running pipeline; its row. Either a whole ``ScheduleSpec`` or values as in ``odibi.yaml``
        (``name="nightly", cron="0 2 * * *", timezone="Europe/Berlin"``), which are checked as those are: ConfigError.
        ConflictError when another one has the name, unless that is to be replaced (``replace``; one of ``odibi.yaml``
        never is); adding the same again is no error, so a lost answer is none."""
        if not isinstance(spec, ScheduleSpec):
            spec = self.read_schedule(pipeline, {**(spec or {}), **values})
        elif values:
            raise ConfigError(f"a whole ScheduleSpec and {', '.join(values)} besides; give one or the other")
        return self._dict("schedule.add", pipeline=pipeline, spec=msgspec.to_builtins(spec), replace=replace)

    def read_schedule(self, pipeline: str, values: Mapping[str, Any]) -> ScheduleSpec:
        """The spec of a schedule for ``pipeline``, written as in ``odibi.yaml``. Raises ConfigError with all problems.

        The pipelines of ``after`` are those that run; the folders of ``file_watch`` are those of the client's project,
        which must be on this machine."""
        from odibi_actors.client import data_dir, project_root
        from odibi_actors.config.schedules import read_schedule

        root, connections, folder = project_root(self._project), {}, ""
        if "file_watch" in values:
            connections, folder = _connections(root), str(data_dir(root))
        names = [row["pipeline"] for row in self._dict("pipeline.list")["items"]] if "after" in values else []
        return read_schedule(values, root, connections, names, pipeline=pipeline, data_dir=folder)

    def remove_schedule(self, name: str) -> Row:
        """Remove a schedule that was added to the running system (not one of ``odibi.yaml``: ConflictError); its row.
        Two requests or three: it is looked up first, so that its absence afterwards says it is done."""
        row = self.schedule(name)
        try:
            return self._dict("schedule.remove", pipeline=row["pipeline"], schedule=row["schedule"])
        except NotFoundError:  # the answer to the first try was lost
            return row

    def pause_schedule(self, name: str) -> Row:
        """Start nothing until resumed; what comes due meanwhile is skipped, and counted."""
        pipeline, schedule = self.find_schedule(name)
        return self._dict("schedule.pause", pipeline=pipeline, schedule=schedule)

    def resume_schedule(self, name: str) -> Row:
        """Go on with what comes due from now on."""
        pipeline, schedule = self.find_schedule(name)
        return self._dict("schedule.resume", pipeline=pipeline, schedule=schedule)

    def occurrences(
        self,
        pipeline: str,
        schedule: str | None = None,
        state: str | None = None,
        limit: int = 20,
        before: int | None = None,
    ) -> Row:
        """``{"items": [occurrence rows]}``, newest first; ``state``: waiting, started or skipped. Longer lists as those
        of iterations."""
        more = {} if before is None else {"before": before}
        return self._dict(
            "occurrence.list", STORE, pipeline=pipeline, schedule=schedule, state=state, limit=limit, **more
        )

    # --- runs -----------------------------------------------------------------------------------------------------

    def trigger(self, pipeline: str, params: Mapping[str, Any] | None = None) -> Row:
        """Start a run over everything discovered by now; ``{"run": id}``. ``params`` are handed to its nodes. The id is
        chosen here, so that asking again after a lost answer does not start a second run. Under ``trigger: data`` the
        sources look for data at once, and ``run`` is ""."""
        run = f"manual-{secrets.token_hex(6)}"
        return self._dict("pipeline.trigger", pipeline=pipeline, run=run, params=dict(params or {}))

    def runs(
        self, pipeline: str | None = None, state: str | None = None, limit: int = 20, before: int | None = None
    ) -> Row:
        """``{"items": [run rows]}``, newest first; ``state``: active, done, no_data, failed or cancelled. Longer
        lists as those of iterations."""
        more = {} if before is None else {"before": before}
        return self._dict("run.list", STORE, pipeline=pipeline, state=state, limit=limit, **more)

    def run(self, run: str) -> Row:
        """One run."""
        return self._dict("run.show", STORE, run=run)

    # --- backfills ------------------------------------------------------------------------------------------------

    def backfill(
        self,
        pipeline: str,
        files: Mapping[str, str] | None = None,
        *,
        schedule: str = "",
        start: float = 0.0,
        end: float = 0.0,
        concurrency: int = 1,
        params: Mapping[str, Any] | None = None,
        dry_run: bool = False,
    ) -> Row:
        """Read files again (``files``: source -> pattern), or run again for each occurrence of ``schedule`` due in
        [``start``, ``end``) (seconds since the epoch), in a lane of its own beside the live runs. ``{"lane", "run",
        "files", "occurrences", "iterations"}``; ``dry_run`` only says what it would be. The run's id is chosen here, so
        that asking again after a lost answer does not begin a second one. Raises ConfigError when ``start`` is in the
        future."""
        if not files and start >= time.time():
            raise ConfigError(
                f"a backfill is of times past, and {format_instant(start)} is in the future: "
                f"{schedule} runs by itself then"
            )
        given: Row = {"files": dict(files)} if files else {"schedule": schedule, "from": start, "to": end}
        given |= {"pipeline": pipeline, "concurrency": concurrency, "params": dict(params or {}), "dry_run": dry_run}
        given["run"] = f"backfill-{secrets.token_hex(6)}"
        result: Row = self.request("pipeline.backfill", given)
        return result

    def backfills(self, pipeline: str | None = None, timeout: float | None = -1.0) -> Row:
        """``{"items": [backfill rows]}``: those that have not ended; ``failed`` is the iteration that holds one up."""
        return self._dict("backfill.list", timeout=timeout, pipeline=pipeline)

    def ended_backfills(self, pipeline: str | None = None, limit: int = 10) -> list[Row]:
        """The newest ``limit`` of those that have ended, of the newest 1,000, newest first: what their runs tell."""
        found = self._dict("run.list", STORE, pipeline=pipeline, limit=1000, backfills=True)["items"]
        ended = [run for run in found if run.get("lane") != LIVE and run.get("state") != "active"]
        return [_ended(run) for run in ended[:limit]]

    def find_backfill(self, lane: str) -> str:
        """The pipeline of a backfill: no two have the same lane. Raises NotFoundError."""
        rows = [*self.backfills()["items"], *self.ended_backfills(limit=1000)]
        found = next((row["pipeline"] for row in rows if row["lane"] == lane), None)
        if found is None:
            raise NotFoundError(f"no backfill {lane!r}; there are: {_lanes(rows)}")
        return str(found)

    def show_backfill(self, pipeline: str, lane: str, timeout: float | None = -1.0) -> Row:
        """One backfill; of one that the broker has forgotten, what its run tells. Raises NotFoundError."""
        rows = self.backfills(pipeline, timeout)["items"]
        row = next((row for row in rows if row["lane"] == lane), None)
        if row is not None:
            return dict(row)
        past = self._dict("run.list", STORE, pipeline=pipeline, limit=1000, backfills=True)["items"]
        run = next((run for run in past if run.get("lane") == lane), None)
        if run is None:
            raise NotFoundError(f"no backfill {lane!r} of {pipeline}; there are: {_lanes([*rows, *past])}")
        return _ended(run)

    def cancel_backfill(self, pipeline: str, lane: str) -> Row:
        """Void what is not prepared of a backfill, and end it; what is committed stays. Raises ConflictError when it
        has ended by itself. Two requests: it is looked up first."""
        check_open(self.show_backfill(pipeline, lane))
        try:
            return self._dict("backfill.cancel", pipeline=pipeline, lane=lane)
        except NotFoundError:  # it has ended: the answer to the first try was lost, or it was done by itself
            return self.show_backfill(pipeline, lane)

    def wait_backfill(
        self,
        pipeline: str,
        lane: str,
        timeout: float | None = None,
        progress: Callable[[Row], None] | None = None,
    ) -> Row:
        """Wait until a backfill has ended (``state``: done, no_data, cancelled), or an iteration of it has failed
        (``failed``: it waits for `odibictl iteration retry`, or to be cancelled). Looks every second; ``progress`` is
        given each row. ``timeout`` in seconds; raises TimedOutError."""
        started = time.monotonic()
        while True:
            left = None if timeout is None else max(0.0, started + timeout - time.monotonic())
            row = self.show_backfill(pipeline, lane, left if left is None else max(left, POLL))
            if progress is not None:
                progress(row)
            if row["state"] in (*ENDED, "failed"):
                return row
            if row.get("failed"):  # the iteration that holds it up
                return {**row, "state": "failed"}
            if left is not None and left <= POLL:
                raise TimedOutError(
                    f"{lane} of {pipeline} is not done within {timeout:g} s: {row.get('committed') or 0} of "
                    f"{plural(row.get('planned') or 0, 'iteration')} committed"
                )
            time.sleep(POLL)

    # --- alerts ---------------------------------------------------------------------------------------------------

    def alerts(self, pipeline: str | None = None, limit: int = 20, before: int | None = None) -> Row:
        """``{"items": [alert rows]}``, newest first; longer lists as those of iterations."""
        more = {} if before is None else {"before": before}
        return self._dict("alert.list", STORE, pipeline=pipeline, limit=limit, **more)

    # --- what the client itself has ---------------------------------------------------------------------------------

    _project: str | Path | None

    def request(self, verb: str, params: Row | None = None, to: str = BROKER, timeout: float | None = -1.0) -> Any:
        """See ``Client``."""
        raise NotImplementedError

    def _dict(self, verb: str, to: str = BROKER, timeout: float | None = -1.0, **params: Any) -> Row:
        raise NotImplementedError


def _ended(run: Row) -> Row:
    """A run as a backfill that has ended. All that a done one has planned is committed."""
    kept = run.get("kept", run.get("planned"))  # without what was given back and planned again
    found = {name: run.get(name) for name in ("pipeline", "lane", "run", "state", "at", "ended", "error")}
    return {**found, "planned": kept, "committed": kept if run.get("state") in ALL_DONE else None}


def _lanes(rows: list[Row]) -> str:
    lanes = list(dict.fromkeys(str(row["lane"]) for row in rows))
    return (", ".join(lanes[:10]) + (", ..." if len(lanes) > 10 else "")) or "none"


def one_of(name: str, known: list[tuple[str, str]]) -> tuple[str, str]:
    """The (pipeline, schedule) among ``known`` that ``name`` means. Raises NotFoundError; ConfigError if several."""
    found = [pair for pair in known if name in (pair[1], ".".join(pair))]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"several pipelines have a schedule {name!r}; name one of: {', '.join(map('.'.join, found))}")
    near = difflib.get_close_matches(name, [word for pair in known for word in (pair[1], ".".join(pair))], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "; `odibictl schedule list` has those there are"
    raise NotFoundError(f"no schedule {name!r}{hint}")


def _connections(root: Path) -> dict[str, ConnectionSpec]:
    """Those of the project at ``root``. Raises ConfigError."""
    from odibi_actors.config.load import load_connections

    if not (root / "odibi.yaml").is_file():
        raise ConfigError(f"file_watch: where files arrive is looked up in odibi.yaml, and {root} has none; go to the "
                          "project, or name it with --project DIR")  # fmt: skip
    return load_connections(root)
