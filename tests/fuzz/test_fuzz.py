"""A small, fixed budget of what ``scripts/fuzz`` does at length: every seed, every former finding, some mutations."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.mutate import Mutator
from tests.fuzz.targets import TARGETS, rng_of

RUNS = 1500
SLOW = {"csv": 150, "parquet": 150, "json": 300, "ipc": 150, "project": 150, "output": 300, "pool": 500, "basics": 400}
FINDINGS = Path(__file__).parent / "findings"


@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_break_a_promise(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODIBI_LOG", "error")
    target = TARGETS[name]()
    for data in target.seeds:
        target.run(data)
    for path in sorted((FINDINGS / name).glob("*")):
        target.run(path.read_bytes())
    rng = rng_of(name, 1)
    mutator = Mutator(rng, target.seeds, target.words, target.head)
    for _ in range(SLOW.get(name, RUNS)):
        target.run(mutator.mutate(rng.choice(target.seeds), target.longest))
