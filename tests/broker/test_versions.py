"""Actors of another version: who understands the others works, and is told; who does not is refused once, and told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from odibi_actors import __version__
from odibi_actors.actor import Log, Send, Stop
from odibi_actors.broker.directory import Peer
from odibi_actors.broker.versions import MAX_REFUSED
from odibi_actors.checkpoint.actor import StoreActor
from odibi_actors.messages import (
    BROKER,
    LOCAL,
    PROTOCOL,
    SCHEDULER,
    SOURCE,
    STORE,
    Apply,
    Bye,
    Claim,
    Connected,
    Heartbeat,
    Hello,
    Message,
    PoolHello,
    Refused,
    Reply,
    Request,
    Shutdown,
    StoreHello,
    Terminate,
    Tick,
    Welcome,
    WhoAreYou,
)
from odibi_actors.scheduler.actor import SchedulerActor
from odibi_actors.streaming.actor import SourceActor
from odibi_actors.workers.pool import PoolActor
from tests.broker.harness import CLIENT, POOL, Broker, project

OTHER = {"version": "9.9.9", "protocol": PROTOCOL + 1}
HELLOS: list[tuple[str, str, Any]] = [
    (SOURCE, "source", Hello("source", "f9", "host", 2)),
    (SCHEDULER, "scheduler", Hello("scheduler", "t9", "host", 4)),
    (STORE, "store", StoreHello("s9", "host", 1, "store", 1, 0)),
    (POOL, "pool", PoolHello("w9", "host", 3, 2, "code", 1, [], [], [], [])),
]


def other(hello: Any, **more: Any) -> Any:
    return msgspec.structs.replace(hello, **{**OTHER, **more})


def status(broker: Broker) -> Any:
    reply = broker.ask("status")
    assert reply is not None
    return reply.result


def test_given_a_broker_that_is_a_process_when_asked_for_status_then_it_is_among_the_peers() -> None:
    broker = Broker().start()
    assert "broker" not in {row["role"] for row in status(broker)["peers"]}
    broker.actor._directory.me = Peer("broker", "broker", "b1", "here", 7, 0.0)
    first = status(broker)["peers"][0]
    assert (first["role"], first["host"], first["pid"], first["version"]) == ("broker", "here", 7, __version__)
    assert first["seen"] > 0


def errors(broker: Broker) -> list[str]:
    return [effect.text for effect in broker.effects if isinstance(effect, Log) and effect.level == "error"]


def test_given_an_actor_of_another_version_that_understands_the_others_then_it_works_and_its_version_is_shown() -> None:
    broker = Broker().start()
    broker.say(SOURCE, Hello("source", "f9", "host", 2, version="9.9.9"))
    assert broker.take(Refused) == []
    found = status(broker)
    assert {row["name"]: row["version"] for row in found["peers"]}[SOURCE] == "9.9.9"
    assert (found["version"], found["refused"]) == (__version__, [])


@pytest.mark.parametrize(("name", "role", "hello"), HELLOS)
def test_given_an_actor_with_another_protocol_then_it_is_refused_and_told_until_it_is_another(
    name: str, role: str, hello: Any
) -> None:
    broker = Broker().start()
    broker.take(Welcome)
    broker.say(name, other(hello))
    (refused,) = broker.take(Refused, name)
    assert refused.final
    assert f"{name} runs version 9.9.9 (protocol {PROTOCOL + 1}), the broker {__version__} (protocol {PROTOCOL})" in (
        refused.reason
    )
    assert "`odibictl down`, then `odibictl up`" in refused.reason
    assert errors(broker) == [refused.reason]
    (row,) = status(broker)["refused"]
    assert (row["name"], row["role"], row["version"]) == (name, role, "9.9.9")
    assert name not in {peer["name"] for peer in status(broker)["peers"]}
    assert [row for row in status(broker)["silent"] if row["name"] == name] == []
    broker.say(name, Heartbeat(broker.epoch))
    assert broker.take(WhoAreYou, name) == []  # or it would say Hello again, and be refused again, for ever
    broker.say(name, msgspec.structs.replace(hello, incarnation="new"))
    assert broker.take(Refused) == []
    assert status(broker)["refused"] == []


@pytest.mark.parametrize(("name", "role", "hello"), HELLOS)
def test_given_one_that_was_refused_when_it_leaves_or_all_stop_then_it_is_told_and_forgotten(
    name: str, role: str, hello: Any
) -> None:
    broker = Broker().start()
    broker.say(name, other(hello))
    broker.say(CLIENT, Request("down", "shutdown"))
    assert broker.take(Shutdown, name) != []
    broker.say(name, Bye())
    assert name not in broker.actor._directory.refused


def test_given_a_pool_with_another_protocol_when_it_takes_the_place_of_one_then_what_that_ran_goes_elsewhere() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    broker.say(POOL, other(HELLOS[3][2]))
    assert broker.flow.dispatcher.pools == {}
    broker.pool_joins("w3")
    assert [(again.iteration, again.attempt != task.attempt) for again in broker.tasks()] == [(task.iteration, True)]


def test_given_a_store_with_another_protocol_when_nothing_is_known_yet_then_whoever_asks_is_told_why() -> None:
    broker = Broker()
    broker.actor.start(broker.now)
    broker.say(CLIENT, Hello("client", "c1", "host", 9))
    broker.say(CLIENT, Request("1", "status"))
    assert broker.take(Reply) == []
    broker.say(STORE, other(HELLOS[2][2]))
    broker.say(CLIENT, Apply("2", project()))
    replies = broker.take(Reply)
    assert [(reply.id, reply.status) for reply in replies] == [("1", 4), ("2", 4)]
    assert all("store runs version 9.9.9" in reply.error for reply in replies)
    assert broker.take(Claim) == []
    broker.say(CLIENT, Request("3", "shutdown"))
    assert [(reply.id, reply.status) for reply in broker.take(Reply)] == [("3", 0)]
    assert broker.take(Shutdown, STORE) != []
    assert [effect.code for effect in broker.effects if isinstance(effect, Stop)] == [0]


def test_given_a_client_with_another_protocol_then_it_may_ask_and_stop_all_but_not_apply() -> None:
    broker = Broker().start()
    broker.say(CLIENT, other(Hello("client", "c1", "host", 9)))
    broker.say(CLIENT, Request("1", "status"))
    broker.say(CLIENT, Apply("2", project(), protocol=PROTOCOL + 1))
    first, second = broker.take(Reply)
    assert (first.status, second.status) == (0, 4)
    assert f"this odibictl has protocol {PROTOCOL + 1}, the system version {__version__}" in second.error
    assert broker.take(Refused) == []


def test_given_strangers_with_any_names_when_they_are_refused_then_only_what_may_be_an_actor_is_remembered() -> None:
    broker = Broker().start()
    broker.say("nobody", other(Hello("source", "x", "host", 1)))
    assert status(broker)["refused"] == []
    for number in range(2 * MAX_REFUSED):
        broker.say(f"pool-{number + 1}", other(HELLOS[3][2], version="v" * 1000))
    rows = status(broker)["refused"]
    assert len(rows) == MAX_REFUSED
    assert {len(row["version"]) for row in rows} == {40}


# --- the other side ---------------------------------------------------------------------------------------------------


def made(role: str) -> Any:
    return {
        "store": lambda: StoreActor("i", "host", 1, "store", 0, 0),
        "source": lambda: SourceActor("i", "host", 1),
        "scheduler": lambda: SchedulerActor("i", "host", 1),
        "pool": lambda: PoolActor("pool-0", "i", "host", 1, 0, "code"),
    }[role]()


@pytest.mark.parametrize("role", ["store", "source", "scheduler", "pool"])
def test_given_an_actor_that_is_refused_for_good_then_it_says_so_once_and_waits_for_another_broker(role: str) -> None:
    actor, now = made(role), 1000.0

    def hear(sender: str, message: Message) -> list[Any]:
        return [*actor.handle(sender, message, now), *actor.flush(now)]

    def hellos(effects: list[Any]) -> list[Any]:
        said = [getattr(effect, "message", None) for effect in effects]
        return [message for message in said if isinstance(message, Hello | StoreHello | PoolHello)]

    actor.start(now)
    (hello,) = hellos(hear(LOCAL, Connected()))
    assert (hello.version, hello.protocol) == (__version__, PROTOCOL)
    effects = hear(BROKER, Refused("pool-0 runs version ...", final=True))
    assert [(effect.level, effect.fields["reason"]) for effect in effects if isinstance(effect, Log)] == [
        ("error", "pool-0 runs version ...")
    ]
    effects = []
    for _ in range(40):
        now += 0.5
        effects += hear(LOCAL, Tick())
    assert [effect for effect in effects if isinstance(effect, Send | Log | Stop)] == []
    assert len(hellos(hear(LOCAL, Connected()))) == 1
    hear(BROKER, Refused("pool-0 runs version ...", final=True))
    stopped = hear(LOCAL, Terminate(at_once=role == "store"))  # which waits for its disk first, and there is none here
    for _ in range(20):
        now += 1.0
        stopped += hear(LOCAL, Tick())
    assert [effect.code for effect in stopped if isinstance(effect, Stop)][:1] == [0]
