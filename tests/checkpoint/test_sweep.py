"""A sample of ``scripts/corruption-sweep``: whatever byte of a store rots, the next start says so or loses nothing."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from odibi_actors.checkpoint.seals import Seals
from tests.checkpoint import sweep
from tests.checkpoint.sweep import Damage, Sweep

WAL_FRAMES = 32
FRAME = 4096 + 24


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder with a store in ``store``, in memory if possible."""
    folder = Path(tempfile.mkdtemp(prefix="odibi-sweep-", dir=sweep.scratch()))
    sweep.make(folder / "store")
    yield folder
    shutil.rmtree(folder)


def sweeper(folder: Path, *, at_rest: bool = False) -> Sweep:
    (folder / "scratch").mkdir(exist_ok=True)
    return Sweep(folder / "store", folder / "scratch", at_rest=at_rest)


@pytest.mark.parametrize("at_rest", [False, True])
def test_given_any_flipped_bit_or_cut_when_opened_then_it_is_named_or_nothing_differs(
    folder: Path, at_rest: bool
) -> None:
    chance = random.Random(20261124)
    every = list(sweep.damages(folder / "store"))
    wal = (folder / "store" / "checkpoints.db-wal").stat().st_size
    frames = list(range(WAL_FRAMES, wal, FRAME))[:12]
    headers = [Damage("checkpoints.db-wal", at + byte, 4) for at in (0, *frames) for byte in range(0, 24, 3)]
    headers += [Damage("checkpoints.db", byte, 2) for byte in range(100)]
    headers += [Damage("checkpoints.db-seals", byte, 1) for byte in (*range(44), *range(512, 536))]
    tried = sweeper(folder, at_rest=at_rest)
    for damage in (*headers, *chance.sample(every, 300)):
        tried.attempt(damage)
    assert not tried.wrong
    assert tried.outcomes["checkpoints.db flipped", "named"] > 50
    assert tried.outcomes["checkpoints.db-wal flipped", "named"] > 50


def test_given_pages_were_not_verified_then_the_sweep_finds_what_is_silently_wrong(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Seals, "check", lambda *_: None)
    tried = sweeper(folder)
    for damage in sweep.damages(folder / "store", step=151, cuts=100_000):
        if damage.name == "checkpoints.db":
            tried.attempt(damage)
        if tried.wrong:
            break
    assert tried.wrong


def test_given_the_mark_was_not_compared_then_the_sweep_finds_what_is_silently_forgotten(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = sweeper(folder)
    mark = Damage("checkpoints.db-wal", (folder / "store" / "checkpoints.db-wal").stat().st_size, cut=True)
    whole = tried._files["checkpoints.db-seals"]
    early = bytearray(whole)
    early[512:536] = sweep.mark(0, 0)
    tried._files["checkpoints.db-seals"] = bytes(early)
    assert tried.attempt(mark) == "same"
    assert tried.attempt(Damage("checkpoints.db-wal", 0, cut=True)) == "wrong"
    tried._files["checkpoints.db-seals"] = whole
    assert tried.attempt(Damage("checkpoints.db-wal", 0, cut=True)) == "named"
