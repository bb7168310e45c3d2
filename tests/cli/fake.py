"""A broker for tests: a real ROUTER in a thread that answers Request by a table, and keeps what it was told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq

from odibi_actors.messages import Apply, Bye, Hello, Message, Refused, Reply, Request, Welcome, WhoAreYou
from odibi_actors.runtime import wire

Answer = Callable[[dict[str, Any]], Any]


class FakeBroker:
    """``answers``: verb -> result, or a function of params; a Reply or None (no answer) may be given instead of a
    result. Pipelines are active unless they say otherwise. ``forget``: so many first requests are answered with
    WhoAreYou, as a restarted broker does."""

    def __init__(self, folder: Path, answers: dict[str, Any], forget: int = 0, refuse: str = "") -> None:
        self.endpoint = f"ipc://{folder}/b.ipc"
        self.answers = {"pipeline.show": {"state": "active"}} | answers
        self.forget = forget
        self.epoch = 3
        self.refuse = refuse
        self.seen: list[tuple[str, Message]] = []
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.bind(self.endpoint)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> FakeBroker:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join(10)
        self._socket.close(0)
        self._context.term()

    def requests(self, verb: str) -> list[Request]:
        """The requests of that verb, in order."""
        return [message for _, message in self.seen if isinstance(message, Request) and message.verb == verb]

    def _run(self) -> None:
        while not self._stop.is_set():
            if not self._socket.poll(20):
                continue
            identity, header_frame, body = self._socket.recv_multipart()
            header = wire.decode_header(header_frame)
            message = wire.decode_body(body)
            assert isinstance(header, wire.Header)
            assert isinstance(message, Message), message
            assert identity == wire.identity(header.sender, header.incarnation)
            self.seen.append((header.to, message))
            answer = self._answer(message)
            if answer is not None:
                frame = wire.encode_header(header.sender, header.to, "fake")
                self._socket.send_multipart([identity, frame, wire.encode_body(answer)])

    def _answer(self, message: Message) -> Message | None:
        match message:
            case Hello():
                return Refused(self.refuse) if self.refuse else Welcome(epoch=self.epoch, start_seq=0, store_id="s")
            case Bye():
                return None
            case Request() | Apply() if self.forget:
                self.forget -= 1
                return WhoAreYou()
            case Request(id=id, verb=verb, params=params):
                if verb not in self.answers:
                    return Reply(id, 2, None, f"unknown verb {verb!r}")
                found = self.answers[verb]
                result = found(params) if callable(found) else found
                if result is None or isinstance(result, Reply):
                    return None if result is None else Reply(id, result.status, result.result, result.error)
                return Reply(id, 0, result)
            case Apply(id=id) if isinstance(found := self.answers.get("apply"), Reply):
                return Reply(id, found.status, found.result, found.error)
            case Apply(id=id, project=project):
                items = [{"pipeline": p.name, "version": 1, "changed": True} for p in project.pipelines]
                return Reply(id, 0, {"items": items})
        raise AssertionError(message)
