"""A worker: a forked process that runs one task at a time and remembers nothing in between."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq

from odibi_actors import failpoints
from odibi_actors import messages as m
from odibi_actors.errors import ProtocolError
from odibi_actors.failpoints import failpoint
from odibi_actors.model import Failure
from odibi_actors.runtime import wire
from odibi_actors.runtime.linux import ignore_draining
from odibi_actors.runtime.memory import resident
from odibi_actors.runtime.process import secure
from odibi_actors.workers.pipe import put

if TYPE_CHECKING:
    from odibi_actors.workers.template import Warm

ARROW_THREADS = 1  # as many workers as cores share the machine; and parallel sums would differ from run to run


def run(name: str, endpoint: str, pipe: int, data_dir: Path, host: str, warm: Warm) -> None:
    """Serve the pool at ``endpoint`` until it says WorkerExit, and write the results into ``pipe``. Runs in a process
    just forked from the warm parent. Raises SystemExit when nobody reads them any more.

    SIGTERM does nothing: it reaches whole process groups, and the pool lets a running node finish.
    """
    ignore_draining()
    failpoints.arm()  # the parent's are not ours
    _settle_libraries()
    _log_like_the_actors()
    executor = warm.executor(data_dir, host, name, warm.code_digest)
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    secure(socket, remote=False)
    socket.set(zmq.IDENTITY, wire.identity(name, str(os.getpid())))
    socket.connect(endpoint)
    socket.send(wire.encode_body(m.WorkerReady(os.getpid(), warm.code_digest)))
    while True:
        message = wire.decode_body(socket.recv(), refused=())
        if isinstance(message, m.WorkerExit):
            break
        if isinstance(message, m.WorkerTask):
            failpoint("worker.received")
            for said in work(executor, message.task):
                failpoint("worker.send")
                try:
                    put(pipe, _fitting(said))
                except BrokenPipeError:
                    raise SystemExit(1) from None  # the pool is gone, or has said why it reads no more
                failpoint("worker.sent")
    context.destroy(linger=0)


def work(executor: Any, task: m.AnyTask) -> Iterator[m.WorkerResult]:
    """The results of a task, as they come. When a node begins is not told: the pool knows (see ``Held.begin``)."""
    last = False
    items = executor.run(task)
    for item in items:
        if not isinstance(item, m.Started):
            last = not isinstance(item, m.NodeDone) or item.last
            if last:
                for _ in items:  # there is nothing more: but what the nodes held is let go before it is told what stays
                    pass
            yield m.WorkerResult(item, last, resident() if last else 0)
    if not last:
        raise RuntimeError(f"the executor gave no last result for task {task.attempt}")


def _fitting(said: m.WorkerResult) -> bytes:
    """The frame; a result too large for one becomes a failure that says so."""
    body = wire.encode_body(said)
    if len(body) <= wire.BODY_MAX or isinstance(said.result, m.Returned):
        return body
    result = said.result
    problem = ProtocolError(f"what node {result.node} answers has {len(body)} bytes; at most {wire.BODY_MAX} travel")
    failure = Failure("invalid", f"{problem}: make its schema or its error text smaller")
    failed = m.NodeFailed(
        result.attempt, result.pipeline, result.iteration, result.node, failure, 0.0, result.duration, result.worker
    )
    return wire.encode_body(m.WorkerResult(failed, last=True))


def _log_like_the_actors() -> None:
    """``context.logger`` of user code writes lines like the actors' into the pool's log; ODIBI_LOG is the level."""
    level = os.environ.get("ODIBI_LOG", "info").upper()
    handler = logging.StreamHandler()
    line = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s"
    formatter = logging.Formatter(line, datefmt="%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=level if level in logging.getLevelNamesMapping() else "INFO", handlers=[handler])


def _settle_libraries() -> None:
    """What libraries must do again after a fork."""
    import numpy
    import pyarrow

    numpy.random.seed()  # every worker would draw the same numbers otherwise
    pyarrow.set_cpu_count(ARROW_THREADS)
