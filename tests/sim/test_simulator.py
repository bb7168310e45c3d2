"""The protocol under faults: a fixed budget of seeds. That the simulator finds bugs is tested in ``tests/planted``."""

from __future__ import annotations

import subprocess
import sys

import pytest

from odibi_actors.sim.scenario import run_seed


@pytest.mark.parametrize("first", range(0, 240, 40))
def test_invariants_hold_under_faults(first: int) -> None:
    broken = {}
    for seed in range(first, first + 40):
        _, violation, _ = run_seed(seed)
        if violation:
            broken[seed] = violation
    assert not broken


def test_faults_and_transitions_are_really_taken() -> None:
    faults: dict[str, int] = {}
    transitions: dict[str, int] = {}
    for seed in range(60):
        outcome, violation, _ = run_seed(seed)
        assert outcome is not None, violation
        for total, counts in ((faults, outcome.counts), (transitions, outcome.transitions)):
            for what, number in counts.items():
                total[what] = total.get(what, 0) + number
    for fault in (
        "crash broker",
        "crash store",
        "crash source",
        "crash pool",
        "partition",
        "power cut",
        "hang",
        "lost",
    ):
        assert faults.get(fault, 0) >= 5, faults
    for taken in ("running/prepare", "prepared/commit", "running/cancel", "running/fail", "failed/retry"):
        assert transitions.get(taken, 0) >= 1, transitions


def test_a_seed_gives_the_same_trace_whatever_the_hash_seed() -> None:
    code = "from odibi_actors.sim.scenario import run_seed; o, v, _ = run_seed(7); print(v or o.hash)"
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": hash_seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1", "4242")
    }
    assert len(hashes) == 1
