"""The client of a running system: the verbs of ``odibictl`` for Python code.

    with Client(project="examples/flights") as client:
        run = client.trigger("report", {"day": "2013-01-01"})["run"]
        client.wait_run(run)
        client.add_schedule("report", name="nightly", cron="0 2 * * *", timezone="America/New_York")

One client, one socket, one thread at a time: a second one is refused. A child of a fork gets a link of its own. Results
are plain dictionaries, as ``odibictl -o json`` prints them. When nothing runs, what only reads is answered from the
project's store at rest, and the rest raises UnreachableError. The verbs of schedules, runs, backfills and alerts are in
``client_verbs``, those of events in ``client_events``.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import zmq

from odibi_actors.client_events import EventVerbs
from odibi_actors.client_verbs import ScheduleVerbs
from odibi_actors.config.model import ProjectSpec
from odibi_actors.errors import (
    ConfigError,
    ConflictError,
    NotFoundError,
    OdibiError,
    RunFailedError,
    TimedOutError,
    UnreachableError,
)
from odibi_actors.messages import (
    BROKER,
    ONE_VERSION,
    PROTOCOL,
    SOURCE,
    STORE,
    Apply,
    Bye,
    Hello,
    Message,
    Push,
    Refused,
    Reply,
    Request,
    Welcome,
    WhoAreYou,
)
from odibi_actors.model import LIVE, TRIGGER
from odibi_actors.pending import held_by
from odibi_actors.runtime import paths, wire
from odibi_actors.runtime.presence import MAX_CONNECTION_FILE, absence, moved
from odibi_actors.runtime.process import receive, secure
from odibi_actors.runtime.trouble import unheard
from odibi_actors.version import __version__

if TYPE_CHECKING:
    from odibi_actors.local.at_rest import AtRest

CONNECT_TIMEOUT = 2.0
"""Seconds a broker on this machine or in this network may take to say its first word."""
REQUEST_TIMEOUT = 10.0
"""Seconds for an answer that needs no waiting for work."""
REPEAT = 2.0
"""Seconds after which an unanswered request is sent again: a broker or store that restarted has forgotten it."""
LOST_AFTER = 30.0
"""Seconds of silence after which a wait is given up: supervisors restart a crashed broker much sooner."""
LINGER_MS = 100
"""For the Bye at the end; nothing depends on it."""

ONCE = frozenset({"iteration.retry", "iteration.cancel", "worker.kill"})
"""Verbs that are not sent again by themselves: doing them twice is not the same as once."""
WAITS = frozenset({"iteration.wait", "run.wait", "pipeline.drain", "pipeline.rewind"})
"""Verbs that are answered when a condition holds: no answer means not yet."""
ERRORS: dict[int, type[OdibiError]] = {
    error.exit_code: error
    for error in (ConfigError, NotFoundError, ConflictError, RunFailedError, UnreachableError, TimedOutError)
}
_TAKEN = ("planned", "pending", "waiting", "changed")
"""States of ``source why`` of what was planned already, or of which a part may have been."""

_BECAME = ("committed", "failed", "blocked", "pruned", "dead_lettered", "discarded")
"""What ``source why`` says of a file that was planned: what became of its iteration, or of the file itself."""

SETTLED = ("committed", "failed", "blocked", "dead_lettered", "cancelled", "rewound")
"""States an iteration does not leave by itself."""

Asked = Request | Apply | Push
"""What is answered by a Reply."""

START = "start one with `odibictl up`"


def project_root(project: str | Path | None = None) -> Path:
    """The project's folder, links followed: ``project``, else ``ODIBI_PROJECT``, else the current one."""
    return Path(os.path.realpath(project or os.environ.get("ODIBI_PROJECT") or "."))


def data_dir(root: Path) -> Path:
    """Where the project at ``root`` keeps its state.

    A file that is no YAML at this moment (it is being edited) must not keep an operator from a system that runs: then
    the default is tried.
    """
    try:
        return paths.basics(root, required=False).data_dir
    except ConfigError:
        default = root / ".odibi"
        if not paths.layout(default).connection.exists():
            raise
        return default


def connection_file(project: str | Path | None = None) -> Path:
    """Where a running broker of the project says how to reach it."""
    return paths.layout(data_dir(project_root(project))).connection


