"""A sink that is added later: what was read before is not in it, and that is said."""

from __future__ import annotations

from msgspec.structs import replace

from odibi_actors.actor import Log
from odibi_actors.config.model import ConnectionSpec, NodeSpec, WriteSpec
from tests.broker.harness import Broker, pipeline, project
from tests.broker.test_adopting import AS_Z, adopt, called
from tests.broker.test_operators import publish

LAKE = ConnectionSpec("lake", "local", "/lake")
C, D = (NodeSpec(name, ["t"], write=WriteSpec(LAKE, path=name, format="parquet")) for name in "cd")
SAID = (
    "p: sink c is new, and gets what is read from now on; what was read so far comes there, too, when it is read "
    "again: `odibictl pipeline rewind p --to 0 --dry-run` says what that takes"
)


def test_given_what_was_committed_when_a_sink_is_added_then_it_is_said_that_it_lacks_that() -> None:
    broker = Broker().start()
    more = replace(pipeline(), nodes=[*pipeline().nodes, C])
    broker.offer("f1.csv")
    broker.finish(broker.tasks()[0])
    publish(broker)
    assert [row["advice"] for row in broker.apply(more).result["items"]] == [[SAID]]
    assert [one.text for one in broker.effects if isinstance(one, Log) and "is new" in one.text] == [SAID]
    both = replace(more, nodes=[*more.nodes, D])
    assert "p: sink d is new" in broker.apply(both).result["items"][0]["advice"][0]
    assert broker.apply(replace(both, max_in_flight=3)).result["items"][0]["advice"] == []


def test_given_nothing_was_committed_when_a_sink_is_added_then_nothing_is_said() -> None:
    broker = Broker().start()
    assert broker.apply(replace(pipeline(), nodes=[*pipeline().nodes, C])).result["items"][0]["advice"] == []


def test_given_a_sink_that_takes_another_name_then_its_target_lacks_nothing_and_nothing_is_said() -> None:
    broker = Broker(called("a")).start()
    broker.offer("f1.csv")
    broker.finish(broker.tasks()[0])
    publish(broker)
    assert [row["advice"] for row in adopt(broker, project(called("z")), AS_Z).result["items"]] == [[]]
