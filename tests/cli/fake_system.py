"""Stands for a whole system behind one line of a Procfile: holds the broker's lock, writes the connection file,
answers ``status`` and ends at ``shutdown``. ``deaf``: it answers nothing, but ends at SIGTERM."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import zmq

from odibi_actors.messages import Bye, Hello, Reply, Request, Welcome
from odibi_actors.runtime import paths, wire


def main() -> None:
    project = Path(os.environ["ODIBI_PROJECT"])
    places = paths.prepare(paths.basics(project).data_dir)
    lock = paths.hold_lock(places.run / "broker.lock")
    router = zmq.Context().socket(zmq.ROUTER)
    router.bind(places.endpoint)
    paths.write_connection(places, places.endpoint)
    while "deaf" in sys.argv:
        router.poll(1000)
    peers = [
        {"name": role, "role": role, "host": "h", "pid": 1, "seen": 1.0}
        for role in ("store", "source", "scheduler", "pool")
    ]
    status = {
        "epoch": 1,
        "project": os.environ.get("ODIBI_WORKERS", "none"),
        "peers": peers,
        "pipelines": [{"pipeline": "copy", "state": "active"}],
    }
    while True:
        identity, header_frame, body = router.recv_multipart()
        header, message = wire.decode_header(header_frame), wire.decode_body(body)
        assert isinstance(header, wire.Header)
        if isinstance(message, Bye):
            continue
        answer: Welcome | Reply = Welcome(1, 0, "s")
        if isinstance(message, Request):
            answer = Reply(message.id, 0, status if message.verb == "status" else {})
        assert isinstance(message, Hello | Request)
        router.send_multipart([identity, wire.encode_header(header.sender, "broker", "x"), wire.encode_body(answer)])
        if isinstance(message, Request) and message.verb == "shutdown":
            router.close()
            lock.release()
            return


if __name__ == "__main__":
    main()