def read_connection(path: Path) -> dict[str, Any]:
    """The connection file: ``endpoint`` and ``pid`` of the broker. Raises UnreachableError when there is none."""
    try:
        if path.exists() and not path.is_file():
            raise UnreachableError(f"no broker answers: {path} is not a file; remove it, and {START}")
        with path.open("rb") as file:
            data = json.loads(file.read(MAX_CONNECTION_FILE))
    except FileNotFoundError:
        said = absence(path.parent, 0.0)
        raise UnreachableError(said or f"nothing runs on {path.parent.parent}; {START}") from None
    except PermissionError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise UnreachableError(f"no broker answers: {path}: {_reason(error)}; {START}") from None
    if not isinstance(data, dict) or not isinstance(data.get("endpoint"), str):
        raise UnreachableError(f"no broker answers: {path} names no endpoint; {START}")
    if paths.copied(path, data):
        raise UnreachableError(f"nothing runs on {path.parent.parent}; {START}")
    if said := moved(path.parent):
        raise UnreachableError(said)
    return data


def state_of(row: Mapping[str, Any]) -> str:
    """The state of a pipeline's row, and that it is paused where it is something else besides: "failed, paused"."""
    state = str(row.get("state") or "")
    return f"{state}, paused" if row.get("paused") and state != "paused" else state


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else f"not readable as JSON ({error})"


class NotDoneError(TimedOutError):
    """The broker is there, and what is waited for has not come in time."""


