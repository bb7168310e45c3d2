"""The poll loops over real sockets: one hub, several peers, each in a thread of this process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
import zmq

from odibi_actors import messages as m
from odibi_actors.actor import Effect, Log, Send, StartWorker, Stop
from odibi_actors.runtime import process, wire
from odibi_actors.runtime.process import HubLink, Loop, NoDriver, PeerLink

WAIT = 20.0  # seconds until a test gives up


class Scripted:
    """An actor that tells the test what it hears and does what ``react`` says."""

    def __init__(self, react: Callable[[str, m.Message], list[Effect]] = lambda *_: []) -> None:
        self.heard: Queue[tuple[str, m.Message]] = Queue()
        self.react = react
        self.due: float | None = None
        self.flushed = 0
        self.handled = 0
        self.now = 0.0

    def start(self, now: float) -> list[Effect]:
        self.now = now
        return []

    def handle(self, sender: str, message: m.Message, now: float) -> list[Effect]:
        assert now >= self.now
        self.now = now
        self.handled += 1
        self.heard.put((sender, message))
        if isinstance(message, m.Shutdown):
            return [Stop(0, "told")]
        return self.react(sender, message)

    def flush(self, now: float) -> list[Effect]:
        self.flushed += 1
        return []

    def deadline(self) -> float | None:
        return self.due

    def expect(self, kind: type[m.Message]) -> tuple[str, Any]:
        while True:
            sender, message = self.heard.get(timeout=WAIT)
            if isinstance(message, kind):
                return sender, message


class StopButton:
    """Takes the place of signals: threads have none."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()

    def readers(self) -> dict[Any, Any]:
        return {self.read: lambda: [(m.LOCAL, m.Shutdown())] if os.read(self.read, 1) else []}


class Net:
    """A hub and its peers; all of them are stopped at the end of the test."""

    def __init__(self, folder: Path) -> None:
        self.endpoint = f"ipc://{folder}/hub.ipc"
        self.context: zmq.Context[Any] = zmq.Context()
        self.running: list[tuple[threading.Thread, StopButton]] = []

    def run(self, name: str, actor: Any, link: Any, driver: Any = None) -> list[int]:
        button = StopButton()
        loop = Loop(name, actor, driver or NoDriver(), link, button)  # type: ignore[arg-type]
        codes: list[int] = []

        def body() -> None:
            codes.append(loop.run())
            link.close()

        thread = threading.Thread(target=body, daemon=True)
        thread.start()
        self.running.append((thread, button))
        return codes

    def hub(self, actor: Any) -> None:
        self.run("broker", actor, HubLink(self.context, "h", [self.endpoint]))

    def peer(self, name: str, actor: Any, incarnation: str = "1", driver: Any = None) -> list[int]:
        return self.run(name, actor, PeerLink(self.context, name, incarnation, self.endpoint), driver)

    def raw(self, identity: bytes) -> zmq.Socket[bytes]:
        socket = self.context.socket(zmq.DEALER)
        socket.set(zmq.IDENTITY, identity)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.RCVTIMEO, int(WAIT * 1000))
        socket.connect(self.endpoint)
        return socket


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    made = Net(tmp_path)
    yield made
    for thread, button in made.running:
        os.write(button.write, b"x")
        thread.join(WAIT)
    made.context.destroy(linger=0)


def hello(sender: str, message: m.Message) -> list[Effect]:
    if isinstance(message, m.Connected):
        return [Send(m.BROKER, m.Hello("client", "1", "h", 1))]
    return []


def answer(sender: str, message: m.Message) -> list[Effect]:
    return [Send(sender, m.Welcome(1, 0, "s"))] if isinstance(message, m.Hello) else []


def test_a_peer_is_told_when_it_is_connected_whoever_starts_first(net: Net) -> None:
    early, broker = Scripted(hello), Scripted(answer)
    net.peer("store", early)
    net.hub(broker)
    assert broker.expect(m.Hello)[0] == "store"
    assert early.expect(m.Welcome)[0] == "broker"
    late = Scripted(hello)
    net.peer("source", late)
    late.expect(m.Welcome)


def test_a_peer_is_told_again_when_the_hub_was_restarted(net: Net) -> None:
    peer, first, second = Scripted(hello), Scripted(answer), Scripted(answer)
    net.hub(first)
    net.peer("store", peer)
    peer.expect(m.Welcome)
    socket = net.raw(b"pool-1/1")
    socket.send_multipart([wire.encode_header("broker", "pool-1", "1"), wire.encode_body(m.Shutdown())])
    net.running[0][0].join(WAIT)
    net.hub(second)
    second.expect(m.Hello)
    peer.expect(m.Welcome)


def test_the_hub_forwards_between_peers_without_reading(net: Net) -> None:
    store, source = Scripted(hello), Scripted(hello)
    net.hub(Scripted(answer))
    net.peer("store", store)
    store.expect(m.Welcome)
    source.react = lambda s, x: hello(s, x) + ([Send("store", m.Request("7", "x"))] if isinstance(x, m.Welcome) else [])
    net.peer("source", source)
    sender, request = store.expect(m.Request)
    assert (sender, request.id) == ("source", "7")


