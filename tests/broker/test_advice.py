"""Commands that a failure names have their arguments, and help where they are said."""

from __future__ import annotations

from odibi_actors.broker import advice
from odibi_actors.checkpoint import records as rec
from odibi_actors.model import Failure
from tests.broker.harness import Broker, pipeline

SAID = "`odibictl apply`, then `odibictl iteration retry`; or `odibictl iteration retry`, `odibictl iteration abandon`"


def test_given_a_failure_that_names_commands_alone_then_what_is_told_names_its_iteration() -> None:
    broker = Broker(pipeline()).start()
    broker.offer("1")
    task = broker.tasks()[0]
    broker.fail(task, task.steps[0].node.name, Failure("invalid", SAID))
    broker.durable()
    told, node = broker.of(rec.Error)[0].failure, task.steps[0].node.name
    assert told.message == (
        "`odibictl apply`, then `odibictl iteration retry p 1`; or `odibictl iteration retry p 1`, "
        f"`odibictl iteration abandon p 1 --sink {node}`"
    )
    found = broker.flow.pipelines["p"]
    found.manual = True  # of `odibictl run`: nothing runs that could be asked, and the next one applies odibi.yaml
    told = advice.completed(found, found.iterations[1], node, Failure("invalid", SAID))
    assert told.message.startswith("`odibictl run p`; or `odibictl run p`, ")
