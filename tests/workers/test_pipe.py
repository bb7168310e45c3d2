"""What lies in a worker's pipe, and what is read of it."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator

import msgspec
import pytest

from odibi_actors.errors import ProtocolError
from odibi_actors.runtime.wire import BODY_MAX
from odibi_actors.workers import link
from odibi_actors.workers.pipe import Reader, put

Ends = tuple[Reader, int]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = os.pipe()
    reader = Reader(ours)
    yield reader, theirs
    reader.close()
    os.close(theirs)


def test_given_a_writer_that_has_ended_when_its_pipe_is_read_then_all_it_had_written_is_there_in_order() -> None:
    ours, theirs = os.pipe()
    frames = [bytes([number]) * number for number in range(200)]
    child = os.fork()
    if child == 0:
        for frame in frames:
            put(theirs, frame)
        os.write(theirs, b"\x05\0\0\0ab")  # it is killed amid a frame
        os._exit(0)
    os.close(theirs)
    os.waitpid(child, 0)
    reader = Reader(ours)
    assert list(reader.frames()) == frames
    assert not reader.ended
    assert list(reader.frames()) == []
    assert reader.ended
    reader.close()


def test_given_a_frame_larger_than_the_pipe_when_it_is_read_bit_by_bit_then_it_comes_whole(ends: Ends) -> None:
    reader, theirs = ends
    frame = os.urandom(1_000_000)
    writer = threading.Thread(target=put, args=(theirs, frame))
    writer.start()
    found: list[bytes] = []
    while not found:
        select.select([reader], [], [])
        found = list(reader.frames())
    writer.join()
    assert found == [frame]


def test_given_nothing_written_when_read_then_nothing_is_waited_for(ends: Ends) -> None:
    reader, _ = ends
    assert (list(reader.frames()), reader.ended) == ([], False)


def test_given_a_length_that_no_frame_has_when_read_then_it_is_refused_and_what_was_before_it_is_read(
    ends: Ends,
) -> None:
    reader, theirs = ends
    put(theirs, b"one")
    os.write(theirs, (BODY_MAX + 1).to_bytes(4, "little") + b"...")
    frames = reader.frames()
    assert next(frames) == b"one"
    with pytest.raises(ProtocolError, match=f"a frame of {BODY_MAX + 1} bytes"):
        next(frames)
    assert list(reader.frames()) == []


def test_given_a_reader_that_was_closed_when_something_is_written_then_the_writer_is_told(ends: Ends) -> None:
    reader, theirs = ends
    reader.close()
    reader.close()  # does nothing
    with pytest.raises(BrokenPipeError):
        put(theirs, b"x")


def test_given_a_wish_to_fork_when_it_is_heard_then_it_has_a_descriptor_or_is_not_understood() -> None:
    ours, theirs = link.pair()
    read, write = os.pipe()
    assert link.tell(ours, link.Fork("w", write))
    ours.send(msgspec.msgpack.encode(link.Fork("w", write)))
    forked, nothing = link.hear(theirs)
    assert isinstance(forked, link.Fork)
    assert forked.pipe not in (read, write)
    assert not os.get_inheritable(forked.pipe)
    os.close(write)
    put(forked.pipe, b"x")
    os.close(forked.pipe)
    assert os.read(read, 100) == b"\x01\0\0\0x"
    assert nothing is None
    socket.send_fds(ours, [msgspec.msgpack.encode(link.Kill("w"))], [read])
    assert list(link.hear(theirs)) == [None]
    ours.close()
    assert list(link.hear(theirs)) == [None]
    theirs.close()
    os.close(read)
