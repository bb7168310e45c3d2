"""Frames: what goes in comes out, and whatever else comes in is refused without harm."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from odibi_actors import messages as m
from odibi_actors.checkpoint.records import Setting
from odibi_actors.errors import ProtocolError
from odibi_actors.model import Attempt
from odibi_actors.runtime import wire

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,30}", fullmatch=True)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(NAMES, NAMES, NAMES)
def test_a_header_survives_the_way(to: str, sender: str, incarnation: str) -> None:
    header = wire.decode_header(wire.encode_header(to, sender, incarnation))
    assert header == wire.Header(wire.MAGIC, to, sender, incarnation)


@given(st.text(max_size=10), st.dictionaries(st.text(max_size=5), PLAIN, max_size=4))
def test_a_request_survives_the_way(verb: str, params: dict[str, object]) -> None:
    request = m.Request("1", verb, params)
    assert wire.decode_body(wire.encode_body(request)) == request


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_by_value_never_by_exception(data: bytes) -> None:
    header, body = wire.decode_header(data), wire.decode_body(data)
    assert isinstance(header, wire.Header | ProtocolError)
    assert isinstance(body, m.Message | ProtocolError)


@given(st.data())
def test_damaged_messages_are_refused_by_value_never_by_exception(data: st.DataObject) -> None:
    message = m.Heartbeat(3, [Attempt(1, 2)], [m.WorkerInfo("w", 1, "idle")])
    body = bytearray(wire.encode_body(message))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    assert isinstance(wire.decode_body(bytes(body)), m.Message | ProtocolError)


@pytest.mark.parametrize(
    "body",
    [
        b"\x91" * 1_000_000,  # nested beyond any stack
        b"\xdd\xff\xff\xff\xff",  # a list that claims 4 G items
        b"\x82\xa1t\xa7Request\xa6params\x81\xa1a" + b"\x91" * 900 + b"\x90",
        b"\x00" * (wire.BODY_MAX + 1),
        msgspec.msgpack.encode({"t": "Tick", "surplus": 1}),
    ],
)
def test_bombs_are_refused(body: bytes) -> None:
    assert isinstance(wire.decode_body(body), ProtocolError)


def test_a_sound_message_past_the_limit_is_refused_before_it_is_decoded() -> None:
    body = wire.encode_body(m.Request("1", "v", {"p": "x" * wire.BODY_MAX}))
    assert "bytes; at most" in str(wire.decode_body(body))
    header = wire.encode_header("a" * 200, "b" * 200, "c" * 200)
    assert isinstance(wire.decode_header(header), wire.Header)
    header = msgspec.msgpack.encode([wire.MAGIC, "a", "b", "c" * wire.HEADER_MAX])
    assert "bytes; at most" in str(wire.decode_header(header))


def test_free_form_values_may_nest_to_the_limit_and_no_further() -> None:
    def nested(depth: int) -> m.Request:
        value: object = 1
        for _ in range(depth):
            value = {"x": [value]}
        return m.Request("1", "v", {"p": value})

    assert isinstance(wire.decode_body(wire.encode_body(nested(wire.DEPTH_MAX // 2 - 1))), m.Request)
    assert isinstance(wire.decode_body(wire.encode_body(nested(wire.DEPTH_MAX))), ProtocolError)


@pytest.mark.parametrize(
    "message",
    [m.Connected(), m.Tick(), m.Terminate(), m.WorkerExited("w", 1, 0), m.WorkerReady(1, "c"), m.WorkerExit()],
)
def test_what_only_a_runtime_or_a_pool_may_say_is_refused_from_the_network(message: m.Message) -> None:
    assert isinstance(wire.decode_body(wire.encode_body(message)), ProtocolError)


@pytest.mark.parametrize(("to", "sender"), [("", "a"), ("a" * 201, "b"), ("a/b", "c"), ("a", "b c")])
def test_bad_names_are_refused(to: str, sender: str) -> None:
    assert isinstance(wire.decode_header(wire.encode_header(to, sender, "i")), ProtocolError)


def test_a_header_past_its_limit_or_of_another_protocol_is_refused() -> None:
    assert isinstance(wire.decode_header(b"\x00" * (wire.HEADER_MAX + 1)), ProtocolError)
    assert isinstance(wire.decode_header(msgspec.msgpack.encode(["odibi/9", "a", "b", "c"])), ProtocolError)


def decoded(message: m.Message, limit: int) -> list[m.Message]:
    frames = list(wire.bodies(message, limit))
    assert all(len(frame) <= limit for frame in frames)
    return [wire.decode_body(frame) for frame in frames]


def test_long_lists_are_cut_and_mean_the_same() -> None:
    results: list[m.AnyResult] = [m.Returned(Attempt(1, i), "x" * 50) for i in range(100)]
    parts = decoded(m.Results(7, results), 1000)
    assert len(parts) > 1
    assert [r for part in parts if isinstance(part, m.Results) for r in part.results] == results


def test_records_keep_their_numbers_when_cut() -> None:
    records = [Setting("p", "n", str(i) * 30) for i in range(50)]
    parts = decoded(m.AppendRecords(2, 10, list(records)), 1000)
    assert len(parts) > 1
    following = 10
    for part in parts:
        assert isinstance(part, m.AppendRecords)
        assert part.first == following
        following += len(part.records)
    assert following == 60


def test_what_cannot_be_cut_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ProtocolError, match="Reply"):
        list(wire.bodies(m.Reply("1", 0, "x" * 2000), 1000))
    with pytest.raises(ProtocolError, match="Results"):
        list(wire.bodies(m.Results(1, [m.Returned(Attempt(1, 1), "x" * 2000)]), 1000))


def test_a_hello_that_cannot_be_read_says_who_it_is_from_if_it_is_of_another_protocol() -> None:
    who = {"incarnation": "i", "host": "h", "pid": 7, "version": "9.9.9"}
    for said, expected in (
        ({"t": "StoreHello", "last_seq": "what it is by then"}, m.StoreHello),
        ({"t": "PoolHello", "workers": {"other": "shape"}}, m.PoolHello),
        ({"t": "Hello", "role": "source", "host": "h", "more": {}}, m.Hello),
    ):
        body = msgspec.msgpack.encode({**who, **said, "protocol": m.PROTOCOL + 1})
        message = wire.decode_body(body)
        assert isinstance(message, expected)
        assert (message.incarnation, message.version, message.protocol) == ("i", "9.9.9", m.PROTOCOL + 1)
        ours = msgspec.msgpack.encode({**who, **said, "protocol": m.PROTOCOL})
        if expected is not m.Hello:  # of our protocol it must be whole
            assert isinstance(wire.decode_body(ours), ProtocolError)
    stranger = msgspec.msgpack.encode({**who, "t": "Tasks", "protocol": m.PROTOCOL + 1})
    assert isinstance(wire.decode_body(stranger), ProtocolError)