def test_a_new_incarnation_takes_the_name_and_the_former_one_is_not_heard(net: Net) -> None:
    broker = Scripted(answer)
    net.hub(broker)
    old, new = net.raw(b"store/1"), net.raw(b"store/2")
    hello_body = wire.encode_body(m.Hello("client", "1", "h", 1))
    old.send_multipart([wire.encode_header("broker", "store", "1"), hello_body])
    old.recv_multipart()
    new.send_multipart([wire.encode_header("broker", "store", "2"), hello_body])
    new.recv_multipart()
    old.send_multipart([wire.encode_header("broker", "store", "1"), wire.encode_body(m.Bye())])
    new.send_multipart([wire.encode_header("broker", "store", "2"), hello_body])
    new.recv_multipart()
    assert not any(isinstance(x, m.Bye) for _, x in list(broker.heard.queue))
    assert old.poll(0) == 0


def test_false_names_garbage_and_local_messages_do_not_reach_the_actor(net: Net) -> None:
    broker = Scripted(answer)
    net.hub(broker)
    evil = net.raw(b"client-1/1")
    good = wire.encode_header("broker", "client-1", "1")
    bye = wire.encode_body(m.Bye())
    evil.send_multipart([wire.encode_header("broker", "store", "1"), bye])
    evil.send_multipart([wire.encode_header("broker", "broker", "1"), bye])
    evil.send_multipart([b"\xff\x00junk", bye])
    evil.send_multipart([good, b"\xc1\xc1"])
    evil.send_multipart([good, wire.encode_body(m.Terminate(at_once=True))])
    evil.send_multipart([good])
    evil.send_multipart([good, bye, bye])
    evil.send_multipart([good] * 500)
    evil.send_multipart([good, wire.encode_body(m.Hello("client", "1", "h", 1))])
    evil.recv_multipart()
    assert [type(x) for _, x in list(broker.heard.queue)] == [m.Hello]


def test_a_frame_past_the_limit_costs_its_sender_the_link_before_it_costs_memory(net: Net) -> None:
    net.hub(Scripted(answer))
    evil = net.raw(b"client-1/1")
    lost = evil.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    header = wire.encode_header("broker", "client-1", "1")
    evil.send_multipart([header, wire.encode_body(m.Hello("client", "1", "h", 1))])
    evil.recv_multipart()
    assert not lost.poll(0)
    evil.send_multipart([header, b"\x00" * (wire.BODY_MAX + 1)])
    assert lost.poll(WAIT * 1000)
    evil.disable_monitor()
    lost.close(linger=0)


def test_messages_that_arrive_together_are_flushed_once(net: Net) -> None:
    broker = Scripted(answer)
    socket = net.raw(b"client-1/1")
    header = wire.encode_header("broker", "client-1", "1")
    for number in range(200):
        socket.send_multipart([header, wire.encode_body(m.Request(str(number), "x"))])
    net.hub(broker)
    numbers = [broker.expect(m.Request)[1].id for _ in range(200)]
    assert numbers == [str(n) for n in range(200)]
    assert broker.flushed < broker.handled / 2


def test_a_deadline_brings_a_tick(net: Net) -> None:
    actor = Scripted()
    net.hub(actor)
    net.peer("store", waiting := Scripted())
    waiting.expect(m.Connected)
    actor.due = 0.0
    socket = net.raw(b"client-1/1")
    socket.send_multipart([wire.encode_header("broker", "client-1", "1"), wire.encode_body(m.Bye())])
    actor.expect(m.Tick)
    actor.due = None


class EchoDriver(NoDriver):
    """Answers each effect with a message."""

    def perform(self, effect: object, now: float) -> Iterable[tuple[str, m.Message]]:
        assert isinstance(effect, StartWorker)
        return [(m.LOCAL, m.WorkerExited(effect.worker, 1, 0))]


def test_answers_of_the_driver_come_back_in_order_before_the_loop_sleeps(net: Net) -> None:
    def react(sender: str, message: m.Message) -> list[Effect]:
        match message:
            case m.Connected():
                return [StartWorker("a"), Log("debug", "x"), StartWorker("b")]
            case m.WorkerExited(worker="b"):
                return [StartWorker("c")]
            case m.WorkerExited(worker="c"):
                return [Stop(0, "done"), StartWorker("never")]
        return []

    actor = Scripted(react)
    net.hub(Scripted())
    codes = net.peer("pool-0", actor, driver=EchoDriver())
    assert [actor.expect(m.WorkerExited)[1].worker for _ in range(3)] == ["a", "b", "c"]
    net.running[-1][0].join(WAIT)
    assert codes == [0]


def test_an_oversize_message_is_not_sent_and_does_not_cost_the_link(net: Net) -> None:
    broker, peer = Scripted(answer), Scripted()
    huge = m.Reply("1", 0, "x" * (wire.BODY_MAX + 1))
    peer.react = lambda s, x: [Send(m.BROKER, huge), *hello(s, x)] if isinstance(x, m.Connected) else []
    net.hub(broker)
    net.peer("store", peer)
    broker.expect(m.Hello)
    peer.expect(m.Welcome)


def test_a_bug_in_an_actor_ends_with_the_code_for_a_restart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Buggy(Scripted):
        def start(self, now: float) -> list[Effect]:
            raise KeyError("oops")

    assert process.run_peer("store", Buggy(), None, f"ipc://{tmp_path}/x.ipc") == process.RESTART
    text = capsys.readouterr().err
    assert "error store" in text
    assert "KeyError: 'oops'" in text
