"""The protocol under faults: a fixed budget of seeds, and planted bugs that the simulator must find."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from broker import results
from broker.flow import Flow
from broker.iteration import Iteration
from broker.journal import Journal
from broker.pipeline import Pipeline
from odibi_actors.checkpoint.actor import StoreActor
from odibi_actors.sim.scenario import run_seed

BUDGET = 400  # seeds a planted bug may take to be found


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


# --- planted bugs: each breaks one rule of docs/protocol.md ---------------------------------------------------------


def _publish_before_prepare_is_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Iteration.prepare

    def prepare(self: Iteration, sinks: Any, seq: int) -> None:
        real(self, sinks, 0)

    monkeypatch.setattr(Iteration, "prepare", prepare)


def _prepare_looks_at_the_former_iteration_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def earlier(self: Pipeline, iteration: Iteration) -> Iterator[Iteration]:
        former = self.iterations.get(iteration.number - 1)
        if former is not None and not former.terminal:
            yield former

    monkeypatch.setattr(Pipeline, "earlier", earlier)


def _recovered_outputs_are_not_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    from broker import recovery

    real = recovery._load_ack

    def load_ack(flow: Flow, ack: Any) -> None:
        real(flow, ack)
        flow.pipelines[ack.pipeline].iterations[ack.iteration].nodes[ack.node].verify = False

    monkeypatch.setattr(recovery, "_load_ack", load_ack)


def _consumers_of_a_remade_output_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Flow, "void_stale", lambda self, iteration, reason: None)
    monkeypatch.setattr(Iteration, "complete", lambda self: all(run.state == "acked" for run in self.nodes.values()))


def _offers_that_missed_a_plan_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Flow.on_offer

    def on_offer(self: Flow, offer: Any, now: float) -> None:
        pipeline = self.pipelines.get(offer.pipeline)
        if pipeline is not None and offer.source in pipeline.sources:
            pipeline.sources[offer.source].seq = 0
        real(self, offer, now)

    monkeypatch.setattr(Flow, "on_offer", on_offer)


def _records_are_never_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Journal, "rewind", lambda self, seq: True)


def _lost_pools_keep_their_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Flow, "pool_lost", lambda self, name: self.dispatcher.remove(name) and None)


def _the_store_answers_before_it_is_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    real = StoreActor.handle

    def handle(self: StoreActor, sender: str, message: Any, now: float) -> Any:
        from odibi_actors.actor import Send
        from odibi_actors.messages import AppendRecords, Durable

        effects = real(self, sender, message, now)
        if isinstance(message, AppendRecords):
            through = message.first + len(message.records) - 1
            effects = [*effects, Send(sender, Durable(epoch=message.epoch, through=through))]
        return effects

    monkeypatch.setattr(StoreActor, "handle", handle)


def _revised_positions_are_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    real = results._revise

    def revise(flow: Flow, pipeline: Any, iteration: Iteration, run: Any, failure: Any, now: float) -> None:
        before = dict(iteration.positions)
        real(flow, pipeline, iteration, run, failure, now)
        iteration.positions.update(before)

    monkeypatch.setattr(results, "_revise", revise)


PLANTED = [
    _publish_before_prepare_is_durable,
    _prepare_looks_at_the_former_iteration_only,
    _recovered_outputs_are_not_verified,
    _consumers_of_a_remade_output_are_kept,
    _offers_that_missed_a_plan_are_taken,
    _records_are_never_sent_again,
    _lost_pools_keep_their_tasks,
    _the_store_answers_before_it_is_durable,
    _revised_positions_are_read_all_the_same,
]


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__.strip("_"))
def test_a_planted_bug_is_found(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    for seed in range(BUDGET):
        try:
            _, violation, _ = run_seed(seed)
        except Exception:  # noqa: BLE001 - a planted bug may break anything; a crash of the actor is a find too
            return
        if violation:
            return
    pytest.fail(f"{BUDGET} seeds did not find it")
