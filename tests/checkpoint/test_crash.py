"""What was reported durable survives kill -9 at any point, and the rest is whole or absent."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from odibi_actors.checkpoint.engine import Engine
from odibi_actors.errors import ConflictError
from tests.checkpoint.make import loaded, numbered
from tests.checkpoint.reference import Reference

ROOT = Path(__file__).parents[2]


def start(path: Path, seed: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.checkpoint.applier", str(path), str(seed)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)


@pytest.mark.process
def test_given_a_store_that_is_killed_again_and_again_then_all_it_reported_is_there(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.db"
    choice = random.Random(7)
    reference, applied = Reference(), 0
    for round_ in range(6):
        child = start(path, round_)
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(choice.randint(1, 60))]
        child.kill()
        said += child.stdout.read().splitlines(keepends=True)
        child.wait()
        epoch, durable = map(int, [line for line in said if line.endswith(b"\n")][-1].split())
        engine = Engine(path)
        assert engine.epoch == epoch == round_ + 1
        assert engine.last_seq >= durable
        for seq in range(applied + 1, engine.last_seq + 1):
            reference.apply(numbered(seq))
        applied = engine.last_seq
        assert loaded(engine) == reference.snapshot()
        for lane, source in (("live", "flights"), ("trigger", "hourly")):
            planned = sorted(key[3] for key in reference.ledger if key[1] == lane)
            assert [p.identity for p in engine.ledger("delays", lane, source, limit=10_000)[0]] == planned[:10_000]
        engine.close()


@pytest.mark.process
def test_given_a_running_store_when_another_opens_its_data_dir_then_it_is_refused_naming_the_holder(
    tmp_path: Path,
) -> None:
    child = start(tmp_path / "checkpoints.db", 1)
    assert child.stdout is not None
    child.stdout.readline()
    try:
        with pytest.raises(ConflictError, match=f"process {child.pid}"):
            Engine(tmp_path / "checkpoints.db")
    finally:
        child.kill()
        child.communicate()
    Engine(tmp_path / "checkpoints.db").close()