class Client(ScheduleVerbs, EventVerbs):
    """Talks to a running system. ``endpoint``: the broker's ZeroMQ address, else ``ODIBI_ENDPOINT``, else what the
    connection file of ``project`` says. ``timeout`` in seconds, for each request; None waits as long as the broker
    lives. Raises UnreachableError (no broker), TimedOutError, NotFoundError, ConflictError, by what is answered."""

    def __init__(
        self,
        endpoint: str | None = None,
        project: str | Path | None = None,
        timeout: float | None = REQUEST_TIMEOUT,
    ) -> None:
        self._endpoint = endpoint or (None if project else os.environ.get("ODIBI_ENDPOINT"))
        self._project = project
        self.timeout = timeout
        self.name = f"client-{secrets.token_hex(4)}"
        self.incarnation = secrets.token_hex(4)
        self.on_rest: Callable[[Path, float], None] | None = None
        """Called with (data_dir, seconds since the epoch) when an answer comes from a store at rest: as of when."""
        self.on_wait: Callable[[], object] | None = None
        """Called every 2 s while something is waited for."""
        self._told_rest = False
        self.on_change: Callable[[Path], None] | None = None
        """Called with data_dir when something was changed in a store at rest."""
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self._heard = 0.0
        self._pid = os.getpid()
        self._busy = threading.RLock()
        self._broker: Welcome | None = None  # what it last said of itself

    # --- the link -------------------------------------------------------------------------------------------------

    @property
    def endpoint(self) -> str:
        """The broker's address. Raises UnreachableError when nobody has written one down."""
        if self._endpoint is None:
            self._endpoint = read_connection(connection_file(self._project))["endpoint"]
        return self._endpoint

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Say goodbye and close the socket. A closed client connects again at its next request."""
        if self._pid != os.getpid():
            self._after_fork()
        if not self._busy.acquire(blocking=False):
            raise ConflictError("this Client is at work in another thread, and cannot be closed in this one")
        try:
            self._close()
        finally:
            self._busy.release()

    def _close(self) -> None:
        if self._socket is not None and self._heard:
            with contextlib.suppress(zmq.ZMQError):
                self._send(BROKER, Bye())
        if self._socket is not None:
            self._socket.close()
        if self._context is not None:
            self._context.term()
        self._socket = self._context = self._broker = None
        self._heard = 0.0

    def _open(self) -> zmq.Socket[bytes]:
        endpoint = self.endpoint
        self._context = zmq.Context()
        link = self._context.socket(zmq.DEALER)
        secure(link, remote=not endpoint.startswith("ipc:"))
        link.set(zmq.IDENTITY, wire.identity(self.name, self.incarnation))
        link.set(zmq.LINGER, LINGER_MS)
        try:
            link.connect(endpoint)
        except zmq.ZMQError as error:
            link.close()
            raise UnreachableError(
                f"{endpoint!r} is no ZeroMQ address ({error}); write tcp://HOST:PORT or ipc:///PATH"
            ) from None
        self._socket = link
        self._hello()
        return link

    def _hello(self) -> None:
        self._send(BROKER, Hello("client", self.incarnation, socket.gethostname(), os.getpid()))

    def _send(self, to: str, message: Message) -> None:
        assert self._socket is not None
        header = wire.encode_header(to, self.name, self.incarnation)
        for body in wire.bodies(message):
            with contextlib.suppress(zmq.Again):  # a full queue: the broker is away; what matters is sent again
                self._socket.send_multipart([header, body], zmq.DONTWAIT)

    def _receive(self, wait: float) -> Message | None:
        """The next valid message for us within ``wait`` seconds; anything else is dropped."""
        assert self._socket is not None
        if not self._socket.poll(int(max(0.0, wait) * 1000) + 1):
            return None
        for header_frame, body in receive(self._socket, wire.FRAMES):
            header = wire.decode_header(header_frame)
            message = wire.decode_body(body)
            if isinstance(header, wire.Header) and header.to == self.name and isinstance(message, Message):
                self._heard = time.monotonic()
                return message
        return None

    # --- requests -------------------------------------------------------------------------------------------------

    def request(
        self,
        verb: str,
        params: dict[str, Any] | None = None,
        to: str = BROKER,
        timeout: float | None = -1.0,
    ) -> Any:
        """Ask ``to`` ("broker", "store", "source") one verb and return the result.

        ``timeout`` in seconds; None waits as long as the broker lives; by default the client's own. While no answer
        comes the same request is sent again every 2 s, but for the verbs in ``ONCE``."""
        return self._ask(Request(secrets.token_hex(8), verb, params or {}), to, verb, timeout)

    def _ask(self, message: Asked, to: str, verb: str, timeout: float | None) -> Any:
        if self._pid != os.getpid():
            self._after_fork()
        if not self._busy.acquire(blocking=False):
            raise ConflictError("this Client is at work in another thread; make one for each thread")
        try:
            return self._exchange(message, to, verb, timeout)
        finally:
            self._busy.release()

    def _after_fork(self) -> None:
        """In a child the link is its parent's, whose answers both would take from each other: begin with another name.
        What is left of the parent's is not closed: that is the parent's to do."""
        self._pid, self._busy = os.getpid(), threading.RLock()
        self.name, self.incarnation = f"client-{secrets.token_hex(4)}", secrets.token_hex(4)
        self._socket = self._context = None
        self._heard = 0.0

    def _exchange(self, message: Asked, to: str, verb: str, timeout: float | None) -> Any:
        if timeout is not None and timeout < 0:
            timeout = self.timeout
        if self._socket is None:
            folder = self._resting()
            if folder is not None:
                return self._read(folder, message, to)
            self._open()
        self._check_version(message)
        started = repeated = time.monotonic()
        asked = self._broker.epoch if self._broker is not None else 0  # which broker has got it; 0: not known yet
        self._send(to, message)
        while True:
            now = time.monotonic()
            self._check_patience(now, started, timeout, to, verb)
            if now - repeated >= REPEAT:
                repeated = now
                self._hello()
                if verb in WAITS and self.on_wait is not None:
                    self.on_wait()  # an answer that comes while it asks is lost, and given again to what follows
                if verb not in ONCE:
                    self._send(to, message)
            until = min(
                repeated + REPEAT,
                started + (REPEAT if timeout is None else timeout) if self._heard else started + CONNECT_TIMEOUT,
            )
            got = self._receive(until - now)
            if isinstance(got, Reply) and got.id == message.id:
                return _result(got)
            if isinstance(got, Refused):
                raise ConflictError(f"the broker at {self.endpoint} refuses this client: {got.reason}")
            if isinstance(got, Welcome):
                self._broker = got
                self._check_version(message)
                if verb in ONCE and asked not in (0, got.epoch):
                    raise TimedOutError(
                        f"{verb}: the broker was restarted before it answered, and nobody knows whether it was done; "
                        "look, and ask again if it was not"
                    )
                asked = got.epoch
            if isinstance(got, WhoAreYou):  # it restarted and took no notice of what was asked
                asked = 0
                self._hello()
                self._send(to, message)

    def _check_version(self, message: Asked) -> None:
        """What is asked and answered is the same in every version; a project is not. Raises ConflictError."""
        if isinstance(message, Apply) and self._broker is not None and self._broker.protocol != PROTOCOL:
            theirs = f"the broker {self._broker.version}, which understands no project of ours"
            raise ConflictError(f"this is version {__version__}, {theirs}: {ONE_VERSION}")

    def _resting(self) -> Path | None:
        """The data_dir, when there is a store in it and nobody on this machine runs on it."""
        if self._endpoint is not None:
            return None
        folder = data_dir(project_root(self._project))
        places = paths.layout(folder)
        if not places.database.exists() or paths.held(places.run):
            return None
        with contextlib.suppress(UnreachableError):
            if not read_connection(places.connection)["endpoint"].startswith("ipc:"):
                return None  # it runs on another host
        return folder

    def _read(self, folder: Path, message: Asked, to: str) -> Any:
        """Answer from the store at rest, or change what is only written there. Raises UnreachableError for what only a
        running system can do."""
        verb, params = (message.verb, message.params) if isinstance(message, Request) else ("apply", {})
        verb = "event.push" if isinstance(message, Push) else verb
        at_rest = import_module("odibi_actors.local.at_rest")
        changes = import_module("odibi_actors.local.changes")
        adopting = isinstance(message, Apply) and bool(message.adopt)
        if adopting or (to == BROKER and verb in changes.CHANGES | {"pipeline.rewind"}):
            return self._change(folder, message)
        asking = isinstance(message, Apply) and message.dry_run
        if not asking and not at_rest.answers(to, verb):
            pipeline = ""
            if "letter" in params:
                with self._opened(folder) as store:
                    pipeline = store.letter(params["letter"])
            what = "" if self._told_rest else f"nothing runs on {folder}; "
            raise UnreachableError(what + changes.instead(verb, params, pipeline))
        with self._opened(folder) as store:
            result = (
                store.would_change(message.project) if isinstance(message, Apply) else store.answer(to, verb, params)
            )
            if self.on_rest is not None:
                self.on_rest(folder, store.as_of)
                self._told_rest = True
            return result

    def _opened(self, folder: Path) -> AtRest:
        """The store at rest. Raises UnreachableError when it runs already, and its broker does not yet."""
        try:
            found: AtRest = import_module("odibi_actors.local.at_rest").AtRest(folder, project_root(self._project))
        except ConflictError:
            raise UnreachableError(f"a system is being started on {folder}, and does not answer yet") from None
        return found

    def _change(self, folder: Path, message: Asked) -> Any:
        """Do what only writes to the store, as nothing runs."""
        if isinstance(message, Push):
            raise UnreachableError(f"nothing runs on {folder}; {START}")
        if isinstance(message, Apply):
            verb, dry_run = "apply", message.dry_run
        else:
            verb, dry_run = message.verb, bool(message.params.get("dry_run"))
        root = project_root(self._project)
        try:
            if isinstance(message, Request) and verb == "pipeline.rewind":  # which publishes nothing, and takes back
                result = import_module("odibi_actors.local.rewinding").rewind(folder, root, message.params)
            else:
                with import_module("odibi_actors.local.changes").Changes(folder, root) as broker:
                    result = broker.ask(message, verb)
        except OdibiError as error:
            if type(error) is not OdibiError:
                raise
            raise ERRORS.get(error.exit_code, OdibiError)(str(error)) from None
        if self.on_change is not None and not dry_run:
            self.on_change(folder)
        return result

    def home(self) -> Path | None:
        """The data_dir of the broker that is meant, if it is the project's own, on this host."""
        try:
            places = paths.layout(data_dir(project_root(self._project)))
        except ConfigError:
            return None
        return places.data_dir if self._endpoint in (None, places.endpoint) else None

    def _absence(self, waited: float) -> str:
        """What can be said of the project's own broker, if that is the one that is meant."""
        home = self.home()
        return absence(paths.layout(home).run, waited) if home is not None else ""

    def _reasons(self, verb: str, waited: float) -> str:
        """What is known of why there is no answer; "" when nothing is."""
        if verb != "status":
            with contextlib.suppress(OdibiError):
                status = self._exchange(Request(secrets.token_hex(8), "status", {}), BROKER, "status", CONNECT_TIMEOUT)
                return "; ".join(said for _, said in unheard(status, self.home()))
        return self._absence(waited)

    def _check_patience(self, now: float, started: float, timeout: float | None, to: str, verb: str) -> None:
        """Raise when waiting on makes no sense."""
        if not self._heard and now - started >= CONNECT_TIMEOUT:
            endpoint = self.endpoint
            self.close()
            said = self._absence(CONNECT_TIMEOUT) if endpoint.startswith("ipc:") else ""
            if said:
                raise UnreachableError(said)
            raise UnreachableError(f"no broker answers at {endpoint} within {CONNECT_TIMEOUT:g} s; {START}")
        if timeout is not None and now - started >= timeout:
            if self._heard and now - self._heard < LOST_AFTER and verb in WAITS:
                raise NotDoneError(f"not done within {timeout:g} s; `odibictl status` shows what it waits for")
            said = self._reasons(verb, timeout) or "see `odibictl status`, or raise --timeout"
            raise TimedOutError(f"{verb}: no answer of the {to} within {timeout:g} s: {said}")
        if self._heard and now - max(started, self._heard) >= LOST_AFTER:
            raise UnreachableError(
                f"{verb}: the broker at {self.endpoint} has been silent for {LOST_AFTER:g} s; "
                "see `odibictl doctor` and `odibictl logs broker`"
            )

    # --- verbs ----------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """The system at a glance: epoch, peers, pipelines, workers."""
        return self._dict("status")

    def apply(self, project: ProjectSpec | str | Path | None = None, *, dry_run: bool = False) -> dict[str, Any]:
        """Make the project's configuration the newest version; ``{"items": [{pipeline, version, changed, why,
        advice}]}``: what is not the same, and what pinned sinks need. ``dry_run``: say so, or refuse, and change
        nothing.

        ``project``: a loaded one, or its folder (by default the client's). Raises ConfigError before anything is
        sent when it is invalid."""
        if not isinstance(project, ProjectSpec):
            from odibi_actors.config import load_project

            project = load_project(project_root(project or self._project), sql=True)
        return cast(
            dict[str, Any],
            self._ask(Apply(secrets.token_hex(8), project, dry_run=dry_run), BROKER, "apply", self.timeout),
        )

    def shutdown(self) -> None:
        """Ask the whole system to finish what it is doing and stop."""
        self.request("shutdown")

    def pipelines(self) -> dict[str, Any]:
        """``{"items": [pipeline rows]}``."""
        return self._dict("pipeline.list")

    def pipeline(self, pipeline: str) -> dict[str, Any]:
        """One pipeline: its row, nodes, unfinished iterations, sources."""
        return self._dict("pipeline.show", pipeline=pipeline)

    def pause(self, pipeline: str) -> dict[str, Any]:
        """Plan and dispatch nothing more until resumed."""
        return self._dict("pipeline.pause", pipeline=pipeline)

    def resume(self, pipeline: str) -> dict[str, Any]:
        """Go on after a pause or a drain."""
        return self._dict("pipeline.resume", pipeline=pipeline)

    def drain(self, pipeline: str, wait: bool = True, timeout: float | None = None) -> dict[str, Any]:
        """Finish what is planned and take no more; it ends a pause. ``wait``: until that is done, or cannot be:
        ``{"state", "in_flight", "held"}``. ``held`` says why it cannot be (an iteration, of a backfill as well, failed
        or is blocked; somebody paused or resumed the pipeline meanwhile), or is ""."""
        if not wait:
            return self._dict("pipeline.drain", pipeline=pipeline, wait=False)
        return self._until("pipeline.drain", {"pipeline": pipeline, "wait": True}, timeout)

    def wait_run(self, run: str, timeout: float | None = None) -> dict[str, Any]:
        """Wait until a run has ended; its ``state`` is done, no_data, failed (also when something of it was set
        aside) or cancelled, and ``error`` says why it is not done."""
        return self._dict("run.wait", run=run, timeout=timeout)

    def wait(
        self,
        pipeline: str,
        iteration: int | None = None,
        for_: Sequence[str] = SETTLED,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Wait until the iteration is in one of the states ``for_``: ``{"iteration", "state", "files"}``; ``files`` is
        the number of files that were set aside from it. If it is planned again by itself, its files are followed:
        ``iteration`` is one that has them now, ``planned_again`` the one that was asked for, ``as`` all that have some.
        Without ``iteration``: until the pipeline has nothing left to do, or is held by a failed or blocked iteration.
        The answer is then the worst end among the iterations that ended since the call (``ended`` counts them by
        state), or the end of the last one if none did; ``iteration`` 0: none ever did."""
        params: dict[str, Any] = {"pipeline": pipeline, "iteration": iteration, "for": [*for_]}
        if iteration is None:
            # What ended before the call does not count; said here, so that a broker that restarts meanwhile knows.
            shown = self.pipeline(pipeline)
            params["after"] = shown.get("last_iteration", 0)
            params["open"] = [row["iteration"] for row in shown.get("iterations", []) if row.get("lane") == LIVE]
        return self._until("iteration.wait", params, timeout)

    def iterations(
        self, pipeline: str, limit: int = 20, state: str | None = None, before: int | None = None
    ) -> dict[str, Any]:
        """``{"items": [iteration rows]}``, newest first, at most 1,000. Where there are more it says how many
        (``total``; ``at_least``: not counted further) and what ``before`` asks for those that follow (``next``)."""
        more = {} if before is None else {"before": before}
        return self._dict("iteration.list", STORE, pipeline=pipeline, limit=limit, state=state, **more)

    def iteration(self, pipeline: str, iteration: int) -> dict[str, Any]:
        """One iteration: positions, nodes, errors, sinks."""
        return self._dict("iteration.show", STORE, pipeline=pipeline, iteration=iteration)

    def retry(self, pipeline: str, iteration: int) -> dict[str, Any]:
        """Run a failed iteration, or publish a blocked one, again; attempts count from 0. In the answer
        ``planned_again`` has the iterations that are void since a file was at fault, and are planned again under
        numbers ``above`` that one, with their files as they are now; ``letters`` the dead letters that they had taken
        up, which are open again; ``stuck`` the first one that still waits for an operator."""
        return self._dict("iteration.retry", pipeline=pipeline, iteration=iteration)

    def cancel(self, pipeline: str, iteration: int) -> dict[str, Any]:
        """Void this iteration and all later ones that are not prepared; their input will be planned again.
        ``cancelled`` in the answer: their numbers; ``letters``: dead letters they had taken up, open again."""
        return self._dict("iteration.cancel", pipeline=pipeline, iteration=iteration)

    def abandon(
        self, pipeline: str, iteration: int, sink: str, dry_run: bool = False, leave: bool = False
    ) -> dict[str, Any]:
        """Give up a blocked sink for this iteration: nothing of it is published there, later ones go on. ``leave``: it
        was given up, and what it may have published cannot be thrown away: leave that there."""
        return self._dict(
            "iteration.abandon", pipeline=pipeline, iteration=iteration, sink=sink, dry_run=dry_run, leave=leave
        )

    def sinks(self, pipeline: str | None = None) -> dict[str, Any]:
        """``{"items": [sink rows]}``: target, mode, and the schema each is held to."""
        return self._dict("sink.list", STORE, pipeline=pipeline)

    def sink(self, pipeline: str, sink: str) -> dict[str, Any]:
        """One sink: its row, and how many parts and rows it has published."""
        return self._dict("sink.show", STORE, pipeline=pipeline, sink=sink)

    def passed_on(self) -> dict[str, list[tuple[str, str]]]:
        """Of targets that have passed from one sink to another: target -> the (pipeline, node) of all who have owned
        it, its owner first."""
        items = self._dict("sink.adopted", STORE)["items"]
        return {row["target"]: [(pipeline, node) for pipeline, node in row["names"]] for row in items}

    def sink_adopt(
        self,
        *sinks: str,
        from_: str = "",
        dry_run: bool = False,
        read_again: bool = False,
        project: ProjectSpec | str | Path | None = None,
    ) -> dict[str, Any]:
        """Let sinks (``pipeline.node``) have their targets, in which others of this store have published: nodes were
        renamed, or moved to another pipeline. ``project``, as ``apply`` has it, is applied with it. ``from_``: the
        other sink, by default the owner of the target. ``{"adopted": [{"pipeline", "sink", "from", "target",
        "already"}]}``, and when it was done ``items``, as ``apply`` has them, and in each row ``goes_on`` and
        ``planned_again``, numbers of iterations. ``alike``: pairs of sources, the former pipeline's and this one's,
        that read the same place; what the former has read, and this one would read again, to append it twice, refuses
        it without ``read_again``. Raises ConflictError for that too, and when a target is another store's, the other
        sink still publishes there, or something of it is on its way."""
        if not isinstance(project, ProjectSpec):
            from odibi_actors.config import load_project

            project = load_project(project_root(project or self._project), sql=True)
        store, names = str(self.status().get("store_id") or ""), self.passed_on()
        adopting = import_module("odibi_actors.local.adopting")
        wanted = adopting.wanted(project, sinks, from_, store, names)
        moved = any(one.pipeline != one.from_pipeline for one in wanted) and not read_again
        told: dict[str, Any] = {}
        if dry_run or moved:
            asked = Apply(secrets.token_hex(8), project, adopt=wanted, dry_run=True)
            told = cast(dict[str, Any], self._ask(asked, BROKER, "apply", self.timeout))
        if moved:
            adopting.check_read_again(project, told["adopted"], lambda verb, given: self._dict(verb, STORE, **given))
        if not dry_run:
            asked = Apply(secrets.token_hex(8), project, adopt=wanted)
            told = cast(dict[str, Any], self._ask(asked, BROKER, "apply", self.timeout))
        return told

    def sink_repin(self, pipeline: str, sink: str, dry_run: bool = False) -> dict[str, Any]:
        """Let the next part of a sink bring other columns than those before it, or begin a target that is gone."""
        return self._dict("sink.repin", pipeline=pipeline, sink=sink, dry_run=dry_run)

    def sink_compact(self, pipeline: str, sink: str, size: int = 128_000_000, dry_run: bool = False) -> dict[str, Any]:
        """Join files of a file sink that are smaller than ``size`` bytes, as far as their iterations are over; done on
        this host, beside whatever runs. A rewind below that is refused from then on. ``{"upto", "joined", "into",
        "kept", "bytes"}``: the iteration, how many files are, or with ``dry_run`` would be, joined into how many, how
        many stay as they are, and bytes of what is joined."""
        folder = self.home()
        if folder is None:
            raise ConflictError("files are joined on the host of the store, where the project is")
        home = import_module("odibi_actors.nodes.sinks.owner").home_of(folder, project_root(self._project))
        compact = import_module("odibi_actors.nodes.sinks.compact").compact
        return dict(compact(self.request, home, pipeline, sink, size, dry_run))

    def rewind(self, pipeline: str, to: int, dry_run: bool = False, timeout: float | None = None) -> dict[str, Any]:
        """Take a drained pipeline back to iteration ``to`` (0: to the beginning): what later ones published is taken
        back, and their input is planned again under new numbers. Waits until all is taken back. ``dry_run``: what it
        would do, ``{"states", "files", "retractions": [...]}``. Both name dead letters that are open again or gone,
        ``{"letters": {"open_again": {"count", "ids"}, "gone": ...}}``, and nodes that learn their columns and types
        again, ``"unpinned"``; where the broker was replaced meanwhile, the answer does not."""
        params = {"pipeline": pipeline, "to": to, "dry_run": dry_run}
        if not dry_run:
            params["request"] = secrets.token_hex(8)  # asked again, it is the same rewind
        return self._until("pipeline.rewind", params, timeout)

    def dead_letter(self, letter: int) -> dict[str, Any]:
        """One dead letter: its failure, and its positions by source. ``consumed``: the sources of which they lie in it;
        those of others are references that were read with them. None: a former release has not said which."""
        return self._dict("deadletter.show", STORE, id=letter)

    def replay(self, letter: int, dry_run: bool = False) -> dict[str, Any]:
        """Plan a dead letter's files, as they are now, in a new iteration: ``{"iteration": N, ...}``."""
        return self._dict("deadletter.replay", letter=letter, dry_run=dry_run)

    def discard(self, letter: int, dry_run: bool = False) -> dict[str, Any]:
        """Give a dead letter up for good; its files stay read."""
        return self._dict("deadletter.discard", letter=letter, dry_run=dry_run)

    def nodes(self, pipeline: str, iteration: int) -> dict[str, Any]:
        """``{"items": [node rows]}`` of one iteration: the node-level checkpoints."""
        return self._dict("node.list", STORE, pipeline=pipeline, iteration=iteration)

    def node(self, pipeline: str, iteration: int, node: str) -> dict[str, Any]:
        """One node of an iteration: its row, its failed tries (``errors``), where its output is (``output``), with the
        bytes (``data``) of a small one that is still kept."""
        return self._dict("node.show", STORE, pipeline=pipeline, iteration=iteration, node=node)

    def workers(self) -> dict[str, Any]:
        """``{"items": [worker rows]}`` of all hosts."""
        return self._dict("worker.list")

    def scale(self, workers: int) -> dict[str, Any]:
        """Have so many workers per host; surplus ones finish their task first."""
        return self._dict("worker.scale", workers=workers)

    def kill(self, worker: str) -> dict[str, Any]:
        """SIGKILL one worker; it is replaced and its task runs again."""
        return self._dict("worker.kill", worker=worker)

    def drain_worker(self, worker: str) -> dict[str, Any]:
        """Let one worker finish what it was given, and replace it by a fresh one."""
        return self._dict("worker.drain", worker=worker)

    def sources(self) -> dict[str, Any]:
        """``{"items": [source rows]}``."""
        return self._dict("source.list", SOURCE)

    def schema(self, pipeline: str, source: str) -> dict[str, Any]:
        """The columns that a source reads, pinned by its first batch: ``{"columns": [{column, type, origin}],
        "left_out": [names]}``. Raises NotFoundError while there was none."""
        return self._dict("schema.show", STORE, pipeline=pipeline, source=source)

    def pause_source(self, pipeline: str, source: str) -> dict[str, Any]:
        """Plan nothing new of a source, which goes on looking, and takes what is pushed: ``{"pipeline", "source",
        "paused", "offered"}``, the last the number of positions that wait (None: not known yet). Raises NotFoundError;
        ConflictError for a reference, which every iteration reads."""
        return self._dict("source.pause", pipeline=pipeline, source=source)

    def resume_source(self, pipeline: str, source: str) -> dict[str, Any]:
        """Plan what a source has offered, as before it was paused; answers as ``pause_source``. Raises
        NotFoundError."""
        return self._dict("source.resume", pipeline=pipeline, source=source)

    def unpin(self, pipeline: str, source: str, dry_run: bool = False) -> dict[str, Any]:
        """Let what is read next tell a source's columns and types: ``{"pipeline", "source", "iteration", "columns"}``,
        of those it was held to. Raises NotFoundError while there are none."""
        return self._dict("source.unpin", pipeline=pipeline, source=source, dry_run=dry_run)

    def why(self, file: str) -> dict[str, Any]:
        """Why a file was, or was not, taken: ``{"file", "items": [{pipeline, source, lane, state, reason, ...}]}``, for
        each source that may look at it. ``state``: planned (its iteration is under way; of what is read in order
        ``reason`` says up to where), committed, failed, blocked, pruned (its history is), dead_lettered, discarded,
        changed, pending, waiting, reference, ignored, not_found; while nothing runs also unplanned."""
        found = self._dict("source.why", SOURCE, file=file)
        here = self.home() is not None
        for item in found["items"]:
            if here and item["state"] == "ignored" and item.get("path") and not os.path.lexists(item["path"]):
                item["reason"] += "; and there is no such file"
            ready = item["state"] == "pending" and item["lane"] == LIVE
            if ready and (held := held_by(self.pipeline(item["pipeline"]))):
                item["reason"] += f": {held}"
            if item["state"] in _TAKEN and item.get("identity") and item["lane"] != TRIGGER:
                wanted = {name: item[name] for name in ("pipeline", "source", "lane", "identity")}
                there = self._dict("file.show", STORE, **wanted)
                if there["iteration"] and item["state"] == "planned":
                    item["reason"] = there["reason"]
                    item |= {name: there[name] for name in ("iteration", "letter")}
                    if there["state"] in _BECAME:
                        item["state"] = there["state"]
                elif not there["iteration"] and there["reason"]:  # read in order: some pieces of it
                    item["reason"] += f"; {there['reason']}"
        return found

    def discarded(self, pipeline: str, source: str) -> list[dict[str, Any]]:
        """Positions of a source that is read in order that were discarded with their dead letters, the oldest first."""
        found = self._dict("source.discarded", STORE, pipeline=pipeline, source=source)["positions"]
        return cast(list[dict[str, Any]], found)

    def source(self, pipeline: str, source: str, lane: str = LIVE) -> dict[str, Any]:
        """One source, with the files that wait, have changed, or are skipped, and why."""
        return self._dict("source.files", SOURCE, pipeline=pipeline, source=source, lane=lane)

    def dead_letters(self, pipeline: str | None = None, limit: int = 1000, before: int | None = None) -> dict[str, Any]:
        """``{"items": [dead letter rows]}``, newest first; longer lists as those of iterations."""
        more = {} if before is None else {"before": before}
        return self._dict("deadletter.list", STORE, pipeline=pipeline, limit=limit, **more)

    def checkpoint_stats(self) -> dict[str, Any]:
        """Figures of the checkpoint store."""
        return self._dict("checkpoint.stats", STORE)

    def checkpoint_verify(self, cursor: str = "") -> dict[str, Any]:
        """A chunk of the verification of the checkpoint store: ``{"problems", "files", "pages", "rows", "cursor"}``;
        go on with ``cursor`` until it is ""."""
        return self._dict("checkpoint.verify", STORE, cursor=cursor)

    def version(self, pipeline: str, version: int) -> dict[str, Any]:
        """``{"spec_digest", "code_digest", "at"}`` of a version of a pipeline."""
        return self._dict("version.show", STORE, pipeline=pipeline, version=version)

    def _until(self, verb: str, params: dict[str, Any], timeout: float | None) -> dict[str, Any]:
        """A wait for a pipeline; when it takes too long the error says what state the pipeline is in."""
        try:
            return cast(dict[str, Any], self.request(verb, params, timeout=timeout))
        except NotDoneError as error:
            name, limit = params["pipeline"], self.timeout if timeout is not None and timeout < 0 else timeout
            try:
                shown = self._dict("pipeline.show", timeout=CONNECT_TIMEOUT, pipeline=name)
            except OdibiError:
                raise error from None
            why = "; ".join(one for one in (self._reasons(verb, limit or 0.0), *shown.get("problems", ())) if one)
            raise TimedOutError(
                f"not done within {limit:g} s ({name} is {state_of(shown)})" + (f": {why}" if why else "")
            ) from None

    def _dict(self, verb: str, to: str = BROKER, timeout: float | None = -1.0, **params: Any) -> dict[str, Any]:
        result = self.request(verb, params, to, timeout)
        return result if isinstance(result, dict) else {} if result is None else {"result": result}


def _result(reply: Reply) -> Any:
    """What was answered, or the error it stands for."""
    if reply.status == 0:
        return reply.result
    error = ERRORS.get(reply.status, OdibiError)(reply.error or f"the request failed with status {reply.status}")
    if type(error) is OdibiError and reply.status > 0:
        error.exit_code = reply.status
    raise error
