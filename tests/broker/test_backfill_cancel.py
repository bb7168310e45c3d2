"""An iteration of a backfill is cancelled once all is planned: the backfill plans its files again before it ends."""

from __future__ import annotations

from odibi_actors.checkpoint import records as rec
from odibi_actors.messages import Discover
from tests.broker.test_backfills import given


def test_given_a_backfill_that_has_planned_all_when_an_iteration_is_cancelled_then_it_is_planned_again() -> None:
    broker = given()
    broker.backfill(files={"": "*"}, concurrency=2)
    lane = broker.lane
    broker.offers(lane, "f0", "f1")
    newest = broker.of(rec.Plan)[-1].iteration
    broker.take(Discover)

    broker.ask("iteration.cancel", pipeline="p", iteration=newest)

    assert broker.flow.pipelines["p"].backfills
    assert [(one.lane, one.run) for one in broker.take(Discover)] == [(lane, broker.of(rec.Run)[-1].run)]
    broker.offers(lane, "f1")
    broker.complete()
    planned = [[p.identity for p in plan.positions["read"]] for plan in broker.of(rec.Plan) if plan.lane == lane]
    assert planned == [["f0"], ["f1"], ["f1"]]
    assert broker.of(rec.BackfillEnd)[-1].state == "done"
