"""The pool's driver in the test's own process; the test is its warm parent and its worker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from odibi_actors import messages as m
from odibi_actors.runtime import paths, wire
from odibi_actors.workers import driver, link, pipe
from tests.workers.builders import done, task


@pytest.mark.parametrize("parent_dies", [False, True])
def test_given_a_worker_that_is_dead_when_that_is_heard_then_what_it_had_written_is_told_first(
    tmp_path: Path, parent_dies: bool
) -> None:
    places = paths.prepare(tmp_path / ".odibi")
    pool = driver.PoolDriver(
        "pool-0", project=tmp_path, data_dir=places.data_dir, endpoint=places.socket("pool-0"), host="host"
    )
    ours, theirs = link.pair()
    parent = driver.Parent(subprocess.Popen([sys.executable, "-c", ""]), ours)
    parent.ready = True
    parent.workers["w"] = driver.Child()
    pool._parents.append(parent)
    parent.fork("w")
    (asked,) = link.hear(theirs)
    assert isinstance(asked, link.Fork)
    work = task(1, "a", "b", "c")
    said = [m.WorkerResult(done(work, node, last=False), False) for node in "ab"]
    for one in said:
        pipe.put(asked.pipe, wire.encode_body(one))
    os.close(asked.pipe)
    if parent_dies:
        theirs.close()
    else:
        link.tell(theirs, link.Exited("w", 7, -9))
    exited = m.WorkerExited("w", 0, -9, blamed=False, orphaned=True) if parent_dies else m.WorkerExited("w", 7, -9)
    assert list(pool._read_parent(parent)) == [*(("w", one) for one in said), (m.LOCAL, exited)]
    theirs.close()
    pool.close()
    paths.tidy(places)
