"""A wait for an iteration that was planned again follows its files to the numbers they have now."""

from __future__ import annotations

from typing import Any

from odibi_actors.messages import Offer, Reply
from odibi_actors.model import Failure, Position
from odibi_actors.sources.file_position import file_position
from tests.broker.harness import SOURCE, Broker
from tests.broker.test_again import commit, failed


def again(broker: Broker) -> None:
    """Iteration 1, and 2 behind it, are planned again; somebody waits for 1."""
    broker.ask("iteration.retry", pipeline="p", iteration=1)
    broker.durable()
    broker.ask("iteration.wait", pipeline="p", iteration=1)
    broker.store_answers()
    assert broker.replies() == []


def offer(broker: Broker, *files: Position) -> None:
    seq = broker.flow.pipelines["p"].sources["read"].seq
    broker.say(SOURCE, Offer(broker.epoch, "f1", "p", "read", seq, list(files)))


def told(broker: Broker) -> Any:
    broker.durable()
    broker.store_answers()
    (reply,) = [one for one in broker.replies() if isinstance(one, Reply)]
    assert reply.status == 0
    return reply.result


def test_given_an_iteration_that_is_planned_again_when_its_files_are_committed_then_the_wait_says_as_which() -> None:
    broker = failed()
    again(broker)
    offer(broker, file_position("f1.csv", 99, 7, 7))
    broker.durable()
    broker.store_answers()
    assert broker.replies() == []  # planned, not ended
    asked = len(broker.flow.asks._asked)
    broker.store_answers()
    assert len(broker.flow.asks._asked) == asked == 0  # nor is the store asked until something happens
    commit(broker)
    result = told(broker)
    assert (result["iteration"], result["state"], result["planned_again"], result["as"]) == (3, "committed", 1, [3])
    assert {"left", "lane"}.isdisjoint(result)


def test_given_one_that_fails_under_its_new_number_too_when_waited_for_then_that_is_its_end() -> None:
    broker = failed()
    again(broker)
    offer(broker, file_position("f1.csv", 99, 7, 7))
    broker.durable()
    (task,) = [one for one in broker.tasks() if one.iteration == 3]
    broker.fail(task, "read", Failure("malformed", "still bad", position="f1.csv"))
    result = told(broker)
    assert (result["iteration"], result["state"], result["planned_again"]) == (3, "failed", 1)


def test_given_files_that_are_gone_when_nothing_of_them_can_come_any_more_then_the_wait_says_so() -> None:
    broker = failed()
    again(broker)
    offer(broker)
    result = told(broker)
    assert (result["iteration"], result["state"], result["as"]) == (1, "cancelled", [])


def test_given_an_iteration_that_an_operator_cancelled_when_waited_for_then_that_is_its_end() -> None:
    broker = failed()
    broker.ask("iteration.cancel", pipeline="p", iteration=1)
    broker.ask("iteration.wait", pipeline="p", iteration=1)
    result = told(broker)
    assert (result["iteration"], result["state"]) == (1, "cancelled")
    assert "planned_again" not in result
